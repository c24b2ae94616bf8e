"""The whole way on one screen: a record in, the people out.

    record -> (its modality's estimator) -> measurements -> each person's filter = fit -> people

No clock, no socket: time is what the records say. The same records in the same
order give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fusion.body.skeleton import SEGMENT
from fusion.estimators.inertial.rates import mean_rates
from fusion.estimators.radar.trunk import trunk_cluster
from fusion.filter.measurements.inertial import GyroMeasurement, GyroParams
from fusion.filter.measurements.radar import TRUNK, RadarParams, RadarTrunkMeasurement
from fusion.filter.outputs import OutputParams, Outputs
from fusion.filter.process import NS_PER_S
from fusion.filter.state import empty_state
from fusion.people import People, PeopleParams, Person
from fusion.records import (
    Float64,
    InertialSamples,
    Landmarks2D,
    Landmarks3D,
    RadarPoints,
    Record,
    Tick,
)
from fusion.records import People as PeopleRecord
from fusion.rig import Rig, RigError

_AHEAD_NS = 1_000_000_000
"""What claims to be measured later than this after it came in has a wrong stamp."""
_MAX_REASONS = 50
"""Reasons can hold names from the network; only so many are told apart."""


@dataclass(frozen=True, slots=True)
class PipelineParams:
    """Parameters of every stage."""

    people: PeopleParams = field(default_factory=PeopleParams)
    gyro: GyroParams = field(default_factory=GyroParams)
    radar: RadarParams = field(default_factory=RadarParams)
    output: OutputParams = field(default_factory=OutputParams)
    gyro_interval_s: float = 0.02
    """Inertial samples are taken in as means over so long: a filter step costs more than a sample tells."""
    longest_batch_s: float = 10.0
    """Samples that are older than their record's newest by more than this have a stamp that cannot be."""
    silence_s: float = 0.1
    """Without landmarks for so long, other records and ticks make the people be published too."""


class Pipeline:
    """Estimates people from records."""

    def __init__(self, rig: Rig, params: PipelineParams | None = None) -> None:
        self.rig = rig
        self.params = params or PipelineParams()
        self.bank = People(rig, self.params.people)
        self.refused: dict[str, int] = {}
        """Records that could not be used, counted by reason."""
        self._outputs = Outputs(self.params.output)
        self._mounts = {mount.segment: mount for mount in rig.imus}
        self._radars = {mount.name: mount for mount in rig.radars}
        self._published_ns: int | None = None
        self._scratch = [empty_state() for _ in range(self.params.people.max_people)]

    def step(self, record: Record) -> PeopleRecord | None:
        """Take one record in and say who is there, if it is time to: ``take`` and ``people`` in one."""
        return self.people(record) if self.take(record) else None

    def take(self, record: Record) -> bool:
        """Take one record in; one that cannot be used is counted in ``refused``.

        Returns:
            Whether the people should be published: it was landmarks, or nothing has been
            published for ``silence_s``.
        """
        if record.measured_ns > record.received_ns + _AHEAD_NS:
            self._refuse(f"{record.kind} stamped as measured after they were received")
            return False
        if isinstance(record, Landmarks2D | Landmarks3D):
            due = self._landmarks(record)
        elif isinstance(record, InertialSamples):
            due = self._silent(record)
            self._inertial(record)
        elif isinstance(record, RadarPoints):
            due = self._silent(record)
            self._radar(record)
        else:
            due = isinstance(record, Tick) and self._silent(record)
        self.bank.bury(record.measured_ns)
        return due

    def people(self, last: Record) -> PeopleRecord:
        """Everyone, carried to the newest time that is known of; ``last`` is the record taken last."""
        people = self.bank.people
        newest = max([last.measured_ns, *(person.filter.newest_ns for person in people)])
        states = [
            person.filter.predicted(newest, scratch) for person, scratch in zip(people, self._scratch, strict=False)
        ]
        self._published_ns = newest
        return self._outputs.record([person.identity for person in people], states, newest, last.received_ns)

    def _silent(self, record: Record) -> bool:
        """Whether nothing has been published for a while before this record."""
        if self._published_ns is None:
            return False
        return record.measured_ns - self._published_ns >= int(self.params.silence_s * NS_PER_S)

    def _landmarks(self, record: Landmarks2D | Landmarks3D) -> bool:
        try:
            if isinstance(record, Landmarks2D):
                self.bank.landmarks_2d(record)
            else:
                self.bank.landmarks_3d(record)
        except (RigError, ValueError) as error:
            self._refuse(str(error))
            return False
        return True

    def _inertial(self, record: InertialSamples) -> None:
        """Angular rates of the sensors whose mounting the rig knows."""
        wearer = next((person for person in self.bank.people if person.wears_imus), None)
        known = [index for index, name in enumerate(record.sensors) if name in self._mounts]
        if len(known) < len(record.sensors):
            self._refuse("sensors that are not in the profile")
        if wearer is None or not known:
            return
        segments = np.array([SEGMENT[record.sensors[index]] for index in known], dtype=np.int64)
        mountings = np.stack([self._mounts[record.sensors[index]].q_segment_from_sensor for index in known])
        source = ",".join(record.sensors)
        longest_ns = int(self.params.longest_batch_s * NS_PER_S)
        timely = (record.times_ns <= record.measured_ns) & (record.times_ns > record.measured_ns - longest_ns)
        if not timely.all():
            self._refuse("samples stamped after the newest of their record, or long before it")
        rates = record.angular_rate_rad_s[timely][:, known].astype(np.float64)
        for time_ns, mean in mean_rates(record.times_ns[timely], rates, int(self.params.gyro_interval_s * NS_PER_S)):
            self.bank.apply(wearer, GyroMeasurement(time_ns, source, segments, mountings, mean, self.params.gyro))

    def _radar(self, record: RadarPoints) -> None:
        """The points around each person as one weak measurement of the trunk."""
        mount = self._radars.get(record.radar)
        if mount is None:
            self._refuse(f"radar {record.radar!r} is not in the profile")
            return
        p = self.params.radar
        for person in self.bank.people:
            trunk = self._trunk_position(person, record.measured_ns)
            cluster = trunk_cluster(
                record, mount, trunk, reach_m=p.reach_m, min_points=p.min_points, surface_m=p.surface_m
            )
            if cluster is not None:
                self.bank.apply(person, RadarTrunkMeasurement(record.measured_ns, mount.name, *cluster, p))

    def _trunk_position(self, person: Person, time_ns: int) -> Float64:
        return np.asarray(self.bank.landmarks_at(person, time_ns, "joints_23")[TRUNK])

    def _refuse(self, reason: str) -> None:
        if reason not in self.refused and len(self.refused) >= _MAX_REASONS:
            reason = "for other reasons"
        self.refused[reason] = self.refused.get(reason, 0) + 1
