"""Features stay of size one and say what they are said to say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusion.estimators.radar.features import (
    FOLLOWED,
    FRAME_FEATURES,
    POINT_FEATURES,
    frame_features,
    point_features,
)

metres = st.floats(-3.0, 3.0)


@given(x=metres, y=metres, z=st.floats(0.0, 2.5), speed=st.floats(-6.0, 6.0))
def test_a_point_in_words(x: float, y: float, z: float, speed: float) -> None:
    features = point_features(np.array([[x, y, z]]), np.array([speed]))
    assert features.shape == (1, POINT_FEATURES)
    assert features.dtype == np.float32
    expected = [x, y, z - 0.96, speed, abs(speed), np.sqrt(x * x + y * y), float(abs(speed) > 0.1)]
    np.testing.assert_allclose(features[0], expected, atol=1e-5)


def test_frames_of_any_shape() -> None:
    counts = np.array([[0, 40], [64, 1]])
    features = frame_features(counts, np.array([[1, 2], [500, 1]]), np.full((2, 2, 2), 0.1), np.array([[0, 0], [1, 1]]))
    assert features.shape == (2, 2, FRAME_FEATURES)
    assert np.isfinite(features).all()
    assert np.abs(features).max() <= 2.0  # a gap of minutes too
    np.testing.assert_allclose(features[..., FOLLOWED], [[0, 0], [1, 1]])
    np.testing.assert_allclose(features[0, 1, :3], [1.0, 0.25 * np.log(40.0), 0.2], rtol=1e-6)
