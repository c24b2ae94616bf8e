"""The part-based inertial network as a torch module, and a whole-body one of equal size to compare with.

Source: Zhang et al., "Dynamic inertial poser (DynaIP)", arXiv 2312.02196, section 3.2-3.3, and the layers of
its published code (one linear layer, two LSTM layers, one linear layer a net; a start net of three). Differs from it in

* a second output of each net: the logarithm of the variance of each told quantity, learned on features that
  its gradient does not change (after Nix and Weigend, "Estimating the mean and variance of the target
  probability distribution", ICNN 1994);
* a learned state to begin with where no pose is known;
* state that goes on from one stretch to the next, in training as in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fusion.estimators.inertial.layout import (
    FEATURES,
    GLOBAL_SIZE,
    JOINTS,
    PARTS,
    POSE_SEGMENTS,
    SITES,
    TOLD_JOINTS,
    TOLD_SEGMENTS,
    Part,
)

GLOBAL_HIDDEN = 36
LAYERS = 2
LOG_VARIANCE_LIMIT = 12.0

State = dict[str, tuple[Tensor, Tensor]]
"""Hidden and cell states [layers, B, H] by net."""


@dataclass(frozen=True)
class Outputs:
    """Of T frames of B sequences; columns in the order of ``TOLD_JOINTS`` and ``TOLD_SEGMENTS``."""

    velocities: Tensor
    """[T, B, 3 * joints], m/s."""
    six: Tensor
    """[T, B, 6 * segments]."""
    velocity_log_variance: Tensor
    """[T, B, 3 * joints]."""
    pose_log_variance: Tensor
    """[T, B, 3 * segments] of the rotation error's vector in the root's axes, rad^2."""

    def detached(self) -> Outputs:
        """Without gradients."""
        return Outputs(*(getattr(self, name).detach() for name in self.__dataclass_fields__))


class Recurrent(nn.Module):
    """Linear, LSTM layers, linear; with a variance beside the outputs and a start of its own."""

    def __init__(self, inputs: int, outputs: int, hidden: int, variances: int, dropout: float) -> None:
        super().__init__()
        self.hidden = hidden
        self.add_module("in", nn.Linear(inputs, hidden))
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(hidden, hidden, LAYERS)
        self.out = nn.Linear(hidden, outputs)
        self.variance = nn.Linear(hidden, variances)
        self.start = nn.Sequential(
            nn.Linear(outputs, hidden), nn.ReLU(), nn.Linear(hidden, 2 * hidden), nn.ReLU(),
            nn.Linear(2 * hidden, 2 * LAYERS * hidden),
        )  # fmt: skip
        self.cold = nn.Parameter(torch.zeros(2 * LAYERS * hidden))

    def begin(self, first: Tensor, cold: Tensor) -> tuple[Tensor, Tensor]:
        """States [layers, B, H] from first outputs [B, outputs], or the learned one where ``cold`` [B]."""
        vector = torch.where(cold[:, None], self.cold, self.start(first))
        both = vector.reshape(len(first), 2, LAYERS, self.hidden).permute(1, 2, 0, 3)
        return both[0].contiguous(), both[1].contiguous()

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Outputs [T, B, outputs], log variances and the state after T frames, of inputs [T, B, inputs]."""
        hidden = self.dropout(torch.relu(self.get_submodule("in")(x)))
        hidden, state = self.lstm(hidden, state)
        variance = self.variance(hidden.detach()).clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
        return self.out(hidden), variance, state


class GlobalNet(nn.Module):
    """The small net that sees all sensors: linear, one LSTM layer, linear; begins with zeros."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.add_module("in", nn.Linear(FEATURES, GLOBAL_HIDDEN))
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(GLOBAL_HIDDEN, GLOBAL_HIDDEN)
        self.out = nn.Linear(GLOBAL_HIDDEN, GLOBAL_SIZE)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Outputs [T, B, 6] and the state after T frames."""
        hidden = self.dropout(torch.relu(self.get_submodule("in")(x)))
        hidden, state = self.lstm(hidden, state)
        return self.out(hidden), state


