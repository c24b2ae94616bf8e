"""The iterated, robust update: with a wide prior a skeletal fit, with a narrow one a filter step.

Gauss-Newton on the manifold around the prior (Bell and Cathey, "The iterated
Kalman filter update as a Gauss-Newton method", IEEE TAC 38(2), 1993, eq. 20).
All measurements of one time are one update, so their order does not matter.

What the sensors say is first summed in each feature's few components
(``fusion.filter.system``): A = sum of w H^T R^-1 H and g = sum of w H^T R^-1 r.
The step is then solved in the smaller of two spaces, which give the same answer:

* *state space*, for many features (pictures): with P_aa = C C^T over the a
  coordinates that are touched and L = sum of J^T A J, the step is
  C (I + C^T L C)^-1 C^T g. It costs the same for one camera and for sixteen, and
  never asks for the inverse of the covariance.
* *measurement space*, for few features (inertial sensors, radar): with A = F F^T,
  whitened rows F^T J, the usual S = I + F^T J P J^T F.

Outliers are weighed by the likelihood of a Student-t, w = (nu + d) / (nu + e^2),
re-weighted at each iteration (Lange, Little, Taylor, "Robust statistical
modeling using the t distribution", JASA 84, 1989). The first weights use the
innovation's own covariance, so that a prior that is merely unsure does not make
an outlier of a good measurement; beyond ``gate`` an observation is left out of that
iteration (a later one weighs it by its residual).
Landmarks are not, where most of them are beyond it: then it is the prior that is
wrong.

The posterior covariance is P - X^T (I - B^-1) X with X = C^-1 P_a and
B = I + C^T L C (in measurement space P - W^T W): one symmetric downdate, then
symmetrised. It differs from Joseph's form by rounding only (both S and B are at
least the identity), at a third of its cost; ``_condition`` keeps the diagonal from
falling below what double precision can carry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from fusion.body.kinematics import TABLES, BodyTables, body_forward, body_rates
from fusion.filter.algebra import backward_solve, cholesky, forward_solve, semidefinite_factor, solve_vector
from fusion.filter.innovations import Tally
from fusion.filter.measurements.anatomy import Anatomy, AnatomyParams, anatomy_rows, make_anatomy
from fusion.filter.measurements.ground import ContactParams, Ground, ground_due, ground_rows, make_ground
from fusion.filter.process import NS_PER_S
from fusion.filter.state import (
    BODY_ERRORS,
    IMU_COLUMN,
    IMU_HEADING,
    IMU_SIZE,
    LENGTH,
    LENGTH_COLUMN,
    RATE_COLUMN,
    State,
    retract_into,
)
from fusion.filter.system import MAX_FEATURES, Body, Measurement, System, clear, make_body, make_system
from fusion.records import Bool, Float64, Int64


@dataclass(frozen=True, slots=True)
class UpdateParams:
    """How an update is iterated, weighed and gated."""

    iterations: int = 2
    """While lengths are being learned."""
    iterations_known: int = 1
    """Once the body is known. A second one re-weighs with the residuals that the first has made small: measured, it
    costs a third more time and leaves the error on simulated motion 3 % larger."""
    tolerance: float = 3e-3
    """An iteration that moves no coordinate by more than this (rad, m) is the last."""
    stereo_s: float = 0.5
    """Lengths are held when no two views have shown the person for so long: one view takes small for far."""
    student_nu: float = 3.0
    """Degrees of freedom of the residuals' Student-t."""
    gate: float = 7.0
    """Mahalanobis distance beyond which an observation is left out (sigmas)."""
    gate_majority: float = 0.6
    """If a larger share of landmarks would be left out, none is."""
    alone_s: float = 2.0
    """What is slow of IMUs is held when nothing else has told of the body, and it has not just begun, for so long."""
    open_heading_rad: float = 0.5
    """A heading of a larger standard deviation is open and not held."""


def holds_lengths(state: State, params: UpdateParams) -> bool:
    """Whether one view alone has shown a person for so long that an update leaves the lengths as they are."""
    return state.time_ns - state.stereo_ns > params.stereo_s * NS_PER_S


