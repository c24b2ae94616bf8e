"""What radars add to the scene: which records are drawn, for how long, how strongly, and that memory is bounded."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import viewer_lab as lab

from fusion.records import RadarTracks, StreamEnd
from viz.models import colours
from viz.models.options import RadarOptions, ViewOptions
from viz.models.radar import UNSEEN_OPACITY, RadarModel, RadarModelParams
from viz.models.scene import SceneDrawing, SceneModel

NS = lab.NS
MOUNTS = lab.lab(0).radars


def fed(tracks: RadarTracks | None = None) -> SceneModel:
    """A model that has seen one record of each kind at time 0."""
    model = SceneModel(lab.lab(0))
    model.update("radar1/points", lab.radar_points(0.0), 0)
    model.update("radar1/tracks", tracks or lab.radar_tracks(0.0), 0)
    model.update("radar1/joints", lab.radar_joints(0.0), 0)
    return model


def drawn(tracks: RadarTracks, time_s: float = 0.0) -> SceneDrawing:
    options = ViewOptions(radar=RadarOptions(points=False, joints=False))
    return fed(tracks).scene(round(time_s * NS), options)


def strongest(tracks: RadarTracks, time_s: float = 0.0) -> float:
    return float(drawn(tracks, time_s).thin.colours[:, 3].max())


@pytest.mark.parametrize("kind", ["points", "tracks", "joints"])
def test_each_kind_is_drawn_alone_when_the_others_are_switched_off(kind: str) -> None:
    off = {"points": False, "tracks": False, "joints": False, kind: True}
    drawing = fed().scene(0, ViewOptions(radar=RadarOptions(**off)))
    assert drawing.radar_kinds == {kind}
    assert bool(len(drawing.points.positions)) == (kind != "tracks")
    assert bool(len(drawing.thin.ends)) == (kind != "points")
    assert bool(drawing.labels) == (kind == "tracks")


def test_nothing_is_said_of_kinds_that_have_not_come() -> None:
    model = SceneModel(lab.lab(0))
    assert model.scene(0, ViewOptions()).radar_kinds == frozenset()
    model.update("radar1/points", lab.radar_points(0.0), 0)
    assert model.scene(0, ViewOptions()).radar_kinds == {"points"}


def test_points_are_placed_by_the_mount_coloured_by_doppler_and_fade() -> None:
    model = SceneModel(lab.lab())
    record = lab.radar_points(0.0)
    model.update("radar1/points", record, 0)
    points = model.scene(0, ViewOptions()).points
    np.testing.assert_allclose(points.positions, record.positions_m + np.array([0, -3, 1], np.float32), atol=1e-6)
    approaching = record.radial_velocities_m_s < -0.5
    assert (points.colours[approaching, 2] > points.colours[approaching, 0]).all()
    receding = record.radial_velocities_m_s > 0.5
    assert (points.colours[receding, 0] > points.colours[receding, 2]).all()
    assert model.scene(NS // 5, ViewOptions()).points.colours[0, 3] < 0.5
    assert not len(model.scene(NS, ViewOptions()).points.positions)


def test_a_track_is_strong_while_it_is_seen_weaker_while_it_is_held_and_faint_before_it_is_sure() -> None:
    seen, held, long_held, unsure = (
        strongest(lab.radar_tracks(0.0, (unseen_s,), (confirmed,)))
        for unseen_s, confirmed in ((0.0, 1), (6.0, 1), (300.0, 1), (0.0, 0))
    )
    assert seen == pytest.approx(1.0)
    assert seen > held > long_held == pytest.approx(UNSEEN_OPACITY)
    assert unsure < long_held


def test_the_label_tells_the_speed_or_for_how_long_a_body_is_still() -> None:
    record = lab.radar_tracks(0.0, (0.0, 4.2, 0.0), (1, 1, 0))
    labels = drawn(record).labels
    assert [label.text for label in labels] == ["track 1 · 0.6 m/s", "track 2 · still 4 s"]
    assert labels[0].colour == colours.track_colour(1)
    top = record.positions_m[0, 2] + record.extents_m[0, 2]
    assert labels[0].position_m[2] > top
    np.testing.assert_allclose(labels[1].position_m[:2], record.positions_m[1, :2])


def test_tracks_and_joints_grow_faint_and_go_with_age_but_stay_once_their_source_has_ended() -> None:
    model = fed()
    options = ViewOptions(radar=RadarOptions(points=False))
    fresh, stale, gone = (model.scene(round(time_s * NS), options) for time_s in (0.1, 2.0, 4.0))
    assert stale.thin.colours[:, 3].max() < 0.5 * fresh.thin.colours[:, 3].max()
    assert stale.points.colours[:, 3].max() < 0.5 * fresh.points.colours[:, 3].max()
    assert not len(gone.thin.ends)
    assert not len(gone.points.positions)
    assert not gone.labels
    model.update("radar1/end", StreamEnd(measured_ns=0, received_ns=0), NS)
    ended = model.scene(100 * NS, options)
    np.testing.assert_array_equal(ended.thin.colours, fresh.thin.colours)


def test_a_trail_is_where_the_body_has_been_on_the_floor_in_the_last_seconds() -> None:
    model = SceneModel(lab.lab(0))
    params = model.params.radar
    for step in range(200):
        model.update("radar1/tracks", lab.radar_tracks(step / 20), step * NS // 20)
    (trail,) = model.radar_model.state.tracks["radar1/tracks"].trails.values()
    seconds = (trail[-1][0] - trail[0][0]) / NS
    assert params.trail_s - 2 * params.trail_step_s <= seconds <= params.trail_s
    ends = model.scene(10 * NS, ViewOptions()).thin.ends
    on_the_way = np.abs(ends - np.array([0.0, -0.6 * 8.0, 0.01], np.float32)).max(axis=2) < 0.02
    assert on_the_way.any()
    model.update("radar1/tracks", lab.radar_tracks(1.0), 10 * NS)  # wound back
    (trail,) = model.radar_model.state.tracks["radar1/tracks"].trails.values()
    assert [time_ns for time_ns, _ in trail] == [NS]


def test_a_body_that_is_gone_leaves_no_trail_behind_for_longer_than_it_lasts() -> None:
    model = RadarModel(MOUNTS)
    model.add_tracks("t/tracks", lab.radar_tracks(0.0, (0.0, 0.0)), 0)
    one = lab.radar_tracks(10.0, (0.0,))
    model.add_tracks("t/tracks", one, 10 * NS)
    assert set(model.state.tracks["t/tracks"].trails) == {1}


def test_the_view_starts_at_confirmed_bodies_where_there_are_no_people() -> None:
    assert drawn(lab.radar_tracks(0.0, (0.0, 0.0, 0.0), (1, 0, 1))).centre_m == pytest.approx((1.2, 0.0))
    assert drawn(lab.radar_tracks(0.0, (0.0,), (0,))).centre_m is None
    model = fed()
    model.update("fusion/people", replace(lab.people(0.0)), 0)
    assert model.scene(0, ViewOptions()).centre_m == pytest.approx(tuple(lab.people(0.0).positions_m[0, 0, :2]))


def test_joints_of_two_radars_on_one_topic_stand_beside_each_other() -> None:
    other = replace(MOUNTS[0], name="radar2", position_world_m=np.array([0.0, 3.0, 1.0]))
    model = RadarModel((*MOUNTS, other))
    record = lab.radar_joints(0.0)
    for name in ("radar1", "radar2", "radar1"):
        model.add_joints("fusion/joints", replace(record, radar=name), 0)
    places = model.drawing(0, RadarOptions()).points.positions
    count = record.positions_m.shape[1]
    assert len(places) == 2 * count
    np.testing.assert_allclose(places[count:] - places[:count], np.tile([0.0, 6.0, 0.0], (count, 1)), atol=1e-5)


def test_records_that_cannot_be_placed_are_counted_and_not_drawn() -> None:
    model = SceneModel()
    model.update("radar1/points", lab.radar_points(0.0), 0)
    model.update("radar1/joints", lab.radar_joints(0.0), 0)
    assert model.status(0).refused == 2
    model = SceneModel(lab.lab(0))
    joints = lab.radar_joints(0.0)
    model.update("radar1/joints", replace(joints, landmark_set="nobody_knows"), 0)
    model.update("radar1/joints", replace(joints, landmark_set="rt_pose_15"), 0)
    assert model.status(0).refused == 2
    drawing = model.scene(0, ViewOptions())
    assert not len(drawing.points.positions)
    assert not len(drawing.thin.ends)


def test_numbers_that_are_none_draw_nothing_and_break_nothing() -> None:
    tracks, joints = lab.radar_tracks(0.0), lab.radar_joints(0.0)
    broken = {name: np.full_like(getattr(tracks, name), np.nan) for name in ("positions_m", "velocities_m_s")}
    broken |= {name: np.full_like(getattr(tracks, name), np.nan) for name in ("covariances", "extents_m", "unseen_s")}
    model = fed(replace(tracks, **broken))
    places = joints.positions_m.copy()
    places[0, 3] = np.nan
    nothing = {"sigmas_m": np.full_like(joints.sigmas_m, np.nan), "scores": np.full_like(joints.scores, np.nan)}
    model.update("radar1/joints", replace(joints, positions_m=places, **nothing), 0)
    drawing = model.scene(0, ViewOptions(ellipsoids=True, radar=RadarOptions(points=False)))
    assert len(drawing.points.positions) == places.shape[1] - 1
    for values in (drawing.points.positions, drawing.points.colours, drawing.points.sizes_px, drawing.thin.ends):
        assert np.isfinite(values).all()
    assert np.isfinite(drawing.thin.colours).all()
    assert all(np.isfinite(label.position_m).all() for label in drawing.labels)


def test_memory_is_bounded_under_a_flood() -> None:
    params = RadarModelParams()
    model = RadarModel(MOUNTS, params)
    tracks, joints = lab.radar_tracks(0.0, (0.0,) * 40), lab.radar_joints(0.0)
    for number in range(2000):
        topic = f"node{number % 100}"
        named = replace(tracks, ids=tracks.ids + 40 * number, measured_ns=number * 1000)
        model.add_tracks(f"{topic}/tracks", named, number)
        model.add_joints(f"{topic}/joints", joints, number)
        model.add_points("radar1/points", replace(lab.radar_points(0.0), frame=number), number)
    state = model.state
    assert len(state.tracks) == len(state.joints) == params.max_sources
    assert max(len(source.trails) for source in state.tracks.values()) <= params.max_tracks
    assert len(state.points["radar1"].frames) == params.frames_kept
    drawing = model.drawing(2000, RadarOptions())
    assert len(drawing.labels) <= params.max_sources * params.max_tracks
    assert math.isfinite(float(drawing.lines.ends.sum()))
