"""Every measurement: its Jacobian against central differences, and what of it is left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from fusion.body import catalog
from fusion.body.catalog import Attachments
from fusion.body.kinematics import TABLES
from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.body.skeleton import COORDINATE, COORDINATE_NAMES, COORDINATES, SEGMENT
from fusion.filter.measurements.inertial import GyroMeasurement, GyroParams
from fusion.filter.measurements.landmarks import LandmarkParams
from fusion.filter.measurements.radar import TRUNK, RadarParams, RadarTrunkMeasurement
from fusion.filter.measurements.rows import MAX_ROWS, Measurement, make_rows
from fusion.filter.state import ERRORS, LENGTH, RATE, RATE_COLUMN, State, retract
from fusion.filter.update import linearise
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.body.twin import ROTATION_VECTORS
from tests.fusion.filter.systems import LimitsAndRest, System
from tests.fusion.numeric import central_difference
from tests.fusion.scenes import (
    BENT,
    FISHEYE,
    camera_at,
    joints_of,
    landmarks_of,
    measured_2d,
    measured_3d,
    random_state,
    resting_state,
    seen_from,
    updater,
)

ASIDE_M = np.array([2.4, -1.1, 0.4])
GYRO_SENSORS = ("pelvis", "left_lower_leg", "right_hand", "head", "t8", "left_toe")


# --- Jacobians ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Term:
    """One kind of measurement, and how exact its Jacobian claims to be."""

    name: str
    make: Callable[[State, np.random.Generator], Measurement]
    rows: int
    relative: float = 2e-7
    """Largest error of an exact entry, as a share of the largest entry of its row."""
    approximate: Callable[[State], Float64] = field(default=lambda state: np.zeros(ERRORS))
    """[99] the error of each column that the documented approximations may make, in the row's unit."""
    rate: float = 1.0
    prepare: Callable[[State], None] = lambda state: None


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


def gyros(state: State, random: np.random.Generator, sensors: tuple[str, ...] = GYRO_SENSORS) -> GyroMeasurement:
    count = len(sensors)
    return GyroMeasurement(
        time_ns=0,
        source="imus",
        segment=np.array([SEGMENT[name] for name in sensors]),
        q_segment_from_sensor=quaternion.from_rotvec(random.normal(size=(count, 3))),
        rates_rad_s=random.normal(size=(count, 3)),
        params=GyroParams(),
    )


def chain_slack(state: State) -> Float64:
    """A chain's four joints share one rotation vector; that its rate turns with it is left out of the derivative."""
    slack = np.zeros(ERRORS)
    for prefix, joints in (("spine", 4), ("neck", 2)):
        columns = [COORDINATE[f"{prefix}_{axis}"] for axis in "xyz"]
        # Half the chain's rate, shared once more: d(J_r(v) v')/dv is v'/2 for each joint's part.
        slack[columns] = 1.2 * 0.5 * np.linalg.norm(state.rates[columns]) / joints
    return slack


def trunk_cluster(state: State, random: np.random.Generator) -> RadarTrunkMeasurement:
    directions = quaternion.to_matrix(quaternion.from_rotvec(random.normal(size=3)))
    return RadarTrunkMeasurement(
        time_ns=0,
        source="radar",
        position_m=joints_of(state.nominal)[TRUNK] + 0.1 * random.normal(size=3),
        directions=directions,
        distance_m=2.5,
        radial_velocity_m_s=0.4,
        params=RadarParams(),
    )


def velocity_slack(state: State) -> Float64:
    """The radial velocity's derivative by the pose is left out: at most the trunk's rates times its length."""
    slack = np.zeros(ERRORS)
    rates = np.linalg.norm(state.rates[COORDINATE["root_rx"] : COORDINATE["spine_z"] + 1])
    slack[:COORDINATES] = 0.5 * rates
    slack[LENGTH] = 0.5 * rates
    return slack


def out_of_range(state: State) -> None:
    low, high = coordinate_limits()
    for name, beyond in (("left_knee_flexion", low), ("right_elbow_flexion", high), ("neck_y", high), ("spine_z", low)):
        index = COORDINATE[name]
        state.coordinates[index] = beyond[index] * 1.3


