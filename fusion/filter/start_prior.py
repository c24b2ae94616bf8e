"""How usual a pose is: what a start has to go by where the sensors leave a choice.

One camera shows each bone in two ways, and an IMU on a forearm says little of
the upper arm. People stand upright more often than not, knees bend forward, arms
hang: each group of joints has a Student-t around its usual pose, which tells the
likely from the unlikely and still forgives a somersault.

Means and spreads are those of the clips to learn from (``training/clips.py``:
walking, uneven ground, sneaking, climbing and sport weigh the same; left and
right are pooled; the clips to judge on take no part), spreads made a quarter
wider. The clips do not move the shoulder girdle, the wrist and the toes; there
the spread is a third of the range of ``fusion.body.limits``.

Source of the robust form: Lange, Little, Taylor, "Robust statistical modeling
using the t distribution", JASA 84, 1989.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fusion.body.limits import coordinate_limits
from fusion.body.skeleton import COORDINATE, COORDINATE_NAMES
from fusion.maths import quaternion
from fusion.records import Bool, Float64

Limb = Literal["arm", "leg"]
Side = Literal["left", "right"]

_NU = 4.0
"""Degrees of freedom of each group's Student-t."""
_WIDER = 1.25
_LIMIT_RAD = math.radians(3.0)
"""How far past its range a joint is one standard deviation off."""
_UP = np.array([0.0, 0.0, 1.0])
_LEAN_DEG = ((14.0, 22.0), (0.0, 9.0))
"""Mean and spread of the middle of the trunk against the vertical: forward, sideways."""
_MIRROR = np.array([-1.0, 1.0, -1.0])
"""Rotation vectors of the right side as if it were the left."""

_USUAL_DEG: dict[str, tuple[float, float]] = {
    "spine_x": (0.0, 7.7),
    "spine_y": (14.2, 14.8),
    "spine_z": (0.0, 7.2),
    "neck_x": (0.0, 13.1),
    "neck_y": (7.0, 17.3),
    "neck_z": (0.0, 28.2),
    "shoulder_elevation": (0.0, 10.0),
    "shoulder_protraction": (0.0, 10.0),
    "forearm_pronation": (12.2, 30.0),
    "wrist_flexion": (0.0, 27.0),
    "wrist_deviation": (0.0, 12.0),
    "ankle_dorsiflexion": (8.1, 14.9),
    "ankle_inversion": (0.0, 13.6),
    "toe_extension": (0.0, 20.0),
}
"""Mean and spread of single coordinates."""


@dataclass(frozen=True, slots=True, eq=False)
class _LimbSpread:
    """A ball and the hinge that follows it, left side."""

    ball: Float64
    """[4] usual rotation of the ball."""
    bend_rad: float
    precision: Float64
    """[4, 4] of the ball's departure (right-perturbed rotation vector) and the bend's, 1/rad^2."""


def _spread(
    ball_deg: tuple[float, float, float], bend_deg: float, sigmas_deg: tuple[float, ...], correlation: list[list[float]]
) -> _LimbSpread:
    sigmas = _WIDER * np.radians(sigmas_deg)
    return _LimbSpread(
        quaternion.from_rotvec(np.radians(ball_deg)),
        math.radians(bend_deg),
        np.asarray(np.linalg.inv(np.array(correlation) * sigmas[:, None] * sigmas[None, :])),
    )


_LIMBS: dict[Limb, _LimbSpread] = {
    "arm": _spread(
        (-68.1, -3.9, -11.2), 50.3, (23.6, 22.3, 34.6, 26.6),
        [[1.0, -0.08, -0.59, 0.21], [-0.08, 1.0, 0.10, -0.17], [-0.59, 0.10, 1.0, -0.26], [0.21, -0.17, -0.26, 1.0]],
    ),
    "leg": _spread(
        (2.6, -29.2, 5.3), 49.2, (10.2, 25.8, 11.3, 28.9),
        [[1.0, -0.21, -0.03, 0.39], [-0.21, 1.0, -0.28, -0.62], [-0.03, -0.28, 1.0, 0.18], [0.39, -0.62, 0.18, 1.0]],
    ),
}  # fmt: skip
_BALL_AND_BEND: dict[Limb, tuple[str, str]] = {"arm": ("arm_x", "elbow_flexion"), "leg": ("hip_x", "knee_flexion")}


