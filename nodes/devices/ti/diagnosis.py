"""Why a radar is not heard, and what to do about it. Pure: from what was seen to words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nodes.devices.ports import Trouble
from nodes.devices.ti.commands import TiConfig
from nodes.devices.ti.console import Refusal, has_prompt
from nodes.errors import listed

Cause = Literal[
    "port", "exchanged", "no answer", "refused", "stopped", "silent", "baud", "text", "noise", "bandwidth", "lost",
    "no points", "period",
]  # fmt: skip

Key = Literal["data_port", "cli_port"]
"""Of the graph."""

LEAST_FRAMES = 5
FULL_LINE = 0.85
"""Share of the line's bytes from which frames do not fit."""
MUCH_LOST = 0.02
_PRINTABLE = frozenset(range(32, 127)) | {9, 10, 13}
_TEXT_SHARE = 0.95
_LISTED = "kinefuse devices lists the ports"
_CALLED: dict[Key, str] = {
    "cli_port": "'Application/User UART' or 'Enhanced'",
    "data_port": "'Auxiliary Data Port' or 'Standard'",
}
"""What the system calls each port of the usual boards."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that is wrong."""

    cause: Cause
    found: str
    remedy: str

    @property
    def message(self) -> str:
        """Both, for a log."""
        return f"{self.found}. {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineEvidence:
    """What came on the data port within a time."""

    port: str
    baud: int
    seconds: float
    received_bytes: int
    captured: bytes
    """The last of them, a few kB."""
    frames: int
    points: int
    lost: int
    corrupt: int
    period_s: float | None = None
    """Between frames, as the configuration says; None if unknown."""
    observed_s: float | None = None
    """As they come, if that is another one."""
    sends_points: bool = True
    """Whether the configuration asks for points (``guiMonitor``)."""
    removes_clutter: bool = False
    """Whether it removes what stands still (``clutterRemoval``)."""
    started: bool = True
    """Whether the sensor has said that it was started."""

    @property
    def share(self) -> float:
        """Of what the line can carry."""
        return self.received_bytes * 10.0 / self.baud / self.seconds if self.seconds > 0.0 else 0.0

    @property
    def needed(self) -> float:
        """Of what the line can carry, if no frame were lost."""
        return self.share * (self.frames + self.lost) / self.frames if self.frames else self.share


def port_trouble(port: str, key: Key, trouble: Trouble, error: str, present: tuple[str, ...]) -> Diagnosis:
    """A port that cannot be opened.

    Args:
        port: its name.
        key: of the graph that names it.
        trouble, error: as ``nodes.devices.ports`` tells them.
        present: ports that this machine has.
    """
    if trouble == "denied":
        remedy = (
            "Add yourself to the group that owns it (sudo usermod -a -G dialout $USER on Debian and Ubuntu, uucp on "
            "Arch), then log in again"
        )
        return Diagnosis("port", f"{port}: permission denied", remedy)
    if trouble == "busy":
        remedy = "End that program (mmWave Demo Visualizer, UniFlash, a terminal, another graph, ModemManager)"
        return Diagnosis("port", f"{port}: another program holds it", remedy)
    if trouble == "package":
        return Diagnosis("port", f"{port}: pyserial is not installed", "Install it: pip install 'kinefuse[serial]'")
    if trouble == "absent":
        remedy = (
            f"Plug the sensor in and give it power, or correct {key} ({_LISTED}; this one is called {_CALLED[key]}). "
            f"Ports here: {listed(present)}"
        )
        return Diagnosis("port", f"{port}: there is no such port now", remedy)
    return Diagnosis("port", f"{port}: cannot be opened: {error}", "Unplug the sensor and plug it in again")


def no_answer(port: str, baud: int) -> Diagnosis:
    """The command line says nothing."""
    return Diagnosis(
        "no answer",
        f"{port}: the sensor's command line does not answer at {baud} baud",
        "Press its reset button; check that cli_port is the one called 'Application/User UART' or 'Enhanced', not the "
        "data port; that cli_baud is right (115200); that the SOP switches are in functional, not in flashing mode "
        "(SOP0 closed, SOP1 and SOP2 open: see the board's manual); and that a demo of mmWave SDK 3 is in its flash",
    )


def exchanged(cli_port: str, data_port: str, seen: str) -> Diagnosis:
    """Each port is the other one."""
    return Diagnosis("exchanged", seen, f"The ports are exchanged: set cli_port: {data_port} and data_port: {cli_port}")


def refused(refusal: Refusal, cfg: str) -> Diagnosis:
    """The sensor does not take a line, or stops answering at it."""
    command = refusal.command
    where = f"{cfg}:{command.line}" if command.line else "the sensor"
    if not refusal.said:
        return Diagnosis(
            "refused",
            f"{where}: no answer to {command.text!r}, though the sensor answered before",
            "Press its reset button and try again; if it is always this line, it is not one for this firmware",
        )
    said = refusal.said.replace("\r", "")
    remedy = (
        "This firmware does not know the command: use a .cfg made for this demo and SDK version, or take the line out"
        if "not recognized" in said
        else "Correct the line: its numbers must suit this sensor, SDK version and the lines before it"
    )
    return Diagnosis("refused", f"{where}: the sensor refuses {command.text!r}: {said}", remedy)


