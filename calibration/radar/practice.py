"""Practice: a person who walks about a room, and a radar that stands anywhere in it, with known truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.radar.recording import NS_PER_S, Trail
from fusion.body.skeleton import SEGMENT
from fusion.estimators.radar.polar import polar_of
from fusion.maths import quaternion
from fusion.records import Float64, RadarPoints
from fusion.rig import RadarMount
from fusion.synthesis.actions import Action, Circle, Turn, Walk
from fusion.synthesis.motion import draw_lengths
from fusion.synthesis.params import RadarParams
from fusion.synthesis.radars import VirtualRadar, from_polar
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.wearer import Wearer

SECONDS = 30.0
RADAR = "radar1"
BIASES = (-0.036, math.radians(-1.55), math.radians(0.87))
"""Range (m), azimuth and elevation (rad): points of MARS against the bones."""
SCRIPT: tuple[Action, ...] = (
    Circle(radius_m=1.0),
    Walk(distance_m=1.5),
    Turn(angle_rad=2.0),
    Walk(distance_m=2.0),
    Turn(angle_rad=-2.5),
    Walk(distance_m=1.8),
)
_TILT_RAD = math.radians(20.0)
_IN_VIEW = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A radar that stands somewhere and whose stamps are late."""

    mount: RadarMount
    time_offset_s: float


def walker(seed: int, script: Sequence[Action] = SCRIPT) -> Wearer:
    """Somebody with proportions of their own who walks about the middle of the room."""
    draw = np.random.default_rng(seed)
    start = (float(draw.uniform(-0.5, 0.5)), float(draw.uniform(-1.3, -0.7)))
    lengths = draw_lengths(seed, float(draw.uniform(1.6, 1.9)))
    return Wearer(
        0, scripted_motion(script, lengths, seed=seed, start_m=start, heading_rad=float(draw.uniform(-0.5, 0.5)))
    )


def placed(seed: int, wearer: Wearer, *, level: bool = False) -> Placed:
    """A radar on any side of the room that has the person's trunk in its view for most of the time."""
    draw = np.random.default_rng(1000 + seed)
    trunks = wearer.motion.pose(np.arange(0.0, SECONDS, 0.1))[0][:, SEGMENT["t12"]]
    while True:
        mount = _mount(draw, level)
        polar = polar_of((trunks - mount.position_world_m) @ mount.r_world_from_radar)
        inside = (polar[:, 0] < mount.range_max_m) & (np.abs(polar[:, 1]) < mount.azimuth_fov_rad)
        if (inside & (np.abs(polar[:, 2]) < mount.elevation_fov_rad)).mean() >= _IN_VIEW:
            return Placed(mount, float(draw.uniform(0.0, 0.3)))


def _mount(draw: np.random.Generator, level: bool) -> RadarMount:
    azimuth, distance = draw.uniform(-math.pi, math.pi), draw.uniform(2.5, 4.0)
    towards = azimuth + math.pi + draw.uniform(-_TILT_RAD, _TILT_RAD)
    up_and_down, lean = (0.0, 0.0) if level else draw.uniform(-_TILT_RAD, _TILT_RAD, 2)
    forward = np.array([math.cos(towards), math.sin(towards), 0.0])
    up = np.array([0.0, 0.0, 1.0])
    standing = np.stack([np.cross(forward, up), forward, up], axis=1)
    defaults = RadarParams()
    return RadarMount(
        name=RADAR,
        r_world_from_radar=standing @ _turn(0, up_and_down) @ _turn(1, lean),
        position_world_m=np.array([distance * math.cos(azimuth), distance * math.sin(azimuth), draw.uniform(0.5, 2.5)]),
        azimuth_fov_rad=defaults.azimuth_fov_rad,
        elevation_fov_rad=defaults.elevation_fov_rad,
        range_max_m=defaults.range_max_m,
    )


def _turn(axis: int, angle_rad: float) -> Float64:
    return quaternion.to_matrix(quaternion.from_rotvec(angle_rad * np.eye(3)[axis]))


class _EvenRadar(VirtualRadar):
    """Sees every part of a body as often as any other."""

    def __init__(self, mount: RadarMount, params: RadarParams, wearers: Sequence[Wearer], seed: int) -> None:
        super().__init__(mount, params, wearers, seed)
        self._shares = np.full_like(self._shares, 1.0 / len(self._shares))


def seen(
    radar: Placed,
    wearer: Wearer,
    seed: int,
    params: RadarParams | None = None,
    *,
    biased: bool = False,
    even: bool = False,
) -> list[RadarPoints]:
    """What the radar tells, late, and if asked off by its biases, or of a body all of whose parts reflect alike."""
    p = params or RadarParams()
    virtual = (_EvenRadar if even else VirtualRadar)(radar.mount, p, (wearer,), seed)
    late_ns = round(radar.time_offset_s * NS_PER_S)
    return [_disturbed(record, late_ns, biased) for _, record in virtual.frames(0, round(SECONDS * p.rate_hz), 0)]


def _disturbed(record: RadarPoints, late_ns: int, biased: bool) -> RadarPoints:
    points = record.positions_m
    if biased:
        polar = polar_of(points.astype(np.float64)) + BIASES
        points = from_polar(polar[:, 0], polar[:, 1], polar[:, 2]).astype(np.float32)
    return replace(record, measured_ns=record.measured_ns + late_ns, positions_m=points)


def exact(wearer: Wearer) -> Trail:
    """Where the person is."""
    times_s = np.arange(0.0, SECONDS, 1.0 / 60.0)
    positions, quaternions = wearer.motion.pose(times_s)
    times_ns = np.round(times_s * NS_PER_S).astype(np.int64)
    return Trail(times_ns, positions, quaternions, wearer.motion.lengths_m)


def effective(mount: RadarMount, biased: bool) -> Float64:
    """The rotation [3, 3] that places points best: with constant errors of the angles ahead."""
    if not biased:
        return mount.r_world_from_radar
    # Points that are told too far to the left and too high: the case's axes, turned the other way.
    return mount.r_world_from_radar @ _turn(2, BIASES[1]) @ _turn(0, -BIASES[2])
