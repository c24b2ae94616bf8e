"""Mountings from one held pose alone: of use where a recording has nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from calibration.inertial.attitude import turn_about_up
from calibration.inertial.poses import UP, q_body_from_segment
from fusion.maths import quaternion
from fusion.records import Float64


def calibrate_still(
    q_world_from_sensor: Float64,
    segments: tuple[str, ...],
    step: str = "n_pose",
    usual: Mapping[str, Float64] | None = None,
    *,
    heading_rad: float | Float64 | None = None,
) -> dict[str, Float64]:
    """q_segment_from_sensor [4] by segment, from orientations in a pose that is held.

    A pose tells which way is up in each sensor. Where the wearer faced must be known otherwise: by
    ``heading_rad``; or it is taken such that each mounting is as near as can be to a usual one.

    Args:
        q_world_from_sensor: [M, 4] or [T, M, 4] while the pose is held; the mean is taken.
        segments: M names.
        step: ``n_pose`` or ``t_pose``.
        usual: q_segment_from_sensor by segment; the identity where it says nothing.
        heading_rad: of the wearer's forward direction in the world, one for all or [M] one for each.

    Source: GlobalPose's held-pose calibration, R_SB = (R_MI R_IS)^T R_pose.
    """
    q = mean_rotation(np.asarray(q_world_from_sensor).reshape(-1, len(segments), 4))
    mounts = {}
    for k, segment in enumerate(segments):
        stands = q_body_from_segment(step, segment)
        if heading_rad is None:
            near = quaternion.multiply(stands, (usual or {}).get(segment, quaternion.IDENTITY))
            heading = float(turn_about_up(quaternion.multiply(q[k], quaternion.conjugate(near))))
        else:
            heading = float(np.broadcast_to(heading_rad, (len(segments),))[k])
        upright = quaternion.multiply(quaternion.from_rotvec(-heading * UP), q[k])
        mounts[segment] = quaternion.multiply(quaternion.conjugate(stands), upright)
    return mounts


def mean_rotation(q: Float64) -> Float64:
    """Mean [..., 4] of rotations [T, ..., 4].

    Source: Markley et al., "Averaging quaternions", J. Guidance, Control and Dynamics 30(4), 2007: the first
    eigenvector of the mean of q q^T.
    """
    moments = np.einsum("t...i,t...j->...ij", q, q) / len(q)
    mean = np.linalg.eigh(moments)[1][..., -1]
    return np.asarray(np.where(mean[..., :1] < 0.0, -mean, mean))
