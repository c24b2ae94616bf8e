"""Step by step from the ports to the points of a sensor: what works, what does not, and what to do."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from nodes.devices.ports import NS_PER_S, Port, PortError, Source, open_source
from nodes.devices.ti.clock import RadarClock
from nodes.devices.ti.config import ConfigError, Device, TiConfig, check, figures
from nodes.devices.ti.console import Console, has_prompt
from nodes.devices.ti.control import STOP, conversation
from nodes.devices.ti.diagnosis import (
    Diagnosis,
    Key,
    LineEvidence,
    asks_for_points,
    diagnose_line,
    exchanged,
    no_answer,
    port_trouble,
    refused,
    removes_clutter,
)
from nodes.devices.ti.frames import TiDecoder, TiFrame
from nodes.devices.ti.layout import MAGIC
from nodes.devices.ti.line import DataLine

KNOCK_S = 0.4
KNOCKS = 3
OTHER_BAUDS = (921_600, 9_600, 38_400, 57_600, 230_400, 460_800, 1_250_000)
LISTEN_S = 3.0
LISTEN_PERIODS = 12.0
_POLL_S = 0.01

State = Literal["ok", "note", "wrong"]
Opener = Callable[[str, int], Source]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    """``note`` is good to know; ``wrong`` keeps the sensor from working."""
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """What is to be examined."""

    cli_port: str | None = None
    data_port: str | None = None
    config: TiConfig | None = None
    device: Device | None = None
    """None: guessed by the frequency."""
    configure: bool = True
    """Whether it may be set up and started; else it is only listened to."""
    cli_baud: int = 115_200
    data_baud: int = 921_600
    layout: Literal["sdk3", "sdk1", "people48", "doors"] | None = None


@dataclass(slots=True)
class Examination:
    """One sensor under examination; ``findings`` grow as it goes on.

    Args:
        sensor: what is to be examined.
        present: ports that this machine has, for messages.
        opener: opens a port at a baud rate.
    """

    sensor: Sensor
    present: Callable[[], tuple[str, ...]]
    opener: Opener = lambda name, baud: open_source(name, baud, "")
    findings: list[Finding] = field(default_factory=list)
    started: bool = False
    """Whether the sensor was started here; then it is stopped at the end."""

    def run(self, seconds: float | None = None) -> list[Finding]:
        """All steps, as far as each allows the next.

        Args:
            seconds: how long to listen to frames; None for 3 s or twelve periods.
        """
        self._configuration()
        if self.sensor.cli_port is None and self.sensor.data_port is None:
            return self.findings
        ports = [self._port(self.sensor.cli_port, "cli"), self._port(self.sensor.data_port, "data")]
        if all(ports) and self._command_line():
            try:
                self._data(seconds)
            finally:
                self._stop()
        return self.findings

    def _add(self, name: str, state: State, found: str, remedy: str = "") -> None:
        self.findings.append(Finding(name, state, found, remedy))

    def _wrong(self, name: str, diagnosis: Diagnosis) -> None:
        self._add(name, "wrong", diagnosis.found, diagnosis.remedy)

    # ---- the configuration

    def _configuration(self) -> None:
        config, device = self.sensor.config, self.sensor.device
        if config is None:
            return
        worst: State = "ok"
        for finding in check(config, device):
            state: State = "wrong" if finding.severity == "error" else "note"
            worst = state if worst != "wrong" else worst
            self._add("configuration", state, finding.text)
        try:
            lines = figures(config, device).lines()
        except ConfigError:
            return  # That has been found.
        if worst != "wrong":
            self._add("configuration", "ok", f"{config.name}: {len(config.commands)} commands")
        for line in lines:
            name, _, figure = line.partition("  ")
            self._add(name, "ok", figure.strip())

    # ---- the ports

    def _port(self, name: str | None, kind: Literal["cli", "data"]) -> bool:
        """Whether it can be opened, or is not asked for."""
        if name is None:
            return True
        try:
            self._open(name, kind).close()
        except PortError as error:
            self._wrong_port(name, kind, error)
            return False
        self._add(f"{kind} port", "ok", f"{name} can be opened")
        return True

    def _wrong_port(self, name: str, kind: Literal["cli", "data"], error: PortError) -> None:
        key: Key = "cli_port" if kind == "cli" else "data_port"
        self._wrong(f"{kind} port", port_trouble(name, key, error.trouble, str(error), self.present()))

    def _open(self, name: str, kind: Literal["cli", "data"]) -> Source:
        return self.opener(name, self.sensor.cli_baud if kind == "cli" else self.sensor.data_baud)

    # ---- the command line

    def _command_line(self) -> bool:
        """Whether it is worth listening for frames."""
        sensor = self.sensor
        if sensor.cli_port is None:
            return True
        try:
            source = self._open(sensor.cli_port, "cli")
        except PortError as error:
            self._wrong_port(sensor.cli_port, "cli", error)
            return False
        try:
            answered = self._knock(source)
            if answered:
                self._add("command line", "ok", f"{sensor.cli_port} answers at {sensor.cli_baud} baud")
                if sensor.configure and sensor.config is not None:
                    return self._set_up(source, sensor.config)
                return True
        except OSError as error:
            self._wrong_port(sensor.cli_port, "cli", PortError("absent", str(error)))
            return False
        finally:
            source.close()
        self._wrong("command line", self._why_no_answer(sensor.cli_port))
        return not sensor.configure

    def _knock(self, source: Source) -> bool:
        """Whether an empty line is answered with a prompt."""
        heard = b""
        for _ in range(KNOCKS):
            source.write(b"\n")
            heard += _listen(source, KNOCK_S, lambda data: has_prompt(data.decode("ascii", "replace")))
            if has_prompt(heard.decode("ascii", "replace")):
                return True
        return False

    def _why_no_answer(self, cli_port: str) -> Diagnosis:
        """Look for the command line elsewhere."""
        sensor = self.sensor
        if sensor.data_port is not None:
            if self._answers(sensor.data_port, sensor.cli_baud):
                return exchanged(
                    cli_port, sensor.data_port, f"{sensor.data_port}: a command line answers on the data port"
                )
            if self._sends_frames(cli_port):
                return exchanged(cli_port, sensor.data_port, f"{cli_port}: frames come on the port of the command line")
        for baud in OTHER_BAUDS:
            if baud != sensor.cli_baud and self._answers(cli_port, baud):
                found = f"{cli_port}: the command line answers at {baud} baud, not at {sensor.cli_baud}"
                return Diagnosis("no answer", found, f"Set cli_baud: {baud}")
        return no_answer(cli_port, sensor.cli_baud)

    def _answers(self, port: str, baud: int) -> bool:
        try:
            source = self.opener(port, baud)
        except PortError:
            return False
        try:
            source.write(b"\n")
            heard = _listen(source, KNOCK_S, lambda data: has_prompt(data.decode("ascii", "replace")))
            return has_prompt(heard.decode("ascii", "replace"))
        except OSError:
            return False
        finally:
            source.close()

    def _sends_frames(self, port: str) -> bool:
        try:
            source = self.opener(port, self.sensor.data_baud)
        except PortError:
            return False
        try:
            return MAGIC in _listen(source, KNOCK_S, lambda data: MAGIC in data)
        except OSError:
            return False
        finally:
            source.close()

    def _set_up(self, source: Source, config: TiConfig) -> bool:
        """Send the configuration; whether the sensor took it."""
        talk = Console(conversation(config))
        while not talk.ended:
            words = talk.step(time.monotonic_ns(), _listen(source, _POLL_S, bool))
            if words:
                source.write(words)
        if talk.refusal is not None:
            self._wrong("set-up", refused(talk.refusal, config.name))
            return False
        self.started = True
        self._add("set-up", "ok", f"the sensor took {len(config.commands)} lines and was started")
        return True

    def _stop(self) -> None:
        """Leave the sensor as quiet as it was."""
        if not self.started or self.sensor.cli_port is None:
            return
        try:
            source = self._open(self.sensor.cli_port, "cli")
        except PortError:
            return
        try:
            talk = Console([STOP])
            while not talk.ended:
                words = talk.step(time.monotonic_ns(), _listen(source, _POLL_S, bool))
                if words:
                    source.write(words)
        except OSError:
            return  # It has gone.
        finally:
            source.close()

    # ---- frames

    def _data(self, seconds: float | None) -> None:
        sensor, config = self.sensor, self.sensor.config
        if sensor.data_port is None:
            return
        name = sensor.data_port
        period_s = None if config is None else config.period_s
        line = DataLine(
            Port(name, lambda: self._open(name, "data"), sensor.data_baud),
            TiDecoder(sensor.layout),
            sensor.data_baud,
        )
        clock = RadarClock(period_s)
        wanted_s = seconds if seconds is not None else max(LISTEN_S, LISTEN_PERIODS * (period_s or 0.0))
        begun_ns = time.monotonic_ns()
        frames: list[TiFrame] = []
        try:
            while (now_ns := time.monotonic_ns()) - begun_ns < wanted_s * NS_PER_S:
                for arrived in line.read(now_ns):
                    clock.step(arrived.frame.number, arrived.began_ns, None)
                    frames.append(arrived.frame)
                _pause(line.port.descriptor)
        finally:
            line.port.close()
        evidence = LineEvidence(
            port=name,
            baud=sensor.data_baud,
            seconds=wanted_s,
            received_bytes=line.received_bytes,
            captured=line.captured,
            frames=len(frames),
            points=sum(len(frame.positions_m) for frame in frames),
            lost=clock.numbers.lost,
            corrupt=line.decoder.counts.corrupt,
            period_s=period_s,
            observed_s=clock.period.seconds if clock.period.contradicts else None,
            sends_points=asks_for_points(config),
            removes_clutter=removes_clutter(config),
            started=self.started,
        )
        self._judge(evidence, frames, clock)

    def _judge(self, evidence: LineEvidence, frames: list[TiFrame], clock: RadarClock) -> None:
        found = diagnose_line(evidence)
        if found is not None:
            self._wrong("frames" if evidence.frames else "data", found)
        if not frames:
            return
        rate_hz = evidence.frames / evidence.seconds
        last, points = frames[-1], evidence.points / evidence.frames
        parts = (
            f"{evidence.frames} in {evidence.seconds:.1f} s ({rate_hz:.1f} Hz)",
            f"{evidence.lost} lost",
            f"{evidence.corrupt} broken",
            f"{points:.1f} points a frame",
            f"{100 * evidence.share:.0f} % of the line",
            f"head {last.layout}, platform {last.platform:X}, SDK {'.'.join(map(str, last.version))}",
        )
        self._add("frames", "ok", ", ".join(parts))


def _listen(source: Source, seconds: float, enough: Callable[[bytes], bool]) -> bytes:
    """What comes within that time, or until it is enough."""
    heard = b""
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0.0 and not (heard and enough(heard)):
        if source.descriptor is not None:
            select.select([source.descriptor], [], [], left_s)
        else:
            time.sleep(min(_POLL_S, left_s))  # The pace of looking, where the system cannot wait for bytes.
        heard += b"".join(chunk.data for chunk in source.read())
    return heard


def _pause(descriptor: int | None) -> None:
    if descriptor is not None:
        select.select([descriptor], [], [], _POLL_S)
    else:
        time.sleep(_POLL_S)  # As above.
