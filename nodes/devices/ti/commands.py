"""Text of a ``.cfg`` in commands, and the ones that determine what the sensor measures in numbers.

One command a line, arguments separated by blanks, ``%`` begins a comment.

Source: TI, "mmWave SDK User Guide", chapter "Configuration (.cfg) File Format".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

from nodes.errors import RequestError, shown

LONGEST_LINE = 255
MOST_CHIRPS = 512
RAD_PER_DEG = math.pi / 180.0

ARGUMENTS: dict[str, tuple[int, int]] = {
    "dfeDataOutputMode": (1, 1),
    "channelCfg": (3, 3),
    "adcCfg": (2, 2),
    "adcbufCfg": (4, 5),
    "profileCfg": (14, 14),
    "chirpCfg": (8, 8),
    "frameCfg": (7, 8),
    "advFrameCfg": (5, 5),
    "subFrameCfg": (10, 10),
    "guiMonitor": (3, 12),
    "clutterRemoval": (1, 2),
    "bpmCfg": (4, 4),
    "extendedMaxVelocity": (2, 2),
    "sensorPosition": (3, 5),
    "lvdsStreamCfg": (4, 4),
}
"""Least and most arguments of the commands whose numbers are looked at."""
MONITOR_ARGUMENTS = (6, 7)
"""Of ``guiMonitor`` in the out-of-box demo, SDK 1 and later; labs that have more or fewer mean other things by them."""
OTHERS = frozenset(
    (
        "sensorStop", "sensorStart", "flushCfg", "lowPower", "cfarCfg", "multiObjBeamForming", "calibDcRangeSig",
        "aoaFovCfg", "cfarFovCfg", "compRangeBiasAndRxChanPhase", "measureRangeBiasAndRxChanPhase", "CQRxSatMonitor",
        "CQSigImgMonitor", "analogMonitor", "nearFieldCfg", "calibData", "configDataPort", "version", "help",
        "queryDemoStatus", "peakGrouping", "heatmapCfg", "contModeCfg", "staticBoundaryBox", "boundaryBox",
        "presenceBoundaryBox", "gatingParam", "stateParam", "allocationParam", "maxAcceleration", "trackingCfg",
        "fovCfg", "antGeometry0", "antGeometry1", "antPhaseRot", "dynamicRACfarCfg", "staticRACfarCfg",
        "dynamicRangeAngleCfg", "dynamic2DAngleCfg", "staticRangeAngleCfg", "fineMotionCfg", "idlePowerCfg",
        "microDopplerCfg", "classifierCfg", "sceneryParam", "SceneryParam", "GatingParam", "StateParam",
        "AllocationParam", "doaCfg", "dbscanCfg", "zoneDef", "pointcloudEn", "idleCfg", "vitalSignsCfg",
        "VSRangeIdxCfg", "VSTargetId", "vitalsign", "steeringVecCorr", "rangeSelCfg", "mpdBoundaryArc",
        "mpdBoundaryBox", "cfarSCfg", "motionDetMode", "configGpio", "heatmapEn", "heatmapGenCfg", "staticDetectionCfg",
        "RangeLimitCfg", "VariationParam", "FilterParam", "AccelerationParam", "motionDetection", "trackingEn",
        "baudRate", "changeBaudRate",
    )
)  # fmt: skip
"""Other commands of TI's demos; sent as they stand."""
KNOWN = frozenset((*ARGUMENTS, *OTHERS))
TRACKING = frozenset(("trackingCfg", "staticBoundaryBox", "boundaryBox", "dynamicRACfarCfg", "dynamic2DAngleCfg"))


