"""What a radar says of a person: where the trunk is, how fast points come, and joints that a network makes of points.

Variances are per measurement and already inflated for errors that stay the same
over many frames (what reflects does not change from one to the next).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from fusion.body.kinematics import TABLES, BodyTables, point_jacobian
from fusion.body.skeleton import SEGMENT
from fusion.filter.measurements.motion import at, plus, point_velocity, turn_of, velocity_jacobian
from fusion.filter.state import LENGTH_COLUMN, RATE_COLUMN, State
from fusion.filter.system import Body, System, add_feature, add_observation, usable
from fusion.maths.kernels import rotated
from fusion.records import Float64, Int64

TRUNK = SEGMENT["t12"]


@dataclass(frozen=True, slots=True)
class RadarParams:
    """How a frame's points become one measurement of a person's trunk.

    The noise is that of the middle of a person's points against the trunk, on
    the MARS recordings (one frame: 6 cm along, 4.1 deg across, 5.2 deg up, 0.21 m/s),
    inflated because what reflects stays the same for many frames: so much that a
    camera that tells three times a second is not made worse (``benchmarks.radar_fusion``;
    chosen on subjects 2 and 3).
    """

    reach_m: float = 0.9
    """Points farther from the predicted trunk, seen from above, are not this person's."""
    min_points: int = 6
    surface_m: float = 0.04
    """How much nearer the reflecting surface is than the middle of a limb."""
    range_m: float = 0.18
    azimuth_rad: float = 0.2
    elevation_rad: float = 0.25
    doppler_m_s: float = 0.6


@njit(cache=True)
def position_rows(
    tables: BodyTables,
    body: Body,
    system: System,
    segment: Int64,
    measured: Float64,
    axes: Float64,
    variance: Float64,
) -> None:
    """Append where the origins of K segments are.

    Args:
        tables: the skeleton.
        body: kinematics at the linearisation point.
        system: appended to.
        segment: [K], negative where there is none.
        measured: [K, 3] world, m; what is no number is left out.
        axes: [3, 3] rows: unit vectors, world, along which the errors are independent.
        variance: [K, 3] along each of them, m^2.
    """
    for k in range(segment.shape[0]):
        s = segment[k]
        if s < 0 or not usable(measured[k], variance[k].min()) or not usable(variance[k], 1.0):
            continue
        f = add_feature(system, 3)
        o = add_observation(system, f, 3, k)
        if o < 0:
            return
        point = body.positions[s]
        point_jacobian(
            tables,
            body.lengths_m,
            body.positions,
            body.quaternions,
            body.axes_world,
            s,
            point,
            system.jacobian[f],
            LENGTH_COLUMN,
        )
        for i in range(3):
            total = 0.0
            for j in range(3):
                system.h[o, i, j] = axes[i, j]
                total += axes[i, j] * (measured[k, j] - point[j])
            system.residual[o, i] = total
            system.variance[o, i] = variance[k, i]


@njit(cache=True)
def radial_rows(
    tables: BodyTables,
    body: Body,
    nominal: Float64,
    system: System,
    segment: Int64,
    offset: Float64,
    directions: Float64,
    measured: Float64,
    variance: Float64,
) -> None:
    """Append how fast K points recede.

    Args:
        tables: the skeleton.
        body: kinematics at ``nominal``.
        nominal: [n].
        system: appended to.
        segment: [K] that carries the point, negative where there is none.
        offset: [K, 3] of the point from the segment's origin, segment frame, m.
        directions: [K, 3] unit vectors away from the radar, world.
        measured: [K] m/s, + is receding; what is no number is left out.
        variance: [K] m^2/s^2.
    """
    for k in range(segment.shape[0]):
        s = segment[k]
        told = math.isfinite(measured[k]) and usable(directions[k], variance[k]) and usable(offset[k], 1.0)
        if s < 0 or not told:
            continue
        f = add_feature(system, 3)
        o = add_observation(system, f, 1, k)
        if o < 0:
            return
        point = plus(at(body.positions, s), rotated(turn_of(body.quaternions, s), at(offset, k)))
        velocity = point_velocity(body, s, point)
        velocity_jacobian(tables, body, nominal, s, point, -1, system.jacobian[f])
        predicted = 0.0
        for i in range(3):
            system.h[o, 0, i] = directions[k, i]
            predicted += directions[k, i] * velocity[i]
        system.residual[o, 0] = measured[k] - predicted
        system.variance[o, 0] = variance[k]


class _Radar:
    """What all measurements of a radar have in common."""

    __slots__ = ()

    @property
    def linear(self) -> bool:
        """See ``Measurement``."""
        return True

    def learn(self, state: State, system: System) -> None:
        """Nothing is remembered."""


@dataclass(frozen=True, slots=True, eq=False)
class RadarTrunkMeasurement(_Radar):
    """One person's share of one radar frame; of position and velocity, what is no number is left out."""

    time_ns: int
    source: str
    position_m: Float64
    """[3] world: the middle of the cluster, moved behind its surface."""
    directions: Float64
    """[3, 3] rows: away from the radar, to its right across, upwards across; world."""
    distance_m: float
    radial_velocity_m_s: float
    params: RadarParams

    holds_pose = True

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """See ``Measurement``. What the cluster tells is taken for the body's place, not for how it stands: the points
        wander over the body, and a filter that sees the trunk lean for it is worse off than without a radar.
        """
        first = int(system.filled[0])
        p = self.params
        sigmas = np.array([[p.range_m, p.azimuth_rad * self.distance_m, p.elevation_rad * self.distance_m]])
        trunk = np.array([TRUNK])
        position_rows(TABLES, body, system, trunk, self.position_m[None], self.directions, sigmas**2)
        radial_rows(
            TABLES,
            body,
            nominal,
            system,
            trunk,
            np.zeros((1, 3)),
            self.directions[:1],
            np.array([self.radial_velocity_m_s]),
            np.array([p.doppler_m_s**2]),
        )
        added = system.jacobian[first : system.filled[0]]
        added[:, :, 3:RATE_COLUMN] = 0.0
        added[:, :, RATE_COLUMN + 3 :] = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class RadarVelocityMeasurement(_Radar):
    """Radial velocities of points on one person's segments."""

    time_ns: int
    source: str
    segment: Int64
    """[K] index into ``SEGMENT_NAMES``."""
    offset_m: Float64
    """[K, 3] of the point from the segment's origin, segment frame."""
    directions: Float64
    """[K, 3] unit vectors away from the radar, world."""
    radial_velocity_m_s: Float64
    """[K] + is receding; NaN where missing."""
    variance_m2_s2: Float64
    """[K]."""

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """See ``Measurement``."""
        radial_rows(
            TABLES,
            body,
            nominal,
            system,
            self.segment,
            self.offset_m,
            self.directions,
            self.radial_velocity_m_s,
            self.variance_m2_s2,
        )


@dataclass(frozen=True, slots=True, eq=False)
class RadarJointsMeasurement(_Radar):
    """Joints in the world that a network makes of one person's radar points."""

    time_ns: int
    source: str
    segment: Int64
    """[K] whose origin the joint is; negative where it is none of our body's."""
    positions_m: Float64
    """[K, 3] world; NaN where missing."""
    variance_m2: Float64
    """[K, 3] of one frame, per world axis, as learned."""
    inflation: float = 1.0
    """Factor on the variance for errors that last: about the number of frames over which they stay the same."""

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """See ``Measurement``."""
        variance = self.inflation * self.variance_m2
        position_rows(TABLES, body, system, self.segment, self.positions_m, np.eye(3), variance)
