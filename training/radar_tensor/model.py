"""The network: a high-resolution 3D backbone, a heat map of the pelvis, and an offset to every joint.

Source: Ho, Cheng et al., "RT-Pose: a 4D radar tensor-based 3D human pose estimation and localization benchmark",
ECCV 2024 (HRRadarPose), as its public configuration builds it; Wang et al., "Deep high-resolution representation
learning for visual recognition", PAMI 2021 (HRNet); Zhou et al., "Objects as points", 2019 (head).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

JOINTS = 15
HEAT_BIAS = -2.19
"""Of the heat map's last layer: every voxel begins with a chance of 0.1 (RetinaNet's prior)."""
_GROUPS = 8
_KERNEL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkParams:
    """Sizes of the network. The defaults are those of HRRadarPose."""

    doppler: int = 32
    """Channels of the input, one a range of radial velocities."""
    stages: tuple[tuple[int, ...], ...] = ((32, 32), (32, 32, 64), (32, 32, 64, 64))
    """Channels of each branch in each stage; each further branch halves all axes. All are multiples of 8."""
    merged: int = 128
    """Channels after all branches have been put together."""
    head: int = 32
    """Channels within a head."""

    def __post_init__(self) -> None:
        if self.doppler < 1:
            raise ValueError(f"doppler: {self.doppler} channels, expected at least 1")
        if not self.stages or any(len(after) != len(before) + 1 for before, after in pairwise(self.stages)):
            raise ValueError(f"stages: {self.stages}, expected each with one branch more than the one before")
        if any(channels < 1 or channels % _GROUPS for stage in self.stages for channels in stage):
            raise ValueError(f"stages: {self.stages}, expected multiples of {_GROUPS} channels")
        if min(self.merged, self.head) < 1:
            raise ValueError(f"merged, head: {self.merged}, {self.head} channels, expected at least 1")


SMALL = NetworkParams(doppler=16, stages=((16, 16), (16, 16, 32), (16, 16, 32, 32)), merged=32, head=16)
"""The same code with fewer channels, for processors, tests and demonstrations."""


def _groups(channels: int) -> int:
    """A number of groups that divides the channels: 8 where it can, else one group."""
    return _GROUPS if channels % _GROUPS == 0 else 1


def _normed(inner: int, outer: int, kernel: int = _KERNEL, stride: int = 1) -> list[nn.Module]:
    """GroupNorm, then a convolution without bias."""
    convolution = nn.Conv3d(inner, outer, kernel, stride, kernel // 2, bias=False)
    return [nn.GroupNorm(_groups(inner), inner), convolution]


class ResidualBlock(nn.Module):
    """GroupNorm, convolution, ReLU, GroupNorm, convolution, plus the input, ReLU."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        # The input of HRRadarPose has as many channels as the first branch; others are brought to it.
        self.widen = nn.Identity() if inner == outer else nn.Conv3d(inner, outer, 1)
        self.body = nn.Sequential(*_normed(outer, outer), nn.ReLU(), *_normed(outer, outer))

    def forward(self, x: Tensor) -> Tensor:
        kept = self.widen(x)
        return torch.relu(self.body(kept) + kept)


class _Down(nn.Sequential):
    """Halves all axes ``times`` times; the channels change at the last."""

    def __init__(self, inner: int, outer: int, times: int) -> None:
        layers: list[nn.Module] = []
        for left in range(times, 0, -1):
            layers += _normed(inner, outer if left == 1 else inner, stride=2)
            if left > 1:
                layers.append(nn.ReLU())
        super().__init__(*layers)


class _Fuse(nn.Module):
    """What one branch hears of all: strided convolutions from finer ones, 1x1x1 and interpolation from coarser ones."""

    def __init__(self, channels: Sequence[int], branch: int) -> None:
        super().__init__()
        self.branch = branch
        paths: list[nn.Module] = []
        for other, inner in enumerate(channels):
            if other < branch:
                paths.append(_Down(inner, channels[branch], branch - other))
            elif other == branch:
                paths.append(nn.Identity())
            else:
                paths.append(nn.Sequential(*_normed(inner, channels[branch], kernel=1)))
        self.paths = nn.ModuleList(paths)

    def forward(self, branches: list[Tensor]) -> Tensor:
        size = branches[self.branch].shape[2:]
        total = branches[self.branch]
        for other, path in enumerate(self.paths):
            if other != self.branch:
                heard = path(branches[other])
                total = total + (_resized(heard, size) if other > self.branch else heard)
        return torch.relu(total)


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return nn.functional.interpolate(x, size=list(size), mode="trilinear", align_corners=True)


