"""The state of the viewer without a toolkit: records in, what is to be drawn out.

``SceneModel.update`` takes every record of a graph in the order of arrival and
keeps a bounded memory of it; ``scene``, ``panels``, ``health`` and ``status``
answer what the window shows. Times of publication are on the session clock,
which goes on whether or not records come, so staleness is judged by them;
records are matched with one another by ``measured_ns``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from fusion.body.skeleton import SEGMENT, SEGMENTS
from fusion.records import (
    Float32,
    Health,
    Image,
    Landmarks2D,
    Landmarks3D,
    People,
    RadarPoints,
    Record,
    StreamEnd,
    Truth,
)
from fusion.rig import RadarMount, Rig
from viz.models import colours, skeleton
from viz.models.fixtures import Fixtures, fixtures
from viz.models.health import HealthModel, HealthParams, Row
from viz.models.latency import Latency, LatencyModel, LatencyParams
from viz.models.lines import Lines, Points, joined_lines, joined_points, uniform
from viz.models.pictures import Decoder, Panel, PicturesModel, PicturesParams

TRAIL_SEGMENTS = ("head", "right_hand", "left_hand", "right_foot", "left_foot")
TRUTH_OPACITY = 0.6
RADAR_POINT_PX = 6.0
LANDMARK_3D_PX = 4.0
STALE_OPACITY = 0.35
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SceneParams:
    """Bounds and times of the scene."""

    stale_s: float = 1.0
    """A skeleton published longer ago than this is drawn faintly."""
    gone_s: float = 5.0
    """... and not at all after this."""
    radar_s: float = 0.3
    """For how long a radar point stays."""
    landmarks3d_s: float = 0.2
    trail_s: float = 2.0
    trail_step_s: float = 0.03
    max_people: int = 16
    max_points: int = 4096
    """Points drawn of one record."""
    max_sources: int = 32
    """Publishers of one kind that are told apart."""
    records_kept: int = 64
    pictures: PicturesParams = field(default_factory=PicturesParams)
    health: HealthParams = field(default_factory=HealthParams)
    latency: LatencyParams = field(default_factory=LatencyParams)


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """What the user has switched on."""

    ellipsoids: bool = False
    reprojection: bool = True
    trails: bool = False
    truth: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SceneDrawing:
    """The moving part of the 3-D scene."""

    bones: Lines
    joints: Points
    points: Points
    """Radar detections and 3-D landmarks."""
    thin: Lines
    """Ellipsoids, trails, the truth."""
    people: int
    centre_m: tuple[float, float] | None
    """Where on the floor the people are, in the middle; None without any."""


@dataclass(frozen=True, slots=True)
class Status:
    """The status bar's figures."""

    session_s: float
    """From the first measurement that was taken to the newest one; NaN before the first."""
    people: int
    people_rate_hz: float
    """Skeleton records a second over the latency window."""
    latency: Latency
    records: int
    """Records taken so far."""
    refused: int
    """Records that could not be drawn (bad pictures, foreign skeletons)."""


@dataclass(slots=True)
class SceneState:
    """All memory of the scene, but for that of the pictures, the health table and the latency."""

    people: dict[str, deque[People]] = field(default_factory=dict)
    """Recent skeletons of each publisher."""
    people_published_ns: dict[str, int] = field(default_factory=dict)
    people_times_ns: deque[int] = field(default_factory=lambda: deque(maxlen=4096))
    truth: Truth | None = None
    radar: dict[str, deque[tuple[RadarPoints, int]]] = field(default_factory=dict)
    """Recent frames of each radar and when they were published (ns)."""
    landmarks3d: dict[str, tuple[Landmarks3D, int]] = field(default_factory=dict)
    """Newest record of each topic and when it was published (ns)."""
    trails: dict[int, deque[tuple[int, Float32]]] = field(default_factory=dict)
    """Of each person, times (ns) and places [5, 3] of ``TRAIL_SEGMENTS``."""
    first_measured_ns: int = -1
    newest_measured_ns: int = -1
    records: int = 0
    refused: int = 0


