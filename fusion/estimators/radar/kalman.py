"""The update of a Gaussian by a linear measurement."""

from __future__ import annotations

import numpy as np

from fusion.records import Float64


def updated(
    state: Float64, covariance: Float64, residual: Float64, jacobian: Float64, error: Float64
) -> tuple[Float64, Float64]:
    """State [n] and covariance [n, n] after a measurement.

    The covariance is in Joseph's form (Bucy & Joseph 1968), which stays symmetric and positive.

    Args:
        state: before.
        covariance: before.
        residual: [m] measured minus predicted.
        jacobian: [m, n] of the measure.
        error: [m, m] covariance of the measurement.
    """
    innovation = jacobian @ covariance @ jacobian.T + error
    gain = np.linalg.solve(innovation, jacobian @ covariance).T
    left = np.eye(len(state)) - gain @ jacobian
    after = left @ covariance @ left.T + gain @ error @ gain.T
    return state + gain @ residual, 0.5 * (after + after.T)
