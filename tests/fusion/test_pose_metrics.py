"""Scores of poses: laws, cases worked out by hand, and that each leaves out what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.body.kinematics import forward_kinematics_batch
from fusion.body.skeleton import COORDINATES, REFERENCE_LENGTHS_M, SEGMENT, SEGMENTS
from fusion.maths import quaternion
from fusion.metrics import Track, jitter_m_s3
from fusion.pose_metrics import (
    DRIFT_WINDOWS_M,
    END_SEGMENTS,
    SIP_SEGMENTS,
    PoseScores,
    angular_rad,
    drift_percent,
    end_drift_percent,
    heading_excess_rad,
    inferred_segments,
    mean_scores,
    pose_scores,
    position_m,
    positions_from_rotations,
    sip_rad,
    track_scores,
    walked_m,
    with_true_root,
    with_true_segments,
)
from fusion.records import Float64

RANDOM = np.random.default_rng(4)
TIMES = np.arange(40, dtype=np.int64) * 16_666_667
SEEDS = st.integers(0, 2**32 - 1)


def poses(seed: int, count: int = 40) -> tuple[Float64, Float64, Float64]:
    """Coordinates [T, 44] and what forward kinematics makes of them."""
    coordinates = np.random.default_rng(seed).normal(0.0, 0.4, (count, COORDINATES))
    return coordinates, *forward_kinematics_batch(coordinates, REFERENCE_LENGTHS_M)


def turned(q: Float64, names: tuple[str, ...], angle_rad: float) -> Float64:
    """Some segments turned by an angle about axes of their own."""
    result = q.copy()
    for name in names:
        axis = RANDOM.normal(size=3)
        turn = quaternion.from_rotvec(angle_rad * axis / np.linalg.norm(axis))
        result[:, SEGMENT[name]] = quaternion.multiply(q[:, SEGMENT[name]], turn)
    return result


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_positions_are_those_of_forward_kinematics(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = REFERENCE_LENGTHS_M * random.uniform(0.7, 1.4, len(REFERENCE_LENGTHS_M))
    positions, q = forward_kinematics_batch(random.normal(0.0, 0.6, (3, COORDINATES)), lengths)
    np.testing.assert_allclose(positions_from_rotations(q, lengths), positions - positions[:, :1], atol=1e-12)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_errors_are_zero_for_the_truth_symmetric_and_free_of_the_sign_of_quaternions(seed: int) -> None:
    (_, _, q), (_, _, other) = poses(seed, 5), poses(seed + 1, 5)
    assert sip_rad(q, q) == angular_rad(q, q) == pytest.approx(0.0, abs=1e-7)
    assert position_m(q, q, REFERENCE_LENGTHS_M) == 0.0
    assert sip_rad(q, other) == pytest.approx(sip_rad(-other, q))
    assert angular_rad(q, -other) == pytest.approx(angular_rad(other, q))
    assert position_m(q, other, REFERENCE_LENGTHS_M) == pytest.approx(position_m(-other, q, REFERENCE_LENGTHS_M))


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_turning_both_bodies_changes_nothing(seed: int) -> None:
    (_, _, q), (_, _, other) = poses(seed, 5), poses(seed + 1, 5)
    turn = quaternion.from_rotvec(np.random.default_rng(seed).normal(size=3))
    both = quaternion.multiply(turn, q), quaternion.multiply(turn, other)
    assert angular_rad(*both) == pytest.approx(angular_rad(q, other))
    assert position_m(*both, REFERENCE_LENGTHS_M) == pytest.approx(position_m(q, other, REFERENCE_LENGTHS_M))
    # A whole body that is turned as one has no error once its root is right.
    assert angular_rad(with_true_root(both[0], q), q) == pytest.approx(0.0, abs=1e-6)


def test_sip_looks_at_upper_arms_and_upper_legs_only() -> None:
    _, _, q = poses(1)
    arms = turned(q, ("left_upper_arm", "right_upper_leg"), 0.3)
    assert sip_rad(arms, q) == pytest.approx(0.15)
    assert angular_rad(arms, q) == pytest.approx(0.6 / SEGMENTS)
    assert sip_rad(turned(q, ("pelvis", "head", "left_forearm"), 1.0), q) == pytest.approx(0.0, abs=1e-7)


def test_position_error_by_hand() -> None:
    """An elbow that is turned by 90 degrees moves the hand alone, by the forearm's length times the root of two."""
    _, _, q = poses(2)
    across = np.zeros(3)
    across[2] = 0.5 * np.pi  # the forearm lies along y, so that z turns it fully
    bent = q.copy()
    place = SEGMENT["left_forearm"]
    bent[:, place] = quaternion.multiply(q[:, place], quaternion.from_rotvec(across))
    hand = np.linalg.norm(positions_from_rotations(q, REFERENCE_LENGTHS_M)[:, SEGMENT["left_hand"]] -
                          positions_from_rotations(q, REFERENCE_LENGTHS_M)[:, place], axis=1)  # fmt: skip
    assert hand == pytest.approx(0.2426, abs=0.01)
    expected = float(hand.mean()) * np.sqrt(2.0)
    alone = np.array([SEGMENT["left_hand"]], dtype=np.int64)
    assert position_m(bent, q, REFERENCE_LENGTHS_M, alone) == pytest.approx(expected, rel=0.02)
    assert position_m(bent, q, REFERENCE_LENGTHS_M) == pytest.approx(expected / SEGMENTS, rel=0.02)


