"""Radar frames of simple bodies: a cloud of points about a place that moves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fusion.records import Float64, RadarPoints
from fusion.rig import RadarMount

NANOSECONDS = 1_000_000_000
FRAME_NS = NANOSECONDS // 20
SPREAD_M = np.array([0.12, 0.12, 0.25])
SURFACE_M = 0.08


def mount_at(name: str, position_m: ArrayLike, heading_rad: float) -> RadarMount:
    """A level radar that looks along ``heading_rad`` (0 is +y)."""
    sine, cosine = math.sin(heading_rad), math.cos(heading_rad)
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    return RadarMount(name=name, r_world_from_radar=turn, position_world_m=np.array(position_m, dtype=np.float64))


DOOR = mount_at("door", [0.0, -3.0, 1.0], 0.0)
WINDOW = mount_at("window", [3.0, 0.0, 1.0], 0.5 * math.pi)


def points_of(
    mount: RadarMount, places_m: Float64, velocities_m_s: Float64, random: np.random.Generator, count: int = 16
) -> tuple[Float64, Float64]:
    """Radar-frame points [B * count, 3] and radial velocities of bodies at places [B, 3] with velocities [B, 3]."""
    world = np.repeat(places_m, count, axis=0) + SPREAD_M * random.normal(size=(len(places_m) * count, 3))
    sight = world - mount.position_world_m
    sight /= np.linalg.norm(sight, axis=1, keepdims=True)
    rates = (sight * np.repeat(velocities_m_s, count, axis=0)).sum(axis=1) + 0.4 * random.normal(size=len(world))
    return (world - SURFACE_M * sight - mount.position_world_m) @ mount.r_world_from_radar, rates


def record_of(mount: RadarMount, time_ns: int, points_m: Float64, rates_m_s: Float64) -> RadarPoints:
    """A frame."""
    return RadarPoints(
        measured_ns=time_ns,
        received_ns=time_ns,
        radar=mount.name,
        frame=time_ns // FRAME_NS,
        positions_m=np.asarray(points_m, np.float32).reshape(-1, 3),
        radial_velocities_m_s=np.asarray(rates_m_s, np.float32),
        snrs_db=np.full(len(points_m), np.nan, np.float32),
    )


def walk(
    mount: RadarMount,
    starts_m: ArrayLike,
    velocities_m_s: ArrayLike,
    frames: int,
    seed: int = 0,
    first: int = 0,
    offset_ns: int = 0,
) -> list[RadarPoints]:
    """Frames of bodies that go straight from where they are at frame 0; ``offset_ns`` delays the radar's exposures."""
    starts, velocities = np.array(starts_m, np.float64), np.array(velocities_m_s, np.float64)
    random = np.random.default_rng(seed)
    records = []
    for index in range(first, first + frames):
        time_ns = index * FRAME_NS + offset_ns
        places = starts + velocities * time_ns / NANOSECONDS
        points, rates = points_of(mount, places, velocities, random)
        records.append(record_of(mount, time_ns + NANOSECONDS, points, rates))
    return records


def nobody(mount: RadarMount, first: int, frames: int) -> Sequence[RadarPoints]:
    """Frames without a point."""
    empty = np.empty((0, 3))
    return [record_of(mount, n * FRAME_NS + NANOSECONDS, empty, np.empty(0)) for n in range(first, first + frames)]
