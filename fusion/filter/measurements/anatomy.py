"""What is known of every body: joints stop at their limits, and the unseen stays near rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from fusion.body.kinematics import BALL, BodyTables
from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.filter.measurements.rows import MAX_ROWS, Rows
from fusion.maths.kernels import exp_into, log_into, multiply_into
from fusion.records import Float64


@dataclass(frozen=True, slots=True)
class AnatomyParams:
    """How hard the walls are, and how far an unseen joint may wander."""

    limit_rad: float = math.radians(3.0)
    """Standard deviation of a limit: how far past it a joint is pushed by a measurement of equal trust."""
    rest_rad: float = math.radians(45.0)
    """Spread of an unseen joint around its resting value."""
    unsure_rad: float = math.radians(25.0)
    """A coordinate with a larger standard deviation is drawn to its resting value."""


class Anatomy(NamedTuple):
    """Limits and rest as the kernel takes them."""

    low: Float64
    """[44] rad; minus infinity where there is no limit."""
    high: Float64
    """[44] rad."""
    rest: Float64
    """[44]."""
    limit_variance: float
    rest_variance: float
    unsure_variance: float


def make_anatomy(params: AnatomyParams) -> Anatomy:
    """Arrays of the anatomy."""
    low, high = coordinate_limits()
    return Anatomy(low, high, resting_coordinates(), params.limit_rad**2, params.rest_rad**2, params.unsure_rad**2)


@njit(cache=True)
def _scalar_row(rows: Rows, column: int, residual: float, variance: float) -> None:
    n = rows.filled[0]
    if n >= MAX_ROWS:
        return
    rows.jacobian[n, :] = 0.0
    rows.jacobian[n, column] = 1.0
    rows.residual[n] = residual
    rows.variance[n] = variance
    rows.block[n] = n
    rows.robust[n] = 0
    rows.source[n] = column
    rows.filled[0] = n + 1


@njit(cache=True)
def anatomy_rows(tables: BodyTables, nominal: Float64, covariance: Float64, anatomy: Anatomy, rows: Rows) -> None:
    """Append the limits that ``nominal`` [99] breaks, and rest where the prior ``covariance`` [99, 99] is wide.

    A limit is a one-sided quadratic: it has a row only where it is broken.
    """
    low, high, rest = anatomy.low, anatomy.high, anatomy.rest
    inverse = np.empty(4)
    target = np.empty(4)
    product = np.empty(4)
    away = np.empty(3)
    for i in range(low.shape[0]):
        if math.isinf(low[i]):
            continue
        if nominal[i] < low[i]:
            _scalar_row(rows, i, low[i] - nominal[i], anatomy.limit_variance)
        elif nominal[i] > high[i]:
            _scalar_row(rows, i, high[i] - nominal[i], anatomy.limit_variance)
        if covariance[i, i] > anatomy.unsure_variance:
            _scalar_row(rows, i, rest[i] - nominal[i], anatomy.rest_variance)
    for s in range(tables.parent.shape[0]):
        if tables.freedom[s] != BALL:
            continue
        f = tables.first[s]
        if covariance[f, f] + covariance[f + 1, f + 1] + covariance[f + 2, f + 2] <= 3.0 * anatomy.unsure_variance:
            continue
        exp_into(-nominal[f], -nominal[f + 1], -nominal[f + 2], inverse)
        exp_into(rest[f], rest[f + 1], rest[f + 2], target)
        multiply_into(inverse, target, product)
        log_into(product, away)
        for k in range(3):
            _scalar_row(rows, f + k, away[k], anatomy.rest_variance)
