"""Motion-capture clips on our skeleton: other bones, other names, other neutral poses.

A segment of ours is tied by name to a joint of the clip that moves the same
part. What the clip's joint has turned since its neutral pose, our segment turns
too, from where it stands in that neutral pose: there each of our bones is laid
along the clip's bone by the smallest rotation from the T-pose. Our joints then
take what their freedom allows, so a clip that twists a knee loses the twist.
The lengths are those of the clip's bones.

The outcome is a movement of our own skeleton that looks like the clip, not a
reconstruction of the actor: simulated sensors and truth agree with each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fusion.body.kinematics import forward_kinematics_batch
from fusion.body.skeleton import COORDINATE, COORDINATES, LENGTH, REFERENCE_LENGTHS_M
from fusion.maths import quaternion
from fusion.records import Array, Float64
from fusion.synthesis.actions import SIDE_SIGN, Side
from fusion.synthesis.legs import rotation_x, rotation_y, rotation_z
from fusion.synthesis.motion import BodyMotion
from fusion.synthesis.script import sole_points


class ClipError(ValueError):
    """A clip that cannot be used; the message says why and what would be."""


@dataclass(frozen=True, slots=True)
class ClipSkeleton:
    """Names of a clip's joints by what they move; ``{side}`` and ``{s}`` stand for the two sides."""

    name: str
    sides: Mapping[Side, str]
    """How a side is written in the names."""
    pelvis: str
    chest: str
    head: str
    upper_arm: str
    forearm: str
    hand: str
    thigh: str
    shank: str
    foot: str
    clavicle: str | None = field(default=None)

    def of(self, part: str, side: Side) -> str:
        """Name of a joint of one side."""
        return str(getattr(self, part)).format(self.sides[side])


CLIP_SKELETONS: tuple[ClipSkeleton, ...] = (
    ClipSkeleton(
        "CMU", {"left": "l", "right": "r"}, "root", "thorax", "head",
        "{}humerus", "{}radius", "{}wrist", "{}femur", "{}tibia", "{}foot", "{}clavicle",
    ),
    ClipSkeleton(
        "DeepMimic", {"left": "left", "right": "right"}, "root", "chest", "neck",
        "{}_shoulder", "{}_elbow", "{}_wrist", "{}_hip", "{}_knee", "{}_ankle",
    ),
    ClipSkeleton(
        "Bandai Namco", {"left": "L", "right": "R"}, "Hips", "Chest", "Head",
        "UpperArm_{}", "LowerArm_{}", "Hand_{}", "UpperLeg_{}", "LowerLeg_{}", "Foot_{}", "Shoulder_{}",
    ),
)  # fmt: skip

_KEYS = ("clip_name", "clip_start", "fps", "skeleton", "joint_names", "parents", "offsets", "root_pos", "quat",
         "quat_scale", "neutral_quat")  # fmt: skip
_T8_TO_SHOULDER_LINE_M = 0.0747
_LOW_SHARE_PERCENT = 5.0
"""The floor is where the soles are in the lowest so many percent of the frames."""
_SMOOTHING_S = 0.02
_ELBOW_BENT = 0.35
"""Sine of the bend from which an elbow says where its plane is."""
_MIN_FRAMES = 8


@dataclass(frozen=True, slots=True, eq=False)
class _Clip:
    """One clip of a file, as world rotations and positions."""

    names: tuple[str, ...]
    fps: float
    positions: Float64
    """[T, J, 3]."""
    rotations: Float64
    """[T, J, 3, 3]."""
    neutral_positions: Float64
    """[J, 3]."""
    neutral_rotations: Float64
    """[J, 3, 3]."""

    def index(self, name: str) -> int:
        return self.names.index(name)


def clip_names(arrays: Mapping[str, Array]) -> tuple[str, ...]:
    """Names of the clips in a file.

    Raises:
        ClipError: if a part of the format is missing.
    """
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        raise ClipError(f"it lacks {', '.join(missing)}; expected the keys {', '.join(_KEYS)}")
    return tuple(str(name) for name in np.atleast_1d(arrays["clip_name"]))


