"""The session clock, on this host and as another host sees it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import msgpack
import pytest
import zmq

from nodes.graph.clock import RemoteClock, SessionClock, answer_probe, steady_ns


def test_it_reads_like_the_time_of_day_and_ignores_its_corrections(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SessionClock.start()
    assert abs(clock.now_ns() - time.time_ns()) < 1_000_000_000
    before = clock.now_ns()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert clock.now_ns() >= before


def test_two_processes_have_the_same_clock() -> None:
    """What travels is the offset alone."""
    clock = SessionClock.start()
    assert SessionClock(clock.offset_ns).now_ns() - clock.now_ns() < 1_000_000_000


def test_another_host_finds_the_session_clock_by_probes(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    endpoint = f"ipc://{tmp_path}/c"
    offset_ns = 123_456_789_000
    stop = threading.Event()

    def answer() -> None:
        with context.socket(zmq.ROUTER) as server:
            server.bind(endpoint)
            while not stop.is_set():
                if not server.poll(50):
                    continue
                identity, data = server.recv_multipart()
                server.send_multipart([identity, b"junk"])
                reply = answer_probe(msgpack.unpackb(data), steady_ns() + offset_ns)
                assert reply is not None
                server.send_multipart([identity, reply])

    thread = threading.Thread(target=answer)
    thread.start()
    clock = RemoteClock(context, endpoint)
    best = clock.synchronise()
    assert best is not None
    assert abs(clock.now_ns() - (steady_ns() + offset_ns)) <= best.round_trip_ns + 1_000_000
    stop.set()
    thread.join()
    clock.close()
    context.term()


def test_without_an_answer_it_is_the_time_of_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.graph.clock.PROBE_TIMEOUT_S", 0.01)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    clock = RemoteClock(context, f"ipc://{tmp_path}/nobody")
    assert clock.synchronise() is None
    assert abs(clock.now_ns() - time.time_ns()) < 1_000_000_000
    clock.close()
    context.term()


@pytest.mark.parametrize("message", [None, [], {}, {"t": "probe"}, {"t": "probe", "n": "1"}, {"t": "other", "n": 1}])
def test_what_is_no_probe_gets_no_answer(message: object) -> None:
    assert answer_probe(message, 0) is None
