"""How well a network does on movements that it has not seen: the field's figures, and whether its variances hold.

Every method is given the same sensors and the same assembly of the whole body: sensed segments stand as sensed, hands,
feet and toes follow the segment above. Scores are those of ``fusion.pose_metrics``; as in DynaIP's evaluation (its
published code) the truth then replaces the root and the ends (hands, feet, toes), which no method infers.
``inferred`` figures count the eleven segments without a sensor only, nothing replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fusion.body.skeleton import PARENTS, REFERENCE_LENGTHS_M, SEGMENT, SEGMENTS
from fusion.estimators.inertial.features import quaternions_of_six
from fusion.estimators.inertial.layout import FRAME_RATE_HZ, JOINTS, POSE_SEGMENTS, SITES, TOLD_JOINTS, TOLD_SEGMENTS
from fusion.estimators.inertial.network import InertialNetwork
from fusion.estimators.inertial.packing import NetworkWeights
from fusion.estimators.inertial.poser import PoseTold, whole_pose
from fusion.maths import quaternion
from fusion.pose_metrics import PoseScores, mean_scores, pose_scores, with_true_segments
from fusion.records import Array, Float64, Int64
from training.imu.movements import Movement
from training.imu.plain import tell
from training.imu.takes import Take, TakeParams, plain_take

IDEAL = TakeParams(
    mounting_rad=0.0, wobble_rad=0.0, inclination_rad=0.0, heading_rad=0.0, lost_share=0.0, acceleration_m_s2=0.0,
    acceleration_bias_m_s2=0.0, rate_rad_s=0.0, still_share=0.0, first_pose_rad=0.0, cold_share=0.0,
)  # fmt: skip
"""Sensors without errors and a known first pose, as in papers."""
WORN = TakeParams(cold_share=1.0)
"""Sensors as they are worn, and a start that knows nothing."""
CONDITIONS = {"worn": WORN, "ideal": IDEAL}
_ENDS = ("pelvis", "left_hand", "right_hand", "left_foot", "right_foot", "left_toe", "right_toe")
_SEGMENTS: Int64 = np.array([SEGMENT[name] for name in POSE_SEGMENTS], dtype=np.int64)
_NORMAL_95 = 1.959964

Method = Callable[[Take], Float64]
"""Orientations [T, 23, 4] of the whole body."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over takes, each of which weighs the same."""

    sip_deg: float
    angular_deg: float
    position_cm: float
    jitter: float
    """km/s^3 of the estimate; ``jitter_truth`` is that of the movement itself."""
    jitter_truth: float
    inferred_angular_deg: float
    takes: int


def takes_of(found: Sequence[Movement], condition: str, seeds: Sequence[int]) -> list[Take]:
    """The whole of each movement with sensors drawn once a seed."""
    params = CONDITIONS[condition]
    return [
        replace(plain_take(movement, np.random.default_rng([seed, number]), params), cold=params.cold_share == 1.0)
        for number, movement in enumerate(found)
        for seed in seeds
    ]


def figures_of(method: Method, takes: Sequence[Take]) -> Figures:
    """A method's figures."""
    scores, inferred, truths = [], [], []
    for take in takes:
        times = np.round(np.arange(len(take.features)) * (1e9 / FRAME_RATE_HZ)).astype(np.int64)
        estimate, truth = method(take), take.q_world_from_segment
        scores.append(_scores(times, with_true_segments(estimate, truth, _ENDS), truth))
        truths.append(_scores(times, truth, truth).jitter_km_s3)
        inferred.append(pose_scores(times, estimate, truth, REFERENCE_LENGTHS_M, _SEGMENTS).angular_deg)
    mean = mean_scores(scores)
    return Figures(
        sip_deg=mean.sip_deg,
        angular_deg=mean.angular_deg,
        position_cm=mean.position_cm,
        jitter=mean.jitter_km_s3,
        jitter_truth=float(np.mean(truths)),
        inferred_angular_deg=float(np.mean(inferred)),
        takes=len(takes),
    )


def _scores(times: Int64, estimate: Float64, truth: Float64) -> PoseScores:
    return pose_scores(times, estimate, truth, REFERENCE_LENGTHS_M)


# ---------------------------------------------------------------- methods


def assembled(take: Take, six: Array) -> Float64:
    """Whole bodies [T, 23, 4] from six [T, 11, 6] in the order of ``POSE_SEGMENTS`` and the sensors."""
    against = np.empty((len(six) * len(POSE_SEGMENTS), 4))
    quaternions_of_six(np.ascontiguousarray(six, dtype=np.float32).reshape(-1, 6), against)
    return posed(take, against.reshape(len(six), len(POSE_SEGMENTS), 4))


