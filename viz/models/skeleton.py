"""A person as bones and joints to draw, measured and inferred parts told apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fusion.body import skeleton as body
from fusion.maths import quaternion
from fusion.records import Array, Float32, Float64, Int64
from viz.models import colours
from viz.models.colours import Colour
from viz.models.lines import Lines, Points, uniform

MEASURED_SIZE_PX = 9.0
INFERRED_SIZE_PX = 6.0
ELLIPSOID_SIGMAS = 2.0
ELLIPSOID_OPACITY = 0.55
MASS_SIZES_PX = (17.0, 12.0, 6.0)
"""Rings of the mark of a centre of mass, from the outside."""
MASS_RING_M = 0.10
MASS_OPACITY = 0.9
_DASH_M = 0.04
_ABOVE_FLOOR_M = 0.008
"""So that the floor's grid does not hide what lies on it."""
_CIRCLE_STEPS = 20
_TOE_TIP_SHARE = 0.17
"""Of the foot's length, how far the toes reach beyond their joint."""


@dataclass(frozen=True, slots=True)
class Tip:
    """The free end of a segment, which has no joint of its own."""

    segment: str
    direction: tuple[float, float, float]
    """In the segment's frame, as a share of the length."""
    length: str


TIPS: tuple[Tip, ...] = (
    Tip("head", (0.0, 0.0, 1.0), "head"),
    Tip("right_hand", (0.0, -1.0, 0.0), "hand"),
    Tip("left_hand", (0.0, 1.0, 0.0), "hand"),
    Tip("right_toe", (_TOE_TIP_SHARE, 0.0, 0.0), "foot"),
    Tip("left_toe", (_TOE_TIP_SHARE, 0.0, 0.0), "foot"),
)


def _bones() -> Int64:
    joints = [(int(parent), child) for child, parent in enumerate(body.PARENTS) if parent >= 0]
    tips = [(body.SEGMENT[tip.segment], body.SEGMENTS + index) for index, tip in enumerate(TIPS)]
    return np.array(joints + tips, dtype=np.int64)


BONES: Int64 = _bones()
"""[27, 2] pairs of points of ``points_with_tips``: the 22 joint-to-joint bones, then the tips."""

_TIP_SEGMENTS: Int64 = np.array([body.SEGMENT[tip.segment] for tip in TIPS], dtype=np.int64)
_TIP_DIRECTIONS: Float64 = np.array([tip.direction for tip in TIPS])
_TIP_LENGTHS: Int64 = np.array([body.LENGTH[tip.length] for tip in TIPS], dtype=np.int64)


def points_with_tips(positions_m: Array, q_world_from_segment: Array, lengths_m: Array) -> Float64:
    """Joints and tips of one person.

    Args:
        positions_m: [23, 3] world positions of the segments' origins.
        q_world_from_segment: [23, 4].
        lengths_m: [11], order of ``LENGTH_NAMES``.

    Returns:
        [28, 3] world metres: the 23 joints, then ``TIPS``.
    """
    joints = np.asarray(positions_m, dtype=np.float64)
    reach = _TIP_DIRECTIONS * np.asarray(lengths_m, dtype=np.float64)[_TIP_LENGTHS, None]
    turned = quaternion.rotate(np.asarray(q_world_from_segment, dtype=np.float64)[_TIP_SEGMENTS], reach)
    return np.concatenate([joints, joints[_TIP_SEGMENTS] + turned])


def bone_flags(measured: Array) -> Array:
    """[27] bool: a bone is measured if both its joints are; a tip's bone if its segment is."""
    flags = np.asarray(measured, dtype=bool)
    every = np.concatenate([flags, flags[_TIP_SEGMENTS]])
    return np.asarray(every[BONES[:, 0]] & every[BONES[:, 1]])


def bone_lines(points_m: Array, colour: Colour, measured: Array) -> Lines:
    """The bones of one person: points [28, 3] or their pixels [28, 2], flags [23]."""
    return Lines(
        np.asarray(points_m, dtype=np.float32)[BONES],
        colours.part_colours(colour, bone_flags(measured)),
    )


