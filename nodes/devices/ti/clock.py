"""A radar's frames on the session clock, though its stream tells no time.

Frames are triggered by the sensor's own timer, so number times period is its
clock; what is late by a varying delay is the arrival of a frame's first bytes,
after the chirps, the processing (told in many streams) and the bridge to USB.
``fusion.timing.clock_map`` runs along the lower edge of the arrivals, with the
told processing taken off. A frame's time is the middle of its chirps.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from statistics import median
from typing import Literal

from fusion.timing.clock_map import ClockMap, ClockMapParams

NS_PER_S = 1_000_000_000
LEAST_PERIOD_S, MOST_PERIOD_S = 0.002, 5.0
ARRIVALS_KEPT = 60
"""Of so many frames the pace is judged,"""
LEAST_ARRIVALS = 20
"""and of no fewer,"""
LEAST_SPAN_S = 1.5
"""nor of a shorter time."""
_WRONG_PERIOD = 0.03
"""Share by which the pace of arrivals may differ from the period; a crystal is off by much less."""
_SLACK = 3
"""A number may be so far ahead of what the time since the last one allows, and a fifth more."""
_KNOWN = ClockMapParams(window_s=60.0, skew_after_s=10.0, max_skew_ppm=200.0, jump_s=0.5, jump_count=3)
_LEARNED = ClockMapParams(window_s=20.0, skew_after_s=2.0, max_skew_ppm=50_000.0, jump_s=0.5, jump_count=3)
"""For a period that only arrivals have told."""

Turn = Literal["first", "next", "restart", "repeat", "doubtful"]


class FrameNumbers:
    """What a frame's number says: the next one, after a gap, a restart, or nonsense.

    There is no checksum: a number that time since the last frame does not allow is
    believed only once the one after it agrees.
    """

    def __init__(self) -> None:
        self.lost = 0
        self.restarts = 0
        self.repeats = 0
        self.doubtful = 0
        self.number = -1
        """The last one that was believed."""
        self._at_ns = 0
        self._suspect = -1

    def step(self, number: int, at_ns: int, period_s: float | None) -> Turn:
        """Judge a frame that began to arrive then."""
        turn = self._judge(number, at_ns, period_s)
        if turn == "doubtful":
            self.doubtful += 1
            self._suspect = number
            return turn
        self._suspect = -1
        if turn == "repeat":
            self.repeats += 1
            return turn
        if turn == "restart":
            self.restarts += 1
        elif turn == "next":
            self.lost += number - self.number - 1
        self.number, self._at_ns = number, at_ns
        return turn

    def _judge(self, number: int, at_ns: int, period_s: float | None) -> Turn:
        if self.number < 0:
            return "first"
        if number == self.number + 1:
            return "next"
        if number == self.number:
            return "repeat"
        if number == self._suspect + 1:
            return "restart"
        most = _SLACK + 1.2 * (at_ns - self._at_ns) / NS_PER_S / (period_s or LEAST_PERIOD_S)
        if number > self.number:
            return "next" if number - self.number <= most else "doubtful"
        return "restart" if number <= most else "doubtful"  # It counts from 1 since it was started.


class FramePeriod:
    """Time between frames: what the configuration says, if arrivals do not speak against it, else what they say."""

    def __init__(self, configured_s: float | None) -> None:
        self.configured_s = configured_s
        self.seconds = configured_s
        """None while nothing tells."""
        self._arrivals: deque[tuple[int, int]] = deque(maxlen=ARRIVALS_KEPT)

    @property
    def learned(self) -> bool:
        """Whether only arrivals have told it; then it is not the sensor's own to a millionth."""
        return self.seconds != self.configured_s

    @property
    def contradicts(self) -> bool:
        """Whether the frames come at another pace than the configuration says."""
        return self.configured_s is not None and self.learned

    def restart(self) -> None:
        """The numbers begin anew."""
        self._arrivals.clear()

    def step(self, number: int, began_ns: int) -> bool:
        """Take a frame's arrival; True if the period has become another."""
        self._arrivals.append((number, began_ns))
        if len(self._arrivals) < LEAST_ARRIVALS or began_ns - self._arrivals[0][1] < LEAST_SPAN_S * NS_PER_S:
            return False
        observed_s, before = _pace_s(self._arrivals), self.seconds
        if observed_s is not None and not _alike(observed_s, self.seconds):
            self.seconds = self.configured_s if _alike(observed_s, self.configured_s) else observed_s
        return self.seconds != before


def _alike(observed_s: float, known_s: float | None) -> bool:
    return known_s is not None and abs(observed_s - known_s) <= _WRONG_PERIOD * known_s


def _pace_s(arrivals: deque[tuple[int, int]]) -> float | None:
    """Seconds a number: the median over pairs half of the arrivals apart, so that a few late ones do not tell.

    Source: A. F. Siegel, "Robust regression using repeated medians", Biometrika 69 (1982), for the idea; of all pairs
    only those at one distance are taken.
    """
    half = len(arrivals) // 2
    paces = [
        (late[1] - early[1]) / (late[0] - early[0]) / NS_PER_S
        for early, late in zip(arrivals, islice(arrivals, half, None), strict=False)
        if late[0] > early[0]
    ]
    pace_s = median(paces) if paces else 0.0
    return pace_s if LEAST_PERIOD_S <= pace_s <= MOST_PERIOD_S else None


class RadarClock:
    """Session time of frames.

    Args:
        period_s: of frames by the configuration; None if unknown.
        active_s: how long a frame's chirps take; its time is their middle.
        processing_s: from the last chirp to the first byte, where the stream does not tell.
    """

    def __init__(self, period_s: float | None, active_s: float = 0.0, processing_s: float = 0.0) -> None:
        self.period = FramePeriod(period_s)
        self.numbers = FrameNumbers()
        self._half_ns = round(0.5 * active_s * NS_PER_S)
        self._processing_ns = round(processing_s * NS_PER_S)
        self._map = ClockMap(_KNOWN)
        self._jumps = 0

    @property
    def skew_ppm(self) -> float:
        """How much faster the session clock runs than the sensor's, parts per million; 0 while unknown."""
        return self._map.skew_ppm

    @property
    def jumps(self) -> int:
        """How often the fit had to begin anew though the numbers went on."""
        return self._jumps + self._map.state.jumps

    def step(self, number: int, began_ns: int, processing_s: float | None) -> int | None:
        """Session time of the middle of a frame's chirps; None for a repeated frame or one of a doubtful number.

        Args:
            number: of the frame.
            began_ns: session time at which its first bytes arrived.
            processing_s: what the sensor says of the time from the last chirp to the first byte.
        """
        turn = self.numbers.step(number, began_ns, self.period.seconds)
        if turn in ("repeat", "doubtful"):
            return None
        if turn == "restart":
            self.period.restart()
            self._begin_map()
        if self.period.step(number, began_ns):
            self._begin_map()
        late_ns = self._processing_ns if processing_s is None else round(processing_s * NS_PER_S)
        chirped_ns = began_ns - late_ns
        if self.period.seconds is None:
            return chirped_ns - self._half_ns
        device_ns = round(number * self.period.seconds * NS_PER_S)
        return self._map.step(device_ns, chirped_ns) - self._half_ns

    def _begin_map(self) -> None:
        self._jumps += self._map.state.jumps
        self._map = ClockMap(_LEARNED if self.period.learned else _KNOWN)
