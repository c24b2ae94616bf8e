"""One tracked body: its state, its size, and what decides whether it is real and still there."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fusion.estimators.radar.extent import Extent
from fusion.estimators.radar.polar import in_view
from fusion.records import Float64
from fusion.rig import RadarMount

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LifeParams:
    """Birth and death."""

    birth_points: int = 5
    """A cluster with fewer points is nobody; also what a young track needs in a frame for it to count,"""
    birth_frames: int = 6
    """of the last so many frames of radars that look there"""
    birth_hits: int = 4
    """so many must count."""
    birth_s: float = 0.2
    """It takes at least so long."""
    moving_m_s: float = 0.2
    """A point with a smaller radial velocity does not move:"""
    moving_share: float = 0.3
    """so large a share of a young track's points must."""
    disagreement_m_s: float = 1.2
    """A young track whose range changes at a rate this far from its points' radial velocity is an echo."""
    birth_margin_m: float = 0.15
    """A cluster no farther than this beyond the reach of a track is part of that body,"""
    shadow_factor: float = 2.0
    """and one behind a track in the same beam is its echo by way of a wall, unless it has so many times the points."""
    seen_points: float = 3.0
    """Fewer points than these in a frame may be clutter: they tell nothing of a track."""
    still_m_s: float = 0.6
    """Who was slower than this when last seen is standing still and kept"""
    still_s: float = 30.0
    """for so long, provided that it was well seen before (with points as for a birth):"""
    credit: float = 6.0
    """it may be unseen for so many times as long as it was well seen, no more; an echo that flickers is not."""
    lost_s: float = 1.0
    """who vanished at speed, or is out of every radar's view, only for so long."""
    young_s: float = 0.5
    """An unconfirmed track unseen for so long is dropped."""
    twin_m: float = 0.4
    """Two tracks nearer to each other than this"""
    twin_s: float = 0.8
    """for so long are one body: the younger is dropped."""
    hold_s: float = 1.0
    """A hint that somebody is there keeps a track for so long,"""
    hint_reach_m: float = 1.5
    """if it is no farther away than this."""


@dataclass(slots=True, eq=False)
class Track:
    """A body; its state is that at the tracker's time."""

    id: int
    state: Float64
    """[6] position and velocity, world."""
    covariance: Float64
    """[6, 6]."""
    extent: Extent
    born_ns: int
    seen_ns: int
    needed_points: float
    """What a frame must have of it to count for its birth."""
    confirmed: bool = False
    held_until_ns: int = 0
    credit_s: float = 0.0
    """For how long it may be unseen yet."""
    measured_ns: dict[str, int] = field(default_factory=dict)
    """By radar, when it last measured the body."""
    twin_since_ns: dict[int, int] = field(default_factory=dict)
    """By track, since when it has been too near."""
    looks: deque[Look] = field(default_factory=deque)
    """The newest frames of radars that look there, while it is not confirmed."""

    @property
    def speed_m_s(self) -> float:
        """Horizontal."""
        return float(np.hypot(self.state[3], self.state[4]))

    def unseen_s(self, now_ns: int) -> float:
        """Time since it had points."""
        return max(now_ns - self.seen_ns, 0) / NANOSECONDS


@dataclass(frozen=True, slots=True)
class Look:
    """What one frame says of an unconfirmed track."""

    radar: str
    time_ns: int
    points: float
    moving: float
    """Share of the points that move."""
    range_m: float
    radial_velocity_m_s: float
    """Mean of the points."""


def is_born(track: Track, now_ns: int, params: LifeParams) -> bool:
    """Whether the newest frames make an unconfirmed track a body: M of N, moving, and going where it says it goes."""
    hits = [look for look in track.looks if look.points >= track.needed_points]
    if len(hits) < params.birth_hits or (now_ns - track.born_ns) / NANOSECONDS < params.birth_s:
        return False
    if sum(look.moving for look in hits) / len(hits) < params.moving_share:
        return False
    return all(_consistent([hit for hit in hits if hit.radar == radar], params) for radar in {h.radar for h in hits})


def _consistent(hits: Sequence[Look], params: LifeParams) -> bool:
    """Whether the range changes as the radial velocity says; True where time is too short to tell."""
    times = np.array([hit.time_ns - hits[0].time_ns for hit in hits]) / NANOSECONDS
    if times[-1] < 0.5 * params.birth_s:
        return True
    centred = times - times.mean()
    slope = float(centred @ [hit.range_m for hit in hits] / (centred @ centred))
    mean = float(np.mean([hit.radial_velocity_m_s for hit in hits]))
    return abs(slope - mean) < params.disagreement_m_s


def is_dead(track: Track, now_ns: int, mounts: Sequence[RadarMount], params: LifeParams) -> bool:
    """Whether a track has been unseen for too long."""
    unseen_s = track.unseen_s(now_ns)
    if not track.confirmed:
        frames = len(track.looks)
        hits = sum(look.points >= track.needed_points for look in track.looks)
        hopeless = frames >= params.birth_frames and hits < params.birth_hits
        return unseen_s > params.young_s or hopeless
    if now_ns <= track.held_until_ns or unseen_s <= params.lost_s:
        return False
    watched = any(in_view(track.state[:3], mount) for mount in mounts)
    return track.credit_s <= 0.0 or not watched or not is_still(track, params)


def is_still(track: Track, params: LifeParams) -> bool:
    """Whether it is slow: what is seen no more goes on with the velocity it had, decaying only if it was slow."""
    return track.speed_m_s < params.still_m_s
