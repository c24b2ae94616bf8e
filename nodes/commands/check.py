"""``kinefuse check GRAPH``: everything that is wrong with a graph file, or the schema for editors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.commands.arguments import print_json

if TYPE_CHECKING:
    from nodes.graph.loader import LoadedGraph


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("check", help="check a graph file", description=__doc__)
    parser.add_argument("graph", metavar="GRAPH", nargs="?", help="graph file (YAML)")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of graph files for editors")
    parser.add_argument("--replay", metavar="SESSION", help="check it as kinefuse replay SESSION --graph would run it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    from nodes.errors import RequestError
    from nodes.graph.document import GraphError

    if args.schema:
        return _print_schema()
    if args.graph is None:
        raise RequestError("check takes a graph file, or --schema")
    try:
        graph = _load(args)
    except GraphError as error:
        if args.json:
            problems = [
                {"file": item.file, "line": item.line, "column": item.column, "message": item.message}
                for item in error.problems
            ]
            print_json({"ok": False, "problems": problems})
        raise
    if args.json:
        print_json({"ok": True, "problems": [], **_facts(graph)})
    else:
        print(_sentence(graph))
    return 0


def _load(args: argparse.Namespace) -> LoadedGraph:
    from nodes.graph.loader import load_graph

    if args.replay is None:
        return load_graph(args.graph)
    from nodes.sessions.replay import ReplayRequest, replay_graph

    with replay_graph(ReplayRequest(session=Path(args.replay), graph=Path(args.graph))) as replay:
        return replay.graph


def _facts(graph: LoadedGraph) -> dict[str, Any]:
    return {
        "session": graph.graph.session.model_dump(mode="json"),
        "nodes": {name: params.type for name, params in graph.graph.nodes.items()},
        "topics": dict(graph.topics),
        "inputs": {name: list(topics) for name, topics in graph.inputs.items()},
    }


def _sentence(graph: LoadedGraph) -> str:
    nodes = ", ".join(f"{name} ({params.type})" for name, params in graph.graph.nodes.items())
    return f"{graph.path.name}: no problem found; session {graph.graph.session.name!r}; nodes: {nodes}"


def _print_schema() -> int:
    from nodes.graph.schema import json_schema
    from nodes.registry import available_types

    print_json(json_schema(available_types()))
    return 0
