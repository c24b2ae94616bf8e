"""Quaternions wxyz, Hamilton, broadcasting over leading axes. Plain numpy.

``q_a_from_b`` turns a vector's coordinates in b into those in a, so names
cancel: ``q_a_from_c = multiply(q_a_from_b, q_b_from_c)``.

Source of the conventions: Sola, "Quaternion kinematics for the error-state
Kalman filter", arXiv 1711.02508, eqs. 1-27, 101, 214.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fusion.records import Float64

IDENTITY: Float64 = np.array([1.0, 0.0, 0.0, 0.0])
_TINY = 1e-8
"""Below this angle (rad) the series is exact to double precision."""


def _array(value: ArrayLike) -> Float64:
    return np.asarray(value, dtype=np.float64)


def multiply(q: ArrayLike, r: ArrayLike) -> Float64:
    """Product q r [..., 4]."""
    q, r = _array(q), _array(r)
    qw, qv = q[..., :1], q[..., 1:]
    rw, rv = r[..., :1], r[..., 1:]
    scalar = qw * rw - (qv * rv).sum(-1, keepdims=True)
    return np.concatenate([scalar, qw * rv + rw * qv + np.cross(qv, rv)], axis=-1)


def conjugate(q: ArrayLike) -> Float64:
    """Inverse of unit quaternions [..., 4]."""
    return np.asarray(_array(q) * np.array([1.0, -1.0, -1.0, -1.0]))


def normalize(q: ArrayLike) -> Float64:
    """Unit quaternions [..., 4]."""
    q = _array(q)
    return np.asarray(q / np.linalg.norm(q, axis=-1, keepdims=True))


def rotate(q: ArrayLike, v: ArrayLike) -> Float64:
    """Vectors v [..., 3] turned by unit quaternions q [..., 4]."""
    q, v = _array(q), _array(v)
    t = 2.0 * np.cross(q[..., 1:], v)
    return np.asarray(v + q[..., :1] * t + np.cross(q[..., 1:], t))


def from_rotvec(rotvec: ArrayLike) -> Float64:
    """Exponential map: rotation vectors [..., 3] in rad to quaternions [..., 4]."""
    rotvec = _array(rotvec)
    half = 0.5 * np.linalg.norm(rotvec, axis=-1, keepdims=True)
    # sin(x)/x by np.sinc, which is exact at 0.
    return np.concatenate([np.cos(half), 0.5 * rotvec * np.sinc(half / np.pi)], axis=-1)


def to_rotvec(q: ArrayLike) -> Float64:
    """Logarithm: the shorter rotation vector [..., 3] in rad, norm in 0..pi."""
    q = _array(q)
    q = np.where(q[..., :1] < 0.0, -q, q)
    norm = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(norm, q[..., :1])
    scale = np.where(norm > _TINY, angle / np.where(norm > _TINY, norm, 1.0), 2.0)
    return q[..., 1:] * scale


def to_matrix(q: ArrayLike) -> Float64:
    """Rotation matrices [..., 3, 3] of unit quaternions."""
    q = _array(q)
    columns = [rotate(q, np.broadcast_to(axis, (*q.shape[:-1], 3))) for axis in np.eye(3)]
    return np.stack(columns, axis=-1)


def from_matrix(matrix: ArrayLike) -> Float64:
    """Quaternions [..., 4], w >= 0, of rotation matrices [..., 3, 3].

    Source: Shepperd, "Quaternion from rotation matrix", J. Guidance and Control
    1(3), 1978: the best conditioned of four candidates.
    """
    m = _array(matrix)
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squares = np.stack([1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], -1)
    x, y, z = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    candidates = np.stack(
        [
            np.stack([squares[..., 0], x, y, z], -1),
            np.stack([x, squares[..., 1], xy, xz], -1),
            np.stack([y, xy, squares[..., 2], yz], -1),
            np.stack([z, xz, yz, squares[..., 3]], -1),
        ],
        axis=-2,
    )
    best = np.argmax(squares, axis=-1)
    q = normalize(np.take_along_axis(candidates, best[..., None, None], axis=-2)[..., 0, :])
    return np.where(q[..., :1] < 0.0, -q, q)


def slerp(q: ArrayLike, r: ArrayLike, t: ArrayLike) -> Float64:
    """From q (t = 0) to r (t = 1) along the shorter arc; t broadcasts with a trailing axis."""
    q = _array(q)
    step = to_rotvec(multiply(conjugate(q), r))
    return multiply(q, from_rotvec(_array(t)[..., None] * step))


def angle_between(q: ArrayLike, r: ArrayLike) -> Float64:
    """Geodesic angle [...] in rad, 0..pi."""
    return np.asarray(np.linalg.norm(to_rotvec(multiply(conjugate(q), r)), axis=-1))
