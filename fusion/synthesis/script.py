"""A wearer's movement from a script of actions, such as walk, turn, squat and reach.

The way from script to body:

1. the actions lay a path on the floor, with speed and heading as smooth
   functions of time, and the strengths of squat and reach;
2. footsteps are planned along the path; a planted foot does not move, a lifted
   one follows a smooth arc and rolls over heel and ball;
3. the pelvis follows the path, swayed towards the standing leg and low enough
   that both feet are in reach, which gives the bob of walking by itself;
4. the legs are solved in closed form; trunk and arms follow the feet: the pelvis
   turns with the leading leg, the trunk against it, the arms against the legs;
5. all of it is smoothed a little, the body is set down on the floor, and splines
   join the samples.

Proportions of gait (step time, stance share, arm swing, pelvic and trunk
rotation) are round figures for comfortable walking after Winter, "Biomechanics
and Motor Control of Human Movement", 4th ed., chapters 4 and 8, and Perry and
Burnfield, "Gait Analysis", 2nd ed. They are meant to look and couple like a
person, not to be one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fusion.body.kinematics import forward_kinematics_batch
from fusion.body.skeleton import COORDINATE, COORDINATES, LENGTH, REFERENCE_LENGTHS_M, reference_offsets
from fusion.body.skeleton import SEGMENT as SEGMENT_INDEX
from fusion.maths import quaternion
from fusion.records import Float64
from fusion.synthesis.actions import (
    DEFAULT_START_M,
    POSE_MOVE_S,
    POSES,
    SIDE_SIGN,
    Action,
    Circle,
    Pose,
    Reach,
    ScriptError,
    Side,
    Squat,
    Turn,
    Walk,
    closed,
)
from fusion.synthesis.legs import rotation_x, rotation_y, rotation_z, solve_leg
from fusion.synthesis.motion import BodyMotion, smooth
from fusion.synthesis.poses import draw_towards, held_pose
from fusion.synthesis.randomness import RandomStream

SAMPLE_RATE_HZ = 100.0


def scripted_motion(
    actions: Sequence[Action],
    lengths_m: Float64,
    *,
    seed: int = 0,
    start_m: tuple[float, float] = DEFAULT_START_M,
    heading_rad: float = 0.0,
    repeat: bool = True,
) -> BodyMotion:
    """The movement of a wearer who follows a script.

    Args:
        actions: at least one.
        lengths_m: proportions [11].
        seed: of the small idle movements.
        start_m: floor position at the start, world x and y.
        heading_rad: at the start; 0 looks along +x.
        repeat: walk home at the end and begin anew; else hold the last pose.

    Raises:
        ScriptError: for an empty script.
    """
    if not actions:
        raise ScriptError("script: no actions, expected at least one of stand, walk, circle, turn, squat, reach, pose")
    steps = closed(actions, start_m, heading_rad) if repeat else tuple(actions)
    plan = _Plan(steps, start_m, heading_rad, _Legs.of(lengths_m))
    samples = _body(plan, lengths_m, RandomStream(seed, "idle"))
    _set_down(samples, lengths_m)
    return BodyMotion(samples, SAMPLE_RATE_HZ, lengths_m, periodic=repeat, smoothing_s=_SMOOTHING_S)


# ---------------------------------------------------------------- path and steps

_RAMP_S = 0.7
"""Time to reach the walking speed."""
_STEP_S = 0.54
"""One step: about 110 a minute."""
_SWING_SHARE = 0.8
"""Part of a step's time in which its foot is in the air: 40 % of the stride."""
_FULL_STEP_M = 1.2
"""Travel of a foot in one full stride at comfortable speed."""
_SMOOTHING_S = 0.025
_SETTLE_S = 0.35
_TURN_SETTLE_S = 0.6


def smoothstep(u: Float64) -> Float64:
    """0 below 0, 1 above 1, a quintic between: twice continuously differentiable."""
    x = np.clip(u, 0.0, 1.0)
    return x * x * x * (10.0 + x * (6.0 * x - 15.0))


def _bump(u: Float64) -> Float64:
    """1 at 0, 0 outside -1..1, twice continuously differentiable."""
    return np.clip(1.0 - u * u, 0.0, None) ** 3


