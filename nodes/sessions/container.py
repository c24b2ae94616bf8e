"""The MCAP container as sessions use it: what is written, indexed and closed.

Specification: https://mcap.dev/spec. The ``mcap`` package reads and writes the
small records; chunks are made here, because one file holds compressed chunks of
measurements beside uncompressed chunks of pictures, and because repair needs
the same summary that the writer makes.

Schemas, channels and metadata stand outside the chunks, so that a torn file
can be indexed without unpacking it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

MAGIC = b"\x89MCAP0\r\n"
PROFILE = "kinefuse"
ENCODING = "msgpack"
CHUNK_BYTES = 256 * 1024
IMAGE_CHUNK_BYTES = 4 * 1024 * 1024
ZSTD_LEVEL = 3

RECORD_HEAD = struct.Struct("<BQ")
"""Opcode, length of what follows."""
MESSAGE_HEAD = struct.Struct("<HIQQ")
"""Channel, sequence, log time, publish time."""
CHUNK_HEAD = struct.Struct("<QQQI")
"""First and last log time, uncompressed size, CRC of the uncompressed records."""
FOOTER_BYTES = RECORD_HEAD.size + 20
UINT32 = 0xFFFF_FFFF
UINT64 = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(slots=True)
class Contents:
    """What the summary of a file says; the writer and the repair fill it alike."""

    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    chunks: list[ChunkIndex] = field(default_factory=list)
    metadata: list[MetadataIndex] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    """Messages per channel."""

    def statistics(self) -> Statistics:
        """The record that sums up the file."""
        return Statistics(
            attachment_count=0,
            channel_count=len(self.channels),
            channel_message_counts=self.counts,
            chunk_count=len(self.chunks),
            message_count=sum(self.counts.values()),
            message_start_time=min((chunk.message_start_time for chunk in self.chunks), default=0),
            message_end_time=max((chunk.message_end_time for chunk in self.chunks), default=0),
            metadata_count=len(self.metadata),
            schema_count=len(self.schemas),
        )


@dataclass(slots=True)
class _OpenChunk:
    """Messages that are not in the file yet."""

    compress: Callable[[bytes], bytes] | None
    limit: int
    data: bytearray = field(default_factory=bytearray)
    indices: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    first_ns: int = 0
    last_ns: int = 0

    def add(self, channel: int, sequence: int, log_ns: int, publish_ns: int, payload: bytes) -> None:
        if not self.data:
            self.first_ns = self.last_ns = log_ns
        self.first_ns = min(self.first_ns, log_ns)
        self.last_ns = max(self.last_ns, log_ns)
        self.indices.setdefault(channel, []).append((log_ns, len(self.data)))
        self.data += RECORD_HEAD.pack(Opcode.MESSAGE, MESSAGE_HEAD.size + len(payload))
        self.data += MESSAGE_HEAD.pack(channel, sequence & UINT32, log_ns, publish_ns)
        self.data += payload

    def clear(self) -> None:
        self.data = bytearray()
        self.indices = {}


class ContainerWriter:
    """Appends records to a new file; every call may raise ``OSError`` of the stream."""

    def __init__(self, stream: BinaryIO, library: str) -> None:
        self._stream = stream
        self._position = 0
        self.contents = Contents()
        compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        self._measurements = _OpenChunk(compressor.compress, CHUNK_BYTES)
        self._pictures = _OpenChunk(None, IMAGE_CHUNK_BYTES)
        builder = RecordBuilder()
        Header(PROFILE, library).write(builder)
        self._write(MAGIC + built(builder))

    @property
    def bytes_written(self) -> int:
        """Length of the file, without what is still collected."""
        return self._position

    def add_channel(self, topic: str, schema_name: str, schema: bytes, metadata: Mapping[str, str]) -> int:
        """Register a topic; equal schema names share one schema. Returns the channel's number."""
        contents = self.contents
        builder = RecordBuilder()
        schema_id = next((item.id for item in contents.schemas.values() if item.name == schema_name), None)
        if schema_id is None:
            schema_id = len(contents.schemas) + 1
            contents.schemas[schema_id] = Schema(schema_id, schema, "jsonschema", schema_name)
            contents.schemas[schema_id].write(builder)
        channel = Channel(len(contents.channels) + 1, topic, ENCODING, dict(metadata), schema_id)
        contents.channels[channel.id] = channel
        contents.counts[channel.id] = 0
        channel.write(builder)
        self._write(built(builder))
        return channel.id

    def add_metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Append a named table of texts."""
        builder = RecordBuilder()
        Metadata(name, dict(values)).write(builder)
        data = built(builder)
        self.contents.metadata.append(MetadataIndex(self._position, len(data), name))
        self._write(data)

    def add_message(
        self, channel: int, sequence: int, log_ns: int, publish_ns: int, payload: bytes, *, picture: bool = False
    ) -> None:
        """Collect a message; a full chunk goes to the stream. Pictures go to chunks that are not compressed."""
        chunk = self._pictures if picture else self._measurements
        chunk.add(channel, sequence, min(max(log_ns, 0), UINT64), min(max(publish_ns, 0), UINT64), payload)
        self.contents.counts[channel] += 1
        if len(chunk.data) >= chunk.limit:
            self._end_chunk(chunk)

    def flush(self) -> None:
        """Hand everything collected to the operating system."""
        self._end_chunk(self._measurements)
        self._end_chunk(self._pictures)
        self._stream.flush()

    def finish(self) -> None:
        """Write the index and the footer; the stream stays open."""
        self.flush()
        self._write(closing(self.contents, self._position))
        self._stream.flush()

    def _end_chunk(self, chunk: _OpenChunk) -> None:
        if not chunk.data:
            return
        data = bytes(chunk.data)
        packed = data if chunk.compress is None else chunk.compress(data)
        builder = RecordBuilder()
        Chunk(
            compression="" if chunk.compress is None else "zstd",
            data=packed,
            message_start_time=chunk.first_ns,
            message_end_time=chunk.last_ns,
            uncompressed_crc=zlib.crc32(data),
            uncompressed_size=len(data),
        ).write(builder)
        length = builder.count
        offsets = write_message_indices(builder, chunk.indices, self._position)
        index = ChunkIndex(
            chunk_length=length,
            chunk_start_offset=self._position,
            compression="" if chunk.compress is None else "zstd",
            compressed_size=len(packed),
            message_end_time=chunk.last_ns,
            message_index_length=builder.count - length,
            message_index_offsets=offsets,
            message_start_time=chunk.first_ns,
            uncompressed_size=len(data),
        )
        chunk.clear()
        self._write(built(builder))
        self.contents.chunks.append(index)

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._position += len(data)


def built(builder: RecordBuilder) -> bytes:
    """What a builder holds; it is empty afterwards."""
    return bytes(builder.end())  # type: ignore[no-untyped-call]


def write_message_indices(
    builder: RecordBuilder, indices: Mapping[int, list[tuple[int, int]]], start: int
) -> dict[int, int]:
    """Append one message index per channel; returns channel → offset in the file, the builder's start at ``start``."""
    offsets: dict[int, int] = {}
    for channel, entries in indices.items():
        offsets[channel] = start + builder.count
        MessageIndex(channel, entries).write(builder)
    return offsets


