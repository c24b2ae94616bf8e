"""The inertial network without torch: it says what plain numpy says, and what torch says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.runtime import _nrt_python, rtsys  # type: ignore[attr-defined]

from benchmarks.imu_step import random_weights, smooth_features
from fusion.estimators.inertial import network as module
from fusion.estimators.inertial.layout import FEATURES, TOLD_JOINTS, TOLD_SEGMENTS
from fusion.estimators.inertial.network import (
    LARGEST_FEATURE,
    LOG_VARIANCE_LIMIT,
    InertialNetwork,
    NetworkOutput,
    network_step,
    warm_up,
)
from fusion.estimators.inertial.packing import NETS, VALUES, NetworkWeights
from fusion.records import Array, Float32, Float64

HIDDEN = 20
"""Neither its multiples nor those of the outputs fill up a packed matrix: padding is looked at."""
Weights = dict[str, Float32]


def sigmoid(x: Float64) -> Float64:
    result: Float64 = 1.0 / (1.0 + np.exp(-x))
    return result


def twin(weights: Weights, frames: Array, first: dict[str, Float64] | None = None) -> Float64:
    """The sentence: outputs [T, 153] in float64, from learned first states, or from first outputs by net."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    parts = ("upper", "lower", "torso")
    states: dict[str, Float64] = {"global": np.zeros((2, 1, len(w["global.in.bias"])))}
    for name in (f"{part}.{kind}" for part in parts for kind in ("velocity", "pose")):
        vector = w[f"{name}.cold"]
        if first is not None:
            hidden = np.maximum(w[f"{name}.start.0.weight"] @ first[name] + w[f"{name}.start.0.bias"], 0.0)
            hidden = np.maximum(w[f"{name}.start.2.weight"] @ hidden + w[f"{name}.start.2.bias"], 0.0)
            vector = w[f"{name}.start.4.weight"] @ hidden + w[f"{name}.start.4.bias"]
        states[name] = vector.reshape(2, 2, -1).copy()

    def net(name: str, x: Float64) -> tuple[Float64, Float64]:
        y = np.maximum(w[f"{name}.in.weight"] @ x + w[f"{name}.in.bias"], 0.0)
        for k, (h, c) in enumerate(zip(*states[name], strict=True)):
            gates = w[f"{name}.lstm.weight_ih_l{k}"] @ y + w[f"{name}.lstm.bias_ih_l{k}"]
            gates += w[f"{name}.lstm.weight_hh_l{k}"] @ h + w[f"{name}.lstm.bias_hh_l{k}"]
            i, f, g, o = gates.reshape(4, -1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            y = sigmoid(o) * np.tanh(c)
            states[name][:, k] = y, c
        variances = w[f"{name}.variance.weight"] @ y + w[f"{name}.variance.bias"] if name != "global" else y[:0]
        return w[f"{name}.out.weight"] @ y + w[f"{name}.out.bias"], np.clip(variances, -12.0, 12.0)

    rows = []
    for x in frames.astype(np.float64):
        site = dict(zip(("root", "left_leg", "right_leg", "head", "left_arm", "right_arm"),
                        np.split(x, [9, 21, 33, 45, 57]), strict=True))  # fmt: skip
        common, _ = net("global", x)
        told: list[list[Float64]] = [[], [], [], []]
        for part, seen in zip(
            parts, (("left_arm", "right_arm"), ("left_leg", "right_leg", "head"), ("head",)), strict=True
        ):
            sensors = np.concatenate([site[name] for name in ("root", *seen)])
            velocity, moving = net(f"{part}.velocity", sensors)
            pose, standing = net(f"{part}.pose", np.concatenate([sensors, common, velocity]))
            for values, value in zip(told, (velocity, pose, moving, standing), strict=True):
                values.append(value)
        rows.append(np.concatenate([value for values in told for value in values]))
    return np.stack(rows)


def first_outputs(velocities: Array, pose6d: Array) -> dict[str, Float64]:
    """First outputs by net, of those of all."""
    moving = np.split(velocities.astype(np.float64), [6, 18])
    standing = np.split(pose6d.astype(np.float64), [24, 36])
    return {
        f"{part}.{kind}": values[k]
        for k, part in enumerate(("upper", "lower", "torso"))
        for kind, values in (("velocity", moving), ("pose", standing))
    }


def row(told: NetworkOutput) -> Float32:
    """All outputs [153] of a step, copied."""
    return np.concatenate([told.velocities, told.pose6d, told.velocity_log_variances, told.pose_log_variances])


def run(network: InertialNetwork, frames: Array, state: Float32) -> Float32:
    return np.stack([row(network.step(x, state)) for x in frames])


def make(weights: Weights) -> InertialNetwork:
    return InertialNetwork(NetworkWeights.from_arrays(weights))


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights(HIDDEN)


@pytest.fixture(scope="module")
def network(weights: Weights) -> InertialNetwork:
    return make(weights)


@pytest.mark.parametrize("hidden", [1, 8, HIDDEN, 128])
def test_a_cold_start_is_as_the_plain_sentence_has_it(hidden: int) -> None:
    weights = random_weights(hidden, seed=hidden)
    frames = smooth_features(60)
    network = make(weights)
    expected = twin(weights, frames)
    np.testing.assert_allclose(run(network, frames, network.start()), expected, atol=2e-5)
    assert np.ptp(expected, axis=0).min() > 1e-3


def test_a_start_from_a_pose_is_as_the_plain_sentence_has_it(weights: Weights, network: InertialNetwork) -> None:
    rng = np.random.default_rng(5)
    velocities, pose, frames = rng.standard_normal(24), rng.standard_normal(66), smooth_features(20)
    expected = twin(weights, frames, first_outputs(velocities, pose))
    told = run(network, frames, network.start(velocities, pose))
    np.testing.assert_allclose(told, expected, atol=2e-5)
    assert np.abs(told[0] - run(network, frames, network.start())[0]).max() > 1e-2


def test_what_is_known_in_part_starts_its_nets_only(network: InertialNetwork) -> None:
    cold, moving = network.start(), network.start(velocities=np.ones(24))
    changed = [
        bool((cold[at : at + 4 * HIDDEN] != moving[at : at + 4 * HIDDEN]).any())
        for at in network.packed.plan[1:, -1].tolist()
    ]
    assert changed == [True, False] * 3


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-3, 1.0, 30.0]), outlier=st.booleans())
def test_any_weights_and_inputs_are_as_the_plain_sentence_has_them(seed: int, scale: float, outlier: bool) -> None:
    rng = np.random.default_rng(seed)
    weights = random_weights(8, seed)
    if outlier:
        for array in weights.values():
            array.flat[rng.integers(array.size)] *= 10.0
    frames = (scale * rng.standard_normal((6, FEATURES))).astype(np.float32)
    network = make(weights)
    told, expected = run(network, frames, network.start()), twin(weights, frames)
    # What rounding changes grows with what goes in, and with the largest weight of a row.
    np.testing.assert_allclose(told, expected, atol=2e-5 * max(scale, 1.0) * (10.0 if outlier else 1.0), rtol=1e-4)


