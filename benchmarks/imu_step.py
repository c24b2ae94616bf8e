"""What one step of the inertial network costs, beside reading its weights, plain numpy and plain torch.

    python -m benchmarks.imu_step [--json] [--hidden N] [--weights FILE] [--turns N]

A step is one frame of one wearer, state carried on, on one thread. The contestants:

* ``kinefuse``: ``fusion.estimators.inertial.network``, weights of 16 bits, one compiled call;
* ``numpy``: float32, ``weights @ vector`` with BLAS, input and hidden weights of an LSTM layer in one matrix;
* ``torch``: the module that is trained (``training.imu.model.PartNetwork``), evaluated without gradients; null
  where torch is not installed;
* ``floor``: the packed weights read once, nothing done with them but a sum; ``floor_float32`` the same for the
  float32 weights that numpy and torch read.

They take turns in one process; a turn is ``BURST`` steps on end, so that each finds its own weights in the caches
and not those of the others, as it would on a machine of its own. ``p50_ms`` and ``p99_ms`` are over all steps,
``least_ms`` is the shortest, which a busy machine disturbs less; ratios are of medians, those with ``_least`` of
the shortest. Times are processor time, which on an idle machine is the time that passes. ``cold_ms`` is the median
of steps before each of which a buffer larger than the caches was written, so that the weights come from main
memory, and ``floor_cold_ms`` that of reading the weights then.

``error`` is the difference of outputs from the same step in float64, over so many frames of a smooth random input
on which each carries its own state: what 16 bits of weights change. ``error_numpy`` is that of float32 without them.

Without a file the weights are random, as torch begins with them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks.filter_cost import THREADS
from fusion.estimators.inertial.layout import FEATURES
from fusion.estimators.inertial.network import LOG_VARIANCE_LIMIT, InertialNetwork
from fusion.estimators.inertial.packing import GLOBAL, NETS, SECTIONS, VALUES, Net, NetworkWeights, shapes, size
from fusion.records import Array, Float32, Int64
from nodes.commands.arguments import print_json

HIDDEN, GLOBAL_HIDDEN = 200, 36
BURST = 40
TURNS = 60
COLD_STEPS = 150
FLUSH_BYTES = 96 << 20
ERROR_FRAMES = 1000
SEED = 1

Step = Callable[[Float32], Any]
"""Takes features [69]; its state goes on."""


def random_weights(hidden: int, seed: int = SEED, global_hidden: int = GLOBAL_HIDDEN) -> dict[str, Float32]:
    """Weights as torch begins with them: uniform within 1 / sqrt(inputs), of an LSTM within 1 / sqrt(hidden)."""
    rng = np.random.default_rng(seed)
    expected = shapes(hidden, global_hidden)
    result: dict[str, Float32] = {}
    for name, shape in expected.items():
        inputs = expected.get(f"{name.removesuffix('.bias')}.weight", shape)[-1]
        if ".lstm." in name:
            inputs = global_hidden if name.startswith(GLOBAL) else hidden
        result[name] = rng.uniform(-1.0, 1.0, shape).astype(np.float32) / np.float32(np.sqrt(inputs))
    return result


def smooth_features(frames: int, seed: int = SEED) -> Float32:
    """Random features [T, 69] of size one that change within about ten frames."""
    noise = np.random.default_rng(seed).standard_normal((frames + 9, FEATURES))
    window = np.hanning(12)[1:-1]
    smooth = np.apply_along_axis(np.convolve, 0, noise, window / np.linalg.norm(window), "valid")
    return smooth.astype(np.float32)


class NumpyNetwork:
    """The step as one would write it in numpy; states start as the learned vectors say."""

    def __init__(self, weights: Mapping[str, Array], dtype: type[np.floating[Any]] = np.float32) -> None:
        w = {name: np.asarray(array, dtype=dtype) for name, array in weights.items()}
        self._w = w
        self._gates: dict[tuple[str, int], tuple[Array, Array]] = {}
        self._heads: dict[str, tuple[Array, Array]] = {}
        self._states: dict[tuple[str, int], tuple[Array, Array]] = {}
        for net in NETS:
            n = net.name
            heads = ("out", "variance") if net.has_start else ("out",)
            self._heads[n] = (
                np.vstack([w[f"{n}.{head}.weight"] for head in heads]),
                np.concatenate([w[f"{n}.{head}.bias"] for head in heads]),
            )
            hidden = w[f"{n}.in.bias"].size
            first = w[f"{n}.cold"] if net.has_start else np.zeros(2 * hidden, dtype=dtype)
            h, c = first.reshape(2, net.layers, hidden)
            for k in range(net.layers):
                matrix = np.hstack([w[f"{n}.lstm.weight_ih_l{k}"], w[f"{n}.lstm.weight_hh_l{k}"]])
                self._gates[n, k] = matrix, w[f"{n}.lstm.bias_ih_l{k}"] + w[f"{n}.lstm.bias_hh_l{k}"]
                self._states[n, k] = h[k], c[k]
        self._columns: dict[str, Int64] = {net.name: np.array(net.inputs, dtype=np.int64) for net in NETS}
        self.values: Array = np.zeros(VALUES, dtype=dtype)

    def step(self, x: Array) -> Array:
        """Outputs [153] of features [69]: velocities, rotations, logarithms of their variances."""
        values = self.values
        values[SECTIONS.features] = x
        for net in NETS:
            values[net.outputs], values[net.variances] = self._net(net, values[self._columns[net.name]])
        return values[SECTIONS.velocities.start :]

    def _net(self, net: Net, inputs: Array) -> tuple[Array, Array]:
        vector = np.maximum(self._w[f"{net.name}.in.weight"] @ inputs + self._w[f"{net.name}.in.bias"], 0.0)
        for k in range(net.layers):
            matrix, bias = self._gates[net.name, k]
            h, c = self._states[net.name, k]
            i, f, g, o = (matrix @ np.concatenate([vector, h]) + bias).reshape(4, -1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            vector = _sigmoid(o) * np.tanh(c)
            self._states[net.name, k] = vector, c
        matrix, bias = self._heads[net.name]
        told = matrix @ vector + bias
        n = size(net.outputs)
        return told[:n], np.clip(told[n:], -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)


def _sigmoid(x: Array) -> Array:
    result: Array = 1.0 / (1.0 + np.exp(-x))
    return result


def torch_step(weights: Mapping[str, Float32], hidden: int) -> Step | None:
    """The module that is trained, with these weights, or None without torch."""
    try:
        import torch

        from training.imu.model import PartNetwork
    except ModuleNotFoundError:
        return None
    torch.set_num_threads(1)
    network = PartNetwork(hidden)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    network.eval()
    with torch.no_grad():
        state = network.begin(torch.zeros(1, 6, 3), torch.zeros(1, 11, 6), torch.ones(1, dtype=torch.bool))

    def step(x: Float32) -> Float32:
        nonlocal state
        with torch.no_grad():
            told, state = network.step(torch.from_numpy(x)[None], state)
            parts = told.velocities, told.six, told.velocity_log_variance, told.pose_log_variance
            result: Float32 = torch.cat(parts, -1)[0, 0].numpy()
        return result

    return step


def kinefuse_step(network: InertialNetwork) -> Step:
    """Ours, from the learned state on."""
    state = network.start()

    def step(x: Float32) -> Array:
        told = network.step(x, state)
        return np.concatenate([told.velocities, told.pose6d, told.velocity_log_variances, told.pose_log_variances])

    return step


@njit(cache=True)
def read_once(words: Int64) -> int:
    """The sum of words [N]: what it takes to bring them to the processor."""
    total = 0
    for k in range(len(words)):
        total += words[k]
    return total


def words_of(data: NDArray[Any]) -> Int64:
    """Memory of an array as whole words."""
    flat = data.reshape(-1).view(np.uint8)
    return flat[: len(flat) // 8 * 8].view(np.int64)


def in_turns(contestants: Mapping[str, Step], features: Float32, turns: int) -> dict[str, Array]:
    """Times of single steps [turns * BURST] in ms of each, in turns; the first turn does not count."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(turns + 1):
        for name, step in contestants.items():
            for k in range(BURST):
                x = features[(turn * BURST + k) % len(features)]
                begin = time.process_time()
                step(x)
                spent = time.process_time() - begin
                if turn:
                    times[name].append(spent * 1e3)
    return {name: np.array(values) for name, values in times.items()}


