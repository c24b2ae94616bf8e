"""``kinefuse view``: look at a running session without disturbing it.

Attaches to a session that runs on this machine, by its name or to the only one,
and leaves it as it was. ``--png`` writes a picture of the window and ends;
``--headless`` prints the figures in place of a window.
"""

from __future__ import annotations

import argparse
import signal
import threading
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from nodes.commands.arguments import print_json, say, seconds
from nodes.errors import RequestError

if TYPE_CHECKING:
    from nodes.graph.protocol import Directory
    from nodes.graph.rundir import RunningSession
    from viz.models.scene import SceneModel

SMALLEST_PX, LARGEST_PX = 320, 8192
DEFAULT_AFTER_S = 5.0
REPORT_EVERY_S = 1.0
POLL_S = 0.05
LOOK_EVERY_S = 0.2
SWITCHES = ("ellipsoids", "centre_of_mass", "ghosts", "trails", "truth")
ANSWERS = ("people", "smoothed", "predicted")
PANELS = ("streams", "sources", "angles", "guide")
DONE, FAILED = 0, 1


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("view", help="look at a running graph", description=__doc__)
    parser.add_argument("session", nargs="?", metavar="SESSION", help="its name (default: the only one that runs)")
    parser.add_argument("--connect", metavar="ENDPOINT", help="its supervisor's endpoint, in place of a name")
    parser.add_argument("--wait", type=seconds(), metavar="S", help="wait up to S seconds for the session to start")
    parser.add_argument("--png", type=Path, metavar="OUT.png", help="write a picture of the window and end")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.png if it exists")
    parser.add_argument(
        "--after", type=seconds(), metavar="S", help=f"end after S seconds of data (with --png: {DEFAULT_AFTER_S:g})"
    )
    parser.add_argument("--size", type=size, default=(1280, 800), metavar="WxH", help="of the window (1280x800)")
    parser.add_argument("--show", type=switches, default=(), metavar="LIST", help=f"of: {','.join(SWITCHES)}")
    parser.add_argument("--answer", choices=ANSWERS, default="people", help="whose skeletons are drawn (people)")
    parser.add_argument("--panel", choices=PANELS, default="streams", help="what lies open below the scene (streams)")
    parser.add_argument(
        "--record-to", type=Path, default=Path("sessions"), metavar="PATH", help="for the record button"
    )
    parser.add_argument("--headless", action="store_true", help="no window: one line of figures a second")
    parser.add_argument("--json", action="store_true", help="with --headless: one JSON object at the end")


def run(args: argparse.Namespace) -> int:
    from nodes.attached import request_directory
    from nodes.viewer import refuse_existing

    if args.connect and args.session:
        raise RequestError(f"--connect {args.connect}: a session's name ({args.session!r}) is given too; leave one out")
    if args.headless and args.png:
        raise RequestError("--png: needs a window, which --headless leaves out; leave one out")
    if args.json and not args.headless:
        raise RequestError("--json: reports what --headless sees; give --headless too")
    if args.png:
        refuse_existing(args.png, args.overwrite)
    directory = request_directory(args.connect or _session(args.session, args.wait or 0.0).control)
    return _report(directory, args) if args.headless else _window(directory, args)


def _session(name: str | None, wait_s: float) -> RunningSession:
    """The session to look at, perhaps one that is yet to start."""
    from nodes.attached import AttachError, find_session

    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            return find_session(name)
        except AttachError:
            if time.monotonic() >= deadline_s:
                raise
        threading.Event().wait(LOOK_EVERY_S)


def size(text: str) -> tuple[int, int]:
    """``1280x800`` to two numbers."""
    parts = text.lower().split("x")
    if len(parts) == 2 and all(part.isascii() and part.isdigit() and len(part) <= 5 for part in parts):
        width, height = int(parts[0]), int(parts[1])
        if SMALLEST_PX <= width <= LARGEST_PX and SMALLEST_PX <= height <= LARGEST_PX:
            return width, height
    raise argparse.ArgumentTypeError(
        f"{text!r} is not WIDTHxHEIGHT with {SMALLEST_PX} to {LARGEST_PX} pixels each, such as 1280x800"
    )


