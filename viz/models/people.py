"""The skeletons of every publisher, told apart by what they answer.

A fusion node may publish the same people several times: as they are
(``people``), as they were a while ago (``smoothed``), as they will be
(``predicted``). Each topic has a memory of its own here, and a drawing is made
of the topics of one answer; the others come into it as ghosts only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from fusion.body.skeleton import SEGMENT, SEGMENTS
from fusion.records import Float32, People
from viz.models import colours, skeleton
from viz.models.lines import Lines, Points, joined_lines, joined_points, uniform
from viz.models.options import ANSWERS, ViewOptions

TRAIL_SEGMENTS = ("head", "right_hand", "left_hand", "right_foot", "left_foot")
STALE_OPACITY = 0.35
GHOST_OPACITY = 0.75
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class PeopleParams:
    """Bounds and times of the skeletons."""

    stale_s: float = 1.0
    """A skeleton published longer ago than this is drawn faintly."""
    gone_s: float = 5.0
    """... and not at all after this."""
    trail_s: float = 2.0
    trail_step_s: float = 0.03
    max_people: int = 16
    """Of one topic."""
    max_topics: int = 32
    records_kept: int = 64
    """Per topic."""


Trail = deque[tuple[int, Float32]]
"""Times (ns) and places [5, 3] of ``TRAIL_SEGMENTS``."""


@dataclass(slots=True)
class Source:
    """What is kept of one topic."""

    history: deque[People]
    published_ns: int = 0
    trails: dict[int, Trail] = field(default_factory=dict)
    """Of each person."""

    @property
    def newest(self) -> People:
        """The record that came last."""
        return self.history[-1]


@dataclass(frozen=True, slots=True)
class Shown:
    """Which answer a drawing shows, and how its time lies to that of ``people``."""

    answer: str
    offset_s: float
    """Negative: so long before; NaN where the node's ``people`` are not known."""


@dataclass(frozen=True, slots=True, eq=False)
class PeopleDrawing:
    """Skeletons and what belongs to them."""

    bones: Lines
    joints: Points
    marks: Points
    """Centres of mass, to be drawn over everything."""
    thin: Lines
    people: int
    centre_m: tuple[float, float] | None
    """Where on the floor the people are, in the middle; None without any."""
    shown: tuple[Shown, ...]
    """The answer that is drawn, then the ghosts."""


@dataclass(slots=True)
class PeopleState:
    """All memory of the skeletons."""

    sources: dict[str, Source] = field(default_factory=dict)
    """By topic."""
    refused: int = 0
    """Foreign skeletons, unknown answers, topics beyond the bound."""


class PeopleModel:
    """Keeps the recent skeletons of each topic."""

    def __init__(self, params: PeopleParams | None = None) -> None:
        self.params = params or PeopleParams()
        self.state = PeopleState()

    def add(self, topic: str, record: People, published_ns: int) -> bool:
        """Keep a record; False if it cannot be drawn, which is counted."""
        source = self.state.sources.get(topic)
        if source is None:
            source = Source(deque(maxlen=self.params.records_kept))
            if answer_of(topic) not in ANSWERS or len(self.state.sources) >= self.params.max_topics:
                self.state.refused += 1
                return False
        if record.positions_m.shape[1] != SEGMENTS:
            self.state.refused += 1
            return False
        self.state.sources[topic] = source
        source.history.append(record)
        source.published_ns = published_ns
        self._add_trails(source, record)
        return True

    def answers(self) -> frozenset[str]:
        """Which of ``ANSWERS`` have come from any node."""
        return frozenset(map(answer_of, self.state.sources))

    def shown(self, answer: str, now_ns: int, ended: Collection[str] = ()) -> dict[str, int]:
        """Topics of an answer whose publisher is not gone, by name, with when each spoke last (ns).

        Args:
            answer: one of ``ANSWERS``.
            now_ns: session clock.
            ended: nodes that have said their last word: theirs do not grow old.
        """
        oldest_ns = now_ns - self.params.gone_s * _NS_PER_S
        spoke = {
            topic: now_ns if node_of(topic) in ended else source.published_ns
            for topic, source in sorted(self.state.sources.items())
            if answer_of(topic) == answer
        }
        return {topic: spoke_ns for topic, spoke_ns in spoke.items() if spoke_ns >= oldest_ns}

    def count(self, answer: str, now_ns: int, ended: Collection[str] = ()) -> int:
        """How many people an answer has."""
        return sum(len(self.state.sources[topic].newest.ids) for topic in self.shown(answer, now_ns, ended))

    def history(self, answer: str) -> tuple[People, ...]:
        """Recent skeletons of the one topic that is projected into the pictures: of the answer, the first by name."""
        topics = [topic for topic in self.state.sources if answer_of(topic) == answer]
        return tuple(self.state.sources[min(topics)].history) if topics else ()

    def drawing(self, now_ns: int, options: ViewOptions, ended: Collection[str] = ()) -> PeopleDrawing:
        """Everyone at a time of the session clock; arguments as of ``shown``."""
        shown = self.shown(options.answer, now_ns, ended)
        bones, joints, marks, thin = [], [], [], []
        for topic, spoke_ns in shown.items():
            stale = now_ns - spoke_ns > self.params.stale_s * _NS_PER_S
            source = self.state.sources[topic]
            for index in self._people(source.newest):
                bones.append(_faded(_bones(source.newest, index), stale))
                joints.append(_faded_points(_joints(source.newest, index), stale))
                if options.ellipsoids:
                    thin.append(_ellipsoids(source.newest, index))
                if options.centre_of_mass:
                    mark, lines = _mass(source.newest, index)
                    marks.append(mark)
                    thin.append(lines)
            if options.trails:
                thin.extend(_trail_lines(source.trails))
        ghosts = self._ghosts(options, now_ns, ended)
        thin.extend(lines for _, lines in ghosts)
        return PeopleDrawing(
            bones=joined_lines(bones),
            joints=joined_points(joints),
            marks=joined_points(marks),
            thin=joined_lines(thin),
            people=sum(len(self.state.sources[topic].newest.ids) for topic in shown),
            centre_m=_centre([self.state.sources[topic].newest for topic in shown]),
            shown=tuple(self._told(answer) for answer in (options.answer, *dict.fromkeys(name for name, _ in ghosts))),
        )

    def _people(self, record: People) -> range:
        return range(min(len(record.ids), self.params.max_people))

    def _ghosts(self, options: ViewOptions, now_ns: int, ended: Collection[str]) -> list[tuple[str, Lines]]:
        """Skeletons of the answers that are not the chosen one, with the answer's name."""
        others = [answer for answer in ANSWERS if answer != options.answer] if options.ghosts else []
        return [
            (answer, _ghost(self.state.sources[topic].newest, index, answer))
            for answer in others
            for topic in self.shown(answer, now_ns, ended)
            for index in self._people(self.state.sources[topic].newest)
        ]

    def _told(self, answer: str) -> Shown:
        """How an answer's time lies to that of the same node's ``people``."""
        for topic, source in sorted(self.state.sources.items()):
            causal = self.state.sources.get(f"{node_of(topic)}/{ANSWERS[0]}")
            if answer_of(topic) == answer and causal is not None:
                return Shown(answer, (source.newest.measured_ns - causal.newest.measured_ns) / _NS_PER_S)
        return Shown(answer, float("nan"))

    def _add_trails(self, source: Source, record: People) -> None:
        trails = source.trails
        ends = [SEGMENT[name] for name in TRAIL_SEGMENTS]
        most, step_ns = round(self.params.trail_s / self.params.trail_step_s), self.params.trail_step_s * _NS_PER_S
        for index, person in enumerate(map(int, record.ids[: self.params.max_people])):
            if person not in trails and len(trails) >= self.params.max_people:
                continue
            trail = trails.setdefault(person, deque(maxlen=most))
            if trail and record.measured_ns < trail[-1][0]:  # the session was started again or wound back
                trail.clear()
            if not trail or record.measured_ns - trail[-1][0] >= step_ns:
                trail.append((record.measured_ns, record.positions_m[index, ends].copy()))
        oldest_ns = record.measured_ns - round(self.params.trail_s * _NS_PER_S)
        for person in [person for person, trail in trails.items() if trail[-1][0] < oldest_ns]:
            del trails[person]


