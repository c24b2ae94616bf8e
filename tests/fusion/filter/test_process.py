"""The process against a readable twin, its Jacobian against differences, and how a body behaves that nobody sees."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.body.kinematics import TABLES
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import COORDINATE, COORDINATE_NAMES, COORDINATES
from fusion.filter.process import (
    MAX_STEP_S,
    NS_PER_S,
    ProcessParams,
    make_process,
    predict,
    predict_kernel,
    rest_rates,
    spectral_densities,
)
from fusion.filter.state import ERRORS, LENGTH, POSE, RATE, difference_into, retract
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.body.twin import ROTATION_VECTORS
from tests.fusion.numeric import central_difference
from tests.fusion.scenes import (
    landmarks_of,
    measured_2d,
    measured_3d,
    random_state,
    resting_state,
    ring,
    seen_from,
    updater,
)

PARAMS = ProcessParams()
PROCESS = make_process(PARAMS)
STEPS_S = (1e-6, 0.01, 0.0333, MAX_STEP_S)


# --- The twin -------------------------------------------------------------------------------------


def skew(v: Float64) -> Float64:
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


def right_jacobian(v: Float64) -> Float64:
    """Sola, arXiv 1812.01537, eq. 143, as a series."""
    total, term = np.eye(3), np.eye(3)
    for k in range(1, 25):
        term = term @ (-skew(v)) / (k + 1)
        total = total + term
    return total


def twin_nominal(nominal: Float64, step_s: float) -> Float64:
    """Rates decay, coordinates follow them, and what has a rest goes back to it."""
    keep = np.exp(-step_s / PARAMS.decay_s)
    error = np.zeros(ERRORS)
    error[POSE] = PARAMS.decay_s * (1.0 - keep) * nominal[RATE]
    error[POSE] += (np.exp(-step_s * rest_rates(PARAMS)) - 1.0) * (nominal[POSE] - resting_coordinates())
    out = retract(nominal, error)
    out[RATE] = keep * nominal[RATE]
    return out


def twin_transition(nominal: Float64, step_s: float) -> Float64:
    """F [99, 99]."""
    keep = np.exp(-step_s / PARAMS.decay_s)
    reach = PARAMS.decay_s * (1.0 - keep)
    f = np.eye(ERRORS)
    f[POSE, POSE] = np.diag(np.exp(-step_s * rest_rates(PARAMS)))
    f[POSE, RATE] = reach * np.eye(COORDINATES)
    f[RATE, RATE] = keep * np.eye(COORDINATES)
    for name in (name for name in COORDINATE_NAMES if name in ROTATION_VECTORS and name.endswith("x")):
        i = COORDINATE[name]
        rates = slice(COORDINATES + i, COORDINATES + i + 3)
        turn = reach * nominal[rates]
        f[i : i + 3, i : i + 3] = quaternion.to_matrix(quaternion.from_rotvec(-turn))
        f[i : i + 3, rates] = reach * right_jacobian(turn)
    return f


def twin_noise(step_s: float) -> Float64:
    """Q [99, 99]: white acceleration over a step, Bar-Shalom eq. 6.2.2-12."""
    q = np.zeros((ERRORS, ERRORS))
    density = np.diag(spectral_densities(PARAMS))
    q[POSE, POSE] = density * step_s**3 / 3.0
    q[POSE, RATE] = q[RATE, POSE] = density * step_s**2 / 2.0
    q[RATE, RATE] = density * step_s
    return q


@pytest.mark.parametrize("step_s", STEPS_S)
@pytest.mark.parametrize("seed", range(3))
def test_the_kernel_is_its_twin(seed: int, step_s: float) -> None:
    state = random_state(np.random.default_rng(seed), rate=6.0)
    f = twin_transition(state.nominal, step_s)
    nominal, covariance = twin_nominal(state.nominal, step_s), f @ state.covariance @ f.T + twin_noise(step_s)
    predict_kernel(TABLES, state.nominal, state.covariance, PROCESS, step_s)
    np.testing.assert_allclose(state.nominal, nominal, atol=1e-12)
    np.testing.assert_allclose(state.covariance, covariance, atol=1e-14)


@pytest.mark.parametrize("step_s", STEPS_S[1:])
def test_the_transition_is_the_derivative_of_the_nominal(step_s: float) -> None:
    nominal = random_state(np.random.default_rng(4), rate=6.0).nominal
    expected = twin_nominal(nominal, step_s)

    def moved(column: int, by: float) -> Float64:
        error = np.zeros(ERRORS)
        error[column] = by
        out = np.empty(ERRORS)
        difference_into(TABLES, expected, twin_nominal(retract(nominal, error), step_s), out)
        return out

    numeric = np.stack([central_difference(lambda h, c=c: moved(c, h)) for c in range(ERRORS)], axis=1)  # type: ignore[misc]
    np.testing.assert_allclose(twin_transition(nominal, step_s), numeric, atol=1e-8)


# --- What follows from it -------------------------------------------------------------------------


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
    state = resting_state()
    knee, root = COORDINATE["left_knee_flexion"], COORDINATE["root_px"]
    state.rates[[knee, root]] = 2.0, 1.0
    at_start = state.coordinates.copy()
    predict(state, PROCESS, int(PARAMS.decay_s * NS_PER_S))
    assert state.rates[knee] == pytest.approx(2.0 / np.e)
    predict(state, PROCESS, int(20.0 * PARAMS.decay_s * NS_PER_S))
    assert np.abs(state.rates).max() < 1e-7
    assert state.coordinates[knee] - at_start[knee] == pytest.approx(2.0 * PARAMS.decay_s, rel=1e-6)
    assert state.coordinates[root] == pytest.approx(1.0 * PARAMS.decay_s, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "time_constant_s"),
    [("spine_y", PARAMS.spine_rest_s), ("neck_z", PARAMS.neck_rest_s), ("left_toe_extension", PARAMS.toe_rest_s),
     ("right_shoulder_elevation", PARAMS.girdle_rest_s), ("left_wrist_flexion", PARAMS.hand_rest_s)],
)  # fmt: skip
def test_what_has_a_rest_returns_to_it(name: str, time_constant_s: float) -> None:
    state = resting_state()
    index = COORDINATE[name]
    rest = resting_coordinates()[index]
    state.coordinates[index] = rest + 0.5
    predict(state, PROCESS, int(time_constant_s * NS_PER_S))
    assert state.coordinates[index] - rest == pytest.approx(0.5 / np.e, rel=1e-9)


@pytest.mark.parametrize("name", ["root_px", "right_knee_flexion", "left_elbow_flexion", "left_ankle_dorsiflexion"])
def test_the_others_stay_where_they_are(name: str) -> None:
    state = resting_state()
    state.coordinates[COORDINATE[name]] = 0.4
    predict(state, PROCESS, 3 * int(NS_PER_S))
    assert state.coordinates[COORDINATE[name]] == pytest.approx(0.4)


def test_uncertainty_grows_and_lengths_stay() -> None:
    state = random_state(np.random.default_rng(7), rate=1.0, sigma=0.02)
    lengths, told = state.nominal[LENGTH].copy(), state.covariance[LENGTH, LENGTH].copy()
    without_rest = [i for i in range(COORDINATES) if rest_rates(PARAMS)[i] == 0.0]
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


def test_a_coordinate_that_rests_has_a_bounded_error() -> None:
    """Nobody sees the toes for a minute: their error stays within what toes can do."""
    state = resting_state()
    predict(state, PROCESS, 60 * int(NS_PER_S))
    toe = COORDINATE["left_toe_extension"]
    assert np.sqrt(state.covariance[toe, toe]) < np.radians(60.0)


def test_densities_are_accelerations_that_persist() -> None:
    densities = spectral_densities(PARAMS)
    assert densities.shape == (COORDINATES,)
    assert densities[COORDINATE["root_pz"]] == pytest.approx(PARAMS.root_m_s2**2 * PARAMS.correlation_s)
    assert densities[COORDINATE["left_knee_flexion"]] == pytest.approx(PARAMS.knee_rad_s2**2 * PARAMS.correlation_s)
    assert densities[COORDINATE["left_wrist_flexion"]] == pytest.approx(PARAMS.hand_rad_s2**2 * PARAMS.correlation_s)
    for name in COORDINATE_NAMES:
        if name.startswith("left_"):
            assert densities[COORDINATE[name]] == densities[COORDINATE[name.replace("left_", "right_")]]


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
            outcome = work.apply(state, measured_3d(points + sigma * random.normal(size=points.shape), sigma))
        else:
            camera = cameras[k % len(cameras)]
            pixels = seen_from(camera, truth) + 3.0 * random.normal(size=(33, 2))
            outcome = work.apply(state, measured_2d(camera, pixels))
        refused += outcome < 0
        assert np.abs(state.covariance - state.covariance.T).max() <= 1e-13 * np.abs(state.covariance).max()
        if k % 10 == 0:
            eigenvalues = np.linalg.eigvalsh(state.covariance)
            assert eigenvalues[0] > -1e-10 * eigenvalues[-1]
    assert refused < 6
    assert locked == (not state.covariance[LENGTH].any())
