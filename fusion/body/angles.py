"""Clinical joint angles of a body, from the rotations of its segments.

Axes. Segment frames here are x forward, y left, z up, all aligned with the
world in a T-pose facing +x. The axes of the International Society of
Biomechanics (ISB) are X forward, Y up, Z right: X = x, Y = z, Z = -y. Legs,
trunk and head have the same neutral pose in both. The ISB's arm hangs down with
the palm forward (the anatomical position); ours points sideways, so that
R_isb = R_ours Rx(s 90 deg), with s = 1 on the left and -1 on the right, carries
our upper arm to the ISB's humerus. Neutral forearm rotation is the clinical
one, halfway between pronation and supination (thumb up when the elbow is bent
to 90 deg); the ISB counts from full supination: ISB = ours + 90 deg.

Order of rotation, from the proximal to the distal segment, in our axes:

=========  ==================================================================
pelvis     world to pelvis, z x y: rotation, obliquity, tilt (Baker)
trunk      pelvis to t8, y x z: flexion, bending, rotation (ISB I, spine)
neck       t8 to head, y x z: flexion, bending, rotation (ISB I, spine)
hip        pelvis to thigh, y x z: flexion, adduction, rotation (ISB I, hip)
knee       thigh to shank, y x z: flexion (Grood & Suntay)
ankle      shank to foot, y x z: dorsiflexion, inversion (ISB I, ankle)
toe        foot to toe, y x z: extension
girdle     t8 to shoulder, z x y: protraction, elevation (ISB II, clavicle)
shoulder   t8 to humerus, z x z: plane, elevation, rotation (ISB II, thorax-
           humerus, Y X Y in the ISB's axes)
elbow      upper arm to forearm, z x y: flexion, pronation (ISB II, elbow)
wrist      forearm to hand, x z y: flexion, deviation (ISB II, wrist)
=========  ==================================================================

The third angle of knee, ankle, toe, wrist and the second of the elbow are left
out: our joints have no such freedom, so they are zero whatever the person does.

Signs. An angle of a limb means the same movement on both sides. Angles of
pelvis, trunk and neck that have a side are positive to the left when they turn,
to the right when they bend; obliquity is positive with the left hip higher.

Against the ISB's signs: its wrist deviation is positive to the ulna, its
elevations of the arm and of the collarbone are negative upwards.

Where the order degenerates. When the middle angle of a three-axis order is 90
deg (the pelvis of a person who lies on the side), first and last angle turn
about one axis and only their sum or difference means something: then the last
is given as 0. The shoulder degenerates with the arm along the trunk, where
every arm spends its day: below ``SHOULDER_GIMBAL_RAD`` of elevation (or as near
to 180 deg) plane is given as 0 and rotation takes all of it. Plane and rotation
jump there; their sum runs on near 0 deg, their difference near 180 deg. For
some degrees around, the plane is as uncertain as the arm's direction divided by
the sine of the elevation.

Sources: Wu et al., "ISB recommendation on definitions of joint coordinate
systems, part I: ankle, hip, and spine", J. Biomech. 35 (2002) 543-548; Wu et
al., "part II: shoulder, elbow, wrist and hand", J. Biomech. 38 (2005) 981-992;
Grood & Suntay, J. Biomech. Eng. 105 (1983) 136-144, eqs. 9-14; Baker, "Pelvic
angles", Gait & Posture 13 (2001) 1-6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from fusion.body.skeleton import SEGMENT
from fusion.records import Float64

SHOULDER_GIMBAL_RAD = math.radians(0.5)
"""Nearer than this to 0 or 180 deg of elevation the shoulder's plane is given as 0."""

_GIMBAL_COSINE = 1e-6
"""Cosine of a middle angle below which the last angle of three is given as 0."""


@dataclass(frozen=True, slots=True)
class Angle:
    """One clinical angle: its name, what a positive value means, and where it is zero."""

    name: str
    positive: str
    zero: str


_MIDDLE = (
    Angle("pelvis_tilt", "anterior: the pelvis' top forward", "upright"),
    Angle("pelvis_obliquity", "left hip higher", "hips level"),
    Angle("pelvis_rotation", "to the left, seen from above counterclockwise", "facing world +x"),
    Angle("trunk_flexion", "forward", "thorax aligned with the pelvis"),
    Angle("trunk_bending", "to the right", "thorax aligned with the pelvis"),
    Angle("trunk_rotation", "to the left", "thorax aligned with the pelvis"),
    Angle("neck_flexion", "chin to the chest", "head aligned with the thorax"),
    Angle("neck_bending", "to the right", "head aligned with the thorax"),
    Angle("neck_rotation", "to the left", "head aligned with the thorax"),
)

