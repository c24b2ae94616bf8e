"""What a network makes of IMUs: Jacobians against central differences, predictions against plain numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion.body.skeleton import COORDINATE, COORDINATES, SEGMENT
from fusion.filter.measurements.network import NetworkRotationsMeasurement, NetworkVelocitiesMeasurement
from fusion.filter.state import LENGTH
from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.filter.measurements.observed import (
    BAD_NUMBERS,
    Observed,
    after,
    assert_jacobian,
    body_at,
    moving_state,
)

ROTATED = np.array([SEGMENT[name] for name in ("left_upper_leg", "t8", "neck", "right_upper_arm", "l5")])
MOVED = np.array([SEGMENT[name] for name in ("pelvis", "head", "left_hand", "right_foot")])


def rotations(random: np.random.Generator) -> NetworkRotationsMeasurement:
    values = quaternion.from_rotvec(random.normal(size=(len(ROTATED), 3)))
    variance = random.uniform(0.01, 0.1, (len(ROTATED), 3))
    return NetworkRotationsMeasurement(0, "network", ROTATED, values, variance, inflation=20.0)


def velocities(random: np.random.Generator) -> NetworkVelocitiesMeasurement:
    values = random.normal(size=(len(MOVED), 3))
    variance = random.uniform(0.01, 0.1, (len(MOVED), 3))
    return NetworkVelocitiesMeasurement(0, "network", MOVED, values, variance, inflation=20.0)


@pytest.mark.parametrize("seed", range(2))
def test_jacobians(seed: int) -> None:
    random = np.random.default_rng(seed)
    state = moving_state(random, rate=2.0)
    turned = assert_jacobian(state, rotations(random))
    assert turned.count == len(ROTATED)
    assert not turned.jacobian[:, :6].any()
    assert not turned.jacobian[:, LENGTH].any()
    moved = assert_jacobian(state, velocities(random))
    assert moved.count == len(MOVED)
    root = slice(COORDINATE["root_px"], COORDINATE["root_rz"] + 1)
    assert not moved.jacobian[3:, root].any()


def test_rotations_are_those_against_the_root() -> None:
    random = np.random.default_rng(2)
    state = moving_state(random)
    measurement = rotations(random)
    q = body_at(state.nominal).quaternions
    predicted = quaternion.multiply(quaternion.conjugate(q[0]), q[ROTATED])
    away = np.array([0.2, -0.1, 0.3])
    told = replace(measurement, q_root_from_segment=quaternion.multiply(quaternion.from_rotvec(away), predicted))
    observed = Observed(state, told)
    np.testing.assert_allclose(observed.residual.reshape(-1, 3), [away] * len(ROTATED), atol=1e-12)
    np.testing.assert_allclose(observed.variance, 20.0 * measurement.variance_rad2.ravel())


def test_velocities_are_those_seen_from_the_root() -> None:
    """Of places in the root's frame, which turns and moves along; the root's own is that in the world."""
    random = np.random.default_rng(3)
    state = moving_state(random, rate=2.0)
    measurement = velocities(random)

    def world(at_s: float) -> Float64:
        return np.asarray(body_at(after(state, at_s)).positions[MOVED])

    moved = (world(1e-6) - world(-1e-6)) / 2e-6
    moved[1:] -= moved[0]
    q = body_at(state.nominal).quaternions[0]
    told = replace(measurement, velocities_m_s=quaternion.rotate(quaternion.conjugate(q), moved))
    observed = Observed(state, told)
    np.testing.assert_allclose(observed.residual, 0.0, atol=1e-7)
    np.testing.assert_allclose(observed.variance, 20.0 * measurement.variance_m2_s2.ravel())


def test_neither_place_nor_heading_enters() -> None:
    random = np.random.default_rng(4)
    state = moving_state(random, rate=2.0)
    elsewhere = state.copy()
    elsewhere.coordinates[:3] += [3.0, -2.0, 0.5]
    turn = quaternion.from_rotvec([0.0, 0.0, 2.0])
    elsewhere.coordinates[3:6] = quaternion.to_rotvec(
        quaternion.multiply(turn, quaternion.from_rotvec(state.coordinates[3:6]))
    )
    elsewhere.rates[:3] = quaternion.rotate(turn, state.rates[:3])
    for measurement in (rotations(random), velocities(random)):
        here, there = Observed(state, measurement), Observed(elsewhere, measurement)
        np.testing.assert_allclose(there.residual, here.residual, atol=1e-9)
        np.testing.assert_allclose(there.jacobian[:, 3:COORDINATES], here.jacobian[:, 3:COORDINATES], atol=1e-9)


@pytest.mark.parametrize("bad", [*BAD_NUMBERS, "untrusted"])
def test_what_is_no_number_is_left_out(bad: float | str) -> None:
    random = np.random.default_rng(5)
    state = moving_state(random)
    turned, moved = rotations(random), velocities(random)
    if isinstance(bad, str):
        turned.variance_rad2[1, 2] = moved.variance_m2_s2[1, 2] = 0.0
    else:
        turned.q_root_from_segment[1, 2] = moved.velocities_m_s[1, 2] = bad
    assert 1 not in Observed(state, turned).source
    assert 1 not in Observed(state, moved).source
    assert Observed(state, turned).count == len(ROTATED) - 1
    assert Observed(state, moved).count == len(MOVED) - 1


def test_the_root_has_no_rotation_against_itself() -> None:
    random = np.random.default_rng(6)
    state = moving_state(random)
    segment = ROTATED.copy()
    segment[0], segment[1] = 0, -1
    np.testing.assert_array_equal(Observed(state, replace(rotations(random), segment=segment)).source, [2, 3, 4])
