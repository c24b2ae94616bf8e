"""How soon a killed node of the demo graph works again, and what the others notice.

    python -m benchmarks.recovery [--json]

Each node in turn is killed with SIGKILL. ``back_s`` is the time until health
shows it running with another pid, ``silent_s`` the longest pause in what it
publishes around the kill, ``others_restarted`` how often any other node started
again. Linux and macOS only.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import graphs
from fusion.records import Health
from nodes.attached import AttachError, SessionObserver, find_session, request_directory
from nodes.commands.arguments import print_json

NODES = {"sim": "sim.cam1/landmarks", "fusion": "fusion/people", "rec": None}
"""Nodes to kill and a topic of each."""
DEADLINE_S = 120.0
SETTLE_S = 3.0
POLL_S = 0.02


class Watcher:
    """Keeps the newest health of each node and the arrival times of some topics."""

    def __init__(self, observer: SessionObserver) -> None:
        self.observer = observer
        self.health: dict[str, Health] = {}
        self.arrivals: dict[str, list[float]] = {}

    def until(self, condition: Callable[[], bool], limit_s: float) -> bool:
        """Take records in until the condition holds; False if it does not in time."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            for envelope in self.observer.take():
                if isinstance(envelope.record, Health):
                    self.health[envelope.record.node] = envelope.record
                else:
                    self.arrivals.setdefault(envelope.topic, []).append(time.monotonic())
            if condition():
                return True
            time.sleep(POLL_S)  # the observer's own thread is what receives
        return False

    def running(self, node: str) -> bool:
        return node in self.health and self.health[node].state == "running"


def attach(name: str) -> Watcher:
    """A watcher of the session, once it can be found."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            directory = request_directory(find_session(name).control)
            break
        except AttachError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
    topics = [topic for topic in directory.topics if topic.endswith("/health")]
    return Watcher(SessionObserver(directory, [*topics, *(topic for topic in NODES.values() if topic)]))


def longest_pause_s(times: list[float], since: float) -> float:
    """Longest time between two arrivals from shortly before ``since`` on."""
    late = [moment for moment in times if moment > since - 1.0]
    return max((b - a for a, b in itertools.pairwise(late)), default=float("nan"))


def measure() -> dict[str, dict[str, float]]:
    """Kill every node once."""
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="kinefuse-recovery-") as folder:
        command = [sys.executable, "-m", "nodes.cli", "run", str(Path(graphs.FOLDER) / "demo.yaml"), "--headless"]
        environment = {**os.environ, "KINEFUSE_DEMO_DIR": folder}
        run = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, cwd=folder)
        try:
            watcher = attach("demo")
            watcher.until(lambda: all(watcher.running(node) for node in NODES), DEADLINE_S)
            for node, topic in NODES.items():
                watcher.until(lambda: False, SETTLE_S)
                results[node] = kill(watcher, node, topic)
            watcher.observer.close()
        finally:
            run.send_signal(signal.SIGINT)
            run.wait(timeout=60)
    return results


def kill(watcher: Watcher, node: str, topic: str | None) -> dict[str, float]:
    """Kill one node and wait until it is back."""
    before = {name: health.restarts for name, health in watcher.health.items()}
    pid = watcher.health[node].pid
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    watcher.until(lambda: watcher.running(node) and watcher.health[node].pid != pid, DEADLINE_S)
    back_s = time.monotonic() - killed
    watcher.until(lambda: False, SETTLE_S)
    others = sum(health.restarts - before.get(name, 0) for name, health in watcher.health.items() if name != node)
    silent_s = longest_pause_s(watcher.arrivals.get(topic, []), killed) if topic else float("nan")
    return {"back_s": back_s, "silent_s": silent_s, "others_restarted": float(others)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    results = measure()
    if args.json:
        print_json(results)
        return
    for node, figures in results.items():
        print(f"{node:8}" + "  ".join(f"{name} {value:.2f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
