"""The update against its twin in plain numpy; as a fit from a cold start; with outliers, limits and locked lengths."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from fusion.body import catalog
from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.body.skeleton import COORDINATE, COORDINATES, LENGTHS, REFERENCE_LENGTHS_M, SEGMENT
from fusion.filter.measurements.anatomy import AnatomyParams
from fusion.filter.measurements.inertial import (
    GyroMeasurement,
    GyroParams,
    OrientationMeasurement,
    OrientationParams,
)
from fusion.filter.measurements.landmarks import LandmarkParams
from fusion.filter.process import ProcessParams, make_process, predict
from fusion.filter.start import StartParams, pose_from_landmarks, wide_state
from fusion.filter.state import (
    BODY_ERRORS,
    FLOOR_COLUMN,
    IMU_COLUMN,
    LENGTH,
    NEVER_NS,
    POSE,
    RATE,
    State,
    empty_state,
    retract,
)
from fusion.filter.system import Body, Measurement, System, add_feature, add_observation
from fusion.filter.update import (
    EITHER_SPACE,
    MEASUREMENT_SPACE,
    STATE_SPACE,
    UpdateParams,
    Updater,
    make_information,
)
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.filter.systems import Dense, twin_update
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
    silenced,
    updater,
)

FRAME_NS = 33_333_333


# --- The twin -------------------------------------------------------------------------------------

IMUS = 3
SENSORS = ("pelvis", "left_lower_leg", "right_forearm")


def inertial(truth: Float64, random: np.random.Generator) -> list[Measurement]:
    """What three IMUs say, one of which has no slot; the second one is far off."""
    segment = np.array([SEGMENT[name] for name in SENSORS])
    slot = np.array([0, -1, 2])
    mounts = np.asarray(quaternion.from_rotvec(random.normal(size=(3, 3))))
    zero = np.zeros((3, 3))
    rates = GyroMeasurement(0, "gyro", segment, slot, mounts, zero, GyroParams())
    tilts = np.asarray(quaternion.from_rotvec(random.normal(size=(3, 3))))
    orientations = OrientationMeasurement(0, "orientation", segment, slot, mounts, tilts, OrientationParams())
    # Measured is predicted and noise: the residual of zero rates is minus the prediction.
    told = -Dense(state_at(truth), rates).residual.reshape(3, 3) + 0.1 * random.normal(size=(3, 3))
    told[1] += 5.0
    return [GyroMeasurement(0, "gyro", segment, slot, mounts, told, GyroParams()), orientations]


def state_at(nominal: Float64) -> State:
    """A state with that nominal [n] and all its IMUs heard."""
    state = empty_state((len(nominal) - BODY_ERRORS) // 7)
    state.nominal[:] = nominal
    state.covariance[:] = 1e-4 * np.eye(len(nominal))
    state.imu_ns[:] = 0
    state.stereo_ns = 0
    return state


def pictures(truth: Float64, cameras: int, random: np.random.Generator) -> list[Measurement]:
    """Landmarks of a body in some cameras, a few of them wrong or not seen."""
    views: list[Measurement] = []
    for camera in ring(4)[:cameras]:
        pixels = seen_from(camera, truth) + 4.0 * random.normal(size=(33, 2))
        pixels[random.choice(33, 3, replace=False)] += 300.0
        pixels[random.choice(33, 4, replace=False)] = np.nan
        views.append(measured_2d(camera, pixels))
    return views


def points(truth: Float64, random: np.random.Generator, set_name: str = "halpe_26") -> Measurement:
    """World landmarks of a body, two of them wrong."""
    points_m = landmarks_of(set_name, truth)
    points_m = points_m + 0.01 * random.normal(size=points_m.shape)
    points_m[[2, 12]] -= 1.0
    return measured_3d(points_m, set_name=set_name)


Scene = Callable[[Float64, np.random.Generator], list[Measurement]]

SCENES: dict[str, Scene] = {
    "one view": lambda truth, random: pictures(truth, 1, random),
    "four views": lambda truth, random: pictures(truth, 4, random),
    "points": lambda truth, random: [points(truth, random)],
    "inertial": lambda truth, random: inertial(truth, random),
    "a view, points of another set and inertial": lambda truth, random: [
        *pictures(truth, 1, random), points(truth, random, "coco_17"), *inertial(truth, random),
    ],
}  # fmt: skip


def out_of_range(state: State) -> None:
    low, high = coordinate_limits()
    for name, beyond in (("left_knee_flexion", low), ("right_elbow_flexion", high), ("neck_y", high)):
        state.coordinates[COORDINATE[name]] = 1.3 * beyond[COORDINATE[name]]


def wide(state: State) -> None:
    """A wide pose of a person whose size is known roughly, as at a start."""
    sigmas = np.full(len(state.nominal), 0.1)
    sigmas[POSE], sigmas[RATE], sigmas[FLOOR_COLUMN] = 0.5, 1.0, 0.05
    state.covariance[:] = np.diag(sigmas**2)


def silent(state: State) -> None:
    """One IMU that is silent, and one that is about to be heard for the first time."""
    silenced(state, 1)
    silenced(state, 2)


PRIORS: dict[str, Callable[[State], None]] = {
    "narrow": lambda state: None,
    "wide": wide,
    "locked": lambda state: state.lock_lengths(),
    "silent IMUs": silent,
    "beyond limits": out_of_range,
}


def assert_same(found: State, twin_nominal: Float64, twin_covariance: Float64, tolerance: float) -> None:
    np.testing.assert_allclose(found.nominal, twin_nominal, rtol=0.0, atol=tolerance)
    np.testing.assert_allclose(found.covariance, twin_covariance, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("scene", SCENES)
def test_both_spaces_are_the_twin(scene: str, prior: str, iterations: int) -> None:
    """Step, covariance, what is left out, and what the update has told."""
    random = np.random.default_rng([iterations, len(scene), len(prior)])
    start = random_state(random, sigma=0.03, imus=IMUS)
    PRIORS[prior](start)
    measurements = SCENES[scene](drawn_from(start, random), random)
    for measurement in measurements:  # An IMU that is heard for the first time begins its states now.
        Dense(start, measurement)
    params = UpdateParams(iterations=iterations, iterations_known=iterations)
    twin = twin_update(start, measurements, params)
    ends = []
    for space in (STATE_SPACE, MEASUREMENT_SPACE):
        state, information = start.copy(), make_information(len(start.nominal))
        work = Updater(params, AnatomyParams(), len(start.nominal))
        work.space = space
        assert work.apply(state, measurements, information=information) == twin.gated
        assert work.work.sizes[3] == (space if components(work) <= MOST_WHITE_ROWS else STATE_SPACE)
        assert_same(state, twin.nominal, twin.covariance, 1e-9)
        normal, eta = told(information.order[: information.filled[0]], information.normal, information.eta, state)
        known = start.covariance.diagonal() > 0.0  # Of what is known nothing is told.
        scale = np.abs(twin.normal).max()
        np.testing.assert_allclose(normal, np.where(np.outer(known, known), twin.normal, 0.0), atol=1e-9 * scale)
        np.testing.assert_allclose(eta, np.where(known, twin.eta, 0.0), atol=1e-9 * np.abs(twin.eta).max())
        ends.append(state)
    assert_same(ends[0], ends[1].nominal, ends[1].covariance, 1e-9)


MOST_WHITE_ROWS = 160


def components(work: Updater) -> int:
    """Of all features of the last update: as many rows measurement space has."""
    return int(work.system.size[: work.system.filled[0]].sum())


def told(order: np.ndarray, normal: Float64, eta: Float64, state: State) -> tuple[Float64, Float64]:
    """Information [n, n] and gradient [n] by all states, from those that were touched."""
    size, n = len(order), len(state.nominal)
    everything, gradient = np.zeros((n, n)), np.zeros(n)
    everything[np.ix_(order, order)] = normal[: size * size].reshape(size, size)
    gradient[order] = eta[:size]
    return everything, gradient


@pytest.mark.parametrize("scene", SCENES)
def test_distances_of_innovations_are_the_twins(scene: str) -> None:
    random = np.random.default_rng(3)
    start = random_state(random, sigma=0.03, imus=IMUS)
    measurements = SCENES[scene](drawn_from(start, random), random)
    twin = twin_update(start, measurements, UpdateParams(), iterations=1)
    work = updater(IMUS)
    work.apply(start.copy(), measurements, 1)
    np.testing.assert_allclose(work.system.squared[: len(twin.squared)], twin.squared, rtol=1e-9)


@pytest.mark.parametrize("cameras", [1, 2, 4, 16])
def test_the_cheaper_space_is_chosen(cameras: int) -> None:
    """Pictures are solved over the states, whatever their number; inertial sensors over what they measure."""
    random = np.random.default_rng(4)
    state = random_state(random, imus=IMUS)
    work = updater(IMUS)
    assert work.space == EITHER_SPACE
    work.apply(state.copy(), [measured_2d(camera, seen_from(camera, state.nominal)) for camera in ring(cameras)])
    assert work.work.sizes[3] == STATE_SPACE
    work.apply(state.copy(), inertial(state.nominal, random))
    assert work.work.sizes[3] == MEASUREMENT_SPACE


@pytest.mark.parametrize("space", [STATE_SPACE, MEASUREMENT_SPACE])
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_measurements_of_one_time_does_not_matter(space: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    start = random_state(random, sigma=0.03, imus=IMUS)
    measurements = SCENES["a view, points of another set and inertial"](drawn_from(start, random), random)
    ends = []
    for order in (range(4), (2, 0, 3, 1), (3, 2, 1, 0)):
        state, work = start.copy(), updater(IMUS)
        work.space = space
        work.apply(state, [measurements[k] for k in order])
        ends.append(state)
    for end in ends[1:]:
        assert_same(end, ends[0].nominal, ends[0].covariance, 1e-10)


def test_four_views_share_the_features_of_a_landmark() -> None:
    """As many features as landmarks, four observations each; in all the same as four dense systems on end."""
    random = np.random.default_rng(5)
    state = random_state(random)
    views = pictures(drawn_from(state, random), 4, random)
    together, apart = Dense(state, *views), [Dense(state, view) for view in views]
    assert together.features == 33
    assert together.observations == sum(one.observations for one in apart) == 4 * (33 - 4)
    assert set(np.bincount(together.feature)) <= {0, 1, 2, 3, 4}
    for name in ("jacobian", "residual", "variance", "source"):
        stacked = np.concatenate([getattr(one, name) for one in apart])
        np.testing.assert_allclose(getattr(together, name), stacked, rtol=1e-14, atol=1e-14)
    np.testing.assert_array_equal(together.group, np.repeat(range(4), 33 - 4))


def test_two_landmark_sets_keep_to_themselves() -> None:
    """A landmark of the one is not a landmark of the other that has the same number."""
    random = np.random.default_rng(6)
    state = random_state(random)
    sets = [points(state.nominal, random, name) for name in ("halpe_26", "blazepose_33", "halpe_26")]
    system = Dense(state, *sets)
    assert system.features == 26 + 33
    apart = [Dense(state, one) for one in sets]
    np.testing.assert_array_equal(system.jacobian, np.concatenate([one.jacobian for one in apart]))


def test_all_views_at_once_tell_as_much_as_one_after_the_other() -> None:
    """Where nothing has to move, so that all are linearised at one point: the same covariance, to rounding."""
    start = random_state(np.random.default_rng(7), sigma=0.03)
    work = updater(student_nu=1e12)
    params = LandmarkParams(noise_memory=1e12)
    views = [measured_2d(camera, seen_from(camera, start.nominal), params=params) for camera in ring(4)]
    at_once, on_end = start.copy(), start.copy()
    assert work.apply(at_once, views) >= 0
    for view in views:
        assert work.apply(on_end, [view]) >= 0
    np.testing.assert_allclose(at_once.covariance, on_end.covariance, rtol=0.0, atol=1e-12)
    assert np.trace(at_once.covariance[POSE, POSE]) < 0.6 * np.trace(start.covariance[POSE, POSE])


# --- Lengths that are held ------------------------------------------------------------------------


@pytest.mark.parametrize("space", [STATE_SPACE, MEASUREMENT_SPACE])
def test_held_lengths_leave_a_covariance(space: int) -> None:
    """One view for long after several, and several again: lengths stay, and so does everything positive.

    What has been learned of pose and lengths together must stay consistent when only the pose may move
    (Schmidt-Kalman), else nothing is taken in any more.
    """
    random = np.random.default_rng(9)
    state, work = random_state(random, sigma=0.05), updater()
    work.space = space
    truth = drawn_from(state, random)
    assert work.apply(state, pictures(truth, 2, random)) >= 0
    state.stereo_ns = state.seen_ns = NEVER_NS
    for _ in range(10):
        before = state.copy()
        assert work.apply(state, pictures(truth, 1, random)) >= 0
        np.testing.assert_array_equal(state.nominal[LENGTH], before.nominal[LENGTH])
        np.testing.assert_allclose(state.covariance[LENGTH, LENGTH], before.covariance[LENGTH, LENGTH], atol=1e-15)
        eigenvalues = np.linalg.eigvalsh(state.covariance)
        assert eigenvalues[0] > -1e-10 * eigenvalues[-1]
    state.stereo_ns = state.time_ns
    assert work.apply(state, pictures(truth, 4, random)) >= 0
    assert not (state.nominal[LENGTH] == before.nominal[LENGTH]).all()


# --- Positive for ever ------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [EITHER_SPACE, STATE_SPACE, MEASUREMENT_SPACE])
@pytest.mark.parametrize("locked", [False, True])
def test_the_covariance_stays_one_whatever_is_measured(space: int, locked: bool) -> None:
    """Hundreds of steps and updates of all sizes, much too exact ones among them: symmetric, no negative variance."""
    random = np.random.default_rng([3 + space, locked])
    state = random_state(random, sigma=0.1, imus=IMUS)
    silenced(state, 1)
    if locked:
        state.lock_lengths()
    process, work = make_process(ProcessParams()), updater(IMUS)
    work.space = space
    truth, refused = state.nominal.copy(), 0
    truth[RATE] = 0.0
    for _ in range(150):
        predict(state, process, state.time_ns + int(10 ** random.uniform(3, 8.5)))
        kind = list(SCENES)[random.integers(len(SCENES))]
        measurements = SCENES[kind](truth, random)
        if random.uniform() < 0.3:
            sigma = 10 ** random.uniform(-5, -2)
            exact = landmarks_of("joints_23", truth)
            exact += sigma * random.normal(size=exact.shape)
            measurements.append(measured_3d(exact, sigma, set_name="joints_23"))
        refused += work.apply(state, measurements) < 0
        np.testing.assert_array_equal(state.covariance, state.covariance.T)
        eigenvalues = np.linalg.eigvalsh(state.covariance)
        assert eigenvalues[0] > -1e-10 * eigenvalues[-1]
        exists = np.ones(len(state.nominal), dtype=bool)
        exists[LENGTH] = not locked
        exists[IMU_COLUMN + 7 : IMU_COLUMN + 14] = False
        np.testing.assert_array_equal(state.covariance.diagonal() > 0.0, exists)
    assert refused == 0
    assert np.isfinite(state.nominal).all()


def test_exact_measurements_again_and_again() -> None:
    """A thousand landmarks of a micrometre at one moment: variances fall to the floor and stay positive."""
    state, work = random_state(np.random.default_rng(8), sigma=0.05), updater()
    truth = state.nominal.copy()
    for _ in range(40):
        assert work.apply(state, [measured_3d(landmarks_of("joints_23", truth), 1e-6, set_name="joints_23")]) >= 0
    eigenvalues = np.linalg.eigvalsh(state.covariance)
    assert eigenvalues[0] > -1e-10 * eigenvalues[-1]
    assert (state.covariance.diagonal() > 0.0).all()
    assert state.covariance[0, 0] < 1e-10


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
        assert updater().apply(state, [measurement]) == -1
        assert unchanged(state, before)
    assert updater().apply(state, []) == -1
    assert unchanged(state, before)


class Poison:
    """A measurement that says nonsense with a straight face."""

    time_ns, source, linear = 0, "poison", True

    def __init__(self, residual: float, variance: float, slope: float) -> None:
        self.row = residual, variance, slope

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        f = add_feature(system, 1)
        o = add_observation(system, f, 1, 0)
        system.residual[o, 0], system.variance[o, 0], system.jacobian[f, 0, :] = self.row

    def learn(self, state: State, system: System) -> None:
        raise AssertionError("there is nothing to learn from nonsense")


@pytest.mark.parametrize(
    "poison",
    [(math.nan, 1.0, 1.0), (math.inf, 1.0, 1.0), (1.0, math.nan, 1.0), (1.0, 1.0, math.nan), (1.0, 1.0, math.inf)],
    ids=str,
)
@pytest.mark.parametrize("space", [STATE_SPACE, MEASUREMENT_SPACE])
def test_numbers_that_are_none_are_refused(poison: tuple[float, float, float], space: int) -> None:
    state = random_state(np.random.default_rng(2))
    before, information = state.copy(), make_information(len(state.nominal))
    information.filled[0] = 3
    work = updater()
    work.space = space
    assert work.apply(state, [Poison(*poison)], information=information) == -1
    assert unchanged(state, before)
    assert information.filled[0] == 0, "what is refused tells the smoother nothing"


class Counting:
    """Counts how often a measurement is linearised."""

    def __init__(self, measurement: Measurement, linear: bool) -> None:
        self.inner, self.linear, self.count = measurement, linear, 0
        self.time_ns, self.source = measurement.time_ns, measurement.source

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        self.count += 1
        self.inner.add_rows(state, nominal, body, system)

    def learn(self, state: State, system: System) -> None:
        self.inner.learn(state, system)


def test_iterations_end_when_nothing_moves() -> None:
    random = np.random.default_rng(3)
    start = random_state(random)
    near, far = landmarks_of("blazepose_33", start.nominal), landmarks_of("blazepose_33", drawn_from(start, random))
    for points, linear, counted in ((near, False, 1), (far, True, 1), (far, False, 4)):
        measurement = Counting(measured_3d(points), linear)
        updater(iterations=4, tolerance=1e-7).apply(start.copy(), [measurement])
        assert measurement.count == counted
    measurement = Counting(measured_3d(far), False)
    updater(iterations=50, tolerance=1e-3).apply(start.copy(), [measurement])
    assert 2 < measurement.count < 50


# --- A fit ----------------------------------------------------------------------------------------

FIT_SIGMAS_M = (2e-2, 1e-3, 1e-5)
"""A cold start is fitted coarsely first, as a start is, then ever finer, as the pictures that follow do."""


def fitted(pose: Float64, lengths_m: Float64) -> tuple[State, Float64]:
    """The state that a cold start from noise-free landmarks ends at, and the truth [100]."""
    truth = np.zeros(BODY_ERRORS)
    truth[POSE], truth[LENGTH] = pose, np.log(lengths_m)
    begun = pose_from_landmarks(catalog.landmark_set("blazepose_33"), landmarks_of("blazepose_33", truth))
    assert begun is not None
    state, work = wide_state(begun, 0, StartParams()), updater(tolerance=1e-6)
    for sigma_m in FIT_SIGMAS_M:
        assert work.apply(state, [measured_3d(joints_of(truth), sigma_m, set_name="joints_23")], 12) >= 0
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
        assert work.apply(state, [measured_2d(camera, pixels)]) >= 0
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
    points_m = landmarks_of("coco_17", state.nominal)
    points_m[[1, 6, 9]] += 2.0
    assert updater().apply(state.copy(), [measured_3d(points_m, set_name="coco_17")]) == 3
    assert updater(gate=1e9).apply(state.copy(), [measured_3d(points_m, set_name="coco_17")]) == 0


def test_when_most_is_outside_the_prior_is_wrong() -> None:
    """A person who is surely elsewhere is followed; a minority that says so is not."""
    start = resting_state(sigma=0.01)
    here = landmarks_of("coco_17", start.nominal)
    elsewhere = here + np.array([1.0, 0.0, 0.0])
    state, work, process = start.copy(), updater(), make_process(ProcessParams())
    for frame in range(12):
        predict(state, process, frame * FRAME_NS)
        assert work.apply(state, [measured_3d(elsewhere, set_name="coco_17")]) < 17
    assert state.coordinates[0] == pytest.approx(1.0, abs=0.1)
    mixed = np.where(np.arange(17)[:, None] % 2 == 1, elsewhere, here)
    stayed = start.copy()
    assert updater().apply(stayed, [measured_3d(mixed, set_name="coco_17")]) == 8
    assert abs(stayed.coordinates[0]) < 1e-3


# --- Lengths and limits ---------------------------------------------------------------------------


def test_locked_lengths_never_change_by_one_bit() -> None:
    random = np.random.default_rng(6)
    state = random_state(random)
    state.lock_lengths()
    lengths = state.nominal[LENGTH].copy()
    work = updater()
    for seed in range(30):
        other = random_state(np.random.default_rng(seed)).nominal
        for scene in ("one view", "four views", "points"):
            work.apply(state, SCENES[scene](other, random))
    assert (state.nominal[LENGTH] == lengths).all()
    assert not state.covariance[LENGTH].any()
    assert np.isfinite(state.nominal).all()


def bent(angle_rad: float, name: str = "left_knee_flexion") -> Float64:
    """A standing body [100] with one joint bent."""
    truth = resting_state().nominal
    truth[COORDINATE[name]] = angle_rad
    return truth


@pytest.mark.parametrize(("name", "beyond_rad"), [("left_knee_flexion", -0.5), ("right_elbow_flexion", -0.5)])
def test_limits_hold_against_evidence_of_a_joint_that_bends_backwards(name: str, beyond_rad: float) -> None:
    points_m = landmarks_of("coco_17", bent(beyond_rad, name))
    ends = {}
    for held, limit_rad in ((True, AnatomyParams().limit_rad), (False, 1e6)):
        state = resting_state(sigma=0.3)
        state.lock_lengths()
        work = Updater(UpdateParams(), AnatomyParams(limit_rad=limit_rad))
        for _ in range(3):
            work.apply(state, [measured_3d(points_m, 0.03, set_name="coco_17")], 10)
        ends[held] = state.coordinates[COORDINATE[name]]
    assert ends[False] < 0.7 * beyond_rad
    assert ends[True] > 0.5 * beyond_rad
    assert ends[True] > ends[False] + 0.15


def test_limits_leave_legal_poses_alone() -> None:
    """The same fit with and without walls, of poses that use their whole range: less than half a degree apart."""
    random = np.random.default_rng(7)
    largest = 0.0
    for _ in range(20):
        truth = np.zeros(BODY_ERRORS)
        truth[POSE], truth[LENGTH] = legal_pose(random), np.log(REFERENCE_LENGTHS_M)
        start = empty_state()
        start.nominal[:] = truth
        start.covariance[:] = np.diag(np.where(np.arange(BODY_ERRORS) < COORDINATES, 0.05, 1.0) ** 2)
        start.lock_lengths()
        error = np.zeros(BODY_ERRORS)
        error[POSE] = 0.05 * random.normal(size=COORDINATES)
        start.nominal[:] = retract(truth, error)
        ends = []
        for limit_rad in (AnatomyParams().limit_rad, 1e6):
            state = start.copy()
            work = Updater(UpdateParams(iterations_known=8), AnatomyParams(limit_rad=limit_rad))
            for _ in range(3):
                work.apply(state, [measured_3d(landmarks_of("blazepose_33", truth), 0.002)])
            ends.append(state.coordinates.copy())
        told = np.abs(ends[1] - truth[POSE]) < math.radians(0.5)
        largest = max(largest, float(np.abs(ends[0] - ends[1])[told].max()))
    print(f"largest difference {math.degrees(largest):.3f} deg")
    assert math.degrees(largest) < 0.5


def test_limits_are_where_the_body_says() -> None:
    low, high = coordinate_limits()
    rest = resting_coordinates()
    assert ((rest > low) & (rest < high))[np.isfinite(low)].all()
