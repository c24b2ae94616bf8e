"""Joints stand where the heat map peaks, moved by the offsets there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.estimators.radar.tensor_decode import JOINTS, TensorPose, decode, joints_record
from fusion.maths.voxels import VoxelGrid
from fusion.records import RadarTensor

GRID = VoxelGrid(np.array([-1.0, 0.8, -1.1]), np.array([0.15, 0.05, 0.36]), (3, 4, 5))
SIGMAS = np.linspace(0.01, 0.2, 45).reshape(15, 3)


def tensor() -> RadarTensor:
    return RadarTensor(
        measured_ns=5,
        received_ns=6,
        radar="front",
        frame=1,
        power=np.zeros((2, *GRID.shape), dtype=np.float16),
        origin_m=GRID.origin_m,
        steps_m=GRID.steps_m,
        radial_velocities_m_s=np.zeros(2),
    )


@given(
    up=st.integers(0, 2), across=st.integers(0, 3), forward=st.integers(0, 4), height=st.floats(0.1, 200.0),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_the_peak_and_its_offsets(up: int, across: int, forward: int, height: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    offsets = random.normal(0.0, 3.0, (45, *GRID.shape)).astype(np.float32)
    heat = np.full(GRID.shape, -5.0, dtype=np.float32)
    heat[up, across, forward] = height
    pose = decode(heat, offsets, GRID)
    there = offsets[:, up, across, forward].reshape(15, 3)
    expected = GRID.origin_m + (np.array([across, forward, up]) + there) * GRID.steps_m
    np.testing.assert_allclose(pose.joints_m, expected, rtol=1e-6)
    assert 0.5 < pose.score <= 1.0


def test_shapes_have_to_belong_together() -> None:
    with pytest.raises(ValueError, match=r"heat map \(3, 4, 4\)"):
        decode(np.zeros((3, 4, 4)), np.zeros((45, *GRID.shape)), GRID)
    with pytest.raises(ValueError, match=r"offsets \(42, 3, 4, 5\)"):
        decode(np.zeros(GRID.shape), np.zeros((42, *GRID.shape)), GRID)


def test_records_hold_one_person_or_none() -> None:
    pose = TensorPose(np.ones((JOINTS, 3)), 0.4)
    record = joints_record(tensor(), pose, SIGMAS, 0.3)
    record.validate()
    assert (record.radar, record.landmark_set, record.measured_ns, record.received_ns) == ("front", "rt_pose_15", 5, 6)
    assert record.ids.tolist() == [-1]
    assert record.scores.tolist() == [pytest.approx(0.4)]
    np.testing.assert_allclose(record.sigmas_m[0], SIGMAS, rtol=1e-6)
    nobody = joints_record(tensor(), pose, SIGMAS, 0.5)
    nobody.validate()
    assert nobody.positions_m.shape == (0, 15, 3)
    broken = TensorPose(np.full((JOINTS, 3), np.nan), 0.9)
    assert len(joints_record(tensor(), broken, SIGMAS, 0.0).ids) == 0
