"""From what the wearer was asked to do and when to the stretches of a recording that a calibration uses."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.inertial.poses import STEPS
from calibration.inertial.recording import NS_PER_S, Recording
from calibration.inertial.result import CalibrationParams, Finding, degrees_text
from calibration.inertial.stillness import Hold, activity, runs, wander_rad
from calibration.tables import CalibrationError
from fusion.records import Bool, Float64

_AROUND_S = 1.0
"""The stands before and after a walk may lie so far outside its interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What the wearer was asked for, and when."""

    step: str
    """Of ``calibration.inertial.poses.STEPS``."""
    begin_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """A walk between two stands."""

    before: Hold
    after: Hold


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """What was found."""

    poses: tuple[Hold, ...]
    walks: tuple[Walk, ...]
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> list[Hold]:
        """All stretches in which the sensors are still."""
        return [*self.poses, *(hold for walk in self.walks for hold in (walk.before, walk.after))]


def find_stretches(recording: Recording, intervals: Sequence[Interval], params: CalibrationParams) -> Stretches:
    """Where within its interval each pose was held still, and where each walk stands still at its ends.

    Raises:
        CalibrationError: no interval, an unknown step, or one outside the recording.
    """
    if not intervals:
        raise CalibrationError(f"no steps: say when the wearer did what; allowed: {', '.join(STEPS)}")
    busy = activity(recording, params.still)
    poses: list[Hold] = []
    walks: list[Walk] = []
    findings: list[Finding] = []
    for interval in intervals:
        part = _part(recording, interval)
        if interval.step == "walk":
            walk = _walk(recording, busy, part, params)
            walks += [] if walk is None else [walk]
            findings += [] if walk is not None else [_no_stand(recording, busy, part)]
            continue
        for step, stretch in _held(recording, busy, interval.step, part):
            hold = _longest(busy, step, stretch, recording.samples(params.hold_s))
            poses += [] if hold is None else [hold]
            findings += [_not_still(recording, busy, step, stretch, params)] if hold is None else []
    findings += [finding for hold in poses for finding in _creep(recording, hold, params)]
    return Stretches(tuple(poses), tuple(walks), tuple(findings))


def _part(recording: Recording, interval: Interval) -> slice:
    first, last = int(recording.times_ns[0]), int(recording.times_ns[-1])
    span = f"{(interval.begin_ns - first) / NS_PER_S:.2f}-{(interval.end_ns - first) / NS_PER_S:.2f}"
    if interval.step not in STEPS:
        raise CalibrationError(f"step {interval.step!r}: unknown; allowed: {', '.join(STEPS)}")
    if not first <= interval.begin_ns < interval.end_ns <= last:
        raise CalibrationError(
            f"step {interval.step}:{span}: not within the recording; allowed: 0 to {(last - first) / NS_PER_S:.2f} s"
        )
    return slice(recording.index(interval.begin_ns), recording.index(interval.end_ns))


def _held(recording: Recording, busy: Float64, step: str, part: slice) -> list[tuple[str, slice]]:
    """Poses to look for in an interval: the step's own, or both ends of the way from N to T."""
    if step != "n_to_t":
        return [(step, part)]
    # Where the most moves is neither; before it is N, after it T.
    middle = part.start + int(np.argmax(np.where(np.isfinite(busy[part]), busy[part], 0.0).max(axis=1)))
    return [("n_pose", slice(part.start, middle)), ("t_pose", slice(middle, part.stop))]


def _all_still(busy: Float64) -> Bool:
    return np.asarray((busy < 1.0).all(axis=1))


def _longest(busy: Float64, step: str, part: slice, least: int) -> Hold | None:
    found = list(runs(_all_still(busy[part]), least))
    if not found:
        return None
    best = max(found, key=lambda run: run.stop - run.start)
    return Hold(step, slice(part.start + best.start, part.start + best.stop))


def _walk(recording: Recording, busy: Float64, part: slice, params: CalibrationParams) -> Walk | None:
    """The longest movement between two stands."""
    around = recording.samples(_AROUND_S)
    wide = slice(max(part.start - around, 0), min(part.stop + around, len(busy)))
    stands = list(runs(_all_still(busy[wide]), recording.samples(params.stand_s)))
    if len(stands) < 2:
        return None
    gaps = [after.start - before.stop for before, after in itertools.pairwise(stands)]
    k = int(np.argmax(gaps))
    before, after = (Hold("stand", slice(wide.start + run.start, wide.start + run.stop)) for run in stands[k : k + 2])
    return Walk(before, after)


def _no_stand(recording: Recording, busy: Float64, part: slice) -> Finding:
    worst = _restless(recording, busy, part)
    return Finding(
        "not_still",
        worst,
        f"walk: no stand before and after it ({', '.join(worst)} moved most); "
        "stand still for a second, walk straight ahead, stop and stand still again",
    )


def _not_still(recording: Recording, busy: Float64, step: str, part: slice, params: CalibrationParams) -> Finding:
    worst = _restless(recording, busy, part)
    return Finding(
        "not_still",
        worst,
        f"{step}: not held still for {params.hold_s:g} s ({', '.join(worst)} moved most; bound "
        f"{np.degrees(params.still.rate_rad_s):.0f}°/s and {params.still.force_m_s2:g} m/s²); hold the pose longer",
    )


def _restless(recording: Recording, busy: Float64, part: slice) -> tuple[str, ...]:
    """The sensors that were still for the least time."""
    share = (busy[part] < 1.0).mean(axis=0)
    return tuple(recording.sensors[k] for k in np.argsort(share, kind="stable")[:2])


def _creep(recording: Recording, hold: Hold, params: CalibrationParams) -> list[Finding]:
    angles = wander_rad(recording, hold)
    return [
        Finding(
            "creep",
            (recording.sensors[k],),
            f"{recording.sensors[k]}: turned by {degrees_text(angles[k])} while {hold.step} was held (bound "
            f"{degrees_text(params.creep_rad)}); fasten the sensor and hold the pose without moving",
        )
        for k in np.flatnonzero(angles > params.creep_rad)
    ]
