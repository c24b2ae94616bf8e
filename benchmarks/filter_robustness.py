"""What the filter withstands: gross errors, exchanged sides, silence, and evidence that no body can give.

    python -m benchmarks.filter_robustness [--quick] [--only outliers,swaps,silence,limits,hyperextension] [--json]

All with a scripted wearer in the simulated lab; needs no data pack.

* ``outliers``: a fifth of all landmarks grossly wrong (120 px), against the run without outliers on the same luck.
* ``swaps``: left and right exchanged for ten pictures: all landmarks in one camera, in two, in four; the legs in four.
* ``silence``: nothing but the passing of time for 10 s; the estimate should stay finite, widen, and lock on again.
* ``limits``: legal poses drawn evenly between the limits and held for a second before exact markers that claim 5 mm,
  with the limit terms and without: how far the terms move what is legal. (With noise they move what is not.)
* ``hyperextension``: knees and elbows bent backwards by 25 degrees before four cameras; what is shown beyond limits.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks import scenarios
from benchmarks.scenarios import MM_PER_M, NS_PER_S, SCENARIOS, Recording, Trace
from fusion.body.catalog import landmark_positions, landmark_set, mirror_order
from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.body.skeleton import COORDINATE, COORDINATE_NAMES, REFERENCE_LENGTHS_M, SEGMENT
from fusion.filter.history import FilterParams
from fusion.filter.measurements.anatomy import AnatomyParams
from fusion.maths import quaternion
from fusion.people import PeopleParams
from fusion.pipeline import Pipeline, PipelineParams
from fusion.records import Float64, Landmarks2D, Landmarks3D, Record
from fusion.rig import Rig, Subject
from fusion.synthesis.actions import DEFAULT_SCRIPT
from fusion.synthesis.motion import BodyMotion, draw_lengths
from fusion.synthesis.params import DetectorParams
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.simulation import Lab
from nodes.commands.arguments import print_json

_SEED = 11
_CAMERAS = SCENARIOS["cameras_4"]


def _script_motion(seed: int) -> BodyMotion:
    return scripted_motion(DEFAULT_SCRIPT, draw_lengths(seed, 1.6 + 0.05 * seed % 0.4), seed=seed)


def _lab(outlier_share: float) -> Lab:
    return Lab(detector=replace(DetectorParams(), outlier_share=outlier_share), imus=None, radars=None)


def _shifts_m(one: Trace, other: Trace) -> Float64:
    """How far [T, 23] the joints of two traces are apart at the times of both."""
    _, rows, columns = np.intersect1d(one.times_ns, other.times_ns, return_indices=True)
    return scenarios.distances_m(one.positions_m[rows], other.positions_m[columns])


# ---------------------------------------------------------------- outliers

_OUTLIER_SHARE = 0.2


def outliers(*, quick: bool) -> dict[str, float]:
    """A fifth of the landmarks wrong, against none."""
    shifts: list[Float64] = []
    wrong_m: list[Float64] = []
    clean_m: list[Float64] = []
    for seed in (1,) if quick else (1, 2, 3):
        motion = _script_motion(seed)
        traces = []
        for share, into in ((0.0, clean_m), (_OUTLIER_SHARE, wrong_m)):
            recording = scenarios.record("outliers", motion, 8.0, _lab(share), _SEED + seed)
            trace = scenarios.run(recording, _CAMERAS).trace()
            into.append(scenarios.errors(recording, _CAMERAS, trace).absolute_m)
            traces.append(trace.at(_CAMERAS.counted(trace.times_ns)))
        shifts.append(_shifts_m(*traces))
    together = np.concatenate(shifts)
    known = together[np.isfinite(together)]
    return {
        "median_shift_mm": float(np.median(known)) * MM_PER_M if known.size else float("nan"),
        "p95_shift_mm": float(np.percentile(known, 95.0)) * MM_PER_M if known.size else float("nan"),
        "error_mm": scenarios.mean_mm(np.concatenate(wrong_m)),
        "error_without_mm": scenarios.mean_mm(np.concatenate(clean_m)),
    }


# ---------------------------------------------------------------- exchanged sides

_SWAP_BEGIN_S = 4.0
_SWAP_PICTURES = 10


_LEGS = ("hip", "knee", "ankle", "heel", "foot_tip")


def _swapped(
    records: Iterable[Record], cameras: tuple[str, ...], rate_hz: float, only: tuple[str, ...] = ()
) -> list[Record]:
    """Records with left and right of some cameras' landmarks (of all, or of some names) exchanged for some pictures."""
    end_s = _SWAP_BEGIN_S + (_SWAP_PICTURES - 0.5) / rate_hz

    def changed(item: Record) -> Record:
        if not isinstance(item, Landmarks2D) or item.camera not in cameras:
            return item
        if not _SWAP_BEGIN_S - 0.5 / rate_hz <= item.measured_ns / NS_PER_S < end_s:
            return item
        order = mirror_order(item.landmark_set)
        if only:
            names = landmark_set(item.landmark_set).landmark_names
            order = np.where([name.endswith(only) for name in names], order, np.arange(len(names)))
        return replace(item, pixels=item.pixels[:, order], scores=item.scores[:, order])

    return [changed(item) for item in records]