def clip_motion(arrays: Mapping[str, Array], name: str | None = None) -> BodyMotion:
    """The movement of a clip on our skeleton; it ends with the clip.

    Args:
        arrays: the file's arrays by key: clip_name, clip_start, fps, skeleton, joint_names,
            parents, offsets [S, J, 3] m, root_pos [T, 3] m, quat [T, J, 4] wxyz times 1/quat_scale,
            neutral_quat [J, 4]; Z up, the neutral pose upright and facing +x.
        name: which clip; None for the first.

    Raises:
        ClipError: naming what is wrong and what is allowed.
    """
    clip = _read(arrays, name)
    skeleton = _skeleton_of(clip.names)
    lengths = _lengths(clip, skeleton)
    samples = _coordinates(clip, skeleton)
    positions, quaternions = forward_kinematics_batch(samples, lengths)
    lowest = sole_points(positions, quaternions, lengths)[:, :, 2].min(axis=1)
    samples[:, COORDINATE["root_pz"]] -= np.percentile(lowest, _LOW_SHARE_PERCENT)
    return BodyMotion(samples, clip.fps, lengths, periodic=False, smoothing_s=_SMOOTHING_S)


def _read(arrays: Mapping[str, Array], name: str | None) -> _Clip:
    names = clip_names(arrays)
    if name is not None and name not in names:
        shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        raise ClipError(f"it has no clip {name!r}; its clips: {shown}")
    index = 0 if name is None else names.index(name)
    joints = tuple(str(joint) for joint in arrays["joint_names"])
    parents = np.asarray(arrays["parents"], dtype=np.int64)
    begin, end = (int(value) for value in arrays["clip_start"][index : index + 2])
    local = np.asarray(arrays["quat"][begin:end], dtype=np.float64) * float(arrays["quat_scale"])
    root = np.asarray(arrays["root_pos"][begin:end], dtype=np.float64)
    offsets = np.asarray(arrays["offsets"][int(np.atleast_1d(arrays["skeleton"])[index])], dtype=np.float64)
    neutral = np.asarray(arrays["neutral_quat"], dtype=np.float64)
    if local.shape != (len(root), len(joints), 4) or offsets.shape != (len(joints), 3) or len(parents) != len(joints):
        raise ClipError(
            f"arrays do not fit together: quat {local.shape}, offsets {offsets.shape}, {len(joints)} joints"
        )
    if len(local) < _MIN_FRAMES:
        raise ClipError(f"clip {names[index]!r} has {len(local)} frames, expected at least {_MIN_FRAMES}")
    fps = float(np.atleast_1d(arrays["fps"])[index])
    if not (np.isfinite(local).all() and np.isfinite(root).all() and fps > 0.0):
        raise ClipError(f"clip {names[index]!r} holds numbers that are not finite, or a rate of {fps}")
    positions, rotations = _forward(local, root, offsets, parents)
    rest_positions, rest_rotations = _forward(neutral[None], np.zeros((1, 3)), offsets, parents)
    return _Clip(joints, fps, positions, rotations, rest_positions[0], rest_rotations[0])


def _forward(local: Float64, root_m: Float64, offsets_m: Float64, parents: Any) -> tuple[Float64, Float64]:
    """Forward kinematics of any tree, parents first: positions [T, J, 3] and rotations [T, J, 3, 3]."""
    rotations = quaternion.to_matrix(quaternion.normalize(local))
    positions = np.empty((*local.shape[:2], 3))
    for joint, parent in enumerate(parents):
        if parent < 0:
            positions[:, joint] = root_m
        else:
            positions[:, joint] = positions[:, parent] + rotations[:, parent] @ offsets_m[joint]
            rotations[:, joint] = rotations[:, parent] @ rotations[:, joint]
    return positions, rotations


def _skeleton_of(names: tuple[str, ...]) -> ClipSkeleton:
    for skeleton in CLIP_SKELETONS:
        wanted = [skeleton.pelvis, skeleton.chest, skeleton.head]
        for part in ("upper_arm", "forearm", "hand", "thigh", "shank", "foot"):
            wanted += [skeleton.of(part, side) for side in SIDE_SIGN]
        if set(wanted) <= set(names):
            return skeleton
    known = ", ".join(skeleton.name for skeleton in CLIP_SKELETONS)
    raise ClipError(f"joints {', '.join(names[:6])}, …: the names of no known skeleton; known: {known}")


