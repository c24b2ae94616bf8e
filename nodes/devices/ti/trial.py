"""Frames of every form whose content is known, and what lines and firmware do to them; for tests and benchmarks."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.devices.ti import encoder
from nodes.devices.ti.frames import TiFrame
from nodes.devices.ti.layout import LAYOUTS, MAGIC, Layout, best_walk
from nodes.devices.ti.payloads import Height, Statistics, Target, Temperature, Vitals

STATISTICS = Statistics(9_000, 8_200, 60_000, 0, 45, 3)
TEMPERATURE = Temperature(True, 123_456, (41, 41, 42, 42, 44, 45, 44, 43, 46, 46))
VITALS = Vitals(2, 31, 0.02, 71.0, 14.5, tuple(0.5 * k for k in range(15)), tuple(-0.25 * k for k in range(15)))

Truth = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def truth(k: int, count: int | None = None) -> Truth:
    """Places [N, 3] (m, radar frame), radial velocities (m/s), SNR and noise (dB) of the k-th frame."""
    chance = np.random.default_rng(k)
    number = count if count is not None else int(chance.integers(0, 65))
    places = chance.normal((0.0, 2.0, 0.0), (0.4, 0.3, 0.6), (number, 3)).clip((-3, 0.3, -3), (3, 5, 3))
    return (
        places,
        chance.normal(0.0, 0.6, number),
        chance.uniform(8.0, 25.0, number),
        chance.uniform(40.0, 60.0, number),
    )


def person(k: int) -> Target:
    """A target of the k-th frame."""
    spread = np.diag((0.01, 0.02, 0.03, 0.04)).astype(np.float32)
    return Target(7, (0.25, 2.0 + 0.125 * (k % 8), 1.0), (0.5, -0.25, 0.0), (0.0, 0.125, 0.0), spread, 2.0, 0.75)


def sdk3(k: int) -> bytes:
    """Points with side information, range profile and statistics."""
    places, speeds, snrs, noises = truth(k)
    tlvs = [encoder.plain_points(places, speeds)]
    if len(places):
        tlvs.append(encoder.side_info(snrs, noises))
    return encoder.encode_frame(
        k + 1,
        [*tlvs, encoder.profile(np.linspace(4.0, 12.0, 128)), encoder.statistics(STATISTICS)],
        objects=len(places),
        cpu_cycles=20_000_000 * k,
    )


def sdk3_all(k: int) -> bytes:
    """Everything that the out-of-box demo can send, and a TLV that nobody knows."""
    places, speeds, snrs, noises = truth(k, 20)
    return encoder.encode_frame(
        k + 1,
        [
            encoder.plain_points(places, speeds),
            encoder.side_info(snrs, noises),
            encoder.profile(np.full(64, 7.5)),
            encoder.profile(np.full(64, 5.25), noise=True),
            encoder.static_map(np.arange(256).reshape(-1, 2)),
            encoder.range_doppler(np.arange(512)),
            encoder.statistics(STATISTICS),
            encoder.static_map(-np.arange(256).reshape(-1, 2), elevation=True),
            encoder.temperature(TEMPERATURE),
            (7777, b"anything"),
        ],
        sub_frame=k % 2,
        cpu_cycles=20_000_000 * k,
    )


def sdk1(k: int) -> bytes:
    """36 bytes of head, fixed point, Doppler bins."""
    places, speeds, _, _ = truth(k)
    tlvs = [encoder.fixed_points(places, np.rint(speeds / 0.1))]
    return encoder.encode_frame(k + 1, tlvs, layout="sdk1", platform=encoder.XWR1443, version=0x01000005)


def people(k: int) -> bytes:
    """People tracking from toolbox 4.10 on: packed points, targets, index, heights, presence."""
    places, speeds, snrs, _ = truth(k)
    tlvs = [
        encoder.packed_points(places, speeds, snrs),
        encoder.targets([person(k)]),
        encoder.target_index(np.full(len(truth(k - 1)[0]) if k else 0, 7)),
        encoder.heights([Height(7, 1.75, 0.0)]),
        encoder.presence(1),
    ]
    return encoder.encode_frame(k + 1, tlvs)


def vital_signs(k: int) -> bytes:
    """Vital signs and occupancy with spherical points."""
    places, speeds, snrs, noises = truth(k, 12)
    points = encoder.spherical_points(places, speeds)
    rest = [encoder.side_info(snrs, noises), encoder.occupancy(5), encoder.vitals(VITALS)]
    return encoder.encode_frame(k + 1, [points, *rest])


def people48(k: int) -> bytes:
    """People counting up to toolbox 4.7."""
    places, speeds, snrs, _ = truth(k)
    tlvs = [
        encoder.packed_points(places, speeds, snrs),
        encoder.targets([person(k)]),
        encoder.target_index(np.full(len(truth(k - 1)[0]) if k else 0, 7)),
    ]
    return encoder.encode_frame(k + 1, tlvs, layout="people48")


def old48(k: int) -> bytes:
    """People counting before points were packed."""
    places, speeds, snrs, _ = truth(k)
    return encoder.encode_frame(k + 1, [encoder.old_points(places, speeds, snrs)], layout="people48")


def doors(k: int) -> bytes:
    """44 bytes of head."""
    places, speeds, snrs, noises = truth(k, 9)
    tlvs = [encoder.plain_points(places, speeds), encoder.side_info(snrs, noises)]
    return encoder.encode_frame(k + 1, tlvs, layout="doors", platform=encoder.XWR1642, version=0x03000200)


def extended(k: int) -> bytes:
    """Points of type 301."""
    places, speeds, snrs, noises = truth(k)
    return encoder.encode_frame(k + 1, [encoder.extended_points(places, speeds, snrs, noises)], version=0x05050000)


KINDS: dict[str, Callable[[int], bytes]] = {
    "sdk3": sdk3,
    "sdk3 all": sdk3_all,
    "sdk1": sdk1,
    "people": people,
    "vital signs": vital_signs,
    "people48": people48,
    "old48": old48,
    "doors": doors,
    "extended": extended,
}
"""Bytes of the k-th frame, whose number is k + 1."""


# ---- damage to one frame


def _flip(frame: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randrange(1, 9)):
        frame[chance.randrange(len(frame))] ^= 1 << chance.randrange(8)


def _flip_head(frame: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randrange(1, 4)):
        frame[chance.randrange(48)] ^= 1 << chance.randrange(8)


def _lose(frame: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(frame))
    del frame[at : at + chance.randrange(1, len(frame))]


def _cut_off(frame: bytearray, chance: random.Random) -> None:
    del frame[chance.randrange(1, len(frame)) :]


def _behead(frame: bytearray, chance: random.Random) -> None:
    del frame[: chance.randrange(1, len(frame))]


def _add(frame: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(frame))
    frame[at:at] = chance.randbytes(chance.randrange(1, 300))


def _repeat(frame: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(frame))
    frame[at:at] = frame[at : at + chance.randrange(1, len(frame))]


def _wrong_length(frame: bytearray, chance: random.Random) -> None:
    near = max(len(frame) + 32 * chance.randrange(-12, 13), 0)
    struct.pack_into(
        "<I", frame, 12, chance.choice((near, chance.randrange(36, 65536), 32 * chance.randrange(2, 2048)))
    )


def _wrong_count(frame: bytearray, chance: random.Random) -> None:
    at = frame_layout(frame).tlvs_at
    frame[at] = chance.choice((0, 1, 2, 5, 9, 17, 255))


def _wrong_tlv(frame: bytearray, chance: random.Random) -> None:
    """The first TLV's type or length."""
    at = frame_layout(frame).head + 4 * chance.randrange(2)
    struct.pack_into(
        "<I", frame, at, chance.choice((0, 1, 7, 16, 96, chance.randrange(1 << 16), chance.randrange(1 << 32)))
    )


