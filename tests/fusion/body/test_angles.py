"""Clinical angles: what each means in space, laws that hold in every pose, and the twin by Euler angles of scipy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fusion.body.angles import ANGLE, ANGLE_NAMES, ANGLES, SHOULDER_GIMBAL_RAD, clinical_angles, clinical_angles_batch
from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import COORDINATE, COORDINATES, REFERENCE_LENGTHS_M, SEGMENT, SEGMENT_NAMES, SEGMENTS
from fusion.maths import quaternion
from fusion.records import Float64
from tests.conftest import REPOSITORY
from tests.fusion.scenes import legal_pose

SIDES = ("right", "left")
SIDED = ("obliquity", "bending", "pelvis_rotation", "trunk_rotation", "neck_rotation")
"""Angles of the middle that change sign in a mirror."""


def sign(side: str) -> float:
    return -1.0 if side == "right" else 1.0


def angles_of(coordinates: Float64) -> dict[str, float]:
    """Degrees by name."""
    out = np.empty(len(ANGLES))
    clinical_angles(forward_kinematics(coordinates, REFERENCE_LENGTHS_M)[1], out)
    return dict(zip(ANGLE_NAMES, np.degrees(out).tolist(), strict=True))


def wrapped(angles: Float64) -> Float64:
    return np.asarray(np.angle(np.exp(1j * angles)))


def random_quaternions(random: np.random.Generator, *shape: int) -> Float64:
    return quaternion.normalize(random.normal(size=(*shape, 4)))


# --- The twin -------------------------------------------------------------------------------------


def euler(matrix: Float64, axes: Literal["YXZ", "ZXY", "XZY", "ZXZ"]) -> Float64:
    """Angles of three successive turns about the axes of the turning frame."""
    return np.asarray(Rotation.from_matrix(matrix).as_euler(axes))


def of_left_side(matrices: Float64) -> list[float]:
    """The sixteen angles of the left arm and leg."""

    def seen(proximal: str, distal: str) -> Float64:
        return np.asarray(matrices[SEGMENT[proximal]].T @ matrices[SEGMENT[distal]])

    hip = -euler(seen("pelvis", "left_upper_leg"), "YXZ")
    knee = euler(seen("left_upper_leg", "left_lower_leg"), "YXZ")
    ankle = -euler(seen("left_lower_leg", "left_foot"), "YXZ")
    toe = -euler(seen("left_foot", "left_toe"), "YXZ")
    girdle = euler(seen("t8", "left_shoulder"), "ZXY")
    hanging = Rotation.from_euler("x", 90.0, degrees=True).as_matrix()
    plane, elevation, turn = euler(seen("t8", "left_upper_arm") @ hanging, "ZXZ")
    elbow = euler(seen("left_upper_arm", "left_forearm"), "ZXY")
    wrist = -euler(seen("left_forearm", "left_hand"), "XZY")
    return [
        *hip, knee[0], ankle[0], ankle[1], toe[0], girdle[1], -girdle[0],
        -plane, elevation, -turn, -elbow[0], elbow[2], wrist[0], wrist[1],
    ]  # fmt: skip


def twin(quaternions: Float64) -> Float64:
    """Clinical angles [41], the right side as the left side of the mirrored body."""
    matrices = Rotation.from_quat(np.roll(quaternions, -1, axis=-1)).as_matrix()
    rotation, obliquity, tilt = euler(matrices[SEGMENT["pelvis"]], "ZXY")
    trunk = euler(matrices[SEGMENT["pelvis"]].T @ matrices[SEGMENT["t8"]], "YXZ")
    neck = euler(matrices[SEGMENT["t8"]].T @ matrices[SEGMENT["head"]], "YXZ")
    mirror = np.diag([1.0, -1.0, 1.0])
    mirrored = mirror @ matrices[other_sides(SEGMENT_NAMES)] @ mirror
    middle = [tilt, obliquity, rotation, *trunk, *neck]
    return np.array([*middle, *of_left_side(mirrored), *of_left_side(matrices)])


def other_sides(names: tuple[str, ...]) -> list[int]:
    """Index of each name's counterpart on the other side."""
    swapped = [
        name.replace("left_", "right_") if name.startswith("left_") else name.replace("right_", "left_")
        for name in names
    ]
    return [names.index(name) for name in swapped]