def closing(contents: Contents, position: int) -> bytes:
    """Everything from the end of the data on: data end, summary, summary offsets, footer, magic.

    Args:
        contents: what the file holds.
        position: where these bytes will stand in the file.
    """
    builder = RecordBuilder()
    DataEnd(0).write(builder)
    start = position + builder.count
    groups: tuple[tuple[Opcode, Iterable[Schema | Channel | Statistics | ChunkIndex | MetadataIndex]], ...] = (
        (Opcode.SCHEMA, contents.schemas.values()),
        (Opcode.CHANNEL, contents.channels.values()),
        (Opcode.STATISTICS, (contents.statistics(),)),
        (Opcode.CHUNK_INDEX, contents.chunks),
        (Opcode.METADATA_INDEX, contents.metadata),
    )
    offsets: list[SummaryOffset] = []
    for opcode, records in groups:
        group_start = position + builder.count
        for record in records:
            record.write(builder)
        offsets.append(SummaryOffset(opcode, group_start, position + builder.count - group_start))
    offset_start = position + builder.count
    for offset in offsets:
        if offset.group_length:
            offset.write(builder)
    data = built(builder)
    footer_head = RECORD_HEAD.pack(Opcode.FOOTER, FOOTER_BYTES - RECORD_HEAD.size) + struct.pack(
        "<QQ", start, offset_start
    )
    crc = zlib.crc32(footer_head, zlib.crc32(data[start - position :]))
    footer = RecordBuilder()
    Footer(summary_start=start, summary_offset_start=offset_start, summary_crc=crc).write(footer)
    return data + built(footer) + MAGIC
