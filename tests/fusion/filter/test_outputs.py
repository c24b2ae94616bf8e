"""From states to the record: covariances, velocities, and which joints count as measured."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.body import catalog
from fusion.body.kinematics import forward_kinematics
from fusion.body.skeleton import COORDINATES, SEGMENT, SEGMENT_NAMES
from fusion.filter.outputs import OutputParams, Outputs, measured_joints
from fusion.filter.state import ERRORS, LENGTH, POSE, RATE, State, retract
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.scenes import joints_of, landmarks_of, measured_3d, random_state, resting_state, updater

OUTPUTS = Outputs(OutputParams(measured_s=0.25))


def at(state: State, time_s: float) -> Float64:
    """Nominal [99] carried on at the state's own rates."""
    error = np.zeros(ERRORS)
    error[POSE] = time_s * state.nominal[RATE]
    return retract(state.nominal, error)


def test_a_record_holds_what_the_states_hold() -> None:
    random = np.random.default_rng(1)
    states = [random_state(random), random_state(random)]
    states[1].lock_lengths()
    record = OUTPUTS.record([3, 9], states, 77, 99)
    record.validate()
    assert (record.measured_ns, record.received_ns, record.skeleton) == (77, 99, catalog.SKELETON)
    np.testing.assert_array_equal(record.ids, [3, 9])
    np.testing.assert_array_equal(record.lengths_locked, [0, 1])
    for p, state in enumerate(states):
        positions, quaternions = forward_kinematics(state.coordinates, state.lengths_m)
        np.testing.assert_allclose(record.positions_m[p], positions, atol=1e-6)
        np.testing.assert_allclose(record.q_world_from_segment[p], quaternions, atol=1e-6)
        np.testing.assert_allclose(record.coordinates[p], state.coordinates, atol=1e-6)
        np.testing.assert_allclose(record.lengths_m[p], state.lengths_m, atol=1e-6)


def test_nobody_is_a_record_too() -> None:
    record = OUTPUTS.record([], [], 1, 2)
    record.validate()
    assert record.positions_m.shape == (0, 23, 3)


def test_velocities_are_those_of_the_joints() -> None:
    state = random_state(np.random.default_rng(2), rate=2.0)
    record = OUTPUTS.record([1], [state], 0, 0)
    step_s = 1e-5
    before, after = at(state, -step_s), at(state, step_s)
    velocity = (joints_of(after) - joints_of(before)) / (2 * step_s)
    np.testing.assert_allclose(record.velocities_m_s[0], velocity, atol=1e-4)
    q0, q1 = (forward_kinematics(n[POSE], np.exp(n[LENGTH]))[1] for n in (before, after))
    rates = quaternion.to_rotvec(quaternion.multiply(q1, quaternion.conjugate(q0))) / (2 * step_s)
    np.testing.assert_allclose(record.angular_rates_rad_s[0], rates, atol=1e-4)


@pytest.mark.parametrize("locked", [False, True])
def test_covariances_are_those_of_the_joints(locked: bool) -> None:
    """Against J P J^T with J by differences, and against many bodies drawn from the state."""
    random = np.random.default_rng(3)
    state = random_state(random, sigma=0.01)
    if locked:
        state.lock_lengths()
    told = OUTPUTS.record([1], [state], 0, 0).covariances_m2[0]
    columns = []
    for c in range(ERRORS):
        error = np.zeros(ERRORS)
        error[c] = 1e-6
        columns.append((joints_of(retract(state.nominal, error)) - joints_of(retract(state.nominal, -error))) / 2e-6)
    jacobian = np.stack(columns, axis=-1)
    expected = np.einsum("sic,cd,sjd->sij", jacobian, state.covariance, jacobian)
    np.testing.assert_allclose(told, expected, atol=1e-4 * np.abs(expected).max())
    root = np.linalg.cholesky(state.covariance + 1e-15 * np.eye(ERRORS))
    drawn = np.stack([joints_of(retract(state.nominal, root @ random.normal(size=ERRORS))) for _ in range(1500)])
    spread = np.sqrt(drawn.var(axis=0).sum(-1))
    np.testing.assert_allclose(np.sqrt(np.trace(told, axis1=1, axis2=2)), spread, rtol=0.1)


# --- Measured or inferred -------------------------------------------------------------------------


def flags(state: State) -> dict[str, bool]:
    return dict(zip(SEGMENT_NAMES, measured_joints(state, OutputParams(measured_s=0.25)).tolist(), strict=True))


def seen(*segments: str, age_s: float = 0.0) -> State:
    state = resting_state()
    state.time_ns = 10_000_000_000
    for name in segments:
        state.measured_ns[SEGMENT[name]] = state.time_ns - int(age_s * 1e9)
    return state


def test_a_new_state_is_all_inferred() -> None:
    assert not any(flags(resting_state()).values())


def test_a_landmark_measures_its_joint_for_a_while() -> None:
    assert flags(seen("left_hand"))["left_hand"]
    assert flags(seen("left_hand", age_s=0.24))["left_hand"]
    assert not flags(seen("left_hand", age_s=0.26))["left_hand"]
    assert sum(flags(seen("left_hand")).values()) == 1


def test_both_hips_measure_the_pelvis() -> None:
    assert flags(seen("left_upper_leg", "right_upper_leg"))["pelvis"]
    assert not flags(seen("left_upper_leg"))["pelvis"]


def test_hips_and_a_shoulder_measure_the_trunk_between_them() -> None:
    trunk = ("l5", "l3", "t12", "t8", "neck", "left_shoulder", "right_shoulder")
    hips = ("left_upper_leg", "right_upper_leg")
    assert all(flags(seen(*hips, "left_upper_arm"))[name] for name in trunk)
    assert not any(flags(seen(*hips))[name] for name in trunk)
    assert not any(flags(seen("left_upper_arm", "right_upper_arm"))[name] for name in trunk)


def test_flags_do_not_change_the_state() -> None:
    state = seen("left_upper_leg", "right_upper_leg", "left_upper_arm")
    before = state.measured_ns.copy()
    flags(state)
    np.testing.assert_array_equal(state.measured_ns, before)


def test_a_whole_set_measures_almost_everything() -> None:
    state = resting_state()
    updater().apply(state, measured_3d(landmarks_of("blazepose_33", state.nominal)))
    assert all(flags(state).values())
    assert state.coordinates.size == COORDINATES
