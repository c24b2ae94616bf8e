"""The score: derivatives against differences, the kernel against plain numpy, zero in the mean at the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.radar.body import DEPTHS_M, SHARES, Places
from calibration.radar.likelihood import PARAMETERS, Model, _expected, score
from fusion.estimators.radar.polar import polar_of
from fusion.maths import quaternion
from fusion.records import Float64, Int64
from fusion.synthesis.radars import from_polar

SIGMAS = np.array([0.088, math.radians(3.3), math.radians(2.1), 0.53])
LOW = np.array([0.3, -1.0, -0.45, -3.0])
HIGH = np.array([6.0, 1.0, 0.45, 3.0])
MODEL = Model(SIGMAS, LOW, HIGH, 0.1, 0.3)


def turned(draw: np.random.Generator) -> Float64:
    return quaternion.to_matrix(quaternion.normalize(draw.normal(size=4)))


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_polar_coordinates_go_both_ways(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(8, 3))
    polar = polar_of(points)
    np.testing.assert_allclose(from_polar(polar[:, 0], polar[:, 1], polar[:, 2]), points, atol=1e-9)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_each_derivative_is_that_of_the_expected_measure(seed: int) -> None:
    draw = np.random.default_rng(seed)
    turn, depth = turned(draw), 0.1
    pose = np.array([*draw.normal(size=3), 0.02])
    # A place ahead of the radar: angles have no derivative above and below it.
    ahead = from_polar(
        *(np.array([value]) for value in (draw.uniform(0.8, 5.0), draw.uniform(-1, 1), draw.uniform(-1, 1)))
    )
    place = pose[:3] + turn @ ahead[0]
    velocity, acceleration = draw.normal(size=(2, 3))

    def measure(change: Float64) -> Float64:
        value, rows = np.zeros(4), np.zeros((4, PARAMETERS))
        late = change[6]
        # The place as it was so much earlier.
        earlier = place - late * velocity + 0.5 * late**2 * acceleration
        moved = turn @ quaternion.to_matrix(quaternion.from_rotvec(change[:3]))
        there = pose + np.array([*change[3:6], change[7]])
        assert _expected(earlier, velocity - late * acceleration, acceleration, depth, moved, there, value, rows)
        return value

    value, rows = np.zeros(4), np.zeros((4, PARAMETERS))
    assert _expected(place, velocity, acceleration, depth, turn, pose, value, rows)
    step = 1e-5
    for j in range(PARAMETERS):
        change = step * np.eye(PARAMETERS)[j]
        np.testing.assert_allclose((measure(change) - measure(-change)) / (2.0 * step), rows[:, j], atol=1e-6)


def test_a_place_at_the_radar_says_nothing() -> None:
    value, rows = np.zeros(4), np.zeros((4, PARAMETERS))
    assert not _expected(np.zeros(3), np.ones(3), np.zeros(3), 0.1, np.eye(3), np.zeros(4), value, rows)


def scene(seed: int, frames: int = 3) -> tuple[Places, Float64, Float64]:
    """Places on a cloud of a body's size 3 m ahead of the radar, which sits somewhere."""
    draw = np.random.default_rng(seed)
    turn, position = turned(draw), draw.normal(size=3)
    cloud = np.array([0.0, 3.0, 0.0]) + [0.3, 0.3, 0.5] * draw.normal(size=(frames, len(SHARES), 3))
    velocities = draw.normal(size=(frames, len(SHARES), 3))
    return Places(position + cloud @ turn.T, velocities, np.zeros_like(velocities)), turn, position


