"""What the TLVs of one frame say.

Points are in the radar frame; targets and heights are in the floor frame that the sensor
makes of it with ``sensorPosition`` (turned by its tilt, lifted by its height).

Source: TI ``mmw_output.h`` of the SDK; TLV tables of the people tracking demos of TI's radar toolbox.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nodes.devices.ti import layout as ti
from nodes.devices.ti.layout import Tlv
from nodes.devices.ti.points import POINT_READERS, Points, plausible, side_info

Vector = tuple[float, float, float]
LACKS_DOPPLER_STEP = (
    "the velocity of one Doppler bin (profileCfg and frameCfg of the cfg); speeds of SDK 1 and 2 are bins"
)
MOST_MOTION = 300.0
"""m, m/s, m/s^2: targets above these are none."""
MOST_TARGET_ID = 1023
_TARGETS = (
    np.dtype([("id", "<u4"), ("motion", "<f4", 9), ("covariance", "<f4", (4, 4)), ("gain", "<f4"), ("sure", "<f4")]),
    np.dtype([("id", "<u4"), ("mixed", "<f4", 9), ("covariance", "<f4", (4, 4)), ("gain", "<f4")]),
    np.dtype([("id", "<u4"), ("mixed", "<f4", 9)]),
)
"""Rows of 112 bytes, and of 108 and 40 in early trackers, which send x y vx vy ax ay z vz az."""
_IN_ORDER = (0, 1, 6, 2, 3, 7, 4, 5, 8)
_HEIGHT = np.dtype([("id", "<u4"), ("top", "<f4"), ("bottom", "<f4")])
_VITALS = struct.Struct("<2H33f")
_TEMPERATURE = struct.Struct("<iI10h")
_STATISTICS = struct.Struct("<6I")


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A person as the sensor tracks them; floor frame."""

    id: int
    position_m: Vector
    velocity_m_s: Vector
    acceleration_m_s2: Vector
    covariance: NDArray[np.float32] | None = None
    """[4, 4] of range, azimuth, elevation, Doppler: spread of its points (m, rad, rad, m/s)."""
    gain: float | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Height:
    """How high a target reaches; floor frame."""

    target: int
    top_m: float
    bottom_m: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """Time and load of the sensor's processor."""

    processing_us: int
    """Between frames, from the last chirp to the end of computing."""
    transmit_us: int
    """Sending the frame before."""
    frame_margin_us: int
    chirp_margin_us: int
    active_load_percent: int
    idle_load_percent: int


