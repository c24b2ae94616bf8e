"""Every kind of record, derived from its declaration: right ones pass, each wrong array is named."""

from __future__ import annotations

import inspect
from dataclasses import Field, FrozenInstanceError, fields, replace
from typing import Any, get_type_hints

import numpy as np
import pytest

from fusion import records
from fusion.records import (
    Health,
    Image,
    InertialSamples,
    InertialState,
    Innovations,
    People,
    Record,
    RecordError,
    unknown_array,
)

LENGTHS = {"people": 2, "landmarks": 5, "joints": 3, "points": 4, "samples": 6, "sensors": 7, "streams": 8}
LENGTHS |= {"coordinates": 9, "lengths": 10, "angles": 11, "sources": 12, "bytes": 4 * 3 * 3}
LENGTHS |= {"doppler": 13, "up": 14, "across": 15, "forward": 16, "tracks": 17}
SCALARS: dict[Any, Any] = {int: 1, float: 0.5, str: "name", tuple[str, ...]: (), dict[str, float]: {}}
CHOSEN: dict[str, dict[str, Any]] = {
    "image": {"encoding": "bgr8", "width": 4, "height": 3},
    "samples": {"sensors": tuple("abcdefg")},
    "innovations": {"sources": tuple("abcdefghijkl")},
    "inertial": {"sensors": tuple("abcdefg")},
    "guide": {"sensors": tuple("abcdefg")},
    "health": {"topics": tuple("abcdefgh"), "directions": ("in",) * 8},
}


def all_kinds() -> list[type[Record]]:
    classes = [item for _, item in inspect.getmembers(records, inspect.isclass)]
    return [item for item in classes if issubclass(item, Record) and item is not Record]


def array_fields(kind: type[Record]) -> list[Field[Any]]:
    return [item for item in fields(kind) if "shape" in item.metadata]


def shape_of(item: Field[Any], lengths: dict[str, int]) -> tuple[int, ...]:
    return tuple(lengths[part] if isinstance(part, str) else part for part in item.metadata["shape"])


def example(kind: type[Record], lengths: dict[str, int] = LENGTHS) -> Record:
    """A record that keeps to its declaration."""
    hints = get_type_hints(kind)
    values: dict[str, Any] = {item.name: SCALARS[hints[item.name]] for item in fields(kind) if not item.metadata}
    for item in array_fields(kind):
        values[item.name] = np.zeros(shape_of(item, lengths), dtype=item.metadata["dtype"])
    return kind(**(values | CHOSEN.get(kind.kind, {})))


KINDS = all_kinds()
ARRAYS = [pytest.param(kind, item, id=f"{kind.kind}.{item.name}") for kind in KINDS for item in array_fields(kind)]
AXES = [
    pytest.param(kind, item, axis, id=f"{kind.kind}.{item.name}[{axis}]")
    for kind in KINDS
    for item in array_fields(kind)
    for axis in range(len(item.metadata["shape"]))
]


def refusal(record: Record) -> str:
    with pytest.raises(RecordError) as caught:
        record.validate()
    return str(caught.value)


def test_kinds_have_names_of_their_own() -> None:
    names = [kind.kind for kind in KINDS]
    assert len(KINDS) >= 12
    assert all(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_right_record_passes(kind: type[Record]) -> None:
    record = example(kind)
    record.validate()
    assert all(isinstance(getattr(record, name), int) for name in ("measured_ns", "received_ns"))
    with pytest.raises(FrozenInstanceError):
        record.measured_ns = 2  # type: ignore[misc]
    assert not hasattr(record, "__dict__")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.kind not in CHOSEN], ids=lambda kind: kind.kind)
def test_nothing_at_all_is_a_right_record(kind: type[Record]) -> None:
    """No people, no points: free lengths may be 0."""
    example(kind, dict.fromkeys(LENGTHS, 0)).validate()


@pytest.mark.parametrize(("kind", "item"), ARRAYS)
def test_a_wrong_dtype_is_named(kind: type[Record], item: Field[Any]) -> None:
    right = getattr(example(kind), item.name)
    wrong_dtypes = {np.dtype(name) for name in ("f2", "f4", "f8", "i4", "i8", "u1", ">f4", ">i8", "?")} - {right.dtype}
    for dtype in wrong_dtypes:
        message = refusal(replace(example(kind), **{item.name: right.astype(dtype)}))
        assert f"{kind.kind}.{item.name}: dtype {dtype}, expected {right.dtype}" in message


@pytest.mark.parametrize(("kind", "item"), ARRAYS)
@pytest.mark.parametrize("value", [None, [0.0], "text", b"bytes", 3])
def test_what_is_no_array_is_named(kind: type[Record], item: Field[Any], value: Any) -> None:
    message = refusal(replace(example(kind), **{item.name: value}))
    assert f"{kind.kind}.{item.name}: dtype {type(value).__name__}" in message


