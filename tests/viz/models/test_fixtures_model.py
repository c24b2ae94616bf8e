"""What stands in the room: a radar's field of view, and how far the floor reaches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import viewer_lab as lab
from hypothesis import given
from hypothesis import strategies as st

from fusion.maths import quaternion
from fusion.rig import RadarMount, Rig
from viz.models.fixtures import RADAR_BODY_M, field_lines, fixtures, radar_lines


def radar(azimuth_rad: float = 1.0, elevation_rad: float = 0.35, range_m: float = 6.0, yaw: float = 0.4) -> RadarMount:
    return RadarMount(
        name="radar1",
        r_world_from_radar=quaternion.to_matrix(quaternion.from_rotvec(np.array([0.2, 0.0, yaw]))),
        position_world_m=np.array([1.0, -2.0, 1.5]),
        azimuth_fov_rad=azimuth_rad,
        elevation_fov_rad=elevation_rad,
        range_max_m=range_m,
    )


@given(st.floats(0.1, 1.5), st.floats(0.05, 1.2), st.floats(1.0, 20.0), st.floats(-3.0, 3.0))
def test_the_field_of_view_is_cut_off_at_range_azimuth_and_elevation_of_the_radar(
    azimuth_rad: float, elevation_rad: float, range_m: float, yaw: float
) -> None:
    mount = radar(azimuth_rad, elevation_rad, range_m, yaw)
    world = field_lines(mount).ends.reshape(-1, 3).astype(np.float64)
    x, y, z = ((world - mount.position_world_m) @ mount.r_world_from_radar).T
    distance = np.sqrt(x**2 + y**2 + z**2)
    edge = distance > 0.5 * range_m
    np.testing.assert_allclose(distance[edge], range_m, rtol=1e-5)
    np.testing.assert_allclose(distance[~edge], 0.0, atol=1e-5)
    for angle, limit in (
        (np.arctan2(x, y)[edge], azimuth_rad),
        (np.arcsin(np.clip(z / distance.clip(1e-9), -1, 1))[edge], elevation_rad),
    ):
        assert angle.max() == pytest.approx(limit, abs=1e-4)
        assert angle.min() == pytest.approx(-limit, abs=1e-4)


def test_the_radar_itself_faces_where_it_looks_and_shows_its_upper_side() -> None:
    mount = radar()
    local = (radar_lines(mount).ends.reshape(-1, 3) - mount.position_world_m) @ mount.r_world_from_radar
    np.testing.assert_allclose(local[:, 1], 0.0, atol=1e-6)
    assert local[:, 2].max() > RADAR_BODY_M > 0 > local[:, 2].min()


def test_fields_of_view_are_apart_from_what_is_always_drawn() -> None:
    drawing = fixtures(lab.lab())
    mount = lab.lab().radars[0]
    fixed = drawing.lines.ends.reshape(-1, 3)
    assert np.linalg.norm(fixed - mount.position_world_m, axis=1).max() < 2 * mount.range_max_m
    assert len(drawing.fields.ends)
    assert not len(fixtures(Rig(cameras=lab.lab().cameras)).fields.ends)


def test_there_is_floor_where_a_lone_radar_looks() -> None:
    level = RadarMount(name="r", r_world_from_radar=np.eye(3), position_world_m=np.array([0.0, 0.0, 1.0]))
    drawing = fixtures(Rig(radars=(level,)))
    x, y = drawing.floor_centre_m
    assert abs(x) <= drawing.half_floor_m
    assert y + drawing.half_floor_m >= 5.0
    assert y - drawing.half_floor_m <= 0.0
    assert math.isfinite(drawing.half_floor_m)