def _plateau(times_s: Float64, duration_s: float, rise_s: float) -> Float64:
    """Up from 0 to 1 within ``rise_s``, down to 0 at ``duration_s``."""
    return smoothstep(times_s / rise_s) * smoothstep((duration_s - times_s) / rise_s)


@dataclass(frozen=True, slots=True)
class _Legs:
    """What the feet need to know of the wearer."""

    thigh_m: float
    shank_m: float
    hip_half_m: float
    ankle_height_m: float
    ball_m: Float64
    """Toe joint from the ankle, foot frame."""
    heel_m: Float64

    @classmethod
    def of(cls, lengths_m: Float64) -> _Legs:
        offsets, length = reference_offsets()
        scale = lengths_m[length] / REFERENCE_LENGTHS_M[length]
        placed = offsets * scale[:, None]
        toe = placed[SEGMENT_INDEX["left_toe"]]
        foot_scale = lengths_m[LENGTH["foot"]] / REFERENCE_LENGTHS_M[LENGTH["foot"]]
        return cls(
            thigh_m=float(lengths_m[LENGTH["thigh"]]),
            shank_m=float(lengths_m[LENGTH["shank"]]),
            hip_half_m=float(placed[SEGMENT_INDEX["left_upper_leg"], 1]),
            ankle_height_m=float(-toe[2]),
            ball_m=toe,
            heel_m=np.array([-HEEL_BEHIND_M * foot_scale, 0.0, toe[2]]),
        )

    @property
    def length_m(self) -> float:
        return self.thigh_m + self.shank_m


HEEL_BEHIND_M = 0.055
"""Heel behind the ankle in the reference body."""


@dataclass(slots=True)
class _Foot:
    """One foot over time: where its ankle would be if it lay flat, and how it is lifted and pitched."""

    sign: float
    x: Float64
    y: Float64
    yaw: Float64
    lift: Float64
    pitch: Float64
    """Positive: heel up about the ball; negative: toes up about the heel."""


