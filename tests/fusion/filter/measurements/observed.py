"""What the tests of measurements share: moving states, and a measurement's observations at one linearisation point."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fusion.body.kinematics import TABLES, body_forward, body_rates
from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.body.skeleton import COORDINATES, LENGTHS, REFERENCE_LENGTHS_M
from fusion.filter.measurements.imu_slots import ImuStateParams, start_heading, start_slots
from fusion.filter.state import (
    IMU_COLUMN,
    IMU_HEADING,
    IMU_SIZE,
    LENGTH,
    POSE,
    RATE,
    State,
    empty_state,
    retract,
)
from fusion.filter.system import Body, Measurement, System, make_body, make_system
from fusion.records import Float64
from tests.fusion.numeric import central_difference

BAD_NUMBERS = [np.nan, np.inf, -np.inf]

AddRows = Callable[[State, Float64, Body, System], None]


def body_at(nominal: Float64) -> Body:
    """Kinematics of a nominal state [n]."""
    body = make_body()
    body.lengths_m[:] = np.exp(nominal[LENGTH])
    coordinates, rates = np.ascontiguousarray(nominal[POSE]), np.ascontiguousarray(nominal[RATE])
    body_forward(TABLES, coordinates, body.lengths_m, body.positions, body.quaternions, body.axes_world)
    body_rates(TABLES, rates, body.positions, body.axes_world, body.velocities, body.angular_rates)
    return body


def moving_state(random: np.random.Generator, *, rate: float = 1.0, imus: int = 0, sigma: float = 0.05) -> State:
    """A state somewhere within the limits, of a body that is not the reference, with IMUs that have begun."""
    state = empty_state(imus)
    low, high = coordinate_limits()
    limited = np.isfinite(low)
    state.coordinates[:] = resting_coordinates() + 0.3 * random.normal(size=COORDINATES)
    middle, half = 0.5 * (low[limited] + high[limited]), 0.5 * (high[limited] - low[limited])
    state.coordinates[limited] = middle + 0.7 * half * random.uniform(-1.0, 1.0, middle.size)
    state.rates[:] = rate * random.normal(size=COORDINATES)
    state.nominal[LENGTH] = np.log(REFERENCE_LENGTHS_M) + 0.05 * random.normal(size=LENGTHS)
    size = len(state.nominal)
    state.covariance[:] = sigma**2 * np.eye(size)
    slots = np.arange(imus)
    start_slots(state, state.nominal, slots, 0, ImuStateParams())
    for slot in range(imus):
        start_heading(state, state.nominal, slot, 0.0, ImuStateParams())
        first = IMU_COLUMN + IMU_SIZE * slot
        state.nominal[first : first + IMU_SIZE] = 0.2 * random.normal(size=IMU_SIZE)
        state.nominal[first + IMU_HEADING] = random.uniform(-3.0, 3.0)
    return state


def after(state: State, seconds: float) -> Float64:
    """The nominal state [n] when the coordinates have moved on at their rates, which stay as they are."""
    error = np.zeros(len(state.nominal))
    error[POSE] = seconds * state.rates
    return retract(state.nominal, error)


class Observed:
    """The observations of one measurement (or of a function that appends rows), their components stacked."""

    def __init__(self, state: State, measurement: Measurement | AddRows, nominal: Float64 | None = None) -> None:
        self.system = make_system(len(state.nominal))
        self.system.jacobian[:] = np.nan  # What is not set must not be used.
        nominal = (state.nominal if nominal is None else nominal).copy()
        add = measurement if callable(measurement) else measurement.add_rows
        add(state, nominal, body_at(nominal), self.system)
        self.nominal = nominal
        s = self.system
        self.count = int(s.filled[1])
        self.features = int(s.filled[0])
        blocks = []
        for o in range(self.count):
            m, f = s.components[o], s.feature[o]
            assert f < self.features
            blocks.append(s.h[o, :m, : s.size[f]] @ s.jacobian[f, : s.size[f]])
        self.jacobian = np.concatenate(blocks) if blocks else np.zeros((0, len(nominal)))
        self.residual = self._stacked(s.residual)
        self.variance = self._stacked(s.variance)
        self.source = s.source[: self.count]
        self.robust = s.robust[: self.count]

    def _stacked(self, values: Float64) -> Float64:
        parts = [values[o, : self.system.components[o]] for o in range(self.count)]
        return np.concatenate(parts) if parts else np.zeros(0)


def numeric_jacobian(state: State, measurement: Measurement | AddRows) -> Float64:
    """Derivative of the prediction by the error state, from central differences of the residual."""

    def residual(column: int, by: float) -> Float64:
        error = np.zeros(len(state.nominal))
        error[column] = by
        return Observed(state, measurement, retract(state.nominal, error)).residual

    return -np.stack(
        [central_difference(lambda h, c=c: residual(c, h)) for c in range(len(state.nominal))],  # type: ignore[misc]
        axis=1,
    )


def assert_jacobian(state: State, measurement: Measurement | AddRows, *, share: float = 1e-6) -> Observed:
    """The Jacobian is the numeric one, each entry to a share of its row's largest; the observations are given back."""
    observed = Observed(state, measurement)
    numeric = numeric_jacobian(state, measurement)
    assert len(numeric) > 0
    allowed = share * np.abs(numeric).max(axis=1, keepdims=True) + 1e-8
    wrong = np.argwhere(np.abs(observed.jacobian - numeric) > allowed)
    assert not wrong.tolist()
    assert (observed.variance > 0.0).all()
    return observed
