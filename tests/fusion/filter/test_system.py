"""The system of an update: features and observations come in order, and there is an end to them."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.filter.state import BODY_ERRORS
from fusion.filter.system import (
    MAX_FEATURES,
    MAX_OBSERVATIONS,
    System,
    add_feature,
    add_observation,
    clear,
    drop_observation,
    make_system,
    usable,
)


def used(value: float) -> System:
    """A system whose arrays are full of what a former update has left."""
    system = make_system(BODY_ERRORS)
    for name in ("jacobian", "h", "residual", "variance", "weight"):
        getattr(system, name)[:] = value
    for name in ("size", "feature", "components", "robust", "source", "group", "landmark"):
        getattr(system, name)[:] = 77
    return system


def test_what_is_added_begins_anew() -> None:
    system = used(5.0)
    clear(system)
    system.filled[2] = 4
    assert [add_feature(system, size) for size in (3, 1)] == [0, 1]
    assert not system.jacobian[0].any()
    assert not system.jacobian[1, 0].any()
    assert (system.jacobian[1, 1:] == 5.0).all(), "what is beyond its size is not touched"
    assert [add_observation(system, f, m, k) for f, m, k in ((1, 1, 8), (0, 2, 9))] == [0, 1]
    assert system.size[:2].tolist() == [3, 1]
    for name, values in (("feature", [1, 0]), ("components", [1, 2]), ("source", [8, 9]), ("group", [4, 4]),
                         ("robust", [1, 1]), ("weight", [1.0, 1.0])):  # fmt: skip
        assert getattr(system, name)[:2].tolist() == values
    np.testing.assert_array_equal(system.h[:2], [np.eye(3)] * 2)
    assert system.filled.tolist() == [2, 2, 4, -1]


def test_clearing_forgets_all() -> None:
    system = used(1.0)
    system.filled[:] = 3, 4, 5, 6
    clear(system)
    assert system.filled.tolist() == [0, 0, 0, -1]
    assert (system.landmark == -1).all()


def test_an_observation_can_be_taken_back() -> None:
    system = make_system(BODY_ERRORS)
    f = add_feature(system, 3)
    for _ in range(2):
        add_observation(system, f, 2, 0)
    drop_observation(system)
    assert system.filled.tolist() == [1, 1, 0, -1]
    assert add_observation(system, f, 3, 0) == 1


def test_there_is_an_end() -> None:
    system = make_system(BODY_ERRORS)
    features = [add_feature(system, 1) for _ in range(MAX_FEATURES + 2)]
    assert features == [*range(MAX_FEATURES), -1, -1]
    assert add_observation(system, -1, 1, 0) == -1, "of no feature there is no observation"
    observations = [add_observation(system, 0, 1, 0) for _ in range(MAX_OBSERVATIONS + 2)]
    assert observations == [*range(MAX_OBSERVATIONS), -1, -1]
    assert system.filled[:2].tolist() == [MAX_FEATURES, MAX_OBSERVATIONS]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_can_be_used(bad: float) -> None:
    good = np.array([1.0, -2.0])
    assert usable(good, 1e-12)
    assert not usable(np.array([1.0, bad]), 1.0)
    assert not usable(good, bad)
    assert not usable(good, 0.0)
    assert not usable(good, -1.0)
