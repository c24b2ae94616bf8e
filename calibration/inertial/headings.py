"""Where the wearer faces, as each sensor's own world has it: without a magnetometer only movement tells.

Three ways, each an angle about the vertical by which the sensor's world is
turned against the body's (x forward):

* ``walk``: the way that a sensor has come between two stands, which is the wearer's way;
* ``swing``: legs swing about the axis that points left;
* ``poses``: an arm that has come up from N to T shows gravity twice, which is its whole attitude.

Source of the first and the last: GlobalPose's step and N-to-T calibrations; differs from it in that an arm's
attitude is taken from gravity in both poses, which does not drift, in place of the axis of its rotation between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calibration.inertial.attitude import (
    Attitude,
    displacement_m,
    turn_about_up,
    world_accelerations,
    world_rates,
    wrapped,
)
from calibration.inertial.poses import kind_of
from calibration.inertial.recording import Recording
from calibration.inertial.steps import Stretches, Walk
from calibration.inertial.stillness import Hold, angle_between, up_in_sensor
from fusion.maths import quaternion
from fusion.records import Float64

SWING_SIGMA_RAD = math.radians(4.0)
"""Of a leg's axis against the direction of travel."""
_SWING_RATIO = 2.5
"""A swing's main axis moves so many times more than the one across it, else it tells nothing."""
_LEFT_RAD = math.pi / 2
WAY_DRIFT_M_S2 = 0.01
"""Error of a way, a squared second of its duration. In ``qmt_full_body``, from second 39 to 46, sensors that have to
come back to their height miss it by 0.33 m (root mean square): 0.006 m/s^2; level errors are larger, as a tilt enters
them in full."""
_ALIKE_RAD = math.radians(25.0)
"""Up at both ends of a walk, in the sensor's frame: beyond, it was not held alike."""
_SLOW_HZ = 1.6
"""Above it a walk's sway has no side: once a stride is about 0.9 Hz, once a step twice that."""
_SIDE_CORRELATION = 0.35


@dataclass(frozen=True, slots=True)
class Estimate:
    """One sensor's heading by one way."""

    source: str
    """``poses``, ``walk``, ``swing``."""
    heading_rad: float
    """In the reference hold, see ``reference_hold``."""
    sigma_rad: float


@dataclass(frozen=True, slots=True, eq=False)
class WalkSigns:
    """What a walk shows of M sensors."""

    way_m: Float64
    """[M, 3] own world; NaN of a sensor that is not held alike at both ends (an arm that has come down), as its own
    way would pass for the wearer's."""
    way_sigma_m: float
    """What two integrations of real accelerations leave of error in a walk of that duration, each level axis."""
    heading_rad: Float64
    """[M] of the walk's direction, own world."""
    facing_rad: Float64
    """Mean of both ends, against the first hold."""
    turned_rad: float
    """Of the wearer between both ends."""
    swing_rad_s: Float64
    """[M] root mean square of the rate about level axes."""
    swing_heading_rad: Float64
    """[M] by the axis of the swing; NaN where there is no main axis."""
    sagittal_rad_s: Float64
    """[T, M] rate about the axis that points left: negative when a leg swings forward."""
    lateral_m_s2: Float64
    """[T, M] acceleration to the left."""


def facing_rad(found: Attitude, sensors: tuple[str, ...]) -> Float64:
    """How far the wearer has turned at each hold [K] since the first: the median of trunk and legs.

    Arms turn about the vertical when they rise; a wearer of sensors on arms only is taken not to turn.
    """
    chosen = [k for k, name in enumerate(sensors) if kind_of(name) != "arm"]
    if not chosen:
        return np.zeros(len(found.holds))
    return np.array([float(np.median(turns[chosen])) for turns in yaw_since_first(found)])


def yaw_since_first(found: Attitude) -> Float64:
    """Turn [K, M] about the vertical of each sensor at each hold since the first one."""
    first = found.at(found.holds[0])
    return np.array(
        [turn_about_up(quaternion.multiply(found.at(hold), quaternion.conjugate(first))) for hold in found.holds]
    )


