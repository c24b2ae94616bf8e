"""Segments with a colour at each: what a line item of any toolkit can draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusion.records import Float32
from viz.models.colours import Colour

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Straight segments."""

    ends: Float32
    """[S, 2, D]: world metres (D = 3) or pixels (D = 2)."""
    colours: Float32
    """[S, 4]: red, green, blue, opacity in 0..1."""

    def vertices(self) -> tuple[Float32, Float32]:
        """Positions [2 S, D] and colours [2 S, 4], two vertices a segment."""
        return self.ends.reshape(-1, self.ends.shape[-1]), np.repeat(self.colours, 2, axis=0)


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Round dots."""

    positions: Float32
    """[N, D]."""
    colours: Float32
    """[N, 4]."""
    sizes_px: Float32
    """[N] diameter on the screen."""


def no_lines(dimensions: int = 3) -> Lines:
    """An empty set of segments."""
    return Lines(np.zeros((0, 2, dimensions), np.float32), np.zeros((0, 4), np.float32))


def no_points(dimensions: int = 3) -> Points:
    """An empty set of dots."""
    return Points(np.zeros((0, dimensions), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


def joined_lines(parts: Iterable[Lines], dimensions: int = 3) -> Lines:
    """All segments of several sets, without those that are not finite."""
    ends, colours = [no_lines(dimensions).ends], [no_lines(dimensions).colours]
    for part in parts:
        finite = np.isfinite(part.ends).all(axis=(1, 2))
        ends.append(part.ends[finite])
        colours.append(part.colours[finite])
    return Lines(np.concatenate(ends), np.concatenate(colours))


def joined_points(parts: Iterable[Points], dimensions: int = 3) -> Points:
    """All dots of several sets, without those that are not finite."""
    empty = no_points(dimensions)
    positions, colours, sizes = [empty.positions], [empty.colours], [empty.sizes_px]
    for part in parts:
        finite = np.isfinite(part.positions).all(axis=1)
        positions.append(part.positions[finite])
        colours.append(part.colours[finite])
        sizes.append(part.sizes_px[finite])
    return Points(np.concatenate(positions), np.concatenate(colours), np.concatenate(sizes))


def uniform(colour: Colour, opacity: float, count: int) -> Float32:
    """[count, 4] of one colour."""
    return np.tile(np.array([*colour, opacity], dtype=np.float32), (count, 1))
