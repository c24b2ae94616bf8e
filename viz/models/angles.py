"""The panel of clinical angles: the last seconds of the chosen joints, both sides in the same axes, and the numbers.

Degrees are for the eye: everything that goes on from here is a text or a place
on the screen.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from fusion.body.angles import ANGLE, ANGLE_NAMES, ANGLES
from fusion.body.skeleton import SEGMENT
from fusion.records import Bool, Float32, Float64, Int64, People
from viz.models import colours
from viz.models.colours import Colour
from viz.models.options import AngleOptions
from viz.models.people import answer_of, node_of

NO_ANGLES = "These people carry no angles: the file is older than they are.\nReplay it through a fusion node."
NOBODY = "Nobody is there."
NO_JOINT = "Choose a joint."
_STEPS_DEG = (5.0, 10.0, 15.0, 30.0, 45.0, 60.0, 90.0)
"""Distances of an axis' ticks."""
_MOST_TICKS = 5


@dataclass(frozen=True, slots=True)
class Joint:
    """Angles that are chosen together."""

    name: str
    angles: tuple[str, ...]
    """Names without a side."""
    segments: tuple[str, ...]
    """Without a side: segments whose origins make the angles; if one is inferred, so are they."""
    sided: bool = True


JOINTS: tuple[Joint, ...] = (
    Joint("pelvis", ("pelvis_tilt", "pelvis_obliquity", "pelvis_rotation"), ("pelvis",), sided=False),
    Joint("trunk", ("trunk_flexion", "trunk_bending", "trunk_rotation"), ("t8",), sided=False),
    Joint("neck", ("neck_flexion", "neck_bending", "neck_rotation"), ("head",), sided=False),
    Joint("hip", ("hip_flexion", "hip_adduction", "hip_rotation"), ("upper_leg", "lower_leg")),
    Joint("knee", ("knee_flexion",), ("upper_leg", "lower_leg", "foot")),
    Joint("ankle", ("ankle_dorsiflexion", "ankle_inversion"), ("lower_leg", "foot", "toe")),
    Joint("toe", ("toe_extension",), ("toe",)),
    Joint("girdle", ("girdle_elevation", "girdle_protraction"), ("shoulder", "upper_arm")),
    Joint("shoulder", ("shoulder_plane", "shoulder_elevation", "shoulder_rotation"), ("upper_arm", "forearm")),
    Joint("elbow", ("elbow_flexion", "forearm_pronation"), ("upper_arm", "forearm", "hand")),
    Joint("wrist", ("wrist_flexion", "wrist_deviation"), ("hand",)),
)


