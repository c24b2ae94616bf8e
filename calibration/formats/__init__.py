"""Camera calibrations of other software, told apart by their content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from calibration.formats import caliscope, pose2sim, qualisys
from calibration.tables import CalibrationError, Table, parse_toml, read_text
from fusion.rig import Camera, Rig, RigError

FARTHEST_CAMERA_M = 200.0
"""No lab is larger; a translation beyond it is in millimetres."""

KNOWN = "Pose2Sim or aniposelib TOML, caliscope camera_array.toml, Qualisys .qca.txt"


def read_calibration(path: str | Path, *, metres_per_unit: float = 1.0) -> tuple[Camera, ...]:
    """Cameras of a calibration file of other software, in the order of the file.

    Args:
        path: a Pose2Sim or aniposelib TOML, a caliscope ``camera_array.toml`` or a Qualisys ``.qca.txt``.
        metres_per_unit: length of the file's unit, for TOML files that were made in another unit than
            metres (0.001 for millimetres). Qualisys files state theirs, so it does not apply to them.

    Returns:
        Cameras in OpenCV convention, world to camera, metres.

    Raises:
        CalibrationError: naming file, key, value, what is allowed and what to do.
    """
    file = Path(path)
    text = read_text(file)
    if qualisys.matches(text):
        cameras = qualisys.read(text, file)
    else:
        cameras = tuple(_scaled(camera, metres_per_unit) for camera in _read_toml(parse_toml(text, file)))
    return _checked(cameras, file)


def _read_toml(table: Table) -> tuple[Camera, ...]:
    if "format" in table.values:
        raise CalibrationError(f"{table.file}: a profile of this program already; use it as it is")
    if caliscope.matches(table):
        return caliscope.read(table)
    if pose2sim.matches(table):
        return pose2sim.read(table)
    raise CalibrationError(f"{table.file}: no camera found; expected one of: {KNOWN}")


def _scaled(camera: Camera, metres_per_unit: float) -> Camera:
    return replace(camera, t_camera_from_world_m=camera.t_camera_from_world_m * metres_per_unit)


def _checked(cameras: tuple[Camera, ...], file: Path) -> tuple[Camera, ...]:
    if not cameras:
        raise CalibrationError(f"{file}: every camera in it is switched off; expected at least one")
    for camera in cameras:
        distance_m = float(np.linalg.norm(camera.t_camera_from_world_m))
        if distance_m > FARTHEST_CAMERA_M:
            raise CalibrationError(
                f"{file}: {camera.name}: translation {camera.t_camera_from_world_m.tolist()} is {distance_m:.0f} m "
                f"from the origin, allowed: {FARTHEST_CAMERA_M:.0f} m; if the file is in millimetres, turn it into a "
                "profile: kinefuse calibrate import FILE PROFILE.toml --unit mm"
            )
    try:
        return Rig(cameras=cameras).cameras
    except RigError as error:
        raise CalibrationError(f"{file}: {error}") from error
