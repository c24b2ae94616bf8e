"""What radars say of the people: tracks bound to persons, and each person's points as measurements.

    points -> tracks -> (bound to a person) -> place and speed of the trunk, speeds of limbs
                    -> (a network)          -> joints, of which somebody may be born whom nothing else shows

A person is told of those points only that are of the track bound to it, or near
it and nobody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from fusion.body import catalog
from fusion.body.reflection import MOVING_M_S, POINT_RADIAL_VELOCITY_M_S
from fusion.body.skeleton import COORDINATE
from fusion.estimators.camera.association import assign
from fusion.estimators.radar.limbs import limb_speeds
from fusion.estimators.radar.packing import RadarWeights
from fusion.estimators.radar.tracker import RadarTracker, TrackerParams
from fusion.estimators.radar.trunk import TRUNK, trunk_cluster
from fusion.filter.measurements.radar import (
    RadarJointsMeasurement,
    RadarParams,
    RadarTrunkMeasurement,
    RadarVelocityMeasurement,
)
from fusion.filter.process import NS_PER_S
from fusion.filter.state import NEVER_NS
from fusion.filter.system import Measurement
from fusion.maths import quaternion
from fusion.people import People, Person, check_count
from fusion.radar_posing import RadarPosing, RadarPosingParams, in_world
from fusion.records import Bool, Float64, Int64, RadarJoints, RadarPoints, RadarTracks
from fusion.rig import RadarMount

_STEP_NS = 10_000_000
"""Velocities of joints are differences over so long."""
_UNBOUND = -1
_TURN = slice(COORDINATE["root_rx"], COORDINATE["root_rx"] + 3)
_AHEAD = np.array([1.0, 0.0, 0.0])
_Heard = TypeVar("_Heard", RadarPoints, RadarJoints)
_MOST_M = 1e6
"""No distance that is looked at is larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimbParams:
    """How radial velocities of limbs are told: of wearers of IMUs, whose limbs are where they are thought to be.

    Measured: with six IMUs they make the error in the dark 9 % smaller; of a body that nobody else
    tells of any more they make it larger, as points are then given to the wrong limbs.
    """

    reach_m: float = 0.3
    min_speed_m_s: float = 0.2
    sigma_m_s: float = 1.0
    """Of a limb's mean, however many points: what reflects stays the same for many frames."""
    point_sigma_m_s: float = POINT_RADIAL_VELOCITY_M_S
    """Of one point (MARS recordings)."""
    heard_s: float = 0.1
    """The wearer's sensors were heard within so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointParams:
    """How joints that a network makes of a radar are told, and when they are believed."""

    inflation: float = 100.0
    """Of one frame's variance: errors stay the same for seconds. With it a camera that tells three times a second is
    not made worse (``benchmarks.radar_fusion``; chosen on subjects 2 and 3 of MARS)."""
    inflation_alone: float = 10.0
    """Of somebody of whom nothing but radars has told lately: there is nothing better to be spoilt."""
    floor_m: float = 0.05
    """Standard deviation that no joint is more certain than: a network's idea of a hip is not ours."""
    least_score: float = 0.5
    facing: float = 0.5
    """Least cosine between where somebody is known to face and the radar: the network knows fronts only."""
    birth_s: float = 1.0
    """A track that is nobody's bears somebody whom no landmarks show, once its joints have been told for so long."""
    apart_m: float = 1.0
    """Nobody is born nearer to somebody who is there: a radar takes an arm for another body now and then."""
    near_m: float = 0.6
    """Joints without a track are the person's whose joints are so near on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RadarsParams:
    """Every parameter of what radars tell."""

    tracker: TrackerParams = field(default_factory=TrackerParams)
    trunk: RadarParams = field(default_factory=RadarParams)
    limbs: LimbParams = field(default_factory=LimbParams)
    posing: RadarPosingParams = field(default_factory=RadarPosingParams)
    joints: JointParams = field(default_factory=JointParams)
    bind_m: float = 0.9
    """A track is a person's if it is within this of the trunk, seen from above, or within the spread of both."""
    most_spread_m: float = 2.0
    """No spread counts for more."""
    kept_share: float = 0.5
    """The distance to the track that a person had before counts for so much: two who pass do not exchange theirs."""
    seen_s: float = 0.5
    """Somebody whom a landmark has reached within this holds the track, where radars see nothing move."""


