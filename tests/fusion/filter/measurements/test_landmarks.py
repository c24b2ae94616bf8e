"""Landmarks in pictures and in the world: Jacobians, shared features, noise, what is left out, what is remembered."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from fusion.body import catalog
from fusion.body.catalog import Attachments
from fusion.body.kinematics import TABLES
from fusion.body.skeleton import SEGMENT
from fusion.filter.measurements.landmarks import LandmarkParams, landmark_points
from fusion.filter.state import FLOOR_COLUMN, RATE_COLUMN, State, retract
from fusion.filter.system import (
    MAX_FEATURES,
    MAX_LANDMARKS,
    MAX_OBSERVATIONS,
    Measurement,
    make_body,
    make_system,
)
from fusion.filter.update import linearise
from fusion.records import Float64
from tests.fusion.filter.systems import Dense
from tests.fusion.numeric import central_difference
from tests.fusion.scenes import (
    BENT,
    FISHEYE,
    camera_at,
    landmarks_of,
    measured_2d,
    measured_3d,
    random_state,
    resting_state,
    ring,
    seen_from,
    updater,
)

ASIDE_M = np.array([2.4, -1.1, 0.4])


# --- Jacobians ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Term:
    """One kind of measurement, and how many rows it has."""

    name: str
    make: Callable[[State, np.random.Generator], Measurement]
    rows: int


def looking(
    distortion: Float64 | None = None, fisheye: bool = False
) -> Callable[[State, np.random.Generator], Measurement]:
    def make(state: State, random: np.random.Generator) -> Measurement:
        pelvis = state.coordinates[:3]
        camera = camera_at("a", pelvis + ASIDE_M, pelvis, distortion=distortion, fisheye=fisheye)
        return measured_2d(camera, seen_from(camera, state.nominal) + random.normal(size=(33, 2)))

    return make


def points_near(set_name: str) -> Callable[[State, np.random.Generator], Measurement]:
    def make(state: State, random: np.random.Generator) -> Measurement:
        points = landmarks_of(set_name, state.nominal)
        return measured_3d(points + 0.01 * random.normal(size=points.shape), set_name=set_name)

    return make


TERMS = (
    Term("pinhole", looking(), rows=66),
    Term("distorted", looking(BENT), rows=66),
    Term("fisheye", looking(FISHEYE, True), rows=66),
    Term("points of blazepose", points_near("blazepose_33"), rows=99),
    Term("points of joints", points_near("joints_23"), rows=69),
)


@pytest.mark.parametrize("term", TERMS, ids=[term.name for term in TERMS])
@pytest.mark.parametrize("seed", range(2))
def test_jacobian_against_central_differences(term: Term, seed: int) -> None:
    """``jacobian`` is the derivative of the prediction, which is that of the residual with the other sign."""
    random = np.random.default_rng(seed)
    state = random_state(random, imus=1)
    measurement = term.make(state, random)
    dense = Dense(state, measurement)
    assert len(dense.residual) == term.rows

    def residual(column: int, by: float) -> Float64:
        error = np.zeros(len(state.nominal))
        error[column] = by
        return Dense(state, measurement, nominal=retract(state.nominal, error)).residual

    columns = range(len(state.nominal))
    numeric = -np.stack([central_difference(lambda h, c=c: residual(c, h)) for c in columns], axis=1)  # type: ignore[misc]
    allowed = 2e-7 * np.abs(numeric).max(axis=1, keepdims=True) + 1e-8
    assert not np.argwhere(np.abs(dense.jacobian - numeric) > allowed).tolist()
    assert not dense.jacobian[:, FLOOR_COLUMN].any()
    assert not dense.jacobian[:, RATE_COLUMN:].any()
    assert (dense.variance > 0.0).all()
    assert (dense.robust == 2).all()


def test_residuals_vanish_at_the_truth() -> None:
    state = random_state(np.random.default_rng(4))
    camera = camera_at("a", state.coordinates[:3] + ASIDE_M, state.coordinates[:3], distortion=BENT)
    for measurement in (
        measured_2d(camera, seen_from(camera, state.nominal)),
        measured_3d(landmarks_of("halpe_26", state.nominal), set_name="halpe_26"),
    ):
        np.testing.assert_allclose(Dense(state, measurement).residual, 0.0, atol=1e-9)


@pytest.mark.parametrize("set_name", ["coco_17", "joints_23", "body_25"])
def test_points_of_a_body(set_name: str) -> None:
    """The kernel's are the catalog's, and what is not on the body is nowhere."""
    state, placed = random_state(np.random.default_rng(5)), catalog.attachments(set_name)
    segment = placed.segment.copy()
    segment[2] = -1
    points = np.zeros((len(segment), 3))
    landmark_points(TABLES, make_body(), state.nominal, segment, placed.unit_offset, placed.length, points)
    expected = landmarks_of(set_name, state.nominal)
    expected[2] = np.nan
    np.testing.assert_allclose(points, expected, atol=1e-12)


# --- Shared features ------------------------------------------------------------------------------


def test_a_landmark_that_several_cameras_see_is_one_feature() -> None:
    """A camera that does not see it adds no observation, and takes nobody else's away."""
    state = random_state(np.random.default_rng(6))
    cameras = ring(3)
    views = [seen_from(camera, state.nominal) for camera in cameras]
    views[0][[4, 5]] = np.nan
    views[1][[5, 6]] = np.nan
    views[2][5] = np.nan
    dense = Dense(state, *(measured_2d(camera, pixels) for camera, pixels in zip(cameras, views, strict=True)))
    assert dense.features == 32
    seen = {k: dense.group[dense.source == k].tolist() for k in range(33)}
    assert (seen[4], seen[5], seen[6], seen[7]) == ([1, 2], [], [0, 2], [0, 1, 2])
    for k in set(range(33)) - {5}:
        assert len(set(dense.feature[dense.source == k])) == 1


