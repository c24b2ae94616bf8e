# ruff: noqa: E402  # skipped as a whole without torch
"""The benchmark of the tensor modality: every figure is there, and those that can be known are right."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (pip install 'kinefuse[learning]')")

from benchmarks import radar_tensor
from fusion.synthesis.radar_tensor import SMALL_CHIRP
from training.radar_tensor.judge import Answers
from training.radar_tensor.synthetic import SyntheticParams, write_synthetic
from training.radar_tensor.train import Settings, train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one round through two people."""
    threads = torch.get_num_threads()
    out = tmp_path_factory.mktemp("run")
    write_synthetic(out / "data", SyntheticParams(recordings=2, test_recordings=1, frames=2), lambda *_: None)
    train(Settings(size="small", epochs=1), out / "data", out, lambda *_: None)
    torch.set_num_threads(threads)
    return out


def test_the_synthesiser_agrees_with_the_ffts() -> None:
    assert radar_tensor.consistency(SMALL_CHIRP, exact=False) < 1e-6
    assert 1e-4 < radar_tensor.consistency(SMALL_CHIRP, exact=True) < 0.05
    assert radar_tensor.consistency(replace(SMALL_CHIRP, parts=8), exact=True) < 0.005


def test_every_figure_is_there(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the whole radar, whose frames take seconds."""
    small = {"input": [1, 2, 3, 4], "parameters": 5, "gflops": 1.0, "frame_ms": 1.0, "processor_ms": 1.0}
    radar = {"range_bin_m": 0.1, "speed_bin_m_s": 0.1, "antennas": 3, "fft_error": 0.0, "fft_error_moving": 0.0}
    monkeypatch.setattr(radar_tensor, "network_figures", lambda _frames: {"full": small, "small": small})
    monkeypatch.setattr(radar_tensor, "synthesis_figures", lambda _frames: {"small": {**radar, "frame_ms": 1.0}})
    monkeypatch.setattr(sys, "argv", ["radar_tensor", "--run", str(run), "--json"])
    radar_tensor.main()
    found = json.loads(capsys.readouterr().out)
    keys = {
        "frames",
        "mpjpe_cm",
        "absolute_mpjpe_cm",
        "mean_pose_mpjpe_cm",
        "coverage_95",
        "motion_correlation",
        "frame_ms",
    }
    assert keys <= found.keys()
    assert found["frames"] == 2
    assert found["people"] == "simulated"
    monkeypatch.setattr(sys, "argv", ["radar_tensor", "--run", str(run)])
    radar_tensor.main()
    assert "this says nothing of a real radar" in capsys.readouterr().out


def test_an_answer_that_is_the_mean_has_no_correlation() -> None:
    true = np.random.default_rng(1).normal(size=(30, 15, 3))
    still = np.broadcast_to(true.mean(0), true.shape)
    scores = np.ones(30)
    assert radar_tensor.correlation([Answers("a", true, true, scores)]) == pytest.approx(1.0)
    assert radar_tensor.correlation([Answers("a", still, true, scores)]) == 0.0


def test_a_run_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("network_figures", "synthesis_figures"):
        monkeypatch.setattr(radar_tensor, name, lambda _frames: {})
    monkeypatch.setattr(sys, "argv", ["radar_tensor", "--run", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        radar_tensor.main()
    assert caught.value.code == 2
    assert "there is no such file; make one with: kinefuse train radar-tensor" in capsys.readouterr().err
