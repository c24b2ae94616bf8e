"""The raw radar node with a virtual capture card on this machine's own network."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fusion.records import RadarPoints
from nodes import raw_radar
from nodes.devices.dca1000 import board
from nodes.devices.dca1000.board import Addresses, CaptureCard
from nodes.devices.dca1000.samples import bytes_of
from nodes.devices.dca1000.virtual import ALIVE, FPGA_CONFIG, PACKET_CONFIG, START, STOP, VERSION, VirtualCard
from nodes.errors import RequestError
from tests.nodes.lone import PATIENCE_S, LoneContext, running

sys.path.insert(0, str(Path(__file__).parent / "devices" / "dca1000"))
import capture_lab as lab

if importlib.util.find_spec("xwr") is None:
    pytest.skip("xwr is not installed (pip install 'kinefuse[raw-radar]')", allow_module_level=True)


class Context(LoneContext[RadarPoints]):
    """Of a radar."""

    def __init__(self, time_mode: str = "live") -> None:
        super().__init__("radar/points", RadarPoints, time_mode=time_mode)


@pytest.fixture
def card() -> Iterator[VirtualCard]:
    made = VirtualCard()
    yield made
    made.close()


@contextmanager
def node(card: VirtualCard, cfg: str, **keys: Any) -> Iterator[Context]:
    """The node in a thread, once the card records; ends with the block."""
    where = {"host": card.host, "card": card.card, "command_port": card.command_port, "data_port": card.data_port}
    params = raw_radar.Params.model_validate({"type": "raw_radar", "cfg": cfg, **where, **keys})
    with running(raw_radar.run, params, Context()) as context:
        assert card.recording.wait(PATIENCE_S), context.counters
        yield context


def frames(count: int, swapped: bool = True) -> list[bytes]:
    """A reflector that walks away from 2 m at 1 m/s, 20 frames a second."""
    made = [lab.samples([[0.4, 2.0 + 0.05 * k, 0.0]], [1.0], seed=k) for k in range(count)]
    return [bytes_of(cube, swapped=swapped) for cube in made]


def ranges(context: Context) -> dict[int, float]:
    """Of the strongest point of each frame, by the frame's number."""
    return {record.frame: float(np.linalg.norm(record.positions_m[0])) for record in context.records}


def published(context: Context, count: int) -> bool:
    return len(context.records) == count


def taken(context: Context, count: int) -> bool:
    return context.counters.get("packets", 0.0) + context.counters.get("refused", 0.0) == count


def expected(k: int) -> float:
    return float(np.hypot(0.4, 2.0 + 0.05 * k))


@pytest.mark.parametrize("swapped", [True, False])
def test_a_walking_reflector_is_published_where_it_is(card: VirtualCard, tmp_path: Path, swapped: bool) -> None:
    with node(card, lab.write_cfg(tmp_path, swapped=swapped)) as context:
        for number, data in enumerate(frames(10, swapped), 1):
            card.send(data)
            context.wait_for(partial(published, context, number))  # so that the socket's buffer is not overrun
        context.wait_for(lambda: context.counters.get("frames") == 10.0)
        counters = dict(context.counters)
    found = ranges(context)
    assert found.keys() == set(range(10))
    for k, distance_m in found.items():
        assert distance_m == pytest.approx(expected(k), abs=0.05)
    assert context.records[3].radial_velocities_m_s[0] == pytest.approx(1.0, abs=0.1)
    stamps = [record.measured_ns for record in context.records]
    assert stamps == sorted(stamps)
    assert (counters["bytes_lost"], counters["frames_incomplete"], counters["points"] > 0) == (0.0, 0.0, True)
    assert [code for code, _ in card.heard] == [ALIVE, VERSION, PACKET_CONFIG, FPGA_CONFIG, ALIVE, STOP, START, STOP]
    told = dict(card.heard)
    assert told[FPGA_CONFIG] == bytes([1, 2, 1, 2, 3, 30])  # raw, two lanes, capture, over the network, 16 bits
    assert told[PACKET_CONFIG][2:] == bytes.fromhex("350c0000")  # 25 us of 8 ns
    assert not card.recording.is_set()


def spoil(datagrams: list[bytes]) -> Sequence[bytes]:
    """Junk first, two swapped, three lost, one doubled."""
    mixed = [b"", b"junk", *datagrams]
    mixed[10], mixed[11] = mixed[11], mixed[10]
    return [*mixed[:20], *mixed[23:], mixed[30]]


