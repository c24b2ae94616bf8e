"""One person's share of a radar frame, as one measurement of the trunk.

The middle of the points is not the trunk: what moves along the line of sight
reflects, so the points gather on an arm that swings. Which parts do so is known
from how the person stands and moves, so the middle that is to be expected is
computed and taken off. On the MARS recordings the middle of the points follows
the expected one with a slope of 0.95 across and along and 1.07 up, and what is
left of its error against the spine is 14 cm across (without: 19), 5.6 cm along (6.2)
and 18 cm up (21): ``benchmarks.radar_fusion --only offset``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fusion.body.reflection import reflecting_share
from fusion.body.skeleton import JOINTS, SEGMENT, SEGMENT_NAMES
from fusion.records import Float64, Int64
from fusion.rig import RadarMount

TRUNK = SEGMENT["t12"]
_MIN_DISTANCE_M = 0.2
_LEAST_ACROSS = 1e-3
"""Straight above or below the radar there is no right and left."""
_ALWAYS = 0.05
"""Share of a part's points that it keeps when it is still: breathing, and what is not filtered."""


class TrunkCluster(NamedTuple):
    """Where one person's points put the trunk."""

    position_m: Float64
    """[3] world."""
    directions: Float64
    """[3, 3] rows: away from the radar, to its right across, upwards across; world."""
    distance_m: float
    """From the radar to the cluster."""
    radial_velocity_m_s: float
    """Of the trunk, + is receding."""


def trunk_cluster(
    points_m: Float64,
    radial_velocities_m_s: Float64,
    mount: RadarMount,
    joints_m: Float64,
    velocities_m_s: Float64,
    *,
    min_points: int,
    surface_m: float,
    moving_m_s: float,
) -> TrunkCluster | None:
    """What one person's points say of the trunk; None where they are too few, or straight above the radar.

    Args:
        points_m: [N, 3] the person's points, world.
        radial_velocities_m_s: [N] of them, + is receding.
        mount: where the radar is.
        joints_m: [23, 3] where the person is expected to be, world.
        velocities_m_s: [23, 3] how each joint is expected to move.
        min_points: fewer points than this say nothing.
        surface_m: how much nearer the reflecting surface is than the middle of a limb.
        moving_m_s: what moves radially at this speed reflects as often as it can.
    """
    if len(points_m) < min_points:
        return None
    centre = points_m.mean(0)
    away = centre - mount.position_world_m
    distance = float(np.linalg.norm(away))
    if distance < _MIN_DISTANCE_M:
        return None
    away /= distance
    right = np.cross(away, mount.r_world_from_radar[:, 2])
    across = float(np.linalg.norm(right))
    if across < _LEAST_ACROSS:
        return None
    right /= across
    offset, drift = expected_offset(mount.position_world_m, joints_m, velocities_m_s, moving_m_s)
    return TrunkCluster(
        position_m=centre - offset + surface_m * away,
        directions=np.stack([away, right, np.cross(right, away)]),
        distance_m=distance,
        radial_velocity_m_s=float(np.median(radial_velocities_m_s)) - drift,
    )


def expected_offset(
    radar_m: Float64, joints_m: Float64, velocities_m_s: Float64, moving_m_s: float
) -> tuple[Float64, float]:
    """How far from the trunk the middle of a person's points is to be expected, and how much faster they recede.

    Args:
        radar_m: [3] where the radar is, world.
        joints_m: [23, 3], world.
        velocities_m_s: [23, 3].
        moving_m_s: what moves radially at this speed reflects as often as it can.

    Returns:
        Offset [3] from the joint of ``TRUNK``, and radial velocity relative to that joint's.
    """
    middle = 0.5 * (joints_m[_BEGIN] + joints_m[_END])
    velocity = 0.5 * (velocities_m_s[_BEGIN] + velocities_m_s[_END])
    sight = middle - radar_m
    sight /= np.maximum(np.linalg.norm(sight, axis=1, keepdims=True), _MIN_DISTANCE_M)
    radial = (sight * velocity).sum(1)
    weight = _SHARE * (np.minimum(np.abs(radial) / moving_m_s, 1.0) + _ALWAYS)
    weight /= weight.sum()
    trunk_sight = joints_m[TRUNK] - radar_m
    trunk_sight /= max(float(np.linalg.norm(trunk_sight)), _MIN_DISTANCE_M)
    return weight @ middle - joints_m[TRUNK], float(weight @ radial - trunk_sight @ velocities_m_s[TRUNK])


def _parts() -> tuple[Int64, Int64, Float64]:
    """Joints at which each part that reflects begins and ends, and how often it does."""
    ends = {joint.parent: joint.segment for joint in JOINTS if joint.segment.split("_")[-1] != "shoulder"}
    names = [name for name in SEGMENT_NAMES if reflecting_share(name) > 0.0]
    return (
        np.array([SEGMENT[name] for name in names], dtype=np.int64),
        np.array([SEGMENT[_UPWARDS.get(name, ends.get(name, name))] for name in names], dtype=np.int64),
        np.array([reflecting_share(name) for name in names]),
    )


_UPWARDS = {"pelvis": "l5", "l5": "t12", "t12": "t8"}
"""Where parts of the trunk end; limbs end where the next begins, head and hands where they begin."""
_BEGIN, _END, _SHARE = _parts()
