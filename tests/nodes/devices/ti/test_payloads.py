"""What TLVs say, through whole frames: each type there and back, in the frames of old and new firmware."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.devices.ti import encoder, layout, trial
from nodes.devices.ti.frames import TiDecoder, TiFrame
from nodes.devices.ti.layout import Tlv
from nodes.devices.ti.payloads import LACKS_DOPPLER_STEP, Height, Target, Temperature, read_content


def decoded(text: bytes, decoder: TiDecoder | None = None) -> TiFrame:
    (frame,) = (decoder or TiDecoder()).feed(text)
    return frame


def framed(*tlvs: tuple[int, bytes], form: str = "sdk3") -> TiFrame:
    return decoded(encoder.encode_frame(1, tlvs, layout=form))


def test_all_of_the_out_of_box_demo() -> None:
    frame = decoded(trial.sdk3_all(4))
    places, speeds, snrs, noises = trial.truth(4, 20)
    assert frame.positions_m == pytest.approx(places, abs=1e-6)
    assert frame.radial_velocities_m_s == pytest.approx(speeds, abs=1e-6)
    assert frame.snrs_db == pytest.approx(snrs, abs=0.0501)
    assert frame.noises_db == pytest.approx(noises, abs=0.0501)
    assert frame.range_profile is not None
    assert frame.range_profile.tolist() == [7.5 * 512] * 64
    assert frame.noise_profile is not None
    assert frame.noise_profile.tolist() == [5.25 * 512] * 64
    assert frame.range_doppler is not None
    assert frame.range_doppler.tolist() == list(range(512))
    assert frame.static_map is not None
    assert frame.static_map[3].tolist() == [-6, -7]  # The elevation map came after that of azimuth.
    assert frame.statistics == trial.STATISTICS
    assert frame.temperature == trial.TEMPERATURE
    assert frame.unknown_types == (7777,)
    assert frame.sub_frame == 0


@pytest.mark.parametrize("form", ["sdk3", "people48"])
def test_targets(form: str) -> None:
    people = [trial.person(0), Target(9, (1.0, 2.0, 0.5), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0))]
    got = framed(encoder.targets(people), form=form).targets
    assert [target.id for target in got] == [7, 9]
    assert got[0].position_m == (0.25, 2.0, 1.0)
    assert got[0].velocity_m_s == (0.5, -0.25, 0.0)
    assert got[0].acceleration_m_s2 == (0.0, 0.125, 0.0)
    assert got[0].covariance is not None
    assert np.array_equal(got[0].covariance, np.diag((0.01, 0.02, 0.03, 0.04)).astype(np.float32))
    assert (got[0].gain, got[0].confidence) == (2.0, 0.75)


@pytest.mark.parametrize("count", [1, 5, 14, 27])
@pytest.mark.parametrize("more", [0, 17])
def test_targets_of_early_firmware_have_another_order(count: int, more: int) -> None:
    """x y vx vy ax ay z vz az, and 14 rows of 40 bytes are as long as 5 of 112."""
    numbers = (1.0, 2.0, 0.25, 0.5, 0.0, 0.125, 1.5, -0.25, -0.5, *(0.5,) * more)
    rows = b"".join(struct.pack(f"<I{len(numbers)}f", k, *numbers) for k in range(count))
    got = framed((layout.TARGETS, rows)).targets
    assert [target.id for target in got] == list(range(count))
    for target in got:
        assert target.position_m == (1.0, 2.0, 1.5)
        assert target.velocity_m_s == (0.25, 0.5, -0.25)
        assert target.acceleration_m_s2 == (0.0, 0.125, -0.5)
        assert (target.covariance is None, target.gain, target.confidence) == (not more, 0.5 if more else None, None)


def test_of_several_lists_of_points_the_first_that_has_some_counts() -> None:
    places, speeds, snrs, _ = trial.truth(1, 5)
    empty, first, second = (
        encoder.plain_points(places[:0], speeds[:0]),
        encoder.plain_points(places[:3], speeds[:3]),
        encoder.packed_points(places, speeds, snrs),
    )
    assert len(framed(empty, first, second).positions_m) == 3
    assert len(framed(empty, second, first).positions_m) == 5


def test_targets_that_cannot_be_are_dropped() -> None:
    decoder = TiDecoder()
    ghost = Target(1, (float("nan"), 2.0, 1.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    far = Target(2, (0.0, 4e5, 1.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    frame = decoded(encoder.encode_frame(1, [encoder.targets([ghost, trial.person(0), far])]), decoder)
    assert [target.id for target in frame.targets] == [7]
    assert decoder.counts.absurd == 2


def test_heights_presence_occupancy_vitals() -> None:
    frame = framed(
        encoder.heights([Height(7, 1.75, -0.0), Height(8, float("nan"), 0.0)]),
        encoder.presence(1),
        encoder.occupancy(0b1010),
        encoder.vitals(trial.VITALS),
    )
    assert frame.heights == (Height(7, 1.75, 0.0),)
    assert (frame.presence, frame.occupancy) == (1, 10)
    (vitals,) = frame.vitals
    assert vitals.heart_waveform == trial.VITALS.heart_waveform
    assert vitals.breath_waveform == trial.VITALS.breath_waveform
    assert (vitals.target, vitals.range_bin, vitals.heart_per_min, vitals.breath_per_min) == (2, 31, 71.0, 14.5)


def test_presence_and_statistics_of_old_firmware() -> None:
    assert framed(encoder.presence(3), form="people48").presence == 3
    assert framed((10, struct.pack("<I", 2)), form="people48").presence == 2
    assert framed((10, encoder.statistics(trial.STATISTICS)[1]), form="people48").statistics == trial.STATISTICS


def test_types_of_automated_doors_mean_other_things() -> None:
    places, speeds, _, _ = trial.truth(1, 5)
    still = encoder.plain_points(places[:2], speeds[:2])[1]
    rows = (
        encoder.plain_points(places, speeds),
        (8, still),
        (9, bytes(8)),
        (10, encoder.targets([trial.person(0)])[1]),
    )
    frame = framed(*rows, form="doors")
    assert (frame.layout, len(frame.positions_m), frame.static_map, frame.unknown_types) == ("doors", 5, None, ())
    assert [target.id for target in frame.targets] == [7]


def test_temperatures_that_are_not_valid_say_so() -> None:
    cold = Temperature(False, 1, (0,) * 10)
    assert framed(encoder.temperature(cold)).temperature == cold


def test_doppler_bins_need_their_step() -> None:
    text = trial.sdk1(5)
    _, speeds, _, _ = trial.truth(5)
    told = decoded(text, TiDecoder(doppler_step_m_s=0.1))
    assert told.radial_velocities_m_s == pytest.approx(speeds, abs=0.0501)
    decoder = TiDecoder()
    untold = decoded(text, decoder)
    assert len(untold.positions_m) == len(speeds)
    assert np.isnan(untold.radial_velocities_m_s).all()
    assert decoder.counts.lacking == {LACKS_DOPPLER_STEP: 1}


def test_sizes_that_do_not_suit_are_left_out_and_counted() -> None:
    decoder = TiDecoder()
    wrong = [(kind, b"1234567") for kind in sorted(layout.NUMBERED - {layout.TARGET_INDEX})]
    frame = decoded(encoder.encode_frame(1, wrong), decoder)
    assert decoder.counts.odd_tlvs == len(wrong)
    assert (frame.targets, frame.heights, frame.vitals, frame.statistics) == ((), (), (), None)
    assert len(frame.positions_m) == 0


def test_infinite_ratios_are_unknown() -> None:
    places, speeds, _, _ = trial.truth(1, 3)
    units = (0.01, 0.01, 0.00028, 0.00025, float("inf"))
    rows = encoder.packed_points(places, speeds, [10.0] * 3)[1][20:]
    frame = framed((layout.PACKED_POINTS, struct.pack("<5f", *units) + rows))
    assert len(frame.positions_m) == 3
    assert np.isnan(frame.snrs_db).all()


@given(rows=st.lists(st.tuples(st.sampled_from(sorted(layout.KNOWN)), st.binary(max_size=200)), max_size=6))
def test_no_payload_raises(rows: list[tuple[int, bytes]]) -> None:
    tlvs, data = [], b""
    for kind, payload in rows:
        tlvs.append(Tlv(kind, len(data), len(data) + len(payload)))
        data += payload
    content = read_content(data, tuple(tlvs), 0.1)
    assert content.positions_m.shape == (int(content.kept.sum()), 3)
    assert np.isfinite(content.positions_m).all()
    assert not np.isinf(content.snrs_db).any()
