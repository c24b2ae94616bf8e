"""Weights of our own networks: those that come with Kinefuse, and files of one's own.

Each file ``NAME.npz`` holds the arrays by name and where they are from; the model card ``NAME.md`` beside it tells
the same to people.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from nodes.errors import listed, suggestion
from nodes.models.store import ModelError

META = "meta.json"
"""Name in the file of the text that says where the weights are from."""
MOST_BYTES = 256_000_000
"""A file whose arrays unpack to more is none of ours."""

W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class WeightFiles(Generic[W]):
    """The files of one kind of network."""

    folder: Path
    """Of those that come with this installation."""
    command: str
    """That makes them."""
    about: str
    """What they are, for files that do not say so."""
    unpacked: Callable[[Mapping[str, Any]], W]
    """Weights from a file's arrays; raises a ValueError where they are no such weights."""

    def shipped(self) -> dict[str, Path]:
        """Files that come with this installation, by name."""
        return {path.stem: path for path in sorted(self.folder.glob("*.npz"))}

    def find(self, name: str) -> Path:
        """The file of a name, or the path itself where it ends in ``.npz``.

        Raises:
            ModelError: naming what there is.
        """
        known = self.shipped()
        if name in known:
            return known[name]
        path = Path(name).expanduser()
        if path.suffix == ".npz":
            if not path.is_file():
                raise ModelError(
                    f"network {name}: there is no such file; give a file of {self.command}, or {listed(known)}"
                )
            return path
        raise ModelError(
            f"network {name!r} is not known{suggestion(name, known)}; known: {listed(known)}, or a file NAME.npz"
        )

    def load(self, name: str) -> W:
        """The weights of a name or file.

        Raises:
            ModelError: it is not known, or not a file of such weights; says what is wrong and what to do.
        """
        path = self.find(name)
        try:
            return self.unpacked(self.arrays_of(path))
        except ValueError as error:
            raise ModelError(f"network {path}: {error}; make it with: {self.command}") from error

    def arrays_of(self, path: Path) -> dict[str, Any]:
        """The arrays of a file, float32, whatever network they are of.

        Raises:
            ModelError: it is no such file.
        """
        return self._read(path)[0]

    def describe(self, name: str) -> dict[str, Any]:
        """What ``kinefuse models list`` says of weights.

        Raises:
            ModelError: see ``load``.
        """
        path = self.find(name)
        _, meta = self._read(path)
        return {
            "name": name,
            "about": str(meta.get("about", self.about)),
            "licence": str(meta.get("licence", "not stated")),
            "bytes": path.stat().st_size,
            "present": True,
            "folder": str(path.parent),
        }

    def _read(self, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
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
                f"network {path}: is no file of weights ({error}); make it with: {self.command}"
            ) from error
        return {key: array.astype(np.float32) for key, array in arrays.items()}, meta
