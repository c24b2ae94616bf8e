"""What the kinds of ``kinefuse train`` have in common: data, limits, checkpoints, devices, a bar."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nodes.errors import RequestError

DATA_VARIABLE = "KINEFUSE_DATA"


def add_going_on(parser: argparse.ArgumentParser, kept: str = "the checkpoint") -> None:
    """Declare what to do with a folder that holds a checkpoint, and ``--json``."""
    parser.add_argument("--resume", action="store_true", help=f"go on from {kept} in OUT")
    parser.add_argument("--overwrite", action="store_true", help="begin anew although OUT holds a checkpoint")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def data_folder(given: Path | None, needed: str, what: str) -> Path:
    """The data pack's folder.

    Args:
        given: on the command line; else the environment names it.
        needed: folder that must be in it.
        what: what that one holds.

    Raises:
        RequestError: none is named, or it lacks the folder.
    """
    named = given or (Path(os.environ[DATA_VARIABLE]) if DATA_VARIABLE in os.environ else None)
    if named is None:
        raise RequestError(f"no data: name the folder that holds {needed}/ with --data, or set {DATA_VARIABLE}")
    if not (named / needed).is_dir():
        raise RequestError(f"{named}: has no folder {needed}/ with {what}; name the folder that does with --data")
    return named


def limited(args: argparse.Namespace, limits: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Values that were given, each within its limits.

    Raises:
        RequestError: a value is out of range; says what is allowed.
    """
    chosen = {name: getattr(args, name) for name in limits if getattr(args, name) is not None}
    for name, value in chosen.items():
        low, high = limits[name]
        if not low <= value <= high:
            raise RequestError(f"--{name.replace('_', '-')}: {value}, allowed {low} to {high}")
    return chosen


def refuse_checkpoint(args: argparse.Namespace, name: str) -> None:
    """Take no folder of another run without being told to.

    Raises:
        RequestError: OUT holds a checkpoint, and nothing says what to do with it.
    """
    if (args.out / name).exists() and not (args.resume or args.overwrite):
        raise RequestError(
            f"{args.out} holds a checkpoint; go on from it with --resume, begin anew with --overwrite, "
            "or name another folder"
        )


@contextmanager
def learning() -> Iterator[None]:
    """For imports of what trains.

    Raises:
        RequestError: a package is missing; names the extra that brings it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise RequestError(
            f"training needs {error.name}, which is not installed: pip install 'kinefuse[learning]'"
        ) from error


@contextmanager
def told() -> Iterator[None]:
    """For training itself.

    Raises:
        RequestError: instead of the file that is not there and of values that cannot be.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise RequestError(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise RequestError(str(error)) from error


def device(name: str) -> str:
    """What torch is to run on; ``auto`` is cuda where there is one.

    Raises:
        RequestError: it cannot be used.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise RequestError(
            f"--device {name!r} cannot be used: {str(error).splitlines()[0]}; try cpu or auto"
        ) from error
    return name


class Bar:
    """A bar on stderr."""

    def __init__(self, name: str = "training", steps: int | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn(name),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("", total=steps)

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, done: int, total: int | None = None, text: str = "") -> None:
        """How much is done, of what, and how it goes."""
        self._bar.update(self._task, completed=done, total=total, description=text)

    def print(self, line: str) -> None:
        """A line above it that stays."""
        self._bar.console.print(line)
