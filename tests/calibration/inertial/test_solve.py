"""Known mountings are found again, wrong wearing is noticed, and what cannot be used is refused with the figure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.inertial.poses import Step
from calibration.inertial.practice import Practice, PracticeParams, exchanged, practise
from calibration.inertial.recording import NS_PER_S, gather
from calibration.inertial.result import CalibrationParams, InertialCalibration, from_values, to_values
from calibration.inertial.solve import _Direction as Direction
from calibration.inertial.solve import calibrate, wahba
from calibration.inertial.steps import Interval
from calibration.tables import CalibrationError
from fusion.maths import quaternion
from fusion.records import Float64, InertialSamples

SITES = (
    "pelvis", "t8", "head", "left_upper_arm", "right_upper_arm", "left_forearm", "right_forearm",
    "left_upper_leg", "right_upper_leg", "left_lower_leg", "right_lower_leg",
)  # fmt: skip
ARMS = tuple(name for name in SITES if "arm" in name)
WHOLE = PracticeParams()
EXACT = PracticeParams(pose_error_rad=0.0, repeat_error_rad=0.0)


@cache
def practice(seed: int = 3, params: PracticeParams = WHOLE) -> Practice:
    return practise(SITES, seed, params)


def solved(played: Practice, previous: dict[str, Float64] | None = None) -> InertialCalibration:
    return calibrate(gather(played.records), played.intervals, previous)


def errors_deg(played: Practice, found: InertialCalibration) -> dict[str, float]:
    return {
        s.segment: math.degrees(float(quaternion.angle_between(played.truth[s.segment], s.q_segment_from_sensor)))
        for s in found.sensors
    }


def changed(played: Practice, change: Callable[[InertialSamples], InertialSamples]) -> Practice:
    return Practice([change(record) for record in played.records], played.intervals, played.truth)


def turned_from(begin_s: float, sensor: str, q: Float64) -> Callable[[InertialSamples], InertialSamples]:
    """A sensor that sits otherwise from a time on: turned by q in its own frame."""
    back = quaternion.conjugate(q)

    def change(record: InertialSamples) -> InertialSamples:
        if record.measured_ns < begin_s * NS_PER_S:
            return record
        k = record.sensors.index(sensor)
        force, rate = record.specific_force_m_s2.copy(), record.angular_rate_rad_s.copy()
        force[:, k], rate[:, k] = quaternion.rotate(back, force[:, k]), quaternion.rotate(back, rate[:, k])
        return replace(record, specific_force_m_s2=force, angular_rate_rad_s=rate)

    return change


# ---------------------------------------------------------------- what is found


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_sensors_that_sit_in_any_rotation_are_found(seed: int) -> None:
    played = practice(seed)
    found = solved(played)
    assert found.accepted, [finding.message for finding in found.refusals]
    assert max(errors_deg(played, found).values()) < 10.0
    assert {sensor.heading for sensor in found.sensors} == {"measured"}
    assert {sensor.segment: sensor.sources for sensor in found.sensors}["left_forearm"] == ("poses", "walk")
    assert {sensor.segment: sensor.sources for sensor in found.sensors}["left_lower_leg"] == ("walk", "swing")


def test_of_a_wearer_who_poses_exactly_little_error_is_left() -> None:
    played = practice(3, EXACT)
    found = solved(played)
    errors = errors_deg(played, found)
    assert np.mean(list(errors.values())) < 2.5
    assert max(errors[name] for name in ARMS) < 3.0
    assert max(sensor.quality_rad for sensor in found.sensors) < math.radians(8.0)


def test_two_poses_without_a_walk_give_the_arms_and_say_that_the_rest_is_assumed() -> None:
    poses: tuple[Step, ...] = ("n_pose", "t_pose")
    played = practice(3, replace(WHOLE, poses=poses, walk_m=0.0))
    usual = {name: quaternion.multiply(q, quaternion.from_rotvec([0.0, 0.0, 0.2])) for name, q in played.truth.items()}
    found = solved(played, usual)
    assert found.accepted
    errors = errors_deg(played, found)
    for sensor in found.sensors:
        arm = sensor.segment in ARMS
        assert (sensor.heading == "measured") == arm
        assert math.isnan(sensor.forward_rad) != arm
        assert errors[sensor.segment] < 10.0 if arm else True
    assert {f.kind for f in found.findings} == {"assumed"}


@settings(max_examples=20, deadline=None)
@given(away=st.floats(-3.0, 3.0))
def test_an_assumed_heading_is_that_of_the_previous_mounting(away: float) -> None:
    """Whatever the previous mounting, the new one differs from it by no more than about up."""
    poses: tuple[Step, ...] = ("t_pose",)
    played = practice(3, replace(EXACT, poses=poses, walk_m=0.0))
    about_up = quaternion.from_rotvec([0.0, 0.0, away])
    previous = {name: quaternion.multiply(about_up, q) for name, q in played.truth.items()}
    found = solved(played, previous)
    for sensor in found.sensors:
        apart = float(quaternion.angle_between(sensor.q_segment_from_sensor, previous[sensor.segment]))
        assert apart < math.radians(6.0), sensor.segment


def test_a_turn_of_a_sensor_in_its_place_turns_its_mounting_and_nothing_else() -> None:
    played = practice()
    turn = quaternion.from_rotvec([1.0, -2.0, 0.7])
    before, after = solved(played), solved(changed(played, turned_from(-1.0, "t8", turn)))
    for one, other in zip(before.sensors, after.sensors, strict=True):
        expected = one.q_segment_from_sensor
        if one.segment == "t8":
            expected = quaternion.multiply(expected, turn)
        assert float(quaternion.angle_between(expected, other.q_segment_from_sensor)) < 1e-3
        assert other.quality_rad == pytest.approx(one.quality_rad, abs=1e-3)


def test_the_outcome_survives_as_plain_values() -> None:
    found = solved(practice())
    again = from_values(to_values(found))
    assert again.findings == found.findings
    assert again.steps == found.steps
    assert again.accepted
    np.testing.assert_array_equal(
        again.sensor("head").q_segment_from_sensor, found.sensor("head").q_segment_from_sensor
    )


@settings(deadline=None)
@given(
    rotvec=st.tuples(*[st.floats(-1.7, 1.7)] * 3),
    a=st.tuples(*[st.floats(-1.0, 1.0)] * 3).filter(lambda v: math.hypot(*v) > 0.1),
    sigma=st.floats(0.01, 1.0),
)
def test_directions_that_agree_give_their_rotation_back(
    rotvec: tuple[float, ...], a: tuple[float, ...], sigma: float
) -> None:
    q = quaternion.from_rotvec(rotvec)
    first = np.array(a) / math.hypot(*a)
    second = np.cross(first, np.eye(3)[int(np.argmin(np.abs(first)))])
    second /= np.linalg.norm(second)
    directions = [
        Direction("one", first, quaternion.rotate(q, first), sigma),
        Direction("other", second, quaternion.rotate(q, second), 0.1),
    ]
    assert float(quaternion.angle_between(wahba(directions), q)) < 1e-6
    alone = wahba(directions[:1])
    np.testing.assert_allclose(quaternion.rotate(alone, first), directions[0].in_segment, atol=1e-9)


# ---------------------------------------------------------------- wrong limb, wrong side


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("left_forearm", "right_forearm", "wrong_side"),
        ("left_upper_arm", "right_upper_arm", "wrong_side"),
        ("left_lower_leg", "right_lower_leg", "wrong_side"),
        ("left_upper_leg", "right_upper_leg", "wrong_side"),
        ("left_forearm", "left_lower_leg", "wrong_limb"),
        ("right_forearm", "head", "wrong_limb"),
        ("pelvis", "right_lower_leg", "wrong_limb"),
        ("left_upper_leg", "left_lower_leg", "wrong_limb"),
        ("left_upper_leg", "right_lower_leg", "wrong_limb"),
    ],
)
def test_exchanged_sensors_are_named(one: str, other: str, kind: str) -> None:
    found = solved(exchanged(practice(), one, other))
    assert not found.accepted
    named = [finding for finding in found.refusals if set(finding.sensors) == {one, other}]
    assert [finding.kind for finding in named] == [kind]
    assert "exchange" in named[0].message


def test_arms_exchanged_across_sides_and_parts_are_each_on_the_wrong_side() -> None:
    found = solved(exchanged(practice(), "left_upper_arm", "right_forearm"))
    assert {f.sensors for f in found.refusals if f.kind == "wrong_side"} == {("left_upper_arm",), ("right_forearm",)}


def test_without_a_walk_the_sides_are_not_told_apart_and_limbs_are() -> None:
    poses: tuple[Step, ...] = ("n_pose", "t_pose")
    still = practice(3, replace(WHOLE, poses=poses, walk_m=0.0))
    assert solved(exchanged(still, "left_forearm", "right_forearm")).accepted
    assert not solved(exchanged(still, "left_forearm", "pelvis")).accepted


# ---------------------------------------------------------------- what is refused


def kinds(found: InertialCalibration) -> set[str]:
    return {finding.kind for finding in found.refusals}


def slips(sensor: str, rotvec: Float64, begin_s: float = 8.0) -> Callable[[InertialSamples], InertialSamples]:
    """A strap that slips within half a second by a rotation in the sensor's frame, which its gyroscope feels."""

    def change(record: InertialSamples) -> InertialSamples:
        k = record.sensors.index(sensor)
        force, rate = record.specific_force_m_s2.copy(), record.angular_rate_rad_s.copy()
        u = np.clip((record.times_ns / NS_PER_S - begin_s) / 0.5, 0.0, 1.0)[:, None]
        back = quaternion.conjugate(quaternion.from_rotvec(u * rotvec))
        force[:, k] = quaternion.rotate(back, force[:, k])
        rate[:, k] = quaternion.rotate(back, rate[:, k]) + np.where((u > 0.0) & (u < 1.0), 2.0 * rotvec, 0.0)
        return replace(record, specific_force_m_s2=force, angular_rate_rad_s=rate)

    return change


