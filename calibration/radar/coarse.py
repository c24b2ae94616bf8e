"""A first pose from nothing: the densest cluster of each frame against the middle of the person.

For each of many time offsets a few frames are drawn again and again, the rigid
motion that carries their clusters onto the person is computed, and the one that
most frames agree with is kept (Fischler & Bolles, "Random sample consensus",
Comm. ACM 24(6), 1981), then fitted to those that agree. Rigid motion: Umeyama,
"Least-squares estimation of transformation parameters between two point
patterns", IEEE Trans. PAMI 13(4), 1991, without scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from calibration.radar.body import SHARES, MovingBody
from calibration.radar.recording import NS_PER_S, Frames
from fusion.records import Bool, Float64, Int64

_SEED = 0
"""The same records, the same pose."""


@dataclass(frozen=True, slots=True)
class CoarseParams:
    """How a first pose is looked for."""

    earliest_s: float = -0.5
    """Time offsets from here"""
    latest_s: float = 0.5
    """to here are tried,"""
    step_s: float = 0.05
    """so far apart."""
    reach_m: float = 0.5
    """Points so near to the densest place are the cluster."""
    least_points: int = 6
    tries: int = 150
    frames_per_try: int = 4
    agree_m: float = 0.4
    """A frame agrees whose cluster is so near to the person."""
    rounds: int = 8


class Clusters(NamedTuple):
    """The densest cluster of each frame that has one."""

    frame: Int64
    """[C] which frame."""
    middles_m: Float64
    """[C, 3] radar frame."""


class Coarse(NamedTuple):
    """A first pose."""

    r_world_from_radar: Float64
    """[3, 3]."""
    position_world_m: Float64
    """[3]."""
    time_offset_s: float
    agreeing: float
    """Share of the clusters that are where the person is."""
    cost_m: float
    """Mean distance of clusters from the person, each counted up to ``agree_m``."""


def clusters(frames: Frames, params: CoarseParams) -> Clusters:
    """The densest cluster of each frame."""
    which, middles = [], []
    for f, (begin, end) in enumerate(zip(frames.first[:-1], frames.first[1:], strict=True)):
        points = frames.points_m[begin:end]
        if len(points) < params.least_points:
            continue
        near = np.linalg.norm(points[:, None] - points, axis=2) < params.reach_m
        most = near.sum(1).argmax()
        if near[most].sum() >= params.least_points:
            which.append(f)
            middles.append(points[near[most]].mean(0))
    return Clusters(np.array(which, dtype=np.int64), np.array(middles).reshape(-1, 3))


def first_pose(
    frames: Frames, found: Clusters, body: MovingBody, params: CoarseParams, offsets_s: Float64 | None = None
) -> Coarse | None:
    """The pose that most clusters agree with; None where too few can be compared.

    Args:
        frames: of one radar.
        found: their clusters.
        body: the person.
        params: how to look.
        offsets_s: time offsets to try instead of those of ``params``.
    """
    random = np.random.default_rng(_SEED)
    best: Coarse | None = None
    stamps = frames.times_ns[found.frame]
    if offsets_s is None:
        offsets_s = np.arange(params.earliest_s, params.latest_s + params.step_s / 2.0, params.step_s)
    for offset_s in offsets_s:
        times = stamps - offset_s * NS_PER_S
        known = body.known(times)
        if known.sum() < 4 * params.frames_per_try:
            continue
        targets = np.einsum("fkc,k->fc", body.at(times[known]).positions_m, SHARES)
        pose = _agreed(found.middles_m[known], targets, float(offset_s), params, random)
        if best is None or pose.cost_m < best.cost_m:
            best = pose
    return best


def _agreed(
    middles: Float64, targets: Float64, offset_s: float, params: CoarseParams, random: np.random.Generator
) -> Coarse:
    """The rigid motion that most pairs agree with."""
    drawn = random.integers(0, len(middles), (params.tries, params.frames_per_try))
    turns, shifts = rigid_motions(middles[drawn], targets[drawn])
    costs = np.minimum(_apart(middles, targets, turns, shifts), params.agree_m).mean(1)
    turn, shift = turns[costs.argmin()], shifts[costs.argmin()]
    for _ in range(params.rounds):
        agree: Bool = _apart(middles, targets, turn[None], shift[None])[0] < params.agree_m
        if agree.sum() < params.frames_per_try:
            break
        (turn,), (shift,) = rigid_motions(middles[None, agree], targets[None, agree])
    apart = _apart(middles, targets, turn[None], shift[None])[0]
    cost = float(np.minimum(apart, params.agree_m).mean())
    return Coarse(turn, shift, offset_s, float((apart < params.agree_m).mean()), cost)


def _apart(middles: Float64, targets: Float64, turns: Float64, shifts: Float64) -> Float64:
    """Distances [P, C] of clusters from the person under each of P poses."""
    moved = np.einsum("pij,cj->pci", turns, middles) + shifts[:, None]
    return np.asarray(np.linalg.norm(moved - targets, axis=2))


def rigid_motions(points: Float64, targets: Float64) -> tuple[Float64, Float64]:
    """Turns [P, 3, 3] and shifts [P, 3] that carry points [P, C, 3] onto targets [P, C, 3] best."""
    middle, aim = points.mean(1), targets.mean(1)
    u, _, vt = np.linalg.svd(np.einsum("pci,pcj->pij", targets - aim[:, None], points - middle[:, None]))
    sign = np.linalg.det(u @ vt)
    u[:, :, 2] *= sign[:, None]
    turns = u @ vt
    return turns, aim - np.einsum("pij,pj->pi", turns, middle)
