"""Poses against the truth as papers on sparse inertial sensors report them; definitions in ``docs/metrics.md``.

Rotations are those of segments in the world, ``q_world_from_segment`` [T, 23, 4]. Radians, metres and seconds but
for ``PoseScores``, which has the units of the papers' tables. Times with NaN in either body do not count.

Sources: SIP error: von Marcard et al., "Sparse Inertial Poser", CGF 36(2), 2017, section 5, and Huang et al., "Deep
Inertial Poser", ACM TOG 37(6), 2018, section 6; angular and positional error, jitter: Yi et al., "TransPose", ACM TOG
40(4), 2021, section 5; with what counts as true beforehand: Zhang et al., "DynaIP", CVPR 2024.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from fusion.body.kinematics import TABLES
from fusion.body.skeleton import REFERENCE_LENGTHS_M, SEGMENT, SEGMENT_NAMES, SEGMENTS
from fusion.maths import quaternion
from fusion.metrics import Track, jitter_m_s3
from fusion.records import Bool, Float64, Int64

SIP_SEGMENTS: Int64 = np.array(
    [SEGMENT[name] for name in ("left_upper_arm", "right_upper_arm", "left_upper_leg", "right_upper_leg")],
    dtype=np.int64,
)
EVERY_SEGMENT: Int64 = np.arange(SEGMENTS, dtype=np.int64)
END_SEGMENTS = ("left_hand", "right_hand", "left_foot", "right_foot", "left_toe", "right_toe")
"""What six sensors say nothing of; DynaIP's tables take the truth for them."""

DRIFT_WINDOWS_M = (2.0, 5.0, 10.0)
STEP_M = 0.1
"""A path is measured in chords of at least this length, so that noise and sway on the spot are no way."""
_PER_CENT = 100.0
_CM_PER_M = 100.0
_M_PER_KM = 1000.0


def inferred_segments(sensed: Iterable[str]) -> Int64:
    """Segments without a sensor: counting those that carry one flatters.

    Raises:
        ValueError: a name is no segment.
    """
    names = set(sensed)
    unknown = names - set(SEGMENT_NAMES)
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: no segment; segments: {', '.join(SEGMENT_NAMES)}")
    return np.array([i for i, name in enumerate(SEGMENT_NAMES) if name not in names], dtype=np.int64)


def global_angles_rad(q_estimate: Float64, q_truth: Float64) -> Float64:
    """Geodesic angle [T, 23] between estimated and true rotation of each segment in the world."""
    return quaternion.angle_between(q_estimate, q_truth)


def sip_rad(q_estimate: Float64, q_truth: Float64) -> float:
    """SIP error: mean angle of both upper arms and both upper legs."""
    return angular_rad(q_estimate, q_truth, SIP_SEGMENTS)


def angular_rad(q_estimate: Float64, q_truth: Float64, segments: Int64 = EVERY_SEGMENT) -> float:
    """Angular error: mean angle over segments and times; NaN without any."""
    angles = global_angles_rad(q_estimate, q_truth)[known(q_estimate, q_truth)]
    return _mean(angles[:, segments])


def positions_from_rotations(q_world_from_segment: Float64, lengths_m: Float64) -> Float64:
    """Joints [T, 23, 3] of a body whose segments are turned so, the root at the origin.

    The joints of one skeleton need no joint angles: each stands at its offset, turned with the parent segment.

    Args:
        q_world_from_segment: [T, 23, 4].
        lengths_m: [11], order of ``LENGTH_NAMES``.
    """
    offsets = TABLES.unit_offset * np.asarray(lengths_m)[TABLES.length][:, None]
    positions = np.zeros((len(q_world_from_segment), SEGMENTS, 3))
    for segment, parent in enumerate(TABLES.parent):
        if parent >= 0:
            turned = quaternion.rotate(q_world_from_segment[:, parent], offsets[segment])
            positions[:, segment] = positions[:, parent] + turned
    return positions


def position_m(q_estimate: Float64, q_truth: Float64, lengths_m: Float64, segments: Int64 = EVERY_SEGMENT) -> float:
    """Positional error: mean distance of joints, both bodies with the same lengths and their roots in one place."""
    counted = known(q_estimate, q_truth)
    estimate = positions_from_rotations(q_estimate[counted], lengths_m)
    truth = positions_from_rotations(q_truth[counted], lengths_m)
    return _mean(np.linalg.norm(estimate - truth, axis=-1)[:, segments])


