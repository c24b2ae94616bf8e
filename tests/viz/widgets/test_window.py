"""The real window on a real (virtual) display, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("window_script.py")
DEADLINE_S = 200.0


def run(task: str, environment: dict[str, str], png: Path) -> Any:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), task, str(png)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_the_skeleton_is_where_it_belongs_in_the_scene_and_in_every_picture(
    display_environment: dict[str, str], tmp_path: Path
) -> None:
    found = run("content", display_environment, tmp_path / "window.png")
    assert (tmp_path / "window.png").stat().st_size > 20_000
    assert found["renderer_valid"]
    assert found["in_scene"] >= found["measured"] - 2
    for camera, bones in found["in_panels"].items():
        assert bones >= found["long_bones"] - 1, camera
    assert found["pictured"] == {"cam1": True, "cam2": True, "cam3": True, "cam4": False}
    assert found["table"] == ["→ cam4/image", "→ fusion/people"]
    assert found["late"] == "#ffb547"
    assert found["status"][0] == "latency p50 2.0 ms  p99 2.0 ms"
    assert found["status"][1].startswith("1 person")


def test_switches_pause_and_record_do_what_they_say(display_environment: dict[str, str], tmp_path: Path) -> None:
    found = run("switches", display_environment, tmp_path / "window.png")
    assert min(found["changed"].values()) > 50, found["changed"]
    assert found["paused"]["drawn"] == 0
    assert found["paused"]["taken"] > 0
    assert found["paused"]["drawn_after"] == 1
    assert found["alone"] == ["cam2"]
    record = found["record"]
    assert record["working"] == [True, "recording to somewhere.mcap"]
    assert record["working_calls"] == ["start", "stop"]
    assert record["failing"] == [False, "not recording: the disk is full; make room"]
    assert record["failing_calls"] == ["start"]


def test_the_button_of_an_answer_draws_it_alone_and_ghosts_show_the_others_thinly(
    display_environment: dict[str, str], tmp_path: Path
) -> None:
    found = run("answers", display_environment, tmp_path / "window.png")
    assert found["can"] == {"people": True, "smoothed": True, "predicted": False}
    enough, few = found["measured"] - 2, found["measured"] // 4
    assert found["people"]["people"] >= enough
    assert found["people"]["smoothed"] <= few
    assert found["people text"] == ""
    assert found["smoothed"]["smoothed"] >= enough
    assert found["smoothed"]["people"] <= few
    assert "smoothed" in found["smoothed text"]
    assert not found["smoothed shank"]
    assert found["ghosts"]["smoothed"] >= enough
    assert found["ghosts shank"]
    assert "people" in found["ghosts text"]
    assert len(set(found["keys"])) == len(found["keys"]) >= 3


def test_the_centre_of_mass_is_marked_with_its_place_on_the_floor(
    display_environment: dict[str, str], tmp_path: Path
) -> None:
    found = run("centre_of_mass", display_environment, tmp_path / "window.png")
    assert found["white"] == [False, True]
    assert found["ring"] >= 8
    assert found["legend"]


def test_the_panels_show_the_curves_the_numbers_and_the_source_that_is_wrong(
    display_environment: dict[str, str], tmp_path: Path
) -> None:
    found = run("panels", display_environment, tmp_path / "window.png")
    assert found["axes"] == "knee flexion"
    assert set(found["on_curve"]) == {"right", "left"}
    for side, (hits, values) in found["on_curve"].items():
        assert hits >= 0.7 * values > 0, side
    assert found["person"] == "person 1"
    assert [row[:2] for row in found["cells"]] == [["knee flexion", "right"], ["knee flexion", "left"]]
    assert [float(row[2]) for row in found["cells"]] == pytest.approx(found["truth"], abs=0.06)
    assert found["open"] == "Sources"
    assert found["sources"] == [
        ["cam2", "3.10 ×", "cam2 errs 3.1 times more than it claims"],
        ["cam1", "0.97 ×", "errs about as much as it claims"],
    ]
    assert found["colour"] == "#ff6b61"
    assert found["sensors visible"]
    assert found["sensors"] == [
        ["pelvis", "100", "at rest", "not used", "± 3.2°", "0.0° ± 2.0°"],
        ["left_forearm", "100", "moves", "disturbed", "± 3.2°", "20.0° ± 2.0°"],
    ]
    assert found["sensor colours"] == ["#ffb547", "#ffb547"]
    assert found["warning"] == "⚠ cam2 errs 3.1 times more than it claims"
    assert found["figures"] == "cam2 errs 3.1 times more than it claims  ·  births 1"


def test_a_radars_points_tracks_joints_and_field_of_view_are_seen_and_switched(
    display_environment: dict[str, str], tmp_path: Path
) -> None:
    found = run("radar", display_environment, tmp_path / "window.png")
    assert found["joints"] >= 8
    assert found["track"] == 3
    assert found["labels"] == ["track 1 · 0.6 m/s", "track 2 · still 4 s"]
    assert found["cells"][:1] + found["cells"][3:4] == ["radar1", "40.0"]
    assert found["cells"][5:] == ["5 (16.7 %)", "resyncs 2"]
    assert found["lost colour"] == "#ffb547"
    assert found["button"]
    assert found["keys"] == ["V", "K", "J", "F"]
    assert not found["pictures"]  # there is no camera: the room has the place
    for name in ("points", "tracks", "joints", "fields"):
        assert found["changed"][f"{name} off"] > 100, found["changed"]
        assert found["changed"][f"{name} on"] < 30, found["changed"]
    words = {"points": "m/s", "tracks": "tracks", "joints": "joints by radar"}
    for name, word in words.items():
        assert word in found["legend"]
        assert word not in found["legends"][f"{name} off"]


def test_a_guided_calibration_comes_to_the_front_once(display_environment: dict[str, str], tmp_path: Path) -> None:
    environment = {**display_environment, "QT_QPA_PLATFORM": "offscreen"}
    found = run("guide", environment, tmp_path / "window.png")
    assert found["before"] == [False, "Streams"]
    assert found["after"]
    assert found["stays"] == "Streams"  # who has looked away is not called back
    assert (found["title"], found["instruction"]) == ("2 of 4: T-pose", "Raise the arms")
    assert found["message"] == "left_forearm moves"
    assert found["progress"] == pytest.approx(0.25)
    assert found["painted"] == [True, True]
    assert not found["silent"]


def test_without_opengl_the_window_says_so_and_shows_the_rest(
    display_environment: dict[str, str], tmp_path: Path
) -> None:
    environment = {**display_environment, "QT_QPA_PLATFORM": "offscreen"}
    found = run("without_gl", environment, tmp_path / "window.png")
    assert found["view"]
    assert any("the advice" in text for text in found["texts"])
    assert found["brightest"] > 150


def test_no_reference_to_none_is_lost(display_environment: dict[str, str], tmp_path: Path) -> None:
    environment = {**display_environment, "QT_QPA_PLATFORM": "offscreen"}
    found = run("references", environment, tmp_path / "window.png")
    assert found["drawn"] >= 1000
    assert found["after"] >= found["before"]


@pytest.mark.parametrize(
    ("change", "platform", "says"),
    [
        ({"QT_QPA_PLATFORM": "xcb", "DISPLAY": ":64999"}, "", "no display"),
        ({"QT_QPA_PLATFORM": "offscreen"}, "offscreen", "xvfb-run"),
        ({}, "xcb", ""),
    ],
)
def test_what_a_display_can_do_is_found_out_without_risk(
    display_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    platform: str,
    says: str,
) -> None:
    from viz.widgets.display import probe

    for name, value in {**display_environment, **change}.items():
        monkeypatch.setitem(os.environ, name, value)
    found = probe()
    assert found.platform == platform
    assert says in found.message
    assert bool(found.renderer) == (found.message == "")


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"GIF89a" + bytes(100), bytes(1000)])
def test_bytes_that_are_no_jpeg_are_refused(data: bytes) -> None:
    pytest.importorskip("PySide6")
    import numpy as np

    from viz.widgets.jpeg import decode_jpeg

    assert decode_jpeg(np.frombuffer(data, np.uint8), 640) is None
