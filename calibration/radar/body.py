"""The places on a walking person's body that a radar may see, at any time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from calibration.radar.recording import NS_PER_S, Trail
from fusion.body.reflection import reflecting_share
from fusion.records import Array, Bool, Float64, Int64
from fusion.synthesis.motion import smooth
from fusion.synthesis.wearer import CAPSULE_RADIUS_M, CAPSULES, capsule_ends

PLACES_PER_CAPSULE = 3
_ALONG = (np.arange(PLACES_PER_CAPSULE) + 0.5) / PLACES_PER_CAPSULE
_SURFACE = 0.84
"""Mean of the cosine over the radian to both sides of where a limb faces the radar, in which it reflects."""

SHARES: Float64 = np.repeat([reflecting_share(capsule.segment) for capsule in CAPSULES], PLACES_PER_CAPSULE)
SHARES /= SHARES.sum()
"""[K] how often each place reflects, if all of them move."""
_PARTS = [capsule.segment.removeprefix("right_").removeprefix("left_") for capsule in CAPSULES]
PART: Int64 = np.repeat([sorted(set(_PARTS)).index(part) for part in _PARTS], PLACES_PER_CAPSULE)
"""[K] which part of the body each place is on; left and right are one."""
DEPTHS_M: Float64 = _SURFACE * np.repeat(CAPSULE_RADIUS_M, PLACES_PER_CAPSULE)
"""[K] how much nearer to the radar the reflecting surface is than the middle of the limb."""


class Places(NamedTuple):
    """Middles of limbs at some times, world."""

    positions_m: Float64
    """[F, K, 3]."""
    velocities_m_s: Float64
    """[F, K, 3]."""
    accelerations_m_s2: Float64
    """[F, K, 3]."""


@dataclass(frozen=True, slots=True)
class BodyParams:
    """How a person's movement is made smooth."""

    step_s: float = 0.01
    smoothing_s: float = 0.03
    """Standard deviation of a Gaussian over the places: jitter of a few millimetres is noise of their velocities."""
    gap_s: float = 0.2
    """Where nothing tells of the person for longer than this, nothing is known of them."""


class MovingBody:
    """Places on one person, smooth in time.

    Args:
        trail: at least two times.
        params: smoothing.
    """

    def __init__(self, trail: Trail, params: BodyParams | None = None) -> None:
        p = params or BodyParams()
        self._step_s = p.step_s
        self._origin_ns = int(trail.times_ns[0])
        times_s = (trail.times_ns - self._origin_ns) / NS_PER_S
        grid_s = np.arange(0.0, times_s[-1] + p.step_s, p.step_s)
        starts, ends = capsule_ends(trail.positions_m, trail.q_world_from_segment, trail.lengths_m)
        along = _ALONG[:, None]
        middles = (starts[:, :, None] + along * (ends - starts)[:, :, None]).reshape(len(times_s), -1)
        after = np.clip(np.searchsorted(times_s, grid_s), 1, len(times_s) - 1)
        span = times_s[after] - times_s[after - 1]
        part = ((grid_s - times_s[after - 1]) / span)[:, None]
        even = smooth(middles[after - 1] + part * (middles[after] - middles[after - 1]), p.smoothing_s / p.step_s)
        rate = np.gradient(even, p.step_s, axis=0)
        self._values = np.stack([even, rate, np.gradient(rate, p.step_s, axis=0)]).reshape(3, len(grid_s), -1, 3)
        self._known: Bool = span <= p.gap_s

    def known(self, times_ns: Array) -> Bool:
        """Whether cameras tell where the person is, at session times [F]."""
        index, inside = self._index(times_ns)
        return np.asarray(inside & self._known[np.clip(np.rint(index), 0, len(self._known) - 1).astype(np.int64)])

    def at(self, times_ns: Array) -> Places:
        """Places at session times [F]; beyond its ends the movement stands still."""
        index, _ = self._index(times_ns)
        index = np.clip(index, 0.0, len(self._known) - 1.0)
        low = np.minimum(index.astype(np.int64), len(self._known) - 2)
        part = (index - low)[:, None, None]
        return Places(*(value[low] + part * (value[low + 1] - value[low]) for value in self._values))

    def _index(self, times_ns: Array) -> tuple[Float64, Bool]:
        index = (times_ns - self._origin_ns) / NS_PER_S / self._step_s
        return index, (index >= 0.0) & (index <= len(self._known) - 1.0)
