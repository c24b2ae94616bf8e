"""What is wrong or worth knowing about a ``.cfg`` before it is sent.

Source: TI, "mmWave SDK User Guide", chapter "Configuration (.cfg) File Format": mandatory commands, their limits and
the rule of half the time for chirps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from nodes.devices.ti.commands import KNOWN, FrameTiming, Profile, TiConfig
from nodes.devices.ti.figures import (
    DATA_BYTES_S,
    TYPICAL_POINTS,
    Device,
    Figures,
    figures,
    guess_device,
    sends_as_sdk_1,
)
from nodes.errors import shown, suggestion

Severity = Literal["error", "warning", "note"]

NEEDED = ("dfeDataOutputMode", "channelCfg", "adcCfg", "adcbufCfg", "profileCfg", "chirpCfg")
"""No demo starts without these."""
NEEDED_OUT_OF_BOX = (
    "guiMonitor", "cfarCfg", "multiObjBeamForming", "calibDcRangeSig", "clutterRemoval", "aoaFovCfg", "cfarFovCfg",
    "compRangeBiasAndRxChanPhase", "measureRangeBiasAndRxChanPhase", "extendedMaxVelocity", "CQRxSatMonitor",
    "CQSigImgMonitor", "analogMonitor", "lvdsStreamCfg",
)  # fmt: skip
"""And the out-of-box demo of SDK 3 not without these."""
FRAMES, ADVANCED_FRAMES = 1, 3
MOST_DUTY = 0.5
NARROW_RANGE_M = 2.0
SLOW_M_S = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a ``.cfg``."""

    severity: Severity
    """error: the sensor will refuse it or stay silent; warning: it will run, but badly; note: good to know."""
    line: int | None
    """None for what concerns the whole file."""
    text: str
    """With file, line, value, what is allowed and what to do."""


def check(config: TiConfig, device: Device | None = None) -> tuple[Finding, ...]:
    """All findings, errors first; none raises.

    Args:
        config: as parsed.
        device: None to guess by the frequency.
    """
    chosen = guess_device(config) if device is None else device
    judge = _Judge(config, chosen)
    found = [finding for part in judge.parts() for finding in part]
    order: dict[str, int] = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(found, key=lambda finding: (order[finding.severity], finding.line or 0)))


