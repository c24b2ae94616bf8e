"""``kinefuse doctor``: whether this installation can work, and what to do where it cannot.

``kinefuse doctor radar`` says the same of a radar.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nodes.commands import doctor_radar
from nodes.commands.arguments import print_json

LEAST_PYTHON = (3, 11)
GL_TIMEOUT_S = 60.0
LEAST_FREE_BYTES = 500_000_000
SOCKET_NAME_LENGTH = 24
"""As long as the names of a run's sockets; the whole path may have 104 to 108 bytes."""

CORE = ("numpy", "numba", "scipy", "zmq", "msgpack", "mcap", "zstandard", "pydantic", "yaml", "tomlkit", "platformdirs")
EXTRAS: dict[str, tuple[str, ...]] = {
    "camera": ("cv2", "ai_edge_litert"),
    "viewer": ("pyqtgraph", "PySide6", "OpenGL"),
    "serial": ("serial",),
}

State = Literal["ok", "missing", "wrong"]

GL_SCRIPT = """
import sys
from PySide6.QtGui import QGuiApplication, QOffscreenSurface, QOpenGLContext
app = QGuiApplication(sys.argv)
context, surface = QOpenGLContext(), QOffscreenSurface()
surface.create()
if not (context.create() and context.makeCurrent(surface)):
    sys.exit("no OpenGL context on platform " + app.platformName())
print(app.platformName(), "OpenGL %d.%d" % (context.format().majorVersion(), context.format().minorVersion()))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    """``ok``; ``missing`` is optional and not there; ``wrong`` keeps the software from working."""
    found: str
    remedy: str = ""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("doctor", help="check this installation", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run, action=None)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action")
    doctor_radar.add_options(
        actions.add_parser("radar", help="why a radar is silent", description=doctor_radar.__doc__)
    )


def run(args: argparse.Namespace) -> int:
    """0 if everything that is needed works, else 1."""
    if args.action == "radar":
        return doctor_radar.run(args)
    findings = [finding for check in CHECKS for finding in check()]
    wrong = [finding for finding in findings if finding.state == "wrong"]
    if args.json:
        print_json({"ok": not wrong, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            print(f"{finding.state:8}{finding.name}: {finding.found}")
            if finding.remedy:
                print(f"{'':8}  {finding.remedy}")
        print("ready" if not wrong else f"{len(wrong)} of {len(findings)} things need attention")
    return 1 if wrong else 0


def check_python() -> list[Finding]:
    """The interpreter itself."""
    found = f"{sys.version.split()[0]} ({sys.executable})"
    if sys.version_info[:2] < LEAST_PYTHON:
        return [Finding("python", "wrong", found, f"install Python {'.'.join(map(str, LEAST_PYTHON))} or newer")]
    return [Finding("python", "ok", found)]


def check_core() -> list[Finding]:
    """Packages without which nothing works."""
    broken = {name: reason for name in CORE if (reason := _import_fault(name)) is not None}
    if broken:
        found = "; ".join(f"{name}: {reason}" for name, reason in broken.items())
        return [Finding("core packages", "wrong", found, "pip install --force-reinstall kinefuse")]
    return [Finding("core packages", "ok", f"{len(CORE)} can be imported")]


def check_extras() -> list[Finding]:
    """Optional packages, by the extra that installs them."""
    return [_check_extra(extra, modules) for extra, modules in EXTRAS.items()]


def _check_extra(extra: str, modules: tuple[str, ...]) -> Finding:
    faults = {name: reason for name in modules if (reason := _import_fault(name)) is not None}
    if not faults:
        return Finding(f"extra {extra}", "ok", ", ".join(modules))
    absent = all(importlib.util.find_spec(name) is None for name in faults)
    found = "; ".join(f"{name}: {reason}" for name, reason in faults.items())
    return Finding(f"extra {extra}", "missing" if absent else "wrong", found, f"pip install 'kinefuse[{extra}]'")


def _import_fault(name: str) -> str | None:
    """Why a module cannot be imported; None if it can."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        return str(error)
    except Exception as error:  # a package that breaks while it is imported is the finding, whatever it raises
        return f"{type(error).__name__}: {error}"
    return None


