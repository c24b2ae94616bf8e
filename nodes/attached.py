"""An observer of a running session: reads its streams without being part of its graph.

The connections are plain subscriptions: an observer gives no credit, so no
publisher ever waits for it, and what it has no time for is lost to it alone. A
thread empties the sockets at once and keeps the newest picture of each topic
and a bounded queue of everything else, so that a window that draws slowly lets
nothing pile up in the publishers.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import zmq
from pydantic import ValidationError

from nodes.errors import RequestError, listed, suggestion
from nodes.graph.clock import SessionClock, steady_ns
from nodes.graph.protocol import Directory, DirectoryRequest, MessageError, pack, unpack_map
from nodes.graph.rundir import RunningSession, running_sessions
from nodes.node import Envelope
from nodes.sessions.index import SessionError
from nodes.sessions.writer import QueuedWriter, SessionFacts, SessionWriter, new_path
from nodes.transport.bus import Subscriber
from nodes.transport.endpoints import CurveKeys, Link, connect
from nodes.transport.streams import split_topic

if TYPE_CHECKING:
    from fusion.rig import Rig

MAX_WAITING = 20_000
"""Records other than pictures that may wait for the observer; the oldest go first."""
SILENT_AFTER_S = 3.0
"""Health comes twice a second as long as the session runs."""
MAX_DIRECTORY_BYTES = 1 << 20
_POLL_S = 0.1
_NS_PER_S = 1_000_000_000


class AttachError(RequestError):
    """There is no such session, or it does not answer."""


def find_session(name: str | None) -> RunningSession:
    """The running session of that name, or the only one.

    Raises:
        AttachError: naming those that run.
    """
    running = running_sessions()
    names = [session.name for session in running]
    if name is not None:
        for session in running:
            if session.name == name:
                return session
        raise AttachError(f"no session {name!r} runs{suggestion(name, names)}; running: {listed(names)}")
    if len(running) == 1:
        return running[0]
    if not running:
        raise AttachError("no session runs; start one: kinefuse run GRAPH, or kinefuse demo")
    raise AttachError(f"{len(running)} sessions run: {listed(names)}; name the one to look at")


def request_directory(control: str, *, timeout_s: float = 5.0, keys: CurveKeys | None = None) -> Directory:
    """Ask a session's supervisor what a late joiner needs.

    Args:
        control: endpoint, e.g. ``ipc:///run/…/control`` or ``tcp://127.0.0.1:5555``.
        timeout_s: how long to wait for the answer.
        keys: the session's, where it has any.

    Raises:
        AttachError: if nobody answers, or something else does.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    asking = context.socket(zmq.DEALER)
    try:
        asking.setsockopt(zmq.MAXMSGSIZE, MAX_DIRECTORY_BYTES)
        connect(asking, control, keys)
        asking.send(pack(DirectoryRequest()))
        if not asking.poll(round(timeout_s * 1000)):
            raise AttachError(f"{control}: no session answers within {timeout_s:g} s; is it still running?")
        return Directory.model_validate(unpack_map(asking.recv_multipart()[-1]))
    except zmq.ZMQError as error:
        raise AttachError(f"{control}: {error.strerror}; expected ipc:///PATH or tcp://HOST:PORT") from error
    except (MessageError, ValidationError) as error:
        raise AttachError(f"{control}: what answers is no session of this software: {error}") from error
    finally:
        context.destroy(linger=0)


def links(directory: Directory, topics: Iterable[str]) -> list[Link]:
    """What to connect to for these topics and for the last words of those who publish them.

    Topics that the session has not are left out.
    """
    chosen: dict[str, dict[str, None]] = {}
    own = {publisher for topic, publisher in directory.topics.items() if not topic.endswith("/health")}
    for topic in topics:
        publisher = directory.topics.get(topic)
        if publisher is not None and publisher in directory.endpoints:
            names = chosen.setdefault(publisher, {})
            names[topic] = None
            if publisher in own:
                names[f"{publisher}/end"] = None
    return [Link(publisher, directory.endpoints[publisher], tuple(names)) for publisher, names in chosen.items()]


def rig_of(directory: Directory) -> Rig:
    """The lab as the session's profile tells it; an empty one without a profile.

    Raises:
        CalibrationError: if the text is no profile.
    """
    from calibration.profile import load_profile
    from fusion.rig import Rig

    if not directory.profile_text:
        return Rig()
    name = Path(directory.session.profile or "profile.toml").name
    with tempfile.TemporaryDirectory(prefix="kinefuse-") as folder:
        path = Path(folder) / name
        path.write_text(directory.profile_text, encoding="utf-8")
        return load_profile(path)


