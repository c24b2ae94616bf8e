"""From a movement to what six worn sensors would say of it, and the truth; tensor-free.

A *take* is a stretch of a movement with a drawn body, tempo and side, seen by sensors that are
mounted, turned and noisy as real ones are. Inputs go through the features of the runtime
(``fusion.estimators.inertial.features``), so a network meets in use what it has met in training.

Source of the recipe: Yi et al., "TransPose", ACM TOG 40(4), 2021, section 3 (synthetic
inertial samples), and the noise of "GlobalPose" (its published code). Differs from both in that
accelerations are means over the past (``layout``), and that sensors sit beside the bone on drawn lever arms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from fusion.body.kinematics import forward_kinematics_batch
from fusion.body.limits import coordinate_limits
from fusion.body.skeleton import COORDINATE, COORDINATE_NAMES, COORDINATES, LENGTH, SEGMENT
from fusion.estimators.inertial.features import features_of, six_of
from fusion.estimators.inertial.layout import (
    ACCELERATION_FRAMES,
    FRAME_RATE_HZ,
    JOINTS,
    POSE_SEGMENTS,
    SITES,
    segment_indices,
)
from fusion.maths import quaternion
from fusion.records import Bool, Float32, Float64, Int64
from fusion.synthesis.imus import GRAVITY_M_S2
from fusion.synthesis.motion import ROTATIONS, BodyMotion, draw_lengths
from training.imu.movements import Movement

_STEP_S = 0.004
"""Of the central differences."""
_FOLD_BELOW_S = 6.0
"""A shorter movement is played there and back until it is so long."""
_EDGE_S = 0.5
"""Kept beyond a stretch, for the spline's ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeParams:
    """How takes are drawn. A standard deviation of a rotation is its root mean square angle over three axes."""

    shortest_s: float = 4.0
    longest_s: float = 20.0
    tempo: float = 0.25
    """Takes are faster or slower by a factor of up to 1 + this."""
    mirror_share: float = 0.5
    stature_m: tuple[float, float] = (1.5, 1.98)
    style_rad: float = math.radians(4.0)
    """Constant offset of each coordinate of a joint: people hold themselves differently."""
    other_arms_share: float = 0.5
    """Takes whose arms do what another movement's do: ten minutes of motion hold few pairs of arms and legs."""
    wander_share: float = 0.7
    """Takes whose joints leave the movement's path, each on its own: few movements are alike those in ten minutes."""
    wander: float = 1.0
    """How far at most, in multiples of ``WANDER_RAD``."""
    wander_s: tuple[float, float] = (0.35, 2.0)
    """Time between the drawn points of such a path."""
    mounting_rad: float = math.radians(7.0)
    """What a calibration leaves of the mounting."""
    wobble_rad: float = math.radians(2.0)
    """Skin and clothes move; it fades within ``wobble_s``."""
    wobble_s: float = 0.3
    inclination_rad: float = math.radians(1.3)
    """Of the orientation filter; fades within ``inclination_s``."""
    inclination_s: float = 1.4
    heading_rad: float = math.radians(4.0)
    """Heading of a sensor against the root's, constant in a take,"""
    lost_heading_rad: float = math.radians(14.0)
    """or so much,"""
    lost_share: float = 0.15
    """in this share of the takes."""
    acceleration_m_s2: float = 0.25
    """White, a frame."""
    acceleration_bias_m_s2: float = 0.1
    rate_rad_s: float = 0.02
    still_share: float = 0.003
    """Share of frames that are lost: the last one is repeated."""
    first_pose_rad: float = math.radians(9.0)
    """Error of the pose that a take begins with."""
    cold_share: float = 0.4
    """Takes that begin with no pose."""


