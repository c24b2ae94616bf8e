"""The first pose: rigid motions, clusters among clutter, and a pose from nothing."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calibration.radar.body import MovingBody
from calibration.radar.coarse import CoarseParams, clusters, first_pose, rigid_motions
from calibration.radar.practice import RADAR, exact, placed, seen, walker
from calibration.radar.recording import Frames, gather_frames
from fusion.maths import quaternion


@given(st.integers(0, 2**32 - 1))
def test_a_rigid_motion_is_found_again(seed: int) -> None:
    draw = np.random.default_rng(seed)
    points = draw.normal(size=(3, 5, 3))
    turns = quaternion.to_matrix(quaternion.normalize(draw.normal(size=(3, 4))))
    shifts = draw.normal(size=(3, 3))
    found, moved = rigid_motions(points, np.einsum("pij,pcj->pci", turns, points) + shifts[:, None])
    np.testing.assert_allclose(found, turns, atol=1e-6)
    np.testing.assert_allclose(moved, shifts, atol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_points_in_a_plane_are_turned_and_not_mirrored(seed: int) -> None:
    draw = np.random.default_rng(seed)
    points = draw.normal(size=(1, 6, 3)) * [1.0, 1.0, 0.0]
    (turn,), _ = rigid_motions(points, points * [-1.0, 1.0, 1.0] + 0.1 * draw.normal(size=(1, 6, 3)))
    assert np.linalg.det(turn) > 0.999


def test_the_densest_place_is_the_cluster_whatever_else_there_is() -> None:
    draw = np.random.default_rng(1)
    person, clutter = np.array([0.5, 2.5, 0.1]), 4.0 * draw.normal(size=(12, 3))
    counts = [20, 3]
    points = np.concatenate([person + 0.15 * draw.normal(size=(20, 3)), clutter, person + np.zeros((3, 3))])
    frames = Frames(RADAR, np.array([0, 50_000_000]), np.array([0, 32, 35]), points, np.zeros(35))
    found = clusters(frames, CoarseParams())
    assert counts[1] < CoarseParams().least_points
    assert found.frame.tolist() == [0]
    assert np.linalg.norm(found.middles_m[0] - person) < 0.12


def test_a_pose_is_found_without_any_guess() -> None:
    person = walker(11)
    radar = placed(11, person)
    frames = gather_frames(seen(radar, person, 11), RADAR)
    start = first_pose(frames, clusters(frames, CoarseParams()), MovingBody(exact(person)), CoarseParams())
    assert start is not None
    turned = quaternion.from_matrix(start.r_world_from_radar.T @ radar.mount.r_world_from_radar)
    assert np.linalg.norm(quaternion.to_rotvec(turned)) < math.radians(20.0)
    assert np.linalg.norm(start.position_world_m - radar.mount.position_world_m) < 0.8
    assert abs(start.time_offset_s - radar.time_offset_s) < 0.06
    assert start.agreeing > 0.9
