"""How far the filter's bodies are from the truth: on real movement with simulated sensors, and on real cameras.

    python -m benchmarks.filter_accuracy [--split tune|held_out] [--quick] [--only table,bodies,real]
        [--answers causal|lag|session|live] [--stature known|unknown] [--json]

* ``table``: each combination of sensors (``benchmarks.scenarios``) on each clip of the split: mean distance of the 23
  joints from the truth, root-relative (pelvis shifted to where it is) and absolute, by group of joints, and the share
  of time with a person. Blackouts count within the blackout only. With IMUs only, nothing says where the body is nor
  where north is: there the root-relative error after one turn about the vertical is given as well.
  A combination is worse than a part where its mean error, over the times at which both know of a person, is larger by
  more than half a percent, which is what the luck of the noise makes of two equal filters. Unless ``--stature unknown``
  is given, the profile tells the filter the wearer's true height to the centimetre, which helps one camera most.
* ``bodies``: statures from two cameras in 10 s, with proportions that vary (needs no data pack).
* ``real``: the single person of Pose2Sim, BODY_25B landmarks, against the reference TRC, as ``kinefuse evaluate`` does.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import scenarios
from benchmarks.scenarios import MM_PER_M, SCENARIOS, Errors, mean_mm, title
from fusion.body.catalog import landmark_positions, landmark_set
from fusion.body.kinematics import forward_kinematics
from fusion.body.skeleton import COORDINATES
from fusion.metrics import bone_spread_m
from fusion.pipeline import Pipeline
from fusion.records import Float64, Landmarks2D, People
from fusion.rig import Rig
from fusion.synthesis.actions import DEFAULT_SCRIPT
from fusion.synthesis.motion import draw_lengths
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.simulation import Lab
from nodes.commands.arguments import print_json, print_table, say

SECTIONS = ("table", "bodies", "real")
WORSE = 1.005
"""A combination is worse than a part from this ratio of errors on."""
SHARED_S = 0.5
"""Errors are compared where both filters know of a person for at least so long."""

# ---------------------------------------------------------------- the table


def measure_all(
    clips: Sequence[str],
    seconds: float,
    names: Sequence[str],
    jobs: int,
    answers: str = "causal",
    *,
    stature_known: bool = True,
) -> list[Errors]:
    """Errors of every scenario on every clip, clips spread over processes."""
    if jobs == 1:
        parts = [scenarios.measured(clip, seconds, names, answers, stature_known=stature_known) for clip in clips]
    else:
        with ProcessPoolExecutor(jobs) as pool:
            waiting = [
                pool.submit(scenarios.measured, clip, seconds, names, answers, stature_known=stature_known)
                for clip in clips
            ]
            parts = [item.result() for item in waiting]
    return [errors for part in parts for errors in part]


def figures_of(parts: Sequence[Errors]) -> dict[str, Any]:
    """One scenario's figures over all clips, each time of each clip counted once."""
    relative = np.concatenate([part.root_relative_m for part in parts])
    absolute = np.concatenate([part.absolute_m for part in parts])
    placed = SCENARIOS[parts[0].scenario].placed
    columns = scenarios.group_columns()
    return {
        "title": title(parts[0].scenario),
        "root_relative_mm": mean_mm(relative),
        "absolute_mm": mean_mm(absolute) if placed else None,
        "heading_aligned_mm": mean_mm(np.concatenate([part.heading_aligned_m for part in parts])),
        "p95_root_relative_mm": _percentile_mm(relative, 95.0),
        "end_root_relative_mm": mean_mm(np.concatenate([_last(part) for part in parts])),
        "coverage": float(np.mean([part.coverage for part in parts])),
        "people": float(np.concatenate([part.people for part in parts]).mean()),
        "groups_root_relative_mm": {group: mean_mm(relative[:, index]) for group, index in columns.items()},
        "groups_absolute_mm": {group: mean_mm(absolute[:, index]) for group, index in columns.items()}
        if placed
        else None,
        "clips_root_relative_mm": {part.clip: mean_mm(part.root_relative_m) for part in parts},
        "clips_absolute_mm": {part.clip: mean_mm(part.absolute_m) for part in parts} if placed else None,
    }


_LAST_NS = 200_000_000


def _last(part: Errors) -> Float64:
    """Root-relative errors of the last 0.2 s: where a blackout's end shows."""
    return np.asarray(part.root_relative_m[part.times_ns > part.times_ns[-1] - _LAST_NS])


def _percentile_mm(values_m: Float64, level: float) -> float:
    finite = values_m[np.isfinite(values_m)]
    return float(np.percentile(finite, level)) * MM_PER_M if finite.size else float("nan")


