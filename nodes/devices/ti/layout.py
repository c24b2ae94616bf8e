"""The head of a frame in its four forms, and the row of TLVs behind it.

A frame is ``head TLV TLV … padding``, little endian; a TLV is ``u32 type, u32 length,
payload``. Heads differ by demo and year, and nothing in the bytes names the form:
it is found by which one lets the TLVs end where the frame ends.

Source: TI mmWave SDK 1 to 3, ``MmwDemo_output_message_header``; people counting of the
industrial toolbox to 4.7 (48 bytes); automated doors and gates (44 bytes).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

MAGIC = bytes((2, 1, 4, 3, 6, 5, 8, 7))
LEAST_HEAD = 36
MOST_LENGTH = 65536
MOST_TLVS = 64
PADDED_TO = 32
START_SIZE = 20
"""Magic word, version, length and platform: where all forms agree."""

POINTS, RANGE_PROFILE, NOISE_PROFILE, AZIMUTH_MAP, RANGE_DOPPLER, STATISTICS, SIDE_INFO = 1, 2, 3, 4, 5, 6, 7
ELEVATION_MAP, TEMPERATURE, EXTENDED_POINTS = 8, 9, 301
SPHERICAL_POINTS, TARGETS, TARGET_INDEX, HEIGHTS, PACKED_POINTS = 1000, 1010, 1011, 1012, 1020
PRESENCE, OCCUPANCY, VITALS = 1021, 1030, 1040
OLD_POINTS = -6
"""Type 6 of people counting up to toolbox 4.7: five floats a point, or packed as 1020."""
OLD_CLASSES, OLD_EXTRA = -9, -10
"""Its types 9, a classifier's output, which is not read, and 10, statistics or presence."""
STATIC_POINTS, STATIC_SIDE_INFO = -108, -109
"""Types 8 and 9 of automated doors: what does not move, which is not read."""
NUMBERED = frozenset((*range(1, 10), EXTENDED_POINTS, 1000, 1010, 1011, 1012, 1020, 1021, 1030, 1040))
KNOWN = NUMBERED | {OLD_POINTS, OLD_CLASSES, OLD_EXTRA, STATIC_POINTS, STATIC_SIDE_INFO}

_START = struct.Struct("<8s3I")
_TLV = struct.Struct("<2I")
_U32 = struct.Struct("<I")
_U16 = struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class Layout:
    """One form of the head."""

    name: str
    head: int
    """Bytes before the first TLV, magic word included."""
    sub_frame_at: int | None
    cycles_at: int | None
    """Where CPU cycles stand, if they do."""
    tlvs_at: int
    short_count: bool = False
    """The number of TLVs is u16, and a checksum follows it."""
    counts_own_head: bool = False
    """A TLV's length includes its eight bytes of type and length."""
    padded: bool = True
    """Filled up with garbage to a multiple of 32 bytes."""
    kinds: dict[int, int] = field(default_factory=dict)
    """What old type numbers mean."""


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("sdk3", 40, 36, 24, 32),
        Layout("sdk1", 36, None, 24, 32),
        Layout(
            "people48", 48, 24, None, 44, short_count=True, counts_own_head=True, padded=False,
            kinds={6: OLD_POINTS, 7: TARGETS, 8: TARGET_INDEX, 9: OLD_CLASSES, 10: OLD_EXTRA, 11: PRESENCE},
        ),
        Layout(
            "doors", 44, 36, 24, 32,
            kinds={8: STATIC_POINTS, 9: STATIC_SIDE_INFO, 10: TARGETS, 11: TARGET_INDEX},
        ),
    )
}  # fmt: skip
"""By name, the likely ones first."""


@dataclass(frozen=True, slots=True)
class Start:
    """What stands before forms differ."""

    version: int
    length: int
    platform: int


@dataclass(frozen=True, slots=True)
class Tlv:
    """Where one TLV's payload is."""

    kind: int
    """Type, with the old numbers replaced."""
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Walk:
    """TLVs of a frame as one form of the head reads them."""

    layout: Layout
    tlvs: tuple[Tlv, ...]
    complete: bool
    """As many as the head announces."""
    rest: int
    """Bytes behind the last one that fits."""
    size: int

    @property
    def fits(self) -> bool:
        """The TLVs explain the size of the frame, but for padding."""
        if not self.tlvs and not self.complete:
            return False
        if self.rest == 0:
            return True
        return self.layout.padded and self.rest < PADDED_TO and self.size % PADDED_TO == 0

    @property
    def sufficient(self) -> bool:
        """All TLVs are there and little else, though the length may be no multiple of 32."""
        return self.complete and self.rest < (PADDED_TO if self.layout.padded else 1)

    @property
    def clean(self) -> bool:
        """Nothing disagrees."""
        return self.complete and self.fits

    @property
    def unknown(self) -> int:
        """How many TLVs are of a type that nobody knows."""
        return sum(tlv.kind not in KNOWN for tlv in self.tlvs)


def read_start(data: bytes | bytearray, at: int) -> Start:
    """The first 20 bytes of a head at a magic word.

    Raises:
        struct.error: if fewer bytes are there.
    """
    _, version, length, platform = _START.unpack_from(data, at)
    return Start(version, length, platform)


def walk(data: bytes | bytearray, at: int, size: int, layout: Layout) -> Walk | None:
    """TLVs of the ``size`` bytes at ``at``; None if the head cannot be of this form."""
    if size < layout.head:
        return None
    number = (_U16 if layout.short_count else _U32).unpack_from(data, at + layout.tlvs_at)[0]
    if number > MOST_TLVS:
        return None
    place, stop = at + layout.head, at + size
    own = _TLV.size if layout.counts_own_head else 0
    tlvs: list[Tlv] = []
    while len(tlvs) < number and place + _TLV.size <= stop:
        kind, length = _TLV.unpack_from(data, place)
        begin = place + _TLV.size
        end = begin + length - own
        if end < begin or end > stop:
            break
        tlvs.append(Tlv(layout.kinds.get(kind, kind), begin, end))
        place = end
    return Walk(layout, tuple(tlvs), len(tlvs) == number, stop - place, size)


def best_walk(data: bytes | bytearray, at: int, size: int, layouts: tuple[Layout, ...]) -> Walk | None:
    """The form that fits best, the first of ``layouts`` among equals; None if none can be."""
    best: tuple[tuple[bool, bool, int], Walk] | None = None
    for layout in layouts:
        found = walk(data, at, size, layout)
        if found is None:
            continue
        if found.clean and found.tlvs and not found.unknown:
            return found
        mark = (found.clean, found.fits, len(found.tlvs) - 2 * found.unknown)
        if best is None or mark > best[0]:
            best = mark, found
    return None if best is None else best[1]
