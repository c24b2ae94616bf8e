"""A guided calibration in the terminal: what to do, how far it is, which sensor moves."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO

from fusion.records import Guide

if TYPE_CHECKING:
    from rich.live import Live

BAR_WIDTH = 20
_FULL = 2.0
"""Activity at which a sensor's bar is full; at half of it a sensor counts as still."""


class GuideDisplay:
    """Shows guides as they come: a live panel on a terminal, else a line for each change.

    Args:
        stream: where to; standard error if None.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._told = ("", "")
        self._live: Live | None = None

    @property
    def live(self) -> bool:
        """Whether the stream is a terminal that is drawn on."""
        return self._stream.isatty()

    def show(self, guide: Guide) -> None:
        """Show the newest guide."""
        if self.live:
            self._draw(guide)
            return
        told = (f"{guide.number}/{guide.step}", guide.message)
        if told != self._told:
            self._told = told
            print(guide_line(guide), file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the last picture on the terminal."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self, guide: Guide) -> None:
        from rich.console import Console
        from rich.live import Live

        if self._live is None:
            self._live = Live(console=Console(file=self._stream), auto_refresh=False, transient=False)
            self._live.start()
        self._live.update(_panel(guide), refresh=True)


def guide_line(guide: Guide) -> str:
    """One line: step, what to do, what is missing."""
    head = guide.step if guide.step in ("waiting", "done", "refused") else f"{guide.number}/{guide.steps} {guide.step}"
    text = ": ".join(part for part in (head, guide.instruction) if part)
    return f"{text} ({guide.message})" if guide.message else text


def bar(activity: float) -> str:
    """A sensor's restlessness as a bar: half full is the bound of stillness."""
    if math.isnan(activity):
        return "no samples"
    return "█" * min(math.ceil(BAR_WIDTH * activity / _FULL), BAR_WIDTH)


def _panel(guide: Guide) -> Any:
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    sensors = Table.grid(padding=(0, 2))
    for name, activity, quality in zip(guide.sensors, guide.activity.tolist(), guide.quality_rad.tolist(), strict=True):
        style = "green" if activity < 1.0 else "yellow" if activity < _FULL else "red"
        known = f"{math.degrees(quality):.1f}°" if math.isfinite(quality) else ""
        sensors.add_row(name, Text(bar(activity).ljust(BAR_WIDTH), style), known)
    title = guide_line(replace(guide, instruction="", message=""))
    return Panel(
        Group(
            Text(guide.instruction, "bold"),
            ProgressBar(total=1.0, completed=guide.progress, width=2 * BAR_WIDTH),
            Text(guide.message, "yellow"),
            sensors,
        ),
        title=title,
    )
