"""Bytes of the data port in, frames out.

The decoder never raises on bytes and keeps at most two frames' worth of them. A frame is
handed out as soon as its bytes are there if its TLVs explain its length. If they do not,
it waits for the next magic word: a magic word where the length says is right, the frame
is right; else what lies before the magic word is judged alone and lost if it makes no
sense. A magic word inside a frame (in garbage or numbers) ends it only if version and
platform behind it are the frame's own and no frame begins where this one should end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nodes.devices.sample import DecoderCounts
from nodes.devices.ti.layout import (
    LAYOUTS,
    LEAST_HEAD,
    MAGIC,
    MOST_LENGTH,
    PADDED_TO,
    START_SIZE,
    Layout,
    Walk,
    best_walk,
    read_start,
)
from nodes.devices.ti.payloads import Content, Height, Statistics, Target, Temperature, Vitals, read_content

MOST_GAP = 10_000
"""A frame number so far ahead is not loss but another beginning."""

LayoutName = Literal["sdk3", "sdk1", "people48", "doors"]


@dataclass(slots=True)
class TiCounts(DecoderCounts):
    """What a decoder has met so far.

    ``packets`` and ``samples`` are frames, ``absurd`` are points and targets that cannot be, ``unknown`` are TLVs of
    types that nobody knows; a frame whose number was there before is ``doubled`` and handed on.
    """

    points: int = 0
    doubtful: int = 0
    """Frames that were handed out although their length or their number of TLVs is wrong."""
    odd_tlvs: int = 0
    """TLVs whose size does not suit their type; left out."""


@dataclass(frozen=True, slots=True, eq=False)
class TiFrame:
    """One frame of the sensor."""

    number: int
    """The sensor's own; begins anew when the sensor does."""
    sub_frame: int
    cpu_cycles: int | None
    """At 200 MHz, wraps at 2^32 (21 s); None where the head has none."""
    platform: int
    """Such as 0xA6843."""
    version: tuple[int, int, int, int]
    """Of the SDK: major, minor, bug fix, build."""
    layout: str
    """Which form its head has: a name in ``LAYOUTS``."""
    offset: int
    """Of the magic word's first byte in all bytes that the decoder was ever fed."""
    length: int
    """Bytes on the wire, head and padding included."""
    restarted: bool
    """Numbers began anew with this frame."""
    doubtful: bool
    """Its length or its number of TLVs was wrong."""
    positions_m: NDArray[np.float32]
    """[N, 3], radar frame (x right, y forward, z up), without ``sensorPosition``."""
    radial_velocities_m_s: NDArray[np.float32]
    """[N], + is receding; NaN in SDK 1 and 2 unless the decoder was told the Doppler step."""
    snrs_db: NDArray[np.float32]
    """[N]; NaN where the sensor sends none."""
    noises_db: NDArray[np.float32]
    """[N]; NaN where the sensor sends none."""
    targets: tuple[Target, ...]
    """People as the sensor tracks them, in its frame of the floor: turned and lifted by ``sensorPosition``."""
    target_of_point: NDArray[np.uint8] | None
    """[points of frame ``number - 1``]: target of each (253 weak, 254 outside, 255 noise); points that were dropped
    there are dropped here."""
    heights: tuple[Height, ...]
    presence: int | None
    occupancy: int | None
    vitals: tuple[Vitals, ...]
    statistics: Statistics | None
    temperature: Temperature | None
    range_profile: NDArray[np.uint16] | None
    """[bins], log2 magnitude times 2^9."""
    noise_profile: NDArray[np.uint16] | None
    """[bins], log2 magnitude times 2^9."""
    range_doppler: NDArray[np.uint16] | None
    """[bins times Doppler bins], flat."""
    static_map: NDArray[np.int16] | None
    """[values, 2] imaginary, real; types 4 and 8, flat."""
    unknown_types: tuple[int, ...]

    @property
    def end(self) -> int:
        """Offset behind the frame."""
        return self.offset + self.length


