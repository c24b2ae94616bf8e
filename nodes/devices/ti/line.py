"""The data port: bytes to frames, each with the time at which its first byte came."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from nodes.devices.ports import NS_PER_S, Port
from nodes.devices.ti.frames import TiDecoder, TiFrame

BITS_PER_BYTE = 10
CAPTURED_BYTES = 2048
_MOST_PORTIONS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Arrived:
    """A frame that is complete."""

    frame: TiFrame
    began_ns: int
    """Session time of its first byte: what was read, less the time that the bytes behind it took on the line."""
    received_ns: int
    """When its last byte was read."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Totals at a time."""

    at_ns: int
    received_bytes: int
    frames: int
    points: int
    corrupt: int


class DataLine:
    """Reads the data port of one sensor; survives that it goes and comes."""

    def __init__(self, port: Port, decoder: TiDecoder, baud: int) -> None:
        self.port = port
        self.baud = baud
        self.decoder = decoder
        self.received_bytes = 0
        self.heard_ns = 0
        """When bytes came last."""
        self._byte_ns = BITS_PER_BYTE * NS_PER_S / baud
        self._portions: deque[tuple[int, int]] = deque(maxlen=_MOST_PORTIONS)
        """Offset behind each portion that was read, and when."""
        self._end = 0
        """Offset behind the last frame."""
        self._opened = 0
        self._captured = bytearray()

    @property
    def unframed(self) -> int:
        """Bytes since the last frame."""
        return self.decoder.offset - self._end

    @property
    def captured(self) -> bytes:
        """The last of the bytes since the last frame."""
        return bytes(self._captured[-self.unframed :]) if self.unframed else b""

    def read(self, now_ns: int) -> list[Arrived]:
        """Frames that are complete now, without waiting."""
        chunks = self.port.read(now_ns)
        if self.port.opened != self._opened:
            self._opened = self.port.opened
            self.drop_rest()
        arrived: list[Arrived] = []
        if chunks:
            self.heard_ns = now_ns
        for chunk in chunks:
            self.received_bytes += len(chunk.data)
            self._captured += chunk.data[-CAPTURED_BYTES:]
            del self._captured[:-CAPTURED_BYTES]
            frames = self.decoder.feed(chunk.data)
            self._portions.append((self.decoder.offset, now_ns))
            arrived += [Arrived(frame, self._began_ns(frame, now_ns), now_ns) for frame in frames]
        return arrived

    def drop_rest(self) -> None:
        """Await no more of the frame that was being sent when the sensor stopped or went."""
        self.decoder.end_of_stream()
        self._end = self.decoder.offset
        self._portions.clear()
        self._captured.clear()

    def tally(self, now_ns: int) -> Tally:
        """Totals so far."""
        counts = self.decoder.counts
        return Tally(now_ns, self.received_bytes, counts.samples, counts.points, counts.corrupt)

    def _began_ns(self, frame: TiFrame, now_ns: int) -> int:
        self._end = frame.end
        while self._portions and self._portions[0][0] <= frame.offset:
            self._portions.popleft()
        behind, at_ns = self._portions[0] if self._portions else (frame.end, now_ns)
        return at_ns - round((min(behind, frame.end) - frame.offset) * self._byte_ns)