class SceneModel:
    """Everything the viewer knows of a running graph."""

    def __init__(
        self, rig: Rig | None = None, decode: Decoder | None = None, params: SceneParams | None = None
    ) -> None:
        self.rig = rig or Rig()
        self.params = params or SceneParams()
        self.state = SceneState()
        self.pictures = PicturesModel(self.rig, decode, self.params.pictures)
        self.health_model = HealthModel(self.params.health)
        self.latency_model = LatencyModel(self.params.latency)
        self._radars = {radar.name: radar for radar in self.rig.radars}

    def update(self, topic: str, record: Record, published_ns: int, cause_published_ns: int = 0) -> None:
        """Take one record.

        Args:
            topic: ``NODE/STREAM`` that it came on.
            record: as published; its arrays are not changed, pictures are copied.
            published_ns: session clock.
            cause_published_ns: of the record that made the publisher publish this one, 0 for a source.
        """
        state = self.state
        state.records += 1
        if isinstance(record, Health):
            self.health_model.add(record, published_ns)
            return
        if isinstance(record, StreamEnd):
            self.health_model.add_end(topic)
            return
        if state.first_measured_ns < 0:
            state.first_measured_ns = record.measured_ns
        state.newest_measured_ns = max(state.newest_measured_ns, record.measured_ns)
        if isinstance(record, Image):
            self.pictures.add_image(record)
        elif isinstance(record, Landmarks2D):
            self.pictures.add_landmarks(record)
        elif isinstance(record, People):
            self._add_people(topic, record, published_ns, cause_published_ns)
        elif isinstance(record, RadarPoints):
            self._add_radar(record, published_ns)
        elif isinstance(record, Landmarks3D):
            self._add_landmarks3d(topic, record, published_ns)
        elif isinstance(record, Truth):
            self._add_truth(record)

    def fixtures(self) -> Fixtures:
        """Cameras, radars, floor."""
        return fixtures(self.rig)

    def scene(self, now_ns: int, options: ViewOptions) -> SceneDrawing:
        """What moves in the room at a time of the session clock."""
        shown = self._shown_people(now_ns)
        bones, joints, thin = [], [], []
        for record, published_ns in shown:
            stale = now_ns - published_ns > self.params.stale_s * _NS_PER_S
            for index in range(min(len(record.ids), self.params.max_people)):
                bones.append(_faded(_person_bones(record, index), stale))
                joints.append(_faded_points(_person_joints(record, index), stale))
                if options.ellipsoids:
                    thin.append(_person_ellipsoids(record, index))
        if options.truth and self.state.truth is not None:
            thin.extend(_truth_bones(self.state.truth))
        if options.trails:
            thin.extend(self._trail_lines())
        dots = [*self._radar_dots(now_ns), *self._landmark_dots(now_ns)]
        return SceneDrawing(
            bones=joined_lines(bones),
            joints=joined_points(joints),
            points=joined_points(dots),
            thin=joined_lines(thin),
            people=sum(len(record.ids) for record, _ in shown),
            centre_m=_centre([record for record, _ in shown]),
        )

    def panels(self, options: ViewOptions) -> tuple[Panel, ...]:
        """Each camera's picture with what was found in it."""
        origin_ns = max(self.state.first_measured_ns, 0)
        return self.pictures.panels(self._latest_history(), options.reprojection, origin_ns)

    def health(self, now_ns: int) -> tuple[Row, ...]:
        """The health table."""
        return self.health_model.rows(now_ns)

    def status(self, now_ns: int) -> Status:
        """The status bar."""
        state = self.state
        window_s = self.params.latency.window_s
        while state.people_times_ns and state.people_times_ns[0] < now_ns - window_s * _NS_PER_S:
            state.people_times_ns.popleft()
        refused = state.refused + self.pictures.state.refused + self.health_model.state.refused
        return Status(
            session_s=self._seconds(state.newest_measured_ns) if state.newest_measured_ns >= 0 else float("nan"),
            people=sum(len(record.ids) for record, _ in self._shown_people(now_ns)),
            people_rate_hz=self._people_rate(),
            latency=self.latency_model.summary(now_ns),
            records=state.records,
            refused=refused,
        )

    def _seconds(self, measured_ns: int) -> float:
        """Since the first measurement that was taken."""
        return (measured_ns - self.state.first_measured_ns) / _NS_PER_S

    def _people_rate(self) -> float:
        times = self.state.people_times_ns
        if len(times) < 2 or times[-1] <= times[0]:
            return 0.0
        return (len(times) - 1) * _NS_PER_S / (times[-1] - times[0])

    def _add_people(self, topic: str, record: People, published_ns: int, cause_published_ns: int) -> None:
        state = self.state
        history = state.people.get(topic)
        foreign = record.positions_m.shape[1] != SEGMENTS
        if foreign or (history is None and len(state.people) >= self.params.max_sources):
            state.refused += 1
            return
        if history is None:
            history = state.people[topic] = deque(maxlen=self.params.records_kept)
        history.append(record)
        state.people_published_ns[topic] = published_ns
        state.people_times_ns.append(published_ns)
        self.latency_model.add(published_ns, cause_published_ns)
        self._add_trails(record)

    def _add_trails(self, record: People) -> None:
        trails = self.state.trails
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

    def _add_radar(self, record: RadarPoints, published_ns: int) -> None:
        radar = self.state.radar
        if record.radar not in self._radars or (record.radar not in radar and len(radar) >= self.params.max_sources):
            self.state.refused += 1
            return
        recent = radar.setdefault(record.radar, deque(maxlen=self.params.records_kept))
        recent.append((record, published_ns))

    def _add_landmarks3d(self, topic: str, record: Landmarks3D, published_ns: int) -> None:
        known = self.state.landmarks3d
        if topic not in known and len(known) >= self.params.max_sources:
            self.state.refused += 1
            return
        known[topic] = (record, published_ns)

    def _add_truth(self, record: Truth) -> None:
        if record.positions_m.shape[1] != SEGMENTS:
            self.state.refused += 1
            return
        self.state.truth = record

    def _shown_people(self, now_ns: int) -> list[tuple[People, int]]:
        """The newest skeletons of each publisher that is not gone."""
        return [
            (history[-1], published_ns)
            for topic, history in self.state.people.items()
            if (published_ns := self._published_ns(topic, now_ns)) >= now_ns - self.params.gone_s * _NS_PER_S
        ]

    def _published_ns(self, topic: str, now_ns: int) -> int:
        """When a publisher of skeletons spoke last; one that has said its last word does not grow old."""
        ended = topic.rpartition("/")[0] in self.health_model.state.ended
        return now_ns if ended else self.state.people_published_ns[topic]

    def _latest_history(self) -> tuple[People, ...]:
        """Recent skeletons of the publisher that spoke last: what is projected into the pictures."""
        published = self.state.people_published_ns
        if not published:
            return ()
        return tuple(self.state.people[max(published, key=published.__getitem__)])

    def _radar_dots(self, now_ns: int) -> list[Points]:
        dots = []
        for name, recent in self.state.radar.items():
            for record, published_ns in recent:
                age_s = (now_ns - published_ns) / _NS_PER_S
                if age_s <= self.params.radar_s:
                    share = 1.0 - max(age_s, 0.0) / self.params.radar_s
                    dots.append(radar_dots(record, self._radars[name], share, self.params.max_points))
        return dots

    def _landmark_dots(self, now_ns: int) -> list[Points]:
        dots = []
        for record, published_ns in self.state.landmarks3d.values():
            if now_ns - published_ns <= self.params.landmarks3d_s * _NS_PER_S:
                places = record.positions_m.reshape(-1, 3)[: self.params.max_points]
                sizes = np.full(len(places), LANDMARK_3D_PX, np.float32)
                dots.append(Points(places, uniform(colours.MARKER, 1.0, len(places)), sizes))
        return dots

    def _trail_lines(self) -> list[Lines]:
        lines = []
        for person, trail in self.state.trails.items():
            if len(trail) < 2:
                continue
            places = np.stack([place for _, place in trail]).astype(np.float32)
            ends = np.stack([places[:-1], places[1:]], axis=2)
            tints = uniform(colours.person_colour(person), 1.0, ends.shape[0] * ends.shape[1])
            tints[:, 3] = np.repeat(np.linspace(0.05, 0.7, len(ends)), ends.shape[1])
            lines.append(Lines(ends.reshape(-1, 2, 3), tints))
        return lines


