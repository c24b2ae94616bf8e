"""The benchmark of the radar in the filter: its table, its bodies, and that a camera goes away where it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import radar_fusion
from benchmarks.radar_fusion import DARK_FRAMES, FRAMES, KEYS, Stretch
from benchmarks.scenarios import SCENARIOS, Errors
from fusion.body.catalog import LANDMARK_SETS
from fusion.body.reflection import MOVING_M_S
from fusion.body.skeleton import SEGMENT
from fusion.estimators.radar.trunk import TRUNK, expected_offset
from fusion.pipeline import Pipeline
from fusion.records import Landmarks3D, Record
from tests.training.radar.made_up import write_recordings

LEFT_ANKLE = LANDMARK_SETS["kinect_19"].landmark_names.index("left_ankle")


@pytest.fixture(scope="module")
def stretch(tmp_path_factory: pytest.TempPathFactory) -> Stretch:
    folder = tmp_path_factory.mktemp("data")
    write_recordings(folder, frames=FRAMES + 5)
    return radar_fusion.read_stretches(folder, 2)[0]


def errors(name: str, error_m: float) -> Errors:
    absolute = np.full((600, 23), error_m)
    times = np.arange(600) * 16_666_667
    return Errors("clip", name, times, absolute, 0.5 * absolute, 0.3 * absolute, absolute, np.ones(600, np.int64))


def test_the_worst_cost_leaves_the_dark_rows_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the radar every row is 3 % worse, and those in the dark, where it may only help, twice as bad."""

    def measured(clips: Sequence[str], seconds: float, names: Sequence[str], jobs: int) -> list[Errors]:
        ratios = {name: 2.0 if SCENARIOS[name].blackout else 1.03 for name in names}
        return [errors(name, 0.1 * (ratios[name] if name.endswith("+radar") else 1.0)) for name in names]

    monkeypatch.setattr(radar_fusion, "measure_all", measured)
    found = radar_fusion.table("tune", quick=True, jobs=1)
    assert found["worst_cost"] == pytest.approx(1.03)
    assert {name for name, row in found["rows"].items() if row["dark"]}
    for name, row in found["rows"].items():
        assert not name.endswith("+radar")
        assert row["root_radar_mm"] == pytest.approx(200.0 if row["dark"] else 103.0)


def test_stretches_are_as_long_as_they_say(stretch: Stretch, tmp_path: Path) -> None:
    assert len(stretch.times_ns) == len(stretch.joints_m) == len(stretch.frames) == FRAMES
    np.testing.assert_array_equal(np.diff(stretch.times_ns), radar_fusion.PERIOD_NS)
    write_recordings(tmp_path, frames=FRAMES - 1)
    assert radar_fusion.read_stretches(tmp_path, 2) == []


def test_the_kinects_joints_are_ours(stretch: Stretch) -> None:
    joints = radar_fusion.our_joints(stretch.joints_m)
    assert joints.shape == (FRAMES, 23, 3)
    assert np.isfinite(joints).all()
    np.testing.assert_array_equal(joints[:, SEGMENT["pelvis"]], stretch.joints_m[:, 0])
    np.testing.assert_array_equal(joints[:, SEGMENT["left_foot"]], stretch.joints_m[:, LEFT_ANKLE])
    between = joints[:, SEGMENT["l5"]] - joints[:, SEGMENT["pelvis"]]
    np.testing.assert_allclose(between, 0.33 * (joints[:, SEGMENT["t12"]] - joints[:, SEGMENT["pelvis"]]), atol=1e-12)


def test_the_camera_is_away_in_the_dark_and_the_radar_is_left_out(
    stretch: Stretch, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Record] = []

    class Watched(Pipeline):
        def take(self, record: Record) -> bool:
            taken.append(record)
            return super().take(record)

    monkeypatch.setattr(radar_fusion, "Pipeline", Watched)
    mount = radar_fusion.calibrated([stretch])
    assert np.isfinite(mount.position_world_m).all()
    found = radar_fusion.played(stretch, mount, None, radar=False)
    assert set(found) == set(KEYS)
    assert all(np.isfinite(value) for value in found.values())
    seen = [record.measured_ns // radar_fusion.PERIOD_NS for record in taken if isinstance(record, Landmarks3D)]
    assert seen == list(range(0, DARK_FRAMES[0], radar_fusion.CAMERA_EVERY))
    assert {record.kind for record in taken} == {"landmarks3d", "tick"}
    taken.clear()
    radar_fusion.played(stretch, mount, None, radar=True)
    assert sum(record.kind == "points" for record in taken) == FRAMES


def test_on_the_recordings_the_radar_helps_in_the_dark(data_pack: Path) -> None:
    """One movement of one subject, to and fro; the radar placed by another subject."""
    own = [one for one in radar_fusion.read_stretches(data_pack, 3) if one.movement in (5, 6, 7)]
    mount = radar_fusion.calibrated(radar_fusion.read_stretches(data_pack, 2))
    rows = {radar: [radar_fusion.played(one, mount, None, radar=radar) for one in own] for radar in (False, True)}
    dark = {radar: np.mean([row["dark_root_mm"] for row in found]) for radar, found in rows.items()}
    assert dark[True] < dark[False]


def test_points_that_are_where_they_are_expected_leave_no_error(
    stretch: Stretch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a frame's points at the trunk and the expected offset from it: slope 1, nothing left."""
    joints = radar_fusion.our_joints(stretch.joints_m)
    speeds = np.gradient(joints, stretch.times_ns / 1e9, axis=0)
    radar_m = np.array([0.0, 0.0, radar_fusion.FLOOR_M])
    frames = []
    for body, speed in zip(joints, speeds, strict=True):
        away, _ = expected_offset(radar_m, body, speed, MOVING_M_S)
        frames.append(np.tile([*(body[TRUNK] + away - radar_m), 0.3], (8, 1)))
    placed = replace(stretch, frames=tuple(frames))
    monkeypatch.setattr(radar_fusion, "read_stretches", lambda folder, subject: [placed])
    found = radar_fusion.offset(Path())
    assert found["frames"] == 4 * FRAMES
    moving = np.array(found["sigma_without_m"]) > 1e-6  # along the line of sight these bodies hardly change
    assert moving.any()
    np.testing.assert_allclose(np.array(found["slope"])[moving], 1.0, atol=1e-6)
    np.testing.assert_allclose(found["sigma_m"], 0.0, atol=1e-9)
