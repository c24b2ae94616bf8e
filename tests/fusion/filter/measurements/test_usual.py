"""What is usual of somebody whom one camera alone shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import COORDINATE, SEGMENT
from fusion.filter.measurements.usual import UsualParams, UsualPose
from fusion.filter.motion_table import POSE_STD, REST
from fusion.filter.state import FLOOR_COLUMN, POSE, State
from fusion.maths import quaternion
from tests.fusion.filter.measurements.observed import Observed, body_at, moving_state, numeric_jacobian
from tests.fusion.scenes import on_the_floor, resting_state, updater

CENTRE = np.array([4.0, 1.0, 1.5])
TOLD = UsualPose(0, CENTRE, UsualParams(scale_share=0.0))
TAIL = 3
"""Rows of lean and foot, after those of the pose."""


def standing() -> State:
    state = resting_state(sigma=0.3)
    state.nominal[:] = on_the_floor(state.nominal)
    return state


def test_jacobian_of_single_coordinates_and_of_the_foot() -> None:
    state = moving_state(np.random.default_rng(0))
    observed, numeric = Observed(state, TOLD), numeric_jacobian(state, TOLD)
    single = [k for k in range(observed.count - TAIL) if COORDINATE["spine_x"] in np.flatnonzero(observed.jacobian[k])]
    for row in (*single, observed.count - 1):
        np.testing.assert_allclose(observed.jacobian[row], numeric[row], atol=1e-6)
    assert single


def test_jacobian_of_balls_near_the_usual() -> None:
    """They are linearised at the usual pose: a turn is taken for its axis times its angle."""
    state = standing()
    state.nominal[POSE] = np.where(np.isfinite(POSE_STD), REST, state.nominal[POSE])
    observed, numeric = Observed(state, TOLD), numeric_jacobian(state, TOLD)
    np.testing.assert_allclose(observed.jacobian[:-TAIL], numeric[:-TAIL], atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_jacobian_of_the_lean(seed: int) -> None:
    state = moving_state(np.random.default_rng(seed))
    observed, numeric = Observed(state, TOLD), numeric_jacobian(state, TOLD)
    np.testing.assert_allclose(observed.jacobian[-TAIL:-1], numeric[-TAIL:-1], atol=1e-6)


def test_residuals_lead_to_the_usual_pose() -> None:
    state = standing()
    state.nominal[COORDINATE["left_elbow_flexion"]] = 2.0
    state.nominal[2] += 0.1
    observed = Observed(state, TOLD)
    row = next(k for k in range(observed.count) if observed.jacobian[k, COORDINATE["left_elbow_flexion"]] == 1.0)
    assert observed.residual[row] == pytest.approx(REST[COORDINATE["left_elbow_flexion"]] - 2.0)
    toes = body_at(state.nominal).positions[[SEGMENT["left_toe"], SEGMENT["right_toe"]], 2]
    assert observed.residual[-1] == pytest.approx(state.nominal[FLOOR_COLUMN] - toes.min())
    assert not observed.robust.any()


def test_what_is_far_from_usual_is_pulled_less() -> None:
    near, far = standing(), standing()
    column = COORDINATE["left_elbow_flexion"]
    near.nominal[column], far.nominal[column] = REST[column] + 0.5, REST[column] + 2.0
    pulls = []
    for state in (near, far):
        observed = Observed(state, TOLD)
        row = next(k for k in range(observed.count) if observed.jacobian[k, column] == 1.0)
        pulls.append(abs(observed.residual[row]) / observed.variance[row] / 1.0)
        assert observed.variance[row] > TOLD.params.lasting * POSE_STD[column] ** 2 * 0.8
    assert pulls[1] < 2.0 * pulls[0]


def test_who_leans_and_floats_comes_back() -> None:
    """Told for long enough, and nothing else: upright, with a foot on the floor."""
    state = standing()
    tipped = quaternion.from_rotvec(np.array([0.5, 0.9, 0.0]))
    state.nominal[3:6] = quaternion.to_rotvec(tipped)
    state.nominal[2] += 0.3
    fit = updater()
    for _ in range(80):
        fit.apply(state, [TOLD])
    up = quaternion.rotate(quaternion.from_rotvec(state.coordinates[3:6]), np.array([0.0, 0.0, 1.0]))
    assert up[2] > np.cos(np.radians(25.0))
    toes = body_at(state.nominal).positions[[SEGMENT["left_toe"], SEGMENT["right_toe"]], 2]
    assert toes.min() == pytest.approx(state.nominal[FLOOR_COLUMN], abs=0.03)


def test_the_place_is_known_no_better_than_the_body_is_large() -> None:
    state = standing()
    state.nominal[POSE] = resting_coordinates()
    state.covariance[:] = 1e-4 * np.eye(len(state.nominal))
    before = state.covariance.copy()
    Observed(state, replace(TOLD, params=UsualParams(scale_share=0.1)))
    away = state.coordinates[:3] - CENTRE
    distance = np.linalg.norm(away)
    ray = away / distance
    assert ray @ state.covariance[:3, :3] @ ray == pytest.approx((0.1 * distance) ** 2)
    across = np.cross(ray, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    assert across @ state.covariance[:3, :3] @ across == pytest.approx(1e-4)
    np.testing.assert_array_equal(state.covariance[3:, 3:], before[3:, 3:])
    np.testing.assert_array_equal(state.covariance[:3, 3:], before[:3, 3:])


def test_an_unsure_place_stays_as_it_is() -> None:
    state = standing()
    state.covariance[:3, :3] = 4.0 * np.eye(3)
    Observed(state, replace(TOLD, params=UsualParams(scale_share=0.1)))
    np.testing.assert_array_equal(state.covariance[:3, :3], 4.0 * np.eye(3))