@dataclass(frozen=True, slots=True)
class AnglesParams:
    """Bounds and times of the panel."""

    window_s: float = 10.0
    step_s: float = 0.02
    """Angles are kept at most so often."""
    gap_s: float = 0.25
    """A curve is broken where nothing has come for longer,"""
    jump_deg: float = 150.0
    """or where it goes farther from one value to the next: an angle that wraps."""
    least_range_deg: float = 30.0
    max_people: int = 16
    """Of one topic."""
    max_topics: int = 32


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """An unbroken part of a curve, all of it measured or all inferred."""

    times_s: Float64
    """[N] from the newest value: -10..0."""
    degrees: Float64
    """[N]."""
    measured: bool


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One angle of one side."""

    side: str
    """``right``, ``left``, or empty."""
    colour: Colour
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """One diagram: an angle over time."""

    title: str
    positive: str
    """What a positive value means."""
    curves: tuple[Curve, ...]
    low_deg: float
    high_deg: float
    ticks_deg: tuple[float, ...]
    window_s: float


@dataclass(frozen=True, slots=True)
class Number:
    """One row of the table of numbers."""

    angle: str
    side: str
    colour: Colour
    degrees: float
    """Newest; NaN where the person has not been seen for ``gap_s``."""
    least_deg: float
    """Of the window."""
    greatest_deg: float
    measured: bool
    tip: str
    """What zero and a positive value mean."""


@dataclass(frozen=True, slots=True, eq=False)
class AnglesDrawing:
    """What the panel shows."""

    people: tuple[tuple[tuple[str, int], str], ...]
    """Who can be chosen: node and id, with what to call them."""
    person: tuple[str, int] | None
    """Who is shown."""
    axes: tuple[Axes, ...]
    numbers: tuple[Number, ...]
    message: str
    """Why there is nothing to show; empty where there is."""


@dataclass(slots=True)
class _Track:
    """The last seconds of one person on one topic."""

    times_ns: deque[int] = field(default_factory=deque)
    values: deque[tuple[Float32, Bool]] = field(default_factory=deque)
    """Angles [A] rad and flags [J]."""

    def forget(self, before_ns: int) -> None:
        while self.times_ns and self.times_ns[0] < before_ns:
            self.times_ns.popleft()
            self.values.popleft()

    def clear(self) -> None:
        self.times_ns.clear()
        self.values.clear()


@dataclass(slots=True)
class AnglesState:
    """All memory of the panel: of each topic its newest time (ns), and the people on it."""

    newest_ns: dict[str, int] = field(default_factory=dict)
    tracks: dict[str, dict[int, _Track]] = field(default_factory=dict)


class AnglesModel:
    """Keeps the last seconds of everyone's angles, each topic by itself."""

    def __init__(self, params: AnglesParams | None = None) -> None:
        self.params = params or AnglesParams()
        self.state = AnglesState()

    def add(self, topic: str, record: People) -> None:
        """Keep a record's angles; records of another set of angles are only noted as such."""
        if topic not in self.state.tracks and len(self.state.tracks) >= self.params.max_topics:
            return
        tracks = self.state.tracks.setdefault(topic, {})
        if record.measured_ns < self.state.newest_ns.get(topic, record.measured_ns):  # started again or wound back
            tracks.clear()
        self.state.newest_ns[topic] = record.measured_ns
        known = record.angles_rad.shape[1] == len(ANGLE_NAMES)
        oldest_ns = record.measured_ns - round(self.params.window_s * 1e9)
        for index, person in enumerate(map(int, record.ids)):
            if person in tracks or len(tracks) < self.params.max_people:
                track = tracks.setdefault(person, _Track())
                if known:
                    self._append(track, record, index)
        for person, track in list(tracks.items()):
            track.forget(oldest_ns)
            if not track.times_ns and person not in record.ids:
                del tracks[person]

    def _append(self, track: _Track, record: People, index: int) -> None:
        if track.times_ns and record.measured_ns - track.times_ns[-1] < self.params.step_s * 1e9:
            return
        track.times_ns.append(record.measured_ns)
        track.values.append((record.angles_rad[index].copy(), record.measured[index].astype(bool)))

    def drawing(self, answer: str, options: AngleOptions) -> AnglesDrawing:
        """The panel.

        Args:
            answer: which skeletons, one of ``ANSWERS``.
            options: whose angles, and which.
        """
        topics = sorted(topic for topic in self.state.tracks if answer_of(topic) == answer)
        keys = [(node_of(topic), person) for topic in topics for person in sorted(self.state.tracks[topic])]
        several = len({node for node, _ in keys}) > 1
        people = tuple((key, f"person {key[1]}" + (f" of {key[0]}" if several else "")) for key in keys)
        if not keys:
            return AnglesDrawing((), None, (), (), NOBODY)
        person = options.person if options.person in keys else keys[0]
        topic = f"{person[0]}/{answer}"
        track = self.state.tracks[topic][person[1]]
        joints = [joint for joint in JOINTS if joint.name in options.joints]
        message = NO_JOINT if not joints else "" if track.times_ns else NO_ANGLES
        if message:
            return AnglesDrawing(people, person, (), (), message)
        view = _View(track, self.state.newest_ns[topic], self.params)
        pairs = [(joint, angle) for joint in joints for angle in joint.angles]
        return AnglesDrawing(
            people=people,
            person=person,
            axes=tuple(view.axes(joint, angle) for joint, angle in pairs),
            numbers=tuple(view.number(joint, angle, side) for joint, angle in pairs for side in _sides(joint)),
            message="",
        )


