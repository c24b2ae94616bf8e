"""How well the part-based inertial network tells held-out movement, beside others that see the same six sensors.

    python -m benchmarks.imu_network [--licence permissive|non-commercial] [--network NAME|FILE.npz] [--seeds N]
        [--json]

Whole clips that nothing was learned from or chosen by (``training/clips.py``, ``training/imu/split.toml``), synthetic
sensors: ``worn`` (calibration, soft tissue, heading and inclination errors, noise, losses, a start that knows nothing)
and ``ideal`` (no errors, first pose known, as in papers). Methods:

* ``part_based``: the shipped weights in the runtime of the fusion node;
* ``whole_body``: one velocity and one pose net of the same kind and, together, the same number of parameters, trained
  with the same data, seed and steps (``kinefuse train imu OUT --whole-body``);
* ``nearest_segment``: each segment copies a sensed neighbour, the better one of its two sides;
* ``mean_pose``: the mean pose of the training clips.

Figures: ``docs/metrics.md``. ``memory`` plays a clip there and back for ten minutes, to see whether a state that goes
on for much longer than any in training still tells as well as a fresh one. Needs the data pack.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scenarios import data_folder, there_and_back
from fusion.estimators.inertial.layout import FRAME_RATE_HZ
from nodes.commands.arguments import print_json, print_table
from nodes.models.inertial import DEFAULT, arrays_of, load
from training.clips import load_motion
from training.imu.judge import (
    CONDITIONS,
    Method,
    coverage,
    figures_of,
    mean_pose,
    nearest_segment,
    part_based,
    table,
    takes_of,
    whole_body,
)
from training.imu.movements import Licence, Movement, movements
from training.imu.takes import Take

WHOLE_BODY = Path(__file__).resolve().parent / "weights" / "imu-whole-body.npz"
SEEDS = 3
_LEARNED_EVERY = 3
"""One training clip in so many tells the mean pose and which neighbour is nearer."""
_NON_COMMERCIAL_EACH = 2
"""Clips of each kind of movement of a held-out style."""
MEMORY_CLIP, MEMORY_S = "dm_long_walk3", 600.0


def methods(network: str, data: Path) -> dict[str, Method]:
    """All that are compared."""
    learned = takes_of(movements(data, "train", "permissive")[::_LEARNED_EVERY], "ideal", (1,))
    found = {"part_based": part_based(load(network))}
    if WHOLE_BODY.is_file():
        found["whole_body"] = whole_body(arrays_of(WHOLE_BODY))
    return {**found, "nearest_segment": nearest_segment(learned), "mean_pose": mean_pose(learned)}


def figures(network: str, licence: Licence, seeds: int, data: Path) -> dict[str, Any]:
    """The table: the ``worn`` figures of each method at the top, all under their condition."""
    judged = movements(data, "test", licence, limit=_NON_COMMERCIAL_EACH)
    groups: dict[str, list[Movement]] = {}
    for movement in judged:
        groups.setdefault("held_out" if movement.group == "held_out" else "other_styles", []).append(movement)
    compared = methods(network, data)
    result: dict[str, Any] = {"network": network, "licence": licence, "seeds": seeds}
    for group, found in groups.items():
        part: dict[str, Any] = {"clips": [movement.name for movement in found]}
        for condition in CONDITIONS:
            takes = takes_of(found, condition, range(101, 101 + (seeds if condition == "worn" else 1)))
            part[condition] = table({name: figures_of(method, takes) for name, method in compared.items()})
            if condition == "worn":
                part["coverage_95"] = coverage(load(network), takes)
                part["by_clip"] = _by_clip(compared, takes, found, seeds)
        result[group] = part
    return {**result, **result["held_out"]["worn"], "coverage_95": result["held_out"]["coverage_95"]}


def _by_clip(
    compared: dict[str, Method], takes: Sequence[Take], found: Sequence[Movement], seeds: int
) -> dict[str, dict[str, float]]:
    """SIP of each method on each clip."""
    return {
        movement.name: {
            name: figures_of(method, takes[k * seeds : (k + 1) * seeds]).sip_deg for name, method in compared.items()
        }
        for k, movement in enumerate(found[:20])
    }


def memory(network: str, data: Path) -> dict[str, float]:
    """Error in the first and in the last minute of ten, of one state that is never reset."""
    motion = there_and_back(load_motion(data, MEMORY_CLIP), MEMORY_S)
    samples = motion.coordinates(np.arange(0.0, MEMORY_S, 1.0 / FRAME_RATE_HZ)).astype(np.float32)
    movement = Movement(MEMORY_CLIP, "held_out", samples, FRAME_RATE_HZ, motion.lengths_m)
    (take,) = takes_of([movement], "worn", (1,))
    q = part_based(load(network))(take)
    minute = round(60.0 * FRAME_RATE_HZ)
    first, last = (
        figures_of(lambda _, part=part: q[part], [_part(take, part)])  # type: ignore[misc]
        for part in (slice(0, minute), slice(len(take.features) - minute, None))
    )
    return {"first_minute_sip_deg": first.sip_deg, "last_minute_sip_deg": last.sip_deg, "minutes": MEMORY_S / 60.0}


def _part(take: Take, part: slice) -> Take:
    return replace(
        take,
        features=take.features[part],
        q_world_from_segment=take.q_world_from_segment[part],
        positions_m=take.positions_m[part],
        q_seen=take.q_seen[part],
    )


# ---------------------------------------------------------------- command


def print_figures(found: dict[str, Any]) -> None:
    """Write the figures as tables."""
    for group in ("held_out", "other_styles"):
        if group not in found:
            continue
        part = found[group]
        print(f"{group}: {len(part['clips'])} clips, network {found['network']}")
        columns = ("sip_deg", "angular_deg", "position_cm", "jitter", "jitter_truth", "inferred_angular_deg")
        rows = [
            (condition, name, *(f"{line[key]:.2f}" for key in columns))
            for condition in CONDITIONS
            for name, line in part[condition].items()
        ]
        print_table(("sensors", "method", *columns), rows)
        covered = part["coverage_95"]
        print(
            f"95 % intervals hold {100 * covered['rotations']:.1f} % of the rotation errors and "
            f"{100 * covered['velocities']:.1f} % of the velocity errors (worn)\n"
        )
        names = list(next(iter(part["by_clip"].values())))
        print_table(
            ("SIP by clip", "", *names),
            [(clip, "", *(f"{line[name]:.1f}" for name in names)) for clip, line in part["by_clip"].items()],
        )
        print()
    if "memory" in found:
        kept = found["memory"]
        print(
            f"one state for {kept['minutes']:g} minutes: SIP {kept['first_minute_sip_deg']:.1f} in the first minute, "
            f"{kept['last_minute_sip_deg']:.1f} in the last"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--licence", choices=("permissive", "non-commercial"), default="permissive", help="of the clips"
    )
    parser.add_argument("--network", default=DEFAULT, help="name or file of the weights")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="draws of the sensors")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    data = data_folder()
    found = figures(given.network, given.licence, max(given.seeds, 1), data)
    found["memory"] = memory(given.network, data)
    assert math.isfinite(found["part_based"]["sip_deg"])
    if given.json:
        print_json(found)
    else:
        print_figures(found)


if __name__ == "__main__":
    main()
