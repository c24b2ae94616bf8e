"""Clusters of radar points: their scales, their borders, their laws."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusion.estimators.radar.clusters import NOISE, ClusterParams, cluster, neighbours
from fusion.records import Float64, Int64

PARAMS = ClusterParams()


def labels_of(points_m: Float64, rates_m_s: Float64 | None = None) -> Int64:
    return cluster(points_m, np.zeros(len(points_m)) if rates_m_s is None else rates_m_s, PARAMS)


def blob(centre_m: tuple[float, float, float], count: int, seed: int = 0) -> Float64:
    return np.array(centre_m) + 0.05 * np.random.default_rng(seed).normal(size=(count, 3))


def test_two_bodies_and_a_stray_point() -> None:
    points = np.concatenate([blob((-0.8, 2.0, 0.0), 8), blob((0.8, 2.0, 0.2), 6), [[0.0, 5.0, 0.0]]])
    labels = labels_of(points)
    assert labels.tolist() == [0] * 8 + [1] * 6 + [NOISE]


def test_head_and_feet_are_one_body() -> None:
    points = np.concatenate([blob((0.0, 2.0, height), 4) for height in (-0.9, -0.2, 0.5)])
    assert set(labels_of(points).tolist()) == {0}


def test_what_is_apart_nearby_may_be_one_far_away() -> None:
    near = np.array([[-0.3, 1.0, 0.0], [0.3, 1.0, 0.0]])
    far = near + np.array([0.0, 5.0, 0.0])
    assert not neighbours(near, np.zeros(2), PARAMS)[0, 1]
    assert neighbours(far, np.zeros(2), PARAMS)[0, 1]


def test_far_away_depth_still_separates() -> None:
    assert not neighbours(np.array([[0.0, 5.0, 0.0], [0.0, 5.5, 0.0]]), np.zeros(2), PARAMS)[0, 1]


def test_opposite_velocities_separate_what_swinging_arms_do_not() -> None:
    points = np.array([[0.0, 2.0, 0.0], [0.1, 2.0, 0.0]])
    assert neighbours(points, np.array([-1.0, 1.0]), PARAMS)[0, 1]
    assert not neighbours(points, np.array([-2.0, 2.0]), PARAMS)[0, 1]


def test_few_points_are_no_cluster_and_none_are_none() -> None:
    assert labels_of(blob((0.0, 2.0, 0.0), 2)).tolist() == [NOISE, NOISE]
    assert labels_of(np.empty((0, 3))).tolist() == []


@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_the_order_of_points_does_not_change_what_belongs_together(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    points = random.uniform([-1.5, 1.0, -0.5], [1.5, 4.0, 0.5], (count, 3))
    rates = random.uniform(-1.0, 1.0, count)
    order = random.permutation(count)
    plain, mixed = cluster(points, rates, PARAMS), cluster(points[order], rates[order], PARAMS)
    inside = neighbours(points, rates, PARAMS).sum(axis=1) >= PARAMS.min_neighbours
    # A border point between two clusters may go to either: only core points are the same in any order.
    core = inside[order]
    together = plain[order][core, None] == plain[order][None, core]
    np.testing.assert_array_equal(mixed[core, None] == mixed[None, core], together)
    np.testing.assert_array_equal(mixed == NOISE, plain[order] == NOISE)
