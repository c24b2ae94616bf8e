"""How well a radar's pose and clock are found from a walking person, and how honest the claim is.

    python -m benchmarks.radar_calibration [--json] [--draws N] [--first SEED] [--rows NAME ...]

Each draw is another person who walks 30 s about a room of 4 m, another pose of the radar (any side, 2.5 to 4 m from
the middle, 0.5 to 2.5 m high, tilted and leaned by up to 20 degrees, pointed up to 20 degrees beside the middle) and
other stamps (0 to 300 ms late). Draws whose radar has the person's trunk in its view for less than 60 % of the time
are drawn again. No guess of the pose is given. Radar noise is that of ``RadarParams`` (MARS). Rows:

* ``cameras``: the skeleton is what the pipeline makes of four simulated cameras.
* ``biased``: the same, and the radar errs as on the MARS recordings: range -3.6 cm, azimuth -1.55 and elevation
  +0.87 degrees. Angles that are off by a constant are a turn of the radar: errors are against the pose with this
  turn, ``rotation_from_case_deg`` against that of its case.
* ``truth``: the skeleton is exact.
* ``otherwise``: cameras; the radar is another one than the solver takes it for: noise 1.5 times as large, limbs
  vanish below 0.8 m/s, 6 points of clutter a frame.
* ``even``: cameras; every part of the body reflects as often as any other, feet as often as the trunk.
* ``level``: cameras; the radar stands level and it is told so.

Per row: errors (median, worst), the share within 2 degrees, 5 cm and 10 ms, each alone and all together, how many
draws the solver refuses, and for how many the error is within the claim of 95 %. ``errors`` lists every draw.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from calibration.radar.practice import RADAR, SECONDS, Placed, effective, exact, placed, seen, walker
from calibration.radar.recording import Trail, gather_frames, gather_trail
from calibration.radar.result import RadarCalibration
from calibration.radar.solve import calibrate
from fusion.body.reflection import POINT_AZIMUTH_RAD, POINT_ELEVATION_RAD, POINT_RANGE_M
from fusion.maths import quaternion
from fusion.pipeline import Pipeline
from fusion.records import Float64, People, Truth
from fusion.synthesis.params import RadarParams
from fusion.synthesis.simulation import Lab, Simulation, simulated_rig
from fusion.synthesis.wearer import Wearer
from nodes.commands.arguments import print_json, print_table

GOALS = {"rotation_deg": 2.0, "position_cm": 5.0, "time_ms": 10.0}
OTHERWISE = RadarParams(
    range_noise_m=1.5 * POINT_RANGE_M,
    azimuth_noise_rad=1.5 * POINT_AZIMUTH_RAD,
    elevation_noise_rad=1.5 * POINT_ELEVATION_RAD,
    full_speed_m_s=0.8,
    clutter_points=6.0,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of draw."""

    cameras: bool = True
    biased: bool = False
    level: bool = False
    even: bool = False
    params: RadarParams = field(default_factory=RadarParams)


ROWS = {
    "cameras": Row(),
    "biased": Row(biased=True),
    "truth": Row(cameras=False),
    "otherwise": Row(params=OTHERWISE),
    "even": Row(even=True),
    "level": Row(level=True),
}


def told(wearer: Wearer, seed: int) -> Trail:
    """Where four cameras say that the person is, by way of the pipeline."""
    lab = Lab(imus=None, radars=None)
    simulation = Simulation(lab, (wearer,), seed=seed, origin_ns=0, duration_s=SECONDS)
    pipeline, people = Pipeline(simulated_rig(lab)), []
    while (emission := simulation.pop()) is not None:
        if isinstance(emission.record, Truth):
            continue
        said = pipeline.step(emission.record)
        if isinstance(said, People):
            people.append(said)
    return gather_trail(people)


def errors(found: RadarCalibration, radar: Placed, biased: bool) -> dict[str, float] | None:
    """How far the outcome is from the truth, and what it claims."""
    pose = found.pose
    if pose is None:
        return None
    position_m = float(np.linalg.norm(pose.position_world_m - radar.mount.position_world_m))
    return {
        "rotation_deg": _apart_deg(pose.r_world_from_radar, effective(radar.mount, biased)),
        "position_cm": 100.0 * position_m,
        "time_ms": 1e3 * abs(pose.time_offset_s - radar.time_offset_s),
        "rotation_from_case_deg": _apart_deg(pose.r_world_from_radar, radar.mount.r_world_from_radar),
        "claimed_rotation_deg": math.degrees(pose.rotation_95_rad),
        "claimed_position_cm": 100.0 * pose.position_95_m,
        "claimed_time_ms": 1e3 * pose.time_95_s,
    }