class ConfigError(RequestError):
    """A ``.cfg`` that cannot be read; the message names file, line, value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Command:
    """One line that goes to the sensor."""

    line: int
    """Its number in the file, from 1."""
    name: str
    arguments: tuple[str, ...]

    @property
    def text(self) -> str:
        """As it is sent, without end of line."""
        return " ".join((self.name, *self.arguments))


@dataclass(frozen=True, slots=True)
class Profile:
    """``profileCfg``: the ramp."""

    line: int
    id: int
    start_ghz: float
    idle_us: float
    adc_start_us: float
    ramp_us: float
    slope_mhz_per_us: float
    samples: int
    rate_ksps: float

    @property
    def end_ghz(self) -> float:
        """Frequency at the end of the ramp."""
        return self.start_ghz + self.slope_mhz_per_us * self.ramp_us * 1e-3


@dataclass(frozen=True, slots=True)
class Chirps:
    """``chirpCfg``: which transmitters send which profile."""

    line: int
    first: int
    last: int
    profile: int
    transmitters: int
    """Bit mask."""


@dataclass(frozen=True, slots=True)
class FrameTiming:
    """``frameCfg``, or ``subFrameCfg`` of an advanced frame."""

    line: int
    first_chirp: int
    last_chirp: int
    loops: int
    frames: int
    """0: without end."""
    period_ms: float
    trigger: int
    """1 software, 2 a pulse at a pin."""
    bursts: int = 1

    @property
    def chirps(self) -> int:
        """In one loop."""
        return self.last_chirp - self.first_chirp + 1


@dataclass(frozen=True, slots=True)
class Monitor:
    """``guiMonitor``: which TLVs are sent."""

    line: int
    points: bool
    side_info: bool
    range_profile: bool
    noise_profile: bool
    azimuth_map: bool
    range_doppler: bool
    statistics: bool


@dataclass(frozen=True, slots=True)
class Mount:
    """``sensorPosition``: where people tracking firmware takes the sensor to be; it turns targets, not points."""

    height_m: float
    azimuth_tilt_rad: float
    elevation_tilt_rad: float
    """+ is downward."""


@dataclass(frozen=True, slots=True)
class TiConfig:
    """A ``.cfg`` as it was read."""

    name: str
    """The file, for messages."""
    commands: tuple[Command, ...]
    profiles: tuple[Profile, ...]
    chirps: tuple[Chirps, ...]
    frames: tuple[FrameTiming, ...]
    """One, or the sub-frames of an advanced frame; none if the command is missing."""
    monitors: tuple[Monitor, ...]
    """None for firmware whose ``guiMonitor`` means other things, or that has none."""
    receivers: int
    """Bit mask of ``channelCfg``; 0 if it is missing."""
    transmitters: int
    """Bit mask of ``channelCfg``; 0 if it is missing."""
    complex_samples: bool
    mount: Mount | None

    @property
    def lines(self) -> tuple[str, ...]:
        """What is sent, in order, without ends of line."""
        return tuple(command.text for command in self.commands)

    @property
    def period_s(self) -> float | None:
        """Time from frame to frame, all sub-frames together; None if no command tells it."""
        return sum(frame.period_ms for frame in self.frames) * 1e-3 or None

    @property
    def tracks_people(self) -> bool:
        """It is for firmware that tracks people."""
        return any(command.name in TRACKING for command in self.commands)

    def named(self, name: str) -> tuple[Command, ...]:
        """All commands of that name, in order."""
        return tuple(command for command in self.commands if command.name == name)

    def first(self, name: str) -> Command | None:
        """The first command of that name."""
        return next(iter(self.named(name)), None)

    def profile_of(self, frame: FrameTiming) -> Profile | None:
        """The ramp of a frame's first chirp."""
        for chirps in self.chirps:
            if chirps.first <= frame.first_chirp <= chirps.last:
                return next((profile for profile in self.profiles if profile.id == chirps.profile), None)
        return None

    def masks(self, frame: FrameTiming) -> tuple[int | None, ...]:
        """Transmitters of each chirp in one loop of a frame; None where no ``chirpCfg`` tells."""
        return tuple(
            next((chirps.transmitters for chirps in self.chirps if chirps.first <= chirp <= chirps.last), None)
            for chirp in range(frame.first_chirp, frame.last_chirp + 1)
        )