def imus_alone(state: State, params: UpdateParams) -> bool:
    """Whether nothing but IMUs has told of the body for a while, and it has not just begun."""
    told_ns = max(int(state.measured_ns.max()), state.born_ns)
    return state.time_ns - told_ns > params.alone_s * NS_PER_S


def hold_imus(state: State, params: UpdateParams, held: Bool, exact: Bool) -> None:
    """Mark, in [n], the slow states of IMUs that nothing but themselves tells of, but headings that are open.

    A sensor that is turned and a joint that stands otherwise than usual look the same: in the long run the usual would
    win. So mountings and biases are held. Of headings, which nobody can tell then, those of the orientation filters
    are taken for exact: a linearised filter comes to believe that it knows what it cannot (Huang, Mourikis &
    Roumeliotis, "Analysis and improvement of the consistency of extended Kalman filter based SLAM", ICRA 2008), and
    a body that all its sensors say has turned would not follow them.
    """
    alone = imus_alone(state, params)
    for first in range(IMU_COLUMN, len(held), IMU_SIZE):
        held[first : first + IMU_SIZE] = alone
        heading = first + IMU_HEADING
        held[heading] = exact[heading] = alone and bool(state.covariance[heading, heading] < params.open_heading_rad**2)


_STANCE: Int64 = np.array([*range(3, LENGTH_COLUMN), *range(RATE_COLUMN + 3, IMU_COLUMN)], dtype=np.int64)
"""All coordinates and rates but the place of the pelvis and its velocity."""


def hold_pose(measurements: Sequence[Measurement], held: Bool) -> None:
    """Mark, in [n], how the body stands and turns where nothing but its place is told.

    Place and pose are correlated, and a pose that nobody sees is so uncertain that a weak place would bend it.
    """
    held[_STANCE] = all(getattr(measurement, "holds_pose", False) for measurement in measurements)


class Robust(NamedTuple):
    """What the kernels need of ``UpdateParams``."""

    nu: float
    gate: float
    majority: float


_WEIGHT_FLOOR = 1e-100
"""What is left out gets it: a landmark that is a million pixels away must not pull at all."""
_MAX_WHITE_ROWS = 160
"""Most rows in measurement space; more are solved in state space."""
_NULL = 1e-12
"""Pivots of a feature's information below this share of the largest are null: what one camera does not see."""


class Workspace(NamedTuple):
    """Arrays of the solver for an error state of size n; matrices are flat and used in their leading part."""

    columns: Int64
    """[MAX_FEATURES, n] columns of each feature's Jacobian that are not zero."""
    width: Int64
    """[MAX_FEATURES] how many."""
    packed: Float64
    """[MAX_FEATURES, 3, n] these columns."""
    spread: Float64
    """[MAX_FEATURES, 3, 3] prior covariance of each feature."""
    information: Float64
    """[MAX_FEATURES, 3, 3] A."""
    gradient: Float64
    """[MAX_FEATURES, 3] g."""
    order: Int64
    """[n] columns that take part: those that features touch first."""
    place: Int64
    """[n] place of each column in ``order``, -1 where it takes no part."""
    sizes: Int64
    """[4] touched columns a, columns that take part, white rows, 1 where solved in state space."""
    prior: Float64
    """[n * n] covariance in that order."""
    normal: Float64
    """[n * n] L over the touched columns."""
    eta: Float64
    """[n] sum of J^T g over the touched columns."""
    factor: Float64
    """[n * n] C, or the factor of S."""
    middle: Float64
    """[n * n] B and its factor."""
    left: Float64
    """[max(n, rows) * n] X, or the gain in measurement space."""
    right: Float64
    """[max(n, rows) * n]."""
    white: Float64
    """[rows] whitened residual."""
    vector: Float64
    """[max(n, rows)]."""
    small: Float64
    """[2, 3, 3]."""
    step: Float64
    """[n] total correction from the prior."""
    previous: Float64
    """[n]; scratch at first."""
    nominal: Float64
    """[n] linearisation point."""
    held: Bool
    """[n] columns that an update leaves as they are, with their variance."""
    exact: Bool
    """[n] those of them that measurements are read with as if they were known."""


