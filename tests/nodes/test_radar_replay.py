"""A recorded radar is seen in the viewer as it was live."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from nodes import replayer
from nodes.node import Envelope, SessionInfo
from nodes.runtime import LoopbackContext
from nodes.sessions.reader import SessionReader
from nodes.sessions.writer import SessionFacts, SessionWriter
from viz.models.options import ViewOptions
from viz.models.scene import SceneDrawing, SceneModel

sys.path.insert(0, str(Path(__file__).parents[1] / "viz"))
import viewer_lab as lab

LIVE_NS = 500 * lab.NS
"""Start of the live session on its clock."""
STEP_NS = lab.NS // 20
STEPS = 60
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