def with_true_root(q_estimate: Float64, q_truth: Float64) -> Float64:
    """The estimated body turned as a whole so that its root has the true rotation: what is left is the pose."""
    turn = quaternion.multiply(q_truth[:, :1], quaternion.conjugate(q_estimate[:, :1]))
    return quaternion.multiply(turn, q_estimate)


def with_true_segments(q_estimate: Float64, q_truth: Float64, names: Iterable[str]) -> Float64:
    """The estimate with the truth for some segments, which then count as right."""
    chosen = [SEGMENT[name] for name in names]
    result = np.array(q_estimate, dtype=np.float64)
    result[:, chosen] = q_truth[:, chosen]
    return result


def known(q_estimate: Float64, q_truth: Float64) -> Bool:
    """Times [T] at which both bodies are known."""
    return np.asarray(np.isfinite(q_estimate).all(axis=(1, 2)) & np.isfinite(q_truth).all(axis=(1, 2)))


# ---------------------------------------------------------------- all together


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseScores:
    """The columns of a table, in its units; NaN where nothing was to be compared."""

    sip_deg: float
    angular_deg: float
    position_cm: float
    jitter_km_s3: float
    """Of the estimate's joints with the root at rest; papers give it at 60 Hz, and it grows with the rate."""


def pose_scores(
    times_ns: Int64, q_estimate: Float64, q_truth: Float64, lengths_m: Float64, segments: Int64 = EVERY_SEGMENT
) -> PoseScores:
    """Scores of one sequence.

    Args:
        times_ns: [T], increasing.
        q_estimate: [T, 23, 4]; NaN where there is none.
        q_truth: the same of the truth.
        lengths_m: [11] of the one skeleton that both are given.
        segments: which count for the angular and the positional error; the SIP error has its own.
    """
    estimated = np.isfinite(q_estimate).all(axis=(1, 2))
    positions = positions_from_rotations(q_estimate[estimated], lengths_m)
    return PoseScores(
        sip_deg=float(np.degrees(sip_rad(q_estimate, q_truth))),
        angular_deg=float(np.degrees(angular_rad(q_estimate, q_truth, segments))),
        position_cm=position_m(q_estimate, q_truth, lengths_m, segments) * _CM_PER_M,
        jitter_km_s3=jitter_m_s3(times_ns[estimated], positions) / _M_PER_KM,
    )


def mean_scores(scores: Sequence[PoseScores]) -> PoseScores:
    """Mean over sequences: each weighs the same, whatever its length; those without a figure do not count for it."""
    columns = {item.name: np.array([getattr(score, item.name) for score in scores]) for item in fields(PoseScores)}
    return PoseScores(**{name: _mean(column[np.isfinite(column)]) for name, column in columns.items()})


# ---------------------------------------------------------------- where the root has gone


def walked_m(positions_m: Float64, step_m: float = STEP_M) -> Float64:
    """Horizontal way [T] up to each time, in chords of at least ``step_m``.

    Args:
        positions_m: [T, 3].
        step_m: shortest chord; what is shorter waits for the next.
    """
    way = np.zeros(len(positions_m))
    last = 0
    for t in range(1, len(positions_m)):
        chord = float(np.linalg.norm(positions_m[t, :2] - positions_m[last, :2]))
        way[t] = way[t - 1]
        if chord >= step_m:
            way[t] += chord
            last = t
    return way


