"""The movement of one wearer: body coordinates at any time, twice continuously differentiable.

Samples of the coordinates are joined by cubic splines; rotations of the root
and of the ball joints are splined as quaternions, because rotation vectors jump
where a turn passes half a circle.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from fusion.body.kinematics import forward_kinematics_batch
from fusion.body.skeleton import COORDINATE, COORDINATES, LENGTH, REFERENCE_LENGTHS_M, REFERENCE_STATURE_M
from fusion.maths import quaternion
from fusion.records import Array, Float64
from fusion.synthesis.randomness import RandomStream

ROTATIONS: tuple[str, ...] = ("root_r", "right_arm_", "left_arm_", "right_hip_", "left_hip_")
"""Prefixes of the three coordinates x, y, z that are one free rotation."""

_SPLINE_REACH = 16
"""Samples after which a spline's end condition has faded (a factor 0.27 a sample)."""
_GAUSSIAN_REACH = 4.0
"""Standard deviations that the Gaussian filter looks at."""

_ROTATION_COLUMNS = [[COORDINATE[f"{prefix}{axis}"] for axis in "xyz"] for prefix in ROTATIONS]
_PLAIN_COLUMNS = [i for i in range(COORDINATES) if not any(i in columns for columns in _ROTATION_COLUMNS)]


class BodyMotion:
    """A body that moves.

    Args:
        samples: coordinates [T, 44] in the order of ``COORDINATE_NAMES``, T >= 4.
        rate_hz: samples a second.
        lengths_m: the wearer's proportions [11].
        periodic: the movement begins anew after ``duration_s``; the last sample must
            then be followed by the first one. Otherwise the ends are held.
        smoothing_s: standard deviation of a Gaussian run over the samples, 0 for none.
    """

    def __init__(
        self, samples: Float64, rate_hz: float, lengths_m: Float64, *, periodic: bool, smoothing_s: float = 0.0
    ) -> None:
        self.lengths_m = np.asarray(lengths_m, dtype=np.float64)
        self.periodic = periodic
        sigma = smoothing_s * rate_hz
        padding = 0
        if periodic:
            # Enough of the next and the last round that the ends of filter and spline do not matter.
            padding = _SPLINE_REACH + int(np.ceil(_GAUSSIAN_REACH * sigma))
            samples = samples[np.arange(-padding, len(samples) + padding + 1) % len(samples)]
        channels = smooth(_channels(samples), sigma)
        times = (np.arange(len(channels)) - padding) / rate_hz
        self.duration_s = float(times[-1]) - padding / rate_hz
        self._spline = CubicSpline(times, channels)

    def coordinates(self, times_s: Array) -> Float64:
        """Coordinates [T, 44] at times [T] in seconds from the start of the movement."""
        times = np.atleast_1d(np.asarray(times_s, dtype=np.float64))
        local = np.mod(times, self.duration_s) if self.periodic else np.clip(times, 0.0, self.duration_s)
        values = self._spline(local)
        plain = len(_PLAIN_COLUMNS)
        result = np.empty((len(times), COORDINATES))
        result[:, _PLAIN_COLUMNS] = values[:, :plain]
        turned = quaternion.normalize(values[:, plain:].reshape(len(times), len(ROTATIONS), 4))
        vectors = quaternion.to_rotvec(turned)
        for i, columns in enumerate(_ROTATION_COLUMNS):
            result[:, columns] = vectors[:, i]
        return result

    def pose(self, times_s: Array) -> tuple[Float64, Float64]:
        """World positions [T, 23, 3] of the joints and orientations [T, 23, 4] of the segments."""
        return forward_kinematics_batch(self.coordinates(times_s), self.lengths_m)


def smooth(values: Float64, sigma_samples: float) -> Float64:
    """Run a Gaussian of ``sigma_samples`` over axis 0 of values [T, ...]; the ends are held."""
    if sigma_samples <= 0.0:
        return values
    filtered: Float64 = gaussian_filter1d(values, sigma_samples, axis=0, mode="nearest")
    return filtered


def draw_lengths(seed: int, stature_m: float, spread: float = 0.04) -> Float64:
    """Proportions [11] of a wearer: the reference scaled to the stature, each length varied on its own.

    Args:
        seed: same seed, same wearer.
        stature_m: standing height.
        spread: relative standard deviation of each length (about 4 % among adults of one stature:
            Drillis and Contini 1966, table of segment lengths).
    """
    scale = stature_m / REFERENCE_STATURE_M
    variation = 1.0 + spread * np.clip(RandomStream(seed, "lengths").at(0).standard_normal(len(LENGTH)), -2.0, 2.0)
    return REFERENCE_LENGTHS_M * scale * variation


def _channels(samples: Float64) -> Float64:
    """Coordinates [T, 44] to what is splined: the plain ones, then a continuous quaternion a rotation."""
    parts = [samples[:, _PLAIN_COLUMNS]]
    for columns in _ROTATION_COLUMNS:
        q = quaternion.from_rotvec(samples[:, columns])
        flips = np.cumprod(np.where((q[1:] * q[:-1]).sum(axis=1) < 0.0, -1.0, 1.0))
        q[1:] *= flips[:, None]
        parts.append(q)
    return np.concatenate(parts, axis=1)