def test_torch_says_the_same(weights: Weights) -> None:
    torch = pytest.importorskip("torch")
    model = pytest.importorskip("training.imu.model")
    loud = {name: array * (40.0 if ".variance." in name else 1.0) for name, array in weights.items()}
    trained = model.PartNetwork(HIDDEN).eval()
    trained.load_state_dict({name: torch.from_numpy(array) for name, array in loud.items()})
    frames, network = smooth_features(50), make(loud)
    with torch.no_grad():
        state = trained.begin(torch.zeros(1, 6, 3), torch.zeros(1, 11, 6), torch.ones(1, dtype=torch.bool))
        told, _ = trained(torch.from_numpy(frames)[:, None], state)
    parts = (told.velocities, told.six, told.velocity_log_variance, told.pose_log_variance)
    expected = torch.cat(parts, -1)[:, 0].numpy()
    np.testing.assert_allclose(run(network, frames, network.start()), expected, atol=5e-4)
    assert np.abs(expected).max() == LOG_VARIANCE_LIMIT


def test_torch_starts_the_same(weights: Weights, network: InertialNetwork) -> None:
    torch = pytest.importorskip("torch")
    model = pytest.importorskip("training.imu.model")
    layout = pytest.importorskip("fusion.estimators.inertial.layout")
    trained = model.PartNetwork(HIDDEN).eval()
    trained.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    rng = np.random.default_rng(2)
    moving, standing = rng.standard_normal((6, 3)).astype(np.float32), rng.standard_normal((11, 6)).astype(np.float32)
    with torch.no_grad():
        states = trained.begin(
            torch.from_numpy(moving)[None], torch.from_numpy(standing)[None], torch.zeros(1, dtype=torch.bool)
        )
    velocities = moving[[layout.JOINTS.index(name) for name in TOLD_JOINTS]].ravel()
    pose = standing[[layout.POSE_SEGMENTS.index(name) for name in TOLD_SEGMENTS]].ravel()
    state = network.start(velocities, pose)
    for net, at in zip(NETS[1:], network.packed.plan[1:, -1].tolist(), strict=True):
        expected = np.concatenate([part.numpy().ravel() for part in states[net.name]])
        np.testing.assert_allclose(state[at : at + 4 * HIDDEN], expected, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(at=st.integers(0, 30), seed=st.integers(0, 1000))
def test_a_lifted_state_goes_on_with_the_same_bits(weights: Weights, at: int, seed: int) -> None:
    frames, first, second = smooth_features(30, seed), make(weights), make(weights)
    state = first.start()
    whole = run(first, frames, state.copy())
    for x in frames[:at]:
        first.step(x, state)
    lifted = state.copy()
    run(first, frames[::-1], state)
    if at < len(frames):
        assert run(second, frames[at:], lifted).tobytes() == whole[at:].tobytes()


def test_two_wearers_take_turns_at_one_network(network: InertialNetwork) -> None:
    frames = [smooth_features(12, seed) for seed in (1, 2)]
    alone = [run(network, own, network.start()) for own in frames]
    states = [network.start(), network.start()]
    mixed = [[row(network.step(own[t], state)) for own, state in zip(frames, states, strict=True)] for t in range(12)]
    assert np.array_equal(np.array(mixed), np.stack(alone, axis=1))


def test_the_arrays_of_an_output_are_written_anew(network: InertialNetwork) -> None:
    frames, state = smooth_features(2), network.start()
    first = network.step(frames[0], state)
    before = row(first)
    second = network.step(frames[1], state)
    assert second.velocities is first.velocities
    assert not np.array_equal(row(first), before)


def test_ten_minutes_stay_finite(network: InertialNetwork) -> None:
    frames, state = smooth_features(3600), network.start()
    largest = 0.0
    for t in range(36_000):
        told = network.step(frames[t % 3600], state)
        largest = max(largest, float(np.abs(told.pose6d).max()), float(np.abs(told.velocities).max()))
    assert np.isfinite(state).all()
    assert 0.0 < largest < 100.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0 * LARGEST_FEATURE, -2.0 * LARGEST_FEATURE])
