"""Places on a moving body: where capsules are, and their derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.radar.body import PART, PLACES_PER_CAPSULE, SHARES, BodyParams, MovingBody
from calibration.radar.practice import exact, walker
from calibration.radar.recording import NS_PER_S, Trail
from fusion.records import Float64
from fusion.synthesis.wearer import CAPSULES, capsule_ends

MIDDLE = PLACES_PER_CAPSULE // 2


@pytest.fixture(scope="module")
def trail() -> Trail:
    return exact(walker(3))


def moving(velocity_m_s: Float64, times_s: Float64) -> Trail:
    """The first pose of somebody, carried along a line."""
    still = exact(walker(3))
    positions = still.positions_m[0] + times_s[:, None, None] * velocity_m_s
    quaternions = np.repeat(still.q_world_from_segment[:1], len(times_s), axis=0)
    return Trail(np.round(times_s * NS_PER_S).astype(np.int64), positions, quaternions, still.lengths_m)


def test_shares_are_those_of_all_places() -> None:
    assert SHARES.shape == (len(CAPSULES) * PLACES_PER_CAPSULE,)
    assert SHARES.sum() == pytest.approx(1.0)
    assert (SHARES > 0.0).all()


def test_a_part_is_both_sides_and_no_other() -> None:
    names = [capsule.segment for capsule in CAPSULES for _ in range(PLACES_PER_CAPSULE)]
    arms = {int(PART[k]) for k, name in enumerate(names) if name.endswith("upper_arm")}
    assert len(arms) == 1
    assert sum(part in arms for part in PART.tolist()) == 2 * PLACES_PER_CAPSULE
    assert len(set(PART.tolist())) == 11


def test_the_middle_place_is_in_the_middle_of_its_capsule(trail: Trail) -> None:
    times = trail.times_ns[60:600:7]
    places = MovingBody(trail, BodyParams(smoothing_s=0.0)).at(times.astype(np.float64))
    starts, ends = capsule_ends(trail.positions_m, trail.q_world_from_segment, trail.lengths_m)
    middles = 0.5 * (starts + ends)[60:600:7]
    np.testing.assert_allclose(places.positions_m[:, MIDDLE::PLACES_PER_CAPSULE], middles, atol=2e-3)


def test_a_steady_movement_has_its_velocity_and_no_acceleration() -> None:
    velocity = np.array([0.7, -0.3, 0.1])
    body = MovingBody(moving(velocity, np.arange(0.0, 4.0, 1.0 / 30.0)))
    places = body.at(np.linspace(1.0, 3.0, 37) * NS_PER_S)
    np.testing.assert_allclose(places.velocities_m_s, np.broadcast_to(velocity, places.velocities_m_s.shape), atol=1e-7)
    np.testing.assert_allclose(places.accelerations_m_s2, 0.0, atol=1e-5)


def test_derivatives_are_those_of_the_places(trail: Trail) -> None:
    body, step_s = MovingBody(trail), 0.02
    times = np.linspace(2.0, 20.0, 60) * NS_PER_S
    before, now, after = (body.at(times + shift * step_s * NS_PER_S) for shift in (-1.0, 0.0, 1.0))
    rates = (after.positions_m - before.positions_m) / (2.0 * step_s)
    accelerations = (after.velocities_m_s - before.velocities_m_s) / (2.0 * step_s)
    assert np.abs(now.velocities_m_s - rates).max() < 0.15
    assert np.sqrt(np.mean((now.accelerations_m_s2 - accelerations) ** 2)) < 0.4


def test_nothing_is_known_beyond_the_ends_and_in_gaps() -> None:
    times_s = np.concatenate([np.arange(0.0, 2.0, 0.05), np.arange(3.0, 5.0, 0.05)])
    body = MovingBody(moving(np.array([1.0, 0.0, 0.0]), times_s))
    asked = np.array([-0.1, 0.5, 1.9, 2.5, 3.5, 4.9, 5.5])
    assert body.known(asked * NS_PER_S).tolist() == [False, True, True, False, True, True, False]
