"""One person's filter with its memory: order does not matter, lateness has an end, silence is survived."""

from __future__ import annotations

import gc
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.body.skeleton import COORDINATE, SEGMENT
from fusion.filter.history import FilterParams, Outcome, PersonFilter
from fusion.filter.measurements.inertial import GyroMeasurement, GyroParams
from fusion.filter.process import NS_PER_S
from fusion.filter.start import StartParams, wide_state
from fusion.filter.state import FLOOR_COLUMN, LENGTH, NEVER_NS, State, retract
from fusion.filter.system import Measurement
from fusion.records import Float64
from tests.fusion.scenes import (
    camera_at,
    joints_of,
    landmarks_of,
    measured_2d,
    measured_3d,
    resting_state,
    ring,
    seen_from,
    updater,
)

FRAME_NS = 33_000_000
CAMERAS = ring(3)
IMUS = 2
BEHIND = camera_at("behind", [3.0, 0.0, 0.3], [6.0, 0.0, 0.3])


def walking(time_ns: int) -> Float64:
    """Nominal [114] of somebody who walks along x and bends the left knee and elbow."""
    time_s = time_ns / NS_PER_S
    nominal = resting_state(imus=IMUS).nominal
    nominal[COORDINATE["root_px"]] = 0.6 * time_s
    nominal[COORDINATE["left_knee_flexion"]] += 0.4 * np.sin(3.0 * time_s) ** 2
    nominal[COORDINATE["left_elbow_flexion"]] += 0.6 * np.sin(2.0 * time_s) ** 2
    return nominal


def person(**params: float) -> PersonFilter:
    """A filter that starts at time 0 with somebody who stands."""
    start = wide_state(walking(0)[:44], 0, StartParams(), imus=IMUS)
    exact = np.setdiff1d(np.arange(len(start.nominal)), np.arange(LENGTH.start, FLOOR_COLUMN))
    start.covariance[np.ix_(exact, exact)] *= 0.05
    return PersonFilter(FilterParams(**params), updater(IMUS), start)  # type: ignore[arg-type]


def picture(camera: int, time_ns: int) -> Measurement:
    random = np.random.default_rng([camera, abs(time_ns)])
    view = CAMERAS[camera]
    return measured_2d(view, seen_from(view, walking(time_ns)) + 3.0 * random.normal(size=(33, 2)), time_ns)


def turn_rates(time_ns: int) -> Measurement:
    random = np.random.default_rng(time_ns)
    return GyroMeasurement(
        time_ns, "imus", np.array([SEGMENT["pelvis"], SEGMENT["left_lower_leg"]]), np.array([1, -1]),
        np.tile([1.0, 0, 0, 0], (2, 1)), 0.2 * random.normal(size=(2, 3)), GyroParams(),
    )  # fmt: skip


def useless(time_ns: int) -> Measurement:
    return measured_2d(BEHIND, np.full((33, 2), 300.0), time_ns)


def seconds_of(end_s: float) -> list[Measurement]:
    """Pictures of all cameras and rates, in the order of their times."""
    frames = range(int(end_s * NS_PER_S / FRAME_NS))
    return [m for k in frames for m in (*(picture(c, k * FRAME_NS) for c in range(3)), turn_rates(k * FRAME_NS))]


def same(a: State, b: State, tolerance: float = 0.0) -> bool:
    """Whether two states agree in all that they hold."""
    close = all(
        np.allclose(x, y, rtol=0.0, atol=tolerance)
        for x, y in ((a.nominal, b.nominal), (a.covariance, b.covariance), (a.landmark_noise, b.landmark_noise))
    )
    exact = (a.time_ns, a.born_ns, a.lengths_locked) == (b.time_ns, b.born_ns, b.lengths_locked)
    heard = (a.measured_ns == b.measured_ns).all() and (a.imu_ns == b.imu_ns).all()
    return close and exact and bool(heard)


# --- Order ----------------------------------------------------------------------------------------

