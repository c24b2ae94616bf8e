"""The filter's process noise from motion clips: ``python -m training.process --data DIR [--json] [--write]``.

Fits on the clips to learn from, judges on those that are held out beside the
process that was set by hand, and with ``--write`` generates
``fusion/filter/motion_table.py``. DIR is the data pack's folder, with ``motion/``.
About a minute. ``docs/process.md`` has the derivation and the figures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fusion.body.limits import resting_coordinates
from training.clips import FIT, HELD_OUT
from training.motion_table import render, rounded
from training.process_check import all_scores, hand_set, left_out_gains, pose_score, shares, uncorrelated
from training.process_fit import FALLBACKS, HORIZONS_S, MotionFit, fit
from training.tracks import GROUPS, Track, load_tracks

TABLE_PATH = Path(__file__).resolve().parents[1] / "fusion" / "filter" / "motion_table.py"
_SHRINKAGES = (0.0, 0.05, 0.1, 0.2, 0.4)


def report(fitted: MotionFit, held_out: Mapping[str, Track]) -> dict[str, Any]:
    """All figures: the fit of each group, its scores and those of the processes it is compared with."""
    model = fitted.model
    processes = {"hand-set": hand_set(resting_coordinates()), "independent": uncorrelated(model), "correlated": model}
    scores = {name: all_scores(process, held_out) for name, process in processes.items()}
    groups = {}
    for group, columns in GROUPS.items():
        i = columns[-1]
        groups[group] = {
            "density": float(model.density[i]),
            "decay_s": float(model.decay_s[i]),
            "rest_rate": float(model.return_rate[i]),
            "rest": float(model.rest[i]),
            "pose_std": float(fitted.pose_std[i]) if np.isfinite(fitted.pose_std[i]) else None,
            "by_hand": group in FALLBACKS,
        }
    return {
        "groups": groups,
        "held_out": {name: [asdict(one) for one in whole] for name, (whole, _) in scores.items()},
        "held_out_by_group": {
            name: {group: [asdict(one) for one in each] for group, each in scores[name][1].items()}
            for name in ("hand-set", "independent")
        },
        "poses": pose_score(fitted, held_out),
        "shares": [asdict(share) for share in shares(model, held_out)],
    }


def as_text(figures: Mapping[str, Any]) -> str:
    """The figures as tables in Markdown."""
    lines = [
        "| group | density | decay s | rest rate 1/s | rest | pose std | by hand |",
        "|---|---|---|---|---|---|---|",
    ]
    for group, row in figures["groups"].items():
        cells = (
            "" if row[key] is None else f"{row[key]:.3g}"
            for key in ("density", "decay_s", "rest_rate", "rest", "pose_std")
        )
        lines.append(f"| {group} | {' | '.join(cells)} | {'yes' if row['by_hand'] else ''} |")
    lines += [
        "",
        "| process | horizon ms | normalised square | inside 95 % | nats per coordinate |",
        "|---|---|---|---|---|",
    ]
    for name, scores in figures["held_out"].items():
        lines += [f"| {name} | {_cells(one)} |" for one in scores]
    lines += ["", "| group | process | " + " | ".join(f"{h * 1e3:.0f} ms" for h in HORIZONS_S) + " |"]
    lines.append("|---|---|" + "---|" * len(HORIZONS_S))
    for group in figures["held_out_by_group"]["independent"]:
        for name, scores in figures["held_out_by_group"].items():
            lines.append(
                f"| {group} | {name} | {' | '.join(_pair(one['normalised_square']) for one in scores[group])} |"
            )
    lines += ["", "| rate of | gyroscopes on | without rad/s | independent | correlated | ratio |"]
    lines.append("|---|---|---|---|---|---|")
    for share in figures["shares"]:
        values = " | ".join(f"{share[key]:.3f}" for key in ("without", "independent", "correlated", "ratio"))
        lines.append(f"| {share['wanted']} | {', '.join(share['worn_on'])} | {values} |")
    poses = figures["poses"]
    lines += ["", f"poses: normalised square {poses['normalised_square']:.2f}, correlation gains "]
    lines[-1] += f"{poses['correlation_gain_nats']:.2f} nats per coordinate"
    return "\n".join(lines)


def _pair(pair: Sequence[float]) -> str:
    return f"{pair[0]:.2f} / {pair[1]:.2f}"


def _cells(one: Mapping[str, Any]) -> str:
    inside = " / ".join(f"{100.0 * value:.1f}" for value in one["inside_95"])
    return (
        f"{one['horizon_s'] * 1e3:.0f} | {_pair(one['normalised_square'])} | {inside} | {_pair(one['log_likelihood'])}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Fit the filter's process noise to motion clips.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data pack, with motion/")
    parser.add_argument("--json", action="store_true", help="print figures as JSON, not as tables")
    parser.add_argument("--write", action="store_true", help=f"write {TABLE_PATH.name}")
    parser.add_argument("--leave-out", action="store_true", help="only try shrinkages, leaving out each activity")
    chosen = parser.parse_args(arguments)
    tracks = load_tracks(chosen.data, FIT)
    fitted = rounded(fit(tracks))
    figures: dict[str, Any]
    if chosen.leave_out:
        gains = left_out_gains(tracks, fitted.model, _SHRINKAGES)
        figures = {"left_out_gain_nats": {str(amount): gain for amount, gain in gains.items()}}
        print(json.dumps(figures) if chosen.json else "\n".join(f"{a:4.2f}  {gain:.4f}" for a, gain in gains.items()))
        return
    if chosen.write:
        TABLE_PATH.write_text(render(fitted), encoding="utf-8")
    figures = report(fitted, load_tracks(chosen.data, HELD_OUT))
    print(json.dumps(figures) if chosen.json else as_text(figures))


if __name__ == "__main__":
    main()
