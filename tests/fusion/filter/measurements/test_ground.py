"""Feet on the floor: what stands, what does not, Jacobians, and how far it is trusted."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fusion.body.kinematics import TABLES, forward_kinematics
from fusion.body.skeleton import COORDINATE, REFERENCE_LENGTHS_M
from fusion.filter.measurements.ground import ContactParams, ground_due, ground_rows, make_ground
from fusion.filter.state import FLOOR_COLUMN, LENGTH, POSE, RATE_COLUMN, State, empty_state
from fusion.filter.system import MAX_FEATURES, Body, System
from fusion.records import Float64
from fusion.synthesis.script import sole_points
from tests.fusion.filter.measurements.observed import Observed, after, assert_jacobian, moving_state

LEFT, RIGHT = [0, 1], [2, 3]
EVERYTHING = ContactParams(height_m=50.0, speed_m_s=50.0, sure_m=50.0)
PARAMS = ContactParams()
TINY = 1e-12


class Feet:
    """The kernel as a function that appends rows to a measurement's system."""

    def __init__(self, params: ContactParams = PARAMS) -> None:
        self.ground = make_ground(params)

    def __call__(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        ground_rows(TABLES, body, nominal, state.covariance, self.ground, system)


def soles(nominal: Float64) -> Float64:
    """Heels and balls [4, 3] (left heel, left ball, right heel, right ball), from the simulator's own feet."""
    lengths = np.exp(nominal[LENGTH])
    positions, quaternions = forward_kinematics(nominal[POSE], lengths)
    right_and_left = sole_points(positions[None], quaternions[None], lengths)[0].reshape(2, 3, 3)[:, :2]
    sides = {"right": right_and_left[0], "left": right_and_left[1]}
    if sides["left"][0, 1] < sides["right"][0, 1]:
        raise AssertionError("the simulator's sides are the other way round")
    return np.concatenate([sides["left"], sides["right"]])


def standing(variance: float = TINY) -> State:
    """A T-pose, both soles on a floor at 0.3 m, everything known."""
    state = empty_state()
    state.nominal[LENGTH] = np.log(REFERENCE_LENGTHS_M * 1.1)
    state.nominal[FLOOR_COLUMN] = 0.3
    state.nominal[2] += 0.3 - soles(state.nominal)[:, 2].min()
    state.covariance[:] = variance * np.eye(len(state.nominal))
    return state


def stood(observed: Observed) -> list[int]:
    """Points that are taken to stand."""
    s = observed.system
    return [int(s.source[o]) for o in range(observed.count) if s.components[o] == 3]


@pytest.mark.parametrize("seed", range(2))
def test_jacobian(seed: int) -> None:
    state = moving_state(np.random.default_rng(seed), rate=2.0)
    state.nominal[FLOOR_COLUMN] = -0.7
    observed = assert_jacobian(state, Feet(EVERYTHING))
    assert stood(observed) == [0, 1, 2, 3]


def test_residuals_are_the_heights_and_velocities_of_the_soles() -> None:
    state = moving_state(np.random.default_rng(2), rate=1.0)
    state.nominal[FLOOR_COLUMN] = -0.7
    observed = Observed(state, Feet(EVERYTHING))
    residual = observed.residual.reshape(4, 4)
    velocities = (soles(after(state, 1e-6)) - soles(after(state, -1e-6))) / 2e-6
    np.testing.assert_allclose(residual[:, :3], -velocities, atol=1e-7)
    np.testing.assert_allclose(residual[:, 3], -0.7 - soles(state.nominal)[:, 2], atol=1e-12)


def test_a_person_who_stands_stands_on_four_points() -> None:
    observed = Observed(standing(), Feet())
    assert stood(observed) == [0, 1, 2, 3]
    np.testing.assert_allclose(observed.residual, 0.0, atol=1e-12)
    np.testing.assert_allclose(
        observed.variance.reshape(4, 4),
        [[PARAMS.velocity_sigma_m_s**2] * 3 + [PARAMS.height_sigma_m**2]] * 4,
        rtol=1e-9,
    )
    assert observed.robust.all()


def test_a_raised_foot_and_a_fast_one_do_not_stand() -> None:
    state = standing()
    state.nominal[COORDINATE["left_knee_flexion"]] = 1.2
    assert stood(Observed(state, Feet())) == RIGHT
    state = standing()
    state.rates[COORDINATE["right_knee_flexion"]] = 2.0
    observed = Observed(state, Feet())
    assert stood(observed) == LEFT
    assert observed.features == 4, "features that nothing observes are left behind"


def test_nobody_stands_in_the_air() -> None:
    state = standing()
    state.nominal[2] += 0.2
    observed = Observed(state, Feet())
    assert (observed.count, observed.features) == (0, 0)


def test_trust_falls_softly_towards_the_limits() -> None:
    for lift in (0.0, 0.3, 0.6, 0.9, 0.99):
        for speed in (0.0, 0.5, 0.9):
            state = standing()
            state.nominal[2] += lift * PARAMS.height_m
            state.nominal[RATE_COLUMN] = speed * PARAMS.speed_m_s
            share = (1.0 - lift**2) * (1.0 - speed**2)
            variance = Observed(state, Feet()).variance
            if share < PARAMS.least_share:
                assert len(variance) == 0
            else:
                np.testing.assert_allclose(variance.reshape(4, 4)[:, 3], PARAMS.height_sigma_m**2 / share, rtol=1e-3)
                np.testing.assert_allclose(
                    variance.reshape(4, 4)[:, 0], PARAMS.velocity_sigma_m_s**2 / share, rtol=1e-3
                )


def test_of_feet_at_unknown_heights_only_the_lower_is_asked() -> None:
    state = standing()
    state.nominal[COORDINATE["left_hip_y"]] -= 0.15
    assert stood(Observed(state, Feet())) == [0, 1, 2, 3]
    state.covariance[2, 2] = (1.1 * PARAMS.sure_m) ** 2
    assert stood(Observed(state, Feet())) == RIGHT
    state.covariance[2, 2] = (0.9 * PARAMS.sure_m) ** 2
    assert stood(Observed(state, Feet())) == [0, 1, 2, 3]


def test_the_lower_foot_of_a_body_that_drifts_holds_it() -> None:
    """A place that nobody knows and a velocity that is hardly known: what seems to move, high up, still may stand."""
    state = standing()
    state.nominal[COORDINATE["left_hip_y"]] -= 0.15
    state.nominal[2] += 0.5
    state.nominal[RATE_COLUMN] = 0.5
    assert stood(Observed(state, Feet())) == []
    state.covariance[2, 2] = 1.0
    assert stood(Observed(state, Feet())) == []
    state.covariance[RATE_COLUMN, RATE_COLUMN] = 0.2
    assert stood(Observed(state, Feet())) == RIGHT


def test_a_foot_whose_velocity_nobody_knows_is_not_asked() -> None:
    """In the dark rates die out in the estimate, and every foot would seem to stand."""
    state = standing()
    assert stood(Observed(state, Feet())) != []
    state.covariance[RATE_COLUMN, RATE_COLUMN] = 1.0
    assert stood(Observed(state, Feet())) == []


def test_what_is_below_the_floor_and_moves_comes_up() -> None:
    state = standing()
    state.nominal[2] -= 0.1
    state.nominal[RATE_COLUMN] = 2.0
    observed = Observed(state, Feet())
    assert stood(observed) == []
    np.testing.assert_allclose(observed.residual, [0.1] * 4)
    np.testing.assert_allclose(observed.variance, PARAMS.below_sigma_m**2)
    np.testing.assert_array_equal(observed.source, [0, 1, 2, 3])
    assert not observed.robust.any()
    assert observed.features == 4
    assert_jacobian(state, Feet())


def test_what_is_no_number_says_nothing() -> None:
    state = standing()
    state.nominal[FLOOR_COLUMN] = math.nan
    assert Observed(state, Feet()).count == 0


def test_a_full_system_takes_no_half_of_a_point() -> None:
    state = standing()

    def nearly_full(state: State, nominal: Float64, body: Body, system: System) -> None:
        system.filled[0] = MAX_FEATURES - 1
        Feet()(state, nominal, body, system)
        assert system.filled[1] == 0

    Observed(state, nearly_full)


def test_when_the_feet_are_asked() -> None:
    state = standing()
    params = replace(PARAMS, interval_s=0.1)
    assert ground_due(state, params)
    state.contact_ns, state.time_ns = 1_000_000_000, 1_090_000_000
    assert not ground_due(state, params)
    state.time_ns = 1_100_000_000
    assert ground_due(state, params)
