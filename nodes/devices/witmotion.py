"""WitMotion: the standard protocol of its wired and Bluetooth sensors.

A packet is ``55 TYPE d0 d1 d2 d3 SUM``, d little-endian 16 bit, SUM the sum of
the ten bytes before modulo 256. The packets of one moment come in the order of
their types (50 time, 51 acceleration, 52 rate, 53 angle, 54 field …), so a type
that is not above the one before begins the next moment; a moment in which bytes
were lost is dropped, or it would mix two. There is no counter: losses show only
with the time (type 50) switched on.

Source: WITMOTION/WitStandardProtocol_JY901 (examples and register table). The
acceleration is the specific force in units of g, full scale 16 g; rates have a
full scale of 2000 deg/s.
"""

from __future__ import annotations

import struct
from datetime import date

from nodes.devices.sample import (
    RAD_PER_DEG,
    STANDARD_GRAVITY_M_S2,
    DecoderCounts,
    DeviceSample,
    Vector,
    field_ut,
    plausible,
)
from nodes.devices.sequence import TimeSequence

HEAD, SIZE = 0x55, 11
TIME, ACCELERATION, RATE, ANGLE, FIELD, QUATERNION, REGISTER = 0x50, 0x51, 0x52, 0x53, 0x54, 0x59, 0x5F
_TYPES = frozenset({*range(0x50, 0x5C), REGISTER})
_FULL = 32768.0
FORCE_UNIT_M_S2 = 16.0 * STANDARD_GRAVITY_M_S2 / _FULL
RATE_UNIT_RAD_S = 2000.0 * RAD_PER_DEG / _FULL
FIELD_UNIT_UT = 0.1
"""A count of the magnetometer of most models (sheet JY901: 0.1 µT); for heading only the direction matters."""
LACKS_ACCELERATION = "acceleration (content bit 1, packets 51)"
LACKS_RATE = "angular rate (content bit 2, packets 52)"
_MOST_UNTIMED = 20
_THREE = struct.Struct("<3h")
_EPOCH_DAY = date(2000, 1, 1).toordinal()
_NS_PER_MS = 1_000_000


class WitMotionDecoder:
    """Samples of the one sensor on a port; its identity is ``0``."""

    def __init__(self) -> None:
        self.counts = DecoderCounts()
        self._buffer = bytearray()
        self._times = TimeSequence(self.counts)
        self._moment: dict[int, bytes] = {}
        """Data of the packets of the present moment by type."""
        self._untimed = _MOST_UNTIMED
        """Moments in a row without a time; many of them at the start, as not every sensor is set to send it."""
        self._last = 0
        """Type of the last packet; 0 when what follows does not belong to it."""
        self._final = 0
        """Type that ended the last whole moment: when it comes the moment is complete."""

    def feed(self, data: bytes) -> list[DeviceSample]:
        """Take bytes in."""
        buffer, counts = self._buffer, self.counts
        buffer += data
        samples: list[DeviceSample] = []
        at, end = 0, len(buffer)
        while True:
            start = buffer.find(HEAD, at)
            if start != at:
                self._skip((end if start < 0 else start) - at)
                at = end if start < 0 else start
            if end - at < 2:
                break
            if buffer[at + 1] not in _TYPES:
                self._skip(1)
                at += 1
                continue
            if end - at < SIZE:
                break
            if sum(buffer[at : at + SIZE - 1]) & 0xFF != buffer[at + SIZE - 1]:
                counts.corrupt += 1
                self._skip(1)
                at += 1
                continue
            counts.packets += 1
            self._packet(buffer[at + 1], bytes(buffer[at + 2 : at + SIZE - 1]), samples)
            at += SIZE
        del buffer[:at]
        return samples

    def end_of_datagram(self) -> None:
        """Forget the beginning of a packet whose end is not there."""
        if self._buffer:
            self.counts.corrupt += 1
            self._skip(len(self._buffer))
            self._buffer.clear()

    def _skip(self, count: int) -> None:
        """Bytes that are no packet: what was begun is not whole."""
        if count:
            self.counts.skipped_bytes += count
            self._moment.clear()
            self._last = 0

    def _packet(self, kind: int, payload: bytes, samples: list[DeviceSample]) -> None:
        if kind == REGISTER:
            return
        if kind <= self._last:
            self._final = self._last
            self._end(samples)
        elif not self._last and not self._moment and kind not in (TIME, ACCELERATION):
            return  # The middle of a moment whose beginning is lost.
        self._last = kind
        self._moment[kind] = payload
        if kind == self._final:
            self._end(samples)

    def _end(self, samples: list[DeviceSample]) -> None:
        """The moment is complete."""
        moment, self._moment = self._moment, {}
        if not moment:
            return
        if ACCELERATION not in moment or RATE not in moment:
            self.counts.lack(LACKS_RATE if ACCELERATION in moment else LACKS_ACCELERATION)
            return
        x, y, z = _THREE.unpack_from(moment[ACCELERATION])
        force = (x * FORCE_UNIT_M_S2, y * FORCE_UNIT_M_S2, z * FORCE_UNIT_M_S2)
        x, y, z = _THREE.unpack_from(moment[RATE])
        rate = (x * RATE_UNIT_RAD_S, y * RATE_UNIT_RAD_S, z * RATE_UNIT_RAD_S)
        device_ns = _time_ns(moment[TIME]) if TIME in moment else None
        if TIME in moment and device_ns is None:
            self.counts.absurd += 1
        self._untimed = self._untimed + 1 if device_ns is None else 0
        if self._untimed and self._untimed <= _MOST_UNTIMED:
            return  # Its time was lost on the way.
        if device_ns is not None and not self._times.step(device_ns):
            return
        if not plausible(force, rate):
            self.counts.absurd += 1
            return
        magnetic = field_ut(_THREE.unpack_from(moment[FIELD]), FIELD_UNIT_UT) if FIELD in moment else None
        self.counts.samples += 1
        samples.append(DeviceSample("0", device_ns, None, force, rate, magnetic))


