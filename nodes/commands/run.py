"""``kinefuse run GRAPH``: run a graph until its sources end, a time is over or Ctrl-C."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nodes.commands.arguments import print_json, seconds
from nodes.errors import RequestError

if TYPE_CHECKING:
    from nodes.graph.launcher import RunReport
    from nodes.graph.loader import LoadedGraph


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("run", help="run a graph", description=__doc__)
    parser.add_argument("graph", metavar="GRAPH", help="graph file (YAML)")
    add_run_options(parser)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that runs a graph."""
    parser.add_argument("--duration", type=seconds(), metavar="S", help="stop after S seconds of running")
    parser.add_argument("--headless", action="store_true", help="no windows")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def run(args: argparse.Namespace) -> int:
    from nodes.graph.loader import load_graph

    return launch(load_graph(args.graph), args)


def launch(graph: LoadedGraph, args: argparse.Namespace, more: Mapping[str, Any] | None = None) -> int:
    """Run a loaded graph with the options of the command line and report.

    Args:
        graph: what to run.
        args: ``duration``, ``headless`` and ``json``.
        more: further entries of the JSON summary.
    """
    from nodes.graph.launcher import run_graph

    if graph.graph.session.recorded and all(params.type != "replayer" for params in graph.graph.nodes.values()):
        raise RequestError(
            f"{graph.path}: this graph takes a recording; next: kinefuse replay SESSION --graph {graph.path}"
        )
    report = run_graph(graph, duration_s=args.duration, headless=args.headless)
    if args.json:
        print_json({**as_json(report), **(more or {})})
    return int(report.exit_code)


def as_json(report: RunReport) -> dict[str, Any]:
    """The report as plain values."""
    return dataclasses.asdict(report)
