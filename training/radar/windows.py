"""Windows of clips to learn from, each of them somebody else, elsewhere, before a poorer sensor.

What four people did in one place has to do for all: a window is mirrored or not, taller or smaller, wider or
narrower, loses points and whole frames, and its anchor is off. A third of the windows has an anchor that follows the
points, as where nobody knows the person's place; these are also turned about the radar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusion.body.catalog import landmark_set
from fusion.estimators.radar.features import REACH_M, frame_features, point_features
from fusion.estimators.radar.packing import JOINT_SET, JOINTS
from fusion.records import Array, Bool, Float32
from training.radar.recordings import STANDING_PLACE_M, Clip

_NAMES = landmark_set(JOINT_SET).landmark_names
_OPPOSITE = {"left": "right", "right": "left"}
MIRRORED = np.array([_NAMES.index("_".join(_OPPOSITE.get(word, word) for word in name.split("_"))) for name in _NAMES])
"""Which joint stands where each stood, in a mirror."""
_PLACE_M: Float32 = np.array(STANDING_PLACE_M, dtype=np.float32)
_EXTREME = 2.2
_SPINE = [_NAMES.index(name) for name in ("mid_hip", "mid_spine", "neck_base")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """How windows are varied."""

    mirrored: float = 0.5
    """Share of windows."""
    head_m: float = 1.58
    """Mean height of the middle of the head that joints are scaled to: of adults, 0.12 m below their stature."""
    head_spread_m: float = 0.09
    """Standard deviation of it among adults; 0: everybody keeps their own size."""
    points_follow: float = 0.7
    """Share of that scaling which points take part in: the beam of the sensor is as high for all."""
    level_m: float = 0.03
    """Standard deviation of a window's points up or down altogether."""
    width: float = 0.1
    """Widths are scaled by up to so much more or less."""
    turn_rad: float = 0.14
    """About the radar, at most; only where the anchor follows."""
    followed: float = 0.3
    """Share of windows whose anchor follows the points."""
    anchor_m: float = 0.02
    """Standard deviation of a known anchor, right and away."""
    followed_anchor_m: float = 0.08
    """What a following one is off besides, for a whole window."""
    kept: float = 0.5
    """At least so many of a window's points are kept."""
    point_m: float = 0.02
    """Standard deviation put on points."""
    lost: float = 0.1
    """Half of the windows lose up to so many of their frames' points altogether."""


SEEN = Variation(head_spread_m=0.0, level_m=0.0, width=0.04)
"""For people who are learned from: who it is may be recognised, so nobody becomes another's size."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """B stretches of T frames, N points each."""

    points: Float32
    """[B, T, N, 7]."""
    present: Bool
    """[B, T, N]."""
    frames: Float32
    """[B, T, 6]."""
    joints_m: Float32
    """[B, T, 57] anchor's frame."""
    valid: Bool
    """[B, T] False behind the end of a clip."""


def truth_offset_m(clips: Sequence[Clip]) -> Float32:
    """How far joints stand from the radar's axes [2] (right, away): spine less the middle of the points, right.

    Over movements to both sides the points of a person gather about the person. The joints of MARS stand 0.17 m to
    the side of them, which is how their camera was placed, not what radar sees. Away from the radar the difference
    is that between a body's surface and its joints, and stays.
    """
    offsets = [
        clip.joints_m[:, _SPINE, 0].mean() - clip.points_m[..., 0][clip.present & _near(clip)].mean() for clip in clips
    ]
    return np.array([np.mean(offsets), 0.0], dtype=np.float32)


def _near(clip: Clip) -> Bool:
    near: Bool = np.hypot(clip.points_m[..., 0], clip.points_m[..., 1] - STANDING_PLACE_M[1]) < REACH_M
    return near


def mean_pose_m(clips: Sequence[Clip]) -> Float32:
    """Mean joints [19, 3] in the frame of known anchors."""
    joints = np.concatenate([clip.joints_m for clip in clips]).mean(axis=0, dtype=np.float64)
    joints[:, :2] -= STANDING_PLACE_M
    pose: Float32 = joints.astype(np.float32)
    return pose


def whole(clip: Clip, *, followed: bool) -> Window:
    """A clip as it is, B = 1."""
    anchors = clip.anchors_m if followed else np.tile(_PLACE_M, (len(clip), 1))
    return _seen(
        clip.points_m[None], clip.radial_velocities_m_s[None], clip.present[None], clip.joints_m[None], anchors[None],
        clip.gaps[None], np.array([followed]), np.ones((1, len(clip)), np.bool_),
    )  # fmt: skip


