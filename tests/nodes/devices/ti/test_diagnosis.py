"""Words for what is wrong with a radar: the first cause, and none where all is well."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.devices.ti.commands import Command, parse_config
from nodes.devices.ti.console import Refusal
from nodes.devices.ti.diagnosis import (
    LineEvidence,
    asks_for_points,
    diagnose_line,
    is_text,
    refused,
    removes_clutter,
)

WELL = LineEvidence(
    port="/dev/ttyUSB1",
    baud=921_600,
    seconds=3.0,
    received_bytes=50_000,
    captured=b"\x02\x01\x04\x03",
    frames=60,
    points=1200,
    lost=0,
    corrupt=0,
    period_s=0.05,
)


def cause(**keys: object) -> str | None:
    found = diagnose_line(replace(WELL, **keys))  # type: ignore[arg-type]
    if found is not None:
        assert found.found.startswith("/dev/ttyUSB1")
        assert found.remedy
    return None if found is None else found.cause


def test_nothing_is_said_where_all_is_well() -> None:
    assert diagnose_line(WELL) is None


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"received_bytes": 0, "frames": 0}, "silent"),
        ({"received_bytes": 0, "frames": 0, "started": False}, "stopped"),
        ({"frames": 0, "captured": bytes(range(128, 256))}, "baud"),
        ({"frames": 0, "captured": b"mmwDemo:/>"}, "text"),
        ({"frames": 0, "captured": b"Error: no data here\r\n"}, "text"),
        ({"received_bytes": 270_000}, "bandwidth"),
        ({"received_bytes": 200_000, "lost": 30}, "bandwidth"),
        ({"frames": 10, "corrupt": 30}, "noise"),
        ({"lost": 6}, "lost"),
        ({"lost": 1}, None),
        ({"points": 0}, "no points"),
        ({"points": 0, "frames": 2}, None),
        ({"observed_s": 0.1}, "period"),
    ],
)
def test_the_first_cause_is_named(keys: dict[str, object], expected: str | None) -> None:
    assert cause(**keys) == expected


@given(
    seconds=st.floats(0.0, 1e6),
    received_bytes=st.integers(0, 10**12),
    frames=st.integers(0, 10**6),
    points=st.integers(0, 10**6),
    lost=st.integers(0, 10**6),
    corrupt=st.integers(0, 10**6),
    captured=st.binary(max_size=200),
)
def test_no_evidence_breaks_it(**keys: object) -> None:
    cause(**keys)


def test_refusals_name_the_line_of_the_file_or_that_it_was_ours() -> None:
    line = Command(7, "adcCfg", ("2", "1"))
    assert refused(Refusal(line, "Error -3"), "a.cfg").message.startswith("a.cfg:7: the sensor refuses 'adcCfg 2 1'")
    assert "no answer to 'adcCfg 2 1'" in refused(Refusal(line, ""), "a.cfg").found
    assert refused(Refusal(Command(0, "sensorStop", ()), "Error -3"), "a.cfg").found.startswith("the sensor: ")


def test_text_is_told_from_frames() -> None:
    assert is_text(b"\r\nmmwDemo:/>")
    assert is_text(b"Ignored: Sensor is already stopped\r\n")
    assert not is_text(b"")
    assert not is_text(bytes(range(256)))


def test_what_a_configuration_says_of_points() -> None:
    assert asks_for_points(None)
    assert not removes_clutter(None)
    config = parse_config("guiMonitor -1 0 0 0 0 0 1\nclutterRemoval -1 1\n", "a.cfg")
    assert not asks_for_points(config)
    assert removes_clutter(config)
    assert not removes_clutter(parse_config("clutterRemoval -1 0\n", "a.cfg"))
    assert asks_for_points(parse_config("guiMonitor -1 2 0 0 0 0 1\n", "a.cfg"))
