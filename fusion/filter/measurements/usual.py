"""What is usual, for a person whom one camera alone shows: upright, near usual poses, a foot on the floor.

One camera hardly tells how far away anything is: a body that leans and bends
looks like one that is farther off. Corrections by pixels are right to first order
only, which lets such a body drift for as long as nothing else holds it. What
people mostly do is weak knowledge, but it does not drift.

It is told every tenth of a second, and a pose lasts: the variances are so much
larger than those of a single look. What is far from usual is taken for the truth
rather than pulled back, by the weights of a Student-t.

Source of a pose prior with a Student-t: ``fusion.filter.start_prior``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from fusion.body.kinematics import BALL, TABLES, BodyTables, point_jacobian, rotation_jacobian
from fusion.body.skeleton import SEGMENT
from fusion.filter.measurements.motion import turn_of
from fusion.filter.motion_table import POSE_STD, REST
from fusion.filter.state import FLOOR_COLUMN, LENGTH_COLUMN, State
from fusion.filter.system import Body, System, add_feature, add_observation
from fusion.maths.kernels import conjugated, exponential, logarithm, multiplied, rotated
from fusion.records import Float64


@dataclass(frozen=True, slots=True)
class UsualParams:
    """How usual people are taken to be."""

    interval_s: float = 0.1
    """It is told no more often than this."""
    lasting: float = 4.0
    """Variances are so many times larger than the spread, as what is told at one time is told again at the next."""
    lean_rad: tuple[float, float] = (math.radians(14.0), math.radians(0.0))
    """Usual angle of the middle of the trunk against the vertical: forward, to the right."""
    lean_sigma_rad: tuple[float, float] = (math.radians(22.0), math.radians(9.0))
    """Spread of it."""
    foot_sigma_m: float = 0.05
    """Spread of the lower foot's height above the floor."""
    scale_share: float = 0.05
    """Standard deviation of a body's size, as a share: the place along the ray is known no better than this."""


class Usual(NamedTuple):
    """``UsualParams`` and the usual pose as the kernel takes them."""

    rest: Float64
    """[44]."""
    variance: Float64
    """[44] rad^2 around it; infinite where nothing is usual."""
    lasting: float
    lean: Float64
    """[2]."""
    lean_variance: Float64
    """[2]."""
    foot_variance: float
    trunk: int
    """Segment in the middle of the trunk."""
    toes: tuple[int, int]


@lru_cache(maxsize=8)
def make_usual(params: UsualParams) -> Usual:
    """Arrays of what is usual."""
    return Usual(
        REST,
        POSE_STD**2,
        params.lasting,
        np.array(params.lean_rad),
        np.array(params.lean_sigma_rad) ** 2,
        params.foot_sigma_m**2,
        SEGMENT["t12"],
        (SEGMENT["left_toe"], SEGMENT["right_toe"]),
    )


_NU = 4.0
"""Degrees of freedom of the Student-t."""
_LEAST_LEVEL = 0.05
"""Squared sine of the angle between the trunk's left and the vertical, below which derivatives grow no more."""


@njit(cache=True)
def _tell(system: System, variance: float, lasting: float) -> None:
    """Weigh the newest observation, of one component, whose residual is there."""
    o = system.filled[1] - 1
    squared = system.residual[o, 0] ** 2 / variance
    system.variance[o, 0] = lasting * variance * (_NU + squared) / (_NU + 1.0)
    system.robust[o] = 0


@njit(cache=True)
def _pose_rows(tables: BodyTables, nominal: Float64, usual: Usual, system: System) -> None:
    for s in range(tables.parent.shape[0]):
        first, count = tables.first[s], tables.freedoms[s]
        if count == 0 or not math.isfinite(usual.variance[first]):
            continue
        if tables.freedom[s] == BALL:
            away = logarithm(
                multiplied(
                    conjugated(exponential(nominal[first], nominal[first + 1], nominal[first + 2])),
                    exponential(usual.rest[first], usual.rest[first + 1], usual.rest[first + 2]),
                )
            )
        else:
            away = (0.0, 0.0, 0.0)
        for k in range(count):
            f = add_feature(system, 1)
            o = add_observation(system, f, 1, 0)
            if o < 0:
                return
            system.jacobian[f, 0, first + k] = 1.0
            ball = tables.freedom[s] == BALL
            system.residual[o, 0] = away[k] if ball else usual.rest[first + k] - nominal[first + k]
            _tell(system, usual.variance[first + k], usual.lasting)


