"""The whole way on one screen: a record in, the people out.

    record -> (its modality's estimator) -> measurements -> each person's filter = fit -> people

No clock, no socket: time is what the records say. The same records in the same
order give the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from fusion.estimators.inertial.orientation import OrientationCounts
from fusion.estimators.inertial.orientation import OrientationParams as EstimatorParams
from fusion.estimators.inertial.packing import NetworkWeights
from fusion.estimators.inertial.stretches import Orientations, Stretch
from fusion.estimators.radar.packing import RadarWeights
from fusion.filter.innovations import ENOUGH, UNDERSTATED_RATIO, SourceStatistics
from fusion.filter.measurements.inertial import (
    AccelerometerMeasurement,
    AccelerometerParams,
    GyroMeasurement,
    GyroParams,
    OrientationMeasurement,
    OrientationParams,
)
from fusion.filter.outputs import OutputParams, Outputs
from fusion.filter.process import NS_PER_S
from fusion.filter.state import State, empty_state
from fusion.maths import quaternion
from fusion.people import People, PeopleParams, Person
from fusion.posing import PosingParams, Seen
from fusion.radars import Radars, RadarsParams
from fusion.records import (
    InertialSamples,
    InertialState,
    Innovations,
    Landmarks2D,
    Landmarks3D,
    RadarJoints,
    RadarPoints,
    Record,
    Tick,
)
from fusion.records import People as PeopleRecord
from fusion.rig import Rig, RigError
from fusion.wiring import Wiring

_AHEAD_NS = 1_000_000_000
"""What claims to be measured later than this after it came in has a wrong stamp."""
_MAX_REASONS = 50
"""Reasons can hold names from the network; only so many are told apart."""
_JUDGES = 3
"""With fewer cameras nobody can tell which of them is the worse one."""


@dataclass(frozen=True, slots=True)
class PipelineParams:
    """Parameters of every stage."""

    people: PeopleParams = field(default_factory=PeopleParams)
    inertial: EstimatorParams = field(default_factory=EstimatorParams)
    gyro: GyroParams = field(default_factory=GyroParams)
    orientation: OrientationParams = field(default_factory=OrientationParams)
    accelerometer: AccelerometerParams | None = None
    """Specific forces as measurements of their own; the orientations have used them for the vertical already."""
    posing: PosingParams = field(default_factory=PosingParams)
    radars: RadarsParams = field(default_factory=RadarsParams)
    output: OutputParams = field(default_factory=OutputParams)
    stretch_s: float = 0.02
    """Inertial samples are taken in as means over so long: a filter step costs more than a sample tells."""
    alone_s: float = 1.0
    """A wearer whom no camera has shown is born from orientations after so long."""
    still_s: float = 0.8
    """Who has turned no segment for so long stands still."""
    longest_batch_s: float = 10.0
    """Samples that are older than their record's newest by more than this have a stamp that cannot be."""
    silence_s: float = 0.1
    """Without landmarks for so long, other records and ticks make the people be published too,"""
    frame_s: float = 1.0 / 60.0
    """and so often once no landmarks have come for ``alone_s``: then the others are all there is."""


def held_by_north(params: PipelineParams) -> PipelineParams:
    """The same with headings that the magnetic field holds: they hardly walk, and err for as long as VQF averages.

    The slot of an IMU then holds how magnetic north lies to the room's axes, as the sensor feels it.
    """
    inertial = replace(params.inertial, magnetometer=True)
    errors = inertial.errors
    person = params.people.filter
    slow = replace(person.process.imus, heading_walk=math.sqrt(errors.north_walk_rad2_s))
    person = replace(person, process=replace(person.process, imus=slow))
    return replace(
        params,
        people=replace(params.people, filter=person),
        inertial=inertial,
        orientation=replace(params.orientation, heading_rad=errors.north_sigma_rad(inertial.report_s)),
    )


_UNHEARD = SourceStatistics()


