"""What a calibration is given: where one person was, and what the radar saw, gathered from records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fusion.records import Float64, Int64, People, RadarPoints

NS_PER_S = 1_000_000_000
_SHOWN_SHARE = 0.5
"""Of somebody's joints, that sensors must tell; the others are inferred."""


@dataclass(frozen=True, slots=True, eq=False)
class Trail:
    """Where one person was, as cameras tell it."""

    times_ns: Int64
    """[T], rising."""
    positions_m: Float64
    """[T, 23, 3] joints, world."""
    q_world_from_segment: Float64
    """[T, 23, 4] wxyz."""
    lengths_m: Float64
    """[11] of the person, order of ``fusion.body.skeleton.LENGTH_NAMES``."""
    crowded: float = 0.0
    """Share of the times at which cameras show somebody at which they show several people; these are left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """What one radar saw."""

    radar: str
    times_ns: Int64
    """[F] as stamped, rising."""
    first: Int64
    """[F + 1] where each frame's points begin, and where the last one's end."""
    points_m: Float64
    """[N, 3] radar frame."""
    radial_velocities_m_s: Float64
    """[N] + is receding."""
    refused: int = 0
    """Points that were no numbers, and frames whose stamp went back."""

    @property
    def counts(self) -> Int64:
        """[F] points of each frame."""
        return np.diff(self.first)


def gather_trail(records: Iterable[People]) -> Trail:
    """The one person whom cameras show; the last word on each time counts."""
    newest = {record.measured_ns: record for record in records if len(record.ids)}
    known = [(time_ns, record, _shown(record)) for time_ns, record in sorted(newest.items())]
    seen = [(time_ns, record, shown) for time_ns, record, shown in known if len(shown)]
    alone = [(time_ns, record, int(shown[0])) for time_ns, record, shown in seen if len(shown) == 1]
    return Trail(
        times_ns=np.array([time_ns for time_ns, _, _ in alone], dtype=np.int64),
        positions_m=_stacked([record.positions_m[p] for _, record, p in alone], (23, 3)),
        q_world_from_segment=_stacked([record.q_world_from_segment[p] for _, record, p in alone], (23, 4)),
        lengths_m=_stacked([record.lengths_m[p] for _, record, p in alone[-1:]], (11,)).reshape(-1),
        crowded=1.0 - len(alone) / len(seen) if seen else 0.0,
    )


def _shown(record: People) -> Int64:
    """Whom sensors tell of, and not only the filter."""
    told = record.measured.mean(1) >= _SHOWN_SHARE
    finite = np.isfinite(record.positions_m).all((1, 2)) & np.isfinite(record.q_world_from_segment).all((1, 2))
    return np.flatnonzero(told & finite)


def _stacked(arrays: list[np.ndarray], shape: tuple[int, ...]) -> Float64:
    return np.array(arrays, dtype=np.float64).reshape(len(arrays), *shape)


def gather_frames(records: Iterable[RadarPoints], radar: str) -> Frames:
    """The frames of one radar in their order; what is no number is left out and counted."""
    times: list[int] = []
    points: list[Float64] = []
    rates: list[Float64] = []
    refused = 0
    for record in records:
        if record.radar != radar:
            continue
        if times and record.measured_ns <= times[-1]:
            refused += 1
            continue
        told = np.isfinite(record.positions_m).all(1) & np.isfinite(record.radial_velocities_m_s)
        refused += int((~told).sum())
        times.append(record.measured_ns)
        points.append(record.positions_m[told].astype(np.float64))
        rates.append(record.radial_velocities_m_s[told].astype(np.float64))
    return Frames(
        radar=radar,
        times_ns=np.array(times, dtype=np.int64),
        first=np.cumsum([0, *map(len, rates)], dtype=np.int64),
        points_m=np.concatenate(points) if points else np.zeros((0, 3)),
        radial_velocities_m_s=np.concatenate(rates) if rates else np.zeros(0),
        refused=refused,
    )
