"""The split of the motion clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.clips import FIT, HELD_OUT, UNUSED, avoid_s, clip_path, load_motion


def test_no_clip_serves_two_ends() -> None:
    names = (*FIT, *HELD_OUT, *UNUSED)
    assert len(set(names)) == len(names)
    assert not [name for name in FIT if name.startswith("cmu_02")]


def test_every_clip_of_the_pack_is_placed(data_pack: Path) -> None:
    found = {path.stem for folder in ("cmu", "deepmimic") for path in (data_pack / "motion" / folder).glob("*.npz")}
    assert found == {*FIT, *HELD_OUT, *UNUSED}


def test_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dm_punch"):
        clip_path(tmp_path, "bn_walk")


@pytest.mark.parametrize("name", HELD_OUT)
def test_clips_to_judge_on_move_as_bodies_do(data_pack: Path, name: str) -> None:
    assert avoid_s(name) == ()
    motion = load_motion(data_pack, name)
    times = np.arange(0.0, motion.duration_s, 0.005)
    positions, _ = motion.pose(times)
    speeds = np.linalg.norm(np.diff(positions, axis=0), axis=2) / 0.005
    assert 0.2 < speeds.max() < 15.0
    assert np.abs(positions[:, 0]).max() < 20.0


def test_jumps_lie_inside_the_spans_to_avoid(data_pack: Path) -> None:
    motion = load_motion(data_pack, "cmu_01_12")
    (span,) = avoid_s("cmu_01_12")
    times = np.arange(0.0, motion.duration_s, 1.0 / 120.0)
    knee = motion.pose(times)[0][:, 15:21]
    speeds = np.linalg.norm(np.diff(knee, axis=0), axis=2).max(axis=1) * 120.0
    fastest = times[np.argmax(speeds)]
    assert span[0] < fastest < span[1]
