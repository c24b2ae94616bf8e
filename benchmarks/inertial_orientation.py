"""How wrong the orientations of inertial sensors are, how that changes with time, and what it costs.

    python -m benchmarks.inertial_orientation [--json] [--seed N]

Two sorts of truth, both of the data pack (``KINEFUSE_DATA``, else ``../shared/data`` beside the checkout):

* ``broad``: three trials of the BROAD data set (Laidig et al., Data 6(7):72, 2021), optical truth;
* ``clips`` and ``script``: the simulator's six sensors on motion clips and on its own script.

Errors are taken ten times a second, when the filter is told. With ``q_world_from_sensor`` as estimated and true,
``estimated * conj(true) = Rz(heading) * tilt``; the inclination error is the angle of ``tilt``. What each
figure is for stands in ``docs/inertial.md``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fusion.estimators.inertial.orientation import OrientationFilter, OrientationParams
from fusion.maths import quaternion
from fusion.records import Float64, Int64
from fusion.synthesis.actions import DEFAULT_SCRIPT
from fusion.synthesis.clips import clip_motion
from fusion.synthesis.imus import VirtualImus
from fusion.synthesis.motion import draw_lengths
from fusion.synthesis.params import InertialParams
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.wearer import Wearer
from nodes.commands.arguments import print_json

REPOSITORY = Path(__file__).resolve().parents[1]
BROAD = ("01_undisturbed_slow_rotation_A", "16_undisturbed_fast_translation_B", "29_disturbed_stationary_magnet_B")
BROAD_LAG_S = 0.004
"""Stamps of BROAD are so much later than the middle of what its gyroscope measured: where the errors are least."""
CLIPS = (
    "cmu/cmu_01_01", "cmu/cmu_01_02", "cmu/cmu_01_04", "cmu/cmu_01_05", "cmu/cmu_02_06", "cmu/cmu_02_08",
    "cmu/cmu_02_10", "cmu/cmu_03_03", "cmu/cmu_03_04", "deepmimic/dm_long_walk1", "deepmimic/dm_long_walk2",
    "deepmimic/dm_long_walk3", "deepmimic/dm_long_zombie",
)  # fmt: skip
"""Longer than 12 s, at least 60 frames a second, none with jumps of the source."""
SCRIPT_SECONDS = 120.0
RATE_HZ = 10.0
HORIZONS_S = (1.0, 3.0, 10.0)
LAGS_S = (0.1, 0.3, 1.0, 3.0, 10.0, 20.0)
AGES_S = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
STARTS_EVERY_S = 5.0
SETTLED_S = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Samples of M sensors and the truth at each."""

    name: str
    times_ns: Int64
    force: Float64
    """[T, M, 3]."""
    rates: Float64
    q_true: Float64
    """[T, M, 4]; NaN where not known or not to be counted."""
    params: OrientationParams


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Of one run of one trial, K times of M sensors, ten a second."""

    age_s: Float64
    """[K, M]."""
    heading_rad: Float64
    """[K, M], without jumps; NaN where not known."""
    tilt_rad: Float64
    """[K, M, 2] rotation vector about the world's x and y."""


def broad_trials(folder: Path) -> Iterator[Trial]:
    """Only samples in movement and with optical truth count, as BROAD has it."""
    for name in BROAD:
        with np.load(folder / "imu" / f"broad_{name}.npz") as arrays:
            truth = np.where(arrays["movement"][:, None], arrays["quat_true"], np.nan)
            times: Int64 = np.round(arrays["time"] * 1e9).astype(np.int64)
            force, rates = (np.asarray(arrays[key], dtype=np.float64)[:, None] for key in ("acc", "gyr"))
        yield Trial(name, times, force, rates, truth[:, None], OrientationParams(stamp_lag_s=BROAD_LAG_S))


def clip_trials(folder: Path, seed: int) -> Iterator[Trial]:
    """The simulator's sensors on motion clips."""
    for number, name in enumerate(CLIPS):
        with np.load(folder / "motion" / f"{name}.npz", allow_pickle=False) as arrays:
            motion = clip_motion(arrays)
        yield worn(name, Wearer(number, motion), motion.duration_s, seed + number)


def script_trials(seed: int) -> Iterator[Trial]:
    """The simulator's sensors on a wearer who follows its script."""
    motion = scripted_motion(DEFAULT_SCRIPT, draw_lengths(seed, 1.75), seed=seed)
    yield worn("script", Wearer(0, motion), SCRIPT_SECONDS, seed)


