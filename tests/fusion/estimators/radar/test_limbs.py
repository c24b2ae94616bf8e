"""Radial velocities of limbs: each point to its limb, each limb once."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.body.kinematics import forward_kinematics
from fusion.body.skeleton import COORDINATES, REFERENCE_LENGTHS_M, SEGMENT
from fusion.estimators.radar.limbs import LimbSpeeds, limb_speeds
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.body.twin import random_coordinates, random_lengths

RADAR_M = np.array([3.0, 0.0, 1.0])
JOINTS_M = forward_kinematics(np.zeros(COORDINATES), REFERENCE_LENGTHS_M)[0]


def told(points_m: Float64, speeds_m_s: Float64, joints_m: Float64 = JOINTS_M) -> LimbSpeeds:
    return limb_speeds(
        points_m, speeds_m_s, RADAR_M, joints_m, REFERENCE_LENGTHS_M, reach_m=0.3, min_speed_m_s=0.2
    )  # fmt: skip


def middle(segment: str, end: str) -> Float64:
    return np.asarray(0.5 * (JOINTS_M[SEGMENT[segment]] + JOINTS_M[SEGMENT[end]]))


def test_points_of_one_limb_are_taken_together() -> None:
    forearm = middle("left_forearm", "left_hand")
    found = told(np.tile(forearm, (4, 1)), np.array([0.5, 0.7, 0.6, 0.1]))
    assert found.segment.tolist() == [SEGMENT["left_forearm"]]
    assert found.points.tolist() == [3]  # the slow one says nothing
    np.testing.assert_allclose(found.radial_velocity_m_s, [0.6])
    np.testing.assert_allclose(JOINTS_M[SEGMENT["left_forearm"]] + found.offset_m[0], forearm, atol=1e-9)
    np.testing.assert_allclose(found.directions[0], (forearm - RADAR_M) / np.linalg.norm(forearm - RADAR_M))


def test_the_trunk_and_what_is_far_from_every_limb_are_left_out() -> None:
    points = np.stack([middle("l5", "l3"), np.array([0.0, 3.0, 1.0])])
    found = told(points, np.array([1.0, 1.0]))
    assert len(found.segment) == 0
    assert found.offset_m.shape == (0, 3)
    assert found.directions.shape == (0, 3)


def test_no_points_no_limbs() -> None:
    assert len(told(np.empty((0, 3)), np.empty(0)).segment) == 0


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_the_place_on_the_limb_is_on_its_bone_in_any_pose(seed: int) -> None:
    """The offset in the segment's own frame leads, turned by its orientation, to the middle of the bone."""
    random = np.random.default_rng(seed)
    lengths = random_lengths(random)
    positions, turns = forward_kinematics(random_coordinates(random), lengths)
    segment, end = SEGMENT["right_lower_leg"], SEGMENT["right_foot"]
    point = 0.5 * (positions[segment] + positions[end])
    found = limb_speeds(
        point[None], np.array([1.0]), RADAR_M, positions, lengths, reach_m=0.3, min_speed_m_s=0.2
    )  # fmt: skip
    if found.segment.tolist() == [segment]:
        reached = positions[segment] + quaternion.rotate(turns[segment], found.offset_m[0])
        np.testing.assert_allclose(reached, point, atol=1e-9)


def test_permuted_points_say_the_same() -> None:
    random = np.random.default_rng(3)
    points, speeds = JOINTS_M[random.integers(0, 23, 40)] + random.normal(0, 0.1, (40, 3)), random.normal(0, 1, 40)
    order = random.permutation(40)
    one, other = told(points, speeds), told(points[order], speeds[order])
    np.testing.assert_array_equal(one.segment, other.segment)
    np.testing.assert_allclose(one.radial_velocity_m_s, other.radial_velocity_m_s)
