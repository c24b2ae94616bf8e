"""Session files: what goes in comes out, also by the rules of the official MCAP reader."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import msgpack
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader

from fusion.records import People
from nodes.node import Envelope
from nodes.sessions.index import SessionError
from nodes.sessions.lock import being_written
from nodes.sessions.reader import SessionReader
from nodes.sessions.writer import (
    MIN_FREE_BYTES,
    QueuedWriter,
    SessionWriteError,
    SessionWriter,
    new_path,
    record_schema,
)
from nodes.transport.codec import encode_flat
from nodes.transport.streams import STREAMS

from .samples import FACTS, START_NS, STEP_NS, annotation, image, landmarks, same, stream, write_session


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    content = write_session(path)
    with SessionReader(path) as session:
        assert session.complete
        assert session.topics == ("cam1/landmarks", "radar1/points")
        assert session.graph_text == FACTS.graph_text
        assert session.profile_text == FACTS.profile_text
        assert session.entry("kinefuse.session")["name"] == "lab"
        assert "numpy" in session.entry("kinefuse.versions")
        assert session.entry("kinefuse.end") == {"end": "stopped"}
        read = list(session.envelopes())
        assert (session.refused, session.damaged) == (0, 0)
    assert [log_ns for log_ns, _ in read] == [log_ns for log_ns, _ in content]
    assert all(same(got[1], put[1]) for got, put in zip(read, content, strict=True))


def test_official_reader_agrees(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    content = write_session(path, flush_every=50)
    with path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == len(content)
        assert len(summary.chunk_indexes) > 3
        assert {schema.name for schema in summary.schemas.values()} == {"landmarks", "points"}
        messages = list(reader.iter_messages())
        assert {entry.name for entry in reader.iter_metadata()} >= {"kinefuse.graph", "kinefuse.profile"}
    assert [message.log_time for _, _, message in messages] == [log_ns for log_ns, _ in content]
    assert [message.data for _, _, message in messages] == [encode_flat(envelope) for _, envelope in content]
    assert [message.publish_time for _, _, message in messages] == [item.published_ns for _, item in content]
    with path.open("rb") as stream:
        assert sum(1 for _ in StreamReader(stream, validate_crcs=True).records) > len(content)


@pytest.mark.parametrize(("start", "end"), [(0, 10), (37, 38), (50, 200), (199, None), (None, 1), (500, None)])
def test_span_of_time(tmp_path: Path, start: int | None, end: int | None) -> None:
    path = tmp_path / "a.mcap"
    content = write_session(path, flush_every=20)
    start_ns = None if start is None else START_NS + start * STEP_NS
    end_ns = None if end is None else START_NS + end * STEP_NS
    expected = [ns for ns, _ in content if (start_ns is None or ns >= start_ns) and (end_ns is None or ns < end_ns)]
    with SessionReader(path) as session:
        assert [item.log_ns for item in session.messages(None, start_ns, end_ns)] == expected


def test_some_topics(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    content = write_session(path, flush_every=20)
    with SessionReader(path) as session:
        read = [envelope.sequence for _, envelope in session.envelopes(("radar1/points",))]
    assert read == [envelope.sequence for _, envelope in content if envelope.topic == "radar1/points"]


def test_pictures_lie_uncompressed_and_are_merged_by_time(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    writer = SessionWriter(path, FACTS)
    for number in range(60):
        writer.write(Envelope("cam1/landmarks", number, 0, 0, landmarks(number)), START_NS + 2 * number)
        writer.write(Envelope("cam1/image", number, 0, 0, image(number)), START_NS + 2 * number + 1)
        if number % 25 == 0:
            writer.flush()
    writer.close()
    with SessionReader(path) as session:
        compressions = {chunk.compression for chunk in session.index.contents.chunks}
        log_ns = [item.log_ns for item in session.messages()]
        pictures = [item for _, item in session.envelopes(("cam1/image",))]
    assert compressions == {"", "zstd"}
    assert log_ns == sorted(log_ns)
    assert len(log_ns) == 120
    assert all(same(item, Envelope("cam1/image", n, 0, 0, image(n))) for n, item in enumerate(pictures))


def test_existing_session_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    write_session(path, 5)
    before = path.read_bytes()
    with pytest.raises(SessionError, match="exists already; choose another name"):
        SessionWriter(path, FACTS)
    assert path.read_bytes() == before


def test_new_names(tmp_path: Path) -> None:
    first = new_path(tmp_path / "take.mcap", "lab")
    assert first == tmp_path / "take.mcap"
    first.touch()
    assert new_path(tmp_path / "take.mcap", "lab") == tmp_path / "take-2.mcap"
    in_folder = new_path(tmp_path / "takes", "lab")
    assert in_folder.parent == tmp_path / "takes"
    assert in_folder.name.startswith("lab_")


def test_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SessionError, match="folder cannot be created: File exists"):
        SessionWriter(tmp_path / "file" / "a.mcap", FACTS)


def test_flush_follows_the_clock(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    now = [0.0]
    writer = SessionWriter(path, FACTS, now=lambda: now[0])
    (log_ns, envelope), *_ = stream(1)
    writer.write(envelope, log_ns)
    writer.tick()
    assert _readable(path) == 0
    now[0] += 0.5
    writer.tick()
    assert _readable(path) == 1
    writer.close()


def _readable(path: Path) -> int:
    with SessionReader(path) as session:
        return sum(1 for _ in session.envelopes())


def test_low_disk_space_is_a_clear_error_and_keeps_the_records(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    free = [MIN_FREE_BYTES * 2]
    writer = SessionWriter(path, FACTS, free_bytes=lambda folder: free[0])
    for log_ns, envelope in stream(10):
        writer.write(envelope, log_ns)
    free[0] = MIN_FREE_BYTES // 2
    writer.flush()
    with pytest.raises(SessionWriteError, match=r"only 34 MB are free on this disk.*make room"):
        writer.sync()
    writer.close()
    with SessionReader(path) as session:
        assert session.complete
        assert sum(1 for _ in session.envelopes()) == len(list(stream(10)))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_failing_disk_is_a_clear_error_and_keeps_what_was_flushed(tmp_path: Path) -> None:
    """The system refuses to let the file grow beyond 300 kB, as a full disk does."""
    program = textwrap.dedent(
        """
        import resource, signal, sys
        from pathlib import Path
        from nodes.sessions.writer import SessionWriteError, SessionWriter
        from tests.nodes.sessions.samples import FACTS, stream
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        writer = SessionWriter(Path(sys.argv[1]), FACTS)
        try:
            for log_ns, envelope in stream(100_000):
                writer.write(envelope, log_ns)
                writer.flush()
        except SessionWriteError as error:
            print(error)
            sys.exit(7)
        """
    )
    path = tmp_path / "a.mcap"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 7, done.stderr
    assert "writing failed: File too large" in done.stdout
    assert "kinefuse session recover" in done.stdout
    with SessionReader(path) as session:
        assert not session.complete
        assert sum(1 for _ in session.envelopes()) > 50


# --- The queue ------------------------------------------------------------------------------------


def test_queue_writes_everything_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    writer = QueuedWriter(SessionWriter(path, FACTS))
    content = list(stream(300))
    assert all(writer.put(envelope, log_ns, wait=True) for log_ns, envelope in content)
    writer.close({"end": "stopped"})
    with SessionReader(path) as session:
        assert [ns for ns, _ in session.envelopes()] == [ns for ns, _ in content]
        assert session.entry("kinefuse.end") == {"dropped": "0", "refused": "0", "end": "stopped"}


class _StuckWriter(SessionWriter):
    """Writes nothing until the test lets it."""

    def __init__(self, path: Path) -> None:
        import threading

        self.go = threading.Event()
        super().__init__(path, FACTS)

    def write(self, envelope: Envelope, log_ns: int) -> None:
        assert self.go.wait(30)
        super().write(envelope, log_ns)


def test_full_queue_drops_and_counts(tmp_path: Path) -> None:
    stuck = _StuckWriter(tmp_path / "a.mcap")
    writer = QueuedWriter(stuck, queue_bytes=50_000)
    taken = [writer.put(Envelope("cam1/image", n, 0, 0, image(n)), START_NS + n) for n in range(20)]
    stuck.go.set()
    writer.close()
    assert 0 < sum(taken) < 20
    assert writer.dropped == 20 - sum(taken)
    with SessionReader(tmp_path / "a.mcap") as session:
        assert sum(1 for _ in session.envelopes()) == sum(taken)
        assert session.entry("kinefuse.end")["dropped"] == str(writer.dropped)


def test_failure_in_the_thread_reaches_the_caller(tmp_path: Path) -> None:
    free = [MIN_FREE_BYTES * 2]
    clock = [0.0]
    inner = SessionWriter(tmp_path / "a.mcap", FACTS, now=lambda: clock[0], free_bytes=lambda folder: free[0])
    writer = QueuedWriter(inner)
    free[0], clock[0] = 0, 10.0
    content = list(stream(3))
    with pytest.raises(SessionWriteError, match="free on this disk"):
        _put_for_ever(writer, content)  # Ends when the thread has found the disk full.
    with pytest.raises(SessionWriteError):
        writer.close()
    with SessionReader(tmp_path / "a.mcap") as session:
        assert session.complete
        assert "free on this disk" in session.entry("kinefuse.end")["failure"]


def _put_for_ever(writer: QueuedWriter, content: list[tuple[int, Envelope]]) -> None:
    for log_ns, envelope in itertools.cycle(content):
        writer.put(envelope, log_ns, wait=True)


def test_raw_pictures_become_jpeg_on_request(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "a.mcap"
    writer = QueuedWriter(SessionWriter(path, FACTS), jpeg_quality=90)
    smooth = np.repeat(np.arange(48, dtype=np.uint8), 64 * 3)
    writer.put(Envelope("cam1/image", 0, 0, 0, dataclasses.replace(image(0), data=smooth)), START_NS)
    writer.close()
    with SessionReader(path) as session:
        ((_, envelope),) = session.envelopes()
    assert envelope.record.encoding == "jpeg"
    pixels = cv2.imdecode(envelope.record.data, cv2.IMREAD_COLOR)
    assert pixels.shape == (48, 64, 3)
    assert np.abs(pixels.reshape(-1).astype(int) - smooth).max() < 8


def test_record_that_no_reader_would_take_is_counted(tmp_path: Path) -> None:
    writer = SessionWriter(tmp_path / "a.mcap", FACTS)
    writer.write(Envelope("cam1/landmarks", 0, 0, 0, annotation("wrong topic")), START_NS)
    writer.close()
    assert writer.refused == 1


@pytest.mark.parametrize("name", STREAMS)
def test_every_stream_has_a_schema(name: str) -> None:
    schema = json.loads(record_schema(STREAMS[name].record))
    assert schema["properties"]["kind"]["const"] == STREAMS[name].record.kind


# --- Files of earlier versions -------------------------------------------------------------------


def test_people_without_angles_are_read(tmp_path: Path) -> None:
    """Version 0.1 wrote people without angles and without a centre of mass."""
    path = tmp_path / "old.mcap"
    count = 2
    joints = (count, 23)
    record = People(
        measured_ns=START_NS,
        received_ns=START_NS,
        skeleton="kinefuse_23",
        ids=np.arange(count, dtype=np.int64),
        positions_m=np.ones((*joints, 3), np.float32),
        q_world_from_segment=np.ones((*joints, 4), np.float32),
        velocities_m_s=np.zeros((*joints, 3), np.float32),
        angular_rates_rad_s=np.zeros((*joints, 3), np.float32),
        covariances_m2=np.zeros((*joints, 3, 3), np.float32),
        measured=np.ones(joints, np.uint8),
        coordinates=np.zeros((count, 44), np.float32),
        lengths_m=np.ones((count, 11), np.float32),
        lengths_locked=np.ones(count, np.uint8),
        angles_rad=np.zeros((count, 41), np.float32),
        centre_of_mass_m=np.zeros((count, 3), np.float32),
    )
    values = msgpack.unpackb(encode_flat(Envelope("fusion/people", 0, START_NS, 0, record)))
    values["a"] = values["a"][:-2]
    buffers = values.pop("b")[:-2]
    packer = msgpack.Packer()
    items = b"".join(msgpack.packb(part) for item in values.items() for part in item)
    old = packer.pack_map_header(len(values) + 1) + items + msgpack.packb("b") + packer.pack_array_header(len(buffers))
    old += b"".join(b"\xc6" + len(buffer).to_bytes(4, "big") + buffer for buffer in buffers)
    writer = SessionWriter(path, FACTS)
    writer.write_encoded("fusion/people", 0, START_NS, START_NS, old)
    writer.close()
    with SessionReader(path) as session:
        ((_, envelope),) = session.envelopes()
        assert (session.refused, session.damaged) == (0, 0)
    assert isinstance(envelope.record, People)
    np.testing.assert_array_equal(envelope.record.positions_m, record.positions_m)
    assert envelope.record.angles_rad.shape == (count, 0)
    assert np.isnan(envelope.record.centre_of_mass_m).all()


# --- Files that are no sessions -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "is empty"),
        (b"hello, I am text", "not a session file"),
        (b"\x89MCAP0\r\n", "damaged"),
        (b"\0" * 4096, "begins with"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / "x.mcap"
    path.write_bytes(data)
    with pytest.raises(SessionError, match=word):
        SessionReader(path)


def test_other_software_s_mcap_is_refused_by_name(tmp_path: Path) -> None:
    from mcap.writer import Writer

    path = tmp_path / "x.mcap"
    writer = Writer(str(path))
    writer.start(profile="ros2")
    writer.finish()
    with pytest.raises(SessionError, match=r"of another software .*ros2"):
        SessionReader(path)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="No such file"):
        SessionReader(tmp_path / "none.mcap")
    with pytest.raises(SessionError, match="directory"):
        SessionReader(tmp_path)


# --- A killed writer ------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_what_was_flushed_survives_kill(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from nodes.sessions.writer import SessionWriter
        from tests.nodes.sessions.samples import FACTS, stream
        writer = SessionWriter(Path(sys.argv[1]), FACTS)
        for index, (log_ns, envelope) in enumerate(stream(100)):
            writer.write(envelope, log_ns)
            if index == 99:
                writer.flush()
        print("written", flush=True)
        sys.stdin.read()
        """
    )
    path = tmp_path / "a.mcap"
    root = Path(__file__).resolve().parents[3]
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"written\n"
    assert being_written(path)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    child.stdin.close()
    assert not being_written(path)
    with SessionReader(path) as session:
        assert not session.complete
        assert "without a footer" in session.index.reason
        assert sum(1 for _ in session.envelopes()) == 100


def test_payloads_outlive_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    content = write_session(path, 3)
    with SessionReader(path) as session:
        read = list(session.envelopes())
    shutil.rmtree(tmp_path)
    assert same(read[0][1], content[0][1])
