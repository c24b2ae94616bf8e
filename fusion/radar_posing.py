"""Radar tracks, a network over their points, and the joints that it makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fusion.estimators.radar.joints import JointsTold, RadarPoser
from fusion.estimators.radar.packing import JOINT_SET, RadarWeights
from fusion.records import Bool, Float32, Float64, Int64, RadarJoints, RadarPoints, RadarTracks
from fusion.rig import RadarMount

_LEVEL = 0.2
"""A radar whose view has a smaller horizontal part than this looks down: there is no network for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RadarPosingParams:
    """Where the network may be believed: about where it has learned."""

    nearest_m: float = 1.0
    farthest_m: float = 3.5
    """Horizontal distance of the track from the radar."""
    most_azimuth_rad: float = 0.7
    least_height_m: float = 0.6
    most_height_m: float = 1.5
    """Of the radar above the floor."""


class RadarPosing:
    """A network for each track before each radar.

    Args:
        weights: of the network.
        params: see there.
    """

    def __init__(self, weights: RadarWeights, params: RadarPosingParams | None = None) -> None:
        self.params = params or RadarPosingParams()
        self._weights = weights
        self._posers: dict[tuple[str, int], RadarPoser] = {}

    def step(
        self,
        record: RadarPoints,
        mount: RadarMount,
        points_m: Float64,
        speeds_m_s: Float64,
        owner: Int64,
        tracks: RadarTracks,
    ) -> RadarJoints | None:
        """Take a frame in.

        Args:
            record: the frame.
            mount: of its radar.
            points_m: [N, 3] its usable points, world.
            speeds_m_s: [N] their radial velocities, + is receding.
            owner: [N] the track of each, -1 for nobody's.
            tracks: after this frame.

        Returns:
            The joints of those tracks whose frames have filled a step of the network; None for none.
        """
        level = level_from_world(mount)
        if level is None:
            return None
        told: dict[int, JointsTold] = {}
        confirmed = np.flatnonzero(tracks.confirmed)
        self._forget(record.radar, tracks.ids[confirmed])
        for row in confirmed:
            track = int(tracks.ids[row])
            place = level @ (tracks.positions_m[row].astype(np.float64) - mount.position_world_m)
            if not self._within(place, mount):
                self._posers.pop((record.radar, track), None)
                continue
            mine = owner == track
            joints = self._told(
                record, mount, track, (points_m[mine] - mount.position_world_m) @ level.T, speeds_m_s[mine], place
            )
            if joints is not None:
                told[track] = joints
        return self._record(record, mount, level, told) if told else None

    def _told(
        self, record: RadarPoints, mount: RadarMount, track: int, points_m: Float64, speeds_m_s: Float64, place: Float64
    ) -> JointsTold | None:
        key = (record.radar, track)
        if key not in self._posers:
            self._posers[key] = RadarPoser(self._weights)
        poser = self._posers[key]
        height = float(mount.position_world_m[2])
        return poser.step(record.measured_ns, points_m, speeds_m_s, place[:2], height)

    def _within(self, place_m: Float64, mount: RadarMount) -> bool:
        """Whether the network has learned such a place [3], level frame."""
        p = self.params
        away = float(np.hypot(place_m[0], place_m[1]))
        azimuth = abs(float(np.arctan2(place_m[0], place_m[1])))
        high = p.least_height_m < mount.position_world_m[2] < p.most_height_m
        return bool(high and p.nearest_m < away < p.farthest_m and azimuth < p.most_azimuth_rad)

    def _forget(self, radar: str, ids: Int64) -> None:
        """Drop the networks of tracks that are no more."""
        for key in [key for key in self._posers if key[0] == radar and key[1] not in ids]:
            del self._posers[key]

    def _record(
        self, record: RadarPoints, mount: RadarMount, level: Float64, told: Mapping[int, JointsTold]
    ) -> RadarJoints:
        radar_from_level = mount.r_world_from_radar.T @ level.T
        positions = np.stack([joints.positions_m for joints in told.values()]) @ radar_from_level.T
        variances = np.stack([joints.sigmas_m for joints in told.values()]) ** 2 @ (radar_from_level**2).T
        return RadarJoints(
            measured_ns=record.measured_ns,
            received_ns=record.received_ns,
            radar=record.radar,
            landmark_set=JOINT_SET,
            ids=np.array(list(told), dtype=np.int64),
            positions_m=positions.astype(np.float32),
            sigmas_m=np.sqrt(variances).astype(np.float32),
            scores=np.array([joints.score for joints in told.values()], dtype=np.float32),
        )


def level_from_world(mount: RadarMount) -> Float64 | None:
    """Rotation [3, 3] to right, forward and up of a radar made level; None for one that looks (nearly) straight down.

    What is right stays right for a radar that is tilted; one that is rolled is stood upright.
    """
    forward = mount.r_world_from_radar[:, 1].copy()
    forward[2] = 0.0
    size = float(np.linalg.norm(forward))
    if size < _LEVEL:
        return None
    forward /= size
    up = np.array([0.0, 0.0, 1.0])
    return np.stack([np.cross(forward, up), forward, up])


def in_world(record: RadarJoints, mount: RadarMount) -> tuple[Float64, Float64, Bool]:
    """Places [P, J, 3] and variances [P, J, 3] along the world's axes, and whose [P] numbers can be used."""
    places = mount.to_world(record.positions_m.astype(np.float64))
    sigmas: Float32 = record.sigmas_m
    variances = sigmas.astype(np.float64) ** 2 @ (mount.r_world_from_radar**2).T
    usable = np.isfinite(places).all((1, 2)) & np.isfinite(variances).all((1, 2)) & (variances > 0.0).all((1, 2))
    return places, variances, np.asarray(usable)
