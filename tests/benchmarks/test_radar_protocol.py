"""The benchmark of the TI decoder runs, and finds what it is there to find."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import radar_protocol
from nodes.devices.ti.frames import TiDecoder


def test_a_short_fuzz() -> None:
    row = radar_protocol.fuzz(0.2)
    assert row["mb"] >= 0.2
    assert row["frames"] > 100
    assert row["corrupt"] > 10
    assert row["mb_compared_byte_by_byte"] > 0.0
    assert row["most_held_bytes"] < 66_000


def test_the_fuzz_sees_a_decoder_that_depends_on_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = TiDecoder.feed

    def forgetful(self: TiDecoder, data: bytes) -> Any:
        if len(data) == 7 and len(self._buffer) > 40:
            del self._buffer[-1:]
        return feed(self, data)

    monkeypatch.setattr(TiDecoder, "feed", forgetful)
    with pytest.raises(AssertionError):
        radar_protocol.fuzz(0.2)


def test_damage_costs_no_other_frame() -> None:
    row = radar_protocol.damage_row("people", "bytes lost", 3)
    assert (row["others"], row["lost"], row["late"]) == (21, 0, 0)


def test_lost_and_late_frames_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = TiDecoder.feed
    held: list[Any] = []

    def slow(self: TiDecoder, data: bytes) -> Any:
        """Frames come one call late, and the last never."""
        held.append(feed(self, data))
        return held[-2] if len(held) > 1 else []

    monkeypatch.setattr(TiDecoder, "feed", slow)
    row = radar_protocol.damage_row("doors", "end lost", 2)
    assert row["late"] > 0 or row["lost"] > 0


def test_live_bytes_come_through_a_terminal() -> None:
    row = radar_protocol.live(38, 0.3)
    assert row["frames_s"] > 0
    assert row["corrupt"] == 0


def test_speed_and_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(radar_protocol, "SPEED_S", 0.02)
    monkeypatch.setattr("sys.argv", ["radar_protocol", "--only", "speed", "--json"])
    assert radar_protocol.main() == 0
    rows = json.loads(capsys.readouterr().out)["speed"]
    assert [row["points"] for row in rows] == [38, 64]
    assert all(row["us_a_frame"] > 0 for row in rows)


def test_an_unknown_part_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["radar_protocol", "--only", "sped"])
    assert radar_protocol.main() == 2
    assert "allowed speed, live, resync, fuzz" in capsys.readouterr().err
