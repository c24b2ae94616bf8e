"""The filter bank: birth, identity and death of the people in the scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fusion.births import BirthParams, Births, Sight
from fusion.body import catalog
from fusion.body.kinematics import TABLES
from fusion.body.skeleton import SEGMENT
from fusion.branches import BranchParams, BranchWatch
from fusion.estimators.camera.association import (
    AssociationParams,
    Birth,
    Candidate,
    assign,
    detection_costs,
    find_birth,
)
from fusion.filter.history import FilterParams, Outcome, PersonFilter
from fusion.filter.measurements.landmarks import LandmarkParams, Landmarks2DMeasurement, Landmarks3DMeasurement
from fusion.filter.measurements.usual import UsualParams, UsualPose
from fusion.filter.process import NS_PER_S
from fusion.filter.state import BODY_ERRORS, NEVER_NS, POSE, State, errors_of, retract_into, with_imus
from fusion.filter.system import Measurement
from fusion.filter.tracks import Track
from fusion.filter.update import Updater, holds_lengths
from fusion.maths.camera import CameraArrays, camera_arrays, project_points
from fusion.records import Float64, Int64, Landmarks2D, Landmarks3D
from fusion.rig import Rig


@dataclass(frozen=True, slots=True)
class PeopleParams:
    """Parameters of the bank and of each filter in it."""

    filter: FilterParams = field(default_factory=FilterParams)
    births: BirthParams = field(default_factory=BirthParams)
    landmarks: LandmarkParams = field(default_factory=LandmarkParams)
    association: AssociationParams = field(default_factory=AssociationParams)
    branches: BranchParams = field(default_factory=BranchParams)
    usual: UsualParams = field(default_factory=UsualParams)
    max_people: int = 8
    max_detections: int = 16
    """Of one picture; what a faulty detector says beyond is left out, for births cost pairs of detections."""
    death_s: float = 3.0
    """A person whom nobody has detected for so long, while detections came in, is gone."""
    unseen_s: float = 0.25
    """Somebody whom no landmark has reached for longer than this may turn up elsewhere,"""
    return_m_s: float = 2.0
    """as far away as this speed allows, and is then no new person."""
    lost_s: float = 60.0
    """Without any measurement at all a person is kept for so long: lost sensors come back."""
    alone_s: float = 0.3
    """One camera alone gives birth to whom it has shown for so long while no other was heard,"""
    unshared_s: float = 1.0
    """or for so long while no other showed anybody new."""
    score_floor: float = 0.1
    """A landmark's variance is divided by its score, but by no less than this."""


@dataclass(slots=True, eq=False)
class Person:
    """One tracked person."""

    identity: int
    filter: PersonFilter
    branches: BranchWatch
    wears_imus: bool = False
    usual_slot: int = NEVER_NS
    """The stretch of time in which the filter was last told what is usual."""
    missed_ns: int = 0
    """For how long detections have come in without one of this person."""


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """The detections of one picture, as far as they can be used."""

    time_ns: int
    index: int
    """Of the camera in the rig."""
    landmark_set: str
    pixels: Float64
    """[D, K, 2], NaN where not to be used."""
    scores: Float64
    """[D, K], 0 where not to be used."""


