"""Camera node on real files, real folders and a real HTTP stream that is cut and comes back."""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from calibration.profile import save_profile
from fusion.records import Image, Record
from fusion.rig import Camera, Rig
from nodes import camera
from nodes.errors import RequestError
from nodes.node import Envelope, SessionInfo
from nodes.video.sources import SourceError, is_live, open_file

cv2 = pytest.importorskip("cv2")

PATIENCE_S = 30.0


class MonotonicClock:
    def now_ns(self) -> int:
        return time.monotonic_ns()


class Context:
    """A graph of one node: keeps what is published, stops when told."""

    def __init__(self, *, time: str = "data", profile: Path | None = None, keep: int | None = None) -> None:
        self.name = "cam1"
        self.session = SessionInfo(
            name="test", profile=None if profile is None else str(profile), graph_text="", time=time, headless=True,
        )  # type: ignore[arg-type]  # fmt: skip
        self.clock = MonotonicClock()
        self.log = logging.getLogger("test")
        self.counters: dict[str, float] = {}
        self.inputs: tuple[str, ...] = ()
        self.started_ns = MonotonicClock().now_ns()
        self.is_ready = threading.Event()
        self._stop = threading.Event()
        self._news = threading.Condition()
        self._keep = keep
        self.images: list[Image] = []

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def ready(self) -> None:
        self.is_ready.set()

    def publish(self, topic: str, record: Record, cause: Envelope | None = None) -> None:
        assert topic == "cam1/image"
        assert isinstance(record, Image)
        record.validate()
        with self._news:
            self.images.append(record)
            self._news.notify_all()
        if self._keep is not None and len(self.images) >= self._keep:
            self._stop.set()

    def receive(self, timeout_s: float) -> Envelope | None:
        self._stop.wait(timeout_s)
        return None

    def stop(self) -> None:
        self._stop.set()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(condition, PATIENCE_S), f"nothing after {PATIENCE_S} s: {self.counters}"


def played(context: Context, **keys: Any) -> list[Image]:
    camera.run(camera.Params(type="camera", **keys), context)
    return context.images