def swaps() -> dict[str, dict[str, float]]:
    """Ten pictures with the sides exchanged."""
    recording = scenarios.record("swaps", _script_motion(2), 7.0, _lab(0.0), _SEED)
    truth, _ = recording.truth(recording.exposures_ns)
    clean = scenarios.run(recording, _CAMERAS).trace()
    result = {}
    cases: dict[str, tuple[int, tuple[str, ...]]] = {
        "one_camera": (1, ()),
        "two_cameras": (2, ()),
        "all_cameras": (4, ()),
        "legs_in_one_camera": (1, _LEGS),
        "legs_in_all_cameras": (4, _LEGS),
    }
    for name, (count, only) in cases.items():
        records = _swapped(recording.records, _CAMERAS.cameras[:count], recording.lab.detector.rate_hz, only)
        changed = replace_records(recording, records)
        trace = scenarios.run(changed, _CAMERAS).trace()
        after = trace.times_ns >= int((_SWAP_BEGIN_S - 0.01) * NS_PER_S)
        late = trace.times_ns >= int((_SWAP_BEGIN_S + 1.0) * NS_PER_S)
        shifts = scenarios.distances_m(trace.positions_m, clean.positions_m)
        result[name] = {
            "flipped_share": float((_sideways(trace.positions_m[after], truth[after]) <= 0.0).mean()),
            "largest_mean_shift_mm": float(np.nanmax(shifts[after].mean(axis=1))) * MM_PER_M,
            "shift_after_1_s_mm": scenarios.mean_mm(shifts[late]),
        }
    return result


def _sideways(estimate_m: Float64, truth_m: Float64) -> Float64:
    """Cosine [T] of the angle between estimated and true line from hip to hip; negative for a body turned round."""
    right, left = SEGMENT["right_upper_leg"], SEGMENT["left_upper_leg"]
    lines = [points[:, left] - points[:, right] for points in (estimate_m, truth_m)]
    sizes = [np.linalg.norm(line, axis=1) for line in lines]
    return np.asarray((lines[0] * lines[1]).sum(axis=1) / (sizes[0] * sizes[1]))


def replace_records(recording: Recording, records: Iterable[Record]) -> Recording:
    """The same recording with other records."""
    return replace(recording, records=tuple(records))


# ---------------------------------------------------------------- silence

_SILENCE_S = (4.0, 14.0)
_LOCKED_ON_M = 0.05


def silence() -> dict[str, dict[str, Any]]:
    """Ten seconds without any measurement: cameras alone, and the whole lab."""
    recording = scenarios.record("silence", _script_motion(3), _SILENCE_S[1] + 4.0, Lab(), _SEED)
    kept = [
        item for item in recording.records if not _SILENCE_S[0] <= item.measured_ns / NS_PER_S < _SILENCE_S[1]
    ]  # fmt: skip
    quiet = replace_records(recording, kept)
    return {name: _silent_run(quiet, name) for name in ("cameras_4", "cameras_4+imu+radar")}