_OF_A_SIDE = (
    Angle("hip_flexion", "thigh forward", "thigh aligned with the pelvis"),
    Angle("hip_adduction", "thigh to the midline", "thigh aligned with the pelvis"),
    Angle("hip_rotation", "internal: toes to the midline", "thigh aligned with the pelvis"),
    Angle("knee_flexion", "heel to the buttock", "straight"),
    Angle("ankle_dorsiflexion", "toes up", "foot at a right angle to the shank"),
    Angle("ankle_inversion", "sole to the midline", "sole flat"),
    Angle("toe_extension", "toes up", "toes in line with the foot"),
    Angle("girdle_elevation", "shoulder up", "collarbone horizontal in the thorax"),
    Angle("girdle_protraction", "shoulder forward", "collarbone straight to the side"),
    Angle("shoulder_plane", "0 is abduction, 90 deg is flexion", "elevation in the frontal plane"),
    Angle("shoulder_elevation", "arm up, never negative", "arm hangs along the thorax"),
    Angle("shoulder_rotation", "internal", "anatomical position: elbow crease forward"),
    Angle("elbow_flexion", "hand to the shoulder", "straight"),
    Angle("forearm_pronation", "palm down", "halfway: thumb up with the elbow bent"),
    Angle("wrist_flexion", "to the palm", "hand in line with the forearm"),
    Angle("wrist_deviation", "radial: to the thumb", "hand in line with the forearm"),
)

ANGLES: tuple[Angle, ...] = (
    *_MIDDLE,
    *(Angle(f"{side}_{angle.name}", angle.positive, angle.zero) for side in ("right", "left") for angle in _OF_A_SIDE),
)
"""What stands in each column of ``People.angles_rad``."""

ANGLE_NAMES: tuple[str, ...] = tuple(angle.name for angle in ANGLES)
ANGLE = {name: index for index, name in enumerate(ANGLE_NAMES)}

_PELVIS, _THORAX, _HEAD = SEGMENT["pelvis"], SEGMENT["t8"], SEGMENT["head"]
_RIGHT_SHOULDER, _LEFT_SHOULDER = SEGMENT["right_shoulder"], SEGMENT["left_shoulder"]
_RIGHT_LEG, _LEFT_LEG = SEGMENT["right_upper_leg"], SEGMENT["left_upper_leg"]
_RIGHT_COLUMN, _LEFT_COLUMN = len(_MIDDLE), len(_MIDDLE) + len(_OF_A_SIDE)

Matrix = tuple[float, float, float, float, float, float, float, float, float]
"""Rotation matrix, row by row."""


@njit(cache=True)
def _matrix(w: float, x: float, y: float, z: float) -> Matrix:
    """Rotation matrix of a unit quaternion. Source: Sola, arXiv 1711.02508, eq. 115."""
    return (
        1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y),
        2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x),
        2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y),
    )  # fmt: skip


@njit(cache=True)
def _between(quaternions: Float64, proximal: int, distal: int) -> Matrix:
    """Rotation of one segment seen from another."""
    pw, px, py, pz = (
        quaternions[proximal, 0], -quaternions[proximal, 1], -quaternions[proximal, 2], -quaternions[proximal, 3],
    )  # fmt: skip
    w, x, y, z = quaternions[distal, 0], quaternions[distal, 1], quaternions[distal, 2], quaternions[distal, 3]
    return _matrix(
        pw * w - px * x - py * y - pz * z,
        pw * x + px * w + py * z - pz * y,
        pw * y - px * z + py * w + pz * x,
        pw * z + px * y - py * x + pz * w,
    )


@njit(cache=True)
def _y_x_z(m: Matrix) -> tuple[float, float, float]:
    """(a, b, c) with m = Ry(a) Rx(b) Rz(c)."""
    cosine = math.sqrt(m[3] * m[3] + m[4] * m[4])
    middle = math.atan2(-m[5], cosine)
    if cosine < _GIMBAL_COSINE:
        return math.atan2(-m[6], m[0]), middle, 0.0
    return math.atan2(m[2], m[8]), middle, math.atan2(m[3], m[4])


@njit(cache=True)
def _z_x_y(m: Matrix) -> tuple[float, float, float]:
    """(a, b, c) with m = Rz(a) Rx(b) Ry(c)."""
    cosine = math.sqrt(m[1] * m[1] + m[4] * m[4])
    middle = math.atan2(m[7], cosine)
    if cosine < _GIMBAL_COSINE:
        return math.atan2(m[3], m[0]), middle, 0.0
    return math.atan2(-m[1], m[4]), middle, math.atan2(-m[6], m[8])


