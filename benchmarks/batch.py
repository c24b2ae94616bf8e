"""The whole of a track at once: the trajectory of the largest posterior density, as the limit of any filter.

All states of one person are unknown together. The cost is half of the minus
log-posterior of the filter's own model:

    J(x) = 1/2 |x_0 (-) start|^2_P0  +  sum_k 1/2 |x_k+1 (-) f(x_k)|^2_Qk  +  sum_k sum_o rho_o(x_k)

with the start's covariance, the process of ``fusion.filter.process`` (its
nominal step f, its transition F as derivative, its noise Q) and the observations that
the measurements' own ``add_rows`` make. rho is (nu + m)/2 log(1 + e^2/nu) for data, e
being the residual in its own noise, and e^2/2 for knowledge (limits, rest, nothing
below the floor). It is minimised by Gauss-Newton with step control: each iteration
re-weighs (Lange, Little, Taylor, JASA 84, 1989), re-linearises everything and solves
the normal equations, which are block tridiagonal, by a block Cholesky factorisation
(Golub and Van Loan, "Matrix Computations", 4th ed., section 4.5.1). The solver shares
nothing with the filter's update and smoother; only the model is shared.

What the filter has decided, and no density can tell, is taken from it and held:

* an observation that the filter's gate left out is left out here;
* the noise scale of landmarks is what the filter had learned by that time;
* coordinates are drawn to rest at the times at which they were unsure in the filter;
* the feet are asked at the times at which the filter asked them. Which points stand,
  and how firmly, is decided by the filter's rule from the trajectory itself, held
  while that is brought to convergence, and decided again in the next round.

States without process noise (the floor, lengths that are not locked) are given a walk of
``CONSTANT_WALK``, so that every block has an inverse; what has no variance at the
start (locked lengths) is no unknown. States of an IMU begin where the filter begins
them, with the same prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
from scipy.linalg import solve_triangular

from fusion.body.kinematics import BALL, ROOT, TABLES
from fusion.filter.history import FilterParams, Stepper
from fusion.filter.measurements.anatomy import anatomy_rows, make_anatomy
from fusion.filter.measurements.ground import ContactParams, ground_due, ground_rows, make_ground
from fusion.filter.measurements.imu_slots import stop_silent_slots
from fusion.filter.process import (
    NS_PER_S,
    Process,
    make_process,
    predict,
    predict_kernel,
    step_error,
    steps_between,
    transition_rows,
)
from fusion.filter.state import (
    FLOOR_COLUMN,
    IMU_COLUMN,
    IMU_SIZE,
    LENGTH,
    POSE,
    RATE_COLUMN,
    State,
    difference_into,
    retract_into,
)
from fusion.filter.system import Measurement, System, make_body, make_system
from fusion.filter.update import KNOWLEDGE, Updater, linearise
from fusion.maths import quaternion
from fusion.records import Bool, Float64, Int64

CONSTANT_WALK = 1e-5
"""Of states that the process holds constant, per square root of a second: a minute moves them by 0.1 mm or 0.01 %."""

# ---------------------------------------------------------------- normal equations of a chain


class Chain(NamedTuple):
    """Normal equations H step = gradient of T states of n errors each, where only neighbours are coupled."""

    diagonal: Float64
    """[T, n, n]."""
    coupling: Float64
    """[T - 1, n, n] row of state t + 1, column of state t."""
    gradient: Float64
    """[T, n] minus the derivative of the cost."""
    cost: float


def empty_chain(states: int, errors: int) -> Chain:
    """A chain of zeros."""
    return Chain(
        np.zeros((states, errors, errors)),
        np.zeros((max(states - 1, 0), errors, errors)),
        np.zeros((states, errors)),
        0.0,
    )


Blocks = Sequence[tuple[int, Float64]]
"""A matrix that is the identity but for these blocks [3, 3] on its diagonal, each with its first column."""


def times_transposed(blocks: Blocks, matrix: Float64) -> Float64:
    """B^T matrix."""
    out = matrix.copy()
    for first, block in blocks:
        out[first : first + 3] = block.T @ matrix[first : first + 3]
    return out


def add_link(chain: Chain, t: int, before: Float64, after: Blocks, residual: Float64, information: Float64) -> float:
    """Add |residual + before step_t + after step_(t+1)|^2 in the metric of ``information`` [n, n]; half of it now."""
    weighted = information @ before
    chain.diagonal[t] += before.T @ weighted
    chain.diagonal[t + 1] += times_transposed(after, times_transposed(after, information).T)
    chain.coupling[t] += times_transposed(after, weighted)
    told = information @ residual
    chain.gradient[t] -= before.T @ told
    chain.gradient[t + 1] -= times_transposed(after, told)
    return 0.5 * float(residual @ told)


def solve(chain: Chain) -> Float64:
    """The step [T, n] that solves the normal equations.

    Raises:
        numpy.linalg.LinAlgError: where they are not positive definite.
    """
    count, _ = chain.gradient.shape
    factors, gains, rights = [], [], np.empty_like(chain.gradient)
    block, right = chain.diagonal[0], chain.gradient[0]
    for t in range(count):
        factors.append(np.linalg.cholesky(block))
        rights[t] = _lower(factors[t], right)
        if t + 1 == count:
            break
        gains.append(_lower(factors[t], chain.coupling[t].T))
        block = chain.diagonal[t + 1] - gains[t].T @ gains[t]
        right = chain.gradient[t + 1] - gains[t].T @ rights[t]
    step = np.empty_like(chain.gradient)
    for t in range(count - 1, -1, -1):
        known = rights[t] if t + 1 == count else rights[t] - gains[t] @ step[t + 1]
        step[t] = solve_triangular(factors[t], known, lower=True, trans="T", check_finite=False)
    return step


def _lower(factor: Float64, right: Float64) -> Float64:
    return np.asarray(solve_triangular(factor, right, lower=True, check_finite=False))


# ---------------------------------------------------------------- Gauss-Newton


class Problem(Protocol):
    """A sum of squares (re-weighed at each linearisation) over a chain of states."""

    def linearised(self, states: Float64) -> Chain:
        """Normal equations and cost at the states [T, N]."""
        ...

    def cost(self, states: Float64) -> float:
        """The cost alone."""
        ...

    def moved(self, states: Float64, step: Float64) -> Float64:
        """The states after a step [T, n]."""
        ...


@dataclass(frozen=True, slots=True)
class BatchParams:
    """When the batch has converged."""

    tolerance: float = 1e-6
    """A step that moves no coordinate by more than this (rad, m): converged."""
    iterations: int = 100
    """At most, in each round."""
    rounds: int = 3
    """How often the feet are decided on;"""
    rough: float = 1e-3
    """all rounds but the last end at this tolerance."""
    memory: int = 8
    """So many steps before it are mixed with a step."""
    halvings: int = 12
    """A step that raises the cost is halved at most so often."""


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Where an iteration has ended."""

    states: Float64
    """[T, N]."""
    cost: float
    start_cost: float
    iterations: int
    last_step: float
    """Largest entry of the last full step, over the columns that were asked about."""
    converged: bool