def _single() -> tuple[Bool, Float64, Float64]:
    """Which of the 44 coordinates stand for themselves, their means and their spreads."""
    usual = [_USUAL_DEG.get(name.removeprefix("left_").removeprefix("right_")) for name in COORDINATE_NAMES]
    alone = np.array([pair is not None for pair in usual])
    values = np.radians([pair for pair in usual if pair is not None])
    return alone, values[:, 0], _WIDER * values[:, 1]


_ALONE, _MEAN, _SIGMA = _single()
_LOW, _HIGH = coordinate_limits()


def _student(squared: Float64, size: int) -> Float64:
    """Minus twice the logarithm of a Student-t's density, 0 at its centre."""
    return np.asarray((_NU + size) * np.log1p(squared / _NU))


def mirrored(q: Float64, side: Side) -> Float64:
    """Rotations [..., 4] of a side as the left one would make them; its own inverse."""
    return q * np.array([1.0, *_MIRROR]) if side == "right" else q


def limb_surprise(limb: Limb, side: Side, ball: Float64, bend_rad: Float64) -> Float64:
    """How unusual a ball's rotation [..., 4] and the bend [...] that follows it are, 0 for the usual.

    Minus twice the logarithm of a density, as the squared distances of measurements are.
    """
    spread = _LIMBS[limb]
    turned = quaternion.to_rotvec(quaternion.multiply(quaternion.conjugate(spread.ball), mirrored(ball, side)))
    away = np.concatenate([turned, (bend_rad - spread.bend_rad)[..., None]], axis=-1)
    return _student(((away @ spread.precision) * away).sum(-1), 4)


def lean_surprise(trunk: Float64) -> Float64:
    """How unusual it is for the middle of a trunk to stand in the world as the rotations [..., 4] say."""
    up = quaternion.rotate(quaternion.conjugate(trunk), _UP)
    forward, sideways = np.arctan2(-up[..., 0], up[..., 2]), np.arcsin(np.clip(up[..., 1], -1.0, 1.0))
    squared = sum(
        ((angle - math.radians(mean)) / (_WIDER * math.radians(sigma))) ** 2
        for angle, (mean, sigma) in zip((forward, sideways), _LEAN_DEG, strict=True)
    )
    return _student(np.asarray(squared), 2)


def pose_surprise(coordinates: Float64) -> Float64:
    """How unusual poses [..., 44] are: [...], 0 for the usual; place and heading do not matter.

    Minus twice the logarithm of a density, so that it can be added to the sum of
    squared, normalised residuals of measurements.
    """
    coordinates = np.asarray(coordinates, dtype=np.float64)
    spine = quaternion.from_rotvec(0.5 * coordinates[..., 6:9])
    total = lean_surprise(quaternion.multiply(quaternion.from_rotvec(coordinates[..., 3:6]), spine))
    for limb, (ball, bend) in _BALL_AND_BEND.items():
        for side in ("left", "right"):
            first = COORDINATE[f"{side}_{ball}"]
            q = quaternion.from_rotvec(coordinates[..., first : first + 3])
            total = total + limb_surprise(limb, side, q, coordinates[..., COORDINATE[f"{side}_{bend}"]])
    away = (coordinates[..., _ALONE] - _MEAN) / _SIGMA
    total = total + _student(away**2, 1).sum(-1)
    beyond = np.maximum(_LOW - coordinates, 0.0) + np.maximum(coordinates - _HIGH, 0.0)
    return np.asarray(total + ((beyond / _LIMIT_RAD) ** 2).sum(-1))
