"""Older ``camera_array.toml`` of caliscope: tables ``[cameras.N]``, rotation as a 3x3 matrix.

Its ``rotation_count`` turns a picture on screen only; the numbers are for the
picture as the camera gives it, so it is not applied here. Cameras that the
user set to ``ignore`` are left out.
"""

from __future__ import annotations

from calibration.formats.pose2sim import read_camera
from calibration.tables import Table
from fusion.rig import Camera


def matches(table: Table) -> bool:
    """Whether the file has ``[cameras.N]`` tables with the keys of this kind."""
    cameras = table.values.get("cameras")
    return isinstance(cameras, dict) and any(
        isinstance(value, dict) and {"matrix", "distortions", "rotation"} & value.keys() for value in cameras.values()
    )


def read(table: Table) -> tuple[Camera, ...]:
    """All cameras that are not ignored, named ``cam_N`` unless the file has a name.

    Raises:
        CalibrationError: naming file, key, value and what is allowed.
    """
    cameras = []
    for key, child in table.child("cameras").children():
        if child.flag("ignore", False):
            continue
        if "rotation" not in child.values or "translation" not in child.values:
            raise child.error(
                "rotation", "missing: the camera is not placed yet; calibrate the extrinsics or ignore it"
            )
        cameras.append(read_camera(child, child.text("name", f"cam_{key}")))
    return tuple(cameras)
