"""Byte streams of every driver whose content is known, and what lines do to bytes; for tests and benchmarks."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from nodes.devices import witmotion, ximu3, xsens_mti, xsens_mvn
from nodes.devices.sample import Vector

FIELD: Vector = (20.0, -3.0, -43.0)


def force(k: int) -> Vector:
    """Specific force of the k-th moment, m/s^2."""
    return 0.5 * math.sin(0.1 * k), -0.25, 9.81 + 0.1 * math.cos(0.2 * k)


def rate(k: int) -> Vector:
    """Angular rate of the k-th moment, rad/s."""
    return 0.3 * math.sin(0.07 * k), 1.0, -0.5


def mti(k: int) -> bytes:
    """Float32."""
    return xsens_mti.encode(k, 100 * k, force(k), rate(k), FIELD)


def mti_fixed(k: int) -> bytes:
    """Fixed point 16.32."""
    return xsens_mti.encode(k, 100 * k, force(k), rate(k), FIELD, form=2)


def wit(k: int) -> bytes:
    """With time, angles and field."""
    return witmotion.encode(700_000_000_000 + 10 * k, force(k), rate(k), FIELD, angles=True)


def ximu3_binary(k: int) -> bytes:
    """A field with every fifth."""
    message = ximu3.encode(10_000 * k, force(k), rate(k))
    return message if k % 5 else ximu3.encode_field(10_000 * k, FIELD) + message


def ximu3_ascii(k: int) -> bytes:
    """As text."""
    return ximu3.encode(10_000 * k, force(k), rate(k), ascii_text=True)


def mvn(k: int) -> bytes:
    """Three trackers."""
    turn = 0.005 * k
    q = (math.cos(turn), 0.0, math.sin(turn), 0.0)
    trackers = [(name, q, force(k), rate(k), FIELD) for name in ("pelvis", "head", "left_forearm")]
    return xsens_mvn.encode(k, 1000 * k // 60, trackers)


ENCODERS: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "xsens-mti": ("xsens-mti", mti),
    "xsens-mti 16.32": ("xsens-mti", mti_fixed),
    "witmotion": ("witmotion", wit),
    "ximu3 binary": ("ximu3", ximu3_binary),
    "ximu3 ascii": ("ximu3", ximu3_ascii),
    "xsens-mvn": ("xsens-mvn", mvn),
}
"""Driver and bytes of the k-th moment."""


@dataclass(frozen=True, slots=True)
class Damage:
    """How much of each fault a stream gets, per 1000 bytes."""

    flips: float = 1.0
    losses: float = 0.5
    noise: float = 0.5
    repeats: float = 0.3


def damaged(stream: bytes, chance: random.Random, damage: Damage | None = None) -> bytes:
    """The stream with flipped, lost, added and repeated bytes."""
    damage = damage or Damage()
    out = bytearray(stream)
    thousands = len(stream) / 1000.0

    def times(share: float) -> range:
        return range(int(share * thousands + chance.random()))

    for _ in times(damage.flips):
        out[chance.randrange(len(out))] ^= 1 << chance.randrange(8)
    for _ in times(damage.losses):
        at = chance.randrange(len(out))
        del out[at : at + chance.randrange(1, 40)]
    for _ in times(damage.noise):
        at = chance.randrange(len(out))
        out[at:at] = chance.randbytes(chance.randrange(1, 40))
    for _ in times(damage.repeats):
        at = chance.randrange(len(out))
        out[at:at] = out[at : at + chance.randrange(1, 200)]
    return bytes(out)
