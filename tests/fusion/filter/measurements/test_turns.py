"""A rotation as an observation."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from fusion.filter.measurements.turns import inverse_right_jacobian_into, observe_turn
from fusion.filter.system import add_feature, make_system
from fusion.maths import quaternion
from fusion.maths.kernels import left_jacobian_into
from fusion.records import Float64
from tests.fusion.numeric import rotvecs

laws = settings(max_examples=60, deadline=None)


@laws
@given(rotvecs())
def test_inverse_right_jacobian_undoes_the_right_jacobian(r: Float64) -> None:
    forward, back = np.empty((3, 3)), np.empty((3, 3))
    left_jacobian_into(r[0], r[1], r[2], -1.0, forward)
    inverse_right_jacobian_into((r[0], r[1], r[2]), back)
    np.testing.assert_allclose(back @ forward, np.eye(3), atol=1e-9)


@laws
@given(rotvecs(3.0), rotvecs())
def test_residual_is_the_rotation_that_is_missing(missing: Float64, at: Float64) -> None:
    system = make_system(1)
    predicted = np.asarray(quaternion.from_rotvec(at))
    measured = np.asarray(quaternion.multiply(quaternion.from_rotvec(missing), predicted))
    observe_turn(system, add_feature(system, 3), tuple(measured), tuple(predicted), (0.1, 0.2, 0.3), 4)
    np.testing.assert_allclose(system.residual[0], missing, atol=1e-9)
    np.testing.assert_allclose(system.variance[0], [0.1, 0.2, 0.3])
    assert system.source[0] == 4
