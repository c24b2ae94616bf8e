"""``kinefuse smooth SESSION OUT``: every pose of a recorded session in the light of all measurements before and after.

OUT is a new session with all records of SESSION and the topic ``smooth/people``.
The fusion node's keys and the profile are those that the session was recorded
with. Poses have the times of the recorded people (else of the landmarks), or come
at ``--rate``. ``kinefuse evaluate OUT --people smooth/people`` says what it gained.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
from pathlib import Path
from typing import Any

from nodes.commands.arguments import print_json, say

# Read when numpy is loaded, which is later: products of small matrices are slower in several threads.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "smooth",
        help="smooth a recorded session as a whole",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("session", metavar="SESSION", help="session file (.mcap)")
    parser.add_argument("out", metavar="OUT", help="new session file (.mcap)")
    parser.add_argument(
        "--topic", metavar="TOPIC", help="whose fusion node's keys and times; needed if several nodes publish people"
    )
    parser.add_argument("--rate", type=_rate, metavar="HZ", help="so many poses a second")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _rate(text: str) -> float:
    from nodes.sessions.smooth import RATE_MAX_HZ

    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= RATE_MAX_HZ:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of poses a second up to {RATE_MAX_HZ:g}")
    return value


def run(args: argparse.Namespace) -> int:
    from nodes.sessions.smooth import SmoothRequest, smooth_session

    request = SmoothRequest(session=Path(args.session), out=Path(args.out), topic=args.topic, rate_hz=args.rate)
    done = smooth_session(request, say)
    for reason, count in done.refused.items():
        say(f"{count} records refused: {reason}")
    if args.json:
        print_json({**dataclasses.asdict(done), "path": str(done.path)})
    else:
        people = "1 person" if done.people == 1 else f"{done.people} people"
        print(f"{done.path}: {done.poses} poses of {people} in {done.seconds:.1f} s on {done.topic}")
    return 0
