"""Even frames for the network from stretches of samples: orientations at exact times, accelerations over the past.

Sensors sample at 50 to 400 Hz and the network was trained at ``FRAME_RATE_HZ``. Orientations are taken at the
frame's time between the ends of two stretches. Free accelerations are summed up to a velocity, whose change over the
last ``ACCELERATION_FRAMES`` frames is the frame's acceleration: nothing is aliased and no later sample is awaited.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from fusion.estimators.inertial.layout import ACCELERATION_FRAMES, FRAME_RATE_HZ
from fusion.maths.kernels import exponential, multiplied, rotated
from fusion.records import Bool, Float64

GRAVITY_M_S2 = 9.81
NS_PER_S = 1e9
_RING = ACCELERATION_FRAMES + 1
_NEVER_NS = -(2**62)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameParams:
    """How long frames go on without samples."""

    gap_s: float = 0.25
    """After a longer pause of all sensors the frames begin anew."""
    hold_s: float = 0.1
    """A sensor that is silent for longer is missing; until then it turns on by its last rate."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What M sensors say at one time. Arrays are the frame's own."""

    time_ns: int
    begins: bool
    """Whether this is the first frame after a pause."""
    q_world_from_sensor: Float64
    """[M, 4], z up, each sensor's own heading."""
    acceleration_m_s2: Float64
    """[M, 3] free acceleration in the same world, mean over the last frames."""
    rate_rad_s: Float64
    """[M, 3] angular rate, sensor frame."""
    missing: Bool
    """[M] of which sensors nothing has been heard for too long."""


class FrameSampler:
    """Makes frames of stretches.

    Args:
        sensors: M.
        params: see there.
    """

    def __init__(self, sensors: int, params: FrameParams | None = None) -> None:
        self.params = params or FrameParams()
        self._time_ns = _NEVER_NS
        self._q = np.zeros((sensors, 4))
        self._velocity = np.zeros((sensors, 3))
        self._rate = np.zeros((sensors, 3))
        self._silent_s = np.full(sensors, np.inf)
        self._ring = np.zeros((_RING, sensors, 3))
        self._kept = 0
        """Frames since the beginning, at most the ring's size."""
        self._fresh = True

    def feed(self, end_ns: int, q_world_from_sensor: Float64, force_m_s2: Float64, rate_rad_s: Float64) -> list[Frame]:
        """Take a stretch in and return the frames whose time has come.

        Args:
            end_ns: time of its end; a stretch that ends no later than the one before is left out.
            q_world_from_sensor: [M, 4] at its end; NaN where missing.
            force_m_s2: [M, 3] mean specific force, sensor frame.
            rate_rad_s: [M, 3] mean angular rate, sensor frame, without bias.
        """
        since_s = (end_ns - self._time_ns) / NS_PER_S
        if since_s <= 0.0:
            return []
        if self._time_ns == _NEVER_NS or since_s > self.params.gap_s:
            self._begin(end_ns, q_world_from_sensor, rate_rad_s)
            return []
        q, velocity = self._q.copy(), self._velocity.copy()
        move(since_s, q_world_from_sensor, force_m_s2, rate_rad_s, self._q, self._velocity, self._rate, self._silent_s)
        frames = []
        first = math.floor(self._time_ns * FRAME_RATE_HZ / NS_PER_S) + 1
        last = math.floor(end_ns * FRAME_RATE_HZ / NS_PER_S)
        for number in range(first, last + 1):
            time_ns = round(number * NS_PER_S / FRAME_RATE_HZ)
            share = min(max((time_ns - self._time_ns) / (end_ns - self._time_ns), 0.0), 1.0)
            turned = np.empty_like(q)
            between(q, self._q, share, turned)
            frame = self._frame(time_ns, turned, velocity + share * (self._velocity - velocity))
            if frame is not None:
                frames.append(frame)
        self._time_ns = end_ns
        return frames

    def _begin(self, end_ns: int, q: Float64, rate: Float64) -> None:
        self._time_ns = end_ns
        heard: Bool = np.asarray(np.isfinite(q).all(axis=1))
        self._q[:] = np.where(heard[:, None], q, self._q)
        self._rate[:] = np.where(heard[:, None], np.nan_to_num(rate), 0.0)
        self._silent_s[:] = np.where(heard, 0.0, np.inf)
        self._velocity[:] = 0.0
        self._kept, self._fresh = 0, True

    def _frame(self, time_ns: int, q: Float64, velocity: Float64) -> Frame | None:
        """The frame at a time; None until there is a past to take the acceleration from."""
        self._ring[:-1] = self._ring[1:]
        self._ring[-1] = velocity
        self._kept = min(self._kept + 1, _RING)
        if self._kept < _RING:
            return None
        frame = Frame(
            time_ns=time_ns,
            begins=self._fresh,
            q_world_from_sensor=q,
            acceleration_m_s2=(self._ring[-1] - self._ring[0]) * (FRAME_RATE_HZ / ACCELERATION_FRAMES),
            rate_rad_s=self._rate.copy(),
            missing=self._silent_s > self.params.hold_s,
        )
        self._fresh = False
        return frame


