"""``data`` time: nothing is lost, memory is bounded, and the order is the same each time.

Two parts. *Credit*: a reader tells each publisher which records it has
consumed, by topic and sequence number; a publisher waits in ``publish`` while
one of its readers is a window behind. *Merge*: a node that reads several
publishers gets their records in the order of ``measured_ns``, then of the
publishers' names; within one publisher the order is the one of publication. A
record is handed out when every publisher that has not ended has one waiting,
so the outcome depends on what was published and never on when it arrived.

A merge can only go on with a record of each publisher, so a node in a ``data``
session should publish something for each record that it takes (a ``tick`` if
there is nothing to say), or its readers wait until the next one. While a
reader waits for one publisher it acknowledges what the others have sent, up to
``STARVED_BYTES``: a source that feeds both sides of such a wait must go on.

A reader that ended or failed for good is taken off by the supervisor's word;
one whose connection is gone counts for ``ABSENT_S`` more, the time to restart it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import msgpack
import numpy as np
import zmq

from fusion.records import Record
from nodes.node import Clock, Envelope
from nodes.transport.bus import Publisher, StreamStats, Subscriber, ZmqContext
from nodes.transport.endpoints import BoundSocket, CurveKeys, Endpoints, Link, connect
from nodes.transport.streams import split_topic

MEASUREMENT_WINDOW = 64
IMAGE_WINDOW = 2
ABSENT_S = 30.0
STARVED_BYTES = 64 * 1024 * 1024
STARVED_RECORDS = 4096
MAX_CREDIT_BYTES = 16 * 1024
CREDIT_HWM = 4096
CREDITS_PER_WINDOW = 4

UNMERGED = frozenset({"health", "annotation", "document"})
"""Streams about the session, not of it: handed out as they come, never waited for."""

_MAX_CREDITS_READ = 1024
_CHECK_EVERY_MS = 100


def window(topic: str) -> int:
    """How many records of a topic may be under way to one reader."""
    return IMAGE_WINDOW if split_topic(topic)[1].queue == "latest" else MEASUREMENT_WINDOW


def is_merged(topic: str) -> bool:
    return split_topic(topic)[1].name not in UNMERGED


# --- Credit, the publisher's side -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Credit:
    """What a reader says: the last sequence number it has consumed of each topic."""

    reader: str
    life: int
    """Drawn anew each time the reader starts."""
    consumed: tuple[tuple[str, int], ...]


def encode_credit(credit: Credit) -> bytes:
    return bytes(msgpack.packb([credit.reader, credit.life, [list(pair) for pair in credit.consumed]]))


def decode_credit(data: bytes) -> Credit | None:
    """The credit, or None if the bytes are none."""
    if len(data) > MAX_CREDIT_BYTES:
        return None
    try:
        reader, life, consumed = msgpack.unpackb(data, max_ext_len=0)
        pairs = tuple((topic, sequence) for topic, sequence in consumed)
    except (msgpack.UnpackException, ValueError, TypeError, OverflowError, RecursionError):
        return None
    valid = type(reader) is str and type(life) is int
    valid = valid and all(type(topic) is str and type(sequence) is int for topic, sequence in pairs)
    return Credit(reader, life, pairs) if valid else None


@dataclass(slots=True)
class _ReaderState:
    life: int | None = None
    past_lives: set[int] = field(default_factory=set)
    joined: int = 0
    consumed: dict[str, int] = field(default_factory=dict)
    absent_since_ns: int | None = None
    gone: bool = False


class CreditLedger:
    """Who has consumed what. Pure: connections and time are told to it."""

    def __init__(self, readers: Mapping[str, Iterable[str]]) -> None:
        """``readers``: topic → names of those that must get each of its records."""
        self._readers = {topic: tuple(names) for topic, names in readers.items()}
        self._states = {name: _ReaderState() for names in self._readers.values() for name in names}
        self._published: dict[str, int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._states)

    def published(self, topic: str, sequence: int) -> None:
        self._published[topic] = sequence

    def consumed(self, credit: Credit) -> None:
        """Take note of a credit; one that cannot be true is passed over."""
        state = self._states.get(credit.reader)
        if state is None or credit.life in state.past_lives:
            return
        if credit.life != state.life:
            self._start_again(state, credit.life)
        for topic, sequence in credit.consumed:
            if state.consumed.get(topic, -1) < sequence <= self._published.get(topic, -1):
                state.consumed[topic] = sequence

    def _start_again(self, state: _ReaderState, life: int) -> None:
        """A new process reads: what was under way to the one before will never be consumed."""
        if state.life is not None:
            state.consumed = dict(self._published)
            state.past_lives.add(state.life)
        state.life = life
        state.gone = False

    def connection(self, reader: str, connected: bool, joined: int, now_ns: int) -> None:
        """Say whether the reader is connected, and how often it has been so far.

        What was sent before a new connection will never come over it.
        """
        state = self._states[reader]
        if joined != state.joined:
            state.joined = joined
            state.consumed = dict(self._published)
        if connected:
            state.absent_since_ns = None
        elif state.absent_since_ns is None:
            state.absent_since_ns = now_ns

    def gone(self, reader: str) -> None:
        """The supervisor's word: the reader has ended or failed for good."""
        if reader in self._states:
            self._states[reader].gone = True

    def blocked_by(self, topic: str, now_ns: int) -> tuple[str, ...]:
        """Readers that have no room for one more record of ``topic``."""
        following = self._published.get(topic, -1) + 1
        return tuple(
            name
            for name in self._readers.get(topic, ())
            if self._counts(name, now_ns) and self._under_way(name, topic, following) >= window(topic)
        )

    def _under_way(self, name: str, topic: str, following: int) -> int:
        return following - 1 - self._states[name].consumed.get(topic, -1)

    def _counts(self, name: str, now_ns: int) -> bool:
        state = self._states[name]
        absent = state.absent_since_ns
        return not state.gone and (absent is None or now_ns - absent < ABSENT_S * 1e9)


