"""The trunk as a radar sees it: a known cluster gives the known place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion.estimators.radar.trunk import TrunkCluster, trunk_cluster
from fusion.maths import quaternion
from fusion.records import Float64, RadarPoints
from fusion.rig import RadarMount

MOUNT = RadarMount(
    name="door",
    r_world_from_radar=quaternion.to_matrix(quaternion.from_rotvec([0.0, 0.0, 0.7])),
    position_world_m=np.array([-1.0, -2.0, 1.1]),
)
TRUNK_M = np.array([0.5, 0.4, 1.2])
REACH_M, MIN_POINTS, SURFACE_M = 0.9, 6, 0.08
COUNT = 9


def frame(centre_m: Float64 = TRUNK_M, count: int = COUNT) -> RadarPoints:
    """Points on a small cross about a place in the world, and a few of somebody else."""
    random = np.random.default_rng(1)
    offsets = random.uniform(-0.05, 0.05, (count, 3))
    offsets -= np.median(offsets, axis=0) if count else 0.0
    world = np.concatenate([centre_m + offsets, np.array([3.0, 3.0, 1.0]) + random.normal(size=(4, 3)) * 0.1])
    velocities = np.concatenate([np.full(count, -0.4), np.full(4, 2.0)])
    return RadarPoints(
        measured_ns=1,
        received_ns=1,
        radar="door",
        frame=0,
        positions_m=((world - MOUNT.position_world_m) @ MOUNT.r_world_from_radar).astype(np.float32),
        radial_velocities_m_s=velocities.astype(np.float32),
        snrs_db=np.zeros(count + 4, np.float32),
    )


def cluster(record: RadarPoints, trunk_m: Float64 = TRUNK_M) -> TrunkCluster | None:
    return trunk_cluster(record, MOUNT, trunk_m, reach_m=REACH_M, min_points=MIN_POINTS, surface_m=SURFACE_M)


def test_the_cluster_lies_where_it_was_put() -> None:
    found = cluster(frame())
    assert found is not None
    away = (TRUNK_M - MOUNT.position_world_m) / np.linalg.norm(TRUNK_M - MOUNT.position_world_m)
    np.testing.assert_allclose(found.position_m, TRUNK_M + SURFACE_M * away, atol=1e-6)
    np.testing.assert_allclose(found.directions[0], away, atol=1e-6)
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(3), atol=1e-12)
    assert found.directions[2, 2] > 0.9
    assert found.distance_m == pytest.approx(np.linalg.norm(TRUNK_M - MOUNT.position_world_m), abs=1e-6)
    assert found.radial_velocity_m_s == pytest.approx(-0.4)


@pytest.mark.parametrize(
    ("record", "trunk_m"),
    [
        (frame(count=MIN_POINTS - 1), TRUNK_M),
        (frame(count=0), TRUNK_M),
        (frame(), TRUNK_M + np.array([1.5, 0.0, 0.0])),
        (replace(frame(), radial_velocities_m_s=np.full(COUNT + 4, np.nan, np.float32)), TRUNK_M),
        (replace(frame(), positions_m=np.full((COUNT + 4, 3), np.nan, np.float32)), TRUNK_M),
        (frame(MOUNT.position_world_m), MOUNT.position_world_m),
    ],
    ids=["too few", "none", "elsewhere", "no velocity", "no position", "at the radar itself"],
)
def test_nothing_is_said_without_points_near_the_person(record: RadarPoints, trunk_m: Float64) -> None:
    assert cluster(record, trunk_m) is None
