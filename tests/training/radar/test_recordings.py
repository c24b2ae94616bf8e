"""MARS as clips: nothing of one part of the split stands in a clip of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.radar.made_up import FRAMES, recording, write_recordings
from training.radar.recordings import SENSOR_HEIGHT_M, follow, read_clips


def test_frames_of_the_official_split(data_pack: Path) -> None:
    clips = read_clips(data_pack)
    counts = {part: sum(len(c) for c in clips if c.part == part) for part in ("train", "validate", "test")}
    # 24,066 less the 7,112 frames of subject 1, which have no joints.
    assert counts == {"train": 16954, "validate": 8033, "test": 7984}
    assert {clip.movement for clip in clips if clip.subject == 4} == set(range(1, 10))
    feet = np.concatenate([clip.joints_m[:, 13, 2] for clip in clips])
    assert 0.0 < np.median(feet) < 0.08
    assert max(int(clip.gaps[1:].max(initial=1)) for clip in clips) <= 20


def test_clips_hold_what_was_recorded(tmp_path: Path) -> None:
    write_recordings(tmp_path)
    raw = recording(2)
    clips = read_clips(tmp_path, (2,))
    assert [(c.movement, c.part, len(c)) for c in clips] == [
        (movement, part, count)
        for movement in (1, 2)
        for part, count in (("train", 30), ("validate", 10), ("test", 10))
    ]
    clip, t = clips[1], 4
    frame = FRAMES * 0 + 30 + t
    points = raw["points"][raw["point_offset"][frame] : raw["point_offset"][frame + 1]]
    assert clip.present[t].sum() == len(points)
    np.testing.assert_allclose(clip.points_m[t][clip.present[t]], points[:, :3] + [0, 0, SENSOR_HEIGHT_M], atol=1e-6)
    np.testing.assert_array_equal(clip.radial_velocities_m_s[t][clip.present[t]], points[:, 3])
    np.testing.assert_allclose(clip.joints_m[t], raw["labels"][frame] + [0, 0, SENSOR_HEIGHT_M], atol=1e-6)


def test_a_clip_is_cut_where_many_frames_are_lost(tmp_path: Path) -> None:
    (tmp_path / "mars").mkdir()
    raw = recording(3)
    raw["frame_index"][10:FRAMES] += 5
    raw["frame_index"][20:FRAMES] += 60
    np.savez(tmp_path / "mars" / "subject3.npz", **raw)  # type: ignore[arg-type]
    clips = read_clips(tmp_path, (3,))
    assert [len(clip) for clip in clips[:3]] == [20, 10, 10]
    assert clips[0].gaps.tolist() == [1] * 10 + [6] + [1] * 9
    assert (clips[1].gaps == 1).all()


def test_frames_without_joints_are_left_out(tmp_path: Path) -> None:
    write_recordings(tmp_path)
    assert {clip.part for clip in read_clips(tmp_path, (1,))} == {"validate", "test"}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"subject1\.npz"):
        read_clips(tmp_path)
    (tmp_path / "mars").mkdir()
    np.savez(tmp_path / "mars" / "subject1.npz", points=np.zeros(1))
    with pytest.raises(ValueError, match="lacks point_offset, frame_index"):
        read_clips(tmp_path)


def test_the_anchor_follows_who_moves_and_sees_nothing_to_come() -> None:
    random = np.random.default_rng(1)
    middle = np.stack([np.linspace(0.0, 1.0, 100), np.full(100, 2.0)], axis=1)
    clouds = [centre + random.normal(0.0, 0.1, (20, 2)) for centre in middle]
    anchors = follow(clouds)
    assert np.abs(anchors - middle)[20:].max() < 0.25
    np.testing.assert_array_equal(follow(clouds[:40]), anchors[:40])
    still = follow([*clouds[:5], np.zeros((0, 2)), np.full((3, 2), 50.0)])
    np.testing.assert_array_equal(still[4:], np.tile(still[4], (3, 1)))
