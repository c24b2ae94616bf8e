"""A guided calibration: what the wearer should do, how far it is, which sensor moves, how well each came out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fusion.records import Guide
from viz.models.angles import degrees_text
from viz.models.health import Level

STEP_NAMES = {
    "waiting": "Waiting for the sensors",
    "n_pose": "N-pose",
    "t_pose": "T-pose",
    "walk": "Walk",
    "done": "Calibrated",
    "refused": "Not calibrated",
}


@dataclass(frozen=True, slots=True)
class GuideParams:
    """Bounds and limits of the panel."""

    gone_s: float = 5.0
    """A guide that was published longer ago, and is not at its end, is said to be silent."""
    full: float = 2.0
    """Activity at which a sensor's bar is full; at half of it a sensor counts as still."""
    good_rad: float = math.radians(8.0)
    """A quality beyond is marked."""
    max_sensors: int = 64


@dataclass(frozen=True, slots=True)
class SensorBar:
    """One sensor."""

    name: str
    share: float
    """Of the bar's length, 0..1."""
    level: Level
    text: str
    """Quality once it is known."""


@dataclass(frozen=True, slots=True)
class GuideView:
    """What the panel shows."""

    title: str
    instruction: str
    message: str
    progress: float
    """0..1."""
    level: Level
    """``FAULT`` where it was refused."""
    bars: tuple[SensorBar, ...]


@dataclass(slots=True)
class GuideState:
    """The newest guide and when it was published."""

    guide: Guide | None = None
    published_ns: int = 0


class GuideModel:
    """Turns guides into what the panel shows."""

    def __init__(self, params: GuideParams | None = None) -> None:
        self.params = params or GuideParams()
        self.state = GuideState()

    def add(self, record: Guide, published_ns: int) -> None:
        """Keep the newest record."""
        self.state = GuideState(record, published_ns)

    def view(self, now_ns: int) -> GuideView | None:
        """What to show at a time of the session clock; None before the first guide."""
        guide = self.state.guide
        if guide is None:
            return None
        over = guide.step in ("done", "refused")
        silent_s = (now_ns - self.state.published_ns) / 1e9
        silent = not over and silent_s > self.params.gone_s
        name = STEP_NAMES.get(guide.step, guide.step)
        counted = not over and guide.step != "waiting"
        return GuideView(
            title=f"{guide.number} of {guide.steps}: {name}" if counted else name,
            instruction=guide.instruction,
            message=f"nothing heard of the guide for {silent_s:.0f} s" if silent else guide.message,
            progress=min(max(guide.progress, 0.0), 1.0),
            level=Level.FAULT if guide.step == "refused" else Level.WARNING if silent else Level.FINE,
            bars=tuple(self._bar(guide, k) for k in range(min(len(guide.sensors), self.params.max_sensors))),
        )

    def _bar(self, guide: Guide, k: int) -> SensorBar:
        activity, quality = float(guide.activity[k]), float(guide.quality_rad[k])
        if math.isfinite(quality):
            level = Level.FINE if quality <= self.params.good_rad else Level.WARNING
            return SensorBar(guide.sensors[k], 0.0, level, f"± {degrees_text(math.degrees(quality))}°")
        if not math.isfinite(activity):
            return SensorBar(guide.sensors[k], 0.0, Level.FAULT, "silent")
        level = Level.FINE if activity < 1.0 else Level.WARNING
        return SensorBar(guide.sensors[k], min(activity / self.params.full, 1.0), level, "")
