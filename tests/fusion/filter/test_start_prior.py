"""How usual a pose is: the same for both sides, whatever place and heading; low for people, high for no body."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.body.skeleton import COORDINATE, COORDINATE_NAMES
from fusion.filter.start_prior import mirrored, pose_surprise
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.scenes import legal_pose


def mirror(pose: Float64) -> Float64:
    """The pose seen in a mirror that stands in the x-z plane."""
    out = pose.copy()
    for name, index in COORDINATE.items():
        other = name.replace("left_", "right_") if "left_" in name else name.replace("right_", "left_")
        sign = -1.0 if other.endswith(("arm_x", "arm_z", "hip_x", "hip_z")) else 1.0
        out[COORDINATE[other]] = sign * pose[index]
    signs = {"root_py": -1, "root_rx": -1, "root_rz": -1, "spine_x": -1, "spine_z": -1, "neck_x": -1, "neck_z": -1}
    for name, sign in signs.items():
        out[COORDINATE[name]] = sign * pose[COORDINATE[name]]
    return out


def test_a_mirror_image_is_as_usual() -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        pose = legal_pose(random)
        assert pose_surprise(mirror(pose)) == pytest.approx(float(pose_surprise(pose)))
        assert np.abs(mirror(pose) - pose).max() > 0.1


def test_place_and_heading_do_not_matter() -> None:
    random = np.random.default_rng(2)
    pose = legal_pose(random)
    pose[3:6] = 0.3, 0.2, 0.1
    turned = pose.copy()
    turned[:3] += random.normal(size=3)
    turn = quaternion.from_rotvec([0.0, 0.0, 2.0])
    turned[3:6] = quaternion.to_rotvec(quaternion.multiply(turn, quaternion.from_rotvec(pose[3:6])))
    assert pose_surprise(turned) == pytest.approx(float(pose_surprise(pose)))


def test_many_poses_at_once_are_each_on_its_own() -> None:
    random = np.random.default_rng(3)
    poses = np.array([legal_pose(random) for _ in range(6)]).reshape(2, 3, -1)
    alone = [[float(pose_surprise(pose)) for pose in row] for row in poses]
    np.testing.assert_allclose(pose_surprise(poses), alone)


def test_what_no_body_does_is_more_surprising() -> None:
    rest = resting_coordinates()
    upright = float(pose_surprise(rest))

    def changed(**turns_deg: float) -> float:
        pose = rest.copy()
        for name, angle in turns_deg.items():
            pose[COORDINATE[name]] = math.radians(angle)
        return float(pose_surprise(pose))

    assert changed(root_ry=180.0) > upright + 10.0
    # A knee that bends the wrong way is a thigh that is turned round.
    assert changed(left_hip_z=180.0) > upright + 10.0
    assert changed(left_knee_flexion=-20.0) > upright + 25.0
    assert changed(left_hip_y=-60.0, left_knee_flexion=80.0) < changed(left_hip_y=60.0, left_knee_flexion=80.0) - 5.0


def test_a_broken_limit_costs_what_its_sigma_says() -> None:
    """Three degrees past the limit are one standard deviation, on top of how unusual the limit itself is."""
    _, high = coordinate_limits()
    pose = resting_coordinates()
    index = COORDINATE["right_ankle_inversion"]
    costs = []
    for past_deg in (0.0, 30.0):
        pose[index] = high[index] + math.radians(past_deg)
        costs.append(float(pose_surprise(pose)))
    assert costs[1] - costs[0] > 100.0


def test_mirrored_rotations_are_mirror_images() -> None:
    """M R M for the reflection M of y."""
    random = np.random.default_rng(5)
    q = quaternion.from_rotvec(random.normal(size=(10, 3)))
    reflection = np.diag([1.0, -1.0, 1.0])
    np.testing.assert_allclose(
        quaternion.to_matrix(mirrored(q, "right")), reflection @ quaternion.to_matrix(q) @ reflection, atol=1e-12
    )
    np.testing.assert_array_equal(mirrored(q, "left"), q)


def test_every_name_is_known() -> None:
    """A coordinate that is left out of the tables would be free: each one moves the sum, but place and heading."""
    pose = resting_coordinates()
    pose[3:6] = 0.2, 0.3, 0.0
    for index, name in enumerate(COORDINATE_NAMES):
        moved = pose.copy()
        moved[index] += 0.3
        if name not in ("root_px", "root_py", "root_pz", "root_rz"):
            assert abs(float(pose_surprise(moved) - pose_surprise(pose))) > 1e-3, name
