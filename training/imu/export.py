"""From a trained network to the file that is shipped: weights by name, where they are from, and the model card."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from fusion.records import Array
from training.imu.model import PartNetwork, WholeBodyNetwork

META = "meta.json"
"""Name in the archive of the text that says where the weights are from."""


def weights_of(network: PartNetwork | WholeBodyNetwork) -> dict[str, Array]:
    """The numbers of a network by name, float32."""
    return {name: tensor.detach().cpu().float().numpy() for name, tensor in network.state_dict().items()}


def write_weights(path: Path, network: PartNetwork | WholeBodyNetwork, description: dict[str, Any]) -> None:
    """Write an ``.npz`` file, in half precision, whole or not at all.

    Half precision costs less than the runtime's own rounding to 16 bits and halves the file.

    Args:
        path: of the file; its folder is made if missing.
        network: what to write.
        description: where the weights are from; written as text beside them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: array.astype(np.float16) for name, array in weights_of(network).items()}
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(description, indent=1).encode(), dtype=np.uint8)
    np.savez_compressed(buffer, **arrays, **{META: text})  # type: ignore[arg-type]
    partial = path.with_suffix(".part")
    partial.write_bytes(buffer.getvalue())
    partial.replace(path)
