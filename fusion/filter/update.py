"""The iterated, robust update: with a wide prior a skeletal fit, with a narrow one a filter step.

Gauss-Newton on the manifold around the prior (Bell and Cathey, "The iterated
Kalman filter update as a Gauss-Newton method", IEEE TAC 38(2), 1993, eq. 20),
solved in measurement space: for m rows and n states the cost is m n^2 and never
asks for the inverse of the covariance, so that a locked length may have none.

Outliers are weighed by the likelihood of a Student-t, w = (nu + d) / (nu + e^2),
re-weighted at each iteration (Lange, Little, Taylor, "Robust statistical
modeling using the t distribution", JASA 84, 1989). The first weights use the
innovation's own covariance, so that a prior that is merely unsure does not make
an outlier of a good measurement; beyond ``gate`` a block is left out, unless
most are, when it is the prior that is wrong.

The posterior covariance is P - W^T W with W the whitened gain: one symmetric
rank-m downdate, then symmetrised. It differs from Joseph's form by rounding
only (m of order 1e2, S >= R > 0), at a third of its cost; ``_condition`` keeps the
diagonal from falling below what double precision can carry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from fusion.body.kinematics import TABLES, BodyTables, body_forward
from fusion.filter.measurements.anatomy import Anatomy, AnatomyParams, anatomy_rows, make_anatomy
from fusion.filter.measurements.rows import MAX_ROWS, Body, Measurement, Rows, make_body, make_rows
from fusion.filter.state import ERRORS, LENGTH_COLUMN, RATE_COLUMN, State, retract_into
from fusion.records import Float64


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
    student_nu: float = 3.0
    """Degrees of freedom of the residuals' Student-t."""
    gate: float = 7.0
    """Mahalanobis distance beyond which a block is left out (sigmas)."""
    gate_majority: float = 0.6
    """If a larger share of blocks would be left out, none is."""
    weight_floor: float = 1e-100
    """Smallest weight, so that its inverse is finite. What is left out gets it: a landmark that is a
    million pixels away must not pull at all."""


class Workspace(NamedTuple):
    """Arrays of the solver."""

    gain: Float64
    """[MAX_ROWS, 99] P H^T, transposed; then the whitened gain."""
    innovation_covariance: Float64
    """[MAX_ROWS, MAX_ROWS] flat storage of the leading m x m block."""
    weights: Float64
    """[MAX_ROWS]."""
    vector: Float64
    """[MAX_ROWS]."""
    downdate: Float64
    """[99, 99]."""
    step: Float64
    """[99] total correction from the prior."""
    previous: Float64
    """[99]."""
    nominal: Float64
    """[99] linearisation point."""


def make_workspace() -> Workspace:
    """Arrays for one solver."""
    return Workspace(
        gain=np.zeros((MAX_ROWS, ERRORS)),
        innovation_covariance=np.zeros(MAX_ROWS * MAX_ROWS),
        weights=np.ones(MAX_ROWS),
        vector=np.zeros(MAX_ROWS),
        downdate=np.zeros((ERRORS, ERRORS)),
        step=np.zeros(ERRORS),
        previous=np.zeros(ERRORS),
        nominal=np.zeros(ERRORS),
    )


@njit(cache=True, error_model="numpy")
def _weigh(
    rows: Rows,
    covariance: Float64,
    weights: Float64,
    first: bool,
    nu: float,
    gate: float,
    majority: float,
    floor: float,
) -> int:
    """Student-t weights of all blocks; returns how many blocks the gate left out.

    ``covariance`` [m, m] is that of the innovation before any weight; at the first
    iteration distances are measured with it, later with the measurement's own.
    """
    m = rows.filled[0]
    blocks = 0
    outside = 0
    n = 0
    while n < m:
        size = 1
        while n + size < m and rows.block[n + size] == n:
            size += 1
        squared = 0.0
        if rows.robust[n] == 1:
            if first and size == 2:
                a, b, d = covariance[n, n], covariance[n, n + 1], covariance[n + 1, n + 1]
                x, y = rows.residual[n], rows.residual[n + 1]
                squared = (d * x * x - 2.0 * b * x * y + a * y * y) / (a * d - b * b)
            else:
                for i in range(n, n + size):
                    variance = covariance[i, i] if first else rows.variance[i]
                    squared += rows.residual[i] * rows.residual[i] / variance
            blocks += 1
            weight = (nu + size) / (nu + squared)
            if first and squared > gate * gate:
                outside += 1
                weight = -weight
        else:
            weight = 1.0
        for i in range(n, n + size):
            weights[i] = weight
        n += size
    keep = outside > majority * blocks
    for i in range(m):
        if weights[i] < 0.0:
            weights[i] = -weights[i] if keep else floor
        weights[i] = max(weights[i], floor)
    return 0 if keep else outside


