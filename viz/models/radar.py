"""What radars see: points by radial speed, moving bodies, joints, and how each radar does.

Points and joints come in a radar's frame and are placed by its mount in the
profile; tracks come in the world. Ages are judged by the session clock, as in
the rest of the scene, so that a recording shows what the live session showed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from fusion.body.catalog import LANDMARK_SETS
from fusion.records import RadarJoints, RadarPoints, RadarTracks
from fusion.rig import RadarMount
from viz.models import colours
from viz.models.fixtures import Label
from viz.models.lines import Lines, Points, joined_lines, joined_points
from viz.models.options import RadarOptions
from viz.models.people import Trail, node_of
from viz.models.radar_figures import Counts, RadarRow, radar_row
from viz.models.radar_shapes import joint_dots, joint_lines, radar_dots, track_lines, trail_lines

KINDS = ("points", "tracks", "joints")
"""Streams of radars that the scene shows."""
MARKED_STILL_S = 1.0
"""A body that no point was of for longer is drawn in dashes."""
FADE_S = 10.0
"""In which a body that is not seen fades to ``UNSEEN_OPACITY``."""
UNSEEN_OPACITY = 0.45
UNCONFIRMED_OPACITY = 0.22
STALE_OPACITY = 0.35
LABEL_ABOVE_M = 0.08
MOVES_M_S = 0.15
"""From here on a label tells the speed."""
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class RadarModelParams:
    """Bounds and times of what radars see."""

    points_s: float = 0.3
    """For how long a point stays."""
    stale_s: float = 1.0
    """Tracks and joints that were published longer ago are drawn faintly."""
    gone_s: float = 3.0
    """... and not at all after this."""
    late_s: float = 1.0
    """A radar without a frame for longer is marked in the table."""
    trail_s: float = 4.0
    trail_step_s: float = 0.05
    window_s: float = 5.0
    """Over which a rate is told."""
    max_points: int = 4096
    """Of one frame."""
    max_tracks: int = 32
    """Of one topic."""
    max_people: int = 16
    """Of one frame of joints."""
    max_sources: int = 32
    """Topics of one kind, or radars, that are told apart."""
    frames_kept: int = 64
    """Of each radar."""


@dataclass(slots=True)
class RadarSource:
    """What is kept of one radar's points."""

    topic: str
    frames: deque[tuple[RadarPoints, int]]
    """Newest frames and when they were published (ns)."""
    counts: Counts = field(default_factory=Counts)


@dataclass(slots=True)
class TrackSource:
    """What is kept of one topic of tracks."""

    newest: RadarTracks
    published_ns: int
    trails: dict[int, Trail] = field(default_factory=dict)
    """Of each track: times (ns) and places [1, 3] in the world."""


@dataclass(frozen=True, slots=True, eq=False)
class RadarDrawing:
    """What radars add to the scene."""

    points: Points
    lines: Lines
    labels: tuple[Label, ...]
    centre_m: tuple[float, float] | None
    """Where on the floor the confirmed bodies are, in the middle; None without any."""
    kinds: frozenset[str]
    """Which of ``points``, ``tracks`` and ``joints`` have come and are switched on."""


@dataclass(slots=True)
class RadarModelState:
    """All memory of what radars see."""

    points: dict[str, RadarSource] = field(default_factory=dict)
    """By radar."""
    tracks: dict[str, TrackSource] = field(default_factory=dict)
    """By topic."""
    joints: dict[tuple[str, str], tuple[RadarJoints, int]] = field(default_factory=dict)
    """Newest record of each topic and radar and when it was published (ns)."""
    refused: int = 0
    """Records of radars that the profile has not, of unknown landmarks, or beyond the bounds."""