def test_the_kernel_is_its_twin_for_any_rotations() -> None:
    random = np.random.default_rng(1)
    for body in random_quaternions(random, 200, SEGMENTS):
        out = np.empty(len(ANGLES))
        clinical_angles(body, out)
        np.testing.assert_allclose(wrapped(out - twin(body)), 0.0, atol=1e-9)


def test_the_kernel_is_its_twin_in_legal_poses_and_the_batch_is_the_kernel() -> None:
    random = np.random.default_rng(2)
    bodies = np.array([forward_kinematics(legal_pose(random), REFERENCE_LENGTHS_M)[1] for _ in range(100)])
    told = clinical_angles_batch(bodies)
    for angles, body in zip(told, bodies, strict=True):
        out = np.empty(len(ANGLES))
        clinical_angles(body, out)
        np.testing.assert_array_equal(angles, out)
        np.testing.assert_allclose(wrapped(out - twin(body)), 0.0, atol=1e-9)


# --- What they mean -------------------------------------------------------------------------------


def test_names_are_distinct_and_each_says_what_it_means() -> None:
    assert len(set(ANGLE_NAMES)) == len(ANGLES) == 41
    assert all(angle.positive and angle.zero for angle in ANGLES)


def test_the_rest_pose() -> None:
    """Arms 10 degrees off the trunk in the frontal plane; elbows and knees a little bent; all else zero."""
    bent = {"shoulder_elevation": 10.0, "elbow_flexion": 10.0, "knee_flexion": 3.0}
    for name, told in angles_of(resting_coordinates()).items():
        expected = bent.get(name.removeprefix("right_").removeprefix("left_"), 0.0)
        assert told == pytest.approx(expected, abs=1e-9), name


def test_the_pose_that_the_segment_frames_come_from() -> None:
    """The T-pose: arms lifted by 90 degrees in the frontal plane, nothing else."""
    for name, told in angles_of(np.zeros(COORDINATES)).items():
        assert told == pytest.approx(90.0 if name.endswith("shoulder_elevation") else 0.0, abs=1e-9), name


HINGES = (
    "knee_flexion", "ankle_dorsiflexion", "ankle_inversion", "toe_extension", "elbow_flexion", "forearm_pronation",
    "wrist_flexion", "wrist_deviation",
)  # fmt: skip


def test_hinge_coordinates_are_their_angles() -> None:
    random = np.random.default_rng(3)
    for _ in range(50):
        pose = legal_pose(random)
        told = angles_of(pose)
        for side in SIDES:
            for hinge in HINGES:
                expected = math.degrees(pose[COORDINATE[f"{side}_{hinge}"]])
                assert told[f"{side}_{hinge}"] == pytest.approx(expected, abs=1e-9), hinge


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", ["shoulder_elevation", "shoulder_protraction"])
def test_a_girdle_that_moves_one_way_only_is_its_coordinate(side: str, name: str) -> None:
    pose = resting_coordinates()
    pose[COORDINATE[f"{side}_{name}"]] = 0.3
    told = angles_of(pose)
    assert told[f"{side}_{name.replace('shoulder', 'girdle')}"] == pytest.approx(math.degrees(0.3))


def test_girdle_angles_are_the_direction_of_the_collarbone() -> None:
    random = np.random.default_rng(4)
    for _ in range(20):
        pose = legal_pose(random)
        told = angles_of(pose)
        positions, quaternions = forward_kinematics(pose, REFERENCE_LENGTHS_M)
        for side in SIDES:
            bone = positions[SEGMENT[f"{side}_upper_arm"]] - positions[SEGMENT[f"{side}_shoulder"]]
            x, y, z = quaternion.rotate(quaternion.conjugate(quaternions[SEGMENT["t8"]]), bone)
            outward = sign(side) * y
            assert told[f"{side}_girdle_protraction"] == pytest.approx(math.degrees(math.atan2(x, outward)))
            assert told[f"{side}_girdle_elevation"] == pytest.approx(
                math.degrees(math.atan2(z, math.hypot(x, outward)))
            )


def turned(pose: Float64, ball: str, axis: str, degrees: float) -> Float64:
    """A pose with a ball (or the root) turned about an axis of the world after all it has turned already."""
    first = COORDINATE[f"{ball}x"]
    turn = quaternion.from_rotvec(math.radians(degrees) * np.eye(3)["xyz".index(axis)])
    moved = pose.copy()
    moved[first : first + 3] = quaternion.to_rotvec(
        quaternion.multiply(turn, quaternion.from_rotvec(pose[first : first + 3]))
    )
    return moved


