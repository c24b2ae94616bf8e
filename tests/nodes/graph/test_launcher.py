"""Graphs of real processes: their life, their faults, their end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from sample_graphs import DEADLINE_S, Running, graph, lines, wait_until

from fusion.records import Health
from nodes.attached import find_session, request_directory
from nodes.graph.clock import SessionClock
from nodes.graph.launcher import run_graph
from nodes.graph.protocol import Directory
from nodes.graph.rundir import running_sessions
from nodes.graph.supervisor import SupervisorParams, layers_of, restart_delay_s
from nodes.node import NodeParams, RestartPolicy
from nodes.transport.bus import Subscriber
from nodes.transport.endpoints import Link
from nodes.transport.flow import MEASUREMENT_WINDOW

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
FAST = {"policy": "on-failure", "backoff_s": 0.05}


def vanished(pid: int) -> bool:
    """Gone, or only waiting for its parent to take note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class HealthReader:
    """Reads the health of a running session, as a viewer does."""

    def __init__(self, directory: Directory) -> None:
        topics = tuple(topic for topic in directory.topics if topic.endswith("/health"))
        publisher = directory.topics[topics[0]]
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        link = Link(publisher, directory.endpoints[publisher], topics)
        self._subscriber = Subscriber(self._context, [link], SessionClock(directory.clock_offset_ns), name="test")
        self.states: dict[str, list[str]] = {}
        self.last: dict[str, Health] = {}

    def read(self) -> None:
        while envelope := self._subscriber.receive(0.0):
            record = envelope.record
            assert isinstance(record, Health)
            self.last[record.node] = record
            self.states.setdefault(record.node, []).append(record.state)

    def wait_for(self, node: str, state: str) -> Health:
        def seen() -> Health | None:
            self.read()
            return self.last[node] if state in self.states.get(node, []) else None

        found = wait_until(seen)
        self.states[node].clear()
        assert isinstance(found, Health)
        return found

    def close(self) -> None:
        self._subscriber.close()
        self._context.term()


@contextmanager
def health(name: str = "test") -> Iterator[HealthReader]:
    reader = HealthReader(request_directory(find_session(name).control))
    yield reader
    reader.close()


# --- Ends -----------------------------------------------------------------------------------------


