"""Argument types and output that several commands share."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from typing import Any


def seconds(*, positive: bool = True) -> Callable[[str], float]:
    """An argument type: a finite number of seconds, more than (or from) 0."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0 or (positive and value == 0):
            allowed = "more than 0" if positive else "from 0 on"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds ({allowed}), such as 2.5")
        return value

    return convert


def print_json(values: Any) -> None:
    """One object on stdout; NaN and infinity become null."""
    print(json.dumps(plain(values), indent=2))


def plain(values: Any) -> Any:
    """The same with every number that JSON does not know replaced by None."""
    if isinstance(values, dict):
        return {str(key): plain(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [plain(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values


def say(message: str) -> None:
    """A line for the person, on stderr."""
    print(message, file=sys.stderr)


def print_table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Columns on stdout; the first two to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]
    for row in [headings, *rows]:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
