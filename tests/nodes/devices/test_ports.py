"""Real pseudo-terminals, sockets and missing devices."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from nodes.devices import ports
from nodes.devices.fake import PtyPort
from nodes.devices.ports import Port, PortError, SerialSource, UdpSource, open_source

pytest.importorskip("serial", reason="pyserial is not installed (pip install 'kinefuse[serial]')")
PATIENCE_S = 10.0


def read_until(port: Port, condition: Callable[[bytes], bool]) -> bytes:
    """Bytes of a port until enough have come."""
    heard = b""
    end_s = time.monotonic() + PATIENCE_S
    while not condition(heard):
        assert time.monotonic() < end_s, (heard, port.error)
        heard += b"".join(chunk.data for chunk in port.read(time.monotonic_ns()))
    return heard


def test_bytes_both_ways_unplugged_and_plugged_in_again(tmp_path: Path) -> None:
    device = PtyPort(tmp_path / "imu")
    port = Port(device.shown, lambda: open_source(device.shown, 9600, ""))
    try:
        assert port.read(time.monotonic_ns()) == []  # Opens it.
        device.send(b"\xfa\x00\n\x11hello")
        assert read_until(port, lambda heard: len(heard) >= 9) == b"\xfa\x00\n\x11hello"
        port.write(b"\x03\x04\r", time.monotonic_ns())
        heard = b""
        while len(heard) < 3:
            heard += device.receive()
        assert heard == b"\x03\x04\r"
        device.send(b"half a pac")
        device.unplug()
        end_s = time.monotonic() + PATIENCE_S
        while port.is_open and time.monotonic() < end_s:
            port.read(time.monotonic_ns())
        assert (port.is_open, port.losses) == (False, 1)
        assert port.error is not None
        port.write(b"nobody", time.monotonic_ns())
        device.plug()
        read_until(port, lambda _: port.is_open)
        device.send(b"back")
        assert read_until(port, lambda heard: len(heard) >= 4) == b"back"
        assert (port.opened, port.losses, port.error) == (2, 1, None)
    finally:
        port.close()
        device.close()


def test_what_came_before_is_old(tmp_path: Path) -> None:
    device = PtyPort(tmp_path / "imu")
    device.send(b"old")
    source = SerialSource(device.shown, 115200)
    try:
        assert source.read() == []
    finally:
        source.close()
        device.close()


def test_tries_again_ever_more_slowly() -> None:
    tries: list[int] = []
    now = 0

    def opener() -> ports.Source:
        tries.append(now)
        raise PortError("absent", "not there")

    port = Port("/dev/none", opener)
    for now in range(0, 10_000_000_000, 10_000_000):
        assert port.read(now) == []
    waits = [(after - before) / 1e9 for before, after in pairwise(tries)]
    assert waits[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert max(waits) == pytest.approx(ports.BACKOFF_LAST_S)


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PortError) as caught:
        SerialSource(str(tmp_path / "none"), 115200)
    assert caught.value.trouble == "absent"


def test_a_port_that_another_program_holds() -> None:
    device = PtyPort(None)
    first = SerialSource(device.name, 115200)
    try:
        with pytest.raises(PortError) as caught:
            SerialSource(device.name, 115200)
        assert caught.value.trouble == "busy"
    finally:
        first.close()
        device.close()


@pytest.mark.parametrize(
    ("number", "trouble"),
    [(errno.EACCES, "denied"), (errno.EBUSY, "busy"), (errno.ENOENT, "absent"), (errno.EIO, "other")],
)
def test_troubles_by_their_number(tmp_path: Path, number: int, trouble: str) -> None:
    assert ports._trouble(str(tmp_path), OSError(number, os.strerror(number))) == trouble


def test_a_url_of_pyserial() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        number = listener.getsockname()[1]
        port = Port("tcp", lambda: open_source(f"socket://127.0.0.1:{number}", 115200, ""))
        port.read(0)
        peer, _ = listener.accept()
        peer.sendall(b"over TCP")
        assert read_until(port, lambda heard: len(heard) >= 8) == b"over TCP"
        peer.close()
        end_s = time.monotonic() + PATIENCE_S
        while port.is_open and time.monotonic() < end_s:
            port.read(time.monotonic_ns())
        assert not port.is_open
        port.close()
    finally:
        listener.close()


def test_a_url_without_a_file_and_a_device_that_takes_nothing() -> None:
    port = Port("loop", lambda: open_source("loop://", 115200, ""))
    assert port.read(0) == []
    assert port.descriptor is None
    port.write(b"more than it takes without waiting", 0)
    assert (port.read(1), port.is_open, port.losses) == ([], True, 0)
    port.close()


def test_datagrams_keep_their_borders_and_senders() -> None:
    source = UdpSource("127.0.0.1", 0)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        for data in (b"one", b"", b"three"):
            sender.sendto(data, ("127.0.0.1", source.number))
        sender.sendto(b"end", ("127.0.0.1", source.number))
        chunks: list[ports.Chunk] = []
        end_s = time.monotonic() + PATIENCE_S
        while len(chunks) < 4 and time.monotonic() < end_s:
            chunks += source.read()
        assert [chunk.data for chunk in chunks] == [b"one", b"", b"three", b"end"]
        assert {chunk.sender for chunk in chunks} == {f"127.0.0.1:{sender.getsockname()[1]}"}
        with pytest.raises(PortError) as caught:
            open_source(f"udp:{source.number}", None, "127.0.0.1")
        assert caught.value.trouble == "busy"
    finally:
        sender.close()
        source.close()


def test_an_address_of_another_machine() -> None:
    with pytest.raises(PortError) as caught:
        UdpSource("203.0.113.7", 9763)
    assert caught.value.trouble == "address"
