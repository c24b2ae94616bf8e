"""What a radar's calibration finds: its pose, how late its stamps are, how surely, and what was wrong."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from calibration.radar.body import BodyParams
from calibration.radar.coarse import CoarseParams
from fusion.body.reflection import (
    MOVING_M_S,
    POINT_AZIMUTH_RAD,
    POINT_ELEVATION_RAD,
    POINT_RADIAL_VELOCITY_M_S,
    POINT_RANGE_M,
)
from fusion.records import Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class RadarCalibrationParams:
    """Bounds of a calibration, and what is known of a radar's errors beforehand."""

    rotation_rad: float = math.radians(2.0)
    """A pose is refused whose rotation is not known better, at 95 %,"""
    position_m: float = 0.08
    """or whose position,"""
    time_s: float = 0.010
    """or whose time offset."""
    seen_s: float = 10.0
    """The radar and the cameras show the person together for so long at least,"""
    speed_m_s: float = 0.25
    """who moves so fast in the mean,"""
    spread_m: float = 0.25
    """and to and fro and sideways: standard deviation of the place along the narrowest horizontal direction."""
    crowded: float = 0.1
    """Largest share of the time at which several people are shown."""
    agreeing: float = 0.6
    """Least share of the radar's clusters that are where the person is."""
    clutter: float = 0.5
    """Largest share of points from nobody."""
    worse: float = 2.0
    """Points whose residuals are so many times those that are usual are of something else."""
    latest_s: float = 0.5
    """Largest time offset, either way."""
    look_s: float = 10.0
    """If nothing fits, so far away it is looked what would, to tell it."""
    range_m: float = POINT_RANGE_M
    """Usual noise of a point: range (An and Ogras' MARS recordings against the bones),"""
    azimuth_rad: float = POINT_AZIMUTH_RAD
    elevation_rad: float = POINT_ELEVATION_RAD
    radial_velocity_m_s: float = POINT_RADIAL_VELOCITY_M_S
    noise_low: float = 0.4
    """The noise is learned within these multiples of the usual one."""
    noise_high: float = 2.5
    bias_m: float = 0.04
    """How much too far or too near a radar usually takes surfaces to be: a standard deviation."""
    full_speed_m_s: float = MOVING_M_S
    """What moves radially at least as fast is always seen."""
    share_points: float = 20.0
    """How often each part of a body reflects is learned; the usual counts as so many points of the part."""
    level_rad: float = math.radians(2.0)
    """How well a radar that is said to be level is so."""
    correlation_s: float = 1.0
    """Frames so far apart may share an error: a person's gait, a limb in view."""
    skeleton_rad: float = math.radians(0.15)
    """What cameras' skeletons may be wrong by in all frames alike: part of every confidence."""
    skeleton_m: float = 0.013
    skeleton_s: float = 0.002
    body: BodyParams = field(default_factory=BodyParams)
    coarse: CoarseParams = field(default_factory=CoarseParams)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know, with the figure and what to do."""

    kind: str
    """``nobody``, ``crowd``, ``no_frames``, ``unseen``, ``clock``, ``still``, ``line``, ``apart``, ``edge``,
    ``clutter``, ``residual``, ``quality``, ``moved``."""
    message: str
    blocking: bool = True
    """Whether the calibration is refused because of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """Where a radar is, and how surely."""

    r_world_from_radar: Float64
    """[3, 3]. A constant error of the radar's azimuth or elevation is part of it: no walk tells them apart."""
    position_world_m: Float64
    """[3]."""
    time_offset_s: float
    """How much earlier the world was so than the stamp says."""
    range_bias_m: float
    """How much too far the radar takes surfaces to be; weakly known, and not used."""
    covariance: Float64
    """[7, 7] of a small turn about the radar's axes (rad), of the position (world, m) and of the time offset (s)."""
    rotation_95_rad: float
    """The rotation is wrong by less in 95 of 100 calibrations, if the claim is true,"""
    position_95_m: float
    """the position too,"""
    time_95_s: float
    """and the time offset."""


@dataclass(frozen=True, slots=True)
class Residual:
    """How the body's points lie about where they are expected."""

    name: str
    unit: str
    rms: float
    mean: float
    usual: float
    """Noise that is usual."""


@dataclass(frozen=True, slots=True, eq=False)
class RadarCalibration:
    """The outcome for one radar."""

    radar: str
    pose: Pose | None
    """None where there was nothing to compute it from."""
    findings: tuple[Finding, ...]
    residuals: tuple[Residual, ...] = ()
    frames: int = 0
    """Frames at which cameras show the person,"""
    points: int = 0
    """their points,"""
    body_points: int = 0
    """and those that are the person's."""
    seconds: float = 0.0
    """For how long both have seen the person."""

    @property
    def accepted(self) -> bool:
        """Whether it may be used."""
        return self.pose is not None and not any(finding.blocking for finding in self.findings)


def to_values(found: RadarCalibration) -> dict[str, Any]:
    """The outcome as plain values, for JSON; angles in degrees, lengths in cm, times in ms as the keys say."""
    pose = found.pose
    values: dict[str, Any] = {
        "radar": found.radar,
        "accepted": found.accepted,
        "frames": found.frames,
        "points": found.points,
        "body_points": found.body_points,
        "seconds": found.seconds,
        "pose": None,
        "residuals": [asdict(residual) for residual in found.residuals],
        "findings": [asdict(finding) for finding in found.findings],
    }
    if pose is not None:
        sigmas = pose.covariance.diagonal() ** 0.5
        values["pose"] = {
            "rotation": pose.r_world_from_radar.tolist(),
            "position_m": pose.position_world_m.tolist(),
            "time_offset_ms": 1e3 * pose.time_offset_s,
            "range_bias_cm": 100.0 * pose.range_bias_m,
            "rotation_95_deg": math.degrees(pose.rotation_95_rad),
            "position_95_cm": 100.0 * pose.position_95_m,
            "time_95_ms": 1e3 * pose.time_95_s,
            "rotation_sigmas_deg": [math.degrees(sigma) for sigma in sigmas[:3]],
            "position_sigmas_cm": (100.0 * sigmas[3:6]).tolist(),
            "time_sigma_ms": 1e3 * float(sigmas[6]),
        }
    return values