def _centre(shown: list[People]) -> tuple[float, float] | None:
    roots = np.concatenate([np.zeros((0, 3)), *(record.positions_m[:, SEGMENT["pelvis"]] for record in shown)])
    roots = roots[np.isfinite(roots).all(axis=1)]
    if not len(roots):
        return None
    x, y = np.median(roots[:, :2], axis=0)
    return float(x), float(y)


def radar_dots(record: RadarPoints, mount: RadarMount, share: float, most: int) -> Points:
    """Detections in the world, coloured by radial speed.

    Args:
        record: in the radar frame.
        mount: where the radar is.
        share: opacity in 0..1.
        most: points drawn.
    """
    places = record.positions_m[:most] @ mount.r_world_from_radar.T + mount.position_world_m
    tints = np.empty((len(places), 4), np.float32)
    tints[:, :3] = colours.doppler_colours(record.radial_velocities_m_s[:most])
    tints[:, 3] = share
    return Points(places.astype(np.float32), tints, np.full(len(places), RADAR_POINT_PX, np.float32))


def _person_bones(record: People, index: int) -> Lines:
    points = skeleton.points_with_tips(
        record.positions_m[index], record.q_world_from_segment[index], record.lengths_m[index]
    )
    return skeleton.bone_lines(points, colours.person_colour(int(record.ids[index])), record.measured[index])


def _person_joints(record: People, index: int) -> Points:
    colour = colours.person_colour(int(record.ids[index]))
    return skeleton.joint_dots(record.positions_m[index], colour, record.measured[index])


def _person_ellipsoids(record: People, index: int) -> Lines:
    colour = colours.person_colour(int(record.ids[index]))
    return skeleton.ellipsoid_lines(record.positions_m[index], record.covariances_m2[index], colour)


def _truth_bones(record: Truth) -> list[Lines]:
    lengths_m = skeleton.reference_lengths()
    every = np.ones(SEGMENTS, dtype=bool)
    bones = []
    for positions_m, quaternions in zip(record.positions_m, record.q_world_from_segment, strict=True):
        points = skeleton.points_with_tips(positions_m, quaternions, lengths_m)
        ends = skeleton.bone_lines(points, colours.TRUTH, every).ends
        bones.append(Lines(ends, uniform(colours.TRUTH, TRUTH_OPACITY, len(ends))))
    return bones


def _faded(lines: Lines, stale: bool) -> Lines:
    return Lines(lines.ends, _faint(lines.colours)) if stale else lines


def _faded_points(points: Points, stale: bool) -> Points:
    return Points(points.positions, _faint(points.colours), points.sizes_px) if stale else points


def _faint(tints: Float32) -> Float32:
    return tints * np.array([1.0, 1.0, 1.0, STALE_OPACITY], np.float32)
