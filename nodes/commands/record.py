"""``kinefuse record GRAPH``: run a graph with a recorder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nodes.commands.run import add_run_options, launch


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("record", help="run a graph and record it", description=__doc__)
    parser.add_argument("graph", metavar="GRAPH", help="graph file (YAML)")
    parser.add_argument("--out", metavar="PATH", help="folder or new file ….mcap (default: the graph's, else sessions)")
    add_run_options(parser)


def run(args: argparse.Namespace) -> int:
    from nodes.graph.loader import load_graph
    from nodes.sessions.replay import recorder_overrides

    graph = load_graph(args.graph)
    out = None if args.out is None else Path(args.out)
    has_recorder = any(params.type == "recorder" for params in graph.graph.nodes.values())
    if out is not None or not has_recorder:
        graph = load_graph(args.graph, overrides=recorder_overrides(graph, out or Path("sessions")))
    return launch(graph, args)
