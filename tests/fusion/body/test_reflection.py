"""Which parts reflect: shares of a whole, the same on both sides."""

from __future__ import annotations

import pytest

from fusion.body.reflection import reflecting_share
from fusion.body.skeleton import SEGMENT_NAMES


def test_shares_are_of_one_whole() -> None:
    assert sum(map(reflecting_share, SEGMENT_NAMES)) == pytest.approx(1.1, abs=0.15)


@pytest.mark.parametrize("name", [name for name in SEGMENT_NAMES if name.startswith("left_")])
def test_left_and_right_reflect_alike(name: str) -> None:
    assert reflecting_share(name) == reflecting_share(name.replace("left_", "right_"))


def test_below_the_knee_there_is_almost_nothing() -> None:
    assert reflecting_share("left_lower_leg") + reflecting_share("left_foot") < 0.02 < reflecting_share("left_forearm")