def hip(pose: Float64, side: str, axis: str, degrees: float) -> Float64:
    return turned(pose, f"{side}_hip_", axis, degrees)


def arm(pose: Float64, side: str, axis: str, degrees: float) -> Float64:
    return turned(pose, f"{side}_arm_", axis, degrees)


def position(pose: Float64, name: str) -> Float64:
    return np.asarray(forward_kinematics(pose, REFERENCE_LENGTHS_M)[0][SEGMENT[name]])


def hanging_arm(side: str, elbow_deg: float = 90.0) -> Float64:
    """Standing with one arm straight down, its elbow bent."""
    pose = resting_coordinates()
    first = COORDINATE[f"{side}_arm_x"]
    pose[first : first + 3] = [-sign(side) * math.radians(90.0), 0.0, 0.0]
    pose[COORDINATE[f"{side}_elbow_flexion"]] = math.radians(elbow_deg)
    return pose


Body = Callable[[str], Float64]


def with_bent_knee(side: str) -> Float64:
    pose = resting_coordinates()
    pose[COORDINATE[f"{side}_knee_flexion"]] = math.radians(90.0)
    return pose


MOVES: dict[str, tuple[Body, str, tuple[float, float, float], dict[str, float]]] = {
    # name: pose of a side, which joint goes (forward, outward, up) from the rest pose, and angles in degrees
    "thigh forward": (lambda s: hip(resting_coordinates(), s, "y", -40.0), "lower_leg", (1, 0, 1), {"hip_flexion": 40}),
    "thigh inward": (
        lambda s: hip(resting_coordinates(), s, "x", -sign(s) * 20.0), "lower_leg", (0, -1, 1), {"hip_adduction": 20},
    ),
    "bent shank outward": (
        lambda s: hip(with_bent_knee(s), s, "z", -sign(s) * 25.0), "foot", (-1, 1, 1),
        {"hip_rotation": 25, "knee_flexion": 90},
    ),
    "arm sideways": (
        lambda s: arm(hanging_arm(s, 0.0), s, "x", sign(s) * 90.0), "hand", (0, 1, 1),
        {"shoulder_plane": 0, "shoulder_elevation": 90, "shoulder_rotation": 0},
    ),
    "arm forward": (
        lambda s: arm(arm(hanging_arm(s, 0.0), s, "x", sign(s) * 90.0), s, "z", -sign(s) * 90.0), "hand", (1, -1, 1),
        {"shoulder_plane": 90, "shoulder_elevation": 90, "shoulder_rotation": 0},
    ),
    "forearm across the belly": (
        lambda s: arm(arm(hanging_arm(s), s, "z", -sign(s) * 40.0), s, "x", sign(s) * 20.0), "hand", (1, -1, 1),
        {"shoulder_plane": 0, "shoulder_elevation": 20, "shoulder_rotation": 40, "elbow_flexion": 90},
    ),
}  # fmt: skip


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("move", MOVES)
def test_a_known_movement_goes_where_its_angles_say(side: str, move: str) -> None:
    make, joint, direction, expected = MOVES[move]
    pose = make(side)
    forward, left, up = position(pose, f"{side}_{joint}") - position(resting_coordinates(), f"{side}_{joint}")
    for moved, wanted in zip((forward, sign(side) * left, up), direction, strict=True):
        if wanted:
            assert moved * wanted > 0.02
    told = angles_of(pose)
    for name, degrees in expected.items():
        assert told[f"{side}_{name}"] == pytest.approx(degrees, abs=1e-9), name


