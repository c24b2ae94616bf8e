"""MVN network streamer: datagrams, identities, the two units of rates, and a time code that stands still."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion.body.skeleton import SEGMENT_NAMES
from nodes.devices import xsens_mvn as mvn
from nodes.devices.xsens_mvn import MvnDecoder, encode, header

STILL = ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 9.81), (0.0, 0.0, 0.0), None)


def turning(k: int, rate_rad_s: float = 2.0, rate_hz: float = 60.0) -> tuple[Any, ...]:
    half = 0.5 * rate_rad_s * k / rate_hz
    return (math.cos(half), 0.0, 0.0, math.sin(half)), (0.0, 0.0, 9.81), (0.0, 0.0, rate_rad_s), None


def test_segments_are_named_and_times_told() -> None:
    decoder = MvnDecoder()
    samples = [
        sample
        for k in range(3)
        for sample in decoder.feed(encode(k, 100 + 17 * k, [(name, *STILL) for name in SEGMENT_NAMES]))
    ]
    assert [sample.sensor for sample in samples[:23]] == list(SEGMENT_NAMES)
    assert [sample.counter for sample in samples[::23]] == [0, 1, 2]
    assert [sample.device_ns for sample in samples[::23]] == [None, 117_000_000, 134_000_000]


def test_a_time_code_that_stands_still_is_no_clock() -> None:
    decoder = MvnDecoder()
    samples = [sample for k in range(5) for sample in decoder.feed(encode(k, 0, [("pelvis", *STILL)]))]
    assert [sample.device_ns for sample in samples] == [None] * 5
    assert [sample.counter for sample in samples] == list(range(5))


def test_a_second_character_is_told_apart() -> None:
    decoder = MvnDecoder()
    samples = decoder.feed(encode(0, 0, [("head", *STILL)]) + encode(0, 0, [("head", *STILL)], character=1))
    assert [sample.sensor for sample in samples] == ["head", "1/head"]


@pytest.mark.parametrize("degrees", [False, True])
@pytest.mark.parametrize("runs", [False, True])
def test_the_unit_of_rates_is_found_by_the_orientation(degrees: bool, runs: bool) -> None:
    decoder = MvnDecoder()
    last = []
    for k in range(120):
        last = decoder.feed(encode(k, k * 1000 // 60 * runs, [("pelvis", *turning(k))], degrees=degrees))
    assert last[0].rate_rad_s == pytest.approx((0, 0, 2.0), rel=1e-6)
    assert decoder.rate_unit_rad_s == pytest.approx(math.pi / 180 if degrees else 1.0)


def test_datagrams_of_other_kinds_are_skipped_by_their_size() -> None:
    decoder = MvnDecoder()
    pose = header(2, 5, 0, 23, 23 * 32) + b"MXTP23" + bytes(23 * 32 - 6)
    assert len(decoder.feed(pose + encode(6, 0, [("head", *STILL)]))) == 1
    assert decoder.counts.lacking == {mvn.LACKS_TRACKERS: 1}
    assert decoder.counts.skipped_bytes == 0


def test_an_old_mvn_without_rates_is_named() -> None:
    decoder = MvnDecoder()
    assert decoder.feed(header(23, 0, 0, 2, 88) + bytes(88)) == []
    assert decoder.counts.lacking == {mvn.LACKS_RATE: 1}


def test_a_size_that_does_not_fit_or_no_quaternion_is_refused() -> None:
    good = encode(1, 0, [("head", *STILL)])
    decoder = MvnDecoder()
    assert len(decoder.feed(header(23, 0, 0, 2, 68) + good)) == 1
    wrong = encode(2, 0, [("head", (0.5, 0.0, 0.0, 0.0), *STILL[1:])])
    assert len(decoder.feed(wrong + encode(3, 0, [("head", *STILL)]))) == 1
    assert decoder.counts.corrupt == 2


@pytest.mark.parametrize("degrees", [False, True])
def test_a_real_suit_comes_back_with_the_right_unit_of_rates(data_pack: Path, degrees: bool) -> None:
    """17 MTw of a person who stands, then moves, as their software recorded them."""
    with np.load(data_pack / "imu" / "hipose_mtw_npose.npz") as file:
        force, rate, field, q = (file[name][:600].astype(float) for name in ("acc", "gyr", "mag", "quat_sensor"))
        segments = ["t8" if name == "stern" else str(name) for name in file["segment_names"]]
    decoder = MvnDecoder()
    samples = []
    for k in range(len(force)):
        trackers = [
            (segment, tuple(q[k, m]), tuple(force[k, m]), tuple(rate[k, m]), tuple(mvn.FIELD_UNIT_UT * field[k, m]))
            for m, segment in enumerate(segments)
        ]
        samples.append(decoder.feed(encode(k, 1000 * k // 60, trackers, degrees=degrees)))
    assert decoder.rate_unit_rad_s == pytest.approx(math.pi / 180 if degrees else 1.0)
    assert decoder.counts.corrupt == decoder.counts.lost == 0
    last = samples[-1]
    assert [sample.sensor for sample in last] == segments
    assert np.allclose([sample.rate_rad_s for sample in last], rate[-1], atol=1e-5)
    gravity = [math.hypot(*sample.specific_force_m_s2) for sample in samples[120]]  # Standing still.
    assert gravity == pytest.approx([9.81] * 17, abs=0.3)
    fields = [math.hypot(*sample.magnetic_ut) for sample in samples[120] if sample.magnetic_ut is not None]
    assert 30.0 < np.median(fields) < 60.0


def test_lost_doubled_and_late_datagrams_are_counted() -> None:
    decoder = MvnDecoder()
    numbers = []
    for k in (0, 1, 1, 2, 5, 4, 6, 4):
        numbers += [sample.counter for sample in decoder.feed(encode(k, 17 * k, [("head", *STILL)]))]
    assert numbers == [0, 1, 2, 5, 4, 6]
    counts = decoder.counts
    assert (counts.lost, counts.doubled, counts.late) == (1, 2, 1)


def test_the_rest_of_a_datagram_never_comes() -> None:
    decoder = MvnDecoder()
    decoder.feed(encode(0, 0, [("head", *STILL)])[:-5])
    decoder.end_of_datagram()
    assert len(decoder.feed(encode(1, 17, [("head", *STILL)]))) == 1
    assert decoder.counts.corrupt == 1
