"""The fusion node on a loop-back bus: its keys, what it publishes and why, and how it says that time passes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from calibration.profile import save_profile
from calibration.tables import CalibrationError
from fusion.body.skeleton import LENGTH
from fusion.people import PeopleParams
from fusion.records import InertialSamples, InertialState, Innovations, Landmarks2D, Landmarks3D, People, Record
from fusion.rig import ImuMount, Rig, Subject
from nodes import fusion
from nodes.graph.clock import ManualClock
from nodes.node import Envelope, SessionInfo
from nodes.runtime import LoopbackContext
from tests.fusion.estimators.radar.bodies import DOOR, WINDOW, walk
from tests.fusion.scenes import joints_of, landmarks_of, landmarks_record, resting_state, ring, seen_from

FRAME_NS = 33_000_000
LATENCY_NS = 20_000_000
CAMERAS = ring(3)
TOPIC = "pose/landmarks"


def params(**keys: Any) -> fusion.Params:
    return fusion.Params.model_validate({"type": "fusion", "inputs": ["*/landmarks"], **keys})


def picture(camera: int, frame: int) -> Landmarks2D:
    """Somebody who stands, seen by one camera; it comes in a little later."""
    pixels = seen_from(CAMERAS[camera], resting_state().nominal)
    record = landmarks_record(CAMERAS[camera], [pixels], frame * FRAME_NS)
    return replace(record, received_ns=record.measured_ns + LATENCY_NS)


def pictures(frames: int) -> list[Record]:
    return [picture(camera, frame) for frame in range(frames) for camera in range(len(CAMERAS))]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "lab.toml"
    save_profile(path, Rig(cameras=CAMERAS))
    return path


def session(profile: Path | None, time: str = "data") -> SessionInfo:
    return SessionInfo(
        name="lab", profile=str(profile) if profile else None, graph_text="", time=time, headless=True  # type: ignore[arg-type]
    )  # fmt: skip


def offered(records: Sequence[Record], info: SessionInfo, *, topic: str = TOPIC) -> LoopbackContext:
    """A context in which the records wait, each published a millisecond after the one before."""
    clock = ManualClock()
    context = LoopbackContext("fuse", inputs=[topic], session=info, clock=clock)
    sender = context.bus.sender()
    for k, record in enumerate(records):
        clock.time_ns = 10**9 + k * 10**6
        sender.publish(topic, record)
    return context


def answers(context: LoopbackContext, topic: str = "fuse/people") -> list[tuple[Envelope, People]]:
    """What was published of the people on one topic."""
    result = []
    for envelope in context.published:
        if envelope.topic == topic:
            assert isinstance(envelope.record, People)
            result.append((envelope, envelope.record))
    return result


# --- Keys -----------------------------------------------------------------------------------------


def test_keys_become_the_pipelines_parameters() -> None:
    made = fusion.pipeline_params(params(max_people=2, window_s=0.5, lock_after_s=2.5))
    assert made.people.max_people == 2
    assert made.people.filter.window_s == 0.5
    assert made.people.filter.lock_after_s == 2.5
    assert made.people.filter.update == PeopleParams().filter.update


def test_without_keys_the_defaults_of_the_filter_hold() -> None:
    made, defaults = fusion.pipeline_params(params()), PeopleParams()
    assert made.people.filter == defaults.filter
    assert made.people.landmarks == defaults.landmarks


def test_the_ring_reaches_as_far_back_as_the_lag() -> None:
    assert fusion.pipeline_params(params(lag_s=0.1)).people.filter.window_s == 0.3
    assert fusion.pipeline_params(params(lag_s=1.0)).people.filter.window_s > 1.0


def test_the_floor_can_be_left_out() -> None:
    assert fusion.pipeline_params(params()).people.filter.contact is not None
    assert fusion.pipeline_params(params(floor=False)).people.filter.contact is None


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"inputs": []}, "at least 1"),
        ({"max_people": 0}, "greater than or equal to 1"),
        ({"window_s": 0.1}, "greater than or equal to 0.25"),
        ({"subject": {"height_m": 178}}, "less than 2.5"),
        ({"subject": {"weight_kg": 70}}, "Extra inputs"),
        ({"windows_s": 0.3}, "Extra inputs"),
        ({"lag_s": -0.1}, "greater than or equal to 0"),
        ({"lag_s": 6}, "less than or equal to 5"),
        ({"ahead_s": 2}, "less than or equal to 1"),
        ({"floor": "slippery"}, "valid boolean"),
    ],
)
def test_keys_that_cannot_be(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        params(**keys)


def test_it_publishes_people_under_its_own_name() -> None:
    streams = ("people", "innovations", "inertial", "tracks", "joints")
    assert params().publishes("left_room") == tuple(f"left_room/{stream}" for stream in streams)
    more = params(lag_s=0.0, ahead_s=0.05).publishes("hall")
    assert more == tuple(f"hall/{stream}" for stream in (*streams, "smoothed", "predicted"))
    assert params().wants(("a/landmarks", "b/landmarks", "a/image")) == ("a/landmarks", "b/landmarks")


# --- As fast as it can ----------------------------------------------------------------------------


def test_each_picture_is_answered_and_is_the_cause(profile: Path) -> None:
    records = pictures(6)
    context = offered(records, session(profile))
    fusion.run(params(), context)
    assert context.is_ready
    published = answers(context)
    assert len(published) == len(records)
    for k, ((envelope, people), record) in enumerate(zip(published, records, strict=True)):
        assert envelope.cause_published_ns == 10**9 + k * 10**6
        assert (people.measured_ns, people.received_ns) == (record.measured_ns, record.received_ns)
    assert [len(people.ids) for _, people in published[:2]] == [0, 1]
    away = np.linalg.norm(published[-1][1].positions_m[0] - joints_of(resting_state().nominal), axis=1)
    assert away.mean() < 0.02


def test_it_counts_what_it_does(profile: Path) -> None:
    context = offered([*pictures(4), replace(picture(0, 4), camera="attic")], session(profile))
    fusion.run(params(), context)
    assert context.counters["births"] == context.counters["people"] == 1
    assert context.counters["applied"] == 10
    assert context.counters["refused_records"] == 1


def test_each_reason_of_refusal_is_said_once(profile: Path, caplog: pytest.LogCaptureFixture) -> None:
    stranger = replace(picture(0, 0), camera="attic")
    context = offered([stranger, replace(stranger), replace(stranger, camera="cellar")], session(profile))
    with caplog.at_level(logging.WARNING):
        fusion.run(params(), context)
    said = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert len(said) == 2
    assert "attic" in said[0]
    assert "cam1, cam2, cam3" in said[0]
    assert context.counters["refused_records"] == 3
    assert not context.published


def test_in_data_time_nothing_is_said_unasked(profile: Path) -> None:
    """However late it is by the clock, time is what the records say."""
    context = offered(pictures(3), session(profile))
    assert isinstance(context.clock, ManualClock)
    context.clock.time_ns = 10**12
    fusion.run(params(), context)
    assert len(answers(context)) == 9


def test_without_a_profile_points_in_the_world_are_enough() -> None:
    points = landmarks_of("coco_17", resting_state().nominal)[None].astype(np.float32)
    records = [
        Landmarks3D(
            measured_ns=k * FRAME_NS, received_ns=k * FRAME_NS, source="depth", landmark_set="coco_17",
            positions_m=points, sigmas_m=np.full((1, 17), 0.02, dtype=np.float32),
        )
        for k in range(3)
    ]  # fmt: skip
    context = offered(records, session(None), topic="depth/landmarks3d")
    fusion.run(params(inputs=["depth/landmarks3d"]), context)
    assert [people.ids.tolist() for _, people in answers(context)] == [[1]] * 3


def test_a_profile_that_is_not_there_is_named(tmp_path: Path) -> None:
    context = offered([], session(tmp_path / "nowhere.toml"))
    with pytest.raises((CalibrationError, OSError), match=r"nowhere\.toml"):
        fusion.run(params(), context)
    assert not context.is_ready


def test_the_graphs_height_goes_before_the_profiles(tmp_path: Path) -> None:
    """No landmark of this set tells the size of the hand: it follows from the height, the one in the graph file."""
    path = tmp_path / "lab.toml"
    save_profile(path, Rig(cameras=CAMERAS, subject=Subject(stature_m=1.6)))
    lengths = {}
    for name, subject in (("profile", {}), ("graph", {"height_m": 1.9})):
        nominal = resting_state().nominal
        seen = [landmarks_record(c, [seen_from(c, nominal, "coco_17")], 0, set_name="coco_17") for c in CAMERAS]
        context = offered(seen, session(path))
        fusion.run(params(subject=subject), context)
        lengths[name] = float(answers(context)[-1][1].lengths_m[0, LENGTH["hand"]])
    assert lengths["graph"] / lengths["profile"] > 1.15


# --- A little later, a little earlier, and how well it fits -----------------------------------------


def test_smoothed_lags_behind_and_predicted_goes_ahead(profile: Path) -> None:
    records = pictures(10)
    context = offered(records, session(profile))
    fusion.run(params(lag_s=0.1, ahead_s=0.05), context)
    now, before, after = (answers(context, f"fuse/{name}") for name in ("people", "smoothed", "predicted"))
    assert len(now) == len(after) == len(records)
    for (said, people), (foretold, predicted) in zip(now, after, strict=True):
        assert predicted.measured_ns == people.measured_ns + 50_000_000
        assert predicted.received_ns == people.received_ns
        assert foretold.cause_published_ns == said.cause_published_ns > 0
        assert predicted.ids.tolist() == people.ids.tolist()
    firsts = now[:: len(CAMERAS)]
    assert len(before) == len(firsts), "once for each new time"
    for (said, people), (told, smoothed) in zip(firsts, before, strict=True):
        assert smoothed.measured_ns == people.measured_ns - 100_000_000
        assert told.cause_published_ns == said.cause_published_ns
        assert smoothed.ids.tolist() == people.ids.tolist()
    spreads = [float(np.trace(found[-1][1].covariances_m2[0].sum(0))) for found in (before, now, after)]
    assert spreads[0] < spreads[1] < spreads[2]


def test_without_their_keys_they_are_not_published(profile: Path) -> None:
    context = offered(pictures(2), session(profile))
    fusion.run(params(), context)
    assert {envelope.topic for envelope in context.published} == {"fuse/people", "fuse/innovations"}


def noisy(frames: int, sigmas_px: Sequence[float]) -> list[Record]:
    """Somebody who stands, seen by cameras that err by so much each."""
    random = np.random.default_rng(3)
    records: list[Record] = []
    for frame in range(frames):
        for camera, sigma in enumerate(sigmas_px):
            seen = picture(camera, frame)
            noise = random.normal(0.0, sigma, seen.pixels.shape).astype(np.float32)
            records.append(replace(seen, pixels=seen.pixels + noise))
    return records


def test_innovations_come_once_a_second(profile: Path) -> None:
    context = offered(noisy(70, (3.0, 3.0, 3.0)), session(profile))
    fusion.run(params(), context)
    told = [envelope.record for envelope in context.published if envelope.topic == "fuse/innovations"]
    assert [record.measured_ns // 10**9 for record in told] == [0, 1, 2]
    last = told[-1]
    assert isinstance(last, Innovations)
    assert last.ids.tolist() == [1]
    assert last.sources == ("cam1", "cam2", "cam3")
    assert last.observations.min() > 500
    np.testing.assert_allclose(last.claimed_ratio, 1.0, atol=0.5)


def test_a_camera_that_errs_more_than_it_says_is_named(profile: Path, caplog: pytest.LogCaptureFixture) -> None:
    context = offered(noisy(100, (3.0, 3.0, 9.0)), session(profile))
    with caplog.at_level(logging.WARNING):
        fusion.run(params(), context)
    named = {key: value for key, value in context.counters.items() if key.startswith("understated/")}
    assert list(named) == ["understated/cam3"]
    assert 1.8 < named["understated/cam3"] < 4.0
    said = [record.getMessage() for record in caplog.records if "than it claims" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("cam3 errs ")


def test_cameras_that_err_alike_are_not_named(profile: Path) -> None:
    context = offered(noisy(80, (6.0, 6.0, 6.0)), session(profile))
    fusion.run(params(), context)
    assert not [key for key in context.counters if key.startswith("understated/")]


# --- Inertial sensors -----------------------------------------------------------------------------


def standing(first: int, count: int, *, broken: int = 0) -> InertialSamples:
    """Samples at 100 Hz of two sensors that do not move; so many of the first one's are not numbers."""
    still = np.zeros((count, 2, 3), dtype=np.float32)
    force = still + np.array([0.0, 0.0, 9.81], dtype=np.float32)
    force[:broken, 0] = np.inf
    times = np.arange(first, first + count, dtype=np.int64) * 10_000_000
    return InertialSamples(
        measured_ns=int(times[-1]), received_ns=int(times[-1]), sensors=("pelvis", "t8"), times_ns=times,
        specific_force_m_s2=force, angular_rate_rad_s=still, magnetic_field_ut=still,
    )  # fmt: skip


