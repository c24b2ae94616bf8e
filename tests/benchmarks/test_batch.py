"""The batch equals dense least squares where all is linear, and lowers the cost of a person's trajectory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from benchmarks import batch, scenarios
from benchmarks.batch import BatchParams, Chain, PersonProblem, add_link, best_track, empty_chain, minimise, solve
from benchmarks.filter_optimum import PARAMS, Given, given, smoothed
from fusion.body.kinematics import TABLES
from fusion.body.skeleton import LENGTHS
from fusion.filter.process import NS_PER_S, make_process, predict_kernel, steps_between
from fusion.filter.state import BODY_ERRORS, LENGTH, RATE_COLUMN, empty_state, retract
from fusion.filter.system import Measurement
from fusion.filter.update import Updater
from fusion.records import Float64
from fusion.synthesis.actions import DEFAULT_SCRIPT
from fusion.synthesis.motion import draw_lengths
from fusion.synthesis.params import DetectorParams
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.simulation import Lab

RNG = np.random.default_rng(3)


def positive(size: int) -> Float64:
    half = RNG.normal(size=(size, size))
    return half @ half.T + 0.5 * np.eye(size)


@dataclass
class LinearChain:
    """x_0 ~ N(start, P); x_t+1 = F x_t + N(0, Q); z_t = H x_t + N(0, R), R diagonal."""

    start: Float64
    prior: Float64
    transition: Float64
    noise: Float64
    seen: Float64
    variance: Float64
    measured: Float64

    def linearised(self, states: Float64) -> Chain:
        chain = empty_chain(*states.shape)
        error, information = states[0] - self.start, np.linalg.inv(self.prior)
        chain.diagonal[0] += information
        chain.gradient[0] -= information @ error
        cost = 0.5 * error @ information @ error
        for t, state in enumerate(states):
            residual = self.measured[t] - self.seen @ state
            chain.diagonal[t] += self.seen.T @ np.diag(1.0 / self.variance) @ self.seen
            chain.gradient[t] += self.seen.T @ (residual / self.variance)
            cost += 0.5 * float(residual**2 @ (1.0 / self.variance))
            if t + 1 < len(states):
                error = states[t + 1] - self.transition @ state
                cost += add_link(chain, t, -self.transition, (), error, np.asarray(np.linalg.inv(self.noise)))
        return chain._replace(cost=cost)

    def cost(self, states: Float64) -> float:
        return self.linearised(states).cost

    def moved(self, states: Float64, step: Float64) -> Float64:
        return states + step

    def by_least_squares(self) -> Float64:
        """All whitened rows stacked, and one dense least squares."""
        count, n = len(self.measured), len(self.start)
        rows, right = [], []

        def add(blocks: dict[int, Float64], value: Float64, covariance: Float64) -> None:
            row = np.zeros((len(value), count * n))
            for t, block in blocks.items():
                row[:, t * n : (t + 1) * n] = block
            white = np.linalg.inv(np.linalg.cholesky(covariance))
            rows.append(white @ row)
            right.append(white @ value)

        add({0: np.eye(n)}, self.start, self.prior)
        for t in range(count):
            add({t: self.seen}, self.measured[t], np.diag(self.variance))
            if t:
                add({t: np.eye(n), t - 1: -self.transition}, np.zeros(n), self.noise)
        return np.linalg.lstsq(np.vstack(rows), np.concatenate(right), rcond=None)[0].reshape(count, n)

    def by_rts(self) -> Float64:
        """Kalman filter, then the backward pass of Rauch, Tung and Striebel (AIAA J. 3(8), 1965)."""
        means, covariances, before, covariances_before = [], [], [], []
        mean, covariance = self.start, self.prior
        for t, measured in enumerate(self.measured):
            if t:
                mean, covariance = (
                    self.transition @ mean,
                    self.transition @ covariance @ self.transition.T + self.noise,
                )
            before.append(mean)
            covariances_before.append(covariance)
            s = self.seen @ covariance @ self.seen.T + np.diag(self.variance)
            gain = covariance @ self.seen.T @ np.linalg.inv(s)
            mean = mean + gain @ (measured - self.seen @ mean)
            covariance = covariance - gain @ self.seen @ covariance
            means.append(mean)
            covariances.append(covariance)
        for t in range(len(means) - 2, -1, -1):
            gain = covariances[t] @ self.transition.T @ np.linalg.inv(covariances_before[t + 1])
            means[t] = means[t] + gain @ (means[t + 1] - before[t + 1])
        return np.array(means)


def linear_chain(count: int = 7, n: int = 4, m: int = 2) -> LinearChain:
    return LinearChain(
        start=RNG.normal(size=n),
        prior=positive(n),
        transition=np.eye(n) + 0.3 * RNG.normal(size=(n, n)),
        noise=0.1 * positive(n),
        seen=RNG.normal(size=(m, n)),
        variance=RNG.uniform(0.1, 1.0, m),
        measured=RNG.normal(size=(count, m)),
    )


def test_a_linear_chain_is_solved_in_one_step_as_by_dense_least_squares() -> None:
    problem = linear_chain()
    start = RNG.normal(size=(7, 4))
    step = solve(problem.linearised(start))
    np.testing.assert_allclose(start + step, problem.by_least_squares(), atol=1e-9)


def test_smoothing_a_linear_gaussian_chain_equals_rts() -> None:
    problem = linear_chain(12)
    found = minimise(problem, np.zeros((12, 4)), BatchParams())
    assert found.converged
    assert found.iterations <= 2
    np.testing.assert_allclose(found.states, problem.by_rts(), atol=1e-9)


def test_a_chain_of_one_state_has_no_neighbours() -> None:
    problem = linear_chain(1)
    np.testing.assert_allclose(solve(problem.linearised(np.zeros((1, 4)))), problem.by_least_squares(), atol=1e-9)


class Robust(LinearChain):
    """The same with measurements of a Student-t with three degrees of freedom for each component."""

    def linearised(self, states: Float64) -> Chain:
        squared = (self.measured - states @ self.seen.T) ** 2 / self.variance
        weights = 4.0 / (3.0 + squared)
        chain = super().linearised(states)
        gaussian = 0.0
        for t, state in enumerate(states):
            residual = self.measured[t] - self.seen @ state
            gaussian += 0.5 * squared[t].sum()
            change = (weights[t] - 1.0) / self.variance
            chain.diagonal[t] += self.seen.T @ np.diag(change) @ self.seen
            chain.gradient[t] += self.seen.T @ (residual * change)
        return chain._replace(cost=chain.cost - gaussian + float((2.0 * np.log1p(squared / 3.0)).sum()))


def test_robust_minimum_has_no_gradient_and_ignores_an_outlier() -> None:
    plain = linear_chain(20)
    plain.measured = np.cumsum(plain.measured, axis=0) * 0.1
    plain.measured[10] += 50.0
    problem = Robust(**vars(plain))
    params = BatchParams(tolerance=1e-9)
    found = minimise(problem, np.zeros((20, 4)), params)
    assert found.converged
    assert found.cost < found.start_cost
    slope = np.zeros_like(found.states)
    for place in np.ndindex(*slope.shape):
        step = np.zeros_like(slope)
        step[place] = 1e-5
        slope[place] = (problem.cost(found.states + step) - problem.cost(found.states - step)) / 2e-5
    np.testing.assert_allclose(slope, 0.0, atol=1e-5)
    far = np.abs(plain.by_rts() - found.states).max()
    assert far > 1.0, "the outlier pulls a Gaussian model, and must not pull this one"


def test_mixing_steps_reaches_the_same_minimum_sooner() -> None:
    plain = linear_chain(20)
    plain.measured *= 4.0
    problem = Robust(**vars(plain))
    mixed = minimise(problem, np.zeros((20, 4)), BatchParams(iterations=500, tolerance=1e-7))
    alone = minimise(problem, np.zeros((20, 4)), BatchParams(iterations=500, tolerance=1e-7, memory=0))
    assert mixed.converged
    assert alone.converged
    assert mixed.iterations < alone.iterations
    np.testing.assert_allclose(mixed.states, alone.states, atol=1e-5)


def test_information_of_very_different_sizes_is_an_inverse() -> None:
    scale = np.diag(10.0 ** np.arange(-6.0, 3.0))
    covariance = scale @ positive(9) @ scale
    np.testing.assert_allclose(covariance @ batch.information_of(covariance), np.eye(9), atol=1e-4)
    white = scale @ batch.information_of(covariance) @ scale
    np.testing.assert_allclose(
        white, np.linalg.inv(np.linalg.inv(scale) @ covariance @ np.linalg.inv(scale)), rtol=1e-8
    )


def random_nominal(errors: int = BODY_ERRORS + 14) -> Float64:
    nominal = 0.4 * RNG.normal(size=errors)
    nominal[RATE_COLUMN:BODY_ERRORS] *= 3.0
    return nominal


def test_jacobian_of_a_difference_matches_central_differences() -> None:
    first = random_nominal()
    second = retract(first, 0.5 * RNG.normal(size=len(first)))
    error = batch.difference(first, second)
    blocks = batch.difference_blocks(error, batch.rotation_columns(len(first)))
    by_second = batch.times_transposed(blocks, np.eye(len(first))).T
    step = 1e-6
    for column in range(len(first)):
        change = np.zeros(len(first))
        change[column] = step
        slope = batch.difference(first, retract(second, change)) - batch.difference(first, retract(second, -change))
        np.testing.assert_allclose(by_second[:, column], slope / (2 * step), atol=1e-7)
        slope = batch.difference(retract(first, change), second) - batch.difference(retract(first, -change), second)
        np.testing.assert_allclose(-by_second.T[:, column], slope / (2 * step), atol=1e-7)


@pytest.mark.parametrize("gap_s", [0.004, 0.13])
def test_a_passage_arrives_where_the_filter_does_and_knows_its_derivative(gap_s: float) -> None:
    process = make_process(PARAMS.process)
    nominal = random_nominal(BODY_ERRORS)
    gap_ns, columns = int(gap_s * NS_PER_S), np.arange(BODY_ERRORS)
    made = batch.passage(process, nominal, 0, gap_ns, columns)
    arrived, noise = nominal.copy(), np.zeros((BODY_ERRORS, BODY_ERRORS))
    count, step_s = steps_between(0, gap_ns)
    for _ in range(count):
        predict_kernel(TABLES, arrived, noise, process, step_s, np.empty(BODY_ERRORS))
    np.testing.assert_array_equal(made.arrived, arrived)
    np.testing.assert_array_equal(made.noise, noise)
    step = 1e-6
    for column in columns:
        change = np.zeros(BODY_ERRORS)
        change[column] = step
        ends = [batch.passage(process, retract(nominal, sign * change), 0, gap_ns, columns).arrived for sign in (1, -1)]
        slope = (batch.difference(arrived, ends[0]) - batch.difference(arrived, ends[1])) / (2 * step)
        np.testing.assert_allclose(made.transition[:, column], slope, atol=1e-7)


def known_of(seconds: float, sensors: str) -> Given:
    detector = replace(DetectorParams(), occlusion=False, limb_dropout_rate_hz=0.0, miss_share=0.0)
    motion = scripted_motion(DEFAULT_SCRIPT, draw_lengths(3, 1.75), seed=3)
    recording = scenarios.record("script", motion, seconds, Lab(detector=detector), 3)
    return given(recording, scenarios.SCENARIOS[sensors])


def problem_of(known: Given) -> PersonProblem:
    updater = Updater(PARAMS.update, PARAMS.anatomy, len(known.start.nominal), PARAMS.contact)
    moments = batch.moments_of(known.start, known.journal, known.times_ns, PARAMS, updater)
    return PersonProblem(known.start, moments, PARAMS)


@pytest.fixture(scope="module")
def known() -> Given:
    """A scripted wearer before two cameras, with an IMU system, until all its slow states have begun."""
    return known_of(1.3, "cameras_2+imu")


@pytest.fixture(scope="module")
def problem(known: Given) -> PersonProblem:
    return problem_of(known)


def test_moments_hold_each_measurement_once_and_all_wanted_times(known: Given, problem: PersonProblem) -> None:
    held: list[Measurement] = [measurement for moment in problem.moments for measurement in moment.measurements]
    assert len(held) == len(known.journal)
    assert {id(measurement) for measurement in held} == {id(measurement) for measurement in known.journal}
    assert all(
        measurement.time_ns == moment.time_ns for moment in problem.moments for measurement in moment.measurements
    )
    assert set(known.times_ns.tolist()) <= {moment.time_ns for moment in problem.moments}
    begun = [column for moment in problem.moments for column in moment.begins.tolist()]
    assert sorted(begun) == list(range(BODY_ERRORS, len(known.start.nominal))), "each state of an IMU begins once"


def test_gradient_of_a_persons_cost_matches_central_differences(known: Given, problem: PersonProblem) -> None:
    states = smoothed(known, np.array([moment.time_ns for moment in problem.moments]))
    problem.decide(states)
    chain = problem.linearised(states)
    assert chain.cost == pytest.approx(problem.cost(states), rel=1e-12)
    for _ in range(8):
        t, column = int(RNG.integers(len(states))), int(RNG.integers(len(problem.free)))
        step = np.zeros_like(chain.gradient)
        step[t, column] = 1e-6
        slope = (problem.cost(problem.moved(states, step)) - problem.cost(problem.moved(states, -step))) / 2e-6
        scale = float(np.sqrt(chain.diagonal[t, column, column]))
        assert -slope / scale == pytest.approx(chain.gradient[t, column] / scale, abs=2e-3, rel=2e-3)


def test_the_batch_costs_less_than_the_smoother_and_keeps_the_lengths() -> None:
    known = known_of(0.9, "cameras_2")
    problem = problem_of(known)
    start = smoothed(known, np.array([moment.time_ns for moment in problem.moments]))
    found = best_track(problem, start, BatchParams(rounds=2, tolerance=1e-4))
    assert found.converged
    assert problem.cost(found.states) < problem.cost(start)
    for done in found.rounds:
        assert done.cost <= done.start_cost
    lengths = np.broadcast_to(known.start.nominal[LENGTH], (len(start), LENGTHS))
    np.testing.assert_array_equal(found.states[:, LENGTH], lengths)


def test_a_state_that_nobody_measured_follows_the_process() -> None:
    start = empty_state()
    start.covariance[:] = np.diag(np.full(BODY_ERRORS, 0.01))
    start.lock_lengths()
    start.nominal[RATE_COLUMN] = 1.0
    updater = Updater(PARAMS.update, PARAMS.anatomy)
    times = np.array([0, 20_000_000, 40_000_000])

    class Nothing:
        """A measurement that says nothing, so that the track has an end."""

        time_ns, source, linear = 40_000_000, "nothing", True

        def add_rows(self, *_: object) -> None: ...
        def learn(self, *_: object) -> None: ...

    problem = PersonProblem(start, batch.moments_of(start, [Nothing()], times, PARAMS, updater), PARAMS)
    found = minimise(problem, np.tile(start.nominal, (3, 1)), BatchParams(tolerance=1e-9))
    carried = start.nominal.copy()
    for _ in range(2):
        predict_kernel(
            TABLES, carried, np.zeros((BODY_ERRORS, BODY_ERRORS)), problem.process, 0.02, np.empty(BODY_ERRORS)
        )
    assert found.cost == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(found.states[2], carried, atol=1e-6)
