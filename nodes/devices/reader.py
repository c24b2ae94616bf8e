"""One port with its decoders: bytes in, samples with the sensor's identity and their time of arrival out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields

from nodes.devices.diagnosis import Diagnosis, Evidence, diagnose, magnitude
from nodes.devices.drivers import Driver
from nodes.devices.ports import NS_PER_S, UDP_PREFIX, Chunk, Port
from nodes.devices.sample import MAX_SENSORS, STANDARD_GRAVITY_M_S2, Decoder, DecoderCounts, DeviceSample
from nodes.devices.setup import Setup

CAPTURED_BYTES = 4096
CAPTURED_FORCES = 100
LEAST_STILL = 60
"""So many samples in a row without a turn are rest: no limb that moves keeps its direction for so long."""
STILL_RAD_S = 0.1
SENDER_SILENT_NS = 1_000_000_000
"""Another sender may take the place of one that has been silent for so long."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A sample as it came through a port."""

    sensor: str
    """Its identity on the port; with the sender's address where several sensors send to one UDP port."""
    sample: DeviceSample
    received_ns: int


@dataclass(slots=True)
class Seen:
    """What was seen since a moment, to tell what is wrong."""

    since_ns: int
    counts: DecoderCounts
    """At that moment."""
    received_bytes: int = 0
    captured: bytearray = field(default_factory=bytearray)
    still: dict[str, deque[float]] = field(default_factory=dict)
    """|a| of each sensor for as long as it has been at rest, m/s^2."""
    heard: set[str] = field(default_factory=set)


class PortReader:
    """Reads one port; survives that the device goes and comes."""

    def __init__(self, port: Port, driver: Driver, make_setup: Callable[[Decoder], Setup | None]) -> None:
        self.port = port
        self.driver = driver
        self.foreign = 0
        """Datagrams of a second sender where only one can be listened to; dropped."""
        self.setup: Setup | None = None
        self._make_setup = make_setup
        self._decoders: dict[str, Decoder] = {}
        self._sender, self._sender_ns = "", 0
        self._opened = 0
        self._past = DecoderCounts()
        """Of decoders that are no longer used."""
        self._seen = Seen(0, DecoderCounts())

    @property
    def counts(self) -> DecoderCounts:
        """Of all that came through the port."""
        return total([self._past, *(decoder.counts for decoder in self._decoders.values())])

    def read(self, now_ns: int) -> list[Arrival]:
        """Samples that have come, without waiting."""
        chunks = self.port.read(now_ns)
        if self.port.opened != self._opened:
            self._begin(now_ns)
        if self.setup is not None and not self.setup.done:
            words = self.setup.step(now_ns)
            if words:
                self.port.write(words, now_ns)
        arrivals: list[Arrival] = []
        for chunk in chunks:
            self._take(chunk, now_ns, arrivals)
        return arrivals

    def restart_window(self, now_ns: int) -> None:
        """Look from now on only."""
        self._seen = Seen(now_ns, self.counts)

    def diagnosis(self, now_ns: int, present: tuple[str, ...], wanted: tuple[str, ...]) -> Diagnosis | None:
        """What is wrong, judged by what was seen since ``restart_window`` or the last opening."""
        seen, error = self._seen, self.port.error
        evidence = Evidence(
            driver=self.driver,
            port=self.port.name,
            baud=self.port.baud,
            seconds=(now_ns - seen.since_ns) / NS_PER_S,
            received_bytes=seen.received_bytes,
            captured=bytes(seen.captured),
            counts=since(seen.counts, self.counts),
            trouble=None if error is None else error.trouble,
            error="" if error is None else str(error),
            present=present,
            heard=tuple(sorted(seen.heard)),
            wanted=wanted,
            forces_m_s2=_worst(seen.still),
        )
        return diagnose(evidence)

    @property
    def seen_ns(self) -> int:
        """Since when the present window looks."""
        return self._seen.since_ns

    def _begin(self, now_ns: int) -> None:
        """The device is there, for the first time or again."""
        self._opened = self.port.opened
        for decoder in self._decoders.values():
            decoder.end_of_datagram()  # The rest of what was being sent when it went never comes.
        decoder = self._decoder("")
        self.setup = self._make_setup(decoder)
        self.restart_window(now_ns)

    def _decoder(self, sender: str) -> Decoder:
        if sender not in self._decoders:
            self._decoders[sender] = self.driver.decoder()
        return self._decoders[sender]

    def _take(self, chunk: Chunk, now_ns: int, arrivals: list[Arrival]) -> None:
        self._capture(chunk.data)
        if not self._listens_to(chunk.sender, now_ns):
            self.foreign += 1
            return
        decoder = self._decoder("" if self.driver.names_segments else chunk.sender)
        samples = decoder.feed(chunk.data)
        if chunk.sender:
            decoder.end_of_datagram()
        prefix = chunk.sender if not self.driver.names_segments else ""
        for sample in samples:
            name = sample.sensor
            if prefix:
                name = prefix if name == "0" else f"{prefix}/{name}"
            arrivals.append(Arrival(name, sample, now_ns))
            self._seen.heard.add(name)
            _note_rest(self._seen.still, name, sample)

    def _listens_to(self, sender: str, now_ns: int) -> bool:
        """Of several that stream a body only the first is listened to; others may send one sensor each."""
        if not sender:
            return True
        if not self.driver.names_segments:
            return sender in self._decoders or len(self._decoders) <= MAX_SENSORS
        if sender != self._sender:
            if self._sender and now_ns - self._sender_ns < SENDER_SILENT_NS:
                return False
            if self._sender:
                self._past = total([self._past, *(decoder.counts for decoder in self._decoders.values())])
                self._decoders.clear()
            self._sender = sender
        self._sender_ns = now_ns
        return True

    def _capture(self, data: bytes) -> None:
        self._seen.received_bytes += len(data)
        self._seen.captured += data[-CAPTURED_BYTES:]
        if len(self._seen.captured) > 2 * CAPTURED_BYTES:
            del self._seen.captured[:-CAPTURED_BYTES]


