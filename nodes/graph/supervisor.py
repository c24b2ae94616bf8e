"""Keeps the nodes of a graph running: starts, watches, restarts, stops, and publishes their health.

One thread, one loop. A node's state goes

    starting → running → stopped
       │  ↑        │
       │  └ restarting (after a back-off)
       └→ failed

The graph as a whole goes through ``Phase``: all nodes are started at once and
report ``ready``; then they are told to go, readers before the sources that feed
them; it runs; and it is stopped from the sources down, so that each reader
still gets what was sent to it.
"""

from __future__ import annotations

import enum
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zmq

from fusion.records import Health
from nodes.graph.children import Child, exit_text
from nodes.graph.clock import SessionClock, answer_probe
from nodes.graph.logs import LiveLog
from nodes.graph.protocol import (
    BEAT_EVERY_S,
    EXIT_FAILED,
    EXIT_WRONG_REQUEST,
    MAX_MESSAGE_BYTES,
    Beat,
    Directory,
    DirectoryRequest,
    End,
    Failed,
    Hello,
    MessageError,
    NodeLaunch,
    Order,
    Ready,
    StreamFigures,
    pack,
    read_upward,
    unpack_map,
)
from nodes.node import NodeParams
from nodes.transport.bus import Publisher, ZmqContext
from nodes.transport.endpoints import BoundSocket, CurveKeys

SUPERVISOR = "@supervisor"
"""The name under which the supervisor publishes; no node can have it."""

EXIT_DONE = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorParams:
    """Time limits."""

    beat_timeout_s: float = 10.0
    """A node that has not been heard for so long is killed and restarted."""
    hang_timeout_s: float = 60.0
    """So is one whose main thread has not turned to its context for so long."""
    stop_s: float = 8.0
    """From the order to stop to SIGTERM."""
    unready_stop_s: float = 0.5
    """The same for a node that has not been ready yet: it has nothing to lose."""
    terminate_s: float = 2.0
    """From SIGTERM to SIGKILL of the group."""
    layer_s: float = 2.0
    """How long readers wait for the nodes that feed them to have stopped, before they are told to."""
    drained_s: float = 0.5
    """A reader that has asked in vain for so long has nothing waiting (``live``)."""
    data_drained_s: float = 2.0
    """The same in ``data`` time, where nodes end by themselves as their inputs do."""
    stuck_s: float = 10.0
    """A reader that takes nothing for so long after the sources' end is not waited for (``live``)."""
    exit_s: float = 15.0
    """From the end of ``run`` to that of the process, before it is killed."""
    last_words_s: float = 0.3
    """How long to wait, after a process has ended, for what it had sent."""
    health_every_s: float = 0.5
    poll_s: float = 0.05


class Phase(enum.Enum):
    """What the graph as a whole is doing."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"
    DONE = "done"


@dataclass(slots=True)
class _Totals:
    """Figures of a stream over the node's earlier lives."""

    count: int = 0
    drops: int = 0
    errors: int = 0


StreamKey = tuple[str, str]
"""Topic and direction."""


@dataclass(slots=True)
class ManagedNode:
    """All that the supervisor knows of one node."""

    name: str
    params: NodeParams
    launch: NodeLaunch
    layer: int
    """0 for nodes that only read; greater than that of each node that it feeds."""
    state: str = "starting"
    told_state: str = ""
    """In the last health that was published."""
    reason: str = ""
    exit_code: int | None = None
    child: Child | None = None
    token: str = ""
    identity: bytes | None = None
    ready: bool = False
    said_end: bool = False
    wrong_request: bool = False
    failure: str = ""
    started_s: float = 0.0
    heard_s: float | None = None
    restart_at_s: float = 0.0
    restarts: int = 0
    restart_times_s: list[float] = field(default_factory=list)
    stop_sent_s: float | None = None
    terminated_s: float | None = None
    beat: Beat | None = None
    earlier_beat: Beat | None = None
    totals: dict[StreamKey, _Totals] = field(default_factory=dict)
    last_ns: dict[StreamKey, int] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)
    last_words_s: float | None = None
    taken: int = 0
    taken_changed_s: float = 0.0

    @property
    def is_source(self) -> bool:
        return not self.launch.links and bool(self.launch.outputs)

    @property
    def alive(self) -> bool:
        """It runs or will run again."""
        return self.state in ("starting", "running", "restarting")


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One stream of one node over the whole run."""

    topic: str
    direction: str
    count: int
    rate_hz: float
    drops: int
    errors: int


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node over the whole run."""

    state: str
    restarts: int
    reason: str
    topics: tuple[StreamReport, ...]
    counters: dict[str, float]


