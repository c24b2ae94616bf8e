"""x-IMU3: ASCII and binary messages, multiplexed or not.

Every message ends in LF. An ASCII one is ``I,microseconds,gx,gy,gz,ax,ay,az``; a
binary one is 80h + its letter, u64 microseconds and float32, little-endian, with
DB DC for LF and DB DD for DB inside. ``^`` and a channel byte go before a whole
message of a sensor behind a multiplexer, ``{`` begins the answer to a command.
There is no checksum: lengths and ranges are all that tells a broken message, so
a flipped bit inside of a number passes.

Source: xioTechnologies/x-IMU3-Software, ``x-IMU3-API/Rust/src`` (``decoder.rs``,
``mux_message.rs``, ``data_messages``). Accelerometer in g (at rest +1 up), rate
in deg/s; the magnetometer's unit is arbitrary.
"""

from __future__ import annotations

import struct
from collections import deque

from nodes.devices.sample import (
    FIELD_UNIT_UT,
    MAX_SENSORS,
    MAX_TEXT,
    RAD_PER_DEG,
    STANDARD_GRAVITY_M_S2,
    DecoderCounts,
    DeviceSample,
    Vector,
    field_ut,
    plausible,
    scaled,
)
from nodes.devices.sequence import TimeSequence

END = 0x0A
MAX_MESSAGE = 4096
LACKS_INERTIAL = "inertial messages (I)"
_KNOWN = frozenset(b"IMQRALEUHTBWSNFY")
_INERTIAL, _MAGNETIC = struct.Struct("<xQ6f"), struct.Struct("<xQ3f")
_MOST_MICROSECONDS = 1 << 62
_BINARY = 0x80


class _Unit:
    """Clock and newest field of one sensor."""

    def __init__(self, counts: DecoderCounts) -> None:
        self.times = TimeSequence(counts)
        self.magnetic_ut: Vector | None = None
        """Not yet handed on; the field comes more rarely than the rest."""


class Ximu3Decoder:
    """Samples of the sensors on a port; identity ``0``, or the channel behind a multiplexer such as ``0x41``."""

    def __init__(self) -> None:
        self.counts = DecoderCounts()
        self.replies: deque[bytes] = deque(maxlen=16)
        """Answers to commands, as JSON text."""
        self._buffer = bytearray()
        self._overlong = False
        self._units: dict[str, _Unit] = {}

    def feed(self, data: bytes) -> list[DeviceSample]:
        """Take bytes in."""
        buffer, counts = self._buffer, self.counts
        # Only new bytes can hold an end: what waits has been looked through.
        searched = len(buffer)
        buffer += data
        samples: list[DeviceSample] = []
        at = 0
        while (stop := buffer.find(END, max(at, searched))) >= 0:
            if self._overlong or stop - at >= MAX_MESSAGE:
                counts.spoilt(stop + 1 - at)
                self._overlong = False
            else:
                self._message(bytes(buffer[at:stop]), samples)
            at = stop + 1
        del buffer[:at]
        if len(buffer) >= MAX_MESSAGE:
            counts.skipped_bytes += len(buffer)
            buffer.clear()
            self._overlong = True
        return samples

    def end_of_datagram(self) -> None:
        """Forget the beginning of a message whose end is not there."""
        if self._buffer or self._overlong:
            self.counts.spoilt(len(self._buffer))
            self._buffer.clear()
            self._overlong = False

    def _message(self, message: bytes, samples: list[DeviceSample]) -> None:
        """Take a message without its end."""
        whole, sensor = len(message) + 1, "0"
        if message[:1] == b"^" and len(message) > 2:
            sensor, message = f"0x{message[1]:02X}", message[2:]
        first = message[0] if message else 0
        if first == 0x7B:
            self.counts.packets += 1
            self.replies.append(message[:MAX_TEXT])
            return
        letter = first & ~_BINARY
        if letter not in _KNOWN:
            self.counts.spoilt(whole)
            return
        if letter in b"IM":
            values = _binary(message) if first & _BINARY else _ascii(message)
            if values is None:
                self.counts.spoilt(whole)
                return
            self.counts.packets += 1
            self._measured(sensor, letter == ord("I"), values, samples)
            return
        self.counts.packets += 1
        if letter == ord("F"):
            self.counts.say(_text(message))
        else:
            self.counts.unknown += 1
            self._lacks()

    def _lacks(self) -> None:
        """Other messages come, but none with what is needed."""
        if not self.counts.samples:
            self.counts.lack(LACKS_INERTIAL)

    def _measured(
        self, sensor: str, inertial: bool, values: tuple[int, tuple[float, ...]], samples: list[DeviceSample]
    ) -> None:
        unit = self._units.get(sensor)
        if unit is None:
            if len(self._units) >= MAX_SENSORS:
                self.counts.unknown += 1
                return
            unit = self._units[sensor] = _Unit(self.counts)
        microseconds, numbers = values
        if not inertial:
            unit.magnetic_ut = field_ut((numbers[0], numbers[1], numbers[2]), FIELD_UNIT_UT)
            self._lacks()
            return
        rate = scaled((numbers[0], numbers[1], numbers[2]), RAD_PER_DEG)
        force = scaled((numbers[3], numbers[4], numbers[5]), STANDARD_GRAVITY_M_S2)
        if not plausible(force, rate):
            self.counts.absurd += 1
            return
        device_ns = microseconds * 1000
        if not unit.times.step(device_ns):
            return
        magnetic, unit.magnetic_ut = unit.magnetic_ut, None
        self.counts.samples += 1
        samples.append(DeviceSample(sensor, device_ns, None, force, rate, magnetic))