AS_RECORDED = TakeParams(other_arms_share=0.0, wander_share=0.0)
"""Movements as they are, drawn bodies, tempo and sensors alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """T frames."""

    features: Float32
    """[T, 69]."""
    velocities: Float32
    """[T, 6, 3] of ``JOINTS`` in the root's axes, m/s: of the root in the world, of the others against the root."""
    six: Float32
    """[T, 11, 6] rotations of ``POSE_SEGMENTS`` against the root."""
    first_six: Float32
    """[11, 6] what the network is told of the first pose."""
    first_velocities: Float32
    """[6, 3]."""
    cold: bool
    """Whether it is told nothing of the first pose."""
    q_world_from_segment: Float64
    """[T, 23, 4] truth."""
    positions_m: Float64
    """[T, 23, 3] truth."""
    q_seen: Float64
    """[T, 6, 4] orientation of the sites as the sensors say."""
    lengths_m: Float64
    """[11]."""


WANDER_RAD: dict[str, float] = {
    "arm_": 0.5, "elbow": 0.4, "shoulder": 0.12, "hip_": 0.25, "knee": 0.3, "spine_": 0.12, "neck_": 0.2, "root_r": 0.12
}  # fmt: skip
"""Standard deviations of the paths beside a movement's, by what the coordinates' names hold; others keep to it."""

_TARGETS: Int64 = segment_indices(POSE_SEGMENTS)
_JOINTS: Int64 = segment_indices(JOINTS)
_SITES: Int64 = segment_indices(SITES)
_ROOT = SEGMENT["pelvis"]
_ROOT_PLACE = [COORDINATE[f"root_p{axis}"] for axis in "xyz"]
_JOINT_COLUMNS = [i for i, name in enumerate(COORDINATE_NAMES) if not name.startswith("root_")]


def _mirror_tables() -> tuple[Int64, Float64]:
    """Which coordinate each one becomes in a mirror, and its sign; ``docs/conventions.md``, Coordinates."""
    order: Int64 = np.empty(COORDINATES, dtype=np.int64)
    sign = np.ones(COORDINATES)
    for i, name in enumerate(COORDINATE_NAMES):
        other = name.replace("left_", "right_") if name.startswith("left_") else name.replace("right_", "left_")
        order[i] = COORDINATE[other]
        vector = name.startswith(("root_r", "spine_", "neck_")) or name.split("_", 1)[1][:-1] in ("arm_", "hip_")
        if name == "root_py" or (vector and name[-1] in "xz"):
            sign[i] = -1.0
    return order, sign


_FREE_ROTATIONS = [[COORDINATE[f"{prefix}{axis}"] for axis in "xyz"] for prefix in ROTATIONS]
_HINGES = [i for i in _JOINT_COLUMNS if not any(i in columns for columns in _FREE_ROTATIONS)]
_ARM_COLUMNS = [
    i for i, name in enumerate(COORDINATE_NAMES) if any(part in name for part in ("shoulder", "arm", "elbow", "wrist"))
]
_LOW, _HIGH = coordinate_limits()
_WANDER: Float64 = np.array(
    [next((size for part, size in WANDER_RAD.items() if part in name), 0.0) for name in COORDINATE_NAMES]
)

_MIRROR_ORDER, _MIRROR_SIGN = _mirror_tables()


def mirrored(coordinates: Float64) -> Float64:
    """Coordinates [..., 44] of the mirror image (y to -y)."""
    return np.asarray(_MIRROR_SIGN * coordinates[..., _MIRROR_ORDER])


def draw_take(
    movement: Movement, random: np.random.Generator, params: TakeParams, arms_of: Movement | None = None
) -> Take:
    """A take of a movement, drawn; its arms may do what those of ``arms_of`` do."""
    tempo = float(np.exp(random.uniform(-1.0, 1.0) * math.log1p(params.tempo)))
    seconds = float(random.uniform(params.shortest_s, params.longest_s))
    motion, start_s, moved_s = _stretch(movement, seconds * tempo, random)
    swaps = arms_of is not None and random.random() < params.other_arms_share
    arms = _played(arms_of, seconds, random) if swaps and arms_of is not None else None
    lengths = draw_lengths(int(random.integers(2**31)), float(random.uniform(*params.stature_m)))
    frames = int(moved_s / tempo * FRAME_RATE_HZ)
    clock = np.asarray(start_s + tempo * np.arange(-ACCELERATION_FRAMES, frames) / FRAME_RATE_HZ, dtype=np.float64)
    grow = (lengths[LENGTH["thigh"]] + lengths[LENGTH["shank"]]) / (
        movement.lengths_m[LENGTH["thigh"]] + movement.lengths_m[LENGTH["shank"]]
    )
    mirror = bool(random.random() < params.mirror_share)
    path = _wander(start_s, float(clock[-1]), random, params)

    def coordinates(times_s: Float64) -> Float64:
        local = _folded(times_s, movement.duration_s) if _folds(movement) else times_s
        values = motion.coordinates(local)
        if arms is not None:
            values[:, _ARM_COLUMNS] = arms(times_s - start_s)[:, _ARM_COLUMNS]
        values = beside(values, path(times_s))
        values[:, _ROOT_PLACE] *= grow
        return mirrored(values) if mirror else values

    return _seen(coordinates, clock, tempo, lengths, random, params)