class FlowSender:
    """A publisher that waits for its readers."""

    def __init__(
        self,
        context: ZmqContext,
        publisher: Publisher,
        endpoints: Endpoints,
        clock: Clock,
        *,
        readers: Mapping[str, Iterable[str]],
        keys: CurveKeys | None = None,
        stopped: Callable[[], bool] = lambda: False,
        wake_fd: int | None = None,
    ) -> None:
        """Listen for credits.

        Raises:
            EndpointError: if somebody else listens there.
        """
        self._publisher = publisher
        self._clock = clock
        self._stopped = stopped
        self._ledger = CreditLedger({topic: names for topic, names in readers.items() if is_merged(topic)})
        self.stats: dict[str, StreamStats] = publisher.stats
        self.refused_credits = 0
        self._lock = threading.Lock()
        self._bound = BoundSocket(context, zmq.PULL, endpoints.credit, keys)
        self._bound.socket.setsockopt(zmq.MAXMSGSIZE, MAX_CREDIT_BYTES)
        self._bound.socket.setsockopt(zmq.RCVHWM, CREDIT_HWM)
        self._bound.bind()
        self._poller = zmq.Poller()
        for socket in (self._bound.socket, *publisher.sockets):
            self._poller.register(socket, zmq.POLLIN)
        if wake_fd is not None:
            self._poller.register(wake_fd, zmq.POLLIN)

    def wait_for_readers(self, timeout_s: float) -> set[str]:
        """Wait until every reader is connected; return those that are not."""
        missing = self._publisher.wait_for_readers([(name, "all") for name in self._ledger.names], timeout_s)
        # Credits from an earlier life of this publisher are still under way: they count for nothing now.
        self._read_credits()
        for name in self._ledger.names:
            self._note_connection(name, self._clock.now_ns())
        return missing

    def gone(self, reader: str) -> None:
        self._ledger.gone(reader)

    def publish(self, topic: str, record: Record, cause: Envelope | None = None) -> None:
        """Publish as soon as every reader has room; not at all once the node is stopping."""
        with self._lock:
            while self._blocked(topic):
                if self._stopped():
                    return
                self._poller.poll(_CHECK_EVERY_MS)
                self._read_credits()
            self._publisher.publish(topic, record, cause)
            self._ledger.published(topic, self.stats[topic].count - 1)

    def _blocked(self, topic: str) -> bool:
        now_ns = self._clock.now_ns()
        if not self._ledger.blocked_by(topic, now_ns):
            return False
        self._read_credits()
        for name in self._ledger.blocked_by(topic, now_ns):
            self._note_connection(name, now_ns)
        return bool(self._ledger.blocked_by(topic, now_ns))

    def _note_connection(self, name: str, now_ns: int) -> None:
        connected = self._publisher.connected(name, "all")
        self._ledger.connection(name, connected, self._publisher.joined(name, "all"), now_ns)

    def _read_credits(self) -> None:
        for _ in range(_MAX_CREDITS_READ):
            message = self._read_credit()
            if message is None:
                return
            credit = decode_credit(message)
            if credit is None:
                self.refused_credits += 1
            else:
                self._ledger.consumed(credit)

    def _read_credit(self) -> bytes | None:
        try:
            parts = self._bound.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return parts[0] if len(parts) == 1 else b""

    def close(self) -> None:
        self._bound.close(0)


