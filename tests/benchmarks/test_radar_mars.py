"""The benchmarks of the radar's network: what is timed is what is judged, and oracles see no radar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import radar_mars, radar_unseen
from fusion.estimators.radar.joints import PoserParams, RadarPoser
from tests.fusion.estimators.radar.drawn import drawn_weights
from tests.training.radar.made_up import write_recordings
from training.radar.judge import runtime
from training.radar.recordings import SENSOR_HEIGHT_M, STANDING_PLACE_M, Clip, read_clips


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    write_recordings(tmp_path)
    return read_clips(tmp_path)


def test_the_figures_are_of_the_test_frames(clips: list[Clip]) -> None:
    found = radar_mars.figures(drawn_weights(), clips)
    assert found["frames"] == sum(len(clip) for clip in clips if clip.part == "test") == 80
    for key in ("mae_cm", "mpjpe_cm", "frame_ms", "coverage_95", "motion_correlation"):
        assert np.isfinite(found[key])
    assert len(found["joints"]) == 19
    table = found["methods"]
    assert set(table) == {
        "network",
        "network_followed",
        *(f"mean_pose{of}" for of in ("", "_subject", "_subject_movement")),
    }
    assert table["mean_pose"]["motion_correlation"] == pytest.approx(0.0, abs=1e-6)


def test_the_oracles_of_the_reference_figures(data_pack: Path) -> None:
    """The rows that need no radar come out as they were measured before."""
    clips = read_clips(data_pack)
    judged = [clip for clip in clips if clip.part == "test"]
    methods = radar_mars.methods(drawn_weights(), clips)
    for name, mae_cm, mpjpe_cm in (("mean_pose_subject", 8.64, 17.94), ("mean_pose_subject_movement", 4.05, 8.39)):
        found = radar_mars.figures_of(judged, [methods[name](clip) for clip in judged])
        assert found["mae_cm"] == pytest.approx(mae_cm, abs=0.01)
        assert found["mpjpe_cm"] == pytest.approx(mpjpe_cm, abs=0.01)


def test_live_joints_are_those_that_are_judged(clips: list[Clip]) -> None:
    weights, clip = drawn_weights(), next(clip for clip in clips if clip.part == "test")
    judged, poser = runtime(weights)(clip), RadarPoser(weights, PoserParams(place_known=True))
    stamps = np.cumsum(clip.gaps) * 100_000_000
    aside = np.array([*weights.arrays["truth_offset_m"], SENSOR_HEIGHT_M])
    for t in range(len(clip)):
        points = clip.points_m[t][clip.present[t]] - np.array([0.0, 0.0, SENSOR_HEIGHT_M])
        speeds = clip.radial_velocities_m_s[t][clip.present[t]]
        told = poser.step(int(stamps[t]), points, speeds, np.array(STANDING_PLACE_M), SENSOR_HEIGHT_M)
        assert told is not None
        np.testing.assert_allclose(told.positions_m + aside, judged.joints_m[t], atol=1e-4)
        np.testing.assert_allclose(told.sigmas_m, judged.sigmas_m[t], rtol=1e-3)


def test_of_subjects_left_out(clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def without(folder: Path, subject: int) -> object:
        asked.append(subject)
        return drawn_weights(seed=subject)

    monkeypatch.setattr(radar_unseen, "weights_without", without)
    found = radar_unseen.figures(tmp_path, clips)
    assert asked == [1, 2, 3, 4]
    # Subject 1 has joints in the validate and test frames only.
    assert [found["subjects"][str(s)]["network"]["frames"] for s in (1, 2, 3, 4)] == [40, 100, 100, 100]
    singles = [found["subjects"][str(s)]["network"] for s in (1, 2, 3, 4)]
    assert found["mae_cm"] == pytest.approx(np.mean([one["mae_cm"] for one in singles]))
    held = sum(one["coverage_95"] * one["frames"] for one in singles) / 340
    assert found["coverage_95"] == pytest.approx(held)
    assert found["methods"]["mean_pose"]["motion_correlation"] == pytest.approx(0.0, abs=1e-6)
