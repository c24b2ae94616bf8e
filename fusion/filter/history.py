"""One person's filter with a memory: measurements in any order, each applied at its own time.

The ring keeps every measurement of the last ``window_s`` with the state after
it; what was measured at one time is one update, of the pictures first and then
of the rest. A measurement that
comes late is put where it belongs, and what comes after it is computed again
when somebody asks, so the outcome is that of the right order. What is older is
refused. The same ring gives the state of a moment ago in the light of all that
has come since (``fusion.filter.smoother``).
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from fusion.filter.innovations import InnovationStatistics, Tally
from fusion.filter.measurements.anatomy import AnatomyParams
from fusion.filter.measurements.ground import ContactParams
from fusion.filter.measurements.imu_slots import stop_silent_slots
from fusion.filter.measurements.landmarks import Landmarks2DMeasurement, Landmarks3DMeasurement, together
from fusion.filter.process import NS_PER_S, ProcessParams, make_process, predict
from fusion.filter.smoother import Smoother
from fusion.filter.state import LENGTH, State, empty_state
from fusion.filter.system import Measurement
from fusion.filter.update import Information, UpdateParams, Updater, holds_lengths, imus_alone, make_information


class Outcome(Enum):
    """What became of a measurement."""

    APPLIED = "applied"
    REFUSED_LATE = "refused_late"
    """Older than the window."""
    REFUSED_AHEAD = "refused_ahead"
    """So far ahead of all else that its stamp cannot be right."""


@dataclass(frozen=True, slots=True)
class FilterParams:
    """All parameters of one person's filter."""

    process: ProcessParams = field(default_factory=ProcessParams)
    update: UpdateParams = field(default_factory=UpdateParams)
    anatomy: AnatomyParams = field(default_factory=AnatomyParams)
    contact: ContactParams | None = field(default_factory=ContactParams)
    """How feet stand on the floor; None where the floor is not to be trusted (stairs, climbing)."""
    window_s: float = 0.3
    """How late a measurement may be, and how far back the smoothed output can reach."""
    keeps_journal: bool = False
    """Whether all accepted measurements are kept, for the smoother of a whole session."""
    imu_silence_s: float = 2.0
    """The slow states of an IMU end when it has been silent for so long."""
    lock_after_s: float = 1.0
    """Lengths are learned for at least so long,"""
    lock_share: float = 0.03
    """until each has at most this standard deviation, as a share,"""
    untold_share: float = 0.05
    """(lengths that are less certain than this are not being measured and do not count)"""
    lock_at_latest_s: float = 5.0
    """but no longer than this."""


@dataclass(slots=True, eq=False)
class Entry:
    """All that was measured at one time, and the state after it."""

    time_ns: int
    rank: int
    """Which update of that time: pictures first, then the rest, as both together would touch all of the state."""
    measurements: list[Measurement]
    """In the order of their sources."""
    after: State
    information: Information
    """What the update has told."""
    tallies: list[Tally] = field(default_factory=list)
    """One a measurement: how its innovations compare with what it claims."""


class Stepper:
    """One step of a filter: carry a state to a time and give it what was measured there."""

    def __init__(self, params: FilterParams, updater: Updater) -> None:
        self.params = params
        self.updater = updater
        self.process = make_process(params.process)
        # What is held does not walk either: else a body's heading would drift from those of its sensors in a minute.
        self._held = self.process._replace(walk=np.zeros_like(self.process.walk))

    def advance(
        self,
        state: State,
        time_ns: int,
        measurements: Sequence[Measurement],
        information: Information | None = None,
    ) -> list[Tally]:
        """Change a state in place.

        Returns:
            How each measurement's innovations compare with what it claims.
        """
        measurements = together(measurements)
        predict(state, self._held if imus_alone(state, self.params.update) else self.process, time_ns)
        stop_silent_slots(state, time_ns, self.params.imu_silence_s)
        used = self.updater.apply(state, measurements, information=information) >= 0
        if not state.lengths_locked and lengths_known(state, self.params):
            state.lock_lengths()
        return self.updater.tallies(measurements) if used else []


