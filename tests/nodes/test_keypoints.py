"""Keypoints node: real networks on real pictures, and what it does with pictures that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from calibration.profile import save_profile
from fusion.records import Image, Landmarks2D, UInt8
from fusion.rig import Camera, Rig
from nodes import keypoints
from nodes.errors import RequestError
from nodes.models import store
from nodes.models.store import ModelError
from nodes.node import SessionInfo
from nodes.runtime import LoopbackContext
from nodes.transport.bus import LoopbackBus

cv2 = pytest.importorskip("cv2")
pytest.importorskip("ai_edge_litert")

COCO_LIKE = {"shoulder": (11, 5), "elbow": (13, 7), "hip": (23, 11), "knee": (25, 13), "ankle": (27, 15)}
"""Index of the left one in BlazePose-33 and in BODY_25B; the right one follows."""


@pytest.fixture(scope="session")
def model() -> str:
    if not store.is_present(store.find_card("blazepose-full")):
        pytest.skip("blazepose-full is not on this machine; get it with: kinefuse models get blazepose-full")
    return "blazepose-full"


@pytest.fixture(scope="session")
def pictures(data_pack: Path) -> list[UInt8]:
    """The first pictures of a real camera, 1088x1920."""
    capture = cv2.VideoCapture(str(data_pack / "pose2sim" / "single" / "videos" / "cam03.mp4"))
    return [capture.read()[1] for _ in range(4)]


def image(picture: UInt8, index: int = 0, *, camera: str = "cam_03", jpeg: bool = False) -> Image:
    data = cv2.imencode(".jpg", picture)[1].reshape(-1) if jpeg else np.ascontiguousarray(picture).reshape(-1)
    return Image(
        camera=camera,
        index=index,
        width=picture.shape[1],
        height=picture.shape[0],
        encoding="jpeg" if jpeg else "bgr8",
        data=data,
        measured_ns=16_666_667 * index,
        received_ns=16_666_667 * index + 5,
    )


def context_with(images: list[Image], profile: Path | None = None) -> LoopbackContext:
    session = SessionInfo(
        name="test", profile=None if profile is None else str(profile), graph_text="", time="data", headless=True
    )
    context = LoopbackContext("pose", inputs=["cam/image"], session=session)
    sender = context.bus.sender()
    assert isinstance(context.bus, LoopbackBus)
    for item in images:
        sender.publish("cam/image", item)
    return context


def landmarks(context: LoopbackContext, **keys: Any) -> list[Landmarks2D]:
    keypoints.run(keypoints.Params(type="keypoints", input="cam/image", **keys), context)
    records = [envelope.record for envelope in context.published if envelope.topic == "pose/landmarks"]
    assert all(isinstance(record, Landmarks2D) for record in records)
    return records  # type: ignore[return-value]


def lab(folder: Path, width: int = 1088, height: int = 1920) -> Path:
    camera = Camera(
        name="cam_03",
        width=width,
        height=height,
        matrix=np.array([[1680.0, 0, width / 2], [0, 1680, height / 2], [0, 0, 1]]),
        r_camera_from_world=np.eye(3),
        t_camera_from_world_m=np.zeros(3),
    )
    save_profile(folder / "lab.toml", Rig(cameras=(camera,)))
    return folder / "lab.toml"


def test_landmarks_of_real_pictures(model: str, pictures: list[UInt8], data_pack: Path) -> None:
    """Joints are where another detector (the BODY_25B points of the data pack) has them."""
    context = context_with([image(picture, index) for index, picture in enumerate(pictures)])
    records = landmarks(context)
    reference = np.load(data_pack / "pose2sim" / "single" / "pose2d" / "body25b.npz")["cam03"]
    assert [record.measured_ns for record in records] == [16_666_667 * index for index in range(4)]
    assert [record.received_ns for record in records] == [16_666_667 * index + 5 for index in range(4)]
    distances = []
    for index, record in enumerate(records):
        assert (record.camera, record.landmark_set) == ("cam_03", "blazepose_33")
        assert (record.image_width, record.image_height) == (1088, 1920)
        assert record.pixels.shape == (1, 33, 2)
        for ours, theirs in COCO_LIKE.values():
            for side in (0, 1):
                distances.append(np.linalg.norm(record.pixels[0, ours + side] - reference[index, theirs + side, :2]))
    assert np.nanmedian(distances) < 25.0
    assert context.counters["pictures"] == context.counters["with_people"] == 4
    assert context.counters["searches"] == 1


def test_jpeg_and_pixels_agree(model: str, pictures: list[UInt8]) -> None:
    (plain,) = landmarks(context_with([image(pictures[0])]))
    (packed,) = landmarks(context_with([image(pictures[0], jpeg=True)]))
    assert np.median(np.linalg.norm(plain.pixels - packed.pixels, axis=-1)) < 5.0


def test_pictures_of_another_size_come_out_in_calibration_pixels(
    model: str, pictures: list[UInt8], tmp_path: Path
) -> None:
    half = cv2.resize(pictures[0], (544, 960), interpolation=cv2.INTER_AREA)
    (full,) = landmarks(context_with([image(pictures[0])], lab(tmp_path)))
    (small,) = landmarks(context_with([image(half)], tmp_path / "lab.toml"))
    assert (small.image_width, small.image_height) == (1088, 1920)
    assert np.median(np.linalg.norm(full.pixels - small.pixels, axis=-1)) < 8.0


def test_the_key_goes_before_the_size(model: str, pictures: list[UInt8], tmp_path: Path) -> None:
    (plain,) = landmarks(context_with([image(pictures[0])]))
    (moved,) = landmarks(context_with([image(pictures[0])]), pixels_to_calibration=[2.0, 10.0, 0.5, -20.0])
    np.testing.assert_allclose(moved.pixels, plain.pixels * [2.0, 0.5] + [10.0, -20.0], rtol=1e-5)
    with pytest.raises(RequestError, match=r"1088x1920 px, its calibration is for 1000x1920.*pixels_to_calibration"):
        landmarks(context_with([image(pictures[0])], lab(tmp_path, width=1000)))


def test_landmarks_below_the_least_score_are_not_seen(model: str, pictures: list[UInt8]) -> None:
    (plain,) = landmarks(context_with([image(pictures[0])]))
    least = float(np.median(plain.scores))
    (strict,) = landmarks(context_with([image(pictures[0])]), min_score=least)
    low = plain.scores < least
    assert low.any()
    assert np.isnan(strict.pixels[low]).all()
    assert (strict.scores[low] == 0.0).all()
    np.testing.assert_array_equal(strict.pixels[~low], plain.pixels[~low])


def test_damaged_and_empty_pictures_do_not_stop_it(model: str, pictures: list[UInt8]) -> None:
    """Each picture gives a record, so that readers know that time has passed; the person is found again after."""
    good = image(pictures[0], 3)
    torn = image(pictures[0], 0, jpeg=True)
    torn = Image(**{name: getattr(torn, name) for name in ("camera", "index", "width", "height", "encoding")},
                 data=torn.data[:50].copy(), measured_ns=0, received_ns=0)  # fmt: skip
    smaller = image(pictures[0][:100], 1, jpeg=True)
    wrong = Image(camera="cam_03", index=1, width=1088, height=1920, encoding="jpeg", data=smaller.data,
                  measured_ns=1, received_ns=1)  # fmt: skip
    black = image(np.zeros((1920, 1088, 3), dtype=np.uint8), 2)
    context = context_with([torn, wrong, black, good])
    assert [record.pixels.shape[0] for record in landmarks(context)] == [0, 0, 0, 1]
    assert context.counters["refused_decode"] == 2


def test_pictures_that_change_their_size(model: str, pictures: list[UInt8]) -> None:
    half = cv2.resize(pictures[0], (544, 960))
    records = landmarks(context_with([image(pictures[0], 0), image(half, 1)]))
    assert [(record.image_width, record.image_height) for record in records] == [(1088, 1920), (544, 960)]


def test_a_missing_model_offers_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINEFUSE_CACHE", str(tmp_path))
    context = context_with([])
    with pytest.raises(ModelError, match="kinefuse models get blazepose-full"):
        landmarks(context)
    assert not context.is_ready


def test_keys_that_cannot_be() -> None:
    for keys, said in (
        ({"threads": 0}, "greater than or equal to 1"),
        ({"min_score": 2.0}, "less than or equal to 1"),
        ({"pixels_to_calibration": [0.0, 0.0, 1.0, 0.0]}, "greater than 0"),
        ({"pixels_to_calibration": [1.0, 0.0]}, "Field required"),
    ):
        with pytest.raises(ValidationError, match=said):
            keypoints.Params(type="keypoints", input="cam/image", **keys)  # type: ignore[arg-type]


GRAPH = """
session: {{name: overload-{unique}}}
nodes:
  cam1: {{type: camera, source: clip.avi, fps: 240, loop: true}}
  cam2: {{type: camera, source: clip.avi, fps: 240, loop: true}}
  pose1: {{type: keypoints, input: cam1/image}}
  pose2: {{type: keypoints, input: cam2/image}}
