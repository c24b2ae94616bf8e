"""What an inertial device says, in our units, and what was wrong with its bytes.

A decoder turns bytes into samples and nowhere else are units, axes, the sign of
gravity and the sensor's identity settled. It never raises on bytes, whatever
they are, and its memory is bounded: what cannot be is counted and skipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

STANDARD_GRAVITY_M_S2 = 9.80665
"""The g of data sheets: the standard acceleration, 3rd CGPM 1901."""
RAD_PER_DEG = math.pi / 180.0
FIELD_UNIT_UT = 49.0
"""Makers who send the magnetic field in "arbitrary units" scale it to 1 in the earth's field where they calibrate.
We take that for 49 µT, the total field of the Netherlands and England (IGRF-13, 2020: 48.8 to 49.3 µT)."""
MOST_FORCE_M_S2 = 2000.0
MOST_RATE_RAD_S = 100.0
"""Readings above these are no readings; the orientation filter draws the same lines."""
MAX_SENSORS = 64
"""So many sensors may speak on one port; what more identities there seem to be is noise."""
MOST_FIELD_UT = 1e4
MAX_TEXT = 200

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class DeviceSample:
    """One sample of one sensor, as it came."""

    sensor: str
    """Identity on its port: bus address, channel of a multiplexer, or segment; ``0`` where there is just one."""
    device_ns: int | None
    """The device's own time, without its wraps; None if it sends none."""
    counter: int | None
    """Number of the sample, without its wraps; None if it sends none."""
    specific_force_m_s2: Vector
    """Sensor frame; +9.81 upward at rest."""
    rate_rad_s: Vector
    """Sensor frame."""
    magnetic_ut: Vector | None = None
    """Sensor frame; None where this sample has no field."""


@dataclass(slots=True)
class DecoderCounts:
    """What a decoder has met so far."""

    packets: int = 0
    """Whole and valid, whatever they said."""
    samples: int = 0
    corrupt: int = 0
    """Looked like a packet but the checksum, the length or the values said no."""
    absurd: int = 0
    """Valid packets with readings that cannot be, or with no number."""
    skipped_bytes: int = 0
    unknown: int = 0
    """Valid packets, or items in them, that nobody asked for."""
    lost: int = 0
    """Samples that are missing by counter or by time."""
    doubled: int = 0
    """Came a second time; dropped."""
    late: int = 0
    """Came after a newer one; handed on."""
    restarts: int = 0
    """Counter or clock began anew."""
    errors: int = 0
    """The device said that something was wrong."""
    said: str = ""
    """Its last words about that."""
    lacking: dict[str, int] = field(default_factory=dict)
    """Packets without something that is needed, by what it was."""

    def spoilt(self, size: int) -> None:
        """Count bytes that looked like a packet and are none."""
        self.corrupt += 1
        self.skipped_bytes += size

    def lack(self, what: str) -> None:
        """Count a packet that lacks something; ``what`` is one of few texts."""
        self.lacking[what] = self.lacking.get(what, 0) + 1

    def say(self, text: str) -> None:
        """Keep what a device says is wrong."""
        self.errors += 1
        self.said = text[:MAX_TEXT]


class Decoder(Protocol):
    """Bytes in, samples out; one a port, or one a sender where several send to one port."""

    counts: DecoderCounts

    def feed(self, data: bytes) -> list[DeviceSample]:
        """Take bytes in; how they are portioned makes no difference."""
        ...

    def end_of_datagram(self) -> None:
        """Say that the bytes so far were whole datagrams: what is not complete now never will be."""
        ...


def plausible(force: Vector, rate: Vector) -> bool:
    """Whether these can be readings; False for NaN too."""
    return (
        abs(force[0]) < MOST_FORCE_M_S2
        and abs(force[1]) < MOST_FORCE_M_S2
        and abs(force[2]) < MOST_FORCE_M_S2
        and abs(rate[0]) < MOST_RATE_RAD_S
        and abs(rate[1]) < MOST_RATE_RAD_S
        and abs(rate[2]) < MOST_RATE_RAD_S
    )


def scaled(vector: Vector, factor: float) -> Vector:
    """The vector times a factor."""
    return vector[0] * factor, vector[1] * factor, vector[2] * factor


def field_ut(vector: Vector, factor: float) -> Vector | None:
    """A magnetic field in µT; None if it cannot be one."""
    field = scaled(vector, factor)
    return field if all(abs(value) < MOST_FIELD_UT for value in field) else None
