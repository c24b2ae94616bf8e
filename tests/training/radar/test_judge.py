"""Figures: a perfect answer, a mean pose, intervals, and the runtime frame by frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fusion.estimators.radar.drawn import drawn_weights
from tests.training.radar.made_up import write_recordings
from training.radar.judge import Answer, figures_of, mean_poses, motion_correlation, runtime, sigma_scale
from training.radar.recordings import Clip, read_clips


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    write_recordings(tmp_path)
    return read_clips(tmp_path, (2, 3))


def answers(clips: list[Clip], error_m: float, sigma_m: float) -> list[Answer]:
    random = np.random.default_rng(1)
    return [
        Answer(clip.joints_m + random.normal(0.0, error_m, clip.joints_m.shape), np.full(clip.joints_m.shape, sigma_m))
        for clip in clips
    ]


def test_of_errors_that_are_known(clips: list[Clip]) -> None:
    found = figures_of(clips, answers(clips, 0.05, 0.05))
    assert found["frames"] == 200
    assert found["mae_cm"] == pytest.approx(5.0 * np.sqrt(2.0 / np.pi), rel=0.02)
    assert found["rmse_cm"] == pytest.approx(5.0, rel=0.02)
    assert found["mpjpe_cm"] == pytest.approx(5.0 * np.sqrt(8.0 / np.pi), rel=0.02)
    assert found["coverage_95"] == pytest.approx(0.95, abs=0.01)
    assert np.mean(list(found["mae_axes_cm"].values())) == pytest.approx(found["mae_cm"])
    assert np.mean([joint["mae_cm"] for joint in found["joints"].values()]) == pytest.approx(found["mae_cm"])


def test_the_truth_has_no_error_and_a_mean_pose_does_not_move(clips: list[Clip]) -> None:
    clips = [replace(clip, joints_m=clip.joints_m + np.sin(np.arange(len(clip)))[:, None, None]) for clip in clips]
    perfect = [Answer(clip.joints_m.astype(np.float64), np.ones(clip.joints_m.shape)) for clip in clips]
    assert figures_of(clips, perfect)["mae_cm"] == pytest.approx(0.0)
    np.testing.assert_allclose(motion_correlation(clips, perfect), 1.0)
    mean = mean_poses(clips, lambda clip: clip.movement)
    found = figures_of(clips, [mean(clip) for clip in clips])
    assert found["motion_correlation"] == pytest.approx(0.0, abs=1e-6)
    assert "coverage_95" not in found
    against = [Answer(2.0 * clip.joints_m.mean(axis=0) - clip.joints_m, answer.sigmas_m)
               for clip, answer in zip(clips, perfect, strict=True)]  # fmt: skip
    assert (motion_correlation(clips[:1], against[:1]) < -0.999).all()


def test_means_are_of_the_same_key(clips: list[Clip]) -> None:
    tell = mean_poses(clips, lambda clip: (clip.subject, clip.movement))
    mine = [clip.joints_m for clip in clips if (clip.subject, clip.movement) == (3, 2)]
    clip = next(clip for clip in clips if (clip.subject, clip.movement) == (3, 2))
    np.testing.assert_allclose(tell(clip).joints_m[0], np.concatenate(mine).mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("sigma_m", [0.01, 0.05, 0.2])
def test_scaled_deviations_hold_what_they_should(clips: list[Clip], sigma_m: float) -> None:
    told = answers(clips, 0.05, sigma_m)
    scale = sigma_scale(clips, told)
    np.testing.assert_allclose(scale, 0.05 / sigma_m, rtol=0.1)
    scaled = [replace(answer, sigmas_m=answer.sigmas_m * scale) for answer in told]
    assert figures_of(clips, scaled)["coverage_95"] == pytest.approx(0.95, abs=0.002)


def test_the_runtime_sees_nothing_that_is_to_come(clips: list[Clip]) -> None:
    tell = runtime(drawn_weights())
    clip = clips[0]
    short = replace(
        clip,
        **{name: getattr(clip, name)[:12] for name in
           ("points_m", "radial_velocities_m_s", "present", "gaps", "anchors_m", "joints_m")},
    )  # fmt: skip
    np.testing.assert_array_equal(tell(short).joints_m, tell(clip).joints_m[:12])
    followed = runtime(drawn_weights(), followed=True)(clip)
    assert np.abs(followed.joints_m - tell(clip).joints_m).max() > 1e-3
