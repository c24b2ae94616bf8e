"""A rig refuses what cannot be, and says where and what."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from fusion.rig import Camera, ImuMount, RadarMount, Rig, RigError, Subject

MATRIX = [[900.0, 0.0, 640.0], [0.0, 910.0, 360.0], [0.0, 0.0, 1.0]]


def camera(**changes: Any) -> Camera:
    values: dict[str, Any] = {
        "name": "front",
        "width": 1280,
        "height": 720,
        "matrix": np.array(MATRIX),
        "r_camera_from_world": np.eye(3),
        "t_camera_from_world_m": np.array([0.0, 1.0, 4.0]),
    }
    return Camera(**(values | changes))


def imu(**changes: Any) -> ImuMount:
    return ImuMount(**({"segment": "pelvis"} | changes))


def radar(**changes: Any) -> RadarMount:
    values: dict[str, Any] = {"name": "door", "r_world_from_radar": np.eye(3), "position_world_m": np.zeros(3)}
    return RadarMount(**(values | changes))


def subject(**changes: Any) -> Subject:
    return Subject(**({"name": "Ann"} | changes))


def matrix_with(row: int, column: int, value: float) -> list[list[float]]:
    rows = [list(values) for values in MATRIX]
    rows[row][column] = value
    return rows


BAD_VALUES = [
    (camera, {"width": 0}, "camera front", "0x720"),
    (camera, {"height": -720}, "camera front", "1280x-720"),
    (camera, {"matrix": np.eye(2)}, "camera front: matrix", "[[1.0, 0.0], [0.0, 1.0]]"),
    (camera, {"matrix": [[1.0, 2.0], [3.0]]}, "camera front: matrix", "[[1.0, 2.0], [3.0]]"),
    (camera, {"matrix": "900"}, "camera front: matrix", "900"),
    (camera, {"matrix": "wide"}, "camera front: matrix", "wide"),
    (camera, {"matrix": None}, "camera front: matrix", "nan"),
    (camera, {"matrix": matrix_with(0, 2, math.nan)}, "camera front: matrix", "nan"),
    (camera, {"matrix": matrix_with(1, 2, math.inf)}, "camera front: matrix", "inf"),
    (camera, {"matrix": matrix_with(0, 0, 0.0)}, "camera front: focal lengths", "0.0"),
    (camera, {"matrix": matrix_with(1, 1, -910.0)}, "camera front: focal lengths", "-910.0"),
    (camera, {"matrix": np.transpose(MATRIX)}, "camera front: matrix", "[640.0, 360.0, 1.0]"),
    (camera, {"matrix": matrix_with(1, 0, 3.0)}, "camera front: matrix", "[3.0, 910.0, 360.0]"),
    (camera, {"distortion": np.full(6, 0.1)}, "camera front", "6 distortion coefficients"),
    (camera, {"distortion": [0.1, math.nan]}, "camera front: distortion", "nan"),
    (camera, {"distortion": ["k1"]}, "camera front: distortion", "k1"),
    (camera, {"distortion": [0.0, 0.0, 0.0, 0.0, 0.5], "fisheye": True}, "camera front", "0.5"),
    (camera, {"r_camera_from_world": 2.0 * np.eye(3)}, "camera front: rotation", "[2.0, 0.0, 0.0]"),
    (camera, {"r_camera_from_world": np.diag([1.0, 1.0, -1.0])}, "camera front: rotation", "[0.0, 0.0, -1.0]"),
    (camera, {"r_camera_from_world": np.full((3, 3), math.nan)}, "camera front: rotation", "nan"),
    (camera, {"r_camera_from_world": np.zeros(3)}, "camera front: rotation", "[0.0, 0.0, 0.0]"),
    (camera, {"t_camera_from_world_m": [1.0, 2.0]}, "camera front: translation", "[1.0, 2.0]"),
    (camera, {"t_camera_from_world_m": [1.0, 2.0, math.inf]}, "camera front: translation", "inf"),
    (camera, {"delay_s": math.nan}, "camera front: delay_s", "nan"),
    (imu, {"q_segment_from_sensor": np.zeros(4)}, "imu pelvis: quaternion norm", "0.000"),
    (imu, {"q_segment_from_sensor": [1.0, 0.2, 0.0, 0.0]}, "imu pelvis: quaternion norm", "1.020"),
    (imu, {"q_segment_from_sensor": [1.0, 0.0, 0.0]}, "imu pelvis: q_segment_from_sensor", "[1.0, 0.0, 0.0]"),
    (imu, {"q_segment_from_sensor": [math.nan, 0.0, 0.0, 1.0]}, "imu pelvis: q_segment_from_sensor", "nan"),
    (imu, {"lever_arm_m": [0.1, 0.2]}, "imu pelvis: lever_arm_m", "[0.1, 0.2]"),
    (radar, {"r_world_from_radar": -np.eye(3)}, "radar door: rotation", "[-1.0, -0.0, -0.0]"),
    (radar, {"position_world_m": [1.0]}, "radar door: position", "[1.0]"),
    (radar, {"azimuth_fov_rad": 0.0}, "radar door: azimuth_fov_rad", "0.0"),
    (radar, {"azimuth_fov_rad": 57.0}, "radar door: azimuth_fov_rad", "57.0"),
    (radar, {"elevation_fov_rad": math.nan}, "radar door: elevation_fov_rad", "nan"),
    (radar, {"range_max_m": -6.0}, "radar door: range_max_m", "-6.0"),
    (radar, {"time_offset_s": math.inf}, "radar door: time_offset_s", "inf"),
    (subject, {"stature_m": 178.0}, "subject Ann: stature_m", "178.0"),
    (subject, {"stature_m": 0.0}, "subject Ann: stature_m", "0.0"),
    (subject, {"stature_m": math.nan}, "subject Ann: stature_m", "nan"),
    (subject, {"lengths_m": [0.4, -0.1]}, "subject Ann: lengths_m", "-0.1"),
    (subject, {"lengths_m": [0.4, math.nan]}, "subject Ann: lengths_m", "nan"),
    (subject, {"lengths_m": 0.4}, "subject Ann: lengths_m", "0.4"),
]


@pytest.mark.parametrize(("make", "changes", "place", "value"), BAD_VALUES)
def test_a_bad_value_is_refused_with_its_place(make: Any, changes: dict[str, Any], place: str, value: str) -> None:
    make()  # Without the change the same object stands.
    with pytest.raises(RigError, match=f"^{re.escape(place)}") as caught:
        make(**changes)
    assert value in str(caught.value)


def test_values_are_stored_as_float64_copies() -> None:
    rotation = np.asfortranarray(np.eye(3))
    made = camera(matrix=[[900, 0, 640], [0, 910, 360], [0, 0, 1]], r_camera_from_world=rotation)
    for array in (made.matrix, made.distortion, made.r_camera_from_world, made.t_camera_from_world_m):
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
    rotation[0, 0] = -5.0
    np.testing.assert_array_equal(made.r_camera_from_world, np.eye(3))


@pytest.mark.parametrize("given", [(), (0.1,), (0.1, 0.2, 0.3, 0.4), ((0.1, 0.2, 0.3, 0.4, 0.5),)])
def test_short_distortion_is_filled_with_zeros(given: tuple[Any, ...]) -> None:
    expected = np.zeros(5)
    expected[: np.size(given)] = np.ravel(given)
    np.testing.assert_array_equal(camera(distortion=given).distortion, expected)


def test_centre_is_where_the_camera_stands() -> None:
    turned = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    made = camera(r_camera_from_world=turned, t_camera_from_world_m=[1.0, 2.0, 3.0])
    np.testing.assert_allclose(turned @ made.centre_world_m + made.t_camera_from_world_m, np.zeros(3), atol=1e-15)


def test_a_nearly_unit_quaternion_is_normalised() -> None:
    made = imu(q_segment_from_sensor=[1.003, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(made.q_segment_from_sensor, [1.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("sensors", "message"),
    [
        ({"cameras": (camera(), camera(name="back"), camera())}, "camera front: named twice"),
        ({"imus": (imu(), imu())}, "imu pelvis: named twice"),
        ({"radars": (radar(), radar())}, "radar door: named twice"),
    ],
)
def test_names_are_unique_within_a_kind(sensors: dict[str, Any], message: str) -> None:
    with pytest.raises(RigError, match=re.escape(message)):
        Rig(**sensors)


def test_a_radar_may_be_named_like_a_camera() -> None:
    rig = Rig(cameras=(camera(),), radars=(radar(name="front"),))
    assert rig.camera("front") is rig.cameras[0]


@pytest.mark.parametrize(
    ("rig", "known"), [(Rig(), "none"), (Rig(cameras=(camera(name="left"), camera(name="right"))), "left, right")]
)
def test_an_unknown_camera_is_answered_with_the_known_ones(rig: Rig, known: str) -> None:
    with pytest.raises(RigError, match=f"camera 'top' is not in the profile; it has: {known}$"):
        rig.camera("top")


def test_other_cameras_leave_the_rest_of_the_rig() -> None:
    rig = Rig(cameras=(camera(),), imus=(imu(),), radars=(radar(),), subject=subject(stature_m=1.7))
    changed = rig.with_cameras((camera(name="top"),))
    assert [item.name for item in changed.cameras] == ["top"]
    assert (changed.imus, changed.radars, changed.subject) == (rig.imus, rig.radars, rig.subject)
    assert [item.name for item in rig.cameras] == ["front"]
    with pytest.raises(RigError, match="named twice"):
        rig.with_cameras((camera(), camera()))


def test_points_of_a_radar_in_the_world() -> None:
    """It looks along -x from a metre high: what is ahead of it lies nearer to the origin, what is right of it at +y."""
    mount = RadarMount(
        name="door",
        r_world_from_radar=np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
        position_world_m=np.array([3.0, 0.0, 1.0]),
    )
    points = np.array([[0.0, 2.0, 0.0], [0.5, 2.0, -1.0]])
    np.testing.assert_allclose(mount.to_world(points), [[1.0, 0.0, 1.0], [1.0, 0.5, 0.0]])
