"""The poses are those of the body's own kinematics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.inertial.poses import kind_of, other_side, part_of, q_body_from_segment, side_of
from fusion.body.kinematics import forward_kinematics
from fusion.body.skeleton import COORDINATE, COORDINATES, REFERENCE_LENGTHS_M, SEGMENT, SEGMENT_NAMES
from fusion.maths import quaternion


def coordinates(step: str) -> np.ndarray:  # type: ignore[type-arg]
    pose = np.zeros(COORDINATES)
    if step == "n_pose":
        pose[COORDINATE["right_arm_x"]], pose[COORDINATE["left_arm_x"]] = math.pi / 2, -math.pi / 2
    return pose


@pytest.mark.parametrize("step", ["n_pose", "t_pose"])
def test_segments_stand_as_forward_kinematics_says(step: str) -> None:
    positions, q = forward_kinematics(coordinates(step), REFERENCE_LENGTHS_M)
    for name in SEGMENT_NAMES:
        assert float(quaternion.angle_between(q_body_from_segment(step, name), q[SEGMENT[name]])) < 1e-7, name
    hands = positions[SEGMENT["left_hand"]], positions[SEGMENT["right_hand"]]
    shoulders = positions[SEGMENT["left_upper_arm"]], positions[SEGMENT["right_upper_arm"]]
    for hand, shoulder, sign in zip(hands, shoulders, (1.0, -1.0), strict=True):
        arm = hand - shoulder
        expected = [0.0, 0.0, -1.0] if step == "n_pose" else [0.0, sign, 0.0]
        np.testing.assert_allclose(arm / np.linalg.norm(arm), expected, atol=1e-7)


@pytest.mark.parametrize("name", SEGMENT_NAMES)
def test_names_tell_side_and_kind(name: str) -> None:
    assert other_side(other_side(name)) == name
    assert (other_side(name) == name) == (side_of(name) == "")
    assert part_of(name) == part_of(other_side(name))
    assert kind_of(name) == kind_of(other_side(name))


def test_there_are_six_arm_and_eight_leg_segments() -> None:
    kinds = [kind_of(name) for name in SEGMENT_NAMES]
    assert (kinds.count("arm"), kinds.count("leg"), kinds.count("trunk")) == (6, 8, 9)
