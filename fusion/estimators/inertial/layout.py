"""What the part-based inertial network takes in and tells: sensors, parts, joints and columns, by name.

The body is cut in three parts, each with its own sensors, so that the hands need
not be learned together with the feet. In each part one recurrent net tells how
some joints move (pseudo-velocities), and a second one, given that, how segments
stand. Source: Zhang et al., "Dynamic inertial poser (DynaIP)", arXiv 2312.02196,
section 3 and its published code. Differs from it in that

* nothing depends on the heading of the root: the root's orientation enters as the
  direction of up and its angular rate, not as a rotation matrix with a heading;
* the pseudo-velocity of the root is the whole velocity seen from the root, not its
  vertical part alone, so that it tells where the wearer goes;
* free acceleration is the mean over the last ``ACCELERATION_FRAMES`` intervals, the
  same for synthetic and for real samples, and looks at no later frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion.body.skeleton import SEGMENT
from fusion.records import Int64

FRAME_RATE_HZ = 60.0
"""Of the frames that the network takes in."""
ACCELERATION_FRAMES = 3
"""Free acceleration is the change of velocity over so many frames."""
ACCELERATION_SCALE = 0.1
"""Accelerations enter multiplied by this (s^2/m), so that all inputs are of one size."""
RATE_SCALE = 0.2
"""Angular rates enter multiplied by this (s)."""

SITES: tuple[str, ...] = (
    "pelvis", "left_lower_leg", "right_lower_leg", "head", "left_forearm", "right_forearm",
)  # fmt: skip
"""Segments with a sensor; the first is the root."""
ROOT_SIZE = 9
"""Columns of the root: up [3], free acceleration [3], angular rate [3], all in the root's axes."""
LEAF_SIZE = 12
"""Columns of another site: rotation against the root, row by row [9]; acceleration less the root's [3], root's axes."""
FEATURES = ROOT_SIZE + LEAF_SIZE * (len(SITES) - 1)

JOINTS: tuple[str, ...] = ("pelvis", "head", "left_hand", "right_hand", "left_foot", "right_foot")
"""Segments whose origins' velocities are told."""
POSE_SEGMENTS: tuple[str, ...] = (
    "left_upper_leg", "right_upper_leg", "l5", "l3", "t12", "t8", "neck",
    "left_shoulder", "right_shoulder", "left_upper_arm", "right_upper_arm",
)  # fmt: skip
"""Segments whose rotations against the root are told."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the body: what it sees and what it tells, in the order of its inputs and outputs."""

    name: str
    sites: tuple[str, ...]
    joints: tuple[str, ...]
    segments: tuple[str, ...]

    @property
    def columns(self) -> tuple[int, ...]:
        """Columns of the features that it sees."""
        return tuple(column for site in self.sites for column in site_columns(site))


PARTS: tuple[Part, ...] = (
    Part(
        "upper",
        ("pelvis", "left_forearm", "right_forearm"),
        ("left_hand", "right_hand"),
        ("left_shoulder", "left_upper_arm", "right_shoulder", "right_upper_arm"),
    ),
    Part(
        "lower",
        ("pelvis", "left_lower_leg", "right_lower_leg", "head"),
        ("pelvis", "left_foot", "right_foot", "head"),
        ("left_upper_leg", "right_upper_leg"),
    ),
    Part("torso", ("pelvis", "head"), ("pelvis", "head"), ("l5", "l3", "t12", "t8", "neck")),
)
GLOBAL_SIZE = 6
"""Outputs of the small net that sees all sensors and feeds every pose net."""

TOLD_JOINTS: tuple[str, ...] = tuple(name for part in PARTS for name in part.joints)
"""Joints in the order of the network's outputs; some are told by two parts."""
TOLD_SEGMENTS: tuple[str, ...] = tuple(name for part in PARTS for name in part.segments)
"""Segments in the order of the network's outputs."""


def site_columns(site: str) -> range:
    """Columns of one site in the features."""
    index = SITES.index(site)
    if index == 0:
        return range(ROOT_SIZE)
    first = ROOT_SIZE + LEAF_SIZE * (index - 1)
    return range(first, first + LEAF_SIZE)


def segment_indices(names: tuple[str, ...]) -> Int64:
    """Indices of segments by name in ``SEGMENT_NAMES``."""
    return np.array([SEGMENT[name] for name in names], dtype=np.int64)
