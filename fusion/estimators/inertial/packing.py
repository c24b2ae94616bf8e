"""The weights of the part-based network: checked, and packed for the kernel that reads them once a step.

A matrix is stored as 16-bit integers with one float32 scale for each row (each output), in the order in which a step
reads them (``tiles``): half the bytes of float32, and rounding by at most 1/65534 of a row's largest weight. The
input and the hidden weights of an LSTM layer are one matrix, because one product with ``[input, hidden]`` is the
sum that the gates want.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fusion.estimators.inertial.layout import FEATURES, GLOBAL_SIZE, PARTS, TOLD_JOINTS, TOLD_SEGMENTS
from fusion.estimators.inertial.tiles import HALF_BITS, LANES, PAIRS, TILE_ROWS
from fusion.records import Array, Float32, Float64, Int64

Int32 = NDArray[np.int32]

META = "meta."
"""Names that begin so are none of the network's."""
GLOBAL = "global"
VELOCITY_SIZE, ROTATION_SIZE, VARIANCE_SIZE = 3, 6, 3
"""Outputs of a joint's velocity; of a segment's rotation (two columns of its matrix) and of its variances."""
_LARGEST = 32767
_HALF = 1 << HALF_BITS
_MOST_LISTED = 8

VELOCITIES = VELOCITY_SIZE * len(TOLD_JOINTS)
ROTATIONS = ROTATION_SIZE * len(TOLD_SEGMENTS)
ROTATION_VARIANCES = VARIANCE_SIZE * len(TOLD_SEGMENTS)


@dataclass(frozen=True, slots=True)
class Sections:
    """Where things stand among the values of a step."""

    features: slice
    common: slice
    """Outputs of the global net."""
    velocities: slice
    rotations: slice
    velocity_variances: slice
    rotation_variances: slice


def _sections() -> Sections:
    sizes = (FEATURES, GLOBAL_SIZE, VELOCITIES, ROTATIONS, VELOCITIES, ROTATION_VARIANCES)
    ends = tuple(accumulate(sizes, initial=0))
    return Sections(*(slice(first, end) for first, end in pairwise(ends)))


SECTIONS = _sections()
VALUES: int = SECTIONS.rotation_variances.stop


@dataclass(frozen=True, slots=True)
class Net:
    """One of the seven recurrent nets: what it reads and writes among the values of a step."""

    name: str
    layers: int
    inputs: tuple[int, ...]
    outputs: slice
    variances: slice
    """Empty for the global net."""

    @property
    def has_start(self) -> bool:
        """Whether its first state comes from a start net."""
        return self.name != GLOBAL


def _part_nets() -> Iterator[Net]:
    """The velocity and the pose net of each part."""
    s = SECTIONS
    velocity, rotation = s.velocities.start, s.rotations.start
    velocity_variance, rotation_variance = s.velocity_variances.start, s.rotation_variances.start
    for part in PARTS:
        moving, turning = VELOCITY_SIZE * len(part.joints), ROTATION_SIZE * len(part.segments)
        variances = VARIANCE_SIZE * len(part.segments)
        told = slice(velocity, velocity + moving)
        yield Net(f"{part.name}.velocity", 2, part.columns, told, slice(velocity_variance, velocity_variance + moving))
        yield Net(
            f"{part.name}.pose",
            2,
            (*part.columns, *range(s.common.start, s.common.stop), *range(told.start, told.stop)),
            slice(rotation, rotation + turning),
            slice(rotation_variance, rotation_variance + variances),
        )
        velocity, velocity_variance = velocity + moving, velocity_variance + moving
        rotation, rotation_variance = rotation + turning, rotation_variance + variances


NETS: tuple[Net, ...] = (Net(GLOBAL, 1, tuple(range(FEATURES)), SECTIONS.common, slice(0, 0)), *_part_nets())
"""In the order in which a step goes through them."""


def size(of: slice) -> int:
    """How many values a section has."""
    return int(of.stop - of.start)


