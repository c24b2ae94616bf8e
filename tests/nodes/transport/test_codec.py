"""Every record survives the wire, and nothing else gets in."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, get_type_hints

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion.records import Image, Landmarks2D, People, Record, StreamEnd
from nodes.node import Envelope
from nodes.transport import codec
from nodes.transport.codec import DecodeError, EncodeError, decode, decode_flat, encode, encode_flat
from nodes.transport.streams import STREAMS

INT64 = st.integers(-(2**63), 2**63 - 1)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    int: INT64,
    float: st.floats(),
    str: st.text(max_size=40),
    tuple[str, ...]: st.lists(st.text(max_size=20), max_size=5).map(tuple),
    dict[str, float]: st.dictionaries(st.text(max_size=20), st.floats(), max_size=5),
}


@st.composite
def records(draw: st.DrawFn) -> tuple[str, Record]:
    """A topic and a record of its kind, with lengths, fields and array bytes drawn at random."""
    stream = draw(st.sampled_from(sorted(STREAMS)))
    kind = STREAMS[stream].record
    if kind is Image:
        return f"cam/{stream}", draw(images())
    hints = get_type_hints(kind)
    lengths: dict[str, int] = {}
    values: dict[str, Any] = {}
    for item in fields(kind):
        if "shape" not in item.metadata:
            values[item.name] = draw(PLAIN[hints[item.name]])
            continue
        shape = [
            lengths.setdefault(part, draw(st.integers(0, 3))) if isinstance(part, str) else part
            for part in item.metadata["shape"]
        ]
        dtype = item.metadata["dtype"]
        size = int(np.prod(shape)) * dtype.itemsize
        values[item.name] = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype).reshape(shape)
    if "sensors" in values:
        values["sensors"] = tuple("abc"[: lengths["sensors"]])
    if "sources" in values:
        values["sources"] = tuple("abc"[: lengths["sources"]])
    if "directions" in values:
        values["topics"] = values["directions"] = ("x",) * lengths["streams"]
    return f"node/{stream}", kind(**values)


@st.composite
def images(draw: st.DrawFn) -> Image:
    width, height = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    size = width * height * 3
    data = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8)
    return Image(
        measured_ns=draw(INT64),
        received_ns=draw(INT64),
        camera=draw(st.text(max_size=10)),
        index=draw(INT64),
        width=width,
        height=height,
        encoding="bgr8",
        data=data,
    )


ENVELOPES = st.builds(
    lambda pair, sequence, published, cause: Envelope(pair[0], sequence, published, cause, pair[1]),
    records(),
    st.integers(0, 2**63 - 1),
    INT64,
    INT64,
)


def same(left: Any, right: Any) -> bool:
    """Equal, with NaN equal to itself and arrays compared bit by bit."""
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and (left == right or (left != left and right != right))


def assert_same(left: Envelope, right: Envelope) -> None:
    assert (left.topic, left.sequence) == (right.topic, right.sequence)
    assert (left.published_ns, left.cause_published_ns) == (right.published_ns, right.cause_published_ns)
    assert type(left.record) is type(right.record)
    for item in fields(left.record):
        assert same(getattr(left.record, item.name), getattr(right.record, item.name)), item.name


def landmarks(people: int = 2) -> Landmarks2D:
    return Landmarks2D(
        measured_ns=1,
        received_ns=2,
        camera="cam",
        landmark_set="coco_17",
        image_width=1280,
        image_height=720,
        pixels=np.arange(people * 34, dtype=np.float32).reshape(people, 17, 2),
        scores=np.ones((people, 17), np.float32),
    )


ENVELOPE = Envelope("cam/landmarks", 3, 10, 5, landmarks())


def wire(envelope: Envelope) -> list[bytes]:
    return [bytes(part) for part in encode(envelope)]


def changed(**changes: Any) -> list[bytes]:
    """The parts of ``ENVELOPE`` with header keys replaced; None takes a key away."""
    topic, header, *arrays = wire(ENVELOPE)
    values = {**msgpack.unpackb(header), **changes}
    return [topic, msgpack.packb({key: value for key, value in values.items() if value is not ...}), *arrays]


@given(ENVELOPES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_record_comes_back_as_it_was(envelope: Envelope) -> None:
    assert_same(decode(wire(envelope)), envelope)
    assert_same(decode_flat(encode_flat(envelope)), envelope)


def test_arrays_are_not_copied_either_way() -> None:
    record = landmarks()
    parts = encode(Envelope("cam/landmarks", 0, 0, 0, record))
    sent = np.frombuffer(parts[2], np.uint8)
    assert np.shares_memory(sent, record.pixels)
    received = bytearray(parts[2])
    back = decode([parts[0], parts[1], memoryview(received), parts[3]]).record
    assert isinstance(back, Landmarks2D)
    assert np.shares_memory(back.pixels, np.frombuffer(received, np.uint8))


def test_arrays_of_a_flat_message_are_views_of_it_where_they_are_aligned() -> None:
    data = np.arange(12, dtype=np.uint8)
    record = Image(measured_ns=0, received_ns=0, camera="c", index=0, width=2, height=2, encoding="bgr8", data=data)
    flat = encode_flat(Envelope("c/image", 0, 0, 0, record))
    back = decode_flat(flat).record
    assert isinstance(back, Image)
    assert np.shares_memory(back.data, np.frombuffer(flat, np.uint8))


def test_arrays_are_read_only_and_aligned() -> None:
    topic, header, *arrays = wire(ENVELOPE)
    shifted = bytearray(1 + len(arrays[0]))
    shifted[1:] = arrays[0]
    back = decode([topic, header, memoryview(shifted)[1:], arrays[1]]).record
    assert isinstance(back, Landmarks2D)
    for array in (back.pixels, back.scores):
        assert array.flags.aligned
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@given(st.lists(st.binary(max_size=300), max_size=40))
@settings(max_examples=300, deadline=None)
def test_random_parts_are_refused(parts: list[bytes]) -> None:
    with pytest.raises(DecodeError):
        decode(parts)


@given(st.binary(max_size=2000))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_flat(data)


@given(ENVELOPES, st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_message_is_refused_or_read_as_a_valid_record(envelope: Envelope, data: st.DataObject) -> None:
    parts = wire(envelope)
    which = data.draw(st.integers(0, min(1, len(parts) - 1)))
    parts[which] = damaged(parts[which], data)
    read_or_refuse(lambda: decode(parts))
    flat = damaged(encode_flat(envelope), data)
    read_or_refuse(lambda: decode_flat(flat))


def damaged(data: bytes, draw: st.DataObject) -> bytes:
    """Bytes changed, cut out or put in."""
    start = draw.draw(st.integers(0, len(data)))
    end = draw.draw(st.integers(start, min(len(data), start + 4)))
    return data[:start] + draw.draw(st.binary(max_size=4)) + data[end:]


def read_or_refuse(read: Any) -> None:
    try:
        envelope = read()
    except DecodeError:
        return
    envelope.record.validate()


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(sorted(codec._HEADER_KEYS)), VALUES)
@settings(max_examples=400, deadline=None)
def test_any_value_in_any_key_is_refused_or_valid(key: str, value: Any) -> None:
    read_or_refuse(lambda: decode(changed(**{key: value})))


@pytest.mark.parametrize("key", sorted(codec._HEADER_KEYS))
def test_a_missing_key_is_refused(key: str) -> None:
    with pytest.raises(DecodeError):
        decode(changed(**{key: ...}))


GOOD_FIELDS = {"camera": "cam", "landmark_set": "coco_17", "image_width": 1280, "image_height": 720}
GOOD_ARRAYS = [["pixels", "<f4", [2, 17, 2]], ["scores", "<f4", [2, 17]]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"v": 2}, "schema"),
        ({"v": True}, "schema"),
        ({"kind": "image"}, "kind"),
        ({"kind": "unheard-of"}, "kind"),
        ({"kind": ["landmarks"]}, "kind"),
        ({"more": 1}, "keys"),
        ({"seq": -1}, "sequence"),
        ({"seq": True}, "integer"),
        ({"m": 2**63}, "integer"),
        ({"m": 1.5}, "integer"),
        ({"f": {**GOOD_FIELDS, "more": 1}}, "fields"),
        ({"f": {key: GOOD_FIELDS[key] for key in ("camera", "landmark_set", "image_width")}}, "fields"),
        ({"f": {**GOOD_FIELDS, "camera": 7}}, "no text"),
        ({"f": {**GOOD_FIELDS, "image_width": "7"}}, "integer"),
        ({"a": GOOD_ARRAYS[:1]}, "arrays"),
        ({"a": [*GOOD_ARRAYS, ["more", "<f4", [1]]]}, "arrays"),
        ({"a": [["other", "<f4", [2, 17, 2]], GOOD_ARRAYS[1]]}, "described"),
        ({"a": [["pixels", "|O", [2, 17, 2]], GOOD_ARRAYS[1]]}, "dtype"),
        ({"a": [["pixels", "<f4,<f4", [2, 17]], GOOD_ARRAYS[1]]}, "dtype"),
        ({"a": [["pixels", "<f8", [17, 2]], GOOD_ARRAYS[1]]}, "dtype"),
        ({"a": [["pixels", "<f4", [2, 17, 3]], GOOD_ARRAYS[1]]}, "bytes"),
        ({"a": [["pixels", "<f4", [-2, -17, 2]], GOOD_ARRAYS[1]]}, "shape"),
        ({"a": [["pixels", "<f4", [2**62, 17, 2]], GOOD_ARRAYS[1]]}, "shape"),
        ({"a": [["pixels", "<f4", [True, 34, 2]], GOOD_ARRAYS[1]]}, "shape"),
        ({"a": [["pixels", "<f4", [1] * 9], GOOD_ARRAYS[1]]}, "shape"),
        ({"a": [["pixels", "<f4", [1, 34, 2]], GOOD_ARRAYS[1]]}, "expected"),
    ],
)
def test_wrong_headers_are_refused_with_the_reason(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        decode(changed(**changes))


def people(count: int) -> People:
    """People with random figures in every array."""
    generator = np.random.default_rng(count)
    lengths = {"people": count, "joints": 23, "coordinates": 44, "lengths": 11, "angles": 41}
    arrays: dict[str, Any] = {}
    for item in fields(People):
        if "shape" in item.metadata:
            shape = [lengths.get(part, part) for part in item.metadata["shape"]]
            arrays[item.name] = generator.integers(0, 9, shape).astype(item.metadata["dtype"])
    return People(measured_ns=1, received_ns=2, skeleton="kinefuse_23", **arrays)


def as_before_angles(envelope: Envelope) -> list[bytes]:
    """The parts of people as version 0.1 wrote them: without the last two arrays."""
    topic, header, *arrays = wire(envelope)
    values = msgpack.unpackb(header)
    values["a"] = values["a"][:-2]
    return [topic, msgpack.packb(values), *arrays[:-2]]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_people_of_an_old_file_are_read_with_what_they_lack_unknown(count: int) -> None:
    envelope = Envelope("fusion/people", 4, 10, 5, people(count))
    parts = as_before_angles(envelope)
    assert [item[0] for item in msgpack.unpackb(parts[1])["a"]][-1] == "lengths_locked"
    back = decode(parts)
    assert isinstance(back.record, People)
    assert isinstance(envelope.record, People)
    unknown = {
        "angles_rad": np.zeros((count, 0), np.float32),
        "centre_of_mass_m": np.full((count, 3), np.nan, np.float32),
    }
    assert_same(back, replace(envelope, record=replace(envelope.record, **unknown)))
    with pytest.raises(ValueError, match="read-only"):
        back.record.centre_of_mass_m[...] = 0.0
    assert_same(decode(wire(back)), back)


def test_only_added_arrays_may_be_missing_and_only_from_the_end() -> None:
    topic, header, *arrays = wire(Envelope("fusion/people", 4, 10, 5, people(2)))
    values = msgpack.unpackb(header)
    for lost in ((-3, -2, -1), (-2,), (0,)):
        kept = [index for index in range(len(arrays)) if index - len(arrays) not in lost and index not in lost]
        shorter = msgpack.packb({**values, "a": [values["a"][index] for index in kept]})
        with pytest.raises(DecodeError, match=r"arrays are not exactly|described as"):
            decode([topic, shorter, *[arrays[index] for index in kept]])


@pytest.mark.parametrize(
    "topic", [b"cam", b"/landmarks", b"cam/none", b"cam/image", b"\xff/landmarks", b"x" * 300, b""]
)
def test_wrong_topics_are_refused(topic: bytes) -> None:
    _, *rest = wire(ENVELOPE)
    with pytest.raises(DecodeError):
        decode([topic, *rest])


def test_bounds_on_sizes() -> None:
    topic, header, *arrays = wire(ENVELOPE)
    with pytest.raises(DecodeError, match="header of"):
        decode([topic, header + bytes(codec.MAX_HEADER_BYTES), *arrays])
    with pytest.raises(DecodeError, match="message of more"):
        decode([topic, header, memoryview(bytearray(codec.MAX_TOTAL_BYTES)), *arrays])
    with pytest.raises(DecodeError, match="parts"):
        decode([topic, header, *[b""] * (codec.MAX_ARRAYS + 1)])
    with pytest.raises(DecodeError, match="parts"):
        decode([topic])


def test_a_deep_header_is_refused() -> None:
    topic, _, *arrays = wire(ENVELOPE)
    for nested in (b"\x91" * 60000, b"\x81\xa1a" * 20000):
        with pytest.raises(DecodeError):
            decode([topic, nested, *arrays])
        with pytest.raises(DecodeError):
            decode_flat(nested)


def test_a_small_flat_message_cannot_describe_a_large_object() -> None:
    """Empty lists: one byte each on the wire, fifty and more in memory."""
    many = msgpack.packb({"v": 1})[:-1] + b"\xdd" + (20_000_000).to_bytes(4, "big") + b"\x90" * 20_000_000
    with pytest.raises(DecodeError):
        decode_flat(b"\x8b" + many[1:])


def test_bytes_after_the_last_buffer_are_refused() -> None:
    with pytest.raises(DecodeError, match="after the last"):
        decode_flat(encode_flat(ENVELOPE) + b"\0")


def test_what_no_reader_would_take_is_not_sent() -> None:
    end = StreamEnd(measured_ns=0, received_ns=0)
    with pytest.raises(EncodeError, match="carries landmarks"):
        encode(Envelope("cam/landmarks", 0, 0, 0, end))
    with pytest.raises(EncodeError, match="NODE/STREAM"):
        encode(Envelope("cam", 0, 0, 0, end))
    with pytest.raises(EncodeError, match="header of"):
        encode(
            Envelope("cam/end", 0, 0, 0, StreamEnd(measured_ns=0, received_ns=0, reason="x" * codec.MAX_HEADER_BYTES))
        )
    huge = Image(
        measured_ns=0,
        received_ns=0,
        camera="c",
        index=0,
        width=1,
        height=1,
        encoding="jpeg",
        data=np.zeros(codec.MAX_TOTAL_BYTES, np.uint8),
    )
    with pytest.raises(EncodeError, match="message of"):
        encode(Envelope("c/image", 0, 0, 0, huge))
    with pytest.raises(EncodeError, match="message of"):
        encode_flat(Envelope("c/image", 0, 0, 0, huge))
