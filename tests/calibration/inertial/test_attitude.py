"""Orientations between holds and the way between stands, against plain loops and known movements."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.inertial import attitude as module
from calibration.inertial.attitude import attitude, displacement_m, turn_about_up, wrapped
from calibration.inertial.recording import NS_PER_S, Recording
from calibration.inertial.stillness import Hold, activity, angle_between, runs, wander_rad
from fusion.maths import quaternion
from fusion.records import Float64

PERIOD_S = 0.01
GRAVITY = np.array([0.0, 0.0, 9.81])


def recording(q: Float64, acceleration: Float64, bias_rad_s: Float64, force_bias: Float64) -> Recording:
    """What ideal sensors with constant biases read that turn as q [T, M, 4] and accelerate so [T, M, 3], world."""
    rate = np.zeros((*q.shape[:2], 3))
    turns = quaternion.to_rotvec(quaternion.multiply(quaternion.conjugate(q[:-1]), q[1:])) / PERIOD_S
    # A rate such that the mean of both ends is the turn between; enough for smooth movements.
    rate[1:-1] = 0.5 * (turns[:-1] + turns[1:])
    force = quaternion.rotate(quaternion.conjugate(q), acceleration + GRAVITY) + force_bias
    times = np.round(np.arange(len(q)) * PERIOD_S * NS_PER_S).astype(np.int64)
    names = tuple(("pelvis", "head", "t8")[: q.shape[1]])
    return Recording(names, times, force, rate + bias_rad_s, np.zeros(q.shape[:2], dtype=np.bool_))


def smooth(count: int) -> Float64:
    """0 for a second, then up to 1, then 1 for a second: like somebody who moves between two stands."""
    u = np.clip((np.arange(count) * PERIOD_S - 1.0) / (count * PERIOD_S - 2.0), 0.0, 1.0)
    return u**3 * (10.0 + u * (6.0 * u - 15.0))


def stands(count: int) -> list[Hold]:
    return [Hold("stand", slice(0, 90)), Hold("stand", slice(count - 90, count))]


def test_the_doubling_product_is_the_loop_s() -> None:
    rates = np.random.default_rng(1).normal(0.0, 2.0, (37, 2, 3))
    found = module._integrated(rates, PERIOD_S)
    q = np.broadcast_to(quaternion.IDENTITY, (2, 4))
    for t in range(37):
        if t:
            step = quaternion.from_rotvec(0.5 * (rates[t - 1] + rates[t]) * PERIOD_S)
            q = quaternion.multiply(q, step)
        np.testing.assert_allclose(np.abs((found[t] * q).sum(axis=1)), 1.0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    turn=st.tuples(*[st.floats(-2.5, 2.5)] * 3),
    start=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    bias=st.tuples(*[st.floats(-0.05, 0.05)] * 3),
)
def test_orientations_are_right_but_for_the_heading(
    turn: tuple[float, ...], start: tuple[float, ...], bias: tuple[float, ...]
) -> None:
    count = 500
    q = quaternion.multiply(quaternion.from_rotvec(start), quaternion.from_rotvec(smooth(count)[:, None] * turn))
    q = q[:, None, :]
    made = recording(q, np.zeros((count, 1, 3)), np.array(bias), np.zeros(3))
    found = attitude(made, stands(count))
    away = quaternion.multiply(found.q_world_from_sensor, quaternion.conjugate(q))
    # One turn about the vertical at all times.
    heading = turn_about_up(away[0])
    expected = quaternion.multiply(quaternion.from_rotvec([0.0, 0.0, float(heading[0])]), q)
    np.testing.assert_allclose(quaternion.angle_between(expected, found.q_world_from_sensor), 0.0, atol=2e-3)
    np.testing.assert_allclose(found.bias_rad_s[0], bias, atol=1e-9)


def test_the_way_between_stands_survives_biases() -> None:
    count = 500
    way = np.array([1.5, -2.0, 0.0])
    place = smooth(count)[:, None] * way
    acceleration = np.gradient(np.gradient(place, PERIOD_S, axis=0), PERIOD_S, axis=0)[:, None, :]
    lean = np.broadcast_to(quaternion.from_rotvec([0.3, -0.2, 0.0]), (count, 1, 4))
    made = recording(lean, acceleration, np.array([0.01, -0.02, 0.01]), np.array([0.05, 0.02, -0.04]))
    found = attitude(made, stands(count))
    moved = displacement_m(made, found, 89, count - 90)[0]
    assert math.hypot(moved[0], moved[1]) == pytest.approx(2.5, abs=0.02)
    assert moved[2] == pytest.approx(0.0, abs=0.02)


def test_activity_tells_still_from_moving_and_missing() -> None:
    count = 500
    q = quaternion.from_rotvec(smooth(count)[:, None] * [0.0, 0.0, 1.5])[:, None, :]
    made = recording(q, np.zeros((count, 1, 3)), np.zeros(3), np.zeros(3))
    made.missing[480:] = True
    busy = activity(made)[:, 0]
    assert (busy[:80] < 1.0).all()
    assert (busy[220:280] > 1.0).all()
    assert np.isinf(busy[480:]).all()
    assert [(run.start, run.stop) for run in runs(busy[:480] < 1.0, 300)] == []
    assert len(list(runs(busy[:480] < 1.0, 50))) == 2


def test_creep_is_the_angle_between_the_ends_of_a_hold() -> None:
    count = 300
    # A uniform turn: between the means of the outer thirds lie two thirds of it.
    q = quaternion.from_rotvec(np.linspace(0.0, 0.3, count)[:, None] * [1.0, 0.0, 0.0])[:, None, :]
    made = recording(q, np.zeros((count, 1, 3)), np.zeros(3), np.zeros(3))
    assert wander_rad(made, Hold("n_pose", slice(0, count)))[0] == pytest.approx(0.2, abs=2e-3)


@given(st.floats(-50.0, 50.0))
def test_wrapping_changes_an_angle_by_whole_turns(angle: float) -> None:
    found = float(wrapped(angle))
    assert -math.pi <= found <= math.pi
    assert math.cos(found) == pytest.approx(math.cos(angle), abs=1e-9)
    assert math.sin(found) == pytest.approx(math.sin(angle), abs=1e-9)


@given(st.floats(0.0, math.pi))
def test_angles_between_vectors_are_exact_at_both_ends(angle: float) -> None:
    other = np.array([math.cos(angle), math.sin(angle), 0.0])
    assert float(angle_between(np.array([1.0, 0.0, 0.0]), other)) == pytest.approx(angle, abs=1e-12)


@given(st.floats(-3.1, 3.1), st.floats(-1.0, 1.0))
def test_the_turn_about_up_leaves_a_level_rotation(heading: float, tilt: float) -> None:
    q = quaternion.multiply(
        quaternion.from_rotvec([0.0, 0.0, heading]), quaternion.from_rotvec([tilt, 0.5 * tilt, 0.0])
    )
    assert float(wrapped(float(turn_about_up(q)) - heading)) == pytest.approx(0.0, abs=1e-9)