def make_workspace(errors: int) -> Workspace:
    """Arrays for one solver."""
    n, longest = errors, max(errors, _MAX_WHITE_ROWS)
    return Workspace(
        columns=np.zeros((MAX_FEATURES, n), dtype=np.int64),
        width=np.zeros(MAX_FEATURES, dtype=np.int64),
        packed=np.zeros((MAX_FEATURES, 3, n)),
        spread=np.zeros((MAX_FEATURES, 3, 3)),
        information=np.zeros((MAX_FEATURES, 3, 3)),
        gradient=np.zeros((MAX_FEATURES, 3)),
        order=np.zeros(n, dtype=np.int64),
        place=np.zeros(n, dtype=np.int64),
        sizes=np.zeros(4, dtype=np.int64),
        prior=np.zeros(n * n),
        normal=np.zeros(n * n),
        eta=np.zeros(n),
        factor=np.zeros(longest * longest),
        middle=np.zeros(n * n),
        left=np.zeros(longest * n),
        right=np.zeros(longest * n),
        white=np.zeros(_MAX_WHITE_ROWS),
        vector=np.zeros(longest),
        small=np.zeros((2, 3, 3)),
        step=np.zeros(n),
        previous=np.zeros(n),
        nominal=np.zeros(n),
        held=np.zeros(n, dtype=np.bool_),
        exact=np.zeros(n, dtype=np.bool_),
    )


@njit(cache=True)
def linearise(tables: BodyTables, nominal: Float64, body: Body, system: System) -> None:
    """Fill ``body`` with the kinematics at ``nominal`` [n] and empty the system."""
    for i in range(body.lengths_m.shape[0]):
        body.lengths_m[i] = math.exp(nominal[LENGTH_COLUMN + i])
    body_forward(tables, nominal, body.lengths_m, body.positions, body.quaternions, body.axes_world)
    body_rates(tables, nominal[RATE_COLUMN:], body.positions, body.axes_world, body.velocities, body.angular_rates)
    clear(system)


@njit(cache=True)
def _pack(system: System, covariance: Float64, work: Workspace) -> None:
    """Find the columns that each feature touches, and order all that take part."""
    n = covariance.shape[0]
    size_of = work.previous
    for c in range(n):
        work.place[c] = 0
    for f in range(system.filled[0]):
        for c in range(n):
            size_of[c] = abs(system.jacobian[f, 0, c])
        for i in range(1, system.size[f]):
            for c in range(n):
                size_of[c] += abs(system.jacobian[f, i, c])
        width = 0
        for c in range(n):
            # What has no variance is known, and takes no part; so does what is taken for known.
            if size_of[c] != 0.0 and covariance[c, c] > 0.0 and not work.exact[c]:
                work.columns[f, width] = c
                work.place[c] = 1
                width += 1
        for i in range(system.size[f]):
            for k in range(width):
                work.packed[f, i, k] = system.jacobian[f, i, work.columns[f, k]]
        work.width[f] = width
    place = 0
    for part in (1, 0):
        for c in range(n):
            if work.place[c] == part and covariance[c, c] > 0.0:
                work.order[place] = c
                place += 1
        if part == 1:
            work.sizes[0] = place
    work.sizes[1] = place
    for c in range(n):
        work.place[c] = -1
    for i in range(place):
        work.place[work.order[i]] = i


@njit(cache=True, fastmath={"reassoc", "contract"})
def _spread(system: System, covariance: Float64, work: Workspace) -> None:
    """Prior covariance of every feature."""
    for f in range(system.filled[0]):
        size, width = system.size[f], work.width[f]
        for i in range(size):
            for j in range(size):
                work.spread[f, i, j] = 0.0
        for a in range(width):
            row = covariance[work.columns[f, a]]
            x, y, z = 0.0, 0.0, 0.0
            for b in range(width):
                value = row[work.columns[f, b]]
                x += value * work.packed[f, 0, b]
                y += value * work.packed[f, 1, b]
                z += value * work.packed[f, 2, b]
            product = (x, y, z)
            for i in range(size):
                for j in range(i + 1):
                    work.spread[f, i, j] += work.packed[f, i, a] * product[j]
        for i in range(size):
            for j in range(i):
                work.spread[f, j, i] = work.spread[f, i, j]


@njit(cache=True, inline="always")
def _seen_spread(spread: Float64, h: Float64, size: int, i: int, j: int) -> float:
    """Entry (i, j) of h spread h^T."""
    total = 0.0
    for a in range(size):
        part = 0.0
        for b in range(size):
            part += spread[a, b] * h[j, b]
        total += h[i, a] * part
    return total


