"""Records to bytes and back.

On the bus a record is a multipart message: the topic, a msgpack header, and
each array's raw buffer. In a file it is one msgpack map: the same header with
the buffers under the last key, ``b``.

The header is a map with exactly these keys:

=========  =====================================================================
``v``      schema number, ``SCHEMA``
``kind``   the record's kind
``seq``    sequence number within the topic, from 0
``pub``    published_ns
``cause``  cause_published_ns
``m``      measured_ns
``r``      received_ns
``f``      the record's other fields that are not arrays
``a``      the arrays, in order: ``[name, dtype, shape]``; those that a later
           version added may be missing at the end
=========  =====================================================================

Rules for what is read: nothing that arrives is trusted. Each bound is checked
before memory is taken for what it bounds, and whatever is wrong raises
``DecodeError`` and nothing else. Arrays come out as read-only views of the
buffers they arrived in; one whose buffer is not aligned for its type is copied,
since compiled kernels treat it as another type.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, get_type_hints

import msgpack
import numpy as np

from fusion.records import Array, Record, RecordError, unknown_array
from nodes.node import Envelope
from nodes.transport.streams import STREAMS, split_topic

SCHEMA = 1
MAX_TOPIC_BYTES = 256
MAX_HEADER_BYTES = 64 * 1024
MAX_ARRAYS = 32
MAX_DIMENSIONS = 8
MAX_TOTAL_BYTES = 64 * 1024 * 1024
"""All parts of one message together."""

DTYPES: Mapping[str, np.dtype[Any]] = {
    np.dtype(name).str: np.dtype(name)
    for name in ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")
}

_HEADER_KEYS = frozenset({"v", "kind", "seq", "pub", "cause", "m", "r", "f", "a"})
_FLAT_KEYS = _HEADER_KEYS | {"t", "b"}
_TIME_FIELDS = ("measured_ns", "received_ns")
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1

Buffer = bytes | bytearray | memoryview


class DecodeError(ValueError):
    """Bytes that are not a record of this schema."""


class EncodeError(ValueError):
    """A record that no reader would accept."""


# --- Fields that are not arrays -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Scalar:
    """How one type of plain field is written and checked."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _read_int(value: Any) -> int:
    if type(value) is not int or not _INT64_MIN <= value <= _INT64_MAX:
        raise DecodeError(f"{_shown(value)} is no 64-bit integer")
    return value


def _read_float(value: Any) -> float:
    if type(value) not in (int, float):
        raise DecodeError(f"{_shown(value)} is no number")
    return float(value)


def _read_str(value: Any) -> str:
    if type(value) is not str:
        raise DecodeError(f"{_shown(value)} is no text")
    return value


def _read_texts(value: Any) -> tuple[str, ...]:
    if type(value) is not list:
        raise DecodeError(f"{_shown(value)} is no list of texts")
    return tuple(_read_str(item) for item in value)


def _read_figures(value: Any) -> dict[str, float]:
    if type(value) is not dict:
        raise DecodeError(f"{_shown(value)} is no map of numbers")
    return {_read_str(name): _read_float(figure) for name, figure in value.items()}


def _shown(value: Any) -> str:
    """A short text for an error message, whatever ``value`` is."""
    return f"{type(value).__name__} {value!r}"[:80]


def _write_figures(value: Mapping[str, float]) -> dict[str, float]:
    return {str(name): float(figure) for name, figure in value.items()}


_SCALARS: Mapping[Any, _Scalar] = {
    int: _Scalar(operator.index, _read_int),
    float: _Scalar(float, _read_float),
    str: _Scalar(str, _read_str),
    tuple[str, ...]: _Scalar(lambda value: [str(item) for item in value], _read_texts),
    dict[str, float]: _Scalar(_write_figures, _read_figures),
}


# --- The layout of each kind ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Layout:
    """Fields of one kind of record, derived from its class."""

    record: type[Record]
    scalars: Mapping[str, _Scalar]
    arrays: tuple[str, ...]
    required: int
    """How many of the arrays every version has written; the rest come after them."""


def _layout(record: type[Record]) -> _Layout:
    hints = get_type_hints(record)
    declared = [item for item in fields(record) if "shape" in item.metadata]
    arrays = tuple(item.name for item in declared)
    required = sum(not item.metadata["added"] for item in declared)
    plain = [item.name for item in fields(record) if item.name not in (*arrays, *_TIME_FIELDS)]
    return _Layout(record, {name: _SCALARS[hints[name]] for name in plain}, arrays, required)


