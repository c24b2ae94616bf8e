"""How likely a radar's points are, given where the person was and a pose: the score, point by point.

Each point is from one of K places on the body or from nowhere: a mixture of
normal densities in range, azimuth, elevation and radial velocity, and a uniform
one. A place counts as often as its part of the body reflects (at first
``reflecting_share``) and as it moves along the line of sight. What lies outside the field of view is
never seen: the density of the body is that within it.

The score is the derivative of the log likelihood by the parameters (Fisher), the
information its outer product summed over points (Berndt, Hall, Hall & Hausman,
"Estimation and inference in nonlinear structural models", Annals of Economic and
Social Measurement 3(4), 1974). Differs from the exact derivative in that the
weights of the places and the side that limbs turn to the radar count as given.
At the true parameters the mean of the score is zero all the same.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from calibration.radar.body import DEPTHS_M, SHARES, Places
from fusion.estimators.radar.polar import MEASURES
from fusion.records import Float64, Int64

TURN, SHIFT, TIME, BIAS = slice(0, 3), slice(3, 6), 6, 7
"""Parameters: a small turn of the radar about its own axes (rad), its position in the world (m), how late its
stamps are (s), and how much too far it measures (m)."""
PARAMETERS = 8

_ALWAYS = 0.02
"""Part of its share that a place keeps when it does not move."""
_NEAREST_M = 0.1
_NEGLIGIBLE = 1e-12
_WHOLE = 2.5
"""So many standard deviations within the bounds nothing is cut off."""


class Model(NamedTuple):
    """What is known of a radar's errors."""

    sigmas: Float64
    """[4] of range (m), azimuth, elevation (rad) and radial velocity (m/s)."""
    low: Float64
    """[4] bounds of what the radar can tell, in the same order."""
    high: Float64
    """[4]."""
    clutter: float
    """Share of points that are from nobody."""
    full_speed_m_s: float
    """What moves radially at least as fast is always seen."""
    shares: Float64 = SHARES
    """[K] how often each place reflects if all of them move."""


class Score(NamedTuple):
    """What all points say at once."""

    log_likelihood: float
    frames: Float64
    """[F, 8] score of each frame's points."""
    information: Float64
    """[8, 8]."""
    body: float
    """How many points are from the body, by their probabilities."""
    counted: Float64
    """[4] how many of these are from places of which the bounds of the view cut nothing off,"""
    squares: Float64
    """[4] sum of their squared residuals,"""
    residuals: Float64
    """[4] and of their residuals."""
    owners: Float64
    """[N] probability of each point to be the body's."""
    hits: Float64
    """[K] how many points are from each place, by their probabilities,"""
    exposure: Float64
    """[K] and how many would be if its share were 1."""


def score(
    measured: Float64, first: Int64, places: Places, r_world_from_radar: Float64, pose: Float64, model: Model
) -> Score:
    """The score of a radar's points.

    Args:
        measured: [N, 4] range, azimuth, elevation, radial velocity of each point.
        first: [F + 1] where each frame's points begin.
        places: at the true time of each frame.
        r_world_from_radar: [3, 3].
        pose: [4] position in the world and range bias, m.
        model: the radar's errors.
    """
    frames = np.zeros((len(first) - 1, PARAMETERS))
    information = np.zeros((PARAMETERS, PARAMETERS))
    sums = np.zeros((3, MEASURES))
    owners, parts = np.zeros(len(measured)), np.zeros((2, len(SHARES)))
    arrays = (measured, first, *places, model.shares, DEPTHS_M)
    numbers = (model.sigmas, model.low, model.high, model.clutter, model.full_speed_m_s)
    value = _score(*arrays, r_world_from_radar, pose, *numbers, frames, information, sums, owners, parts)
    return Score(float(value), frames, information, float(owners.sum()), sums[0], sums[1], sums[2], owners, *parts)


