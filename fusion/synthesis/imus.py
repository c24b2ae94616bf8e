"""Virtual inertial sensors: what accelerometer, gyroscope and magnetometer on a moving body read.

Specific force and angular rate come from central differences of the sensor's
place and orientation, which the spline of the movement makes smooth. What is
drawn of chance depends on the seed, the sensor and the sample only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fusion.body.skeleton import LENGTH, REFERENCE_LENGTHS_M, SEGMENT
from fusion.maths import quaternion
from fusion.records import Float64, InertialSamples
from fusion.rig import ImuMount
from fusion.synthesis.params import InertialParams
from fusion.synthesis.randomness import RandomStream
from fusion.synthesis.wearer import Wearer

NANOSECONDS = 1_000_000_000
GRAVITY_M_S2 = 9.81
MAGNETIC_FIELD_UT: Float64 = np.array([20.0, 0.0, -43.0])
"""World field: x is magnetic north; size and dip of central Europe."""

_STEP_S = 0.004
"""Of the central differences: acceleration up to 10 Hz comes out within 2 %."""
_WALK_KNOT_S = 1.0

_HALF = math.sqrt(0.5)
_PLACES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float, float], str]] = {
    # Lever arm in the reference body, q_segment_from_sensor, the length that scales the lever arm.
    "pelvis": ((-0.11, 0.0, 0.05), (0.0, 0.0, 0.0, 1.0), "pelvis"),
    "t8": ((-0.11, 0.0, 0.05), (0.0, 0.0, 0.0, 1.0), "trunk"),
    "head": ((-0.09, 0.0, 0.08), (0.0, 0.0, 0.0, 1.0), "head"),
    "right_upper_arm": ((0.0, -0.16, 0.04), (1.0, 0.0, 0.0, 0.0), "upper_arm"),
    "left_upper_arm": ((0.0, 0.16, 0.04), (1.0, 0.0, 0.0, 0.0), "upper_arm"),
    "right_forearm": ((0.0, -0.21, 0.03), (1.0, 0.0, 0.0, 0.0), "forearm"),
    "left_forearm": ((0.0, 0.21, 0.03), (1.0, 0.0, 0.0, 0.0), "forearm"),
    "right_upper_leg": ((0.02, -0.07, -0.2), (_HALF, 0.0, 0.0, -_HALF), "thigh"),
    "left_upper_leg": ((0.02, 0.07, -0.2), (_HALF, 0.0, 0.0, _HALF), "thigh"),
    "right_lower_leg": ((0.03, -0.03, -0.13), (_HALF, 0.0, 0.0, -_HALF), "shank"),
    "left_lower_leg": ((0.03, 0.03, -0.13), (_HALF, 0.0, 0.0, _HALF), "shank"),
}
"""Usual places; other segments carry the sensor at their origin, axes aligned."""


def nominal_mounts(params: InertialParams) -> tuple[ImuMount, ...]:
    """Where the profile says that the sensors sit."""
    mounts = []
    for site in params.sites:
        lever, q, _ = _PLACES.get(site, ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), "trunk"))
        mounts.append(ImuMount(segment=site, q_segment_from_sensor=np.array(q), lever_arm_m=np.array(lever)))
    return tuple(mounts)


@dataclass(frozen=True, slots=True, eq=False)
class InertialTruth:
    """What ideal sensors would read: T samples of M sensors, sensor frames."""

    specific_force_m_s2: Float64
    """[T, M, 3]."""
    angular_rate_rad_s: Float64
    q_world_from_sensor: Float64
    """[T, M, 4]."""


class VirtualImus:
    """The samples of one inertial system on one wearer.

    Args:
        name: enters the random numbers.
        params: sites and errors.
        wearer: who wears it.
        seed: of the simulation.
    """

    def __init__(self, name: str, params: InertialParams, wearer: Wearer, seed: int) -> None:
        self.params = params
        self._wearer = wearer
        self._segments = np.array([SEGMENT[site] for site in params.sites])
        self.mounts = _worn(nominal_mounts(params), params, wearer, seed)
        """How the sensors really sit: the profile's mounts with the mounting errors."""
        self._levers = np.array([mount.lever_arm_m for mount in self.mounts])
        self._q_segment_from_sensor = np.array([mount.q_segment_from_sensor for mount in self.mounts])
        self._noise = [RandomStream(seed, f"{name}/{site}/noise") for site in params.sites]
        self._arrival = RandomStream(seed, f"{name}/arrival")
        self._walks = [_Walk(RandomStream(seed, f"{name}/{site}/bias"), params) for site in params.sites]

    def ideal(self, times_s: Float64) -> InertialTruth:
        """Readings without errors at times [T]."""
        stacked = np.concatenate([times_s - _STEP_S, times_s, times_s + _STEP_S])
        positions, quaternions = self._wearer.motion.pose(stacked)
        turned = quaternions[:, self._segments]
        place = positions[:, self._segments] + quaternion.rotate(turned, self._levers)
        q = quaternion.multiply(turned, self._q_segment_from_sensor)
        before, now, after = (slice(i * len(times_s), (i + 1) * len(times_s)) for i in range(3))
        acceleration = (place[after] - 2.0 * place[now] + place[before]) / _STEP_S**2
        acceleration[..., 2] += GRAVITY_M_S2
        inverse = quaternion.conjugate(q[now])
        rate = quaternion.to_rotvec(quaternion.multiply(quaternion.conjugate(q[before]), q[after])) / (2.0 * _STEP_S)
        return InertialTruth(quaternion.rotate(inverse, acceleration), rate, q[now])

    def records(self, first: int, count: int, origin_ns: int) -> list[tuple[float, InertialSamples]]:
        """Consecutive records with the true time of their newest sample, in seconds from the start.

        Args:
            first: number of the first record, from 0.
            count: how many.
            origin_ns: session time of the simulation's start.
        """
        batch = self.params.samples_per_record
        index = np.arange(first * batch, (first + count) * batch)
        times = index / self.params.rate_hz
        ideal = self.ideal(times)
        force, rate = ideal.specific_force_m_s2.copy(), ideal.angular_rate_rad_s.copy()
        field = np.full_like(force, np.nan)
        if self.params.magnetometer:
            field = quaternion.rotate(quaternion.conjugate(ideal.q_world_from_sensor), self._world_field(times))
        for sensor in range(len(self.params.sites)):
            self._disturb(sensor, first, times, force[:, sensor], rate[:, sensor], field[:, sensor])
        stamps = times * (1.0 + self.params.clock_skew) + self.params.clock_offset_s
        result = []
        for k in range(count):
            part = slice(k * batch, (k + 1) * batch)
            newest = float(times[part][-1])
            latency = self.params.latency_s + self.params.jitter_s * self._arrival.at(first + k).standard_normal()
            times_ns = origin_ns + np.round(stamps[part] * NANOSECONDS).astype(np.int64)
            record = InertialSamples(
                measured_ns=int(times_ns[-1]),
                received_ns=origin_ns + round((newest + max(latency, 0.0)) * NANOSECONDS),
                sensors=self.params.sites,
                times_ns=times_ns,
                specific_force_m_s2=force[part].astype(np.float32),
                angular_rate_rad_s=rate[part].astype(np.float32),
                magnetic_field_ut=field[part].astype(np.float32),
            )
            result.append((newest, record))
        return result

    def _world_field(self, times: Float64) -> Float64:
        """The earth's field and that of iron nearby, [T, 1, 3] in uT."""
        begin_s, end_s = self.params.iron_s
        near = (times >= begin_s) & (times < end_s)
        return np.asarray(MAGNETIC_FIELD_UT + near[:, None, None] * np.array(self.params.iron_ut))

    def _disturb(self, sensor: int, first: int, times: Float64, force: Float64, rate: Float64, field: Float64) -> None:
        """Add one sensor's errors, in place: bias, white noise, missing samples."""
        params, batch = self.params, self.params.samples_per_record
        force += self._walks[sensor].specific_force(times)
        rate += self._walks[sensor].angular_rate(times)
        for start in range(0, len(times), batch):
            part = slice(start, start + batch)
            random = self._noise[sensor].at(first + start // batch)
            white = random.standard_normal((batch, 3, 3))
            lost = random.random(batch) < params.drop_share
            force[part] += params.specific_force_noise_m_s2 * white[:, 0]
            rate[part] += params.angular_rate_noise_rad_s * white[:, 1]
            field[part] += params.magnetic_noise_ut * white[:, 2]
            for array in (force, rate, field):
                array[part][lost] = np.nan


class _Walk:
    """Constant bias and random walk of one sensor, linear between knots a second apart."""

    def __init__(self, random: RandomStream, params: InertialParams) -> None:
        self._random = random
        self._scale = np.array([[params.specific_force_walk], [params.angular_rate_walk]]) * math.sqrt(_WALK_KNOT_S)
        start = np.array([[params.specific_force_bias_m_s2], [params.angular_rate_bias_rad_s]])
        self._knots = [start * random.at(0).standard_normal((2, 3))]

    def specific_force(self, times_s: Float64) -> Float64:
        """[T, 3] m/s^2."""
        return self._at(times_s, 0)

    def angular_rate(self, times_s: Float64) -> Float64:
        """[T, 3] rad/s."""
        return self._at(times_s, 1)

    def _at(self, times_s: Float64, row: int) -> Float64:
        position = times_s / _WALK_KNOT_S
        below = np.floor(position).astype(int)
        while len(self._knots) < below[-1] + 2:
            step = self._random.at(len(self._knots)).standard_normal((2, 3))
            self._knots.append(self._knots[-1] + self._scale * step)
        share = (position - below)[:, None]
        low: Float64 = np.array([self._knots[i][row] for i in below])
        high: Float64 = np.array([self._knots[i + 1][row] for i in below])
        return np.asarray((1.0 - share) * low + share * high)


def _worn(mounts: tuple[ImuMount, ...], params: InertialParams, wearer: Wearer, seed: int) -> tuple[ImuMount, ...]:
    """The mounts as this wearer wears them: scaled with the body, turned and shifted by the mounting errors."""
    result = []
    for mount in mounts:
        random = RandomStream(seed, f"mounting/{wearer.id}/{mount.segment}").at(0)
        turn = params.mounting_error_rad / math.sqrt(3.0) * random.standard_normal(3)
        shift = params.lever_error_m / math.sqrt(3.0) * random.standard_normal(3)
        length = LENGTH[_PLACES[mount.segment][2]] if mount.segment in _PLACES else 0
        scale = wearer.motion.lengths_m[length] / REFERENCE_LENGTHS_M[length]
        q = quaternion.multiply(mount.q_segment_from_sensor, quaternion.from_rotvec(turn))
        result.append(
            ImuMount(segment=mount.segment, q_segment_from_sensor=q, lever_arm_m=mount.lever_arm_m * scale + shift)
        )
    return tuple(result)
