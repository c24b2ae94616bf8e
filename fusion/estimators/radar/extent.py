"""How large a tracked body is: the covariance of where it reflects, learned slowly.

Source: Feldmann, Fränken & Koch, "Tracking of extended objects and group targets
using random matrices", IEEE Trans. Signal Processing 59(4), 2011, section III, after
Koch, "Bayesian approach to extended object and group target tracking using random
matrices", IEEE Trans. Aerospace and Electronic Systems 44(3), 2008. Differs from
them in that the innovation of the centroid does not enlarge the extent, and that its
eigenvalues are kept within those of a body.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fusion.records import Float64

_MIN_POINTS = 3.0
HALF_SIZES_PER_SIGMA = 2.0
"""A filled ellipsoid has a covariance of about a quarter of its squared half axes (Feldmann et al., z = 1/4)."""


@dataclass(frozen=True, slots=True)
class ExtentParams:
    """What is known of bodies before any is seen."""

    horizontal_m: float = 0.22
    """Spread of a body's reflecting places about their middle, standard deviation."""
    vertical_m: float = 0.30
    smallest_m: float = 0.10
    largest_m: float = 0.45
    memory_s: float = 3.0
    """What was seen so long ago counts 1/e of what is seen now."""
    prior_points: float = 60.0
    """The first guess counts as so many points."""


@dataclass(frozen=True, slots=True, eq=False)
class Extent:
    """Spread of a body's reflecting places, world."""

    covariance_m2: Float64
    """[3, 3]."""
    points: float
    """How many points it has been learned from, older ones count less."""

    @property
    def half_sizes_m(self) -> Float64:
        """[3] along the world's axes."""
        return HALF_SIZES_PER_SIGMA * np.sqrt(self.covariance_m2.diagonal())


def first_extent(params: ExtentParams) -> Extent:
    """A body that nobody has looked at yet."""
    variances = np.square([params.horizontal_m, params.horizontal_m, params.vertical_m])
    return Extent(np.diag(variances), params.prior_points)


def learned(
    extent: Extent, scatter_m2: Float64, noise_m2: Float64, points: float, elapsed_s: float, params: ExtentParams
) -> Extent:
    """The extent after one more frame.

    Args:
        extent: as it was.
        scatter_m2: covariance [3, 3] of the frame's points about their mean, world.
        noise_m2: covariance [3, 3] of one point's measurement noise, world.
        points: how many points the frame has of the body; fewer than three tell nothing.
        elapsed_s: since the last time.
        params: limits and memory.
    """
    if points < _MIN_POINTS:
        return extent
    kept = extent.points * math.exp(-elapsed_s / params.memory_s)
    # The transformed scatter stays positive where "scatter minus noise" would not (Feldmann et al., section III).
    root = _root(extent.covariance_m2)
    whitened = root @ _inverse_root(extent.covariance_m2 + noise_m2)
    told = whitened @ scatter_m2 @ whitened.T
    mixed = (kept * extent.covariance_m2 + points * told) / (kept + points)
    values, vectors = np.linalg.eigh(0.5 * (mixed + mixed.T))
    values = np.clip(values, params.smallest_m**2, params.largest_m**2)
    return Extent((vectors * values) @ vectors.T, kept + points)


def _root(matrix: Float64) -> Float64:
    values, vectors = np.linalg.eigh(matrix)
    root: Float64 = (vectors * np.sqrt(values)) @ vectors.T
    return root


def _inverse_root(matrix: Float64) -> Float64:
    values, vectors = np.linalg.eigh(matrix)
    root: Float64 = (vectors / np.sqrt(values)) @ vectors.T
    return root
