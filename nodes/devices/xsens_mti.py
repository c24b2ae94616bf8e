"""Xsens MTi: MTData2 on the Xbus.

A message is ``FA BID MID LEN [EXTLEN] DATA CS``, big-endian; all bytes after FA,
the checksum included, add up to 0 modulo 256. MTData2 (MID 36) is a row of items
``id(2) size(1) payload``; a sample needs acceleration (402y) and rate of turn
(802y), or the increments of velocity and orientation (401y, 803y) with a counter
and a time that tell their period. Acceleration, rate and field are in the
sensor's frame whichever frame (ENU, NED, NWU) its orientation outputs use, and
the acceleration is the specific force.

Source: Xsens, "MT Low-Level Communication Protocol Documentation" (MT0101P),
sections "Message structure" and "MTData2"; layout checked against the packet in
``tests/nodes/devices/test_xsens_mti.py``.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from nodes.devices.sample import (
    FIELD_UNIT_UT,
    MAX_SENSORS,
    DecoderCounts,
    DeviceSample,
    Vector,
    field_ut,
    plausible,
    scaled,
)
from nodes.devices.sequence import Sequence, TimeSequence, Unwrapped

PREAMBLE = 0xFA
OWN_BUS_ID = 0xFF
"""Bus address of a device that is alone on its port."""
MAX_EXTENDED = 2048
_EXTENDED = 0xFF

MTDATA2, ERROR = 0x36, 0x42
GO_TO_CONFIG, GO_TO_MEASUREMENT, SET_OUTPUT, WAKE_UP = 0x30, 0x10, 0xC0, 0x3E

PACKET_COUNTER, SAMPLE_TIME_FINE, STATUS_WORD = 0x1020, 0x1060, 0xE020
DELTA_V, ACCELERATION, DELTA_Q, RATE_OF_TURN, MAGNETIC_FIELD = 0x4010, 0x4020, 0x8030, 0x8020, 0xC020
_VECTORS = {DELTA_V, ACCELERATION, RATE_OF_TURN, MAGNETIC_FIELD}

NS_PER_TICK = 100_000
TICKS_PER_DAY = 864_000_000
_WRAPS = (TICKS_PER_DAY, 1 << 32)
"""MTi 10 and 100 series begin anew after a day, MTi-1 and 600 series when 32 bits are full."""
_WRAP_NEAR = 50_000
"""Ticks: 5 s."""
_Q20, _Q32 = 2.0**-20, 2.0**-32

LACKS_ACCELERATION = "acceleration (output 4020)"
LACKS_RATE = "rate of turn (output 8020)"
LACKS_TIMING = "packet counter and sample time (outputs 1020, 1060), which tell the period of delta-v and delta-q"
KEPT_REPLIES = 16


@dataclass(frozen=True, slots=True)
class Reply:
    """A message other than data: an acknowledgement, an error, news of the device."""

    message: int
    data: bytes


class _Unit:
    """Counter and clock of one device."""

    def __init__(self, counts: DecoderCounts) -> None:
        self.counter = Sequence(1 << 16, counts)
        self.clock = Unwrapped(_WRAPS, _WRAP_NEAR)
        self.times = TimeSequence(counts)
        self.last: tuple[int, int] | None = None
        """Counter and time of the newest sample, for the period of increments."""


class MtiDecoder:
    """MTData2 of all devices on one bus; the sensor's identity is its bus address, ``0`` for one that is alone."""

    def __init__(self) -> None:
        self.counts = DecoderCounts()
        self.replies: deque[Reply] = deque(maxlen=KEPT_REPLIES)
        """What the device answered; whoever waits for an answer takes it out."""
        self._buffer = bytearray()
        self._units: dict[int, _Unit] = {}

    def feed(self, data: bytes) -> list[DeviceSample]:
        """Take bytes in."""
        buffer, counts = self._buffer, self.counts
        buffer += data
        samples: list[DeviceSample] = []
        at, end = 0, len(buffer)
        while True:
            start = buffer.find(PREAMBLE, at)
            counts.skipped_bytes += (end if start < 0 else start) - at
            at = end if start < 0 else start
            size = _message_size(buffer, at, end)
            if size is None:
                break
            if size == 0 or sum(buffer[at + 1 : at + size]) & 0xFF:
                # The next message may begin inside of what was taken for this one.
                counts.spoilt(1)
                at += 1
                continue
            counts.packets += 1
            self._message(bytes(buffer[at : at + size]), samples)
            at += size
        del buffer[:at]
        return samples

    def end_of_datagram(self) -> None:
        """Forget the beginning of a message whose end is not there."""
        if self._buffer:
            self.counts.spoilt(len(self._buffer))
            self._buffer.clear()

    def _message(self, message: bytes, samples: list[DeviceSample]) -> None:
        bus, kind = message[1], message[2]
        payload = message[6 if message[3] == _EXTENDED else 4 : -1]
        if kind != MTDATA2:
            if kind == ERROR:
                self.counts.say(f"error {payload[0] if payload else 0}")
            self.replies.append(Reply(kind, payload))
            return
        items = self._items(payload)
        if items is None:
            self.counts.corrupt += 1
            return
        unit = self._units.get(bus)
        if unit is None:
            if len(self._units) >= MAX_SENSORS:
                self.counts.unknown += 1
                return
            unit = self._units[bus] = _Unit(self.counts)
        sample = self._sample("0" if bus == OWN_BUS_ID else str(bus), unit, items)
        if sample is not None:
            self.counts.samples += 1
            samples.append(sample)

    def _items(self, payload: bytes) -> dict[int, tuple[float, ...]] | None:
        """Numbers of the items that are used, by id without format; None if sizes do not fit."""
        items: dict[int, tuple[float, ...]] = {}
        at, end = 0, len(payload)
        while at < end:
            if at + 3 > end:
                return None
            kind, size = payload[at] << 8 | payload[at + 1], payload[at + 2]
            at += 3
            if at + size > end:
                return None
            wanted = kind & 0xFFF0
            if wanted in _VECTORS or wanted == DELTA_Q:
                numbers = _numbers(kind & 3, payload[at : at + size], 4 if wanted == DELTA_Q else 3)
                if numbers is None:
                    return None
                items[wanted] = numbers
            elif kind in (PACKET_COUNTER, SAMPLE_TIME_FINE):
                if size != (2 if kind == PACKET_COUNTER else 4):
                    return None
                items[kind] = (int.from_bytes(payload[at : at + size], "big"),)
            at += size
        return items

    def _sample(self, sensor: str, unit: _Unit, items: dict[int, tuple[float, ...]]) -> DeviceSample | None:
        counter = device_ns = None
        if SAMPLE_TIME_FINE in items:
            device_ns = unit.clock.step(int(items[SAMPLE_TIME_FINE][0])) * NS_PER_TICK
        if PACKET_COUNTER in items:
            counter = unit.counter.step(int(items[PACKET_COUNTER][0]))
            if counter is None:
                return None
        elif device_ns is not None and not unit.times.step(device_ns):
            return None
        force, rate = items.get(ACCELERATION), items.get(RATE_OF_TURN)
        if (force is None and DELTA_V in items) or (rate is None and DELTA_Q in items):
            period_s = _period_s(unit, counter, device_ns)
            if period_s is None:
                self.counts.lack(LACKS_TIMING)
                return None
            if force is None and DELTA_V in items:
                force = tuple(value / period_s for value in items[DELTA_V])
            if rate is None and DELTA_Q in items:
                rate = tuple(value / period_s for value in _rotvec(items[DELTA_Q]))
        if force is None:
            self.counts.lack(LACKS_ACCELERATION)
            return None
        if rate is None:
            self.counts.lack(LACKS_RATE)
            return None
        field = items.get(MAGNETIC_FIELD)
        specific_force, angular_rate = (force[0], force[1], force[2]), (rate[0], rate[1], rate[2])
        if not plausible(specific_force, angular_rate):
            self.counts.absurd += 1
            return None
        magnetic = None if field is None else field_ut((field[0], field[1], field[2]), FIELD_UNIT_UT)
        return DeviceSample(sensor, device_ns, counter, specific_force, angular_rate, magnetic)