def worn(tmp_path: Path, records: Sequence[Record], **keys: Any) -> LoopbackContext:
    """What comes of samples without any camera."""
    path = tmp_path / "worn.toml"
    save_profile(path, Rig(imus=(ImuMount(segment="pelvis"), ImuMount(segment="t8"))))
    context = offered(records, session(path), topic="body/samples")
    fusion.run(params(inputs=["body/samples"], **keys), context)
    return context


def test_a_wearer_without_cameras_is_published(tmp_path: Path) -> None:
    context = worn(tmp_path, [standing(first, 20) for first in range(0, 300, 20)])
    published = answers(context)
    assert published
    assert all(people.ids.tolist() == [1] for _, people in published)
    assert not published[-1][1].measured.any()


def test_what_the_orientation_filters_miss_is_counted(tmp_path: Path) -> None:
    context = worn(tmp_path, [standing(0, 100, broken=5), standing(50, 100)])
    inertial = {key: value for key, value in context.counters.items() if key.startswith("inertial/")}
    assert inertial["inertial/broken"] == 5
    assert inertial["inertial/disordered"] == 50
    assert inertial["inertial/no_period"] == 0


def test_an_inertial_system_without_a_period_is_counted(tmp_path: Path) -> None:
    assert worn(tmp_path, [standing(0, 10)]).counters["inertial/no_period"] == 1