@dataclass(slots=True)
class _Plan:
    """Everything that the script decides, sampled at ``SAMPLE_RATE_HZ``."""

    actions: Sequence[Action]
    start_m: tuple[float, float]
    start_heading_rad: float
    legs: _Legs
    x: Float64 = field(init=False)
    y: Float64 = field(init=False)
    heading: Float64 = field(init=False)
    squat: Float64 = field(init=False)
    reach: dict[Side, Float64] = field(init=False)
    """Elevation of each reaching arm, rad."""
    pose: dict[str, Float64] = field(init=False)
    """How far each pose is taken, 0..1."""
    feet: dict[Side, _Foot] = field(init=False)

    def __post_init__(self) -> None:
        spans = [_span(action) for action in self.actions]
        counts = [round(span.total_s * SAMPLE_RATE_HZ) for span in spans]
        starts = np.concatenate([[0], np.cumsum(counts)])
        total = int(starts[-1])
        speed, turning = np.zeros(total), np.zeros(total)
        self.squat = np.zeros(total)
        self.reach = {"right": np.zeros(total), "left": np.zeros(total)}
        self.pose = {name: np.zeros(total) for name in POSES}
        for action, span, first, count in zip(self.actions, spans, starts[:-1], counts, strict=True):
            times = np.arange(count) / SAMPLE_RATE_HZ
            part = slice(int(first), int(first) + count)
            profile = _plateau(times, span.moving_s, span.ramp_s) if span.moving_s > 0.0 else np.zeros(count)
            # Discrete sums are made to come out exactly, so that a closed script closes.
            area = profile.sum() / SAMPLE_RATE_HZ
            if span.travel_m or span.turn_rad:
                speed[part] = profile * span.travel_m / area
                turning[part] = profile * span.turn_rad / area
            elif isinstance(action, Squat):
                self.squat[part] = action.depth * _plateau(times, action.duration_s, 0.42 * action.duration_s)
            elif isinstance(action, Reach):
                shape = _plateau(times, action.duration_s, 0.4 * action.duration_s)
                self.reach[action.side][part] = action.elevation_rad * shape
            elif isinstance(action, Pose):
                self.pose[action.pose][part] = _plateau(times, action.duration_s, POSE_MOVE_S)
        self._integrate(speed, turning)
        self._plant(spans, starts)

    def _integrate(self, speed: Float64, turning: Float64) -> None:
        before = np.concatenate([[0.0], np.cumsum(turning)[:-1]]) / SAMPLE_RATE_HZ
        self.heading = self.start_heading_rad + before + 0.5 * turning / SAMPLE_RATE_HZ
        # A chord of the turning circle: the path of a full circle closes.
        half = 0.5 * turning / SAMPLE_RATE_HZ
        chord = speed / SAMPLE_RATE_HZ * np.sinc(half / np.pi)
        self.x = self.start_m[0] + np.concatenate([[0.0], np.cumsum(chord * np.cos(self.heading))[:-1]])
        self.y = self.start_m[1] + np.concatenate([[0.0], np.cumsum(chord * np.sin(self.heading))[:-1]])

    def _plant(self, spans: Sequence[_Span], starts: Any) -> None:
        total = len(self.x)
        self.feet = {}
        for side, sign in SIDE_SIGN.items():
            x, y = self._beside(0, sign)
            full = np.ones(total)
            self.feet[side] = _Foot(sign, x * full, y * full, self.heading[0] * full, np.zeros(total), np.zeros(total))
        for span, first in zip(spans, starts[:-1], strict=True):
            if span.steps:
                self._walk_feet(span, float(first) / SAMPLE_RATE_HZ)

    def _beside(self, sample: int, sign: float) -> tuple[float, float]:
        """Where a foot stands when the body is where it is at a sample."""
        out = sign * self.legs.hip_half_m
        heading = self.heading[sample]
        return self.x[sample] - out * math.sin(heading), self.y[sample] + out * math.cos(heading)

    def _walk_feet(self, span: _Span, start_s: float) -> None:
        sides: tuple[Side, Side] = ("left", "right") if span.turn_rad > 0.0 else ("right", "left")
        last = len(self.x) - 1
        end_s = start_s + span.moving_s
        for step in range(span.steps):
            foot = self.feet[sides[step % 2]]
            lift_off = start_s + (step + 0.5 * (1.0 - _SWING_SHARE)) * _STEP_S
            landing = lift_off + _SWING_SHARE * _STEP_S
            # A foot lands where the body will be in the middle of its stance.
            middle = min(landing + 0.5 * (2.0 - _SWING_SHARE) * _STEP_S, end_s)
            target = min(round(middle * SAMPLE_RATE_HZ), last)
            self._swing(foot, lift_off, landing, target)

    def _swing(self, foot: _Foot, lift_off_s: float, landing_s: float, target: int) -> None:
        times = np.arange(len(self.x)) / SAMPLE_RATE_HZ
        u = (times - lift_off_s) / (landing_s - lift_off_s)
        share = smoothstep(u)
        x, y = self._beside(target, foot.sign)
        from_x, from_y = float(foot.x[-1]), float(foot.y[-1])
        travel = math.hypot(x - from_x, y - from_y)
        foot.x += (x - from_x) * share
        foot.y += (y - from_y) * share
        foot.yaw += (self.heading[target] - float(foot.yaw[-1])) * share
        vigour = min(travel / _FULL_STEP_M, 1.0)
        foot.lift += (0.03 + 0.03 * vigour) * _bump(2.0 * u - 1.0)
        foot.pitch += 0.6 * vigour * _bump((times - lift_off_s - 0.02) / 0.22)
        foot.pitch -= 0.3 * vigour * _bump((times - landing_s + 0.02) / 0.14)


@dataclass(frozen=True, slots=True)
class _Span:
    """An action on the time axis."""

    moving_s: float
    """Time in which the body travels or turns; 0 for actions on the spot."""
    total_s: float
    travel_m: float = 0.0
    turn_rad: float = 0.0
    steps: int = 0
    ramp_s: float = _RAMP_S


