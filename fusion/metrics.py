"""How well a skeleton was followed: the figures that the field reports, with their definitions.

Shapes: T times, J joints, N samples. Positions in metres, errors in metres,
angles in radians; the callers turn them into mm and degrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import linear_sum_assignment

from fusion.body.skeleton import PARENTS
from fusion.maths import quaternion
from fusion.records import Array, Float64, Int64

SETTLING_S = 0.5
"""Errors and coverage count from so long after the first measurement on."""

NANOSECONDS = 1_000_000_000

_EVEN = 1.5
"""Poses further apart than this many usual intervals are not differenced."""
_SPLINE_POINTS = 4
"""Fewer true poses are taken as they are."""
_SHORT_TRACK = 0.25
"""A track shorter than this share of the longest one is not taken for the main one."""


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One person over time: one pose a time, in the order of time."""

    id: int
    times_ns: Int64
    """[T], strictly increasing."""
    positions_m: Float64
    """[T, J, 3]."""
    q_world_from_segment: Float64 | None = None
    """[T, 23, 4], or None where only points are known."""

    def at(self, index: Array) -> Track:
        """The track at some of its times."""
        q = self.q_world_from_segment
        return Track(self.id, self.times_ns[index], self.positions_m[index], None if q is None else q[index])


def joint_distances(estimate_m: Float64, truth_m: Float64) -> Float64:
    """Distance of each joint [..., J] between positions [..., J, 3].

    Their mean is MPJPE (absolute, nothing aligned); NaN where either is missing.
    Source: Ionescu et al., "Human3.6M", TPAMI 36(7), 2014, eq. 8.
    """
    return np.asarray(np.linalg.norm(np.asarray(estimate_m) - np.asarray(truth_m), axis=-1))


def procrustes(estimate_m: Float64, truth_m: Float64) -> Float64:
    """Estimates [T, J, 3] after the similarity (scale, rotation, shift) that fits each best to its truth.

    Joints that are NaN in either count neither for the fit nor after it.
    Source: Umeyama, "Least-squares estimation of transformation parameters between
    two point patterns", TPAMI 13(4), 1991, eqs. 40-42.
    """
    aligned = np.full(np.shape(estimate_m), np.nan)
    for t, (source, target) in enumerate(zip(estimate_m, truth_m, strict=True)):
        known = np.isfinite(source).all(-1) & np.isfinite(target).all(-1)
        if known.sum() >= 3:
            aligned[t, known] = _similar(source[known], target[known])
    return aligned


def _similar(source: Float64, target: Float64) -> Float64:
    source_mean, target_mean = source.mean(0), target.mean(0)
    centred = source - source_mean
    covariance = (target - target_mean).T @ centred / len(source)
    u, singular, vt = np.linalg.svd(covariance)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    variance = (centred**2).sum() / len(source)
    scale = (singular * signs).sum() / variance if variance > 0.0 else 1.0
    return np.asarray(target_mean + scale * centred @ (u @ np.diag(signs) @ vt).T)


def joint_angle_errors(q_estimate: Float64, q_truth: Float64) -> Float64:
    """Geodesic angle [T, 22] between estimated and true rotation of each joint, radians.

    A joint's rotation is that of its segment in the parent's frame; the root is
    left out. Segments that share a freedom (spine, neck) count one by one.

    Args:
        q_estimate: ``q_world_from_segment`` [T, 23, 4].
        q_truth: the same of the truth.
    """
    children = np.flatnonzero(PARENTS >= 0)

    def local(q: Float64) -> Float64:
        return quaternion.multiply(quaternion.conjugate(q[:, PARENTS[children]]), q[:, children])

    return quaternion.angle_between(local(q_estimate), local(q_truth))


def jitter_m_s3(times_ns: Int64, positions_m: Float64) -> float:
    """Mean size of the third time derivative over joints and times, m/s^3; NaN with fewer than four even poses.

    The derivative is six times the third divided difference, which is the third
    difference over the cube of the interval where intervals are equal. Four poses
    with a gap between them are left out.
    Source: the jitter of Yi et al., "TransPose", ACM TOG 40(4), 2021, section 5
    (there of motion captured at 60 Hz).
    """
    if len(times_ns) < 4:
        return float("nan")
    seconds = (np.asarray(times_ns) - times_ns[0]) / NANOSECONDS
    gaps = np.diff(seconds)
    usual = float(np.median(gaps))
    even = (gaps < _EVEN * usual) & (gaps > usual / _EVEN)
    windows = even[:-2] & even[1:-1] & even[2:]
    first = np.diff(positions_m, axis=0) / gaps[:, None, None]
    second = np.diff(first, axis=0) / (seconds[2:] - seconds[:-2])[:, None, None]
    third = 6.0 * np.diff(second, axis=0) / (seconds[3:] - seconds[:-3])[:, None, None]
    return float(np.linalg.norm(third[windows], axis=-1).mean()) if windows.any() else float("nan")