def shapes(hidden: int, global_hidden: int) -> dict[str, tuple[int, ...]]:
    """Every weight's name and shape, for hidden states of these sizes; the names are those of torch modules."""
    expected: dict[str, tuple[int, ...]] = {}
    for net in NETS:
        h = hidden if net.has_start else global_hidden
        n = size(net.outputs)
        expected |= _linear(f"{net.name}.in", h, len(net.inputs))
        for layer in range(net.layers):
            for side in ("ih", "hh"):
                expected[f"{net.name}.lstm.weight_{side}_l{layer}"] = (4 * h, h)
                expected[f"{net.name}.lstm.bias_{side}_l{layer}"] = (4 * h,)
        expected |= _linear(f"{net.name}.out", n, h)
        if net.has_start:
            expected |= _linear(f"{net.name}.variance", size(net.variances), h)
            expected |= _linear(f"{net.name}.start.0", h, n)
            expected |= _linear(f"{net.name}.start.2", 2 * h, h)
            expected |= _linear(f"{net.name}.start.4", 4 * h, 2 * h)
            expected[f"{net.name}.cold"] = (4 * h,)
    return expected


def _linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


@dataclass(frozen=True, slots=True, eq=False)
class NetworkWeights:
    """Weights of the seven nets, complete and of the right shapes."""

    arrays: Mapping[str, Float32]
    """By the names and with the shapes of ``shapes``."""
    hidden: int
    """Size of the hidden state of every layer of the parts' nets."""
    global_hidden: int
    """Of the global net's."""

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> NetworkWeights:
        """Check weights and take them over.

        Args:
            arrays: float32 by name; names that begin with ``meta.`` are left alone.

        Raises:
            ValueError: a name is missing or unknown, or an array has another shape or is not finite.
        """
        given = {name: np.asarray(array) for name, array in arrays.items() if not name.startswith(META)}
        hidden = _hidden(given, f"{PARTS[0].name}.velocity.lstm.weight_hh_l0")
        global_hidden = _hidden(given, f"{GLOBAL}.lstm.weight_hh_l0")
        expected = shapes(hidden, global_hidden)
        wrong = [*_wrong_names(given, expected), *_wrong_arrays(given, expected)]
        if wrong:
            more = f"; and {len(wrong) - _MOST_LISTED} more" if len(wrong) > _MOST_LISTED else ""
            raise ValueError(
                f"these are not weights of the inertial network with hidden sizes {hidden} and {global_hidden}: "
                f"{'; '.join(wrong[:_MOST_LISTED])}{more}. Export them again from the training."
            )
        # Own and writable: a kernel is compiled anew for arrays that cannot be written.
        own = {name: np.array(given[name], dtype=np.float32, order="C") for name in expected}
        return cls(own, hidden, global_hidden)

    def hidden_of(self, net: Net) -> int:
        """Size of a net's hidden state."""
        return self.hidden if net.has_start else self.global_hidden


def _hidden(given: Mapping[str, Array], name: str) -> int:
    """The hidden size that a recurrent matrix [4H, H] tells."""
    if name not in given:
        raise ValueError(f"the weight {name!r} is missing, which tells the hidden size; have {_some(given)}")
    shape = given[name].shape
    if len(shape) != 2 or shape[1] < 1 or shape[0] != 4 * shape[1]:
        raise ValueError(f"the weight {name!r} has shape {shape}, expected (4 * hidden, hidden)")
    return int(shape[1])


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:_MOST_LISTED]) + (", ..." if len(listed) > _MOST_LISTED else "") if listed else "none"


