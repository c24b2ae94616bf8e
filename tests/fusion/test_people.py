"""The bank of people: birth, identity, return and death, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fusion.body import catalog
from fusion.body.skeleton import SEGMENT
from fusion.branches import LIMB_COLUMNS, limb_gains, limb_readings
from fusion.estimators.camera.association import find_birth
from fusion.filter.history import FilterParams, Outcome
from fusion.filter.measurements.inertial import GyroMeasurement, GyroParams
from fusion.filter.measurements.landmarks import Landmarks2DMeasurement
from fusion.filter.measurements.reading import NewReading
from fusion.filter.measurements.usual import UsualPose
from fusion.filter.state import LENGTH, RATE
from fusion.maths import quaternion
from fusion.people import People, PeopleParams
from fusion.records import Float64, Landmarks2D, Landmarks3D
from fusion.rig import ImuMount, Rig, RigError, Subject
from fusion.synthesis.actions import Stand, Turn, Walk
from tests.fusion.labs import CAMERAS_ONLY, errors_m, recorded, run, wearer
from tests.fusion.scenes import (
    joints_of,
    landmarks_of,
    landmarks_record,
    legal_pose,
    on_the_floor,
    resting_state,
    seen_from,
    standing_ring,
)

CAMERAS = standing_ring()
RIG = Rig(cameras=CAMERAS)
FRAME_NS = 33_000_000


def body(x_m: float = 0.0, y_m: float = 0.0, seed: int = 0) -> Float64:
    """Nominal [100] of somebody who stands somewhere."""
    nominal = resting_state().nominal
    nominal[:44] = legal_pose(np.random.default_rng(seed), 0.2)
    nominal[:3] = x_m, y_m, 0.0
    return on_the_floor(nominal)


def picture(camera: int, time_ns: int, *bodies: Float64, noise_px: float = 2.0) -> Landmarks2D:
    """What one camera's detector says of some bodies."""
    random = np.random.default_rng([camera, abs(time_ns)])
    people = [seen_from(CAMERAS[camera], who) + noise_px * random.normal(size=(33, 2)) for who in bodies]
    return landmarks_record(CAMERAS[camera], people, time_ns)


def shown(bank: People, frames: range, *bodies: Float64) -> None:
    """All cameras see the bodies for some frames."""
    for k in frames:
        for camera in range(4):
            bank.landmarks_2d(picture(camera, k * FRAME_NS, *bodies))
            bank.bury(k * FRAME_NS)


def points(*bodies: Float64, time_ns: int = 0, sigma_m: float = 0.01) -> Landmarks3D:
    positions = np.stack([landmarks_of("coco_17", who) for who in bodies])
    return Landmarks3D(
        measured_ns=time_ns,
        received_ns=time_ns,
        source="depth",
        landmark_set="coco_17",
        positions_m=positions.astype(np.float32),
        sigmas_m=np.full(positions.shape[:2], sigma_m, dtype=np.float32),
    )


def ids(bank: People) -> list[int]:
    return [person.identity for person in bank.people]


def bank_with(**params: float | FilterParams) -> People:
    return People(RIG, replace(PeopleParams(), **params))  # type: ignore[arg-type]


# --- Birth ----------------------------------------------------------------------------------------


def test_two_views_give_birth_to_a_body() -> None:
    bank, who = bank_with(), body(seed=1)
    bank.landmarks_2d(picture(0, 0, who))
    assert not bank.people
    bank.landmarks_2d(picture(1, 0, who))
    assert ids(bank) == [1]
    assert bank.counters["births"] == 1
    away = np.linalg.norm(joints_of(bank.people[0].filter.state.nominal) - joints_of(who), axis=1)
    assert away.mean() < 0.08
    shown(bank, range(1, 12), who)
    away = np.linalg.norm(joints_of(bank.people[0].filter.state.nominal) - joints_of(who), axis=1)
    assert away.mean() < 0.02
    assert ids(bank) == [1]


def test_views_of_different_times_give_no_birth() -> None:
    """A body that has moved on meanwhile would be nowhere."""
    bank = bank_with()
    bank.landmarks_2d(picture(0, 0, body()))
    bank.landmarks_2d(picture(1, 200_000_000, body()))
    assert not bank.people
    bank.landmarks_2d(picture(2, 230_000_000, body()))
    assert len(bank.people) == 1


def test_several_are_born_of_one_picture() -> None:
    bank, crowd = bank_with(), [body(0.0, 0.0, 1), body(1.0, 0.3, 2), body(-0.8, 0.8, 3)]
    shown(bank, range(3), *crowd)
    assert ids(bank) == [1, 2, 3]
    for who in crowd:
        nearest = min(np.linalg.norm(p.filter.state.coordinates[:2] - who[:2]) for p in bank.people)
        assert nearest < 0.05


