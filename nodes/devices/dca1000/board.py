"""The capture card: its commands through xwr, its data packets as they come.

xwr 0.5.1 says what the card must be told, and that is taken as it is. Its ``stream`` is not: after a gap of more than a
frame it places bytes where they do not belong, packets that overtook one another are lost, a datagram that is none of
the card's ends it, and how much is missing is not told. ``packets`` does these.
"""

from __future__ import annotations

import select
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nodes.errors import RequestError

if TYPE_CHECKING:
    import socket

ANSWER_S = 1.0
MOST_AT_ONCE = 256
"""Datagrams taken before the graph is asked again."""
MOST_BYTES = 2048
_UNREADABLE = (struct.error, AssertionError, ValueError)
"""What xwr raises on an answer that is none of the card's."""
PACKAGE = "raw capture needs the package xwr: pip install 'kinefuse[raw-radar]'"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the card is and where this computer is to it."""

    host: str = "192.168.33.30"
    card: str = "192.168.33.180"
    command_port: int = 4096
    data_port: int = 4098
    buffer_bytes: int = 8 << 20
    """Of the data socket, as far as the system allows (net.core.rmem_max)."""


class CaptureCard:
    """A DCA1000 that is set up and records from ``start`` to ``close``.

    Args:
        addresses: of both ends.
        packet_delay_us: pause between packets: 25 carries 325 Mb/s, 5 carries 706.

    Raises:
        RequestError: no package, no such address here, or nobody who answers.
    """

    def __init__(self, addresses: Addresses, packet_delay_us: float) -> None:
        self._capture = _package()
        self._addresses = addresses
        try:
            self._card: Any = self._capture.DCA1000EVM(
                sys_ip=addresses.host,
                fpga_ip=addresses.card,
                data_port=addresses.data_port,
                config_port=addresses.command_port,
                timeout=ANSWER_S,
                socket_buffer=addresses.buffer_bytes,
            )
        except OSError as error:
            raise RequestError(
                f"{addresses.host}: {error.strerror or error}: give the network card that the DCA1000 is on this "
                "address (ip addr add 192.168.33.30/24 dev NAME), set host to the one it has, or end who has the ports"
            ) from error
        self._socket: socket.socket = self._card.data_socket
        self._ask(lambda: self._card.setup(delay=packet_delay_us))

    def start(self) -> None:
        """Begin to record; before the radar is started, so that bytes count from its first frame."""
        self._quietly_stop()
        self._card.flush()
        self._ask(self._card.start)
        self._socket.setblocking(False)

    def packets(self, wait_s: float) -> Iterator[bytes]:
        """Datagrams that have come, after waiting for the first."""
        if not select.select([self._socket], [], [], wait_s)[0]:
            return
        for _ in range(MOST_AT_ONCE):
            try:
                yield self._socket.recv(MOST_BYTES)
            except OSError:
                return  # Nothing more; or the cable is out, which passes.

    def close(self) -> None:
        """Stop recording and let go of the ports."""
        self._quietly_stop()
        self._card.config_socket.close()
        self._socket.close()

    def _quietly_stop(self) -> None:
        """A card that does not record may say so."""
        try:
            self._card.stop()
        except (OSError, *_UNREADABLE, self._capture.DCAError):
            return

    def _ask(self, what: Any) -> None:
        try:
            what()
        except TimeoutError as error:
            self._let_go()
            raise RequestError(
                f"nobody answers at {self._addresses.card}, UDP port {self._addresses.command_port}: is the DCA1000 on "
                "5 V, its cable in, its link light on? Its answer must not be held back by a firewall"
            ) from error
        except OSError as error:
            self._let_go()
            raise RequestError(
                f"{self._addresses.card}: {error.strerror or error}: set card to the address of the DCA1000, in the "
                f"network of host {self._addresses.host}"
            ) from error
        except _UNREADABLE as error:
            self._let_go()
            raise RequestError(
                f"what answers at {self._addresses.card}, UDP port {self._addresses.command_port}, is no DCA1000 "
                f"({error}); set card and command_port to the card's"
            ) from error
        except self._capture.DCAError as error:
            self._let_go()
            raise RequestError(
                f"the DCA1000 refused: {error}; switch it off and on, and mind SW2.5 (CONFIG by SW)"
            ) from error

    def _let_go(self) -> None:
        self._card.config_socket.close()
        self._socket.close()


def _package() -> ModuleType:
    try:
        import xwr.capture
    except ImportError as error:
        raise RequestError(f"{PACKAGE} ({error})") from error
    return xwr.capture
