"""A start from orientations alone: sensed segments stand as told, the rest is usual, the feet are on the floor."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fusion.body.kinematics import TABLES, forward_kinematics
from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.body.skeleton import COORDINATE, REFERENCE_LENGTHS_M, SEGMENT
from fusion.filter.start import StartParams
from fusion.filter.start_inertial import (
    InertialStartParams,
    inertial_state,
    pose_from_orientations,
    with_body_heading,
)
from fusion.filter.state import FLOOR_COLUMN, POSE
from fusion.maths import quaternion
from fusion.records import Float64, Int64
from tests.fusion.scenes import legal_pose

SEVENTEEN = (
    "pelvis", "t8", "head",
    *(f"{side}_{name}" for side in ("right", "left")
      for name in ("shoulder", "upper_arm", "forearm", "hand", "upper_leg", "lower_leg", "foot")),
)  # fmt: skip
SIX = ("pelvis", "head", "right_forearm", "left_forearm", "right_lower_leg", "left_lower_leg")


def indices(names: tuple[str, ...]) -> Int64:
    return np.array([SEGMENT[name] for name in names])


def stands(coordinates: Float64) -> Float64:
    return forward_kinematics(coordinates, REFERENCE_LENGTHS_M)[1]


def angles_deg(coordinates: Float64, told: Float64, segments: Int64) -> Float64:
    """How far each sensed segment [M] is from what was told."""
    return np.degrees(quaternion.angle_between(stands(coordinates)[segments], told))


def break_deg(coordinates: Float64) -> float:
    low, high = coordinate_limits()
    return float(np.degrees(max((low - coordinates).max(), (coordinates - high).max())))


@pytest.mark.parametrize(("names", "tolerance_deg"), [(SEVENTEEN, 2.0), (SIX, 3.0)])
def test_sensed_segments_stand_as_told_within_the_limits(names: tuple[str, ...], tolerance_deg: float) -> None:
    random = np.random.default_rng(1)
    segments = indices(names)
    for _ in range(40):
        told = stands(legal_pose(random))[segments]
        pose = pose_from_orientations(told, segments)
        assert angles_deg(pose, told, segments).max() < tolerance_deg
        assert break_deg(pose) < 1e-9


def test_seventeen_sensors_give_the_whole_pose() -> None:
    """All joints between sensors are known; only the toes are not."""
    random = np.random.default_rng(2)
    for _ in range(20):
        truth = legal_pose(random)
        toes = [COORDINATE[f"{side}_toe_extension"] for side in ("left", "right")]
        truth[toes] = resting_coordinates()[toes]
        segments = indices(SEVENTEEN)
        pose = pose_from_orientations(stands(truth)[segments], segments)
        joints, expected = (forward_kinematics(x, REFERENCE_LENGTHS_M)[0] for x in (pose, truth))
        np.testing.assert_allclose(joints - joints[0], expected - expected[0], atol=1e-6)


def test_an_upper_arm_without_sensor_follows_the_forearm() -> None:
    """With the forearm level and forward, the elbow is bent and low: not the arm raised straight, nor twisted."""
    truth = resting_coordinates()
    truth[COORDINATE["left_elbow_flexion"]] = math.radians(90.0)
    segments = indices(SIX)
    pose = pose_from_orientations(stands(truth)[segments], segments)
    joints, expected = (forward_kinematics(x, REFERENCE_LENGTHS_M)[0] for x in (pose, truth))
    wrist = SEGMENT["left_hand"]
    rest = forward_kinematics(resting_coordinates(), REFERENCE_LENGTHS_M)[0]
    assert np.linalg.norm((joints - joints[0])[wrist] - (expected - expected[0])[wrist]) < 0.15
    assert np.linalg.norm((rest - rest[0])[wrist] - (expected - expected[0])[wrist]) > 0.3


def test_a_thigh_without_sensor_follows_the_shank() -> None:
    """A shank that leans back tells of a bent knee, and the thigh above it points forward."""
    truth = resting_coordinates()
    for side in ("left", "right"):
        truth[COORDINATE[f"{side}_hip_y"]] = math.radians(-50.0)
        truth[COORDINATE[f"{side}_knee_flexion"]] = math.radians(100.0)
    segments = indices(SIX)
    pose = pose_from_orientations(stands(truth)[segments], segments)
    assert pose[COORDINATE["left_knee_flexion"]] > math.radians(45.0)
    assert pose[COORDINATE["left_hip_y"]] < math.radians(-10.0)


@pytest.mark.parametrize("names", [("t8",), ("head",), ("left_upper_leg", "right_upper_leg"), ("right_hand",)])
def test_the_heading_comes_from_whoever_knows_it(names: tuple[str, ...]) -> None:
    truth = resting_coordinates()
    truth[3:6] = 0.0, 0.0, 2.0
    segments = indices(names)
    pose = pose_from_orientations(stands(truth)[segments], segments)
    np.testing.assert_allclose(pose[3:6], truth[3:6], atol=0.2)
    assert angles_deg(pose, stands(truth)[segments], segments).max() < 3.0


def test_without_sensors_a_body_rests_on_the_floor() -> None:
    pose = pose_from_orientations(np.empty((0, 4)), np.empty(0, dtype=np.int64))
    rest = resting_coordinates()
    np.testing.assert_array_equal(np.delete(pose, 2), np.delete(rest, 2))
    broken = pose_from_orientations(np.full((1, 4), np.nan), indices(("pelvis",)))
    np.testing.assert_array_equal(broken, pose)


@pytest.mark.parametrize("floor_m", [0.0, 0.3])
def test_the_lower_foot_is_on_the_floor(floor_m: float) -> None:
    """Whatever the pose, the lowest of heels and balls is at the floor's height."""
    random = np.random.default_rng(3)
    lengths = REFERENCE_LENGTHS_M * 0.9
    sole_m = float(TABLES.unit_offset[SEGMENT["left_toe"], 2]) * lengths[-1]
    segments = indices(SEVENTEEN)
    for _ in range(10):
        pose = pose_from_orientations(stands(legal_pose(random))[segments], segments, lengths, floor_m)
        positions, q = forward_kinematics(pose, lengths)
        heels = [
            (positions[f] + quaternion.rotate(q[f], np.array([-0.055 * 0.9, 0.0, sole_m])))[2]
            for f in indices(("left_foot", "right_foot"))
        ]
        balls = positions[indices(("left_toe", "right_toe")), 2]
        assert min(*heels, *balls) == pytest.approx(floor_m, abs=1e-9)
        np.testing.assert_array_equal(pose[:2], 0.0)


