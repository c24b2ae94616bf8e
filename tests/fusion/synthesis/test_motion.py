"""The scripted wearer: smooth, within limits, feet on the floor, a closed round."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fusion.body.skeleton import COORDINATE, LENGTH, SEGMENT
from fusion.synthesis.actions import (
    DEFAULT_SCRIPT,
    DEFAULT_START_M,
    Circle,
    Reach,
    ScriptError,
    Squat,
    Stand,
    Turn,
    Walk,
    closed,
    end_of,
)
from fusion.synthesis.motion import BodyMotion, draw_lengths
from fusion.synthesis.script import scripted_motion, sole_points

LENGTHS_M = draw_lengths(3, 1.72)
RATE_HZ = 200.0
LIMITS_RAD = {
    "hip_y": (-2.3, 0.6), "hip_x": (-0.6, 0.6), "hip_z": (-0.8, 0.8),
    "knee_flexion": (0.0, 2.5), "ankle_dorsiflexion": (-1.0, 1.0), "ankle_inversion": (-0.6, 0.6),
    "toe_extension": (-0.1, 1.0), "elbow_flexion": (0.0, 2.6), "forearm_pronation": (-1.4, 1.4),
    "shoulder_elevation": (-0.2, 0.6), "shoulder_protraction": (-0.5, 0.5), "wrist_flexion": (-1.2, 1.2),
}  # fmt: skip


@pytest.fixture(scope="module")
def motion() -> BodyMotion:
    return scripted_motion(DEFAULT_SCRIPT, LENGTHS_M, seed=5)


@pytest.fixture(scope="module")
def times(motion: BodyMotion) -> np.ndarray:
    return np.arange(0.0, motion.duration_s, 1.0 / RATE_HZ)


def test_angles_stay_within_what_joints_allow(motion: BodyMotion, times: np.ndarray) -> None:
    coordinates = motion.coordinates(times)
    for name, (low, high) in LIMITS_RAD.items():
        for side in ("left", "right"):
            angle = coordinates[:, COORDINATE[f"{side}_{name}"]]
            assert low <= angle.min(), f"{side}_{name}"
            assert angle.max() <= high, f"{side}_{name}"


def test_joints_move_as_in_walking_squatting_and_reaching(motion: BodyMotion, times: np.ndarray) -> None:
    coordinates = motion.coordinates(times)
    for side in ("left", "right"):
        assert np.ptp(coordinates[:, COORDINATE[f"{side}_knee_flexion"]]) > 1.3
        assert coordinates[:, COORDINATE[f"{side}_hip_y"]].min() < -1.2
        assert np.ptp(coordinates[:, COORDINATE[f"{side}_arm_z"]]) > 0.8


def test_arms_swing_against_the_legs() -> None:
    walk = scripted_motion([Walk(distance_m=8.0)], LENGTHS_M, start_m=(0.0, 0.0), repeat=False)
    positions, _ = walk.pose(np.arange(2.0, 6.0, 0.01))
    pelvis = positions[:, SEGMENT["pelvis"], 0]

    def forward(segment: str) -> np.ndarray:
        return positions[:, SEGMENT[segment], 0] - pelvis

    assert np.corrcoef(forward("right_hand"), forward("left_foot"))[0, 1] > 0.8
    assert np.corrcoef(forward("right_foot"), forward("left_foot"))[0, 1] < -0.8


def test_the_lowest_sole_point_touches_the_floor(motion: BodyMotion, times: np.ndarray) -> None:
    lowest = sole_points(*motion.pose(times), LENGTHS_M)[:, :, 2].min(axis=1)
    assert np.abs(lowest).max() < 0.005
    assert np.abs(lowest).mean() < 0.001


def test_a_foot_on_the_floor_does_not_slide(motion: BodyMotion, times: np.ndarray) -> None:
    soles = sole_points(*motion.pose(times), LENGTHS_M)
    for ball in (1, 4):
        speed = np.linalg.norm(np.diff(soles[:, ball, :2], axis=0), axis=1) * RATE_HZ
        planted = soles[1:, ball, 2] < 0.002
        assert planted.mean() > 0.4
        assert np.median(speed[planted]) < 0.005
        assert np.percentile(speed[planted], 90) < 0.15


def test_the_movement_is_smooth(motion: BodyMotion) -> None:
    """Accelerations are those of a person and have no jumps, at the seam of the round neither."""
    around = np.arange(-1.0, motion.duration_s + 1.0, 1e-3)
    positions, _ = motion.pose(around)
    acceleration = np.diff(positions, 2, axis=0) * 1e6
    assert np.linalg.norm(acceleration, axis=2).max() < 70.0
    assert np.linalg.norm(np.diff(acceleration, axis=0), axis=2).max() < 5.0


def test_repeating_closes_the_round(motion: BodyMotion) -> None:
    ends = motion.coordinates(np.array([0.0, motion.duration_s, 3.0, 3.0 + motion.duration_s]))
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-6)
    np.testing.assert_allclose(ends[2], ends[3], atol=1e-6)


def test_without_repeating_the_last_pose_is_held() -> None:
    once = scripted_motion([Walk(distance_m=1.0)], LENGTHS_M, start_m=(0.5, 0.0), repeat=False)
    held = once.coordinates(np.array([once.duration_s, once.duration_s + 9.0]))
    np.testing.assert_array_equal(held[0], held[1])
    assert held[0, COORDINATE["root_px"]] == pytest.approx(1.5, abs=0.02)


@pytest.mark.parametrize(
    ("actions", "end"),
    [
        ((Walk(distance_m=2.0), Turn(angle_rad=math.pi / 2), Walk(distance_m=1.0)), (2.0, 1.0, math.pi / 2)),
        ((Circle(radius_m=1.0, angle_rad=math.pi),), (0.0, 2.0, math.pi)),
        ((Circle(radius_m=2.0, angle_rad=-math.pi / 2),), (2.0, -2.0, -math.pi / 2)),
        ((Stand(), Squat(), Reach()), (0.0, 0.0, 0.0)),
    ],
)
def test_the_body_ends_where_the_script_says(actions: tuple, end: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(end_of(actions, (0.0, 0.0), 0.0), end, atol=1e-12)
    motion = scripted_motion(actions, LENGTHS_M, start_m=(0.0, 0.0), repeat=False)
    last = motion.coordinates(np.array([motion.duration_s]))[0]
    np.testing.assert_allclose(last[:2], end[:2], atol=0.02)


def test_the_closing_walk_leads_home() -> None:
    x, y, heading = end_of(closed(DEFAULT_SCRIPT, DEFAULT_START_M, 0.3), DEFAULT_START_M, 0.3)
    np.testing.assert_allclose((x, y), DEFAULT_START_M, atol=1e-9)
    assert math.remainder(heading - 0.3, 2.0 * math.pi) == pytest.approx(0.0, abs=1e-9)


def test_same_seed_same_movement(motion: BodyMotion, times: np.ndarray) -> None:
    again = scripted_motion(DEFAULT_SCRIPT, LENGTHS_M, seed=5)
    other = scripted_motion(DEFAULT_SCRIPT, LENGTHS_M, seed=6)
    np.testing.assert_array_equal(motion.coordinates(times), again.coordinates(times))
    assert np.abs(motion.coordinates(times) - other.coordinates(times)).max() > 1e-3


def test_proportions_follow_stature_and_seed() -> None:
    small, tall = draw_lengths(1, 1.5), draw_lengths(1, 1.8)
    np.testing.assert_allclose(tall / small, 1.2)
    assert not np.array_equal(draw_lengths(1, 1.7), draw_lengths(2, 1.7))
    drawn = np.array([draw_lengths(seed, 1.78) for seed in range(300)])
    assert drawn[:, LENGTH["thigh"]].mean() == pytest.approx(0.4671, rel=0.01)
    assert drawn[:, LENGTH["thigh"]].std() / 0.4671 == pytest.approx(0.04, rel=0.2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Walk(distance_m=-1.0),
        lambda: Walk(speed_m_s=5.0),
        lambda: Circle(radius_m=0.1),
        lambda: Squat(depth=1.5),
        lambda: Reach(side="up"),
        lambda: Stand(duration_s=0.0),
        lambda: Turn(rate_rad_s=100.0),
    ],
)
def test_what_nobody_can_do_is_refused_with_the_allowed_values(wrong) -> None:
    with pytest.raises(ScriptError, match="allowed"):
        wrong()


def test_an_empty_script_is_refused() -> None:
    with pytest.raises(ScriptError, match="expected at least one"):
        scripted_motion([], LENGTHS_M)
