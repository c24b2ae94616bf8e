"""What the filter has learned goes into a profile where it is known well enough, else the reason is given."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from calibration.inertial.refine import RefineParams, refined
from fusion.maths import quaternion
from fusion.records import InertialState
from fusion.rig import ImuMount

MOUNT = ImuMount(segment="head", q_segment_from_sensor=quaternion.from_rotvec([0.3, -1.0, 0.2]))


def state(error_rad: tuple[float, float, float] = (0.1, -0.05, 0.02), sigma_deg: float = 2.0) -> InertialState:
    """Of a sensor on the head; only its mounting matters."""
    arrays: dict[str, Any] = {
        item.name: np.zeros(
            [1 if isinstance(part, str) else part for part in item.metadata["shape"]], item.metadata["dtype"]
        )
        for item in fields(InertialState)
        if "shape" in item.metadata
    }
    arrays["mounting_error_rad"][:] = error_rad
    arrays["mounting_sigma_rad"][:] = math.radians(sigma_deg)
    return InertialState(measured_ns=0, received_ns=0, sensors=("head",), wearer=1, **arrays)


def test_a_known_error_is_put_behind_the_profile_s_mounting() -> None:
    (found,) = refined([MOUNT], state(), seen_s=20.0)
    assert found.refusal == ""
    expected = quaternion.multiply(MOUNT.q_segment_from_sensor, quaternion.from_rotvec([0.1, -0.05, 0.02]))
    assert float(quaternion.angle_between(found.q_segment_from_sensor, expected)) < 1e-6
    assert found.moved_rad == pytest.approx(math.hypot(0.1, 0.05, 0.02), abs=1e-6)


@pytest.mark.parametrize(
    ("told", "seen_s", "says"),
    [
        (state(), 2.0, "head: cameras showed the wearer for 2.0 s (bound 5 s); capture again in their sight"),
        (state(sigma_deg=5.9), 20.0, "head: known to 5.9° (bound 4.0°); move the limb"),
        (state((1.0, 0.0, 0.0)), 20.0, "head: 57.3° from the profile (bound 45.0°); calibrate anew"),
        (state(sigma_deg=math.nan), 20.0, "head: nothing was heard of it"),
        (None, 20.0, "head: nothing was heard of it"),
    ],
)
def test_what_is_not_known_stays_with_the_reason(told: InertialState | None, seen_s: float, says: str) -> None:
    (found,) = refined([MOUNT], told, seen_s)
    assert found.refusal.startswith(says)
    np.testing.assert_array_equal(found.q_segment_from_sensor, MOUNT.q_segment_from_sensor)


def test_the_bound_is_below_what_the_filter_begins_with() -> None:
    """Else a mounting of which nothing was learned would pass as known."""
    from fusion.filter.measurements.imu_slots import ImuStateParams

    assert RefineParams().sigma_rad < 0.75 * ImuStateParams().mounting_rad
