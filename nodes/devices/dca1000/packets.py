"""From the capture card's data packets to frames of samples, whatever the network does to them.

A packet is a u32 sequence number from 1, the 6-byte number of bytes sent before it, and up to 1456 bytes, all little
endian. Frames do not start at packets: bytes are placed by their number, and what never comes stays zero and is
counted. A frame waits for packets that overtook one another (``REORDER_BYTES``).

Source: TI, "DCA1000EVM Data Capture Card User's Guide", SPRUIJ4A, section 5.2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

HEAD_BYTES = 10
MOST_DATA_BYTES = 1462
"""What fits into an Ethernet packet; the card sends 1456."""
REORDER_BYTES = 32 * 1456
"""A frame is given up on once so much has come of what follows it."""
MOST_FRAMES_AHEAD = 16
"""A packet farther ahead is believed only if the next ones agree."""
CONFIRM = 4
"""Packets one after the other that make a jump, or a counter that began again, believed."""


def packet(sequence: int, offset: int, data: bytes) -> bytes:
    """A data packet as the card sends it."""
    return struct.pack("<I", sequence) + offset.to_bytes(6, "little") + data


@dataclass(frozen=True, slots=True)
class RawFrame:
    """The samples of one frame."""

    index: int
    """Since the card began to record; a gap is a frame of which nothing came."""
    data: bytes
    missing_bytes: int
    """Zeros in ``data`` that stand for what was lost."""
    received_ns: int
    """Arrival of the first packet that has bytes of it, on the session clock."""


@dataclass(slots=True)
class _Buffer:
    data: bytearray
    received_ns: int
    spans: set[tuple[int, int]] = field(default_factory=set)
    """Start and length of what has come."""
    filled: int = 0


@dataclass(slots=True)
class PacketCounts:
    """What came and what did not."""

    packets: int = 0
    refused: int = 0
    """Too short, too long, or from nowhere."""
    late: int = 0
    """Of frames that were given up already, or come twice."""
    frames: int = 0
    frames_incomplete: int = 0
    frames_lost: int = 0
    """Of which nothing came."""
    bytes_lost: int = 0
    restarts: int = 0


class Assembler:
    """Places packets; ``feed`` returns the frames that are done.

    Args:
        frame_bytes: of one frame.
    """

    def __init__(self, frame_bytes: int) -> None:
        if frame_bytes <= 0:
            raise ValueError(f"frame_bytes: {frame_bytes}, expected more than 0")
        self.counts = PacketCounts()
        self._size = frame_bytes
        self._next = 0
        """Index of the oldest frame that is not done."""
        self._buffers: dict[int, _Buffer] = {}
        self._expected = -1
        """Where the packet after the last one that was not believed would begin."""
        self._agreeing = 0

    def feed(self, datagram: bytes, received_ns: int) -> list[RawFrame]:
        """Take one packet."""
        length = len(datagram) - HEAD_BYTES
        if not 0 < length <= MOST_DATA_BYTES:
            self.counts.refused += 1
            return []
        self.counts.packets += 1
        offset = int.from_bytes(datagram[4:HEAD_BYTES], "little")
        if not self._believed(offset, length):
            return []
        return self._place(offset, datagram[HEAD_BYTES:], received_ns)

    def flush(self) -> list[RawFrame]:
        """What has begun, with zeros for the rest: the card sends no more."""
        return self._done(max(self._buffers, default=self._next - 1) + 1)

    def _believed(self, offset: int, length: int) -> bool:
        """Whether a packet is near what is expected; a jump must be confirmed by those that follow it."""
        index = offset // self._size
        if self._next <= index <= self._next + MOST_FRAMES_AHEAD:
            self._agreeing = 0
            return True
        self._agreeing = self._agreeing + 1 if offset == self._expected else 1
        self._expected = offset + length
        if self._agreeing < CONFIRM:
            self.counts.late += index < self._next
            self.counts.refused += index > self._next
            return False
        self._agreeing = 0
        self._jump(index)
        return True

    def _jump(self, index: int) -> None:
        self._buffers.clear()
        if index < self._next:
            self.counts.restarts += 1
        else:
            self.counts.frames_lost += index - self._next
            self.counts.bytes_lost += (index - self._next) * self._size
        self._next = index

    def _place(self, offset: int, data: bytes, received_ns: int) -> list[RawFrame]:
        end = offset + len(data)
        while offset < end:
            index, at = divmod(offset, self._size)
            part = data[len(data) - (end - offset) :][: self._size - at]
            self._fill(index, at, part, received_ns)
            offset += len(part)
        frames = self._done(max(self._next, (end - REORDER_BYTES) // self._size))
        while self._next in self._buffers and self._buffers[self._next].filled == self._size:
            frames += self._done(self._next + 1)
        return frames

    def _fill(self, index: int, at: int, part: bytes, received_ns: int) -> None:
        buffer = self._buffers.get(index)
        if buffer is None:
            buffer = self._buffers[index] = _Buffer(bytearray(self._size), received_ns)
        if (at, len(part)) in buffer.spans:
            self.counts.late += 1
            return
        buffer.spans.add((at, len(part)))
        buffer.data[at : at + len(part)] = part
        buffer.filled = min(self._size, buffer.filled + len(part))

    def _done(self, end: int) -> list[RawFrame]:
        """Give out what there is of the frames before ``end``."""
        frames = []
        for index in range(self._next, end):
            buffer = self._buffers.pop(index, None)
            missing = self._size - (buffer.filled if buffer else 0)
            self.counts.bytes_lost += missing
            if buffer is None:
                self.counts.frames_lost += 1
                continue
            self.counts.frames += 1
            self.counts.frames_incomplete += missing > 0
            frames.append(RawFrame(index, bytes(buffer.data), missing, buffer.received_ns))
        self._next = max(self._next, end)
        return frames
