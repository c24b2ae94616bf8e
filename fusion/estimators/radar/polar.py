"""What a radar measures of a place that moves: range, azimuth, elevation and radial velocity, with derivatives.

Radar frame: x right, y forward, z up. Azimuth is positive to the right,
elevation upwards, radial velocity when receding. Angles in rad, lengths in m.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fusion.records import Bool, Float64
from fusion.rig import RadarMount

RANGE, AZIMUTH, ELEVATION, RADIAL_VELOCITY = range(4)
MEASURES = 4
STATES = 6
"""Position and velocity in the world."""
NEAREST_M = 0.1
"""Nearer than this to the radar, or to its vertical axis, angles mean nothing."""


class Prediction(NamedTuple):
    """A state as one radar would measure it."""

    measure: Float64
    """[4] range, azimuth, elevation, radial velocity."""
    jacobian: Float64
    """[4, 6] by world position and velocity."""


def polar_of(points_m: Float64) -> Float64:
    """Range, azimuth and elevation [N, 3] of radar-frame points [N, 3]."""
    result = np.empty((len(points_m), 3))
    flat = np.hypot(points_m[:, 0], points_m[:, 1])
    result[:, RANGE] = np.hypot(flat, points_m[:, 2])
    result[:, AZIMUTH] = np.arctan2(points_m[:, 0], points_m[:, 1])
    result[:, ELEVATION] = np.arctan2(points_m[:, 2], flat)
    return result


def predict_measure(state: Float64, mount: RadarMount) -> Prediction | None:
    """The measure of a world state [6] and its Jacobian; None where the radar is too near for angles."""
    turn = mount.r_world_from_radar
    x, y, z = (state[:3] - mount.position_world_m) @ turn
    velocity = state[3:] @ turn
    flat = math.hypot(x, y)
    if flat < NEAREST_M:
        return None
    distance = math.hypot(flat, z)
    sight = np.array([x, y, z]) / distance
    rate = float(sight @ velocity)
    rows = np.zeros((MEASURES, 3))
    rows[RANGE] = sight
    rows[AZIMUTH] = y / flat**2, -x / flat**2, 0.0
    rows[ELEVATION] = -x * z / (flat * distance**2), -y * z / (flat * distance**2), flat / distance**2
    rows[RADIAL_VELOCITY] = (velocity - rate * sight) / distance
    jacobian = np.zeros((MEASURES, STATES))
    jacobian[:, :3] = rows @ turn.T
    jacobian[RADIAL_VELOCITY, 3:] = turn @ sight
    measure = np.array([distance, math.atan2(x, y), math.atan2(z, flat), rate])
    return Prediction(measure, jacobian)


def residuals(measured: Float64, predicted: Float64) -> Float64:
    """Measured [N, 4] minus predicted [4]; azimuths differ by half a turn at most."""
    difference = measured - predicted
    azimuth = difference[:, AZIMUTH]
    azimuth -= 2.0 * math.pi * np.round(azimuth / (2.0 * math.pi))
    return difference


def unfolded(rates_m_s: Float64, expected_m_s: float, fold_m_s: float) -> Float64:
    """Radial velocities [N] moved by multiples of ``2 * fold_m_s`` to where they are nearest to what is expected.

    A radar that tells velocities of -fold to +fold shows a faster one on the other side.
    """
    period = 2.0 * fold_m_s
    return rates_m_s + period * np.round((expected_m_s - rates_m_s) / period)


def in_view(position_m: Float64, mount: RadarMount) -> bool:
    """Whether a world place [3] is within the radar's range and azimuth.

    Elevation is left out: of a body that stands too near for its head and feet to be in view the rest is.
    """
    return bool(all_in_view(position_m[None], mount)[0])


def all_in_view(positions_m: Float64, mount: RadarMount) -> Bool:
    """``in_view`` of world places [N, 3]."""
    local = (positions_m - mount.position_world_m) @ mount.r_world_from_radar
    azimuth = np.arctan2(local[:, 0], local[:, 1])
    inside: Bool = (np.abs(azimuth) <= mount.azimuth_fov_rad) & (np.linalg.norm(local, axis=1) <= mount.range_max_m)
    return inside
