"""The state of one person: coordinates, the body's lengths, the floor, rates, and what is unknown of each IMU.

The nominal state and the error state have the same entries in the same order
(n = 100 + 7 M for a wearer of M IMUs):

| columns | what |
| --- | --- |
| 0..43 | coordinates (``fusion.body.skeleton.COORDINATE_NAMES``) |
| 44..54 | logarithms of the lengths |
| 55 | height of the floor, m |
| 56..99 | tangent rates of the coordinates, 1/s |
| 100 + 7 k .. | IMU k: mounting error [3] rad, heading error rad, gyroscope bias [3] rad/s |

What pictures tell of comes first, so that an update by landmarks works on a
leading block. Rotations of the root, of balls and of mountings are perturbed on
the right, all else by addition (``fusion.body.kinematics``). A slow state that
does not exist (a locked length, an IMU that is silent) has no covariance.

Source: Sola, "Quaternion kinematics for the error-state Kalman filter", arXiv
1711.02508, with local (right) perturbations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from fusion.body.kinematics import BALL, ROOT, TABLES, BodyTables
from fusion.body.skeleton import COORDINATES, LENGTHS, SEGMENTS
from fusion.maths.kernels import conjugated, exponential, logarithm, multiplied
from fusion.records import Float64, Int64

LENGTH_COLUMN = COORDINATES
FLOOR_COLUMN = COORDINATES + LENGTHS
RATE_COLUMN = FLOOR_COLUMN + 1
IMU_COLUMN = RATE_COLUMN + COORDINATES
BODY_ERRORS = IMU_COLUMN
"""Size of the error state of a person without IMUs."""
IMU_SIZE = 7
"""States of one IMU: mounting, heading, gyroscope bias."""
IMU_HEADING, IMU_BIAS = 3, 4
"""Where heading and bias stand within an IMU's states."""

POSE = slice(0, COORDINATES)
LENGTH = slice(LENGTH_COLUMN, FLOOR_COLUMN)
RATE = slice(RATE_COLUMN, IMU_COLUMN)

NEVER_NS = -(2**62)


def errors_of(imus: int) -> int:
    """Size of the error state of a wearer of so many IMUs."""
    return BODY_ERRORS + IMU_SIZE * imus


@dataclass(slots=True, eq=False)
class State:
    """All memory of one person's filter at one time; arrays are owned and changed in place."""

    time_ns: int
    nominal: Float64
    """[n] see the module."""
    covariance: Float64
    """[n, n] of the error state."""
    landmark_noise: float
    """Learned standard deviation of 2D landmarks, as a share of the picture's height; 0 before the first."""
    born_ns: int
    """When the person was first seen."""
    measured_ns: Int64
    """[23] when a landmark last constrained each segment's joint; ``NEVER_NS`` before."""
    lengths_locked: bool
    imu_ns: Int64
    """[M] when each IMU was last heard; ``NEVER_NS`` where its states do not exist."""
    contact_ns: int
    """When the feet were last asked whether they stand."""
    seen_by: str = ""
    """The camera that showed the person last,"""
    seen_ns: int = NEVER_NS
    """and when."""
    stereo_ns: int = NEVER_NS
    """When several views, or places in space, last told of the body: one view alone cannot tell its lengths."""

    def copy_from(self, other: State) -> None:
        """Become the other, which has as many IMUs, without allocating."""
        self.time_ns = other.time_ns
        self.nominal[:] = other.nominal
        self.covariance[:] = other.covariance
        self.measured_ns[:] = other.measured_ns
        self.lengths_locked = other.lengths_locked
        self.landmark_noise = other.landmark_noise
        self.born_ns = other.born_ns
        self.imu_ns[:] = other.imu_ns
        self.contact_ns = other.contact_ns
        self.seen_by = other.seen_by
        self.seen_ns = other.seen_ns
        self.stereo_ns = other.stereo_ns

    def copy(self) -> State:
        """An independent copy."""
        other = empty_state(self.imus)
        other.copy_from(self)
        return other

    @property
    def imus(self) -> int:
        """How many IMUs there is room for."""
        return len(self.imu_ns)

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


