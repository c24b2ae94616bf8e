"""Weights of the network that tells joints from radar points (``fusion.estimators.radar.packing``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.models.weights import WeightFiles

if TYPE_CHECKING:
    from fusion.estimators.radar.packing import RadarWeights

DEFAULT = "radar-points"


def _unpacked(arrays: Mapping[str, Any]) -> RadarWeights:
    from fusion.estimators.radar.packing import RadarWeights

    return RadarWeights.from_arrays(arrays)


FILES = WeightFiles(Path(__file__).resolve().parent, "kinefuse train radar", "joints from radar points", _unpacked)
shipped, find, load, describe = FILES.shipped, FILES.find, FILES.load, FILES.describe