_LAYOUTS: Mapping[str, _Layout] = {stream.record.kind: _layout(stream.record) for stream in STREAMS.values()}


@lru_cache(maxsize=1024)
def _layout_of_topic(topic: str) -> _Layout:
    return _LAYOUTS[split_topic(topic)[1].record.kind]


# --- Writing ----------------------------------------------------------------------------------


def encode(envelope: Envelope) -> list[Buffer]:
    """The parts of a multipart message; the buffers are the record's own arrays, not copies.

    Raises:
        EncodeError: if the record does not belong on the topic or exceeds the bounds.
    """
    header, buffers = _header(envelope)
    packed = msgpack.packb(header)
    _check_sizes(envelope, packed, buffers)
    return [envelope.topic.encode(), packed, *buffers]


def encode_flat(envelope: Envelope) -> bytes:
    """One msgpack map that holds everything; ``t`` is the topic and ``b`` the list of buffers.

    Raises:
        EncodeError: if the record does not belong on the topic or exceeds the bounds.
    """
    header, buffers = _header(envelope)
    header["t"] = envelope.topic
    packed = msgpack.packb(header)
    _check_sizes(envelope, packed, buffers)
    # ``b`` must be the last key, so that a reader can bound the header before it takes any buffer.
    packer = msgpack.Packer()
    parts: list[Buffer] = [packer.pack_map_header(len(header) + 1), *_packed_items(header)]
    parts += [msgpack.packb("b"), packer.pack_array_header(len(buffers))]
    for buffer in buffers:
        parts += [_bin_header(_nbytes(buffer)), buffer]
    return b"".join(parts)


def _packed_items(header: Mapping[str, Any]) -> list[Buffer]:
    return [msgpack.packb(part) for item in header.items() for part in item]


def _bin_header(size: int) -> bytes:
    return b"\xc6" + size.to_bytes(4, "big")


def _header(envelope: Envelope) -> tuple[dict[str, Any], list[Buffer]]:
    record = envelope.record
    try:
        layout = _layout_of_topic(envelope.topic)
    except ValueError as error:
        raise EncodeError(str(error)) from None
    if layout.record is not type(record):
        raise EncodeError(f"topic {envelope.topic!r} carries {layout.record.kind}, not {type(record).__name__}")
    buffers: list[Buffer] = []
    described: list[list[Any]] = []
    for name in layout.arrays:
        array = np.ascontiguousarray(getattr(record, name))
        if array.dtype.str not in DTYPES:
            raise EncodeError(f"{record.kind}.{name}: dtype {array.dtype}, allowed: {', '.join(DTYPES)}")
        described.append([name, array.dtype.str, list(array.shape)])
        buffers.append(_bytes_view(array))
    header = {
        "v": SCHEMA,
        "kind": record.kind,
        "seq": operator.index(envelope.sequence),
        "pub": operator.index(envelope.published_ns),
        "cause": operator.index(envelope.cause_published_ns),
        "m": operator.index(record.measured_ns),
        "r": operator.index(record.received_ns),
        "f": {name: scalar.write(getattr(record, name)) for name, scalar in layout.scalars.items()},
        "a": described,
    }
    return header, buffers


def _bytes_view(array: Array) -> Buffer:
    if array.size == 0:
        return b""
    return array.reshape(-1).view(np.uint8).data


def _nbytes(buffer: Buffer) -> int:
    return buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)


def _check_sizes(envelope: Envelope, packed: bytes, buffers: Sequence[Buffer]) -> None:
    topic_bytes = len(envelope.topic.encode())
    total = topic_bytes + len(packed) + sum(map(_nbytes, buffers))
    for what, size, limit in (
        ("topic", topic_bytes, MAX_TOPIC_BYTES),
        ("header", len(packed), MAX_HEADER_BYTES),
        ("message", total, MAX_TOTAL_BYTES),
    ):
        if size > limit:
            raise EncodeError(f"{envelope.topic[:MAX_TOPIC_BYTES]}: {what} of {size} bytes, at most {limit}")


# --- Reading ----------------------------------------------------------------------------------


