"""Orientations of sensors between holds, by their gyroscopes, upright at every hold.

A calibration knows more than a running orientation filter: when the sensors were
still, before and after each movement. Then the gyroscopes' biases and the
vertical are known, and in the few seconds between there is no need to guess from
accelerations which part of them is gravity. Each sensor has a world of its own,
z up, whose heading is the sensor's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.inertial.recording import Recording
from calibration.inertial.stillness import Hold, up_in_sensor
from fusion.maths import quaternion
from fusion.records import Float64, Int64

UP: Float64 = np.array([0.0, 0.0, 1.0])
_NOISE_RAD_S = 0.01
"""Of a gyroscope; holds that are quieter count alike."""


@dataclass(frozen=True, slots=True, eq=False)
class Attitude:
    """Orientations of M sensors from the middle of the first hold to the middle of the last."""

    holds: tuple[Hold, ...]
    """In the order of time."""
    q_world_from_sensor: Float64
    """[T, M, 4]; outside the span as at its end."""
    gravity_m_s2: Float64
    """[M] what each sensor reads at rest: its scale is its own."""
    bias_rad_s: Float64
    """[M, 3] of each gyroscope."""

    def at(self, hold: Hold) -> Float64:
        """Orientations [M, 4] in the middle of a hold."""
        return np.asarray(self.q_world_from_sensor[hold.centre])


def attitude(recording: Recording, holds: list[Hold]) -> Attitude:
    """Integrate the rates less the bias of the holds, and turn the outcome upright at every hold."""
    holds = sorted(holds, key=lambda hold: hold.centre)
    centres = np.array([hold.centre for hold in holds])
    bias = _bias(recording, holds)
    ups = np.array([up_in_sensor(recording, hold.part) for hold in holds])
    times = np.arange(len(recording.times_ns))
    rates = recording.angular_rate_rad_s - bias
    inside = slice(int(centres[0]), int(centres[-1]) + 1)
    turned = _integrated(rates[inside], recording.period_s)
    q = quaternion.multiply(_shortest_to_up(ups[0]), turned)
    away = np.array([quaternion.rotate(q[k - inside.start], up) for k, up in zip(centres, ups, strict=True)])
    correction = _between(times[inside], centres, quaternion.to_rotvec(_shortest_to_up(away)))
    upright = quaternion.multiply(quaternion.from_rotvec(correction), q)
    whole = np.concatenate(
        [
            np.repeat(upright[:1], inside.start, axis=0),
            upright,
            np.repeat(upright[-1:], len(times) - inside.stop, axis=0),
        ]
    )
    still = np.concatenate([recording.specific_force_m_s2[hold.part] for hold in holds])
    return Attitude(tuple(holds), whole, np.linalg.norm(still, axis=2).mean(axis=0), bias)


def _bias(recording: Recording, holds: list[Hold]) -> Float64:
    """Biases [M, 3]: means over the holds, long and quiet ones first.

    Nobody is still: somebody who turns by an angle during a hold makes an error of that angle by its duration.
    """
    means = np.array([recording.angular_rate_rad_s[hold.part].mean(axis=0) for hold in holds])
    spread = np.array([np.linalg.norm(recording.angular_rate_rad_s[hold.part].std(axis=0), axis=1) for hold in holds])
    duration = np.array([hold.part.stop - hold.part.start for hold in holds])
    weights = (duration[:, None] / (spread + _NOISE_RAD_S)) ** 2
    return np.asarray((weights[..., None] * means).sum(axis=0) / weights.sum(axis=0)[:, None])


def displacement_m(recording: Recording, found: Attitude, begin: int, end: int) -> Float64:
    """How far each sensor has come [M, 3], its own world, between two times at which it stands still.

    The velocity that is left at the end is an error: with white noise on the accelerations it is worth
    cov(p, v) / cov(v, v) of the place. Source: GlobalPose's step calibration, its zero-end-velocity correction.
    """
    part = slice(begin, end + 1)
    force = quaternion.rotate(found.q_world_from_sensor[part], recording.specific_force_m_s2[part])
    acceleration = force - found.gravity_m_s2[:, None] * UP
    dt = recording.period_s
    velocity = np.cumsum(acceleration, axis=0) * dt
    place = velocity[:-1].sum(axis=0) * dt
    steps = len(acceleration)
    # After each of n steps: P_pv += dt P_vv, P_vv += 1.
    share_s = dt * (steps - 1) / 2.0
    return np.asarray(place - share_s * velocity[-1])


def world_rates(recording: Recording, found: Attitude, begin: int, end: int) -> Float64:
    """Angular rates [T, M, 3] in each sensor's own world, bias removed."""
    part = slice(begin, end + 1)
    rates = recording.angular_rate_rad_s[part] - found.bias_rad_s
    return quaternion.rotate(found.q_world_from_sensor[part], rates)


def world_accelerations(recording: Recording, found: Attitude, begin: int, end: int) -> Float64:
    """Accelerations [T, M, 3] in each sensor's own world, gravity removed."""
    part = slice(begin, end + 1)
    force = quaternion.rotate(found.q_world_from_sensor[part], recording.specific_force_m_s2[part])
    return np.asarray(force - found.gravity_m_s2[:, None] * UP)


def turn_about_up(q: Float64) -> Float64:
    """The part of rotations [..., 4] that is about z, rad, -pi to pi (swing-twist, Dobrowolski, arXiv 1506.05481)."""
    return wrapped(2.0 * np.arctan2(q[..., 3], q[..., 0]))


def wrapped(angle_rad: Float64 | float) -> Float64:
    """Angles in -pi..pi."""
    return np.asarray((np.asarray(angle_rad) + np.pi) % (2.0 * np.pi) - np.pi)


def _between(times: Int64, knots: Int64, values: Float64) -> Float64:
    """Values [T, M, 3] on the lines between those [K, M, 3] at the knots [K], held outside."""
    flat = values.reshape(len(knots), -1)
    columns = [np.interp(times, knots, flat[:, column]) for column in range(flat.shape[1])]
    return np.stack(columns, axis=1).reshape(len(times), *values.shape[1:])


def _integrated(rates: Float64, period_s: float) -> Float64:
    """Rotation [T, M, 4] since the first of T times from rates [T, M, 3] in the turning frame.

    Products of all steps before a time by doubling: log T passes over whole arrays (Hillis and Steele,
    "Data parallel algorithms", CACM 29(12), 1986).
    """
    steps = quaternion.from_rotvec(0.5 * (rates[:-1] + rates[1:]) * period_s)
    q = np.concatenate([np.broadcast_to(quaternion.IDENTITY, (1, *steps.shape[1:])), steps])
    reach = 1
    while reach < len(q):
        q[reach:] = quaternion.multiply(q[:-reach], q[reach:])
        reach *= 2
    return quaternion.normalize(q)


def _shortest_to_up(direction: Float64) -> Float64:
    """The smallest rotations [..., 4] that turn directions [..., 3] up."""
    unit = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    axis = np.cross(unit, UP)
    length = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(length, unit[..., 2:])
    # Straight down has no shortest way; about x is as good as any.
    axis = np.where(length > 1e-9, axis / np.maximum(length, 1e-9), [1.0, 0.0, 0.0])
    return quaternion.from_rotvec(angle * axis)
