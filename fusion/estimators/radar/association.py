"""Which point is whose: gates about the tracks, and shares where gates overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusion.estimators.radar.polar import RADIAL_VELOCITY, residuals, unfolded
from fusion.records import Bool, Float64, Int64


@dataclass(frozen=True, slots=True)
class GateParams:
    """Which points a track may claim."""

    distance: float = 4.0
    """Mahalanobis distance of a point in range, azimuth, elevation and radial velocity."""
    reach_m: float = 0.6
    """Of somebody who walks: no farther from the track's middle than this, seen from above."""
    standing_reach_m: float = 0.8
    """Of somebody who stands and may stretch out the arms."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A track as one radar expects its points."""

    measure: Float64
    """[4]; the range is that of the near surface."""
    jacobian: Float64
    """[4, 6]."""
    spread: Float64
    """[4, 4] of one point about the body's middle."""
    covariance: Float64
    """[4, 4] of one point about the measure: spread and the track's own uncertainty."""
    place_m: Float64
    """[3] world."""
    reach_m: float
    """Points farther away than this, seen from above, are not the track's."""


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """How the points of a frame are divided among T tracks."""

    weights: Float64
    """[T, N]; a column sums to 1 where a track claims the point, else to 0."""
    rates_m_s: Float64
    """[T, N] radial velocities, unfolded to be nearest to what the track expects."""
    owner: Int64
    """[N] row of the likeliest track, -1 where none claims the point."""


def shares(
    measured: Float64, places_m: Float64, views: Sequence[View], fold_m_s: float | None, params: GateParams
) -> Shares:
    """Divide points among tracks in proportion to each track's likelihood of them.

    Args:
        measured: [N, 4].
        places_m: [N, 3] world.
        views: of the tracks.
        fold_m_s: largest radial velocity that the radar tells apart; None where it does not fold.
        params: gates.
    """
    likelihoods = np.zeros((len(views), len(measured)))
    rates = np.tile(measured[:, RADIAL_VELOCITY], (len(views), 1))
    for row, view in enumerate(views):
        if fold_m_s is not None:
            rates[row] = unfolded(rates[row], view.measure[RADIAL_VELOCITY], fold_m_s)
        own = measured.copy()
        own[:, RADIAL_VELOCITY] = rates[row]
        likelihoods[row] = _likelihood(own, places_m, view, params)
    total = likelihoods.sum(axis=0)
    claimed = total > 0.0
    weights = np.divide(likelihoods, total, out=np.zeros_like(likelihoods), where=claimed)
    owner = np.where(claimed, likelihoods.argmax(axis=0), -1) if len(views) else np.full(len(measured), -1)
    return Shares(weights, rates, owner.astype(np.int64))


def _likelihood(measured: Float64, places_m: Float64, view: View, params: GateParams) -> Float64:
    """[N] up to a common factor; 0 outside the gate."""
    difference = residuals(measured, view.measure)
    square = (difference @ np.linalg.inv(view.covariance) * difference).sum(axis=1)
    shift = places_m[:, :2] - view.place_m[:2]
    inside: Bool = (square < params.distance**2) & ((shift**2).sum(axis=1) < view.reach_m**2)
    return np.where(inside, np.exp(-0.5 * square) / math.sqrt(np.linalg.det(view.covariance)), 0.0)