def rest_slack(state: State) -> Float64:
    """Rest of a ball is a rotation away; its derivative is taken as if that were small, which is half of it off."""
    slack = np.zeros(ERRORS)
    rest = resting_coordinates()
    for name in (name for name in COORDINATE_NAMES if name in ROTATION_VECTORS and name.endswith("_x")):
        first = COORDINATE[name]
        columns = slice(first, first + 3)
        here, there = (quaternion.from_rotvec(vector[columns]) for vector in (state.coordinates, rest))
        away = quaternion.to_rotvec(quaternion.multiply(quaternion.conjugate(here), there))
        slack[columns] = 0.6 * np.linalg.norm(away) + 0.1 * np.linalg.norm(away) ** 2
    return slack


WIDE, NARROW = np.eye(ERRORS), 1e-4 * np.eye(ERRORS)
LIMITED = int(np.isfinite(coordinate_limits()[0]).sum())

TERMS = (
    Term("landmarks2d pinhole", looking(), rows=66),
    Term("landmarks2d distorted", looking(BENT), rows=66),
    Term("landmarks2d fisheye", looking(FISHEYE, True), rows=66),
    Term("landmarks3d blazepose", points_near("blazepose_33"), rows=99),
    Term("landmarks3d joints", points_near("joints_23"), rows=69),
    Term("gyro", gyros, rows=18, approximate=chain_slack),
    Term("gyro without chains", lambda s, r: gyros(s, r, ("pelvis", "left_foot", "right_toe")), rows=9, rate=5),
    Term("gyro at rest is exact", gyros, rows=18, rate=0.0),
    Term("radar trunk", trunk_cluster, rows=4, approximate=velocity_slack),
    Term("radar trunk at rest is exact", trunk_cluster, rows=4, rate=0.0),
    Term("limits", lambda s, r: LimitsAndRest(NARROW), rows=4, prepare=out_of_range),
    Term("rest", lambda s, r: LimitsAndRest(WIDE), rows=LIMITED + 12, approximate=rest_slack),
)


@pytest.mark.parametrize("term", TERMS, ids=[term.name for term in TERMS])
@pytest.mark.parametrize("seed", range(2))
def test_jacobian_against_central_differences(term: Term, seed: int) -> None:
    """``jacobian`` is the derivative of the prediction, which is that of the residual with the other sign."""
    random = np.random.default_rng(seed)
    state = random_state(random, rate=term.rate)
    term.prepare(state)
    measurement = term.make(state, random)
    system = System(state, measurement)
    assert system.count == term.rows

    def residual(column: int, by: float) -> Float64:
        error = np.zeros(ERRORS)
        error[column] = by
        return System(state, measurement, nominal=retract(state.nominal, error)).residual

    numeric = -np.stack([central_difference(lambda h, c=c: residual(c, h)) for c in range(ERRORS)], axis=1)  # type: ignore[misc]
    exact = term.relative * np.abs(numeric).max(axis=1, keepdims=True) + 1e-8
    difference = np.abs(system.jacobian - numeric)
    assert not np.argwhere(difference > exact + term.approximate(state)).tolist()


@pytest.mark.parametrize("term", TERMS, ids=[term.name for term in TERMS])
def test_blocks_are_whole_and_variances_positive(term: Term) -> None:
    random = np.random.default_rng(3)
    state = random_state(random, rate=term.rate)
    term.prepare(state)
    system = System(state, term.make(state, random))
    assert (system.variance > 0.0).all()
    starts = np.flatnonzero(system.block == np.arange(system.count))
    np.testing.assert_array_equal(np.repeat(starts, np.diff([*starts, system.count])), system.block)
    for start in starts:
        same = system.block == start
        assert len(set(system.robust[same])) == len(set(system.source[same])) == 1


# --- What is predicted ----------------------------------------------------------------------------


def test_residuals_vanish_at_the_truth() -> None:
    random = np.random.default_rng(4)
    state = random_state(random)
    camera = camera_at("a", state.coordinates[:3] + ASIDE_M, state.coordinates[:3], distortion=BENT)
    for measurement in (
        measured_2d(camera, seen_from(camera, state.nominal)),
        measured_3d(landmarks_of("halpe_26", state.nominal), set_name="halpe_26"),
    ):
        np.testing.assert_allclose(System(state, measurement).residual, 0.0, atol=1e-9)


