"""The viewer's state: what is drawn for which records, and that its memory is bounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import viewer_lab as lab

from fusion.body import skeleton as body
from fusion.maths.camera import project
from fusion.records import Landmarks3D, StreamEnd
from viz.models import colours
from viz.models.feed import FRAME_MS, next_interval_ms
from viz.models.options import ViewOptions
from viz.models.scene import SceneModel, SceneParams
from viz.models.skeleton import BONES, TIPS, ellipsoid_lines, points_with_tips

NS = lab.NS
ALL_ON = ViewOptions(ellipsoids=True, trails=True, truth=True)


def fed(seconds: float = 1.0, **kwargs: object) -> SceneModel:
    """A model that has seen a person for a while at 30 Hz."""
    model = SceneModel(lab.lab())
    for step in range(round(seconds * 30)):
        time_s = step / 30
        model.update("fusion/people", lab.people(time_s, **kwargs), round(time_s * NS) + 5_000_000, 1)  # type: ignore[arg-type]
    return model


def test_every_joint_and_bone_of_every_person_is_drawn_in_the_persons_colour() -> None:
    drawing = fed(count=2).scene(NS, ViewOptions())
    assert drawing.people == 2
    assert drawing.joints.positions.shape == (2 * body.SEGMENTS, 3)
    assert drawing.bones.ends.shape == (2 * (body.SEGMENTS - 1 + len(TIPS)), 2, 3)
    first, second = drawing.joints.colours[0, :3], drawing.joints.colours[-1, :3]
    np.testing.assert_allclose(first, colours.person_colour(1), atol=1e-6)
    np.testing.assert_allclose(second, colours.person_colour(2), atol=1e-6)


def test_bones_join_what_the_skeleton_joins() -> None:
    record = lab.people(0.0)
    drawing = fed(1 / 30).scene(0, ViewOptions())
    for bone, (parent, child) in enumerate(BONES[: body.SEGMENTS - 1]):
        np.testing.assert_array_equal(drawing.bones.ends[bone], record.positions_m[0][[parent, child]])
        assert body.PARENTS[child] == parent


def test_the_top_of_the_head_is_as_high_as_the_reference_body_is_tall() -> None:
    positions, quaternions = lab.forward_kinematics(np.zeros(body.COORDINATES), body.REFERENCE_LENGTHS_M)
    points = points_with_tips(positions, quaternions, body.REFERENCE_LENGTHS_M)
    height_m = points[:, 2].max() - positions[:, 2].min()
    assert height_m == pytest.approx(body.REFERENCE_STATURE_M, abs=0.06)


def test_inferred_joints_and_the_bones_at_them_are_paler_and_smaller() -> None:
    drawing = fed(inferred=("left_hand", "left_forearm")).scene(NS, ViewOptions())
    hand, head = body.SEGMENT["left_hand"], body.SEGMENT["head"]
    assert drawing.joints.sizes_px[hand] < drawing.joints.sizes_px[head]
    assert drawing.joints.colours[hand, 3] < drawing.joints.colours[head, 3] == 1.0
    bone_of = {int(child): bone for bone, (_, child) in enumerate(BONES)}
    pale = drawing.bones.colours[:, 3] < 1.0
    tip = body.SEGMENTS + [t.segment for t in TIPS].index("left_hand")
    assert set(np.flatnonzero(pale)) == {bone_of[hand], bone_of[body.SEGMENT["left_forearm"]], bone_of[tip]}


def test_an_old_skeleton_fades_and_then_goes() -> None:
    model = fed()
    fresh, stale, gone = (model.scene(NS + round(wait_s * NS), ViewOptions()) for wait_s in (0.1, 2.0, 20.0))
    assert stale.bones.colours[:, 3].max() < fresh.bones.colours[:, 3].min() <= 1.0
    assert gone.people == 0
    assert not len(gone.bones.ends)


def test_the_last_skeleton_of_a_session_that_has_ended_stays() -> None:
    model = fed()
    model.update("fusion/end", StreamEnd(measured_ns=NS, received_ns=NS), NS)
    drawing = model.scene(100 * NS, ViewOptions())
    assert drawing.people == 1
    assert drawing.joints.colours[:, 3].min() == 1.0


def test_landmarks_in_the_world_are_drawn_without_those_not_seen() -> None:
    positions = np.ones((1, 4, 3), np.float32)
    positions[0, 2] = np.nan
    record = Landmarks3D(
        measured_ns=0,
        received_ns=0,
        source="depth",
        landmark_set="x",
        positions_m=positions,
        sigmas_m=np.ones((1, 4), np.float32),
    )
    model = SceneModel()
    model.update("depth/landmarks3d", record, 0)
    assert len(model.scene(0, ViewOptions()).points.positions) == 3


def test_ellipsoids_have_the_standard_deviations_as_half_axes() -> None:
    covariance = np.diag([0.04, 0.01, 0.0025])
    lines = ellipsoid_lines(np.zeros((1, 3)), covariance[None], colours.PEOPLE[0])
    np.testing.assert_allclose(np.abs(lines.ends).max(axis=(0, 1)), [0.4, 0.2, 0.1], rtol=0.02)


def test_covariances_that_are_none_draw_nothing() -> None:
    broken = np.stack([np.full((3, 3), np.nan), -np.eye(3)])
    lines = ellipsoid_lines(np.zeros((2, 3)), broken, colours.PEOPLE[0])
    assert np.isfinite(lines.ends).all()
    np.testing.assert_array_equal(lines.ends, 0.0)


def test_thin_lines_come_only_when_they_are_switched_on() -> None:
    model = fed()
    model.update("sim/truth", lab.truth(1.0), NS)
    assert not len(model.scene(NS, ViewOptions()).thin.ends)
    alone = [len(model.scene(NS, ViewOptions(**{name: True})).thin.ends) for name in ("ellipsoids", "trails", "truth")]
    assert min(alone) > 0
    assert len(model.scene(NS, ALL_ON).thin.ends) == sum(alone)


def test_latency_is_that_of_the_last_seconds_only() -> None:
    model = SceneModel()
    for step in range(200):
        latency_ns = 50_000_000 if step < 50 else 2_000_000
        model.update("fusion/people", lab.people(0.0), step * NS // 10, max(1, step * NS // 10 - latency_ns))
    status = model.status(20 * NS)
    assert status.latency.p50_ms == pytest.approx(2.0)
    assert status.latency.p99_ms == pytest.approx(2.0)
    assert status.people_rate_hz == pytest.approx(10.0)
    assert status.records == 200


def test_session_time_counts_from_the_first_measurement_whatever_the_clock_says() -> None:
    model = SceneModel()
    assert np.isnan(model.status(0).session_s)
    for time_s in (1000.0, 1000.5, 1002.25):
        model.update("fusion/people", lab.people(time_s), 5)
    assert model.status(5).session_s == pytest.approx(2.25)


def test_a_skeleton_of_another_body_is_counted_and_not_drawn() -> None:
    record = lab.people(0.0)
    jointed = ("positions_m", "q_world_from_segment", "velocities_m_s", "angular_rates_rad_s", "measured")
    cut = replace(record, **{name: getattr(record, name)[:, :5] for name in jointed})
    model = SceneModel(lab.lab())
    model.update("fusion/people", cut, 0)
    assert model.status(0).refused == 1
    assert model.scene(0, ViewOptions()).people == 0


def test_memory_is_bounded_under_a_flood() -> None:
    params = SceneParams()
    model = SceneModel(lab.lab(), params=params)
    person, points = lab.people(0.0), lab.radar_points(0.0)
    for number in range(5000):
        ids = np.array([number], np.int64)
        record = replace(person, ids=ids)
        model.update(f"node{number % 300}/people", record, number, 1)
        model.update("radar1/points", points, number)
        model.update(f"n{number}/end", StreamEnd(measured_ns=0, received_ns=0), number)
    state, sources = model.state, model.people_model.state.sources
    assert len(sources) <= params.people.max_topics
    assert max(len(source.history) for source in sources.values()) <= params.people.records_kept
    assert max(len(source.trails) for source in sources.values()) <= params.people.max_people
    tracks = model.angles_model.state.tracks
    assert len(tracks) <= params.angles.max_topics
    assert max(map(len, tracks.values())) <= params.angles.max_people
    assert len(model.radar_model.state.points["radar1"].frames) <= params.radar.frames_kept
    assert len(state.people_times_ns) <= 4096
    assert len(model.latency_model.state.values) <= params.latency.most
    assert len(model.health_model.state.ended) <= params.health.max_nodes


def test_trails_start_again_when_the_session_does() -> None:
    model = fed()
    model.update("fusion/people", lab.people(0.0), NS)
    assert not len(model.scene(NS, ViewOptions(trails=True)).thin.ends)


def test_cameras_stand_where_the_profile_says_and_look_along_their_axis() -> None:
    rig = lab.lab()
    drawing = SceneModel(rig).fixtures()
    camera = rig.cameras[0]
    edges = drawing.lines.ends[:10].astype(np.float64)
    np.testing.assert_allclose(edges[:4, 0], np.tile(camera.centre_world_m, (4, 1)), atol=1e-6)
    pinhole = replace(camera, distortion=np.zeros(5))
    corners, depth = project(edges[:4, 1], pinhole)
    expected = [[0, 0], [camera.width, 0], [camera.width, camera.height], [0, camera.height]]
    np.testing.assert_allclose(corners, expected, atol=0.05)
    assert (depth > 0).all()
    assert [label.text for label in drawing.labels] == ["cam1", "cam2", "cam3", "cam4", "radar1"]


@pytest.mark.parametrize("spent_ms", [0.0, 5.0, 20.0, 100.0])
def test_the_viewer_rests_at_least_as_long_as_it_draws(spent_ms: float) -> None:
    wait_ms = next_interval_ms(spent_ms)
    assert wait_ms >= spent_ms
    assert wait_ms + spent_ms >= FRAME_MS - 1.0
