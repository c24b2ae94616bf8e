"""The smoother against batch least squares over all times, and what must hold of every smoothed estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from fusion.body.kinematics import TABLES
from fusion.body.skeleton import COORDINATE, COORDINATES, SEGMENT
from fusion.filter.history import FilterParams, PersonFilter
from fusion.filter.measurements.anatomy import AnatomyParams
from fusion.filter.measurements.imu_slots import slot_columns
from fusion.filter.measurements.inertial import GyroMeasurement, GyroParams, OrientationMeasurement, OrientationParams
from fusion.filter.process import (
    NS_PER_S,
    Process,
    ProcessParams,
    advance_nominal,
    make_process,
    predict,
    steps_between,
    transition_rows,
)
from fusion.filter.smoother import (
    Smoother,
    matrix_through_update,
    transposed_rows,
    vector_through_update,
)
from fusion.filter.state import (
    BODY_ERRORS,
    FLOOR_COLUMN,
    IMU_HEADING,
    LENGTH,
    RATE_COLUMN,
    State,
    difference_into,
    retract,
)
from fusion.filter.system import Measurement
from fusion.filter.update import Information, UpdateParams, Updater, make_information
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.filter.systems import LinearMeasurement, any_process
from tests.fusion.scenes import (
    drawn_from,
    joints_of,
    landmarks_of,
    measured_2d,
    measured_3d,
    random_state,
    resting_state,
    ring,
    seen_from,
    updater,
)

PROCESS = make_process(ProcessParams())
DIVISIBLE = PROCESS._replace(rest_rate=np.zeros(COORDINATES), decay_s=np.full(COORDINATES, 0.3))
"""Its steps may be cut in two anywhere: rest and decay, and decays of different axes, are not coupled exactly."""
LINEAR = DIVISIBLE._replace(density=np.diag(PROCESS.density.diagonal()))
"""Nothing reaches a rotation from elsewhere."""
MS = 1_000_000
FRAME_NS = 20 * MS


# --- The kernels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [PROCESS, any_process(3)], ids=["as it is", "any"])
@pytest.mark.parametrize("step_s", [0.001, 0.04])
def test_the_transposed_transition_is_that(process: Process, step_s: float) -> None:
    random = np.random.default_rng(1)
    size = BODY_ERRORS + 14
    error = 0.5 * random.normal(size=size)
    f, transposed = np.eye(size), np.eye(size)
    transition_rows(TABLES, process, step_s, error, f)
    transposed_rows(TABLES, process, step_s, error, transposed)
    np.testing.assert_allclose(transposed, f.T, atol=1e-14)
    assert np.abs(f - np.eye(size)).max() > 1e-4


def some_information(random: np.random.Generator, size: int, touched: int) -> tuple[Information, Float64, Float64]:
    """What an update has told of some states, and the same by all states: L [n, n], eta [n]."""
    information = make_information(size)
    order = random.permutation(size)[:touched]
    half = random.normal(size=(touched, max(touched // 2, 1)))
    normal, eta = half @ half.T, random.normal(size=touched)
    information.filled[0] = touched
    information.order[:touched], information.eta[:touched] = order, eta
    information.normal[: touched * touched] = normal.ravel()
    everything, gradient = np.zeros((size, size)), np.zeros(size)
    everything[np.ix_(order, order)], gradient[order] = normal, eta
    return information, everything, gradient


@pytest.mark.parametrize("touched", [0, 1, 40, 107])
def test_the_way_back_through_an_update(touched: int) -> None:
    """Bierman, Int. J. Control 18(1), 1973, eqs. 26-31, written out."""
    random = np.random.default_rng(touched)
    size = 107
    information, normal, eta = some_information(random, size, touched)
    half = random.normal(size=(2, size, size)) / np.sqrt(size)
    covariance, matrix = (np.asarray(x @ x.T) for x in half)
    vector = random.normal(size=size)
    t = np.eye(size) - covariance @ normal
    expected_matrix = normal @ t + t.T @ matrix @ t
    expected_vector = t.T @ (vector - eta)
    vector_through_update(information, covariance, vector, np.empty(size))
    matrix_through_update(information, covariance, matrix, np.empty((4, size * size)))
    np.testing.assert_allclose(vector, expected_vector, atol=1e-10)
    np.testing.assert_allclose(matrix, expected_matrix, atol=1e-10 * max(1.0, np.abs(expected_matrix).max()))
    np.testing.assert_array_equal(matrix, matrix.T)


# --- The filter, step by step ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One time: the state before and after its update, and how it came from the one before."""

    prior: State
    after: State
    information: Information
    transition: Float64
    """[n, n] from the last step's posterior to this prior."""
    noise: Float64
    """[n, n] that was added on the way."""


