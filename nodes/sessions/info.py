"""What is in a session, topic by topic, without decoding its records."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nodes.sessions.lock import being_written
from nodes.sessions.reader import END_ENTRY, SESSION_ENTRY, VERSIONS_ENTRY, LoggedMessage, SessionReader
from nodes.transport.codec import DecodeError

NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class TopicInfo:
    """Figures of one topic; times are log times."""

    topic: str
    kind: str
    count: int = 0
    first_ns: int = 0
    last_ns: int = 0
    longest_gap_ns: int = 0
    lost: int = 0
    """Sequence numbers that are missing: records lost before they were recorded."""
    restarts: int = 0
    """Times that the sequence went back: the publisher was started again."""
    bytes: int = 0
    refused: int = 0
    """Messages that cannot be decoded (counted only when asked)."""
    _sequence: int = field(default=-1, repr=False)

    def add(self, message: LoggedMessage) -> None:
        """Take the next message of the topic."""
        if self.count == 0:
            self.first_ns = message.log_ns
        else:
            self.longest_gap_ns = max(self.longest_gap_ns, message.log_ns - self.last_ns)
            if message.sequence > self._sequence:
                self.lost += message.sequence - self._sequence - 1
            else:
                self.restarts += 1
        self._sequence = message.sequence
        self.count += 1
        self.last_ns = message.log_ns
        self.bytes += len(message.payload)

    @property
    def rate_hz(self) -> float:
        """Records a second between the first and the last."""
        span_ns = self.last_ns - self.first_ns
        return (self.count - 1) * NS_PER_S / span_ns if span_ns > 0 else math.nan


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session file at one look."""

    path: str
    complete: bool
    writing: bool
    """A recorder has it open."""
    reason: str
    """Why it is not complete."""
    size_bytes: int
    duration_s: float
    first_ns: int
    damaged_chunks: int
    unknown_messages: int
    """Of topics that this software does not know."""
    entries: dict[str, dict[str, str]]
    topics: tuple[TopicInfo, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values; NaN becomes None."""
        return {
            "path": self.path,
            "complete": self.complete,
            "writing": self.writing,
            "reason": self.reason,
            "size_bytes": self.size_bytes,
            "duration_s": self.duration_s,
            "damaged_chunks": self.damaged_chunks,
            "unknown_messages": self.unknown_messages,
            "session": self.entries.get(SESSION_ENTRY, {}),
            "versions": self.entries.get(VERSIONS_ENTRY, {}),
            "end": self.entries.get(END_ENTRY, {}),
            "topics": {topic.topic: self._topic_json(topic) for topic in self.topics},
        }

    def _topic_json(self, topic: TopicInfo) -> dict[str, Any]:
        return {
            "kind": topic.kind,
            "count": topic.count,
            "rate_hz": None if math.isnan(topic.rate_hz) else round(topic.rate_hz, 3),
            "first_s": (topic.first_ns - self.first_ns) / NS_PER_S if topic.count else None,
            "last_s": (topic.last_ns - self.first_ns) / NS_PER_S if topic.count else None,
            "longest_gap_s": topic.longest_gap_ns / NS_PER_S,
            "lost": topic.lost,
            "restarts": topic.restarts,
            "bytes": topic.bytes,
            "refused": topic.refused,
        }


def summarise(session: SessionReader, *, decode: bool = False) -> SessionSummary:
    """Read a whole session and count; with ``decode`` each message is decoded, too."""
    topics = {topic: TopicInfo(topic, kind) for topic, kind in session.kinds.items()}
    for message in session.messages():
        topics[message.topic].add(message)
        if decode and not _decodes(message):
            topics[message.topic].refused += 1
    used = [topic for topic in topics.values() if topic.count]
    first_ns = min((topic.first_ns for topic in used), default=0)
    last_ns = max((topic.last_ns for topic in used), default=0)
    return SessionSummary(
        path=str(session.path),
        complete=session.complete,
        writing=being_written(session.path),
        reason=session.index.reason,
        size_bytes=session.size_bytes,
        duration_s=(last_ns - first_ns) / NS_PER_S,
        first_ns=first_ns,
        damaged_chunks=session.damaged,
        unknown_messages=session.refused,
        entries=dict(session.index.metadata),
        topics=tuple(topics.values()),
    )


def _decodes(message: LoggedMessage) -> bool:
    try:
        message.envelope()
    except DecodeError:
        return False
    return True


HEADINGS = ("topic", "kind", "count", "rate Hz", "first s", "last s", "gap s", "lost", "MB")


def table_rows(summary: SessionSummary) -> Iterable[tuple[str, ...]]:
    """One row of texts per topic, in the order of ``HEADINGS``."""
    for topic in summary.topics:
        rate = "" if math.isnan(topic.rate_hz) else f"{topic.rate_hz:.1f}"
        yield (
            topic.topic,
            topic.kind,
            str(topic.count),
            rate,
            f"{(topic.first_ns - summary.first_ns) / NS_PER_S:.2f}" if topic.count else "",
            f"{(topic.last_ns - summary.first_ns) / NS_PER_S:.2f}" if topic.count else "",
            f"{topic.longest_gap_ns / NS_PER_S:.2f}",
            str(topic.lost),
            f"{topic.bytes / 1e6:.2f}",
        )
