"""The inertial modality on real sensors.

    python -m benchmarks.imu_real [--only qmt,hipose,broad] [--network NAME|FILE.npz] [--json]

* ``qmt``: a real walk with 16 sensors (100 s, no magnetometer). Calibrated from its still start, six of the sensors
  (the sites of the network) go through the pipeline as a capture without cameras would; the body that comes out is
  compared with the other ten sensors, which nothing of it has seen. Angles between a segment as we tell it and as its
  own sensor does: ``total``; ``inclination``, which needs no heading; ``heading`` at the start and the end. Each of the
  recording's own segments drifts in heading by itself (median 1, worst 8 degrees over the recording), so ``total``
  holds that drift as well. With the network and without; ``nearest_segment`` copies a sensed neighbour, the better one
  for each segment on this very recording.
* ``hipose``: a held N-pose of 17 sensors (``benchmarks.imu_calibration``).
* ``broad``: orientations against optical truth, beside the ``vqf`` package run alone (``benchmarks.imu_broad``).

Needs the data pack.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.filter_accuracy import sections
from benchmarks.imu_broad import broad_scores
from benchmarks.imu_calibration import STILL_S, Worn, hipose, n_pose_quality, orientations, qmt
from benchmarks.scenarios import NS_PER_S, data_folder
from calibration.inertial.attitude import turn_about_up
from calibration.inertial.still import calibrate_still, mean_rotation
from fusion.body.skeleton import SEGMENT
from fusion.estimators.inertial.layout import SITES
from fusion.estimators.inertial.packing import NetworkWeights
from fusion.maths import quaternion
from fusion.pipeline import Pipeline
from fusion.records import Float64, InertialSamples, Int64, Tick
from fusion.rig import ImuMount, Rig
from nodes.commands.arguments import print_json, print_table
from nodes.models.inertial import DEFAULT, load

SECTIONS = ("qmt", "hipose", "broad")
_BATCH = 2
_ASK_S = 0.1
_EDGE_S = 10.0
_UP = np.array([0.0, 0.0, 1.0])


# ---------------------------------------------------------------- ten segments that nobody told


def qmt_figures(folder: Path, network: str) -> dict[str, Any]:
    """Angles of the ten other segments over the recording."""
    worn = qmt(folder)
    mounts = mounts_from_rest(worn)
    times, truth = truth_of(worn)
    others = [name for name in worn.recording.sensors if name not in SITES]
    runs = {
        "network": captured(worn, mounts, load(network), times),
        "without_network": captured(worn, mounts, None, times),
    }
    result: dict[str, Any] = {"segments": others, "seconds": float(times[-1] / NS_PER_S)}
    for name, bodies in runs.items():
        result[name] = compared(times, bodies, truth, others)
    result["nearest_segment"] = nearest(times, truth, others)
    result["sensed"] = compared(times, runs["network"], truth, list(SITES))
    return result


def mounts_from_rest(worn: Worn) -> dict[str, Float64]:
    """``q_segment_from_sensor`` of all sensors from the still start; each heading there is the recording's own, as a
    profile's mounting would give it."""
    rows, q = orientations(worn.recording)
    times_s = worn.recording.times_ns[rows] / NS_PER_S
    still = (times_s >= STILL_S[0]) & (times_s < STILL_S[1])
    start = mean_rotation(q[still])
    recorded = mean_rotation(worn.q_world_from_sensor[rows][still])
    theirs = np.stack([worn.mounts[name] for name in worn.recording.sensors])
    stands = quaternion.multiply(recorded, quaternion.conjugate(theirs))
    resting = calibrate_still(recorded, worn.recording.sensors, heading_rad=0.0)
    rest = quaternion.multiply(recorded, quaternion.conjugate(np.stack([resting[n] for n in worn.recording.sensors])))
    facing = turn_about_up(quaternion.multiply(stands, quaternion.conjugate(rest)))
    worlds = turn_about_up(quaternion.multiply(start, quaternion.conjugate(recorded)))
    return dict(calibrate_still(start, worn.recording.sensors, heading_rad=facing + worlds))


def truth_of(worn: Worn) -> tuple[Int64, dict[str, Float64]]:
    """Times [K] ten a second and each segment's orientation [K, 4] by its own sensor, in our axes."""
    times = worn.recording.times_ns
    asked = np.arange(round(STILL_S[1] * NS_PER_S), int(times[-1]), round(_ASK_S * NS_PER_S))
    rows = np.searchsorted(times, asked)
    q = {
        name: quaternion.multiply(worn.q_world_from_sensor[rows, k], quaternion.conjugate(worn.mounts[name]))
        for k, name in enumerate(worn.recording.sensors)
    }
    return times[rows], q


def captured(
    worn: Worn, mounts: dict[str, Float64], weights: NetworkWeights | None, times_ns: Int64
) -> dict[str, Float64]:
    """Orientations [K, 4] of all segments by a capture of the six sites at the times [K]; NaN before there is one."""
    recording = worn.recording
    sites = [recording.sensors.index(site) for site in SITES]
    rig = Rig(imus=tuple(ImuMount(segment=site, q_segment_from_sensor=mounts[site]) for site in SITES))
    pipeline = Pipeline(rig, network=weights)
    q = np.full((len(times_ns), len(SEGMENT), 4), np.nan)
    at = 0
    for first in range(0, len(recording.times_ns), _BATCH):
        part = slice(first, first + _BATCH)
        newest = int(recording.times_ns[part][-1])
        force, rate = recording.specific_force_m_s2[part][:, sites], recording.angular_rate_rad_s[part][:, sites]
        record = InertialSamples(
            measured_ns=newest,
            received_ns=newest,
            sensors=SITES,
            times_ns=recording.times_ns[part],
            specific_force_m_s2=force.astype(np.float32),
            angular_rate_rad_s=rate.astype(np.float32),
            magnetic_field_ut=np.full(force.shape, np.nan, dtype=np.float32),
        )
        pipeline.take(record)
        while at < len(times_ns) and times_ns[at] <= newest:
            people = pipeline.people(Tick(measured_ns=newest, received_ns=newest))
            if len(people.ids):
                q[at] = people.q_world_from_segment[0]
            at += 1
    return {name: q[:, index] for name, index in SEGMENT.items()}


