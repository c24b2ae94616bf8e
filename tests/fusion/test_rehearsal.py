"""The rehearsal goes the whole way."""

from __future__ import annotations

from fusion.rehearsal import rehearse


def test_one_person_comes_out() -> None:
    assert rehearse() == 1