@pytest.mark.parametrize("column", [0, FEATURES - 1])
def test_features_that_cannot_be_are_refused(network: InertialNetwork, value: float, column: int) -> None:
    frames, state = smooth_features(3), network.start()
    before = row(network.step(frames[0], state))
    kept = state.copy()
    broken = frames[1].copy()
    broken[column] = value
    told = network.step(broken, state)
    assert not told.taken
    assert np.array_equal(row(told), before)
    assert np.array_equal(state, kept)
    assert network.step(frames[1], state).taken


def test_the_largest_features_stay_finite(network: InertialNetwork) -> None:
    state = network.start()
    for sign in (1.0, -1.0):
        assert network.step(np.full(FEATURES, sign * LARGEST_FEATURE, dtype=np.float32), state).taken
    assert np.isfinite(state).all()


def test_other_kinds_of_arrays_are_taken(network: InertialNetwork) -> None:
    frames = smooth_features(5)
    frozen = frames.copy()
    frozen.setflags(write=False)
    expected = run(network, frames, network.start())
    compiled = len(network_step.signatures)
    for other in (frames.astype(np.float64), frozen, np.asfortranarray(frames)):
        assert np.array_equal(run(network, other, network.start()), expected)
    assert len(network_step.signatures) == compiled


def test_wrong_features_and_states_are_refused_by_name(network: InertialNetwork) -> None:
    x, state = smooth_features(1)[0], network.start()
    with pytest.raises(ValueError, match=r"features have shape \(68,\), expected \(69,\)"):
        network.step(x[1:], state)
    wrongs: tuple[Any, ...] = (state[1:], state.astype(np.float64), np.repeat(state, 2)[::2])
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"expected a writable float32 array .* make one with start"):
            network.step(x, wrong)
    with pytest.raises(ValueError, match=r"velocities has shape \(23,\), expected \(24,\)"):
        network.start(velocities=np.zeros(23))
    with pytest.raises(ValueError, match=r"pose6d .* finite"):
        network.start(pose6d=np.full(66, np.nan))


