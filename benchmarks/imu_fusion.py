"""What the inertial modality gives the filter: six IMUs alone, beside one camera, and beside one and four cameras.

    python -m benchmarks.imu_fusion [--split held_out|network|tune] [--only table,headings] [--network NAME] [--json]

* ``table``: each wearer stands still for three seconds in the pose of a calibration, arms hanging, then does what a
  clip shows (of the split; whole lab simulated with default errors). Errors count from the end of that standing.
  Root-relative and absolute as in ``filter_accuracy``; six IMUs alone know neither place nor north, so their bodies are
  first laid on the true one as it stands at the start. ``drift`` is the root's in % of the way walked
  (``fusion.pose_metrics``). A blackout counts within the two seconds that it lasts. Each row with IMUs is given with
  and without the part-based network.
* ``headings``: 10 degrees of mounting error on each sensor and headings that drift by 1 degree a minute, one camera:
  what is left of both after 20 s, by what the filter knows of each sensor against the truth.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from benchmarks import scenarios
from benchmarks.scenarios import NS_PER_S, SCENARIOS, Recording, Run, Scenario, Trace
from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import COORDINATE, SEGMENT
from fusion.estimators.inertial.packing import NetworkWeights
from fusion.filter.measurements.stature import stature_of
from fusion.maths import quaternion
from fusion.pipeline import Pipeline, PipelineParams
from fusion.pose_metrics import drift_percent, heading_excess_rad, pose_scores
from fusion.records import Float64
from fusion.rig import Subject
from fusion.synthesis.imus import VirtualImus
from fusion.synthesis.motion import BodyMotion
from fusion.synthesis.params import InertialParams
from fusion.synthesis.script import sole_points
from fusion.synthesis.simulation import IMUS, Lab
from fusion.synthesis.wearer import Wearer
from nodes.commands.arguments import print_json, print_table
from nodes.models.inertial import DEFAULT, load
from training.clips import FIT, HELD_OUT, load_motion

SECTIONS = ("table", "headings")
ROWS = ("cameras_4", "cameras_4+imu", "camera_1", "imu", "camera_1+imu", "blackout+imu")
REST_S, MOVE_S = 3.0, 1.0
SECONDS = 14.0
_RATE_HZ = 120.0
_SEED = 20261201

# ---------------------------------------------------------------- movements


def from_rest(motion: BodyMotion, seconds: float) -> BodyMotion:
    """A movement that begins with standing still, arms hanging, in the place and heading of its first pose.

    Args:
        motion: what follows, in the middle of the lab.
        seconds: how long all is.
    """
    moving = scenarios.there_and_back(motion, seconds - REST_S - MOVE_S)
    times = np.arange(0.0, seconds - REST_S - MOVE_S, 1.0 / _RATE_HZ)
    samples = moving.coordinates(times)
    first = samples[0]
    standing = resting_coordinates()
    heading = float(quaternion.to_rotvec(_twist(quaternion.from_rotvec(first[3:6])))[2])
    standing[3:6] = (0.0, 0.0, heading)
    standing[[COORDINATE["root_px"], COORDINATE["root_py"]]] = first[[COORDINATE["root_px"], COORDINATE["root_py"]]]
    positions, quaternions = forward_kinematics(standing, motion.lengths_m)
    lowest = sole_points(positions[None], quaternions[None], motion.lengths_m)[0, :, 2].min()
    standing[COORDINATE["root_pz"]] -= lowest
    steps = np.linspace(0.0, 1.0, round(MOVE_S * _RATE_HZ), endpoint=False)
    share = (steps**3 * (10.0 - 15.0 * steps + 6.0 * steps**2))[:, None]
    rising = standing + share * (first - standing)
    turn = quaternion.slerp(quaternion.from_rotvec(standing[3:6]), quaternion.from_rotvec(first[3:6]), share[:, 0])
    rising[:, 3:6] = quaternion.to_rotvec(turn)
    still = np.repeat(standing[None], round(REST_S * _RATE_HZ), axis=0)
    return BodyMotion(np.concatenate([still, rising, samples]), _RATE_HZ, motion.lengths_m, periodic=False)


def _twist(q: Float64) -> Float64:
    """The part of a rotation that turns about the vertical."""
    return quaternion.normalize(np.array([q[0], 0.0, 0.0, q[3]]))


@lru_cache(maxsize=8)
def recording(name: str) -> Recording:
    """The whole lab around a clip that begins with standing still; the profile knows the wearer's height."""
    motion = from_rest(load_motion(scenarios.data_folder(), name), SECONDS)
    made = scenarios.record(name, motion, SECONDS, seed=_SEED + [*FIT, *HELD_OUT].index(name))
    return replace(made, rig=replace(made.rig, subject=Subject(stature_m=round(stature_of(motion.lengths_m), 2))))