def minimise(problem: Problem, states: Float64, params: BatchParams, columns: slice = slice(None)) -> Solution:
    """Gauss-Newton with step control, to convergence.

    Re-weighing makes Gauss-Newton converge linearly; so each step is mixed with those before it (Walker and Ni,
    "Anderson acceleration for fixed-point iterations", SIAM J. Numer. Anal. 49(4), 2011). A mixed step that does not
    lower the cost is forgotten with all before it, and the plain one is taken; a plain step is halved until it
    does not raise the cost.

    Args:
        problem: see there.
        states: [T, N] to begin with.
        params: see there.
        columns: of the step that convergence is judged by.

    Returns:
        Where it ended; not converged where no part of a step lowers the cost, or iterations ran out.
    """
    chain = problem.linearised(states)
    start_cost = chain.cost
    mixer = _Mixer(params.memory, columns)
    size = np.inf
    for iteration in range(params.iterations):
        step = solve(chain)
        size = float(np.abs(step[:, columns]).max())
        if size < params.tolerance:
            return Solution(states, chain.cost, start_cost, iteration, size, True)
        taken = mixer.mixed(step)
        moved = problem.moved(states, taken)
        there = problem.linearised(moved)
        if not there.cost <= chain.cost:
            mixer.clear()
            share = _share(problem, states, step, chain.cost, params.halvings)
            if share == 0.0:
                return Solution(states, chain.cost, start_cost, iteration, size, False)
            taken = share * step
            moved = problem.moved(states, taken)
            there = problem.linearised(moved)
        mixer.remember(step, taken)
        states, chain = moved, there
    return Solution(states, chain.cost, start_cost, params.iterations, size, False)


