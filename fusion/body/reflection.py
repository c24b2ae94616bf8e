"""Which parts of a body a small radar sees, and how often.

Shares are those of 1.27 million points of the MARS recordings against the bones
of their labels (An and Ogras, "MARS: mmWave-based assistive rehabilitation
system", ACM TECS 20(5s), 2021, data of its repository), made the same for left
and right. A static filter in the sensor takes away what does not move: a still
limb vanishes.
"""

from __future__ import annotations

import math

_SHARES = {
    "pelvis": 0.06, "l5": 0.08, "t12": 0.10, "neck": 0.04, "head": 0.08,
    "upper_arm": 0.13, "forearm": 0.15, "hand": 0.03, "upper_leg": 0.06, "lower_leg": 0.008, "foot": 0.004,
}  # fmt: skip


def reflecting_share(segment: str) -> float:
    """How often a part of the body reflects, of about 1 in all, if everything moves; 0 where another counts for it."""
    return _SHARES.get(segment.removeprefix("right_").removeprefix("left_"), 0.0)


POINT_RANGE_M = 0.088
"""Robust standard deviation of one point of the same recordings about the nearest bone: of its range,"""
POINT_AZIMUTH_RAD = math.radians(3.3)
POINT_ELEVATION_RAD = math.radians(2.1)
POINT_RADIAL_VELOCITY_M_S = 0.53
MOVING_M_S = 0.3
"""What moves along the line of sight at this speed reflects as often as it can, slower parts in proportion."""