def _span(action: Action) -> _Span:
    if isinstance(action, Walk):
        return _moving(action.distance_m / action.speed_m_s + _RAMP_S, _RAMP_S, action.distance_m, 0.0)
    if isinstance(action, Circle):
        travel = action.radius_m * abs(action.angle_rad)
        return _moving(travel / action.speed_m_s + _RAMP_S, _RAMP_S, travel, action.angle_rad)
    if isinstance(action, Turn):
        moving = abs(action.angle_rad) / action.rate_rad_s + _TURN_SETTLE_S
        return _moving(moving, _TURN_SETTLE_S, 0.0, action.angle_rad)
    return _Span(moving_s=0.0, total_s=action.duration_s)


def _moving(moving_s: float, ramp_s: float, travel_m: float, turn_rad: float) -> _Span:
    moving_s = max(moving_s, 2.0 * ramp_s)
    # Both feet land once for the final stand: the steps go on until two targets lie at the end.
    middle_of_first = (0.5 * (1.0 - _SWING_SHARE) + _SWING_SHARE + 0.5 * (2.0 - _SWING_SHARE)) * _STEP_S
    steps = max(math.ceil((moving_s - middle_of_first) / _STEP_S), 0) + 2
    return _Span(moving_s, max(moving_s, steps * _STEP_S) + _SETTLE_S, travel_m, turn_rad, steps, ramp_s)


# ---------------------------------------------------------------- from plan to body

_STAND_STRETCH = 0.99
"""Share of the leg's length used when standing: knees a little bent."""
_REACH_STRETCH = 0.985
_SQUAT_DROP = 0.46
"""Share of the leg's length that the pelvis sinks in a full squat."""
_ARM_HANG_RAD = 1.40
"""From the T-pose down: arms hang 10 degrees off the side."""


def _body(plan: _Plan, lengths_m: Float64, random: RandomStream) -> Float64:
    """Coordinates [T, 44] of a plan."""
    total = len(plan.x)
    samples = np.zeros((total, COORDINATES))
    legs = plan.legs
    idle = _idle(random, total)
    ahead = np.stack([np.cos(plan.heading), np.sin(plan.heading)], axis=1)
    left, right = plan.feet["left"], plan.feet["right"]
    # Left foot before the right one, in strides: what couples pelvis, trunk and arms to the legs.
    apart = ((left.x - right.x) * ahead[:, 0] + (left.y - right.y) * ahead[:, 1]) / (0.5 * _FULL_STEP_M)
    lead = smooth(np.clip(apart, -1.2, 1.2), 0.05 * SAMPLE_RATE_HZ)
    sway = -0.025 * smooth((left.lift - right.lift) / 0.06, 0.10 * SAMPLE_RATE_HZ) + idle["sway"]
    squat = plan.squat
    reach_sum = plan.reach["right"] + plan.reach["left"]
    twist = plan.reach["right"] - plan.reach["left"]

    yaw = plan.heading - 0.09 * lead
    pitch = 0.03 + 0.45 * squat + 0.05 * reach_sum
    roll = 0.05 * smooth((right.lift - left.lift) / 0.06, 0.08 * SAMPLE_RATE_HZ)
    r_pelvis = rotation_z(yaw) @ rotation_y(pitch) @ rotation_x(roll)
    back = 0.14 * squat * legs.length_m
    pelvis = np.stack(
        [
            plan.x - back * ahead[:, 0] - sway * ahead[:, 1],
            plan.y - back * ahead[:, 1] + sway * ahead[:, 0],
            np.zeros(total),
        ],
        axis=1,
    )
    ankles = {side: _ankle(foot, legs) for side, foot in plan.feet.items()}
    pelvis[:, 2] = _pelvis_height(pelvis, r_pelvis, ankles, legs, squat)
    samples[:, _columns("root_p", "xyz")] = pelvis
    samples[:, _columns("root_r", "xyz")] = quaternion.to_rotvec(quaternion.from_matrix(r_pelvis))

    for side, sign in SIDE_SIGN.items():
        foot_place, r_foot = ankles[side]
        hip = pelvis + r_pelvis @ np.array([0.0, sign * legs.hip_half_m, 0.0])
        solved = solve_leg(hip, foot_place, r_pelvis, r_foot, legs.thigh_m, legs.shank_m, sign)
        samples[:, _columns(f"{side}_hip_", "xyz")] = quaternion.to_rotvec(
            quaternion.from_matrix(solved.r_pelvis_from_thigh)
        )
        samples[:, COORDINATE[f"{side}_knee_flexion"]] = solved.knee_flexion_rad
        samples[:, COORDINATE[f"{side}_ankle_dorsiflexion"]] = solved.ankle_dorsiflexion_rad
        samples[:, COORDINATE[f"{side}_ankle_inversion"]] = solved.ankle_inversion_rad
        samples[:, COORDINATE[f"{side}_toe_extension"]] = np.clip(plan.feet[side].pitch, 0.0, None)
        _arm(samples, side, sign, -sign * lead, plan.reach[side], squat, idle)

    samples[:, COORDINATE["spine_x"]] = -0.8 * roll + idle["spine_x"]
    samples[:, COORDINATE["spine_y"]] = 0.04 + 0.30 * squat + 0.06 * reach_sum + idle["breath"]
    samples[:, COORDINATE["spine_z"]] = 0.17 * lead + 0.14 * twist + idle["spine_z"]
    samples[:, COORDINATE["neck_x"]] = idle["neck_x"]
    samples[:, COORDINATE["neck_y"]] = -0.05 - 0.45 * squat - 0.12 * reach_sum + idle["neck_y"]
    samples[:, COORDINATE["neck_z"]] = -0.07 * lead - 0.08 * twist + idle["neck_z"]
    for name, share in plan.pose.items():
        if not share.any():
            continue
        held = np.tile(held_pose(name, 0.0), (total, 1))
        held[:, COORDINATE["root_rz"]] = plan.heading
        draw_towards(samples, held, share)
    return samples


