"""A wearer: someone with an id and a movement, and the volumes that hide what is behind them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion.body.skeleton import LENGTH, REFERENCE_LENGTHS_M, SEGMENT
from fusion.maths import quaternion
from fusion.records import Float64, Int64
from fusion.synthesis.motion import BodyMotion


@dataclass(frozen=True, slots=True, eq=False)
class Wearer:
    """One person of the simulation."""

    id: int
    motion: BodyMotion


@dataclass(frozen=True, slots=True)
class Capsule:
    """A part of the body's volume: a line in a segment's frame with a radius, for the reference body."""

    segment: str
    end_m: tuple[float, float, float]
    radius_m: float
    length: str
    """Which length scales the line."""
    start_m: tuple[float, float, float] = (0.0, 0.0, 0.0)


def _limb(side: str) -> tuple[Capsule, ...]:
    s = 1.0 if side == "left" else -1.0
    return (
        Capsule(f"{side}_upper_arm", (0.0, s * 0.2954, 0.0), 0.045, "upper_arm"),
        Capsule(f"{side}_forearm", (0.0, s * 0.2426, 0.0), 0.037, "forearm"),
        Capsule(f"{side}_hand", (0.0, s * 0.1, 0.0), 0.035, "hand"),
        Capsule(f"{side}_upper_leg", (0.0, 0.0, -0.4671), 0.075, "thigh"),
        Capsule(f"{side}_lower_leg", (0.0, 0.0, -0.4193), 0.05, "shank"),
        Capsule(f"{side}_foot", (0.17, 0.0, -0.08), 0.035, "foot"),
    )


CAPSULES: tuple[Capsule, ...] = (
    Capsule("pelvis", (0.0, 0.05, 0.05), 0.115, "pelvis", (0.0, -0.05, 0.05)),
    Capsule("l5", (0.0, 0.0, 0.2), 0.115, "trunk"),
    Capsule("t12", (0.0, 0.0, 0.17), 0.13, "trunk"),
    Capsule("neck", (0.0, 0.0, 0.09), 0.055, "neck"),
    Capsule("head", (0.01, 0.0, 0.09), 0.09, "head", (0.01, 0.0, 0.04)),
    *_limb("right"),
    *_limb("left"),
)
"""Round figures for an adult; only what occludes and what reflects depends on them."""

CAPSULE_SEGMENT: Int64 = np.array([SEGMENT[capsule.segment] for capsule in CAPSULES], dtype=np.int64)
CAPSULE_RADIUS_M: Float64 = np.array([capsule.radius_m for capsule in CAPSULES])
_START = np.array([capsule.start_m for capsule in CAPSULES])
_END = np.array([capsule.end_m for capsule in CAPSULES])
_LENGTH = np.array([LENGTH[capsule.length] for capsule in CAPSULES])


def capsule_ends(positions_m: Float64, quaternions: Float64, lengths_m: Float64) -> tuple[Float64, Float64]:
    """Both ends of every capsule in the world.

    Args:
        positions_m: [T, 23, 3].
        quaternions: [T, 23, 4].
        lengths_m: [11].

    Returns:
        Starts and ends [T, C, 3] in the order of ``CAPSULES``.
    """
    scale = (lengths_m / REFERENCE_LENGTHS_M)[_LENGTH][:, None]
    origin, turn = positions_m[:, CAPSULE_SEGMENT], quaternions[:, CAPSULE_SEGMENT]
    return origin + quaternion.rotate(turn, _START * scale), origin + quaternion.rotate(turn, _END * scale)
