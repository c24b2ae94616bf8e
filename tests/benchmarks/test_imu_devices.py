"""The benchmark of inertial devices runs, and its fuzz finds what it is there to find."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import imu_devices
from nodes.devices.xsens_mti import MtiDecoder


def test_a_short_fuzz_and_speed() -> None:
    row = imu_devices.fuzz("xsens-mti", 0.3)
    assert row["mb"] >= 0.3
    assert row["samples"] > 100
    assert row["corrupt"] > 10
    assert row["buffered_bytes"] < 3000
    assert imu_devices.speed("witmotion")["mb_s"] > 0


def test_the_fuzz_sees_a_decoder_that_depends_on_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = MtiDecoder.feed

    def forgetful(self: MtiDecoder, data: bytes) -> Any:
        if len(data) == 1:
            self._buffer = self._buffer[-20:]
        return feed(self, data)

    monkeypatch.setattr(MtiDecoder, "feed", forgetful)
    with pytest.raises(AssertionError):
        imu_devices.fuzz("xsens-mti", 0.3)


def test_an_unknown_part_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["imu_devices", "--only", "sped"])
    assert imu_devices.main() == 2
    assert "allowed speed, node, fuzz" in capsys.readouterr().err
