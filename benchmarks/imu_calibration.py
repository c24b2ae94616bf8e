"""How well inertial sensors are calibrated, how surely a wrong one is noticed, what cameras add.

    python -m benchmarks.imu_calibration [--json] [--seeds N]

* ``procedures``: simulated wearers (``calibration.inertial.practice``) whose sensors sit in any rotation do what each
  procedure asks; the error of q_segment_from_sensor, and the quality that the calibration claims.
* ``exchanged``: every pair of sensors exchanged, one at a time: how many are named, refused, or pass unnoticed.
* ``refined``: mountings 10 degrees wrong and headings that drift by a degree a minute, 20 s in sight of one camera.
* ``hipose``: the N-pose of a real recording of 17 sensors (seconds 1 to 5): what gravity and repetition say.
* ``qmt``: a real recording of 16 sensors, calibrated from its still start, against the file's own segment orientations
  over 100 s (its constants are hand-tuned, its headings drift: a comparison, not a truth).

The last two need the data pack (``KINEFUSE_DATA``, else ``../shared/data`` beside the checkout).
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.inertial.attitude import turn_about_up
from calibration.inertial.poses import UP, Step, kind_of, q_body_from_segment, side_of
from calibration.inertial.practice import Practice, PracticeParams, exchanged, practise
from calibration.inertial.recording import NS_PER_S, Recording, gather
from calibration.inertial.refine import refined
from calibration.inertial.result import InertialCalibration
from calibration.inertial.solve import calibrate
from calibration.inertial.steps import Interval
from calibration.inertial.still import calibrate_still, mean_rotation
from calibration.inertial.stillness import Hold, angle_between, up_in_sensor, wander_rad
from fusion.body.skeleton import SEGMENT
from fusion.estimators.inertial.orientation import OrientationFilter
from fusion.maths import quaternion
from fusion.pipeline import Pipeline
from fusion.records import Float64, InertialState, Truth
from fusion.synthesis.actions import DEFAULT_SCRIPT
from fusion.synthesis.imus import VirtualImus
from fusion.synthesis.motion import draw_lengths
from fusion.synthesis.params import InertialParams, RingParams
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.simulation import IMUS, Lab, Simulation, simulated_rig
from fusion.synthesis.wearer import Wearer
from nodes.commands.arguments import print_json

REPOSITORY = Path(__file__).resolve().parents[1]
SITES = (
    "pelvis", "t8", "head", "left_upper_arm", "right_upper_arm", "left_forearm", "right_forearm",
    "left_upper_leg", "right_upper_leg", "left_lower_leg", "right_lower_leg",
)  # fmt: skip
WHOLE: tuple[Step, ...] = ("n_pose", "t_pose", "n_pose")
PROCEDURES: dict[str, PracticeParams] = {
    "n_pose, t_pose, n_pose, walk": PracticeParams(poses=WHOLE),
    "n_pose, walk": PracticeParams(poses=("n_pose",)),
    "t_pose, walk": PracticeParams(poses=("t_pose",)),
    "n_pose, t_pose": PracticeParams(poses=("n_pose", "t_pose"), walk_m=0.0),
    "n_pose": PracticeParams(poses=("n_pose",), walk_m=0.0),
    "all, posed exactly": PracticeParams(poses=WHOLE, pose_error_rad=0.0, repeat_error_rad=0.0),
}
DRIFT_RAD_S = math.radians(1.0) / 60.0
MOUNTING_RAD = math.radians(10.0)
REFINE_S = 20.0
NPOSE_S = (1.0, 5.0)
STILL_S = (0.3, 2.3)
_TRUNK_OR_LEG_AXES = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Body axes (columns x, y, z) in the axes of qmt's hanging segments: x forward, y up, z right;"""
_ARM_AXES = {
    "left": np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]]),
    "right": np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]),
}
"""of an arm x points to the body."""


# ---------------------------------------------------------------- simulated


def procedures(seeds: int) -> dict[str, Any]:
    """Errors and claims of each procedure."""
    return {name: procedure(params, seeds) for name, params in PROCEDURES.items()}