def plain_take(movement: Movement, random: np.random.Generator, params: TakeParams) -> Take:
    """The whole of a movement as it was, with its own body and drawn sensors: to judge on."""
    motion = BodyMotion(movement.samples.astype(np.float64), movement.rate_hz, movement.lengths_m, periodic=False)
    frames = int(movement.duration_s * FRAME_RATE_HZ)
    clock = np.arange(-ACCELERATION_FRAMES, frames) / FRAME_RATE_HZ
    return _seen(motion.coordinates, clock, 1.0, movement.lengths_m, random, params)


def _played(movement: Movement, seconds: float, random: np.random.Generator) -> Callable[[Float64], Float64]:
    """A drawn stretch of a movement at its own pace, by times from its start; where it ends it is held."""
    motion, start_s, _ = _stretch(movement, seconds, random)

    def coordinates(times_s: Float64) -> Float64:
        local = start_s + times_s
        return motion.coordinates(_folded(local, movement.duration_s) if _folds(movement) else local)

    return coordinates


def _wander(
    begin_s: float, end_s: float, random: np.random.Generator, params: TakeParams
) -> Callable[[Float64], Float64]:
    """Offsets [N, 44] over time: the constant one of the style and, in some takes, a smooth drawn path."""
    style = np.zeros(COORDINATES)
    style[_JOINT_COLUMNS] = params.style_rad / math.sqrt(3.0) * random.standard_normal(len(_JOINT_COLUMNS))
    if random.random() >= params.wander_share:
        return lambda times_s: np.broadcast_to(style, (len(times_s), COORDINATES))
    apart_s = float(random.uniform(*params.wander_s))
    knots = np.arange(begin_s - 2.0, end_s + 2.0 + apart_s, apart_s)
    sizes = params.wander * _WANDER * random.uniform(0.0, 1.0, COORDINATES)
    spline = CubicSpline(knots, sizes * random.standard_normal((len(knots), COORDINATES)))
    return lambda times_s: style + spline(times_s)


def beside(values: Float64, offsets: Float64) -> Float64:
    """Coordinates [N, 44] moved by offsets: free rotations turned, hinges and chains added to, within their limits."""
    result = values + offsets
    for columns in _FREE_ROTATIONS:
        turned = quaternion.multiply(
            quaternion.from_rotvec(values[:, columns]), quaternion.from_rotvec(offsets[:, columns])
        )
        result[:, columns] = quaternion.to_rotvec(turned)
    # A movement that is beyond a limit by itself stays where it is.
    low, high = np.minimum(_LOW, values), np.maximum(_HIGH, values)
    result[:, _HINGES] = np.clip(result, low, high)[:, _HINGES]
    return result


def _folds(movement: Movement) -> bool:
    return movement.duration_s < _FOLD_BELOW_S


def _folded(times_s: Float64, duration_s: float) -> Float64:
    """Times of a movement played there and back for ever; it slows down towards its ends, so that nothing jumps."""
    phase = np.mod(times_s, 2.0 * duration_s)
    there = np.where(phase < duration_s, phase, 2.0 * duration_s - phase)
    ease = min(0.2, 0.25 * duration_s)
    low, high = there < ease, there > duration_s - ease
    return np.where(
        low, 0.5 * ease + 0.5 * there**2 / ease,
        np.where(high, duration_s - 0.5 * ease - 0.5 * (duration_s - there) ** 2 / ease, there),
    )  # fmt: skip


