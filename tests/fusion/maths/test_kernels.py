"""Each compiled rotation kernel says what its plain-numpy sentence says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fusion.maths import kernels, quaternion
from fusion.records import Float64
from tests.fusion.numeric import angles, central_difference, rotvecs, vectors

laws = settings(max_examples=60, deadline=None)
rotations = rotvecs().map(quaternion.from_rotvec)
TOLERANCE = 1e-14


@laws
@given(rotations, rotations)
def test_multiply_into(q: Float64, r: Float64) -> None:
    out = np.empty(4)
    kernels.multiply_into(q, r, out)
    np.testing.assert_allclose(out, quaternion.multiply(q, r), atol=TOLERANCE)


@laws
@given(rotations, vectors())
def test_rotate_into(q: Float64, v: Float64) -> None:
    out = np.empty(3)
    kernels.rotate_into(q, v, out)
    np.testing.assert_allclose(out, quaternion.rotate(q, v), atol=1e-13)
    np.testing.assert_allclose(out, Rotation.from_quat(np.roll(q, -1)).apply(v), atol=1e-13)


@laws
@given(rotvecs(4.0 * math.pi))
def test_exp_into(rotvec: Float64) -> None:
    out = np.empty(4)
    kernels.exp_into(*rotvec, out)
    np.testing.assert_allclose(out, quaternion.from_rotvec(rotvec), rtol=1e-14, atol=1e-15)


@laws
@given(rotations, st.sampled_from([1.0, -1.0]))
def test_log_into(q: Float64, sign: float) -> None:
    out = np.empty(3)
    kernels.log_into(sign * q, out)
    np.testing.assert_allclose(out, quaternion.to_rotvec(sign * q), rtol=1e-14, atol=1e-15)


@laws
@given(st.tuples(*[st.floats(-5.0, 5.0)] * 4).map(np.array).filter(lambda q: np.linalg.norm(q) > 1e-3))
def test_normalize_inplace(q: Float64) -> None:
    expected = quaternion.normalize(q)
    kernels.normalize_inplace(q)
    np.testing.assert_allclose(q, expected, atol=TOLERANCE)


@laws
@given(rotvecs(2.0 * math.pi))
def test_matrix_of_rotvec_into(rotvec: Float64) -> None:
    out = np.empty((3, 3))
    kernels.matrix_of_rotvec_into(*rotvec, out)
    np.testing.assert_allclose(out, quaternion.to_matrix(quaternion.from_rotvec(rotvec)), atol=TOLERANCE)
    np.testing.assert_allclose(out, Rotation.from_rotvec(rotvec).as_matrix(), atol=TOLERANCE)


@laws
@given(angles(2.0 * math.pi))
@example(0.99999e-4)
@example(1.00001e-4)
def test_jacobian_coefficients(angle: float) -> None:
    """Against the power series, which converges everywhere; what counts is their product with the rotation vector."""
    squared = angle * angle
    a = math.fsum((-squared) ** n / math.factorial(2 * n + 2) for n in range(30))
    b = math.fsum((-squared) ** n / math.factorial(2 * n + 3) for n in range(30))
    have_a, have_b = kernels.jacobian_coefficients(angle)
    assert abs(have_a - a) * angle < 2e-12
    assert abs(have_b - b) * squared < 2e-12


@laws
@given(rotvecs(math.pi), st.integers(0, 2))
def test_left_jacobian(rotvec: Float64, axis: int) -> None:
    """Exp(v + d) = Exp(J_l d) Exp(v) to first order."""
    jacobian = np.empty((3, 3))
    kernels.left_jacobian_into(*rotvec, 1.0, jacobian)
    back = quaternion.conjugate(quaternion.from_rotvec(rotvec))

    def moved(step: float) -> Float64:
        return quaternion.to_rotvec(quaternion.multiply(quaternion.from_rotvec(rotvec + step * np.eye(3)[axis]), back))

    np.testing.assert_allclose(jacobian[:, axis], central_difference(moved), atol=1e-8)


@laws
@given(rotvecs(math.pi), st.integers(0, 2))
def test_right_jacobian(rotvec: Float64, axis: int) -> None:
    """Exp(v + d) = Exp(v) Exp(J_r d) to first order; J_r is the transpose of J_l."""
    jacobian, left = np.empty((3, 3)), np.empty((3, 3))
    kernels.left_jacobian_into(*rotvec, -1.0, jacobian)
    kernels.left_jacobian_into(*rotvec, 1.0, left)
    back = quaternion.conjugate(quaternion.from_rotvec(rotvec))

    def moved(step: float) -> Float64:
        return quaternion.to_rotvec(quaternion.multiply(back, quaternion.from_rotvec(rotvec + step * np.eye(3)[axis])))

    np.testing.assert_allclose(jacobian[:, axis], central_difference(moved), atol=1e-8)
    np.testing.assert_allclose(jacobian, left.T, atol=TOLERANCE)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (0,)])
def test_empty(shape: tuple[int, ...]) -> None:
    made = kernels.empty(*shape)
    assert made.shape == shape
    assert made.dtype == np.float64
