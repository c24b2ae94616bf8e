"""Which samples are lost, doubled or late, from counters that wrap and from clocks."""

from __future__ import annotations

from collections import deque

from nodes.devices.sample import DecoderCounts

REMEMBERED = 64
"""A sample that comes so many numbers late can still be told from one that comes twice."""
LONGEST_GAP = 2000
"""A counter that leaps further has begun anew."""
LONGEST_GAP_NS = 10_000_000_000
LATEST_NS = 1_000_000_000
"""A clock that falls back further has begun anew."""
_PERIOD_GAIN = 0.05


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
    """Follows stamps of a device without a counter: a gap of k periods is k - 1 lost samples."""

    def __init__(self, counts: DecoderCounts) -> None:
        self._counts = counts
        self._newest_ns: int | None = None
        self._recent: deque[int] = deque(maxlen=REMEMBERED)
        self.period_ns = 0.0
        """Between samples; 0 before two have come."""

    def step(self, device_ns: int) -> bool:
        """Whether this sample is new."""
        newest = self._newest_ns
        if newest is None or not -LATEST_NS <= device_ns - newest <= LONGEST_GAP_NS:
            self._counts.restarts += newest is not None
            self._recent.clear()
            self._newest_ns = device_ns
        elif device_ns > newest:
            self._ahead(device_ns - newest)
            self._newest_ns = device_ns
        elif device_ns in self._recent:
            self._counts.doubled += 1
            return False
        else:
            self._counts.late += 1
            self._counts.lost = max(0, self._counts.lost - 1)
        self._recent.append(device_ns)
        return True

    def _ahead(self, step_ns: int) -> None:
        if not self.period_ns or step_ns < 0.5 * self.period_ns:
            self.period_ns = float(step_ns)
            return
        periods = round(step_ns / self.period_ns)
        self._counts.lost += periods - 1
        if periods == 1:
            self.period_ns += _PERIOD_GAIN * (step_ns - self.period_ns)


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
