"""A virtual capture card on this machine's own network: answers commands and sends what it is given as packets.

Source of the commands: TI, SPRUIJ4A, section 5.1: u16 0xA55A, code, size, data, u16 0xEEAA; answer: four u16, head,
code, status, foot.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from nodes.devices.dca1000.packets import packet

HEAD, FOOT = 0xA55A, 0xEEAA
FPGA_CONFIG, START, STOP, ALIVE, PACKET_CONFIG, VERSION = 0x03, 0x05, 0x06, 0x09, 0x0B, 0x0E
DATA_BYTES = 1456
FPGA_VERSION = 0x0082
"""As a real one answers: 2 in the lower seven bits, 1 above."""
_POLL_S = 0.05

Packets = Sequence[bytes]


class VirtualCard:
    """A card that listens from its making until ``close``.

    Args:
        card: its address.
        host: where data goes.
        data_port: where data goes; 0 finds a free one.
        silent: answers nothing.
        refuses: codes that it answers with a failure.
    """

    def __init__(
        self,
        card: str = "127.0.0.2",
        host: str = "127.0.0.1",
        data_port: int = 0,
        *,
        silent: bool = False,
        refuses: Iterable[int] = (),
    ) -> None:
        self._commands = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._commands.bind((card, 0))
        self._commands.settimeout(_POLL_S)
        self._data = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.card, self.host = card, host
        self.command_port = int(self._commands.getsockname()[1])
        self.data_port = data_port or _free_port(host)
        self.heard: list[tuple[int, bytes]] = []
        """Code and data of each command."""
        self.recording = threading.Event()
        self.started_s: float | None = None
        """``time.monotonic`` of the last command to start."""
        self._silent, self._refuses = silent, frozenset(refuses)
        self._closing = threading.Event()
        self._sent_bytes = self._sent_packets = 0
        self._thread = threading.Thread(target=self._serve, name="virtual-dca1000", daemon=True)
        self._thread.start()

    def send(self, data: bytes, mangle: Callable[[list[bytes]], Packets] = lambda packets: packets) -> int:
        """Send bytes as packets, numbered on from the last ones; ``mangle`` may lose, swap, double and spoil them.

        Returns:
            How many datagrams were sent.
        """
        packets = []
        for at in range(0, len(data), DATA_BYTES):
            part = data[at : at + DATA_BYTES]
            self._sent_packets += 1
            packets.append(packet(self._sent_packets, self._sent_bytes, part))
            self._sent_bytes += len(part)
        datagrams = mangle(packets)
        for datagram in datagrams:
            self._data.sendto(datagram, (self.host, self.data_port))
        return len(datagrams)

    def close(self) -> None:
        """Be gone."""
        self._closing.set()
        self._thread.join()
        self._commands.close()
        self._data.close()

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                datagram, sender = self._commands.recvfrom(2048)
            except TimeoutError:
                continue
            answer = None if self._silent else self._answer(datagram)
            if answer is not None:
                self._commands.sendto(answer, sender)

    def _answer(self, datagram: bytes) -> bytes | None:
        """To a command; None to what is none."""
        if len(datagram) < 8:
            return None
        head, code, size = struct.unpack_from("<HHH", datagram)
        if (head, len(datagram)) != (HEAD, 8 + size) or struct.unpack_from("<H", datagram, 6 + size)[0] != FOOT:
            return None
        self.heard.append((code, datagram[6 : 6 + size]))
        if code == START:
            self._sent_bytes = self._sent_packets = 0
            self.started_s = time.monotonic()
            self.recording.set()
        elif code == STOP:
            self.recording.clear()
        status = FPGA_VERSION if code == VERSION else int(code in self._refuses)
        return struct.pack("<HHHH", HEAD, code, status, FOOT)


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
