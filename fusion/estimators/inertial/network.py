"""The part-based inertial network without torch: one compiled call a frame, nothing allocated.

Seven recurrent nets (``packing.NETS``): a small one that sees all sensors, and for each part of the body one that
tells velocities and one that tells rotations. Each is, with its hidden size H,

    y = relu(W_in x + b_in);   two LSTM layers (the small net has one);   out = W_out h + b_out

Source: Zhang et al., "Dynamic inertial poser (DynaIP)", arXiv 2312.02196, section 3; the LSTM is that of
``torch.nn.LSTM`` (gates i, f, g, o). Differs from it in that each net also tells the logarithms of the variances
of its outputs, and that weights are rounded to 16 bits (``packing``).

A step costs what it takes to bring the weights to the processor; therefore they are stored small and read once,
in order. The hyperbolic tangent is a quotient of polynomials, as Eigen has it (``generic_fast_tanh_float``,
absolute error below 5e-7), which compilers do in wide registers; the sigmoid is made of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from fusion.estimators.inertial.layout import FEATURES
from fusion.estimators.inertial.packing import (
    NETS,
    ROTATIONS,
    SECTIONS,
    VALUES,
    VELOCITIES,
    Int32,
    Net,
    NetworkWeights,
    pack,
    shapes,
    size,
    up_to,
)
from fusion.estimators.inertial.tiles import TILE_ROWS, TILE_WORDS, tile_sums
from fusion.records import Array, Float32, Int64

LARGEST_FEATURE = 1e4
"""Features are of size one; a larger one is of broken data and would stay in the state for long."""
LOG_VARIANCE_LIMIT = np.float32(12.0)
"""Logarithms of variances are told within these, as in training."""
_FASTMATH = {"contract", "reassoc", "nsz"}
_ZERO, _HALF = np.float32(0.0), np.float32(0.5)
_TANH_END = np.float32(7.90531110763549805)
"""Beyond this the hyperbolic tangent is 1 in float32."""
_P1, _P3, _P5, _P7, _P9, _P11, _P13 = (
    np.float32(value)
    for value in (
        4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05, 5.12229709037114e-08,
        -8.60467152213735e-11, 2.00018790482477e-13, -2.76076847742355e-16,
    )
)  # fmt: skip
_Q0, _Q2, _Q4, _Q6 = (
    np.float32(value)
    for value in (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)
)


@dataclass(frozen=True, slots=True, eq=False)
class NetworkOutput:
    """What the network tells of one frame. The arrays are the network's own: its next step writes them anew."""

    velocities: Float32
    """[24] of ``layout.TOLD_JOINTS``, three each."""
    pose6d: Float32
    """[66] of ``layout.TOLD_SEGMENTS``, six each."""
    velocity_log_variances: Float32
    """[24], one for each velocity."""
    pose_log_variances: Float32
    """[33], three for each segment."""
    taken: bool
    """False for features that cannot be: then neither the arrays nor the state have changed."""


class InertialNetwork:
    """Features of a frame in, velocities and rotations out; all memory is in a state that the caller keeps.

    A state is one float32 array. A copy of it in another network with the same weights goes on with the same bits.

    Args:
        weights: trained ones.
    """

    def __init__(self, weights: NetworkWeights) -> None:
        self.weights = weights
        self.packed = pack(weights)
        self.state_size = self.packed.state_size
        self._values: Float32 = np.zeros(VALUES, dtype=np.float32)
        self._vector: Float32 = np.zeros(self.packed.most_columns, dtype=np.float32)
        self._sums: Float32 = np.zeros(self.packed.most_rows, dtype=np.float32)
        self._output, self._refusal = (self._told(taken) for taken in (True, False))

    def _told(self, taken: bool) -> NetworkOutput:
        values = self._values
        return NetworkOutput(
            velocities=values[SECTIONS.velocities],
            pose6d=values[SECTIONS.rotations],
            velocity_log_variances=values[SECTIONS.velocity_variances],
            pose_log_variances=values[SECTIONS.rotation_variances],
            taken=taken,
        )

    def start(self, velocities: Array | None = None, pose6d: Array | None = None) -> Float32:
        """A new state [``state_size``], from the first pose where it is known, else from learned vectors.

        Args:
            velocities: [24] at the first frame, as in ``NetworkOutput``.
            pose6d: [66] at the first frame.

        Raises:
            ValueError: an array has another shape or is not finite.
        """
        known: Float32 = np.zeros(VALUES, dtype=np.float32)
        for name, array, section in (
            ("velocities", velocities, SECTIONS.velocities),
            ("pose6d", pose6d, SECTIONS.rotations),
        ):
            if array is None:
                continue
            if np.shape(array) != (size(section),) or not np.isfinite(array).all():
                raise ValueError(f"{name} has shape {np.shape(array)}, expected {(size(section),)}, all of it finite")
            known[section] = array
        state: Float32 = np.zeros(self.state_size, dtype=np.float32)
        for net, at in zip(NETS, self.packed.plan[:, -1].tolist(), strict=True):
            if net.has_start:
                given = velocities if net.outputs.stop <= SECTIONS.velocities.stop else pose6d
                first = None if given is None else known[net.outputs]
                state[at : at + 4 * self.weights.hidden] = self._first(net, first)
        return state

    def _first(self, net: Net, told: Float32 | None) -> Float32:
        """The first state [4H] of a net, h of both layers, then c: from its first output, or the learned one."""
        w = self.weights.arrays
        if told is None:
            return w[f"{net.name}.cold"]
        for layer in (0, 2, 4):
            told = w[f"{net.name}.start.{layer}.weight"] @ told + w[f"{net.name}.start.{layer}.bias"]
            if layer < 4:
                told = np.maximum(told, _ZERO)
        return told

    def step(self, x: Array, state: Float32) -> NetworkOutput:
        """Take one frame in.

        Args:
            x: [69] features. One that is not finite or larger than ``LARGEST_FEATURE`` is refused.
            state: [``state_size``], changed in place.

        Raises:
            ValueError: ``x`` or ``state`` is not such an array.
        """
        if np.shape(x) != (FEATURES,):
            raise ValueError(f"the features have shape {np.shape(x)}, expected {(FEATURES,)}")
        whole = state.flags.c_contiguous and state.flags.writeable
        if state.dtype != np.float32 or state.shape != (self.state_size,) or not whole:
            raise ValueError(
                f"the state is {state.dtype} {state.shape}, expected a writable float32 array "
                f"({self.state_size},); make one with start()"
            )
        # A copy: the kernel is compiled anew for arrays that cannot be written or have gaps.
        self._values[SECTIONS.features] = x
        packed = self.packed
        taken = network_step(
            packed.words, packed.scales, packed.biases, packed.plan, packed.inputs,
            state, self._values, self._vector, self._sums,
        )  # fmt: skip
        return self._output if taken else self._refusal