def procedure(params: PracticeParams, seeds: int) -> dict[str, Any]:
    """Errors of one procedure over some wearers; of sensors whose heading is assumed only what gravity tells."""
    errors: dict[str, list[float]] = {}
    ratios, accepted, tilts = [], 0, []
    for seed in range(seeds):
        played = practise(SITES, seed, params)
        found = calibrate(gather(played.records), played.intervals)
        accepted += found.accepted
        for sensor in found.sensors:
            truth = played.truth[sensor.segment]
            if sensor.heading == "measured":
                error = float(quaternion.angle_between(truth, sensor.q_segment_from_sensor))
                errors.setdefault(sensor.segment, []).append(math.degrees(error))
                ratios.append(error / sensor.quality_rad)
            else:
                tilts.append(math.degrees(_tilt(truth, sensor.q_segment_from_sensor, params.poses, sensor.segment)))
    everything = [error for found_errors in errors.values() for error in found_errors]
    return {
        "accepted": f"{accepted} of {seeds}",
        "measured_error_deg": _spread(everything),
        "error_over_quality": _spread(ratios),
        "assumed_heading_inclination_deg": _spread(tilts),
        "mean_error_deg_by_sensor": {name: round(float(np.mean(values)), 1) for name, values in errors.items()},
    }


def _tilt(truth: Float64, found: Float64, poses: Sequence[str], segment: str) -> float:
    """Angle between what two mountings call up in the sensor, in the first pose."""
    up = quaternion.rotate(quaternion.conjugate(q_body_from_segment(poses[0], segment)), UP)
    one, other = (quaternion.rotate(quaternion.conjugate(q), up) for q in (truth, found))
    return float(angle_between(one, other))


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    quantiles = {"median": 50.0, "p95": 95.0, "max": 100.0}
    return {
        "mean": round(float(np.mean(values)), 2),
        **{name: round(float(np.percentile(values, share)), 2) for name, share in quantiles.items()},
    }


def exchanges(params: PracticeParams, seeds: int) -> dict[str, Any]:
    """What becomes of every pair of exchanged sensors."""
    counts = {"named": 0, "refused": 0, "unnoticed": 0}
    unnoticed: dict[str, int] = {}
    false_alarms = 0
    for seed in range(seeds):
        played = practise(SITES, seed, params)
        false_alarms += _wrong(calibrate(gather(played.records), played.intervals))
        for one, other in itertools.combinations(SITES, 2):
            outcome = exchange(played, one, other)
            counts[outcome] += 1
            if outcome == "unnoticed":
                pair = f"{one} {other}"
                unnoticed[pair] = unnoticed.get(pair, 0) + 1
    total = sum(counts.values())
    return {"pairs": total, **counts, "false_alarms": f"{false_alarms} of {seeds}", "unnoticed_pairs": unnoticed}


def exchange(played: Practice, one: str, other: str) -> str:
    """What becomes of one pair: ``named`` (each of both, as wrong), ``refused`` for another reason, ``unnoticed``."""
    swapped = exchanged(played, one, other)
    found = calibrate(gather(swapped.records), swapped.intervals)
    wrong = {name for finding in found.refusals if finding.kind.startswith("wrong") for name in finding.sensors}
    if wrong == {one, other}:
        return "named"
    return "unnoticed" if found.accepted else "refused"


def _wrong(found: InertialCalibration) -> bool:
    return any(finding.kind.startswith("wrong") for finding in found.refusals)


# ---------------------------------------------------------------- refined by a camera


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """What a wearer's filter knows of the sensors after a capture, and the truth."""

    lab: Lab
    state: InertialState
    truth_m: dict[str, Float64]
    """q_segment_from_sensor."""
    truth_q: Float64
    """[23, 4] of the segments at the state's time."""


