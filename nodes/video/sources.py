"""One class for each kind of picture source, all with the same three calls.

``grab`` takes the next picture from the source (cheap, so that a live picture
can be stamped at once), ``decode`` turns what was grabbed into pixels, ``close``
gives the source back. A file knows the time of each picture; a live source does
not, its pictures are stamped by whoever grabs them.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fusion.records import UInt8
from nodes.errors import RequestError

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
OPEN_TIMEOUT_MS = 5000
READ_TIMEOUT_MS = 3000
DECODER_THREADS = 1
"""Several cameras share the machine; a decoder that takes every core starves the estimators."""
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class SourceError(RequestError):
    """A source that cannot be opened; the message names it and the next step."""


class PictureSource(Protocol):
    """Where pictures come from."""

    def grab(self) -> bool:
        """Take the next picture; False when there is none (a file's end, a lost camera)."""
        ...

    def decode(self) -> UInt8 | None:
        """The grabbed picture, BGR [height, width, 3], an array of its own; None if its bytes are damaged."""
        ...

    def close(self) -> None:
        """Give the source back."""
        ...


class TimedSource(PictureSource, Protocol):
    """A source that knows when each picture was taken: a file or a folder."""

    frames: int
    """How many pictures the source says it has; 0 if it does not say."""
    period_ns: int
    """Nominal time between pictures."""
    time_ns: int
    """Time of the grabbed picture from the beginning of the source."""


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """What to ask of a live source; a device may answer with something else."""

    fps: float | None = None
    size: tuple[int, int] | None = None
    fourcc: str | None = None


def is_live(source: int | str) -> bool:
    """Whether a source has no end and no time of its own: a device or a network stream."""
    if isinstance(source, int) or source.isdecimal() or source.startswith(("/dev/", "\\\\.\\")):
        return True
    return bool(_URL.match(source)) and not source.startswith("file://")


def open_file(source: str, fps: float | None) -> TimedSource:
    """Open a video file or a folder of pictures.

    Args:
        source: path of either.
        fps: pictures a second; needed for a folder, replaces the file's own timing for a video.

    Raises:
        SourceError: naming the source and what to do.
    """
    path = Path(source.removeprefix("file://"))
    if not path.exists():
        raise SourceError(f"source {str(path)!r}: no such file or folder; check the path (relative to the graph file)")
    return ImageFolder(path, fps) if path.is_dir() else VideoFile(path, fps)


def open_cv2() -> Any:
    """OpenCV, told to use one thread and to give up on a silent device soon.

    Raises:
        SourceError: if it is not installed.
    """
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(READ_TIMEOUT_MS // 1000))
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    try:
        import cv2
    except ImportError as error:
        raise SourceError("pictures need OpenCV, which is not installed: pip install 'kinefuse[camera]'") from error
    cv2.setNumThreads(1)
    return cv2


class VideoFile:
    """A video file, with the time stamps that it carries and its rotation applied."""

    def __init__(self, path: Path, fps: float | None) -> None:
        cv2 = open_cv2()
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, DECODER_THREADS])
        if not self._capture.isOpened():
            raise SourceError(
                f"source {str(path)!r}: not a video that can be decoded; "
                "convert it, e.g. ffmpeg -i IN -c:v libx264 OUT.mp4"
            )
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        own_fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        usable = math.isfinite(own_fps) and own_fps > 0
        if fps is None and not usable:
            raise SourceError(f"source {str(path)!r}: the file states no frame rate; give the key fps")
        self._own_times = fps is None
        self._time_property = cv2.CAP_PROP_POS_MSEC
        self.period_ns = round(NS_PER_S / (fps if fps is not None else own_fps))
        self.frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.time_ns = -1
        self._index = -1

    def grab(self) -> bool:
        """Take the next picture and read its time."""
        if not self._capture.grab():
            return False
        self._index += 1
        self.time_ns = self._next_time_ns()
        return True

    def _next_time_ns(self) -> int:
        """The file's own time stamp; one period after the last where the file's time stands still or jumps back."""
        if not self._own_times:
            return self._index * self.period_ns
        time_ms = float(self._capture.get(self._time_property))
        time_ns = round(time_ms * NS_PER_MS) if math.isfinite(time_ms) else -1
        if time_ns > self.time_ns:
            return time_ns
        return self.time_ns + self.period_ns if self._index else 0

    def decode(self) -> UInt8 | None:
        """The grabbed picture."""
        return _retrieved(self._capture)

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class ImageFolder:
    """The pictures of a folder, in the order of their names (numbers in names count as numbers)."""

    def __init__(self, path: Path, fps: float | None) -> None:
        self._cv2 = open_cv2()
        if fps is None:
            raise SourceError(f"source {str(path)!r}: a folder of pictures needs the key fps")
        files = [file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file()]
        if not files:
            raise SourceError(
                f"source {str(path)!r}: no picture in this folder; allowed: {', '.join(PICTURE_SUFFIXES)}"
            )
        self._files = sorted(files, key=_natural_order)
        self._step_ns = NS_PER_S / fps
        self._index = -1
        self.period_ns = round(self._step_ns)
        self.frames = len(files)
        self.time_ns = -1

    def grab(self) -> bool:
        """Go to the next picture."""
        if self._index + 1 >= len(self._files):
            return False
        self._index += 1
        self.time_ns = round(self._index * self._step_ns)
        return True

    def decode(self) -> UInt8 | None:
        """The picture, turned as its file says."""
        try:
            picture = self._cv2.imread(str(self._files[self._index]), self._cv2.IMREAD_COLOR)
        except self._cv2.error:
            return None
        return None if picture is None else np.asarray(picture, dtype=np.uint8)

    def close(self) -> None:
        """Nothing is held open."""


