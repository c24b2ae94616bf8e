"""The camera model against OpenCV's, and where it must refuse to answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fusion.maths import quaternion
from fusion.maths.camera import NEAR_M, camera_arrays, distort, project, project_point, undistort
from fusion.records import Float64
from fusion.rig import Camera
from tests.fusion.numeric import central_difference

WIDTH, HEIGHT = 1280, 720
MATRIX = np.array([[910.0, 0.0, 655.0], [0.0, 890.0, 350.0], [0.0, 0.0, 1.0]])
SKEW = np.array([[0.0, 7.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
PINHOLE_LENSES = {
    "none": (0.0, 0.0, 0.0, 0.0, 0.0),
    "barrel": (-0.28, 0.09, 0.001, -0.0015, -0.012),
    "pincushion": (0.12, -0.04, -0.002, 0.001, 0.01),
    "folding": (-0.3, 0.0, 0.0, 0.0, 0.0),
}
FISHEYE_LENSES = {
    "equidistant": (0.0, 0.0, 0.0, 0.0),
    "wide": (0.05, -0.012, 0.006, -0.001),
    "folding": (-0.3, 0.0, 0.0, 0.0),
}
LENSES = [(False, name) for name in PINHOLE_LENSES] + [(True, name) for name in FISHEYE_LENSES]
lenses = pytest.mark.parametrize(("fisheye", "lens"), LENSES)

# 1 + 3 k1 s + 5 k2 s^2 has two positive roots s: this radius grows, shrinks, then grows again.
TURNS_TWICE = (-0.4, 0.05, 0.0, 0.0, 0.0)


def make_camera(distortion: tuple[float, ...], *, fisheye: bool = False, level: bool = False, **changes: Any) -> Camera:
    """A camera somewhere in a lab, or at the origin looking along world z when ``level``."""
    rotation = np.eye(3) if level else quaternion.to_matrix(quaternion.from_rotvec([1.9, 0.4, -0.3]))
    values: dict[str, Any] = {
        "name": "front",
        "width": WIDTH,
        "height": HEIGHT,
        "matrix": MATRIX,
        "distortion": np.array(distortion),
        "fisheye": fisheye,
        "r_camera_from_world": rotation,
        "t_camera_from_world_m": np.zeros(3) if level else np.array([0.2, 0.9, 3.5]),
    }
    return Camera(**(values | changes))


def lens_camera(fisheye: bool, lens: str, **changes: Any) -> Camera:
    """A camera with one of the lenses above."""
    return make_camera((FISHEYE_LENSES if fisheye else PINHOLE_LENSES)[lens], fisheye=fisheye, **changes)


def points_in_view(camera: Camera, count: int = 200, *, widest: float = 0.75) -> Float64:
    """World points [N, 3] in front of the camera, up to ``widest`` from its axis in normalised coordinates."""
    random = np.random.default_rng(5)
    radius, angle = widest * np.sqrt(random.uniform(size=count)), random.uniform(0.0, 2.0 * math.pi, count)
    radius[0] = 0.0  # the optical axis itself
    depth = random.uniform(NEAR_M, 8.0, count)
    rays = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.ones(count)], axis=1)
    return (rays * depth[:, None] - camera.t_camera_from_world_m) @ camera.r_camera_from_world


def opencv_project(camera: Camera, points_m: Float64) -> Float64:
    """OpenCV's answer [N, 2]."""
    cv2 = pytest.importorskip("cv2")
    rotation, _ = cv2.Rodrigues(camera.r_camera_from_world)
    translation = camera.t_camera_from_world_m.reshape(3, 1)
    points = points_m.reshape(-1, 1, 3)
    if camera.fisheye:
        skew = camera.matrix[0, 1] / camera.matrix[0, 0]
        pixels, _ = cv2.fisheye.projectPoints(
            points, rotation, translation, camera.matrix, camera.distortion[:4], alpha=skew
        )
    else:
        pixels, _ = cv2.projectPoints(points, rotation, translation, camera.matrix, camera.distortion)
    return np.asarray(pixels, dtype=np.float64).reshape(-1, 2)


