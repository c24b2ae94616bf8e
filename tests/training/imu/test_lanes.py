"""Windows carry takes on from one to the next, and draw movements as the split says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.training.imu.motions import waving
from training.imu.lanes import REAL_SHARE, Lanes, draw_weights
from training.imu.movements import split, use_of
from training.imu.recorded import take_of
from training.imu.takes import TakeParams, draw_take

PARAMS = TakeParams(shortest_s=2.0, longest_s=5.0)


def test_a_lane_plays_each_take_from_its_beginning_to_its_end() -> None:
    movements = [waving("a", 20.0), waving("b", 3.0, pace=1.5)]
    lanes = Lanes(movements, 3, PARAMS, (7,))
    windows = [lanes.window(50) for _ in range(12)]
    assert windows[0].fresh.all()
    for lane in range(3):
        for before, after in pairwise(windows):
            full = bool(before.valid[:, lane].all())
            if not after.fresh[lane]:
                assert full
                step = np.abs(after.six[0, lane] - before.six[-1, lane]).max()
                assert step < 0.15
            count = int(after.valid[:, lane].sum())
            assert after.valid[:count, lane].all()
            assert not np.abs(after.features[count:, lane]).any()


def test_one_lane_deals_out_exactly_what_it_draws() -> None:
    movement = waving("a", 20.0)
    lanes = Lanes([movement], 1, PARAMS, (5,))
    random = np.random.default_rng([5])
    random.choice(1, size=2, p=[1.0])
    take = draw_take(movement, random, PARAMS, movement)
    dealt = []
    while sum(map(len, dealt)) < len(take.features):
        window = lanes.window(64)
        dealt.append(window.features[window.valid[:, 0], 0])
    np.testing.assert_array_equal(np.concatenate(dealt), take.features)
    assert lanes.window(64).fresh[0]


def test_the_same_seed_gives_the_same_windows() -> None:
    movements = [waving("a", 20.0), waving("b", 6.5)]
    one, other = (Lanes(movements, 2, PARAMS, (1, 0)).window(40) for _ in range(2))
    np.testing.assert_array_equal(one.features, other.features)
    assert not np.array_equal(one.features, Lanes(movements, 2, PARAMS, (2, 0)).window(40).features)


def test_weights_follow_the_split() -> None:
    table = split()
    movements = [waving("a", 20.0), waving("b", 5.0), waving("c", 9.0, group="climb")]
    weights = draw_weights(movements)
    assert sum(weights) == pytest.approx(1.0)
    share = table["weights"]["walk"] / (table["weights"]["walk"] + table["weights"]["climb"])
    assert weights[0] + weights[1] == pytest.approx(share)
    assert weights[0] / weights[1] == pytest.approx(2.0, rel=0.02)
    both = [*movements, waving("d", 10.0, group="bandai_namco_1"), waving("e", 30.0, group="deepmimic_sie")]
    weights = draw_weights(both)
    assert weights[3] + weights[4] == pytest.approx(table["non_commercial"]["weight"])
    assert weights[4] / weights[3] == pytest.approx(3.0, rel=0.02)


def test_whole_styles_are_held_out() -> None:
    assert use_of("bn_dataset-1_bow_giant_001") == "test"
    assert use_of("bn_dataset-2_run_elderly_012") == "validate"
    assert use_of("bn_dataset-2_run_normal_012") == "train"
    assert use_of("dm_sie_run_right14") == use_of("dm_sie_run_left14") == "test"


def test_recorded_takes_are_drawn_as_well() -> None:
    movement = waving("a", 20.0)
    drawn = draw_take(movement, np.random.default_rng(0), TakeParams(shortest_s=6.0, longest_s=7.0))
    real = take_of(
        drawn.q_seen, np.zeros((len(drawn.features), 6, 3)), np.zeros((len(drawn.features), 3)),
        drawn.q_world_from_segment, drawn.positions_m,
    )  # fmt: skip
    lanes = Lanes([movement], 40, PARAMS, (3,), [real])
    window = lanes.window(30)
    # Only the recorded take has accelerations of nothing.
    recorded = ~np.abs(window.features[:, :, 3:6]).any(axis=(0, 2))
    assert 0.2 < recorded.mean() < 2.0 * REAL_SHARE
    shown = window.six[:, recorded][0, 0]
    assert np.abs(real.six - shown).max(axis=(1, 2)).min() < 1e-6
