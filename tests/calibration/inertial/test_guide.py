"""The guide waits for what it asks for, says what is missing, and ends with a calibration."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from calibration.inertial.guide import GUIDED_STEPS, Guided, GuideParams, intervals_of
from calibration.inertial.practice import Practice, exchanged, practise
from calibration.inertial.recording import NS_PER_S, gather
from calibration.inertial.solve import calibrate
from calibration.tables import CalibrationError
from fusion.maths import quaternion
from fusion.records import Annotation, Guide, InertialSamples

SITES = ("pelvis", "left_forearm", "right_forearm", "left_lower_leg", "right_lower_leg")


@cache
def played() -> Practice:
    return practise(SITES, 1)


def followed(guided: Guided, records: Iterable[InertialSamples]) -> tuple[list[Guide], list[Annotation]]:
    guides: list[Guide] = []
    notes: list[Annotation] = []
    for record in records:
        for shown in guided.step(record):
            shown.validate()
            if isinstance(shown, Guide):
                guides.append(shown)
            elif isinstance(shown, Annotation):
                notes.append(shown)
    return guides, notes


def until(records: Iterable[InertialSamples], end_s: float) -> list[InertialSamples]:
    return [record for record in records if record.measured_ns <= end_s * NS_PER_S]


def test_a_wearer_who_does_what_is_asked_is_calibrated() -> None:
    guided = Guided()
    guides, _ = followed(guided, played().records)
    assert guided.step_name == "done"
    assert guided.result is not None
    assert guided.result.accepted
    steps = list(dict.fromkeys((guide.number, guide.step) for guide in guides))
    assert steps == [(1, "waiting"), (1, "n_pose"), (2, "t_pose"), (3, "n_pose"), (4, "walk"), (4, "done")]
    for step in ("n_pose", "walk"):
        values = [guide.progress for guide in guides if guide.step == step and guide.number in (1, 4)]
        assert 0.0 == min(values) < max(values) <= 1.0
    assert guides[-1].progress == 1.0
    assert (guides[-1].quality_rad < math.radians(15.0)).all()
    assert np.isnan(guides[0].quality_rad).all()
    assert all(guide.instruction for guide in guides if guide.step in GUIDED_STEPS)


def test_what_it_notes_calibrates_a_recording_alike() -> None:
    guided = Guided()
    _, notes = followed(guided, played().records)
    assert guided.result is not None
    again = calibrate(gather(played().records), intervals_of(notes))
    for one, other in zip(guided.result.sensors, again.sensors, strict=True):
        apart = quaternion.angle_between(one.q_segment_from_sensor, other.q_segment_from_sensor)
        assert float(apart) < math.radians(0.5)


def test_of_several_calibrations_in_a_recording_the_last_counts() -> None:
    _, notes = followed(Guided(), played().records)
    later = [replace(note, text=note.text.replace("walk", "t_pose")) for note in notes]
    assert intervals_of([*notes, *later]) == intervals_of(later)
    assert intervals_of([replace(notes[0], text="somebody came in")]) == []


def test_who_does_not_raise_the_arms_gets_no_further() -> None:
    first = until(played().records, 3.0)
    later_ns = first[-1].measured_ns
    still = [
        replace(
            record,
            measured_ns=record.measured_ns + k * later_ns,
            received_ns=record.received_ns + k * later_ns,
            times_ns=record.times_ns + k * later_ns,
        )
        for k in range(4)
        for record in first
    ]
    guided = Guided()
    guides, _ = followed(guided, still)
    assert guided.step_name == "t_pose"
    assert guides[-1].message == "the arms have not moved there yet"


def test_who_moves_is_named_and_the_pose_begins_anew() -> None:
    def shaken(record: InertialSamples) -> InertialSamples:
        if not 2.0 < record.measured_ns / NS_PER_S < 2.6:
            return record
        rate = record.angular_rate_rad_s.copy()
        rate[:, record.sensors.index("pelvis")] += 1.0
        return replace(record, angular_rate_rad_s=rate)

    guides, _ = followed(Guided(), [shaken(record) for record in until(played().records, 2.9)])
    assert "pelvis moves" in {guide.message for guide in guides}
    moving = next(guide for guide in guides if guide.message == "pelvis moves")
    assert moving.progress == 0.0
    assert moving.activity[moving.sensors.index("pelvis")] > 1.0
    assert moving.activity[moving.sensors.index("left_forearm")] < 1.0
    assert guides[-1].step == "n_pose"


def test_a_sensor_of_the_profile_that_is_silent_is_waited_for() -> None:
    guided = Guided(expected=("pelvis", "head"))
    guides, notes = followed(guided, until(played().records, 5.0))
    assert guided.step_name == "waiting"
    assert guides[-1].message == "waiting for head"
    assert not notes


def test_a_sensor_that_falls_silent_is_named() -> None:
    def silent(record: InertialSamples) -> InertialSamples:
        if record.measured_ns < 1.5 * NS_PER_S:
            return record
        force = record.specific_force_m_s2.copy()
        force[:, record.sensors.index("left_forearm")] = np.nan
        return replace(record, specific_force_m_s2=force)

    guided = Guided()
    guides, _ = followed(guided, [silent(record) for record in until(played().records, 3.0)])
    assert "nothing is heard of left_forearm" in guides[-1].message
    assert np.isnan(guides[-1].activity[guides[-1].sensors.index("left_forearm")])
    assert guided.step_name == "n_pose"


def test_exchanged_sensors_end_it_with_what_to_do() -> None:
    guided = Guided()
    guides, _ = followed(guided, exchanged(played(), "left_lower_leg", "right_lower_leg").records)
    assert guides[-1].step == guided.step_name == "refused"
    assert "left_lower_leg and right_lower_leg look exchanged" in guides[-1].message


def test_steps_that_cannot_be_guided_are_refused() -> None:
    with pytest.raises(CalibrationError, match="dance: cannot be guided; allowed: n_pose, t_pose, walk"):
        GuideParams(steps=("n_pose", "dance"))
    with pytest.raises(CalibrationError, match="none: cannot be guided"):
        GuideParams(steps=())


def test_sensors_in_places_that_there_are_not_are_counted_and_do_no_harm() -> None:
    guided = Guided()
    good = played().records
    strange = [replace(record, sensors=("elbow", *record.sensors[1:])) for record in good[:3]]
    double = [replace(record, sensors=("head", *record.sensors[1:])) for record in good[:2]]
    followed(guided, [good[0], *strange, *double])
    assert guided.refused["a sensor that is on no segment: 'elbow'"] == 3
    assert sum(guided.refused.values()) == 5
    assert any(reason.startswith("a second sensor on ") for reason in guided.refused)
    followed(guided, good[1:])
    assert guided.step_name == "done"


def test_names_from_the_network_fill_no_memory() -> None:
    guided = Guided()
    record = played().records[0]
    for number in range(1000):
        guided.step(replace(record, sensors=(f"s{number}", *record.sensors[1:])))
    assert sum(guided.refused.values()) == 1000
    assert len(guided.refused) <= 21


def test_readings_that_cannot_be_are_as_if_missing() -> None:
    def broken(record: InertialSamples) -> InertialSamples:
        if record.measured_ns // 10**7 % 40:
            return record
        force = record.specific_force_m_s2.copy()
        force[:, 0] = 1e30
        return replace(record, specific_force_m_s2=force)

    guided = Guided()
    followed(guided, [broken(record) for record in played().records])
    assert guided.step_name == "done"
