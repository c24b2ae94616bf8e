"""Points in the world from pixels in several views, robustly.

Weighted linear triangulation (Hartley and Zisserman, "Multiple View Geometry",
2nd ed., 12.2, in normalised coordinates) inside a consensus over pairs of views:
every pair proposes a point, the proposal with the smallest robust cost over all
views wins, and the point is solved again from the views that agree. The cost is
quadratic in views (pairs), never exponential (subsets).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusion.maths.camera import project, undistort
from fusion.records import Bool, Float64
from fusion.rig import Camera


@dataclass(frozen=True, slots=True)
class TriangulationParams:
    """What agreement between views means."""

    inlier_px: float = 30.0
    """A view agrees with a point that reprojects within this distance."""
    min_parallax_rad: float = 0.03
    """Pairs of rays that are more nearly parallel propose nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Triangulated:
    """Points from several views."""

    points_m: Float64
    """[K, 3] world; NaN where fewer than two views agree."""
    errors_px: Float64
    """[K] root mean square reprojection error of the views that agree."""
    sigmas_m: Float64
    """[K] standard deviation per pixel of noise, worst axis, times the error (at least 1 px)."""
    inliers: Bool
    """[C, K] which views agree."""


def _rays(pixels: Float64, camera: Camera) -> Float64:
    """Unit viewing directions [K, 3] in the world."""
    normalised = undistort(pixels, camera)
    rays = np.concatenate([normalised, np.ones((len(pixels), 1))], axis=1) @ camera.r_camera_from_world
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def _nearest_point(centres: Float64, rays: Float64, weights: Float64) -> Float64:
    """Points [K, 3] nearest to weighted rays: centres [C, 3], rays [C, K, 3], weights [C, K]; NaN where singular."""
    away = np.eye(3) - rays[..., :, None] * rays[..., None, :]
    away = np.where(weights[..., None, None] > 0.0, away * weights[..., None, None], 0.0)
    normal = away.sum(0)
    right = (away @ centres[:, None, :, None]).sum(0)[..., 0]
    points = np.full((rays.shape[1], 3), np.nan)
    good = np.linalg.det(normal) > 1e-12
    points[good] = np.linalg.solve(normal[good], right[good][..., None])[..., 0]
    return points


def triangulate(
    cameras: Sequence[Camera], pixels: Float64, weights: Float64, params: TriangulationParams | None = None
) -> Triangulated:
    """Triangulate K landmarks from C views of one person.

    Args:
        cameras: C cameras.
        pixels: [C, K, 2] distorted; NaN where not seen.
        weights: [C, K] detector scores, 0 where not to be used.
        params: thresholds.

    Returns:
        Points with their errors; NaN where no two views agree.
    """
    params = params or TriangulationParams()
    views, landmarks = pixels.shape[:2]
    centres = np.stack([camera.centre_world_m for camera in cameras])
    rays = np.stack([_rays(pixels[c], cameras[c]) for c in range(views)])
    usable = np.isfinite(rays).all(-1) & (weights > 0.0)
    weights = np.where(usable, weights, 0.0)
    rays = np.where(usable[..., None], rays, 0.0)

    def errors(points: Float64) -> Float64:
        out = np.full((views, landmarks), np.inf)
        for c, camera in enumerate(cameras):
            seen, _ = project(points, camera)
            distance = np.linalg.norm(seen - pixels[c], axis=1)
            out[c] = np.where(usable[c] & np.isfinite(distance), distance, np.inf)
        return out

    best_cost = np.full(landmarks, np.inf)
    best_errors = np.full((views, landmarks), np.inf)
    limit = params.inlier_px
    for a, b in itertools.combinations(range(views), 2):
        parallax = np.arccos(np.clip((rays[a] * rays[b]).sum(-1), -1.0, 1.0))
        pair = np.zeros_like(weights)
        pair[[a, b]] = weights[[a, b]]
        pair *= usable[a] & usable[b] & (np.sin(parallax) > np.sin(params.min_parallax_rad))
        proposal_errors = errors(_nearest_point(centres, rays, pair))
        cost = (weights * np.minimum(proposal_errors, limit) ** 2).sum(0)
        cost[~(pair.sum(0) > 0.0)] = np.inf
        better = cost < best_cost
        best_cost = np.where(better, cost, best_cost)
        best_errors[:, better] = proposal_errors[:, better]

    inliers = best_errors < limit
    points = _nearest_point(centres, rays, np.where(inliers, weights, 0.0))
    final = errors(points)
    inliers &= final < limit
    enough = inliers.sum(0) >= 2
    points[~enough] = np.nan
    inliers &= enough
    squares = np.where(inliers, final, 0.0) ** 2
    rms = np.sqrt(squares.sum(0) / np.maximum(inliers.sum(0), 1))
    rms[~enough] = np.nan
    return Triangulated(points, rms, _sigmas(cameras, centres, rays, points, rms, inliers), inliers)


def _sigmas(
    cameras: Sequence[Camera], centres: Float64, rays: Float64, points: Float64, rms_px: Float64, inliers: Bool
) -> Float64:
    """Worst-axis standard deviation [K] in m: inverse of the summed information of the views that agree."""
    focal = np.array([camera.matrix[0, 0] for camera in cameras])
    distance = np.linalg.norm(points[None] - centres[:, None], axis=-1)
    across = np.eye(3) - rays[..., :, None] * rays[..., None, :]
    information = np.where(
        inliers[..., None, None], across * ((focal[:, None] / np.maximum(distance, 0.1)) ** 2)[..., None, None], 0.0
    ).sum(0)
    sigmas = np.full(len(points), np.nan)
    good = np.isfinite(points).all(1)
    if good.any():
        weakest = np.linalg.eigvalsh(information[good])[:, 0]
        sigmas[good] = np.maximum(rms_px[good], 1.0) / np.sqrt(np.maximum(weakest, 1e-9))
    return sigmas