@njit(cache=True)
def _inside(value: float, sigma: float, low: float, high: float) -> tuple[float, float, bool]:
    """Probability that a measure about a value is within bounds, its derivative by the value, and if that is all."""
    a, b = (low - value) / sigma, (high - value) / sigma
    share = 0.5 * (math.erf(b / math.sqrt(2.0)) - math.erf(a / math.sqrt(2.0)))
    slope = (math.exp(-0.5 * a * a) - math.exp(-0.5 * b * b)) / (math.sqrt(2.0 * math.pi) * sigma)
    return share, slope, a < -_WHOLE and b > _WHOLE


@njit(cache=True)
def _expected(
    place: Float64,
    velocity: Float64,
    acceleration: Float64,
    depth_m: float,
    turn: Float64,
    pose: Float64,
    value: Float64,
    rows: Float64,
) -> bool:
    """The measure [4] of one place and its derivatives [4, 8]; False where it is too near for angles."""
    x, y, z = place[0] - pose[0], place[1] - pose[1], place[2] - pose[2]
    distance = math.sqrt(x * x + y * y + z * z)
    if distance < _NEAREST_M + depth_m:
        return False
    # The surface faces the radar, so it lies on the line of sight.
    scale = 1.0 - depth_m / distance
    x, y, z = x * scale, y * scale, z * scale
    r = distance - depth_m
    q0 = turn[0, 0] * x + turn[1, 0] * y + turn[2, 0] * z
    q1 = turn[0, 1] * x + turn[1, 1] * y + turn[2, 1] * z
    q2 = turn[0, 2] * x + turn[1, 2] * y + turn[2, 2] * z
    flat = math.hypot(q0, q1)
    if flat < _NEAREST_M:
        return False
    s0, s1, s2 = x / r, y / r, z / r
    v0, v1, v2 = velocity[0], velocity[1], velocity[2]
    rate = s0 * v0 + s1 * v1 + s2 * v2
    value[0] = r + pose[3]
    value[1] = math.atan2(q0, q1)
    value[2] = math.atan2(q2, flat)
    value[3] = rate
    az0, az1 = q1 / (flat * flat), -q0 / (flat * flat)
    el0, el1, el2 = -q0 * q2 / (flat * r * r), -q1 * q2 / (flat * r * r), flat / (r * r)
    rows[:] = 0.0
    # By a small turn d of the radar: a place moves by q x d in its frame.
    rows[1, 0], rows[1, 1], rows[1, 2] = az1 * q2, -az0 * q2, az0 * q1 - az1 * q0
    rows[2, 0] = el1 * q2 - el2 * q1
    rows[2, 1] = el2 * q0 - el0 * q2
    rows[2, 2] = el0 * q1 - el1 * q0
    rows[0, 3], rows[0, 4], rows[0, 5] = -s0, -s1, -s2
    for axis in range(3):
        # Where the place is moves the surface a little less than itself across the line of sight.
        rows[1, 3 + axis] = -(az0 * turn[axis, 0] + az1 * turn[axis, 1]) * scale
        rows[2, 3 + axis] = -(el0 * turn[axis, 0] + el1 * turn[axis, 1] + el2 * turn[axis, 2]) * scale
    rows[3, 3] = -(v0 - rate * s0) / distance
    rows[3, 4] = -(v1 - rate * s1) / distance
    rows[3, 5] = -(v2 - rate * s2) / distance
    for measure in range(4):
        # A stamp that is later by d tells of the place at a time earlier by d.
        rows[measure, 6] = rows[measure, 3] * v0 + rows[measure, 4] * v1 + rows[measure, 5] * v2
    rows[3, 6] -= s0 * acceleration[0] + s1 * acceleration[1] + s2 * acceleration[2]
    rows[0, 7] = 1.0
    return True


