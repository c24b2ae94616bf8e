"""Calibrations of other software: what is read, what is refused and how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.formats import pose2sim, read_calibration
from calibration.tables import CalibrationError
from fusion.rig import Camera

ONE_CAMERA = """
[cam_a]
name = "left"
size = [ 1280.0, 720.0]
matrix = [[900.0, 0.0, 640.0], [0.0, 910.0, 360.0], [0.0, 0.0, 1.0]]
distortions = [-0.1, 0.02, 0.001, -0.002]
rotation = [0.1, -0.2, 0.3]
translation = [0.5, 1.0, 3.0]
fisheye = false

[metadata]
adjusted = false
error = 0.0
"""

CALISCOPE = """
CreationDate = 2023-01-01
camera_count = 2

[cameras.1]
port = 1
size = [ 1280, 720,]
rotation_count = 1
error = 0.31
matrix = [[900.0, 0.0, 640.0], [0.0, 910.0, 360.0], [0.0, 0.0, 1.0]]
distortions = [-0.1, 0.02, 0.001, -0.002, 0.03]
exposure = -5
grid_count = 25
ignore = false
translation = [0.5, 1.0, 3.0]
rotation = [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]

[cameras.2]
port = 2
size = [ 1280, 720,]
ignore = true
"""


def written(folder: Path, text: str, name: str = "calibration.toml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_pose2sim_is_read_as_it_says(tmp_path: Path) -> None:
    (camera,) = read_calibration(written(tmp_path, ONE_CAMERA))
    assert (camera.name, camera.width, camera.height, camera.fisheye) == ("left", 1280, 720, False)
    assert camera.matrix.tolist() == [[900, 0, 640], [0, 910, 360], [0, 0, 1]]
    assert camera.distortion.tolist() == [-0.1, 0.02, 0.001, -0.002, 0.0]
    np.testing.assert_allclose(Rotation.from_matrix(camera.r_camera_from_world).as_rotvec(), [0.1, -0.2, 0.3])
    np.testing.assert_allclose(camera.r_camera_from_world @ camera.centre_world_m, [-0.5, -1.0, -3.0])


def test_projection_is_the_one_of_opencv(tmp_path: Path) -> None:
    """The reader and OpenCV, given the file's own numbers, see a world point at the same pixel, distortion included."""
    cv2 = pytest.importorskip("cv2")
    (camera,) = read_calibration(written(tmp_path, ONE_CAMERA))
    points_m = np.random.default_rng(1).uniform(-0.8, 0.8, (20, 3))
    expected, _ = cv2.projectPoints(
        points_m,
        np.array([0.1, -0.2, 0.3]),
        np.array([0.5, 1.0, 3.0]),
        np.array([[900.0, 0, 640], [0, 910.0, 360], [0, 0, 1]]),
        np.array([-0.1, 0.02, 0.001, -0.002]),
    )
    rotation = cv2.Rodrigues(camera.r_camera_from_world)[0]
    have, _ = cv2.projectPoints(points_m, rotation, camera.t_camera_from_world_m, camera.matrix, camera.distortion)
    undistorted, _ = cv2.projectPoints(points_m, rotation, camera.t_camera_from_world_m, camera.matrix, np.zeros(5))
    np.testing.assert_allclose(have, expected, atol=1e-6)
    assert np.abs(undistorted - expected).max() > 1.0


def test_caliscope_matrix_rotation_and_ignored_cameras(tmp_path: Path) -> None:
    (camera,) = read_calibration(written(tmp_path, CALISCOPE))
    assert camera.name == "cam_1"
    assert camera.distortion[4] == 0.03
    assert camera.residual_px == 0.31
    np.testing.assert_allclose(camera.centre_world_m, [-0.5, -3.0, 1.0])


