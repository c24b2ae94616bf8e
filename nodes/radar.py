"""Radar node: a TI mmWave sensor on its two serial ports, as one stream of points.

The sensor is set up line by line from its ``.cfg``, its frames are decoded and put on
the session clock. A sensor that falls silent is named within a second with cause and
cure; one that went, or lost its configuration, is set up again by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from nodes.errors import RequestError
from nodes.graph.schema import InputPath
from nodes.node import NodeContext, NodeParams

if TYPE_CHECKING:
    from nodes.devices.ti.config import Device, TiConfig
    from nodes.devices.ti.system import RadarSystem, Shot

WAIT_S = 0.02
"""For bytes; then the graph is asked whether to stop."""
ASK_NS = 20_000_000
REPORT_NS = 250_000_000
_FATAL = ("denied", "package", "address")
"""Troubles of a port that do not pass by themselves."""


class Params(NodeParams):
    """Keys of a radar node."""

    driver: Literal["ti-sdk3"] = "ti-sdk3"
    data_port: str = Field(min_length=1)
    """Serial port that frames come on, which the system calls "Auxiliary Data Port" or "Standard"."""
    cli_port: str | None = Field(None, min_length=1)
    """Serial port of the command line, which the system calls "Application/User UART" or "Enhanced"."""
    cfg: InputPath | None = None
    """What the sensor is to run, or runs already: a ``.cfg`` of TI's demos."""
    configure: bool = True
    """Set the sensor up and start it; off: it runs already, only listen."""
    cli_baud: int = Field(115_200, ge=300, le=12_000_000)
    data_baud: int = Field(921_600, ge=300, le=12_000_000)
    delay_s: float = Field(0.0, ge=-1.0, le=1.0)
    """Known time from measuring to arrival that no stamp shows; taken off every stamp."""
    layout: Literal["sdk3", "sdk1", "people48", "doors"] | None = None
    """Form of the frames' head; default: found."""
    device: str | None = None
    """Which sensor it is, for the angles that its antennas resolve; default: guessed by the frequency."""

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str | None) -> str | None:
        if value is None:
            return None
        from nodes.devices.ti.config import device_named

        return device_named(value).name

    @model_validator(mode="after")
    def _fits(self) -> Params:
        if self.configure and self.cfg is None:
            raise ValueError("cfg is missing: name the .cfg to run, or set configure: false if the sensor runs already")
        if self.configure and self.cli_port is None:
            raise ValueError("cli_port is missing: the sensor is set up there (kinefuse devices lists the ports)")
        if self.cli_port == self.data_port:
            raise ValueError(f"data_port {self.data_port!r} is the cli_port, too: a sensor has two ports, name both")
        if self.cfg is not None:
            read_config(self.cfg, _device(self), sent=self.configure)
        return self

    def publishes(self, name: str) -> tuple[str, ...]:
        """The points."""
        return (f"{name}/points",)


def read_config(path: str, device: Device | None, *, sent: bool) -> TiConfig:
    """A ``.cfg`` that will do.

    Args:
        path: of the file.
        device: that is to run it; None to guess by the frequency.
        sent: whether it is to be sent, and must be without errors then; one that the sensor runs already need only
            tell period and chirps.

    Raises:
        ConfigError: with file and line of each error.
    """
    from nodes.devices.ti.config import ConfigError, check, figures, load_config

    config = load_config(Path(path))
    if not sent:
        figures(config, device)
        return config
    errors = [finding.text for finding in check(config, device) if finding.severity == "error"]
    if errors:
        raise ConfigError("; ".join(errors))
    return config


def run(params: Params, context: NodeContext) -> None:
    """Publish points until the graph stops.

    Raises:
        RequestError: in a ``data`` session, or if a port may not be opened.
    """
    if context.session.time == "data":
        raise RequestError(
            f"node {context.name!r}: a sensor follows the clock; set session.time: live, or replay a recorded session"
        )
    config = None if params.cfg is None else read_config(params.cfg, _device(params), sent=params.configure)
    if config is not None:
        _tell_of(config, params, context)
    system = open_system(params, config, context)
    try:
        _warn_of_profile(context)
        context.ready()
        system.begin(context.clock.now_ns())
        reported_ns = asked_ns = 0
        while not context.stopping:
            for shot in system.step(context.clock.now_ns, WAIT_S):
                _publish(shot, context)
            now_ns = context.clock.now_ns()
            if now_ns - asked_ns >= ASK_NS:
                asked_ns = now_ns
                context.receive(0.0)
            if now_ns - reported_ns >= REPORT_NS:
                reported_ns = now_ns
                # All at once: health must not be read half-way.
                context.counters = system.counters(now_ns)
    finally:
        system.close(context.clock.now_ns)


