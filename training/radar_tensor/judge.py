"""How far a network's joints are from the truth, as RT-Pose counts it, beside a mean pose.

MPJPE is the mean distance over joints, of a recording over its frames, and then over recordings; relative to the
pelvis, and absolute in the radar frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.body.catalog import LANDMARK_SETS
from fusion.estimators.radar.tensor_decode import LANDMARK_SET, TensorPose, decode
from fusion.maths.voxels import VoxelGrid
from fusion.records import Float64
from training.radar_tensor.layout import Dataset, Frame, mean_joints, read_power, scaled

if TYPE_CHECKING:
    from training.radar_tensor.model import TensorNetwork

NAMES = LANDMARK_SETS[LANDMARK_SET].landmark_names
_NORMAL_95 = 1.959964
_CM = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What was told of one recording."""

    name: str
    told_m: Float64
    """[T, 15, 3] radar frame."""
    true_m: Float64
    scores: Float64
    """[T]."""


Teller = Callable[[Frame], TensorPose]


def network_teller(network: TensorNetwork, grid: VoxelGrid, device: str = "cpu") -> Teller:
    """What the network tells of a frame's tensor."""
    import torch

    network = network.to(device).eval()

    def tell(frame: Frame) -> TensorPose:
        power = torch.from_numpy(scaled(read_power(frame.file, grid)))[None].to(device)
        with torch.inference_mode():
            heat, offsets = network(power)
        return decode(heat[0, 0].float().cpu().numpy(), offsets[0].float().cpu().numpy(), grid)

    return tell


def mean_pose_teller(learned: Sequence[Frame]) -> Teller:
    """The mean joints of the frames that were learned from, whatever the tensor says."""
    mean = TensorPose(mean_joints(learned), 1.0)
    return lambda _frame: mean


def answers(teller: Teller, dataset: Dataset) -> list[Answers]:
    """All recordings."""
    found = []
    for recording in dataset.sequences:
        told = [teller(frame) for frame in recording.frames]
        found.append(
            Answers(
                recording.name,
                np.array([pose.joints_m for pose in told]),
                np.array([frame.joints_m for frame in recording.frames]),
                np.array([pose.score for pose in told]),
            )
        )
    return found


def figures_of(found: Sequence[Answers]) -> dict[str, Any]:
    """MPJPE relative to the pelvis and absolute, cm, in all and by joint."""
    absolute = np.array([_distances(one.told_m - one.true_m) for one in found])
    relative = np.array([_distances(_from_pelvis(one.told_m) - _from_pelvis(one.true_m)) for one in found])
    return {
        "recordings": len(found),
        "frames": int(sum(len(one.told_m) for one in found)),
        "mpjpe_cm": _CM * float(relative.mean()),
        "absolute_mpjpe_cm": _CM * float(absolute.mean()),
        "pelvis_cm": _CM * float(absolute[:, 0].mean()),
        "by_joint_cm": {name: round(_CM * float(v), 2) for name, v in zip(NAMES, relative.mean(0), strict=True)},
    }


def _distances(error: Float64) -> Float64:
    """Mean distance of each joint [15] over the frames of one recording."""
    return np.asarray(np.linalg.norm(error, axis=-1).mean(0))


def _from_pelvis(joints: Float64) -> Float64:
    return joints - joints[:, :1]


def sigmas_of(found: Sequence[Answers]) -> Float64:
    """Standard deviations [15, 3] such that 1.96 of them hold 95 % of the errors of each joint and axis."""
    errors = np.concatenate([np.abs(one.told_m - one.true_m) for one in found])
    return np.asarray(np.maximum(np.quantile(errors, 0.95, axis=0) / _NORMAL_95, _SIGMA_LEAST_M))


_SIGMA_LEAST_M = 0.005


def coverage(found: Sequence[Answers], sigmas_m: Float64) -> float:
    """Share of the errors along single axes that 1.96 sigmas hold."""
    errors = np.concatenate([np.abs(one.told_m - one.true_m) for one in found])
    return float((errors <= _NORMAL_95 * sigmas_m).mean())
