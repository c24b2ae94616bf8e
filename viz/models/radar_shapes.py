"""Radar records as dots and lines in the world."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from fusion.body.catalog import landmark_set
from fusion.records import Array, Float32, Float64, Int64, RadarJoints, RadarPoints, RadarTracks
from fusion.rig import RadarMount
from viz.models import colours
from viz.models.lines import Lines, Points, joined_lines, no_lines, uniform
from viz.models.skeleton import dashes, ellipsoid_lines

SNR_DB = (8.0, 28.0)
"""Signal-to-noise ratio of the smallest and of the largest dot."""
POINT_PX = (4.0, 10.0)
UNKNOWN_POINT_PX = 6.0
"""Of a point whose sensor gives no signal-to-noise ratio."""
JOINT_PX = (5.0, 15.0)
JOINT_SIGMAS_M = (0.03, 0.25)
"""Standard deviation that is drawn as the smallest and as the largest dot."""
JOINT_OPACITIES = (1.0, 0.3)
"""Of a joint known best and of one known worst: what is uncertain is large and faint."""
BONE_OPACITY = 0.8
UPPER_OPACITY, TRAIL_OPACITY = 0.55, 0.8
"""Share of a body's opacity for its upper edge and its trail."""
ARROW_S = 1.0
"""An arrow reaches where the body will be after this."""
LEAST_ARROW_M = 0.12
ARROW_HEAD_M, ARROW_HEAD_RAD = 0.16, math.radians(152.0)
ABOVE_FLOOR_M = 0.01
"""So that the floor's grid does not hide what lies on it."""
DASH_M = 0.07
_STEPS = 32
_ARMS = (
    ("neck_base", "left_shoulder", "left_elbow", "left_wrist"),
    ("neck_base", "right_shoulder", "right_elbow", "right_wrist"),
)
_CHAINS = {
    "kinect_19": (
        ("mid_hip", "mid_spine", "neck_base", "skull_base", "head_centre"),
        *_ARMS,
        ("mid_hip", "left_hip", "left_knee", "left_ankle", "left_foot_tip"),
        ("mid_hip", "right_hip", "right_knee", "right_ankle", "right_foot_tip"),
    ),
    "rt_pose_15": (
        ("mid_hip", "neck_base", "head_centre"),
        *_ARMS,
        ("mid_hip", "left_hip", "left_knee", "left_ankle"),
        ("mid_hip", "right_hip", "right_knee", "right_ankle"),
    ),
}
"""Chains of joints by name; joints of other sets are drawn without bones."""


def radar_dots(record: RadarPoints, mount: RadarMount, share: float, most: int) -> Points:
    """Detections in the world, coloured by radial speed, larger where the signal is stronger.

    Args:
        record: in the radar frame.
        mount: where the radar is.
        share: opacity in 0..1.
        most: points drawn.
    """
    places = in_world(record.positions_m[:most], mount)
    tints = np.empty((len(places), 4), np.float32)
    tints[:, :3] = colours.doppler_colours(record.radial_velocities_m_s[:most])
    tints[:, 3] = share
    sizes = np.interp(record.snrs_db[:most], SNR_DB, POINT_PX)
    return Points(places, tints, np.nan_to_num(sizes, nan=UNKNOWN_POINT_PX).astype(np.float32))


def in_world(places_m: Array, mount: RadarMount) -> Float32:
    """Places [..., 3] of a radar's frame (x right, y forward, z up) in the world, metres."""
    placed = mount.to_world(np.asarray(places_m, dtype=np.float64))
    return np.asarray(placed, dtype=np.float32)


def joint_dots(record: RadarJoints, person: int, mount: RadarMount, share: float) -> Points:
    """The joints of one person in the radar's colour: small and bright where the network is sure of them.

    Args:
        record: in the radar frame.
        person: index into it.
        mount: where the radar is.
        share: opacity in 0..1 of the best joint of a person whom the network is sure of.
    """
    sigmas = np.linalg.norm(record.sigmas_m[person], axis=1) / math.sqrt(3.0)
    tints = uniform(colours.RADAR, 1.0, len(sigmas))
    tints[:, 3] = share * _sure(record, person) * np.interp(sigmas, JOINT_SIGMAS_M, JOINT_OPACITIES)
    sizes = np.nan_to_num(np.interp(sigmas, JOINT_SIGMAS_M, JOINT_PX), nan=JOINT_PX[1]).astype(np.float32)
    tints[~np.isfinite(sigmas), 3] = share * JOINT_OPACITIES[1]
    return Points(in_world(record.positions_m[person], mount), tints, sizes)