def test_without_inertial_sensors_nothing_is_said_of_them(profile: Path) -> None:
    context = offered(pictures(2), session(profile))
    fusion.run(params(), context)
    assert not [key for key in context.counters if key.startswith("inertial/")]
    assert not [envelope for envelope in context.published if envelope.topic == "fuse/inertial"]


def test_how_the_sensors_are_is_told_twice_a_second(tmp_path: Path) -> None:
    context = worn(tmp_path, [standing(first, 20) for first in range(0, 400, 20)])
    told = [envelope for envelope in context.published if envelope.topic == "fuse/inertial"]
    states = [envelope.record for envelope in told if isinstance(envelope.record, InertialState)]
    assert all(envelope.cause_published_ns > 0 for envelope in told)
    times = np.array([state.measured_ns for state in states])
    assert np.diff(times).min() >= 400_000_000
    assert len(times) == pytest.approx(4.0 / 0.6, abs=1.0)  # records of 0.2 s
    assert {state.sensors for state in states} == {("pelvis", "t8")}
    for state in states:
        state.validate()
    assert states[0].wearer == -1
    assert states[-1].wearer == 1
    np.testing.assert_allclose(states[-1].rates_hz, 100.0, rtol=0.01)
    assert states[-1].at_rest.all()
    assert states[-1].settled.all()


