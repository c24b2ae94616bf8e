"""Camera node: pictures of a webcam, a network stream, a video file or a folder, stamped when they were taken.

A live picture is stamped right after it was grabbed, before it is decoded, less
the camera's delay in the profile. A file's picture carries the file's time:
in a ``live`` session from the moment when the graph was told to go, in a ``data``
session from 0, so that the files of several cameras stay together, also after
one of them was started again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from fusion.records import Image, UInt8
from nodes.errors import RequestError
from nodes.graph.schema import InputPath
from nodes.node import NodeContext, NodeParams
from nodes.video.sources import LiveCapture, LiveRequest, SourceError, TimedSource, is_live, open_cv2, open_file

if TYPE_CHECKING:
    from collections.abc import Callable

NS_PER_S = 1_000_000_000
BACKOFF_FIRST_S = 0.25
BACKOFF_LAST_S = 4.0
START_MARGIN_NS = 750_000_000
"""From the start of the graph to a file's time 0: by then all readers are connected."""
CATCH_UP_NS = 250_000_000
"""A file that is still no less late after leaving pictures out for so long cannot be played in real time."""
LATE_LIMIT_NS = 100_000_000
"""A file that plays in real time and is later than this skips pictures, as a camera would."""


class Params(NodeParams):
    """Keys of a camera node."""

    source: Annotated[int, Field(ge=0)] | InputPath
    """Webcam number, device file, ``rtsp://`` or ``http://`` address, video file, or folder of pictures."""
    camera: str | None = Field(None, min_length=1)
    """Name in the profile; default: the node's name."""
    fps: float | None = Field(None, gt=0, le=10_000)
    """Wish to a device; a folder's rate; replaces the timing of a video file."""
    size: tuple[Annotated[int, Field(ge=16, le=16384)], Annotated[int, Field(ge=16, le=16384)]] | None = None
    """[width, height] px: a wish to a device; pictures of another size are resized to it."""
    fourcc: str | None = Field(None, min_length=4, max_length=4)
    """Pixel format to ask of a device, e.g. ``MJPG``."""
    encoding: Literal["bgr8", "jpeg"] = "bgr8"
    """``jpeg`` for a slow network or a recording; costs time at both ends."""
    jpeg_quality: int = Field(85, ge=1, le=100)
    pace: Literal["source", "taken"] | None = None
    """Files: ``source`` plays at their own timing (a ``live`` session), ``taken`` as fast as readers
    take them (a ``data`` session); default: what the session's time asks for."""
    loop: bool = False
    """Files: begin again at the end; stamps go on."""
    start_s: float = Field(0.0, ge=0)
    """Files: first time used; it becomes the file's time 0, so it also aligns files."""
    end_s: float | None = Field(None, gt=0)
    """Files: pictures from this time on are left out."""

    @model_validator(mode="after")
    def _only_for_files(self) -> Params:
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"end_s {self.end_s} is not after start_s {self.start_s}")
        if is_live(self.source):
            given = [key for key in ("pace", "loop", "start_s", "end_s") if key in self.model_fields_set]
            if given:
                raise ValueError(f"{', '.join(given)}: only for files, but source {self.source!r} is a live camera")
        return self

    def publishes(self, name: str) -> tuple[str, ...]:
        """The pictures."""
        return (f"{name}/image",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet:
    """Turns pixels into records of one camera."""

    camera: str
    size: tuple[int, int] | None
    encode: Callable[[UInt8], UInt8] | None
    """To JPEG bytes; None publishes the pixels."""
    resize: Callable[[UInt8, tuple[int, int]], UInt8]

    def record(self, picture: UInt8, index: int, measured_ns: int, received_ns: int) -> Image:
        """The record of a picture [height, width, 3]; its pixels are not copied if no size or encoding asks for it."""
        height, width = picture.shape[:2]
        if self.size is not None and self.size != (width, height):
            picture = self.resize(picture, self.size)
            width, height = self.size
        return Image(
            camera=self.camera,
            index=index,
            width=width,
            height=height,
            encoding="bgr8" if self.encode is None else "jpeg",
            data=picture.reshape(-1) if self.encode is None else self.encode(picture),
            measured_ns=measured_ns,
            received_ns=received_ns,
        )


def run(params: Params, context: NodeContext) -> None:
    """Publish pictures until the file ends or the graph stops.

    Raises:
        SourceError: if the source cannot be opened at the start.
        RequestError: if the keys contradict the session or the profile.
    """
    camera = params.camera or context.name
    delay_ns = round(_delay_s(camera, params, context) * NS_PER_S)
    outlet = _outlet(params, camera)
    if is_live(params.source):
        if context.session.time == "data":
            raise RequestError(
                f"node {context.name!r}: source {params.source!r} is a live camera, which follows the clock; "
                "set session.time: live, or give a file"
            )
        _run_live(params, context, outlet, delay_ns)
    else:
        _run_file(params, context, outlet)


def _delay_s(camera: str, params: Params, context: NodeContext) -> float:
    if context.session.profile is None:
        return 0.0
    from calibration.profile import load_profile

    rig = load_profile(context.session.profile)
    names = [item.name for item in rig.cameras]
    if camera in names:
        return rig.camera(camera).delay_s
    message = f"camera {camera!r} is not in the profile {context.session.profile}; it has: {', '.join(names) or 'none'}"
    if params.camera is not None:
        raise RequestError(f"{message}; correct the key camera of node {context.name!r} or calibrate the camera")
    context.log.warning("%s; name one with the key camera to use its pictures in 3D", message)
    return 0.0


def _outlet(params: Params, camera: str) -> Outlet:
    cv2 = open_cv2()
    quality = [cv2.IMWRITE_JPEG_QUALITY, params.jpeg_quality]

    def encode(picture: UInt8) -> UInt8:
        return cv2.imencode(".jpg", picture, quality)[1].reshape(-1)  # type: ignore[no-any-return]

    def resize(picture: UInt8, size: tuple[int, int]) -> UInt8:
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]

    return Outlet(camera=camera, size=params.size, encode=encode if params.encoding == "jpeg" else None, resize=resize)