def _message_size(buffer: bytearray, at: int, end: int) -> int | None:
    """Bytes from the preamble to the checksum; 0 if it cannot be, None if more bytes have to come."""
    if end - at < 4:
        return None
    size = buffer[at + 3]
    if size != _EXTENDED:
        return size + 5 if end - at >= size + 5 else None
    if end - at < 6:
        return None
    size = buffer[at + 4] << 8 | buffer[at + 5]
    if size > MAX_EXTENDED:
        return 0
    return size + 7 if end - at >= size + 7 else None


_FLOATS = {
    (0, 3): struct.Struct(">3f"),
    (0, 4): struct.Struct(">4f"),
    (3, 3): struct.Struct(">3d"),
    (3, 4): struct.Struct(">4d"),
}
_FIXED = {3: struct.Struct(">3i"), 4: struct.Struct(">4i")}
_LONG_FIXED = {3: struct.Struct(">IhIhIh"), 4: struct.Struct(">IhIhIhIh")}


def _numbers(form: int, payload: bytes, count: int) -> tuple[float, ...] | None:
    """Numbers of one of the four formats: float32, fixed 12.20, fixed 16.32, float64; None if the size does not fit."""
    if form in (0, 3):
        layout = _FLOATS[form, count]
        return layout.unpack(payload) if len(payload) == layout.size else None
    if form == 1:
        layout = _FIXED[count]
        return tuple(value * _Q20 for value in layout.unpack(payload)) if len(payload) == layout.size else None
    layout = _LONG_FIXED[count]
    if len(payload) != layout.size:
        return None
    parts = layout.unpack(payload)
    return tuple(parts[k + 1] + parts[k] * _Q32 for k in range(0, 2 * count, 2))