class SessionObserver:
    """Reads topics of a running session in a thread of its own, until it is closed."""

    def __init__(
        self,
        directory: Directory,
        topics: Iterable[str] | None = None,
        *,
        keys: CurveKeys | None = None,
        name: str = "observer",
    ) -> None:
        """Connect.

        Args:
            directory: of the session.
            topics: those wanted; default all.
            keys: the session's, where it has any.
            name: told to the publishers, with the process id.
        """
        self.clock = SessionClock(directory.clock_offset_ns)
        self.lost = 0
        """Records that waited too long for ``take``; pictures that a newer one replaced do not count."""
        self._directory = directory
        self._topics = tuple(directory.topics if topics is None else topics)
        self._keys = keys
        self._name = f"{name}-{os.getpid()}"
        self._lock = threading.Lock()
        self._pictures: dict[str, Envelope] = {}
        self._waiting: deque[Envelope] = deque()
        self._heard_ns = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, name=self._name, daemon=True)
        self._thread.start()

    def take(self) -> Iterator[Envelope]:
        """Measurements and all else but pictures that have come since the last call, in order of arrival.

        It can be left off at any point; the rest waits for the next call.
        """
        while True:
            with self._lock:
                if not self._waiting:
                    return
                envelope = self._waiting.popleft()
            yield envelope

    def take_pictures(self) -> list[Envelope]:
        """The newest picture of each topic that has a new one."""
        with self._lock:
            pictures, self._pictures = self._pictures, {}
        return list(pictures.values())

    @property
    def silent_s(self) -> float:
        """Time since the last record of any kind; infinite before the first."""
        return (steady_ns() - self._heard_ns) / _NS_PER_S if self._heard_ns else float("inf")

    def close(self) -> None:
        """Disconnect."""
        self._closing.set()
        self._thread.join()

    def _read(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        subscriber = Subscriber(
            context,
            links(self._directory, self._topics),
            self.clock,
            name=self._name,
            data_time=self._directory.session.time == "data",
            keys=self._keys,
        )
        try:
            while not self._closing.is_set():
                envelope = subscriber.receive(_POLL_S)
                if envelope is not None:
                    self._keep(envelope)
        finally:
            subscriber.close()
            context.destroy(linger=0)

    def _keep(self, envelope: Envelope) -> None:
        picture = split_topic(envelope.topic)[1].queue == "latest"
        with self._lock:
            self._heard_ns = steady_ns()
            if picture:
                self._pictures[envelope.topic] = envelope
                return
            if len(self._waiting) >= MAX_WAITING:
                self._waiting.popleft()
                self.lost += 1
            self._waiting.append(envelope)


class ObserverRecording:
    """Records the logged streams of a session that runs elsewhere, for as long as it is wanted.

    It has connections of its own, so a window that draws slowly loses it nothing. In
    a ``data`` session nobody waits for it: what came too fast is counted at the end.
    """

    def __init__(self, directory: Directory, target: Path, *, keys: CurveKeys | None = None) -> None:
        """Set up, without touching the disk.

        Args:
            directory: of the session.
            target: folder, or file ``….mcap``; nothing is ever overwritten.
            keys: the session's, where it has any.
        """
        self._directory, self._target, self._keys = directory, target, keys
        self._clock = SessionClock(directory.clock_offset_ns)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._drops = 0
        self._writer: QueuedWriter | None = None

    def start(self) -> str:
        """Begin a new file; returns its path.

        Raises:
            OSError: if it cannot be created; the message says why and what to do.
        """
        session = self._directory.session
        facts = SessionFacts(
            name=session.name,
            time=session.time,
            graph_text=session.graph_text,
            profile_name=Path(session.profile).name if session.profile else "",
            profile_text=self._directory.profile_text or "",
        )
        try:
            path = new_path(self._target, session.name)
            self._writer = QueuedWriter(SessionWriter(path, facts))
        except SessionError as error:
            raise OSError(str(error)) from error
        self._closing.clear()
        self._thread = threading.Thread(target=self._record, args=(self._writer,), name="recording", daemon=True)
        self._thread.start()
        return str(path)

    def stop(self) -> str:
        """End the file; returns where it is and what it holds.

        Raises:
            OSError: if writing failed; the file stands up to the last flush.
        """
        thread, writer = self._thread, self._writer
        if thread is None or writer is None:
            return "nothing was recorded"
        self._closing.set()
        thread.join()
        self._thread = self._writer = None
        try:
            writer.close({"end": "stopped", "recorded by": "observer"})
        except SessionError as error:
            raise OSError(str(error)) from error
        lost = self._drops + writer.dropped
        return f"recorded {sum(writer.writer.counts.values())} records, {lost} lost: {writer.writer.path}"

    def _record(self, writer: QueuedWriter) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        directory = self._directory
        wanted = [topic for topic in directory.topics if split_topic(topic)[1].logged]
        subscriber = Subscriber(
            context,
            links(directory, wanted),
            self._clock,
            name=f"recording-{os.getpid()}",
            data_time=directory.session.time == "data",
            keys=self._keys,
        )
        try:
            while not self._closing.is_set():
                envelope = subscriber.receive(_POLL_S)
                if envelope is not None:
                    writer.put(envelope, self._clock.now_ns())
        except SessionError:
            pass  # ``stop`` tells it: the writer keeps the reason
        finally:
            self._drops = sum(stats.drops for stats in subscriber.stats.values())
            subscriber.close()
            context.destroy(linger=0)