_REORDER = {"reassoc", "contract"}
"""Lets the compiler vectorise sums; NaN and infinity keep their meaning."""


@njit(cache=True, fastmath=_REORDER)
def _cholesky(a: Float64, m: int) -> bool:
    """Lower factor of a [m, m] in place; False where it is not positive definite."""
    for j in range(m):
        pivot = a[j, j]
        for k in range(j):
            pivot -= a[j, k] * a[j, k]
        if not pivot > 0.0:
            return False
        root = math.sqrt(pivot)
        a[j, j] = root
        for i in range(j + 1, m):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            a[i, j] = total / root
    return True


@njit(cache=True)
def solve_step(
    rows: Rows,
    covariance: Float64,
    work: Workspace,
    first: bool,
    nu: float,
    gate: float,
    majority: float,
    floor: float,
) -> int:
    """One Gauss-Newton iteration: ``work.step`` becomes the total correction from the prior.

    Args:
        rows: the system, linearised at prior (+) ``work.step``.
        covariance: [99, 99] prior.
        work: the solver's arrays.
        first: whether the linearisation point is the prior itself.
        nu: see ``UpdateParams``, as the following.
        gate: Mahalanobis distance.
        majority: share of blocks.
        floor: smallest weight.

    Returns:
        Number of gated blocks at the first iteration, else 0; -1 if the system is not positive definite.
    """
    m = rows.filled[0]
    jacobian = rows.jacobian[:m]
    gain = work.gain[:m]
    s = work.innovation_covariance[: m * m].reshape(m, m)
    np.dot(jacobian, covariance, gain)
    np.dot(gain, jacobian.T, s)
    for i in range(m):
        s[i, i] += rows.variance[i]
    gated = _weigh(rows, s, work.weights, first, nu, gate, majority, floor)
    for i in range(m):
        s[i, i] += rows.variance[i] * (1.0 / work.weights[i] - 1.0)
    if not _cholesky(s, m):
        return -1
    y = work.vector
    for i in range(m):
        total = rows.residual[i]
        for c in range(jacobian.shape[1]):
            total += jacobian[i, c] * work.step[c]
        for k in range(i):
            total -= s[i, k] * y[k]
        y[i] = total / s[i, i]
    for i in range(m - 1, -1, -1):
        total = y[i]
        for k in range(i + 1, m):
            total -= s[k, i] * y[k]
        y[i] = total / s[i, i]
    for c in range(work.step.shape[0]):
        work.previous[c] = work.step[c]
        work.step[c] = 0.0
    for i in range(m):
        for c in range(work.step.shape[0]):
            work.step[c] += gain[i, c] * y[i]
    return gated


@njit(cache=True)
def downdate(rows: Rows, covariance: Float64, work: Workspace) -> None:
    """covariance <- P - P H^T S^-1 H P with the factor and gain that ``solve_step`` left."""
    m = rows.filled[0]
    gain = work.gain[:m]
    s = work.innovation_covariance[: m * m].reshape(m, m)
    n = covariance.shape[0]
    for i in range(m):
        for k in range(i):
            scale = s[i, k]
            if scale != 0.0:
                for c in range(n):
                    gain[i, c] -= scale * gain[k, c]
        scale = 1.0 / s[i, i]
        for c in range(n):
            gain[i, c] *= scale
    np.dot(gain.T, gain, work.downdate)
    for i in range(n):
        for j in range(i + 1):
            value = 0.5 * (covariance[i, j] + covariance[j, i] - work.downdate[i, j] - work.downdate[j, i])
            covariance[i, j] = value
            covariance[j, i] = value
    _condition(covariance)


