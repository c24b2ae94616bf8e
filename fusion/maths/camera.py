"""Pinhole projection with OpenCV distortion, its inverse and its Jacobian.

Source of the model: OpenCV, "Camera Calibration and 3D Reconstruction"
(calib3d): radial k1 k2 k3 and tangential p1 p2; the fisheye model is Kannala and
Brandt, "A generic camera model", TPAMI 28(8), 2006, eq. 6.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from fusion.records import Float64
from fusion.rig import Camera

NEAR_M = 0.05
"""Points nearer to the image plane than this have no usable projection."""

_UNDISTORT_STEPS = 50
_UNDISTORT_TOLERANCE = 1e-12
_LEAST_DETERMINANT = 1e-6
"""Newton's method stops short of where the distortion folds."""


class CameraArrays(NamedTuple):
    """A camera as the kernels take it."""

    rotation: Float64
    """[3, 3] camera from world."""
    translation: Float64
    """[3] m."""
    intrinsics: Float64
    """fx, skew, cx, fy, cy [5], px."""
    distortion: Float64
    """[5]."""
    fisheye: bool
    reach_squared: float
    """Largest x^2 + y^2 (undistorted, normalised) that the distortion model is good for; see ``_reach_squared``."""


def _reach_squared(distortion: Float64, fisheye: bool) -> float:
    """Where the radial polynomial first stops growing: beyond, it folds the scene back into the picture.

    A local test of the Jacobian is not enough, for a polynomial can turn twice
    and then grows again, with far points landing inside the picture.
    """
    k1, k2, third, fourth, k3 = distortion
    slope = [9.0 * fourth, 7.0 * third, 5.0 * k2, 3.0 * k1, 1.0] if fisheye else [7.0 * k3, 5.0 * k2, 3.0 * k1, 1.0]
    roots = np.roots(slope)
    turns = roots.real[(roots.imag == 0.0) & (roots.real > 0.0)]
    if not turns.size:
        return math.inf
    first = float(turns.min())
    if not fisheye:
        return first
    angle = math.sqrt(first)
    return math.tan(angle) ** 2 if angle < 0.5 * math.pi else math.inf


@lru_cache(maxsize=64)
def camera_arrays(camera: Camera) -> CameraArrays:
    """Arrays of a camera for the kernels; the same ones each time, not to be changed."""
    k = camera.matrix
    return CameraArrays(
        rotation=np.ascontiguousarray(camera.r_camera_from_world),
        translation=np.ascontiguousarray(camera.t_camera_from_world_m),
        intrinsics=np.array([k[0, 0], k[0, 1], k[0, 2], k[1, 1], k[1, 2]]),
        distortion=np.ascontiguousarray(camera.distortion),
        fisheye=camera.fisheye,
        reach_squared=_reach_squared(camera.distortion, camera.fisheye),
    )


@njit(cache=True)
def distort(distortion: Float64, fisheye: bool, x: float, y: float) -> tuple[float, float, float, float, float, float]:
    """Distorted normalised coordinates and their Jacobian.

    Args:
        distortion: [5].
        fisheye: which model.
        x: undistorted normalised x (X/Z).
        y: undistorted normalised y.

    Returns:
        xd, yd, dxd/dx, dxd/dy, dyd/dx, dyd/dy.
    """
    r2 = x * x + y * y
    if fisheye:
        r = math.sqrt(r2)
        if r < 1e-9:
            return x, y, 1.0, 0.0, 0.0, 1.0
        angle = math.atan(r)
        a2 = angle * angle
        k1, k2, k3, k4 = distortion[0], distortion[1], distortion[2], distortion[3]
        bent = angle * (1.0 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
        slope = 1.0 + a2 * (3.0 * k1 + a2 * (5.0 * k2 + a2 * (7.0 * k3 + a2 * 9.0 * k4)))
        scale = bent / r
        # d(scale)/dr / r, so that the Jacobian is scale*I + s*[x y]^T[x y].
        s = (slope / (1.0 + r2) - scale) / r2
        return scale * x, scale * y, scale + s * x * x, s * x * y, s * x * y, scale + s * y * y
    k1, k2, p1, p2, k3 = distortion[0], distortion[1], distortion[2], distortion[3], distortion[4]
    radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = 2.0 * (k1 + r2 * (2.0 * k2 + r2 * 3.0 * k3))
    cross = slope * x * y + 2.0 * p1 * x + 2.0 * p2 * y
    return (
        x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x),
        y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y,
        radial + slope * x * x + 2.0 * p1 * y + 6.0 * p2 * x,
        cross,
        cross,
        radial + slope * y * y + 6.0 * p1 * y + 2.0 * p2 * x,
    )


