"""A sensor that tells no time on the session clock: jitter, delays, skew, gaps, restarts, wrong periods."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.devices.ti.clock import FrameNumbers, RadarClock

NS = 1_000_000_000
EPOCH_NS = 1_700_000_000 * NS
ACTIVE_S = 0.0055
"""Of the MARS configuration: 32 loops of three chirps of 57 us."""
LEAST_LATE_MS = 1.0


@dataclass(frozen=True)
class Frame:
    """A frame as it comes, with the truth."""

    true_ms: float
    """Middle of its chirps, from the epoch."""
    number: int
    began_ns: int
    processing_s: float | None


@dataclass(frozen=True)
class Sensor:
    """How frames come."""

    period_s: float = 0.1
    skew: float = 0.0
    """True seconds a second of its crystal, minus one."""
    jitter_s: float = 0.004
    """Most that the bridge to USB adds; every fiftieth frame up to 60 ms more."""
    tells: bool = True
    """Whether the stream has processing times."""

    def frames(self, seconds: float, start_s: float = 0.0) -> list[Frame]:
        """Numbered from 1."""
        chance = random.Random(1)
        frames = []
        for k in range(round(seconds / self.period_s)):
            begun_s = start_s + k * self.period_s * (1.0 + self.skew)
            processing_s = chance.uniform(0.002, 0.008)
            sent_s = begun_s + ACTIVE_S + processing_s
            late_s = LEAST_LATE_MS * 1e-3 + chance.uniform(0.0, self.jitter_s)
            if chance.random() < 0.02:
                late_s += chance.uniform(0.0, 0.06)
            frames.append(
                Frame(
                    true_ms=(begun_s + 0.5 * ACTIVE_S) * 1e3,
                    number=k + 1,
                    began_ns=EPOCH_NS + round((sent_s + late_s) * NS),
                    processing_s=processing_s if self.tells else None,
                )
            )
        return frames


def errors_ms(clock: RadarClock, frames: list[Frame]) -> list[float]:
    """Stamp minus truth of each frame that gets one."""
    errors = []
    for frame in frames:
        stamped = clock.step(frame.number, frame.began_ns, frame.processing_s)
        if stamped is not None:
            errors.append((stamped - EPOCH_NS) * 1e-6 - frame.true_ms)
    return errors


@pytest.mark.parametrize("skew", [-80e-6, 0.0, 80e-6])
@pytest.mark.parametrize("period_s", [0.05, 0.1])
def test_jitter_goes_and_the_least_delay_stays(skew: float, period_s: float) -> None:
    clock = RadarClock(period_s, ACTIVE_S)
    errors = errors_ms(clock, Sensor(period_s, skew).frames(60.0))
    settled = errors[len(errors) // 4 :]
    assert max(abs(error - LEAST_LATE_MS) for error in settled) < 0.7
    assert max(map(abs, errors[:5])) < 10.0  # The first frames get a time, too.
    assert clock.skew_ppm == pytest.approx(skew * 1e6, abs=20)
    assert not clock.period.contradicts


def test_untold_processing_leaves_its_least_part() -> None:
    errors = errors_ms(RadarClock(0.05, ACTIVE_S), Sensor(0.05, tells=False).frames(40.0))
    assert max(abs(error - LEAST_LATE_MS - 2.0) for error in errors[200:]) < 1.5
    known = errors_ms(RadarClock(0.05, ACTIVE_S, processing_s=0.002), Sensor(0.05, tells=False).frames(40.0))
    assert max(abs(error - LEAST_LATE_MS) for error in known[200:]) < 1.5


def test_an_unknown_period_is_learned() -> None:
    clock = RadarClock(None, ACTIVE_S)
    errors = errors_ms(clock, Sensor(0.0625).frames(60.0))
    assert clock.period.seconds == pytest.approx(0.0625, rel=0.01)
    assert max(abs(error - LEAST_LATE_MS) for error in errors[300:]) < 2.5


def test_a_wrong_period_in_the_configuration_is_noticed_and_not_used() -> None:
    clock = RadarClock(0.1, ACTIVE_S)
    errors = errors_ms(clock, Sensor(0.05).frames(20.0))
    assert clock.period.contradicts
    assert clock.period.seconds == pytest.approx(0.05, rel=0.01)
    assert max(abs(error - LEAST_LATE_MS) for error in errors[60:]) < 3.0


@pytest.mark.parametrize("late_ms", [80.0, 300.0])
@pytest.mark.parametrize("where", [0, 15, 27])
def test_some_late_frames_are_no_other_pace(late_ms: float, where: int) -> None:
    clock = RadarClock(0.05, ACTIVE_S)
    for k, frame in enumerate(Sensor(0.05).frames(5.0)):
        late_ns = round(late_ms * 1e6) if where <= k < where + 4 else 0
        clock.step(frame.number, frame.began_ns + late_ns, frame.processing_s)
        assert not clock.period.contradicts


def test_lost_frames_are_counted_and_keep_the_time() -> None:
    frames = Sensor(0.05).frames(40.0)
    kept = frames[:300] + frames[301:400] + frames[460:]
    clock = RadarClock(0.05, ACTIVE_S)
    errors = errors_ms(clock, kept)
    assert (clock.numbers.lost, clock.numbers.restarts, clock.jumps) == (61, 0, 0)
    assert max(abs(error - LEAST_LATE_MS) for error in errors[200:]) < 0.7


@pytest.mark.parametrize("ran_s", [5.0, 30.0])
def test_a_sensor_that_starts_anew_counts_from_one_and_goes_on(ran_s: float) -> None:
    sensor = Sensor(0.05)
    clock = RadarClock(0.05, ACTIVE_S)
    errors_ms(clock, sensor.frames(ran_s))
    errors = errors_ms(clock, sensor.frames(20.0, start_s=ran_s + 1.234)[2:])
    assert (clock.numbers.restarts, clock.numbers.lost, clock.numbers.doubtful) == (1, 0, 0)
    assert len(errors) == 398
    assert max(map(abs, errors[:5])) < 10.0
    assert max(abs(error - LEAST_LATE_MS) for error in errors[100:]) < 1.5


def test_a_number_with_a_wrong_bit_moves_no_time() -> None:
    frames = Sensor(0.05).frames(20.0)
    wrong = [
        Frame(frame.true_ms, frame.number ^ (1 << (k // 20 % 32)), frame.began_ns, frame.processing_s)
        if k % 20 == 10
        else frame
        for k, frame in enumerate(frames)
    ]
    clock = RadarClock(0.05, ACTIVE_S)
    errors = errors_ms(clock, wrong)
    assert clock.numbers.restarts == 0
    assert clock.numbers.doubtful + clock.numbers.repeats >= 15
    assert max(abs(error - LEAST_LATE_MS) for error in errors[100:]) < 110.0
    assert sum(abs(error - LEAST_LATE_MS) > 1.5 for error in errors[100:]) <= 2  # Those of the lowest bits.


def test_a_leap_of_the_numbers_is_believed_when_it_goes_on() -> None:
    numbers = FrameNumbers()
    turns = [
        numbers.step(number, k * NS // 20, 0.05) for k, number in enumerate([7, 8, 9, 5000, 10, 5000, 5001, 5002, 5002])
    ]
    assert turns == ["first", "next", "next", "doubtful", "next", "doubtful", "restart", "next", "repeat"]
    assert (numbers.lost, numbers.restarts, numbers.repeats, numbers.doubtful) == (0, 1, 1, 2)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 10**9)), max_size=60))
def test_no_numbers_break_it_and_no_stamp_is_later_than_its_arrival(frames: list[tuple[int, int]]) -> None:
    clock = RadarClock(None, ACTIVE_S)
    now_ns = EPOCH_NS
    for number, step_ns in frames:
        now_ns += step_ns
        stamped = clock.step(number, now_ns, None)
        assert stamped is None or stamped <= now_ns
