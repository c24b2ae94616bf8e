"""The panel of a guided calibration: the guide's words, who moves, who is silent, what came out badly."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import viewer_lab as lab

from viz.models.guide import GuideModel, GuideParams, GuideView
from viz.models.health import Level
from viz.models.scene import SceneModel

NS = lab.NS


def shown(now_s: float = 0.0, **changes: object) -> GuideView:
    model = GuideModel()
    model.add(replace(lab.guide(0.0), **changes), 0)  # type: ignore[arg-type]
    view = model.view(round(now_s * NS))
    assert view is not None
    return view


def test_before_the_first_guide_there_is_nothing_to_show() -> None:
    assert GuideModel().view(0) is None
    assert SceneModel().guide(0) is None


def test_words_and_progress_are_the_guide_s() -> None:
    view = shown()
    assert (view.title, view.instruction) == ("2 of 4: T-pose", "Raise the arms")
    assert (view.message, view.progress, view.level) == ("left_forearm moves", 0.25, Level.FINE)


def test_a_bar_is_half_full_at_the_bound_of_stillness() -> None:
    still, moving, silent = shown().bars
    assert (still.name, still.share, still.level) == ("pelvis", 0.25, Level.FINE)
    assert (moving.name, moving.share, moving.level) == ("left_forearm", 1.0, Level.WARNING)
    assert (silent.name, silent.share, silent.level, silent.text) == ("head", 0.0, Level.FAULT, "silent")


def test_at_the_end_the_quality_stands_at_each_sensor() -> None:
    view = shown(step="done", instruction="", quality_rad=np.radians([2.0, 12.0, math.nan]))
    assert view.title == "Calibrated"
    assert [(bar.text, bar.level) for bar in view.bars] == [
        ("± 2.0°", Level.FINE),
        ("± 12.0°", Level.WARNING),
        ("silent", Level.FAULT),
    ]
    assert shown(step="refused").level == Level.FAULT


def test_a_guide_that_falls_silent_is_said_to_be_unless_it_has_ended() -> None:
    late_s = GuideParams().gone_s + 3.0
    assert shown(late_s).message == "nothing heard of the guide for 8 s"
    assert shown(late_s).level == Level.WARNING
    assert shown(late_s, step="done", message="").message == ""


def test_sensors_are_bounded() -> None:
    many = {"sensors": tuple(map(str, range(500))), "activity": np.zeros(500), "quality_rad": np.zeros(500)}
    assert len(shown(**many).bars) == GuideParams().max_sensors


def test_a_guide_reaches_the_scene_and_is_no_measurement() -> None:
    model = SceneModel()
    model.update("guide/guide", lab.guide(0.0), 0)
    view = model.guide(0)
    assert view is not None
    assert view.title == "2 of 4: T-pose"
    assert model.state.first_measured_ns == -1
