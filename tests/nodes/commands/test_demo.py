"""``kinefuse demo`` with real processes, sockets and files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nodes.cli import main
from nodes.commands.demo import demo_graph, demo_path, dropped
from nodes.graph.launcher import RunReport
from nodes.graph.supervisor import NodeReport, StreamReport


def test_the_demo_runs_and_sums_up(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nodes.cli", "demo", "--headless", "--seconds", "4", "--json", "--record"]
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    done = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, env=environment, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["frames"] > 0
    assert figures["mpjpe_mm"] is not None
    assert figures["pa_mpjpe_mm"] <= figures["mpjpe_mm"]
    assert set(figures["latency_ms"]) >= {"p50", "p99"}
    assert figures["dropped"] == 0
    assert figures["smoothed"] is None, "the demo asks for no lag: it would not keep up on two cores"
    assert Path(figures["session"]).parent == tmp_path
    assert len(list(tmp_path.glob("*.mcap"))) == 1


def test_the_demo_is_the_lab_that_is_promised(tmp_path: Path) -> None:
    graph = demo_graph(tmp_path, seed=7, window=False)
    simulator = graph.graph.nodes["sim"]
    assert (simulator.cameras.count, simulator.detector.rate_hz) == (4, 30.0)
    assert (len(simulator.imus.sites), simulator.imus.rate_hz) == (6, 100.0)
    assert (simulator.radars.count, simulator.radars.rate_hz) == (1, 20.0)
    assert (simulator.detector.noise_px, simulator.seed) == (3.0, 7)
    assert (simulator.cameras.width, simulator.cameras.height) == (1280, 720)
    assert "view" not in graph.graph.nodes
    taken = graph.inputs["fusion"]
    assert {"sim.imus/samples", "sim.radar1/points", "sim.cam4/landmarks"} <= set(taken)
    assert demo_path().is_file()


def test_dropped_counts_measurements_and_people_only() -> None:
    streams = tuple(
        StreamReport(topic, "in", 100, 30.0, drops, 0)
        for topic, drops in (("a.cam1/landmarks", 2), ("a.imus/samples", 3), ("f/people", 4), ("a.cam1/image", 50))
    )
    node = NodeReport("stopped", 0, "", streams, {})
    assert dropped(RunReport(0, "", 1.0, {"one": node, "two": node})) == 18


@pytest.mark.parametrize("options", [["--seconds", "0"], ["--seconds", "soon"], ["--seed", "-4"], ["--sedd", "4"]])
def test_wrong_options_end_with_exit_code_2(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", *options]) == 2
    assert capsys.readouterr().err.strip()
