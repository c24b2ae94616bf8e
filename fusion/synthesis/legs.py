"""Legs to the floor: hip, knee and ankle angles that put a foot where it should be.

In closed form, because the knee and the ankle are hinges here: the leg's plane
holds the line from hip to ankle and stands square to the foot's long axis
turned by a quarter, so that two ankle angles are enough to reach any foot
heading and pitch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion.records import Float64

MAX_STRETCH = 0.998
"""Largest share of the leg's full length between hip and ankle: a straight knee has no bending plane."""


@dataclass(frozen=True, slots=True)
class LegAngles:
    """Angles of one leg over T samples."""

    r_pelvis_from_thigh: Float64
    """[T, 3, 3]."""
    knee_flexion_rad: Float64
    ankle_dorsiflexion_rad: Float64
    ankle_inversion_rad: Float64


def solve_leg(
    hip_m: Float64,
    ankle_m: Float64,
    r_world_from_pelvis: Float64,
    r_world_from_foot: Float64,
    thigh_m: float,
    shank_m: float,
    side_sign: float,
) -> LegAngles:
    """Angles that take the ankle to its place and the foot to its orientation.

    Args:
        hip_m: hip joint [T, 3], world.
        ankle_m: wanted ankle [T, 3], world; pulled in along the line to the hip if it is out of reach.
        r_world_from_pelvis: [T, 3, 3].
        r_world_from_foot: [T, 3, 3].
        thigh_m: hip to knee.
        shank_m: knee to ankle.
        side_sign: +1 left, -1 right.
    """
    line = ankle_m - hip_m
    distance = np.minimum(np.linalg.norm(line, axis=1), MAX_STRETCH * (thigh_m + shank_m))
    down = line / np.linalg.norm(line, axis=1, keepdims=True)
    across = np.cross(r_world_from_foot[:, :, 0], down)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    # Law of cosines, knee and hip of the triangle hip-knee-ankle.
    bend = (distance**2 - thigh_m**2 - shank_m**2) / (2.0 * thigh_m * shank_m)
    knee = np.arccos(np.clip(bend, -1.0, 1.0))
    lift = np.arcsin(np.clip(shank_m * np.sin(knee) / distance, -1.0, 1.0))
    forward = np.cross(across, -down)
    thigh_up = -(np.cos(lift)[:, None] * down + np.sin(lift)[:, None] * forward)
    r_world_from_thigh = np.stack([np.cross(across, thigh_up), across, thigh_up], axis=2)
    r_world_from_shank = r_world_from_thigh @ rotation_y(knee)
    relative = np.swapaxes(r_world_from_shank, 1, 2) @ r_world_from_foot
    return LegAngles(
        r_pelvis_from_thigh=np.swapaxes(r_world_from_pelvis, 1, 2) @ r_world_from_thigh,
        knee_flexion_rad=knee,
        ankle_dorsiflexion_rad=-np.arctan2(-relative[:, 2, 0], relative[:, 0, 0]),
        ankle_inversion_rad=-side_sign * np.arctan2(-relative[:, 1, 2], relative[:, 1, 1]),
    )


def rotation_x(angle_rad: Float64) -> Float64:
    """Rotation matrices [T, 3, 3] about x."""
    return _rotation(angle_rad, 1, 2)


def rotation_y(angle_rad: Float64) -> Float64:
    """Rotation matrices [T, 3, 3] about y."""
    return _rotation(angle_rad, 2, 0)


def rotation_z(angle_rad: Float64) -> Float64:
    """Rotation matrices [T, 3, 3] about z."""
    return _rotation(angle_rad, 0, 1)


def _rotation(angle_rad: Float64, first: int, second: int) -> Float64:
    """Rotation that turns axis ``first`` towards axis ``second``."""
    angle = np.atleast_1d(np.asarray(angle_rad, dtype=np.float64))
    matrix = np.broadcast_to(np.eye(3), (len(angle), 3, 3)).copy()
    matrix[:, first, first] = matrix[:, second, second] = np.cos(angle)
    matrix[:, first, second] = -np.sin(angle)
    matrix[:, second, first] = np.sin(angle)
    return matrix
