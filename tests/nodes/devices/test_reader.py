"""A port with its decoders: pulled out in the middle of a packet, senders, and sums of counts."""

from __future__ import annotations

import pytest

from nodes.devices import trial, xsens_mvn
from nodes.devices.drivers import DRIVERS
from nodes.devices.ports import Chunk, GoneError, Port, PortError
from nodes.devices.reader import LEAST_STILL, PortReader, short_name, since, total
from nodes.devices.sample import DecoderCounts

NS = 1_000_000_000


class Script:
    """A device that says what it is told to; ``None`` is being pulled out."""

    descriptor = None

    def __init__(self, lines: list[list[Chunk] | None]) -> None:
        self.lines = lines

    def open(self) -> Script:
        if not self.lines:
            raise PortError("absent", "not there")
        return self

    def read(self) -> list[Chunk]:
        if not self.lines:
            return []
        line = self.lines.pop(0)
        if line is None:
            raise GoneError("unplugged")
        return line

    def write(self, data: bytes) -> None:
        raise AssertionError("nobody was to be told anything")

    def discard(self) -> None:
        return

    def close(self) -> None:
        return


def reader(driver: str, lines: list[list[Chunk] | None]) -> PortReader:
    return PortReader(Port("/dev/imu", Script(lines).open), DRIVERS[driver], lambda _: None)


def numbers(found: PortReader, reads: int) -> list[int | None]:
    return [arrival.sample.counter for k in range(reads) for arrival in found.read(k * NS)]


@pytest.mark.parametrize("cut", [1, 5, 20, len(trial.mti(0)) - 1])
def test_pulled_out_in_the_middle_of_a_packet(cut: int) -> None:
    """The half of the packet and the first whole one after it do not become one."""
    before, torn, after = (Chunk(trial.mti(k)) for k in (1, 2, 3))
    found = reader("xsens-mti", [[before], [Chunk(torn.data[:cut])], None, [after]])
    assert numbers(found, 6) == [1, 3]
    counts = found.counts
    assert (counts.lost, counts.corrupt, counts.skipped_bytes) == (1, 1, cut)
    assert found.port.losses == 1


def test_only_the_first_of_two_bodies_is_listened_to_until_it_falls_silent() -> None:
    still = ("pelvis", (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 9.81), (0.0, 0.0, 0.0), None)

    def datagram(counter: int, sender: str) -> list[Chunk]:
        return [Chunk(xsens_mvn.encode(counter, 17 * counter, [still]), sender)]

    found = reader("xsens-mvn", [datagram(1, "a"), datagram(100, "b"), datagram(2, "a"), datagram(200, "b")])
    times = (0, NS // 2, NS * 3 // 4, 2 * NS)
    assert [arrival.sample.counter for now in times for arrival in found.read(now)] == [1, 2, 200]
    assert found.foreign == 1
    assert found.counts.samples == 3
    assert found.counts.restarts == 0


def test_senders_of_one_sensor_each_are_told_apart() -> None:
    lines: list[list[Chunk] | None] = [
        [Chunk(trial.ximu3_ascii(k), "10.0.0.1:9000"), Chunk(trial.ximu3_ascii(k), "10.0.0.2:9000")] for k in range(3)
    ]
    found = reader("ximu3", lines)
    names = [arrival.sensor for k in range(3) for arrival in found.read(k)]
    assert names == ["10.0.0.1:9000", "10.0.0.2:9000"] * 3
    assert found.counts.doubled == 0


@pytest.mark.parametrize(("force", "turn", "wrong"), [(9.81, 0.0, False), (1.0, 0.0, True), (1.0, 0.5, False)])
def test_gravity_is_judged_at_rest_only(force: float, turn: float, wrong: bool) -> None:
    from nodes.devices.xsens_mti import encode

    stream = b"".join(encode(k, 100 * k, (0.0, 0.0, force), (turn, 0.0, 0.0)) for k in range(LEAST_STILL + 5))
    found = reader("xsens-mti", [[Chunk(stream)]])
    found.read(0)
    said = found.diagnosis(2 * NS, (), ())
    assert (said is not None and said.cause == "scale") == wrong


def test_counts_add_up_and_subtract() -> None:
    one = DecoderCounts(packets=3, lost=1, lacking={"a": 2}, said="x")
    two = DecoderCounts(packets=5, lacking={"a": 1, "b": 4})
    both = total([one, two])
    assert (both.packets, both.lost, both.lacking, both.said) == (8, 1, {"a": 3, "b": 4}, "x")
    assert since(one, both) == DecoderCounts(packets=5, lacking={"a": 1, "b": 4}, said="x")


@pytest.mark.parametrize(
    ("port", "short"),
    [("/dev/ttyUSB0", "ttyUSB0"), ("COM3", "COM3"), ("udp:9763", "udp:9763"), ("socket://h:1", "socket://h:1")],
)
def test_names_for_counters(port: str, short: str) -> None:
    assert short_name(port) == short
