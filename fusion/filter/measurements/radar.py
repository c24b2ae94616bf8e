"""A cluster of radar points as a weak measurement of the trunk: where it is, how fast it comes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from fusion.body.kinematics import TABLES, BodyTables, point_jacobian
from fusion.body.skeleton import SEGMENT
from fusion.filter.measurements.rows import MAX_ROWS, Body, Rows, usable
from fusion.filter.state import LENGTH_COLUMN, RATE_COLUMN, State
from fusion.records import Float64

TRUNK = SEGMENT["t12"]


@dataclass(frozen=True, slots=True)
class RadarParams:
    """How a frame's points become one measurement of a person's trunk.

    The noise is that of a person's cluster against the trunk, from the MARS
    recordings (radar facts: range 9 cm with a near-surface offset of 4-15 cm,
    azimuth 3.3 deg, elevation 2.1 deg, Doppler 0.53 m/s), inflated because what
    reflects stays the same for many frames.
    """

    reach_m: float = 0.9
    """Points farther from the predicted trunk, seen from above, are not this person's."""
    min_points: int = 6
    surface_m: float = 0.08
    """How much nearer the reflecting surface is than the trunk's middle."""
    range_m: float = 0.25
    azimuth_rad: float = 0.12
    elevation_rad: float = 0.15
    doppler_m_s: float = 0.8


@njit(cache=True)
def trunk_rows(
    tables: BodyTables,
    body: Body,
    rates: Float64,
    rows: Rows,
    position: Float64,
    directions: Float64,
    sigmas: Float64,
    radial_velocity: float,
    velocity_sigma: float,
) -> None:
    """Append three position rows along ``directions`` [3, 3] (radial first) and one radial velocity.

    ``position`` [3] is the cluster in the world; sigmas [3] in m. None where one of them is no number.
    """
    n = rows.filled[0]
    if n + 4 > MAX_ROWS or not (usable(position, velocity_sigma) and math.isfinite(radial_velocity)):
        return
    columns = rows.jacobian.shape[1]
    to_point = np.zeros((3, columns))
    point = body.positions[TRUNK]
    point_jacobian(
        tables, body.lengths_m, body.positions, body.quaternions, body.axes_world, TRUNK, point, to_point, LENGTH_COLUMN
    )
    for i in range(3):
        rows.jacobian[n + i, :] = 0.0
        total = 0.0
        for k in range(3):
            total += directions[i, k] * (position[k] - point[k])
            for c in range(columns):
                rows.jacobian[n + i, c] += directions[i, k] * to_point[k, c]
        rows.residual[n + i] = total
        rows.variance[n + i] = sigmas[i] * sigmas[i]
        rows.block[n + i] = n
        rows.robust[n + i] = 1
        rows.source[n + i] = 0
    n += 3
    rows.jacobian[n, :] = 0.0
    predicted = 0.0
    for c in range(RATE_COLUMN):
        slope = (
            directions[0, 0] * to_point[0, c] + directions[0, 1] * to_point[1, c] + directions[0, 2] * to_point[2, c]
        )
        rows.jacobian[n, RATE_COLUMN + c] = slope
        predicted += slope * rates[c]
    rows.residual[n] = radial_velocity - predicted
    rows.variance[n] = velocity_sigma * velocity_sigma
    rows.block[n] = n
    rows.robust[n] = 1
    rows.source[n] = 1
    rows.filled[0] = n + 1


@dataclass(frozen=True, slots=True, eq=False)
class RadarTrunkMeasurement:
    """One person's share of one radar frame."""

    time_ns: int
    source: str
    position_m: Float64
    """[3] world: the middle of the cluster, moved behind its surface."""
    directions: Float64
    """[3, 3] rows: away from the radar, to its right across, upwards across; world."""
    distance_m: float
    radial_velocity_m_s: float
    params: RadarParams

    @property
    def linear(self) -> bool:
        """See ``Measurement``."""
        return True

    def add_rows(self, state: State, nominal: Float64, body: Body, rows: Rows) -> None:
        """See ``Measurement``. The velocity's derivative by the pose is left out: it is far below the noise."""
        p = self.params
        sigmas = np.array([p.range_m, p.azimuth_rad * self.distance_m, p.elevation_rad * self.distance_m])
        trunk_rows(
            TABLES,
            body,
            nominal[RATE_COLUMN : 2 * RATE_COLUMN],
            rows,
            self.position_m,
            self.directions,
            sigmas,
            self.radial_velocity_m_s,
            p.doppler_m_s,
        )

    def learn(self, state: State, weights: Float64, rows: Rows) -> None:
        """Nothing is remembered."""
