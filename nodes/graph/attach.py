"""Late joiners: attach to a running session by its name, read its topics, detach, and disturb nobody.

    with attach("gait-lab", lambda available: match_topics(["*/people"], available)) as context:
        while not context.stopping:
            envelope = context.receive(0.1)

The context is a ``NodeContext``, so code written for a node of the graph also
runs attached. It cannot publish. In a ``data`` session nobody waits for it, so
it may lose records, which are counted like any other loss.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from types import TracebackType

import msgpack
import zmq
from pydantic import ValidationError

from fusion.records import Record
from nodes.errors import RequestError, listed, suggestion
from nodes.graph.clock import SessionClock
from nodes.graph.protocol import SILENCE_S, Directory, DirectoryRequest, pack
from nodes.graph.rundir import RunningSession, running_sessions
from nodes.node import Clock, Envelope, SessionInfo
from nodes.transport.bus import StreamStats, Subscriber, ZmqContext
from nodes.transport.endpoints import CurveKeys, Link, connect

ANSWER_TIMEOUT_S = 3.0
MAX_DIRECTORY_BYTES = 32 * 1024 * 1024

Wants = Callable[[tuple[str, ...]], tuple[str, ...]]
"""From the topics that there are to those that are wanted."""


def find_session(name: str | None = None) -> RunningSession:
    """The running session of that name, the newest if there are several; the only one if None.

    Raises:
        RequestError: if there is none, or several names and none was given.
    """
    sessions = running_sessions()
    names = list(dict.fromkeys(session.name for session in sessions))
    if not sessions:
        raise RequestError("no session is running; start one: kinefuse run GRAPH")
    if name is None and len(names) > 1:
        raise RequestError(f"several sessions are running, name one: {listed(names)}")
    for session in sessions:
        if name is None or session.name == name:
            return session
    raise RequestError(f"no session {name!r} is running{suggestion(name, names)}; running: {listed(names)}")


def read_directory(context: ZmqContext, control: str, keys: CurveKeys | None = None) -> Directory:
    """Ask a session's supervisor what there is.

    Raises:
        RequestError: if nobody answers.
    """
    with context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_DIRECTORY_BYTES)
        connect(socket, control, keys)
        socket.send(pack(DirectoryRequest()))
        if socket.poll(int(ANSWER_TIMEOUT_S * 1000)):
            try:
                return Directory.model_validate(msgpack.unpackb(socket.recv_multipart()[-1], max_ext_len=0))
            except (msgpack.UnpackException, ValidationError, ValueError, TypeError, RecursionError):
                raise RequestError(f"{control}: the answer is not of this version of the software") from None
    raise RequestError(f"{control}: nobody answered within {ANSWER_TIMEOUT_S:g} s; is the session still running?")


class AttachedContext:
    """A ``NodeContext`` that belongs to no node of the graph."""

    def __init__(self, control: str, wants: Wants, *, name: str = "attached", keys: CurveKeys | None = None) -> None:
        """Attach.

        Raises:
            RequestError: if nobody answers at ``control``.
        """
        self._context: ZmqContext = zmq.Context()
        try:
            self.directory = read_directory(self._context, control, keys)
        except RequestError:
            self._context.term()
            raise
        self.name = f"{name}-{os.getpid()}"
        self.session: SessionInfo = self.directory.session.info()
        self.clock: Clock = SessionClock(self.directory.clock_offset_ns)
        self.log = logging.getLogger(name)
        self.counters: dict[str, float] = {}
        self.inputs: tuple[str, ...] = ()
        self._keys = keys
        self._stopped = False
        self._subscriber = Subscriber(self._context, [], self.clock, name=self.name)
        self._heard_s = time.monotonic()
        self.select(wants(self.available))

    @property
    def available(self) -> tuple[str, ...]:
        """Topics of the session, health included."""
        return tuple(self.directory.topics)

    def select(self, topics: tuple[str, ...]) -> None:
        """Read these topics from now on; what the session does not have is passed over.

        The supervisor's health topics are always read, to notice the session's
        end; they are handed out only if they are among ``topics``.
        """
        self.inputs = tuple(topic for topic in topics if topic in self.directory.topics)
        health = tuple(topic for topic in self.directory.topics if topic.endswith("/health"))
        chosen: dict[str, list[str]] = {}
        for topic in dict.fromkeys((*self.inputs, *health)):
            chosen.setdefault(self.directory.topics[topic], []).append(topic)
        links = [
            Link(publisher, self.directory.endpoints[publisher], tuple(names)) for publisher, names in chosen.items()
        ]
        self._subscriber.close()
        self._subscriber = Subscriber(self._context, links, self.clock, name=self.name, keys=self._keys)

    @property
    def stats(self) -> dict[str, StreamStats]:
        """Figures of the topics that are read."""
        return self._subscriber.stats

    @property
    def stopping(self) -> bool:
        """``stop`` was called, or the session's supervisor has fallen silent."""
        return self._stopped or time.monotonic() - self._heard_s > SILENCE_S

    def stop(self) -> None:
        self._stopped = True

    def ready(self) -> None:
        return

    def publish(self, topic: str, record: Record, cause: Envelope | None = None) -> None:
        """Raises:
        RuntimeError: always.
        """
        raise RuntimeError(f"{self.name} is attached to the session and cannot publish {topic}")

    def receive(self, timeout_s: float) -> Envelope | None:
        deadline_s = time.monotonic() + timeout_s
        while not self.stopping:
            envelope = self._subscriber.receive(max(0.0, deadline_s - time.monotonic()))
            if envelope is None:
                self._keep_heard_while_unread(timeout_s)
                return None
            if envelope.topic.endswith("/health"):
                self._heard_s = time.monotonic()
            if envelope.topic in self.inputs:
                return envelope
        return None

    def _keep_heard_while_unread(self, timeout_s: float) -> None:
        """Nothing waits: only then does the silence count, not while the caller was busy elsewhere."""
        now_s = time.monotonic()
        if now_s - self._read_s > SILENCE_S / 2 + timeout_s:
            self._heard_s = now_s
        self._read_s = now_s

    _read_s: float = 0.0

    def close(self) -> None:
        """Detach."""
        self._subscriber.close()
        self._context.term()

    def __enter__(self) -> AttachedContext:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def attach(name: str | None, wants: Wants, *, reader: str = "attached") -> AttachedContext:
    """Attach to the running session of that name (the only one if None).

    Raises:
        RequestError: if there is no such session or it does not answer.
    """
    return AttachedContext(find_session(name).control, wants, name=reader)