def test_pose2sim_written_and_read_again(tmp_path: Path) -> None:
    rotation = Rotation.from_rotvec([0.4, -1.0, 2.0]).as_matrix()
    cameras = (
        Camera(
            name='odd "name" \\',
            width=640,
            height=480,
            matrix=np.array([[500.0, 0, 320], [0, 501, 240], [0, 0, 1]]),
            distortion=np.array([-0.1, 0.2, 0.01, 0.02, 0.3]),
            r_camera_from_world=rotation,
            t_camera_from_world_m=np.array([0.1, 0.2, 0.3]),
        ),
        Camera(
            name="wide",
            width=640,
            height=480,
            matrix=np.array([[300.0, 0, 320], [0, 300, 240], [0, 0, 1]]),
            distortion=np.array([0.1, 0.2, 0.01, 0.02]),
            fisheye=True,
            r_camera_from_world=rotation,
            t_camera_from_world_m=np.zeros(3),
        ),
    )
    again = read_calibration(written(tmp_path, pose2sim.write(cameras)))
    for one, other in zip(cameras, again, strict=True):
        assert (one.name, one.width, one.height, one.fisheye) == (other.name, other.width, other.height, other.fisheye)
        np.testing.assert_array_equal(one.matrix, other.matrix)
        np.testing.assert_array_equal(one.distortion, other.distortion)
        np.testing.assert_allclose(one.r_camera_from_world, other.r_camera_from_world, atol=1e-14)
        np.testing.assert_array_equal(one.t_camera_from_world_m, other.t_camera_from_world_m)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("size = [ 1280.0, 720.0]", "size = [1280.5, 720]", ("cam_a.size", "1280.5", "whole pixels")),
        ("size = [ 1280.0, 720.0]", "", ("cam_a.size", "missing")),
        ("rotation = [0.1, -0.2, 0.3]", "rotation = [0.1, -0.2]", ("cam_a.rotation", "[0.1, -0.2]", "3x3")),
        ("translation = [0.5, 1.0, 3.0]", 'translation = ["a", 1, 3]', ("cam_a.translation", "'a'", "finite numbers")),
        ("translation = [0.5, 1.0, 3.0]", "translation = [nan, 1, 3]", ("cam_a.translation", "nan", "finite numbers")),
        ("translation = [0.5, 1.0, 3.0]", "translation = [500.0, 1000, 3000]", ("left", "millimetres", "--unit mm")),
        ("fisheye = false", "fisheye = 0", ("cam_a.fisheye", "0", "true or false")),
        ("matrix = [[900.0", "matrix = [[-900.0", ("cam_a", "-900.0", "> 0")),
        ('name = "left"', "name = 7", ("cam_a.name", "7", "quotes")),
        ('name = "left"', 'name = "left', ("not valid TOML", "line 3")),
    ],
)
def test_a_wrong_value_is_named_with_its_place(tmp_path: Path, old: str, new: str, said: tuple[str, ...]) -> None:
    file = written(tmp_path, ONE_CAMERA.replace(old, new))
    with pytest.raises(CalibrationError) as caught:
        read_calibration(file)
    assert str(file) in str(caught.value)
    for part in said:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no camera found"),
        ("a = 1", "no camera found"),
        ('format = "kinefuse-profile"', "already"),
        ("<html></html>", "<html>"),
        ("<calibration", "not valid XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><calibration/>', "document type"),
        ("<calibration><cameras><camera serial='7'/></cameras></calibration>", "camera 7: intrinsic: missing"),
        ("<calibration><cameras><camera serial='7' viewrotation='90'/></cameras></calibration>", "viewrotation '90'"),
        (ONE_CAMERA + ONE_CAMERA.replace("cam_a", "cam_b").replace("[metadata]", "[metadata2]"), "named twice"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CalibrationError, match="calibration") as caught:
        read_calibration(written(tmp_path, text))
    assert said in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no such file"):
        read_calibration(tmp_path / "none.toml")
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_calibration(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\x80\x81\x82")
    with pytest.raises(CalibrationError, match="not a text file"):
        read_calibration(binary)


def test_unit_of_a_toml_file(tmp_path: Path) -> None:
    (camera,) = read_calibration(written(tmp_path, ONE_CAMERA), metres_per_unit=0.01)
    np.testing.assert_allclose(camera.t_camera_from_world_m, [0.005, 0.01, 0.03])


@pytest.mark.parametrize("recording", ["single", "multi"])
def test_qualisys_and_pose2sim_files_of_one_rig_agree(data_pack: Path, recording: str) -> None:
    """Same rig, two files: equal but for the distortion, which the other converter divided by 64."""
    folder = data_pack / "pose2sim" / recording / "calibration"
    ours = read_calibration(folder / "Calib.qca.txt")
    theirs = read_calibration(folder / "Calib_qualisys.toml")
    assert [camera.name for camera in ours] == ["cam01", "cam02", "cam03", "cam04"]
    for one, other in zip(ours, theirs, strict=True):
        assert (one.width, one.height) == (other.width, other.height)
        np.testing.assert_allclose(one.matrix, other.matrix, atol=1e-9)
        np.testing.assert_allclose(one.r_camera_from_world, other.r_camera_from_world, atol=1e-12)
        np.testing.assert_allclose(one.centre_world_m, other.centre_world_m, atol=1e-12)
        np.testing.assert_allclose(one.distortion, other.distortion * 64.0, atol=1e-12)
