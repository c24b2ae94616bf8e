"""Virtual radars: points on the near side of moving bodies, with the noise of a small mmWave sensor.

Method: draw places on the body's surface, weighted by how often each part is
seen; keep each with a probability that grows with its radial speed, so that who
stands still vanishes; thin to a natural number of points; disturb range, angles
and Doppler; quantise Doppler; add clutter. Shares of the segments and noise are
those measured on the MARS recordings (An and Ogras, "MARS: mmWave-based
assistive rehabilitation system", ACM TECS 20(5s), 2021, data of its repository).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fusion.body.reflection import reflecting_share
from fusion.records import Float64, RadarPoints
from fusion.rig import RadarMount
from fusion.synthesis.params import RadarParams
from fusion.synthesis.randomness import RandomStream
from fusion.synthesis.wearer import CAPSULE_RADIUS_M, CAPSULES, Wearer, capsule_ends

NANOSECONDS = 1_000_000_000

_CANDIDATES_PER_POINT = 6
_STEP_S = 0.01
_SURFACE_SPREAD_RAD = 1.0
"""Points lie up to about this far around the limb from where it faces the radar."""
_SNR_DB = (18.0, 5.0)
_CLUTTER_SNR_DB = (11.0, 3.0)
_CLUTTER_NEAREST_M = 0.4


def radar_mounts(params: RadarParams, names: Sequence[str]) -> tuple[RadarMount, ...]:
    """Radars evenly spread on a circle, level, facing its middle; ``count`` must be ``len(names)``."""
    mounts = []
    for index, name in enumerate(names):
        azimuth = params.first_azimuth_rad + 2.0 * math.pi * index / params.count
        forward = np.array([-math.cos(azimuth), -math.sin(azimuth), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        mounts.append(
            RadarMount(
                name=name,
                r_world_from_radar=np.stack([np.cross(forward, up), forward, up], axis=1),
                position_world_m=-params.radius_m * forward + params.height_m * up,
                azimuth_fov_rad=params.azimuth_fov_rad,
                elevation_fov_rad=params.elevation_fov_rad,
                range_max_m=params.range_max_m,
            )
        )
    return tuple(mounts)


class VirtualRadar:
    """The detections of one radar, frame by frame.

    Args:
        mount: where it is; its name enters records and random numbers.
        params: its errors.
        wearers: who is there.
        seed: of the simulation.
    """

    def __init__(self, mount: RadarMount, params: RadarParams, wearers: Sequence[Wearer], seed: int) -> None:
        self.mount = mount
        self.params = params
        self._wearers = tuple(wearers)
        self._random = RandomStream(seed, f"{mount.name}/points")
        shares = np.array([reflecting_share(capsule.segment) for capsule in CAPSULES])
        self._shares = np.tile(shares, len(self._wearers)) / (shares.sum() * len(self._wearers))
        self._radii = np.tile(CAPSULE_RADIUS_M, len(self._wearers))

    def frames(self, first: int, count: int, origin_ns: int) -> list[tuple[float, RadarPoints]]:
        """Consecutive frames that were not lost, with their true times in seconds from the start.

        Args:
            first: number of the first frame, from 0.
            count: how many.
            origin_ns: session time of the simulation's start.
        """
        times = np.arange(first, first + count) / self.params.rate_hz
        start, end, start_rate, end_rate = self._capsules(times)
        result = []
        for i, time_s in enumerate(times):
            random = self._random.at(first + i)
            lost = random.random() < self.params.miss_share
            latency = max(self.params.latency_s + self.params.jitter_s * random.standard_normal(), 0.0)
            if lost:
                continue
            points, rates = self._seen(random, start[i], end[i], start_rate[i], end_rate[i])
            record = self._record(random, first + i, float(time_s), latency, points, rates, origin_ns)
            result.append((float(time_s), record))
        return result

    def _capsules(self, times_s: Float64) -> tuple[Float64, Float64, Float64, Float64]:
        """Capsule ends [T, C, 3] of all wearers in the world, and their velocities."""
        parts: list[list[Float64]] = [[], [], [], []]
        count = len(times_s)
        for wearer in self._wearers:
            positions, quaternions = wearer.motion.pose(np.concatenate([times_s - _STEP_S, times_s + _STEP_S]))
            starts, ends = capsule_ends(positions, quaternions, wearer.motion.lengths_m)
            for k, value in enumerate((starts, ends)):
                parts[k].append(0.5 * (value[:count] + value[count:]))
                parts[2 + k].append((value[count:] - value[:count]) / (2.0 * _STEP_S))
        start, end, start_rate, end_rate = (np.concatenate(part, axis=1) for part in parts)
        return start, end, start_rate, end_rate

    def _seen(
        self, random: np.random.Generator, start: Float64, end: Float64, start_rate: Float64, end_rate: Float64
    ) -> tuple[Float64, Float64]:
        """Exact surface points [N, 3] in the radar frame and their radial velocities [N]."""
        params = self.params
        candidates = int(_CANDIDATES_PER_POINT * params.mean_points)
        which = random.choice(len(self._shares), size=candidates, p=self._shares)
        along = random.random((candidates, 1))
        side = _SURFACE_SPREAD_RAD * (2.0 * random.random((candidates, 1)) - 1.0)
        keep = random.random(candidates)
        target = min(int(random.poisson(params.mean_points)), params.max_points)
        axis_point = start[which] + along * (end[which] - start[which])
        velocity = start_rate[which] + along * (end_rate[which] - start_rate[which])
        axis = end[which] - start[which]
        axis /= np.linalg.norm(axis, axis=1, keepdims=True)
        facing = self.mount.position_world_m - axis_point
        facing -= (facing * axis).sum(1, keepdims=True) * axis
        facing /= np.linalg.norm(facing, axis=1, keepdims=True)
        outward = np.cos(side) * facing + np.sin(side) * np.cross(axis, facing)
        sight = axis_point + self._radii[which, None] * outward - self.mount.position_world_m
        radial = (sight * velocity).sum(1) / np.linalg.norm(sight, axis=1)
        kept = np.flatnonzero(keep < np.minimum(np.abs(radial) / params.full_speed_m_s, 1.0))[:target]
        return sight[kept] @ self.mount.r_world_from_radar, radial[kept]

    def _record(
        self,
        random: np.random.Generator,
        frame: int,
        time_s: float,
        latency_s: float,
        points: Float64,
        rates: Float64,
        origin_ns: int,
    ) -> RadarPoints:
        params, mount = self.params, self.mount
        noise = random.standard_normal((4, len(points)))
        snr = _SNR_DB[0] + _SNR_DB[1] * random.standard_normal(len(points))
        polar = np.stack(to_polar(points)) + noise[:3] * np.array(
            [[params.range_noise_m], [params.azimuth_noise_rad], [params.elevation_noise_rad]]
        )
        rates = rates + params.radial_velocity_noise_m_s * noise[3]
        clutter = min(int(random.poisson(params.clutter_points)), params.max_points)
        uniform = random.random((3, clutter))
        spread = np.array([mount.range_max_m, mount.azimuth_fov_rad, mount.elevation_fov_rad])[:, None]
        ghosts = spread * (uniform * [[1.0], [2.0], [2.0]] - [[0.0], [1.0], [1.0]])
        ghost_rates = params.radial_velocity_step_m_s * random.integers(-2, 3, clutter)
        ghost_snr = _CLUTTER_SNR_DB[0] + _CLUTTER_SNR_DB[1] * random.standard_normal(clutter)
        polar = np.concatenate([polar, ghosts], axis=1)
        rates = np.concatenate([rates, ghost_rates])
        snr = np.concatenate([snr, ghost_snr])
        inside = (
            (polar[0] >= _CLUTTER_NEAREST_M)
            & (polar[0] <= mount.range_max_m)
            & (np.abs(polar[1]) <= mount.azimuth_fov_rad)
            & (np.abs(polar[2]) <= mount.elevation_fov_rad)
        )
        chosen = np.flatnonzero(inside)[: params.max_points]
        step = params.radial_velocity_step_m_s
        return RadarPoints(
            measured_ns=origin_ns + round(time_s * NANOSECONDS),
            received_ns=origin_ns + round((time_s + latency_s) * NANOSECONDS),
            radar=mount.name,
            frame=frame,
            positions_m=from_polar(*polar[:, chosen]).astype(np.float32),
            radial_velocities_m_s=(step * np.round(rates[chosen] / step)).astype(np.float32),
            snrs_db=snr[chosen].astype(np.float32),
        )


def to_polar(points_m: Float64) -> tuple[Float64, Float64, Float64]:
    """Range, azimuth (positive to the right) and elevation of radar-frame points [N, 3]."""
    distance = np.linalg.norm(points_m, axis=1)
    azimuth = np.arctan2(points_m[:, 0], points_m[:, 1])
    return distance, azimuth, np.arcsin(np.clip(points_m[:, 2] / distance, -1.0, 1.0))


def from_polar(distance_m: Float64, azimuth_rad: Float64, elevation_rad: Float64) -> Float64:
    """Radar-frame points [N, 3]: x right, y forward, z up."""
    flat = distance_m * np.cos(elevation_rad)
    return np.stack(
        [flat * np.sin(azimuth_rad), flat * np.cos(azimuth_rad), distance_m * np.sin(elevation_rad)], axis=1
    )
