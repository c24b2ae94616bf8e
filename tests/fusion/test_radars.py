"""Radars among the people: whose track is whose, what each is told, and what it is good for in the dark."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion.body.catalog import landmark_positions
from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import COORDINATE, REFERENCE_LENGTHS_M
from fusion.maths import quaternion
from fusion.pipeline import Pipeline
from fusion.radars import Radars
from fusion.records import Float64, Landmarks2D, RadarJoints, RadarPoints, Record, Tick
from fusion.rig import RadarMount, Rig
from fusion.synthesis.actions import Walk
from fusion.synthesis.simulation import Lab
from tests.fusion.labs import Recording, between, errors_m, is_picture, recorded, run, wearer

DARK_S = (2.5, 4.5)
SECONDS = 4.5
NOWHERE = np.zeros(3)


@pytest.fixture(scope="module")
def walkers() -> Recording:
    """Two who walk in front of one radar, and four cameras."""
    people = [
        wearer(1, (Walk(distance_m=2.0, speed_m_s=0.8),), start_m=(-1.2, -0.7), heading_rad=0.0),
        wearer(2, (Walk(distance_m=2.0, speed_m_s=0.8),), start_m=(1.2, 0.9), heading_rad=np.pi),
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


# --- Joints that a network makes of a radar -------------------------------------------------------

ALONE = RadarMount(
    name="door",
    r_world_from_radar=np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    position_world_m=np.array([2.0, 0.0, 1.0]),
)
"""Two metres before somebody who stands in the middle and faces it."""
FRAME_NS = 100_000_000


def joints_record(frame: int, offset_m: Float64 = NOWHERE, sigma_m: float = 0.1, **changes: object) -> RadarJoints:
    """Joints of somebody who stands in the middle, as a network tells them."""
    coordinates = resting_coordinates()
    coordinates[COORDINATE["root_pz"]] = 0.97
    positions, quaternions = forward_kinematics(coordinates, REFERENCE_LENGTHS_M)
    joints = landmark_positions("kinect_19", positions, quaternions, REFERENCE_LENGTHS_M) + offset_m
    local = (joints - ALONE.position_world_m) @ ALONE.r_world_from_radar
    record = RadarJoints(
        measured_ns=frame * FRAME_NS,
        received_ns=frame * FRAME_NS,
        radar="door",
        landmark_set="kinect_19",
        ids=np.array([-1]),
        positions_m=local[None].astype(np.float32),
        sigmas_m=np.full((1, 19, 3), sigma_m, np.float32),
        scores=np.ones(1, np.float32),
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def fed(frames: int, **changes: object) -> Pipeline:
    pipeline = Pipeline(Rig(radars=(ALONE,)))
    for frame in range(frames):
        record = joints_record(frame, **changes)  # type: ignore[arg-type]
        record.validate()
        pipeline.take(record)
    return pipeline


def test_joints_of_a_radar_alone_bear_somebody_after_a_while() -> None:
    assert fed(9).bank.people == []
    pipeline = fed(40)
    assert len(pipeline.bank.people) == 1
    people = pipeline.people(Tick(measured_ns=39 * FRAME_NS, received_ns=39 * FRAME_NS))
    assert np.linalg.norm(people.positions_m[0, 0] - [0.0, 0.0, 0.97]) < 0.06
    forward = quaternion.rotate(people.q_world_from_segment[0, 0].astype(np.float64), np.array([1.0, 0.0, 0.0]))
    assert forward[0] > 0.9  # faces the radar
    spread = np.sqrt(np.trace(people.covariances_m2[0], axis1=1, axis2=2))
    assert spread.min() > 0.02  # weak joints stay weak


def test_unsure_joints_bear_nobody() -> None:
    assert fed(40, scores=np.full(1, 0.2, np.float32)).bank.people == []
    assert fed(40, positions_m=np.full((1, 19, 3), np.nan, np.float32)).bank.people == []


def test_joints_elsewhere_are_another_person_and_near_ones_are_not() -> None:
    pipeline = fed(40)
    for frame in range(40, 80):
        pipeline.take(joints_record(frame, np.array([0.05, 0.0, 0.0])))
        pipeline.take(joints_record(frame, np.array([0.0, 1.5, 0.0])))
    assert len(pipeline.bank.people) == 2


def test_wrong_joints_are_refused_and_counted() -> None:
    pipeline = fed(2, radar="window")
    assert pipeline.refused == {"radar 'window' is not in the profile": 2}
    pipeline = fed(3, landmark_set="coco_17")
    assert pipeline.refused == {"door: 19 landmarks, coco_17 has 17": 3}


def test_weak_joints_hardly_move_somebody_whom_cameras_see(walkers: Recording) -> None:
    """Half a metre off, told ten times a second with the sigma of a bad network."""
    rig = replace(walkers.rig, radars=(ALONE,))
    light, told = Pipeline(rig), Pipeline(rig)
    seen = [record for record in walkers.records if is_picture(record) and record.measured_ns < 2e9]
    for record in seen:
        light.take(record)
        told.take(record)
        if record.measured_ns > 1e9 and isinstance(record, Landmarks2D) and record.camera == "cam1":
            person = told.bank.people[0]
            joints = told.bank.landmarks_at(person, record.measured_ns, "kinect_19") + np.array([0.3, 0.0, 0.0])
            local = ((joints - ALONE.position_world_m) @ ALONE.r_world_from_radar).astype(np.float32)
            said = joints_record(0, measured_ns=record.measured_ns, received_ns=record.received_ns)
            told.take(replace(said, positions_m=local[None], sigmas_m=np.full((1, 19, 3), 0.3, np.float32)))
    one, other = light.people(seen[-1]), told.people(seen[-1])
    assert np.linalg.norm(one.positions_m - other.positions_m, axis=-1).max() < 0.03


def test_joints_of_several_radars_bear_whom_each_shows() -> None:
    """Each radar shows somebody of its own: what one tells does not make the other's wait begin anew."""
    window = replace(ALONE, name="window")
    pipeline = Pipeline(Rig(radars=(ALONE, window)))
    for frame in range(20):
        pipeline.take(joints_record(frame, ids=np.array([5])))
        pipeline.take(joints_record(frame, np.array([0.0, 1.5, 0.0]), ids=np.array([6]), radar="window"))
    assert len(pipeline.bank.people) == 2


