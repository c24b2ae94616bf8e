"""Node contexts: the one for tests, and a node's process without its launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgpack
import pytest
import zmq

from fusion.records import Tick
from nodes.graph.clock import ManualClock, SessionClock
from nodes.graph.protocol import (
    LAUNCH_VARIABLE,
    LaunchSession,
    MessageError,
    NodeLaunch,
    Order,
    pack,
    read_order,
    read_upward,
    unpack_map,
)
from nodes.node import NodeContext, SessionInfo
from nodes.runtime import LoopbackContext, NodeRuntime
from nodes.transport.bus import LoopbackBus
from nodes.transport.endpoints import Endpoints, make_endpoint

WAIT_S = 20.0
ROOT = Path(__file__).resolve().parents[2]


def tick(measured_ns: int) -> Tick:
    return Tick(measured_ns=measured_ns, received_ns=measured_ns)


def double(context: NodeContext) -> None:
    """A node as they are: gets ready, reads until it is stopping, publishes."""
    context.ready()
    while not context.stopping:
        envelope = context.receive(0.5)
        if envelope is not None:
            context.publish("d/tick", tick(2 * envelope.record.measured_ns), envelope)
            context.counters["taken"] = context.counters.get("taken", 0.0) + 1


def test_a_node_runs_in_the_tests_process() -> None:
    bus = LoopbackBus(ManualClock())
    context = LoopbackContext("d", bus, inputs=["a/tick"])
    source = bus.sender()
    for index in range(5):
        source.publish("a/tick", tick(index))
    double(context)
    assert [envelope.record.measured_ns for envelope in context.published] == [0, 2, 4, 6, 8]
    assert context.is_ready
    assert context.counters["taken"] == 5


def test_a_source_stops_after_so_many_records() -> None:
    session = SessionInfo(name="s", profile=None, graph_text="", time="live", headless=True)
    context = LoopbackContext("a", session=session, max_published=3)
    while not context.stopping:
        context.publish("a/tick", tick(0))
    assert [envelope.sequence for envelope in context.published] == [0, 1, 2]


# --- The protocol ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x90", msgpack.packb({"t": "halt"}), msgpack.packb({"t": "go", "more": 1}), b"\x91" * 300_000],
)
def test_what_is_no_order_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError):
        read_order(data)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"t": "beat"},
        {"t": "hello", "token": "x", "pid": -1},
        {"t": "hello", "token": 5, "pid": 1},
        {"t": "failed", "token": "x", "reason": "y" * 5000},
        {"t": "end", "token": "x", "more": 1},
    ],
)
def test_what_no_node_says_is_refused(message: dict[str, object]) -> None:
    with pytest.raises(MessageError):
        read_upward(unpack_map(msgpack.packb(message)))


# --- A process whose supervisor is this test --------------------------------------------------------

NODE = """
import os, threading, time
from nodes.node import NodeParams

class Params(NodeParams):
    deaf: bool = False

def run(params, context):
    context.ready()
    while params.deaf or not context.stopping:
        time.sleep(0.01)
"""


def launch(folder: Path, **params: object) -> NodeLaunch:
    return NodeLaunch(
        node="n",
        module="sample_deaf_node",
        params={"type": "x", **params},
        session=LaunchSession(name="s", profile=None, graph_text="", time="live", headless=True),
        clock_offset_ns=SessionClock.start().offset_ns,
        token="t",
        control=make_endpoint(folder, "control"),
        endpoints=Endpoints(**{part: make_endpoint(folder, part) for part in ("latest", "all", "credit")}),
        outputs=("n/tick",),
        links=(),
        readers={},
        parent_pid=os.getpid(),
    )


class Supervised:
    """A node process that believes this test to be its supervisor."""

    def __init__(self, folder: Path, **params: object) -> None:
        (folder / "sample_deaf_node.py").write_text(NODE)
        path = folder / "launch.json"
        path.write_text(launch(folder, **params).model_dump_json())
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.bind(make_endpoint(folder, "control"))
        environment = {
            **os.environ,
            LAUNCH_VARIABLE: str(path),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "nodes.process"], env=environment, start_new_session=True
        )
        self._identity = b""

    def wait_for(self, kind: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if self._router.poll(100):
                self._identity, data = self._router.recv_multipart()
                if unpack_map(data)["t"] == kind:
                    return
        raise AssertionError(f"no {kind}")

    def order(self, order: Order) -> None:
        self._router.send_multipart([self._identity, pack(order)])

    def junk(self, data: bytes) -> None:
        self._router.send_multipart([self._identity, data])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._context.destroy(linger=0)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("p")


def test_a_node_ends_when_its_supervisor_has_been_silent(folder: Path) -> None:
    node = Supervised(folder)
    node.wait_for("ready")
    node.order(Order(t="go"))
    assert node.process.wait(WAIT_S) == 0
    node.close()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_node_that_does_not_listen_ends_all_the_same(folder: Path) -> None:
    node = Supervised(folder, deaf=True)
    node.wait_for("ready")
    node.order(Order(t="go"))
    assert node.process.wait(WAIT_S) == -signal.SIGKILL
    node.close()


def test_orders_are_obeyed_and_junk_is_not(folder: Path) -> None:
    node = Supervised(folder)
    node.wait_for("ready")
    for data in (b"", b"junk", b"\x81\xa1t\xa4stop" * 2, os.urandom(1000)):
        node.junk(data)
    node.order(Order(t="alive"))
    node.wait_for("beat")
    assert node.process.poll() is None
    node.order(Order(t="stop"))
    node.wait_for("end")
    assert node.process.wait(WAIT_S) == 0
    node.close()


def test_a_node_publishes_on_its_own_topics_only(folder: Path) -> None:
    runtime = NodeRuntime(launch(folder))
    runtime.start(os.getpid())
    runtime.publish("n/tick", tick(0))
    with pytest.raises(ValueError, match="none of this node's: n/tick"):
        runtime.publish("m/tick", tick(0))
    threading.Timer(0.1, runtime.stop).start()
    assert runtime.receive(WAIT_S) is None
    assert runtime.stopping
    runtime.finish()


def test_the_process_says_what_it_needs() -> None:
    environment = {name: value for name, value in os.environ.items() if name != LAUNCH_VARIABLE}
    done = subprocess.run(
        [sys.executable, "-m", "nodes.process"], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert LAUNCH_VARIABLE in done.stderr