class People:
    """All people of a session. ``counters`` tells what was refused and why."""

    def __init__(self, rig: Rig, params: PeopleParams) -> None:
        self.rig = rig
        self.params = params
        self.people: list[Person] = []
        self.ended: list[Track] = []
        """Of those who are gone or were started anew, where journals are kept; who reads them may take them away."""
        self.counters: dict[str, int] = {
            "births": 0,
            "returns": 0,
            "deaths": 0,
            "unassigned": 0,
            "exchanged": 0,
            "branches": 0,
            "detections_left_out": 0,
            **{o.value: 0 for o in Outcome},
        }
        self._updaters: dict[int, Updater] = {}
        self._births = Births(rig.subject, params.births, self._updater(0))
        self._arrays: list[CameraArrays] = [camera_arrays(camera) for camera in rig.cameras]
        self._index = {camera.name: index for index, camera in enumerate(rig.cameras)}
        self._imu_segments = [SEGMENT[mount.segment] for mount in rig.imus]
        self._candidates: dict[str, list[Candidate]] = {}
        self._next_identity = 1
        self._nominal = np.zeros(BODY_ERRORS)
        self._sights = _Sights()
        self._landmarks_ns = NEVER_NS
        self._failures = 0
        self._retry_ns = NEVER_NS

    def _updater(self, imus: int) -> Updater:
        """The solver for people with room for so many IMUs."""
        if imus not in self._updaters:
            p = self.params.filter
            self._updaters[imus] = Updater(p.update, p.anatomy, errors_of(imus), p.contact)
        return self._updaters[imus]

    def landmarks_2d(self, record: Landmarks2D) -> None:
        """Take in one picture's detections: update those who are known, bear who is new.

        Raises:
            RigError: if the record's camera is not in the rig.
            ValueError: if its landmark set is not known, or not as long as its landmarks.
        """
        view = self._view(record)
        matched = self._match(view)
        for person, d, order in matched:
            self.apply(person, self._measurement(view, d, order))
            self._hold_depth(person, view)
        self._count_misses(view.time_ns, [person for person, _, _ in matched])
        claimed = {d for _, d, _ in matched}
        fresh = [
            Candidate(view.time_ns, view.index, view.pixels[d], view.scores[d])
            for d in range(len(view.pixels))
            if d not in claimed
        ]
        self.counters["unassigned"] += len(fresh)
        self._consider_births(view.landmark_set, view.index, fresh, view.time_ns)

    def _view(self, record: Landmarks2D) -> _View:
        """What can be used of a record."""
        index = self._index[self.rig.camera(record.camera).name]
        check_count(record.camera, record.pixels.shape[1], record.landmark_set)
        pixels = record.pixels[: self.params.max_detections].astype(np.float64)
        self.counters["detections_left_out"] += len(record.pixels) - len(pixels)
        scores = np.nan_to_num(record.scores[: len(pixels)].astype(np.float64)).clip(0.0, 1.0)
        usable = (scores >= self.params.landmarks.min_score) & np.isfinite(pixels).all(2)
        return _View(
            time_ns=record.measured_ns,
            index=index,
            landmark_set=record.landmark_set,
            pixels=np.where(usable[..., None], pixels, np.nan),
            scores=np.where(usable, scores, 0.0),
        )

    def _match(self, view: _View) -> list[tuple[Person, int, Int64]]:
        """Who is which detection: the person, the detection, and the order to read its landmarks in.

        Detectors take a back for a front: a view's left and right may be exchanged for
        a second on end, and such a detection is read with its sides turned round.
        """
        known = [person for person in self.people if self._reaches(person, view.time_ns)]
        if not known or not len(view.pixels):
            return []
        arrays, limits = self._arrays[view.index], self.params.association
        landmarks = [self.landmarks_at(person, view.time_ns, view.landmark_set) for person in known]
        predicted = np.stack([project_points(points, arrays)[0] for points in landmarks])
        mirror = catalog.mirror_order(view.landmark_set)
        straight = detection_costs(predicted, view.pixels, limits)
        turned = np.full_like(straight, np.inf)
        if (straight > limits.suspicious_cost).any():
            turned = detection_costs(predicted, view.pixels[:, mirror], limits)
        exchanged = turned < limits.mirror_gain * straight
        pairs = assign(np.where(exchanged, turned, straight), limits.max_cost)
        self.counters["exchanged"] += sum(int(exchanged[pair]) for pair in pairs)
        as_it_is = np.arange(len(mirror))
        return [(known[p], d, mirror if exchanged[p, d] else as_it_is) for p, d in pairs]

    def _measurement(self, view: _View, detection: int, order: Int64) -> Landmarks2DMeasurement:
        """One detection as a measurement, its landmarks read in the given order [K]."""
        camera = self.rig.cameras[view.index]
        placed = catalog.attachments(view.landmark_set)
        scores = np.maximum(view.scores[detection, order], self.params.score_floor)
        return Landmarks2DMeasurement(
            time_ns=view.time_ns,
            camera=self._arrays[view.index],
            image_height=camera.height,
            source=camera.name,
            placed=placed,
            pixels=view.pixels[detection, order],
            relative_variance=placed.sigma_scale**2 / scores,
            params=self.params.landmarks,
        )

    def _hold_depth(self, person: Person, view: _View) -> None:
        """Of somebody whom one camera alone shows: tell what is usual, and look at other branches."""
        if not holds_lengths(person.filter.state_before(view.time_ns), self.params.filter.update):
            return
        slot = view.time_ns // int(self.params.usual.interval_s * NS_PER_S)
        state = person.filter.state_before(view.time_ns + 1)
        if slot <= person.usual_slot or state.time_ns != view.time_ns:
            return
        person.usual_slot = slot
        centre_m = self.rig.cameras[view.index].centre_world_m
        sensed = {self._imu_segments[imu] for imu in np.flatnonzero(state.imu_ns != NEVER_NS)}
        readings = person.branches.look(state, centre_m, sensed)
        self.apply(person, UsualPose(view.time_ns, centre_m, self.params.usual))
        for reading in readings:
            self.apply(person, reading)
            self.counters["branches"] += 1

    def landmarks_3d(self, record: Landmarks3D) -> None:
        """Take in world landmarks: nearest known person by mean distance, else a birth.

        Raises:
            ValueError: if the landmark set is not known, or not as long as the landmarks.
        """
        placed = catalog.attachments(record.landmark_set)
        check_count(record.source, record.positions_m.shape[1], record.landmark_set)
        points = record.positions_m.astype(np.float64)
        variance = record.sigmas_m.astype(np.float64) ** 2
        for person_points, person_variance in zip(points, variance, strict=True):
            nearest = self._nearest(person_points, record.landmark_set, record.measured_ns)
            measurement = Landmarks3DMeasurement(
                record.measured_ns, record.source, placed, person_points, _known(person_variance)
            )
            if nearest is not None:
                self.apply(nearest, measurement)
                nearest.missed_ns = 0
            else:
                self._bear_at(record.landmark_set, person_points, person_variance, record.measured_ns)

    def apply(self, person: Person, measurement: Measurement) -> Outcome:
        """Give one measurement to one person; what becomes of it is counted."""
        ahead = measurement.time_ns > person.filter.newest_ns and not self._reaches(person, measurement.time_ns)
        outcome = Outcome.REFUSED_AHEAD if ahead else person.filter.apply(measurement)
        self.counters[outcome.value] += 1
        return outcome

    def vouch(self, person: Person) -> None:
        """Somebody else than cameras sees this person: not being detected is no reason to be gone."""
        person.missed_ns = 0

    def bury(self, time_ns: int) -> None:
        """Drop those whom nothing has reached for too long."""
        death_ns, lost_ns = (int(limit * NS_PER_S) for limit in (self.params.death_s, self.params.lost_s))
        gone = [p for p in self.people if p.missed_ns > death_ns or time_ns - p.filter.newest_ns > lost_ns]
        self.counters["deaths"] += len(gone)
        self.ended += _tracks(gone)
        self.people = [person for person in self.people if person not in gone]

    def tracks(self) -> list[Track]:
        """What every filter was given, of the gone and of the living, by their starts; empty without journals."""
        return sorted([*self.ended, *_tracks(self.people)], key=lambda track: track.start.time_ns)

    def _count_misses(self, time_ns: int, found: list[Person]) -> None:
        """Time in which landmarks came in counts against those who are not among them."""
        passed_ns = min(max(time_ns - self._landmarks_ns, 0), _MISS_STEP_NS)
        self._landmarks_ns = max(self._landmarks_ns, time_ns)
        for person in self.people:
            person.missed_ns = 0 if person in found else person.missed_ns + passed_ns

    def landmarks_at(self, person: Person, time_ns: int, set_name: str) -> Float64:
        """World landmarks [K, 3] of a person, its last state carried to ``time_ns`` at constant rates."""
        state = person.filter.state_before(time_ns)
        error = np.zeros(BODY_ERRORS)
        error[POSE] = state.rates * ((time_ns - state.time_ns) / NS_PER_S)
        retract_into(TABLES, state.nominal[:BODY_ERRORS], error, self._nominal)
        return self._births.landmarks_of(self._nominal, set_name)

    def _reaches(self, person: Person, time_ns: int) -> bool:
        return abs(time_ns - person.filter.newest_ns) < self.params.lost_s * NS_PER_S

    def _consider_births(self, set_name: str, index: int, fresh: list[Candidate], time_ns: int) -> None:
        """Keep this view's unclaimed detections for a while and look for a group that agrees."""
        behind_ns = self._landmarks_ns - time_ns
        if self.params.filter.window_s * NS_PER_S < behind_ns < self.params.lost_s * NS_PER_S:
            return  # Too late for the people who are in it, who must not be taken for somebody new.
        window = int(self.params.association.birth_window_s * NS_PER_S)
        waiting = [
            candidate
            for candidate in self._candidates.get(set_name, [])
            if abs(candidate.time_ns - time_ns) <= window and candidate.camera_index != index
        ]
        waiting += fresh
        self._sights.note(index, bool(fresh), time_ns)
        claimed: set[int] = set()
        in_several_views = len({candidate.camera_index for candidate in waiting}) > 1
        patient = bool(fresh) and self._has_patience(time_ns)
        if patient and in_several_views and self._has_room(time_ns):
            claimed = self._births_among(waiting, set_name, time_ns)
            waiting = [candidate for candidate in waiting if id(candidate) not in claimed]
            self._failures = 0 if claimed else self._failures + 1
            self._retry_ns = time_ns + min(self._failures * _RETRY_STEP_NS, _RETRY_MAX_NS)
        if patient and not claimed and self._shows_alone(index, time_ns) and self._has_room(time_ns):
            born = [candidate for candidate in fresh if self._born_from_view(candidate, set_name)]
            waiting = [candidate for candidate in waiting if candidate not in born]
        self._candidates[set_name] = waiting

    def _shows_alone(self, index: int, time_ns: int) -> bool:
        """Whether one camera has shown somebody new for long enough without any other."""
        p, sights = self.params, self._sights
        needed_s = p.alone_s if sights.only(index, time_ns) else p.unshared_s
        return not sights.shared(index, time_ns) and sights.shown_s(index, time_ns) >= needed_s

    def _born_from_view(self, candidate: Candidate, set_name: str) -> bool:
        """Bear whom one picture shows."""
        time_ns = candidate.time_ns
        start = self._start_from_views(set_name, [candidate], time_ns)
        born = self._bear(start, None, time_ns) is not None
        self._failures = 0 if born else self._failures + 1
        self._retry_ns = time_ns + min(self._failures * _RETRY_STEP_NS, _RETRY_MAX_NS)
        return born

    def _births_among(self, candidates: list[Candidate], set_name: str, time_ns: int) -> set[int]:
        """Bear whom groups of detections agree on; returns ``id`` of the detections that were used."""
        claimed: set[int] = set()
        while self._has_room(time_ns):
            birth = find_birth(candidates, self.rig.cameras, self.params.association)
            if birth is None:
                break
            members = {id(member) for member in birth.members}
            if self._born_from(birth, set_name, time_ns):
                claimed |= members
            # A group that makes no body must not stand before one that does.
            candidates = [candidate for candidate in candidates if id(candidate) not in members]
        return claimed

    def _has_patience(self, time_ns: int) -> bool:
        """Whether to look for a birth: what is never born (a poster, a reflection) is tried ever more seldom."""
        return not 0 < self._retry_ns - time_ns <= _RETRY_MAX_NS

    def _born_from(self, birth: Birth, set_name: str, time_ns: int) -> bool:
        result = birth.triangulated
        newest = max(member.time_ns for member in birth.members)
        if self._bear_at(set_name, result.points_m, result.sigmas_m**2, newest) is not None:
            return True
        # Hips or shoulders that only one view shows have no place in space; the pictures themselves still have a body.
        near = self._nearest(result.points_m, set_name, newest)
        if near is not None and _unseen_s(near, newest) <= self.params.unseen_s:
            return False
        start = self._start_from_views(set_name, birth.members, newest)
        return self._bear(start, near, newest) is not None

    def _start_from_views(
        self, set_name: str, candidates: Sequence[Candidate], time_ns: int
    ) -> Callable[[Float64 | None], State | None]:
        """How to make a body of detections, given its lengths where they are known."""
        sights = [Sight(c.pixels, c.scores, self.rig.cameras[c.camera_index]) for c in candidates]
        return lambda lengths_m: self._births.from_views(set_name, sights, time_ns, lengths_m)

    def _nearest(self, points_m: Float64, set_name: str, time_ns: int) -> Person | None:
        """The known person whose landmarks are near these; None if nobody's are."""
        return self.nearest(points_m, set_name, time_ns, self.params.association.birth_distance_m)

    def nearest(self, points_m: Float64, set_name: str, time_ns: int, within_m: float) -> Person | None:
        """The known person whose landmarks [K, 3] are within a distance of these on average; None if nobody's are."""
        best: tuple[float, Person] | None = None
        for person in self.people:
            distance = np.linalg.norm(self.landmarks_at(person, time_ns, set_name) - points_m, axis=1)
            common = distance[np.isfinite(distance)]
            if common.size and (best is None or common.mean() < best[0]):
                best = float(common.mean()), person
        return best[1] if best and best[0] < within_m else None

    def _bear_at(self, set_name: str, points_m: Float64, variance_m2: Float64, time_ns: int) -> Person | None:
        """Start a filter from world landmarks; None where they do not make a plausible new body, or all are there."""
        near = self._nearest(points_m, set_name, time_ns)
        if near is not None and _unseen_s(near, time_ns) <= self.params.unseen_s:
            return None

        def start(lengths_m: Float64 | None) -> State | None:
            return self._births.from_points(set_name, points_m, _known(variance_m2), time_ns, lengths_m)

        return self._bear(start, near, time_ns)

    def _bear(
        self, start: Callable[[Float64 | None], State | None], near: Person | None, time_ns: int
    ) -> Person | None:
        """A new person, or one who comes back; None where there is no body or no room.

        Args:
            start: makes the body, given its lengths [11] where they are known.
            near: who was last seen there.
            time_ns: when.
        """
        if not self._has_room(time_ns):
            return None
        state = start(_locked_lengths(near) if near else self.rig.subject.lengths_m)
        if state is None:
            return None
        back = near or self._returning(state.coordinates[:3], time_ns)
        if back is not None and back is not near and _locked_lengths(back) is not None:
            state = start(_locked_lengths(back)) or state
        if back is not None:
            return self._restarted(back, state)
        if len(self.people) >= self.params.max_people:
            return None
        return self._new_person(state)

    def bear_from_orientations(
        self, q_world_from_segment: Float64, segments: Int64, time_ns: int, *, still: bool = False
    ) -> Person | None:
        """Start the wearer, who stands ``still``, from orientations [M, 4] of segments [M] alone.

        None where somebody wears the IMUs.
        """
        if any(person.wears_imus for person in self.people) or len(self.people) >= self.params.max_people:
            return None
        return self._new_person(self._births.from_orientations(q_world_from_segment, segments, time_ns, still=still))

    def bear_from_joints(
        self, set_name: str, points_m: Float64, variance_m2: Float64, time_ns: int, apart_m: float
    ) -> Person | None:
        """Start somebody from joints [K, 3] with variances [K] that are too weak to tell lengths of limbs.

        None where they do not make a plausible new body, or somebody is within ``apart_m``.
        """
        if self.nearest(points_m, set_name, time_ns, apart_m) is not None:
            return None

        def start(lengths_m: Float64 | None) -> State | None:
            state = self._births.from_points(set_name, points_m, variance_m2, time_ns, lengths_m)
            if state is not None:
                state.stereo_ns = NEVER_NS
            return state

        return self._bear(start, None, time_ns)

    def quiet_s(self, time_ns: int) -> float:
        """For how long no landmarks have come in."""
        return (time_ns - self._landmarks_ns) / NS_PER_S

    def _new_person(self, state: State) -> Person:
        wears_imus = bool(self.rig.imus) and not any(other.wears_imus for other in self.people)
        watch = BranchWatch(self.params.branches)
        person = Person(self._next_identity, self._filter(state, wears_imus), watch, wears_imus)
        self._next_identity += 1
        self.people.append(person)
        self.counters["births"] += 1
        return person

    def _filter(self, state: State, wears_imus: bool) -> PersonFilter:
        imus = len(self.rig.imus) if wears_imus else 0
        return PersonFilter(self.params.filter, self._updater(imus), with_imus(state, imus))

    def _has_room(self, time_ns: int) -> bool:
        """Whether somebody new, or somebody who comes back, could be taken in."""
        return len(self.people) < self.params.max_people or any(
            _unseen_s(person, time_ns) > self.params.unseen_s for person in self.people
        )

    def _returning(self, pelvis_m: Float64, time_ns: int) -> Person | None:
        """The nearest person who has been out of sight and can have come to this place [3] meanwhile."""
        best: tuple[float, Person] | None = None
        for person in self.people:
            unseen_s = _unseen_s(person, time_ns)
            reach_m = self.params.association.birth_distance_m + self.params.return_m_s * unseen_s
            distance_m = float(np.linalg.norm(person.filter.state.coordinates[:3] - pelvis_m))
            if unseen_s > self.params.unseen_s and distance_m < reach_m and (best is None or distance_m < best[0]):
                best = distance_m, person
        return best[1] if best else None

    def _restarted(self, person: Person, state: State) -> Person:
        """A known person, seen again elsewhere: a new start of the same body."""
        before = person.filter.state
        state.born_ns, state.landmark_noise = before.born_ns, before.landmark_noise
        self.ended += _tracks([person])
        person.filter = self._filter(state, person.wears_imus)
        person.missed_ns = 0
        self.counters["returns"] += 1
        return person


