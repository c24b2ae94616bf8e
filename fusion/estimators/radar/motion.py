"""How a tracked body moves on while nobody looks: straight ahead, or coming to rest.

Source: Bar-Shalom, Li & Kirubarajan, "Estimation with Applications to Tracking and
Navigation", 2001: nearly constant velocity with white acceleration (eq. 6.2.2-12),
and velocity that decays with white acceleration (section 8.2, the Ornstein-Uhlenbeck
process); state is position and velocity in the world.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fusion.records import Float64


@dataclass(frozen=True, slots=True)
class MotionParams:
    """Restlessness of bodies."""

    acceleration_m_s2_rthz: float = 1.0
    """Density of the horizontal white acceleration: m/s² per root hertz; a step's worth of velocity a second."""
    vertical_m_s2_rthz: float = 0.25
    rest_after_s: float = 0.3
    """Somebody slow who has been unseen for so long is coming to rest:"""
    rest_time_s: float = 0.5
    """what velocity is left decays with this time constant,"""
    rest_speed_m_s: float = 0.15
    """and a still body shifts about with velocities of this size, so that its place grows vague."""


class Transition(NamedTuple):
    """Of a state over some time."""

    matrix: Float64
    """[6, 6]."""
    noise: Float64
    """[6, 6]."""


def straight(elapsed_s: float, params: MotionParams) -> Transition:
    """Nearly constant velocity; a negative time goes back, its noise is that of the time between."""
    matrix = np.eye(6)
    span = abs(elapsed_s)
    density = np.square([params.acceleration_m_s2_rthz, params.acceleration_m_s2_rthz, params.vertical_m_s2_rthz])
    noise = np.zeros((6, 6))
    for axis in range(3):
        matrix[axis, axis + 3] = elapsed_s
        noise[axis, axis] = density[axis] * span**3 / 3.0
        noise[axis, axis + 3] = noise[axis + 3, axis] = density[axis] * span * elapsed_s / 2.0
        noise[axis + 3, axis + 3] = density[axis] * span
    return Transition(matrix, noise)


def coming_to_rest(elapsed_s: float, params: MotionParams) -> Transition:
    """Velocity that decays to small shifts; ``elapsed_s`` is not negative."""
    time = params.rest_time_s
    left = math.exp(-elapsed_s / time)
    variance = params.rest_speed_m_s**2
    matrix = np.eye(6)
    noise = np.zeros((6, 6))
    for axis in range(3):
        matrix[axis, axis + 3] = time * (1.0 - left)
        matrix[axis + 3, axis + 3] = left
        noise[axis, axis] = variance * time**2 * (2.0 * elapsed_s / time - 3.0 + 4.0 * left - left**2)
        noise[axis, axis + 3] = noise[axis + 3, axis] = variance * time * (1.0 - left) ** 2
        noise[axis + 3, axis + 3] = variance * (1.0 - left**2)
    return Transition(matrix, noise)