# ---------------------------------------------------------------- the table


@dataclass(frozen=True, slots=True)
class Row:
    """One combination of sensors on one clip."""

    scenario: str
    clip: str
    root_relative_mm: float
    absolute_mm: float
    """NaN for IMUs alone: of their place only the drift is told."""
    sip_deg: float
    angular_deg: float
    position_cm: float
    jitter_km_s3: float
    drift_percent: float
    coverage: float


def run(
    made: Recording, scenario: Scenario, weights: NetworkWeights | None, params: PipelineParams | None = None
) -> Trace:
    """What a pipeline of these sensors answers at every exposure."""
    pipeline = Pipeline(scenario.rig(made.rig), params, weights)
    return Run(pipeline, scenarios.ask(pipeline, scenario.records(made.records), made.exposures_ns)).trace()


def row(
    clip: str, name: str, weights: NetworkWeights | None, params: PipelineParams | None = None, label: str = ""
) -> Row:
    """Figures of one combination of sensors on one clip."""
    scenario = SCENARIOS[name]
    made = recording(clip)
    trace = run(made, scenario, weights, params)
    rest = int(np.searchsorted(trace.times_ns, int((REST_S - 0.2) * NS_PER_S)))
    truth, q_truth = made.truth(trace.times_ns)
    positions, q = trace.positions_m, trace.quaternions
    if not scenario.placed:
        positions, q = _laid_on(positions, q, truth, q_truth, rest)
    counted = scenario.counted(trace.times_ns) & (trace.times_ns >= int(REST_S * NS_PER_S))
    known = counted & trace.known
    scores = pose_scores(trace.times_ns[known], q[known], q_truth[known], made.motion.lengths_m)
    relative = scenarios.root_relative_m(positions[known], truth[known])
    return Row(
        scenario=label or name,
        clip=clip,
        root_relative_mm=scenarios.mean_mm(relative),
        absolute_mm=scenarios.mean_mm(scenarios.distances_m(positions[known], truth[known]))
        if scenario.placed
        else math.nan,
        sip_deg=scores.sip_deg,
        angular_deg=scores.angular_deg,
        position_cm=scores.position_cm,
        jitter_km_s3=scores.jitter_km_s3,
        drift_percent=drift_percent(positions[known, 0], truth[known, 0]),
        coverage=float(trace.known[counted].mean()),
    )


def _laid_on(positions: Float64, q: Float64, truth: Float64, q_truth: Float64, at: int) -> tuple[Float64, Float64]:
    """A body that knows neither place nor north, turned and shifted as a whole to stand on the true one at a time."""
    pelvis = SEGMENT["pelvis"]
    turn = quaternion.from_rotvec(np.array([0.0, 0.0, -heading_excess_rad(q[at, pelvis], q_truth[at, pelvis])]))
    shift = truth[at, 0] - quaternion.rotate(turn, positions[at, 0])
    return quaternion.rotate(turn, positions) + shift, quaternion.multiply(turn, q)


def table(split: str, network: str, jobs: int) -> dict[str, Any]:
    """Means over the clips of a split."""
    clips = scenarios.SPLITS[split]
    work = [(clip, network) for clip in clips]
    if jobs == 1:
        rows = [item for job in work for item in _clip_rows(job)]
    else:
        with ProcessPoolExecutor(jobs) as pool:
            rows = [item for part in pool.map(_clip_rows, work) for item in part]
    result: dict[str, Any] = {}
    for label in dict.fromkeys(item.scenario for item in rows):
        chosen = [item for item in rows if item.scenario == label]
        result[label] = {
            key: _mean([getattr(item, key) for item in chosen])
            for key in Row.__dataclass_fields__
            if key not in ("scenario", "clip")
        }
        result[label]["clips_root_relative_mm"] = {item.clip: item.root_relative_mm for item in chosen}
    return {"split": split, "clips": list(clips), "network": network, "rows": result}


def _clip_rows(job: tuple[str, str]) -> list[Row]:
    clip, network = job
    weights = load(network)
    rows = [row(clip, name, None) for name in ROWS]
    return rows + [row(clip, name, weights, label=f"{name}+network") for name in ROWS if "imu" in name]


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


# ---------------------------------------------------------------- headings and mountings

MOUNTING_RAD = math.radians(10.0)
DRIFT_RAD_S = math.radians(1.0) / 60.0
AFTER_S = 20.0


