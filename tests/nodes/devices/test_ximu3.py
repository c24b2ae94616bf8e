"""x-IMU3: ASCII and binary, stuffing, multiplexers, and messages that are none."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.devices import ximu3
from nodes.devices.ximu3 import Ximu3Decoder, encode, encode_field, multiplexed, stuffed


def test_a_message_as_the_manual_shows_it() -> None:
    decoder = Ximu3Decoder()
    (sample,) = decoder.feed(b"I,1000000,0.0000,180.0000,0.0000,0.0000,0.0000,1.0000\r\n")
    assert sample.device_ns == 1_000_000_000
    assert sample.rate_rad_s == pytest.approx((0, 3.14159265, 0))
    assert sample.specific_force_m_s2 == pytest.approx((0, 0, 9.80665))


@given(microseconds=st.integers(0, 2**62 - 1), values=st.lists(st.floats(-90, 90, width=32), min_size=6, max_size=6))
def test_binary_comes_back_whatever_bytes_it_holds(microseconds: int, values: list[float]) -> None:
    force, rate = (values[0], values[1], values[2]), (values[3], values[4], values[5])
    message = encode(microseconds, force, rate)
    assert message.count(b"\n") == 1
    (sample,) = Ximu3Decoder().feed(message)
    assert sample.device_ns == microseconds * 1000
    assert sample.specific_force_m_s2 == pytest.approx(force, rel=1e-6, abs=1e-6)
    assert sample.rate_rad_s == pytest.approx(rate, rel=1e-6, abs=1e-6)


@given(message=st.binary(max_size=60))
def test_stuffing_hides_ends_and_is_undone(message: bytes) -> None:
    wire = stuffed(message)
    assert wire.index(b"\n") == len(wire) - 1
    assert ximu3._unstuffed(wire[:-1]) == message


def test_lengths_of_the_protocol() -> None:
    assert len(stuffed(b"\xc9" + bytes(33 - 1))) == 34
    binary = struct.pack("<BQ6f", 0xC9, 1, 0, 0, 0, 0, 0, 1)
    decoder = Ximu3Decoder()
    assert len(decoder.feed(binary + b"\n")) == 1
    assert decoder.feed(binary[:-1] + b"\n" + binary + b"\0\n") == []
    assert decoder.counts.corrupt == 2


def test_a_field_goes_with_the_next_sample_once() -> None:
    stream = (
        encode_field(1000, (20, 0, -43)) + encode(1000, (0, 0, 9.8), (0, 0, 0)) + encode(11000, (0, 0, 9.8), (0, 0, 0))
    )
    first, second = Ximu3Decoder().feed(stream)
    assert first.magnetic_ut == pytest.approx((20, 0, -43), abs=1e-4)
    assert second.magnetic_ut is None


def test_sensors_behind_a_multiplexer() -> None:
    decoder = Ximu3Decoder()
    stream = b"".join(
        multiplexed(channel, encode(10_000 * k, (0, 0, 9.8), (0, 0, 0), ascii_text=channel == 0x42))
        for k in range(5)
        for channel in (0x41, 0x42)
    )
    samples = decoder.feed(stream)
    assert [sample.sensor for sample in samples] == ["0x41", "0x42"] * 5
    assert (decoder.counts.lost, decoder.counts.doubled) == (0, 0)


def test_other_messages_are_passed_over_and_answers_kept() -> None:
    decoder = Ximu3Decoder()
    decoder.feed(b'{"ping":null}\nQ,1,1.0,0.0,0.0,0.0\nF,5,Sensor timeout\nT,1,25.0\n')
    assert list(decoder.replies) == [b'{"ping":null}']
    assert (decoder.counts.packets, decoder.counts.errors, decoder.counts.said) == (4, 1, "Sensor timeout")
    assert decoder.counts.lacking == {ximu3.LACKS_INERTIAL: 2}


@pytest.mark.parametrize(
    "line",
    [
        b"I,1,0,0,0,0,0\n",
        b"I,-1,0,0,0,0,0,1\n",
        b"I,1,0,x,0,0,0,1\n",
        b"I,1_0,0,0,0,0,0,1\n",
        b"\n",
        b"I\n",
        b"^\n",
        b"^A\n",
        b"I,1,nan,0,0,0,0,1\n",
        b"I,1,0,0,0,inf,0,1\n",
        b"I," + b"9" * 5000 + b",0,0,0,0,0,1\n",
        b"\xc9\xdb\n",
        b"hello\n",
    ],
)
def test_what_is_no_message_is_counted(line: bytes) -> None:
    decoder = Ximu3Decoder()
    assert decoder.feed(line) == []
    assert decoder.counts.corrupt + decoder.counts.absurd == 1
    assert len(decoder.feed(encode(1, (0, 0, 9.8), (0, 0, 0)))) == 1


@pytest.mark.parametrize("portion", [1, 100, ximu3.MAX_MESSAGE, 10_000])
def test_what_is_too_long_is_skipped_up_to_its_end(portion: int) -> None:
    data = b"x" * ximu3.MAX_MESSAGE + encode(1, (0, 0, 9.8), (0, 0, 0)) + encode(2, (0, 0, 1.0), (0, 0, 0))
    decoder = Ximu3Decoder()
    samples = [sample for at in range(0, len(data), portion) for sample in decoder.feed(data[at : at + portion])]
    assert [sample.device_ns for sample in samples] == [2000]
    assert decoder.counts.corrupt == 1
    assert decoder.counts.skipped_bytes == len(data) - len(encode(2, (0, 0, 1.0), (0, 0, 0)))


def test_a_flipped_bit_in_a_time_moves_no_clock() -> None:
    """There is no checksum: a stamp off the pace is believed only when the next one agrees."""
    decoder = Ximu3Decoder()
    times = []
    for k in range(100):
        microseconds = 10_000 * k ^ (1 << (k % 40) if k % 7 == 3 else 0)
        times += [sample.device_ns for sample in decoder.feed(encode(microseconds, (0, 0, 9.8), (0, 0, 0)))]
    wrong = [time for time in times if min(time % 10_000_000, -time % 10_000_000) > 1_100_000]  # type: ignore[operator]
    assert wrong == []
    assert len(times) > 80
    assert decoder.counts.restarts == 0
