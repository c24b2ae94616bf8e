"""The tracker on simple bodies: its laws, births, deaths, and frames it must refuse."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.estimators.radar.tracker import RadarTracker, TrackerParams
from fusion.records import RadarPoints, RadarTracks
from fusion.rig import RadarMount, RigError
from tests.fusion.estimators.radar.bodies import (
    DOOR,
    FRAME_NS,
    NANOSECONDS,
    WINDOW,
    mount_at,
    nobody,
    points_of,
    record_of,
    walk,
)

STILL = 120
START, PACE = [[-1.0, -0.5, 1.1]], [[0.7, 0.4, 0.0]]


def run(records: Sequence[RadarPoints], *mounts: RadarMount, params: TrackerParams | None = None) -> list[RadarTracks]:
    tracker = RadarTracker(mounts or (DOOR,), params)
    return [tracker.step(record) for record in records]


def confirmed(tracks: RadarTracks) -> list[int]:
    return [int(i) for i, sure in zip(tracks.ids, tracks.confirmed, strict=True) if sure]


def by_time(*sequences: Sequence[RadarPoints]) -> list[RadarPoints]:
    return sorted((record for records in sequences for record in records), key=lambda record: record.measured_ns)


def test_a_walker_is_one_track_in_the_right_place_with_the_right_velocity() -> None:
    tracks = run(walk(DOOR, START, PACE, 40))[-1]
    tracks.validate()
    assert confirmed(tracks) == [1]
    np.testing.assert_allclose(tracks.positions_m[0], np.array(START[0]) + np.array(PACE[0]) * 39 / 20, atol=0.12)
    np.testing.assert_allclose(tracks.velocities_m_s[0, :2], PACE[0][:2], atol=0.25)
    assert tracks.points[0] >= 14
    assert tracks.unseen_s[0] == 0.0
    assert tracks.radars == ("door",)


def test_it_takes_some_frames_to_be_born() -> None:
    told = run(walk(DOOR, START, PACE, 12))
    births = [len(confirmed(tracks)) for tracks in told]
    assert births[:4] == [0, 0, 0, 0]
    assert births[-1] == 1


def test_two_who_cross_keep_their_tracks() -> None:
    starts, paces = [[-1.2, -0.4, 1.1], [1.2, 0.4, 1.1]], [[0.8, 0.0, 0.0], [-0.8, 0.0, 0.0]]
    told = run(walk(DOOR, starts, paces, 60))
    assert confirmed(told[20]) == confirmed(told[-1])
    assert len(confirmed(told[-1])) == 2
    for row in range(2):
        assert np.sign(told[20].positions_m[row, 0]) == -np.sign(told[-1].positions_m[row, 0])
        assert told[20].positions_m[row, 1] == pytest.approx(told[-1].positions_m[row, 1], abs=0.3)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_points_does_not_matter_to_the_last_bit(seed: int) -> None:
    random = np.random.default_rng(seed)
    records = walk(DOOR, [*START, [1.0, 0.5, 1.1]], [*PACE, [-0.3, 0.5, 0.0]], 14, seed=seed % 1000)
    plain, mixed = RadarTracker([DOOR]), RadarTracker([DOOR])
    for record in records:
        order = random.permutation(len(record.positions_m))
        shuffled = replace(
            record,
            positions_m=record.positions_m[order],
            radial_velocities_m_s=record.radial_velocities_m_s[order],
            snrs_db=record.snrs_db[order],
        )
        first, second = plain.step(record), mixed.step(shuffled)
        np.testing.assert_array_equal(first.positions_m, second.positions_m)
        np.testing.assert_array_equal(first.covariances, second.covariances)
        np.testing.assert_array_equal(plain.assignment[order], mixed.assignment)


@settings(max_examples=10, deadline=None)
@given(
    heading_rad=st.floats(-math.pi, math.pi),
    shift_m=st.tuples(st.floats(-5.0, 5.0), st.floats(-5.0, 5.0), st.floats(-1.0, 1.0)),
)
def test_moving_the_rig_moves_the_tracks(heading_rad: float, shift_m: tuple[float, float, float]) -> None:
    records = walk(DOOR, START, PACE, 15)
    sine, cosine = math.sin(heading_rad), math.cos(heading_rad)
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    moved = RadarMount(
        name="door",
        r_world_from_radar=turn @ DOOR.r_world_from_radar,
        position_world_m=turn @ DOOR.position_world_m + shift_m,
    )
    here, there = run(records)[-1], run(records, moved)[-1]
    np.testing.assert_array_equal(here.ids, there.ids)
    np.testing.assert_allclose(there.positions_m, here.positions_m @ turn.T + shift_m, atol=1e-5)
    np.testing.assert_allclose(there.velocities_m_s, here.velocities_m_s @ turn.T, atol=1e-5)
    both = np.kron(np.eye(2), turn)
    np.testing.assert_allclose(there.covariances, both @ here.covariances @ both.T, atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000))
def test_two_radars_know_no_less_than_each_alone(seed: int) -> None:
    doors = walk(DOOR, START, PACE, 20, seed=seed)
    windows = walk(WINDOW, START, PACE, 20, seed=seed + 1, offset_ns=FRAME_NS // 2)
    both = run(by_time(doors, windows), DOOR, WINDOW)[-1]
    # The one radar is asked at the time of the two's newest frame.
    last = nobody(WINDOW, 0, 1)[0]
    last = replace(last, measured_ns=windows[-1].measured_ns)
    for alone in (run([*doors, last], DOOR, WINDOW)[-1], run(windows, WINDOW)[-1]):
        assert len(confirmed(alone)) == len(confirmed(both)) == 1
        for size in (2, 3):
            assert both.covariances[0, :size, :size].trace() <= alone.covariances[0, :size, :size].trace() * 1.02


def test_a_second_radar_that_looks_across_halves_the_sideways_doubt() -> None:
    doors, windows = walk(DOOR, START, PACE, 30), walk(WINDOW, START, PACE, 30, seed=1, offset_ns=FRAME_NS // 2)
    alone, both = run(doors)[-1], run(by_time(doors, windows), DOOR, WINDOW)[-1]
    assert both.covariances[0, 0, 0] < 0.6 * alone.covariances[0, 0, 0]


def test_frames_a_little_out_of_order_give_nearly_the_same() -> None:
    doors, windows = walk(DOOR, START, PACE, 30), walk(WINDOW, START, PACE, 30, seed=1, offset_ns=-FRAME_NS // 2)
    ordered = by_time(doors, windows)
    swapped = [*ordered]
    swapped[::2], swapped[1::2] = ordered[1::2], ordered[::2]
    first, second = run(ordered, DOOR, WINDOW)[-1], run(swapped, DOOR, WINDOW)[-1]
    assert second.measured_ns == ordered[-1].measured_ns
    np.testing.assert_allclose(first.positions_m, second.positions_m, atol=0.03)
    np.testing.assert_allclose(first.velocities_m_s, second.velocities_m_s, atol=0.08)


def test_a_radar_whose_stamps_are_late_is_tracked_beside_one_whose_are_not() -> None:
    """By the session clock its frames are 0.3 s older than those of the other radar that come in with them."""
    late_ns = 3 * NANOSECONDS // 10
    doors, windows = walk(DOOR, START, PACE, 60), walk(WINDOW, START, PACE, 60, seed=1)
    tracker = RadarTracker((DOOR, WINDOW))
    arrivals = [(record.measured_ns, record) for record in doors]
    arrivals += [(record.measured_ns + late_ns, record) for record in windows]
    for _, record in sorted(arrivals, key=lambda item: item[0]):
        tracks = tracker.step(record)
    assert tracker.counters["frames"] == 120
    assert confirmed(tracks) == [1]
    alone = run(doors)[-1]
    assert tracks.covariances[0, 0, 0] < alone.covariances[0, 0, 0]


def test_frames_that_cannot_be_used_are_counted_and_change_nothing() -> None:
    records = walk(DOOR, START, PACE, 20)
    tracker = RadarTracker([DOOR, WINDOW])
    for record in records:
        before = tracker.step(record)
    state = copy.deepcopy(tracker.state)
    early = walk(WINDOW, START, PACE, 1)[0]
    for refused, counter in (
        (replace(records[-1], radar="cellar"), "unknown_radar"),
        (records[-1], "not_newer"),
        (records[3], "not_newer"),
        (early, "too_late"),
    ):
        count = tracker.counters[counter]
        after = tracker.step(refused)
        assert tracker.counters[counter] == count + 1
        assert (tracker.assignment == -1).all()
        assert len(tracker.assignment) == len(refused.positions_m)
        np.testing.assert_array_equal(after.positions_m, before.positions_m)
        assert after.measured_ns == before.measured_ns
    assert state.newest_ns == tracker.state.newest_ns
    assert tracker.counters["frames"] == 20


def test_before_any_frame_a_refused_one_tells_of_nobody() -> None:
    tracks = run([replace(walk(DOOR, START, PACE, 1)[0], radar="cellar")])[0]
    tracks.validate()
    assert len(tracks.ids) == 0


def test_absurd_points_are_left_out_and_counted() -> None:
    records = walk(DOOR, START, PACE, 20)
    tracker = RadarTracker([DOOR])
    expected = run(records)[-1]
    for record in records:
        places = np.concatenate([record.positions_m, [[np.nan, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, np.inf, 1.0]]])
        rates = np.concatenate([record.radial_velocities_m_s, [0.0, 0.0, 0.0]])
        told = tracker.step(
            replace(
                record,
                positions_m=places.astype(np.float32),
                radial_velocities_m_s=rates.astype(np.float32),
                snrs_db=np.zeros(len(places), np.float32),
            )
        )
    np.testing.assert_array_equal(told.positions_m, expected.positions_m)
    assert tracker.counters["points_refused"] == 60


def test_the_strongest_points_of_a_flood_are_used() -> None:
    records = walk(DOOR, START, PACE, 20)
    random = np.random.default_rng(5)
    tracker = RadarTracker([DOOR], TrackerParams(most_points=16))
    for record in records:
        flood = np.concatenate([record.positions_m, random.uniform([-2, 1, -1], [2, 5, 1], (600, 3))])
        rates = np.concatenate([record.radial_velocities_m_s, random.uniform(-2.0, 2.0, 600)])
        strength = np.concatenate([np.full(16, 20.0), np.full(600, 5.0)])
        told = tracker.step(
            replace(
                record,
                positions_m=flood.astype(np.float32),
                radial_velocities_m_s=rates.astype(np.float32),
                snrs_db=strength.astype(np.float32),
            )
        )
    assert confirmed(told) == [1]
    assert tracker.counters["points_refused"] == 20 * 600


def test_the_assignment_names_the_track_of_each_point_of_the_record() -> None:
    random = np.random.default_rng(2)
    tracker = RadarTracker([DOOR])
    for record in walk(DOOR, START, PACE, 20):
        order = random.permutation(18)
        stray = np.array([[2.0, 2.0, 0.0], [-2.0, 4.0, 0.0]])
        mixed = replace(
            record,
            positions_m=np.concatenate([record.positions_m, stray])[order].astype(np.float32),
            radial_velocities_m_s=np.append(record.radial_velocities_m_s, [0.3, 0.3])[order].astype(np.float32),
            snrs_db=np.zeros(18, np.float32),
        )
        tracks = tracker.step(mixed)
    np.testing.assert_array_equal(tracker.assignment[order >= 16], -1)
    assert (tracker.assignment[order < 16] == 1).mean() > 0.8
    np.testing.assert_array_equal(tracker.points_of(1), np.flatnonzero(tracker.assignment == 1))
    assert len(tracker.points_of(1)) == tracks.points[0]
    assert len(tracker.points_of(99)) == 0


@pytest.mark.parametrize(
    ("count", "rate_m_s", "speed_m_s"),
    [(16, 0.0, 0.0), (4, 0.8, 0.8), (16, 2.5, 0.0)],
    ids=["what does not move", "few points", "an echo whose range does not change as its velocity says"],
)
def test_what_is_no_body_is_not_born(count: int, rate_m_s: float, speed_m_s: float) -> None:
    random = np.random.default_rng(1)
    tracker = RadarTracker([DOOR])
    for index in range(60):
        place = np.array([[0.3, 0.0 + speed_m_s * index / 20, 1.0]])
        points, _ = points_of(DOOR, place, np.zeros((1, 3)), random, count)
        tracks = tracker.step(record_of(DOOR, index * FRAME_NS, points, np.full(count, rate_m_s)))
        assert not confirmed(tracks)


def test_strewn_clutter_is_not_born() -> None:
    random = np.random.default_rng(4)
    tracker = RadarTracker([DOOR])
    for index in range(300):
        points = random.uniform([-2.0, 1.0, -1.0], [2.0, 5.0, 1.0], (6, 3))
        assert not confirmed(tracker.step(record_of(DOOR, index * FRAME_NS, points, random.uniform(-1.0, 1.0, 6))))


def test_nobody_is_born_outside_the_view_or_the_room() -> None:
    aside = walk(DOOR, [[2.6, -2.6, 1.0]], [[-0.2, 0.0, 0.0]], 30)
    assert not confirmed(run(aside)[-1])
    walled = TrackerParams(room_m=(-3.0, 3.0, -3.0, -1.0))
    assert not confirmed(run(walk(DOOR, START, PACE, 30), DOOR, params=walled)[-1])


def test_an_echo_behind_a_body_needs_more_points() -> None:
    random = np.random.default_rng(3)
    tracker = RadarTracker([DOOR])
    for index in range(60):
        place = np.array([[0.1 * math.sin(0.2 * index), -0.8, 1.1]])
        points, rates = points_of(DOOR, place, np.array([[0.0, 0.5, 0.0]]), random)
        far, far_rates = points_of(DOOR, place + np.array([0.0, 1.6, 0.0]), np.array([[0.0, 0.3, 0.0]]), random, 7)
        if index < 20:
            far, far_rates = far[:0], far_rates[:0]
        tracks = tracker.step(
            record_of(DOOR, index * FRAME_NS, np.concatenate([points, far]), np.concatenate([rates, far_rates]))
        )
    assert len(confirmed(tracks)) == 1


def standing_after_a_walk() -> list[RadarPoints]:
    """Six seconds of walking that slow down to nothing, without a frame of nobody."""
    random = np.random.default_rng(0)
    records = []
    place = np.array([[-1.3, 0.0, 1.1]])
    for index in range(STILL):
        velocity = np.array([[0.8 * max(1.0 - index / (STILL - 10), 0.05), 0.0, 0.0]])
        place = place + velocity / 20
        points, rates = points_of(DOOR, place, velocity, random)
        records.append(record_of(DOOR, index * FRAME_NS + NANOSECONDS, points, rates))
    return records


def test_who_stands_still_is_kept_and_grows_vague_and_goes_at_last() -> None:
    records = standing_after_a_walk()
    told = run([*records, *nobody(DOOR, STILL, 20 * 36)])
    kept = told[STILL + 20 * 25]
    assert confirmed(kept) == confirmed(told[STILL - 1]) != []
    assert kept.unseen_s[0] == pytest.approx(25.0, abs=0.2)
    assert kept.points[0] == 0
    np.testing.assert_allclose(kept.positions_m[0, :2], told[STILL - 1].positions_m[0, :2], atol=0.25)
    assert kept.covariances[0, 0, 0] > 4.0 * told[STILL - 1].covariances[0, 0, 0]
    assert confirmed(told[-1]) == []


def test_who_stood_still_goes_on_with_the_same_track() -> None:
    records = standing_after_a_walk()
    random = np.random.default_rng(1)
    tracker = RadarTracker([DOOR])
    for record in [*records, *nobody(DOOR, STILL, 200)]:
        place = tracker.step(record).positions_m[0].astype(np.float64)
    for index in range(STILL + 200, STILL + 240):
        place = place + np.array([0.0, 0.5 / 20, 0.0])
        points, rates = points_of(DOOR, place[None], np.array([[0.0, 0.5, 0.0]]), random)
        tracks = tracker.step(record_of(DOOR, index * FRAME_NS + NANOSECONDS, points, rates))
    assert confirmed(tracks) == [1]
    np.testing.assert_allclose(tracks.positions_m[0, :2], place[:2], atol=0.2)


def test_who_vanishes_at_speed_is_dropped_soon() -> None:
    told = run([*walk(DOOR, [[-1.5, 0.0, 1.1]], [[1.2, 0.0, 0.0]], 40), *nobody(DOOR, 40, 30)])
    assert confirmed(told[39]) == confirmed(told[55]) == [1]
    assert confirmed(told[-1]) == []


def test_who_walks_out_of_view_is_dropped_soon_and_never_comes_back_under_the_old_number() -> None:
    out = walk(DOOR, [[1.2, -1.2, 1.1]], [[0.8, 0.0, 0.0]], 40)
    back = np.array(START) - np.array(PACE) * 7.0
    again = walk(DOOR, back, PACE, 30, first=140)
    told = run([*out, *nobody(DOOR, 40, 100), *again])
    assert confirmed(told[39]) == [1]
    assert confirmed(told[139]) == []
    assert confirmed(told[-1])
    assert min(confirmed(told[-1])) > 1


def test_what_was_hardly_seen_is_not_kept_for_long() -> None:
    """An echo that shows now and then must not stand in the room for half a minute each time."""
    told = run([*walk(DOOR, [[0.5, 0.5, 1.1]], [[0.2, 0.0, 0.0]], 10), *nobody(DOOR, 10, 120)])
    assert confirmed(told[9]) == confirmed(told[28]) == [1]
    assert confirmed(told[-1]) == []


def test_held_tracks_live_on() -> None:
    walked = walk(DOOR, [[-1.5, 0.0, 1.1]], [[1.2, 0.0, 0.0]], 40)
    tracker = RadarTracker([DOOR])
    for record in walked:
        tracker.step(record)
    assert tracker.hold(1, walked[-1].measured_ns + 4 * NANOSECONDS)
    assert not tracker.hold(7, walked[-1].measured_ns)
    told = [tracker.step(record) for record in nobody(DOOR, 40, 120)]
    assert confirmed(told[70]) == [1]
    assert confirmed(told[-1]) == []


def test_a_hint_keeps_who_is_unseen_and_says_where() -> None:
    tracker = RadarTracker([DOOR])
    for record in standing_after_a_walk():
        seen = tracker.step(record)
    place = seen.positions_m[0].astype(np.float64)
    tracker.hint(place[None] + np.array([0.1, 0.0, 0.0]), seen.measured_ns)
    np.testing.assert_allclose(tracker.step(nobody(DOOR, STILL, 1)[0]).positions_m[0], place, atol=0.05)
    where = place + np.array([0.3, 0.2, 0.0])
    for record in nobody(DOOR, STILL + 1, 20 * 40):
        tracks = tracker.step(record)
        tracker.hint(where[None], record.measured_ns, sigma_m=0.1)
    assert confirmed(tracks) == [1]
    np.testing.assert_allclose(tracks.positions_m[0, :2], where[:2], atol=0.02)
    assert tracks.unseen_s[0] > 35.0


def test_a_hint_far_from_all_tracks_does_nothing() -> None:
    tracker = RadarTracker([DOOR])
    for record in standing_after_a_walk():
        seen = tracker.step(record)
    for record in nobody(DOOR, STILL, 20):
        seen = tracker.step(record)
    tracker.hint(np.array([[2.5, 2.5, 1.0]]), seen.measured_ns)
    assert tracker.state.tracks[0].held_until_ns == 0


def test_a_velocity_that_folds_is_followed() -> None:
    """Somebody who runs away ever faster, before a radar that tells velocities up to 2 m/s."""
    random = np.random.default_rng(0)
    tracker = RadarTracker([DOOR], TrackerParams(fold_m_s=2.0))
    blind = RadarTracker([DOOR])
    place = np.array([[0.0, -1.8, 1.1]])
    for index in range(45):
        velocity = np.array([[0.0, min(0.6 + 0.06 * index, 2.4), 0.0]])
        place = place + velocity / 20
        points, rates = points_of(DOOR, place, velocity, random)
        folded = np.remainder(rates + 2.0, 4.0) - 2.0
        record = record_of(DOOR, index * FRAME_NS, points, folded)
        tracks, misled = tracker.step(record), blind.step(record)
    assert confirmed(tracks) == [1]
    assert tracks.velocities_m_s[0, 1] == pytest.approx(2.4, abs=0.3)
    assert not len(misled.ids) or misled.velocities_m_s[0, 1] < 2.0


def test_the_state_can_be_lifted_out_and_go_on_elsewhere() -> None:
    records = walk(DOOR, START, PACE, 40)
    first = RadarTracker([DOOR])
    for record in records[:20]:
        first.step(record)
    second = RadarTracker([DOOR])
    second.state = copy.deepcopy(first.state)
    for record in records[20:]:
        one, other = first.step(record), second.step(record)
        np.testing.assert_array_equal(one.positions_m, other.positions_m)
        np.testing.assert_array_equal(one.covariances, other.covariances)


def test_two_radars_of_one_name_are_a_mistake() -> None:
    with pytest.raises(RigError, match="door, door: named twice"):
        RadarTracker([DOOR, mount_at("door", [0.0, 0.0, 1.0], 0.0)])