def _natural_order(file: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", file.name)]


class LiveCapture:
    """A webcam, a device file or a network stream."""

    def __init__(self, source: int | str, request: LiveRequest) -> None:
        cv2 = open_cv2()
        device = int(source) if isinstance(source, int) or source.isdecimal() else None
        options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
        if device is not None:
            self._capture = cv2.VideoCapture(device)
        elif str(source).startswith("/dev/"):
            self._capture = cv2.VideoCapture(str(source), cv2.CAP_V4L2)
        else:
            self._capture = cv2.VideoCapture(
                str(source), cv2.CAP_FFMPEG, [*options, cv2.CAP_PROP_N_THREADS, DECODER_THREADS]
            )
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(_cannot_open_live(source))
        if not _URL.match(str(source)):
            self._ask(cv2, request)
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = request.fps or (fps if math.isfinite(fps) and fps > 0 else None)

    def _ask(self, cv2: Any, request: LiveRequest) -> None:
        """Set format, size and rate in the order in which drivers accept them; each is a wish."""
        if request.fourcc is not None:
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*request.fourcc))
        if request.size is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, request.size[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, request.size[1])
        if request.fps is not None:
            self._capture.set(cv2.CAP_PROP_FPS, request.fps)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # an old picture in a driver's queue is worth nothing

    def grab(self) -> bool:
        """Wait for the next picture; False if the camera is silent or gone."""
        return bool(self._capture.grab())

    def decode(self) -> UInt8 | None:
        """The grabbed picture."""
        return _retrieved(self._capture)

    def close(self) -> None:
        """Release the device or the connection."""
        self._capture.release()


def _retrieved(capture: Any) -> UInt8 | None:
    good, picture = capture.retrieve()
    if not good or picture is None:
        return None
    picture = np.ascontiguousarray(picture, dtype=np.uint8)
    if picture.ndim == 2:
        picture = np.repeat(picture[:, :, None], 3, axis=2)
    return picture[:, :, :3] if picture.shape[2] == 3 else np.ascontiguousarray(picture[:, :, :3])


def _cannot_open_live(source: int | str) -> str:
    if isinstance(source, str) and _URL.match(source):
        return (
            f"source {source!r}: the stream cannot be opened; "
            "check address, user and password, and that another player shows it"
        )
    there = ", ".join(video_devices()) or "none"
    return (
        f"source {source!r}: the camera cannot be opened; devices here: {there}; "
        "check that no other program uses it and that you may read it (kinefuse devices)"
    )


def video_devices() -> Iterator[str]:
    """Device files of cameras on this machine (Linux)."""
    yield from sorted((str(path) for path in Path("/dev").glob("video*")), key=lambda name: (len(name), name))