_ROUNDING = 1e-12
"""A cost that rises by less than this share has not risen."""


def _share(problem: Problem, states: Float64, step: Float64, cost: float, halvings: int) -> float:
    """The largest power of a half of the step that does not raise the cost; 0 where none does."""
    for halving in range(halvings + 1):
        if problem.cost(problem.moved(states, 0.5**halving * step)) <= cost * (1.0 + _ROUNDING):
            return 0.5**halving
    return 0.0


class _Mixer:
    """Anderson mixing of steps [T, n]; the least squares are over some columns."""

    def __init__(self, memory: int, columns: slice) -> None:
        self._memory = memory
        self._columns = columns
        self._steps: list[Float64] = []
        self._taken: list[Float64] = []

    def clear(self) -> None:
        """Forget all steps."""
        self._steps.clear()
        self._taken.clear()

    def remember(self, step: Float64, taken: Float64) -> None:
        """Keep what was proposed, and what was done then."""
        self._steps.append(step)
        self._taken.append(taken)
        surplus = max(len(self._steps) - self._memory, 0)
        del self._steps[:surplus], self._taken[:surplus]

    def mixed(self, step: Float64) -> Float64:
        """The step to take instead of a proposed one."""
        if not self._steps:
            return step
        changes = np.diff(np.stack([*self._steps, step]), axis=0)
        flat = changes[:, :, self._columns].reshape(len(changes), -1)
        shares = np.linalg.lstsq(flat.T, step[:, self._columns].reshape(-1), rcond=1e-10)[0]
        return step - np.tensordot(shares, changes + np.stack(self._taken), axes=1)


# ---------------------------------------------------------------- the process between two states


def inverse_right_jacobian(rotation: Float64) -> Float64:
    """Inverse [3, 3] of SO(3)'s right Jacobian at a rotation vector [3]. Source: Sola, arXiv 1812.01537, eq. 144."""
    x, y, z = rotation
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = float(np.linalg.norm(rotation))
    share = 1.0 / 12.0
    if angle > 1e-3:
        share = (1.0 - 0.5 * angle / np.tan(0.5 * angle)) / angle**2
    return np.asarray(np.eye(3) + 0.5 * skew + share * skew @ skew)


def rotation_columns(errors: int) -> list[int]:
    """First columns of all rotations of an error state that are perturbed on the right."""
    turning = [int(TABLES.first[s]) for s in range(len(TABLES.parent)) if TABLES.freedom[s] in (ROOT, BALL)]
    return turning + list(range(IMU_COLUMN, errors, IMU_SIZE))


def difference(nominal: Float64, other: Float64) -> Float64:
    """other (-) nominal [n]."""
    out = np.empty(len(nominal))
    difference_into(TABLES, nominal, other, out)
    return out


def difference_blocks(error: Float64, firsts: Sequence[int]) -> Blocks:
    """Derivative of d = b (-) a by the error of b, at d = ``error`` [n]; its transpose is minus that by a's.

    With d = Log(A^T B): B Exp(e) adds Jr^-1(d) e, and A Exp(e) takes Jl^-1(d) e = Jr^-1(d)^T e away.
    """
    return [(first, inverse_right_jacobian(error[first : first + 3])) for first in firsts]