def _columns(prefix: str, axes: str) -> list[int]:
    return [COORDINATE[f"{prefix}{axis}"] for axis in axes]


def _ankle(foot: _Foot, legs: _Legs) -> tuple[Float64, Float64]:
    """Ankle [T, 3] and foot orientation [T, 3, 3]: pitched about the ball or the heel."""
    r_foot = rotation_z(foot.yaw) @ rotation_y(foot.pitch)
    flat = rotation_z(foot.yaw)
    pivot = np.where(foot.pitch[:, None] > 0.0, legs.ball_m, legs.heel_m)
    place = np.stack([foot.x, foot.y, legs.ankle_height_m + foot.lift], axis=1)
    place += (flat @ pivot[:, :, None] - r_foot @ pivot[:, :, None])[:, :, 0]
    return place, r_foot


def _pelvis_height(
    pelvis: Float64, r_pelvis: Float64, ankles: dict[Side, tuple[Float64, Float64]], legs: _Legs, squat: Float64
) -> Float64:
    """Height of the pelvis [T]: standing height less the squat, and both ankles in reach."""
    height = legs.ankle_height_m + legs.length_m * (_STAND_STRETCH - _SQUAT_DROP * squat)
    for side, sign in SIDE_SIGN.items():
        hip = r_pelvis @ np.array([0.0, sign * legs.hip_half_m, 0.0])
        flat = np.linalg.norm((pelvis + hip - ankles[side][0])[:, :2], axis=1)
        above = np.sqrt(np.clip((_REACH_STRETCH * legs.length_m) ** 2 - flat**2, 0.0, None))
        height = np.minimum(height, ankles[side][0][:, 2] + above - hip[:, 2])
    return smooth(height, 0.05 * SAMPLE_RATE_HZ)


