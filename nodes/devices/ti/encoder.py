"""Frames as TI's firmware writes them: for virtual radars and tests.

``encode_frame(number, [plain_points(...), side_info(...)])``; each builder of a TLV gives
``(type, payload)``. Points are in the radar frame, targets and heights in the floor frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nodes.devices.ti import layout as ti
from nodes.devices.ti.layout import LAYOUTS, MAGIC, PADDED_TO, Layout
from nodes.devices.ti.payloads import Height, Statistics, Target, Temperature, Vitals
from nodes.devices.ti.points import EXTENDED_ROW, FIXED_ROW, PACKED_ROW

IWR6843, XWR1843, XWR1642, XWR1443 = 0xA6843, 0xA1843, 0xA1642, 0xA1443
SDK_3_5 = 0x03050004
PACKED_UNITS = (0.01, 0.01, 0.00028, 0.00025, 0.04)
"""Elevation and azimuth (rad), Doppler (m/s), range (m), SNR (ratio), as the people tracking demos send them."""
EXTENDED_UNITS = (0.001, 0.001, 0.1, 0.1)
"""Place (m), Doppler (m/s), SNR and noise (dB)."""
STALE = bytes(range(165, 165 + PADDED_TO))
"""Padding is whatever the sensor's memory holds; never zero here, so that nobody relies on it."""

TlvBytes = tuple[int, bytes]


