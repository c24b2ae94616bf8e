"""Samples are cut into short stretches, and a stretch says what a filter can use."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusion.estimators.inertial.orientation import OrientationFilter, OrientationParams
from fusion.estimators.inertial.stretches import Stretch, cut

MS = 1_000_000


def stretches_of(times_ms: list[int], rates: np.ndarray, lag_s: float = 0.0) -> list[Stretch]:
    times = np.array(times_ms, dtype=np.int64) * MS
    force = np.full_like(rates, 9.0)
    params = OrientationParams(stamp_lag_s=lag_s)
    return OrientationFilter(rates.shape[1], params).stretches(times, force, rates, interval_ns=20 * MS)


def test_samples_within_the_interval_become_one() -> None:
    rates = np.arange(5.0)[:, None, None] * np.ones((1, 2, 3))
    stretches = stretches_of([0, 10, 20, 30, 45], rates)
    assert [stretch.time_ns for stretch in stretches] == [5 * MS, 25 * MS, 45 * MS]
    assert [float(stretch.rates_rad_s[1, 0]) for stretch in stretches] == [0.5, 2.5, 4.0]
    assert [stretch.samples.tolist() for stretch in stretches] == [[2, 2], [2, 2], [1, 1]]


def test_a_missing_sample_does_not_count_and_a_silent_sensor_is_no_number() -> None:
    rates = np.ones((2, 3, 3))
    rates[0, 0] = np.nan
    rates[:, 1, 2] = np.nan
    (stretch,) = stretches_of([0, 10], rates)
    assert np.array_equal(stretch.rates_rad_s[0], np.ones(3))
    assert np.isnan(stretch.rates_rad_s[1]).all()
    assert np.isnan(stretch.specific_force_m_s2[1]).all()
    assert np.array_equal(stretch.rates_rad_s[2], np.ones(3))
    assert stretch.samples.tolist() == [1, 0, 2]


def test_means_hold_when_the_gyroscope_measured_them() -> None:
    (stretch,) = stretches_of([100, 110], np.ones((2, 1, 3)), lag_s=0.004)
    assert stretch.time_ns == 101 * MS


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 50))
def test_parts_are_everything_in_order_and_none_is_longer_than_the_interval(steps: list[int], interval: int) -> None:
    times = np.cumsum(np.array(steps, dtype=np.int64))
    parts = [times[part] for part in cut(times, interval)]
    assert np.array_equal(np.concatenate([np.zeros(0, dtype=np.int64), *parts]), times)
    assert all(part[-1] - part[0] < interval for part in parts)
    for part, following in itertools.pairwise(parts):
        assert following[0] - part[0] >= interval
