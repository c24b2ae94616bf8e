"""Angular rates of body-worn IMUs.

The rate of a segment in its own frame is the sum of the joint rates along the
chain to the root, turned into that frame. Its derivative by a rotation on the
way sees only what moves before that rotation.
Source: Featherstone, "Rigid Body Dynamics Algorithms", ch. 4 (recursive velocities).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from fusion.body.kinematics import HINGES, TABLES, BodyTables, body_rates
from fusion.filter.measurements.rows import MAX_ROWS, Body, Rows, usable
from fusion.filter.state import RATE_COLUMN, State
from fusion.maths.kernels import multiply_into, rotate_into
from fusion.records import Float64, Int64


@dataclass(frozen=True, slots=True)
class GyroParams:
    """How far a gyroscope on soft tissue is trusted as the rate of the bone below."""

    noise_rad_s: float = 0.1
    """Standard deviation at rest: bias that nobody has removed, and soft tissue."""
    share: float = 0.15
    """Standard deviation as a share of the rate: mounting error and soft tissue."""


@njit(cache=True)
def gyro_rows(
    tables: BodyTables,
    body: Body,
    rates: Float64,
    rows: Rows,
    segment: Int64,
    q_segment_from_sensor: Float64,
    measured: Float64,
    variance: Float64,
) -> None:
    """Append three rows a sensor: rates [M, 3] in the sensor's frame, rad/s, with variance [M].

    What is no number is left out.
    """
    segments = tables.parent.shape[0]
    linear = np.empty((segments, 3))
    angular = np.empty((segments, 3))
    body_rates(tables, rates, body.positions, body.axes_world, linear, angular)
    q = np.empty(4)
    back = np.empty(4)
    turned = np.empty(3)
    before = np.empty(3)
    cross = np.empty(3)
    for m in range(segment.shape[0]):
        n = rows.filled[0]
        if segment[m] < 0 or not usable(measured[m], variance[m]) or n + 3 > MAX_ROWS:
            continue
        multiply_into(body.quaternions[segment[m]], q_segment_from_sensor[m], q)
        back[0], back[1], back[2], back[3] = q[0], -q[1], -q[2], -q[3]
        rotate_into(back, angular[segment[m]], turned)
        for i in range(3):
            rows.jacobian[n + i, :] = 0.0
            rows.residual[n + i] = measured[m, i] - turned[i]
            rows.variance[n + i] = variance[m]
            rows.block[n + i] = n
            rows.robust[n + i] = 1
            rows.source[n + i] = m
        s = segment[m]
        while s >= 0:
            parent = tables.parent[s]
            for i in range(3):
                before[i] = angular[parent, i] if parent >= 0 else 0.0
            for k in range(tables.freedoms[s]):
                column = tables.first[s] + k
                axis = body.axes_world[s, k]
                rotate_into(back, axis, turned)
                for i in range(3):
                    rows.jacobian[n + i, RATE_COLUMN + column] += turned[i]
                cross[0] = before[1] * axis[2] - before[2] * axis[1]
                cross[1] = before[2] * axis[0] - before[0] * axis[2]
                cross[2] = before[0] * axis[1] - before[1] * axis[0]
                rotate_into(back, cross, turned)
                for i in range(3):
                    rows.jacobian[n + i, column] += turned[i]
                if tables.freedom[s] == HINGES:
                    for i in range(3):
                        before[i] += axis[i] * rates[column]
            s = parent
        rows.filled[0] = n + 3


@dataclass(frozen=True, slots=True, eq=False)
class GyroMeasurement:
    """Rates of several IMUs of one wearer at one time."""

    time_ns: int
    source: str
    segment: Int64
    """[M] index into ``SEGMENT_NAMES``."""
    q_segment_from_sensor: Float64
    """[M, 4]."""
    rates_rad_s: Float64
    """[M, 3] sensor frame; NaN where missing."""
    params: GyroParams

    @property
    def linear(self) -> bool:
        """See ``Measurement``."""
        return True

    def add_rows(self, state: State, nominal: Float64, body: Body, rows: Rows) -> None:
        """See ``Measurement``."""
        speed = np.linalg.norm(self.rates_rad_s, axis=1)
        variance = self.params.noise_rad_s**2 + (self.params.share * speed) ** 2
        gyro_rows(
            TABLES,
            body,
            nominal[RATE_COLUMN : 2 * RATE_COLUMN],
            rows,
            self.segment,
            self.q_segment_from_sensor,
            self.rates_rad_s,
            variance,
        )

    def learn(self, state: State, weights: Float64, rows: Rows) -> None:
        """Nothing is remembered."""
