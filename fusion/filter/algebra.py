"""Dense algebra of the update: small symmetric systems, row-major, in place, without allocation.

Loops run along rows, so that the compiler turns them into vector instructions;
at these sizes (40 to 150) that is as fast as LAPACK without its call overhead.
"""

from __future__ import annotations

import math

from numba import njit

from fusion.records import Float64

_REORDER = {"reassoc", "contract"}
"""Lets the compiler vectorise sums; NaN and infinity keep their meaning."""


@njit(cache=True, fastmath=_REORDER)
def cholesky(a: Float64) -> bool:
    """Lower factor of the symmetric a [m, m], in its lower triangle; False where it is not positive definite."""
    m = a.shape[0]
    for j in range(m):
        pivot = a[j, j]
        for k in range(j):
            pivot -= a[j, k] * a[j, k]
        if not (pivot > 0.0 and pivot < math.inf):
            return False
        root = math.sqrt(pivot)
        a[j, j] = root
        for i in range(j + 1, m):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            a[i, j] = total / root
    return True


@njit(cache=True, fastmath=_REORDER)
def forward_solve(lower: Float64, x: Float64) -> None:
    """x [m, n] <- L^-1 x."""
    m, n = x.shape
    for i in range(m):
        for k in range(i):
            scale = lower[i, k]
            if scale != 0.0:
                for c in range(n):
                    x[i, c] -= scale * x[k, c]
        inverse = 1.0 / lower[i, i]
        for c in range(n):
            x[i, c] *= inverse


@njit(cache=True, fastmath=_REORDER)
def backward_solve(lower: Float64, x: Float64) -> None:
    """x [m, n] <- L^-T x."""
    m, n = x.shape
    for i in range(m - 1, -1, -1):
        inverse = 1.0 / lower[i, i]
        for c in range(n):
            x[i, c] *= inverse
        for k in range(i):
            scale = lower[i, k]
            if scale != 0.0:
                for c in range(n):
                    x[k, c] -= scale * x[i, c]


@njit(cache=True, fastmath=_REORDER)
def solve_vector(lower: Float64, x: Float64) -> None:
    """x [m] <- (L L^T)^-1 x."""
    m = x.shape[0]
    for i in range(m):
        total = x[i]
        for k in range(i):
            total -= lower[i, k] * x[k]
        x[i] = total / lower[i, i]
    for i in range(m - 1, -1, -1):
        x[i] /= lower[i, i]
        for k in range(i):
            x[k] -= lower[i, k] * x[i]


@njit(cache=True)
def semidefinite_factor(a: Float64, factor: Float64, size: int, tolerance: float) -> int:
    """Lower factor of the leading [size, size] of a positive semidefinite a (size <= 3), skipping what is null.

    Args:
        a: [3, 3].
        factor: out [3, 3]; column j is zero where the pivot was null.
        size: components.
        tolerance: pivots below this share of the largest diagonal entry are null.

    Returns:
        The rank.
    """
    largest = 0.0
    for i in range(size):
        largest = max(largest, a[i, i])
    rank = 0
    for j in range(size):
        for i in range(size):
            factor[i, j] = 0.0
        pivot = a[j, j]
        for k in range(j):
            pivot -= factor[j, k] * factor[j, k]
        if pivot <= tolerance * largest:
            continue
        rank += 1
        root = math.sqrt(pivot)
        factor[j, j] = root
        for i in range(j + 1, size):
            total = a[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = total / root
    return rank
