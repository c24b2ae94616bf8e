"""A known standing height."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion.body.catalog import landmark_positions
from fusion.body.kinematics import forward_kinematics
from fusion.body.skeleton import COORDINATES, LENGTH, REFERENCE_LENGTHS_M, REFERENCE_STATURE_M, SEGMENT
from fusion.filter.measurements.stature import StatureMeasurement, StatureParams, stature_of
from fusion.filter.state import LENGTH as LENGTH_STATES
from fusion.records import Float64
from fusion.synthesis.script import sole_points
from tests.fusion.filter.measurements.observed import BAD_NUMBERS, Observed, assert_jacobian, moving_state

MEASURED = StatureMeasurement(0, "profile", 1.83, StatureParams(sigma_m=0.03))


def standing_height(lengths_m: Float64) -> float:
    """From the soles to the top of the head, of the body in a T-pose."""
    positions, quaternions = forward_kinematics(np.zeros(COORDINATES), lengths_m)
    soles = sole_points(positions[None], quaternions[None], lengths_m)[0]
    return float(positions[SEGMENT["head"], 2] + lengths_m[LENGTH["head"]] - soles[:, 2].min())


def test_jacobian() -> None:
    state = moving_state(np.random.default_rng(0))
    observed = assert_jacobian(state, MEASURED)
    assert observed.count == 1
    outside = np.delete(observed.jacobian[0], np.r_[LENGTH_STATES])
    assert not outside.any()


def test_height_is_that_of_the_standing_body() -> None:
    random = np.random.default_rng(1)
    assert stature_of(REFERENCE_LENGTHS_M) == pytest.approx(REFERENCE_STATURE_M, abs=1e-3)
    for _ in range(5):
        state = moving_state(random)
        height = standing_height(state.lengths_m)
        assert stature_of(state.lengths_m) == pytest.approx(height)
        observed = Observed(state, MEASURED)
        np.testing.assert_allclose(observed.residual, [1.83 - height])
        np.testing.assert_allclose(observed.variance, [0.03**2])


def test_the_top_of_the_head_is_near_its_landmark() -> None:
    """Within the thickness of what a detector takes for the top."""
    positions, quaternions = forward_kinematics(np.zeros(COORDINATES), REFERENCE_LENGTHS_M)
    top = landmark_positions("halpe_26", positions, quaternions, REFERENCE_LENGTHS_M)[17, 2]
    soles = sole_points(positions[None], quaternions[None], REFERENCE_LENGTHS_M)[0]
    assert top - soles[:, 2].min() == pytest.approx(stature_of(REFERENCE_LENGTHS_M), abs=0.02)


@pytest.mark.parametrize("bad", BAD_NUMBERS)
def test_what_is_no_number_is_left_out(bad: float) -> None:
    state = moving_state(np.random.default_rng(2))
    assert Observed(state, replace(MEASURED, stature_m=bad)).count == 0
