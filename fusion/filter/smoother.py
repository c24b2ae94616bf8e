"""What has come since tells of what was: the smoothed estimate of a moment in the past.

The modified Bryson-Frazier form carries backward what all later measurements
say, as a gradient (lambda) and its curvature (Lambda) in the error state, and
never inverts a covariance:

    through an update      lambda <- (I - L P+) (lambda - eta),   Lambda <- L T + T^T Lambda T,  T = I - P+ L
    through a prediction   lambda <- F^T lambda,                  Lambda <- F^T Lambda F
    smoothed               x = x+ (+) -P+ lambda,                 P = P+ - P+ Lambda P+

with L and eta of the update (``fusion.filter.update.Information``) and P+ its
posterior. Source: Bierman, "Fixed interval smoothing with discrete measurements",
Int. J. Control 18(1), 1973, eqs. 26-31; Gibbs, "Square root modified
Bryson-Frazier smoother", IEEE TAC 56(2), 2011.

The transition F is taken at the filtered states, and the error of one update's
tangent space is used in the next one's, as everywhere in an extended filter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit

from fusion.body.kinematics import BALL, ROOT, TABLES, BodyTables
from fusion.filter.process import Process, advance_nominal, reaches, rotation_step, steps_between
from fusion.filter.state import RATE_COLUMN, State, retract_into
from fusion.filter.update import Information
from fusion.records import Float64


@njit(cache=True)
def transposed_rows(tables: BodyTables, process: Process, step_s: float, error: Float64, p: Float64) -> None:
    """p [n, any] <- F^T p, with F of ``fusion.filter.process.transition_rows``."""
    size = p.shape[1]
    for i in range(tables.turns.shape[0]):
        keep = math.exp(-step_s / process.decay_s[i])
        reach = process.decay_s[i] * (1.0 - keep)
        stay = math.exp(-step_s * process.rest_rate[i])
        turns = tables.turns[i]
        for c in range(size):
            p[RATE_COLUMN + i, c] *= keep
            if not turns:
                p[RATE_COLUMN + i, c] += reach * p[i, c]
                p[i, c] *= stay
    for s in range(tables.parent.shape[0]):
        if tables.freedom[s] != ROOT and tables.freedom[s] != BALL:
            continue
        i = tables.first[s]
        v = RATE_COLUMN + i
        turn, couple = rotation_step(error[i], error[i + 1], error[i + 2])
        stay = math.exp(-step_s * process.rest_rate[i])
        reach = reaches(process, i, step_s)
        for c in range(size):
            a, b, d = p[i, c], p[i + 1, c], p[i + 2, c]
            for k in range(3):
                p[v + k, c] += reach[k] * (couple[k] * a + couple[3 + k] * b + couple[6 + k] * d)
                p[i + k, c] = stay * (turn[k] * a + turn[3 + k] * b + turn[6 + k] * d)


@njit(cache=True)
def vector_through_update(information: Information, covariance: Float64, vector: Float64, product: Float64) -> None:
    """vector [n] <- (I - L P+) (vector - eta); ``covariance`` [n, n] is P+, ``product`` [n] scratch."""
    count = information.filled[0]
    n = vector.shape[0]
    normal = information.normal[: count * count].reshape(count, count)
    for i in range(count):
        vector[information.order[i]] -= information.eta[i]
    for i in range(count):
        row = covariance[information.order[i]]
        total = 0.0
        for c in range(n):
            total += row[c] * vector[c]
        product[i] = total
    for i in range(count):
        total = 0.0
        for j in range(count):
            total += normal[i, j] * product[j]
        vector[information.order[i]] -= total


@njit(cache=True)
def matrix_through_update(information: Information, covariance: Float64, matrix: Float64, room: Float64) -> None:
    """matrix [n, n] <- L T + T^T matrix T with T = I - P+ L; ``room`` [4, n * n] is scratch.

    Only the a touched columns of T differ from the identity, so this costs n^2 a and not n^3.
    """
    a, n = information.filled[0], matrix.shape[0]
    if a == 0:
        return
    order = information.order
    normal = information.normal[: a * a].reshape(a, a)
    rows = room[0, : a * n].reshape(a, n)  # P+ of the touched coordinates
    product = room[1, : a * n].reshape(a, n)
    scaled = room[2, : a * n].reshape(a, n)
    square = room[3, : a * a].reshape(a, a)
    for i in range(a):
        for c in range(n):
            rows[i, c] = covariance[order[i], c]
    # matrix <- matrix T; both are symmetric before, so the product is taken from the left.
    np.dot(rows, matrix, product)
    np.dot(normal, product, scaled)
    for i in range(n):
        for j in range(a):
            matrix[i, order[j]] -= scaled[j, i]
    # matrix <- T^T matrix
    np.dot(rows, matrix, product)
    np.dot(normal, product, scaled)
    for i in range(a):
        for c in range(n):
            matrix[order[i], c] -= scaled[i, c]
    # matrix <- matrix + L T
    for i in range(a):
        for j in range(a):
            square[i, j] = covariance[order[i], order[j]]
    first, second = room[0, : a * a].reshape(a, a), room[1, : a * a].reshape(a, a)
    np.dot(normal, square, first)
    np.dot(first, normal, second)
    for i in range(a):
        for j in range(a):
            matrix[order[i], order[j]] += normal[i, j] - second[i, j]
    for i in range(n):
        for j in range(i):
            mean = 0.5 * (matrix[i, j] + matrix[j, i])
            matrix[i, j] = mean
            matrix[j, i] = mean


@njit(cache=True)
def _through_prediction(
    tables: BodyTables,
    process: Process,
    before: Float64,
    count: int,
    step_s: float,
    errors: Float64,
    vector: Float64,
    matrix: Float64,
    with_matrix: bool,
) -> None:
    """Carry vector [n] and matrix [n, n] back over a gap of so many steps that began at nominal ``before`` [n].

    ``errors`` [count + 1, n] is scratch.
    """
    nominal = errors[count]
    nominal[:] = before
    for k in range(count):
        advance_nominal(tables, nominal, process, step_s, errors[k])
    column = vector.reshape(vector.shape[0], 1)
    for k in range(count - 1, -1, -1):
        transposed_rows(tables, process, step_s, errors[k], column)
        if with_matrix:
            transposed_rows(tables, process, step_s, errors[k], matrix)
            transposed_rows(tables, process, step_s, errors[k], matrix.T)


@njit(cache=True)
def _correct(
    tables: BodyTables,
    nominal: Float64,
    covariance: Float64,
    vector: Float64,
    matrix: Float64,
    step: Float64,
    product: Float64,
    t: Float64,
    with_matrix: bool,
) -> None:
    """nominal <- nominal (+) -P vector, covariance <- P - P matrix P."""
    n = nominal.shape[0]
    for i in range(n):
        total = 0.0
        for c in range(n):
            total -= covariance[i, c] * vector[c]
        step[i] = total
    retract_into(tables, nominal, step, nominal)
    if not with_matrix:
        return
    np.dot(matrix, covariance, product)
    np.dot(covariance, product, t)
    for i in range(n):
        for j in range(i + 1):
            value = covariance[i, j] - 0.5 * (t[i, j] + t[j, i])
            covariance[i, j] = value
            covariance[j, i] = value
        covariance[i, i] = max(covariance[i, i], 0.0)


_MOST_STEPS = 64
"""Steps of one gap; a longer one tells nothing of what was before it."""


class Smoother:
    """Carries what later measurements say back in time. Holds scratch arrays and the running gradient."""

    def __init__(self, process: Process, errors: int) -> None:
        self.process = process
        self.vector = np.zeros(errors)
        self.matrix = np.zeros((errors, errors))
        self._product = np.zeros((errors, errors))
        self._t = np.zeros((errors, errors))
        self._room = np.zeros((4, errors * errors))
        self._step = np.zeros(errors)
        self._errors = np.zeros((_MOST_STEPS + 1, errors))

    def clear(self) -> None:
        """Know nothing of the future."""
        self.vector[:] = 0.0
        self.matrix[:] = 0.0

    def through_update(self, information: Information, after: State, *, with_matrix: bool) -> None:
        """Carry back over an update; ``after`` is the state after it."""
        vector_through_update(information, after.covariance, self.vector, self._step)
        if with_matrix:
            matrix_through_update(information, after.covariance, self.matrix, self._room)

    def through_prediction(self, before: State, time_ns: int, *, with_matrix: bool) -> None:
        """Carry back from ``time_ns`` to a state before it."""
        count, step_s = steps_between(before.time_ns, time_ns)
        if count > _MOST_STEPS:
            self.clear()
        elif count:
            _through_prediction(
                TABLES, self.process, before.nominal, count, step_s, self._errors, self.vector, self.matrix, with_matrix
            )

    def correct(self, state: State, *, with_matrix: bool) -> None:
        """Smooth a state in place."""
        _correct(
            TABLES,
            state.nominal,
            state.covariance,
            self.vector,
            self.matrix,
            self._step,
            self._product,
            self._t,
            with_matrix,
        )

    def smooth(self, state: State, later: Sequence[tuple[Information, State]], *, with_matrix: bool = True) -> None:
        """Smooth a state in place by the updates that follow it.

        Args:
            state: filtered, at its time.
            later: what each later update has told and the state after it, in order of time.
            with_matrix: whether the covariance is smoothed too; it costs ten times as much.
        """
        self.clear()
        for index in range(len(later) - 1, -1, -1):
            information, after = later[index]
            self.through_update(information, after, with_matrix=with_matrix)
            before = later[index - 1][1] if index else state
            self.through_prediction(before, after.time_ns, with_matrix=with_matrix)
        self.correct(state, with_matrix=with_matrix)