class RadarModel:
    """Keeps the recent records of every radar."""

    def __init__(self, mounts: Collection[RadarMount], params: RadarModelParams | None = None) -> None:
        self.params = params or RadarModelParams()
        self.state = RadarModelState()
        self._mounts = {mount.name: mount for mount in mounts}

    def add_points(self, topic: str, record: RadarPoints, published_ns: int) -> None:
        """Keep a frame of points."""
        known = self.state.points
        if record.radar not in self._mounts or not self._room(known, record.radar):
            self.state.refused += 1
            return
        source = known.setdefault(record.radar, RadarSource(topic, deque(maxlen=self.params.frames_kept)))
        source.topic = topic
        source.counts.add(record.frame, len(record.positions_m))
        source.frames.append((record, published_ns))

    def add_tracks(self, topic: str, record: RadarTracks, published_ns: int) -> None:
        """Keep a tracker's newest answer, and where its bodies have been."""
        known = self.state.tracks
        if not self._room(known, topic):
            self.state.refused += 1
            return
        source = known.setdefault(topic, TrackSource(record, published_ns))
        source.newest, source.published_ns = record, published_ns
        self._add_trails(source)

    def add_joints(self, topic: str, record: RadarJoints, published_ns: int) -> None:
        """Keep a network's newest answer."""
        known = LANDMARK_SETS.get(record.landmark_set)
        fits = known is not None and record.positions_m.shape[1] == len(known.landmark_names)
        key = topic, record.radar
        if record.radar not in self._mounts or not fits or not self._room(self.state.joints, key):
            self.state.refused += 1
            return
        self.state.joints[key] = (record, published_ns)

    def drawing(
        self, now_ns: int, options: RadarOptions, ellipsoids: bool = False, ended: Collection[str] = ()
    ) -> RadarDrawing:
        """What radars see at a time of the session clock.

        Args:
            now_ns: session clock.
            options: what is switched on.
            ellipsoids: two-sigma ellipsoids of bodies and joints too.
            ended: nodes that have said their last word: their tracks and joints do not grow old.
        """
        points, lines = list(self._point_dots(now_ns)) if options.points else [], []
        labels: list[Label] = []
        if options.joints:
            for dots, bones in self._joints(now_ns, ellipsoids, ended):
                points.append(dots)
                lines.append(bones)
        if options.tracks:
            for body, label in self._tracks(now_ns, ellipsoids, ended):
                lines.append(body)
                labels += [label] if label else []
        return RadarDrawing(
            points=joined_points(points),
            lines=joined_lines(lines),
            labels=tuple(labels),
            centre_m=self._centre(now_ns, ended),
            kinds=frozenset(kind for kind in KINDS if getattr(self.state, kind) and getattr(options, kind)),
        )

    def rows(self, now_ns: int, figures: Mapping[str, str]) -> tuple[RadarRow, ...]:
        """The table of radars, by name.

        Args:
            now_ns: session clock.
            figures: what each node says of itself, by its name.
        """
        return tuple(
            radar_row(
                name,
                [frame for frame, _ in source.frames],
                source.counts,
                age_s=max(0.0, (now_ns - source.frames[-1][1]) / _NS_PER_S),
                late_s=self.params.late_s,
                window_s=self.params.window_s,
                figures=figures.get(node_of(source.topic), ""),
            )
            for name, source in sorted(self.state.points.items())
        )

    def _room(self, known: Collection[object], key: object) -> bool:
        return key in known or len(known) < self.params.max_sources

    def _point_dots(self, now_ns: int) -> Iterator[Points]:
        for name, source in self.state.points.items():
            for record, published_ns in source.frames:
                age_s = (now_ns - published_ns) / _NS_PER_S
                if age_s <= self.params.points_s:
                    share = 1.0 - max(age_s, 0.0) / self.params.points_s
                    yield radar_dots(record, self._mounts[name], share, self.params.max_points)

    def _joints(self, now_ns: int, ellipsoids: bool, ended: Collection[str]) -> Iterator[tuple[Points, Lines]]:
        for (topic, _), (record, published_ns) in sorted(self.state.joints.items(), key=lambda item: item[0]):
            share = self._share(topic, published_ns, now_ns, ended)
            mount = self._mounts[record.radar]
            for person in range(min(len(record.ids), self.params.max_people) if share else 0):
                dots = joint_dots(record, person, mount, share)
                yield dots, joint_lines(record, person, mount, share, ellipsoids)

    def _tracks(self, now_ns: int, ellipsoids: bool, ended: Collection[str]) -> Iterator[tuple[Lines, Label | None]]:
        for topic, source in sorted(self.state.tracks.items()):
            share = self._share(topic, source.published_ns, now_ns, ended)
            record = source.newest
            for track in range(min(len(record.ids), self.params.max_tracks) if share else 0):
                opacity = share * _opacity(bool(record.confirmed[track]), float(record.unseen_s[track]))
                dashed = float(record.unseen_s[track]) > MARKED_STILL_S
                parts = [track_lines(record, track, opacity, dashed=dashed, ellipsoid=ellipsoids)]
                if record.confirmed[track]:
                    identity = int(record.ids[track])
                    places = [place for _, place in source.trails.get(identity, ())]
                    parts.append(trail_lines(places, colours.track_colour(identity), opacity))
                yield joined_lines(parts), _label(record, track) if record.confirmed[track] else None

    def _share(self, topic: str, published_ns: int, now_ns: int, ended: Collection[str]) -> float:
        """Opacity of a topic's newest record by its age; 0 once it is gone."""
        age_s = 0.0 if node_of(topic) in ended else (now_ns - published_ns) / _NS_PER_S
        if age_s > self.params.gone_s:
            return 0.0
        return STALE_OPACITY if age_s > self.params.stale_s else 1.0

    def _centre(self, now_ns: int, ended: Collection[str]) -> tuple[float, float] | None:
        places = [
            source.newest.positions_m[source.newest.confirmed > 0, :2]
            for topic, source in self.state.tracks.items()
            if self._share(topic, source.published_ns, now_ns, ended)
        ]
        every = np.concatenate([np.zeros((0, 2), np.float32), *places])
        every = every[np.isfinite(every).all(axis=1)]
        if not len(every):
            return None
        x, y = np.median(every, axis=0)
        return float(x), float(y)

    def _add_trails(self, source: TrackSource) -> None:
        record, trails = source.newest, source.trails
        most, step_ns = round(self.params.trail_s / self.params.trail_step_s), self.params.trail_step_s * _NS_PER_S
        for index, identity in enumerate(map(int, record.ids[: self.params.max_tracks])):
            if identity not in trails and len(trails) >= self.params.max_tracks:
                continue
            trail = trails.setdefault(identity, deque(maxlen=most))
            if trail and record.measured_ns < trail[-1][0]:  # the session was started again or wound back
                trail.clear()
            if not trail or record.measured_ns - trail[-1][0] >= step_ns:
                trail.append((record.measured_ns, record.positions_m[index].copy()))
        _forget(trails, record.measured_ns, round(self.params.trail_s * _NS_PER_S))


