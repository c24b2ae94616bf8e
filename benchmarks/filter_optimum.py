"""How far the filter is from the best that its own model can say: the batch maximum a posteriori.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.filter_optimum [--split tune|held_out] [--quick] [--jobs N] [--json]

The blocks are small: with several threads in one factorisation it takes many times as long.

On three clips of 6 s, with four cameras and six IMUs and with two cameras, four answers on the same measurements:

* ``causal``: the filter's state at each exposure, from all that was measured up to it;
* ``lag``: its state 100 ms ago, from all that was measured up to now;
* ``smoother``: the smoother of whole sessions (``fusion.filter.tracks``);
* ``map``: the trajectory of the largest posterior density of all measurements at once (``benchmarks.batch``, which
  shares the model with the filter, but no solver).

A first run of the whole pipeline tells which measurements are the wearer's, how the filter starts, and the lengths on
which it locks. All four answers then begin at that start with those lengths known: what is compared is the estimate of
the pose alone. Times count from 0.5 s after the start to 0.1 s before the end, where all four exist.

Ratios are means of the joints' errors over that of ``map``. ``causal_ratio``, ``lag_ratio`` and ``smoother_ratio`` are
of all clips and both sets of sensors together, nothing aligned; ``root_relative`` has them after the pelvis has been
put in its place, ``rms`` for root mean squares. An error is partly one that no estimator can take away (landmarks are
not where the joints are, lengths are estimates), and equal in all four: ``to_map_mm`` says how far each answer is from
``map`` itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import scenarios
from benchmarks.batch import Batch, BatchParams, PersonProblem, best_track, moments_of
from benchmarks.filter_accuracy import parser
from benchmarks.scenarios import MM_PER_M, NS_PER_S, SCENARIOS, Recording, Scenario, distances_m, root_relative_m, title
from fusion.body.kinematics import forward_kinematics_batch
from fusion.filter.history import FilterParams, PersonFilter
from fusion.filter.state import LENGTH, POSE, RATE, State, empty_state, retract
from fusion.filter.system import Measurement
from fusion.filter.tracks import Track, smooth_track
from fusion.filter.update import Updater
from fusion.metrics import SETTLING_S
from fusion.people import PeopleParams
from fusion.pipeline import PipelineParams
from fusion.records import Float64, Int64
from nodes.commands.arguments import print_json, print_table

SENSORS = ("cameras_4+imu", "cameras_2")
CLIPS = 3
SECONDS, QUICK_SECONDS = 6.0, 2.5
LAG_S = 0.1
ANSWERS = ("causal", "lag", "smoother", "map")
GOALS = {"causal_ratio": 1.5, "lag_ratio": 1.15}

PARAMS = FilterParams(keeps_journal=True)


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What all four answers are made from."""

    start: State
    """Lengths known."""
    journal: tuple[Measurement, ...]
    times_ns: Int64
    """[T] exposures that count."""


def given(recording: Recording, scenario: Scenario) -> Given:
    """Run the pipeline once: the wearer's measurements, the start, and the lengths that it ends with.

    Raises:
        ValueError: if nobody was found.
    """
    done = scenarios.run(recording, scenario, PipelineParams(people=PeopleParams(filter=PARAMS)))
    people = done.pipeline.bank.people
    if not people:
        raise ValueError(f"{recording.name}, {scenario.name}: nobody was found")
    person = max(people, key=lambda known: len(known.filter.journal or ()))
    start = person.filter.start.copy()
    start.nominal[LENGTH] = person.filter.state.nominal[LENGTH]
    start.lock_lengths()
    journal = tuple(person.filter.journal or ())
    last_ns = max(measurement.time_ns for measurement in journal)
    exposures = recording.exposures_ns
    counted = exposures >= start.time_ns + SETTLING_S * NS_PER_S
    counted &= exposures + LAG_S * NS_PER_S <= last_ns
    return Given(start, journal, exposures[counted])


def filtered(known: Given, lag_s: float) -> Iterator[State]:
    """The filter's state at each time, from all that was measured until so long after it; one state that changes."""
    start = known.start
    person = PersonFilter(PARAMS, _updater(start), start)
    waiting = sorted(known.journal, key=lambda measurement: measurement.time_ns)
    position, out = 0, empty_state(start.imus)
    for time_ns in known.times_ns.tolist():
        until_ns = time_ns + int(lag_s * NS_PER_S)
        while position < len(waiting) and waiting[position].time_ns <= until_ns:
            person.apply(waiting[position])
            position += 1
        # No measurement need be at the very time; then what the filter says is a prediction.
        yield person.smoothed(time_ns, out)


