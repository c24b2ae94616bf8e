"""The process of the filter as formulas over any horizon: exact, for all coordinates at once.

Each rate decays and is driven by white noise, which is correlated between
coordinates; each coordinate is the integral of its rate and may return slowly to
a rest. ``docs/process.md`` derives it. Source: Uhlenbeck and Ornstein, "On the theory of
the Brownian motion", Phys. Rev. 36 (1930), for one coordinate; the correlation
between coordinates and the return are added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion.maths import quaternion
from fusion.records import Float64
from training.tracks import TURNS, Steps, way


@dataclass(frozen=True, slots=True, eq=False)
class MotionModel:
    """dv = -v / decay dt + white noise, dx = (v - return_rate (x - rest)) dt; arrays [44], tangent as the filter's."""

    density: Float64
    """unit^2/s^3: m^2/s^3 or rad^2/s^3."""
    decay_s: Float64
    return_rate: Float64
    """1/s."""
    rest: Float64
    """Coordinates; not used where the return is 0."""
    correlation: Float64
    """[44, 44] of the driving noise."""


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Covariance [44, 44] of what the noise of one horizon leaves."""

    position: Float64
    position_rate: Float64
    """Row: position, column: rate."""
    rate: Float64


def transition(model: MotionModel, horizon_s: float) -> tuple[Float64, Float64, Float64]:
    """Decay over a horizon: of a deviation from rest [44], of a rate [44], and the way a rate makes [44] (s)."""
    stay = np.exp(-model.return_rate * horizon_s)
    keep = np.exp(-horizon_s / model.decay_s)
    return stay, keep, (stay - keep) / (1.0 / model.decay_s - model.return_rate)


def noise(model: MotionModel, horizon_s: float) -> Spread:
    """Exact covariance of the integrated noise; the impulse responses are sums of two exponentials.

    With a = 1/decay, k = return rate and E(c) = (1 - exp(-c h)) / c, the response of the rate is exp(-a s), that of
    the position (exp(-k s) - exp(-a s)) / (a - k), and the covariance of i and j is the integral of their product.
    """

    def integral(c: Float64) -> Float64:
        safe = np.where(c > 1e-9, c, 1.0)
        return np.where(c > 1e-9, -np.expm1(-safe * horizon_s) / safe, horizon_s)

    a, k = 1.0 / model.decay_s, model.return_rate
    gap = a - k
    both = integral(a[:, None] + a)
    mixed = integral(k[:, None] + a)
    slow = integral(k[:, None] + k)
    driven = np.sqrt(np.outer(model.density, model.density)) * model.correlation
    return Spread(
        driven * (slow - mixed - mixed.T + both) / np.outer(gap, gap),
        driven * (mixed - both) / gap[:, None],
        driven * both,
    )


def errors(model: MotionModel, sample: Steps, horizon_s: float) -> tuple[Float64, Float64]:
    """Tangent errors [N, 44] of predicted coordinates and rates, from perfect knowledge of the start."""
    stay, keep, reach = transition(model, horizon_s)
    pull = np.where(model.return_rate > 0.0, stay - 1.0, 0.0)
    predicted = reach * sample.rate - pull * way(sample.start, np.broadcast_to(model.rest, sample.start.shape))
    wrong = sample.moved - predicted
    for i in TURNS:
        there = quaternion.from_rotvec(predicted[:, i : i + 3])
        moved = quaternion.from_rotvec(sample.moved[:, i : i + 3])
        wrong[:, i : i + 3] = quaternion.to_rotvec(quaternion.multiply(quaternion.conjugate(there), moved))
    return wrong, sample.end_rate - keep * sample.rate
