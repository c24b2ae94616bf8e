"""Feet on the floor: a point of a sole that is low and slow stands still on the floor; none is below it.

The floor is a plane at a height that the state learns. Whether a point stands
is decided from the estimate itself, softly: the nearer a point comes to a limit
of height or speed, the less it is trusted to stand. A foot whose height is not
known is not asked, unless it is the lower one, which is likely to stand; its
limits are as much wider as it is uncertain, so that a body whose place drifts
is held by the foot that it stands on.

Contacts last for many questions: their standard deviations are inflated for it.
Source of standing still as a measurement: Foxlin, "Pedestrian tracking with
shoe-mounted inertial sensors", IEEE CG&A 25(6), 2005; differs from it in asking
the body, as there need not be a sensor on the shoe.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from fusion.body.kinematics import TABLES, BodyTables, point_jacobian
from fusion.body.skeleton import LENGTH, REFERENCE_LENGTHS_M, SEGMENT
from fusion.filter.measurements.motion import (
    add_column,
    at,
    plus,
    point_velocity,
    times,
    turn_of,
    velocity_jacobian,
)
from fusion.filter.state import FLOOR_COLUMN, LENGTH_COLUMN, State
from fusion.filter.system import Body, System, add_feature, add_observation
from fusion.maths.kernels import Vector, crossed, rotated
from fusion.records import Float64, Int64

_FOOT_LENGTH = LENGTH["foot"]
_HEEL_BEHIND_M = 0.055
"""Heel behind the ankle in the reference body; the ball is the toe joint, and both are at the sole."""
_UP = 2
_NS_PER_S = 1e9


@dataclass(frozen=True, slots=True)
class ContactParams:
    """When a point of a sole stands, and how still that is.

    On clips of walking (``training/clips.py``) some point stands in 95 % of all frames by these limits; standing
    points move with 0.06 m/s per axis and lie 0.02 m off the floor, root mean square, weighted by their trust.
    """

    height_m: float = 0.06
    """Higher above the floor, no point stands."""
    speed_m_s: float = 0.4
    """Faster, no point stands."""
    sure_m: float = 0.15
    """A foot whose height has a larger standard deviation is asked only if it is the lower one."""
    sure_m_s: float = 0.6
    """A point whose velocity has a larger standard deviation (all axes together) is not asked: in the dark rates die
    out in the estimate, and every foot would seem to stand."""
    least_share: float = 0.1
    """Trust below which a point is not taken to stand; 1 in the middle, 0 at the limits."""
    velocity_sigma_m_s: float = 0.7
    """Standard deviation of a standing point's velocity, along each axis: soles roll, a contact lasts for many
    questions, and some feet that seem to stand do not. With 0.2 a body in the dark is far too sure of its place."""
    height_sigma_m: float = 0.1
    """Standard deviation of a standing point's height above the floor: shoes, and a foot that is a rigid model."""
    below_sigma_m: float = 0.03
    """Standard deviation of the rule that nothing is below the floor."""
    interval_s: float = 0.05
    """The feet are asked no more often than this."""


class Ground(NamedTuple):
    """Points of the soles and parameters, as the kernel takes them."""

    segment: Int64
    """[4]: left heel, left ball, right heel, right ball."""
    unit_offset: Float64
    """[4, 3] from the segment's origin, segment frame, per metre of the foot's length."""
    foot: Int64
    """[4] 0 left, 1 right."""
    height_m: float
    speed_m_s: float
    sure_m: float
    sure_m_s: float
    least_share: float
    velocity_variance: float
    height_variance: float
    below_variance: float


def make_ground(params: ContactParams) -> Ground:
    """Arrays of the contact model."""
    names = ("left_foot", "left_toe", "right_foot", "right_toe")
    sole = float(TABLES.unit_offset[SEGMENT["left_toe"], _UP])
    heel = np.array([-_HEEL_BEHIND_M / REFERENCE_LENGTHS_M[_FOOT_LENGTH], 0.0, sole])
    return Ground(
        segment=np.array([SEGMENT[name] for name in names]),
        unit_offset=np.stack([heel, np.zeros(3), heel, np.zeros(3)]),
        foot=np.array([0, 0, 1, 1]),
        height_m=params.height_m,
        speed_m_s=params.speed_m_s,
        sure_m=params.sure_m,
        sure_m_s=params.sure_m_s,
        least_share=params.least_share,
        velocity_variance=params.velocity_sigma_m_s**2,
        height_variance=params.height_sigma_m**2,
        below_variance=params.below_sigma_m**2,
    )


def ground_due(state: State, params: ContactParams) -> bool:
    """Whether it is time to ask the feet again."""
    return state.time_ns - state.contact_ns >= params.interval_s * _NS_PER_S


@njit(cache=True)
def _variance(row: Float64, covariance: Float64) -> float:
    """row covariance row^T for a row [n] that is mostly zero."""
    total = 0.0
    for i in range(row.shape[0]):
        if row[i] == 0.0:
            continue
        part = 0.0
        for j in range(row.shape[0]):
            part += row[j] * covariance[i, j]
        total += row[i] * part
    return total


@njit(cache=True)
def _arm(body: Body, ground: Ground, k: int) -> Vector:
    """Point k from its segment's origin, world."""
    scaled = times(at(ground.unit_offset, k), body.lengths_m[_FOOT_LENGTH])
    return rotated(turn_of(body.quaternions, ground.segment[k]), scaled)