def walk_signs(recording: Recording, found: Attitude, walk: Walk, facing: Float64) -> WalkSigns:
    """Direction, swing and sway of a walk.

    Args:
        recording: the samples.
        found: attitudes, whose holds include both stands of the walk.
        walk: the stands.
        facing: [K] see ``facing_rad``.
    """
    begin, end = walk.before.part.stop - 1, walk.after.part.start
    way = displacement_m(recording, found, begin, end)
    held = angle_between(*(up_in_sensor(recording, hold.part) for hold in (walk.before, walk.after)))
    way[held > _ALIKE_RAD] = np.nan
    heading = np.arctan2(way[:, 1], way[:, 0])
    ends = [facing[found.holds.index(hold)] for hold in (walk.before, walk.after)]
    rates = world_rates(recording, found, begin, end)
    forward = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    left = np.stack([-forward[:, 1], forward[:, 0]], axis=1)
    acceleration = world_accelerations(recording, found, begin, end)
    return WalkSigns(
        way_m=way,
        way_sigma_m=WAY_DRIFT_M_S2 * ((end - begin) * recording.period_s) ** 2,
        heading_rad=heading,
        facing_rad=np.asarray(0.5 * (ends[0] + ends[1])),
        turned_rad=float(abs(ends[1] - ends[0])),
        swing_rad_s=np.sqrt((rates[..., :2] ** 2).sum(axis=2).mean(axis=0)),
        swing_heading_rad=np.array([_swing_heading(rates[:, m, :2], heading[m]) for m in range(len(heading))]),
        sagittal_rad_s=np.einsum("tmi,mi->tm", rates[..., :2], left),
        lateral_m_s2=np.einsum("tmi,mi->tm", acceleration[..., :2], left),
    )


def _swing_heading(level_rates: Float64, near_rad: float) -> float:
    """Heading across the main axis of rates [T, 2] about level axes, the one of both that is nearer to a heading."""
    if not math.isfinite(near_rad):
        return math.nan
    values, vectors = np.linalg.eigh(level_rates.T @ level_rates)
    if values[1] < _SWING_RATIO**2 * max(values[0], 1e-12):
        return math.nan
    heading = math.atan2(vectors[1, 1], vectors[0, 1]) - _LEFT_RAD
    away = float(wrapped(heading - near_rad))
    return float(wrapped(heading if abs(away) <= math.pi / 2 else heading + math.pi))


def reference_hold(stretches: Stretches) -> Hold:
    """The held pose in which headings are compared: the one nearest to a walk, so that gyroscopes drift little."""
    if not stretches.walks:
        return stretches.poses[0]
    walk = stretches.walks[0]
    return min(stretches.poses, key=lambda hold: abs(hold.centre - walk.before.centre))


def walk_estimates(
    signs: WalkSigns, sensor: int, segment: str, facing_rad: float, least_sigma_rad: float
) -> list[Estimate]:
    """A sensor's headings by a walk, in a hold in which the wearer faces so far from the first hold."""
    way = signs.way_m[sensor]
    if not np.isfinite(way).all():
        return []
    error_m = math.hypot(float(way[2]), signs.way_sigma_m)
    sigma = math.hypot(math.atan2(error_m, math.hypot(way[0], way[1])), 2.0 * least_sigma_rad)
    facing = float(signs.facing_rad) - facing_rad
    found = [Estimate("walk", float(wrapped(signs.heading_rad[sensor] - facing)), sigma)]
    swing = float(signs.swing_heading_rad[sensor])
    if kind_of(segment) == "leg" and math.isfinite(swing):
        found.append(Estimate("swing", float(wrapped(swing - facing)), SWING_SIGMA_RAD))
    return found


def side_by_sway(signs: WalkSigns, sensors: tuple[str, ...], part: str, period_s: float) -> float:
    """Whether a pair of leg sensors is on the sides that it is said to be: correlation, above 0 when right.

    A walker stands on one leg while the other swings, and the trunk's acceleration points away from the
    standing leg, to the side that swings (an inverted pendulum: Winter, "Human balance and posture control during
    standing and walking", Gait & Posture 3, 1995). NaN where pair or trunk has no sensor.
    """
    names = {name: k for k, name in enumerate(sensors)}
    trunk = next((names[name] for name in ("pelvis", "l5", "l3", "t12", "t8") if name in names), None)
    pair = [names.get(f"{side}_{part}") for side in ("left", "right")]
    if trunk is None or pair[0] is None or pair[1] is None:
        return math.nan
    left, right = (_slow(signs.sagittal_rad_s[:, k], period_s) for k in pair if k is not None)
    # A forward swing turns about the axis that points right.
    swing = right - left
    sway = _slow(signs.lateral_m_s2[:, trunk], period_s)
    norm = float(np.linalg.norm(swing) * np.linalg.norm(sway))
    return float(swing @ sway) / norm if norm > 0.0 else math.nan


def told_by_sway(correlation: float) -> bool | None:
    """Whether the sides are right; None where the sway does not say."""
    if not abs(correlation) >= _SIDE_CORRELATION:
        return None
    return correlation > 0.0


def _slow(values: Float64, period_s: float) -> Float64:
    """Values [T] without their mean and without what is faster than ``_SLOW_HZ`` (by Fourier: no phase shift)."""
    spectrum = np.fft.rfft(values - values.mean())
    spectrum[np.fft.rfftfreq(len(values), period_s) > _SLOW_HZ] = 0.0
    return np.asarray(np.fft.irfft(spectrum, len(values)))
