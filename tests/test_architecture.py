"""The import arrows hold, and the linter that says so is seen to bite.

The contracts stand in ``pyproject.toml`` under ``tool.importlinter``. Each
planted breach is one file added to a copy of the source; the linter must turn
red at its contract and name the file, while an untouched copy stays green.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROOT_PACKAGES = ("fusion", "nodes", "calibration", "viz")
BROKEN_EXIT_CODE = 1

OUTSIDE = "fusion touches nothing outside"
PURE = "fusion has no clock, socket, file, thread or device"
FUSION_ONLY = "calibration and viz use fusion only"
APART = "calibration and viz do not use each other"
WINDOWLESS = "view models know no window"
LAYERS = "inside fusion the arrows run one way"


class Breach(NamedTuple):
    """A file that must not be, and what the linter has to say about it."""

    contract: str
    path: str
    code: str
    complaint: str


BREACHES = (
    Breach(OUTSIDE, "fusion/maths/planted_nodes.py", "import nodes", "fusion.maths.planted_nodes -> nodes"),
    Breach(
        OUTSIDE,
        "fusion/filter/planted_lazy.py",
        "def late() -> None:\n    from calibration import profile",
        "fusion.filter.planted_lazy -> calibration.profile",
    ),
    Breach(PURE, "fusion/body/planted_clock.py", "from time import monotonic_ns", "fusion.body.planted_clock -> time"),
    Breach(PURE, "fusion/timing/planted_socket.py", "import zmq", "fusion.timing.planted_socket -> zmq"),
    Breach(
        FUSION_ONLY, "calibration/planted_nodes.py", "from nodes import node", "calibration.planted_nodes -> nodes.node"
    ),
    Breach(FUSION_ONLY, "viz/widgets/planted_nodes.py", "import nodes", "viz.widgets.planted_nodes -> nodes"),
    Breach(APART, "viz/planted_calibration.py", "import calibration", "viz.planted_calibration -> calibration"),
    Breach(APART, "calibration/planted_viz.py", "from viz import models", "calibration.planted_viz -> viz.models"),
    Breach(WINDOWLESS, "viz/models/planted_qt.py", "from PySide6 import QtCore", "viz.models.planted_qt -> PySide6"),
    Breach(
        LAYERS, "fusion/body/planted_filter.py", "import fusion.filter", "fusion.body.planted_filter -> fusion.filter"
    ),
    Breach(
        LAYERS,
        "fusion/filter/planted_pipeline.py",
        "from fusion import pipeline",
        "fusion.filter.planted_pipeline -> fusion.pipeline",
    ),
    Breach(
        LAYERS,
        "fusion/estimators/planted_sibling.py",
        "from fusion.filter import state",
        "fusion.estimators.planted_sibling -> fusion.filter.state",
    ),
    Breach(LAYERS, "fusion/maths/planted_body.py", "import fusion.body", "fusion.maths.planted_body -> fusion.body"),
)


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the linter on the packages in a folder, with the contracts of the ``pyproject.toml`` there."""
    pytest.importorskip("importlinter", reason="import-linter is not installed: pip install -e '.[dev]'")
    command = Path(sys.executable).parent / ("lint-imports.exe" if os.name == "nt" else "lint-imports")
    return subprocess.run(
        [str(command), "--no-logo", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "240", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def copy_source(folder: Path) -> Path:
    """The packages and their contracts in a folder of their own."""
    for package in ROOT_PACKAGES:
        shutil.copytree(REPOSITORY / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    return folder


def verdict(output: str, contract: str) -> str:
    """``KEPT`` or ``BROKEN``."""
    line = next(line for line in output.splitlines() if line.startswith(contract + " "))
    return line.removeprefix(contract).split()[0]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def clean(source: Path) -> subprocess.CompletedProcess[str]:
    return lint(source)


@pytest.fixture(scope="module")
def breached(source: Path, clean: object, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter prints once all breaches are planted."""
    folder = tmp_path_factory.mktemp("breached") / "copy"
    shutil.copytree(source, folder)
    for breach in BREACHES:
        (folder / breach.path).write_text(breach.code + "\n", encoding="utf-8")
    result = lint(folder)
    assert result.returncode == BROKEN_EXIT_CODE, result.stdout + result.stderr
    return result.stdout


def contracts() -> list[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    return [contract["name"] for contract in project["tool"]["importlinter"]["contracts"]]


def test_every_contract_is_kept(clean: subprocess.CompletedProcess[str]) -> None:
    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert {name: verdict(clean.stdout, name) for name in contracts()} == dict.fromkeys(contracts(), "KEPT")


def test_no_contract_makes_exceptions() -> None:
    assert "ignore_imports" not in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


def test_every_contract_has_a_planted_breach() -> None:
    assert set(contracts()) == {breach.contract for breach in BREACHES}


@pytest.mark.parametrize("breach", BREACHES, ids=[breach.path for breach in BREACHES])
def test_a_planted_breach_turns_red(breached: str, breach: Breach) -> None:
    assert verdict(breached, breach.contract) == "BROKEN"
    assert breach.complaint in breached


def test_a_module_of_fusion_without_a_place_in_the_layers_turns_red(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(source, folder)
    (folder / "fusion" / "planted_nowhere.py").write_text("", encoding="utf-8")
    result = lint(folder)
    assert result.returncode == BROKEN_EXIT_CODE
    assert verdict(result.stdout, LAYERS) == "BROKEN"
    assert "planted_nowhere" in result.stdout
    assert all(verdict(result.stdout, name) == "KEPT" for name in contracts() if name != LAYERS)
