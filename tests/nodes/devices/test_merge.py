"""Rows at common times: even, rising, on the line between samples, with bounded waiting."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.devices.merge import MergeParams, Merger, Reading, Row

NS = 1_000_000_000
BASE_NS = 1_700_000_000 * NS
PERIOD_NS = 10_000_000


def reading(time_ns: int, sensor: int) -> Reading:
    """A straight line in time, so that the value between two samples is known."""
    value = (time_ns - BASE_NS) * 1e-9 + sensor
    return (value,) * 6 + (math.nan,) * 3


def play(
    merger: Merger,
    phases_ns: list[int],
    count: int,
    *,
    lost: set[tuple[int, int]] = frozenset(),  # type: ignore[assignment]
    latency_ns: int = 3_000_000,
    periods_ns: list[int] | None = None,
) -> list[Row]:
    """Sensors with phases of their own, arriving in the order of time; returns all rows."""
    periods = periods_ns or [PERIOD_NS] * len(phases_ns)
    events = sorted(
        (BASE_NS + phase + k * period, sensor, k)
        for sensor, (phase, period) in enumerate(zip(phases_ns, periods, strict=True))
        for k in range(count)
        if (sensor, k) not in lost
    )
    rows: list[Row] = []
    for time_ns, sensor, _ in events:
        now_ns = time_ns + latency_ns
        merger.put(sensor, time_ns, reading(time_ns, sensor), now_ns)
        rows += merger.rows(now_ns)
    return rows + merger.rows(events[-1][0] + NS)


def times_are_steady(rows: list[Row]) -> None:
    steps = [after.time_ns - before.time_ns for before, after in pairwise(rows)]
    assert min(steps) > 0.8 * PERIOD_NS
    assert max(steps) < 1.2 * PERIOD_NS


@settings(deadline=None)
@given(phases=st.lists(st.integers(0, PERIOD_NS - 1), min_size=1, max_size=6))
def test_every_reading_is_that_of_the_rows_time(phases: list[int]) -> None:
    merger = Merger(MergeParams(sensors=len(phases)))
    rows = play(merger, phases, 60)
    times_are_steady(rows)
    assert len(rows) >= 50
    for row in rows[5:-3]:
        for sensor, have in enumerate(row.readings):
            assert have is not None
            # A sample that is 5 % of a period off counts as of the row's time.
            assert have[0] == pytest.approx(reading(row.time_ns, sensor)[0], abs=0.06 * PERIOD_NS * 1e-9)
            assert math.isnan(have[8])


def test_samples_of_one_clock_pass_as_they_are() -> None:
    merger = Merger(MergeParams(sensors=3))
    rows = play(merger, [0, 0, 0], 40)
    assert [row.time_ns for row in rows] == [BASE_NS + k * PERIOD_NS for k in range(rows_begin(rows), 40)]
    assert all(row.readings == tuple(reading(row.time_ns, sensor) for sensor in range(3)) for row in rows)


def rows_begin(rows: list[Row]) -> int:
    return (rows[0].time_ns - BASE_NS) // PERIOD_NS


def test_clocks_that_drift_apart_lose_no_turn() -> None:
    """One sensor is 1 % faster; the sum over rows is the integral all the same."""
    merger = Merger(MergeParams(sensors=2))
    rows = play(merger, [0, 0], 400, periods_ns=[PERIOD_NS, PERIOD_NS * 99 // 100])
    inner = rows[5:-20]
    for row in inner:
        assert row.readings[1] is not None
        assert row.readings[1][0] == pytest.approx(reading(row.time_ns, 1)[0], abs=0.06 * PERIOD_NS * 1e-9)


def test_a_lost_sample_is_missing_in_its_row_only() -> None:
    merger = Merger(MergeParams(sensors=2))
    rows = play(merger, [0, 0], 40, lost={(1, 20)})
    missing = [row.time_ns for row in rows if row.readings[1] is None]
    assert missing == [BASE_NS + 20 * PERIOD_NS]
    assert all(row.readings[0] is not None for row in rows)
    assert merger.counts.missing == 1


def test_a_row_waits_for_a_late_sensor_but_not_for_ever() -> None:
    params = MergeParams(sensors=2, wait_s=0.05)
    merger = Merger(params)
    play_until = BASE_NS + 20 * PERIOD_NS
    play(merger, [0, 0], 20)
    for k in range(21, 40):
        time_ns = BASE_NS + k * PERIOD_NS
        merger.put(0, time_ns, reading(time_ns, 0), time_ns)
    first = BASE_NS + 21 * PERIOD_NS
    assert play_until < first
    assert merger.rows(first + 49_000_000) == []
    rows = merger.rows(first + 51_000_000)
    assert [row.readings[1] for row in rows] == [None]


def test_nobody_waits_for_a_silent_sensor_and_it_is_taken_back() -> None:
    merger = Merger(MergeParams(sensors=2, silent_s=0.5))
    away = {(1, k) for k in range(30, 200)}
    rows = play(merger, [0, 4_000_000], 300, lost=away)
    times_are_steady(rows)
    gone = [row for row in rows if row.readings[1] is None]
    assert len(gone) == pytest.approx(171, abs=3)
    assert all(row.readings[1] is not None for row in rows[-50:])


def test_the_row_of_a_sample_is_there_at_once_when_the_other_has_been_silent() -> None:
    merger = Merger(MergeParams(sensors=2, silent_s=0.2))
    play(merger, [0, 0], 30)
    delays = []
    for k in range(30, 80):
        time_ns = BASE_NS + k * PERIOD_NS
        merger.put(0, time_ns, reading(time_ns, 0), time_ns + 1_000_000)
        delays += [time_ns - row.time_ns for row in merger.rows(time_ns + 1_000_000)]
    assert max(delays[:10]) > 60_000_000  # It was waited for at first.
    assert max(delays[-20:]) < 1_000_000


def test_the_grid_follows_when_stamps_shift() -> None:
    """As when a clock is mapped anew: after a while samples pass as they are again."""
    merger = Merger(MergeParams(sensors=1))
    rows: list[Row] = []
    for k in range(200):
        time_ns = BASE_NS + k * PERIOD_NS + (3_000_000 if k > 50 else 0)
        merger.put(0, time_ns, reading(time_ns, 0), time_ns)
        rows += merger.rows(time_ns)
    times_are_steady(rows)
    late_ns = [(row.time_ns - BASE_NS) % PERIOD_NS for row in rows]
    assert late_ns[20] == pytest.approx(0, abs=1000)
    assert late_ns[-1] == pytest.approx(3_000_000, abs=10_000)


def test_after_a_silence_of_all_rows_stand_on_samples_again() -> None:
    merger = Merger(MergeParams(sensors=1))
    play(merger, [0], 50)
    rows: list[Row] = []
    times = [BASE_NS + 4_000_000 + k * PERIOD_NS for k in range(1050, 1100)]
    for time_ns in times:
        merger.put(0, time_ns, reading(time_ns, 0), time_ns)
        rows += merger.rows(time_ns)
    assert [row.time_ns for row in rows] == times
    assert [row.readings[0] for row in rows] == [reading(time_ns, 0) for time_ns in times]


def test_samples_that_nobody_takes_are_bounded() -> None:
    merger = Merger(MergeParams(sensors=1, most_waiting=64))
    for k in range(1000):
        merger.put(0, BASE_NS + k * PERIOD_NS, reading(BASE_NS, 0), BASE_NS)
    assert len(merger._channels[0].times) == len(merger._channels[0].readings) == 64


@settings(deadline=None, max_examples=50)
@given(
    stamps=st.lists(
        st.tuples(st.integers(0, 2), st.integers(-(10**9), 10**10), st.integers(0, 10**8)), min_size=1, max_size=300
    )
)
def test_whatever_the_stamps_times_rise_and_memory_is_bounded(stamps: list[tuple[int, int, int]]) -> None:
    merger = Merger(MergeParams(sensors=3, most_waiting=64))
    now_ns = BASE_NS
    rows: list[Row] = []
    for sensor, offset_ns, later_ns in stamps:
        now_ns += later_ns
        merger.put(sensor, BASE_NS + offset_ns, reading(BASE_NS + offset_ns, sensor), now_ns)
        rows += merger.rows(now_ns)
    assert all(before.time_ns < after.time_ns for before, after in pairwise(rows))
    assert all(len(channel.times) <= 65 for channel in merger._channels)
    assert all(any(have is not None for have in row.readings) for row in rows)


def test_late_and_doubled_samples_are_counted() -> None:
    merger = Merger(MergeParams(sensors=1))
    rows = play(merger, [0], 30)
    newest = rows[-1].time_ns
    merger.put(0, newest, reading(newest, 0), newest)
    merger.put(0, newest - 20 * PERIOD_NS, reading(newest, 0), newest)
    assert (merger.counts.doubled, merger.counts.late) == (1, 1)
