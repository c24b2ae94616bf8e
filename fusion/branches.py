"""Depth branches of limbs that one camera shows: which of them a tracked person is in, and which is likelier.

One camera shows each bone in two ways, tipped towards it or away from it, and a
tracker that has once taken the wrong one stays there: small corrections do not
lead from one to the other. So the other branches of each limb are looked at from
time to time. How much more usual each of them is than the one that is tracked is
averaged over a while, as a usual pose may look odd for a moment.

Source of the two branches: see ``fusion.filter.start_one_view``. That they are
looked at again while tracking follows Sminchisescu and Triggs, "Kinematic jump
processes for monocular 3D human tracking", CVPR 2003; differs from it in keeping
one hypothesis instead of a set of samples.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fusion.body.kinematics import TABLES, forward_kinematics
from fusion.body.limits import coordinate_limits
from fusion.body.skeleton import PARENTS, SEGMENT
from fusion.filter.measurements.reading import NewReading
from fusion.filter.process import NS_PER_S
from fusion.filter.start import LIMBS, ball_and_bend
from fusion.filter.start_one_view import bone_branches
from fusion.filter.start_prior import Limb, Side, limb_surprise
from fusion.filter.state import NEVER_NS, State
from fusion.maths import quaternion
from fusion.records import Float64

OPTIONS = 4
"""Of a limb: two bones, two ways each."""
_SLACK_RAD = math.radians(10.0)


@dataclass(frozen=True, slots=True)
class BranchParams:
    """When a limb is moved into another of its branches."""

    memory_s: float = 0.3
    """Time constant of the average of what speaks for another branch."""
    margin: float = 3.0
    """So much likelier (minus twice a log likelihood, averaged) another branch must be."""
    apart_m: float = 0.12
    """Branches whose joints are nearer to each other than this are one: the update finds from one to the other."""
    limb_rad: float = 0.5
    """Standard deviation of a limb that has been moved."""
    rate_rad_s: float = 3.0
    """The same of its rates."""


class LimbReading(NamedTuple):
    """The ways in which a limb can stand that a camera shows alike."""

    ball: Float64
    """[4, 4] rotation of the ball."""
    bend_rad: Float64
    """[4] of the hinge."""
    apart_m: Float64
    """[4] by how much the farther of its two joints is away from where it is tracked."""
    near: int
    """Index of the way in which it is tracked."""


class LimbColumns(NamedTuple):
    """Where a limb stands in the coordinates."""

    kind: Limb
    side: Side
    ball: int
    """First of three."""
    hinge: int
    segments: tuple[int, int, int]
    """Whose origins are the upper, middle and lower joint."""


def _limb(ball: str, hinge: str) -> LimbColumns:
    side: Side = "left" if ball.startswith("left") else "right"
    kind: Limb = "arm" if ball.endswith("upper_arm") else "leg"
    end = SEGMENT[f"{side}_hand" if kind == "arm" else f"{side}_foot"]
    first, second = SEGMENT[ball], SEGMENT[hinge]
    return LimbColumns(kind, side, int(TABLES.first[first]), int(TABLES.first[second]), (first, second, end))


LIMB_COLUMNS = tuple(_limb(ball, hinge) for ball, hinge, *_ in LIMBS)
_LOW, _HIGH = coordinate_limits()


def limb_readings(coordinates: Float64, lengths_m: Float64, centre_m: Float64) -> list[LimbReading]:
    """All branches of the four limbs, as a camera at ``centre_m`` [3] (world) sees a body.

    Args:
        coordinates: [44].
        lengths_m: [11].
        centre_m: of the camera.
    """
    positions, quaternions = forward_kinematics(coordinates, lengths_m)
    positions = positions - centre_m
    return [_reading(limb, coordinates, positions, quaternions) for limb in LIMB_COLUMNS]


def _reading(limb: LimbColumns, coordinates: Float64, positions: Float64, quaternions: Float64) -> LimbReading:
    upper, middle, lower = (positions[s] for s in limb.segments)
    first = bone_branches(upper, middle / np.linalg.norm(middle), float(np.linalg.norm(middle - upper)))
    second = bone_branches(
        first.points_m, np.broadcast_to(lower / np.linalg.norm(lower), (2, 3)), float(np.linalg.norm(lower - middle))
    )
    middles = np.repeat(first.points_m, 2, axis=0)
    lowers = second.points_m.reshape(OPTIONS, 3)
    back = quaternion.conjugate(quaternions[PARENTS[limb.segments[0]]])
    ball, bend = ball_and_bend(
        limb.segments[1], quaternion.rotate(back, middles - upper), quaternion.rotate(back, lowers - middles)
    )
    apart = np.maximum(np.linalg.norm(middles - middle, axis=1), np.linalg.norm(lowers - lower, axis=1))
    near = int(np.argmin(apart))
    ball[near] = quaternion.from_rotvec(coordinates[limb.ball : limb.ball + 3])
    bend[near] = coordinates[limb.hinge]
    return LimbReading(ball, bend, apart, near)


def limb_gains(limb: LimbColumns, reading: LimbReading) -> Float64:
    """How much more usual each branch [4] is than the one that is tracked; minus infinity where a joint cannot."""
    surprise = limb_surprise(limb.kind, limb.side, reading.ball, reading.bend_rad)
    gains = surprise[reading.near] - surprise
    impossible = (reading.bend_rad < _LOW[limb.hinge] - _SLACK_RAD) | (
        reading.bend_rad > _HIGH[limb.hinge] + _SLACK_RAD
    )
    gains[impossible] = -np.inf
    return np.asarray(gains)


@dataclass(slots=True, eq=False)
class BranchWatch:
    """What has been seen of one person's branches."""

    params: BranchParams
    looked_ns: int = NEVER_NS
    gains: Float64 = field(default_factory=lambda: np.zeros((len(LIMB_COLUMNS), OPTIONS)))
    """Averages; options are told by which of the two bones they tip over: 1 the second, 2 the first, 3 both."""

    def look(self, state: State, centre_m: Float64, sensed: Collection[int] = ()) -> list[NewReading]:
        """Look at a state after a picture; returns what is to be changed, mostly nothing.

        Args:
            state: of the person.
            centre_m: [3] where the one camera stands that shows the person.
            sensed: segments whose orientation a sensor measures: their limbs keep their branch.
        """
        p = self.params
        passed_s = (state.time_ns - self.looked_ns) / NS_PER_S
        if passed_s > _PAUSE_S:
            self.gains[:] = 0.0
            passed_s = _FIRST_S
        self.looked_ns = state.time_ns
        share = 1.0 - math.exp(-passed_s / p.memory_s)
        found: list[NewReading] = []
        for index, reading in enumerate(limb_readings(state.coordinates, state.lengths_m, centre_m)):
            limb = LIMB_COLUMNS[index]
            if any(segment in sensed for segment in limb.segments):
                continue
            tipped = np.arange(OPTIONS) ^ reading.near
            gains, apart = limb_gains(limb, reading)[tipped], reading.apart_m[tipped]
            now = np.where(apart > p.apart_m, np.clip(gains, -_MOST_GAIN, _MOST_GAIN), 0.0)
            self.gains[index] += share * (now - self.gains[index])
            best = int(np.argmax(self.gains[index]))
            if self.gains[index, best] > p.margin and now[best] > p.margin:
                self.gains[index] = 0.0
                found.append(self._change(state.time_ns, limb, reading, best ^ reading.near))
        return found

    def _change(self, time_ns: int, limb: LimbColumns, reading: LimbReading, option: int) -> NewReading:
        values = np.append(quaternion.to_rotvec(reading.ball[option]), reading.bend_rad[option])
        columns = np.array([*range(limb.ball, limb.ball + 3), limb.hinge])
        return NewReading(time_ns, columns, values, self.params.limb_rad, self.params.rate_rad_s)


_FIRST_S = 0.1
"""The first look counts as if one had been so long before."""
_PAUSE_S = 1.0
"""After a longer pause what was seen before says nothing."""
_MOST_GAIN = 10.0
"""One look counts no more than this: it takes two."""
