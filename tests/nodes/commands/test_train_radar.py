"""``kinefuse train radar`` as it is typed: what is wrong is said before anything begins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodes.cli import main
from nodes.models.radar import load
from tests.training.radar.made_up import write_recordings


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("KINEFUSE_DATA", raising=False)
    write_recordings(tmp_path / "data", frames=20)
    return tmp_path / "data"


@pytest.fixture
def threads() -> Iterator[None]:
    torch = pytest.importorskip("torch", reason="torch is not installed (pip install 'kinefuse[learning]')")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_data_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KINEFUSE_DATA", raising=False)
    assert main(["train", "radar", str(tmp_path / "out")]) == 2
    assert "--data" in capsys.readouterr().err
    assert main(["train", "radar", str(tmp_path / "out"), "--data", str(tmp_path)]) == 2
    assert "has no folder mars/" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "0"], "--steps: 0, allowed 1"),
        (["--judge-steps", "0"], "--judge-steps: 0, allowed 1"),
        (["--members", "99"], "--members: 99, allowed 1 to 16"),
        (["--leave-out", "5"], "invalid choice"),
        ([word for n in "1234" for word in ("--leave-out", n)], "all subjects are left out"),
        (["--split", "half"], "invalid choice"),
    ],
)
def test_wrong_requests_are_answered(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["train", "radar", str(tmp_path / "out"), "--data", str(data), *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("threads")
def test_a_checkpoint_is_not_overwritten(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "checkpoint.pt").write_bytes(b"precious")
    assert main(["train", "radar", str(out), "--data", str(data)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert (out / "checkpoint.pt").read_bytes() == b"precious"


@pytest.mark.usefixtures("threads")
def test_a_missing_recording_is_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "mars" / "subject3.npz").unlink()
    assert main(["train", "radar", str(tmp_path / "out"), "--data", str(data), "--steps", "1"]) == 2
    assert "subject3.npz" in capsys.readouterr().err


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    ("words", "name", "frames"),
    [(["--split", "official"], "radar-official", 32), (["--leave-out", "1", "--leave-out", "4"], None, 56)],
)
def test_a_short_training_ends_with_weights_and_a_card(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], name: str | None, frames: int
) -> None:
    sizes = ["--members", "1", "--steps", "1", "--judge-steps", "1", "--json"]
    assert main(["train", "radar", str(tmp_path / "out"), "--data", str(data), *words, *sizes]) == 0
    told = json.loads(capsys.readouterr().out)
    file = Path(told["file"])
    assert file.stem == (name or "radar-points-without-1-without-4")
    assert load(str(file)).members == 1
    assert told["held_out"]["place_known"]["frames"] == told["held_out"]["followed"]["frames"] == frames
    assert "kinefuse train radar OUT" in Path(told["card"]).read_text()