def test_gyro_measures_how_the_segment_turns() -> None:
    """Against the rotation of the segment between two instants, in the sensor's own frame."""
    random = np.random.default_rng(5)
    state = random_state(random, rate=2.0)
    measurement = gyros(state, random)

    def orientation(at_s: float) -> Float64:
        error = np.zeros(ERRORS)
        error[:COORDINATES] = state.rates * at_s
        work = updater()
        linearise(TABLES, retract(state.nominal, error), work.body, work.rows)
        return quaternion.multiply(work.body.quaternions[measurement.segment], measurement.q_segment_from_sensor)

    step_s = 1e-5
    before, after = orientation(-step_s), orientation(step_s)
    turned = quaternion.to_rotvec(quaternion.multiply(quaternion.conjugate(before), after)) / (2.0 * step_s)
    residual = System(state, replace(measurement, rates_rad_s=turned)).residual
    np.testing.assert_allclose(residual, 0.0, atol=1e-6)


def test_radar_measures_how_the_trunk_moves() -> None:
    random = np.random.default_rng(6)
    state = random_state(random, rate=2.0)
    measurement = trunk_cluster(state, random)

    def trunk(at_s: float) -> Float64:
        error = np.zeros(ERRORS)
        error[:COORDINATES] = state.rates * at_s
        return np.asarray(joints_of(retract(state.nominal, error))[TRUNK])

    velocity = (trunk(1e-6) - trunk(-1e-6)) / 2e-6
    told = replace(
        measurement,
        position_m=trunk(0.0),
        radial_velocity_m_s=float(measurement.directions[0] @ velocity),
    )
    np.testing.assert_allclose(System(state, told).residual, 0.0, atol=1e-7)


def test_noise_follows_the_measurement() -> None:
    random = np.random.default_rng(7)
    state = random_state(random)
    pixels = measured_2d(camera_at("a", [3.0, 0.0, 0.3]), np.full((33, 2), 400.0))
    state.landmark_noise = 0.01
    np.testing.assert_allclose(
        System(state, pixels).variance, np.repeat(pixels.relative_variance, 2) * (0.01 * 720) ** 2
    )
    state.landmark_noise = 0.0
    System(state, pixels)
    assert state.landmark_noise == LandmarkParams().noise_share
    still, fast = gyros(state, random, ("pelvis",)), gyros(state, random, ("pelvis",))
    still = replace(still, rates_rad_s=np.zeros((1, 3)))
    fast = replace(fast, rates_rad_s=np.array([[0.0, 6.0, 8.0]]))
    params = GyroParams()
    np.testing.assert_allclose(System(state, still).variance, params.noise_rad_s**2)
    np.testing.assert_allclose(System(state, fast).variance, params.noise_rad_s**2 + (params.share * 10.0) ** 2)
    cluster = trunk_cluster(state, random)
    p = cluster.params
    expected = [p.range_m, p.azimuth_rad * 2.5, p.elevation_rad * 2.5, p.doppler_m_s]
    np.testing.assert_allclose(np.sqrt(System(state, cluster).variance), expected)


# --- What is left out -----------------------------------------------------------------------------

BAD_NUMBERS = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("bad", BAD_NUMBERS)
@pytest.mark.parametrize("axis", [0, 1])
def test_pixels_that_are_no_numbers_add_no_rows(bad: float, axis: int) -> None:
    state = resting_state()
    camera = camera_at("a", [3.0, 0.0, 0.3])
    pixels = seen_from(camera, state.nominal)
    pixels[4, axis] = bad
    system = System(state, measured_2d(camera, pixels))
    assert system.count == 64
    assert 4 not in system.source
    assert np.isfinite(system.residual).all()


