"""A rotation as an observation: measured against predicted, by the rotation vector between them."""

from __future__ import annotations

import math

from numba import njit

from fusion.filter.system import System, add_observation
from fusion.maths.kernels import Quaternion, Vector, conjugated, logarithm, multiplied
from fusion.records import Float64

_SMALL_RAD = 1e-3
"""Below, the inverse Jacobian's coefficient comes from its series; its next term is below 1e-15."""


@njit(cache=True)
def inverse_right_jacobian_into(r: Vector, out: Float64) -> None:
    """out [3, 3] = inverse of the right Jacobian of SO(3) at the rotation vector r.

    Source: Sola, arXiv 1812.01537, eq. 144.
    """
    squared = r[0] * r[0] + r[1] * r[1] + r[2] * r[2]
    angle = math.sqrt(squared)
    c = 1.0 / 12.0 + squared / 720.0
    if angle >= _SMALL_RAD:
        # (1 + cos) / sin is the cotangent of half the angle, which is finite up to a half turn.
        c = (1.0 - 0.5 * angle / math.tan(0.5 * angle)) / squared
    for i in range(3):
        for j in range(3):
            out[i, j] = c * r[i] * r[j]
        out[i, i] += 1.0 - c * squared
    out[0, 1] -= 0.5 * r[2]
    out[1, 0] += 0.5 * r[2]
    out[0, 2] += 0.5 * r[1]
    out[2, 0] -= 0.5 * r[1]
    out[1, 2] -= 0.5 * r[0]
    out[2, 1] += 0.5 * r[0]


@njit(cache=True)
def observe_turn(
    system: System, feature: int, measured: Quaternion, predicted: Quaternion, variance: Vector, source: int
) -> None:
    """Add the residual log(measured predicted^-1), in the axes that both rotations turn into.

    The feature is the predicted rotation: its Jacobian is that of a left perturbation, in the same axes, and the
    residual falls by the inverse right Jacobian of itself times that. ``variance`` is per axis, rad^2.
    """
    o = add_observation(system, feature, 3, source)
    if o < 0:
        return
    residual = logarithm(multiplied(measured, conjugated(predicted)))
    inverse_right_jacobian_into(residual, system.h[o])
    for i in range(3):
        system.residual[o, i] = residual[i]
        system.variance[o, i] = variance[i]
