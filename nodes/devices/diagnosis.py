"""Why a sensor is not heard, and what to do about it. Pure: from what was seen to words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from nodes.devices.drivers import DRIVERS, Driver
from nodes.devices.ports import UDP_PREFIX, Trouble
from nodes.devices.sample import STANDARD_GRAVITY_M_S2, DecoderCounts, DeviceSample
from nodes.errors import listed

LEAST_PACKETS = 3
"""So many valid packets are no chance: a checksum of 8 bits lets one in 256 pass."""
_MOST_OFF = 0.15
"""Share by which |a| may differ from g at rest: a consumer sensor's scale and bias."""
_STEADY_M_S2 = 0.5
_UNITS: tuple[tuple[float, str], ...] = (
    (1.0, "it seems to come in g instead of m/s²"),
    (STANDARD_GRAVITY_M_S2**2, "it seems to be multiplied by g twice"),
    (0.0, "gravity is missing from it: the sensor sends free (linear) acceleration"),
    (STANDARD_GRAVITY_M_S2 * 0.5, "the range of the accelerometer is set to twice what this driver expects"),
    (STANDARD_GRAVITY_M_S2 * 2.0, "the range of the accelerometer is set to half of what this driver expects"),
)

Cause = Literal["port", "silent", "baud", "other device", "output", "placement", "scale", "noise"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with a port."""

    cause: Cause
    message: str
    """For the user: what was seen and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was seen of one port."""

    driver: Driver
    port: str
    baud: int | None
    seconds: float
    """How long was listened."""
    received_bytes: int
    captured: bytes
    """The last of them, a few kB."""
    counts: DecoderCounts
    trouble: Trouble | None = None
    """Why the port cannot be opened."""
    error: str = ""
    present: tuple[str, ...] = ()
    """Ports that this machine has."""
    heard: tuple[str, ...] = ()
    """Identities of the sensors that were heard."""
    wanted: tuple[str, ...] = ()
    """Identities that the placement names."""
    forces_m_s2: tuple[float, ...] = field(default=())
    """|a| of samples in a row of a sensor at rest."""


def diagnose(evidence: Evidence) -> Diagnosis | None:
    """The first thing that is wrong with a port; None if all is well."""
    if evidence.trouble is not None:
        return Diagnosis("port", _port_trouble(evidence))
    if not evidence.received_bytes:
        return Diagnosis("silent", _silence(evidence))
    if evidence.counts.packets < LEAST_PACKETS:
        return _no_packets(evidence)
    if not evidence.counts.samples:
        return _no_samples(evidence)
    missing = [name for name in evidence.wanted if name not in evidence.heard]
    if missing:
        message = (
            f"{evidence.port}: nothing from sensor {listed(missing)}; heard are {listed(evidence.heard)}. "
            "Correct the placement, or switch the sensor on"
        )
        return Diagnosis("placement", message)
    return _noise(evidence) or _scale(evidence)


def recognise(captured: bytes) -> str | None:
    """The driver whose packets are in the bytes; None if it is none of ours."""
    found: dict[str, int] = {}
    for name, driver in DRIVERS.items():
        decoder = driver.decoder()
        decoder.feed(captured)
        found[name] = decoder.counts.packets - decoder.counts.absurd
    best = max(found, key=lambda name: found[name])
    return best if found[best] >= LEAST_PACKETS else None


def _port_trouble(evidence: Evidence) -> str:
    port = evidence.port
    if evidence.trouble == "denied":
        return (
            f"{port}: permission denied. Add yourself to the group that owns it "
            "(sudo usermod -a -G dialout $USER on Debian and Ubuntu, uucp on Arch), then log in again"
        )
    if evidence.trouble == "busy":
        how = "choose another udp_port" if port.startswith(UDP_PREFIX) else "close MT Manager, a terminal, ModemManager"
        return f"{port}: another program holds it. End that program ({how})"
    if evidence.trouble == "package":
        return f"{port}: pyserial is not installed. Install it: pip install 'kinefuse[serial]'"
    if evidence.trouble == "address":
        return f"{port}: cannot listen there ({evidence.error}). Set host to an address of this machine, or 0.0.0.0"
    if evidence.trouble == "absent":
        return (
            f"{port}: there is no such port now. Ports here: {listed(evidence.present)}. "
            "Plug the sensor in, switch it on, or correct the key port (kinefuse devices lists the ports)"
        )
    return f"{port}: cannot be opened: {evidence.error}. Unplug the device and plug it in again"


def _silence(evidence: Evidence) -> str:
    heard = f"{evidence.port}: no byte in {evidence.seconds:.0f} s."
    if evidence.port.startswith(UDP_PREFIX):
        return f"{heard} Check that the sender's address and port are those of this node (host, udp_port); " + (
            f"a firewall may be in the way; {evidence.driver.wake}"
        )
    return f"{heard} Check cable and power, and that it is the right port (kinefuse devices); {evidence.driver.wake}"


def _no_packets(evidence: Evidence) -> Diagnosis:
    driver, port = evidence.driver, evidence.port
    seen = f"{port}: {evidence.received_bytes} bytes but no packet of {driver.name}"
    other = recognise(evidence.captured)
    if other is not None and other != driver.name:
        return Diagnosis("other device", f"{seen}: this looks like {DRIVERS[other].about}. Set driver: {other}")
    if not driver.bauds or port.startswith(UDP_PREFIX):
        return Diagnosis("noise", f"{seen}. Something else sends to this port; choose another one")
    others = ", ".join(str(baud) for baud in driver.bauds if baud != evidence.baud)
    message = (
        f"{seen} at {evidence.baud} baud: the rate is wrong, or it is another device. Set baud: to one of {others} "
        f"(kinefuse devices probe {port} tries them)"
    )
    return Diagnosis("baud", message)


def _no_samples(evidence: Evidence) -> Diagnosis:
    counts, driver = evidence.counts, evidence.driver
    seen = f"{evidence.port}: {counts.packets} packets of {driver.name} but no sample"
    lacking = max(counts.lacking, key=lambda name: counts.lacking[name], default=None)
    if lacking is not None:
        return Diagnosis("output", f"{seen}: they have no {lacking}; {driver.outputs[lacking]}")
    if counts.absurd:
        return Diagnosis("scale", f"{seen}: the readings are beyond what sensors for people measure")
    if counts.said:
        return Diagnosis("output", f"{seen}; the device says: {counts.said}")
    return Diagnosis("output", f"{seen}: {driver.wake}")


def _noise(evidence: Evidence) -> Diagnosis | None:
    """Much of what comes is broken though some is whole."""
    counts = evidence.counts
    if counts.corrupt <= counts.packets or counts.skipped_bytes < evidence.received_bytes // 4:
        return None
    message = (
        f"{evidence.port}: {counts.corrupt} of {counts.corrupt + counts.packets} packets are broken. "
        "Use a shorter or better cable, lower the output rate or raise baud:, and let no other program read the port"
    )
    return Diagnosis("noise", message)


def _scale(evidence: Evidence) -> Diagnosis | None:
    """A sensor that lies still has to measure g."""
    forces = evidence.forces_m_s2
    if len(forces) < LEAST_PACKETS or max(forces) - min(forces) > _STEADY_M_S2:
        return None
    mean = sum(forces) / len(forces)
    if abs(mean - STANDARD_GRAVITY_M_S2) <= _MOST_OFF * STANDARD_GRAVITY_M_S2:
        return None
    nearest, words = min(_UNITS, key=lambda unit: abs(mean - unit[0]))
    near = abs(mean - nearest) <= max(0.15 * nearest, 0.3)
    remedy = words if near else "set its accelerometer's range and units to the maker's default, or calibrate it"
    return Diagnosis("scale", f"{evidence.port}: |a| is {mean:.2f} m/s² at rest, expected 9.8: {remedy}")


def magnitude(sample: DeviceSample) -> float:
    """|a| of a sample, m/s^2."""
    return math.hypot(*sample.specific_force_m_s2)
