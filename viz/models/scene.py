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

from fusion.body.skeleton import SEGMENTS
from fusion.records import (
    Guide,
    Health,
    Image,
    InertialState,
    Innovations,
    Landmarks2D,
    Landmarks3D,
    People,
    RadarJoints,
    RadarPoints,
    RadarTracks,
    Record,
    StreamEnd,
    Truth,
)
from fusion.rig import Rig
from viz.models import colours, skeleton
from viz.models.angles import AnglesDrawing, AnglesModel, AnglesParams
from viz.models.fixtures import Fixtures, Label, fixtures
from viz.models.guide import GuideModel, GuideView
from viz.models.health import HealthModel, HealthParams, Row, Understated
from viz.models.honesty import HonestyModel, HonestyParams, SourceRow
from viz.models.inertial import InertialModel, InertialParams, SensorRow
from viz.models.latency import Latency, LatencyModel, LatencyParams
from viz.models.lines import Lines, Points, joined_lines, joined_points, uniform
from viz.models.options import ANSWERS, AngleOptions, ViewOptions
from viz.models.people import PeopleModel, PeopleParams, Shown, answer_of
from viz.models.pictures import Decoder, Panel, PicturesModel, PicturesParams
from viz.models.radar import RadarModel, RadarModelParams
from viz.models.radar_figures import RadarRow

TRUTH_OPACITY = 0.6
LANDMARK_3D_PX = 4.0
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SceneParams:
    """Bounds and times of the scene."""

    landmarks3d_s: float = 0.2
    max_points: int = 4096
    """Points drawn of one record of 3-D landmarks."""
    max_sources: int = 32
    """Publishers of 3-D landmarks that are told apart."""
    people: PeopleParams = field(default_factory=PeopleParams)
    angles: AnglesParams = field(default_factory=AnglesParams)
    pictures: PicturesParams = field(default_factory=PicturesParams)
    health: HealthParams = field(default_factory=HealthParams)
    honesty: HonestyParams = field(default_factory=HonestyParams)
    inertial: InertialParams = field(default_factory=InertialParams)
    radar: RadarModelParams = field(default_factory=RadarModelParams)
    latency: LatencyParams = field(default_factory=LatencyParams)


@dataclass(frozen=True, slots=True, eq=False)
class SceneDrawing:
    """The moving part of the 3-D scene."""

    bones: Lines
    joints: Points
    marks: Points
    """Centres of mass."""
    points: Points
    """Radar detections, joints by radar and 3-D landmarks."""
    thin: Lines
    """Ellipsoids, trails, ghosts, the truth, bodies and bones by radar."""
    labels: tuple[Label, ...]
    """Names of bodies by radar."""
    radar_kinds: frozenset[str]
    """Which of ``viz.models.radar.KINDS`` are there to be drawn."""
    people: int
    centre_m: tuple[float, float] | None
    """Where on the floor the people are, in the middle, or else the bodies by radar; None without any."""
    shown: tuple[Shown, ...]
    """The answer that is drawn, then those that are there as ghosts."""


@dataclass(frozen=True, slots=True)
class Status:
    """The status bar's figures."""

    session_s: float
    """From the first measurement that was taken to the newest one; NaN before the first."""
    people: int
    """Of the answer that is drawn."""
    people_rate_hz: float
    """Skeleton records (``people``) a second over the latency window."""
    latency: Latency
    """Of ``people``; the other answers are late or early on purpose."""
    records: int
    """Records taken so far."""
    refused: int
    """Records that could not be drawn (bad pictures, foreign skeletons)."""