def _apart_deg(one: Float64, other: Float64) -> float:
    difference = quaternion.to_rotvec(quaternion.from_matrix(one.T @ other))
    return math.degrees(float(np.linalg.norm(difference)))


def measure(draws: int, names: Sequence[str], first: int = 0) -> dict[str, Any]:
    """All rows."""
    outcomes: dict[str, list[tuple[RadarCalibration, dict[str, float] | None]]] = {name: [] for name in names}
    solve_s: list[float] = []
    for seed in range(first, first + draws):
        person = walker(seed)
        trails = {
            cameras: told(person, seed) if cameras else exact(person) for cameras in {ROWS[n].cameras for n in names}
        }
        for name in names:
            row = ROWS[name]
            radar = placed(seed, person, level=row.level)
            frames = gather_frames(seen(radar, person, seed, row.params, biased=row.biased, even=row.even), RADAR)
            begun = time.perf_counter()
            found = calibrate(frames, trails[row.cameras], level_down_rad=0.0 if row.level else None)
            solve_s.append(time.perf_counter() - begun)
            outcomes[name].append((found, errors(found, radar, row.biased)))
        print(f"draw {seed - first + 1} of {draws}", file=sys.stderr)
    return {
        "draws": draws,
        "seconds": SECONDS,
        "solve_s": round(float(np.median(solve_s)), 2),
        "rows": {name: summary(items) for name, items in outcomes.items()},
    }


def summary(outcomes: Sequence[tuple[RadarCalibration, dict[str, float] | None]]) -> dict[str, Any]:
    """One row."""
    known = [values for _, values in outcomes if values is not None]
    result: dict[str, Any] = {
        "accepted": sum(found.accepted for found, _ in outcomes),
        "draws": len(outcomes),
        "refused": [finding.message for found, _ in outcomes for finding in found.findings if finding.blocking],
    }
    within = [all(values[name] <= goal for name, goal in GOALS.items()) for values in known]
    result["within_all"] = round(sum(within) / len(outcomes), 3)
    for name, goal in GOALS.items():
        have = np.array([values[name] for values in known])
        claims = np.array([values[f"claimed_{name}"] for values in known])
        result[name] = {
            "median": _rounded(np.median(have)) if len(have) else None,
            "worst": _rounded(have.max()) if len(have) else None,
            "within": round(float((have <= goal).sum()) / len(outcomes), 3),
            "claimed_95_median": _rounded(np.median(claims)) if len(have) else None,
            "within_claim": round(float((have <= claims).mean()), 3) if len(have) else None,
        }
    case = [values["rotation_from_case_deg"] for values in known]
    result["rotation_from_case_deg"] = (
        {"median": _rounded(np.median(case)), "worst": _rounded(max(case))} if case else None
    )
    result["errors"] = [
        None if values is None else {k: _rounded(v) for k, v in values.items()} for _, values in outcomes
    ]
    return result


def _rounded(value: Any) -> float:
    return round(float(value), 2)


def lines(values: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The table's rows."""
    for name, row in values["rows"].items():
        cells = [name, f"{row['accepted']}/{row['draws']}"]
        for key in GOALS:
            item = row[key]
            cells += [f"{item['median']}", f"{item['worst']}", f"{100.0 * item['within']:.0f} %"]
            cells.append(f"{100.0 * item['within_claim']:.0f} %" if item["within_claim"] is not None else "–")
        yield (*cells, f"{100.0 * row['within_all']:.0f} %")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--draws", type=int, default=20, metavar="N", help="radar poses of each row (20)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="seed of the first draw (0)")
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS), metavar="NAME", help="which rows")
    args = parser.parse_args(arguments)
    values = measure(args.draws, args.rows, args.first)
    if args.json:
        print_json(values)
        return 0
    heads = (
        "row",
        "accepted",
        *(f"{name}{what}" for name in GOALS for what in ("", " worst", " within", " claim")),
        "all",
    )
    print_table(heads, list(lines(values)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
