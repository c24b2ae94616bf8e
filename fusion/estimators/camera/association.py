"""Which detection is which person, and which detections together are somebody new.

One picture at a time: detections against the predicted skeletons, an exact
assignment (scipy's shortest augmenting path). What nobody claims waits until
detections of other views agree with it on a body.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from fusion.estimators.camera.triangulation import Triangulated, TriangulationParams, triangulate
from fusion.records import Float64
from fusion.rig import Camera


@dataclass(frozen=True, slots=True)
class AssociationParams:
    """What counts as the same person."""

    max_cost: float = 0.12
    """Mean landmark distance, as a share of the person's extent in the picture, beyond which it is somebody else."""
    cap: float = 0.3
    """A single landmark counts no more than this share."""
    suspicious_cost: float = 0.03
    """Below this cost nobody asks whether left and right are exchanged,"""
    mirror_gain: float = 0.6
    """above it they are if the exchange costs less than this share of the detection as it is."""
    min_common: int = 5
    """Landmarks that prediction and detection must share."""
    birth_window_s: float = 0.06
    """Detections of other views that are older than this do not help a birth."""
    birth_residual_share: float = 0.02
    """Median reprojection error of a birth, as a share of the picture's height."""
    birth_landmarks: int = 8
    """Landmarks that must be triangulated."""
    birth_distance_m: float = 0.35
    """A new body nearer to a known one than this (mean over landmarks) is the known one."""


def detection_costs(predicted: Float64, detected: Float64, params: AssociationParams) -> Float64:
    """Cost [P, D] of each predicted person [P, K, 2] against each detection [D, K, 2] (px; NaN where unseen).

    Infinite where too few landmarks are common.
    """
    costs = np.empty((len(predicted), len(detected)))
    _fill_costs(predicted, np.ascontiguousarray(detected), params.min_common, params.cap, costs)
    return costs


@njit(cache=True)
def _fill_costs(predicted: Float64, detected: Float64, min_common: int, cap: float, costs: Float64) -> None:
    for p in range(predicted.shape[0]):
        for d in range(detected.shape[0]):
            costs[p, d] = _cost(predicted[p], detected[d], min_common, cap)


@njit(cache=True)
def _cost(predicted: Float64, detected: Float64, min_common: int, cap: float) -> float:
    """Mean distance [K, 2] over the extent of what is common; infinite where that is too little."""
    low_x, low_y, high_x, high_y = math.inf, math.inf, -math.inf, -math.inf
    common = 0
    for k in range(predicted.shape[0]):
        x, y = predicted[k]
        if math.isfinite(x) and math.isfinite(y) and math.isfinite(detected[k, 0]) and math.isfinite(detected[k, 1]):
            common += 1
            low_x, high_x, low_y, high_y = min(low_x, x), max(high_x, x), min(low_y, y), max(high_y, y)
    extent = max(high_x - low_x, high_y - low_y)
    if common < min_common or not extent > 0.0:
        return math.inf
    total = 0.0
    for k in range(predicted.shape[0]):
        x, y = predicted[k, 0] - detected[k, 0], predicted[k, 1] - detected[k, 1]
        if math.isfinite(x) and math.isfinite(y):
            total += min(math.sqrt(x * x + y * y) / extent, cap)
    return total / common


def assign(costs: Float64, max_cost: float) -> list[tuple[int, int]]:
    """Pairs (person, detection) of the cheapest assignment with every cost below ``max_cost``."""
    allowed = costs < max_cost
    if costs.size <= 1:
        return [(0, 0)] if allowed.any() else []
    # Imported where it is needed: it takes 0.4 s, which one person who comes back after a fault can do without.
    from scipy.optimize import linear_sum_assignment

    # A refused pair must cost more than any set of allowed ones.
    finite = np.where(allowed, costs, max_cost * (1.0 + sum(costs.shape)))
    rows, columns = linear_sum_assignment(finite)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if allowed[r, c]]


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A detection that nobody has claimed."""

    time_ns: int
    camera_index: int
    pixels: Float64
    """[K, 2]."""
    scores: Float64
    """[K]."""


@dataclass(frozen=True, slots=True, eq=False)
class Birth:
    """Detections of several views that agree on a body."""

    members: tuple[Candidate, ...]
    triangulated: Triangulated


def find_birth(candidates: Sequence[Candidate], cameras: Sequence[Camera], params: AssociationParams) -> Birth | None:
    """The best agreeing group of one detection a view, or None.

    Pairs of views propose; other views join the best pair while the error stays
    small. Cost: pairs of candidates, then one pass over the rest.
    """
    best: tuple[float, tuple[Candidate, ...]] | None = None
    for a, b in itertools.combinations(candidates, 2):
        if a.camera_index == b.camera_index:
            continue
        error = _disagreement((a, b), cameras, params)
        if error is not None and (best is None or error < best[0]):
            best = error, (a, b)
    if best is None:
        return None
    group = best[1]
    for other in candidates:
        if other.camera_index in {member.camera_index for member in group}:
            continue
        if _disagreement((*group, other), cameras, params) is not None:
            group = (*group, other)
    return Birth(group, _triangulate(group, cameras, params))


def _triangulate(group: Sequence[Candidate], cameras: Sequence[Camera], params: AssociationParams) -> Triangulated:
    views = [cameras[member.camera_index] for member in group]
    limit = 3.0 * params.birth_residual_share * max(view.height for view in views)
    pixels = np.stack([member.pixels for member in group])
    scores = np.stack([member.scores for member in group])
    return triangulate(views, pixels, scores, TriangulationParams(inlier_px=limit))


def _disagreement(group: Sequence[Candidate], cameras: Sequence[Camera], params: AssociationParams) -> float | None:
    """Median error as a share of the picture's height; None where they are not views of one body."""
    result = _triangulate(group, cameras, params)
    agreed = result.inliers.all(0) if len(group) == 2 else result.inliers[-1] & np.isfinite(result.errors_px)
    seen = np.isfinite(np.stack([member.pixels for member in group])).all((0, 2))
    if agreed.sum() < params.birth_landmarks or agreed.sum() < 0.6 * seen.sum():
        return None
    height = min(cameras[member.camera_index].height for member in group)
    error = float(np.median(result.errors_px[agreed])) / height
    return error if error < params.birth_residual_share else None
