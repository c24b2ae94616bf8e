"""``kinefuse view`` and the viewer node on a session that really runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodes.cli import main
from nodes.commands.view import size, switches
from nodes.graph.rundir import RUNTIME_VARIABLE

DEADLINE_S = 120.0
GRAPH = """
session: {{name: little-lab, profile: {profile}, time: {time}}}
nodes:
  sim: {{type: simulator, seed: 3, duration_s: {seconds}, imus: null}}
{more}
"""
PROFILE = Path(__file__).parents[3] / "graphs" / "demo.toml"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a runtime folder of its own."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv(RUNTIME_VARIABLE, str(runtime))
    return tmp_path


def start(place: Path, *words: str, time_rule: str = "live", seconds: float = 300.0, more: str = "") -> Any:
    """``kinefuse run`` on a little simulated lab."""
    graph = place / "graph.yaml"
    text = GRAPH.format(profile=json.dumps(str(PROFILE)), time=time_rule, seconds=seconds, more=more)
    graph.write_text(text)
    return subprocess.Popen(
        [sys.executable, "-m", "nodes.cli", "run", str(graph), "--json", *words],
        stdout=subprocess.PIPE,
        stderr=(place / "log").open("w"),
        text=True,
    )


def report(running: Any) -> Any:
    """Stop a run and return its summary."""
    if running.poll() is None:
        running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=DEADLINE_S)
    return json.loads(out)


@pytest.fixture
def running(place: Path) -> Iterator[Any]:
    process = start(place, "--headless")
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def view(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nodes.cli", "view", "--wait", str(DEADLINE_S), *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**(environment or os.environ), RUNTIME_VARIABLE: os.environ[RUNTIME_VARIABLE]},
        check=False,
    )


def test_figures_without_a_window(running: Any) -> None:
    done = view("--headless", "--json", "--after", "4")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["session"] == "little-lab"
    assert said["records"] > 0
    assert "sim.cam1/landmarks" in [row["topic"] for row in said["streams"]]


def test_a_picture_by_command_which_disturbs_nothing_and_overwrites_nothing(
    running: Any, place: Path, display_environment: dict[str, str]
) -> None:
    png = place / "window.png"
    words = ("little-lab", "--png", str(png), "--after", "1", "--size", "1000x700", "--show", "truth")
    done = view(*words, environment=display_environment)
    assert done.returncode == 0, done.stderr
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) == (1000, 700)
    assert [path.name for path in place.glob("*.png")] == ["window.png"]
    again = view(*words, environment=display_environment)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    assert png.read_bytes() == data
    summary = report(running)
    assert summary["exit_code"] == 0
    node = summary["nodes"]["sim"]
    assert (node["state"], node["restarts"]) == ("stopped", 0)


def test_without_opengl_the_picture_has_the_rest_and_the_exit_code_says_so(
    running: Any, place: Path, display_environment: dict[str, str]
) -> None:
    png = place / "flat.png"
    environment = {**display_environment, "QT_QPA_PLATFORM": "offscreen"}
    done = view("--png", str(png), "--after", "1", environment=environment)
    assert done.returncode == 1
    assert "no OpenGL" in done.stderr
    assert "without the 3-D part" in done.stderr
    assert png.read_bytes().startswith(b"\x89PNG")


def test_without_a_display_there_is_a_plain_message(
    running: Any, place: Path, display_environment: dict[str, str]
) -> None:
    environment = {**display_environment, "DISPLAY": ":64999"}
    done = view("--png", str(place / "x.png"), environment=environment)
    assert done.returncode == 1
    assert "no display" in done.stderr
    assert "xvfb-run" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_viewer_node_holds_up_no_session_in_data_time(
    place: Path, display_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in display_environment.items():
        monkeypatch.setitem(os.environ, name, value)
    monkeypatch.chdir(place)
    more = "  rec: {type: recorder, path: out}\n  view: {type: viewer}"
    process = start(place, time_rule="data", seconds=4.0, more=more)
    out, _ = process.communicate(timeout=DEADLINE_S)
    log = (place / "log").read_text()
    assert process.returncode == 0, log
    nodes = json.loads(out)["nodes"]
    assert {name: node["state"] for name, node in nodes.items()} == dict.fromkeys(("sim", "rec", "view"), "stopped")
    assert nodes["view"]["restarts"] == 0, log
    assert sum(topic["drops"] for topic in nodes["rec"]["topics"]) == 0


def test_a_viewer_node_in_a_headless_session_waits_for_the_end(place: Path) -> None:
    process = start(place, "--headless", time_rule="data", seconds=1.0, more="  view: {type: viewer}")
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, (place / "log").read_text()
    assert json.loads(out)["nodes"]["view"]["state"] == "stopped"


def test_the_window_ends_with_the_node_on_a_signal(running: Any, display_environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "nodes.cli", "view", "--wait", str(DEADLINE_S)],
        env={**display_environment, RUNTIME_VARIABLE: os.environ[RUNTIME_VARIABLE]},
        stderr=subprocess.PIPE,
        text=True,
    )
    marker = Path(f"/proc/{process.pid}/maps")
    deadline_s = time.monotonic() + DEADLINE_S
    while marker.exists() and "swrast" not in marker.read_text():  # it draws
        assert process.poll() is None
        assert time.monotonic() < deadline_s
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, said
    assert running.poll() is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nosuch"], "no session 'nosuch' runs"),
        ([], "no session runs"),
        (["--size", "10x10"], "WIDTHxHEIGHT"),
        (["--show", "ghost"], "allowed: ellipsoids, centre_of_mass, ghosts, trails, truth"),
        (["--png", "/nowhere/at/all.png"], "no folder"),
        (["--headless", "--png", "x.png"], "leave one out"),
        (["--json"], "--headless"),
        (["a", "--connect", "ipc:///x"], "leave one out"),
    ],
)
def test_a_wrong_request_is_answered_with_exit_code_2(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["view", *words]) == 2
    assert says in capsys.readouterr().err


def test_sizes_and_switches() -> None:
    assert size("1280x800") == (1280, 800)
    assert switches("trails,truth") == ("trails", "truth")
