"""The weights of the radar network: complete, of the right shapes, several networks in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fusion.body.catalog import landmark_set
from fusion.estimators.radar.features import FRAME_FEATURES, POINT_FEATURES
from fusion.records import Array, Float32

JOINT_SET = "kinect_19"
JOINTS = len(landmark_set(JOINT_SET).landmark_names)
COORDINATES = 3 * JOINTS
HEADS = 8
"""Ways of looking at the points."""
HEAD_SIZE = 8
POINT_SIZE = 64
"""Of a point's first layer."""
META = "meta."
"""Names that begin so are none of the network's."""
_TOLD = 8


def shapes(members: int, hidden: int, pooled: int) -> dict[str, tuple[int, ...]]:
    """Every weight's name and shape; the names are those of the torch module, the first axis is the member."""
    seen = 2 * pooled + HEADS * HEAD_SIZE + FRAME_FEATURES
    one: dict[str, tuple[int, ...]] = {
        **_linear("point1", POINT_SIZE, POINT_FEATURES),
        **_linear("point2", pooled, POINT_SIZE),
        **_linear("attention", HEADS, POINT_SIZE),
        **_linear("value", HEADS * HEAD_SIZE, POINT_SIZE),
        **_linear("embed", hidden, seen),
        "norm.weight": (hidden,),
        "norm.bias": (hidden,),
        "gru.weight_ih_l0": (3 * hidden, hidden),
        "gru.weight_hh_l0": (3 * hidden, hidden),
        "gru.bias_ih_l0": (3 * hidden,),
        "gru.bias_hh_l0": (3 * hidden,),
        **_linear("mix", hidden, 2 * hidden),
        **_linear("mean", COORDINATES, hidden),
        **_linear("variance", COORDINATES, hidden),
    }
    return {
        **{name: (members, *shape) for name, shape in one.items()},
        "mean_pose_m": (JOINTS, 3),
        "sigma_scale": (2, 3),
        "truth_offset_m": (2,),
    }


def _linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


@dataclass(frozen=True, slots=True, eq=False)
class RadarWeights:
    """Weights of one or several networks of one size that answer together.

    Besides the layers there are ``mean_pose_m`` [19, 3], which the networks tell differences from (anchor's frame),
    ``sigma_scale`` [2, 3] that the standard deviations are multiplied by (right, away, up; of a known anchor and of one
    that follows the points), and ``truth_offset_m`` [2]:
    how far the joints of the training data stood from the radar's own axes (right, away).
    """

    arrays: Mapping[str, Float32]
    """By the names and with the shapes of ``shapes``."""
    members: int
    hidden: int
    """Size of the recurrent state."""
    pooled: int
    """Size of a point's last layer."""

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> RadarWeights:
        """Check weights and take them over.

        Args:
            arrays: floats by name; names that begin with ``meta.`` are left alone.

        Raises:
            ValueError: a name is missing or unknown, or an array has another shape or is not finite.
        """
        given = {name: np.asarray(array) for name, array in arrays.items() if not name.startswith(META)}
        recurrent, last = (_shape(given, name, axes) for name, axes in (("gru.weight_hh_l0", 3), ("point2.bias", 2)))
        members, hidden, pooled = recurrent[0], recurrent[2], last[1]
        expected = shapes(members, hidden, pooled)
        wrong = list(_wrong(given, expected))
        if wrong:
            more = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
            raise ValueError(
                f"these are not weights of {members} radar networks of hidden size {hidden}: "
                f"{'; '.join(wrong[:_TOLD])}{more}"
            )
        own = {name: np.array(given[name], dtype=np.float32, order="C") for name in expected}
        return cls(own, members, hidden, pooled)


def _shape(given: Mapping[str, Array], name: str, axes: int) -> tuple[int, ...]:
    """Shape of an array that tells sizes."""
    if name not in given:
        raise ValueError(
            f"the weight {name!r} is missing, which tells the sizes; have {', '.join(sorted(given)[:_TOLD]) or 'none'}"
        )
    shape = given[name].shape
    if len(shape) != axes or min(shape) < 1:
        raise ValueError(f"the weight {name!r} has shape {shape}, expected {axes} axes, none of them empty")
    return tuple(int(length) for length in shape)


def _wrong(given: Mapping[str, Array], expected: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    yield from (f"{name} is missing" for name in expected if name not in given)
    yield from (f"{name} is unknown" for name in given if name not in expected)
    for name in expected.keys() & given.keys():
        array = given[name]
        if array.shape != expected[name]:
            yield f"{name} has shape {array.shape}, expected {expected[name]}"
        elif array.dtype.kind != "f":
            yield f"{name} is of {array.dtype}, expected float32"
        elif not np.isfinite(array).all():
            yield f"{name} has values that are not finite"
