"""The linear update against its information form, and the whole radar update against the library Stone Soup."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.estimators.radar.kalman import updated
from fusion.estimators.radar.noise import NoiseParams, point_variances
from fusion.estimators.radar.polar import predict_measure, residuals
from fusion.maths import quaternion
from fusion.records import Float64
from fusion.rig import RadarMount


def covariance_of(random: np.random.Generator, size: int, scale: float) -> Float64:
    factor = random.normal(size=(size, size))
    return scale * (factor @ factor.T + 0.1 * np.eye(size))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_the_update_agrees_with_the_information_form(seed: int, measures: int) -> None:
    random = np.random.default_rng(seed)
    state, before = random.normal(size=6), covariance_of(random, 6, 0.2)
    jacobian, error = random.normal(size=(measures, 6)), covariance_of(random, measures, 0.1)
    residual = random.normal(size=measures)
    mean, covariance = updated(state, before, residual, jacobian, error)
    weight = jacobian.T @ np.linalg.inv(error)
    expected = np.linalg.inv(np.linalg.inv(before) + weight @ jacobian)
    np.testing.assert_allclose(covariance, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(mean, state + expected @ weight @ residual, rtol=1e-6, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_radar_update_agrees_with_stone_soup(seed: int) -> None:
    """Stone Soup's bearing is positive to the left and its axes are forward, left, up: same measure, other sign."""
    models = pytest.importorskip("stonesoup.models.measurement.nonlinear", reason="pip install 'kinefuse[oracle]'")
    from stonesoup.types.array import CovarianceMatrix, StateVector
    from stonesoup.types.detection import Detection
    from stonesoup.types.hypothesis import SingleHypothesis
    from stonesoup.types.prediction import GaussianStatePrediction
    from stonesoup.updater.kalman import ExtendedKalmanUpdater

    random = np.random.default_rng(seed)
    mount = RadarMount(name="any", r_world_from_radar=np.eye(3), position_world_m=random.uniform(-2.0, 2.0, 3))
    heading = float(random.uniform(-3.0, 3.0))
    turn = quaternion.to_matrix(quaternion.from_rotvec(np.array([0.0, 0.0, heading])))
    mount = RadarMount(name="any", r_world_from_radar=turn, position_world_m=mount.position_world_m)
    local = np.array([random.uniform(-1.5, 1.5), random.uniform(1.0, 5.0), random.uniform(-0.8, 0.8)])
    state = np.concatenate([turn @ local + mount.position_world_m, random.uniform(-1.5, 1.5, 3)])
    before = covariance_of(random, 6, 0.02)
    prediction = predict_measure(state, mount)
    assert prediction is not None
    variances = point_variances(NoiseParams())
    measured = prediction.measure + np.sqrt(variances) * random.normal(size=4)
    mean, covariance = updated(
        state, before, residuals(measured[None], prediction.measure)[0], prediction.jacobian, np.diag(variances)
    )

    distance, azimuth, elevation, rate = measured
    model = models.CartesianToElevationBearingRangeRate(
        ndim_state=6,
        mapping=(0, 1, 2),
        velocity_mapping=(3, 4, 5),
        noise_covar=CovarianceMatrix(np.diag(variances[[2, 1, 0, 3]])),
        translation_offset=StateVector(mount.position_world_m[:, None]),
        # The radar's forward axis, +y of its own frame, stands a quarter turn to the left of its x.
        rotation_offset=StateVector([[0.0], [0.0], [heading + 0.5 * np.pi]]),
        velocity=StateVector(np.zeros((3, 1))),
    )
    detection = Detection(StateVector([[elevation], [-azimuth], [distance], [rate]]), measurement_model=model)
    theirs = ExtendedKalmanUpdater(measurement_model=model, force_symmetric_covariance=True).update(
        SingleHypothesis(GaussianStatePrediction(state[:, None], before), detection)
    )
    np.testing.assert_allclose(mean, np.asarray(theirs.mean, np.float64).ravel(), atol=1e-6)
    np.testing.assert_allclose(covariance, np.asarray(theirs.covar, np.float64), atol=1e-6)
