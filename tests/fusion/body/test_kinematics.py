"""The body kernel against its readable twin, its Jacobians against differences, and the laws of a body."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest

from fusion.body.kinematics import (
    TABLES,
    body_forward,
    body_rates,
    forward_kinematics,
    forward_kinematics_batch,
    point_jacobian,
    rotation_jacobian,
)
from fusion.body.skeleton import (
    COORDINATE,
    COORDINATE_NAMES,
    COORDINATES,
    JOINTS,
    LENGTHS,
    PARENTS,
    REFERENCE_LENGTHS_M,
    SEGMENT,
    SEGMENT_NAMES,
    SEGMENTS,
)
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.body.twin import forward, perturbed, random_coordinates, random_lengths
from tests.fusion.numeric import central_difference

SEEDS = range(5)
POINT_IN_SEGMENT_M = np.array([0.04, -0.07, 0.11])
T_POSE = np.zeros(COORDINATES)


class Body(NamedTuple):
    """All outputs of ``body_forward``."""

    positions: Float64
    quaternions: Float64
    axes_world: Float64


def run_kernel(coordinates: Float64, lengths_m: Float64) -> Body:
    body = Body(np.full((SEGMENTS, 3), np.nan), np.full((SEGMENTS, 4), np.nan), np.full((SEGMENTS, 3, 3), np.nan))
    body_forward(TABLES, coordinates, lengths_m, *body)
    return body


def same_rotations(q: Float64, r: Float64) -> bool:
    return bool(np.max(np.minimum(np.abs(q - r).max(-1), np.abs(q + r).max(-1))) < 1e-12)


# --- The kernel and its twin ----------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_kernel_agrees_with_the_plain_sentence(seed: int) -> None:
    random = np.random.default_rng(seed)
    for scale_rad in (0.0, 1e-9, 1e-4, 1.0, 3.0):
        coordinates, lengths_m = random_coordinates(random, scale_rad), random_lengths(random)
        positions, quaternions = forward(coordinates, lengths_m)
        body = run_kernel(coordinates, lengths_m)
        np.testing.assert_allclose(body.positions, positions, atol=1e-12)
        assert same_rotations(body.quaternions, quaternions)
        np.testing.assert_allclose(np.linalg.norm(body.quaternions, axis=1), 1.0, atol=1e-15)


def test_batch_is_a_loop_and_leaves_its_arguments_alone() -> None:
    random = np.random.default_rng(11)
    coordinates = np.array([random_coordinates(random) for _ in range(4)])
    lengths_m = random_lengths(random)
    before = coordinates.copy(), lengths_m.copy()
    positions, quaternions = forward_kinematics_batch(coordinates, lengths_m)
    assert positions.shape == (4, SEGMENTS, 3)
    assert quaternions.shape == (4, SEGMENTS, 4)
    for t in range(4):
        one = forward_kinematics(coordinates[t], lengths_m)
        np.testing.assert_array_equal(one[0], positions[t])
        np.testing.assert_array_equal(one[1], quaternions[t])
    np.testing.assert_array_equal(coordinates, before[0])
    np.testing.assert_array_equal(lengths_m, before[1])
    assert forward_kinematics_batch(coordinates[:0], lengths_m)[0].shape == (0, SEGMENTS, 3)
    # Other memory layouts and types are taken as they come.
    fortran = forward_kinematics_batch(np.asfortranarray(coordinates), lengths_m.tolist())  # type: ignore[arg-type]
    np.testing.assert_array_equal(fortran[0], positions)


def test_segments_come_after_their_parents() -> None:
    assert PARENTS[0] == -1
    assert (PARENTS[1:] < np.arange(1, SEGMENTS)).all()
    assert (PARENTS[1:] >= 0).all()


# --- Jacobians ------------------------------------------------------------------------------


def point_on(body: Body, segment: int) -> Float64:
    return body.positions[segment] + quaternion.rotate(body.quaternions[segment], POINT_IN_SEGMENT_M)


@pytest.mark.parametrize("seed", SEEDS)
def test_coordinate_jacobians_against_central_differences(seed: int) -> None:
    """Every coordinate, and on every segment a point that is not its origin."""
    random = np.random.default_rng(seed)
    coordinates, lengths_m = random_coordinates(random), random_lengths(random)
    body = run_kernel(coordinates, lengths_m)
    expected_point, expected_turn = np.empty((SEGMENTS, 3, COORDINATES)), np.empty((SEGMENTS, 3, COORDINATES))
    for name in COORDINATE_NAMES:

        def points(step: float, name: str = name) -> Float64:
            moved = run_kernel(perturbed(coordinates, name, step), lengths_m)
            return np.array([point_on(moved, segment) for segment in range(SEGMENTS)])

        def turns(step: float, name: str = name) -> Float64:
            moved = run_kernel(perturbed(coordinates, name, step), lengths_m)
            return quaternion.to_rotvec(quaternion.multiply(moved.quaternions, quaternion.conjugate(body.quaternions)))

        expected_point[:, :, COORDINATE[name]] = central_difference(points)
        expected_turn[:, :, COORDINATE[name]] = central_difference(turns)
    for segment in range(SEGMENTS):
        jacobian, turn = np.zeros((3, COORDINATES)), np.zeros((3, COORDINATES))
        point_jacobian(TABLES, lengths_m, *body, segment, point_on(body, segment), jacobian, -1)
        rotation_jacobian(TABLES, body.axes_world, segment, turn)
        np.testing.assert_allclose(jacobian, expected_point[segment], atol=2e-9, err_msg=SEGMENT_NAMES[segment])
        np.testing.assert_allclose(turn, expected_turn[segment], atol=2e-9, err_msg=SEGMENT_NAMES[segment])


@pytest.mark.parametrize("seed", SEEDS)
def test_axes_are_those_that_the_joint_turns_about(seed: int) -> None:
    """A coordinate's step turns the joint's own segment about its world axis; a chain shares it among its joints."""
    random = np.random.default_rng(seed)
    coordinates = random_coordinates(random)
    body = run_kernel(coordinates, REFERENCE_LENGTHS_M)
    for index, joint in enumerate(JOINTS):
        for k, name in enumerate(joint.coordinates[-3:] if joint.freedom == "root" else joint.coordinates):

            def turned(step: float, index: int = index, name: str = name) -> Float64:
                """Rotation relative to the unmoved body, less what the parent contributes."""
                q = run_kernel(perturbed(coordinates, name, step), REFERENCE_LENGTHS_M).quaternions
                parent = PARENTS[index]
                if parent >= 0:
                    q_parent_from_segment = quaternion.multiply(quaternion.conjugate(q[parent]), q[index])
                    moved = quaternion.multiply(body.quaternions[parent], q_parent_from_segment)
                else:
                    moved = q[index]
                back = quaternion.conjugate(body.quaternions[index])
                return quaternion.to_rotvec(quaternion.multiply(moved, back))

            np.testing.assert_allclose(body.axes_world[index, k], central_difference(turned), atol=2e-9, err_msg=name)


@pytest.mark.parametrize("seed", SEEDS)
def test_length_jacobian_against_central_differences(seed: int) -> None:
    """By the logarithm of each length; the point itself stays where it is in its segment."""
    random = np.random.default_rng(seed)
    coordinates, lengths_m = random_coordinates(random), random_lengths(random)
    body = run_kernel(coordinates, lengths_m)
    for segment in range(SEGMENTS):
        jacobian = np.zeros((3, COORDINATES + LENGTHS))
        point_jacobian(TABLES, lengths_m, *body, segment, point_on(body, segment), jacobian, COORDINATES)
        for length in range(LENGTHS):

            def moved(step: float, length: int = length, segment: int = segment) -> Float64:
                longer = lengths_m.copy()
                longer[length] *= math.exp(step)
                return point_on(run_kernel(coordinates, longer), segment)

            np.testing.assert_allclose(jacobian[:, COORDINATES + length], central_difference(moved), atol=2e-9)


def test_jacobians_are_added_to_what_is_there() -> None:
    random = np.random.default_rng(3)
    coordinates = random_coordinates(random)
    body = run_kernel(coordinates, REFERENCE_LENGTHS_M)
    hand = SEGMENT["left_hand"]
    fresh, onto = np.zeros((3, COORDINATES + LENGTHS)), np.full((3, COORDINATES + LENGTHS), 2.0)
    for out in (fresh, onto):
        point_jacobian(TABLES, REFERENCE_LENGTHS_M, *body, hand, body.positions[hand], out, COORDINATES)
    np.testing.assert_allclose(onto - fresh, 2.0, atol=1e-14)
    turn = np.full((3, COORDINATES), 2.0)
    rotation_jacobian(TABLES, body.axes_world, hand, turn)
    turn_fresh = np.zeros((3, COORDINATES))
    rotation_jacobian(TABLES, body.axes_world, hand, turn_fresh)
    np.testing.assert_allclose(turn - turn_fresh, 2.0, atol=1e-14)
    # A negative column leaves the lengths out.
    without = np.zeros((3, COORDINATES + LENGTHS))
    point_jacobian(TABLES, REFERENCE_LENGTHS_M, *body, hand, body.positions[hand], without, -1)
    np.testing.assert_array_equal(without[:, :COORDINATES], fresh[:, :COORDINATES])
    assert not without[:, COORDINATES:].any()


# --- Rates ----------------------------------------------------------------------------------


class Motion:
    """Every coordinate a sine of its own frequency and phase."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.middle = random_coordinates(random, 0.6)
        self.amplitude = random.uniform(0.1, 0.5, COORDINATES)
        self.frequency_rad_s = random.uniform(1.0, 6.0, COORDINATES)
        self.phase = random.uniform(0.0, 2.0 * math.pi, COORDINATES)

    def coordinates(self, time_s: float) -> Float64:
        return self.middle + self.amplitude * np.sin(self.frequency_rad_s * time_s + self.phase)

    def rates(self, time_s: float) -> Float64:
        """In the tangent: angular rate in the segment's frame for the root and balls, derivatives for the others."""
        derivative = central_difference(lambda step: self.coordinates(time_s + step))
        for joint in JOINTS:
            if joint.freedom in ("root", "ball"):
                first = COORDINATE[joint.coordinates[-3]]
                back = quaternion.conjugate(quaternion.from_rotvec(self.coordinates(time_s)[first : first + 3]))
                derivative[first : first + 3] = central_difference(
                    lambda step, first=first, back=back: quaternion.to_rotvec(
                        quaternion.multiply(
                            back, quaternion.from_rotvec(self.coordinates(time_s + step)[first : first + 3])
                        )
                    )
                )
        return derivative