class TiDecoder:
    """Frames of one sensor."""

    def __init__(self, layout: LayoutName | None = None, doppler_step_m_s: float | None = None) -> None:
        """Begin.

        Args:
            layout: form of the head; None to find it.
            doppler_step_m_s: velocity of one Doppler bin, for SDK 1 and 2, which send bins.

        Raises:
            ValueError: if there is no such layout.
        """
        if layout is not None and layout not in LAYOUTS:
            raise ValueError(f"layout {layout!r}: allowed {', '.join(LAYOUTS)}, or None to find it")
        self.counts = TiCounts()
        self._doppler_step_m_s = doppler_step_m_s
        self._layouts = tuple(LAYOUTS.values()) if layout is None else (LAYOUTS[layout],)
        self._found: Layout | None = None
        """The form of the last frame in which all was right; tried first."""
        self._buffer = bytearray()
        self._base = 0
        """Offset of the buffer's first byte."""
        self._looked = 0
        """No magic word but the first begins before this place of the buffer."""
        self._shared = 0
        """So many of the first bytes belong to a frame that was handed out: the next may begin among the last of them,
        if the frame lost some on its way."""
        self._fault: tuple[int, tuple[int, ...]] | None = None
        """By how many bytes the length of the last frame in doubt was wrong, and which of its TLVs were there."""
        self._last: tuple[int, int] | None = None
        """Number and sub-frame of the last frame."""
        self._kept: tuple[int, NDArray[np.bool_]] | None = None
        """Number of the last frame and which of its points were kept."""

    @property
    def offset(self) -> int:
        """Bytes that were fed so far."""
        return self._base + len(self._buffer)

    @property
    def held(self) -> int:
        """Bytes that wait for more."""
        return len(self._buffer)

    @property
    def layout(self) -> str | None:
        """The form of the head that was found."""
        return None if self._found is None else self._found.name

    def feed(self, data: bytes) -> list[TiFrame]:
        """Take bytes in; how they are portioned makes no difference."""
        self._buffer += data
        frames: list[TiFrame] = []
        while (size := self._step(frames, at_end=False)) is not None:
            self._drop(size)
        return frames

    def end_of_stream(self) -> list[TiFrame]:
        """Say that nothing follows what came: the sensor has stopped, or the port is gone."""
        frames: list[TiFrame] = []
        while (size := self._step(frames, at_end=True)) is not None:
            self._drop(size)
        if len(self._buffer) > self._shared:
            self.counts.spoilt(len(self._buffer) - self._shared)
        self._drop(len(self._buffer))
        return frames

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._base += size
        self._shared = max(self._shared - size, 0)
        self._looked = 0

    def _step(self, frames: list[TiFrame], *, at_end: bool) -> int | None:
        """Judge what stands first in the buffer: how many bytes are done with; None if more have to come."""
        buffer = self._buffer
        if not buffer.startswith(MAGIC):
            return self._skip_to_magic()
        if len(buffer) < START_SIZE:
            return None
        start = read_start(buffer, 0)
        if not LEAST_HEAD <= start.length <= MOST_LENGTH:
            self.counts.spoilt(len(MAGIC))
            return len(MAGIC)
        following = self._next_magic()
        if 0 <= following <= start.length - len(MAGIC):
            return self._judge_cut(start.length, following, frames, at_end=at_end)
        return self._judge_whole(start.length, following, frames, at_end=at_end)

    def _skip_to_magic(self) -> int | None:
        """Bytes before the next magic word, or before what may be its beginning."""
        place = self._buffer.find(MAGIC)
        size = max(len(self._buffer) - len(MAGIC) + 1, 0) if place < 0 else place
        self.counts.skipped_bytes += max(size - self._shared, 0)
        return size or None

    def _next_magic(self) -> int:
        """Where the second magic word of the buffer is; -1 if it is not there yet."""
        begin = max(self._looked, len(MAGIC))
        place = self._buffer.find(MAGIC, begin)
        self._looked = place if place >= 0 else max(begin, len(self._buffer) - len(MAGIC) + 1)
        return place

    def _judge_whole(self, length: int, following: int, frames: list[TiFrame], *, at_end: bool) -> int | None:
        """A frame with no whole magic word inside; ``following`` is where the next one is, -1 if nowhere yet."""
        if len(self._buffer) < length:
            return self._rest(frames) if at_end else None
        walked = self._walk(length)
        if walked is not None and walked.fits:
            return self._emit(walked, frames, doubtful=not walked.complete)
        if 0 <= following <= MOST_LENGTH:
            return self._segment(length, following, frames)
        if len(self._buffer) >= MOST_LENGTH + len(MAGIC):
            return self._lose(len(MAGIC))
        return self._rest(frames) if at_end else None

    def _judge_cut(self, length: int, inner: int, frames: list[TiFrame], *, at_end: bool) -> int | None:
        """A frame with a magic word inside: either it is none, or this frame was cut short, or the length is wrong."""
        buffer = self._buffer
        shown = self._walk(inner)
        if shown is not None and shown.complete and shown.tlvs and length - (inner - shown.rest) >= PADDED_TO:
            return self._segment(length, inner, frames)  # The TLVs end long before the length says.
        need = max(inner + START_SIZE, length)
        if self._frame_at(inner, need):
            return self._segment(length, inner, frames)
        if len(buffer) < need:
            return self._segment(length, inner, frames) if at_end else None
        walked = self._walk(length)
        if walked is None or not walked.clean:
            return self._segment(length, inner, frames)
        if buffer[8:12] == buffer[inner + 8 : inner + 12] and buffer[16:20] == buffer[inner + 16 : inner + 20]:
            if len(buffer) < length + len(MAGIC):
                if not at_end:
                    return None
            elif not buffer.startswith(MAGIC, length):
                return self._segment(length, inner, frames)
        return self._emit(walked, frames, doubtful=False)

    def _frame_at(self, at: int, stop: int) -> bool:
        """Whether a whole frame without fault lies between two places of the buffer; numbers do not look like that."""
        buffer = self._buffer
        if len(buffer) < at + START_SIZE:
            return False
        size = read_start(buffer, at).length
        if not LEAST_HEAD <= size <= min(stop, len(buffer)) - at:
            return False
        walked = self._walk(size, at)
        return walked is not None and walked.clean and walked.unknown < len(walked.tlvs)

    def _segment(self, length: int, size: int, frames: list[TiFrame]) -> int:
        """What lies between two magic words: a frame if no more than one thing is wrong with it.

        More is wrong after loss, when numbers are not where they belong; but firmware that is wrong in the same way
        each time has not lost any.
        """
        walked = self._walk(size)
        if walked is None or not (walked.complete or walked.tlvs):
            return self._lose(size)
        fault = length - size, tuple(tlv.kind for tlv in walked.tlvs)
        last_fault, self._fault = self._fault, fault
        if walked.sufficient or size == length or fault == last_fault:
            return self._emit(walked, frames, doubtful=True)
        return self._lose(size)

    def _rest(self, frames: list[TiFrame]) -> int:
        """The last bytes of a stream."""
        return self._segment(read_start(self._buffer, 0).length, len(self._buffer), frames)

    def _lose(self, size: int) -> int:
        self.counts.spoilt(size)
        return size

    def _walk(self, size: int, at: int = 0) -> Walk | None:
        order = self._layouts if self._found is None else (self._found, *self._layouts)
        return best_walk(self._buffer, at, size, order)

    def _emit(self, walked: Walk, frames: list[TiFrame], *, doubtful: bool) -> int:
        """Hand a frame out; how many of its bytes are done with."""
        counts, layout = self.counts, walked.layout
        if not doubtful and walked.unknown < len(walked.tlvs):
            self._found = layout
        data = bytes(self._buffer[: walked.size])
        start = read_start(data, 0)
        number = _u32(data, 20)
        sub_frame = 0 if layout.sub_frame_at is None else _u32(data, layout.sub_frame_at)
        restarted = self._note_number(number, sub_frame)
        content = read_content(data, walked.tlvs, self._doppler_step_m_s)
        self._count(content, doubtful=doubtful)
        target_of_point = self._for_kept(content.target_of_point, number - 1)
        self._kept = number, content.kept
        counts.packets += 1
        counts.samples += 1
        frames.append(
            TiFrame(
                number=number,
                sub_frame=sub_frame,
                cpu_cycles=None if layout.cycles_at is None else _u32(data, layout.cycles_at),
                platform=start.platform,
                version=version_parts(start.version),
                layout=layout.name,
                offset=self._base,
                length=walked.size,
                restarted=restarted,
                doubtful=doubtful,
                positions_m=content.positions_m,
                radial_velocities_m_s=content.radial_velocities_m_s,
                snrs_db=content.snrs_db,
                noises_db=content.noises_db,
                targets=content.targets,
                target_of_point=target_of_point,
                heights=content.heights,
                presence=content.presence,
                occupancy=content.occupancy,
                vitals=content.vitals,
                statistics=content.statistics,
                temperature=content.temperature,
                range_profile=content.range_profile,
                noise_profile=content.noise_profile,
                range_doppler=content.range_doppler,
                static_map=content.static_map,
                unknown_types=content.unknown_types,
            )
        )
        shared = _begun_magic(data)
        self._shared = walked.size  # None of the frame's bytes is skipped, whichever of them are looked at again.
        return walked.size - shared

    def _for_kept(self, target_of_point: NDArray[np.uint8] | None, number: int) -> NDArray[np.uint8] | None:
        """Targets of those points of frame ``number`` that were handed out; None if that frame had other points."""
        kept = self._kept
        if target_of_point is None or kept is None or kept[0] != number:
            return target_of_point
        if target_of_point.size != kept[1].size:
            self.counts.odd_tlvs += 1
            return None
        return target_of_point[kept[1]]

    def _count(self, content: Content, *, doubtful: bool) -> None:
        counts = self.counts
        counts.doubtful += doubtful
        counts.absurd += content.absurd
        counts.odd_tlvs += content.odd
        counts.points += len(content.positions_m)
        counts.unknown += len(content.unknown_types)
        for what in content.lacking:
            counts.lack(what)

    def _note_number(self, number: int, sub_frame: int) -> bool:
        """Count what is missing before this frame; True if numbers began anew."""
        last, self._last = self._last, (number, sub_frame)
        if last is None:
            return False
        ahead = number - last[0]
        if ahead == 0:
            if sub_frame == last[1]:
                self.counts.doubled += 1
            return False
        if 0 < ahead <= MOST_GAP:
            self.counts.lost += ahead - 1
            return False
        self.counts.restarts += 1
        return True


def version_parts(version: int) -> tuple[int, int, int, int]:
    """Major, minor, bug fix and build of a version word."""
    return version >> 24 & 0xFF, version >> 16 & 0xFF, version >> 8 & 0xFF, version & 0xFF


def _begun_magic(data: bytes) -> int:
    """How many of the last bytes may begin a magic word."""
    return next((size for size in range(len(MAGIC) - 1, 0, -1) if data.endswith(MAGIC[:size])), 0)


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")
