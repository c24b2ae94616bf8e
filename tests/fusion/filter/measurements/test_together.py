"""Slow states in real updates: what is wrong with an IMU is learned against a body that is known, and nothing else."""

from __future__ import annotations

import numpy as np

from fusion.body.skeleton import COORDINATE, SEGMENT
from fusion.filter.measurements.anatomy import AnatomyParams
from fusion.filter.measurements.ground import ContactParams
from fusion.filter.measurements.imu_slots import ImuStateParams, slot_columns
from fusion.filter.measurements.inertial import (
    GyroMeasurement,
    GyroParams,
    OrientationMeasurement,
    OrientationParams,
)
from fusion.filter.state import FLOOR_COLUMN, IMU_BIAS, IMU_HEADING, State, errors_of, with_imus
from fusion.filter.update import UpdateParams, Updater
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.filter.measurements.observed import body_at, moving_state
from tests.fusion.filter.measurements.test_ground import soles, standing

PELVIS = np.array([SEGMENT["pelvis"]])
SLOT = np.array([0])
ROOT = slice(COORDINATE["root_rx"], COORDINATE["root_rz"] + 1)
IDENTITY = np.array([[1.0, 0.0, 0.0, 0.0]])


def known(sigma: float, imus: int = 1) -> State:
    """A body at rest of which everything is known that well, and an IMU that has not been heard."""
    random = np.random.default_rng(0)
    state = with_imus(moving_state(random, rate=0.0, sigma=sigma), imus)
    state.coordinates[ROOT] = [0.0, 0.0, 0.7]
    return state


def updater(state: State) -> Updater:
    """One that weighs all observations as they claim."""
    return Updater(UpdateParams(student_nu=1e9), AnatomyParams(), errors_of(state.imus))


def oriented(state: State, error: Float64, heading: float, params: OrientationParams) -> OrientationMeasurement:
    """What an IMU on the pelvis measures that is mounted with that error [3], in a world that is turned."""
    q = quaternion.multiply(body_at(state.nominal).quaternions[PELVIS], quaternion.from_rotvec(error))
    turned = quaternion.multiply(quaternion.from_rotvec([0.0, 0.0, heading]), q)
    return OrientationMeasurement(5, "imu", PELVIS, SLOT, IDENTITY, np.atleast_2d(turned), params)


def test_the_first_orientation_tells_the_heading_as_well_as_the_body_is_known() -> None:
    """And it tells the body nothing of its own heading."""
    for sigma in (0.02, 0.3):
        state = known(sigma)
        before = state.covariance[ROOT, ROOT].copy()
        params = OrientationParams(inclination_rad=1.0, heading_rad=0.05)
        updater(state).apply(state, [oriented(state, np.zeros(3), 2.8, params)])
        slow = slot_columns(0)
        heading = slow.start + IMU_HEADING
        np.testing.assert_allclose(state.nominal[heading], 2.8, atol=1e-3)
        expected = np.sqrt(sigma**2 + 0.05**2 + ImuStateParams().mounting_rad ** 2)
        np.testing.assert_allclose(np.sqrt(state.covariance[heading, heading]), expected, rtol=0.02)
        np.testing.assert_allclose(
            state.covariance[COORDINATE["root_rz"], COORDINATE["root_rz"]], before[2, 2], rtol=0.02
        )
        assert state.imu_ns.tolist() == [5]


def test_a_mounting_error_is_learned_against_a_body_that_is_known() -> None:
    """Its tilt is; its turn about the vertical cannot be told from a heading error, but both together can."""
    state = known(1e-4)
    error = np.array([0.12, -0.08, 0.05])
    params = OrientationParams(inclination_rad=0.02, heading_rad=0.02)
    told = oriented(state, error, 0.4, params)
    solver = updater(state)
    for _ in range(20):
        solver.apply(state, [told], iterations=3)
    slow = state.nominal[slot_columns(0)]
    np.testing.assert_allclose(slow[:2], error[:2], atol=0.02)
    np.testing.assert_allclose(slow[2] + slow[IMU_HEADING], 0.45, atol=0.02)


def test_a_bias_is_learned_against_a_body_that_stands_still() -> None:
    state = known(1e-4)
    bias = np.array([[0.03, -0.02, 0.01]])
    solver = updater(state)
    for _ in range(200):
        measured = GyroMeasurement(5, "imu", PELVIS, SLOT, IDENTITY, bias, GyroParams(noise_rad_s=0.05))
        solver.apply(state, [measured])
    np.testing.assert_allclose(state.nominal[slot_columns(0)][IMU_BIAS:], bias[0], atol=3e-3)


def test_a_body_that_stands_learns_the_floor() -> None:
    state = standing(variance=1e-6)
    state.covariance[FLOOR_COLUMN, FLOOR_COLUMN] = 0.05**2
    state.nominal[FLOOR_COLUMN] += 0.04
    solver = Updater(UpdateParams(), AnatomyParams(), contact=ContactParams())
    told = GyroMeasurement(0, "imu", PELVIS, np.array([-1]), IDENTITY, np.zeros((1, 3)), GyroParams())
    before = soles(state.nominal)[:, 2].min()
    for step in range(40):
        state.time_ns = step * 100_000_000
        solver.apply(state, [told])
    assert abs(state.nominal[FLOOR_COLUMN] - before) < 0.01
    assert abs(soles(state.nominal)[:, 2].min() - before) < 0.005