def parse_config(text: str, name: str) -> TiConfig:
    """Read the text of a ``.cfg``.

    Args:
        text: of the file.
        name: of the file, for messages.

    Raises:
        ConfigError: if there is no command, or one that is looked at has too few or too many arguments, a word that is
            no number, or one that cannot be.
    """
    commands: list[Command] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        words = line.partition("%")[0].split()
        if words:
            commands.append(Command(number, words[0], tuple(words[1:])))
            _check_text(commands[-1], name)
    if not commands:
        raise ConfigError(f"{name}: no command in it; take a .cfg of TI's demo, or one of those in graphs/radar")
    readers = [_Reader(command, name) for command in commands]
    channels = _last(readers, "channelCfg")
    adc = _last(readers, "adcCfg")
    position = _last(readers, "sensorPosition")
    sub_frames = tuple(_sub_frame(reader) for reader in readers if reader.command.name == "subFrameCfg")
    frames = tuple(_frame(reader) for reader in readers if reader.command.name == "frameCfg")
    config = TiConfig(
        name=name,
        commands=tuple(commands),
        profiles=tuple(_profile(reader) for reader in readers if reader.command.name == "profileCfg"),
        chirps=tuple(_chirps(reader) for reader in readers if reader.command.name == "chirpCfg"),
        frames=sub_frames or frames[-1:],
        monitors=tuple(
            _monitor(reader)
            for reader in readers
            if reader.command.name == "guiMonitor" and len(reader.command.arguments) in MONITOR_ARGUMENTS
        ),
        receivers=0 if channels is None else channels.whole(0, "mask of receivers", 1, 15),
        transmitters=0 if channels is None else channels.whole(1, "mask of transmitters", 1, 7),
        complex_samples=adc is None or adc.whole(1, "output format", 0, 2) != 0,
        mount=None if position is None else _mount(position),
    )
    for reader in readers:  # After those that are told by name.
        if reader.command.name in ARGUMENTS:
            reader.numbers()
    return config


class _Reader:
    """Arguments of a command as numbers."""

    def __init__(self, command: Command, file: str) -> None:
        self.command = command
        self._file = file
        if command.name in ARGUMENTS:
            least, most = ARGUMENTS[command.name]
            if not least <= len(command.arguments) <= most:
                allowed = str(least) if least == most else f"{least} to {most}"
                self.refuse(
                    f"has {len(command.arguments)} arguments: allowed {allowed}; compare the line with the user guide "
                    "of the sensor's SDK"
                )

    def refuse(self, what: str) -> NoReturn:
        """Raise with the place."""
        raise ConfigError(f"{self._file}, line {self.command.line}: {self.command.name} {what}")

    def number(self, at: int, what: str, least: float = -math.inf, most: float = math.inf) -> float:
        """An argument by its place from 0."""
        word = self.command.arguments[at]
        try:
            value = math.nan if "_" in word else float(word)  # A sensor stops reading at the stroke.
        except ValueError:
            value = math.nan
        if not least <= value <= most or math.isinf(value):
            self.refuse(f"{what} (argument {at + 1}) is {shown(word)}: allowed {_range(least, most)}")
        return value

    def whole(self, at: int, what: str, least: int, most: int) -> int:
        """An argument that is a whole number."""
        value = self.number(at, what, least, most)
        if value != int(value):
            self.refuse(f"{what} (argument {at + 1}) is {shown(self.command.arguments[at])}: allowed whole numbers")
        return int(value)

    def numbers(self) -> list[float]:
        """All arguments."""
        return [self.number(at, "a number") for at in range(len(self.command.arguments))]


def _last(readers: list[_Reader], name: str) -> _Reader | None:
    """The last of that name, which is the one that holds."""
    return next((reader for reader in reversed(readers) if reader.command.name == name), None)


