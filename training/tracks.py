"""Clips as samples of coordinates and their rates, and what becomes of them after a while.

Rates are tangent rates as the filter's: those of a rotation perturbed on the
right are in the segment's own frame, the others are plain derivatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusion.body.kinematics import TABLES
from fusion.body.skeleton import COORDINATE, COORDINATE_NAMES
from fusion.maths import quaternion
from fusion.records import Array, Bool, Float64, Int64
from fusion.synthesis.motion import BodyMotion
from training.clips import FIT_ACTIVITIES, avoid_s, load_motion

RATE_HZ = 120.0
_END_S = 0.1
"""The ends of a clip that are left out: a smoothed clip is held there."""

TURNS: tuple[int, ...] = tuple(np.flatnonzero(TABLES.turns)[::3].tolist())
"""First coordinate of each rotation that is perturbed on the right."""

_TURNED_BY_MIRROR = ("root_py", "root_rx", "root_rz", "spine_x", "spine_z", "neck_x", "neck_z",
                     "arm_x", "arm_z", "hip_x", "hip_z")  # fmt: skip


def bare(name: str) -> str:
    """A coordinate's name without its side."""
    return name.removeprefix("left_").removeprefix("right_")


def _other_side(name: str) -> str:
    if name.startswith("left_"):
        return "right_" + bare(name)
    return "left_" + bare(name) if name.startswith("right_") else name


MIRROR_INDEX: Int64 = np.array([COORDINATE[_other_side(name)] for name in COORDINATE_NAMES], dtype=np.int64)
"""[44] which coordinate of the mirrored body is each one."""
MIRROR_SIGN: Float64 = np.array([-1.0 if bare(name) in _TURNED_BY_MIRROR else 1.0 for name in COORDINATE_NAMES])
"""[44] and with which sign: the mirror plane is x-z, where rotations are axial vectors; hinges mean the same on both
sides."""

GROUPS: dict[str, tuple[int, ...]] = {}
"""Coordinates with the same statistics: left and right, and the two horizontal ones of the root."""
for _index, _name in enumerate(COORDINATE_NAMES):
    _group = "root_p_horizontal" if _name in ("root_px", "root_py") else bare(_name)
    GROUPS[_group] = (*GROUPS.get(_group, ()), _index)


def mirrored(matrix: Float64) -> Float64:
    """A matrix [44, 44] between the coordinates, of the mirrored body."""
    return MIRROR_SIGN[:, None] * MIRROR_SIGN * matrix[np.ix_(MIRROR_INDEX, MIRROR_INDEX)]


def symmetric(matrix: Float64) -> Float64:
    """Mean [44, 44] of a matrix and its mirror image."""
    return 0.5 * (matrix + mirrored(matrix))


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A clip sampled at ``RATE_HZ``."""

    coordinates: Float64
    """[T, 44]."""
    rates: Float64
    """[T, 44] tangent rates."""
    usable: Bool
    """[T] False near the ends and where the source jumps."""
    lengths_m: Float64
    """[11]."""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Pairs of moments one horizon apart, with no unusable sample between them."""

    start: Float64
    """[N, 44] coordinates."""
    rate: Float64
    """[N, 44] tangent rates at the start."""
    moved: Float64
    """[N, 44] tangent way from start to end."""
    end: Float64
    """[N, 44] coordinates."""
    end_rate: Float64
    """[N, 44]."""


def way(first: Float64, second: Float64) -> Float64:
    """Tangent vectors [..., 44] that lead from some coordinates to others: rotations on the right, the rest plain."""
    out = np.asarray(second - first)
    for i in TURNS:
        begin, end = (quaternion.from_rotvec(values[..., i : i + 3]) for values in (first, second))
        out[..., i : i + 3] = quaternion.to_rotvec(quaternion.multiply(quaternion.conjugate(begin), end))
    return out


def make_track(coordinates: Float64, lengths_m: Float64, avoid: Sequence[tuple[float, float]] = ()) -> Track:
    """A track of samples [T, 44] at ``RATE_HZ``; ``avoid`` are spans in seconds from the start."""
    times = np.arange(len(coordinates)) / RATE_HZ
    rates = np.zeros_like(coordinates)
    rates[1:-1] = 0.5 * RATE_HZ * way(coordinates[:-2], coordinates[2:])
    usable = (times >= _END_S) & (times <= times[-1] - _END_S)
    for begin, end in avoid:
        usable &= (times < begin) | (times > end)
    return Track(coordinates, rates, usable, lengths_m)


def track_of(motion: BodyMotion, avoid: Sequence[tuple[float, float]] = ()) -> Track:
    """Sample a movement."""
    times: Array = np.arange(int(motion.duration_s * RATE_HZ) + 1) / RATE_HZ
    return make_track(motion.coordinates(times), motion.lengths_m, avoid)


def load_tracks(data: Path, names: Iterable[str]) -> dict[str, Track]:
    """Tracks of clips by name, from a data pack's folder."""
    return {name: track_of(load_motion(data, name), avoid_s(name)) for name in names}


def steps(track: Track, horizon_s: float) -> Steps:
    """Every pair of moments of a track that lie ``horizon_s`` apart; none if the track is too short."""
    reach = round(horizon_s * RATE_HZ)
    unusable = np.concatenate([[0], np.cumsum(~track.usable)])
    begin = np.arange(max(0, len(track.usable) - reach))
    begin = begin[unusable[begin + reach + 1] == unusable[begin]]
    start, end = track.coordinates[begin], track.coordinates[begin + reach]
    return Steps(start, track.rates[begin], way(start, end), end, track.rates[begin + reach])


def activity_weights(counts: Mapping[str, int], shares: Mapping[str, float] | None = None) -> dict[str, float]:
    """Weight of one sample of each clip, so that the activities have their shares and all weights sum to 1.

    Args:
        counts: samples of each clip to learn from.
        shares: relative weight of each activity; None for the same for all. An activity without samples has none.
    """
    totals = {activity: sum(counts.get(name, 0) for name in names) for activity, names in FIT_ACTIVITIES.items()}
    share = {activity: (shares or {}).get(activity, 1.0) for activity, total in totals.items() if total > 0}
    whole = sum(share.values())
    return {
        name: share[activity] / (whole * totals[activity])
        for activity in share
        for name in FIT_ACTIVITIES[activity]
        if counts.get(name, 0) > 0
    }