def grey(index: int, size: tuple[int, int] = (64, 48)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    picture = np.full((size[1], size[0], 3), 20 + 20 * (index % 11), dtype=np.uint8)
    picture[: size[1] // 4, : size[0] // 4] = (0, 0, 255)  # a red corner shows which way is up
    return picture


def brightness(image: Image) -> int:
    picture = image.data.reshape(image.height, image.width, 3)
    return round(float(picture[image.height // 2 :, image.width // 2 :].mean() - 20) / 20)


def video(path: Path, frames: int = 10, fps: float = 25.0, fourcc: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), fps, (64, 48))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(grey(index))
    writer.release()
    return path


@pytest.mark.parametrize(("name", "fourcc"), [("clip.mp4", "mp4v"), ("clip.avi", "MJPG")])
def test_every_picture_of_a_video_with_the_files_times(tmp_path: Path, name: str, fourcc: str) -> None:
    context = Context()
    images = played(context, source=str(video(tmp_path / name, fourcc=fourcc)))
    assert [image.index for image in images] == list(range(10))
    assert [image.measured_ns for image in images] == [40_000_000 * index for index in range(10)]
    assert [image.received_ns for image in images] == [image.measured_ns for image in images]
    assert [brightness(image) for image in images] == list(range(10))
    assert {(image.width, image.height, image.encoding, image.camera) for image in images} == {(64, 48, "bgr8", "cam1")}
    assert context.is_ready.is_set()
    assert context.counters == {}


def test_the_same_file_gives_the_same_records(tmp_path: Path) -> None:
    clip = str(video(tmp_path / "clip.mp4"))
    first, second = played(Context(), source=clip), played(Context(), source=clip)
    assert [image.measured_ns for image in first] == [image.measured_ns for image in second]
    assert all(np.array_equal(one.data, other.data) for one, other in zip(first, second, strict=True))


def test_a_part_of_a_video_begins_at_time_zero(tmp_path: Path) -> None:
    images = played(Context(), source=str(video(tmp_path / "clip.mp4")), start_s=0.12, end_s=0.28)
    assert [brightness(image) for image in images] == [3, 4, 5, 6]
    assert [image.measured_ns for image in images] == [0, 40_000_000, 80_000_000, 120_000_000]


def test_a_given_rate_replaces_the_files(tmp_path: Path) -> None:
    images = played(Context(), source=str(video(tmp_path / "clip.mp4", frames=3)), fps=100)
    assert [image.measured_ns for image in images] == [0, 10_000_000, 20_000_000]


def test_a_loop_goes_on_with_rising_stamps(tmp_path: Path) -> None:
    images = played(Context(keep=25), source=str(video(tmp_path / "clip.mp4")), loop=True)
    assert [image.index for image in images] == list(range(25))
    assert [image.measured_ns for image in images] == [40_000_000 * index for index in range(25)]
    assert [brightness(image) for image in images] == [index % 10 for index in range(25)]


def test_a_loop_without_a_picture_ends(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no picture between"):
        played(Context(), source=str(video(tmp_path / "clip.mp4")), loop=True, start_s=100.0)


def test_a_live_session_plays_at_the_files_own_timing(tmp_path: Path) -> None:
    """Stamps are a fixed distance from the file's times, and no picture is published before its stamp."""
    context = Context(time="live")
    begun_ns = time.monotonic_ns()
    images = played(context, source=str(video(tmp_path / "clip.mp4", frames=5)))
    steps = np.diff([image.measured_ns for image in images])
    assert (steps % 40_000_000 == 0).all()
    assert images[0].measured_ns >= begun_ns
    assert all(image.received_ns >= image.measured_ns for image in images)


class FastClock(MonotonicClock):
    """Runs so fast that no file can be decoded in its time."""

    def now_ns(self) -> int:
        return time.monotonic_ns() * 10_000


def test_a_player_that_begins_late_leaves_pictures_out(tmp_path: Path) -> None:
    context = Context(time="live")
    context.started_ns -= 950_000_000  # the file's time 0 was 200 ms ago
    images = played(context, source=str(video(tmp_path / "clip.mp4", frames=20)))
    assert context.counters["skipped_late"] + len(images) == 20
    assert context.counters["skipped_late"] > 0
    assert images[-1].index == 19
    assert {image.measured_ns - 40_000_000 * image.index for image in images} == {context.started_ns + 750_000_000}


def test_a_player_that_is_too_slow_goes_on_with_what_it_can(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Leaving pictures out for ever would show nothing at all."""
    context = Context(time="live", keep=20)
    context.clock = FastClock()
    context.started_ns = context.clock.now_ns()
    images = played(context, source=str(video(tmp_path / "clip.mp4")), loop=True)
    assert len(images) >= 20
    assert context.counters["slipped_s"] > 0
    assert "too slow" in caplog.text
    assert (np.diff([image.measured_ns for image in images]) > 0).all()


def test_resized_and_as_jpeg(tmp_path: Path) -> None:
    clip = str(video(tmp_path / "clip.mp4", frames=2))
    (image, _) = played(Context(), source=clip, size=[32, 24], encoding="jpeg")
    assert (image.width, image.height, image.encoding) == (32, 24, "jpeg")
    assert cv2.imdecode(image.data, cv2.IMREAD_COLOR).shape == (24, 32, 3)
    (plain, _) = played(Context(), source=clip, size=[32, 24])
    assert plain.data.size == 32 * 24 * 3


def turned(path: Path) -> Path:
    """Write a quarter turn clockwise into the track header of an mp4 file."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 4 + 20 + 16
    fixed = 1 << 16
    content[place : place + 36] = struct.pack(">9i", 0, fixed, 0, -fixed, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def test_rotation_in_the_file_is_applied(tmp_path: Path) -> None:
    (image,) = played(Context(), source=str(turned(video(tmp_path / "clip.mp4", frames=1))))
    assert (image.width, image.height) == (48, 64)
    picture = image.data.reshape(64, 48, 3).astype(int)
    redness = picture[:, :, 2] - picture[:, :, 0]
    assert redness[4, 44] > 100  # the corner that was at the top left is now at the top right
    assert redness[4, 4] < 100


def test_a_folder_in_the_order_of_numbers(tmp_path: Path) -> None:
    for index in (10, 9, 1, 2):
        cv2.imwrite(str(tmp_path / f"picture{index}.png"), grey(index))
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "picture5.jpg").write_bytes(b"damaged")
    context = Context()
    images = played(context, source=str(tmp_path), fps=30)
    assert [brightness(image) for image in images] == [1, 2, 9, 10]
    assert [image.index for image in images] == [0, 1, 3, 4]
    assert [image.measured_ns for image in images] == [0, 33_333_333, 100_000_000, 133_333_333]
    assert context.counters == {"refused_decode": 1.0}


def test_a_file_that_was_cut_off_is_told(tmp_path: Path) -> None:
    clip = video(tmp_path / "clip.avi", frames=50, fourcc="MJPG")
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    context = Context()
    images = played(context, source=str(clip))
    assert 0 < len(images) < 50
    assert context.counters.get("missing_frames", 0) + len(images) == 50


def test_files_of_two_cameras_stay_together(tmp_path: Path) -> None:
    """Whenever each node begins, a picture of the same file time has the same stamp."""
    clip = str(video(tmp_path / "clip.mp4", frames=10))
    started_ns = time.monotonic_ns()
    stamps = []
    for late_ns in (0, 900_000_000, 60_000_000_000):
        context = Context(time="live", keep=8)
        context.started_ns = started_ns - late_ns
        images = played(context, source=clip, loop=True)
        stamps.append([(image.measured_ns - context.started_ns, image.index, brightness(image)) for image in images])
    for offset_ns, index, light in (stamp for node in stamps for stamp in node):
        assert offset_ns - 750_000_000 == index * 40_000_000
        assert light == index % 10
    assert stamps[0][0][1] == 0
    assert stamps[2][0][1] > 1000


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "none.mp4", "no such file"),
        (
            lambda folder: (folder / "text.mp4").write_text("text") and folder / "text.mp4",
            "cannot be decoded|can be decoded",
        ),
        (lambda folder: folder, "key fps"),
    ],
)
def test_a_file_that_cannot_be_opened(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    source = make(tmp_path)
    context = Context()
    with pytest.raises(SourceError, match=said) as caught:
        played(context, source=str(source))
    assert str(source) in str(caught.value)
    assert not context.is_ready.is_set()


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no picture.*\.jpg"):
        open_file(str(tmp_path), 30.0)


@pytest.mark.parametrize("source", [99, "/dev/video99", "http://127.0.0.1:9/none"])
def test_a_live_source_that_is_not_there(source: int | str) -> None:
    context = Context(time="live")
    with pytest.raises(SourceError, match="cannot be opened") as caught:
        played(context, source=source)
    assert str(source) in str(caught.value)


def test_what_is_live() -> None:
    assert all(is_live(source) for source in (0, "1", "/dev/video0", "rtsp://host/a", "http://host:8080/a.mjpg"))
    assert not any(is_live(source) for source in ("clip.mp4", "/data/clip.mp4", "file:///data/clip.mp4", "folder"))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"source": 0, "loop": True}, "only for files"),
        ({"source": "rtsp://host/a", "start_s": 1.0}, "only for files"),
        ({"source": "a.mp4", "start_s": 2.0, "end_s": 1.0}, "not after start_s"),
        ({"source": -1}, "greater than or equal to 0"),
        ({"source": "a.mp4", "size": [4, 4]}, "greater than or equal to 16"),
        ({"source": "a.mp4", "encoding": "png"}, "jpeg"),
        ({"source": ""}, "at least 1 character"),
    ],
)
def test_keys_that_contradict(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        camera.Params(type="camera", **keys)


def test_sessions_that_contradict(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="time: data"):
        played(Context(time="live"), source=str(video(tmp_path / "clip.mp4")), pace="taken")
    with pytest.raises(RequestError, match="time: live"):
        played(Context(time="data"), source=0)


def profile_with_delay(folder: Path, delay_s: float) -> Path:
    one = Camera(
        name="left",
        width=64,
        height=48,
        matrix=np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]),
        r_camera_from_world=np.eye(3),
        t_camera_from_world_m=np.zeros(3),
        delay_s=delay_s,
    )
    save_profile(folder / "lab.toml", Rig(cameras=(one,)))
    return folder / "lab.toml"


