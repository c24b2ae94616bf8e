"""Listen to a port and say what is there: which driver, at which rate, how gravity looks, and the line for a graph."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nodes.devices.diagnosis import LEAST_PACKETS, recognise
from nodes.devices.drivers import DRIVERS, Driver
from nodes.devices.ports import UDP_PREFIX, Port, PortError, Source, open_source
from nodes.devices.reader import Arrival, PortReader
from nodes.devices.sample import DecoderCounts

LISTEN_S = 2.0
TRY_S = 0.7
"""How long each further baud rate is tried."""
_POLL_S = 0.005


@dataclass(slots=True)
class Probed:
    """What was found on a port."""

    port: str
    driver: str | None = None
    baud: int | None = None
    received_bytes: int = 0
    packets: int = 0
    corrupt: int = 0
    sensors: dict[str, float] = field(default_factory=dict)
    """Rate of each sensor by its identity, Hz."""
    gravity_m_s2: float = math.nan
    """Mean |a|; 9.8 at rest."""
    magnetometer: bool = False
    graph_line: str = ""
    problem: str = ""
    """What is wrong and what to do; empty if all is well."""


def probe_port(
    name: str,
    driver: str | None = None,
    baud: int | None = None,
    host: str = "127.0.0.1",
    *,
    present: Callable[[], tuple[str, ...]],
) -> Probed:
    """Listen at the likely baud rates until something is understood.

    Args:
        name: port, or ``udp:NUMBER``.
        driver: only this one; default: all.
        baud: only this one; default: those that are usual.
        host: address of this machine for datagrams.
        present: ports that this machine has, for messages.
    """
    found = Probed(name)
    for number, rate in enumerate(_bauds(name, driver, baud)):
        try:
            source = open_source(name, rate, host)
        except PortError as error:
            found.problem = _cannot_open(name, driver, error, present())
            return found
        heard = _listen(source, LISTEN_S if number == 0 else TRY_S)
        found.received_bytes += len(heard)
        known = driver if driver is not None and _speaks(driver, heard) else recognise(heard)
        if known is not None and driver in (None, known):
            return _examine(name, DRIVERS[known], rate, host, found, present)
        if known is not None:
            found.problem = f"{name}: this looks like {DRIVERS[known].about}. Set driver: {known}"
            return found
        if _is_radar(heard):
            found.problem = f"{name}: this is a TI radar (type: radar). kinefuse doctor radar --data {name} says more"
            return found
        if not heard and number == 0:
            break  # No baud rate makes a silent line speak.
    found.problem = _nothing(found, driver)
    return found


def _bauds(name: str, driver: str | None, baud: int | None) -> list[int | None]:
    if name.startswith(UDP_PREFIX):
        return [None]
    if baud is not None:
        return [baud]
    if driver is not None and DRIVERS[driver].bauds:
        return list(DRIVERS[driver].bauds)
    usual = dict.fromkeys(row.baud for row in DRIVERS.values() if row.baud is not None)
    return [*usual, *dict.fromkeys(rate for row in DRIVERS.values() for rate in row.bauds if rate not in usual)]


def _is_radar(heard: bytes) -> bool:
    """Whether frames of a TI radar, or the prompt of its command line, are in the bytes."""
    from nodes.devices.ti.console import has_prompt
    from nodes.devices.ti.layout import MAGIC

    return MAGIC in heard or has_prompt(heard.decode("ascii", "replace"))


def _listen(source: Source, seconds: float) -> bytes:
    """What comes within that time, then close; a device that goes meanwhile has said what it has said."""
    heard = bytearray()
    try:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            for chunk in source.read():
                heard += chunk.data
            time.sleep(_POLL_S)  # The pace of looking, not a wait for anything.
    except OSError:
        return bytes(heard)
    finally:
        source.close()
    return bytes(heard)


def _speaks(driver: str, heard: bytes) -> bool:
    decoder = DRIVERS[driver].decoder()
    decoder.feed(heard)
    return decoder.counts.packets >= LEAST_PACKETS


def _examine(
    name: str,
    driver: Driver,
    baud: int | None,
    host: str,
    found: Probed,
    present: Callable[[], tuple[str, ...]],
) -> Probed:
    """Listen once more with the driver that is known now."""
    reader = PortReader(Port(name, lambda: open_source(name, baud, host), baud), driver, lambda _: None)
    arrivals: list[Arrival] = []
    begun_ns = time.monotonic_ns()
    while (now_ns := time.monotonic_ns()) - begun_ns < LISTEN_S * 1e9:
        arrivals += reader.read(now_ns)
        time.sleep(_POLL_S)
    problem = reader.diagnosis(time.monotonic_ns(), present(), ())
    reader.port.close()
    counts: DecoderCounts = reader.counts
    found.driver, found.baud = driver.name, baud
    found.packets, found.corrupt = counts.packets, counts.corrupt
    found.sensors = _rates(arrivals)
    forces = [math.hypot(*arrival.sample.specific_force_m_s2) for arrival in arrivals]
    found.gravity_m_s2 = sum(forces) / len(forces) if forces else math.nan
    found.magnetometer = any(arrival.sample.magnetic_ut is not None for arrival in arrivals)
    found.problem = "" if problem is None else problem.message
    found.graph_line = _graph_line(name, driver, baud, list(found.sensors))
    return found


def _rates(arrivals: list[Arrival]) -> dict[str, float]:
    """Samples a second by sensor, by the device's clock where it has one."""
    rates: dict[str, float] = {}
    for name in dict.fromkeys(arrival.sensor for arrival in arrivals):
        own = [arrival for arrival in arrivals if arrival.sensor == name]
        first, last = own[0], own[-1]
        if first.sample.device_ns is not None and last.sample.device_ns is not None:
            span_ns = last.sample.device_ns - first.sample.device_ns
        else:
            span_ns = last.received_ns - first.received_ns
        rates[name] = (len(own) - 1) / span_ns * 1e9 if span_ns > 0 else math.nan
    return rates