def test_lost_swapped_and_foreign_packets_are_counted_and_the_range_stays(card: VirtualCard, tmp_path: Path) -> None:
    sent, total = frames(6), 0
    wrongs = {1: spoil, 3: lambda packets: packets[:5], 4: lambda packets: []}
    with node(card, lab.write_cfg(tmp_path)) as context:
        for number, data in enumerate(sent):
            total += card.send(data, wrongs.get(number, lambda packets: packets))
            context.wait_for(partial(taken, context, total))  # so that the socket's buffer is not overrun
        context.wait_for(lambda: 5 in ranges(context))
        context.wait_for(lambda: context.counters.get("frames", 0.0) + context.counters.get("frames_lost", 0.0) == 6.0)
        counters = dict(context.counters)
    found = ranges(context)
    assert found.keys() == {0, 1, 2, 5}
    for k, distance_m in found.items():
        assert distance_m == pytest.approx(expected(k), abs=0.06)
    assert counters["refused"] == 2.0
    assert counters["late"] == 1.0
    assert counters["bytes_lost"] == 3 * 1456 + len(sent[3]) - 5 * 1456 + len(sent[4])
    assert (counters["frames_left_out"], counters["frames_lost"], counters["frames_incomplete"]) == (1.0, 1.0, 2.0)


def test_a_card_that_is_silent_or_refuses_is_named_with_what_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "ANSWER_S", 0.2)
    for keys, says in (({"silent": True}, "nobody answers at 127.0.0.2"), ({"refuses": [FPGA_CONFIG]}, "refused")):
        card = VirtualCard(**keys)  # type: ignore[arg-type]
        where = Addresses(card.host, card.card, card.command_port, card.data_port)
        try:
            with pytest.raises(RequestError, match=says):
                CaptureCard(where, 25.0)
        finally:
            card.close()


def test_a_card_that_cannot_be_reached_and_one_that_is_none_are_named(
    card: VirtualCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RequestError, match=r"192\.0\.2\.77: .*set card"):
        CaptureCard(Addresses(card.host, "192.0.2.77", card.command_port, card.data_port), 25.0)
    monkeypatch.setattr(card, "_answer", lambda datagram: b"not a card")
    with pytest.raises(RequestError, match=r"127\.0\.0\.2.* is no DCA1000"):
        CaptureCard(Addresses(card.host, card.card, card.command_port, card.data_port), 25.0)


def test_a_command_line_that_is_not_there_is_told_once(
    card: VirtualCard, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("serial", reason="pyserial is not installed (pip install 'kinefuse[serial]')")
    with node(card, lab.write_cfg(tmp_path), cli_port=str(tmp_path / "none")) as context:
        card.send(frames(1)[0])  # Points come all the same: somebody else may have set the sensor up.
        context.wait_for(partial(published, context, 1))
    assert caplog.text.count("none: there is no such port now") == 1
    assert "correct cli_port" in caplog.text


def test_an_address_that_this_computer_has_not_is_named() -> None:
    with pytest.raises(RequestError, match=r"192\.0\.2\.77: .*set host"):
        CaptureCard(Addresses("192.0.2.77", "127.0.0.2", 40_961, 40_962), 25.0)


def test_a_data_session_and_a_configuration_without_raw_samples_are_refused(tmp_path: Path) -> None:
    params = raw_radar.Params.model_validate({"type": "raw_radar", "cfg": lab.write_cfg(tmp_path)})
    with pytest.raises(RequestError, match="a sensor follows the clock"):
        raw_radar.run(params, Context("data"))
    with pytest.raises((ValidationError, RequestError), match="raw samples are off"):
        raw_radar.Params.model_validate({"type": "raw_radar", "cfg": lab.write_cfg(tmp_path, lanes="-1 0 0 0")})


@pytest.mark.parametrize(
    ("device", "said"), [("IWR6843AOP", "does not know the antennas"), ("IWR1", "allowed IWR6843")]
)
def test_a_device_that_will_not_do_is_refused_before_anything_starts(tmp_path: Path, device: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        raw_radar.Params.model_validate({"type": "raw_radar", "cfg": lab.write_cfg(tmp_path), "device": device})


def test_the_sensor_is_set_up_on_its_command_line_once_the_card_records_and_stopped_at_the_end(
    card: VirtualCard, tmp_path: Path
) -> None:
    pytest.importorskip("serial", reason="pyserial is not installed (pip install 'kinefuse[serial]')")
    from nodes.devices.ti.fake import FakeRadar
    from nodes.devices.ti.scenes import Recording

    sensor, stop = FakeRadar(Recording([], 0.05)), threading.Event()
    playing = threading.Thread(target=sensor.run, args=(stop.is_set,))
    playing.start()
    try:
        with node(card, lab.write_cfg(tmp_path), cli_port=sensor.cli_port.shown) as context:
            context.wait_for(lambda: sensor.device.started and sensor.begun_s is not None)
            assert card.started_s is not None
            assert sensor.begun_s is not None
            assert card.started_s < sensor.begun_s
            card.send(frames(1)[0])
            context.wait_for(partial(published, context, 1))
        assert not sensor.device.started
    finally:
        stop.set()
        playing.join()
        sensor.close()