def decode(frames: Sequence[Buffer]) -> Envelope:
    """A record from the parts of a multipart message.

    Raises:
        DecodeError: if the parts are not a record of this schema.
    """
    if not 2 <= len(frames) <= 2 + MAX_ARRAYS:
        raise DecodeError(f"{len(frames)} parts, expected topic, header and at most {MAX_ARRAYS} arrays")
    views = [_view(frame) for frame in frames]
    if sum(view.nbytes for view in views) > MAX_TOTAL_BYTES:
        raise DecodeError(f"message of more than {MAX_TOTAL_BYTES} bytes")
    if views[0].nbytes > MAX_TOPIC_BYTES:
        raise DecodeError(f"topic of {views[0].nbytes} bytes, at most {MAX_TOPIC_BYTES}")
    if views[1].nbytes > MAX_HEADER_BYTES:
        raise DecodeError(f"header of {views[1].nbytes} bytes, at most {MAX_HEADER_BYTES}")
    try:
        topic = str(views[0], "utf-8")
    except UnicodeDecodeError:
        raise DecodeError("topic is not UTF-8") from None
    header = _unpack(views[1])
    if type(header) is not dict or header.keys() != _HEADER_KEYS:
        raise DecodeError("header is not a map with exactly the keys of the schema")
    return _envelope(topic, header, views[2:])


def decode_flat(buffer: Buffer) -> Envelope:
    """A record from the one msgpack map that ``encode_flat`` writes.

    Raises:
        DecodeError: if the bytes are not a record of this schema.
    """
    view = _view(buffer)
    if view.nbytes > MAX_TOTAL_BYTES + MAX_HEADER_BYTES:
        raise DecodeError(f"message of more than {MAX_TOTAL_BYTES} bytes")
    header, count, start = _flat_header(view)
    topic = _read_str(header.pop("t"))
    if len(topic.encode(errors="replace")) > MAX_TOPIC_BYTES:
        raise DecodeError(f"topic of more than {MAX_TOPIC_BYTES} bytes")
    return _envelope(topic, header, _flat_buffers(view, count, start))


def _view(buffer: Buffer) -> memoryview:
    try:
        view = memoryview(buffer)
        return view if view.format == "B" and view.ndim == 1 else view.cast("B")
    except (TypeError, ValueError):
        raise DecodeError("a part is not a contiguous buffer") from None


_UNPACK_ERRORS = (msgpack.UnpackException, ValueError, TypeError, OverflowError, RecursionError)
_UNPACK_BOUNDS: Mapping[str, Any] = {"raw": False, "strict_map_key": True, "max_ext_len": 0, "max_bin_len": 0}


def _unpack(view: memoryview) -> Any:
    try:
        return msgpack.unpackb(view, **_UNPACK_BOUNDS)
    except _UNPACK_ERRORS as error:
        raise DecodeError(f"header is not msgpack: {type(error).__name__}") from None


