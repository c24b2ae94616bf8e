"""The error state: retract and difference undo each other, near the identity and near half turns too."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.body.kinematics import TABLES, forward_kinematics
from fusion.body.skeleton import COORDINATE, COORDINATES, REFERENCE_LENGTHS_M
from fusion.filter.state import (
    BODY_ERRORS,
    FLOOR_COLUMN,
    IMU_BIAS,
    IMU_COLUMN,
    IMU_HEADING,
    IMU_SIZE,
    LENGTH,
    LENGTH_COLUMN,
    NEVER_NS,
    POSE,
    RATE,
    RATE_COLUMN,
    State,
    difference_into,
    empty_state,
    errors_of,
    retract,
    retract_into,
    with_imus,
)
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.numeric import rotvecs
from tests.fusion.scenes import legal_pose, random_state

IMUS = 2
ERRORS = errors_of(IMUS)
JOINTS = tuple(COORDINATE[name] for name in ("root_rx", "right_arm_x", "left_arm_x", "right_hip_x", "left_hip_x"))
ROTATIONS = (*JOINTS, *(errors_of(k) for k in range(IMUS)))
"""First state of each rotation that is perturbed on the right: root, balls, mountings."""
ADDED = np.setdiff1d(np.arange(ERRORS), [first + k for first in ROTATIONS for k in range(3)])
LARGEST_RAD = math.pi - 1e-5


def difference(nominal: Float64, other: Float64) -> Float64:
    out = np.full(len(nominal), np.nan)
    difference_into(TABLES, nominal, other, out)
    return out


def with_rotations(plain: Float64, rotations: list[Float64]) -> Float64:
    out = plain.copy()
    for first, rotation in zip(ROTATIONS, rotations, strict=True):
        out[first : first + 3] = rotation
    return out


plain_vectors = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(size=ERRORS))
all_rotations = st.lists(rotvecs(LARGEST_RAD), min_size=len(ROTATIONS), max_size=len(ROTATIONS))
vectors_on_the_manifold = st.builds(with_rotations, plain_vectors, all_rotations)


def test_the_layout() -> None:
    """One block behind the other, without a gap."""
    assert (POSE.start, POSE.stop) == (0, COORDINATES)
    assert (LENGTH.start, LENGTH.stop) == (LENGTH_COLUMN, FLOOR_COLUMN) == (POSE.stop, 55)
    assert (RATE.start, RATE.stop) == (RATE_COLUMN, IMU_COLUMN) == (FLOOR_COLUMN + 1, BODY_ERRORS) == (56, 100)
    assert [errors_of(k) for k in range(3)] == [100, 107, 114]
    assert (IMU_HEADING, IMU_BIAS, IMU_SIZE) == (3, 4, 7)
    assert tuple(int(first) for first in np.flatnonzero(TABLES.turns)[::3]) == JOINTS


@settings(deadline=None, max_examples=100)
@given(vectors_on_the_manifold, vectors_on_the_manifold)
def test_difference_undoes_retract(nominal: Float64, error: Float64) -> None:
    np.testing.assert_allclose(difference(nominal, retract(nominal, error)), error, atol=2e-10)


@settings(deadline=None, max_examples=100)
@given(vectors_on_the_manifold, vectors_on_the_manifold)
def test_retract_undoes_difference(nominal: Float64, other: Float64) -> None:
    back = retract(nominal, difference(nominal, other))
    np.testing.assert_allclose(back[ADDED], other[ADDED], atol=1e-12)
    for first in ROTATIONS:
        p, q = (quaternion.from_rotvec(vector[first : first + 3]) for vector in (back, other))
        assert min(np.abs(p - q).max(), np.abs(p + q).max()) < 1e-12


@given(vectors_on_the_manifold)
def test_nothing_changes_nothing(nominal: Float64) -> None:
    np.testing.assert_allclose(retract(nominal, np.zeros(ERRORS)), nominal, atol=1e-10)
    np.testing.assert_allclose(difference(nominal, nominal), 0.0, atol=1e-12)


@given(vectors_on_the_manifold, vectors_on_the_manifold)
def test_retract_in_place(nominal: Float64, error: Float64) -> None:
    expected = retract(nominal, error)
    retract_into(TABLES, nominal, error, nominal)
    np.testing.assert_array_equal(nominal, expected)


def test_rotations_are_perturbed_in_their_own_frame() -> None:
    """A turn of the root about its own x axis leaves that axis where it is, wherever the root looks."""
    random = np.random.default_rng(1)
    state = random_state(random)
    error = np.zeros(BODY_ERRORS)
    error[COORDINATE["root_rx"]] = 0.7
    before, after = (
        quaternion.rotate(quaternion.from_rotvec(nominal[3:6]), np.array([1.0, 0.0, 0.0]))
        for nominal in (state.nominal, retract(state.nominal, error))
    )
    np.testing.assert_allclose(before, after, atol=1e-14)


def test_a_mounting_is_perturbed_in_the_sensors_frame() -> None:
    """Two turns about axes of the sensor, one after the other, are the product in that order."""
    state = random_state(np.random.default_rng(2), imus=1)
    m = slice(IMU_COLUMN, IMU_COLUMN + 3)
    turns = np.array([[0.3, 0.0, 0.0], [0.0, -0.5, 0.2]])
    expected, nominal = quaternion.from_rotvec(state.nominal[m]), state.nominal
    for turn in turns:
        expected = quaternion.multiply(expected, quaternion.from_rotvec(turn))
        error = np.zeros(len(nominal))
        error[m] = turn
        nominal = retract(nominal, error)
    np.testing.assert_allclose(nominal[m], quaternion.to_rotvec(expected), atol=1e-12)
    np.testing.assert_allclose(np.delete(nominal, np.r_[m]), np.delete(state.nominal, np.r_[m]), atol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_a_long_way_in_small_steps_keeps_rotations_short(seed: int) -> None:
    """However often something is turned, its rotation vector stays within half a turn, so that nothing winds up."""
    random = np.random.default_rng(seed)
    nominal = np.zeros(ERRORS)
    nominal[POSE] = legal_pose(random)
    direction = random.normal(size=ERRORS) * 0.05
    for _ in range(400):
        retract_into(TABLES, nominal, direction, nominal)
    for first in ROTATIONS:
        assert np.linalg.norm(nominal[first : first + 3]) <= math.pi + 1e-9
    np.testing.assert_allclose(nominal[RATE], 400 * direction[RATE], rtol=1e-9)
    forward_kinematics(nominal[:COORDINATES], REFERENCE_LENGTHS_M)


def different(state: State) -> State:
    """The state, with something else in everything that is not an array."""
    state.time_ns, state.born_ns, state.landmark_noise, state.lengths_locked = 5, 3, 0.01, True
    state.measured_ns[4], state.imu_ns[0], state.contact_ns = 2, 4, 1
    return state


def test_a_copy_is_independent_and_complete() -> None:
    state = different(random_state(np.random.default_rng(2), imus=IMUS))
    copy = state.copy()
    for name in State.__slots__:
        np.testing.assert_array_equal(getattr(copy, name), getattr(state, name))
        value = getattr(copy, name)
        if isinstance(value, np.ndarray):
            assert not np.shares_memory(value, getattr(state, name))
            value[:] = 7


def test_room_for_imus_is_made_around_the_same_body() -> None:
    """Everything of the body is as it was; of an IMU nothing is known, nor has it any error."""
    state = different(random_state(np.random.default_rng(3), imus=1))
    for imus in (0, 1, 3):
        other = with_imus(state, imus)
        assert other.imus == imus
        assert len(other.nominal) == errors_of(imus)
        for name in State.__slots__:
            found, before = getattr(other, name), getattr(state, name)
            if name == "nominal":
                found, before = found[:BODY_ERRORS], before[:BODY_ERRORS]
            elif name == "covariance":
                found, before = found[:BODY_ERRORS, :BODY_ERRORS], before[:BODY_ERRORS, :BODY_ERRORS]
            if name != "imu_ns":
                np.testing.assert_array_equal(found, before)
        assert (other.imu_ns == NEVER_NS).all()
        assert not other.nominal[IMU_COLUMN:].any()
        assert not other.covariance[IMU_COLUMN:].any()
        assert not other.covariance[:, IMU_COLUMN:].any()
        assert not np.shares_memory(other.covariance, state.covariance)
        assert not np.shares_memory(other.measured_ns, state.measured_ns)


def test_locking_lengths_forgets_their_error_only() -> None:
    state = random_state(np.random.default_rng(3), imus=1)
    before = state.copy()
    state.lock_lengths()
    assert state.lengths_locked
    assert not state.covariance[LENGTH].any()
    assert not state.covariance[:, LENGTH].any()
    np.testing.assert_array_equal(state.nominal, before.nominal)
    others = np.setdiff1d(np.arange(len(state.nominal)), np.arange(LENGTH.start, LENGTH.stop))
    np.testing.assert_array_equal(state.covariance[np.ix_(others, others)], before.covariance[np.ix_(others, others)])


def test_an_empty_state_has_never_been_measured() -> None:
    state = empty_state(2)
    for never in (state.measured_ns, state.imu_ns, np.array(state.contact_ns)):
        assert (never == NEVER_NS).all()
    assert not state.lengths_locked
    assert state.imus == 2


# --- Laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_an_error_of_the_root_moves_every_joint_rigidly(seed: int) -> None:
    random = np.random.default_rng(seed)
    state = random_state(random)
    error = np.zeros(BODY_ERRORS)
    error[:6] = random.normal(size=6)
    moved = retract(state.nominal, error)
    (positions, q), (other, p) = (forward_kinematics(n[POSE], state.lengths_m) for n in (state.nominal, moved))
    root = quaternion.from_rotvec(state.nominal[3:6])
    turn = quaternion.multiply(
        quaternion.multiply(root, quaternion.from_rotvec(error[3:6])), quaternion.conjugate(root)
    )
    expected = quaternion.rotate(turn, positions - positions[0]) + positions[0] + error[:3]
    np.testing.assert_allclose(other, expected, atol=1e-12)
    same = np.abs((p * quaternion.multiply(turn, q)).sum(-1))
    np.testing.assert_allclose(same, 1.0, atol=1e-12)


def test_a_common_error_of_all_lengths_scales_the_body() -> None:
    state = random_state(np.random.default_rng(6))
    error = np.zeros(BODY_ERRORS)
    error[LENGTH] = 0.2
    larger = retract(state.nominal, error)
    small, large = (forward_kinematics(n[POSE], np.exp(n[LENGTH]))[0] for n in (state.nominal, larger))
    np.testing.assert_allclose(large - large[0], math.exp(0.2) * (small - small[0]), atol=1e-12)
