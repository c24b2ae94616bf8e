"""The points around a predicted person, as one measurement of the trunk."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fusion.records import Float64, RadarPoints
from fusion.rig import RadarMount

_MIN_DISTANCE_M = 0.2


class TrunkCluster(NamedTuple):
    """Where one person's points put the trunk."""

    position_m: Float64
    """[3] world: the middle of the cluster, moved behind its surface."""
    directions: Float64
    """[3, 3] rows: away from the radar, to its right across, upwards across; world."""
    distance_m: float
    """From the radar to the cluster."""
    radial_velocity_m_s: float
    """+ is receding."""


def trunk_cluster(
    record: RadarPoints, mount: RadarMount, trunk_m: Float64, *, reach_m: float, min_points: int, surface_m: float
) -> TrunkCluster | None:
    """One person's share of a radar frame; None where too few points are near.

    Args:
        record: the frame.
        mount: where the radar is.
        trunk_m: [3] predicted trunk, world.
        reach_m: points farther from the predicted trunk, seen from above, are not this person's.
        min_points: fewer points than this say nothing.
        surface_m: how much nearer the reflecting surface is than the trunk's middle.
    """
    told = np.isfinite(record.positions_m).all(1) & np.isfinite(record.radial_velocities_m_s)
    velocities = record.radial_velocities_m_s[told].astype(np.float64)
    points = record.positions_m[told].astype(np.float64) @ mount.r_world_from_radar.T + mount.position_world_m
    near = np.linalg.norm(points[:, :2] - trunk_m[:2], axis=1) < reach_m
    if near.sum() < min_points:
        return None
    centre = np.median(points[near], axis=0)
    away = centre - mount.position_world_m
    distance = float(np.linalg.norm(away))
    if distance < _MIN_DISTANCE_M:
        return None
    away /= distance
    right = np.cross(away, mount.r_world_from_radar[:, 2])
    right /= np.linalg.norm(right)
    return TrunkCluster(
        position_m=centre + surface_m * away,
        directions=np.stack([away, right, np.cross(right, away)]),
        distance_m=distance,
        radial_velocity_m_s=float(np.median(velocities[near])),
    )