def empty_state(imus: int = 0) -> State:
    """A state of zeros at time 0, with room for so many IMUs."""
    size = errors_of(imus)
    return State(
        time_ns=0,
        nominal=np.zeros(size),
        covariance=np.zeros((size, size)),
        landmark_noise=0.0,
        born_ns=0,
        measured_ns=np.full(SEGMENTS, NEVER_NS, dtype=np.int64),
        lengths_locked=False,
        imu_ns=np.full(imus, NEVER_NS, dtype=np.int64),
        contact_ns=NEVER_NS,
    )


def with_imus(state: State, imus: int) -> State:
    """A copy with room for another number of IMUs, none of them heard yet."""
    other = empty_state(imus)
    other.nominal[:BODY_ERRORS] = state.nominal[:BODY_ERRORS]
    other.covariance[:BODY_ERRORS, :BODY_ERRORS] = state.covariance[:BODY_ERRORS, :BODY_ERRORS]
    other.time_ns, other.born_ns, other.contact_ns = state.time_ns, state.born_ns, state.contact_ns
    other.measured_ns[:] = state.measured_ns
    other.landmark_noise, other.lengths_locked = state.landmark_noise, state.lengths_locked
    other.seen_by, other.seen_ns, other.stereo_ns = state.seen_by, state.seen_ns, state.stereo_ns
    return other


@njit(cache=True)
def _turn(nominal: Float64, error: Float64, first: int, out: Float64) -> None:
    """Right-perturb the rotation vector that begins at ``first``."""
    q = multiplied(
        exponential(nominal[first], nominal[first + 1], nominal[first + 2]),
        exponential(error[first], error[first + 1], error[first + 2]),
    )
    out[first], out[first + 1], out[first + 2] = logarithm(q)


@njit(cache=True)
def retract_into(tables: BodyTables, nominal: Float64, error: Float64, out: Float64) -> None:
    """out = nominal (+) error, all [n]; out may be nominal."""
    size = nominal.shape[0]
    for s in range(tables.parent.shape[0]):
        if tables.freedom[s] == ROOT or tables.freedom[s] == BALL:
            _turn(nominal, error, tables.first[s], out)
    for i in range(tables.turns.shape[0]):
        if not tables.turns[i]:
            out[i] = nominal[i] + error[i]
    for i in range(LENGTH_COLUMN, IMU_COLUMN):
        out[i] = nominal[i] + error[i]
    for first in range(IMU_COLUMN, size, IMU_SIZE):
        _turn(nominal, error, first, out)
        for i in range(first + IMU_HEADING, first + IMU_SIZE):
            out[i] = nominal[i] + error[i]


@njit(cache=True)
def _turn_between(nominal: Float64, other: Float64, first: int, out: Float64) -> None:
    q = multiplied(
        conjugated(exponential(nominal[first], nominal[first + 1], nominal[first + 2])),
        exponential(other[first], other[first + 1], other[first + 2]),
    )
    out[first], out[first + 1], out[first + 2] = logarithm(q)


@njit(cache=True)
def difference_into(tables: BodyTables, nominal: Float64, other: Float64, out: Float64) -> None:
    """out = other (-) nominal [n], the error that ``retract_into`` would need."""
    size = nominal.shape[0]
    for i in range(size):
        out[i] = other[i] - nominal[i]
    for s in range(tables.parent.shape[0]):
        if tables.freedom[s] == ROOT or tables.freedom[s] == BALL:
            _turn_between(nominal, other, tables.first[s], out)
    for first in range(IMU_COLUMN, size, IMU_SIZE):
        _turn_between(nominal, other, first, out)


def retract(nominal: Float64, error: Float64) -> Float64:
    """nominal (+) error, both [n]."""
    out = np.empty(len(nominal))
    retract_into(TABLES, nominal, error, out)
    return out
