"""Clips of other skeletons on ours: same joints at the same places, as far as our joints allow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusion.body.skeleton import SEGMENT
from fusion.maths import quaternion
from fusion.synthesis.clips import ClipError, clip_motion, clip_names

JOINTS = (
    "root", "chest", "neck",
    "right_hip", "right_knee", "right_ankle", "right_shoulder", "right_elbow", "right_wrist",
    "left_hip", "left_knee", "left_ankle", "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip
PARENTS = (-1, 0, 1, 0, 3, 4, 1, 6, 7, 0, 9, 10, 1, 12, 13)
OFFSETS = (
    (0, 0, 0), (0, 0, 0.25), (0, 0, 0.22),
    (0, -0.09, 0), (0, 0, -0.42), (0, 0, -0.40), (0, -0.18, 0.22), (0, 0, -0.28), (0, 0, -0.25),
    (0, 0.09, 0), (0, 0, -0.42), (0, 0, -0.40), (0, 0.18, 0.22), (0, 0, -0.28), (0, 0, -0.25),
)  # fmt: skip


def handmade(turns: dict[str, tuple[float, float, float]], frames: int = 20) -> dict[str, np.ndarray]:
    """A clip of somebody whose named joints turn steadily to the given rotation vectors."""
    local = np.zeros((frames, len(JOINTS), 4))
    local[..., 0] = 1.0
    for name, vector in turns.items():
        share = np.linspace(0.0, 1.0, frames)[:, None]
        local[:, JOINTS.index(name)] = quaternion.from_rotvec(share * np.array(vector))
    neutral = np.zeros((len(JOINTS), 4))
    neutral[:, 0] = 1.0
    return {
        "clip_name": np.array(["handmade"]),
        "clip_start": np.array([0, frames]),
        "fps": np.array([30.0]),
        "skeleton": np.array([0]),
        "joint_names": np.array(JOINTS),
        "parents": np.array(PARENTS),
        "offsets": np.array([OFFSETS], dtype=np.float32),
        "root_pos": np.tile(np.array([0.0, 0.0, 0.9], dtype=np.float32), (frames, 1)),
        "quat": local,
        "quat_scale": np.array(1.0),
        "neutral_quat": neutral,
    }


def test_bent_knee_and_elbow_arrive_as_such() -> None:
    motion = clip_motion(handmade({"left_knee": (0.0, 1.0, 0.0), "right_elbow": (0.0, -1.2, 0.0)}))
    positions, _ = motion.pose(np.array([motion.duration_s]))
    knee, ankle = positions[0, SEGMENT["left_lower_leg"]], positions[0, SEGMENT["left_foot"]]
    np.testing.assert_allclose(ankle - knee, [-0.40 * np.sin(1.0), 0.0, -0.40 * np.cos(1.0)], atol=0.02)
    elbow, wrist = positions[0, SEGMENT["right_forearm"]], positions[0, SEGMENT["right_hand"]]
    np.testing.assert_allclose(wrist - elbow, [0.25 * np.sin(1.2), 0.0, -0.25 * np.cos(1.2)], atol=0.02)


def test_a_neutral_clip_stands_upright_on_the_floor() -> None:
    motion = clip_motion(handmade({}))
    positions, _ = motion.pose(np.array([0.3]))
    assert positions[0, SEGMENT["left_toe"], 2] == pytest.approx(0.0, abs=0.02)
    assert positions[0, SEGMENT["head"], 2] > 1.3
    assert positions[0, SEGMENT["left_hand"], 1] > 0.0 > positions[0, SEGMENT["right_hand"], 1]
    assert positions[0, SEGMENT["left_hand"], 2] < positions[0, SEGMENT["left_upper_arm"], 2] - 0.4


@pytest.mark.parametrize("name", ["cmu/cmu_02_01.npz", "deepmimic/dm_walk.npz", "deepmimic/dm_dance_a.npz"])
def test_real_clips_keep_their_joints_in_place(data_pack: Path, name: str) -> None:
    """Ankles and knees relative to the hips agree with the clip within centimetres."""
    with np.load(data_pack / "motion" / name) as file:
        arrays = {key: file[key] for key in file.files}
    motion = clip_motion(arrays)
    joints = [str(joint) for joint in arrays["joint_names"]]
    local = quaternion.normalize(arrays["quat"].astype(float))
    offsets = arrays["offsets"][0]
    positions, turned = np.zeros((len(local), len(joints), 3)), local.copy()
    for joint, parent in enumerate(arrays["parents"]):
        positions[:, joint] = arrays["root_pos"] if parent < 0 else positions[:, parent] + quaternion.rotate(
            turned[:, parent], offsets[joint]
        )  # fmt: skip
        if parent >= 0:
            turned[:, joint] = quaternion.multiply(turned[:, parent], local[:, joint])
    ours, _ = motion.pose(np.arange(len(local)) / float(arrays["fps"][0]))
    cmu = name.startswith("cmu")
    theirs = {
        "left_upper_leg": "lfemur" if cmu else "left_hip",
        "right_upper_leg": "rfemur" if cmu else "right_hip",
        "left_lower_leg": "ltibia" if cmu else "left_knee",
        "right_foot": "rfoot" if cmu else "right_ankle",
        "left_hand": "lwrist" if cmu else "left_wrist",
    }
    middle = 0.5 * sum(positions[:, joints.index(theirs[f"{side}_upper_leg"])] for side in ("left", "right"))
    for segment, joint in theirs.items():
        apart = ours[:, SEGMENT[segment]] - ours[:, 0] - (positions[:, joints.index(joint)] - middle)
        assert np.linalg.norm(apart, axis=1).mean() < (0.08 if "hand" in segment else 0.02), segment


def test_one_of_several_clips_is_found_by_name(data_pack: Path) -> None:
    with np.load(data_pack / "motion_nc" / "deepmimic_sie.npz") as file:
        arrays = {key: file[key] for key in file.files}
    names = clip_names(arrays)
    motion = clip_motion(arrays, names[3])
    frames = np.diff(arrays["clip_start"])[3]
    assert motion.duration_s == pytest.approx((frames - 1) / arrays["fps"][3])
    with pytest.raises(ClipError, match="no clip 'nonesuch'; its clips: "):
        clip_motion(arrays, "nonesuch")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quat": None}, "lacks quat"),
        ({"joint_names": np.array([f"bone{i}" for i in range(len(JOINTS))])}, "no known skeleton; known: CMU"),
        ({"clip_start": np.array([0, 3])}, "3 frames, expected at least"),
        ({"root_pos": np.full((20, 3), np.nan)}, "not finite"),
        ({"neutral_quat": np.ones((3, 4)), "parents": np.array([-1])}, "do not fit together"),
    ],
)
def test_files_that_are_no_clips_are_refused(change: dict, message: str) -> None:
    arrays = {key: value for key, value in (handmade({}) | change).items() if value is not None}
    with pytest.raises(ClipError, match=message):
        clip_motion(arrays)