class Supervisor:
    """Runs the nodes of one graph to the end."""

    def __init__(
        self,
        context: ZmqContext,
        launches: Mapping[str, tuple[NodeParams, NodeLaunch]],
        *,
        directory: Directory,
        folder: Path,
        clock: SessionClock,
        log: LiveLog,
        duration_s: float | None = None,
        keys: CurveKeys | None = None,
        params: SupervisorParams | None = None,
    ) -> None:
        """Listen; nothing is started yet.

        Raises:
            EndpointError: if an endpoint is taken or not allowed.
        """
        self.params = params or SupervisorParams()
        self.phase = Phase.STARTING
        self.exit_code = EXIT_DONE
        self.reason = ""
        self.stop_requested = ""
        """Set (by a signal handler, another thread) to the reason for which to stop."""
        self.refused = 0
        """Messages that were none of this protocol, or of nobody known."""
        self.nodes = _managed(launches)
        self._directory = directory
        self._folder = folder
        self._clock = clock
        self._log = log
        self._duration_s = duration_s
        self._by_token: dict[str, ManagedNode] = {}
        self._running_since_s: float | None = None
        self._started_ns = 0
        self._ran_s = 0.0
        self._drain_from_ns = 0
        self._next_health_s = 0.0
        self._next_alive_s = 0.0
        self._publisher = Publisher(context, directory.endpoints[SUPERVISOR], clock, keys=keys)
        self._bound = BoundSocket(context, zmq.ROUTER, next(iter(launches.values()))[1].control, keys)
        self._router = self._bound.socket
        self._router.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        self._router.setsockopt(zmq.LINGER, 0)
        self._bound.bind()

    # From outside ---------------------------------------------------------------

    def start(self) -> None:
        """Start every node's process, all at once."""
        for node in self.nodes.values():
            self._spawn(node)

    def step(self) -> bool:
        """One round of the loop; False once everything has ended."""
        self._router.poll(int(self.params.poll_s * 1000))
        self._read_messages()
        if self.stop_requested:
            self.stop(self.stop_requested)
        now_s = time.monotonic()
        for node in self.nodes.values():
            self._watch(node, now_s)
        self._advance(now_s)
        self._say_alive(now_s)
        self._publish_health(now_s)
        return self.phase is not Phase.DONE

    def stop(self, reason: str, exit_code: int = EXIT_DONE) -> None:
        """End the graph from the sources down. The first reason counts."""
        if self.phase in (Phase.STOPPING, Phase.DONE):
            return
        self.phase = Phase.STOPPING
        self.reason, self.exit_code = reason, exit_code
        if self._running_since_s is not None:
            self._ran_s = time.monotonic() - self._running_since_s
        for node in self.nodes.values():
            if node.state == "restarting":
                node.state = "stopped"
        self._log.info(f"stopping: {reason}")

    def kill(self) -> None:
        """End everything at once."""
        for node in self.nodes.values():
            if node.child is not None:
                node.child.kill()

    def close(self) -> None:
        """After the end, or in place of it: no process is left behind."""
        self.kill()
        for node in self.nodes.values():
            while node.child is not None and node.child.poll() is None:
                node.child.kill()
                self._router.poll(1)
            if node.child is not None:
                node.child.close()
        self._publisher.close(0)
        self._bound.close(0)

    @property
    def ran_s(self) -> float:
        """From the moment when all nodes ran to the order to stop."""
        return self._ran_s

    def reports(self) -> dict[str, NodeReport]:
        return {name: self._report(node) for name, node in self.nodes.items()}

    # Starting and ending a node ---------------------------------------------------

    def _spawn(self, node: ManagedNode) -> None:
        node.token = secrets.token_hex(16)
        self._by_token = {token: other for token, other in self._by_token.items() if other is not node}
        self._by_token[node.token] = node
        node.state = "starting" if node.restarts == 0 else "restarting"
        node.identity, node.heard_s, node.stop_sent_s, node.terminated_s = None, None, None, None
        node.ready = node.said_end = node.wrong_request = False
        node.failure, node.last_words_s = "", None
        node.started_s = time.monotonic()
        gone = {name for name, other in self.nodes.items() if not other.alive}
        readers = {
            topic: tuple(name for name in names if name not in gone) for topic, names in node.launch.readers.items()
        }
        launch = node.launch.model_copy(update={"token": node.token, "readers": readers})
        node.child = Child(launch, self._folder, self._log)

    def _watch(self, node: ManagedNode, now_s: float) -> None:
        if node.state == "restarting" and node.child is None:
            if now_s >= node.restart_at_s and self.phase is not Phase.STOPPING:
                self._spawn(node)
            return
        if node.child is None:
            return
        code = node.child.poll()
        if code is not None:
            self._has_ended(node, code)
        elif self.phase is Phase.STOPPING:
            self._escalate(node, now_s)
        elif node.last_words_s is None:
            self._check_limits(node, now_s)
        elif now_s - node.last_words_s > self.params.exit_s:
            node.child.kill()  # Something in it does not end with its main thread.

    def _check_limits(self, node: ManagedNode, now_s: float) -> None:
        limits = self.params
        if not node.ready and now_s - node.started_s > node.params.startup_s:
            failure = f"not ready within {node.params.startup_s:g} s (key startup_s)"
            node.wrong_request = self.phase is Phase.STARTING  # No restart: the deadline is for all its attempts.
        elif node.heard_s is not None and now_s - node.heard_s > limits.beat_timeout_s:
            failure = f"no heartbeat for {limits.beat_timeout_s:g} s"
        elif node.ready and node.beat is not None and node.beat.inactive_s > limits.hang_timeout_s:
            failure = f"its main loop has been stuck for {limits.hang_timeout_s:g} s"
        else:
            return
        if not node.failure:
            node.failure = failure
            self._log.write(node.name, "ERROR", f"{failure}, killed")
        assert node.child is not None
        node.child.kill()

    def _has_ended(self, node: ManagedNode, code: int) -> None:
        assert node.child is not None
        if code >= 0:
            self._hear_last_words(node)
        node.child.close()
        last_lines, node.child = node.child.last_lines, None
        node.exit_code, node.ready = code, False
        self._close_books(node)
        ended = (code == 0 or node.said_end) and not node.failure
        if self.phase is Phase.STOPPING or ended:
            node.state = "stopped"
            self._log.write(node.name, "INFO", "stopped" if code == 0 else f"stopped ({exit_text(code)})")
            self._tell_gone(node)
            return
        if code == EXIT_WRONG_REQUEST:
            node.wrong_request = True
        words = next((line for line in reversed(last_lines) if line.strip()), "") if not node.failure else ""
        node.reason = node.failure or (f"{exit_text(code)}; {words.strip()}" if code > 0 and words else exit_text(code))
        self._restart_or_fail(node)

    def _hear_last_words(self, node: ManagedNode) -> None:
        deadline_s = time.monotonic() + self.params.last_words_s
        while not (node.said_end or node.failure) and (left_s := deadline_s - time.monotonic()) > 0:
            self._router.poll(int(left_s * 1000) + 1)
            self._read_messages()

    def _restart_or_fail(self, node: ManagedNode) -> None:
        delay_s = None if node.wrong_request else restart_delay_s(node.params, node.restart_times_s, time.monotonic())
        if delay_s is not None:
            node.restarts += 1
            node.restart_times_s.append(time.monotonic())
            node.restart_at_s = time.monotonic() + delay_s
            node.state = "restarting"
            self._log.write(node.name, "WARNING", f"{node.reason}; starts again in {delay_s:g} s")
            return
        node.state = "failed"
        self._log.write(node.name, "ERROR", f"failed: {node.reason}")
        self._tell_gone(node)
        if node.params.required:
            wrong = node.exit_code == EXIT_WRONG_REQUEST and self.phase is Phase.STARTING
            self.stop(f"node {node.name} failed: {node.reason}", EXIT_WRONG_REQUEST if wrong else EXIT_FAILED)

    def _tell_gone(self, gone: ManagedNode) -> None:
        order = Order(t="gone", node=gone.name, failed=gone.state == "failed")
        for node in self.nodes.values():
            self._send(node, order)

    def _escalate(self, node: ManagedNode, now_s: float) -> None:
        """Stop, then SIGTERM, then SIGKILL of the group."""
        assert node.child is not None
        limits = self.params
        if node.stop_sent_s is None:
            if self._may_stop(node, now_s):
                node.stop_sent_s = now_s
                self._send(node, Order(t="stop"))
        elif node.terminated_s is None:
            if now_s - node.stop_sent_s > (limits.stop_s if node.ready else limits.unready_stop_s):
                node.terminated_s = now_s
                node.child.terminate()
        elif now_s - node.terminated_s > limits.terminate_s:
            node.child.kill()

    def _may_stop(self, node: ManagedNode, now_s: float) -> bool:
        """Whether all that feed it have ended, or have been told to for long enough."""
        feeding = [self.nodes[link.publisher] for link in node.launch.links if link.publisher in self.nodes]
        return not node.ready or all(
            other.child is None
            or other.layer <= node.layer
            or (other.stop_sent_s is not None and now_s - other.stop_sent_s > self.params.layer_s)
            for other in feeding
        )

    # The graph as a whole ---------------------------------------------------------

    def _advance(self, now_s: float) -> None:
        alive = [node for node in self.nodes.values() if node.alive or node.child is not None]
        if not alive:
            failed = all(node.state == "failed" for node in self.nodes.values())
            self.stop(
                "all nodes have failed" if failed else "all nodes have ended", EXIT_FAILED if failed else EXIT_DONE
            )
            self.phase = Phase.DONE
        elif self.phase is Phase.STARTING:
            if all(node.ready for node in alive):
                self._go(alive, now_s)
        elif self.phase is Phase.RUNNING:
            self._check_end(now_s)
        elif self.phase is Phase.DRAINING:
            self._check_drained(alive, now_s)
        if (
            self._duration_s is not None
            and self._running_since_s is not None
            and now_s - self._running_since_s >= self._duration_s
        ):
            self.stop(f"the duration of {self._duration_s:g} s is over")

    def _go(self, alive: Sequence[ManagedNode], now_s: float) -> None:
        self.phase = Phase.RUNNING
        self._running_since_s = now_s
        self._started_ns = self._clock.now_ns()
        self._log.info(f"all {len(alive)} nodes are ready")
        for node in sorted(alive, key=lambda node: node.layer):
            self._let_go(node)

    def _let_go(self, node: ManagedNode) -> None:
        node.state = "running"
        for other in self.nodes.values():
            if not other.alive:
                # Its end was said to an earlier life of this node, if at all.
                self._send(node, Order(t="gone", node=other.name, failed=True))
        self._send(node, Order(t="go", started_ns=self._started_ns))

    def _check_end(self, now_s: float) -> None:
        sources = [node for node in self.nodes.values() if node.is_source]
        if sources and not any(node.alive for node in sources):
            self.phase = Phase.DRAINING
            self._drain_from_ns = self._clock.now_ns()
            for node in self.nodes.values():
                node.taken_changed_s = now_s

    def _check_drained(self, alive: Sequence[ManagedNode], now_s: float) -> None:
        if all(self._is_drained(node, now_s) for node in alive):
            self.stop("all sources have ended")

    def _is_drained(self, node: ManagedNode, now_s: float) -> bool:
        beat = node.beat
        live = self._directory.session.time == "live"
        idle_s = self.params.drained_s if live else self.params.data_drained_s
        if not node.launch.links:
            return True  # It takes nothing, so nothing waits for it.
        if beat is None or node.state == "restarting":
            return False
        since_end_s = (beat.now_ns - self._drain_from_ns) * 1e-9
        if since_end_s >= idle_s and beat.idle_s >= idle_s:
            return True
        taken = sum(item.count for item in beat.streams if item.direction == "in")
        if taken != node.taken:
            node.taken, node.taken_changed_s = taken, now_s
        return live and now_s - node.taken_changed_s > self.params.stuck_s

    # Messages -----------------------------------------------------------------------

    def _read_messages(self) -> None:
        while True:
            try:
                parts = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                if len(parts) != 2:
                    raise MessageError(f"{len(parts)} parts")
                self._answer(parts[0], unpack_map(parts[1]))
            except MessageError:
                self.refused += 1

    def _answer(self, identity: bytes, message: dict[str, object]) -> None:
        answer = answer_probe(message, self._clock.now_ns())
        if answer is not None:
            self._reply(identity, answer)
            return
        upward = read_upward(message)
        if isinstance(upward, DirectoryRequest):
            self._reply(identity, pack(self._directory))
            return
        node = self._by_token.get(upward.token)
        if node is None:
            raise MessageError("unknown token")
        node.identity = identity
        node.heard_s = time.monotonic()
        self._hear(node, upward)

    def _hear(self, node: ManagedNode, message: Hello | Ready | Beat | End | Failed) -> None:
        if isinstance(message, Beat):
            node.earlier_beat, node.beat = node.beat, message
            node.counters = message.counters
            for item in message.streams:
                if item.last_ns:
                    node.last_ns[item.topic, item.direction] = item.last_ns
        elif isinstance(message, Ready):
            node.ready = True
            if node.beat is not None:
                # Set-up may have taken long (kernels to compile): only what comes after it is a main loop.
                node.beat = node.beat.model_copy(update={"inactive_s": 0.0})
            if self.phase in (Phase.RUNNING, Phase.DRAINING):
                if node.restarts:
                    self._log.write(node.name, "INFO", f"is back after {time.monotonic() - node.started_s:.1f} s")
                self._let_go(node)
        elif isinstance(message, End):
            node.said_end, node.last_words_s = True, node.heard_s
        elif isinstance(message, Failed):
            node.failure, node.last_words_s = message.reason, node.heard_s

    def _send(self, node: ManagedNode, order: Order) -> None:
        if node.identity is not None and node.child is not None:
            self._reply(node.identity, pack(order))

    def _reply(self, identity: bytes, data: bytes) -> None:
        try:
            self._router.send_multipart([identity, data], zmq.NOBLOCK)
        except zmq.ZMQError:
            return  # Its queue is full: it does not read, and will be found silent.

    def _say_alive(self, now_s: float) -> None:
        if now_s >= self._next_alive_s:
            self._next_alive_s = now_s + BEAT_EVERY_S
            for node in self.nodes.values():
                self._send(node, Order(t="alive"))

    # Health and report ----------------------------------------------------------------

    def _publish_health(self, now_s: float) -> None:
        """All nodes at the period, and each one whose state has changed at once, however short a state is."""
        due = now_s >= self._next_health_s
        if due:
            self._next_health_s = now_s + self.params.health_every_s
        now_ns = self._clock.now_ns()
        for node in self.nodes.values():
            if due or node.state != node.told_state:
                node.told_state = node.state
                self._publisher.publish(f"{node.name}/health", self._health(node, now_ns))

    def _health(self, node: ManagedNode, now_ns: int) -> Health:
        streams = self._streams(node)
        rates = _rates(node) if node.state == "running" else {}
        keys = list(streams)
        ages_s = [(now_ns - node.last_ns[key]) * 1e-9 if node.last_ns.get(key) else math.nan for key in keys]
        return Health(
            measured_ns=now_ns,
            received_ns=now_ns,
            node=node.name,
            state=node.state,
            restarts=node.restarts,
            pid=node.child.pid if node.child is not None else 0,
            topics=tuple(topic for topic, _ in keys),
            directions=tuple(direction for _, direction in keys),
            rates_hz=np.array([rates.get(key, 0.0) for key in keys], np.float64),
            ages_s=np.array(ages_s, np.float64),
            counts=np.array([streams[key].count for key in keys], np.int64),
            drops=np.array([streams[key].drops for key in keys], np.int64),
            errors=np.array([streams[key].errors for key in keys], np.int64),
            counters=node.counters,
        )

    def _streams(self, node: ManagedNode) -> dict[StreamKey, _Totals]:
        """Figures over all lives of the node."""
        sums = {key: _Totals(item.count, item.drops, item.errors) for key, item in node.totals.items()}
        for item in node.beat.streams if node.beat is not None else ():
            _add(sums, item)
        return sums

    def _close_books(self, node: ManagedNode) -> None:
        """A life is over: its figures go to the totals, once."""
        if node.beat is not None:
            for item in node.beat.streams:
                _add(node.totals, item)
        node.beat = node.earlier_beat = None

    def _report(self, node: ManagedNode) -> NodeReport:
        ran_s = self._ran_s or 1.0
        topics = tuple(
            StreamReport(topic, direction, item.count, item.count / ran_s, item.drops, item.errors)
            for (topic, direction), item in self._streams(node).items()
        )
        return NodeReport(node.state, node.restarts, node.reason, topics, node.counters)