def _flat_header(view: memoryview) -> tuple[dict[str, Any], int, int]:
    """The header's items, the number of buffers, and where the first buffer starts.

    Only the first ``MAX_HEADER_BYTES`` are given to the unpacker: a small input
    can describe a very large object.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=2 * MAX_HEADER_BYTES, **_UNPACK_BOUNDS)
    header: dict[str, Any] = {}
    try:
        unpacker.feed(view[:MAX_HEADER_BYTES])
        if unpacker.read_map_header() != len(_FLAT_KEYS):
            raise DecodeError("map does not have exactly the keys of the schema")
        for _ in range(len(_FLAT_KEYS) - 1):
            key = _read_str(unpacker.unpack())
            header[key] = unpacker.unpack()
        last = _read_str(unpacker.unpack())
        count = unpacker.read_array_header()
        start = unpacker.tell()
    except DecodeError:
        raise
    except _UNPACK_ERRORS as error:
        raise DecodeError(f"header is not msgpack: {type(error).__name__}") from None
    if last != "b" or header.keys() | {last} != _FLAT_KEYS:
        raise DecodeError("map does not have exactly the keys of the schema, with b the last")
    return header, count, start


def _flat_buffers(view: memoryview, count: int, start: int) -> list[memoryview]:
    if count > MAX_ARRAYS:
        raise DecodeError(f"{count} buffers, at most {MAX_ARRAYS}")
    buffers = []
    for _ in range(count):
        if view.nbytes < start + 5 or view[start] != 0xC6:
            raise DecodeError("a buffer's length is missing")
        end = start + 5 + int.from_bytes(view[start + 1 : start + 5], "big")
        if end > view.nbytes:
            raise DecodeError("a buffer is cut short")
        buffers.append(view[start + 5 : end])
        start = end
    if start != view.nbytes:
        raise DecodeError(f"{view.nbytes - start} bytes after the last buffer")
    return buffers


def _envelope(topic: str, header: Mapping[str, Any], buffers: Sequence[memoryview]) -> Envelope:
    if type(header["v"]) is not int or header["v"] != SCHEMA:
        raise DecodeError(f"schema {_shown(header['v'])}, this software reads {SCHEMA}")
    layout = _known_layout(topic, header["kind"])
    arrays = _arrays(layout, header["a"], buffers)
    record = layout.record(
        measured_ns=_read_int(header["m"]),
        received_ns=_read_int(header["r"]),
        **_plain_fields(layout, header["f"]),
        **arrays,
    )
    try:
        record.validate()
    except RecordError as error:
        raise DecodeError(str(error)) from None
    sequence = _read_int(header["seq"])
    if sequence < 0:
        raise DecodeError(f"sequence {sequence}")
    return Envelope(topic, sequence, _read_int(header["pub"]), _read_int(header["cause"]), record)


def _known_layout(topic: str, kind: Any) -> _Layout:
    try:
        layout = _layout_of_topic(topic)
    except ValueError:
        raise DecodeError(f"topic {topic[:80]!r} is not NODE/STREAM with a known stream") from None
    if kind != layout.record.kind:
        raise DecodeError(f"kind {_shown(kind)} on topic {topic[:80]!r}, expected {layout.record.kind}")
    return layout


def _plain_fields(layout: _Layout, values: Any) -> dict[str, Any]:
    if type(values) is not dict or values.keys() != layout.scalars.keys():
        raise DecodeError(f"{layout.record.kind}: fields are not exactly {', '.join(layout.scalars) or 'none'}")
    return {name: scalar.read(values[name]) for name, scalar in layout.scalars.items()}


def _arrays(layout: _Layout, described: Any, buffers: Sequence[memoryview]) -> dict[str, Array]:
    if type(described) is not list or len(described) != len(buffers):
        raise DecodeError(f"{layout.record.kind}: not as many arrays as buffers")
    if not layout.required <= len(described) <= len(layout.arrays):
        raise DecodeError(f"{layout.record.kind}: arrays are not exactly {', '.join(layout.arrays) or 'none'}")
    arrays: dict[str, Array] = {}
    for name, description, buffer in zip(layout.arrays, described, buffers, strict=False):
        arrays[name] = _array(f"{layout.record.kind}.{name}", name, description, buffer)
    for name in layout.arrays[len(described) :]:
        arrays[name] = unknown_array(layout.record, name, arrays)
    return arrays


def _array(where: str, name: str, description: Any, buffer: memoryview) -> Array:
    if type(description) is not list or len(description) != 3 or description[0] != name:
        raise DecodeError(f"{where}: described as {_shown(description)}")
    _, dtype_text, shape = description
    dtype = DTYPES.get(dtype_text) if type(dtype_text) is str else None
    if dtype is None:
        raise DecodeError(f"{where}: dtype {_shown(dtype_text)}, allowed: {', '.join(DTYPES)}")
    if type(shape) is not list or len(shape) > MAX_DIMENSIONS:
        raise DecodeError(f"{where}: shape {_shown(shape)}")
    if not all(type(length) is int and 0 <= length <= MAX_TOTAL_BYTES for length in shape):
        raise DecodeError(f"{where}: shape {_shown(shape)}")
    if math.prod(shape) * dtype.itemsize != buffer.nbytes:
        raise DecodeError(f"{where}: shape {_shown(shape)} of {dtype} is not {buffer.nbytes} bytes")
    try:
        array = np.frombuffer(buffer, dtype).reshape(shape) if buffer.nbytes else np.empty(shape, dtype)
    except ValueError:
        raise DecodeError(f"{where}: shape {_shown(shape)}") from None
    if not array.flags.aligned:
        array = array.copy()
    array.flags.writeable = False
    return array