def check_serial_ports() -> list[Finding]:
    """Whether this user may use the serial ports that are there; sensors on cables and radars need one."""
    from nodes.commands.devices import serial_ports

    ports, remark = serial_ports()
    if remark:
        return []  # Said by the extra already.
    name = "serial ports"
    denied = [str(port["port"]) for port in ports if not port["readable"]]
    if denied:
        remedy = "add yourself to their group and log in again: sudo usermod -a -G dialout $USER (uucp on Arch)"
        return [Finding(name, "missing", f"you may not use {', '.join(denied)}", remedy)]
    found = ", ".join(str(port["port"]) for port in ports) or "none plugged in"
    return [Finding(name, "ok", found)]


def check_gl() -> list[Finding]:
    """Whether a window could draw in 3D; tried in another process, for a wrong driver can abort it."""
    if _import_fault("PySide6") is not None:
        return []
    name = "3D graphics"
    remedy = (
        "the viewer needs a screen and OpenGL: start it in a desktop session, or use --headless; on Debian and Ubuntu: "
        "apt install libgl1 libegl1 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxkbcommon-x11-0"
    )
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return [Finding(name, "missing", "no screen (DISPLAY is not set)", remedy)]
    try:
        done = subprocess.run(
            [sys.executable, "-c", GL_SCRIPT], capture_output=True, text=True, timeout=GL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [Finding(name, "missing", str(error), remedy)]
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        return [Finding(name, "missing", lines[-1], remedy)]
    return [Finding(name, "ok", done.stdout.strip())]


def check_models() -> list[Finding]:
    """Trained networks in the cache."""
    from nodes.models import store

    findings = []
    for card in store.cards().values():
        name = f"model {card.name}"
        if store.is_present(card):
            findings.append(Finding(name, "ok", str(store.model_folder(card))))
        else:
            remedy = f"kinefuse models get {card.name} (needed by keypoints nodes only)"
            findings.append(Finding(name, "missing", f"not in {store.model_folder(card)}", remedy))
    return findings


def check_folders() -> list[Finding]:
    """Folders that every run writes to."""
    from nodes.graph.rundir import RUNTIME_VARIABLE, RunFolderError, runtime_folder
    from nodes.models import store

    remedy = f"set {RUNTIME_VARIABLE} to a folder of yours with a short path on a local disk"
    try:
        folder = runtime_folder()
        _bind_socket(folder)
        sockets = Finding("folder for sockets", "ok", str(folder))
    except (OSError, RunFolderError) as error:
        sockets = Finding("folder for sockets", "wrong", str(error), remedy)
    return [sockets, _check_cache(store.cache_folder(), f"set {store.CACHE_VARIABLE} to a folder of yours")]


def _bind_socket(folder: Path) -> None:
    """Bind a Unix socket under a name as long as those of a run: some disks allow files but no sockets."""
    if sys.platform == "win32":
        return
    import socket

    with tempfile.TemporaryDirectory(prefix="run-doctor-", dir=folder) as scratch:
        path = Path(scratch) / ("s" * SOCKET_NAME_LENGTH)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))


def _check_cache(folder: Path, remedy: str) -> Finding:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryDirectory(prefix="kinefuse-doctor-", dir=existing):
            return Finding("folder for models", "ok", str(folder))
    except OSError as error:
        found = f"{existing} cannot be written: {error.strerror or error}"
        return Finding("folder for models", "wrong", found, remedy)


def check_space() -> list[Finding]:
    """Room for a recording where the command was started."""
    import shutil

    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / 1e9:.1f} GB free in {Path.cwd()}"
    if free < LEAST_FREE_BYTES:
        return [Finding("disk", "wrong", found, "make room, or record to another disk (key path of the recorder)")]
    return [Finding("disk", "ok", found)]


CHECKS: tuple[Callable[[], list[Finding]], ...] = (
    check_python,
    check_core,
    check_extras,
    check_serial_ports,
    check_gl,
    check_models,
    check_folders,
    check_space,
)