@njit(cache=True, error_model="numpy")
def squared_innovation(spread: Float64, h: Float64, variance: Float64, residual: Float64, size: int, m: int) -> float:
    """Squared Mahalanobis distance of an innovation of m components: forward substitution by hand.

    Args:
        spread: [3, 3] prior covariance of the feature, of which ``size`` count.
        h: [3, 3] derivative of the observation by the feature.
        variance: [3] of the observation.
        residual: [3].
        size: components of the feature.
        m: components of the observation, 1 to 3.

    Returns:
        The distance; infinite where it is no number.
    """
    l00 = math.sqrt(_seen_spread(spread, h, size, 0, 0) + variance[0])
    y0 = residual[0] / l00
    squared = y0 * y0
    if m > 1:
        l10 = _seen_spread(spread, h, size, 1, 0) / l00
        l11 = math.sqrt(_seen_spread(spread, h, size, 1, 1) + variance[1] - l10 * l10)
        y1 = (residual[1] - l10 * y0) / l11
        squared += y1 * y1
        if m > 2:
            l20 = _seen_spread(spread, h, size, 2, 0) / l00
            l21 = (_seen_spread(spread, h, size, 2, 1) - l20 * l10) / l11
            l22 = math.sqrt(_seen_spread(spread, h, size, 2, 2) + variance[2] - l20 * l20 - l21 * l21)
            y2 = (residual[2] - l20 * y0 - l21 * y1) / l22
            squared += y2 * y2
    return squared if squared >= 0.0 else math.inf


@njit(cache=True, error_model="numpy")
def _weigh(system: System, work: Workspace, first: bool, robust: Robust) -> int:
    """Student-t weights of all observations; returns how many the gate left out.

    At the first iteration distances are those of the innovation, later those of
    the residual in its own noise.
    """
    outside, landmarks, landmarks_outside = 0, 0, 0
    nu, gate_squared = robust.nu, robust.gate * robust.gate
    for o in range(system.filled[1]):
        m = system.components[o]
        if first:
            f = system.feature[o]
            squared = squared_innovation(
                work.spread[f], system.h[o], system.variance[o], system.residual[o], system.size[f], m
            )
            system.squared[o] = squared
        else:
            squared = 0.0
            for i in range(m):
                squared += system.residual[o, i] * system.residual[o, i] / system.variance[o, i]
        if system.robust[o] == 0:
            system.weight[o] = 1.0
            continue
        beyond = first and not squared <= gate_squared
        weight = max((nu + m) / (nu + squared), _WEIGHT_FLOOR)
        system.weight[o] = -weight if beyond else weight
        outside += beyond
        if system.robust[o] == 2:
            landmarks += 1
            landmarks_outside += beyond
    keep = landmarks_outside > robust.majority * landmarks
    for o in range(system.filled[1]):
        if system.weight[o] < 0.0:
            kept = keep and system.robust[o] == 2
            system.weight[o] = -system.weight[o] if kept else _WEIGHT_FLOOR
            outside -= kept
    return outside


@njit(cache=True)
def _sum_observations(system: System, work: Workspace) -> None:
    """A and g of every feature, g as seen from the prior."""
    for f in range(system.filled[0]):
        for i in range(3):
            work.gradient[f, i] = 0.0
            for j in range(3):
                work.information[f, i, j] = 0.0
    for o in range(system.filled[1]):
        f = system.feature[o]
        size = system.size[f]
        for i in range(system.components[o]):
            certainty = system.weight[o] / system.variance[o, i]
            for a in range(size):
                scaled = certainty * system.h[o, i, a]
                work.gradient[f, a] += scaled * system.residual[o, i]
                for b in range(size):
                    work.information[f, a, b] += scaled * system.h[o, i, b]
    for f in range(system.filled[0]):
        size = system.size[f]
        for j in range(size):
            moved = 0.0
            for b in range(work.width[f]):
                moved += work.packed[f, j, b] * work.step[work.columns[f, b]]
            if moved != 0.0:
                for i in range(size):
                    work.gradient[f, i] += work.information[f, i, j] * moved