def test_pictures_and_points_of_one_set_share_features() -> None:
    state, camera = random_state(np.random.default_rng(7)), ring(1)[0]
    picture = measured_2d(camera, seen_from(camera, state.nominal))
    points = measured_3d(landmarks_of("blazepose_33", state.nominal))
    dense = Dense(state, picture, points)
    assert (dense.features, dense.observations) == (33, 66)
    np.testing.assert_array_equal(np.bincount(dense.block), [2] * 33 + [3] * 33)


# --- Noise ----------------------------------------------------------------------------------------


def test_noise_follows_the_picture() -> None:
    state = random_state(np.random.default_rng(8))
    pixels = measured_2d(camera_at("a", [3.0, 0.0, 0.3]), np.full((33, 2), 400.0))
    state.landmark_noise = 0.01
    np.testing.assert_allclose(
        Dense(state, pixels).variance, np.repeat(pixels.relative_variance, 2) * (0.01 * 720) ** 2
    )
    state.landmark_noise = 0.0
    Dense(state, pixels)
    assert state.landmark_noise == LandmarkParams().noise_share


# --- What is left out -----------------------------------------------------------------------------

BAD_NUMBERS = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("bad", BAD_NUMBERS)
@pytest.mark.parametrize("axis", [0, 1])
def test_pixels_that_are_no_numbers_add_nothing(bad: float, axis: int) -> None:
    state = resting_state()
    camera = camera_at("a", [3.0, 0.0, 0.3])
    pixels = seen_from(camera, state.nominal)
    pixels[4, axis] = bad
    dense = Dense(state, measured_2d(camera, pixels))
    assert dense.observations == 32
    assert 4 not in dense.source
    assert np.isfinite(dense.residual).all()


