"""Where a run keeps its sockets, and how others find it by the session's name.

Each run has a folder of its own, which only this user can enter, in the user's
runtime folder (``KINEFUSE_RUNTIME_DIR`` if set). It holds a lock for as long as
the launcher lives, so a folder whose lock is free is left over and is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import platformdirs

RUNTIME_VARIABLE = "KINEFUSE_RUNTIME_DIR"

_PREFIX = "run-"
_LOCK = "lock"
_SESSION = "session.json"
_MAX_SESSION_BYTES = 64 * 1024


class RunFolderError(RuntimeError):
    """The runtime folder cannot be used safely."""


@dataclass(frozen=True, slots=True)
class RunningSession:
    """A session that somebody can attach to."""

    name: str
    control: str
    """Endpoint that answers directory requests."""
    pid: int
    started_ns: int
    """Time of day."""


def runtime_folder() -> Path:
    """The user's runtime folder for this software, made if it is not there.

    Raises:
        RunFolderError: if it belongs to somebody else or others may enter it.
    """
    chosen = os.environ.get(RUNTIME_VARIABLE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It warns where the system has no such folder and a default is taken.
        folder = Path(chosen) if chosen else Path(platformdirs.user_runtime_dir("kinefuse", appauthor=False))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sys.platform != "win32":
        _refuse_foreign(folder)
    return folder


def _refuse_foreign(folder: Path) -> None:
    about = folder.lstat()
    if about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise RunFolderError(
            f"{folder}: must belong to this user, with mode 0700 "
            f"(has mode {about.st_mode & 0o777:04o}, uid {about.st_uid}); "
            f"correct it with chmod 700, or name another folder in {RUNTIME_VARIABLE}"
        )


class RunFolder:
    """The folder of one run, while it lasts."""

    def __init__(self) -> None:
        """Make it.

        Raises:
            RunFolderError: if the runtime folder cannot be used safely.
        """
        root = runtime_folder()
        remove_left_over(root)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        # Locked before it has its name, so that nobody takes the folder for left over.
        unnamed = self.path / (_LOCK + ".new")
        self._lock = open(unnamed, "wb")  # noqa: SIM115 - held while the run lasts
        _try_lock(self._lock)
        unnamed.replace(self.path / _LOCK)

    def announce(self, session: RunningSession) -> None:
        """Let others find the run."""
        temporary = self.path / (_SESSION + ".new")
        temporary.write_text(json.dumps(asdict(session)), encoding="utf-8")
        temporary.replace(self.path / _SESSION)

    def close(self) -> None:
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


def running_sessions() -> list[RunningSession]:
    """Sessions of this user that run on this machine, the newest first."""
    found = []
    for folder in _run_folders(runtime_folder()):
        session = _read_session(folder / _SESSION)
        if session is not None and not _is_left_over(folder):
            found.append(session)
    return sorted(found, key=lambda session: session.started_ns, reverse=True)


def _read_session(path: Path) -> RunningSession | None:
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(_MAX_SESSION_BYTES))
        session = RunningSession(**value)
    except (OSError, ValueError, TypeError):
        return None
    texts = isinstance(session.name, str) and isinstance(session.control, str)
    return session if texts and isinstance(session.pid, int) and isinstance(session.started_ns, int) else None


def remove_left_over(root: Path) -> None:
    """Remove the folders of runs whose launcher was killed."""
    for folder in _run_folders(root):
        if _is_left_over(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _run_folders(root: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(path for path in root.iterdir() if path.name.startswith(_PREFIX) and path.is_dir())
    return []


def _is_left_over(folder: Path) -> bool:
    try:
        with open(folder / _LOCK, "r+b") as lock:
            return _try_lock(lock)
    except OSError:
        return False  # Just being made, or just removed.


def _try_lock(lock: IO[bytes]) -> bool:
    """Take the lock if it is free; it is free again when the file is closed or its process has ended."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