def compared(
    times_ns: Int64, bodies: dict[str, Float64], truth: dict[str, Float64], names: list[str]
) -> dict[str, Any]:
    """Angles in degrees of each named segment, after one turn about the vertical that lays the pelvis right."""
    seconds = times_ns / NS_PER_S
    known = np.isfinite(bodies["pelvis"][:, 0])
    first = known & (seconds < seconds[known][0] + 2.0)
    turn = turn_about_up(
        mean_rotation(
            quaternion.multiply(truth["pelvis"][first], quaternion.conjugate(bodies["pelvis"][first]))[:, None]
        )
    )[0]
    lay = quaternion.from_rotvec(turn * _UP)
    rows: dict[str, Any] = {}
    for name in names:
        away = quaternion.multiply(quaternion.multiply(lay, bodies[name]), quaternion.conjugate(truth[name]))[known]
        rows[name] = _angles(seconds[known], away)
    means = {key: round(float(np.mean([row[key] for row in rows.values()])), 2) for key in next(iter(rows.values()))}
    return {**means, "coverage": float(known.mean()), "by_segment": rows}


def nearest(times_ns: Int64, truth: dict[str, Float64], names: list[str]) -> dict[str, Any]:
    """Each segment stands as the sensed one that fits it best on this recording: no method may know that."""
    rows = {}
    for name in names:
        choices = [
            _angles(times_ns / NS_PER_S, quaternion.multiply(truth[site], quaternion.conjugate(truth[name])))
            for site in SITES
        ]
        rows[name] = min(choices, key=lambda row: row["total"])
    means = {key: round(float(np.mean([row[key] for row in rows.values()])), 2) for key in next(iter(rows.values()))}
    return {**means, "by_segment": rows}


def _angles(seconds: Float64, away: Float64) -> dict[str, float]:
    heading = np.unwrap(turn_about_up(away))
    level = quaternion.multiply(quaternion.from_rotvec(-heading[:, None] * _UP), away)
    total = np.linalg.norm(quaternion.to_rotvec(away), axis=-1)
    begin, end = seconds < seconds[0] + _EDGE_S, seconds > seconds[-1] - _EDGE_S
    return {
        "total": _degrees(total.mean()),
        "inclination": _degrees(np.linalg.norm(quaternion.to_rotvec(level), axis=-1).mean()),
        "heading_first_10_s": _degrees(np.abs(heading[begin].mean())),
        "heading_last_10_s": _degrees(np.abs(heading[end].mean())),
        "heading_drift": _degrees(np.abs(heading[end].mean() - heading[begin].mean())),
    }


def _degrees(angle_rad: Float64 | float) -> float:
    return round(math.degrees(float(angle_rad)), 2)


# ---------------------------------------------------------------- command


def print_figures(found: dict[str, Any]) -> None:
    """Write the figures as tables."""
    if "qmt" in found:
        part = found["qmt"]
        print(f"qmt_full_body, {part['seconds']:.0f} s: ten segments against their own sensors, degrees")
        columns = ("total", "inclination", "heading_first_10_s", "heading_last_10_s", "heading_drift")
        for name in ("network", "without_network", "nearest_segment", "sensed"):
            rows = [
                (segment, "", *(f"{row[key]:.1f}" for key in columns))
                for segment, row in part[name]["by_segment"].items()
            ]
            rows.append(("mean", "", *(f"{part[name][key]:.1f}" for key in columns)))
            print_table((name, "", *columns), rows)
            print()
    if "hipose" in found:
        part = found["hipose"]
        print(f"hipose_mtw_npose: accepted {part['accepted']}, headings {', '.join(part['headings'])}; degrees")
        rows = [(name, "", *(f"{value:.2f}" for value in row.values())) for name, row in part["deg_by_sensor"].items()]
        print_table(("sensor", "", *next(iter(part["deg_by_sensor"].values()))), rows)
        print()
    if "broad" in found:
        print("BROAD, RMSE in movement, degrees: total / heading / inclination")
        for name, kinds in found["broad"].items():
            for kind in ("6D", "9D"):
                for row, values in kinds[kind].items():
                    print(f"  {name:36} {kind} {row:16} " + " / ".join(f"{value:6.3f}" for value in values.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"some of {', '.join(SECTIONS)}")
    parser.add_argument("--network", default=DEFAULT, help="name or file of the weights")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    wanted = sections(given.only, SECTIONS)
    folder = data_folder()
    found: dict[str, Any] = {}
    if "qmt" in wanted:
        found["qmt"] = qmt_figures(folder, given.network)
    if "hipose" in wanted:
        found["hipose"] = n_pose_quality(hipose(folder))
    if "broad" in wanted:
        found["broad"] = broad_scores(folder)
    if given.json:
        print_json(found)
    else:
        print_figures(found)


if __name__ == "__main__":
    main()
