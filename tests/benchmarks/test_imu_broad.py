"""BROAD's errors by hand, and that our filter does what the package does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.imu_broad import (
    TRIALS,
    BroadTrial,
    north_figures,
    ours,
    package_batch,
    package_steps,
    read_trial,
    rmse_deg,
)
from fusion.estimators.inertial.orientation import ErrorModel
from fusion.maths import quaternion
from fusion.records import Float64

PUBLISHED_9D_DEG = {"total": 0.74, "heading": 0.51, "inclination": 0.54}
"""Of the package on the second trial."""
COUNT = 200


@pytest.fixture(scope="module")
def trial(data_pack: Path) -> BroadTrial:
    if not (data_pack / "imu" / f"broad_{TRIALS[1]}.npz").is_file():
        pytest.skip(f"no {TRIALS[1]} in {data_pack}")
    return read_trial(data_pack, TRIALS[1])


def made_up(q_true: Float64) -> BroadTrial:
    """Half a rest, half a movement."""
    none = np.zeros((COUNT, 3))
    times = np.arange(COUNT, dtype=np.int64) * 10_000_000
    return BroadTrial(times, 0.01, none, none, none, q_true, np.arange(COUNT) >= COUNT // 2)


def test_errors_by_hand() -> None:
    random = np.random.default_rng(1)
    q = quaternion.from_rotvec(random.normal(size=(COUNT, 3)))
    heading = quaternion.from_rotvec(np.array([0.0, 0.0, np.radians(30.0)]))
    tilt = quaternion.from_rotvec(np.array([np.radians(-4.0), 0.0, 0.0]))
    turned = rmse_deg(made_up(q), quaternion.multiply(heading, q), free_heading=False)
    assert turned == pytest.approx({"total": 30.0, "heading": 30.0, "inclination": 0.0}, abs=1e-4)
    tilted = rmse_deg(made_up(q), -quaternion.multiply(tilt, q), free_heading=False)
    assert tilted == pytest.approx({"total": 4.0, "heading": 0.0, "inclination": 4.0}, abs=1e-4)


def test_a_free_heading_is_set_at_the_start_and_only_there() -> None:
    random = np.random.default_rng(2)
    q = quaternion.from_rotvec(random.normal(size=(COUNT, 3)))
    drift = np.zeros((COUNT, 3))
    drift[:, 2] = np.radians(170.0)
    drift[COUNT // 2 :, 2] += np.radians(20.0)
    errors = rmse_deg(made_up(q), quaternion.multiply(quaternion.from_rotvec(drift), q), free_heading=True)
    assert errors["heading"] == pytest.approx(20.0, abs=1e-4)


def test_samples_at_rest_or_without_a_truth_do_not_count() -> None:
    q = np.tile(np.array([1.0, 0.0, 0.0, 0.0]), (COUNT, 1))
    wrong = np.tile(quaternion.from_rotvec(np.array([1.0, 0.0, 0.0])), (COUNT, 1))
    wrong[COUNT // 2 : COUNT - 50] = q[0]
    truth = q.copy()
    truth[-50:] = np.nan
    assert rmse_deg(made_up(truth), wrong, free_heading=False)["total"] == pytest.approx(0.0, abs=1e-6)


def test_the_package_has_its_published_error_and_ours_is_equal(trial: BroadTrial) -> None:
    package = rmse_deg(trial, package_batch(trial, True), free_heading=False)
    assert package == pytest.approx(PUBLISHED_9D_DEG, abs=0.006)
    like_for_like = rmse_deg(trial, ours(trial, True, 0.5 * trial.period_s), free_heading=False)
    for name, error_deg in package.items():
        assert like_for_like[name] == pytest.approx(error_deg, abs=0.06)


def test_the_package_is_the_same_in_steps(trial: BroadTrial) -> None:
    part = slice(0, 3000)
    short = replace(
        trial, times_ns=trial.times_ns[part], force=trial.force[part], rates=trial.rates[part],
        magnetic=trial.magnetic[part], q_true=trial.q_true[part], movement=trial.movement[part],
    )  # fmt: skip
    for magnetometer in (False, True):
        np.testing.assert_allclose(package_steps(short, magnetometer), package_batch(short, magnetometer), atol=1e-12)


def test_a_heading_that_the_field_holds_errs_no_more_than_is_claimed(trial: BroadTrial) -> None:
    figures, claimed = north_figures(trial), ErrorModel()
    assert figures["rms_deg"] < np.degrees(claimed.north_rad)
    assert figures["correlation_s"] < 1.5 * claimed.north_correlation_s
    assert figures["disturbed_share"] < 0.05
