"""Rotations obey the laws of their group, near the identity and near the half turn too."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fusion.maths import quaternion
from fusion.records import Float64
from tests.fusion.numeric import rotvecs, vectors

pytestmark = pytest.mark.filterwarnings("error")
laws = settings(max_examples=60, deadline=None)
rotations = rotvecs().map(quaternion.from_rotvec)
TOLERANCE = 1e-13


def scipy_rotation(q: Float64) -> Rotation:
    """The same rotation as scipy's, which keeps the scalar last."""
    return Rotation.from_quat(np.roll(q, -1, axis=-1))


def same_rotation(q: Float64, r: Float64) -> bool:
    """Whether two quaternions are equal up to sign."""
    return bool(min(np.abs(q - r).max(), np.abs(q + r).max()) < TOLERANCE)


@laws
@given(rotations, rotations, rotations)
def test_unit_quaternions_are_a_group(q: Float64, r: Float64, s: Float64) -> None:
    product = quaternion.multiply(q, r)
    assert abs(np.linalg.norm(product) - 1.0) < TOLERANCE
    np.testing.assert_allclose(
        quaternion.multiply(product, s), quaternion.multiply(q, quaternion.multiply(r, s)), atol=TOLERANCE
    )
    np.testing.assert_array_equal(quaternion.multiply(quaternion.IDENTITY, q), q)
    np.testing.assert_array_equal(quaternion.multiply(q, quaternion.IDENTITY), q)
    np.testing.assert_allclose(quaternion.multiply(q, quaternion.conjugate(q)), quaternion.IDENTITY, atol=TOLERANCE)
    np.testing.assert_allclose(quaternion.multiply(quaternion.conjugate(q), q), quaternion.IDENTITY, atol=TOLERANCE)


@laws
@given(rotations, rotations, vectors())
def test_rotation_acts_on_vectors(q: Float64, r: Float64, v: Float64) -> None:
    turned = quaternion.rotate(q, v)
    np.testing.assert_allclose(
        quaternion.rotate(quaternion.multiply(r, q), v), quaternion.rotate(r, turned), atol=1e-12
    )
    np.testing.assert_allclose(quaternion.rotate(-q, v), turned, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(turned), np.linalg.norm(v), atol=1e-12)
    np.testing.assert_allclose(scipy_rotation(q).apply(v), turned, atol=1e-12)
    np.testing.assert_allclose(quaternion.to_matrix(q) @ v, turned, atol=1e-12)


def test_hamilton_convention() -> None:
    """i j = k, and a quarter turn about z takes x to y."""
    i, j, k = np.eye(4)[1:]
    np.testing.assert_array_equal(quaternion.multiply(i, j), k)
    quarter = quaternion.from_rotvec([0.0, 0.0, 0.5 * math.pi])
    np.testing.assert_allclose(quarter, [math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)], atol=TOLERANCE)
    np.testing.assert_allclose(quaternion.rotate(quarter, [1.0, 0.0, 0.0]), [0.0, 1.0, 0.0], atol=TOLERANCE)


def test_names_cancel() -> None:
    """q_a_from_c = q_a_from_b q_b_from_c takes coordinates in c to those in a."""
    q_a_from_b, q_b_from_c = quaternion.from_rotvec([[0.3, -1.0, 0.2], [1.0, 0.5, -2.0]])
    v_c = np.array([1.0, 2.0, 3.0])
    v_a = quaternion.rotate(q_a_from_b, quaternion.rotate(q_b_from_c, v_c))
    np.testing.assert_allclose(quaternion.rotate(quaternion.multiply(q_a_from_b, q_b_from_c), v_c), v_a, atol=1e-14)


@laws
@given(rotvecs())
def test_logarithm_undoes_exponential(rotvec: Float64) -> None:
    q = quaternion.from_rotvec(rotvec)
    assert abs(np.linalg.norm(q) - 1.0) < TOLERANCE
    back = quaternion.to_rotvec(q)
    if np.linalg.norm(rotvec) < math.pi - 1e-9:
        np.testing.assert_allclose(back, rotvec, rtol=1e-13, atol=1e-15)
    else:  # A half turn has two rotation vectors.
        assert min(np.abs(back - rotvec).max(), np.abs(back + rotvec).max()) < 1e-8
    np.testing.assert_allclose(scipy_rotation(q).as_matrix(), Rotation.from_rotvec(rotvec).as_matrix(), atol=TOLERANCE)


@laws
@given(rotvecs(6.0 * math.pi))
def test_exponential_undoes_logarithm(rotvec: Float64) -> None:
    q = quaternion.from_rotvec(rotvec)
    shortest = quaternion.to_rotvec(q)
    assert np.linalg.norm(shortest) <= math.pi + TOLERANCE
    assert same_rotation(quaternion.from_rotvec(shortest), q)


