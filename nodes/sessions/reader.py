"""Read a session: whole, torn or damaged, in the order in which it was recorded."""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from mcap.records import ChunkIndex

from nodes.node import Envelope
from nodes.sessions.container import ENCODING
from nodes.sessions.index import DamagedError, FileIndex, SessionError, chunk_messages, index_file, unpack_chunk
from nodes.transport.codec import DecodeError, decode_flat
from nodes.transport.streams import split_topic

__all__ = ["LoggedMessage", "SessionError", "SessionReader"]

GRAPH_ENTRY = "kinefuse.graph"
PROFILE_ENTRY = "kinefuse.profile"
SESSION_ENTRY = "kinefuse.session"
VERSIONS_ENTRY = "kinefuse.versions"
END_ENTRY = "kinefuse.end"

_PLAIN_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,128}/[a-z0-9]+")
"""Topics that nodes can have; whatever else a file names is passed over and counted."""

MAX_OPEN_CHUNKS = 32
MAX_OPEN_BYTES = 256 * 1024 * 1024
"""Chunks whose times overlap are merged; beyond these bounds they follow one another."""


@dataclass(frozen=True, slots=True)
class LoggedMessage:
    """A message as it stands in the file."""

    topic: str
    sequence: int
    log_ns: int
    """When the recorder took it, session clock."""
    publish_ns: int
    payload: memoryview

    def envelope(self) -> Envelope:
        """The record.

        Raises:
            DecodeError: if the bytes are not a record of this topic.
        """
        envelope = decode_flat(self.payload)
        if envelope.topic != self.topic:
            raise DecodeError(f"topic {envelope.topic[:80]!r} in a message of {self.topic!r}")
        return envelope


class SessionReader:
    """An open session file.

    ``refused`` counts messages and ``damaged`` counts chunks that were passed over by the reading so far.
    """

    def __init__(self, path: str | Path) -> None:
        """Open and index a file.

        Raises:
            SessionError: if there is none or it is not a session; a torn one is read up to its tear.
        """
        self.path = Path(path)
        try:
            self._stream: BinaryIO = self.path.open("rb")
        except OSError as error:
            raise SessionError(f"{self.path}: cannot be opened: {error.strerror or error}") from error
        try:
            self._size = os.fstat(self._stream.fileno()).st_size
            self.index: FileIndex = index_file(self._stream, self._size, str(self.path))
        except OSError as error:
            self._stream.close()
            raise SessionError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        except SessionError:
            self._stream.close()
            raise
        self.refused = 0
        self.damaged = 0
        self.kinds, self._topics = self._known_channels()

    def _known_channels(self) -> tuple[dict[str, str], dict[int, str]]:
        kinds: dict[str, str] = {}
        topics: dict[int, str] = {}
        for number, channel in sorted(self.index.contents.channels.items()):
            try:
                _, stream = split_topic(channel.topic)
            except ValueError:
                continue
            if channel.message_encoding == ENCODING and _PLAIN_TOPIC.fullmatch(channel.topic):
                kinds[channel.topic] = stream.record.kind
                topics[number] = channel.topic
        return kinds, topics

    def __enter__(self) -> SessionReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; payloads that were handed out stay valid."""
        self._stream.close()

    # --- What is in it ---------------------------------------------------------------------------

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics that can be read, in the order of their first appearance."""
        return tuple(self.kinds)

    @property
    def complete(self) -> bool:
        """True if its writer closed it."""
        return self.index.complete

    @property
    def size_bytes(self) -> int:
        """Length of the file when it was opened."""
        return self._size

    @property
    def first_ns(self) -> int:
        """Log time of the first message, by the chunks' own word; 0 if there is none."""
        return min((chunk.message_start_time for chunk in self.index.contents.chunks), default=0)

    @property
    def last_ns(self) -> int:
        """Log time of the last message, by the chunks' own word; 0 if there is none."""
        return max((chunk.message_end_time for chunk in self.index.contents.chunks), default=0)

    def entry(self, name: str) -> dict[str, str]:
        """The latest table of that name in the metadata; empty if there is none."""
        found = [values for entry, values in self.index.metadata if entry == name]
        return found[-1] if found else {}

    @property
    def graph_text(self) -> str | None:
        """The graph file that was running."""
        return self.entry(GRAPH_ENTRY).get("text") or None

    @property
    def profile_text(self) -> str | None:
        """The profile that was in use."""
        return self.entry(PROFILE_ENTRY).get("text") or None

    # --- Its messages ----------------------------------------------------------------------------

    def envelopes(
        self, topics: tuple[str, ...] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[tuple[int, Envelope]]:
        """Log time and record of each message that can be decoded; the others are counted in ``refused``."""
        for message in self.messages(topics, start_ns, end_ns):
            try:
                yield message.log_ns, message.envelope()
            except DecodeError:
                self.refused += 1

    def messages(
        self, topics: tuple[str, ...] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[LoggedMessage]:
        """Messages by log time, equal times in the order of the file.

        Args:
            topics: only these; None for all.
            start_ns: first log time, inclusive.
            end_ns: last log time, exclusive.
        """
        wanted = {number: topic for number, topic in self._topics.items() if topics is None or topic in topics}
        chunks = [chunk for chunk in self.index.contents.chunks if _may_hold(chunk, wanted, start_ns, end_ns)]
        chunks.sort(key=lambda chunk: (chunk.message_start_time, chunk.chunk_start_offset))
        for channel, sequence, log_ns, publish_ns, _, payload in _merged(chunks, self._unpack):
            if channel not in wanted:
                self.refused += channel not in self._topics
            elif (start_ns is None or log_ns >= start_ns) and (end_ns is None or log_ns < end_ns):
                yield LoggedMessage(wanted[channel], sequence, log_ns, publish_ns, payload)

    def _unpack(self, chunk: ChunkIndex) -> bytes:
        try:
            return unpack_chunk(self._stream, chunk, self._size)
        except (DamagedError, OSError):
            self.damaged += 1
            return b""


def _may_hold(chunk: ChunkIndex, wanted: dict[int, str], start_ns: int | None, end_ns: int | None) -> bool:
    if start_ns is not None and chunk.message_end_time < start_ns:
        return False
    if end_ns is not None and chunk.message_start_time >= end_ns:
        return False
    return not chunk.message_index_offsets or any(channel in wanted for channel in chunk.message_index_offsets)


_Message = tuple[int, int, int, int, int, memoryview]


def _merged(chunks: list[ChunkIndex], unpack: Callable[[ChunkIndex], bytes]) -> Iterator[_Message]:
    """Messages of all chunks by log time; chunks are unpacked when their first time comes up."""
    heads: list[tuple[int, int, _Message, Iterator[_Message], int]] = []
    open_bytes = 0
    following = 0
    while heads or following < len(chunks):
        while following < len(chunks) and (
            not heads
            or (
                chunks[following].message_start_time <= heads[0][0]
                and len(heads) < MAX_OPEN_CHUNKS
                and open_bytes < MAX_OPEN_BYTES
            )
        ):
            data = unpack(chunks[following])
            messages = chunk_messages(data)
            first = next(messages, None)
            if first is not None:
                # The chunk's number decides between equal times, so that messages are never compared.
                heapq.heappush(heads, (first[2], following, first, messages, len(data)))
                open_bytes += len(data)
            following += 1
        if not heads:
            return
        _, number, message, messages, size = heads[0]
        yield message
        coming = next(messages, None)
        if coming is None:
            heapq.heappop(heads)
            open_bytes -= size
        else:
            heapq.heapreplace(heads, (coming[2], number, coming, messages, size))