def _stretch(movement: Movement, seconds: float, random: np.random.Generator) -> tuple[BodyMotion, float, float]:
    """The part of a movement that a take needs, when the take starts in it, and how much of it there is, s."""
    lead_s = ACCELERATION_FRAMES / FRAME_RATE_HZ + _EDGE_S
    if _folds(movement):
        whole = movement.samples.astype(np.float64)
        motion = BodyMotion(whole, movement.rate_hz, movement.lengths_m, periodic=False)
        return motion, float(random.uniform(0.0, 2.0 * movement.duration_s)), seconds
    seconds = min(seconds, movement.duration_s - 2.0 * lead_s)
    for _ in range(50):
        begin_s = float(random.uniform(0.0, max(movement.duration_s - seconds - 2.0 * lead_s, 0.0)))
        end_s = begin_s + seconds + 2.0 * lead_s
        if not any(begin_s < last and first < end_s for first, last in movement.avoid_s):
            break
        seconds = max(0.9 * seconds, 2.0)
    first = int(begin_s * movement.rate_hz)
    last = math.ceil(end_s * movement.rate_hz) + 1
    part = movement.samples[first:last].astype(np.float64)
    return BodyMotion(part, movement.rate_hz, movement.lengths_m, periodic=False), lead_s, seconds


def _seen(
    coordinates: Callable[[Float64], Float64],
    clock: Float64,
    tempo: float,
    lengths: Float64,
    random: np.random.Generator,
    params: TakeParams,
) -> Take:
    """What sensors see; ``clock`` begins ``ACCELERATION_FRAMES`` before the first frame."""
    count = len(clock)
    step = tempo * _STEP_S
    stacked = np.concatenate([clock - step, clock, clock + step])
    positions, q = forward_kinematics_batch(coordinates(stacked), lengths)
    positions = positions.reshape(3, count, *positions.shape[1:])
    q = q.reshape(3, count, *q.shape[1:])
    place = positions[:, :, _SITES] + quaternion.rotate(q[:, :, _SITES], _levers(lengths, random))
    velocity = (place[2] - place[0]) / (2.0 * _STEP_S)
    lag = ACCELERATION_FRAMES
    free = (velocity[lag:] - velocity[:-lag]) * (FRAME_RATE_HZ / lag)
    root = q[:, lag:, _ROOT]
    rate = quaternion.to_rotvec(quaternion.multiply(quaternion.conjugate(root[0]), root[2])) / (2.0 * _STEP_S)
    true = q[1, lag:]
    q_seen, free_seen, rate_seen = _disturbed(true[:, _SITES], free, rate, random, params)
    moving = (positions[2, lag:][:, _JOINTS] - positions[0, lag:][:, _JOINTS]) / (2.0 * _STEP_S)
    moving[:, 1:] -= moving[:, :1]
    inverse = quaternion.conjugate(true[:, _ROOT])[:, None]
    velocities = quaternion.rotate(inverse, moving)
    against = quaternion.multiply(inverse, true[:, _TARGETS])
    first = quaternion.multiply(against[0], _turns((len(POSE_SEGMENTS),), params.first_pose_rad, random))
    return Take(
        features=features_of(q_seen, free_seen, rate_seen),
        velocities=velocities.astype(np.float32),
        six=six_of(quaternion.to_matrix(against)).astype(np.float32),
        first_six=six_of(quaternion.to_matrix(first)).astype(np.float32),
        first_velocities=(velocities[0] + 0.1 * random.standard_normal(velocities[0].shape)).astype(np.float32),
        cold=bool(random.random() < params.cold_share),
        q_world_from_segment=true,
        positions_m=positions[1, lag:],
        q_seen=q_seen,
        lengths_m=np.asarray(lengths, dtype=np.float64),
    )