def _publish(shot: Shot, context: NodeContext) -> None:
    from fusion.records import RadarPoints

    frame = shot.frame
    record = RadarPoints(
        measured_ns=shot.measured_ns,
        received_ns=shot.received_ns,
        radar=context.name,
        frame=frame.number,
        positions_m=frame.positions_m,
        radial_velocities_m_s=frame.radial_velocities_m_s,
        snrs_db=frame.snrs_db,
    )
    context.publish(f"{context.name}/points", record)


def _tell_of(config: TiConfig, params: Params, context: NodeContext) -> None:
    """What the configuration makes the sensor measure, and what is doubtful about it."""
    from nodes.devices.ti.config import check, figures

    device = _device(params)
    for line in figures(config, device).lines():
        context.log.info("%s: %s", context.name, line)
    for finding in check(config, device):
        if finding.severity != "note":
            context.log.warning("%s", finding.text)


def _device(params: Params) -> Device | None:
    from nodes.devices.ti.config import device_named

    return None if params.device is None else device_named(params.device)


def _warn_of_profile(context: NodeContext) -> None:
    """Say that fusion will not know where the radar is."""
    if context.session.profile is None:
        return
    from calibration.profile import load_profile

    known = [mount.name for mount in load_profile(context.session.profile).radars]
    if context.name not in known:
        context.log.warning(
            "profile %s does not say where radar %s is (it has: %s); fusion will not use it until it does: "
            "kinefuse calibrate radar, or give the node the radar's name",
            context.session.profile,
            context.name,
            ", ".join(known) or "none",
        )


def open_system(params: Params, config: TiConfig | None, context: NodeContext) -> RadarSystem:
    """The sensor that the parameters ask for, its ports opened where they are there.

    Raises:
        RequestError: if a port may not be opened.
    """
    from nodes.devices.ports import Port, open_source
    from nodes.devices.ti.clock import RadarClock
    from nodes.devices.ti.config import figures
    from nodes.devices.ti.control import Control
    from nodes.devices.ti.frames import TiDecoder
    from nodes.devices.ti.line import DataLine
    from nodes.devices.ti.system import RadarSystem

    def port(name: str, baud: int) -> Port:
        return Port(name, lambda: open_source(name, baud, ""), baud)

    derived = None if config is None else figures(config, _device(params))
    sub_frames = 1 if config is None else max(1, len(config.frames))
    period_s = None if config is None or config.period_s is None else config.period_s / sub_frames
    control = None
    if params.configure and params.cli_port is not None and config is not None:
        control = Control(port(params.cli_port, params.cli_baud), config, context.log.warning)
    decoder = TiDecoder(params.layout, None if derived is None else derived.doppler_bin_m_s)
    now_ns = context.clock.now_ns()
    system = RadarSystem(
        context.name,
        DataLine(port(params.data_port, params.data_baud), decoder, params.data_baud),
        control,
        config,
        RadarClock(period_s, 0.0 if derived is None else derived.active_s),
        delay_s=params.delay_s,
        now_ns=now_ns,
        say=context.log.warning,
        present=ports_here,
    )
    try:
        _open_ports(system, context, now_ns)
    except RequestError:
        system.close(context.clock.now_ns)
        raise
    return system


def _open_ports(system: RadarSystem, context: NodeContext, now_ns: int) -> None:
    """Try each port once; what will not pass by itself ends the node."""
    system.line.port.read(now_ns)
    if system.control is not None:
        system.control.port.read(now_ns)
    for port, key in system.ports:
        if port.error is not None and port.error.trouble in _FATAL:
            raise RequestError(f"node {context.name!r}: {system.trouble(port, key).message}")


def ports_here() -> tuple[str, ...]:
    """Serial ports that this machine lists."""
    from serial.tools import list_ports

    return tuple(sorted(port.device for port in list_ports.comports()))
