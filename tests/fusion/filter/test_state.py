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
    ERRORS,
    LENGTH,
    LENGTH_COLUMN,
    POSE,
    RATE,
    RATE_COLUMN,
    State,
    difference_into,
    empty_state,
    retract,
    retract_into,
)
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.numeric import rotvecs
from tests.fusion.scenes import legal_pose, random_state

ROTATIONS = tuple(COORDINATE[name] for name in ("root_rx", "right_arm_x", "left_arm_x", "right_hip_x", "left_hip_x"))
"""First coordinate of each rotation that is perturbed on the right."""
ADDED = np.setdiff1d(np.arange(ERRORS), [first + k for first in ROTATIONS for k in range(3)])
LARGEST_RAD = math.pi - 1e-5


def difference(nominal: Float64, other: Float64) -> Float64:
    out = np.full(ERRORS, np.nan)
    difference_into(TABLES, nominal, other, out)
    return out


def with_rotations(plain: Float64, rotations: list[Float64]) -> Float64:
    out = plain.copy()
    for first, rotation in zip(ROTATIONS, rotations, strict=True):
        out[first : first + 3] = rotation
    return out


plain_vectors = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(size=ERRORS))
five_rotations = st.lists(rotvecs(LARGEST_RAD), min_size=5, max_size=5)
vectors_on_the_manifold = st.builds(with_rotations, plain_vectors, five_rotations)


def test_the_layout() -> None:
    assert ERRORS == 99
    assert (POSE.stop, RATE.start, RATE.stop, LENGTH.start) == (44, RATE_COLUMN, LENGTH_COLUMN, LENGTH_COLUMN)
    assert tuple(int(first) for first in np.flatnonzero(TABLES.turns)[::3]) == ROTATIONS


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
    error = np.zeros(ERRORS)
    error[COORDINATE["root_rx"]] = 0.7
    before, after = (
        quaternion.rotate(quaternion.from_rotvec(nominal[3:6]), np.array([1.0, 0.0, 0.0]))
        for nominal in (state.nominal, retract(state.nominal, error))
    )
    np.testing.assert_allclose(before, after, atol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_a_long_way_in_small_steps_keeps_rotations_short(seed: int) -> None:
    """However often a ball is turned, its rotation vector stays within half a turn, so that nothing winds up."""
    random = np.random.default_rng(seed)
    nominal = np.zeros(ERRORS)
    nominal[POSE] = legal_pose(random)
    direction = random.normal(size=ERRORS) * 0.05
    for _ in range(400):
        retract_into(TABLES, nominal, direction, nominal)
    for first in ROTATIONS:
        assert np.linalg.norm(nominal[first : first + 3]) <= math.pi + 1e-9
    forward_kinematics(nominal[:COORDINATES], REFERENCE_LENGTHS_M)


def test_a_copy_is_independent_and_complete() -> None:
    state = random_state(np.random.default_rng(2))
    state.time_ns, state.born_ns, state.landmark_noise, state.lengths_locked = 5, 3, 0.01, True
    state.measured_ns[4] = 2
    copy = state.copy()
    for name in State.__slots__:
        np.testing.assert_array_equal(getattr(copy, name), getattr(state, name))
        value = getattr(copy, name)
        if isinstance(value, np.ndarray):
            assert not np.shares_memory(value, getattr(state, name))
            value[:] = 7


def test_locking_lengths_forgets_their_error_only() -> None:
    state = random_state(np.random.default_rng(3))
    before = state.covariance.copy()
    state.lock_lengths()
    assert state.lengths_locked
    assert not state.covariance[LENGTH].any()
    assert not state.covariance[:, LENGTH].any()
    np.testing.assert_array_equal(
        state.covariance[:LENGTH_COLUMN, :LENGTH_COLUMN], before[:LENGTH_COLUMN, :LENGTH_COLUMN]
    )


def test_an_empty_state_has_never_been_measured() -> None:
    state = empty_state()
    assert (state.measured_ns < -(2**61)).all()
    assert not state.lengths_locked