@lenses
def test_project_agrees_with_opencv(fisheye: bool, lens: str) -> None:
    camera = lens_camera(fisheye, lens)
    points = points_in_view(camera)
    pixels, depths = project(points, camera)
    np.testing.assert_allclose(pixels, opencv_project(camera, points), atol=1e-8)
    np.testing.assert_allclose(
        depths, (points @ camera.r_camera_from_world.T + camera.t_camera_from_world_m)[:, 2], atol=1e-12
    )


def test_project_uses_skew() -> None:
    """OpenCV's fisheye model knows skew; for the pinhole one the definition itself is the judge."""
    fisheye = lens_camera(True, "wide", matrix=MATRIX + SKEW)
    points = points_in_view(fisheye)
    np.testing.assert_allclose(project(points, fisheye)[0], opencv_project(fisheye, points), atol=1e-8)
    pinhole = lens_camera(False, "none", matrix=MATRIX + SKEW)
    points = points_in_view(pinhole)
    images = (points @ pinhole.r_camera_from_world.T + pinhole.t_camera_from_world_m) @ pinhole.matrix.T
    np.testing.assert_allclose(project(points, pinhole)[0], images[:, :2] / images[:, 2:], atol=1e-9)


@lenses
def test_undistort_inverts_project(fisheye: bool, lens: str) -> None:
    camera = lens_camera(fisheye, lens, matrix=MATRIX + SKEW)
    points = points_in_view(camera)
    pixels, _ = project(points, camera)
    seen = points @ camera.r_camera_from_world.T + camera.t_camera_from_world_m
    np.testing.assert_allclose(undistort(pixels, camera), seen[:, :2] / seen[:, 2:], atol=1e-11)


@lenses
def test_project_inverts_undistort_over_the_whole_picture(fisheye: bool, lens: str) -> None:
    """Every pixel of the picture either comes back exactly or, beyond the fold, has no ray."""
    camera = lens_camera(fisheye, lens, level=True)
    columns, rows = np.meshgrid(np.linspace(0.0, WIDTH, 41), np.linspace(0.0, HEIGHT, 31))
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)
    rays = undistort(pixels, camera)
    back, _ = project(np.column_stack([rays, np.ones(len(rays))]), camera)
    answered = np.isfinite(rays).all(axis=1)
    assert answered.all() if lens != "folding" else answered.mean() > 0.8
    np.testing.assert_allclose(back[answered], pixels[answered], atol=1e-8)
    assert np.isnan(back[~answered]).all()


def test_undistort_agrees_with_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    camera = lens_camera(False, "barrel")
    pixels = np.random.default_rng(3).uniform([0.0, 0.0], [WIDTH, HEIGHT], (50, 2))
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-14)
    theirs = cv2.undistortPoints(pixels.reshape(-1, 1, 2), camera.matrix, camera.distortion, criteria=criteria)
    np.testing.assert_allclose(undistort(pixels, camera), theirs.reshape(-1, 2), atol=1e-9)


def test_wide_fisheye_inverts_close_to_its_image_plane() -> None:
    """89 degrees off the axis, where X/Z is 57."""
    camera = lens_camera(True, "wide", level=True)
    ray = np.array([[math.tan(math.radians(89.0)), 0.0, 1.0]])
    pixels, depth = project(ray, camera)
    assert depth[0] == 1.0
    np.testing.assert_allclose(undistort(pixels, camera), ray[:, :2], rtol=1e-9)


