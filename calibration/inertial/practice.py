"""A simulated wearer who is calibrated: holds N-pose and T-pose and walks, as a person would, with known mountings.

Tests and ``benchmarks/imu_calibration.py`` learn from it how far a calibration
is from the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.inertial.poses import Step
from calibration.inertial.recording import NS_PER_S
from calibration.inertial.steps import Interval
from fusion.body.skeleton import COORDINATE, COORDINATES
from fusion.maths import quaternion
from fusion.records import Float64, InertialSamples
from fusion.synthesis.actions import Action, Stand, Walk
from fusion.synthesis.imus import VirtualImus
from fusion.synthesis.motion import BodyMotion, draw_lengths
from fusion.synthesis.params import InertialParams
from fusion.synthesis.poses import draw_towards, held_pose
from fusion.synthesis.script import SAMPLE_RATE_HZ, scripted_motion, smoothstep
from fusion.synthesis.wearer import Wearer

_HOLD_S = 3.0
_MOVE_S = 1.5
_SETTLE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PracticeParams:
    """What the wearer does, and how well."""

    poses: tuple[Step, ...] = ("n_pose", "t_pose", "n_pose")
    walk_m: float = 2.5
    """Straight ahead after the poses; 0 for none."""
    pose_error_rad: float = math.radians(2.0)
    """Standard deviation of each angle of all held poses: nobody is built or stands as asked;"""
    repeat_error_rad: float = math.radians(1.0)
    """and of each pose once more: nobody stands twice alike."""
    random_mountings: bool = True
    """Whether the sensors sit in any rotation, else as usual."""


@dataclass(frozen=True, slots=True, eq=False)
class Practice:
    """A calibration that was played, and the truth."""

    records: list[InertialSamples]
    intervals: list[Interval]
    truth: dict[str, Float64]
    """q_segment_from_sensor by segment."""


def practise(
    sites: Sequence[str], seed: int, params: PracticeParams | None = None, imus: InertialParams | None = None
) -> Practice:
    """Play a calibration.

    Args:
        sites: segments that carry a sensor.
        seed: of mountings, errors, body and pose.
        params: what is done.
        imus: errors of the sensors; its sites and mounting error do not count.
    """
    p = params or PracticeParams()
    random = np.random.default_rng(seed)
    sensors = _sensors(tuple(sites), imus or InertialParams())
    motion = practice_motion(p, seed, random)
    worn = VirtualImus("imus", sensors, Wearer(0, motion), seed)
    count = int(motion.duration_s * sensors.rate_hz / sensors.samples_per_record)
    records = [record for _, record in worn.records(0, count, 0)]
    truth = {mount.segment: mount.q_segment_from_sensor for mount in worn.mounts}
    if p.random_mountings:
        # Any rotation, evenly spread: Shoemake, "Uniform random rotations", Graphics Gems III, 1992.
        turns = quaternion.normalize(random.standard_normal((len(truth), 4)))
        records = [_turned(record, turns) for record in records]
        truth = {name: quaternion.multiply(q, turn) for (name, q), turn in zip(truth.items(), turns, strict=True)}
    return Practice(records, practice_intervals(p, motion.duration_s), truth)


def exchanged(practice: Practice, one: str, other: str) -> Practice:
    """The same with two sensors exchanged: each is named what the other is on."""
    names = {one: other, other: one}
    records = [
        replace(record, sensors=tuple(names.get(name, name) for name in record.sensors)) for record in practice.records
    ]
    return Practice(records, practice.intervals, practice.truth)


def practice_intervals(params: PracticeParams, duration_s: float) -> list[Interval]:
    """What is held when, and the walk with the stands at its ends."""
    stride = _HOLD_S + _MOVE_S
    intervals = [
        Interval(step, round(k * stride * NS_PER_S), round((k * stride + _HOLD_S) * NS_PER_S))
        for k, step in enumerate(params.poses)
    ]
    if params.walk_m:
        begin_s = len(params.poses) * stride - _MOVE_S
        intervals.append(Interval("walk", round(begin_s * NS_PER_S), round((duration_s - 0.1) * NS_PER_S)))
    return intervals


def practice_motion(params: PracticeParams, seed: int, random: np.random.Generator) -> BodyMotion:
    """The wearer's movement: poses blended into a script of standing and walking."""
    lengths_m = draw_lengths(seed, 1.75)
    posing_s = len(params.poses) * (_HOLD_S + _MOVE_S)
    actions: list[Action] = [Stand(duration_s=posing_s)]
    if params.walk_m:
        actions += [Walk(distance_m=params.walk_m), Stand(duration_s=2.0)]
    heading_rad = float(random.uniform(-math.pi, math.pi))
    script = scripted_motion(actions, lengths_m, seed=seed, heading_rad=heading_rad, repeat=False)
    times_s = np.arange(round(script.duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    samples = script.coordinates(times_s)
    habit = random.normal(0.0, params.pose_error_rad, COORDINATES)
    for k, step in enumerate(params.poses):
        begin_s = k * (_HOLD_S + _MOVE_S)
        last = k == len(params.poses) - 1
        pose = _pose(step, heading_rad, habit + random.normal(0.0, params.repeat_error_rad, COORDINATES))
        draw_towards(samples, pose, _share(times_s, begin_s, begin_s + _HOLD_S, k == 0, last and params.walk_m == 0))
    return BodyMotion(samples, SAMPLE_RATE_HZ, lengths_m, periodic=False, smoothing_s=0.05)


def _share(times_s: Float64, begin_s: float, end_s: float, first: bool, last: bool) -> Float64:
    """How far [T] a pose is taken: fully while it is held, moving in before and out after."""
    rise = np.ones(len(times_s)) if first else smoothstep((times_s - begin_s + _MOVE_S) / _MOVE_S)
    if last:
        return rise
    # The next pose rises over this one, so it stays until then.
    gone = smoothstep((times_s - end_s - _MOVE_S) / _SETTLE_S)
    return np.asarray(rise * (1.0 - gone))


def _pose(step: str, heading_rad: float, wrong: Float64) -> Float64:
    """Coordinates [44] of a held pose, wrong by so much."""
    for side in ("left", "right"):
        for hinge in ("elbow_flexion", "knee_flexion"):
            wrong[COORDINATE[f"{side}_{hinge}"]] = abs(wrong[COORDINATE[f"{side}_{hinge}"]])
    return held_pose(step, heading_rad) + wrong


def _sensors(sites: tuple[str, ...], imus: InertialParams) -> InertialParams:
    return replace(imus, sites=sites, mounting_error_rad=0.0)


def _turned(record: InertialSamples, turns: Float64) -> InertialSamples:
    """What sensors read that are turned by [M, 4] in their places."""
    back = quaternion.conjugate(turns)
    return replace(
        record,
        specific_force_m_s2=quaternion.rotate(back, record.specific_force_m_s2).astype(np.float32),
        angular_rate_rad_s=quaternion.rotate(back, record.angular_rate_rad_s).astype(np.float32),
    )