# --- Merge ----------------------------------------------------------------------------------------


class Merge:
    """Puts the records of several publishers in one order that does not depend on their arrival."""

    def __init__(self, publishers: Iterable[str]) -> None:
        self._waiting: dict[str, deque[Envelope]] = {name: deque() for name in sorted(publishers)}
        self._ended: set[str] = set()
        self.records = 0
        self.bytes = 0

    def push(self, publisher: str, envelope: Envelope) -> None:
        """Add a record; those of one publisher in the order of publication."""
        self._waiting[publisher].append(envelope)
        self.records += 1
        self.bytes += record_bytes(envelope.record)

    def end(self, publisher: str) -> None:
        """Say that nothing more comes of ``publisher`` after what was pushed."""
        self._ended.add(publisher)

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Publishers without which no record can be handed out."""
        return tuple(name for name, queue in self._waiting.items() if not queue and name not in self._ended)

    @property
    def finished(self) -> bool:
        return self.records == 0 and self._ended.issuperset(self._waiting)

    def pop(self) -> Envelope | None:
        """The next record, or None while that is not decided."""
        heads = [(queue[0].record.measured_ns, name) for name, queue in self._waiting.items() if queue]
        if not heads or self.waits_for:
            return None
        _, name = min(heads)
        envelope = self._waiting[name].popleft()
        self.records -= 1
        self.bytes -= record_bytes(envelope.record)
        return envelope


def record_bytes(record: Record) -> int:
    """Bytes of a record's arrays."""
    values = (getattr(record, item.name) for item in fields(record) if "shape" in item.metadata)
    return sum(value.nbytes for value in values if isinstance(value, np.ndarray))


# --- Credit, the reader's side --------------------------------------------------------------------