TIES: tuple[Measurement, ...] = (
    picture(0, 10_000_000), picture(1, 10_000_000), turn_rates(10_000_000),
    measured_3d(landmarks_of("blazepose_33", walking(43_000_000)), 0.01, 43_000_000), picture(2, 43_000_000),
    turn_rates(100_000_000), picture(1, 100_000_000), useless(100_000_000), picture(0, 250_000_000),
)  # fmt: skip
"""Within one window; several at one time, from landmarks and rates; one that cannot be used."""


@lru_cache(maxsize=1)
def in_order() -> State:
    filter_ = person()
    for measurement in sorted(TIES, key=lambda m: (m.time_ns, m.source)):
        filter_.apply(measurement)
    return filter_.state.copy()


@settings(deadline=None, max_examples=25)
@given(st.permutations(TIES), st.lists(st.booleans(), min_size=len(TIES), max_size=len(TIES)))
def test_any_order_of_arrival_gives_the_state_of_the_right_order(
    arrivals: list[Measurement], asked: list[bool]
) -> None:
    """Whenever somebody asks in between."""
    filter_ = person()
    for measurement, asks in zip(arrivals, asked, strict=True):
        assert filter_.apply(measurement) is Outcome.APPLIED
        if asks:
            assert filter_.state.time_ns == filter_.newest_ns
    assert same(filter_.state, in_order(), 1e-9)
    assert (filter_.state.imu_ns == [NEVER_NS, 100_000_000]).all()


def test_what_was_measured_at_one_time_is_one_update() -> None:
    """Views of one moment are linearised together: the outcome is that of one call with all of them."""
    together, filter_ = person(), person()
    views = [picture(camera, FRAME_NS) for camera in (2, 0, 1)]
    state = together.state.copy()
    together.stepper.advance(state, FRAME_NS, sorted(views, key=lambda view: view.source))
    for view in views:
        filter_.apply(view)
    assert same(filter_.state, state)


def test_asking_late_or_at_once_is_the_same() -> None:
    """To the last bit, over seconds, with a camera that is late and pictures that come twice at a time."""
    lazy, eager = person(), person()
    arrivals = sorted(seconds_of(1.4), key=lambda m: m.time_ns + (120_000_000 if m.source == "cam1" else 0))
    for measurement in arrivals:
        lazy.apply(measurement)
        eager.apply(measurement)
        eager.state_before(measurement.time_ns)
        assert eager.state.time_ns == eager.newest_ns
    assert same(lazy.state, eager.state)
    assert lazy.innovations == eager.innovations


def test_a_late_picture_changes_what_came_after_it() -> None:
    """It is not merely put in at the end: the outcome is that of its own time."""
    late, others = picture(0, 66_000_000), [picture(1, 33_000_000), picture(2, 99_000_000), picture(1, 150_000_000)]
    filter_ = person()
    for measurement in (*others, late):
        assert filter_.apply(measurement) is Outcome.APPLIED
    punctual, ignorant = person(), person()
    for measurement in (others[0], late, *others[1:]):
        punctual.apply(measurement)
    for measurement in others:
        ignorant.apply(measurement)
    assert same(filter_.state, punctual.state)
    assert not same(filter_.state, ignorant.state, 1e-6)


def test_delayed_by_almost_a_window_over_seconds() -> None:
    """One camera is always 0.25 s late; in the end nothing differs from a run in which it is not."""
    filter_, punctual = person(), person()
    ordered = seconds_of(1.4)
    arrivals = sorted(ordered, key=lambda m: m.time_ns + (250_000_000 if m.source == "cam2" else 0))
    for measurement in arrivals:
        assert filter_.apply(measurement) is Outcome.APPLIED
    for measurement in ordered:
        punctual.apply(measurement)
    assert same(filter_.state, punctual.state, 1e-9)
    assert filter_.state.lengths_locked == punctual.state.lengths_locked


# --- Refusals -------------------------------------------------------------------------------------


def test_what_is_older_than_the_window_is_refused() -> None:
    filter_ = person(window_s=0.3)
    filter_.apply(picture(0, 500_000_000))
    before = filter_.state.copy()
    assert filter_.apply(picture(1, 199_999_999)) is Outcome.REFUSED_LATE
    assert same(filter_.state, before)
    assert filter_.apply(picture(1, 200_000_000)) is Outcome.APPLIED


