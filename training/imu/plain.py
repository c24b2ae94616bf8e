"""The networks in plain numpy, a frame at a time: slow and readable, for comparisons where torch is not installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fusion.estimators.inertial.layout import JOINTS, PARTS, POSE_SEGMENTS, SITES, Part
from fusion.records import Array, Float32

WHOLE: tuple[Part, ...] = (Part("body", SITES, JOINTS, POSE_SEGMENTS),)
"""The one part of a whole-body network."""


def _sigmoid(x: Float32) -> Float32:
    return np.asarray(1.0 / (1.0 + np.exp(-x)), dtype=np.float32)


class PlainNet:
    """Linear, LSTM layers, linear, with its own state; arguments by name as ``training.imu.model.Recurrent``."""

    def __init__(self, arrays: Mapping[str, Array], name: str) -> None:
        def of(key: str) -> Float32:
            return np.asarray(arrays[f"{name}.{key}"], dtype=np.float32)

        self._of = of
        self.hidden = len(of("in.bias"))
        self.layers = 2 if f"{name}.lstm.weight_ih_l1" in arrays else 1
        self.weights = [
            np.concatenate([of(f"lstm.weight_ih_l{k}"), of(f"lstm.weight_hh_l{k}")], axis=1) for k in range(self.layers)
        ]
        self.biases = [of(f"lstm.bias_ih_l{k}") + of(f"lstm.bias_hh_l{k}") for k in range(self.layers)]
        self.state: Float32 = np.zeros((2, self.layers, self.hidden), dtype=np.float32)
        self.into, self.into_bias, self.out, self.out_bias = (
            of(key) for key in ("in.weight", "in.bias", "out.weight", "out.bias")
        )

    def start(self, first: Float32 | None) -> None:
        """Begin with a first output, or with nothing known."""
        if first is None:
            vector = self._of("cold")
        else:
            vector = np.maximum(self._of("start.0.weight") @ first + self._of("start.0.bias"), 0.0)
            vector = np.maximum(self._of("start.2.weight") @ vector + self._of("start.2.bias"), 0.0)
            vector = self._of("start.4.weight") @ vector + self._of("start.4.bias")
        self.state = vector.reshape(2, self.layers, self.hidden).copy()

    def step(self, x: Float32) -> Float32:
        """Outputs of one frame."""
        value = np.maximum(self.into @ x + self.into_bias, 0.0)
        h, c = self.state
        for k in range(self.layers):
            i, f, g, o = np.split(self.weights[k] @ np.concatenate([value, h[k]]) + self.biases[k], 4)
            c[k] = _sigmoid(f) * c[k] + _sigmoid(i) * np.tanh(g)
            h[k] = value = _sigmoid(o) * np.tanh(c[k])
        return np.asarray(self.out @ value + self.out_bias)


def tell(
    arrays: Mapping[str, Array],
    features: Float32,
    first_velocities: Float32 | None = None,
    first_six: Float32 | None = None,
) -> tuple[Float32, Float32]:
    """Velocities [T, 6, 3] and six [T, 11, 6] of a sequence, by a part-based or a whole-body network.

    Args:
        arrays: weights by name; the parts are those that the names have.
        features: [T, 69].
        first_velocities: [6, 3] where known.
        first_six: [11, 6] where known.
    """
    parts: Sequence[Part] = WHOLE if "body.pose.in.weight" in arrays else PARTS
    nets = {
        (part.name, kind): PlainNet(arrays, f"{part.name}.{kind}") for part in parts for kind in ("velocity", "pose")
    }
    whole = PlainNet(arrays, "global") if "global.in.weight" in arrays else None
    for part in parts:
        moves = None if first_velocities is None else first_velocities[[JOINTS.index(n) for n in part.joints]].ravel()
        stands = None if first_six is None else first_six[[POSE_SEGMENTS.index(n) for n in part.segments]].ravel()
        nets[part.name, "velocity"].start(moves)
        nets[part.name, "pose"].start(stands)
    velocities: Float32 = np.empty((len(features), len(JOINTS), 3), dtype=np.float32)
    six: Float32 = np.empty((len(features), len(POSE_SEGMENTS), 6), dtype=np.float32)
    for t, x in enumerate(features):
        context = np.empty(0, dtype=np.float32) if whole is None else whole.step(x)
        # A joint that two parts tell of is taken from the first: later parts are written before.
        for part in reversed(parts):
            seen = x[list(part.columns)]
            moved = nets[part.name, "velocity"].step(seen)
            stood = nets[part.name, "pose"].step(np.concatenate([seen, context, moved]))
            velocities[t, [JOINTS.index(n) for n in part.joints]] = moved.reshape(-1, 3)
            six[t, [POSE_SEGMENTS.index(n) for n in part.segments]] = stood.reshape(-1, 6)
    return velocities, six