@pytest.mark.parametrize("seed", SEEDS)
def test_rates_along_a_motion(seed: int) -> None:
    motion, lengths_m = Motion(seed), random_lengths(np.random.default_rng(seed))
    linear, angular = np.empty((SEGMENTS, 3)), np.empty((SEGMENTS, 3))
    for time_s in (0.0, 0.37, 1.9):
        body = run_kernel(motion.coordinates(time_s), lengths_m)
        body_rates(TABLES, motion.rates(time_s), body.positions, body.axes_world, linear, angular)

        def positions(step: float, time_s: float = time_s) -> Float64:
            return run_kernel(motion.coordinates(time_s + step), lengths_m).positions

        def turns(step: float, time_s: float = time_s, body: Body = body) -> Float64:
            moved = run_kernel(motion.coordinates(time_s + step), lengths_m).quaternions
            return quaternion.to_rotvec(quaternion.multiply(moved, quaternion.conjugate(body.quaternions)))

        np.testing.assert_allclose(linear, central_difference(positions), atol=1e-7)
        np.testing.assert_allclose(angular, central_difference(turns), atol=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_rates_are_what_the_jacobians_say(seed: int) -> None:
    random = np.random.default_rng(seed)
    coordinates, lengths_m, rates = random_coordinates(random), random_lengths(random), random.normal(size=COORDINATES)
    body = run_kernel(coordinates, lengths_m)
    linear, angular = np.empty((SEGMENTS, 3)), np.empty((SEGMENTS, 3))
    body_rates(TABLES, rates, body.positions, body.axes_world, linear, angular)
    for segment in range(SEGMENTS):
        jacobian, turn = np.zeros((3, COORDINATES)), np.zeros((3, COORDINATES))
        point_jacobian(TABLES, lengths_m, *body, segment, body.positions[segment], jacobian, -1)
        rotation_jacobian(TABLES, body.axes_world, segment, turn)
        np.testing.assert_allclose(linear[segment], jacobian @ rates, atol=1e-12)
        np.testing.assert_allclose(angular[segment], turn @ rates, atol=1e-12)


# --- Laws -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rigid_motion_of_the_root_moves_every_joint_rigidly(seed: int) -> None:
    random = np.random.default_rng(seed)
    coordinates, lengths_m = random_coordinates(random), random_lengths(random)
    positions, quaternions = forward_kinematics(coordinates, lengths_m)
    q_turn, shift_m = quaternion.from_rotvec(random.normal(size=3)), random.normal(size=3)
    carried = coordinates.copy()
    carried[:3] = quaternion.rotate(q_turn, coordinates[:3]) + shift_m
    carried[3:6] = quaternion.to_rotvec(quaternion.multiply(q_turn, quaternion.from_rotvec(coordinates[3:6])))
    moved_positions, moved_quaternions = forward_kinematics(carried, lengths_m)
    np.testing.assert_allclose(moved_positions, quaternion.rotate(q_turn, positions) + shift_m, atol=1e-12)
    assert same_rotations(moved_quaternions, quaternion.multiply(q_turn, quaternions))


def other_side(name: str) -> str:
    for side, other in (("left_", "right_"), ("right_", "left_")):
        if name.startswith(side):
            return other + name.removeprefix(side)
    return name


def mirrored(coordinates: Float64) -> Float64:
    """The same pose in a mirror through the world's x-z plane.

    Sides change places. A mirror takes the rotation vector (x, y, z) to
    (-x, y, -z) and the position (x, y, z) to (x, -y, z). A hinge angle means
    the same movement on both sides, so it keeps its value.
    """
    flipped = {"root_py"}
    for joint in JOINTS:
        if joint.freedom != "hinges":
            flipped |= {joint.coordinates[-3], joint.coordinates[-1]}
    signs = np.array([-1.0 if name in flipped else 1.0 for name in COORDINATE_NAMES])
    return signs * coordinates[[COORDINATE[other_side(name)] for name in COORDINATE_NAMES]]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mirrored_pose_is_the_mirror_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    coordinates, lengths_m = random_coordinates(random), random_lengths(random)
    swapped = [SEGMENT[other_side(name)] for name in SEGMENT_NAMES]
    positions, quaternions = forward_kinematics(coordinates, lengths_m)
    image_positions, image_quaternions = forward_kinematics(mirrored(coordinates), lengths_m)
    np.testing.assert_allclose(image_positions, positions[swapped] * [1.0, -1.0, 1.0], atol=1e-12)
    assert same_rotations(image_quaternions, quaternions[swapped] * [1.0, -1.0, 1.0, -1.0])
    np.testing.assert_array_equal(mirrored(mirrored(coordinates)), coordinates)


@pytest.mark.parametrize("seed", SEEDS)
def test_scaling_all_lengths_scales_the_body(seed: int) -> None:
    random = np.random.default_rng(seed)
    coordinates, lengths_m = random_coordinates(random), random_lengths(random)
    positions, quaternions = forward_kinematics(coordinates, lengths_m)
    scaled, same = forward_kinematics(coordinates, 1.7 * lengths_m)
    np.testing.assert_allclose(scaled - scaled[0], 1.7 * (positions - positions[0]), atol=1e-12)
    np.testing.assert_array_equal(same, quaternions)


@pytest.mark.parametrize("seed", SEEDS)
def test_bones_keep_their_lengths_in_every_pose(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths_m = random_lengths(random)
    rest, _ = forward_kinematics(T_POSE, lengths_m)
    posed, _ = forward_kinematics(random_coordinates(random), lengths_m)
    for index in range(1, SEGMENTS):
        bone_m = np.linalg.norm(rest[index] - rest[PARENTS[index]])
        np.testing.assert_allclose(np.linalg.norm(posed[index] - posed[PARENTS[index]]), bone_m, atol=1e-12)


def test_a_chain_adds_up_to_its_rotation_vector() -> None:
    """Four vertebral joints turn together by ``spine``, neck and head by ``neck``."""
    for chain, last in (("spine", "t8"), ("neck", "head")):
        coordinates = T_POSE.copy()
        rotvec = np.array([0.2, 0.5, -0.4])
        coordinates[COORDINATE[f"{chain}_x"] : COORDINATE[f"{chain}_z"] + 1] = rotvec
        _, q = forward_kinematics(coordinates, REFERENCE_LENGTHS_M)
        np.testing.assert_allclose(quaternion.to_rotvec(q[SEGMENT[last]]), rotvec, atol=1e-12)


# --- Positive angles in words ---------------------------------------------------------------

FORWARD, LEFT, UP = np.eye(3)


def moved_by(coordinate: str, angle_rad: float, segment: str, point_m: tuple[float, float, float]) -> Float64:
    """How far a point of a segment moves from the T-pose with one coordinate."""
    coordinates = T_POSE.copy()
    coordinates[COORDINATE[coordinate]] = angle_rad
    places = []
    for pose in (T_POSE, coordinates):
        positions, quaternions = forward_kinematics(pose, REFERENCE_LENGTHS_M)
        places.append(positions[SEGMENT[segment]] + quaternion.rotate(quaternions[SEGMENT[segment]], point_m))
    return np.asarray(places[1] - places[0])


def outward(side: str) -> float:
    return 1.0 if side == "left" else -1.0


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("coordinate", "segment", "point_m", "direction", "words"),
    [
        ("elbow_flexion", "hand", (0.0, 0.0, 0.0), FORWARD, "the hand comes forward"),
        ("forearm_pronation", "hand", (0.03, 0.0, 0.0), -UP, "the thumb's side turns down"),
        ("wrist_flexion", "hand", (0.0, 0.1, 0.0), -UP, "the fingers bend to the palm, which faces the floor"),
        ("wrist_deviation", "hand", (0.0, 0.1, 0.0), FORWARD, "the fingers turn to the thumb's side"),
        ("shoulder_elevation", "upper_arm", (0.0, 0.0, 0.0), UP, "the shoulder rises"),
        ("shoulder_protraction", "upper_arm", (0.0, 0.0, 0.0), FORWARD, "the shoulder comes forward"),
        ("knee_flexion", "foot", (0.0, 0.0, 0.0), -FORWARD, "the foot goes back"),
        ("ankle_dorsiflexion", "toe", (0.0, 0.0, 0.0), UP, "the toes rise"),
        ("toe_extension", "toe", (0.05, 0.0, 0.0), UP, "the tip of the toes rises"),
    ],
)
def test_positive_hinge_angles_in_words(
    side: str, coordinate: str, segment: str, point_m: tuple[float, float, float], direction: Float64, words: str
) -> None:
    """The same words on both sides. Points are in the left segment's frame; the right one's is its mirror image."""
    x, y, z = point_m
    motion_m = moved_by(f"{side}_{coordinate}", 0.3, f"{side}_{segment}", (x, outward(side) * y, z))
    along = motion_m @ direction
    assert along > 0.2 * np.linalg.norm(motion_m) > 0.0, words
    assert np.isclose(np.abs(motion_m[np.abs(direction) > 0.5])[0], np.abs(motion_m).max()), words
    against = moved_by(f"{side}_{coordinate}", -0.3, f"{side}_{segment}", (x, outward(side) * y, z))
    assert against @ direction < 0.0, words


@pytest.mark.parametrize("side", ["left", "right"])
def test_inversion_turns_the_sole_inward(side: str) -> None:
    coordinates = T_POSE.copy()
    coordinates[COORDINATE[f"{side}_ankle_inversion"]] = 0.3
    _, quaternions = forward_kinematics(coordinates, REFERENCE_LENGTHS_M)
    sole_normal = quaternion.rotate(quaternions[SEGMENT[f"{side}_foot"]], -UP)
    assert sole_normal @ LEFT * outward(side) < -0.2


@pytest.mark.parametrize(
    ("coordinate", "segment", "direction", "words"),
    [
        ("spine_y", "head", FORWARD, "bending forward"),
        ("spine_x", "head", -LEFT, "bending to the right"),
        ("neck_y", "head", FORWARD, "nodding"),
        ("neck_x", "head", -LEFT, "tilting the head to the right"),
    ],
)
def test_positive_chain_angles_in_words(coordinate: str, segment: str, direction: Float64, words: str) -> None:
    assert moved_by(coordinate, 0.3, segment, (0.0, 0.0, 0.1)) @ direction > 0.0, words


@pytest.mark.parametrize("coordinate", ["spine_z", "neck_z", "root_rz"])
def test_positive_twist_looks_left(coordinate: str) -> None:
    assert moved_by(coordinate, 0.3, "head", (0.1, 0.0, 0.0)) @ LEFT > 0.0


@pytest.mark.parametrize("side", ["left", "right"])
def test_ball_joints_follow_their_rotation_vector(side: str) -> None:
    """The same axes on both sides: about -y a leg swings forward, about +z the left arm swings back."""
    arm = moved_by(f"{side}_arm_z", 0.3, f"{side}_hand", (0.0, 0.0, 0.0))
    assert arm @ FORWARD * outward(side) < 0.0
    arm = moved_by(f"{side}_arm_x", 0.3, f"{side}_hand", (0.0, 0.0, 0.0))
    assert arm @ UP * outward(side) > 0.0
    leg = moved_by(f"{side}_hip_y", -0.3, f"{side}_foot", (0.0, 0.0, 0.0))
    assert leg @ FORWARD > 0.0
    leg = moved_by(f"{side}_hip_x", 0.3, f"{side}_foot", (0.0, 0.0, 0.0))
    assert leg @ LEFT > 0.0
    upper_arm = moved_by(f"{side}_arm_y", 0.3, f"{side}_upper_arm", (0.05, 0.0, 0.0))
    assert upper_arm @ UP < 0.0
    toe = moved_by(f"{side}_hip_z", 0.3, f"{side}_toe", (0.0, 0.0, 0.0))
    assert toe @ LEFT > 0.0
