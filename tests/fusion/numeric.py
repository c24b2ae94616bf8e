"""What several tests share: random rotations with the awkward ones included, and central differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from fusion.records import Float64

_COMPONENT = st.floats(-1.0, 1.0, allow_subnormal=False)


def directions() -> st.SearchStrategy[Float64]:
    """Unit vectors [3], the coordinate axes among them."""
    axes = st.sampled_from([np.array(sign * axis) for axis in np.eye(3) for sign in (1.0, -1.0)])
    anywhere = st.tuples(_COMPONENT, _COMPONENT, _COMPONENT).map(np.array).filter(lambda v: np.linalg.norm(v) > 0.1)
    return st.one_of(anywhere.map(lambda v: v / np.linalg.norm(v)), axes)


def angles(largest_rad: float = math.pi) -> st.SearchStrategy[float]:
    """Angles from 0 on, many of them tiny, about where Taylor series take over, or just short of the largest."""
    return st.one_of(
        st.floats(0.0, largest_rad),
        st.sampled_from([0.0, 1e-300, 1e-12, 1e-8, largest_rad]),
        st.floats(-9.0, 0.0).map(lambda exponent: 10.0**exponent),
        st.floats(0.5e-4, 2e-4),
        st.floats(0.0, 1e-6).map(lambda gap: largest_rad - gap),
    )


def rotvecs(largest_rad: float = math.pi) -> st.SearchStrategy[Float64]:
    """Rotation vectors [3] in rad."""
    return st.tuples(directions(), angles(largest_rad)).map(lambda pair: pair[0] * pair[1])


def vectors(largest: float = 10.0) -> st.SearchStrategy[Float64]:
    """Vectors [3]."""
    component = st.floats(-largest, largest, allow_subnormal=False)
    return st.tuples(component, component, component).map(np.array)


def central_difference(function: Callable[[float], Float64], step: float = 1e-6) -> Float64:
    """Derivative at 0 of a function of one number, error about step^2."""
    return (function(step) - function(-step)) / (2.0 * step)


def skew(v: Float64) -> Float64:
    """The matrix [3, 3] of the cross product with v [3]."""
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


def right_jacobian(v: Float64) -> Float64:
    """Sola, arXiv 1812.01537, eq. 143, as a series; of rotation vectors [3] of a few rad at most."""
    total, term = np.eye(3), np.eye(3)
    for k in range(1, 25):
        term = term @ (-skew(v)) / (k + 1)
        total = total + term
    return total