def carried(state: State, time_ns: int, process: Process) -> tuple[State, Float64, Float64]:
    """A state at a later time, with the transition and the noise of the way there."""
    later, size = state.copy(), len(state.nominal)
    count, step_s = steps_between(state.time_ns, time_ns)
    f, nominal, error = np.eye(size), state.nominal.copy(), np.empty(size)
    for _ in range(count):
        advance_nominal(TABLES, nominal, process, step_s, error)
        transition_rows(TABLES, process, step_s, error, f)
    predict(later, process, time_ns)
    return later, f, later.covariance - f @ state.covariance @ f.T


def filtered(
    start: State, moments: Sequence[Sequence[Measurement]], work: Updater, process: Process = PROCESS
) -> list[Step]:
    """Run the filter over what was measured, moment by moment."""
    steps: list[Step] = []
    state = start
    for measurements in moments:
        prior, transition, noise = carried(state, measurements[0].time_ns, process)
        after, information = prior.copy(), make_information(len(prior.nominal))
        assert work.apply(after, measurements, information=information) >= 0
        steps.append(Step(prior, after, information, transition, noise))
        state = after
    return steps


def smooth(steps: Sequence[Step], index: int, state: State | None = None, process: Process = PROCESS) -> State:
    """The state after a step (or a later one, before the next step) in the light of all later steps."""
    out = (steps[index].after if state is None else state).copy()
    smoother = Smoother(process, len(out.nominal))
    smoother.smooth(out, [(step.information, step.after) for step in steps[index + 1 :]])
    return out


def difference(nominal: Float64, other: Float64) -> Float64:
    out = np.empty(len(nominal))
    difference_into(TABLES, nominal, other, out)
    return out


def told(information: Information, size: int) -> tuple[Float64, Float64]:
    """L [n, n] and eta [n]."""
    a = int(information.filled[0])
    order = information.order[:a]
    normal, eta = np.zeros((size, size)), np.zeros(size)
    normal[np.ix_(order, order)] = information.normal[: a * a].reshape(a, a)
    eta[order] = information.eta[:a]
    return normal, eta


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """All times at once: errors [T, n] about the priors, and their covariance [T, n, n]."""

    errors: Float64
    covariances: Float64


def batch_of(steps: Sequence[Step]) -> Batch:
    """Least squares over all times together, of the problem as the filter has linearised it.

    Unknown are the errors e of all priors. Those of neighbours go together by
    e' = F (e - d) + w, where d is by how much the update has moved the nominal; the
    update has told exp(eta e - e L e / 2). Prior and process make one large Gaussian
    N(m, C) of all of them; its posterior is (I + C L)^-1 C.
    """
    size, times = len(steps[0].prior.nominal), len(steps)
    mean, joint = np.zeros((times, size)), np.zeros((times, size, times, size))
    joint[0, :, 0] = steps[0].prior.covariance
    for k in range(1, times):
        f, noise = steps[k].transition, steps[k].noise
        moved = difference(steps[k - 1].prior.nominal, steps[k - 1].after.nominal)
        mean[k] = f @ (mean[k - 1] - moved)
        for j in range(k):
            joint[k, :, j] = f @ joint[k - 1, :, j]
            joint[j, :, k] = joint[k, :, j].T
        joint[k, :, k] = f @ joint[k - 1, :, k - 1] @ f.T + noise
    c, m = joint.reshape(times * size, -1), mean.ravel()
    normal, eta = np.zeros_like(c), np.zeros_like(m)
    for k, step in enumerate(steps):
        block = slice(k * size, (k + 1) * size)
        normal[block, block], eta[block] = told(step.information, size)
    posterior = np.linalg.solve(np.eye(len(c)) + c @ normal, c)
    errors = m + posterior @ (eta - normal @ m)
    blocks = posterior.reshape(times, size, times, size)
    return Batch(errors.reshape(times, size), np.stack([blocks[k, :, k] for k in range(times)]))