def test_what_is_before_the_birth_is_refused() -> None:
    filter_ = person()
    assert filter_.apply(picture(0, -1)) is Outcome.REFUSED_LATE
    assert filter_.apply(picture(0, 0)) is Outcome.APPLIED


def nearly_same(a: State, b: State) -> bool:
    """Whether two states and their standard deviations differ by a small part of the latter."""
    exists = b.covariance.diagonal() > 0.0
    sigmas = np.sqrt(b.covariance.diagonal()[exists])
    apart = np.abs(a.nominal - b.nominal)[exists] / sigmas
    ratio = np.sqrt(a.covariance.diagonal()[exists]) / sigmas
    return bool(apart.max() < 0.05 and np.abs(ratio - 1.0).max() < 0.05)


@pytest.mark.parametrize("at_ns", [20_000_000, 60_000_000, 99_000_000, 150_000_000])
def test_a_useless_measurement_leaves_no_trace(at_ns: int) -> None:
    """Neither at once nor in what comes after, wherever it stands; but for where predictions are cut in two."""
    touched, untouched = person(), person()
    for filter_ in (touched, untouched):
        for k in (1, 2, 3):
            filter_.apply(picture(0, k * FRAME_NS))
    assert touched.apply(useless(at_ns)) is Outcome.APPLIED
    untouched.predicted(touched.newest_ns, out := resting_state(imus=IMUS))
    assert nearly_same(touched.state, out)
    for filter_ in (touched, untouched):
        filter_.apply(picture(1, 40_000_000))
        filter_.apply(picture(2, 160_000_000))
    assert nearly_same(touched.state, untouched.state)
    assert touched.innovations == untouched.innovations


# --- Memory ---------------------------------------------------------------------------------------


def test_memory_is_bounded() -> None:
    """Entries are used again: after seconds there are as many as after the first window, and a few."""

    def alive() -> int:
        gc.collect()
        # By type: asking a weak proxy of another test for its class would raise.
        return sum(type(item) is State for item in gc.get_objects())

    filter_ = person(window_s=0.3)
    before, counts = alive(), []
    for index, measurement in enumerate(seconds_of(2.0)):
        filter_.apply(measurement)
        if index % 5 == 0:
            filter_.apply(useless(measurement.time_ns + 1))
        if index % 40 == 39:
            counts.append(alive() - before)
    in_window = 3 * (int(0.3 * NS_PER_S / FRAME_NS) + 2)
    assert len(counts) >= 5
    assert max(counts) <= in_window
    assert counts[-1] <= counts[1] + 2
    assert filter_.newest_ns - filter_.oldest_ns < 0.4 * NS_PER_S


def test_a_journal_keeps_what_was_accepted() -> None:
    filter_ = person(keeps_journal=True)
    accepted = [picture(0, k * 4 * FRAME_NS) for k in range(6)]
    for measurement in accepted:
        filter_.apply(measurement)
    assert filter_.apply(picture(1, FRAME_NS)) is Outcome.REFUSED_LATE
    assert filter_.journal == accepted
    assert person().journal is None


def test_the_state_before_a_time() -> None:
    """Strictly before it: what was measured at that time is not in it."""
    filter_ = person()
    for k in range(1, 5):
        filter_.apply(picture(0, k * FRAME_NS))
    assert filter_.state_before(0).time_ns == 0
    assert filter_.state_before(FRAME_NS).time_ns == 0
    assert filter_.state_before(FRAME_NS + 1).time_ns == FRAME_NS
    assert filter_.state_before(3 * FRAME_NS).time_ns == 2 * FRAME_NS
    assert filter_.state_before(4 * FRAME_NS).time_ns == 3 * FRAME_NS
    assert filter_.state_before(10**12).time_ns == 4 * FRAME_NS
    before = filter_.state_before(3 * FRAME_NS).copy()
    filter_.apply(picture(1, 3 * FRAME_NS))
    assert same(filter_.state_before(3 * FRAME_NS), before)
    assert not same(filter_.state_before(4 * FRAME_NS), before)