@njit(cache=True)
def project_point(camera: CameraArrays, point: Float64, pixel: Float64, jacobian: Float64) -> float:
    """Project one world point.

    Args:
        camera: arrays of the camera.
        point: [3] world, m.
        pixel: out [2] distorted pixel.
        jacobian: out [2, 3] d pixel / d point, px/m.

    Returns:
        Depth along the optical axis in m; where it is below ``NEAR_M``, where the
        distortion model folds back on itself, or where the point is not finite, -1 and
        the outputs mean nothing.
    """
    r = camera.rotation
    x = r[0, 0] * point[0] + r[0, 1] * point[1] + r[0, 2] * point[2] + camera.translation[0]
    y = r[1, 0] * point[0] + r[1, 1] * point[1] + r[1, 2] * point[2] + camera.translation[1]
    z = r[2, 0] * point[0] + r[2, 1] * point[1] + r[2, 2] * point[2] + camera.translation[2]
    # Conditions are written so that NaN fails them.
    if not (z >= NEAR_M and z < math.inf):
        return -1.0
    u, v = x / z, y / z
    # Far off the axis a fitted polynomial turns round: a point there would land inside the picture.
    if not u * u + v * v < camera.reach_squared:
        return -1.0
    bent = distort(camera.distortion, camera.fisheye, u, v)
    if not (bent[2] * bent[5] - bent[3] * bent[4] > 0.0 and bent[2] > 0.0):
        return -1.0
    fx, skew, cx, fy, cy = camera.intrinsics
    pixel[0] = fx * bent[0] + skew * bent[1] + cx
    pixel[1] = fy * bent[1] + cy
    for i in range(3):
        du = (r[0, i] - u * r[2, i]) / z
        dv = (r[1, i] - v * r[2, i]) / z
        dx = bent[2] * du + bent[3] * dv
        dy = bent[4] * du + bent[5] * dv
        jacobian[0, i] = fx * dx + skew * dy
        jacobian[1, i] = fy * dy
    return float(z)


@njit(cache=True)
def _project_many(camera: CameraArrays, points: Float64, pixels: Float64, depths: Float64) -> None:
    jacobian = np.empty((2, 3))
    for n in range(points.shape[0]):
        depths[n] = project_point(camera, points[n], pixels[n], jacobian)
        if not depths[n] > 0.0:
            pixels[n, 0] = np.nan
            pixels[n, 1] = np.nan


def project(points_world_m: Float64, camera: Camera) -> tuple[Float64, Float64]:
    """Project world points.

    Args:
        points_world_m: [N, 3].
        camera: the camera.

    Returns:
        Distorted pixels [N, 2] (NaN behind or beside the camera) and depths [N] in m.
    """
    return project_points(points_world_m, camera_arrays(camera))


def project_points(points_world_m: Float64, camera: CameraArrays) -> tuple[Float64, Float64]:
    """``project`` with a camera's arrays at hand, which are worth keeping: they take longer than the points."""
    points = np.ascontiguousarray(points_world_m, dtype=np.float64)
    pixels, depths = np.empty((len(points), 2)), np.empty(len(points))
    _project_many(camera, points, pixels, depths)
    return pixels, depths


@njit(cache=True)
def _undistort_many(camera: CameraArrays, pixels: Float64, out: Float64) -> None:
    fx, skew, cx, fy, cy = camera.intrinsics
    for n in range(pixels.shape[0]):
        yd = (pixels[n, 1] - cy) / fy
        xd = (pixels[n, 0] - cx - skew * yd) / fx
        x, y = xd, yd
        converged = False
        for _ in range(_UNDISTORT_STEPS):
            bent = distort(camera.distortion, camera.fisheye, x, y)
            ex, ey = xd - bent[0], yd - bent[1]
            determinant = bent[2] * bent[5] - bent[3] * bent[4]
            if not determinant > _LEAST_DETERMINANT:
                break
            x += (bent[5] * ex - bent[3] * ey) / determinant
            y += (bent[2] * ey - bent[4] * ex) / determinant
            if ex * ex + ey * ey < _UNDISTORT_TOLERANCE**2:
                converged = True
                break
        found = converged and x * x + y * y < camera.reach_squared
        out[n, 0] = x if found else np.nan
        out[n, 1] = y if found else np.nan


def undistort(pixels: Float64, camera: Camera) -> Float64:
    """Normalised image coordinates (X/Z, Y/Z) [N, 2] of distorted pixels [N, 2], by Newton's method.

    NaN pixels, and pixels that no point projects to, give NaN.
    """
    pixels = np.ascontiguousarray(pixels, dtype=np.float64)
    out = np.empty_like(pixels)
    _undistort_many(camera_arrays(camera), pixels, out)
    return out
