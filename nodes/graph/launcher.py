"""Runs a graph: a process per node, to the end, with one live log and one report."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal, Protocol, TextIO

import zmq

from nodes.errors import RequestError
from nodes.graph.clock import SessionClock
from nodes.graph.logs import LiveLog
from nodes.graph.protocol import EXIT_FAILED, Directory, LaunchLink, LaunchSession, NodeLaunch
from nodes.graph.rundir import RunFolder, RunningSession
from nodes.graph.supervisor import SUPERVISOR, NodeReport, Supervisor, SupervisorParams
from nodes.node import NodeParams
from nodes.transport.bus import ZmqContext
from nodes.transport.endpoints import CurveKeys, Endpoints, authenticator, make_endpoint

MAX_PROFILE_BYTES = 16 * 1024 * 1024
"""Of the profile's text in the directory."""

_HEALTH = "health"


class SessionView(Protocol):
    """The part of a graph file's ``session`` that a run needs."""

    @property
    def name(self) -> str: ...

    @property
    def profile(self) -> str | None: ...

    @property
    def time(self) -> Literal["live", "data"]: ...


class GraphParts(Protocol):
    """Session and nodes of a graph."""

    @property
    def session(self) -> SessionView: ...

    @property
    def nodes(self) -> Mapping[str, NodeParams]: ...


class GraphView(Protocol):
    """What a run needs of a loaded graph (``nodes.graph.loader.LoadedGraph``)."""

    @property
    def graph(self) -> GraphParts: ...

    @property
    def text(self) -> str: ...

    @property
    def topics(self) -> Mapping[str, str]:
        """Topic → the node that publishes it."""
        ...

    @property
    def inputs(self) -> Mapping[str, tuple[str, ...]]:
        """Node → the topics that it takes."""
        ...


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run went."""

    exit_code: int
    """0 done, 1 failed, 2 a node's parameters could not work."""
    reason: str
    duration_s: float
    """From the moment when all nodes ran."""
    nodes: dict[str, NodeReport]


def run_graph(
    graph: GraphView,
    *,
    duration_s: float | None = None,
    headless: bool = False,
    log_stream: TextIO | None = None,
    extra_nodes: Iterable[tuple[str, NodeParams]] = (),
    params: SupervisorParams | None = None,
    started: Callable[[Supervisor], None] = lambda supervisor: None,
) -> RunReport:
    """Run a graph until its sources end, the duration is over, Ctrl-C, or a required node has failed.

    Args:
        graph: the loaded graph.
        duration_s: counted from the moment when all nodes run.
        headless: nodes open no windows.
        log_stream: where the live log goes; standard error if None.
        extra_nodes: further nodes, by name, that take what they want of the graph's topics.
        params: time limits of the supervisor.
        started: called once the processes have been started.

    Raises:
        RequestError: if the graph cannot be run as it is; nothing has been started then.
    """
    plan = _Plan(graph, dict(extra_nodes), headless)
    log = LiveLog(log_stream)
    log.name_width = max(len("graph"), *(len(name) for name in plan.nodes))
    context: ZmqContext = zmq.Context()
    folder = RunFolder()
    supervisor: Supervisor | None = None
    checker = authenticator(context, plan.keys)
    try:
        launches, directory = plan.launches(folder.path)
        supervisor = Supervisor(
            context,
            launches,
            directory=directory,
            folder=folder.path,
            clock=plan.clock,
            log=log,
            duration_s=duration_s,
            keys=plan.keys,
            params=params,
        )
        control = next(iter(launches.values()))[1].control
        folder.announce(RunningSession(plan.session.name, control, os.getpid(), time.time_ns()))
        with _Signals(supervisor):
            supervisor.start()
            started(supervisor)
            while supervisor.step():
                pass
    finally:
        if supervisor is not None:
            supervisor.close()
        if checker is not None:
            checker.stop()
        context.destroy(linger=0)
        folder.close()
    report = RunReport(supervisor.exit_code, supervisor.reason, supervisor.ran_s, supervisor.reports())
    _log_summary(log, report)
    return report


