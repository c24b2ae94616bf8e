"""How long the graph takes from a measurement to the skeleton that contains it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class LatencyParams:
    """Window of the percentiles."""

    window_s: float = 5.0
    most: int = 4096
    """Values kept at any rate."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles over the window; NaN without a value."""

    count: int
    p50_ms: float
    p99_ms: float


@dataclass(slots=True)
class LatencyState:
    """Publication time (ns) and latency (ms) of recent skeletons."""

    values: deque[tuple[int, float]] = field(default_factory=deque)


class LatencyModel:
    """Publication of the skeleton minus publication of what caused it, both on the session clock."""

    def __init__(self, params: LatencyParams | None = None) -> None:
        self.params = params or LatencyParams()
        self.state = LatencyState(deque(maxlen=self.params.most))

    def add(self, published_ns: int, cause_published_ns: int) -> None:
        """Take the stamps of one skeleton; one without a cause (0) says nothing about latency."""
        if cause_published_ns > 0:
            self.state.values.append((published_ns, (published_ns - cause_published_ns) / 1e6))

    def summary(self, now_ns: int) -> Latency:
        """Percentiles of what was published in the last ``window_s`` before ``now_ns``."""
        oldest_ns = now_ns - round(self.params.window_s * 1e9)
        while self.state.values and self.state.values[0][0] < oldest_ns:
            self.state.values.popleft()
        latencies = [latency for _, latency in self.state.values]
        if not latencies:
            return Latency(0, float("nan"), float("nan"))
        p50, p99 = np.percentile(latencies, (50, 99))
        return Latency(len(latencies), float(p50), float(p99))
