"""What body-worn IMUs say: angular rates, orientations, specific forces.

A sensor sits on its segment with q_segment_from_sensor = q_mount Exp(m), where
q_mount is what the profile says and m the slot's mounting error. Rates and
forces are features in world axes as the sensor sees them turn, R d(R^T x), so
that an observation turns them into the sensor's frame by R^T.

Variances are per measurement. What stays the same over many of them and has no
state of its own must be in there, inflated (see ``imu_slots``): the defaults
are for measurements every 20 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numba import njit

from fusion.body.kinematics import TABLES, BodyTables, rotation_jacobian
from fusion.body.skeleton import COORDINATES, SEGMENT_NAMES
from fusion.filter.measurements.imu_slots import (
    ImuStateParams,
    heading_variance,
    hear,
    slots_within,
    start_heading,
    start_slots,
)
from fusion.filter.measurements.motion import (
    acceleration_jacobian,
    add_column,
    at,
    less,
    plus,
    point_acceleration,
    turn_of,
    turning_jacobian,
    unit,
)
from fusion.filter.measurements.turns import observe_turn
from fusion.filter.state import IMU_BIAS, IMU_COLUMN, IMU_HEADING, IMU_SIZE, State
from fusion.filter.system import Body, System, add_feature, add_observation, usable
from fusion.maths.kernels import Quaternion, Vector, conjugated, crossed, exponential, multiplied, rotated
from fusion.records import Bool, Float64, Int64

GRAVITY_M_S2 = 9.81
_UP_M_S2 = (0.0, 0.0, GRAVITY_M_S2)
_DOWN_M_S2 = (0.0, 0.0, -GRAVITY_M_S2)
_ORIGIN = (0.0, 0.0, 0.0)

_TRUNK = np.array(
    [name in ("pelvis", "l5", "l3", "t12", "t8", "neck", "head") or "shoulder" in name for name in SEGMENT_NAMES]
)


@dataclass(frozen=True, slots=True)
class GyroParams:
    """How far a gyroscope on soft tissue is trusted as the rate of the bone below."""

    noise_rad_s: float = 0.1
    """Standard deviation at rest: soft tissue, and what the bias' state does not follow."""
    share: float = 0.15
    """Standard deviation as a share of the rate: scale and soft tissue."""


@dataclass(frozen=True, slots=True)
class OrientationParams:
    """How far an orientation filter on soft tissue is trusted as the orientation of the bone below."""

    inclination_rad: float = 0.1
    """Standard deviation against the vertical, ten times a second: 0.09 of VQF, whose errors last for 1.5 s
    (``docs/inertial.md``), and soft tissue."""
    heading_rad: float = 0.1
    """Standard deviation about the vertical, less the slot's heading error."""


@dataclass(frozen=True, slots=True)
class AccelerometerParams:
    """How far a specific force is trusted as gravity and what the state knows of the motion.

    The acceleration that drives the process is not in the state: it is noise here, and nearly all there is. On the
    clips to learn from (``training/clips.py``) the true rates explain 0-5 % of the acceleration at the usual sites,
    whose root mean square is 1.3-5 m/s^2 per axis in walking, sneaking and climbing and 7-15 in sport; it lasts for
    0.02-0.1 s. 1.2 m/s^2 on the trunk, 1.6 on limbs and once the excess of the force's size over gravity make the
    squared residuals 0.8-1.3 of their variance but in sport (2-3). The defaults are 2.4 times that, as samples every
    20 ms are correlated.
    """

    noise_m_s2: float = 0.5
    """Standard deviation at rest: bias and soft tissue."""
    trunk_m_s2: float = 3.0
    """Standard deviation of the driving acceleration on pelvis, spine, shoulders and head."""
    limb_m_s2: float = 4.0
    """The same on limbs."""
    share: float = 2.5
    """Standard deviation as a share of how much the force differs from gravity in size."""