def test_the_bent_elbow_of_the_anatomical_position_points_forward() -> None:
    """With the arm down and no axial rotation, bending the elbow brings the hand forward."""
    for side in SIDES:
        pose = hanging_arm(side)
        reach = position(pose, f"{side}_hand") - position(pose, f"{side}_forearm")
        np.testing.assert_allclose(reach, [0.2426, 0.0, 0.0], atol=1e-9)
        assert angles_of(pose)[f"{side}_shoulder_rotation"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("axis", "degrees", "name"),
    [("y", 20.0, "pelvis_tilt"), ("x", 15.0, "pelvis_obliquity"), ("z", 70.0, "pelvis_rotation")],
)
def test_the_pelvis_in_the_world(axis: str, degrees: float, name: str) -> None:
    pose = turned(resting_coordinates(), "root_r", axis, degrees)
    told = angles_of(pose)
    for other in ("pelvis_tilt", "pelvis_obliquity", "pelvis_rotation"):
        assert told[other] == pytest.approx(degrees if other == name else 0.0, abs=1e-9)
    if name == "pelvis_obliquity":
        assert position(pose, "left_upper_leg")[2] > position(pose, "right_upper_leg")[2]
    if name == "pelvis_tilt":
        assert position(pose, "l5")[0] > position(pose, "pelvis")[0]


@pytest.mark.parametrize(("chain", "part", "whole"), [("spine", "trunk", "t8"), ("neck", "neck", "head")])
def test_trunk_and_neck(chain: str, part: str, whole: str) -> None:
    for axis, name, degrees in (("y", "flexion", 30.0), ("x", "bending", 20.0), ("z", "rotation", 25.0)):
        pose = resting_coordinates()
        pose[COORDINATE[f"{chain}_{axis}"]] = math.radians(degrees)
        told = angles_of(pose)
        for other in ("flexion", "bending", "rotation"):
            assert told[f"{part}_{other}"] == pytest.approx(degrees if other == name else 0.0, abs=1e-9)
        shift = position(pose, whole) - position(resting_coordinates(), whole)
        if name == "flexion":
            assert shift[0] > 0.0
        if name == "bending":
            assert shift[1] < 0.0


