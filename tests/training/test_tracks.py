"""Samples of clips: rates, steps, mirror."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.body.kinematics import forward_kinematics
from fusion.body.skeleton import COORDINATE, COORDINATES, REFERENCE_LENGTHS_M, SEGMENT_NAMES
from fusion.maths import quaternion
from training.clips import FIT_ACTIVITIES
from training.tracks import (
    MIRROR_INDEX,
    MIRROR_SIGN,
    RATE_HZ,
    TURNS,
    activity_weights,
    make_track,
    mirrored,
    steps,
    way,
)

LENGTHS = REFERENCE_LENGTHS_M


def test_mirrored_coordinates_put_the_other_side_where_the_mirror_shows_it() -> None:
    pose = 0.4 * np.random.default_rng(1).standard_normal(COORDINATES)
    positions, _ = forward_kinematics(pose, LENGTHS)
    image, _ = forward_kinematics(MIRROR_SIGN * pose[MIRROR_INDEX], LENGTHS)
    for index, name in enumerate(SEGMENT_NAMES):
        side = {"left": "right", "right": "left"}.get(name.split("_")[0])
        other = name if side is None else side + name[name.index("_") :]
        expected = positions[SEGMENT_NAMES.index(other)] * [1.0, -1.0, 1.0]
        np.testing.assert_allclose(image[index], expected, atol=1e-12, err_msg=name)


def test_mirroring_twice_gives_the_matrix_back() -> None:
    matrix = np.random.default_rng(2).standard_normal((COORDINATES, COORDINATES))
    np.testing.assert_array_equal(mirrored(mirrored(matrix)), matrix)
    assert not np.array_equal(mirrored(matrix), matrix)


def test_way_leads_from_one_pose_to_the_other() -> None:
    first, second = np.random.default_rng(3).standard_normal((2, 5, COORDINATES))
    found = way(first, second)
    for i in TURNS:
        begin, end, step = (quaternion.from_rotvec(values[:, i : i + 3]) for values in (first, second, found))
        assert quaternion.angle_between(quaternion.multiply(begin, step), end).max() < 1e-7
    knee = COORDINATE["left_knee_flexion"]
    np.testing.assert_array_equal(found[:, knee], second[:, knee] - first[:, knee])


def test_rates_of_a_steady_turn_are_in_the_segments_frame() -> None:
    times = np.arange(120) / RATE_HZ
    rate = np.array([0.3, -0.8, 1.1])
    coordinates = np.zeros((len(times), COORDINATES))
    start = quaternion.from_rotvec([0.5, 0.2, -0.4])
    turned = quaternion.multiply(start, quaternion.from_rotvec(times[:, None] * rate))
    coordinates[:, TURNS[0] : TURNS[0] + 3] = quaternion.to_rotvec(turned)
    track = make_track(coordinates, LENGTHS)
    np.testing.assert_allclose(
        track.rates[track.usable][:, TURNS[0] : TURNS[0] + 3], np.broadcast_to(rate, (track.usable.sum(), 3)), atol=1e-9
    )


def test_steps_span_the_horizon_and_no_jump() -> None:
    coordinates = np.zeros((240, COORDINATES))
    coordinates[:, 0] = np.arange(240)
    track = make_track(coordinates, LENGTHS, avoid=((0.9, 1.1),))
    found = steps(track, 0.1)
    assert set(found.moved[:, 0]) == {12.0}
    crossing = (found.start[:, 0] / RATE_HZ < 1.1) & (found.end[:, 0] / RATE_HZ > 0.9)
    assert not crossing.any()
    assert found.start[:, 0].min() == 12.0
    assert found.end[:, 0].max() == 227.0
    assert len(steps(track, 3.0).start) == 0


def test_activities_have_their_shares() -> None:
    counts = {"dm_walk": 10, "dm_long_walk1": 30, "cmu_03_03": 100, "dm_run": 5}
    even = activity_weights(counts)
    assert sum(even[name] * counts[name] for name in counts) == pytest.approx(1.0)
    assert even["dm_walk"] == even["dm_long_walk1"] == pytest.approx(1.0 / (3 * 40))
    brisk = activity_weights(counts, dict.fromkeys(FIT_ACTIVITIES, 1.0) | {"sport": 2.0})
    assert brisk["dm_run"] * 5 == pytest.approx(0.5)
