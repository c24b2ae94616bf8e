"""The profile: one TOML file that holds what is known of a lab (a ``Rig``).

```toml
format = "kinefuse-profile"
version = 1

[cameras.front]                      # name as in the graph
size_px = [1280, 720]
matrix = [[900.0, 0.0, 640.0], [0.0, 900.0, 360.0], [0.0, 0.0, 1.0]]
distortion = [0.0, 0.0, 0.0, 0.0, 0.0]              # k1 k2 p1 p2 k3 (OpenCV)
rotation = [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]   # x_camera = rotation x_world + translation_m
translation_m = [0.0, 1.2, 4.0]

[imus.pelvis]                        # name of the segment
q_segment_from_sensor = [1.0, 0.0, 0.0, 0.0]        # wxyz
lever_arm_m = [0.0, 0.0, 0.0]
quality_rad = 0.08                   # by kinefuse calibrate imu

[radars.radar]
rotation = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]    # x_world = rotation x_radar + position_m
position_m = [0.0, -2.5, 1.0]
time_offset_s = 0.045                # stamps are so late; by kinefuse calibrate radar

[subject]
stature_m = 1.78
lengths_m = {thigh = 0.47}           # all of them, by name
```
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit

from calibration.formats import KNOWN, read_calibration
from calibration.formats.qualisys import matches as is_xml
from calibration.tables import CalibrationError, Table, parse_toml, read_text, write_text
from fusion.body.skeleton import LENGTH_NAMES, SEGMENT_NAMES
from fusion.records import Float64
from fusion.rig import Camera, ImuMount, RadarMount, Rig, RigError, Subject

FORMAT = "kinefuse-profile"
VERSION = 1
STATURE_LIMITS_M = (0.3, 2.8)
LENGTH_LIMITS_M = (0.01, 1.5)
DELAY_LIMIT_S = 5.0
_DISTORTION_SHAPES = tuple((count,) for count in range(6))
_CAMERA_KEYS = (
    "size_px",
    "matrix",
    "distortion",
    "fisheye",
    "rotation",
    "translation_m",
    "delay_s",
    "residual_px",
)
_IMU_KEYS = ("q_segment_from_sensor", "lever_arm_m", "quality_rad")
_RADAR_KEYS = ("rotation", "position_m", "azimuth_fov_rad", "elevation_fov_rad", "range_max_m", "time_offset_s")
_SUBJECT_KEYS = ("name", "stature_m", "lengths_m")


def load_profile(path: str | Path) -> Rig:
    """Read a profile, or the cameras of another software's calibration file.

    Raises:
        CalibrationError: naming file, key, value, what is allowed and what to do.
    """
    file = Path(path)
    text = read_text(file)
    if is_xml(text):
        return Rig(cameras=read_calibration(file))
    table = parse_toml(text, file)
    return _read_rig(table) if "format" in table.values else Rig(cameras=read_calibration(file))


def save_profile(path: str | Path, rig: Rig, *, overwrite: bool = False) -> None:
    """Write a profile whole or not at all; an existing file is kept unless ``overwrite``.

    Raises:
        CalibrationError: if the file exists or cannot be written.
    """
    write_text(Path(path), profile_text(rig), overwrite=overwrite)


def _read_rig(table: Table) -> Rig:
    table.only(("format", "version", "cameras", "imus", "radars", "subject"))
    if table.text("format", "") != FORMAT:
        raise table.error("format", f"{table.values['format']!r}, expected {FORMAT!r}, or a file of: {KNOWN}")
    if table.values.get("version") != VERSION:
        raise table.error("version", f"{table.values.get('version')!r}, this program reads version {VERSION}")
    try:
        return Rig(
            cameras=tuple(_read_camera(name, child) for name, child in table.child("cameras").children()),
            imus=tuple(_read_imu(name, child) for name, child in table.child("imus").children()),
            radars=tuple(_read_radar(name, child) for name, child in table.child("radars").children()),
            subject=_read_subject(table.child("subject")),
        )
    except RigError as error:
        raise table.error("", str(error)) from error


def _read_camera(name: str, table: Table) -> Camera:
    table.only(_CAMERA_KEYS)
    width, height = table.size("size_px")
    distortion = table.numbers("distortion", *_DISTORTION_SHAPES) if "distortion" in table.values else np.zeros(5)
    try:
        return Camera(
            name=name,
            width=width,
            height=height,
            matrix=table.numbers("matrix", (3, 3)),
            distortion=distortion,
            fisheye=table.flag("fisheye", False),
            r_camera_from_world=table.numbers("rotation", (3, 3)),
            t_camera_from_world_m=table.numbers("translation_m", (3,)),
            delay_s=table.number("delay_s", 0.0, low=-DELAY_LIMIT_S, high=DELAY_LIMIT_S),
            residual_px=table.number("residual_px", math.nan, low=0.0),
        )
    except RigError as error:
        raise table.error("", str(error)) from error


def _read_imu(segment: str, table: Table) -> ImuMount:
    table.only(_IMU_KEYS)
    if segment not in SEGMENT_NAMES:
        raise table.error("", f"{segment!r} is no segment; allowed: {', '.join(SEGMENT_NAMES)}")
    lever_arm_m = table.numbers("lever_arm_m", (3,)) if "lever_arm_m" in table.values else np.zeros(3)
    try:
        return ImuMount(
            segment=segment,
            q_segment_from_sensor=table.numbers("q_segment_from_sensor", (4,)),
            lever_arm_m=lever_arm_m,
            quality_rad=table.number("quality_rad", math.nan, low=0.0, high=math.pi),
        )
    except RigError as error:
        raise table.error("", str(error)) from error


def _read_radar(name: str, table: Table) -> RadarMount:
    table.only(_RADAR_KEYS)
    defaults = RadarMount(name=name, r_world_from_radar=np.eye(3), position_world_m=np.zeros(3))
    try:
        return RadarMount(
            name=name,
            r_world_from_radar=table.numbers("rotation", (3, 3)),
            position_world_m=table.numbers("position_m", (3,)),
            azimuth_fov_rad=table.number("azimuth_fov_rad", defaults.azimuth_fov_rad, low=0.0, high=math.pi),
            elevation_fov_rad=table.number("elevation_fov_rad", defaults.elevation_fov_rad, low=0.0, high=math.pi),
            range_max_m=table.number("range_max_m", defaults.range_max_m, low=0.1, high=1000.0),
            time_offset_s=table.number("time_offset_s", 0.0, low=-DELAY_LIMIT_S, high=DELAY_LIMIT_S),
        )
    except RigError as error:
        raise table.error("", str(error)) from error


def _read_subject(table: Table) -> Subject:
    table.only(_SUBJECT_KEYS)
    low, high = STATURE_LIMITS_M
    stature_m = table.number("stature_m", math.nan, low=low, high=high) if "stature_m" in table.values else None
    return Subject(name=table.text("name", ""), stature_m=stature_m, lengths_m=_read_lengths(table))


def _read_lengths(table: Table) -> Float64 | None:
    if "lengths_m" not in table.values:
        return None
    lengths = table.child("lengths_m")
    lengths.only(LENGTH_NAMES)
    missing = [name for name in LENGTH_NAMES if name not in lengths.values]
    if missing:
        raise table.error("lengths_m", f"lacks {', '.join(missing)}; give all of them or none")
    low, high = LENGTH_LIMITS_M
    return np.array([lengths.number(name, math.nan, low=low, high=high) for name in LENGTH_NAMES])


def profile_text(rig: Rig) -> str:
    """The profile as it is written; reading it gives the same numbers."""
    document = tomlkit.document()
    document.add("format", tomlkit.item(FORMAT))
    document.add("version", tomlkit.item(VERSION))
    for kind, tables in (
        ("cameras", {camera.name: _camera_values(camera) for camera in rig.cameras}),
        ("imus", {imu.segment: _imu_values(imu) for imu in rig.imus}),
        ("radars", {radar.name: _radar_values(radar) for radar in rig.radars}),
    ):
        if tables:
            document.add(tomlkit.nl())
            document.add(kind, _super_table(tables))
    subject = _subject_values(rig.subject)
    if subject:
        document.add(tomlkit.nl())
        document.add("subject", tomlkit.item(subject))
    return tomlkit.dumps(document)


def _super_table(tables: dict[str, dict[str, Any]]) -> Any:
    parent = tomlkit.table(is_super_table=True)
    for name, values in tables.items():
        parent.add(name, tomlkit.item(values))
    return parent


def _camera_values(camera: Camera) -> dict[str, Any]:
    values: dict[str, Any] = {
        "size_px": [camera.width, camera.height],
        "matrix": camera.matrix.tolist(),
        "distortion": camera.distortion.tolist(),
        "fisheye": camera.fisheye,
        "rotation": camera.r_camera_from_world.tolist(),
        "translation_m": camera.t_camera_from_world_m.tolist(),
        "delay_s": camera.delay_s,
    }
    if math.isfinite(camera.residual_px):
        values["residual_px"] = camera.residual_px
    return values


def _imu_values(imu: ImuMount) -> dict[str, Any]:
    values: dict[str, Any] = {
        "q_segment_from_sensor": imu.q_segment_from_sensor.tolist(),
        "lever_arm_m": imu.lever_arm_m.tolist(),
    }
    if math.isfinite(imu.quality_rad):
        values["quality_rad"] = imu.quality_rad
    return values


def _radar_values(radar: RadarMount) -> dict[str, Any]:
    return {
        "rotation": radar.r_world_from_radar.tolist(),
        "position_m": radar.position_world_m.tolist(),
        "azimuth_fov_rad": radar.azimuth_fov_rad,
        "elevation_fov_rad": radar.elevation_fov_rad,
        "range_max_m": radar.range_max_m,
        "time_offset_s": radar.time_offset_s,
    }


def _subject_values(subject: Subject) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if subject.name:
        values["name"] = subject.name
    if subject.stature_m is not None:
        values["stature_m"] = subject.stature_m
    if subject.lengths_m is not None:
        values["lengths_m"] = dict(zip(LENGTH_NAMES, subject.lengths_m.tolist(), strict=True))
    return values


__all__ = ["CalibrationError", "load_profile", "profile_text", "save_profile"]