class Passage(NamedTuple):
    """The process over a gap, linearised at the state before it."""

    arrived: Float64
    """[n] nominal after it."""
    transition: Float64
    """[n, C] F, the columns that were asked for."""
    noise: Float64
    """[n, n] Q; zero for what walks or stays on its own (IMUs, constants)."""


def passage(process: Process, nominal: Float64, from_ns: int, to_ns: int, columns: Int64) -> Passage:
    """Step the process from a nominal [n], in the same steps as the filter does; F has the columns [C] only.

    F is the filter's, but for balls that return to rest, of which the filter's is an approximation: a minimum is found
    with exact derivatives only.
    """
    count, step_s = steps_between(from_ns, to_ns)
    arrived, errors = nominal.copy(), len(nominal)
    transition, noise = np.zeros((errors, len(columns))), np.zeros((errors, errors))
    transition[columns, np.arange(len(columns))] = 1.0
    error = np.empty(errors)
    for _ in range(count):
        step_error(TABLES, arrived, process, step_s, error)
        returning = _returning(process, arrived, error, step_s)
        before = [transition[first : first + 3].copy() for first, _ in returning]
        transition_rows(TABLES, process, step_s, error, transition)
        for (first, missing), rows in zip(returning, before, strict=True):
            transition[first : first + 3] += missing @ rows
        predict_kernel(TABLES, arrived, noise, process, step_s, error)
    return Passage(arrived, transition, noise)


def _returning(process: Process, nominal: Float64, error: Float64, step_s: float) -> Blocks:
    """What the filter's F lacks of the derivative, for each ball that returns to rest.

    With v the step and a = Log(q^T rest), of which the part p is taken: F is Exp(-v) - p Jr(v) Jl^-1(a), and the
    filter has (1 - p) Exp(-v), where Exp(-v) = Jr(v) Jl^-1(v).
    """
    blocks = []
    for first in rotation_columns(RATE_COLUMN)[1:]:
        part = 1.0 - np.exp(-step_s * process.rest_rate[first])
        if part > 0.0:
            turn = slice(first, first + 3)
            here, rest = quaternion.from_rotvec(nominal[turn]), quaternion.from_rotvec(process.rest[turn])
            away = quaternion.to_rotvec(quaternion.multiply(quaternion.conjugate(here), rest))
            inverse = inverse_right_jacobian(error[turn])
            blocks.append((first, part * np.linalg.solve(inverse, (inverse - inverse_right_jacobian(away)).T)))
    return blocks


def slow_noise(process: Process, errors: int, gap_s: float) -> Float64:
    """Variance [n] that constants and the slow states of IMUs gain in a gap; 0 for the others."""
    out = np.zeros(errors)
    out[LENGTH] = CONSTANT_WALK**2 * gap_s
    out[FLOOR_COLUMN] = CONSTANT_WALK**2 * gap_s
    for first in range(IMU_COLUMN, errors, IMU_SIZE):
        out[first : first + IMU_SIZE] = np.maximum(process.walk, CONSTANT_WALK**2) * gap_s
    return out


def information_of(covariance: Float64) -> Float64:
    """Inverse of a positive definite matrix whose entries may have very different sizes."""
    scale = np.sqrt(covariance.diagonal())
    lower = np.linalg.cholesky(covariance / np.outer(scale, scale))
    half = _lower(lower, np.eye(len(scale)))
    return np.asarray(half.T @ half / np.outer(scale, scale))


# ---------------------------------------------------------------- what was measured


POINTS = 4
"""Points of the soles that may stand."""


