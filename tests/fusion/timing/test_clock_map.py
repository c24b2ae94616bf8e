"""Device clocks on the session clock, under delays as they occur."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.timing.clock_map import ClockMap, ClockMapParams, LineFit, Probe, lower_slope

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
"""Session clock: the time of day."""


def arrivals(
    seed: int,
    skew_ppm: float,
    duration_s: float,
    rate_hz: float = 100.0,
    jitter_s: float = 0.004,
    device_start_ns: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Device stamps, true session times and arrivals (ns), with exponential queueing delays and bursts."""
    generator = np.random.default_rng(seed)
    count = int(duration_s * rate_hz)
    device_s = np.arange(count) / rate_hz
    true_s = device_s * (1 + skew_ppm * 1e-6)
    delay_s = generator.exponential(jitter_s, count) + 0.05 * (generator.random(count) < 0.05)
    device_ns = device_start_ns + np.round(device_s * NS).astype(np.int64)
    true_ns = START_NS + np.round(true_s * NS).astype(np.int64)
    return device_ns, true_ns, true_ns + np.round(delay_s * NS).astype(np.int64)


@pytest.mark.parametrize("skew_ppm", [-80.0, 0.0, 25.0, 200.0])
def test_offset_and_skew_are_found_below_the_delays(skew_ppm: float) -> None:
    device, true, received = arrivals(1, skew_ppm, 60.0)
    clock = ClockMap()
    mapped = np.array([clock.step(int(d), int(r)) for d, r in zip(device, received, strict=True)])
    error_s = (mapped - true)[1000:] / NS
    # The mean delay is 6.5 ms; the edge is found to a fraction of a millisecond.
    assert np.median(np.abs(error_s)) < 2e-4
    assert np.max(np.abs(error_s)) < 1e-3
    assert clock.skew_ppm == pytest.approx(skew_ppm, abs=5.0)


def test_the_result_is_never_later_than_the_arrival() -> None:
    device, _, received = arrivals(2, 120.0, 20.0)
    clock = ClockMap()
    assert all(clock.step(int(d), int(r)) <= r for d, r in zip(device, received, strict=True))


def test_queueing_that_comes_and_goes_does_not_bend_the_line() -> None:
    """A congestion adds 20 ms to every arrival for ten seconds."""
    device, true, received = arrivals(3, 40.0, 60.0)
    received[3000:4000] += 20_000_000
    clock = ClockMap()
    mapped = np.array([clock.step(int(d), int(r)) for d, r in zip(device, received, strict=True)])
    assert np.max(np.abs(mapped - true)[1000:]) < 2_000_000


def test_a_device_that_starts_again_is_mapped_anew() -> None:
    clock = ClockMap()
    device, _, received = arrivals(4, 0.0, 10.0, device_start_ns=500 * NS)
    for d, r in zip(device, received, strict=True):
        clock.step(int(d), int(r))
    device, true, received = arrivals(5, 0.0, 10.0)
    later_ns = 20 * NS
    mapped = np.array([clock.step(int(d), int(r) + later_ns) for d, r in zip(device, received, strict=True)])
    assert clock.state.jumps == 1
    assert np.max(np.abs(mapped - later_ns - true)[200:]) < 1_000_000


def test_a_single_absurd_stamp_changes_nothing() -> None:
    clock = ClockMap()
    device, _, received = arrivals(6, 10.0, 20.0)
    for d, r in zip(device, received, strict=True):
        clock.step(int(d), int(r))
    before = clock.map(int(device[-1]))
    arrival = int(received[-1]) + 1000
    assert clock.step(2**62, arrival) == arrival
    assert clock.map(int(device[-1])) == before
    assert clock.state.jumps == 0


def test_the_state_can_be_lifted_out_and_put_back() -> None:
    device, _, received = arrivals(7, 30.0, 20.0)
    whole, first = ClockMap(), ClockMap()
    pairs = [(int(d), int(r)) for d, r in zip(device, received, strict=True)]
    expected = [whole.step(*pair) for pair in pairs]
    got = [first.step(*pair) for pair in pairs[:1000]]
    second = ClockMap(state=first.state)
    got += [second.step(*pair) for pair in pairs[1000:]]
    assert got == expected


def test_memory_is_bounded_by_the_window() -> None:
    params = ClockMapParams(window_s=10.0)
    clock = ClockMap(params)
    device, _, received = arrivals(8, 0.0, 60.0)
    for d, r in zip(device, received, strict=True):
        clock.step(int(d), int(r))
    assert len(clock.state.points) <= params.window_s / params.span_s + 1


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=30))
@settings(max_examples=100, deadline=None)
def test_the_lower_line_is_the_best_of_all_lines_through_two_points(values: list[float]) -> None:
    """Zhang 2002: among the lines below all points, the one with the least sum of distances."""
    x, y = np.arange(len(values), dtype=np.float64), np.array(values)
    slope = lower_slope(x, y)

    def cost(candidate: float) -> float:
        return float(np.sum(y - candidate * x - np.min(y - candidate * x)))

    candidates = [(y[j] - y[i]) / (x[j] - x[i]) for i in range(len(x)) for j in range(i + 1, len(x))]
    assert cost(slope) <= min(map(cost, candidates)) + 1e-6


def test_probes_find_another_hosts_clock() -> None:
    """Eight a second for 30 s over a network with symmetric and asymmetric delays."""
    generator = np.random.default_rng(9)
    fit, skew, offset_ns = LineFit(), 25e-6, 5_000_000_000
    for second in range(30):
        probes = []
        for _ in range(8):
            sent = second * NS + int(generator.integers(0, NS // 2))
            there, back = (100_000 + generator.exponential(300_000, 2)).astype(int)
            at = sent + int(there)
            probes.append(Probe(sent, offset_ns + at + round(at * skew), at + int(back)))
        fit.step(min(probes, key=lambda probe: probe.round_trip_ns))
    local = 30 * NS
    mapped = fit.map(local)
    assert mapped is not None
    assert abs(mapped - (offset_ns + local + round(local * skew))) < 60_000
    assert fit.skew_ppm == pytest.approx(25.0, abs=3.0)


def test_there_is_no_mapping_before_the_first_probe() -> None:
    assert LineFit().map(5) is None