@njit(cache=True)
def _gather(covariance: Float64, work: Workspace) -> None:
    """The prior in the solver's order."""
    size = work.sizes[1]
    prior = work.prior[: size * size].reshape(size, size)
    for i in range(size):
        row = covariance[work.order[i]]
        for j in range(size):
            prior[i, j] = row[work.order[j]]


@njit(cache=True, fastmath={"reassoc", "contract"})
def sum_features(system: System, work: Workspace) -> None:
    """L and eta over the touched columns."""
    a = work.sizes[0]
    normal = work.normal[: a * a].reshape(a, a)
    normal[:] = 0.0
    for i in range(a):
        work.eta[i] = 0.0
    for f in range(system.filled[0]):
        size, width = system.size[f], work.width[f]
        for p in range(width):
            row = work.place[work.columns[f, p]]
            x, y, z = 0.0, 0.0, 0.0
            for i in range(size):
                value = work.packed[f, i, p]
                work.eta[row] += value * work.gradient[f, i]
                x += value * work.information[f, i, 0]
                if size > 1:
                    y += value * work.information[f, i, 1]
                if size > 2:
                    z += value * work.information[f, i, 2]
            for q in range(p + 1):
                total = x * work.packed[f, 0, q]
                if size > 1:
                    total += y * work.packed[f, 1, q]
                if size > 2:
                    total += z * work.packed[f, 2, q]
                # Columns of a feature ascend, and so do their places.
                normal[row, work.place[work.columns[f, q]]] += total
    for i in range(a):
        for j in range(i):
            normal[j, i] = normal[i, j]


@njit(cache=True)
def _solve_in_state_space(system: System, work: Workspace) -> bool:
    """The step, and X and B for the covariance; False where the prior is not positive definite."""
    a, size = work.sizes[0], work.sizes[1]
    sum_features(system, work)
    prior = work.prior[: size * size].reshape(size, size)
    normal = work.normal[: a * a].reshape(a, a)
    factor = work.factor[: a * a].reshape(a, a)
    middle = work.middle[: a * a].reshape(a, a)
    product = work.right[: a * a].reshape(a, a)
    factor[:] = prior[:a, :a]
    if not cholesky(factor):
        return False
    for i in range(a):
        for j in range(i + 1, a):
            factor[i, j] = 0.0
    np.dot(normal, factor, product)
    np.dot(factor.T, product, middle)
    for i in range(a):
        middle[i, i] += 1.0
    if not cholesky(middle):
        return False
    y = work.vector[:a]
    for i in range(a):
        total = 0.0
        for k in range(i, a):
            total += factor[k, i] * work.eta[k]
        y[i] = total
    solve_vector(middle, y)
    x = work.left[: a * size].reshape(a, size)
    x[:] = prior[:a]
    forward_solve(factor, x)
    _write_step(work, x, y)
    return True


@njit(cache=True)
def _write_step(work: Workspace, x: Float64, y: Float64) -> None:
    """step <- x^T y, at its columns; what takes no part does not move."""
    for c in range(work.step.shape[0]):
        work.previous[c] = work.step[c]
        work.step[c] = 0.0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            work.step[work.order[j]] += x[i, j] * y[i]


@njit(cache=True)
def _white_rows(system: System, work: Workspace, rows: Float64) -> int:
    """Whiten every feature: rows [m, width] of F^T J, residuals into ``work.white``; ``right`` says whose row it is."""
    m = 0
    factor, y = work.small[0], work.small[1, 0]
    for f in range(system.filled[0]):
        size = system.size[f]
        semidefinite_factor(work.information[f], factor, size, _NULL)
        for j in range(size):
            y[j] = 0.0
            if factor[j, j] == 0.0:
                continue
            total = work.gradient[f, j]
            for k in range(j):
                total -= factor[j, k] * y[k]
            y[j] = total / factor[j, j]
            for b in range(work.width[f]):
                value = 0.0
                for i in range(j, size):
                    value += factor[i, j] * work.packed[f, i, b]
                rows[m, b] = value
            work.white[m] = y[j]
            work.vector[m] = f
            m += 1
    return m


