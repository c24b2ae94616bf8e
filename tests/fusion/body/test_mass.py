"""The centre of mass: the kernel against plain numpy, laws, and what is known of people who stand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import resting_coordinates
from fusion.body.mass import MASS_TABLES, MASSES, centre_of_mass
from fusion.body.skeleton import (
    COORDINATE,
    COORDINATES,
    JOINTS,
    LENGTH,
    REFERENCE_LENGTHS_M,
    REFERENCE_STATURE_M,
    SEGMENT,
    SEGMENT_NAMES,
)
from fusion.maths import quaternion
from fusion.records import Float64
from tests.conftest import REPOSITORY
from tests.fusion.body.twin import random_coordinates, random_lengths


def centre_of(coordinates: Float64, lengths_m: Float64 = REFERENCE_LENGTHS_M) -> Float64:
    out = np.empty(3)
    centre_of_mass(MASS_TABLES, lengths_m, *forward_kinematics(coordinates, lengths_m), out)
    return out


def test_the_kernel_is_the_sum_of_the_masses() -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        coordinates, lengths = random_coordinates(random), random_lengths(random)
        positions, quaternions = forward_kinematics(coordinates, lengths)
        total = np.zeros(3)
        for mass in MASSES:
            s, k = SEGMENT[mass.segment], LENGTH[mass.length]
            offset = np.array(mass.offset_m) * lengths[k] / REFERENCE_LENGTHS_M[k]
            total += mass.share * (positions[s] + quaternion.rotate(quaternions[s], offset))
        np.testing.assert_allclose(centre_of(coordinates, lengths), total, atol=1e-12)


def test_the_parts_are_a_whole_body() -> None:
    assert sum(mass.share for mass in MASSES) == pytest.approx(1.0)
    assert len(MASSES) == len({mass.part for mass in MASSES}) == 16
    for mass in MASSES:
        if mass.part.startswith("left_"):
            (other,) = (item for item in MASSES if item.part == mass.part.replace("left_", "right_"))
            assert other.share == mass.share
            assert other.offset_m == pytest.approx(np.array(mass.offset_m) * [1.0, -1.0, 1.0])


def test_shares_of_leva_s_mean() -> None:
    """Half a man's and half a woman's figures of table 4, by part."""
    share = {mass.part: 100.0 * mass.share for mass in MASSES}
    assert share["left_upper_leg"] == pytest.approx(0.5 * (14.16 + 14.78), abs=0.01)
    assert share["head"] == pytest.approx(0.5 * (6.94 + 6.68), abs=0.01)
    trunk = share["lower_trunk"] + share["middle_trunk"] + share["upper_trunk"]
    assert trunk == pytest.approx(0.5 * (43.46 + 42.57), abs=0.02)


def test_the_page_on_angles_gives_the_same_table() -> None:
    page = (REPOSITORY / "docs" / "angles.md").read_text(encoding="utf-8")
    for mass in MASSES:
        if not mass.part.startswith("left_"):
            x, y, z = (f"{1000.0 * value:.0f}".replace("-0", "0") for value in mass.offset_m)
            name, segment = (item.replace("right_", "SIDE_") for item in (mass.part, mass.segment))
            cells = f"`{name}` | {100.0 * mass.share:.2f} | `{segment}` | {x}, {y}, {z} | `{mass.length}`"
            assert f"| {cells} |" in page


def test_a_limb_s_mass_lies_between_its_joints() -> None:
    """At the part of the way that the table says, from the proximal joint."""
    offset = {joint.segment: np.array(joint.offset_m) for joint in JOINTS}
    places = {mass.part: np.array(mass.offset_m) for mass in MASSES}
    for part, child, share in (
        ("upper_leg", "lower_leg", 0.5 * (0.4095 + 0.3612)),
        ("lower_leg", "foot", 0.5 * (0.4395 + 0.4352)),
        ("upper_arm", "forearm", 0.5 * (0.5772 + 0.5754)),
        ("forearm", "hand", 0.5 * (0.4574 + 0.4559)),
    ):
        np.testing.assert_allclose(places[f"right_{part}"], share * offset[f"right_{child}"], atol=1e-12)


def test_the_trunk_s_masses_add_up_to_leva_s_trunk() -> None:
    """Its whole centre, told in the same table as a part of the way from the neck (CERV) to the hips."""
    positions, _ = forward_kinematics(np.zeros(COORDINATES), REFERENCE_LENGTHS_M)
    parts = [mass for mass in MASSES if mass.part.endswith("trunk")]
    heights = [positions[SEGMENT[mass.segment], 2] + mass.offset_m[2] for mass in parts]
    centre = np.average(heights, weights=[mass.share for mass in parts]) / positions[SEGMENT["neck"], 2]
    assert 1.0 - centre == pytest.approx(0.5 * (0.5138 + 0.4964), abs=0.01)


def test_the_mirrored_body_has_the_mirrored_centre() -> None:
    random = np.random.default_rng(2)
    coordinates, lengths = random_coordinates(random), random_lengths(random)
    positions, quaternions = forward_kinematics(coordinates, lengths)
    swapped = [SEGMENT_NAMES.index(_other(name)) for name in SEGMENT_NAMES]
    mirrored = np.empty(3)
    centre_of_mass(
        MASS_TABLES, lengths, (positions * [1.0, -1.0, 1.0])[swapped],
        (quaternions * [1.0, -1.0, 1.0, -1.0])[swapped], mirrored,
    )  # fmt: skip
    np.testing.assert_allclose(mirrored, centre_of(coordinates, lengths) * [1.0, -1.0, 1.0], atol=1e-12)


def _other(name: str) -> str:
    return name.replace("left_", "right_") if name.startswith("left_") else name.replace("right_", "left_")


def test_a_rigid_motion_moves_the_centre_rigidly() -> None:
    random = np.random.default_rng(3)
    coordinates, lengths = random_coordinates(random), random_lengths(random)
    positions, quaternions = forward_kinematics(coordinates, lengths)
    turn, shift = quaternion.from_rotvec([0.4, -1.1, 0.7]), np.array([1.0, -2.0, 0.5])
    moved = np.empty(3)
    centre_of_mass(
        MASS_TABLES, lengths, quaternion.rotate(turn, positions) + shift, quaternion.multiply(turn, quaternions), moved
    )
    np.testing.assert_allclose(moved, quaternion.rotate(turn, centre_of(coordinates, lengths)) + shift, atol=1e-12)


def test_a_body_twice_as_large_has_its_centre_twice_as_far() -> None:
    pose = resting_coordinates()
    np.testing.assert_allclose(centre_of(pose, 2.0 * REFERENCE_LENGTHS_M), 2.0 * centre_of(pose), atol=1e-12)


def test_standing_the_centre_is_at_53_to_58_percent_of_the_stature() -> None:
    """Measured on people: 53 to 58 %, above the soles and between left and right."""
    pose = resting_coordinates()
    top = forward_kinematics(pose, REFERENCE_LENGTHS_M)[0][SEGMENT["head"], 2] + REFERENCE_LENGTHS_M[LENGTH["head"]]
    x, y, z = centre_of(pose)
    assert 0.53 < (z - (top - REFERENCE_STATURE_M)) / REFERENCE_STATURE_M < 0.58
    assert abs(y) < 1e-12
    assert abs(x) < 0.05


def test_lifted_arms_lift_the_centre_and_a_bow_brings_it_forward() -> None:
    pose = resting_coordinates()
    up = pose.copy()
    for side, sign in (("right", 1.0), ("left", -1.0)):
        first = COORDINATE[f"{side}_arm_x"]
        up[first : first + 3] = [-sign * math.radians(80.0), 0.0, 0.0]
    lifted = centre_of(up)[2] - centre_of(pose)[2]
    # About a tenth of the body's mass, 0.6 m higher.
    assert 0.04 < lifted < 0.09
    bow = pose.copy()
    bow[COORDINATE["spine_y"]] = math.radians(60.0)
    assert centre_of(bow)[0] > 0.04
