"""The system of an update: residual rows in blocks, filled by the measurements.

All arrays are made once and used again; ``filled`` counts the rows in use.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
from numba import njit

from fusion.body.skeleton import SEGMENTS
from fusion.filter.state import ERRORS, State
from fusion.records import Float64, Int64

MAX_ROWS = 320
"""Most scalar measurements in one update: 133 landmarks of a whole-body set, limits and priors."""


class Body(NamedTuple):
    """Kinematics at the current linearisation point."""

    positions: Float64
    """[23, 3]."""
    quaternions: Float64
    """[23, 4]."""
    axes_world: Float64
    """[23, 3, 3]."""
    lengths_m: Float64
    """[11]."""


class Rows(NamedTuple):
    """Stacked measurements: ``residual = measured - predicted`` and its Jacobian."""

    jacobian: Float64
    """[MAX_ROWS, 99]."""
    residual: Float64
    """[MAX_ROWS] in the measurement's unit."""
    variance: Float64
    """[MAX_ROWS] unit^2."""
    block: Int64
    """[MAX_ROWS] first row of the block that a row belongs to; a block is gated and weighed as one."""
    robust: Int64
    """[MAX_ROWS] 1 where the block may be an outlier."""
    source: Int64
    """[MAX_ROWS] the measurement's own index of the block (the landmark)."""
    filled: Int64
    """[1] number of rows in use."""


def make_body() -> Body:
    """Empty kinematics."""
    return Body(np.zeros((SEGMENTS, 3)), np.zeros((SEGMENTS, 4)), np.zeros((SEGMENTS, 3, 3)), np.zeros(11))


def make_rows() -> Rows:
    """An empty system."""
    return Rows(
        jacobian=np.zeros((MAX_ROWS, ERRORS)),
        residual=np.zeros(MAX_ROWS),
        variance=np.ones(MAX_ROWS),
        block=np.zeros(MAX_ROWS, dtype=np.int64),
        robust=np.zeros(MAX_ROWS, dtype=np.int64),
        source=np.zeros(MAX_ROWS, dtype=np.int64),
        filled=np.zeros(1, dtype=np.int64),
    )


@njit(cache=True)
def usable(values: Float64, variance: float) -> bool:
    """Whether all of a block's values are numbers and its variance is one that a measurement can have."""
    for i in range(values.shape[0]):
        if not math.isfinite(values[i]):
            return False
    return variance > 0.0 and math.isfinite(variance)


class Measurement(Protocol):
    """What one update takes in."""

    @property
    def time_ns(self) -> int:
        """When the world was so, on the session clock."""
        ...

    @property
    def source(self) -> str:
        """Where from; breaks ties between measurements of one time."""
        ...

    @property
    def linear(self) -> bool:
        """Whether one iteration is enough: its prediction is nearly linear within its own noise."""
        ...

    def add_rows(self, state: State, nominal: Float64, body: Body, rows: Rows) -> None:
        """Append this measurement's rows, linearised at ``nominal`` [99] with kinematics ``body``."""
        ...

    def learn(self, state: State, weights: Float64, rows: Rows) -> None:
        """After the update: remember what the residuals and weights [rows] tell (noise scale, joints seen)."""
        ...