def _count(context: NodeContext, name: str, step: float = 1.0) -> None:
    context.counters[name] = context.counters.get(name, 0.0) + step


# ---- live sources


def _run_live(params: Params, context: NodeContext, outlet: Outlet, delay_ns: int) -> None:
    request = LiveRequest(fps=params.fps, size=params.size, fourcc=params.fourcc)
    capture = LiveCapture(params.source, request)
    topic = f"{context.name}/image"
    context.ready()
    index = 0
    last_ns = context.clock.now_ns()
    try:
        while not context.stopping:
            if not capture.grab():
                reopened = _reopen(capture, params.source, request, context)
                if reopened is None:
                    return
                capture = reopened
                index += _frames_missed(context, capture, context.clock.now_ns() - last_ns)
                continue
            last_ns = context.clock.now_ns()
            picture = capture.decode()
            if picture is None:
                _count(context, "refused_decode")
            else:
                context.publish(topic, outlet.record(picture, index, last_ns - delay_ns, last_ns))
            index += 1
    finally:
        capture.close()


def _reopen(capture: LiveCapture, source: int | str, request: LiveRequest, context: NodeContext) -> LiveCapture | None:
    """Try again, ever more slowly, until the camera is back; None when the graph stops first."""
    capture.close()
    _count(context, "lost")
    context.log.warning("lost source %r; trying to open it again", source)
    wait_s = BACKOFF_FIRST_S
    while _waited(context, wait_s):
        try:
            found = LiveCapture(source, request)
        except SourceError:
            _count(context, "reopen_failed")
            wait_s = min(wait_s * 2.0, BACKOFF_LAST_S)
            continue
        _count(context, "reopened")
        return found
    return None


def _waited(context: NodeContext, wait_s: float) -> bool:
    """Whether that time has passed; False as soon as the graph stops."""
    context.receive(wait_s)
    return not context.stopping


def _frames_missed(context: NodeContext, capture: LiveCapture, gap_ns: int) -> int:
    """Pictures that a gap has cost, so that their numbers stay free; counted with the gap's length."""
    gap_s = gap_ns / NS_PER_S
    missed = max(1, round(gap_s * capture.fps)) if capture.fps else 1
    _count(context, "gap_s", gap_s)
    _count(context, "missed_frames", missed)
    context.log.warning("source is back after %.2f s", gap_s)
    return missed


# ---- files


def _run_file(params: Params, context: NodeContext, outlet: Outlet) -> None:
    paced = _plays_at_own_timing(params, context)
    source = open_file(str(params.source), params.fps)
    context.ready()
    player = _Player(params, context, outlet, paced=paced)
    while True:
        try:
            pictures = player.play(source)
        finally:
            source.close()
        if not params.loop or context.stopping:
            return
        if not pictures:
            raise SourceError(f"source {params.source!r}: no picture between start_s and end_s, so it cannot loop")
        player.begin_again(pictures)
        source = open_file(str(params.source), params.fps)