def ratio(first: Sequence[Errors], second: Sequence[Errors], figure: str) -> float:
    """Mean error of one scenario over that of another, over clips and times at which both know of a person.

    Args:
        first: one scenario's errors.
        second: the other's, of the same clips in the same order.
        figure: field of ``Errors``.
    """
    sums = np.zeros(2)
    shared = 0
    for one, other in zip(first, second, strict=True):
        common, rows, columns = np.intersect1d(one.times_ns, other.times_ns, return_indices=True)
        del common
        values = np.stack([getattr(one, figure)[rows].mean(axis=1), getattr(other, figure)[columns].mean(axis=1)])
        both = np.isfinite(values).all(axis=0)
        sums += values[:, both].sum(axis=1)
        shared += int(both.sum())
    rate_hz = Lab().detector.rate_hz
    return float(sums[0] / sums[1]) if shared >= SHARED_S * rate_hz and sums[1] > 0.0 else float("nan")


def worse_than_parts(results: dict[str, list[Errors]]) -> tuple[dict[str, dict[str, float]], list[dict[str, Any]]]:
    """Ratios of each combination to each of its parts, and where a combination is worse than its best part."""
    ratios: dict[str, dict[str, float]] = {}
    worse: list[dict[str, Any]] = []
    for name in results:
        for part in _subsets(name):
            if part not in results:
                continue
            for figure in _comparable(name, part):
                value = ratio(results[name], results[part], figure)
                ratios.setdefault(name, {})[f"{part}:{figure.removesuffix('_m')}"] = value
                if value > WORSE:
                    worse.append(
                        {"combination": name, "part": part, "figure": figure.removesuffix("_m"), "ratio": value}
                    )
    return ratios, worse


def _subsets(name: str) -> list[str]:
    """Scenarios whose sensors are some, but not all, of a combination's."""
    parts = set(SCENARIOS[name].parts)
    return [other for other, scenario in SCENARIOS.items() if set(scenario.parts or (other,)) < parts]


def _comparable(name: str, part: str) -> tuple[str, ...]:
    """Errors that both scenarios have a right to be judged by."""
    if SCENARIOS[name].placed and SCENARIOS[part].placed:
        return ("root_relative_m", "absolute_m")
    # Where north is open, the part's heading is not held against it, nor is the combination's.
    return ("heading_aligned_m",)


def table(
    split: str, *, quick: bool, jobs: int, answers: str, stature_known: bool, only: Sequence[str] = ()
) -> dict[str, Any]:
    """The whole table of a split."""
    clips = scenarios.SPLITS[split][: scenarios.QUICK_CLIPS] if quick else scenarios.SPLITS[split]
    seconds = scenarios.QUICK_SECONDS if quick else scenarios.SECONDS
    names = [name for name in SCENARIOS if not only or name in only]
    begun = time.perf_counter()
    everything = measure_all(clips, seconds, names, jobs, answers, stature_known=stature_known)
    results = {name: [part for part in everything if part.scenario == name] for name in names}
    ratios, worse = worse_than_parts(results)
    figures = {name: figures_of(parts) for name, parts in results.items()}
    return {
        "split": split,
        "clips": list(clips),
        "seconds": seconds,
        "answers": answers,
        "stature_known": stature_known,
        "wall_s": time.perf_counter() - begun,
        "scenarios": figures,
        "ratios_to_parts": ratios,
        "combination_worse_than_best_part": worse,
        "one_camera_imu_ratio": ratios.get("camera_1+imu", {}).get("camera_1:root_relative"),
        "blackout_imu_mm": figures.get("blackout+imu", {}).get("root_relative_mm"),
        "blackout_imu_end_mm": figures.get("blackout+imu", {}).get("end_root_relative_mm"),
    }


# ---------------------------------------------------------------- bodies

STATURES_M = (1.45, 1.55, 1.65, 1.75, 1.85, 1.95, 2.05)
_BODY_SECONDS = 10.0


def standing_height_m(lengths_m: Float64) -> float:
    """Height of a body with these lengths [11], upright: from under the heels to the top of the head."""
    positions, quaternions = forward_kinematics(np.zeros(COORDINATES), lengths_m)
    names = landmark_set("body_25b").landmark_names
    points = landmark_positions("body_25b", positions, quaternions, lengths_m)
    return float(points[names.index("head_top"), 2] - points[names.index("left_heel"), 2])


