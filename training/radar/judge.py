"""How well the radar network tells joints: the runtime frame by frame, and what its answers are compared with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusion.body.catalog import landmark_set
from fusion.estimators.radar.network import RadarNetwork
from fusion.estimators.radar.packing import JOINT_SET, JOINTS, RadarWeights
from fusion.records import Array, Float64
from training.radar.recordings import STANDING_PLACE_M, Clip
from training.radar.windows import whole

NORMAL_95 = 1.959964
AXES = ("x", "y", "z")
_STILL_M = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What is told of a clip, in the frame of its joints."""

    joints_m: Float64
    """[T, 19, 3]."""
    sigmas_m: Float64
    """[T, 19, 3]; NaN where the method tells none."""


Method = Callable[[Clip], Answer]


def runtime(weights: RadarWeights, *, followed: bool = False, took_s: list[float] | None = None) -> Method:
    """The network as it runs, beginning anew with each clip and seeing nothing that is to come.

    Args:
        weights: of it.
        followed: the anchor follows the points; otherwise it is where all of MARS stand.
        took_s: is given the seconds that each frame's step took.
    """
    network = RadarNetwork(weights)

    def tell(clip: Clip) -> Answer:
        window, state = whole(clip, followed=followed), network.start()
        joints, sigmas = np.empty((len(clip), JOINTS, 3)), np.empty((len(clip), JOINTS, 3))
        for t in range(len(clip)):
            begun = time.perf_counter()
            told = network.step(window.points[0, t][window.present[0, t]], window.frames[0, t], state)
            if took_s is not None:
                took_s.append(time.perf_counter() - begun)
            if told is None:
                raise ValueError(f"frame {t} of subject {clip.subject}, movement {clip.movement} was refused")
            joints[t], sigmas[t] = told.positions_m, told.sigmas_m
        joints[..., :2] += (clip.anchors_m if followed else np.array([STANDING_PLACE_M]))[:, None]
        return Answer(joints, sigmas)

    return tell


def mean_poses(learned: Sequence[Clip], key: Callable[[Clip], object]) -> Method:
    """The mean joints of the learned clips with the same key: no radar."""
    groups: dict[object, list[Array]] = {}
    for clip in learned:
        groups.setdefault(key(clip), []).append(clip.joints_m)
    means = {name: np.concatenate(found).mean(axis=0, dtype=np.float64) for name, found in groups.items()}

    def tell(clip: Clip) -> Answer:
        joints = np.broadcast_to(means[key(clip)], clip.joints_m.shape)
        return Answer(np.asarray(joints, dtype=np.float64), np.full(joints.shape, np.nan))

    return tell


def figures_of(clips: Sequence[Clip], answers: Sequence[Answer]) -> dict[str, Any]:
    """Errors in cm over all frames, how answers move with the truth, and what 95 % intervals hold.

    ``rmse_cm`` is the mean over the 57 coordinates of each one's root mean square, as MARS has it.
    """
    errors = np.concatenate([answer.joints_m - clip.joints_m for clip, answer in zip(clips, answers, strict=True)])
    sigmas = np.concatenate([answer.sigmas_m for answer in answers])
    correlation = motion_correlation(clips, answers)
    axes, distances = np.abs(errors).mean(axis=(0, 1)), np.linalg.norm(errors, axis=-1)
    found: dict[str, Any] = {
        "frames": len(errors),
        "mae_cm": 100.0 * float(np.abs(errors).mean()),
        "mae_axes_cm": {axis: 100.0 * float(value) for axis, value in zip(AXES, axes, strict=True)},
        "rmse_cm": 100.0 * float(np.sqrt((errors**2).mean(axis=0)).mean()),
        "mpjpe_cm": 100.0 * float(distances.mean()),
        "motion_correlation": float(correlation.mean()),
        "joints": {
            name: {
                "mae_cm": 100.0 * float(np.abs(errors[:, j]).mean()),
                "mpjpe_cm": 100.0 * float(distances[:, j].mean()),
                "motion_correlation": float(correlation[j].mean()),
            }
            for j, name in enumerate(landmark_set(JOINT_SET).landmark_names)
        },
    }
    if np.isfinite(sigmas).all():
        found["coverage_95"] = float((np.abs(errors) <= NORMAL_95 * sigmas).mean())
        found["sigma_cm"] = 100.0 * float(np.sqrt((sigmas**2).mean()))
    return found


def motion_correlation(clips: Sequence[Clip], answers: Sequence[Answer]) -> Float64:
    """How the motion told goes with the true one [19, 3]: 1 is alike, 0 is what a mean pose gets.

    Of each subject and movement: the correlation over time of a coordinate's deviation from its mean there, told
    against true; then the mean over subjects and movements. Answers that do not move count as 0.
    """
    groups: dict[tuple[int, int], list[tuple[Array, Array]]] = {}
    for clip, answer in zip(clips, answers, strict=True):
        groups.setdefault((clip.subject, clip.movement), []).append((clip.joints_m, answer.joints_m))
    found = []
    for pairs in groups.values():
        true, told = (np.concatenate(parts).astype(np.float64) for parts in zip(*pairs, strict=True))
        true, told = true - true.mean(axis=0), told - told.mean(axis=0)
        norms = np.sqrt((true**2).mean(axis=0)), np.sqrt((told**2).mean(axis=0))
        moving = (norms[0] > _STILL_M) & (norms[1] > _STILL_M)
        product = np.where(moving, norms[0] * norms[1], 1.0)
        found.append(np.where(moving, (true * told).mean(axis=0) / product, 0.0))
    return np.asarray(np.mean(found, axis=0), dtype=np.float64)


def sigma_scale(clips: Sequence[Clip], answers: Sequence[Answer]) -> Float64:
    """What standard deviations must be multiplied by [3] for 95 % of the errors of each axis to be within 1.96."""
    errors = np.concatenate([answer.joints_m - clip.joints_m for clip, answer in zip(clips, answers, strict=True)])
    ratios = np.abs(errors) / np.concatenate([answer.sigmas_m for answer in answers])
    return np.asarray(np.quantile(ratios.reshape(-1, JOINTS, 3), 0.95, axis=(0, 1)) / NORMAL_95, dtype=np.float64)
