"""A start from nothing: a closed-form pose from 3D landmarks, and the wide prior around it.

The update itself then does the fitting. The closed form only has to end in the
right valley: trunk frame from hips and shoulders, each limb from its two bones
(the hinge's plane gives the twist of the ball above it), lengths from stature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fusion.body.catalog import LandmarkSet
from fusion.body.kinematics import TABLES, forward_kinematics
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import (
    COORDINATES,
    LENGTHS,
    REFERENCE_LENGTHS_M,
    REFERENCE_STATURE_M,
    SEGMENT,
)
from fusion.filter.state import LENGTH, POSE, RATE, State, empty_state
from fusion.maths import quaternion
from fusion.records import Float64


@dataclass(frozen=True, slots=True)
class StartParams:
    """How wide the prior around a closed-form start is."""

    position_m: float = 0.15
    rotation_rad: float = 0.6
    limb_rad: float = 1.0
    root_rate_m_s: float = 1.0
    rate_rad_s: float = 2.0
    stature_share: float = 0.08
    """Standard deviation of a person's stature around the reference, as a share (adults of both sexes)."""
    known_stature_share: float = 0.01
    """The same where the stature has been given."""
    proportion_share: float = 0.08
    """Standard deviation of one length around what stature predicts, as a share."""
    min_landmarks: int = 6
    """Fewer triangulated landmarks give no start."""


_TRUNK = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
_LIMBS: tuple[tuple[str, str, str, str, str], ...] = tuple(
    (ball, hinge, upper.format(side), middle.format(side), lower.format(side))
    for side in ("left", "right")
    for ball, hinge, upper, middle, lower in (
        (f"{side}_upper_arm", f"{side}_forearm", "{}_shoulder", "{}_elbow", "{}_wrist"),
        (f"{side}_upper_leg", f"{side}_lower_leg", "{}_hip", "{}_knee", "{}_ankle"),
    )
)
_STRAIGHT_RAD = math.radians(15.0)
"""A limb bent by less does not show the plane of its hinge."""
_SHORTEST_BONE_M = 0.01
"""Landmarks that are nearer to each other show no direction."""


def _frame(up: Float64, left: Float64) -> Float64:
    """Quaternion of the frame with z along ``up`` and y as near to ``left`` as can be."""
    z = up / np.linalg.norm(up)
    y = left - (left @ z) * z
    y /= np.linalg.norm(y)
    return quaternion.from_matrix(np.stack([np.cross(y, z), y, z], axis=1))


def pose_from_landmarks(names: LandmarkSet, points_m: Float64) -> Float64 | None:
    """Coordinates [44] from world landmarks [K, 3] (NaN where unknown); None without hips and shoulders."""
    point = dict(zip(names.landmark_names, points_m, strict=True))
    if any(name not in point or not np.isfinite(point[name]).all() for name in _TRUNK):
        return None
    hips = 0.5 * (point["left_hip"] + point["right_hip"])
    up = 0.5 * (point["left_shoulder"] + point["right_shoulder"]) - hips
    left = point["left_hip"] - point["right_hip"] + point["left_shoulder"] - point["right_shoulder"]
    if np.linalg.norm(np.cross(up, left)) < 1e-3:
        return None
    coordinates = resting_coordinates()
    coordinates[0:3] = hips
    coordinates[3:6] = quaternion.to_rotvec(_frame(up, left))
    for ball, hinge, upper, middle, lower in _LIMBS:
        bones = [point.get(name) for name in (upper, middle, lower)]
        if _shows_two_bones(bones):
            _pose_limb(coordinates, ball, hinge, *bones)  # type: ignore[arg-type]
    return coordinates


def _shows_two_bones(joints: list[Float64 | None]) -> bool:
    """Whether three joints are known and stand apart."""
    known = [joint for joint in joints if joint is not None and np.isfinite(joint).all()]
    apart = [float(np.linalg.norm(b - a)) > _SHORTEST_BONE_M for a, b in pairwise(known)]
    return len(known) == len(joints) and all(apart)


