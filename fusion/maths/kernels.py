"""Rotation kernels for numba: one rotation a call, no allocation.

Those that end in ``_into`` write into their last argument ``out``, which must
not be an input; the others take and return plain numbers, which stay in
registers. The plain-numpy counterpart of each is in ``fusion.maths.quaternion``;
the tests hold the two together.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fusion.records import Float64

_SMALL = 1e-4
"""Angle (rad) below which Taylor series are used; their next term is < 1e-17."""


Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


@njit(cache=True)
def multiplied(q: Quaternion, r: Quaternion) -> Quaternion:
    """q r, quaternions wxyz."""
    return (
        q[0] * r[0] - q[1] * r[1] - q[2] * r[2] - q[3] * r[3],
        q[0] * r[1] + q[1] * r[0] + q[2] * r[3] - q[3] * r[2],
        q[0] * r[2] - q[1] * r[3] + q[2] * r[0] + q[3] * r[1],
        q[0] * r[3] + q[1] * r[2] - q[2] * r[1] + q[3] * r[0],
    )


@njit(cache=True)
def conjugated(q: Quaternion) -> Quaternion:
    """The inverse of the unit quaternion q."""
    return q[0], -q[1], -q[2], -q[3]


@njit(cache=True)
def rotated(q: Quaternion, v: Vector) -> Vector:
    """v turned by the unit quaternion q."""
    tx = 2.0 * (q[2] * v[2] - q[3] * v[1])
    ty = 2.0 * (q[3] * v[0] - q[1] * v[2])
    tz = 2.0 * (q[1] * v[1] - q[2] * v[0])
    return (
        v[0] + q[0] * tx + q[2] * tz - q[3] * ty,
        v[1] + q[0] * ty + q[3] * tx - q[1] * tz,
        v[2] + q[0] * tz + q[1] * ty - q[2] * tx,
    )


@njit(cache=True)
def crossed(a: Vector, b: Vector) -> Vector:
    """a x b."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@njit(cache=True)
def exponential(x: float, y: float, z: float) -> Quaternion:
    """Quaternion of the rotation vector (x, y, z) in rad."""
    squared = x * x + y * y + z * z
    angle = math.sqrt(squared)
    if angle < _SMALL:
        scale = 0.5 - squared / 48.0
        return 1.0 - squared / 8.0, scale * x, scale * y, scale * z
    scale = math.sin(0.5 * angle) / angle
    return math.cos(0.5 * angle), scale * x, scale * y, scale * z


@njit(cache=True)
def logarithm(q: Quaternion) -> Vector:
    """Shorter rotation vector of the unit quaternion q, rad."""
    sign = 1.0 if q[0] >= 0.0 else -1.0
    norm = math.sqrt(q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    if norm < _SMALL:
        w = sign * q[0]
        scale = 2.0 / w * (1.0 - norm * norm / (3.0 * w * w))
    else:
        scale = 2.0 * math.atan2(norm, sign * q[0]) / norm
    return sign * scale * q[1], sign * scale * q[2], sign * scale * q[3]


@njit(cache=True)
def multiply_into(q: Float64, r: Float64, out: Float64) -> None:
    """out = q r, quaternions wxyz."""
    out[0], out[1], out[2], out[3] = multiplied((q[0], q[1], q[2], q[3]), (r[0], r[1], r[2], r[3]))


@njit(cache=True)
def rotate_into(q: Float64, v: Float64, out: Float64) -> None:
    """out = v turned by the unit quaternion q."""
    out[0], out[1], out[2] = rotated((q[0], q[1], q[2], q[3]), (v[0], v[1], v[2]))


@njit(cache=True)
def exp_into(x: float, y: float, z: float, out: Float64) -> None:
    """out = quaternion of the rotation vector (x, y, z) in rad."""
    out[0], out[1], out[2], out[3] = exponential(x, y, z)


@njit(cache=True)
def log_into(q: Float64, out: Float64) -> None:
    """out = shorter rotation vector of the unit quaternion q, rad."""
    out[0], out[1], out[2] = logarithm((q[0], q[1], q[2], q[3]))


@njit(cache=True)
def normalize_inplace(q: Float64) -> None:
    """Scale q to unit norm."""
    norm = math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    for i in range(4):
        q[i] /= norm


@njit(cache=True)
def jacobian_coefficients(angle: float) -> tuple[float, float]:
    """(1 - cos a)/a^2 and (a - sin a)/a^3, for the Jacobians of SO(3)."""
    if angle < _SMALL:
        return 0.5 - angle * angle / 24.0, 1.0 / 6.0 - angle * angle / 120.0
    squared = angle * angle
    return (1.0 - math.cos(angle)) / squared, (angle - math.sin(angle)) / (squared * angle)


@njit(cache=True)
def left_jacobian_into(x: float, y: float, z: float, sign: float, out: Float64) -> None:
    """out [3, 3] = left Jacobian of SO(3) at sign * (x, y, z); sign = -1 gives the right Jacobian at (x, y, z).

    Source: Sola, arXiv 1812.01537, eqs. 145 and 143.
    """
    a, b = jacobian_coefficients(math.sqrt(x * x + y * y + z * z))
    a *= sign
    out[0, 0] = 1.0 - b * (y * y + z * z)
    out[1, 1] = 1.0 - b * (x * x + z * z)
    out[2, 2] = 1.0 - b * (x * x + y * y)
    out[0, 1] = -a * z + b * x * y
    out[1, 0] = a * z + b * x * y
    out[0, 2] = a * y + b * x * z
    out[2, 0] = -a * y + b * x * z
    out[1, 2] = -a * x + b * y * z
    out[2, 1] = a * x + b * y * z


@njit(cache=True)
def matrix_of_rotvec_into(x: float, y: float, z: float, out: Float64) -> None:
    """out [3, 3] = rotation matrix of the rotation vector (x, y, z): Rodrigues' formula."""
    angle = math.sqrt(x * x + y * y + z * z)
    a, _ = jacobian_coefficients(angle)
    s = math.sin(angle) / angle if angle >= _SMALL else 1.0 - angle * angle / 6.0
    v = (x, y, z)
    for i in range(3):
        for j in range(3):
            out[i, j] = a * v[i] * v[j]
        out[i, i] += 1.0 - a * angle * angle
    out[0, 1] -= s * z
    out[1, 0] += s * z
    out[0, 2] += s * y
    out[2, 0] -= s * y
    out[1, 2] -= s * x
    out[2, 1] += s * x


def empty(*shape: int) -> Float64:
    """Uninitialised float64 array."""
    return np.empty(shape, dtype=np.float64)
