"""The table of radars: rate, points and losses by the sensor's own frame numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import viewer_lab as lab

from viz.models.health import Level
from viz.models.radar_figures import ENOUGH, Counts, RadarRow, lost_text, moving_text
from viz.models.scene import SceneModel

NS = lab.NS


def table(frames: list[int], now_s: float | None = None, counts: list[int] | None = None) -> RadarRow:
    """The row after frames at 20 Hz of these numbers, with so many points each."""
    model = SceneModel(lab.lab(0))
    for index, frame in enumerate(frames):
        record = lab.radar_points(index / 20, counts[index] if counts else 10)
        model.update("radar1/points", replace(record, frame=frame), index * NS // 20)
    report = lab.health("radar1", {"out radar1/points": (20.0, 0.0, 0, 0)}, counters={"silent": 0.0, "resyncs": 2.0})
    model.update("@/health", report, 0)
    (row,) = model.radars(round(now_s * NS) if now_s is not None else (len(frames) - 1) * NS // 20)
    return row


def test_rate_points_and_the_nodes_own_figures() -> None:
    row = table(list(range(40)), counts=[5, 15] * 20)
    assert (row.radar, row.figures) == ("radar1", "resyncs 2")
    assert row.rate_hz == pytest.approx(20.0)
    assert row.points == pytest.approx(10.0)
    assert (row.lost, row.lost_share, row.restarts) == (0, 0.0, 0)
    assert {row.age_level, row.lost_level} == {Level.FINE}


def test_numbers_left_out_are_losses_and_a_share_beyond_the_limit_is_marked() -> None:
    numbers = [number for number in range(60) if number % 6]
    row = table(numbers)
    assert row.lost == 9
    assert row.lost_share == pytest.approx(9 / 59)
    assert row.lost_level is Level.WARNING
    assert lost_text(row) == "9 (15.3 %)"


def test_no_share_is_told_before_there_are_enough_frames() -> None:
    row = table([0, 5, 6])
    assert (row.lost, lost_text(row), row.lost_level) == (4, "4", Level.FINE)
    assert math.isfinite(table(list(range(ENOUGH))).lost_share)


@pytest.mark.parametrize("numbers", [[100, 101, 1, 2], [5, 5, 6, 7], [1, 900_000, 900_001]])
def test_a_number_that_goes_back_or_jumps_is_another_start_and_no_loss(numbers: list[int]) -> None:
    row = table(numbers)
    assert (row.lost, row.restarts) == (0, 1)


def test_a_radar_that_is_silent_is_marked() -> None:
    row = table([0, 1], now_s=2.0)
    assert row.age_s == pytest.approx(1.95)
    assert row.age_level is Level.WARNING


def test_frames_without_points_and_a_single_frame_have_figures_too() -> None:
    row = table([7], counts=[0])
    assert math.isnan(row.rate_hz)
    assert row.points == 0.0
    assert moving_text(row) == "–"


def test_moving_points_are_those_above_the_filters_gate() -> None:
    model = SceneModel(lab.lab(0))
    speeds = np.array([-0.5, 0.1, 0.0, 0.3], np.float32)
    model.update("radar1/points", replace(lab.radar_points(0.0, 4), radial_velocities_m_s=speeds), 0)
    assert moving_text(model.radars(0)[0]) == "50 %"


def test_counts_know_empty_frames() -> None:
    counts = Counts()
    for points in (0, 3, 0):
        counts.add(counts.last + 1, points)
    assert (counts.frames, counts.empty) == (3, 2)
