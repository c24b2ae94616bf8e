"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# CI tries the same cases each time; whoever works on the code gets new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

REPOSITORY = Path(__file__).resolve().parents[1]
DISPLAY_DEADLINE_S = 30.0


@pytest.fixture(scope="session")
def data_pack() -> Path:
    """Folder of real recordings: ``KINEFUSE_DATA``, else ``../shared/data`` beside the checkout."""
    folder = Path(os.environ.get("KINEFUSE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data pack at {folder}; set KINEFUSE_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def virtual_display() -> Iterator[str]:
    """A running Xvfb on a free display; its name such as ``:3``."""
    pytest.importorskip("PySide6", reason="the viewer's packages are not installed (pip install 'kinefuse[viewer]')")
    pytest.importorskip("pyqtgraph", reason="the viewer's packages are not installed (pip install 'kinefuse[viewer]')")
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed (apt install xvfb)")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1920x1200x24", "-nolisten", "tcp"],
        pass_fds=(writing,),
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as numbers:
        number = numbers.readline().strip()
    if not number:
        server.wait(DISPLAY_DEADLINE_S)
        pytest.skip(f"Xvfb did not start (exit code {server.returncode})")
    yield f":{number}"
    server.terminate()
    server.wait(DISPLAY_DEADLINE_S)


@pytest.fixture(scope="session")
def display_environment(virtual_display: str) -> dict[str, str]:
    """Environment for programs that draw on the virtual display with the processor."""
    return {
        **os.environ,
        "DISPLAY": virtual_display,
        "QT_QPA_PLATFORM": "xcb",
        "LIBGL_ALWAYS_SOFTWARE": "1",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests" / "viz")]),
    }
