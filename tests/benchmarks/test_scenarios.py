"""Scenarios keep the records they say, and errors are what their definitions say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import filter_accuracy, filter_honesty, scenarios
from benchmarks.scenarios import BLACKOUT_S, NS_PER_S, SCENARIOS, Errors, Recording
from fusion.body.catalog import LANDMARK_SETS
from fusion.body.skeleton import COORDINATE, COORDINATES, REFERENCE_LENGTHS_M
from fusion.maths import quaternion
from fusion.records import InertialSamples, Landmarks2D, RadarPoints
from fusion.synthesis.actions import DEFAULT_SCRIPT
from fusion.synthesis.motion import BodyMotion, draw_lengths
from fusion.synthesis.params import DetectorParams
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.simulation import Lab
from training.clips import FIT, HELD_OUT


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Six and a half seconds of the whole lab around a scripted wearer, without dropouts or outliers."""
    detector = replace(DetectorParams(), occlusion=False, limb_dropout_rate_hz=0.0, miss_share=0.0, outlier_share=0.0)
    motion = scripted_motion(DEFAULT_SCRIPT, draw_lengths(3, 1.75), seed=3)
    return scenarios.record("script", motion, 6.5, Lab(detector=detector), 3)


def of_kind(recording: Recording, name: str, kind: type) -> list:
    return [item for item in SCENARIOS[name].records(recording.records) if isinstance(item, kind)]


def test_splits_keep_learning_and_judging_apart() -> None:
    assert set(scenarios.SPLITS["tune"]) <= set(FIT)
    assert set(scenarios.SPLITS["held_out"]) == set(HELD_OUT)


def test_each_scenario_has_its_sensors_in_profile_and_records(recording: Recording) -> None:
    for scenario in SCENARIOS.values():
        rig = scenario.rig(recording.rig)
        kept = scenario.records(recording.records)
        cameras = {item.camera for item in kept if isinstance(item, Landmarks2D)}
        assert tuple(camera.name for camera in rig.cameras) == scenario.cameras
        assert cameras == set(scenario.cameras)
        assert any(isinstance(item, InertialSamples) for item in kept) == bool(rig.imus) == scenario.imus
        assert any(isinstance(item, RadarPoints) for item in kept) == bool(rig.radars) == scenario.radar
        arrivals = [item.received_ns for item in kept]
        assert arrivals == sorted(arrivals)


def test_parts_of_a_combination_are_scenarios_with_fewer_sensors() -> None:
    for name, scenario in SCENARIOS.items():
        for part in scenario.parts:
            assert part in SCENARIOS
            assert part != name
    assert SCENARIOS["camera_1+imu+radar"].parts == ("camera_1", "imu", "radar")
    assert set(filter_accuracy._subsets("camera_1+imu+radar")) == {
        "camera_1", "imu", "radar", "imu+radar", "camera_1+imu", "camera_1+radar",
    }  # fmt: skip


def test_a_blackout_takes_all_pictures_of_two_seconds_and_no_others(recording: Recording) -> None:
    times = np.array([item.measured_ns for item in of_kind(recording, "blackout", Landmarks2D)]) / NS_PER_S
    assert not ((times >= BLACKOUT_S[0]) & (times < BLACKOUT_S[1])).any()
    missing = {item.measured_ns for item in of_kind(recording, "cameras_4", Landmarks2D)} - set(
        np.round(times * NS_PER_S).astype(int)
    )
    assert len(missing) == pytest.approx((BLACKOUT_S[1] - BLACKOUT_S[0]) * 30.0)


def test_a_blackout_counts_within_it_only() -> None:
    times = np.array([0.1, 1.0, 3.9, 4.0, 5.9, 6.0]) * NS_PER_S
    assert SCENARIOS["blackout"].counted(times.astype(np.int64)).tolist() == [False, False, False, True, True, False]
    assert SCENARIOS["camera_1"].counted(times.astype(np.int64)).tolist() == [False, True, True, True, True, True]


def test_thirty_percent_of_the_landmarks_are_hidden_by_whole_parts(recording: Recording) -> None:
    shown, hidden = (of_kind(recording, name, Landmarks2D) for name in ("camera_1", "camera_1_hidden"))
    # Six seconds are three whole periods.
    pairs = [(a, b) for a, b in zip(shown, hidden, strict=True) if a.measured_ns < 6 * NS_PER_S]
    before = np.array([np.isfinite(a.pixels[0, :, 0]) for a, _ in pairs])
    after = np.array([np.isfinite(b.pixels[0, :, 0]) for _, b in pairs])
    assert 1.0 - after.sum() / before.sum() == pytest.approx(0.3, abs=0.02)
    assert not (after & ~before).any()
    names = LANDMARK_SETS["blazepose_33"].landmark_names
    arm = [names.index(f"left_{name}") for name in ("elbow", "wrist", "thumb")]
    assert (after[:, arm] == after[:, arm[:1]]).all()
    for a, b in pairs:
        assert (b.scores[0][np.isnan(b.pixels[0, :, 0])] == 0.0).all()
        kept = np.isfinite(b.pixels[0, :, 0])
        assert (a.pixels[0][kept] == b.pixels[0][kept]).all()