class _Stage(nn.Module):
    """One residual block a branch, then every branch hears the others."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([ResidualBlock(count, count) for count in channels])
        self.fuses = nn.ModuleList([_Fuse(channels, branch) for branch in range(len(channels))])

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        inner = [block(x) for block, x in zip(self.blocks, branches, strict=True)]
        return [fuse(inner) for fuse in self.fuses]


class Backbone(nn.Module):
    """HRNet in three dimensions: the finest branch keeps the resolution of the input to the end."""

    def __init__(self, params: NetworkParams) -> None:
        super().__init__()
        stem = params.stages[0][0]
        self.stem = ResidualBlock(params.doppler, stem)
        before: tuple[int, ...] = (stem,)
        moves, stages = [], []
        for channels in params.stages:
            moves.append(_moves(before, channels))
            stages.append(_Stage(channels))
            before = channels
        self.moves = nn.ModuleList(moves)
        self.stages = nn.ModuleList(stages)
        self.merge = nn.Conv3d(sum(before), params.merged, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.stem(x)]
        for moves, stage in zip(self.moves, self.stages, strict=True):
            assert isinstance(moves, nn.ModuleList)
            branches = stage([move(branches[min(i, len(branches) - 1)]) for i, move in enumerate(moves)])
        size = branches[0].shape[2:]
        return self.merge(torch.cat([branches[0], *(_resized(x, size) for x in branches[1:])], 1))  # type: ignore[no-any-return]


def _moves(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """From the branches of one stage to those of the next; the new one comes from the coarsest."""
    moves: list[nn.Module] = [
        nn.Identity() if inner == outer else nn.Sequential(*_normed(inner, outer), nn.ReLU())
        for inner, outer in zip(before, after, strict=False)
    ]
    moves.append(nn.Sequential(*_normed(before[-1], after[-1], stride=2), nn.ReLU()))
    return nn.ModuleList(moves)


class TensorNetwork(nn.Module):
    """Heat map of the pelvis and offsets of the joints, at the resolution of the input."""

    def __init__(self, params: NetworkParams) -> None:
        super().__init__()
        self.params = params
        self.backbone = Backbone(params)
        self.heat = _head(params.merged, params.head, 1)
        self.offsets = _head(params.merged, params.head, 3 * JOINTS)
        nn.init.constant_(_bias(self.heat[-1]), HEAT_BIAS)
        for layer in (self.offsets[0], self.offsets[-1]):
            assert isinstance(layer, nn.Conv3d)
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(_bias(layer))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Heat map before its sigmoid [B, 1, up, across, forward] and offsets [B, 45, ...] in voxels.

        Args:
            x: [B, Doppler, up, across, forward], scaled as ``training.radar_tensor.layout.scaled`` does.
        """
        features = self.backbone(x)
        return self.heat(features), self.offsets(features)


def _bias(layer: nn.Module) -> Tensor:
    bias = layer.bias
    assert isinstance(bias, Tensor)
    return bias


def _head(inner: int, between: int, outer: int) -> nn.Sequential:
    reach = _KERNEL // 2
    return nn.Sequential(
        nn.Conv3d(inner, between, _KERNEL, padding=reach), nn.ReLU(), nn.Conv3d(between, outer, _KERNEL, padding=reach)
    )


def parameters_of(network: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(parameter.numel() for parameter in network.parameters())


def multiplications_of(params: NetworkParams, shape: tuple[int, int, int]) -> int:
    """Multiplications of all convolutions for one tensor of that shape; counted, not run."""
    counted = 0

    def count(module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal counted
        assert isinstance(module, nn.Conv3d)
        counted += module.weight.numel() * output[0, 0].numel()

    with torch.device("meta"):
        network = TensorNetwork(params)
        for module in network.modules():
            if isinstance(module, nn.Conv3d):
                module.register_forward_hook(count)
        network(torch.empty(1, params.doppler, *shape))
    return counted
