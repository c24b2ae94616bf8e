"""Whose a point is: gates, shares, folding."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.estimators.radar.association import GateParams, View, shares
from fusion.estimators.radar.polar import polar_of, predict_measure
from fusion.records import Float64
from tests.fusion.estimators.radar.bodies import DOOR

PARAMS = GateParams()


def view_of(place_m: tuple[float, float, float], velocity_m_s: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> View:
    state = np.array([*place_m, *velocity_m_s])
    prediction = predict_measure(state, DOOR)
    assert prediction is not None
    spread = np.diag([0.05, 0.02, 0.02, 0.5])
    return View(prediction.measure, prediction.jacobian, spread, spread, state[:3], reach_m=0.65)


def points(places_m: Float64, rates_m_s: Float64) -> Float64:
    local = (places_m - DOOR.position_world_m) @ DOOR.r_world_from_radar
    return np.column_stack([polar_of(local), rates_m_s])


LEFT, RIGHT = view_of((-0.3, 0.0, 1.0)), view_of((0.3, 0.0, 1.0))


def test_each_track_has_the_points_about_it_and_half_of_those_between() -> None:
    places = np.array([[-0.34, 0.0, 1.0], [0.34, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.5, 1.0]])
    divided = shares(points(places, np.zeros(4)), places, [LEFT, RIGHT], None, PARAMS)
    assert divided.owner[[0, 1, 3]].tolist() == [0, 1, -1]
    np.testing.assert_allclose(divided.weights[:, 2], [0.5, 0.5], atol=1e-9)
    np.testing.assert_allclose(divided.weights.sum(axis=0), [1.0, 1.0, 1.0, 0.0])
    assert divided.weights[0, 0] > 0.7


def test_radial_velocity_tells_apart_who_is_in_one_place() -> None:
    coming, going = view_of((0.0, 0.0, 1.0), (0.0, -1.2, 0.0)), view_of((0.0, 0.0, 1.0), (0.0, 1.2, 0.0))
    places = np.zeros((2, 3)) + np.array([0.0, 0.0, 1.0])
    divided = shares(points(places, np.array([-1.2, 1.2])), places, [coming, going], None, PARAMS)
    assert divided.owner.tolist() == [0, 1]


def test_a_folded_velocity_is_unfolded_for_the_track_that_expects_it() -> None:
    fast = view_of((0.0, 0.0, 1.0), (0.0, 3.2, 0.0))
    places = np.array([[0.0, 0.0, 1.0]])
    folded = points(places, np.array([3.2 - 4.0]))
    assert shares(folded, places, [fast], None, PARAMS).owner.tolist() == [-1]
    divided = shares(folded, places, [fast], 2.0, PARAMS)
    assert divided.owner.tolist() == [0]
    assert divided.rates_m_s[0, 0] == pytest.approx(3.2)


def test_without_tracks_or_points_nothing_is_shared() -> None:
    places = np.array([[0.0, 0.0, 1.0]])
    assert shares(points(places, np.zeros(1)), places, [], None, PARAMS).owner.tolist() == [-1]
    assert shares(np.empty((0, 4)), np.empty((0, 3)), [LEFT], None, PARAMS).weights.shape == (1, 0)
