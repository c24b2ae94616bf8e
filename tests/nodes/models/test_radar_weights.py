"""Weights that come with the installation, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nodes.models.radar import DEFAULT, describe, find, load, shipped
from nodes.models.store import ModelError


def test_the_default_network_comes_with_the_installation() -> None:
    assert DEFAULT in shipped()
    weights = load(DEFAULT)
    assert weights.hidden >= 64
    card = find(DEFAULT).with_suffix(".md").read_text(encoding="utf-8")
    assert "MIT" in describe(DEFAULT)["licence"]
    for needed in ("kinefuse train radar", "--seed", "Licence of the weights", "MARS", "Not for"):
        assert needed in card


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'radar-point' is not known; did you mean 'radar-points'\?"):
        load("radar-point")
    with pytest.raises(ModelError, match="there is no such file"):
        load(str(tmp_path / "mine.npz"))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"mine\.npz.*kinefuse train radar"):
        load(str(path))


def test_wrong_arrays_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, **{"gru.weight_hh_l0": np.zeros((3, 3), dtype=np.float32)})  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"gru\.weight_hh_l0"):
        load(str(path))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, what=np.array([object()], dtype=object))
    with pytest.raises(ModelError, match="is no file of weights"):
        load(str(path))