@pytest.mark.parametrize("kind", ["2d", "3d"])
def test_there_are_never_more_than_allowed(kind: str) -> None:
    bank, crowd = bank_with(max_people=2), [body(0.0, 0.0, 1), body(1.0, 0.3, 2), body(-0.8, 0.8, 3)]
    if kind == "2d":
        shown(bank, range(3), *crowd)
    else:
        bank.landmarks_3d(points(*crowd))
    assert len(bank.people) == 2


@pytest.mark.parametrize("factor", [0.5, 1.6, 10.0, 1000.0])
def test_a_body_of_another_size_is_not_born(factor: float) -> None:
    """A giant, or a calibration in millimetres."""
    giant = body(seed=4)
    giant[LENGTH] += np.log(factor)
    giant = on_the_floor(giant)
    bank = bank_with()
    bank.landmarks_3d(points(giant))
    if factor < 2.0:
        shown(bank, range(2), giant)
    assert not bank.people


@pytest.mark.parametrize("seed", range(5))
def test_points_that_make_no_body_are_not_born(seed: int) -> None:
    bank = bank_with()
    scattered = np.random.default_rng(seed).uniform(-1, 1, (1, 17, 3)).astype(np.float32)
    bank.landmarks_3d(replace(points(body()), positions_m=scattered))
    assert not bank.people


def test_what_is_never_born_is_tried_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """A looking costs tens of milliseconds; a statue beside the lab must not slow the person in it down."""
    from fusion import people

    tried: list[int] = []

    def counted(*args: Any) -> Any:
        tried.append(1)
        return find_birth(*args)

    monkeypatch.setattr(people, "find_birth", counted)
    bank, who, statue = bank_with(), body(seed=1), body(0.8, 0.3, 4)
    statue[LENGTH] += np.log(1.6)
    statue = on_the_floor(statue)
    shown(bank, range(60), who, statue)
    assert ids(bank) == [1]
    assert len(tried) < 30, "of 240 pictures"
    # Somebody who comes in is still seen soon.
    shown(bank, range(60, 80), who, statue, body(-0.8, 0.4, 5))
    assert ids(bank) == [1, 2]


def test_known_lengths_are_taken_from_the_profile() -> None:
    lengths = np.exp(body()[LENGTH]) * 1.05
    bank = People(Rig(cameras=CAMERAS, subject=Subject(lengths_m=lengths)), PeopleParams())
    shown(bank, range(2), body())
    np.testing.assert_allclose(bank.people[0].filter.state.lengths_m, lengths)


def test_one_person_wears_the_sensors() -> None:
    bank = People(Rig(cameras=CAMERAS, imus=(ImuMount(segment="pelvis"),)), PeopleParams())
    shown(bank, range(2), body(0.0, 0.0, 1), body(1.0, 0.3, 2))
    assert [person.wears_imus for person in bank.people] == [True, False]


def test_points_in_the_world_give_birth_and_are_followed() -> None:
    bank, one, other = bank_with(), body(0.0, 0.0, 1), body(1.0, 0.5, 2)
    for k in range(6):
        one[0] += 0.02
        bank.landmarks_3d(points(one, other, time_ns=k * FRAME_NS))
    assert ids(bank) == [1, 2]
    for person, who in zip(bank.people, (one, other), strict=True):
        away = np.linalg.norm(joints_of(person.filter.state.nominal) - joints_of(who), axis=1)
        assert away.mean() < 0.03


def seen_by_one(bank: People, frames: range, *bodies: Float64, others: tuple[int, ...] = ()) -> None:
    """One camera sees the bodies for some frames, while others see nobody."""
    for k in frames:
        bank.landmarks_2d(picture(0, k * FRAME_NS, *bodies))
        for camera in others:
            bank.landmarks_2d(picture(camera, k * FRAME_NS))


@pytest.mark.parametrize(("others", "after_s"), [((), 0.3), ((1, 2), 1.0)])
def test_one_camera_alone_gives_birth_after_a_while(others: tuple[int, ...], after_s: float) -> None:
    """Sooner where no other camera is heard, later where others are but see nobody."""
    bank, who = bank_with(), body(seed=1)
    assert (bank.params.alone_s, bank.params.unshared_s) == (0.3, 1.0)
    frames = int(after_s * 1e9 / FRAME_NS)
    seen_by_one(bank, range(frames), who, others=others)
    assert not bank.people
    seen_by_one(bank, range(frames, frames + 20), who, others=others)
    assert ids(bank) == [1]
    assert bank.counters["births"] == 1
    # It is seen where it is: along the rays surely, in depth as well as one camera can tell.
    state = bank.people[0].filter.state
    off_px = np.linalg.norm(seen_from(CAMERAS[0], state.nominal) - seen_from(CAMERAS[0], who), axis=1)
    assert np.median(off_px) < 12.0
    error = state.coordinates[:3] - who[:3]
    assert np.linalg.norm(error) < 0.4
    assert error @ np.linalg.solve(state.covariance[:3, :3], error) < 3.5**2


