"""Slots of IMUs: begin, walk, end, and leave nothing behind."""

from __future__ import annotations

import math

import numpy as np

from fusion.filter.measurements.imu_slots import (
    ImuStateParams,
    heading_variance,
    hear,
    slot_columns,
    slots_within,
    start_heading,
    start_slots,
    stop_silent_slots,
)
from fusion.filter.state import BODY_ERRORS, IMU_HEADING, IMU_SIZE, NEVER_NS, State, empty_state

PARAMS = ImuStateParams()


def crowded(imus: int = 3) -> State:
    """A state whose every entry is taken."""
    state = empty_state(imus)
    state.nominal[:] = 1.0
    state.covariance[:] = 0.5 + np.eye(len(state.nominal))
    return state


def test_a_slot_begins_once() -> None:
    state = crowded()
    nominal = state.nominal.copy()
    start_slots(state, nominal, np.array([2, -1]), 5, PARAMS)
    columns = slot_columns(2)
    assert (columns.start, columns.stop) == (BODY_ERRORS + 2 * IMU_SIZE, BODY_ERRORS + 3 * IMU_SIZE)
    expected = [PARAMS.mounting_rad**2] * 3 + [0.0] + [PARAMS.bias_rad_s**2] * 3
    np.testing.assert_allclose(state.covariance[columns, columns], np.diag(expected))
    assert not state.covariance[: columns.start, columns].any()
    assert not state.covariance[columns, : columns.start].any()
    assert not state.nominal[columns].any()
    assert not nominal[columns].any()
    assert state.nominal[: columns.start].all()
    assert state.imu_ns.tolist() == [NEVER_NS, NEVER_NS, 5]
    state.nominal[columns] = nominal[columns] = 0.3
    start_slots(state, nominal, np.array([2]), 9, PARAMS)
    assert (state.nominal[columns] == 0.3).all()
    assert state.imu_ns[2] == 5


def test_a_heading_begins_with_a_number() -> None:
    state = crowded()
    nominal = state.nominal.copy()
    start_slots(state, nominal, np.array([1]), 5, PARAMS)
    assert heading_variance(state, 1) == 0.0
    start_heading(state, nominal, 1, math.nan, PARAMS)
    assert heading_variance(state, 1) == 0.0
    start_heading(state, nominal, 1, -2.0, PARAMS)
    assert heading_variance(state, 1) == PARAMS.heading_rad**2
    column = slot_columns(1).start + IMU_HEADING
    assert state.nominal[column] == nominal[column] == -2.0
    assert np.count_nonzero(state.covariance[column]) == 1


def test_what_is_silent_ends() -> None:
    state = crowded()
    for slot, heard_ns in ((0, 1_000_000_000), (1, 2_000_000_000)):
        start_slots(state, state.nominal, np.array([slot]), heard_ns, PARAMS)
        state.nominal[slot_columns(slot)] = 1.0
        state.covariance[slot_columns(slot), :] = state.covariance[:, slot_columns(slot)] = 0.1
    stop_silent_slots(state, 2_500_000_000, 1.0)
    assert state.imu_ns.tolist() == [NEVER_NS, 2_000_000_000, NEVER_NS]
    gone = slot_columns(0)
    assert not state.nominal[gone].any()
    assert not state.covariance[gone].any()
    assert not state.covariance[:, gone].any()
    assert state.nominal[slot_columns(1)].all()
    assert state.covariance[slot_columns(1), slot_columns(1)].all()


def test_slots_that_there_is_no_room_for_are_none() -> None:
    np.testing.assert_array_equal(slots_within(empty_state(2), np.array([0, 1, 2, -1, -5])), [0, 1, -1, -1, -1])


def test_hearing_goes_forward_only() -> None:
    state = crowded()
    start_slots(state, state.nominal, np.array([0]), 5, PARAMS)
    hear(state, np.array([0, -1]), 9)
    hear(state, np.array([0]), 7)
    assert state.imu_ns.tolist() == [9, NEVER_NS, NEVER_NS]