class _View:
    """A track as arrays, seen from a time."""

    def __init__(self, track: _Track, newest_ns: int, params: AnglesParams) -> None:
        self.params = params
        self.times_s = (np.array(track.times_ns, np.int64) - newest_ns) / 1e9
        self.degrees = np.degrees(np.stack([angles for angles, _ in track.values]).astype(np.float64))
        self.flags = np.stack([flags for _, flags in track.values])

    def axes(self, joint: Joint, angle: str) -> Axes:
        """The diagram of one angle."""
        shown = [self.degrees[:, _column(side, angle)] for side in _sides(joint)]
        low, high, ticks = tick_range(np.concatenate(shown), self.params.least_range_deg)
        return Axes(
            title=angle.replace("_", " "),
            positive=ANGLES[_column(_sides(joint)[0], angle)].positive,
            curves=tuple(self._curve(joint, angle, side) for side in _sides(joint)),
            low_deg=low,
            high_deg=high,
            ticks_deg=ticks,
            window_s=self.params.window_s,
        )

    def number(self, joint: Joint, angle: str, side: str) -> Number:
        """The row of one angle of one side."""
        column = _column(side, angle)
        values, measured = self.degrees[:, column], self._measured(joint, side)
        known = values[np.isfinite(values)]
        fresh = -self.times_s[-1] <= self.params.gap_s
        return Number(
            angle=angle.replace("_", " "),
            side=side,
            colour=colours.SIDES[side],
            degrees=float(values[-1]) if fresh else math.nan,
            least_deg=float(known.min()) if len(known) else math.nan,
            greatest_deg=float(known.max()) if len(known) else math.nan,
            measured=bool(measured[-1]),
            tip=f"zero: {ANGLES[column].zero}; positive: {ANGLES[column].positive}",
        )

    def _measured(self, joint: Joint, side: str) -> Bool:
        columns = [SEGMENT[f"{side}_{name}" if side else name] for name in joint.segments]
        return np.asarray(self.flags[:, columns].all(axis=1))

    def _curve(self, joint: Joint, angle: str, side: str) -> Curve:
        values, measured = self.degrees[:, _column(side, angle)], self._measured(joint, side)
        pieces = []
        for start, end in zip(*self._cuts(values, measured), strict=True):
            flag = bool(measured[start])
            # The next value belongs to the stroke where only the flag has changed.
            stop = end + 1 if end < len(values) and not self._broken(values, int(end)) else end
            pieces.append(Piece(self.times_s[start:stop], values[start:stop], flag))
        return Curve(side, colours.SIDES[side], tuple(piece for piece in pieces if np.isfinite(piece.degrees).all()))

    def _broken(self, values: Float64, index: int) -> bool:
        """Whether a curve has a gap before a value."""
        gap_s = self.times_s[index] - self.times_s[index - 1]
        jump_deg = abs(values[index] - values[index - 1])
        return bool(gap_s > self.params.gap_s or not jump_deg <= self.params.jump_deg)

    def _cuts(self, values: Float64, measured: Bool) -> tuple[Int64, Int64]:
        """Where pieces start and end."""
        gaps = np.diff(self.times_s) > self.params.gap_s
        jumps = ~(np.abs(np.diff(values)) <= self.params.jump_deg)  # NaN too
        inner = np.flatnonzero(gaps | jumps | (measured[1:] != measured[:-1])) + 1
        return np.concatenate([[0], inner]), np.concatenate([inner, [len(values)]])


def _sides(joint: Joint) -> tuple[str, ...]:
    return ("right", "left") if joint.sided else ("",)


def _column(side: str, angle: str) -> int:
    return ANGLE[f"{side}_{angle}" if side else angle]


def tick_range(degrees: Float64, least_range_deg: float) -> tuple[float, float, tuple[float, ...]]:
    """Lower end, upper end and ticks of an axis that holds some values (deg), in round numbers."""
    known = degrees[np.isfinite(degrees)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    lacking = max(0.0, least_range_deg - (high - low))
    low, high = low - lacking / 2, high + lacking / 2
    step = next((step for step in _STEPS_DEG if (high - low) / step <= _MOST_TICKS - 1), _STEPS_DEG[-1])
    first, last = math.floor(low / step), math.ceil(high / step)
    return first * step, last * step, tuple(step * index for index in range(first, last + 1))


def degrees_text(degrees: float, digits: int = 1) -> str:
    """``-12.3``; a dash where nothing is known."""
    return f"{round(degrees, digits) + 0.0:.{digits}f}" if math.isfinite(degrees) else "–"  # + 0.0: no -0