class _Network(nn.Module):
    """What both networks share: parts, each a velocity net and a pose net."""

    parts: Sequence[Part]
    joint_order: tuple[str, ...]
    segment_order: tuple[str, ...]

    def __init__(self, parts: Sequence[Part], hidden: int, dropout: float, globals_: int) -> None:
        super().__init__()
        self.parts = parts
        self.hidden = hidden
        self.joint_order = tuple(name for part in parts for name in part.joints)
        self.segment_order = tuple(name for part in parts for name in part.segments)
        for part in parts:
            seen, moves, stands = len(part.columns), 3 * len(part.joints), 6 * len(part.segments)
            self.add_module(part.name, nn.ModuleDict({
                "velocity": Recurrent(seen, moves, hidden, moves, dropout),
                "pose": Recurrent(seen + globals_ + moves, stands, hidden, stands // 2, dropout),
            }))  # fmt: skip

    def net(self, part: Part, kind: str) -> Recurrent:
        """The velocity or pose net of a part."""
        net = self.get_submodule(f"{part.name}.{kind}")
        assert isinstance(net, Recurrent)
        return net

    def begin(self, first_velocities: Tensor, first_six: Tensor, cold: Tensor) -> State:
        """States to begin with.

        Args:
            first_velocities: [B, 6, 3] of ``JOINTS``.
            first_six: [B, 11, 6] of ``POSE_SEGMENTS``.
            cold: [B] bool: nothing is known of these.
        """
        state: State = {}
        for part in self.parts:
            moves = first_velocities[:, [JOINTS.index(name) for name in part.joints]].flatten(1)
            stands = first_six[:, [POSE_SEGMENTS.index(name) for name in part.segments]].flatten(1)
            state[f"{part.name}.velocity"] = self.net(part, "velocity").begin(moves, cold)
            state[f"{part.name}.pose"] = self.net(part, "pose").begin(stands, cold)
        return state

    def _told(self, x: Tensor, features: Tensor | None, state: State) -> tuple[Outputs, State]:
        kept: State = {}
        columns: dict[str, list[Tensor]] = {"velocities": [], "six": [], "moving": [], "standing": []}
        for part in self.parts:
            seen = x[..., list(part.columns)]
            name = f"{part.name}.velocity"
            velocity, moving, kept[name] = self.net(part, "velocity")(seen, state[name])
            name = f"{part.name}.pose"
            inputs = [seen, velocity] if features is None else [seen, features, velocity]
            six, standing, kept[name] = self.net(part, "pose")(torch.cat(inputs, -1), state[name])
            for key, value in zip(columns, (velocity, six, moving, standing), strict=True):
                columns[key].append(value)
        joined = [torch.cat(values, -1) for values in columns.values()]
        return Outputs(*joined), kept


class PartNetwork(_Network):
    """The part-based network."""

    def __init__(self, hidden: int, dropout: float = 0.2) -> None:
        super().__init__(PARTS, hidden, dropout, GLOBAL_SIZE)
        assert (self.joint_order, self.segment_order) == (TOLD_JOINTS, TOLD_SEGMENTS)
        self.add_module("global", GlobalNet(dropout))

    def begin(self, first_velocities: Tensor, first_six: Tensor, cold: Tensor) -> State:
        """See the base."""
        state = super().begin(first_velocities, first_six, cold)
        zeros = first_six.new_zeros(1, len(first_six), GLOBAL_HIDDEN)
        state["global"] = (zeros, zeros)
        return state

    def forward(self, x: Tensor, state: State) -> tuple[Outputs, State]:
        """Tell of T frames.

        Args:
            x: features [T, B, 69].
            state: of ``begin`` or of the frames before.
        """
        features, kept = self.get_submodule("global")(x, state["global"])
        outputs, after = self._told(x, features, state)
        after["global"] = kept
        return outputs, after

    def step(self, x: Tensor, state: State) -> tuple[Outputs, State]:
        """Tell of one frame [B, 69]: ``forward`` with T = 1."""
        return self.forward(x[None], state)


class WholeBodyNetwork(_Network):
    """One velocity net and one pose net that see all sensors and tell everything: what parts are compared with."""

    def __init__(self, hidden: int, dropout: float = 0.2) -> None:
        super().__init__((Part("body", SITES, JOINTS, POSE_SEGMENTS),), hidden, dropout, 0)

    def forward(self, x: Tensor, state: State) -> tuple[Outputs, State]:
        """See ``PartNetwork.forward``."""
        return self._told(x, None, state)


def parameters_of(network: nn.Module) -> int:
    """How many numbers a network has."""
    return sum(parameter.numel() for parameter in network.parameters())


def whole_body_of_equal_size(parts: PartNetwork) -> WholeBodyNetwork:
    """The whole-body network whose number of parameters is nearest to that of a part-based one."""
    wanted = parameters_of(parts)
    low, high = parts.hidden, 4 * parts.hidden
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters_of(WholeBodyNetwork(middle)) <= wanted else (low, middle)
    return WholeBodyNetwork(low)


def base_order(outputs: Outputs, network: _Network) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What is told of each joint and segment once, in the order of ``JOINTS`` and ``POSE_SEGMENTS``.

    A joint that two parts tell of is taken from the first of them.

    Returns:
        Velocities [T, B, 6, 3], six [T, B, 11, 6] and the log variances [T, B, 6, 3] and [T, B, 11, 3].
    """
    joints = [network.joint_order.index(name) for name in JOINTS]
    segments = [network.segment_order.index(name) for name in POSE_SEGMENTS]
    return (
        in_groups(outputs.velocities, 3)[..., joints, :],
        in_groups(outputs.six, 6)[..., segments, :],
        in_groups(outputs.velocity_log_variance, 3)[..., joints, :],
        in_groups(outputs.pose_log_variance, 3)[..., segments, :],
    )


def in_groups(values: Tensor, size: int) -> Tensor:
    """Values [..., K * size] as [..., K, size]."""
    return values.reshape(*values.shape[:-1], -1, size)