def worn(name: str, wearer: Wearer, seconds: float, seed: int) -> Trial:
    """What the simulator's six sensors measure on someone."""
    params = InertialParams()
    imus = VirtualImus("imus", params, wearer, seed)
    records = [record for _, record in imus.records(0, int(seconds * params.rate_hz) // params.samples_per_record, 0)]
    times = np.concatenate([record.times_ns for record in records])
    return Trial(
        name,
        times,
        np.concatenate([record.specific_force_m_s2 for record in records]).astype(np.float64),
        np.concatenate([record.angular_rate_rad_s for record in records]).astype(np.float64),
        imus.ideal(times * 1e-9).q_world_from_sensor,
        OrientationParams(),
    )


def errors_of(trial: Trial, first: int = 0, seconds: float = np.inf) -> Errors:
    """Errors of a filter that starts with sample ``first`` and runs for so long."""
    stop = int(np.searchsorted(trial.times_ns, trial.times_ns[first] + min(seconds, 1e6) * 1e9))
    part = slice(first, stop)
    estimator = OrientationFilter(trial.force.shape[1], trial.params)
    times, force, rates = trial.times_ns[part], trial.force[part], trial.rates[part]
    told = [
        stretch.orientations
        for stretch in estimator.stretches(times, force, rates)
        if stretch.orientations is not None and np.isfinite(stretch.orientations.age_s).any()
    ]
    rows = np.searchsorted(times, [orientations.time_ns for orientations in told])
    estimated = np.stack([orientations.q_world_from_sensor for orientations in told])
    error = quaternion.multiply(estimated, quaternion.conjugate(trial.q_true[part][rows]))
    heading = 2.0 * np.arctan2(error[..., 3], error[..., 0])
    about_z = np.zeros_like(error)
    about_z[..., 0], about_z[..., 3] = np.cos(0.5 * heading), -np.sin(0.5 * heading)
    tilt = quaternion.to_rotvec(quaternion.multiply(about_z, error))[..., :2]
    return Errors(np.stack([orientations.age_s for orientations in told]), _unwrapped(heading), tilt)


def _unwrapped(heading: Float64) -> Float64:
    """[K, M] without jumps of a whole turn, NaN left alone."""
    result = heading.copy()
    for m in range(heading.shape[1]):
        known = np.isfinite(heading[:, m])
        result[known, m] = np.unwrap(heading[known, m])
    return result


def inclination_rms_deg(runs: Sequence[Errors]) -> float:
    """Root mean square inclination error of settled sensors."""
    tilt = np.concatenate([run.tilt_rad[run.age_s >= SETTLED_S] for run in runs])
    return float(np.degrees(np.sqrt(np.nanmean((tilt**2).sum(axis=1)))))


def correlation(runs: Sequence[Errors], longest: int) -> Float64:
    """Autocorrelation [longest + 1] of the tilt, mean not removed: a lasting error is what does not average out."""
    sums, counts = np.zeros(longest + 1), np.zeros(longest + 1)
    for run in runs:
        tilt = np.where((run.age_s >= SETTLED_S)[..., None], run.tilt_rad, np.nan)
        for lag in range(min(longest + 1, len(tilt))):
            products = (tilt[lag:] * tilt[: len(tilt) - lag]).sum(axis=-1)
            sums[lag] += np.nansum(products)
            counts[lag] += np.isfinite(products).sum()
    mean = sums / np.maximum(counts, 1.0)
    return np.asarray(mean / mean[0])


def white_sigma(sigma: float, rho: Float64, horizon_s: float) -> float:
    """Standard deviation of white noise whose mean over a horizon is as uncertain as that of the correlated error.

    Var(mean of N) = sigma^2/N (1 + 2 sum_k (1 - k/N) rho_k); Priestley, "Spectral Analysis and Time Series",
    1981, eq. 5.3.5.
    """
    n = round(horizon_s * RATE_HZ)
    k = np.arange(1, min(n, len(rho)))
    return float(sigma * np.sqrt(1.0 + 2.0 * ((1.0 - k / n) * rho[k]).sum()))


def heading_growth(runs: Sequence[Errors], lag_s: float) -> float:
    """Mean square change of the heading error over a lag, a second of the lag, rad^2/s."""
    lag = round(lag_s * RATE_HZ)
    changes = [(run.heading_rad[lag:] - run.heading_rad[:-lag]).ravel() for run in runs if len(run.age_s) > lag]
    return float(np.nanmean(np.concatenate(changes) ** 2) / lag_s) if changes else float("nan")


def starting(trial: Trial) -> list[Errors]:
    """Runs that start every few seconds in the midst of the movement."""
    every = int(STARTS_EVERY_S * 1e9 / np.median(np.diff(trial.times_ns)))
    last = len(trial.times_ns) - 2 * every
    return [errors_of(trial, first, AGES_S[-1] + 1.0) for first in range(0, max(last, 1), every)]


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    """All figures of a set of trials."""
    runs = [errors_of(trial) for trial in trials]
    tilt = np.concatenate([run.tilt_rad[run.age_s >= SETTLED_S] for run in runs])
    inclination = np.degrees(np.linalg.norm(tilt[np.isfinite(tilt).all(axis=1)], axis=1))
    sigma = float(np.sqrt(np.nanmean(tilt**2)))
    rho = correlation(runs, round(HORIZONS_S[-1] * RATE_HZ))
    starts = [start for trial in trials for start in starting(trial)]
    ages = np.concatenate([start.age_s.ravel() for start in starts])
    angles = np.concatenate([np.linalg.norm(start.tilt_rad, axis=2).ravel() for start in starts])
    by_age = {}
    for low, high in itertools.pairwise(AGES_S):
        chosen = angles[(ages >= low) & (ages < high)]
        by_age[f"{low:g}-{high:g}"] = round(float(np.degrees(np.sqrt(np.nanmean(chosen**2)))), 2)
    return {
        "sensor_minutes": round(sum(run.age_s.size for run in runs) / RATE_HZ / 60.0, 1),
        "inclination_rms_deg": round(inclination_rms_deg(runs), 2),
        "inclination_p95_deg": round(float(np.percentile(inclination, 95)), 2),
        "inclination_rms_deg_by_trial": {
            trial.name: round(inclination_rms_deg([run]), 2) for trial, run in zip(trials, runs, strict=True)
        },
        "axis_sigma_rad": round(sigma, 5),
        "correlation": {f"{lag:g} s": round(float(rho[round(lag * RATE_HZ)]), 2) for lag in LAGS_S[:-1]},
        "correlation_s": round(0.5 * ((white_sigma(sigma, rho, HORIZONS_S[-1]) / sigma) ** 2 - 1.0) / RATE_HZ, 2),
        "white_sigma_rad": {f"{h:g} s": round(white_sigma(sigma, rho, h), 4) for h in HORIZONS_S},
        "heading_rad2_s": {f"{lag:g} s": float(f"{heading_growth(runs, lag):.3g}") for lag in LAGS_S},
        "inclination_rms_deg_by_age_s": by_age,
    }


def cost(sensors: int = 6, stretches: int = 3000) -> dict[str, float]:
    """Microseconds of a stretch of two samples of some sensors."""
    random = np.random.default_rng(0)
    times: Int64 = np.arange(2 * stretches, dtype=np.int64) * 10_000_000
    rates = 0.3 * random.standard_normal((len(times), sensors, 3))
    force = rates + np.array([0.0, 0.0, 9.81])
    estimator = OrientationFilter(sensors)
    spent, warm = [], 100
    for number, first in enumerate(range(0, len(times), 2)):
        if number == warm:
            processor = time.process_time()
        part = slice(first, first + 2)
        begun = time.perf_counter()
        estimator.stretches(times[part], force[part], rates[part])
        spent.append((time.perf_counter() - begun) * 1e6)
    mean = (time.process_time() - processor) * 1e6 / (stretches - warm)
    return {"mean_processor_us": round(mean, 1), "median_us": round(float(np.median(spent[warm:])), 1)}


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the simulated sensors")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    folder = Path(os.environ.get("KINEFUSE_DATA", REPOSITORY.parent / "shared" / "data"))
    sets: dict[str, Callable[[], list[Trial]]] = {"script": lambda: list(script_trials(args.seed))}
    if folder.is_dir():
        sets["broad"] = lambda: list(broad_trials(folder))
        sets["clips"] = lambda: list(clip_trials(folder, args.seed))
    else:
        print(f"no data pack at {folder}; set KINEFUSE_DATA to its folder. Only the script is shown.", file=sys.stderr)
    result: dict[str, Any] = {name: summary(make()) for name, make in sets.items()}
    result["stretch_of_six_sensors"] = cost()
    if args.json:
        print_json(result)
        return 0
    for name, figures in result.items():
        print(name)
        for key, value in figures.items():
            print(f"  {key}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
