"""Orientation of real sensors against optical truth: our orientation filter beside the package ``vqf`` run alone.

    python -m benchmarks.imu_broad [--json]

Needs the data pack (``KINEFUSE_DATA``, else ``../shared/data`` beside the checkout): three trials of the BROAD data
set (Laidig, Caruso, Cereatti & Seel, "BROAD - A Benchmark for Robust Inertial Orientation Estimation", Data 6(7):72,
2021), hand-held, 286 Hz.

Errors are BROAD's (section 4.1): with e = estimated * conj(true) in the world, the total error is the angle of e,
the heading error ``2 atan |e_z / e_w|``, the inclination error ``2 acos sqrt(e_w^2 + e_z^2)``; the figure is the root
mean square over the samples in movement with optical truth, in degrees. All 9D errors are against magnetic north as
BROAD gives it. Without a magnetometer (6D) the heading is free: its mean error before the movement begins is taken out.

* ``package_batch``, ``package_steps``: ``VQF.updateBatch`` and ``VQF.update`` sample by sample, stamps as they are.
* ``lag_0``, ``lag_half_period``, ``lag_4ms``: ``OrientationFilter`` with ``stamp_lag_s`` 0, half a sample's period and
  0.004, every sample a report. The package, whose gyroscope is half a period ahead of its accelerometer, gives the
  orientation that is so much later than the samples' middle: half a period is the like for like.
* ``minus_package``: RMSE of that less the package's (batch).
* ``north``: of our 9D headings in movement, ten a second: root mean square ``rms_deg`` about their mean, the time over
  which they are correlated (integral of the autocorrelation up to where it falls below 0.05) and the share of reports
  in movement that called the field disturbed.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vqf import VQF

from fusion.estimators.inertial.orientation import OrientationFilter, OrientationParams
from fusion.maths import quaternion
from fusion.pose_metrics import heading_excess_rad
from fusion.records import Bool, Float64, Int64
from nodes.commands.arguments import print_json

REPOSITORY = Path(__file__).resolve().parents[1]
TRIALS = ("01_undisturbed_slow_rotation_A", "16_undisturbed_fast_translation_B", "29_disturbed_stationary_magnet_B")
LAG_4MS_S = 0.004
_UNCORRELATED = 0.05
_EAST_FROM_NORTH = quaternion.from_rotvec(np.array([0.0, 0.0, 0.5 * np.pi]))
"""Our world has x to the north, BROAD's to the east."""


@dataclass(frozen=True, slots=True, eq=False)
class BroadTrial:
    """T samples of one sensor and the truth."""

    times_ns: Int64
    period_s: float
    force: Float64
    """[T, 3]."""
    rates: Float64
    magnetic: Float64
    q_true: Float64
    """[T, 4] east-north-up; NaN without optical truth."""
    movement: Bool
    """[T]."""


def read_trial(folder: Path, name: str) -> BroadTrial:
    """A trial of the data pack.

    Raises:
        OSError: it is not there.
    """
    with np.load(folder / "imu" / f"broad_{name}.npz") as arrays:
        force, rates, magnetic = (np.ascontiguousarray(arrays[key], dtype=np.float64) for key in ("acc", "gyr", "mag"))
        return BroadTrial(
            times_ns=np.round(arrays["time"] * 1e9).astype(np.int64),
            period_s=1.0 / float(arrays["rate_hz"]),
            force=force,
            rates=rates,
            magnetic=magnetic,
            q_true=np.asarray(arrays["quat_true"], dtype=np.float64),
            movement=np.asarray(arrays["movement"], dtype=np.bool_),
        )


def rmse_deg(trial: BroadTrial, q: Float64, *, free_heading: bool) -> dict[str, float]:
    """Root mean square of total, heading and inclination error in movement, deg, of estimates [T, 4]."""
    if free_heading:
        q = quaternion.multiply(_start_turn(trial, q), q)
    counted = trial.movement & np.isfinite(trial.q_true).all(axis=1) & np.isfinite(q).all(axis=1)
    error = quaternion.multiply(q, quaternion.conjugate(trial.q_true))[counted]
    upright = np.minimum(np.hypot(error[:, 0], error[:, 3]), 1.0)
    errors = {
        "total": 2.0 * np.arccos(np.minimum(np.abs(error[:, 0]), 1.0)),
        "heading": 2.0 * np.arctan2(np.abs(error[:, 3]), np.abs(error[:, 0])),
        "inclination": 2.0 * np.arccos(upright),
    }
    return {name: float(np.degrees(np.sqrt(np.mean(values**2)))) for name, values in errors.items()}


def _start_turn(trial: BroadTrial, q: Float64) -> Float64:
    """[4] about the vertical: takes out the mean heading error before the movement begins."""
    begin = int(np.argmax(trial.movement))
    error = quaternion.multiply(q[:begin], quaternion.conjugate(trial.q_true[:begin]))
    heading = 2.0 * np.arctan2(error[:, 3], error[:, 0])
    heading = heading[np.isfinite(heading)]
    return quaternion.from_rotvec(np.array([0.0, 0.0, -np.arctan2(np.sin(heading).mean(), np.cos(heading).mean())]))


