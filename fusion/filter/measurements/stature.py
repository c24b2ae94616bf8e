"""A known standing height, as a measurement of the lengths that add up to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

from fusion.body.skeleton import LENGTH, LENGTHS, PARENTS, REFERENCE_LENGTHS_M, SEGMENT, reference_offsets
from fusion.filter.state import LENGTH_COLUMN, State
from fusion.filter.system import Body, System, add_feature, add_observation
from fusion.records import Float64


@dataclass(frozen=True, slots=True)
class StatureParams:
    """How far a standing height is trusted."""

    sigma_m: float = 0.02
    """Standard deviation: shoes, hair, how upright; and that the body's proportions are not quite a person's."""


@lru_cache(maxsize=1)
def stature_shares() -> Float64:
    """Metres of standing height per metre of each length [11]: how the lengths add up from the soles to the top.

    In the T-pose: from the sole below the toe joint up to the pelvis, from there to the base of the skull, and the
    length of the head.
    """
    offsets, length = reference_offsets()
    shares = np.zeros(LENGTHS)
    for segment, sign in (("head", 1.0), ("left_toe", -1.0)):
        s = SEGMENT[segment]
        while PARENTS[s] >= 0:
            shares[length[s]] += sign * offsets[s, 2] / REFERENCE_LENGTHS_M[length[s]]
            s = int(PARENTS[s])
    shares[LENGTH["head"]] += 1.0
    return shares


def stature_of(lengths_m: Float64) -> float:
    """Standing height in metres of a body with lengths [11]."""
    return float(stature_shares() @ lengths_m)


@njit(cache=True)
def stature_row(body: Body, system: System, shares: Float64, measured: float, variance: float) -> None:
    """Append one standing height in metres."""
    f = add_feature(system, 1)
    o = add_observation(system, f, 1, 0)
    if o < 0:
        return
    predicted = 0.0
    for i in range(shares.shape[0]):
        part = shares[i] * body.lengths_m[i]
        predicted += part
        system.jacobian[f, 0, LENGTH_COLUMN + i] = part
    system.residual[o, 0] = measured - predicted
    system.variance[o, 0] = variance


@dataclass(frozen=True, slots=True, eq=False)
class StatureMeasurement:
    """A person's standing height; it is to be taken in once, as it does not become surer by being repeated."""

    time_ns: int
    source: str
    stature_m: float
    params: StatureParams

    @property
    def linear(self) -> bool:
        """See ``Measurement``."""
        return True

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """See ``Measurement``. What is no number is left out."""
        if math.isfinite(self.stature_m):
            stature_row(body, system, stature_shares(), self.stature_m, self.params.sigma_m**2)

    def learn(self, state: State, system: System) -> None:
        """Nothing is remembered."""
