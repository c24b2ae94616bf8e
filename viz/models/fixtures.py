"""What stands in the room: cameras as frusta, radars with their field of view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion.records import Float32, Float64
from fusion.rig import Camera, RadarMount, Rig
from viz.models import colours
from viz.models.lines import Lines, joined_lines, uniform

FRUSTUM_DEPTH_M = 0.35
CAMERA_OPACITY = 0.85
RADAR_OPACITY = 0.9
FIELD_OPACITY = 0.30
RADAR_BODY_M = 0.08
"""Half the side of the square that stands for the radar itself."""
FLOOR_MARGIN_M = 1.0
FLOOR_AHEAD_M = 5.0
"""How far before a radar there is floor at least, if it sees so far."""
LEAST_HALF_FLOOR_M = 2.0
MOST_HALF_FLOOR_M = 15.0
_ARC_STEPS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """A name at a place in the world."""

    text: str
    position_m: Float64
    colour: colours.Colour


@dataclass(frozen=True, slots=True, eq=False)
class Fixtures:
    """Everything that does not move."""

    lines: Lines
    """Cameras and radars themselves."""
    fields: Lines
    """What radars can see."""
    labels: tuple[Label, ...]
    floor_centre_m: tuple[float, float]
    half_floor_m: float
    """Half the side of the square of floor that is drawn."""


def frustum_lines(camera: Camera, depth_m: float = FRUSTUM_DEPTH_M) -> Lines:
    """Eight edges from the optical centre to the picture's corners, and a tick on its upper side."""
    w, h = float(camera.width), float(camera.height)
    pixels = np.array([[0, 0, 1], [w, 0, 1], [w, h, 1], [0, h, 1], [w / 2, -h / 6, 1]])
    rays = np.linalg.solve(camera.matrix, pixels.T).T * depth_m
    corners = (rays - camera.t_camera_from_world_m) @ camera.r_camera_from_world
    a, b, c, d, top = corners
    centre = camera.centre_world_m
    pairs = [(centre, a), (centre, b), (centre, c), (centre, d), (a, b), (b, c), (c, d), (d, a), (a, top), (top, b)]
    ends = np.array(pairs, dtype=np.float32)
    return Lines(ends, uniform(colours.CAMERA, CAMERA_OPACITY, len(ends)))


def radar_lines(radar: RadarMount) -> Lines:
    """The radar as a small square that faces where it looks, and a tick on its upper side."""
    s = RADAR_BODY_M
    square = np.array([[-s, 0, -s], [s, 0, -s], [s, 0, s], [0, 0, 1.6 * s], [-s, 0, s], [-s, 0, -s]])
    top = np.array([[-s, 0, s], [s, 0, s]])
    return _placed([square, top], radar, RADAR_OPACITY)


def field_lines(radar: RadarMount) -> Lines:
    """The edge of what a radar can see: a piece of a sphere of its largest range, and where it is cut off.

    Arcs of constant elevation at the lower and the upper edge and in the middle, arcs of constant azimuth at both
    sides and in the middle, and the four rays to the corners.
    """
    azimuths = np.linspace(-radar.azimuth_fov_rad, radar.azimuth_fov_rad, 2 * _ARC_STEPS + 1)
    elevations = np.linspace(-radar.elevation_fov_rad, radar.elevation_fov_rad, _ARC_STEPS + 1)
    chains = [_directions(azimuths, np.full_like(azimuths, edge)) for edge in elevations[[0, _ARC_STEPS // 2, -1]]]
    chains += [_directions(np.full_like(elevations, edge), elevations) for edge in azimuths[[0, _ARC_STEPS, -1]]]
    chains += [np.array([np.zeros(3), arc[end]]) for arc in (chains[0], chains[2]) for end in (0, -1)]
    return _placed([chain * radar.range_max_m for chain in chains], radar, FIELD_OPACITY)


def _placed(chains: list[Float64], radar: RadarMount, opacity: float) -> Lines:
    """Chains [N, 3] of a radar's frame as lines in the world."""
    local = np.concatenate([np.stack([chain[:-1], chain[1:]], axis=1) for chain in chains])
    world = radar.to_world(local)
    return Lines(world.astype(np.float32), uniform(colours.RADAR, opacity, len(world)))


def _directions(azimuths_rad: Float64, elevations_rad: Float64) -> Float64:
    """Unit vectors [N, 3] in the radar frame (x right, y forward, z up)."""
    level = np.cos(elevations_rad)
    return np.stack([level * np.sin(azimuths_rad), level * np.cos(azimuths_rad), np.sin(elevations_rad)], axis=1)


def fixtures(rig: Rig) -> Fixtures:
    """Cameras, radars and a floor that reaches under all of them."""
    labels = [Label(camera.name, camera.centre_world_m, colours.CAMERA) for camera in rig.cameras]
    labels += [Label(radar.name, radar.position_world_m, colours.RADAR) for radar in rig.radars]
    lines = joined_lines([*map(frustum_lines, rig.cameras), *map(radar_lines, rig.radars)])
    fields = joined_lines(map(field_lines, rig.radars))
    places = [label.position_m for label in labels] + [_ahead(radar) for radar in rig.radars]
    centre, half = _floor(np.array(places).reshape(-1, 3))
    return Fixtures(lines, fields, tuple(labels), centre, half)


def _ahead(radar: RadarMount) -> Float64:
    """A place [3] in front of a radar where people are expected: the floor reaches there."""
    reach_m = min(radar.range_max_m, FLOOR_AHEAD_M)
    return radar.position_world_m + reach_m * radar.r_world_from_radar[:, 1]


def _floor(places_m: Float64) -> tuple[tuple[float, float], float]:
    if not len(places_m):
        return (0.0, 0.0), LEAST_HALF_FLOOR_M
    low, high = places_m[:, :2].min(axis=0), places_m[:, :2].max(axis=0)
    centre = np.round((low + high) / 2.0)
    half = float(np.ceil(np.abs(np.concatenate([high - centre, low - centre])).max() + FLOOR_MARGIN_M))
    return (float(centre[0]), float(centre[1])), float(np.clip(half, LEAST_HALF_FLOOR_M, MOST_HALF_FLOOR_M))


def floor_lines(centre_m: tuple[float, float], half_m: float, step_m: float = 1.0) -> Lines:
    """A grid of one-metre squares at height zero; its middle lines a little brighter."""
    offsets = np.arange(-half_m, half_m + step_m / 2.0, step_m)
    ends: list[Float32] = []
    opacities: list[float] = []
    for offset in offsets:
        x, y = centre_m[0] + offset, centre_m[1] + offset
        ends.append(np.array([[x, centre_m[1] - half_m, 0], [x, centre_m[1] + half_m, 0]], np.float32))
        ends.append(np.array([[centre_m[0] - half_m, y, 0], [centre_m[0] + half_m, y, 0]], np.float32))
        opacities += [0.9 if x == 0 else 0.45, 0.9 if y == 0 else 0.45]
    tints = uniform(colours.GRID, 1.0, len(ends))
    tints[:, 3] = opacities
    return Lines(np.stack(ends), tints)
