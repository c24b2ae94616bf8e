"""The whole calibration: random poses recovered, laws of it, and what is refused with which words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.radar.practice import RADAR, Placed, exact, placed, seen, walker
from calibration.radar.recording import NS_PER_S, Frames, Trail, gather_frames
from calibration.radar.result import RadarCalibration, RadarCalibrationParams, to_values
from calibration.radar.solve import calibrate, claimed_95
from fusion.maths import quaternion
from fusion.records import Float64
from fusion.synthesis.actions import Circle, Stand, Turn, Walk
from fusion.synthesis.params import RadarParams


class Played:
    """A person, a radar, what both told, and what was made of it."""

    def __init__(self, seed: int, *, level: bool = False) -> None:
        self.person = walker(seed)
        self.radar: Placed = placed(seed, self.person, level=level)
        self.frames: Frames = gather_frames(seen(self.radar, self.person, seed), RADAR)
        self.trail: Trail = exact(self.person)
        self.found: RadarCalibration = calibrate(self.frames, self.trail)


@pytest.fixture(scope="module")
def played() -> Played:
    return Played(21)


def turned_deg(one: Float64, other: Float64) -> float:
    return math.degrees(float(np.linalg.norm(quaternion.to_rotvec(quaternion.from_matrix(one.T @ other)))))


def errors(found: RadarCalibration, radar: Placed) -> tuple[float, float, float]:
    """Degrees, centimetres, milliseconds."""
    assert found.pose is not None
    return (
        turned_deg(found.pose.r_world_from_radar, radar.mount.r_world_from_radar),
        100.0 * float(np.linalg.norm(found.pose.position_world_m - radar.mount.position_world_m)),
        1e3 * abs(found.pose.time_offset_s - radar.time_offset_s),
    )


def within_goals(found: RadarCalibration, radar: Placed) -> bool:
    degrees, centimetres, milliseconds = errors(found, radar)
    return degrees < 2.0 and centimetres < 5.0 and milliseconds < 10.0


# ---------------------------------------------------------------- recovered


def test_a_pose_and_an_offset_are_recovered_without_any_guess(played: Played) -> None:
    assert played.found.accepted, played.found.findings
    assert within_goals(played.found, played.radar), errors(played.found, played.radar)
    assert played.found.seconds > 20.0
    assert played.found.body_points > 0.8 * played.found.points
    noise = {residual.name: residual.rms / residual.usual for residual in played.found.residuals}
    assert all(0.85 < ratio < 1.15 for ratio in noise.values()), noise


@pytest.mark.parametrize("seed", [22, 23])
def test_so_are_others(seed: int) -> None:
    played = Played(seed)
    assert played.found.accepted
    assert within_goals(played.found, played.radar), errors(played.found, played.radar)


def test_a_radar_of_other_noise_that_sees_less_is_recovered_too(played: Played) -> None:
    other = RadarParams(range_noise_m=0.13, azimuth_noise_rad=0.08, full_speed_m_s=0.8, clutter_points=6.0)
    frames = gather_frames(seen(played.radar, played.person, 5, other), RADAR)
    found = calibrate(frames, played.trail)
    assert within_goals(found, played.radar), errors(found, played.radar)
    noise = {residual.name: residual.rms for residual in found.residuals}
    assert noise["range"] == pytest.approx(0.13, rel=0.15)
    assert noise["azimuth"] == pytest.approx(math.degrees(0.08), rel=0.15)
    assert found.body_points < 0.95 * found.points


def test_a_body_that_reflects_otherwise_is_learned(played: Played) -> None:
    """Feet as often as the trunk: with the usual shares the pose would be too low by a hand."""
    frames = gather_frames(seen(played.radar, played.person, 21, even=True), RADAR)
    learned, kept = (
        calibrate(frames, played.trail, RadarCalibrationParams(share_points=points)) for points in (20.0, 1e9)
    )
    assert within_goals(learned, played.radar), errors(learned, played.radar)
    assert errors(kept, played.radar)[1] > 1.5 * errors(learned, played.radar)[1]


def test_constant_errors_of_the_radar_s_angles_turn_the_pose(played: Played) -> None:
    frames = gather_frames(seen(played.radar, played.person, 21, biased=True), RADAR)
    found = calibrate(frames, played.trail)
    turned, centimetres, milliseconds = errors(found, played.radar)
    assert 1.0 < turned < 2.6
    assert centimetres < 5.0
    assert milliseconds < 10.0


def test_the_world_can_be_turned(played: Played) -> None:
    """Another world, the same radar in the room: the pose moves with the world."""
    assert played.found.pose is not None
    q = quaternion.from_rotvec(np.array([0.3, -0.2, 2.0]))
    turn, shift = quaternion.to_matrix(q), np.array([5.0, -7.0, 0.4])
    moved = replace(
        played.trail,
        positions_m=played.trail.positions_m @ turn.T + shift,
        q_world_from_segment=quaternion.multiply(q, played.trail.q_world_from_segment),
    )
    found = calibrate(played.frames, moved)
    assert found.pose is not None
    assert turned_deg(found.pose.r_world_from_radar, turn @ played.found.pose.r_world_from_radar) < 0.05
    np.testing.assert_allclose(
        found.pose.position_world_m, turn @ played.found.pose.position_world_m + shift, atol=3e-3
    )
    assert found.pose.time_offset_s == pytest.approx(played.found.pose.time_offset_s, abs=3e-4)


def test_later_stamps_are_a_larger_offset_and_nothing_else(played: Played) -> None:
    assert played.found.pose is not None
    early = replace(played.frames, times_ns=played.frames.times_ns - 400_000_000)
    found = calibrate(early, played.trail)
    assert found.pose is not None
    assert found.pose.time_offset_s == pytest.approx(played.found.pose.time_offset_s - 0.4, abs=1e-3)
    assert turned_deg(found.pose.r_world_from_radar, played.found.pose.r_world_from_radar) < 0.05


def test_what_is_known_of_the_tilt_makes_the_rotation_surer() -> None:
    played = Played(24, level=True)
    told = calibrate(played.frames, played.trail, level_down_rad=0.0)
    assert told.pose is not None
    assert played.found.pose is not None
    assert told.pose.rotation_95_rad <= played.found.pose.rotation_95_rad
    up = told.pose.r_world_from_radar[:, 2]
    assert math.degrees(math.acos(up[2])) < 1.0
    wrong = calibrate(
        played.frames, played.trail, RadarCalibrationParams(level_rad=1e-4), level_down_rad=math.radians(15.0)
    )
    assert wrong.pose is not None
    assert wrong.pose.r_world_from_radar[2, 1] == pytest.approx(-math.sin(math.radians(15.0)), abs=1e-3)


def test_a_wrong_pose_in_the_profile_does_no_harm(played: Played) -> None:
    wrong = replace(
        played.radar.mount, r_world_from_radar=np.diag([-1.0, -1.0, 1.0]), position_world_m=np.array([9.0, 9.0, 9.0])
    )
    found = calibrate(played.frames, played.trail, known=wrong)
    assert within_goals(found, played.radar)


def test_the_outcome_can_be_written_as_plain_values(played: Played) -> None:
    values = to_values(played.found)
    assert values["accepted"]
    pose = values["pose"]
    assert pose["rotation_95_deg"] < 2.0
    assert pose["time_offset_ms"] == pytest.approx(1e3 * played.radar.time_offset_s, abs=10.0)
    assert [row["name"] for row in values["residuals"]] == ["range", "azimuth", "elevation", "radial velocity"]
    assert to_values(RadarCalibration("door", None, ()))["pose"] is None


@given(st.integers(0, 2**32 - 1))
def test_a_claim_holds_in_95_of_100_draws(seed: int) -> None:
    draw = np.random.default_rng(seed)
    root = draw.normal(size=(3, 3)) * draw.uniform(0.1, 3.0, 3)
    bound = claimed_95(root @ root.T)
    lengths = np.linalg.norm(draw.normal(size=(4000, 3)) @ root.T, axis=1)
    assert 0.93 < (lengths <= bound).mean() < 0.97


# ---------------------------------------------------------------- refused


def slow(played: Played) -> tuple[Frames, Trail]:
    person = walker(21, (Walk(distance_m=0.3, speed_m_s=0.3), Stand(duration_s=40.0)))
    fine = RadarParams(full_speed_m_s=0.001)
    return gather_frames(seen(played.radar, person, 21, fine), RADAR), exact(person)


def one_line(played: Played) -> tuple[Frames, Trail]:
    person = walker(21, (Walk(distance_m=2.0), Turn(angle_rad=math.pi)))
    return gather_frames(seen(played.radar, person, 21), RADAR), exact(person)


def another_person(played: Played) -> tuple[Frames, Trail]:
    # Seen by cameras only: walks otherwise.
    other = walker(5, (Walk(distance_m=2.0), Circle(radius_m=0.6, angle_rad=-5.0, speed_m_s=0.7), Walk(distance_m=0.8)))
    return played.frames, exact(other)


def nothing_before_it(played: Played) -> tuple[Frames, Trail]:
    away = replace(
        played.radar.mount, r_world_from_radar=played.radar.mount.r_world_from_radar @ np.diag([-1.0, -1, 1])
    )
    return gather_frames(seen(Placed(away, 0.1), played.person, 21), RADAR), played.trail


def shifted(played: Played, late_s: float) -> tuple[Frames, Trail]:
    return replace(played.frames, times_ns=played.frames.times_ns + round(late_s * NS_PER_S)), played.trail


def part(trail: Trail, end: int) -> Trail:
    cut: dict[str, Any] = {
        name: getattr(trail, name)[:end] for name in ("times_ns", "positions_m", "q_world_from_segment")
    }
    return replace(trail, **cut)


Given = Callable[[Played], tuple[Frames, Trail]]


@pytest.mark.parametrize(
    ("given_by", "kind", "says"),
    [
        (lambda p: (gather_frames([], RADAR), p.trail), "no_frames", "sent nothing"),
        (lambda p: (p.frames, part(p.trail, 0)), "nobody", "cameras show nobody; walk for 30 s"),
        (lambda p: (p.frames, part(p.trail, 200)), "nobody", "for 3.3 s, at least 10 s"),
        (lambda p: (p.frames, replace(p.trail, crowded=0.5)), "crowd", "several people for 50 %"),
        (lambda p: shifted(p, 1000.0), "clock", "after those of the cameras"),
        (lambda p: shifted(p, 4.0), "clock", "about 4.2 s late"),
        (slow, "still", "m/s in the mean, at least 0.25 m/s"),
        (one_line, "line", "keeps to one line"),
        (another_person, "apart", "moves otherwise than the person"),
        (nothing_before_it, "unseen", "at least 10 s (a radar does not see who stands still"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_with_a_remedy(
    played: Played, given_by: Given, kind: str, says: str
) -> None:
    frames, trail = given_by(played)
    found = calibrate(frames, trail)
    assert not found.accepted
    assert [finding.kind for finding in found.findings] == [kind], found.findings
    assert says in found.findings[0].message
    assert ";" in found.findings[0].message  # what to do


def test_a_pose_that_is_not_known_well_enough_is_refused_with_the_bound(played: Played) -> None:
    found = calibrate(played.frames, played.trail, RadarCalibrationParams(position_m=0.001, time_s=1e-4))
    assert not found.accepted
    messages = [finding.message for finding in found.findings]
    assert len(messages) == 2
    assert "at most 0.1 cm" in messages[0]
    assert "at most 0.1 ms" in messages[1]
    assert found.pose is not None