def switches(text: str) -> tuple[str, ...]:
    """``trails,truth`` to names."""
    names = tuple(name for name in text.split(",") if name)
    for name in names:
        if name not in SWITCHES:
            raise argparse.ArgumentTypeError(f"{name!r} cannot be shown; allowed: {', '.join(SWITCHES)}")
    return names


def _interrupted() -> threading.Event:
    """Set by Ctrl-C and SIGTERM from now on."""
    event = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        event.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return event


def _window(directory: Directory, args: argparse.Namespace) -> int:
    from nodes.viewer import WindowRequest, show
    from viz.widgets.display import probe

    import PySide6  # noqa: F401  # isort: skip - so that a missing extra is told as such, not as a missing display

    display = probe()
    if display.message:
        say(f"kinefuse view: {display.message}")
    if not display.platform:
        return FAILED
    after_s = args.after if args.after is not None or args.png is None else DEFAULT_AFTER_S
    request = WindowRequest(
        size=args.size,
        record_to=args.record_to,
        switched_on=("reprojection", *args.show),
        answer=args.answer,
        panel=args.panel,
        png=args.png,
        overwrite=args.overwrite,
        after_s=after_s,
    )
    code = show(directory, request, no_gl=display.message, stopping=_interrupted().is_set)
    if code == DONE and args.png:
        say(f"{args.png}: written" + (", without the 3-D part" if display.message else ""))
        return FAILED if display.message else DONE
    return code


def _report(directory: Directory, args: argparse.Namespace) -> int:
    """Take the session's records and say how it is doing, until it ends, the time is over or Ctrl-C."""
    from nodes.attached import SILENT_AFTER_S, SessionObserver, rig_of
    from nodes.viewer import shown_topics
    from viz.models.scene import SceneModel

    stop, started_s = _interrupted(), time.monotonic()
    model, observer = SceneModel(rig_of(directory)), SessionObserver(directory, shown_topics(directory))
    report_s = started_s + REPORT_EVERY_S
    data_since_s: float | None = None
    try:
        while not stop.wait(POLL_S):
            for envelope in (*observer.take(), *observer.take_pictures()):
                model.update(envelope.topic, envelope.record, envelope.published_ns, envelope.cause_published_ns)
            now_s = time.monotonic()
            if now_s >= report_s:
                report_s += REPORT_EVERY_S
                say(_line(model, observer.clock.now_ns()))
            if data_since_s is None and model.state.first_measured_ns >= 0:
                data_since_s = now_s
            if args.after is not None and data_since_s is not None and now_s - data_since_s >= args.after:
                break
            if min(observer.silent_s, now_s - started_s) > SILENT_AFTER_S:
                say("the session has ended" if model.state.records else "nothing has come")
                break
    finally:
        observer.close()
    if args.json:
        print_json(as_json(directory, model, observer.clock.now_ns()))
    return DONE if model.state.records else FAILED


def _line(model: SceneModel, now_ns: int) -> str:
    status = model.status(now_ns)
    rows = model.health(now_ns)
    worst = sorted({f"{row.node} {row.state}" for row in rows if row.node_level})
    late = sorted({f"{row.topic} late" for row in rows if row.age_level})
    trouble = ", ".join([*worst, *late]) or "all nodes well"
    return (
        f"{status.session_s:8.1f} s  {status.people} people  {status.people_rate_hz:6.1f} /s  "
        f"latency p50 {status.latency.p50_ms:.1f} p99 {status.latency.p99_ms:.1f} ms  {trouble}"
    )


def as_json(directory: Directory, model: SceneModel, now_ns: int) -> dict[str, Any]:
    """What the viewer knows, as plain values."""
    status = model.status(now_ns)
    names = ("node", "state", "restarts", "topic", "direction", "rate_hz", "age_s", "count", "drops", "errors")
    return {
        "session": directory.session.name,
        "records": status.records,
        "people": status.people,
        "people_rate_hz": status.people_rate_hz,
        "latency_ms": {"p50": status.latency.p50_ms, "p99": status.latency.p99_ms},
        "streams": [{name: asdict(row)[name] for name in names} for row in model.health(now_ns)],
    }
