"""The radar network without torch: one frame of points in, joints and their deviations out.

Each member, with ``relu`` r and points i of a frame,

    a_i = r(W1 x_i + b1);   b_i = r(W2 a_i + b2)                           (each point by itself)
    c   = [mean_i b_i, max_i b_i, sum_i softmax_i(A a_i) V a_i, frame]     (the order of points does not matter)
    e   = r(norm(W_e c + b_e));   h = GRU(e, h)                            (memory: a state that goes on)
    y   = r(W_m [h, e] + b_m);    joints = mean pose + W_mu y + b_mu;   log variances = W_v y + b_v

Source: the pooling is that of Qi et al., "PointNet", CVPR 2017, section 4.2 (max) and Lee et al., "Set Transformer",
ICML 2019, section 3.2 (one seed vector a head); the recurrent cell is ``torch.nn.GRU`` (Cho et al., EMNLP 2014). The
members answer together as a mixture of equal weights (Lakshminarayanan et al., "Simple and scalable predictive
uncertainty estimation using deep ensembles", NeurIPS 2017, section 2.4): the mean of the means, and the mean of the
variances plus the variance of the means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion.estimators.radar.features import FOLLOWED, FRAME_FEATURES, POINT_FEATURES
from fusion.estimators.radar.packing import HEAD_SIZE, HEADS, JOINTS, RadarWeights
from fusion.records import Array, Float32

LOG_VARIANCE_LOW, LOG_VARIANCE_HIGH = -12.0, 2.0
LARGEST_FEATURE = 1e3
"""Features are of size one; a larger one is of broken data and would stay in the state for long."""
_ZERO = np.float32(0.0)
_NORM_EPSILON = np.float32(1e-5)


@dataclass(frozen=True, slots=True, eq=False)
class NetworkJoints:
    """What the network tells of one frame, in the anchor's frame."""

    positions_m: Float32
    """[19, 3] right, away, above the floor; as the truth of the training data counts."""
    sigmas_m: Float32
    """[19, 3] standard deviations, calibrated."""


class RadarNetwork:
    """Points of a frame in, joints out; all memory is in a state that the caller keeps.

    Args:
        weights: trained ones.
    """

    def __init__(self, weights: RadarWeights) -> None:
        self.weights = weights
        self._w = {
            name: np.ascontiguousarray(np.swapaxes(array, 1, 2))
            if name.endswith(".weight") and array.ndim == 3
            else array
            for name, array in weights.arrays.items()
        }
        for name in ("gru.weight_ih_l0", "gru.weight_hh_l0"):
            self._w[name] = np.ascontiguousarray(np.swapaxes(weights.arrays[name], 1, 2))

    def start(self) -> Float32:
        """A new state [members, hidden]."""
        return np.zeros((self.weights.members, self.weights.hidden), dtype=np.float32)

    def step(self, points: Array, frame: Array, state: Float32) -> NetworkJoints | None:
        """Take one frame in.

        Args:
            points: [N, 7] of ``features.point_features``; N may be 0.
            frame: [6] of ``features.frame_features``.
            state: [members, hidden], changed in place.

        Returns:
            None for features that are not finite or larger than ``LARGEST_FEATURE``; then the state is as before.

        Raises:
            ValueError: an array has another shape.
        """
        for name, shape, wanted in (
            ("points", points.shape[1:], POINT_FEATURES),
            ("frame", frame.shape, FRAME_FEATURES),
        ):
            if shape != (wanted,):
                raise ValueError(f"the {name} have {shape} features, expected ({wanted},)")
        if state.shape != (self.weights.members, self.weights.hidden) or state.dtype != np.float32:
            raise ValueError(f"the state is {state.dtype} {state.shape}; make one with start()")
        if not (np.abs(frame) <= LARGEST_FEATURE).all() or not (np.abs(points) <= LARGEST_FEATURE).all():
            return None
        told = self._tell(self._embed(points.astype(np.float32), frame.astype(np.float32)), state)
        return self._together(*told, followed=bool(frame[FOLLOWED] > 0.5))

    def _embed(self, points: Float32, frame: Float32) -> Float32:
        """What is seen in one frame [members, 1, hidden]."""
        members = self.weights.members
        pooled = self._pool(points) if len(points) else np.zeros((members, self._seen), dtype=np.float32)
        seen = np.concatenate([pooled, np.broadcast_to(frame, (members, FRAME_FEATURES))], axis=1)
        embedded = self._linear("embed", seen[:, None, :])
        centred = embedded - embedded.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + _NORM_EPSILON)
        normal: Float32 = centred / spread * self._w["norm.weight"][:, None] + self._w["norm.bias"][:, None]
        return np.maximum(normal, _ZERO)

    @property
    def _seen(self) -> int:
        return 2 * self.weights.pooled + HEADS * HEAD_SIZE

    def _pool(self, points: Float32) -> Float32:
        """Features of the cloud [members, seen] from [N, 7]."""
        first = np.maximum(self._linear("point1", points[None]), 0.0)
        second = np.maximum(self._linear("point2", first), 0.0)
        scores = self._linear("attention", first)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        values = self._linear("value", first).reshape(*first.shape[:2], HEADS, HEAD_SIZE)
        looked = np.matmul(shares.transpose(0, 2, 1)[:, :, None, :], values.transpose(0, 2, 1, 3))
        return np.concatenate([second.mean(axis=1), second.max(axis=1), looked.reshape(len(first), -1)], axis=1)

    def _tell(self, embedded: Float32, state: Float32) -> tuple[Float32, Float32]:
        """Differences from the mean pose and log variances [members, 19, 3]; the state goes on."""
        gates = np.matmul(embedded, self._w["gru.weight_ih_l0"])[:, 0] + self._w["gru.bias_ih_l0"]
        kept = np.matmul(state[:, None], self._w["gru.weight_hh_l0"])[:, 0] + self._w["gru.bias_hh_l0"]
        n = self.weights.hidden
        reset, update = (_sigmoid(gates[:, part] + kept[:, part]) for part in (slice(0, n), slice(n, 2 * n)))
        new = np.tanh(gates[:, 2 * n :] + reset * kept[:, 2 * n :])
        state[:] = new + update * (state - new)
        mixed = np.maximum(self._linear("mix", np.concatenate([state[:, None], embedded], axis=2)), 0.0)
        return tuple(self._linear(name, mixed).reshape(len(state), JOINTS, 3) for name in ("mean", "variance"))  # type: ignore[return-value]

    def _together(self, differences: Float32, log_variances: Float32, *, followed: bool) -> NetworkJoints:
        """The members' mixture."""
        variances = np.exp(np.clip(log_variances, LOG_VARIANCE_LOW, LOG_VARIANCE_HIGH)).mean(axis=0)
        sigmas = np.sqrt(variances + differences.var(axis=0)) * self._w["sigma_scale"][int(followed)]
        return NetworkJoints(differences.mean(axis=0) + self._w["mean_pose_m"], sigmas)

    def _linear(self, name: str, x: Float32) -> Float32:
        """[members, rows, outputs] of [members or 1, rows, inputs]."""
        y: Float32 = np.matmul(x, self._w[f"{name}.weight"]) + self._w[f"{name}.bias"][:, None]
        return y


def _sigmoid(x: Float32) -> Float32:
    y: Float32 = 0.5 + 0.5 * np.tanh(0.5 * x)
    return y