def _arm(
    samples: Float64,
    side: Side,
    sign: float,
    forward: Float64,
    reach_rad: Float64,
    squat: Float64,
    idle: dict[str, Float64],
) -> None:
    """Arm swing against the legs, counterbalance in a squat, and reaching."""
    raised = smoothstep(reach_rad)
    flexion = 0.30 * forward * (1.0 - raised) + reach_rad + 1.1 * squat + idle[f"{side}_arm"]
    abduction = 0.06 * squat + 0.10 * np.sin(np.clip(reach_rad, 0.0, np.pi))
    hang = rotation_x(-sign * (_ARM_HANG_RAD - abduction))
    roll = rotation_y(np.full(len(samples), 0.0))
    samples[:, _columns(f"{side}_arm_", "xyz")] = quaternion.to_rotvec(
        quaternion.from_matrix(rotation_y(-flexion) @ hang @ roll)
    )
    # The elbow bends on the way up and opens at the end of a reach.
    opening = 0.9 * np.sin(np.pi * np.clip(reach_rad / 1.5, 0.0, 1.0))
    samples[:, COORDINATE[f"{side}_elbow_flexion"]] = (
        0.30 + 0.16 * forward * (1.0 - raised) + opening - 0.15 * raised + 0.15 * squat
    )
    samples[:, COORDINATE[f"{side}_forearm_pronation"]] = 0.2 - 0.4 * raised
    samples[:, COORDINATE[f"{side}_wrist_flexion"]] = 0.08 - 0.2 * raised
    samples[:, COORDINATE[f"{side}_shoulder_elevation"]] = 0.16 * raised * np.clip(reach_rad / 1.5, 0.0, 1.0)
    samples[:, COORDINATE[f"{side}_shoulder_protraction"]] = 0.14 * raised


_IDLE_RAD = {
    "breath": 0.008, "spine_x": 0.008, "spine_z": 0.012, "neck_x": 0.02, "neck_y": 0.03, "neck_z": 0.09,
    "right_arm": 0.02, "left_arm": 0.02, "sway": 0.004,
}  # fmt: skip
"""Amplitudes of the small movements nobody can stop; sway in metres."""
_IDLE_WAVES = 3
_IDLE_BAND_HZ = (0.12, 0.5)


def _idle(random: RandomStream, total: int) -> dict[str, Float64]:
    """Slow waves that fit a whole number of times into the script, so that it can repeat."""
    duration = total / SAMPLE_RATE_HZ
    times = np.arange(total) / SAMPLE_RATE_HZ
    result = {}
    for index, (name, amplitude) in enumerate(_IDLE_RAD.items()):
        generator = random.at(index)
        cycles = np.maximum(np.round(generator.uniform(*_IDLE_BAND_HZ, _IDLE_WAVES) * duration), 1.0)
        phases = generator.uniform(0.0, 2.0 * np.pi, _IDLE_WAVES)
        waves = np.sin(2.0 * np.pi * cycles[:, None] / duration * times + phases[:, None])
        result[name] = amplitude / math.sqrt(_IDLE_WAVES) * waves.sum(axis=0)
    return result


def sole_points(positions_m: Float64, quaternions: Float64, lengths_m: Float64) -> Float64:
    """Points of both soles [T, S, 3]: heel, ball and tip, at floor level in the T-pose.

    Args:
        positions_m: [T, 23, 3].
        quaternions: [T, 23, 4].
        lengths_m: [11].
    """
    legs = _Legs.of(lengths_m)
    points = []
    for side in SIDE_SIGN:
        foot, toe = SEGMENT_INDEX[f"{side}_foot"], SEGMENT_INDEX[f"{side}_toe"]
        points.append(positions_m[:, foot] + quaternion.rotate(quaternions[:, foot], legs.heel_m))
        points.append(positions_m[:, toe])
        tip = np.array([_TOE_TIP_M * lengths_m[LENGTH["foot"]] / REFERENCE_LENGTHS_M[LENGTH["foot"]], 0.0, 0.0])
        points.append(positions_m[:, toe] + quaternion.rotate(quaternions[:, toe], tip))
    return np.stack(points, axis=1)


_TOE_TIP_M = 0.045


def _set_down(samples: Float64, lengths_m: Float64) -> None:
    """Move the root, in place, so that the lowest sole point touches z = 0 (smoothed in time)."""
    positions, quaternions = forward_kinematics_batch(samples, lengths_m)
    lowest = sole_points(positions, quaternions, lengths_m)[:, :, 2].min(axis=1)
    samples[:, COORDINATE["root_pz"]] -= smooth(lowest, 0.06 * SAMPLE_RATE_HZ)