def test_every_landmark_belongs_to_one_part() -> None:
    for name in LANDMARK_SETS["blazepose_33"].landmark_names:
        index = LANDMARK_SETS["blazepose_33"].landmark_names.index(name)
        assert sum(bool(scenarios._in_part("blazepose_33", part)[index]) for part in scenarios._PARTS) == 1, name


def test_a_short_clip_goes_there_and_back_without_a_jump() -> None:
    samples = np.zeros((61, COORDINATES))
    samples[:, COORDINATE["root_px"]] = np.linspace(5.0, 6.0, 61)
    motion = BodyMotion(samples, 60.0, REFERENCE_LENGTHS_M, periodic=False)
    path = scenarios.there_and_back(motion, 5.0).coordinates(np.arange(0.0, 5.0, 0.01))[:, COORDINATE["root_px"]]
    assert path.max() == pytest.approx(-path.min(), abs=1e-3)
    assert 0.35 < path.max() <= 0.5
    speed = np.diff(path) / 0.01
    assert np.abs(speed).max() <= 1.01
    assert speed.min() < -0.99
    assert np.abs(np.diff(speed)).max() < 0.06


def test_root_relative_errors_do_not_see_where_a_body_is_nor_heading_aligned_ones_where_it_looks() -> None:
    random = np.random.default_rng(0)
    truth = random.standard_normal((5, 23, 3))
    moved = truth + np.array([1.0, -2.0, 0.5])
    assert scenarios.root_relative_m(moved, truth) == pytest.approx(0.0)
    assert scenarios.distances_m(moved, truth) == pytest.approx(np.linalg.norm([1.0, -2.0, 0.5]))
    turned = quaternion.rotate(quaternion.from_rotvec(np.array([0.0, 0.0, 1.1])), truth)
    turned[0] = np.nan
    assert scenarios.root_relative_m(turned, truth)[1:].max() > 0.1
    aligned = scenarios.heading_aligned_m(turned, truth)
    assert np.isnan(aligned[0]).all()
    assert aligned[1:] == pytest.approx(0.0, abs=1e-12)


def test_normalised_errors_have_the_mean_and_the_bounds_of_chi_square() -> None:
    random = np.random.default_rng(1)
    root = random.standard_normal((3, 3))
    covariance = root @ root.T
    errors = random.standard_normal((4000, 23, 3)) @ root.T
    covariances = np.broadcast_to(covariance, (4000, 23, 3, 3)).copy()
    values = scenarios.nees(errors, np.zeros_like(errors), covariances)
    figures = filter_honesty.shares(values)
    assert figures["mean_per_freedom"] == pytest.approx(1.0, abs=0.02)
    assert figures["inside"] == pytest.approx(0.95, abs=0.005)
    assert figures["below"] == pytest.approx(0.025, abs=0.003)
    bold = filter_honesty.shares(scenarios.nees(3.0 * errors, np.zeros_like(errors), covariances))
    assert bold["above"] > 0.4
    covariances[0] = np.nan
    assert np.isnan(scenarios.nees(errors, np.zeros_like(errors), covariances)[0]).all()


def errors_of(name: str, size_m: float, unknown: slice = slice(0, 0)) -> Errors:
    values = np.full((60, 23), size_m)
    values[unknown] = np.nan
    times = np.arange(60) * NS_PER_S // 30
    return Errors("clip", name, times, values, values, values, values, np.ones(60, dtype=np.int64))


def test_a_combination_that_is_worse_than_a_part_is_listed() -> None:
    results = {
        "camera_1": [errors_of("camera_1", 0.05, slice(0, 20))],
        "radar": [errors_of("radar", 0.5)],
        "camera_1+radar": [errors_of("camera_1+radar", 0.06)],
    }
    ratios, worse = filter_accuracy.worse_than_parts(results)
    assert ratios["camera_1+radar"]["camera_1:root_relative"] == pytest.approx(1.2)
    assert ratios["camera_1+radar"]["radar:absolute"] == pytest.approx(0.12)
    assert {(item["combination"], item["part"]) for item in worse} == {("camera_1+radar", "camera_1")}


def test_nobody_is_no_error_and_no_coverage() -> None:
    nobody = errors_of("imu", 1.0, slice(None))
    figures = filter_accuracy.figures_of([nobody])
    assert figures["coverage"] == 0.0
    assert np.isnan(figures["root_relative_mm"])
    assert np.isnan(filter_accuracy.ratio([nobody], [errors_of("camera_1", 0.1)], "root_relative_m"))


def test_a_run_answers_at_every_exposure_close_to_the_truth(recording: Recording) -> None:
    scenario = SCENARIOS["cameras_4"]
    trace = scenarios.run(recording, scenario).trace()
    found = scenarios.errors(recording, scenario, trace)
    assert trace.times_ns.tolist() == recording.exposures_ns.tolist()
    assert found.coverage == 1.0
    assert scenarios.mean_mm(found.absolute_m) < 60.0


def test_heights_follow_the_lengths() -> None:
    assert filter_accuracy.standing_height_m(REFERENCE_LENGTHS_M) == pytest.approx(1.78, abs=0.02)
    assert filter_accuracy.standing_height_m(1.1 * REFERENCE_LENGTHS_M) == pytest.approx(
        1.1 * filter_accuracy.standing_height_m(REFERENCE_LENGTHS_M)
    )
