"""The panel of angles: the right numbers under the right names, and curves that tell no untruth."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import viewer_lab as lab
from hypothesis import given
from hypothesis import strategies as st

from fusion.body.angles import ANGLE, ANGLE_NAMES
from fusion.records import People
from viz.models.angles import (
    JOINTS,
    NO_ANGLES,
    NO_JOINT,
    NOBODY,
    AnglesModel,
    AnglesParams,
    Curve,
    degrees_text,
    tick_range,
)
from viz.models.options import AngleOptions

KNEE = AngleOptions(joints=("knee",))


def posed(time_s: float, inferred: tuple[str, ...] = (), count: int = 1, **angles_deg: float) -> People:
    """A record whose angles are zero but for some."""
    record = lab.people(time_s, count, inferred)
    angles = np.zeros((count, len(ANGLE_NAMES)), np.float32)
    for name, degrees in angles_deg.items():
        angles[:, ANGLE[name]] = math.radians(degrees)
    return replace(record, angles_rad=angles)


def fed(records: list[People], topic: str = "fusion/people") -> AnglesModel:
    model = AnglesModel()
    for record in records:
        model.add(topic, record)
    return model


def curve(model: AnglesModel, side: str, joint: str = "knee", axes: int = 0) -> Curve:
    drawn = model.drawing("people", AngleOptions(joints=(joint,))).axes[axes]
    return next(curve for curve in drawn.curves if curve.side == side)


def test_every_angle_can_be_chosen_once() -> None:
    sides = {True: ("right_", "left_"), False: ("",)}
    offered = [side + angle for joint in JOINTS for angle in joint.angles for side in sides[joint.sided]]
    assert sorted(offered) == sorted(ANGLE_NAMES)


def test_both_sides_are_in_the_same_axes_in_degrees_over_the_last_ten_seconds() -> None:
    model = fed([posed(step / 30, right_knee_flexion=step / 10, left_knee_flexion=60.0) for step in range(450)])
    (axes,) = model.drawing("people", KNEE).axes
    assert axes.title == "knee flexion"
    assert axes.positive == "heel to the buttock"
    assert [curve.side for curve in axes.curves] == ["right", "left"]
    right, left = (curve.pieces[0] for curve in axes.curves)
    assert right.times_s[0] == pytest.approx(-10.0, abs=0.04)
    assert right.times_s[-1] == 0.0
    np.testing.assert_allclose(right.degrees, (449 + right.times_s * 30) / 10, atol=1e-4)
    np.testing.assert_allclose(left.degrees, 60.0, atol=1e-4)
    assert axes.low_deg <= 14.9 < 60.0 <= axes.high_deg


def test_the_numbers_are_the_newest_with_the_range_of_the_window() -> None:
    model = fed([posed(step / 10, right_knee_flexion=degrees) for step, degrees in enumerate((10.0, 40.0, 25.0))])
    right, left = model.drawing("people", KNEE).numbers
    assert (right.angle, right.side, left.side) == ("knee flexion", "right", "left")
    assert (right.degrees, right.least_deg, right.greatest_deg) == pytest.approx((25.0, 10.0, 40.0), abs=1e-4)
    assert left.degrees == 0.0
    assert "straight" in right.tip


def test_angles_of_the_middle_have_one_curve() -> None:
    drawing = fed([posed(0.0, trunk_bending=12.0)]).drawing("people", AngleOptions(joints=("trunk",)))
    assert [axes.title for axes in drawing.axes] == ["trunk flexion", "trunk bending", "trunk rotation"]
    assert [len(axes.curves) for axes in drawing.axes] == [1, 1, 1]
    assert [round(number.degrees, 3) for number in drawing.numbers] == [0.0, 12.0, 0.0]


def test_inferred_parts_of_a_curve_are_told_and_join_the_measured_ones() -> None:
    hidden = ("left_foot",)
    model = fed([posed(step / 10, hidden if 3 <= step < 6 else (), left_knee_flexion=step) for step in range(10)])
    pieces = curve(model, "left").pieces
    assert [piece.measured for piece in pieces] == [True, False, True]
    for before, after in pairwise(pieces):
        assert before.times_s[-1] == after.times_s[0]
    assert [piece.measured for piece in curve(model, "right").pieces] == [True]


def test_a_curve_is_broken_where_nothing_came_where_it_wraps_and_where_a_value_is_none() -> None:
    values = [(0.0, 170.0), (0.1, 178.0), (0.2, -178.0), (1.2, -170.0), (1.3, math.nan), (1.4, -160.0)]
    model = fed([posed(time_s, pelvis_rotation=degrees) for time_s, degrees in values])
    pieces = curve(model, "", "pelvis", axes=2).pieces
    times = [[round(float(time_s) + 1.4, 3) for time_s in piece.times_s] for piece in pieces]
    assert times == [[0.0, 0.1], [0.2], [1.2], [1.4]]


def test_a_person_who_is_not_seen_any_more_has_no_number_of_now() -> None:
    model = fed([posed(0.0, count=2, right_knee_flexion=20.0)])
    for step in range(1, 60):
        model.add("fusion/people", posed(step / 10))
    second = AngleOptions(joints=("knee",), person=("fusion", 2))
    right, _ = model.drawing("people", second).numbers
    assert math.isnan(right.degrees)
    assert right.greatest_deg == pytest.approx(20.0, abs=1e-4)
    assert model.drawing("people", second).axes[0].curves[0].pieces[0].times_s[0] == pytest.approx(-5.9)
    for step in range(60, 120):
        model.add("fusion/people", posed(step / 10))
    drawing = model.drawing("people", second)
    assert drawing.person == ("fusion", 1)
    assert drawing.people == ((("fusion", 1), "person 1"),)


def test_the_answers_are_kept_apart_and_nodes_are_named_where_there_are_several() -> None:
    model = fed([posed(0.0, right_knee_flexion=10.0)])
    model.add("fusion/smoothed", posed(0.0, right_knee_flexion=20.0))
    model.add("other/people", posed(0.0, right_knee_flexion=30.0))
    now = {name: model.drawing(name, KNEE).numbers[0].degrees for name in ("people", "smoothed")}
    assert now == pytest.approx({"people": 10.0, "smoothed": 20.0}, abs=1e-4)
    drawing = model.drawing("people", replace(KNEE, person=("other", 1)))
    assert [text for _, text in drawing.people] == ["person 1 of fusion", "person 1 of other"]
    assert drawing.numbers[0].degrees == pytest.approx(30.0, abs=1e-4)
    assert model.drawing("predicted", KNEE).message == NOBODY


def test_what_cannot_be_shown_is_said() -> None:
    old = replace(lab.people(0.0), angles_rad=np.zeros((1, 0), np.float32))
    assert fed([old]).drawing("people", KNEE).message == NO_ANGLES
    assert fed([posed(0.0)]).drawing("people", AngleOptions(joints=())).message == NO_JOINT
    assert AnglesModel().drawing("people", KNEE).message == NOBODY


def test_a_session_that_starts_again_starts_its_curves_again() -> None:
    model = fed([posed(5.0), posed(5.1), posed(0.0)])
    assert [len(piece.times_s) for piece in curve(model, "right").pieces] == [1]


def test_memory_is_bounded_in_time_and_people() -> None:
    params = AnglesParams()
    model = fed([posed(step / 1000, count=20) for step in range(2000)])
    tracks = model.state.tracks["fusion/people"]
    assert len(tracks) == params.max_people
    assert max(len(track.times_ns) for track in tracks.values()) <= 2.0 / params.step_s + 1


@given(st.lists(st.floats(-180, 180), min_size=1, max_size=5), st.floats(10, 60))
def test_an_axis_holds_its_values_and_ends_on_ticks(degrees: list[float], least: float) -> None:
    low, high, ticks = tick_range(np.array(degrees), least)
    assert low <= min(degrees)
    assert max(degrees) <= high
    assert high - low >= least
    assert (low, high) == (ticks[0], ticks[-1])
    assert len(ticks) <= 7


def test_texts() -> None:
    assert [degrees_text(value) for value in (12.34, -0.04, math.nan)] == ["12.3", "0.0", "–"]
