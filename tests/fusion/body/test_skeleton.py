"""The table of the body contradicts itself nowhere."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.body.kinematics import forward_kinematics
from fusion.body.skeleton import (
    COORDINATE_NAMES,
    COORDINATES,
    JOINTS,
    LENGTH,
    LENGTH_NAMES,
    PARENTS,
    REFERENCE_LENGTHS_M,
    REFERENCE_STATURE_M,
    SEGMENT,
    SEGMENT_NAMES,
    reference_offsets,
)

# Mean offsets from the parent in metres, x forward, y left, z up: dx118/dynaip, mean over the AnDy subjects.
XSENS_OFFSETS_M = {
    "pelvis": (0.0, 0.0, 0.0),
    "l5": (0.0, 0.0, 0.1065),
    "l3": (0.0, 0.0, 0.1056),
    "t12": (0.0, 0.0, 0.0954),
    "t8": (0.0, 0.0, 0.0954),
    "neck": (0.0, 0.0, 0.1336),
    "head": (0.0, 0.0, 0.0872),
    "left_shoulder": (0.0, 0.0292, 0.0747),
    "left_upper_arm": (0.0, 0.1409, 0.0),
    "left_forearm": (0.0, 0.2954, 0.0),
    "left_hand": (0.0, 0.2426, 0.0),
    "left_upper_leg": (0.0, 0.0874, 0.0),
    "left_lower_leg": (0.0, 0.0, -0.4671),
    "left_foot": (0.0, 0.0, -0.4193),
    "left_toe": (0.1663, 0.0, -0.1014),
}

COORDINATES_IN_ORDER = (
    "root_px", "root_py", "root_pz", "root_rx", "root_ry", "root_rz",
    "spine_x", "spine_y", "spine_z", "neck_x", "neck_y", "neck_z",
    "right_shoulder_elevation", "right_shoulder_protraction", "right_arm_x", "right_arm_y", "right_arm_z",
    "right_elbow_flexion", "right_forearm_pronation", "right_wrist_flexion", "right_wrist_deviation",
    "left_shoulder_elevation", "left_shoulder_protraction", "left_arm_x", "left_arm_y", "left_arm_z",
    "left_elbow_flexion", "left_forearm_pronation", "left_wrist_flexion", "left_wrist_deviation",
    "right_hip_x", "right_hip_y", "right_hip_z", "right_knee_flexion",
    "right_ankle_dorsiflexion", "right_ankle_inversion", "right_toe_extension",
    "left_hip_x", "left_hip_y", "left_hip_z", "left_knee_flexion",
    "left_ankle_dorsiflexion", "left_ankle_inversion", "left_toe_extension",
)  # fmt: skip


def test_order_of_segments() -> None:
    """The Xsens order, which files and networks rely on."""
    assert SEGMENT_NAMES == (
        "pelvis", "l5", "l3", "t12", "t8", "neck", "head",
        "right_shoulder", "right_upper_arm", "right_forearm", "right_hand",
        "left_shoulder", "left_upper_arm", "left_forearm", "left_hand",
        "right_upper_leg", "right_lower_leg", "right_foot", "right_toe",
        "left_upper_leg", "left_lower_leg", "left_foot", "left_toe",
    )  # fmt: skip


def test_order_of_coordinates_and_lengths() -> None:
    """Recorded sessions hold these by position."""
    assert COORDINATE_NAMES == COORDINATES_IN_ORDER
    assert COORDINATES == 44
    assert LENGTH_NAMES == (
        "pelvis", "trunk", "neck", "head", "shoulders", "upper_arm", "forearm", "hand", "thigh", "shank", "foot",
    )  # fmt: skip


def test_reference_offsets_are_the_published_ones() -> None:
    offsets, _ = reference_offsets()
    for name, offset in zip(SEGMENT_NAMES, offsets, strict=True):
        x, y, z = XSENS_OFFSETS_M[name.replace("right_", "left_")]
        np.testing.assert_array_equal(offset, (x, -y if name.startswith("right_") else y, z), err_msg=name)


def test_parents() -> None:
    parent = {name: SEGMENT_NAMES[PARENTS[index]] for index, name in enumerate(SEGMENT_NAMES) if PARENTS[index] >= 0}
    assert [parent[name] for name in ("l5", "l3", "t12", "t8", "neck", "head")] == [
        "pelvis", "l5", "l3", "t12", "t8", "neck",
    ]  # fmt: skip
    for side in ("left", "right"):
        arm = [parent[f"{side}_{name}"] for name in ("shoulder", "upper_arm", "forearm", "hand")]
        assert arm == ["t8", f"{side}_shoulder", f"{side}_upper_arm", f"{side}_forearm"]
        leg = [parent[f"{side}_{name}"] for name in ("upper_leg", "lower_leg", "foot", "toe")]
        assert leg == ["pelvis", f"{side}_upper_leg", f"{side}_lower_leg", f"{side}_foot"]


def test_joints_have_the_coordinates_that_their_freedom_needs() -> None:
    for joint in JOINTS:
        expected = {"root": 6, "ball": 3, "chain": 3, "hinges": len(joint.axes)}[joint.freedom]
        assert len(joint.coordinates) == expected, joint.segment
        assert (len(joint.axes) > 0) == (joint.freedom == "hinges"), joint.segment
        np.testing.assert_array_equal([np.linalg.norm(axis) for axis in joint.axes], np.ones(len(joint.axes)))


@pytest.mark.parametrize(
    ("length", "start", "end"),
    [
        ("pelvis", "right_upper_leg", "left_upper_leg"),
        ("trunk", "pelvis", "t8"),
        ("neck", "t8", "head"),
        ("shoulders", "right_upper_arm", "left_upper_arm"),
        ("upper_arm", "left_upper_arm", "left_forearm"),
        ("forearm", "left_forearm", "left_hand"),
        ("thigh", "left_upper_leg", "left_lower_leg"),
        ("shank", "left_lower_leg", "left_foot"),
    ],
)
def test_a_length_is_the_distance_that_it_names(length: str, start: str, end: str) -> None:
    lengths_m = REFERENCE_LENGTHS_M.copy()
    for factor in (1.0, 1.3):
        lengths_m[LENGTH[length]] = factor * REFERENCE_LENGTHS_M[LENGTH[length]]
        positions, _ = forward_kinematics(np.zeros(COORDINATES), lengths_m)
        distance_m = np.linalg.norm(positions[SEGMENT[end]] - positions[SEGMENT[start]])
        np.testing.assert_allclose(distance_m, lengths_m[LENGTH[length]], atol=1e-12)


def test_reference_stature() -> None:
    """From the toe joint, which is where the sole is in the Xsens model, to the top of the head."""
    positions, _ = forward_kinematics(np.zeros(COORDINATES), REFERENCE_LENGTHS_M)
    top_m = positions[SEGMENT["head"], 2] + REFERENCE_LENGTHS_M[LENGTH["head"]]
    assert abs(top_m - positions[SEGMENT["left_toe"], 2] - REFERENCE_STATURE_M) < 0.01
