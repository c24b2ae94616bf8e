"""Joints from radar points on the official split of MARS: our network beside answers that see no radar.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.radar_mars [--weights NAME|FILE.npz] [--json]

Needs the data pack (``KINEFUSE_DATA``, else ``../shared/data`` beside the checkout). 7,984 test frames of four people
and ten movements; every clip (one person, one movement) begins with a network that knows nothing, which sees its
frames in order and nothing that is to come. The weights (``benchmarks/weights/radar-official.npz``; its card has the
command) are learned from the train frames of subjects 2 to 4 and the validate frames of subject 1, whose train frames
have no joints in our source; deviations are scaled on the validate frames of subjects 2 to 4. The published network
(5.87 cm) had the train frames of all four.

* ``network``: the anchor is where all of MARS stand, as for every network that is given MARS' own coordinates;
* ``network_followed``: the anchor follows the points, as for a person whose place nobody knows;
* ``mean_pose``: mean of the network's training frames; ``mean_pose_subject``, ``mean_pose_subject_movement``: the
  mean of the same person (and movement) in all train and validate frames, told who it is and what is done: no radar.

``frame_ms`` is the time that ``RadarPoser.step`` takes for a frame on this machine (median; ``frame_ms_p99``), with one
thread of products, as every node has it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scenarios import data_folder
from fusion.estimators.radar.features import FRAME_PERIOD_S
from fusion.estimators.radar.joints import PoserParams, RadarPoser
from fusion.estimators.radar.packing import RadarWeights
from nodes.commands.arguments import print_json, print_table
from nodes.models.radar import load
from training.radar.judge import AXES, Method, figures_of, mean_poses, runtime
from training.radar.recordings import SENSOR_HEIGHT_M, STANDING_PLACE_M, Clip, read_clips

OFFICIAL = Path(__file__).resolve().parent / "weights" / "radar-official.npz"
PUBLISHED_MAE_CM, TREES_MAE_CM = 5.87, 4.81
"""Published network (An and Ogras 2021); our causal tree ensemble of ten frames, as stated in the reference figures."""


def methods(weights: RadarWeights, clips: Sequence[Clip]) -> dict[str, Method]:
    """All that are compared."""
    learned = [clip for clip in clips if clip.part == ("validate" if clip.subject == 1 else "train")]
    known = [clip for clip in clips if clip.part != "test"]
    return {
        "network": runtime(weights),
        "network_followed": runtime(weights, followed=True),
        "mean_pose": mean_poses(learned, lambda clip: None),
        "mean_pose_subject": mean_poses(known, lambda clip: clip.subject),
        "mean_pose_subject_movement": mean_poses(known, lambda clip: (clip.subject, clip.movement)),
    }


def frame_times_s(weights: RadarWeights, clips: Sequence[Clip]) -> list[float]:
    """What each frame costs live, features and all."""
    poser, took = RadarPoser(weights, PoserParams(place_known=True)), []
    place = np.array(STANDING_PLACE_M)
    for clip in clips:
        poser.start()
        stamps = np.cumsum(clip.gaps) * round(FRAME_PERIOD_S * 1e9)
        for t in range(len(clip)):
            there = clip.present[t]
            points = clip.points_m[t][there] - np.array([0.0, 0.0, SENSOR_HEIGHT_M])
            begun = time.perf_counter()
            poser.step(int(stamps[t]), points, clip.radial_velocities_m_s[t][there], place, SENSOR_HEIGHT_M)
            took.append(time.perf_counter() - begun)
    return took


def figures(weights: RadarWeights, clips: Sequence[Clip]) -> dict[str, Any]:
    """Those of the network at the top, all under ``methods``."""
    judged = [clip for clip in clips if clip.part == "test"]
    table = {
        name: figures_of(judged, [tell(clip) for clip in judged]) for name, tell in methods(weights, clips).items()
    }
    took = 1e3 * np.array(frame_times_s(weights, judged))
    network = table["network"]
    return {
        "frames": network["frames"],
        "mae_cm": network["mae_cm"],
        "mae_axes_cm": network["mae_axes_cm"],
        "mpjpe_cm": network["mpjpe_cm"],
        "rmse_cm": network["rmse_cm"],
        "coverage_95": network["coverage_95"],
        "motion_correlation": network["motion_correlation"],
        "frame_ms": float(np.median(took)),
        "frame_ms_p99": float(np.quantile(took, 0.99)),
        "members": weights.members,
        "training": "train of subjects 2-4, validate of subject 1",
        "published_mae_cm": PUBLISHED_MAE_CM,
        "trees_mae_cm": TREES_MAE_CM,
        "joints": network["joints"],
        "methods": table,
    }


def row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table of methods."""
    covered = found.get("coverage_95")
    return (
        name,
        *(f"{found['mae_axes_cm'][axis]:.2f}" for axis in AXES),
        *(f"{found[key]:.2f}" for key in ("mae_cm", "rmse_cm", "mpjpe_cm", "motion_correlation")),
        f"{100 * covered:.1f}" if covered is not None else "",
    )


COLUMNS = ("method", "MAE x", "y", "z", "MAE cm", "RMSE", "MPJPE", "motion corr.", "95 % hold")


def print_joints(joints: dict[str, dict[str, float]]) -> None:
    """Figures of each joint."""
    keys = ("mae_cm", "mpjpe_cm", "motion_correlation")
    print_table(("joint", *keys), [(name, *(f"{found[key]:.2f}" for key in keys)) for name, found in joints.items()])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=str(OFFICIAL), help="name or file of kinefuse train radar")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    found = figures(load(args.weights), read_clips(data_folder()))
    if args.json:
        print_json(found)
        return 0
    print(f"{found['frames']} official test frames, learned from {found['training']}, {found['members']} members")
    print_table(COLUMNS, [row(name, figures) for name, figures in found["methods"].items()])
    print(f"published network {PUBLISHED_MAE_CM} cm, causal trees of ten frames {TREES_MAE_CM} cm (stated, not run)")
    print(f"{found['frame_ms']:.2f} ms a frame (median; {found['frame_ms_p99']:.2f} ms for 99 %)\n")
    print_joints(found["joints"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
