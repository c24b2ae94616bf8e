"""Graphs of sample nodes, run in a thread of the test or as a launcher process of their own.

As a script it takes a JSON object: ``time``, ``nodes`` and optionally ``duration_s``.
"""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sample_nodes

from nodes.graph.launcher import RunReport, run_graph
from nodes.graph.supervisor import Supervisor, SupervisorParams
from nodes.node import NodeParams

DEADLINE_S = 30.0


@dataclass(frozen=True)
class Session:
    name: str
    profile: str | None
    time: Literal["live", "data"]


@dataclass(frozen=True)
class Parts:
    session: Session
    nodes: Mapping[str, NodeParams]


@dataclass(frozen=True)
class Loaded:
    graph: Parts
    topics: dict[str, str]
    inputs: dict[str, tuple[str, ...]]
    text: str = "the graph's text"


def graph(time: Literal["live", "data"] = "live", name: str = "test", **acts: Mapping[str, Any]) -> Loaded:
    """A graph of sample nodes, by name: their parameters."""
    nodes = {node: sample_nodes.Params.model_validate(params) for node, params in acts.items()}
    topics = {topic: node for node, params in nodes.items() for topic in params.publishes(node)}
    inputs = {node: params.wants(tuple(topics)) for node, params in nodes.items()}
    return Loaded(Parts(Session(name, None, time), nodes), topics, inputs)


def wait_until(condition: Callable[[], Any], timeout_s: float = DEADLINE_S) -> Any:
    """The first true value of ``condition``; fails after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        pause.wait(0.02)
    raise AssertionError(f"not true within {timeout_s} s: {condition}")


class Running:
    """A graph that runs in a thread."""

    def __init__(self, loaded: Loaded, *, params: SupervisorParams | None = None, **options: Any) -> None:
        self.log = io.StringIO()
        self._started = threading.Event()
        self._report: RunReport | None = None
        self._error: BaseException | None = None
        self.supervisor: Supervisor

        def run() -> None:
            try:
                self._report = run_graph(loaded, log_stream=self.log, params=params, started=self._on_start, **options)
            except BaseException as error:
                self._error = error
                self._started.set()

        self._thread = threading.Thread(target=run)
        self._thread.start()
        self._started.wait(DEADLINE_S)

    def _on_start(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self._started.set()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        self.supervisor.stop_requested = "the test is over"

    def report(self) -> RunReport:
        """Once the graph has ended."""
        self._thread.join(DEADLINE_S)
        if self._error is not None:
            raise self._error
        assert self._report is not None, self.log.getvalue()
        return self._report

    def state(self, node: str) -> str:
        return self.supervisor.nodes[node].state

    def pid(self, node: str) -> int:
        child = self.supervisor.nodes[node].child
        return child.pid if child is not None else 0

    def wait_running(self, *names: str) -> None:
        wait_until(lambda: all(self.state(name) == "running" for name in names or self.supervisor.nodes))


def lines(path: Path) -> list[list[str]]:
    """What a sample reader has written."""
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    outcome = run_graph(graph(request["time"], **request["nodes"]), duration_s=request.get("duration_s"))
    sys.exit(outcome.exit_code)