def _levers(lengths: Float64, random: np.random.Generator) -> Float64:
    """Where the sensors sit [6, 3] on their segments, m; in the order of ``SITES``."""
    shank, forearm = float(lengths[LENGTH["shank"]]), float(lengths[LENGTH["forearm"]])

    def shin(sign: float) -> list[float]:
        down = random.uniform(0.18, 0.5) * shank
        return [random.uniform(-0.02, 0.06), sign * random.uniform(-0.01, 0.05), -down]

    def wrist(sign: float) -> list[float]:
        out = forearm - random.uniform(0.0, 0.07)
        return [random.uniform(-0.03, 0.03), sign * out, random.uniform(0.0, 0.04)]

    pelvis = [random.uniform(-0.16, -0.07), random.uniform(-0.05, 0.05), random.uniform(-0.02, 0.1)]
    head = [random.uniform(-0.11, 0.09), random.uniform(-0.06, 0.06), random.uniform(0.04, 0.13)]
    return np.array([pelvis, shin(1.0), shin(-1.0), head, wrist(1.0), wrist(-1.0)])


def _turns(shape: tuple[int, ...], angle_rad: float, random: np.random.Generator) -> Float64:
    """Rotations [*shape, 4] of this root mean square angle about drawn axes."""
    return quaternion.from_rotvec(angle_rad / math.sqrt(3.0) * random.standard_normal((*shape, 3)))


def _fading(count: int, shape: tuple[int, ...], fade_s: float, random: np.random.Generator) -> Float64:
    """A first-order Gauss-Markov sequence [count, *shape] of unit variance at the rate of frames."""
    from scipy.signal import lfilter

    keep = math.exp(-1.0 / (fade_s * FRAME_RATE_HZ))
    white = random.standard_normal((count, *shape))
    white[0] /= math.sqrt(1.0 - keep**2)
    return np.asarray(lfilter([math.sqrt(1.0 - keep**2)], [1.0, -keep], white, axis=0))


def _disturbed(
    q: Float64, free: Float64, rate: Float64, random: np.random.Generator, params: TakeParams
) -> tuple[Float64, Float64, Float64]:
    """Orientations [T, 6, 4], free accelerations [T, 6, 3] and rate [T, 3] with the errors of worn sensors."""
    count, sensors = q.shape[:2]
    wobble = params.wobble_rad / math.sqrt(3.0) * _fading(count, (sensors, 3), params.wobble_s, random)
    mounting = _turns((sensors,), params.mounting_rad, random)
    turned = quaternion.multiply(quaternion.multiply(q, mounting), quaternion.from_rotvec(wobble))
    lost = random.random() < params.lost_share
    heading = np.zeros((sensors, 3))
    heading[:, 2] = (params.lost_heading_rad if lost else params.heading_rad) * random.standard_normal(sensors)
    tilt = np.zeros((count, sensors, 3))
    tilt[..., :2] = params.inclination_rad / math.sqrt(2.0) * _fading(count, (sensors, 2), params.inclination_s, random)
    world = quaternion.multiply(quaternion.from_rotvec(heading), quaternion.from_rotvec(tilt))
    force = free + np.array([0.0, 0.0, GRAVITY_M_S2])
    force = force + quaternion.rotate(turned, params.acceleration_bias_m_s2 * random.standard_normal((sensors, 3)))
    seen = quaternion.rotate(world, force) - np.array([0.0, 0.0, GRAVITY_M_S2])
    seen = seen + params.acceleration_m_s2 * random.standard_normal(seen.shape)
    # The root's rate is read through its mounting, as everything is.
    rate = quaternion.rotate(quaternion.conjugate(mounting[0]), rate)
    rate = rate + params.rate_rad_s * random.standard_normal(rate.shape)
    result = quaternion.multiply(world, turned), seen, rate
    return _with_losses(result, random.random((count, sensors)) < params.still_share)


def _with_losses(seen: tuple[Float64, Float64, Float64], lost: Bool) -> tuple[Float64, Float64, Float64]:
    """Lost frames [T, 6] repeat the last one that was not."""
    q, free, rate = seen
    lost[0] = False
    source = np.maximum.accumulate(np.where(lost, 0, np.arange(len(q))[:, None]), axis=0)
    columns = np.arange(q.shape[1])
    return q[source, columns], free[source, columns], rate[source[:, 0]]
