"""All sensors of one inertial node: ports, clocks and the merger, and what is to be told of them."""

from __future__ import annotations

import math
import select
from collections.abc import Callable
from dataclasses import dataclass

from nodes.devices.clock import SensorClock
from nodes.devices.merge import MergeParams, Merger, Row
from nodes.devices.ports import NS_PER_S
from nodes.devices.reader import Arrival, PortReader, short_name, total
from nodes.devices.sample import DeviceSample, Vector

WINDOW_NS = 2_000_000_000
"""What is wrong is judged by so long."""
FIRST_SILENT_NS = 2_000_000_000
"""At the start a sensor may take so long until its first sample."""
SILENT_NS = 500_000_000
WATCH_NS = 20_000_000
"""Ports and sensors are judged so often,"""
MERGE_NS = 4_000_000
"""and rows looked for."""
LOOK_S = 0.004
"""Ports that are closed, being set up, or of a system that cannot wait for their bytes are looked at so often."""
SILENT = "silent/"
"""Health counters of sensors that are not heard, with for how many seconds."""
_NO_FIELD: Vector = (math.nan, math.nan, math.nan)
_MOST_UNPLACED = 16

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a segment's sensor is to be heard."""

    port: str
    sensor: str | None
    """Identity on the port; None for whichever is heard there first."""
    segment: str


class _Sensor:
    """What is known of one placed sensor."""

    def __init__(self, place: Place, now_ns: int) -> None:
        self.place = place
        self.heard_ns: int | None = None
        self.since_ns = now_ns
        self.silent = False

    def silent_ns(self, now_ns: int) -> int:
        """For how long nothing has been heard of it."""
        return now_ns - (self.since_ns if self.heard_ns is None else self.heard_ns)


