"""What each camera's panel shows: its picture, the landmarks found in it, the skeleton projected into it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from fusion.maths.camera import project
from fusion.records import Image, Landmarks2D, People, Record, UInt8
from fusion.rig import Camera, Rig
from viz.models import colours, skeleton
from viz.models.lines import Lines, Points, joined_lines, joined_points, no_lines, no_points

Decoder = Callable[[UInt8, int], UInt8 | None]
"""JPEG bytes and the longest side wanted (px) to red-green-blue [h, w, 3]; None if the bytes are no picture.
The answer may be larger or smaller than what was wanted; its aspect is the picture's."""

AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True, slots=True)
class PicturesParams:
    """Bounds of the panels."""

    max_cameras: int = 16
    longest_side_px: int = 640
    """Pictures are reduced to about this before they are kept or drawn."""
    pictures_kept: int = 6
    """Per camera, so that a picture can wait for its landmarks."""
    records_kept: int = 64
    match_s: float = 0.25
    """Landmarks or a skeleton further from the picture's time than this are not drawn on it."""
    score_min: float = 0.1
    landmark_size_px: float = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One camera's panel, ready to draw. Pixel coordinates are the calibration's, for a picture of width x height."""

    camera: str
    width: int
    height: int
    picture: UInt8 | None
    """Red-green-blue [h, w, 3], perhaps reduced; None where none has come."""
    picture_s: float
    """When the picture was taken, from the origin that was asked for; NaN without one."""
    landmarks: Points
    reprojection: Lines
    landmark_people: int


@dataclass(slots=True)
class _CameraState:
    pictures: deque[Image]
    landmarks: deque[Landmarks2D]
    decoded_ns: int = -1
    decoded: UInt8 | None = None


@dataclass(slots=True)
class PicturesState:
    """All memory of the panels."""

    cameras: dict[str, _CameraState] = field(default_factory=dict)
    refused: int = 0
    """Pictures that could not be decoded, and records of cameras beyond the bound."""


class PicturesModel:
    """Keeps the newest pictures and landmarks of each camera."""

    def __init__(self, rig: Rig, decode: Decoder | None = None, params: PicturesParams | None = None) -> None:
        self.rig = rig
        self.params = params or PicturesParams()
        self.state = PicturesState()
        self._decode = decode
        self._calibrated = {camera.name: camera for camera in rig.cameras}
        for camera in rig.cameras[: self.params.max_cameras]:
            self._camera_state(camera.name)

    def add_image(self, image: Image) -> None:
        """Keep a picture, pixels in reduced form."""
        state = self._camera_state(image.camera)
        if state is None or image.width <= 0 or image.height <= 0:
            self.state.refused += 1
            return
        state.pictures.append(reduced(image, self.params.longest_side_px))

    def add_landmarks(self, landmarks: Landmarks2D) -> None:
        """Keep the landmarks of a picture."""
        state = self._camera_state(landmarks.camera)
        if state is None or landmarks.image_width <= 0 or landmarks.image_height <= 0:
            self.state.refused += 1
            return
        state.landmarks.append(landmarks)

    def panels(self, people: Sequence[People], reproject: bool = True, origin_ns: int = 0) -> tuple[Panel, ...]:
        """Every camera's panel: those of the rig in its order, then others by name.

        Args:
            people: recent skeletons, oldest first.
            reproject: whether to project them.
            origin_ns: where the pictures' times are counted from.
        """
        names = [name for name in self._calibrated if name in self.state.cameras]
        names += sorted(name for name in self.state.cameras if name not in self._calibrated)
        return tuple(self._panel(name, people if reproject else (), origin_ns) for name in names)

    def _camera_state(self, name: str) -> _CameraState | None:
        state = self.state.cameras.get(name)
        if state is None and len(self.state.cameras) < self.params.max_cameras:
            state = _CameraState(deque(maxlen=self.params.pictures_kept), deque(maxlen=self.params.records_kept))
            self.state.cameras[name] = state
        return state

    def _panel(self, name: str, people: Sequence[People], origin_ns: int) -> Panel:
        state = self.state.cameras[name]
        image = self._picture_to_show(state, people)
        newest = state.landmarks[-1] if state.landmarks else None
        time_ns = image.measured_ns if image else newest.measured_ns if newest else None
        if time_ns is None and people:
            time_ns = people[-1].measured_ns
        landmarks = self._nearest(state.landmarks, time_ns)
        skeletons = self._nearest(people, time_ns)
        width, height = self._size(name, image, newest)
        return Panel(
            camera=name,
            width=width,
            height=height,
            picture=self._decoded(state, image) if image else None,
            picture_s=(image.measured_ns - origin_ns) / 1e9 if image else float("nan"),
            landmarks=self._landmark_points(landmarks) if landmarks else no_points(2),
            reprojection=self._reprojection(name, skeletons) if skeletons else no_lines(2),
            landmark_people=len(landmarks.pixels) if landmarks else 0,
        )

    def _picture_to_show(self, state: _CameraState, people: Sequence[People]) -> Image | None:
        """The newest picture whose landmarks and skeleton have come; the newest of all where none is expected."""
        if not state.pictures:
            return None
        newest = state.pictures[-1]
        overlay_ns = newest.measured_ns
        for records in (state.landmarks, people):
            if records and newest.measured_ns - records[-1].measured_ns < self.params.match_s * 1e9:
                overlay_ns = min(overlay_ns, records[-1].measured_ns)
        waited = [image for image in state.pictures if image.measured_ns <= overlay_ns]
        return waited[-1] if waited else newest

    def _nearest(self, records: Sequence[AnyRecord] | deque[AnyRecord], time_ns: int | None) -> AnyRecord | None:
        if time_ns is None or not records:
            return None
        nearest = min(records, key=lambda record: abs(record.measured_ns - time_ns))
        return nearest if abs(nearest.measured_ns - time_ns) <= self.params.match_s * 1e9 else None

    def _size(self, name: str, image: Image | None, landmarks: Landmarks2D | None) -> tuple[int, int]:
        """The pixels that overlays are in: the calibration's, to which a picture of another size is stretched."""
        camera = self._calibrated.get(name)
        if camera is not None:
            return camera.width, camera.height
        if landmarks is not None:
            return landmarks.image_width, landmarks.image_height
        return (image.width, image.height) if image else (1, 1)

    def _decoded(self, state: _CameraState, image: Image) -> UInt8 | None:
        if state.decoded_ns == image.measured_ns:
            return state.decoded
        if image.encoding == "bgr8":
            picture: UInt8 | None = pixels(image)
        else:
            picture = self._decode(image.data, self.params.longest_side_px) if self._decode else None
        if picture is None:
            self.state.refused += 1
        state.decoded, state.decoded_ns = picture, image.measured_ns
        return picture

    def _landmark_points(self, record: Landmarks2D) -> Points:
        tints = []
        for index, (places, scores) in enumerate(zip(record.pixels, record.scores, strict=True)):
            colour = colours.MARKER if len(record.pixels) == 1 else colours.person_colour(index + 4)
            rgba = np.tile(np.array([*colour, 1.0], np.float32), (len(places), 1))
            rgba[:, 3] = np.clip(scores, 0.25, 1.0)
            seen = scores >= self.params.score_min
            sizes = np.full(int(seen.sum()), self.params.landmark_size_px, np.float32)
            tints.append(Points(places[seen], rgba[seen], sizes))
        return joined_points(tints, 2)

    def _reprojection(self, name: str, people: People) -> Lines:
        camera = self._calibrated.get(name)
        if camera is None:
            return no_lines(2)
        return joined_lines((projected_bones(people, index, camera) for index in range(len(people.ids))), 2)