@laws
@given(rotations)
def test_matrix_round_trip(q: Float64) -> None:
    matrix = quaternion.to_matrix(q)
    np.testing.assert_allclose(matrix, scipy_rotation(q).as_matrix(), atol=TOLERANCE)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=TOLERANCE)
    assert abs(np.linalg.det(matrix) - 1.0) < TOLERANCE
    back = quaternion.from_matrix(matrix)
    assert back[0] >= 0.0
    assert same_rotation(back, q)


@laws
@given(rotations, rotations, st.floats(0.0, 1.0))
def test_slerp_is_an_even_walk_along_the_shorter_arc(q: Float64, r: Float64, t: float) -> None:
    whole = quaternion.angle_between(q, r)
    assert whole <= math.pi + TOLERANCE
    assert same_rotation(quaternion.slerp(q, r, 0.0), q)
    assert same_rotation(quaternion.slerp(q, r, 1.0), r)
    between = quaternion.slerp(q, r, t)
    np.testing.assert_allclose(quaternion.angle_between(q, between), t * whole, atol=1e-12)
    np.testing.assert_allclose(quaternion.angle_between(between, r), (1.0 - t) * whole, atol=1e-12)
    assert same_rotation(quaternion.slerp(q, -r, 0.0), q)


@laws
@given(rotations, rotations, rotations)
def test_angle_is_a_distance_that_no_turn_changes(q: Float64, r: Float64, s: Float64) -> None:
    angle = quaternion.angle_between(q, r)
    np.testing.assert_allclose(quaternion.angle_between(r, q), angle, atol=1e-12)
    np.testing.assert_allclose(quaternion.angle_between(-q, r), angle, atol=1e-12)
    turned = quaternion.angle_between(quaternion.multiply(s, q), quaternion.multiply(s, r))
    np.testing.assert_allclose(turned, angle, atol=1e-12)
    np.testing.assert_allclose(angle, (scipy_rotation(q).inv() * scipy_rotation(r)).magnitude(), atol=1e-12)


@given(st.tuples(*[st.floats(-5.0, 5.0)] * 4).map(np.array).filter(lambda q: np.linalg.norm(q) > 1e-3))
@laws
def test_normalize_keeps_direction(q: Float64) -> None:
    unit = quaternion.normalize(q)
    assert abs(np.linalg.norm(unit) - 1.0) < TOLERANCE
    np.testing.assert_allclose(unit * np.linalg.norm(q), q, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 2), (0,), (2, 0, 3)])
def test_functions_broadcast_over_leading_axes(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    rotvec, v, t = random.normal(size=(*shape, 3)), random.normal(size=(*shape, 3)), random.uniform(size=shape)
    q = quaternion.from_rotvec(rotvec)
    one = quaternion.from_rotvec([0.1, 0.2, -0.3])
    results = {
        "multiply": (quaternion.multiply(q, one), (4,)),
        "conjugate": (quaternion.conjugate(q), (4,)),
        "normalize": (quaternion.normalize(q), (4,)),
        "rotate": (quaternion.rotate(q, v), (3,)),
        "rotate by one": (quaternion.rotate(one, v), (3,)),
        "to_rotvec": (quaternion.to_rotvec(q), (3,)),
        "to_matrix": (quaternion.to_matrix(q), (3, 3)),
        "from_matrix": (quaternion.from_matrix(quaternion.to_matrix(q)), (4,)),
        "slerp": (quaternion.slerp(q, one, t), (4,)),
        "angle_between": (quaternion.angle_between(q, one), ()),
    }
    for name, (result, tail) in results.items():
        assert result.shape == (*shape, *tail), name
        assert result.dtype == np.float64, name
    for index in np.ndindex(shape):
        np.testing.assert_array_equal(results["multiply"][0][index], quaternion.multiply(q[index], one))
        np.testing.assert_allclose(results["to_matrix"][0][index], quaternion.to_matrix(q[index]), atol=1e-15)


def test_arguments_are_left_as_they_were() -> None:
    random = np.random.default_rng(2)
    q, r, v = quaternion.from_rotvec(random.normal(size=(2, 3)))[0], -quaternion.IDENTITY, np.arange(3.0)
    before = q.copy(), r.copy(), v.copy()
    for result in (
        quaternion.multiply(q, r),
        quaternion.rotate(q, v),
        quaternion.to_rotvec(r),
        quaternion.normalize(q),
    ):
        assert np.isfinite(result).all()
    quaternion.slerp(q, r, 0.5)
    quaternion.from_rotvec(v)
    for array, copy in zip((q, r, v), before, strict=True):
        np.testing.assert_array_equal(array, copy)
