"""What the filter costs, beside inverse kinematics alone in other tools, on the same landmark frames.

    python -m benchmarks.filter_cost [--json] [--clip FILE] [--seconds S] [--repetitions N]

The other tools are the extra ``benchmark`` (``pip install 'kinefuse[benchmark]'``); what is not installed is
reported as missing. The clip is a real motion of the data pack (``KINEFUSE_DATA``, else ``../shared/data``
beside the checkout), without one the simulator's own wearer.

**Side by side.** Four synchronised simulated cameras see one wearer (BlazePose's 33 landmarks, 3 px noise,
occlusion, 5 mm bias). *We* do all that a live filter does with the four views: predict, one robust update of
pose, rates and (as long as they are not known) lengths with full covariance, the memory for late
measurements, and the published record with joint covariances. *They* do inverse kinematics alone: the points
come triangulated, nothing is predicted, no covariance is made. All know the wearer's lengths.

* Same body: ours, joint by joint and degree of freedom by degree of freedom; only spine and neck are one ball
  each for them, where we have chains (``benchmarks.ik``).
* Same landmarks: all 33. No gross outliers, which they cannot stand: that is in their favour.
* Same goal for all of them: distances of the points and a weak pull to the resting pose. mink also has joint limits.
* Same start: each frame from the pose of the last.
* *converged*: a step that changes the mean distance of the points by at most 0.1 mm was the last. Besides fixed
  numbers of steps: ten of Gauss-Newton, five quadratic programs, and the fewest (up to three) that come within 0.1 mm.
* *api* calls what the tool offers, as its examples do, *lean* spares Python at any price: one compiled kernel of
  ours makes the rows from Pinocchio's tree Jacobian, one task stacks all points for mink. OpenSim is timed in
  its own ``track`` alone.
* All run in turns in one process on one thread (``OPENBLAS_NUM_THREADS=1``). Times are processor time, which on an
  idle machine is the time that passes; the figure is the median of the repetitions' means per frame, ``us_min``
  the lowest of them.

``ratio_to_fastest_ik`` is our time over that of the fastest *converged* configuration of any tool, lean ones too;
``ratio_to_fastest_api`` leaves the lean ones out, and ``ratio_to_fewest_steps`` is over the fastest of all
configurations whose mean distance is within 0.1 mm of the converged one, which nobody knows beforehand. The same
with ``_least`` compare the lowest times, which a busy machine disturbs less.

**The simulated lab** is 4 cameras at 30 Hz, 6 IMUs at 100 Hz and a radar at 20 Hz: its records in the order of
arrival through the whole pipeline, the people asked for whenever they are due, as the fusion node does.
``lab_core_share`` is processor time over simulated time, from two seconds on: asked after every camera's record,
each of which is late against the IMUs and makes the filter compute what came since again. ``..._once_a_frame`` asks
after the last camera of each moment, as a node does that is busy while the others come in.

**Curves**: ``filter_us_by_cameras`` is one person's filter alone; ``pipeline_ms_by_cameras`` and
``pipeline_ms_by_people`` are a synchronised frame through the whole pipeline, with finding out who is who.
``updates_us`` is each kind of update alone, from one state.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from benchmarks.ik import CONVERGED_M, Missing, Problem, Solver, make_problem, mean_distance_m
from benchmarks.ik.frames import Frames, frames_of
from benchmarks.ik.kinefuse_filter import OurFilter, measurements_of
from benchmarks.ik.mink_ik import MinkIk
from benchmarks.ik.opensim_ik import OpenSimIk
from benchmarks.ik.pinocchio_ik import PinocchioIk
from benchmarks.update_kinds import kinds_us
from fusion.pipeline import Pipeline
from fusion.records import Landmarks2D, Record, Truth
from fusion.rehearsal import rehearse
from fusion.synthesis.actions import DEFAULT_SCRIPT
from fusion.synthesis.clips import clip_motion
from fusion.synthesis.motion import BodyMotion, draw_lengths
from fusion.synthesis.params import DetectorParams, RingParams
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.simulation import Lab, Simulation, simulated_rig
from fusion.synthesis.wearer import Wearer
from nodes.commands.arguments import print_json

REPOSITORY = Path(__file__).resolve().parents[1]
CLIP = Path("motion") / "cmu" / "cmu_02_01.npz"
"""A walk."""
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
SETTLED_FRAMES = 10
"""Distances are means from this frame on."""
CAMERAS = (1, 2, 4, 8, 16)
PEOPLE = (1, 2, 4, 6, 8)
VIEWS = 4
CURVE_S = 1.5
PIPELINE_S = 4.0
LAB_S = 20.0
LAB_SETTLED_S = 2.0


@dataclass(frozen=True, slots=True)
class Figure:
    """What one contestant needed and achieved."""

    us: float
    """Median over repetitions of the mean time a frame."""
    us_min: float
    us_p99: float
    """99th percentile of single frames, over all repetitions."""
    steps: float
    """Mean number of steps a frame; NaN where the tool does not say."""
    residual_mm: float
    """Mean distance of the fitted to the triangulated points."""
    truth_mm: float
    """Mean distance of the fitted points to where the landmarks really were."""


def contestants(frames: Frames) -> tuple[list[Solver], dict[str, str]]:
    """Everybody who is installed, and why the others are missing."""
    problem = make_problem(frames.landmark_set, frames.lengths_m, frames.points_m, frames.start)
    solvers: list[Solver] = [OurFilter(frames, learning=False), OurFilter(frames, learning=True)]
    missing: dict[str, str] = {}
    tools: dict[str, Callable[[Problem], list[Solver]]] = {
        "pinocchio": _pinocchio,
        "mink": _mink,
        "opensim": lambda problem: [OpenSimIk(problem), OpenSimIk(problem, accuracy=1e-4)],
    }
    for tool, make in tools.items():
        try:
            solvers += make(problem)
        except Missing as reason:
            missing[tool] = str(reason)
    return solvers, missing


def _pinocchio(problem: Problem) -> list[Solver]:
    converged: list[Solver] = [PinocchioIk(problem, lean=lean, steps=None) for lean in (False, True)]
    fixed = [(False, 10), (True, 10), (True, 3), (True, 2), (True, 1)]
    return converged + [PinocchioIk(problem, lean=lean, steps=steps) for lean, steps in fixed]


def _mink(problem: Problem) -> list[Solver]:
    converged: list[Solver] = [MinkIk(problem, lean=lean, steps=None) for lean in (False, True)]
    fixed = [(False, 5), (True, 5), (True, 3), (True, 2)]
    return converged + [MinkIk(problem, lean=lean, steps=steps) for lean, steps in fixed]


def compare(solvers: Sequence[Solver], frames: Frames, repetitions: int) -> dict[str, Figure]:
    """Run all in turns; the first round warms up and gives the distances."""
    accuracy = {solver.name: _accuracy(solver, frames) for solver in solvers}
    times_s: dict[str, list[list[float]]] = {solver.name: [] for solver in solvers}
    for _ in range(repetitions):
        for solver in solvers:
            times_s[solver.name].append(_timed_frames(solver, len(frames.times_ns)))
    return {name: _figure(times, *accuracy[name]) for name, times in times_s.items()}


def _figure(times_s: list[list[float]], steps: float, residual_m: float, truth_m: float) -> Figure:
    means_us = [float(np.mean(run)) * 1e6 for run in times_s]
    return Figure(
        us=float(np.median(means_us)),
        us_min=min(means_us),
        us_p99=float(np.percentile(np.concatenate(times_s), 99)) * 1e6,
        steps=steps,
        residual_mm=residual_m * 1e3,
        truth_mm=truth_m * 1e3,
    )


def _timed_frames(solver: Solver, frames: int) -> list[float]:
    """Seconds that each frame but the first took."""
    solver.restart()
    solver.solve(0)
    times: list[float] = []
    gc.collect()
    gc.disable()
    try:
        for frame in range(1, frames):
            begun = time.process_time()
            solver.solve(frame)
            times.append(time.process_time() - begun)
    finally:
        gc.enable()
    return times


def _accuracy(solver: Solver, frames: Frames) -> tuple[float, float, float]:
    """Mean steps a frame, mean distance to the given points and to the true ones."""
    solver.restart()
    steps, residuals, errors = [], [], []
    for frame in range(len(frames.times_ns)):
        steps.append(solver.solve(frame))
        if frame < SETTLED_FRAMES:
            continue
        fitted, points = solver.fitted_m(), frames.points_m[frame]
        residuals.append(mean_distance_m(fitted, points, np.flatnonzero(np.isfinite(points[:, 0]))))
        errors.append(float(np.linalg.norm(fitted - frames.truth_m[frame], axis=1).mean()))
    mean_steps = float(np.mean(steps)) if min(steps) >= 0 else float("nan")
    return mean_steps, float(np.mean(residuals)), float(np.mean(errors))


def ratios(figures: dict[str, Figure]) -> dict[str, Any]:
    """Our time over that of the fastest of several groups, each named."""
    ours = figures["kinefuse"]
    theirs = {name: figure for name, figure in figures.items() if not name.startswith("kinefuse")}
    converged = {name: f for name, f in theirs.items() if name.endswith("converged") or name.startswith("opensim")}
    groups = {
        "fastest_ik": converged,
        "fastest_api": {name: f for name, f in converged.items() if " lean" not in name},
        "fewest_steps": {name: f for name, f in theirs.items() if name in converged or _as_good(f, name, converged)},
    }
    result: dict[str, Any] = {}
    for group, members in groups.items():
        fastest = min(members, key=lambda name: members[name].us, default=None)
        result[group] = fastest
        result[f"ratio_to_{group}"] = ours.us / members[fastest].us if fastest else None
        result[f"ratio_to_{group}_least"] = ours.us_min / members[fastest].us_min if fastest else None
    return result


def _as_good(figure: Figure, name: str, converged: dict[str, Figure]) -> bool:
    """Whether a fixed number of steps leaves what the same tool leaves once converged."""
    tool = name.split()[0]
    best = min((f.residual_mm for other, f in converged.items() if other.startswith(tool)), default=-np.inf)
    return figure.residual_mm <= best + CONVERGED_M * 1e3


def lab_records(lab: Lab, wearers: Sequence[Wearer], duration_s: float) -> list[Record]:
    """What the sensors of a lab report, in the order of arrival."""
    simulation = Simulation(lab, tuple(wearers), seed=1, origin_ns=0, duration_s=duration_s)
    records: list[Record] = []
    while (emission := simulation.pop()) is not None:
        if not isinstance(emission.record, Truth):
            records.append(emission.record)
    return records


def wearers(count: int) -> list[Wearer]:
    """People with proportions of their own, each on a spot of their own."""
    result = []
    for number in range(1, count + 1):
        angle = 2.0 * np.pi * number / count
        start = (1.2 * float(np.cos(angle)), 1.2 * float(np.sin(angle))) if count > 1 else (-0.8, 0.0)
        lengths = draw_lengths(number, 1.60 + 0.04 * number)
        motion = scripted_motion(DEFAULT_SCRIPT, lengths, seed=number, start_m=start, heading_rad=angle)
        result.append(Wearer(number, motion))
    return result


def lab_share(duration_s: float) -> dict[str, float]:
    """The simulated lab: processor seconds a simulated second."""
    lab = Lab()
    records = lab_records(lab, wearers(1), duration_s)
    live, found = _run(Pipeline(simulated_rig(lab)), records, range(len(records)))
    # The last record of each moment of the cameras: who waits for all views asks no more often.
    last = {record.measured_ns: i for i, record in enumerate(records) if isinstance(record, Landmarks2D)}
    patient, _ = _run(Pipeline(simulated_rig(lab)), records, set(last.values()))
    span_s = duration_s - LAB_SETTLED_S
    return {
        "lab_core_share": sum(live) / span_s,
        "lab_core_share_taking_in": live[0] / span_s,
        "lab_core_share_publishing": live[1] / span_s,
        "lab_core_share_once_a_frame": sum(patient) / span_s,
        "lab_people": float(found),
    }


def _run(pipeline: Pipeline, records: Sequence[Record], asked: Container[int]) -> tuple[tuple[float, float], int]:
    """Processor seconds in ``take`` and in ``people`` for what was measured once all had settled; how many people.

    The people are asked for after those records, by their place, where they are due.
    """
    take_s = people_s = 0.0
    for index, record in enumerate(records):
        begun = time.process_time()
        due = pipeline.take(record)
        taken = time.process_time()
        if due and index in asked:
            pipeline.people(record)
        if record.measured_ns >= LAB_SETTLED_S * 1e9:
            take_s += taken - begun
            people_s += time.process_time() - taken
    return (take_s, people_s), len(pipeline.bank.people)


def frame_cost_ms(cameras: int, people: int, duration_s: float) -> tuple[float, int]:
    """Processor time of the whole pipeline a synchronised frame of all cameras, and how many people it had."""
    # All records of a moment arrive together, as from a rig whose detector runs them as one batch.
    detector = DetectorParams(jitter_s=0.0, miss_share=0.0)
    lab = Lab(ring=RingParams(count=cameras, radius_m=5.0), detector=detector, imus=None, radars=None)
    records = lab_records(lab, wearers(people), duration_s)
    pipeline = Pipeline(simulated_rig(lab))
    frames = 0
    spent_s = 0.0
    for index, record in enumerate(records):
        last = index + 1 == len(records) or records[index + 1].measured_ns != record.measured_ns
        begun = time.process_time()
        pipeline.take(record)
        if last:
            pipeline.people(record)
        if record.measured_ns >= LAB_SETTLED_S * 1e9:
            spent_s += time.process_time() - begun
            frames += last
    return spent_s / max(frames, 1) * 1e3, len(pipeline.bank.people)


def camera_curve(motion: BodyMotion, repetitions: int) -> dict[int, float]:
    """Our microseconds a frame of so many views of one person: evenly spaced ones of one large ring."""
    ring = frames_of(motion, cameras=max(CAMERAS), duration_s=CURVE_S)
    filters = {}
    for count in CAMERAS:
        names = {camera.name for camera in ring.rig.cameras[:: max(CAMERAS) // count]}
        views = tuple(tuple(record for record in group if record.camera in names) for group in ring.views)
        filters[count] = OurFilter(replace(ring, views=views), learning=False)
    times: dict[int, list[float]] = {count: [] for count in CAMERAS}
    for repetition in range(repetitions + 1):
        for count, contestant in filters.items():
            mean_s = float(np.mean(_timed_frames(contestant, len(ring.times_ns))))
            if repetition:
                times[count].append(mean_s * 1e6)
    return {count: float(np.median(runs)) for count, runs in times.items()}


def update_kinds(frames: Frames) -> dict[str, float]:
    """Microseconds of one update of each kind, applied to a state that has followed the frames."""
    contestant = OurFilter(frames, learning=False)
    last = min(30, len(frames.times_ns) - 1)
    for frame in range(last):
        contestant.solve(frame)
    return kinds_us(contestant, measurements_of(frames.rig, frames.views[last]))


def load_frames(path: Path | None, duration_s: float) -> tuple[Frames, BodyMotion, str]:
    """Frames of a clip from four cameras, its motion and its name; the simulator's wearer where there is no clip.

    Raises:
        ValueError: if the file cannot be used.
    """
    if path is None:
        path = Path(os.environ.get("KINEFUSE_DATA", REPOSITORY.parent / "shared" / "data")) / CLIP
        if not path.is_file():
            motion = wearers(1)[0].motion
            return frames_of(motion, cameras=VIEWS, duration_s=duration_s), motion, "scripted"
    try:
        with np.load(path) as arrays:
            motion = clip_motion(arrays)
    except (OSError, ValueError, BadZipFile) as error:
        raise ValueError(f"{path}: {error}; expected a motion clip such as {CLIP}") from error
    return frames_of(motion, cameras=VIEWS, duration_s=duration_s), motion, path.stem


def measure(clip: Path | None, duration_s: float, repetitions: int) -> dict[str, Any]:
    """All figures."""
    frames, motion, name = load_frames(clip, duration_s)
    rehearse()
    solvers, missing = contestants(frames)
    figures = compare(solvers, frames, repetitions)
    pipeline = {count: frame_cost_ms(VIEWS, count, PIPELINE_S) for count in PEOPLE}
    by_cameras = {count: frame_cost_ms(count, 1, PIPELINE_S)[0] for count in CAMERAS if count > 1}
    return {
        **ratios(figures),
        **lab_share(LAB_S),
        "clip": name,
        "frames": len(frames.times_ns),
        "missing": missing,
        "contestants": {name: asdict(figure) for name, figure in figures.items()},
        "updates_us": update_kinds(frames),
        "filter_us_by_cameras": camera_curve(motion, repetitions),
        "pipeline_ms_by_cameras": by_cameras,
        "pipeline_ms_by_people": {count: cost for count, (cost, _) in pipeline.items()},
        "pipeline_people_found": {count: found for count, (_, found) in pipeline.items()},
    }


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, help="a motion clip (.npz) instead of the walk")
    parser.add_argument("--seconds", type=float, default=6.0, help="of the clip")
    parser.add_argument("--repetitions", type=int, default=7, help="rounds in which everybody has a turn")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if any(os.environ.get(name) != "1" for name in THREADS):
        # The libraries read these when they are loaded, and they are by now.
        command = [sys.executable, "-m", "benchmarks.filter_cost", *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, **dict.fromkeys(THREADS, "1")}, check=False).returncode
    try:
        result = measure(args.clip, args.seconds, args.repetitions)
    except ValueError as error:
        print(f"benchmarks.filter_cost: {error}", file=sys.stderr)
        return 2
    if args.json:
        print_json(result)
    else:
        _print(result)
    return 0


def _print(result: dict[str, Any]) -> None:
    print(f"{result['frames']} frames of {result['clip']}, {VIEWS} views, one thread")
    for name, row in result["contestants"].items():
        steps = f"{row['steps']:.1f}" if np.isfinite(row["steps"]) else "-"
        print(
            f"  {name:28} {row['us']:8.0f} us (least {row['us_min']:.0f}, p99 {row['us_p99']:.0f})  {steps:>4} steps"
            f"  {row['residual_mm']:5.2f} mm off the points  {row['truth_mm']:5.2f} mm off the truth"
        )
    for tool, reason in result["missing"].items():
        print(f"  {tool:28} {reason}")
    for group in ("fastest_ik", "fastest_api", "fewest_steps"):
        if result[group]:
            ratio, least = result[f"ratio_to_{group}"], result[f"ratio_to_{group}_least"]
            print(f"ratio to {group}: {ratio:.2f}, of the lowest times {least:.2f} ({result[group]})")
    print("one update, us: " + ", ".join(f"{kind} {us:.0f}" for kind, us in result["updates_us"].items()))
    print(
        f"simulated lab: {result['lab_core_share']:.1%} of a core"
        f" (taking in {result['lab_core_share_taking_in']:.1%}, publishing {result['lab_core_share_publishing']:.1%});"
        f" asked once a frame {result['lab_core_share_once_a_frame']:.1%}"
    )
    for key in ("filter_us_by_cameras", "pipeline_ms_by_cameras", "pipeline_ms_by_people"):
        print(f"{key}: " + ", ".join(f"{count}: {cost:.3g}" for count, cost in result[key].items()))


if __name__ == "__main__":
    raise SystemExit(main())
