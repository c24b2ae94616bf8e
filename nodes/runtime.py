"""The context that a node runs in: its sockets, its clock, its line to the supervisor.

The main thread belongs to the node. One more thread keeps the line to the
supervisor: it sends a heartbeat with the stream figures twice a second, takes
orders, and notices when the supervisor has fallen silent.
"""

from __future__ import annotations

import gc
import logging
import math
import queue
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import zmq
from pydantic import BaseModel

from fusion.records import Record, StreamEnd
from nodes.graph.clock import ManualClock, SessionClock, steady_ns
from nodes.graph.protocol import (
    BEAT_EVERY_S,
    MAX_COUNTERS,
    MAX_MESSAGE_BYTES,
    MAX_STREAMS,
    MAX_TEXT,
    SILENCE_S,
    Beat,
    End,
    Failed,
    Hello,
    MessageError,
    NodeLaunch,
    Order,
    Ready,
    StreamFigures,
    pack,
    read_order,
)
from nodes.node import Clock, Envelope, SessionInfo
from nodes.transport.bus import LINGER_MS, LoopbackBus, Publisher, StreamStats, Subscriber, ZmqContext, queue_rule
from nodes.transport.endpoints import authenticator, connect
from nodes.transport.flow import FlowReceiver, FlowSender

READERS_WAIT_S = {"live": 0.5, "data": 5.0}
"""How long a node waits for its readers to connect before it begins."""

DRAIN_S = 0.5
"""After the order to stop, a reader still gets what has arrived, for so long."""

DATA_LINGER_MS = 10_000
STOPPED_LINGER_MS = 200


@dataclass(slots=True)
class Wake:
    """A socket pair that ends a wait, from another thread or a signal handler."""

    _pair: tuple[socket.socket, socket.socket] = field(default_factory=socket.socketpair)

    def __post_init__(self) -> None:
        for end in self._pair:
            end.setblocking(False)

    @property
    def fd(self) -> int:
        return self._pair[0].fileno()

    def set(self) -> None:
        try:
            self._pair[1].send(b"\0")
        except OSError:
            return  # Full: it is set already. Closed: nobody waits.

    def clear(self) -> None:
        try:
            while self._pair[0].recv(64):
                continue
        except OSError:
            return

    def close(self) -> None:
        for end in self._pair:
            end.close()


# --- The line to the supervisor -------------------------------------------------------------------


class SupervisorLine(threading.Thread):
    """Heartbeats out, orders in."""

    def __init__(
        self,
        context: ZmqContext,
        launch: NodeLaunch,
        *,
        beat: Callable[[], Beat],
        obey: Callable[[Order], None],
        silent: Callable[[], None],
        each_round: Callable[[], None] = lambda: None,
    ) -> None:
        """``silent`` is called in each round while nothing has been heard for ``SILENCE_S``."""
        super().__init__(name="supervisor-line", daemon=True)
        self._beat, self._obey, self._silent, self._each_round = beat, obey, silent, each_round
        self._outgoing: queue.SimpleQueue[BaseModel | None] = queue.SimpleQueue()
        self._wake = Wake()
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        connect(self._socket, launch.control, launch.keys)

    def send(self, message: BaseModel) -> None:
        """From any thread."""
        self._outgoing.put(message)
        self._wake.set()

    def close(self) -> None:
        """Send what is queued, then end the thread."""
        self._outgoing.put(None)
        self._wake.set()
        self.join()
        self._wake.close()

    def run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake.fd, zmq.POLLIN)
        heard = next_beat = time.monotonic()
        while self._send_queued():
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + BEAT_EVERY_S
                self._send(self._beat())
                self._each_round()
            poller.poll(max(1, int((next_beat - time.monotonic()) * 1000)))
            self._wake.clear()
            if self._read_orders():
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_S:
                self._silent()
        self._socket.close()

    def _send_queued(self) -> bool:
        while not self._outgoing.empty():
            message = self._outgoing.get()
            if message is None:
                return False
            self._send(message)
        return True

    def _send(self, message: BaseModel) -> None:
        try:
            self._socket.send(pack(message), zmq.NOBLOCK)
        except zmq.Again:
            return  # The supervisor is away; silence tells.

    def _read_orders(self) -> bool:
        heard = False
        while True:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return heard
            try:
                order = read_order(parts[-1])
            except MessageError:
                continue
            heard = True
            self._obey(order)


# --- The context ----------------------------------------------------------------------------------