def after_flush(step: Step, features: Float32, steps: int) -> float:
    """Median time in ms of a step that finds the caches full of something else."""
    buffer = np.zeros(FLUSH_BYTES, dtype=np.uint8)
    times = []
    for k in range(steps):
        buffer += 1
        begin = time.process_time()
        step(features[k % len(features)])
        times.append((time.process_time() - begin) * 1e3)
    return float(np.median(times))


def error_of(step: Step, weights: Mapping[str, Float32], features: Float32) -> dict[str, float]:
    """Largest and rms difference from float64 of a step that starts with the learned states."""
    twin = NumpyNetwork(weights, np.float64)
    difference = np.stack([step(x) - twin.step(x) for x in features])
    return {"max": float(np.abs(difference).max()), "rms": float(np.sqrt((difference**2).mean()))}


def measure(weights: Mapping[str, Float32], turns: int, cold_steps: int, error_frames: int) -> dict[str, Any]:
    """All figures for these weights."""
    checked = NetworkWeights.from_arrays(weights)
    network = InertialNetwork(checked)
    state = network.start()
    packed, plain = words_of(network.packed.words), words_of(np.concatenate([a.ravel() for a in _read(weights)]))
    contestants: dict[str, Step] = {
        "kinefuse": lambda x: network.step(x, state),
        "numpy": NumpyNetwork(checked.arrays).step,
        "floor": lambda x: read_once(packed),
        "floor_float32": lambda x: read_once(plain),
    }
    torch = torch_step(checked.arrays, checked.hidden)
    if torch is not None:
        contestants["torch"] = torch
    features = smooth_features(error_frames)
    times = in_turns(contestants, features, turns)
    figures = {name: _figures(values) for name, values in times.items()}
    ours = figures["kinefuse"]
    errors = {
        "error": error_of(kinefuse_step(network), checked.arrays, features),
        "error_numpy": error_of(NumpyNetwork(checked.arrays).step, checked.arrays, features),
    }
    return {
        "hidden": checked.hidden,
        "weights_bytes": network.packed.bytes,
        "weights_float32_bytes": plain.nbytes,
        **ours,
        "floor_ms": figures["floor"]["p50_ms"],
        "floor_float32_ms": figures["floor_float32"]["p50_ms"],
        "cold_ms": after_flush(contestants["kinefuse"], features, cold_steps),
        "floor_cold_ms": after_flush(contestants["floor"], features, cold_steps),
        **_ratios(figures),
        **errors,
        "error_frames": error_frames,
        "steps": turns * BURST,
        "contestants": figures,
        "missing": {} if torch else {"torch": "not installed (pip install 'kinefuse[learning]')"},
    }


