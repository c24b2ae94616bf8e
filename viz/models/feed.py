"""What the window needs from the outside: records, a clock, and someone who records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from fusion.records import Record

FRAME_MS = 33.0
"""Time between two drawings when drawing is cheap: 30 Hz."""
LEAST_REST_SHARE = 1.0
"""Of the time that a drawing takes, the rest that follows it."""


class Arrival(NamedTuple):
    """A record as it came from the graph."""

    topic: str
    record: Record
    published_ns: int
    cause_published_ns: int


class Feed(Protocol):
    """A subscription to a running graph."""

    def drain(self, budget_s: float) -> Iterable[Arrival]:
        """What has arrived since the last call: measurements for at most ``budget_s``, then the newest pictures."""
        ...

    def now_ns(self) -> int:
        """The session clock."""
        ...

    def state(self) -> str:
        """One word or two on the connection: ``live``, ``ended``, ``lost``."""
        ...


class RecordingControl(Protocol):
    """Starts and stops a recording of the running session."""

    def start(self) -> str:
        """Begin; returns where the recording goes.

        Raises:
            OSError: the message says why it cannot and what to do.
        """
        ...

    def stop(self) -> str:
        """End; returns where the recording is and how much it holds."""
        ...


def next_interval_ms(spent_ms: float) -> int:
    """When to draw next.

    Drawing at 30 Hz as long as that is cheap; where it is not (pictures drawn by
    the processor), the viewer rests as long as it worked, so that the graph on
    the same machine keeps its share.

    Args:
        spent_ms: what the last drawing took.
    """
    return max(1, round(max(FRAME_MS - spent_ms, LEAST_REST_SHARE * spent_ms)))