@njit(cache=True)
def _world_from_sensor(body: Body, nominal: Float64, segment: int, slot: int, mount: Quaternion) -> Quaternion:
    q = multiplied(turn_of(body.quaternions, segment), mount)
    if slot < 0:
        return q
    m = IMU_COLUMN + IMU_SIZE * slot
    return multiplied(q, exponential(nominal[m], nominal[m + 1], nominal[m + 2]))


@njit(cache=True)
def _observe_in_sensor(
    system: System,
    feature: int,
    q: Quaternion,
    value: Vector,
    bias: Vector,
    measured: Vector,
    variance: float,
    slot: int,
    source: int,
) -> None:
    """Add the view R^T x + bias of a sensor q = ``q_world_from_sensor`` on a world vector x, and its mounting error."""
    o = add_observation(system, feature, 3, source)
    if o < 0:
        return
    system.group[o] += source
    seen = plus(rotated(conjugated(q), value), bias)
    residual = less(measured, seen)
    for k in range(3):
        axis = rotated(q, unit(k))
        if slot >= 0:
            add_column(system.jacobian[feature], IMU_COLUMN + IMU_SIZE * slot + k, crossed(value, axis))
        for i in range(3):
            system.h[o, k, i] = axis[i]
        system.residual[o, k] = residual[k]
        system.variance[o, k] = variance


@njit(cache=True)
def gyro_rows(
    tables: BodyTables,
    body: Body,
    nominal: Float64,
    system: System,
    segment: Int64,
    slot: Int64,
    q_segment_from_sensor: Float64,
    measured: Float64,
    variance: Float64,
) -> None:
    """Append the rates [M, 3] of M sensors, sensor frame, rad/s, with variance [M]; what is no number is left out."""
    for m in range(segment.shape[0]):
        if segment[m] < 0 or not usable(measured[m], variance[m]):
            continue
        f = add_feature(system, 3)
        if f < 0:
            return
        q = _world_from_sensor(body, nominal, segment[m], slot[m], turn_of(q_segment_from_sensor, m))
        turning_jacobian(tables, body, nominal, segment[m], system.jacobian[f])
        bias = _ORIGIN
        if slot[m] >= 0:
            first = IMU_COLUMN + IMU_SIZE * slot[m] + IMU_BIAS
            bias = (nominal[first], nominal[first + 1], nominal[first + 2])
            for k in range(3):
                add_column(system.jacobian[f], first + k, rotated(q, unit(k)))
        rate = at(body.angular_rates, segment[m])
        _observe_in_sensor(system, f, q, rate, bias, at(measured, m), variance[m], slot[m], m)


@njit(cache=True)
def specific_force_rows(
    tables: BodyTables,
    body: Body,
    nominal: Float64,
    damping: Float64,
    system: System,
    segment: Int64,
    slot: Int64,
    q_segment_from_sensor: Float64,
    lever_arm: Float64,
    measured: Float64,
    variance: Float64,
) -> None:
    """Append the specific forces [M, 3] of M sensors, sensor frame, m/s^2, with variance [M].

    ``lever_arm`` [M, 3] is in the segment's frame, m; ``damping`` [44] is the decay of the rates, 1/s. What is no
    number is left out.
    """
    for m in range(segment.shape[0]):
        if segment[m] < 0 or not usable(measured[m], variance[m]) or not usable(lever_arm[m], 1.0):
            continue
        f = add_feature(system, 3)
        if f < 0:
            return
        q = _world_from_sensor(body, nominal, segment[m], slot[m], turn_of(q_segment_from_sensor, m))
        arm = rotated(turn_of(body.quaternions, segment[m]), at(lever_arm, m))
        point = plus(at(body.positions, segment[m]), arm)
        acceleration, _ = point_acceleration(tables, body, nominal, damping, segment[m], point)
        acceleration_jacobian(tables, body, nominal, damping, segment[m], point, _DOWN_M_S2, system.jacobian[f])
        force = plus(acceleration, _UP_M_S2)
        _observe_in_sensor(system, f, q, force, _ORIGIN, at(measured, m), variance[m], slot[m], m)


