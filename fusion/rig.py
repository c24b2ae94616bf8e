"""The lab as the filter must know it: where each sensor is and how it sees.

A ``Rig`` is what a profile file holds (``calibration.profile`` reads and writes
it). Values are checked when the objects are made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from fusion.records import Float64

_STATURE_MAX_M = 3.0
_UNIT_SLACK = 1e-12


class RigError(ValueError):
    """A calibration value that cannot be: the message names it and what would be allowed."""


def _numbers(name: str, value: Float64) -> Float64:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise RigError(f"{name}: expected numbers, have {value!r}") from None


def _checked(name: str, value: Float64, shape: tuple[int, ...]) -> Float64:
    array = _numbers(name, value)
    if array.shape != shape or not np.isfinite(array).all():
        raise RigError(f"{name}: expected {shape} finite numbers, have {array.tolist()}")
    return np.ascontiguousarray(array)


def _check_between(name: str, value: float, low: float, high: float) -> None:
    """Refuse what is not above ``low`` and at most ``high`` (NaN is neither)."""
    if not low < value <= high:
        raise RigError(f"{name}: {value}, expected above {low} and at most {high}")


def _checked_rotation(name: str, value: Float64) -> Float64:
    matrix = _checked(name, value, (3, 3))
    if np.abs(matrix @ matrix.T - np.eye(3)).max() > 1e-3 or np.linalg.det(matrix) < 0:
        raise RigError(f"{name}: not a right-handed rotation: {matrix.tolist()}")
    return matrix


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Camera:
    """A pinhole camera with OpenCV distortion: ``x_camera = r_camera_from_world @ x_world + t_camera_from_world_m``."""

    name: str
    width: int
    height: int
    matrix: Float64
    """K, 3x3, pixels."""
    distortion: Float64 = field(default_factory=lambda: np.zeros(5))
    """k1 k2 p1 p2 k3 (OpenCV order), or k1 k2 k3 k4 0 when ``fisheye``."""
    fisheye: bool = False
    r_camera_from_world: Float64
    t_camera_from_world_m: Float64
    delay_s: float = 0.0
    """How much earlier the exposure was than the stamp says (exposure and transport)."""
    residual_px: float = float("nan")
    """Reprojection error that the calibration reported."""

    def __post_init__(self) -> None:
        place = f"camera {self.name}"
        if self.width <= 0 or self.height <= 0:
            raise RigError(f"{place}: size {self.width}x{self.height}, expected positive pixels")
        object.__setattr__(self, "matrix", _checked(f"{place}: matrix", self.matrix, (3, 3)))
        if self.matrix[0, 0] <= 0 or self.matrix[1, 1] <= 0:
            raise RigError(f"{place}: focal lengths {self.matrix[0, 0]}, {self.matrix[1, 1]}, expected > 0")
        if self.matrix[1, 0] != 0 or self.matrix[2].tolist() != [0.0, 0.0, 1.0]:
            raise RigError(f"{place}: matrix: expected rows fx s cx, 0 fy cy, 0 0 1, have {self.matrix.tolist()}")
        distortion = np.zeros(5)
        given = _numbers(f"{place}: distortion", self.distortion).ravel()
        if given.size > 5:
            raise RigError(f"{place}: {given.size} distortion coefficients, expected at most 5")
        distortion[: given.size] = given
        if self.fisheye and distortion[4] != 0:
            raise RigError(f"{place}: fifth distortion coefficient {distortion[4]}, a fisheye lens has four")
        if not math.isfinite(self.delay_s):
            raise RigError(f"{place}: delay_s {self.delay_s}, expected a finite number of seconds")
        object.__setattr__(self, "distortion", _checked(f"{place}: distortion", distortion, (5,)))
        rotation = _checked_rotation(f"{place}: rotation", self.r_camera_from_world)
        object.__setattr__(self, "r_camera_from_world", rotation)
        translation = _checked(f"{place}: translation", self.t_camera_from_world_m, (3,))
        object.__setattr__(self, "t_camera_from_world_m", translation)

    @property
    def centre_world_m(self) -> Float64:
        """Optical centre [3] in the world."""
        return -self.r_camera_from_world.T @ self.t_camera_from_world_m


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImuMount:
    """How an IMU sits on a segment."""

    segment: str
    q_segment_from_sensor: Float64 = field(default_factory=lambda: np.array([1.0, 0.0, 0.0, 0.0]))
    """wxyz."""
    lever_arm_m: Float64 = field(default_factory=lambda: np.zeros(3))
    """Sensor position from the segment's origin, segment frame."""
    quality_rad: float = float("nan")
    """How well its calibration claims to know the mounting."""

    def __post_init__(self) -> None:
        quaternion = _checked(f"imu {self.segment}: q_segment_from_sensor", self.q_segment_from_sensor, (4,))
        norm = float(np.linalg.norm(quaternion))
        if abs(norm - 1.0) > 1e-2:
            raise RigError(f"imu {self.segment}: quaternion norm {norm:.3f}, expected 1")
        if abs(norm - 1.0) > _UNIT_SLACK:
            # What is a unit quaternion already stays as it is, bit by bit.
            quaternion = quaternion / norm
        object.__setattr__(self, "q_segment_from_sensor", quaternion)
        object.__setattr__(self, "lever_arm_m", _checked(f"imu {self.segment}: lever_arm_m", self.lever_arm_m, (3,)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RadarMount:
    """Where a radar is: ``x_world = r_world_from_radar @ x_radar + position_world_m``."""

    name: str
    r_world_from_radar: Float64
    position_world_m: Float64
    azimuth_fov_rad: float = 1.0
    """Half the field of view, left to right."""
    elevation_fov_rad: float = 0.35
    range_max_m: float = 6.0
    time_offset_s: float = 0.0
    """How much earlier the world was so than the stamp says; negative where stamps are early."""

    def __post_init__(self) -> None:
        rotation = _checked_rotation(f"radar {self.name}: rotation", self.r_world_from_radar)
        object.__setattr__(self, "r_world_from_radar", rotation)
        position = _checked(f"radar {self.name}: position", self.position_world_m, (3,))
        object.__setattr__(self, "position_world_m", position)
        _check_between(f"radar {self.name}: azimuth_fov_rad", self.azimuth_fov_rad, 0.0, math.pi)
        _check_between(f"radar {self.name}: elevation_fov_rad", self.elevation_fov_rad, 0.0, math.pi)
        _check_between(f"radar {self.name}: range_max_m", self.range_max_m, 0.0, math.inf)
        if not math.isfinite(self.time_offset_s):
            place = f"radar {self.name}: time_offset_s"
            raise RigError(f"{place}: {self.time_offset_s}, expected a finite number of seconds")

    def to_world(self, points_m: Float64) -> Float64:
        """World places of radar-frame points [..., 3]."""
        return np.asarray(points_m @ self.r_world_from_radar.T + self.position_world_m)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """What is known of a wearer beforehand; None where nothing is."""

    name: str = ""
    stature_m: float | None = None
    lengths_m: Float64 | None = None
    """Order of ``fusion.body.skeleton.LENGTH_NAMES``."""

    def __post_init__(self) -> None:
        place = f"subject {self.name}".rstrip()
        if self.stature_m is not None:
            _check_between(f"{place}: stature_m", self.stature_m, 0.0, _STATURE_MAX_M)
        if self.lengths_m is not None:
            lengths = _numbers(f"{place}: lengths_m", self.lengths_m)
            if lengths.ndim != 1 or not (np.isfinite(lengths) & (lengths > 0.0)).all():
                raise RigError(f"{place}: lengths_m: expected a list of lengths > 0, have {lengths.tolist()}")
            object.__setattr__(self, "lengths_m", lengths)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rig:
    """All sensors of a lab. Names are unique within a kind."""

    cameras: tuple[Camera, ...] = ()
    imus: tuple[ImuMount, ...] = ()
    radars: tuple[RadarMount, ...] = ()
    subject: Subject = field(default_factory=Subject)

    def __post_init__(self) -> None:
        for kind, names in (
            ("camera", [camera.name for camera in self.cameras]),
            ("imu", [imu.segment for imu in self.imus]),
            ("radar", [radar.name for radar in self.radars]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise RigError(f"{kind} {', '.join(twice)}: named twice")

    def camera(self, name: str) -> Camera:
        """The camera of that name.

        Raises:
            RigError: naming the cameras that there are.
        """
        for camera in self.cameras:
            if camera.name == name:
                return camera
        known = ", ".join(camera.name for camera in self.cameras) or "none"
        raise RigError(f"camera {name!r} is not in the profile; it has: {known}")

    def with_cameras(self, cameras: tuple[Camera, ...]) -> Rig:
        """The same rig with other cameras."""
        return replace(self, cameras=cameras)