@njit(cache=True)
def _lean_rows(tables: BodyTables, body: Body, usual: Usual, system: System) -> None:
    q = turn_of(body.quaternions, usual.trunk)
    up = rotated(conjugated(q), (0.0, 0.0, 1.0))
    forward, sideways = math.atan2(-up[0], up[2]), math.asin(min(max(up[1], -1.0), 1.0))
    residuals = (usual.lean[1] - sideways, usual.lean[0] - forward)
    spread = (usual.lean_variance[1], usual.lean_variance[0])
    # Derivatives by a turn about the trunk's own axes; who lies on a side has no forward.
    level = max(up[0] * up[0] + up[2] * up[2], _LEAST_LEVEL)
    by_sideways = (up[2] / math.sqrt(level), 0.0, -up[0] / math.sqrt(level))
    by_forward = (-up[0] * up[1] / level, 1.0, -up[1] * up[2] / level)
    rows = (rotated(q, by_sideways), rotated(q, by_forward))
    for k in range(2):
        f = add_feature(system, 3)
        o = add_observation(system, f, 1, 0)
        if o < 0:
            return
        rotation_jacobian(tables, body.axes_world, usual.trunk, system.jacobian[f])
        for i in range(3):
            system.h[o, 0, i] = rows[k][i]
        system.residual[o, 0] = residuals[k]
        _tell(system, spread[k], usual.lasting)


@njit(cache=True)
def _foot_row(tables: BodyTables, body: Body, nominal: Float64, usual: Usual, system: System) -> None:
    left, right = usual.toes
    toe = left if body.positions[left, 2] <= body.positions[right, 2] else right
    f = add_feature(system, 3)
    o = add_observation(system, f, 1, 0)
    if o < 0:
        return
    jacobian = system.jacobian[f]
    point_jacobian(
        tables,
        body.lengths_m,
        body.positions,
        body.quaternions,
        body.axes_world,
        toe,
        body.positions[toe],
        jacobian,
        LENGTH_COLUMN,
    )
    jacobian[2, FLOOR_COLUMN] = -1.0
    for i in range(3):
        system.h[o, 0, i] = 1.0 if i == 2 else 0.0
    system.residual[o, 0] = nominal[FLOOR_COLUMN] - body.positions[toe, 2]
    _tell(system, usual.foot_variance, usual.lasting)


@njit(cache=True)
def usual_rows(tables: BodyTables, body: Body, nominal: Float64, usual: Usual, system: System) -> None:
    """Append what is usual, as knowledge: each coordinate, the trunk's lean, the height of the lower foot.

    Args:
        tables: the skeleton.
        body: kinematics at ``nominal``.
        nominal: [n].
        usual: see there.
        system: appended to.
    """
    _pose_rows(tables, nominal, usual, system)
    _lean_rows(tables, body, usual, system)
    _foot_row(tables, body, nominal, usual, system)


@dataclass(frozen=True, slots=True, eq=False)
class UsualPose:
    """What is usual at a time."""

    time_ns: int
    centre_m: Float64
    """[3] where the camera stands."""
    params: UsualParams
    source: str = "usual"

    @property
    def linear(self) -> bool:
        """See ``Measurement``."""
        return True

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """See ``Measurement``. The pelvis first becomes as unsure along the camera's ray as a body's size is."""
        if np.array_equal(nominal, state.nominal):
            self._widen(state)
        usual_rows(TABLES, body, nominal, make_usual(self.params), system)

    def _widen(self, state: State) -> None:
        """Lengths are held while one camera alone is there; what that hides is an error of the place."""
        away = state.coordinates[:3] - self.centre_m
        distance = float(np.linalg.norm(away))
        ray = away / max(distance, 1e-6)
        missing = (self.params.scale_share * distance) ** 2 - float(ray @ state.covariance[:3, :3] @ ray)
        if missing > 0.0:
            state.covariance[:3, :3] += missing * np.outer(ray, ray)

    def learn(self, state: State, system: System) -> None:
        """Nothing is remembered."""
