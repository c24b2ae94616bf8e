"""One held pose: up is measured, forward is given or as usual."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calibration.inertial.poses import q_body_from_segment
from calibration.inertial.still import calibrate_still, mean_rotation
from fusion.maths import quaternion

SEGMENTS = ("pelvis", "left_forearm", "right_lower_leg")
ROTVEC = st.tuples(*[st.floats(-1.7, 1.7)] * 3)


@given(
    mounts=st.tuples(*[ROTVEC] * 3),
    headings=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    step=st.sampled_from(["n_pose", "t_pose"]),
)
def test_known_headings_give_the_mountings(
    mounts: tuple[tuple[float, ...], ...], headings: tuple[float, ...], step: str
) -> None:
    truth = quaternion.from_rotvec(mounts)
    stands = np.array([q_body_from_segment(step, name) for name in SEGMENTS])
    turned = quaternion.from_rotvec([[0.0, 0.0, heading] for heading in headings])
    q = quaternion.multiply(turned, quaternion.multiply(stands, truth))
    found = calibrate_still(q, SEGMENTS, step, heading_rad=np.array(headings))
    for name, mount in zip(SEGMENTS, truth, strict=True):
        assert float(quaternion.angle_between(found[name], mount)) < 1e-6


@given(usual=st.tuples(*[ROTVEC] * 3), heading=st.floats(-3.0, 3.0))
def test_without_headings_a_usual_mounting_is_kept_whatever_the_sensor_s_heading(
    usual: tuple[tuple[float, ...], ...], heading: float
) -> None:
    truth = dict(zip(SEGMENTS, quaternion.from_rotvec(usual), strict=True))
    stands = np.array([q_body_from_segment("n_pose", name) for name in SEGMENTS])
    q = quaternion.multiply(stands, np.array(list(truth.values())))
    q = quaternion.multiply(quaternion.from_rotvec([0.0, 0.0, heading]), q)
    found = calibrate_still(np.stack([q, q]), SEGMENTS, usual=truth)
    for name in SEGMENTS:
        assert float(quaternion.angle_between(found[name], truth[name])) < 1e-6


@given(ROTVEC)
def test_the_mean_of_rotations_about_one_is_that_one(rotvec: tuple[float, ...]) -> None:
    q = quaternion.from_rotvec(rotvec)
    around = [quaternion.multiply(q, quaternion.from_rotvec(0.2 * axis)) for axis in (*np.eye(3), *-np.eye(3))]
    # Signs of quaternions mean nothing.
    around[1] = -around[1]
    assert float(quaternion.angle_between(mean_rotation(np.array(around)), q)) < 1e-7