@pytest.mark.parametrize("bad", BAD_NUMBERS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_points_that_are_no_numbers_add_no_rows(bad: float, axis: int) -> None:
    state = resting_state()
    points = landmarks_of("blazepose_33", state.nominal)
    points[4, axis] = bad
    system = System(state, measured_3d(points))
    assert system.count == 96
    assert 4 not in system.source


@pytest.mark.parametrize("bad", [*BAD_NUMBERS, 0.0, -1.0])
def test_points_of_impossible_trust_add_no_rows(bad: float) -> None:
    state = resting_state()
    measurement = measured_3d(landmarks_of("blazepose_33", state.nominal))
    measurement.variance_m2[7] = bad
    assert 7 not in System(state, measurement).source
    camera = camera_at("a", [3.0, 0.0, 0.3])
    pixels = measured_2d(camera, seen_from(camera, state.nominal))
    pixels.relative_variance[:] = 1.0
    pixels.relative_variance[7] = bad
    assert 7 not in System(state, pixels).source


@pytest.mark.parametrize("bad", BAD_NUMBERS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rates_that_are_no_numbers_add_no_rows(bad: float, axis: int) -> None:
    state = resting_state()
    measurement = gyros(state, np.random.default_rng(8))
    measurement.rates_rad_s[2, axis] = bad
    system = System(state, measurement)
    assert system.count == 3 * (len(GYRO_SENSORS) - 1)
    assert 2 not in system.source
    assert np.isfinite(system.variance).all()


def test_a_radar_cluster_that_is_no_number_adds_no_rows() -> None:
    state = resting_state()
    cluster = trunk_cluster(state, np.random.default_rng(9))
    for bad in BAD_NUMBERS:
        assert System(state, replace(cluster, position_m=np.array([0.0, bad, 1.0]))).count == 0
        assert System(state, replace(cluster, radial_velocity_m_s=bad)).count == 0


def test_what_is_behind_the_camera_adds_no_rows() -> None:
    state = resting_state()
    behind = camera_at("a", [3.0, 0.0, 0.3], [6.0, 0.0, 0.3])
    assert System(state, measured_2d(behind, np.full((33, 2), 300.0))).count == 0
    # A camera in the midst of the body sees what is in front of it only.
    within = camera_at("b", [0.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    seen = np.isfinite(seen_from(within, state.nominal)).all(1)
    assert 0 < seen.sum() < 33
    np.testing.assert_array_equal(
        np.unique(System(state, measured_2d(within, np.full((33, 2), 300.0))).source), np.flatnonzero(seen)
    )


def test_what_the_lens_model_does_not_reach_adds_no_rows() -> None:
    """A polynomial that folds back would put points far off the axis into the picture."""
    state = resting_state()
    folding = camera_at("a", [0.9, 0.0, 0.0], distortion=np.array([-0.9]))
    seen = np.isfinite(seen_from(folding, state.nominal)).all(1)
    assert 0 < seen.sum() < 33
    system = System(state, measured_2d(folding, np.full((33, 2), 300.0)))
    np.testing.assert_array_equal(np.unique(system.source), np.flatnonzero(seen))


def test_landmarks_that_are_not_on_the_body_add_no_rows() -> None:
    state = resting_state()
    measurement = measured_3d(landmarks_of("blazepose_33", state.nominal))
    segment = np.where(np.arange(33) == 3, -1, measurement.placed.segment)
    measurement = replace(measurement, placed=replace(measurement.placed, segment=segment))
    assert 3 not in System(state, measurement).source
    unworn = replace(gyros(state, np.random.default_rng(1), ("pelvis", "head")), segment=np.array([-1, 6]))
    np.testing.assert_array_equal(System(state, unworn).source, [1, 1, 1])


def repeated(placed: Attachments, times: int) -> Attachments:
    names = ("segment", "unit_offset", "length", "sigma_scale")
    return Attachments(**{name: np.concatenate([getattr(placed, name)] * times) for name in names})


@pytest.mark.parametrize("filled_before", [0, 1, MAX_ROWS - 4, MAX_ROWS - 1, MAX_ROWS])
def test_the_system_never_overflows(filled_before: int) -> None:
    """More landmarks, sensors and limits than there are rows: whole blocks only, and none beyond the last."""
    random = np.random.default_rng(10)
    state = random_state(random)
    times = 12
    placed = repeated(catalog.attachments("blazepose_33"), times)
    camera = camera_at("a", state.coordinates[:3] + ASIDE_M, state.coordinates[:3])
    pixels = np.concatenate([seen_from(camera, state.nominal)] * times)
    points = np.concatenate([landmarks_of("blazepose_33", state.nominal)] * times)
    trust = np.full(len(points), 1e-4)
    many: list[tuple[Measurement, int]] = [
        (replace(measured_2d(camera, pixels), placed=placed, relative_variance=placed.sigma_scale), 2),
        (replace(measured_3d(points), placed=placed, variance_m2=trust), 3),
        (gyros(state, random, GYRO_SENSORS * 20), 3),
        (trunk_cluster(state, random), 4),
        (LimitsAndRest(WIDE), 1),
    ]
    for measurement, size in many:
        work = updater()
        guard = make_rows()
        linearise(TABLES, state.nominal, work.body, work.rows)
        work.rows.filled[0] = filled_before
        before = {name: getattr(work.rows, name)[:filled_before].copy() for name in guard._fields if name != "filled"}
        measurement.add_rows(state, state.nominal, work.body, work.rows)
        filled = int(work.rows.filled[0])
        assert filled_before <= filled <= MAX_ROWS
        assert (filled - filled_before) % size == 0
        if not isinstance(measurement, RadarTrunkMeasurement | LimitsAndRest):
            assert MAX_ROWS - filled < size
        for name, values in before.items():
            np.testing.assert_array_equal(getattr(work.rows, name)[:filled_before], values)


# --- Limits and rest ------------------------------------------------------------------------------


def test_limits_have_rows_only_where_they_are_broken() -> None:
    state = resting_state()
    assert System(state, LimitsAndRest(NARROW)).count == 0
    low, high = coordinate_limits()
    knee = COORDINATE["left_knee_flexion"]
    for value, wall in ((low[knee] - 0.3, low[knee]), (high[knee] + 0.2, high[knee])):
        state.coordinates[knee] = value
        system = System(state, LimitsAndRest(NARROW))
        assert system.count == 1
        assert system.residual[0] == pytest.approx(wall - value)
        assert system.robust[0] == 0
        assert np.flatnonzero(system.jacobian[0]).tolist() == [knee]


def test_rest_draws_the_unsure_only() -> None:
    state = resting_state()
    state.coordinates[COORDINATE["left_elbow_flexion"]] = 1.4
    variance = NARROW.copy()
    variance[COORDINATE["left_elbow_flexion"], COORDINATE["left_elbow_flexion"]] = 1.0
    system = System(state, LimitsAndRest(variance))
    assert system.count == 1
    assert system.residual[0] == pytest.approx(resting_coordinates()[COORDINATE["left_elbow_flexion"]] - 1.4)


def test_the_root_has_neither_limit_nor_rest() -> None:
    state = resting_state()
    state.coordinates[:6] = [5.0, 5.0, 5.0, 1.0, 1.0, 1.0]
    variance = NARROW.copy()
    variance[:6, :6] = 100.0 * np.eye(6)
    assert System(state, LimitsAndRest(variance)).count == 0


def test_rates_and_lengths_have_no_limits() -> None:
    state = resting_state()
    state.nominal[RATE] = 100.0
    assert System(state, LimitsAndRest(NARROW)).count == 0
    assert not System(state, LimitsAndRest(WIDE)).jacobian[:, RATE_COLUMN:].any()


# --- What is remembered ---------------------------------------------------------------------------


def test_landmark_noise_is_learned() -> None:
    """The scale goes to what the residuals show, within its bounds, from either side."""
    random = np.random.default_rng(11)
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
            work.apply(trial, measured_2d(camera, pixels, params=params))
            state.landmark_noise = trial.landmark_noise
        assert state.landmark_noise == pytest.approx(learned, rel=0.15)


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
    updater().apply(state, measurement)
    seen = np.flatnonzero(state.measured_ns == 77)
    assert set(seen) == set(measurement.placed.segment[order[:count]])


def test_an_outlier_marks_nothing() -> None:
    state = resting_state(sigma=0.01)
    points = landmarks_of("coco_17", state.nominal)
    names = catalog.landmark_set("coco_17").landmark_names
    points[names.index("left_wrist")] += 0.5
    updater().apply(state, measured_3d(points, set_name="coco_17", time_ns=77))
    assert state.measured_ns[SEGMENT["left_hand"]] < 0
    assert state.measured_ns[SEGMENT["right_hand"]] == 77