def refinements(seeds: int, cameras: int = 1) -> dict[str, Any]:
    """Mountings 10 degrees wrong after 20 s in sight of cameras."""
    table: dict[str, dict[str, list[float]]] = {}
    refused: dict[str, int] = {}
    for seed in range(seeds):
        made = capture(seed, cameras)
        rig = simulated_rig(made.lab)
        for mount, item in zip(rig.imus, refined(rig.imus, made.state, REFINE_S), strict=True):
            k = made.state.sensors.index(mount.segment)
            own = quaternion.from_rotvec(made.state.mounting_error_rad[k].astype(np.float64))
            learned = quaternion.multiply(mount.q_segment_from_sensor, own)
            truth = made.truth_m[mount.segment]
            row = table.setdefault(mount.segment, {})
            angles: dict[str, float] = {
                "before_deg": float(quaternion.angle_between(mount.q_segment_from_sensor, truth)),
                "mounting_deg": float(quaternion.angle_between(learned, truth)),
                "segment_deg": _segment_error(made, k, learned),
                "sigma_deg": item.sigma_rad,
            }
            for name, angle in angles.items():
                row.setdefault(name, []).append(math.degrees(angle))
            refused[mount.segment] = refused.get(mount.segment, 0) + bool(item.refusal)
    return {
        segment: {name: _spread(values) for name, values in row.items()} | {"kept": f"{refused[segment]} of {seeds}"}
        for segment, row in table.items()
    }


def _segment_error(made: Capture, k: int, q_segment_from_sensor: Float64) -> float:
    """Of the orientation that a sensor gives its segment with the heading and the mounting that were learned."""
    heading = quaternion.from_rotvec(-float(made.state.heading_rad[k]) * UP)
    sensor = quaternion.multiply(heading, made.state.q_world_from_sensor[k])
    segment = quaternion.multiply(sensor, quaternion.conjugate(q_segment_from_sensor))
    return float(quaternion.angle_between(segment, made.truth_q[SEGMENT[made.state.sensors[k]]]))


def capture(seed: int, cameras: int) -> Capture:
    """The simulator's default script and sensors, with wrong mountings and drifting headings."""
    imus = InertialParams(mounting_error_rad=MOUNTING_RAD, angular_rate_bias_rad_s=DRIFT_RAD_S)
    lab = Lab(ring=RingParams(count=cameras), imus=imus, radars=None)
    motion = scripted_motion(DEFAULT_SCRIPT, draw_lengths(seed, 1.75), seed=seed)
    wearer = Wearer(0, motion)
    simulation = Simulation(lab, (wearer,), seed=seed, origin_ns=0, duration_s=REFINE_S)
    pipeline = Pipeline(simulated_rig(lab))
    last = None
    while (emission := simulation.pop()) is not None:
        if not isinstance(emission.record, Truth):
            pipeline.step(emission.record)
            last = emission.record
    assert last is not None
    (state,) = pipeline.inertial_states(last)
    worn = VirtualImus(IMUS, imus, wearer, seed)
    truth = {mount.segment: mount.q_segment_from_sensor for mount in worn.mounts}
    return Capture(lab, state, truth, motion.pose(np.array([state.measured_ns / NS_PER_S]))[1][0])


# ---------------------------------------------------------------- real


@dataclass(frozen=True, slots=True, eq=False)
class Worn:
    """A real recording."""

    recording: Recording
    q_world_from_sensor: Float64
    """[T, M, 4] by the recording itself."""
    mounts: dict[str, Float64]
    """q_segment_from_sensor that the recording states; empty where it states none."""


def hipose(folder: Path) -> Worn:
    """17 MTw sensors; the seventeenth names the sternum, which is our t8."""
    with np.load(folder / "imu" / "hipose_mtw_npose.npz") as z:
        names = tuple("t8" if name == "stern" else str(name) for name in z["segment_names"])
        return Worn(_recording(names, z["time"], z["acc"], z["gyr"]), z["quat_sensor"].astype(np.float64), {})


def qmt(folder: Path) -> Worn:
    """16 sensors and the source's own calibration."""
    with np.load(folder / "imu" / "qmt_full_body.npz") as z:
        names = tuple(_QMT_NAMES[str(name)] for name in z["segment_names"])
        own = quaternion.conjugate(z["q_segment2sensor"])
        q = quaternion.multiply(z["quat_segment"], own)
        mounts = {
            name: quaternion.multiply(quaternion.conjugate(_qmt_from_segment(name)), own[k])
            for k, name in enumerate(names)
        }
        return Worn(_recording(names, z["time"], z["acc"], z["gyr"]), q, mounts)