@njit(cache=True)
def _predicted_orientation(body: Body, nominal: Float64, segment: int, slot: int, mount: Quaternion) -> Quaternion:
    q = _world_from_sensor(body, nominal, segment, slot, mount)
    if slot < 0:
        return q
    return multiplied(exponential(0.0, 0.0, nominal[IMU_COLUMN + IMU_SIZE * slot + IMU_HEADING]), q)


@njit(cache=True)
def heading_difference(
    body: Body, nominal: Float64, segment: int, slot: int, mount: Float64, measured: Float64
) -> float:
    """How far a measured orientation [4] is turned about the vertical against the predicted one, rad."""
    q = _predicted_orientation(body, nominal, segment, slot, (mount[0], mount[1], mount[2], mount[3]))
    away = multiplied((measured[0], measured[1], measured[2], measured[3]), conjugated(q))
    return 2.0 * math.atan2(away[3], away[0])


@njit(cache=True)
def orientation_rows(
    tables: BodyTables,
    body: Body,
    nominal: Float64,
    system: System,
    segment: Int64,
    slot: Int64,
    q_segment_from_sensor: Float64,
    measured: Float64,
    inclination_variance: float,
    heading_variance: float,
) -> None:
    """Append the orientations ``q_world_from_sensor`` [M, 4] of M sensors; what is no number is left out.

    Predicted is Rz(h) q_world_from_segment q_mount Exp(m) with the slot's heading error h. The residual is in world
    axes, so that the vertical has a variance of its own, rad^2.
    """
    variance = (inclination_variance, inclination_variance, heading_variance)
    for m in range(segment.shape[0]):
        if segment[m] < 0 or not usable(measured[m], inclination_variance) or not heading_variance > 0.0:
            continue
        f = add_feature(system, 3)
        if f < 0:
            return
        q = _predicted_orientation(body, nominal, segment[m], slot[m], turn_of(q_segment_from_sensor, m))
        jacobian = system.jacobian[f]
        rotation_jacobian(tables, body.axes_world, segment[m], jacobian)
        if slot[m] >= 0:
            first = IMU_COLUMN + IMU_SIZE * slot[m]
            heading = exponential(0.0, 0.0, nominal[first + IMU_HEADING])
            for c in range(COORDINATES):
                turned = rotated(heading, (jacobian[0, c], jacobian[1, c], jacobian[2, c]))
                for i in range(3):
                    jacobian[i, c] = turned[i]
            for k in range(3):
                add_column(jacobian, first + k, rotated(q, unit(k)))
            jacobian[2, first + IMU_HEADING] += 1.0
        o = system.filled[1]
        observe_turn(system, f, turn_of(measured, m), q, variance, m)
        if system.filled[1] > o:
            system.group[o] += m


@dataclass(frozen=True, slots=True, eq=False)
class _Imus:
    """IMUs of one wearer at one time."""

    time_ns: int
    source: str
    segment: Int64
    """[M] index into ``SEGMENT_NAMES``; negative where the IMU is not on the body."""
    slot: Int64
    """[M] slot of the IMU's slow states; negative for none."""
    q_segment_from_sensor: Float64
    """[M, 4] as the profile says."""
    slow: ImuStateParams = field(default_factory=ImuStateParams, kw_only=True)
    """Of slots that begin with this measurement."""

    @property
    def linear(self) -> bool:
        """See ``Measurement``."""
        return True

    @property
    def sources(self) -> tuple[str, ...]:
        """Each IMU is a group of its own: one that errs must not hide among those that do not."""
        return tuple(f"{self.source}/{SEGMENT_NAMES[segment]}" for segment in self.segment)

    def learn(self, state: State, system: System) -> None:
        """Remember when the slots were heard."""
        used, first = slice(0, int(system.filled[1])), int(system.filled[2])
        group = system.group[used]
        mine = system.source[used][(group >= first) & (group < first + len(self.segment))]
        hear(state, slots_within(state, self.slot)[mine], self.time_ns)

    def _begin(self, state: State, nominal: Float64, values: Float64) -> Int64:
        """The slots [M]; those of IMUs with values [M, :] that have not begun do so now."""
        slots = slots_within(state, self.slot)
        told = np.isfinite(values).all(axis=1) & (self.segment >= 0)
        start_slots(state, nominal, slots[told], self.time_ns, self.slow)
        return slots


