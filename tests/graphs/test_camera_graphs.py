"""The shipped graphs with cameras: they load, and their keys are what they claim."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.graph.loader import load_graph
from nodes.keypoints import Params

GRAPHS = Path(__file__).resolve().parents[2] / "graphs"


def test_webcams() -> None:
    graph = load_graph(GRAPHS / "webcams.yaml")
    assert graph.inputs["fusion"] == ("pose_left/landmarks", "pose_right/landmarks")


def test_the_pose2sim_trial(data_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINEFUSE_DATA", str(data_pack.resolve()))
    graph = load_graph(GRAPHS / "pose2sim_single.yaml")
    assert graph.inputs["fusion"] == tuple(f"pose{number}/landmarks" for number in (1, 2, 3, 4))
    first = graph.graph.nodes["pose1"]
    assert isinstance(first, Params)
    assert first.pixels_to_calibration is not None
    sx, tx, sy, ty = first.pixels_to_calibration
    # The middle row stays where it is, and 1080 px become the calibration's 1088.
    assert sx * 1080 + tx == pytest.approx(1088, abs=1e-3)
    assert sy * 960 + ty == pytest.approx(960, abs=1e-3)
