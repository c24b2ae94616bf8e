"""WitMotion: scales, the calendar, grouping of packets into moments, and moments that are not whole."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.devices import witmotion as wit
from nodes.devices.witmotion import WitMotionDecoder, encode, packet


def moments(count: int, first_ms: int = 1000, **keys: bool) -> list[bytes]:
    return [encode(first_ms + 10 * k, (0, 0, 9.80665), (0.1, 0, 0), (20, 0, -43), **keys) for k in range(count)]


def test_scales_of_the_data_sheet() -> None:
    """32768 counts are 16 g and 2000 deg/s; 2048 counts are 1 g."""
    stream = packet(wit.ACCELERATION, struct.pack("<4h", 0, 0, 2048, 2500))
    stream += packet(wit.RATE, struct.pack("<4h", 16384, 0, -16384, 0))
    decoder = WitMotionDecoder()
    samples = [sample for _ in range(60) for sample in decoder.feed(stream)]
    assert samples[0].specific_force_m_s2 == pytest.approx((0, 0, 9.80665))
    assert samples[0].rate_rad_s == pytest.approx((17.4533, 0, -17.4533), abs=1e-4)
    assert samples[0].device_ns is None


@given(milliseconds=st.integers(0, 3_000_000_000_000))
def test_the_calendar_comes_back(milliseconds: int) -> None:
    decoder = WitMotionDecoder()
    moment = encode(milliseconds, (0, 0, 9.8), (0, 0, 0))
    (sample, *_) = decoder.feed(moment + encode(milliseconds + 10, (0, 0, 9.8), (0, 0, 0)))
    assert sample.device_ns == milliseconds * 1_000_000


@pytest.mark.parametrize("payload", [bytes(8), bytes([25, 2, 30, 0, 0, 0, 0, 0]), bytes([25, 1, 1, 24, 0, 0, 0, 0])])
def test_a_date_that_is_none_is_counted(payload: bytes) -> None:
    decoder = WitMotionDecoder()
    moment = packet(wit.TIME, payload) + encode(None, (0, 0, 9.8), (0, 0, 0))
    samples = decoder.feed(moment * 3)
    assert decoder.counts.absurd >= 2
    assert all(sample.device_ns is None for sample in samples)


@pytest.mark.parametrize("angles", [False, True])
def test_a_moment_is_handed_on_with_its_last_packet(angles: bool) -> None:
    """From the second moment on it is known which packet is the last: nothing waits for the next moment."""
    decoder = WitMotionDecoder()
    counts = [len(decoder.feed(moment)) for moment in moments(5, angles=angles)]
    assert counts == [0, 2, 1, 1, 1]


def test_a_moment_with_a_lost_packet_mixes_nothing() -> None:
    decoder = WitMotionDecoder()
    for moment in moments(3):
        decoder.feed(moment)
    broken = bytearray(encode(1030, (0, 0, 1.0), (0.5, 0, 0), (20, 0, -43)))
    broken[14] ^= 0x10  # In the acceleration.
    assert decoder.feed(bytes(broken)) == []
    (after,) = decoder.feed(encode(1040, (0, 0, 2.0), (0.7, 0, 0), (20, 0, -43)))
    assert after.specific_force_m_s2 == pytest.approx((0, 0, 2.0), abs=3e-3)
    assert after.rate_rad_s == pytest.approx((0.7, 0, 0), abs=1e-3)
    assert (decoder.counts.corrupt, decoder.counts.lost) == (1, 1)


def test_a_hole_that_reaches_into_the_next_moment_mixes_nothing() -> None:
    """Without the rest of the first and the beginning of the second, their halves would make a whole one."""
    decoder = WitMotionDecoder()
    for moment in moments(3):
        decoder.feed(moment)
    first, second = encode(1030, (0, 0, 1.0), (1, 0, 0), (20, 0, 0)), encode(1040, (0, 0, 2.0), (2, 0, 0), (20, 0, 0))
    assert decoder.feed(first[: 2 * wit.SIZE + 5] + second[wit.SIZE + 5 :]) == []
    (after,) = decoder.feed(encode(1050, (0, 0, 3.0), (3, 0, 0), (20, 0, 0)))
    assert after.rate_rad_s == pytest.approx((3, 0, 0), abs=1e-3)


def test_a_moment_without_its_time_is_dropped_where_times_are_sent() -> None:
    decoder = WitMotionDecoder()
    for moment in moments(3):
        decoder.feed(moment)
    assert decoder.feed(moments(4)[3][wit.SIZE :]) == []
    assert len(decoder.feed(moments(5)[4])) == 1
    assert decoder.counts.lost == 1


@pytest.mark.parametrize(("kept", "lacking"), [(wit.ACCELERATION, wit.LACKS_RATE), (wit.RATE, wit.LACKS_ACCELERATION)])
def test_missing_content_is_named(kept: int, lacking: str) -> None:
    decoder = WitMotionDecoder()
    for k in range(5):
        decoder.feed(encode(1000 + 10 * k, (0, 0, 9.8), (0, 0, 0))[: wit.SIZE] + packet(kept, bytes(8)))
    assert decoder.counts.samples == 0
    assert set(decoder.counts.lacking) == {lacking}


def test_commands() -> None:
    """As the maker's examples write them: unlock, 100 Hz, time + acceleration + rate, save."""
    assert wit.UNLOCK.hex() == "ffaa6988b5"
    assert wit.write_register(wit.RATE_REGISTER, wit.RATE_CODES[100]).hex() == "ffaa030900"
    assert wit.write_register(wit.CONTENT_REGISTER, wit.content(magnetometer=False)).hex() == "ffaa020700"
    with pytest.raises(ValueError, match="expected 8"):
        packet(wit.TIME, b"\0")
