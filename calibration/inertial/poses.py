"""The poses that a wearer is asked to hold, and what kinds of segments there are.

The body frame has x to where the wearer faces and z up. In the T-pose every
segment frame is the body frame (``docs/conventions.md``); in the N-pose the arms
have come down about x, so that the thumbs still point forward.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from fusion.maths import quaternion
from fusion.records import Float64

Step = Literal["n_pose", "t_pose", "n_to_t", "walk"]
STEPS: tuple[Step, ...] = ("n_pose", "t_pose", "n_to_t", "walk")
Kind = Literal["arm", "leg", "trunk"]

UP: Float64 = np.array([0.0, 0.0, 1.0])
FORWARD: Float64 = np.array([1.0, 0.0, 0.0])
_ARM = ("upper_arm", "forearm", "hand")
_LEG = ("upper_leg", "lower_leg", "foot", "toe")


def side_of(segment: str) -> Literal["left", "right", ""]:
    """Left, right, or neither."""
    return "left" if segment.startswith("left_") else "right" if segment.startswith("right_") else ""


def part_of(segment: str) -> str:
    """The name without its side."""
    return segment.removeprefix("left_").removeprefix("right_")


def other_side(segment: str) -> str:
    """The segment of the other side; the same for one of the trunk."""
    side = side_of(segment)
    return f"{'right' if side == 'left' else 'left'}_{part_of(segment)}" if side else segment


def kind_of(segment: str) -> Kind:
    """What kind of segment it is; a shoulder belongs to the trunk."""
    part = part_of(segment)
    return "arm" if part in _ARM else "leg" if part in _LEG else "trunk"


def q_body_from_segment(step: str, segment: str) -> Float64:
    """How a segment stands [4] in a held pose, ``n_pose`` or ``t_pose``."""
    if step != "n_pose" or kind_of(segment) != "arm":
        return quaternion.IDENTITY.copy()
    down = math.pi / 2 if side_of(segment) == "right" else -math.pi / 2
    return quaternion.from_rotvec(down * FORWARD)