@dataclass(frozen=True, slots=True)
class Temperature:
    """Temperatures of the front end."""

    valid: bool
    time_ms: int
    celsius: tuple[int, ...]
    """Ten places: four receivers, three transmitters, power management, two digital."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """Breath and heart of a target."""

    target: int
    range_bin: int
    breath_deviation: float
    heart_per_min: float
    breath_per_min: float
    heart_waveform: tuple[float, ...]
    breath_waveform: tuple[float, ...]


@dataclass(slots=True)
class Content:
    """All TLVs of a frame."""

    positions_m: NDArray[np.float32]
    radial_velocities_m_s: NDArray[np.float32]
    snrs_db: NDArray[np.float32]
    noises_db: NDArray[np.float32]
    kept: NDArray[np.bool_]
    """Which of the points that came are above."""
    targets: tuple[Target, ...] = ()
    target_of_point: NDArray[np.uint8] | None = None
    heights: tuple[Height, ...] = ()
    presence: int | None = None
    occupancy: int | None = None
    vitals: tuple[Vitals, ...] = ()
    statistics: Statistics | None = None
    temperature: Temperature | None = None
    range_profile: NDArray[np.uint16] | None = None
    noise_profile: NDArray[np.uint16] | None = None
    range_doppler: NDArray[np.uint16] | None = None
    static_map: NDArray[np.int16] | None = None
    unknown_types: tuple[int, ...] = ()
    absurd: int = 0
    """Points or targets that cannot be."""
    odd: int = 0
    """TLVs whose size does not suit their type."""
    lacking: list[str] = field(default_factory=list)


def read_content(data: bytes, tlvs: tuple[Tlv, ...], doppler_step_m_s: float | None) -> Content:
    """Everything in the TLVs; what does not suit its type is left out and counted."""
    points, odd = _points(data, tlvs)
    content = _kept_points(points, doppler_step_m_s)
    content.odd = odd
    unknown: list[int] = []
    for tlv in tlvs:
        if tlv.kind not in ti.KNOWN:
            unknown.append(tlv.kind)
        elif tlv.kind in _READERS and not _READERS[tlv.kind](content, data[tlv.start : tlv.stop]):
            content.odd += 1
    content.unknown_types = tuple(unknown)
    return content


def _points(data: bytes, tlvs: tuple[Tlv, ...]) -> tuple[Points, int]:
    """Points of the first TLV that has some, with side information if there is as much of it; how many did not fit."""
    points, odd = Points.none(), 0
    for tlv in tlvs:
        if tlv.kind in POINT_READERS:
            found = POINT_READERS[tlv.kind](data[tlv.start : tlv.stop])
            if found is None:
                odd += 1
            elif not len(points.positions_m):
                points = found
    for tlv in tlvs:
        if tlv.kind == ti.SIDE_INFO:
            found = side_info(points, data[tlv.start : tlv.stop])
            if found is None:
                odd += 1
            else:
                points = found
    return points, odd


def _kept_points(points: Points, doppler_step_m_s: float | None) -> Content:
    lacking = []
    velocities = points.radial_velocities_m_s
    if points.doppler_bins is not None:
        if doppler_step_m_s is None:
            lacking.append(LACKS_DOPPLER_STEP)
        else:
            velocities = (points.doppler_bins * doppler_step_m_s).astype(np.float32)
    kept = plausible(points.positions_m, velocities, bins=points.doppler_bins is not None)
    absurd = int(kept.size - np.count_nonzero(kept))
    arrays = points.positions_m, velocities, _finite(points.snrs_db), _finite(points.noises_db)
    if absurd:
        arrays = arrays[0][kept], arrays[1][kept], arrays[2][kept], arrays[3][kept]
    return Content(*arrays, kept=kept, absurd=absurd, lacking=lacking)


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """NaN for what is infinite."""
    return np.where(np.isinf(values), np.float32(np.nan), values)


# ---- one reader a type: False if the size does not suit it


def _targets(content: Content, payload: bytes) -> bool:
    for form in _TARGETS:
        if len(payload) % form.itemsize == 0:
            rows = np.frombuffer(payload, form)
            if (rows["id"] <= MOST_TARGET_ID).all():  # Rows of another size would have numbers here.
                break
    else:
        return False
    motions = rows["motion"] if "motion" in (form.names or ()) else rows["mixed"][:, _IN_ORDER]
    good = (np.abs(motions) < MOST_MOTION).all(axis=1)
    content.absurd += int(len(rows) - np.count_nonzero(good))
    content.targets = tuple(
        _target(row, motion) for row, motion in zip(rows[good], motions[good].tolist(), strict=True)
    )
    return True


def _target(row: np.void, motion: list[float]) -> Target:
    x, y, z, vx, vy, vz, ax, ay, az = motion
    names = row.dtype.names or ()
    return Target(
        int(row["id"]),
        (x, y, z),
        (vx, vy, vz),
        (ax, ay, az),
        row["covariance"].copy() if "covariance" in names else None,
        float(row["gain"]) if "gain" in names else None,
        float(row["sure"]) if "sure" in names else None,
    )


def _target_index(content: Content, payload: bytes) -> bool:
    content.target_of_point = np.frombuffer(payload, np.uint8)
    return True


def _heights(content: Content, payload: bytes) -> bool:
    if len(payload) % _HEIGHT.itemsize:
        return False
    rows = np.frombuffer(payload, _HEIGHT).tolist()
    content.heights = tuple(Height(*row) for row in rows if row[1] == row[1] and row[2] == row[2])
    content.absurd += len(rows) - len(content.heights)
    return True


def _presence(content: Content, payload: bytes) -> bool:
    if len(payload) != 4:
        return False
    content.presence = int.from_bytes(payload, "little")
    return True


def _old_extra(content: Content, payload: bytes) -> bool:
    """Presence in some labs of the 48-byte form, statistics in others."""
    return _presence(content, payload) or _statistics(content, payload)


def _occupancy(content: Content, payload: bytes) -> bool:
    if len(payload) != 4:
        return False
    content.occupancy = int.from_bytes(payload, "little")
    return True


def _vitals(content: Content, payload: bytes) -> bool:
    if len(payload) % _VITALS.size:
        return False
    content.vitals = tuple(
        Vitals(row[0], row[1], row[2], row[3], row[4], row[5:20], row[20:35]) for row in _VITALS.iter_unpack(payload)
    )
    return True


def _statistics(content: Content, payload: bytes) -> bool:
    if len(payload) != _STATISTICS.size:
        return False
    content.statistics = Statistics(*_STATISTICS.unpack(payload))
    return True


def _temperature(content: Content, payload: bytes) -> bool:
    if len(payload) != _TEMPERATURE.size:
        return False
    failed, time_ms, *celsius = _TEMPERATURE.unpack(payload)
    content.temperature = Temperature(failed == 0, time_ms, tuple(celsius))
    return True


def _u16(payload: bytes) -> NDArray[np.uint16] | None:
    return None if len(payload) % 2 else np.frombuffer(payload, "<u2")


def _range_profile(content: Content, payload: bytes) -> bool:
    content.range_profile = _u16(payload)
    return content.range_profile is not None


def _noise_profile(content: Content, payload: bytes) -> bool:
    content.noise_profile = _u16(payload)
    return content.noise_profile is not None


def _range_doppler(content: Content, payload: bytes) -> bool:
    content.range_doppler = _u16(payload)
    return content.range_doppler is not None


def _static_map(content: Content, payload: bytes) -> bool:
    if len(payload) % 4:
        return False
    content.static_map = np.frombuffer(payload, "<i2").reshape(-1, 2)
    return True


_READERS = {
    ti.RANGE_PROFILE: _range_profile,
    ti.NOISE_PROFILE: _noise_profile,
    ti.AZIMUTH_MAP: _static_map,
    ti.ELEVATION_MAP: _static_map,
    ti.RANGE_DOPPLER: _range_doppler,
    ti.STATISTICS: _statistics,
    ti.TEMPERATURE: _temperature,
    ti.TARGETS: _targets,
    ti.TARGET_INDEX: _target_index,
    ti.HEIGHTS: _heights,
    ti.PRESENCE: _presence,
    ti.OLD_EXTRA: _old_extra,
    ti.OCCUPANCY: _occupancy,
    ti.VITALS: _vitals,
}
