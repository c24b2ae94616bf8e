"""Windows: what is not varied is what was recorded; a mirror is a mirror; points and joints move together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fusion.body.catalog import landmark_set
from fusion.estimators.radar.features import FOLLOWED
from tests.training.radar.made_up import BODY_M, write_recordings
from training.radar.recordings import STANDING_PLACE_M, Clip, read_clips
from training.radar.windows import MIRRORED, Variation, Window, draw, mean_pose_m, truth_offset_m, whole

NOTHING = Variation(
    mirrored=0.0, head_spread_m=0.0, level_m=0.0, width=0.0, turn_rad=0.0, followed=0.0, anchor_m=0.0,
    followed_anchor_m=0.0, kept=1.0, point_m=0.0, lost=0.0,
)  # fmt: skip
NAMES = landmark_set("kinect_19").landmark_names


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    write_recordings(tmp_path)
    return read_clips(tmp_path, (2, 3))


def drawn(clips: list[Clip], variation: Variation, seed: int = 1, points: int = 64) -> Window:
    random = np.random.default_rng(seed)
    return draw(clips, random, truth_offset_m(clips), variation, lanes=6, frames=16, points=points)


def test_without_variation_a_window_is_a_part_of_its_clip(clips: list[Clip]) -> None:
    window = drawn(clips[:1], NOTHING)
    everything = whole(clips[0], followed=False)
    for lane in range(6):
        count = int(window.valid[lane].sum())
        starts = [
            first
            for first in range(len(clips[0]) - count + 1)
            if np.allclose(everything.joints_m[0, first : first + count], window.joints_m[lane, :count], atol=1e-5)
        ]
        assert starts
        at = slice(starts[0], starts[0] + count)
        np.testing.assert_array_equal(everything.present[0, at].sum(-1), window.present[lane, :count].sum(-1))
        sums = [(w.points * w.present[..., None]).sum(axis=-2) for w in (everything, window)]
        np.testing.assert_allclose(sums[0][0, at], sums[1][lane, :count], rtol=1e-3, atol=1e-3)
        assert not window.present[lane, count:].any()


def test_joints_keep_their_names_in_a_mirror() -> None:
    np.testing.assert_array_equal(MIRRORED[MIRRORED], np.arange(19))
    assert NAMES[MIRRORED[NAMES.index("left_foot_tip")]] == "right_foot_tip"
    assert MIRRORED[NAMES.index("mid_spine")] == NAMES.index("mid_spine")


def test_a_mirrored_window_is_mirrored_about_the_radar(clips: list[Clip]) -> None:
    """Points change their side about the radar's axis, joints about where they stand from it."""
    plain, mirrored = (drawn(clips, replace(NOTHING, mirrored=share)) for share in (0.0, 1.0))
    np.testing.assert_allclose(
        mirrored.points[..., 0] * mirrored.present, -plain.points[..., 0] * plain.present, atol=1e-5
    )
    offset = truth_offset_m(clips)[0]
    there, back = (w.joints_m.reshape(6, 16, 19, 3) for w in (plain, mirrored))
    valid = plain.valid
    np.testing.assert_allclose(back[valid][..., 0] - offset, -(there[valid][:, MIRRORED, 0] - offset), atol=1e-5)
    np.testing.assert_allclose(back[valid][..., 1:], there[valid][:, MIRRORED, 1:], atol=1e-5)


def test_points_stay_on_the_body_whatever_is_varied(clips: list[Clip]) -> None:
    """Mirror, width, turn and anchor change both alike: each point stays as near to the joints as it was."""
    offset = truth_offset_m(clips)
    window = drawn(clips, Variation(point_m=0.0, level_m=0.0, points_follow=1.0, followed=0.5), points=40)
    joints = window.joints_m.reshape(6, 16, 19, 3) - np.array([*offset, 0.0], dtype=np.float32)
    points = window.points[..., :3] + np.array([0.0, 0.0, 0.96], dtype=np.float32)
    distances = np.linalg.norm(points[:, :, :, None] - joints[:, :, None], axis=-1).min(axis=-1)
    assert np.median(distances[window.present]) < 0.12
    assert distances[window.present].max() < 0.5


def test_bodies_are_of_adults_and_points_follow_in_part(clips: list[Clip]) -> None:
    """Heads reach as high as adults' do; the height of points changes by the share that is asked for."""
    head, own = NAMES.index("head_centre"), clips[0].head_m
    tops = []
    for seed in range(12):
        varied = replace(NOTHING, head_spread_m=0.09, points_follow=0.4)
        plain, window = (drawn(clips[:1], v, seed) for v in (replace(varied, head_spread_m=1e-9), varied))
        joints = window.joints_m.reshape(6, 16, 19, 3)[:, 0, head, 2]
        tops += joints.tolist()
        # With almost no spread everybody has the mean size; points then are higher by 0.4 of that.
        assert plain.joints_m.reshape(6, 16, 19, 3)[0, 0, head, 2] == pytest.approx(1.58, abs=1e-4)
        there = window.present & plain.present
        ratio = (window.points[..., 2] + 0.96)[there] / (plain.points[..., 2] + 0.96)[there]
        assert ((ratio - 1.0) * np.median(joints) > -1.0).all()
    assert own == pytest.approx(clips[0].joints_m[0, head, 2], abs=1e-4)
    assert np.mean(tops) == pytest.approx(1.58, abs=0.04)
    assert 0.05 < np.std(tops) < 0.12


def test_points_and_frames_are_lost(clips: list[Clip]) -> None:
    full, thin = drawn(clips, NOTHING), drawn(clips, replace(NOTHING, kept=0.3, lost=0.9))
    assert thin.present.sum() < 0.9 * full.present.sum()
    assert drawn(clips, NOTHING, points=10).present.sum(axis=-1).max() <= 10


def test_a_window_says_how_its_anchor_is_known(clips: list[Clip]) -> None:
    window = drawn(clips, replace(NOTHING, followed=0.5), seed=3)
    told = window.frames[..., FOLLOWED]
    assert (told == told[:, :1]).all()
    assert 0.0 < told.mean() < 1.0
    steps = (np.abs(window.frames[..., 3:5]).sum(axis=-1) * window.valid).sum(axis=1)
    assert ((steps > 0.0) == (told[:, 0] == 1.0)).all()


def test_the_truth_stands_aside(clips: list[Clip]) -> None:
    offset = truth_offset_m(clips)
    assert offset[0] == pytest.approx(0.17 - BODY_M[:, 0].mean(), abs=0.02)
    assert offset[1] == 0.0
    pose = mean_pose_m(clips)
    np.testing.assert_allclose(pose[:, 1], 1.95 - STANDING_PLACE_M[1], atol=1e-5)
