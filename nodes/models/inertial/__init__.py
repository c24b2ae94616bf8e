"""Weights of the part-based inertial network (``fusion.estimators.inertial.packing``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.models.weights import WeightFiles

if TYPE_CHECKING:
    from fusion.estimators.inertial.packing import NetworkWeights

DEFAULT = "imu-parts"


def _unpacked(arrays: Mapping[str, Any]) -> NetworkWeights:
    from fusion.estimators.inertial.packing import NetworkWeights

    return NetworkWeights.from_arrays(arrays)


FILES = WeightFiles(
    Path(__file__).resolve().parent, "kinefuse train imu", "part-based inertial network", _unpacked
)  # fmt: skip
shipped, find, load, describe, arrays_of = FILES.shipped, FILES.find, FILES.load, FILES.describe, FILES.arrays_of