def headings(clip: str = "dm_long_walk3") -> dict[str, Any]:
    """Mounting errors of 10 degrees and headings that drift by 1 degree a minute, seen by one camera for 20 s."""
    motion = scenarios.there_and_back(load_motion(scenarios.data_folder(), clip), AFTER_S + 1.0)
    # VQF turns an unknown rate about the vertical into a drift of the heading: a bias of the gyroscope is one.
    lab = Lab(imus=InertialParams(mounting_error_rad=MOUNTING_RAD, angular_rate_bias_rad_s=DRIFT_RAD_S), radars=None)
    made = scenarios.record(clip, motion, AFTER_S + 1.0, lab, _SEED)
    made = replace(made, rig=replace(made.rig, subject=Subject(stature_m=round(stature_of(motion.lengths_m), 2))))
    assert lab.imus is not None
    worn = VirtualImus(IMUS, lab.imus, Wearer(1, motion), _SEED).mounts
    scenario = SCENARIOS["camera_1+imu"]
    pipeline = Pipeline(scenario.rig(made.rig), None, load(DEFAULT))
    scenarios.ask(pipeline, scenario.records(made.records), made.exposures_ns)
    state = pipeline.inertial_states(made.records[-1])[0]
    truth_q = motion.pose(np.array([state.measured_ns / NS_PER_S]))[1][0]
    sensors: dict[str, Any] = {}
    for m, name in enumerate(state.sensors):
        nominal = next(mount for mount in made.rig.imus if mount.segment == name)
        true = next(mount for mount in worn if mount.segment == name)
        found = quaternion.multiply(nominal.q_segment_from_sensor, quaternion.from_rotvec(state.mounting_error_rad[m]))
        back = quaternion.from_rotvec(np.array([0.0, 0.0, -float(state.heading_rad[m])]))
        stands = quaternion.multiply(back, state.q_world_from_sensor[m].astype(np.float64))
        should = quaternion.multiply(truth_q[SEGMENT[name]], true.q_segment_from_sensor)
        sensors[name] = {
            "mounting_before_deg": _degrees(nominal.q_segment_from_sensor, true.q_segment_from_sensor),
            "mounting_after_deg": _degrees(found, true.q_segment_from_sensor),
            "mounting_sigma_deg": math.degrees(float(state.mounting_sigma_rad[m])),
            "heading_after_deg": math.degrees(abs(float(heading_excess_rad(stands, should)))),
            "heading_sigma_deg": math.degrees(float(state.heading_sigma_rad[m])),
        }
    keys = ("mounting_before_deg", "mounting_after_deg", "heading_after_deg")
    return {
        "clip": clip,
        "after_s": AFTER_S,
        "sensors": sensors,
        **{f"mean_{key}": float(np.mean([item[key] for item in sensors.values()])) for key in keys},
    }


def _degrees(q: Float64, r: Float64) -> float:
    return math.degrees(float(quaternion.angle_between(q, r)))


# ---------------------------------------------------------------- command


def print_figures(figures: dict[str, Any]) -> None:
    """Write the figures as tables."""
    if "table" in figures:
        found = figures["table"]
        print(f"{found['split']}: {', '.join(found['clips'])}; network {found['network']}")
        columns: tuple[str, ...] = (
            "root_relative_mm", "absolute_mm", "sip_deg", "angular_deg", "position_cm", "jitter_km_s3",
            "drift_percent", "coverage",
        )  # fmt: skip
        rows = [(name, "", *(f"{line[key]:.2f}" for key in columns)) for name, line in found["rows"].items()]
        print_table(("sensors", "", *columns), rows)
        print()
    if "headings" in figures:
        found = figures["headings"]
        columns = ("mounting_before_deg", "mounting_after_deg", "mounting_sigma_deg", "heading_after_deg",
                   "heading_sigma_deg")  # fmt: skip
        rows = [(name, "", *(f"{line[key]:.1f}" for key in columns)) for name, line in found["sensors"].items()]
        print_table((f"after {found['after_s']:g} s", "", *columns), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=tuple(scenarios.SPLITS), default="held_out", help="which clips")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"some of {', '.join(SECTIONS)}")
    parser.add_argument("--network", default=DEFAULT, help="name or file of the weights")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    from benchmarks.filter_accuracy import sections

    wanted = sections(given.only, SECTIONS)
    figures: dict[str, Any] = {}
    if "table" in wanted:
        figures["table"] = table(given.split, given.network, given.jobs)
    if "headings" in wanted:
        figures["headings"] = headings()
    if given.json:
        print_json(figures)
    else:
        print_figures(figures)


if __name__ == "__main__":
    main()