def test_whom_one_camera_has_borne_others_take_over() -> None:
    """Where the second camera sees them too it is the same person, and soon exactly there."""
    bank, who = bank_with(), body(seed=1)
    seen_by_one(bank, range(30), who)
    assert ids(bank) == [1]
    shown(bank, range(31, 60), who)
    away = np.linalg.norm(joints_of(bank.people[0].filter.state.nominal) - joints_of(who), axis=1)
    assert ids(bank) == [1]
    assert away.mean() < 0.03


def told(bank: People, kind: type) -> list[int]:
    """Times at which the first person's filter was told something."""
    return [item.time_ns for item in bank.people[0].filter.journal or [] if isinstance(item, kind)]


def test_what_is_usual_is_told_while_one_camera_alone_is_there() -> None:
    bank, who = bank_with(filter=FilterParams(keeps_journal=True)), body(seed=1)
    seen_by_one(bank, range(60), who)
    times = told(bank, UsualPose)
    alone_s = (59 * FRAME_NS - bank.people[0].filter.start.time_ns) / 1e9
    assert len(times) == pytest.approx(alone_s / bank.params.usual.interval_s, abs=2)
    for k in range(60, 120):
        for camera in range(2):
            bank.landmarks_2d(picture(camera, k * FRAME_NS, who))
    assert max(told(bank, UsualPose)) <= 60 * FRAME_NS


def test_nothing_is_added_where_two_cameras_are_there() -> None:
    bank, who = bank_with(filter=FilterParams(keeps_journal=True)), body(seed=1)
    shown(bank, range(60), who)
    journal = bank.people[0].filter.journal
    assert journal
    assert all(isinstance(item, Landmarks2DMeasurement) for item in journal)


@pytest.mark.parametrize("index", [0, 2, 3])
def test_a_limb_in_an_unusual_branch_is_moved(index: int) -> None:
    """What the pixels cannot tell, how usual it is does."""
    bank, who = bank_with(filter=FilterParams(keeps_journal=True)), body()
    seen_by_one(bank, range(40), who)
    person, limb, centre_m = bank.people[0], LIMB_COLUMNS[index], CAMERAS[0].centre_world_m
    state = person.filter.state
    before = limb_readings(state.coordinates, state.lengths_m, centre_m)[index]
    option = int(np.argmax(before.apart_m))
    assert limb_gains(limb, before)[option] < -5.0
    columns = np.array([*range(limb.ball, limb.ball + 3), limb.hinge])
    values = np.append(quaternion.to_rotvec(before.ball[option]), before.bend_rad[option])
    moved = bank.counters["branches"]
    bank.apply(person, NewReading(state.time_ns, columns, values, 0.05, 0.5))
    seen_by_one(bank, range(40, 70), who)
    assert bank.counters["branches"] == moved + 1
    state = person.filter.state
    after = limb_readings(state.coordinates, state.lengths_m, centre_m)[index]
    assert limb_gains(limb, after).max() < 3.0


def test_a_picture_of_no_body_gives_no_birth() -> None:
    """Whatever long one camera shows it."""
    bank, random = bank_with(), np.random.default_rng(3)
    for k in range(40):
        scattered = random.uniform(0.0, 700.0, (33, 2))
        bank.landmarks_2d(landmarks_record(CAMERAS[0], [scattered], k * FRAME_NS))
    assert not bank.people


def test_a_wearer_is_born_of_orientations_once() -> None:
    """And stands as they say; nobody else can wear the same sensors."""
    bank = People(
        Rig(cameras=CAMERAS, imus=(ImuMount(segment="pelvis"), ImuMount(segment="left_lower_leg"))), PeopleParams()
    )
    assert bank.quiet_s(0) > 1e6
    q = np.array([[1.0, 0.0, 0.0, 0.0], [np.cos(0.2), 0.0, np.sin(0.2), 0.0]])
    segments = np.array([SEGMENT["pelvis"], SEGMENT["left_lower_leg"]])
    person = bank.bear_from_orientations(q, segments, 1_000)
    assert person is not None
    assert person.wears_imus
    assert person.filter.imus == 2
    assert bank.bear_from_orientations(q, segments, 2_000) is None
    assert ids(bank) == [1]