def _pose_limb(coordinates: Float64, ball: str, hinge: str, upper: Float64, middle: Float64, lower: Float64) -> None:
    """Turn a ball and its hinge so that the two bones lie along the landmarks."""
    first, bend = int(TABLES.first[SEGMENT[ball]]), int(TABLES.first[SEGMENT[hinge]])
    coordinates[first : first + 3] = 0.0
    coordinates[bend] = 0.0
    _, q = forward_kinematics(coordinates, REFERENCE_LENGTHS_M)
    q_ball = q[SEGMENT[ball]]
    bone = TABLES.unit_offset[SEGMENT[hinge]]
    axis = TABLES.axes[SEGMENT[hinge], 0]
    along = quaternion.rotate(quaternion.conjugate(q_ball), middle - upper)
    beyond = quaternion.rotate(quaternion.conjugate(q_ball), lower - middle)
    along, beyond = along / np.linalg.norm(along), beyond / np.linalg.norm(beyond)
    angle = math.atan2(float(np.linalg.norm(np.cross(along, beyond))), float(along @ beyond))
    swing = _shortest_turn(bone / np.linalg.norm(bone), along)
    if angle > _STRAIGHT_RAD:
        normal = np.cross(along, beyond)
        now = quaternion.rotate(swing, axis)
        twist = math.atan2(float(np.cross(now, normal) @ along), float(now @ normal))
        swing = quaternion.multiply(quaternion.from_rotvec(twist * along), swing)
    coordinates[first : first + 3] = quaternion.to_rotvec(swing)
    coordinates[bend] = angle


def _shortest_turn(a: Float64, b: Float64) -> Float64:
    """Smallest rotation [4] that takes unit vector a to unit vector b."""
    axis = np.cross(a, b)
    sine, cosine = float(np.linalg.norm(axis)), float(a @ b)
    if sine < 1e-9:
        axis = np.array([1.0, 0.0, 0.0]) if cosine > 0 else np.cross(a, np.eye(3)[int(np.argmin(np.abs(a)))])
        sine_axis = axis / np.linalg.norm(axis)
    else:
        sine_axis = axis / sine
    return quaternion.from_rotvec(math.atan2(sine, cosine) * sine_axis)


def wide_state(
    coordinates: Float64,
    time_ns: int,
    params: StartParams,
    stature_m: float | None = None,
    lengths_m: Float64 | None = None,
) -> State:
    """A state at a closed-form pose with the prior's covariance.

    Args:
        coordinates: [44].
        time_ns: session clock.
        params: widths.
        stature_m: standing height where known.
        lengths_m: [11] where known; they are then locked.
    """
    state = empty_state()
    state.time_ns = time_ns
    state.born_ns = time_ns
    state.nominal[POSE] = coordinates
    sigmas = np.full(COORDINATES, params.limb_rad)
    sigmas[0:3] = params.position_m
    sigmas[3:6] = params.rotation_rad
    rates = np.full(COORDINATES, params.rate_rad_s)
    rates[0:3] = params.root_rate_m_s
    state.covariance[POSE, POSE] = np.diag(sigmas**2)
    state.covariance[RATE, RATE] = np.diag(rates**2)
    scale = (stature_m or REFERENCE_STATURE_M) / REFERENCE_STATURE_M
    state.nominal[LENGTH] = np.log(REFERENCE_LENGTHS_M * scale if lengths_m is None else lengths_m)
    if lengths_m is None:
        common = params.stature_share if stature_m is None else params.known_stature_share
        covariance = np.full((LENGTHS, LENGTHS), common**2) + np.eye(LENGTHS) * params.proportion_share**2
        state.covariance[LENGTH, LENGTH] = covariance
    else:
        state.lengths_locked = True
    return state
