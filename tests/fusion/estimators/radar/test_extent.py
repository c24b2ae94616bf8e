"""The size of a body, learned from what it reflects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.estimators.radar.extent import ExtentParams, first_extent, learned

PARAMS = ExtentParams()
NOISE_M2 = np.diag([0.01, 0.02, 0.005])


def test_many_frames_tell_the_size_apart_from_the_noise() -> None:
    random = np.random.default_rng(3)
    true = np.array([[0.06, 0.01, 0.0], [0.01, 0.03, 0.0], [0.0, 0.0, 0.12]])
    extent = first_extent(PARAMS)
    for _ in range(400):
        points = random.multivariate_normal(np.zeros(3), true + NOISE_M2, 25)
        extent = learned(extent, np.cov(points.T), NOISE_M2, 25, 0.05, PARAMS)
    np.testing.assert_allclose(extent.covariance_m2, true, atol=0.02)
    np.testing.assert_allclose(extent.half_sizes_m, 2.0 * np.sqrt(true.diagonal()), atol=0.06)


def test_one_frame_says_little() -> None:
    before = first_extent(PARAMS)
    after = learned(before, np.diag([0.5, 0.5, 0.5]), NOISE_M2, 8, 0.05, PARAMS)
    change = np.abs(after.half_sizes_m / before.half_sizes_m - 1.0)
    assert change.max() < 0.5


def test_two_points_have_no_size() -> None:
    before = first_extent(PARAMS)
    assert learned(before, np.zeros((3, 3)), NOISE_M2, 2, 0.05, PARAMS) is before


@given(st.integers(0, 2**32 - 1), st.floats(3.0, 64.0), st.floats(0.0, 10.0))
def test_a_size_is_always_that_of_a_body(seed: int, points: float, elapsed_s: float) -> None:
    random = np.random.default_rng(seed)
    factor = random.normal(size=(3, 3)) * 10.0 ** random.uniform(-3.0, 1.0)
    extent = learned(first_extent(PARAMS), factor @ factor.T, NOISE_M2, points, elapsed_s, PARAMS)
    sizes = np.sqrt(np.linalg.eigvalsh(extent.covariance_m2))
    assert sizes.min() >= PARAMS.smallest_m - 1e-9
    assert sizes.max() <= PARAMS.largest_m + 1e-9
    np.testing.assert_allclose(extent.covariance_m2, extent.covariance_m2.T, atol=1e-12)


def test_what_was_learned_long_ago_is_forgotten() -> None:
    extent = first_extent(PARAMS)
    seen = np.diag([0.04, 0.04, 0.09]) + NOISE_M2
    soon = learned(extent, seen, NOISE_M2, 10, 0.05, PARAMS)
    late = learned(extent, seen, NOISE_M2, 10, 10.0, PARAMS)
    assert late.points < soon.points
    assert late.points == pytest.approx(10.0 + PARAMS.prior_points * np.exp(-10.0 / PARAMS.memory_s))
