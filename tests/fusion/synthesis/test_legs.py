"""Legs in closed form: what is solved puts the foot where it was wanted."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.body.kinematics import forward_kinematics
from fusion.body.skeleton import COORDINATE, COORDINATES, LENGTH, REFERENCE_LENGTHS_M, SEGMENT
from fusion.maths import quaternion
from fusion.synthesis.legs import rotation_x, rotation_y, rotation_z, solve_leg


@pytest.mark.parametrize(("side", "sign"), [("left", 1.0), ("right", -1.0)])
def test_kinematics_of_the_solution_reach_the_wanted_foot(side: str, sign: float) -> None:
    random = np.random.default_rng(4)
    count = 40
    pelvis = rotation_z(random.uniform(-3, 3, count)) @ rotation_y(random.uniform(-0.4, 0.5, count))
    root = np.array([0.3, -0.2, 0.9])
    hip = root + pelvis @ np.array([0.0, sign * 0.0874, 0.0])
    heading = np.arctan2(pelvis[:, 1, 0], pelvis[:, 0, 0]) + random.uniform(-0.4, 0.4, count)
    foot = rotation_z(heading) @ rotation_y(random.uniform(-0.3, 0.6, count))
    ankle = hip + rotation_z(heading) @ np.array([0.1, 0.03, -0.7]) + random.uniform(-0.08, 0.08, (count, 3))
    thigh, shank = REFERENCE_LENGTHS_M[LENGTH["thigh"]], REFERENCE_LENGTHS_M[LENGTH["shank"]]
    solved = solve_leg(hip, ankle, pelvis, foot, thigh, shank, sign)
    hips = quaternion.to_rotvec(quaternion.from_matrix(solved.r_pelvis_from_thigh))
    roots = quaternion.to_rotvec(quaternion.from_matrix(pelvis))
    for i in range(count):
        coordinates = np.zeros(COORDINATES)
        coordinates[:3], coordinates[3:6] = root, roots[i]
        for k, axis in enumerate("xyz"):
            coordinates[COORDINATE[f"{side}_hip_{axis}"]] = hips[i, k]
        coordinates[COORDINATE[f"{side}_knee_flexion"]] = solved.knee_flexion_rad[i]
        coordinates[COORDINATE[f"{side}_ankle_dorsiflexion"]] = solved.ankle_dorsiflexion_rad[i]
        coordinates[COORDINATE[f"{side}_ankle_inversion"]] = solved.ankle_inversion_rad[i]
        positions, quaternions = forward_kinematics(coordinates, REFERENCE_LENGTHS_M)
        np.testing.assert_allclose(positions[SEGMENT[f"{side}_foot"]], ankle[i], atol=1e-9)
        np.testing.assert_allclose(quaternion.to_matrix(quaternions[SEGMENT[f"{side}_foot"]]), foot[i], atol=1e-9)


def test_a_foot_out_of_reach_is_pulled_in_along_the_line_to_the_hip() -> None:
    still = np.eye(3)[None]
    solved = solve_leg(np.zeros((1, 3)), np.array([[0.0, 0.0, -5.0]]), still, still, 0.45, 0.4, 1.0)
    assert np.isfinite(solved.r_pelvis_from_thigh).all()
    assert 0.0 < solved.knee_flexion_rad[0] < 0.2


def test_rotations_turn_the_first_axis_towards_the_second() -> None:
    angle = np.array([0.3])
    np.testing.assert_allclose(rotation_x(angle)[0] @ [0, 1, 0], [0, np.cos(0.3), np.sin(0.3)])
    np.testing.assert_allclose(rotation_y(angle)[0] @ [0, 0, 1], [np.sin(0.3), 0, np.cos(0.3)])
    np.testing.assert_allclose(rotation_z(angle)[0] @ [1, 0, 0], [np.cos(0.3), np.sin(0.3), 0])