# --- Identity, return, death ----------------------------------------------------------------------


def test_an_identity_outlasts_a_gap() -> None:
    """Nobody is detected for 2 s; the same person is there again."""
    bank, who = bank_with(), body(seed=1)
    shown(bank, range(10), who)
    shown(bank, range(10, 70))
    assert ids(bank) == [1]
    shown(bank, range(70, 75), who)
    assert ids(bank) == [1]
    assert bank.counters["births"] == 1


def test_who_is_not_seen_for_long_is_gone() -> None:
    bank, who = bank_with(death_s=1.0), body(seed=1)
    shown(bank, range(10), who)
    shown(bank, range(10, 50))
    assert not bank.people
    assert bank.counters["deaths"] == 1
    shown(bank, range(50, 55), who)
    assert ids(bank) == [2], "an identity is never used again"


def test_lost_cameras_are_no_death_but_silence_has_an_end() -> None:
    """While no picture comes in at all, nobody is known to have left."""
    bank, who = bank_with(death_s=1.0, lost_s=20.0), body(seed=1)
    shown(bank, range(10), who)
    bank.bury(15_000_000_000)
    assert ids(bank) == [1]
    bank.bury(21_000_000_000)
    assert not bank.people


def test_somebody_who_comes_back_elsewhere_is_no_new_person() -> None:
    """All cameras were lost for 2 s; meanwhile the person has gone a metre and turned."""
    bank, who = bank_with(), body(seed=1)
    shown(bank, range(80), who)
    assert bank.people[0].filter.state.lengths_locked
    lengths = bank.people[0].filter.state.lengths_m
    elsewhere = body(1.0, 0.4, 7)
    shown(bank, range(140, 147), elsewhere)
    assert ids(bank) == [1]
    assert bank.counters["returns"] == 1
    np.testing.assert_allclose(bank.people[0].filter.state.lengths_m, lengths, rtol=1e-14)
    away = np.linalg.norm(joints_of(bank.people[0].filter.state.nominal) - joints_of(elsewhere), axis=1)
    assert away.mean() < 0.03


def test_somebody_too_far_away_is_a_new_person() -> None:
    bank = bank_with()
    shown(bank, range(10), body(-0.5, -0.5, 1))
    shown(bank, range(25, 30), body(1.3, 1.3, 7))
    assert ids(bank) == [1, 2]


def test_somebody_beside_a_person_who_is_seen_is_a_new_person() -> None:
    bank, who = bank_with(), body(seed=1)
    shown(bank, range(10), who)
    shown(bank, range(10, 14), who, body(0.7, 0.0, 7))
    assert ids(bank) == [1, 2]
    assert bank.counters["returns"] == 0


@pytest.fixture(scope="module")
def there_and_back() -> tuple[Walk | Turn | Stand, ...]:
    return (Walk(distance_m=1.4), Turn(angle_rad=np.pi), Stand(duration_s=0.3))


def test_two_people_a_metre_apart_keep_their_identities(there_and_back: tuple[Walk | Turn | Stand, ...]) -> None:
    """Side by side, in four cameras that all see one in front of the other now and then."""
    pair = [wearer(k, there_and_back, start_m=(-0.7, y)) for k, y in ((1, -0.5), (2, 0.5))]
    recording = recorded(CAMERAS_ONLY, pair, 4.0)
    done = run(recording)
    newest = done.newest()
    late = [people for time_ns, people in newest.items() if time_ns > 300_000_000]
    assert len(late) > 100
    who_is: dict[int, set[int]] = {}
    means = []
    for people in late:
        assert people.ids.tolist() == [1, 2]
        apart = errors_m(people, recording.truth[people.measured_ns])
        for p, identity in enumerate(people.ids.tolist()):
            who_is.setdefault(identity, set()).add(int(apart[p].argmin()))
            means.append(apart[p].min())
    assert sorted(map(sorted, who_is.values())) == [[0], [1]]
    assert np.mean(means) < 0.025
    assert done.pipeline.bank.counters["births"] == 2


# --- Left and right -------------------------------------------------------------------------------


def test_a_view_with_left_and_right_exchanged_is_turned_round() -> None:
    bank, who = bank_with(), body(seed=1)
    shown(bank, range(10), who)
    mirror = catalog.mirror_order("blazepose_33")
    for k in range(10, 20):
        for camera in range(4):
            record = picture(camera, k * FRAME_NS, who)
            if camera == 1:
                record = replace(record, pixels=np.ascontiguousarray(record.pixels[:, mirror]))
            bank.landmarks_2d(record)
    assert bank.counters["exchanged"] == 10
    away = np.linalg.norm(joints_of(bank.people[0].filter.state.nominal) - joints_of(who), axis=1)
    assert away.mean() < 0.02


