"""Flow control and the merge of ``data`` time."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.records import Image, StreamEnd, Tick
from nodes.graph.clock import SessionClock
from nodes.node import Envelope
from nodes.transport.bus import Publisher
from nodes.transport.endpoints import Endpoints, Link, make_endpoint
from nodes.transport.flow import (
    ABSENT_S,
    IMAGE_WINDOW,
    MEASUREMENT_WINDOW,
    Credit,
    CreditLedger,
    FlowReceiver,
    FlowSender,
    Merge,
    Receipts,
    decode_credit,
    encode_credit,
    is_merged,
    window,
)

CLOCK = SessionClock.start()
WAIT_S = 5.0
TOPIC = "a/tick"


def tick(measured_ns: int) -> Tick:
    return Tick(measured_ns=measured_ns, received_ns=measured_ns)


def envelope(publisher: str, sequence: int, measured_ns: int) -> Envelope:
    return Envelope(f"{publisher}/tick", sequence, 0, 0, tick(measured_ns))


# --- Merge ----------------------------------------------------------------------------------------

STREAMS = {"a": (1, 4, 4, 9), "b": (2, 4, 10), "c": (4, 3, 11)}
"""Publisher → measured_ns of its records; c's second is late."""
MERGED = [("a", 1), ("b", 2), ("a", 4), ("a", 4), ("b", 4), ("c", 4), ("c", 3), ("a", 9), ("b", 10), ("c", 11)]


def arrivals(order: list[str]) -> list[tuple[str, int]]:
    """The merged order if records arrive in this order of publishers, each handed out as soon as it can be."""
    merge = Merge(STREAMS)
    waiting = {name: list(enumerate(times)) for name, times in STREAMS.items()}
    out: list[tuple[str, int]] = []
    for name in order:
        sequence, measured_ns = waiting[name].pop(0)
        merge.push(name, envelope(name, sequence, measured_ns))
        if not waiting[name]:
            merge.end(name)
        while (item := merge.pop()) is not None:
            out.append((item.topic[0], item.record.measured_ns))
    assert merge.finished
    return out


def test_the_order_does_not_depend_on_the_arrival() -> None:
    names = [name for name, times in STREAMS.items() for _ in times]
    orders = set(itertools.islice(set(itertools.permutations(names)), 2000))
    assert len(orders) > 1000
    assert all(arrivals(list(order)) == MERGED for order in orders)


@given(st.dictionaries(st.sampled_from("abcde"), st.lists(st.integers(0, 50), max_size=12), min_size=1), st.randoms())
@settings(max_examples=100, deadline=None)
def test_any_streams_in_any_arrival_come_out_alike(streams: dict[str, list[int]], shuffle: random.Random) -> None:
    outcomes = []
    for _ in range(3):
        pending = {name: [*enumerate(times), None] for name, times in streams.items()}
        merge, out = Merge(streams), []
        while pending:
            name = shuffle.choice(sorted(pending))
            item = pending[name].pop(0)
            if item is None:
                merge.end(name)
                del pending[name]
            else:
                merge.push(name, envelope(name, *item))
            while (taken := merge.pop()) is not None:
                out.append((taken.topic, taken.sequence))
        outcomes.append(out)
        assert merge.finished
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert len(outcomes[0]) == sum(map(len, streams.values()))
    for name in streams:
        own = [sequence for topic, sequence in outcomes[0] if topic == f"{name}/tick"]
        assert own == sorted(own)


def test_a_record_waits_until_every_publisher_has_one() -> None:
    merge = Merge(["a", "b"])
    merge.push("a", envelope("a", 0, 5))
    assert merge.pop() is None
    assert merge.waits_for == ("b",)
    merge.push("b", envelope("b", 0, 7))
    first = merge.pop()
    assert first is not None
    assert first.topic == "a/tick"
    assert merge.pop() is None
    merge.end("a")
    assert merge.pop() is not None
    assert not merge.finished


# --- Credit ---------------------------------------------------------------------------------------


def ledger(*readers: str) -> CreditLedger:
    return CreditLedger({TOPIC: readers})


def publish(book: CreditLedger, count: int, start: int = 0) -> int:
    """Publish as long as there is room; how many there was room for."""
    for index in range(start, start + count):
        if book.blocked_by(TOPIC, 0):
            return index - start
        book.published(TOPIC, index)
    return count


def test_windows_come_from_the_table_of_streams() -> None:
    assert (window("cam/image"), window("a/samples")) == (IMAGE_WINDOW, MEASUREMENT_WINDOW)
    assert not is_merged("a/health")
    assert is_merged("a/end")


def test_a_publisher_waits_at_the_window_of_its_slowest_reader() -> None:
    book = ledger("fast", "slow")
    assert publish(book, 1000) == MEASUREMENT_WINDOW
    book.consumed(Credit("fast", 1, ((TOPIC, MEASUREMENT_WINDOW - 1),)))
    assert book.blocked_by(TOPIC, 0) == ("slow",)
    book.consumed(Credit("slow", 1, ((TOPIC, 9),)))
    assert publish(book, 1000, MEASUREMENT_WINDOW) == 10


