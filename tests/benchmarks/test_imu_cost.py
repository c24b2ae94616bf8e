"""The shares of the cost benchmark are there and add up; how large they are is not for a test to say."""

from __future__ import annotations

import pytest

from benchmarks import imu_cost


def test_each_case_has_its_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imu_cost, "ROUNDS", 1)
    costs = imu_cost.inertial_costs(4.5)
    assert set(costs) == {"imu", "imu+network", "cameras", "cameras+imu", "cameras+imu+network"}
    for name, shares in costs.items():
        assert tuple(shares) == imu_cost.COLUMNS
        assert 0.0 < shares["least"] <= shares["total"]
        assert shares["inertial_take"] < shares["total"]
        assert (shares["orientation"] > 0.0) == ("imu" in name)
