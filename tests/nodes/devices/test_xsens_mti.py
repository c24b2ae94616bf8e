"""MTData2: the packet of the data sheet, all number formats, increments, wraps, and what is refused."""

from __future__ import annotations

import math
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.devices import xsens_mti as mti
from nodes.devices.xsens_mti import MtiDecoder, encode, item, message

VECTOR = bytes.fromhex(
    "FAFF3631102002DFC510600400459DA040200CBEDC9AFA3F549F37411CBB7080200CBBAA5C803B8C5501BB813300E020040000008145"
)
"""As a real MTi sent it: counter 57285, acceleration -0.43087 0.83055 9.79576, rate -0.00520 0.00428 -0.00394."""
numbers = st.floats(-90.0, 90.0)
vectors = st.tuples(numbers, numbers, numbers)


def data(*items: bytes, counter: int = 0, ticks: int | None = None) -> bytes:
    time = b"" if ticks is None else struct.pack(">HBI", mti.SAMPLE_TIME_FINE, 4, ticks)
    return message(mti.MTDATA2, struct.pack(">HBH", mti.PACKET_COUNTER, 2, counter) + time + b"".join(items))


def test_the_packet_of_a_real_sensor() -> None:
    (sample,) = MtiDecoder().feed(VECTOR)
    assert (sample.sensor, sample.counter, sample.device_ns) == ("0", 57285, 0x00459DA0 * 100_000)
    assert sample.specific_force_m_s2 == pytest.approx((-0.43087, 0.83055, 9.79576), abs=1e-5)
    assert sample.rate_rad_s == pytest.approx((-0.00520, 0.00428, -0.00394), abs=1e-5)
    assert math.hypot(*sample.specific_force_m_s2) == pytest.approx(9.81, abs=0.05)
    assert sample.magnetic_ut is None


@given(force=vectors, rate=vectors, form=st.integers(0, 3))
def test_every_number_format_comes_back(force: mti.Vector, rate: mti.Vector, form: int) -> None:
    (sample,) = MtiDecoder().feed(encode(7, 5, force, rate, (20.0, 0.0, -43.0), form=form))
    assert sample.specific_force_m_s2 == pytest.approx(force, abs=1e-5)
    assert sample.rate_rad_s == pytest.approx(rate, abs=1e-5)
    assert sample.magnetic_ut == pytest.approx((20.0, 0.0, -43.0), abs=1e-4)


def test_frames_of_orientation_outputs_change_nothing() -> None:
    for frame in (0, 4, 8):
        packet = data(item(mti.ACCELERATION | frame, (0, 0, 9.81)), item(mti.RATE_OF_TURN | frame, (1, 2, 3)))
        (sample,) = MtiDecoder().feed(packet)
        assert sample.specific_force_m_s2 == pytest.approx((0, 0, 9.81))


def test_increments_become_rates_by_counter_and_time() -> None:
    decoder = MtiDecoder()
    half = 0.5 * 0.3 * 0.02
    delta_q = (-math.cos(half), 0.0, -math.sin(half), 0.0)  # The same turn with the other sign.
    items = item(mti.DELTA_V, (0.0, 0.0, 9.81 * 0.02)), item(mti.DELTA_Q, delta_q)
    assert decoder.feed(data(*items, counter=1, ticks=1000)) == []
    (sample,) = decoder.feed(data(*items, counter=3, ticks=1400))  # One lost: 40 ms for two periods.
    assert sample.specific_force_m_s2 == pytest.approx((0.0, 0.0, 9.81), rel=1e-6)
    assert sample.rate_rad_s == pytest.approx((0.0, 0.3, 0.0), abs=1e-6)
    assert decoder.counts.lost == 1


def test_increments_without_timing_are_refused_and_named() -> None:
    decoder = MtiDecoder()
    for counter in range(5):
        decoder.feed(data(item(mti.DELTA_V, (0, 0, 0.1)), item(mti.RATE_OF_TURN, (0, 0, 0)), counter=counter))
    assert decoder.counts.samples == 0
    assert decoder.counts.lacking == {mti.LACKS_TIMING: 5}


