"""``kinefuse train imu`` as it is typed: what is wrong is said before anything begins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodes.cli import main


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("KINEFUSE_DATA", raising=False)
    (tmp_path / "data" / "motion").mkdir(parents=True)
    return tmp_path / "data"


def test_data_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KINEFUSE_DATA", raising=False)
    assert main(["train", "imu", str(tmp_path / "out")]) == 2
    assert "--data" in capsys.readouterr().err
    assert main(["train", "imu", str(tmp_path / "out"), "--data", str(tmp_path)]) == 2
    assert "has no folder motion/" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "0"], "--steps: 0, allowed 1"),
        (["--hidden", "2000"], "--hidden: 2000, allowed 4 to 1024"),
        (["--device", "abacus"], "--device 'abacus' cannot be used"),
        (["--licence", "none"], "invalid choice"),
        (["--resume"], "no checkpoint"),
        (["--real", "nowhere"], "nowhere"),
    ],
)
def test_wrong_requests_are_answered(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    pytest.importorskip("torch", reason="torch is not installed (pip install 'kinefuse[learning]')")
    assert main(["train", "imu", str(tmp_path / "out"), "--data", str(data), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_is_not_overwritten(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="torch is not installed (pip install 'kinefuse[learning]')")
    out = tmp_path / "out"
    out.mkdir()
    (out / "checkpoint.pt").write_bytes(b"precious")
    assert main(["train", "imu", str(out), "--data", str(data)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert (out / "checkpoint.pt").read_bytes() == b"precious"


def test_a_short_training_ends_with_weights_and_a_card(
    data_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (pip install 'kinefuse[learning]')")
    from training.imu import card, movements

    # One short clip for each end, so that it takes seconds.
    monkeypatch.setattr(card, "SEEDS", (1,))
    names = {"train": [("sport", "dm_jump")], "validate": [("walk", "dm_walk")], "test": [("held_out", "dm_punch")]}
    monkeypatch.setattr(movements, "_permissive_names", lambda use: names[use])
    monkeypatch.setattr(movements, "_SCRIPTS", 1)
    monkeypatch.setattr(movements, "_VALIDATION_SCRIPTS", 1)
    threads = torch.get_num_threads()
    out = tmp_path / "out"
    words = ["--hidden", "8", "--steps", "3", "--lanes", "2", "--seed", "5", "--device", "cpu", "--json"]
    try:
        assert main(["train", "imu", str(out), "--data", str(data_pack), *words]) == 0
    finally:
        torch.set_num_threads(threads)
    told = json.loads(capsys.readouterr().out)
    assert Path(told["file"]) == out / "imu-parts.npz"
    assert 0.0 < told["held_out"]["ideal"]["sip_deg"] < 180.0
    from nodes.models.inertial import load

    assert load(told["file"]).hidden == 8
    text = Path(told["card"]).read_text(encoding="utf-8")
    assert "kinefuse train imu OUT --hidden 8 --steps 3 --lanes 2 --seed 5" in text