def _period_s(unit: _Unit, counter: int | None, device_ns: int | None) -> float | None:
    """Time between samples as counter and clock tell it; None before two have come."""
    if counter is None or device_ns is None:
        return None
    last, unit.last = unit.last, (counter, device_ns)
    if last is None or counter <= last[0] or device_ns <= last[1]:
        return None
    return (device_ns - last[1]) / (counter - last[0]) * 1e-9


def _rotvec(q: tuple[float, ...]) -> Vector:
    """Rotation vector of a quaternion wxyz, rad."""
    w, x, y, z = q if q[0] >= 0.0 else (-q[0], -q[1], -q[2], -q[3])
    norm = math.sqrt(x * x + y * y + z * z)
    factor = 2.0 * math.atan2(norm, w) / norm if norm > 1e-12 else 2.0
    return x * factor, y * factor, z * factor


# ---- bytes of messages


def message(kind: int, data: bytes = b"", bus: int = OWN_BUS_ID) -> bytes:
    """A whole message. Longer data than 2048 bytes cannot be sent.

    Raises:
        ValueError: if the data are too long.
    """
    if len(data) > MAX_EXTENDED:
        raise ValueError(f"{len(data)} bytes of data, at most {MAX_EXTENDED}")
    size = bytes([len(data)]) if len(data) < _EXTENDED else bytes([_EXTENDED]) + len(data).to_bytes(2, "big")
    body = bytes([bus, kind]) + size + data
    return bytes([PREAMBLE]) + body + bytes([-sum(body) & 0xFF])


def item(kind: int, numbers: Iterable[float]) -> bytes:
    """One item of MTData2; the format of the numbers is that of the lowest two bits of ``kind``."""
    values = tuple(numbers)
    form = kind & 3
    if form in (0, 3):
        payload = struct.pack(f">{len(values)}{'f' if form == 0 else 'd'}", *values)
    elif form == 1:
        payload = b"".join(struct.pack(">i", round(value / _Q20)) for value in values)
    else:
        payload = b"".join(_long_fixed(value) for value in values)
    return struct.pack(">HB", kind, len(payload)) + payload


def _long_fixed(value: float) -> bytes:
    whole = round(value / _Q32)
    return struct.pack(">Ih", whole & 0xFFFFFFFF, whole >> 32)


def encode(
    counter: int,
    ticks: int,
    force_m_s2: Vector,
    rate_rad_s: Vector,
    magnetic_ut: Vector | None = None,
    *,
    form: int = 0,
    bus: int = OWN_BUS_ID,
) -> bytes:
    """A data message as an MTi sends it: counter, time, acceleration, rate, field, status.

    Args:
        counter: wraps at 2^16 by itself.
        ticks: 10 kHz, wraps at 2^32 by itself.
        force_m_s2, rate_rad_s, magnetic_ut: sensor frame.
        form: number format, 0 to 3.
        bus: address of the device.
    """
    data = struct.pack(">HBHHBI", PACKET_COUNTER, 2, counter & 0xFFFF, SAMPLE_TIME_FINE, 4, ticks & 0xFFFFFFFF)
    data += item(ACCELERATION | form, force_m_s2) + item(RATE_OF_TURN | form, rate_rad_s)
    if magnetic_ut is not None:
        data += item(MAGNETIC_FIELD | form, scaled(magnetic_ut, 1.0 / FIELD_UNIT_UT))
    return message(MTDATA2, data + struct.pack(">HBI", STATUS_WORD, 4, 0x81), bus)


def output_configuration(rate_hz: int, *, magnetometer: bool) -> bytes:
    """Data of SetOutputConfiguration: what ``encode`` sends, float32; counter and time go with every sample."""
    kinds = [ACCELERATION, RATE_OF_TURN, *([MAGNETIC_FIELD] if magnetometer else [])]
    every = [(PACKET_COUNTER, 0xFFFF), (SAMPLE_TIME_FINE, 0xFFFF)]
    return b"".join(struct.pack(">HH", *pair) for pair in [*every, *((kind, rate_hz) for kind in kinds)])
