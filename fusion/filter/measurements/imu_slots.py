"""What is unknown of each IMU: how it sits, where its heading points, its gyroscope's bias.

A slot's states begin when the IMU is first heard, walk while it is heard, and
end when it has been silent: IMUs that come and go leave nothing behind. The
heading begins with the first orientation: until then it has no covariance.

Errors that stay the same over many samples are what these states are for. What
they do not hold (soft tissue, an orientation filter's own lag) is correlated in
time too; the variances that a measurement is given must be inflated for that by
whoever knows the rate (by about twice the correlation time over the interval).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fusion.filter.state import BODY_ERRORS, IMU_BIAS, IMU_HEADING, IMU_SIZE, NEVER_NS, State
from fusion.records import Float64, Int64

_FREE = -1
"""Slot of an IMU that has no slow states."""


@dataclass(frozen=True, slots=True)
class ImuStateParams:
    """How uncertain an IMU's slow states are at first, and how fast they walk."""

    mounting_rad: float = math.radians(6.0)
    """Standard deviation at first, per axis."""
    heading_rad: float = 3.0
    """Standard deviation at first: an orientation filter's heading is anyone's guess. It makes the first
    orientation set the heading against the body as far as the body's own heading is known."""
    bias_rad_s: float = 0.02
    """Standard deviation at first, per axis."""
    mounting_walk: float = 0.002
    """rad per square root of a second: straps slip."""
    heading_walk: float = 0.012
    """rad per square root of a second, without a magnetometer; it stands for the steady drift by a gyroscope's
    bias that nobody knows (``docs/inertial.md``)."""
    bias_walk: float = 2e-4
    """rad/s per square root of a second."""


def slot_columns(slot: int) -> slice:
    """Where the states of a slot stand."""
    first = BODY_ERRORS + IMU_SIZE * slot
    return slice(first, first + IMU_SIZE)


def slots_within(state: State, slots: Int64) -> Int64:
    """The slots [M] that the state has room for; -1 for the others."""
    return np.where((slots >= 0) & (slots < state.imus), slots, _FREE)


def start_slots(state: State, nominal: Float64, slots: Int64, time_ns: int, params: ImuStateParams) -> None:
    """Begin the mounting and the bias of slots [M] that do not exist yet, in place; others stay as they are.

    Args:
        state: gets the prior covariance and the time.
        nominal: [n] linearisation point of the update; its entries are set to zero as the state's are.
        slots: negative for none.
        time_ns: when the IMUs were heard.
        params: see there.
    """
    for slot in slots:
        if slot < 0 or state.imu_ns[slot] != NEVER_NS:
            continue
        columns = slot_columns(int(slot))
        _forget(state, columns)
        nominal[columns] = 0.0
        variances = np.zeros(IMU_SIZE)
        variances[:IMU_HEADING] = params.mounting_rad**2
        variances[IMU_BIAS:] = params.bias_rad_s**2
        state.covariance[columns, columns] = np.diag(variances)
        state.imu_ns[slot] = time_ns


def start_heading(state: State, nominal: Float64, slot: int, heading_rad: float, params: ImuStateParams) -> None:
    """Begin the heading of a slot (anew), in place: at a value that an orientation tells; NaN begins nothing."""
    column = slot_columns(slot).start + IMU_HEADING
    if not math.isfinite(heading_rad):
        return
    _forget(state, slice(column, column + 1))
    state.nominal[column] = nominal[column] = heading_rad
    state.covariance[column, column] = params.heading_rad**2


def heading_variance(state: State, slot: int) -> float:
    """Variance of a slot's heading, rad^2; 0 where it has not begun."""
    column = slot_columns(slot).start + IMU_HEADING
    return float(state.covariance[column, column])


def hear(state: State, slots: Int64, time_ns: int) -> None:
    """Remember, in place, when slots were last heard."""
    for slot in slots:
        if slot >= 0:
            state.imu_ns[slot] = max(int(state.imu_ns[slot]), time_ns)


def stop_silent_slots(state: State, time_ns: int, after_s: float) -> None:
    """End, in place, the slots that have not been heard for longer than ``after_s``."""
    for slot in range(state.imus):
        heard = int(state.imu_ns[slot])
        if heard != NEVER_NS and time_ns - heard > after_s * 1e9:
            _forget(state, slot_columns(slot))
            state.imu_ns[slot] = NEVER_NS


def _forget(state: State, columns: slice) -> None:
    state.nominal[columns] = 0.0
    state.covariance[columns, :] = 0.0
    state.covariance[:, columns] = 0.0
