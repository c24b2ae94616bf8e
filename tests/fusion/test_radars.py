"""Radars among the people: whose track is whose, what each is told, and what it is good for in the dark."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion.pipeline import Pipeline
from fusion.radars import Radars
from fusion.records import Float64, Landmarks2D, RadarPoints, Record
from fusion.rig import RadarMount
from fusion.synthesis.actions import Walk
from fusion.synthesis.simulation import Lab
from tests.fusion.labs import Recording, between, errors_m, is_picture, recorded, run, wearer

DARK_S = (2.5, 4.5)
SECONDS = 4.5


@pytest.fixture(scope="module")
def walkers() -> Recording:
    """Two who walk in front of one radar, and four cameras."""
    people = [
        wearer(1, (Walk(2.0, 0.8),), start_m=(-1.2, -0.7), heading_rad=0.0),
        wearer(2, (Walk(2.0, 0.8),), start_m=(1.2, 0.9), heading_rad=np.pi),
    ]
    return recorded(replace(Lab(), imus=None), people, SECONDS)


def dark(recording: Recording, *, radar: bool) -> tuple[Record, ...]:
    return recording.without(
        lambda record: (is_picture(record) and between(record, *DARK_S)) or (is_points(record) and not radar)
    )


def is_points(record: Record) -> bool:
    return isinstance(record, RadarPoints)


def root_errors_m(recording: Recording, records: tuple[Record, ...]) -> Float64:
    """Mean distance of each of the two pelvises at the end of the dark."""
    done = run(recording, records)
    pipeline = done.pipeline
    last = records[-1]
    people = pipeline.people(replace(last, measured_ns=int(DARK_S[1] * 1e9) - 20_000_000))
    time_ns = min(recording.truth, key=lambda at: abs(at - people.measured_ns))
    truth = recording.truth[time_ns]
    apart = np.linalg.norm(people.positions_m[:, None, 0] - truth.positions_m[None, :, 0], axis=-1)
    return np.asarray(apart.min(axis=0))


def test_each_person_has_the_track_that_is_near(walkers: Recording) -> None:
    pipeline = run(walkers).pipeline
    bound = pipeline.radars._bound
    tracks = pipeline.radars.tracks
    assert tracks is not None
    tracks.validate()
    assert len(bound) == 2
    assert len(set(bound.values())) == 2
    for person in pipeline.bank.people:
        row = int(np.flatnonzero(tracks.ids == bound[person.identity])[0])
        apart = tracks.positions_m[row, :2] - person.filter.state.coordinates[:2]
        assert np.linalg.norm(apart) < 0.7
    assert pipeline.radars.tracker.counters["unknown_radar"] == 0


def test_in_the_dark_radar_knows_where_they_went(walkers: Recording) -> None:
    without = root_errors_m(walkers, dark(walkers, radar=False))
    with_radar = root_errors_m(walkers, dark(walkers, radar=True))
    print("root after 2 s in the dark:", without, with_radar)
    assert with_radar.shape == (2,)
    assert with_radar.mean() < 0.6 * without.mean()


def test_in_the_light_it_costs_nothing(walkers: Recording) -> None:
    def mean_m(records: tuple[Record, ...]) -> float:
        newest = run(walkers, records).newest()
        values = [
            errors_m(newest[time_ns], walkers.truth[time_ns]).min(axis=1).mean()
            for time_ns in newest
            if time_ns in walkers.truth and time_ns > 1e9 and len(newest[time_ns].ids) == 2
        ]
        assert len(values) > 50
        return float(np.mean(values))

    light = mean_m(walkers.without(is_points))
    assert mean_m(walkers.records) < 1.05 * light


def test_who_is_out_of_view_but_seen_by_the_radar_stays(walkers: Recording) -> None:
    """Cameras go on and show nobody, for longer than a person lives without being detected."""

    def emptied(record: Record) -> Record:
        if not (isinstance(record, Landmarks2D) and between(record, 1.0, SECONDS)):
            return record
        return replace(record, pixels=record.pixels[:0], scores=record.scores[:0])

    records = tuple(map(emptied, walkers.records))
    assert len(run(walkers, records).pipeline.bank.people) == 2
    alone = tuple(record for record in records if not is_points(record))
    assert run(walkers, alone).pipeline.bank.people == []


def test_the_time_offset_of_the_profile_is_taken_off() -> None:
    mount = RadarMount(
        name="door", r_world_from_radar=np.eye(3), position_world_m=np.zeros(3), time_offset_s=0.12
    )  # fmt: skip
    empty = np.empty(0, np.float32)
    record = RadarPoints(
        measured_ns=1_000_000_000, received_ns=1_010_000_000, radar="door", frame=1,
        positions_m=np.empty((0, 3), np.float32), radial_velocities_m_s=empty, snrs_db=empty,
    )  # fmt: skip
    assert Radars([mount]).on_session_clock(record).measured_ns == 880_000_000
    exact = replace(mount, time_offset_s=0.0)
    assert Radars([exact]).on_session_clock(record) is record


def test_a_radar_that_nobody_knows_is_refused(walkers: Recording) -> None:
    pipeline = Pipeline(replace(walkers.rig, radars=()))
    record = next(record for record in walkers.records if is_points(record))
    pipeline.take(record)
    assert pipeline.refused == {"radar 'radar1' is not in the profile": 1}
