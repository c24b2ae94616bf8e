"""A regular lattice of voxels in a radar's frame, and how places in metres become places in voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion.records import Float64

Shape = tuple[int, int, int]
"""Counts of voxels: up, across, forward, the order of the axes of ``RadarTensor.power``."""


@dataclass(frozen=True, slots=True, eq=False)
class VoxelGrid:
    """Where the voxels of a radar tensor are. Vectors are right, forward, up; arrays are up, across, forward."""

    origin_m: Float64
    """[3] radar frame: centre of the first voxel."""
    steps_m: Float64
    """[3] voxel sizes, all more than 0."""
    shape: Shape

    def __post_init__(self) -> None:
        for name in ("origin_m", "steps_m"):
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.shape != (3,) or not np.isfinite(value).all():
                raise ValueError(f"{name}: expected 3 finite numbers, have {value.tolist()}")
            object.__setattr__(self, name, value)
        if (self.steps_m <= 0.0).any():
            raise ValueError(f"steps_m: {self.steps_m.tolist()}, expected metres > 0")
        object.__setattr__(self, "shape", tuple(int(count) for count in self.shape))
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"shape: {self.shape}, expected three counts of voxels from 1 on")

    def to_voxels(self, points_m: Float64) -> Float64:
        """Places [..., 3] (right, forward, up) in voxels; a whole number is the centre of a voxel."""
        return (points_m - self.origin_m) / self.steps_m

    def to_metres(self, voxels: Float64) -> Float64:
        """The inverse of ``to_voxels``."""
        return self.origin_m + voxels * self.steps_m

    def holds(self, voxels: Float64) -> bool:
        """Whether a place [3] in voxels lies in the lattice, by its whole part (as in ``floor``)."""
        up, across, forward = self.shape
        cell = np.floor(voxels)
        return bool((cell >= 0).all() and (cell < [across, forward, up]).all())

    def centres_m(self) -> Float64:
        """Centres [up, across, forward, 3] of all voxels."""
        up, across, forward = (np.arange(count, dtype=np.float64) for count in self.shape)
        z, x, y = np.meshgrid(up, across, forward, indexing="ij")
        return self.to_metres(np.stack([x, y, z], axis=-1))

    def equals(self, other: VoxelGrid, tolerance: float = 1e-3) -> bool:
        """Whether both are the same lattice, within a share of a voxel."""
        return (
            self.shape == other.shape
            and bool((np.abs(self.origin_m - other.origin_m) <= tolerance * self.steps_m).all())
            and bool((np.abs(self.steps_m - other.steps_m) <= tolerance * self.steps_m / max(self.shape)).all())
        )

    def __str__(self) -> str:
        up, across, forward = self.shape
        return (
            f"{up} x {across} x {forward} voxels (up, across, forward) of "
            f"{' x '.join(f'{step:g}' for step in self.steps_m)} m (right, forward, up) from "
            f"({', '.join(f'{value:g}' for value in self.origin_m)}) m"
        )
