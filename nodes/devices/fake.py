"""A wearer's virtual sensors on real pseudo-terminals or a real UDP socket, in real time and in the vendor's bytes."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusion.body.skeleton import SEGMENT_NAMES
from nodes.devices.virtual import Moment, VirtualDevice, make_device
from nodes.errors import RequestError, listed

SITES = (
    "pelvis", "left_lower_leg", "right_lower_leg", "head", "left_forearm", "right_forearm",
    "t8", "left_upper_leg", "right_upper_leg", "left_upper_arm", "right_upper_arm", "left_hand", "right_hand",
    "left_foot", "right_foot", "left_shoulder", "right_shoulder",
)  # fmt: skip
"""Who is worn first; the first six are those of graphs/demo.toml."""
MAX_COUNT = len(SITES)
AHEAD_S = 0.1
"""Movement is made for so long at a time."""
UNPLUGGED_S = 1.5
START_DELAY_S = 0.05
PHASES = 4
"""Devices of one rate do not sample together: each begins at one of so many parts of a period."""
_MOST_SKEW = 50e-6
_MTI_TICKS = 3600.0
"""Device clocks begin somewhere in their first hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong on the way, as shares of messages."""

    lose: float = 0.0
    flip: float = 0.0
    """One bit is wrong."""
    double: float = 0.0
    noise: float = 0.0
    """Some random bytes go before."""
    unplug_s: float = 0.0
    """The first device goes every so many seconds, for ``UNPLUGGED_S``; 0 never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeParams:
    """What to play."""

    driver: str
    count: int = 1
    """Sensors."""
    rate_hz: float = 100.0
    seed: int = 0
    magnetometer: bool = False
    ascii_text: bool = False
    """x-IMU3: text instead of binary."""
    mux: bool = False
    """All sensors behind one port, where the driver can."""
    link: str | None = None
    """Make links ``LINK-0``, ``LINK-1`` … to the pseudo-terminals."""
    udp: tuple[str, int] | None = None
    """Send there instead."""
    measuring: bool = True
    """MTi: begin in measurement mode."""
    faults: Faults = field(default_factory=Faults)


class PtyPort:
    """A pseudo-terminal whose other end is a serial port to everybody else; it can be unplugged."""

    def __init__(self, link: Path | None) -> None:
        self._link = link
        self._slave = -1
        self.master: int | None = None
        self.name = ""
        self.overflows = 0
        """Messages that nobody took in time."""
        self.plug()

    def plug(self) -> None:
        """Make the terminal, and the link to it."""
        import tty

        master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(master, False)
        self.master = master
        self.name = os.ttyname(self._slave)
        if self._link is not None:
            _make_link(self._link, self.name)

    def unplug(self) -> None:
        """Take it away, as a cable that is pulled."""
        if self.master is None:
            return
        if self._link is not None:
            with contextlib.suppress(OSError):
                self._link.unlink()
        os.close(self.master)
        os.close(self._slave)
        self.master = None

    def send(self, data: bytes) -> None:
        """Write what there is room for; the rest is lost, as on a serial line that nobody reads."""
        if self.master is None:
            return
        try:
            if os.write(self.master, data) < len(data):
                self.overflows += 1
        except BlockingIOError:
            self.overflows += 1

    def receive(self) -> bytes:
        """What the other end has sent."""
        try:
            return os.read(self.master, 4096) if self.master is not None else b""
        except OSError:
            return b""

    @property
    def shown(self) -> str:
        """The name for a graph: the link if there is one."""
        return self.name if self._link is None else str(self._link)

    close = unplug


def _make_link(link: Path, target: str) -> None:
    """Point a link at a terminal; only another link is replaced.

    Raises:
        RequestError: if there is something else at its place.
    """
    if link.exists() and not link.is_symlink():
        raise RequestError(f"--link {link}: there is a file already; name another place")
    with contextlib.suppress(FileNotFoundError):
        link.unlink()
    try:
        link.symlink_to(target)
    except OSError as error:
        raise RequestError(
            f"--link {link}: cannot be made: {error.strerror}; name a place in a folder of yours"
        ) from error


