"""Sample nodes run as real processes, with a runtime folder of each test's own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# The sample nodes are modules by themselves: a node's process imports them, too.
sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lets node processes import the sample nodes; gives the runtime folder."""
    folder = tmp_path_factory.mktemp("r")
    folder.chmod(0o700)
    monkeypatch.setenv("KINEFUSE_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    return folder
