"""``kinefuse replay SESSION``: publish a recorded session again, through a graph if one is given."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, Literal

from nodes.commands.arguments import say, seconds
from nodes.commands.run import launch


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("replay", help="publish a recorded session again", description=__doc__)
    parser.add_argument("session", metavar="SESSION", help="session file (.mcap)")
    parser.add_argument("--graph", metavar="G", help="graph that takes the recorded topics")
    parser.add_argument(
        "--replace",
        metavar="NODE",
        action="append",
        default=[],
        help="take this node out of the graph and publish its recorded topics (may be repeated)",
    )
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="X|max",
        help="times real time; max: as fast as every reader takes it, nothing lost (default 1)",
    )
    parser.add_argument("--start", type=seconds(positive=False), default=0.0, metavar="S", help="from second S on")
    parser.add_argument("--end", type=seconds(), metavar="S", help="up to second S")
    parser.add_argument("--record", metavar="OUT", help="record to this folder or new file ….mcap")
    parser.add_argument("--duration", type=seconds(), metavar="S", help="stop after S seconds of running")
    parser.add_argument("--headless", action="store_true", help="no windows")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def _speed(text: str) -> float | Literal["max"]:
    from nodes.replayer import SPEED_MAX

    if text == "max":
        return "max"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= SPEED_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a speed: a number up to {SPEED_MAX:g}, such as 2, or max")
    return value


def run(args: argparse.Namespace) -> int:
    from nodes.sessions.replay import ReplayRequest, replay_graph

    request = ReplayRequest(
        session=Path(args.session),
        graph=None if args.graph is None else Path(args.graph),
        replace=tuple(args.replace),
        speed=args.speed,
        start_s=args.start,
        end_s=args.end,
        record=None if args.record is None else Path(args.record),
        viewer=not args.headless,
    )
    with replay_graph(request) as replay:
        for remark in replay.remarks:
            say(remark)
        return launch(replay.graph, args)
