"""Reading tables of a TOML file so that every fault is named: file, key, value, what is allowed, what to do."""

from __future__ import annotations

import difflib
import math
import os
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fusion.records import Float64

LARGEST_FILE_BYTES = 16 * 1024 * 1024
"""No calibration is larger; whatever is, is another kind of file."""


class CalibrationError(ValueError):
    """A calibration or profile file that cannot be used; the message names place, value and remedy."""


class Table:
    """A table of a file with its place, so that an error can say where it is.

    Args:
        values: the table as ``tomllib`` gives it.
        file: the file it is from.
        key: dotted key of the table, empty for the whole file.
    """

    def __init__(self, values: Mapping[str, Any], file: Path, key: str = "") -> None:
        self.values = values
        self.file = file
        self.key = key

    def place(self, key: str = "") -> str:
        """``FILE: dotted.key``."""
        dotted = ".".join(part for part in (self.key, key) if part)
        return f"{self.file}: {dotted}" if dotted else str(self.file)

    def error(self, key: str, message: str) -> CalibrationError:
        """The error to raise for a key."""
        return CalibrationError(f"{self.place(key)}: {message}")

    def only(self, allowed: Iterable[str]) -> None:
        """Refuse keys that are not among those allowed.

        Raises:
            CalibrationError: naming the key, the nearest spelling and those allowed.
        """
        known = list(allowed)
        for key in self.values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise self.error(key, f"unknown key{hint}; allowed: {', '.join(known)}")

    def child(self, key: str) -> Table:
        """A table within this one; an empty one if there is none."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"{value!r}, expected a table [{key}]")
        return Table(value, self.file, ".".join(part for part in (self.key, key) if part))

    def children(self) -> list[tuple[str, Table]]:
        """All tables in this one, in the order of the file."""
        return [(key, self.child(key)) for key in self.values]

    def numbers(self, key: str, *shapes: tuple[int, ...]) -> Float64:
        """An array of finite numbers that has one of the shapes."""
        expected = " or ".join("x".join(map(str, shape)) for shape in shapes) + " finite numbers"
        if key not in self.values:
            raise self.error(key, f"missing; expected {expected}")
        value = self.values[key]
        if not _all_numbers(value):
            raise self.error(key, f"{value!r}, expected {expected}")
        try:
            array = np.asarray(value, dtype=np.float64)
        except (ValueError, OverflowError) as error:
            raise self.error(key, f"{value!r}, expected {expected}") from error
        if array.shape not in shapes or not np.isfinite(array).all():
            raise self.error(key, f"{value!r}, expected {expected}")
        return array

    def number(self, key: str, default: float, *, low: float = -math.inf, high: float = math.inf) -> float:
        """One number within limits (both included)."""
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, f"{value!r}, expected a number")
        if key in self.values and not (math.isfinite(value) and low <= value <= high):
            raise self.error(key, f"{value!r}, expected a finite number from {low:g} to {high:g}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"{value!r}, expected true or false")
        return value

    def text(self, key: str, default: str) -> str:
        """A string."""
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.error(key, f"{value!r}, expected a text in quotes")
        return value

    def size(self, key: str) -> tuple[int, int]:
        """Width and height in whole pixels; writers of this field differ in int or float."""
        width, height = self.numbers(key, (2,)).tolist()
        if width != round(width) or height != round(height) or min(width, height) < 1:
            raise self.error(key, f"{self.values[key]!r}, expected [width, height] in whole pixels above 0")
        return round(width), round(height)


def _all_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return all(_all_numbers(item) for item in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_text(file: Path) -> str:
    """Text of a calibration file.

    Raises:
        CalibrationError: if it cannot be read, is too large or is no UTF-8 text.
    """
    try:
        if file.stat().st_size > LARGEST_FILE_BYTES:
            raise CalibrationError(f"{file}: larger than {LARGEST_FILE_BYTES} bytes, so not a calibration file")
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise CalibrationError(f"{file}: no such file; check the path") from error
    except OSError as error:
        raise CalibrationError(f"{file}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise CalibrationError(f"{file}: not a text file (byte {error.start} is not UTF-8)") from error


def parse_toml(text: str, file: Path) -> Table:
    """The whole file as a table.

    Raises:
        CalibrationError: with the line and column of the fault.
    """
    try:
        return Table(tomllib.loads(text), file)
    except tomllib.TOMLDecodeError as error:
        raise CalibrationError(f"{file}: not valid TOML: {error}") from error


def write_text(file: Path, text: str, *, overwrite: bool) -> None:
    """Write a file so that its name has the old content or the whole new one, never a part.

    Raises:
        CalibrationError: if it exists and ``overwrite`` is false, or if it cannot be written.
    """
    if file.exists() and not overwrite:
        raise CalibrationError(f"{file}: exists already; choose another name or allow overwriting (--overwrite)")
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".tmp", dir=file.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        _install(Path(temporary), file, overwrite)
    except OSError as error:
        raise CalibrationError(f"{file}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    _sync_folder(file.parent)


def _install(temporary: Path, file: Path, overwrite: bool) -> None:
    if overwrite or os.name == "nt":
        os.replace(temporary, file)
        return
    try:
        os.link(temporary, file)  # unlike a rename, it fails if somebody made the file meanwhile
    except FileExistsError as error:
        raise CalibrationError(f"{file}: exists already; choose another name or allow overwriting") from error
    except OSError:
        os.replace(temporary, file)  # file systems without hard links


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last through a power cut, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
