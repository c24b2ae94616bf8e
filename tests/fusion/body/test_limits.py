"""Ranges of the joints and the resting pose."""

from __future__ import annotations

import math

import numpy as np

from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.body.skeleton import COORDINATE, COORDINATE_NAMES, COORDINATES, JOINTS, REFERENCE_LENGTHS_M, SEGMENT
from fusion.maths import quaternion


def test_ranges_are_ranges_in_radians_and_the_same_on_both_sides() -> None:
    low, high = coordinate_limits()
    assert low.shape == high.shape == (COORDINATES,)
    assert (low < high).all()
    finite = np.isfinite(low)
    np.testing.assert_array_equal(finite, np.isfinite(high))
    assert (np.abs(np.concatenate([low[finite], high[finite]])) <= math.pi).all()
    for name in COORDINATE_NAMES:
        if name.startswith("left_"):
            left, right = COORDINATE[name], COORDINATE[name.replace("left_", "right_")]
            assert (low[left], high[left]) == (low[right], high[right])


def test_hinges_and_chains_have_ranges_balls_and_the_root_have_none() -> None:
    low, _ = coordinate_limits()
    for joint in JOINTS:
        expected = joint.freedom in ("hinges", "chain")
        assert all(np.isfinite(low[COORDINATE[name]]) == expected for name in joint.coordinates), joint.segment


def test_knees_and_elbows_bend_one_way() -> None:
    low, high = coordinate_limits()
    for name in ("left_elbow_flexion", "right_knee_flexion"):
        assert low[COORDINATE[name]] > math.radians(-10.0)
        assert high[COORDINATE[name]] > math.radians(140.0)


def test_the_resting_pose_is_legal_upright_and_has_its_arms_down() -> None:
    rest = resting_coordinates()
    low, high = coordinate_limits()
    assert ((rest >= low) & (rest <= high)).all()
    positions, quaternions = forward_kinematics(rest, REFERENCE_LENGTHS_M)
    np.testing.assert_array_equal(positions[0], np.zeros(3))
    for side, outward in (("left", 1.0), ("right", -1.0)):
        shoulder, wrist, ankle = (positions[SEGMENT[f"{side}_{name}"]] for name in ("upper_arm", "hand", "foot"))
        assert shoulder[2] - wrist[2] > 0.5
        assert outward * (wrist[1] - shoulder[1]) > 0.0
        assert wrist[0] > shoulder[0]  # slightly bent, forward
        assert ankle[2] < -0.85
        palm = quaternion.rotate(quaternions[SEGMENT[f"{side}_hand"]], [0.0, 0.0, -1.0])
        assert outward * palm[1] < -0.9  # to the thigh
    np.testing.assert_allclose(
        positions[SEGMENT["left_hand"]], positions[SEGMENT["right_hand"]] * [1.0, -1.0, 1.0], atol=1e-12
    )
