"""The whole of a session at once: every moment in the light of all measurements before and after it.

A *track* is the start of one person's filter and all that it has accepted. It is
filtered once to learn the body, then again with that body from the start, and
smoothed backward (``fusion.filter.smoother``). Only a state every so often is
kept on the way forward; what lies between is computed again on the way back, so
that an hour takes no more memory than a minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from fusion.filter.history import FilterParams, Stepper, rank_of
from fusion.filter.process import predict
from fusion.filter.smoother import Smoother
from fusion.filter.state import LENGTH, State
from fusion.filter.system import Measurement
from fusion.filter.update import Information, Updater, make_information
from fusion.records import Int64

_STRETCH = 96
"""Updates between two states that are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """What one person's filter was given."""

    identity: int
    start: State
    measurements: tuple[Measurement, ...]
    """In any order."""


@dataclass(frozen=True, slots=True, eq=False)
class _Moment:
    """All that was measured at one time."""

    time_ns: int
    measurements: tuple[Measurement, ...]


def smooth_track(track: Track, params: FilterParams, updater: Updater, times_ns: Int64) -> Iterator[State]:
    """Smoothed states, the latest first.

    Args:
        track: see there.
        params: of the filter.
        updater: for states of the track's size.
        times_ns: [T] when to say how the person was, ascending; those before the track's start or after its last
            measurement are left out.

    Yields:
        A state at each of the times; it is changed when the next one is asked for.
    """
    stepper = Stepper(params, updater)
    moments = _moments(track)
    if not moments:
        return
    start = _with_final_lengths(track.start, moments, stepper)
    checkpoints = [start.copy()]
    state = start.copy()
    for index, moment in enumerate(moments):
        stepper.advance(state, moment.time_ns, moment.measurements)
        if (index + 1) % _STRETCH == 0:
            checkpoints.append(state.copy())
    first, last = np.searchsorted(times_ns, [start.time_ns, moments[-1].time_ns], side="left")
    last += int(last < len(times_ns) and times_ns[last] == moments[-1].time_ns)
    wanted = [int(time_ns) for time_ns in times_ns[first:last]]
    smoother = Smoother(stepper.process, len(start.nominal))
    room = [(make_information(len(start.nominal)), start.copy()) for _ in range(_STRETCH)]
    for number in range(len(checkpoints) - 1, -1, -1):
        stretch = moments[number * _STRETCH : (number + 1) * _STRETCH]
        yield from _back_over(checkpoints[number], stretch, stepper, smoother, room, wanted)


def _moments(track: Track) -> list[_Moment]:
    """What was measured, time by time, from the track's start on."""
    ordered = sorted(track.measurements, key=lambda m: (m.time_ns, rank_of(m), m.source))
    ordered = [measurement for measurement in ordered if measurement.time_ns >= track.start.time_ns]
    groups = groupby(ordered, key=lambda m: (m.time_ns, rank_of(m)))
    return [_Moment(time_ns, tuple(group)) for (time_ns, _), group in groups]


def _with_final_lengths(start: State, moments: Sequence[_Moment], stepper: Stepper) -> State:
    """The start with the lengths that the whole track tells."""
    known = start.copy()
    if known.lengths_locked:
        return known
    state = start.copy()
    for moment in moments:
        stepper.advance(state, moment.time_ns, moment.measurements)
        if state.lengths_locked:
            break
    known.nominal[LENGTH] = state.nominal[LENGTH]
    known.lock_lengths()
    return known


def _back_over(
    before: State,
    stretch: Sequence[_Moment],
    stepper: Stepper,
    smoother: Smoother,
    room: Sequence[tuple[Information, State]],
    wanted: list[int],
) -> Iterator[State]:
    """Filter a stretch once more from the state before it, and carry the smoother back over it."""
    state = before.copy()
    for moment, (information, after) in zip(stretch, room, strict=False):
        stepper.advance(state, moment.time_ns, moment.measurements, information)
        after.copy_from(state)
    for index in range(len(stretch) - 1, -1, -1):
        information, after = room[index]
        if wanted and wanted[-1] == after.time_ns:
            wanted.pop()
            yield _smoothed(after, smoother)
        smoother.through_update(information, after, with_matrix=True)
        earlier = room[index - 1][1] if index else before
        yield from _back_through_gap(earlier, after.time_ns, stepper, smoother, wanted)


def _back_through_gap(
    earlier: State, time_ns: int, stepper: Stepper, smoother: Smoother, wanted: list[int]
) -> Iterator[State]:
    """Carry the smoother from a time back to an earlier state, over the wanted times between."""
    between: list[State] = []
    while wanted and wanted[-1] > earlier.time_ns:
        between.append(earlier.copy())
        predict(between[-1], stepper.process, wanted.pop())
    for state in between:
        smoother.through_prediction(state, time_ns, with_matrix=True)
        time_ns = state.time_ns
        yield _smoothed(state, smoother)
    smoother.through_prediction(earlier, time_ns, with_matrix=True)


def _smoothed(state: State, smoother: Smoother) -> State:
    out = state.copy()
    smoother.correct(out, with_matrix=True)
    return out
