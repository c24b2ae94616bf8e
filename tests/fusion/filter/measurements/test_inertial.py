"""IMUs: Jacobians against central differences, predictions against plain numpy and motion, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion.body.skeleton import COORDINATE, COORDINATES, SEGMENT
from fusion.filter.measurements.imu_slots import ImuStateParams
from fusion.filter.measurements.inertial import (
    GRAVITY_M_S2,
    AccelerometerMeasurement,
    AccelerometerParams,
    GyroMeasurement,
    GyroParams,
    OrientationMeasurement,
    OrientationParams,
)
from fusion.filter.state import (
    IMU_BIAS,
    IMU_COLUMN,
    IMU_HEADING,
    IMU_SIZE,
    NEVER_NS,
    POSE,
    RATE,
    State,
    empty_state,
    retract,
)
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.filter.measurements.observed import (
    BAD_NUMBERS,
    Observed,
    after,
    assert_jacobian,
    body_at,
    moving_state,
    numeric_jacobian,
)

SENSORS = ("pelvis", "left_lower_leg", "right_hand", "head", "t8", "left_toe")
SEGMENTS = np.array([SEGMENT[name] for name in SENSORS])
SLOTS = np.array([0, 1, 2, 3, -1, 4])
IMUS = 5
CHAINS = [COORDINATE[f"{name}_{axis}"] for name in ("spine", "neck") for axis in "xyz"]
DECAY_S = np.linspace(0.1, 2.0, COORDINATES)


def mounts(random: np.random.Generator) -> Float64:
    return np.asarray(quaternion.from_rotvec(random.normal(size=(len(SENSORS), 3))))


def gyros(random: np.random.Generator) -> GyroMeasurement:
    values = random.normal(size=(len(SENSORS), 3))
    return GyroMeasurement(7, "imus", SEGMENTS, SLOTS, mounts(random), values, GyroParams())


def orientations(random: np.random.Generator) -> OrientationMeasurement:
    values = np.asarray(quaternion.from_rotvec(random.normal(size=(len(SENSORS), 3))))
    return OrientationMeasurement(7, "imus", SEGMENTS, SLOTS, mounts(random), values, OrientationParams())


def forces(random: np.random.Generator, decay_s: Float64 | None = DECAY_S) -> AccelerometerMeasurement:
    levers = 0.2 * random.normal(size=(len(SENSORS), 3))
    values = 10.0 * random.normal(size=(len(SENSORS), 3))
    return AccelerometerMeasurement(
        7, "imus", SEGMENTS, SLOTS, mounts(random), values, levers, AccelerometerParams(), decay_s
    )


def slow(state: State, slot: int) -> Float64:
    """States [7] of a slot; zeros for none."""
    first = IMU_COLUMN + IMU_SIZE * slot
    return state.nominal[first : first + IMU_SIZE] if slot >= 0 else np.zeros(IMU_SIZE)


def worn(state: State, nominal: Float64, mount: Float64) -> Float64:
    """``q_world_from_sensor`` [M, 4] by plain numpy, without the heading error."""
    errors = np.array([quaternion.from_rotvec(slow(state, slot)[:IMU_HEADING]) for slot in SLOTS])
    turned = quaternion.multiply(body_at(nominal).quaternions[SEGMENTS], mount)
    return np.asarray(quaternion.multiply(turned, errors))


# --- Jacobians ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("rate", [0.0, 2.0])
def test_jacobian_of_rates(seed: int, rate: float) -> None:
    random = np.random.default_rng(seed)
    state = moving_state(random, rate=rate, imus=IMUS)
    assert assert_jacobian(state, gyros(random)).count == len(SENSORS)


def test_jacobian_of_rates_when_a_chain_is_nearly_straight() -> None:
    """The series that replace the coefficients near zero, and where they take over."""
    random = np.random.default_rng(2)
    for size in (0.0, 1e-3, 0.119, 0.121):
        state = moving_state(random, rate=2.0, imus=IMUS)
        direction = random.normal(size=3)
        spine = COORDINATE["spine_x"]
        state.coordinates[spine : spine + 3] = size * direction / np.linalg.norm(direction)
        assert_jacobian(state, gyros(random))


@pytest.mark.parametrize("seed", range(2))
def test_jacobian_of_orientations(seed: int) -> None:
    """Residuals of any size, up to nearly half a turn."""
    random = np.random.default_rng(seed)
    state = moving_state(random, imus=IMUS)
    observed = assert_jacobian(state, orientations(random))
    assert np.linalg.norm(observed.residual.reshape(-1, 3), axis=1).max() > 1.5


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("rate", [0.0, 2.0])
def test_jacobian_of_specific_forces(seed: int, rate: float) -> None:
    """Exact in all columns where the chains are at rest."""
    random = np.random.default_rng(seed)
    state = moving_state(random, rate=rate, imus=IMUS)
    state.rates[CHAINS] = 0.0
    assert assert_jacobian(state, forces(random)).count == len(SENSORS)


def test_jacobian_of_specific_forces_with_moving_chains() -> None:
    """Exact but for the chains' own columns."""
    random = np.random.default_rng(3)
    state = moving_state(random, rate=2.0, imus=IMUS)
    measurement = forces(random)
    difference = Observed(state, measurement).jacobian - numeric_jacobian(state, measurement)
    assert np.abs(np.delete(difference, CHAINS, axis=1)).max() < 1e-6
    assert np.abs(difference[:, CHAINS]).max() > 1e-3  # What the docstring leaves out is there.