@pytest.mark.parametrize(("kind", "item"), ARRAYS)
def test_a_wrong_number_of_axes_is_named(kind: type[Record], item: Field[Any]) -> None:
    right = getattr(example(kind), item.name)
    for wrong in (right[None], right[..., None], right[0]):
        message = refusal(replace(example(kind), **{item.name: np.asarray(wrong)}))
        assert message.startswith(f"{kind.kind}.{item.name}: shape {np.shape(wrong)}, expected")


@pytest.mark.parametrize(("kind", "item", "axis"), AXES)
def test_a_wrong_length_is_refused(kind: type[Record], item: Field[Any], axis: int) -> None:
    """A fixed length, or one that another array of the record shares."""
    right = getattr(example(kind), item.name)
    record = replace(example(kind), **{item.name: np.concatenate([right, right.take([0], axis=axis)], axis=axis)})
    name = item.metadata["shape"][axis]
    sharers = [other for other in array_fields(kind) if name in other.metadata["shape"]]
    free = isinstance(name, str) and len(sharers) == 1 and not CHOSEN.get(kind.kind)
    if free:
        record.validate()
    else:
        assert refusal(record).startswith(f"{kind.kind}.")


@pytest.mark.parametrize("axis_name", ["people", "landmarks"])
def test_a_shared_length_is_named(axis_name: str) -> None:
    record = example(records.Landmarks2D)
    assert isinstance(record, records.Landmarks2D)
    axis = ("people", "landmarks").index(axis_name)
    message = refusal(replace(record, scores=np.delete(record.scores, 0, axis=axis)))
    assert "landmarks.scores" in message
    assert f"{axis_name} = {LENGTHS[axis_name]}" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoding": "png"}, "image.encoding: 'png', allowed: bgr8, jpeg"),
        ({"data": np.zeros(35, np.uint8)}, "image.data: 35 bytes for 4x3 bgr8"),
        ({"width": 5}, "image.data: 36 bytes for 5x3 bgr8"),
        ({"width": -4, "height": -3}, "image.width, image.height: -4x-3"),
        ({"width": 0, "encoding": "jpeg"}, "image.width, image.height: 0x3"),
    ],
)
def test_a_picture_must_be_as_large_as_it_says(changes: dict[str, Any], message: str) -> None:
    assert message in refusal(replace(example(Image), **changes))


def test_jpeg_bytes_may_be_of_any_number() -> None:
    replace(example(Image), encoding="jpeg", data=np.zeros(11, np.uint8)).validate()


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (InertialSamples, {"sensors": ("pelvis",)}, "samples.sensors: 1 names, expected 7"),
        (InertialSamples, {"sensors": ()}, "samples.sensors: 0 names, expected 7"),
        (InertialState, {"sensors": ("pelvis",)}, "inertial.sensors: 1 names, expected 7"),
        (records.Guide, {"sensors": ("pelvis",)}, "guide.sensors: 1 names, expected 7"),
        (Innovations, {"sources": ("cam1",)}, "innovations.sources: 1 names, expected 12"),
        (Health, {"topics": ("cam1/image",)}, "health.topics: 1 names, expected 8"),
        (Health, {"directions": ("in",) * 9}, "health.directions: 9 names, expected 8"),
    ],
)
def test_there_are_as_many_names_as_columns(kind: type[Record], changes: dict[str, Any], message: str) -> None:
    assert message in refusal(replace(example(kind), **changes))


def test_a_view_of_foreign_bytes_passes() -> None:
    """The codec hands over read-only views of what arrived."""
    record = example(records.RadarPoints)
    assert isinstance(record, records.RadarPoints)
    view = np.frombuffer(record.positions_m.tobytes(), np.float32).reshape(record.positions_m.shape)
    assert not view.flags.writeable
    replace(record, positions_m=view).validate()


# --- Arrays that came later -----------------------------------------------------------------------


def test_added_arrays_are_floats_after_all_others() -> None:
    """The codec recognises what an old file lacks by its place, and NaN stands for it."""
    for kind in KINDS:
        added = [item.metadata["added"] for item in array_fields(kind)]
        assert added == sorted(added)
        assert all(item.metadata["dtype"].kind == "f" for item in array_fields(kind) if item.metadata["added"])


def test_what_an_old_file_lacks_is_unknown_and_right() -> None:
    record = example(People)
    others = {item.name: getattr(record, item.name) for item in array_fields(People) if not item.metadata["added"]}
    angles = unknown_array(People, "angles_rad", others)
    centre = unknown_array(People, "centre_of_mass_m", others)
    replace(record, angles_rad=angles, centre_of_mass_m=centre).validate()
    assert angles.shape == (LENGTHS["people"], 0)
    assert centre.shape == (LENGTHS["people"], 3)
    assert np.isnan(centre).all()


def test_unknown_arrays_take_no_memory_whatever_the_others_say() -> None:
    """They are made before the other arrays are checked."""
    huge = np.empty((2**26, 0), np.float32)
    centre = unknown_array(People, "centre_of_mass_m", {"measured": huge})
    assert centre.shape == (2**26, 3)
    assert centre.strides == (0, 0)
