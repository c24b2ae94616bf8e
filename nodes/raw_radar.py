"""Raw radar node: a TI mmWave sensor's samples through a DCA1000 capture card, as points that are made here.

The card is told to record, then the sensor is set up on its command line (or is left to who has done it); frames are
put together from the card's packets, and each goes through range, Doppler and angle FFTs. See docs/radar_raw.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from nodes.errors import RequestError
from nodes.graph.schema import InputPath
from nodes.node import NodeContext, NodeParams

if TYPE_CHECKING:
    from nodes.devices.dca1000.board import CaptureCard
    from nodes.devices.dca1000.packets import Assembler, RawFrame
    from nodes.devices.dca1000.setup import RawSetup
    from nodes.devices.ports import Port
    from nodes.devices.ti.control import Control

WAIT_S = 0.02
REPORT_NS = 250_000_000
NS_PER_S = 1_000_000_000


class Params(NodeParams):
    """Keys of a raw radar node."""

    driver: Literal["dca1000"] = "dca1000"
    cfg: InputPath
    """What the sensor runs: a ``.cfg`` of TI's demos with ``lvdsStreamCfg -1 0 1 0``."""
    cli_port: str | None = Field(None, min_length=1)
    """Serial port of the sensor's command line; default: the sensor is set up by somebody else, after this node."""
    cli_baud: int = Field(115_200, ge=300, le=12_000_000)
    device: str | None = None
    """Which sensor it is; default: guessed by the frequency."""
    host: str = "192.168.33.30"
    """This computer's address on the card's cable."""
    card: str = "192.168.33.180"
    command_port: int = Field(4096, ge=1, le=65_535)
    data_port: int = Field(4098, ge=1, le=65_535)
    packet_delay_us: float = Field(25.0, ge=5.0, le=500.0)
    """Pause between the card's packets: 25 carries 325 Mb/s, 5 carries 706 Mb/s."""
    threshold_db: float = Field(12.0, ge=3.0, le=40.0)
    """A point stands out so much from what is around it in range."""
    still: bool = False
    """Points of what stands still too."""
    most_missing: float = Field(0.25, ge=0.0, le=1.0)
    """A frame that lacks a larger share of its bytes gives no points."""
    delay_s: float = Field(0.0, ge=-1.0, le=1.0)
    """Known time from measuring to arrival that no stamp shows; taken off every stamp."""

    @model_validator(mode="after")
    def _can_be_run(self) -> Params:
        read_setup(self.cfg, self.device)
        return self

    def publishes(self, name: str) -> tuple[str, ...]:
        """The points."""
        return (f"{name}/points",)


def read_setup(path: str, device: str | None) -> RawSetup:
    """What a ``.cfg`` makes the sensor send.

    Args:
        path: of the file.
        device: name of the sensor; None to guess by the frequency.

    Raises:
        ConfigError: if it cannot be read, or sends no raw samples that can be taken apart; if there is no such device.
    """
    from nodes.devices.dca1000.setup import raw_setup
    from nodes.devices.ti.config import device_named, load_config

    return raw_setup(load_config(Path(path)), None if device is None else device_named(device))


def run(params: Params, context: NodeContext) -> None:
    """Publish points until the graph stops.

    Raises:
        RequestError: in a ``data`` session, without the package, or if the card does not answer.
    """
    from nodes.devices.dca1000.board import Addresses, CaptureCard

    if context.session.time == "data":
        raise RequestError(
            f"node {context.name!r}: a sensor follows the clock; set session.time: live, or replay a recorded session"
        )
    addresses = Addresses(params.host, params.card, params.command_port, params.data_port)
    card = CaptureCard(addresses, params.packet_delay_us)
    try:
        card.start()
        context.ready()
        _Capture(params, context, card).run()
    finally:
        card.close()


