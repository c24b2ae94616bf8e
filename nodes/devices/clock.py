"""A sensor's samples on the session clock.

A device with a clock is mapped by ``fusion.timing.clock_map``. One without is
taken to sample evenly: the number of the sample times a period learned from
arrivals is its clock, mapped likewise with a wider bound on the skew. Until
enough arrivals have come to know the mapping no sample gets a time.
"""

from __future__ import annotations

from fusion.timing.clock_map import ClockMap, ClockMapParams
from nodes.devices.sample import DeviceSample

NS_PER_S = 1_000_000_000
SETTLE_NS = 300_000_000
"""Arrivals of so long are listened to before the first sample gets a time: the first ones are often late together."""
SETTLE_EVEN_NS = 1_000_000_000
"""The same for a device without a clock, whose period is to be learned too."""
_LEAST_ARRIVALS = 8
_GAP_NS = 250_000_000
"""An uncounted sample that comes so much later than its number says comes after a gap, over which the number leaps."""
_EVEN = ClockMapParams(window_s=20.0, skew_after_s=2.0, max_skew_ppm=50_000.0)
_MOST_KEPT = 4096


class SensorClock:
    """One device clock; sensors that share it share the object."""

    def __init__(self) -> None:
        self._map: ClockMap | None = None
        self._even = False
        self._first_ns: int | None = None
        self._arrivals: list[int] = []
        """While settling, of a device without a clock."""
        self._numbers: list[int] = []
        self._period_ns = 0.0
        self._number = -1
        self._device_ns = self._session_ns = 0

    @property
    def settled(self) -> bool:
        """Whether samples get times."""
        return self._session_ns > 0

    @property
    def offset_ms(self) -> float:
        """Session clock minus device clock at the last sample, ms; NaN before."""
        return (self._session_ns - self._device_ns) * 1e-6 if self._session_ns else float("nan")

    @property
    def skew_ppm(self) -> float:
        """How much faster the session clock runs than the device's, parts per million; 0 while unknown."""
        return self._map.skew_ppm if self._map is not None else 0.0

    @property
    def jumps(self) -> int:
        """How often the device's clock has leapt."""
        return self._map.state.jumps if self._map is not None else 0

    def step(self, sample: DeviceSample, received_ns: int) -> int | None:
        """Session time of a sample that arrived then; None while the clock settles."""
        if self._first_ns is None:
            self._first_ns = received_ns
        even = sample.device_ns is None
        if even != self._even or self._map is None:
            self._even = even
            self._map = ClockMap(_EVEN if even else None)
        device_ns = self._even_ns(sample.counter, received_ns) if sample.device_ns is None else sample.device_ns
        if device_ns is None:
            return None
        session_ns = self._map.step(device_ns, received_ns)
        if received_ns - self._first_ns < SETTLE_NS:
            return None
        self._device_ns, self._session_ns = device_ns, session_ns
        return session_ns

    def _even_ns(self, counter: int | None, received_ns: int) -> int | None:
        """Time on the clock that the numbers of the samples make; None while its period is unknown."""
        if counter is not None:
            self._number = counter
        else:
            self._number += 1
            if self._period_ns and self._map is not None and self._map.state.points:
                late_ns = received_ns - self._map.map(round(self._number * self._period_ns))
                self._number += int(late_ns / self._period_ns) if late_ns > _GAP_NS else 0
        if self._period_ns:
            return round(self._number * self._period_ns)
        self._arrivals.append(received_ns)
        self._numbers.append(self._number)
        if len(self._arrivals) >= _MOST_KEPT or self._arrivals[-1] - self._arrivals[0] >= SETTLE_EVEN_NS:
            self._learn()
        return None

    def _learn(self) -> None:
        """The period from arrivals by least squares over the numbers."""
        if len(self._arrivals) < _LEAST_ARRIVALS:
            del self._arrivals[:], self._numbers[:]
            return
        base_ns, base = self._arrivals[0], self._numbers[0]
        numbers = [number - base for number in self._numbers]
        mean = sum(numbers) / len(numbers)
        spread = sum((number - mean) ** 2 for number in numbers)
        together = sum(
            (number - mean) * (arrival - base_ns) for number, arrival in zip(numbers, self._arrivals, strict=True)
        )
        self._period_ns = max(together / spread, 0.0) if spread else 0.0
        del self._arrivals[:], self._numbers[:]
