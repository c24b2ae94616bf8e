"""What synthetic sensors say of a movement is what real ones would, and the truth beside it is the movement's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.body.kinematics import forward_kinematics_batch
from fusion.body.limits import coordinate_limits
from fusion.body.skeleton import COORDINATE, COORDINATES, SEGMENT, SEGMENT_NAMES
from fusion.estimators.inertial.frames import FrameSampler
from fusion.estimators.inertial.layout import ACCELERATION_SCALE, JOINTS, POSE_SEGMENTS, SITES, site_columns
from fusion.estimators.inertial.orientation import OrientationFilter, OrientationParams
from fusion.maths import quaternion
from fusion.records import Float64
from fusion.synthesis.imus import VirtualImus
from fusion.synthesis.motion import BodyMotion, draw_lengths
from fusion.synthesis.params import InertialParams
from fusion.synthesis.wearer import Wearer
from tests.training.imu.motions import waving
from training.imu import takes
from training.imu.judge import IDEAL
from training.imu.takes import Take, TakeParams, beside, draw_take, mirrored, plain_take

PARAMS = TakeParams()


def other_side(name: str) -> str:
    return name.replace("left_", "right_") if "left_" in name else name.replace("right_", "left_")


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_a_mirrored_body_is_the_mirror_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    coordinates = random.normal(0.0, 0.6, (3, COORDINATES))
    lengths = draw_lengths(seed, 1.7)
    positions, quaternions = forward_kinematics_batch(coordinates, lengths)
    image, turned = forward_kinematics_batch(mirrored(coordinates), lengths)
    order = [SEGMENT[other_side(name)] for name in SEGMENT_NAMES]
    np.testing.assert_allclose(image, positions[:, order] * np.array([1.0, -1.0, 1.0]), atol=1e-12)
    wanted = quaternions[:, order] * np.array([1.0, -1.0, 1.0, -1.0])
    assert quaternion.angle_between(turned, wanted).max() < 1e-6
    np.testing.assert_array_equal(mirrored(mirrored(coordinates)), coordinates)


def test_velocities_are_those_of_the_joints_seen_from_the_root() -> None:
    take = plain_take(waving("a", 5.0), np.random.default_rng(1), IDEAL)
    positions = take.positions_m[:, [SEGMENT[name] for name in JOINTS]]
    moving = np.gradient(positions, 1.0 / 60.0, axis=0)
    moving[:, 1:] -= moving[:, :1]
    root = quaternion.conjugate(take.q_world_from_segment[:, SEGMENT["pelvis"]])[:, None]
    np.testing.assert_allclose(take.velocities[2:-2], quaternion.rotate(root, moving)[2:-2], atol=0.02)


def test_ideal_sensors_see_their_segments() -> None:
    take = plain_take(waving("a", 5.0), np.random.default_rng(1), IDEAL)
    truth = take.q_world_from_segment[:, [SEGMENT[name] for name in SITES]]
    assert quaternion.angle_between(take.q_seen, truth).max() < 1e-6
    root = quaternion.conjugate(truth[:, :1])
    leaf = take.features[:, site_columns("head")][:, :9].reshape(-1, 3, 3)
    np.testing.assert_allclose(leaf, quaternion.to_matrix(quaternion.multiply(root, truth)[:, 3]), atol=1e-5)
    np.testing.assert_array_equal(take.six[0], take.first_six)


def test_what_is_synthesised_is_what_the_runtime_makes_of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same movement by the recipe, and through virtual sensors, orientation filter and frame sampler."""
    movement = waving("a", 12.0)
    motion = BodyMotion(movement.samples.astype(np.float64), movement.rate_hz, movement.lengths_m, periodic=False)
    still = InertialParams(
        sites=SITES, specific_force_noise_m_s2=0.0, angular_rate_noise_rad_s=0.0, specific_force_bias_m_s2=0.0,
        angular_rate_bias_rad_s=0.0, specific_force_walk=0.0, angular_rate_walk=0.0, mounting_error_rad=0.0,
        lever_error_m=0.0, drop_share=0.0,
    )  # fmt: skip
    worn = VirtualImus("imus", still, Wearer(0, motion), 1)
    levers = np.array([mount.lever_arm_m for mount in worn.mounts])
    monkeypatch.setattr(takes, "_levers", lambda lengths, random: levers)
    take = plain_take(movement, np.random.default_rng(1), IDEAL)
    orientations, sampler = OrientationFilter(len(SITES), OrientationParams(report_s=0.0)), FrameSampler(len(SITES))
    mounts = np.array([mount.q_segment_from_sensor for mount in worn.mounts])
    errors = []
    for _, record in worn.records(0, 590, 0):
        for stretch in orientations.stretches(record.times_ns, record.specific_force_m_s2, record.angular_rate_rad_s):
            told = stretch.orientations
            if told is None:
                continue
            for frame in sampler.feed(
                told.time_ns, told.q_world_from_sensor, stretch.specific_force_m_s2, stretch.rates_rad_s
            ):
                k = round(frame.time_ns * 60e-9)
                if 360 <= k < len(take.features):
                    errors.append(_difference(take, k, quaternion.rotate(
                        quaternion.multiply(mounts, quaternion.conjugate(frame.q_world_from_sensor)),
                        frame.acceleration_m_s2,
                    )))  # fmt: skip
    size = np.sqrt(np.mean(np.square(take.features[:, site_columns("left_lower_leg")][:, 9:]))) / ACCELERATION_SCALE
    assert len(errors) > 200
    # What is left is the orientation filter's own inclination error, a part of gravity.
    assert np.sqrt(np.mean(np.square(errors))) < 0.4 < size


