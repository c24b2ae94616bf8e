"""Places in metres and in voxels are the same places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.maths.voxels import VoxelGrid

finite = st.floats(-20.0, 20.0)
steps = st.floats(0.01, 2.0)
triples = st.tuples(finite, finite, finite).map(np.array)


@given(origin=triples, step=st.tuples(steps, steps, steps).map(np.array), point=triples)
def test_there_and_back(origin: np.ndarray, step: np.ndarray, point: np.ndarray) -> None:
    grid = VoxelGrid(origin, step, (3, 4, 5))
    np.testing.assert_allclose(grid.to_metres(grid.to_voxels(point)), point, atol=1e-9)


@given(up=st.integers(-2, 4), across=st.integers(-2, 6), forward=st.integers(-2, 7), part=st.floats(0.0, 0.99))
def test_a_place_is_held_by_its_whole_part(up: int, across: int, forward: int, part: float) -> None:
    grid = VoxelGrid(np.zeros(3), np.ones(3), (3, 4, 5))
    inside = 0 <= up < 3 and 0 <= across < 4 and 0 <= forward < 5
    assert grid.holds(np.array([across, forward, up]) + part) == inside


def test_centres_stand_in_the_order_of_a_tensor() -> None:
    grid = VoxelGrid(np.array([-1.0, 2.0, 0.5]), np.array([0.1, 0.2, 0.3]), (2, 3, 4))
    centres = grid.centres_m()
    assert centres.shape == (2, 3, 4, 3)
    np.testing.assert_allclose(centres[0, 0, 0], [-1.0, 2.0, 0.5])
    np.testing.assert_allclose(centres[1, 2, 3], [-0.8, 2.6, 0.8])


def test_lattices_that_differ_by_less_than_a_voxel_are_told_apart() -> None:
    grid = VoxelGrid(np.zeros(3), np.full(3, 0.2), (8, 24, 24))
    assert grid.equals(VoxelGrid(np.full(3, 1e-5), np.full(3, 0.2), (8, 24, 24)))
    assert not grid.equals(VoxelGrid(np.array([0.0, 0.01, 0.0]), np.full(3, 0.2), (8, 24, 24)))
    assert not grid.equals(VoxelGrid(np.zeros(3), np.array([0.2, 0.2, 0.21]), (8, 24, 24)))
    assert not grid.equals(VoxelGrid(np.zeros(3), np.full(3, 0.2), (8, 24, 25)))


@pytest.mark.parametrize(
    ("origin", "step", "shape", "message"),
    [
        ([0, 0], [1, 1, 1], (1, 1, 1), "origin_m"),
        ([0, np.nan, 0], [1, 1, 1], (1, 1, 1), "origin_m"),
        ([0, 0, 0], [1, 0, 1], (1, 1, 1), "steps_m"),
        ([0, 0, 0], [1, 1, 1], (1, 0, 1), "shape"),
        ([0, 0, 0], [1, 1, 1], (1, 1), "shape"),
    ],
)
def test_what_is_no_lattice_is_refused(
    origin: list[float], step: list[float], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        VoxelGrid(np.array(origin), np.array(step), shape)  # type: ignore[arg-type]
