"""The radar network: order of points does not matter, memory is the caller's, members answer as one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.estimators.radar.features import FOLLOWED, FRAME_FEATURES, POINT_FEATURES
from fusion.estimators.radar.network import NetworkJoints, RadarNetwork
from fusion.estimators.radar.packing import RadarWeights
from tests.fusion.estimators.radar.drawn import drawn_weights

WEIGHTS = drawn_weights()


def frames(seed: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [
        (random.normal(size=(int(random.integers(0, 40)), POINT_FEATURES)), random.normal(size=FRAME_FEATURES))
        for _ in range(count)
    ]


def told(network: RadarNetwork, points: np.ndarray, frame: np.ndarray, state: np.ndarray) -> NetworkJoints:
    answer = network.step(points, frame, state)
    assert answer is not None
    return answer


@given(seed=st.integers(0, 1000))
def test_the_order_of_points_does_not_matter(seed: int) -> None:
    network = RadarNetwork(WEIGHTS)
    states = network.start(), network.start()
    for points, frame in frames(seed, 4):
        shuffled = np.random.default_rng(seed).permutation(points)
        first, second = told(network, points, frame, states[0]), told(network, shuffled, frame, states[1])
        np.testing.assert_allclose(first.positions_m, second.positions_m, atol=1e-5)
        np.testing.assert_allclose(first.sigmas_m, second.sigmas_m, rtol=1e-4)


def test_the_past_counts() -> None:
    network = RadarNetwork(WEIGHTS)
    (before, frame), (points, other) = frames(1, 2)
    warm = network.start()
    told(network, before, frame, warm)
    assert np.abs(told(network, points, other, warm).positions_m
                  - told(network, points, other, network.start()).positions_m).max() > 1e-3  # fmt: skip


def test_a_state_goes_on_in_another_network_with_the_same_bits() -> None:
    first, second = RadarNetwork(WEIGHTS), RadarNetwork(WEIGHTS)
    state = first.start()
    sequence = frames(2, 8)
    for points, frame in sequence[:4]:
        told(first, points, frame, state)
    copy = state.copy()
    for points, frame in sequence[4:]:
        a, b = told(first, points, frame, state), told(second, points, frame, copy)
        np.testing.assert_array_equal(a.positions_m, b.positions_m)
        np.testing.assert_array_equal(a.sigmas_m, b.sigmas_m)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e6])
def test_broken_features_are_refused_and_leave_the_state(bad: float) -> None:
    network, state = RadarNetwork(WEIGHTS), np.full((2, 12), 0.3, dtype=np.float32)
    points, frame = np.zeros((3, POINT_FEATURES)), np.zeros(FRAME_FEATURES)
    points[1, 2] = bad
    assert network.step(points, frame, state) is None
    points[1, 2], frame[0] = 0.0, bad
    assert network.step(points, frame, state) is None
    assert (state == np.float32(0.3)).all()


def test_wrong_shapes_are_named() -> None:
    network = RadarNetwork(WEIGHTS)
    with pytest.raises(ValueError, match=r"points have \(3,\) features, expected \(7,\)"):
        network.step(np.zeros((2, 3)), np.zeros(FRAME_FEATURES), network.start())
    with pytest.raises(ValueError, match=r"frame have \(2,\) features"):
        network.step(np.zeros((2, POINT_FEATURES)), np.zeros(2), network.start())
    with pytest.raises(ValueError, match=r"make one with start\(\)"):
        network.step(np.zeros((2, POINT_FEATURES)), np.zeros(FRAME_FEATURES), np.zeros((2, 12)))


def _member(weights: RadarWeights, *which: int) -> RadarWeights:
    fixed = {"mean_pose_m", "sigma_scale", "truth_offset_m"}
    arrays = {n: a if n in fixed else a[list(which)] for n, a in weights.arrays.items()}
    return RadarWeights.from_arrays(arrays)


@given(seed=st.integers(0, 1000))
def test_members_answer_as_a_mixture(seed: int) -> None:
    """Mean of means; mean of variances plus variance of means; a member twice is that member."""
    (points, frame), *_ = frames(seed, 1)
    frame[FOLLOWED] = 0.0
    both, twice, *single = (
        told(network, points, frame, network.start())
        for network in (RadarNetwork(_member(WEIGHTS, *which)) for which in ((0, 1), (0, 0), (0,), (1,)))
    )
    np.testing.assert_allclose(twice.positions_m, single[0].positions_m, atol=1e-5)
    np.testing.assert_allclose(twice.sigmas_m, single[0].sigmas_m, rtol=1e-4)
    means = np.stack([one.positions_m for one in single])
    scale = WEIGHTS.arrays["sigma_scale"][0]
    variances = np.stack([(one.sigmas_m / scale) ** 2 for one in single])
    np.testing.assert_allclose(both.positions_m, means.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(both.sigmas_m, np.sqrt(variances.mean(0) + means.var(0)) * scale, rtol=1e-3)


def test_deviations_are_scaled_by_how_the_anchor_is_known() -> None:
    plain = replace(WEIGHTS, arrays={**WEIGHTS.arrays, "sigma_scale": np.ones((2, 3), dtype=np.float32)})
    points, frame = np.zeros((5, POINT_FEATURES)), np.zeros(FRAME_FEATURES)
    for followed in (0, 1):
        frame[FOLLOWED] = followed
        sigmas = [told(RadarNetwork(w), points, frame, RadarNetwork(w).start()).sigmas_m for w in (WEIGHTS, plain)]
        ratio = np.broadcast_to(WEIGHTS.arrays["sigma_scale"][followed], (19, 3))
        np.testing.assert_allclose(sigmas[0] / sigmas[1], ratio, rtol=1e-5)
