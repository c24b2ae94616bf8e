"""The health table: what is late, lost or broken is marked, and nothing else."""

from __future__ import annotations

import math
from dataclasses import replace

import viewer_lab as lab

from fusion.records import Health
from viz.models.health import HealthModel, HealthParams, Level, Row, age_text, counters_text, rate_text

NS = lab.NS
IMAGE = {"out cam1/image": (30.0, 0.02, 0, 0)}


def only_row(report: Health, now_s: float = 0.0, published_s: float = 0.0) -> Row:
    model = HealthModel()
    model.add(report, round(published_s * NS))
    rows = model.rows(round(now_s * NS))
    assert len(rows) == 1
    return rows[0]


def test_a_healthy_stream_has_its_figures_and_no_mark() -> None:
    row = only_row(lab.health("cam1", IMAGE, counters={"step_ms": 1.25}))
    assert (row.node, row.state, row.topic, row.rate_hz, row.count) == ("cam1", "running", "cam1/image", 30.0, 1800)
    assert row.figures == "step_ms 1.25"
    assert row.node_level == row.age_level == row.drops_level == row.errors_level == Level.FINE


def test_the_age_goes_on_while_no_report_comes_and_marks_the_stream_then_the_node() -> None:
    report = lab.health("cam1", IMAGE)
    assert only_row(report, now_s=0.5).age_level == Level.FINE
    late = only_row(report, now_s=1.5)
    assert late.age_level == Level.WARNING
    assert late.state == "running"
    assert math.isclose(late.age_s, 1.52)
    silent = only_row(report, now_s=5.0)
    assert silent.state == "silent"
    assert silent.node_level == Level.FAULT


def test_a_stream_that_never_came_is_late_and_one_that_ended_is_not() -> None:
    never = lab.health("cam1", {"out cam1/image": (0.0, math.nan, 0, 0)})
    assert only_row(never).age_level == Level.WARNING
    model = HealthModel()
    model.add(lab.health("cam1", {"out cam1/image": (0.0, 9.0, 0, 0)}), 0)
    model.add_end("cam1/end")
    row = model.rows(0)[0]
    assert row.age_level == Level.FINE
    assert row.state == "ended"


def test_drops_are_marked_but_not_the_pictures_that_a_reader_skips() -> None:
    streams = {
        "out pose/landmarks": (30.0, 0.0, 0, 0),
        "in cam1/image": (30.0, 0.0, 300, 0),
        "in cam1/points": (30.0, 0.0, 2, 0),
        "in cam2/points": (30.0, 0.0, 0, 0),
    }
    model = HealthModel()
    model.add(lab.health("pose", streams), 0)
    levels = {row.topic: row.drops_level for row in model.rows(0)}
    assert levels == {"pose/landmarks": Level.FINE, "cam1/image": Level.FINE, "cam1/points": Level.WARNING}


def test_errors_and_failed_nodes_are_faults() -> None:
    row = only_row(lab.health("x", {"out x/points": (1.0, 0.0, 0, 3)}, state="failed", restarts=5))
    assert row.errors_level == row.node_level == Level.FAULT
    assert row.restarts == 5


def test_a_node_without_streams_has_a_row() -> None:
    report = lab.health("rec", {"in fusion/people": (100.0, 0.0, 0, 0)})
    row = only_row(report)
    assert (row.node, row.topic, row.direction) == ("rec", "", "")
    assert math.isnan(row.rate_hz)


def test_a_newer_report_takes_the_place_of_the_older() -> None:
    model = HealthModel()
    model.add(lab.health("cam1", IMAGE), 0)
    model.add(lab.health("cam1", {"out cam1/image": (12.0, 0.02, 0, 0)}), NS)
    assert [row.rate_hz for row in model.rows(NS)] == [12.0]


def test_nodes_and_rows_are_bounded_and_crooked_reports_refused() -> None:
    params = HealthParams()
    model = HealthModel(params)
    for number in range(1000):
        model.add(lab.health(f"n{number}", IMAGE), 0)
    assert len(model.rows(0)) == params.max_nodes
    assert model.state.refused == 1000 - params.max_nodes
    model = HealthModel(params)
    model.add(lab.health("n", {f"out n{k}/image": (1.0, 0.0, 0, 0) for k in range(500)}), 0)
    assert len(model.rows(0)) == params.max_streams
    report = lab.health("crooked", IMAGE)
    model.add(replace(report, directions=()), 0)
    assert model.state.refused == 1


def test_texts() -> None:
    assert [rate_text(value) for value in (math.nan, 0.0, 29.97, 119.6)] == ["–", "0.0", "30.0", "120"]
    assert [age_text(value) for value in (math.nan, 0.0054, 2.34, 600.0)] == ["–", "5 ms", "2.3 s", "10 min"]
    assert counters_text({"a": 23123.0, "b": 1.23456, "c": 1.0}, 2) == "a 23123  ·  b 1.235"


def test_a_source_that_understates_its_errors_is_named_in_words_before_the_figures() -> None:
    counters = {"births": 2.0, "understated/cam2": 3.04, "understated/imu": 5.0}
    model = HealthModel()
    model.add(lab.health("fusion", {"out fusion/people": (30.0, 0.0, 0, 0)}, counters=counters), 0)
    (row,) = model.rows(0)
    words = ["cam2 errs 3.0 times more than it claims", "imu errs 5.0 times more than it claims"]
    assert row.figures == "  ·  ".join([*words, "births 2"])
    assert row.figures_level == Level.FAULT
    assert [item.source for item in model.understated()] == ["imu", "cam2"]
    model.add(lab.health("fusion", {"out fusion/people": (30.0, 0.0, 0, 0)}, counters={"births": 2.0}), NS)
    assert model.rows(NS)[0].figures_level == Level.FINE
    assert model.understated() == ()