def test_a_frame_that_comes_twice_is_told_once(walkers: Recording) -> None:
    done = run(walkers)
    pipeline = done.pipeline
    assert pipeline.refused == {}
    before = [person.filter.state.nominal.copy() for person in pipeline.bank.people]
    tracks = pipeline.radars.tracks
    pipeline.take([record for record in walkers.records if is_points(record)][-1])
    assert pipeline.refused == {"frames of radar 'radar1': not newer": 1}
    assert pipeline.radars.tracks is tracks
    for person, nominal in zip(pipeline.bank.people, before, strict=True):
        np.testing.assert_array_equal(person.filter.state.nominal, nominal)


def test_whom_only_joints_show_stays_while_cameras_show_nobody(walkers: Recording) -> None:
    """A camera goes on without anybody in its picture for longer than a person lives without being detected."""
    seen = next(record for record in walkers.records if isinstance(record, Landmarks2D) and record.camera == "cam1")
    empty = replace(seen, pixels=seen.pixels[:0], scores=seen.scores[:0])

    def living(*, told: bool) -> int:
        pipeline = Pipeline(replace(walkers.rig, radars=(ALONE,)))
        for frame in range(80):
            if told or frame < 30:
                pipeline.take(joints_record(frame))
            if frame >= 30:
                pipeline.take(replace(empty, measured_ns=frame * FRAME_NS, received_ns=frame * FRAME_NS))
        return len(pipeline.bank.people)

    assert living(told=True) == 1
    assert living(told=False) == 0