def _graph_line(name: str, driver: Driver, baud: int | None, sensors: list[str]) -> str:
    if driver.names_segments:
        where = f"udp_port: {name.removeprefix(UDP_PREFIX)}"
        return f"imus: {{type: imu, driver: {driver.name}, {where}, placement: [{', '.join(sensors)}]}}"
    if name.startswith(UDP_PREFIX):
        where = f"udp_port: {name.removeprefix(UDP_PREFIX)}"
    else:
        where = f"port: {name}" + ("" if baud == driver.baud else f", baud: {baud}")
    places = ["pelvis", *(f"SEGMENT_{number}" for number in range(2, len(sensors) + 1))]
    names = sensors if len(sensors) > 1 else ["0"]
    pairs = ", ".join(f'"{sensor}": {place}' for sensor, place in zip(names, places, strict=False))
    return f"imus: {{type: imu, driver: {driver.name}, {where}, placement: {{{pairs}}}}}"


def _cannot_open(name: str, driver: str | None, error: PortError, present: tuple[str, ...]) -> str:
    from nodes.devices.diagnosis import Evidence, diagnose

    evidence = Evidence(
        driver=DRIVERS[driver or "xsens-mti"],
        port=name,
        baud=None,
        seconds=0.0,
        received_bytes=0,
        captured=b"",
        counts=DecoderCounts(),
        trouble=error.trouble,
        error=str(error),
        present=present,
    )
    found = diagnose(evidence)
    return found.message if found is not None else str(error)


def _nothing(found: Probed, driver: str | None) -> str:
    if not found.received_bytes:
        wake = "; ".join(DRIVERS[name].wake for name in ([driver] if driver is not None else []))
        return f"{found.port}: no byte in {LISTEN_S:.0f} s. Check cable and power; it may be asleep" + (
            f"; {wake}" if wake else ""
        )
    return (
        f"{found.port}: {found.received_bytes} bytes that no driver understands at the usual baud rates. "
        "It may be another device, or have a rare rate: name it with --baud"
    )