def test_a_camera_that_the_profile_lacks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    profile = profile_with_delay(tmp_path, 0.0)
    clip = str(video(tmp_path / "clip.mp4", frames=1))
    with pytest.raises(RequestError, match=r"'lfet' is not in the profile.*left"):
        played(Context(profile=profile), source=clip, camera="lfet")
    (image,) = played(Context(profile=profile), source=clip, camera="left")
    assert image.camera == "left"
    played(Context(profile=profile), source=clip)
    assert "'cam1' is not in the profile" in caplog.text


# ---- a network stream


class Stream:
    """An HTTP server that sends JPEG pictures until it is cut."""

    def __init__(self, port: int = 0) -> None:
        self.cut = threading.Event()
        stream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                jpeg = cv2.imencode(".jpg", grey(3))[1].tobytes()
                head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
                try:
                    while not stream.cut.wait(0.005):
                        self.wfile.write(head + jpeg + b"\r\n")
                except OSError:
                    return

            def log_message(self, format: str, *args: object) -> None:
                return

        class Server(ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.cut.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(PATIENCE_S)


@contextmanager
def in_thread(context: Context, **keys: Any) -> Iterator[None]:
    failures: list[BaseException] = []

    def live() -> None:
        try:
            played(context, **keys)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    try:
        yield
    finally:
        context.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert not failures


def test_a_stream_that_is_cut_is_opened_again(tmp_path: Path) -> None:
    delay_s = 0.25
    context = Context(time="live", profile=profile_with_delay(tmp_path, delay_s))
    stream = Stream()
    with in_thread(context, source=f"http://127.0.0.1:{stream.port}/a.mjpg", fps=100, camera="left"):
        context.wait_for(lambda: len(context.images) >= 5)
        stream.end()
        deadline = time.monotonic() + PATIENCE_S
        while not context.counters.get("reopen_failed"):  # the camera is gone and has been looked for
            assert time.monotonic() < deadline
            context.receive(0.02)
        before = len(context.images)
        again = Stream(stream.port)
        try:
            context.wait_for(lambda: len(context.images) >= before + 5)
        finally:
            again.end()
    images = context.images
    assert context.counters["lost"] >= 1
    assert context.counters["reopened"] >= 1
    assert context.counters["gap_s"] > 0.2
    assert images[before].index - images[before - 1].index == context.counters["missed_frames"] + 1
    assert all(image.received_ns - image.measured_ns == round(delay_s * 1e9) for image in images)
    assert (np.diff([image.measured_ns for image in images]) > 0).all()


def test_a_stream_ends_at_once_when_the_graph_stops() -> None:
    stream = Stream()
    context = Context(time="live", keep=3)
    try:
        images = played(context, source=f"http://127.0.0.1:{stream.port}/a.mjpg")
    finally:
        stream.end()
    assert [image.index for image in images] == [0, 1, 2]
    assert brightness(images[0]) == 3
