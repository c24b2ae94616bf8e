"""Device clocks on the session clock, with offset, skew, jitter, gaps, and devices without a clock."""

from __future__ import annotations

import random

import pytest

from nodes.devices.clock import SETTLE_NS, SensorClock
from nodes.devices.sample import DeviceSample

NS = 1_000_000_000
EPOCH_NS = 1_700_000_000 * NS


def sample(device_ns: int | None, counter: int | None = None) -> DeviceSample:
    return DeviceSample("0", device_ns, counter, (0, 0, 9.81), (0, 0, 0))


def errors_ms(clock: SensorClock, device: str, seconds: float, skew: float = 0.0, gap: float = 0.0) -> list[float]:
    """Stamped minus true time of a sensor at 100 Hz whose bytes are 1 to 5 ms late."""
    chance = random.Random(3)
    errors = []
    for k in range(round(seconds * 100)):
        true_ns = EPOCH_NS + round(k * 0.01 * NS)
        if gap and seconds / 2 <= k * 0.01 < seconds / 2 + gap:
            continue
        stamp = round(77 * NS + k * 0.01 * NS * (1 + skew)) if device == "clock" else None
        counter = k if device == "counter" else None
        stamped = clock.step(sample(stamp, counter), true_ns + chance.randrange(1_000_000, 5_000_000))
        if stamped is not None:
            errors.append((stamped - true_ns) * 1e-6)
    return errors


@pytest.mark.parametrize("skew", [-100e-6, 0.0, 100e-6])
def test_a_clock_with_offset_and_skew_is_followed(skew: float) -> None:
    clock = SensorClock()
    errors = errors_ms(clock, "clock", 40.0, skew)
    assert max(errors) < 2.5
    assert min(errors) > 0.0  # Never earlier than measured: the least delay is 1 ms.
    assert errors[-1] == pytest.approx(1.0, abs=0.3)
    assert clock.skew_ppm == pytest.approx(-skew * 1e6, abs=15)
    assert clock.offset_ms == pytest.approx((EPOCH_NS - 77 * NS) * 1e-6, abs=10)


def test_no_sample_gets_a_time_before_the_clock_has_settled() -> None:
    clock = SensorClock()
    assert clock.step(sample(0), EPOCH_NS) is None
    assert clock.step(sample(10_000_000), EPOCH_NS + 10_000_000) is None
    assert not clock.settled
    assert clock.step(sample(SETTLE_NS), EPOCH_NS + SETTLE_NS) is not None
    assert clock.settled


@pytest.mark.parametrize("device", ["counter", "nothing"])
@pytest.mark.parametrize("gap", [0.0, 0.6, 2.0])
def test_a_device_without_a_clock_samples_evenly(device: str, gap: float) -> None:
    errors = errors_ms(SensorClock(), device, 20.0, gap=gap)
    assert max(map(abs, errors)) < 16.0  # After an uncounted gap the number may be one off.
    assert errors[700] == pytest.approx(1.5, abs=1.5)
    assert sorted(errors)[len(errors) // 2] == pytest.approx(1.5, abs=2.0 if not gap else 6.0)


def test_a_device_that_gives_its_time_up_is_still_followed() -> None:
    clock = SensorClock()
    assert errors_ms(clock, "clock", 2.0)
    assert errors_ms(clock, "counter", 5.0)[-1] == pytest.approx(1.5, abs=2.0)
