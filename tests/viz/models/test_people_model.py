"""Skeletons of several answers: one is drawn, the others are ghosts at most, and nothing is mixed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import viewer_lab as lab

from fusion.records import People, StreamEnd
from viz.models import colours
from viz.models.options import ANSWERS, SWITCHES, ViewOptions
from viz.models.people import Shown
from viz.models.scene import SceneModel
from viz.models.skeleton import MASS_RING_M

NS = lab.NS
SHIFTS_M = {"people": 0.0, "smoothed": 0.5, "predicted": 1.0}
SHIFTS_S = {"people": 0.0, "smoothed": -0.2, "predicted": 0.1}


def answer(name: str, time_s: float, **kwargs: object) -> People:
    """What a node publishes at a time; each answer stands at a place of its own, so that mixing shows."""
    record = lab.people(time_s + SHIFTS_S[name], **kwargs)  # type: ignore[arg-type]
    shift = np.array([SHIFTS_M[name], 0.0, 0.0], np.float32)
    return replace(record, positions_m=record.positions_m + shift, centre_of_mass_m=record.centre_of_mass_m + shift)


def fed(answers: tuple[str, ...] = ANSWERS, seconds: float = 1.0, **kwargs: object) -> SceneModel:
    model = SceneModel(lab.lab())
    for step in range(round(seconds * 30)):
        time_s = 1.0 + step / 30
        for name in answers:
            model.update(
                f"fusion/{name}", answer(name, time_s, **kwargs), round(time_s * NS), round(time_s * NS) - 1000
            )
    return model


@pytest.mark.parametrize("name", ANSWERS)
def test_only_the_chosen_answer_is_drawn(name: str) -> None:
    model = fed()
    options = ViewOptions(answer=name, ellipsoids=True, trails=True, centre_of_mass=True)
    drawing = model.scene(2 * NS, options)
    assert drawing.people == 1
    newest = answer(name, 1.0 + 29 / 30)
    np.testing.assert_array_equal(drawing.joints.positions, newest.positions_m[0])
    alone = fed((name,)).scene(2 * NS, options)
    np.testing.assert_array_equal(drawing.bones.ends, alone.bones.ends)
    np.testing.assert_array_equal(drawing.thin.ends, alone.thin.ends)
    np.testing.assert_array_equal(drawing.marks.positions, alone.marks.positions)
    assert drawing.centre_m == pytest.approx((SHIFTS_M[name], 0.0), abs=0.2)


def test_people_are_what_is_drawn_unless_something_else_is_chosen() -> None:
    assert fed().scene(2 * NS, ViewOptions()).shown == (Shown("people", 0.0),)


@pytest.mark.parametrize("name", ANSWERS)
def test_only_the_chosen_answer_is_projected_into_the_pictures(name: str) -> None:
    both, alone = fed(), fed((name,))
    options = ViewOptions(answer=name)
    for mixed, single in zip(both.panels(options), alone.panels(options), strict=True):
        assert len(single.reprojection.ends)
        np.testing.assert_array_equal(mixed.reprojection.ends, single.reprojection.ends)


def test_an_answer_that_nobody_publishes_draws_nothing() -> None:
    drawing = fed(("people",)).scene(2 * NS, ViewOptions(answer="smoothed"))
    assert drawing.people == 0
    assert not len(drawing.bones.ends)


def test_ghosts_are_the_other_answers_as_thin_lines_in_their_own_colours() -> None:
    model = fed()
    drawing = model.scene(2 * NS, ViewOptions(answer="smoothed", ghosts=True))
    assert [(shown.answer, round(shown.offset_s, 6)) for shown in drawing.shown] == [
        ("smoothed", -0.2),
        ("people", 0.0),
        ("predicted", 0.1),
    ]
    for name in ("people", "predicted"):
        of_it = np.abs(drawing.thin.colours[:, :3] - np.array(colours.GHOSTS[name], np.float32)).max(axis=1) < 1e-6
        bones = model.scene(2 * NS, ViewOptions(answer=name)).bones.ends
        np.testing.assert_array_equal(drawing.thin.ends[of_it], bones)
    assert len(drawing.thin.ends) == 2 * len(drawing.bones.ends)
    assert drawing.people == 1


def test_ghosts_of_a_node_that_has_gone_go_too_and_those_of_one_that_has_ended_stay() -> None:
    model, options = fed(), ViewOptions(ghosts=True)
    assert not len(model.scene(60 * NS, options).thin.ends)
    model.update("fusion/end", StreamEnd(measured_ns=NS, received_ns=NS), NS)
    assert len(model.scene(60 * NS, options).thin.ends)


def test_latency_rate_and_session_time_are_those_of_people_alone() -> None:
    status = fed().status(2 * NS)
    assert status.people_rate_hz == pytest.approx(30.0, rel=1e-6)
    assert status.latency.count == 30
    assert status.session_s == pytest.approx(29 / 30)


def test_the_status_counts_the_people_of_the_answer_that_is_drawn() -> None:
    model = fed(("people",))
    model.update("fusion/smoothed", answer("smoothed", 2.0, count=3), 2 * NS)
    assert [model.status(2 * NS, name).people for name in ANSWERS] == [1, 3, 0]


def test_skeletons_on_a_stream_of_another_name_are_counted_and_not_drawn() -> None:
    model = SceneModel()
    model.update("fusion/guesses", lab.people(0.0), 0)
    assert model.status(0).refused == 1
    assert all(model.scene(0, ViewOptions(answer=name, ghosts=True)).people == 0 for name in ANSWERS)
    assert model.people_model.answers() == frozenset()


def test_people_of_one_id_from_two_nodes_have_their_own_trails() -> None:
    model = SceneModel()
    for step in range(30):
        for node, shift_m in (("left", 0.0), ("right", 5.0)):
            record = lab.people(step / 30)
            moved = replace(record, positions_m=record.positions_m + np.array([shift_m, 0, 0], np.float32))
            model.update(f"{node}/people", moved, step * NS // 30)
    ends = model.scene(NS, ViewOptions(trails=True)).thin.ends
    assert np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).max() < 0.3


def test_the_centre_of_mass_is_marked_and_stands_on_the_floor_below_it() -> None:
    model = fed()
    off, on = (model.scene(2 * NS, ViewOptions(centre_of_mass=switch)) for switch in (False, True))
    assert not len(off.marks.positions)
    centre = answer("people", 1.0 + 29 / 30).centre_of_mass_m[0]
    np.testing.assert_array_equal(on.marks.positions, np.tile(centre, (len(on.marks.positions), 1)))
    places = on.thin.ends.reshape(-1, 3)
    assert 0.0 < places[:, 2].min() < 0.02
    on_floor = places[places[:, 2] < 0.02]
    np.testing.assert_allclose(on_floor[:, :2].mean(axis=0), centre[:2], atol=MASS_RING_M / 10)
    plumb = places[places[:, 2] >= 0.02]
    np.testing.assert_allclose(plumb[:, :2], np.tile(centre[:2], (len(plumb), 1)), atol=1e-5)
    assert centre[2] - 0.1 < plumb[:, 2].max() <= centre[2]


def test_a_centre_of_mass_that_an_old_file_lacks_draws_nothing() -> None:
    record = replace(lab.people(0.0), centre_of_mass_m=np.full((1, 3), np.nan, np.float32))
    model = SceneModel()
    model.update("fusion/people", record, 0)
    drawing = model.scene(0, ViewOptions(centre_of_mass=True))
    assert not len(drawing.marks.positions)
    assert not len(drawing.thin.ends)
    assert drawing.people == 1


def test_switches_are_the_options_that_are_on_or_off() -> None:
    assert sorted(SWITCHES) == sorted(item.name for item in fields(ViewOptions) if isinstance(item.default, bool))
