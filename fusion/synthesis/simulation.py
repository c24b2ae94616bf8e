"""The whole simulation: wearers, the rig around them, and every record in the order of arrival.

Pure: no clock and no transport. Whoever runs it takes the emissions one by one
and publishes each when its time has come.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fusion.body.catalog import SKELETON
from fusion.records import Image, Record, Truth
from fusion.rig import Camera, Rig
from fusion.synthesis.cameras import VirtualCamera, ring_of_cameras
from fusion.synthesis.imus import VirtualImus, nominal_mounts
from fusion.synthesis.params import DetectorParams, InertialParams, PictureParams, RadarParams, RingParams
from fusion.synthesis.pictures import Painter
from fusion.synthesis.radars import VirtualRadar, radar_mounts
from fusion.synthesis.wearer import Wearer

NANOSECONDS = 1_000_000_000

CHUNK_S = 0.2
"""Each sensor is computed for so long at once."""
_PICTURE_LATENCY_S = 0.008


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """What sensors there are; None leaves a kind out."""

    ring: RingParams | None = field(default_factory=RingParams)
    detector: DetectorParams = field(default_factory=DetectorParams)
    imus: InertialParams | None = field(default_factory=InertialParams)
    radars: RadarParams | None = field(default_factory=RadarParams)
    pictures: PictureParams | None = None
    truth_hz: float | None = None
    """Truth at this rate besides that at every exposure; None without cameras means 60."""

    @property
    def camera_names(self) -> tuple[str, ...]:
        """``cam1``, ``cam2`` and so on."""
        return tuple(f"cam{i + 1}" for i in range(self.ring.count if self.ring else 0))

    @property
    def radar_names(self) -> tuple[str, ...]:
        """``radar1`` and so on."""
        return tuple(f"radar{i + 1}" for i in range(self.radars.count if self.radars else 0))

    def detector_of(self, camera: int) -> DetectorParams:
        """The detector of one camera, with its own phase."""
        return replace(self.detector, phase_s=self.detector.phase_s + camera * self.detector.phase_step_s)


IMUS = "imus"
"""Name of the inertial system."""
DEFAULT_TRUTH_HZ = 60.0


def simulated_rig(lab: Lab) -> Rig:
    """What a calibration would know of the lab: nominal mounts of the inertial sensors, exact cameras and radars."""
    return Rig(
        cameras=ring_of_cameras(lab.ring, lab.camera_names) if lab.ring else (),
        imus=nominal_mounts(lab.imus) if lab.imus else (),
        radars=radar_mounts(lab.radars, lab.radar_names) if lab.radars else (),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Emission:
    """A record, and where and when it comes in."""

    arrival_ns: int
    stream: str
    """``cam1/landmarks``, ``imus/samples``, ``radar1/points``, ``cam1/image``, or ``truth``."""
    record: Record


class Simulation:
    """All sensors of a lab around some wearers.

    Args:
        lab: the sensors.
        wearers: at least one if there are inertial sensors, which the first one wears.
        seed: same seed, same records.
        origin_ns: session time of the start.
        duration_s: nothing is measured from then on; None for no end.
        begin_s: nothing that is measured before is made; the rest is what it would have been.
    """

    def __init__(
        self,
        lab: Lab,
        wearers: Sequence[Wearer],
        *,
        seed: int,
        origin_ns: int,
        duration_s: float | None = None,
        begin_s: float = 0.0,
    ) -> None:
        self._origin_ns = origin_ns
        self._end_s = float("inf") if duration_s is None else duration_s
        self._pending: list[tuple[int, int, int, Emission]] = []
        self._count = 0
        self._begin_s = begin_s
        self._sources = _sources(lab, tuple(wearers), seed, origin_ns)
        for source in self._sources:
            source.skip_to(begin_s)

    @property
    def horizon_ns(self) -> int | None:
        """All that arrives before this time is known; None once everything is."""
        begins = [source.next_s for source in self._sources]
        return self._origin_ns + int(min(begins) * NANOSECONDS) if begins else None

    def extend(self) -> None:
        """Compute the next stretch of the sensor that is behind most."""
        if not self._sources:
            return
        order, source = min(enumerate(self._sources), key=lambda item: item[1].next_s)
        for time_s, arrival_ns, stream, record in source.advance():
            if self._begin_s <= time_s < self._end_s:
                self._count += 1
                heapq.heappush(self._pending, (arrival_ns, order, self._count, Emission(arrival_ns, stream, record)))
        self._sources = [source for source in self._sources if source.next_s < self._end_s]

    def peek(self) -> Emission | None:
        """The next record to arrive, None at the end."""
        while (horizon := self.horizon_ns) is not None and not (self._pending and self._pending[0][0] < horizon):
            self.extend()
        return self._pending[0][3] if self._pending else None

    def pop(self) -> Emission | None:
        """Take the next record to arrive, None at the end."""
        emission = self.peek()
        if emission is not None:
            heapq.heappop(self._pending)
        return emission


_Made = tuple[float, int, str, Record]
"""Time in seconds, arrival in nanoseconds, stream, record."""


class _Source:
    """A sensor with its place on the time axis."""

    def __init__(self, rate_hz: float, phase_s: float, make: Callable[[int, int], list[_Made]]) -> None:
        self._rate_hz = rate_hz
        self._phase_s = phase_s
        self._make = make
        self._chunk = max(1, round(CHUNK_S * rate_hz))
        self._index = 0

    @property
    def next_s(self) -> float:
        """No record that is still to be made arrives before."""
        return self._phase_s + self._index / self._rate_hz

    def skip_to(self, time_s: float) -> None:
        """Leave out what comes to an end before a time; a record more is made rather than one less."""
        self._index = max(0, math.floor((time_s - self._phase_s) * self._rate_hz) - 1)

    def advance(self) -> list[_Made]:
        made = self._make(self._index, self._chunk)
        self._index += self._chunk
        return made


def _sources(lab: Lab, wearers: tuple[Wearer, ...], seed: int, origin_ns: int) -> list[_Source]:
    sources = [_truth(lab, wearers, origin_ns)]
    for index, camera in enumerate(ring_of_cameras(lab.ring, lab.camera_names) if lab.ring else ()):
        detector = lab.detector_of(index)
        virtual = VirtualCamera(camera, detector, wearers, seed)
        make = _received(f"{camera.name}/landmarks", virtual.frames, origin_ns)
        sources.append(_Source(detector.rate_hz, detector.phase_s, make))
        if lab.pictures is not None:
            sources.append(_pictures(camera, detector, lab.pictures, wearers, origin_ns))
    if lab.imus is not None:
        imus = VirtualImus(IMUS, lab.imus, wearers[0], seed)
        rate = lab.imus.rate_hz / lab.imus.samples_per_record
        # A record is as late as its newest sample, so its index understates the arrival: safe.
        sources.append(_Source(rate, 0.0, _received(f"{IMUS}/samples", imus.records, origin_ns)))
    for mount in radar_mounts(lab.radars, lab.radar_names) if lab.radars else ():
        assert lab.radars is not None
        radar = VirtualRadar(mount, lab.radars, wearers, seed)
        sources.append(_Source(lab.radars.rate_hz, 0.0, _received(f"{mount.name}/points", radar.frames, origin_ns)))
    return sources


def _received(
    stream: str, frames: Callable[[int, int, int], Sequence[tuple[float, Record]]], origin_ns: int
) -> Callable[[int, int], list[_Made]]:
    def make(first: int, count: int) -> list[_Made]:
        return [(time_s, record.received_ns, stream, record) for time_s, record in frames(first, count, origin_ns)]

    return make


def _truth(lab: Lab, wearers: tuple[Wearer, ...], origin_ns: int) -> _Source:
    """Truth at every distinct exposure, and at ``truth_hz``."""
    grids = [(lab.detector.rate_hz, lab.detector_of(i).phase_s) for i in range(len(lab.camera_names))]
    if lab.truth_hz is not None or not grids:
        grids.append((lab.truth_hz or DEFAULT_TRUTH_HZ, 0.0))
    pace_hz = 1.0 / CHUNK_S

    def make(first: int, count: int) -> list[_Made]:
        begin, end = first / pace_hz, (first + count) / pace_hz
        times: dict[int, float] = {}
        for rate, phase in grids:
            low = max(int(np.floor((begin - phase) * rate)) - 1, 0)
            high = max(int(np.ceil((end - phase) * rate)) + 1, 0)
            for time_s in phase + np.arange(low, high) / rate:
                if begin <= time_s < end:
                    times.setdefault(round(time_s * NANOSECONDS), float(time_s))
        return truths(wearers, times, origin_ns)

    return _Source(pace_hz, 0.0, make)


def truths(wearers: Sequence[Wearer], times: dict[int, float], origin_ns: int) -> list[_Made]:
    """Truth records at times given in whole nanoseconds and in seconds from the start."""
    ordered = sorted(times)
    if not ordered:
        return []
    poses = [wearer.motion.pose(np.array([times[ns] for ns in ordered])) for wearer in wearers]
    ids = np.array([wearer.id for wearer in wearers], dtype=np.int64)
    result: list[_Made] = []
    for i, ns in enumerate(ordered):
        record = Truth(
            measured_ns=origin_ns + ns,
            received_ns=origin_ns + ns,
            skeleton=SKELETON,
            ids=ids,
            positions_m=np.stack([positions[i] for positions, _ in poses]).astype(np.float32),
            q_world_from_segment=np.stack([quaternions[i] for _, quaternions in poses]).astype(np.float32),
        )
        result.append((times[ns], record.received_ns, "truth", record))
    return result


def _pictures(
    camera: Camera, detector: DetectorParams, params: PictureParams, wearers: tuple[Wearer, ...], origin_ns: int
) -> _Source:
    painter = Painter(camera, params, wearers)
    rate = detector.rate_hz / params.every

    def make(first: int, count: int) -> list[_Made]:
        result: list[_Made] = []
        for index in range(first, first + count):
            time_s = detector.phase_s + index / rate
            arrival_ns = origin_ns + round((time_s + _PICTURE_LATENCY_S) * NANOSECONDS)
            record = Image(
                measured_ns=origin_ns + round(time_s * NANOSECONDS),
                received_ns=arrival_ns,
                camera=camera.name,
                index=index * params.every,
                width=camera.width,
                height=camera.height,
                encoding="bgr8",
                data=painter.draw(time_s).reshape(-1),
            )
            result.append((time_s, arrival_ns, f"{camera.name}/image", record))
        return result

    return _Source(rate, detector.phase_s, make)