def test_a_wrong_root_position_is_no_positional_error_and_a_wrong_turn_is() -> None:
    _, _, q = poses(3)
    heading = quaternion.multiply(quaternion.from_rotvec(np.array([0.0, 0.0, 0.2])), q)
    assert position_m(heading, q, REFERENCE_LENGTHS_M) > 0.02
    assert position_m(with_true_root(heading, q), q, REFERENCE_LENGTHS_M) == pytest.approx(0.0, abs=1e-9)
    assert angular_rad(heading, q) == pytest.approx(0.2)
    np.testing.assert_allclose(heading_excess_rad(heading, q), 0.2, atol=1e-9)


def test_counting_segments_with_a_sensor_flatters() -> None:
    sensed = ("pelvis", "head", "left_forearm", "right_forearm", "left_lower_leg", "right_lower_leg")
    _, _, q = poses(4)
    left = inferred_segments(sensed)
    assert len(left) == SEGMENTS - 6
    wrong = turned(q, tuple(n for n in SEGMENT if n not in sensed), 0.2)
    assert angular_rad(wrong, q, left) == pytest.approx(0.2)
    assert angular_rad(wrong, q) == pytest.approx(0.2 * 17 / 23)
    published = with_true_segments(wrong, q, END_SEGMENTS)
    assert angular_rad(published, q) == pytest.approx(0.2 * 11 / 23)
    assert set(SIP_SEGMENTS) <= set(left)
    with pytest.raises(ValueError, match="elbow: no segment; segments: pelvis"):
        inferred_segments(("pelvis", "elbow"))


def test_times_without_a_pose_do_not_count() -> None:
    _, _, q = poses(5)
    wrong = turned(q, ("left_upper_leg",), 0.4)
    wrong[:20] = q[:20]
    wrong[:10] = np.nan
    scores = pose_scores(TIMES, wrong, q, REFERENCE_LENGTHS_M)
    assert scores.sip_deg == pytest.approx(np.degrees(0.4) / 4.0 * 20 / 30)
    none = pose_scores(TIMES, np.full_like(q, np.nan), q, REFERENCE_LENGTHS_M)
    assert np.isnan([none.sip_deg, none.angular_deg, none.position_cm, none.jitter_km_s3]).all()


def test_scores_have_the_units_of_tables() -> None:
    _, _, q = poses(6)
    wrong = turned(q, ("left_upper_leg", "t8"), 0.4)
    scores = pose_scores(TIMES, wrong, q, REFERENCE_LENGTHS_M)
    assert scores.sip_deg == pytest.approx(np.degrees(sip_rad(wrong, q)))
    assert scores.angular_deg == pytest.approx(np.degrees(angular_rad(wrong, q)))
    assert scores.position_cm == pytest.approx(100.0 * position_m(wrong, q, REFERENCE_LENGTHS_M))
    jitter = jitter_m_s3(TIMES, positions_from_rotations(wrong, REFERENCE_LENGTHS_M))
    assert scores.jitter_km_s3 == pytest.approx(jitter / 1000.0)
    assert jitter > 0.0