class _Judge:
    """One configuration under check."""

    def __init__(self, config: TiConfig, device: Device) -> None:
        self.config = config
        self.device = device

    def parts(self) -> Iterator[Iterator[Finding]]:
        """Groups of findings."""
        yield self.order()
        yield self.missing()
        yield self.unknown()
        yield self.mode()
        yield self.channels()
        yield self.profiles()
        for profile in self.config.profiles:
            yield self.profile(profile)
        for frame in self.config.frames:
            yield self.frame(frame)
            yield self.chirps(frame)
            yield self.load(frame)
        yield self.outputs()

    def say(self, severity: Severity, line: int | None, text: str) -> Finding:
        """A finding with its place in front."""
        place = self.config.name if line is None else f"{self.config.name}, line {line}"
        return Finding(severity, line, f"{place}: {text}")

    def order(self) -> Iterator[Finding]:
        """sensorStop, flushCfg, … sensorStart."""
        commands = self.config.commands
        names = [command.name for command in commands]
        for place, name in enumerate(("sensorStop", "flushCfg")):
            if name not in names:
                yield self.say("warning", None, f"no {name}: a sensor that runs refuses the rest; begin with {name}")
            elif names.index(name) != place:
                yield self.say(
                    "warning", commands[names.index(name)].line, f"{name} belongs into place {place + 1}; move it there"
                )
        if "sensorStart" not in names:
            yield self.say("error", None, "no sensorStart: the sensor stays silent; end with sensorStart")
            return
        start = names.index("sensorStart")
        later = commands[start + 1 :]
        if later:
            yield self.say(
                "error", later[0].line, f"{later[0].name} after sensorStart (line {commands[start].line}): a sensor "
                "that runs refuses it; make sensorStart the last line",
            )  # fmt: skip
        if commands[start].arguments[:1] == ("0",):
            yield self.say(
                "warning", commands[start].line, "sensorStart 0 starts with the configuration of before and ignores "
                "this one; write sensorStart",
            )  # fmt: skip
        yield from self._dependencies(names)

    def _dependencies(self, names: list[str]) -> Iterator[Finding]:
        for first, then in (("profileCfg", "chirpCfg"), ("chirpCfg", "frameCfg"), ("channelCfg", "chirpCfg")):
            if first in names and then in names and names.index(first) > names.index(then):
                line = self.config.commands[names.index(then)].line
                yield self.say("error", line, f"{then} before {first}, on which it depends; put it after {first}")

    def missing(self) -> Iterator[Finding]:
        """Commands that the sensor insists on."""
        names = {command.name for command in self.config.commands}
        for name in NEEDED:
            if name not in names:
                yield self.say("error", None, f"no {name}: the sensor does not start without it; add it")
        if not self.config.tracks_people and not sends_as_sdk_1(self.config):
            lacking = [name for name in NEEDED_OUT_OF_BOX if name not in names]
            if lacking:
                yield self.say(
                    "warning", None, f"no {', '.join(lacking)}: the out-of-box demo of SDK 3 does not start without; "
                    "add them unless the firmware is another",
                )  # fmt: skip
        if not self.config.frames:
            yield self.say("error", None, "no frameCfg: the sensor does not start without it; add it")
        if self.config.named("advFrameCfg") and not self.config.named("subFrameCfg"):
            yield self.say(
                "error", None, "advFrameCfg without subFrameCfg; add one for each sub-frame, or use frameCfg"
            )

    def unknown(self) -> Iterator[Finding]:
        """Names that nobody knows."""
        for command in self.config.commands:
            if command.name not in KNOWN:
                near = suggestion(command.name, KNOWN)
                yield self.say(
                    "warning", command.line, f"unknown command {shown(command.name)}{near}; it is sent as it stands, "
                    "and a sensor that does not know it says so",
                )  # fmt: skip

    def mode(self) -> Iterator[Finding]:
        """Output modes in which the demos send frames."""
        for name, at, allowed, what in (
            ("dfeDataOutputMode", 0, (1.0, 3.0), "1 (frames) or 3 (sub-frames): other modes send no frames"),
            ("adcCfg", 0, (2.0,), "2 (16 bits)"),
            ("adcCfg", 1, (1.0,), "1 (complex): the demos compute with complex samples"),
        ):
            for command in self.config.named(name):
                if float(command.arguments[at]) not in allowed:
                    yield self.say("error", command.line, f"{name} {command.arguments[at]}: allowed {what}; set it")
        mode = self.config.first("dfeDataOutputMode")
        wanted, by = (ADVANCED_FRAMES, "subFrameCfg") if self.config.named("subFrameCfg") else (FRAMES, "frameCfg")
        if mode is not None and float(mode.arguments[0]) in {FRAMES, ADVANCED_FRAMES} - {wanted}:
            yield self.say(
                "error", mode.line, f"dfeDataOutputMode {mode.arguments[0]}, but {by} gives the frames: allowed "
                f"{wanted}; set it",
            )  # fmt: skip
        buffer = self.config.first("adcbufCfg")
        if buffer is not None and float(buffer.arguments[-4]) != 0.0:
            yield self.say(
                "error", buffer.line, f"adcbufCfg format {buffer.arguments[-4]}: allowed 0 (complex); set it"
            )

    def channels(self) -> Iterator[Finding]:
        """Antennas that are there and on."""
        command = self.config.first("channelCfg")
        if command is None:
            return
        there = (1 << self.device.transmitters) - 1
        if self.config.transmitters & ~there:
            yield self.say(
                "error", command.line, f"channelCfg transmitters {self.config.transmitters}: {self.device.name} has "
                f"{self.device.transmitters}, allowed 1 to {there}; clear the other bits",
            )  # fmt: skip
        if self.config.receivers != 15:
            yield self.say(
                "warning", command.line, f"channelCfg receivers {self.config.receivers}: with 15 (all four) angles are "
                "finer; set 15 unless you know why not",
            )  # fmt: skip

    def profiles(self) -> Iterator[Finding]:
        """Chirps name ramps that are there."""
        known = {profile.id for profile in self.config.profiles}
        for chirps in self.config.chirps:
            if chirps.profile not in known:
                yield self.say("error", chirps.line, f"profile {chirps.profile} has no profileCfg; add one")

    def profile(self, profile: Profile) -> Iterator[Finding]:
        """Band, slope and sampling."""
        device = self.device
        if profile.start_ghz < device.least_ghz or profile.end_ghz > device.most_ghz + 0.005:
            yield self.say(
                "error", profile.line, f"profileCfg sweeps {profile.start_ghz:g} to {profile.end_ghz:.2f} GHz: allowed "
                f"{device.least_ghz:g} to {device.most_ghz:g} on {device.name}; lower start, slope or ramp, or name "
                "another device",
            )  # fmt: skip
        if profile.slope_mhz_per_us > device.most_slope_mhz_per_us:
            yield self.say(
                "error", profile.line, f"profileCfg slope {profile.slope_mhz_per_us:g} MHz/µs: allowed up to "
                f"{device.most_slope_mhz_per_us:g} on {device.name}; lower it",
            )  # fmt: skip
        need_us = profile.adc_start_us + profile.samples / profile.rate_ksps * 1e3
        if need_us > profile.ramp_us:
            yield self.say(
                "warning", profile.line, f"profileCfg samples until {need_us:.2f} µs, but the ramp ends at "
                f"{profile.ramp_us:g} µs; take a longer ramp, fewer samples than {profile.samples} or a higher rate "
                f"than {profile.rate_ksps:g} ksps",
            )  # fmt: skip

    def frame(self, frame: FrameTiming) -> Iterator[Finding]:
        """Period, loops, trigger."""
        profile = self.config.profile_of(frame)
        if profile is not None:
            loop_us = (profile.idle_us + profile.ramp_us) * frame.chirps
            active_ms = loop_us * frame.loops * frame.bursts * 1e-3
            if active_ms > frame.period_ms:
                yield self.say(
                    "error", frame.line, f"period {frame.period_ms:g} ms, but {frame.chirps} × {frame.loops} chirps "
                    f"take {active_ms:.1f} ms: allowed from {2 * active_ms:.0f} ms on; take "
                    "a longer period or fewer loops",
                )  # fmt: skip
            elif active_ms > MOST_DUTY * frame.period_ms:
                yield self.say(
                    "warning", frame.line, f"chirps take {active_ms:.1f} of {frame.period_ms:g} ms: TI allows half the "
                    f"time; set the period to {2 * active_ms:.0f} ms or more, or take fewer loops",
                )  # fmt: skip
        if frame.loops % 4:
            yield self.say(
                "warning", frame.line, f"{frame.loops} loops: demos want a multiple of 4, best a power of two"
            )
        if frame.frames:
            yield self.say("warning", frame.line, f"stops after {frame.frames} frames; set the number of frames to 0")
        if frame.trigger == 2:
            yield self.say(
                "warning", frame.line, "trigger 2 waits for a pulse at the sensor's pin for each frame; set 1 unless "
                "one comes",
            )  # fmt: skip

    def chirps(self, frame: FrameTiming) -> Iterator[Finding]:
        """Chirps are defined, by transmitters that are on."""
        masks = self.config.masks(frame)
        if frame.chirps > self.device.transmitters:
            yield self.say(
                "error", frame.line, f"{frame.chirps} chirps a loop: allowed {self.device.transmitters}, one for each "
                f"transmitter of {self.device.name}; the demos know no more",
            )  # fmt: skip
        for chirp, mask in enumerate(masks, start=frame.first_chirp):
            if mask is None:
                yield self.say("error", frame.line, f"chirp {chirp} has no chirpCfg; add one")
            elif mask == 0 or mask & ~self.config.transmitters:
                yield self.say(
                    "error", frame.line, f"chirp {chirp} sends with transmitters {mask}: allowed bits of channelCfg's "
                    f"{self.config.transmitters}; change chirpCfg or channelCfg",
                )  # fmt: skip
        used = [mask for mask in masks if mask]
        if used and len(set(used)) == 1 and frame.chirps > 1:
            yield self.say("warning", frame.line, "all chirps use the same transmitters: angles are no finer for it")

    def load(self, frame: FrameTiming) -> Iterator[Finding]:
        """Memory, data port, and figures that hardly suit a person."""
        if self.config.profile_of(frame) is None or not self.config.receivers:
            return
        values = figures(self.config, self.device, frame)
        cube_kib = 4 * values.range_bins * frame.loops * frame.chirps * values.receivers / 1024
        if cube_kib > self.device.cube_kib:
            yield self.say(
                "warning", frame.line, f"radar cube of {cube_kib:.0f} KiB: {self.device.name} has "
                f"{self.device.cube_kib}; take fewer samples or loops",
            )  # fmt: skip
        yield from self._data_port(values)
        if values.max_range_m < NARROW_RANGE_M:
            yield self.say("warning", frame.line, f"sees {values.max_range_m:.2f} m far: too short for a whole person")
        if values.max_velocity_m_s < SLOW_M_S:
            yield self.say(
                "warning", frame.line, f"speeds beyond ±{values.max_velocity_m_s:.2f} m/s come out wrong, and arms are "
                "faster; take shorter chirps or fewer transmitters",
            )  # fmt: skip

    def _data_port(self, values: Figures) -> Iterator[Finding]:
        if values.data_share <= 0.8:
            return
        monitor = self.config.monitors[0].line if self.config.monitors else None
        yield self.say(
            "warning", monitor, f"about {values.frame_bytes} bytes a frame (with {TYPICAL_POINTS} points) at "
            f"{values.frame_rate_hz:.1f} Hz are {values.bytes_s / 1000:.0f} kB/s: 921600 baud carry "
            f"{DATA_BYTES_S / 1000:.0f}; switch maps and profiles off in guiMonitor, or take a longer period",
        )  # fmt: skip

    def outputs(self) -> Iterator[Finding]:
        """What is sent."""
        for monitor in self.config.monitors:
            if not monitor.points and not self.config.tracks_people:
                yield self.say("error", monitor.line, "guiMonitor sends no detected objects: allowed 1 or 2; set 1")
            elif not monitor.side_info and not self.config.tracks_people:
                yield self.say("note", monitor.line, "no side information, so points have no SNR; set 1 for it")
            if monitor.azimuth_map or monitor.range_doppler:
                yield self.say("note", monitor.line, "heat maps fill the data port and are not used here; set them 0")
        clutter = self.config.first("clutterRemoval")
        if clutter is not None and not self.config.tracks_people:
            if float(clutter.arguments[-1]) == 0.0:
                yield self.say(
                    "warning", clutter.line, "clutterRemoval off: walls and furniture take places among the points; "
                    "set it to 1 to see who moves",
                )  # fmt: skip
            else:
                yield self.say("note", clutter.line, "clutterRemoval on: who stands still fades; others hold the track")
        for command in self.config.named("extendedMaxVelocity"):
            if float(command.arguments[-1]) != 0.0:
                yield self.say(
                    "note", command.line, "extendedMaxVelocity doubles the limit of speed by a guess that fails where "
                    "people overlap",
                )  # fmt: skip
        if self.config.mount is not None:
            line = self.config.named("sensorPosition")[-1].line
            yield self.say(
                "note", line, "sensorPosition turns and lifts the sensor's own targets, not its points; the radar's "
                "pose for fusion comes from the profile",
            )  # fmt: skip