def test_credits_that_cannot_be_true_are_passed_over() -> None:
    book = ledger("r")
    publish(book, MEASUREMENT_WINDOW)
    for credit in (
        Credit("stranger", 1, ((TOPIC, 10),)),
        Credit("r", 1, ((TOPIC, MEASUREMENT_WINDOW),)),
        Credit("r", 1, ((TOPIC, 2**60),)),
        Credit("r", 1, (("b/tick", 5),)),
        Credit("r", 1, ((TOPIC, -5),)),
    ):
        book.consumed(credit)
    assert book.blocked_by(TOPIC, 0) == ("r",)


def test_a_reader_that_starts_again_is_owed_nothing_of_before() -> None:
    book = ledger("r")
    book.consumed(Credit("r", 1, ()))
    publish(book, MEASUREMENT_WINDOW)
    book.consumed(Credit("r", 2, ()))
    assert publish(book, 1000, MEASUREMENT_WINDOW) == MEASUREMENT_WINDOW
    book.consumed(Credit("r", 1, ((TOPIC, 100),)))
    assert book.blocked_by(TOPIC, 0) == ("r",)


def test_what_was_sent_before_a_reader_connected_again_is_not_waited_for() -> None:
    """Its first credit may come before its subscription: what was sent between the two is lost to it."""
    book = ledger("r")
    book.connection("r", True, 1, 0)
    book.consumed(Credit("r", 1, ()))
    publish(book, MEASUREMENT_WINDOW)
    book.consumed(Credit("r", 2, ()))
    publish(book, MEASUREMENT_WINDOW, MEASUREMENT_WINDOW)
    assert book.blocked_by(TOPIC, 0) == ("r",)
    book.connection("r", True, 1, 0)
    assert book.blocked_by(TOPIC, 0) == ("r",)
    book.connection("r", True, 2, 0)
    assert publish(book, 1000, 2 * MEASUREMENT_WINDOW) == MEASUREMENT_WINDOW


def test_an_absent_reader_counts_for_a_while_and_a_gone_one_not_at_all() -> None:
    book = ledger("r")
    publish(book, MEASUREMENT_WINDOW)
    book.connection("r", False, 0, 0)
    soon, late = int((ABSENT_S - 1) * 1e9), int((ABSENT_S + 1) * 1e9)
    assert book.blocked_by(TOPIC, soon) == ("r",)
    assert book.blocked_by(TOPIC, late) == ()
    book.connection("r", True, 0, late)
    assert book.blocked_by(TOPIC, late) == ("r",)
    book.gone("r")
    assert book.blocked_by(TOPIC, late) == ()
    book.consumed(Credit("r", 7, ()))
    book.gone("stranger")


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_no_credit(data: bytes) -> None:
    credit = decode_credit(data)
    assert credit is None or encode_credit(credit)


def test_credits_survive_the_wire_and_wrong_ones_do_not() -> None:
    credit = Credit("r", 12, (("a/tick", 3), ("a/end", 0)))
    assert decode_credit(encode_credit(credit)) == credit
    for value in (["r", 1], ["r", 1, [["a"]]], [1, 1, []], ["r", "1", []], ["r", 1, [["a", 1.5]]], {"r": 1}, 5, None):
        assert decode_credit(msgpack.packb(value)) is None


def test_receipts_are_given_in_batches_and_begin_anew_with_the_publisher() -> None:
    receipts = Receipts({TOPIC: "a"})
    told = []
    for sequence in range(40):
        receipts.arrived(TOPIC, sequence)
        if receipts.consumed(TOPIC, sequence):
            told.append(receipts.take("a"))
    assert told == [((TOPIC, 15),), ((TOPIC, 31),)]
    receipts.arrived(TOPIC, 40)
    receipts.arrived(TOPIC, 0)  # Another life of the publisher; number 40 still waits.
    assert not receipts.consumed(TOPIC, 40)
    assert receipts.take("a") == ()
    receipts.consumed(TOPIC, 0)
    assert receipts.take("a") == ((TOPIC, 0),)


# --- Sockets --------------------------------------------------------------------------------------


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("f")


def endpoints(folder: Path, name: str) -> Endpoints:
    return Endpoints(**{part: make_endpoint(folder, f"{name}.{part}") for part in ("latest", "all", "credit")})