class PersonFilter:
    """The filter of one person."""

    def __init__(self, params: FilterParams, updater: Updater, start: State) -> None:
        """Take over a state; ``updater`` is scratch space that several filters may share."""
        self.params = params
        self.stepper = Stepper(params, updater)
        self.process = self.stepper.process
        self.innovations = InnovationStatistics()
        self.start = start.copy()
        self.journal: list[Measurement] | None = [] if params.keeps_journal else None
        """All that was accepted, where it is kept."""
        self.imus = start.imus
        self._smoother = Smoother(self.process, len(start.nominal))
        self._base = start.copy()
        self._entries: list[Entry] = []
        self._pool: list[Entry] = []
        self._settled = 0
        """Entries before this one are up to date; those from it on wait until somebody asks."""

    @property
    def newest_ns(self) -> int:
        """Time of the newest measurement; asking costs nothing."""
        return self._entries[-1].time_ns if self._entries else self._base.time_ns

    @property
    def oldest_ns(self) -> int:
        """Before this time nothing is remembered."""
        return self._base.time_ns

    @property
    def state(self) -> State:
        """The newest state; not to be changed."""
        return self._state_after(len(self._entries))

    @property
    def settled(self) -> State:
        """The newest state that is up to date, not to be changed; asking costs nothing."""
        return self._entries[self._settled - 1].after if self._settled else self._base

    def apply(self, measurement: Measurement) -> Outcome:
        """Take a measurement in, at its own time; it is computed when somebody asks."""
        time_ns = measurement.time_ns
        if time_ns < max(self._base.time_ns, self.newest_ns - self._window_ns()):
            return Outcome.REFUSED_LATE
        key = time_ns, rank_of(measurement)
        index = bisect.bisect_left(self._entries, key, key=_key_of)
        if index == len(self._entries) or _key_of(self._entries[index]) != key:
            self._entries.insert(index, self._new_entry(*key))
        bisect.insort_right(self._entries[index].measurements, measurement, key=_source_of)
        self._settled = min(self._settled, index)
        if self.journal is not None:
            self.journal.append(measurement)
        self._forget()
        return Outcome.APPLIED

    def predicted(self, time_ns: int, out: State) -> State:
        """Write the state at ``time_ns`` (not before the newest) into ``out`` without changing the filter."""
        out.copy_from(self.state)
        predict(out, self.process, max(time_ns, out.time_ns))
        return out

    def smoothed(self, time_ns: int, out: State, *, with_covariance: bool = True) -> State:
        """Write the state at ``time_ns``, given all measurements that have come by now, into ``out``.

        Without its covariance, which costs ten times as much as the rest, that of the filter stands in: it is never
        smaller. While one view alone shows somebody whose lengths are not known, what comes later tells nothing: those
        updates are not optimal (Schmidt), and the smoother holds for optimal ones only. A time before the window gives
        the oldest state that is remembered, one after the newest measurement a prediction.
        """
        if time_ns >= self.newest_ns:
            return self.predicted(time_ns, out)
        time_ns = max(time_ns, self._base.time_ns)
        first = bisect.bisect_right(self._entries, time_ns, key=_time_of)
        self._state_after(len(self._entries))
        out.copy_from(self._state_after(first))
        predict(out, self.process, time_ns)
        if any(self._holds_lengths(entry.after) for entry in self._entries[first:]):
            return out
        later = [(entry.information, entry.after) for entry in self._entries[first:]]
        self._smoother.smooth(out, later, with_matrix=with_covariance)
        return out

    def state_before(self, time_ns: int) -> State:
        """The last remembered state that is before ``time_ns``, else the oldest one.

        What was measured at that time itself is left out, so that several views of one moment
        are told apart in the light of the same prediction, and are one update.
        """
        return self._state_after(bisect.bisect_left(self._entries, time_ns, key=_time_of))

    def _holds_lengths(self, after: State) -> bool:
        """Whether an update that led to this state held the lengths."""
        return not after.lengths_locked and holds_lengths(after, self.params.update)

    def _new_entry(self, time_ns: int, rank: int) -> Entry:
        if not self._pool:
            return Entry(time_ns, rank, [], empty_state(self.imus), make_information(len(self._base.nominal)))
        entry = self._pool.pop()
        entry.time_ns, entry.rank = time_ns, rank
        entry.measurements = []
        return entry

    def _state_after(self, count: int) -> State:
        """The state after so many entries, computed where it is not up to date."""
        while self._settled < count:
            self._advance(self._settled)
            self._settled += 1
        return self._entries[count - 1].after if count else self._base

    def _window_ns(self) -> int:
        return int(self.params.window_s * NS_PER_S)

    def _advance(self, index: int) -> None:
        """Compute the state after one entry from the one before."""
        entry = self._entries[index]
        before = self._entries[index - 1].after if index else self._base
        entry.after.copy_from(before)
        entry.tallies = self.stepper.advance(entry.after, entry.time_ns, entry.measurements, entry.information)

    def _forget(self) -> None:
        """Drop entries that no accepted measurement can come before any more."""
        horizon = self.newest_ns - self._window_ns()
        while len(self._entries) > 1 and self._entries[1].time_ns <= horizon:
            self._state_after(1)
            first = self._entries.pop(0)
            self._settled -= 1
            self.innovations.take(first.tallies)
            first.after, self._base = self._base, first.after
            self._pool.append(first)


def lengths_known(state: State, params: FilterParams) -> bool:
    """Whether the lengths may be taken as constant from now on."""
    age_s = (state.time_ns - state.born_ns) / NS_PER_S
    if age_s < params.lock_after_s:
        return False
    sigmas = np.sqrt(state.covariance.diagonal()[LENGTH])
    # A length that no landmark tells of (a hand, seen by a detector without fingers) keeps its prior.
    told = sigmas[sigmas < params.untold_share]
    known = told.size > 0 and float(told.max()) < params.lock_share
    return known or (told.size > 0 and age_s > params.lock_at_latest_s)


def _time_of(entry: Entry) -> int:
    return entry.time_ns


def _key_of(entry: Entry) -> tuple[int, int]:
    return entry.time_ns, entry.rank


def rank_of(measurement: Measurement) -> int:
    """Which update of its time a measurement belongs to."""
    return 0 if isinstance(measurement, Landmarks2DMeasurement | Landmarks3DMeasurement) else 1


def _source_of(measurement: Measurement) -> str:
    return measurement.source