def _forget(trails: dict[int, Trail], now_ns: int, kept_ns: int) -> None:
    """Drop what is older than a trail is long, or from after a rewind."""
    for identity, trail in list(trails.items()):
        while trail and not 0 <= now_ns - trail[0][0] <= kept_ns:
            trail.popleft()
        if not trail:
            del trails[identity]


def _opacity(confirmed: bool, unseen_s: float) -> float:
    """Of a body: one that may be a ghost is faint, one that is held without points fades to a rest."""
    if not confirmed:
        return UNCONFIRMED_OPACITY
    gone = min(max(unseen_s - MARKED_STILL_S, 0.0) / FADE_S, 1.0) if math.isfinite(unseen_s) else 1.0
    return 1.0 - (1.0 - UNSEEN_OPACITY) * gone


def _label(record: RadarTracks, track: int) -> Label | None:
    """``track 3 · 1.2 m/s``, or ``track 3 · still 4 s`` above a body; None for one that is nowhere."""
    unseen_s = float(record.unseen_s[track])
    speed_m_s = float(np.linalg.norm(record.velocities_m_s[track]))
    more = ""
    if unseen_s > MARKED_STILL_S:
        more = f" · still {unseen_s:.0f} s"
    elif speed_m_s > MOVES_M_S:
        more = f" · {speed_m_s:.1f} m/s"
    place = record.positions_m[track].astype(np.float64)
    place[2] += float(record.extents_m[track, 2]) + LABEL_ABOVE_M
    if not np.isfinite(place).all():
        return None
    identity = int(record.ids[track])
    return Label(f"track {identity}{more}", place, colours.track_colour(identity))