class NodeRuntime:
    """The ``NodeContext`` of a node that runs as a process of a graph."""

    def __init__(
        self,
        launch: NodeLaunch,
        *,
        silent: Callable[[], None] = lambda: None,
        each_round: Callable[[], None] = lambda: None,
    ) -> None:
        """Bind the node's endpoints and report to the supervisor.

        Raises:
            EndpointError: if another process holds one of the endpoints.
        """
        self.name = launch.node
        self.session: SessionInfo = launch.session.info()
        self.clock: Clock = SessionClock(launch.clock_offset_ns)
        self.log = logging.getLogger(launch.node)
        self.counters: dict[str, float] = {}
        self.inputs: tuple[str, ...] = launch.inputs
        self.started_ns = 0
        self._launch = launch
        self._data_time = self.session.time == "data"
        self._go = threading.Event()
        self._stop_asked_ns = 0
        self._stop_now = threading.Event()
        self._drained = False
        self._active_ns = steady_ns()
        self._waiting = False
        self._idle_since_ns = 0
        self._last_measured_ns = 0
        self._gone: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._wake = Wake()
        self._context: ZmqContext = zmq.Context()
        self._authenticator = authenticator(self._context, launch.keys)
        self._open_bus(launch)
        self._line = SupervisorLine(
            self._context, launch, beat=self._make_beat, obey=self._obey, silent=silent, each_round=each_round
        )

    def _open_bus(self, launch: NodeLaunch) -> None:
        links = [link.link() for link in launch.links]
        self._publisher = Publisher(
            self._context, launch.endpoints, self.clock, data_time=self._data_time, keys=launch.keys
        )
        self._flow: FlowSender | None = None
        self._receiver: FlowReceiver | Subscriber
        if not self._data_time:
            self._receiver = Subscriber(
                self._context, links, self.clock, name=self.name, keys=launch.keys, wake_fd=self._wake.fd
            )
            return
        self._flow = FlowSender(
            self._context,
            self._publisher,
            launch.endpoints,
            self.clock,
            readers=launch.readers,
            keys=launch.keys,
            stopped=self._blocked_no_longer,
            wake_fd=self._wake.fd,
        )
        self._receiver = FlowReceiver(
            self._context, links, self.clock, name=self.name, keys=launch.keys, wake_fd=self._wake.fd
        )

    def start(self, pid: int) -> None:
        """Begin to report to the supervisor."""
        self._line.start()
        self._line.send(Hello(token=self._launch.token, pid=pid))

    # What the node sees.

    @property
    def stopping(self) -> bool:
        self._active_ns = steady_ns()
        if self._stop_now.is_set() or self._all_inputs_ended():
            return True
        if not self._stop_asked_ns:
            return False
        return self._drained or not self.inputs or steady_ns() - self._stop_asked_ns > DRAIN_S * 1e9

    def ready(self) -> None:
        # What set-up has made stays (kernels, libraries): a collector that walks it would stop the node for tens of ms.
        gc.collect()
        gc.freeze()
        self._active_ns = steady_ns()
        self._line.send(Ready(token=self._launch.token))
        self._waiting = True
        self._go.wait()
        self._waiting = False
        self._active_ns = steady_ns()
        if not self.stopping:
            self._wait_for_readers()

    def publish(self, topic: str, record: Record, cause: Envelope | None = None) -> None:
        if topic not in self._launch.outputs and topic != f"{self.name}/end":
            raise ValueError(f"topic {topic!r} is none of this node's: {', '.join(self._launch.outputs) or 'none'}")
        self._active_ns = steady_ns()
        self._last_measured_ns = max(self._last_measured_ns, record.measured_ns)
        if self._flow is None:
            self._publisher.publish(topic, record, cause)
            return
        self._waiting = True
        self._obey_gone()
        self._flow.publish(topic, record, cause)
        self._waiting = False
        self._active_ns = steady_ns()

    def receive(self, timeout_s: float) -> Envelope | None:
        entered_ns = self._active_ns = steady_ns()
        self._wake.clear()  # Before the flags are read, so that none set later is missed.
        if self._stop_now.is_set():
            return None
        self._obey_gone()
        self._waiting = True
        self._idle_since_ns = self._idle_since_ns or entered_ns
        envelope = self._receiver.receive(0.0 if self._stop_asked_ns else timeout_s)
        self._waiting = False
        self._active_ns = steady_ns()
        if envelope is not None:
            self._idle_since_ns = 0
        elif self._stop_asked_ns:
            self._drained = True
        return envelope

    def _all_inputs_ended(self) -> bool:
        return isinstance(self._receiver, FlowReceiver) and self._receiver.ended

    def _wait_for_readers(self) -> None:
        timeout_s = READERS_WAIT_S[self.session.time]
        if self._flow is not None:
            missing = self._flow.wait_for_readers(timeout_s)
        else:
            expected = {
                (reader, queue_rule(topic, False)) for topic, names in self._launch.readers.items() for reader in names
            }
            missing = self._publisher.wait_for_readers(expected, timeout_s)
        if missing:
            self.log.warning("began without a connection to %s", ", ".join(sorted(missing)))

    # What the process sees.

    def stop(self) -> None:
        """End the node's ``run`` as soon as it asks (also from a signal handler)."""
        self._stop_now.set()
        self._go.set()
        self._wake.set()

    def finish(self) -> None:
        """Say that ``run`` has returned, close the sockets, and let what was published leave."""
        stopped = self._stop_now.is_set() or bool(self._stop_asked_ns)
        if not stopped and self._launch.outputs and f"{self.name}/end" not in self._publisher.stats:
            measured_ns = self._last_measured_ns or self.clock.now_ns()
            end = StreamEnd(measured_ns=measured_ns, received_ns=measured_ns, reason="finished")
            self.publish(f"{self.name}/end", end)
        self._line.send(self._make_beat())
        self._line.send(End(token=self._launch.token))
        self._close(STOPPED_LINGER_MS if stopped else DATA_LINGER_MS if self._data_time else LINGER_MS)

    def fail(self, reason: str) -> None:
        """Say that ``run`` has raised, and close the sockets."""
        self._line.send(self._make_beat())
        self._line.send(Failed(token=self._launch.token, reason=reason[:MAX_TEXT]))
        self._close(STOPPED_LINGER_MS)

    def _close(self, linger_ms: int) -> None:
        self._line.close()
        if self._flow is not None:
            self._flow.close()
        self._receiver.close()
        self._publisher.close(linger_ms)
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.term()
        self._wake.close()

    # In the supervisor line's thread.

    def _obey(self, order: Order) -> None:
        if order.t == "go":
            self.started_ns = order.started_ns
            self._go.set()
        elif order.t == "stop":
            self._stop_asked_ns = self._stop_asked_ns or steady_ns()
            self._go.set()
            self._wake.set()
        elif order.t == "gone":
            self._gone.put(order)
            self._wake.set()

    def _obey_gone(self) -> None:
        """In the main thread, which owns the sockets."""
        while not self._gone.empty():
            order = self._gone.get()
            if self._flow is not None:
                self._flow.gone(order.node)
            if order.failed and isinstance(self._receiver, FlowReceiver):
                self._receiver.publisher_failed(order.node)

    def _blocked_no_longer(self) -> bool:
        """Asked again and again while ``publish`` waits for readers."""
        self._wake.clear()
        self._obey_gone()
        return self.stopping

    def _make_beat(self) -> Beat:
        now_ns = steady_ns()
        return Beat(
            token=self._launch.token,
            now_ns=self.clock.now_ns(),
            streams=(*figures(self._receiver.stats, "in"), *figures(self._publisher.stats, "out"))[:MAX_STREAMS],
            counters=self._readable_counters(),
            idle_s=max(0, now_ns - self._idle_since_ns) * 1e-9 if self._idle_since_ns else 0.0,
            inactive_s=0.0 if self._waiting else max(0, now_ns - self._active_ns) * 1e-9,
        )

    def _readable_counters(self) -> dict[str, float]:
        counters: dict[str, float] = {}
        for name, value in list(self.counters.items())[: MAX_COUNTERS - 2]:
            number = float(value)
            if math.isfinite(number):
                counters[str(name)] = number
        if self._receiver.foreign:
            counters["foreign_messages"] = float(self._receiver.foreign)
        if self._flow is not None and self._flow.refused_credits:
            counters["refused_credits"] = float(self._flow.refused_credits)
        return counters


