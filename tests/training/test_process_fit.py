"""The fit finds the process that made the motion."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fusion.body.skeleton import COORDINATE, COORDINATES, REFERENCE_LENGTHS_M
from fusion.maths import quaternion
from fusion.records import Float64
from training.motion_model import MotionModel
from training.process import as_text, report
from training.process_check import left_out_gains, prediction_errors, score, uncorrelated
from training.process_fit import (
    HORIZONS_S,
    MOVED,
    SHRINKAGE,
    MotionFit,
    fit,
    fit_rate,
    fit_return,
    scatter_correlation,
)
from training.tracks import RATE_HZ, TURNS, Track

CLIPS = ("dm_walk", "cmu_03_03", "dm_stealthy_walk0", "cmu_01_01", "dm_run")
"""One of each activity."""


def simulated_rates(rng: np.random.Generator, model: MotionModel, count: int) -> Float64:
    """Exact samples [T, 44] of the correlated Ornstein-Uhlenbeck rates; density in the stationary sense."""
    a = 1.0 / model.decay_s
    driven = np.sqrt(np.outer(model.density, model.density)) * model.correlation
    total = a[:, None] + a
    keep = np.exp(-a / RATE_HZ)
    factor = np.linalg.cholesky(driven * -np.expm1(-total / RATE_HZ) / total)
    rates = np.empty((count, COORDINATES))
    rates[0] = np.linalg.cholesky(driven / total) @ rng.standard_normal(COORDINATES)
    for k in range(1, count):
        rates[k] = keep * rates[k - 1] + factor @ rng.standard_normal(COORDINATES)
    return rates


def simulated_track(rng: np.random.Generator, model: MotionModel, seconds: float) -> Track:
    """Rates integrated on the manifold by the trapezoidal rule."""
    rates = simulated_rates(rng, model, int(seconds * RATE_HZ))
    middle = 0.5 * (rates[1:] + rates[:-1]) / RATE_HZ
    coordinates = np.concatenate([np.zeros((1, COORDINATES)), np.cumsum(middle, axis=0)])
    columns = [[i, i + 1, i + 2] for i in TURNS]
    here = quaternion.from_rotvec(np.zeros((len(TURNS), 3)))
    turned = [here]
    for step in quaternion.from_rotvec(middle[:, columns]):
        here = quaternion.multiply(here, step)
        turned.append(here)
    coordinates[:, columns] = quaternion.to_rotvec(quaternion.normalize(np.array(turned)))
    return Track(coordinates, rates, np.ones(len(rates), dtype=np.bool_), REFERENCE_LENGTHS_M)


def known_model() -> MotionModel:
    correlation = np.eye(COORDINATES)
    for side in ("left", "right"):
        hip, knee = COORDINATE[f"{side}_hip_y"], COORDINATE[f"{side}_knee_flexion"]
        correlation[hip, knee] = correlation[knee, hip] = -0.6
        knee, vertical = COORDINATE[f"{side}_elbow_flexion"], COORDINATE["root_pz"]
        correlation[knee, vertical] = correlation[vertical, knee] = 0.4
    density = np.full(COORDINATES, 8.0)
    decay = np.full(COORDINATES, 0.15)
    for side in ("left", "right"):
        density[COORDINATE[f"{side}_knee_flexion"]] = 60.0
        decay[COORDINATE[f"{side}_ankle_inversion"]] = 0.06
    decay[:2] = 1.2
    return MotionModel(density, decay, np.zeros(COORDINATES), np.zeros(COORDINATES), correlation)


@pytest.fixture(scope="module")
def fitted() -> tuple[MotionFit, dict[str, Track]]:
    rng = np.random.default_rng(6)
    tracks = {name: simulated_track(rng, known_model(), 30.0) for name in CLIPS}
    return fit(tracks), tracks


def test_density_and_decay_are_recovered(fitted: tuple[MotionFit, dict[str, Track]]) -> None:
    truth, found = known_model(), fitted[0].model
    np.testing.assert_allclose(found.density[MOVED], truth.density[MOVED], rtol=0.2)
    np.testing.assert_allclose(found.decay_s[MOVED], truth.decay_s[MOVED], rtol=0.25)


def test_correlation_is_recovered_but_for_the_shrinking(fitted: tuple[MotionFit, dict[str, Track]]) -> None:
    expected = (1.0 - SHRINKAGE) * known_model().correlation + SHRINKAGE * np.eye(COORDINATES)
    np.testing.assert_allclose(fitted[0].model.correlation, expected, atol=0.09)
    assert np.all(fitted[0].model.correlation[:2, 2:] == 0.0)


def test_scores_of_the_true_process_are_those_of_an_honest_one(fitted: tuple[MotionFit, dict[str, Track]]) -> None:
    tracks = fitted[1]
    for horizon_s in HORIZONS_S[:3]:
        true = score(known_model(), prediction_errors(known_model(), tracks, horizon_s), horizon_s)
        assert true.normalised_square == pytest.approx((1.0, 1.0), rel=0.06)
        assert true.inside_95 == pytest.approx((0.95, 0.95), abs=0.01)
        independent = uncorrelated(known_model())
        plain = score(independent, prediction_errors(independent, tracks, horizon_s), horizon_s)
        assert min(np.subtract(true.log_likelihood, plain.log_likelihood)) > 0.01


def test_a_correlation_gains_for_activities_left_out(fitted: tuple[MotionFit, dict[str, Track]]) -> None:
    gains = left_out_gains(fitted[1], fitted[0].model, (0.0, 1.0))
    assert gains[0.0] > 0.01
    assert gains[1.0] == pytest.approx(0.0, abs=1e-12)


def test_one_rate_is_recovered_from_its_moments() -> None:
    rng = np.random.default_rng(8)
    model = MotionModel(np.full(44, 20.0), np.full(44, 0.2), np.zeros(44), np.zeros(44), np.eye(44))
    rates = simulated_rates(rng, model, 12000)
    way = np.cumsum(rates, axis=0) / RATE_HZ
    moments = {}
    for horizon_s in HORIZONS_S:
        reach = round(horizon_s * RATE_HZ)
        moved = way[reach:] - way[:-reach] + 0.5 * (rates[:-reach] - rates[reach:]) / RATE_HZ
        values = np.stack([0.0 * moved, rates[:-reach], moved, rates[reach:]]).reshape(4, -1)
        moments[horizon_s] = values @ values.T / values.shape[1]
    density, decay = fit_rate(moments, 0.0)
    assert density == pytest.approx(20.0, rel=0.05)
    assert decay == pytest.approx(0.2, rel=0.05)


def test_return_to_rest_is_recovered_and_none_is_none() -> None:
    rng = np.random.default_rng(9)
    deviation, rate = rng.standard_normal((2, 20000))
    moved = np.expm1(-0.25 * 4.0) * deviation + 0.1 * rate + 0.2 * rng.standard_t(3.0, 20000)
    assert fit_return(deviation, rate, moved, np.ones(20000)) == pytest.approx(0.25, rel=0.05)
    assert fit_return(deviation, rate, 0.1 * rate, np.ones(20000)) == 0.0


def test_scatter_tells_the_correlation_of_heavy_tails() -> None:
    rng = np.random.default_rng(10)
    truth = np.array([[1.0, -0.7, 0.0], [-0.7, 1.0, 0.3], [0.0, 0.3, 1.0]])
    values = rng.standard_normal((4000, 3)) @ np.linalg.cholesky(truth).T
    values *= 1.0 / np.sqrt(rng.chisquare(1.0, (4000, 1)))
    shape = scatter_correlation(values, np.ones(4000))
    std = np.sqrt(np.diag(shape))
    np.testing.assert_allclose(shape / np.outer(std, std), truth, atol=0.05)
    plain = np.corrcoef(values.T)
    assert np.abs(plain - truth).max() > np.abs(shape / np.outer(std, std) - truth).max()


def test_correlation_tells_hip_from_knee_where_they_move_against_each_other(
    fitted: tuple[MotionFit, dict[str, Track]],
) -> None:
    figures = report(fitted[0], {name: fitted[1][name] for name in CLIPS[:2]})
    share = next(one for one in figures["shares"] if one["worn_on"] == ("pelvis", "lower_leg"))
    assert share["correlated"] < 0.95 * share["independent"]
    assert share["ratio"] < 0.95
    assert json.loads(json.dumps(figures, allow_nan=False))["groups"]["root_pz"]["pose_std"] is None
    assert "| knee_flexion | independent |" in as_text(figures)
