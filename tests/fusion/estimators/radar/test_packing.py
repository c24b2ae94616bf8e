"""Weights are complete and fit together, or it is said what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.estimators.radar.packing import RadarWeights
from tests.fusion.estimators.radar.drawn import drawn_weights


def test_sizes_are_told_by_the_arrays() -> None:
    weights = drawn_weights(members=3, hidden=10, pooled=7)
    assert (weights.members, weights.hidden, weights.pooled) == (3, 10, 7)


def test_half_precision_and_notes_are_taken() -> None:
    arrays = {name: array.astype(np.float16) for name, array in drawn_weights().arrays.items()}
    taken = RadarWeights.from_arrays({**arrays, "meta.json": np.zeros(3, dtype=np.uint8)})
    assert all(array.dtype == np.float32 for array in taken.arrays.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean.weight": None}, "mean.weight is missing"),
        ({"what": np.zeros(1)}, "what is unknown"),
        ({"mean.bias": np.zeros((2, 5))}, r"mean.bias has shape \(2, 5\), expected \(2, 57\)"),
        ({"mean.bias": np.full((2, 57), np.nan)}, "mean.bias has values that are not finite"),
        ({"mean.bias": np.zeros((2, 57), dtype=np.int64)}, "mean.bias is of int64"),
        ({"point2.bias": None}, "'point2.bias' is missing, which tells the sizes"),
        ({"point2.bias": np.zeros(4)}, r"'point2.bias' has shape \(4,\), expected 2 axes"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, np.ndarray | None], message: str) -> None:
    arrays = {**drawn_weights().arrays, **change}
    with pytest.raises(ValueError, match=message):
        RadarWeights.from_arrays({name: array for name, array in arrays.items() if array is not None})