@pytest.mark.parametrize(
    ("given_item", "lacking"),
    [
        (item(mti.ACCELERATION, (0, 0, 9.81)), mti.LACKS_RATE),
        (item(mti.RATE_OF_TURN, (0, 0, 0)), mti.LACKS_ACCELERATION),
    ],
)
def test_a_missing_output_is_named(given_item: bytes, lacking: str) -> None:
    decoder = MtiDecoder()
    assert decoder.feed(data(given_item)) == []
    assert decoder.counts.lacking == {lacking: 1}


@pytest.mark.parametrize("modulus", [864_000_000, 1 << 32])
def test_counter_and_time_go_on_over_their_wraps(modulus: int) -> None:
    decoder = MtiDecoder()
    samples = []
    for k in range(-5, 5):
        samples += decoder.feed(encode((65536 + k) % 65536, (modulus + 100 * k) % modulus, (0, 0, 9.81), (0, 0, 0)))
    assert [sample.counter for sample in samples] == list(range(65531, 65541))
    steps = {b.device_ns - a.device_ns for a, b in pairwise(samples)}  # type: ignore[operator]
    assert steps == {10_000_000}
    assert (decoder.counts.lost, decoder.counts.restarts) == (0, 0)


def test_a_counter_that_begins_anew_loses_nothing() -> None:
    decoder = MtiDecoder()
    for k in [*range(40000, 40010), *range(5)]:
        decoder.feed(encode(k, 100 * k, (0, 0, 9.81), (0, 0, 0)))
    assert (decoder.counts.samples, decoder.counts.lost, decoder.counts.restarts) == (15, 0, 1)


def test_several_devices_on_a_bus_are_told_apart() -> None:
    decoder = MtiDecoder()
    stream = b"".join(encode(k, k, (0, 0, 9.81), (0, 0, 0), bus=bus) for k in range(4) for bus in (1, 2, 7))
    samples = decoder.feed(stream)
    assert {sample.sensor for sample in samples} == {"1", "2", "7"}
    assert decoder.counts.lost == decoder.counts.doubled == 0


def test_unknown_items_are_skipped_by_size_and_overrunning_ones_drop_the_message() -> None:
    strange = struct.pack(">HB", 0x7777, 3) + b"\xfa\xff\x36"
    decoder = MtiDecoder()
    whole = data(strange, item(mti.ACCELERATION, (0, 0, 9.81)), item(mti.RATE_OF_TURN, (0, 0, 0)))
    assert len(decoder.feed(whole)) == 1
    assert decoder.feed(message(mti.MTDATA2, struct.pack(">HB", 0x4020, 200) + b"\0" * 12)) == []
    assert decoder.counts.corrupt == 1


def test_a_broken_checksum_costs_one_byte_not_the_frame_that_follows_inside() -> None:
    good = encode(1, 1, (0, 0, 9.81), (0, 0, 0))
    # What looks like a long message holds a whole good one.
    decoder = MtiDecoder()
    assert len(decoder.feed(b"\xfa\xff\x36\x60" + good + b"\0" * 60)) == 1
    assert decoder.counts.corrupt >= 1


def test_an_impossible_length_is_not_waited_for() -> None:
    good = encode(1, 1, (0, 0, 9.81), (0, 0, 0))
    assert len(MtiDecoder().feed(b"\xfa\xff\x36\xff\x08\x01" + good)) == 1
    assert len(MtiDecoder().feed(message(0x40, bytes(2048)) + good)) == 1


def test_readings_that_cannot_be_are_counted() -> None:
    decoder = MtiDecoder()
    assert decoder.feed(encode(1, 1, (math.nan, 0, 9.81), (0, 0, 0)) + encode(2, 2, (0, 0, 1e6), (0, 0, 0))) == []
    assert decoder.counts.absurd == 2


def test_what_the_device_says_is_kept() -> None:
    decoder = MtiDecoder()
    decoder.feed(message(mti.GO_TO_CONFIG + 1) + message(mti.ERROR, b"\x21"))
    assert [reply.message for reply in decoder.replies] == [mti.GO_TO_CONFIG + 1, mti.ERROR]
    assert decoder.counts.said == "error 33"
    with pytest.raises(ValueError, match="at most 2048"):
        message(0x36, bytes(2049))
