"""A start from nothing: a closed-form pose from 3D landmarks, and the wide prior around it.

The update itself then does the fitting. The closed form only has to end in the
right valley: trunk frame from hips and shoulders, each limb from its two bones
(the hinge's plane gives the twist of the ball above it), lengths from stature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fusion.body.catalog import LandmarkSet
from fusion.body.kinematics import TABLES
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import (
    COORDINATES,
    LENGTHS,
    REFERENCE_LENGTHS_M,
    REFERENCE_STATURE_M,
    SEGMENT,
)
from fusion.filter.state import FLOOR_COLUMN, LENGTH, POSE, RATE, State, empty_state
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
    floor_m: float = 0.05
    """Standard deviation of the floor's height around the world's zero."""
    min_landmarks: int = 6
    """Fewer triangulated landmarks give no start."""


_TRUNK = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
LIMBS: tuple[tuple[str, str, str, str, str], ...] = tuple(
    (ball, hinge, upper.format(side), middle.format(side), lower.format(side))
    for side in ("left", "right")
    for ball, hinge, upper, middle, lower in (
        (f"{side}_upper_arm", f"{side}_forearm", "{}_shoulder", "{}_elbow", "{}_wrist"),
        (f"{side}_upper_leg", f"{side}_lower_leg", "{}_hip", "{}_knee", "{}_ankle"),
    )
)
"""Ball, hinge, and the three landmarks that show their two bones."""
_STRAIGHT_RAD = math.radians(15.0)
"""A limb bent by less does not show the plane of its hinge."""
_SHORTEST_BONE_M = 0.01
"""Landmarks that are nearer to each other show no direction."""
_PARALLEL = 1e-9
"""Sine below which two directions are one, or opposite."""


def trunk_frame(up: Float64, left: Float64) -> Float64:
    """Quaternions [..., 4] of the frames with z along ``up`` and y as near to ``left`` as can be, both [..., 3]."""
    z = _unit(up)
    y = _unit(left - (left * z).sum(-1, keepdims=True) * z)
    return quaternion.from_matrix(np.stack([np.cross(y, z), y, z], axis=-1))


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
    trunk = trunk_frame(up, left)
    coordinates[0:3] = hips
    coordinates[3:6] = quaternion.to_rotvec(trunk)
    unknown = np.full(3, np.nan)
    for ball, hinge, *joints in LIMBS:
        bones = np.diff([point.get(name, unknown) for name in joints], axis=0)
        if (np.linalg.norm(bones, axis=1) > _SHORTEST_BONE_M).all():
            # Spine and shoulder girdle rest at zero: what the ball hangs on stands as the trunk does.
            turn, bend = ball_and_bend(SEGMENT[hinge], *quaternion.rotate(quaternion.conjugate(trunk), bones))
            first = int(TABLES.first[SEGMENT[ball]])
            coordinates[first : first + 3] = quaternion.to_rotvec(turn)
            coordinates[TABLES.first[SEGMENT[hinge]]] = bend
    return coordinates


def ball_and_bend(hinge: int, along: ArrayLike, beyond: ArrayLike) -> tuple[Float64, Float64]:
    """How a ball and the hinge that follows it lay two bones along two directions.

    The hinge's axis is turned to the normal of the two bones, so that the hinge
    bends forward. Where they are nearly in line their normal tells nothing, and
    the ball is turned the shortest way from the T-pose.

    Args:
        hinge: segment that the hinge moves, a forearm or a lower leg.
        along: direction of the bone from ball to hinge [..., 3], in the frame that the ball turns in.
        beyond: direction of the bone from the hinge on [..., 3], likewise.

    Returns:
        The ball's rotation [..., 4] and the hinge's angle [...] in 0..pi.
    """
    along, beyond = _unit(np.asarray(along, dtype=np.float64)), _unit(np.asarray(beyond, dtype=np.float64))
    normal = np.cross(along, beyond)
    bend = np.arctan2(np.linalg.norm(normal, axis=-1), (along * beyond).sum(-1))
    swing = _shortest_turn(_unit(TABLES.unit_offset[hinge]), along)
    now = quaternion.rotate(swing, TABLES.axes[hinge, 0])
    twist = np.arctan2((np.cross(now, normal) * along).sum(-1), (now * normal).sum(-1))
    twist = np.where(bend > _STRAIGHT_RAD, twist, 0.0)
    return quaternion.multiply(quaternion.from_rotvec(twist[..., None] * along), swing), bend


def _unit(vector: Float64) -> Float64:
    return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True))


def _shortest_turn(a: Float64, b: Float64) -> Float64:
    """Smallest rotation [..., 4] that takes the unit vector a [3] to unit vectors b [..., 3]."""
    axis = np.cross(a, b)
    sine, cosine = np.linalg.norm(axis, axis=-1, keepdims=True), (a * b).sum(-1, keepdims=True)
    across = _unit(np.cross(a, np.eye(3)[int(np.argmin(np.abs(a)))]))
    axis = np.where(sine > _PARALLEL, axis / np.where(sine > _PARALLEL, sine, 1.0), across)
    return quaternion.from_rotvec(np.arctan2(sine, cosine) * axis)


def wide_state(
    coordinates: Float64,
    time_ns: int,
    params: StartParams,
    stature_m: float | None = None,
    lengths_m: Float64 | None = None,
    imus: int = 0,
) -> State:
    """A state at a closed-form pose with the prior's covariance.

    Args:
        coordinates: [44].
        time_ns: session clock.
        params: widths.
        stature_m: standing height where known.
        lengths_m: [11] where known; they are then locked.
        imus: for how many IMUs the state has room; none of them has been heard yet.
    """
    state = empty_state(imus)
    state.time_ns = time_ns
    state.born_ns = time_ns
    state.stereo_ns = time_ns
    state.nominal[POSE] = coordinates
    sigmas = np.full(COORDINATES, params.limb_rad)
    sigmas[0:3] = params.position_m
    sigmas[3:6] = params.rotation_rad
    rates = np.full(COORDINATES, params.rate_rad_s)
    rates[0:3] = params.root_rate_m_s
    state.covariance[POSE, POSE] = np.diag(sigmas**2)
    state.covariance[RATE, RATE] = np.diag(rates**2)
    state.covariance[FLOOR_COLUMN, FLOOR_COLUMN] = params.floor_m**2
    scale = (stature_m or REFERENCE_STATURE_M) / REFERENCE_STATURE_M
    state.nominal[LENGTH] = np.log(REFERENCE_LENGTHS_M * scale if lengths_m is None else lengths_m)
    if lengths_m is None:
        common = params.stature_share if stature_m is None else params.known_stature_share
        covariance = np.full((LENGTHS, LENGTHS), common**2) + np.eye(LENGTHS) * params.proportion_share**2
        state.covariance[LENGTH, LENGTH] = covariance
    else:
        state.lengths_locked = True
    return state