def plain(measured: Float64, first: Int64, places: Places, turn: Float64, pose: Float64, model: Model) -> float:
    """The log likelihood as a sentence of numpy."""
    total = 0.0
    erf = np.vectorize(math.erf)
    for f in range(len(first) - 1):
        sight = places.positions_m[f] - pose[:3]
        distance = np.linalg.norm(sight, axis=1)
        unit = sight / distance[:, None]
        polar = polar_of((sight - DEPTHS_M[:, None] * unit) @ turn)
        polar[:, 0] += pose[3]
        expected = np.column_stack([polar, (unit * places.velocities_m_s[f]).sum(1)])
        weight = SHARES * (np.minimum(np.abs(expected[:, 3]) / model.full_speed_m_s, 1.0) + 0.02)
        inside = [
            0.5 * (erf((high - m) / (s * math.sqrt(2.0))) - erf((low - m) / (s * math.sqrt(2.0))))
            for m, s, low, high in list(zip(expected.T, model.sigmas, model.low, model.high, strict=True))[1:3]
        ]
        seen = (weight * inside[0] * inside[1]).sum()
        errors = (measured[first[f] : first[f + 1], None] - expected) / model.sigmas
        normal = np.exp(-0.5 * (errors**2).sum(2)) / ((2.0 * math.pi) ** 2 * model.sigmas.prod())
        body = (weight * normal).sum(1) / seen
        total += np.log((1.0 - model.clutter) * body + model.clutter / (model.high - model.low).prod()).sum()
    return float(total)


@pytest.mark.parametrize("seed", range(4))
def test_the_kernel_says_what_plain_numpy_says(seed: int) -> None:
    places, turn, position = scene(seed)
    draw = np.random.default_rng(100 + seed)
    measured = np.array([3.0, 0.0, 0.0, 0.0]) + [0.4, 0.2, 0.2, 1.0] * draw.normal(size=(20, 4))
    first, pose = np.array([0, 8, 8, 20]), np.array([*position, 0.01])
    said = score(measured, first, places, turn, pose, MODEL)
    assert said.log_likelihood == pytest.approx(plain(measured, first, places, turn, pose, MODEL), rel=1e-9)
    assert 0.0 < said.body <= len(measured)
    assert (said.owners >= 0.0).all()
    assert (said.frames[1] == 0.0).all()
    assert said.hits.sum() == pytest.approx(said.body, rel=1e-4)
    assert (SHARES * said.exposure).sum() == pytest.approx(said.body, rel=1e-9)


def drawn_points(seed: int, places: Places, turn: Float64, position: Float64, count: int) -> tuple[Float64, Int64]:
    """Points as the model says that they come: measures [N, 4] and where frames begin."""
    draw = np.random.default_rng(seed)
    chosen, first = [], [0]
    for f in range(len(places.positions_m)):
        sight = places.positions_m[f] - position
        unit = sight / np.linalg.norm(sight, axis=1, keepdims=True)
        expected = np.column_stack(
            [polar_of((sight - DEPTHS_M[:, None] * unit) @ turn), (unit * places.velocities_m_s[f]).sum(1)]
        )
        weight = SHARES * (np.minimum(np.abs(expected[:, 3]) / 0.3, 1.0) + 0.02)
        from_body = expected[draw.choice(len(SHARES), count, p=weight / weight.sum())]
        measured = from_body + SIGMAS * draw.normal(size=(count, 4))
        ghosts = draw.uniform(LOW, HIGH, size=(count // 9, 4))
        measured = np.concatenate([measured[((measured > LOW) & (measured < HIGH))[:, 1:3].all(1)], ghosts])
        chosen.append(measured)
        first.append(first[-1] + len(measured))
    return np.concatenate(chosen), np.array(first)


def test_at_the_truth_the_score_is_zero_in_the_mean_though_the_view_cuts_off() -> None:
    places, turn, position = scene(5, frames=200)
    # Half of the body is above the view.
    turn = turn @ quaternion.to_matrix(quaternion.from_rotvec(np.array([-0.4, 0.0, 0.0])))
    measured, first = drawn_points(6, places, turn, position, 60)
    said = score(measured, first, places, turn, np.array([*position, 0.0]), MODEL)
    normalised = np.linalg.solve(np.linalg.cholesky(said.information), said.frames.sum(0))
    assert np.abs(normalised).max() < 4.0
    shifted = np.array([*position, 0.0])
    shifted[0] += 0.03
    beside = score(measured, first, places, turn, shifted, MODEL)
    assert np.abs(np.linalg.solve(np.linalg.cholesky(beside.information), beside.frames.sum(0))).max() > 8.0
    assert said.body == pytest.approx(0.9 * len(measured), rel=0.05)