def _silent_run(quiet: Recording, name: str) -> dict[str, Any]:
    done = scenarios.run(quiet, SCENARIOS[name])
    trace = done.trace()
    seconds = trace.times_ns / NS_PER_S
    truth, _ = quiet.truth(trace.times_ns)
    error = scenarios.distances_m(trace.positions_m, truth).mean(axis=1)
    sigma = np.sqrt(np.trace(trace.covariances_m2, axis1=-2, axis2=-1).mean(axis=1) / 3.0)
    during = (seconds >= _SILENCE_S[0]) & (seconds < _SILENCE_S[1])
    after = np.flatnonzero(seconds >= _SILENCE_S[1])
    off = after[~(error[after] < _LOCKED_ON_M)]
    back = off[-1] + 1 if off.size else after[0]
    finite = np.isfinite(trace.positions_m[during]).all() and np.isfinite(trace.covariances_m2[during]).all()
    return {
        "coverage": float(trace.known[during].mean()),
        "finite": bool(finite),
        "widens": bool((np.diff(sigma[during]) >= -1e-6).all()),
        "sigma_m": {f"after_{s:g}_s": float(_at(seconds, sigma, _SILENCE_S[0] + s)) for s in (0.0, 1.0, 3.0, 9.9)},
        "error_m": {f"after_{s:g}_s": float(_at(seconds, error, _SILENCE_S[0] + s)) for s in (0.0, 1.0, 3.0, 9.9)},
        "locks_on_again_s": float(seconds[back] - _SILENCE_S[1]) if back < len(seconds) else float("nan"),
        "counters": {key: done.pipeline.bank.counters[key] for key in ("births", "returns", "deaths")},
    }


def _at(seconds: Float64, values: Float64, time_s: float) -> float:
    return float(values[min(int(np.searchsorted(seconds, time_s)), len(values) - 1)])


# ---------------------------------------------------------------- limits

_POSES = 60
_POSE_PICTURES = 30
_POSE_SIGMA_M = 0.005
_BALL_RAD = 0.5
_SET = "blazepose_33"


def _legal_pose(random: np.random.Generator) -> Float64:
    """Coordinates [44] between the limits; hips and shoulders up to some 30 degrees from rest."""
    low, high = coordinate_limits()
    pose = resting_coordinates()
    limited = np.isfinite(low)
    pose[limited] = low[limited] + random.random(int(limited.sum())) * (high - low)[limited]
    for prefix in ("right_arm_", "left_arm_", "right_hip_", "left_hip_"):
        first = COORDINATE[f"{prefix}x"]
        turn = quaternion.from_rotvec(_BALL_RAD / np.sqrt(3.0) * random.standard_normal(3))
        pose[first : first + 3] = quaternion.to_rotvec(
            quaternion.multiply(quaternion.from_rotvec(pose[first : first + 3]), turn)
        )
    # No spine is at several of its limits at once.
    for prefix in ("spine_", "neck_"):
        pose[[COORDINATE[f"{prefix}{axis}"] for axis in "xyz"]] *= 0.6
    pose[COORDINATE["root_pz"]] = 1.0
    return pose


def _held(pose: Float64) -> list[Record]:
    """World landmarks of a body that holds a pose for a second, exact."""
    positions, quaternions = forward_kinematics(pose, REFERENCE_LENGTHS_M)
    points = landmark_positions(_SET, positions, quaternions, REFERENCE_LENGTHS_M)
    records: list[Record] = []
    for frame in range(_POSE_PICTURES):
        now = round(frame * NS_PER_S / 30.0)
        records.append(
            Landmarks3D(
                measured_ns=now,
                received_ns=now,
                source="markers",
                landmark_set=_SET,
                positions_m=points[None].astype(np.float32),
                sigmas_m=np.full((1, len(points)), _POSE_SIGMA_M, dtype=np.float32),
            )
        )
    return records


def _without_limits() -> PipelineParams:
    anatomy = replace(AnatomyParams(), limit_rad=1e4)
    return PipelineParams(people=PeopleParams(filter=replace(FilterParams(), anatomy=anatomy)))