def projected_bones(people: People, index: int, camera: Camera) -> Lines:
    """The bones of one person of a record, in distorted pixels; NaN ends for what is behind the camera."""
    points = skeleton.points_with_tips(
        people.positions_m[index], people.q_world_from_segment[index], people.lengths_m[index]
    )
    places, _ = project(points, camera)
    return skeleton.bone_lines(places, colours.person_colour(int(people.ids[index])), people.measured[index])


def reduced(image: Image, longest_side_px: int) -> Image:
    """The picture with every k-th pixel, a copy that holds on to no received buffer; JPEG bytes are only copied.

    ``width`` and ``height`` stay those of the full picture: overlays are in its pixels.
    """
    data = image.data
    if image.encoding == "bgr8":
        step = max(1, round(max(image.width, image.height) / longest_side_px))
        data = image.data.reshape(image.height, image.width, 3)[::step, ::step]
    return Image(
        measured_ns=image.measured_ns,
        received_ns=image.received_ns,
        camera=image.camera,
        index=image.index,
        width=image.width,
        height=image.height,
        encoding=image.encoding,
        data=np.array(data, dtype=np.uint8),
    )


def pixels(image: Image) -> UInt8:
    """Red-green-blue [h, w, 3] of a picture that ``reduced`` has made from pixels."""
    return np.ascontiguousarray(image.data[..., ::-1])


def best_columns(
    aspects: Iterable[float], width: float, height: float, extra_width: float = 0.0, extra_height: float = 0.0
) -> int:
    """In how many columns panels should stand so that the pictures become as large as they can.

    Args:
        aspects: width over height of each picture.
        width: of the area, any unit.
        height: of the area, the same unit.
        extra_width: what each panel needs beside its picture.
        extra_height: what each panel needs above and below its picture.
    """
    ratios = list(aspects)

    def shown_area(columns: int) -> float:
        rows = -(-len(ratios) // columns)
        cell_width, cell_height = max(width / columns - extra_width, 0.0), max(height / rows - extra_height, 0.0)
        return sum(min(cell_width, cell_height * ratio) ** 2 / ratio for ratio in ratios)

    return max(range(1, len(ratios) + 1), key=shown_area, default=1)
