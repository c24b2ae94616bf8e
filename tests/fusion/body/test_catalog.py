"""Landmark orders are those of the makers, and each landmark sits where its name says."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.body import catalog
from fusion.body.catalog import (
    LANDMARK_SETS,
    LandmarkSet,
    attachments,
    landmark_positions,
    landmark_positions_batch,
    landmark_set,
)
from fusion.body.kinematics import forward_kinematics, forward_kinematics_batch
from fusion.body.skeleton import COORDINATES, LENGTH, LENGTH_NAMES, REFERENCE_LENGTHS_M, SEGMENT, SEGMENT_NAMES
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.body.twin import random_coordinates, random_lengths

COCO_17 = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip

ORDERS: dict[str, tuple[str, ...]] = {
    "coco_17": COCO_17,
    # OpenPose BODY_25B: COCO, upper neck 17, head 18, left big toe, small toe and heel 19-21, right ones 22-24.
    "body_25b": (
        *COCO_17, "upper_neck", "head_top",
        "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
    ),
    # OpenPose BODY_25: right before left, neck 1, mid hip 8.
    "body_25": (
        "nose", "mid_shoulder", "right_shoulder", "right_elbow", "right_wrist",
        "left_shoulder", "left_elbow", "left_wrist", "mid_hip", "right_hip", "right_knee", "right_ankle",
        "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear",
        "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
    ),
    # Halpe-26: COCO, head 17, neck 18, hip 19, big toes 20 and 21, small toes 22 and 23, heels 24 and 25.
    "halpe_26": (
        *COCO_17, "head_top", "mid_shoulder", "mid_hip",
        "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe", "left_heel", "right_heel",
    ),
    # MediaPipe's PoseLandmark; its mouth_left is our left_mouth, its foot_index our foot_tip.
    "blazepose_33": (
        "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
        "left_ear", "right_ear", "left_mouth", "right_mouth", "left_shoulder", "right_shoulder",
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky",
        "left_index", "right_index", "left_thumb", "right_thumb", "left_hip", "right_hip",
        "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel", "right_heel",
        "left_foot_tip", "right_foot_tip",
    ),
    # Kinect v2 in the order of the MARS labels: 0-6, 8-10, 12-20 of its JointType.
    "kinect_19": (
        "mid_hip", "mid_spine", "skull_base", "head_centre", "left_shoulder", "left_elbow", "left_wrist",
        "right_shoulder", "right_elbow", "right_wrist", "left_hip", "left_knee", "left_ankle", "left_foot_tip",
        "right_hip", "right_knee", "right_ankle", "right_foot_tip", "neck_base",
    ),
    "rt_pose_15": (
        "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "neck_base", "head_centre", "left_shoulder", "left_elbow", "left_wrist",
        "right_shoulder", "right_elbow", "right_wrist",
    ),
    "joints_23": tuple(f"joint_{name}" for name in SEGMENT_NAMES),
}  # fmt: skip

every_set = pytest.mark.parametrize("name", list(LANDMARK_SETS))


def t_pose() -> tuple[Float64, Float64]:
    return forward_kinematics(np.zeros(COORDINATES), REFERENCE_LENGTHS_M)


def t_pose_landmarks() -> dict[str, Float64]:
    """Every landmark of every set on the reference body, by name."""
    places: dict[str, Float64] = {}
    for name, known in LANDMARK_SETS.items():
        where = landmark_positions(name, *t_pose(), REFERENCE_LENGTHS_M)
        places.update(zip(known.landmark_names, where, strict=True))
    return places


def test_the_sets_that_there_are() -> None:
    assert set(LANDMARK_SETS) == set(ORDERS)
    assert all(known.name == name for name, known in LANDMARK_SETS.items())


@every_set
def test_order(name: str) -> None:
    assert landmark_set(name).landmark_names == ORDERS[name]
    assert len(set(ORDERS[name])) == len(ORDERS[name])


@pytest.mark.parametrize("ask", [landmark_set, attachments])
def test_an_unknown_set_is_answered_with_the_known_ones(ask: object) -> None:
    with pytest.raises(ValueError, match="'coco_18' is not known") as caught:
        ask("coco_18")  # type: ignore[operator]
    assert all(name in str(caught.value) for name in LANDMARK_SETS)


@every_set
def test_attachments_are_whole(name: str) -> None:
    placed = attachments(name)
    count = len(ORDERS[name])
    assert placed.segment.shape == placed.length.shape == placed.sigma_scale.shape == (count,)
    assert placed.unit_offset.shape == (count, 3)
    assert placed.segment.dtype == placed.length.dtype == np.int64
    assert ((placed.segment >= 0) & (placed.segment < len(SEGMENT_NAMES))).all()
    assert ((placed.length >= 0) & (placed.length < len(LENGTH_NAMES))).all()
    assert np.isfinite(placed.unit_offset).all()
    assert (placed.sigma_scale >= 1.0).all()


@every_set
def test_left_and_right_mirror_each_other(name: str) -> None:
    placed, names = attachments(name), ORDERS[name]
    for index, landmark in enumerate(names):
        if "left_" not in landmark:
            continue
        other = names.index(landmark.replace("left_", "right_"))
        left, right = SEGMENT_NAMES[placed.segment[index]], SEGMENT_NAMES[placed.segment[other]]
        assert right == left.replace("left_", "right_")
        np.testing.assert_array_equal(placed.unit_offset[other], placed.unit_offset[index] * [1.0, -1.0, 1.0])
        assert placed.length[other] == placed.length[index]
        assert placed.sigma_scale[other] == placed.sigma_scale[index]
    where = dict(zip(names, landmark_positions(name, *t_pose(), REFERENCE_LENGTHS_M), strict=True))
    for landmark, place in where.items():
        mirrored = landmark.replace("left_", "*").replace("right_", "left_").replace("*", "right_")
        np.testing.assert_allclose(where[mirrored], place * [1.0, -1.0, 1.0], atol=1e-15)


FORWARD, LEFT, UP = range(3)


@pytest.mark.parametrize(
    ("axis", "rising"),
    [
        (UP, ("left_big_toe", "left_ankle", "left_knee", "left_hip", "left_shoulder", "upper_neck", "nose", "left_eye",
              "head_top")),
        (UP, ("left_heel", "left_ankle", "left_knee", "mid_hip", "mid_shoulder", "left_mouth", "left_ear")),
        (LEFT, ("right_index", "right_wrist", "right_elbow", "right_shoulder", "nose", "left_shoulder", "left_elbow",
                "left_wrist", "left_index")),
        (LEFT, ("right_ear", "right_eye_outer", "right_eye", "right_eye_inner", "nose", "left_eye_inner", "left_eye",
                "left_eye_outer", "left_ear")),
        (LEFT, ("right_small_toe", "right_foot_tip", "right_big_toe", "left_big_toe", "left_foot_tip",
                "left_small_toe")),
        (LEFT, ("right_hip", "right_mouth", "left_mouth", "left_hip")),
        (FORWARD, ("left_heel", "left_ankle", "left_small_toe", "left_big_toe")),
        (FORWARD, ("left_ear", "left_eye_outer", "left_eye", "left_eye_inner", "nose")),
        (FORWARD, ("left_pinky", "left_wrist", "left_index", "left_thumb")),
    ],
)  # fmt: skip
def test_landmarks_of_the_t_pose_stand_in_anatomical_order(axis: int, rising: tuple[str, ...]) -> None:
    places = t_pose_landmarks()
    assert (np.diff([places[name][axis] for name in rising]) > 0.0).all()


def test_middles_lie_between_their_pairs() -> None:
    places = t_pose_landmarks()
    for part in ("hip", "shoulder"):
        middle = 0.5 * (places[f"left_{part}"] + places[f"right_{part}"])
        np.testing.assert_allclose(places[f"mid_{part}"], middle, atol=1e-12)


def test_joint_centres_are_the_joints() -> None:
    positions, quaternions = t_pose()
    np.testing.assert_array_equal(
        landmark_positions("joints_23", positions, quaternions, REFERENCE_LENGTHS_M), positions
    )
    coco = dict(zip(COCO_17, landmark_positions("coco_17", positions, quaternions, REFERENCE_LENGTHS_M), strict=True))
    for landmark, segment in [
        ("left_elbow", "left_forearm"),
        ("right_wrist", "right_hand"),
        ("left_knee", "left_lower_leg"),
    ]:
        np.testing.assert_array_equal(coco[landmark], positions[SEGMENT[segment]])


@every_set
def test_landmarks_ride_on_their_segments(name: str) -> None:
    """One by one, from the declaration: segment origin plus the turned offset, scaled by its length."""
    random = np.random.default_rng(4)
    coordinates, lengths_m = random_coordinates(random), random_lengths(random)
    positions, quaternions = forward_kinematics(coordinates, lengths_m)
    where = landmark_positions(name, positions, quaternions, lengths_m)
    placed = attachments(name)
    for index in range(len(where)):
        segment = placed.segment[index]
        offset_m = placed.unit_offset[index] * lengths_m[placed.length[index]]
        expected = positions[segment] + quaternion.rotate(quaternions[segment], offset_m)
        np.testing.assert_allclose(where[index], expected, atol=1e-13)


def test_a_longer_head_has_a_higher_top_and_nothing_else_moves() -> None:
    lengths_m = REFERENCE_LENGTHS_M.copy()
    lengths_m[LENGTH["head"]] *= 1.5
    names = ORDERS["body_25b"]
    before = landmark_positions("body_25b", *t_pose(), REFERENCE_LENGTHS_M)
    after = landmark_positions("body_25b", *t_pose(), lengths_m)
    moved = {name for name, a, b in zip(names, before, after, strict=True) if np.abs(a - b).max() > 1e-12}
    assert moved == {"nose", "left_eye", "right_eye", "left_ear", "right_ear", "head_top"}
    assert after[names.index("head_top"), UP] > before[names.index("head_top"), UP]


def test_batch_is_a_loop() -> None:
    random = np.random.default_rng(8)
    coordinates = np.array([random_coordinates(random) for _ in range(3)])
    lengths_m = np.array([random_lengths(random) for _ in range(3)])
    positions, quaternions = forward_kinematics_batch(coordinates, lengths_m[0])
    together = landmark_positions_batch("halpe_26", positions, quaternions, lengths_m[0])
    own_lengths = landmark_positions_batch("halpe_26", positions, quaternions, lengths_m)
    assert together.shape == (3, 26, 3)
    for t in range(3):
        np.testing.assert_array_equal(
            together[t], landmark_positions("halpe_26", positions[t], quaternions[t], lengths_m[0])
        )
        np.testing.assert_array_equal(
            own_lengths[t], landmark_positions("halpe_26", positions[t], quaternions[t], lengths_m[t])
        )


def test_a_landmark_that_is_not_on_our_body_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    strange = LandmarkSet("with_a_tail", ("nose", "tail_tip", "left_knee"))
    monkeypatch.setitem(catalog.LANDMARK_SETS, strange.name, strange)
    placed = attachments(strange.name)
    assert placed.segment.tolist() == [SEGMENT["head"], -1, SEGMENT["left_lower_leg"]]
    where = landmark_positions(strange.name, *t_pose(), REFERENCE_LENGTHS_M)
    assert np.isnan(where[1]).all()
    assert np.isfinite(where[[0, 2]]).all()
    attachments.cache_clear()