def test_sequences_weigh_the_same_and_those_without_a_figure_nothing() -> None:
    def scores(sip: float, angular: float) -> PoseScores:
        return PoseScores(sip_deg=sip, angular_deg=angular, position_cm=1.0, jitter_km_s3=0.5)

    mean = mean_scores([scores(10.0, 4.0), scores(20.0, np.nan)])
    assert mean == PoseScores(sip_deg=15.0, angular_deg=4.0, position_cm=1.0, jitter_km_s3=0.5)
    assert np.isnan(mean_scores([]).sip_deg)


# ---------------------------------------------------------------- drift


def walk(length_m: float, step_m: float = 0.02) -> Float64:
    """Ahead along x, up and down as a pelvis goes."""
    x = np.arange(0.0, length_m, step_m)
    return np.stack([x, np.zeros_like(x), 0.95 + 0.02 * np.sin(9.0 * x)], axis=1)


def test_a_stretched_way_drifts_by_the_stretch() -> None:
    truth = walk(15.0)
    for share in (0.0, 0.03, -0.1):
        estimate = truth * [1.0 + share, 1.0, 1.0] + [5.0, -2.0, 0.3]
        assert drift_percent(estimate, truth) == pytest.approx(100.0 * abs(share), abs=0.1)
        assert end_drift_percent(estimate, truth) == pytest.approx(100.0 * abs(share), abs=0.1)


def test_a_wrong_heading_is_taken_out_at_the_start_where_it_is_known() -> None:
    truth = walk(15.0)
    angle = 0.5
    c, s = np.cos(angle), np.sin(angle)
    estimate = truth @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    assert drift_percent(estimate, truth) == pytest.approx(100.0 * 2.0 * np.sin(angle / 2.0), rel=0.01)
    assert drift_percent(estimate, truth, np.full(len(truth), angle)) == pytest.approx(0.0, abs=1e-9)


def test_height_is_no_drift() -> None:
    truth = walk(6.0)
    assert drift_percent(truth + np.linspace(0.0, 1.0, len(truth))[:, None] * [0.0, 0.0, 1.0], truth) == 0.0


def test_who_stays_or_goes_less_than_a_window_has_no_drift() -> None:
    spot = walk(15.0) * [0.0, 1.0, 1.0]
    assert np.isnan(drift_percent(spot + 0.1, spot))
    assert np.isnan(end_drift_percent(spot, spot))
    short = walk(0.9 * min(DRIFT_WINDOWS_M))
    assert np.isnan(drift_percent(short, short))
    assert end_drift_percent(short, short) == 0.0


@given(SEEDS, st.floats(0.0, 0.02))
@settings(max_examples=20, deadline=None)
def test_a_way_is_hardly_lengthened_by_noise(seed: int, noise_m: float) -> None:
    truth = walk(10.0)
    noisy = truth + np.random.default_rng(seed).normal(0.0, noise_m, truth.shape)
    ways = walked_m(noisy)
    assert (np.diff(ways) >= 0.0).all()
    assert ways[-1] == pytest.approx(10.0, abs=0.6)


def test_times_without_a_place_are_left_out() -> None:
    truth = walk(15.0)
    estimate = truth * [1.05, 1.0, 1.0]
    estimate[100:200] = np.nan
    assert drift_percent(estimate, truth) == pytest.approx(5.0, abs=0.1)


# ---------------------------------------------------------------- tracks


def track(q: Float64 | None, root_m: Float64, times: slice = slice(None)) -> Track:
    positions = np.repeat(root_m[:, None], SEGMENTS, axis=1)
    stamps = np.arange(len(root_m), dtype=np.int64) * 10_000_000
    return Track(1, stamps[times], positions[times], None if q is None else q[times])


def test_tracks_are_compared_where_both_are_and_people_weigh_the_same() -> None:
    root = walk(12.0)
    q = np.repeat(poses(7, 1)[2], len(root), axis=0)
    wrong = turned(q, ("left_upper_leg",), 0.4)
    truths = [track(q, root), track(q, root), track(None, root)]
    followed = [track(wrong, root * [1.1, 1.0, 1.0], slice(50, 580)), track(q, root), track(q, root)]
    scores, drift = track_scores(truths, followed, 1_000_000_000)
    assert scores.sip_deg == pytest.approx(np.degrees(0.4) / 4.0 / 2.0)
    assert drift == pytest.approx(5.0, abs=0.1)
    nothing, none = track_scores([truths[2]], [followed[2]], 0)
    assert np.isnan([nothing.sip_deg, none]).all()
