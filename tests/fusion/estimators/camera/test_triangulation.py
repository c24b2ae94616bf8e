"""Triangulation: exact on clean views, right with one bad camera, honest about its error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.estimators.camera.triangulation import Triangulated, TriangulationParams, triangulate
from fusion.maths.camera import project
from fusion.records import Float64
from fusion.rig import Camera
from tests.fusion.scenes import BENT, FISHEYE, camera_at, ring

LANDMARKS = 12
SIDE = camera_at("side", [0.5, 4.0, 0.3])
Cameras = tuple[Camera, ...]


def cloud(seed: int = 0, count: int = LANDMARKS) -> Float64:
    """Points [K, 3] about as spread as a body's."""
    return np.random.default_rng(seed).uniform([-0.5, -0.5, -0.9], [0.5, 0.5, 0.9], (count, 3))


def views(cameras: Cameras, points: Float64) -> Float64:
    """Pixels [C, K, 2]."""
    return np.stack([project(points, camera)[0] for camera in cameras])


def found(cameras: Cameras, pixels: Float64, weights: Float64 | None = None, **params: float) -> Triangulated:
    weights = np.ones(pixels.shape[:2]) if weights is None else weights
    return triangulate(cameras, pixels, weights, TriangulationParams(**params))


@pytest.mark.parametrize("count", [2, 3, 4, 6])
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_clean_views_give_the_points(count: int, seed: int) -> None:
    cameras, points = ring(count + count % 2), cloud(seed)
    cameras = cameras[:count] if count != 2 else (cameras[0], SIDE)
    result = found(cameras, views(cameras, points))
    np.testing.assert_allclose(result.points_m, points, atol=1e-7)
    assert result.inliers.all()
    assert result.errors_px.max() < 1e-4


@pytest.mark.parametrize("fisheye", [False, True])
def test_distortion_is_taken_out(fisheye: bool) -> None:
    lens = FISHEYE if fisheye else BENT
    cameras = tuple(
        camera_at(f"c{k}", place, distortion=lens, fisheye=fisheye)
        for k, place in enumerate(([2.5, 0.0, 0.5], [0.0, 2.5, 0.2], [-2.0, -1.5, 1.0]))
    )
    points = cloud(1)
    np.testing.assert_allclose(found(cameras, views(cameras, points)).points_m, points, atol=1e-7)


@pytest.mark.parametrize("bad", range(4))
@pytest.mark.parametrize("off_px", [60.0, 300.0])
def test_one_bad_camera_of_four_is_found(bad: int, off_px: float) -> None:
    """Each landmark has its own bad camera; its view is left out, the others give the point."""
    random = np.random.default_rng(bad)
    cameras, points = ring(4), cloud(2)
    pixels = views(cameras, points) + random.normal(size=(4, LANDMARKS, 2))
    wrong = (np.arange(LANDMARKS) + bad) % 4
    angle = random.uniform(0.0, 2.0 * math.pi, LANDMARKS)
    pixels[wrong, np.arange(LANDMARKS)] += off_px * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    result = found(cameras, pixels, inlier_px=15.0)
    assert np.linalg.norm(result.points_m - points, axis=1).max() < 0.03
    assert not result.inliers[wrong, np.arange(LANDMARKS)].any()
    assert result.inliers.sum() == 3 * LANDMARKS


def test_a_camera_that_sees_somebody_else_is_left_out_altogether() -> None:
    cameras, points = ring(4), cloud(3)
    pixels = views(cameras, points)
    pixels[2] = views(cameras, points + np.array([0.8, -0.6, 0.0]))[2]
    result = found(cameras, pixels)
    np.testing.assert_allclose(result.points_m, points, atol=1e-6)
    assert not result.inliers[2].any()


def test_views_that_are_missing_do_not_matter() -> None:
    cameras, points = ring(4), cloud(4)
    pixels = views(cameras, points)
    pixels[0, :4] = np.nan
    pixels[1, 2:6, 1] = np.nan
    weights = np.ones((4, LANDMARKS))
    weights[3, 8] = 0.0
    result = found(cameras, pixels, weights)
    np.testing.assert_allclose(result.points_m, points, atol=1e-7)
    np.testing.assert_array_equal(result.inliers, np.isfinite(pixels).all(-1) & (weights > 0.0))


