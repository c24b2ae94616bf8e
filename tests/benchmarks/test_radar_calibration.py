"""The benchmark of the radar's calibration: that figures come, and that they are what they are called."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks import radar_calibration as bench
from calibration.radar.practice import BIASES, RADAR, effective, placed, walker
from calibration.radar.result import Finding, Pose, RadarCalibration
from fusion.estimators.radar.polar import polar_of
from fusion.synthesis.radars import from_polar


def test_one_exact_draw_is_within_the_goals(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--json", "--draws", "1", "--first", "3", "--rows", "truth"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["draws"] == 1
    row = values["rows"]["truth"]
    assert row["accepted"] == 1
    assert row["within_all"] == 1.0
    assert row["rotation_deg"]["median"] == row["rotation_deg"]["worst"] < 2.0
    assert row["position_cm"]["worst"] < 5.0
    assert row["time_ms"]["worst"] < 10.0


def test_who_is_refused_counts_as_not_within(capsys: pytest.CaptureFixture[str]) -> None:
    radar = placed(1, walker(1))
    good = RadarCalibration(
        RADAR,
        Pose(
            radar.mount.r_world_from_radar,
            radar.mount.position_world_m + np.array([0.03, 0.0, 0.0]),
            radar.time_offset_s + 0.002,
            0.0,
            np.eye(7),
            math.radians(1.0),
            0.02,
            0.003,
        ),
        (),
    )
    none = RadarCalibration(RADAR, None, (Finding("unseen", "nobody; walk"),))
    outcomes = [(found, bench.errors(found, radar, biased=False)) for found in (good, none)]
    row = bench.summary(outcomes)
    assert row["accepted"] == 1
    assert row["refused"] == ["nobody; walk"]
    assert row["position_cm"] == {
        "median": 3.0,
        "worst": 3.0,
        "within": 0.5,
        "claimed_95_median": 2.0,
        "within_claim": 0.0,
    }
    assert row["time_ms"]["worst"] == pytest.approx(2.0)
    assert row["time_ms"]["within_claim"] == 1.0
    assert row["within_all"] == 0.5
    ((name, accepted, *_, everything),) = bench.lines({"rows": {"cameras": row}})
    assert (name, accepted, everything) == ("cameras", "1/2", "50 %")


def test_the_effective_pose_places_points_whose_angles_are_off() -> None:
    mount = placed(2, walker(2)).mount
    draw = np.random.default_rng(1)
    points = from_polar(draw.uniform(2, 4, 200), draw.uniform(-0.4, 0.4, 200), draw.uniform(-0.2, 0.2, 200))
    world = points @ mount.r_world_from_radar.T
    told = polar_of(points) + np.array([0.0, *BIASES[1:]])
    shown = from_polar(told[:, 0], told[:, 1], told[:, 2])
    plain, turned = (
        np.linalg.norm((shown @ rotation.T - world).mean(0))
        for rotation in (mount.r_world_from_radar, effective(mount, True))
    )
    assert plain > 0.06
    assert turned < 0.01
    assert effective(mount, False) is mount.r_world_from_radar