def package_batch(trial: BroadTrial, magnetometer: bool) -> Float64:
    """Orientations [T, 4] of the package, all samples at once."""
    vqf = VQF(trial.period_s)
    if magnetometer:
        return np.asarray(vqf.updateBatch(trial.rates, trial.force, trial.magnetic)["quat9D"])
    return np.asarray(vqf.updateBatch(trial.rates, trial.force)["quat6D"])


def package_steps(trial: BroadTrial, magnetometer: bool) -> Float64:
    """The same, sample by sample."""
    vqf = VQF(trial.period_s)
    q = np.empty((len(trial.times_ns), 4))
    for t, (rate, force, field) in enumerate(zip(trial.rates, trial.force, trial.magnetic, strict=True)):
        if magnetometer:
            vqf.update(rate, force, field)
            q[t] = vqf.getQuat9D()
        else:
            vqf.update(rate, force)
            q[t] = vqf.getQuat6D()
    return q


def ours(trial: BroadTrial, magnetometer: bool, lag_s: float) -> Float64:
    """Orientations [T, 4] of our filter at every sample; NaN until it knows the period."""
    params = OrientationParams(magnetometer=magnetometer, stamp_lag_s=lag_s, report_s=0.0)
    estimator = OrientationFilter(1, params)
    arrays = (trial.force[:, None], trial.rates[:, None], trial.magnetic[:, None])
    told = [stretch.orientations for stretch in estimator.stretches(trial.times_ns, *arrays, interval_ns=1)]
    q = np.array([orientations.q_world_from_sensor[0] for orientations in told if orientations is not None])
    return quaternion.multiply(_EAST_FROM_NORTH, q) if magnetometer else q


def trial_scores(trial: BroadTrial) -> dict[str, Any]:
    """All figures of a trial: ``6D``, ``9D`` and ``north``."""
    result: dict[str, Any] = {"north": north_figures(trial)}
    for name, magnetometer in (("6D", False), ("9D", True)):
        lags_s = {"lag_0": 0.0, "lag_half_period": 0.5 * trial.period_s, "lag_4ms": LAG_4MS_S}
        estimates = {
            "package_batch": package_batch(trial, magnetometer),
            "package_steps": package_steps(trial, magnetometer),
            **{key: ours(trial, magnetometer, lag_s) for key, lag_s in lags_s.items()},
        }
        errors = {key: rmse_deg(trial, q, free_heading=not magnetometer) for key, q in estimates.items()}
        package = errors["package_batch"]
        result[name] = {
            **errors,
            "minus_package": {lag: {key: errors[lag][key] - package[key] for key in package} for lag in lags_s},
        }
    return result


def north_figures(trial: BroadTrial) -> dict[str, float]:
    """How a heading errs that the magnetic field holds; see the module."""
    estimator = OrientationFilter(1, OrientationParams(magnetometer=True, stamp_lag_s=LAG_4MS_S))
    arrays = (trial.force[:, None], trial.rates[:, None], trial.magnetic[:, None])
    told = [stretch.orientations for stretch in estimator.stretches(trial.times_ns, *arrays)]
    settled = [orientations for orientations in told if orientations is not None and orientations.settled.all()]
    rows = np.searchsorted(trial.times_ns, [orientations.time_ns for orientations in settled])
    q = np.array([orientations.q_world_from_sensor[0] for orientations in settled])
    heading = np.where(trial.movement[rows], heading_excess_rad(q, trial.q_true[rows]), np.nan)
    mean = np.arctan2(np.nanmean(np.sin(heading)), np.nanmean(np.cos(heading)))
    away = np.arctan2(np.sin(heading - mean), np.cos(heading - mean))
    variance = float(np.nanmean(away**2))
    disturbed = np.array([orientations.magnetic_disturbed[0] for orientations in settled])
    interval_s = estimator.params.report_s
    correlation = [float(np.nanmean(away[lag:] * away[:-lag])) / variance for lag in range(1, len(away) // 4)]
    positive = next((lag for lag, rho in enumerate(correlation) if rho < _UNCORRELATED), len(correlation))
    return {
        "rms_deg": float(np.degrees(np.sqrt(variance))),
        "correlation_s": interval_s * (0.5 + sum(correlation[:positive])),
        "disturbed_share": float(disturbed[trial.movement[rows]].mean()),
    }


def broad_scores(folder: Path) -> dict[str, Any]:
    """RMSE in degrees of the trials by name, ours and the package's; trials that are not there are left out.

    Args:
        folder: the data pack.
    """
    present = [name for name in TRIALS if (folder / "imu" / f"broad_{name}.npz").is_file()]
    return {name: trial_scores(read_trial(folder, name)) for name in present}


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    folder = Path(os.environ.get("KINEFUSE_DATA", REPOSITORY.parent / "shared" / "data"))
    scores = broad_scores(folder)
    if not scores:
        print(f"benchmarks.imu_broad: no BROAD trials in {folder / 'imu'}; set KINEFUSE_DATA", file=sys.stderr)
        return 2
    if args.json:
        print_json(scores)
        return 0
    print("RMSE in movement, deg: total / heading / inclination")
    for name, kinds in scores.items():
        print(f"{name:34} north " + "  ".join(f"{key} {value:.2f}" for key, value in kinds["north"].items()))
        for kind in ("6D", "9D"):
            for row, errors in kinds[kind].items():
                if row != "minus_package":
                    print(f"{name:34} {kind} {row:15} " + " / ".join(f"{value:5.2f}" for value in errors.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