def drift_percent(
    estimate_m: Float64,
    truth_m: Float64,
    heading_rad: Float64 | None = None,
    windows_m: Sequence[float] = DRIFT_WINDOWS_M,
) -> float:
    """Root drift: how far the root goes astray in windows of the way, in % of the true way; NaN where nobody walks.

    A window begins with each chord of the true way and ends where the wearer has gone so far. Its drift is the
    horizontal distance between estimated and true displacement over the way. The mean is taken over all windows of
    all lengths that fit.
    Sources: Geiger, Lenz & Urtasun, "Are we ready for autonomous driving?", CVPR 2012, the odometry benchmark's
    translation error (there 100 to 800 m); Yi et al., "TransPose", 2021, section 5, with windows of 1 to 7 m.

    Args:
        estimate_m: root positions [T, 3].
        truth_m: the same of the truth.
        heading_rad: [T] by how much the estimate's heading exceeds the true one; it is taken out at each window's
            start, as that benchmark does. None: displacements are compared as they are.
        windows_m: lengths of the way.
    """
    counted = np.isfinite(estimate_m).all(axis=1) & np.isfinite(truth_m).all(axis=1)
    estimate, truth = np.asarray(estimate_m)[counted], np.asarray(truth_m)[counted]
    heading = np.zeros(len(truth)) if heading_rad is None else np.asarray(heading_rad)[counted]
    way = walked_m(truth)
    stepped = np.diff(way, prepend=-1.0) > 0.0
    shares = []
    for length in windows_m:
        ends = np.searchsorted(way, way + length)
        begins = np.flatnonzero((ends < len(way)) & stepped)
        ends = ends[begins]
        moved = _turned(estimate[ends, :2] - estimate[begins, :2], -heading[begins])
        astray = np.linalg.norm(moved - (truth[ends, :2] - truth[begins, :2]), axis=1)
        shares.append(astray / (way[ends] - way[begins]))
    together = np.concatenate(shares) if shares else np.empty(0)
    return _PER_CENT * _mean(together)


def end_drift_percent(estimate_m: Float64, truth_m: Float64) -> float:
    """Horizontal distance between estimated and true displacement over all, in % of the way; NaN where nobody walks."""
    way = float(walked_m(truth_m)[-1]) if len(truth_m) else 0.0
    if way == 0.0:
        return float("nan")
    astray = (estimate_m[-1, :2] - estimate_m[0, :2]) - (truth_m[-1, :2] - truth_m[0, :2])
    return _PER_CENT * float(np.linalg.norm(astray)) / way


def heading_excess_rad(q_estimate: Float64, q_truth: Float64) -> Float64:
    """By how much an estimated rotation [..., 4] is turned about the vertical against the true one, -pi..pi.

    The rotation about the vertical that is nearest to ``q_estimate conj(q_truth)``: its twist.
    """
    error = quaternion.multiply(q_estimate, quaternion.conjugate(q_truth))
    angle = 2.0 * np.arctan2(error[..., 3], error[..., 0])
    return np.asarray(np.arctan2(np.sin(angle), np.cos(angle)))


def _turned(vectors: Float64, angles_rad: Float64) -> Float64:
    """Horizontal vectors [N, 2] turned about the vertical."""
    c, s = np.cos(angles_rad), np.sin(angles_rad)
    x, y = vectors[:, 0], vectors[:, 1]
    return np.stack([c * x - s * y, s * x + c * y], axis=1)


# ---------------------------------------------------------------- of tracks


def track_scores(truths: Sequence[Track], followed: Sequence[Track], from_ns: int) -> tuple[PoseScores, float]:
    """Scores and root drift in %, each the mean over the true people; the one skeleton is the reference body.

    Args:
        truths: the true people; those without rotations are left out.
        followed: one estimated track for each, as ``fusion.metrics.follow`` gives them.
        from_ns: times before are left out.
    """
    scores, drifts = [], []
    for truth, track in zip(truths, followed, strict=True):
        rows = np.flatnonzero(np.isin(truth.times_ns, track.times_ns) & (truth.times_ns >= from_ns))
        target, estimate = truth.at(rows), track.at(np.flatnonzero(track.times_ns >= from_ns))
        q_true, q = target.q_world_from_segment, estimate.q_world_from_segment
        if q_true is None or q is None or not len(rows):
            continue
        scores.append(pose_scores(target.times_ns, q, q_true, REFERENCE_LENGTHS_M))
        heading = heading_excess_rad(q[:, 0], q_true[:, 0])
        drifts.append(drift_percent(estimate.positions_m[:, 0], target.positions_m[:, 0], heading))
    drift = np.array(drifts)
    return mean_scores(scores), _mean(drift[np.isfinite(drift)])


def _mean(values: Float64) -> float:
    return float(values.mean()) if values.size else float("nan")
