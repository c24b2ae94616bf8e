"""The weights file: numbers by name, the lattice and the sizes that they belong to, and how far joints are off.

An ``.npz`` without pickled objects; ``meta.json`` in it is text. Reading it needs no torch.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.estimators.radar.tensor_decode import JOINTS, LANDMARK_SET
from fusion.maths.voxels import VoxelGrid
from fusion.records import Array, Float64
from nodes.errors import RequestError, shown

if TYPE_CHECKING:
    from training.radar_tensor.model import TensorNetwork

KIND = "kinefuse radar tensor network"
META = "meta.json"
_FILE_MAX_BYTES = 1024 * 1024 * 1024
_MAKE = "make one with: kinefuse train radar-tensor"


class WeightsError(RequestError):
    """A file that holds no weights of this network; the message says what it is and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """What a weights file holds."""

    file: Path
    sizes: dict[str, Any]
    """Of ``NetworkParams``."""
    grid: VoxelGrid
    sigmas_m: Float64
    """[15, 3] one standard deviation of each joint along the radar's axes, on people that were not learned from."""
    arrays: dict[str, Array]
    """By name in the network's state."""
    about: dict[str, Any]
    """Where they are from."""

    @property
    def doppler(self) -> int:
        """Channels that a tensor has to have."""
        return int(self.sizes["doppler"])


def write_weights(
    file: Path, network: TensorNetwork, grid: VoxelGrid, sigmas_m: Float64, about: Mapping[str, Any]
) -> None:
    """Write a weights file, whole or not at all."""
    from dataclasses import asdict

    meta = {
        "kind": KIND,
        "landmark_set": LANDMARK_SET,
        "sizes": asdict(network.params),
        "grid": {"origin_m": grid.origin_m.tolist(), "steps_m": grid.steps_m.tolist(), "shape": list(grid.shape)},
        "sigmas_m": np.round(sigmas_m, 5).tolist(),
        "about": dict(about),
    }
    arrays = {name: tensor.detach().cpu().float().numpy() for name, tensor in network.state_dict().items()}
    text = np.frombuffer(json.dumps(meta, indent=1).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, **{META: text})  # type: ignore[arg-type]
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".part")
    partial.write_bytes(buffer.getvalue())
    partial.replace(file)


def read_weights(file: Path) -> Weights:
    """Read a weights file.

    Raises:
        WeightsError: it is missing or something else.
    """
    try:
        if file.stat().st_size > _FILE_MAX_BYTES:
            raise WeightsError(f"{file}: {file.stat().st_size} bytes, expected at most {_FILE_MAX_BYTES}")
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise WeightsError(f"{file}: there is no such file; {_MAKE}") from None
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{file}: is no weights file (.npz): {error}; {_MAKE}") from error
    try:
        meta = json.loads(arrays.pop(META).tobytes())
        kind = meta["kind"]
    except (KeyError, TypeError, ValueError):
        kind = None
    if kind != KIND:
        raise WeightsError(f"{file}: kind {shown(kind)}, allowed: {KIND!r}; {_MAKE}")
    return _weights(file, meta, arrays)


def _weights(file: Path, meta: dict[str, Any], arrays: dict[str, Array]) -> Weights:
    try:
        grid = VoxelGrid(*(meta["grid"][name] for name in ("origin_m", "steps_m", "shape")))
        sigmas = np.array(meta["sigmas_m"], dtype=np.float64)
        sizes = dict(meta["sizes"])
        if meta["landmark_set"] != LANDMARK_SET:
            raise ValueError(f"landmark_set {shown(meta['landmark_set'])}, allowed: {LANDMARK_SET}")
        if sigmas.shape != (JOINTS, 3) or not (np.isfinite(sigmas) & (sigmas > 0)).all():
            raise ValueError(f"sigmas_m: shape {sigmas.shape}, expected {(JOINTS, 3)} numbers > 0")
        return Weights(file, sizes, grid, sigmas, arrays, dict(meta.get("about", {})))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{file}: {error}; {_MAKE}") from error


def network_of(weights: Weights) -> TensorNetwork:
    """The network with these weights, for inference.

    Raises:
        WeightsError: sizes and numbers do not belong together.
    """
    import torch

    from training.radar_tensor.model import NetworkParams, TensorNetwork

    try:
        sizes = dict(weights.sizes)
        stages = tuple(tuple(int(count) for count in stage) for stage in sizes.pop("stages"))
        network = TensorNetwork(NetworkParams(stages=stages, **sizes))
        network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.arrays.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{weights.file}: sizes and weights do not belong together: {_first_line(error)}") from error
    return network.eval()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