@njit(cache=True)
def _score(
    measured: Float64,
    first: Int64,
    positions: Float64,
    velocities: Float64,
    accelerations: Float64,
    shares: Float64,
    depths: Float64,
    turn: Float64,
    pose: Float64,
    sigmas: Float64,
    low: Float64,
    high: Float64,
    clutter: float,
    full_speed: float,
    frames: Float64,
    information: Float64,
    sums: Float64,
    owners: Float64,
    parts: Float64,
) -> float:
    """Fill what ``Score`` holds: ``sums`` are counted, squares and residuals, ``parts`` are hits and exposure."""
    count = shares.shape[0]
    values, rows = np.zeros((count, 4)), np.zeros((count, 4, 8))
    weight, chance, whole = np.zeros(count), np.zeros(count), np.ones((count, 4), np.bool_)
    view, body_points = np.zeros(count), 0.0
    drift, own, residual = np.zeros(8), np.zeros(8), np.zeros(4)
    uniform = clutter
    for m in range(4):
        uniform /= high[m] - low[m]
    scale = (1.0 - clutter) / ((2.0 * math.pi) ** 2 * sigmas[0] * sigmas[1] * sigmas[2] * sigmas[3])
    total = 0.0
    for f in range(frames.shape[0]):
        if first[f + 1] == first[f]:
            continue
        seen = 0.0
        drift[:] = 0.0
        for k in range(count):
            weight[k] = 0.0
            if not _expected(
                positions[f, k], velocities[f, k], accelerations[f, k], depths[k], turn, pose, values[k], rows[k]
            ):
                continue
            weight[k] = shares[k] * (min(abs(values[k, 3]) / full_speed, 1.0) + _ALWAYS)
            in_azimuth, by_azimuth, whole[k, 1] = _inside(values[k, 1], sigmas[1], low[1], high[1])
            in_elevation, by_elevation, whole[k, 2] = _inside(values[k, 2], sigmas[2], low[2], high[2])
            view[k] = in_azimuth * in_elevation
            seen += weight[k] * view[k]
            for j in range(8):
                drift[j] += weight[k] * (
                    by_azimuth * in_elevation * rows[k, 1, j] + in_azimuth * by_elevation * rows[k, 2, j]
                )
        # Where hardly anything of the body is in view, what is seen there is taken for clutter.
        visible = max(seen, 1e-3)
        body_points = 0.0
        if seen < 1e-3:
            drift[:] = 0.0
        for i in range(first[f], first[f + 1]):
            density = 0.0
            for k in range(count):
                chance[k] = 0.0
                if weight[k] == 0.0:
                    continue
                square = 0.0
                for m in range(4):
                    error = (measured[i, m] - values[k, m]) / sigmas[m]
                    square += error * error
                chance[k] = weight[k] * math.exp(-0.5 * square)
                density += chance[k]
            body = scale * density / visible
            total += math.log(max(body + uniform, 1e-300))
            owner = body / max(body + uniform, 1e-300)
            owners[i] = owner
            body_points += owner
            if owner < _NEGLIGIBLE:
                continue
            for j in range(8):
                own[j] = -owner * drift[j] / visible
            for k in range(count):
                if chance[k] <= 1e-6 * density:
                    continue
                part = owner * chance[k] / density
                parts[0, k] += part
                for m in range(4):
                    residual[m] = measured[i, m] - values[k, m]
                    if whole[k, m]:
                        sums[0, m] += part
                        sums[1, m] += part * residual[m] * residual[m]
                        sums[2, m] += part * residual[m]
                    pull = part * residual[m] / (sigmas[m] * sigmas[m])
                    for j in range(8):
                        own[j] += pull * rows[k, m, j]
            for j in range(8):
                frames[f, j] += own[j]
                for other in range(j + 1):
                    information[j, other] += own[j] * own[other]
        for k in range(count):
            if weight[k] > 0.0:
                parts[1, k] += body_points * weight[k] / shares[k] * view[k] / visible
    for j in range(8):
        for other in range(j):
            information[other, j] = information[j, other]
    return total
