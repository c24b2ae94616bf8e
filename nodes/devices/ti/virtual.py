"""A virtual TI radar: its command line and its frames, without any I/O.

It answers as the out-of-box demo of SDK 3 does: echo, prompt, ``Done``, ``Error``,
remarks; it sends nothing before it is configured and started, and counts frames
from 1 at each start. ``Quirks`` put it into the states in which real sensors are
found silent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nodes.devices.ti import encoder
from nodes.devices.ti.clock import LEAST_PERIOD_S, MOST_PERIOD_S
from nodes.devices.ti.commands import KNOWN, ConfigError, Monitor, parse_config
from nodes.devices.ti.figures import figures
from nodes.devices.ti.payloads import Statistics

PROMPT = "\nmmwDemo:/>"
BANNER = "\r\n" + "*" * 42 + "\r\nxWR68xx MMW Demo 03.05.00.04\r\n" + "*" * 42 + "\r\n" + PROMPT
NOT_CONFIGURED = "Error: Full configuration must be provided before sensor can be started the first time"
DEFAULT_PERIOD_S, DEFAULT_BINS = 0.05, 128
CYCLES_PER_S = 200_000_000
NOISE_DB = 30.0
PROFILE_LOG2 = 9.0
"""Of an empty room in every range bin."""
LONGEST_LINE = 256
NEEDED = ("dfeDataOutputMode", "channelCfg", "adcCfg", "profileCfg", "chirpCfg", "frameCfg")
"""Without these it does not start."""


class Detections(NamedTuple):
    """What a frame holds."""

    time_s: float
    """Since the sensor was started, of the middle of its chirps."""
    positions_m: NDArray[np.float32]
    """[N, 3], radar frame."""
    radial_velocities_m_s: NDArray[np.float32]
    """[N], + is receding."""
    snrs_db: NDArray[np.float32]
    """[N]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """What is wrong with it."""

    mute: bool = False
    """Its command line says nothing: another port, another baud rate, flash mode."""
    refuses: dict[str, str] = field(default_factory=dict)
    """Commands that it refuses, by their first word, and its words."""
    unknown: frozenset[str] = frozenset()
    """Commands that this firmware does not know."""
    sends: str = "frames"
    """``frames``; ``nothing``; ``noise``: bytes without a magic word; ``text``: its command line's."""
    empty: bool = False
    """Frames hold no points."""
    forgets_numbers: float = 0.0
    """Share of frames that it does not finish in time."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says, as far as frames depend on it."""

    period_s: float
    active_s: float
    """How long the chirps take."""
    range_bins: int
    monitor: Monitor | None
    """Which TLVs are wanted; None for points with side info and statistics."""


class VirtualTi:
    """One sensor. It never raises on what it is sent."""

    def __init__(self, quirks: Quirks | None = None) -> None:
        self.quirks = quirks or Quirks()
        self.started = False
        self.starts = 0
        """How often it was started since it has power."""
        self.heard: list[str] = []
        """Commands since the last ``flushCfg``."""
        self._line = ""
        self._ran_before = False
        self._known: Settings | None = None

    def configure(self, text: str) -> None:
        """Take a whole configuration as if it had been sent."""
        for line in text.splitlines():
            self._command(line)

    def power_on(self) -> bytes:
        """Begin anew, as after the reset button; returns what it says then."""
        self.started = self._ran_before = False
        self.heard, self._line = [], ""
        self._known = None
        return b"" if self.quirks.mute else BANNER.encode()

    @property
    def settings(self) -> Settings:
        """What the commands so far ask for."""
        if self._known is None:
            self._known = _settings(self.heard)
        return self._known

    def answer(self, data: bytes) -> bytes:
        """What it says to bytes on its command line."""
        said = ""
        for sign in data.decode("ascii", "replace"):
            if sign in "\r\n":
                line, self._line = self._line, ""
                said += "\r\n" + self._command(line) + PROMPT
            elif len(self._line) < LONGEST_LINE:
                self._line += sign
                said += sign
        return b"" if self.quirks.mute else said.encode()

    def _command(self, line: str) -> str:
        words = line.split()
        if not words or words[0].startswith("%"):
            return ""
        name = words[0]
        if name in self.quirks.refuses:
            return f"{self.quirks.refuses[name]}\r\nError -1\r\n"
        if name in self.quirks.unknown or name not in KNOWN:
            return f"'{name}' is not recognized as a CLI command\r\n"
        if name == "sensorStop":
            remark = "" if self.started else "Ignored: Sensor is already stopped\r\n"
            self.started = False
            return f"{remark}Done\r\n"
        if name == "sensorStart":
            return self._start(again=words[1:2] == ["0"])
        self._known = None
        if name == "flushCfg":
            self.heard.clear()
            return "Done\r\n"
        try:
            parse_config(line, "")
        except ConfigError:
            return "Error: Invalid usage of the CLI command\r\nError -1\r\n"
        self.heard.append(line)
        return "Done\r\n"

    def _start(self, *, again: bool) -> str:
        if self.started:
            return "Ignored: Sensor is already started\r\nDone\r\n"
        have = {line.split()[0] for line in self.heard}
        missing = [name for name in NEEDED if name not in have]
        if missing:
            return f"{NOT_CONFIGURED}\r\nError -1\r\n"
        if again and not self._ran_before:
            return "Error: Sensor has not been started with this configuration\r\nError -1\r\n"
        remark = "" if self._ran_before else "Debug: Init Calibration Status = 0x1ffe\r\n"
        self.started = self._ran_before = True
        self.starts += 1
        return f"{remark}Done\r\n"

    def encode(
        self, number: int, frame: Detections, *, clock_s: float, processing_s: float, transmit_s: float
    ) -> bytes:
        """A frame as the configuration wants it.

        Args:
            number: of the frame, from 1.
            frame: what it holds.
            clock_s: time on the sensor's clock at which it begins to be sent.
            processing_s: from the last chirp until then.
            transmit_s: what sending the frame before it has taken.
        """
        settings, count = self.settings, len(frame.positions_m)
        monitor = settings.monitor
        tlvs: list[encoder.TlvBytes] = []
        if monitor is None or monitor.points:
            tlvs.append(encoder.plain_points(frame.positions_m, frame.radial_velocities_m_s))
        if (monitor is None or monitor.side_info) and count:
            tlvs.append(encoder.side_info(frame.snrs_db, np.full(count, NOISE_DB)))
        if monitor is not None and monitor.range_profile:
            tlvs.append(encoder.profile(np.full(settings.range_bins, PROFILE_LOG2)))
        if monitor is None or monitor.statistics:
            idle_us = max(round(1e6 * (settings.period_s - settings.active_s - processing_s)), 0)
            times = Statistics(round(processing_s * 1e6), round(transmit_s * 1e6), idle_us, 20, 12, 4)
            tlvs.append(encoder.statistics(times))
        return encoder.encode_frame(number, tlvs, objects=count, cpu_cycles=round(clock_s * CYCLES_PER_S))


def _settings(lines: list[str]) -> Settings:
    try:
        config = parse_config("\n".join(lines), "heard")
        derived = figures(config)
    except ConfigError:
        return Settings(DEFAULT_PERIOD_S, 0.0, DEFAULT_BINS, None)
    period_s = min(max(config.period_s or DEFAULT_PERIOD_S, LEAST_PERIOD_S), MOST_PERIOD_S)
    monitor = config.monitors[-1] if config.monitors else None
    return Settings(period_s, min(derived.active_s, period_s), derived.range_bins, monitor)
