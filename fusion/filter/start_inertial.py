"""A start from the orientations of body-worn IMUs alone.

Orientations say how a body is bent, not where it stands: it is put at the
origin, its lower foot on the floor. A segment with a sensor takes its measured
orientation as far as the freedom of its joint allows. Between sensors the
joints share what lies between: spine and neck after the spread that people have
there; an upper arm or a thigh without sensor takes, among all bends of elbow or
knee that lead to the orientation below, the most usual one
(``fusion.filter.start_prior``). Everything else rests.

Source of the closed forms: Dobrowolski, "Swing-twist decomposition in Clifford
algebra", arXiv 1506.05481, for the angle about one axis; a pair of hinges is
solved one after the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fusion.body.kinematics import TABLES, forward_kinematics
from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.body.skeleton import (
    COORDINATE,
    COORDINATES,
    LENGTH,
    REFERENCE_LENGTHS_M,
    REFERENCE_STATURE_M,
    SEGMENT,
    SEGMENT_NAMES,
)
from fusion.filter.measurements.ground import ContactParams, make_ground
from fusion.filter.start import StartParams, wide_state
from fusion.filter.start_prior import Limb, Side, limb_surprise
from fusion.filter.state import POSE, RATE, State
from fusion.maths import quaternion
from fusion.records import Float64, Int64


@dataclass(frozen=True, slots=True)
class InertialStartParams:
    """How wide the prior around a start from orientations is."""

    sensed_rad: float = 0.3
    """Standard deviation of a joint whose both sides are sensed: mounting and heading are not known yet."""
    horizontal_m: float = 3.0
    """Of the place on the floor: nobody has said where."""
    height_m: float = 0.3
    posed_rad: float = 0.1
    """Standard deviation of every joint of somebody who stands still in the pose of a calibration. It is what ties the
    headings of sensors that know no north to each other."""
    posed_rate_rad_s: float = 0.1
    """The same of the joints' rates, and of the root's in m/s,"""
    near_rad: float = math.radians(25.0)
    """and how near to that pose the sensed segments must be."""


_SIDES: tuple[Side, ...] = ("left", "right")
_UP = np.array([0.0, 0.0, 1.0])
_SPINE, _NECK = (slice(COORDINATE[f"{name}_x"], COORDINATE[f"{name}_x"] + 3) for name in ("spine", "neck"))
_SPINE_SHARE = np.array([0.3, 0.45, 0.1])
"""Part of a head's turn against the pelvis that the spine takes, after the squared spreads in ``start_prior``."""
_ROUNDS = 20
"""Of handing back and forth between spine and neck what the limits of the other refuse."""
_BEND_STEP_RAD = math.radians(2.0)
_PRONATION_SIGMA_RAD = math.radians(40.0)
_HEADING_FROM = ("head", "right_upper_leg", "left_upper_leg", "right_lower_leg", "left_lower_leg", "right_foot",
                 "left_foot", "right_shoulder", "left_shoulder", "right_upper_arm", "left_upper_arm",
                 "right_forearm", "left_forearm", "right_hand", "left_hand")  # fmt: skip
"""Whose heading a body without sensors on pelvis and chest has: the first that there is, and its other side."""
_SOLES = make_ground(ContactParams())
_LOW, _HIGH = coordinate_limits()


def pose_from_orientations(
    q_world_from_segment: Float64, segments: Int64, lengths_m: Float64 | None = None, floor_m: float = 0.0
) -> Float64:
    """Coordinates [44], within all limits, of a body whose segments stand as their sensors say.

    Args:
        q_world_from_segment: [M, 4] unit quaternions, one heading for all (else see ``with_body_heading``);
            rows that are not finite are left out.
        segments: [M] indices into ``SEGMENT_NAMES``; of a segment that is named twice the last one counts.
        lengths_m: [11], the reference body's if not known; they place the feet.
        floor_m: height of the floor.
    """
    sensed = _sensed(q_world_from_segment, segments)
    coordinates = resting_coordinates()
    coordinates[3:6] = quaternion.to_rotvec(_root(sensed))
    _bend_trunk(coordinates, sensed)
    for side in _SIDES:
        _bend_arm(coordinates, sensed, side)
        _bend_leg(coordinates, sensed, side)
    coordinates[2] += floor_m - _lowest_m(coordinates, REFERENCE_LENGTHS_M if lengths_m is None else lengths_m)
    return coordinates


def _sensed(q_world_from_segment: Float64, segments: Int64) -> dict[str, Float64]:
    """Orientation [4] of each segment that has a usable one."""
    q = np.asarray(q_world_from_segment, dtype=np.float64)
    return {
        SEGMENT_NAMES[segment]: quaternion.normalize(row)
        for segment, row in zip(segments, q, strict=True)
        if np.isfinite(row).all() and row.any()
    }


