"""The process against a readable twin, its Jacobian against differences, and how a body behaves that nobody sees."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.body.kinematics import TABLES
from fusion.body.skeleton import COORDINATE, COORDINATE_NAMES, COORDINATES
from fusion.filter.process import (
    MAX_STEP_S,
    NS_PER_S,
    Process,
    ProcessParams,
    advance_nominal,
    make_process,
    predict,
    predict_kernel,
    step_error,
    steps_between,
    transition_rows,
)
from fusion.filter.state import (
    FLOOR_COLUMN,
    IMU_BIAS,
    IMU_HEADING,
    LENGTH,
    POSE,
    RATE,
    RATE_COLUMN,
    difference_into,
    errors_of,
    retract,
)
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.filter.systems import TURNS, any_process
from tests.fusion.numeric import central_difference, right_jacobian
from tests.fusion.scenes import (
    joints_of,
    landmarks_of,
    measured_2d,
    measured_3d,
    random_state,
    resting_state,
    ring,
    seen_from,
    silenced,
    updater,
)

PARAMS = ProcessParams()
PROCESS = make_process(PARAMS)
STEPS_S = (1e-6, 0.01, 0.0333, MAX_STEP_S)
PROCESSES = {"as it is": PROCESS, "any": any_process(1)}


# --- The twin -------------------------------------------------------------------------------------


def twin_error(process: Process, nominal: Float64, step_s: float) -> Float64:
    """The step [n]: coordinates follow their rates while these decay, and what has a rest goes back to it."""
    error = np.zeros(len(nominal))
    error[POSE] = process.decay_s * (1.0 - np.exp(-step_s / process.decay_s)) * nominal[RATE]
    away = process.rest - nominal[POSE]
    for first in TURNS:
        here, rest = (quaternion.from_rotvec(x[first : first + 3]) for x in (nominal, process.rest))
        away[first : first + 3] = quaternion.to_rotvec(quaternion.multiply(quaternion.conjugate(here), rest))
    error[POSE] += (1.0 - np.exp(-step_s * process.rest_rate)) * away
    return error


def twin_nominal(process: Process, nominal: Float64, step_s: float) -> Float64:
    """The nominal [n] after a step."""
    out = retract(nominal, twin_error(process, nominal, step_s))
    out[RATE] = np.exp(-step_s / process.decay_s) * nominal[RATE]
    return out


def twin_transition(process: Process, nominal: Float64, step_s: float) -> Float64:
    """F [n, n]."""
    keep, stay = np.exp(-step_s / process.decay_s), np.exp(-step_s * process.rest_rate)
    reach = process.decay_s * (1.0 - keep)
    error = twin_error(process, nominal, step_s)
    f = np.eye(len(nominal))
    f[POSE, POSE] = np.diag(stay)
    f[POSE, RATE] = np.diag(reach)
    f[RATE, RATE] = np.diag(keep)
    for i in TURNS:
        turns, rates = slice(i, i + 3), slice(RATE_COLUMN + i, RATE_COLUMN + i + 3)
        f[turns, turns] = quaternion.to_matrix(quaternion.from_rotvec(-error[turns])) * stay[turns]
        f[turns, rates] = right_jacobian(error[turns]) * reach[turns]
    return f


def twin_noise(process: Process, covariance: Float64, step_s: float) -> Float64:
    """Q [n, n]: what white acceleration leaves behind, by quadrature, and the walk of IMUs."""
    q = np.zeros_like(covariance)
    nodes, weights = np.polynomial.legendre.leggauss(24)
    for node, weight in zip(nodes, weights, strict=True):
        ago_s = 0.5 * step_s * (1.0 + node)
        rate = np.exp(-ago_s / process.decay_s)
        moved = process.decay_s * (1.0 - rate)
        part = 0.5 * step_s * weight * process.density
        q[POSE, POSE] += part * np.outer(moved, moved)
        q[POSE, RATE] += part * np.outer(moved, rate)
        q[RATE, RATE] += part * np.outer(rate, rate)
    q[RATE, POSE] = q[POSE, RATE].T
    for first in range(errors_of(0), len(q), 7):
        walks = np.where(covariance.diagonal()[first : first + 7] > 0.0, process.walk * step_s, 0.0)
        q[first : first + 7, first : first + 7] = np.diag(walks)
    return q


@pytest.mark.parametrize("step_s", STEPS_S)
@pytest.mark.parametrize("kind", PROCESSES)
@pytest.mark.parametrize("seed", range(2))
def test_the_kernel_is_its_twin(seed: int, kind: str, step_s: float) -> None:
    """With one IMU that is heard, one that is not, and one that has told no heading yet."""
    process = PROCESSES[kind]
    state = silenced(random_state(np.random.default_rng(seed), rate=6.0, imus=3), 1)
    heading = errors_of(2) + IMU_HEADING
    state.covariance[heading, :] = state.covariance[:, heading] = 0.0
    f = twin_transition(process, state.nominal, step_s)
    expected = twin_nominal(process, state.nominal, step_s)
    covariance = f @ state.covariance @ f.T + twin_noise(process, state.covariance, step_s)
    predict_kernel(TABLES, state.nominal, state.covariance, process, step_s, np.empty(len(f)))
    np.testing.assert_allclose(state.nominal, expected, atol=1e-12)
    np.testing.assert_allclose(state.covariance, covariance, atol=1e-13)
    assert not state.covariance[heading].any()
    assert not state.covariance[errors_of(1) : errors_of(2)].any()


@pytest.mark.parametrize("step_s", STEPS_S[1:])
@pytest.mark.parametrize("kind", PROCESSES)
def test_the_transition_is_the_derivative_of_the_nominal(kind: str, step_s: float) -> None:
    """Exactly, but for balls that return to rest, whose way back is taken as if it were short."""
    process = PROCESSES[kind]
    nominal = random_state(np.random.default_rng(4), rate=6.0, imus=1).nominal
    size = len(nominal)

    def advanced(start: Float64) -> Float64:
        end = start.copy()
        advance_nominal(TABLES, end, process, step_s, np.empty(size))
        return end

    expected = advanced(nominal)

    def moved(column: int, by: float) -> Float64:
        error = np.zeros(size)
        error[column] = by
        out = np.empty(size)
        difference_into(TABLES, expected, advanced(retract(nominal, error)), out)
        return out

    numeric = np.stack([central_difference(lambda h, c=c: moved(c, h)) for c in range(size)], axis=1)  # type: ignore[misc]
    error, f = np.empty(size), np.eye(size)
    step_error(TABLES, nominal, process, step_s, error)
    transition_rows(TABLES, process, step_s, error, f)
    slack = np.zeros((size, size))
    for i in (first for first in TURNS if process.rest_rate[first] > 0.0):
        slack[i : i + 3, i : i + 3] = 2.0 * process.rest_rate[i] * step_s
    assert not np.argwhere(np.abs(f - numeric) > 1e-8 + slack).tolist()


def test_two_halves_of_a_step_are_the_step() -> None:
    """The noise is integrated exactly: where nothing returns to rest, how a gap is cut does not matter."""
    process = PROCESS._replace(rest_rate=np.zeros_like(PROCESS.rest_rate))
    whole, halves = resting_state(sigma=0.03), resting_state(sigma=0.03)
    scratch = np.empty(len(whole.nominal))
    predict_kernel(TABLES, whole.nominal, whole.covariance, process, 0.05, scratch)
    for _ in range(2):
        predict_kernel(TABLES, halves.nominal, halves.covariance, process, 0.025, scratch)
    np.testing.assert_allclose(halves.nominal, whole.nominal, atol=1e-12)
    np.testing.assert_allclose(halves.covariance, whole.covariance, atol=1e-12)


# --- What follows from it -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gap_ns", "count"), [(0, 0), (1, 1), (49_999_999, 1), (50_000_000, 1), (50_000_001, 2), (10**9, 20)]
)
def test_gaps_are_crossed_in_steps_of_one_length(gap_ns: int, count: int) -> None:
    found, step_s = steps_between(5, 5 + gap_ns)
    assert found == count
    assert step_s <= MAX_STEP_S
    assert step_s * count == pytest.approx(gap_ns / NS_PER_S)


def test_a_long_gap_is_crossed_in_many_steps() -> None:
    once = random_state(np.random.default_rng(5), rate=3.0)
    often = once.copy()
    predict(once, PROCESS, NS := int(NS_PER_S))
    for k in range(20):
        predict(often, PROCESS, NS * (k + 1) // 20)
    np.testing.assert_allclose(once.nominal, often.nominal, atol=1e-12)
    np.testing.assert_allclose(once.covariance, often.covariance, atol=1e-12)
    assert once.time_ns == often.time_ns == NS


def test_no_time_changes_nothing() -> None:
    state = random_state(np.random.default_rng(6))
    before = state.copy()
    predict(state, PROCESS, state.time_ns)
    np.testing.assert_array_equal(state.nominal, before.nominal)
    np.testing.assert_array_equal(state.covariance, before.covariance)


def test_there_is_no_way_back() -> None:
    state = resting_state()
    state.time_ns = 100
    with pytest.raises(ValueError, match="100 to 99"):
        predict(state, PROCESS, 99)


def test_rates_decay_and_the_way_they_lead_is_finite() -> None:
    process = PROCESS._replace(rest_rate=np.zeros(COORDINATES))
    state = resting_state()
    knee, root = COORDINATE["left_knee_flexion"], COORDINATE["root_px"]
    state.rates[[knee, root]] = 2.0, 1.0
    at_start = state.coordinates.copy()
    predict(state, process, int(process.decay_s[knee] * NS_PER_S))
    assert state.rates[knee] == pytest.approx(2.0 / np.e)
    predict(state, process, int(20.0 * process.decay_s.max() * NS_PER_S))
    assert np.abs(state.rates).max() < 1e-7
    assert state.coordinates[knee] - at_start[knee] == pytest.approx(2.0 * process.decay_s[knee], rel=1e-6)
    assert state.coordinates[root] == pytest.approx(1.0 * process.decay_s[root], rel=1e-6)


HINGED = [i for i in range(6, COORDINATES) if not TABLES.turns[i]]


@pytest.mark.parametrize("index", HINGED, ids=lambda i: COORDINATE_NAMES[i])
def test_what_has_a_rest_returns_to_it_and_the_others_stay(index: int) -> None:
    state, rate = resting_state(), PROCESS.rest_rate[index]
    state.coordinates[index] = PROCESS.rest[index] + 0.5
    predict(state, PROCESS, int(NS_PER_S))
    assert state.coordinates[index] - PROCESS.rest[index] == pytest.approx(0.5 * np.exp(-rate), rel=1e-9)


@pytest.mark.parametrize("first", TURNS[1:])
def test_a_ball_returns_to_its_rest_by_the_shortest_way(first: int) -> None:
    """With one rate for its three axes, which the parameters of a test give."""
    rate = PROCESS.rest_rate.copy()
    rate[first : first + 3] = 0.7
    process = PROCESS._replace(rest_rate=rate)
    rest = quaternion.from_rotvec(process.rest[first : first + 3])
    away = np.array([0.3, -0.5, 0.2])
    state = resting_state()
    state.coordinates[first : first + 3] = quaternion.to_rotvec(quaternion.multiply(rest, quaternion.from_rotvec(away)))
    predict(state, process, int(NS_PER_S))
    there = quaternion.from_rotvec(state.coordinates[first : first + 3])
    left = quaternion.to_rotvec(quaternion.multiply(quaternion.conjugate(rest), there))
    np.testing.assert_allclose(left, np.exp(-0.7) * away, atol=1e-9)


def test_parameters_of_the_process() -> None:
    """Spine and neck return as fast as they are told to; briskness is a factor on all noise."""
    params = ProcessParams(briskness=3.0, spine_rest_s=(0.25, 2.0, 0.5), spine_bend_rad=0.2, neck_rest_s=4.0)
    process = make_process(params)
    np.testing.assert_allclose(process.density, PROCESS.density * (3.0 / PARAMS.briskness))
    for part, times_s, rest in (("spine", (0.25, 2.0, 0.5), (0.0, 0.2, 0.0)), ("neck", (4.0,) * 3, (0.0,) * 3)):
        columns = [COORDINATE[f"{part}_{axis}"] for axis in "xyz"]
        np.testing.assert_allclose(process.rest_rate[columns], 1.0 / np.array(times_s))
        np.testing.assert_array_equal(process.rest[columns], rest)
    np.testing.assert_array_equal(PROCESS.rest_rate[:6], 0.0, "there is no place to return to")


def test_the_process_can_be() -> None:
    """Noise that some motion could have, the same for left and right; everything finite and nothing negative."""
    np.testing.assert_array_equal(PROCESS.density, PROCESS.density.T)
    eigenvalues = np.linalg.eigvalsh(PROCESS.density)
    assert eigenvalues.min() > -1e-12 * eigenvalues.max()
    for values in (PROCESS.density.diagonal(), PROCESS.decay_s):
        assert (np.isfinite(values) & (values > 0.0)).all()
    assert (PROCESS.rest_rate >= 0.0).all()
    for name in (name for name in COORDINATE_NAMES if name.startswith("left_")):
        left, right = COORDINATE[name], COORDINATE[name.replace("left_", "right_")]
        for values in (PROCESS.density.diagonal(), PROCESS.decay_s, PROCESS.rest_rate, np.abs(PROCESS.rest)):
            assert values[left] == pytest.approx(values[right])


def test_uncertainty_grows_and_lengths_stay() -> None:
    state = random_state(np.random.default_rng(7), rate=1.0, sigma=0.02)
    lengths, told = state.nominal[LENGTH].copy(), state.covariance[LENGTH, LENGTH].copy()
    without_rest = [i for i in range(COORDINATES) if PROCESS.rest_rate[i] == 0.0]
    # The trace: right-perturbed rotations share their variances among the three axes as the body turns.
    last = -np.inf
    for k in range(1, 30):
        predict(state, PROCESS, k * 100_000_000)
        trace = float(np.sum(state.covariance.diagonal()[without_rest]))
        assert trace > last
        last = trace
    np.testing.assert_array_equal(state.nominal[LENGTH], lengths)
    np.testing.assert_array_equal(state.covariance[LENGTH, LENGTH], told)
    assert np.isfinite(state.covariance).all()


def test_the_floor_and_the_nominal_of_imus_stay_and_what_is_unknown_of_imus_walks() -> None:
    state = random_state(np.random.default_rng(9), imus=1)
    state.covariance[:] = np.diag(state.covariance.diagonal())
    before = state.copy()
    predict(state, PROCESS, 2 * int(NS_PER_S))
    np.testing.assert_allclose(state.nominal[errors_of(0) :], before.nominal[errors_of(0) :], atol=1e-12)
    assert state.nominal[FLOOR_COLUMN] == before.nominal[FLOOR_COLUMN]
    assert state.covariance[FLOOR_COLUMN, FLOOR_COLUMN] == before.covariance[FLOOR_COLUMN, FLOOR_COLUMN]
    grown = (state.covariance - before.covariance).diagonal()[errors_of(0) :]
    slow = PARAMS.imus
    walks = [slow.mounting_walk] * 3 + [slow.heading_walk] + [slow.bias_walk] * 3
    np.testing.assert_allclose(grown, 2.0 * np.square(walks), rtol=1e-6)
    assert len(grown) == IMU_BIAS + 3


@pytest.mark.parametrize("seed", range(3))
def test_a_body_that_moves_as_one_stays_rigid(seed: int) -> None:
    """Rates of the root alone: whatever path it takes, no joint turns within the body."""
    random = np.random.default_rng(seed)
    state = random_state(random)
    state.nominal[POSE][6:] = PROCESS.rest[6:]
    state.rates[:6], state.rates[6:] = random.normal(size=6), 0.0
    before = state.copy()
    for _ in range(20):
        predict(state, PROCESS, state.time_ns + int(random.integers(1, 10**8)))
    np.testing.assert_allclose(state.coordinates[6:], before.coordinates[6:], atol=1e-12)
    apart = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (joints_of(s.nominal) for s in (before, state))]
    np.testing.assert_allclose(apart[0], apart[1], atol=1e-12)
    assert np.abs(joints_of(state.nominal) - joints_of(before.nominal)).max() > 0.02


def test_a_turned_and_shifted_body_is_predicted_turned_and_shifted() -> None:
    """The process knows of no place and no heading, only of what is up."""
    random = np.random.default_rng(10)
    state = random_state(random, rate=3.0)
    turn, shift = quaternion.from_rotvec([0.0, 0.0, random.normal()]), random.normal(size=3)
    moved = state.copy()
    moved.nominal[:3] = quaternion.rotate(turn, state.nominal[:3]) + shift
    moved.nominal[3:6] = quaternion.to_rotvec(quaternion.multiply(turn, quaternion.from_rotvec(state.nominal[3:6])))
    moved.rates[:3] = quaternion.rotate(turn, state.rates[:3])
    for each in (state, moved):
        predict(each, PROCESS, 370_000_000)
    expected = quaternion.rotate(turn, joints_of(state.nominal)) + shift
    np.testing.assert_allclose(joints_of(moved.nominal), expected, atol=1e-11)


def test_a_coordinate_that_rests_has_a_bounded_error() -> None:
    """Nobody sees the toes for a minute: their error stays within what toes can do."""
    state = resting_state()
    predict(state, PROCESS, 60 * int(NS_PER_S))
    toe = COORDINATE["left_toe_extension"]
    assert np.sqrt(state.covariance[toe, toe]) < np.radians(60.0)


@pytest.mark.parametrize("locked", [False, True])
def test_the_covariance_stays_one(locked: bool) -> None:
    """Hundreds of predictions and updates of all sizes: symmetric, no negative variance in any direction."""
    random = np.random.default_rng(8)
    state, work, cameras = random_state(random, sigma=0.1), updater(), ring()
    if locked:
        state.lock_lengths()
    truth = state.nominal.copy()
    refused = 0
    for k in range(200):
        predict(state, PROCESS, state.time_ns + int(10 ** random.uniform(-6, -0.5) * NS_PER_S))
        if random.uniform() < 0.5:
            sigma = 10 ** random.uniform(-5, -1)
            points = landmarks_of("blazepose_33", truth)
            points[random.uniform(size=len(points)) < 0.3] = np.nan
            outcome = work.apply(state, [measured_3d(points + sigma * random.normal(size=points.shape), sigma)])
        else:
            camera = cameras[k % len(cameras)]
            pixels = seen_from(camera, truth) + 3.0 * random.normal(size=(33, 2))
            outcome = work.apply(state, [measured_2d(camera, pixels)])
        refused += outcome < 0
        assert np.abs(state.covariance - state.covariance.T).max() <= 1e-13 * np.abs(state.covariance).max()
        if k % 10 == 0:
            eigenvalues = np.linalg.eigvalsh(state.covariance)
            assert eigenvalues[0] > -1e-10 * eigenvalues[-1]
    assert refused < 6
    assert locked == (not state.covariance[LENGTH].any())