def warm_up() -> int:
    """Compile the kernels with a network of zeros.

    Returns:
        How many frames it took in (one, unless something is broken).
    """
    zeros = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes(4, 4).items()}
    network = InertialNetwork(NetworkWeights.from_arrays(zeros))
    state = network.start(np.zeros(VELOCITIES), np.zeros(ROTATIONS))
    return int(network.step(np.zeros(FEATURES, dtype=np.float32), state).taken)


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
def tanh(values: Float32) -> None:
    """The hyperbolic tangent of each value [N], in place."""
    for i in range(len(values)):
        x = min(max(values[i], -_TANH_END), _TANH_END)
        s = x * x
        p = _P1 + s * (_P3 + s * (_P5 + s * (_P7 + s * (_P9 + s * (_P11 + s * _P13)))))
        values[i] = x * p / (_Q0 + s * (_Q2 + s * (_Q4 + s * _Q6)))


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
def product(
    words: Int32,
    scales: Float32,
    biases: Float32,
    at: int,
    row: int,
    vector: Float32,
    columns: int,
    out: Float32,
    rows: int,
) -> tuple[int, int]:
    """A packed matrix times a vector, plus its bias.

    Args:
        words, scales, biases: of ``PackedNetwork``; the matrix starts at word ``at`` and at ``row`` of the others.
        vector: of which the first ``columns`` count.
        out: the first ``rows`` are written, and those behind them up to a whole tile.

    Returns:
        Where the next matrix starts: word and row.
    """
    high = up_to(rows, TILE_ROWS)
    for first in range(0, high, TILE_ROWS):
        tile_sums(words, at, vector, columns, out, first)
        at += columns * TILE_WORDS
    for r in range(high):
        out[r] = scales[row + r] * out[r] + biases[row + r]
    return at, row + high


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
def lstm_cell(sums: Float32, h: Float32, c: Float32, room: Float32) -> None:
    """One LSTM cell from the sums of its gates, those of i, f and o halved.

    Args:
        sums: [4H] of i, f, g, o, changed.
        h, c: [H], changed.
        room: [H], written.
    """
    n = len(h)
    tanh(sums)
    i, f, g, o = sums[:n], sums[n : 2 * n], sums[2 * n : 3 * n], sums[3 * n :]
    for u in range(n):
        c[u] = (_HALF + _HALF * f[u]) * c[u] + (_HALF + _HALF * i[u]) * g[u]
        room[u] = c[u]
    tanh(room)
    for u in range(n):
        h[u] = (_HALF + _HALF * o[u]) * room[u]


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
def network_step(
    words: Int32,
    scales: Float32,
    biases: Float32,
    plan: Int64,
    inputs: Int64,
    state: Float32,
    values: Float32,
    vector: Float32,
    sums: Float32,
) -> bool:
    """One frame through all nets.

    Args:
        words, scales, biases, plan, inputs: of ``PackedNetwork``.
        state: changed.
        values: [VALUES], see ``packing.SECTIONS``: features, and behind them what is written.
        vector, sums: room for the longest input and output of a matrix.

    Returns:
        Whether the features were taken; otherwise nothing has changed.
    """
    for value in values[:FEATURES]:
        if not abs(value) <= LARGEST_FEATURE:
            return False
    at, row = 0, 0
    for n in range(len(plan)):
        count, hidden, layers, outputs, variances, output, variance, first = plan[n]
        for i in range(count):
            vector[i] = values[inputs[n, i]]
        at, row = product(words, scales, biases, at, row, vector, count, sums, hidden)
        for u in range(hidden):
            vector[u] = max(sums[u], _ZERO)
        for k in range(layers):
            h = state[first + k * hidden : first + (k + 1) * hidden]
            c = state[first + (layers + k) * hidden : first + (layers + k + 1) * hidden]
            vector[hidden : 2 * hidden] = h
            at, row = product(words, scales, biases, at, row, vector, 2 * hidden, sums, 4 * hidden)
            lstm_cell(sums[: 4 * hidden], h, c, vector[:hidden])
            vector[:hidden] = h
        at, row = product(words, scales, biases, at, row, vector, hidden, sums, outputs + variances)
        values[output : output + outputs] = sums[:outputs]
        for v in range(variances):
            values[variance + v] = min(max(sums[outputs + v], -LOG_VARIANCE_LIMIT), LOG_VARIANCE_LIMIT)
    return True