def posed(take: Take, against: Float64) -> Float64:
    """Whole bodies [T, 23, 4] from rotations [T, 11, 4] of ``POSE_SEGMENTS`` against the sensed root."""
    none: Float64 = np.empty((0, 3))
    return np.stack([
        whole_pose(PoseTold(0, _SEGMENTS, turned, none, np.empty(0, dtype=np.int64), none, none), sensed)
        for turned, sensed in zip(against, take.q_seen, strict=True)
    ])  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What a part-based network tells of a take, in the order of ``JOINTS`` and ``POSE_SEGMENTS``."""

    velocities: Float64
    six: Float64
    velocity_variance: Float64
    rotation_variance: Float64


def run_network(weights: NetworkWeights, take: Take) -> Told:
    """The shipped runtime on a take, frame by frame."""
    network = InertialNetwork(weights)
    moves = take.first_velocities[[JOINTS.index(name) for name in TOLD_JOINTS]].ravel()
    stands = take.first_six[[POSE_SEGMENTS.index(name) for name in TOLD_SEGMENTS]].ravel()
    state = network.start() if take.cold else network.start(moves, stands)
    rows: list[list[Array]] = [[], [], [], []]
    for x in take.features:
        told = network.step(x, state)
        for row, values in zip(
            rows, (told.velocities, told.pose6d, told.velocity_log_variances, told.pose_log_variances), strict=True
        ):
            row.append(values.astype(np.float64))
    joints, segments = [TOLD_JOINTS.index(n) for n in JOINTS], [TOLD_SEGMENTS.index(n) for n in POSE_SEGMENTS]
    frames = len(take.features)
    return Told(
        np.stack(rows[0]).reshape(frames, -1, 3)[:, joints],
        np.stack(rows[1]).reshape(frames, -1, 6)[:, segments],
        np.exp(np.stack(rows[2]).reshape(frames, -1, 3)[:, joints]),
        np.exp(np.stack(rows[3]).reshape(frames, -1, 3)[:, segments]),
    )


def part_based(weights: NetworkWeights) -> Method:
    """The shipped runtime."""
    return lambda take: assembled(take, run_network(weights, take).six)


def whole_body(arrays: dict[str, Array]) -> Method:
    """A whole-body network by its arrays."""

    def method(take: Take) -> Float64:
        first = (None, None) if take.cold else (take.first_velocities, take.first_six)
        return assembled(take, tell(arrays, take.features, *first)[1])

    return method


def mean_pose(learned: Sequence[Take]) -> Method:
    """The mean rotation against the root of each segment in what was learned from, whatever the sensors say."""
    six = np.concatenate([take.six for take in learned]).mean(axis=0)
    return lambda take: assembled(take, np.broadcast_to(six, (len(take.features), *six.shape)))


def nearest_segment(learned: Sequence[Take]) -> Method:
    """Each segment copies a sensed one next to it along the body: of the two sides the one that is better in what was
    learned from."""
    chosen = []
    for name in POSE_SEGMENTS:
        k = SEGMENT[name]
        errors = {
            site: np.mean([
                quaternion.angle_between(take.q_world_from_segment[:, SEGMENT[SITES[site]]],
                                         take.q_world_from_segment[:, k]).mean()
                for take in learned
            ])
            for site in _neighbours(name)
        }  # fmt: skip
        chosen.append(min(errors, key=lambda site: float(errors[site])))
    return partial(_copied, chosen)


def _copied(chosen: Sequence[int], take: Take) -> Float64:
    inverse = quaternion.conjugate(take.q_seen[:, :1])
    return posed(take, quaternion.multiply(inverse, take.q_seen[:, list(chosen)]))


def _neighbours(name: str) -> list[int]:
    """Sites that are next to a segment: no other site lies on the way along the body."""
    sensed = {SEGMENT[site]: index for index, site in enumerate(SITES)}
    links: list[set[int]] = [set() for _ in range(SEGMENTS)]
    for child, parent in enumerate(PARENTS.tolist()):
        if parent >= 0:
            links[child].add(parent)
            links[parent].add(child)
    found, seen, edge = [], {SEGMENT[name]}, [SEGMENT[name]]
    while edge:
        near = [other for item in edge for other in links[item] if other not in seen]
        seen |= set(near)
        found += [sensed[item] for item in near if item in sensed]
        edge = [item for item in near if item not in sensed]
    return sorted(set(found))


# ---------------------------------------------------------------- variances


def coverage(weights: NetworkWeights, takes: Sequence[Take]) -> dict[str, Any]:
    """Share of errors within 1.96 told standard deviations: of rotations by segment, of velocities by joint."""
    turned, moved = [], []
    for take in takes:
        told = run_network(weights, take)
        q, true = (np.empty((told.six.shape[0] * len(POSE_SEGMENTS), 4)) for _ in range(2))
        quaternions_of_six(told.six.astype(np.float32).reshape(-1, 6), q)
        quaternions_of_six(take.six.reshape(-1, 6), true)
        error = quaternion.to_rotvec(quaternion.multiply(true, quaternion.conjugate(q)))
        ratio = np.abs(error.reshape(told.rotation_variance.shape)) / np.sqrt(told.rotation_variance)
        turned.append((ratio < _NORMAL_95).mean(axis=(0, 2)))
        ratio = np.abs(told.velocities - take.velocities) / np.sqrt(told.velocity_variance)
        moved.append((ratio < _NORMAL_95).mean(axis=(0, 2)))
    rotations, velocities = np.mean(turned, axis=0), np.mean(moved, axis=0)
    return {
        "rotations": float(rotations.mean()),
        "velocities": float(velocities.mean()),
        "by_segment": {name: round(float(v), 3) for name, v in zip(POSE_SEGMENTS, rotations, strict=True)},
        "by_joint": {name: round(float(v), 3) for name, v in zip(JOINTS, velocities, strict=True)},
    }


def table(figures: dict[str, Figures]) -> dict[str, dict[str, float]]:
    """Figures by method as plain numbers."""
    return {name: asdict(values) for name, values in figures.items()}
