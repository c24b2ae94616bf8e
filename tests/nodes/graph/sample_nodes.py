"""Small nodes that tests run as real processes. One ``Params`` and ``run`` for all; ``act`` says what it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from fusion.records import Image, Landmarks2D, Record
from nodes.errors import RequestError
from nodes.node import NodeContext, NodeParams


class Params(NodeParams):
    """One node of a test."""

    type: str = "sample"
    act: str
    input: str | None = None
    inputs: tuple[str, ...] = ()
    stream: str = "landmarks"
    count: int | None = None
    """Records to publish; None: until stopped."""
    rate_hz: float = 200.0
    step_s: float = 0.0
    """A reader's work on each record."""
    file: str | None = None
    """Where a reader writes what it got."""
    first_ns: int = 0
    period_ns: int = 1_000_000
    once: str | None = None
    """A file that says that a fault has happened already."""

    def publishes(self, name: str) -> tuple[str, ...]:
        return (f"{name}/{self.stream}",) if self.act in ("source", "relay", "rogue", "crash", "hang") else ()


def landmarks(measured_ns: int, value: float = 0.0, people: int = 1) -> Landmarks2D:
    return Landmarks2D(
        measured_ns=measured_ns,
        received_ns=measured_ns,
        camera="cam",
        landmark_set="coco_17",
        image_width=1280,
        image_height=720,
        pixels=np.full((people, 17, 2), value, np.float32),
        scores=np.ones((people, 17), np.float32),
    )


def image(measured_ns: int, index: int, side: int = 640) -> Image:
    data = np.full(side * side * 3, index % 251, np.uint8)
    return Image(
        measured_ns=measured_ns,
        received_ns=measured_ns,
        camera="cam",
        index=index,
        width=side,
        height=side,
        encoding="bgr8",
        data=data,
    )


def run(params: Params, context: NodeContext) -> None:
    ACTS[params.act](params, context)


def source(params: Params, context: NodeContext) -> None:
    context.ready()
    _publish(params, context)


def _publish(params: Params, context: NodeContext) -> None:
    begin = time.monotonic()
    index = 0
    while not context.stopping and (params.count is None or index < params.count):
        if context.session.time == "live":
            time.sleep(max(0.0, begin + index / params.rate_hz - time.monotonic()))
        context.publish(f"{context.name}/{params.stream}", _record(params, context, index))
        index += 1


def _record(params: Params, context: NodeContext, index: int) -> Record:
    data_time = context.session.time == "data"
    measured_ns = params.first_ns + index * params.period_ns if data_time else context.clock.now_ns()
    return image(measured_ns, index) if params.stream == "image" else landmarks(measured_ns, float(index))


def reader(params: Params, context: NodeContext) -> None:
    """Writes a line for each record: topic, sequence, measured_ns, and how old it was when taken."""
    with open(params.file or os.devnull, "a", buffering=1, encoding="utf-8") as file:
        context.ready()
        while not context.stopping:
            envelope = context.receive(0.2)
            if envelope is None:
                continue
            age_ns = context.clock.now_ns() - envelope.published_ns
            file.write(f"{envelope.topic} {envelope.sequence} {envelope.record.measured_ns} {age_ns}\n")
            if params.step_s:
                time.sleep(params.step_s)


def relay(params: Params, context: NodeContext) -> None:
    context.ready()
    while not context.stopping:
        envelope = context.receive(0.2)
        if envelope is not None:
            context.publish(f"{context.name}/{params.stream}", landmarks(envelope.record.measured_ns), envelope)


def crash(params: Params, context: NodeContext) -> None:
    """Raises after a few records: each time, or the first time only."""
    context.ready()
    if params.once is None or not Path(params.once).exists():
        for index in range(3):
            context.publish(f"{context.name}/{params.stream}", _record(params, context, index))
        Path(params.once or os.devnull).write_text("done", encoding="utf-8")
        raise RuntimeError("the planted fault")
    _publish(params, context)


def wrong(params: Params, context: NodeContext) -> None:
    raise RequestError("no such thing as 'x'; allowed: 'y'")


def never_ready(params: Params, context: NodeContext) -> None:
    time.sleep(3600)


def hang(params: Params, context: NodeContext) -> None:
    """Freezes the whole process the first time, so that no thread of it runs."""
    context.ready()
    marker = Path(params.once or "")
    if not marker.exists():
        marker.write_text("done", encoding="utf-8")
        os.kill(os.getpid(), signal.SIGSTOP)
    _publish(params, context)


def stubborn(params: Params, context: NodeContext) -> None:
    """Hears nothing and has a child that hears nothing either."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
    child = subprocess.Popen([sys.executable, "-c", code])
    Path(params.file or "").write_text(f"{os.getpid()} {child.pid}", encoding="utf-8")
    context.ready()
    while True:
        time.sleep(0.1)


def rogue(params: Params, context: NodeContext) -> None:
    """Publishes good records with garbage in between, from its own sockets."""
    context.ready()
    publisher: Any = context._publisher  # type: ignore[attr-defined]
    generator = np.random.default_rng(0)
    topic = f"{context.name}/{params.stream}"
    for index in range(params.count or 0):
        context.publish(topic, _record(params, context, index))
        junk = generator.bytes(200)
        for parts in ([topic.encode(), junk], [topic.encode()], [topic.encode(), junk, junk, junk], [junk, junk]):
            publisher._bound["all"].socket.send_multipart(parts)
        time.sleep(1 / params.rate_hz)


def stuck(params: Params, context: NodeContext) -> None:
    """Its main thread goes astray the first time; its heartbeat goes on."""
    context.ready()
    marker = Path(params.once or "")
    if not marker.exists():
        marker.write_text("done", encoding="utf-8")
        threading.Event().wait()


def slow_start(params: Params, context: NodeContext) -> None:
    """Works for a while before it is ready, as one does that compiles."""
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < SLOW_START_S:
        sum(range(10_000))
    context.ready()
    while not context.stopping and time.monotonic() - begun_s < 1.5 * SLOW_START_S:
        context.receive(0.05)


def lingering(params: Params, context: NodeContext) -> None:
    """Leaves a thread behind that does not end."""
    context.ready()
    threading.Thread(target=threading.Event().wait).start()


SLOW_START_S = 2.0

ACTS = {
    "source": source,
    "reader": reader,
    "relay": relay,
    "crash": crash,
    "wrong": wrong,
    "never_ready": never_ready,
    "hang": hang,
    "stubborn": stubborn,
    "rogue": rogue,
    "stuck": stuck,
    "slow_start": slow_start,
    "lingering": lingering,
}
