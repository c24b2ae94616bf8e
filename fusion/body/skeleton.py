"""The body: 23 segments, the joints between them, their coordinates and lengths.

The segment tree and the mean offsets are those of the Xsens 23-segment model
(mean over the AnDy subjects, as used by DynaIP, arXiv 2312.02196): metres,
x forward, y left, z up, all segment frames aligned with the world in a T-pose
facing +x. A joint sits at the origin of its segment; its offset turns with the
parent.

Each joint has the freedom that the anatomy gives it. A *ball* is a rotation of
its own; *hinges* are one or two successive rotations about fixed axes; the
joints of one *chain* (lumbar and thoracic spine, neck) share one rotation
vector, each taking an equal part, so that four vertebral joints are three
coordinates and not twelve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fusion.records import Float64, Int64

SEGMENT_NAMES: tuple[str, ...] = (
    "pelvis", "l5", "l3", "t12", "t8", "neck", "head",
    "right_shoulder", "right_upper_arm", "right_forearm", "right_hand",
    "left_shoulder", "left_upper_arm", "left_forearm", "left_hand",
    "right_upper_leg", "right_lower_leg", "right_foot", "right_toe",
    "left_upper_leg", "left_lower_leg", "left_foot", "left_toe",
)  # fmt: skip

LENGTH_NAMES: tuple[str, ...] = (
    "pelvis", "trunk", "neck", "head", "shoulders", "upper_arm", "forearm", "hand", "thigh", "shank", "foot",
)  # fmt: skip
"""Each length scales some offsets; left and right share them. Reference values in ``REFERENCE_LENGTHS_M``."""

REFERENCE_STATURE_M = 1.78
"""Standing height of the body with ``REFERENCE_LENGTHS_M``, soles to the top of the head."""

Freedom = Literal["root", "ball", "hinges", "chain"]


@dataclass(frozen=True, slots=True)
class Joint:
    """How a segment hangs on its parent."""

    segment: str
    parent: str
    offset_m: tuple[float, float, float]
    """Reference position of this joint in the parent's frame."""
    length: str
    """Which length scales the offset."""
    freedom: Freedom
    axes: tuple[tuple[float, float, float], ...] = ()
    """Hinge axes in the segment's T-pose frame, in the order of rotation."""
    coordinates: tuple[str, ...] = ()
    """Names of its coordinates; joints of one chain name the same ones."""


def _side(side: Literal["right", "left"]) -> tuple[Joint, ...]:
    """Arm and leg of one side. Signs make the same angle mean the same movement on both sides."""
    s = -1.0 if side == "right" else 1.0

    def names(*coordinates: str) -> tuple[str, ...]:
        return tuple(f"{side}_{name}" for name in coordinates)

    xyz = ("x", "y", "z")
    return (
        Joint(f"{side}_shoulder", "t8", (0.0, s * 0.0292, 0.0747), "shoulders", "hinges",
              ((s, 0.0, 0.0), (0.0, 0.0, -s)), names("shoulder_elevation", "shoulder_protraction")),
        Joint(f"{side}_upper_arm", f"{side}_shoulder", (0.0, s * 0.1409, 0.0), "shoulders", "ball",
              (), names(*(f"arm_{axis}" for axis in xyz))),
        Joint(f"{side}_forearm", f"{side}_upper_arm", (0.0, s * 0.2954, 0.0), "upper_arm", "hinges",
              ((0.0, 0.0, -s), (0.0, 1.0, 0.0)), names("elbow_flexion", "forearm_pronation")),
        Joint(f"{side}_hand", f"{side}_forearm", (0.0, s * 0.2426, 0.0), "forearm", "hinges",
              ((-s, 0.0, 0.0), (0.0, 0.0, -s)), names("wrist_flexion", "wrist_deviation")),
        Joint(f"{side}_upper_leg", "pelvis", (0.0, s * 0.0874, 0.0), "pelvis", "ball",
              (), names(*(f"hip_{axis}" for axis in xyz))),
        Joint(f"{side}_lower_leg", f"{side}_upper_leg", (0.0, 0.0, -0.4671), "thigh", "hinges",
              ((0.0, 1.0, 0.0),), names("knee_flexion")),
        Joint(f"{side}_foot", f"{side}_lower_leg", (0.0, 0.0, -0.4193), "shank", "hinges",
              ((0.0, -1.0, 0.0), (-s, 0.0, 0.0)), names("ankle_dorsiflexion", "ankle_inversion")),
        Joint(f"{side}_toe", f"{side}_foot", (0.1663, 0.0, -0.1014), "foot", "hinges",
              ((0.0, -1.0, 0.0),), names("toe_extension")),
    )  # fmt: skip