# --- Refusals -------------------------------------------------------------------------------------


def test_a_camera_that_is_not_in_the_rig_is_named() -> None:
    record = replace(picture(0, 0, body()), camera="attic")
    with pytest.raises(RigError, match=r"attic.*cam1, cam2, cam3, cam4"):
        bank_with().landmarks_2d(record)


@pytest.mark.parametrize("count", [1, 17, 34])
def test_landmarks_that_are_not_as_many_as_their_set(count: int) -> None:
    record = picture(0, 0, body())
    pixels = np.zeros((1, count, 2), dtype=np.float32)
    with pytest.raises(ValueError, match=rf"cam1: {count} landmarks, blazepose_33 has 33"):
        bank_with().landmarks_2d(replace(record, pixels=pixels, scores=np.ones((1, count), dtype=np.float32)))
    flat = points(body())
    if count != 17:
        wrong = np.zeros((1, count, 3), dtype=np.float32)
        with pytest.raises(ValueError, match=rf"depth: {count} landmarks, coco_17 has 17"):
            bank_with().landmarks_3d(replace(flat, positions_m=wrong, sigmas_m=wrong[..., 0]))


def test_a_set_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match="coco_18"):
        bank_with().landmarks_2d(replace(picture(0, 0, body()), landmark_set="coco_18"))


def test_a_faulty_detector_does_not_hold_everybody_up() -> None:
    """A thousand detections of one picture: those beyond the limit are left out, and counted."""
    bank, who = bank_with(max_detections=8), body(seed=1)
    shown(bank, range(5), who)
    random = np.random.default_rng(2)
    crowd = [seen_from(CAMERAS[0], who), *(random.uniform(0, 700, (33, 2)) for _ in range(999))]
    bank.landmarks_2d(landmarks_record(CAMERAS[0], crowd, 5 * FRAME_NS))
    assert bank.counters["detections_left_out"] == 992
    assert bank.people[0].filter.newest_ns == 5 * FRAME_NS


def test_pictures_that_come_much_too_late_are_no_new_people() -> None:
    """Two streams stalled and then delivered what they saw seconds ago: of somebody who walked on."""
    bank = bank_with()
    walker = body(seed=1)
    for k in range(45):
        walker[0] = 0.03 * k
        shown(bank, range(k, k + 1), walker)
    walker[0] = -0.4
    for camera in (0, 1):
        bank.landmarks_2d(picture(camera, 10_000_000, walker))
    assert ids(bank) == [1]


def test_a_measurement_far_ahead_is_refused() -> None:
    bank = bank_with()
    shown(bank, range(5), body())
    person = bank.people[0]
    before = person.filter.state.copy()
    rates = GyroMeasurement(
        2**62, "imus", np.array([0]), np.array([-1]), np.array([[1.0, 0, 0, 0]]), np.zeros((1, 3)), GyroParams()
    )  # fmt: skip
    assert bank.apply(person, rates) is Outcome.REFUSED_AHEAD
    assert bank.counters["refused_ahead"] == 1
    assert (person.filter.state.nominal == before.nominal).all()


@pytest.mark.parametrize("score", [np.inf, 1e30, 255.0, np.nan, -1.0])
def test_scores_that_cannot_be_trust_nobody_more_than_fully(score: float) -> None:
    """A detector whose scores are no shares of one: full trust at most, none where there is no number."""
    bank, usual = bank_with(), bank_with()
    who, moved = body(seed=1), body(0.05, 0.0, 1)
    for each in (bank, usual):
        shown(each, range(5), who)
    record = picture(0, 5 * FRAME_NS, moved)
    usual.landmarks_2d(record)
    bank.landmarks_2d(replace(record, scores=np.full((1, 33), score, dtype=np.float32)))
    states = [each.people[0].filter.state for each in (bank, usual)]
    assert np.isfinite(states[0].nominal).all()
    if score > 0:
        np.testing.assert_array_equal(states[0].nominal, states[1].nominal)
    else:
        assert states[0].time_ns == 4 * FRAME_NS


def test_a_person_at_rest_stays_at_rest() -> None:
    bank, who = bank_with(), body(seed=1)
    shown(bank, range(30), who)
    rates = bank.people[0].filter.state.nominal[RATE]
    assert np.abs(rates[:3]).max() < 0.2