# --- Prediction and silence -----------------------------------------------------------------------


def test_a_prediction_changes_nothing() -> None:
    filter_ = person()
    for measurement in seconds_of(0.2):
        filter_.apply(measurement)
    before, out = filter_.state.copy(), resting_state(imus=IMUS)
    ahead = filter_.predicted(before.time_ns + 500_000_000, out)
    assert ahead is out
    assert ahead.time_ns == before.time_ns + 500_000_000
    assert not same(ahead, before, 1e-3)
    assert same(filter_.state, before)
    # A time before the newest state is that of the newest state.
    assert same(filter_.predicted(0, out), before)


def test_silence_for_ten_seconds_and_back_again() -> None:
    filter_ = person()
    for measurement in seconds_of(1.2):
        filter_.apply(measurement)
    state, out = filter_.state, resting_state(imus=IMUS)
    uncertain = 0.0
    for second in range(11):
        filter_.predicted(state.time_ns + int(second * NS_PER_S), out)
        assert np.isfinite(out.nominal).all()
        assert np.isfinite(out.covariance).all()
        assert np.trace(out.covariance) > uncertain
        uncertain = float(np.trace(out.covariance))
    # Meanwhile the person has gone elsewhere and turned round.
    back_ns = state.time_ns + int(10 * NS_PER_S)
    error = np.zeros(len(state.nominal))
    error[:3], error[5] = [0.8, 0.5, -0.2], 1.2
    for frame in range(12):
        now_ns = back_ns + frame * FRAME_NS
        elsewhere = retract(walking(now_ns - back_ns), error)
        for camera in CAMERAS:
            noise = 3.0 * np.random.default_rng(frame).normal(size=(33, 2))
            filter_.apply(measured_2d(camera, seen_from(camera, elsewhere) + noise, now_ns))
    away = np.linalg.norm(joints_of(filter_.state.nominal) - joints_of(elsewhere), axis=1)
    assert np.mean(away) < 0.05
    assert np.trace(filter_.state.covariance) < 0.2 * uncertain


# --- Lengths --------------------------------------------------------------------------------------


def test_lengths_are_learned_then_locked_then_constant() -> None:
    """Whatever comes after the moment at which they are locked."""
    filter_ = person(lock_after_s=0.5)
    locked: dict[int, Float64] = {}
    for measurement in seconds_of(2.0):
        filter_.apply(measurement)
        state = filter_.state
        assert not (state.lengths_locked and state.time_ns < 500_000_000)
        if state.lengths_locked:
            locked[state.time_ns] = state.nominal[LENGTH].copy()
    first, *others = locked.values()
    assert len(others) > 10
    assert all((lengths == first).all() for lengths in others)
    # The hip to knee distance is well seen by three cameras.
    np.testing.assert_allclose(first[8:10], walking(0)[LENGTH][8:10], atol=0.03)


def test_lengths_that_nobody_tells_are_never_locked() -> None:
    """Rates only: nothing is learned of lengths, and who is seen later may still tell them."""
    filter_ = person(lock_after_s=0.5, lock_at_latest_s=0.8)
    for k in range(60):
        filter_.apply(turn_rates(k * 20_000_000))
    assert not filter_.state.lengths_locked


def test_lengths_that_are_told_poorly_are_locked_in_the_end() -> None:
    """As late as the parameters say, however uncertain some are."""
    filter_ = person(lock_after_s=0.3, lock_share=1e-6, lock_at_latest_s=0.8)
    for measurement in seconds_of(1.2):
        filter_.apply(measurement)
        assert filter_.state.lengths_locked == (filter_.state.time_ns > 800_000_000)


def test_a_set_without_fingers_does_not_hold_the_lock_up() -> None:
    """Nothing tells the size of the hand, and nobody waits for it."""
    filter_ = person(lock_after_s=0.3, lock_at_latest_s=1e9)
    for k in range(40):
        points = landmarks_of("halpe_26", walking(k * FRAME_NS))
        filter_.apply(measured_3d(points, 0.01, k * FRAME_NS, set_name="halpe_26"))
    assert filter_.state.lengths_locked