@pytest.mark.parametrize("seed", range(4))
def test_a_strap_that_slips_about_any_axis_is_named(seed: int) -> None:
    axis = np.random.default_rng(seed).standard_normal(3)
    found = solved(changed(practice(), slips("t8", 0.6 * axis / np.linalg.norm(axis))))
    assert {finding.sensors for finding in found.refusals} == {("t8",)}
    assert kinds(found) <= {"slip", "vertical", "quality"}


def test_a_strap_that_slips_about_the_vertical_is_named_by_what_it_turned() -> None:
    played = practice()
    # The sensor's axis that is up.
    up = quaternion.rotate(quaternion.conjugate(played.truth["t8"]), [0.0, 0.0, 1.0])
    found = solved(changed(played, slips("t8", 0.6 * up)))
    assert [finding.kind for finding in found.refusals] == ["slip"]
    assert "t8: turned by 3" in found.refusals[0].message
    assert "bound 20.0°" in found.refusals[0].message


def test_a_pose_that_is_not_held_names_who_moved() -> None:
    played = practice()

    def shaken(record: InertialSamples) -> InertialSamples:
        if record.measured_ns > 3.5 * NS_PER_S:
            return record
        rate = record.angular_rate_rad_s.copy()
        rate[:, record.sensors.index("head")] += 0.6
        return replace(record, angular_rate_rad_s=rate)

    found = solved(changed(played, shaken))
    first = next(finding for finding in found.refusals if finding.kind == "not_still")
    assert "head" in first.sensors
    assert "n_pose: not held still" in first.message
    assert "14°/s" in first.message


