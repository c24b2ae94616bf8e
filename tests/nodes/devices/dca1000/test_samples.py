"""Samples on two lanes, there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.devices.dca1000.samples import bytes_of, cube_of, frame_bytes


def test_two_lanes_carry_two_samples_real_parts_first() -> None:
    data = np.array([1, 2, 10, 20, 3, 4, 30, 40], "<i2").tobytes()
    cube = cube_of(data, (1, 1, 1, 4), swapped=False)
    np.testing.assert_array_equal(cube.ravel(), [1 + 10j, 2 + 20j, 3 + 30j, 4 + 40j])
    np.testing.assert_array_equal(
        cube_of(data, (1, 1, 1, 4), swapped=True).ravel(), [10 + 1j, 20 + 2j, 30 + 3j, 40 + 4j]
    )


@given(st.integers(0, 2**32), st.booleans())
def test_bytes_of_a_cube_give_it_back(seed: int, swapped: bool) -> None:
    shape = (3, 2, 4, 6)
    random = np.random.default_rng(seed)
    cube = random.integers(-32768, 32768, shape) + 1j * random.integers(-32768, 32768, shape)
    data = bytes_of(cube, swapped=swapped)
    assert len(data) == frame_bytes(shape)
    np.testing.assert_array_equal(cube_of(data, shape, swapped=swapped), cube)


@pytest.mark.parametrize("value", [1e6, -1e6])
def test_what_is_too_large_is_cut_and_does_not_turn_over(value: float) -> None:
    back = cube_of(bytes_of(np.full((1, 1, 1, 2), value + 0j), swapped=False), (1, 1, 1, 2), swapped=False)
    assert np.sign(back.real[0, 0, 0, 0]) == np.sign(value)