def test_weights_are_copied(weights: Weights) -> None:
    given_ = {name: array.copy() for name, array in weights.items()}
    network = make(given_)
    for array in given_.values():
        array[...] = np.nan
    assert np.isfinite(network.start()).all()
    assert np.isfinite(run(network, smooth_features(2), network.start())).all()


def test_tanh_is_the_hyperbolic_tangent() -> None:
    x = np.concatenate([np.linspace(-12.0, 12.0, 200_001), [-1e30, 1e30, 0.0, 1e-20]]).astype(np.float32)
    told = x.copy()
    module.tanh(told)
    np.testing.assert_allclose(told, np.tanh(x.astype(np.float64)), rtol=0.0, atol=5e-7)


def test_a_row_of_zeros_is_packed(weights: Weights) -> None:
    zeros = {name: np.zeros_like(array) for name, array in weights.items()}
    network = make(zeros)
    assert not run(network, smooth_features(3), network.start()).any()


@njit
def nothing(*args: Any) -> None:
    """To count what it costs to hand arrays over."""


def made(kernel: Any, args: tuple[Any, ...]) -> int:
    """How many arrays a call makes when it is compiled, those that stand for its arguments among them."""
    kernel(*args)
    before = rtsys.get_allocation_stats().alloc  # type: ignore[no-untyped-call]
    kernel(*args)
    return int(rtsys.get_allocation_stats().alloc - before)  # type: ignore[no-untyped-call]


@njit
def one_array(*args: Any) -> int:
    """To see that arrays are counted."""
    return len(np.zeros(len(args)))


def test_a_step_allocates_nothing(network: InertialNetwork) -> None:
    packed = network.packed
    args = (
        packed.words, packed.scales, packed.biases, packed.plan, packed.inputs, network.start(),
        np.zeros(VALUES, dtype=np.float32), np.zeros(packed.most_columns, dtype=np.float32),
        np.zeros(packed.most_rows, dtype=np.float32),
    )  # fmt: skip
    _nrt_python.memsys_enable_stats()
    try:
        handed_over = made(nothing, args)
        assert made(network_step, args) == handed_over
        assert made(one_array, args) == handed_over + 1
    finally:
        _nrt_python.memsys_disable_stats()


def test_warming_up_compiles_what_is_called() -> None:
    assert warm_up() == 1
    compiled = len(network_step.signatures)
    network = make(random_weights(HIDDEN))
    assert network.step(smooth_features(1)[0], network.start()).taken
    assert len(network_step.signatures) == compiled == 1
