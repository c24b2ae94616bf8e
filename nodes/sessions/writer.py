"""Write a session: one new MCAP file that survives whatever ends its writer.

``SessionWriter`` writes in the caller's thread; ``QueuedWriter`` puts a bounded
queue and a thread in front of it, so that a slow disk does not hold up the
reader of the bus.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO, get_type_hints

import numpy as np

from fusion.records import Image, Record
from nodes.errors import RequestError
from nodes.node import Envelope
from nodes.sessions.container import ContainerWriter
from nodes.sessions.index import SessionError
from nodes.sessions.lock import hold
from nodes.sessions.reader import END_ENTRY, GRAPH_ENTRY, PROFILE_ENTRY, SESSION_ENTRY, VERSIONS_ENTRY
from nodes.transport.codec import EncodeError, encode_flat
from nodes.transport.streams import split_topic

FORMAT_VERSION = "1"
FLUSH_S = 0.4
SYNC_S = 1.0
MIN_FREE_BYTES = 64 * 1024 * 1024
QUEUE_BYTES = 64 * 1024 * 1024
RECORD_OVERHEAD_BYTES = 256
"""What a queued record is taken to need beside its arrays."""
MAX_PARTS = 1000
_STAMP = "%Y%m%d-%H%M%S"
_VERSIONED = ("kinefuse", "numpy", "numba", "scipy", "pyzmq", "msgpack", "mcap", "zstandard", "pydantic")


class SessionWriteError(SessionError):
    """The file cannot be continued: disk full or failing."""

    exit_code = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """What a session file says about itself."""

    name: str
    time: str = "live"
    graph_text: str = ""
    profile_name: str = ""
    profile_text: str = ""
    more: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Further entries, e.g. what it was imported from."""


def new_path(target: Path, session: str) -> Path:
    """A free name: in a folder ``SESSION_DATE-TIME.mcap``; a file's own name, or ``NAME-2.mcap`` if it is taken."""
    if target.suffix == ".mcap":
        folder, stem = target.parent, target.stem
    else:
        folder, stem = target, f"{session}_{datetime.now().strftime(_STAMP)}"
    for part in range(1, MAX_PARTS):
        path = folder / (f"{stem}.mcap" if part == 1 else f"{stem}-{part}.mcap")
        if not path.exists():
            return path
    raise SessionError(f"{target}: {MAX_PARTS - 1} sessions of this name are there already; choose another name")