def with_body_heading(q_world_from_segment: Float64, segments: Int64, coordinates: Float64 | None = None) -> Float64:
    """Orientations [M, 4] turned about the vertical, each to be as near as can be to how the body stands.

    For sensors without a common heading: of each only the inclination is taken.

    Args:
        q_world_from_segment: [M, 4].
        segments: [M].
        coordinates: [44] how the body is expected to stand; at rest, facing +x, if not given.
    """
    pose = resting_coordinates() if coordinates is None else coordinates
    _, expected = forward_kinematics(pose, REFERENCE_LENGTHS_M)
    q = np.asarray(q_world_from_segment, dtype=np.float64)
    turn = _angle_about(quaternion.multiply(expected[segments], quaternion.conjugate(q)), _UP)
    return quaternion.multiply(quaternion.from_rotvec(turn[..., None] * _UP), q)


def inertial_state(
    q_world_from_segment: Float64,
    segments: Int64,
    time_ns: int,
    params: StartParams,
    stature_m: float | None = None,
    lengths_m: Float64 | None = None,
    imus: int = 0,
    widths: InertialStartParams | None = None,
    *,
    posed: bool = False,
) -> State:
    """A state at the pose that orientations tell, narrow where they do, wide elsewhere.

    Args:
        q_world_from_segment: see ``pose_from_orientations``.
        segments: [M].
        time_ns: session clock.
        params: widths of what the orientations do not tell, as in ``wide_state``.
        stature_m: standing height where known.
        lengths_m: [11] where known; they are then locked.
        imus: for how many IMUs the state has room.
        widths: of what the orientations tell.
        posed: whether the wearer stands still in the pose of a calibration (``stands_posed``): then all is narrow.
    """
    widths = widths or InertialStartParams()
    scale = (stature_m or REFERENCE_STATURE_M) / REFERENCE_STATURE_M
    lengths = REFERENCE_LENGTHS_M * scale if lengths_m is None else lengths_m
    coordinates = pose_from_orientations(q_world_from_segment, segments, lengths)
    state = wide_state(coordinates, time_ns, params, stature_m, lengths_m, imus)
    sensed = set(_sensed(q_world_from_segment, segments))
    sigmas = np.sqrt(state.covariance[POSE, POSE].diagonal())
    sigmas[_told_by(sensed)] = widths.sensed_rad
    if posed:
        sigmas[6:] = widths.posed_rad
        state.covariance[RATE, RATE] = np.eye(COORDINATES) * widths.posed_rate_rad_s**2
    sigmas[0:3] = widths.horizontal_m, widths.horizontal_m, widths.height_m
    state.covariance[POSE, POSE] = np.diag(sigmas**2)
    return state


def stands_posed(q_world_from_segment: Float64, segments: Int64, near_rad: float) -> bool:
    """Whether segments [M] stand as in the pose of a calibration, arms hanging, but for a turn about the vertical each.

    Args:
        q_world_from_segment: [M, 4].
        segments: [M].
        near_rad: largest angle.
    """
    aligned = with_body_heading(q_world_from_segment, segments)
    _, expected = forward_kinematics(resting_coordinates(), REFERENCE_LENGTHS_M)
    return bool((quaternion.angle_between(aligned, expected[segments]) < near_rad).all())


def _told_by(sensed: set[str]) -> list[int]:
    """Coordinates that the orientations of these segments tell of: those of joints with a sensor on both sides."""
    told: list[int] = []
    if sensed & {"pelvis", "t8"}:
        told += range(3, 6)
    chains = {"t8": (_SPINE, {"pelvis"}), "head": (_NECK, {"t8"})}
    for segment, (columns, other) in chains.items():
        if segment in sensed and sensed & other:
            told += range(columns.start, columns.stop)
    chest = bool(sensed & {"t8", "right_shoulder", "left_shoulder"}) or {"pelvis", "head"} <= sensed
    for side in _SIDES:
        near = {
            f"{side}_shoulder": "t8" in sensed,
            f"{side}_upper_arm": chest,
            f"{side}_upper_leg": "pelvis" in sensed,
        }
        for upper, lower in (("upper_arm", "forearm"), ("forearm", "hand"), ("upper_leg", "lower_leg"),
                             ("lower_leg", "foot"), ("foot", "toe")):  # fmt: skip
            near[f"{side}_{lower}"] = f"{side}_{upper}" in sensed
        for segment, tied in near.items():
            if tied and segment in sensed:
                first = int(TABLES.first[SEGMENT[segment]])
                told += range(first, first + int(TABLES.freedoms[SEGMENT[segment]]))
    return told


