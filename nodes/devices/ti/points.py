"""Points of a frame, in each of the forms in which sensors send them.

All come out in the radar frame: x right, y forward, z up, metres, radial velocity + receding.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nodes.devices.ti import layout as ti

MOST_RANGE_M = 300.0
MOST_SPEED_M_S = 200.0
"""Readings above these are no readings."""
MOST_FIXED_POINT_BITS = 15
FIXED_ROW = np.dtype([("range", "<u2"), ("doppler", "<i2"), ("peak", "<u2"), ("xyz", "<i2", 3)])
EXTENDED_ROW = np.dtype([("xyz", "<i2", 3), ("doppler", "<i2"), ("snr", "u1"), ("noise", "u1")])
PACKED_ROW = np.dtype([("elevation", "i1"), ("azimuth", "i1"), ("doppler", "<i2"), ("range", "<u2"), ("snr", "<u2")])
_EXTENDED_UNITS = struct.Struct("<4f2H")
_PACKED_UNITS = struct.Struct("<5f")
_SIDE_DB = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points of one frame."""

    positions_m: NDArray[np.float32]
    """[N, 3]."""
    radial_velocities_m_s: NDArray[np.float32]
    """[N]; NaN where ``doppler_bins`` stand instead."""
    snrs_db: NDArray[np.float32]
    """[N]; NaN where unknown."""
    noises_db: NDArray[np.float32]
    """[N]; NaN where unknown."""
    doppler_bins: NDArray[np.int16] | None = None
    """[N], signed."""

    @classmethod
    def none(cls) -> Points:
        """No points."""
        empty = np.zeros(0, np.float32)
        return cls(np.zeros((0, 3), np.float32), empty, empty, empty)


def cartesian(
    ranges_m: NDArray[np.float32], azimuths_rad: NDArray[np.float32], elevations_rad: NDArray[np.float32]
) -> NDArray[np.float32]:
    """[N, 3] of N ranges, azimuths (+ to the right, from straight ahead) and elevations (+ up)."""
    with np.errstate(invalid="ignore", over="ignore"):
        level = ranges_m * np.cos(elevations_rad)
        x, y = level * np.sin(azimuths_rad), level * np.cos(azimuths_rad)
        return np.stack((x, y, ranges_m * np.sin(elevations_rad)), axis=1).astype(np.float32)


def plausible(
    positions_m: NDArray[np.float32], radial_velocities_m_s: NDArray[np.float32], *, bins: bool = False
) -> NDArray[np.bool_]:
    """[N]: which of N points can be; none with NaN, except that speeds may be unknown where ``bins`` were sent."""
    near: NDArray[np.bool_] = np.all(np.abs(positions_m) < MOST_RANGE_M, axis=1)
    slow: NDArray[np.bool_] = np.abs(radial_velocities_m_s) < MOST_SPEED_M_S
    if bins:
        slow |= np.isnan(radial_velocities_m_s)
    return near & slow


def side_info(points: Points, payload: bytes) -> Points | None:
    """The points with SNR and noise of type 7; None if it speaks of another number of points."""
    count = len(points.positions_m)
    if len(payload) != 4 * count:
        return None
    pairs = np.frombuffer(payload, "<i2").reshape(count, 2).astype(np.float32) * np.float32(_SIDE_DB)
    return replace(points, snrs_db=pairs[:, 0], noises_db=pairs[:, 1])


def _plain(payload: bytes) -> Points | None:
    """Type 1: x, y, z, Doppler as floats; in SDK 1 and 2 fixed point with Doppler bins."""
    if len(payload) >= 4:
        count, bits = struct.unpack_from("<2H", payload)
        if len(payload) == 4 + FIXED_ROW.itemsize * count and bits <= MOST_FIXED_POINT_BITS:
            return _fixed(payload[4:], bits)
    if len(payload) % 16:
        return None
    rows = np.frombuffer(payload, "<f4").reshape(-1, 4)
    return _without_snr(rows[:, :3], rows[:, 3])


def _fixed(payload: bytes, bits: int) -> Points:
    rows = np.frombuffer(payload, FIXED_ROW)
    positions = rows["xyz"].astype(np.float32) * np.float32(2.0**-bits)
    unknown = np.full(len(rows), np.nan, np.float32)
    return Points(positions, unknown, unknown, unknown, rows["doppler"])