@lenses
def test_point_jacobian_against_central_differences(fisheye: bool, lens: str) -> None:
    camera = lens_camera(fisheye, lens, matrix=MATRIX + SKEW)
    arrays = camera_arrays(camera)
    pixel, jacobian, scratch = np.empty(2), np.empty((2, 3)), np.empty((2, 3))
    for point in points_in_view(camera, 40):
        point += 0.3 * camera.r_camera_from_world[2]  # differences across the near plane would mean nothing
        assert project_point(arrays, point, pixel, jacobian) > 0.0
        for axis in range(3):

            def moved(step: float, point: Float64 = point, axis: int = axis) -> Float64:
                out = np.empty(2)
                project_point(arrays, point + step * np.eye(3)[axis], out, scratch)
                return out

            np.testing.assert_allclose(jacobian[:, axis], central_difference(moved), rtol=1e-6, atol=1e-4)


@lenses
def test_distortion_jacobian_against_central_differences(fisheye: bool, lens: str) -> None:
    arrays = camera_arrays(lens_camera(fisheye, lens))

    def bent(x: float, y: float) -> Float64:
        return np.array(distort(arrays.distortion, arrays.fisheye, x, y))

    for x, y in [(0.0, 0.0), (1e-10, 0.0), (1e-5, -2e-5), (0.3, 0.0), (0.0, -0.4), (-0.5, 0.35), (0.9, 0.8)]:
        jacobian = bent(x, y)[2:].reshape(2, 2)
        np.testing.assert_allclose(
            jacobian[:, 0], central_difference(lambda d, x=x, y=y: bent(x + d, y)[:2]), atol=1e-8
        )
        np.testing.assert_allclose(
            jacobian[:, 1], central_difference(lambda d, x=x, y=y: bent(x, y + d)[:2]), atol=1e-8
        )


@pytest.mark.parametrize(
    "point_m",
    [
        (0.0, 0.0, -1.0),
        (0.5, -0.2, -3.0),
        (0.3, 0.3, 0.0),
        (0.0, 0.0, 0.999 * NEAR_M),
        (math.nan, 0.0, 2.0),
        (0.0, math.nan, 2.0),
        (0.0, 0.0, math.nan),
        (math.inf, 0.0, 2.0),
        (0.0, 0.0, math.inf),
    ],
)
@pytest.mark.parametrize("fisheye", [False, True])
def test_a_point_without_a_picture(point_m: tuple[float, float, float], fisheye: bool) -> None:
    camera = make_camera((0.01, 0.0, 0.0, 0.0), fisheye=fisheye, level=True)
    good = np.array([0.1, 0.2, 2.0])
    pixels, depths = project(np.array([good, point_m, good]), camera)
    assert np.isnan(pixels[1]).all()
    assert depths[1] == -1.0
    np.testing.assert_array_equal(pixels[0], pixels[2])
    assert np.isfinite(pixels[0]).all()
    assert depths[0] == depths[2] == 2.0


def test_the_near_plane_itself_is_seen() -> None:
    pixels, depths = project(np.array([[0.0, 0.0, NEAR_M]]), make_camera((0.0,), level=True))
    np.testing.assert_allclose(pixels, [MATRIX[:2, 2]])
    assert depths[0] == NEAR_M


@pytest.mark.parametrize(
    ("distortion", "fisheye", "fold"),
    [
        ((-0.3,), False, math.sqrt(1.0 / 0.9)),  # 1 + 3 k1 r^2 = 0
        (TURNS_TWICE, False, math.sqrt((1.2 - math.sqrt(0.44)) / 0.5)),  # 1 + 3 k1 r^2 + 5 k2 r^4 = 0
        ((-0.3, 0.0, 0.0, 0.0), True, math.tan(math.sqrt(1.0 / 0.9))),  # 1 + 3 k1 a^2 = 0, r = tan a
    ],
)
def test_nothing_is_seen_beyond_the_fold(distortion: tuple[float, ...], fisheye: bool, fold: float) -> None:
    """The picture ends where the radius stops growing, though the polynomial would put farther points inside it."""
    camera = make_camera(distortion, fisheye=fisheye, level=True)
    slopes = np.concatenate([np.linspace(0.0, 0.999 * fold, 50), np.linspace(1.001 * fold, 20.0, 400)])
    for direction in ((1.0, 0.0), (0.0, -1.0), (0.6, 0.8)):
        points = np.column_stack([slopes[:, None] * direction, np.ones(len(slopes))])
        pixels, depths = project(points, camera)
        offsets = (pixels - MATRIX[:2, 2]) / [MATRIX[0, 0], MATRIX[1, 1]]
        radii = np.linalg.norm(offsets[:50], axis=1)
        assert (depths[:50] > 0.0).all()
        assert (np.diff(radii) > 0.0).all()
        assert (depths[50:] == -1.0).all()
        assert np.isnan(pixels[50:]).all()
        np.testing.assert_allclose(undistort(pixels[:50], camera), points[:50, :2], atol=1e-9)