@njit(cache=True, fastmath={"reassoc", "contract"})
def _solve_in_measurement_space(system: System, work: Workspace) -> bool:
    """The step, and the whitened gain for the covariance."""
    size = work.sizes[1]
    n = work.order.shape[0]
    rows = work.right[: _MAX_WHITE_ROWS * n].reshape(_MAX_WHITE_ROWS, n)
    m = _white_rows(system, work, rows)
    work.sizes[2] = m
    prior = work.prior[: size * size].reshape(size, size)
    gain = work.left[: m * size].reshape(m, size)
    s = work.factor[: m * m].reshape(m, m)
    for i in range(m):
        f = int(work.vector[i])
        for j in range(size):
            gain[i, j] = 0.0
        for b in range(work.width[f]):
            value = rows[i, b]
            source = prior[work.place[work.columns[f, b]]]
            for j in range(size):
                gain[i, j] += value * source[j]
    for j in range(m):
        f = int(work.vector[j])
        for i in range(j, m):
            total = 0.0
            for b in range(work.width[f]):
                total += rows[j, b] * gain[i, work.place[work.columns[f, b]]]
            s[i, j] = total
        s[j, j] += 1.0
    if not cholesky(s):
        return False
    y = work.vector[:m]
    for i in range(m):
        y[i] = work.white[i]
    solve_vector(s, y)
    _write_step(work, gain, y)
    return True


@njit(cache=True)
def _white_count(system: System) -> int:
    """At most how many rows measurement space would have."""
    rows = 0
    for f in range(system.filled[0]):
        rows += system.size[f]
    return rows


STATE_SPACE, MEASUREMENT_SPACE, EITHER_SPACE = 1, 0, -1


@njit(cache=True)
def solve_step(
    system: System,
    covariance: Float64,
    work: Workspace,
    first: bool,
    robust: Robust,
    space: int,
) -> int:
    """One Gauss-Newton iteration: ``work.step`` becomes the total correction from the prior.

    Args:
        system: linearised at prior (+) ``work.step``.
        covariance: [n, n] prior.
        work: the solver's arrays.
        first: whether the linearisation point is the prior itself.
        robust: weights and gate.
        space: ``STATE_SPACE``, ``MEASUREMENT_SPACE`` or, for the cheaper one, ``EITHER_SPACE``.

    Returns:
        Number of observations that the gate left out at the first iteration, else 0; -1 if the system is
        not positive definite.
    """
    _pack(system, covariance, work)
    if first:
        _spread(system, covariance, work)
    gated = _weigh(system, work, first, robust)
    _sum_observations(system, work)
    _gather(covariance, work)
    rows = _white_count(system)
    in_state_space = space == STATE_SPACE or (space == EITHER_SPACE and 3 * rows > 2 * work.sizes[0])
    if rows > _MAX_WHITE_ROWS:
        in_state_space = True
    solved = _solve_in_state_space(system, work) if in_state_space else False
    work.sizes[3] = 1 if solved else 0
    if not solved and rows <= _MAX_WHITE_ROWS:
        solved = _solve_in_measurement_space(system, work)
    for c in range(work.step.shape[0]):
        if work.held[c]:
            work.step[c] = 0.0
    return gated if solved else -1


@njit(cache=True)
def downdate(covariance: Float64, work: Workspace) -> None:
    """The posterior covariance from what ``solve_step`` left.

    Columns that are held keep their variance, and what else is told takes it into account: a Schmidt-Kalman update
    (Schmidt, "Application of state-space methods to navigation problems", Advances in Control Systems 3, 1966).
    """
    a, size, m = work.sizes[0], work.sizes[1], work.sizes[2]
    prior = work.prior[: size * size].reshape(size, size)
    if work.sizes[3] == 1:
        x = work.left[: a * size].reshape(a, size)
        shrunk = work.right[: a * size].reshape(a, size)
        middle = work.middle[: a * a].reshape(a, a)
        shrunk[:] = x
        forward_solve(middle, shrunk)
        backward_solve(middle, shrunk)
        for i in range(a):
            for j in range(size):
                shrunk[i, j] = x[i, j] - shrunk[i, j]
        product = work.normal[: size * size].reshape(size, size)
        np.dot(x.T, shrunk, product)
    else:
        gain = work.left[: m * size].reshape(m, size)
        s = work.factor[: m * m].reshape(m, m)
        forward_solve(s, gain)
        product = work.middle[: size * size].reshape(size, size)
        np.dot(gain.T, gain, product)
    for i in range(size):
        for j in range(i + 1):
            if work.held[work.order[i]] and work.held[work.order[j]]:
                continue
            value = prior[i, j] - 0.5 * (product[i, j] + product[j, i])
            covariance[work.order[i], work.order[j]] = value
            covariance[work.order[j], work.order[i]] = value
        # Rounding must not push a variance to zero, where it would be taken for something known.
        p = work.order[i]
        covariance[p, p] = max(covariance[p, p], _VARIANCE_FLOOR)


