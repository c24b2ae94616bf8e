"""The radar network as a torch module; what it computes stands in ``fusion.estimators.radar.network``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fusion.estimators.radar.features import FRAME_FEATURES, POINT_FEATURES
from fusion.estimators.radar.network import LOG_VARIANCE_HIGH, LOG_VARIANCE_LOW
from fusion.estimators.radar.packing import COORDINATES, HEAD_SIZE, HEADS, POINT_SIZE

_FIRST_LOG_VARIANCE = -5.5
"""Of 6 cm: about what is told at the end."""


@dataclass(frozen=True)
class Outputs:
    """Of T frames of B clips."""

    differences: Tensor
    """[B, T, 57] from the mean pose, m."""
    log_variances: Tensor
    """[B, T, 57], m^2."""


class PointNetwork(nn.Module):
    """One member: points of each frame pooled, a recurrent cell over frames, joints with their variances."""

    def __init__(self, hidden: int, pooled: int, dropout: float) -> None:
        super().__init__()
        self.point1 = nn.Linear(POINT_FEATURES, POINT_SIZE)
        self.point2 = nn.Linear(POINT_SIZE, pooled)
        self.attention = nn.Linear(POINT_SIZE, HEADS)
        self.value = nn.Linear(POINT_SIZE, HEADS * HEAD_SIZE)
        self.embed = nn.Linear(2 * pooled + HEADS * HEAD_SIZE + FRAME_FEATURES, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.mix = nn.Linear(2 * hidden, hidden)
        self.mean = nn.Linear(hidden, COORDINATES)
        self.variance = nn.Linear(hidden, COORDINATES)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.variance.weight)
        nn.init.constant_(self.variance.bias, _FIRST_LOG_VARIANCE)

    def forward(self, points: Tensor, present: Tensor, frames: Tensor) -> Outputs:
        """Joints of points [B, T, N, 7], of which those ``present`` [B, T, N] count, and frames [B, T, 6]."""
        seen = torch.cat([self.pool(points, present), frames], dim=-1)
        embedded = self.dropout(torch.relu(self.norm(self.embed(seen))))
        remembered = self.dropout(self.gru(embedded)[0])
        mixed = self.dropout(torch.relu(self.mix(torch.cat([remembered, embedded], dim=-1))))
        return Outputs(self.mean(mixed), self.variance(mixed).clamp(LOG_VARIANCE_LOW, LOG_VARIANCE_HIGH))

    def pool(self, points: Tensor, present: Tensor) -> Tensor:
        """Features of each cloud [B, T, 2 pooled + 64] in whatever order; zeros where there are no points."""
        some = present.any(dim=-1, keepdim=True)
        # Where no point is, one that is there stands again: the maximum is the same, and nothing large is masked.
        filler = points.gather(2, present.byte().argmax(dim=-1)[..., None, None].expand(-1, -1, 1, points.shape[-1]))
        first = torch.relu(self.point1(torch.where(present[..., None], points, filler)))
        second = torch.relu(self.point2(first))
        absent = ~present[..., None]
        shares = self.attention(first).masked_fill(absent, -1e4).softmax(dim=-2).masked_fill(absent, 0.0)
        even = present.to(second.dtype) / present.sum(dim=-1, keepdim=True).clamp(min=1)
        mean = torch.matmul(even[..., None, :].to(second.dtype), second).squeeze(-2)
        # Shares of values are values of shares.
        looked = torch.matmul(shares.transpose(-1, -2).to(first.dtype), first)
        by_head = self.value.weight.reshape(HEADS, HEAD_SIZE, -1)
        told = torch.einsum("bthi,hoi->btho", looked, by_head.to(looked.dtype)).flatten(-2) + self.value.bias * some
        return torch.cat([mean, second.amax(dim=-2) * some, told], dim=-1)
