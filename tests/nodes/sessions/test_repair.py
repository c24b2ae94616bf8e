"""Torn and damaged session files: read up to the tear, made whole again, never the end of a process."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from mcap.reader import make_reader

from nodes.sessions import repair as repair_module
from nodes.sessions.container import MAGIC, RECORD_HEAD
from nodes.sessions.index import SessionError
from nodes.sessions.info import summarise
from nodes.sessions.reader import SessionReader
from nodes.sessions.repair import repair
from nodes.sessions.writer import SessionWriter
from nodes.transport.codec import encode_flat

from .samples import FACTS, stream, write_session

COUNT = 150
CASES = 150


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "whole.mcap"
    write_session(path, COUNT, flush_every=15)
    return path.read_bytes()


@pytest.fixture(scope="module")
def payloads() -> list[bytes]:
    return [encode_flat(envelope) for _, envelope in stream(COUNT)]


def boundaries(data: bytes) -> list[tuple[int, int]]:
    """Opcode and start of each record of a whole file."""
    found = []
    position = len(MAGIC)
    while position < len(data) - len(MAGIC):
        opcode, length = RECORD_HEAD.unpack_from(data, position)
        found.append((opcode, position))
        position += RECORD_HEAD.size + length
    return found


def torn_lengths(data: bytes) -> list[int]:
    """One length of each kind: at each kind of record, in its head, in its body, and before its last byte."""
    records = boundaries(data)
    ends = [start for _, start in records[1:]] + [len(data) - len(MAGIC)]
    lengths: dict[tuple[int, int], int] = {}
    for (opcode, start), end in zip(records, ends, strict=True):
        for place, length in enumerate((start, start + 1, start + RECORD_HEAD.size, (start + end) // 2, end - 1)):
            lengths[opcode, place] = length
    after_the_header = records[1][1]
    return sorted({*lengths.values(), len(data) - 1} - set(range(after_the_header)))


def read_payloads(path: Path) -> list[bytes]:
    with SessionReader(path) as session:
        return [bytes(message.payload) for message in session.messages()]


def test_every_kind_of_tear_is_read_and_repaired(tmp_path: Path, whole: bytes, payloads: list[bytes]) -> None:
    lengths = torn_lengths(whole)
    assert len(lengths) > 40
    for length in lengths:
        path = tmp_path / f"{length}.mcap"
        path.write_bytes(whole[:length])
        before = read_payloads(path)
        assert before == payloads[: len(before)]
        report = repair(path)
        assert report.repaired
        assert report.messages == len(before)
        assert_whole(path, before)


def test_random_tears(tmp_path: Path, whole: bytes, payloads: list[bytes]) -> None:
    chooser = random.Random(1)
    header_end = boundaries(whole)[1][1]
    for _ in range(CASES):
        length = chooser.randrange(header_end, len(whole) - 1)
        path = tmp_path / "torn.mcap"
        path.write_bytes(whole[:length])
        before = read_payloads(path)
        assert before == payloads[: len(before)]
        repair(path)
        assert read_payloads(path) == before
        assert SessionReader(path).complete


def assert_whole(path: Path, expected: list[bytes]) -> None:
    """By our reader, by the official one, and the index tells the truth."""
    with SessionReader(path) as session:
        assert session.complete
        assert [bytes(message.payload) for message in session.messages()] == expected
        assert sum(session.index.contents.counts.values()) == len(expected)
    with path.open("rb") as stream_:
        reader = make_reader(stream_, validate_crcs=True)
        assert [message.data for _, _, message in reader.iter_messages()] == expected
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == len(expected)


def test_records_of_a_flushed_chunk_are_never_lost(tmp_path: Path, whole: bytes, payloads: list[bytes]) -> None:
    """A file cut anywhere holds every message of the chunks that lie before the cut."""
    path = tmp_path / "whole.mcap"
    path.write_bytes(whole)
    with SessionReader(path) as session:
        chunks = session.index.contents.chunks
    for number, chunk in enumerate(chunks, start=1):
        path.write_bytes(whole[: chunk.chunk_start_offset + chunk.chunk_length])
        assert len(read_payloads(path)) == min(number * 15, len(payloads))


def test_zeros_after_a_power_cut_are_a_tear(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(whole[: len(whole) // 2] + bytes(100_000))
    before = read_payloads(path)
    assert before
    repair(path)
    assert_whole(path, before)


def test_last_chunk_of_zeros_is_dropped(tmp_path: Path, whole: bytes, payloads: list[bytes]) -> None:
    """After a power cut the length of a chunk may be on the disk and its content not."""
    path = tmp_path / "a.mcap"
    path.write_bytes(whole)
    with SessionReader(path) as session:
        last = session.index.contents.chunks[5]
    start = last.chunk_start_offset + 60
    end = last.chunk_start_offset + last.chunk_length
    path.write_bytes(whole[:start] + bytes(end - start))
    repair(path)
    assert_whole(path, payloads[: 5 * 15])


def test_random_flips_never_raise_and_never_invent(tmp_path: Path, whole: bytes, payloads: list[bytes]) -> None:
    chooser = random.Random(2)
    known = set(payloads)
    path = tmp_path / "flipped.mcap"
    for _ in range(CASES):
        data = bytearray(whole)
        for _ in range(chooser.choice((1, 1, 3, 30))):
            data[chooser.randrange(len(data))] ^= 1 << chooser.randrange(8)
        path.write_bytes(data)
        try:
            with SessionReader(path) as session:
                read = [bytes(message.payload) for message in session.messages()]
                list(session.envelopes())
                summarise(session, decode=True)
        except SessionError:
            assert bytes(data[:60]) != whole[:60]  # Only the header can make a file unreadable.
            continue
        # Every chunk has a checksum, so what comes out is what went in.
        assert set(read) <= known
        repair(path)
        assert set(read_payloads(path)) <= known


def test_random_garbage_after_the_header_is_passed_over(tmp_path: Path, whole: bytes) -> None:
    chooser = random.Random(3)
    header_end = boundaries(whole)[1][1]
    path = tmp_path / "garbage.mcap"
    for size in (1, 8, 9, 100, 5000):
        for _ in range(10):
            path.write_bytes(whole[:header_end] + chooser.randbytes(size))
            assert read_payloads(path) == []


def test_lengths_that_would_take_all_memory_are_refused(tmp_path: Path, whole: bytes) -> None:
    """A chunk that says it unpacks to 16 EiB, and records that say they go on for 8 EiB."""
    path = tmp_path / "a.mcap"
    records = boundaries(whole)
    _, chunk = next(item for item in records if item[0] == 0x06)
    data = bytearray(whole)
    data[chunk + RECORD_HEAD.size + 16 : chunk + RECORD_HEAD.size + 24] = b"\xff" * 8
    path.write_bytes(data)
    with SessionReader(path) as session:
        assert len(list(session.messages())) == len(list(stream(COUNT))) - 15
        assert session.damaged == 1
    for opcode, start in dict(records[1:]).items():
        data = bytearray(whole)
        data[start + 1 : start + RECORD_HEAD.size] = b"\xff" * 7 + b"\x7f"
        path.write_bytes(data)
        with SessionReader(path) as session:
            list(session.messages())
        assert opcode


def test_whole_file_is_left_alone(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(whole)
    report = repair(path)
    assert not report.repaired
    assert path.read_bytes() == whole


def test_file_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    writer = SessionWriter(path, FACTS)
    with pytest.raises(SessionError, match="being recorded at this moment"):
        repair(path)
    writer.close()


def test_original_stays_until_the_new_one_is_whole(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mcap"
    torn = whole[: len(whole) // 2]
    path.write_bytes(torn)

    def failing(source: object, target: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(SessionError, match="cannot be repaired: Input/output error"):
        repair(path)
    assert path.read_bytes() == torn
    assert [item.name for item in tmp_path.iterdir()] == ["a.mcap"]


def test_no_room_for_the_repair_is_a_clear_error(tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(whole[: len(whole) // 2])
    usage = repair_module.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(repair_module.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(SessionError, match="make room"):
        repair(path)
    assert len(read_payloads(path)) > 0
