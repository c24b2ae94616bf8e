"""Radar records as dots and lines: places, sizes, colours, bones."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import viewer_lab as lab
from hypothesis import given
from hypothesis import strategies as st

from fusion.body.catalog import landmark_set, mirror_order
from fusion.maths import quaternion
from fusion.rig import RadarMount
from viz.models import colours
from viz.models.radar_shapes import (
    ARROW_S,
    arrow_ends,
    bones_of,
    in_world,
    joint_dots,
    joint_lines,
    radar_dots,
    track_lines,
)

MOUNT = lab.lab(0).radars[0]
angle = st.floats(-3.0, 3.0)


def turned(yaw: float, pitch: float) -> RadarMount:
    rotation = quaternion.to_matrix(quaternion.from_rotvec(np.array([pitch, 0.0, yaw])))
    return RadarMount(name="radar1", r_world_from_radar=rotation, position_world_m=np.array([1.0, -2.0, 1.5]))


@given(angle, angle)
def test_a_place_in_the_world_keeps_its_distance_and_its_direction_from_the_radar(yaw: float, pitch: float) -> None:
    mount = turned(yaw, pitch)
    places = np.array([[0.0, 3.0, 0.0], [1.0, 2.0, -0.5]])
    world = in_world(places, mount)
    back = (world - mount.position_world_m) @ mount.r_world_from_radar
    np.testing.assert_allclose(back, places, atol=1e-5)
    np.testing.assert_allclose(world[0], mount.position_world_m + 3.0 * mount.r_world_from_radar[:, 1], atol=1e-5)


@given(st.lists(st.floats(0.0, 4.0), min_size=2, max_size=8).map(sorted))
def test_colours_go_apart_from_the_neutral_one_with_speed_to_either_side(speeds: list[float]) -> None:
    away = colours.doppler_colours(np.array(speeds))
    near = colours.doppler_colours(-np.array(speeds))
    assert (np.diff(away[:, 0]) >= -1e-6).all()
    assert (np.diff(away[:, 2]) <= 1e-6).all()
    assert (np.diff(near[:, 2]) >= -1e-6).all()
    assert (np.diff(near[:, 0]) <= 1e-6).all()


def test_still_and_unknown_points_are_neutral_and_fast_ones_have_the_full_colour() -> None:
    found = colours.doppler_colours(np.array([0.0, np.nan, -9.0, 9.0]))
    expected = [colours.STILL, colours.STILL, colours.APPROACHING, colours.RECEDING]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_stronger_signal_makes_a_larger_dot_and_an_unknown_one_a_middling() -> None:
    record = lab.radar_points(0.0, 4)
    dots = radar_dots(replace(record, snrs_db=np.array([5.0, 18.0, 40.0, np.nan], np.float32)), MOUNT, 0.7, 4)
    weak, middling, strong, unknown = dots.sizes_px
    assert weak < middling < strong
    assert weak < unknown < strong
    np.testing.assert_allclose(dots.colours[:, 3], 0.7, atol=1e-6)


def test_an_uncertain_joint_is_larger_and_fainter_where_the_persons_joint_is() -> None:
    record = lab.radar_joints(0.0)
    dots = joint_dots(record, 0, MOUNT, 1.0)
    np.testing.assert_allclose(dots.positions, in_world(record.positions_m[0], MOUNT))
    assert (np.diff(dots.sizes_px) > 0).all()
    assert (np.diff(dots.colours[:, 3]) < 0).all()
    unsure = joint_dots(replace(record, scores=np.array([0.4], np.float32)), 0, MOUNT, 1.0)
    assert (unsure.colours[:, 3] < dots.colours[:, 3]).all()


@pytest.mark.parametrize("name", ["kinect_19", "rt_pose_15"])
def test_bones_join_all_joints_without_a_ring_and_left_as_right(name: str) -> None:
    bones, count = bones_of(name), len(landmark_set(name).landmark_names)
    assert len(bones) == count - 1
    reached = {int(bones[0, 0])}
    for _ in range(count):
        reached |= {int(b) for a, b in bones if int(a) in reached}
    assert reached == set(range(count))
    mirror = mirror_order(name)
    assert {tuple(mirror[bone]) for bone in bones} == {tuple(bone) for bone in bones}


def test_the_shank_by_radar_runs_from_knee_to_ankle_and_other_sets_have_no_bones() -> None:
    record = lab.radar_joints(0.0, "rt_pose_15")
    names = landmark_set("rt_pose_15").landmark_names
    places = in_world(record.positions_m[0], MOUNT)
    shank = places[[names.index("left_knee"), names.index("left_ankle")]]
    ends = joint_lines(record, 0, MOUNT, 1.0, ellipsoids=False).ends
    assert any(np.array_equal(bone, shank) for bone in ends)
    assert not len(bones_of("coco_17"))


def test_ellipsoids_of_joints_lie_along_the_radars_axes() -> None:
    record = lab.radar_joints(0.0, mount=turned(math.pi / 2, 0.0))
    sigmas = np.tile(np.array([0.02, 0.2, 0.02], np.float32), (1, record.positions_m.shape[1], 1))
    record = replace(record, sigmas_m=sigmas, positions_m=np.zeros_like(record.positions_m))
    mount = turned(math.pi / 2, 0.0)
    ends = joint_lines(record, 0, mount, 1.0, ellipsoids=True).ends - mount.position_world_m
    half = np.abs(ends).max(axis=(0, 1))
    np.testing.assert_allclose(half, [0.4, 0.04, 0.04], rtol=0.05)  # the radar's forward is the world's -x


def test_a_body_stands_on_the_ellipse_of_its_extent_up_to_its_top() -> None:
    record = lab.radar_tracks(0.0, (0.0,))
    ends = track_lines(record, 0, 1.0, dashed=False, ellipsoid=False).ends.astype(np.float64)
    place, extent = record.positions_m[0].astype(float), record.extents_m[0].astype(float)
    arrow = arrow_ends(np.array([place[0], place[1], 0.01]), record.velocities_m_s[0].astype(float))
    body = ends[: len(ends) - len(arrow)]
    shares = (body[..., :2] - place[:2]) / extent[:2]
    np.testing.assert_allclose((shares**2).sum(axis=2), 1.0, atol=1e-5)
    assert body[..., 2].max() == pytest.approx(place[2] + extent[2])
    assert body[..., 2].min() == pytest.approx(0.01)
    dashed = track_lines(record, 0, 1.0, dashed=True, ellipsoid=False).ends
    total = np.linalg.norm(body[:, 1] - body[:, 0], axis=1).sum()
    kept = np.linalg.norm(dashed[: -len(arrow), 1] - dashed[: -len(arrow), 0], axis=1).sum()
    assert kept == pytest.approx(total / 2, rel=0.02)


def test_the_ellipsoid_of_a_body_is_two_standard_deviations_of_its_place() -> None:
    record = lab.radar_tracks(0.0, (9.0,))
    plain = track_lines(record, 0, 1.0, dashed=True, ellipsoid=False).ends
    ends = track_lines(record, 0, 1.0, dashed=True, ellipsoid=True).ends[len(plain) :]
    half = np.abs(ends - record.positions_m[0]).max(axis=(0, 1))
    np.testing.assert_allclose(half, [0.2, 0.2, 0.4], rtol=0.02)


@given(st.floats(-math.pi, math.pi), st.floats(0.2, 3.0), st.floats(-1.0, 1.0))
def test_an_arrow_ends_where_the_body_will_be_and_its_barbs_behind(heading: float, speed: float, up: float) -> None:
    foot = np.array([1.0, 2.0, 0.01])
    velocity = np.array([speed * math.cos(heading), speed * math.sin(heading), up])
    shaft, *barbs = arrow_ends(foot, velocity)
    tip = foot + np.array([*velocity[:2], 0.0]) * ARROW_S
    np.testing.assert_allclose(shaft, [foot, tip])
    for barb in barbs:
        np.testing.assert_allclose(barb[0], tip)
        assert (barb[1] - tip) @ (tip - foot) < 0.0


@pytest.mark.parametrize("velocity", [[0.0, 0.0, 0.0], [0.05, 0.0, 5.0], [math.nan, 0.0, 0.0]])
def test_who_stands_has_no_arrow(velocity: list[float]) -> None:
    assert not len(arrow_ends(np.zeros(3), np.array(velocity)))
