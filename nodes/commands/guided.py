"""Runs a guided calibration: in a graph that it starts, or beside a session that runs."""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.commands.arguments import say
from nodes.commands.guide_display import GuideDisplay
from nodes.errors import RequestError, listed
from nodes.guide import ENDED

if TYPE_CHECKING:
    from calibration.inertial.result import InertialCalibration
    from fusion.records import Float64
    from nodes.graph.loader import LoadedGraph
    from nodes.graph.protocol import Directory
    from nodes.graph.supervisor import Supervisor

GUIDE_NODE = "guide"
RESULT_S = 5.0
"""Windows show the outcome for so long before the graph ends."""
_POLL_S = 0.05
_SAMPLES = "/samples"


class GuideFailed(RequestError):
    """The guided calibration did not come to its end; the profile is as it was."""

    exit_code = 1


def guide_with_graph(path: Path, steps: tuple[str, ...], args: argparse.Namespace) -> InertialCalibration:
    """Run the sensors of a graph with a guide node until the calibration is done.

    Raises:
        RequestError: the graph has no inertial samples.
        GuideFailed: it ended before.
    """
    from calibration.inertial.result import from_values
    from nodes.graph.launcher import run_graph

    with tempfile.TemporaryDirectory(prefix="kinefuse-calibrate-") as folder:
        out = Path(folder) / "outcome.json"
        graph = sensors_graph(path, guide_keys(steps, out, args), args)
        display = GuideDisplay()
        # On a terminal the log would be drawn over; it is shown if something fails.
        log = io.StringIO() if display.live else None
        follower: list[_Follower] = []

        windows = not args.headless and any(params.type == "viewer" for params in graph.graph.nodes.values())

        def started(supervisor: Supervisor) -> None:
            follower.append(_Follower(supervisor, display, RESULT_S if windows else 0.0))

        try:
            report = run_graph(graph, headless=args.headless, log_stream=log, started=started)
        finally:
            for item in follower:
                item.close()
            display.close()
        if not out.exists():
            if log is not None:
                say(log.getvalue())
            raise GuideFailed(f"the calibration was not finished ({report.reason}); {args.profile} is as it was")
        return from_values(json.loads(out.read_text("utf-8")))


def guide_keys(steps: tuple[str, ...], out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Keys of the guide node."""
    keys: dict[str, Any] = {"type": "guide", "inputs": args.topic or [f"*{_SAMPLES}"], "steps": list(steps)}
    if args.profile.exists():
        keys["before"] = str(args.profile.absolute())
    return {**keys, "out": str(out)}


def sensors_graph(path: Path, guide: dict[str, Any], args: argparse.Namespace) -> LoadedGraph:
    """A graph cut down to what sends inertial samples, its windows, and a guide node.

    The profile is left out: it is what is being made.

    Raises:
        RequestError: nothing in the graph sends inertial samples.
    """
    from nodes.graph.loader import load_graph

    session = {"profile": None}
    whole = load_graph(path, overrides={"session": session})
    senders = {node for topic, node in whole.topics.items() if topic.endswith(_SAMPLES)}
    if not senders:
        raise RequestError(
            f"{path}: none of its nodes sends inertial samples ({listed(whole.graph.nodes)}); "
            "expected one of type imu, simulator or replayer"
        )
    nodes: dict[str, Any] = {}
    for name, params in whole.graph.nodes.items():
        if params.type == "viewer":
            nodes[name] = {"panel": "guide"}
        elif name not in senders and name not in _upstream(whole, senders):
            nodes[name] = None
    nodes[GUIDE_NODE] = guide
    if args.record is not None:
        nodes["calibration_rec"] = {"type": "recorder", "path": str(args.record.absolute())}
    return load_graph(path, overrides={"session": session, "nodes": nodes})


def _upstream(graph: LoadedGraph, nodes: set[str]) -> set[str]:
    """Nodes that feed some of these, and those that feed them."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        for topic in graph.inputs.get(waiting.pop(), ()):
            name = graph.topics[topic]
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


class _Follower:
    """A thread that shows the guides of the graph that this process runs, and ends it when the last one has come."""

    def __init__(self, supervisor: Supervisor, display: GuideDisplay, result_s: float) -> None:
        self._supervisor, self._display, self._result_s = supervisor, display, result_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="guide", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the thread's end."""
        self._closing.set()
        self._thread.join()

    def _follow(self) -> None:
        from fusion.records import Guide
        from nodes.attached import SessionObserver

        directory = self._directory()
        if directory is None:
            return
        observer = SessionObserver(directory, [f"{GUIDE_NODE}/guide"], name="calibrate")
        try:
            while not self._closing.wait(_POLL_S):
                for envelope in observer.take():
                    if isinstance(envelope.record, Guide):
                        self._display.show(envelope.record)
                        if envelope.record.step in ENDED:
                            self._closing.wait(self._result_s)
                            self._supervisor.stop_requested = f"the calibration is {envelope.record.step}"
        finally:
            observer.close()

    def _directory(self) -> Directory | None:
        from nodes.attached import AttachError, request_directory
        from nodes.graph.rundir import running_sessions

        while not self._closing.wait(_POLL_S):
            for session in running_sessions():
                if session.pid == os.getpid():
                    with suppress(AttachError):
                        return request_directory(session.control)
        return None


def guide_attached(
    name: str, steps: tuple[str, ...], args: argparse.Namespace, previous: dict[str, Float64]
) -> InertialCalibration:
    """Guide with the samples of a session that runs; it is not disturbed, and does not show the guide.

    Raises:
        RequestError: there is no such session, or it has no inertial samples.
        GuideFailed: it ended before the calibration did.
    """
    from calibration.inertial.guide import Guided, GuideParams
    from fusion.records import Guide, InertialSamples
    from nodes.attached import SILENT_AFTER_S, SessionObserver, find_session, request_directory
    from nodes.commands.calibrate_imu import topics_of

    directory = request_directory(find_session(name).control)
    kinds = {topic: topic.rpartition("/")[2] for topic in directory.topics}
    guided = Guided(GuideParams(steps=steps), previous, expected=previous)
    display, waiting = GuideDisplay(), threading.Event()
    health = [topic for topic in directory.topics if topic.endswith("/health")]
    observer = SessionObserver(directory, [*topics_of(name, kinds, args.topic), *health], name="calibrate")
    try:
        while guided.result is None:
            if SILENT_AFTER_S < observer.silent_s < float("inf"):
                raise GuideFailed(f"session {name!r} has ended before the calibration; {args.profile} is as it was")
            for envelope in observer.take():
                if isinstance(envelope.record, InertialSamples):
                    for shown in guided.step(envelope.record):
                        if isinstance(shown, Guide):
                            display.show(shown)
            waiting.wait(_POLL_S)
    finally:
        observer.close()
        display.close()
    return guided.result