class _Plan:
    """From a loaded graph to what each process is told."""

    def __init__(self, graph: GraphView, extra: Mapping[str, NodeParams], headless: bool) -> None:
        self.nodes: dict[str, NodeParams] = {**graph.graph.nodes, **extra}
        self.topics: dict[str, str] = {**graph.topics}
        self.inputs: dict[str, tuple[str, ...]] = {
            name: tuple(graph.inputs.get(name, ())) for name in graph.graph.nodes
        }
        self._add(graph, extra)
        session = graph.graph.session
        self.session = LaunchSession(
            name=session.name,
            profile=None if session.profile is None else str(session.profile),
            graph_text=graph.text,
            time=session.time,
            headless=headless,
        )
        self.clock = SessionClock.start()
        self.keys: CurveKeys | None = None
        if not self.nodes:
            raise RequestError("the graph has no nodes")

    def _add(self, graph: GraphView, extra: Mapping[str, NodeParams]) -> None:
        for name, params in extra.items():
            if name in graph.graph.nodes:
                raise RequestError(f"the graph has a node {name!r} already; rename it")
            self.topics.update(dict.fromkeys(params.publishes(name), name))
        for name in self.nodes:
            self.topics.setdefault(f"{name}/{_HEALTH}", name)
        for name, params in extra.items():
            available = tuple(topic for topic, publisher in self.topics.items() if publisher != name)
            self.inputs[name] = tuple(topic for topic in params.wants(available) if topic in available)

    def launches(self, folder: Path) -> tuple[dict[str, tuple[NodeParams, NodeLaunch]], Directory]:
        """What each node is told, and what late joiners are."""
        endpoints = {name: _endpoints(folder, f"n{index}") for index, name in enumerate(self.nodes)}
        endpoints[SUPERVISOR] = _endpoints(folder, "s")
        control = make_endpoint(folder, "control")
        launches = {
            name: (params, self._launch(name, params, endpoints, control)) for name, params in self.nodes.items()
        }
        directory = Directory(
            session=self.session,
            profile_text=_profile_text(self.session.profile),
            topics={topic: self._publisher(topic) for topic in self.topics},
            endpoints=endpoints,
            clock_offset_ns=self.clock.offset_ns,
            pid=os.getpid(),
        )
        return launches, directory

    def _launch(self, name: str, params: NodeParams, endpoints: Mapping[str, Endpoints], control: str) -> NodeLaunch:
        taken: dict[str, list[str]] = {}
        for topic in self.inputs[name]:
            taken.setdefault(self._publisher(topic), []).append(topic)
        outputs = tuple(topic for topic in self.topics if self._publisher(topic) == name)
        return NodeLaunch(
            node=name,
            module=type(params).__module__,
            params=params.model_dump(mode="json"),
            session=self.session,
            clock_offset_ns=self.clock.offset_ns,
            token=secrets.token_hex(16),
            control=control,
            endpoints=endpoints[name],
            outputs=outputs,
            links=tuple(
                LaunchLink(publisher=publisher, endpoints=endpoints[publisher], topics=tuple(topics))
                for publisher, topics in taken.items()
            ),
            readers={topic: self._readers(topic) for topic in (*outputs, f"{name}/end")},
            parent_pid=os.getpid(),
            keys=self.keys,
        )

    def _publisher(self, topic: str) -> str:
        return SUPERVISOR if topic.endswith(f"/{_HEALTH}") else self.topics[topic]

    def _readers(self, topic: str) -> tuple[str, ...]:
        return tuple(name for name, topics in self.inputs.items() if topic in topics)


def _endpoints(folder: Path, name: str) -> Endpoints:
    return Endpoints(
        latest=make_endpoint(folder, f"{name}.latest"),
        all=make_endpoint(folder, f"{name}.all"),
        credit=make_endpoint(folder, f"{name}.credit"),
    )


def _profile_text(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(MAX_PROFILE_BYTES)
    except OSError as error:
        raise RequestError(f"profile {path}: {error.strerror or error}") from None


class _Signals:
    """Ctrl-C, SIGTERM and a closed terminal stop the graph; the second one ends it at once."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._earlier: dict[int, Any] = {}
        self._count = 0

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Only the main thread may; whoever runs us in another one stops us otherwise.
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None:
                self._earlier[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            self._supervisor.stop_requested = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        else:
            self._supervisor.kill()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)


def _log_summary(log: LiveLog, report: RunReport) -> None:
    for name, node in report.nodes.items():
        out = sum(stream.count for stream in node.topics if stream.direction == "out")
        taken = [stream for stream in node.topics if stream.direction == "in"]
        text = f"{node.state}, restarts {node.restarts}, published {out}, taken {sum(item.count for item in taken)}, "
        text += f"dropped {sum(item.drops for item in taken)}, unreadable {sum(item.errors for item in taken)}"
        log.write(name, "INFO", text + (f"; {node.reason}" if node.reason else ""))
    ending = f"ran {report.duration_s:.1f} s, exit code {report.exit_code}: {report.reason}"
    (log.error if report.exit_code >= EXIT_FAILED else log.info)(ending)
