"""Make a torn session whole: cut it after its last whole record, add index and footer."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mcap.data_stream import RecordBuilder

from nodes.sessions.container import built, closing, write_message_indices
from nodes.sessions.index import (
    DamagedError,
    FileIndex,
    SessionError,
    chunk_messages,
    index_file,
    read_message_index,
    unpack_chunk,
)
from nodes.sessions.lock import being_written

COPY_BYTES = 4 * 1024 * 1024
SPARE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What was done."""

    path: Path
    repaired: bool
    """False if the file was whole already."""
    reason: str
    """What was wrong."""
    messages: int
    cut_bytes: int
    """What stood after the last whole record."""


def repair(path: Path) -> RepairReport:
    """Repair a file in its place; the old file stays until the new one is whole.

    Raises:
        SessionError: not a session, still being written, or no room or right to write.
    """
    try:
        if being_written(path):
            raise SessionError(f"{path}: is being recorded at this moment; stop the recording first")
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            index = index_file(stream, size, str(path))
            if index.complete:
                return RepairReport(path, False, "", sum(index.contents.counts.values()), 0)
            tail = _mend(stream, size, index)
            _replace(path, stream, index.end, tail)
    except OSError as error:
        raise SessionError(f"{path}: cannot be repaired: {error.strerror or error}") from error
    return RepairReport(path, True, index.reason, sum(index.contents.counts.values()), max(size - index.end, 0))


def _mend(stream: BinaryIO, size: int, index: FileIndex) -> bytes:
    """Bytes to follow ``index.end``: the last chunk's message indices, summary and footer.

    Message indices follow their chunk, so a tear may have taken some of the last
    chunk's; they are made again. A chunk that does not unpack goes with the tear.
    """
    contents = index.contents
    builder = RecordBuilder()
    while contents.chunks and _ends_with_chunk(index):
        chunk = contents.chunks[-1]
        _forget_counts(stream, index, size)
        try:
            data = unpack_chunk(stream, chunk, size)
        except DamagedError:
            contents.chunks.pop()
            index.end = chunk.chunk_start_offset
            continue
        entries: dict[int, list[tuple[int, int]]] = {}
        for channel, _, log_ns, _, offset, _ in chunk_messages(data):
            entries.setdefault(channel, []).append((log_ns, offset))
        index.end = chunk.chunk_start_offset + chunk.chunk_length
        chunk.message_index_offsets = write_message_indices(builder, entries, index.end)
        chunk.message_index_length = builder.count
        for channel, times in entries.items():
            contents.counts[channel] = contents.counts.get(channel, 0) + len(times)
        break
    head = built(builder)
    return head + closing(contents, index.end + len(head))


def _ends_with_chunk(index: FileIndex) -> bool:
    chunk = index.contents.chunks[-1]
    return index.end <= chunk.chunk_start_offset + chunk.chunk_length + chunk.message_index_length


def _forget_counts(stream: BinaryIO, index: FileIndex, size: int) -> None:
    """Take back what the last chunk's message indices added to the counts."""
    chunk = index.contents.chunks[-1]
    for channel, offset in chunk.message_index_offsets.items():
        index.contents.counts[channel] -= len(read_message_index(stream, offset, size).records)


def _replace(path: Path, stream: BinaryIO, length: int, tail: bytes) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < length + len(tail) + SPARE_BYTES:
        needed_mb, free_mb = (length + len(tail)) / 1e6, free / 1e6
        raise SessionError(
            f"{path}: repairing needs {needed_mb:.0f} MB beside the file, {free_mb:.0f} MB are free; make room "
            "(the torn file can be read as it is)"
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.repairing")
    try:
        with temporary.open("xb") as output:
            stream.seek(0)
            left = length
            while left:
                data = stream.read(min(left, COPY_BYTES))
                if not data:
                    raise SessionError(f"{path}: became shorter while it was read; is somebody writing to it?")
                output.write(data)
                left -= len(data)
            output.write(tail)
            output.flush()
            os.fsync(output.fileno())
        shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
