"""A node's operating-system process: started in a group of its own, ended with the whole group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import nodes
from nodes.graph.logs import LiveLog, follow
from nodes.graph.protocol import LAUNCH_VARIABLE, NodeLaunch

OUTPUT_WAIT_S = 1.0
_KEPT_LINES = 20
_REPOSITORY = str(Path(nodes.__file__).resolve().parents[1])
_THREAD_CAPS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Child:
    """One life of a node."""

    def __init__(self, launch: NodeLaunch, folder: Path, log: LiveLog) -> None:
        """Start the process. ``folder`` is private to this user."""
        path = folder / f"{launch.node}.json"
        _write_private(path, launch.model_dump_json())
        self.last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._node = launch.node
        self._log = log
        self._process = subprocess.Popen(
            # The name tells processes apart in ps; the process itself reads the file.
            [sys.executable, "-P", "-m", "nodes.process", launch.node],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=child_environment(os.environ, path),
            start_new_session=sys.platform != "win32",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        assert self._process.stdout is not None
        self._reader: threading.Thread = follow(self._process.stdout, self._take_line)

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code (minus the signal's number), or None while it runs.

        What the process has left behind in its group is ended with it, before
        the system may give the group's number to somebody else.
        """
        if self._process.returncode is None and _has_exited(self.pid):
            self.kill()
        return self._process.poll()

    def terminate(self) -> None:
        """Ask the process, not its helpers, to end."""
        with contextlib.suppress(OSError):
            self._process.terminate()

    def kill(self) -> None:
        """End the process and everything it has started, at once."""
        if sys.platform == "win32":
            with contextlib.suppress(OSError):
                self._process.kill()
            return
        if self._process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """After its end: read the rest of its output."""
        self._reader.join(timeout=OUTPUT_WAIT_S)

    def _take_line(self, level: str, text: str) -> None:
        self.last_lines.append(text)
        self._log.write(self._node, level, text)


def child_environment(environment: Mapping[str, str], launch_path: Path) -> dict[str, str]:
    """The node's environment: ours, the launch file, our packages' folder, one thread per library."""
    search = [_REPOSITORY, environment.get("PYTHONPATH", "")]
    return {
        **dict.fromkeys(_THREAD_CAPS, "1"),
        "PYTHONUNBUFFERED": "1",
        **environment,
        "PYTHONPATH": os.pathsep.join(filter(None, search)),
        LAUNCH_VARIABLE: str(launch_path),
    }


def _has_exited(pid: int) -> bool:
    """Whether the process has ended, without taking its exit code."""
    if not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def exit_text(code: int) -> str:
    """``exit code 1`` or ``signal SIGKILL``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
