"""TRC files: named markers over time, as OpenSim and Pose2Sim write them.

Tab-separated text with five head lines; y is up: ``(X, Y, Z)_trc = (Y, Z, X)_world``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusion.records import Float64
from nodes.errors import RequestError, shown

_HEAD_LINES = 5
_UNIT_M = {"m": 1.0, "cm": 0.01, "mm": 0.001}
_MAX_BYTES = 256 * 1024 * 1024


class TrcError(RequestError):
    """A file that is no TRC; the message names file, line and what is expected."""


@dataclass(frozen=True, slots=True, eq=False)
class Trc:
    """The content of a TRC file in our world frame."""

    marker_names: tuple[str, ...]
    times_s: Float64
    """[T] frame number over frame rate, 0 for the first frame."""
    positions_m: Float64
    """[T, M, 3] world, Z up; NaN where a marker is missing."""
    rate_hz: float


def read_trc(path: str | Path) -> Trc:
    """Read a TRC file.

    Raises:
        TrcError: naming file, line, value and what is expected.
    """
    file = Path(path)
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise TrcError(f"{file}: {file.stat().st_size} bytes, expected at most {_MAX_BYTES}")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise TrcError(f"{file}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TrcError(f"{file}: is no text, expected a TRC file") from error
    return parse_trc(text, str(file))


def parse_trc(text: str, name: str) -> Trc:
    """The content of a TRC file's text; ``name`` stands in messages. Raises as ``read_trc``."""
    lines = text.splitlines()
    if len(lines) <= _HEAD_LINES or not lines[0].startswith("PathFileType"):
        raise TrcError(
            f"{name}:1: no TRC: expected a first line 'PathFileType 4 (X/Y/Z) …' and {_HEAD_LINES} head lines"
        )
    head = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=False))
    rate = _number(head.get("DataRate", ""), f"{name}:3", "DataRate")
    if not rate > 0.0:
        raise TrcError(f"{name}:3: DataRate {rate:g}, expected frames a second, more than 0")
    unit = head.get("Units", "").strip()
    if unit not in _UNIT_M:
        raise TrcError(f"{name}:3: Units {shown(unit)}, allowed: {', '.join(_UNIT_M)}")
    markers = tuple(cell.strip() for cell in lines[3].split("\t")[2:] if cell.strip())
    if not markers:
        raise TrcError(f"{name}:4: no marker names, expected them from the third column on, three columns apart")
    rows = [
        _row(line, len(markers), f"{name}:{number}") for number, line in enumerate(lines, 1) if _is_data(number, line)
    ]
    if not rows:
        raise TrcError(f"{name}:{_HEAD_LINES + 1}: no frames")
    table = np.array(rows)
    # Frame numbers begin at 0 or at 1, depending on the writer.
    frames = table[:, 0] - min(table[0, 0], 1.0)
    if (np.diff(frames) <= 0).any():
        at = int(np.argmax(np.diff(frames) <= 0))
        raise TrcError(f"{name}: frame {table[at + 1, 0]:g} follows frame {table[at, 0]:g}, expected rising numbers")
    points = table[:, 2:].reshape(len(table), len(markers), 3) * _UNIT_M[unit]
    return Trc(
        marker_names=markers,
        times_s=frames / rate,
        positions_m=points[..., [2, 0, 1]],
        rate_hz=rate,
    )


def _is_data(number: int, line: str) -> bool:
    return number > _HEAD_LINES and bool(line.strip())


def _row(line: str, markers: int, place: str) -> list[float]:
    cells = line.rstrip("\r\n").split("\t")
    wanted = 2 + 3 * markers
    cells = cells[:wanted] + [""] * (wanted - len(cells))
    row = [_number(cell, place, "a coordinate", missing=math.nan) for cell in cells]
    if not math.isfinite(row[0]):
        raise TrcError(f"{place}: no frame number in the first column")
    return row


def _number(cell: str, place: str, what: str, missing: float | None = None) -> float:
    if missing is not None and not cell.strip():
        return missing
    try:
        return float(cell)
    except ValueError:
        raise TrcError(f"{place}: {what} {shown(cell)}, expected a number") from None
