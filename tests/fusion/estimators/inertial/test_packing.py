"""The network's weights: what is refused, and that packing rounds them no more than it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.imu_step import random_weights
from fusion.body.skeleton import SEGMENT_NAMES
from fusion.estimators.inertial.layout import FEATURES, PARTS, TOLD_JOINTS, TOLD_SEGMENTS
from fusion.estimators.inertial.packing import NETS, SECTIONS, VALUES, Net, NetworkWeights, PackedNetwork, pack, size
from fusion.estimators.inertial.tiles import LANES, TILE_ROWS, TILE_WORDS
from fusion.records import Array, Float32, Float64

HIDDEN, GLOBAL_HIDDEN = 20, 36
Weights = dict[str, Float32]


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights(HIDDEN)


def test_the_outputs_are_those_of_the_layout() -> None:
    assert [(net.name, len(net.inputs)) for net in NETS] == [
        ("global", 69),
        ("upper.velocity", 33), ("upper.pose", 45),
        ("lower.velocity", 45), ("lower.pose", 63),
        ("torso.velocity", 21), ("torso.pose", 33),
    ]  # fmt: skip
    assert len(TOLD_JOINTS) * 3 == 24
    assert len(TOLD_SEGMENTS) * 6 == 66
    assert VALUES == FEATURES + 6 + 24 + 66 + 24 + 33
    assert [part.name for part in PARTS] == ["upper", "lower", "torso"]
    written = sorted(
        index
        for net in NETS
        for section in (net.outputs, net.variances)
        for index in range(section.start, section.stop)
    )
    assert written == list(range(SECTIONS.common.start, VALUES))


def test_names_are_those_of_the_skeleton() -> None:
    assert {*TOLD_JOINTS, *TOLD_SEGMENTS} <= {*SEGMENT_NAMES}


def test_weights_with_notes_are_taken(weights: Weights) -> None:
    noted: dict[str, Array] = {**weights, "meta.note": np.array("of a run")}
    assert NetworkWeights.from_arrays(noted).hidden == HIDDEN
    assert NetworkWeights.from_arrays(noted).arrays.keys() == weights.keys()


def without(weights: Weights, name: str) -> Weights:
    return {key: array for key, array in weights.items() if key != name}


def test_wrong_weights_are_refused_by_name(weights: Weights) -> None:
    name = "lower.pose.out.bias"
    cases: list[tuple[dict[str, Array], str]] = [
        (dict(without(weights, name)), f"{name} is missing"),
        ({**weights, "upper.vision.out.bias": weights[name]}, "upper.vision.out.bias is unknown"),
        ({**weights, name: weights[name][1:]}, rf"{name} has shape \(11,\), expected \(12,\)"),
        ({**weights, name: weights[name] * np.float32(np.nan)}, f"{name} has values that are not finite"),
        ({**weights, name: weights[name].astype(np.int64)}, f"{name} is of int64, expected float32"),
        ({}, "'upper.velocity.lstm.weight_hh_l0' is missing, which tells the hidden size; have none"),
        (
            {**weights, "upper.velocity.lstm.weight_hh_l0": np.zeros((4, 3), dtype=np.float32)},
            r"shape \(4, 3\), expected \(4 \* hidden, hidden\)",
        ),
        ({**random_weights(8), "global.in.bias": np.zeros(2)}, r"sizes 8 and 36: global.in.bias has shape \(2,\)"),
        ({**weights, "lower.pose.cold": np.zeros(0)}, "Export them again"),
    ]
    for arrays, message in cases:
        with pytest.raises(ValueError, match=message):
            NetworkWeights.from_arrays(arrays)


def test_many_wrong_weights_are_counted(weights: Weights) -> None:
    other = {**random_weights(8), "upper.velocity.lstm.weight_hh_l0": weights["upper.velocity.lstm.weight_hh_l0"]}
    with pytest.raises(ValueError, match=r"; and \d+ more\. Export"):
        NetworkWeights.from_arrays(other)


def unpacked(packed: PackedNetwork, hidden: int, global_hidden: int) -> dict[str, list[tuple[Float64, Float64]]]:
    """The matrices and biases of each net as the kernel understands them, word by word."""
    at = row = 0
    result: dict[str, list[tuple[Float64, Float64]]] = {}
    for net in NETS:
        h = hidden if net.has_start else global_hidden
        sizes = [(h, len(net.inputs)), *[(4 * h, 2 * h)] * net.layers, (heads(net), h)]
        result[net.name] = []
        for rows, columns in sizes:
            matrix = np.zeros((-(-rows // TILE_ROWS) * TILE_ROWS, columns))
            for tile in range(0, len(matrix), TILE_ROWS):
                words = packed.words[at : at + columns * TILE_WORDS].reshape(columns, TILE_WORDS).T
                for pair in range(TILE_WORDS // LANES):
                    own, first = words[pair * LANES : (pair + 1) * LANES], tile + 2 * LANES * pair
                    matrix[first : first + LANES] = own
                    matrix[first + LANES : first + 2 * LANES] = own << 16
                at += columns * TILE_WORDS
            end = row + len(matrix)
            matrix *= packed.scales[row:end, None].astype(np.float64)
            biases = packed.biases[row:end].astype(np.float64)
            assert not matrix[rows:].any()
            assert not biases[rows:].any()
            result[net.name].append((matrix[:rows], biases[:rows]))
            row = end
    assert (at, row) == (len(packed.words), len(packed.scales))
    return result


def heads(net: Net) -> int:
    """Outputs and variances of a net."""
    return size(net.outputs) + size(net.variances)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), outlier=st.sampled_from([1.0, 100.0]))
def test_packing_rounds_by_half_a_step(seed: int, outlier: float) -> None:
    rng = np.random.default_rng(seed)
    weights = random_weights(5, seed, global_hidden=3)
    for name, array in weights.items():
        array.flat[rng.integers(array.size)] *= outlier
        if name.endswith("out.weight"):
            array[0] = 0.0
    told = unpacked(pack(NetworkWeights.from_arrays(weights)), 5, 3)
    halves = np.array([0.5, 0.5, 1.0, 0.5])[:, None]
    for net in NETS:
        w = {name.removeprefix(f"{net.name}."): array.astype(np.float64) for name, array in weights.items()}
        names = ("out", "variance") if net.has_start else ("out",)
        expected = [(w["in.weight"], w["in.bias"])]
        for k in range(net.layers):
            matrix = np.hstack([w[f"lstm.weight_ih_l{k}"], w[f"lstm.weight_hh_l{k}"]])
            bias = w[f"lstm.bias_ih_l{k}"] + w[f"lstm.bias_hh_l{k}"]
            gate = np.repeat(halves, len(bias) // 4, axis=0)
            expected.append((gate * matrix, gate[:, 0] * bias))
        expected.append(
            (np.vstack([w[f"{name}.weight"] for name in names]), np.concatenate([w[f"{name}.bias"] for name in names]))
        )
        for (matrix, bias), (true, true_bias) in zip(told[net.name], expected, strict=True):
            step = np.abs(true).max(axis=1) / 32767.0
            assert (np.abs(matrix - true) <= 0.51 * step[:, None] + 1e-12).all()
            np.testing.assert_allclose(bias, true_bias, atol=1e-5)


def test_every_weight_is_packed_once(weights: Weights) -> None:
    packed = pack(NetworkWeights.from_arrays(weights))

    def filled(rows: int, columns: int) -> int:
        return -(-rows // TILE_ROWS) * TILE_ROWS * columns

    expected = 0
    for net in NETS:
        hidden = HIDDEN if net.has_start else GLOBAL_HIDDEN
        expected += filled(hidden, len(net.inputs)) + net.layers * filled(4 * hidden, 2 * hidden)
        expected += filled(heads(net), hidden)
    assert packed.words.nbytes == 2 * expected
    assert len(packed.scales) == len(packed.biases)