def _binary(message: bytes) -> tuple[int, tuple[float, ...]] | None:
    """Time and numbers of a binary I or M message; None if it is none."""
    layout = _INERTIAL if message[0] & ~_BINARY == 0x49 else _MAGNETIC
    if len(message) != layout.size or 0xDB in message:
        unstuffed = _unstuffed(message)
        if unstuffed is None or len(unstuffed) != layout.size:
            return None
        message = unstuffed
    microseconds, *numbers = layout.unpack(message)
    return (microseconds, tuple(numbers)) if microseconds < _MOST_MICROSECONDS else None


def _unstuffed(message: bytes) -> bytes | None:
    """The bytes that were meant; None if an escape is followed by neither of its two."""
    parts = message.split(b"\xdb")
    meant = [parts[0]]
    for part in parts[1:]:
        if part[:1] == b"\xdc":
            meant.append(b"\x0a" + part[1:])
        elif part[:1] == b"\xdd":
            meant.append(b"\xdb" + part[1:])
        else:
            return None
    return b"".join(meant)


def _ascii(message: bytes) -> tuple[int, tuple[float, ...]] | None:
    """Time and numbers of an ASCII I or M message; None if it is none."""
    words = message.rstrip(b"\r").split(b",")
    # Python takes more for numbers than the device writes, such as 1_0.
    if (
        len(words) != (8 if message[0] == 0x49 else 5)
        or len(words[0]) != 1
        or not words[1].isdigit()
        or b"_" in message
    ):
        return None
    if len(words[1]) > 18:
        return None
    try:
        return int(words[1]), tuple(map(float, words[2:]))
    except ValueError:
        return None


def _text(message: bytes) -> str:
    """What an error message says, without its time."""
    return "".join(map(chr, message[:MAX_TEXT])).partition(",")[2].partition(",")[2]


# ---- bytes of messages


def stuffed(message: bytes) -> bytes:
    """A binary message as it travels, with its end."""
    return message.replace(b"\xdb", b"\xdb\xdd").replace(b"\n", b"\xdb\xdc") + b"\n"


def encode(microseconds: int, force_m_s2: Vector, rate_rad_s: Vector, *, ascii_text: bool = False) -> bytes:
    """An inertial message.

    Args:
        microseconds: the device's time.
        force_m_s2, rate_rad_s: sensor frame.
        ascii_text: as text with four decimals, as the device writes it, instead of binary.
    """
    numbers = (*scaled(rate_rad_s, 1.0 / RAD_PER_DEG), *scaled(force_m_s2, 1.0 / STANDARD_GRAVITY_M_S2))
    if ascii_text:
        return f"I,{microseconds},{','.join(f'{number:.4f}' for number in numbers)}\n".encode()
    return stuffed(struct.pack("<BQ6f", _BINARY | ord("I"), microseconds, *numbers))


def encode_field(microseconds: int, magnetic_ut: Vector, *, ascii_text: bool = False) -> bytes:
    """A message of the magnetic field, sensor frame."""
    numbers = scaled(magnetic_ut, 1.0 / FIELD_UNIT_UT)
    if ascii_text:
        return f"M,{microseconds},{','.join(f'{number:.4f}' for number in numbers)}\n".encode()
    return stuffed(struct.pack("<BQ3f", _BINARY | ord("M"), microseconds, *numbers))


def multiplexed(channel: int, message: bytes) -> bytes:
    """A message as it comes through a multiplexer."""
    return bytes([0x5E, channel]) + message
