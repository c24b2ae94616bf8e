"""Slow states of IMUs move while something else tells of the body, and keep still, with their variance, when not."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import COORDINATE, REFERENCE_LENGTHS_M, SEGMENT
from fusion.filter.measurements.anatomy import AnatomyParams
from fusion.filter.measurements.imu_slots import slot_columns, start_heading, start_slots
from fusion.filter.measurements.inertial import OrientationMeasurement, OrientationParams
from fusion.filter.process import NS_PER_S
from fusion.filter.start import StartParams, wide_state
from fusion.filter.start_inertial import InertialStartParams, inertial_state, stands_posed
from fusion.filter.state import IMU_HEADING, POSE, State, errors_of
from fusion.filter.update import UpdateParams, Updater
from fusion.maths import quaternion
from fusion.records import Float64, Int64

SEGMENTS: Int64 = np.array([SEGMENT["pelvis"], SEGMENT["left_forearm"]], dtype=np.int64)
SLOTS: Int64 = np.arange(2, dtype=np.int64)
NOW_NS = 100 * int(NS_PER_S)
ALONE_NS = int(UpdateParams().alone_s * NS_PER_S)


def standing(heading_sigma_rad: float = 0.2) -> State:
    """Somebody with two IMUs whose mountings and headings have begun."""
    state = wide_state(resting_coordinates(), NOW_NS, StartParams(limb_rad=0.2, rotation_rad=0.2), imus=2)
    params = OrientationMeasurement.__dataclass_fields__["slow"].default_factory()  # type: ignore[misc]
    start_slots(state, state.nominal, SLOTS, NOW_NS, params)
    for slot in SLOTS.tolist():
        start_heading(state, state.nominal, slot, 0.3, params)
        column = slot_columns(slot).start + IMU_HEADING
        state.covariance[column, column] = heading_sigma_rad**2
    return state


def tell(state: State, turn_rad: float) -> Updater:
    """Both sensors stand otherwise than the body by a turn about x and by their headings."""
    _, q = forward_kinematics(resting_coordinates(), REFERENCE_LENGTHS_M)
    turned = quaternion.multiply(quaternion.from_rotvec(np.array([turn_rad, 0.0, 0.5])), q[SEGMENTS])
    mounts = np.tile(quaternion.IDENTITY, (2, 1))
    updater = Updater(UpdateParams(), AnatomyParams(), errors_of(2))
    updater.apply(state, [OrientationMeasurement(NOW_NS, "o", SEGMENTS, SLOTS, mounts, turned, OrientationParams())])
    return updater


def slow(state: State) -> tuple[Float64, Float64]:
    columns = slice(slot_columns(0).start, slot_columns(1).stop)
    return state.nominal[columns].copy(), state.covariance[columns, columns].copy()


@pytest.mark.parametrize(("told_ago_ns", "born_ago_ns"), [(0, 50 * ALONE_NS), (50 * ALONE_NS, 0)])
def test_they_move_while_something_else_tells_or_all_has_just_begun(told_ago_ns: int, born_ago_ns: int) -> None:
    state = standing()
    state.measured_ns[3] = NOW_NS - told_ago_ns
    state.born_ns = NOW_NS - born_ago_ns
    before, variances = slow(state)
    tell(state, 0.2)
    after, fewer = slow(state)
    assert np.abs(after - before)[[0, 3, 7, 10]].min() > 1e-3
    assert (fewer.diagonal() <= variances.diagonal() + 1e-12).all()


def test_alone_they_stay_and_are_counted_as_uncertain() -> None:
    state = standing()
    state.born_ns = NOW_NS - 10 * ALONE_NS
    state.measured_ns[3] = NOW_NS - 2 * ALONE_NS
    before, variances = slow(state)
    pose, joint_variances = state.coordinates.copy(), state.covariance[POSE, POSE].diagonal().copy()
    tell(state, 0.2)
    after, same = slow(state)
    np.testing.assert_array_equal(after, before)
    np.testing.assert_allclose(same, variances, atol=1e-12)
    assert np.linalg.norm(state.coordinates - pose) > 0.01
    # A heading is read as it is: the pelvis is told to have turned by what the sensor says beyond it.
    yaw = COORDINATE["root_rz"]
    assert state.coordinates[yaw] - pose[yaw] > 0.1
    # Not more is known of the root's tilt than two sensors that may be turned can tell.
    roll = COORDINATE["root_rx"]
    told = state.covariance[roll, roll]
    mounting = variances[0, 0]
    prior = joint_variances[roll]
    least = 1.0 / (1.0 / prior + 2.0 / (mounting + OrientationParams().inclination_rad ** 2))
    assert told > 0.8 * least
    assert np.linalg.eigvalsh(state.covariance).min() > -1e-9


def test_an_open_heading_is_not_held() -> None:
    state = standing(heading_sigma_rad=2.0)
    state.born_ns = NOW_NS - 10 * ALONE_NS
    before, _ = slow(state)
    tell(state, 0.0)
    after, _ = slow(state)
    assert np.abs(after - before)[[IMU_HEADING, 7 + IMU_HEADING]].min() > 0.05
    assert not (after - before)[:IMU_HEADING].any()


# ---------------------------------------------------------------- a start in the pose of a calibration

WIDTHS = InertialStartParams()


def orientations(arm_rad: float = 0.0, headings: tuple[float, float] = (0.0, 0.0)) -> Float64:
    """[2, 4] of somebody who stands, the left arm lifted; each sensor with a heading of its own."""
    coordinates = resting_coordinates()
    coordinates[COORDINATE["left_arm_x"]] += arm_rad
    _, q = forward_kinematics(coordinates, REFERENCE_LENGTHS_M)
    turns = quaternion.from_rotvec(np.array([[0.0, 0.0, heading] for heading in headings]))
    return quaternion.multiply(turns, q[SEGMENTS])


def test_the_pose_of_a_calibration_is_known_whatever_the_headings() -> None:
    assert stands_posed(orientations(headings=(1.0, -2.0)), SEGMENTS, WIDTHS.near_rad)
    assert not stands_posed(orientations(arm_rad=0.9), SEGMENTS, WIDTHS.near_rad)


def test_who_stands_posed_is_known_narrowly_but_for_place_and_heading() -> None:
    wide, posed = (
        inertial_state(orientations(), SEGMENTS, 0, StartParams(), imus=2, posed=flag) for flag in (False, True)
    )
    np.testing.assert_array_equal(wide.nominal, posed.nominal)
    sigmas = np.sqrt(posed.covariance[POSE, POSE].diagonal())
    np.testing.assert_allclose(sigmas[6:], WIDTHS.posed_rad)
    assert sigmas[0] == WIDTHS.horizontal_m
    assert np.sqrt(wide.covariance[POSE, POSE].diagonal())[6:].max() > 5.0 * WIDTHS.posed_rad