@dataclass(frozen=True, slots=True, eq=False)
class GyroMeasurement(_Imus):
    """Angular rates of several IMUs."""

    rates_rad_s: Float64
    """[M, 3] sensor frame; NaN where missing."""
    params: GyroParams

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """See ``Measurement``."""
        slots = self._begin(state, nominal, self.rates_rad_s)
        speed = np.linalg.norm(self.rates_rad_s, axis=1)
        variance = self.params.noise_rad_s**2 + (self.params.share * speed) ** 2
        gyro_rows(
            TABLES, body, nominal, system, self.segment, slots, self.q_segment_from_sensor, self.rates_rad_s, variance
        )


@dataclass(frozen=True, slots=True, eq=False)
class AccelerometerMeasurement(_Imus):
    """Specific forces of several IMUs."""

    specific_force_m_s2: Float64
    """[M, 3] sensor frame, +9.81 upwards at rest; NaN where missing."""
    lever_arm_m: Float64
    """[M, 3] of the sensor from the segment's origin, segment frame."""
    params: AccelerometerParams
    decay_s: Float64 | None = None
    """[44] time constants with which the rates die out; None where they stay. A process that forgets unmeasured
    rates within 0.3 s is a bad forecast of measured ones: on clips of walking what is
    not explained is 1.2 to 1.6 times larger with it."""

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """See ``Measurement``. Exact but for the chains, see ``acceleration_jacobian``."""
        slots = self._begin(state, nominal, self.specific_force_m_s2)
        damping = np.zeros(COORDINATES) if self.decay_s is None else 1.0 / self.decay_s
        p = self.params
        beyond = np.linalg.norm(self.specific_force_m_s2, axis=1) - GRAVITY_M_S2
        driven = np.where(_TRUNK[self.segment], p.trunk_m_s2, p.limb_m_s2)
        variance = p.noise_m_s2**2 + driven**2 + (p.share * beyond) ** 2
        specific_force_rows(
            TABLES,
            body,
            nominal,
            damping,
            system,
            self.segment,
            slots,
            self.q_segment_from_sensor,
            self.lever_arm_m,
            self.specific_force_m_s2,
            variance,
        )


@dataclass(frozen=True, slots=True, eq=False)
class OrientationMeasurement(_Imus):
    """Orientations of several IMUs, from an orientation filter whose heading is free."""

    q_world_from_sensor: Float64
    """[M, 4] wxyz, world z up; NaN where missing."""
    params: OrientationParams
    fresh: Bool | None = None
    """[M] whether the orientation filter has started anew, so that its heading has nothing to do with that before."""

    @property
    def linear(self) -> bool:
        """See ``Measurement``."""
        return False

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """See ``Measurement``."""
        slots = self._begin(state, nominal, self.q_world_from_sensor)
        for m, slot in enumerate(slots):
            if slot < 0 or self.segment[m] < 0 or not self._begins_heading(state, m, int(slot)):
                continue
            away = heading_difference(
                body, nominal, self.segment[m], slot, self.q_segment_from_sensor[m], self.q_world_from_sensor[m]
            )
            start_heading(state, nominal, int(slot), away, self.slow)
        orientation_rows(
            TABLES,
            body,
            nominal,
            system,
            self.segment,
            slots,
            self.q_segment_from_sensor,
            self.q_world_from_sensor,
            self.params.inclination_rad**2,
            self.params.heading_rad**2,
        )

    def _begins_heading(self, state: State, m: int, slot: int) -> bool:
        """Whether the slot has no heading, or one from before the filter started anew."""
        # What an earlier iteration of the same update has begun still has all of its first variance.
        variance = heading_variance(state, slot)
        fresh = self.fresh is not None and bool(self.fresh[m])
        return variance == 0.0 or (fresh and variance < self.slow.heading_rad**2)
