"""Frames at even times: orientations at those times, accelerations as a smooth movement has them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.estimators.inertial.frames import Frame, FrameParams, FrameSampler, between
from fusion.estimators.inertial.layout import ACCELERATION_FRAMES, FRAME_RATE_HZ
from fusion.maths import quaternion
from fusion.records import Float64
from fusion.synthesis.imus import GRAVITY_M_S2

NS = 1e9
TURN_RAD_S = np.array([0.3, -1.2, 2.0])


def orientation(times_s: Float64) -> Float64:
    return quaternion.from_rotvec(np.asarray(times_s)[..., None] * TURN_RAD_S)


def velocity(times_s: Float64) -> Float64:
    t = np.asarray(times_s)[..., None]
    return np.concatenate([np.sin(3.0 * t), np.cos(2.0 * t), 0.5 * np.sin(4.0 * t)], axis=-1)


def stretch_of(begin_s: float, end_s: float) -> tuple[Float64, Float64, Float64]:
    """Orientation at the end, mean force and rate of one sensor that turns steadily and moves to and fro."""
    q = orientation(np.array(end_s))
    free = (velocity(np.array(end_s)) - velocity(np.array(begin_s))) / (end_s - begin_s)
    middle = orientation(np.array(0.5 * (begin_s + end_s)))
    force = quaternion.rotate(quaternion.conjugate(middle), free + np.array([0.0, 0.0, GRAVITY_M_S2]))
    return q[None], force[None], TURN_RAD_S[None].copy()


def played(edges_s: Float64, sampler: FrameSampler | None = None) -> list[Frame]:
    sampler = sampler or FrameSampler(1)
    frames: list[Frame] = []
    for begin_s, end_s in pairwise(edges_s):
        frames += sampler.feed(round(end_s * NS), *stretch_of(float(begin_s), float(end_s)))
    return frames


@given(st.sampled_from([50.0, 57.3, 60.0, 100.0, 240.0]), st.integers(0, 50))
@settings(deadline=None)
def test_frames_tell_the_movement_whatever_the_rate(rate_hz: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    edges = np.cumsum(np.concatenate([[0.1], random.uniform(0.6, 1.4, 200) / rate_hz]))
    frames = played(edges)
    times = np.array([frame.time_ns for frame in frames]) / NS
    np.testing.assert_allclose(np.diff(times), 1.0 / FRAME_RATE_HZ, atol=2e-9)
    assert [frame.begins for frame in frames] == [True, *[False] * (len(frames) - 1)]
    lag_s = ACCELERATION_FRAMES / FRAME_RATE_HZ
    wanted = (velocity(times) - velocity(times - lag_s)) / lag_s
    found = np.concatenate([frame.acceleration_m_s2 for frame in frames])
    np.testing.assert_allclose(found, wanted, atol=0.12)
    turned = np.concatenate([frame.q_world_from_sensor for frame in frames])
    assert quaternion.angle_between(turned, orientation(times)).max() < 2e-3


def test_a_pause_begins_anew() -> None:
    sampler = FrameSampler(1)
    frames = played(np.arange(0.0, 1.0, 0.02), sampler)
    after = played(np.arange(3.0, 3.5, 0.02), sampler)
    assert frames[-1].time_ns < after[0].time_ns
    assert after[0].begins
    assert not after[1].begins
    assert np.abs(after[0].acceleration_m_s2).max() < 20.0


def test_a_silent_sensor_turns_on_and_is_then_missing() -> None:
    sampler = FrameSampler(2, FrameParams(hold_s=0.1))
    edges = np.arange(0.0, 1.0, 0.02)
    told: list[Frame] = []
    for begin_s, end_s in pairwise(edges):
        q, force, rate = (np.concatenate([part, part]) for part in stretch_of(float(begin_s), float(end_s)))
        if end_s > 0.5:
            q[1] = force[1] = rate[1] = np.nan
        told += sampler.feed(round(end_s * NS), q, force, rate)
    early = [frame for frame in told if 0.5e9 < frame.time_ns < 0.56e9]
    assert early
    assert not any(frame.missing.any() for frame in early)
    assert all(
        quaternion.angle_between(frame.q_world_from_sensor[1], frame.q_world_from_sensor[0]) < 0.01 for frame in early
    )
    assert [bool(flag) for flag in told[-1].missing] == [False, True]
    assert np.isfinite(told[-1].q_world_from_sensor).all()
    assert np.isfinite(told[-1].acceleration_m_s2).all()


def test_time_that_stands_still_or_goes_back_is_left_out() -> None:
    sampler = FrameSampler(1)
    played(np.arange(0.0, 0.5, 0.02), sampler)
    assert sampler.feed(round(0.48e9), *stretch_of(0.46, 0.48)) == []
    assert sampler.feed(round(0.2e9), *stretch_of(0.18, 0.2)) == []


@given(st.floats(0.0, 1.0))
@settings(deadline=None)
def test_between_is_nearly_slerp(share: float) -> None:
    q = quaternion.normalize(np.array([[1.0, 0.2, -0.3, 0.5]]))
    r = quaternion.multiply(q, quaternion.from_rotvec(np.array([0.1, -0.1, 0.1])))
    for other in (r, -r):
        out = np.empty((1, 4))
        between(q, other, share, out)
        assert quaternion.angle_between(out, quaternion.slerp(q, r, np.array([share])))[0] < 1e-4


@pytest.mark.parametrize("count", [1, 6])
def test_before_the_first_samples_there_are_no_frames(count: int) -> None:
    sampler = FrameSampler(count)
    nothing = np.full((count, 4), np.nan), np.full((count, 3), np.nan), np.full((count, 3), np.nan)
    frames = [frame for k in range(1, 20) for frame in sampler.feed(k * 20_000_000, *nothing)]
    assert all(frame.missing.all() for frame in frames)