@pytest.mark.parametrize("seen_by", [0, 1])
def test_fewer_than_two_views_give_nothing(seen_by: int) -> None:
    cameras, points = ring(4), cloud(5)
    pixels = views(cameras, points)
    pixels[seen_by:, 3] = np.nan
    result = found(cameras, pixels)
    for values in (result.points_m[3], result.errors_px[3], result.sigmas_m[3]):
        assert np.isnan(values).all()
    assert not result.inliers[:, 3].any()
    np.testing.assert_allclose(np.delete(result.points_m, 3, 0), np.delete(points, 3, 0), atol=1e-7)


def test_pixels_that_cannot_be_give_nothing() -> None:
    """Infinite and absurd pixels are as good as none."""
    cameras, points = ring(4), cloud(6)
    pixels = views(cameras, points)
    pixels[0, 0], pixels[1, 1], pixels[2, 2] = np.inf, 1e30, -1e9
    result = found(cameras, pixels)
    np.testing.assert_allclose(result.points_m, points, atol=1e-6)


def test_parallel_rays_propose_nothing() -> None:
    """Two cameras side by side see somebody far away under the same angle."""
    cameras = (camera_at("a", [10.0, 0.0, 0.0]), camera_at("b", [10.0, 0.1, 0.0], [0.0, 0.1, 0.0]))
    points = cloud(7)
    random = np.random.default_rng(7)
    pixels = views(cameras, points) + random.normal(size=(2, LANDMARKS, 2))
    assert np.isnan(found(cameras, pixels).points_m).all()
    assert np.isfinite(found(cameras, pixels, min_parallax_rad=1e-4).points_m).any()
    same = (cameras[0], cameras[0])
    assert np.isnan(found(same, views(same, points), min_parallax_rad=0.0).points_m).all()


def test_opposite_cameras_agree_on_nothing_between_them() -> None:
    """On the line between two cameras that face each other there is no depth."""
    cameras = (camera_at("a", [3.0, 0.0, 0.0]), camera_at("b", [-3.0, 0.0, 0.0]))
    points = np.array([[0.4, 0.0, 0.0]])
    assert np.isnan(found(cameras, views(cameras, points)).points_m).all()


def test_views_that_contradict_each_other_give_nothing() -> None:
    cameras = (ring(4)[0], SIDE)
    pixels = views(cameras, cloud(8))
    pixels[1, :, 1] += 200.0
    result = found(cameras, pixels)
    assert np.isnan(result.points_m).all()
    assert not result.inliers.any()


def test_weights_say_whom_to_believe() -> None:
    """Of views that all agree roughly, a trusted one draws the point; a view of weight 0 does not count at all."""
    cameras, points = ring(4), cloud(9)
    pixels = views(cameras, points)
    pixels[0] += 8.0
    errors = []
    for weight in (1.0, 0.1, 0.0):
        weights = np.ones((4, LANDMARKS))
        weights[0] = weight
        errors.append(float(np.linalg.norm(found(cameras, pixels, weights).points_m - points, axis=1).mean()))
    assert errors[0] > 2.0 * errors[1] > errors[2]
    assert errors[2] < 1e-6


@pytest.mark.parametrize("noise_px", [2.0, 5.0])
@pytest.mark.parametrize("count", [2, 4])
def test_sigma_is_the_spread_that_noise_makes(noise_px: float, count: int) -> None:
    """Monte Carlo: the worst axis' spread over many noisy views, against the mean of what is told."""
    random = np.random.default_rng(10)
    cameras = ring(4) if count == 4 else (ring(4)[0], SIDE)
    points = cloud(10, 6)
    clean = views(cameras, points)
    results = [found(cameras, clean + noise_px * random.normal(size=clean.shape), inlier_px=60.0) for _ in range(200)]
    drawn = np.stack([result.points_m for result in results])
    covariance = np.stack([np.cov(drawn[:, k].T) for k in range(len(points))])
    worst = np.sqrt(np.linalg.eigvalsh(covariance)[:, -1])
    told = np.stack([result.sigmas_m for result in results]).mean(axis=0)
    # What is told comes from the residuals, two numbers a view; a point of two views fits its noise partly.
    assert (told > 0.5 * worst).all(), told / worst
    assert (told < 2.5 * worst).all(), told / worst


def test_sigma_is_at_least_that_of_one_pixel() -> None:
    cameras, points = ring(4), cloud(11)
    result = found(cameras, views(cameras, points))
    distance = np.linalg.norm(points - cameras[0].centre_world_m, axis=1)
    assert (result.sigmas_m > 0.3 * distance / cameras[0].matrix[0, 0]).all()
    assert (result.sigmas_m < 3.0 * distance / cameras[0].matrix[0, 0]).all()
