"""kill -9 of a recorder in a running graph: what was flushed is kept, the file is mended, recording goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nodes.sessions.index import SessionError
from nodes.sessions.reader import SessionReader
from tests.nodes.sessions.samples import STEP_NS, write_session

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the recorder's process in /proc")

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
REPLAYED_S = 60


def test_killed_recorder_comes_back_and_mends_its_file(tmp_path: Path) -> None:
    source = tmp_path / "source.mcap"
    write_session(source, round(REPLAYED_S * 1e9) // STEP_NS)
    graph = tmp_path / "g.yaml"
    graph.write_text(
        f"nodes:\n  again: {{type: replayer, path: {source}}}\n"
        f"  rec: {{type: recorder, path: {tmp_path}/takes/t.mcap, topics: ['*/landmarks']}}\n"
    )
    first, second = tmp_path / "takes" / "t.mcap", tmp_path / "takes" / "t-2.mcap"
    run = subprocess.Popen(
        [sys.executable, "-m", "nodes.cli", "run", str(graph), "--headless"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    log: list[str] = []
    assert run.stderr is not None
    reader = threading.Thread(target=lambda: log.extend(run.stderr or ()))
    reader.start()
    try:
        wait_for(lambda: count(first) > 0, log)
        os.kill(recorder_of(run.pid), signal.SIGKILL)
        wait_for(lambda: count(second) > 0, log)
    finally:
        run.terminate()
        code = run.wait(DEADLINE_S)
        reader.join()
    assert code == 0, log
    assert any("repaired" in line for line in log)
    before, after = sequences(first), sequences(second)
    assert before == list(range(before[0], before[-1] + 1))
    assert after[0] > before[-1]


def count(path: Path) -> int:
    """Messages that can be read at this moment."""
    try:
        with SessionReader(path) as session:
            return sum(1 for _ in session.messages())
    except SessionError:
        return 0


def sequences(path: Path) -> list[int]:
    with SessionReader(path) as session:
        assert session.complete
        return [message.sequence for message in session.messages()]


def wait_for(condition: Callable[[], bool], log: list[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, log
        threading.Event().wait(0.05)


def recorder_of(parent: int) -> int:
    """The process of the node ``rec``, by the launch file that its environment names."""
    for folder in Path("/proc").iterdir():
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        launched = any(item.startswith(b"KINEFUSE_LAUNCH=") and item.endswith(b"/rec.json") for item in environment)
        if launched and int(status[1]) == parent:
            return int(folder.name)
    raise AssertionError("no recorder process")