_MISS_STEP_NS = 100_000_000
"""A longer pause between landmark records is a lost sensor, not a missing person."""
_RETRY_STEP_NS = 20_000_000
"""After each failure to find a birth the next attempt waits longer by this,"""
_RETRY_MAX_NS = 500_000_000
"""but no longer than this."""


def _tracks(people: list[Person]) -> list[Track]:
    """What their filters were given, where it is kept."""
    return [
        Track(person.identity, person.filter.start, tuple(person.filter.journal))
        for person in people
        if person.filter.journal is not None
    ]


def _unseen_s(person: Person, time_ns: int) -> float:
    """For how long no landmark has reached a person."""
    return (time_ns - int(person.filter.state.measured_ns.max())) / NS_PER_S


def check_count(source: str, have: int, set_name: str) -> None:
    """Raise a ValueError where a record's landmarks are not as many as its set has."""
    expected = len(catalog.landmark_set(set_name).landmark_names)
    if have != expected:
        raise ValueError(f"{source}: {have} landmarks, {set_name} has {expected}")


def _known(variance: Float64) -> Float64:
    """Variances with a metre where nobody has said anything."""
    return np.where(np.isnan(variance), 1.0, variance)


def _locked_lengths(person: Person) -> Float64 | None:
    """A person's lengths [11], once they are known."""
    state = person.filter.state
    return state.lengths_m if state.lengths_locked else None