class InertialSystem:
    """The sensors of one node.

    Args:
        places: the sensors wanted, in the order of the rows' readings.
        readers: one a port, by its name.
        merge: settings; ``sensors`` is set here.
        delay_s: known time from measuring to arrival that no stamp shows.
        magnetometer: whether fields are handed on.
        now_ns: session time.
        say: where news go that the user should read.
        present: ports that this machine has, for messages.
    """

    def __init__(
        self,
        places: tuple[Place, ...],
        readers: dict[str, PortReader],
        *,
        merge: MergeParams,
        delay_s: float,
        magnetometer: bool,
        now_ns: int,
        say: Say,
        present: Callable[[], tuple[str, ...]],
    ) -> None:
        self.readers = readers
        self.merger = Merger(merge)
        self._sensors = [_Sensor(place, now_ns) for place in places]
        self._index = {(place.port, place.sensor): number for number, place in enumerate(places)}
        self._clocks: dict[tuple[str, str], SensorClock] = {}
        self._delay_ns = round(delay_s * NS_PER_S)
        self._magnetometer = magnetometer
        self._say, self._present = say, present
        self._losses = dict.fromkeys(readers, 0)
        self._opened = dict.fromkeys(readers, 0)
        self._told: dict[str, str] = {}
        """What has been said of each port."""
        self._unplaced: dict[str, int] = {}
        self._setup_told: set[int] = set()
        self._watched_ns = self._merged_ns = 0
        self.begin(now_ns)

    def begin(self, now_ns: int) -> None:
        """Listen from now on; what has come while the graph was set up is old."""
        for reader in self.readers.values():
            reader.port.discard(now_ns)
            reader.restart_window(now_ns)
        for sensor in self._sensors:
            sensor.since_ns = now_ns

    def step(self, now_ns: Callable[[], int], wait_s: float) -> list[Row]:
        """Read all ports and hand out the rows that are due.

        Args:
            now_ns: the session clock.
            wait_s: how long to wait for bytes. They are stamped when they come: looking now and then instead would
                stamp them at an own beat, which can stay in step with a sensor's for minutes.
        """
        ready = self._ready(wait_s)
        ended_ns = now_ns()
        for name in ready:
            for arrival in self.readers[name].read(ended_ns):
                self._take(name, arrival)
            ended_ns = now_ns()
        if ended_ns - self._watched_ns >= WATCH_NS:
            self._watched_ns = ended_ns
            for name, reader in self.readers.items():
                self._watch_port(name, reader, ended_ns)
            self._watch_sensors(ended_ns)
        if ended_ns - self._merged_ns < MERGE_NS:
            return []
        self._merged_ns = ended_ns
        return self.merger.rows(ended_ns)

    def _ready(self, wait_s: float) -> list[str]:
        """Ports to read: those that have bytes within that time, and those that cannot be waited for."""
        waited: dict[int, str] = {}
        others: list[str] = []
        for name, reader in self.readers.items():
            descriptor = reader.port.descriptor
            talks = reader.setup is not None and not (reader.setup.done or reader.setup.failed)
            if descriptor is None or talks:
                others.append(name)
            else:
                waited[descriptor] = name
        try:
            ready, _, _ = select.select(list(waited), [], [], min(wait_s, LOOK_S) if others else wait_s)
        except (OSError, ValueError):
            return list(self.readers)  # One was closed meanwhile; reading says which.
        return others + [waited[number] for number in ready]

    def close(self) -> None:
        """Let go of the ports."""
        for reader in self.readers.values():
            reader.port.close()

    # ---- samples

    def _take(self, port: str, arrival: Arrival) -> None:
        number = self._number(port, arrival.sensor)
        if number is None:
            return
        sensor = self._sensors[number]
        sensor.heard_ns = arrival.received_ns
        time_ns = self._clock(port, arrival.sensor).step(arrival.sample, arrival.received_ns)
        if time_ns is not None:
            reading = self._reading(arrival.sample)
            self.merger.put(number, time_ns - self._delay_ns, reading, arrival.received_ns)

    def _number(self, port: str, name: str) -> int | None:
        """Which sensor that is; None if nobody wants it."""
        number = self._index.get((port, name))
        if number is None and ":" in name:
            number = self._index.get((port, name.partition(":")[0]))  # The address without the sender's port.
        if number is None and (port, None) in self._index:
            number = self._index[port, name] = self._index.pop((port, None))
        if number is None and (name in self._unplaced or len(self._unplaced) < _MOST_UNPLACED):
            if name not in self._unplaced:
                self._say(f"{port}: sensor {name!r} is not in the placement; its samples are dropped")
            self._unplaced[name] = self._unplaced.get(name, 0) + 1
        return number

    def _clock(self, port: str, name: str) -> SensorClock:
        key = (port, "" if self.readers[port].driver.one_clock else name)
        clock = self._clocks.get(key)
        if clock is None:
            clock = self._clocks[key] = SensorClock()
        return clock

    def _reading(self, sample: DeviceSample) -> tuple[float, ...]:
        field = sample.magnetic_ut if self._magnetometer else None
        return (*sample.specific_force_m_s2, *sample.rate_rad_s, *(field or _NO_FIELD))

    # ---- news

    def _watch_port(self, name: str, reader: PortReader, now_ns: int) -> None:
        port = reader.port
        if port.losses != self._losses[name]:
            self._losses[name] = port.losses
            self._told[name] = "gone"
            reader.restart_window(now_ns)
            self._say(f"{name}: gone ({port.error}). Plug it in again, or switch it on: it is taken back by itself")
        if port.opened != self._opened[name]:
            # Nobody knows what became of the device's clock.
            for key in [key for key in self._clocks if key[0] == name]:
                del self._clocks[key]
            if self._opened[name] or name in self._told:
                self._say(f"{name}: is there again" if self._opened[name] else f"{name}: is there now")
            self._opened[name] = port.opened
            self._told.pop(name, None)
        setup = reader.setup
        if setup is not None and setup.failed and id(setup) not in self._setup_told:
            self._setup_told.add(id(setup))
            self._say(f"{name}: could not be set up: {setup.failed}")
        never_opened = port.error is not None and name not in self._told
        if never_opened or now_ns - reader.seen_ns >= WINDOW_NS:
            self._judge(name, reader, now_ns)

    def _judge(self, name: str, reader: PortReader, now_ns: int) -> None:
        """Say what is wrong with a port, once for each cause, and that it is well again."""
        wanted = tuple(
            place.sensor for place in (sensor.place for sensor in self._sensors) if place.port == name and place.sensor
        )
        found = reader.diagnosis(now_ns, self._present() if reader.port.error else (), self._known(wanted, reader))
        told = self._told.get(name)
        if found is None:
            if told is not None:
                self._say(f"{name}: is heard")
            self._told.pop(name, None)
        elif told != found.cause and not (told == "gone" and found.cause == "port"):
            self._told[name] = found.cause
            self._say(found.message)
        reader.restart_window(now_ns)

    def _known(self, wanted: tuple[str, ...], reader: PortReader) -> tuple[str, ...]:
        """Identities as the reader tells them; those given by address alone are not compared."""
        return wanted if not reader.port.name.startswith("udp:") or reader.driver.names_segments else ()

    def _watch_sensors(self, now_ns: int) -> None:
        for sensor in self._sensors:
            silent_ns = sensor.silent_ns(now_ns)
            silent = silent_ns > (FIRST_SILENT_NS if sensor.heard_ns is None else SILENT_NS)
            if silent and not sensor.silent:
                self._say(
                    f"{sensor.place.segment}: nothing heard for {silent_ns / NS_PER_S:.1f} s ({sensor.place.port})"
                )
            elif sensor.silent and not silent:
                self._say(f"{sensor.place.segment}: heard again")
            sensor.silent = silent

    def counters(self, now_ns: int) -> dict[str, float]:
        """Figures for health: first what is wrong now, then totals, then the clocks."""
        silent = [sensor for sensor in self._sensors if sensor.silent]
        counts = total(reader.counts for reader in self.readers.values())
        merged = self.merger.counts
        figures: dict[str, float] = {"silent": len(silent)}
        for sensor in silent:
            figures[f"{SILENT}{sensor.place.segment}"] = round(sensor.silent_ns(now_ns) / NS_PER_S, 1)
        figures |= {
            "lost": counts.lost,
            "late": counts.late + merged.late,
            "corrupt": counts.corrupt,
            "doubled": counts.doubled + merged.doubled,
            "missing": merged.missing,
            "packets": counts.packets,
            "skipped_bytes": counts.skipped_bytes,
            "unknown": counts.unknown,
            "absurd": counts.absurd,
            "restarts": counts.restarts,
            "unplaced": sum(self._unplaced.values()),
            "foreign": sum(reader.foreign for reader in self.readers.values()),
            "ports_lost": sum(reader.port.losses for reader in self.readers.values()),
            "ports_open": sum(reader.port.is_open for reader in self.readers.values()),
        }
        for (port, name), clock in self._clocks.items():
            if clock.settled:
                alone = not name or sum(key[0] == port for key in self._clocks) == 1
                label = short_name(port) if alone else f"{short_name(port)}/{name}"
                figures[f"clock_offset_ms/{label}"] = clock.offset_ms
                figures[f"clock_skew_ppm/{label}"] = round(clock.skew_ppm, 2)
        return figures
