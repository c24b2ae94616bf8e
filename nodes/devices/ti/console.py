"""The sensor's command line: each line of a configuration is sent and its answer awaited. No I/O here.

The sensor echoes what it is sent, says ``Done``, or ``Error N`` with words before
it, or that it does not know the command, and then shows its prompt. Remarks such
as "Ignored: Sensor is already stopped" come before a ``Done``.

As the command line of TI's mmWave SDK 3 is described; no device was asked.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from nodes.devices.ti.commands import Command

KNOCK_NS = 300_000_000
"""An empty line is answered with the prompt; a sensor that does not do so gets its first command after so long."""
ANSWER_NS = 1_500_000_000
START_NS = 6_000_000_000
"""``sensorStart`` calibrates before it answers."""
TAIL_NS = 250_000_000
"""Words of an error are gathered for so long if no prompt ends them."""
PROMPT_NS = 100_000_000
"""After ``Done`` the prompt is awaited so long at most: before it, bytes fall into the void."""
KEPT_BYTES = 4096
"""Of what the sensor says."""
KEPT_LINES = 8

_PROMPT = re.compile(r"[A-Za-z][\w .-]{0,40}:[/\\]>")
_ERROR = re.compile(r"Error\s+-?\d+\s*$")
_UNKNOWN = "not recognized as a CLI command"
_BANNER = re.compile(r"\*{8,}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a conversation was given up."""

    command: Command
    """Its line is 0 if it is not from a file."""
    said: str
    """What the sensor said; empty if it did not answer."""


@dataclass(slots=True)
class _Answer:
    """What has come since a command was sent."""

    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    failed_ns: int | None = None


class Console:
    """One conversation: commands in order, each once the one before is done."""

    def __init__(self, commands: Sequence[Command], *, knock: bool = True) -> None:
        self.done = not commands
        self.refusal: Refusal | None = None
        self.remarks: list[str] = []
        """What the sensor said besides, such as "Ignored: …"."""
        self.greeted = False
        """Whether anything has been said that a sensor's command line says."""
        self._commands = deque(commands)
        self._knock = knock
        self._sent_ns: int | None = None
        self._free_ns: int | None = None
        """When the last command was done, while its prompt is awaited."""
        self._answer = _Answer()
        self._text = ""

    @property
    def ended(self) -> bool:
        """Nothing more will be sent."""
        return self.done or self.refusal is not None

    @property
    def current(self) -> str:
        """The command whose answer is awaited; empty if there is none."""
        return self._commands[0].text if self._commands and not self._knock else ""

    def step(self, now_ns: int, heard: bytes = b"") -> bytes:
        """Take what the sensor said; returns what to send now."""
        if not self.ended:
            self._hear(heard, now_ns)
        if self.ended:
            return b""
        if self._sent_ns is not None:
            self._wait(now_ns - self._sent_ns, now_ns)
            return b""
        if self._free_ns is not None and now_ns - self._free_ns < PROMPT_NS:
            return b""
        self._sent_ns, self._free_ns = now_ns, None
        self._answer = _Answer()
        return b"\n" if self._knock else self._commands[0].text.encode("ascii", "replace") + b"\n"

    def _wait(self, waited_ns: int, now_ns: int) -> None:
        """End a wait that has been long enough."""
        if self._knock:
            if waited_ns >= KNOCK_NS:
                self._knocked()
            return
        failed_ns = self._answer.failed_ns
        patience_ns = START_NS if self.current.startswith("sensorStart") else ANSWER_NS
        if waited_ns >= patience_ns or (failed_ns is not None and now_ns - failed_ns >= TAIL_NS):
            self._give_up()

    def _hear(self, heard: bytes, now_ns: int) -> None:
        self._text = (self._text + heard.decode("ascii", "replace"))[-KEPT_BYTES:]
        while not self.ended:
            line, found, rest = self._text.partition("\n")
            if not found:
                break
            self._text = rest
            self._take(line, now_ns)
        if not self.ended and (prompt := _PROMPT.search(self._text)) and not self._text[prompt.end() :].strip():
            self._text = ""
            self._prompted()

    def _take(self, line: str, now_ns: int) -> None:
        """A whole line."""
        parts = _PROMPT.split(line)
        if len(parts) > 1:
            self._prompted()
            if self.ended:
                return
        words = parts[-1].strip(" \r\0")
        if not words or self._knock or self._sent_ns is None:
            return
        if words == self.current.strip():
            self.greeted = True  # The echo.
        elif words == "Done":
            self.greeted = True
            self._next(now_ns)
        elif _ERROR.match(words) or _UNKNOWN in words or words.startswith("Error"):
            self.greeted = True
            self._answer.lines.append(words)
            self._answer.failed_ns = now_ns if self._answer.failed_ns is None else self._answer.failed_ns
            if _ERROR.match(words):
                self._give_up()
        else:
            self._answer.lines.append(words)

    def _prompted(self) -> None:
        """The sensor waits for a command."""
        self.greeted = True
        self._free_ns = None
        if self._knock and self._sent_ns is not None:
            self._knocked()
        elif self._answer.failed_ns is not None:
            self._give_up()

    def _knocked(self) -> None:
        """Go on to the first command."""
        self._knock = False
        self._sent_ns = None

    def _next(self, now_ns: int) -> None:
        self.remarks += list(self._answer.lines)[: KEPT_LINES - len(self.remarks)]
        self._commands.popleft()
        self._sent_ns, self._free_ns = None, now_ns
        self._answer = _Answer()
        self.done = not self._commands

    def _give_up(self) -> None:
        self.refusal = Refusal(self._commands[0], "; ".join(self._answer.lines))


def has_prompt(text: str) -> bool:
    """Whether a command line that waits for a command is among what was said."""
    return _PROMPT.search(text) is not None


def says_it_restarted(text: str) -> bool:
    """Whether the banner that a sensor shows when it has power is among what it said."""
    return _BANNER.search(text) is not None