@dataclass(slots=True, eq=False)
class Moment:
    """All that was measured at one time, and what the filter had decided about it."""

    time_ns: int
    measurements: tuple[Measurement, ...]
    state: State
    """The filter's, before the update; IMUs that are heard for the first time have begun."""
    left_out: frozenset[tuple[int, int, int]]
    """Observations beyond the filter's gate: group, source, and which one of those."""
    asks_ground: bool
    begins: Int64
    """Columns that begin here, with the nominal and the variance of ``state`` as their prior."""
    standing: Float64 = field(default_factory=lambda: np.full((POINTS, 2), np.inf))
    """[4, 2] variances of each sole point's rest and height; infinite where it does not stand."""


def moments_of(
    start: State, measurements: Sequence[Measurement], times_ns: Int64, params: FilterParams, updater: Updater
) -> list[Moment]:
    """Filter a track once, to learn what the filter decides; the first moment is the start's own time.

    Args:
        start: of the filter.
        measurements: in any order; those before the start are left out.
        times_ns: more times at which states are wanted; those outside of the track are left out.
        params: of the filter.
        updater: its solver.
    """
    by_time: dict[int, list[Measurement]] = {start.time_ns: []}
    for measurement in sorted(measurements, key=lambda m: (m.time_ns, m.source)):
        if measurement.time_ns >= start.time_ns:
            by_time.setdefault(measurement.time_ns, []).append(measurement)
    last_ns = max(by_time)
    for time_ns in times_ns.tolist():
        if start.time_ns <= time_ns <= last_ns:
            by_time.setdefault(time_ns, [])
    stepper, state = Stepper(params, updater), start.copy()
    return [_moment(stepper, state, time_ns, tuple(by_time[time_ns])) for time_ns in sorted(by_time)]


def _moment(stepper: Stepper, state: State, time_ns: int, measurements: tuple[Measurement, ...]) -> Moment:
    """Step the filter's ``state`` in place, and look at it before its update."""
    contact = stepper.params.contact
    seen = state.copy()
    predict(seen, stepper.process, time_ns)
    stop_silent_slots(seen, time_ns, stepper.params.imu_silence_s)
    before = seen.covariance.diagonal().copy()
    asks_ground = contact is not None and ground_due(seen, contact)
    system, body = make_system(len(seen.nominal)) if measurements else None, make_body()
    if system is not None:
        linearise(TABLES, seen.nominal, body, system)
        for measurement in measurements:
            measurement.add_rows(seen, seen.nominal, body, system)
    begins = np.flatnonzero((seen.covariance.diagonal() > 0.0) & (seen.covariance.diagonal() != before))
    stepper.advance(state, time_ns, measurements)
    left_out = _left_out(stepper.updater.system) if measurements else frozenset()
    return Moment(time_ns, measurements, seen, left_out, asks_ground, begins)


_LEFT_OUT = 1e-50
"""Weights of the filter below this are those of observations beyond its gate."""


def _left_out(system: System) -> frozenset[tuple[int, int, int]]:
    used = slice(0, int(system.filled[1]))
    names = _names(system.group[used], system.source[used])
    weights = zip(names, system.weight[used], strict=True)
    return frozenset(name for name, weight in weights if name[0] != KNOWLEDGE and weight < _LEFT_OUT)


def _names(groups: Int64, sources: Int64) -> list[tuple[int, int, int]]:
    """Group, source and number among the same of each observation: the same whatever else is seen."""
    seen: dict[tuple[int, int], int] = {}
    names = []
    for group, source in zip(groups.tolist(), sources.tolist(), strict=True):
        number = seen.get((group, source), 0)
        seen[group, source] = number + 1
        names.append((group, source, number))
    return names


class Told(NamedTuple):
    """What the observations of one moment say of the C unknown columns."""

    normal: Float64
    """[C, C]."""
    gradient: Float64
    """[C]."""
    cost: float


