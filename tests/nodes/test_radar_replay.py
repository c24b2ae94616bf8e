"""A recorded radar is seen in the viewer as it was live, and gives the same people whenever it is replayed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from calibration.profile import save_profile
from fusion.body.catalog import landmark_positions
from fusion.body.skeleton import REFERENCE_LENGTHS_M
from fusion.pipeline import Pipeline
from fusion.records import People, RadarJoints, RadarPoints, RadarTracks, Record, Truth
from fusion.rig import RadarMount
from fusion.synthesis.simulation import Lab
from nodes import fusion, replayer
from nodes.models import radar
from nodes.node import Envelope, SessionInfo
from nodes.runtime import LoopbackContext
from nodes.sessions.reader import SessionReader
from nodes.sessions.writer import SessionFacts, SessionWriter
from tests.fusion.labs import Recording, is_picture, recorded, wearer
from viz.models.options import ViewOptions
from viz.models.scene import SceneDrawing, SceneModel

sys.path.insert(0, str(Path(__file__).parents[1] / "viz"))
import viewer_lab as lab

LIVE_NS = 500 * lab.NS
"""Start of the live session on its clock."""
STEP_NS = lab.NS // 20
STEPS = 60
DARK_NS = 1_500_000_000
SESSION = SessionInfo(name="lab", profile=None, graph_text="", time="data", headless=True)


def live() -> list[Envelope]:
    """Three seconds of a radar: points, two bodies of which one stands still, joints of the other."""
    envelopes = []
    for step in range(STEPS):
        time_s, now_ns = step / 20, LIVE_NS + step * STEP_NS
        for topic, record in (
            ("radar1/points", lab.radar_points(time_s)),
            ("fusion/tracks", lab.radar_tracks(time_s, (0.0, 1.0 + time_s))),
            ("net/joints", lab.radar_joints(time_s)),
        ):
            envelopes.append(Envelope(topic, step, now_ns, 0, record))
    return envelopes


def seen(envelopes: Iterable[Envelope], start_ns: int) -> tuple[SceneDrawing, SceneModel]:
    """The scene a tenth of a second after the last record, by a clock on which the first was published at a time."""
    model = SceneModel(lab.lab(0))
    first_ns = now_ns = -1
    for envelope in envelopes:
        first_ns = envelope.record.measured_ns if first_ns < 0 else first_ns
        now_ns = start_ns + envelope.record.measured_ns - first_ns
        model.update(envelope.topic, envelope.record, now_ns, 0)
    return model.scene(now_ns + lab.NS // 10, ViewOptions(ellipsoids=True)), model


@pytest.fixture
def session(tmp_path: Path) -> Path:
    path = tmp_path / "radar.mcap"
    writer = SessionWriter(path, SessionFacts(name="lab"))
    for envelope in live():
        writer.write(envelope, envelope.published_ns)
    writer.close()
    return path


def assert_same(one: SceneDrawing, other: SceneDrawing) -> None:
    for part in ("points", "thin"):
        for name in getattr(one, part).__slots__:
            np.testing.assert_array_equal(getattr(getattr(one, part), name), getattr(getattr(other, part), name))
    assert [label.text for label in one.labels] == [label.text for label in other.labels]
    assert one.radar_kinds == other.radar_kinds


def test_a_replayed_radar_makes_the_same_scene_as_the_live_one(session: Path) -> None:
    expected, before = seen(live(), LIVE_NS)
    assert expected.radar_kinds == {"points", "tracks", "joints"}
    assert [label.text for label in expected.labels] == ["track 1 · 0.6 m/s", "track 2 · still 4 s"]
    context = LoopbackContext("replay", session=SESSION)
    params = replayer.Params.model_validate({"type": "replayer", "path": str(session), "speed": "max"})
    replayer.run(params, context)
    records = [item for item in context.published if not item.topic.endswith("/end")]
    assert len(records) == 3 * STEPS
    found, after = seen(records, 9 * lab.NS)
    assert_same(found, expected)
    (row,), (old,) = (model.radars(now_ns) for model, now_ns in ((after, 12 * lab.NS), (before, LIVE_NS + 3 * lab.NS)))
    assert (row.rate_hz, row.points, row.lost) == (old.rate_hz, old.points, old.lost)


def test_a_recorder_takes_points_tracks_and_joints_without_being_asked(session: Path) -> None:
    from nodes.transport.streams import STREAMS

    assert all(STREAMS[name].logged for name in ("points", "tracks", "joints"))
    with SessionReader(session) as reader:
        assert set(reader.topics) == {"radar1/points", "fusion/tracks", "net/joints"}


# --- A recorded session through fusion ------------------------------------------------------------


@pytest.fixture(scope="module")
def walk() -> Recording:
    """Somebody who walks before a simulated radar and cameras, at last before the radar and a network alone."""
    whole = recorded(replace(Lab(), imus=None), [wearer(1)], 3.0)
    (mount,) = whole.rig.radars
    records: list[Record] = []
    for record in whole.without(lambda record: is_picture(record) and record.measured_ns > DARK_NS):
        records.append(record)
        if isinstance(record, RadarPoints) and record.measured_ns > DARK_NS:
            at_ns = min(whole.truth, key=lambda time_ns: abs(time_ns - record.measured_ns))
            records.append(joints_of(whole.truth[at_ns], record, mount))
    return replace(whole, records=tuple(records))


def joints_of(truth: Truth, frame: RadarPoints, mount: RadarMount) -> RadarJoints:
    """What a network elsewhere would say of a frame."""
    positions, quaternions = (item[0].astype(np.float64) for item in (truth.positions_m, truth.q_world_from_segment))
    places = landmark_positions("kinect_19", positions, quaternions, REFERENCE_LENGTHS_M)
    local = ((places - mount.position_world_m) @ mount.r_world_from_radar)[None]
    return RadarJoints(
        measured_ns=frame.measured_ns, received_ns=frame.received_ns, radar=frame.radar, landmark_set="kinect_19",
        ids=np.array([-1]), positions_m=local.astype(np.float32), sigmas_m=np.full((1, 19, 3), 0.1, np.float32),
        scores=np.ones(1, np.float32),
    )  # fmt: skip


def topic_of(record: Record) -> str:
    kinds = {RadarPoints: "radar1/points", RadarJoints: "net/joints"}
    return kinds.get(type(record), "pose/landmarks")


def written(path: Path, records: Iterable[tuple[str, Record]]) -> Path:
    writer = SessionWriter(path, SessionFacts(name="lab"))
    for number, (topic, record) in enumerate(records):
        writer.write(Envelope(topic, number, record.received_ns, 0, record), record.received_ns)
    writer.close()
    return path


def replayed(session: Path, profile: Path) -> list[tuple[str, Record]]:
    """A recorded session through replayer and fusion, in data time: all that fusion says."""
    info = replace(SESSION, profile=str(profile))
    player = LoopbackContext("replay", session=info)
    replayer.run(replayer.Params.model_validate({"type": "replayer", "path": str(session), "speed": "max"}), player)
    context = LoopbackContext("fusion", inputs=["radar1/points", "net/joints", "pose/landmarks"], session=info)
    sender = context.bus.sender()
    for envelope in player.published:
        if not envelope.topic.endswith("/end"):
            sender.publish(envelope.topic, envelope.record)
    keys = {"type": "fusion", "inputs": ["*/points", "net/joints", "*/landmarks"]}
    fusion.run(fusion.Params.model_validate(keys), context)
    return [(envelope.topic, envelope.record) for envelope in context.published]


def bits(told: Iterable[tuple[str, Record]]) -> list[tuple[str, int, tuple[bytes, ...]]]:
    """Every array of people, tracks and joints, to the last bit."""
    return [
        (topic, record.measured_ns, tuple(np.asarray(getattr(record, item.name)).tobytes() for item in fields(record)))
        for topic, record in told
        if isinstance(record, People | RadarTracks | RadarJoints)
    ]


def test_a_session_with_a_radar_replayed_twice_gives_the_same_people_to_the_bit(
    walk: Recording, tmp_path: Path
) -> None:
    profile = tmp_path / "lab.toml"
    save_profile(profile, walk.rig)
    session = written(tmp_path / "walk.mcap", [(topic_of(record), record) for record in walk.records])
    first = bits(replayed(session, profile))
    kinds = {topic for topic, _, _ in first}
    assert {"fusion/people", "fusion/tracks", "fusion/joints"} <= kinds
    assert bits(replayed(session, profile)) == first
    direct, blind = (Pipeline(walk.rig, radar_network=radar.load(radar.DEFAULT)) for _ in range(2))
    live = [people for record in walk.records if (people := direct.step(record)) is not None]
    told = [item for item in first if item[0] == "fusion/people"]
    assert [item[2] for item in bits(("fusion/people", people) for people in live)] == [item[2] for item in told]
    assert live[-1].measured_ns > 2.5e9  # told by the radar alone,
    for record in walk.records:
        if not isinstance(record, RadarJoints):
            blind.take(record)
    last = blind.people(walk.records[-1])
    assert not np.array_equal(last.positions_m, direct.people(walk.records[-1]).positions_m)  # and by its joints


def test_what_fusion_said_of_a_radar_is_recorded_as_it_was(walk: Recording, tmp_path: Path) -> None:
    profile = tmp_path / "lab.toml"
    save_profile(profile, walk.rig)
    said = replayed(written(tmp_path / "walk.mcap", [(topic_of(r), r) for r in walk.records]), profile)
    again = written(tmp_path / "said.mcap", said)
    with SessionReader(again) as reader:
        found = [(envelope.topic, envelope.record) for _, envelope in reader.envelopes()]
    assert {topic for topic, _ in found} >= {"fusion/people", "fusion/tracks", "fusion/joints"}
    assert bits(found) == bits(said)