def limits(*, quick: bool) -> dict[str, Any]:
    """How far the limit terms move legal poses: the same noise with and without them."""
    moved, wrong = [], []
    missed = 0
    rig = Rig(subject=Subject(lengths_m=REFERENCE_LENGTHS_M))
    for number in range(_POSES // 4 if quick else _POSES):
        pose = _legal_pose(np.random.default_rng(_SEED + number))
        records = _held(pose)
        shown = []
        for params in (PipelineParams(), _without_limits()):
            answers = scenarios.ask(Pipeline(rig, params), records, [records[-1].measured_ns])
            shown.append(scenarios.Run(Pipeline(rig), answers).trace())
        if not all(trace.known[-1] for trace in shown):
            missed += 1
            continue
        moved.append(np.abs(shown[0].coordinates[-1] - shown[1].coordinates[-1]))
        wrong.append(np.abs(shown[0].coordinates[-1] - pose))
    low, _ = coordinate_limits()
    limited = np.isfinite(low)
    degrees = np.degrees(np.array(moved)[:, limited]) if moved else np.full((1, int(limited.sum())), np.nan)
    worst = np.argsort(-degrees.max(axis=0))[:5]
    names = np.array(COORDINATE_NAMES)[limited]
    return {
        "poses": len(moved),
        "poses_not_found": missed,
        "median_deg": float(np.median(degrees)),
        "p95_deg": float(np.percentile(degrees, 95.0)),
        "share_below_half_deg": float((degrees < 0.5).mean()),
        "largest_deg": float(degrees.max()),
        "worst_deg": {str(names[i]): float(degrees[:, i].max()) for i in worst},
        "median_error_deg": float(np.degrees(np.median(np.array(wrong)[:, limited]))) if wrong else float("nan"),
    }


_BACKWARDS_RAD = np.radians(25.0)


def hyperextension() -> dict[str, float]:
    """Joints bent the wrong way before four cameras: the most that is shown beyond the limits."""
    pose = resting_coordinates()
    pose[COORDINATE["root_pz"]] = 0.9
    bent = [name for name in COORDINATE_NAMES if name.endswith(("knee_flexion", "elbow_flexion"))]
    pose[[COORDINATE[name] for name in bent]] = -_BACKWARDS_RAD
    motion = BodyMotion(np.tile(pose, (200, 1)), 30.0, draw_lengths(_SEED, 1.8), periodic=False)
    recording = scenarios.record("hyperextension", motion, 4.0, _lab(0.0), _SEED)
    trace = scenarios.run(recording, _CAMERAS).trace()
    low, high = coordinate_limits()
    shown = trace.coordinates[trace.known]
    beyond = np.maximum(np.maximum(low - shown, shown - high), 0.0)
    return {
        "coverage": float(trace.known.mean()),
        "largest_beyond_limit_deg": float(np.degrees(beyond.max())) if len(shown) else float("nan"),
        **{
            f"{name}_beyond_deg": float(np.degrees(beyond[:, COORDINATE[name]].max())) if len(shown) else float("nan")
            for name in bent
        },
    }


# ---------------------------------------------------------------- command

SECTIONS: dict[str, Callable[[bool], Any]] = {
    "outliers": lambda quick: outliers(quick=quick),
    "swaps": lambda quick: swaps(),
    "silence": lambda quick: silence(),
    "limits": lambda quick: limits(quick=quick),
    "hyperextension": lambda quick: hyperextension(),
}


def robustness(*, quick: bool, only: Iterable[str] = SECTIONS) -> dict[str, Any]:
    """All of it, or some, by name."""
    return {name: SECTIONS[name](quick) for name in only}


def print_figures(figures: dict[str, Any]) -> None:
    """Write the figures, one a line."""
    for name, values in figures.items():
        print(name)
        _print_values(values, "  ")


def _print_values(values: dict[str, Any], indent: str) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            print(f"{indent}{key}")
            _print_values(value, indent + "  ")
        else:
            print(f"{indent}{key}: {value:.3f}" if isinstance(value, float) else f"{indent}{key}: {value}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="fewer bodies and poses")
    arguments.add_argument("--only", default=",".join(SECTIONS), help=f"some of {', '.join(SECTIONS)}")
    arguments.add_argument("--json", action="store_true", help="print one JSON object")
    given = arguments.parse_args()
    names = [name.strip() for name in given.only.split(",")]
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise SystemExit(f"--only: {', '.join(unknown)}; allowed: {', '.join(SECTIONS)}")
    figures = robustness(quick=given.quick, only=names)
    if given.json:
        print_json(figures)
    else:
        print_figures(figures)


if __name__ == "__main__":
    main()
