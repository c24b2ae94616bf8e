"""The part-based network between the sensors and a wearer's filter.

Frames are made of the sensors' stretches all the time. While there is a wearer, the headings and mountings that the
filter has found are taken off each frame, the network takes it in, and now and then what it tells becomes
measurements. A sensor that is missing is stood in for by the filter's own pose, so that one lost sensor does not
take the other five's pose away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fusion.body.kinematics import forward_kinematics
from fusion.estimators.inertial.frames import Frame, FrameParams, FrameSampler
from fusion.estimators.inertial.layout import JOINTS, SITES, TOLD_SEGMENTS, segment_indices
from fusion.estimators.inertial.packing import NetworkWeights
from fusion.estimators.inertial.poser import InertialPoser, PoseTold
from fusion.estimators.inertial.stretches import Stretch
from fusion.filter.measurements.imu_slots import slot_columns
from fusion.filter.measurements.network import NetworkRotationsMeasurement, NetworkVelocitiesMeasurement
from fusion.filter.state import IMU_HEADING, LENGTH, NEVER_NS, State
from fusion.filter.system import Measurement
from fusion.maths import quaternion
from fusion.people import Person
from fusion.records import Bool, Float64, Int64

SOURCE = "network"
_SITE_SEGMENTS: Int64 = segment_indices(SITES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PosingParams:
    """What of the network's answers the filter is told, and how far it trusts them."""

    interval_frames: int = 6
    """One frame in so many is told."""
    segments: tuple[str, ...] = (
        "t8", "neck", "left_shoulder", "left_upper_arm", "right_shoulder", "right_upper_arm",
        "left_upper_leg", "right_upper_leg",
    )  # fmt: skip
    """Whose rotations are told; the lower spine bends as a whole, so the chest's tells all of it."""
    joints: tuple[str, ...] = ("pelvis",)
    """Whose velocities are told."""
    rotation_inflation: float = 12.0
    """The errors of successive frames are nearly the same: variances are larger by twice their correlation time
    over the interval."""
    velocity_inflation: float = 8.0
    floor_rad: float = 0.03
    """Standard deviation that no rotation is more certain than."""
    frames: FrameParams = field(default_factory=FrameParams)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the network was given at one time, and how the filter held the wearer to stand then."""

    time_ns: int
    begins: bool
    """Whether the network began anew with it."""
    q_world_from_site: Float64
    """[6, 4]."""
    acceleration_m_s2: Float64
    """[6, 3]."""
    root_rate_rad_s: Float64
    """[3]."""
    q_world_from_segment: Float64
    """[23, 4]."""
    positions_m: Float64
    """[23, 3]."""


class Posing:
    """Frames, network and measurements of one inertial system.

    Args:
        names: segments of its sensors.
        slots: [M] slots of the sensors in the filter.
        mountings: [M, 4] ``q_segment_from_sensor`` by the profile.
        weights: of the network.
        params: see there.
    """

    def __init__(
        self,
        names: Sequence[str],
        slots: Int64,
        mountings: Float64,
        weights: NetworkWeights,
        params: PosingParams | None = None,
    ) -> None:
        self.params = params or PosingParams()
        self.poser = InertialPoser(weights)
        self._chosen: Int64 = np.array([names.index(site) for site in SITES], dtype=np.int64)
        self._slots = slots[self._chosen].tolist()
        self._mountings = mountings[self._chosen]
        self._sampler = FrameSampler(len(SITES), self.params.frames)
        self._kept: list[Seen] | None = None
        self._wearer: int | None = None
        self._count = 0
        self._rotations = _positions(self.params.segments)
        self._velocities = _positions(self.params.joints)

    @staticmethod
    def possible(names: Sequence[str]) -> bool:
        """Whether sensors on these segments are enough for the network."""
        return set(SITES) <= set(names)

    def take_kept(self) -> list[Seen]:
        """What the network has been given since the last call; from the first call on it is kept."""
        kept, self._kept = self._kept or [], []
        return kept

    def step(self, stretch: Stretch, wearer: Person | None) -> list[Measurement]:
        """Take a stretch in, which tells orientations; returns what the wearer's filter is to be told."""
        orientations = stretch.orientations
        if orientations is None:
            return []
        chosen = self._chosen
        frames = self._sampler.feed(
            orientations.time_ns,
            np.where(orientations.settled[chosen, None], orientations.q_world_from_sensor[chosen], np.nan),
            stretch.specific_force_m_s2[chosen],
            stretch.rates_rad_s[chosen] - orientations.bias_rad_s[chosen],
        )
        measurements: list[Measurement] = []
        for frame in frames:
            measurements += self._frame(frame, wearer)
        return measurements

    def _frame(self, frame: Frame, wearer: Person | None) -> list[Measurement]:
        if wearer is None:
            self._wearer = None
            return []
        state = wearer.filter.settled
        begins = frame.begins or self._wearer != wearer.identity
        missing = frame.missing | ~self._headed(state)
        pose = None
        if begins or missing.any():
            _, pose = forward_kinematics(state.coordinates, np.exp(state.nominal[LENGTH]))
        if begins:
            self._wearer = None
            if missing[0]:
                return []
            self.poser.start(pose)
            self._wearer, self._count = wearer.identity, 0
        told = self._told(frame, missing, state, pose, begins)
        self._count += 1
        if told is None or missing[0] or self._count % self.params.interval_frames:
            return []
        return self._measurements(told)

    def _headed(self, state: State) -> Bool:
        """[6] whether the heading of each sensor has begun in the filter."""
        return np.array([
            slot < state.imus
            and state.imu_ns[slot] != NEVER_NS
            and state.covariance[slot_columns(slot).start + IMU_HEADING, slot_columns(slot).start + IMU_HEADING] > 0.0
            for slot in self._slots
        ])  # fmt: skip

    def _told(self, frame: Frame, missing: Bool, state: State, pose: Float64 | None, begins: bool) -> PoseTold | None:
        """What the network makes of a frame whose headings and mountings are corrected by the filter's."""
        first = [slot_columns(slot).start for slot in self._slots]
        mounting = quaternion.from_rotvec(np.stack([state.nominal[f : f + IMU_HEADING] for f in first]))
        turns = np.zeros((len(first), 3))
        turns[:, 2] = [-state.nominal[f + IMU_HEADING] for f in first]
        back = quaternion.from_rotvec(turns)
        q_segment_from_sensor = quaternion.multiply(self._mountings, mounting)
        q = quaternion.multiply(
            quaternion.multiply(back, frame.q_world_from_sensor), quaternion.conjugate(q_segment_from_sensor)
        )
        acceleration = quaternion.rotate(back, frame.acceleration_m_s2)
        if pose is not None and missing.any():
            q, acceleration = _stood_in(q, acceleration, pose, missing)
        rate = quaternion.rotate(q_segment_from_sensor[0], frame.rate_rad_s[0])
        if self._kept is not None:
            positions, stood = forward_kinematics(state.coordinates, np.exp(state.nominal[LENGTH]))
            self._kept.append(Seen(frame.time_ns, begins, q, acceleration, rate, stood, positions))
        return self.poser.step(frame.time_ns, q, acceleration, rate)

    def _measurements(self, told: PoseTold) -> list[Measurement]:
        p = self.params
        chosen, moving = self._rotations[0], self._velocities[1]
        result: list[Measurement] = []
        if len(chosen):
            result.append(
                NetworkRotationsMeasurement(
                    told.time_ns,
                    SOURCE,
                    told.segments[chosen],
                    told.q_root_from_segment[chosen],
                    np.maximum(told.rotation_variance_rad2[chosen], p.floor_rad**2),
                    p.rotation_inflation,
                )
            )
        if len(moving):
            result.append(
                NetworkVelocitiesMeasurement(
                    told.time_ns,
                    f"{SOURCE} velocity",
                    told.joints[moving],
                    told.velocities_m_s[moving],
                    told.velocity_variance_m2_s2[moving],
                    p.velocity_inflation,
                )
            )
        return result


def _stood_in(q: Float64, acceleration: Float64, pose: Float64, missing: Bool) -> tuple[Float64, Float64]:
    """Orientations and accelerations with the filter's pose for missing sensors, which move as the root does."""
    q = np.where(missing[:, None], pose[_SITE_SEGMENTS], q)
    return q, np.where(missing[:, None], acceleration[0], acceleration)


def _positions(names: Sequence[str]) -> tuple[Int64, Int64]:
    """Where segments stand among those that the network tells the rotations of, and the velocities of."""

    def among(told: Sequence[str]) -> Int64:
        return np.array([told.index(name) for name in names if name in told], dtype=np.int64)

    return among(TOLD_SEGMENTS), among(JOINTS)
