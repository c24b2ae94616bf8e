"""The graph for recordings: sound by itself, but nothing to run without a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.cli import main
from nodes.graph.document import GraphError
from nodes.graph.loader import load_graph
from tests.conftest import REPOSITORY

GRAPH = REPOSITORY / "graphs" / "landmarks.yaml"


def test_it_passes_the_check_and_waits_for_a_session() -> None:
    loaded = load_graph(GRAPH)
    assert loaded.graph.session.recorded
    assert loaded.inputs["fusion"] == ()


def test_run_names_the_command_that_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(GRAPH), "--headless"]) == 2
    assert "kinefuse replay SESSION --graph" in capsys.readouterr().err


def test_without_the_key_an_input_that_nothing_matches_is_a_problem(tmp_path: Path) -> None:
    graph = tmp_path / "g.yaml"
    graph.write_text(GRAPH.read_text(encoding="utf-8").replace(", recorded: true", ""), encoding="utf-8")
    with pytest.raises(GraphError, match=r"no topic matches '\*/landmarks'"):
        load_graph(graph)
