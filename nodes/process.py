"""A node's process: ``python -m nodes.process``, started by the launcher.

It reads its ``NodeLaunch``, imports the node's module, runs it, and says how
that went. Exit code 0: ``run`` returned; 1: it raised; 2: its parameters cannot
work (``RequestError``, a missing optional package), so a restart is no use.

It never outlives its launcher: on Linux the kernel sends it SIGTERM when the
launcher dies, and everywhere a supervisor that has been silent for five seconds
makes it stop, by force if it does not within three more.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodes.graph.protocol import NodeLaunch
    from nodes.runtime import NodeRuntime

# One thread per process: a graph already is as many processes as it has nodes.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

FORCE_AFTER_S = 3.0
HUNG_AFTER_S = 20.0
"""The process ends if even its heartbeat thread has not run for so long (a call that never yields the interpreter)."""

LEVEL_MARK = "\x1e"
"""A line ``MARK level MARK text`` on stderr is a log record; any other line is plain output."""

_PR_SET_PDEATHSIG = 1


def main() -> int:
    from nodes.graph.protocol import EXIT_FAILED, EXIT_WRONG_REQUEST, LAUNCH_VARIABLE, NodeLaunch

    faulthandler.enable()
    _log_to_stderr()
    path = os.environ.get(LAUNCH_VARIABLE)
    if path is None:
        print(f"{LAUNCH_VARIABLE} is not set: this module is started by the launcher", file=sys.stderr)
        return EXIT_WRONG_REQUEST
    launch = NodeLaunch.model_validate_json(Path(path).read_text(encoding="utf-8"))
    if not _die_with(launch.parent_pid):
        return EXIT_FAILED
    return run_node(launch)


def run_node(launch: NodeLaunch) -> int:
    """Run the node to its end and return the exit code."""
    from nodes.runtime import NodeRuntime

    guard = _Guard()
    runtime = NodeRuntime(launch, silent=guard.supervisor_silent, each_round=guard.still_running)
    guard.runtime = runtime
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, guard.on_signal)
    runtime.start(os.getpid())
    try:
        module = importlib.import_module(launch.module)
        module.run(module.Params.model_validate(launch.params), runtime)
        runtime.finish()
    except Exception as error:
        return _report(runtime, error)
    return 0


def _report(runtime: NodeRuntime, error: Exception) -> int:
    from pydantic import ValidationError

    from calibration.tables import CalibrationError
    from fusion.rig import RigError
    from nodes.errors import RequestError
    from nodes.graph.protocol import EXIT_FAILED, EXIT_WRONG_REQUEST

    explained = isinstance(error, RequestError | CalibrationError | RigError)
    wrong_request = explained or isinstance(error, ImportError | ValidationError)
    if explained:
        reason = str(error)
        runtime.log.error("%s", reason)
    else:
        reason = _one_line(error)
        runtime.log.error("%s", "".join(traceback.format_exception(error)).rstrip())
    runtime.fail(reason)
    return EXIT_WRONG_REQUEST if wrong_request else EXIT_FAILED


def _one_line(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}{where}"


class _Guard:
    """Ends the process when it is told to, or when nobody is there to tell it."""

    def __init__(self) -> None:
        self.runtime: NodeRuntime | None = None
        self._silent_since_s: float | None = None

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # The second one ends the process.
        if self.runtime is not None:
            self.runtime.stop()

    def supervisor_silent(self) -> None:
        from nodes.graph.clock import steady_ns

        now_s = steady_ns() * 1e-9
        if self._silent_since_s is None:
            self._silent_since_s = now_s
            if self.runtime is not None:
                self.runtime.log.error("the supervisor is gone, stopping")
                self.runtime.stop()
        elif now_s - self._silent_since_s > FORCE_AFTER_S:
            _kill_own_group()

    def still_running(self) -> None:
        # Watched from a thread that needs no interpreter.
        faulthandler.dump_traceback_later(HUNG_AFTER_S, exit=True)


def _kill_own_group() -> None:
    """End this process and the helpers that the node may have started."""
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _die_with(parent_pid: int) -> bool:
    """Ask Linux for SIGTERM when the launcher dies; False if it is dead already."""
    if sys.platform != "linux":
        return True
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    return os.getppid() == parent_pid


class _MarkedLines(logging.Formatter):
    """Each line of a record with its level in front, for the launcher to read."""

    def format(self, record: logging.LogRecord) -> str:
        mark = f"{LEVEL_MARK}{record.levelname}{LEVEL_MARK}"
        return "\n".join(mark + line for line in super().format(record).splitlines())


def _log_to_stderr() -> None:
    handler: logging.StreamHandler[Any] = logging.StreamHandler()
    handler.setFormatter(_MarkedLines("%(message)s"))
    logging.basicConfig(level=os.environ.get("KINEFUSE_LOG_LEVEL", "INFO").upper(), handlers=[handler])
    logging.captureWarnings(True)


if __name__ == "__main__":
    sys.exit(main())
