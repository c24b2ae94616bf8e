"""What the radar network sees of one person's points in one frame.

The frame of the network is level: x to the radar's right, y away from it, z up. Its origin is the person's anchor, the
place on the floor about which the person moves; heights count from the floor. So the network does not know where in
the room a person is, but does know how high each point is.
"""

from __future__ import annotations

import numpy as np

from fusion.records import Array, Float32

POINT_FEATURES = 7
FRAME_FEATURES = 6
FOLLOWED = 5
"""Which frame feature tells that the anchor follows the points."""
MOST_POINTS = 64
"""Of a frame; what the sensor of the training data sends at most."""
REACH_M = 1.3
"""Points farther from the anchor, horizontally, are none of the person's."""
FRAME_PERIOD_S = 0.1
"""Of the training data."""
LONGEST_GAP_FRAMES = 10.0
_EYE_HEIGHT_M = 0.96
"""Height that the network counts from: of the sensor of the training data."""
_MOVING_M_S = 0.1
_USUAL_POINTS = 40.0
_USUAL_STEP_M = 0.2


def point_features(positions_m: Array, radial_velocities_m_s: Array) -> Float32:
    """Features [..., 7] of points.

    Args:
        positions_m: [..., 3] from the anchor, heights from the floor.
        radial_velocities_m_s: [...], + is receding.
    """
    features: Float32 = np.empty((*positions_m.shape[:-1], POINT_FEATURES), dtype=np.float32)
    speed = np.abs(radial_velocities_m_s)
    features[..., :2] = positions_m[..., :2]
    features[..., 2] = positions_m[..., 2] - _EYE_HEIGHT_M
    features[..., 3] = radial_velocities_m_s
    features[..., 4] = speed
    features[..., 5] = np.hypot(positions_m[..., 0], positions_m[..., 1])
    features[..., 6] = speed > _MOVING_M_S
    return features


def frame_features(counts: Array, gaps: Array, anchor_steps_m: Array, followed: Array) -> Float32:
    """Features [..., 6] of frames.

    Args:
        counts: [...] points of the person.
        gaps: [...] since the frame before, in frames of ``FRAME_PERIOD_S``; 1 where none was lost.
        anchor_steps_m: [..., 2] of the anchor since the frame before.
        followed: [...] 1 where the anchor follows the points, 0 where it is a place known beforehand.
    """
    features: Float32 = np.empty((*np.shape(counts), FRAME_FEATURES), dtype=np.float32)
    features[..., 0] = counts / _USUAL_POINTS
    features[..., 1] = 0.25 * np.log(np.maximum(counts, 1))
    features[..., 2] = np.minimum(gaps, LONGEST_GAP_FRAMES) / LONGEST_GAP_FRAMES
    features[..., 3:5] = anchor_steps_m / _USUAL_STEP_M
    features[..., FOLLOWED] = followed
    return features