"""

MOST_UNDER_WAY = 60
"""Pictures that may be in sockets, or not yet reported, when figures are taken; a queue would hold hundreds."""


def test_two_runners_that_are_too_slow_grow_no_queue(model: str, tmp_path: Path) -> None:
    """Two cameras at 240 pictures a second: what a runner cannot take is skipped and counted."""
    from nodes.graph.launcher import run_graph
    from nodes.graph.loader import load_graph

    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (64, 48))
    for _ in range(30):
        writer.write(np.zeros((48, 64, 3), dtype=np.uint8))
    writer.release()
    graph = tmp_path / "graph.yaml"
    graph.write_text(GRAPH.format(unique=tmp_path.name[-20:]))
    report = run_graph(load_graph(graph), duration_s=6.0, headless=True)
    assert report.exit_code == 0
    for camera, pose in (("cam1", "pose1"), ("cam2", "pose2")):
        sent = next(row for row in report.nodes[camera].topics if row.topic == f"{camera}/image")
        taken = next(row for row in report.nodes[pose].topics if row.topic == f"{camera}/image")
        made = next(row for row in report.nodes[pose].topics if row.topic == f"{pose}/landmarks")
        skipped = report.nodes[pose].counters.get("skipped_stale", 0.0)
        assert taken.drops + skipped > made.count > 0
        assert made.count >= taken.count - skipped - 1
        assert sent.count - taken.count - taken.drops < MOST_UNDER_WAY