def _difference(take: Take, k: int, found: Float64) -> Float64:
    """Accelerations [6, 3] in the segments' axes: found less those of a take's frame."""
    root = quaternion.to_matrix(take.q_seen[k, 0])
    own = [root @ take.features[k, site_columns("pelvis")][3:6]]
    own += [own[0] + root @ take.features[k, site_columns(site)][9:] for site in SITES[1:]]
    world = np.array(own) / ACCELERATION_SCALE
    return found - quaternion.rotate(quaternion.conjugate(take.q_seen[k]), world)


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_drawn_takes_keep_moving_and_are_finite(seed: int) -> None:
    random = np.random.default_rng(seed)
    movement = waving("a", float(random.choice([2.0, 8.0, 30.0])))
    take = draw_take(movement, random, PARAMS)
    assert len(take.features) >= 60
    for array in (take.features, take.velocities, take.six, take.first_six, take.positions_m):
        assert np.isfinite(array).all()
    # Where the movement ended before the take, the body would be frozen.
    step = np.abs(np.diff(take.q_world_from_segment, axis=0)).max(axis=(1, 2))
    assert (step > 0.0).all()
    speed = np.linalg.norm(np.diff(take.positions_m, axis=0), axis=2) * 60.0
    assert speed.max() < 12.0


def test_the_same_seed_gives_the_same_take_and_another_another() -> None:
    movement = waving("a", 8.0)
    one, same, other = (draw_take(movement, np.random.default_rng(seed), PARAMS) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.features, same.features)
    assert len(one.features) != len(other.features) or not np.array_equal(one.features, other.features)


def test_spans_that_jump_are_not_taken() -> None:
    movement = replace(waving("a", 30.0), avoid_s=((4.0, 4.4), (15.0, 15.4)))
    samples = movement.samples.copy()
    samples[round(4.2 * 60) :, 0] += 30.0
    samples[round(15.2 * 60) :, 0] -= 30.0
    movement = replace(movement, samples=samples)
    for seed in range(40):
        take = draw_take(movement, np.random.default_rng(seed), replace(PARAMS, longest_s=8.0))
        steps = np.linalg.norm(np.diff(take.positions_m[:, 0], axis=0), axis=1)
        assert steps.max() < 0.5


