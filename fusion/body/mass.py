"""Where a body's mass is: its segments' shares of it, and the centre of all.

The shares and the place of each segment's own centre are those of Zatsiorsky
and Seluyanov as adjusted by de Leva, the mean of both sexes. Each of the 16
masses is a point on one of our segments and moves with its length; the way from
de Leva's segments to ours is told in ``docs/angles.md``. The shares are those
of a mean adult: a person's own may differ by a few percent of body mass, which
moves the whole centre by about a centimetre.

Source: de Leva, "Adjustments to Zatsiorsky-Seluyanov's segment inertia
parameters", J. Biomech. 29 (1996) 1223-1230, table 4.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from fusion.body.skeleton import JOINTS, LENGTH, REFERENCE_LENGTHS_M, SEGMENT
from fusion.maths.kernels import rotated
from fusion.records import Float64, Int64

Point = tuple[float, float, float]


class Mass(NamedTuple):
    """The mass of one part of the body."""

    part: str
    share: float
    """Of the whole mass; all parts sum to 1."""
    segment: str
    offset_m: Point
    """Centre in the segment's frame of the reference body."""
    length: str
    """Which length scales the offset."""


_OFFSET_M: dict[str, Point] = {joint.segment: joint.offset_m for joint in JOINTS}

_HEEL_M, _TOE_TIP_M = (-0.055, -0.075), (0.2163, -0.0914)
"""Heel and tip of the longest toe in the foot's frame of the reference body, forward and up."""

_TRUNK_M = sum(_OFFSET_M[name][2] for name in ("l5", "l3", "t12", "t8", "neck"))
"""From between the hips to the seventh neck vertebra."""

# De Leva's figures, female and male: share of the mass in percent, place of the centre in percent of the way
# between the named points, and for the three parts of the trunk the length in mm (CERV to XYPH for the upper).
_HEAD = ((6.68, 48.41), (6.94, 50.02))  # VERT to CERV, neck included
_UPPER_TRUNK = ((15.45, 50.50, 228.0), (15.96, 50.66, 242.1))  # CERV to XYPH
_MIDDLE_TRUNK = ((14.65, 45.12, 205.3), (16.33, 45.02, 215.5))  # XYPH to OMPH
_LOWER_TRUNK = ((12.47, 49.20, 181.5), (11.17, 61.15, 145.7))  # OMPH to MIDH
_UPPER_ARM = ((2.55, 57.54), (2.71, 57.72))  # SJC to EJC
_FOREARM = ((1.38, 45.59), (1.62, 45.74))  # EJC to WJC
_HAND = ((0.56, 34.27), (0.61, 36.24))  # WJC to DAC3
_THIGH = ((14.78, 36.12), (14.16, 40.95))  # HJC to KJC
_SHANK = ((4.81, 43.52), (4.33, 43.95))  # KJC to AJC
_FOOT = ((1.29, 40.14), (1.37, 44.15))  # HEEL to TTIP


def _mean(figures: tuple[tuple[float, ...], tuple[float, ...]], column: int) -> float:
    return 0.5 * (figures[0][column] + figures[1][column])


def _trunk_heights() -> tuple[float, float, float]:
    """Height of the centres of lower, middle and upper trunk, as parts of the way from mid-hip to C7."""
    heights = np.zeros(3)
    for lower, middle, upper in zip(_LOWER_TRUNK, _MIDDLE_TRUNK, _UPPER_TRUNK, strict=True):
        length = lower[2] + middle[2] + upper[2]
        heights[0] += 0.5 * lower[2] * (1.0 - lower[1] / 100.0) / length
        heights[1] += 0.5 * (lower[2] + middle[2] * (1.0 - middle[1] / 100.0)) / length
        heights[2] += 0.5 * (1.0 - upper[2] * upper[1] / 100.0 / length)
    return float(heights[0]), float(heights[1]), float(heights[2])


def _trunk() -> list[Mass]:
    """The trunk's three parts, each on the segment of our spine in which its centre lies."""
    masses = []
    names = ("lower_trunk", "middle_trunk", "upper_trunk")
    figures = (_LOWER_TRUNK, _MIDDLE_TRUNK, _UPPER_TRUNK)
    spine = ("pelvis", "l5", "l3", "t12", "t8")
    starts = np.cumsum([0.0, *(_OFFSET_M[name][2] for name in spine[1:])])
    for name, part, height in zip(names, figures, _trunk_heights(), strict=True):
        k = int(np.searchsorted(starts, height * _TRUNK_M, side="right")) - 1
        masses.append(Mass(name, _mean(part, 0), spine[k], (0.0, 0.0, height * _TRUNK_M - float(starts[k])), "trunk"))
    return masses


