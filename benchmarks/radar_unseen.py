"""Joints from radar points of people that nothing was learned from: each of MARS' four left out in turn.

    python -m benchmarks.radar_unseen [--weights FOLDER] [--json]

Needs the data pack (``KINEFUSE_DATA``, else ``../shared/data`` beside the checkout). Judged on all frames with joints
of the subject left out; the weights (``benchmarks/weights/radar-points-without-N.npz``; their cards have the command)
are learned from all frames with joints of the other three. Deviations are scaled within these three: each of them is
left out once more of a smaller network, and its errors tell the scale. Every clip begins with a network that knows
nothing. ``mae_cm``, ``mpjpe_cm`` and ``motion_correlation`` are means over the four subjects, ``coverage_95`` is the
share of all coordinates of all frames.

* ``network``: the anchor is where all of MARS stand; ``network_followed``: it follows the points;
* ``mean_pose``: the mean of the other three subjects, which moves not at all: motion correlation 0.

``motion_correlation``: of each subject and movement the correlation over time of a coordinate's deviation from its
mean there, told against true; the mean over coordinates, movements and subjects. Joints that stand still in a movement
have only the noise of the depth camera to correlate with, so 1 cannot be had.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.radar_mars import COLUMNS, print_joints, row
from benchmarks.scenarios import data_folder
from fusion.body.catalog import landmark_set
from fusion.estimators.radar.packing import JOINT_SET, RadarWeights
from nodes.commands.arguments import print_json, print_table
from nodes.models.radar import load
from training.radar.judge import AXES, figures_of, mean_poses, runtime
from training.radar.recordings import SUBJECTS, Clip, read_clips

WEIGHTS = Path(__file__).resolve().parent / "weights"
_MEANS = ("mae_cm", "rmse_cm", "mpjpe_cm", "motion_correlation")
_JOINT_MEANS = ("mae_cm", "mpjpe_cm", "motion_correlation")


def weights_without(folder: Path, subject: int) -> RadarWeights:
    """The network that has not seen a subject."""
    return load(str(folder / f"radar-points-without-{subject}.npz"))


def subject_figures(weights: RadarWeights, subject: int, clips: Sequence[Clip]) -> dict[str, dict[str, Any]]:
    """Of each method on the subject that is left out."""
    judged = [clip for clip in clips if clip.subject == subject]
    others = [clip for clip in clips if clip.subject != subject]
    compared = {
        "network": runtime(weights),
        "network_followed": runtime(weights, followed=True),
        "mean_pose": mean_poses(others, lambda clip: None),
    }
    return {name: figures_of(judged, [tell(clip) for clip in judged]) for name, tell in compared.items()}


def mean_figures(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over subjects; intervals over frames."""
    frames = [one["frames"] for one in found]
    together: dict[str, Any] = {"frames": sum(frames)}
    together |= {key: float(np.mean([one[key] for one in found])) for key in _MEANS}
    together["mae_axes_cm"] = {axis: float(np.mean([one["mae_axes_cm"][axis] for one in found])) for axis in AXES}
    if all("coverage_95" in one for one in found):
        together["coverage_95"] = float(np.average([one["coverage_95"] for one in found], weights=frames))
    together["joints"] = {
        name: {key: float(np.mean([one["joints"][name][key] for one in found])) for key in _JOINT_MEANS}
        for name in landmark_set(JOINT_SET).landmark_names
    }
    return together


def figures(folder: Path, clips: Sequence[Clip]) -> dict[str, Any]:
    """Those of the network at the top, by method and by subject below."""
    by_subject = {
        str(subject): subject_figures(weights_without(folder, subject), subject, clips) for subject in SUBJECTS
    }
    names = list(by_subject[str(SUBJECTS[0])])
    methods = {name: mean_figures([found[name] for found in by_subject.values()]) for name in names}
    return {**methods["network"], "methods": methods, "subjects": by_subject}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of radar-points-without-N.npz")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    found = figures(args.weights, read_clips(data_folder()))
    if args.json:
        print_json(found)
        return 0
    for subject, methods in found["subjects"].items():
        print(f"subject {subject}, learned from the other three: {methods['network']['frames']} frames")
        print_table(COLUMNS, [row(name, one) for name, one in methods.items()])
    print(f"mean over subjects, {found['frames']} frames")
    print_table(COLUMNS, [row(name, one) for name, one in found["methods"].items()])
    print()
    print_joints(found["joints"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
