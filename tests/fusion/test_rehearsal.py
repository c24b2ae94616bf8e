"""The rehearsal goes the whole way, and leaves nothing to compile."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields, replace

import pytest
from numba.core.dispatcher import Dispatcher

from fusion.pipeline import Pipeline
from fusion.records import Record
from fusion.rehearsal import rehearse
from fusion.synthesis.params import InertialParams, RingParams
from fusion.synthesis.simulation import Lab
from tests.fusion.labs import Recording, recorded, wearer


@pytest.fixture(scope="module")
def people() -> int:
    """How many came out of the rehearsal."""
    return rehearse()


def test_one_person_comes_out(people: int) -> None:
    assert people == 1


def signatures() -> dict[str, int]:
    """How many signatures each kernel of fusion is compiled for."""
    return {
        f"{name}.{attribute}": len(kernel.signatures)
        for name, module in list(sys.modules.items())
        if name.startswith("fusion.")
        for attribute, kernel in vars(module).items()
        if isinstance(kernel, Dispatcher)
    }


def as_from_the_wire(record: Record) -> Record:
    """The record with arrays that cannot be written, for which numba would compile anew."""
    arrays = {item.name: getattr(record, item.name).copy() for item in fields(record) if "shape" in item.metadata}
    for array in arrays.values():
        array.flags.writeable = False
    return replace(record, **arrays)


def everything() -> Recording:
    """Two people among all kinds of sensors."""
    return recorded(Lab(), [wearer(1), wearer(2, start_m=(1.0, 1.0))], 1.0)


def one_camera() -> Recording:
    return recorded(Lab(ring=RingParams(count=1), imus=None, radars=None), [wearer(1)], 1.0)


def imus_alone() -> Recording:
    return recorded(Lab(ring=None, imus=InertialParams(), radars=None), [wearer(1)], 2.5)


@pytest.mark.parametrize(("make", "expected"), [(everything, 2), (one_camera, 1), (imus_alone, 1)])
def test_after_it_nothing_is_compiled(people: int, make: Callable[[], Recording], expected: int) -> None:
    recording = make()
    records = [as_from_the_wire(record) for record in recording.records]
    before = signatures()
    pipeline = Pipeline(recording.rig)
    found = 0
    for record in records:
        if pipeline.take(record):
            found = max(found, len(pipeline.people(record).ids))
            pipeline.smoothed(0.1, record)
            pipeline.predicted(0.05, record)
            pipeline.innovations(record)
    assert found == expected
    assert any(before.values())
    assert {name: count for name, count in signatures().items() if count != before.get(name, 0)} == {}
