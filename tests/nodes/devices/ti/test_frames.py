"""Framing: any portions, any bytes, every corner that real sensors and lines have, and nothing lost beside damage."""

from __future__ import annotations

import itertools
import random
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.devices.ti import encoder, trial
from nodes.devices.ti.frames import TiCounts, TiDecoder, TiFrame
from nodes.devices.ti.layout import LAYOUTS, MAGIC, MOST_LENGTH

KINDS = tuple(trial.KINDS)
FUZZ_BYTES = 1_500_000
"""``benchmarks.radar_protocol`` runs the same on 100 MB."""


def fed(portions: list[bytes], *, end: bool = False) -> tuple[list[TiFrame], TiCounts]:
    decoder = TiDecoder(doppler_step_m_s=0.1)
    frames = [frame for portion in portions for frame in decoder.feed(portion)]
    return frames + (decoder.end_of_stream() if end else []), decoder.counts


def said(frames: list[TiFrame]) -> list[Any]:
    return [trial.comparable(frame) for frame in frames]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:stop] for start, stop in itertools.pairwise(edges)]


def stream(kind: str, numbers: range) -> list[bytes]:
    return [trial.KINDS[kind](k) for k in numbers]


# ---- laws


@pytest.mark.parametrize("kind", KINDS)
def test_each_frame_comes_with_its_last_byte(kind: str) -> None:
    decoder = TiDecoder(doppler_step_m_s=0.1)
    offset = 0
    for k, frame in enumerate(stream(kind, range(12))):
        assert decoder.feed(frame[:-1]) == []
        (got,) = decoder.feed(frame[-1:])
        assert (got.number, got.offset, got.length, got.end) == (k + 1, offset, len(frame), offset + len(frame))
        assert (got.layout, got.doubtful, got.restarted) == (trial.frame_layout(frame).name, False, False)
        offset += len(frame)
    counts = decoder.counts
    assert (counts.packets, counts.samples) == (12, 12)
    assert (counts.corrupt, counts.skipped_bytes, counts.lost, counts.absurd, counts.odd_tlvs) == (0, 0, 0, 0, 0)
    assert decoder.offset == offset


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), damages=st.lists(st.sampled_from(tuple(trial.DAMAGES)), max_size=4), data=st.data())
def test_one_portion_equals_any_portions_and_byte_by_byte(
    kind: str, seed: int, damages: list[str], data: st.DataObject
) -> None:
    chance = random.Random(seed)
    frames = stream(kind, range(seed % 97, seed % 97 + 5))
    for damage in damages:
        k = chance.randrange(len(frames))
        frames[k] = trial.damaged(frames[k], damage, chance)
    text = b"".join(frames)
    whole, counts = fed([text], end=True)
    portions = cut(text, data.draw(st.lists(st.integers(0, 2**16), max_size=40)))
    for other, other_counts in (fed(portions, end=True), fed([bytes([byte]) for byte in text], end=True)):
        assert said(other) == said(whole)
        assert other_counts == counts


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.one_of(
            st.binary(max_size=80),
            st.just(MAGIC),
            st.builds(lambda words: MAGIC + struct.pack(f"<{len(words)}I", *words), st.lists(st.integers(0, 200))),
            st.builds(lambda k, kind: trial.KINDS[kind](k), st.integers(0, 50), st.sampled_from(KINDS)),
        ),
        max_size=8,
    ),
    places=st.lists(st.integers(0, 2**16), max_size=20),
)
def test_any_bytes_in_any_portions(parts: list[bytes], places: list[int]) -> None:
    text = b"".join(parts)
    whole, counts = fed([text])
    other, other_counts = fed(cut(text, places))
    assert said(other) == said(whole)
    assert other_counts == counts
    for frame in whole:
        assert np.isfinite(frame.positions_m).all()
        assert frame.positions_m.shape == (len(frame.snrs_db), 3)
        assert frame.radial_velocities_m_s.shape == frame.noises_db.shape == frame.snrs_db.shape


