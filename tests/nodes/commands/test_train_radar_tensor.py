"""``kinefuse train radar-tensor`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodes.cli import main


@pytest.fixture(autouse=True)
def _torch() -> None:
    pytest.importorskip("torch", reason="torch is not installed (pip install 'kinefuse[learning]')")


def test_simulated_people_end_in_weights_that_can_be_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "train",
        "radar-tensor",
        str(tmp_path),
        "--synthetic",
        "--recordings",
        "2",
        "--frames",
        "2",
        "--threads",
        "1",
    ]
    assert main([*words, "--epochs", "1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["file"] == str(tmp_path / "radar-tensor.npz")
    assert Path(figures["file"]).is_file()
    assert (figures["learned_frames"], figures["validation"]["frames"]) == (2, 2)
    assert figures["test"]["mean_pose"]["frames"] == 2
    assert main([*words, "--epochs", "1"]) == 2
    assert "go on from it with --resume" in capsys.readouterr().err
    assert main([*words, "--epochs", "1", "--resume"]) == 0
    said = capsys.readouterr().err
    assert "this says nothing of a real radar" in said
    # Read as any data set in that layout.
    data = ["train", "radar-tensor", str(tmp_path / "b"), "--data", str(tmp_path / "data"), "--size", "small"]
    assert main([*data, "--epochs", "1", "--threads", "1"]) == 0
    assert "this says nothing" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one of the arguments --data --synthetic is required"),
        (["--data", "nowhere"], "nowhere: is no folder; name the one that holds Train.json"),
        (["--data", ".", "--frames", "3"], "they need --synthetic"),
        (["--synthetic", "--epochs", "0"], "--epochs: 0, allowed 1 to 100000"),
        (["--synthetic", "--recordings", "1"], "--recordings: 1, allowed 2 to 100000"),
        (["--synthetic", "--device", "abacus"], "--device 'abacus' cannot be used"),
        (["--synthetic", "--size", "huge"], "invalid choice"),
    ],
)
def test_wrong_requests_are_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    try:
        code = main(["train", "radar-tensor", str(tmp_path / "out"), *words])
    except SystemExit as error:
        code = int(error.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
