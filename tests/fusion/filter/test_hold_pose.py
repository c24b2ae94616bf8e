"""What a radar's cluster tells moves the body and its speed; how it stands stays, whatever it is correlated with."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.filter.measurements.radar import TRUNK, RadarParams, RadarTrunkMeasurement
from fusion.filter.state import BODY_ERRORS, LENGTH_COLUMN, RATE_COLUMN, State
from fusion.records import Float64
from tests.fusion.scenes import joints_of, random_state, updater

STANCE = [*range(3, LENGTH_COLUMN), *range(RATE_COLUMN + 3, BODY_ERRORS)]


def uncertain(seed: int) -> State:
    """Somebody whose place and stance are uncertain, and correlated."""
    return random_state(np.random.default_rng(seed), sigma=0.2)


def cluster(state: State, offset_m: Float64) -> RadarTrunkMeasurement:
    trunk_m = joints_of(state.nominal)[TRUNK]
    return RadarTrunkMeasurement(state.time_ns, "door", trunk_m + offset_m, np.eye(3), 3.0, 0.4, RadarParams())


@pytest.mark.parametrize("seed", range(5))
def test_the_place_moves_and_the_stance_does_not(seed: int) -> None:
    state = uncertain(seed)
    before = state.copy()
    assert updater().apply(state, [cluster(state, np.array([0.2, -0.1, 0.05]))]) >= 0
    np.testing.assert_allclose(state.nominal[STANCE], before.nominal[STANCE], rtol=0, atol=1e-12)
    held = np.ix_(STANCE, STANCE)
    np.testing.assert_allclose(state.covariance[held], before.covariance[held], rtol=1e-12)
    assert np.linalg.norm(state.nominal[:2] - before.nominal[:2]) > 0.05
    assert (np.diag(state.covariance)[:3] < np.diag(before.covariance)[:3]).all()
    assert np.linalg.eigvalsh(state.covariance).min() > -1e-12
