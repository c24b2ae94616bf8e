"""The trunk as a radar sees it: a known cluster gives the known place, whatever limb its points gather on."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.body.kinematics import forward_kinematics
from fusion.body.skeleton import COORDINATE, COORDINATES, REFERENCE_LENGTHS_M, SEGMENT, SEGMENTS
from fusion.estimators.radar.trunk import TRUNK, TrunkCluster, expected_offset, trunk_cluster
from fusion.maths import quaternion
from fusion.records import Float64
from fusion.rig import RadarMount

MOUNT = RadarMount(
    name="door",
    r_world_from_radar=quaternion.to_matrix(quaternion.from_rotvec([0.0, 0.0, 0.7])),
    position_world_m=np.array([-1.0, -2.0, 1.1]),
)
MIN_POINTS, SURFACE_M, MOVING_M_S = 6, 0.04, 0.3
STILL = np.zeros((SEGMENTS, 3))


def standing() -> Float64:
    """Joints [23, 3] of somebody who stands at (0.5, 0.4)."""
    coordinates = np.zeros(COORDINATES)
    coordinates[[COORDINATE["root_px"], COORDINATE["root_py"], COORDINATE["root_pz"]]] = 0.5, 0.4, 0.95
    return forward_kinematics(coordinates, REFERENCE_LENGTHS_M)[0]


JOINTS_M = standing()


def cluster(
    points_m: Float64, speeds_m_s: Float64 | None = None, velocities_m_s: Float64 = STILL
) -> TrunkCluster | None:
    speeds = np.zeros(len(points_m)) if speeds_m_s is None else speeds_m_s
    return trunk_cluster(
        points_m,
        speeds,
        MOUNT,
        JOINTS_M,
        velocities_m_s,
        min_points=MIN_POINTS,
        surface_m=SURFACE_M,
        moving_m_s=MOVING_M_S,
    )


def about(centre_m: Float64, count: int = 9) -> Float64:
    """Points on a small cloud whose middle is the given place."""
    offsets = np.random.default_rng(1).uniform(-0.05, 0.05, (count, 3))
    return np.asarray(centre_m + offsets - (offsets.mean(0) if count else 0.0))


def test_points_where_they_are_expected_put_the_trunk_where_it_is() -> None:
    offset, _ = expected_offset(MOUNT.position_world_m, JOINTS_M, STILL, MOVING_M_S)
    centre = JOINTS_M[TRUNK] + offset
    away = (centre - MOUNT.position_world_m) / np.linalg.norm(centre - MOUNT.position_world_m)
    found = cluster(about(centre - SURFACE_M * away), np.full(9, -0.4))
    assert found is not None
    np.testing.assert_allclose(found.position_m, JOINTS_M[TRUNK], atol=1e-3)
    np.testing.assert_allclose(found.directions[0], away, atol=1e-9)
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(3), atol=1e-12)
    assert found.directions[2, 2] > 0.9
    assert found.distance_m == pytest.approx(np.linalg.norm(centre - SURFACE_M * away - MOUNT.position_world_m))
    assert found.radial_velocity_m_s == pytest.approx(-0.4)


def test_a_swinging_arm_draws_the_points_but_not_the_trunk() -> None:
    """Only the forearm comes at the radar: nearly all points are expected on that arm, and its speed is not the
    trunk's."""
    velocities = STILL.copy()
    towards = MOUNT.position_world_m - JOINTS_M[SEGMENT["right_forearm"]]
    towards /= np.linalg.norm(towards)
    velocities[SEGMENT["right_hand"]] = velocities[SEGMENT["right_forearm"]] = towards
    offset, drift = expected_offset(MOUNT.position_world_m, JOINTS_M, velocities, MOVING_M_S)
    arm = 0.5 * (JOINTS_M[SEGMENT["right_forearm"]] + JOINTS_M[SEGMENT["right_hand"]]) - JOINTS_M[TRUNK]
    still, _ = expected_offset(MOUNT.position_world_m, JOINTS_M, STILL, MOVING_M_S)
    assert np.linalg.norm(offset - arm) < 0.5 * np.linalg.norm(still - arm)
    assert drift < -0.3


def test_all_that_moves_alike_is_expected_to_recede_as_the_trunk_does() -> None:
    sight = JOINTS_M[TRUNK] - MOUNT.position_world_m
    velocities = np.tile(sight / np.linalg.norm(sight), (SEGMENTS, 1))
    _, drift = expected_offset(MOUNT.position_world_m, JOINTS_M, velocities, MOVING_M_S)
    assert abs(drift) < 0.05


@pytest.mark.parametrize(
    "points",
    [
        about(JOINTS_M[TRUNK], MIN_POINTS - 1),
        np.empty((0, 3)),
        about(MOUNT.position_world_m),
        about(MOUNT.position_world_m + np.array([0.0, 0.0, 0.7])),
    ],
    ids=["too few", "none", "at the radar itself", "straight above"],
)
def test_nothing_is_said_of_what_cannot_be_used(points: Float64) -> None:
    assert cluster(points) is None
