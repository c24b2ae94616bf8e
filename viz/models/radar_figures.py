"""How a radar does: frames a second, points in each, and what was lost, by its own frame numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusion.records import RadarPoints
from viz.models.health import Level

MOST_MISSING = 10_000
"""A larger step of the frame number is another start, not a loss."""
ENOUGH = 20
"""Frames before a share of losses is judged."""
LOST_SHARE = 0.02
"""More than this is marked."""
MOVES_M_S = 0.2
"""A point above it is told to move (the filter's gate)."""


@dataclass(slots=True)
class Counts:
    """What has come of one radar since the viewer looks."""

    frames: int = 0
    lost: int = 0
    """Numbers left out by the sensor's own counter."""
    restarts: int = 0
    """Times that it went backwards or jumped."""
    empty: int = 0
    """Frames without a point."""
    last: int = -1

    def add(self, frame: int, points: int) -> None:
        """Count one frame by its number."""
        missing = frame - self.last - 1
        if self.frames and not 0 <= missing <= MOST_MISSING:
            self.restarts += 1
        elif self.frames:
            self.lost += missing
        self.frames += 1
        self.empty += not points
        self.last = frame

    @property
    def lost_share(self) -> float:
        """Of the frames that should have come; NaN before there are enough to tell."""
        return self.lost / (self.frames + self.lost) if self.frames >= ENOUGH else math.nan


@dataclass(frozen=True, slots=True)
class RadarRow:
    """One radar."""

    radar: str
    rate_hz: float
    """By the stamps of its newest frames; NaN unknown, as the other figures."""
    age_s: float
    points: float
    """Per frame, mean of the newest."""
    moving_share: float
    """Of these points, those that have a radial speed."""
    lost: int
    lost_share: float
    restarts: int
    figures: str
    """The node's own counters."""
    age_level: Level
    lost_level: Level


def radar_row(
    name: str,
    frames: Sequence[RadarPoints],
    counts: Counts,
    *,
    age_s: float,
    late_s: float,
    window_s: float,
    figures: str,
) -> RadarRow:
    """The figures of one radar.

    Args:
        name: of the radar.
        frames: its newest frames, oldest first; at least one.
        counts: since the viewer looks.
        age_s: since the newest frame was published.
        late_s: an older one is marked.
        window_s: frames within it of the newest are counted.
        figures: what its node says of itself.
    """
    newest_ns = frames[-1].measured_ns
    recent = [frame for frame in frames if 0 <= newest_ns - frame.measured_ns <= window_s * 1e9]
    speeds = np.abs(np.concatenate([frame.radial_velocities_m_s for frame in recent]))
    share = counts.lost_share
    return RadarRow(
        radar=name,
        rate_hz=_rate_hz(recent),
        age_s=age_s,
        points=len(speeds) / len(recent),
        moving_share=float(np.mean(speeds > MOVES_M_S)) if len(speeds) else math.nan,
        lost=counts.lost,
        lost_share=share,
        restarts=counts.restarts,
        figures=figures,
        age_level=Level.WARNING if age_s > late_s else Level.FINE,
        lost_level=Level.WARNING if share > LOST_SHARE else Level.FINE,
    )


def _rate_hz(frames: Sequence[RadarPoints]) -> float:
    span_ns = frames[-1].measured_ns - frames[0].measured_ns
    return (len(frames) - 1) * 1e9 / span_ns if span_ns > 0 else math.nan


def lost_text(row: RadarRow) -> str:
    """``3 (0.2 %)``; the number alone while there is no share."""
    return f"{row.lost} ({100 * row.lost_share:.1f} %)" if math.isfinite(row.lost_share) else str(row.lost)


def moving_text(row: RadarRow) -> str:
    """``69 %``; a dash where there are no points."""
    return f"{100 * row.moving_share:.0f} %" if math.isfinite(row.moving_share) else "–"
