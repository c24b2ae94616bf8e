"""From states to the record: covariances, velocities, and which joints count as measured."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.body import catalog
from fusion.body.angles import clinical_angles_batch
from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import coordinate_limits
from fusion.body.mass import MASS_TABLES, centre_of_mass
from fusion.body.skeleton import COORDINATE, COORDINATES, SEGMENT, SEGMENT_NAMES
from fusion.body.skeleton import LENGTH as LENGTH_NUMBER
from fusion.filter.outputs import COLUMNS, OutputParams, Outputs
from fusion.filter.state import LENGTH, POSE, RATE, State, retract
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.scenes import joints_of, landmarks_of, measured_3d, random_state, resting_state, updater

OUTPUTS = Outputs(OutputParams(measured_s=0.25, definition_m=0.0))


def at(state: State, time_s: float) -> Float64:
    """Nominal [n] carried on at the state's own rates."""
    error = np.zeros(len(state.nominal))
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
        np.testing.assert_allclose(record.angles_rad[p], clinical_angles_batch(quaternions[None])[0], atol=1e-6)
        centre = np.empty(3)
        centre_of_mass(MASS_TABLES, state.lengths_m, positions, quaternions, centre)
        np.testing.assert_allclose(record.centre_of_mass_m[p], centre, atol=1e-6)


def test_nobody_is_a_record_too() -> None:
    record = OUTPUTS.record([], [], 1, 2)
    record.validate()
    assert record.positions_m.shape == (0, 23, 3)
    assert record.angles_rad.shape == (0, 41)


def test_records_do_not_share_memory() -> None:
    """A record that has left must not change with the next one."""
    state = random_state(np.random.default_rng(5))
    first = OUTPUTS.record([1], [state], 0, 0)
    before = first.positions_m.copy(), first.covariances_m2.copy(), first.angles_rad.copy()
    OUTPUTS.record([1], [random_state(np.random.default_rng(6))], 0, 0)
    for kept, array in zip(before, (first.positions_m, first.covariances_m2, first.angles_rad), strict=True):
        np.testing.assert_array_equal(kept, array)


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


def jacobian_of(state: State) -> Float64:
    """Derivative [23, 3, n] of the joints by the error state, by central differences."""
    columns = []
    for c in range(len(state.nominal)):
        error = np.zeros(len(state.nominal))
        error[c] = 1e-6
        columns.append((joints_of(retract(state.nominal, error)) - joints_of(retract(state.nominal, -error))) / 2e-6)
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("imus", [0, 3])
@pytest.mark.parametrize("locked", [False, True])
def test_covariances_are_those_of_the_joints(locked: bool, imus: int) -> None:
    """Against J P J^T with J by differences, and against many bodies drawn from the state."""
    random = np.random.default_rng(3)
    state = random_state(random, sigma=0.01, imus=imus)
    if locked:
        state.lock_lengths()
    told = OUTPUTS.record([1], [state], 0, 0).covariances_m2[0]
    jacobian = jacobian_of(state)
    expected = np.einsum("sic,cd,sjd->sij", jacobian, state.covariance, jacobian)
    np.testing.assert_allclose(told, expected, atol=1e-4 * np.abs(expected).max())
    exists = state.covariance.diagonal() > 0.0
    errors = np.zeros((1500, exists.size))
    factor = np.linalg.cholesky(state.covariance[np.ix_(exists, exists)])
    errors[:, exists] = random.normal(size=(1500, int(exists.sum()))) @ factor.T
    drawn = np.stack([joints_of(retract(state.nominal, error)) for error in errors])
    spread = np.sqrt(drawn.var(axis=0).sum(-1))
    np.testing.assert_allclose(np.sqrt(np.trace(told, axis1=1, axis2=2)), spread, rtol=0.1)


def test_whatever_moves_a_joint_is_among_its_columns() -> None:
    random = np.random.default_rng(4)
    for _ in range(3):
        moves = np.abs(jacobian_of(random_state(random))).max(axis=1) > 1e-6
        for s, name in enumerate(SEGMENT_NAMES):
            assert set(np.flatnonzero(moves[s])) <= set(COLUMNS.column[s, : COLUMNS.size[s]]), name


def test_the_columns_of_a_joint_are_those_of_its_chain() -> None:
    foot = COLUMNS.column[SEGMENT["left_foot"], : COLUMNS.size[SEGMENT["left_foot"]]].tolist()
    root = [f"root_{kind}{axis}" for kind in "pr" for axis in "xyz"]
    coordinates = [*root, "left_hip_x", "left_hip_y", "left_hip_z", "left_knee_flexion"]
    lengths = [LENGTH.start + LENGTH_NUMBER[name] for name in ("pelvis", "thigh", "shank")]
    assert foot == [*(COORDINATE[name] for name in coordinates), *lengths]


def test_what_the_definition_of_a_joint_leaves_open_is_added() -> None:
    state = random_state(np.random.default_rng(7), sigma=1e-3)
    plain = OUTPUTS.record([1], [state], 0, 0).covariances_m2
    wider = Outputs(OutputParams(definition_m=0.02)).record([1], [state], 0, 0).covariances_m2
    np.testing.assert_allclose(wider - plain, np.broadcast_to(4e-4 * np.eye(3), plain.shape), atol=1e-8)


def test_no_joint_is_shown_past_its_limit() -> None:
    """A knee that evidence has bent backward in the state is straight in the record, and so is its shank."""
    state = resting_state()
    knee = COORDINATE["left_knee_flexion"]
    state.nominal[knee] = -0.5
    record = OUTPUTS.record([1], [state], 0, 0)
    low, _ = coordinate_limits()
    np.testing.assert_allclose(record.coordinates[0, knee], low[knee], atol=1e-6)
    positions, _ = forward_kinematics(record.coordinates[0].astype(np.float64), state.lengths_m)
    np.testing.assert_allclose(record.positions_m[0], positions, atol=1e-5)
    assert state.nominal[knee] == -0.5


# --- Measured or inferred -------------------------------------------------------------------------


def flags(state: State) -> dict[str, bool]:
    told = OUTPUTS.record([1], [state], state.time_ns, state.time_ns).measured[0]
    return dict(zip(SEGMENT_NAMES, (told == 1).tolist(), strict=True))


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
    updater().apply(state, [measured_3d(landmarks_of("blazepose_33", state.nominal))])
    assert all(flags(state).values())
    assert state.coordinates.size == COORDINATES
