"""How a point of the body turns, moves and accelerates, and what each state adds to that.

Everything is a walk from a segment to the root. A coordinate d of joint i turns
what comes after it about the world axis a_d through p_i. With b the angular
rate of what comes before it, the axis itself moves with da_d = b x a_d, and
with r = p - p_i:

    turning  (as the segment itself sees it)  d w / d q_d = da_d        d w / d rate_d = a_d
    velocity                                  d v / d q_d = a_d x (v - v_i) + da_d x r
                                              d v / d rate_d = a_d x r

A chain is perturbed by addition to its rotation vector, which bends its own
axes too; that is the second part of da_d.
Source: Featherstone, "Rigid Body Dynamics Algorithms", ch. 2 and 4 (recursive
velocities and accelerations); Sola, arXiv 1812.01537, eq. 143 (right Jacobian).
"""

from __future__ import annotations

import math

from numba import njit

from fusion.body.kinematics import BALL, CHAIN, HINGES, ROOT, BodyTables
from fusion.filter.state import LENGTH_COLUMN, RATE_COLUMN
from fusion.filter.system import Body
from fusion.maths.kernels import Quaternion, Vector, crossed, jacobian_coefficients, rotated
from fusion.records import Float64

_SMALL_RAD = 0.03
"""Below, the derivatives of the Jacobian's coefficients come from their series; its next term is below 1e-9."""


@njit(cache=True)
def at(rows: Float64, index: int) -> Vector:
    """Row ``index`` of [N, 3]."""
    return rows[index, 0], rows[index, 1], rows[index, 2]


@njit(cache=True)
def turn_of(rows: Float64, index: int) -> Quaternion:
    """Row ``index`` of [N, 4]."""
    return rows[index, 0], rows[index, 1], rows[index, 2], rows[index, 3]


@njit(cache=True)
def plus(a: Vector, b: Vector) -> Vector:
    """a + b."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


@njit(cache=True)
def less(a: Vector, b: Vector) -> Vector:
    """a - b."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@njit(cache=True)
def times(a: Vector, factor: float) -> Vector:
    """factor * a."""
    return factor * a[0], factor * a[1], factor * a[2]


@njit(cache=True)
def unit(k: int) -> Vector:
    """The k-th coordinate axis."""
    return 1.0 if k == 0 else 0.0, 1.0 if k == 1 else 0.0, 1.0 if k == 2 else 0.0


@njit(cache=True)
def add_column(jacobian: Float64, column: int, value: Vector) -> None:
    """Add to one column of [3, n]."""
    for i in range(3):
        jacobian[i, column] += value[i]


@njit(cache=True)
def rate_before(tables: BodyTables, body: Body, s: int) -> Vector:
    """World angular rate of what segment s hangs on."""
    if tables.parent[s] < 0:
        return 0.0, 0.0, 0.0
    return at(body.angular_rates, tables.parent[s])


@njit(cache=True)
def _bent(x: Vector, u: Vector, k: int) -> Vector:
    """Derivative of J_r(x) u by the k-th component of the rotation vector x.

    J_r(x) u = u - a(|x|) x cross u + b(|x|) x cross (x cross u), with a and b of ``jacobian_coefficients``.
    """
    squared = x[0] * x[0] + x[1] * x[1] + x[2] * x[2]
    angle = math.sqrt(squared)
    a, b = jacobian_coefficients(angle)
    if angle < _SMALL_RAD:
        slope_a = -1.0 / 12.0 + squared / 180.0
        slope_b = -1.0 / 60.0 + squared / 1260.0
    else:
        fall = 1.0 - math.cos(angle)
        slope_a = (angle * math.sin(angle) - 2.0 * fall) / (squared * squared)
        slope_b = (angle * fall - 3.0 * (angle - math.sin(angle))) / (squared * squared * angle)
    e = unit(k)
    once, turned = crossed(x, u), crossed(e, u)
    twice = crossed(x, once)
    both = plus(crossed(e, once), crossed(x, turned))
    return plus(
        plus(times(turned, -a), times(once, -slope_a * x[k])),
        plus(times(both, b), times(twice, slope_b * x[k])),
    )


@njit(cache=True)
def axis_rate(tables: BodyTables, body: Body, nominal: Float64, s: int, k: int, before: Vector) -> Vector:
    """da_d of the module for coordinate k of joint s, where ``before`` is the angular rate before that coordinate."""
    turned = crossed(before, at(body.axes_world[s], k))
    if tables.freedom[s] != CHAIN:
        return turned
    share, first = tables.share[s], tables.first[s]
    rate = RATE_COLUMN + first
    bent = _bent(
        (share * nominal[first], share * nominal[first + 1], share * nominal[first + 2]),
        (nominal[rate], nominal[rate + 1], nominal[rate + 2]),
        k,
    )
    return plus(turned, rotated(turn_of(body.quaternions, s), times(bent, share * share)))


