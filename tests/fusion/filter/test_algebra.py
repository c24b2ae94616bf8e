"""The dense algebra of the update against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.filter.algebra import backward_solve, cholesky, forward_solve, semidefinite_factor, solve_vector
from fusion.records import Float64

SIZES = (1, 2, 3, 17, 100)


def positive(size: int, seed: int, spread: float = 1.0) -> Float64:
    """A symmetric positive definite matrix; ``spread`` is how many powers of ten its scales reach over."""
    random = np.random.default_rng(seed)
    scale = 10.0 ** random.uniform(-0.5 * spread, 0.5 * spread, size)
    mixed = np.eye(size) + 0.5 * random.normal(size=(size, size)) / np.sqrt(size)
    return np.asarray(mixed @ mixed.T * scale[:, None] * scale)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("spread", [0.0, 6.0])
def test_cholesky(size: int, spread: float) -> None:
    a = positive(size, size, spread)
    factor = a.copy()
    assert cholesky(factor)
    scale = np.sqrt(a.diagonal())
    np.testing.assert_allclose(np.tril(factor) / scale[:, None], np.linalg.cholesky(a) / scale[:, None], atol=1e-12)


@pytest.mark.parametrize("place", [0, 1, 4])
@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_what_is_not_positive_definite_has_no_factor(bad: float, place: int) -> None:
    a = positive(5, 1)
    a[place, place] = bad
    assert not cholesky(a)


def test_what_is_singular_has_no_factor() -> None:
    """A rank that is one short, exactly."""
    a = np.array([[4.0, 2.0, 6.0], [2.0, 1.0, 3.0], [6.0, 3.0, 10.0]])
    assert not cholesky(a)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("columns", [1, 7])
def test_solves(size: int, columns: int) -> None:
    random = np.random.default_rng(size)
    lower: Float64 = np.asarray(np.linalg.cholesky(positive(size, size)), dtype=np.float64)
    lower += np.triu(np.full((size, size), 9.0), 1)  # What stands above the diagonal is not looked at.
    true = np.tril(lower)
    x = random.normal(size=(size, columns))
    for kernel, matrix in ((forward_solve, true), (backward_solve, true.T)):
        found = x.copy()
        kernel(lower, found)
        np.testing.assert_allclose(found, np.linalg.solve(matrix, x), atol=1e-11)
    vector = x[:, 0].copy()
    solve_vector(lower, vector)
    np.testing.assert_allclose(vector, np.linalg.solve(true @ true.T, x[:, 0]), atol=1e-10)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e12])
@pytest.mark.parametrize("seed", range(4))
def test_semidefinite_factor(size: int, rank: int, scale: float, seed: int) -> None:
    """What one camera sees of a point has rank two: as many columns as the rank, and they make the matrix."""
    rank = min(rank, size)
    half = np.random.default_rng(seed).normal(size=(size, rank))
    a, factor = np.full((3, 3), np.nan), np.full((3, 3), np.nan)
    a[:size, :size] = scale * half @ half.T
    assert semidefinite_factor(a, factor, size, 1e-12) == rank
    found = factor[:size, :size]
    np.testing.assert_allclose(np.tril(found) @ np.tril(found).T, a[:size, :size], atol=1e-9 * scale)
    np.testing.assert_array_equal(np.triu(found, 1), 0.0)
    assert (found.any(0).sum() == rank) & ((found.diagonal() > 0.0) == found.any(0)).all()


def test_the_first_direction_may_be_the_one_that_is_not_seen() -> None:
    a, factor = np.diag([0.0, 2.0, 3.0]), np.full((3, 3), np.nan)
    assert semidefinite_factor(a, factor, 3, 1e-12) == 2
    np.testing.assert_allclose(factor, np.diag(np.sqrt([0.0, 2.0, 3.0])))
