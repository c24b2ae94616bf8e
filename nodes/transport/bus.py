"""The ZeroMQ bus: publishers, subscribers, and an in-memory bus with the same rules for tests.

A publisher has two sockets: one for streams whose queue rule is ``latest``,
with a queue so short that old pictures cannot pile up, and one for streams of
which every record counts. A subscriber reads both: it empties the first one to
the newest record of each topic and takes the second one record by record, so
that what waits there stays in ZeroMQ's bounded queue. In ``data`` time there
is no ``latest``: everything goes through the second socket, in one order.

A subscriber subscribes to ``@NAME`` after its topics. So a publisher knows by
name which readers are connected, and that their subscriptions are in place.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import zmq

from fusion.records import Record
from nodes.node import Clock, Envelope
from nodes.transport.codec import (
    MAX_ARRAYS,
    MAX_TOPIC_BYTES,
    MAX_TOTAL_BYTES,
    Buffer,
    DecodeError,
    decode,
    encode,
)
from nodes.transport.endpoints import BoundSocket, CurveKeys, Endpoints, Link, Reviver, connect
from nodes.transport.streams import split_topic

LATEST_HWM = 2
ALL_HWM = 4096
LINGER_MS = 2000
MAX_SEQUENCE_GAP = 1 << 20
"""A larger step is a wrong number, not a loss."""

_MAX_DRAIN = 256
_MAX_PARTS = 2 + MAX_ARRAYS
_MAX_READER_NAMES = 1024
_SUBSCRIPTIONS_EVERY_NS = 100_000_000

ZmqContext = zmq.Context[zmq.Socket[bytes]]


@dataclass(slots=True)
class StreamStats:
    """What went through one topic at one node, in all."""

    count: int = 0
    drops: int = 0
    """Lost in transport, or discarded by the queue rule."""
    errors: int = 0
    """Could not be decoded."""
    last_ns: int = 0
    """Session clock of the last record; 0 before the first."""


class Sender(Protocol):
    """The publishing side of a bus."""

    stats: dict[str, StreamStats]

    def publish(self, topic: str, record: Record, cause: Envelope | None = None) -> None: ...


class Receiver(Protocol):
    """The reading side of a bus."""

    stats: dict[str, StreamStats]

    def receive(self, timeout_s: float) -> Envelope | None: ...


def queue_rule(topic: str, data_time: bool) -> str:
    """``latest`` or ``all``."""
    return "all" if data_time else split_topic(topic)[1].queue


# --- The queue rules, without sockets -----------------------------------------------------------


@dataclass(slots=True)
class SequenceCheck:
    """Finds losses by the sequence numbers of one topic.

    The first number may be any (the reader joined late). A number that does
    not go up means that the publisher has started again.
    """

    expected: int | None = None

    def step(self, sequence: int) -> int:
        """Records lost just before this one."""
        expected, self.expected = self.expected, sequence + 1
        if expected is None:
            return 0
        lost = sequence - expected if sequence >= expected else sequence
        return lost if lost <= MAX_SEQUENCE_GAP else 0


@dataclass(slots=True)
class _Inbox:
    """What waits of one topic."""

    topic: str
    keep_all: bool
    stats: StreamStats = field(default_factory=StreamStats)
    check: SequenceCheck = field(default_factory=SequenceCheck)
    newest: Sequence[Buffer] | None = None
    arrival: int = 0
    skipped: int = 0


class InputQueue:
    """Messages of several topics, handed out in the order of arrival by the queue rules.

    A ``latest`` topic holds one message. A newer one takes the place of the
    older, also in the order, so a fast topic can starve nobody and is not starved.
    """

    def __init__(self, topics: Iterable[str], clock: Clock, data_time: bool = False) -> None:
        self._clock = clock
        self._inboxes = {topic.encode(): _Inbox(topic, queue_rule(topic, data_time) == "all") for topic in topics}
        self._all: deque[tuple[int, _Inbox, Sequence[Buffer]]] = deque()
        self._waiting: dict[str, _Inbox] = {}
        self._arrivals = 0
        self.stats = {inbox.topic: inbox.stats for inbox in self._inboxes.values()}
        self.foreign = 0
        """Messages on topics that nobody asked for."""

    @property
    def waiting_all(self) -> int:
        return len(self._all)

    @property
    def empty(self) -> bool:
        return not self._all and not self._waiting

    def offer(self, frames: Sequence[Buffer]) -> None:
        """Put a message that has arrived in the queue."""
        inbox = self._inboxes.get(bytes(frames[0])) if len(frames[0]) <= MAX_TOPIC_BYTES else None
        if inbox is None:
            self.foreign += 1
            return
        self._arrivals += 1
        if inbox.keep_all:
            self._all.append((self._arrivals, inbox, frames))
            return
        if inbox.newest is None:
            inbox.arrival = self._arrivals
            self._waiting[inbox.topic] = inbox
        else:
            inbox.skipped += 1
        inbox.newest = frames

    def take(self) -> Envelope | None:
        """The next record, or None if nothing that can be decoded waits."""
        while not self.empty:
            inbox, frames = self._next()
            skipped, inbox.skipped = inbox.skipped, 0
            inbox.stats.drops += skipped
            try:
                envelope = decode(frames)
            except DecodeError:
                inbox.stats.errors += 1
                continue
            inbox.stats.drops += max(0, inbox.check.step(envelope.sequence) - skipped)
            inbox.stats.count += 1
            inbox.stats.last_ns = self._clock.now_ns()
            return envelope
        return None

    def _next(self) -> tuple[_Inbox, Sequence[Buffer]]:
        oldest = min(self._waiting.values(), key=lambda inbox: inbox.arrival, default=None)
        if oldest is None or (self._all and self._all[0][0] < oldest.arrival):
            _, inbox, frames = self._all.popleft()
            return inbox, frames
        del self._waiting[oldest.topic]
        newest, oldest.newest = oldest.newest, None
        assert newest is not None
        return oldest, newest


# --- Sockets --------------------------------------------------------------------------------------


class Publisher:
    """Publishes records on a node's topics. Safe to use from several threads."""

    def __init__(
        self,
        context: ZmqContext,
        endpoints: Endpoints,
        clock: Clock,
        *,
        data_time: bool = False,
        keys: CurveKeys | None = None,
    ) -> None:
        """Bind both sockets.

        Raises:
            EndpointError: if somebody else listens there, or the endpoint is not allowed.
        """
        self._clock = clock
        self._data_time = data_time
        self._lock = threading.Lock()
        self._sequences: Counter[str] = Counter()
        self._subscriptions_read_ns = 0
        self.stats: dict[str, StreamStats] = {}
        self._bound = {
            "latest": _bound_publisher(context, endpoints.latest, LATEST_HWM, keys),
            "all": _bound_publisher(context, endpoints.all, ALL_HWM, keys),
        }
        self._readers: dict[str, Counter[str]] = {"latest": Counter(), "all": Counter()}
        self._joined: Counter[tuple[str, str]] = Counter()

    def publish(self, topic: str, record: Record, cause: Envelope | None = None) -> None:
        """Send without copying the arrays, which must not be changed afterwards.

        Raises:
            EncodeError: if the record does not belong on the topic or exceeds the bounds.
        """
        with self._lock:
            now_ns = self._clock.now_ns()
            sequence = self._sequences[topic]
            parts = encode(Envelope(topic, sequence, now_ns, cause.published_ns if cause else 0, record))
            self._bound[queue_rule(topic, self._data_time)].socket.send_multipart(parts, copy=False)
            self._sequences[topic] = sequence + 1
            stats = self.stats.setdefault(topic, StreamStats())
            stats.count, stats.last_ns = sequence + 1, now_ns
            if now_ns - self._subscriptions_read_ns > _SUBSCRIPTIONS_EVERY_NS:
                self._subscriptions_read_ns = now_ns
                self._read_subscriptions()

    def connected(self, reader: str, rule: str) -> bool:
        """Whether a reader of this name has its subscriptions on the socket of ``rule`` in place."""
        with self._lock:
            self._read_subscriptions()
            return self._readers[rule][reader] > 0

    def joined(self, reader: str, rule: str) -> int:
        """How often a reader of this name has subscribed on that socket, as far as ``connected`` has seen."""
        return self._joined[reader, rule]

    def wait_for_readers(self, expected: Iterable[tuple[str, str]], timeout_s: float) -> set[str]:
        """Wait until the readers, as (name, queue rule), are connected; return the names that are not."""
        missing = set(expected)
        deadline = time.monotonic() + timeout_s
        poller = zmq.Poller()
        for bound in self._bound.values():
            poller.register(bound.socket, zmq.POLLIN)
        while True:
            missing = {pair for pair in missing if not self.connected(*pair)}
            remaining_s = deadline - time.monotonic()
            if not missing or remaining_s <= 0:
                return {name for name, _ in missing}
            poller.poll(_milliseconds(remaining_s))

    @property
    def sockets(self) -> tuple[zmq.Socket[bytes], ...]:
        """The sockets, to be polled for news of readers."""
        return tuple(bound.socket for bound in self._bound.values())

    def _read_subscriptions(self) -> None:
        for rule, bound in self._bound.items():
            counts = self._readers[rule]
            for _ in range(_MAX_DRAIN):
                try:
                    message = bound.socket.recv(zmq.NOBLOCK)
                except zmq.Again:
                    break
                name = _note_reader(counts, message)
                if name is not None:
                    self._joined[name, rule] += 1

    def close(self, linger_ms: int = LINGER_MS) -> None:
        with self._lock:
            for bound in self._bound.values():
                bound.close(linger_ms)


