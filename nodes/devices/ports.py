"""Sources of bytes that come and go: serial ports, pseudo-terminals, serial URLs, UDP sockets.

A ``Port`` never waits: it hands out what has come, notices when the device is
gone, and opens it again, ever more slowly, whenever it is asked for bytes.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

NS_PER_S = 1_000_000_000
BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 2.0
MOST_BYTES = 1 << 16
"""At a time from a stream; what is more waits in the system's buffer."""
MOST_DATAGRAMS = 256
DATAGRAM_BYTES = 1 << 16
RECEIVE_BUFFER_BYTES = 1 << 20
UDP_PREFIX = "udp:"

Trouble = Literal["absent", "denied", "busy", "package", "address", "other"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes that came together."""

    data: bytes
    sender: str = ""
    """Address of who sent a datagram; empty for a stream."""


class PortError(OSError):
    """A port cannot be opened."""

    def __init__(self, trouble: Trouble, message: str) -> None:
        super().__init__(message)
        self.trouble: Trouble = trouble


class GoneError(OSError):
    """The device has gone."""


class Source(Protocol):
    """An open device."""

    @property
    def descriptor(self) -> int | None:
        """What ``select`` can wait for; None where it cannot."""
        ...

    def read(self) -> list[Chunk]:
        """What has come, without waiting.

        Raises:
            GoneError: if the device has gone.
        """
        ...

    def write(self, data: bytes) -> None:
        """Send to the device; does nothing where that cannot be.

        Raises:
            GoneError: if the device has gone.
        """
        ...

    def discard(self) -> None:
        """Drop what has come.

        Raises:
            GoneError: if the device has gone.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class SerialSource:
    """A serial port, pseudo-terminal or URL of pyserial (``socket://``, ``loop://``)."""

    def __init__(self, port: str, baud: int) -> None:
        """Open it.

        Raises:
            PortError: if it cannot be opened.
        """
        try:
            import serial
        except ImportError as error:
            raise PortError("package", "pyserial is not installed") from error
        # TypeError is what pyserial raises on a port that was closed meanwhile, termios.error on one that was pulled.
        broken: tuple[type[Exception], ...] = (serial.SerialException, OSError, TypeError, *_termios_errors())
        refused: tuple[type[Exception], ...] = (*broken, ValueError)
        # Only a serial port can be held for oneself.
        own: dict[str, Any] = {"exclusive": True} if "://" not in port and os.name == "posix" else {}
        try:
            self._serial: Any = serial.serial_for_url(port, baudrate=baud, timeout=0, write_timeout=0, **own)
            self._serial.reset_input_buffer()
        except refused as error:
            raise PortError(_trouble(port, error), _words(error)) from error
        self._broken = broken
        self._full: type[Exception] = serial.SerialTimeoutException
        self.descriptor = self._descriptor()
        """Of the open file; None on Windows and for URLs that have none."""

    def _descriptor(self) -> int | None:
        without: tuple[type[Exception], ...] = (*self._broken, AttributeError)
        try:
            return int(self._serial.fileno()) if os.name == "posix" else None
        except without:
            return None

    def read(self) -> list[Chunk]:
        """What has come."""
        try:
            # What pyserial does too, at a third of the time.
            data = self._serial.read(MOST_BYTES) if self.descriptor is None else _read_now(self.descriptor)
        except self._broken as error:
            raise GoneError(_words(error)) from error
        return [Chunk(bytes(data))] if data else []

    def write(self, data: bytes) -> None:
        """Send."""
        try:
            self._serial.write(data)
        except self._full:
            return  # It takes nothing now; who expects an answer says it again.
        except self._broken as error:
            raise GoneError(_words(error)) from error

    def discard(self) -> None:
        """Drop what has come."""
        try:
            self._serial.reset_input_buffer()
        except self._broken as error:
            raise GoneError(_words(error)) from error

    def close(self) -> None:
        """Close the port."""
        try:
            self._serial.close()
        except self._broken:
            return  # It has gone for good.


class UdpSource:
    """A UDP port of this machine."""

    def __init__(self, host: str, port: int) -> None:
        """Bind it.

        Raises:
            PortError: if it cannot be bound.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            self._socket.bind((host, port))
        except (OSError, OverflowError) as error:
            self._socket.close()
            busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            raise PortError("busy" if busy else "address", _words(error)) from error
        self._socket.setblocking(False)

    @property
    def number(self) -> int:
        """Of the port; chosen by the system if 0 was asked for."""
        return int(self._socket.getsockname()[1])

    @property
    def descriptor(self) -> int | None:
        """Of the socket."""
        return self._socket.fileno()

    def read(self) -> list[Chunk]:
        """Datagrams that have come."""
        chunks: list[Chunk] = []
        for _ in range(MOST_DATAGRAMS):
            try:
                data, address = self._socket.recvfrom(DATAGRAM_BYTES)
            except BlockingIOError:
                break
            except OSError:
                continue  # An answer to something that another program sent from here; no reason to stop.
            chunks.append(Chunk(data, f"{address[0]}:{address[1]}"))
        return chunks

    def write(self, data: bytes) -> None:
        """Nobody is there to be told."""

    def discard(self) -> None:
        """Drop what has come."""
        for _ in range(RECEIVE_BUFFER_BYTES // DATAGRAM_BYTES):
            if not self.read():
                return

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def open_source(port: str, baud: int | None, host: str) -> Source:
    """Open what a name stands for: ``udp:PORT``, else a serial port.

    Raises:
        PortError: if it cannot be opened.
    """
    if port.startswith(UDP_PREFIX):
        return UdpSource(host, int(port.removeprefix(UDP_PREFIX)))
    return SerialSource(port, baud or 115200)


class Port:
    """A device that may come and go."""

    def __init__(self, name: str, opener: Callable[[], Source], baud: int | None = None) -> None:
        self.name = name
        self.baud = baud
        """For messages; None for a device without one."""
        self.error: PortError | None = None
        """Why it cannot be opened; None while it is open."""
        self.opened = 0
        """How often it has been opened."""
        self.losses = 0
        self._opener = opener
        self._source: Source | None = None
        self._again_ns: int | None = None
        self._wait_s = BACKOFF_FIRST_S

    @property
    def is_open(self) -> bool:
        """Whether it is there."""
        return self._source is not None

    @property
    def descriptor(self) -> int | None:
        """What ``select`` can wait for; None where it cannot or nothing is open."""
        return None if self._source is None else self._source.descriptor

    def read(self, now_ns: int) -> list[Chunk]:
        """What has come; opens the device if it is not open and it is time to try."""
        if self._source is None and not self._open(now_ns):
            return []
        assert self._source is not None
        try:
            return self._source.read()
        except GoneError as error:
            self._lost(str(error), now_ns)
            return []

    def write(self, data: bytes, now_ns: int) -> None:
        """Send to the device, if it is there."""
        if self._source is None:
            return
        try:
            self._source.write(data)
        except GoneError as error:
            self._lost(str(error), now_ns)

    def discard(self, now_ns: int) -> None:
        """Drop what has come, if the device is there."""
        if self._source is None:
            return
        try:
            self._source.discard()
        except GoneError as error:
            self._lost(str(error), now_ns)

    def close(self) -> None:
        """Let go of it."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _open(self, now_ns: int) -> bool:
        if self._again_ns is not None and now_ns < self._again_ns:
            return False
        try:
            self._source = self._opener()
        except PortError as error:
            self.error = error
            self._again_ns = now_ns + round(self._wait_s * NS_PER_S)
            self._wait_s = min(2.0 * self._wait_s, BACKOFF_LAST_S)
            return False
        self.opened += 1
        self.error = None
        self._wait_s = BACKOFF_FIRST_S
        return True

    def _lost(self, message: str, now_ns: int) -> None:
        self.close()
        self.losses += 1
        self.error = PortError("absent", message)
        self._again_ns = now_ns + round(self._wait_s * NS_PER_S)


def _read_now(descriptor: int) -> bytes:
    """What a file has; a file that can be read and has nothing is one that was pulled out."""
    if not select.select([descriptor], [], [], 0)[0]:
        return b""
    try:
        data = os.read(descriptor, MOST_BYTES)
    except BlockingIOError:
        return b""
    if not data:
        raise GoneError("unplugged, or another program reads it")
    return data


def _termios_errors() -> tuple[type[Exception], ...]:
    try:
        import termios
    except ImportError:
        return ()
    return (termios.error,)


def _trouble(port: str, error: Exception) -> Trouble:
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM):
        return "denied"
    if number == errno.EBUSY or "exclusively lock" in str(error):
        return "busy"
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or not ("://" in port or os.path.exists(port)):
        return "absent"
    return "other"


def _words(error: Exception) -> str:
    if "readiness to read" in str(error):  # What pyserial says of a device that was pulled out.
        return "unplugged, or another program reads it"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