@pytest.mark.parametrize("damage", trial.DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_costs_no_other_frame_and_no_time(kind: str, damage: str) -> None:
    """Frames beside a damaged one are the same as without it, and come with their last byte."""
    frames = stream(kind, range(30, 36))
    clean, _ = fed(frames)
    for seed in range(6):
        chance = random.Random(f"{kind} {damage} {seed}")
        decoder = TiDecoder(doppler_step_m_s=0.1)
        got = [
            decoder.feed(trial.damaged(frame, damage, chance) if k == 2 else frame) for k, frame in enumerate(frames)
        ]
        for k in (0, 1, 3, 4, 5):
            assert trial.essence(clean[k]) in [trial.essence(frame) for frame in got[k]]


def test_a_long_fuzz_raises_nothing_and_keeps_little() -> None:
    chance = random.Random(3)
    decoder = TiDecoder()
    done = 0
    frames = [frame for kind in KINDS for frame in stream(kind, range(8))]
    tracemalloc.start()
    while done < FUZZ_BYTES:
        frame = chance.choice(frames)
        if chance.random() < 0.7:
            frame = trial.damaged(frame, chance.choice(tuple(trial.DAMAGES)), chance)
        decoder.feed(frame)
        done += len(frame)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert decoder.counts.samples > 100
    assert decoder.counts.corrupt > 100
    assert held < 3 * MOST_LENGTH


# ---- corners


def plain(number: int, count: int = 10, **keys: Any) -> bytes:
    places, speeds, snrs, noises = trial.truth(number, count)
    tlvs = [encoder.plain_points(places, speeds), encoder.side_info(snrs, noises)]
    return encoder.encode_frame(number, tlvs, **keys)


def with_length(frame: bytes, length: int) -> bytes:
    return frame[:12] + struct.pack("<I", length) + frame[16:]


def test_junk_before_the_magic_word_is_dropped_and_counted() -> None:
    frames, counts = fed([b"boot text\r\n" + MAGIC[:5] + plain(4)])
    assert [frame.number for frame in frames] == [4]
    assert frames[0].offset == 16
    assert (counts.skipped_bytes, counts.corrupt) == (16, 0)


@pytest.mark.parametrize("length", [0, 35, MOST_LENGTH + 1, 0xFFFFFFFF])
def test_a_length_out_of_bounds_is_no_frame(length: int) -> None:
    frames, counts = fed([with_length(plain(1), length) + plain(2)])
    assert [frame.number for frame in frames] == [2]
    assert (counts.corrupt, counts.skipped_bytes) == (1, len(plain(1)))


@pytest.mark.parametrize("error", [-512, -64, -32, -4, 4, 32, 64, 3200, 60000])
def test_a_wrong_length_is_found_by_the_next_magic_word(error: int) -> None:
    first, second = plain(1, 40), plain(2)
    decoder = TiDecoder()
    got = decoder.feed(with_length(first, len(first) + error) + second)
    assert [frame.number for frame in got] == [1, 2]
    assert (got[0].doubtful, got[1].doubtful) == (True, False)
    assert len(got[1].positions_m) == 10
    assert decoder.counts.doubtful == 1


def test_a_length_that_is_too_long_holds_nothing_up() -> None:
    """The frame comes with the head of the next one, as its TLVs have long ended."""
    (frame,) = TiDecoder().feed(with_length(plain(1), 20_000) + plain(2)[:20])
    assert (frame.number, frame.doubtful) == (1, True)


def test_firmware_that_is_wrong_each_time_is_understood_from_the_second_frame_on() -> None:
    """Both the length and the last TLV's are too long, as in a vital signs demo that TI recorded."""
    places, speeds, _, _ = trial.truth(1, 4)
    profile = encoder.profile(np.ones(64))
    tlvs = [encoder.plain_points(places, speeds), profile]
    short = [encoder.encode_frame(number, tlvs)[:-64] for number in range(1, 6)]
    frames, counts = fed(short, end=True)
    assert [frame.number for frame in frames] == [2, 3, 4, 5]
    assert all(frame.doubtful and len(frame.positions_m) == 4 for frame in frames)
    assert (counts.corrupt, counts.doubtful) == (1, 4)


def test_no_objects() -> None:
    empty = encoder.encode_frame(1, [encoder.plain_points(np.zeros((0, 3)), []), encoder.statistics(trial.STATISTICS)])
    (frame,), counts = fed([empty])
    assert frame.positions_m.shape == (0, 3)
    assert frame.statistics == trial.STATISTICS
    assert counts.odd_tlvs == 0


@pytest.mark.parametrize("layout", ["sdk3", "sdk1", "doors"])
def test_no_tlvs_at_all(layout: str) -> None:
    bare = encoder.encode_frame(2, [], layout=layout)
    decoder = TiDecoder()
    decoder.feed(plain(1, layout=layout))
    (frame,) = decoder.feed(bare)
    assert (frame.number, frame.layout, frame.doubtful, len(frame.positions_m)) == (2, layout, False, 0)


def test_more_tlvs_announced_than_there_are() -> None:
    decoder = TiDecoder()
    (frame,) = decoder.feed(plain(1, announced=5))
    assert (len(frame.positions_m), frame.doubtful) == (10, True)
    assert decoder.counts.doubtful == 1


def test_fewer_tlvs_announced_than_there_are() -> None:
    (first, second), counts = fed([plain(1, 20, announced=1), plain(2)])
    assert len(first.positions_m) == 20
    assert np.isnan(first.snrs_db).all()
    assert (first.doubtful, second.doubtful, counts.doubtful) == (True, False, 1)


def test_points_are_counted_by_their_bytes_not_by_the_head() -> None:
    (frame,), _ = fed([plain(1, 10, objects=64)])
    assert len(frame.positions_m) == 10


def test_gaps_repeats_and_restarts_are_counted_and_handed_on() -> None:
    frames, counts = fed([plain(number) for number in (5, 6, 9, 9, 10, 1, 2)])
    assert [frame.number for frame in frames] == [5, 6, 9, 9, 10, 1, 2]
    assert [frame.restarted for frame in frames] == [False] * 5 + [True, False]
    assert (counts.lost, counts.doubled, counts.restarts) == (2, 1, 1)


def test_sub_frames_share_a_number() -> None:
    frames, counts = fed([plain(number, sub_frame=sub) for number in (1, 2) for sub in (0, 1)])
    assert [(frame.number, frame.sub_frame) for frame in frames] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert (counts.lost, counts.doubled, counts.restarts) == (0, 0, 0)


def test_an_unknown_tlv_is_skipped_by_its_length() -> None:
    places, speeds, _, _ = trial.truth(1, 6)
    text = encoder.encode_frame(1, [(9999, b"12345"), encoder.plain_points(places, speeds)])
    (frame,), counts = fed([text])
    assert (frame.unknown_types, len(frame.positions_m)) == ((9999,), 6)
    assert (counts.unknown, counts.doubtful) == (1, 0)


def test_numbers_that_are_none_are_dropped_with_their_side_information() -> None:
    places, speeds, snrs, noises = trial.truth(1, 6)
    places[1, 2], places[3, 0], speeds[4] = np.nan, 1e6, np.inf
    text = encoder.encode_frame(1, [encoder.plain_points(places, speeds), encoder.side_info(snrs, noises)])
    (frame,), counts = fed([text])
    assert frame.positions_m == pytest.approx(places[[0, 2, 5]], abs=1e-6)
    assert frame.snrs_db == pytest.approx(snrs[[0, 2, 5]], abs=0.051)
    assert counts.absurd == 3


def test_the_index_speaks_of_the_points_of_the_frame_before() -> None:
    places, speeds, _, _ = trial.truth(1, 4)
    places[1] = np.nan
    first = encoder.encode_frame(1, [encoder.plain_points(places, speeds)])
    second = encoder.encode_frame(
        2, [encoder.plain_points(places[:1], speeds[:1]), encoder.target_index([3, 4, 255, 5])]
    )
    odd = encoder.encode_frame(3, [encoder.target_index([3, 4, 255, 5])])
    after_gap = encoder.encode_frame(9, [encoder.target_index([3, 4])])
    frames, counts = fed([first, second, odd, after_gap])
    assert [None if f.target_of_point is None else f.target_of_point.tolist() for f in frames] == [
        None,
        [3, 255, 5],
        None,
        [3, 4],
    ]
    assert counts.odd_tlvs == 1


def test_padding_that_looks_like_the_next_frame_ends_nothing() -> None:
    places, speeds, _, _ = trial.truth(1, 10)
    padding = (MAGIC + plain(2)[8:20] + bytes(20))[:31]
    text = encoder.encode_frame(1, [encoder.plain_points(places, speeds)], padding=padding)
    frames, counts = fed([text, plain(2)])
    assert [frame.number for frame in frames] == [1, 2]
    assert (counts.doubtful, counts.corrupt) == (0, 0)


def test_a_lost_end_of_a_few_bytes_does_not_take_the_next_frame_along() -> None:
    """Of the padding so little is missing that the next magic word begins inside the length."""
    first = plain(1, 11)
    for lost in range(1, 8):
        frames, _ = fed([first[:-lost], plain(2), plain(3)])
        assert [frame.number for frame in frames] == [1, 2, 3], lost


@pytest.mark.parametrize("left", [8, 12, 16, 20, 24, 33, 36, 40, 44, 48])
@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_cut_off_in_its_head(kind: str, left: int) -> None:
    """What is left is taken for the head of a frame whose rest is the next one."""
    frames = stream(kind, range(5))
    got, _ = fed([*frames[:2], frames[2][:left], *frames[3:]])
    assert [frame.number for frame in got if frame.number != 3] == [1, 2, 4, 5]


def test_padding_that_is_lost_costs_nothing() -> None:
    frames, counts = fed([plain(1, 11)[:-10], plain(2), plain(3)])
    assert [(frame.number, frame.doubtful) for frame in frames] == [(1, True), (2, False), (3, False)]
    assert (len(frames[0].positions_m), counts.corrupt) == (11, 0)


def test_the_end_of_the_stream_gives_what_was_in_doubt() -> None:
    decoder = TiDecoder()
    text = plain(1, 20, announced=1)
    assert decoder.feed(text) == []
    (frame,) = decoder.end_of_stream()
    assert (frame.number, frame.doubtful) == (1, True)
    assert decoder.feed(plain(2)[:100]) == []
    assert decoder.end_of_stream() == []
    assert decoder.counts.corrupt == 1
    assert [frame.number for frame in decoder.feed(plain(3))] == [3]


def test_a_head_that_never_becomes_a_frame_is_given_up() -> None:
    decoder = TiDecoder()
    decoder.feed(with_length(plain(1, announced=200), 4096))
    for _ in range(40):
        decoder.feed(b"\x55" * 4096)
    assert decoder.held < MOST_LENGTH + 8192
    assert [frame.number for frame in decoder.feed(plain(2))] == [2]


def test_a_head_with_much_noise_behind_is_the_same_in_any_portions() -> None:
    """The next magic word comes later than the longest frame could end."""
    text = with_length(plain(1, announced=200), 4096) + b"\x55" * 70_000 + plain(2)
    whole, counts = fed([text])
    parted, parted_counts = fed([text[at : at + 1000] for at in range(0, len(text), 1000)])
    assert [frame.number for frame in whole] == [frame.number for frame in parted] == [2]
    assert counts == parted_counts
    assert counts.corrupt == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_form_that_is_given_is_not_sought(layout: str) -> None:
    kind = {"sdk3": "sdk3", "sdk1": "sdk1", "people48": "people48", "doors": "doors"}[layout]
    decoder = TiDecoder(layout=layout)  # type: ignore[arg-type]
    (frame,) = decoder.feed(trial.KINDS[kind](3))
    assert frame.layout == decoder.layout == layout
    other = TiDecoder(layout="people48" if layout != "people48" else "sdk3")
    other.feed(trial.KINDS[kind](3) + trial.KINDS[kind](4))
    assert other.counts.samples == 0


def test_a_form_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="'sdk4': allowed sdk3, sdk1, people48, doors"):
        TiDecoder(layout="sdk4")  # type: ignore[arg-type]


def test_head_words() -> None:
    (frame,), _ = fed([plain(77, cpu_cycles=20_000_000 * 300, platform=encoder.XWR1843, version=0x03030002)])
    assert (frame.number, frame.platform, frame.version) == (77, 0xA1843, (3, 3, 0, 2))
    assert frame.cpu_cycles == 20_000_000 * 300 % 2**32
    (old,), _ = fed([trial.KINDS["people48"](4)])
    assert (old.number, old.cpu_cycles) == (5, None)