class Node:
    """A publishing node of a test."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], folder: Path, name: str, topic: str, *readers: str
    ) -> None:
        self.where = endpoints(folder, name)
        self.topic = topic
        self.stop = threading.Event()
        self.publisher = Publisher(context, self.where, CLOCK, data_time=True)
        self.sender = FlowSender(
            context, self.publisher, self.where, CLOCK, readers={topic: readers}, stopped=self.stop.is_set
        )

    def link(self, *topics: str) -> Link:
        return Link(self.topic.split("/")[0], self.where, topics or (self.topic,))

    def end(self, measured_ns: int = 0) -> None:
        name = self.topic.split("/")[0]
        self.sender.publish(f"{name}/end", StreamEnd(measured_ns=measured_ns, received_ns=0))


def image(index: int) -> Image:
    side = 256
    data = np.full(side * side * 3, index % 251, np.uint8)
    return Image(
        measured_ns=index, received_ns=0, camera="c", index=index, width=side, height=side, encoding="bgr8", data=data
    )


def test_the_publisher_never_runs_ahead_of_the_window_and_nothing_is_lost(
    context: zmq.Context[zmq.Socket[bytes]], folder: Path
) -> None:
    node = Node(context, folder, "n0", "a/image", "r")
    reader = FlowReceiver(context, [node.link()], CLOCK, name="r")
    total = 100

    def source() -> None:
        node.sender.wait_for_readers(WAIT_S)
        for index in range(total):
            node.sender.publish("a/image", image(index))
        node.end(total)

    thread = threading.Thread(target=source)
    thread.start()
    ahead = []
    for index in range(total):
        taken = reader.receive(WAIT_S)
        assert taken is not None
        assert taken.sequence == index
        # A record may be here before its publisher has come to count it.
        published = node.publisher.stats.get("a/image")
        ahead.append((published.count if published else 0) - index)
    assert reader.receive(WAIT_S) is None
    assert reader.ended
    thread.join(WAIT_S)
    # The record in hand is not consumed yet, so the window holds it and what follows.
    assert max(ahead) <= IMAGE_WINDOW
    assert reader.stats["a/image"].drops == 0
    reader.close()
    node.sender.close()
    node.publisher.close(0)


def test_a_waiting_publisher_ends_when_its_node_does(context: zmq.Context[zmq.Socket[bytes]], folder: Path) -> None:
    node = Node(context, folder, "n0", TOPIC, "r")
    reader = FlowReceiver(context, [node.link()], CLOCK, name="r")
    done = threading.Event()

    def source() -> None:
        node.sender.wait_for_readers(WAIT_S)
        for index in range(10 * MEASUREMENT_WINDOW):
            node.sender.publish(TOPIC, tick(index))
        done.set()

    thread = threading.Thread(target=source)
    thread.start()
    while TOPIC not in node.publisher.stats or node.publisher.stats[TOPIC].count < MEASUREMENT_WINDOW:
        assert thread.is_alive()
    assert not done.is_set()
    node.stop.set()
    assert done.wait(WAIT_S)
    thread.join()
    assert node.publisher.stats[TOPIC].count == MEASUREMENT_WINDOW
    reader.close()
    node.sender.close()
    node.publisher.close(0)


def test_a_source_that_feeds_both_sides_of_a_merge_is_not_held_up(
    context: zmq.Context[zmq.Socket[bytes]], folder: Path
) -> None:
    """The reader waits for b, which speaks only once a has sent far more than a window."""
    a, b = Node(context, folder, "n0", "a/tick", "r"), Node(context, folder, "n1", "b/tick", "r")
    reader = FlowReceiver(context, [a.link(), b.link()], CLOCK, name="r")
    total = 10 * MEASUREMENT_WINDOW

    def sources() -> None:
        a.sender.wait_for_readers(WAIT_S)
        b.sender.wait_for_readers(WAIT_S)
        for index in range(total):
            a.sender.publish("a/tick", tick(index))
        b.sender.publish("b/tick", tick(0))
        a.end(total)
        b.end(total)

    thread = threading.Thread(target=sources)
    thread.start()
    taken = []
    while not reader.ended:
        envelope = reader.receive(WAIT_S)
        assert envelope is not None or reader.ended
        if envelope is not None:
            taken.append(envelope.topic)
    thread.join(WAIT_S)
    assert taken == ["a/tick", "b/tick", *["a/tick"] * (total - 1)]
    for node in (a, b):
        node.sender.close()
        node.publisher.close(0)
    reader.close()


def test_a_failed_publisher_is_waited_for_no_longer(context: zmq.Context[zmq.Socket[bytes]], folder: Path) -> None:
    a, b = Node(context, folder, "n0", "a/tick", "r"), Node(context, folder, "n1", "b/tick", "r")
    reader = FlowReceiver(context, [a.link(), b.link()], CLOCK, name="r")
    # Both ends are in one thread here: a subscription is made where its owner turns to it.
    while not (a.publisher.connected("r", "all") and b.publisher.connected("r", "all")):
        assert reader.receive(0.01) is None
    a.sender.publish("a/tick", tick(1))
    assert reader.receive(0.1) is None
    assert reader.waits_for == ("b",)
    reader.publisher_failed("b")
    reader.publisher_failed("stranger")
    taken = reader.receive(WAIT_S)
    assert taken is not None
    assert taken.topic == "a/tick"
    for node in (a, b):
        node.sender.close()
        node.publisher.close(0)
    reader.close()
