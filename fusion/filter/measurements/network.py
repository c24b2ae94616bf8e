"""What a network makes of a few IMUs: how segments stand against the root, and how their joints move.

All of it is seen from the root, so that neither the person's place nor heading
enters. A network's errors last for seconds: the variance of one frame is to be
multiplied by ``inflation``, about twice their correlation time over the interval.
Source of what such networks tell: Zhang et al., "Dynamic inertial poser",
arXiv 2312.02196, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from numba import njit

from fusion.body.kinematics import TABLES, BodyTables
from fusion.filter.measurements.motion import add_column, at, less, turn_of, unit, velocity_jacobian
from fusion.filter.measurements.turns import observe_turn
from fusion.filter.state import RATE_COLUMN, State
from fusion.filter.system import Body, System, add_feature, add_observation, usable
from fusion.maths.kernels import conjugated, crossed, multiplied, rotated
from fusion.records import Float64, Int64

_ROOT = 0


@njit(cache=True)
def root_turn_rows(
    tables: BodyTables, body: Body, system: System, segment: Int64, measured: Float64, variance: Float64
) -> None:
    """Append the rotations ``q_root_from_segment`` [K, 4] of K segments.

    The residual is in the root's axes; ``variance`` [K, 3] is along them, rad^2. What is no number, and the root
    itself, is left out.
    """
    inverse = conjugated(turn_of(body.quaternions, _ROOT))
    for k in range(segment.shape[0]):
        usual = usable(measured[k], variance[k].min()) and usable(variance[k], 1.0)
        if segment[k] <= _ROOT or not usual:
            continue
        f = add_feature(system, 3)
        if f < 0:
            return
        s = segment[k]
        while s != _ROOT:
            for j in range(tables.freedoms[s]):
                axis = rotated(inverse, at(body.axes_world[s], j))
                add_column(system.jacobian[f], tables.first[s] + j, axis)
            s = tables.parent[s]
        predicted = multiplied(inverse, turn_of(body.quaternions, segment[k]))
        observe_turn(system, f, turn_of(measured, k), predicted, at(variance, k), k)


@njit(cache=True)
def root_velocity_rows(
    tables: BodyTables,
    body: Body,
    nominal: Float64,
    system: System,
    segment: Int64,
    measured: Float64,
    variance: Float64,
) -> None:
    """Append the velocities [K, 3] of the origins of K segments, in the root's frame, m/s.

    The root's own is that in the world, R_root^T v_root; the others' are relative to it, R_root^T (v - v_root).
    ``variance`` [K, 3] is along the root's axes. What is no number is left out.
    """
    q = turn_of(body.quaternions, _ROOT)
    inverse = conjugated(q)
    for k in range(segment.shape[0]):
        s = segment[k]
        if s < 0 or not (usable(measured[k], variance[k].min()) and usable(variance[k], 1.0)):
            continue
        f = add_feature(system, 3)
        o = add_observation(system, f, 3, k)
        if o < 0:
            return
        jacobian = system.jacobian[f]
        velocity = at(body.velocities, s)
        if s == _ROOT:
            for i in range(3):
                jacobian[i, RATE_COLUMN + i] = 1.0
                axis = at(body.axes_world[_ROOT], i)
                add_column(jacobian, tables.first[_ROOT] + i, crossed(velocity, axis))
        else:
            # Turning the root turns what is relative to it along, so that its own rate is all that counts.
            arm = less(at(body.positions, s), at(body.positions, _ROOT))
            for i in range(3):
                axis = at(body.axes_world[_ROOT], i)
                add_column(jacobian, RATE_COLUMN + tables.first[_ROOT] + i, crossed(axis, arm))
            velocity_jacobian(tables, body, nominal, s, at(body.positions, s), _ROOT, jacobian)
            velocity = less(velocity, at(body.velocities, _ROOT))
        seen = rotated(inverse, velocity)
        for i in range(3):
            column = rotated(inverse, unit(i))
            for j in range(3):
                system.h[o, j, i] = column[j]
            system.residual[o, i] = measured[k, i] - seen[i]
            system.variance[o, i] = variance[k, i]


class _Network:
    """What all outputs of a network have in common."""

    __slots__ = ()

    def learn(self, state: State, system: System) -> None:
        """Nothing is remembered."""


@dataclass(frozen=True, slots=True, eq=False)
class NetworkRotationsMeasurement(_Network):
    """How segments stand against the root."""

    time_ns: int
    source: str
    segment: Int64
    """[K] index into ``SEGMENT_NAMES``."""
    q_root_from_segment: Float64
    """[K, 4] wxyz; NaN where missing."""
    variance_rad2: Float64
    """[K, 3] of one frame along the root's axes, as learned."""
    inflation: float = 1.0

    @property
    def linear(self) -> bool:
        """See ``Measurement``."""
        return False

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """See ``Measurement``."""
        variance = self.inflation * self.variance_rad2
        root_turn_rows(TABLES, body, system, self.segment, self.q_root_from_segment, variance)


@dataclass(frozen=True, slots=True, eq=False)
class NetworkVelocitiesMeasurement(_Network):
    """How joints move, seen from the root."""

    time_ns: int
    source: str
    segment: Int64
    """[K] whose origin the joint is; 0 is the root."""
    velocities_m_s: Float64
    """[K, 3] in the root's frame: of the root in the world, of the others relative to the root; NaN where missing."""
    variance_m2_s2: Float64
    """[K, 3] of one frame along the root's axes, as learned; huge for an axis of which nothing is told."""
    inflation: float = 1.0

    @property
    def linear(self) -> bool:
        """See ``Measurement``."""
        return True

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """See ``Measurement``."""
        variance = self.inflation * self.variance_m2_s2
        root_velocity_rows(TABLES, body, nominal, system, self.segment, self.velocities_m_s, variance)
