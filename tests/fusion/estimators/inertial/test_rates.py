"""Means of angular rates over short stretches."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusion.estimators.inertial.rates import mean_rates

MS = 1_000_000


def test_samples_within_the_interval_become_one() -> None:
    times = np.array([0, 10, 20, 30, 45], dtype=np.int64) * MS
    rates = np.arange(5.0)[:, None, None] * np.ones((1, 2, 3))
    stretches = list(mean_rates(times, rates, 20 * MS))
    assert [time for time, _ in stretches] == [5 * MS, 25 * MS, 45 * MS]
    assert [float(mean[0, 0]) for _, mean in stretches] == [0.5, 2.5, 4.0]


def test_a_missing_sample_does_not_count_and_a_silent_sensor_is_no_number() -> None:
    times = np.array([0, 10], dtype=np.int64) * MS
    rates = np.ones((2, 3, 3))
    rates[0, 0] = np.nan
    rates[:, 1, 2] = np.nan
    ((_, mean),) = mean_rates(times, rates, 20 * MS)
    assert np.array_equal(mean[0], np.ones(3))
    assert np.isnan(mean[1]).all()
    assert np.array_equal(mean[2], np.ones(3))


def test_nothing_gives_nothing() -> None:
    assert list(mean_rates(np.empty(0, dtype=np.int64), np.empty((0, 2, 3)), MS)) == []


@given(gaps=st.lists(st.integers(0, 50), min_size=1, max_size=30), interval=st.integers(1, 60))
def test_no_sample_is_lost_or_counted_twice(gaps: list[int], interval: int) -> None:
    """With equal weights the sum of all samples comes back from the means and the sizes of their stretches."""
    times = np.cumsum(np.array(gaps, dtype=np.int64)) * MS
    rates = np.random.default_rng(0).normal(size=(len(gaps), 1, 3))
    stretches = list(mean_rates(times, rates, interval * MS))
    assert all(earlier < later for (earlier, _), (later, _) in itertools.pairwise(stretches))
    first, total = 0, np.zeros(3)
    for _, mean in stretches:
        size = int((times[first:] - times[first] < interval * MS).sum())
        total += mean[0] * size
        first += size
    assert first == len(gaps)
    assert np.allclose(total, rates.sum(axis=(0, 1)))