class _Capture:
    """One card and one sensor, from the first packet to the end."""

    def __init__(self, params: Params, context: NodeContext, card: CaptureCard) -> None:
        from nodes.devices.dca1000.detect import DetectParams
        from nodes.devices.dca1000.packets import Assembler
        from nodes.devices.dca1000.samples import frame_bytes

        self._params, self._context, self._card = params, context, card
        self._setup = read_setup(params.cfg, params.device)
        self._assembler: Assembler = Assembler(frame_bytes(self._setup.shape))
        self._detect = DetectParams(
            range_bin_m=self._setup.range_bin_m,
            speed_bin_m_s=self._setup.speed_bin_m_s,
            transmitters=self._setup.transmitters,
            threshold_db=params.threshold_db,
            still=params.still,
        )
        self._left_out = 0
        self._points = 0
        self._told: str | None = None
        """What was said of the command line's port."""

    def run(self) -> None:
        """Take packets until the graph stops."""
        context, control = self._context, self._control()
        reported_ns = 0
        try:
            while not context.stopping:
                self._take()
                now_ns = context.clock.now_ns()
                if control is not None:
                    control.step(now_ns)
                    self._watch(control.port)
                if now_ns - reported_ns >= REPORT_NS:
                    reported_ns = now_ns
                    context.receive(0.0)
                    context.counters = self.counters()
        finally:
            if control is not None:
                control.close(context.clock.now_ns)

    def counters(self) -> dict[str, float]:
        """For health."""
        counts = self._assembler.counts
        names = ("frames", "frames_incomplete", "frames_lost", "bytes_lost", "packets", "refused", "late", "restarts")
        shown = {name: float(getattr(counts, name)) for name in names}
        return {**shown, "frames_left_out": float(self._left_out), "points": float(self._points)}

    def _take(self) -> None:
        now_ns = self._context.clock.now_ns
        for datagram in self._card.packets(WAIT_S):
            for frame in self._assembler.feed(datagram, now_ns()):
                self._publish(frame)

    def _publish(self, frame: RawFrame) -> None:
        from fusion.records import RadarPoints
        from nodes.devices.dca1000.detect import detect
        from nodes.devices.dca1000.samples import cube_of

        if frame.missing_bytes > self._params.most_missing * len(frame.data):
            self._left_out += 1
            return
        found = detect(cube_of(frame.data, self._setup.shape, swapped=self._setup.swapped), self._detect)
        self._points += len(found.snrs_db)
        # The first chirp's samples come at once; what is measured is the mean over all chirps.
        shift_ns = round((0.5 * self._setup.active_s - self._params.delay_s) * NS_PER_S)
        record = RadarPoints(
            measured_ns=frame.received_ns + shift_ns,
            received_ns=self._context.clock.now_ns(),
            radar=self._context.name,
            frame=frame.index,
            positions_m=found.positions_m,
            radial_velocities_m_s=found.radial_velocities_m_s,
            snrs_db=found.snrs_db,
        )
        self._context.publish(f"{self._context.name}/points", record)

    def _watch(self, port: Port) -> None:
        """Say once why the command line's port is not open, and once that it is again."""
        trouble = None if port.error is None else port.error.trouble
        if trouble == self._told:
            return
        self._told = trouble
        if port.error is None:
            self._context.log.warning("%s: is there now", port.name)
            return
        from nodes.devices.ti.diagnosis import port_trouble
        from nodes.radar import ports_here

        found = port_trouble(port.name, "cli_port", port.error.trouble, str(port.error), ports_here())
        self._context.log.warning("%s", found.message)

    def _control(self) -> Control | None:
        """The sensor's command line, where it is ours; it is set up once the card records."""
        if self._params.cli_port is None:
            return None
        from nodes.devices.ports import Port, open_source
        from nodes.devices.ti.config import load_config
        from nodes.devices.ti.control import Control

        name, baud = self._params.cli_port, self._params.cli_baud
        port = Port(name, lambda: open_source(name, baud, ""), baud)
        return Control(port, load_config(Path(self._params.cfg)), self._context.log.warning)