@njit(cache=True)
def _height(body: Body, nominal: Float64, ground: Ground, k: int) -> float:
    """Of point k above the floor, m."""
    return float(body.positions[ground.segment[k], _UP] + _arm(body, ground, k)[_UP] - nominal[FLOOR_COLUMN])


@njit(cache=True)
def _add_point(tables: BodyTables, body: Body, system: System, ground: Ground, k: int) -> int:
    """Where point k is from the floor's origin, as a feature; -1 where there is no room."""
    f = add_feature(system, 3)
    if f < 0:
        return f
    s, arm = ground.segment[k], _arm(body, ground, k)
    point = system.value[f]
    for i in range(3):
        point[i] = body.positions[s, i] + arm[i]
    jacobian = system.jacobian[f]
    point_jacobian(
        tables, body.lengths_m, body.positions, body.quaternions, body.axes_world, s, point, jacobian, LENGTH_COLUMN
    )
    add_column(jacobian, LENGTH_COLUMN + _FOOT_LENGTH, arm)
    jacobian[_UP, FLOOR_COLUMN] = -1.0
    return f


@njit(cache=True)
def _add_velocity(tables: BodyTables, body: Body, nominal: Float64, system: System, ground: Ground, k: int) -> int:
    """The world velocity of point k, as a feature; -1 where there is no room."""
    f = add_feature(system, 3)
    if f < 0:
        return f
    s, arm = ground.segment[k], _arm(body, ground, k)
    point = plus(at(body.positions, s), arm)
    jacobian = system.jacobian[f]
    velocity_jacobian(tables, body, nominal, s, point, -1, jacobian)
    add_column(jacobian, LENGTH_COLUMN + _FOOT_LENGTH, crossed(at(body.angular_rates, s), arm))
    velocity = point_velocity(body, s, point)
    for i in range(3):
        system.value[f, i] = velocity[i]
    return f


@njit(cache=True)
def _observe_height(system: System, feature: int, height: float, variance: float, robust: int, k: int) -> None:
    """Say that point k is on the floor."""
    o = add_observation(system, feature, 1, k)
    if o < 0:
        return
    for i in range(3):
        system.h[o, 0, i] = 1.0 if i == _UP else 0.0
    system.residual[o, 0] = -height
    system.variance[o, 0] = variance
    system.robust[o] = robust


@njit(cache=True)
def _observe_rest(system: System, feature: int, variance: float, k: int) -> None:
    """Say that point k does not move."""
    o = add_observation(system, feature, 3, k)
    if o < 0:
        return
    for i in range(3):
        system.residual[o, i] = -system.value[feature, i]
        system.variance[o, i] = variance


@njit(cache=True)
def _within(value: float, limit: float) -> float:
    """1 at zero or below, falling to 0 at the limit."""
    part = max(value, 0.0) / limit
    return 1.0 - part * part if part < 1.0 else 0.0


@njit(cache=True)
def _standing(system: System, covariance: Float64, ground: Ground, f: int, v: int, height: float, lower: bool) -> float:
    """How far a point is trusted to stand, 0 to 1, by its place (feature f) and velocity (feature v)."""
    deviation = math.sqrt(max(_variance(system.jacobian[f, _UP], covariance), 0.0))
    velocity = at(system.value, v)
    speed = math.sqrt(velocity[0] ** 2 + velocity[1] ** 2 + velocity[2] ** 2)
    total = 0.0
    for i in range(3):
        total += max(_variance(system.jacobian[v, i], covariance), 0.0)
    unsure = math.sqrt(total)
    if unsure > ground.sure_m_s:
        return 0.0
    if not lower:
        if deviation > ground.sure_m:
            return 0.0
        return _within(height, ground.height_m) * _within(speed, ground.speed_m_s)
    widened = _within(height, ground.height_m + deviation)
    return widened * _within(speed, ground.speed_m_s + unsure)


@njit(cache=True)
def ground_rows(
    tables: BodyTables, body: Body, nominal: Float64, covariance: Float64, ground: Ground, system: System
) -> None:
    """Append what the floor says of the feet.

    A standing point adds a velocity of zero (three components) and a height of zero above the floor (one); a point
    below the floor that does not stand adds the height alone, as knowledge. ``source`` is the point, 0..3.

    Args:
        tables: the skeleton.
        body: kinematics at ``nominal``.
        nominal: [n].
        covariance: [n, n] of the prior.
        ground: see there.
        system: appended to.
    """
    lowest = (
        min(_height(body, nominal, ground, 0), _height(body, nominal, ground, 1)),
        min(_height(body, nominal, ground, 2), _height(body, nominal, ground, 3)),
    )
    for k in range(ground.segment.shape[0]):
        height = _height(body, nominal, ground, k)
        lower = lowest[ground.foot[k]] <= lowest[1 - ground.foot[k]]
        if not math.isfinite(height) or (height > ground.height_m and not lower):
            continue
        f = _add_point(tables, body, system, ground, k)
        v = _add_velocity(tables, body, nominal, system, ground, k)
        if v < 0:
            return
        share = _standing(system, covariance, ground, f, v, height, lower)
        if share > ground.least_share:
            _observe_rest(system, v, ground.velocity_variance / share, k)
            _observe_height(system, f, height, ground.height_variance / share, 1, k)
            continue
        # Features that nothing observes are taken back, in the order in which they came.
        system.filled[0] = v
        if height < 0.0:
            _observe_height(system, f, height, ground.below_variance, 0, k)
        else:
            system.filled[0] = f