class UdpPort:
    """A socket that sends to one address."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("", 0))
        self._to = (host, port)
        self.master = None
        self.overflows = 0
        self._plugged = True
        self.shown = f"udp:{port}"

    @property
    def source_port(self) -> int:
        """Where datagrams come from."""
        return int(self._socket.getsockname()[1])

    def plug(self) -> None:
        """Send again."""
        self._plugged = True

    def unplug(self) -> None:
        """Send no more for now."""
        self._plugged = False

    def send(self, data: bytes) -> None:
        """Send a datagram; nobody may be there."""
        if self._plugged:
            with contextlib.suppress(OSError):
                self._socket.sendto(data, self._to)

    def receive(self) -> bytes:
        """Nothing."""
        return b""

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@dataclass(slots=True)
class _Outlet:
    """A device on its port, with the sensors behind it."""

    device: VirtualDevice
    port: PtyPort | UdpPort
    sensors: list[int]
    offset_s: float
    skew: float
    phase: int


class FakeBody:
    """The virtual sensors of one wearer."""

    def __init__(self, params: FakeParams) -> None:
        """Open all ports.

        Raises:
            RequestError: if the parameters cannot be, or a link not made.
        """
        _check(params)
        self.params = params
        self.segments = sorted(SITES[: params.count], key=SITES.index)
        self._movement = _Movement(params, tuple(self.segments))
        self._chance = random.Random(params.seed)
        self._number = 0
        self._unplugged_s: float | None = None
        self.sent = 0
        self._outlets: list[_Outlet] = []
        groups = [list(range(params.count))] if _together(params) else [[k] for k in range(params.count)]
        try:
            for number, sensors in enumerate(groups):
                self._outlets.append(self._outlet(number, sensors))
        except RequestError:
            self.close()
            raise

    def _outlet(self, number: int, sensors: list[int]) -> _Outlet:
        params = self.params
        link = None if params.link is None else Path(f"{params.link}-{number}")
        return _Outlet(
            device=make_device(params.driver, ascii_text=params.ascii_text, measuring=params.measuring),
            port=PtyPort(link) if params.udp is None else UdpPort(*params.udp),
            sensors=sensors,
            offset_s=self._chance.uniform(0.0, _MTI_TICKS),
            skew=self._chance.uniform(-_MOST_SKEW, _MOST_SKEW),
            phase=self._chance.randrange(PHASES),
        )

    @property
    def outlets(self) -> list[tuple[str, dict[str, str]]]:
        """Name of each port, and the placement of the sensors behind it: identity to segment."""
        result = []
        for outlet in self._outlets:
            segments = [self.segments[k] for k in outlet.sensors]
            identities = outlet.device.identities(segments)
            if isinstance(outlet.port, UdpPort) and self.params.driver != "xsens-mvn" and not self.params.mux:
                identities = [f"127.0.0.1:{outlet.port.source_port}"]
            result.append((outlet.port.shown, dict(zip(identities, segments, strict=True))))
        return result

    @property
    def device(self) -> VirtualDevice:
        """The first one."""
        return self._outlets[0].device

    @property
    def overflows(self) -> int:
        """Messages that nobody took in time."""
        return sum(outlet.port.overflows for outlet in self._outlets)

    def run(self, stopped: Callable[[], bool], *, wake: int | None = None, seconds: float | None = None) -> None:
        """Play in real time until told to stop.

        Args:
            stopped: asked before every sample.
            wake: file that ends a wait when it can be read.
            seconds: how long to play; None for ever.
        """
        rate_hz = self.params.rate_hz
        begun_s = time.monotonic() + START_DELAY_S - self._number / rate_hz
        last = None if seconds is None else self._number + round(seconds * rate_hz)
        in_turn = sorted(self._outlets, key=lambda outlet: outlet.phase)
        while not stopped() and (last is None or self._number < last):
            self._faults(self._number / rate_hz)
            for outlet in in_turn:
                time_s, moments = self._movement.at(self._number, outlet.phase)
                self._listen_until(begun_s + time_s, wake)
                self._play(outlet, time_s, moments)
            self._number += 1

    def unplug(self, number: int = 0) -> None:
        """Pull the cable of one device."""
        self._outlets[number].port.unplug()

    def plug(self, number: int = 0) -> None:
        """Put it back."""
        self._outlets[number].port.plug()

    def close(self) -> None:
        """Close all ports and remove the links."""
        for outlet in self._outlets:
            outlet.port.close()

    def _listen_until(self, due_s: float, wake: int | None) -> None:
        """Answer commands until the next sample is due."""
        while (left_s := due_s - time.monotonic()) > 0.0:
            owners = {outlet.port.master: outlet for outlet in self._outlets if outlet.port.master is not None}
            waited = [*owners, *([] if wake is None else [wake])]
            ready, _, _ = select.select(waited, [], [], left_s)
            if wake is not None and wake in ready:
                return
            for descriptor in ready:
                outlet = owners[descriptor]
                said = outlet.device.answer(outlet.port.receive())
                if said:
                    outlet.port.send(said)

    def _play(self, outlet: _Outlet, time_s: float, moments: list[Moment]) -> None:
        device_s = outlet.offset_s + time_s * (1.0 + outlet.skew)
        for message in outlet.device.emit(self._number, device_s, [moments[k] for k in outlet.sensors]):
            self._send(outlet.port, message)

    def _send(self, port: PtyPort | UdpPort, message: bytes) -> None:
        faults, chance = self.params.faults, self._chance
        if faults.lose and chance.random() < faults.lose:
            return
        if faults.flip and chance.random() < faults.flip:
            wrong = bytearray(message)
            wrong[chance.randrange(len(wrong))] ^= 1 << chance.randrange(8)
            message = bytes(wrong)
        if faults.noise and chance.random() < faults.noise:
            message = chance.randbytes(chance.randrange(1, 30)) + message
        port.send(message)
        self.sent += 1
        if faults.double and chance.random() < faults.double:
            port.send(message)

    def _faults(self, now_s: float) -> None:
        every_s = self.params.faults.unplug_s
        if not every_s:
            return
        gone = now_s >= every_s and now_s % every_s < UNPLUGGED_S
        if gone and self._unplugged_s is None:
            self._unplugged_s = now_s
            self.unplug()
        elif not gone and self._unplugged_s is not None:
            self._unplugged_s = None
            self.plug()


class _Movement:
    """What the sensors feel, made a little ahead of time."""

    def __init__(self, params: FakeParams, segments: tuple[str, ...]) -> None:
        from fusion.synthesis.actions import DEFAULT_SCRIPT
        from fusion.synthesis.imus import VirtualImus
        from fusion.synthesis.motion import draw_lengths
        from fusion.synthesis.params import InertialParams
        from fusion.synthesis.script import scripted_motion
        from fusion.synthesis.wearer import Wearer

        self._segments = segments
        self._batch = PHASES * max(1, round(AHEAD_S * params.rate_hz))
        self._rate_hz = PHASES * params.rate_hz
        inertial = InertialParams(
            sites=segments,
            rate_hz=self._rate_hz,
            samples_per_record=self._batch,
            magnetometer=params.magnetometer,
            drop_share=0.0,
        )
        motion = scripted_motion(DEFAULT_SCRIPT, draw_lengths(params.seed, 1.75), seed=params.seed)
        self._imus = VirtualImus("fake", inertial, Wearer(0, motion), params.seed)
        self._with_q = params.driver == "xsens-mvn"
        self._made: tuple[int, Any, Any] = (-1, None, None)
        self.at(0)  # Kernels are compiled before the first sample is due.

    def at(self, number: int, phase: int = 0) -> tuple[float, list[Moment]]:
        """Time from the start, s, and what each sensor feels at the sample ``number`` of a device of that phase."""
        import numpy as np

        number = PHASES * number + phase
        batch, place = divmod(number, self._batch)
        if self._made[0] != batch:
            ((_, record),) = self._imus.records(batch, 1, 0)
            times = np.arange(batch * self._batch, (batch + 1) * self._batch) / self._rate_hz
            turned = self._imus.ideal(times).q_world_from_sensor.tolist() if self._with_q else None
            arrays = (record.specific_force_m_s2, record.angular_rate_rad_s, record.magnetic_field_ut)
            self._made = (batch, [array.tolist() for array in arrays], turned)
        _, (forces, rates, fields), turned = self._made
        moments = []
        for k, segment in enumerate(self._segments):
            field_ut = fields[place][k]
            moments.append(
                Moment(
                    segment,
                    tuple(forces[place][k]),
                    tuple(rates[place][k]),
                    None if field_ut[0] != field_ut[0] else tuple(field_ut),
                    (1.0, 0.0, 0.0, 0.0) if turned is None else tuple(turned[place][k]),
                )
            )
        return number / self._rate_hz, moments


def _together(params: FakeParams) -> bool:
    """Whether all sensors are behind one port."""
    return params.mux or params.driver == "xsens-mvn"


def _check(params: FakeParams) -> None:
    if not 1 <= params.count <= MAX_COUNT:
        raise RequestError(f"--count {params.count}: allowed 1 to {MAX_COUNT}")
    if not 1.0 <= params.rate_hz <= 1000.0:
        raise RequestError(f"--rate {params.rate_hz:g}: allowed 1 to 1000 Hz")
    if params.mux and params.driver == "witmotion":
        raise RequestError("--mux: a WitMotion sensor has a port of its own; allowed for xsens-mti, ximu3")
    if params.driver == "xsens-mvn" and params.udp is None:
        raise RequestError("xsens-mvn sends datagrams: name the receiver with --udp HOST:PORT (127.0.0.1:9763)")
    if params.udp is not None and params.driver not in ("xsens-mvn", "ximu3"):
        raise RequestError(f"--udp: {params.driver} is on a serial port; allowed for xsens-mvn, ximu3")
    if params.udp is None and not hasattr(os, "openpty"):
        raise RequestError("this system has no pseudo-terminals; use --udp with xsens-mvn or ximu3")


def parse_faults(text: str) -> Faults:
    """Faults from ``lose=0.01,flip=0.001,unplug=5``.

    Raises:
        RequestError: if a name or a value is not allowed.
    """
    names = {"lose": "lose", "flip": "flip", "double": "double", "noise": "noise", "unplug": "unplug_s"}
    values: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        most = 1.0 if name != "unplug" else 3600.0
        if name not in names or not 0.0 <= value <= most:
            raise RequestError(f"--faults {part!r}: allowed {listed(names)}, each NAME=SHARE up to 1; unplug=SECONDS")
        values[names[name]] = value
    if 0.0 < values.get("unplug_s", 0.0) < 2.0 * UNPLUGGED_S:
        raise RequestError(f"--faults unplug={values['unplug_s']:g}: allowed from {2.0 * UNPLUGGED_S:g} s on")
    return Faults(**values)


def graph_line(params: FakeParams, outlets: list[tuple[str, dict[str, str]]]) -> str:
    """The node of a graph that hears these sensors."""
    if params.driver == "xsens-mvn":
        segments = ", ".join(sorted(outlets[0][1].values(), key=SEGMENT_NAMES.index))
        assert params.udp is not None
        return f"imus: {{type: imu, driver: xsens-mvn, udp_port: {params.udp[1]}, placement: [{segments}]}}"
    if params.udp is not None:
        pairs = ", ".join(f'"{name}": {segment}' for _, placement in outlets for name, segment in placement.items())
        return f"imus: {{type: imu, driver: {params.driver}, udp_port: {params.udp[1]}, placement: {{{pairs}}}}}"
    ports = []
    for port, placement in outlets:
        if len(placement) == 1:
            ports.append(f"{port}: {next(iter(placement.values()))}")
        else:
            ports.append(f"{port}: {{{', '.join(f'{name!r}: {segment}' for name, segment in placement.items())}}}")
    return f"imus: {{type: imu, driver: {params.driver}, port: {{{', '.join(ports)}}}}}"