# --- What is predicted ----------------------------------------------------------------------------


def test_gyro_measures_how_the_sensor_turns() -> None:
    """Against the sensor's orientation at two instants, in its own frame, and its bias."""
    random = np.random.default_rng(4)
    state = moving_state(random, rate=2.0, imus=IMUS)
    measurement = gyros(random)
    step_s = 1e-5
    before, now = (worn(state, after(state, at), measurement.q_segment_from_sensor) for at in (-step_s, step_s))
    turned = quaternion.to_rotvec(quaternion.multiply(quaternion.conjugate(before), now)) / (2.0 * step_s)
    told = turned + np.array([slow(state, slot)[IMU_BIAS:] for slot in SLOTS])
    np.testing.assert_allclose(Observed(state, replace(measurement, rates_rad_s=told)).residual, 0.0, atol=1e-6)


def test_orientation_is_predicted_as_plain_numpy_says() -> None:
    random = np.random.default_rng(5)
    state = moving_state(random, imus=IMUS)
    measurement = orientations(random)
    up = np.array([[0.0, 0.0, slow(state, slot)[IMU_HEADING]] for slot in SLOTS])
    mount = measurement.q_segment_from_sensor
    predicted = quaternion.multiply(quaternion.from_rotvec(up), worn(state, state.nominal, mount))
    told = replace(measurement, q_world_from_sensor=np.asarray(predicted))
    np.testing.assert_allclose(Observed(state, told).residual, 0.0, atol=1e-12)
    difference = np.array([0.1, -0.2, 0.3])
    told = replace(measurement, q_world_from_sensor=quaternion.multiply(quaternion.from_rotvec(difference), predicted))
    np.testing.assert_allclose(Observed(state, told).residual.reshape(-1, 3), [difference] * len(SENSORS), atol=1e-12)


@pytest.mark.parametrize("decaying", [False, True])
def test_accelerometer_measures_how_the_sensor_moves(decaying: bool) -> None:
    """Against second differences of the sensor's place while the rates stay, or decay as the process lets them."""
    random = np.random.default_rng(6)
    state = moving_state(random, rate=2.0, imus=IMUS)
    decay_s = DECAY_S if decaying else np.full(COORDINATES, np.inf)
    measurement = forces(random, DECAY_S if decaying else None)
    q_mount, lever = measurement.q_segment_from_sensor, measurement.lever_arm_m

    def place(at_s: float) -> Float64:
        error = np.zeros(len(state.nominal))
        error[POSE] = state.rates * (at_s - 0.5 * at_s**2 / decay_s)
        body = body_at(retract(state.nominal, error))
        return np.asarray(body.positions[SEGMENTS] + quaternion.rotate(body.quaternions[SEGMENTS], lever))

    step_s = 1e-4
    force = (place(step_s) - 2.0 * place(0.0) + place(-step_s)) / step_s**2 + [0.0, 0.0, GRAVITY_M_S2]
    told = quaternion.rotate(quaternion.conjugate(worn(state, state.nominal, q_mount)), force)
    residual = Observed(state, replace(measurement, specific_force_m_s2=told)).residual
    np.testing.assert_allclose(residual, 0.0, atol=1e-5)


