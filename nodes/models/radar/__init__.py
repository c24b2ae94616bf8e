"""Weights of the network that tells joints from radar points: those that come with Kinefuse, and files of one's own.

Each file ``NAME.npz`` holds the arrays by name (``fusion.estimators.radar.packing``) and where they are from; the
model card ``NAME.md`` beside it tells the same to people. They are made by ``kinefuse train radar``.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.errors import listed, suggestion
from nodes.models.store import ModelError

if TYPE_CHECKING:
    from fusion.estimators.radar.packing import RadarWeights

FOLDER = Path(__file__).resolve().parent
DEFAULT = "radar-points"
META = "meta.json"
"""Name in the file of the text that says where the weights are from."""
MOST_BYTES = 256_000_000
"""A file whose arrays unpack to more is none of ours."""


def shipped() -> dict[str, Path]:
    """Files that come with this installation, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.npz"))}


def find(name: str) -> Path:
    """The file of a name, or the path itself where it ends in ``.npz``.

    Raises:
        ModelError: naming what there is.
    """
    known = shipped()
    if name in known:
        return known[name]
    path = Path(name).expanduser()
    if path.suffix == ".npz":
        if not path.is_file():
            raise ModelError(
                f"network {name}: there is no such file; give a file of kinefuse train radar, or {listed(known)}"
            )
        return path
    raise ModelError(
        f"network {name!r} is not known{suggestion(name, known)}; known: {listed(known)}, or a file NAME.npz"
    )


def load(name: str) -> RadarWeights:
    """The weights of a name or file.

    Raises:
        ModelError: it is not known, or not a file of such weights; says what is wrong and what to do.
    """
    from fusion.estimators.radar.packing import RadarWeights

    path = find(name)
    arrays, _ = _read(path)
    try:
        return RadarWeights.from_arrays(arrays)
    except ValueError as error:
        raise ModelError(f"network {path}: {error} (made by: kinefuse train radar)") from error


def describe(name: str) -> dict[str, Any]:
    """What ``kinefuse models list`` says of weights.

    Raises:
        ModelError: see ``load``.
    """
    path = find(name)
    _, meta = _read(path)
    return {
        "name": name,
        "about": str(meta.get("about", "joints from radar points")),
        "licence": str(meta.get("licence", "not stated")),
        "bytes": path.stat().st_size,
        "present": True,
        "folder": str(path.parent),
    }


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays in float32, and what the file says of itself."""
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(item.file_size for item in archive.infolist())
        if total > MOST_BYTES:
            raise ModelError(f"network {path}: unpacks to {total} bytes, allowed {MOST_BYTES}")
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        meta = json.loads(bytes(arrays.pop(META, np.frombuffer(b"{}", dtype=np.uint8))).decode())
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"network {path}: is no file of weights ({error}); make it with: kinefuse train radar"
        ) from error
    return {key: array.astype(np.float32) for key, array in arrays.items()}, meta