def _note_rest(still: dict[str, deque[float]], name: str, sample: DeviceSample) -> None:
    """Keep |a| of a sensor that does not move; forget it when it does."""
    forces = still.get(name)
    if forces is None:
        forces = still[name] = deque(maxlen=CAPTURED_FORCES)
    if max(map(abs, sample.rate_rad_s)) > STILL_RAD_S:
        forces.clear()
    else:
        forces.append(magnitude(sample))


def _worst(still: dict[str, deque[float]]) -> tuple[float, ...]:
    """|a| of the sensor at rest whose gravity is furthest from g; none if none has been at rest for long enough."""
    long_enough = [tuple(forces) for forces in still.values() if len(forces) >= LEAST_STILL]
    return max(long_enough, key=_off_gravity, default=())


def _off_gravity(forces: tuple[float, ...]) -> float:
    return abs(sum(forces) / len(forces) - STANDARD_GRAVITY_M_S2)


def total(counts: Iterable[DecoderCounts]) -> DecoderCounts:
    """The sum of several."""
    result = DecoderCounts()
    for one in counts:
        for name in _NUMBERS:
            setattr(result, name, getattr(result, name) + getattr(one, name))
        result.said = one.said or result.said
        for what, count in one.lacking.items():
            result.lacking[what] = result.lacking.get(what, 0) + count
    return result


def since(before: DecoderCounts, after: DecoderCounts) -> DecoderCounts:
    """What has been added."""
    result = DecoderCounts(said=after.said)
    for name in _NUMBERS:
        setattr(result, name, getattr(after, name) - getattr(before, name))
    result.lacking = {
        what: count - before.lacking.get(what, 0)
        for what, count in after.lacking.items()
        if count > before.lacking.get(what, 0)
    }
    return result


_NUMBERS = tuple(item.name for item in fields(DecoderCounts) if item.name not in ("said", "lacking"))


def short_name(port: str) -> str:
    """A port's name as it stands in counters: without its folder."""
    return port if port.startswith(UDP_PREFIX) or "://" in port else port.rsplit("/", 1)[-1]
