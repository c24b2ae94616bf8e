"""Limits and rest: where they have a say, what they say, and their Jacobians."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.body.skeleton import COORDINATE, COORDINATES
from fusion.filter.measurements.anatomy import AnatomyParams
from fusion.filter.state import BODY_ERRORS, LENGTH_COLUMN, RATE, State, retract
from fusion.filter.system import MAX_FEATURES
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.body.twin import ROTATION_VECTORS
from tests.fusion.filter.systems import Dense, LimitsAndRest
from tests.fusion.numeric import central_difference
from tests.fusion.scenes import random_state, resting_state

WIDE, NARROW = np.eye(BODY_ERRORS), 1e-4 * np.eye(BODY_ERRORS)
LOW, HIGH = coordinate_limits()
LIMITED = int(np.isfinite(LOW).sum())
BALLS = [COORDINATE[name] for name in sorted(ROTATION_VECTORS) if name.endswith("_x")]
"""First coordinate of each ball."""


def test_the_balls_are_four() -> None:
    assert len(BALLS) == 4
    assert not np.isfinite(LOW[BALLS]).any()


# --- Where they have a say ------------------------------------------------------------------------


def test_limits_have_rows_only_where_they_are_broken() -> None:
    state = resting_state()
    assert Dense(state, LimitsAndRest(NARROW)).observations == 0
    knee = COORDINATE["left_knee_flexion"]
    for value, wall in ((LOW[knee] - 0.3, LOW[knee]), (HIGH[knee] + 0.2, HIGH[knee])):
        state.coordinates[knee] = value
        dense = Dense(state, LimitsAndRest(NARROW))
        assert dense.observations == 1
        assert dense.residual[0] == pytest.approx(wall - value)
        assert dense.variance[0] == pytest.approx(AnatomyParams().limit_rad ** 2)
        assert dense.robust[0] == 0
        assert np.flatnonzero(dense.jacobian[0]).tolist() == [knee]
        assert dense.jacobian[0, knee] == 1.0


def test_rest_draws_the_unsure_only() -> None:
    state = resting_state()
    elbow = COORDINATE["left_elbow_flexion"]
    state.coordinates[elbow] = 1.4
    variance = NARROW.copy()
    variance[elbow, elbow] = 1.0
    dense = Dense(state, LimitsAndRest(variance))
    assert dense.observations == 1
    assert dense.residual[0] == pytest.approx(resting_coordinates()[elbow] - 1.4)
    assert dense.variance[0] == pytest.approx(AnatomyParams().rest_rad ** 2)


@pytest.mark.parametrize("ball", BALLS)
def test_rest_of_a_ball_is_a_rotation_away(ball: int) -> None:
    """As a whole, where its three variances together are wide; in its own frame, by the shortest way."""
    state, random = resting_state(), np.random.default_rng(ball)
    away = 0.8 * random.normal(size=3)
    rest = quaternion.from_rotvec(resting_coordinates()[ball : ball + 3])
    state.coordinates[ball : ball + 3] = quaternion.to_rotvec(
        quaternion.multiply(rest, quaternion.conjugate(quaternion.from_rotvec(away)))
    )
    variance = NARROW.copy()
    variance[ball, ball] = 3.1 * AnatomyParams().unsure_rad ** 2
    dense = Dense(state, LimitsAndRest(variance))
    np.testing.assert_allclose(dense.residual, away, atol=1e-9)
    np.testing.assert_array_equal(dense.jacobian, np.eye(BODY_ERRORS)[ball : ball + 3])
    variance[ball, ball] = 2.9 * AnatomyParams().unsure_rad ** 2
    assert Dense(state, LimitsAndRest(variance)).observations == 0


def test_the_root_has_neither_limit_nor_rest() -> None:
    state = resting_state()
    state.coordinates[:6] = [5.0, 5.0, 5.0, 1.0, 1.0, 1.0]
    variance = NARROW.copy()
    variance[:6, :6] = 100.0 * np.eye(6)
    assert Dense(state, LimitsAndRest(variance)).observations == 0


def test_only_the_pose_has_limits_and_rest() -> None:
    """Neither rates nor lengths, nor the floor, nor what is unknown of IMUs."""
    state = resting_state(imus=1)
    state.nominal[RATE] = 100.0
    size = len(state.nominal)
    assert Dense(state, LimitsAndRest(1e-4 * np.eye(size))).observations == 0
    assert not Dense(state, LimitsAndRest(np.eye(size))).jacobian[:, LENGTH_COLUMN:].any()


# --- Jacobians ------------------------------------------------------------------------------------


def out_of_range(state: State) -> None:
    for name, beyond in (("left_knee_flexion", LOW), ("right_elbow_flexion", HIGH), ("neck_y", HIGH), ("spine_z", LOW)):
        state.coordinates[COORDINATE[name]] = beyond[COORDINATE[name]] * 1.3


def rest_slack(state: State) -> Float64:
    """Rest of a ball is a rotation away; its derivative is taken as if that were small, which is half of it off."""
    slack = np.zeros(len(state.nominal))
    rest = resting_coordinates()
    for first in BALLS:
        columns = slice(first, first + 3)
        here, there = (quaternion.from_rotvec(vector[columns]) for vector in (state.coordinates, rest))
        away = np.linalg.norm(quaternion.to_rotvec(quaternion.multiply(quaternion.conjugate(here), there)))
        slack[columns] = 0.6 * away + 0.1 * away**2
    return slack


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", ["limits", "rest"])
def test_jacobian_against_central_differences(kind: str, seed: int) -> None:
    state = random_state(np.random.default_rng(seed))
    known = LimitsAndRest(WIDE if kind == "rest" else NARROW)
    if kind == "limits":
        out_of_range(state)
    dense = Dense(state, known)
    assert len(dense.residual) == (LIMITED + 3 * len(BALLS) if kind == "rest" else 4)

    def residual(column: int, by: float) -> Float64:
        error = np.zeros(BODY_ERRORS)
        error[column] = by
        return Dense(state, known, nominal=retract(state.nominal, error)).residual

    numeric = -np.stack(
        [central_difference(lambda h, c=c: residual(c, h)) for c in range(COORDINATES)],  # type: ignore[misc]
        axis=1,
    )
    slack = rest_slack(state)[:COORDINATES] if kind == "rest" else 0.0
    assert not np.argwhere(np.abs(dense.jacobian[:, :COORDINATES] - numeric) > 1e-7 + slack).tolist()


def test_there_is_always_room_for_the_body() -> None:
    """All limits broken and everything unsure at once: fewer features than one update can take."""
    state = resting_state()
    beyond = np.isfinite(HIGH)
    state.coordinates[beyond] = HIGH[beyond] + 0.2
    dense = Dense(state, LimitsAndRest(WIDE))
    assert dense.features == dense.observations == 2 * LIMITED + 3 * len(BALLS)
    assert dense.features + 133 < MAX_FEATURES
