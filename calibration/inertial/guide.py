"""Leads a wearer through a calibration: what to do, when it is enough, what came of it.

Pure: time is what the samples say. ``step`` takes a record of samples in and
answers with what is to be shown (``Guide``) and what is to be noted in a
recording (``Annotation``), from which the same calibration can be done again.
A step is over when it has been done, never after a time.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from calibration.inertial.poses import kind_of
from calibration.inertial.recording import NS_PER_S, gather, readable
from calibration.inertial.result import CalibrationParams, Finding, InertialCalibration
from calibration.inertial.solve import calibrate
from calibration.inertial.steps import Interval
from calibration.inertial.stillness import angle_between
from calibration.tables import CalibrationError
from fusion.body.skeleton import SEGMENT_NAMES
from fusion.records import Annotation, Float64, Guide, InertialSamples, Record

AUTHOR = "calibrate imu"
_BEGIN = "imu calibration begins"
_STEP = re.compile(r"imu calibration: (\w+) from (-?\d+) to (-?\d+)")
INSTRUCTIONS = {
    "n_pose": "Stand upright, feet forward, arms straight down, thumbs forward, look ahead; hold still",
    "t_pose": "Raise the straight arms to the sides, level, palms down, thumbs forward; hold still",
    "walk": "Walk three or four steps straight ahead, stop with the feet together and stand still",
}
GUIDED_STEPS = tuple(INSTRUCTIONS)
_RAISED_RAD = math.radians(45.0)
_MAX_REASONS = 20
_RESTLESS = 2.0
"""Activity above which somebody moves on purpose."""
_KEPT_RECORDS = 60_000
"""Ten minutes at 100 records a second; what is older is forgotten, and a calibration that needs it is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuideParams:
    """How the wearer is led."""

    steps: tuple[str, ...] = ("n_pose", "t_pose", "n_pose", "walk")
    hold_s: float = 2.0
    """A pose is held still for so long."""
    stand_s: float = 0.8
    """Stand before and after a walk."""
    walk_s: float = 1.0
    """Least movement that is a walk."""
    listen_s: float = 1.0
    """Who is heard in so long takes part,"""
    silent_s: float = 1.0
    """and counts as lost when silent for so long."""
    report_s: float = 0.1
    calibration: CalibrationParams = field(default_factory=CalibrationParams)

    def __post_init__(self) -> None:
        unknown = [step for step in self.steps if step not in INSTRUCTIONS]
        if unknown or not self.steps:
            raise CalibrationError(
                f"steps: {', '.join(unknown) or 'none'}: cannot be guided; allowed: {', '.join(INSTRUCTIONS)}"
            )


@dataclass(slots=True)
class _Heard:
    """The newest samples of one sensor."""

    times_ns: list[int] = field(default_factory=list)
    readings: list[Float64] = field(default_factory=list)
    """[6] specific force and rate."""