@dataclass(slots=True)
class SceneState:
    """All memory of the scene, but for that of the models it is made of."""

    people_times_ns: deque[int] = field(default_factory=lambda: deque(maxlen=4096))
    """When recent ``people`` were published."""
    truth: Truth | None = None
    landmarks3d: dict[str, tuple[Landmarks3D, int]] = field(default_factory=dict)
    """Newest record of each topic and when it was published (ns)."""
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
        self.people_model = PeopleModel(self.params.people)
        self.angles_model = AnglesModel(self.params.angles)
        self.pictures = PicturesModel(self.rig, decode, self.params.pictures)
        self.health_model = HealthModel(self.params.health)
        self.honesty_model = HonestyModel(self.params.honesty)
        self.inertial_model = InertialModel(self.params.inertial)
        self.guide_model = GuideModel()
        self.latency_model = LatencyModel(self.params.latency)
        self.radar_model = RadarModel(self.rig.radars, self.params.radar)

    def update(self, topic: str, record: Record, published_ns: int, cause_published_ns: int = 0) -> None:
        """Take one record.

        Args:
            topic: ``NODE/STREAM`` that it came on.
            record: as published; its arrays are not changed, pictures are copied.
            published_ns: session clock.
            cause_published_ns: of the record that made the publisher publish this one, 0 for a source.
        """
        self.state.records += 1
        if isinstance(record, Health):
            self.health_model.add(record, published_ns)
        elif isinstance(record, StreamEnd):
            self.health_model.add_end(topic)
        elif isinstance(record, Innovations):
            self.honesty_model.add(topic, record, published_ns)
        elif isinstance(record, InertialState):
            self.inertial_model.add(topic, record, published_ns)
        elif isinstance(record, Guide):
            self.guide_model.add(record, published_ns)
        elif isinstance(record, People):
            self._add_people(topic, record, published_ns, cause_published_ns)
        else:
            self._note_time(record)
            self._add_measurement(topic, record, published_ns)

    def _note_time(self, record: Record) -> None:
        if self.state.first_measured_ns < 0:
            self.state.first_measured_ns = record.measured_ns
        self.state.newest_measured_ns = max(self.state.newest_measured_ns, record.measured_ns)

    def _add_measurement(self, topic: str, record: Record, published_ns: int) -> None:
        if isinstance(record, Image):
            self.pictures.add_image(record)
        elif isinstance(record, Landmarks2D):
            self.pictures.add_landmarks(record)
        elif isinstance(record, RadarPoints):
            self.radar_model.add_points(topic, record, published_ns)
        elif isinstance(record, RadarTracks):
            self.radar_model.add_tracks(topic, record, published_ns)
        elif isinstance(record, RadarJoints):
            self.radar_model.add_joints(topic, record, published_ns)
        elif isinstance(record, Landmarks3D):
            self._add_landmarks3d(topic, record, published_ns)
        elif isinstance(record, Truth):
            self._add_truth(record)

    def fixtures(self) -> Fixtures:
        """Cameras, radars, floor."""
        return fixtures(self.rig)

    def scene(self, now_ns: int, options: ViewOptions) -> SceneDrawing:
        """What moves in the room at a time of the session clock."""
        ended = self.health_model.state.ended
        everyone = self.people_model.drawing(now_ns, options, ended)
        radar = self.radar_model.drawing(now_ns, options.radar, options.ellipsoids, ended)
        thin = [everyone.thin, radar.lines]
        if options.truth and self.state.truth is not None:
            thin.extend(_truth_bones(self.state.truth))
        return SceneDrawing(
            bones=everyone.bones,
            joints=everyone.joints,
            marks=everyone.marks,
            points=joined_points([radar.points, *self._landmark_dots(now_ns)]),
            thin=joined_lines(thin),
            labels=radar.labels,
            radar_kinds=radar.kinds,
            people=everyone.people,
            centre_m=everyone.centre_m or radar.centre_m,
            shown=everyone.shown,
        )

    def panels(self, options: ViewOptions) -> tuple[Panel, ...]:
        """Each camera's picture with what was found in it."""
        origin_ns = max(self.state.first_measured_ns, 0)
        return self.pictures.panels(self.people_model.history(options.answer), options.reprojection, origin_ns)

    def angles(self, answer: str, options: AngleOptions) -> AnglesDrawing:
        """The panel of clinical angles, of one of ``ANSWERS``."""
        return self.angles_model.drawing(answer, options)

    def health(self, now_ns: int) -> tuple[Row, ...]:
        """The health table."""
        return self.health_model.rows(now_ns)

    def understated(self) -> tuple[Understated, ...]:
        """Sources whose errors are much larger than they claim, in the judgement of the nodes that use them."""
        return self.health_model.understated()

    def honesty(self, now_ns: int) -> tuple[SourceRow, ...]:
        """The table of how each source's errors compare with what it claims."""
        return self.honesty_model.rows(now_ns, self.understated())

    def inertial(self, now_ns: int) -> tuple[SensorRow, ...]:
        """The table of how the inertial sensors are and how they sit."""
        return self.inertial_model.rows(now_ns)

    def radars(self, now_ns: int) -> tuple[RadarRow, ...]:
        """The table of how the radars do."""
        return self.radar_model.rows(now_ns, self.health_model.figures())

    def guide(self, now_ns: int) -> GuideView | None:
        """The panel of a guided calibration; None while there is none."""
        return self.guide_model.view(now_ns)

    def status(self, now_ns: int, answer: str = ANSWERS[0]) -> Status:
        """The status bar, when the people of an answer are drawn."""
        state = self.state
        window_s = self.params.latency.window_s
        while state.people_times_ns and state.people_times_ns[0] < now_ns - window_s * _NS_PER_S:
            state.people_times_ns.popleft()
        refused = state.refused + self.people_model.state.refused + self.pictures.state.refused
        refused += self.health_model.state.refused + self.honesty_model.state.refused
        refused += self.inertial_model.state.refused + self.radar_model.state.refused
        return Status(
            session_s=self._seconds(state.newest_measured_ns) if state.newest_measured_ns >= 0 else float("nan"),
            people=self.people_model.count(answer, now_ns, self.health_model.state.ended),
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
        if not self.people_model.add(topic, record, published_ns):
            return
        self.angles_model.add(topic, record)
        if answer_of(topic) == ANSWERS[0]:
            self._note_time(record)
            self.state.people_times_ns.append(published_ns)
            self.latency_model.add(published_ns, cause_published_ns)

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

    def _landmark_dots(self, now_ns: int) -> list[Points]:
        dots = []
        for record, published_ns in self.state.landmarks3d.values():
            if now_ns - published_ns <= self.params.landmarks3d_s * _NS_PER_S:
                places = record.positions_m.reshape(-1, 3)[: self.params.max_points]
                sizes = np.full(len(places), LANDMARK_3D_PX, np.float32)
                dots.append(Points(places, uniform(colours.MARKER, 1.0, len(places)), sizes))
        return dots


def _truth_bones(record: Truth) -> list[Lines]:
    lengths_m = skeleton.reference_lengths()
    every = np.ones(SEGMENTS, dtype=bool)
    bones = []
    for positions_m, quaternions in zip(record.positions_m, record.q_world_from_segment, strict=True):
        points = skeleton.points_with_tips(positions_m, quaternions, lengths_m)
        ends = skeleton.bone_lines(points, colours.TRUTH, every).ends
        bones.append(Lines(ends, uniform(colours.TRUTH, TRUTH_OPACITY, len(ends))))
    return bones