def _without_snr(positions_m: NDArray[np.float32], velocities_m_s: NDArray[np.float32]) -> Points:
    unknown = np.full(len(positions_m), np.nan, np.float32)
    return Points(np.ascontiguousarray(positions_m), np.ascontiguousarray(velocities_m_s), unknown, unknown)


def _spherical(payload: bytes) -> Points | None:
    """Type 1000: range, azimuth, elevation, Doppler."""
    if len(payload) % 16:
        return None
    rows = np.frombuffer(payload, "<f4").reshape(-1, 4)
    return _without_snr(cartesian(rows[:, 0], rows[:, 1], rows[:, 2]), rows[:, 3])


def _extended(payload: bytes) -> Points | None:
    """Type 301: units, then x, y, z, Doppler, SNR and noise as integers."""
    if not payload:
        return Points.none()
    if len(payload) < _EXTENDED_UNITS.size or (len(payload) - _EXTENDED_UNITS.size) % EXTENDED_ROW.itemsize:
        return None
    xyz_m, doppler_m_s, snr_db, noise_db, _, _ = _EXTENDED_UNITS.unpack_from(payload)
    rows = np.frombuffer(payload, EXTENDED_ROW, offset=_EXTENDED_UNITS.size)
    return Points(
        _times(rows["xyz"], xyz_m),
        _times(rows["doppler"], doppler_m_s),
        _times(rows["snr"], snr_db),
        _times(rows["noise"], noise_db),
    )


def _packed(payload: bytes) -> Points | None:
    """Type 1020: units, then elevation, azimuth, Doppler, range and SNR as integers; the SNR is a ratio, not dB."""
    if not payload:
        return Points.none()
    if len(payload) < _PACKED_UNITS.size or (len(payload) - _PACKED_UNITS.size) % PACKED_ROW.itemsize:
        return None
    elevation_rad, azimuth_rad, doppler_m_s, range_m, snr = _PACKED_UNITS.unpack_from(payload)
    rows = np.frombuffer(payload, PACKED_ROW, offset=_PACKED_UNITS.size)
    positions = cartesian(
        _times(rows["range"], range_m),
        _times(rows["azimuth"], azimuth_rad),
        _times(rows["elevation"], elevation_rad),
    )
    snrs_db = _decibels(_times(rows["snr"], snr))
    return Points(positions, _times(rows["doppler"], doppler_m_s), snrs_db, np.full(len(rows), np.nan, np.float32))


def _old(payload: bytes) -> Points | None:
    """Type 6 of the 48-byte form: as 1020, or range, azimuth, elevation, Doppler, SNR ratio as floats in older ones."""
    if len(payload) % 20 == 0 and not _has_units(payload):
        rows = np.frombuffer(payload, "<f4").reshape(-1, 5)
        positions = cartesian(rows[:, 0], rows[:, 1], rows[:, 2])
        nothing = np.full(len(rows), np.nan, np.float32)
        return Points(positions, np.ascontiguousarray(rows[:, 3]), _decibels(rows[:, 4]), nothing)
    return _packed(payload)


def _has_units(payload: bytes) -> bool:
    """Whether it begins with five units: small and positive, which range, angles, speed and SNR are not all."""
    if len(payload) < _PACKED_UNITS.size or (len(payload) - _PACKED_UNITS.size) % PACKED_ROW.itemsize:
        return False
    return all(0.0 < unit < 0.1 for unit in _PACKED_UNITS.unpack_from(payload))


def _times(counts: NDArray[np.generic], unit: float) -> NDArray[np.float32]:
    with np.errstate(invalid="ignore", over="ignore"):
        return counts.astype(np.float32) * np.float32(unit)


def _decibels(ratios: NDArray[np.float32]) -> NDArray[np.float32]:
    """NaN where there is no positive ratio."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (10.0 * np.log10(np.where(ratios > 0.0, ratios, np.nan))).astype(np.float32)


POINT_READERS = {
    ti.POINTS: _plain,
    ti.SPHERICAL_POINTS: _spherical,
    ti.EXTENDED_POINTS: _extended,
    ti.PACKED_POINTS: _packed,
    ti.OLD_POINTS: _old,
}
