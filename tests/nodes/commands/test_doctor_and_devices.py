"""``kinefuse doctor`` and ``kinefuse devices``: findings, remedies, exit codes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from nodes.commands import devices, doctor


def command(module: Any, *words: str) -> int:
    parser = argparse.ArgumentParser()
    module.add_parser(parser.add_subparsers())
    args = parser.parse_args([module.__name__.rsplit(".", 1)[1], *words])
    return int(args.run(args))


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    report = json.loads(capsys.readouterr().out)
    return {"ok": report["ok"], **{finding["name"]: finding for finding in report["findings"]}}


def test_this_installation_works(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command(doctor, "--json") == 0
    report = findings(capsys)
    assert report["ok"] is True
    assert report["python"]["found"].startswith(sys.version.split()[0])
    assert report["core packages"]["state"] == "ok"
    for finding in (value for value in report.values() if isinstance(value, dict)):
        assert finding["state"] == "ok" or finding["remedy"]


def test_a_missing_model_is_told_with_the_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINEFUSE_CACHE", str(tmp_path))
    assert command(doctor) == 0
    assert "kinefuse models get blazepose-full" in capsys.readouterr().out


def test_a_missing_extra_is_no_fault_but_a_broken_one_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kinefuse_test_broken.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(doctor, "EXTRAS", {"viewer": ("kinefuse_test_absent",), "camera": ("kinefuse_test_broken",)})
    assert command(doctor, "--json") == 1
    report = findings(capsys)
    assert report["ok"] is False
    assert report["extra viewer"]["state"] == "missing"
    assert report["extra viewer"]["remedy"] == "pip install 'kinefuse[viewer]'"
    assert report["extra camera"]["state"] == "wrong"
    assert "libGL.so.1" in report["extra camera"]["found"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows runs use no socket files")
def test_a_folder_that_cannot_hold_sockets(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINEFUSE_RUNTIME_DIR", str(tmp_path / ("long" * 25)))
    assert command(doctor, "--json") == 1
    finding = findings(capsys)["folder for sockets"]
    assert finding["state"] == "wrong"
    assert "KINEFUSE_RUNTIME_DIR" in finding["remedy"]


def test_without_a_screen_the_viewer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PySide6")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if sys.platform == "linux":
        (finding,) = doctor.check_gl()
        assert finding.state == "missing"
        assert "--headless" in finding.remedy


def test_a_driver_that_fails_is_found_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PySide6")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(doctor, "GL_SCRIPT", "import os; os.abort()")
    (finding,) = doctor.check_gl()
    assert finding.state == "missing"


def test_devices(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert command(devices, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert {"cameras", "serial_ports", "remark"} <= report.keys()
    assert command(devices) == 0
    assert "serial ports" in capsys.readouterr().out


def test_a_device_file_that_is_no_camera(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("cv2")
    monkeypatch.setattr("nodes.video.sources.video_devices", lambda: iter(["/dev/video98"]))
    assert command(devices, "--json", "--probe") == 0
    (camera,) = json.loads(capsys.readouterr().out)["cameras"]
    assert camera["source"] == "/dev/video98"
    assert camera["readable"] is False
    assert camera["opens"] is False
    assert command(devices) == 0
    assert "you may not read it" in capsys.readouterr().out


def test_names_of_cameras(tmp_path: Path) -> None:
    (tmp_path / "video3").mkdir()
    (tmp_path / "video3" / "name").write_text("Webcam C920\n")
    assert devices._camera_name("/dev/video3", tmp_path) == "Webcam C920"
    assert devices._camera_name("/dev/video4", tmp_path) == ""
    assert os.listdir(tmp_path) == ["video3"]
