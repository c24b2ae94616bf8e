"""The live log: one readable stream of what all nodes say."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, TextIO

from nodes.process import LEVEL_MARK

MAX_LINE = 2000
"""Characters of one line; what is longer is cut."""

_READ_BYTES = 65536
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_COLOURS = {"DEBUG": "\x1b[2m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}
_PLAIN = "\x1b[0m"
_SHORT = {"WARNING": "WARN", "CRITICAL": "CRIT"}


class LiveLog:
    """Writes lines with time, level and node name. Safe to use from several threads."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._coloured = self._stream.isatty()
        self._lock = threading.Lock()
        self.name_width = len("graph")

    def write(self, node: str, level: str, text: str) -> None:
        """One line; control characters are taken out."""
        stamp = time.strftime("%H:%M:%S") + f".{time.time_ns() // 1_000_000 % 1000:03d}"
        plain = _UNPRINTABLE.sub(" ", text)
        cut = plain if len(plain) <= MAX_LINE else plain[:MAX_LINE] + " …"
        line = f"{stamp} {_SHORT.get(level, level):5} {node:{self.name_width}} {cut.rstrip()}"
        if self._coloured and level in _COLOURS:
            line = f"{_COLOURS[level]}{line}{_PLAIN}"
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                return  # The terminal is gone; the graph goes on.

    def info(self, text: str) -> None:
        self.write("graph", "INFO", text)

    def warning(self, text: str) -> None:
        self.write("graph", "WARNING", text)

    def error(self, text: str) -> None:
        self.write("graph", "ERROR", text)


class LineSplitter:
    """Bytes to lines of bounded length. Pure."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[str]:
        *lines, rest = (self._rest + data).split(b"\n")
        if self._skipping and lines:
            lines, self._skipping = lines[1:], False
        elif self._skipping:
            rest = b""
        if len(rest) > 4 * MAX_LINE:
            lines.append(rest)
            rest, self._skipping = b"", True
        self._rest = rest
        return [line.decode(errors="replace") for line in lines]

    def end(self) -> list[str]:
        rest, self._rest = self._rest, b""
        return [rest.decode(errors="replace")] if rest else []


def split_level(line: str) -> tuple[str, str]:
    """Level and text of a line that a node's process wrote."""
    if line.startswith(LEVEL_MARK):
        level, mark, text = line[1:].partition(LEVEL_MARK)
        if mark:
            return level[:8], text
    return "OUT", line


def follow(pipe: IO[bytes], take: Callable[[str, str], None]) -> threading.Thread:
    """Read a process's output in a thread and hand out each line as (level, text)."""

    def read() -> None:
        splitter = LineSplitter()
        with pipe:
            while data := pipe.read1(_READ_BYTES):  # type: ignore[attr-defined]
                for line in splitter.feed(data):
                    take(*split_level(line))
        for line in splitter.end():
            take(*split_level(line))

    thread = threading.Thread(target=read, name="node-output", daemon=True)
    thread.start()
    return thread