def body(stature_m: float, seed: int) -> dict[str, float]:
    """What two cameras have made of one body in 10 s."""
    lengths = draw_lengths(seed, stature_m)
    motion = scripted_motion(DEFAULT_SCRIPT, lengths, seed=seed)
    recording = scenarios.record(f"body {stature_m}", motion, _BODY_SECONDS, Lab(imus=None, radars=None), seed)
    trace = scenarios.run(recording, SCENARIOS["cameras_2"]).trace()
    truth = standing_height_m(lengths)
    found = standing_height_m(trace.lengths_m[-1]) if trace.known[-1] else float("nan")
    locked = np.flatnonzero(trace.locked)
    return {
        "stature_m": truth,
        "found_m": found,
        "error_share": found / truth - 1.0,
        "largest_length_error_share": float(np.abs(trace.lengths_m[-1] / lengths - 1.0).max()),
        "locked_after_s": float(trace.times_ns[locked[0]]) / scenarios.NS_PER_S if locked.size else float("nan"),
        "spread_after_lock_mm": bone_spread_m(trace.positions_m[locked]) * MM_PER_M,
    }


def bodies(*, quick: bool) -> dict[str, Any]:
    """Statures from short to tall, two sets of proportions each."""
    statures = STATURES_M[::3] if quick else STATURES_M
    rows = [body(stature, seed) for stature in statures for seed in ((1,) if quick else (1, 2))]
    return {
        "bodies": rows,
        "stature_error_share": float(np.max(np.abs([row["error_share"] for row in rows]))),
        "bone_spread_after_lock_mm": float(np.max([row["spread_after_lock_mm"] for row in rows])),
    }


# ---------------------------------------------------------------- real cameras


def real() -> dict[str, Any]:
    """Pose2Sim's single person: each kind of answer against the reference, by ``kinefuse evaluate``'s rules."""
    from calibration.profile import load_profile
    from nodes.commands.evaluate import evaluate
    from nodes.sessions.pose2sim import import_pose2sim
    from nodes.sessions.reader import SessionReader

    folder = scenarios.data_folder() / "pose2sim" / "single"
    reference = str(folder / "reference" / "Balancing_for_IK.trc")
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        session = Path(home) / "imported.mcap"
        import_pose2sim(folder, session)
        with SessionReader(session) as reader:
            imported = [envelope.record for _, envelope in reader.envelopes()]
            profile = reader.profile_text or ""
        records = [item for item in imported if isinstance(item, Landmarks2D)]
        calibration = Path(home) / "profile.toml"
        calibration.write_text(profile)
        for name, answers in _real_answers(load_profile(calibration), records).items():
            path = Path(home) / f"{len(figures)}.mcap"
            _write_session(path, profile, records, answers)
            found = evaluate(path, truth=reference)
            figures[name] = {
                key: found[key]
                for key in ("median_mm", "mpjpe_mm", "reprojection_px", "coverage", "bone_spread_mm", "jitter_m_s3")
            }
    return figures


def _real_answers(rig: Rig, records: Sequence[Landmarks2D]) -> dict[str, list[People]]:
    """Answers of each kind, one for each time of the recording."""
    times = np.array(sorted({record.measured_ns for record in records}), dtype=np.int64)
    whole = Pipeline(rig, scenarios.keeping_journals())
    return {
        "causal": scenarios.ask(whole, records, times),
        f"lag of {scenarios.LAG_S:g} s": scenarios.ask(Pipeline(rig), records, times, scenarios.lagged),
        "whole session": scenarios.session_answers(whole, times),
    }


def _write_session(path: Path, profile: str, records: Sequence[Landmarks2D], answers: Sequence[People]) -> None:
    """A session of landmarks and people, for ``evaluate`` to read."""
    from nodes.node import Envelope
    from nodes.sessions.writer import SessionFacts, SessionWriter

    facts = SessionFacts(name="real", time="data", profile_name="profile.toml", profile_text=profile)
    writer = SessionWriter(path, facts)
    try:
        for number, record in enumerate(records):
            envelope = Envelope(f"{record.camera}/landmarks", number, record.measured_ns, 0, record)
            writer.write(envelope, record.measured_ns)
        for number, people in enumerate(answers):
            writer.write(Envelope("fusion/people", number, people.measured_ns, 0, people), people.measured_ns)
    finally:
        writer.close({"end": "benchmark"})


# ---------------------------------------------------------------- command


