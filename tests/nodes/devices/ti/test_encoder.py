"""The encoder writes what the firmware writes."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from nodes.devices.ti import encoder
from nodes.devices.ti.layout import LAYOUTS, MAGIC

PLACES, SPEEDS = np.array([(0.5, 2.0, -0.25), (-1.0, 1.5, 0.75)]), np.array([0.125, -0.5])


def test_a_frame_byte_by_byte() -> None:
    text = encoder.encode_frame(
        3, [encoder.plain_points(PLACES, SPEEDS)], objects=2, cpu_cycles=1000, version=0x03030002, sub_frame=1
    )
    head = struct.pack("<9I", 0, 96, 0xA6843, 3, 1000, 2, 1, 1, 1)
    assert text[:8] == MAGIC == bytes.fromhex("0201040306050807")
    assert text[8:12] == bytes.fromhex("02000303")
    assert text[12:44] == head[4:36]
    assert struct.unpack_from("<I8f", text, 44) == (32, 0.5, 2.0, -0.25, 0.125, -1.0, 1.5, 0.75, -0.5)
    assert len(text) == 96
    assert text[80:] == encoder.STALE[:16]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_length_is_true_and_padded_where_it_is(layout: str) -> None:
    for count in range(8):
        text = encoder.encode_frame(1, [(9999, bytes(count))], layout=layout)
        assert struct.unpack_from("<I", text, 12) == (len(text),)
        assert len(text) % 32 == 0 if LAYOUTS[layout].padded else len(text) == 48 + 8 + count


def test_the_48_byte_head_sums_up() -> None:
    """The right checksum makes the one's complement sum of all words 0xFFFF."""
    text = encoder.encode_frame(70_000, [encoder.presence(1)], layout="people48")
    total = sum(struct.unpack("<24H", text[:48]))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF
    assert struct.unpack_from("<H", text, 44) == (1,)
    assert struct.unpack_from("<3I", text, 48) == (11, 12, 1)


def test_numbers_wrap() -> None:
    text = encoder.encode_frame(2**32 + 5, [], cpu_cycles=2**32 + 6)
    assert struct.unpack_from("<2I", text, 20) == (5, 6)


def test_requests_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="'sdk4': allowed sdk3, sdk1, people48, doors"):
        encoder.encode_frame(1, [], layout="sdk4")
    with pytest.raises(ValueError, match="at most 65536"):
        encoder.encode_frame(1, [(5, bytes(70_000))])