class PersonProblem:
    """The cost of one person's trajectory; states are nominals [T, n], steps have the unknown columns only."""

    def __init__(self, start: State, moments: Sequence[Moment], params: FilterParams) -> None:
        self.start = start
        self.moments = moments
        self.process = make_process(params.process)
        self.nu = params.update.student_nu
        self.errors = len(start.nominal)
        variances = np.array([moment.state.covariance.diagonal() for moment in moments])
        self.alive: Bool = variances > 0.0
        """[T, n] which errors exist."""
        self.free: Int64 = np.flatnonzero(self.alive.any(axis=0))
        """Columns that are unknown at some time."""
        self._anatomy = make_anatomy(params.anatomy)
        contact = params.contact or ContactParams()
        self._ground = make_ground(contact)
        # Limits so wide that every point has its rows; how firmly it stands is decided apart.
        self._all_points = self._ground._replace(height_m=1e9, speed_m_s=1e9, sure_m=1e9)
        self._system = make_system(self.errors)
        self._body = make_body()
        exists = set(self.free.tolist())
        self._firsts = [first for first in rotation_columns(self.errors) if first in exists]
        self._free_firsts: list[int] = np.searchsorted(self.free, self._firsts).tolist()
        self._information: dict[int, Float64] = {}

    # ------------------------------------------------------------ Problem

    def linearised(self, states: Float64) -> Chain:
        """See ``Problem``."""
        chain = empty_chain(len(states), len(self.free))
        cost = self._add_start(chain, states[0])
        for t, moment in enumerate(self.moments):
            told = self._told(moment, states[t])
            chain.diagonal[t] += told.normal
            chain.gradient[t] += told.gradient
            cost += told.cost + self._add_begun(chain, t, states[t])
            if t + 1 < len(states):
                cost += self._add_passage(chain, t, states)
            absent = np.flatnonzero(~self.alive[t, self.free])
            chain.diagonal[t, absent, absent] = 1.0
        return chain._replace(cost=cost)

    def cost(self, states: Float64) -> float:
        """See ``Problem``."""
        cost = self._start_cost(states[0])
        for t, moment in enumerate(self.moments):
            cost += self._observe(moment, states[t])[0] + self._begun_cost(t, states[t])
            if t + 1 < len(states):
                cost += self._passage_cost(t, states)
        return cost

    def moved(self, states: Float64, step: Float64) -> Float64:
        """See ``Problem``."""
        out = np.empty_like(states)
        full = np.zeros(self.errors)
        for t in range(len(states)):
            full[self.free] = np.where(self.alive[t, self.free], step[t], 0.0)
            retract_into(TABLES, states[t], full, out[t])
        return out

    def decide(self, states: Float64) -> int:
        """Decide anew which points of the soles stand, from a trajectory; returns how many do, over all moments."""
        count = 0
        system = self._system
        for moment, nominal in zip(self.moments, states, strict=True):
            moment.standing[:] = np.inf
            if not moment.asks_ground or not moment.measurements:
                continue
            linearise(TABLES, nominal, self._body, system)
            ground_rows(TABLES, self._body, nominal, moment.state.covariance, self._ground, system)
            for o in range(int(system.filled[1])):
                if system.robust[o]:
                    kind = 0 if system.components[o] == 3 else 1
                    moment.standing[system.source[o], kind] = system.variance[o, 0]
            count += int(np.isfinite(moment.standing[:, 0]).sum())
        return count

    # ------------------------------------------------------------ priors

    def _start_terms(self, nominal: Float64) -> tuple[Float64, Float64, Int64]:
        columns = np.flatnonzero(self.start.covariance.diagonal() > 0.0)
        error = difference(self.start.nominal, nominal)
        key = -1
        if key not in self._information:
            self._information[key] = information_of(self.start.covariance[np.ix_(columns, columns)])
        return error, self._information[key], columns

    def _start_cost(self, nominal: Float64) -> float:
        error, information, columns = self._start_terms(nominal)
        return 0.5 * float(error[columns] @ information @ error[columns])

    def _add_start(self, chain: Chain, nominal: Float64) -> float:
        error, information, columns = self._start_terms(nominal)
        return self._add_prior(chain, 0, error, information, columns)

    def _add_prior(self, chain: Chain, t: int, error: Float64, information: Float64, columns: Int64) -> float:
        """Add a prior over some columns [C] of a state; ``information`` [C, C]."""
        jacobian = times_transposed(difference_blocks(error, self._firsts), np.eye(self.errors)).T
        rows = jacobian[np.ix_(columns, self.free)]
        told = information @ error[columns]
        chain.diagonal[t] += rows.T @ information @ rows
        chain.gradient[t] -= rows.T @ told
        return 0.5 * float(error[columns] @ told)

    def _begun_cost(self, t: int, nominal: Float64) -> float:
        moment = self.moments[t]
        if not len(moment.begins):
            return 0.0
        error = difference(moment.state.nominal, nominal)[moment.begins]
        return 0.5 * float((error**2 / moment.state.covariance.diagonal()[moment.begins]).sum())

    def _add_begun(self, chain: Chain, t: int, nominal: Float64) -> float:
        moment = self.moments[t]
        if not len(moment.begins):
            return 0.0
        error = difference(moment.state.nominal, nominal)
        information = np.diag(1.0 / moment.state.covariance.diagonal()[moment.begins])
        return self._add_prior(chain, t, error, information, moment.begins)

    # ------------------------------------------------------------ process

    def _passage_terms(self, t: int, states: Float64) -> tuple[Float64, Passage, Float64]:
        """Error [n] of the next state against the process, the process, and its information over the unknowns."""
        from_ns, to_ns = self.moments[t].time_ns, self.moments[t + 1].time_ns
        made = passage(self.process, states[t], from_ns, to_ns, self.free)
        error = difference(made.arrived, states[t + 1])
        count, _ = steps_between(from_ns, to_ns)
        if count > 1:
            return error, made, self._link_information(t, made.noise)
        # In a single step the noise does not depend on the state.
        if t not in self._information:
            self._information[t] = self._link_information(t, made.noise)
        return error, made, self._information[t]

    def _link_information(self, t: int, noise: Float64) -> Float64:
        gap_s = (self.moments[t + 1].time_ns - self.moments[t].time_ns) / NS_PER_S
        covariance = noise + np.diag(slow_noise(self.process, self.errors, gap_s))
        linked = self.alive[t] & self.alive[t + 1]
        linked[self.moments[t + 1].begins] = False
        columns = np.flatnonzero(linked)
        places = np.searchsorted(self.free, columns)
        information = np.zeros((len(self.free), len(self.free)))
        information[np.ix_(places, places)] = information_of(covariance[np.ix_(columns, columns)])
        return information

    def _passage_cost(self, t: int, states: Float64) -> float:
        error, _, information = self._passage_terms(t, states)
        return 0.5 * float(error[self.free] @ information @ error[self.free])

    def _add_passage(self, chain: Chain, t: int, states: Float64) -> float:
        error, made, information = self._passage_terms(t, states)
        turning = zip(self._firsts, self._free_firsts, strict=True)
        after = [(place, inverse_right_jacobian(error[first : first + 3])) for first, place in turning]
        before = -times_transposed(after, made.transition[self.free])
        return add_link(chain, t, before, after, error[self.free], information)

    # ------------------------------------------------------------ observations

    def _observe(self, moment: Moment, nominal: Float64) -> tuple[float, Float64, int]:
        """Cost of a moment's observations, and the robust weight [O] of each; the system holds the rest."""
        system = self._system
        linearise(TABLES, nominal, self._body, system)
        for group, measurement in enumerate(moment.measurements):
            system.filled[2] = group
            measurement.add_rows(moment.state, nominal, self._body, system)
        if system.filled[1] == 0:
            return 0.0, np.zeros(0), 0
        system.filled[2] = KNOWLEDGE
        covariance = moment.state.covariance
        anatomy_rows(TABLES, nominal, covariance, self._anatomy, system)
        first = int(system.filled[1])
        if moment.asks_ground:
            ground_rows(TABLES, self._body, nominal, covariance, self._all_points, system)
        count = int(system.filled[1])
        used = self._stand(moment, first, count)
        if moment.left_out:
            names = _names(system.group[:count], system.source[:count])
            used &= np.array([name not in moment.left_out for name in names])
        present = np.arange(3) < system.components[:count, None]
        squared = np.where(present, system.residual[:count] ** 2 / system.variance[:count], 0.0).sum(axis=1)
        robust, m = system.robust[:count] > 0, system.components[:count]
        weight = np.where(robust, (self.nu + m) / (self.nu + squared), 1.0) * used
        each = np.where(robust, 0.5 * (self.nu + m) * np.log1p(squared / self.nu), 0.5 * squared)
        return float(each[used].sum()), weight, count

    def _stand(self, moment: Moment, first: int, count: int) -> Bool:
        """Give the floor's observations (from ``first`` on) what was decided; [count] which of all are used."""
        system = self._system
        used = np.ones(count, dtype=bool)
        for o in range(first, count):
            k, kind = system.source[o], 0 if system.components[o] == 3 else 1
            variance = moment.standing[k, kind]
            if np.isfinite(variance):
                system.variance[o, : system.components[o]] = variance
                continue
            # Nothing is below the floor, whether it stands or not.
            used[o] = kind == 1 and system.residual[o, 0] > 0.0
            system.variance[o, 0] = self._ground.below_variance
            system.robust[o] = 0
        return used

    def _told(self, moment: Moment, nominal: Float64) -> Told:
        cost, weight, count = self._observe(moment, nominal)
        unknowns = len(self.free)
        if not count:
            return Told(np.zeros((unknowns, unknowns)), np.zeros(unknowns), 0.0)
        system = self._system
        features = int(system.filled[0])
        present = np.arange(3) < system.components[:count, None]
        certainty = np.where(present, weight[:, None] / system.variance[:count], 0.0)
        residual = np.where(present, system.residual[:count], 0.0)
        h, feature = system.h[:count], system.feature[:count]
        information, gradient = np.zeros((features, 3, 3)), np.zeros((features, 3))
        np.add.at(information, feature, np.einsum("oi,oia,oib->oab", certainty, h, h))
        np.add.at(gradient, feature, np.einsum("oi,oia->oa", certainty * residual, h))
        # Rows beyond a feature's components hold what another update has left there.
        there = np.arange(3) < system.size[:features, None]
        rows = np.flatnonzero(there.reshape(-1))
        flat = system.jacobian[:features].reshape(3 * features, self.errors)[rows][:, self.free]
        mixing = np.zeros((features, 3, features, 3))
        each = np.arange(features)
        mixing[each, :, each, :] = information
        weighted = mixing.reshape(3 * features, 3 * features)[np.ix_(rows, rows)] @ flat
        return Told(flat.T @ weighted, gradient.reshape(-1)[rows] @ flat, cost)


# ---------------------------------------------------------------- a track


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The trajectory of the largest posterior density, and how it was reached."""

    times_ns: Int64
    """[T] of all states."""
    states: Float64
    """[T, n] nominals."""
    rounds: tuple[Solution, ...]
    """Each with the contacts that were decided at its beginning."""

    @property
    def converged(self) -> bool:
        """Whether the last round was brought to convergence."""
        return self.rounds[-1].converged


def best_track(problem: PersonProblem, states: Float64, params: BatchParams | None = None) -> Batch:
    """Minimise a person's cost from a trajectory [T, n], in rounds that each decide on the feet."""
    params = params or BatchParams()
    rounds: list[Solution] = []
    rough = replace(params, tolerance=params.rough)
    for number in range(params.rounds):
        problem.decide(states)
        rounds.append(minimise(problem, states, params if number + 1 == params.rounds else rough, POSE))
        states = rounds[-1].states
    times = np.array([moment.time_ns for moment in problem.moments], dtype=np.int64)
    return Batch(times, states, tuple(rounds))