class Receipts:
    """What one reader has consumed, and what of it its publishers have been told. Pure."""

    def __init__(self, publisher_of: Mapping[str, str]) -> None:
        self._publisher_of = publisher_of
        self._arrived: dict[str, int] = {}
        self._waiting: Counter[str] = Counter()
        self._stale: Counter[str] = Counter()
        self._told: dict[str, int] = {}
        self._due: dict[str, dict[str, int]] = {}

    def arrived(self, topic: str, sequence: int) -> None:
        """Note a record that arrived. A number that does not go up: its publisher has started again."""
        if sequence <= self._arrived.get(topic, -1):
            # What still waits bears numbers of the publisher's earlier life.
            self._stale[topic] = self._waiting[topic]
            self._told.pop(topic, None)
            self._due.get(self._publisher_of[topic], {}).pop(topic, None)
        self._arrived[topic] = sequence
        self._waiting[topic] += 1

    def consumed(self, topic: str, sequence: int) -> bool:
        """Note a record that was handed out and dealt with; True if it is time to tell its publisher."""
        self._waiting[topic] -= 1
        if self._stale[topic] > 0:
            self._stale[topic] -= 1
            return False
        return self._note(topic, sequence)

    def all_arrived(self) -> None:
        """Count everything that has arrived as consumed."""
        for topic, sequence in self._arrived.items():
            self._note(topic, sequence)

    def _note(self, topic: str, sequence: int) -> bool:
        told = self._told.get(topic, -1)
        if sequence > told:
            self._due.setdefault(self._publisher_of[topic], {})[topic] = sequence
        return sequence - told >= max(1, window(topic) // CREDITS_PER_WINDOW)

    def take(self, publisher: str) -> tuple[tuple[str, int], ...]:
        """What ``publisher`` is to be told now."""
        due = self._due.pop(publisher, {})
        self._told.update(due)
        return tuple(due.items())

    @property
    def publishers(self) -> tuple[str, ...]:
        """Those that are to be told something."""
        return tuple(name for name, due in self._due.items() if due)


class FlowReceiver:
    """Reads several publishers in the merged order and gives credit for what was consumed.

    A record counts as consumed when the next one is asked for.
    """

    def __init__(
        self,
        context: ZmqContext,
        links: Sequence[Link],
        clock: Clock,
        *,
        name: str,
        keys: CurveKeys | None = None,
        wake_fd: int | None = None,
    ) -> None:
        self._name = name
        self._life = secrets.randbits(62)
        self._wanted = frozenset(topic for link in links for topic in link.topics)
        with_ends = [_with_end(link) for link in links]
        self._subscriber = Subscriber(context, with_ends, clock, name=name, data_time=True, keys=keys, wake_fd=wake_fd)
        self._publisher_of = {topic: link.publisher for link in with_ends for topic in link.topics}
        merged = {link.publisher for link in links if any(map(is_merged, link.topics))}
        self._merge = Merge(merged)
        self._unmerged: deque[Envelope] = deque()
        self._receipts = Receipts(self._publisher_of)
        self._last: Envelope | None = None
        self._credit = {
            link.publisher: _credit_socket(context, link, keys) for link in links if link.publisher in merged
        }
        self._tell(merged)

    @property
    def stats(self) -> dict[str, StreamStats]:
        return {topic: item for topic, item in self._subscriber.stats.items() if topic in self._wanted}

    @property
    def foreign(self) -> int:
        return self._subscriber.foreign

    @property
    def ended(self) -> bool:
        """All publishers have ended and everything was handed out."""
        return bool(self._credit) and self._merge.finished and not self._unmerged

    @property
    def waits_for(self) -> tuple[str, ...]:
        return self._merge.waits_for

    def publisher_failed(self, publisher: str) -> None:
        """The supervisor's word: nothing more comes of ``publisher``."""
        if publisher in self._credit:
            self._read_all()
            self._merge.end(publisher)

    def receive(self, timeout_s: float) -> Envelope | None:
        """The next record in the merged order, or None after ``timeout_s``, when woken or when all has ended."""
        self._acknowledge_last()
        deadline = time.monotonic() + timeout_s
        while True:
            self._read_all()
            envelope = self._pop()
            if envelope is not None:
                self._last = envelope
                return envelope
            self._acknowledge_waiting()
            self._tell(self._receipts.publishers)
            remaining_s = deadline - time.monotonic()
            if self._merge.finished or remaining_s <= 0:
                return None
            if self._subscriber.wait(remaining_s):
                self._read_all()
                self._last = self._pop()
                return self._last

    def _pop(self) -> Envelope | None:
        """The next wanted record. Ends that the node did not ask for are consumed here."""
        if self._unmerged:
            return self._unmerged.popleft()
        envelope = self._merge.pop()
        while envelope is not None and envelope.topic not in self._wanted:
            self._consumed(envelope)
            envelope = self._merge.pop()
        return envelope

    def _read_all(self) -> None:
        """Take what has arrived; the publishers' windows bound how much that is."""
        while self._merge.records < 2 * STARVED_RECORDS and self._merge.bytes < 2 * STARVED_BYTES:
            envelope = self._subscriber.take()
            if envelope is None:
                return
            publisher = self._publisher_of[envelope.topic]
            if not is_merged(envelope.topic):
                self._unmerged.append(envelope)
            elif publisher in self._credit:
                self._receipts.arrived(envelope.topic, envelope.sequence)
                self._merge.push(publisher, envelope)
                if envelope.topic == f"{publisher}/end":
                    self._merge.end(publisher)

    def _acknowledge_last(self) -> None:
        last, self._last = self._last, None
        if last is not None and is_merged(last.topic):
            self._consumed(last)

    def _consumed(self, envelope: Envelope) -> None:
        if self._receipts.consumed(envelope.topic, envelope.sequence):
            self._tell((self._publisher_of[envelope.topic],))

    def _acknowledge_waiting(self) -> None:
        """While one publisher is waited for, let the others go on, within bounds."""
        within = self._merge.bytes < STARVED_BYTES and self._merge.records < STARVED_RECORDS
        if self._merge.waits_for and within:
            self._receipts.all_arrived()

    def _tell(self, publishers: Iterable[str]) -> None:
        for publisher in tuple(publishers):
            credit = Credit(self._name, self._life, self._receipts.take(publisher))
            try:
                self._credit[publisher].send(encode_credit(credit), zmq.NOBLOCK)
            except zmq.Again:
                # The publisher is away; when it is back its numbers start again.
                continue

    def close(self) -> None:
        self._acknowledge_last()
        self._tell(self._receipts.publishers)
        for socket in self._credit.values():
            socket.close(linger=100)
        self._subscriber.close()


def _with_end(link: Link) -> Link:
    end = f"{link.publisher}/end"
    if end in link.topics or not any(map(is_merged, link.topics)):
        return link
    return Link(link.publisher, link.endpoints, (*link.topics, end))


def _credit_socket(context: ZmqContext, link: Link, keys: CurveKeys | None) -> zmq.Socket[Any]:
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.SNDHWM, CREDIT_HWM)
    connect(socket, link.endpoints.credit, keys)
    return socket
