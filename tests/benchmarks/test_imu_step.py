"""The benchmark of the inertial network's step: that its parts run and say the same; no time is asserted."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import imu_step
from benchmarks.filter_cost import THREADS
from benchmarks.imu_step import (
    BURST,
    NumpyNetwork,
    Step,
    error_of,
    in_turns,
    load_weights,
    main,
    measure,
    random_weights,
    read_once,
    smooth_features,
    torch_step,
    words_of,
)
from fusion.records import Float32


def test_every_figure_is_there() -> None:
    result = measure(random_weights(8), turns=1, cold_steps=2, error_frames=30)
    keys = {"p50_ms", "p99_ms", "floor_ms", "ratio_to_numpy", "ratio_to_torch", "cold_ms", "floor_cold_ms", "error"}
    assert keys <= result.keys()
    figures = [result[key] for key in ("p50_ms", "p99_ms", "floor_ms", "floor_float32_ms", "ratio_to_numpy", "cold_ms")]
    assert all(math.isfinite(figure) and figure > 0.0 for figure in figures)
    assert result["error"]["rms"] < result["error"]["max"] < 1e-4
    assert result["error_numpy"]["max"] < 1e-5
    assert result["weights_bytes"] > 0
    assert (result["ratio_to_torch"] is None) == bool(result["missing"])


def test_without_torch_its_ratio_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert torch_step(random_weights(8), 8) is None
    result = measure(random_weights(8), turns=1, cold_steps=1, error_frames=5)
    assert result["ratio_to_torch"] is None
    assert "kinefuse[learning]" in result["missing"]["torch"]


def test_torch_and_numpy_say_the_same() -> None:
    pytest.importorskip("torch")
    weights, features = random_weights(8), smooth_features(20)
    step = torch_step(weights, 8)
    assert step is not None
    assert error_of(step, weights, features)["max"] < 1e-5


def test_numpy_stays_in_its_type() -> None:
    for dtype in (np.float32, np.float64):
        told = NumpyNetwork(random_weights(8), dtype).step(smooth_features(1)[0])
        assert told.dtype == dtype
        assert told.shape == (147,)


def test_all_have_as_many_turns() -> None:
    calls = {"a": 0, "b": 0}

    def counting(name: str) -> Step:
        def step(_: Float32) -> None:
            calls[name] += 1

        return step

    times = in_turns({name: counting(name) for name in calls}, smooth_features(3), 2)
    assert {name: len(values) for name, values in times.items()} == {"a": 2 * BURST, "b": 2 * BURST}
    assert calls == {"a": 3 * BURST, "b": 3 * BURST}


def test_all_words_are_read() -> None:
    data = np.arange(1000, dtype=np.int64)
    assert read_once(words_of(data)) == data.sum()
    assert read_once(words_of(data.view(np.int16))) == data.sum()


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    weights, path = random_weights(8), tmp_path / "weights.npz"
    np.savez(path, **weights, **{"meta.note": np.array("of a test")})  # type: ignore[arg-type]
    loaded = load_weights(path)
    assert loaded.keys() == weights.keys()
    for wrong in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(ValueError, match=r"is not a file of weights \(\.npz\)"):
            load_weights(wrong)


def test_the_command_prints_one_object(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in THREADS:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(imu_step, "COLD_STEPS", 1)
    monkeypatch.setattr(imu_step, "ERROR_FRAMES", 5)
    monkeypatch.setattr(sys, "argv", ["imu_step", "--hidden", "8", "--turns", "1", "--json"])
    assert main() == 0
    assert json.loads(capsys.readouterr().out)["hidden"] == 8
    monkeypatch.setattr(sys, "argv", ["imu_step", "--weights", "nowhere.npz"])
    assert main() == 2
    assert "nowhere.npz is not a file of weights" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["imu_step", "--hidden", "8", "--turns", "1"])
    assert main() == 0
    assert "ratio to floor" in capsys.readouterr().out