# --- Against the batch ----------------------------------------------------------------------------

SENSORS = ("pelvis", "right_upper_arm")


def turning(time_ns: int, random: np.random.Generator) -> list[Measurement]:
    """Rates and orientations of two IMUs, as good as any."""
    segment, slot = np.array([SEGMENT[name] for name in SENSORS]), np.arange(2)
    mounts = np.tile([1.0, 0.0, 0.0, 0.0], (2, 1))
    tilts = np.asarray(quaternion.from_rotvec(0.2 * random.normal(size=(2, 3))))
    return [
        GyroMeasurement(time_ns, "gyro", segment, slot, mounts, 0.3 * random.normal(size=(2, 3)), GyroParams()),
        OrientationMeasurement(time_ns, "orientation", segment, slot, mounts, tilts, OrientationParams()),
    ]


def seen(kind: str, truth: Float64, time_ns: int, random: np.random.Generator) -> list[Measurement]:
    """What is measured of a body at one time."""
    if kind == "IMUs":
        return turning(time_ns, random)
    if kind == "points":
        points = landmarks_of("halpe_26", truth) + 0.01 * random.normal(size=(26, 3))
        points[3] += 0.4
        return [measured_3d(points, 0.01, time_ns, set_name="halpe_26")]
    cameras = ring(4)[: 1 if kind == "one view" else 3]
    return [measured_2d(c, seen_from(c, truth) + 3.0 * random.normal(size=(33, 2)), time_ns) for c in cameras]


TIMES_NS = [0, 10 * MS, 40 * MS, 45 * MS, 150 * MS, 151 * MS]
KINDS = {
    "points": ["points"] * 6,
    "views": ["three views"] * 6,
    "one view": ["one view"] * 6,
    "all sorts": ["points", "IMUs", "one view", "IMUs", "IMUs", "three views"],
}


def steps_of(
    kinds: str, *, rate: float = 1.0, iterations: int = 2, locked: bool = False, process: Process = PROCESS
) -> list[Step]:
    """A body that moves as its state says, a little, and what the filter makes of what is seen of it."""
    random = np.random.default_rng([len(kinds), iterations])
    start = random_state(random, rate=rate, sigma=0.03, imus=2)
    if locked:
        start.lock_lengths()
    truth = start.copy()
    truth.nominal[:] = drawn_from(start, random)
    moments = []
    for time_ns, kind in zip(TIMES_NS, KINDS[kinds], strict=True):
        predict(truth, process, time_ns)
        moments.append(seen(kind, truth.nominal, time_ns, random))
    params = UpdateParams(iterations=iterations, iterations_known=iterations)
    return filtered(start, moments, Updater(params, AnatomyParams(), len(start.nominal)), process)


def assert_is_batch(smoothed: State, about: Float64, error: Float64, covariance: Float64) -> None:
    """A smoothed state is where the batch says, as an error about a nominal, and as uncertain."""
    expected = retract(about, error)
    np.testing.assert_allclose(difference(expected, smoothed.nominal), 0.0, atol=1e-7)
    np.testing.assert_allclose(smoothed.covariance, covariance, atol=1e-8)


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("locked", [False, True])
def test_every_time_is_as_in_the_batch(kinds: str, iterations: int, locked: bool) -> None:
    steps = steps_of(kinds, iterations=iterations, locked=locked)
    batch = batch_of(steps)
    for k, step in enumerate(steps):
        moved = difference(step.prior.nominal, step.after.nominal)
        assert_is_batch(smooth(steps, k), step.after.nominal, batch.errors[k] - moved, batch.covariances[k])
    assert np.abs(batch.errors[0] - difference(steps[0].prior.nominal, steps[0].after.nominal)).max() > 1e-3