class Pipeline:
    """Estimates people from records."""

    def __init__(
        self,
        rig: Rig,
        params: PipelineParams | None = None,
        network: NetworkWeights | None = None,
        radar_network: RadarWeights | None = None,
    ) -> None:
        """``network`` tells what carries no sensor of somebody who wears six on the usual sites; ``radar_network``
        makes joints of radar points.
        """
        self.rig = rig
        self.network = network
        self.params = params or PipelineParams()
        self.bank = People(rig, self.params.people)
        self.refused: dict[str, int] = {}
        """Records that could not be used, counted by reason."""
        self._outputs = Outputs(self.params.output)
        self._wired: dict[tuple[str, ...], Wiring] = {}
        self.radars = Radars(rig.radars, self.params.radars, radar_network)
        self._published_ns: int | None = None
        self._states = [self._new_states() for _ in range(self.params.people.max_people)]

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
        elif isinstance(record, RadarJoints):
            due = self._silent(record)
            self._radar_joints(record)
        else:
            due = isinstance(record, Tick) and self._silent(record)
        self.bank.bury(record.measured_ns)
        return due

    def people(self, last: Record) -> PeopleRecord:
        """Everyone, carried to the newest time that is known of; ``last`` is the record taken last."""
        newest = max([last.measured_ns, *(person.filter.newest_ns for person in self.bank.people)])
        self._published_ns = newest
        return self._record(lambda person, out: person.filter.predicted(newest, out), newest, last)

    def predicted(self, ahead_s: float, last: Record) -> PeopleRecord:
        """Everyone as they will be, so much after the newest time: for who must hide latency."""
        newest = max([last.measured_ns, *(person.filter.newest_ns for person in self.bank.people)])
        time_ns = newest + int(ahead_s * NS_PER_S)
        return self._record(lambda person, out: person.filter.predicted(time_ns, out), time_ns, last)

    def smoothed(self, lag_s: float, last: Record, *, with_covariance: bool = True) -> PeopleRecord:
        """Everyone as they were ``lag_s`` before the newest time, in the light of all that has come since.

        Without their smoothed covariances, which cost most of it, those of the filter stand in.
        """
        newest = max([last.measured_ns, *(person.filter.newest_ns for person in self.bank.people)])
        time_ns = newest - int(lag_s * NS_PER_S)

        def place(person: Person, out: State) -> State:
            return person.filter.smoothed(time_ns, out, with_covariance=with_covariance)

        return self._record(place, time_ns, last)

    def innovations(self, last: Record) -> Innovations:
        """How what each source says compares with what it claims, for everyone."""
        everyone = [person.filter.innovations.sources for person in self.bank.people]
        sources = tuple(sorted({source for known in everyone for source in known}))
        table = [[known.get(source, _UNHEARD) for source in sources] for known in everyone]

        def array(values: list[list[Any]], dtype: Any) -> Any:
            return np.array(values, dtype=dtype).reshape(len(everyone), len(sources))

        return Innovations(
            measured_ns=last.measured_ns,
            received_ns=last.received_ns,
            ids=np.array([person.identity for person in self.bank.people], dtype=np.int64),
            sources=sources,
            normalised_squares=array([[item.normalised for item in row] for row in table], np.float64),
            observations=array([[item.observations for item in row] for row in table], np.int64),
            gated=array([[item.gated for item in row] for row in table], np.int64),
            claimed_ratio=array([[item.claimed_ratio for item in row] for row in table], np.float64),
        )

    def understated(self) -> dict[str, float]:
        """Sources whose errors are much larger than they claim, with by how many times.

        What cameras claim is one scale that a person's filter learns from all of them, so one that is
        worse makes the others seem better than they are: cameras are judged beside their median.
        """
        cameras = {camera.name for camera in self.rig.cameras}
        found: dict[str, float] = {}
        for person in self.bank.people:
            heard = {name: s for name, s in person.filter.innovations.sources.items() if s.measurements >= ENOUGH}
            ratios = [known.claimed_ratio for name, known in heard.items() if name in cameras]
            usual = min(float(np.median(ratios)), 1.0) if len(ratios) >= _JUDGES else 1.0
            for source, known in heard.items():
                ratio = known.claimed_ratio / (usual if source in cameras else 1.0)
                if ratio > UNDERSTATED_RATIO:
                    found[source] = max(found.get(source, 0.0), ratio)
        return found

    def inertial_states(self, last: Record) -> list[InertialState]:
        """How the sensors of each inertial system are that has told orientations since it was last asked."""
        wearer = self._wearer()
        reports = [wiring.report(wearer, last.received_ns) for wiring in self._wired.values()]
        return [report for report in reports if report is not None]

    def posed(self) -> list[Seen]:
        """What the networks have been given since it was last asked; nothing before the first call."""
        posings = [wiring.posing for wiring in self._wired.values() if wiring.posing is not None]
        return [seen for posing in posings for seen in posing.take_kept()]

    def inertial_counts(self) -> dict[str, int]:
        """What was not as it should be with the inertial systems: ``OrientationCounts`` of all, added up.

        ``no_period`` counts the systems whose sample period is not known: of theirs nothing but rates is used.
        Empty where there is no inertial system.
        """
        filters = [wiring.filter for wiring in self._wired.values() if len(wiring.known)]
        if not filters:
            return {}
        names = [item.name for item in fields(OrientationCounts)]
        counts = {name: sum(int(getattr(each.counts, name)) for each in filters) for name in names}
        return {**counts, "no_period": sum(each.period_s is None for each in filters)}

    def _record(self, place: Callable[[Person, State], State], time_ns: int, last: Record) -> PeopleRecord:
        """A record of everyone, each carried to a time by ``place``."""
        people = self.bank.people
        states = [place(person, room[person.filter.imus]) for person, room in zip(people, self._states, strict=False)]
        return self._outputs.record([person.identity for person in people], states, time_ns, last.received_ns)

    def _new_states(self) -> dict[int, State]:
        """Room for the state of somebody with and without IMUs."""
        return {imus: empty_state(imus) for imus in (0, len(self.rig.imus))}

    def _silent(self, record: Record) -> bool:
        """Whether nothing has been published for a while before this record, or nothing yet of who is there."""
        if self._published_ns is None:
            return bool(self.bank.people)
        p = self.params
        alone = self.bank.quiet_s(record.measured_ns) > p.alone_s
        return record.measured_ns - self._published_ns >= int((p.frame_s if alone else p.silence_s) * NS_PER_S)

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
        """What the sensors whose mounting the rig knows say of their wearer."""
        wiring = self._wired.get(record.sensors)
        if wiring is None:
            wiring = self._wired[record.sensors] = self._wire(record.sensors)
        if len(wiring.known) < len(record.sensors):
            self._refuse("sensors that are not in the profile")
        if not len(wiring.known):
            return
        longest_ns = int(self.params.longest_batch_s * NS_PER_S)
        timely = (record.times_ns <= record.measured_ns) & (record.times_ns > record.measured_ns - longest_ns)
        if not timely.all():
            self._refuse("samples stamped after the newest of their record, or long before it")
        chosen = np.flatnonzero(timely)[:, None], wiring.known[None, :]
        arrays = (
            record.specific_force_m_s2[chosen],
            record.angular_rate_rad_s[chosen],
            record.magnetic_field_ut[chosen],
        )
        interval_ns = int(self.params.stretch_s * NS_PER_S)
        for stretch in wiring.filter.stretches(record.times_ns[timely], *arrays, interval_ns=interval_ns):
            self._stretch(stretch, wiring)

    def _wire(self, sensors: tuple[str, ...]) -> Wiring:
        return Wiring(sensors, self.rig, self.params.inertial, self.network, self.params.posing)

    def _stretch(self, stretch: Stretch, wiring: Wiring) -> None:
        """Give a short stretch of samples to the wearer, who is born of it where no camera shows anybody."""
        wiring.note(stretch)
        orientations = stretch.orientations
        wearer = self._wearer()
        # A start of one who stands still is worth the moment until it is known that it is so.
        waits = 0.0 < wiring.still_s < self.params.still_s
        if wearer is None and orientations is not None and orientations.settled.all() and not waits:
            wearer = self._born_from_orientations(orientations, wiring)
        posed = wiring.posing.step(stretch, wearer) if wiring.posing is not None else []
        if wearer is None:
            return
        p = self.params
        common = wiring.segments, wiring.slots, wiring.mountings
        self.bank.apply(wearer, GyroMeasurement(stretch.time_ns, "gyro", *common, stretch.rates_rad_s, p.gyro))
        if p.accelerometer is not None:
            self.bank.apply(
                wearer,
                AccelerometerMeasurement(
                    stretch.time_ns,
                    "accelerometer",
                    *common,
                    specific_force_m_s2=stretch.specific_force_m_s2,
                    lever_arm_m=wiring.lever_arms_m,
                    decay_s=wearer.filter.process.decay_s,
                    params=p.accelerometer,
                ),
            )
        for measurement in posed:
            self.bank.apply(wearer, measurement)
        if orientations is None or not wiring.due(orientations.time_ns):
            return
        told = np.where(orientations.settled[:, None], orientations.q_world_from_sensor, np.nan)
        fresh = orientations.heading_epoch != wiring.epoch
        # A sensor that has started anew is fresh until it has told an orientation.
        wiring.epoch = np.where(np.isfinite(told[:, 0]), orientations.heading_epoch, wiring.epoch)
        if np.isfinite(told).any():
            self.bank.apply(
                wearer,
                OrientationMeasurement(orientations.time_ns, "orientation", *common, told, p.orientation, fresh),
            )

    def _wearer(self) -> Person | None:
        """Who wears the sensors."""
        return next((person for person in self.bank.people if person.wears_imus), None)

    def _born_from_orientations(self, orientations: Orientations, wiring: Wiring) -> Person | None:
        """The wearer whom nobody else has shown: facing ahead, as in a calibration pose."""
        if not self.bank.quiet_s(orientations.time_ns) >= self.params.alone_s:
            return None
        q = quaternion.multiply(orientations.q_world_from_sensor, quaternion.conjugate(wiring.mountings))
        if not np.isfinite(q).all():
            return None
        still = wiring.still_s >= self.params.still_s
        return self.bank.bear_from_orientations(q, wiring.segments, orientations.time_ns, still=still)

    def _radar(self, record: RadarPoints) -> None:
        """What a radar's points say of everyone."""
        if not self._knows_radar(record):
            return
        refusal = self.radars.step(self.radars.on_session_clock(record), self.bank)
        if refusal is not None:
            self._refuse(f"frames of radar {record.radar!r}: {refusal.replace('_', ' ')}")

    def _radar_joints(self, record: RadarJoints) -> None:
        """Joints that a network elsewhere has made of a radar's frame."""
        if not self._knows_radar(record):
            return
        try:
            self.radars.tell(self.radars.on_session_clock(record), self.bank)
        except ValueError as error:
            self._refuse(str(error))

    def _knows_radar(self, record: RadarPoints | RadarJoints) -> bool:
        """Whether the profile says where a record's radar is; one that it does not is refused."""
        if record.radar in self.radars.mounts:
            return True
        self._refuse(f"radar {record.radar!r} is not in the profile")
        return False

    def _refuse(self, reason: str) -> None:
        if reason not in self.refused and len(self.refused) >= _MAX_REASONS:
            reason = "for other reasons"
        self.refused[reason] = self.refused.get(reason, 0) + 1
