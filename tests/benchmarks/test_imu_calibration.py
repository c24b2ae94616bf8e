"""The benchmark of inertial calibration on the real recordings: the maps between conventions, and that figures come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import imu_calibration as bench
from calibration.inertial.recording import NS_PER_S
from calibration.inertial.solve import calibrate
from calibration.inertial.steps import Interval
from calibration.inertial.stillness import up_in_sensor
from fusion.maths import quaternion


@pytest.fixture(scope="module")
def walked(data_pack: Path) -> bench.Worn:
    return bench.qmt(data_pack)


def test_qmt_s_own_calibration_stands_upright_in_our_axes(walked: bench.Worn) -> None:
    """With the file's mountings a hanging arm's y points down (left: up along the bone is -y), a trunk's z up."""
    still = slice(0, walked.recording.index(2 * NS_PER_S))
    ups = up_in_sensor(walked.recording, still)
    expected = {"pelvis": 2, "left_upper_leg": 2, "right_lower_leg": 2, "left_upper_arm": 1, "right_upper_arm": 1}
    for name, axis in expected.items():
        k = walked.recording.sensors.index(name)
        up = quaternion.rotate(walked.mounts[name], ups[k])
        sign = -1.0 if name == "left_upper_arm" else 1.0
        assert sign * up[axis] > 0.95, (name, up)


def test_qmt_s_segments_face_one_way_at_the_start(walked: bench.Worn) -> None:
    """Our x is forward on both arms, on trunk and legs: the maps of the axes are right."""
    q = quaternion.multiply(
        walked.q_world_from_sensor[100], quaternion.conjugate(np.stack(list(walked.mounts.values())))
    )
    pose = [bench.q_body_from_segment("n_pose", name) for name in walked.recording.sensors]
    forward = quaternion.rotate(quaternion.multiply(q, quaternion.conjugate(np.array(pose))), [1.0, 0.0, 0.0])
    mean = forward.mean(axis=0) / np.linalg.norm(forward.mean(axis=0))
    assert (forward @ mean > 0.85).all(), forward.round(2)


def test_a_still_start_is_followed_to_the_end(walked: bench.Worn) -> None:
    found = bench.over_time(walked)["own heading"]
    assert set(found["deg_by_sensor"]) == set(walked.recording.sensors)
    assert found["mean_deg"]["mean_total"] < 10.0
    assert found["mean_deg"]["mean_inclination"] <= found["mean_deg"]["mean_total"]


def test_a_real_n_pose_is_repeated_within_degrees(data_pack: Path) -> None:
    found = bench.n_pose_quality(bench.hipose(data_pack))
    assert found["accepted"]
    assert found["headings"] == ["assumed"]
    sensors = found["deg_by_sensor"]
    assert len(sensors) == 17
    assert max(values["halves_apart"] for values in sensors.values()) < 3.0
    assert max(values["gravity_against_on_board"] for values in sensors.values()) < 2.0


def test_a_metre_in_seven_seconds_is_refused_as_a_walk(walked: bench.Worn) -> None:
    """Real accelerations, integrated twice for so long, do not tell the direction of so little."""
    seconds = ((0.3, 4.5, "n_pose"), (38.0, 47.0, "walk"))
    intervals = [Interval(step, round(begin * NS_PER_S), round(end * NS_PER_S)) for begin, end, step in seconds]
    found = calibrate(walked.recording, intervals, walked.mounts)
    assert not found.accepted
    assert "took too long for its direction to be known" in found.refusals[0].message