@njit(cache=True)
def _x_z_y(m: Matrix) -> tuple[float, float, float]:
    """(a, b, c) with m = Rx(a) Rz(b) Ry(c)."""
    cosine = math.sqrt(m[4] * m[4] + m[7] * m[7])
    middle = math.atan2(-m[1], cosine)
    if cosine < _GIMBAL_COSINE:
        return math.atan2(-m[5], m[8]), middle, 0.0
    return math.atan2(m[7], m[4]), middle, math.atan2(m[2], m[0])


@njit(cache=True)
def _shoulder(m: Matrix, s: float) -> tuple[float, float, float]:
    """Plane, elevation and rotation of an upper arm seen from the thorax.

    With h = m Rx(s 90 deg) = Rz(-s plane) Rx(s elevation) Rz(-s rotation). Of such a product, h00 + h11 and
    h10 - h01 are cosine and sine of the sum of first and last angle times 1 + cos(elevation), which is sound where
    the angles themselves are not; h00 - h11 and h10 + h01 are the same of the difference.
    """
    sine = math.sqrt(m[6] * m[6] + m[8] * m[8])
    elevation = math.atan2(sine, -s * m[7])
    if sine < math.sin(SHOULDER_GIMBAL_RAD):
        if elevation < 0.5 * math.pi:
            return 0.0, elevation, math.atan2(m[2] - s * m[3], m[0] + s * m[5])
        return 0.0, elevation, math.atan2(m[2] + s * m[3], m[0] - s * m[5])
    return math.atan2(s * m[1], m[4]), elevation, math.atan2(-m[6], m[8])


@njit(cache=True)
def _limbs(quaternions: Float64, s: float, leg: int, girdle: int, column: int, out: Float64) -> None:
    """The angles of one side, s = 1 for the left; leg and arm are four segments each, in order."""
    flexion, adduction, rotation = _y_x_z(_between(quaternions, _PELVIS, leg))
    out[column], out[column + 1], out[column + 2] = -flexion, -s * adduction, -s * rotation
    out[column + 3], _, _ = _y_x_z(_between(quaternions, leg, leg + 1))
    flexion, inversion, _ = _y_x_z(_between(quaternions, leg + 1, leg + 2))
    out[column + 4], out[column + 5] = -flexion, -s * inversion
    flexion, _, _ = _y_x_z(_between(quaternions, leg + 2, leg + 3))
    out[column + 6] = -flexion
    protraction, elevation, _ = _z_x_y(_between(quaternions, _THORAX, girdle))
    out[column + 7], out[column + 8] = s * elevation, -s * protraction
    out[column + 9], out[column + 10], out[column + 11] = _shoulder(_between(quaternions, _THORAX, girdle + 1), s)
    flexion, _, pronation = _z_x_y(_between(quaternions, girdle + 1, girdle + 2))
    out[column + 12], out[column + 13] = -s * flexion, pronation
    flexion, deviation, _ = _x_z_y(_between(quaternions, girdle + 2, girdle + 3))
    out[column + 14], out[column + 15] = -s * flexion, -s * deviation


@njit(cache=True)
def clinical_angles(quaternions: Float64, out: Float64) -> None:
    """Clinical angles of one body.

    Args:
        quaternions: [23, 4] ``q_world_from_segment``, unit.
        out: out [41] rad, in the order of ``ANGLE_NAMES``.
    """
    q = quaternions[_PELVIS]
    out[2], out[1], out[0] = _z_x_y(_matrix(q[0], q[1], q[2], q[3]))
    out[3], out[4], out[5] = _y_x_z(_between(quaternions, _PELVIS, _THORAX))
    out[6], out[7], out[8] = _y_x_z(_between(quaternions, _THORAX, _HEAD))
    _limbs(quaternions, -1.0, _RIGHT_LEG, _RIGHT_SHOULDER, _RIGHT_COLUMN, out)
    _limbs(quaternions, 1.0, _LEFT_LEG, _LEFT_SHOULDER, _LEFT_COLUMN, out)


@njit(cache=True)
def _batch(quaternions: Float64, out: Float64) -> None:
    for t in range(quaternions.shape[0]):
        clinical_angles(quaternions[t], out[t])


def clinical_angles_batch(quaternions: Float64) -> Float64:
    """Clinical angles [T, 41] rad of ``q_world_from_segment`` [T, 23, 4]."""
    quaternions = np.ascontiguousarray(quaternions, dtype=np.float64)
    out = np.empty((len(quaternions), len(ANGLES)))
    _batch(quaternions, out)
    return out
