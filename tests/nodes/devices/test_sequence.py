"""Counters and clocks: what is lost, doubled, late or new."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.devices.sample import DecoderCounts
from nodes.devices.sequence import Sequence, TimeSequence, Unwrapped


@given(
    start=st.integers(0, 70_000),
    modulus=st.sampled_from([256, 65536, 1 << 32]),
    fates=st.lists(st.sampled_from(["come", "lost", "double"]), min_size=2, max_size=200),
)
def test_numbers_go_on_and_losses_add_up(start: int, modulus: int, fates: list[str]) -> None:
    counts = DecoderCounts()
    sequence = Sequence(modulus, counts)
    fates = ["come", *fates, "come"]
    numbers = []
    longest = run = 0
    for k, fate in enumerate(fates):
        run = run + 1 if fate == "lost" else 0
        longest = max(longest, run)
        for _ in range({"come": 1, "lost": 0, "double": 2}[fate]):
            numbers.append(sequence.step((start + k) % modulus))
    if longest >= 100:
        return
    came = [number for number in numbers if number is not None]
    assert [number - came[0] for number in came] == [k for k, fate in enumerate(fates) if fate != "lost"]
    assert (counts.lost, counts.doubled, counts.restarts) == (fates.count("lost"), fates.count("double"), 0)


@given(order=st.permutations(range(12)))
def test_reordered_numbers_are_late_but_not_lost(order: list[int]) -> None:
    counts = DecoderCounts()
    sequence = Sequence(1 << 16, counts)
    numbers = [sequence.step(1000 + number) for number in [-1, *order, 12]]
    assert sorted(number for number in numbers if number is not None) == list(range(999, 1013))
    assert (counts.lost, counts.doubled, counts.restarts) == (0, 0, 0)
    assert counts.late == sum(number < max(order[:k]) for k, number in enumerate(order) if k)


@given(
    period=st.sampled_from([4_000_000, 10_000_000, 16_666_667, 100_000_000]),
    gaps=st.lists(st.integers(1, 6), min_size=3, max_size=60),
)
def test_gaps_of_a_clock_are_lost_samples(period: int, gaps: list[int]) -> None:
    counts = DecoderCounts()
    times = TimeSequence(counts)
    now = 5_000_000_000
    for gap in [0, 1, 1, *gaps]:
        now += gap * period
        assert times.step(now)
    assert counts.lost == sum(gap - 1 for gap in gaps)
    assert not times.step(now)
    assert counts.doubled == 1


@pytest.mark.parametrize("first", [2, 3, 7, 4000])
def test_a_period_that_was_learned_over_a_gap_is_corrected(first: int) -> None:
    times = TimeSequence(DecoderCounts())
    accepted = [times.step(10_000_000 * k) for k in [0, *range(first, first + 40)]]
    assert times.period_ns == pytest.approx(10_000_000)
    assert all(accepted[-30:])


def test_a_clock_that_begins_anew_is_followed() -> None:
    counts = DecoderCounts()
    times = TimeSequence(counts)
    accepted = [times.step(10_000_000 * k) for k in [*range(5000, 5010), *range(10)]]
    assert accepted.count(False) == 1
    assert counts.restarts == 1


@given(start=st.integers(0, 20_000_000_000_000), steps=st.lists(st.integers(1, 400), min_size=1, max_size=50))
def test_unwrapped_time_never_falls_at_a_wrap(start: int, steps: list[int]) -> None:
    clock = Unwrapped((1 << 32,), 50_000)
    now, times = start % (1 << 32), []
    for step in steps:
        times.append((now, clock.step(now % (1 << 32))))
        now += step
    assert {unwrapped - time for time, unwrapped in times} == {0}