@njit(cache=True)
def turning_jacobian(tables: BodyTables, body: Body, nominal: Float64, segment: int, out: Float64) -> None:
    """Derivative of a segment's angular rate as the segment sees it, in world axes.

    That is R d(R^T w): a turn of the whole body leaves it as it is.

    Args:
        tables: the skeleton.
        body: kinematics at ``nominal``.
        nominal: [n].
        segment: whose rate.
        out: [3, n], added to.
    """
    s = segment
    while s >= 0:
        before = rate_before(tables, body, s)
        for k in range(tables.freedoms[s]):
            column = tables.first[s] + k
            axis = at(body.axes_world[s], k)
            add_column(out, column, axis_rate(tables, body, nominal, s, k, before))
            add_column(out, RATE_COLUMN + column, axis)
            if tables.freedom[s] == HINGES:
                before = plus(before, times(axis, nominal[RATE_COLUMN + column]))
        s = tables.parent[s]


@njit(cache=True)
def point_velocity(body: Body, segment: int, point: Vector) -> Vector:
    """World velocity of a point that a segment carries."""
    arm = less(point, at(body.positions, segment))
    return plus(at(body.velocities, segment), crossed(at(body.angular_rates, segment), arm))


@njit(cache=True)
def velocity_jacobian(
    tables: BodyTables, body: Body, nominal: Float64, segment: int, point: Vector, top: int, out: Float64
) -> None:
    """Derivative of the world velocity of a point, by pose, rates and the lengths of the joints' offsets.

    Args:
        tables: the skeleton.
        body: kinematics at ``nominal``.
        nominal: [n].
        segment: what carries the point.
        point: where it is, world.
        top: the walk ends below this segment, for a velocity relative to it; -1 for the velocity in the world.
        out: [3, n], added to.
    """
    velocity = point_velocity(body, segment, point)
    s = segment
    while s != top:
        parent = tables.parent[s]
        before = rate_before(tables, body, s)
        away = less(velocity, at(body.velocities, s))
        arm = less(point, at(body.positions, s))
        for k in range(tables.freedoms[s]):
            column = tables.first[s] + k
            axis = at(body.axes_world[s], k)
            moved = axis_rate(tables, body, nominal, s, k, before)
            add_column(out, column, plus(crossed(axis, away), crossed(moved, arm)))
            add_column(out, RATE_COLUMN + column, crossed(axis, arm))
            if tables.freedom[s] == HINGES:
                before = plus(before, times(axis, nominal[RATE_COLUMN + column]))
        if parent < 0:
            for i in range(3):
                out[i, RATE_COLUMN + i] += 1.0
        else:
            offset = less(at(body.positions, s), at(body.positions, parent))
            add_column(out, LENGTH_COLUMN + tables.length[s], crossed(rate_before(tables, body, s), offset))
        s = parent


@njit(cache=True)
def joint_turn_acceleration(tables: BodyTables, body: Body, nominal: Float64, damping: Float64, s: int) -> Vector:
    """What joint s adds to the angular acceleration of what it carries, world, while its rates decay.

    ``damping`` [44] is the share of its rate that each coordinate loses, 1/s.
    """
    total = (0.0, 0.0, 0.0)
    before = rate_before(tables, body, s)
    for k in range(tables.freedoms[s]):
        column = tables.first[s] + k
        axis, rate = at(body.axes_world[s], k), nominal[RATE_COLUMN + column]
        total = plus(total, times(axis, -damping[column] * rate))
        total = plus(total, times(axis_rate(tables, body, nominal, s, k, before), rate))
        if tables.freedom[s] == HINGES:
            before = plus(before, times(axis, rate))
    return total


@njit(cache=True)
def _carried(spin: Vector, turn: Vector, arm: Vector) -> Vector:
    """Acceleration of the end of an arm against its origin: angular acceleration ``spin``, angular rate ``turn``."""
    return plus(crossed(spin, arm), crossed(turn, crossed(turn, arm)))