_QMT_NAMES = {"hip": "pelvis", "lower_back": "l3", "upper_back": "t8", "head": "head"} | {
    f"{part}_{side}": f"{side}_{part}"
    for part in ("upper_arm", "forearm", "hand", "upper_leg", "lower_leg", "foot")
    for side in ("left", "right")
}


def _qmt_from_segment(segment: str) -> Float64:
    """From our axes of a segment to qmt's [4]."""
    axes = _ARM_AXES[side_of(segment)] if kind_of(segment) == "arm" else _TRUNK_OR_LEG_AXES
    body = quaternion.from_matrix(axes)
    return quaternion.multiply(body, q_body_from_segment("n_pose", segment))


def _recording(names: tuple[str, ...], time_s: Float64, acc: Float64, gyr: Float64) -> Recording:
    times = np.round(time_s.astype(np.float64) * NS_PER_S).astype(np.int64)
    force, rate = acc.astype(np.float64), gyr.astype(np.float64)
    return Recording(names, times, force, rate, np.zeros(force.shape[:2], dtype=np.bool_))


def n_pose_quality(worn: Worn, span_s: tuple[float, float] = NPOSE_S) -> dict[str, Any]:
    """What a held N-pose says of its own quality, per sensor in degrees."""
    recording = worn.recording
    begin, end = (recording.index(round(second * NS_PER_S)) for second in span_s)
    middle = (begin + end) // 2
    first, last = up_in_sensor(recording, slice(begin, middle)), up_in_sensor(recording, slice(middle, end))
    whole = up_in_sensor(recording, slice(begin, end))
    q = mean_rotation(worn.q_world_from_sensor[begin:end])
    board = quaternion.rotate(quaternion.conjugate(q), UP)
    size = np.linalg.norm(recording.specific_force_m_s2[begin:end].mean(axis=0), axis=1)
    intervals = [Interval("n_pose", int(recording.times_ns[begin]), int(recording.times_ns[end]))]
    found = calibrate(recording, intervals)
    creep = wander_rad(recording, Hold("n_pose", slice(begin, end)))
    drift = [_halves(recording, worn, part) for part in (slice(begin, middle), slice(middle, end))]
    return {
        "accepted": found.accepted,
        "headings": sorted({sensor.heading for sensor in found.sensors}),
        "deg_by_sensor": {
            name: {
                "halves_apart": _degrees(angle_between(first[k], last[k])),
                "creep": _degrees(creep[k]),
                "gravity_against_on_board": _degrees(angle_between(whole[k], board[k])),
                "mounting_halves_apart": _degrees(quaternion.angle_between(drift[0][name], drift[1][name])),
                "quality": _degrees(found.sensor(name).quality_rad) if found.sensors else float("nan"),
            }
            for k, name in enumerate(recording.sensors)
        },
        "gravity_m_s2": {"least": round(float(size.min()), 3), "most": round(float(size.max()), 3)},
    }


def _halves(recording: Recording, worn: Worn, part: slice) -> dict[str, Float64]:
    """Mountings from a part of a pose with one heading for all sensors, by the recording's own orientations."""
    return calibrate_still(worn.q_world_from_sensor[part], recording.sensors, heading_rad=0.0)