@pytest.mark.parametrize("kinds", ["points", "all sorts"])
def test_between_measurements_it_is_as_in_the_batch(kinds: str) -> None:
    """A moment at which nothing was measured is one more unknown of the batch."""
    steps = steps_of(kinds, process=DIVISIBLE)
    nothing = make_information(len(steps[0].prior.nominal))
    for k, time_ns in ((0, 4 * MS), (3, 100 * MS), (3, 149 * MS)):
        there, to, noise_to = carried(steps[k].after, time_ns, DIVISIBLE)
        _, away, _ = carried(there, steps[k + 1].prior.time_ns, DIVISIBLE)
        between = Step(there, there, nothing, to, noise_to)
        # Noise is not quite the same when a gap is cut in two; the filter has crossed it at once.
        rest = steps[k + 1].noise - away @ noise_to @ away.T
        following = Step(steps[k + 1].prior, steps[k + 1].after, steps[k + 1].information, away, rest)
        batch = batch_of([*steps[: k + 1], between, following, *steps[k + 2 :]])
        smoothed = smooth(steps, k, there, DIVISIBLE)
        assert_is_batch(smoothed, there.nominal, batch.errors[k + 1], batch.covariances[k + 1])


ADDED = [COORDINATE[name] for name in ("root_px", "root_pz", "left_knee_flexion", "spine_y", "right_elbow_flexion")]


def test_of_a_linear_problem_it_is_the_least_squares_solution() -> None:
    """Independent of anything that the filter has linearised: states that errors are added to, measured linearly."""
    random = np.random.default_rng(5)
    start = resting_state(sigma=0.02)
    columns = [*ADDED, *(RATE_COLUMN + i for i in ADDED[:3]), *range(LENGTH.start, FLOOR_COLUMN + 1)]
    times_ns = [0, 20 * MS, 50 * MS, 60 * MS, 140 * MS]
    # All that can be without measurements: F of a body whose rotations stand still is constant.
    free, joint, f_all = start.copy(), [start.covariance], [np.eye(BODY_ERRORS)]
    references = [start.nominal.copy()]
    for time_ns in times_ns[1:]:
        free, f, noise = carried(free, time_ns, LINEAR)
        joint.append(f @ joint[-1] @ f.T + noise)
        f_all.append(f)
        references.append(free.nominal.copy())
    size, times = BODY_ERRORS, len(times_ns)
    c = np.zeros((times, size, times, size))
    for k in range(times):
        block = joint[k]
        c[k, :, k] = block
        for later in range(k + 1, times):
            block = f_all[later] @ block
            c[later, :, k], c[k, :, later] = block, block.T
    moments, h_all, r_all = [], np.zeros((times * 6, times * size)), []
    for k, time_ns in enumerate(times_ns):
        h = np.zeros((6, size))
        h[:, columns] = random.normal(size=(6, len(columns)))
        variance = random.uniform(0.5, 2.0, 6) * 1e-4
        measured = h @ references[k] + 0.02 * random.normal(size=6)
        moments.append([LinearMeasurement(time_ns, "linear", h, measured, variance)])
        h_all[k * 6 : k * 6 + 6, k * size : (k + 1) * size] = h
        r_all.append((measured - h @ references[k], variance))
    residual, variance = (np.concatenate(parts) for parts in zip(*r_all, strict=True))
    prior = c.reshape(times * size, -1)
    gain = np.linalg.solve(h_all @ prior @ h_all.T + np.diag(variance), h_all @ prior).T
    errors, posterior = (gain @ residual).reshape(times, size), prior - gain @ h_all @ prior
    unrested = Updater(UpdateParams(), AnatomyParams(unsure_rad=100.0))
    steps = filtered(start, moments, unrested, LINEAR)
    for k in range(times):
        smoothed = smooth(steps, k, process=LINEAR)
        np.testing.assert_allclose(smoothed.nominal - references[k], errors[k], atol=1e-6)
        here = slice(k * size, (k + 1) * size)
        np.testing.assert_allclose(smoothed.covariance, posterior[here, here], rtol=1e-5, atol=1e-8)
    assert np.abs(errors[0]).max() > 1e-3