def bone_spread_m(positions_m: Float64) -> float:
    """Standard deviation of each bone's length over time, mean over the bones: 0 for a skeleton that keeps its bones.

    Args:
        positions_m: joints [T, 23, 3].
    """
    if len(positions_m) < 2:
        return float("nan")
    children = np.flatnonzero(PARENTS >= 0)
    lengths = np.linalg.norm(positions_m[:, children] - positions_m[:, PARENTS[children]], axis=-1)
    return float(lengths.std(axis=0).mean())


def nearest_times(wanted_ns: Int64, have_ns: Int64, tolerance_ns: float) -> Int64:
    """For each wanted time the index of the nearest one that there is [N], -1 if none is within the tolerance.

    Args:
        wanted_ns: [N].
        have_ns: [T], increasing.
        tolerance_ns: largest distance, inclusive.
    """
    if len(have_ns) == 0:
        return np.full(len(wanted_ns), -1, dtype=np.int64)
    after = np.clip(np.searchsorted(have_ns, wanted_ns), 0, len(have_ns) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(have_ns[before] - wanted_ns) <= np.abs(have_ns[after] - wanted_ns)
    index = np.where(nearer, before, after)
    return np.where(np.abs(have_ns[index] - wanted_ns) <= tolerance_ns, index, -1).astype(np.int64)


def half_interval_ns(times_ns: Int64) -> float:
    """Half the usual interval: how far apart two times may be and still mean the same frame."""
    return 0.5 * float(np.median(np.diff(times_ns))) if len(times_ns) > 1 else 0.0


def meet(truth: Track, pose_times_ns: Int64) -> Track:
    """The truth at the poses' times: each true time moves to the nearest pose's within half an interval.

    A filter answers for the newest time that it knows of, which is not that of an
    exposure. Positions come from a cubic spline through the truth (a wearer's jerk of
    100 m/s^3 leaves less than 0.1 mm at 30 Hz), rotations by slerp; poses are never
    interpolated.
    """
    if len(truth.times_ns) < _SPLINE_POINTS:
        return truth
    index = nearest_times(truth.times_ns, pose_times_ns, half_interval_ns(truth.times_ns))
    moved = np.where(index >= 0, pose_times_ns[np.maximum(index, 0)], truth.times_ns)
    times = np.unique(np.clip(moved, truth.times_ns[0], truth.times_ns[-1]))
    seconds = (truth.times_ns - truth.times_ns[0]) / NANOSECONDS
    wanted = (times - truth.times_ns[0]) / NANOSECONDS
    positions = CubicSpline(seconds, truth.positions_m, axis=0)(wanted)
    q = truth.q_world_from_segment
    if q is not None:
        before = np.clip(np.searchsorted(seconds, wanted, side="right") - 1, 0, len(seconds) - 2)
        share = (wanted - seconds[before]) / (seconds[before + 1] - seconds[before])
        q = quaternion.slerp(q[before], q[before + 1], share[:, None])
    return Track(truth.id, times, positions, q)


def follow(truths: Sequence[Track], tracks: Sequence[Track]) -> list[Track]:
    """The estimated track of each true person: its main one, and another one where that was lost.

    Main tracks are given out so that the sum of mean joint distances is smallest;
    short ones are not considered. Before the main track's birth and after its
    death, free tracks fill in, the nearest first. Two tracks at one time are never
    merged, so a ghost beside a person does not help.

    Args:
        truths: the true people.
        tracks: the estimated ones, with the same joints.

    Returns:
        For each true person a track whose times are some of the truth's times.
    """
    shared = [[_shared(truth, track) for track in tracks] for truth in truths]
    cost = np.array([[pair.distance_m for pair in row] for row in shared]).reshape(len(truths), len(tracks))
    counts = np.array([[len(pair.truth) for pair in row] for row in shared]).reshape(cost.shape)
    eligible = counts >= np.maximum(_SHORT_TRACK * counts.max(axis=1, initial=0, keepdims=True), 1)
    main: dict[int, int] = {}
    if cost.size:
        barred = np.where(eligible, cost, _BARRED_M)
        rows, columns = linear_sum_assignment(barred)
        main = {int(r): int(c) for r, c in zip(rows, columns, strict=True) if eligible[r, c]}
    taken = set(main.values())
    result = []
    for row, truth in enumerate(truths):
        order = [main[row]] if row in main else []
        free = [c for c in range(len(tracks)) if c not in taken and counts[row, c] > 0]
        order += sorted(free, key=lambda column: float(cost[row, column]))
        result.append(_joined(truth, [(tracks[c], shared[row][c]) for c in order]))
    return result


_BARRED_M = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class _Shared:
    """Where a truth and a track have a pose at the same time."""

    truth: Int64
    """[N] indices into the truth."""
    track: Int64
    distance_m: float
    """Mean joint distance; infinite if they share nothing."""


def _shared(truth: Track, track: Track) -> _Shared:
    tolerance = half_interval_ns(truth.times_ns) if len(truth.times_ns) > 1 else half_interval_ns(track.times_ns)
    index = nearest_times(truth.times_ns, track.times_ns, tolerance)
    found = np.flatnonzero(index >= 0)
    distance = _BARRED_M
    if len(found):
        errors = joint_distances(track.positions_m[index[found]], truth.positions_m[found])
        if np.isfinite(errors).any():
            distance = float(np.nanmean(errors))
    return _Shared(found.astype(np.int64), index[found], distance)


def _joined(truth: Track, parts: list[tuple[Track, _Shared]]) -> Track:
    """One track at the truth's times; a later part only fills where the life of no earlier part is."""
    joints = truth.positions_m.shape[1]
    positions = np.full((len(truth.times_ns), joints, 3), np.nan)
    q = np.full((len(truth.times_ns), len(PARENTS), 4), np.nan)
    filled = np.zeros(len(truth.times_ns), dtype=bool)
    lives: list[tuple[int, int]] = []
    for track, pair in parts:
        times = truth.times_ns[pair.truth]
        free = np.array([all(not begin <= time <= end for begin, end in lives) for time in times], dtype=bool)
        rows, columns = pair.truth[free], pair.track[free]
        positions[rows] = track.positions_m[columns]
        if track.q_world_from_segment is not None:
            q[rows] = track.q_world_from_segment[columns]
        filled[rows] = True
        lives.append((int(track.times_ns[0]), int(track.times_ns[-1])))
    return Track(truth.id, truth.times_ns[filled], positions[filled], q[filled])


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseErrors:
    """Figures of all true people together; NaN where nothing was to be compared."""

    coverage: float
    """Share of true poses that have an estimated one."""
    mpjpe_m: float
    median_m: float
    pa_mpjpe_m: float
    angle_rad: float
    per_joint_m: Float64
    """[J] mean distance of each joint."""


def pose_errors(truths: Sequence[Track], followed: Sequence[Track], from_ns: int) -> PoseErrors:
    """Compare true people with what ``follow`` gave for each.

    Args:
        truths: the true people.
        followed: one track for each.
        from_ns: times before are left out, ``SETTLING_S`` after the first measurement.
    """
    distances, aligned, angles = [], [], []
    wanted = found = 0
    for truth, track in zip(truths, followed, strict=True):
        late = truth.times_ns >= from_ns
        wanted += int(late.sum())
        rows = np.flatnonzero(np.isin(truth.times_ns, track.times_ns) & late)
        columns = np.flatnonzero(track.times_ns >= from_ns)
        found += len(rows)
        target, estimate = truth.at(rows), track.at(columns)
        distances.append(joint_distances(estimate.positions_m, target.positions_m))
        aligned.append(joint_distances(procrustes(estimate.positions_m, target.positions_m), target.positions_m))
        if target.q_world_from_segment is not None and estimate.q_world_from_segment is not None:
            angles.append(joint_angle_errors(estimate.q_world_from_segment, target.q_world_from_segment).ravel())
    joints = truths[0].positions_m.shape[1] if truths else 0
    error = np.concatenate([*distances, np.empty((0, joints))])
    known = error[np.isfinite(error)]
    similar = np.concatenate([part.ravel() for part in aligned]) if aligned else np.empty(0)
    angle = np.concatenate(angles) if angles else np.empty(0)
    return PoseErrors(
        coverage=found / wanted if wanted else float("nan"),
        mpjpe_m=_mean(known),
        median_m=float(np.median(known)) if len(known) else float("nan"),
        pa_mpjpe_m=_mean(similar[np.isfinite(similar)]),
        angle_rad=_mean(angle[np.isfinite(angle)]),
        per_joint_m=np.array([_mean(column[np.isfinite(column)]) for column in error.T]),
    )


def _mean(values: Float64) -> float:
    return float(values.mean()) if values.size else float("nan")


def percentiles(values: Array, levels: Sequence[float]) -> list[float]:
    """Percentiles of values [N] (linear between order statistics); NaN where there are none."""
    if len(values) == 0:
        return [float("nan")] * len(levels)
    return [float(value) for value in np.percentile(values, levels)]


def reprojection_distances(pixels: Float64, projected: Float64) -> Float64:
    """Distances [N] in pixels of a picture's detections from the people's projections.

    Each projected person is held against the detection with the smallest median
    distance; each detection serves one person.

    Args:
        pixels: detections [D, K, 2], NaN where not seen or not trusted.
        projected: people's landmarks [P, K, 2], NaN where outside.

    Returns:
        The distances of all landmarks that both have.
    """
    apart = np.linalg.norm(pixels[:, None] - projected[None], axis=-1)
    known = np.isfinite(apart)
    medians = np.full(apart.shape[:2], np.inf)
    for d, p in np.argwhere(known.any(-1)):
        medians[d, p] = np.median(apart[d, p][known[d, p]])
    result = []
    for d, p in sorted(np.argwhere(np.isfinite(medians)).tolist(), key=lambda pair: float(medians[pair[0], pair[1]])):
        if np.isfinite(medians[d, p]):
            result.append(apart[d, p][known[d, p]])
            medians[d], medians[:, p] = np.inf, np.inf
    return np.concatenate(result) if result else np.empty(0)