def restart_delay_s(params: NodeParams, times_s: list[float], now_s: float) -> float | None:
    """The back-off before the next start, or None if there must be none. ``times_s``: earlier restarts."""
    policy = params.restart
    recent = sum(1 for time_s in times_s if now_s - time_s <= policy.window_s)
    if policy.policy == "never" or recent >= policy.max_restarts:
        return None
    return float(min(policy.backoff_s * 2.0**recent, policy.backoff_max_s))


def _managed(launches: Mapping[str, tuple[NodeParams, NodeLaunch]]) -> dict[str, ManagedNode]:
    feeds = {name: {link.publisher for link in launch.links} for name, (_, launch) in launches.items()}
    layers = layers_of(feeds)
    return {name: ManagedNode(name, params, launch, layers[name]) for name, (params, launch) in launches.items()}


def layers_of(fed_by: Mapping[str, set[str]]) -> dict[str, int]:
    """0 for a node that feeds nobody; each node is above those that it feeds (rings are cut anywhere)."""
    layers = dict.fromkeys(fed_by, 0)
    for _ in fed_by:
        for reader, publishers in fed_by.items():
            for publisher in publishers & layers.keys():
                layers[publisher] = min(max(layers[publisher], layers[reader] + 1), len(layers))
    return layers


def _add(sums: dict[StreamKey, _Totals], item: StreamFigures) -> None:
    total = sums.setdefault((item.topic, item.direction), _Totals())
    total.count += item.count
    total.drops += item.drops
    total.errors += item.errors


def _rates(node: ManagedNode) -> dict[StreamKey, float]:
    """Records a second between the last two heartbeats."""
    if node.beat is None or node.earlier_beat is None:
        return {}
    elapsed_s = (node.beat.now_ns - node.earlier_beat.now_ns) * 1e-9
    before: dict[StreamKey, int] = {(item.topic, item.direction): item.count for item in node.earlier_beat.streams}
    if elapsed_s <= 0:
        return {}
    return {
        (item.topic, item.direction): max(0, item.count - before.get((item.topic, item.direction), 0)) / elapsed_s
        for item in node.beat.streams
    }
