"""``kinefuse import KIND SRC OUT``: make a session from other software's files."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from nodes.commands.arguments import print_json, say


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("import", help="make a session from other software's files", description=__doc__)
    kinds = parser.add_subparsers(title="kinds", metavar="KIND", dest="kind", required=True)
    pose2sim = kinds.add_parser("pose2sim", help="2D landmarks and calibration of a Pose2Sim folder")
    pose2sim.add_argument("folder", metavar="DIR", help="holds calibration/ and pose2d/*.npz or pose/*_json/")
    pose2sim.add_argument("out", metavar="OUT", help="new session file (.mcap)")
    pose2sim.add_argument("--fps", type=_rate, metavar="F", help="frames a second; default: what the folder says")
    pose2sim.add_argument("--landmarks", metavar="SET", help="landmark set; default: by the number of landmarks")
    pose2sim.add_argument("--json", action="store_true", help="print one JSON object")


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames a second, such as 60")
    return value


def run(args: argparse.Namespace) -> int:
    from nodes.sessions.pose2sim import import_pose2sim

    done = import_pose2sim(Path(args.folder), Path(args.out), fps=args.fps, landmarks=args.landmarks)
    if done.unreadable:
        say(f"{done.unreadable} frame files could not be read and are left out")
    if args.json:
        print_json({**dataclasses.asdict(done), "path": str(done.path)})
    else:
        frames = ", ".join(f"{name} {count}" for name, count in done.frames.items())
        print(f"{done.path}: {done.landmark_set} at {done.fps:g} frames a second; frames: {frames}")
    return 0
