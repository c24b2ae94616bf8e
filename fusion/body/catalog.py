"""The one home of landmark orders, and where each landmark sits on the body.

Orders are mapped by name, never by number: a landmark set is a tuple of names,
and ``_PLACES`` says once per name which segment carries it and where, in the
reference body. Source of the orders: COCO, OpenPose (BODY_25, BODY_25B),
Halpe-FullBody and MediaPipe's BlazePose documentation; for the joints of Kinect v2 in the
MARS recordings and those of RT-Pose, their repositories.

A landmark of a detector is not the joint centre that its name says (medians of
30-80 mm between detectors); ``sigma_scale`` says how much less a landmark is to
be trusted than a well-defined one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fusion.body.skeleton import LENGTH, REFERENCE_LENGTHS_M, SEGMENT, SEGMENT_NAMES
from fusion.maths import quaternion
from fusion.records import Float64, Int64

SKELETON = "kinefuse_23"
"""Name of our skeleton in records; its joints are ``SEGMENT_NAMES``."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a landmark sits: a segment, an offset in its T-pose frame, and the length that scales it."""

    segment: str
    offset_m: tuple[float, float, float]
    length: str
    sigma_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class LandmarkSet:
    """A named order of landmarks."""

    name: str
    landmark_names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Attachments:
    """A landmark set on the reference body, as arrays over its K landmarks."""

    identity: int
    """Number of the landmark set."""
    segment: Int64
    """[K] index into ``SEGMENT_NAMES``, -1 where the landmark is not on our body."""
    unit_offset: Float64
    """[K, 3] offset in the segment's frame per metre of the length."""
    length: Int64
    """[K] index into ``LENGTH_NAMES``."""
    sigma_scale: Float64
    """[K] factor on the standard deviation of a measurement."""


def _mirrored(name: str, place: Place) -> dict[str, Place]:
    """A left and a right landmark from the left one."""
    x, y, z = place.offset_m
    segment = place.segment
    return {
        f"left_{name}": place,
        f"right_{name}": Place(segment.replace("left_", "right_"), (x, -y, z), place.length, place.sigma_scale),
    }


_PLACES: dict[str, Place] = {
    "nose": Place("head", (0.105, 0.0, 0.045), "head"),
    "head_top": Place("head", (0.03, 0.0, 0.175), "head", 2.0),
    "upper_neck": Place("neck", (-0.01, 0.0, 0.03), "neck", 2.0),
    "mid_shoulder": Place("t8", (0.0, 0.0, 0.0747), "shoulders", 1.2),
    "mid_hip": Place("pelvis", (0.0, 0.0, 0.0), "pelvis", 1.2),
    "mid_spine": Place("t12", (0.0, 0.0, 0.0), "trunk", 1.5),
    "head_centre": Place("head", (0.02, 0.0, 0.09), "head", 1.5),
    "skull_base": Place("head", (0.0, 0.0, 0.0), "head", 1.5),
    "neck_base": Place("neck", (0.0, 0.0, 0.0), "neck", 1.5),
    **_mirrored("eye", Place("head", (0.085, 0.032, 0.08), "head")),
    **_mirrored("eye_inner", Place("head", (0.09, 0.018, 0.08), "head")),
    **_mirrored("eye_outer", Place("head", (0.078, 0.046, 0.08), "head")),
    **_mirrored("ear", Place("head", (0.0, 0.075, 0.06), "head")),
    **_mirrored("mouth", Place("head", (0.09, 0.025, 0.01), "head")),
    **_mirrored("shoulder", Place("left_upper_arm", (0.0, 0.0, 0.0), "upper_arm")),
    **_mirrored("elbow", Place("left_forearm", (0.0, 0.0, 0.0), "forearm")),
    **_mirrored("wrist", Place("left_hand", (0.0, 0.0, 0.0), "hand")),
    **_mirrored("hip", Place("left_upper_leg", (0.0, 0.0, 0.0), "thigh", 1.2)),
    **_mirrored("knee", Place("left_lower_leg", (0.0, 0.0, 0.0), "shank")),
    **_mirrored("ankle", Place("left_foot", (0.0, 0.0, 0.0), "foot")),
    **_mirrored("heel", Place("left_foot", (-0.055, 0.0, -0.075), "foot")),
    **_mirrored("foot_tip", Place("left_toe", (0.05, 0.0, 0.01), "foot")),
    **_mirrored("big_toe", Place("left_toe", (0.045, -0.02, 0.01), "foot")),
    **_mirrored("small_toe", Place("left_toe", (0.005, 0.045, 0.01), "foot")),
    **_mirrored("pinky", Place("left_hand", (-0.03, 0.085, 0.0), "hand", 1.5)),
    **_mirrored("index", Place("left_hand", (0.025, 0.095, 0.0), "hand", 1.5)),
    **_mirrored("thumb", Place("left_hand", (0.035, 0.06, -0.01), "hand", 1.5)),
}