class SessionWriter:
    """Appends records to a new session file."""

    def __init__(
        self,
        path: Path,
        facts: SessionFacts,
        *,
        now: Callable[[], float] = time.monotonic,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        """Create the file.

        Raises:
            SessionError: if it exists or cannot be created.
        """
        self.path = path
        self._now = now
        self._free_bytes = free_bytes
        self._channels: dict[str, tuple[int, bool]] = {}
        self._dirty = False
        self.refused = 0
        """Records that no reader would accept and that were therefore not written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SessionError(f"{path}: its folder cannot be created: {error.strerror or error}") from error
        try:
            self._stream: BinaryIO = path.open("xb")
        except FileExistsError:
            raise SessionError(f"{path}: exists already; choose another name or remove it") from None
        except OSError as error:
            raise SessionError(f"{path}: cannot be created: {error.strerror or error}") from error
        hold(self._stream)
        try:
            self._container = ContainerWriter(self._stream, f"kinefuse {_version('kinefuse')}")
            self._describe(facts)
            self._flushed_s = self._synced_s = now()
            self.flush()
            self.sync()
        except (OSError, SessionError) as error:
            self._stream.close()
            with suppress(OSError):
                path.unlink()
            raise error if isinstance(error, SessionError) else self._failed(error) from error

    def _describe(self, facts: SessionFacts) -> None:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        about = {"name": facts.name, "time": facts.time, "started": started, "format": FORMAT_VERSION, **facts.more}
        self._container.add_metadata(SESSION_ENTRY, about)
        self._container.add_metadata(VERSIONS_ENTRY, software_versions())
        if facts.graph_text:
            self._container.add_metadata(GRAPH_ENTRY, {"text": facts.graph_text})
        if facts.profile_text:
            self._container.add_metadata(PROFILE_ENTRY, {"name": facts.profile_name, "text": facts.profile_text})

    @property
    def bytes_written(self) -> int:
        """Length of the file so far."""
        return self._container.bytes_written

    @property
    def counts(self) -> dict[str, int]:
        """Messages written per topic."""
        counts = self._container.contents.counts
        return {topic: counts[number] for topic, (number, _) in self._channels.items()}

    def write(self, envelope: Envelope, log_ns: int) -> None:
        """Append one record; collected until the chunk is full or ``tick`` finds it due.

        Raises:
            SessionWriteError: disk full or failing; the file stands up to the last flush.
        """
        try:
            payload = encode_flat(envelope)
        except EncodeError:
            self.refused += 1
            return
        self.write_encoded(envelope.topic, envelope.sequence, log_ns, envelope.published_ns, payload)

    def write_encoded(self, topic: str, sequence: int, log_ns: int, publish_ns: int, payload: bytes) -> None:
        """Append a record that is encoded already; raises as ``write``."""
        try:
            channel, picture = self._channels.get(topic) or self._new_channel(topic)
            self._container.add_message(channel, sequence, log_ns, publish_ns, payload, picture=picture)
        except OSError as error:
            raise self._failed(error) from error
        self._dirty = True

    def tick(self) -> None:
        """Flush and sync if it is time; call at least every ``FLUSH_S``. Raises as ``write``."""
        now = self._now()
        if now - self._flushed_s >= FLUSH_S:
            self.flush()
        if now - self._synced_s >= SYNC_S:
            self.sync()

    def flush(self) -> None:
        """Hand everything to the operating system: from here on it survives the end of this process."""
        self._flushed_s = self._now()
        try:
            self._container.flush()
        except OSError as error:
            raise self._failed(error) from error

    def sync(self) -> None:
        """Have the operating system write it to the disk, and look how much room is left there."""
        self._synced_s = self._now()
        if self._dirty:
            try:
                getattr(os, "fdatasync", os.fsync)(self._stream.fileno())
            except OSError as error:
                raise self._failed(error) from error
            self._dirty = False
        free = self._free_bytes(self.path.parent)
        if free < MIN_FREE_BYTES:
            raise SessionWriteError(
                f"{self.path}: only {free / 1e6:.0f} MB are free on this disk, {MIN_FREE_BYTES / 1e6:.0f} MB are kept; "
                "make room or record elsewhere; what was recorded is in the file"
            )

    def close(self, end: Mapping[str, str] | None = None) -> None:
        """Write index and footer; ``end`` is kept in the file as what the writer has to say at its end."""
        if self._stream.closed:
            return
        try:
            self._container.flush()
            if end:
                self._container.add_metadata(END_ENTRY, end)
            self._container.finish()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise self._failed(error) from error
        finally:
            with suppress(OSError):
                self._stream.close()

    def _new_channel(self, topic: str) -> tuple[int, bool]:
        _, stream = split_topic(topic)
        about = {"queue": stream.queue, "about": stream.about}
        number = self._container.add_channel(topic, stream.record.kind, record_schema(stream.record), about)
        self._channels[topic] = number, stream.record is Image
        return self._channels[topic]

    def _failed(self, error: OSError) -> SessionWriteError:
        return SessionWriteError(
            f"{self.path}: writing failed: {error.strerror or error}; what was flushed before is in the file "
            f"(kinefuse session recover {self.path.name})"
        )


class QueuedWriter:
    """A ``SessionWriter`` behind a bounded queue and a thread of its own."""

    def __init__(self, writer: SessionWriter, *, queue_bytes: int = QUEUE_BYTES, jpeg_quality: int = 0) -> None:
        self.writer = writer
        self.dropped = 0
        """Records for which the queue had no room."""
        self.failure: SessionError | None = None
        self._limit = queue_bytes
        self._jpeg_quality = jpeg_quality
        self._waiting: deque[tuple[Envelope, int, int]] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="session-writer", daemon=True)
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """Size of what is in the queue."""
        return self._waiting_bytes

    def put(self, envelope: Envelope, log_ns: int, *, wait: bool = False) -> bool:
        """Queue a record; False if there is no room (it is counted), or wait for room.

        Raises:
            SessionError: what ended the writing.
        """
        size = _size_of(envelope.record)
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._has_room(size) or self.failure is not None)
            if self.failure is not None:
                raise self.failure
            if not self._has_room(size):
                self.dropped += 1
                return False
            self._waiting.append((envelope, log_ns, size))
            self._waiting_bytes += size
            self._changed.notify_all()
        return True

    def _has_room(self, size: int) -> bool:
        return not self._waiting or self._waiting_bytes + size <= self._limit

    def close(self, end: Mapping[str, str] | None = None) -> None:
        """Write what is queued and close the file.

        Raises:
            SessionError: what ended the writing; the file is closed as well as the disk allows.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        facts = {"dropped": str(self.dropped), "refused": str(self.writer.refused), **(end or {})}
        if self.failure is None:
            self.writer.close(facts)
            return
        with suppress(SessionError):
            self.writer.close({**facts, "failure": str(self.failure)})
        raise self.failure

    def _work(self) -> None:
        try:
            while self._write_waiting():
                self.writer.tick()
        except SessionError as error:
            with self._changed:
                self.failure = error
                self._changed.notify_all()

    def _write_waiting(self) -> bool:
        """Write one batch; False once closing and empty."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._closing, timeout=FLUSH_S / 2)
            batch = list(self._waiting)
            self._waiting.clear()
        for envelope, log_ns, size in batch:
            self.writer.write(self._compact(envelope), log_ns)
            self.writer.tick()
            with self._changed:
                self._waiting_bytes -= size
                self._changed.notify_all()
        return bool(batch) or not self._closing

    def _compact(self, envelope: Envelope) -> Envelope:
        """A raw picture as JPEG, if that is wanted."""
        record = envelope.record
        if not (self._jpeg_quality and isinstance(record, Image) and record.encoding == "bgr8"):
            return envelope
        import cv2

        pixels = record.data.reshape(record.height, record.width, 3)
        done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, self._jpeg_quality])
        if not done:
            return envelope
        jpeg = dataclasses.replace(record, encoding="jpeg", data=np.ascontiguousarray(data, np.uint8).reshape(-1))
        return dataclasses.replace(envelope, record=jpeg)


def _size_of(record: Record) -> int:
    arrays = (getattr(record, item.name) for item in dataclasses.fields(record) if "shape" in item.metadata)
    return RECORD_OVERHEAD_BYTES + sum(int(array.nbytes) for array in arrays)


def software_versions() -> dict[str, str]:
    """Versions of what made a file."""
    packages = {name: _version(name) for name in _VERSIONED}
    return {**packages, "python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def record_schema(record: type[Record]) -> bytes:
    """JSON Schema of the payload: the map that ``nodes.transport.codec`` describes."""
    hints = get_type_hints(record)
    arrays: list[dict[str, Any]] = []
    plain: dict[str, Any] = {}
    for item in dataclasses.fields(record):
        if "shape" in item.metadata:
            arrays.append({"name": item.name, "dtype": item.metadata["dtype"].str, "shape": item.metadata["shape"]})
        elif item.name not in ("measured_ns", "received_ns"):
            plain[item.name] = _json_type(hints[item.name])
    integer = {"type": "integer"}
    properties = {
        "v": integer,
        "kind": {"const": record.kind},
        "seq": integer,
        "pub": integer,
        "cause": integer,
        "m": {"type": "integer", "description": "measured_ns"},
        "r": {"type": "integer", "description": "received_ns"},
        "t": {"type": "string", "description": "topic"},
        "f": {"type": "object", "properties": plain},
        "a": {"type": "array", "description": "name, dtype and shape of each array", "x-arrays": arrays},
        "b": {"type": "array", "description": "the arrays' bytes, little endian, row major"},
    }
    return json.dumps({"title": record.kind, "type": "object", "properties": properties}).encode()


def _json_type(hint: Any) -> dict[str, Any]:
    names = {int: "integer", float: "number", str: "string"}
    return {"type": names.get(hint, "object" if "dict" in str(hint) else "array")}


def read_profile_text(path: str | None) -> tuple[str, str]:
    """Name and text of a profile file, for the record; empty without one.

    Raises:
        RequestError: if it cannot be read.
    """
    if path is None:
        return "", ""
    try:
        return Path(path).name, Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"profile {path}: cannot be read: {error}") from error
