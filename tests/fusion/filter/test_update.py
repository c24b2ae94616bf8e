"""The update against a readable twin; as a fit from a cold start; with outliers, limits and locked lengths."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fusion.body import catalog
from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.body.skeleton import COORDINATE, COORDINATES, LENGTHS, REFERENCE_LENGTHS_M, SEGMENT
from fusion.filter.measurements.anatomy import AnatomyParams
from fusion.filter.measurements.inertial import GyroMeasurement, GyroParams
from fusion.filter.measurements.rows import Body, Measurement, Rows
from fusion.filter.process import ProcessParams, make_process, predict
from fusion.filter.start import StartParams, pose_from_landmarks, wide_state
from fusion.filter.state import ERRORS, LENGTH, POSE, State, empty_state, retract
from fusion.filter.update import UpdateParams, Updater
from fusion.records import Float64
from tests.fusion.filter.systems import LimitsAndRest, System
from tests.fusion.scenes import (
    camera_at,
    drawn_from,
    joints_of,
    landmarks_of,
    legal_pose,
    measured_2d,
    measured_3d,
    random_state,
    resting_state,
    ring,
    seen_from,
    updater,
)

FRAME_NS = 33_333_333


# --- The twin -------------------------------------------------------------------------------------


def twin_weights(system: System, innovation: Float64, first: bool, params: UpdateParams) -> Float64:
    """Student-t weights [m] of all blocks; those outside the gate are all but left out, unless most are."""
    weights = np.ones(system.count)
    outside: list[slice] = []
    blocks = 0
    for start in np.unique(system.block):
        rows = slice(start, start + int((system.block == start).sum()))
        if not system.robust[start]:
            continue
        blocks += 1
        residual = system.residual[rows]
        if first and residual.size == 2:
            squared = residual @ np.linalg.solve(innovation[rows, rows], residual)
        else:
            variance = innovation.diagonal()[rows] if first else system.variance[rows]
            squared = (residual**2 / variance).sum()
        weights[rows] = (params.student_nu + residual.size) / (params.student_nu + squared)
        if first and squared > params.gate**2:
            outside.append(rows)
    if len(outside) <= params.gate_majority * blocks:
        for rows in outside:
            weights[rows] = 0.0
    return np.maximum(weights, params.weight_floor)


def twin_update(state: State, measurement: Measurement, params: UpdateParams) -> tuple[Float64, Float64]:
    """Nominal and covariance after Gauss-Newton steps on the posterior, in information form."""
    prior_information = np.linalg.inv(state.covariance)
    step = np.zeros(ERRORS)
    information = prior_information
    for iteration in range(1 if measurement.linear else params.iterations):
        at = retract(state.nominal, step)
        system = System(state, measurement, LimitsAndRest(state.covariance), nominal=at)
        h = system.jacobian
        innovation = h @ state.covariance @ h.T + np.diag(system.variance)
        trust = twin_weights(system, innovation, iteration == 0, params) / system.variance
        information = prior_information + (h.T * trust) @ h
        previous = step
        step = np.asarray(np.linalg.solve(information, (h.T * trust) @ (system.residual + h @ previous)), np.float64)
        if np.abs(step - previous)[POSE].max() < params.tolerance:
            break
    return retract(state.nominal, step), np.linalg.inv(information)


def gyro(state: State, random: np.random.Generator) -> GyroMeasurement:
    names = ("pelvis", "head", "left_lower_leg", "right_forearm")
    return GyroMeasurement(
        time_ns=0,
        source="imus",
        segment=np.array([SEGMENT[name] for name in names]),
        q_segment_from_sensor=np.tile([1.0, 0.0, 0.0, 0.0], (4, 1)),
        rates_rad_s=state.rates[3:6] + random.normal(size=(4, 3)),
        params=GyroParams(),
    )


def measurements_near(state: State, random: np.random.Generator) -> dict[str, Measurement]:
    """Of a body that differs from the state as its covariance says, a few landmarks being wrong."""
    truth = drawn_from(state, random)
    camera = ring()[int(random.integers(4))]
    pixels = seen_from(camera, truth) + 4.0 * random.normal(size=(33, 2))
    pixels[[3, 15, 28]] += 300.0
    points = landmarks_of("halpe_26", truth) + 0.01 * random.normal(size=(26, 3))
    points[[2, 20]] -= 1.0
    return {
        "pixels": measured_2d(camera, pixels),
        "points": measured_3d(points, set_name="halpe_26"),
        "rates": gyro(state, random),
    }


@pytest.mark.parametrize("kind", ["pixels", "points", "rates"])
@pytest.mark.parametrize("iterations", [1, 2, 6])
@pytest.mark.parametrize(("seed", "sigma"), [(0, 0.02), (1, 0.05), (2, 0.4)])
def test_the_solver_is_its_twin(kind: str, iterations: int, seed: int, sigma: float) -> None:
    random = np.random.default_rng(seed)
    state = random_state(random, sigma=sigma)
    if sigma > 0.1:  # A wide pose of a person whose size is known roughly, as at a start.
        state.covariance[:] = np.diag(np.repeat([sigma, 1.0, 0.1], [COORDINATES, COORDINATES, LENGTHS]) ** 2)
    measurement = measurements_near(state, random)[kind]
    params = UpdateParams(iterations=iterations)
    nominal, covariance = twin_update(state, measurement, params)
    assert Updater(params, AnatomyParams()).apply(state, measurement) >= 0
    np.testing.assert_allclose(state.nominal, nominal, atol=1e-8)
    np.testing.assert_allclose(state.covariance, covariance, atol=1e-8)


# --- What can be used -----------------------------------------------------------------------------


def unchanged(state: State, before: State) -> bool:
    return bool((state.nominal == before.nominal).all() and (state.covariance == before.covariance).all())


def test_what_says_nothing_changes_nothing() -> None:
    state = random_state(np.random.default_rng(1))
    before = state.copy()
    behind = camera_at("a", [3.0, 0.0, 0.3], [6.0, 0.0, 0.3])
    for measurement in (
        measured_2d(behind, np.full((33, 2), 300.0)),
        measured_2d(ring()[0], np.full((33, 2), np.nan)),
        measured_3d(np.full((33, 3), np.inf)),
    ):
        assert updater().apply(state, measurement) == -1
        assert unchanged(state, before)


class Poison:
    """A measurement that says nonsense with a straight face."""

    time_ns, source, linear = 0, "poison", True

    def __init__(self, residual: float, variance: float, slope: float) -> None:
        self.row = residual, variance, slope

    def add_rows(self, state: State, nominal: Float64, body: Body, rows: Rows) -> None:
        rows.residual[0], rows.variance[0], rows.jacobian[0, :] = self.row
        rows.block[0], rows.robust[0], rows.source[0], rows.filled[0] = 0, 1, 0, 1

    def learn(self, state: State, weights: Float64, rows: Rows) -> None:
        raise AssertionError("there is nothing to learn from nonsense")


@pytest.mark.parametrize(
    "poison",
    [(math.nan, 1.0, 1.0), (math.inf, 1.0, 1.0), (1.0, math.nan, 1.0), (1.0, -1e9, 1.0), (1.0, 1.0, math.nan),
     (1.0, 1.0, math.inf)],
    ids=str,
)  # fmt: skip
def test_numbers_that_are_none_are_refused(poison: tuple[float, float, float]) -> None:
    state = random_state(np.random.default_rng(2))
    before = state.copy()
    assert updater().apply(state, Poison(*poison)) == -1
    assert unchanged(state, before)


class Counting:
    """Counts how often a measurement is linearised."""

    def __init__(self, measurement: Measurement, linear: bool) -> None:
        self.inner, self.linear, self.count = measurement, linear, 0
        self.time_ns, self.source = measurement.time_ns, measurement.source

    def add_rows(self, state: State, nominal: Float64, body: Body, rows: Rows) -> None:
        self.count += 1
        self.inner.add_rows(state, nominal, body, rows)

    def learn(self, state: State, weights: Float64, rows: Rows) -> None:
        self.inner.learn(state, weights, rows)


def test_iterations_end_when_nothing_moves() -> None:
    random = np.random.default_rng(3)
    start = random_state(random)
    near, far = landmarks_of("blazepose_33", start.nominal), landmarks_of("blazepose_33", drawn_from(start, random))
    for points, linear, counted in ((near, False, 1), (far, True, 1), (far, False, 4)):
        measurement = Counting(measured_3d(points), linear)
        updater(iterations=4, tolerance=1e-7).apply(start.copy(), measurement)
        assert measurement.count == counted
    measurement = Counting(measured_3d(far), False)
    updater(iterations=50, tolerance=1e-3).apply(start.copy(), measurement)
    assert 2 < measurement.count < 50


# --- A fit ----------------------------------------------------------------------------------------

FIT_SIGMAS_M = (2e-2, 1e-3, 1e-5)
"""A cold start is fitted coarsely first, as a start is, then ever finer, as the pictures that follow do."""


def fitted(pose: Float64, lengths_m: Float64) -> tuple[State, Float64]:
    """The state that a cold start from noise-free landmarks ends at, and the truth [99]."""
    truth = np.zeros(ERRORS)
    truth[POSE], truth[LENGTH] = pose, np.log(lengths_m)
    begun = pose_from_landmarks(catalog.landmark_set("blazepose_33"), landmarks_of("blazepose_33", truth))
    assert begun is not None
    state, work = wide_state(begun, 0, StartParams()), updater(tolerance=1e-6)
    for sigma_m in FIT_SIGMAS_M:
        assert work.apply(state, measured_3d(joints_of(truth), sigma_m, set_name="joints_23"), 12) >= 0
    return state, truth


def test_a_cold_start_becomes_the_body() -> None:
    """Random poses, every joint anywhere in its range, from the closed-form start: 95 of 100 within 0.1 mm."""
    random = np.random.default_rng(4)
    errors = []
    for _ in range(100):
        state, truth = fitted(legal_pose(random), REFERENCE_LENGTHS_M)
        errors.append(np.linalg.norm(joints_of(state.nominal) - joints_of(truth), axis=1).max())
    print(f"share within 0.1 mm: {np.mean(np.array(errors) < 1e-4):.3f}, worst {max(errors) * 1000:.1f} mm")
    assert np.mean(np.array(errors) < 1e-4) >= 0.95
    assert max(errors) < 0.05


def test_a_cold_start_learns_the_lengths() -> None:
    random = np.random.default_rng(5)
    shown = [k for k in range(LENGTHS) if k not in (3, 7)]  # No joint tells the size of head and hand.
    close = 0
    for _ in range(20):
        lengths = REFERENCE_LENGTHS_M * np.exp(0.06 * random.normal(size=LENGTHS))
        state, _ = fitted(legal_pose(random), lengths)
        close += bool(np.abs(state.lengths_m / lengths - 1.0)[shown].max() < 1e-3)
    assert close >= 18


# --- Outliers -------------------------------------------------------------------------------------


def tracked_with(outlier_px: float, share: float, seed: int) -> tuple[Float64, Float64]:
    """Joints [23, 3] after a picture of each of four cameras, and the true ones; some landmarks are grossly wrong."""
    random = np.random.default_rng(seed)
    state = random_state(random, sigma=0.03)
    truth = drawn_from(state, random)
    work = updater()
    for camera in ring():
        pixels = seen_from(camera, truth) + 3.0 * random.normal(size=(33, 2))
        wrong = random.uniform(size=33) < share
        pixels[wrong] += outlier_px * random.choice([-1.0, 1.0], (int(wrong.sum()), 2))
        assert work.apply(state, measured_2d(camera, pixels)) >= 0
    return joints_of(state.nominal), joints_of(truth)


@pytest.mark.parametrize("outlier_px", [150.0, 600.0, 1e6, 1e30])
def test_gross_outliers_hardly_move_the_body(outlier_px: float) -> None:
    """One landmark in five, in every picture."""
    moved = []
    for seed in range(8):
        clean, _ = tracked_with(0.0, 0.2, seed)
        soiled, _ = tracked_with(outlier_px, 0.2, seed)
        moved.append(np.linalg.norm(soiled - clean, axis=1))
    assert np.median(moved) < 0.010
    assert np.max(moved) < 0.10


def test_the_gate_counts_what_it_leaves_out() -> None:
    state = resting_state(sigma=0.01)
    points = landmarks_of("coco_17", state.nominal)
    points[[1, 6, 9]] += 2.0
    assert updater().apply(state.copy(), measured_3d(points, set_name="coco_17")) == 3
    assert updater(gate=1e9).apply(state.copy(), measured_3d(points, set_name="coco_17")) == 0


def test_when_most_is_outside_the_prior_is_wrong() -> None:
    """A person who is surely elsewhere is followed; a minority that says so is not."""
    start = resting_state(sigma=0.01)
    here = landmarks_of("coco_17", start.nominal)
    elsewhere = here + np.array([1.0, 0.0, 0.0])
    state, work, process = start.copy(), updater(), make_process(ProcessParams())
    for frame in range(12):
        predict(state, process, frame * FRAME_NS)
        assert work.apply(state, measured_3d(elsewhere, set_name="coco_17")) < 17
    assert state.coordinates[0] == pytest.approx(1.0, abs=0.1)
    mixed = np.where(np.arange(17)[:, None] % 2 == 1, elsewhere, here)
    stayed = start.copy()
    assert updater().apply(stayed, measured_3d(mixed, set_name="coco_17")) == 8
    assert abs(stayed.coordinates[0]) < 1e-3


# --- Lengths and limits ---------------------------------------------------------------------------


def test_locked_lengths_never_change_by_one_bit() -> None:
    random = np.random.default_rng(6)
    state = random_state(random)
    state.lock_lengths()
    lengths = state.nominal[LENGTH].copy()
    work = updater()
    for seed in range(30):
        for measurement in measurements_near(random_state(np.random.default_rng(seed)), random).values():
            work.apply(state, measurement)
    assert (state.nominal[LENGTH] == lengths).all()
    assert not state.covariance[LENGTH].any()
    assert np.isfinite(state.nominal).all()


def bent(angle_rad: float, name: str = "left_knee_flexion") -> Float64:
    """A standing body [99] with one joint bent."""
    truth = resting_state().nominal
    truth[COORDINATE[name]] = angle_rad
    return truth


@pytest.mark.parametrize(("name", "beyond_rad"), [("left_knee_flexion", -0.5), ("right_elbow_flexion", -0.5)])
def test_limits_hold_against_evidence_of_a_joint_that_bends_backwards(name: str, beyond_rad: float) -> None:
    points = landmarks_of("coco_17", bent(beyond_rad, name))
    ends = {}
    for held, limit_rad in ((True, AnatomyParams().limit_rad), (False, 1e6)):
        state = resting_state(sigma=0.3)
        state.lock_lengths()
        work = Updater(UpdateParams(), AnatomyParams(limit_rad=limit_rad))
        for _ in range(3):
            work.apply(state, measured_3d(points, 0.03, set_name="coco_17"), 10)
        ends[held] = state.coordinates[COORDINATE[name]]
    assert ends[False] < 0.7 * beyond_rad
    assert ends[True] > 0.5 * beyond_rad
    assert ends[True] > ends[False] + 0.15


def test_limits_leave_legal_poses_alone() -> None:
    """The same fit with and without walls, of poses that use their whole range: less than half a degree apart."""
    random = np.random.default_rng(7)
    largest = 0.0
    for _ in range(20):
        truth = np.zeros(ERRORS)
        truth[POSE], truth[LENGTH] = legal_pose(random), np.log(REFERENCE_LENGTHS_M)
        start = empty_state()
        start.nominal[:] = truth
        start.covariance[:] = np.diag(np.repeat([0.05, 1.0, 0.0], [COORDINATES, COORDINATES, LENGTHS]) ** 2)
        start.nominal[:] = retract(
            truth, np.repeat([0.05, 0.0, 0.0], [COORDINATES, COORDINATES, LENGTHS]) * random.normal(size=ERRORS)
        )
        ends = []
        for limit_rad in (AnatomyParams().limit_rad, 1e6):
            state = start.copy()
            work = Updater(UpdateParams(iterations=8), AnatomyParams(limit_rad=limit_rad))
            for _ in range(3):
                work.apply(state, measured_3d(landmarks_of("blazepose_33", truth), 0.002))
            ends.append(state.coordinates.copy())
        told = np.abs(ends[1] - truth[POSE]) < math.radians(0.5)
        largest = max(largest, float(np.abs(ends[0] - ends[1])[told].max()))
    print(f"largest difference {math.degrees(largest):.3f} deg")
    assert math.degrees(largest) < 0.5


def test_limits_are_where_the_body_says() -> None:
    low, high = coordinate_limits()
    rest = resting_coordinates()
    assert ((rest > low) & (rest < high))[np.isfinite(low)].all()
