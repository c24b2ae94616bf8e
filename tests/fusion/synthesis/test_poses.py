"""The poses of a calibration, taken by the simulated wearer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fusion.body.skeleton import COORDINATE, REFERENCE_LENGTHS_M, SEGMENT, SEGMENT_NAMES
from fusion.maths import quaternion
from fusion.synthesis.actions import POSE_MOVE_S, Action, Pose, ScriptError, Stand
from fusion.synthesis.poses import ROOT_PLACE, draw_towards, held_pose
from fusion.synthesis.script import scripted_motion, sole_points

HEADING_RAD = 0.7


@pytest.mark.parametrize("pose", ["n_pose", "t_pose"])
def test_a_pose_is_held_upright_and_on_the_floor(pose: str) -> None:
    actions: list[Action] = [Stand(), Pose(pose=pose, duration_s=5.0), Stand()]  # type: ignore[arg-type]
    motion = scripted_motion(actions, REFERENCE_LENGTHS_M, heading_rad=HEADING_RAD, repeat=False)
    times_s = np.linspace(1.0 + POSE_MOVE_S + 0.2, 6.0 - POSE_MOVE_S - 0.2, 7)
    positions, q = motion.pose(times_s)
    facing = quaternion.from_rotvec([0.0, 0.0, HEADING_RAD])
    for name in SEGMENT_NAMES:
        arm = any(part in name for part in ("upper_arm", "forearm", "hand"))
        down = math.pi / 2 if name.startswith("right") else -math.pi / 2
        hanging = quaternion.from_rotvec([down, 0.0, 0.0]) if arm and pose == "n_pose" else quaternion.IDENTITY
        expected = quaternion.multiply(facing, hanging)
        assert float(quaternion.angle_between(q[:, SEGMENT[name]], expected).max()) < 1e-3, name
    lowest = sole_points(positions, q, REFERENCE_LENGTHS_M)[:, :, 2].min(axis=1)
    np.testing.assert_allclose(lowest, 0.0, atol=2e-3)


def test_none_of_a_pose_changes_nothing_and_all_of_it_only_leaves_the_place() -> None:
    random = np.random.default_rng(1)
    samples = 0.5 * random.standard_normal((5, 44))
    drawn = samples.copy()
    share = np.array([0.0, 0.0, 1.0, 1.0, 0.5])
    pose = held_pose("n_pose", HEADING_RAD)
    draw_towards(drawn, pose, share)
    np.testing.assert_allclose(drawn[:2], samples[:2], atol=1e-12)
    np.testing.assert_array_equal(drawn[:, ROOT_PLACE], samples[:, ROOT_PLACE])
    others = [k for k in range(44) if not ROOT_PLACE.start <= k < ROOT_PLACE.stop]
    np.testing.assert_allclose(drawn[2:4][:, others], np.tile(pose[others], (2, 1)), atol=1e-12)
    spine = COORDINATE["spine_x"]
    assert drawn[4, spine] == pytest.approx(0.5 * samples[4, spine])


def test_poses_that_cannot_be_taken_are_refused() -> None:
    with pytest.raises(ScriptError, match="'y_pose', allowed: n_pose, t_pose"):
        Pose(pose="y_pose")  # type: ignore[arg-type]
    with pytest.raises(ScriptError, match="pose: duration_s: 1"):
        Pose(duration_s=1.0)