def diagnose_line(line: LineEvidence) -> Diagnosis | None:
    """The first thing that is wrong with the data port; None if all is well."""
    if not line.received_bytes:
        return _nothing(line)
    if not line.frames:
        return _no_frames(line)
    total = line.frames + line.lost
    if line.needed >= FULL_LINE:
        return Diagnosis(
            "bandwidth",
            f"{line.port}: {100 * line.needed:.0f} % of what {line.baud} baud carry is needed, {line.lost} frames lost",
            "Send less: guiMonitor without heat maps, profiles and noise (-1 1 0 0 0 0 1), a longer frame period, or a "
            "higher threshold in cfarCfg",
        )
    if line.corrupt > line.frames:
        return Diagnosis(
            "noise",
            f"{line.port}: {line.corrupt} of {line.corrupt + line.frames} frames are broken",
            "Let no other program read the port; use a shorter or better cable, and no hub",
        )
    if total >= LEAST_FRAMES and line.lost > max(1.0, MUCH_LOST * total):
        return Diagnosis(
            "lost",
            f"{line.port}: {line.lost} of {total} frames are missing",
            "Let no other program read the port, avoid USB hubs, or give the sensor more time: a longer frame period, "
            "fewer loops in frameCfg",
        )
    return _paced(line) or _no_points(line)


def _nothing(line: LineEvidence) -> Diagnosis:
    found = f"{line.port}: no byte in {line.seconds:.1f} s"
    if line.started:
        return Diagnosis(
            "silent",
            f"{found}, though the sensor says that it is started",
            "Check that data_port is the one called 'Auxiliary Data Port' or 'Standard', of the same sensor; press the "
            "reset button: it may have stopped in a fault (too many loops, points or maps for the frame period)",
        )
    return Diagnosis(
        "stopped",
        found,
        "It is not started, or data_port is not the one called 'Auxiliary Data Port' or 'Standard': set configure: "
        "true with cfg:, or start it with TI's software",
    )


def _no_frames(line: LineEvidence) -> Diagnosis:
    if is_text(line.captured):
        return Diagnosis(
            "text",
            f"{line.port}: {line.received_bytes} bytes of text, no frame",
            "This is a command line, not the data port: exchange cli_port and data_port",
        )
    return Diagnosis(
        "baud",
        f"{line.port}: {line.received_bytes} bytes but no frame (no magic word) at {line.baud} baud",
        "Set data_baud to what the firmware sends (921600; some 1250000 or 3125000), or flash a demo of mmWave SDK 3: "
        "out-of-box, 3D people counting or tracking",
    )


def _paced(line: LineEvidence) -> Diagnosis | None:
    if line.period_s is None or line.observed_s is None:
        return None
    return Diagnosis(
        "period",
        f"{line.port}: frames come every {1e3 * line.observed_s:.0f} ms, frameCfg says {1e3 * line.period_s:.0f} ms",
        "The sensor runs another configuration: set configure: true, or cfg: to the one it runs",
    )


def _no_points(line: LineEvidence) -> Diagnosis | None:
    if line.points or line.frames < LEAST_FRAMES:
        return None
    found = f"{line.port}: {line.frames} frames without a single point"
    if not line.sends_points:
        return Diagnosis("no points", found, "The configuration switches points off: set guiMonitor -1 1 0 0 0 0 1")
    clutter = (
        "clutterRemoval takes away whatever stands still: move in front of the sensor. " if line.removes_clutter else ""
    )
    return Diagnosis(
        "no points",
        found,
        f"{clutter}Else lower the thresholds in cfarCfg, widen aoaFovCfg and cfarFovCfg, and see that nothing of metal "
        "covers the antenna",
    )


def is_text(captured: bytes) -> bool:
    """Whether bytes are a command line's rather than a frame's."""
    if not captured:
        return False
    share = sum(byte in _PRINTABLE for byte in captured) / len(captured)
    return has_prompt(captured.decode("ascii", "replace")) or (len(captured) >= 8 and share >= _TEXT_SHARE)


def asks_for_points(config: TiConfig | None) -> bool:
    """Whether ``guiMonitor`` lets points through, as far as anybody knows."""
    return config is None or not config.monitors or any(monitor.points for monitor in config.monitors)


def removes_clutter(config: TiConfig | None) -> bool:
    """Whether ``clutterRemoval`` takes away what stands still."""
    command = None if config is None else config.first("clutterRemoval")
    return command is not None and command.arguments[-1:] == ("1",)