def test_noise_moves_the_pose_by_no_more_than_itself() -> None:
    """Orientations that no body has are followed as far as the joints allow."""
    random = np.random.default_rng(4)
    segments = indices(SEVENTEEN)
    noise = quaternion.from_rotvec(math.radians(5.0) * random.normal(size=(len(segments), 3)))
    told = quaternion.multiply(stands(legal_pose(random, 0.7))[segments], noise)
    pose = pose_from_orientations(told, segments)
    assert angles_deg(pose, told, segments).max() < 15.0
    assert break_deg(pose) < 1e-9


def test_sensors_without_a_common_heading_are_turned_to_the_body() -> None:
    random = np.random.default_rng(5)
    segments = indices(SEVENTEEN)
    truth = stands(resting_coordinates())[segments]
    headings = quaternion.from_rotvec(random.uniform(-3.0, 3.0, (len(segments), 1)) * np.array([0.0, 0.0, 1.0]))
    told = quaternion.multiply(headings, truth)
    assert np.degrees(quaternion.angle_between(told, truth)).max() > 90.0
    np.testing.assert_allclose(
        quaternion.angle_between(with_body_heading(told, segments), truth), np.zeros(len(segments)), atol=1e-7
    )


def test_the_inclination_is_kept() -> None:
    random = np.random.default_rng(6)
    told = quaternion.from_rotvec(random.normal(size=(17, 3)))
    up = [
        quaternion.rotate(quaternion.conjugate(q), [0.0, 0.0, 1.0])
        for q in (told, with_body_heading(told, indices(SEVENTEEN)))
    ]
    np.testing.assert_allclose(up[1], up[0], atol=1e-12)


# --- The prior ------------------------------------------------------------------------------------


def test_what_is_sensed_is_narrow_and_the_place_is_anyones_guess() -> None:
    widths, params = InertialStartParams(), StartParams()
    segments = indices(SIX)
    told = stands(legal_pose(np.random.default_rng(7)))[segments]
    state = inertial_state(told, segments, 5, params, stature_m=1.6, imus=6)
    sigmas = np.sqrt(state.covariance[POSE, POSE].diagonal())
    np.testing.assert_allclose(sigmas[:2], widths.horizontal_m)
    np.testing.assert_allclose(sigmas[3:6], widths.sensed_rad)
    for name in ("left_knee_flexion", "left_arm_x", "left_elbow_flexion", "spine_y"):
        assert sigmas[COORDINATE[name]] == params.limb_rad
    assert (state.time_ns, state.imus) == (5, 6)
    assert state.covariance[FLOOR_COLUMN, FLOOR_COLUMN] > 0.0


def test_sensors_on_both_sides_of_a_joint_make_it_narrow() -> None:
    widths, segments = InertialStartParams(), indices(SEVENTEEN)
    state = inertial_state(stands(resting_coordinates())[segments], segments, 0, StartParams())
    sigmas = np.sqrt(state.covariance[POSE, POSE].diagonal())
    for name in ("left_knee_flexion", "left_arm_x", "right_elbow_flexion", "spine_y", "neck_z", "right_hip_x"):
        assert sigmas[COORDINATE[name]] == widths.sensed_rad
    assert sigmas[COORDINATE["left_toe_extension"]] == StartParams().limb_rad
