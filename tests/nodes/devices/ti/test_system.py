"""Ports, command line and frames of one radar together, on a clock of the test's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.devices.ports import Chunk, GoneError, Port, PortError
from nodes.devices.ti import control as control_module
from nodes.devices.ti.clock import RadarClock
from nodes.devices.ti.config import TiConfig, load_config, parse_config
from nodes.devices.ti.control import Control, conversation
from nodes.devices.ti.encoder import encode_frame, fixed_points, plain_points, statistics
from nodes.devices.ti.frames import TiDecoder
from nodes.devices.ti.line import DataLine
from nodes.devices.ti.payloads import Statistics
from nodes.devices.ti.system import RadarSystem
from nodes.devices.ti.virtual import Quirks, VirtualTi

CFG = Path(__file__).resolve().parents[4] / "graphs" / "radar" / "iwr6843.cfg"
MS = 1_000_000
BYTE_NS = 10 * 1_000_000_000 / 921_600
EPOCH_NS = 1_700_000_000_000_000_000


class Wire:
    """Both ends of a port without a system in between."""

    descriptor = None

    def __init__(self, sensor: VirtualTi | None = None) -> None:
        self.sensor = sensor
        self.waiting = b""
        self.gone = False
        self.written = b""

    def read(self) -> list[Chunk]:
        if self.gone:
            raise GoneError("unplugged")
        data, self.waiting = self.waiting, b""
        return [Chunk(data)] if data else []

    def write(self, data: bytes) -> None:
        self.written += data
        if self.sensor is not None:
            self.waiting += self.sensor.answer(data)

    def discard(self) -> None:
        self.waiting = b""

    def close(self) -> None:
        self.gone = True


def port_of(wire: Wire) -> Port:
    def opener() -> Wire:
        if wire.gone:
            raise PortError("absent", "not there")
        return wire

    return Port("/dev/x", opener, 115_200)


def frame(number: int, points: int = 2, processing_us: int = 3000, sub_frame: int = 0) -> bytes:
    places = np.ones((points, 3))
    told = Statistics(processing_us, 500, 20_000, 20, 12, 4)
    return encode_frame(number, [plain_points(places, np.ones(points)), statistics(told)], sub_frame=sub_frame)


class Rig:
    """A system whose time goes on by the test."""

    def __init__(self, config: TiConfig | None = None, quirks: Quirks | None = None, *, configure: bool = True) -> None:
        self.config = load_config(CFG) if config is None else config
        self.sensor = VirtualTi(quirks)
        self.cli, self.data = Wire(self.sensor), Wire()
        self.said: list[str] = []
        self.now_ns = EPOCH_NS
        self.control = Control(port_of(self.cli), self.config, self.said.append) if configure else None
        period_s = (self.config.period_s or 0.05) / max(1, len(self.config.frames))
        self.system = RadarSystem(
            "radar",
            DataLine(port_of(self.data), TiDecoder(), 921_600),
            self.control,
            self.config,
            RadarClock(period_s, 0.010),
            delay_s=0.0,
            now_ns=self.now_ns,
            say=self.said.append,
            present=tuple,
        )

    def step(self, milliseconds: float = 1.0, data: bytes = b"") -> list[tuple[int, int]]:
        """Let time pass and bytes come; number and time of the frames, in ms from the epoch."""
        self.now_ns += round(milliseconds * MS)
        self.data.waiting += data
        shots = self.system.step(lambda: self.now_ns, 0.0)
        return [(shot.frame.number, round((shot.measured_ns - EPOCH_NS) / MS)) for shot in shots]

    def run(self, milliseconds: int, *, frames: bool = False) -> None:
        """Let time pass, with a frame every 50 ms if the sensor runs."""
        for k in range(0, milliseconds, 5):
            due = frames and self.sensor.started and k % 50 == 0
            self.step(5.0, frame(1 + k // 50) if due else b"")


def test_a_configuration_is_completed() -> None:
    bare = parse_config("adcCfg 2 1\n", "a.cfg")
    assert [command.text for command in conversation(bare)] == ["sensorStop", "flushCfg", "adcCfg 2 1", "sensorStart"]
    whole = load_config(CFG)
    assert conversation(whole) == whole.commands


def test_set_up_once_and_running() -> None:
    rig = Rig()
    rig.run(1500, frames=True)
    assert rig.control is not None
    assert (rig.sensor.starts, rig.control.configured, rig.said) == (1, 1, [])
    figures = rig.system.counters(rig.now_ns)
    assert (figures["silent"], figures["lost"], figures["refused"]) == (0, 0, 0)
    assert 20 <= figures["frames"] <= 30
    assert figures["points_per_frame"] == 2
    rig.system.close(lambda: rig.now_ns)
    assert not rig.sensor.started


def test_a_silent_sensor_is_started_again_then_configured_anew_then_more_rarely() -> None:
    rig = Rig()
    rig.run(900)
    assert rig.control is not None
    assert rig.cli.written.count(b"sensorStart 0\n") == 0
    rig.run(700)
    assert rig.cli.written.count(b"sensorStart 0\n") == 1
    assert [text.split(":")[0] for text in rig.said] == ["radar"]
    assert "no frame for" in rig.said[0]
    rig.run(4500)
    assert rig.control.configured == 2
    rig.run(30_000)
    assert rig.control.configured in (4, 5)
    assert len(rig.said) == 1  # Said once.
    assert rig.system.counters(rig.now_ns)["silent/radar"] > 30


def test_a_sensor_that_stopped_within_a_frame_is_silent_and_started_again() -> None:
    rig = Rig()
    rig.run(2000, frames=True)
    assert (rig.sensor.started, rig.sensor.starts) == (True, 1)
    rig.sensor.answer(b"sensorStop\n")
    rig.step(5.0, frame(100)[:90])
    rig.run(3000)
    assert rig.sensor.starts == 2
    (named,) = (said for said in rig.said if "no frame for" in said)
    assert "no byte in" in named
    assert rig.system.counters(rig.now_ns)["corrupt"] == 1


def test_speeds_that_nothing_tells_are_named_with_what_tells_them() -> None:
    rig = Rig(configure=False)
    sent = [fixed_points(np.ones((2, 3)), np.ones(2))]
    for number in range(1, 150):
        rig.step(50.0, encode_frame(number, sent, layout="sdk1"))
    (said,) = rig.said
    assert "the velocity of one Doppler bin" in said
    assert "cfg:" in said


def test_a_sensor_that_forgot_its_configuration_gets_it_without_waiting() -> None:
    rig = Rig()
    rig.run(500, frames=True)
    rig.sensor.power_on()  # Nobody hears its banner.
    rig.run(1600)
    assert rig.control is not None
    assert rig.control.configured == 2
    assert rig.sensor.started


def test_refusals_are_said_once_and_tried_again_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "RETRY_LAST_S", 4.0)
    rig = Rig(quirks=Quirks(refuses={"chirpCfg": "Error: chirp"}))
    rig.run(12_000)
    assert [text for text in rig.said if "refuses 'chirpCfg" in text] == rig.said
    assert len(rig.said) == 1
    assert 3 <= rig.cli.written.count(b"flushCfg") <= 5
    rig.sensor.quirks = Quirks()
    rig.run(4500)
    assert rig.sensor.started
    assert "takes its configuration now" in rig.said[1]


def test_the_command_line_goes_and_comes() -> None:
    rig = Rig()
    rig.run(500, frames=True)
    assert rig.control is not None
    rig.cli.gone = True
    rig.run(500)
    assert "gone" in rig.said[0]
    assert rig.control.running_since_ns is None
    rig.cli.gone = False
    rig.run(3000, frames=True)
    assert rig.control.configured == 2
    assert "is there again" in "".join(rig.said)


def test_a_frame_is_dated_by_its_first_byte_its_processing_and_its_chirps() -> None:
    rig = Rig(configure=False)
    rig.step()
    data = frame(1, points=20, processing_us=4000)
    begun_ns = rig.now_ns + 7 * MS
    assert rig.step(7.0, data[:64]) == []
    rig.now_ns += 5 * MS
    rig.data.waiting += data[64:]
    (shot,) = rig.system.step(lambda: rig.now_ns, 0.0)
    assert shot.received_ns == rig.now_ns
    assert shot.measured_ns == pytest.approx(begun_ns - 64 * BYTE_NS - 4 * MS - 5 * MS, abs=2)


@given(cuts=st.lists(st.integers(1, 400), min_size=1, max_size=8), gap_ms=st.floats(0.0, 20.0))
def test_no_portion_dates_a_frame_before_the_line_could_carry_it(cuts: list[int], gap_ms: float) -> None:
    line = DataLine(port_of(wire := Wire()), TiDecoder(), 921_600)
    line.read(EPOCH_NS)
    data = b"noise" + frame(1, points=20) + frame(2, points=20)
    now_ns, place, arrived = EPOCH_NS, 0, []
    for cut in [*cuts, len(data)]:
        wire.waiting = data[place : place + cut]
        place += cut
        now_ns += round(cut * BYTE_NS + gap_ms * MS)
        arrived += line.read(now_ns)
    assert [item.frame.number for item in arrived] == [1, 2]
    for item in arrived:
        assert item.began_ns >= EPOCH_NS + round(5 * BYTE_NS) - 8  # A rounding a portion.
        assert item.began_ns <= item.received_ns - round(64 * BYTE_NS) + 8
    assert line.unframed == 0


def test_sub_frames_are_frames_of_their_own() -> None:
    config = load_config(CFG)
    two = parse_config(
        CFG.read_text().replace(
            "frameCfg 0 2 64 0 50 1 0",
            "advFrameCfg 2 0 0 1 0\nsubFrameCfg 0 0 0 3 64 25 0 1 1 25\nsubFrameCfg 1 0 0 3 64 25 0 1 1 25",
        ),
        "two.cfg",
    )
    assert (len(config.frames), len(two.frames)) == (1, 2)
    rig = Rig(two, configure=False)
    seen = [rig.step(25.0, frame(1 + k // 2, sub_frame=k % 2)) for k in range(40)]
    assert [shots[0][0] for shots in seen] == [1 + k // 2 for k in range(40)]
    times = [shots[0][1] for shots in seen]
    assert np.diff(times).tolist() == [25] * 39
    figures = rig.system.counters(rig.now_ns)
    assert (figures["lost"], figures["doubled"]) == (0, 0)
