"""A start from nothing: the closed-form pose and the prior around it."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from fusion.body import catalog
from fusion.body.skeleton import COORDINATE, LENGTHS, REFERENCE_LENGTHS_M, REFERENCE_STATURE_M
from fusion.filter.start import StartParams, pose_from_landmarks, wide_state
from fusion.filter.state import FLOOR_COLUMN, LENGTH, NEVER_NS, POSE, RATE, errors_of
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.scenes import joints_of, landmarks_of, legal_pose, resting_state

SET = catalog.landmark_set("coco_17")
INDEX = {name: k for k, name in enumerate(SET.landmark_names)}


def nominal_of(pose: Float64) -> Float64:
    nominal = resting_state().nominal
    nominal[POSE] = pose
    return nominal


def test_limbs_lie_along_their_landmarks() -> None:
    """With the trunk straight and the limbs bent, all joints of arms and legs are where they were."""
    random = np.random.default_rng(1)
    for _ in range(30):
        truth = nominal_of(legal_pose(random, 0.9))
        for name in ("spine", "neck"):
            truth[[COORDINATE[f"{name}_{axis}"] for axis in "xyz"]] = 0.0
        for side in ("left", "right"):
            truth[COORDINATE[f"{side}_shoulder_elevation"]] = truth[COORDINATE[f"{side}_shoulder_protraction"]] = 0.0
            for hinge in (f"{side}_elbow_flexion", f"{side}_knee_flexion"):
                truth[COORDINATE[hinge]] = max(truth[COORDINATE[hinge]], 0.3)
        points = landmarks_of("coco_17", truth)
        pose = pose_from_landmarks(SET, points)
        assert pose is not None
        np.testing.assert_allclose(landmarks_of("coco_17", nominal_of(pose))[5:], points[5:], atol=1e-9)
        for name in ("left_elbow_flexion", "right_elbow_flexion", "left_knee_flexion", "right_knee_flexion"):
            assert pose[COORDINATE[name]] == pytest.approx(truth[COORDINATE[name]], abs=1e-6)


def test_a_body_that_is_turned_gives_the_same_pose_turned() -> None:
    random = np.random.default_rng(2)
    truth = nominal_of(legal_pose(random))
    points = landmarks_of("coco_17", truth)
    turn, shift = quaternion.from_rotvec(random.normal(size=3)), random.normal(size=3)
    pose = pose_from_landmarks(SET, points)
    moved = pose_from_landmarks(SET, quaternion.rotate(turn, points) + shift)
    assert pose is not None
    assert moved is not None
    np.testing.assert_allclose(moved[6:], pose[6:], atol=1e-9)
    np.testing.assert_allclose(
        joints_of(nominal_of(moved)), quaternion.rotate(turn, joints_of(nominal_of(pose))) + shift, atol=1e-9
    )


@pytest.mark.parametrize("missing", ["left_hip", "right_hip", "left_shoulder", "right_shoulder"])
def test_nothing_without_the_trunk(missing: str) -> None:
    points = landmarks_of("coco_17", resting_state().nominal)
    points[INDEX[missing], 1] = np.nan
    assert pose_from_landmarks(SET, points) is None


def test_a_limb_that_is_not_seen_rests() -> None:
    points = landmarks_of("coco_17", nominal_of(legal_pose(np.random.default_rng(3))))
    points[INDEX["left_wrist"]] = np.nan
    pose, rest = pose_from_landmarks(SET, points), resting_state().coordinates
    assert pose is not None
    arm = [COORDINATE[name] for name in ("left_arm_x", "left_arm_y", "left_arm_z", "left_elbow_flexion")]
    np.testing.assert_array_equal(pose[arm], rest[arm])
    assert np.abs(pose - rest)[COORDINATE["right_arm_x"]] > 1e-6


def test_landmarks_that_make_no_body_make_no_start() -> None:
    """All in one place, or in one line: no direction is told, and none is invented."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pose_from_landmarks(SET, np.zeros((17, 3))) is None
        line = np.linspace(0.0, 1.0, 17)[:, None] * np.array([0.3, 0.2, 1.0])
        assert pose_from_landmarks(SET, line) is None


@pytest.mark.parametrize("joint", ["left_elbow", "right_knee"])
def test_a_bone_without_length_is_left_at_rest(joint: str) -> None:
    points = landmarks_of("coco_17", nominal_of(legal_pose(np.random.default_rng(4))))
    above = {"left_elbow": "left_shoulder", "right_knee": "right_hip"}[joint]
    points[INDEX[joint]] = points[INDEX[above]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pose = pose_from_landmarks(SET, points)
    assert pose is not None
    assert np.isfinite(pose).all()


def test_a_set_without_hips_gives_no_start() -> None:
    points = joints_of(resting_state().nominal)
    assert pose_from_landmarks(catalog.landmark_set("joints_23"), points) is None


# --- The prior ------------------------------------------------------------------------------------


def test_the_prior_is_wide_and_sound() -> None:
    params = StartParams()
    state = wide_state(resting_state().coordinates, 123, params)
    assert (state.time_ns, state.born_ns, state.lengths_locked) == (123, 123, False)
    assert np.linalg.eigvalsh(state.covariance)[0] > 0.0
    assert state.nominal[FLOOR_COLUMN] == 0.0
    assert state.covariance[FLOOR_COLUMN, FLOOR_COLUMN] == params.floor_m**2
    sigmas = np.sqrt(state.covariance.diagonal())
    np.testing.assert_allclose(sigmas[:3], params.position_m)
    np.testing.assert_allclose(sigmas[6:44], params.limb_rad)
    assert not state.nominal[RATE].any()
    np.testing.assert_allclose(state.lengths_m, REFERENCE_LENGTHS_M)


def test_a_known_stature_scales_and_sharpens_the_lengths() -> None:
    pose, params = resting_state().coordinates, StartParams()
    unknown, known = wide_state(pose, 0, params), wide_state(pose, 0, params, stature_m=1.6)
    np.testing.assert_allclose(known.lengths_m, REFERENCE_LENGTHS_M * 1.6 / REFERENCE_STATURE_M)
    whole = np.ones(LENGTHS) / LENGTHS
    spread = [math.sqrt(whole @ state.covariance[LENGTH, LENGTH] @ whole) for state in (unknown, known)]
    assert spread[1] < 0.4 * spread[0]
    # One length against another is as uncertain as before.
    apart = np.zeros(LENGTHS)
    apart[:2] = 1.0, -1.0
    one, other = (apart @ state.covariance[LENGTH, LENGTH] @ apart for state in (unknown, known))
    assert one == pytest.approx(other)


def test_known_lengths_are_locked() -> None:
    lengths = REFERENCE_LENGTHS_M * 1.1
    state = wide_state(resting_state().coordinates, 0, StartParams(), lengths_m=lengths)
    assert state.lengths_locked
    np.testing.assert_allclose(state.lengths_m, lengths)
    assert not state.covariance[LENGTH].any()
    assert state.covariance.shape == (errors_of(0), errors_of(0))


def test_imus_have_room_but_no_states_yet() -> None:
    state = wide_state(resting_state().coordinates, 0, StartParams(), imus=3)
    assert state.imus == 3
    assert (state.imu_ns == NEVER_NS).all()
    assert not state.covariance[errors_of(0) :].any()
