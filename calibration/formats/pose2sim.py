"""Calibration TOML of Pose2Sim and aniposelib: one table per camera.

Keys of a camera: ``name``, ``size`` [width, height] px, ``matrix`` K, ``distortions``
k1 k2 p1 p2 [k3], ``rotation`` (Rodrigues vector, world to camera), ``translation``
(metres, ``x_camera = R x_world + t``), ``fisheye``. Other keys are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.tables import Table
from fusion.records import Float64
from fusion.rig import Camera, RigError

ROTATION_SHAPES = ((3,), (3, 1), (1, 3), (3, 3))
TRANSLATION_SHAPES = ((3,), (3, 1), (1, 3))
DISTORTION_SHAPES = ((0,), (2,), (4,), (5,), (1, 4), (1, 5), (4, 1), (5, 1))


def matches(table: Table) -> bool:
    """Whether the file looks like one of this kind: a table at the top with a camera's keys."""
    return any(isinstance(value, dict) and "matrix" in value for value in table.values.values())


def read(table: Table) -> tuple[Camera, ...]:
    """All cameras, in the order of the file.

    Raises:
        CalibrationError: naming file, key, value and what is allowed.
    """
    return tuple(
        read_camera(child, child.text("name", key))
        for key, child in ((key, table.child(key)) for key, value in table.values.items() if _is_camera(value))
    )


def _is_camera(value: object) -> bool:
    return isinstance(value, dict) and bool({"matrix", "distortions", "rotation", "translation"} & value.keys())


def read_camera(table: Table, name: str) -> Camera:
    """One camera from a table with these keys; ``rotation`` may be a Rodrigues vector or a matrix."""
    width, height = table.size("size")
    fisheye = table.flag("fisheye", False)
    distortion = table.numbers("distortions", *DISTORTION_SHAPES).ravel()
    if fisheye and distortion.size == 5 and distortion[4] != 0:
        raise table.error("distortions", f"{distortion.tolist()}, expected 4 coefficients for a fisheye camera")
    try:
        return Camera(
            name=name,
            width=width,
            height=height,
            matrix=table.numbers("matrix", (3, 3)),
            distortion=distortion,
            fisheye=fisheye,
            r_camera_from_world=rotation_matrix(table.numbers("rotation", *ROTATION_SHAPES)),
            t_camera_from_world_m=table.numbers("translation", *TRANSLATION_SHAPES).ravel(),
            residual_px=_residual_px(table),
        )
    except RigError as error:
        raise table.error("", str(error)) from error


def _residual_px(table: Table) -> float:
    """Some writers give the camera's reprojection error; others a text or nothing."""
    value = table.values.get("error")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


def rotation_matrix(value: Float64) -> Float64:
    """Rotation matrix of a Rodrigues vector in any layout; a matrix is returned as it is."""
    if value.shape == (3, 3):
        return value
    return np.asarray(Rotation.from_rotvec(value.ravel()).as_matrix(), dtype=np.float64)


def write(cameras: Iterable[Camera]) -> str:
    """Text of a file that Pose2Sim and aniposelib read; delays and other keys of ours have no place in it."""
    return "\n".join([*(_camera_text(camera) for camera in cameras), "[metadata]\nadjusted = false\nerror = 0.0\n"])


def _camera_text(camera: Camera) -> str:
    rotation = Rotation.from_matrix(camera.r_camera_from_world).as_rotvec()
    # Four coefficients where four say it all: OpenCV's fisheye functions accept no fifth.
    distortion = camera.distortion[:4] if camera.fisheye or camera.distortion[4] == 0 else camera.distortion
    lines = (
        f"[{_quoted(camera.name)}]",
        f"name = {_quoted(camera.name)}",
        f"size = [{float(camera.width)}, {float(camera.height)}]",
        f"matrix = {camera.matrix.tolist()}",
        f"distortions = {distortion.tolist()}",
        f"rotation = {rotation.tolist()}",
        f"translation = {camera.t_camera_from_world_m.tolist()}",
        f"fisheye = {str(camera.fisheye).lower()}",
        "",
    )
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A TOML basic string, also valid as a key."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
