"""Joints of one person before one radar, live: frames of points in, joints with their deviations out.

The network has learned ten frames a second. Frames that come faster are put together until a tenth of a second is
full; slower ones are told by their gap. It knows one sensor height; points are given to it from the floor, so a radar
that hangs higher or lower shows the same body under other angles of view, which it has not learned. Nor has it learned
people who walk or stand elsewhere than some two metres ahead: then the score is 0, and joints are not to be believed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from fusion.estimators.radar.features import FRAME_PERIOD_S, MOST_POINTS, REACH_M, frame_features, point_features
from fusion.estimators.radar.network import RadarNetwork
from fusion.estimators.radar.packing import RadarWeights
from fusion.records import Array, Float32, Float64

_NS = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class PoserParams:
    """How frames are put together and when memory ends."""

    shortest_step_s: float = 0.085
    """Frames are gathered until so long after the last step; less than a period, since stamps shake."""
    longest_gap_s: float = 2.0
    """After so long without points the network begins anew."""
    enough_points: float = 12.0
    """Of a tenth of a second, for a score of 1."""
    score_memory: float = 0.8
    """Of one step, in the running mean of the score."""
    nearest_m: float = 1.2
    farthest_m: float = 3.0
    """Distances ahead of the radar between which the network may be asked; it has learned 1.6 to 2.1 m."""
    widest_rad: float = 0.5
    """To either side."""
    farthest_step_m: float = 0.6
    """Whose centre is farther from its mean over ``settling_s`` walks."""
    settling_s: float = 2.0
    place_known: bool = False
    """The centre given does not follow the points: it is where the middle of the person's points is known to be."""


@dataclass(slots=True, eq=False)
class PoserState:
    """All memory of a poser."""

    network: Float32
    """[members, hidden]."""
    last_ns: int | None = None
    """Of the last step."""
    centre_m: Float64 = field(default_factory=lambda: np.zeros(2))
    """[2] at the last step."""
    usual_centre_m: Float64 = field(default_factory=lambda: np.zeros(2))
    """[2] its running mean."""
    score: float = 0.0
    gathered: list[tuple[Float64, Float64]] = field(default_factory=list)
    """Points [N, 3] and radial velocities [N] since the last step."""
    refused: int = 0
    """Frames whose stamp did not go on, or whose numbers cannot be."""


@dataclass(frozen=True, slots=True, eq=False)
class JointsTold:
    """One person's joints in the order of ``kinect_19``."""

    positions_m: Float64
    """[19, 3] right, forward, up from the radar; the frame of the points given."""
    sigmas_m: Float64
    """[19, 3] standard deviations along these axes, as calibrated on people who were not learned from."""
    score: float
    """0 to 1: whether there have lately been enough points, of somebody who stands where people were learned from."""


class RadarPoser:
    """One person before one radar.

    Args:
        weights: trained ones.
        params: of gathering and forgetting.
    """

    def __init__(self, weights: RadarWeights, params: PoserParams | None = None) -> None:
        self.params = params or PoserParams()
        self._network = RadarNetwork(weights)
        self._offset = weights.arrays["truth_offset_m"].astype(np.float64)
        self.start()

    def start(self) -> None:
        """Forget everything."""
        self.state = PoserState(network=self._network.start())

    def step(
        self,
        time_ns: int,
        positions_m: Array,
        radial_velocities_m_s: Array,
        centre_m: Array,
        sensor_height_m: float,
    ) -> JointsTold | None:
        """Take the person's points of one frame in.

        Args:
            time_ns: of the frame.
            positions_m: [N, 3] right, forward and up from the radar, level; N may be 0. Points farther than
                ``REACH_M`` from the centre, or not finite, do not count.
            radial_velocities_m_s: [N], + is receding.
            centre_m: [2] right and forward: the middle of the person's points, as a tracker tells it.
            sensor_height_m: of the radar above the floor.

        Returns:
            None while frames are being gathered, and for a frame that is refused (``state.refused``).
        """
        if not self._may_be(time_ns, centre_m, sensor_height_m):
            self.state.refused += 1
            return None
        state, params = self.state, self.params
        if state.last_ns is not None and time_ns - state.last_ns > params.longest_gap_s * _NS:
            refused = state.refused
            self.start()
            state = self.state
            state.refused = refused
        state.gathered.append((np.array(positions_m, dtype=np.float64), np.array(radial_velocities_m_s, np.float64)))
        if state.last_ns is not None and time_ns - state.last_ns < params.shortest_step_s * _NS:
            return None
        return self._tell(time_ns, np.array(centre_m, dtype=np.float64), sensor_height_m)

    def _may_be(self, time_ns: int, centre_m: Array, sensor_height_m: float) -> bool:
        last = self.state.last_ns
        return (last is None or time_ns > last) and bool(np.isfinite(centre_m).all()) and np.isfinite(sensor_height_m)

    def _tell(self, time_ns: int, centre_m: Float64, sensor_height_m: float) -> JointsTold | None:
        """One step of the network with all that was gathered."""
        state, params = self.state, self.params
        positions, speeds = (np.concatenate(parts) for parts in zip(*state.gathered, strict=True))
        state.gathered.clear()
        positions = positions - np.array([*centre_m, -sensor_height_m])
        near = np.isfinite(positions).all(axis=1) & np.isfinite(speeds)
        near[near] = np.hypot(positions[near, 0], positions[near, 1]) < REACH_M
        positions, speeds = _thinned(positions[near]), _thinned(speeds[near])
        first = state.last_ns is None
        gap = 1.0 if state.last_ns is None else (time_ns - state.last_ns) / _NS / FRAME_PERIOD_S
        moved = np.zeros(2) if first or params.place_known else centre_m - state.centre_m
        frame = frame_features(np.array(len(speeds)), np.array(max(gap, 1.0)), moved, np.array(not params.place_known))
        told = self._network.step(point_features(positions, speeds), frame, state.network)
        state.usual_centre_m = centre_m if first else self._usual(gap, centre_m)
        state.last_ns, state.centre_m = time_ns, centre_m
        if told is None:
            state.refused += 1
            return None
        share = min(len(speeds) / params.enough_points, 1.0) if self._is_learned(centre_m) else 0.0
        state.score = share if first else params.score_memory * state.score + (1.0 - params.score_memory) * share
        back = np.array([*(centre_m - self._offset), -sensor_height_m])
        return JointsTold(told.positions_m + back, told.sigmas_m.astype(np.float64), state.score)

    def _usual(self, gap: float, centre_m: Float64) -> Float64:
        """Running mean of the centre, ``gap`` periods later."""
        gain = 1.0 - math.exp(-gap * FRAME_PERIOD_S / self.params.settling_s)
        usual: Float64 = self.state.usual_centre_m + gain * (centre_m - self.state.usual_centre_m)
        return usual

    def _is_learned(self, centre_m: Float64) -> bool:
        """Whether somebody stands where people were learned from, and does not walk."""
        params, (x, y) = self.params, centre_m
        strayed = float(np.hypot(*(centre_m - self.state.usual_centre_m)))
        ahead = params.nearest_m <= y <= params.farthest_m and abs(math.atan2(x, y)) <= params.widest_rad
        return bool(ahead and strayed <= params.farthest_step_m)


def _thinned(values: Float64) -> Float64:
    """At most as many as the network has seen of a frame, evenly from all that were gathered."""
    if len(values) <= MOST_POINTS:
        return values
    return values[np.linspace(0, len(values) - 1, MOST_POINTS).round().astype(np.int64)]
