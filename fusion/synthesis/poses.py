"""The poses that a calibration asks for, held by a simulated wearer."""

from __future__ import annotations

import math

import numpy as np

from fusion.body.skeleton import COORDINATE, COORDINATES
from fusion.maths import quaternion
from fusion.records import Float64
from fusion.synthesis.motion import ROTATIONS

ROOT_PLACE = slice(COORDINATE["root_px"], COORDINATE["root_pz"] + 1)
_TURNING = [[COORDINATE[f"{prefix}{axis}"] for axis in "xyz"] for prefix in ROTATIONS]
_PLAIN = [
    index
    for index in range(COORDINATES)
    if not any(index in columns for columns in _TURNING) and not ROOT_PLACE.start <= index < ROOT_PLACE.stop
]


def held_pose(pose: str, heading_rad: float) -> Float64:
    """Coordinates [44] of somebody who holds a pose at the origin: upright, arms straight down or to the sides."""
    coordinates = np.zeros(COORDINATES)
    coordinates[COORDINATE["root_rz"]] = heading_rad
    if pose == "n_pose":
        coordinates[COORDINATE["right_arm_x"]], coordinates[COORDINATE["left_arm_x"]] = math.pi / 2, -math.pi / 2
    return coordinates


def draw_towards(samples: Float64, pose: Float64, share: Float64) -> None:
    """Draw samples [T, 44] to a pose [44] or poses [T, 44] by a share [T], in place; the root's place stays."""
    poses = np.broadcast_to(pose, samples.shape)
    samples[:, _PLAIN] += share[:, None] * (poses[:, _PLAIN] - samples[:, _PLAIN])
    for columns in _TURNING:
        start, end = quaternion.from_rotvec(samples[:, columns]), quaternion.from_rotvec(poses[:, columns])
        samples[:, columns] = quaternion.to_rotvec(quaternion.slerp(start, end, share))
