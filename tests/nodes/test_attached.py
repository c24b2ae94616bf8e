"""An observer on real sockets: it sees what is published, holds nobody up, and leaves without a trace."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from fusion.records import Annotation, Image, StreamEnd
from nodes.attached import (
    AttachError,
    ObserverRecording,
    SessionObserver,
    find_session,
    links,
    request_directory,
    rig_of,
)
from nodes.graph.clock import SessionClock
from nodes.graph.protocol import Directory, LaunchSession
from nodes.graph.rundir import RUNTIME_VARIABLE, RunFolder, RunningSession
from nodes.node import Envelope
from nodes.sessions.reader import SessionReader
from nodes.transport.bus import Publisher
from nodes.transport.endpoints import Endpoints, make_endpoint

DEADLINE_S = 20.0
CLOCK = SessionClock.start()


def directory(folder: Path, time_rule: str = "live") -> Directory:
    """A session with one node ``cam`` and the supervisor."""
    endpoints = {
        name: Endpoints(**{kind: make_endpoint(folder, f"{index}.{kind}") for kind in ("latest", "all", "credit")})
        for index, name in enumerate(("cam", "@supervisor"))
    }
    return Directory(
        session=LaunchSession(name="lab", profile=None, graph_text="# graph", time=time_rule, headless=False),  # type: ignore[arg-type]
        profile_text=None,
        topics={"cam/image": "cam", "cam/annotation": "cam", "cam/health": "@supervisor"},
        endpoints=endpoints,
        clock_offset_ns=CLOCK.offset_ns,
        pid=1,
    )


def note(text: str) -> Annotation:
    now_ns = CLOCK.now_ns()
    return Annotation(measured_ns=now_ns, received_ns=now_ns, text=text)


def picture(index: int) -> Image:
    return Image(
        measured_ns=index,
        received_ns=index,
        camera="cam",
        index=index,
        width=4,
        height=4,
        encoding="bgr8",
        data=np.full(48, index % 256, np.uint8),
    )


@pytest.fixture
def session(tmp_path: Path) -> Iterator[tuple[Directory, Publisher]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    about = directory(tmp_path)
    publisher = Publisher(context, about.endpoints["cam"], CLOCK)
    yield about, publisher
    publisher.close(0)
    context.destroy(linger=0)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something another thread does."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.005)


def taken(observer: SessionObserver, last_topic: str) -> list[Envelope]:
    """Everything the observer hands out up to the record of a certain topic."""
    found: list[Envelope] = []

    def complete() -> bool:
        found.extend([*observer.take(), *observer.take_pictures()])
        return any(envelope.topic == last_topic for envelope in found)

    until(complete)
    return found


def connected(publisher: Publisher, observer: SessionObserver) -> None:
    missing = publisher.wait_for_readers([(observer._name, "all"), (observer._name, "latest")], DEADLINE_S)
    assert not missing


def test_measurements_come_in_order_and_of_pictures_the_newest(session: tuple[Directory, Publisher]) -> None:
    about, publisher = session
    observer = SessionObserver(about)
    connected(publisher, observer)
    for index in range(200):
        publisher.publish("cam/annotation", note(str(index)))
    publisher.publish("cam/image", picture(1))
    until(lambda: "cam/image" in observer._pictures)
    publisher.publish("cam/image", picture(2))
    until(lambda: observer._pictures["cam/image"].sequence == 1)
    publisher.publish("cam/end", StreamEnd(measured_ns=0, received_ns=0))
    found = taken(observer, "cam/end")
    observer.close()
    texts = [envelope.record.text for envelope in found if isinstance(envelope.record, Annotation)]
    assert texts == [str(index) for index in range(200)]
    assert [envelope.record.index for envelope in found if isinstance(envelope.record, Image)] == [2]
    assert observer.lost == 0
    assert observer.silent_s < DEADLINE_S


def test_an_observer_that_takes_nothing_is_bounded_and_counts_its_loss(
    session: tuple[Directory, Publisher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.attached.MAX_WAITING", 50)
    about, publisher = session
    observer = SessionObserver(about)
    connected(publisher, observer)
    for index in range(300):
        publisher.publish("cam/annotation", note(str(index)))
    until(lambda: observer.lost == 250)
    texts = [envelope.record.text for envelope in observer.take() if isinstance(envelope.record, Annotation)]
    observer.close()
    assert texts == [str(index) for index in range(250, 300)]


def test_taking_can_be_left_off_and_goes_on_where_it_was(session: tuple[Directory, Publisher]) -> None:
    about, publisher = session
    observer = SessionObserver(about, ["cam/annotation"])
    assert not publisher.wait_for_readers([(observer._name, "all")], DEADLINE_S)
    for index in range(3):
        publisher.publish("cam/annotation", note(str(index)))
    until(lambda: len(observer._waiting) == 3)
    assert next(observer.take()).sequence == 0
    assert [envelope.sequence for envelope in observer.take()] == [1, 2]
    observer.close()


def test_an_observer_leaves_nothing_behind(session: tuple[Directory, Publisher]) -> None:
    about, publisher = session
    observer = SessionObserver(about)
    connected(publisher, observer)
    observer.close()
    until(lambda: not publisher.connected(observer._name, "all"))


def test_a_recording_holds_the_logged_streams_and_says_so(session: tuple[Directory, Publisher], tmp_path: Path) -> None:
    about, publisher = session
    recording = ObserverRecording(about, tmp_path / "out")
    path = Path(recording.start())
    assert not publisher.wait_for_readers([(f"recording-{os.getpid()}", "all")], DEADLINE_S)
    for index in range(20):
        publisher.publish("cam/annotation", note(str(index)))
    publisher.publish("cam/image", picture(1))
    until(lambda: recording._writer is not None and recording._writer.writer.counts.get("cam/annotation") == 20)
    said = recording.stop()
    assert said == f"recorded 20 records, 0 lost: {path}"
    with SessionReader(path) as reader:
        assert reader.complete
        assert set(reader.topics) == {"cam/annotation"}
    assert recording.stop() == "nothing was recorded"
    assert Path(recording.start()) != path
    recording.stop()


def test_a_recording_that_cannot_begin_says_why(session: tuple[Directory, Publisher], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    recording = ObserverRecording(session[0], tmp_path / "file" / "x.mcap")
    with pytest.raises(OSError, match=r"x\.mcap"):
        recording.start()


def test_links_leave_out_what_the_session_has_not(tmp_path: Path) -> None:
    found = links(directory(tmp_path), ["cam/image", "cam/health", "other/image"])
    assert {link.publisher: link.topics for link in found} == {
        "cam": ("cam/image", "cam/end"),
        "@supervisor": ("cam/health",),
    }


def test_the_rig_comes_from_the_profiles_text(tmp_path: Path) -> None:
    from calibration.profile import profile_text
    from fusion.rig import Camera, Rig

    camera = Camera(
        name="cam",
        width=640,
        height=480,
        matrix=np.diag([500.0, 500.0, 1.0]),
        r_camera_from_world=np.eye(3),
        t_camera_from_world_m=np.zeros(3),
    )
    about = directory(tmp_path)
    assert rig_of(about).cameras == ()
    told = about.model_copy(update={"profile_text": profile_text(Rig(cameras=(camera,)))})
    assert [found.name for found in rig_of(told).cameras] == ["cam"]


def test_sessions_are_found_by_name_and_the_message_names_those_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv(RUNTIME_VARIABLE, str(tmp_path))
    with pytest.raises(AttachError, match="kinefuse run GRAPH"):
        find_session(None)
    folders = [RunFolder(), RunFolder()]
    folders[0].announce(RunningSession("gait", "ipc:///nowhere", 1, 1))
    assert find_session(None).name == "gait"
    folders[1].announce(RunningSession("reach", "ipc:///nowhere", 1, 2))
    assert find_session("gait").name == "gait"
    with pytest.raises(AttachError, match="2 sessions run: reach, gait"):
        find_session(None)
    with pytest.raises(AttachError, match="did you mean 'gait'"):
        find_session("gaits")
    for folder in folders:
        folder.close()


def test_an_endpoint_where_nobody_answers_or_something_else_does(tmp_path: Path) -> None:
    with pytest.raises(AttachError, match="no session answers"):
        request_directory(f"ipc://{tmp_path}/nobody", timeout_s=0.1)
    with pytest.raises(AttachError, match="expected ipc"):
        request_directory("nonsense")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stranger = context.socket(zmq.ROUTER)
    stranger.bind(f"ipc://{tmp_path}/stranger")

    def answer() -> None:
        identity, _ = stranger.recv_multipart()
        stranger.send_multipart([identity, b"hello"])

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(AttachError, match="no session of this software"):
        request_directory(f"ipc://{tmp_path}/stranger")
    thread.join()
    context.destroy(linger=0)
