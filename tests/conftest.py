"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_pack() -> Path:
    """Folder of real recordings: ``KINEFUSE_DATA``, else ``../shared/data`` beside the checkout."""
    folder = Path(os.environ.get("KINEFUSE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data pack at {folder}; set KINEFUSE_DATA to its folder")
    return folder
