"""``kinefuse calibrate import``: exit codes, what is written, what is said."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from calibration.profile import load_profile
from nodes.commands import calibrate

FOREIGN = """
[cam_a]
name = "left"
size = [ 1280.0, 720.0]
matrix = [[900.0, 0.0, 640.0], [0.0, 910.0, 360.0], [0.0, 0.0, 1.0]]
distortions = [-0.1, 0.02, 0.001, -0.002]
rotation = [0.1, -0.2, 0.3]
translation = [500.0, 1000.0, 3000.0]
fisheye = false
"""


def command(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    calibrate.add_parser(parser.add_subparsers())
    args = parser.parse_args(["calibrate", "import", *map(str, words)])
    return int(args.run(args))


def test_a_foreign_file_becomes_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, profile = tmp_path / "calibration.toml", tmp_path / "lab.toml"
    source.write_text(FOREIGN)
    assert command(source, profile) == 2
    assert "--unit mm" in capsys.readouterr().err
    assert not profile.exists()
    assert command(source, profile, "--unit", "mm", "--json") == 0
    assert json.loads(capsys.readouterr().out)["cameras"][0]["name"] == "left"
    np.testing.assert_allclose(load_profile(profile).cameras[0].t_camera_from_world_m, [0.5, 1.0, 3.0])
    before = profile.read_bytes()
    assert command(source, profile, "--unit", "mm") == 2
    assert "exists already" in capsys.readouterr().err
    assert profile.read_bytes() == before
    assert command(source, profile, "--unit", "mm", "--overwrite") == 0


def test_a_profile_becomes_a_pose2sim_file(tmp_path: Path) -> None:
    source, profile, back = tmp_path / "calibration.toml", tmp_path / "lab.toml", tmp_path / "back.toml"
    source.write_text(FOREIGN)
    assert command(source, profile, "--unit", "mm") == 0
    assert command(profile, back, "--to", "pose2sim") == 0
    one, other = load_profile(profile).cameras[0], load_profile(back).cameras[0]
    np.testing.assert_allclose(one.r_camera_from_world, other.r_camera_from_world, atol=1e-14)
    np.testing.assert_array_equal(one.distortion, other.distortion)


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path / "none.toml", tmp_path / "lab.toml") == 2
    assert "no such file" in capsys.readouterr().err
