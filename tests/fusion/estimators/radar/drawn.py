"""Weights of the radar network that nobody trained."""

from __future__ import annotations

import numpy as np

from fusion.estimators.radar.packing import RadarWeights, shapes


def drawn_weights(members: int = 2, hidden: int = 12, pooled: int = 6, seed: int = 1) -> RadarWeights:
    """Drawn at random, of a size that keeps all layers alive."""
    random = np.random.default_rng(seed)
    arrays = {}
    for name, shape in shapes(members, hidden, pooled).items():
        arrays[name] = random.normal(0.0, 1.0 / np.sqrt(shape[-1]), shape).astype(np.float32)
    arrays["sigma_scale"] = np.array([[1.0, 1.5, 2.0], [2.0, 3.0, 4.0]], dtype=np.float32)
    arrays["truth_offset_m"] = np.array([0.17, 0.0], dtype=np.float32)
    return RadarWeights.from_arrays(arrays)
