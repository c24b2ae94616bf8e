"""The table of sources: an understated one is named in words and comes first."""

from __future__ import annotations

import math

import viewer_lab as lab

from viz.models.health import Level, Understated
from viz.models.honesty import HonestyModel, HonestyParams, SourceRow, ratio_text, share_text
from viz.models.scene import SceneModel

NS = lab.NS
SOURCES = {"cam1": (0.97, 12000, 40), "cam2": (3.1, 10000, 2500), "new": (5.0, 10, 0), "radar1": (0.4, 900, 0)}
NAMED = (Understated("fusion", "cam2", 3.1),)


def rows(now_s: float = 0.0, understated: tuple[Understated, ...] = NAMED) -> dict[str, SourceRow]:
    model = HonestyModel()
    model.add("fusion/innovations", lab.innovations(0.0, SOURCES), 0)
    return {row.source: row for row in model.rows(round(now_s * NS), understated)}


def test_the_figures_are_the_records() -> None:
    row = rows()["cam2"]
    assert (row.node, row.person, row.ratio, row.observations, row.gated) == ("fusion", 1, 3.1, 10000, 2500)
    assert math.isclose(row.normalised_square, 3.1**2)
    assert row.gated_share == 0.25


def test_a_source_that_its_node_calls_understated_comes_first_and_is_named_in_words() -> None:
    found = rows()
    assert next(iter(found)) == "cam2"
    assert found["cam2"].level == Level.FAULT
    assert found["cam2"].verdict == "cam2 errs 3.1 times more than it claims"
    assert found["cam2"].gated_level == Level.WARNING
    assert {row.level for name, row in found.items() if name != "cam2"} == {Level.FINE}


def test_the_judgement_is_the_nodes_and_concerns_its_own_sources_only() -> None:
    assert rows(understated=())["cam2"].level == Level.WARNING
    assert rows(understated=(Understated("other", "cam2", 3.1),))["cam2"].level == Level.WARNING


def test_few_observations_and_small_errors_are_no_fault() -> None:
    found = rows()
    assert found["new"].verdict == "too few observations to tell"
    assert found["radar1"].verdict == "errs less than it claims"
    assert found["cam1"].verdict == "errs about as much as it claims"


def test_a_source_that_a_person_was_never_seen_by_has_no_row() -> None:
    model = HonestyModel()
    model.add("fusion/innovations", lab.innovations(0.0, {"cam1": (math.nan, 0, 0)}), 0)
    assert model.rows(0) == ()


def test_an_old_report_is_not_shown() -> None:
    assert rows(now_s=HonestyParams().gone_s - 0.1)
    assert not rows(now_s=HonestyParams().gone_s + 0.1)


def test_nodes_are_bounded() -> None:
    params, model = HonestyParams(), HonestyModel()
    for number in range(100):
        model.add(f"n{number}/innovations", lab.innovations(0.0, SOURCES), 0)
    assert len(model.state.reports) == params.max_nodes
    assert model.state.refused == 100 - params.max_nodes
    assert len(model.rows(0)) <= params.max_rows


def test_records_and_health_meet_in_the_scene() -> None:
    model = SceneModel()
    model.update("fusion/innovations", lab.innovations(0.0, SOURCES), 0)
    report = lab.health("fusion", {"out fusion/people": (30.0, 0.0, 0, 0)}, counters={"understated/cam2": 3.1})
    model.update("@/health", report, 0)
    assert [item.words() for item in model.understated()] == ["cam2 errs 3.1 times more than it claims"]
    assert model.honesty(0)[0].level == Level.FAULT
    assert model.state.first_measured_ns == -1  # neither is a measurement


def test_texts() -> None:
    assert [ratio_text(value) for value in (0.974, math.nan)] == ["0.97 ×", "–"]
    assert [share_text(value) for value in (0.2512, math.nan)] == ["25.1 %", "–"]