_VARIANCE_FLOOR = 1e-12
"""Squared; 1 um or 1 urad: far below any sensor, far above rounding in a downdate."""


class Information(NamedTuple):
    """What one update has told, in its own tangent space: kept for the smoother."""

    order: Int64
    """[n] touched columns."""
    filled: Int64
    """[1] how many."""
    normal: Float64
    """[n * n] L over them, flat."""
    eta: Float64
    """[n] gradient of the log-likelihood, as seen from the prior."""


def make_information(errors: int) -> Information:
    """An empty one, which tells nothing."""
    return Information(
        order=np.zeros(errors, dtype=np.int64),
        filled=np.zeros(1, dtype=np.int64),
        normal=np.zeros(errors * errors),
        eta=np.zeros(errors),
    )


@njit(cache=True)
def keep_information(system: System, work: Workspace, out: Information) -> None:
    """Copy what the last iteration used, without columns that are held; to be called before ``downdate``."""
    if work.sizes[3] != 1:
        sum_features(system, work)
    a = work.sizes[0]
    out.filled[0] = a
    for i in range(a):
        out.order[i] = work.order[i]
        out.eta[i] = work.eta[i]
    for i in range(a * a):
        out.normal[i] = work.normal[i]
    for i in range(a):
        if work.held[work.order[i]]:
            out.eta[i] = 0.0
            for j in range(a):
                out.normal[i * a + j] = 0.0
                out.normal[j * a + i] = 0.0


KNOWLEDGE = -1
"""Group of what no sensor has measured: limits, rest, the floor."""


@njit(cache=True)
def iterate(
    tables: BodyTables,
    prior: Float64,
    covariance: Float64,
    anatomy: Anatomy,
    ground: Ground,
    asks_ground: bool,
    body: Body,
    system: System,
    work: Workspace,
    first: bool,
    robust: Robust,
    space: int,
) -> tuple[int, float]:
    """One iteration after the measurements' rows are in: anatomy, floor, step, new linearisation point.

    Returns:
        What ``solve_step`` returned, and by how much the correction of any coordinate has changed.
    """
    system.filled[2] = KNOWLEDGE
    anatomy_rows(tables, work.nominal, covariance, anatomy, system)
    if asks_ground:
        ground_rows(tables, body, work.nominal, covariance, ground, system)
    outcome = solve_step(system, covariance, work, first, robust, space)
    if not np.isfinite(work.step).all():
        return -1, 0.0
    moved = 0.0
    if outcome >= 0:
        retract_into(tables, prior, work.step, work.nominal)
        for i in range(LENGTH_COLUMN):
            moved = max(moved, abs(work.step[i] - work.previous[i]))
    return outcome, moved


_MEDIANS = (0.455, 1.386, 2.366)
"""Medians of chi-square variables with 1, 2 and 3 degrees of freedom."""
_FEW = 4
_SQUARE_CAP = 10.0


