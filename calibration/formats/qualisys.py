"""Qualisys Track Manager's ``.qca.txt``: XML, one ``camera`` element each.

* Pixel values are stored times 64. The distortion coefficients belong to
  normalised coordinates and are *not* scaled (dividing them by 64 as well, as
  one widely used converter does, all but removes the distortion).
* ``transform`` is the camera's pose in the world: its position in millimetres,
  and a rotation whose rows, in the file's r11..r33 order, are the camera's
  axes with y up and z backwards; the second and third are flipped to OpenCV's.
* The picture is the part of the sensor that ``fov_video`` names.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from calibration.tables import CalibrationError
from fusion.records import Float64
from fusion.rig import Camera, RigError

SUBPIXELS = 64.0
METRES_PER_MILLIMETRE = 1e-3
OPENCV_FROM_QUALISYS: Float64 = np.diag([1.0, -1.0, -1.0])
_DISTORTION_KEYS = (
    "radialDistortion1",
    "radialDistortion2",
    "tangentalDistortion1",
    "tangentalDistortion2",
    "radialDistortion3",
)


def matches(text: str) -> bool:
    """Whether the text is XML at all; ``read`` says what is wrong with one of another kind."""
    return text.lstrip("\ufeff \t\r\n").startswith("<")


def read(text: str, file: Path) -> tuple[Camera, ...]:
    """All active cameras, in the order of the file, named by their serial.

    Raises:
        CalibrationError: naming file, camera, attribute, value and what is allowed.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise CalibrationError(f"{file}: has a document type declaration, which no Qualisys calibration has")
    try:
        root = ElementTree.fromstring(text.strip())
    except ElementTree.ParseError as error:
        raise CalibrationError(f"{file}: not valid XML: {error}") from error
    elements = root.findall("cameras/camera")
    if root.tag != "calibration" or not elements:
        raise CalibrationError(
            f"{file}: <{root.tag}> without cameras; expected a Qualisys <calibration> with <camera>s"
        )
    return tuple(_read_camera(element, file) for element in elements if element.get("active", "1") != "0")


def _read_camera(element: ElementTree.Element, file: Path) -> Camera:
    name = element.get("serial") or "unnamed"
    place = f"{file}: camera {name}"
    if element.get("viewrotation", "0") not in ("0", ""):
        raise CalibrationError(
            f"{place}: viewrotation {element.get('viewrotation')!r}, only 0 is read; "
            "export the calibration with unrotated views"
        )
    lens = _Element(element, "intrinsic", place)
    pose = _Element(element, "transform", place)
    view = _Element(element, "fov_video", place)
    left, top = view.number("left"), view.number("top")
    matrix = np.array(
        [
            [lens.number("focalLengthU"), lens.number("skew", 0.0), lens.number("centerPointU") - left * SUBPIXELS],
            [0.0, lens.number("focalLengthV"), lens.number("centerPointV") - top * SUBPIXELS],
            [0.0, 0.0, SUBPIXELS],
        ]
    )
    rotation = np.array([[pose.number(f"r{row}{column}") for column in (1, 2, 3)] for row in (1, 2, 3)])
    r_camera_from_world = OPENCV_FROM_QUALISYS @ rotation
    centre_m = np.array([pose.number(axis) for axis in "xyz"]) * METRES_PER_MILLIMETRE
    try:
        return Camera(
            name=name,
            width=round(view.number("right") - left) + 1,
            height=round(view.number("bottom") - top) + 1,
            matrix=matrix / SUBPIXELS,
            distortion=np.array([lens.number(key, 0.0) for key in _DISTORTION_KEYS]),
            r_camera_from_world=r_camera_from_world,
            t_camera_from_world_m=-r_camera_from_world @ centre_m,
        )
    except RigError as error:
        raise CalibrationError(f"{place}: {error}") from error


class _Element:
    """An element of a camera with its place, for errors."""

    def __init__(self, parent: ElementTree.Element, tag: str, place: str) -> None:
        self.place = f"{place}: {tag}"
        element = parent.find(tag)
        if element is None:
            raise CalibrationError(f"{self.place}: missing; expected <{tag} ...> in every camera")
        self.attributes = element.attrib

    def number(self, key: str, default: float | None = None) -> float:
        text = self.attributes.get(key)
        if text is None and default is not None:
            return default
        try:
            value = float(text) if text is not None else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            have = "missing" if text is None else repr(text)
            raise CalibrationError(f"{self.place}: {key}: {have}, expected a finite number")
        return value