def test_a_sensor_that_falls_silent_is_named_with_for_how_long() -> None:
    def silent(record: InertialSamples) -> InertialSamples:
        if not 8.0 * NS_PER_S < record.measured_ns < 8.8 * NS_PER_S:
            return record
        force = record.specific_force_m_s2.copy()
        force[:, record.sensors.index("pelvis")] = np.nan
        return replace(record, specific_force_m_s2=force)

    found = solved(changed(practice(), silent))
    assert [f.sensors for f in found.refusals if f.kind == "gap"] == [("pelvis",)]
    assert "silent for 0.8 s (bound 0.5 s)" in next(f.message for f in found.refusals if f.kind == "gap")


def test_a_walk_of_a_step_on_the_spot_is_too_short() -> None:
    found = solved(practice(3, replace(WHOLE, walk_m=0.3)))
    assert kinds(found) == {"short_walk"}
    assert "at least 0.6 m" in found.refusals[0].message


def test_a_scale_error_of_one_accelerometer_axis_shows_in_the_quality_or_is_refused() -> None:
    """Nobody can tell it from a tilt in one pose; over poses in which gravity lies otherwise it does not fit."""

    def scaled(record: InertialSamples) -> InertialSamples:
        force = record.specific_force_m_s2.copy()
        force[:, record.sensors.index("left_forearm")] *= np.array([1.6, 1.0, 1.0], np.float32)
        return replace(record, specific_force_m_s2=force)

    before, after = solved(practice()), solved(changed(practice(), scaled))
    assert after.sensor("left_forearm").quality_rad > before.sensor("left_forearm").quality_rad + math.radians(2.0)


