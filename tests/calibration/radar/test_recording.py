"""What a calibration takes from records, and what it leaves out."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.radar.recording import gather_frames, gather_trail
from fusion.records import People, RadarPoints


def points(time_ms: int, positions: list[list[float]], radar: str = "door") -> RadarPoints:
    return RadarPoints(
        measured_ns=time_ms * 1_000_000,
        received_ns=time_ms * 1_000_000,
        radar=radar,
        frame=0,
        positions_m=np.array(positions, dtype=np.float32).reshape(-1, 3),
        radial_velocities_m_s=np.zeros(len(positions), dtype=np.float32),
        snrs_db=np.zeros(len(positions), dtype=np.float32),
    )


def people(time_ms: int, *places_m: float, measured: float = 1.0) -> People:
    count = len(places_m)
    joints = np.zeros((count, 23, 3), dtype=np.float32) + np.array(places_m, dtype=np.float32)[:, None, None]
    told = np.zeros((count, 23), dtype=np.uint8)
    told[:, : round(23 * measured)] = 1
    return People(
        measured_ns=time_ms * 1_000_000,
        received_ns=time_ms * 1_000_000,
        skeleton="joints_23",
        ids=np.arange(count),
        positions_m=joints,
        q_world_from_segment=np.tile(np.array([1, 0, 0, 0], dtype=np.float32), (count, 23, 1)),
        velocities_m_s=joints * 0,
        angular_rates_rad_s=joints * 0,
        covariances_m2=np.zeros((count, 23, 3, 3), dtype=np.float32),
        measured=told,
        coordinates=np.zeros((count, 44), dtype=np.float32),
        lengths_m=np.full((count, 11), 0.3, dtype=np.float32),
        lengths_locked=np.ones(count, dtype=np.uint8),
        angles_rad=np.zeros((count, 41), dtype=np.float32),
        centre_of_mass_m=np.zeros((count, 3), dtype=np.float32),
    )


def test_frames_of_one_radar_follow_each_other() -> None:
    frames = gather_frames(
        [points(10, [[0, 1, 0], [0, 2, 0]]), points(15, [[9, 9, 9]], "roof"), points(20, []), points(30, [[0, 3, 0]])],
        "door",
    )
    assert frames.times_ns.tolist() == [10_000_000, 20_000_000, 30_000_000]
    assert frames.first.tolist() == [0, 2, 2, 3]
    assert frames.points_m[:, 1].tolist() == [1.0, 2.0, 3.0]
    assert frames.refused == 0


def test_what_is_no_number_or_goes_back_is_left_out_and_counted() -> None:
    frames = gather_frames(
        [points(10, [[0, 1, 0], [np.nan, 2, 0]]), points(5, [[0, 3, 0]]), points(20, [[0, np.inf, 0]])], "door"
    )
    assert frames.times_ns.tolist() == [10_000_000, 20_000_000]
    assert frames.counts.tolist() == [1, 0]
    assert frames.refused == 3


def test_no_frames_are_empty_arrays() -> None:
    frames = gather_frames([], "door")
    assert frames.first.tolist() == [0]
    assert frames.points_m.shape == (0, 3)


def test_the_last_word_on_a_time_counts_and_times_rise() -> None:
    trail = gather_trail([people(20, 1.0), people(10, 0.0), people(20, 2.0)])
    assert trail.times_ns.tolist() == [10_000_000, 20_000_000]
    assert trail.positions_m[:, 0, 0].tolist() == [0.0, 2.0]
    assert trail.crowded == 0.0


def test_times_with_several_people_are_left_out_and_told() -> None:
    trail = gather_trail([people(10, 0.0), people(20, 0.0, 1.0), people(30, 0.0), people(40)])
    assert trail.times_ns.tolist() == [10_000_000, 30_000_000]
    assert trail.crowded == pytest.approx(1.0 / 3.0)


def test_whom_no_sensor_tells_of_is_nobody() -> None:
    trail = gather_trail([people(10, 0.0, measured=0.2), people(20, np.nan), people(30)])
    assert trail.times_ns.tolist() == []
    assert trail.positions_m.shape == (0, 23, 3)
    assert trail.crowded == 0.0
