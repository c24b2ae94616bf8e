"""A start from one picture: both branches of a bone, candidates that hold the truth, and the choice among them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import least_squares

from fusion.body import catalog
from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import COORDINATE, REFERENCE_LENGTHS_M, SEGMENT
from fusion.filter.start import StartParams, pose_from_landmarks
from fusion.filter.start_one_view import (
    OneViewParams,
    best_start,
    bone_branches,
    candidates_from_view,
    one_view_state,
    reprojection_cost,
)
from fusion.filter.start_prior import pose_surprise
from fusion.filter.state import POSE, State
from fusion.maths import quaternion
from fusion.maths.camera import project
from fusion.records import Float64
from fusion.rig import Camera
from tests.fusion.numeric import directions
from tests.fusion.scenes import (
    BENT,
    FISHEYE,
    camera_at,
    landmarks_of,
    legal_pose,
    measured_2d,
    resting_state,
    seen_from,
    updater,
)
from training.clips import HELD_OUT, load_motion

SET = catalog.landmark_set("blazepose_33")
COCO = catalog.landmark_set("coco_17")
INDEX = {name: k for k, name in enumerate(SET.landmark_names)}
CAMERA = camera_at("cam1", [4.0, 0.5, 0.6], distortion=np.array([-0.08, 0.03]))


def nominal_of(pose: Float64) -> Float64:
    nominal = resting_state().nominal
    nominal[POSE] = pose
    return nominal


def seen(camera: Camera, pose: Float64, set_name: str = SET.name) -> tuple[Float64, Float64]:
    """Pixels [K, 2] and scores [K]."""
    pixels = seen_from(camera, nominal_of(pose), set_name)
    return pixels, np.where(np.isfinite(pixels).all(1), 0.9, 0.0)


def joints(pose: Float64) -> Float64:
    """Joints [23, 3] from the hips."""
    positions = forward_kinematics(pose, REFERENCE_LENGTHS_M)[0]
    return positions - positions[0]


def error_m(pose: Float64, truth: Float64) -> float:
    return float(np.linalg.norm(joints(pose) - joints(truth), axis=1).mean())


# --- Two branches of a bone -----------------------------------------------------------------------


@given(parent=directions(), bone=directions(), distance=st.floats(1.5, 8.0), length=st.floats(0.1, 0.5))
def test_both_branches_are_found(parent: Float64, bone: Float64, distance: float, length: float) -> None:
    """One branch is the bone that there is, the other one its mirror image in the plane across the ray."""
    start = distance * parent
    child = start + length * bone
    ray = child / np.linalg.norm(child)
    found = bone_branches(start, ray, length)
    mirror = 2.0 * (start @ ray) * ray - child
    expected = sorted([child, mirror], key=lambda point: float(point @ ray))
    np.testing.assert_allclose(found.points_m, expected, atol=1e-6)
    assert found.missed_m == pytest.approx(0.0, abs=1e-6)


def test_branches_of_many_bones_are_those_of_each() -> None:
    random = np.random.default_rng(1)
    parents = random.normal(size=(2, 3, 3)) + np.array([0.0, 0.0, 4.0])
    ray = np.array([0.1, 0.0, 1.0]) / math.hypot(0.1, 1.0)
    together = bone_branches(parents, ray, 0.4)
    for i in np.ndindex(2, 3):
        alone = bone_branches(parents[i], ray, 0.4)
        np.testing.assert_array_equal(together.points_m[i], alone.points_m)
        np.testing.assert_array_equal(together.missed_m[i], alone.missed_m)


def test_a_bone_that_is_too_short_says_by_how_much() -> None:
    found = bone_branches(np.array([0.5, 0.0, 4.0]), np.array([0.0, 0.0, 1.0]), 0.4)
    np.testing.assert_allclose(found.points_m, [[0.0, 0.0, 4.0]] * 2)
    assert found.missed_m == pytest.approx(0.1)


def test_no_joint_is_behind_the_camera() -> None:
    found = bone_branches(np.array([0.0, 0.1, 0.1]), np.array([0.0, 0.0, 1.0]), 0.5)
    assert (found.points_m[:, 2] > 0.0).all()


# --- Candidates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distortion", "fisheye"),
    [(np.zeros(5), False), (BENT, False), (FISHEYE, True)],
    ids=["straight", "bent", "fisheye"],
)
def test_a_standing_person_is_the_first_candidate(distortion: Float64, fisheye: bool) -> None:
    for heading in np.linspace(-3.0, 3.0, 7):
        truth = resting_coordinates()
        truth[3:6] = 0.0, 0.0, heading
        truth[COORDINATE["left_elbow_flexion"]] = 1.2
        truth[COORDINATE["right_knee_flexion"]] = 0.8
        truth[COORDINATE["right_hip_y"]] = -0.6
        camera = camera_at("cam1", [4.0, 0.5, 0.6], distortion=distortion, fisheye=fisheye)
        candidates = candidates_from_view(SET, *seen(camera, truth), camera, REFERENCE_LENGTHS_M)
        assert error_m(candidates[0], truth) < 0.13
        assert np.linalg.norm(candidates[0][:3] - truth[:3]) < 0.35


def test_the_truth_is_among_the_candidates() -> None:
    """Bodies whose spine and girdle rest have nothing that the candidates lack."""
    random = np.random.default_rng(2)
    near = []
    for _ in range(25):
        truth = legal_pose(random, 0.6)
        rest = resting_coordinates()
        straight = [i for name, i in COORDINATE.items() if name.startswith(("spine", "neck")) or "shoulder" in name]
        truth[straight] = rest[straight]
        candidates = candidates_from_view(SET, *seen(CAMERA, truth), CAMERA, REFERENCE_LENGTHS_M, 16)
        near.append(min(error_m(candidate, truth) for candidate in candidates))
    assert np.mean(np.array(near) < 0.1) > 0.8


def test_candidates_are_seen_where_the_landmarks_are() -> None:
    """Whatever their depth: all branches are on the rays, but for the trunk that is one body."""
    truth = legal_pose(np.random.default_rng(3), 0.5)
    pixels, scores = seen(CAMERA, truth)
    names = [INDEX[f"{side}_{joint}"] for side in ("left", "right") for joint in ("hip", "knee", "elbow", "ankle")]
    for candidate in candidates_from_view(SET, pixels, scores, CAMERA, REFERENCE_LENGTHS_M):
        shown = project(landmarks_of(SET.name, nominal_of(candidate)), CAMERA)[0]
        assert np.median(np.linalg.norm(shown - pixels, axis=1)[names]) < 40.0


def test_the_first_is_the_most_usual_and_all_differ() -> None:
    truth = resting_coordinates()
    truth[COORDINATE["left_knee_flexion"]] = 1.0
    candidates = candidates_from_view(SET, *seen(CAMERA, truth), CAMERA, REFERENCE_LENGTHS_M)
    assert 4 <= len(candidates) <= 8
    assert len(candidates_from_view(SET, *seen(CAMERA, truth), CAMERA, REFERENCE_LENGTHS_M, 3)) == 3
    surprises = [float(pose_surprise(candidate)) for candidate in candidates]
    assert surprises[0] < np.median(surprises)
    for i, one in enumerate(candidates):
        for other in candidates[:i]:
            assert error_m(one, other) > 0.02


def test_a_camera_that_is_moved_with_the_person_sees_the_same() -> None:
    """Turning both about the vertical, and moving both, turns and moves the candidates."""
    truth = legal_pose(np.random.default_rng(4), 0.5)
    turn, shift = quaternion.from_rotvec([0.0, 0.0, 1.1]), np.array([0.3, -2.0, 0.4])
    moved = truth.copy()
    moved[:3] = quaternion.rotate(turn, truth[:3]) + shift
    moved[3:6] = quaternion.to_rotvec(quaternion.multiply(turn, quaternion.from_rotvec(truth[3:6])))
    other = camera_at(
        "cam2", quaternion.rotate(turn, CAMERA.centre_world_m) + shift, shift, distortion=CAMERA.distortion
    )
    first = candidates_from_view(SET, *seen(CAMERA, truth), CAMERA, REFERENCE_LENGTHS_M)
    second = candidates_from_view(SET, *seen(other, moved), other, REFERENCE_LENGTHS_M)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(b[:3], quaternion.rotate(turn, a[:3]) + shift, atol=1e-6)
        np.testing.assert_allclose(b[6:], a[6:], atol=1e-6)


def test_larger_people_are_farther_away() -> None:
    pixels, scores = seen(CAMERA, resting_coordinates())
    distances = [
        float(np.linalg.norm(candidates_from_view(SET, pixels, scores, CAMERA, lengths)[0][:3] - CAMERA.centre_world_m))
        for lengths in (REFERENCE_LENGTHS_M, 1.1 * REFERENCE_LENGTHS_M)
    ]
    assert distances[1] / distances[0] == pytest.approx(1.1, rel=1e-6)


@pytest.mark.parametrize("missing", ["hip", "shoulder"])
def test_no_candidates_without_the_trunk(missing: str) -> None:
    pixels, scores = seen(CAMERA, resting_coordinates())
    scores[[INDEX[f"left_{missing}"], INDEX[f"right_{missing}"]]] = 0.1
    assert candidates_from_view(SET, pixels, scores, CAMERA, REFERENCE_LENGTHS_M) == []


@pytest.mark.parametrize("hidden", [("left_hip",), ("right_shoulder",), ("left_hip", "left_shoulder")])
def test_from_the_side_the_near_ones_stand_for_those_that_they_hide(hidden: tuple[str, ...]) -> None:
    pose = resting_coordinates()
    pose[3:6] = 0.0, 0.0, 0.5 * np.pi + 0.15
    pixels, scores = seen(CAMERA, pose)
    for name in hidden:
        pixels[INDEX[name]], scores[INDEX[name]] = np.nan, 0.0
    candidates = candidates_from_view(SET, pixels, scores, CAMERA, REFERENCE_LENGTHS_M)
    away = [np.linalg.norm(joints(candidate) - joints(pose), axis=1).mean() for candidate in candidates]
    assert min(away) < 0.1


def test_a_limb_that_is_not_seen_rests() -> None:
    pixels, scores = seen(CAMERA, legal_pose(np.random.default_rng(5), 0.5))
    pixels[INDEX["left_wrist"]] = np.nan
    arm = [COORDINATE[name] for name in ("left_arm_x", "left_arm_y", "left_arm_z", "left_elbow_flexion")]
    candidates = candidates_from_view(SET, pixels, scores, CAMERA, REFERENCE_LENGTHS_M)
    assert candidates
    for candidate in candidates:
        np.testing.assert_array_equal(candidate[arm], resting_coordinates()[arm])


def test_all_in_one_place_is_finite_or_nothing() -> None:
    """A detector that puts every landmark on one pixel shows no body, and breaks nothing."""
    pixels = np.full((len(INDEX), 2), 400.0)
    with np.errstate(all="raise"):
        for candidate in candidates_from_view(SET, pixels, np.ones(len(INDEX)), CAMERA, REFERENCE_LENGTHS_M):
            assert np.isfinite(candidate).all()


def test_the_face_tells_front_from_back() -> None:
    """From the side, which shoulder is nearer is a guess but for where the face points: COCO has no feet."""
    for heading in (math.pi / 2.0, -math.pi / 2.0):
        truth = resting_coordinates()
        truth[3:6] = 0.0, 0.0, heading
        camera = camera_at("cam1", [4.0, 0.0, 0.3])
        candidate = candidates_from_view(COCO, *seen(camera, truth, COCO.name), camera, REFERENCE_LENGTHS_M)[0]
        shoulders = [
            joints(x)[SEGMENT["left_upper_arm"]] - joints(x)[SEGMENT["right_upper_arm"]] for x in (candidate, truth)
        ]
        assert shoulders[0] @ shoulders[1] > 0.8 * np.linalg.norm(shoulders[0]) * np.linalg.norm(shoulders[1])


def test_candidates_agree_with_the_closed_form() -> None:
    """The lifted joints of a candidate give the candidate again (``pose_from_landmarks``)."""
    candidates = candidates_from_view(
        SET, *seen(CAMERA, legal_pose(np.random.default_rng(6), 0.5)), CAMERA, REFERENCE_LENGTHS_M
    )
    for candidate in candidates:
        again = pose_from_landmarks(SET, landmarks_of(SET.name, nominal_of(candidate)))
        assert again is not None
        # Where a limb is straight its twist is not to be seen in its joints: compare the joints.
        np.testing.assert_allclose(joints(again), joints(candidate), atol=0.02)


# --- The choice among them ------------------------------------------------------------------------


def fit_by_scipy(camera: Camera, pixels: Float64, state: State) -> None:
    """Plain least squares on the reprojection, drawn a little to where it starts."""
    start = state.coordinates.copy()

    def residuals(pose: Float64) -> Float64:
        shown = project(landmarks_of(COCO.name, nominal_of(pose)), camera)[0]
        return np.concatenate([np.nan_to_num((shown - pixels) / 4.0, nan=1e3).ravel(), (pose - start) / 0.5])

    state.nominal[POSE] = least_squares(residuals, start, max_nfev=8).x


def test_the_candidate_that_fits_best_is_kept() -> None:
    truth = legal_pose(np.random.default_rng(7), 0.4)
    pixels, scores = seen(CAMERA, truth, COCO.name)
    candidates = candidates_from_view(COCO, pixels, scores, CAMERA, REFERENCE_LENGTHS_M, 3)
    costs = []

    def fit(state: State) -> float:
        fit_by_scipy(CAMERA, pixels, state)
        cost = reprojection_cost(COCO, pixels, scores, CAMERA, state, OneViewParams())
        costs.append(cost + float(pose_surprise(state.coordinates)))
        return cost

    best = best_start(
        candidates, lambda pose: one_view_state(pose, CAMERA, 3, StartParams(), lengths_m=REFERENCE_LENGTHS_M), fit
    )
    assert best is not None
    state, cost = best
    assert cost == min(costs)
    assert state.time_ns == 3
    assert reprojection_cost(COCO, pixels, scores, CAMERA, state, OneViewParams()) < 5.0
    assert error_m(state.coordinates, truth) < 0.15


def test_nothing_that_fits_is_no_start() -> None:
    candidates = [resting_coordinates()] * 2
    for refusal in (math.inf, math.nan):
        assert best_start(candidates, lambda _: resting_state(), lambda _, cost=refusal: cost) is None
    assert best_start([], lambda _: resting_state(), lambda _: 0.0) is None


def test_the_cost_of_a_picture_grows_with_its_misfit_but_not_for_ever() -> None:
    state, params = resting_state(), OneViewParams()
    pixels, scores = seen(CAMERA, state.coordinates)
    costs = []
    for off_px in (0.0, 5.0, 50.0, 5000.0):
        moved = pixels.copy()
        moved[INDEX["nose"]] += off_px
        costs.append(reprojection_cost(SET, moved, scores, CAMERA, state, params))
    assert costs[0] == pytest.approx(0.0, abs=1e-9)
    assert costs[0] < costs[1] < costs[2] < costs[3] < 120.0
    scores[INDEX["nose"]] = 0.0
    assert reprojection_cost(SET, moved, scores, CAMERA, state, params) == pytest.approx(0.0, abs=1e-9)
    behind = resting_state()
    behind.nominal[0] = 100.0
    assert reprojection_cost(SET, pixels, scores, CAMERA, behind, params) > 1000.0


def test_the_prior_is_long_along_the_ray() -> None:
    params = OneViewParams()
    pose = resting_coordinates()
    state = one_view_state(pose, CAMERA, 0, StartParams(), imus=2)
    ray = (pose[:3] - CAMERA.centre_world_m) / np.linalg.norm(pose[:3] - CAMERA.centre_world_m)
    across = np.cross(ray, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    place = state.covariance[:3, :3]
    assert math.sqrt(ray @ place @ ray) == pytest.approx(params.depth_m)
    assert math.sqrt(across @ place @ across) == pytest.approx(params.across_m)
    assert math.sqrt(state.covariance[10, 10]) == pytest.approx(params.limb_rad)
    assert state.imus == 2


def started(camera: Camera, pixels: Float64, scores: Float64) -> State | None:
    """The whole way, with the update that fits in earnest."""
    apply = updater().apply

    def fit(state: State) -> float:
        if apply(state, [measured_2d(camera, pixels)], 30) < 0:
            return math.inf
        return reprojection_cost(SET, pixels, scores, camera, state, OneViewParams())

    candidates = candidates_from_view(SET, pixels, scores, camera, REFERENCE_LENGTHS_M, 6)
    best = best_start(candidates, lambda pose: one_view_state(pose, camera, 0, StartParams(), stature_m=1.78), fit)
    return best[0] if best else None


def test_starts_on_real_motion_are_near_the_truth(data_pack: Path) -> None:
    """Frames of clips that nothing was learnt from, one camera at 3-5 m, 3 px noise, the reference body."""
    random = np.random.default_rng(8)
    errors, depths = [], []
    for n in range(20):
        motion = load_motion(data_pack, HELD_OUT[n % len(HELD_OUT)])
        truth = motion.coordinates(random.uniform(0.0, motion.duration_s, 1))[0]
        azimuth, distance = random.uniform(-math.pi, math.pi), random.uniform(3.0, 5.0)
        offset = [distance * math.cos(azimuth), distance * math.sin(azimuth), random.uniform(-0.1, 1.3)]
        camera = camera_at("cam1", truth[:3] + offset, truth[:3])
        pixels, scores = seen(camera, truth)
        state = started(camera, pixels + 3.0 * random.normal(size=pixels.shape), scores)
        assert state is not None
        errors.append(error_m(state.coordinates, truth))
        depths.append(abs(np.linalg.norm(state.coordinates[:3] - camera.centre_world_m) - np.linalg.norm(offset)))
    assert np.mean(np.array(errors) < 0.1) >= 0.8
    assert np.median(errors) < 0.07
    assert np.median(depths) < 0.15
