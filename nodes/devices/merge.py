"""Samples of several sensors, each at times of its own, into rows at common times.

The rows lie on an even grid that follows the first sensor that is heard. A
sensor whose sample is at a row's time, but for a small share of a period, gives
that sample; another one gives the value on the line between its samples before
and after. Choosing the nearest sample instead would shift it by up to half a
period, and where two clocks drift apart would lose a sample, and the turn in it,
again and again. A row waits for every sensor that is being heard, for a bounded
time; who is late or silent then has no reading in it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field

NS_PER_S = 1_000_000_000
_STEPS = 32
_LEAST_STEPS = 4
_LEARN_EVERY = 8
SHORTEST_PERIOD_NS = 500_000.0
"""No sensor for people is faster; stamps that say so are wrong, and rows would be without number."""

Reading = tuple[float, ...]
"""Specific force, rate, field: nine numbers, NaN where there is no field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeParams:
    """Settings of a ``Merger``."""

    sensors: int
    wait_s: float = 0.08
    """How long a row waits for a sensor that is being heard."""
    silent_s: float = 0.5
    """A sensor without a sample for so long is silent: no row waits for it."""
    same_share: float = 0.05
    """Share of a period within which a sample counts as of the row's time."""
    follow: float = 0.1
    """Share of its distance to the samples that the grid makes up at each row."""
    most_waiting: int = 512
    """Samples that are kept for each sensor."""
    join_periods: float = 1.6
    """Samples further apart are not joined by a line: one is missing in between."""


@dataclass(frozen=True, slots=True)
class Row:
    """All sensors at one time."""

    time_ns: int
    readings: tuple[Reading | None, ...]


@dataclass(slots=True)
class MergeCounts:
    """What could not be put into a row."""

    late: int = 0
    """Samples that came when the rows they belong to had gone."""
    doubled: int = 0
    """Samples of a sensor at a time that it has had."""
    missing: int = 0
    """Places in rows without a reading, of sensors that had been heard before."""


@dataclass(slots=True)
class _Channel:
    """What waits of one sensor."""

    times: list[int] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    steps: deque[int] = field(default_factory=lambda: deque(maxlen=_STEPS))
    """Latest times between samples, as they came."""
    put: int = 0
    """How many steps there have been."""
    period_ns: float = 0.0
    heard_ns: int | None = None
    """Session clock of the last arrival."""


