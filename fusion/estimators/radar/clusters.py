"""Groups among the points of one radar frame: DBSCAN with the sensor's own scales.

Source: Ester, Kriegel, Sander & Xu, "A density-based algorithm for discovering
clusters in large spatial databases with noise", KDD 1996. Differs from it in the
distance: points are near each other across the line of sight as far as the
azimuth's noise allows at their range; height and radial velocity count little,
because one body has both head and feet, and arms that swing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion.records import Bool, Float64, Int64

NOISE = -1


@dataclass(frozen=True, slots=True)
class ClusterParams:
    """When two points are near each other."""

    along_m: float = 0.35
    """In the direction of sight, seen from above."""
    across_m: float = 0.30
    """Across it; to this comes"""
    across_rad: float = 0.07
    """the range times this, about what the noise of two azimuths makes of one place."""
    vertical_m: float = 1.0
    radial_velocity_m_s: float = 2.5
    min_neighbours: int = 3
    """A point with so many points near it, itself included, is inside a cluster."""


def cluster(points_m: Float64, rates_m_s: Float64, params: ClusterParams) -> Int64:
    """A label [N] for each point, 0 and up by cluster, -1 for those in none.

    Args:
        points_m: [N, 3] radar frame.
        rates_m_s: [N] radial velocities.
        params: scales.
    """
    near = neighbours(points_m, rates_m_s, params)
    inside = near.sum(axis=1) >= params.min_neighbours
    labels = _connected(near & inside[:, None] & inside[None, :], inside)
    for border in np.flatnonzero(~inside):
        reached = labels[near[border] & inside]
        if len(reached):
            labels[border] = reached.min()
    return labels


def neighbours(points_m: Float64, rates_m_s: Float64, params: ClusterParams) -> Bool:
    """Whether two points are near each other, [N, N]; each is near itself."""
    distance = np.hypot(points_m[:, 0], points_m[:, 1])
    shift = points_m[:, None, :2] - points_m[None, :, :2]
    middle = points_m[:, None, :2] + points_m[None, :, :2]
    length = np.maximum(np.hypot(middle[..., 0], middle[..., 1]), 1e-9)
    along = (shift * middle).sum(axis=2) / length
    across = (shift[..., 0] * middle[..., 1] - shift[..., 1] * middle[..., 0]) / length
    reach = params.across_m + params.across_rad * 0.5 * (distance[:, None] + distance[None, :])
    square = (along / params.along_m) ** 2 + (across / reach) ** 2
    square += ((points_m[:, None, 2] - points_m[None, :, 2]) / params.vertical_m) ** 2
    square += ((rates_m_s[:, None] - rates_m_s[None, :]) / params.radial_velocity_m_s) ** 2
    near: Bool = square <= 1.0
    return near


def _connected(edges: Bool, inside: Bool) -> Int64:
    """Labels of the connected parts of a graph [N, N] among the nodes inside, in the order of their first node."""
    labels = np.full(len(inside), NOISE, dtype=np.int64)
    count = 0
    for seed in np.flatnonzero(inside):
        if labels[seed] != NOISE:
            continue
        part = np.zeros(len(inside), dtype=np.bool_)
        front = part.copy()
        front[seed] = True
        while front.any():
            part |= front
            front = edges[front].any(axis=0) & ~part
        labels[part] = count
        count += 1
    return labels
