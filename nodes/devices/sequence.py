"""Which samples are lost, doubled or late, from counters that wrap and from clocks."""

from __future__ import annotations

from collections import deque

from nodes.devices.sample import DecoderCounts

REMEMBERED = 64
"""A sample that comes so many numbers late can still be told from one that comes twice."""
LONGEST_GAP = 2000
"""A counter that leaps further has begun anew."""
LONGEST_GAP_NS = 10_000_000_000
_PERIOD_GAIN = 0.05
_MOST_PERIODS = 20
"""A gap of more periods than this is believed only when the next stamp agrees."""
_PACE_SHARE = 0.1
_PACE_NS = 1_100_000
"""How far off the pace a stamp may be: a share of a period, or what is cut off by stamps in ms."""


class Sequence:
    """Follows a counter that wraps at ``modulus``."""

    def __init__(self, modulus: int, counts: DecoderCounts) -> None:
        self._modulus = modulus
        self._counts = counts
        self._newest: int | None = None
        self._seen = 0
        """Bit k: number newest - k has come."""

    def step(self, value: int) -> int | None:
        """The number without wraps; None if this one has come before."""
        if self._newest is None:
            self._newest, self._seen = value % self._modulus, 1
            return self._newest
        half = self._modulus // 2
        ahead = (value - self._newest + half) % self._modulus - half
        if not -REMEMBERED < ahead <= LONGEST_GAP:
            self._counts.restarts += 1
            self._newest, self._seen = self._newest + 1, 1
            self._newest += (value - self._newest) % self._modulus
            return self._newest
        if ahead > 0:
            self._counts.lost += ahead - 1
            self._newest += ahead
            self._seen = (self._seen << ahead | 1) & ((1 << REMEMBERED) - 1)
            return self._newest
        if self._seen >> -ahead & 1:
            self._counts.doubled += 1
            return None
        self._seen |= 1 << -ahead
        self._counts.late += 1
        self._counts.lost = max(0, self._counts.lost - 1)
        return self._newest + ahead


class TimeSequence:
    """Follows stamps of a device without a counter: a gap of k periods is k - 1 lost samples.

    A stamp that is off the even pace is believed only once the next one agrees with
    it: where there is no checksum a flipped bit would set the clock wrong for long.
    """

    def __init__(self, counts: DecoderCounts) -> None:
        self._counts = counts
        self._newest_ns: int | None = None
        self._doubtful_ns: int | None = None
        """A stamp off the pace, not yet believed."""
        self._step_ns = 0
        """From the stamp before it."""
        self._recent: deque[int] = deque(maxlen=REMEMBERED)
        self.period_ns = 0.0
        """Between samples; 0 before two have come."""

    def step(self, device_ns: int) -> bool:
        """Whether this sample is new and its stamp can be believed."""
        newest = self._newest_ns
        if newest is None:
            self._newest_ns = device_ns
        elif device_ns in self._recent:
            self._counts.doubled += 1
            return False
        elif not self.period_ns and 0 < device_ns - newest <= LONGEST_GAP_NS:
            self.period_ns, self._newest_ns = float(device_ns - newest), device_ns
        elif not self._on_pace(device_ns - newest):
            return self._off_pace(device_ns, newest)
        elif device_ns > newest:
            self._ahead(device_ns, newest)
            self._newest_ns = device_ns
        else:
            self._counts.late += 1
            self._counts.lost = max(0, self._counts.lost - 1)
        self._recent.append(device_ns)
        return True

    def _on_pace(self, step_ns: int) -> bool:
        """Whether a step is a small whole number of periods."""
        periods = round(step_ns / self.period_ns) if self.period_ns else 0
        return 1 <= abs(periods) <= _MOST_PERIODS and _near(step_ns, periods * self.period_ns, self.period_ns)

    def _off_pace(self, device_ns: int, newest_ns: int) -> bool:
        doubtful, self._doubtful_ns = self._doubtful_ns, device_ns
        step_ns = self._step_ns
        self._step_ns = device_ns - (newest_ns if doubtful is None else doubtful)
        if doubtful is None:
            return False
        since_ns = self._step_ns
        again = 0 < since_ns <= LONGEST_GAP_NS and _near(since_ns, step_ns, since_ns)
        if not (again or (since_ns > 0 and _near(since_ns, self.period_ns, self.period_ns))):
            self._counts.absurd += 1
            return False
        gap_ns = device_ns - newest_ns
        if again:
            self.period_ns = float(since_ns)
        if 0 < gap_ns <= LONGEST_GAP_NS:
            self._counts.lost += max(0, round(gap_ns / self.period_ns) - 1)
        else:
            self._counts.restarts += 1
        self._newest_ns, self._doubtful_ns = device_ns, None
        self._recent.clear()
        self._recent.append(device_ns)
        return True

    def _ahead(self, device_ns: int, newest_ns: int) -> None:
        doubtful, self._doubtful_ns = self._doubtful_ns, None
        if doubtful is not None and _near(device_ns - doubtful, doubtful - newest_ns, doubtful - newest_ns):
            self.period_ns = float(device_ns - doubtful)  # What was taken for the period was two of them.
        elif doubtful is not None:
            self._counts.absurd += 1
        step_ns = device_ns - newest_ns
        periods = round(step_ns / self.period_ns)
        self._counts.lost += periods - 1
        if periods == 1:
            self.period_ns += _PERIOD_GAIN * (step_ns - self.period_ns)


def _near(step_ns: float, expected_ns: float, period_ns: float) -> bool:
    return abs(step_ns - expected_ns) <= max(_PACE_SHARE * period_ns, _PACE_NS)


class Unwrapped:
    """A device time in ticks that wraps at one of several moduli, which its maker does not tell in the data."""

    def __init__(self, moduli: tuple[int, ...], near: int) -> None:
        self._moduli = moduli
        self._near = near
        """Ticks: a wrap is believed from so near below the modulus to so near above 0."""
        self._last = 0
        self._base = 0

    def step(self, ticks: int) -> int:
        """The time without wraps. A clock that begins anew begins anew here too."""
        if ticks < self._last:
            for modulus in self._moduli:
                if 0 < modulus - self._last <= self._near and ticks <= self._near:
                    self._base += modulus
                    self._last = ticks
                    return self._base + ticks
        elif self._base and self._last <= self._near:
            for modulus in self._moduli:
                if 0 < modulus - ticks <= self._near:
                    return self._base - modulus + ticks  # One from before the wrap that comes late.
        self._last = ticks
        return self._base + ticks
