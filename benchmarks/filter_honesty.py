"""Whether the filter's errors are as large as it says, whether it finds out who lies to it, and what it withstands.

    python -m benchmarks.filter_honesty [--split tune|held_out] [--quick] [--only nees,sources,robustness] [--json]

* ``nees``: the normalised error squared of each joint's position against the covariance that is published with it, for
  each combination of sensors that says where things are. Inside is what lies between the 2.5 % and the 97.5 % point of
  a chi-square variable with three degrees of freedom: 95 % of the (time, joint) pairs of an honest filter. ``below``
  says that the filter is better than it claims, ``above`` that it is worse. ``times_inside`` is the share of times at
  which the mean over the joints lies between the same bounds; as neighbouring joints err together, that mean has more
  freedoms than three and fewer than 69, and the bounds of three are the generous ones.
* ``sources``: one source at a time errs three times as much as the filter takes it for; the pipeline's innovation
  statistics should name it and nobody else, and nobody in the clean lab.
* ``robustness``: see ``benchmarks.filter_robustness``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import chi2

from benchmarks import filter_robustness, scenarios
from benchmarks.filter_accuracy import measure_all, parser, sections
from benchmarks.scenarios import SCENARIOS, Errors, Recording, title
from fusion.body.skeleton import SEGMENT_NAMES
from fusion.pipeline import Pipeline, PipelineParams
from fusion.records import Float64, InertialSamples, Landmarks2D, RadarPoints, Record, Tick
from fusion.synthesis.actions import DEFAULT_SCRIPT
from fusion.synthesis.motion import draw_lengths
from fusion.synthesis.params import DetectorParams, InertialParams
from fusion.synthesis.randomness import RandomStream
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.simulation import Lab
from nodes.commands.arguments import print_json, print_table

SECTIONS = ("nees", "sources", "robustness")
BOUNDS = (float(chi2.ppf(0.025, 3)), float(chi2.ppf(0.975, 3)))
"""Two-sided 95 % bounds of a normalised squared error in three dimensions."""

# ---------------------------------------------------------------- errors against covariances


def shares(values: Float64) -> dict[str, float]:
    """How normalised squared errors [T, 23] lie about their bounds; NaN where nothing was known."""
    known = values[np.isfinite(values)]
    by_time = values[np.isfinite(values).all(axis=1)].mean(axis=1)
    if not known.size:
        return dict.fromkeys(("inside", "below", "above", "times_inside", "mean_per_freedom", "median"), float("nan"))
    return {
        "inside": float(((known >= BOUNDS[0]) & (known <= BOUNDS[1])).mean()),
        "below": float((known < BOUNDS[0]).mean()),
        "above": float((known > BOUNDS[1]).mean()),
        "times_inside": float(((by_time >= BOUNDS[0]) & (by_time <= BOUNDS[1])).mean()),
        "mean_per_freedom": float(known.mean()) / 3.0,
        "median": float(np.median(known)),
    }


def nees_table(split: str, *, quick: bool, jobs: int) -> dict[str, Any]:
    """Shares of every combination of sensors that says where things are, and of the whole table."""
    clips = scenarios.SPLITS[split][: scenarios.QUICK_CLIPS] if quick else scenarios.SPLITS[split]
    seconds = scenarios.QUICK_SECONDS if quick else scenarios.SECONDS
    names = [name for name, scenario in SCENARIOS.items() if scenario.placed]
    everything = measure_all(clips, seconds, names, jobs)
    by_name: dict[str, Sequence[Errors]] = {
        name: [part for part in everything if part.scenario == name] for name in names
    }
    together = np.concatenate([part.nees for part in everything])
    columns = scenarios.group_columns()
    whole = shares(together)
    return {
        "split": split,
        "clips": list(clips),
        "seconds": seconds,
        "stature_known": True,
        "bounds": list(BOUNDS),
        "nees_inside": whole["inside"],
        "whole": whole,
        "scenarios": {name: shares(np.concatenate([part.nees for part in parts])) for name, parts in by_name.items()},
        "groups": {group: shares(together[:, index]) for group, index in columns.items()},
        "joints_above": {name: shares(together[:, [i]])["above"] for i, name in enumerate(SEGMENT_NAMES)},
    }


# ---------------------------------------------------------------- sources that err more than they claim

_TIMES = 3.0
_SECONDS = 12.0
_SEED = 7
_GYRO_BLOCK_NS = 20_000_000
_EVERYTHING = SCENARIOS["cameras_4+imu+radar"]


def _noisy_camera(clean: Recording) -> Iterable[Record]:
    """The second camera's detector has three times the noise of the others'; all else is the same luck."""
    louder = replace(clean.lab, detector=replace(clean.lab.detector, noise_px=_TIMES * DetectorParams().noise_px))
    other = scenarios.record(clean.name, clean.motion, clean.seconds, louder, _SEED).records
    return _exchanged(clean, other, lambda item: isinstance(item, Landmarks2D) and item.camera == "cam2")


def _noisy_gyro(clean: Recording) -> Iterable[Record]:
    """The left forearm's rates err by three times what the filter takes them for, anew every 20 ms."""
    sigma = _TIMES * PipelineParams().gyro.noise_rad_s
    noise = RandomStream(_SEED, "injected/gyro")
    for item in clean.records:
        if not isinstance(item, InertialSamples):
            yield item
            continue
        column = item.sensors.index("left_forearm")
        rates = item.angular_rate_rad_s.copy()
        for row, time_ns in enumerate(item.times_ns):
            rates[row, column] += sigma * noise.at(int(time_ns) // _GYRO_BLOCK_NS).standard_normal(3)
        yield replace(item, angular_rate_rad_s=rates)


def _displaced_imus(clean: Recording) -> Iterable[Record]:
    """All IMUs sit three times as far from where the profile says (15 degrees root mean square)."""
    worse = replace(InertialParams(), mounting_error_rad=_TIMES * InertialParams().mounting_error_rad)
    other = scenarios.record(clean.name, clean.motion, clean.seconds, replace(clean.lab, imus=worse), _SEED).records
    return _exchanged(clean, other, lambda item: isinstance(item, InertialSamples))


def _noisy_radar(clean: Recording) -> Iterable[Record]:
    """Each frame of the radar is shifted and its speeds are changed by three times what the filter takes it for."""
    params = PipelineParams().radars.trunk
    noise = RandomStream(_SEED, "injected/radar")
    for item in clean.records:
        if not isinstance(item, RadarPoints):
            yield item
            continue
        draws = _TIMES * noise.at(item.frame).standard_normal(4)
        distance_m = float(np.linalg.norm(np.median(item.positions_m, axis=0))) if len(item.positions_m) else 0.0
        shift = draws[:3] * [params.azimuth_rad * distance_m, params.range_m, params.elevation_rad * distance_m]
        yield replace(
            item,
            positions_m=(item.positions_m + shift).astype(np.float32),
            radial_velocities_m_s=(item.radial_velocities_m_s + draws[3] * params.doppler_m_s).astype(np.float32),
        )


def _exchanged(clean: Recording, other: Sequence[Record], which: Callable[[Record], bool]) -> list[Record]:
    """A recording with some records from another one of the same lab."""
    kept = [item for item in clean.records if not which(item)]
    return sorted([*kept, *(item for item in other if which(item))], key=lambda item: item.received_ns)


_CASES: dict[str, tuple[str, Callable[[Recording], Iterable[Record]]]] = {
    "clean": ("", lambda clean: clean.records),
    "camera_noise": ("cam2", _noisy_camera),
    "gyro_noise": ("left_forearm", _noisy_gyro),
    "radar_noise": ("radar1", _noisy_radar),
    "imus_displaced": ("", _displaced_imus),
}
"""Which source errs ('' for none that is to be named alone), and how."""


def source_case(name: str, clean: Recording) -> dict[str, Any]:
    """Claimed ratios of all sources in one case, and whether the right one is named in health."""
    guilty, inject = _CASES[name]
    pipeline = Pipeline(_EVERYTHING.rig(clean.rig))
    scenarios.ask(pipeline, _EVERYTHING.records(inject(clean)), clean.exposures_ns)
    named = sorted(pipeline.understated())
    right = all(guilty in source for source in named) and bool(named) if guilty else not named
    return {"guilty": guilty, "claimed_ratio": claimed_ratios(pipeline), "named": named, "right": right}


def claimed_ratios(pipeline: Pipeline) -> dict[str, float]:
    """How many times larger each source's error is than claimed, of the first person; nothing without one."""
    told = pipeline.innovations(Tick(measured_ns=0, received_ns=0))
    return dict(zip(told.sources, told.claimed_ratio[0].tolist(), strict=True)) if len(told.ids) else {}


def sources() -> dict[str, Any]:
    """Every case of a source that errs more than it claims."""
    motion = scripted_motion(DEFAULT_SCRIPT, draw_lengths(_SEED, 1.75), seed=_SEED)
    clean = scenarios.record("sources", motion, _SECONDS, Lab(), _SEED)
    cases = {name: source_case(name, clean) for name in _CASES}
    return {"cases": cases, "all_right": all(case["right"] for case in cases.values())}


# ---------------------------------------------------------------- command


def print_figures(figures: dict[str, Any]) -> None:
    """Write the figures as tables."""
    if "nees" in figures:
        table = figures["nees"]
        keys = ("inside", "below", "above", "times_inside", "mean_per_freedom", "median")
        rows: list[tuple[str, ...]] = [
            (label, "", *(_shown(row[key]) for key in keys))
            for label, row in (
                *((title(name), row) for name, row in table["scenarios"].items()),
                ("all of them", table["whole"]),
                *table["groups"].items(),
            )
        ]
        print(
            f"{table['split']}: {', '.join(table['clips'])}; {table['seconds']:g} s each; stature given to the filter"
        )
        print_table(("normalised squared errors", "", *keys), rows)
        print()
    if "sources" in figures:
        for name, case in figures["sources"]["cases"].items():
            print(f"{name}: errs {case['guilty'] or '-'}; named {case['named']}; right: {case['right']}")
            for source, value in case["claimed_ratio"].items():
                print(f"    {source}: {value:.2f}")
        print()
    if "robustness" in figures:
        filter_robustness.print_figures(figures["robustness"])


def _shown(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--only", default=",".join(SECTIONS), help=f"some of {', '.join(SECTIONS)}")
    given = arguments.parse_args()
    wanted = sections(given.only, SECTIONS)
    figures: dict[str, Any] = {}
    if "nees" in wanted:
        figures["nees"] = nees_table(given.split, quick=given.quick, jobs=given.jobs)
        figures["nees_inside"] = figures["nees"]["nees_inside"]
    if "sources" in wanted:
        figures["sources"] = sources()
    if "robustness" in wanted:
        figures["robustness"] = filter_robustness.robustness(quick=given.quick)
    if given.json:
        print_json(figures)
    else:
        print_figures(figures)


if __name__ == "__main__":
    main()