def _updater(start: State) -> Updater:
    return Updater(PARAMS.update, PARAMS.anatomy, len(start.nominal), PARAMS.contact)


def smoothed(known: Given, times_ns: Int64) -> Float64:
    """Nominals [T, n] of the smoother of whole sessions; before its first answer, that one taken back by its rates."""
    track = Track(1, known.start, known.journal)
    states = smooth_track(track, PARAMS, _updater(known.start), times_ns)
    answers = {state.time_ns: state.nominal.copy() for state in states}
    first_ns = min(answers)
    for time_ns in times_ns[times_ns < first_ns].tolist():
        back = np.zeros_like(answers[first_ns])
        back[POSE] = answers[first_ns][RATE] * ((time_ns - first_ns) / NS_PER_S)
        answers[time_ns] = retract(answers[first_ns], back)
    return np.array([answers[time_ns] for time_ns in times_ns.tolist()])


def best(known: Given, params: BatchParams | None = None) -> tuple[PersonProblem, Batch]:
    """The batch, from the smoother's answer on."""
    moments = moments_of(known.start, known.journal, known.times_ns, PARAMS, _updater(known.start))
    problem = PersonProblem(known.start, moments, PARAMS)
    times = np.array([moment.time_ns for moment in moments], dtype=np.int64)
    return problem, best_track(problem, smoothed(known, times), params)


def positions_m(nominals: Float64) -> Float64:
    """Joints [T, 23, 3] of nominals [T, n]."""
    placed, _ = forward_kinematics_batch(nominals[:, POSE], np.exp(nominals[0, LENGTH]))
    return placed


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One clip with one set of sensors."""

    clip: str
    scenario: str
    absolute_m: Mapping[str, Float64]
    """[T, 23] error of each joint, by answer."""
    root_relative_m: Mapping[str, Float64]
    to_map_m: Mapping[str, Float64]
    """[T, 23] from the joints of ``map``."""
    rounds: tuple[dict[str, Any], ...]
    """How the batch was reached."""
    smoother_cost: float
    """Of the smoother's trajectory, with the contacts of the last round."""
    map_cost: float


def compare(clip: str, seconds: float, sensors: str) -> Compared:
    """All four answers on one clip."""
    recording = scenarios.clip_recording(clip, seconds)
    known = given(recording, SCENARIOS[sensors])
    problem, batch = best(known)
    whole = smoothed(known, batch.times_ns)
    rows = np.searchsorted(batch.times_ns, known.times_ns)
    nominals = {
        "causal": np.array([state.nominal.copy() for state in filtered(known, 0.0)]),
        "lag": np.array([state.nominal.copy() for state in filtered(known, LAG_S)]),
        "smoother": whole[rows],
        "map": batch.states[rows],
    }
    joints = {name: positions_m(values) for name, values in nominals.items()}
    truth, _ = recording.truth(known.times_ns)
    return Compared(
        clip=clip,
        scenario=sensors,
        absolute_m={name: distances_m(values, truth) for name, values in joints.items()},
        root_relative_m={name: root_relative_m(values, truth) for name, values in joints.items()},
        to_map_m={name: distances_m(values, joints["map"]) for name, values in joints.items()},
        rounds=tuple(
            {
                "start_cost": done.start_cost,
                "cost": done.cost,
                "iterations": done.iterations,
                "last_step": done.last_step,
                "converged": done.converged,
            }
            for done in batch.rounds
        ),
        smoother_cost=problem.cost(whole),
        map_cost=batch.rounds[-1].cost,
    )


def _mean_mm(parts: Sequence[Mapping[str, Float64]], name: str, power: int = 1) -> float:
    values = np.concatenate([part[name].ravel() for part in parts])
    return float(np.mean(values**power) ** (1.0 / power)) * MM_PER_M


def _ratios(values: Mapping[str, float]) -> dict[str, float]:
    return {f"{name}_ratio": values[name] / values["map"] for name in ANSWERS[:-1]}