class Radars:
    """Tracks of a lab's radars, and what they tell of the people.

    Args:
        mounts: where the radars are.
        params: see there.
        weights: of the network that makes joints of points; None for none.
    """

    def __init__(
        self, mounts: Sequence[RadarMount], params: RadarsParams | None = None, weights: RadarWeights | None = None
    ) -> None:
        self.params = params or RadarsParams()
        self.joints: RadarJoints | None = None
        """What the network has made of the newest frame."""
        self._posing = RadarPosing(weights, self.params.posing) if weights is not None else None
        self._told_since_ns: dict[tuple[str, int], int] = {}
        """Since when each radar has told joints of each track."""
        self._newest_ns: int | None = None
        self.mounts = {mount.name: mount for mount in mounts}
        self.tracker = RadarTracker(mounts, self.params.tracker)
        self.tracks: RadarTracks | None = None
        """After the newest frame."""
        self._bound: dict[int, int] = {}
        """Track of each person, by their identities."""

    def on_session_clock(self, record: _Heard) -> _Heard:
        """The record at the time at which the world was so, by the profile."""
        offset_ns = round(self.mounts[record.radar].time_offset_s * NS_PER_S)
        return replace(record, measured_ns=record.measured_ns - offset_ns) if offset_ns else record

    def step(self, record: RadarPoints, bank: People) -> str | None:
        """Take in a frame of a known radar, its time on the session clock, and tell everyone what it says of them.

        Returns:
            Why nothing was told: the tracker's counter of frames that cannot be used; None where it was.
        """
        refusal = self.tracker.refusal(record)
        if refusal is not None:
            self.tracker.step(record)  # Counts it.
            return refusal
        joints = [bank.landmarks_at(person, record.measured_ns, "joints_23") for person in bank.people]
        self._hint(bank.people, joints, record.measured_ns)
        self.tracks = self.tracker.step(record)
        self._bind(bank.people, joints)
        usable, points, speeds = _in_world(record, self.mounts[record.radar])
        owner = self.tracker.assignment[usable]
        taken = list(self._bound.values())
        for person, places in zip(bank.people, joints, strict=True):
            mine = self._mine(person, places, points, owner, taken)
            if mine.sum() < self.params.trunk.min_points:
                continue
            bank.vouch(person)
            for measurement in self._measurements(person, places, points[mine], speeds[mine], record, bank):
                bank.apply(person, measurement)
        self.joints = None
        if self._posing is not None:
            mount = self.mounts[record.radar]
            self.joints = self._posing.step(record, mount, points, speeds, owner, self.tracks)
        if self.joints is not None:
            self.tell(self.joints, bank)
        self._bury(bank, record.measured_ns)
        return None

    def tell(self, record: RadarJoints, bank: People) -> None:
        """Tell the joints before a known radar to those whose they are; somebody new may be born of them.

        Raises:
            ValueError: if the landmark set is not known, or not as long as the joints.
        """
        check_count(record.radar, record.positions_m.shape[1], record.landmark_set)
        places, variances, usable = in_world(record, self.mounts[record.radar])
        usable &= record.scores >= self.params.joints.least_score
        people = {person.identity: person for person in bank.people}
        owners = {track: people[identity] for identity, track in self._bound.items() if identity in people}
        for row in np.flatnonzero(usable):
            track = int(record.ids[row])
            if track >= 0:
                person = owners.get(track)
            else:
                near_m = self.params.joints.near_m
                person = bank.nearest(places[row], record.landmark_set, record.measured_ns, near_m)
            if person is None:
                self._consider_birth(track, places[row], variances[row], record, bank)
                continue
            bank.vouch(person)
            alone = not self._is_told_by_others(person, record.measured_ns)
            if alone or self._faces(person, record.radar):
                bank.apply(person, self._joints(record, places[row], variances[row], alone=alone))
        ids = record.ids[usable].tolist()
        self._told_since_ns = {
            (radar, track): since
            for (radar, track), since in self._told_since_ns.items()
            if radar != record.radar or track in ids or track in owners
        }

    def _joints(self, record: RadarJoints, places_m: Float64, variances_m2: Float64, *, alone: bool) -> Measurement:
        """Joints [J, 3] of one person as a measurement of those that are joints of our body as well."""
        p, placed = self.params.joints, catalog.attachments(record.landmark_set)
        ours = (placed.segment >= 0) & (np.abs(placed.unit_offset).max(axis=1) == 0.0)
        return RadarJointsMeasurement(
            record.measured_ns,
            f"{record.radar} joints",
            np.where(ours, placed.segment, -1),
            places_m,
            np.maximum(variances_m2, p.floor_m**2),
            p.inflation_alone if alone else p.inflation,
        )

    def _faces(self, person: Person, radar: str) -> bool:
        """Whether somebody faces a radar."""
        forward = quaternion.rotate(quaternion.from_rotvec(person.filter.state.coordinates[_TURN]), _AHEAD)[:2]
        sight = self.mounts[radar].position_world_m[:2] - person.filter.state.coordinates[:2]
        return float(forward @ sight) > self.params.joints.facing * float(np.linalg.norm(sight))

    def _is_told_by_others(self, person: Person, time_ns: int) -> bool:
        state = person.filter.state
        newest = max(int(state.measured_ns.max()), int(state.imu_ns.max()) if len(state.imu_ns) else NEVER_NS)
        return time_ns - newest < self.params.seen_s * NS_PER_S

    def _consider_birth(
        self, track: int, places_m: Float64, variances_m2: Float64, record: RadarJoints, bank: People
    ) -> None:
        """Bear whom radars alone show."""
        since = self._told_since_ns.setdefault((record.radar, track), record.measured_ns)
        waited = record.measured_ns - since >= self.params.joints.birth_s * NS_PER_S
        if waited and bank.quiet_s(record.measured_ns) >= self.params.joints.birth_s:
            variances = variances_m2.mean(1)
            born = bank.bear_from_joints(
                record.landmark_set, places_m, variances, record.measured_ns, self.params.joints.apart_m
            )
            if born is not None and track >= 0:
                self._bound[born.identity] = track

    def _bury(self, bank: People, time_ns: int) -> None:
        """Let time count against those whom radars alone have shown and do not any more."""
        passed_ns = time_ns - self._newest_ns if self._newest_ns is not None else 0
        self._newest_ns = max(time_ns, self._newest_ns or time_ns)
        for person in bank.people:
            if person.identity in self._bound or person.wears_imus or passed_ns <= 0:
                continue
            if int(person.filter.state.measured_ns.max()) == NEVER_NS:
                person.missed_ns += passed_ns

    def _hint(self, people: Sequence[Person], joints: Sequence[Float64], time_ns: int) -> None:
        """Keep the tracks of those whom cameras see: who stands still has no points."""
        seen = [
            places[TRUNK]
            for person, places in zip(people, joints, strict=True)
            if time_ns - int(person.filter.state.measured_ns.max()) < self.params.seen_s * NS_PER_S
        ]
        if seen:
            self.tracker.hint(np.array(seen), time_ns)

    def _bind(self, people: Sequence[Person], joints: Sequence[Float64]) -> None:
        """Say anew which track is whose."""
        tracks = self.tracks
        assert tracks is not None
        rows = np.flatnonzero(tracks.confirmed)
        costs = np.full((len(people), len(rows)), np.inf)
        for p, (person, places) in enumerate(zip(people, joints, strict=True)):
            own = person.filter.state.covariance[:2, :2]
            for t, row in enumerate(rows):
                spread = 2.0 * float(np.sqrt(np.trace(own) + np.trace(tracks.covariances[row, :2, :2])))
                reach = self.params.bind_m + min(spread, self.params.most_spread_m)
                distance = float(np.hypot(*(places[TRUNK, :2] - tracks.positions_m[row, :2])))
                kept = self._bound.get(person.identity) == tracks.ids[row]
                if distance < reach:
                    costs[p, t] = (self.params.kept_share if kept else 1.0) * distance
        pairs = assign(costs, _MOST_M) if costs.size else []
        self._bound = {people[p].identity: int(tracks.ids[rows[t]]) for p, t in pairs}

    def _mine(self, person: Person, joints_m: Float64, points_m: Float64, owner: Int64, taken: Sequence[int]) -> Bool:
        """[N] which points are a person's."""
        own = self._bound.get(person.identity, _UNBOUND)
        near = np.linalg.norm(points_m[:, :2] - joints_m[TRUNK, :2], axis=1) < self.params.trunk.reach_m
        free = ~np.isin(owner, taken)
        return np.asarray((near & free) | ((owner == own) & (own != _UNBOUND)))

    def _measurements(
        self,
        person: Person,
        joints_m: Float64,
        points_m: Float64,
        speeds_m_s: Float64,
        record: RadarPoints,
        bank: People,
    ) -> list[Measurement]:
        """What a person's points say of it."""
        mount, p = self.mounts[record.radar], self.params.trunk
        later_m = bank.landmarks_at(person, record.measured_ns + _STEP_NS, "joints_23")
        cluster = trunk_cluster(
            points_m,
            speeds_m_s,
            mount,
            joints_m,
            (later_m - joints_m) * (NS_PER_S / _STEP_NS),
            min_points=p.min_points,
            surface_m=p.surface_m,
            moving_m_s=MOVING_M_S,
        )
        told: list[Measurement] = []
        if cluster is not None:
            told.append(RadarTrunkMeasurement(record.measured_ns, mount.name, *cluster, p))
        if self._wears_heard_imus(person, record.measured_ns):
            told += self._limbs(person, joints_m, points_m, speeds_m_s, record)
        return told

    def _wears_heard_imus(self, person: Person, time_ns: int) -> bool:
        heard_ns = person.filter.state.imu_ns
        return bool(len(heard_ns)) and time_ns - int(heard_ns.max()) < self.params.limbs.heard_s * NS_PER_S

    def _limbs(
        self, person: Person, joints_m: Float64, points_m: Float64, speeds_m_s: Float64, record: RadarPoints
    ) -> list[Measurement]:
        mount, p = self.mounts[record.radar], self.params.limbs
        limbs = limb_speeds(
            points_m,
            speeds_m_s,
            mount.position_world_m,
            joints_m,
            person.filter.state.lengths_m,
            reach_m=p.reach_m,
            min_speed_m_s=p.min_speed_m_s,
        )
        if not len(limbs.segment):
            return []
        variance = p.sigma_m_s**2 + p.point_sigma_m_s**2 / limbs.points
        return [
            RadarVelocityMeasurement(
                record.measured_ns,
                f"{mount.name} limbs",
                limbs.segment,
                limbs.offset_m,
                limbs.directions,
                limbs.radial_velocity_m_s,
                variance,
            )
        ]


def _in_world(record: RadarPoints, mount: RadarMount) -> tuple[Bool, Float64, Float64]:
    """Which points [N] can be used, those' places [M, 3] in the world, and their radial velocities [M]."""
    usable = np.isfinite(record.positions_m).all(1) & np.isfinite(record.radial_velocities_m_s)
    points = mount.to_world(record.positions_m[usable].astype(np.float64))
    return usable, points, record.radial_velocities_m_s[usable].astype(np.float64)
