"""The state of one person: coordinates, their rates and the body's lengths.

The nominal state is 44 coordinates, 44 tangent rates and the logarithms of 11
lengths; the error state has the same 99 entries in the same order. Rotations of
the root and of balls are perturbed on the right, all else by addition
(``fusion.body.kinematics``).

Source: Sola, "Quaternion kinematics for the error-state Kalman filter", arXiv
1711.02508, with local (right) perturbations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from fusion.body.kinematics import BALL, ROOT, TABLES, BodyTables
from fusion.body.skeleton import COORDINATES, LENGTHS, SEGMENTS
from fusion.maths.kernels import exp_into, log_into, multiply_into
from fusion.records import Float64, Int64

POSE = slice(0, COORDINATES)
RATE = slice(COORDINATES, 2 * COORDINATES)
LENGTH = slice(2 * COORDINATES, 2 * COORDINATES + LENGTHS)
RATE_COLUMN = COORDINATES
LENGTH_COLUMN = 2 * COORDINATES
ERRORS = 2 * COORDINATES + LENGTHS
"""Size of the error state."""


@dataclass(slots=True, eq=False)
class State:
    """All memory of one person's filter at one time; arrays are owned and changed in place."""

    time_ns: int
    nominal: Float64
    """[99] coordinates, rates (1/s), log lengths (m)."""
    covariance: Float64
    """[99, 99] of the error state."""
    landmark_noise: float
    """Learned standard deviation of 2D landmarks, as a share of the picture's height; 0 before the first."""
    born_ns: int
    """When the person was first seen."""
    measured_ns: Int64
    """[23] when a landmark last constrained each segment's joint; a large negative number before."""
    lengths_locked: bool

    def copy_from(self, other: State) -> None:
        """Become the other, without allocating."""
        self.time_ns = other.time_ns
        self.nominal[:] = other.nominal
        self.covariance[:] = other.covariance
        self.measured_ns[:] = other.measured_ns
        self.lengths_locked = other.lengths_locked
        self.landmark_noise = other.landmark_noise
        self.born_ns = other.born_ns

    def copy(self) -> State:
        """An independent copy."""
        other = empty_state()
        other.copy_from(self)
        return other

    @property
    def coordinates(self) -> Float64:
        """[44], a view."""
        return self.nominal[POSE]

    @property
    def rates(self) -> Float64:
        """[44], a view, 1/s."""
        return self.nominal[RATE]

    @property
    def lengths_m(self) -> Float64:
        """[11], m."""
        return np.exp(self.nominal[LENGTH])

    def lock_lengths(self) -> None:
        """Take the lengths as constant from now on: their error is zero and stays so."""
        self.covariance[LENGTH, :] = 0.0
        self.covariance[:, LENGTH] = 0.0
        self.lengths_locked = True


NEVER_NS = -(2**62)


def empty_state() -> State:
    """A state of zeros at time 0."""
    return State(
        time_ns=0,
        nominal=np.zeros(ERRORS),
        covariance=np.zeros((ERRORS, ERRORS)),
        landmark_noise=0.0,
        born_ns=0,
        measured_ns=np.full(SEGMENTS, NEVER_NS, dtype=np.int64),
        lengths_locked=False,
    )


@njit(cache=True)
def retract_into(tables: BodyTables, nominal: Float64, error: Float64, out: Float64) -> None:
    """out = nominal (+) error, all [99]; out may be nominal."""
    q = np.empty(4)
    turn = np.empty(4)
    product = np.empty(4)
    turned = np.empty((tables.parent.shape[0], 3))
    for s in range(tables.parent.shape[0]):
        if tables.freedom[s] == ROOT or tables.freedom[s] == BALL:
            f = tables.first[s]
            exp_into(nominal[f], nominal[f + 1], nominal[f + 2], q)
            exp_into(error[f], error[f + 1], error[f + 2], turn)
            multiply_into(q, turn, product)
            log_into(product, turned[s])
    for i in range(nominal.shape[0]):
        out[i] = nominal[i] + error[i]
    for s in range(tables.parent.shape[0]):
        if tables.freedom[s] == ROOT or tables.freedom[s] == BALL:
            for k in range(3):
                out[tables.first[s] + k] = turned[s, k]


@njit(cache=True)
def difference_into(tables: BodyTables, nominal: Float64, other: Float64, out: Float64) -> None:
    """out = other (-) nominal [99], the error that ``retract_into`` would need."""
    q = np.empty(4)
    turn = np.empty(4)
    product = np.empty(4)
    for i in range(nominal.shape[0]):
        out[i] = other[i] - nominal[i]
    for s in range(tables.parent.shape[0]):
        if tables.freedom[s] == ROOT or tables.freedom[s] == BALL:
            f = tables.first[s]
            exp_into(-nominal[f], -nominal[f + 1], -nominal[f + 2], q)
            exp_into(other[f], other[f + 1], other[f + 2], turn)
            multiply_into(q, turn, product)
            log_into(product, out[f : f + 3])


def retract(nominal: Float64, error: Float64) -> Float64:
    """nominal (+) error, both [99]."""
    out = np.empty(ERRORS)
    retract_into(TABLES, nominal, error, out)
    return out