@pytest.mark.parametrize("on", [False, True])
def test_the_magnetic_field_is_used_where_the_graph_says_so(tmp_path: Path, on: bool) -> None:
    field = np.tile(np.array([20.0, 0.0, -43.0], dtype=np.float32), (20, 2, 1))
    records = [replace(standing(first, 20), magnetic_field_ut=field) for first in range(0, 200, 20)]
    told = [e.record for e in worn(tmp_path, records, magnetometer=on).published if e.topic == "fuse/inertial"]
    last = told[-1]
    assert isinstance(last, InertialState)
    assert last.magnetic_used.tolist() == [int(on)] * 2


def test_with_the_magnetic_field_the_headings_hardly_walk() -> None:
    off, on = (fusion.pipeline_params(params(magnetometer=on)) for on in (False, True))
    assert not off.inertial.magnetometer
    assert on.inertial.magnetometer
    walks = [made.people.filter.process.imus.heading_walk for made in (off, on)]
    assert walks[1] ** 2 == pytest.approx(on.inertial.errors.north_walk_rad2_s)
    assert walks[1] < 0.2 * walks[0]
    assert on.orientation.heading_rad == on.inertial.errors.north_sigma_rad(on.inertial.report_s)
    assert on.orientation.heading_rad > off.orientation.heading_rad
    assert on.orientation.inclination_rad == off.orientation.inclination_rad


# --- Live -----------------------------------------------------------------------------------------


class Scripted(LoopbackContext):
    """A live session: at each call records come in, or time passes without any."""

    def __init__(self, info: SessionInfo, script: Sequence[Record | int]) -> None:
        """Whole numbers in the script are nanoseconds in which nothing comes."""
        self.own_clock = ManualClock(10**9)
        super().__init__("fuse", inputs=[TOPIC], session=info, clock=self.own_clock)
        self._script = list(script)
        self._count = 0

    @property
    def stopping(self) -> bool:
        return not self._script

    def receive(self, timeout_s: float) -> Envelope | None:
        if not self._script:
            return None
        item = self._script[0]
        if isinstance(item, int):
            if timeout_s > 0.0:  # Who does not wait lets no time pass.
                self.own_clock.time_ns += self._script.pop(0)  # type: ignore[operator]
            return None
        self._script.pop(0)
        self._count += 1
        record = replace(item, measured_ns=item.measured_ns + 10**9, received_ns=item.received_ns + 10**9)
        self.own_clock.time_ns = max(self.own_clock.time_ns, record.received_ns)
        return Envelope(TOPIC, self._count, self.own_clock.time_ns, 0, record)


