"""The node of ``benchmarks.radar_live`` that plays a MARS recording: radar on serial ports, Kinect as a camera."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nodes.node import NodeContext, NodeParams

if TYPE_CHECKING:
    from fusion.records import Float64

NS_PER_S = 1_000_000_000
WAIT_S = 0.01
_SEED = 20261204


class Params(NodeParams):
    """What to play."""

    type: str = "mars"
    recording: str
    """``subjectN.npz``."""
    start_s: float
    seconds: float
    link: str
    """The pseudo-terminals become LINK-cli and LINK-data."""
    floor_m: float
    """Height of the sensor above the floor."""
    every: int = 3
    """The Kinect tells one frame in so many."""
    sigma_m: float = 0.03
    dark_every_s: float = 10.0
    dark_s: float = 2.0
    """The Kinect tells nothing at the end of every so many seconds, for so long."""

    def publishes(self, name: str) -> tuple[str, ...]:
        return (f"{name}/landmarks3d", f"{name}/annotation")

    def is_dark(self, time_s: float) -> bool:
        """Whether the Kinect is away."""
        return time_s % self.dark_every_s >= self.dark_every_s - self.dark_s


def run(params: Params, context: NodeContext) -> None:
    """Play it once."""
    from nodes.devices.ti.fake import FakeRadar
    from nodes.devices.ti.scenes import load_mars

    recording = load_mars(Path(params.recording), start_s=params.start_s, seconds=params.seconds)
    with np.load(params.recording) as file:
        joints_m = file["labels"][list(recording.rows)].astype(np.float64)
    radar = FakeRadar(recording, link=params.link)
    player = threading.Thread(target=radar.run, args=(lambda: context.stopping,), daemon=True)
    player.start()
    context.ready()
    while radar.begun_s is None and not context.stopping:
        context.receive(WAIT_S)  # The radar node starts the sensor.
    if radar.begun_s is not None:
        begun_ns = context.clock.now_ns() - round((time.monotonic() - radar.begun_s) * NS_PER_S)
        times_s = [frame.time_s for frame in recording.frames(0.1)]
        _tell(params, context, begun_ns, times_s, joints_m + np.array([0.0, 0.0, params.floor_m]))
    player.join(WAIT_S)
    context.counters = {"sent": radar.sent, "skipped": radar.skipped}
    while not context.stopping:
        context.receive(WAIT_S)
    radar.close()


def _tell(params: Params, context: NodeContext, begun_ns: int, times_s: list[float], joints_m: Float64) -> None:
    """Say the Kinect's joints, as often as it does, at their times."""
    from fusion.records import Annotation, Landmarks3D

    random = np.random.default_rng(_SEED)
    noise = params.sigma_m * random.standard_normal(joints_m.shape)
    context.publish(f"{context.name}/annotation", Annotation(measured_ns=begun_ns, received_ns=begun_ns, text="begun"))
    for index in range(0, len(times_s), params.every):
        due_ns = begun_ns + round(times_s[index] * NS_PER_S)
        while context.clock.now_ns() < due_ns and not context.stopping:
            context.receive(min(max((due_ns - context.clock.now_ns()) / NS_PER_S, 0.0), WAIT_S))
        if context.stopping:
            return
        if params.is_dark(times_s[index]) or not np.isfinite(joints_m[index]).all():
            continue
        record = Landmarks3D(
            measured_ns=due_ns,
            received_ns=context.clock.now_ns(),
            source=context.name,
            landmark_set="kinect_19",
            positions_m=(joints_m[index] + noise[index])[None].astype(np.float32),
            sigmas_m=np.full((1, joints_m.shape[1]), params.sigma_m, np.float32),
        )
        context.publish(f"{context.name}/landmarks3d", record)
