"""Radar tensor node: files become frames at their times; what cannot be read is left out and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion.maths.voxels import VoxelGrid
from fusion.records import RadarTensor, StreamEnd
from nodes import radar_tensor
from nodes.errors import RequestError
from nodes.graph.clock import ManualClock
from nodes.node import Envelope, SessionInfo
from nodes.runtime import LoopbackContext
from training.radar_tensor.layout import TENSORS, DatasetWriter

GRID = VoxelGrid(np.array([-0.5, 1.0, -0.6]), np.array([0.2, 0.1, 0.3]), (3, 4, 5))
SPEEDS = np.array([-0.5, 0.5])
FRAMES = 5


def power_of(k: int) -> np.ndarray:
    return np.full((2, *GRID.shape), k, dtype=np.float16)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    writer = DatasetWriter(tmp_path, GRID, SPEEDS)
    for name in ("beta", "alpha"):
        for k in range(FRAMES):
            writer.add("Train", name, f"{k}", power_of(k), np.zeros((15, 3)))
    writer.close()
    return tmp_path


class LiveContext(LoopbackContext):
    """A clock that moves on while the node waits, and by ``busy_s`` with every record."""

    def __init__(self, busy_s: float = 0.0, stop_after: int | None = None) -> None:
        session = SessionInfo(name="test", profile=None, graph_text="", time="live", headless=True)
        self.manual = ManualClock(5_000_000_000)
        self.busy_ns = round(busy_s * 1e9)
        super().__init__("radar1", session=session, clock=self.manual, max_published=stop_after)

    def receive(self, timeout_s: float) -> Envelope | None:
        self.manual.time_ns += max(round(timeout_s * 1e9), 1)
        return None

    def publish(self, topic: str, record: Any, cause: Envelope | None = None) -> None:
        super().publish(topic, record, cause)
        self.manual.time_ns += self.busy_ns


def played(context: LoopbackContext, root: Path, **keys: Any) -> list[RadarTensor]:
    radar_tensor.run(radar_tensor.Params(type="radar_tensor", source=str(root), **keys), context)
    found = [envelope.record for envelope in context.published if envelope.topic == "radar1/tensor"]
    for record in found:
        record.validate()
    return found  # type: ignore[return-value]


def test_every_file_with_its_time(root: Path) -> None:
    context = LoopbackContext("radar1")
    records = played(context, root, rate_hz=20.0)
    assert [record.measured_ns for record in records] == [50_000_000 * k for k in range(FRAMES)]
    assert [record.frame for record in records] == list(range(FRAMES))
    for k, record in enumerate(records):
        np.testing.assert_array_equal(record.power, power_of(k))
    np.testing.assert_allclose(records[0].origin_m, GRID.origin_m)
    np.testing.assert_allclose(records[0].steps_m, GRID.steps_m)
    np.testing.assert_allclose(records[0].radial_velocities_m_s, SPEEDS)
    last = context.published[-1].record
    assert isinstance(last, StreamEnd)
    assert last.reason == "end of alpha"
    assert dict(context.counters) == {"frames": FRAMES, "refused": 0.0, "skipped_late": 0.0}


def test_a_live_session_follows_the_clock(root: Path) -> None:
    context = LiveContext()
    records = played(context, root, radar="front")
    began = 5_000_000_000 + radar_tensor.START_MARGIN_NS
    assert [record.measured_ns for record in records] == [began + 100_000_000 * k for k in range(FRAMES)]
    assert all(record.received_ns == record.measured_ns for record in records)
    assert {record.radar for record in records} == {"front"}


def test_frames_that_are_late_are_left_out(root: Path) -> None:
    context = LiveContext(busy_s=0.25)
    records = played(context, root)
    assert [record.frame for record in records] == [0, 2, 4]
    assert context.counters["skipped_late"] == 2.0


def test_a_loop_goes_on_with_rising_stamps(root: Path) -> None:
    records = played(LiveContext(stop_after=12), root, loop=True)
    assert [record.frame for record in records] == list(range(12))
    assert float(records[11].power[0, 0, 0, 0]) == 11 % FRAMES
    assert np.diff([record.measured_ns for record in records]).tolist() == [100_000_000] * 11


def test_files_that_cannot_be_read_are_left_out(root: Path) -> None:
    (root / "alpha" / TENSORS / "2.npy").write_bytes(b"torn")
    np.save(root / "alpha" / TENSORS / "3.npy", np.full((2, *GRID.shape), np.nan, dtype=np.float16))
    context = LoopbackContext("radar1")
    assert [record.frame for record in played(context, root, sequence="alpha")] == [0, 1, 4]
    assert context.counters["refused"] == 2.0


@pytest.mark.parametrize(
    ("keys", "spoil", "message"),
    [
        ({"sequence": "gamma"}, None, "no sequence 'gamma'; it has: alpha, beta"),
        ({}, "0.npy", "cannot be read as .npy"),
        ({}, "lattice", "2 Doppler channels, but lattice.json has 1 radial_velocities_m_s"),
    ],
)
def test_wrong_folders_are_refused_before_the_start(
    root: Path, keys: dict[str, Any], spoil: str | None, message: str
) -> None:
    if spoil == "0.npy":
        (root / "alpha" / TENSORS / "0.npy").write_bytes(b"torn")
    elif spoil == "lattice":
        DatasetWriter(root, GRID, np.zeros(1)).close()
    context = LoopbackContext("radar1")
    with pytest.raises(RequestError, match=message):
        played(context, root, **keys)
    assert not context.is_ready
