"""Metrics against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.body.kinematics import forward_kinematics_batch
from fusion.body.skeleton import COORDINATE, COORDINATES, REFERENCE_LENGTHS_M
from fusion.maths import quaternion
from fusion.metrics import (
    Track,
    bone_spread_m,
    follow,
    jitter_m_s3,
    joint_angle_errors,
    joint_distances,
    nearest_times,
    percentiles,
    pose_errors,
    procrustes,
    reprojection_distances,
)

RANDOM = np.random.default_rng(1)
FRAME_NS = 10_000_000


def test_joint_distances_by_hand() -> None:
    estimate = np.array([[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [np.nan, 0.0, 0.0]]])
    truth = np.array([[[0.0, 3.0, 4.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]])
    np.testing.assert_array_equal(joint_distances(estimate, truth), [[5.0, 0.0, np.nan]])


def test_procrustes_undoes_scale_rotation_and_shift_but_no_mirror() -> None:
    truth = RANDOM.normal(size=(2, 9, 3))
    q = quaternion.from_rotvec(np.array([0.4, -2.0, 1.0]))
    moved = 1.7 * quaternion.rotate(q, truth) + [3.0, -1.0, 0.5]
    np.testing.assert_allclose(procrustes(moved, truth), truth, atol=1e-12)
    mirrored = truth * [1.0, -1.0, 1.0]
    assert joint_distances(procrustes(mirrored, truth), truth).mean() > 0.3


def test_procrustes_is_the_best_similarity() -> None:
    """Small changes of the transform make the squared error larger."""
    truth, estimate = RANDOM.normal(size=(1, 12, 3)), RANDOM.normal(size=(1, 12, 3))
    best = procrustes(estimate, truth)[0]
    error = ((best - truth[0]) ** 2).sum()
    middle = best.mean(0)
    for change in (
        best + np.array([0.01, 0.0, 0.0]),
        middle + 1.01 * (best - middle),
        middle + quaternion.rotate(quaternion.from_rotvec(np.array([0.0, 0.02, 0.0])), best - middle),
    ):
        assert ((change - truth[0]) ** 2).sum() > error


def test_joints_that_are_missing_do_not_take_part_in_procrustes() -> None:
    truth = RANDOM.normal(size=(1, 8, 3))
    moved = 0.5 * truth + 1.0
    moved[0, 3] = np.nan
    aligned = procrustes(moved, truth)
    assert np.isnan(aligned[0, 3]).all()
    np.testing.assert_allclose(np.delete(aligned[0], 3, 0), np.delete(truth[0], 3, 0), atol=1e-12)


def test_joint_angle_error_is_that_of_the_joint_alone() -> None:
    """A knee bent by 0.2 rad too much is one joint of 22, whatever hangs on it; the root does not count."""
    truth = np.zeros((1, COORDINATES))
    estimate = truth.copy()
    estimate[0, COORDINATE["left_knee_flexion"]] = 0.2
    estimate[0, COORDINATE["root_rz"]] = 1.0
    _, q_truth = forward_kinematics_batch(truth, REFERENCE_LENGTHS_M)
    _, q_estimate = forward_kinematics_batch(estimate, REFERENCE_LENGTHS_M)
    errors = joint_angle_errors(q_estimate, q_truth)
    assert errors.shape == (1, 22)
    assert errors.max() == pytest.approx(0.2)
    assert errors.sum() == pytest.approx(0.2, abs=1e-6)


def test_jitter_of_a_cubic_is_its_third_derivative() -> None:
    seconds = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    positions = np.zeros((6, 2, 3))
    positions[:, 0, 0] = 2.0 * seconds**3
    positions[:, 1, 2] = seconds**2
    assert jitter_m_s3((seconds * 1e9).astype(np.int64), positions) == pytest.approx(0.5 * 12.0)


def test_jitter_does_not_look_across_a_gap() -> None:
    seconds = np.concatenate([np.arange(6) * 0.01, 5.0 + np.arange(6) * 0.01])
    positions = np.zeros((12, 1, 3))
    positions[6:] = 1.0
    assert jitter_m_s3(np.round(seconds * 1e9).astype(np.int64), positions) == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(jitter_m_s3(np.array([0, 1, 2]), np.zeros((3, 1, 3))))


def test_bone_spread_of_rigid_and_of_stretching_bones() -> None:
    coordinates = RANDOM.normal(size=(30, COORDINATES), scale=0.4)
    rigid, _ = forward_kinematics_batch(coordinates, REFERENCE_LENGTHS_M)
    assert bone_spread_m(rigid) < 1e-12
    stretched = np.stack([rigid[0] * scale for scale in (0.9, 1.1)])
    children = np.linalg.norm(rigid[0, 1:] - rigid[0, [0, 1, 2, 3, 4, 5, 4, 7, 8, 9, 4, 11, 12, 13, 0, 15, 16, 17, 0, 19, 20, 21]], axis=1)  # fmt: skip # noqa: E501
    assert bone_spread_m(stretched) == pytest.approx(0.1 * children.mean())


def test_nearest_times_within_the_tolerance() -> None:
    have = np.array([0, 10, 20, 40])
    np.testing.assert_array_equal(
        nearest_times(np.array([-6, 0, 4, 16, 25, 26, 99]), have, 5), [-1, 0, 0, 2, 2, -1, -1]
    )
    np.testing.assert_array_equal(nearest_times(np.array([1, 2]), np.array([], dtype=np.int64), 5), [-1, -1])


def track(number: int, times: range, place: float) -> Track:
    times_ns = np.array([time * FRAME_NS for time in times], dtype=np.int64)
    return Track(number, times_ns, np.full((len(times_ns), 2, 3), place))


def test_each_person_is_followed_by_one_track() -> None:
    truths = [track(0, range(100), 0.0), track(1, range(100), 5.0)]
    tracks = [track(7, range(2, 100), 5.1), track(9, range(4, 100), 0.2)]
    first, second = follow(truths, tracks)
    assert (len(first.times_ns), len(second.times_ns)) == (96, 98)
    assert first.positions_m[0, 0, 0] == 0.2
    assert second.positions_m[0, 0, 0] == 5.1


def test_a_second_track_fills_in_only_where_the_first_was_lost() -> None:
    truth = [track(0, range(100), 0.0)]
    (followed,) = follow(truth, [track(1, range(10, 60), 0.1), track(2, range(40, 100), 0.5)])
    places = dict(zip((followed.times_ns // FRAME_NS).tolist(), followed.positions_m[:, 0, 0], strict=True))
    assert sorted(places) == list(range(10, 100))
    assert [places[time] for time in (10, 50, 59, 60, 99)] == [0.1, 0.1, 0.1, 0.5, 0.5]


def test_a_short_ghost_is_not_taken_for_the_person() -> None:
    truth = [track(0, range(100), 0.0)]
    (followed,) = follow(truth, [track(1, range(30, 40), 0.0), track(2, range(5, 100), 0.3)])
    assert (followed.positions_m[:, 0, 0] == 0.3).all()


def test_nobody_found_is_no_track() -> None:
    (followed,) = follow([track(0, range(10), 0.0)], [])
    assert len(followed.times_ns) == 0
    errors = pose_errors([track(0, range(10), 0.0)], [followed], 0)
    assert errors.coverage == 0.0
    assert np.isnan(errors.mpjpe_m)


def test_errors_of_a_whole_track_by_hand() -> None:
    truth = track(0, range(10), 0.0)
    estimate = Track(0, truth.times_ns[2:], truth.positions_m[2:].copy())
    estimate.positions_m[:, 1, 0] = 0.3
    estimate.positions_m[0] = 50.0
    errors = pose_errors([truth], [estimate], from_ns=3 * FRAME_NS)
    assert errors.coverage == 1.0
    assert errors.mpjpe_m == pytest.approx(0.15)
    assert errors.median_m == pytest.approx(0.15)
    np.testing.assert_allclose(errors.per_joint_m, [0.0, 0.3])
    assert np.isnan(errors.angle_rad)
    assert pose_errors([truth], [estimate], from_ns=0).coverage == pytest.approx(0.8)


def test_each_projected_person_meets_the_nearest_detection() -> None:
    people = np.array([[[0.0, 0.0], [10.0, 0.0]], [[100.0, 0.0], [110.0, np.nan]]])
    detections = np.array([[[103.0, 4.0], [110.0, 0.0]], [[0.0, 1.0], [10.0, 3.0]], [[500.0, 0.0], [500.0, 0.0]]])
    np.testing.assert_allclose(sorted(reprojection_distances(detections, people)), [1.0, 3.0, 5.0])
    assert len(reprojection_distances(detections[:0], people)) == 0


def test_percentiles() -> None:
    assert percentiles(np.arange(101), (50, 99)) == [50.0, 99.0]
    assert np.isnan(percentiles(np.array([]), (50,))).all()