def _note_reader(counts: Counter[str], message: bytes) -> str | None:
    """Take note of a subscription or its end; the name of a reader that has just subscribed."""
    if message[:2] not in (b"\x00@", b"\x01@") or len(message) > MAX_TOPIC_BYTES:
        return None
    name = message[2:].decode(errors="replace")
    if message[0] == 0:
        counts[name] -= 1
        if counts[name] <= 0:
            del counts[name]
        return None
    if name not in counts and len(counts) >= _MAX_READER_NAMES:
        return None
    counts[name] += 1
    return name


def _bound_publisher(context: ZmqContext, endpoint: str, hwm: int, keys: CurveKeys | None) -> BoundSocket:
    bound = BoundSocket(context, zmq.XPUB, endpoint, keys)
    bound.socket.setsockopt(zmq.SNDHWM, hwm)
    # Each subscription and its end is reported, also of a second reader of the same name (a restart).
    bound.socket.setsockopt(zmq.XPUB_VERBOSER, 1)
    bound.socket.setsockopt(zmq.MAXMSGSIZE, MAX_TOPIC_BYTES + 1)
    bound.bind()
    return bound


class Subscriber:
    """Reads topics of several publishers by the queue rules. For one thread."""

    def __init__(
        self,
        context: ZmqContext,
        links: Sequence[Link],
        clock: Clock,
        *,
        name: str,
        data_time: bool = False,
        keys: CurveKeys | None = None,
        wake_fd: int | None = None,
    ) -> None:
        """Connect to each publisher, now or whenever it listens.

        ``wake_fd`` becomes readable when ``receive`` should return early.
        """
        self._queue = InputQueue((topic for link in links for topic in link.topics), clock, data_time)
        self.stats = self._queue.stats
        self._poller = zmq.Poller()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._revivers: list[Reviver] = []
        for rule, hwm in (("latest", LATEST_HWM), ("all", ALL_HWM)):
            chosen = [
                (link, tuple(topic for topic in link.topics if queue_rule(topic, data_time) == rule)) for link in links
            ]
            chosen = [(link, topics) for link, topics in chosen if topics]
            if chosen:
                self._sockets[rule] = self._connected(context, rule, chosen, name, hwm, keys)
                self._poller.register(self._sockets[rule], zmq.POLLIN)
        if wake_fd is not None:
            self._poller.register(wake_fd, zmq.POLLIN)

    def _connected(
        self,
        context: ZmqContext,
        rule: str,
        chosen: Sequence[tuple[Link, tuple[str, ...]]],
        name: str,
        hwm: int,
        keys: CurveKeys | None,
    ) -> zmq.Socket[bytes]:
        socket = context.socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, hwm)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_TOTAL_BYTES)
        for _, topics in chosen:
            for topic in topics:
                socket.setsockopt_string(zmq.SUBSCRIBE, topic)
        # Last, so that the publisher sees it when the topics' subscriptions are in place.
        socket.setsockopt_string(zmq.SUBSCRIBE, f"@{name}")
        self._revivers.append(Reviver(context, socket))
        for link, _ in chosen:
            connect(socket, getattr(link.endpoints, rule), keys)
        return socket

    @property
    def foreign(self) -> int:
        """Messages that arrived on topics that were not asked for."""
        return self._queue.foreign

    def receive(self, timeout_s: float) -> Envelope | None:
        """The next record by the queue rules, or None after ``timeout_s`` or when woken."""
        deadline = time.monotonic() + timeout_s
        while True:
            envelope = self.take()
            remaining_s = deadline - time.monotonic()
            if envelope is not None or remaining_s <= 0:
                return envelope
            if self.wait(remaining_s):
                return self.take()

    def take(self) -> Envelope | None:
        """The next record that has arrived, or None; does not wait."""
        now_s = time.monotonic()
        for reviver in self._revivers:
            reviver.step(now_s)
        latest, every = self._sockets.get("latest"), self._sockets.get("all")
        if latest is not None:
            for _ in range(_MAX_DRAIN):
                if not self._read(latest):
                    break
        while True:
            # Only one is taken ahead: the rest waits in ZeroMQ's queue, which has a bound.
            more = every is not None and self._queue.waiting_all == 0 and self._read(every)
            envelope = self._queue.take()
            if envelope is not None or not more:
                return envelope

    def _read(self, socket: zmq.Socket[bytes]) -> bool:
        frames = receive_bounded(socket)
        if frames is None:
            return False
        self._queue.offer(frames)
        return True

    def wait(self, timeout_s: float) -> bool:
        """Wait until something arrives; True if it was the wake-up or the time is over."""
        ready = dict(self._poller.poll(_milliseconds(timeout_s)))
        return not any(socket in ready for socket in self._sockets.values())

    def close(self) -> None:
        for reviver in self._revivers:
            reviver.close()
        for socket in self._sockets.values():
            socket.close(linger=0)