def print_figures(figures: dict[str, Any]) -> None:
    """Write the figures as tables."""
    if "table" in figures:
        _print_table(figures["table"])
    if "bodies" in figures:
        rows: list[tuple[str, ...]] = [
            (f"{row['stature_m']:.3f}", "m", f"{row['found_m']:.3f}", f"{100 * row['error_share']:.2f}",
             f"{100 * row['largest_length_error_share']:.1f}", f"{row['locked_after_s']:.2f}",
             f"{row['spread_after_lock_mm']:.4f}")
            for row in figures["bodies"]["bodies"]
        ]  # fmt: skip
        print_table(("stature", "", "found", "error %", "worst length %", "locked after s", "bone spread mm"), rows)
        print()
    if "real" in figures:
        columns = ("median_mm", "mpjpe_mm", "reprojection_px", "coverage", "bone_spread_mm", "jitter_m_s3")
        lines = [(name, "", *(_shown(row[key]) for key in columns)) for name, row in figures["real"].items()]
        print_table(("pose2sim single", "", *columns), lines)


def _print_table(figures: dict[str, Any]) -> None:
    groups = ("trunk", "shoulders", "elbows", "wrists", "hips", "knees", "ankles")
    rows: list[tuple[str, ...]] = []
    for row in figures["scenarios"].values():
        values = (row["root_relative_mm"], row["absolute_mm"], row["heading_aligned_mm"], row["p95_root_relative_mm"])
        by_group = (row["groups_root_relative_mm"][group] for group in groups)
        cells = [_shown(value) for value in (*values, *by_group)]
        rows.append((row["title"], "", f"{row['coverage']:.2f}", f"{row['people']:.2f}", *cells))
    print(f"{figures['split']}: {', '.join(figures['clips'])}; {figures['seconds']:g} s each; {figures['answers']}")
    print(f"stature {'given to the filter' if figures['stature_known'] else 'not known'};", end=" ")
    print("errors in mm, root-relative where nothing else is said")
    print_table(("sensors", "", "cover", "people", "mean", "absolute", "heading al.", "p95", *groups), rows)
    print()
    print(f"one camera with IMUs / one camera: {_shown(figures['one_camera_imu_ratio'], 3)}")
    print(
        f"blackout with IMUs: mean {_shown(figures['blackout_imu_mm'])} mm, "
        f"last 0.2 s {_shown(figures['blackout_imu_end_mm'])} mm"
    )
    worse = figures["combination_worse_than_best_part"]
    print(f"combinations worse than a part: {len(worse)}")
    for item in worse:
        print(f"  {item['combination']} / {item['part']}, {item['figure']}: {item['ratio']:.3f}")
    print(f"took {figures['wall_s']:.0f} s\n")


def _shown(value: float | None, digits: int = 1) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def parser(description: str | None) -> argparse.ArgumentParser:
    """Arguments that the benchmarks of the filter share."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--split", choices=tuple(scenarios.SPLITS), default="held_out", help="which clips")
    result.add_argument("--quick", action="store_true", help="three clips of 6 s: to tune with")
    result.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    result.add_argument("--json", action="store_true", help="print one JSON object")
    return result


def sections(text: str, allowed: Sequence[str]) -> list[str]:
    """The sections of a list with commas.

    Raises:
        SystemExit: naming the sections that there are.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in allowed]
    if unknown or not names:
        raise SystemExit(f"--only: {', '.join(unknown) or 'nothing'}; allowed: {', '.join(allowed)}")
    return names


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--only", default=",".join(SECTIONS), help=f"some of {', '.join(SECTIONS)}")
    arguments.add_argument("--scenarios", default="", help="some scenarios only, by name, with commas")
    arguments.add_argument("--answers", choices=tuple(scenarios.RUNS), default="causal", help="what is asked for")
    arguments.add_argument(
        "--stature", choices=("known", "unknown"), default="known", help="whether a profile tells it"
    )
    given = arguments.parse_args()
    wanted = sections(given.only, SECTIONS)
    some = sections(given.scenarios, tuple(SCENARIOS)) if given.scenarios else []
    figures: dict[str, Any] = {}
    if "table" in wanted:
        figures["table"] = table(
            given.split,
            quick=given.quick,
            jobs=given.jobs,
            answers=given.answers,
            stature_known=given.stature == "known",
            only=some,
        )
        for key in ("combination_worse_than_best_part", "one_camera_imu_ratio", "blackout_imu_mm"):
            figures[key] = figures["table"][key]
    if "bodies" in wanted:
        figures["bodies"] = bodies(quick=given.quick)
    if "real" in wanted:
        try:
            figures["real"] = real()
        except FileNotFoundError as error:
            say(f"real: {error}")
    if given.json:
        print_json(figures)
    else:
        print_figures(figures)


if __name__ == "__main__":
    main()