class Merger:
    """Collects samples by sensor and hands out rows; knows no clock but the one it is told."""

    def __init__(self, params: MergeParams) -> None:
        self.params = params
        self.counts = MergeCounts()
        self._channels = [_Channel() for _ in range(params.sensors)]
        self._next_ns = 0
        """When the next row is; 0 before the first."""
        self._last_ns = 0
        self.period_ns = 0.0
        """Of the rows: the shortest of the sensors that are known; 0 before one is."""

    def put(self, sensor: int, time_ns: int, reading: Reading, now_ns: int) -> None:
        """Take a sample in.

        Args:
            sensor: its number.
            time_ns: session time of the sample.
            reading: nine numbers.
            now_ns: session time now.
        """
        channel = self._channels[sensor]
        channel.heard_ns = now_ns
        times = channel.times
        if not times or time_ns > times[-1]:
            if times and _learn_period(channel, time_ns - times[-1]):
                known = [other.period_ns for other in self._channels if other.period_ns]
                self.period_ns = max(min(known), SHORTEST_PERIOD_NS)
            if self._last_ns and time_ns < self._last_ns - self.period_ns:
                self.counts.late += 1
                return
            times.append(time_ns)
            channel.readings.append(reading)
            if len(times) > self.params.most_waiting:
                del times[0], channel.readings[0]
            return
        place = bisect_left(times, time_ns)
        if times[place] == time_ns:
            self.counts.doubled += 1
        elif place == 0:
            self.counts.late += 1
        else:
            times.insert(place, time_ns)
            channel.readings.insert(place, reading)

    def heard(self, sensor: int, now_ns: int) -> bool:
        """Whether a sensor has sent anything lately."""
        heard_ns = self._channels[sensor].heard_ns
        return heard_ns is not None and now_ns - heard_ns <= self.params.silent_s * NS_PER_S

    def rows(self, now_ns: int) -> list[Row]:
        """Rows that are complete or have waited long enough, in order of time."""
        rows: list[Row] = []
        period_ns = self.period_ns
        if not period_ns:
            return rows
        same_ns = self.params.same_share * period_ns
        while self._aligned(period_ns, same_ns):
            if not self._ready(now_ns, same_ns):
                break
            time_ns = max(self._next_ns, self._last_ns + 1)
            readings = tuple(self._at(channel, time_ns, period_ns, same_ns) for channel in self._channels)
            if any(reading is not None for reading in readings):
                rows.append(Row(time_ns, readings))
                self._last_ns = time_ns
                self.counts.missing += sum(
                    reading is None and channel.heard_ns is not None
                    for reading, channel in zip(readings, self._channels, strict=True)
                )
            self._next_ns += max(1, round(period_ns + self.params.follow * self._error(period_ns)))
            self._forget(same_ns)
        return rows

    def _aligned(self, period_ns: float, same_ns: float) -> bool:
        """Whether there is anything for the next row or after it; the grid leaps over what nobody has."""
        waiting = [
            channel.times[place]
            for channel in self._channels
            if (place := bisect_left(channel.times, self._next_ns - same_ns)) < len(channel.times)
        ]
        if not waiting:
            return False
        first = min(waiting)
        if not self._next_ns or first > self._next_ns + 1.5 * period_ns:
            # At the start no row stands before the first sample; after a gap rows stand on samples again.
            self._next_ns = first
        return True

    def _ready(self, now_ns: int, same_ns: float) -> bool:
        if now_ns - self._next_ns >= self.params.wait_s * NS_PER_S:
            return True
        return all(
            bool(channel.times) and channel.times[-1] >= self._next_ns - same_ns
            for number, channel in enumerate(self._channels)
            if self.heard(number, now_ns)
        )

    def _error(self, period_ns: float) -> float:
        """How much later than the present row the nearest sample of the first sensor that has one is, ns."""
        for channel in self._channels:
            place = bisect_left(channel.times, self._next_ns)
            near = [time - self._next_ns for time in channel.times[max(place - 1, 0) : place + 1]]
            best = float(min(near, key=abs, default=period_ns))
            if abs(best) <= 0.5 * period_ns:
                return best
        return 0.0

    def _at(self, channel: _Channel, time_ns: int, period_ns: float, same_ns: float) -> Reading | None:
        """A sensor's reading at a time."""
        times, readings = channel.times, channel.readings
        after = bisect_left(times, time_ns)
        for place in (after - 1, after):
            if 0 <= place < len(times) and abs(times[place] - time_ns) <= same_ns:
                return readings[place]
        if not 0 < after < len(times):
            return None
        apart = times[after] - times[after - 1]
        if apart > self.params.join_periods * (channel.period_ns or period_ns):
            return None
        share = (time_ns - times[after - 1]) / apart
        return tuple(a + share * (b - a) for a, b in zip(readings[after - 1], readings[after], strict=True))

    def _forget(self, same_ns: float) -> None:
        """Drop what no later row needs: of the samples before the next row only the last is kept."""
        for channel in self._channels:
            passed = bisect_left(channel.times, self._next_ns - same_ns) - 1
            if passed > 0:
                del channel.times[:passed], channel.readings[:passed]


def _learn_period(channel: _Channel, step_ns: int) -> bool:
    """Follow the time between samples: the mean of those near the median, so that gaps and leaps do not count.

    Returns:
        Whether the period has changed.
    """
    steps = channel.steps
    steps.append(step_ns)
    channel.put += 1
    if len(steps) < _LEAST_STEPS or (len(steps) == _STEPS and channel.put % _LEARN_EVERY):
        return False
    middle = sorted(steps)[len(steps) // 2]
    near = [step for step in steps if 0.6 * middle <= step <= 1.4 * middle]
    channel.period_ns = sum(near) / len(near)
    return True