def test_the_page_on_angles_lists_them_all_in_order() -> None:
    page = (REPOSITORY / "docs" / "angles.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:4] for line in page.splitlines() if line.startswith("| `")]
    listed = [tuple(cell.strip() for cell in row) for row in rows if row[0].strip().strip("`") in _LISTED]
    assert listed == [(f"`{name}`", angle.positive, angle.zero) for name, angle in _LISTED.items()]


_LISTED = {angle.name.replace("right_", "SIDE_"): angle for angle in ANGLES if not angle.name.startswith("left_")}
"""Angles as the page names them, the sides told once."""


# --- Laws -----------------------------------------------------------------------------------------


def test_a_mirror_swaps_the_sides_and_turns_the_middle_s_signs() -> None:
    random = np.random.default_rng(5)
    flips = np.array([-1.0 if any(part in name for part in SIDED) else 1.0 for name in ANGLE_NAMES])
    for body in random_quaternions(random, 100, SEGMENTS):
        mirrored = (body * [1.0, -1.0, 1.0, -1.0])[other_sides(SEGMENT_NAMES)]
        told, seen = clinical_angles_batch(np.array([body, mirrored]))
        np.testing.assert_allclose(wrapped(seen - flips * told[other_sides(ANGLE_NAMES)]), 0.0, atol=1e-9)


def test_a_walk_to_another_place_changes_the_pelvis_rotation_only() -> None:
    random = np.random.default_rng(6)
    pose = legal_pose(random)
    before, after = angles_of(pose), angles_of(turned(pose, "root_r", "z", 33.0))
    for name in ANGLE_NAMES:
        change = (after[name] - before[name] + 180.0) % 360.0 - 180.0
        assert change == pytest.approx(33.0 if name == "pelvis_rotation" else 0.0, abs=1e-9), name


def test_either_sign_of_a_quaternion_is_the_same_rotation() -> None:
    random = np.random.default_rng(7)
    body = random_quaternions(random, SEGMENTS)
    flipped = body * random.choice([-1.0, 1.0], size=(SEGMENTS, 1))
    told, again = clinical_angles_batch(np.array([body, flipped]))
    np.testing.assert_allclose(told, again, atol=1e-12)


def test_angles_run_on_smoothly_away_from_where_their_order_degenerates() -> None:
    """A change of pose by e changes no angle by more than a few e / cos of the middle angle."""
    random = np.random.default_rng(8)
    step, room = 1e-6, 0.2
    checked = 0
    middles = ["pelvis_obliquity", "trunk_bending", "neck_bending"]
    middles += [f"{side}_{name}" for side in SIDES for name in ("hip_adduction", "wrist_deviation", "ankle_inversion")]
    elevations = [ANGLE[f"{side}_shoulder_elevation"] for side in SIDES]
    for _ in range(200):
        body = forward_kinematics(legal_pose(random), REFERENCE_LENGTHS_M)[1]
        turn = quaternion.from_rotvec(step * random.uniform(-1.0, 1.0, (SEGMENTS, 3)) / math.sqrt(3.0))
        before, after = clinical_angles_batch(np.array([body, quaternion.multiply(body, turn)]))
        clear = np.abs(np.cos(before[[ANGLE[name] for name in middles]])).min() > room
        if clear and np.sin(before[elevations]).min() > room:
            assert np.abs(wrapped(after - before)).max() < 4.0 * step / room
            checked += 1
    assert checked > 50


@pytest.mark.parametrize("side", SIDES)
def test_across_the_shoulder_s_gimbal_the_sum_runs_on_and_the_plane_is_zero(side: str) -> None:
    """An arm that swings through the vertical, turned inward by 20 degrees all the while."""
    sums = []
    for lifted_deg in np.linspace(-2.0, 2.0, 81):
        pose = arm(arm(hanging_arm(side), side, "z", -sign(side) * 20.0), side, "y", -lifted_deg)
        told = angles_of(pose)
        assert told[f"{side}_shoulder_elevation"] == pytest.approx(abs(lifted_deg), abs=1e-6)
        if abs(lifted_deg) < 0.99 * math.degrees(SHOULDER_GIMBAL_RAD):
            assert told[f"{side}_shoulder_plane"] == 0.0
        elif abs(lifted_deg) > 1.01 * math.degrees(SHOULDER_GIMBAL_RAD):
            assert abs(told[f"{side}_shoulder_plane"]) == pytest.approx(90.0, abs=1e-6)
        sums.append(told[f"{side}_shoulder_plane"] + told[f"{side}_shoulder_rotation"])
    np.testing.assert_allclose(sums, 20.0, atol=1e-6)


@pytest.mark.parametrize("side", SIDES)
def test_overhead_the_difference_runs_on(side: str) -> None:
    differences = []
    for short_deg in (0.0, 0.3, 0.7, 2.0):
        pose = arm(hanging_arm(side), side, "z", -sign(side) * 20.0)
        told = angles_of(arm(pose, side, "x", sign(side) * (180.0 - short_deg)))
        assert told[f"{side}_shoulder_elevation"] == pytest.approx(180.0 - short_deg, abs=1e-6)
        differences.append(told[f"{side}_shoulder_plane"] - told[f"{side}_shoulder_rotation"])
    np.testing.assert_allclose(differences, -20.0, atol=1e-6)


def test_lying_exactly_on_the_side_the_last_angle_is_zero() -> None:
    pose = turned(turned(resting_coordinates(), "root_r", "x", 90.0), "root_r", "z", 30.0)
    told = angles_of(pose)
    assert told["pelvis_obliquity"] == pytest.approx(90.0, abs=1e-4)
    assert told["pelvis_tilt"] == 0.0
    assert told["pelvis_rotation"] == pytest.approx(30.0)


@pytest.mark.parametrize(("proximal", "distal", "middle", "last"), [
    ("pelvis", "t8", "trunk_bending", "trunk_rotation"),
    ("left_forearm", "left_hand", "left_wrist_deviation", None),
])  # fmt: skip
def test_a_middle_angle_of_90_degrees_leaves_all_angles_finite(
    proximal: str, distal: str, middle: str, last: str | None
) -> None:
    body = np.tile(quaternion.IDENTITY, (SEGMENTS, 1))
    axis = [0.0, 0.0, -1.0] if last is None else [1.0, 0.0, 0.0]
    quarter = quaternion.from_rotvec(0.5 * math.pi * np.array(axis))
    before = quaternion.from_rotvec([0.3, 0.0, 0.0] if last is None else [0.0, 0.3, 0.0])
    body[SEGMENT[distal]] = quaternion.multiply(body[SEGMENT[proximal]], quaternion.multiply(before, quarter))
    told = clinical_angles_batch(body[None])[0]
    assert told[ANGLE[middle]] == pytest.approx(0.5 * math.pi, abs=1e-6)
    if last is None:
        assert told[ANGLE["left_wrist_flexion"]] == pytest.approx(-0.3)
    else:
        assert told[ANGLE["trunk_flexion"]] == pytest.approx(0.3)
        assert told[ANGLE[last]] == 0.0
    assert np.isfinite(told).all()