class Guided:
    """One guided calibration.

    Args:
        params: steps and times.
        previous: q_segment_from_sensor by segment that the profile has; its sensors are waited for.
        expected: further sensors to wait for.
    """

    def __init__(
        self,
        params: GuideParams | None = None,
        previous: Mapping[str, Float64] | None = None,
        expected: Iterable[str] = (),
    ) -> None:
        self.params = params or GuideParams()
        self.result: InertialCalibration | None = None
        """Once the steps are done."""
        self.intervals: list[Interval] = []
        self._previous = dict(previous or {})
        self._expected = tuple(expected)
        self.refused: dict[str, int] = {}
        """Records that could not be used, counted by reason."""
        self._records: deque[InertialSamples] = deque(maxlen=_KEPT_RECORDS)
        self._system: dict[str, tuple[str, ...]] = {}
        """Of each segment, the sensors of the system that it belongs to."""
        self._heard: dict[str, _Heard] = {}
        self._first_ns: int | None = None
        self._told_ns = 0
        self._index = -1
        """Of the step; -1 while the sensors are waited for."""
        self._still_since_ns: int | None = None
        self._moving_since_ns: int | None = None
        self._stood_ns: tuple[int, int] | None = None
        """The stand before the walk."""
        self._held: dict[str, Float64] = {}
        """What the sensors read in the pose before."""
        self._message = ""

    @property
    def step_name(self) -> str:
        """``waiting``, a step, ``done`` or ``refused``."""
        if self.result is not None:
            return "done" if self.result.accepted else "refused"
        return "waiting" if self._index < 0 else self.params.steps[self._index]

    def step(self, record: InertialSamples) -> list[Record]:
        """Take samples in; what to show and what to note, if anything."""
        if self.result is not None or not len(record.times_ns) or not self._usable(record):
            return []
        self._records.append(record)
        self._listen(record)
        now_ns = record.measured_ns
        self._first_ns = now_ns if self._first_ns is None else self._first_ns
        if now_ns - self._told_ns < self.params.report_s * NS_PER_S:
            return []
        self._told_ns = now_ns
        activity = self._activity(now_ns)
        notes = self._advance(now_ns, activity)
        return [*(self._note(text, record) for text in notes), self._show(record, activity)]

    def _usable(self, record: InertialSamples) -> bool:
        """Whether a record's sensors are on segments that no other system has; if not, it is counted."""
        reason = self._fault(record.sensors)
        if reason:
            self._message = reason
            # A name comes from the network: only so many are told apart.
            reason = reason if reason in self.refused or len(self.refused) < _MAX_REASONS else "other reasons"
            self.refused[reason] = self.refused.get(reason, 0) + 1
        return not reason

    def _fault(self, sensors: tuple[str, ...]) -> str:
        """What is wrong with the names of a system's sensors; empty if nothing is."""
        for name in sensors:
            if name not in SEGMENT_NAMES:
                return f"a sensor that is on no segment: {name!r}"
            if sensors.count(name) > 1 or self._system.get(name, sensors) != sensors:
                return f"a second sensor on {name}"
        self._system.update(dict.fromkeys(sensors, sensors))
        return ""

    # --- What is done -----------------------------------------------------------------------------------

    def _advance(self, now_ns: int, activity: dict[str, float]) -> list[str]:
        """Look whether the step is done; texts to note."""
        lost = [name for name, value in activity.items() if math.isnan(value)]
        if self._index < 0:
            return self._wait(now_ns, lost)
        if lost:
            self._message = f"nothing is heard of {', '.join(lost)}: check battery and radio"
            self._still_since_ns = None
            return []
        most = max(activity.values())
        if most >= 1.0:
            self._still_since_ns = None
        elif self._still_since_ns is None:
            self._still_since_ns = now_ns
        step = self.params.steps[self._index]
        interval = self._walked(now_ns, most) if step == "walk" else self._posed(now_ns, step, activity)
        return [] if interval is None else self._done(interval)

    def _wait(self, now_ns: int, lost: list[str]) -> list[str]:
        missing = [name for name in self._expected if name not in self._heard] + lost
        if now_ns - (self._first_ns or 0) < self.params.listen_s * NS_PER_S:
            return []
        if missing:
            self._message = f"waiting for {', '.join(dict.fromkeys(missing))}"
            return []
        self._index, self._message = 0, ""
        return [_BEGIN]

    def _posed(self, now_ns: int, step: str, activity: dict[str, float]) -> Interval | None:
        """The interval of a pose once it has been held."""
        if not self._changed(step):
            self._still_since_ns = None
            self._message = "the arms have not moved there yet"
            return None
        if self._still_since_ns is None:
            worst = max(activity, key=lambda name: activity[name])
            self._message = f"{worst} moves"
            return None
        self._message = "hold still"
        if now_ns - self._still_since_ns < self.params.hold_s * NS_PER_S:
            return None
        return Interval(step, self._still_since_ns, now_ns)

    def _changed(self, step: str) -> bool:
        """Whether half of the arms at least have moved since another pose was held."""
        arms = [name for name in self._held if kind_of(name) == "arm" and name in self._heard]
        before = self.params.steps[self._index - 1] if self._index > 0 else step
        if before in (step, "walk") or not arms:
            return True
        turned = [float(angle_between(self._held[name], self._force(name))) for name in arms]
        return sum(angle > _RAISED_RAD for angle in turned) * 2 >= len(arms)

    def _walked(self, now_ns: int, most: float) -> Interval | None:
        """The interval of a walk once somebody stands again."""
        p = self.params
        if self._still_since_ns is not None and now_ns - self._still_since_ns >= p.stand_s * NS_PER_S:
            if self._stood_ns is not None and self._moving_since_ns is not None:
                return Interval("walk", self._stood_ns[0], now_ns)
            self._stood_ns = self._still_since_ns, now_ns
            self._message = "now walk"
        elif most > _RESTLESS and self._stood_ns is not None:
            if now_ns - self._stood_ns[1] >= p.walk_s * NS_PER_S:
                self._moving_since_ns = self._moving_since_ns or now_ns
                self._message = "stop where you like and stand still"
        elif self._stood_ns is None:
            self._message = "stand still first"
        return None

    def _done(self, interval: Interval) -> list[str]:
        """Note a step and go on to the next, or solve."""
        self.intervals.append(interval)
        self._held = {name: self._force(name) for name in self._heard}
        self._still_since_ns = self._moving_since_ns = self._stood_ns = None
        self._index += 1
        self._message = ""
        if self._index == len(self.params.steps):
            self.result = self._solve()
            self._message = "; ".join(finding.message for finding in self.result.refusals)
        return [f"imu calibration: {interval.step} from {interval.begin_ns} to {interval.end_ns}"]

    def _solve(self) -> InertialCalibration:
        try:
            recording = gather(self._records)
            # Systems begin and end within a record of each other.
            first, last = int(recording.times_ns[0]), int(recording.times_ns[-1])
            intervals = [
                Interval(item.step, max(item.begin_ns, first), min(item.end_ns, last)) for item in self.intervals
            ]
            if any(item.end_ns <= first for item in self.intervals):
                raise CalibrationError("the calibration took too long, its beginning is forgotten; begin again")
            return calibrate(recording, intervals, self._previous, self.params.calibration)
        except CalibrationError as error:
            return InertialCalibration((), (Finding("pose", (), str(error)),), ())

    # --- What is heard ----------------------------------------------------------------------------------

    def _listen(self, record: InertialSamples) -> None:
        oldest_ns = record.measured_ns - self.params.calibration.still.window_s * NS_PER_S
        readings = np.concatenate([record.specific_force_m_s2, record.angular_rate_rad_s], axis=2).astype(np.float64)
        for k, name in enumerate(record.sensors):
            heard = self._heard.setdefault(name, _Heard())
            told = readable(readings[:, k])
            heard.times_ns += record.times_ns[told].tolist()
            heard.readings += list(readings[told, k])
            old = sum(time_ns < oldest_ns for time_ns in heard.times_ns[:-1])
            del heard.times_ns[:old], heard.readings[:old]

    def _activity(self, now_ns: int) -> dict[str, float]:
        """How far each sensor is from holding still: below 1 it does, NaN where nothing is heard."""
        p = self.params.calibration.still
        found = {}
        for name, heard in self._heard.items():
            if not heard.times_ns or now_ns - heard.times_ns[-1] > self.params.silent_s * NS_PER_S:
                found[name] = math.nan
                continue
            values = np.array(heard.readings)
            turning = math.sqrt(float((values[:, 3:] ** 2).sum(axis=1).mean()))
            shaking = math.sqrt(float(values[:, :3].var(axis=0).sum()))
            found[name] = max(turning / p.rate_rad_s, shaking / p.force_m_s2)
        return found

    def _force(self, name: str) -> Float64:
        return np.asarray(np.array(self._heard[name].readings)[:, :3].mean(axis=0))

    # --- What is told -----------------------------------------------------------------------------------

    def _note(self, text: str, record: Record) -> Annotation:
        return Annotation(measured_ns=record.measured_ns, received_ns=record.received_ns, text=text, author=AUTHOR)

    def _show(self, record: Record, activity: dict[str, float]) -> Guide:
        name = self.step_name
        quality = {} if self.result is None else {s.segment: s.quality_rad for s in self.result.sensors}
        sensors = tuple(activity)
        return Guide(
            measured_ns=record.measured_ns,
            received_ns=record.received_ns,
            step=name,
            number=max(self._index, 0) + (self.result is None),
            steps=len(self.params.steps),
            instruction=INSTRUCTIONS.get(name, ""),
            message=self._message,
            progress=self._progress(record.measured_ns),
            sensors=sensors,
            activity=np.array([activity[sensor] for sensor in sensors]),
            quality_rad=np.array([quality.get(sensor, math.nan) for sensor in sensors]),
        )

    def _progress(self, now_ns: int) -> float:
        """Of the step, 0..1."""
        if self.result is not None:
            return 1.0
        if self._index < 0 or self._still_since_ns is None:
            return 0.0
        walking = self.params.steps[self._index] == "walk"
        if walking and self._moving_since_ns is None:
            return 0.0
        whole_s = self.params.stand_s if walking else self.params.hold_s
        return min((now_ns - self._still_since_ns) / NS_PER_S / whole_s, 1.0)


def intervals_of(annotations: Iterable[Annotation]) -> list[Interval]:
    """The steps that a guided calibration has noted, of the last one that began."""
    found: list[Interval] = []
    for annotation in annotations:
        if annotation.text == _BEGIN:
            found.clear()
        match = _STEP.fullmatch(annotation.text)
        if match:
            found.append(Interval(match[1], int(match[2]), int(match[3])))
    return found