class _Sights:
    """Which cameras are heard, and which of them show somebody whom nobody knows."""

    def __init__(self) -> None:
        self._heard_ns: dict[int, int] = {}
        self._since_ns: dict[int, int] = {}
        """Since when a camera has been showing somebody new without a pause."""
        self._shown_ns: dict[int, int] = {}

    def note(self, index: int, fresh: bool, time_ns: int) -> None:
        """A picture has come, with or without somebody new."""
        self._heard_ns[index] = max(time_ns, self._heard_ns.get(index, time_ns))
        if not fresh:
            return
        paused = time_ns - self._shown_ns.get(index, NEVER_NS) > _SIGHT_PAUSE_NS
        if paused or index not in self._since_ns:
            self._since_ns[index] = time_ns
        self._shown_ns[index] = time_ns

    def only(self, index: int, time_ns: int) -> bool:
        """Whether no other camera has been heard lately."""
        return all(time_ns - heard > _SIGHT_PAUSE_NS for other, heard in self._heard_ns.items() if other != index)

    def shared(self, index: int, time_ns: int) -> bool:
        """Whether another camera shows somebody new as well: two views that make no body are of none."""
        return any(time_ns - shown <= _SIGHT_PAUSE_NS for other, shown in self._shown_ns.items() if other != index)

    def shown_s(self, index: int, time_ns: int) -> float:
        """For how long a camera has been showing somebody new."""
        return (time_ns - self._since_ns.get(index, time_ns)) / NS_PER_S


_SIGHT_PAUSE_NS = 500_000_000
