"""The radar benchmark's own parts."""

from __future__ import annotations

import pytest

from benchmarks import radar_devices
from nodes.devices.ti.figures import DATA_BYTES_S
from nodes.devices.ti.virtual import VirtualTi


def test_the_full_line_is_nearly_full() -> None:
    sensor = VirtualTi()
    sensor.configure(radar_devices.CFGS["iwr6843"].read_text())
    frame = next(radar_devices._full_line().frames(0.05))
    size = len(sensor.encode(1, frame, clock_s=0.0, processing_s=0.003, transmit_s=0.04))
    assert 0.93 < size / 0.05 / DATA_BYTES_S < 0.99


def test_the_spread_of_errors() -> None:
    spread = radar_devices._spread([-3.0, *([1.0] * 98), 2.0])
    assert (spread["median_ms"], spread["p5_ms"], spread["p95_ms"], spread["worst_ms"]) == (1.0, 1.0, 1.0, 3.0)
    assert radar_devices._spread([]) == {}


def test_an_unknown_part_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["radar_devices", "--only", "nodes"])
    assert radar_devices.main() == 2
    assert "allowed node, stamps" in capsys.readouterr().err
