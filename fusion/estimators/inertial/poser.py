"""The part-based network at work: frames of six sensors in, rotations and velocities seen from the root out.

It begins with the pose that is known, or cold, and then keeps its state: nothing is reset while frames come. What
it tells of a segment is a rotation against the root with a variance along the root's axes; of a joint a velocity
seen from the root (``layout``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion.body.skeleton import SEGMENT, SEGMENTS
from fusion.estimators.inertial.features import frame_features, quaternions_of_six, six_of
from fusion.estimators.inertial.layout import FEATURES, JOINTS, SITES, TOLD_JOINTS, TOLD_SEGMENTS, segment_indices
from fusion.estimators.inertial.network import InertialNetwork
from fusion.estimators.inertial.packing import NetworkWeights
from fusion.maths import quaternion
from fusion.records import Float32, Float64, Int64

_ROOT = SEGMENT["pelvis"]
_TOLD_SEGMENTS: Int64 = segment_indices(TOLD_SEGMENTS)
_FIRST = [TOLD_JOINTS.index(name) for name in JOINTS]
"""A joint that two parts tell of is taken from the first."""


@dataclass(frozen=True, slots=True, eq=False)
class PoseTold:
    """What the network tells at one time. Arrays are its own."""

    time_ns: int
    segments: Int64
    """[11] indices into ``SEGMENT_NAMES``, in the order of ``TOLD_SEGMENTS``."""
    q_root_from_segment: Float64
    """[11, 4]; NaN where the network tells nothing usable."""
    rotation_variance_rad2: Float64
    """[11, 3] of the rotation vector from told to true, along the root's axes."""
    joints: Int64
    """[6] segments whose origins the velocities are of, in the order of ``JOINTS``."""
    velocities_m_s: Float64
    """[6, 3] in the root's axes: of the root in the world, of the others against the root."""
    velocity_variance_m2_s2: Float64
    """[6, 3]."""


class InertialPoser:
    """The network with its memory.

    Args:
        weights: trained ones.
    """

    def __init__(self, weights: NetworkWeights) -> None:
        self.network = InertialNetwork(weights)
        self.state = self.network.start()
        self.refused = 0
        """Frames that could not be."""
        self._features: Float32 = np.zeros(FEATURES, dtype=np.float32)

    def start(self, q_world_from_segment: Float64 | None = None) -> None:
        """Begin anew: with somebody who stands as the segments [23, 4] do and hardly moves, or knowing nothing."""
        if q_world_from_segment is None or not np.isfinite(q_world_from_segment).all():
            self.state = self.network.start()
            return
        inverse = quaternion.conjugate(q_world_from_segment[_ROOT])
        against = quaternion.multiply(inverse, q_world_from_segment[_TOLD_SEGMENTS])
        six = six_of(quaternion.to_matrix(against)).ravel()
        self.state = self.network.start(np.zeros(3 * len(TOLD_JOINTS)), six)

    def step(
        self, time_ns: int, q_world_from_site: Float64, acceleration_m_s2: Float64, root_rate_rad_s: Float64
    ) -> PoseTold | None:
        """Take one frame in, at ``FRAME_RATE_HZ``.

        Args:
            time_ns: of the frame.
            q_world_from_site: [6, 4] orientations of the segments ``SITES``, one heading for all.
            acceleration_m_s2: [6, 3] free acceleration of the sensors in the same world.
            root_rate_rad_s: [3] angular rate of the root in its own axes.

        Returns:
            What is told; None for a frame that cannot be, which is counted.
        """
        frame_features(q_world_from_site, acceleration_m_s2, root_rate_rad_s, self._features)
        told = self.network.step(self._features, self.state)
        if not told.taken:
            self.refused += 1
            return None
        turned = np.empty((len(TOLD_SEGMENTS), 4))
        quaternions_of_six(told.pose6d.reshape(-1, 6), turned)
        return PoseTold(
            time_ns=time_ns,
            segments=_TOLD_SEGMENTS,
            q_root_from_segment=turned,
            rotation_variance_rad2=np.exp(told.pose_log_variances.astype(np.float64)).reshape(-1, 3),
            joints=_JOINTS,
            velocities_m_s=told.velocities.astype(np.float64).reshape(-1, 3)[_FIRST],
            velocity_variance_m2_s2=np.exp(told.velocity_log_variances.astype(np.float64)).reshape(-1, 3)[_FIRST],
        )


_JOINTS: Int64 = segment_indices(JOINTS)


def whole_pose(told: PoseTold, q_world_from_site: Float64) -> Float64:
    """Orientations [23, 4] of all segments, as DynaIP assembles them: sensed ones as sensed, told ones as told.

    Hands, feet and toes follow the segment above, and the head's sensor stands for the head.

    Args:
        told: of the network.
        q_world_from_site: [6, 4] of ``SITES``.
    """
    q = np.full((SEGMENTS, 4), np.nan)
    q[told.segments] = quaternion.multiply(q_world_from_site[0], told.q_root_from_segment)
    for site, sensed in zip(SITES, q_world_from_site, strict=True):
        q[SEGMENT[site]] = sensed
    for side in ("left", "right"):
        q[SEGMENT[f"{side}_hand"]] = q[SEGMENT[f"{side}_forearm"]]
        for below in ("foot", "toe"):
            q[SEGMENT[f"{side}_{below}"]] = q[SEGMENT[f"{side}_lower_leg"]]
    return q
