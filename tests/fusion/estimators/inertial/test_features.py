"""What the network takes in does not depend on the heading, and six numbers are a rotation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.estimators.inertial.features import features_of, quaternions_of_six, six_of
from fusion.estimators.inertial.layout import (
    ACCELERATION_SCALE,
    FEATURES,
    JOINTS,
    PARTS,
    POSE_SEGMENTS,
    RATE_SCALE,
    SITES,
    TOLD_JOINTS,
    TOLD_SEGMENTS,
    site_columns,
)
from fusion.maths import quaternion
from fusion.records import Float64


def drawn(seed: int, frames: int = 4) -> tuple[Float64, Float64, Float64]:
    random = np.random.default_rng(seed)
    q = quaternion.normalize(random.standard_normal((frames, len(SITES), 4)))
    return q, random.standard_normal((frames, len(SITES), 3)), random.standard_normal((frames, 3))


@given(st.integers(0, 1000), st.floats(-7.0, 7.0))
@settings(deadline=None)  # the first case compiles
def test_turning_all_about_the_vertical_changes_nothing(seed: int, heading_rad: float) -> None:
    q, acceleration, rate = drawn(seed)
    turn = quaternion.from_rotvec(np.array([0.0, 0.0, heading_rad]))
    turned = features_of(quaternion.multiply(turn, q), quaternion.rotate(turn, acceleration), rate)
    np.testing.assert_allclose(turned, features_of(q, acceleration, rate), atol=2e-6)


def test_a_tilt_of_all_is_seen() -> None:
    q, acceleration, rate = drawn(1)
    turn = quaternion.from_rotvec(np.array([0.5, 0.0, 0.0]))
    turned = features_of(quaternion.multiply(turn, q), quaternion.rotate(turn, acceleration), rate)
    assert np.abs(turned - features_of(q, acceleration, rate))[:, :3].max() > 0.1


@given(st.integers(0, 1000))
@settings(deadline=None)  # the first case compiles
def test_columns_are_what_the_layout_says(seed: int) -> None:
    q, acceleration, rate = drawn(seed)
    features = features_of(q, acceleration, rate)
    rotations = quaternion.to_matrix(q)
    back = np.swapaxes(rotations[:, 0], -1, -2)
    root = features[:, site_columns("pelvis")]
    np.testing.assert_allclose(root[:, :3], back @ np.array([0.0, 0.0, 1.0]), atol=1e-6)
    seen = np.einsum("tij,tj->ti", back, acceleration[:, 0])
    np.testing.assert_allclose(root[:, 3:6], ACCELERATION_SCALE * seen, atol=1e-6)
    np.testing.assert_allclose(root[:, 6:], RATE_SCALE * rate, atol=1e-6)
    for k, site in enumerate(SITES[1:], start=1):
        leaf = features[:, site_columns(site)]
        np.testing.assert_allclose(leaf[:, :9].reshape(-1, 3, 3), back @ rotations[:, k], atol=1e-6)
        beside = np.einsum("tij,tj->ti", back, acceleration[:, k] - acceleration[:, 0])
        np.testing.assert_allclose(leaf[:, 9:], ACCELERATION_SCALE * beside, atol=1e-6)


def test_wrong_shapes_are_named() -> None:
    q, acceleration, rate = drawn(0)
    with pytest.raises(ValueError, match=r"acceleration has shape \(4, 5, 3\)"):
        features_of(q, acceleration[:, :5], rate)


@given(st.integers(0, 1000))
@settings(deadline=None)  # the first case compiles
def test_six_numbers_give_the_rotation_back(seed: int) -> None:
    q = quaternion.normalize(np.random.default_rng(seed).standard_normal((9, 4)))
    q[0], q[1] = (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)  # none, and half a turn
    found = np.empty((9, 4))
    six = six_of(quaternion.to_matrix(q))
    # Columns that are too long and not at right angles mean the same rotation.
    six[:, 3:] += 0.7 * six[:, :3]
    quaternions_of_six((3.0 * six).astype(np.float32), found)
    np.testing.assert_allclose(quaternion.angle_between(found, q), 0.0, atol=2e-3)
    assert (found[:, 0] >= 0.0).all()


def test_columns_that_span_no_plane_are_no_rotation() -> None:
    found = np.zeros((3, 4))
    six = np.array([[0, 0, 0, 1, 0, 0], [1, 0, 0, 2, 0, 0], [np.nan, 0, 0, 0, 1, 0]], dtype=np.float32)
    quaternions_of_six(six, found)
    assert np.isnan(found).all()


def test_every_joint_and_segment_is_told_and_every_site_is_seen() -> None:
    assert set(TOLD_JOINTS) == set(JOINTS)
    assert sorted(TOLD_SEGMENTS) == sorted(POSE_SEGMENTS)
    assert {column for part in PARTS for column in part.columns} == set(range(FEATURES))
    assert not set(SITES) & set(POSE_SEGMENTS)