# --- What must hold -------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", KINDS)
def test_smoothing_never_makes_anything_less_certain(kinds: str) -> None:
    """In no direction; the last moment stays as it is, the first gains most."""
    steps = steps_of(kinds)
    for k, step in enumerate(steps):
        smoothed = smooth(steps, k).covariance
        scale = np.abs(step.after.covariance).max()
        assert np.linalg.eigvalsh(step.after.covariance - smoothed).min() > -1e-9 * scale
        assert np.linalg.eigvalsh(smoothed).min() > -1e-9 * scale
    first, last = smooth(steps, 0), smooth(steps, len(steps) - 1)
    assert np.trace(first.covariance) < 0.98 * np.trace(steps[0].after.covariance)
    np.testing.assert_array_equal(last.covariance, steps[-1].after.covariance)
    np.testing.assert_allclose(last.nominal, steps[-1].after.nominal, atol=1e-15)


def test_the_mean_alone_is_the_same_mean() -> None:
    steps = steps_of("all sorts")
    quick = steps[1].after.copy()
    later = [(step.information, step.after) for step in steps[2:]]
    Smoother(PROCESS, len(quick.nominal)).smooth(quick, later, with_matrix=False)
    np.testing.assert_array_equal(quick.nominal, smooth(steps, 1).nominal)
    np.testing.assert_array_equal(quick.covariance, steps[1].after.covariance)


def test_locked_lengths_and_silent_imus_are_not_smoothed() -> None:
    steps = steps_of("points", locked=True)
    smoothed = smooth(steps, 0)
    np.testing.assert_array_equal(smoothed.nominal[LENGTH], steps[0].after.nominal[LENGTH])
    assert not smoothed.covariance[LENGTH].any()


def test_a_gap_that_is_too_long_tells_nothing() -> None:
    start = random_state(np.random.default_rng(7), sigma=0.03)
    points = landmarks_of("halpe_26", start.nominal)
    moments = [[measured_3d(points, 0.01, time_ns, set_name="halpe_26")] for time_ns in (0, 8_000 * MS)]
    steps = filtered(start, moments, updater())
    np.testing.assert_allclose(smooth(steps, 0).nominal, steps[0].after.nominal, atol=1e-12)


def headed(heading_rad: float) -> tuple[State, State]:
    """The state after a first orientation, and smoothed; from the second one on an IMU has a heading of its own."""
    random = np.random.default_rng(8)
    start = random_state(random, sigma=0.03, imus=2)
    segment, slot = np.array([SEGMENT[name] for name in SENSORS]), np.arange(2)
    mounts = np.tile([1.0, 0.0, 0.0, 0.0], (2, 1))
    moments: list[list[Measurement]] = []
    for k in range(6):
        tilts = np.array([0.0, 0.0, 0.3]) + 0.05 * random.normal(size=(2, 3))
        q = np.asarray(quaternion.from_rotvec(tilts))
        if k > 0:
            q[0] = quaternion.multiply(quaternion.from_rotvec([0.0, 0.0, heading_rad + 0.03 * k]), q[0])
        begins = np.array([k == 1, False])
        told = OrientationMeasurement(
            k * FRAME_NS, "orientation", segment, slot, mounts, q, OrientationParams(), begins
        )
        points = landmarks_of("halpe_26", start.nominal)
        moments.append([told, measured_3d(points, 0.01, k * FRAME_NS, set_name="halpe_26")])
    steps = filtered(start, moments, updater(2))
    return steps[0].after, smooth(steps, 0)


