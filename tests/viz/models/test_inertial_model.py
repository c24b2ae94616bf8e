"""The table of inertial sensors: what their states say, in degrees and words, marked where it should worry."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import viewer_lab as lab

from viz.models.health import Level
from viz.models.inertial import InertialModel, InertialParams, SensorRow, mounting_text, sigma_text
from viz.models.scene import SceneModel

SENSORS = ("pelvis", "left_forearm")


def rows(now_s: float = 0.0, **changes: object) -> tuple[SensorRow, ...]:
    model = InertialModel()
    model.add("fusion/inertial", replace(lab.inertial(0.0, SENSORS), **changes), 0)  # type: ignore[arg-type]
    return model.rows(round(now_s * lab.NS))


def test_the_figures_are_the_records_in_degrees_and_words() -> None:
    pelvis, forearm = rows()
    assert (pelvis.node, pelvis.sensor, pelvis.rate_hz) == ("fusion", "pelvis", 100.0)
    assert (pelvis.motion, pelvis.field, forearm.motion, forearm.field) == ("at rest", "not used", "moves", "disturbed")
    assert pelvis.heading_sigma_deg == pytest.approx(3.2)
    assert forearm.mounting_deg == pytest.approx(20.0)
    assert forearm.mounting_sigma_deg == pytest.approx(2.0)


def test_a_disturbed_field_and_a_mounting_that_is_far_off_are_marked() -> None:
    pelvis, forearm = rows()
    assert (pelvis.field_level, pelvis.mounting_level) == (Level.FINE, Level.FINE)
    assert (forearm.field_level, forearm.mounting_level) == (Level.WARNING, Level.WARNING)
    calm = rows(magnetic_disturbed=np.zeros(2, np.uint8))[1]
    assert (calm.field, calm.field_level) == ("undisturbed", Level.FINE)
    none = np.zeros(2, np.uint8)
    early = rows(magnetic_known=none, magnetic_disturbed=none)[1]
    assert (early.field, early.field_level) == ("being learned", Level.FINE)


def test_a_sensor_that_is_not_settled_starts_even_if_it_rests() -> None:
    assert [row.motion for row in rows(settled=np.zeros(2, np.uint8))] == ["starts", "starts"]


def test_what_is_not_known_is_a_dash() -> None:
    none = np.full(2, np.nan, np.float32)
    row = rows(heading_sigma_rad=none, mounting_error_rad=np.full((2, 3), np.nan, np.float32), mounting_sigma_rad=none)
    assert sigma_text(row[0].heading_sigma_deg) == "–"
    assert mounting_text(row[0].mounting_deg, row[0].mounting_sigma_deg) == "–"
    assert row[0].mounting_level == Level.FINE
    assert [sigma_text(3.24), mounting_text(4.06, 2.0)] == ["± 3.2°", "4.1° ± 2.0°"]
    assert mounting_text(4.0, math.nan) == "4.0° –"


def test_an_old_report_is_not_shown() -> None:
    assert rows(now_s=InertialParams().gone_s - 0.1)
    assert not rows(now_s=InertialParams().gone_s + 0.1)


def test_systems_are_told_apart_and_bounded() -> None:
    params, model = InertialParams(), InertialModel()
    for number in range(100):
        model.add("fusion/inertial", lab.inertial(0.0, (f"sensor{number:03}",)), 0)
    assert len(model.rows(0)) == params.max_systems
    assert model.state.refused == 100 - params.max_systems
    model.add("fusion/inertial", lab.inertial(1.0, ("sensor000",)), lab.NS)
    assert model.state.refused == 100 - params.max_systems  # a known one goes on


def test_the_scene_takes_them_and_takes_no_time_from_them() -> None:
    model = SceneModel()
    model.update("fusion/inertial", lab.inertial(5.0, SENSORS), 0)
    assert [row.sensor for row in model.inertial(0)] == list(SENSORS)
    assert model.state.first_measured_ns == -1
    assert model.status(0).refused == 0