def _check_text(command: Command, name: str) -> None:
    place = f"{name}, line {command.line}"
    if not command.text.isascii():
        raise ConfigError(f"{place}: {shown(command.text)} has characters that a sensor does not know: allowed ASCII")
    if len(command.text) > LONGEST_LINE:
        raise ConfigError(f"{place}: {len(command.text)} characters: allowed {LONGEST_LINE}")


def _profile(reader: _Reader) -> Profile:
    return Profile(
        line=reader.command.line,
        id=reader.whole(0, "id", 0, 3),
        start_ghz=reader.number(1, "start frequency in GHz", 57.0, 81.0),
        idle_us=reader.number(2, "idle time in µs", 0.01, 5242.87),
        adc_start_us=reader.number(3, "ADC start time in µs", 0.0, 40.95),
        ramp_us=reader.number(4, "ramp end time in µs", 0.01, 5000.0),
        slope_mhz_per_us=reader.number(7, "frequency slope in MHz/µs", 1e-3, 300.0),
        samples=reader.whole(9, "number of ADC samples", 2, 4096),
        rate_ksps=reader.number(10, "ADC sampling rate in ksps", 1.0, 45_000.0),
    )


def _chirps(reader: _Reader) -> Chirps:
    first = reader.whole(0, "start index", 0, MOST_CHIRPS - 1)
    return Chirps(
        line=reader.command.line,
        first=first,
        last=reader.whole(1, "end index", first, MOST_CHIRPS - 1),
        profile=reader.whole(2, "profile id", 0, 3),
        transmitters=reader.whole(7, "mask of transmitters", 0, 7),
    )


def _frame(reader: _Reader) -> FrameTiming:
    first = reader.whole(0, "first chirp", 0, MOST_CHIRPS - 1)
    return FrameTiming(
        line=reader.command.line,
        first_chirp=first,
        last_chirp=reader.whole(1, "last chirp", first, MOST_CHIRPS - 1),
        loops=reader.whole(2, "number of loops", 1, 255),
        frames=reader.whole(3, "number of frames", 0, 65535),
        period_ms=reader.number(4, "period in ms", 0.3, 1342.0),
        trigger=reader.whole(5, "trigger", 1, 2),
    )


def _sub_frame(reader: _Reader) -> FrameTiming:
    first = reader.whole(2, "first chirp", 0, MOST_CHIRPS - 1)
    return FrameTiming(
        line=reader.command.line,
        first_chirp=first,
        last_chirp=first + reader.whole(3, "number of chirps", 1, MOST_CHIRPS - first) - 1,
        loops=reader.whole(4, "number of loops", 1, 255),
        frames=0,
        period_ms=reader.number(9, "period in ms", 0.3, 1342.0),
        trigger=1,
        bursts=reader.whole(7, "number of bursts", 1, 512) * reader.whole(8, "loops of bursts", 1, 64),
    )


def _monitor(reader: _Reader) -> Monitor:
    skip = 0 if len(reader.command.arguments) == 6 else 1  # SDK 1 has no sub-frame in front.
    points = reader.whole(skip, "detected objects", 0, 2)
    flags = [reader.whole(skip + 1 + at, "flag", 0, 1) != 0 for at in range(5)]
    return Monitor(reader.command.line, points > 0, points == 1 and skip == 1, *flags)


def _mount(reader: _Reader) -> Mount:
    skip = 0 if len(reader.command.arguments) == 3 else len(reader.command.arguments) - 3
    return Mount(
        height_m=reader.number(skip, "height in m", -10.0, 100.0),
        azimuth_tilt_rad=reader.number(skip + 1, "azimuth tilt in degrees", -180.0, 180.0) * RAD_PER_DEG,
        elevation_tilt_rad=reader.number(skip + 2, "elevation tilt in degrees", -180.0, 180.0) * RAD_PER_DEG,
    )


def _range(least: float, most: float) -> str:
    if math.isinf(least) and math.isinf(most):
        return "a number"
    return f"{least:g} to {most:g}"
