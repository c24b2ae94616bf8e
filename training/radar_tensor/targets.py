"""What the network is to answer: a bump at the pelvis, and every joint's offset from the pelvis's voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion.maths.voxels import VoxelGrid
from fusion.records import Float64

Float32 = NDArray[np.float32]

RADIUS = 2
"""Voxels that the bump reaches to each side."""
SIGMA = (2 * RADIUS + 1) / 6.0


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Of one tensor."""

    heat: Float32
    """[up, across, forward], 1 at the pelvis's voxel."""
    offsets: Float32
    """[45] right, forward, up of each joint in voxels from that voxel."""
    voxel: int
    """Index of that voxel in the flattened lattice."""
    inside: bool
    """Whether the pelvis is in the lattice; else the heat is 0 everywhere and nothing is regressed."""


def bump() -> Float32:
    """The bump [5, 5, 5].

    Source: RT-Pose's drawing function, whose exponent is r^2 / (2 sigma^2)^(3/2), so it is no Gaussian of that
    sigma; kept as it is.
    """
    steps = np.arange(-RADIUS, RADIUS + 1, dtype=np.float64)
    squares = steps[:, None, None] ** 2 + steps[:, None] ** 2 + steps**2
    return np.asarray(np.exp(-squares / (2.0 * SIGMA**2) ** 1.5), dtype=np.float32)


def target_of(joints_m: Float64, grid: VoxelGrid) -> Target:
    """The target of joints [15, 3] in the radar frame; the first is the pelvis."""
    voxels = grid.to_voxels(joints_m)
    heat = np.zeros(grid.shape, dtype=np.float32)
    if not grid.holds(voxels[0]):
        return Target(heat, np.zeros(voxels.size, dtype=np.float32), 0, False)
    across, forward, up = (int(value) for value in np.floor(voxels[0]))
    centre = (up, across, forward)
    into, out_of = [], []
    for middle, count in zip(centre, grid.shape, strict=True):
        low, high = max(middle - RADIUS, 0), min(middle + RADIUS + 1, count)
        into.append(slice(low, high))
        out_of.append(slice(low - middle + RADIUS, high - middle + RADIUS))
    heat[tuple(into)] = bump()[tuple(out_of)]
    offsets = (voxels - np.floor(voxels[0])).astype(np.float32).ravel()
    return Target(heat, offsets, int(np.ravel_multi_index(centre, grid.shape)), True)


def losses_of(heat: Any, offsets: Any, targets: list[Target]) -> dict[str, Any]:
    """Focal loss of the heat map and the mean distance of the offsets, summed over their 45 numbers.

    Source: Law and Deng, "CornerNet", ECCV 2018, eq. 1, with alpha 2 and beta 4; RT-Pose's configuration.

    Args:
        heat: tensor [B, 1, up, across, forward] before the sigmoid.
        offsets: tensor [B, 45, up, across, forward].
        targets: B of them.
    """
    import torch

    device = heat.device
    chance = torch.sigmoid(heat[:, 0].float()).clamp(_CHANCE_LEAST, 1.0 - _CHANCE_LEAST)
    truth = torch.from_numpy(np.stack([target.heat for target in targets])).to(device)
    there = torch.tensor([target.inside for target in targets], dtype=torch.float32, device=device)
    voxel = torch.tensor([target.voxel for target in targets], device=device)
    wanted = torch.from_numpy(np.stack([target.offsets for target in targets])).to(device)
    count = there.sum()
    empty = torch.log(1.0 - chance) * chance**_ALPHA * (1.0 - truth) ** _BETA
    peak = chance.flatten(1).gather(1, voxel[:, None])[:, 0]
    full = torch.log(peak) * (1.0 - peak) ** _ALPHA * there
    told = offsets.float().flatten(2).gather(2, voxel[:, None, None].expand(-1, offsets.shape[1], 1))[..., 0]
    apart = (told - wanted).abs().sum(1) * there
    return {
        "heat": -(empty.sum() + full.sum()) / count.clamp(min=1.0),
        "offsets": apart.sum() / (count + _LITTLE),
    }


_ALPHA, _BETA = 2, 4
_CHANCE_LEAST = 1e-4
_LITTLE = 1e-4
