"""Settings of the simulated sensors, with the errors that real ones have.

Plain data without heavy imports: a graph file is checked against it. Values are
checked when the objects are made; a ``ParamsError`` names the value and what
is allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from fusion.body.catalog import LANDMARK_SETS
from fusion.body.reflection import (
    MOVING_M_S,
    POINT_AZIMUTH_RAD,
    POINT_ELEVATION_RAD,
    POINT_RADIAL_VELOCITY_M_S,
    POINT_RANGE_M,
)
from fusion.body.skeleton import SEGMENT, SEGMENT_NAMES
from fusion.synthesis.actions import STRICT

DROPOUT_SLOT_S = 1.0
"""Limb losses are drawn once per limb and slot."""
MAX_SENSORS = 64


class ParamsError(ValueError):
    """A setting that cannot be; the message names it, its value and what is allowed."""


def _require(owner: object, low: float, high: float, *names: str) -> None:
    """Each named number, or each member of a named tuple, must lie in low..high."""
    for name in names:
        value = getattr(owner, name)
        for number in value if isinstance(value, tuple) else (value,):
            if not low <= number <= high:
                raise ParamsError(f"{name}: {number}, allowed {low:g} to {high:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RingParams:
    """Cameras on a circle that look at its middle."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    count: int = 4
    radius_m: float = 4.0
    height_m: float = 2.2
    look_at_m: tuple[float, float, float] = (0.0, 0.0, 0.95)
    first_azimuth_rad: float = math.pi / 4.0
    width: int = 1280
    height: int = 720
    horizontal_fov_rad: float = math.radians(70.0)
    distortion: tuple[float, ...] = (-0.08, 0.03)
    """k1 k2 (p1 p2 k3), OpenCV."""

    def __post_init__(self) -> None:
        _require(self, 1, MAX_SENSORS, "count")
        _require(self, 0.2, 100.0, "radius_m")
        _require(self, 0.0, 30.0, "height_m")
        _require(self, 16, 8192, "width", "height")
        _require(self, 0.1, 2.8, "horizontal_fov_rad")
        if len(self.distortion) > 5:
            raise ParamsError(f"distortion: {len(self.distortion)} coefficients, allowed 0 to 5")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorParams:
    """How a landmark detector errs."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    landmark_set: str = "blazepose_33"
    rate_hz: float = 30.0
    noise_px: float = 3.0
    """Standard deviation of each pixel coordinate of a visible landmark."""
    bias_m: float = 0.005
    """Root mean square distance between a landmark and its place in the catalog, constant for a wearer."""
    occlusion: bool = True
    """Whether bodies hide landmarks."""
    occluded_noise_factor: float = 4.0
    """A hidden landmark is guessed: so many times noisier."""
    occluded_missing: float = 0.3
    """Share of hidden landmarks that are not reported at all."""
    limb_dropout_rate_hz: float = 0.05
    """How often a whole limb is lost to one camera, per limb and second."""
    limb_dropout_s: tuple[float, float] = (0.1, 0.8)
    """Shortest and longest loss of a limb; at most ``DROPOUT_SLOT_S``."""
    outlier_share: float = 0.02
    """Share of reported landmarks that are grossly wrong."""
    outlier_px: float = 120.0
    """Standard deviation of a gross error."""
    swap_share: float = 0.0
    """Share of detections with left and right of the legs or the arms exchanged."""
    miss_share: float = 0.01
    """Share of detections that are missing altogether."""
    false_rate_hz: float = 0.0
    """Detections of nobody, a second."""
    phase_s: float = 0.0
    """First exposure of the first camera after the start."""
    phase_step_s: float = 0.0
    """Each further camera is so much later; 0 for cameras that share a trigger."""
    latency_s: float = 0.030
    """Mean time from exposure to arrival."""
    jitter_s: float = 0.005
    """Standard deviation of the arrival about its mean."""
    stamp_noise_s: float = 0.0
    """Standard deviation of the stamp about the exposure."""

    def __post_init__(self) -> None:
        if self.landmark_set not in LANDMARK_SETS:
            known = ", ".join(LANDMARK_SETS)
            raise ParamsError(f"landmark_set: {self.landmark_set!r}, allowed: {known}")
        _require(self, 0.1, 1000.0, "rate_hz")
        _require(self, 0.0, 1000.0, "noise_px", "outlier_px", "occluded_noise_factor", "false_rate_hz")
        _require(self, 0.0, 1.0, "bias_m", "occluded_missing", "outlier_share", "swap_share", "miss_share")
        _require(self, 0.0, 1.0 / DROPOUT_SLOT_S, "limb_dropout_rate_hz")
        _require(self, 0.0, DROPOUT_SLOT_S, "limb_dropout_s")
        _require(self, 0.0, 10.0, "phase_s", "phase_step_s", "latency_s", "jitter_s", "stamp_noise_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class InertialParams:
    """Inertial sensors on the first wearer, and their errors.

    Noise after GlobalPose's simulation (white 0.05 m/s^2 and 0.005 rad/s, walks 1e-4
    and 1e-5 a root second); the constant biases are those of a calibrated MEMS unit.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    sites: tuple[str, ...] = ("pelvis", "left_lower_leg", "right_lower_leg", "head", "left_forearm", "right_forearm")
    """Segments that carry a sensor. Default: the six of DynaIP, arXiv 2312.02196."""
    rate_hz: float = 100.0
    samples_per_record: int = 2
    specific_force_noise_m_s2: float = 0.05
    angular_rate_noise_rad_s: float = 0.005
    specific_force_bias_m_s2: float = 0.05
    """Standard deviation of each axis, constant."""
    angular_rate_bias_rad_s: float = 0.005
    specific_force_walk: float = 1e-4
    """Random walk of the bias, m/s^2 a root second."""
    angular_rate_walk: float = 1e-5
    """rad/s a root second."""
    mounting_error_rad: float = math.radians(5.0)
    """Root mean square angle between how the sensor sits and what the profile says."""
    lever_error_m: float = 0.01
    """Root mean square distance between where the sensor sits and what the profile says."""
    drop_share: float = 0.002
    """Share of a sensor's samples that are missing."""
    magnetometer: bool = False
    magnetic_noise_ut: float = 0.5
    iron_ut: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """World field of iron, on top of the earth's while the wearer is near it."""
    iron_s: tuple[float, float] = (0.0, 0.0)
    """From when to when after the start that is."""
    latency_s: float = 0.006
    jitter_s: float = 0.001
    clock_offset_s: float = 0.0
    """Added to every stamp."""
    clock_skew: float = 0.0
    """Stamps run faster by this ratio."""

    def __post_init__(self) -> None:
        _require(self, 1.0, 4000.0, "rate_hz")
        _require(self, 1, 1000, "samples_per_record")
        _require(self, 0.0, 100.0, "specific_force_noise_m_s2", "angular_rate_noise_rad_s", "magnetic_noise_ut")
        _require(self, 0.0, 10.0, "specific_force_bias_m_s2", "angular_rate_bias_rad_s")
        _require(self, -1000.0, 1000.0, "iron_ut")
        _require(self, 0.0, 86_400.0, "iron_s")
        _require(self, 0.0, 10.0, "specific_force_walk", "angular_rate_walk")
        _require(self, 0.0, math.pi, "mounting_error_rad")
        _require(self, 0.0, 1.0, "lever_error_m", "drop_share")
        _require(self, 0.0, 10.0, "latency_s", "jitter_s")
        _require(self, -3600.0, 3600.0, "clock_offset_s")
        _require(self, -0.01, 0.01, "clock_skew")
        for site in self.sites:
            if site not in SEGMENT:
                raise ParamsError(f"sites: {site!r} is no segment; segments: {', '.join(SEGMENT_NAMES)}")
        if len(set(self.sites)) < len(self.sites):
            raise ParamsError("sites: a segment is named twice, allowed once each")
        if not 1 <= len(self.sites) <= MAX_SENSORS:
            raise ParamsError(f"sites: {len(self.sites)} of them, allowed 1 to {MAX_SENSORS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RadarParams:
    """Radars on a circle that look at its middle, and their errors.

    Noise as measured on the MARS recordings (TI IWR1443) against the bones.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    count: int = 1
    radius_m: float = 3.2
    height_m: float = 1.0
    first_azimuth_rad: float = -math.pi / 2.0
    azimuth_fov_rad: float = 1.0
    """Half the field of view."""
    elevation_fov_rad: float = 0.45
    range_max_m: float = 6.0
    rate_hz: float = 20.0
    mean_points: float = 38.0
    """Of somebody who moves."""
    max_points: int = 64
    full_speed_m_s: float = MOVING_M_S
    """A surface that moves radially at least as fast is always seen, a slower one in proportion."""
    clutter_points: float = 1.5
    """Mean number of points from nobody."""
    range_noise_m: float = POINT_RANGE_M
    azimuth_noise_rad: float = POINT_AZIMUTH_RAD
    elevation_noise_rad: float = POINT_ELEVATION_RAD
    radial_velocity_noise_m_s: float = POINT_RADIAL_VELOCITY_M_S
    radial_velocity_step_m_s: float = 0.356
    miss_share: float = 0.005
    """Share of frames that are lost; the frame counter goes on."""
    latency_s: float = 0.020
    jitter_s: float = 0.003

    def __post_init__(self) -> None:
        _require(self, 1, MAX_SENSORS, "count")
        _require(self, 0.2, 100.0, "radius_m", "range_max_m")
        _require(self, 0.0, 30.0, "height_m")
        _require(self, 0.05, 1.5, "azimuth_fov_rad", "elevation_fov_rad")
        _require(self, 0.1, 1000.0, "rate_hz")
        _require(self, 0.0, 1000.0, "mean_points", "clutter_points")
        _require(self, 0, 4096, "max_points")
        _require(self, 0.001, 100.0, "full_speed_m_s", "radial_velocity_step_m_s")
        _require(self, 0.0, 10.0, "range_noise_m", "azimuth_noise_rad", "elevation_noise_rad")
        _require(self, 0.0, 10.0, "radial_velocity_noise_m_s", "latency_s", "jitter_s")
        _require(self, 0.0, 1.0, "miss_share")


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureParams:
    """Drawn pictures of the wearers."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    every: int = 1
    """One picture for so many landmark frames."""
    background: tuple[int, int, int] = (54, 48, 44)
    """Blue, green, red."""

    def __post_init__(self) -> None:
        _require(self, 1, 1000, "every")
        _require(self, 0, 255, "background")