def _pairs(*names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in names for side in ("left", "right"))


_COCO = ("nose", *_pairs("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"))
_FEET = (
    "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip

LANDMARK_SETS: dict[str, LandmarkSet] = {
    item.name: item
    for item in (
        LandmarkSet("coco_17", _COCO),
        LandmarkSet("body_25b", (*_COCO, "upper_neck", "head_top", *_FEET)),
        LandmarkSet("body_25", (
            "nose", "mid_shoulder",
            "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
            "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
            "right_eye", "left_eye", "right_ear", "left_ear", *_FEET,
        )),
        LandmarkSet("halpe_26", (
            *_COCO, "head_top", "mid_shoulder", "mid_hip",
            *_pairs("big_toe"), *_pairs("small_toe"), *_pairs("heel"),
        )),
        LandmarkSet("blazepose_33", (
            "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
            *_pairs("ear", "mouth", "shoulder", "elbow", "wrist", "pinky", "index", "thumb",
                    "hip", "knee", "ankle", "heel", "foot_tip"),
        )),
        LandmarkSet("kinect_19", (
            "mid_hip", "mid_spine", "skull_base", "head_centre",
            "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
            "left_hip", "left_knee", "left_ankle", "left_foot_tip",
            "right_hip", "right_knee", "right_ankle", "right_foot_tip", "neck_base",
        )),
        LandmarkSet("rt_pose_15", (
            "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
            "neck_base", "head_centre", "left_shoulder", "left_elbow", "left_wrist",
            "right_shoulder", "right_elbow", "right_wrist",
        )),
        LandmarkSet("joints_23", tuple(f"joint_{name}" for name in SEGMENT_NAMES)),
    )
}  # fmt: skip

_PLACES.update({f"joint_{name}": Place(name, (0.0, 0.0, 0.0), "trunk") for name in SEGMENT_NAMES})


def landmark_set(name: str) -> LandmarkSet:
    """The landmark set of that name.

    Raises:
        ValueError: naming the sets that there are.
    """
    if name not in LANDMARK_SETS:
        raise ValueError(f"landmark set {name!r} is not known; known: {', '.join(LANDMARK_SETS)}")
    return LANDMARK_SETS[name]


@lru_cache(maxsize=64)
def attachments(set_name: str) -> Attachments:
    """Where each landmark of a set sits on the body.

    Raises:
        ValueError: if the set is not known.
    """
    places = [_PLACES.get(name) for name in landmark_set(set_name).landmark_names]
    length = np.array([LENGTH[place.length] if place else 0 for place in places], dtype=np.int64)
    offsets = np.array([place.offset_m if place else (np.nan,) * 3 for place in places])
    return Attachments(
        identity=list(LANDMARK_SETS).index(set_name),
        segment=np.array([SEGMENT[place.segment] if place else -1 for place in places], dtype=np.int64),
        unit_offset=offsets / REFERENCE_LENGTHS_M[length][:, None],
        length=length,
        sigma_scale=np.array([place.sigma_scale if place else 1.0 for place in places]),
    )


@lru_cache(maxsize=64)
def mirror_order(set_name: str) -> Int64:
    """Index [K] of each landmark's counterpart on the other side; its own where it has none.

    Raises:
        ValueError: if the set is not known.
    """
    names = landmark_set(set_name).landmark_names

    def other_side(name: str) -> str:
        if "left_" in name:
            return name.replace("left_", "right_")
        return name.replace("right_", "left_")

    return np.array([names.index(other_side(name)) for name in names], dtype=np.int64)


def landmark_positions_batch(set_name: str, positions_m: Float64, quaternions: Float64, lengths_m: Float64) -> Float64:
    """World positions of a set's landmarks over time.

    Args:
        set_name: name in ``LANDMARK_SETS``.
        positions_m: [..., 23, 3] segment origins.
        quaternions: [..., 23, 4] ``q_world_from_segment``.
        lengths_m: [11] or [..., 11].

    Returns:
        [..., K, 3], NaN where a landmark is not on the body.
    """
    placed = attachments(set_name)
    scale = np.asarray(lengths_m, dtype=np.float64)[..., placed.length, None]
    segment = np.maximum(placed.segment, 0)
    return positions_m[..., segment, :] + quaternion.rotate(quaternions[..., segment, :], placed.unit_offset * scale)


def landmark_positions(set_name: str, positions_m: Float64, quaternions: Float64, lengths_m: Float64) -> Float64:
    """World positions [K, 3] of a set's landmarks at one time; see the batch form."""
    return landmark_positions_batch(set_name, positions_m, quaternions, lengths_m)
