"""What the viewer asks a running session for."""

from __future__ import annotations

from pathlib import Path

from nodes.viewer import shown_topics
from tests.nodes.test_attached import directory


def test_a_window_takes_all_but_the_radars_tensors(tmp_path: Path) -> None:
    about = directory(tmp_path)
    kinds = ("points", "tracks", "joints", "tensor", "image")
    about = about.model_copy(update={"topics": {f"r/{kind}": "cam" for kind in kinds} | {"r/health": "@supervisor"}})
    assert set(shown_topics(about)) == {f"r/{kind}" for kind in kinds if kind != "tensor"} | {"r/health"}
