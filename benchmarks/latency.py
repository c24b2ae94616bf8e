"""How long a record takes from one process to another: ``python -m benchmarks.latency [--json]``.

From just before the record is encoded to when the reading node holds it,
through the whole way: codec, ZeroMQ, queue rules, node context.
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.latency_nodes import Params
from nodes.graph.launcher import run_graph

CASES = (
    ("landmarks, 120 a second", Params(stream="landmarks", rate_hz=120.0, count=2000)),
    ("landmarks, 1000 a second", Params(stream="landmarks", rate_hz=1000.0, count=10000)),
    ("pictures 1280x720, 30 a second", Params(stream="image", rate_hz=30.0, count=400)),
)


@dataclass(frozen=True)
class _Session:
    name: str = "latency"
    profile: str | None = None
    time: Literal["live", "data"] = "live"


@dataclass(frozen=True)
class _Graph:
    nodes: dict[str, Params]
    session: _Session = field(default_factory=_Session)


@dataclass(frozen=True)
class _Loaded:
    graph: _Graph
    topics: dict[str, str]
    inputs: dict[str, tuple[str, ...]]
    text: str = ""


def measure(sender: Params) -> dict[str, float]:
    """p50 and p99 in microseconds, and how many records were counted and lost."""
    topic = f"sender/{sender.stream}"
    nodes = {"sender": sender, "reader": Params(input=topic)}
    loaded = _Loaded(_Graph(nodes), {topic: "sender"}, {"sender": (), "reader": (topic,)})
    report = run_graph(loaded, log_stream=io.StringIO())
    reader = report.nodes["reader"]
    return {**reader.counters, "dropped": float(sum(item.drops for item in reader.topics))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    results = {name: measure(sender) for name, sender in CASES}
    if as_json:
        print(json.dumps(results))
        return
    for name, figures in results.items():
        p50_us, p99_us, lost = figures["p50_us"], figures["p99_us"], figures["dropped"]
        print(f"{name:32} p50 {p50_us:7.0f} us   p99 {p99_us:7.0f} us   lost {lost:.0f}")


if __name__ == "__main__":
    main()