def _side(side: str) -> list[Mass]:
    """Arm and leg of one side: each centre lies on the way from one joint to the next."""
    s = -1.0 if side == "right" else 1.0
    fingertip: Point = (0.0, s * REFERENCE_LENGTHS_M[LENGTH["hand"]], 0.0)

    def along(part: str, figures: tuple[tuple[float, float], tuple[float, float]], end: Point, length: str) -> Mass:
        centre = _mean(figures, 1) / 100.0
        segment = f"{side}_{part}"
        return Mass(segment, _mean(figures, 0), segment, (centre * end[0], centre * end[1], centre * end[2]), length)

    foot = _mean(_FOOT, 1) / 100.0
    forward, up = (heel + foot * (tip - heel) for heel, tip in zip(_HEEL_M, _TOE_TIP_M, strict=True))
    return [
        along("upper_arm", _UPPER_ARM, _OFFSET_M[f"{side}_forearm"], "upper_arm"),
        along("forearm", _FOREARM, _OFFSET_M[f"{side}_hand"], "forearm"),
        along("hand", _HAND, fingertip, "hand"),
        along("upper_leg", _THIGH, _OFFSET_M[f"{side}_lower_leg"], "thigh"),
        along("lower_leg", _SHANK, _OFFSET_M[f"{side}_foot"], "shank"),
        Mass(f"{side}_foot", _mean(_FOOT, 0), f"{side}_foot", (forward, 0.0, up), "foot"),
    ]


def _masses() -> tuple[Mass, ...]:
    neck_m, head_m = _OFFSET_M["head"][2], float(REFERENCE_LENGTHS_M[LENGTH["head"]])
    above_c7 = (1.0 - _mean(_HEAD, 1) / 100.0) * (neck_m + head_m)
    head = Mass("head", _mean(_HEAD, 0), "head", (0.0, 0.0, above_c7 - neck_m), "head")
    masses = [head, *_trunk(), *_side("right"), *_side("left")]
    whole = sum(mass.share for mass in masses)
    return tuple(mass._replace(share=mass.share / whole) for mass in masses)


MASSES: tuple[Mass, ...] = _masses()
"""All parts of the body."""


class MassTables(NamedTuple):
    """The masses as arrays for the kernel."""

    share: Float64
    """[16]."""
    segment: Int64
    """[16] index into ``SEGMENT_NAMES``."""
    unit_offset: Float64
    """[16, 3] centre in the segment's frame per metre of the length."""
    length: Int64
    """[16] index into ``LENGTH_NAMES``."""


def mass_tables() -> MassTables:
    """Arrays of ``MASSES``."""
    length = np.array([LENGTH[mass.length] for mass in MASSES], dtype=np.int64)
    return MassTables(
        share=np.array([mass.share for mass in MASSES]),
        segment=np.array([SEGMENT[mass.segment] for mass in MASSES], dtype=np.int64),
        unit_offset=np.array([mass.offset_m for mass in MASSES]) / REFERENCE_LENGTHS_M[length][:, None],
        length=length,
    )


MASS_TABLES = mass_tables()


@njit(cache=True)
def centre_of_mass(
    tables: MassTables, lengths_m: Float64, positions: Float64, quaternions: Float64, out: Float64
) -> None:
    """Centre of mass of one body.

    Args:
        tables: the masses.
        lengths_m: [11].
        positions: [23, 3] world position of each segment's origin, m.
        quaternions: [23, 4] ``q_world_from_segment``, unit.
        out: out [3] world position, m.
    """
    x, y, z = 0.0, 0.0, 0.0
    for k in range(tables.share.shape[0]):
        s, size, share = tables.segment[k], lengths_m[tables.length[k]], tables.share[k]
        offset = rotated(
            (quaternions[s, 0], quaternions[s, 1], quaternions[s, 2], quaternions[s, 3]),
            (size * tables.unit_offset[k, 0], size * tables.unit_offset[k, 1], size * tables.unit_offset[k, 2]),
        )
        x += share * (positions[s, 0] + offset[0])
        y += share * (positions[s, 1] + offset[1])
        z += share * (positions[s, 2] + offset[2])
    out[0], out[1], out[2] = x, y, z