def receive_bounded(socket: zmq.Socket[bytes]) -> list[Buffer] | None:
    """The parts of the next message without copying, or None if there is none.

    Parts beyond the bounds of a message are read and let go, never held
    together; a message that had any is cut to a form that cannot be decoded.
    """
    parts: list[Buffer] = []
    total = 0
    more: Any = True
    try:
        while more:
            frame = socket.recv(zmq.NOBLOCK, copy=False)
            more = frame.more
            view = frame.buffer
            total += view.nbytes
            if len(parts) <= _MAX_PARTS and total <= MAX_TOTAL_BYTES:
                parts.append(view)
    except zmq.Again:
        return None
    return parts if total <= MAX_TOTAL_BYTES else parts[:1] or [b""]


def _milliseconds(seconds: float) -> int:
    """For ZeroMQ's poll: rounded up, so that a short wait is no busy loop."""
    return max(0, int(seconds * 1000 + 0.999))


# --- In memory ------------------------------------------------------------------------------------


class LoopbackBus:
    """A bus within one thread: what is published is encoded and waits at once in each reader's queue.

    No clock decides anything: ``receive`` returns the next record or None, without waiting.
    """

    def __init__(self, clock: Clock, data_time: bool = False) -> None:
        self._clock = clock
        self._data_time = data_time
        self._readers: list[LoopbackReceiver] = []
        self._sequences: Counter[str] = Counter()
        self.published: list[Envelope] = []
        """Everything that was published, in order."""

    def sender(self) -> LoopbackSender:
        return LoopbackSender(self)

    def receiver(self, topics: Sequence[str]) -> LoopbackReceiver:
        """A reader of these topics, from now on."""
        reader = LoopbackReceiver(InputQueue(topics, self._clock, self._data_time), frozenset(topics))
        self._readers.append(reader)
        return reader

    def send(self, topic: str, record: Record, cause: Envelope | None) -> int:
        sequence = self._sequences[topic]
        self._sequences[topic] += 1
        envelope = Envelope(topic, sequence, self._clock.now_ns(), cause.published_ns if cause else 0, record)
        frames = [bytes(part) for part in encode(envelope)]
        self.published.append(decode(frames))
        self.offer(topic, frames)
        return sequence

    def offer(self, topic: str, frames: Sequence[Buffer]) -> None:
        """Put raw parts on the bus, as a faulty publisher might."""
        for reader in self._readers:
            if topic in reader.topics:
                reader.queue.offer(frames)


class LoopbackSender:
    def __init__(self, bus: LoopbackBus) -> None:
        self._bus = bus
        self.stats: dict[str, StreamStats] = {}

    def publish(self, topic: str, record: Record, cause: Envelope | None = None) -> None:
        sequence = self._bus.send(topic, record, cause)
        self.stats.setdefault(topic, StreamStats()).count = sequence + 1


class LoopbackReceiver:
    def __init__(self, queue: InputQueue, topics: frozenset[str]) -> None:
        self.queue = queue
        self.topics = topics
        self.stats = queue.stats

    def receive(self, timeout_s: float) -> Envelope | None:
        return self.queue.take()
