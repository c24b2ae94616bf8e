"""Device clock to session clock.

``ClockMap`` serves one-way stamps: a device says when it measured, on its own
clock, and the host notes when the bytes arrived. The arrival is late by a
varying, never negative delay, so the truth lies along the lower edge of the
points (device time, arrival). The line is the one below all points with the
smallest sum of distances to them; it runs along the edge of the lower convex
hull above the mean of the device times.

Source: L. Zhang, Z. Liu, C. H. Xia, "Clock synchronization algorithms for
network measurements", IEEE INFOCOM 2002, section III (convex hull, objective
function 1); S. B. Moon, P. Skelly, D. Towsley, INFOCOM 1999, eq. 6 (the linear
program). Differs from them in that it runs online over a window, keeps one
point (the least delayed) of each short span, and bounds the skew.

``LineFit`` serves probes with an answer, as between hosts, whose error has
either sign: a least-squares line, weighted by the round trips.

The constant part of a one-way delay cannot be seen in the stamps; where it is
known it is a number in the profile.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

_PER_MILLION = 1e-6
_NS = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockMapParams:
    """Settings of a ``ClockMap``."""

    span_s: float = 0.5
    """Of each span of device time only the least delayed point is kept."""
    window_s: float = 60.0
    """Points older than this are forgotten."""
    skew_after_s: float = 5.0
    """Until the points span this much, the clocks are taken to run alike."""
    max_skew_ppm: float = 500.0
    """Bound on the fitted skew, parts per million."""
    jump_s: float = 1.0
    """An arrival further off the line than this is taken for a jump of the device clock, if it lasts."""
    jump_count: int = 5
    """How many arrivals in a row must be off before the mapping starts again."""


@dataclass(slots=True)
class ClockMapState:
    """All memory of a ``ClockMap``."""

    points: deque[tuple[int, int]] = field(default_factory=deque)
    """(device_ns, received_ns), one a span, device times rising."""
    span: int = 0
    slope: float = 0.0
    """Session seconds per device second, minus one."""
    anchor_device_ns: int = 0
    anchor_session_ns: int = 0
    off: int = 0
    """Arrivals in a row that were off the line."""
    jumps: int = 0
    """How often the mapping has started again."""


class ClockMap:
    """Online map from a device's clock to the session clock, from one-way stamps."""

    def __init__(self, params: ClockMapParams | None = None, state: ClockMapState | None = None) -> None:
        self.params = params or ClockMapParams()
        self.state = state or ClockMapState()

    @property
    def skew_ppm(self) -> float:
        """How much faster the session clock runs than the device's, parts per million."""
        return self.state.slope / _PER_MILLION

    def step(self, device_ns: int, received_ns: int) -> int:
        """Take the stamps of one arrival and return its measuring time on the session clock.

        The result is never later than ``received_ns``. While an arrival is off
        by more than ``jump_s`` it is mapped to its arrival.
        """
        if self.state.points and abs(received_ns - self.map(device_ns)) > self.params.jump_s * _NS:
            return self._off_the_line(device_ns, received_ns)
        self.state.off = 0
        if self._keep(device_ns, received_ns):
            self._fit()
        return min(self.map(device_ns), received_ns)

    def map(self, device_ns: int) -> int:
        """A device time on the session clock, by the present fit."""
        since_ns = device_ns - self.state.anchor_device_ns
        return self.state.anchor_session_ns + since_ns + round(self.state.slope * since_ns)

    def _off_the_line(self, device_ns: int, received_ns: int) -> int:
        self.state.off += 1
        if self.state.off >= self.params.jump_count:
            self.state = ClockMapState(jumps=self.state.jumps + 1)
            self._keep(device_ns, received_ns)
            self._fit()
        return received_ns

    def _keep(self, device_ns: int, received_ns: int) -> bool:
        """Keep the point if it is the least delayed of its span; True if the points changed."""
        state, params = self.state, self.params
        span = int(device_ns // (params.span_s * _NS))
        if state.points and span < state.span:
            return False  # An old stamp, out of order.
        if state.points and span == state.span:
            if received_ns - device_ns >= state.points[-1][1] - state.points[-1][0]:
                return False
            state.points[-1] = (device_ns, received_ns)
        else:
            state.points.append((device_ns, received_ns))
        state.span = span
        while device_ns - state.points[0][0] > params.window_s * _NS:
            state.points.popleft()
        return True

    def _fit(self) -> None:
        state = self.state
        base_device_ns, base_received_ns = state.points[0]
        device_s = np.array([(device - base_device_ns) / _NS for device, _ in state.points])
        delay_s = np.array(
            [((received - base_received_ns) - (device - base_device_ns)) / _NS for device, received in state.points]
        )
        slope = 0.0
        if device_s[-1] - device_s[0] >= self.params.skew_after_s:
            bound = self.params.max_skew_ppm * _PER_MILLION
            slope = float(np.clip(lower_slope(device_s, delay_s), -bound, bound))
        offset_s = float(np.min(delay_s - slope * device_s))
        state.slope = slope
        state.anchor_device_ns = base_device_ns
        state.anchor_session_ns = base_received_ns + round(offset_s * _NS)


def lower_slope(
    x: np.ndarray[tuple[int], np.dtype[np.float64]], y: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> float:
    """Slope of the line below all points with the least sum of vertical distances (Zhang 2002).

    ``x`` [N] rises, ``y`` [N]; at least two different ``x``.
    """
    hull: list[int] = []
    for index in range(len(x)):
        while len(hull) >= 2 and _turns_down(x, y, hull[-2], hull[-1], index):
            hull.pop()
        hull.append(index)
    mean = float(np.mean(x))
    for left, right in pairwise(hull):
        if x[right] >= mean:
            return float((y[right] - y[left]) / (x[right] - x[left]))
    return 0.0


def _turns_down(
    x: np.ndarray[tuple[int], np.dtype[np.float64]],
    y: np.ndarray[tuple[int], np.dtype[np.float64]],
    first: int,
    middle: int,
    last: int,
) -> bool:
    """The middle point lies on or above the line from the first to the last."""
    rise = (y[middle] - y[first]) * (x[last] - x[first])
    return bool(rise >= (y[last] - y[first]) * (x[middle] - x[first]))


# --- Probes with an answer ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Probe:
    """One request and its answer."""

    sent_ns: int
    """Local clock."""
    remote_ns: int
    """The other's clock, when it answered."""
    received_ns: int
    """Local clock."""

    @property
    def round_trip_ns(self) -> int:
        return self.received_ns - self.sent_ns

    @property
    def middle_ns(self) -> int:
        """Local time at which the other answered, if both ways took alike."""
        return self.sent_ns + self.round_trip_ns // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFitParams:
    """Settings of a ``LineFit``."""

    window_s: float = 60.0
    skew_after_s: float = 5.0
    max_skew_ppm: float = 500.0


class LineFit:
    """Online weighted line from the local to the remote clock."""

    def __init__(self, params: LineFitParams | None = None) -> None:
        self.params = params or LineFitParams()
        self.probes: deque[Probe] = deque()
        self._slope = 0.0
        self._offset_ns = 0.0

    @property
    def skew_ppm(self) -> float:
        """How much faster the remote clock runs than the local one, parts per million."""
        return self._slope / _PER_MILLION

    def map(self, local_ns: int) -> int | None:
        """A local time on the remote clock; None before the first probe."""
        if not self.probes:
            return None
        base = self.probes[0]
        since_ns = local_ns - base.middle_ns
        return base.remote_ns + since_ns + round(self._slope * since_ns + self._offset_ns)

    def step(self, probe: Probe) -> None:
        """Add a probe, later than those before."""
        self.probes.append(probe)
        while probe.sent_ns - self.probes[0].sent_ns > self.params.window_s * _NS:
            self.probes.popleft()
        base = self.probes[0]
        local_s = np.array([(item.middle_ns - base.middle_ns) / _NS for item in self.probes])
        ahead_s = np.array(
            [((item.remote_ns - base.remote_ns) - (item.middle_ns - base.middle_ns)) / _NS for item in self.probes]
        )
        # The error of a probe is at most half its round trip.
        weights = 1.0 / np.maximum([item.round_trip_ns / _NS for item in self.probes], 1e-6)
        weights = weights**2 / np.sum(weights**2)
        mean_local_s, mean_ahead_s = float(weights @ local_s), float(weights @ ahead_s)
        self._slope = 0.0
        if local_s[-1] - local_s[0] >= self.params.skew_after_s:
            bound = self.params.max_skew_ppm * _PER_MILLION
            spread = float(weights @ (local_s - mean_local_s) ** 2)
            covariance = float(weights @ ((local_s - mean_local_s) * (ahead_s - mean_ahead_s)))
            self._slope = float(np.clip(covariance / spread, -bound, bound))
        self._offset_ns = (mean_ahead_s - self._slope * mean_local_s) * _NS
