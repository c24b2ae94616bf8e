"""New bodies: from points, from one picture or several, from orientations; and what is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion.births import BirthParams, Births, Sight, plausible
from fusion.body import catalog
from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import coordinate_limits
from fusion.body.skeleton import COORDINATE, LENGTHS, REFERENCE_LENGTHS_M, REFERENCE_STATURE_M, SEGMENT
from fusion.filter.state import LENGTH, POSE, State
from fusion.maths import quaternion
from fusion.records import Float64
from fusion.rig import Camera, Subject
from tests.fusion.scenes import (
    joints_of,
    landmarks_of,
    legal_pose,
    on_the_floor,
    resting_state,
    seen_from,
    standing_ring,
    updater,
)

CAMERAS = standing_ring(3)
SET = "blazepose_33"


def body(seed: int, share: float = 0.25) -> Float64:
    """Nominal [100] of somebody who stands at the origin; 0 is at rest."""
    nominal = resting_state().nominal
    if seed:
        nominal[POSE] = legal_pose(np.random.default_rng(seed), share)
        nominal[:2] = 0.0
    return on_the_floor(nominal)


def births(subject: Subject | None = None, **params: float) -> Births:
    return Births(subject or Subject(), replace(BirthParams(), **params), updater())  # type: ignore[arg-type]


def sight(camera: Camera, who: Float64, seed: int = 1, noise_px: float = 2.0) -> Sight:
    pixels = seen_from(camera, who) + noise_px * np.random.default_rng(seed).normal(size=(33, 2))
    return Sight(pixels, np.ones(33), camera)


def off_m(state: State, who: Float64) -> Float64:
    """Distance [23] of each joint from where it is."""
    return np.asarray(np.linalg.norm(joints_of(state.nominal) - joints_of(who), axis=1))


def pixels_off(state: State, one: Sight) -> Float64:
    return np.asarray(np.linalg.norm(seen_from(one.camera, state.nominal) - one.pixels, axis=1))


# --- From points ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_points_are_a_body(seed: int) -> None:
    who = body(seed, 0.7)
    points = landmarks_of("coco_17", who) + 0.01 * np.random.default_rng(seed).normal(size=(17, 3))
    state = births().from_points("coco_17", points, np.full(17, 1e-4), 7, None)
    assert state is not None
    assert state.time_ns == state.born_ns == 7
    assert np.linalg.norm(landmarks_of("coco_17", state.nominal) - points, axis=1).mean() < 0.03
    assert not state.lengths_locked


def test_known_lengths_are_kept() -> None:
    lengths = REFERENCE_LENGTHS_M * 1.03
    who = body(1)
    who[LENGTH] = np.log(lengths)
    state = births().from_points("coco_17", landmarks_of("coco_17", who), np.full(17, 1e-4), 0, lengths)
    assert state is not None
    np.testing.assert_allclose(state.lengths_m, lengths, rtol=1e-12)
    assert state.lengths_locked


@pytest.mark.parametrize("missing", ["left_hip", "right_shoulder"])
def test_without_a_trunk_there_is_no_body(missing: str) -> None:
    points = landmarks_of("coco_17", body(1))
    points[catalog.landmark_set("coco_17").landmark_names.index(missing)] = np.nan
    assert births().from_points("coco_17", points, np.full(17, 1e-4), 0, None) is None


@pytest.mark.parametrize("seed", range(4))
def test_scattered_points_are_no_body(seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-1.0, 1.0, (17, 3))
    assert births().from_points("coco_17", points, np.full(17, 1e-4), 0, None) is None


# --- From pictures --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_one_picture_is_a_body_that_looks_like_it(seed: int) -> None:
    """Seen from the camera it is where it is; how far away, and which way limbs point, one picture tells roughly."""
    who, camera = body(seed), CAMERAS[seed % 3]
    one = sight(camera, who, seed)
    state = births().from_views(SET, [one], 9, None)
    assert state is not None
    assert state.time_ns == state.born_ns == 9
    assert np.median(pixels_off(state, one)) < 8.0
    assert off_m(state, who)[0] < 0.6
    sigma = np.sqrt(state.covariance[:3, :3].trace())
    assert off_m(state, who)[0] < 3.5 * sigma
    assert plausible(state)


def test_one_picture_and_known_lengths_tell_the_distance() -> None:
    errors = []
    for seed in range(8):
        who = body(seed)
        state = births().from_views(SET, [sight(CAMERAS[0], who, seed)], 0, REFERENCE_LENGTHS_M)
        assert state is not None
        errors.append(off_m(state, who)[0])
    assert np.median(errors) < 0.12


def test_the_stature_of_the_subject_sets_the_scale() -> None:
    """A child of 1.35 m, seen by one camera: without a word taken for somebody larger who is farther away."""
    who = body(0)
    who[LENGTH] += np.log(1.35 / REFERENCE_STATURE_M)
    who = on_the_floor(who)
    one = sight(CAMERAS[0], who)
    told = births(Subject(stature_m=1.35)).from_views(SET, [one], 0, None)
    assert told is not None
    assert off_m(told, who)[0] < 0.3
    untold = births().from_views(SET, [one], 0, None)
    assert untold is None or off_m(untold, who)[0] > 2.0 * off_m(told, who)[0]


@pytest.mark.parametrize("seed", range(5))
def test_pictures_of_one_moment_are_judged_together(seed: int) -> None:
    who = body(seed, 0.4)
    state = births().from_views(SET, [sight(camera, who, k) for k, camera in enumerate(CAMERAS)], 0, None)
    assert state is not None
    assert off_m(state, who).mean() < 0.06


@pytest.mark.parametrize("seed", range(4))
def test_a_picture_of_no_body_is_none(seed: int) -> None:
    scattered = np.random.default_rng(seed).uniform(100.0, 700.0, (33, 2))
    assert births().from_views(SET, [Sight(scattered, np.ones(33), CAMERAS[0])], 0, None) is None


def test_pictures_that_do_not_belong_together_are_no_body() -> None:
    """Two people, each seen by another camera."""
    other = body(3, 0.6)
    other[:2] += [1.2, -0.9]
    sights = [sight(CAMERAS[0], body(1)), sight(CAMERAS[1], other)]
    assert births().from_views(SET, sights, 0, None) is None


def test_nothing_seen_is_nobody() -> None:
    nothing = Sight(np.full((33, 2), np.nan), np.zeros(33), CAMERAS[0])
    assert births().from_views(SET, [nothing], 0, None) is None


# --- From orientations ----------------------------------------------------------------------------

SENSED = ("pelvis", "t8", "left_upper_leg", "left_lower_leg", "right_upper_leg", "right_lower_leg", "left_upper_arm")


@pytest.mark.parametrize("seed", range(5))
def test_orientations_are_a_body_that_stands_so(seed: int) -> None:
    """What is sensed turns as it should, one common heading apart; the feet are on the floor."""
    who = body(seed, 0.4)
    _, true = forward_kinematics(who[POSE], REFERENCE_LENGTHS_M)
    segments = np.array([SEGMENT[name] for name in SENSED])
    state = births().from_orientations(true[segments], segments, 11)
    positions, found = forward_kinematics(state.coordinates, state.lengths_m)
    assert state.time_ns == 11
    vertical = np.array([0.0, 0.0, 1.0])
    up, expected = (quaternion.rotate(quaternion.conjugate(q[segments]), vertical) for q in (found, true))
    tilts = np.arccos(np.clip((up * expected).sum(1), -1.0, 1.0))
    assert np.median(tilts) < 0.15
    assert abs(landmarks_of(SET, state.nominal)[:, 2].min()) < 0.12
    assert np.isfinite(positions).all()
    assert (state.covariance.diagonal()[POSE] > 0.0).all()
    unsensed = COORDINATE["right_elbow_flexion"]
    assert state.covariance[unsensed, unsensed] > state.covariance[3, 3]


# --- What can be ----------------------------------------------------------------------------------


def test_what_is_a_body() -> None:
    state = resting_state()
    assert plausible(state)
    _, high = coordinate_limits()
    knee = COORDINATE["left_knee_flexion"]
    for change in ("nan", "knee", "giant"):
        other = state.copy()
        if change == "nan":
            other.nominal[3] = np.nan
        elif change == "knee":
            other.nominal[knee] = high[knee] + 0.5
        else:
            other.nominal[LENGTH] += 0.4
        assert not plausible(other)
    small = state.copy()
    small.nominal[LENGTH] += np.where(np.arange(LENGTHS) == 3, 0.5, 0.0)
    assert plausible(small), "a head may be of any size"
