"""The generated table: well-formed, physical, and what the generator writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.body.skeleton import COORDINATE, COORDINATE_NAMES, COORDINATES
from fusion.filter import motion_table
from fusion.maths import quaternion
from fusion.records import Float64
from training.motion_model import MotionModel
from training.motion_table import render, rounded
from training.process_fit import FALLBACKS, MOVED, MotionFit
from training.tracks import MIRROR_INDEX, MIRROR_SIGN, TURNS, bare, mirrored


@pytest.mark.parametrize("matrix", [motion_table.NOISE_CORRELATION, motion_table.POSE_CORRELATION])
def test_correlations_are_positive_definite_and_mirror_symmetric(matrix: Float64) -> None:
    assert matrix.shape == (COORDINATES, COORDINATES)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(matrix), 1.0)
    np.testing.assert_allclose(mirrored(matrix), matrix, atol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > 0.05


def test_both_sides_and_both_ways_along_the_floor_are_alike() -> None:
    for values in (motion_table.DENSITY, motion_table.DECAY_S, motion_table.REST_RATE, motion_table.POSE_STD):
        np.testing.assert_array_equal(values, values[MIRROR_INDEX])
        assert values[0] == values[1]
    np.testing.assert_array_equal(motion_table.REST, MIRROR_SIGN * motion_table.REST[MIRROR_INDEX])


def test_a_move_along_the_floor_depends_on_the_heading_and_correlates_with_nothing() -> None:
    np.testing.assert_array_equal(motion_table.NOISE_CORRELATION[:2], np.eye(COORDINATES)[:2])


def test_numbers_are_those_of_a_body() -> None:
    density, decay = motion_table.DENSITY, motion_table.DECAY_S
    rate_std = np.sqrt(0.5 * density * decay)
    assert np.all((rate_std[:3] > 0.2) & (rate_std[:3] < 2.0)), "metres a second"
    assert np.all((rate_std[3:] > 0.3) & (rate_std[3:] < 5.0)), "radians a second"
    assert np.all((decay > 0.02) & (decay < 3.0))
    assert np.all((motion_table.REST_RATE >= 0.0) & (motion_table.REST_RATE <= 10.0))
    assert np.all(motion_table.REST_RATE[:6] == 0.0)
    assert np.all(np.isinf(motion_table.POSE_STD[:6]))
    assert np.all((motion_table.POSE_STD[6:] > 0.05) & (motion_table.POSE_STD[6:] < 1.0))
    assert density[COORDINATE["left_knee_flexion"]] > density[COORDINATE["spine_x"]]


def test_rest_is_a_pose_within_the_limits_with_arms_down() -> None:
    low, high = coordinate_limits()
    assert np.all(np.clip(motion_table.REST, low, high) == motion_table.REST)
    first = COORDINATE["left_arm_x"]
    hanging = quaternion.from_rotvec(resting_coordinates()[first : first + 3])
    assert quaternion.angle_between(quaternion.from_rotvec(motion_table.REST[first : first + 3]), hanging) < 0.8


def test_coordinates_set_by_hand_share_no_noise() -> None:
    by_hand = [i for i, name in enumerate(COORDINATE_NAMES) if bare(name) in FALLBACKS]
    assert by_hand == np.flatnonzero(~MOVED).tolist()
    np.testing.assert_array_equal(motion_table.NOISE_CORRELATION[by_hand], np.eye(COORDINATES)[by_hand])


def test_what_is_written_reads_back_as_the_rounded_fit() -> None:
    rng = np.random.default_rng(11)
    values = rng.standard_normal((COORDINATES, 200))
    correlation: Float64 = np.asarray(np.corrcoef(values))
    density, decay, back = rng.uniform(0.01, 200.0, (3, COORDINATES))
    model = MotionModel(density, decay, back, rng.normal(size=COORDINATES), correlation)
    fitted = MotionFit(model, np.full(COORDINATES, np.inf), correlation)
    module: dict[str, Any] = {"__name__": "generated"}
    exec(render(fitted), module)
    kept = rounded(fitted)
    np.testing.assert_array_equal(module["DENSITY"], kept.model.density)
    np.testing.assert_array_equal(module["REST"], kept.model.rest)
    np.testing.assert_array_equal(module["POSE_STD"], kept.pose_std)
    np.testing.assert_array_equal(module["NOISE_CORRELATION"], kept.model.correlation)
    np.testing.assert_allclose(kept.model.density, model.density, rtol=1e-3)
    assert max(len(line) for line in render(fitted).splitlines()) <= 120


def test_rows_of_the_table_stand_in_the_order_of_the_coordinates() -> None:
    assert tuple(motion_table._TABLE) == COORDINATE_NAMES
    assert TURNS[0] == COORDINATE["root_rx"]