@pytest.mark.parametrize("bad", BAD_NUMBERS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_points_that_are_no_numbers_add_nothing(bad: float, axis: int) -> None:
    state = resting_state()
    points = landmarks_of("blazepose_33", state.nominal)
    points[4, axis] = bad
    dense = Dense(state, measured_3d(points))
    assert dense.observations == 32
    assert 4 not in dense.source


@pytest.mark.parametrize("bad", [*BAD_NUMBERS, 0.0, -1.0])
def test_landmarks_of_impossible_trust_add_nothing(bad: float) -> None:
    state = resting_state()
    measurement = measured_3d(landmarks_of("blazepose_33", state.nominal))
    measurement.variance_m2[7] = bad
    assert 7 not in Dense(state, measurement).source
    camera = camera_at("a", [3.0, 0.0, 0.3])
    pixels = measured_2d(camera, seen_from(camera, state.nominal))
    pixels.relative_variance[:] = 1.0
    pixels.relative_variance[7] = bad
    assert 7 not in Dense(state, pixels).source


def test_what_is_behind_the_camera_adds_nothing() -> None:
    state = resting_state()
    behind = camera_at("a", [3.0, 0.0, 0.3], [6.0, 0.0, 0.3])
    assert Dense(state, measured_2d(behind, np.full((33, 2), 300.0))).observations == 0
    # A camera in the midst of the body sees what is in front of it only.
    within = camera_at("b", [0.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    seen = np.isfinite(seen_from(within, state.nominal)).all(1)
    assert 0 < seen.sum() < 33
    np.testing.assert_array_equal(
        np.unique(Dense(state, measured_2d(within, np.full((33, 2), 300.0))).source), np.flatnonzero(seen)
    )


def test_what_the_lens_model_does_not_reach_adds_nothing() -> None:
    """A polynomial that folds back would put points far off the axis into the picture."""
    state = resting_state()
    folding = camera_at("a", [0.9, 0.0, 0.0], distortion=np.array([-0.9]))
    seen = np.isfinite(seen_from(folding, state.nominal)).all(1)
    assert 0 < seen.sum() < 33
    dense = Dense(state, measured_2d(folding, np.full((33, 2), 300.0)))
    np.testing.assert_array_equal(np.unique(dense.source), np.flatnonzero(seen))


def test_landmarks_that_are_not_on_the_body_add_nothing() -> None:
    state = resting_state()
    points = measured_3d(landmarks_of("blazepose_33", state.nominal))
    camera = ring(1)[0]
    picture = measured_2d(camera, seen_from(camera, state.nominal))
    segment = np.where(np.arange(33) == 3, -1, points.placed.segment)
    placed = replace(points.placed, segment=segment)
    for measurement in (replace(points, placed=placed), replace(picture, placed=placed)):
        assert sorted(set(range(33)) - set(Dense(state, measurement).source.tolist())) == [3]


def repeated(placed: Attachments, times: int) -> Attachments:
    """A landmark set of its own, several times as large."""
    names = ("segment", "unit_offset", "length", "sigma_scale")
    return Attachments(identity=99, **{name: np.concatenate([getattr(placed, name)] * times) for name in names})


@pytest.mark.parametrize("kind", ["picture", "points"])
@pytest.mark.parametrize("times", [4, 12])
@pytest.mark.parametrize(
    ("features", "observations"),
    [(0, 0), (MAX_FEATURES - 1, 5), (MAX_FEATURES, 5), (5, MAX_OBSERVATIONS - 1), (5, MAX_OBSERVATIONS)],
)
def test_the_system_never_overflows(kind: str, times: int, features: int, observations: int) -> None:
    """More landmarks than there is room for, in a set that is shared and in one that is too large for it."""
    assert (MAX_LANDMARKS >= 33 * 4) & (max(MAX_LANDMARKS, MAX_FEATURES) < 33 * 12)
    state = random_state(np.random.default_rng(10))
    placed = repeated(catalog.attachments("blazepose_33"), times)
    camera = camera_at("a", state.coordinates[:3] + ASIDE_M, state.coordinates[:3])
    pixels = np.concatenate([seen_from(camera, state.nominal)] * times)
    points = np.concatenate([landmarks_of("blazepose_33", state.nominal)] * times)
    measurement: Measurement = replace(measured_2d(camera, pixels), placed=placed, relative_variance=placed.sigma_scale)
    if kind == "points":
        measurement = replace(measured_3d(points), placed=placed, variance_m2=np.full(len(points), 1e-4))
    body, system = make_body(), make_system(len(state.nominal))
    linearise(TABLES, state.nominal, body, system)
    system.filled[:2] = features, observations
    before = {name: getattr(system, name).copy() for name in system._fields}
    measurement.add_rows(state, state.nominal, body, system)
    added = min(33 * times, MAX_FEATURES - features, MAX_OBSERVATIONS - observations)
    assert system.filled[1] == observations + added
    assert features <= system.filled[0] <= MAX_FEATURES
    for name, used in (("jacobian", features), ("residual", observations), ("variance", observations)):
        np.testing.assert_array_equal(getattr(system, name)[:used], before[name][:used])


def test_more_views_than_there_is_room_for() -> None:
    state, camera = random_state(np.random.default_rng(11)), ring(1)[0]
    picture = measured_2d(camera, seen_from(camera, state.nominal))
    views = MAX_OBSERVATIONS // 33 + 3
    dense = Dense(state, *[picture] * views)
    assert (dense.features, dense.observations) == (33, MAX_OBSERVATIONS)
    assert updater().apply(state, [picture] * views) >= 0


# --- What is remembered ---------------------------------------------------------------------------


def test_landmark_noise_is_learned() -> None:
    """The scale goes to what the residuals show, within its bounds, from either side."""
    random = np.random.default_rng(12)
    camera = camera_at("a", [3.0, 0.0, 0.3])
    params = LandmarkParams(noise_memory=20.0)
    for start, sigma_px, learned in (
        (0.02, 4.0, 4.0 / 720),
        (0.003, 9.0, 9.0 / 720),
        (0.02, 0.0, params.noise_share_min),
        (0.02, 100.0, params.noise_share_max),
    ):
        state = resting_state(sigma=1e-4)
        state.lock_lengths()
        state.landmark_noise = start
        work = updater()
        for _ in range(300):
            trial = state.copy()
            noise = sigma_px * catalog.attachments("blazepose_33").sigma_scale[:, None] * random.normal(size=(33, 2))
            pixels = seen_from(camera, state.nominal) + noise
            work.apply(trial, [measured_2d(camera, pixels, params=params)])
            state.landmark_noise = trial.landmark_noise
        assert state.landmark_noise == pytest.approx(learned, rel=0.15)


def test_each_of_several_pictures_tells_its_own_noise() -> None:
    """What is learned of two pictures at once is what one after the other would have told."""
    random = np.random.default_rng(13)
    params = LandmarkParams(noise_memory=20.0)
    cameras = ring(2)
    state = resting_state(sigma=1e-6)
    state.landmark_noise = 0.01
    views = [
        measured_2d(camera, seen_from(camera, state.nominal) + sigma_px * random.normal(size=(33, 2)), params=params)
        for camera, sigma_px in zip(cameras, (2.0, 15.0), strict=True)
    ]
    at_once, on_end, none = state.copy(), state.copy(), state.copy()
    updater().apply(at_once, views)
    for view in views:
        updater().apply(on_end, [view])
        none.landmark_noise = 0.01
        updater().apply(none, [view])
    # The second one's residuals are compared with the scale before the first one where both come at once.
    assert at_once.landmark_noise == pytest.approx(on_end.landmark_noise, rel=0.02)
    assert at_once.landmark_noise != pytest.approx(none.landmark_noise, rel=1e-3)


@pytest.mark.parametrize("count", [1, 3, 33])
def test_joints_are_marked_seen(count: int) -> None:
    """By each landmark that fits, however few there are; not by one that does not."""
    state = resting_state()
    camera = camera_at("a", [3.0, 0.0, 0.3])
    names = catalog.landmark_set("blazepose_33").landmark_names
    order = [names.index(name) for name in ("left_wrist", "right_knee", "left_ankle")]
    order += [k for k in range(33) if k not in order]
    pixels = np.full((33, 2), np.nan)
    pixels[order[:count]] = seen_from(camera, state.nominal)[order[:count]]
    measurement = measured_2d(camera, pixels, time_ns=77)
    updater().apply(state, [measurement])
    seen = np.flatnonzero(state.measured_ns == 77)
    assert set(seen) == set(measurement.placed.segment[order[:count]])


def test_an_outlier_marks_nothing() -> None:
    state = resting_state(sigma=0.01)
    points = landmarks_of("coco_17", state.nominal)
    names = catalog.landmark_set("coco_17").landmark_names
    points[names.index("left_wrist")] += 0.5
    updater().apply(state, [measured_3d(points, set_name="coco_17", time_ns=77)])
    assert state.measured_ns[SEGMENT["left_hand"]] < 0
    assert state.measured_ns[SEGMENT["right_hand"]] == 77
