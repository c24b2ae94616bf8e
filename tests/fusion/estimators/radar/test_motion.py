"""Moving on: two steps are one step of their sum, and who rests comes to rest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.estimators.radar.motion import MotionParams, Transition, coming_to_rest, straight

PARAMS = MotionParams()
SPAN = st.floats(0.0, 3.0)


@pytest.mark.parametrize("move", [straight, coming_to_rest])
@given(first_s=SPAN, second_s=SPAN)
def test_two_steps_are_one(move: Callable[[float, MotionParams], Transition], first_s: float, second_s: float) -> None:
    first, second, whole = move(first_s, PARAMS), move(second_s, PARAMS), move(first_s + second_s, PARAMS)
    np.testing.assert_allclose(second.matrix @ first.matrix, whole.matrix, atol=1e-12)
    noise = second.matrix @ first.noise @ second.matrix.T + second.noise
    np.testing.assert_allclose(noise, whole.noise, atol=1e-10)


@pytest.mark.parametrize("move", [straight, coming_to_rest])
@given(elapsed_s=SPAN)
def test_noise_is_a_covariance(move: Callable[[float, MotionParams], Transition], elapsed_s: float) -> None:
    noise = move(elapsed_s, PARAMS).noise
    np.testing.assert_array_equal(noise, noise.T)
    assert np.linalg.eigvalsh(noise).min() > -1e-12


@given(elapsed_s=SPAN)
def test_going_back_undoes_the_step(elapsed_s: float) -> None:
    there, back = straight(elapsed_s, PARAMS), straight(-elapsed_s, PARAMS)
    np.testing.assert_allclose(back.matrix @ there.matrix, np.eye(6), atol=1e-12)
    # What was unknown going there is what is unknown coming back from there.
    np.testing.assert_allclose(back.noise, back.matrix @ there.noise @ back.matrix.T, atol=1e-10)


def test_who_comes_to_rest_goes_on_for_speed_times_time_constant() -> None:
    state = coming_to_rest(60.0, PARAMS).matrix @ np.array([0.0, 0.0, 0.0, 0.4, 0.0, 0.0])
    np.testing.assert_allclose(state[:3], [0.4 * PARAMS.rest_time_s, 0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(state[3:], 0.0, atol=1e-9)


def test_the_place_of_who_stands_grows_vague() -> None:
    sigmas = [np.sqrt(coming_to_rest(time_s, PARAMS).noise[0, 0]) for time_s in (1.0, 5.0, 30.0)]
    assert sigmas == sorted(sigmas)
    # A random walk of speed sigma and memory tau: sigma sqrt(2 tau t).
    expected = PARAMS.rest_speed_m_s * np.sqrt(2.0 * PARAMS.rest_time_s * 30.0)
    assert sigmas[-1] == pytest.approx(expected, rel=0.05)
