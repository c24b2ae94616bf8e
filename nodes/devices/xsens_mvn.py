"""Xsens MVN: the motion tracker kinematics of the network streamer (UDP, type 23).

A datagram is a header of 24 bytes, big-endian (``MXTP`` and two digits, sample
counter, datagram counter, number of items, time code in ms, character …, size of
the payload), and one item a tracker: segment, orientation, free acceleration,
acceleration, angular velocity, magnetic field. The sensor's identity is the name
of its segment, which MVN counts from 1 in the order of our own skeleton; the
second character's are ``1/pelvis`` and so on. The acceleration is the specific
force in the sensor's frame. The time code stands still unless MVN records; then
the sample counter serves as clock.

Source: Xsens, "MVN real-time network streaming protocol specification"
(MV0305P), sections 2.4.1 and 2.7.4, and the SDK in JongbinLim/xsens_mvn_ros2 for
the item of 68 bytes. Older MVN sends 44 bytes without acceleration and rate. The
unit of the rate is not written there: it is compared with how fast the
orientation turns, and taken for deg/s if it is that many times larger.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable

from fusion.body.skeleton import SEGMENT_NAMES
from nodes.devices.sample import (
    FIELD_UNIT_UT,
    MAX_SENSORS,
    RAD_PER_DEG,
    DecoderCounts,
    DeviceSample,
    Vector,
    field_ut,
    plausible,
    scaled,
)
from nodes.devices.sequence import Sequence

MAGIC = b"MXTP"
TRACKERS = 23
HEADER = struct.Struct(">4s2sIBBIBBBB2xH")
ITEM = struct.Struct(">I16f")
OLD_ITEM_SIZE = 44
_TYPES = frozenset({1, 2, 3, 4, 5, 10, 11, 12, 13, 20, 21, 22, 23, 24, 25})
LACKS_TRACKERS = "motion tracker kinematics (type 23)"
LACKS_RATE = "acceleration and angular velocity in type 23 (this MVN sends 44 bytes a tracker)"
_MAX_CHARACTERS = 8
_UNIT_SLACK = 0.05
"""A quaternion whose squared norm is further from 1 is none: the format has no checksum."""
_DECIDE_RAD = 1.0
"""The unit of the rate is decided after orientations have turned so far."""
_USUAL_RATE_HZ = 60.0
_DEGREES_FROM = 8.0
"""Rate over turning above this means degrees; between rad (1) and deg (57.3)."""


class _Character:
    """Clock of one character."""

    def __init__(self) -> None:
        self.counter = -1
        self.time_ms = -1
        self.runs = False
        """Whether the time code moves."""

    def device_ns(self, counter: int, time_ms: int) -> int | None:
        """The time of a sample by its time code; None while that stands still."""
        if counter != self.counter:
            self.runs = self.counter >= 0 and time_ms != self.time_ms
            self.counter, self.time_ms = counter, time_ms
        return time_ms * 1_000_000 if self.runs else None


class _Tracker:
    """One sensor: its counter, and its last orientation to compare the rate with."""

    def __init__(self, counts: DecoderCounts) -> None:
        self.sequence = Sequence(1 << 32, counts)
        self.q: tuple[float, ...] | None = None
        self.counter = 0
        self.time_ms = 0


class MvnDecoder:
    """Trackers of the characters that one MVN streams."""

    def __init__(self) -> None:
        self.counts = DecoderCounts()
        self.rate_unit_rad_s: float | None = None
        """1 or that of a degree; None while undecided, when it is taken for 1."""
        self._turned_rad = self._rated = 0.0
        self._buffer = bytearray()
        self._characters: dict[int, _Character] = {}
        self._trackers: dict[tuple[int, int], _Tracker] = {}

    def feed(self, data: bytes) -> list[DeviceSample]:
        """Take bytes in; a datagram may come in parts, as it does over TCP."""
        buffer, counts = self._buffer, self.counts
        buffer += data
        samples: list[DeviceSample] = []
        at, end = 0, len(buffer)
        while True:
            start = _find(buffer, at)
            counts.skipped_bytes += start - at
            at = start
            if end - at < HEADER.size:
                break
            size = _datagram_size(buffer, at)
            if size is None:
                counts.spoilt(1)
                at += 1
                continue
            if end - at < size:
                break
            if not self._datagram(bytes(buffer[at : at + size]), samples):
                counts.spoilt(1)
                at += 1
                continue
            at += size
        del buffer[:at]
        return samples

    def end_of_datagram(self) -> None:
        """Forget the beginning of a datagram whose end is not there."""
        if self._buffer:
            self.counts.spoilt(len(self._buffer))
            self._buffer.clear()

    def _datagram(self, data: bytes, samples: list[DeviceSample]) -> bool:
        """Whether it is one."""
        _, kind, counter, _, items, time_ms, character, *_ = HEADER.unpack_from(data)
        payload = len(data) - HEADER.size
        if int(kind) != TRACKERS:
            self.counts.packets += 1
            self.counts.unknown += 1
            self.counts.lack(LACKS_TRACKERS)
            return True
        if payload == items * OLD_ITEM_SIZE:
            self.counts.packets += 1
            self.counts.lack(LACKS_RATE)
            return True
        rows = list(ITEM.iter_unpack(data[HEADER.size :]))
        if not all(abs(q * q + x * x + y * y + z * z - 1.0) < _UNIT_SLACK for _, q, x, y, z, *_ in rows):
            return False
        self.counts.packets += 1
        device_ns = self._device_ns(character, counter, time_ms)
        for row in rows:
            self._tracker(character, counter, time_ms, device_ns, row, samples)
        return True

    def _device_ns(self, character: int, counter: int, time_ms: int) -> int | None:
        known = self._characters.get(character)
        if known is None:
            if len(self._characters) >= _MAX_CHARACTERS:
                return None
            known = self._characters[character] = _Character()
        return known.device_ns(counter, time_ms)

    def _tracker(
        self,
        character: int,
        counter: int,
        time_ms: int,
        device_ns: int | None,
        row: tuple[float, ...],
        samples: list[DeviceSample],
    ) -> None:
        segment = int(row[0])
        tracker = self._trackers.get((character, segment))
        if tracker is None:
            if not 1 <= segment <= len(SEGMENT_NAMES) or len(self._trackers) >= MAX_SENSORS:
                self.counts.unknown += 1
                return
            tracker = self._trackers[character, segment] = _Tracker(self.counts)
        number = tracker.sequence.step(counter)
        if number is None:
            return
        force, rate = (row[8], row[9], row[10]), (row[11], row[12], row[13])
        if self.rate_unit_rad_s is None:
            self._compare(tracker, row[1:5], rate, number, time_ms)
        if self.rate_unit_rad_s is not None:
            rate = scaled(rate, self.rate_unit_rad_s)
        if not plausible(force, rate):
            self.counts.absurd += 1
            return
        name = SEGMENT_NAMES[segment - 1]
        magnetic = field_ut((row[14], row[15], row[16]), FIELD_UNIT_UT)
        self.counts.samples += 1
        samples.append(
            DeviceSample(f"{character}/{name}" if character else name, device_ns, number, force, rate, magnetic)
        )

    def _compare(self, tracker: _Tracker, q: tuple[float, ...], rate: Vector, counter: int, time_ms: int) -> None:
        """Add up how far orientations turn and how far the rates say they do."""
        last, since_s = tracker.q, (time_ms - tracker.time_ms) * 1e-3
        if not since_s:
            since_s = (counter - tracker.counter) / _USUAL_RATE_HZ  # The time code stands; a guess is good enough.
        tracker.q, tracker.counter, tracker.time_ms = q, counter, time_ms
        if last is None or not 0.0 < since_s <= 0.1:
            return
        cosine = abs(sum(a * b for a, b in zip(last, q, strict=True)))
        angle = 2.0 * math.acos(min(cosine, 1.0))
        rated = math.hypot(*rate) * since_s
        if angle > 0.01 and math.isfinite(rated):  # Smaller turns are rounding of the quaternion.
            self._turned_rad += angle
            self._rated += rated
        if self._turned_rad > _DECIDE_RAD:
            self.rate_unit_rad_s = RAD_PER_DEG if self._rated > _DEGREES_FROM * self._turned_rad else 1.0


def _find(buffer: bytearray, at: int) -> int:
    """Where the next datagram may begin; the end of the buffer, less what may be a part of the magic word."""
    start = buffer.find(MAGIC, at)
    if start >= 0:
        return start
    for kept in (3, 2, 1):
        if len(buffer) - at >= kept and buffer.endswith(MAGIC[:kept]):
            return len(buffer) - kept
    return len(buffer)


def _datagram_size(buffer: bytearray, at: int) -> int | None:
    """Size of the datagram as its header tells it; None if it cannot be one."""
    kind: bytes
    items: int
    payload: int
    _, kind, _, _, items, *_, payload = HEADER.unpack_from(buffer, at)
    if not kind.isdigit() or int(kind) not in _TYPES:
        return None
    if int(kind) != TRACKERS:
        return HEADER.size + payload  # Without a size (before MVN 2019) the next magic word is looked for.
    if payload == 0:
        payload = items * ITEM.size
    if not items or payload not in (items * ITEM.size, items * OLD_ITEM_SIZE):
        return None
    return HEADER.size + payload


# ---- bytes of datagrams


def encode(
    counter: int,
    time_ms: int,
    trackers: Iterable[tuple[str, tuple[float, float, float, float], Vector, Vector, Vector | None]],
    *,
    character: int = 0,
    degrees: bool = False,
) -> bytes:
    """A datagram of motion tracker kinematics that holds all trackers.

    Args:
        counter: of the sample.
        time_ms: time code.
        trackers: segment, q_world_from_sensor (wxyz), specific force, rate, field (µT, None for 0), sensor frame.
        character: number of the wearer.
        degrees: send rates in deg/s.
    """
    unit = 1.0 / RAD_PER_DEG if degrees else 1.0
    items = []
    for segment, q, force, rate, magnetic in trackers:
        field = scaled(magnetic or (0.0, 0.0, 0.0), 1.0 / FIELD_UNIT_UT)
        numbers = (*q, 0.0, 0.0, 0.0, *force, *scaled(rate, unit), *field)
        items.append(ITEM.pack(SEGMENT_NAMES.index(segment) + 1, *numbers))
    return header(TRACKERS, counter, time_ms, len(items), len(items) * ITEM.size, character) + b"".join(items)


def header(kind: int, counter: int, time_ms: int, items: int, payload: int, character: int = 0) -> bytes:
    """The header of a datagram that is the only one of its sample."""
    digits = f"{kind:02d}".encode()
    numbers = (counter & 0xFFFFFFFF, 0x80, items, time_ms & 0xFFFFFFFF, character, len(SEGMENT_NAMES), 0, 0, payload)
    return HEADER.pack(MAGIC, digits, *numbers)
