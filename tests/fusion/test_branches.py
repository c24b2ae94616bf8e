"""Depth branches of limbs that one camera shows."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.body.kinematics import forward_kinematics
from fusion.body.skeleton import COORDINATE, SEGMENT
from fusion.branches import LIMB_COLUMNS, OPTIONS, BranchParams, BranchWatch, limb_gains, limb_readings
from fusion.filter.measurements.reading import NewReading
from fusion.filter.start_prior import pose_surprise
from fusion.filter.state import POSE, State
from fusion.maths import quaternion
from fusion.maths.camera import camera_arrays, project_points
from fusion.records import Float64
from tests.fusion.scenes import camera_at, legal_pose, on_the_floor, resting_state

CAMERA = camera_at("cam", [4.0, 0.3, 1.4], [0.0, 0.0, 0.0])
CENTRE = CAMERA.centre_world_m
STEP_NS = 100_000_000


def somebody(seed: int = 0) -> State:
    state = resting_state()
    if seed:
        state.nominal[POSE] = legal_pose(np.random.default_rng(seed), 0.5)
    state.nominal[:3] = 0.0, 0.0, 0.0
    state.nominal[:] = on_the_floor(state.nominal)
    state.nominal[COORDINATE["left_elbow_flexion"]] = state.nominal[COORDINATE["right_elbow_flexion"]] = 0.9
    state.nominal[COORDINATE["left_knee_flexion"]] = state.nominal[COORDINATE["right_knee_flexion"]] = 0.5
    return state


def with_option(state: State, index: int, option: int) -> State:
    """A copy with one limb in another of its branches."""
    reading = limb_readings(state.coordinates, state.lengths_m, CENTRE)[index]
    limb, other = LIMB_COLUMNS[index], state.copy()
    other.nominal[limb.ball : limb.ball + 3] = quaternion.to_rotvec(reading.ball[option])
    other.nominal[limb.hinge] = reading.bend_rad[option]
    return other


def pixels(state: State) -> Float64:
    positions, _ = forward_kinematics(state.coordinates, state.lengths_m)
    return project_points(positions, camera_arrays(CAMERA))[0]


def look(watch: BranchWatch, state: State, times: int, sensed: tuple[int, ...] = ()) -> list[NewReading]:
    found: list[NewReading] = []
    for _ in range(times):
        state.time_ns += STEP_NS
        found += watch.look(state, CENTRE, sensed)
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_all_branches_look_alike(seed: int) -> None:
    state = somebody(seed)
    for index, limb in enumerate(LIMB_COLUMNS):
        for option in range(OPTIONS):
            other = with_option(state, index, option)
            joints = list(limb.segments)
            np.testing.assert_allclose(pixels(other)[joints], pixels(state)[joints], atol=1e-6)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_of_them_is_the_tracked_one(seed: int) -> None:
    state = somebody(seed)
    for limb, reading in zip(LIMB_COLUMNS, limb_readings(state.coordinates, state.lengths_m, CENTRE), strict=True):
        assert reading.apart_m[reading.near] < 1e-6
        assert limb_gains(limb, reading)[reading.near] == 0.0


def test_a_usual_pose_is_left_alone() -> None:
    assert look(BranchWatch(BranchParams()), somebody(), 50) == []


@pytest.mark.parametrize("index", range(4))
def test_an_unusual_branch_is_left_after_a_while(index: int) -> None:
    right = somebody()
    reading = limb_readings(right.coordinates, right.lengths_m, CENTRE)[index]
    apart_m = np.where(np.isfinite(limb_gains(LIMB_COLUMNS[index], reading)), reading.apart_m, 0.0)
    option = int(np.argmax(apart_m))
    wrong = with_option(right, index, option)
    assert pose_surprise(wrong.coordinates) > pose_surprise(right.coordinates) + 5.0
    watch = BranchWatch(BranchParams())
    assert look(watch, wrong, 1) == []
    (found, *_) = look(watch, wrong, 10)
    limb = LIMB_COLUMNS[index]
    np.testing.assert_array_equal(found.columns, [limb.ball, limb.ball + 1, limb.ball + 2, limb.hinge])
    wrong.nominal[found.columns] = found.values
    # Another branch may be about as usual as the one that it was.
    assert pose_surprise(wrong.coordinates) < pose_surprise(right.coordinates) + 3.0


def test_a_limb_whose_orientation_is_measured_keeps_its_branch() -> None:
    right = somebody()
    reading = limb_readings(right.coordinates, right.lengths_m, CENTRE)[0]
    wrong = with_option(right, 0, int(np.argmax(reading.apart_m)))
    found = look(BranchWatch(BranchParams()), wrong, 20, (SEGMENT["left_forearm"],))
    assert all(LIMB_COLUMNS[0].ball not in reading.columns for reading in found)


def test_what_was_seen_before_a_pause_is_forgotten() -> None:
    right = somebody()
    reading = limb_readings(right.coordinates, right.lengths_m, CENTRE)[0]
    wrong = with_option(right, 0, int(np.argmax(reading.apart_m)))
    watch = BranchWatch(BranchParams())
    for _ in range(10):
        wrong.time_ns += 2_000_000_000
        assert watch.look(wrong, CENTRE) == []
