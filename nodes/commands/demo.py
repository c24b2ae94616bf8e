"""``kinefuse demo``: run the simulated lab, record it, and say how well the wearer was followed.

One simulated wearer, four cameras at 30 fps, six inertial sensors at 100 Hz and
one radar at 20 Hz; the fusion node, a recorder and, unless ``--headless``, the
viewer. The graph is ``graphs/demo.yaml``.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.commands.arguments import print_json, say, seconds

if TYPE_CHECKING:
    from nodes.graph.launcher import RunReport
    from nodes.graph.loader import LoadedGraph

DEFAULT_SECONDS = 20.0
COUNTED_STREAMS = ("landmarks", "landmarks3d", "samples", "points", "people")
"""Streams whose losses add up to ``dropped``."""

SMOOTHED_FIGURES = ("coverage", "mpjpe_mm", "pa_mpjpe_mm", "angle_deg", "jitter_m_s3")
"""What is told of the smoothed people."""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "demo", help="run the simulated lab and say how well it was followed", description=__doc__
    )
    parser.add_argument("--seconds", type=seconds(), default=DEFAULT_SECONDS, metavar="N", help="how long (default 20)")
    parser.add_argument("--headless", action="store_true", help="no window")
    parser.add_argument("--seed", type=_seed, metavar="S", help="of the simulation; default: that of the graph")
    parser.add_argument("--record", metavar="DIR", help="keep the session file in this folder")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed, expected a whole number from 0 on")
    return int(text)


def run(args: argparse.Namespace) -> int:
    from nodes.commands.evaluate import evaluate
    from nodes.graph.launcher import run_graph

    with tempfile.TemporaryDirectory(prefix="kinefuse-demo-") as temporary:
        folder = Path(args.record).absolute() if args.record else Path(temporary)
        before = _sessions(folder)
        graph = demo_graph(folder, seed=args.seed, window=not args.headless and _has_display())
        report = run_graph(graph, duration_s=args.seconds, headless=args.headless)
        recorded = sorted(_sessions(folder) - before)
        if report.exit_code or not recorded:
            say(f"the demo did not finish: {report.reason if report.exit_code else 'no session was recorded'}")
            return report.exit_code or 1
        figures: dict[str, Any] = {
            **evaluate(recorded[-1]),
            "smoothed": smoothed_figures(recorded[-1], graph),
            "dropped": dropped(report),
            "seconds": report.duration_s,
            "session": str(recorded[-1]) if args.record else None,
        }
    if args.json:
        print_json(figures)
    else:
        _print_summary(figures)
    return 0


def demo_graph(folder: Path, *, seed: int | None, window: bool) -> LoadedGraph:
    """The demo's graph, recording to a folder."""
    from nodes.graph.loader import load_graph

    changed: dict[str, Any] = {"rec": {"path": str(folder)}}
    if not window:
        changed["view"] = None
    if seed is not None:
        changed["sim"] = {"seed": seed}
    return load_graph(demo_path(), overrides={"nodes": changed})


def demo_path() -> Path:
    """The graph file as it was installed."""
    from graphs import FOLDER

    return FOLDER / "demo.yaml"


def smoothed_figures(session: Path, graph: LoadedGraph) -> dict[str, Any] | None:
    """What the people are like ``lag_s`` later; None where the graph does not publish that."""
    from nodes.commands.evaluate import evaluate

    name, lag_s = next(
        ((name, lag) for name, node in graph.graph.nodes.items() if (lag := getattr(node, "lag_s", None)) is not None),
        (None, None),
    )
    if name is None:
        return None
    figures = evaluate(session, people=f"{name}/smoothed")
    return {"lag_s": lag_s, **{key: figures[key] for key in SMOOTHED_FIGURES}}


def dropped(report: RunReport) -> int:
    """Records lost on measurement and people streams, over all their readers."""
    return sum(
        stream.drops
        for node in report.nodes.values()
        for stream in node.topics
        if stream.topic.rpartition("/")[2] in COUNTED_STREAMS
    )


def _sessions(folder: Path) -> set[Path]:
    return set(folder.glob("*.mcap")) if folder.is_dir() else set()


def _has_display() -> bool:
    needs_server = platform.system() == "Linux"
    return not needs_server or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _print_summary(figures: dict[str, Any]) -> None:
    from nodes.commands.evaluate import print_figures

    print_figures(figures)
    print()
    later = figures["smoothed"]
    if later and later["mpjpe_mm"] is not None:
        print(f"{later['lag_s']:g} s later: MPJPE {later['mpjpe_mm']:.1f} mm, jitter {later['jitter_m_s3']:.0f} m/s^3")
    print(f"{figures['dropped']} records dropped in {figures['seconds']:.1f} s")
    if figures["session"]:
        print(f"recorded to {figures['session']}")