@pytest.mark.parametrize("distortion", [(-0.3,), TURNS_TWICE])
def test_pixels_that_no_point_projects_to_have_no_ray(distortion: tuple[float, ...]) -> None:
    """Beyond the largest radius that the lens reaches, not even the far branch of its polynomial may answer."""
    camera = make_camera(distortion, level=True)
    arrays = camera_arrays(camera)
    bent = distort(arrays.distortion, arrays.fisheye, math.sqrt(arrays.reach_squared), 0.0)
    radii = np.concatenate([np.linspace(1.001, 1.2, 40), np.linspace(1.2, 10.0, 100)]) * bent[0]
    pixels = np.column_stack([MATRIX[0, 0] * radii, np.zeros(len(radii))]) + MATRIX[:2, 2]
    assert np.isnan(undistort(pixels, camera)).all()


def test_tangential_distortion_folds_too() -> None:
    """With p1 alone y_d = y + 3 p1 y^2 on the vertical axis, which turns at y = -1 / (6 p1)."""
    p1 = 0.1
    camera = make_camera((0.0, 0.0, p1, 0.0, 0.0), level=True)
    turn = -1.0 / (6.0 * p1)
    heights = np.array([0.9, 0.99, 1.01, 1.2, 1.9]) * turn
    _, depths = project(np.column_stack([np.zeros(5), heights, np.ones(5)]), camera)
    np.testing.assert_array_equal(depths, [1.0, 1.0, -1.0, -1.0, -1.0])
    lowest = turn + 3.0 * p1 * turn**2
    pixels = np.column_stack([np.zeros(3), MATRIX[1, 1] * np.array([0.99, 1.01, 3.0]) * lowest]) + MATRIX[:2, 2]
    rays = undistort(pixels, camera)
    assert turn < rays[0, 1] < lowest
    assert np.isnan(rays[1:]).all()


def test_undistort_passes_nan_on_and_keeps_the_rest() -> None:
    camera = lens_camera(False, "barrel")
    pixels = np.array([[600.0, 300.0], [math.nan, 300.0], [600.0, math.nan], [math.inf, 0.0], [600.0, 300.0]])
    before = pixels.copy()
    rays = undistort(pixels, camera)
    assert np.isnan(rays[1:4]).all()
    assert np.isfinite(rays[[0, 4]]).all()
    np.testing.assert_array_equal(rays[0], rays[4])
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("function", [lambda camera: project(np.empty((0, 3)), camera)[0],
                                      lambda camera: undistort(np.empty((0, 2)), camera)])  # fmt: skip
def test_no_points_give_no_pixels(function: Any) -> None:
    assert function(lens_camera(False, "barrel")).shape == (0, 2)


def test_the_optical_centre_is_the_cameras_origin() -> None:
    camera = lens_camera(False, "barrel")
    inside = camera.r_camera_from_world @ camera.centre_world_m + camera.t_camera_from_world_m
    np.testing.assert_allclose(inside, np.zeros(3), atol=1e-14)
    assert project(camera.centre_world_m[None], camera)[1][0] == -1.0
