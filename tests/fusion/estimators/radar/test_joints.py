"""One person's joints live: where the radar stands does not matter, fast frames are put together, bad ones refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.estimators.radar.features import MOST_POINTS
from fusion.estimators.radar.joints import JointsTold, PoserParams, RadarPoser
from tests.fusion.estimators.radar.drawn import drawn_weights

WEIGHTS = drawn_weights()
TENTH_NS = 100_000_000
CENTRE, HEIGHT_M = np.array([0.1, 2.0]), 1.0

Frame = tuple[int, np.ndarray, np.ndarray]


def cloud(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    points = random.normal(0.0, 0.3, (count, 3)) + np.array([0.1, 2.0, 0.0])
    return points, random.normal(0.0, 0.5, count)


def frames(seed: int, count: int, period_ns: int = TENTH_NS, points: int = 20) -> list[Frame]:
    random = np.random.default_rng(seed)
    return [(k * period_ns, *cloud(random, points)) for k in range(count)]


def play(
    poser: RadarPoser, sequence: Sequence[Frame], centre: np.ndarray = CENTRE, height_m: float = HEIGHT_M
) -> list[JointsTold | None]:
    return [poser.step(stamp, points, speeds, centre, height_m) for stamp, points, speeds in sequence]


def last(answers: Sequence[JointsTold | None]) -> JointsTold:
    answer = answers[-1]
    assert answer is not None
    return answer


@given(x=st.floats(-2.0, 2.0), y=st.floats(-1.0, 4.0), up=st.floats(-0.8, 1.5))
def test_joints_move_with_points_and_radar(x: float, y: float, up: float) -> None:
    """A person elsewhere, before a radar that hangs higher: the same body there."""
    sequence = frames(1, 3)
    there = [(stamp, points + np.array([x, y, -up]), speeds) for stamp, points, speeds in sequence]
    here = last(play(RadarPoser(WEIGHTS), sequence))
    moved = last(play(RadarPoser(WEIGHTS), there, CENTRE + np.array([x, y]), HEIGHT_M + up))
    np.testing.assert_allclose(moved.positions_m, here.positions_m + np.array([x, y, -up]), atol=1e-4)
    np.testing.assert_allclose(moved.sigmas_m, here.sigmas_m, rtol=1e-3)


def test_what_the_training_camera_was_aside_is_taken_off() -> None:
    arrays = {**WEIGHTS.arrays, "truth_offset_m": np.zeros(2)}
    straight = RadarPoser(type(WEIGHTS).from_arrays(arrays))
    shifted = last(play(straight, frames(1, 2))).positions_m - last(play(RadarPoser(WEIGHTS), frames(1, 2))).positions_m
    np.testing.assert_allclose(shifted, np.broadcast_to([0.17, 0.0, 0.0], (19, 3)), atol=1e-6)


def test_frames_of_twenty_hertz_are_put_together() -> None:
    """Two halves of each frame, told one after the other, are the frame."""
    whole = frames(2, 6)
    halves = [(0, whole[0][1], whole[0][2])]
    for stamp, points, speeds in whole[1:]:
        halves.append((stamp - TENTH_NS // 2, points[:9], speeds[:9]))
        halves.append((stamp, points[9:], speeds[9:]))
    told = play(RadarPoser(WEIGHTS), halves)
    assert [answer is None for answer in told] == [False] + [True, False] * 5
    np.testing.assert_allclose(last(told).positions_m, last(play(RadarPoser(WEIGHTS), whole)).positions_m, atol=1e-5)


@pytest.mark.parametrize(("rate_hz", "steps"), [(10, 20), (18.2, 19), (20, 20), (30, 20), (5, 10)])
def test_steps_of_about_a_tenth_of_a_second(rate_hz: float, steps: int) -> None:
    count = round(2.0 * rate_hz)
    told = play(RadarPoser(WEIGHTS), frames(3, count, round(1e9 / rate_hz)))
    assert abs(sum(answer is not None for answer in told) - steps) <= 1


def test_more_points_than_were_ever_learned_from_are_thinned() -> None:
    poser = RadarPoser(WEIGHTS)
    points, speeds = cloud(np.random.default_rng(4), 5 * MOST_POINTS)
    assert poser.step(0, points, speeds, CENTRE, HEIGHT_M) is not None


def test_points_far_off_or_broken_do_not_count() -> None:
    sequence = frames(5, 3)
    bad = [[5.0, 5.0, 0.0], [np.nan, 2.0, 0.0], [0.0, np.inf, 0.0]]
    spoilt = [
        (stamp, np.vstack([points, bad]), np.append(speeds, [1, 0, 0]))
        for stamp, points, speeds in sequence
    ]  # fmt: skip
    np.testing.assert_array_equal(
        last(play(RadarPoser(WEIGHTS), spoilt)).positions_m, last(play(RadarPoser(WEIGHTS), sequence)).positions_m
    )


def test_a_frame_without_points_is_a_frame() -> None:
    poser = RadarPoser(WEIGHTS)
    answers = play(poser, [*frames(6, 2), (2 * TENTH_NS, np.zeros((0, 3)), np.zeros(0))])
    assert np.isfinite(last(answers).positions_m).all()
    assert last(answers).score < 1.0


def test_after_a_long_silence_all_begins_anew() -> None:
    first, later = frames(7, 5), [(stamp + 10_000_000_000, p, s) for stamp, p, s in frames(8, 3)]
    poser = RadarPoser(WEIGHTS)
    after = last(play(poser, [*first, *later]))
    np.testing.assert_array_equal(after.positions_m, last(play(RadarPoser(WEIGHTS), later)).positions_m)
    soon = [(stamp + 600_000_000, p, s) for stamp, p, s in frames(8, 3)]
    remembered = last(play(RadarPoser(WEIGHTS), [*first, *soon]))
    assert np.abs(remembered.positions_m - after.positions_m).max() > 1e-4


@pytest.mark.parametrize(
    ("stamp", "centre", "height_m"),
    [
        (TENTH_NS, CENTRE, 1.0),
        (0, CENTRE, 1.0),
        (9 * TENTH_NS, np.array([np.nan, 2.0]), 1.0),
        (9 * TENTH_NS, CENTRE, np.nan),
    ],
)
def test_what_cannot_be_is_refused_and_counted(stamp: int, centre: np.ndarray, height_m: float) -> None:
    poser, sequence = RadarPoser(WEIGHTS), frames(9, 3)
    play(poser, sequence[:2])
    points, speeds = cloud(np.random.default_rng(1), 10)
    assert poser.step(stamp, points, speeds, centre, height_m) is None
    assert poser.state.refused == 1
    undisturbed = last(play(RadarPoser(WEIGHTS), sequence))
    np.testing.assert_array_equal(last(play(poser, sequence[2:])).positions_m, undisturbed.positions_m)


def test_the_score_tells_how_many_points_there_are() -> None:
    many, few = (last(play(RadarPoser(WEIGHTS), frames(1, 20, points=count))).score for count in (30, 3))
    assert many == pytest.approx(1.0)
    assert few < 0.4


@pytest.mark.parametrize(
    ("centre", "sure"),
    [([0.0, 1.9], True), ([0.5, 2.5], True), ([0.0, 0.8], False), ([0.0, 4.0], False), ([1.8, 1.8], False)],
)
def test_the_score_tells_whether_such_a_place_was_learned(centre: list[float], sure: bool) -> None:
    """The same points about another place."""
    moved = [(stamp, points - [*CENTRE, 0.0] + [*centre, 0.0], speeds) for stamp, points, speeds in frames(1, 20)]
    score = last(play(RadarPoser(WEIGHTS), moved, np.array(centre))).score
    assert (score > 0.9) == sure
    assert (score < 0.1) == (not sure)


def test_who_walks_is_not_told_of_for_sure() -> None:
    scores = []
    for speed_m_s in (0.0, 0.1, 1.0):
        poser = RadarPoser(WEIGHTS)
        for k in range(25):
            there = CENTRE + np.array([0.0, -0.5 + speed_m_s * 0.1 * k])
            points, speeds = cloud(np.random.default_rng(k), 20)
            told = poser.step(k * TENTH_NS, points - [*CENTRE, 0.0] + [*there, 0.0], speeds, there, HEIGHT_M)
        assert told is not None
        scores.append(told.score)
    assert scores[0] == pytest.approx(1.0)
    assert scores[1] == pytest.approx(1.0)
    assert scores[2] < 0.4


def test_the_state_goes_on_elsewhere() -> None:
    sequence = frames(10, 8)
    first, second = RadarPoser(WEIGHTS), RadarPoser(WEIGHTS)
    play(first, sequence[:4])
    second.state = first.state
    np.testing.assert_array_equal(
        last(play(second, sequence[4:])).positions_m, last(play(RadarPoser(WEIGHTS), sequence)).positions_m
    )


def test_a_known_place_is_told_to_the_network() -> None:
    known, followed = (RadarPoser(WEIGHTS, PoserParams(place_known=which)) for which in (True, False))
    assert (
        np.abs(last(play(known, frames(1, 2))).positions_m - last(play(followed, frames(1, 2))).positions_m).max()
        > 1e-3
    )
