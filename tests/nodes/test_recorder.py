"""The recorder node on a loop-back bus."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from fusion.records import Record, StreamEnd
from nodes import recorder
from nodes.graph.clock import ManualClock
from nodes.node import SessionInfo
from nodes.runtime import LoopbackContext
from nodes.sessions.reader import SessionReader
from nodes.transport.bus import LoopbackBus
from tests.nodes.sessions.samples import START_NS, STEP_NS, annotation, image, landmarks, points, write_session

SESSION = SessionInfo(name="lab", profile=None, graph_text="nodes: {}\n", time="live", headless=True)
DATA = dataclasses.replace(SESSION, time="data")


def record_all(
    target: Path, sent: list[tuple[str, Record]], *, session: SessionInfo = SESSION, **keys: object
) -> LoopbackContext:
    """Run a recorder over what a source has sent."""
    clock = ManualClock(START_NS)
    bus = LoopbackBus(clock, session.time == "data")
    context = LoopbackContext(
        "rec", bus, inputs=tuple(dict.fromkeys(topic for topic, _ in sent)), session=session, clock=clock
    )
    source = LoopbackContext("source", bus, session=session, clock=clock)
    for topic, record in sent:
        source.publish(topic, record)
    recorder.run(recorder.Params.model_validate({"type": "recorder", "path": str(target), **keys}), context)
    return context


def content(path: Path) -> list[tuple[int, str, int]]:
    with SessionReader(path) as session:
        assert session.complete
        return [(log_ns, envelope.topic, envelope.record.measured_ns) for log_ns, envelope in session.envelopes()]


def test_everything_is_written_with_graph_and_profile(tmp_path: Path) -> None:
    profile = tmp_path / "lab.toml"
    profile.write_text("format = 1\n")
    sent = [("cam1/landmarks", landmarks(n)) for n in range(20)] + [("radar1/points", points(3))]
    session = dataclasses.replace(SESSION, profile=str(profile))
    context = record_all(tmp_path / "takes", sent, session=session)
    (path,) = (tmp_path / "takes").iterdir()
    assert path.name.startswith("lab_")
    assert len(content(path)) == 21
    with SessionReader(path) as reader:
        assert reader.graph_text == "nodes: {}\n"
        assert reader.profile_text == "format = 1\n"
        assert reader.entry("kinefuse.end")["end"] == "stopped"
    assert context.is_ready
    assert context.counters["dropped"] == 0
    assert context.counters["missing_topics"] == 0


def test_log_time_is_when_it_was_taken(tmp_path: Path) -> None:
    record_all(tmp_path / "a.mcap", [("cam1/landmarks", landmarks(7))])
    assert content(tmp_path / "a.mcap")[0][0] == START_NS


def test_log_time_in_a_data_session_is_the_time_the_records_have_reached(tmp_path: Path) -> None:
    """The end of a source and remarks carry the time of day, which must not count."""
    wall_ns = START_NS + 10**15
    end = StreamEnd(measured_ns=wall_ns, received_ns=wall_ns)
    sent: list[tuple[str, Record]] = [
        ("source/annotation", dataclasses.replace(annotation("first"), measured_ns=wall_ns)),
        ("cam1/landmarks", landmarks(1)),
        ("cam1/landmarks", landmarks(4)),
        ("radar1/points", points(3)),
        ("source/end", end),
    ]
    record_all(tmp_path / "a.mcap", sent, session=DATA)
    steps = [(log_ns - START_NS) // STEP_NS for log_ns, _, _ in content(tmp_path / "a.mcap")]
    assert sorted(steps) == [1, 1, 4, 4, 4]


def test_topic_that_never_came_is_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock(START_NS)
    context = LoopbackContext("rec", inputs=("cam1/landmarks", "cam2/landmarks"), session=SESSION, clock=clock)
    source = LoopbackContext("source", context.bus, session=SESSION, clock=clock)
    source.publish("cam1/landmarks", landmarks(0))
    receive = context.receive

    def later(timeout_s: float) -> object:
        clock.time_ns += 10_000_000_000
        return receive(timeout_s)

    context.receive = later  # type: ignore[method-assign, assignment]
    params = recorder.Params.model_validate({"type": "recorder", "path": str(tmp_path / "a.mcap")})
    with caplog.at_level(logging.WARNING):
        recorder.run(params, context)
    assert context.counters["missing_topics"] == 1
    assert "nothing to record yet on cam2/landmarks" in caplog.text


def test_restarted_recorder_repairs_and_takes_a_new_name(tmp_path: Path) -> None:
    """What a killed recorder leaves: a torn file under the very name that the graph asks for."""
    path = tmp_path / "take.mcap"
    write_session(path, 50, flush_every=10)
    path.write_bytes(path.read_bytes()[:-500])
    record_all(path, [("cam1/landmarks", landmarks(0))])
    assert len(content(path)) > 40
    assert len(content(tmp_path / "take-2.mcap")) == 1


def test_pictures_are_written_only_when_asked(tmp_path: Path) -> None:
    params = recorder.Params.model_validate({"type": "recorder", "path": "x"})
    available = ("cam1/image", "cam1/landmarks", "cam1/health", "source/end")
    assert params.wants(available) == ("cam1/landmarks", "cam1/health", "source/end")
    asked = params.model_copy(update={"topics": ["*/image"]})
    assert asked.wants(available) == ("cam1/image",)
    record_all(tmp_path / "a.mcap", [("cam1/image", image(n)) for n in range(2)], jpeg_quality=0)
    with SessionReader(tmp_path / "a.mcap") as session:
        assert [envelope.record.encoding for _, envelope in session.envelopes()][-1] == "bgr8"