# --- Root and trunk ----------------------------------------------------------------------------------


def _root(sensed: dict[str, Float64]) -> Float64:
    """Orientation [4] of the pelvis."""
    for name in ("pelvis", "t8"):
        if name in sensed:
            return sensed[name]
    for name in _HEADING_FROM:
        if name in sensed:
            other = name.replace("right_", "left_")
            angles = np.array([_angle_about(sensed[n], _UP) for n in (name, other) if n in sensed])
            heading = math.atan2(np.sin(angles).sum(), np.cos(angles).sum())
            return quaternion.from_rotvec(heading * _UP)
    return quaternion.IDENTITY


def _bend_trunk(coordinates: Float64, sensed: dict[str, Float64]) -> None:
    """Spine and neck between the orientations of pelvis, chest and head, in place."""
    back = quaternion.conjugate(quaternion.from_rotvec(coordinates[3:6]))
    chest = sensed.get("t8")
    shoulders = [sensed[name] for name in ("right_shoulder", "left_shoulder") if name in sensed]
    if chest is None and shoulders:
        chest = quaternion.slerp(shoulders[0], shoulders[-1], 0.5)
    if chest is not None:
        coordinates[_SPINE] = _within(quaternion.to_rotvec(quaternion.multiply(back, chest)), _SPINE)
    if "head" not in sensed:
        return
    head = quaternion.multiply(back, sensed["head"])
    if chest is None:
        coordinates[_SPINE] = _within(_SPINE_SHARE * quaternion.to_rotvec(head), _SPINE)
    spine = quaternion.from_rotvec(coordinates[_SPINE])
    coordinates[_NECK] = _within(quaternion.to_rotvec(quaternion.multiply(quaternion.conjugate(spine), head)), _NECK)
    for _ in range(_ROUNDS if chest is None else 0):
        neck = quaternion.from_rotvec(coordinates[_NECK])
        left = quaternion.multiply(head, quaternion.conjugate(neck))
        coordinates[_SPINE] = _within(quaternion.to_rotvec(left), _SPINE)
        spine = quaternion.from_rotvec(coordinates[_SPINE])
        left = quaternion.multiply(quaternion.conjugate(spine), head)
        coordinates[_NECK] = _within(quaternion.to_rotvec(left), _NECK)


def _within(values: Float64, columns: slice) -> Float64:
    return np.asarray(np.clip(values, _LOW[columns], _HIGH[columns]))


# --- Limbs -------------------------------------------------------------------------------------------


def _bend_arm(coordinates: Float64, sensed: dict[str, Float64], side: Side) -> None:
    """Shoulder girdle, upper arm, forearm and hand of one side, in place."""
    shoulder, upper, fore, hand = (f"{side}_{name}" for name in ("shoulder", "upper_arm", "forearm", "hand"))
    _turn_hinges(coordinates, shoulder, sensed.get(shoulder))
    # A hand's orientation stands for that of a forearm without sensor: the wrist then rests.
    wanted = sensed.get(fore, sensed.get(hand))
    if upper in sensed:
        _turn_ball(coordinates, upper, sensed[upper])
    elif wanted is not None:
        _infer_ball(coordinates, "arm", side, wanted)
    if upper in sensed or wanted is None:
        _turn_hinges(coordinates, fore, wanted)
    _turn_hinges(coordinates, hand, sensed.get(hand))


def _bend_leg(coordinates: Float64, sensed: dict[str, Float64], side: Side) -> None:
    """Thigh, shank, foot and toes of one side, in place."""
    thigh, shank, foot, toe = (f"{side}_{name}" for name in ("upper_leg", "lower_leg", "foot", "toe"))
    wanted = sensed.get(shank, sensed.get(foot))
    if thigh in sensed:
        _turn_ball(coordinates, thigh, sensed[thigh])
    elif wanted is not None:
        _infer_ball(coordinates, "leg", side, wanted)
    if thigh in sensed or wanted is None:
        _turn_hinges(coordinates, shank, wanted)
    _turn_hinges(coordinates, foot, sensed.get(foot))
    _turn_hinges(coordinates, toe, sensed.get(toe))


def _orientation(coordinates: Float64, name: str) -> Float64:
    """How a segment [4] stands."""
    return np.asarray(forward_kinematics(coordinates, REFERENCE_LENGTHS_M)[1][SEGMENT[name]])


def _parent_of(name: str) -> str:
    return SEGMENT_NAMES[int(TABLES.parent[SEGMENT[name]])]


