"""From what the tensor network answers to joints in metres: one peak of the heat map, one person.

Source: RT-Pose's HRRadarPose takes the highest voxel of the pelvis heat map and adds the offsets that stand there; so
one person a tensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion.body.catalog import LANDMARK_SETS
from fusion.maths.voxels import VoxelGrid
from fusion.records import Array, Float64, RadarJoints, RadarTensor

LANDMARK_SET = "rt_pose_15"
JOINTS = len(LANDMARK_SETS[LANDMARK_SET].landmark_names)


@dataclass(frozen=True, slots=True, eq=False)
class TensorPose:
    """What the network tells of one tensor."""

    joints_m: Float64
    """[15, 3] radar frame."""
    score: float
    """Height of the peak, 0..1."""


def decode(heat: Array, offsets: Array, grid: VoxelGrid) -> TensorPose:
    """The joints at the highest voxel.

    Args:
        heat: [up, across, forward] before the sigmoid.
        offsets: [45, up, across, forward]: right, forward, up of each joint, in voxels from the whole voxel.
        grid: where the voxels are.

    Raises:
        ValueError: for shapes that do not belong together.
    """
    if heat.shape != grid.shape or offsets.shape != (3 * JOINTS, *grid.shape):
        raise ValueError(
            f"heat map {heat.shape} and offsets {offsets.shape}, expected {grid.shape} and {(3 * JOINTS, *grid.shape)}"
        )
    up, across, forward = np.unravel_index(int(np.argmax(heat)), grid.shape)
    moved = offsets[:, up, across, forward].astype(np.float64).reshape(JOINTS, 3)
    joints = grid.to_metres(np.array([across, forward, up], dtype=np.float64) + moved)
    peak = float(np.clip(heat[up, across, forward], -60.0, 60.0))
    return TensorPose(joints, 1.0 / (1.0 + float(np.exp(-peak))))


def joints_record(tensor: RadarTensor, pose: TensorPose, sigmas_m: Float64, min_score: float) -> RadarJoints:
    """The record of one tensor: one person, or none below ``min_score`` or with numbers that are not finite.

    Args:
        tensor: that the pose was read from.
        pose: what was read.
        sigmas_m: [15, 3] one standard deviation of each joint along the radar's axes.
        min_score: least height of the peak.
    """
    kept = [pose] if pose.score >= min_score and bool(np.isfinite(pose.joints_m).all()) else []
    return RadarJoints(
        measured_ns=tensor.measured_ns,
        received_ns=tensor.received_ns,
        radar=tensor.radar,
        landmark_set=LANDMARK_SET,
        ids=np.full(len(kept), -1, dtype=np.int64),
        positions_m=np.array([one.joints_m for one in kept], dtype=np.float32).reshape(-1, JOINTS, 3),
        sigmas_m=np.array([sigmas_m for _ in kept], dtype=np.float32).reshape(-1, JOINTS, 3),
        scores=np.array([one.score for one in kept], dtype=np.float32),
    )