def test_variances() -> None:
    random = np.random.default_rng(7)
    state = moving_state(random, imus=IMUS)
    gyro, g = gyros(random), GyroParams(noise_rad_s=0.2, share=0.1)
    told = np.zeros((len(SENSORS), 3))
    told[1] = [0.0, 6.0, 8.0]
    variance = Observed(state, replace(gyro, rates_rad_s=told, params=g)).variance.reshape(-1, 3)
    np.testing.assert_allclose(variance[0], 0.04)
    np.testing.assert_allclose(variance[1], 0.04 + 1.0)
    variance = Observed(state, replace(orientations(random), params=OrientationParams(0.1, 0.4))).variance
    np.testing.assert_allclose(variance.reshape(-1, 3), [[0.01, 0.01, 0.16]] * len(SENSORS))
    a = AccelerometerParams(noise_m_s2=0.5, trunk_m_s2=2.0, limb_m_s2=3.0, share=1.0)
    told = np.zeros((len(SENSORS), 3))
    told[:, 2] = GRAVITY_M_S2
    told[1, 2] += 4.0
    variance = Observed(state, replace(forces(random), specific_force_m_s2=told, params=a)).variance.reshape(-1, 3)
    np.testing.assert_allclose(variance[0], 0.25 + 4.0)  # pelvis
    np.testing.assert_allclose(variance[1], 0.25 + 9.0 + 16.0)  # left_lower_leg
    np.testing.assert_allclose(variance[2], 0.25 + 9.0)  # right_hand


# --- What is left out -----------------------------------------------------------------------------


@pytest.mark.parametrize("bad", BAD_NUMBERS)
@pytest.mark.parametrize("values", ["rates_rad_s", "q_world_from_sensor", "specific_force_m_s2", "lever_arm_m"])
def test_what_is_no_number_is_left_out(bad: float, values: str) -> None:
    random = np.random.default_rng(8)
    state = moving_state(random, imus=IMUS)
    measurement = next(m for m in (gyros(random), orientations(random), forces(random)) if hasattr(m, values))
    getattr(measurement, values)[2, 1] = bad
    observed = Observed(state, measurement)
    np.testing.assert_array_equal(observed.source, [0, 1, 3, 4, 5])
    assert np.isfinite(observed.residual).all()
    assert np.isfinite(observed.jacobian).all()


def test_sensors_off_the_body_are_left_out() -> None:
    random = np.random.default_rng(9)
    state = moving_state(random, imus=IMUS)
    for measurement in (gyros(random), orientations(random), forces(random)):
        segment = SEGMENTS.copy()
        segment[0] = -1
        np.testing.assert_array_equal(Observed(state, replace(measurement, segment=segment)).source, [1, 2, 3, 4, 5])


def test_a_slot_that_the_state_has_no_room_for_is_none() -> None:
    random = np.random.default_rng(10)
    state = moving_state(random)
    for measurement in (gyros(random), orientations(random), forces(random)):
        bare = replace(measurement, slot=np.full(len(SENSORS), -1))
        np.testing.assert_array_equal(Observed(state, measurement).jacobian, Observed(state, bare).jacobian)


# --- Slots ----------------------------------------------------------------------------------------


def test_the_first_values_begin_their_slots() -> None:
    random = np.random.default_rng(11)
    moving = moving_state(random)
    state = empty_state(IMUS)
    state.nominal[: len(moving.nominal)] = moving.nominal
    measurement = gyros(random)
    measurement.rates_rad_s[1] = np.nan
    observed = Observed(state, measurement)
    assert state.imu_ns.tolist() == [7, NEVER_NS, 7, 7, 7]
    params = ImuStateParams()
    first = np.diag(state.covariance)[IMU_COLUMN : IMU_COLUMN + IMU_SIZE]
    np.testing.assert_allclose(first[:IMU_HEADING], params.mounting_rad**2)
    np.testing.assert_allclose(first[IMU_BIAS:], params.bias_rad_s**2)
    assert first[IMU_HEADING] == 0.0
    later = replace(measurement, time_ns=9)
    later.learn(state, observed.system)
    assert state.imu_ns.tolist() == [9, NEVER_NS, 9, 9, 9]


