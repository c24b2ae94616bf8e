"""From what six sensors say to what the network takes in, and from what it tells to rotations.

One kernel makes the features of one frame; synthetic and real frames go through the same one.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fusion.estimators.inertial.layout import ACCELERATION_SCALE, FEATURES, LEAF_SIZE, RATE_SCALE, ROOT_SIZE, SITES
from fusion.maths.kernels import conjugated, multiplied, rotated
from fusion.records import Array, Float32, Float64

_SMALLEST = 1e-9


@njit(cache=True)
def frame_features(q: Float64, acceleration: Float64, rate: Float64, out: Float32) -> None:
    """The features of one frame.

    Turning everything about the vertical changes nothing.

    Args:
        q: [6, 4] ``q_world_from_segment`` of the sites, z up.
        acceleration: [6, 3] free acceleration of the sensors in the same world, m/s^2.
        rate: [3] angular rate of the root in its own axes, rad/s.
        out: [69] written; see ``layout.site_columns``.
    """
    inverse = conjugated((q[0, 0], q[0, 1], q[0, 2], q[0, 3]))
    root = (acceleration[0, 0], acceleration[0, 1], acceleration[0, 2])
    up = rotated(inverse, (0.0, 0.0, 1.0))
    seen = rotated(inverse, root)
    for i in range(3):
        out[i] = up[i]
        out[3 + i] = ACCELERATION_SCALE * seen[i]
        out[6 + i] = RATE_SCALE * rate[i]
    for site in range(1, q.shape[0]):
        first = ROOT_SIZE + LEAF_SIZE * (site - 1)
        w, x, y, z = multiplied(inverse, (q[site, 0], q[site, 1], q[site, 2], q[site, 3]))
        out[first] = 1.0 - 2.0 * (y * y + z * z)
        out[first + 1] = 2.0 * (x * y - w * z)
        out[first + 2] = 2.0 * (x * z + w * y)
        out[first + 3] = 2.0 * (x * y + w * z)
        out[first + 4] = 1.0 - 2.0 * (x * x + z * z)
        out[first + 5] = 2.0 * (y * z - w * x)
        out[first + 6] = 2.0 * (x * z - w * y)
        out[first + 7] = 2.0 * (y * z + w * x)
        out[first + 8] = 1.0 - 2.0 * (x * x + y * y)
        beside = (
            acceleration[site, 0] - root[0],
            acceleration[site, 1] - root[1],
            acceleration[site, 2] - root[2],
        )
        seen = rotated(inverse, beside)
        for i in range(3):
            out[first + 9 + i] = ACCELERATION_SCALE * seen[i]


@njit(cache=True)
def _batch(q: Float64, acceleration: Float64, rate: Float64, out: Float32) -> None:
    for t in range(q.shape[0]):
        frame_features(q[t], acceleration[t], rate[t], out[t])


def features_of(q: Float64, acceleration: Float64, rate: Float64) -> Float32:
    """The features [T, 69] of T frames; arguments as in ``frame_features`` with a leading T.

    Raises:
        ValueError: an array has another shape.
    """
    frames = len(q)
    for name, array, shape in (
        ("q", q, (frames, len(SITES), 4)),
        ("acceleration", acceleration, (frames, len(SITES), 3)),
        ("rate", rate, (frames, 3)),
    ):
        if np.shape(array) != shape:
            raise ValueError(f"{name} has shape {np.shape(array)}, expected {shape}")
    out = np.empty((frames, FEATURES), dtype=np.float32)
    _batch(
        np.ascontiguousarray(q, dtype=np.float64),
        np.ascontiguousarray(acceleration, dtype=np.float64),
        np.ascontiguousarray(rate, dtype=np.float64),
        out,
    )
    return out


def six_of(rotations: Array) -> Array:
    """The first two columns, one after the other [..., 6], of rotation matrices [..., 3, 3].

    Source: Zhou et al., "On the continuity of rotation representations in neural networks", CVPR 2019, eq. 15.
    """
    return np.concatenate([rotations[..., :, 0], rotations[..., :, 1]], axis=-1)


@njit(cache=True)
def quaternions_of_six(six: Array, out: Float64) -> None:
    """Rotations [K, 4] wxyz, written to ``out``, of columns [K, 6] made orthonormal; NaN where they span no plane.

    Source: Zhou et al., CVPR 2019, eq. 16 (Gram-Schmidt).
    """
    for k in range(six.shape[0]):
        ax, ay, az = float(six[k, 0]), float(six[k, 1]), float(six[k, 2])
        bx, by, bz = float(six[k, 3]), float(six[k, 4]), float(six[k, 5])
        first = math.sqrt(ax * ax + ay * ay + az * az)
        if not first > _SMALLEST:
            out[k] = math.nan
            continue
        ax, ay, az = ax / first, ay / first, az / first
        along = ax * bx + ay * by + az * bz
        bx, by, bz = bx - along * ax, by - along * ay, bz - along * az
        second = math.sqrt(bx * bx + by * by + bz * bz)
        if not second > _SMALLEST:
            out[k] = math.nan
            continue
        bx, by, bz = bx / second, by / second, bz / second
        cx, cy, cz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        _quaternion_of_columns(ax, ay, az, bx, by, bz, cx, cy, cz, out[k])


@njit(cache=True)
def _quaternion_of_columns(
    ax: float, ay: float, az: float, bx: float, by: float, bz: float, cx: float, cy: float, cz: float, out: Float64
) -> None:
    """Quaternion, w >= 0, of the matrix with columns a, b, c, by its largest component.

    Source: Shepperd, "Quaternion from rotation matrix", J. Guidance and Control 1(3), 1978.
    """
    w, x, y, z = ax + by + cz, ax - by - cz, by - ax - cz, cz - ax - by
    if w >= x and w >= y and w >= z:
        w = 1.0 + w
        x, y, z = bz - cy, cx - az, ay - bx
    elif x >= y and x >= z:
        x = 1.0 + x
        w, y, z = bz - cy, ay + bx, cx + az
    elif y >= z:
        y = 1.0 + y
        w, x, z = cx - az, ay + bx, bz + cy
    else:
        z = 1.0 + z
        w, x, y = ay - bx, cx + az, bz + cy
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    if w < 0.0:
        norm = -norm
    out[0], out[1], out[2], out[3] = w / norm, x / norm, y / norm, z / norm