@pytest.mark.parametrize(
    ("intervals", "message"),
    [
        ([], "no steps.*allowed: n_pose, t_pose, n_to_t, walk"),
        ([Interval("dance", 0, 10**9)], "step 'dance': unknown; allowed: n_pose"),
        ([Interval("n_pose", 0, 10**12)], "n_pose:0.00-1000.00: not within the recording; allowed: 0 to"),
        ([Interval("n_pose", 2 * 10**9, 10**9)], "n_pose:2.00-1.00: not within"),
    ],
)
def test_a_wrong_request_is_told(intervals: list[Interval], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        calibrate(gather(practice().records), intervals)


def test_the_way_from_n_to_t_alone_holds_both_poses() -> None:
    played = practice()
    begin_ns, end_ns = played.intervals[0].begin_ns, played.intervals[1].end_ns
    found = calibrate(gather(played.records), [Interval("n_to_t", begin_ns, end_ns)])
    assert found.steps == ("n_pose", "t_pose")
    assert max(error for name, error in errors_deg(played, found).items() if name in ARMS) < 12.0


def test_an_arm_that_comes_down_before_the_walk_is_not_taken_for_the_wearer_s_way() -> None:
    poses: tuple[Step, ...] = ("t_pose",)
    played = practice(3, replace(WHOLE, poses=poses))
    found = solved(played)
    assert found.accepted, [finding.message for finding in found.refusals]
    assert {s.segment for s in found.sensors if s.heading == "assumed"} == set(ARMS)
    assert max(error for name, error in errors_deg(played, found).items() if name not in ARMS) < 10.0


def test_no_quality_is_better_than_a_pose_can_be_held() -> None:
    for params in (WHOLE, EXACT):
        assert min(sensor.quality_rad for sensor in solved(practice(3, params)).sensors) > CalibrationParams().pose_rad


def test_a_shoulder_is_calibrated_by_the_n_pose_as_it_rises_with_the_arm() -> None:
    sites = ("pelvis", "left_shoulder", "left_forearm")

    def risen(record: InertialSamples) -> InertialSamples:
        """In the T-pose the shoulder's sensor is turned by what the body's model leaves out."""
        if not 4.0 < record.measured_ns / NS_PER_S < 8.0:
            return record
        return turned_from(4.0, "left_shoulder", quaternion.from_rotvec([0.4, 0.0, 0.0]))(record)

    played = practise(sites, 3, EXACT)
    found = solved(changed(played, risen))
    assert found.accepted, [finding.message for finding in found.refusals]
    assert errors_deg(played, found)["left_shoulder"] < 4.0