def _turn_ball(coordinates: Float64, name: str, wanted: Float64) -> None:
    """Turn a ball so that its segment stands as wanted [4], in place."""
    first = int(TABLES.first[SEGMENT[name]])
    parent = _orientation(coordinates, _parent_of(name))
    turn = quaternion.multiply(quaternion.conjugate(parent), wanted)
    coordinates[first : first + 3] = quaternion.to_rotvec(turn)


def _turn_hinges(coordinates: Float64, name: str, wanted: Float64 | None) -> None:
    """Turn a segment's one or two hinges towards an orientation [4], within their limits, in place."""
    if wanted is None:
        return
    s = SEGMENT[name]
    first, count = int(TABLES.first[s]), int(TABLES.freedoms[s])
    left = quaternion.multiply(quaternion.conjugate(_orientation(coordinates, _parent_of(name))), wanted)
    for k in range(count):
        axis = TABLES.axes[s, k]
        if k + 1 < count:
            # What the second hinge turns about is fixed to it: where that axis points, the first hinge tells.
            second = TABLES.axes[s, k + 1]
            pointing = quaternion.rotate(left, second)
            angle = math.atan2(float(np.cross(axis, second) @ pointing), float(second @ pointing))
        else:
            angle = float(_angle_about(left, axis))
        angle = _nearest(angle, float(_LOW[first + k]), float(_HIGH[first + k]))
        coordinates[first + k] = angle
        left = quaternion.multiply(quaternion.from_rotvec(-angle * axis), left)


def _angle_about(q: Float64, axis: Float64) -> Float64:
    """Angle [...] in -pi..pi of the turn about a unit axis that comes nearest to rotations [..., 4]."""
    half = np.arctan2((q[..., 1:] * axis).sum(-1), q[..., 0])
    return np.asarray(np.remainder(2.0 * half + math.pi, 2.0 * math.pi) - math.pi)


def _nearest(angle: float, low: float, high: float) -> float:
    """The angle in a range that is nearest to one on the circle."""
    if low <= angle <= high:
        return angle
    return min((low, high), key=lambda end: abs(math.remainder(angle - end, 2.0 * math.pi)))


def _infer_ball(coordinates: Float64, limb: Limb, side: Side, wanted: Float64) -> None:
    """Ball and hinges of a limb whose upper segment has no sensor, so that the lower one stands as wanted [4].

    Every bend within the limits explains the orientation, with some turn of the
    ball; the most usual pair is taken.
    """
    upper, lower = ("upper_arm", "forearm") if limb == "arm" else ("upper_leg", "lower_leg")
    ball, hinge = SEGMENT[f"{side}_{upper}"], SEGMENT[f"{side}_{lower}"]
    first, bend = int(TABLES.first[ball]), int(TABLES.first[hinge])
    bends = np.arange(max(_LOW[bend], 0.0), _HIGH[bend], _BEND_STEP_RAD)
    turn = quaternion.from_rotvec(bends[:, None] * TABLES.axes[hinge, 0])
    cost = np.zeros(len(bends))
    twists: Float64 = np.zeros(1)
    if limb == "arm":
        twists = np.arange(_LOW[bend + 1], _HIGH[bend + 1], 4.0 * _BEND_STEP_RAD)
        twist = quaternion.from_rotvec(twists[:, None] * TABLES.axes[hinge, 1])
        turn = quaternion.multiply(turn[:, None], twist[None]).reshape(-1, 4)
        cost = np.tile((twists / _PRONATION_SIGMA_RAD) ** 2, len(bends))
    bends = np.repeat(bends, len(twists))
    parent = _orientation(coordinates, _parent_of(f"{side}_{upper}"))
    stands = quaternion.multiply(quaternion.conjugate(parent), quaternion.multiply(wanted, quaternion.conjugate(turn)))
    best = int(np.argmin(cost + limb_surprise(limb, side, stands, bends)))
    coordinates[first : first + 3] = quaternion.to_rotvec(stands[best])
    coordinates[bend] = bends[best]
    if limb == "arm":
        coordinates[bend + 1] = np.tile(twists, len(bends) // len(twists))[best]


# --- The floor ---------------------------------------------------------------------------------------


def _lowest_m(coordinates: Float64, lengths_m: Float64) -> float:
    """Height of the lowest point of both soles."""
    positions, quaternions = forward_kinematics(coordinates, lengths_m)
    offsets = _SOLES.unit_offset * lengths_m[LENGTH["foot"]]
    points = positions[_SOLES.segment] + quaternion.rotate(quaternions[_SOLES.segment], offsets)
    return float(points[:, 2].min())