@njit(cache=True)
def point_acceleration(
    tables: BodyTables, body: Body, nominal: Float64, damping: Float64, segment: int, point: Vector
) -> tuple[Vector, Vector]:
    """World acceleration of a point and angular acceleration of the segment that carries it, while rates decay.

    Of a = sum over the joints of dw_j x (p - p_j) + w_j x (v - v_j), where w_j is what joint j adds to the rate.
    """
    velocity = point_velocity(body, segment, point)
    linear = (0.0, 0.0, 0.0)
    angular = (0.0, 0.0, 0.0)
    s = segment
    while s >= 0:
        spin = joint_turn_acceleration(tables, body, nominal, damping, s)
        own = less(at(body.angular_rates, s), rate_before(tables, body, s))
        linear = plus(linear, crossed(spin, less(point, at(body.positions, s))))
        linear = plus(linear, crossed(own, less(velocity, at(body.velocities, s))))
        angular = plus(angular, spin)
        s = tables.parent[s]
    root = (
        -damping[0] * nominal[RATE_COLUMN],
        -damping[1] * nominal[RATE_COLUMN + 1],
        -damping[2] * nominal[RATE_COLUMN + 2],
    )
    return plus(linear, root), angular


@njit(cache=True)
def acceleration_jacobian(
    tables: BodyTables,
    body: Body,
    nominal: Float64,
    damping: Float64,
    segment: int,
    point: Vector,
    gravity: Vector,
    out: Float64,
) -> None:
    """Derivative of a point's acceleration less ``gravity`` as its segment sees it, in world axes.

    That is R d(R^T (a - g)). After coordinate d the point has, against what comes before it (rate b, angular
    acceleration db), the place r, the velocity u and the acceleration c, which all turn with a_d:

        d a / d q_d = db x (a_d x r) + b x (b x (a_d x r)) + 2 b x (a_d x u) + a_d x c
        d a / d rate_d = (-damping a_d + 2 da_d + w_i x a_d) x r + 2 a_d x (v - v_i)

    with w_i, the joint's own rate, for what is perturbed on the right only. Left out: how a chain's rotation
    vector bends the chain's own axes (pose columns only; of second order in the trunk's and the neck's own rates).

    Args:
        tables: the skeleton.
        body: kinematics at ``nominal``.
        nominal: [n].
        damping: [44] 1/s, see ``joint_turn_acceleration``.
        segment: what carries the point.
        point: where it is, world.
        gravity: m/s^2.
        out: [3, n], added to.
    """
    velocity = point_velocity(body, segment, point)
    linear, spin = point_acceleration(tables, body, nominal, damping, segment, point)
    force = less(linear, gravity)
    arm = less(point, at(body.positions, segment))
    origin = less(linear, _carried(spin, at(body.angular_rates, segment), arm))
    s = segment
    while s >= 0:
        parent = tables.parent[s]
        before = rate_before(tables, body, s)
        own = less(at(body.angular_rates, s), before)
        spin = less(spin, joint_turn_acceleration(tables, body, nominal, damping, s))
        arm = less(point, at(body.positions, s))
        away = less(velocity, at(body.velocities, s))
        rest = spin
        for k in range(tables.freedoms[s]):
            column = tables.first[s] + k
            axis, rate = at(body.axes_world[s], k), nominal[RATE_COLUMN + column]
            moved = axis_rate(tables, body, nominal, s, k, before)
            u = less(away, crossed(before, arm))
            c = less(less(linear, origin), plus(_carried(rest, before, arm), times(crossed(before, u), 2.0)))
            swung = crossed(axis, arm)
            by_pose = plus(_carried(rest, before, swung), times(crossed(before, crossed(axis, u)), 2.0))
            by_pose = plus(by_pose, less(crossed(axis, c), crossed(axis, force)))
            add_column(out, column, by_pose)
            slope = plus(times(axis, -damping[column]), times(moved, 2.0))
            if tables.freedom[s] == BALL or tables.freedom[s] == ROOT:
                slope = plus(slope, crossed(own, axis))
            by_rate = plus(crossed(slope, arm), times(crossed(axis, away), 2.0))
            add_column(out, RATE_COLUMN + column, by_rate)
            if tables.freedom[s] == HINGES:
                rest = plus(rest, plus(times(axis, -damping[column] * rate), times(moved, rate)))
                before = plus(before, times(axis, rate))
        if parent < 0:
            for i in range(3):
                out[i, RATE_COLUMN + i] -= damping[i]
        else:
            offset = less(at(body.positions, s), at(body.positions, parent))
            pulled = _carried(spin, rate_before(tables, body, s), offset)
            add_column(out, LENGTH_COLUMN + tables.length[s], pulled)
            origin = less(origin, pulled)
        s = parent