def node_of(topic: str) -> str:
    """``fusion`` of ``fusion/people``."""
    return topic.rpartition("/")[0]


def answer_of(topic: str) -> str:
    """``people`` of ``fusion/people``."""
    return topic.rpartition("/")[2]


def _centre(shown: list[People]) -> tuple[float, float] | None:
    roots = np.concatenate([np.zeros((0, 3)), *(record.positions_m[:, SEGMENT["pelvis"]] for record in shown)])
    roots = roots[np.isfinite(roots).all(axis=1)]
    if not len(roots):
        return None
    x, y = np.median(roots[:, :2], axis=0)
    return float(x), float(y)


def _bones(record: People, index: int) -> Lines:
    points = skeleton.points_with_tips(
        record.positions_m[index], record.q_world_from_segment[index], record.lengths_m[index]
    )
    return skeleton.bone_lines(points, _colour(record, index), record.measured[index])


def _joints(record: People, index: int) -> Points:
    return skeleton.joint_dots(record.positions_m[index], _colour(record, index), record.measured[index])


def _ellipsoids(record: People, index: int) -> Lines:
    return skeleton.ellipsoid_lines(record.positions_m[index], record.covariances_m2[index], _colour(record, index))


def _mass(record: People, index: int) -> tuple[Points, Lines]:
    place = record.centre_of_mass_m[index]
    return skeleton.mass_dot(place, _colour(record, index)), skeleton.mass_lines(place, _colour(record, index))


def _ghost(record: People, index: int, answer: str) -> Lines:
    ends = _bones(record, index).ends
    return Lines(ends, uniform(colours.GHOSTS[answer], GHOST_OPACITY, len(ends)))


def _colour(record: People, index: int) -> colours.Colour:
    return colours.person_colour(int(record.ids[index]))


def _trail_lines(trails: dict[int, Trail]) -> Iterator[Lines]:
    for person, trail in trails.items():
        if len(trail) < 2:
            continue
        places = np.stack([place for _, place in trail]).astype(np.float32)
        ends = np.stack([places[:-1], places[1:]], axis=2)
        tints = uniform(colours.person_colour(person), 1.0, ends.shape[0] * ends.shape[1])
        tints[:, 3] = np.repeat(np.linspace(0.05, 0.7, len(ends)), ends.shape[1])
        yield Lines(ends.reshape(-1, 2, 3), tints)


def _faded(lines: Lines, stale: bool) -> Lines:
    return Lines(lines.ends, _faint(lines.colours)) if stale else lines


def _faded_points(points: Points, stale: bool) -> Points:
    return Points(points.positions, _faint(points.colours), points.sizes_px) if stale else points


def _faint(tints: Float32) -> Float32:
    return tints * np.array([1.0, 1.0, 1.0, STALE_OPACITY], np.float32)