def figures_of(parts: Sequence[Compared]) -> dict[str, Any]:
    """Errors and ratios of some comparisons together; each joint at each time counts once."""
    absolute = [part.absolute_m for part in parts]
    relative = [part.root_relative_m for part in parts]
    result: dict[str, Any] = {}
    for key, errors in (("", absolute), ("root_relative", relative)):
        means = {name: _mean_mm(errors, name) for name in ANSWERS}
        squares = {name: _mean_mm(errors, name, 2) for name in ANSWERS}
        figures = {**_ratios(means), "mean_mm": means, "rms_mm": squares, "rms": _ratios(squares)}
        result |= figures if not key else {key: figures}
    result["to_map_mm"] = {name: _mean_mm([part.to_map_m for part in parts], name) for name in ANSWERS[:-1]}
    return result


def optimum(split: str, *, quick: bool, jobs: int) -> dict[str, Any]:
    """The whole comparison."""
    clips = scenarios.SPLITS[split][:1] if quick else scenarios.SPLITS[split][:CLIPS]
    seconds = QUICK_SECONDS if quick else SECONDS
    tasks = [(clip, seconds, sensors) for sensors in SENSORS for clip in clips]
    if jobs == 1:
        parts = [compare(*task) for task in tasks]
    else:
        with ProcessPoolExecutor(max_workers=min(jobs, len(tasks))) as pool:
            parts = [item.result() for item in [pool.submit(compare, *task) for task in tasks]]
    whole = figures_of(parts)
    return {
        **whole,
        "split": split,
        "clips": list(clips),
        "seconds": seconds,
        "sensors": {name: figures_of([part for part in parts if part.scenario == name]) for name in SENSORS},
        "runs": [
            {
                "clip": part.clip,
                "sensors": part.scenario,
                **figures_of([part]),
                "batch": {
                    "rounds": list(part.rounds),
                    "converged": part.rounds[-1]["converged"],
                    "cost": part.map_cost,
                    "smoother_cost": part.smoother_cost,
                },
            }
            for part in parts
        ],
        "converged": all(part.rounds[-1]["converged"] for part in parts),
    }


def print_figures(figures: dict[str, Any]) -> None:
    """Write the figures as a table."""
    print(f"{figures['split']}: {', '.join(figures['clips'])}; {figures['seconds']:g} s each")
    rows = [_row(run["clip"], title(run["sensors"]), run) for run in figures["runs"]]
    rows += [_row("all", title(name), figures["sensors"][name]) for name in SENSORS]
    rows.append(_row("all", "", figures))
    ratios = tuple(name for name in ANSWERS[:-1])
    heading = ("clip", "sensors", "MAP mm", *ratios, "MAP mm, root", *ratios, "to MAP mm", *ratios[1:])
    print_table(heading, rows)
    print("columns of the answers: error over that of MAP, absolute, then root-relative; then distance to MAP in mm")
    for key, goal in GOALS.items():
        print(f"{key} {figures[key]:.3f}, root-relative {figures['root_relative'][key]:.3f} (goal: at most {goal})")
    for run in figures["runs"]:
        batch = run["batch"]
        iterations = "+".join(str(done["iterations"]) for done in batch["rounds"])
        print(
            f"{run['clip']}, {title(run['sensors'])}: {iterations} iterations, cost {batch['cost']:.3f} "
            f"(smoother {batch['smoother_cost']:.3f}), last step {batch['rounds'][-1]['last_step']:.1e}, "
            f"converged {batch['converged']}"
        )


def _row(clip: str, sensors: str, figures: dict[str, Any]) -> tuple[str, ...]:
    relative = figures["root_relative"]
    return (
        clip,
        sensors,
        f"{figures['mean_mm']['map']:.2f}",
        *(f"{figures[f'{name}_ratio']:.3f}" for name in ANSWERS[:-1]),
        f"{relative['mean_mm']['map']:.2f}",
        *(f"{relative[f'{name}_ratio']:.3f}" for name in ANSWERS[:-1]),
        *(f"{figures['to_map_mm'][name]:.2f}" for name in ANSWERS[:-1]),
    )


def main() -> None:
    arguments = parser(__doc__)
    asked = arguments.parse_args()
    figures = optimum(asked.split, quick=asked.quick, jobs=asked.jobs)
    if asked.json:
        print_json(figures)
    else:
        print_figures(figures)


if __name__ == "__main__":
    main()