def _lengths(clip: _Clip, skeleton: ClipSkeleton) -> Float64:
    """Our proportions from the clip's bones in its neutral pose."""
    place = clip.neutral_positions

    def apart(first: str, second: str) -> float:
        return float(np.linalg.norm(place[clip.index(first)] - place[clip.index(second)]))

    def both(first: str, second: str) -> float:
        return 0.5 * sum(apart(skeleton.of(first, side), skeleton.of(second, side)) for side in SIDE_SIGN)

    lengths = REFERENCE_LENGTHS_M.copy()
    measured = {
        "thigh": both("thigh", "shank"),
        "shank": both("shank", "foot"),
        "upper_arm": both("upper_arm", "forearm"),
        "forearm": both("forearm", "hand"),
        "pelvis": apart(skeleton.of("thigh", "left"), skeleton.of("thigh", "right")),
        "shoulders": apart(skeleton.of("upper_arm", "left"), skeleton.of("upper_arm", "right")),
    }
    middles = [
        0.5 * (place[clip.index(skeleton.of(part, "left"))] + place[clip.index(skeleton.of(part, "right"))])
        for part in ("thigh", "upper_arm")
    ]
    trunk = float(np.linalg.norm(middles[1] - middles[0]))
    reference_trunk = REFERENCE_LENGTHS_M[LENGTH["trunk"]] + _T8_TO_SHOULDER_LINE_M
    measured["trunk"] = REFERENCE_LENGTHS_M[LENGTH["trunk"]] * trunk / reference_trunk
    ratios = [value / REFERENCE_LENGTHS_M[LENGTH[name]] for name, value in measured.items()]
    lengths *= float(np.median(ratios))
    for name, value in measured.items():
        lengths[LENGTH[name]] = value
    return lengths


def _coordinates(clip: _Clip, skeleton: ClipSkeleton) -> Float64:
    """Coordinates [T, 44] from the clip's rotations since its neutral pose."""
    samples = np.zeros((len(clip.positions), COORDINATES))
    hips = [clip.positions[:, clip.index(skeleton.of("thigh", side))] for side in SIDE_SIGN]
    pelvis = _turned(clip, skeleton.pelvis, np.eye(3))
    chest = _turned(clip, skeleton.chest, np.eye(3))
    head = _turned(clip, skeleton.head, np.eye(3))
    _write_vector(samples, "root_r", pelvis)
    samples[:, [COORDINATE[f"root_p{axis}"] for axis in "xyz"]] = 0.5 * (hips[0] + hips[1])
    _write_vector(samples, "spine_", _transposed(pelvis) @ chest)
    _write_vector(samples, "neck_", _transposed(chest) @ head)
    for side, sign in SIDE_SIGN.items():
        _write_arm(samples, clip, skeleton, side, sign, chest)
        _write_leg(samples, clip, skeleton, side, pelvis)
    return samples


def _write_leg(samples: Float64, clip: _Clip, skeleton: ClipSkeleton, side: Side, pelvis: Float64) -> None:
    down = np.array([0.0, 0.0, -1.0])
    thigh = _turned(clip, *_bone(clip, skeleton, side, "thigh", "shank", down))
    shank_name, shank_start = _bone(clip, skeleton, side, "shank", "foot", down)
    shank = _turned(clip, shank_name, shank_start)
    # Where a neutral pose has the legs apart, the feet lean with them.
    lean = np.arctan2(-shank_start[1, 2], shank_start[2, 2])
    foot = _turned(clip, skeleton.of("foot", side), rotation_x(lean)[0])
    _write_vector(samples, f"{side}_hip_", _transposed(pelvis) @ thigh)
    bone = (_transposed(thigh) @ shank) @ down
    knee = np.arctan2(-bone[:, 0], -bone[:, 2])
    samples[:, COORDINATE[f"{side}_knee_flexion"]] = np.unwrap(knee)
    relative = _transposed(thigh @ rotation_y(knee)) @ foot
    sign = SIDE_SIGN[side]
    samples[:, COORDINATE[f"{side}_ankle_dorsiflexion"]] = np.unwrap(np.arctan2(relative[:, 2, 0], relative[:, 0, 0]))
    samples[:, COORDINATE[f"{side}_ankle_inversion"]] = -sign * np.unwrap(
        np.arctan2(-relative[:, 1, 2], relative[:, 1, 1])
    )