def test_a_heading_that_begins_anew_says_next_to_nothing_of_the_old_one() -> None:
    """An orientation filter that lost its heading: what is measured from then on is another unknown."""
    lost, kept = (slot_columns(slot).start + IMU_HEADING for slot in (0, 1))
    ends = []
    for heading_rad in (0.2, 1.5, -1.2):
        before, smoothed = headed(heading_rad)
        assert smoothed.covariance[kept, kept] < 0.95 * before.covariance[kept, kept]
        assert smoothed.covariance[lost, lost] > 0.97 * before.covariance[lost, lost]
        ends.append(smoothed.nominal[lost])
    assert np.ptp(ends) < 0.02 * np.sqrt(before.covariance[lost, lost])


# --- In the filter of a person --------------------------------------------------------------------


def bending(time_ns: int) -> Float64:
    """Nominal [100] of somebody who walks along x and bends a knee and an elbow."""
    time_s = time_ns / NS_PER_S
    nominal = resting_state().nominal
    nominal[COORDINATE["root_px"]] = 0.6 * time_s
    nominal[COORDINATE["left_knee_flexion"]] += 0.4 * np.sin(5.0 * time_s) ** 2
    nominal[COORDINATE["left_elbow_flexion"]] += 0.6 * np.sin(4.0 * time_s) ** 2
    return nominal


def points_at(time_ns: int) -> Measurement:
    noise = 0.02 * np.random.default_rng(time_ns).normal(size=(26, 3))
    return measured_3d(landmarks_of("halpe_26", bending(time_ns)) + noise, 0.02, time_ns, set_name="halpe_26")


def view_at(time_ns: int) -> Measurement:
    camera = ring(1)[0]
    noise = 3.0 * np.random.default_rng(time_ns).normal(size=(33, 2))
    return measured_2d(camera, seen_from(camera, bending(time_ns)) + noise, time_ns)


def person(**params: float) -> PersonFilter:
    return PersonFilter(FilterParams(**params), updater(), resting_state())  # type: ignore[arg-type]


def measured(frames: int) -> list[Measurement]:
    """Points twenty milliseconds apart, and a view just after every other one."""
    return [
        m
        for k in range(frames)
        for m in (points_at(k * FRAME_NS), *([view_at(k * FRAME_NS + 7 * MS)] if k % 2 else []))
    ]


def assert_close(a: State, b: State, tolerance: float) -> None:
    assert a.time_ns == b.time_ns
    np.testing.assert_allclose(a.nominal, b.nominal, rtol=0.0, atol=tolerance)
    np.testing.assert_allclose(a.covariance, b.covariance, rtol=0.0, atol=tolerance)


def test_without_lag_it_is_the_causal_estimate_and_later_a_prediction() -> None:
    filter_ = person()
    for measurement in measured(12):
        filter_.apply(measurement)
    newest, out, expected = filter_.newest_ns, resting_state(), resting_state()
    assert_close(filter_.smoothed(newest, out), filter_.state, 0.0)
    assert_close(filter_.smoothed(newest + 30 * MS, out), filter_.predicted(newest + 30 * MS, expected), 0.0)


def test_smoothing_changes_nothing_in_the_filter() -> None:
    filter_, untouched = person(), person()
    for measurement in measured(14):
        filter_.apply(measurement)
        untouched.apply(measurement)
        filter_.smoothed(filter_.newest_ns - 50 * MS, resting_state())
    assert_close(filter_.state, untouched.state, 0.0)


@pytest.mark.parametrize("lag_ns", [20 * MS, 33 * MS, 100 * MS, 250 * MS])
def test_it_is_the_smoother_over_what_came_later(lag_ns: int) -> None:
    """At a measured time, and between two."""
    everything = measured(16)
    filter_ = person()
    for measurement in everything:
        filter_.apply(measurement)
    time_ns = filter_.newest_ns - lag_ns
    start = resting_state()
    steps = filtered(start, [[m] for m in everything], updater())
    index = max(k for k, step in enumerate(steps) if step.after.time_ns <= time_ns)
    there, _, _ = carried(steps[index].after, time_ns, PROCESS)
    out = filter_.smoothed(time_ns, resting_state())
    assert_close(out, smooth(steps, index, there), 1e-12)
    assert np.trace(out.covariance) < np.trace(there.covariance)