def _plays_at_own_timing(params: Params, context: NodeContext) -> bool:
    in_data_time = context.session.time == "data"
    if params.pace == "taken" and not in_data_time:
        raise RequestError(
            f"node {context.name!r}: pace 'taken' needs readers that hold a source back, as in a session with "
            "time: data; set session.time: data, or pace: source"
        )
    if params.pace == "source" and in_data_time:
        context.log.info("pace 'source' has no meaning in a session with time: data; pictures go as they are taken")
    return not in_data_time


def _origin_ns(context: NodeContext) -> int:
    """When a file that plays in real time has its time 0, on the session clock; the same for all nodes."""
    return context.started_ns + START_MARGIN_NS


class _Player:
    """Goes through a file once or more; stamps keep rising from one pass to the next."""

    def __init__(self, params: Params, context: NodeContext, outlet: Outlet, *, paced: bool) -> None:
        self.context = context
        self.outlet = outlet
        self.topic = f"{context.name}/image"
        self.paced = paced
        self.start_ns = round(params.start_s * NS_PER_S)
        self.end_ns = None if params.end_s is None else round(params.end_s * NS_PER_S)
        self.name = str(params.source)
        self.origin_ns = _origin_ns(context) if paced else 0
        self.length_ns = 0
        self.index = 0
        self.late_since: tuple[int, int] | None = None
        """Since when pictures are late, and how late the first was."""

    def play(self, source: TimedSource) -> int:
        """One pass; returns how many pictures were published or skipped because it was late."""
        grabbed = played = 0
        last_ns = 0
        while not self.context.stopping and source.grab():
            grabbed += 1
            if self.end_ns is not None and source.time_ns >= self.end_ns:
                grabbed = source.frames
                break
            if source.time_ns < self.start_ns:
                continue
            last_ns = source.time_ns - self.start_ns
            self._show(source, last_ns)
            self.index += 1
            played += 1
        if grabbed < source.frames and not self.context.stopping:
            _count(self.context, "missing_frames", source.frames - grabbed)
            self.context.log.warning("%s: ended after %d of %d pictures", self.name, grabbed, source.frames)
        self.length_ns = last_ns + source.period_ns
        return played

    def begin_again(self, pictures: int) -> None:
        """Let the next pass begin when this one of so many pictures ends, or later by whole passes if that is past."""
        length_ns = self.length_ns
        late_ns = self.context.clock.now_ns() - self.origin_ns - length_ns if self.paced else 0
        missed = max(0, late_ns // length_ns)
        self.origin_ns += (1 + missed) * length_ns
        self.index += missed * pictures
        if missed:
            _count(self.context, "skipped_late", missed * pictures)

    def _show(self, source: TimedSource, offset_ns: int) -> None:
        """Publish the grabbed picture at its time; leave it out if that is long past."""
        if self.paced and not self._wait_until(offset_ns):
            return
        picture = source.decode()
        if picture is None:
            _count(self.context, "refused_decode")
            return
        due_ns = self.origin_ns + offset_ns
        received_ns = self.context.clock.now_ns() if self.paced else due_ns
        self.context.publish(self.topic, self.outlet.record(picture, self.index, due_ns, received_ns))

    def _wait_until(self, offset_ns: int) -> bool:
        """Whether the picture's time has come; False if it is past, or if the graph stops."""
        while not self.context.stopping:
            now_ns = self.context.clock.now_ns()
            late_ns = now_ns - self.origin_ns - offset_ns
            if late_ns > LATE_LIMIT_NS and not self._give_in(now_ns, late_ns):
                _count(self.context, "skipped_late")
                return False
            if late_ns >= 0:
                self.late_since = self.late_since if late_ns > LATE_LIMIT_NS else None
                return True
            self.context.receive(-late_ns / NS_PER_S)
        return False

    def _give_in(self, now_ns: int, late_ns: int) -> bool:
        """Whether leaving pictures out does not help, as the file cannot be decoded in real time.

        The file then goes on from now, which is counted: it is no longer together with other files.
        """
        if self.late_since is None:
            self.late_since = (now_ns, late_ns)
        since_ns, first_late_ns = self.late_since
        if now_ns - since_ns < CATCH_UP_NS or late_ns < first_late_ns:
            return False
        if "slipped_s" not in self.context.counters:
            self.context.log.warning("%s: this machine is too slow to play it in real time", self.name)
        _count(self.context, "slipped_s", late_ns / NS_PER_S)
        self.origin_ns += late_ns
        self.late_since = None
        return True
