"""Which form of the head a frame has, and where its TLVs are."""

from __future__ import annotations

import struct

import pytest

from nodes.devices.ti import encoder, trial
from nodes.devices.ti.layout import LAYOUTS, MAGIC, best_walk, walk

FORMS = tuple(LAYOUTS.values())


@pytest.mark.parametrize("kind", trial.KINDS)
def test_the_form_is_found_whichever_is_tried_first(kind: str) -> None:
    wanted = {"sdk1": "sdk1", "people48": "people48", "old48": "people48", "doors": "doors"}.get(kind, "sdk3")
    for k in range(30):
        text = trial.KINDS[kind](k)
        for first in FORMS:
            found = best_walk(text, 0, len(text), (first, *FORMS))
            assert found is not None
            assert (found.layout.name, found.clean) == (wanted, True)


def test_a_form_with_types_that_are_known_is_preferred() -> None:
    """One fixed point with no bits behind the point: by the 40-byte form, a TLV of type 16 and length 1."""
    text = encoder.encode_frame(1, [encoder.fixed_points([(0.0, 2.0, 0.0)], [0], bits=0)], layout="sdk1")
    other = walk(text, 0, len(text), LAYOUTS["sdk3"])
    assert other is not None
    assert (other.clean, other.unknown) == (True, 1)
    found = best_walk(text, 0, len(text), FORMS)
    assert found is not None
    assert (found.layout.name, found.unknown) == ("sdk1", 0)


def test_the_form_with_fewer_unknown_types_is_preferred() -> None:
    inner = struct.pack("<IB2I3x", 1, 0, 9998, 20)
    text = encoder.encode_frame(1, [(1, inner), (9999, bytes(4))], layout="sdk1")
    other = walk(text, 0, len(text), LAYOUTS["sdk3"])
    assert other is not None
    assert (other.clean, other.unknown) == (True, 2)
    found = best_walk(text, 0, len(text), FORMS)
    assert found is not None
    assert (found.layout.name, found.unknown) == ("sdk1", 1)


def test_a_tlv_shorter_than_its_own_head_ends_the_walk() -> None:
    text = bytearray(encoder.encode_frame(1, [encoder.presence(1), encoder.presence(1)], layout="people48"))
    struct.pack_into("<I", text, 52, 7)
    found = walk(text, 0, len(text), LAYOUTS["people48"])
    assert found is not None
    assert (found.tlvs, found.complete, found.fits) == ((), False, False)


def test_so_many_tlvs_are_none() -> None:
    text = encoder.encode_frame(1, [(1, b"")], announced=65)
    assert walk(text, 0, len(text), LAYOUTS["sdk3"]) is None
    assert walk(encoder.encode_frame(1, [(1, b"")] * 64), 0, 40 + 64 * 8, LAYOUTS["sdk3"]) is not None


def test_too_few_bytes_for_a_head() -> None:
    assert walk(MAGIC + bytes(36), 0, 44, LAYOUTS["people48"]) is None
    assert best_walk(MAGIC + bytes(20), 0, 28, FORMS) is None
