"""The process over any horizon against matrix exponentials."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from fusion.body.skeleton import COORDINATES
from fusion.records import Float64
from training.motion_model import MotionModel, errors, noise, transition
from training.tracks import Steps, way


def _model() -> MotionModel:
    rng = np.random.default_rng(4)
    factor = rng.standard_normal((COORDINATES, 2 * COORDINATES))
    covariance = factor @ factor.T
    std = np.sqrt(np.diag(covariance))
    return MotionModel(
        rng.uniform(0.5, 90.0, COORDINATES),
        rng.uniform(0.04, 2.0, COORDINATES),
        np.where(rng.random(COORDINATES) < 0.5, 0.0, rng.uniform(0.1, 0.4, COORDINATES)),
        0.2 * rng.standard_normal(COORDINATES),
        covariance / np.outer(std, std),
    )


def _van_loan(model: MotionModel, i: int, j: int, horizon_s: float) -> tuple[Float64, Float64]:
    """Transition and noise of coordinates i and j by Van Loan 1978, "Computing integrals involving the matrix
    exponential", eq. 1.4."""
    drift, driven = np.zeros((4, 4)), np.zeros((4, 4))
    pair = (i, j)
    for m, a in enumerate(pair):
        drift[2 * m, 2 * m : 2 * m + 2] = -model.return_rate[a], 1.0
        drift[2 * m + 1, 2 * m + 1] = -1.0 / model.decay_s[a]
        for n, b in enumerate(pair):
            driven[2 * m + 1, 2 * n + 1] = np.sqrt(model.density[a] * model.density[b]) * model.correlation[a, b]
    whole = expm(np.block([[-drift, driven], [np.zeros((4, 4)), drift.T]]) * horizon_s)
    forward = whole[4:, 4:].T
    return forward, forward @ whole[:4, 4:]


@pytest.mark.parametrize("horizon_s", [0.005, 0.1, 1.0])
def test_transition_and_noise_are_those_of_the_differential_equation(horizon_s: float) -> None:
    model = _model()
    stay, keep, reach = transition(model, horizon_s)
    spread = noise(model, horizon_s)
    for i, j in ((0, 1), (7, 30), (12, 43)):
        forward, driven = _van_loan(model, i, j, horizon_s)
        np.testing.assert_allclose([stay[i], keep[i], reach[i]], [forward[0, 0], forward[1, 1], forward[0, 1]])
        found = [spread.position[i, j], spread.position_rate[i, j], spread.position_rate[j, i], spread.rate[i, j]]
        np.testing.assert_allclose(found, [driven[0, 2], driven[0, 3], driven[2, 1], driven[1, 3]], rtol=1e-6)


def test_noise_of_a_short_step_is_that_of_white_acceleration() -> None:
    model = _model()
    spread = noise(model, 1e-4)
    driven = np.sqrt(np.outer(model.density, model.density)) * model.correlation
    np.testing.assert_allclose(spread.rate, driven * 1e-4, rtol=5e-3)
    np.testing.assert_allclose(spread.position_rate, driven * 1e-8 / 2.0, rtol=5e-3)
    np.testing.assert_allclose(spread.position, driven * 1e-12 / 3.0, rtol=5e-3)


def test_noise_of_all_coordinates_together_is_a_covariance() -> None:
    spread = noise(_model(), 0.03)
    whole = np.block([[spread.position, spread.position_rate], [spread.position_rate.T, spread.rate]])
    std = np.sqrt(np.diag(whole))
    assert np.linalg.eigvalsh(whole / np.outer(std, std)).min() > 0.0


def test_a_motion_without_noise_is_predicted_without_error() -> None:
    model = _model()
    stay, keep, reach = transition(model, 0.3)
    rng = np.random.default_rng(5)
    start, rate = 0.5 * rng.standard_normal((3, COORDINATES)), rng.standard_normal((3, COORDINATES))
    pulled = (1.0 - stay) * way(start, np.broadcast_to(model.rest, start.shape))
    sample = Steps(start, rate, reach * rate + pulled, start, keep * rate)
    position, speed = errors(model, sample, 0.3)
    assert np.abs(position).max() < 1e-7
    assert np.abs(speed).max() < 1e-12