def _read(weights: Mapping[str, Array]) -> list[Array]:
    """Those that a step reads: not those of the start."""
    return [array for name, array in weights.items() if ".start." not in name and not name.endswith(".cold")]


def _figures(times_ms: Array) -> dict[str, float]:
    p50, p99 = np.percentile(times_ms, (50.0, 99.0))
    return {"p50_ms": float(p50), "p99_ms": float(p99), "least_ms": float(times_ms.min())}


def _ratios(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float | None]:
    """Our time over the others', None for who is missing."""
    ours = figures["kinefuse"]
    result: dict[str, float | None] = {}
    for other in ("numpy", "torch", "floor"):
        theirs = figures.get(other)
        for key, suffix in (("p50_ms", ""), ("least_ms", "_least")):
            result[f"ratio_to_{other}{suffix}"] = ours[key] / theirs[key] if theirs else None
    return result


def load_weights(path: Path) -> dict[str, Float32]:
    """The network's arrays of a file (.npz).

    Raises:
        ValueError: there is no such file, or it is none.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if not name.startswith("meta.")}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a file of weights (.npz): {error}") from error


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=HIDDEN, help="hidden size of random weights")
    parser.add_argument("--weights", type=Path, help="a file of weights (.npz) instead of random ones")
    parser.add_argument("--turns", type=int, default=TURNS, help=f"of {BURST} steps of each contestant")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if any(os.environ.get(name) != "1" for name in THREADS):
        # The libraries read these when they are loaded, and they are by now.
        command = [sys.executable, "-m", "benchmarks.imu_step", *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, **dict.fromkeys(THREADS, "1")}, check=False).returncode
    try:
        weights = load_weights(args.weights) if args.weights else random_weights(args.hidden)
        result = measure(weights, args.turns, COLD_STEPS, ERROR_FRAMES)
    except ValueError as error:
        print(f"benchmarks.imu_step: {error}", file=sys.stderr)
        return 2
    if args.json:
        print_json(result)
    else:
        _print(result)
    return 0


def _print(result: dict[str, Any]) -> None:
    print(
        f"hidden size {result['hidden']}, {result['weights_bytes'] / 1e6:.2f} MB packed, {result['steps']} steps each"
    )
    for name, row in result["contestants"].items():
        print(f"  {name:14} p50 {row['p50_ms']:.3f} ms  p99 {row['p99_ms']:.3f} ms  least {row['least_ms']:.3f} ms")
    for name, reason in result["missing"].items():
        print(f"  {name:14} {reason}")
    for other in ("numpy", "torch", "floor"):
        ratio, least = result[f"ratio_to_{other}"], result[f"ratio_to_{other}_least"]
        if ratio is not None:
            print(f"ratio to {other}: {ratio:.2f}, of the shortest {least:.2f}")
    print(f"from main memory: {result['cold_ms']:.3f} ms, reading the weights alone {result['floor_cold_ms']:.3f} ms")
    for key in ("error", "error_numpy"):
        print(f"{key} over {result['error_frames']} frames: max {result[key]['max']:.2e}, rms {result[key]['rms']:.2e}")


if __name__ == "__main__":
    raise SystemExit(main())
