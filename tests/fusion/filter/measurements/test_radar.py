"""Radar: Jacobians against central differences, predictions against motion, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion.body.skeleton import SEGMENT
from fusion.filter.measurements.radar import (
    TRUNK,
    RadarJointsMeasurement,
    RadarParams,
    RadarTrunkMeasurement,
    RadarVelocityMeasurement,
)
from fusion.filter.state import RATE_COLUMN, State
from fusion.filter.system import make_system
from fusion.maths import quaternion
from tests.fusion.filter.measurements.observed import (
    BAD_NUMBERS,
    Observed,
    after,
    assert_jacobian,
    body_at,
    moving_state,
)

SEGMENTS = np.array([SEGMENT[name] for name in ("t8", "right_hand", "pelvis", "left_lower_leg")])
COUNT = len(SEGMENTS)


def trunk(state: State, random: np.random.Generator) -> RadarTrunkMeasurement:
    return RadarTrunkMeasurement(
        time_ns=0,
        source="radar",
        position_m=body_at(state.nominal).positions[TRUNK] + 0.1 * random.normal(size=3),
        directions=quaternion.to_matrix(quaternion.from_rotvec(random.normal(size=3))),
        distance_m=2.5,
        radial_velocity_m_s=0.4,
        params=RadarParams(),
    )


def points(random: np.random.Generator) -> RadarVelocityMeasurement:
    directions = random.normal(size=(COUNT, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return RadarVelocityMeasurement(
        0, "radar", SEGMENTS, 0.1 * random.normal(size=(COUNT, 3)), directions, random.normal(size=COUNT),
        random.uniform(0.1, 1.0, COUNT),
    )  # fmt: skip


def joints(random: np.random.Generator) -> RadarJointsMeasurement:
    return RadarJointsMeasurement(
        0, "radar", SEGMENTS, random.normal(size=(COUNT, 3)), random.uniform(0.01, 0.1, (COUNT, 3)), inflation=5.0
    )


@pytest.mark.parametrize("seed", range(2))
def test_jacobians(seed: int) -> None:
    random = np.random.default_rng(seed)
    state = moving_state(random, rate=2.0)
    assert assert_jacobian(state, points(random)).count == COUNT
    assert assert_jacobian(state, joints(random)).count == COUNT


def test_a_cluster_tells_of_the_place_alone() -> None:
    """The root's place and velocity are told one to one, and nothing of how the body stands."""
    random = np.random.default_rng(5)
    state = moving_state(random, rate=2.0)
    system = make_system(len(state.nominal))
    trunk(state, random).add_rows(state, state.nominal, body_at(state.nominal), system)
    told = np.zeros((2, 3, len(state.nominal)))
    told[0, :, :3] = told[1, :, RATE_COLUMN : RATE_COLUMN + 3] = np.eye(3)
    np.testing.assert_array_equal(system.jacobian[:2], told)


def test_trunk_is_where_the_cluster_is_and_comes_as_fast() -> None:
    random = np.random.default_rng(2)
    state = moving_state(random, rate=2.0)
    measurement = trunk(state, random)
    before, now = (body_at(after(state, at)).positions[TRUNK] for at in (-1e-6, 1e-6))
    speed = float(measurement.directions[0] @ (now - before) / 2e-6)
    aside = np.array([0.1, -0.2, 0.3])
    told = replace(
        measurement,
        position_m=0.5 * (before + now) + aside @ measurement.directions,
        radial_velocity_m_s=speed + 0.05,
    )
    observed = Observed(state, told)
    np.testing.assert_allclose(observed.residual, [*aside, 0.05], atol=1e-7)
    p = RadarParams()
    expected = [p.range_m, p.azimuth_rad * 2.5, p.elevation_rad * 2.5, p.doppler_m_s]
    np.testing.assert_allclose(np.sqrt(observed.variance), expected)


def test_points_come_as_they_move() -> None:
    random = np.random.default_rng(3)
    state = moving_state(random, rate=2.0)
    measurement = points(random)
    places = []
    for at in (-1e-6, 1e-6):
        body = body_at(after(state, at))
        places.append(body.positions[SEGMENTS] + quaternion.rotate(body.quaternions[SEGMENTS], measurement.offset_m))
    velocity = (places[1] - places[0]) / 2e-6
    told = replace(measurement, radial_velocity_m_s=(velocity * measurement.directions).sum(axis=1))
    observed = Observed(state, told)
    np.testing.assert_allclose(observed.residual, 0.0, atol=1e-7)
    np.testing.assert_allclose(observed.variance, measurement.variance_m2_s2)


def test_joints_are_the_segments_origins() -> None:
    random = np.random.default_rng(4)
    state = moving_state(random)
    measurement = joints(random)
    observed = Observed(state, measurement)
    expected = measurement.positions_m - body_at(state.nominal).positions[SEGMENTS]
    np.testing.assert_allclose(observed.residual, expected.ravel())
    np.testing.assert_allclose(observed.variance, 5.0 * measurement.variance_m2.ravel())


@pytest.mark.parametrize("bad", BAD_NUMBERS)
def test_what_is_no_number_is_left_out(bad: float) -> None:
    random = np.random.default_rng(5)
    state = moving_state(random)
    cluster = trunk(state, random)
    assert len(Observed(state, replace(cluster, position_m=np.array([0.0, bad, 1.0]))).residual) == 1
    assert len(Observed(state, replace(cluster, radial_velocity_m_s=bad)).residual) == 3
    for make, names in (
        (points, ("radial_velocity_m_s", "directions", "offset_m", "variance_m2_s2")),
        (joints, ("positions_m", "variance_m2")),
    ):
        for name in names:
            measurement = make(random)
            getattr(measurement, name).reshape(COUNT, -1)[1, -1] = bad
            observed = Observed(state, measurement)
            np.testing.assert_array_equal(observed.source, [0, 2, 3])
            assert np.isfinite(observed.residual).all()


@pytest.mark.parametrize("variance", [0.0, -1.0])
def test_impossible_trust_is_left_out(variance: float) -> None:
    random = np.random.default_rng(6)
    state = moving_state(random)
    some, all_of_them = joints(random), points(random)
    some.variance_m2[0, 1] = variance
    all_of_them.variance_m2_s2[:] = variance
    np.testing.assert_array_equal(Observed(state, some).source, [1, 2, 3])
    assert Observed(state, all_of_them).count == 0


def test_joints_that_are_not_on_the_body_are_left_out() -> None:
    random = np.random.default_rng(7)
    state = moving_state(random)
    segment = SEGMENTS.copy()
    segment[2] = -1
    np.testing.assert_array_equal(Observed(state, replace(joints(random), segment=segment)).source, [0, 1, 3])
    np.testing.assert_array_equal(Observed(state, replace(points(random), segment=segment)).source, [0, 1, 3])
