"""When all sensors hold still, and what they read then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d

from calibration.inertial.recording import Recording
from fusion.records import Bool, Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class StillParams:
    """What counts as still: people sway and tremble, and their gyroscopes have a bias."""

    window_s: float = 0.4
    rate_rad_s: float = 0.25
    """Root mean square over the window."""
    force_m_s2: float = 0.6
    """Root mean square deviation from the window's mean."""


def activity(recording: Recording, params: StillParams | None = None) -> Float64:
    """How far each sensor is from holding still [T, M]: below 1 it does."""
    p = params or StillParams()
    width = recording.samples(p.window_s)

    def mean(values: Float64) -> Float64:
        return np.asarray(uniform_filter1d(values, width, axis=0, mode="nearest"))

    force, rate = recording.specific_force_m_s2, recording.angular_rate_rad_s
    # Running sums round: a mean of squares can come out just below 0.
    turning = np.sqrt(np.clip(mean((rate**2).sum(axis=2)), 0.0, None))
    # About the whole mean, so that the difference of two large squares loses no digits.
    apart = force - force.mean(axis=0)
    shaking = np.sqrt(np.clip(mean((apart**2).sum(axis=2)) - (mean(apart) ** 2).sum(axis=2), 0.0, None))
    still = np.maximum(turning / p.rate_rad_s, shaking / p.force_m_s2)
    return np.where(recording.missing, np.inf, still)


def runs(flags: Bool, least: int) -> Iterator[slice]:
    """Stretches of flags [T] that are set for at least so many in a row."""
    padded = np.concatenate([[False], flags, [False]]).astype(np.int8)
    steps = np.diff(padded)
    for begin, end in zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True):
        if end - begin >= least:
            yield slice(begin, end)


@dataclass(frozen=True, slots=True, eq=False)
class Hold:
    """A stretch in which all sensors are still."""

    step: str
    """``n_pose``, ``t_pose``, or ``stand`` for any stand before or after a walk."""
    part: slice
    """Of the recording's times."""

    @property
    def centre(self) -> int:
        """The number of its middle time."""
        return int(self.part.start + self.part.stop) // 2


def up_in_sensor(recording: Recording, part: slice) -> Float64:
    """Which way is up [M, 3] in each sensor's frame: the mean of what a still one reads (unit)."""
    mean = recording.specific_force_m_s2[part].mean(axis=0)
    return np.asarray(mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9))


def wander_rad(recording: Recording, hold: Hold) -> Float64:
    """Angle [M] between up in the first and in the last third of a hold: how far it creeps while it counts as still."""
    begin, end = hold.part.start, hold.part.stop
    third = max((end - begin) // 3, 1)
    first, last = (up_in_sensor(recording, part) for part in (slice(begin, begin + third), slice(end - third, end)))
    return angle_between(first, last)


def angle_between(a: Float64, b: Float64) -> Float64:
    """Angle [...] in rad between vectors [..., 3]; exact near 0 and near pi."""
    return np.asarray(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(axis=-1)))