def over_time(worn: Worn, span_s: tuple[float, float] = STILL_S) -> dict[str, Any]:
    """A calibration from a still start against the recording's own segment orientations to its end.

    Orientations are those of ``OrientationFilter`` from the samples alone. ``own heading``: each sensor's heading at
    the start is taken from the recording, as a profile's mounting would give it; ``one heading``: that of the
    pelvis for all, as if the wearer had stood in a perfect pose.
    """
    recording = worn.recording
    rows, q = orientations(recording)
    times_s = recording.times_ns[rows] / NS_PER_S
    still = np.flatnonzero((times_s >= span_s[0]) & (times_s < span_s[1]))
    theirs = np.stack([worn.mounts[name] for name in recording.sensors])
    segments = quaternion.multiply(worn.q_world_from_sensor[rows], quaternion.conjugate(theirs))
    start, start_theirs = mean_rotation(q[still]), mean_rotation(segments[still])
    stands = np.stack([q_body_from_segment("n_pose", name) for name in recording.sensors])
    facing = turn_about_up(quaternion.multiply(start_theirs, quaternion.conjugate(stands)))
    # The filter's world is turned against the recording's by a heading of each sensor's own.
    worlds = turn_about_up(
        quaternion.multiply(start, quaternion.conjugate(mean_rotation(worn.q_world_from_sensor[rows][still])))
    )
    pelvis = facing[recording.sensors.index("pelvis")]
    result = {}
    for name, heading in {"own heading": facing, "one heading": np.full_like(facing, pelvis)}.items():
        mounts = calibrate_still(start, recording.sensors, heading_rad=heading + worlds)
        ours = np.stack([mounts[sensor] for sensor in recording.sensors])
        turned = quaternion.multiply(quaternion.from_rotvec(-worlds[:, None] * UP), q)
        away = quaternion.multiply(
            quaternion.multiply(turned, quaternion.conjugate(ours)), quaternion.conjugate(segments)
        )
        result[name] = _over_time(recording.sensors, ours, theirs, away)
    return result


def _over_time(sensors: tuple[str, ...], ours: Float64, theirs: Float64, away: Float64) -> dict[str, Any]:
    heading = turn_about_up(away)
    level = quaternion.multiply(quaternion.from_rotvec(-heading[..., None] * UP), away)
    inclination = np.linalg.norm(quaternion.to_rotvec(level), axis=-1)
    total = np.linalg.norm(quaternion.to_rotvec(away), axis=-1)
    table = {
        name: {
            "mounting": _degrees(quaternion.angle_between(ours[k], theirs[k])),
            "mean_total": _degrees(total[:, k].mean()),
            "mean_inclination": _degrees(inclination[:, k].mean()),
            "last_10_s_total": _degrees(total[-100:, k].mean()),
        }
        for k, name in enumerate(sensors)
    }
    means = {key: round(float(np.mean([row[key] for row in table.values()])), 2) for key in table[sensors[0]]}
    return {"mean_deg": means, "deg_by_sensor": table}


def orientations(recording: Recording) -> tuple[Any, Float64]:
    """Rows of the recording and the orientations [K, M, 4] that the orientation filter tells there."""
    estimator = OrientationFilter(len(recording.sensors))
    arrays = recording.times_ns, recording.specific_force_m_s2, recording.angular_rate_rad_s
    told = [
        stretch.orientations
        for stretch in estimator.stretches(*arrays)
        if stretch.orientations is not None and np.isfinite(stretch.orientations.q_world_from_sensor).all()
    ]
    rows = np.searchsorted(recording.times_ns, [item.time_ns for item in told])
    return rows, np.stack([item.q_world_from_sensor for item in told])


def _degrees(angle_rad: float | Float64) -> float:
    return round(math.degrees(float(angle_rad)), 2)


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="of the simulated wearers, from 0")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    folder = Path(os.environ.get("KINEFUSE_DATA", REPOSITORY.parent / "shared" / "data"))
    result: dict[str, Any] = {
        "procedures": procedures(args.seeds),
        "exchanged": {name: exchanges(PROCEDURES[name], args.seeds) for name in list(PROCEDURES)[:4:3]},
        "refined": refinements(args.seeds),
    }
    if folder.is_dir():
        result["hipose"] = n_pose_quality(hipose(folder))
        result["qmt"] = over_time(qmt(folder))
    else:
        print(
            f"no data pack at {folder}; set KINEFUSE_DATA to its folder. Only the simulation is shown.", file=sys.stderr
        )
    if args.json:
        print_json(result)
    else:
        _print(result)
    return 0


def _print(values: dict[str, Any], depth: int = 0) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and any(isinstance(item, dict) for item in value.values()):
            print(f"{'  ' * depth}{key}")
            _print(value, depth + 1)
        else:
            text = ", ".join(f"{name} {item}" for name, item in value.items()) if isinstance(value, dict) else value
            print(f"{'  ' * depth}{key}: {text}")


if __name__ == "__main__":
    sys.exit(main())