_SPINE = ("spine_x", "spine_y", "spine_z")
_NECK = ("neck_x", "neck_y", "neck_z")
_JOINTS_BY_NAME: dict[str, Joint] = {
    joint.segment: joint
    for joint in (
        Joint("pelvis", "", (0.0, 0.0, 0.0), "pelvis", "root", (),
              ("root_px", "root_py", "root_pz", "root_rx", "root_ry", "root_rz")),
        Joint("l5", "pelvis", (0.0, 0.0, 0.1065), "trunk", "chain", (), _SPINE),
        Joint("l3", "l5", (0.0, 0.0, 0.1056), "trunk", "chain", (), _SPINE),
        Joint("t12", "l3", (0.0, 0.0, 0.0954), "trunk", "chain", (), _SPINE),
        Joint("t8", "t12", (0.0, 0.0, 0.0954), "trunk", "chain", (), _SPINE),
        Joint("neck", "t8", (0.0, 0.0, 0.1336), "neck", "chain", (), _NECK),
        Joint("head", "neck", (0.0, 0.0, 0.0872), "neck", "chain", (), _NECK),
        *_side("right"),
        *_side("left"),
    )
}  # fmt: skip

JOINTS: tuple[Joint, ...] = tuple(_JOINTS_BY_NAME[name] for name in SEGMENT_NAMES)
"""In the order of ``SEGMENT_NAMES``; a parent always comes before its children."""

COORDINATE_NAMES: tuple[str, ...] = tuple(dict.fromkeys(name for joint in JOINTS for name in joint.coordinates))
"""Generalised coordinates. ``root_p*`` is the pelvis in the world, ``*_x/_y/_z`` of a ball or
chain is its rotation vector (parent to segment), the others are hinge angles."""

SEGMENTS = len(SEGMENT_NAMES)
COORDINATES = len(COORDINATE_NAMES)
LENGTHS = len(LENGTH_NAMES)

SEGMENT = {name: index for index, name in enumerate(SEGMENT_NAMES)}
COORDINATE = {name: index for index, name in enumerate(COORDINATE_NAMES)}
LENGTH = {name: index for index, name in enumerate(LENGTH_NAMES)}

PARENTS: Int64 = np.array([SEGMENT.get(joint.parent, -1) for joint in JOINTS], dtype=np.int64)

REFERENCE_LENGTHS_M: Float64 = np.array(
    [
        0.1748,  # pelvis: between the hip joints
        0.4029,  # trunk: pelvis to T8
        0.2208,  # neck: T8 to the base of the skull
        0.1680,  # head: base of the skull to its top
        0.3402,  # shoulders: between the arm joints
        0.2954,
        0.2426,
        0.1850,  # hand: wrist to the tip of the middle finger
        0.4671,
        0.4193,
        0.2600,  # foot: heel to the tip of the toes
    ]
)


def reference_offsets() -> tuple[Float64, Int64]:
    """Joint offsets of the reference body and the length that scales each.

    Returns:
        ``offsets_m`` [23, 3] in the parent's frame and ``length_of_joint`` [23],
        an index into ``LENGTH_NAMES``.
    """
    offsets = np.array([joint.offset_m for joint in JOINTS])
    return offsets, np.array([LENGTH[joint.length] for joint in JOINTS], dtype=np.int64)