def encode_frame(
    number: int,
    tlvs: Iterable[TlvBytes],
    *,
    layout: str = "sdk3",
    objects: int | None = None,
    sub_frame: int = 0,
    cpu_cycles: int = 0,
    platform: int = IWR6843,
    version: int = SDK_3_5,
    announced: int | None = None,
    padding: bytes = STALE,
) -> bytes:
    """A whole frame with its magic word, right length and padding.

    Args:
        number: of the frame, u32; wraps by itself.
        tlvs: type and payload of each.
        layout: form of the head, a name in ``LAYOUTS``.
        objects: number of detected objects in the head; None for 0, as nobody should rely on it.
        sub_frame, cpu_cycles: as the head has them; cycles wrap at 2^32 by themselves.
        platform, version: words of the head.
        announced: number of TLVs in the head if it shall be wrong.
        padding: bytes to pad with, at least 31.

    Raises:
        ValueError: if there is no such layout, or the frame is longer than 64 KiB.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r}: allowed {', '.join(LAYOUTS)}")
    form = LAYOUTS[layout]
    rows = list(tlvs)
    body = b"".join(_tlv(form, kind, payload) for kind, payload in rows)
    size = form.head + len(body)
    fill = -size % PADDED_TO if form.padded else 0
    if size + fill > ti.MOST_LENGTH:
        raise ValueError(f"frame of {size + fill} bytes: at most {ti.MOST_LENGTH}; send fewer points or no maps")
    count = len(rows) if announced is None else announced
    if form.short_count:
        head = _short_head(version, size, platform, number, sub_frame, count)
    else:
        words = [version, size + fill, platform, number, cpu_cycles, objects or 0, count, sub_frame, 0]
        head = MAGIC + struct.pack("<9I", *(word & 0xFFFFFFFF for word in words))[: form.head - len(MAGIC)]
    return head + body + padding[:fill]


def _tlv(form: Layout, kind: int, payload: bytes) -> bytes:
    old = next((number for number, meaning in form.kinds.items() if meaning == kind), kind)
    if form.short_count and kind == ti.PACKED_POINTS:
        old = 6
    return struct.pack("<2I", old, len(payload) + (8 if form.counts_own_head else 0)) + payload


def _short_head(version: int, size: int, platform: int, number: int, sub_frame: int, count: int) -> bytes:
    """48 bytes; margins and times are some that could be."""
    words = (version, size, platform, number & 0xFFFFFFFF, sub_frame, 50, 12_000, 3_000, 4_000)
    head = MAGIC + struct.pack("<9I2H", *words, count, 0)
    return head[:-2] + struct.pack("<H", head_checksum(head))


def head_checksum(head: bytes) -> int:
    """Complement of the one's complement sum of the 16-bit words, so that a right head sums up to 0xFFFF (RFC 1071)."""
    total = int(sum(struct.unpack(f"<{len(head) // 2}H", head)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# ---- points


def plain_points(positions_m: ArrayLike, radial_velocities_m_s: ArrayLike) -> TlvBytes:
    """Type 1 of SDK 3: N x 4 floats."""
    positions = np.asarray(positions_m, "<f4").reshape(-1, 3)
    return ti.POINTS, np.column_stack((positions, np.asarray(radial_velocities_m_s, "<f4"))).astype("<f4").tobytes()


def side_info(snrs_db: ArrayLike, noises_db: ArrayLike) -> TlvBytes:
    """Type 7: SNR and noise of each point in 0.1 dB."""
    pairs = np.column_stack((np.asarray(snrs_db, float), np.asarray(noises_db, float)))
    return ti.SIDE_INFO, np.clip(np.rint(pairs * 10.0), -32768, 32767).astype("<i2").tobytes()


def fixed_points(positions_m: ArrayLike, doppler_bins: ArrayLike, bits: int = 9) -> TlvBytes:
    """Type 1 of SDK 1 and 2: places in units of 2^-bits m, Doppler as a bin."""
    rows = np.zeros(np.asarray(doppler_bins).size, FIXED_ROW)
    rows["xyz"] = _integers(np.asarray(positions_m, float).reshape(-1, 3) * 2.0**bits, "<i2")
    rows["doppler"] = _integers(doppler_bins, "<i2")
    rows["range"] = _integers(np.linalg.norm(np.asarray(positions_m, float).reshape(-1, 3), axis=1) / 0.04, "<u2")
    rows["peak"] = 500
    return ti.POINTS, struct.pack("<2H", len(rows), bits) + rows.tobytes()


def spherical_points(positions_m: ArrayLike, radial_velocities_m_s: ArrayLike) -> TlvBytes:
    """Type 1000: range, azimuth, elevation, Doppler."""
    ranges, azimuths, elevations = polar(positions_m)
    rows = np.column_stack((ranges, azimuths, elevations, np.asarray(radial_velocities_m_s, float)))
    return ti.SPHERICAL_POINTS, rows.astype("<f4").tobytes()


def old_points(positions_m: ArrayLike, radial_velocities_m_s: ArrayLike, snrs_db: ArrayLike) -> TlvBytes:
    """Type 6 of early people counting: range, azimuth, elevation, Doppler, SNR (ratio)."""
    ranges, azimuths, elevations = polar(positions_m)
    ratios = 10.0 ** (np.asarray(snrs_db, float) / 10.0)
    rows = np.column_stack((ranges, azimuths, elevations, np.asarray(radial_velocities_m_s, float), ratios))
    return ti.OLD_POINTS, rows.astype("<f4").tobytes()


def packed_points(
    positions_m: ArrayLike,
    radial_velocities_m_s: ArrayLike,
    snrs_db: ArrayLike,
    units: Sequence[float] = PACKED_UNITS,
) -> TlvBytes:
    """Type 1020: integers times ``units``; angles saturate at 127 steps."""
    ranges, azimuths, elevations = polar(positions_m)
    rows = np.zeros(ranges.size, PACKED_ROW)
    rows["elevation"] = _integers(elevations / units[0], "i1")
    rows["azimuth"] = _integers(azimuths / units[1], "i1")
    rows["doppler"] = _integers(np.asarray(radial_velocities_m_s, float) / units[2], "<i2")
    rows["range"] = _integers(ranges / units[3], "<u2")
    rows["snr"] = _integers(10.0 ** (np.asarray(snrs_db, float) / 10.0) / units[4], "<u2")
    return ti.PACKED_POINTS, struct.pack("<5f", *units) + rows.tobytes()


def extended_points(
    positions_m: ArrayLike,
    radial_velocities_m_s: ArrayLike,
    snrs_db: ArrayLike,
    noises_db: ArrayLike,
    units: Sequence[float] = EXTENDED_UNITS,
) -> TlvBytes:
    """Type 301: integers times ``units``; all points are counted as major ones."""
    rows = np.zeros(np.asarray(radial_velocities_m_s).size, EXTENDED_ROW)
    rows["xyz"] = _integers(np.asarray(positions_m, float).reshape(-1, 3) / units[0], "<i2")
    rows["doppler"] = _integers(np.asarray(radial_velocities_m_s, float) / units[1], "<i2")
    rows["snr"] = _integers(np.asarray(snrs_db, float) / units[2], "u1")
    rows["noise"] = _integers(np.asarray(noises_db, float) / units[3], "u1")
    return ti.EXTENDED_POINTS, struct.pack("<4f2H", *units, len(rows), 0) + rows.tobytes()


def polar(positions_m: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Range (m), azimuth (rad, + to the right) and elevation (rad, + up), [N] each, of [N, 3] places."""
    x, y, z = np.asarray(positions_m, float).reshape(-1, 3).T
    level = np.hypot(x, y)
    return np.hypot(level, z), np.arctan2(x, y), np.arctan2(z, level)


def _integers(values: ArrayLike, dtype: str) -> NDArray[np.generic]:
    limits = np.iinfo(dtype)
    whole: NDArray[np.generic] = np.clip(np.rint(np.asarray(values, float)), limits.min, limits.max).astype(dtype)
    return whole


# ---- other TLVs


def targets(people: Iterable[Target]) -> TlvBytes:
    """Type 1010."""
    return ti.TARGETS, b"".join(_target(person) for person in people)


def _target(person: Target) -> bytes:
    spread = np.zeros((4, 4)) if person.covariance is None else person.covariance
    motion = (*person.position_m, *person.velocity_m_s, *person.acceleration_m_s2)
    end = (1.0 if person.gain is None else person.gain, 1.0 if person.confidence is None else person.confidence)
    return struct.pack("<I27f", person.id, *motion, *np.asarray(spread, float).ravel(), *end)


def target_index(target_of_point: ArrayLike) -> TlvBytes:
    """Type 1011: target of each point of the frame before (253 weak, 254 outside, 255 noise)."""
    return ti.TARGET_INDEX, np.asarray(target_of_point, np.uint8).tobytes()


def heights(rows: Iterable[Height]) -> TlvBytes:
    """Type 1012."""
    return ti.HEIGHTS, b"".join(struct.pack("<I2f", row.target, row.top_m, row.bottom_m) for row in rows)


def statistics(row: Statistics) -> TlvBytes:
    """Type 6."""
    words = (row.processing_us, row.transmit_us, row.frame_margin_us, row.chirp_margin_us)
    return ti.STATISTICS, struct.pack("<6I", *words, row.active_load_percent, row.idle_load_percent)


def temperature(row: Temperature) -> TlvBytes:
    """Type 9."""
    return ti.TEMPERATURE, struct.pack("<iI10h", 0 if row.valid else -1, row.time_ms, *row.celsius)


def vitals(row: Vitals) -> TlvBytes:
    """Type 1040."""
    numbers = (row.breath_deviation, row.heart_per_min, row.breath_per_min)
    return ti.VITALS, struct.pack(
        "<2H33f", row.target, row.range_bin, *numbers, *row.heart_waveform, *row.breath_waveform
    )


def presence(present: int) -> TlvBytes:
    """Type 1021."""
    return ti.PRESENCE, struct.pack("<I", present)


def occupancy(zones: int) -> TlvBytes:
    """Type 1030: a bit a zone."""
    return ti.OCCUPANCY, struct.pack("<I", zones)


def profile(log2_magnitudes: ArrayLike, *, noise: bool = False) -> TlvBytes:
    """Type 2, or 3 for the noise: log2 of magnitude for each range bin."""
    return ti.NOISE_PROFILE if noise else ti.RANGE_PROFILE, _integers(
        np.asarray(log2_magnitudes, float) * 512.0, "<u2"
    ).tobytes()


def range_doppler(values: ArrayLike) -> TlvBytes:
    """Type 5."""
    return ti.RANGE_DOPPLER, np.asarray(values, "<u2").tobytes()


def static_map(values: ArrayLike, *, elevation: bool = False) -> TlvBytes:
    """Type 4, or 8 with elevation: pairs of imaginary and real part."""
    return ti.ELEVATION_MAP if elevation else ti.AZIMUTH_MAP, np.asarray(values, "<i2").tobytes()