def figures(stats: Mapping[str, StreamStats], direction: str) -> list[StreamFigures]:
    return [
        StreamFigures.model_validate(
            {
                "topic": topic,
                "direction": direction,
                "count": item.count,
                "drops": item.drops,
                "errors": item.errors,
                "last_ns": item.last_ns,
            }
        )
        for topic, item in list(stats.items())
    ]


# --- For tests ------------------------------------------------------------------------------------


class LoopbackContext:
    """A ``NodeContext`` within the test's own process, on a ``LoopbackBus``.

    ``run(params, context)`` can be called as it is: ``ready`` returns at once,
    ``receive`` hands out what waits, and once nothing waits the node is
    stopping. A source stops after ``max_published`` records.
    """

    def __init__(
        self,
        name: str,
        bus: LoopbackBus | None = None,
        *,
        inputs: Sequence[str] = (),
        session: SessionInfo | None = None,
        clock: Clock | None = None,
        max_published: int | None = None,
    ) -> None:
        self.name = name
        self.session = session or SessionInfo(name="test", profile=None, graph_text="", time="data", headless=True)
        self.clock: Clock = clock or ManualClock()
        self.log = logging.getLogger(name)
        self.counters: dict[str, float] = defaultdict(float)
        self.inputs = tuple(inputs)
        self.started_ns = self.clock.now_ns()
        self.bus = bus or LoopbackBus(self.clock, self.session.time == "data")
        self.is_ready = False
        self.published: list[Envelope] = []
        """What this node has published, as its readers get it."""
        self._sender = self.bus.sender()
        self._receiver = self.bus.receiver(self.inputs)
        self._max_published = max_published
        self._ended = False

    @property
    def stopping(self) -> bool:
        full = self._max_published is not None and len(self.published) >= self._max_published
        return self._ended or full

    def ready(self) -> None:
        self.is_ready = True

    def publish(self, topic: str, record: Record, cause: Envelope | None = None) -> None:
        self._sender.publish(topic, record, cause)
        self.published.append(self.bus.published[-1])

    def receive(self, timeout_s: float) -> Envelope | None:
        envelope = self._receiver.receive(timeout_s)
        self._ended = envelope is None
        return envelope

    def stop(self) -> None:
        self._ended = True
