"""Frames from packets: whatever is lost, swapped, doubled or spoilt, bytes stand where they belong."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nodes.devices.dca1000.packets import CONFIRM, HEAD_BYTES, MOST_FRAMES_AHEAD, Assembler, RawFrame, packet

SIZE = 5000
PART = 1456


def stream(frames: int, first: int = 0) -> bytes:
    """Bytes that tell their own place, none of them zero."""
    places = np.arange(first * SIZE, (first + frames) * SIZE)
    return (1 + places % 251).astype(np.uint8).tobytes()


def packets(data: bytes, start: int = 0) -> list[bytes]:
    return [
        packet((start + at) // PART + 1, start + at, data[at : at + PART]) for at in range(0, len(data), PART)
    ]  # fmt: skip


def fed(datagrams: list[bytes], flush: bool = True) -> tuple[list[RawFrame], Assembler]:
    assembler = Assembler(SIZE)
    frames = [frame for number, item in enumerate(datagrams) for frame in assembler.feed(item, number)]
    return frames + (assembler.flush() if flush else []), assembler


def check(frames: list[RawFrame]) -> None:
    """Each byte is its own or zero, and there are as many zeros as the frame says."""
    for frame in frames:
        have = np.frombuffer(frame.data, np.uint8)
        right = np.frombuffer(stream(1, frame.index), np.uint8)
        assert ((have == right) | (have == 0)).all(), frame.index
        assert int((have == 0).sum()) == frame.missing_bytes


def test_all_packets_in_order_make_all_frames() -> None:
    frames, assembler = fed(packets(stream(7)), flush=False)
    assert [frame.index for frame in frames] == list(range(7))
    assert b"".join(frame.data for frame in frames) == stream(7)
    assert (assembler.counts.frames, assembler.counts.frames_incomplete, assembler.counts.bytes_lost) == (7, 0, 0)
    assert frames[0].received_ns == 0
    assert frames[1].received_ns == 3  # the fourth packet has the first of its bytes


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(0, 14))
def test_packets_that_overtake_one_another_are_put_back_in_order(seed: int, frames: int, reach: int) -> None:
    datagrams = packets(stream(frames))
    order = np.argsort(np.arange(len(datagrams)) + np.random.default_rng(seed).uniform(0, reach + 1e-9, len(datagrams)))
    found, assembler = fed([datagrams[index] for index in order])
    assert b"".join(frame.data for frame in found) == stream(frames)
    assert assembler.counts.bytes_lost == 0


@given(st.integers(0, 2**32), st.floats(0.0, 0.9))
def test_what_is_lost_is_zero_and_counted_to_the_byte(seed: int, share: float) -> None:
    data = stream(9)
    every = packets(data)
    keep = np.random.default_rng(seed).random(len(every)) >= share
    keep[-1] = True  # so that the end is known
    frames, assembler = fed([item for item, kept in zip(every, keep, strict=True) if kept])
    check(frames)
    lost = len(data) - sum(len(item) - HEAD_BYTES for item, kept in zip(every, keep, strict=True) if kept)
    assert assembler.counts.bytes_lost == lost
    assert assembler.counts.frames + assembler.counts.frames_lost == 9
    assert assembler.counts.frames_incomplete == sum(frame.missing_bytes > 0 for frame in frames)


@given(st.lists(st.binary(max_size=1600), max_size=30), st.integers(0, 2**32))
def test_junk_and_doubled_packets_change_nothing(junk: list[bytes], seed: int) -> None:
    datagrams = packets(stream(6))
    random = np.random.default_rng(seed)
    # What is no packet at all, and heads that point far away.
    spoilt = [item for item in junk if not 0 < len(item) - HEAD_BYTES <= 1462]
    spoilt += [packet(9, (1 << 40) + 7919 * number, b"x" * 10) for number in range(len(junk))]
    mixed = list(datagrams)
    for item in spoilt:
        mixed.insert(int(random.integers(0, len(mixed) + 1)), item)
    for index in random.integers(0, len(datagrams), 5):
        mixed.insert(mixed.index(datagrams[index]) + 1, datagrams[index])
    frames, assembler = fed(mixed)
    assert b"".join(frame.data for frame in frames) == stream(6)
    assert assembler.counts.refused == len(spoilt)
    assert assembler.counts.bytes_lost == 0


def test_a_gap_of_several_frames_moves_nothing() -> None:
    every = packets(stream(12))
    frames, assembler = fed([item for number, item in enumerate(every) if not 5 <= number < 25])
    check(frames)
    assert [frame.index for frame in frames] == [0, 1, 7, 8, 9, 10, 11]
    assert [frame.index for frame in frames if frame.missing_bytes] == [1, 7]
    assert assembler.counts.frames_lost == 5


def test_a_gap_that_is_longer_than_is_looked_ahead_is_believed_once_confirmed() -> None:
    far = 10 * MOST_FRAMES_AHEAD
    frames, assembler = fed(packets(stream(2)) + packets(stream(6, far), far * SIZE))
    check(frames)
    assert [frame.index for frame in frames[:2]] == [0, 1]
    assert frames[-1].index == far + 5
    assert frames[-1].missing_bytes == 0
    assert assembler.counts.refused == CONFIRM - 1
    assert assembler.counts.frames + assembler.counts.frames_lost == far + 6


def test_a_card_that_begins_again_is_taken_back() -> None:
    frames, assembler = fed(packets(stream(20)) + packets(stream(5)))
    check(frames)
    assert [frame.index for frame in frames[20:]] == [0, 1, 2, 3, 4]
    assert frames[-1].missing_bytes == 0
    assert assembler.counts.restarts == 1


def test_a_frame_without_its_end_is_given_out_in_time() -> None:
    every = packets(stream(40))
    del every[3]
    seen: dict[int, int] = {}
    assembler = Assembler(SIZE)
    for number, item in enumerate(every):
        for frame in assembler.feed(item, number):
            seen[frame.index] = number
    assert 3 <= seen[1] - 6 <= 40  # it ends with the seventh packet and waits for 32 more at most
    assert max(len(assembler._buffers), 1) == 1