def test_any_order_of_arrival_is_smoothed_alike() -> None:
    everything = measured(13)
    random = np.random.default_rng(9)
    expected, out = resting_state(), resting_state()
    in_order = person()
    for measurement in everything:
        in_order.apply(measurement)
    for _ in range(4):
        filter_ = person()
        for k in random.permutation(len(everything)):
            filter_.apply(everything[k])
            if random.uniform() < 0.3:
                filter_.smoothed(filter_.newest_ns - 60 * MS, out)
        for lag_ns in (0, 40 * MS, 91 * MS, 200 * MS):
            time_ns = in_order.newest_ns - lag_ns
            assert_close(filter_.smoothed(time_ns, out), in_order.smoothed(time_ns, expected), 1e-9)


def test_what_is_out_of_memory_is_the_oldest_that_is_left() -> None:
    filter_ = person(window_s=0.1)
    for measurement in measured(30):
        filter_.apply(measurement)
    out = filter_.smoothed(0, resting_state())
    assert out.time_ns == filter_.oldest_ns > 0


def test_a_smoothed_motion_is_nearer_to_the_truth() -> None:
    """Its pose and its rates."""
    filter_, out = person(), resting_state()
    errors: dict[str, list[float]] = {"causal": [], "smoothed": [], "causal rates": [], "smoothed rates": []}
    elbow = COORDINATE["left_elbow_flexion"]
    for k in range(100):
        filter_.apply(points_at(k * FRAME_NS))
        if k < 20:
            continue
        filter_.smoothed((k - 8) * FRAME_NS, out)
        for name, state in (("causal", filter_.state), ("smoothed", out)):
            truth = bending(state.time_ns)
            errors[name].append(float(np.linalg.norm(joints_of(state.nominal) - joints_of(truth), axis=1).mean()))
            step_ns = MS // 10
            rate = (bending(state.time_ns + step_ns) - bending(state.time_ns - step_ns))[elbow] / (2e-9 * step_ns)
            errors[f"{name} rates"].append(float((state.rates[elbow] - rate) ** 2))
    means = {name: np.mean(values) for name, values in errors.items()}
    assert means["smoothed"] < 0.8 * means["causal"]
    assert means["smoothed rates"] < 0.9 * means["causal rates"]


def test_when_lengths_are_locked_what_was_before_is_still_smoothed_well() -> None:
    """The moment of locking takes knowledge away; what it does to the past must not."""
    filter_, out = person(lock_after_s=0.5), resting_state()
    locked_ns, worst = 0, 0.0
    for k in range(50):
        filter_.apply(points_at(k * FRAME_NS))
        if filter_.state.lengths_locked and not locked_ns:
            locked_ns = filter_.newest_ns
        if not 0 < locked_ns >= filter_.newest_ns - 150 * MS:
            continue
        filter_.smoothed(max(filter_.newest_ns - 150 * MS, 0), out)
        truth = bending(out.time_ns)
        worst = max(worst, float(np.linalg.norm(joints_of(out.nominal) - joints_of(truth), axis=1).mean()))
        assert np.abs(out.nominal[LENGTH] - filter_.state.nominal[LENGTH]).max() < 0.02
        assert np.linalg.eigvalsh(out.covariance).min() > -1e-9
    assert locked_ns
    assert worst < 0.02


def test_rates_are_smoothed_too() -> None:
    """What comes later tells of the velocity that has led there."""
    steps = steps_of("points", rate=0.5)
    before, after = steps[0].after, smooth(steps, 0)
    velocity = slice(RATE_COLUMN, RATE_COLUMN + 3)
    assert np.trace(after.covariance[velocity, velocity]) < 0.95 * np.trace(before.covariance[velocity, velocity])
