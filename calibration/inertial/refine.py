"""Better mountings from a capture that cameras have seen: what the wearer's filter has learned of its sensors.

The filter keeps a mounting error m for each sensor, q_segment_from_sensor = q_profile Exp(m), with its covariance
(``fusion.filter.state``). Once cameras have shown how the body stands for a while, m is known; without
them it is what the poses of a calibration said, and nothing new.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.inertial.result import degrees_text
from fusion.maths import quaternion
from fusion.records import Float64, InertialState
from fusion.rig import ImuMount


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineParams:
    """What a mounting must be known by."""

    sigma_rad: float = math.radians(4.0)
    """Standard deviation of its worst axis, as the filter claims it, at most. It begins with 6 degrees."""
    seen_s: float = 5.0
    """Least time for which landmarks showed the wearer."""
    moved_rad: float = math.radians(45.0)
    """Most that a mounting is taken to have been wrong: beyond, a sensor is somewhere else."""


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """What a capture says of one sensor's mounting."""

    segment: str
    q_segment_from_sensor: Float64
    """[4] the new one, or the old one where nothing is known."""
    moved_rad: float
    """Between both."""
    sigma_rad: float
    """Standard deviation of the worst axis; NaN unknown."""
    refusal: str
    """Why the old one stays; empty where the new one holds."""


def refined(
    mounts: Sequence[ImuMount], state: InertialState | None, seen_s: float, params: RefineParams | None = None
) -> tuple[Refined, ...]:
    """New mountings from what the wearer's filter knows at the end of a capture.

    Args:
        mounts: of the profile that the filter had.
        state: how the sensors are at the end; None if they told nothing.
        seen_s: for how long landmarks showed the wearer.
        params: bounds.
    """
    p = params or RefineParams()
    place = {} if state is None else {name: k for k, name in enumerate(state.sensors)}
    found = []
    for mount in mounts:
        error, sigma = np.full(3, np.nan), math.nan
        if state is not None and mount.segment in place:
            k = place[mount.segment]
            error, sigma = state.mounting_error_rad[k].astype(np.float64), float(state.mounting_sigma_rad[k])
        moved = float(np.linalg.norm(error))
        refusal = _refusal(mount.segment, moved, sigma, seen_s, p)
        q = mount.q_segment_from_sensor
        if not refusal:
            q = quaternion.normalize(quaternion.multiply(q, quaternion.from_rotvec(error)))
        found.append(Refined(mount.segment, q, moved, sigma, refusal))
    return tuple(found)


def _refusal(segment: str, moved_rad: float, sigma_rad: float, seen_s: float, p: RefineParams) -> str:
    if not math.isfinite(sigma_rad):
        return f"{segment}: nothing was heard of it, or nobody wore it; check the placement in the graph"
    if seen_s < p.seen_s:
        text = f"{segment}: cameras showed the wearer for {seen_s:.1f} s (bound {p.seen_s:g} s)"
        return text + "; capture again in their sight"
    if moved_rad > p.moved_rad:
        text = f"{segment}: {degrees_text(moved_rad)} from the profile (bound {degrees_text(p.moved_rad)})"
        return text + "; calibrate anew with kinefuse calibrate imu"
    if not sigma_rad <= p.sigma_rad:
        text = f"{segment}: known to {degrees_text(sigma_rad)} (bound {degrees_text(p.sigma_rad)})"
        return text + "; move the limb in every way, in sight of the cameras, for longer"
    return ""