def joint_dots(positions_m: Array, colour: Colour, measured: Array) -> Points:
    """The joints of one person: measured ones larger. Positions [23, 3], flags [23]."""
    flags = np.asarray(measured, dtype=bool)
    return Points(
        np.asarray(positions_m, dtype=np.float32),
        colours.part_colours(colour, flags),
        np.where(flags, MEASURED_SIZE_PX, INFERRED_SIZE_PX).astype(np.float32),
    )


def _unit_circles() -> Float64:
    angles = np.linspace(0.0, 2.0 * math.pi, _CIRCLE_STEPS + 1)
    cos, sin, zero = np.cos(angles), np.sin(angles), np.zeros_like(angles)
    loops = [np.stack(axes, axis=1) for axes in ((cos, sin, zero), (cos, zero, sin), (zero, cos, sin))]
    return np.concatenate([np.stack([loop[:-1], loop[1:]], axis=1) for loop in loops])


_CIRCLES: Float64 = _unit_circles()
"""[60, 2, 3]: segments of three great circles of the unit sphere."""


def ellipsoid_lines(positions_m: Array, covariances_m2: Array, colour: Colour) -> Lines:
    """Two-sigma ellipsoids as three principal ellipses each.

    Args:
        positions_m: [J, 3].
        covariances_m2: [J, 3, 3]; one that is not finite draws nothing.
        colour: of the person.
    """
    covariances = np.asarray(covariances_m2, dtype=np.float64)
    known = np.isfinite(covariances).all(axis=(1, 2)) & np.isfinite(np.asarray(positions_m)).all(axis=1)
    symmetric = (covariances[known] + covariances[known].transpose(0, 2, 1)) / 2.0
    variances, axes = np.linalg.eigh(symmetric)
    half_axes = axes * (ELLIPSOID_SIGMAS * np.sqrt(np.maximum(variances, 0.0)))[:, None, :]
    circles = np.einsum("jab,seb->jsea", half_axes, _CIRCLES)
    ends = circles + np.asarray(positions_m, dtype=np.float64)[known][:, None, None, :]
    ends = ends.reshape(-1, 2, 3).astype(np.float32)
    return Lines(ends, uniform(colour, ELLIPSOID_OPACITY, len(ends)))


def mass_dot(centre_m: Array, colour: Colour) -> Points:
    """The mark of a centre of mass [3]: a target that is told from a joint; nothing where it is not finite."""
    dark, bright = (0.05, 0.06, 0.08), (1.0, 1.0, 1.0)
    tints = np.array([[*tint, 1.0] for tint in (colour, dark, bright)], np.float32)
    places = np.tile(np.asarray(centre_m, dtype=np.float32), (len(tints), 1))
    return Points(places, tints, np.array(MASS_SIZES_PX, np.float32))


def mass_lines(centre_m: Array, colour: Colour) -> Lines:
    """Where a centre of mass [3] stands on the floor (z = 0): a dashed plumb line to a ring with a cross."""
    centre = np.asarray(centre_m, dtype=np.float64)
    foot = np.array([centre[0], centre[1], _ABOVE_FLOOR_M])
    if not np.isfinite(centre).all():
        return Lines(np.zeros((0, 2, 3), np.float32), np.zeros((0, 4), np.float32))
    ring = foot + MASS_RING_M * _CIRCLES[:_CIRCLE_STEPS]
    cross = foot + 1.6 * MASS_RING_M * np.array([[[-1, 0, 0], [1, 0, 0]], [[0, -1, 0], [0, 1, 0]]])
    ends = np.concatenate([ring, cross, dashes(foot, centre)]).astype(np.float32)
    return Lines(ends, uniform(colour, MASS_OPACITY, len(ends)))


def dashes(start: Float64, end: Float64, dash_m: float = _DASH_M) -> Float64:
    """[D, 2, 3] dashes as long as their gaps, from one place to another."""
    count = max(1, round(float(np.linalg.norm(end - start)) / (2 * dash_m)))
    shares = (np.arange(count)[:, None] + np.array([0.0, 0.5])) / count
    return np.asarray(start + shares[..., None] * (end - start))


def reference_lengths() -> Float32:
    """[11] lengths of the reference body, for skeletons that come without their own."""
    return body.REFERENCE_LENGTHS_M.astype(np.float32)