def joint_lines(record: RadarJoints, person: int, mount: RadarMount, share: float, ellipsoids: bool) -> Lines:
    """The bones of one person, and the two-sigma ellipsoid of each joint; arguments as of ``joint_dots``."""
    places = in_world(record.positions_m[person], mount)
    bones = places[bones_of(record.landmark_set)]
    parts = [Lines(bones, uniform(colours.RADAR, share * BONE_OPACITY * _sure(record, person), len(bones)))]
    if ellipsoids:
        rotation = mount.r_world_from_radar
        variances = record.sigmas_m[person].astype(np.float64) ** 2
        covariances = np.einsum("ab,jb,cb->jac", rotation, variances, rotation)
        parts.append(ellipsoid_lines(places, covariances, colours.RADAR))
    return joined_lines(parts)


def _sure(record: RadarJoints, person: int) -> float:
    return float(np.clip(np.nan_to_num(record.scores[person], nan=0.0), 0.3, 1.0))


@lru_cache(maxsize=64)
def bones_of(set_name: str) -> Int64:
    """[B, 2] pairs of landmarks of a set that a bone joins; none for a set that is no radar's."""
    order = {name: index for index, name in enumerate(landmark_set(set_name).landmark_names)}
    pairs = [(order[a], order[b]) for chain in _CHAINS.get(set_name, ()) for a, b in pairwise(chain)]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def track_lines(record: RadarTracks, track: int, opacity: float, *, dashed: bool, ellipsoid: bool) -> Lines:
    """A moving body: its outline on the floor and at its top, four uprights, an arrow of its speed.

    Args:
        record: in the world.
        track: index into it.
        opacity: in 0..1.
        dashed: whether no point tells of it at present.
        ellipsoid: the two-sigma ellipsoid of its position too.
    """
    place, extent = record.positions_m[track].astype(np.float64), record.extents_m[track].astype(np.float64)
    if not (np.isfinite(place).all() and np.isfinite(extent).all()):
        return no_lines()
    colour = colours.track_colour(int(record.ids[track]))
    foot = np.array([place[0], place[1], ABOVE_FLOOR_M])
    ring = _RING * np.array([extent[0], extent[1], 0.0])
    top = np.array([place[0], place[1], place[2] + extent[2]])
    corners = ring[:: _STEPS // 4, 0]
    uprights = np.stack([foot + corners, top + corners], axis=1)
    kept = slice(None, None, 2) if dashed else slice(None)
    outline, edge = (foot + ring)[kept], (top + ring)[kept]
    if dashed:
        uprights = np.concatenate([dashes(ends[0], ends[1], DASH_M) for ends in uprights])
    upper = np.concatenate([edge, uprights])
    parts = [
        _tinted(outline, colour, opacity),
        _tinted(upper, colour, UPPER_OPACITY * opacity),
        _tinted(arrow_ends(foot, record.velocities_m_s[track].astype(np.float64)), colour, opacity),
    ]
    if ellipsoid:
        parts.append(ellipsoid_lines(place[None], record.covariances[track, :3, :3][None], colour))
    return joined_lines(parts)


def arrow_ends(foot_m: Float64, velocity_m_s: Float64) -> Float64:
    """[3, 2, 3] shaft and head on the floor from a place [3] to where it will be; [0, 2, 3] for one that stands."""
    way = np.array([velocity_m_s[0], velocity_m_s[1], 0.0]) * ARROW_S
    length = float(np.linalg.norm(way))
    if not length >= LEAST_ARROW_M:
        return np.zeros((0, 2, 3))
    tip = foot_m + way
    heading = math.atan2(way[1], way[0])
    size = min(ARROW_HEAD_M, 0.5 * length)
    sides = [heading + ARROW_HEAD_RAD, heading - ARROW_HEAD_RAD]
    barbs = [tip + size * np.array([math.cos(side), math.sin(side), 0.0]) for side in sides]
    return np.array([[foot_m, tip], *([tip, barb] for barb in barbs)])


def trail_lines(places_m: Sequence[Float32], colour: colours.Colour, opacity: float) -> Lines:
    """Where a body has been, on the floor; older parts fainter. Places [3] each, oldest first."""
    if len(places_m) < 2:
        return no_lines()
    places = np.stack(places_m).astype(np.float32)
    places[:, 2] = ABOVE_FLOOR_M
    tints = uniform(colour, 1.0, len(places) - 1)
    tints[:, 3] = np.linspace(0.05, TRAIL_OPACITY, len(places) - 1) * opacity
    return Lines(np.stack([places[:-1], places[1:]], axis=1), tints)


def _tinted(ends: Float64, colour: colours.Colour, opacity: float) -> Lines:
    return Lines(ends.astype(np.float32), uniform(colour, opacity, len(ends)))


def _unit_ring() -> Float64:
    angles = np.linspace(0.0, 2.0 * math.pi, _STEPS + 1)
    loop = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=1)
    return np.stack([loop[:-1], loop[1:]], axis=1)


_RING: Float64 = _unit_ring()
"""[32, 2, 3]: segments of the unit circle in the floor."""