def _false_magic(frame: bytearray, chance: random.Random) -> None:
    at = chance.randrange(8, len(frame) - 8)
    frame[at : at + 8] = MAGIC


def _false_head(frame: bytearray, chance: random.Random) -> None:
    """What looks like the beginning of a frame of the same sensor, inside."""
    at = chance.randrange(8, len(frame) - 20)
    frame[at : at + 20] = frame[:20]


def _noise(frame: bytearray, chance: random.Random) -> None:
    frame[:] = chance.randbytes(chance.randrange(1, 4000))


def _stuck(frame: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(frame))
    size = min(chance.randrange(1, 200), len(frame) - at)
    frame[at : at + size] = bytes([chance.choice((0, 255))]) * size


DAMAGES: dict[str, Callable[[bytearray, random.Random], None]] = {
    "flipped bits": _flip,
    "flipped bits in the head": _flip_head,
    "bytes lost": _lose,
    "end lost": _cut_off,
    "beginning lost": _behead,
    "bytes added": _add,
    "bytes repeated": _repeat,
    "wrong length": _wrong_length,
    "wrong number of TLVs": _wrong_count,
    "wrong TLV": _wrong_tlv,
    "false magic word": _false_magic,
    "false head": _false_head,
    "noise instead": _noise,
    "stuck line": _stuck,
}
"""What may happen to one frame, in place."""


def frame_layout(frame: bytes | bytearray) -> Layout:
    """Form of a frame of ``KINDS``; ``sdk3`` if it is damaged beyond that."""
    walked = best_walk(frame, 0, len(frame), tuple(LAYOUTS.values()))
    return LAYOUTS["sdk3"] if walked is None else walked.layout


def damaged(frame: bytes, kind: str, chance: random.Random) -> bytes:
    """One frame with one of ``DAMAGES``; frames of fewer than 48 bytes are too short for that and stay as they are."""
    if len(frame) < 48:
        return frame
    spoilt = bytearray(frame)
    DAMAGES[kind](spoilt, chance)
    return bytes(spoilt)


def comparable(frame: TiFrame) -> tuple[Any, ...]:
    """All that a frame says, so that == compares it."""
    return tuple(
        (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else repr(value)
        for value in (getattr(frame, name) for name in TiFrame.__slots__)
    )


def essence(frame: TiFrame) -> tuple[Any, ...]:
    """What of a frame does not depend on those before it, comparable."""
    return frame.number, frame.length, frame.doubtful, frame.positions_m.tobytes(), frame.snrs_db.tobytes()
