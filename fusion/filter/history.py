"""One person's filter with a memory: measurements in any order, each applied at its own time.

The ring keeps every measurement of the last ``window_s`` with the state after
it. One that comes late is put where it belongs and those after it are applied
again, so the outcome is that of the right order. What is older is refused.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from fusion.filter.measurements.anatomy import AnatomyParams
from fusion.filter.measurements.rows import Measurement
from fusion.filter.process import NS_PER_S, ProcessParams, make_process, predict
from fusion.filter.state import LENGTH, State, empty_state
from fusion.filter.update import UpdateParams, Updater


class Outcome(Enum):
    """What became of a measurement."""

    APPLIED = "applied"
    REFUSED_LATE = "refused_late"
    """Older than the window."""
    REFUSED_AHEAD = "refused_ahead"
    """So far ahead of all else that its stamp cannot be right."""
    REFUSED_USELESS = "refused_useless"
    """Nothing of it could be used (nothing in view, numbers that cannot be)."""


@dataclass(frozen=True, slots=True)
class FilterParams:
    """All parameters of one person's filter."""

    process: ProcessParams = field(default_factory=ProcessParams)
    update: UpdateParams = field(default_factory=UpdateParams)
    anatomy: AnatomyParams = field(default_factory=AnatomyParams)
    window_s: float = 0.3
    """How late a measurement may be."""
    lock_after_s: float = 1.0
    """Lengths are learned for at least so long,"""
    lock_share: float = 0.03
    """until each has at most this standard deviation, as a share,"""
    untold_share: float = 0.05
    """(lengths that are less certain than this are not being measured and do not count)"""
    lock_at_latest_s: float = 5.0
    """but no longer than this."""


@dataclass(slots=True, eq=False)
class _Entry:
    measurement: Measurement
    after: State

    @property
    def key(self) -> tuple[int, str]:
        return self.measurement.time_ns, self.measurement.source


class PersonFilter:
    """The filter of one person."""

    def __init__(self, params: FilterParams, updater: Updater, start: State) -> None:
        """Take over a state; ``updater`` is scratch space that several filters may share."""
        self.params = params
        self.updater = updater
        self.process = make_process(params.process)
        self._base = start.copy()
        self._entries: list[_Entry] = []
        self._pool: list[State] = []
        self._settled = 0
        """Entries before this one are up to date; those from it on wait until somebody asks."""

    @property
    def newest_ns(self) -> int:
        """Time of the newest measurement; asking costs nothing."""
        return self._entries[-1].measurement.time_ns if self._entries else self._base.time_ns

    @property
    def state(self) -> State:
        """The newest state; not to be changed."""
        return self._state_after(len(self._entries))

    def apply(self, measurement: Measurement) -> Outcome:
        """Take a measurement in, at its own time. What comes after it is computed again when it is asked for."""
        if measurement.time_ns < max(self._base.time_ns, self.newest_ns - self._window_ns()):
            return Outcome.REFUSED_LATE
        entry = _Entry(measurement, self._pool.pop() if self._pool else empty_state())
        index = bisect.bisect_right(self._entries, entry.key, key=lambda e: e.key)
        self._state_after(index)
        self._entries.insert(index, entry)
        if not self._advance(index):
            del self._entries[index]
            self._pool.append(entry.after)
            return Outcome.REFUSED_USELESS
        self._settled = index + 1
        self._forget()
        return Outcome.APPLIED

    def predicted(self, time_ns: int, out: State) -> State:
        """Write the state at ``time_ns`` (not before the newest) into ``out`` without changing the filter."""
        out.copy_from(self.state)
        predict(out, self.process, max(time_ns, out.time_ns))
        return out

    def state_before(self, time_ns: int) -> State:
        """The last remembered state that is not after ``time_ns``, else the oldest one."""
        return self._state_after(bisect.bisect_right(self._entries, time_ns, key=lambda e: e.measurement.time_ns))

    def _state_after(self, count: int) -> State:
        """The state after so many entries, computed where it is not up to date."""
        while self._settled < count:
            self._advance(self._settled)
            self._settled += 1
        return self._entries[count - 1].after if count else self._base

    def _window_ns(self) -> int:
        return int(self.params.window_s * NS_PER_S)

    def _advance(self, index: int) -> bool:
        """Compute the state after one entry from the one before; False if its measurement could not be used."""
        entry = self._entries[index]
        before = self._entries[index - 1].after if index else self._base
        entry.after.copy_from(before)
        predict(entry.after, self.process, entry.measurement.time_ns)
        used = self.updater.apply(entry.after, entry.measurement) >= 0
        if not entry.after.lengths_locked and self._lengths_known(entry.after):
            entry.after.lock_lengths()
        return used

    def _lengths_known(self, state: State) -> bool:
        age_s = (state.time_ns - state.born_ns) / NS_PER_S
        if age_s < self.params.lock_after_s:
            return False
        sigmas = np.sqrt(state.covariance.diagonal()[LENGTH])
        # A length that no landmark tells of (a hand, seen by a detector without fingers) keeps its prior.
        told = sigmas[sigmas < self.params.untold_share]
        known = told.size > 0 and float(told.max()) < self.params.lock_share
        return known or age_s > self.params.lock_at_latest_s

    def _forget(self) -> None:
        """Drop entries that no accepted measurement can come before any more."""
        horizon = self.newest_ns - self._window_ns()
        while len(self._entries) > 1 and self._entries[1].measurement.time_ns <= horizon:
            self._state_after(1)
            first = self._entries.pop(0)
            self._settled -= 1
            self._pool.append(self._base)
            self._base = first.after
