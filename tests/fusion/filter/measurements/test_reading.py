"""Another reading of what has been seen."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.body.skeleton import COORDINATE
from fusion.filter.history import FilterParams, PersonFilter
from fusion.filter.measurements.reading import NewReading
from fusion.filter.state import RATE_COLUMN, State
from fusion.filter.system import Measurement, make_system
from tests.fusion.filter.measurements.observed import body_at, moving_state
from tests.fusion.scenes import landmarks_of, measured_3d, resting_state, updater

COLUMNS = np.array([COORDINATE[name] for name in ("left_arm_x", "left_arm_y", "left_arm_z", "left_elbow_flexion")])
VALUES = np.array([-0.4, 0.3, 0.2, 1.1])


def reading(time_ns: int = 0) -> NewReading:
    return NewReading(time_ns, COLUMNS, VALUES, sigma_rad=0.5, rate_rad_s=3.0)


def told(state: State) -> None:
    nominal, body = state.nominal.copy(), body_at(state.nominal)
    system = make_system(len(nominal))
    reading().add_rows(state, nominal, body, system)
    assert system.filled[1] == 0
    np.testing.assert_array_equal(nominal, state.nominal)
    fresh = body_at(nominal)
    for mine, expected in zip(body, fresh, strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-12)


def test_joints_stand_where_they_were_found_and_nothing_else_changes() -> None:
    before = moving_state(np.random.default_rng(0))
    before.covariance += 1e-3
    state = before.copy()
    told(state)
    changed = np.r_[COLUMNS, RATE_COLUMN + COLUMNS]
    kept = np.setdiff1d(np.arange(len(state.nominal)), changed)
    np.testing.assert_array_equal(state.nominal[COLUMNS], VALUES)
    assert not state.nominal[RATE_COLUMN + COLUMNS].any()
    np.testing.assert_array_equal(state.nominal[kept], before.nominal[kept])
    np.testing.assert_array_equal(state.covariance[np.ix_(kept, kept)], before.covariance[np.ix_(kept, kept)])


def test_what_was_believed_of_them_is_forgotten() -> None:
    state = moving_state(np.random.default_rng(1))
    state.covariance += 1e-3
    told(state)
    changed = np.r_[COLUMNS, RATE_COLUMN + COLUMNS]
    block = state.covariance[changed].copy()
    np.testing.assert_allclose(block[:, changed].diagonal(), [0.25] * 4 + [9.0] * 4)
    block[np.arange(8), changed] = 0.0
    assert not block.any()


def test_a_later_iteration_changes_nothing() -> None:
    state = moving_state(np.random.default_rng(2))
    before = state.copy()
    nominal = state.nominal + 1e-3
    reading().add_rows(state, nominal, body_at(nominal), make_system(len(nominal)))
    np.testing.assert_array_equal(state.nominal, before.nominal)
    np.testing.assert_array_equal(state.covariance, before.covariance)


@pytest.mark.parametrize("place", range(4))
def test_order_of_arrival_does_not_matter(place: int) -> None:
    """A reading that is told before or after pictures of earlier and later times has the same effect."""
    points = landmarks_of("blazepose_33", resting_state().nominal)
    measured = [measured_3d(points, time_ns=k * 33_000_000) for k in range(1, 4)]
    states = []
    for at in (3, place):
        person = PersonFilter(FilterParams(), updater(), resting_state())
        order: list[Measurement] = [*measured[:at], reading(2 * 33_000_000), *measured[at:]]
        for measurement in order:
            person.apply(measurement)
            assert person.state.time_ns >= measurement.time_ns
        states.append(person.state.copy())
    np.testing.assert_array_equal(states[0].nominal, states[1].nominal)
    np.testing.assert_array_equal(states[0].covariance, states[1].covariance)