def _wrong_names(given: Mapping[str, Array], expected: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    yield from (f"{name} is missing" for name in expected if name not in given)
    yield from (f"{name} is unknown" for name in given if name not in expected)


def _wrong_arrays(given: Mapping[str, Array], expected: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    for name, shape in expected.items():
        array = given.get(name)
        if array is None:
            continue
        if array.shape != shape:
            yield f"{name} has shape {array.shape}, expected {shape}"
        elif array.dtype.kind != "f":
            yield f"{name} is of {array.dtype}, expected float32"
        elif not np.isfinite(array).all():
            yield f"{name} has values that are not finite"


@dataclass(frozen=True, slots=True, eq=False)
class PackedNetwork:
    """The seven nets as the kernel reads them: every array once, from its beginning to its end."""

    words: Int32
    """All matrices one after another, each filled up with rows of zeros to whole tiles."""
    scales: Float32
    """[rows of all matrices] of what ``tile_sums`` tells. Rows of the gates i, f and o carry half of it, since
    sigmoid(z) = (1 + tanh(z / 2)) / 2."""
    biases: Float32
    """[rows of all matrices], halved like the scales."""
    plan: Int64
    """[nets, 8]: inputs, hidden size, layers, outputs, variances; first output, first variance; first of the state."""
    inputs: Int64
    """[nets, most inputs] indices of each net's inputs among the values of a step."""
    state_size: int
    most_rows: int
    """Of any matrix, filled up."""
    most_columns: int

    @property
    def bytes(self) -> int:
        """That a step reads."""
        return self.words.nbytes + self.scales.nbytes + self.biases.nbytes


def pack(weights: NetworkWeights) -> PackedNetwork:
    """Weights as the kernel reads them."""
    layers = [layer for net in NETS for layer in _layers(net, weights)]
    packed = [_packed(matrix, bias, gates) for matrix, bias, gates in layers]
    plan, inputs = _plan(weights)
    return PackedNetwork(
        words=np.concatenate([words for words, _, _ in packed]),
        scales=np.concatenate([scales for _, scales, _ in packed]),
        biases=np.concatenate([biases for _, _, biases in packed]),
        plan=plan,
        inputs=inputs,
        state_size=sum(2 * net.layers * weights.hidden_of(net) for net in NETS),
        most_rows=max(len(scales) for _, scales, _ in packed),
        most_columns=max(matrix.shape[1] for matrix, _, _ in layers),
    )


def _layers(net: Net, weights: NetworkWeights) -> Iterator[tuple[Float32, Float32, bool]]:
    """Each matrix [rows, columns] of a net with its bias [rows], and whether its rows are gates."""
    w, name = weights.arrays, net.name
    yield w[f"{name}.in.weight"], w[f"{name}.in.bias"], False
    for k in range(net.layers):
        matrix = np.hstack([w[f"{name}.lstm.weight_ih_l{k}"], w[f"{name}.lstm.weight_hh_l{k}"]])
        yield matrix, w[f"{name}.lstm.bias_ih_l{k}"] + w[f"{name}.lstm.bias_hh_l{k}"], True
    heads = ("out", "variance") if net.has_start else ("out",)
    yield (
        np.vstack([w[f"{name}.{head}.weight"] for head in heads]),
        np.concatenate([w[f"{name}.{head}.bias"] for head in heads]),
        False,
    )


def _packed(matrix: Float32, bias: Float32, gates: bool) -> tuple[Int32, Float32, Float32]:
    """Words [words], scales and biases [rows of whole tiles] of a matrix [rows, columns] and its bias [rows]."""
    rows = len(matrix)
    filled = np.zeros((up_to(rows, TILE_ROWS), matrix.shape[1]))
    filled[:rows] = matrix
    step = np.abs(filled).max(axis=1) / _LARGEST
    scales, biases = (step / _HALF).astype(np.float32), np.zeros(len(filled), dtype=np.float32)
    biases[:rows] = bias
    if gates:
        for halved in (scales, biases):
            i_f_g_o = halved[:rows].reshape(4, -1)
            i_f_g_o[[0, 1, 3]] *= 0.5
    # A row of zeros keeps a scale of zero, since its words are not zero: they hold another row too.
    return _words(filled / np.where(step > 0.0, step, 1.0)[:, None]), scales, biases


def _words(steps: Float64) -> Int32:
    """Whole tiles [rows, columns] in steps of each row, rounded, two in a word, in the order of reading.

    A word as it stands is its upper half and some of the lower: the upper one is rounded with that in mind.
    """
    tiles = steps.reshape(-1, PAIRS, 2, LANES, steps.shape[1])
    lower = np.rint(tiles[:, :, 1])
    upper = np.clip(np.rint(tiles[:, :, 0] - lower / _HALF), -_LARGEST, _LARGEST)
    words = (upper * _HALF + lower).astype(np.int32)
    return words.transpose(0, 3, 1, 2).ravel()


@njit(cache=True)
def up_to(count: int, step: int) -> int:
    """The next multiple of a step."""
    return (count + step - 1) // step * step


def _plan(weights: NetworkWeights) -> tuple[Int64, Int64]:
    """``PackedNetwork.plan`` and ``PackedNetwork.inputs``."""
    plan: Int64 = np.zeros((len(NETS), 8), dtype=np.int64)
    inputs: Int64 = np.zeros((len(NETS), max(len(net.inputs) for net in NETS)), dtype=np.int64)
    state = 0
    for row, indices, net in zip(plan, inputs, NETS, strict=True):
        hidden = weights.hidden_of(net)
        indices[: len(net.inputs)] = net.inputs
        row[:5] = len(net.inputs), hidden, net.layers, size(net.outputs), size(net.variances)
        row[5:] = net.outputs.start, net.variances.start, state
        state += 2 * net.layers * hidden
    return plan, inputs