def draw(
    clips: Sequence[Clip],
    random: np.random.Generator,
    offset_m: Float32,
    variation: Variation,
    *,
    lanes: int,
    frames: int,
    points: int,
) -> Window:
    """Varied windows.

    Args:
        clips: to draw from, by their lengths.
        random: where chance comes from.
        offset_m: [2] ``truth_offset_m`` of the clips.
        variation: how far from what was recorded.
        lanes: B, stretches.
        frames: T of each.
        points: N of a frame, drawn among those there are.
    """
    lengths = np.array([len(clip) for clip in clips], dtype=np.float64)
    chosen = random.choice(len(clips), lanes, p=lengths / lengths.sum())
    positions, speeds = np.zeros((lanes, frames, points, 3), np.float32), np.zeros((lanes, frames, points), np.float32)
    present, valid = np.zeros((lanes, frames, points), np.bool_), np.zeros((lanes, frames), np.bool_)
    joints, anchors = np.zeros((lanes, frames, JOINTS, 3), np.float32), np.zeros((lanes, frames, 2), np.float32)
    gaps, followed = np.ones((lanes, frames), np.int64), random.random(lanes) < variation.followed
    for lane, k in enumerate(chosen):
        stretch = _stretch(clips[k], random, frames)
        count = stretch.stop - stretch.start
        parts = _varied(clips[k], stretch, random, points, variation, bool(followed[lane]), offset_m)
        for array, part in zip((positions, speeds, present, joints, anchors), parts, strict=True):
            array[lane, :count] = part
        gaps[lane, :count], valid[lane, :count] = clips[k].gaps[stretch], True
    return _seen(positions, speeds, present, joints, anchors, gaps, followed, valid)


def _stretch(clip: Clip, random: np.random.Generator, frames: int) -> slice:
    """Where a window begins and ends; more often at the beginning of a clip, since there the network knows nothing."""
    first = max(int(random.integers(-frames // 4, max(len(clip) - frames // 2, 1))), 0)
    return slice(first, min(first + frames, len(clip)))


def _varied(
    clip: Clip, at: slice, random: np.random.Generator, points: int, v: Variation, followed: bool, offset: Float32
) -> tuple[Array, Array, Array, Array, Array]:
    """Points, radial velocities, which are there, joints and anchors of a stretch."""
    chosen, present = _thinned(clip.present[at], random, points, v)
    positions = np.take_along_axis(clip.points_m[at], chosen[..., None], axis=1)
    positions += random.normal(0.0, v.point_m, positions.shape).astype(np.float32)
    speeds = np.take_along_axis(clip.radial_velocities_m_s[at], chosen, axis=1)
    joints = clip.joints_m[at].copy()
    anchors = clip.anchors_m[at].copy() if followed else np.tile(_PLACE_M, (len(joints), 1))
    middle = anchors.mean(axis=0)
    tall = np.float32(_head_height(random, v) / clip.head_m) if v.head_spread_m else np.float32(1.0)
    joints[..., 2] *= tall
    positions[..., 2] *= 1.0 + v.points_follow * (tall - 1.0)
    positions[..., 2] += np.float32(random.normal(0.0, v.level_m))
    wide = np.float32(1.0 + random.uniform(-v.width, v.width))
    for array in (positions, joints):
        array[..., :2] = (array[..., :2] - middle) * wide + middle
    anchors = (anchors - middle) * wide + middle
    speeds = speeds * wide
    joints[..., :2] -= offset
    if random.random() < v.mirrored:
        joints = joints[:, MIRRORED]
        for array in (positions, joints, anchors):
            array[..., 0] *= -1.0
    if followed:
        turn = _turn(random.uniform(-v.turn_rad, v.turn_rad))
        positions[..., :2], joints[..., :2] = positions[..., :2] @ turn, joints[..., :2] @ turn
        anchors = anchors @ turn
    anchors = anchors + random.normal(0.0, v.followed_anchor_m if followed else v.anchor_m, 2)
    joints[..., :2] += offset
    return positions, speeds, present, joints, anchors


def _head_height(random: np.random.Generator, v: Variation) -> float:
    """Of an adult, none of the tallest or smallest."""
    return v.head_m + v.head_spread_m * float(np.clip(random.normal(), -_EXTREME, _EXTREME))


def _thinned(there: Bool, random: np.random.Generator, points: int, v: Variation) -> tuple[Array, Bool]:
    """Which points [T, N] are drawn among those there are [T, 64], and which of the drawn are there."""
    order = np.where(
        there & (random.random(there.shape) < random.uniform(v.kept, 1.0)), random.random(there.shape), 2.0
    )
    chosen = np.argpartition(order, points - 1, axis=1)[:, :points]
    present = np.take_along_axis(order, chosen, axis=1) < 1.5
    if random.random() < 0.5:
        present[random.random(len(there)) < random.uniform(0.0, v.lost)] = False
    return chosen, present


def _turn(angle_rad: float) -> Float32:
    """[2, 2] that turns rows."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, s], [-s, c]], dtype=np.float32)


def _seen(
    positions: Array,
    speeds: Array,
    present: Array,
    joints: Array,
    anchors: Array,
    gaps: Array,
    followed: Array,
    valid: Array,
) -> Window:
    """What the network sees of arrays [B, T, ...], and the truth in the anchor's frame."""
    relative, told = positions.copy(), joints.copy()
    relative[..., :2] -= anchors[:, :, None]
    told[..., :2] -= anchors[:, :, None]
    present = present & (np.hypot(relative[..., 0], relative[..., 1]) < REACH_M)
    steps = np.diff(anchors, axis=1, prepend=anchors[:, :1])
    frames = frame_features(present.sum(axis=-1), gaps, steps, np.broadcast_to(followed[:, None], gaps.shape))
    return Window(
        points=point_features(relative, speeds),
        present=present,
        frames=frames,
        joints_m=told.reshape(*told.shape[:2], -1).astype(np.float32),
        valid=np.asarray(valid, dtype=np.bool_),
    )
