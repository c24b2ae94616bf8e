"""Bodies from the points of several radars: who is where, how fast, how large, and which point is whose.

One frame at a time:

1. tracks move on to the frame's time;
2. tracks claim points within their gates, those of bodies first that are seen at present;
3. a track's points are one measurement of its middle (range, azimuth, elevation,
   radial velocity), an extended Kalman filter's update, and one of its extent;
4. clusters of what is left are young tracks, which become bodies when enough
   frames agree;
5. who has been unseen for too long is dropped: soon if it left at speed or is out
   of view, late if it stood still, which a radar that removes clutter cannot see.

After TI's group tracker ("Tracking radar targets with multiple reflection
points", Texas Instruments, 2018-2021: gating, EKF with the group's centroid,
allocation, state counters). Differs from it in the position-velocity state in the
world, which several radars share, points shared by likelihood, the extent (see
``extent``) and covariances measured on people (see ``noise``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fusion.estimators.radar.association import GateParams, Shares, View, shares
from fusion.estimators.radar.clusters import NOISE, ClusterParams, cluster
from fusion.estimators.radar.extent import ExtentParams, first_extent, learned
from fusion.estimators.radar.kalman import updated
from fusion.estimators.radar.motion import MotionParams, coming_to_rest, straight
from fusion.estimators.radar.noise import Group, NoiseParams, group_covariance, point_variances, spread, standing_share
from fusion.estimators.radar.polar import (
    AZIMUTH,
    RADIAL_VELOCITY,
    RANGE,
    in_view,
    polar_of,
    predict_measure,
    residuals,
)
from fusion.estimators.radar.track import NANOSECONDS, LifeParams, Look, Track, is_born, is_dead, is_still
from fusion.records import Float64, Int64, RadarPoints, RadarTracks
from fusion.rig import RadarMount, RigError

_NEAREST_POINT_M = 0.1
_ELEVATION_SLACK_RAD = 0.15
"""The middle of a body near the edge of the view may seem so far outside."""
_BIRTH_SPEED_M_S = 1.0
_BIRTH_VERTICAL_M_S = 0.2


@dataclass(frozen=True, slots=True)
class TrackerParams:
    """Everything the tracker assumes."""

    noise: NoiseParams = field(default_factory=NoiseParams)
    motion: MotionParams = field(default_factory=MotionParams)
    extent: ExtentParams = field(default_factory=ExtentParams)
    clusters: ClusterParams = field(default_factory=ClusterParams)
    gate: GateParams = field(default_factory=GateParams)
    life: LifeParams = field(default_factory=LifeParams)
    fold_m_s: float | None = None
    """Radial velocities beyond this fold over to the other side (the configuration's largest velocity); None: never."""
    late_s: float = 0.4
    """A frame that is older than the newest one of another radar by more than this is refused. Stamps of one radar may
    be late by 0.3 s (``time_offset_s``), those of another not at all: its frames then come so long after."""
    most_points: int = 512
    """Of a frame with more, the strongest are used."""
    room_m: tuple[float, float, float, float] | None = None
    """Nobody is outside of world x from, to, y from, to: what reflects there is an echo. None: no limit."""


@dataclass(slots=True, eq=False)
class TrackerState:
    """All memory of a tracker."""

    now_ns: int | None = None
    tracks: list[Track] = field(default_factory=list)
    next_id: int = 1
    newest_ns: dict[str, int] = field(default_factory=dict)
    """By radar."""


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """The usable points of a record."""

    mount: RadarMount
    time_ns: int
    rows: Int64
    """[N] of the record."""
    local_m: Float64
    """[N, 3] radar frame."""
    places_m: Float64
    """[N, 3] world."""
    measured: Float64
    """[N, 4]."""
    interval_s: float
    """Since the radar's frame before; 0 for its first one."""


class RadarTracker:
    """Tracks of all radars of a lab.

    Args:
        mounts: where the radars are; names are unique.
        params: see ``TrackerParams``.

    Raises:
        RigError: two radars have one name.
    """

    def __init__(self, mounts: Sequence[RadarMount], params: TrackerParams | None = None) -> None:
        self.params = params or TrackerParams()
        self.state = TrackerState()
        self.counters: dict[str, int] = dict.fromkeys(
            ("frames", "unknown_radar", "not_newer", "too_late", "points_refused", "births", "deaths", "twins"), 0
        )
        """``not_newer``, ``too_late``, ``unknown_radar``: frames refused. ``points_refused``: not finite, at the radar
        itself, outside the room, or beyond the number that is used."""
        self._mounts = {mount.name: mount for mount in mounts}
        if len(self._mounts) != len(mounts):
            raise RigError(f"radars {', '.join(mount.name for mount in mounts)}: named twice, expected unique names")
        self._assignment = np.empty(0, np.int64)

    @property
    def assignment(self) -> Int64:
        """[N] for each point of the newest record the id of its track, -1 for nobody's."""
        return self._assignment

    def points_of(self, track_id: int) -> Int64:
        """Rows of the newest record's points that are the track's."""
        return np.flatnonzero(self._assignment == track_id)

    def hold(self, track_id: int, until_ns: int) -> bool:
        """Keep a track until a time: somebody else knows that the body is there. False if there is no such track."""
        for track in self.state.tracks:
            if track.id == track_id:
                track.held_until_ns = max(track.held_until_ns, until_ns)
                return True
        return False

    def hint(self, positions_m: Float64, time_ns: int, sigma_m: float = 0.2) -> None:
        """Tell where bodies are by other sensors.

        The nearest confirmed track of each is held for ``hold_s``; one that no radar sees now is also moved there.
        A hint makes no track and corrects none that is seen: what fusion knows must not come back to it as news.

        Args:
            positions_m: [P, 3] world.
            time_ns: when.
            sigma_m: standard deviation along each axis.
        """
        life = self.params.life
        free = [track for track in self.state.tracks if track.confirmed]
        for position in positions_m:
            if not free:
                return
            distances = [float(np.hypot(*(track.state[:2] - position[:2]))) for track in free]
            nearest = int(np.argmin(distances))
            track = free[nearest]
            if distances[nearest] > life.hint_reach_m:
                continue
            free.pop(nearest)
            track.held_until_ns = max(track.held_until_ns, time_ns + round(life.hold_s * NANOSECONDS))
            if track.unseen_s(time_ns) > self.params.motion.rest_after_s:
                track.state[:3] = position
                track.covariance[:3, :] = 0.0
                track.covariance[:, :3] = 0.0
                track.covariance[range(3), range(3)] = sigma_m**2

    def step(self, record: RadarPoints) -> RadarTracks:
        """Take in a frame; the tracks after it, at the time of the newest frame of all radars.

        A frame that cannot be used is counted and changes nothing.
        """
        self._assignment = np.full(len(record.positions_m), -1, np.int64)
        refusal = self.refusal(record)
        if refusal is not None:
            self.counters[refusal] += 1
            return self._report(record)
        self.counters["frames"] += 1
        frame = self._frame(record)
        self.state.newest_ns[record.radar] = record.measured_ns
        self._move_on(max(record.measured_ns, self.state.now_ns or record.measured_ns))
        left = np.arange(len(frame.rows))
        for tracks in self._ranks():
            left = self._take_points(frame, tracks, left)
        self._begin_tracks(frame, left)
        self._confirm()
        self._drop()
        return self._report(record)

    def refusal(self, record: RadarPoints) -> str | None:
        """Which counter would refuse a frame now; None where it can be used."""
        if record.radar not in self._mounts:
            return "unknown_radar"
        newest = self.state.newest_ns.get(record.radar)
        if newest is not None and record.measured_ns <= newest:
            return "not_newer"
        now = self.state.now_ns
        if now is not None and record.measured_ns < now - round(self.params.late_s * NANOSECONDS):
            return "too_late"
        return None

    def _frame(self, record: RadarPoints) -> _Frame:
        mount = self._mounts[record.radar]
        local = record.positions_m.astype(np.float64)
        rates = record.radial_velocities_m_s.astype(np.float64)
        usable = np.isfinite(local).all(axis=1) & np.isfinite(rates)
        usable[usable] = np.linalg.norm(local[usable], axis=1) > _NEAREST_POINT_M
        if self.params.room_m is not None:
            x_from, x_to, y_from, y_to = self.params.room_m
            world = mount.to_world(local)
            usable &= (world[:, 0] >= x_from) & (world[:, 0] <= x_to) & (world[:, 1] >= y_from) & (world[:, 1] <= y_to)
        rows = np.flatnonzero(usable)
        # One order whatever the record's: sums and first-come rules then do not depend on it, to the last bit.
        rows = rows[np.lexsort((rates[rows], local[rows, 2], local[rows, 0], local[rows, 1]))]
        if len(rows) > self.params.most_points:
            strength = np.nan_to_num(record.snrs_db[rows].astype(np.float64), nan=-np.inf)
            rows = rows[np.sort(np.argsort(-strength, kind="stable")[: self.params.most_points])]
        self.counters["points_refused"] += len(local) - len(rows)
        local, rates = local[rows], rates[rows]
        measured = np.column_stack([polar_of(local), rates])
        places = mount.to_world(local)
        interval_s = (record.measured_ns - self.state.newest_ns.get(record.radar, record.measured_ns)) / NANOSECONDS
        return _Frame(mount, record.measured_ns, rows.astype(np.int64), local, places, measured, interval_s)

    def _move_on(self, now_ns: int) -> None:
        before = self.state.now_ns
        self.state.now_ns = now_ns
        if before is None or now_ns == before:
            return
        elapsed_s = (now_ns - before) / NANOSECONDS
        motion = self.params.motion
        for track in self.state.tracks:
            resting = track.unseen_s(now_ns) > motion.rest_after_s and is_still(track, self.params.life)
            matrix, noise = (coming_to_rest if resting else straight)(elapsed_s, motion)
            track.state = matrix @ track.state
            track.covariance = matrix @ track.covariance @ matrix.T + noise
            track.credit_s -= elapsed_s

    def _ranks(self) -> list[list[Track]]:
        """Who may claim points first: bodies that are seen, then those that stand still unseen, then young tracks.

        Whoever walks past somebody who stands still must not take that track along.
        """
        assert self.state.now_ns is not None
        ranks: list[list[Track]] = [[], [], []]
        for track in self.state.tracks:
            unseen = track.unseen_s(self.state.now_ns) > self.params.motion.rest_after_s
            ranks[(1 if unseen else 0) if track.confirmed else 2].append(track)
        return ranks

    def _view(self, track: Track, frame: _Frame) -> View | None:
        """The track as the radar saw it at the frame's time, which may be a little earlier than the tracks'."""
        assert self.state.now_ns is not None
        noise = self.params.noise
        # Going back: the state then is F(-lag) x, less the restlessness in between.
        matrix, restlessness = straight((frame.time_ns - self.state.now_ns) / NANOSECONDS, self.params.motion)
        state = matrix @ track.state
        prediction = predict_measure(state, frame.mount)
        if prediction is None:
            return None
        measure = prediction.measure.copy()
        measure[RANGE] -= noise.surface_m
        between = prediction.jacobian @ restlessness @ prediction.jacobian.T
        jacobian = prediction.jacobian @ matrix
        own = spread(track.extent.covariance_m2, prediction.jacobian, noise) + between
        covariance = own + jacobian @ track.covariance @ jacobian.T
        return View(measure, jacobian, own, covariance, state[:3], self._reach_m(track))

    def _reach_m(self, track: Track) -> float:
        """How far from its middle a body may reflect."""
        gate = self.params.gate
        standing = standing_share(track.speed_m_s, self.params.noise)
        return gate.reach_m + standing * (gate.standing_reach_m - gate.reach_m)

    def _take_points(self, frame: _Frame, tracks: Sequence[Track], free: Int64) -> Int64:
        """Let tracks claim points, and update them; what nobody claims [M] of the free rows [F] of the frame."""
        seen = [(track, view) for track in tracks if (view := self._view(track, frame)) is not None]
        views = [view for _, view in seen]
        divided = shares(frame.measured[free], frame.places_m[free], views, self.params.fold_m_s, self.params.gate)
        for row, (track, view) in enumerate(seen):
            merged = any(
                abs(view.measure[AZIMUTH] - other.measure[AZIMUTH]) < self.params.noise.separable_rad
                and abs(view.measure[RANGE] - other.measure[RANGE]) < self.params.gate.standing_reach_m
                for other in views
                if other is not view
            )
            self._update(track, view, frame, free, divided, row, merged)
        unclaimed: Int64 = free[divided.owner == NOISE]
        return unclaimed

    def _update(
        self, track: Track, view: View, frame: _Frame, free: Int64, divided: Shares, row: int, merged: bool
    ) -> None:
        own = free[divided.owner == row]
        self._assignment[frame.rows[own]] = track.id
        weights = divided.weights[row]
        count = float(weights.sum())
        watched = in_view(track.state[:3], frame.mount)
        measured = frame.measured[free]
        measured[:, RADIAL_VELOCITY] = divided.rates_m_s[row]
        if count < self.params.life.seen_points:
            if watched and not track.confirmed:
                self._look(track, frame, 0.0, np.zeros(len(free)), measured)
            return
        mean = weights @ residuals(measured, view.measure) / count
        before = track.measured_ns.get(frame.mount.name)
        elapsed_s = np.inf if before is None else (frame.time_ns - before) / NANOSECONDS
        group = Group(count, view.measure[RANGE], track.speed_m_s, merged)
        error = group_covariance(view.spread, group, elapsed_s, self.params.noise)
        track.state, track.covariance = updated(track.state, track.covariance, mean, view.jacobian, error)
        self._learn(track, frame, free, weights, count, view, elapsed_s)
        track.measured_ns[frame.mount.name] = frame.time_ns
        self._credit(track, frame, count)
        if not track.confirmed:
            self._look(track, frame, count, weights, measured)

    def _credit(self, track: Track, frame: _Frame, count: float) -> None:
        """Note that a track has been seen; being well seen buys time to be unseen."""
        life = self.params.life
        track.seen_ns = max(track.seen_ns, frame.time_ns)
        if count >= life.birth_points:
            earned = (1.0 + life.credit) * min(frame.interval_s, life.birth_s)
            track.credit_s = min(max(track.credit_s, 0.0) + earned, life.still_s)

    def _learn(
        self, track: Track, frame: _Frame, free: Int64, weights: Float64, count: float, view: View, elapsed_s: float
    ) -> None:
        places = frame.places_m[free]
        away = places - weights @ places / count
        scatter = (weights[:, None] * away).T @ away / max(count - 1.0, 1.0)
        # One point's noise in metres: the angles' at this distance.
        back = np.linalg.inv(view.jacobian[:RADIAL_VELOCITY, :3])
        noise = (back * point_variances(self.params.noise)[:RADIAL_VELOCITY]) @ back.T
        since_s = min(elapsed_s, self.params.extent.memory_s)
        track.extent = learned(track.extent, scatter, noise, count, since_s, self.params.extent)

    def _look(self, track: Track, frame: _Frame, count: float, weights: Float64, measured: Float64) -> None:
        life = self.params.life
        rates = measured[:, RADIAL_VELOCITY]
        moving = float(weights @ (np.abs(rates) > life.moving_m_s)) / count if count else 0.0
        ranges = float(weights @ measured[:, RANGE]) / count if count else 0.0
        mean = float(weights @ rates) / count if count else 0.0
        track.looks.append(Look(frame.mount.name, frame.time_ns, count, moving, ranges, mean))

    def _begin_tracks(self, frame: _Frame, left: Int64) -> None:
        """Make young tracks of clusters among what nobody claims."""
        labels = cluster(frame.local_m[left], frame.measured[left, RADIAL_VELOCITY], self.params.clusters)
        for label in range(int(labels.max(initial=NOISE)) + 1):
            members = left[labels == label]
            needed = self._needed_points(frame, members)
            if len(members) >= needed:
                self._begin(frame, members, needed)

    def _needed_points(self, frame: _Frame, members: Int64) -> float:
        """How many points a cluster must have to be a young track; infinitely many where none may begin."""
        life = self.params.life
        middle = frame.places_m[members].mean(axis=0)
        distance, azimuth, elevation, _ = frame.measured[members].mean(axis=0)
        if not in_view(middle, frame.mount) or abs(elevation) > frame.mount.elevation_fov_rad + _ELEVATION_SLACK_RAD:
            return np.inf
        needed = float(life.birth_points)
        for track in self.state.tracks:
            if np.hypot(*(track.state[:2] - middle[:2])) < self._reach_m(track) + life.birth_margin_m:
                return np.inf
            prediction = predict_measure(track.state, frame.mount)
            if prediction is None or not track.confirmed:
                continue
            behind = distance > prediction.measure[RANGE] + self.params.gate.standing_reach_m
            if behind and abs(azimuth - prediction.measure[AZIMUTH]) < self.params.noise.separable_rad:
                needed = life.shadow_factor * life.birth_points
        return needed

    def _begin(self, frame: _Frame, members: Int64, needed: float) -> None:
        noise = self.params.noise
        middle = frame.measured[members].mean(axis=0)
        place = frame.places_m[members].mean(axis=0)
        sight = (place - frame.mount.position_world_m) / max(middle[RANGE], _NEAREST_POINT_M)
        extent = first_extent(self.params.extent)
        state = np.concatenate([place + noise.surface_m * sight, np.zeros(3)])
        prediction = predict_measure(state, frame.mount)
        if prediction is None:
            return
        own = spread(extent.covariance_m2, prediction.jacobian, noise)
        error = group_covariance(own, Group(len(members), middle[RANGE], 0.0, False), np.inf, noise)
        back = np.linalg.inv(prediction.jacobian[:RADIAL_VELOCITY, :3])
        covariance = np.diag(np.square([0.0, 0.0, 0.0, _BIRTH_SPEED_M_S, _BIRTH_SPEED_M_S, _BIRTH_VERTICAL_M_S]))
        covariance[:3, :3] = back @ error[:RADIAL_VELOCITY, :RADIAL_VELOCITY] @ back.T
        # The radial velocity: an update of a velocity of which nothing is known.
        row = np.zeros((1, 6))
        row[0, 3:] = sight
        rate = np.array([middle[RADIAL_VELOCITY]])
        state, covariance = updated(state, covariance, rate, row, error[RADIAL_VELOCITY:, RADIAL_VELOCITY:])
        track = Track(
            id=self.state.next_id,
            state=state,
            covariance=covariance,
            extent=extent,
            born_ns=frame.time_ns,
            seen_ns=frame.time_ns,
            needed_points=needed,
            measured_ns={frame.mount.name: frame.time_ns},
            looks=deque(maxlen=self.params.life.birth_frames),
        )
        self.state.next_id += 1
        self.state.tracks.append(track)
        self._assignment[frame.rows[members]] = track.id
        self._look(track, frame, float(len(members)), np.ones(len(members)), frame.measured[members])

    def _confirm(self) -> None:
        """Make bodies of young tracks that have shown it; one that has come near a body was a part of that."""
        assert self.state.now_ns is not None
        bodies = [track for track in self.state.tracks if track.confirmed]
        for track in [track for track in self.state.tracks if not track.confirmed]:
            if not is_born(track, self.state.now_ns, self.params.life):
                continue
            margin_m = self.params.life.birth_margin_m
            if any(_apart_m(track, body) < self._reach_m(body) + margin_m for body in bodies):
                self.state.tracks.remove(track)
            else:
                track.confirmed = True
                bodies.append(track)
                track.looks.clear()
                self.counters["births"] += 1

    def _drop(self) -> None:
        now = self.state.now_ns
        assert now is not None
        mounts = tuple(self._mounts.values())
        dead = {track.id for track in self.state.tracks if is_dead(track, now, mounts, self.params.life)}
        twins = self._twins(now) - dead
        self.counters["deaths"] += sum(track.confirmed for track in self.state.tracks if track.id in dead)
        self.counters["twins"] += len(twins)
        self.state.tracks = [track for track in self.state.tracks if track.id not in dead | twins]

    def _twins(self, now_ns: int) -> set[int]:
        """Younger ones of the pairs of confirmed tracks that have been in one place for too long."""
        life = self.params.life
        confirmed = [track for track in self.state.tracks if track.confirmed]
        gone = set()
        for index, younger in enumerate(confirmed):
            for older in confirmed[:index]:
                if _apart_m(younger, older) >= life.twin_m:
                    younger.twin_since_ns.pop(older.id, None)
                elif now_ns - younger.twin_since_ns.setdefault(older.id, now_ns) > life.twin_s * NANOSECONDS:
                    gone.add(younger.id)
        return gone

    def _report(self, record: RadarPoints) -> RadarTracks:
        now = record.measured_ns if self.state.now_ns is None else self.state.now_ns
        tracks = self.state.tracks
        count = len(tracks)
        return RadarTracks(
            measured_ns=now,
            received_ns=record.received_ns,
            radars=tuple(self._mounts),
            ids=np.array([track.id for track in tracks], dtype=np.int64),
            positions_m=np.array([track.state[:3] for track in tracks], np.float32).reshape(count, 3),
            velocities_m_s=np.array([track.state[3:] for track in tracks], np.float32).reshape(count, 3),
            covariances=np.array([track.covariance for track in tracks], np.float32).reshape(count, 6, 6),
            extents_m=np.array([track.extent.half_sizes_m for track in tracks], np.float32).reshape(count, 3),
            points=np.array([(self._assignment == track.id).sum() for track in tracks], dtype=np.int64),
            confirmed=np.array([track.confirmed for track in tracks], dtype=np.uint8),
            unseen_s=np.array([track.unseen_s(now) for track in tracks], dtype=np.float32),
        )


def _apart_m(one: Track, other: Track) -> float:
    """Seen from above."""
    return float(np.hypot(one.state[0] - other.state[0], one.state[1] - other.state[1]))