@njit(cache=True)
def move(
    dt: float,
    q_end: Float64,
    force: Float64,
    rate: Float64,
    q: Float64,
    velocity: Float64,
    last_rate: Float64,
    silent_s: Float64,
) -> None:
    """Carry sensors over a stretch of dt seconds, in place.

    The mean force is taken to act in the orientation of the stretch's middle. A sensor without a sample turns on by
    its last rate and keeps its velocity.

    Args:
        dt: s.
        q_end: [M, 4] orientation at the end; NaN where missing.
        force: [M, 3] mean specific force, sensor frame; NaN where missing.
        rate: [M, 3] mean rate, sensor frame.
        q: [M, 4] changed.
        velocity: [M, 3] changed: sum of the free acceleration, world axes.
        last_rate: [M, 3] changed.
        silent_s: [M] changed: how long each has been silent.
    """
    for m in range(q.shape[0]):
        told = True
        for i in range(4):
            told = told and math.isfinite(q_end[m, i])
        for i in range(3):
            told = told and math.isfinite(force[m, i]) and math.isfinite(rate[m, i])
        if not told:
            silent_s[m] += dt
            turn = exponential(last_rate[m, 0] * dt, last_rate[m, 1] * dt, last_rate[m, 2] * dt)
            q[m, 0], q[m, 1], q[m, 2], q[m, 3] = multiplied((q[m, 0], q[m, 1], q[m, 2], q[m, 3]), turn)
            continue
        silent_s[m] = 0.0
        back = exponential(-0.5 * dt * rate[m, 0], -0.5 * dt * rate[m, 1], -0.5 * dt * rate[m, 2])
        middle = multiplied((q_end[m, 0], q_end[m, 1], q_end[m, 2], q_end[m, 3]), back)
        seen = rotated(middle, (force[m, 0], force[m, 1], force[m, 2]))
        velocity[m, 0] += dt * seen[0]
        velocity[m, 1] += dt * seen[1]
        velocity[m, 2] += dt * (seen[2] - GRAVITY_M_S2)
        for i in range(3):
            last_rate[m, i] = rate[m, i]
        for i in range(4):
            q[m, i] = q_end[m, i]


@njit(cache=True)
def between(q: Float64, r: Float64, share: float, out: Float64) -> None:
    """Orientations [M, 4] between q and r, normalised linear: within 1e-4 rad of slerp for turns below 0.2 rad."""
    for m in range(q.shape[0]):
        dot = q[m, 0] * r[m, 0] + q[m, 1] * r[m, 1] + q[m, 2] * r[m, 2] + q[m, 3] * r[m, 3]
        sign = -1.0 if dot < 0.0 else 1.0
        norm = 0.0
        for i in range(4):
            out[m, i] = (1.0 - share) * q[m, i] + sign * share * r[m, i]
            norm += out[m, i] * out[m, i]
        norm = math.sqrt(norm)
        for i in range(4):
            out[m, i] = out[m, i] / norm if norm > 0.0 else (1.0 if i == 0 else 0.0)