def test_live_silence_is_broken_by_the_clock(profile: Path) -> None:
    """Nothing comes any more: the pose goes on at the clock's own time, without a cause, ever less certain."""
    pause = 60_000_000
    script: list[Record | int] = []
    for frame in range(5):
        script += [*(picture(camera, frame) for camera in range(3)), 1]
    context = Scripted(session(profile, "live"), [*script, pause, pause, pause, pause])
    fusion.run(params(), context)
    told = [(e, p) for e, p in answers(context) if e.cause_published_ns == 0]
    assert len(told) == 2
    for envelope, people in told:
        assert people.measured_ns == people.received_ns == envelope.published_ns
        assert people.ids.tolist() == [1]
    spreads = [float(np.trace(people.covariances_m2[0].sum(0))) for _, people in answers(context)[-3:]]
    assert spreads[0] < spreads[1] < spreads[2]


def test_live_silence_about_nobody_is_kept(profile: Path) -> None:
    nobody = replace(picture(0, 0), pixels=np.empty((0, 33, 2), np.float32), scores=np.empty((0, 33), np.float32))
    context = Scripted(session(profile, "live"), [nobody, 1, 500_000_000, 500_000_000])
    fusion.run(params(), context)
    assert [(len(people.ids), e.cause_published_ns > 0) for e, people in answers(context)] == [(0, True)]


def test_live_a_burst_is_answered_once(profile: Path) -> None:
    """What has come by now is taken in first; the oldest of it is the cause."""
    burst = pictures(4)
    context = Scripted(session(profile, "live"), [*burst, 1])
    fusion.run(params(), context)
    ((envelope, people),) = answers(context)
    assert envelope.cause_published_ns == 10**9 + LATENCY_NS
    assert people.measured_ns == burst[-1].measured_ns + 10**9
    assert people.ids.tolist() == [1]


def test_live_tracks_are_told_after_each_frame_of_a_burst(tmp_path: Path) -> None:
    """Two radars in one burst: what the first one's frame has told is not lost."""
    path = tmp_path / "radars.toml"
    save_profile(path, Rig(radars=(DOOR, WINDOW)))
    frames = [walk(mount, [[0.0, 0.5, 1.1]], [[0.5, 0.0, 0.0]], 1)[0] for mount in (DOOR, WINDOW)]
    context = Scripted(session(path, "live"), [*frames, frames[1]])
    fusion.run(params(), context)
    tracks = [envelope.record for envelope in context.published if envelope.topic == "fuse/tracks"]
    assert len(tracks) == 2
    assert context.counters["refused_records"] == 1  # A frame that comes twice.


def test_live_it_is_smoothed_when_nothing_waits(profile: Path) -> None:
    """A burst is answered before it is smoothed, and that is done once."""
    context = Scripted(session(profile, "live"), [*pictures(4), 1, 1])
    fusion.run(params(lag_s=0.1), context)
    topics = [envelope.topic.partition("/")[2] for envelope in context.published]
    assert [topic for topic in topics if topic != "innovations"] == ["people", "smoothed"]
    (_, people), (_, smoothed) = answers(context)[-1], answers(context, "fuse/smoothed")[-1]
    assert smoothed.measured_ns == people.measured_ns - 100_000_000


def test_live_a_burst_is_not_endless(profile: Path) -> None:
    context = Scripted(session(profile, "live"), [*pictures(30), 1])
    fusion.run(params(), context)
    assert len(answers(context)) >= 2


def test_live_a_burst_that_ends_in_nonsense(profile: Path) -> None:
    """The last record has a stamp of another age: it is refused, and the answer is about now."""
    nonsense = replace(picture(0, 4), measured_ns=2**61)
    context = Scripted(session(profile, "live"), [*pictures(4), nonsense, 1])
    fusion.run(params(), context)
    ((_, people),) = answers(context)
    assert people.measured_ns == 10**9 + 3 * FRAME_NS
    assert context.counters["refused_records"] == 1


def test_live_deaths_are_reported(profile: Path) -> None:
    """Nobody is left after a long silence, and the counters say so."""
    context = Scripted(session(profile, "live"), [*pictures(4), 1, 30_000_000_000, 40_000_000_000])
    fusion.run(params(), context)
    assert context.counters["people"] == 0
    assert context.counters["deaths"] == 1