def test_a_live_graph_ends_when_its_sources_have_and_their_readers_have_read_all(
    processes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    report = run_graph(
        graph(
            a={"act": "source", "count": 200},
            r={"act": "relay", "input": "a/landmarks"},
            b={"act": "reader", "input": "r/landmarks", "file": str(out), "step_s": 0.01},
        )
    )
    assert (report.exit_code, report.reason) == (0, "all sources have ended")
    assert [int(row[1]) for row in lines(out)] == list(range(200))
    assert {node.state for node in report.nodes.values()} == {"stopped"}
    taken = {stream.topic: stream for stream in report.nodes["b"].topics if stream.direction == "in"}
    assert (taken["r/landmarks"].count, taken["r/landmarks"].drops) == (200, 0)


def test_the_duration_ends_the_graph_and_counts_from_when_all_run(processes: Path) -> None:
    report = run_graph(graph(a={"act": "source"}, b={"act": "reader", "input": "a/landmarks"}), duration_s=0.5)
    assert report.exit_code == 0
    assert "0.5 s" in report.reason
    assert report.duration_s >= 0.5
    assert processes.is_dir()
    assert not list(processes.iterdir())


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_launcher_with_0_and_leaves_nobody(processes: Path, tmp_path: Path, number: int) -> None:
    with launcher_process(tmp_path, a={"act": "source"}, b={"act": "reader", "input": "a/landmarks"}) as (
        process,
        pids,
    ):
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == 0
        assert all(map(vanished, pids))
    assert "stopping" in (tmp_path / "log").read_text()


@posix
def test_a_launcher_that_is_killed_leaves_nobody(processes: Path, tmp_path: Path) -> None:
    with launcher_process(tmp_path, a={"act": "source"}, b={"act": "reader", "input": "a/landmarks"}) as (
        process,
        pids,
    ):
        process.kill()
        process.wait()
        wait_until(lambda: all(map(vanished, pids)))
    assert running_sessions() == []


@posix
def test_nodes_that_refuse_to_end_are_killed_with_their_children(processes: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    params = SupervisorParams(stop_s=0.2, terminate_s=0.2)
    with Running(graph(a={"act": "stubborn", "file": str(pids)}), params=params) as running:
        running.wait_running()
        running.stop()
        assert running.report().exit_code == 0
    assert all(vanished(int(pid)) for pid in pids.read_text().split())


@contextmanager
def launcher_process(tmp_path: Path, **nodes: Any) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A launcher in a process of its own, with all its nodes running, and their process numbers."""
    script = Path(__file__).with_name("sample_graphs.py")
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([sys.executable, script, json.dumps({"time": "live", "nodes": nodes})], stderr=log)
    try:
        wait_until(lambda: any(session.pid == process.pid for session in running_sessions()))
        with health() as reader:
            pids = [reader.wait_for(node, "running").pid for node in nodes]
        assert not any(map(vanished, pids))
        yield process, pids
    finally:
        process.kill()
        process.wait()


# --- Faults ---------------------------------------------------------------------------------------


@posix
def test_a_killed_node_comes_back_and_the_others_do_not_notice(processes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    loaded = graph(
        a={"act": "source", "restart": FAST},
        c={"act": "source"},
        b={"act": "reader", "inputs": ["a/landmarks", "c/landmarks"], "file": str(out)},
    )
    with Running(loaded) as running:
        running.wait_running()
        with health() as reader:
            before = {name: reader.wait_for(name, "running").pid for name in ("a", "b", "c")}
            wait_until(lambda: len(lines(out)) > 50)
            os.kill(before["a"], signal.SIGKILL)
            assert reader.wait_for("a", "restarting").restarts == 1
            after = reader.wait_for("a", "running")
            assert after.pid not in (0, before["a"])
            assert {name: running.pid(name) for name in ("b", "c")} == {name: before[name] for name in ("b", "c")}
            number = len(lines(out))
            wait_until(lambda: any(row[0] == "a/landmarks" for row in lines(out)[number:]))
        running.stop()
        report = running.report()
    assert report.exit_code == 0
    assert (report.nodes["a"].restarts, report.nodes["b"].restarts) == (1, 0)
    assert "SIGKILL" in report.nodes["a"].reason
    other = [int(row[1]) for row in lines(out) if row[0] == "c/landmarks"]
    assert all(later == earlier + 1 for earlier, later in pairwise(other))


@posix
def test_a_killed_reader_comes_back_and_reads_on(processes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    loaded = graph(a={"act": "source"}, b={"act": "reader", "input": "a/landmarks", "file": str(out), "restart": FAST})
    with Running(loaded) as running:
        running.wait_running()
        wait_until(lambda: len(lines(out)) > 20)
        os.kill(running.pid("b"), signal.SIGKILL)
        wait_until(lambda: running.supervisor.nodes["b"].restarts == 1 and running.state("b") == "running")
        number = len(lines(out))
        wait_until(lambda: len(lines(out)) > number + 20)


def test_a_node_that_raises_is_restarted_and_its_reason_is_told(processes: Path, tmp_path: Path) -> None:
    nodes = {"a": {"act": "crash", "count": 20, "once": str(tmp_path / "once"), "restart": FAST}}
    with Running(graph(**nodes, b={"act": "reader", "input": "a/landmarks"})) as running:
        report = running.report()
    assert (report.exit_code, report.nodes["a"].restarts, report.nodes["a"].state) == (0, 1, "stopped")
    assert "RuntimeError: the planted fault (sample_nodes.py:" in report.nodes["a"].reason
    assert "Traceback" in running.log.getvalue()
    counts = {stream.topic: stream.count for stream in report.nodes["a"].topics}
    assert counts["a/landmarks"] == 23


def test_a_crash_loop_of_a_required_node_fails_the_graph(processes: Path) -> None:
    restart = {"max_restarts": 2, "backoff_s": 0.01}
    with Running(graph(a={"act": "crash", "restart": restart}, b={"act": "reader", "input": "a/landmarks"})) as running:
        report = running.report()
    assert report.exit_code == 1
    assert "node a failed" in report.reason
    assert "the planted fault" in report.reason
    assert (report.nodes["a"].state, report.nodes["a"].restarts) == ("failed", 2)
    assert report.nodes["b"].state == "stopped"


def test_the_graph_goes_on_without_a_node_that_is_not_required(processes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    loaded = graph(
        a={"act": "crash", "restart": {"policy": "never"}, "required": False},
        c={"act": "source"},
        b={"act": "reader", "inputs": ["a/landmarks", "c/landmarks"], "file": str(out)},
    )
    with Running(loaded) as running:
        wait_until(lambda: running.state("a") == "failed")
        number = len(lines(out))
        wait_until(lambda: len(lines(out)) > number + 20)
        running.stop()
        report = running.report()
    assert (report.exit_code, report.nodes["a"].state) == (0, "failed")


def test_wrong_parameters_fail_at_once_with_2(processes: Path) -> None:
    with Running(graph(a={"act": "wrong"}, b={"act": "reader"})) as running:
        report = running.report()
    assert (report.exit_code, report.nodes["a"].restarts) == (2, 0)
    assert "no such thing as 'x'; allowed: 'y'" in report.reason


def test_the_start_up_deadline(processes: Path) -> None:
    with Running(graph(a={"act": "never_ready", "startup_s": 1.0}, b={"act": "reader"})) as running:
        report = running.report()
    assert report.exit_code == 1
    assert "not ready within 1 s" in report.reason


@posix
def test_a_frozen_node_is_killed_and_restarted(processes: Path, tmp_path: Path) -> None:
    nodes = {"a": {"act": "hang", "count": 50, "once": str(tmp_path / "once"), "restart": FAST}}
    params = SupervisorParams(beat_timeout_s=1.5)
    with Running(graph(**nodes, b={"act": "reader", "input": "a/landmarks"}), params=params) as running:
        report = running.report()
    assert (report.exit_code, report.nodes["a"].restarts) == (0, 1)
    assert "no heartbeat" in report.nodes["a"].reason


def test_a_node_whose_main_thread_is_stuck_is_killed_and_restarted(processes: Path, tmp_path: Path) -> None:
    nodes = {"a": {"act": "stuck", "once": str(tmp_path / "once"), "restart": FAST}}
    with Running(graph(**nodes), params=SupervisorParams(hang_timeout_s=1.0)) as running:
        report = running.report()
    assert (report.exit_code, report.nodes["a"].restarts) == (0, 1)
    assert "stuck" in report.nodes["a"].reason


def test_a_node_that_takes_long_to_be_ready_is_not_stuck(processes: Path) -> None:
    with Running(graph(a={"act": "slow_start"}), params=SupervisorParams(hang_timeout_s=1.0)) as running:
        report = running.report()
    assert (report.exit_code, report.nodes["a"].restarts) == (0, 0)


def test_a_process_that_does_not_end_with_its_node_is_ended(processes: Path) -> None:
    with Running(graph(a={"act": "lingering"}), params=SupervisorParams(exit_s=0.3)) as running:
        report = running.report()
    assert (report.exit_code, report.nodes["a"].state, report.nodes["a"].restarts) == (0, "stopped", 0)


def test_garbage_from_a_publisher_is_counted_and_nothing_dies(processes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    loaded = graph(a={"act": "rogue", "count": 100}, b={"act": "reader", "input": "a/landmarks", "file": str(out)})
    report = run_graph(loaded)
    assert report.exit_code == 0
    assert {node.restarts for node in report.nodes.values()} == {0}
    taken = report.nodes["b"].topics[0]
    assert (taken.count, taken.errors, taken.drops) == (100, 300, 0)
    assert len(lines(out)) == 100


@pytest.mark.parametrize("time", ["live", "data"])
def test_garbage_to_the_supervisor_and_to_the_credit_sockets_is_refused(
    processes: Path, tmp_path: Path, time: Any
) -> None:
    out = tmp_path / "out"
    loaded = graph(
        time,
        a={"act": "source", "count": 4000 if time == "data" else 200},
        b={"act": "reader", "input": "a/landmarks", "file": str(out)},
    )
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with Running(loaded) as running:
        session = find_session("test")
        generator = np.random.default_rng(1)
        directory = request_directory(session.control)
        with context.socket(zmq.DEALER) as rogue, context.socket(zmq.PUSH) as creditor:
            rogue.connect(session.control)
            creditor.connect(directory.endpoints["a"].credit)
            for socket in (rogue, creditor):
                socket.setsockopt(zmq.LINGER, 500)
            for size in (0, 1, 10, 1000, 5000):
                for _ in range(20):
                    rogue.send(generator.bytes(size))
                    creditor.send(generator.bytes(size))
            for message in (b"\x80", b"\x81\xa1t\xa5hello", b"\x82\xa1t\xa3end\xa5token\xa1x", b"\x91" * 5000):
                rogue.send(message)
                rogue.send_multipart([message] * 5)
            rogue.send(bytes(10 * 1024 * 1024))
            creditor.send_multipart([b"x"] * 100)
            report = running.report()
    context.destroy(linger=0)
    assert report.exit_code == 0
    assert running.supervisor.refused > 50
    assert {node.restarts for node in report.nodes.values()} == {0}
    assert len(lines(out)) == (4000 if time == "data" else 200)


# --- Data time ------------------------------------------------------------------------------------


def test_a_fast_source_and_a_slow_reader_lose_nothing(processes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = run_graph(
        graph(
            "data",
            a={"act": "source", "count": 60, "stream": "image"},
            b={"act": "reader", "input": "a/image", "file": str(out), "step_s": 0.01},
        )
    )
    assert report.exit_code == 0
    assert [int(row[1]) for row in lines(out)] == list(range(60))
    assert {stream.drops for stream in report.nodes["b"].topics} == {0}


def test_data_time_ends_by_itself_and_its_order_is_the_same_each_time(processes: Path, tmp_path: Path) -> None:
    runs = []
    for number, step_s in enumerate((0.0, 0.0005)):
        out = tmp_path / f"out{number}"
        report = run_graph(
            graph(
                "data",
                a={"act": "source", "count": 400},
                c={"act": "source", "count": 300, "period_ns": 1_500_000, "first_ns": 700},
                r={"act": "relay", "input": "a/landmarks"},
                b={
                    "act": "reader",
                    "inputs": ["r/landmarks", "c/landmarks", "a/landmarks"],
                    "file": str(out),
                    "step_s": step_s,
                },
            )
        )
        assert (report.exit_code, report.reason) == (0, "all nodes have ended")
        runs.append([row[:3] for row in lines(out)])
    assert runs[0] == runs[1]
    assert Counter(row[0] for row in runs[0]) == {"a/landmarks": 400, "c/landmarks": 300, "r/landmarks": 400}
    times = [(int(row[2]), row[0]) for row in runs[0]]
    assert times == sorted(times)


@posix
def test_a_dead_reader_does_not_hold_up_data_time(processes: Path, tmp_path: Path) -> None:
    loaded = graph(
        "data",
        a={"act": "source", "count": 20000},
        b={"act": "reader", "input": "a/landmarks", "step_s": 1.0, "required": False, "restart": {"policy": "never"}},
        c={"act": "reader", "input": "a/landmarks", "file": str(tmp_path / "out")},
    )
    with Running(loaded) as running:
        running.wait_running()
        os.kill(running.pid("b"), signal.SIGKILL)
        report = running.report()
    assert (report.exit_code, report.nodes["b"].state) == (0, "failed")
    assert len(lines(tmp_path / "out")) == 20000


@posix
def test_a_reader_of_data_time_that_was_killed_is_waited_for(processes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    total = 3000
    loaded = graph(
        "data",
        a={"act": "source", "count": total},
        b={"act": "reader", "input": "a/landmarks", "file": str(out), "step_s": 0.001, "restart": FAST},
    )
    with Running(loaded) as running:
        wait_until(lambda: len(lines(out)) > 100)
        os.kill(running.pid("b"), signal.SIGKILL)
        report = running.report()
    assert (report.exit_code, report.nodes["b"].restarts) == (0, 1)
    taken = [int(row[1]) for row in lines(out) if len(row) == 4]
    assert taken[-1] == total - 1
    # Lost is only what was under way to the reader when it died.
    assert total - len(taken) <= 2 * MEASUREMENT_WINDOW


@posix
def test_a_reader_that_starts_again_does_not_wait_for_who_has_ended(processes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    loaded = graph(
        "data",
        a={"act": "source", "count": 10},
        c={"act": "source", "count": 3000},
        b={
            "act": "reader",
            "inputs": ["a/landmarks", "c/landmarks"],
            "file": str(out),
            "step_s": 0.001,
            "restart": FAST,
        },
    )
    with Running(loaded) as running:
        wait_until(lambda: running.state("a") == "stopped" and len(lines(out)) > 100)
        os.kill(running.pid("b"), signal.SIGKILL)
        report = running.report()
    assert (report.exit_code, report.nodes["b"].restarts) == (0, 1)
    assert [int(row[1]) for row in lines(out) if len(row) == 4][-1] == 2999


# --- Late joiners, log, parts -----------------------------------------------------------------------


def test_a_session_is_found_by_name_and_tells_what_it_is(processes: Path) -> None:
    with Running(graph(a={"act": "source"}, b={"act": "reader", "input": "a/landmarks"})) as running:
        running.wait_running()
        directory = request_directory(find_session("test").control)
        assert directory.session.graph_text == "the graph's text"
        assert {"a/landmarks", "a/health", "b/health"} <= set(directory.topics)
        with health() as reader:
            record = wait_until(lambda: _with_rate(reader, "b"))
        assert record.topics == ("a/landmarks",)
        assert record.directions == ("in",)
        assert record.rates_hz[0] > 0
        assert record.ages_s[0] < 10
    assert running_sessions() == []


def _with_rate(reader: HealthReader, node: str) -> Health | None:
    reader.read()
    record = reader.last.get(node)
    return record if record is not None and record.rates_hz.sum() > 0 else None


def test_extra_nodes_take_what_they_want(processes: Path, tmp_path: Path) -> None:
    loaded = graph(a={"act": "source", "count": 20})
    more = graph(x={"act": "reader", "inputs": ["*/landmarks"], "file": str(tmp_path / "out")}).graph.nodes["x"]
    report = run_graph(loaded, extra_nodes=[("x", more)])
    assert report.exit_code == 0
    assert len(lines(tmp_path / "out")) == 20


def test_the_log_names_node_and_level(processes: Path) -> None:
    with Running(graph(a={"act": "crash", "restart": {"policy": "never"}})) as running:
        running.report()
    text = running.log.getvalue()
    assert any(" ERROR a     RuntimeError: the planted fault" in line for line in text.splitlines())
    assert "\x1b" not in text


def test_back_off_is_doubled_within_the_window() -> None:
    policy = RestartPolicy(max_restarts=3, window_s=60, backoff_s=0.5, backoff_max_s=1.5)
    params = NodeParams(type="x", restart=policy)
    assert restart_delay_s(params, [], 100.0) == 0.5
    assert restart_delay_s(params, [99.0], 100.0) == 1.0
    assert restart_delay_s(params, [98.0, 99.0], 100.0) == 1.5
    assert restart_delay_s(params, [97.0, 98.0, 99.0], 100.0) is None
    assert restart_delay_s(params, [10.0, 20.0, 99.0], 100.0) == 1.0
    never = NodeParams(type="x", restart=RestartPolicy(policy="never"))
    assert restart_delay_s(never, [], 100.0) is None


def test_layers_put_readers_before_what_feeds_them() -> None:
    layers = layers_of(
        {"cam": set(), "pose": {"cam"}, "fusion": {"pose", "imu"}, "imu": set(), "rec": {"cam", "fusion"}}
    )
    assert layers == {"rec": 0, "fusion": 1, "pose": 2, "imu": 2, "cam": 3}
    assert layers_of({"a": {"b"}, "b": {"a"}}).keys() == {"a", "b"}
