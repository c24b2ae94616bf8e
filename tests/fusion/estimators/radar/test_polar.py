"""The radar's measure of a moving place: values, derivatives, folding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.estimators.radar.polar import in_view, polar_of, predict_measure, residuals, unfolded
from fusion.maths import quaternion
from fusion.records import Float64
from fusion.rig import RadarMount
from tests.fusion.estimators.radar.bodies import DOOR

STEP = 1e-6


def random_mount(random: np.random.Generator) -> RadarMount:
    return RadarMount(
        name="any",
        r_world_from_radar=quaternion.to_matrix(quaternion.from_rotvec(random.uniform(-2.0, 2.0, 3))),
        position_world_m=random.uniform(-3.0, 3.0, 3),
    )


def before(mount: RadarMount, random: np.random.Generator) -> Float64:
    """A state in front of the radar."""
    local = np.array([random.uniform(-2.0, 2.0), random.uniform(0.5, 6.0), random.uniform(-1.0, 1.0)])
    return np.concatenate([mount.r_world_from_radar @ local + mount.position_world_m, random.uniform(-2.0, 2.0, 3)])


@given(st.integers(0, 2**32 - 1))
def test_the_jacobian_is_what_central_differences_give(seed: int) -> None:
    random = np.random.default_rng(seed)
    mount = random_mount(random)
    state = before(mount, random)
    prediction = predict_measure(state, mount)
    assert prediction is not None
    for column in range(6):
        shift = np.zeros(6)
        shift[column] = STEP
        ahead, behind = predict_measure(state + shift, mount), predict_measure(state - shift, mount)
        assert ahead is not None
        assert behind is not None
        slope = (ahead.measure - behind.measure) / (2.0 * STEP)
        np.testing.assert_allclose(prediction.jacobian[:, column], slope, atol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_a_predicted_place_measures_as_its_point(seed: int) -> None:
    random = np.random.default_rng(seed)
    mount = random_mount(random)
    state = before(mount, random)
    prediction = predict_measure(state, mount)
    assert prediction is not None
    local = (state[:3] - mount.position_world_m) @ mount.r_world_from_radar
    np.testing.assert_allclose(prediction.measure[:3], polar_of(local[None])[0], atol=1e-12)


def test_azimuth_is_positive_to_the_right_elevation_upwards_and_receding_positive() -> None:
    state = np.array([1.0, -1.0, 2.0, 0.0, 1.0, 0.0])
    prediction = predict_measure(state, DOOR)
    assert prediction is not None
    np.testing.assert_allclose(
        prediction.measure,
        [math.sqrt(6.0), math.atan2(1.0, 2.0), math.asin(1.0 / math.sqrt(6.0)), 2.0 / math.sqrt(6.0)],
    )


def test_above_the_radar_there_are_no_angles() -> None:
    assert predict_measure(np.array([0.0, -3.0, 2.0, 0.0, 0.0, 0.0]), DOOR) is None


def test_azimuths_on_both_sides_of_half_a_turn_are_near() -> None:
    shift = residuals(np.array([[1.0, 3.1, 0.0, 0.0]]), np.array([1.0, -3.1, 0.0, 0.0]))
    assert shift[0, 1] == pytest.approx(6.2 - 2.0 * math.pi)


@given(st.floats(-6.0, 6.0), st.floats(-0.9, 0.9), st.floats(0.5, 5.0))
def test_a_folded_velocity_unfolds_to_what_it_was(true_m_s: float, error_share: float, fold_m_s: float) -> None:
    folded = math.remainder(true_m_s, 2.0 * fold_m_s)
    expected = true_m_s + error_share * fold_m_s
    assert unfolded(np.array([folded]), expected, fold_m_s)[0] == pytest.approx(true_m_s, abs=1e-9)


@pytest.mark.parametrize(
    ("position_m", "seen"),
    [((0.0, 0.0, 1.0), True), ((3.0, -2.9, 1.0), False), ((0.0, 3.5, 1.0), False), ((0.0, -3.5, 1.0), False)],
    ids=["ahead", "aside", "too far", "behind"],
)
def test_the_view_has_a_width_and_an_end(position_m: tuple[float, float, float], seen: bool) -> None:
    assert in_view(np.array(position_m), DOOR) is seen