def test_worn_sensors_err_by_about_what_the_parameters_say() -> None:
    angles = []
    for seed in range(30):
        take = plain_take(waving("a", 4.0), np.random.default_rng(seed), replace(PARAMS, lost_share=0.0))
        truth = take.q_world_from_segment[:, [SEGMENT[name] for name in SITES]]
        angles.append(quaternion.angle_between(take.q_seen, truth))
    rms = float(np.sqrt(np.mean(np.square(np.concatenate(angles)))))
    expected = np.sqrt(
        PARAMS.mounting_rad**2 + PARAMS.wobble_rad**2 + PARAMS.heading_rad**2 + PARAMS.inclination_rad**2
    )
    assert abs(rms / expected - 1.0) < 0.15


def test_arms_of_another_movement_are_taken_over_and_nothing_else() -> None:
    plain = TakeParams(other_arms_share=1.0, wander_share=0.0, style_rad=0.0, mirror_share=0.0)
    still = replace(waving("b", 8.0), samples=np.repeat(waving("b", 8.0).samples[:1], 480, axis=0))
    own = draw_take(waving("a", 8.0), np.random.default_rng(3), replace(plain, other_arms_share=0.0), still)
    other = draw_take(waving("a", 8.0), np.random.default_rng(3), plain, still)
    arm = [k for k, name in enumerate(POSE_SEGMENTS) if "arm" in name]
    assert np.abs(np.diff(other.six[:, arm], axis=0)).max() < 1e-6
    assert np.abs(np.diff(own.six[:, arm], axis=0)).max() > 1e-3
    leg = POSE_SEGMENTS.index("left_upper_leg")
    assert np.abs(np.diff(other.six[:, leg], axis=0)).max() > 1e-3


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_paths_beside_stay_within_limits_and_jump_nowhere(seed: int) -> None:
    random = np.random.default_rng(seed)
    low, high = coordinate_limits()
    values = random.normal(0.0, 1.0, (5, COORDINATES))
    moved = beside(values, random.normal(0.0, 0.5, (5, COORDINATES)))
    hinges = [COORDINATE["left_elbow_flexion"], COORDINATE["right_knee_flexion"], COORDINATE["spine_x"]]
    assert (moved[:, hinges] <= np.maximum(high, values)[:, hinges] + 1e-12).all()
    assert (moved[:, hinges] >= np.minimum(low, values)[:, hinges] - 1e-12).all()
    np.testing.assert_allclose(beside(values, np.zeros_like(values))[:, hinges], values[:, hinges])
    # A rotation written as its long way round is the same one, and stays so.
    arm = [COORDINATE[f"left_arm_{axis}"] for axis in "xyz"]
    longer = values.copy()
    norm = np.linalg.norm(values[:, arm], axis=1, keepdims=True)
    longer[:, arm] = values[:, arm] * (1.0 - 2.0 * np.pi / norm)
    offsets = random.normal(0.0, 0.5, (5, COORDINATES))
    one, same = (quaternion.from_rotvec(beside(item, offsets)[:, arm]) for item in (values, longer))
    assert quaternion.angle_between(one, same).max() < 1e-6


def test_targets_are_the_true_rotations_against_the_root() -> None:
    take = draw_take(waving("a", 8.0), np.random.default_rng(3), PARAMS)
    root = quaternion.conjugate(take.q_world_from_segment[:, SEGMENT["pelvis"]])
    for k, name in enumerate(POSE_SEGMENTS):
        against = quaternion.to_matrix(quaternion.multiply(root, take.q_world_from_segment[:, SEGMENT[name]]))
        np.testing.assert_allclose(take.six[:, k, :3], against[:, :, 0], atol=1e-6)
        np.testing.assert_allclose(take.six[:, k, 3:], against[:, :, 1], atol=1e-6)
