"""The command line: ``kinefuse COMMAND …``.

Only the module of the command that was asked for is imported. Exit codes: 0
done, 1 failed, 2 the request was wrong. A wrong request is answered with one
message on stderr, never with a traceback; ``KINEFUSE_TRACE=1`` adds one.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nodes.errors import RequestError, suggestion

DONE, FAILED, WRONG_REQUEST = 0, 1, 2
TRACE_VARIABLE = "KINEFUSE_TRACE"


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table of commands."""

    name: str
    module: str
    about: str


COMMANDS: tuple[Command, ...] = (
    Command("run", "nodes.commands.run", "run a graph"),
    Command("check", "nodes.commands.check", "check a graph file, or print the schema for editors"),
    Command("demo", "nodes.commands.demo", "run the simulated lab and say how well it was followed"),
    Command("record", "nodes.commands.record", "run a graph and record it"),
    Command("replay", "nodes.commands.replay", "publish a recorded session again, through a graph if one is given"),
    Command("smooth", "nodes.commands.smooth", "smooth a recorded session as a whole"),
    Command("view", "nodes.commands.view", "look at a running graph"),
    Command("session", "nodes.commands.session", "look at, cut or repair a session file"),
    Command("calibrate", "nodes.commands.calibrate", "make or convert a profile"),
    Command("evaluate", "nodes.commands.evaluate", "compare a session with the truth"),
    Command("import", "nodes.commands.import_", "make a session from other software's files"),
    Command("devices", "nodes.commands.devices", "list cameras and ports"),
    Command("doctor", "nodes.commands.doctor", "check this installation"),
    Command("models", "nodes.commands.models", "list or get the models of estimators"),
    Command("train", "nodes.commands.train", "train the networks of the estimators"),
)


class UsageError(RequestError):
    """The words on the command line do not fit."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong and where help is; one message. Options are spelt out, so that a new one breaks no script."""

    def __init__(self, **keys: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **keys})

    def error(self, message: str) -> Any:
        raise UsageError(f"{message} ({self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser(words).parse_args(words)
        return int(options.run(options))
    except SystemExit as error:  # --help and --version
        return error.code if isinstance(error.code, int) else DONE
    except BrokenPipeError:
        # The reader of our output has gone (``| head``); keep Python from saying so at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return _tell("stopped", FAILED)
    except Exception as error:
        return _tell(*_explained(error))


def _explained(error: Exception) -> tuple[str, int]:
    """The message and the exit code for what a command raised."""
    from calibration.tables import CalibrationError
    from fusion.rig import RigError

    if isinstance(error, RequestError):
        return str(error), error.exit_code
    if isinstance(error, RigError | CalibrationError):
        return str(error), WRONG_REQUEST
    if isinstance(error, ModuleNotFoundError):
        return _missing_package(error), WRONG_REQUEST
    if isinstance(
        error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError | FileExistsError
    ):
        return f"{error.filename}: {error.strerror}", WRONG_REQUEST
    if isinstance(error, OSError):
        return f"{error.filename or 'failed'}: {error.strerror or error}", FAILED
    return f"{type(error).__name__}: {error} (this should not happen; {TRACE_VARIABLE}=1 shows where)", FAILED


_EXTRAS = {
    "cv2": "camera",
    "ai_edge_litert": "camera",
    "pyqtgraph": "viewer",
    "PySide6": "viewer",
    "OpenGL": "viewer",
    "serial": "serial",
    "torch": "learning",
}


def _missing_package(error: ModuleNotFoundError) -> str:
    package = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(package)
    remedy = f"pip install 'kinefuse[{extra}]'" if extra else "install kinefuse again"
    return f"the package {package!r} is not installed; {remedy}"


def _tell(message: str, code: int) -> int:
    if os.environ.get(TRACE_VARIABLE):
        traceback.print_exc()
    print(f"kinefuse: {message}" if "\n" not in message else message, file=sys.stderr)
    return code


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser, with the options of the command that was asked for."""
    about = "Live motion capture from cameras, body-worn IMUs and radars."
    parser = _Parser(prog="kinefuse", description=about)
    parser.add_argument("--version", action="version", version=f"kinefuse {_own_version()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    asked = next((word for word in words if not word.startswith("-")), None)
    present = [command for command in COMMANDS if importlib.util.find_spec(command.module) is not None]
    names = [command.name for command in present]
    if asked is not None and asked not in names:
        raise UsageError(f"there is no command {asked!r}{suggestion(asked, names)}; commands: {', '.join(names)}")
    for command in present:
        if command.name == asked:
            _add(subparsers, command)
        else:
            subparsers.add_parser(command.name, help=command.about)
    return parser


def _add(subparsers: Any, command: Command) -> None:
    module = importlib.import_module(command.module)
    add_parser: Callable[[Any], None] = module.add_parser
    add_parser(subparsers)
    for parser in subparsers.choices.values():
        parser.set_defaults(run=module.run)


def _own_version() -> str:
    try:
        return version("kinefuse")
    except PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    raise SystemExit(main())