_VARIANCE_FLOOR = 1e-12
"""Squared; 1 um or 1 urad: far below any sensor, far above rounding in a downdate."""


@njit(cache=True)
def _condition(covariance: Float64) -> None:
    """Lift a diagonal that rounding has pushed to zero; rows that are zero throughout stay (locked lengths)."""
    for i in range(covariance.shape[0]):
        if i < LENGTH_COLUMN and covariance[i, i] < _VARIANCE_FLOOR:
            covariance[i, i] = _VARIANCE_FLOOR


@njit(cache=True)
def linearise(tables: BodyTables, nominal: Float64, body: Body, rows: Rows) -> None:
    """Fill ``body`` with the kinematics at ``nominal`` [99] and empty the rows."""
    for i in range(body.lengths_m.shape[0]):
        body.lengths_m[i] = math.exp(nominal[LENGTH_COLUMN + i])
    body_forward(tables, nominal, body.lengths_m, body.positions, body.quaternions, body.axes_world)
    rows.filled[0] = 0


@njit(cache=True)
def iterate(
    tables: BodyTables,
    prior: Float64,
    covariance: Float64,
    anatomy: Anatomy,
    rows: Rows,
    work: Workspace,
    first: bool,
    params: tuple[float, float, float, float],
) -> tuple[int, float]:
    """One iteration after the measurement's rows are in: anatomy, step, new linearisation point.

    Returns:
        What ``solve_step`` returned, and by how much the correction of any coordinate has changed.
    """
    anatomy_rows(tables, work.nominal, covariance, anatomy, rows)
    nu, gate, majority, floor = params
    outcome = solve_step(rows, covariance, work, first, nu, gate, majority, floor)
    if not np.isfinite(work.step).all():
        return -1, 0.0
    moved = 0.0
    if outcome >= 0:
        retract_into(tables, prior, work.step, work.nominal)
        for i in range(RATE_COLUMN):
            moved = max(moved, abs(work.step[i] - work.previous[i]))
    return outcome, moved


class Updater:
    """Applies measurements to states. Holds only scratch arrays and parameters, no state of its own."""

    def __init__(self, params: UpdateParams, anatomy: AnatomyParams) -> None:
        self.params = params
        self.anatomy = make_anatomy(anatomy)
        self.body = make_body()
        self.rows = make_rows()
        self.work = make_workspace()
        self._robust = (params.student_nu, params.gate, params.gate_majority, params.weight_floor)

    def apply(self, state: State, measurement: Measurement, iterations: int | None = None) -> int:
        """Update a state in place; it must already be at the measurement's time.

        Args:
            state: changed.
            measurement: what was measured.
            iterations: at most so many; default from the parameters.

        Returns:
            Number of blocks that the gate left out, -1 where nothing could be used.
        """
        work, rows = self.work, self.rows
        work.step[:] = 0.0
        work.nominal[:] = state.nominal
        gated = 0
        limit = (
            1
            if measurement.linear or (state.lengths_locked and iterations is None)
            else iterations or self.params.iterations
        )
        for iteration in range(limit):
            linearise(TABLES, work.nominal, self.body, rows)
            measurement.add_rows(state, work.nominal, self.body, rows)
            if rows.filled[0] == 0:
                return -1
            outcome, moved = iterate(
                TABLES, state.nominal, state.covariance, self.anatomy, rows, work, iteration == 0, self._robust
            )
            if outcome < 0:
                return -1
            gated = gated or outcome
            if moved < self.params.tolerance:
                break
        downdate(rows, state.covariance, work)
        state.nominal[:] = work.nominal
        measurement.learn(state, work.weights, rows)
        return gated