@njit(cache=True)
def innovation_scales(system: System, gate: float, out: Float64) -> None:
    """How each group's innovations compare with what was claimed.

    Args:
        system: after an update.
        gate: Mahalanobis distance.
        out: [G, 3], per group: robust mean square over its expectation (1 where the claim is right; NaN
            without any observation), number of observations, number of those beyond the gate.
    """
    for group in range(out.shape[0]):
        count, gated, total = 0, 0, 0.0
        ratios = system.sorted
        for o in range(system.filled[1]):
            if system.group[o] != group or system.robust[o] == 0:
                continue
            m = system.components[o]
            ratio = system.squared[o] / _MEDIANS[m - 1]
            total += min(system.squared[o] / m, _SQUARE_CAP)
            gated += system.squared[o] > gate * gate
            place = count
            while place > 0 and ratios[place - 1] > ratio:
                ratios[place] = ratios[place - 1]
                place -= 1
            ratios[place] = ratio
            count += 1
        if count == 0:
            out[group, 0] = math.nan
        elif count < _FEW:
            out[group, 0] = total / count
        else:
            out[group, 0] = 0.5 * (ratios[(count - 1) // 2] + ratios[count // 2])
        out[group, 1] = count
        out[group, 2] = gated


def sources_of(measurements: Sequence[Measurement]) -> list[str]:
    """Where each group of an update is from: a measurement is one group, views taken together are one each."""
    return [name for measurement in measurements for name in getattr(measurement, "sources", (measurement.source,))]


class Updater:
    """Applies measurements to states. Holds only scratch arrays and parameters, no state of its own."""

    def __init__(
        self,
        params: UpdateParams,
        anatomy: AnatomyParams,
        errors: int = BODY_ERRORS,
        contact: ContactParams | None = None,
    ) -> None:
        """Make the arrays for states of that size; without ``contact`` the floor is not asked."""
        self.params = params
        self.contact = contact
        self._ground = make_ground(contact or ContactParams())
        self.anatomy = make_anatomy(anatomy)
        self.body = make_body()
        self.system = make_system(errors)
        self.work = make_workspace(errors)
        self.robust = Robust(params.student_nu, params.gate, params.gate_majority)
        self.space = EITHER_SPACE

    def apply(
        self,
        state: State,
        measurements: Sequence[Measurement],
        iterations: int | None = None,
        information: Information | None = None,
    ) -> int:
        """Update a state in place; it must already be at the measurements' time.

        Args:
            state: changed.
            measurements: all that was measured at that time.
            iterations: at most so many; default from the parameters.
            information: takes what the update has told.

        Returns:
            Number of observations that the gate left out, -1 where nothing could be used.
        """
        work, system = self.work, self.system
        work.step[:] = 0.0
        work.nominal[:] = state.nominal
        if information is not None:
            information.filled[0] = 0
        gated = 0
        work.held[LENGTH] = holds_lengths(state, self.params)
        hold_imus(state, self.params, work.held, work.exact)
        hold_pose(measurements, work.held)
        asks_ground = self.contact is not None and ground_due(state, self.contact)
        for iteration in range(self._limit(state, measurements, iterations)):
            linearise(TABLES, work.nominal, self.body, system)
            for measurement in self._groups(measurements):
                measurement.add_rows(state, work.nominal, self.body, system)
            if system.filled[1] == 0:
                return -1
            outcome, moved = iterate(
                TABLES,
                state.nominal,
                state.covariance,
                self.anatomy,
                self._ground,
                asks_ground,
                self.body,
                system,
                work,
                iteration == 0,
                self.robust,
                self.space,
            )
            if outcome < 0:
                return -1
            gated = gated or outcome
            if moved < self.params.tolerance:
                break
        if information is not None:
            keep_information(system, work, information)
        downdate(state.covariance, work)
        state.nominal[:] = work.nominal
        if asks_ground:
            state.contact_ns = state.time_ns
        for measurement in self._groups(measurements):
            measurement.learn(state, system)
        return gated

    def tallies(self, measurements: Sequence[Measurement]) -> list[Tally]:
        """How the innovations of the last update compare with what its measurements claim."""
        sources = sources_of(measurements)
        table = np.empty((len(sources), 3))
        innovation_scales(self.system, self.params.gate, table)
        rows = table.tolist()
        return [
            Tally(name, scale, int(count), int(gated))
            for name, (scale, count, gated) in zip(sources, rows, strict=True)
        ]

    def _groups(self, measurements: Sequence[Measurement]) -> Iterator[Measurement]:
        """The measurements one by one, with the system's group set to each one's first."""
        group = 0
        for measurement in measurements:
            self.system.filled[2] = group
            yield measurement
            group += len(getattr(measurement, "sources", (None,)))

    def _limit(self, state: State, measurements: Sequence[Measurement], iterations: int | None) -> int:
        if all(measurement.linear for measurement in measurements):
            return 1
        return iterations or (self.params.iterations_known if state.lengths_locked else self.params.iterations)
