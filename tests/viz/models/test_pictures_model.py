"""Camera panels: which picture, which landmarks, and where the skeleton is projected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import viewer_lab as lab

from fusion.maths.camera import project
from fusion.records import Image, UInt8
from viz.models import skeleton
from viz.models.pictures import PicturesModel, PicturesParams, best_columns

NS = lab.NS


def jpeg(time_s: float, camera: str, data: bytes = b"not a jpeg") -> Image:
    return Image(
        measured_ns=round(time_s * NS),
        received_ns=0,
        camera=camera,
        index=0,
        width=640,
        height=480,
        encoding="jpeg",
        data=np.frombuffer(data, np.uint8).copy(),
    )


def test_every_camera_of_the_rig_has_a_panel_before_anything_has_come() -> None:
    panels = PicturesModel(lab.lab()).panels(())
    assert [panel.camera for panel in panels] == ["cam1", "cam2", "cam3", "cam4"]
    assert all(panel.picture is None and (panel.width, panel.height) == (1280, 720) for panel in panels)


def test_the_skeleton_is_projected_through_the_camera_with_its_distortion() -> None:
    rig = lab.lab()
    record = lab.people(0.5)
    panel = PicturesModel(rig).panels((record,))[1]
    points = skeleton.points_with_tips(record.positions_m[0], record.q_world_from_segment[0], record.lengths_m[0])
    expected, _ = project(points, rig.cameras[1])
    np.testing.assert_allclose(panel.reprojection.ends, expected[skeleton.BONES], atol=0.01)


def test_what_is_behind_the_camera_is_left_out() -> None:
    rig = lab.lab()
    record = lab.people(0.5)
    behind = record.positions_m + (rig.cameras[0].centre_world_m * 3.0).astype(np.float32)
    moved = replace(record, positions_m=behind.astype(np.float32))
    panels = PicturesModel(rig).panels((moved,))
    assert not len(panels[0].reprojection.ends)


def test_reprojection_can_be_switched_off() -> None:
    panels = PicturesModel(lab.lab()).panels((lab.people(0.5),), reproject=False)
    assert not any(len(panel.reprojection.ends) for panel in panels)


def test_a_picture_of_pixels_is_reduced_and_shown_in_red_green_blue() -> None:
    model = PicturesModel(lab.lab())
    picture = lab.picture(1.0, "cam1")
    model.add_image(picture)
    shown = model.panels((), origin_ns=NS // 2)[0]
    assert shown.picture is not None
    assert shown.picture.shape == (360, 640, 3)
    assert (shown.picture[..., 2] == 40).all()
    assert (shown.picture[..., 1] == 60).all()
    assert (np.diff(shown.picture[0, :, 0].astype(int)) >= 0).all()
    assert (shown.width, shown.height) == (1280, 720)
    assert shown.picture_s == pytest.approx(0.5)


def test_a_picture_of_another_size_than_the_calibrations_is_stretched_to_it() -> None:
    rig = lab.lab()
    model = PicturesModel(rig)
    for camera in ("cam1", "unknown"):
        model.add_image(lab.picture(0.0, camera, 320, 240))
    sizes = {panel.camera: (panel.width, panel.height) for panel in model.panels(())}
    assert sizes["cam1"] == (1280, 720)
    assert sizes["unknown"] == (320, 240)


def test_a_kept_picture_holds_no_received_buffer() -> None:
    model = PicturesModel(lab.lab())
    picture = lab.picture(1.0, "cam1", 320, 240)
    model.add_image(picture)
    assert not np.shares_memory(model.state.cameras["cam1"].pictures[0].data, picture.data)


def test_a_picture_waits_for_its_landmarks_but_not_for_ever() -> None:
    rig = lab.lab()
    model = PicturesModel(rig)
    for time_s in (1.0, 1.033, 1.067):
        model.add_image(lab.picture(time_s, "cam1", 64, 36))
    assert model.panels(())[0].picture_s == pytest.approx(1.067)
    model.add_landmarks(lab.landmarks(1.033, rig.cameras[0]))
    panel = model.panels(())[0]
    assert panel.picture_s == pytest.approx(1.033)
    assert len(panel.landmarks.positions) == 23
    for step in range(10):
        model.add_image(lab.picture(2.0 + step / 30, "cam1", 64, 36))
    panel = model.panels(())[0]
    assert panel.picture_s == pytest.approx(2.3)
    assert not len(panel.landmarks.positions)


def test_landmarks_not_seen_are_not_drawn() -> None:
    rig = lab.lab()
    record = lab.landmarks(0.0, rig.cameras[0])
    pixels, scores = record.pixels.copy(), record.scores.copy()
    pixels[0, 3] = np.nan
    scores[0, 4] = 0.0
    model = PicturesModel(rig)
    model.add_landmarks(replace(record, pixels=pixels, scores=scores))
    panel = model.panels(())[0]
    assert len(panel.landmarks.positions) == 21
    assert panel.landmark_people == 1


def test_jpeg_goes_through_the_decoder_once_a_picture_and_a_bad_one_is_counted() -> None:
    asked: list[bytes] = []

    def decode(data: UInt8, longest_side_px: int) -> UInt8 | None:
        asked.append(data.tobytes())
        return np.zeros((4, 4, 3), np.uint8) if data.tobytes() == b"good" else None

    model = PicturesModel(lab.lab(1), decode)
    model.add_image(jpeg(1.0, "cam1", b"good"))
    first, second = model.panels(())[0], model.panels(())[0]
    assert first.picture is second.picture is not None
    model.add_image(jpeg(2.0, "cam1", b"bad"))
    assert model.panels(())[0].picture is None
    assert model.panels(())[0].picture is None
    assert asked == [b"good", b"bad"]
    assert model.state.refused == 1


def test_memory_is_bounded_under_a_flood_of_cameras_and_pictures() -> None:
    params = PicturesParams()
    model = PicturesModel(lab.lab(), params=params)
    camera = lab.lab().cameras[0]
    for number in range(500):
        model.add_image(jpeg(number, f"fake{number}"))
        model.add_image(jpeg(number, "cam1"))
        model.add_landmarks(lab.landmarks(0.0, camera))
    assert len(model.state.cameras) == params.max_cameras
    assert len(model.state.cameras["cam1"].pictures) == params.pictures_kept
    assert len(model.state.cameras["cam1"].landmarks) == params.records_kept
    assert model.state.refused == 500 - (params.max_cameras - 4)


@pytest.mark.parametrize(
    ("aspects", "size", "columns"),
    [
        ([16 / 9] * 4, (520, 520), 2),
        ([16 / 9] * 4, (1600, 200), 4),
        ([9 / 16] * 4, (700, 500), 4),
        ([16 / 9] * 3, (300, 900), 1),
        ([], (300, 300), 1),
    ],
)
def test_columns_make_the_pictures_large(aspects: list[float], size: tuple[int, int], columns: int) -> None:
    assert best_columns(aspects, *size) == columns
