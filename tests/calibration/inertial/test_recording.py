"""From records to steady times: holes, disorder, several systems, and requests that cannot be met."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.inertial.recording import NS_PER_S, gather
from calibration.tables import CalibrationError
from fusion.records import Float64, InertialSamples


def record(times_s: Float64, sensors: tuple[str, ...] = ("pelvis",), offset: float = 0.0) -> InertialSamples:
    """Readings that are linear in time: force x = t + offset, rate z = 2 t."""
    count = len(sensors)
    force = np.zeros((len(times_s), count, 3), np.float32)
    rate = np.zeros_like(force)
    force[..., 0] = times_s[:, None] + offset
    rate[..., 2] = 2.0 * times_s[:, None]
    times_ns = np.round(times_s * NS_PER_S).astype(np.int64)
    return InertialSamples(
        measured_ns=int(times_ns[-1]),
        received_ns=int(times_ns[-1]),
        sensors=sensors,
        times_ns=times_ns,
        specific_force_m_s2=force,
        angular_rate_rad_s=rate,
        magnetic_field_ut=np.full_like(force, np.nan),
    )


TIMES_S = np.arange(200) / 100.0


def test_records_become_one_recording_whatever_their_portions() -> None:
    whole = gather([record(TIMES_S)])
    parts = gather([record(part) for part in np.array_split(TIMES_S, 7)])
    np.testing.assert_array_equal(whole.times_ns, parts.times_ns)
    np.testing.assert_array_equal(whole.specific_force_m_s2, parts.specific_force_m_s2)
    assert whole.period_s == pytest.approx(0.01)
    assert not whole.missing.any()


def test_systems_of_other_rates_meet_on_the_times_of_the_fastest() -> None:
    slow = 0.37 + np.arange(60) / 40.0
    both = gather([record(TIMES_S), record(slow, ("head", "left_hand"), offset=5.0)])
    assert both.sensors == ("pelvis", "head", "left_hand")
    assert both.period_s == pytest.approx(0.01)
    times_s = both.times_ns / NS_PER_S
    assert times_s[0] == pytest.approx(0.37)
    for sensor, offset in enumerate((0.0, 5.0, 5.0)):
        np.testing.assert_allclose(both.specific_force_m_s2[:, sensor, 0], times_s + offset, atol=1e-5)
        np.testing.assert_allclose(both.angular_rate_rad_s[:, sensor, 2], 2.0 * times_s, atol=1e-5)


def test_short_holes_are_filled_and_long_ones_told() -> None:
    holed = record(TIMES_S)
    holed.specific_force_m_s2[50:53] = np.nan
    holed.angular_rate_rad_s[100:150] = np.nan
    found = gather([holed])
    np.testing.assert_allclose(found.specific_force_m_s2[:, 0, 0], TIMES_S, atol=1e-5)
    np.testing.assert_array_equal(np.flatnonzero(found.missing[:, 0]), np.arange(100, 151))


def test_a_sensor_that_never_speaks_is_missing_throughout() -> None:
    silent = record(TIMES_S, ("pelvis", "head"))
    silent.specific_force_m_s2[:, 1] = np.nan
    found = gather([silent])
    assert found.missing[:, 1].all()
    assert not found.missing[:, 0].any()


def test_stamps_that_do_not_advance_are_left_out() -> None:
    found = gather([record(TIMES_S[:100]), record(TIMES_S[50:150])])
    assert len(found.times_ns) == 150


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "no inertial samples"),
        ([record(TIMES_S, ("elbow",))], "'elbow' is on no segment; allowed: pelvis"),
        ([record(TIMES_S, ("head", "pelvis")), record(TIMES_S)], "two sensors are said to be on pelvis"),
        ([record(TIMES_S[:5])], "fewer than 20 inertial samples"),
        ([record(TIMES_S), record(TIMES_S + 10.0, ("head",))], "not recorded at the same time"),
    ],
)
def test_what_cannot_be_a_recording_is_said(records: list[InertialSamples], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        gather(records)
