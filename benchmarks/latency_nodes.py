"""The two nodes of ``benchmarks.latency``."""

from __future__ import annotations

import time

import numpy as np

from fusion.records import Image, Landmarks2D, Record
from nodes.node import NodeContext, NodeParams

WARM_UP = 50
"""Records that are not counted."""


class Params(NodeParams):
    """Sender, or with ``input`` the reader."""

    type: str = "latency"
    input: str | None = None
    stream: str = "landmarks"
    rate_hz: float = 120.0
    count: int = 2000

    def publishes(self, name: str) -> tuple[str, ...]:
        return () if self.input else (f"{name}/{self.stream}",)


def run(params: Params, context: NodeContext) -> None:
    context.ready()
    if params.input:
        _read(context)
    else:
        _send(params, context)


def _send(params: Params, context: NodeContext) -> None:
    begin = time.monotonic()
    for index in range(params.count):
        # The pace of a sensor.
        time.sleep(max(0.0, begin + index / params.rate_hz - time.monotonic()))
        context.publish(f"{context.name}/{params.stream}", _record(params.stream, context.clock.now_ns()))
        if context.stopping:
            return


def _record(stream: str, now_ns: int) -> Record:
    if stream == "image":
        data = np.zeros(1280 * 720 * 3, np.uint8)
        return Image(
            measured_ns=now_ns,
            received_ns=now_ns,
            camera="cam",
            index=0,
            width=1280,
            height=720,
            encoding="bgr8",
            data=data,
        )
    return Landmarks2D(
        measured_ns=now_ns,
        received_ns=now_ns,
        camera="cam",
        landmark_set="coco_17",
        image_width=1280,
        image_height=720,
        pixels=np.zeros((1, 17, 2), np.float32),
        scores=np.ones((1, 17), np.float32),
    )


def _read(context: NodeContext) -> None:
    ages_ns: list[int] = []
    while not context.stopping:
        envelope = context.receive(0.5)
        if envelope is None:
            continue
        ages_ns.append(context.clock.now_ns() - envelope.published_ns)
        if len(ages_ns) > WARM_UP:
            p50, p99 = np.percentile(ages_ns[WARM_UP:], (50, 99)) if len(ages_ns) % 100 == 0 else (0.0, 0.0)
            if p50:
                context.counters.update(
                    p50_us=float(p50) / 1e3, p99_us=float(p99) / 1e3, counted=len(ages_ns) - WARM_UP
                )
