"""What is known of every body: joints stop at their limits, and the unseen stays near rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from numba import njit

from fusion.body.kinematics import BALL, BodyTables
from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.filter.system import System, add_feature, add_observation
from fusion.maths.kernels import conjugated, exponential, logarithm, multiplied
from fusion.records import Float64


@dataclass(frozen=True, slots=True)
class AnatomyParams:
    """How hard the walls are, and how far an unseen joint may wander."""

    limit_rad: float = math.radians(3.0)
    """Standard deviation of a limit: how far past it a joint is pushed by a measurement of equal trust."""
    rest_rad: float = math.radians(45.0)
    """Spread of an unseen joint around its resting value."""
    unsure_rad: float = math.radians(45.0)
    """A coordinate with a larger standard deviation is drawn to its resting value, at each update: so not a smaller
    one, or an unseen limb is told over and over what is known of it once."""


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
def _know(system: System, column: int, residual: float, variance: float) -> None:
    """One coordinate, known to be so."""
    f = add_feature(system, 1)
    o = add_observation(system, f, 1, column)
    if o < 0:
        return
    system.jacobian[f, 0, column] = 1.0
    system.residual[o, 0] = residual
    system.variance[o, 0] = variance
    system.robust[o] = 0


@njit(cache=True)
def anatomy_rows(tables: BodyTables, nominal: Float64, covariance: Float64, anatomy: Anatomy, system: System) -> None:
    """Append the limits that ``nominal`` [n] breaks, and rest where the prior ``covariance`` [n, n] is wide.

    A limit is a one-sided quadratic: it has a row only where it is broken.
    """
    low, high, rest = anatomy.low, anatomy.high, anatomy.rest
    for i in range(low.shape[0]):
        if math.isinf(low[i]):
            continue
        if nominal[i] < low[i]:
            _know(system, i, low[i] - nominal[i], anatomy.limit_variance)
        elif nominal[i] > high[i]:
            _know(system, i, high[i] - nominal[i], anatomy.limit_variance)
        if covariance[i, i] > anatomy.unsure_variance:
            _know(system, i, rest[i] - nominal[i], anatomy.rest_variance)
    for s in range(tables.parent.shape[0]):
        if tables.freedom[s] != BALL:
            continue
        f = tables.first[s]
        if covariance[f, f] + covariance[f + 1, f + 1] + covariance[f + 2, f + 2] <= 3.0 * anatomy.unsure_variance:
            continue
        away = logarithm(
            multiplied(
                conjugated(exponential(nominal[f], nominal[f + 1], nominal[f + 2])),
                exponential(rest[f], rest[f + 1], rest[f + 2]),
            )
        )
        for k in range(3):
            _know(system, f + k, away[k], anatomy.rest_variance)
