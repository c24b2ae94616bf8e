"""What radars say of the people: tracks bound to persons, and each person's points as measurements.

    points -> tracks -> (bound to a person) -> place and speed of the trunk, speeds of limbs, joints by a network

A person is told of those points only that are of the track bound to it, or near
it and nobody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fusion.body.reflection import MOVING_M_S
from fusion.estimators.camera.association import assign
from fusion.estimators.radar.limbs import limb_speeds
from fusion.estimators.radar.tracker import RadarTracker, TrackerParams
from fusion.estimators.radar.trunk import TRUNK, trunk_cluster
from fusion.filter.measurements.radar import RadarParams, RadarTrunkMeasurement, RadarVelocityMeasurement
from fusion.filter.process import NS_PER_S
from fusion.filter.system import Measurement
from fusion.people import People, Person
from fusion.records import Bool, Float64, Int64, RadarPoints, RadarTracks
from fusion.rig import RadarMount

_STEP_NS = 10_000_000
"""Velocities of joints are differences over so long."""
_UNBOUND = -1
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
    point_sigma_m_s: float = 0.53
    """Of one point (MARS recordings)."""
    heard_s: float = 0.1
    """The wearer's sensors were heard within so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RadarsParams:
    """Every parameter of what radars tell."""

    tracker: TrackerParams = field(default_factory=TrackerParams)
    trunk: RadarParams = field(default_factory=RadarParams)
    limbs: LimbParams = field(default_factory=LimbParams)
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
    """

    def __init__(self, mounts: Sequence[RadarMount], params: RadarsParams | None = None) -> None:
        self.params = params or RadarsParams()
        self.mounts = {mount.name: mount for mount in mounts}
        self.tracker = RadarTracker(mounts, self.params.tracker)
        self.tracks: RadarTracks | None = None
        """After the newest frame."""
        self._bound: dict[int, int] = {}
        """Track of each person, by their identities."""

    def on_session_clock(self, record: RadarPoints) -> RadarPoints:
        """The frame at the time at which the world was so, by the profile."""
        offset_ns = round(self.mounts[record.radar].time_offset_s * NS_PER_S)
        return replace(record, measured_ns=record.measured_ns - offset_ns) if offset_ns else record

    def step(self, record: RadarPoints, bank: People) -> None:
        """Take in a frame of a known radar, its time on the session clock, and tell everyone what it says of them."""
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
    points = record.positions_m[usable].astype(np.float64) @ mount.r_world_from_radar.T + mount.position_world_m
    return usable, points, record.radial_velocities_m_s[usable].astype(np.float64)
