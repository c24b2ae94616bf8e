"""How well one radar point, and a body's group of points, tell where the body is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fusion.body.reflection import (
    POINT_AZIMUTH_RAD,
    POINT_ELEVATION_RAD,
    POINT_RADIAL_VELOCITY_M_S,
    POINT_RANGE_M,
)
from fusion.estimators.radar.polar import RADIAL_VELOCITY
from fusion.records import Float64


@dataclass(frozen=True, slots=True)
class NoiseParams:
    """Errors of points, one standard deviation.

    Those of one point are robust figures of the MARS recordings, point against nearest bone (a TI IWR1443 with
    eight virtual antennas in azimuth, two in elevation).
    """

    range_m: float = POINT_RANGE_M
    azimuth_rad: float = POINT_AZIMUTH_RAD
    elevation_rad: float = POINT_ELEVATION_RAD
    radial_velocity_m_s: float = POINT_RADIAL_VELOCITY_M_S
    limbs_m_s: float = 0.8
    """Radial velocities of a body's parts about that of its middle."""
    surface_m: float = 0.08
    """What reflects is nearer to the radar than the middle of the body by this."""
    group_m: float = 0.07
    """The middle of what reflects is off the middle of the body by this along and across the line of sight,"""
    group_vertical_m: float = 0.20
    """by this upwards,"""
    group_m_s: float = 0.35
    """and moves by so much faster or slower;"""
    group_azimuth_rad: float = math.radians(1.0)
    """with what the radar's own axes are off,"""
    group_elevation_rad: float = math.radians(1.0)
    group_s: float = 0.4
    """for so long: frames that follow each other within this time share these errors."""
    limb_m: float = 0.20
    """Of somebody who stands only the limbs that move reflect: the middle of those is off by this, every way,"""
    limb_s: float = 1.0
    """for so long."""
    standing_m_s: float = 0.3
    """At this speed the variance is half that of somebody who stands."""
    separable_rad: float = 2.0 / 8.0
    """Two bodies nearer to each other in azimuth may reflect as one: 2/N for N antennas half a wavelength apart."""


def point_variances(params: NoiseParams) -> Float64:
    """[4] of range, azimuth, elevation and radial velocity of one point."""
    sigmas = (params.range_m, params.azimuth_rad, params.elevation_rad, params.radial_velocity_m_s)
    return np.square(sigmas)


def spread(extent_m2: Float64, jacobian: Float64, params: NoiseParams) -> Float64:
    """Covariance [4, 4] of one point's measure about that of its body's middle.

    Args:
        extent_m2: [3, 3] covariance of where the body reflects, world.
        jacobian: [4, 6] of the measure by the body's state.
        params: noise.
    """
    rows = jacobian[:RADIAL_VELOCITY, :3]
    result = np.diag(point_variances(params))
    result[:RADIAL_VELOCITY, :RADIAL_VELOCITY] += rows @ extent_m2 @ rows.T
    result[RADIAL_VELOCITY, RADIAL_VELOCITY] += params.limbs_m_s**2
    return result


def standing_share(speed_m_s: float, params: NoiseParams) -> float:
    """How much a body of a horizontal speed is one that stands, and whose limbs alone reflect, 0..1."""
    return 1.0 / (1.0 + (speed_m_s / params.standing_m_s) ** 4)


class Group(NamedTuple):
    """A body's points of one frame."""

    points: float
    distance_m: float
    """From radar to body."""
    speed_m_s: float
    """Of the body, horizontal."""
    merged: bool
    """Whether another body may be in the same beam."""


def group_covariance(spread_covariance: Float64, group: Group, elapsed_s: float, params: NoiseParams) -> Float64:
    """Covariance [4, 4] of the mean measure of a body's points: spread / n, and what n does not help against.

    The error that the group shares lasts for ``group_s``. Frames within this time are told apart from
    independent ones by its variance being enlarged in proportion, so that they carry the information of one.

    Args:
        spread_covariance: of one point.
        group: which points.
        elapsed_s: since this radar's last measure of the body.
        params: noise.
    """
    lasting = np.array([params.group_m, params.group_m, params.group_vertical_m]) ** 2
    standing = standing_share(group.speed_m_s, params)
    elapsed_s = max(elapsed_s, 1e-3)
    lasting *= max(params.group_s / elapsed_s, 1.0)
    lasting += standing * params.limb_m**2 * max(params.limb_s / elapsed_s, 1.0)
    lasting[1:] /= group.distance_m**2
    angles = np.square([params.group_azimuth_rad, params.group_elevation_rad])
    lasting[1:] += angles * max(params.group_s / elapsed_s, 1.0)
    if group.merged:
        lasting[1] += params.separable_rad**2 / 12.0 * max(params.group_s / elapsed_s, 1.0)
    rate = params.group_m_s**2 * max(params.group_s / elapsed_s, 1.0)
    return spread_covariance / group.points + np.diag([*lasting, rate])
