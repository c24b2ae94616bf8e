"""Where everything is in a session file: from its summary, or by walking a torn one.

The file is not trusted: every length is checked against the file and against a
bound before anything is read, and a summary is used only if its checksum fits.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, ChunkIndex, Header, MessageIndex, Metadata, MetadataIndex, Schema

from nodes.errors import RequestError
from nodes.sessions.container import CHUNK_HEAD, FOOTER_BYTES, MAGIC, MESSAGE_HEAD, PROFILE, RECORD_HEAD, Contents

MAX_SMALL_BYTES = 32 * 1024 * 1024
"""One schema, channel, metadata or message index."""
MAX_CHUNK_BYTES = 128 * 1024 * 1024
"""Unpacked: the largest message and a chunk around it."""
MAX_SUMMARY_BYTES = 64 * 1024 * 1024
"""The index of two days with ten topics."""
_TEXT_LENGTH = struct.Struct("<I")
_DATA_LENGTH = struct.Struct("<Q")
_COMPRESSIONS = {b"": "", b"zstd": "zstd"}
_CHUNK_HEAD_MAX = CHUNK_HEAD.size + _TEXT_LENGTH.size + 8 + _DATA_LENGTH.size

_BAD_BYTES = (McapError, struct.error, UnicodeDecodeError, ValueError)
"""What the ``mcap`` package raises on bytes that are not what they say."""


class SessionError(RequestError):
    """A session file that cannot be read, written or repaired; the message names file and next step."""


class DamagedError(ValueError):
    """One part of a session file is not what it should be."""


@dataclass(slots=True)
class FileIndex:
    """What a file holds and where its whole part ends."""

    contents: Contents
    metadata: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    complete: bool = False
    """Closed by its writer, index and footer in place."""
    end: int = 0
    """Length of the part that is whole, without data end and summary."""
    reason: str = ""
    """Why it is not complete."""


def index_file(stream: BinaryIO, size: int, name: str) -> FileIndex:
    """Find everything in a file.

    Raises:
        SessionError: if it is not a session file at all.
    """
    _check_start(stream, size, name)
    try:
        return _from_summary(stream, size)
    except DamagedError as error:
        return _by_walking(stream, size, str(error))


def _check_start(stream: BinaryIO, size: int, name: str) -> None:
    stream.seek(0)
    head = stream.read(len(MAGIC) + RECORD_HEAD.size)
    if not head.startswith(MAGIC):
        have = "is empty" if size == 0 else f"begins with {head[: len(MAGIC)]!r}"
        raise SessionError(
            f"{name}: not a session file (MCAP): it {have}; kinefuse record and kinefuse import make them"
        )
    try:
        opcode, body = _read_body(stream, len(MAGIC), size, MAX_SMALL_BYTES)
        header = Header.read(_data_stream(body)) if opcode == Opcode.HEADER else None
    except (DamagedError, *_BAD_BYTES) as error:
        raise SessionError(f"{name}: the header of the file is damaged ({error}); nothing in it can be read") from error
    if header is None or header.profile != PROFILE:
        have = "no header" if header is None else f"profile {header.profile[:40]!r}"
        raise SessionError(f"{name}: an MCAP file of another software ({have}); sessions have profile {PROFILE!r}")


# --- From the summary ---------------------------------------------------------------------------


def _from_summary(stream: BinaryIO, size: int) -> FileIndex:
    summary_start, summary = _summary_bytes(stream, size)
    index = FileIndex(Contents(), complete=True, end=summary_start - RECORD_HEAD.size - _TEXT_LENGTH.size)
    position = 0
    try:
        while position < len(summary):
            opcode, length = RECORD_HEAD.unpack_from(summary, position)
            position += RECORD_HEAD.size
            if position + length > len(summary):
                raise DamagedError("a record of the summary is cut short")
            _take_summary_record(index.contents, opcode, summary[position : position + length])
            position += length
        _check_chunks(index.contents.chunks, summary_start)
        for entry in index.contents.metadata:
            opcode, body = _read_body(stream, entry.offset, summary_start, MAX_SMALL_BYTES)
            if opcode == Opcode.METADATA:
                metadata = Metadata.read(_data_stream(body))
                index.metadata.append((metadata.name, metadata.metadata))
    except _BAD_BYTES as error:
        raise DamagedError(f"the summary is damaged ({error})") from error
    return index


def _summary_bytes(stream: BinaryIO, size: int) -> tuple[int, bytes]:
    tail_bytes = FOOTER_BYTES + len(MAGIC)
    if size < len(MAGIC) + tail_bytes:
        raise DamagedError("the file has no footer")
    stream.seek(size - tail_bytes)
    tail = stream.read(tail_bytes)
    opcode, length = RECORD_HEAD.unpack_from(tail)
    if not tail.endswith(MAGIC) or opcode != Opcode.FOOTER or length != FOOTER_BYTES - RECORD_HEAD.size:
        raise DamagedError("the file has no footer")
    start, _, crc = struct.unpack_from("<QQI", tail, RECORD_HEAD.size)
    if not len(MAGIC) < start <= size - tail_bytes or size - tail_bytes - start > MAX_SUMMARY_BYTES:
        raise DamagedError("the footer points outside the file")
    stream.seek(start)
    summary = stream.read(size - tail_bytes - start)
    if zlib.crc32(tail[: FOOTER_BYTES - _TEXT_LENGTH.size], zlib.crc32(summary)) != crc:
        raise DamagedError("the summary's checksum does not fit")
    return start, summary


def _take_summary_record(contents: Contents, opcode: int, body: bytes) -> None:
    stream = _data_stream(body)
    if opcode == Opcode.SCHEMA:
        schema = Schema.read(stream)
        contents.schemas[schema.id] = schema
    elif opcode == Opcode.CHANNEL:
        channel = Channel.read(stream)
        contents.channels[channel.id] = channel
    elif opcode == Opcode.CHUNK_INDEX:
        contents.chunks.append(ChunkIndex.read(stream))
    elif opcode == Opcode.METADATA_INDEX:
        contents.metadata.append(MetadataIndex.read(stream))
    elif opcode == Opcode.STATISTICS:
        contents.counts = _channel_counts(body)


def _channel_counts(body: bytes) -> dict[int, int]:
    # After 8 + 2 + 4 * 4 + 8 + 8 bytes of totals: the length of the map, then pairs of u16 and u64.
    totals, pair = 42, struct.Struct("<HQ")
    (length,) = _TEXT_LENGTH.unpack_from(body, totals)
    start = totals + _TEXT_LENGTH.size
    return dict(pair.iter_unpack(body[start : start + length]))


def _check_chunks(chunks: list[ChunkIndex], end: int) -> None:
    """Chunks lie one after the other: nobody gains by pointing at one a million times."""
    position = len(MAGIC)
    for chunk in chunks:
        too_short = chunk.chunk_length < RECORD_HEAD.size + CHUNK_HEAD.size
        if too_short or chunk.chunk_start_offset < position or chunk.chunk_start_offset + chunk.chunk_length > end:
            raise DamagedError("the summary points at places that are not chunks")
        position = chunk.chunk_start_offset + chunk.chunk_length


# --- By walking ---------------------------------------------------------------------------------


def _by_walking(stream: BinaryIO, size: int, reason: str) -> FileIndex:
    index = FileIndex(Contents(), end=len(MAGIC), reason=reason)
    try:
        for opcode, offset, end in _records(stream, size):
            if opcode == Opcode.DATA_END:
                return index
            _take_data_record(index, stream, opcode, offset, end)
            index.end = end
    except DamagedError as error:
        index.reason = f"{error} at byte {index.end:,} of {size:,}"
    return index


def _records(stream: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """Opcode, start and end of each whole record; raises ``DamagedError`` at the first that is not."""
    position = len(MAGIC)
    while True:
        opcode, length = _read_head(stream, position, size)
        if opcode == 0:
            raise DamagedError("the file is filled with zeros")
        end = position + RECORD_HEAD.size + length
        if end > size:
            raise DamagedError("a record is cut short")
        yield opcode, position, end
        position = end


def _take_data_record(index: FileIndex, stream: BinaryIO, opcode: int, offset: int, end: int) -> None:
    contents = index.contents
    if opcode == Opcode.CHUNK:
        contents.chunks.append(_read_chunk_head(stream, offset, end))
        return
    if opcode not in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.METADATA, Opcode.MESSAGE_INDEX):
        return
    _, body = _read_body(stream, offset, end, MAX_SMALL_BYTES)
    try:
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(_data_stream(body))
            contents.schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            channel = Channel.read(_data_stream(body))
            contents.channels[channel.id] = channel
            contents.counts.setdefault(channel.id, 0)
        elif opcode == Opcode.METADATA:
            metadata = Metadata.read(_data_stream(body))
            contents.metadata.append(MetadataIndex(offset, end - offset, metadata.name))
            index.metadata.append((metadata.name, metadata.metadata))
        elif contents.chunks:
            _take_message_index(contents, MessageIndex.read(_data_stream(body)), offset, end)
    except _BAD_BYTES as error:
        raise DamagedError(f"a record is damaged ({error})") from error


def _take_message_index(contents: Contents, entries: MessageIndex, offset: int, end: int) -> None:
    chunk = contents.chunks[-1]
    chunk.message_index_offsets[entries.channel_id] = offset
    chunk.message_index_length += end - offset
    contents.counts[entries.channel_id] = contents.counts.get(entries.channel_id, 0) + len(entries.records)


def _read_chunk_head(stream: BinaryIO, offset: int, end: int) -> ChunkIndex:
    stream.seek(offset + RECORD_HEAD.size)
    head = stream.read(min(_CHUNK_HEAD_MAX, end - offset - RECORD_HEAD.size))
    first_ns, last_ns, unpacked, _, compression, start = _chunk_head(head)
    (packed,) = _DATA_LENGTH.unpack_from(head, start - _DATA_LENGTH.size)
    if offset + RECORD_HEAD.size + start + packed != end:
        raise DamagedError("a chunk's length is wrong")
    return ChunkIndex(end - offset, offset, compression, packed, last_ns, 0, {}, first_ns, unpacked)


def _chunk_head(body: bytes) -> tuple[int, int, int, int, str, int]:
    """First and last log time, unpacked size, CRC, compression, start of the data."""
    try:
        first_ns, last_ns, unpacked, crc = CHUNK_HEAD.unpack_from(body)
        (length,) = _TEXT_LENGTH.unpack_from(body, CHUNK_HEAD.size)
        start = CHUNK_HEAD.size + _TEXT_LENGTH.size + length + _DATA_LENGTH.size
        compression = _COMPRESSIONS.get(body[CHUNK_HEAD.size + _TEXT_LENGTH.size :][:length])
    except struct.error as error:
        raise DamagedError("a chunk's head is cut short") from error
    if compression is None or unpacked > MAX_CHUNK_BYTES or start > len(body):
        raise DamagedError("a chunk's head is damaged")
    return first_ns, last_ns, unpacked, crc, compression, start


# --- Chunks and small records -------------------------------------------------------------------


def unpack_chunk(stream: BinaryIO, index: ChunkIndex, size: int) -> bytes:
    """The records of a chunk.

    Raises:
        DamagedError: if it is not a chunk, is too large or its checksum does not fit.
    """
    opcode, body = _read_body(stream, index.chunk_start_offset, size, MAX_CHUNK_BYTES)
    if opcode != Opcode.CHUNK or len(body) + RECORD_HEAD.size != index.chunk_length:
        raise DamagedError("no chunk where one should be")
    _, _, unpacked, crc, compression, start = _chunk_head(body)
    data = body[start:]
    if compression:
        try:
            # The frame's own size is what the decompressor would take memory for.
            if zstandard.get_frame_parameters(data).content_size != unpacked:
                raise DamagedError("a chunk does not unpack to the size it says")
            data = zstandard.ZstdDecompressor().decompress(data, max_output_size=unpacked)
        except zstandard.ZstdError as error:
            raise DamagedError("a chunk does not unpack") from error
    if len(data) != unpacked or zlib.crc32(data) != crc:
        raise DamagedError("a chunk's checksum does not fit")
    return data


def chunk_messages(data: bytes) -> Iterator[tuple[int, int, int, int, int, memoryview]]:
    """Channel, sequence, log time, publish time, offset in the chunk and payload of each message."""
    view = memoryview(data)
    position = 0
    while position + RECORD_HEAD.size <= len(data):
        opcode, length = RECORD_HEAD.unpack_from(data, position)
        start, end = position + RECORD_HEAD.size, position + RECORD_HEAD.size + length
        if end > len(data):
            return
        if opcode == Opcode.MESSAGE and length >= MESSAGE_HEAD.size:
            channel, sequence, log_ns, publish_ns = MESSAGE_HEAD.unpack_from(data, start)
            yield channel, sequence, log_ns, publish_ns, position, view[start + MESSAGE_HEAD.size : end]
        position = end


def read_message_index(stream: BinaryIO, position: int, size: int) -> MessageIndex:
    """One channel's entries that follow a chunk.

    Raises:
        DamagedError: if there are none at that place.
    """
    opcode, body = _read_body(stream, position, size, MAX_SMALL_BYTES)
    if opcode != Opcode.MESSAGE_INDEX:
        raise DamagedError("no message index where one should be")
    try:
        entries: MessageIndex = MessageIndex.read(_data_stream(body))
    except _BAD_BYTES as error:
        raise DamagedError(f"a message index is damaged ({error})") from error
    return entries


def _read_head(stream: BinaryIO, position: int, size: int) -> tuple[int, int]:
    if position + RECORD_HEAD.size > size:
        raise DamagedError("the file ends without a footer")
    stream.seek(position)
    opcode, length = RECORD_HEAD.unpack(stream.read(RECORD_HEAD.size))
    return opcode, length


def _read_body(stream: BinaryIO, position: int, size: int, limit: int) -> tuple[int, bytes]:
    opcode, length = _read_head(stream, position, size)
    if length > limit or position + RECORD_HEAD.size + length > size:
        raise DamagedError("a record is cut short or absurdly long")
    return opcode, stream.read(length)


def _data_stream(body: bytes) -> Any:
    return ReadDataStream(BytesIO(body))
