"""Anatomical ranges of the hinge and chain coordinates, and the resting pose.

Ranges in degrees, as published: Pose2Sim's OpenSim models (BSD-3, Pagnon et al.)
for hip, knee, ankle, elbow and wrist; the trunk, neck and shoulder girdle after
Kapandji, "The Physiology of the Joints". A landmark tracker moves the joints of
a body that is slightly wrong, so the walls stand a few degrees outside what
anatomy books give.
"""

from __future__ import annotations

import math

import numpy as np

from fusion.body.skeleton import COORDINATE, COORDINATE_NAMES
from fusion.maths import quaternion
from fusion.records import Float64

_RANGES_DEG: dict[str, tuple[float, float]] = {
    "spine_x": (-45.0, 45.0),
    "spine_y": (-45.0, 110.0),
    "spine_z": (-60.0, 60.0),
    "neck_x": (-50.0, 50.0),
    "neck_y": (-70.0, 70.0),
    "neck_z": (-85.0, 85.0),
    "shoulder_elevation": (-15.0, 45.0),
    "shoulder_protraction": (-30.0, 35.0),
    "elbow_flexion": (-3.0, 150.0),
    "forearm_pronation": (-100.0, 100.0),
    "wrist_flexion": (-80.0, 85.0),
    "wrist_deviation": (-40.0, 30.0),
    "knee_flexion": (-3.0, 155.0),
    "ankle_dorsiflexion": (-60.0, 40.0),
    "ankle_inversion": (-30.0, 40.0),
    "toe_extension": (-45.0, 80.0),
}

_ARM_HANGING_RAD = math.radians(80.0)
"""Turn of the upper arm from the T-pose to hanging at the side."""


def _without_side(name: str) -> str:
    return name.removeprefix("left_").removeprefix("right_")


def coordinate_limits() -> tuple[Float64, Float64]:
    """Lowest and highest value [44] of each coordinate; infinite where it has none."""
    ranges = [_RANGES_DEG.get(_without_side(name), (-math.inf, math.inf)) for name in COORDINATE_NAMES]
    limits = np.radians(np.array(ranges))
    return np.ascontiguousarray(limits[:, 0]), np.ascontiguousarray(limits[:, 1])


def resting_coordinates() -> Float64:
    """Coordinates [44] of a person who stands upright at the origin, facing +x, arms hanging."""
    rest = np.zeros(len(COORDINATE_NAMES))
    for side, sign in (("right", 1.0), ("left", -1.0)):
        first = COORDINATE[f"{side}_arm_x"]
        down = quaternion.from_rotvec([sign * _ARM_HANGING_RAD, 0.0, 0.0])
        rest[first : first + 3] = quaternion.to_rotvec(down)
        rest[COORDINATE[f"{side}_elbow_flexion"]] = math.radians(10.0)
        rest[COORDINATE[f"{side}_knee_flexion"]] = math.radians(3.0)
    return rest
