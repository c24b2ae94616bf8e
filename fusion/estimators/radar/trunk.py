"""The points around a predicted person, as one measurement of the trunk."""

from __future__ import annotations

import numpy as np

from fusion.filter.measurements.radar import RadarParams, RadarTrunkMeasurement
from fusion.records import Float64, RadarPoints
from fusion.rig import RadarMount

_MIN_DISTANCE_M = 0.2


def trunk_measurement(
    record: RadarPoints, mount: RadarMount, trunk_m: Float64, params: RadarParams
) -> RadarTrunkMeasurement | None:
    """One person's share of a radar frame; None where too few points are near.

    Args:
        record: the frame.
        mount: where the radar is.
        trunk_m: [3] predicted trunk, world.
        params: reach and noise.
    """
    points = record.positions_m.astype(np.float64) @ mount.r_world_from_radar.T + mount.position_world_m
    near = np.linalg.norm(points[:, :2] - trunk_m[:2], axis=1) < params.reach_m
    near &= np.isfinite(record.radial_velocities_m_s)
    if near.sum() < params.min_points:
        return None
    centre = np.median(points[near], axis=0)
    away = centre - mount.position_world_m
    distance = float(np.linalg.norm(away))
    if distance < _MIN_DISTANCE_M:
        return None
    away /= distance
    right = np.cross(away, mount.r_world_from_radar[:, 2])
    right /= np.linalg.norm(right)
    return RadarTrunkMeasurement(
        time_ns=record.measured_ns,
        source=mount.name,
        position_m=centre + params.surface_m * away,
        directions=np.stack([away, right, np.cross(right, away)]),
        distance_m=distance,
        radial_velocity_m_s=float(np.median(record.radial_velocities_m_s[near])),
        params=params,
    )