def _time_ns(payload: bytes) -> int | None:
    """Time since 2000 by the sensor's calendar; None if it is none."""
    year, month, day, hour, minute, second = payload[:6]
    milliseconds = payload[6] | payload[7] << 8
    if hour > 23 or minute > 59 or second > 59 or milliseconds > 999:
        return None
    try:
        days = date(2000 + year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000_000 + milliseconds * _NS_PER_MS


# ---- bytes of packets and commands


def packet(kind: int, payload: bytes) -> bytes:
    """A packet with eight bytes of data.

    Raises:
        ValueError: if there are not eight.
    """
    if len(payload) != SIZE - 3:
        raise ValueError(f"{len(payload)} bytes of data, expected {SIZE - 3}")
    head = bytes([HEAD, kind]) + payload
    return head + bytes([sum(head) & 0xFF])


def encode(
    milliseconds: int | None,
    force_m_s2: Vector,
    rate_rad_s: Vector,
    magnetic_ut: Vector | None = None,
    *,
    angles: bool = False,
) -> bytes:
    """The packets of one moment.

    Args:
        milliseconds: since 2000; None leaves the time out.
        force_m_s2, rate_rad_s, magnetic_ut: sensor frame; what the format cannot hold is cut to its range.
        angles: send the packet of angles too, all 0.
    """
    parts = [] if milliseconds is None else [packet(TIME, _calendar(milliseconds))]
    parts.append(packet(ACCELERATION, _counts(force_m_s2, FORCE_UNIT_M_S2)))
    parts.append(packet(RATE, _counts(rate_rad_s, RATE_UNIT_RAD_S)))
    if angles:
        parts.append(packet(ANGLE, bytes(8)))
    if magnetic_ut is not None:
        parts.append(packet(FIELD, _counts(magnetic_ut, FIELD_UNIT_UT)))
    return b"".join(parts)


def _counts(vector: Vector, unit: float) -> bytes:
    return struct.pack("<4h", *(max(-32768, min(32767, round(value / unit))) for value in vector), 0)


def _calendar(milliseconds: int) -> bytes:
    seconds, rest = divmod(milliseconds, 1000)
    days, seconds = divmod(seconds, 86400)
    day = date.fromordinal(_EPOCH_DAY + days)
    clock = (seconds // 3600, seconds // 60 % 60, seconds % 60)
    return struct.pack("<6BH", day.year - 2000, day.month, day.day, *clock, rest)


UNLOCK, SAVE = bytes.fromhex("ffaa6988b5"), bytes.fromhex("ffaa000000")
CONTENT_REGISTER, RATE_REGISTER = 0x02, 0x03
RATE_CODES = {1: 0x03, 2: 0x04, 5: 0x05, 10: 0x06, 20: 0x07, 50: 0x08, 100: 0x09, 200: 0x0B}
"""Value of the rate register by Hz."""
CONTENT_TIME, CONTENT_ACCELERATION, CONTENT_RATE, CONTENT_FIELD = 0x01, 0x02, 0x04, 0x10


def write_register(register: int, value: int) -> bytes:
    """A command; the sensor takes it after ``UNLOCK`` and keeps it after ``SAVE``."""
    return bytes([0xFF, 0xAA, register, value & 0xFF, value >> 8])


def content(*, magnetometer: bool) -> int:
    """Value of the content register: time, acceleration, rate and, if asked for, field."""
    return CONTENT_TIME | CONTENT_ACCELERATION | CONTENT_RATE | (CONTENT_FIELD if magnetometer else 0)
