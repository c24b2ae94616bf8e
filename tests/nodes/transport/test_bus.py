"""The queue rules, over real sockets and in memory."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from fusion.records import Image, Tick
from nodes.graph.clock import ManualClock, SessionClock
from nodes.node import Envelope
from nodes.transport.bus import LATEST_HWM, InputQueue, LoopbackBus, Publisher, SequenceCheck, Subscriber
from nodes.transport.codec import encode
from nodes.transport.endpoints import (
    BoundSocket,
    CurveKeys,
    EndpointError,
    Endpoints,
    Link,
    authenticator,
    make_endpoint,
    refuse_unsafe,
)

WAIT_S = 5.0
CLOCK = SessionClock.start()


def tick(measured_ns: int = 0) -> Tick:
    return Tick(measured_ns=measured_ns, received_ns=measured_ns)


def image(index: int, side: int = 4) -> Image:
    return Image(
        measured_ns=index,
        received_ns=index,
        camera="cam",
        index=index,
        width=side,
        height=side,
        encoding="bgr8",
        data=np.full(side * side * 3, index % 251, np.uint8),
    )


def endpoints(folder: Path, name: str = "n0") -> Endpoints:
    return Endpoints(**{part: make_endpoint(folder, f"{name}.{part}") for part in ("latest", "all", "credit")})


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("b")


def connected(publisher: Publisher, reader: str, *rules: str) -> None:
    assert publisher.wait_for_readers([(reader, rule) for rule in rules], WAIT_S) == set()


# --- Without sockets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sequences", "lost"),
    [
        ((0, 1, 2, 3), 0),
        ((7, 8), 0),
        ((0, 1, 5, 6), 3),
        ((0, 1, 2, 0, 1), 0),
        ((100, 101, 2, 3), 2),
        ((0, 2**62, 2**62 + 1), 0),
        ((5, 5), 5),
    ],
)
def test_losses_by_sequence_numbers(sequences: tuple[int, ...], lost: int) -> None:
    check = SequenceCheck()
    assert sum(map(check.step, sequences)) == lost


def frames(topic: str, record: Tick | Image, sequence: int) -> list[bytes]:
    return [bytes(part) for part in encode(Envelope(topic, sequence, 0, 0, record))]


def test_latest_hands_out_the_newest_and_counts_the_rest() -> None:
    queue = InputQueue(["cam/image"], ManualClock())
    for index in range(10):
        queue.offer(frames("cam/image", image(index), index))
    envelope = queue.take()
    assert envelope is not None
    assert isinstance(envelope.record, Image)
    assert envelope.record.index == 9
    assert queue.take() is None
    assert (queue.stats["cam/image"].count, queue.stats["cam/image"].drops) == (1, 9)


def test_skipped_and_lost_records_are_counted_once_each() -> None:
    queue = InputQueue(["cam/image"], ManualClock())
    queue.offer(frames("cam/image", image(0), 0))
    queue.take()
    for sequence in (3, 4, 7):
        queue.offer(frames("cam/image", image(sequence), sequence))
    queue.take()
    assert queue.stats["cam/image"].drops == 6


def test_all_keeps_each_record_in_order_and_data_time_keeps_images_too() -> None:
    queue = InputQueue(["a/tick", "cam/image"], ManualClock(), data_time=True)
    for index in range(5):
        queue.offer(frames("a/tick", tick(index), index))
        queue.offer(frames("cam/image", image(index), index))
    taken = [queue.take() for _ in range(10)]
    assert [envelope.topic for envelope in taken if envelope] == ["a/tick", "cam/image"] * 5
    assert queue.empty


def test_a_fast_latest_topic_keeps_its_place_and_starves_nobody() -> None:
    queue = InputQueue(["a/tick", "cam/image"], ManualClock())
    queue.offer(frames("cam/image", image(0), 0))
    queue.offer(frames("a/tick", tick(), 0))
    queue.offer(frames("cam/image", image(1), 1))
    taken = [queue.take(), queue.take()]
    assert [envelope.topic for envelope in taken if envelope] == ["cam/image", "a/tick"]


def test_what_cannot_be_decoded_is_counted_and_passed_over() -> None:
    queue = InputQueue(["a/tick"], ManualClock())
    queue.offer([b"a/tick", b"junk"])
    queue.offer([b"b/tick", b"junk"])
    queue.offer([b"x" * 1000])
    queue.offer(frames("a/tick", tick(), 0))
    assert queue.take() is not None
    assert (queue.stats["a/tick"].errors, queue.stats["a/tick"].count, queue.foreign) == (1, 1, 2)


def test_the_loopback_bus_is_the_same_path_without_sockets() -> None:
    clock = ManualClock(50)
    bus = LoopbackBus(clock)
    reader = bus.receiver(["a/tick", "cam/image"])
    sender = bus.sender()
    sender.publish("a/tick", tick(7))
    first = reader.receive(0.0)
    assert first is not None
    clock.time_ns = 60
    sender.publish("cam/image", image(1), first)
    sender.publish("cam/image", image(2), first)
    second = reader.receive(0.0)
    assert second is not None
    assert (first.published_ns, second.published_ns, second.cause_published_ns) == (50, 60, 50)
    assert not second.record.data.flags.writeable  # type: ignore[attr-defined]
    assert reader.stats["cam/image"].drops == 1
    assert reader.receive(10.0) is None


# --- Sockets --------------------------------------------------------------------------------------


def test_every_record_of_an_all_topic_arrives_in_order(context: zmq.Context[zmq.Socket[bytes]], folder: Path) -> None:
    where = endpoints(folder)
    publisher = Publisher(context, where, CLOCK)
    reader = Subscriber(context, [Link("a", where, ("a/tick",))], CLOCK, name="r")
    connected(publisher, "r", "all")
    for index in range(1000):
        publisher.publish("a/tick", tick(index))
    received = [reader.receive(WAIT_S) for _ in range(1000)]
    assert [envelope.record.measured_ns for envelope in received if envelope] == list(range(1000))
    assert reader.stats["a/tick"].drops == 0
    reader.close()
    publisher.close(0)


def test_a_slow_reader_of_latest_gets_a_fresh_one(context: zmq.Context[zmq.Socket[bytes]], folder: Path) -> None:
    where = endpoints(folder)
    publisher = Publisher(context, where, CLOCK)
    reader = Subscriber(context, [Link("cam", where, ("cam/image",))], CLOCK, name="r")
    connected(publisher, "r", "latest")
    total = 200
    publisher.publish("cam/image", image(0, 64))
    assert reader.receive(WAIT_S) is not None
    for index in range(1, total):
        publisher.publish("cam/image", image(index, 64))
    taken: list[int] = [0]
    while envelope := reader.receive(0.2):
        assert isinstance(envelope.record, Image)
        taken.append(envelope.record.index)
    # What fits between the two: the sender's queue, the reader's, and the kernel's buffers.
    assert len(taken) <= 10 * LATEST_HWM
    assert taken == sorted(taken)
    publisher.publish("cam/image", image(total, 64))
    newest = reader.receive(WAIT_S)
    assert newest is not None
    assert newest.sequence == total
    assert reader.stats["cam/image"].drops == total - len(taken)
    reader.close()
    publisher.close(0)


def test_a_publisher_that_starts_again_is_read_on_and_is_no_loss(
    context: zmq.Context[zmq.Socket[bytes]], folder: Path
) -> None:
    where = endpoints(folder)
    reader = Subscriber(context, [Link("a", where, ("a/tick",))], CLOCK, name="r")
    for _ in range(3):
        life: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        publisher = Publisher(life, where, CLOCK)
        # A socket subscribes again where its owner turns to it.
        while not publisher.connected("r", "all"):
            assert reader.receive(0.01) is None
        for index in range(10):
            publisher.publish("a/tick", tick(index))
        assert [envelope.sequence for _ in range(10) if (envelope := reader.receive(WAIT_S))] == list(range(10))
        publisher.close(0)
        life.term()
    assert reader.stats["a/tick"].drops == 0
    reader.close()


def test_the_publisher_sees_a_reader_come_and_go(context: zmq.Context[zmq.Socket[bytes]], folder: Path) -> None:
    where = endpoints(folder)
    publisher = Publisher(context, where, CLOCK)
    assert publisher.wait_for_readers([("r", "all")], 0.0) == {"r"}
    reader = Subscriber(context, [Link("a", where, ("a/tick",))], CLOCK, name="r")
    connected(publisher, "r", "all")
    reader.close()
    poller = zmq.Poller()
    for socket in publisher.sockets:
        poller.register(socket, zmq.POLLIN)
    while publisher.connected("r", "all"):
        assert poller.poll(WAIT_S * 1000)
    publisher.close(0)


def test_garbage_is_counted_and_good_records_go_on(context: zmq.Context[zmq.Socket[bytes]], folder: Path) -> None:
    where = endpoints(folder)
    rogue = context.socket(zmq.XPUB)
    rogue.bind(where.all)
    reader = Subscriber(context, [Link("a", where, ("a/tick",))], CLOCK, name="r")
    while rogue.recv() != b"\x01@r":
        continue
    generator = np.random.default_rng(0)
    for sequence in range(50):
        rogue.send_multipart([b"a/tick", generator.bytes(300)])
        rogue.send_multipart([b"a/tick"])
        rogue.send_multipart([b"a/tick", *[b"x"] * 500])
        rogue.send_multipart([b"a/tickle", b""])
        rogue.send_multipart(frames("a/tick", tick(sequence), sequence))
    taken = [reader.receive(WAIT_S) for _ in range(50)]
    assert [envelope.sequence for envelope in taken if envelope] == list(range(50))
    assert (reader.stats["a/tick"].errors, reader.foreign) == (150, 50)
    reader.close()


def test_a_message_beyond_the_bound_is_never_taken_in(context: zmq.Context[zmq.Socket[bytes]], folder: Path) -> None:
    """ZeroMQ itself breaks the connection; the reader connects again and reads on."""
    where = endpoints(folder)
    rogue = context.socket(zmq.XPUB)
    rogue.bind(where.all)
    reader = Subscriber(context, [Link("a", where, ("a/tick",))], CLOCK, name="r")
    while rogue.recv() != b"\x01@r":
        continue
    rogue.send_multipart([b"a/tick", bytes(65 * 1024 * 1024)])
    again = False
    while not again:
        assert reader.receive(0.1) is None
        again = bool(rogue.poll(0)) and rogue.recv() == b"\x01@r"
    rogue.send_multipart(frames("a/tick", tick(), 0))
    assert reader.receive(WAIT_S) is not None
    reader.close()


# --- Endpoints ------------------------------------------------------------------------------------


def test_a_second_publisher_on_the_same_endpoint_is_refused(
    context: zmq.Context[zmq.Socket[bytes]], folder: Path
) -> None:
    where = endpoints(folder)
    publisher = Publisher(context, where, CLOCK)
    with pytest.raises(EndpointError, match="another publisher"):
        Publisher(context, where, CLOCK)
    publisher.close(0)
    Publisher(context, where, CLOCK).close(0)


@pytest.mark.parametrize(
    "endpoint", ["tcp://*:5555", "tcp://0.0.0.0:5555", "tcp://192.168.1.2:5555", "udp://127.0.0.1:1"]
)
def test_other_interfaces_need_keys(endpoint: str) -> None:
    with pytest.raises(EndpointError, match="CURVE"):
        refuse_unsafe(endpoint, None)


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:5555", "tcp://localhost:5555", "tcp://[::1]:5555", "ipc:///x"])
def test_loopback_needs_none(endpoint: str) -> None:
    refuse_unsafe(endpoint, None)


def test_an_endpoint_that_does_not_fit_in_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="shorter"):
        make_endpoint(tmp_path / ("x" * 100), "n0.all")


def test_only_who_holds_the_keys_gets_in(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    keys = CurveKeys.generate()
    checker = authenticator(context, keys)
    assert checker is not None
    server = BoundSocket(context, zmq.PULL, "tcp://127.0.0.1:*", keys)
    server.socket.bind("tcp://127.0.0.1:*")
    address = server.socket.getsockopt_string(zmq.LAST_ENDPOINT)
    where = Endpoints(latest=address, all=address, credit=address)
    assert where.all.startswith("tcp://127.0.0.1:")
    for offered, arrives in ((None, False), (CurveKeys.generate(), False), (keys, True)):
        client = context.socket(zmq.PUSH)
        if offered is not None:
            client.setsockopt(zmq.CURVE_SERVERKEY, keys.public.encode())
            client.setsockopt(zmq.CURVE_PUBLICKEY, offered.public.encode())
            client.setsockopt(zmq.CURVE_SECRETKEY, offered.secret.encode())
        client.connect(address)
        client.send(b"hello")
        assert bool(server.socket.poll(WAIT_S * 1000 if arrives else 300)) is arrives
        client.close(linger=0)
    checker.stop()
    server.close(0)


def test_ipc_sockets_lie_in_a_folder_that_only_this_user_enters(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    from nodes.graph.rundir import RUNTIME_VARIABLE, RunFolder, RunFolderError

    monkeypatch.setenv(RUNTIME_VARIABLE, str(folder / "runtime"))
    run = RunFolder()
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o700
    run.close()
    assert not run.path.exists()
    (folder / "runtime").chmod(0o755)
    with pytest.raises(RunFolderError, match="0700"):
        RunFolder()