def _write_arm(samples: Float64, clip: _Clip, skeleton: ClipSkeleton, side: Side, sign: float, chest: Float64) -> None:
    out = np.array([0.0, sign, 0.0])
    shoulder = chest
    if skeleton.clavicle is not None:
        clavicle = _turned(clip, skeleton.of("clavicle", side), np.eye(3))
        bone = (_transposed(chest) @ clavicle) @ out
        protraction = np.arcsin(np.clip(bone[:, 0], -1.0, 1.0))
        elevation = np.arctan2(bone[:, 2], sign * bone[:, 1])
        samples[:, COORDINATE[f"{side}_shoulder_elevation"]] = elevation
        samples[:, COORDINATE[f"{side}_shoulder_protraction"]] = protraction
        shoulder = chest @ rotation_x(sign * elevation) @ rotation_z(-sign * protraction)
    upper = _turned(clip, *_bone(clip, skeleton, side, "upper_arm", "forearm", out))
    fore = _turned(clip, *_bone(clip, skeleton, side, "forearm", "hand", out))
    # Our elbow bends about one axis: the upper arm is rolled until the forearm lies in its plane.
    bone = (_transposed(upper) @ fore) @ out
    bend = np.hypot(bone[:, 0], bone[:, 2])
    roll = np.arctan2(bone[:, 2], bone[:, 0]) * np.clip(bend / _ELBOW_BENT, 0.0, 1.0) ** 2
    upper = upper @ rotation_y(-roll)
    relative = _transposed(upper) @ fore
    bone = relative @ out
    flexion = np.arctan2(bone[:, 0], sign * bone[:, 1])
    relative = _transposed(rotation_z(-sign * flexion)) @ relative
    _write_vector(samples, f"{side}_arm_", _transposed(shoulder) @ upper)
    samples[:, COORDINATE[f"{side}_elbow_flexion"]] = np.unwrap(flexion)
    pronation = np.unwrap(np.arctan2(relative[:, 0, 2], relative[:, 2, 2]))
    samples[:, COORDINATE[f"{side}_forearm_pronation"]] = pronation


def _bone(clip: _Clip, skeleton: ClipSkeleton, side: Side, begin: str, end: str, ours: Float64) -> tuple[str, Float64]:
    """A joint's name and the rotation that lays our T-pose bone along the clip's neutral one."""
    first, second = skeleton.of(begin, side), skeleton.of(end, side)
    theirs = clip.neutral_positions[clip.index(second)] - clip.neutral_positions[clip.index(first)]
    return first, _shortest(ours, theirs / np.linalg.norm(theirs))


def _shortest(first: Float64, second: Float64) -> Float64:
    """Smallest rotation [3, 3] that takes one unit vector to another."""
    axis = np.cross(first, second)
    size = float(np.linalg.norm(axis))
    if size < 1e-9:
        return np.eye(3)
    angle = np.arctan2(size, float(first @ second))
    return np.asarray(quaternion.to_matrix(quaternion.from_rotvec(axis / size * angle)))


def _turned(clip: _Clip, name: str, start: Float64) -> Float64:
    """World orientation [T, 3, 3] of a segment that stood at ``start`` in the neutral pose."""
    joint = clip.index(name)
    return np.asarray(clip.rotations[:, joint] @ clip.neutral_rotations[joint].T @ start)


def _write_vector(samples: Float64, prefix: str, rotations: Float64) -> None:
    samples[:, [COORDINATE[f"{prefix}{axis}"] for axis in "xyz"]] = quaternion.to_rotvec(
        quaternion.from_matrix(rotations)
    )


def _transposed(matrices: Float64) -> Float64:
    return np.asarray(np.swapaxes(matrices, -1, -2))
