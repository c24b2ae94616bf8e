"""How fast limbs come or go, as a radar's points on them say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fusion.body.reflection import reflecting_share
from fusion.body.skeleton import JOINTS, LENGTH, REFERENCE_LENGTHS_M, SEGMENT
from fusion.records import Float64, Int64


class LimbSpeeds(NamedTuple):
    """Radial velocities of places on a person's limbs."""

    segment: Int64
    """[K] index into ``SEGMENT_NAMES``."""
    offset_m: Float64
    """[K, 3] of the place from the segment's origin, segment frame."""
    directions: Float64
    """[K, 3] unit vectors away from the radar, world."""
    radial_velocity_m_s: Float64
    """[K] + is receding."""
    points: Int64
    """[K] how many points have told it."""


def limb_speeds(
    points_m: Float64,
    radial_velocities_m_s: Float64,
    radar_m: Float64,
    joints_m: Float64,
    lengths_m: Float64,
    *,
    reach_m: float,
    min_speed_m_s: float,
) -> LimbSpeeds:
    """Give each point to the nearest limb, and take those of one limb together.

    Points of the trunk are left out: ``trunk_cluster`` tells of it. So are slow ones: a sensor
    that takes away what stands still leaves noise there.

    Args:
        points_m: [N, 3] one person's points, world.
        radial_velocities_m_s: [N], + is receding.
        radar_m: [3] where the radar is, world.
        joints_m: [23, 3] where the person is expected to be.
        lengths_m: [11] the person's lengths.
        reach_m: points farther from every limb are of none.
        min_speed_m_s: slower points are left out.
    """
    moving = np.abs(radial_velocities_m_s) > min_speed_m_s
    points, speeds = points_m[moving], radial_velocities_m_s[moving]
    begin, line = joints_m[_SEGMENT], joints_m[_END] - joints_m[_SEGMENT]
    gap = points[:, None] - begin
    along = np.clip((gap * line).sum(2) / np.maximum((line * line).sum(1), 1e-6), 0.0, 1.0)
    distance = np.linalg.norm(gap - along[..., None] * line, axis=2)
    nearest = distance.argmin(1) if len(points) else np.zeros(0, dtype=np.int64)
    rows = np.arange(len(points))
    near = (distance[rows, nearest] < reach_m) & _LIMB[nearest]
    nearest, along, points, speeds = nearest[near], along[rows, nearest][near], points[near], speeds[near]
    limbs, which, counts = np.unique(nearest, return_inverse=True, return_counts=True)

    def means(values: Float64) -> Float64:
        return np.asarray(np.bincount(which, values, len(limbs)) / counts)

    scale = (lengths_m / REFERENCE_LENGTHS_M)[_LENGTH[limbs]]
    sight = joints_m[_SEGMENT[limbs]] + means(along)[:, None] * line[limbs] - radar_m
    return LimbSpeeds(
        segment=_SEGMENT[limbs],
        offset_m=_OFFSET_M[limbs] * (means(along) * scale)[:, None],
        directions=sight / np.maximum(np.linalg.norm(sight, axis=1, keepdims=True), 1e-6),
        radial_velocity_m_s=means(speeds),
        points=counts,
    )


_BONES = tuple(
    joint for joint in JOINTS if reflecting_share(joint.parent) > 0.0 and not joint.segment.endswith("shoulder")
)
"""Each bone by the joint that ends it."""
_SEGMENT: Int64 = np.array([SEGMENT[joint.parent] for joint in _BONES], dtype=np.int64)
_END: Int64 = np.array([SEGMENT[joint.segment] for joint in _BONES], dtype=np.int64)
_OFFSET_M = np.array([joint.offset_m for joint in _BONES])
_LENGTH: Int64 = np.array([LENGTH[joint.length] for joint in _BONES], dtype=np.int64)
_LIMB = np.array([joint.parent.startswith(("right_", "left_")) for joint in _BONES])