def test_the_first_orientation_sets_the_heading_and_no_other_does() -> None:
    random = np.random.default_rng(12)
    state = moving_state(random, imus=IMUS)
    for slot in range(IMUS):
        slow(state, slot)[:] = 0.0
    state.covariance[IMU_COLUMN:] = 0.0
    state.covariance[:, IMU_COLUMN:] = 0.0
    state.imu_ns[:] = NEVER_NS
    measurement = orientations(random)
    predicted = worn(state, state.nominal, measurement.q_segment_from_sensor)
    heading = np.array([1.0, -2.5, 3.0, 0.0, 1.0, 2.0])
    away = quaternion.from_rotvec(np.array([[0.0, 0.0, angle] for angle in heading]))
    told = replace(measurement, q_world_from_sensor=quaternion.multiply(away, predicted))
    observed = Observed(state, told)
    worn_slots = SLOTS >= 0
    np.testing.assert_allclose(
        [slow(state, s)[IMU_HEADING] for s in SLOTS[worn_slots]], heading[worn_slots], atol=1e-12
    )
    np.testing.assert_allclose(observed.residual.reshape(-1, 3)[worn_slots], 0.0, atol=1e-12)
    np.testing.assert_allclose(observed.residual.reshape(-1, 3)[~worn_slots], [[0.0, 0.0, 1.0]], atol=1e-12)
    np.testing.assert_allclose(observed.nominal, state.nominal)
    before = state.nominal.copy()
    again = Observed(state, replace(told, q_world_from_sensor=np.asarray(predicted)))
    np.testing.assert_array_equal(state.nominal, before)
    assert np.abs(again.residual).max() > 1.0


def test_an_orientation_filter_that_starts_anew_has_a_new_heading() -> None:
    """Within one update once: a second iteration goes on from where the first has brought the heading."""
    random = np.random.default_rng(14)
    state = moving_state(random, imus=IMUS)
    columns = IMU_COLUMN + IMU_SIZE * np.arange(IMUS) + IMU_HEADING
    state.covariance[columns, columns] = 0.01
    state.covariance[columns, 0] = state.covariance[0, columns] = 0.001
    old = state.nominal[columns].copy()
    measurement = replace(orientations(random), fresh=np.array([True, False, True, False, True, False]))
    Observed(state, measurement)
    np.testing.assert_array_equal(state.nominal[columns] != old, [True, False, True, False, False])
    np.testing.assert_array_equal(state.covariance[columns, 0] == 0.0, [True, False, True, False, False])
    begun = state.nominal.copy()
    error = np.zeros(len(begun))
    error[columns] = 0.1
    again = Observed(state, measurement, retract(begun, error))
    np.testing.assert_array_equal(state.nominal, begun)
    np.testing.assert_allclose(again.nominal[columns], begun[columns] + 0.1)


def test_a_still_body_feels_gravity_only() -> None:
    """A sanity check that does not use the module's own kinematics: +9.81 upwards, in the sensor's frame."""
    state = moving_state(np.random.default_rng(13), rate=0.0, imus=IMUS)
    measurement = forces(np.random.default_rng(13))
    up = np.tile([0.0, 0.0, GRAVITY_M_S2], (len(SENSORS), 1))
    q = worn(state, state.nominal, measurement.q_segment_from_sensor)
    told = replace(measurement, specific_force_m_s2=quaternion.rotate(quaternion.conjugate(q), up))
    observed = Observed(state, told)
    np.testing.assert_allclose(observed.residual, 0.0, atol=1e-12)
    pelvis = observed.jacobian[:3]
    assert np.abs(pelvis[:, COORDINATE["root_rx"] : COORDINATE["root_rx"] + 3]).max() > 5.0
    assert np.abs(pelvis[:, RATE.start + 6 : RATE.stop]).max() == 0.0
