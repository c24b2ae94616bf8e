"""Virtual devices: what a vendor's sensor sends for a moment, and what it answers to commands. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from nodes.devices import witmotion, ximu3, xsens_mti, xsens_mvn
from nodes.devices.sample import Vector
from nodes.devices.xsens_mti import MtiDecoder

Quaternion = tuple[float, float, float, float]
FIRST_CHANNEL = 0x41
"""Of an x-IMU3 multiplexer."""
_FIELD_EVERY = 5
"""x-IMU3: fields come more rarely than the rest."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What one sensor feels at one time."""

    segment: str
    force_m_s2: Vector
    rate_rad_s: Vector
    magnetic_ut: Vector | None
    q_world_from_sensor: Quaternion


class VirtualDevice(Protocol):
    """What sits behind one port, with one sensor or several."""

    def emit(self, number: int, device_s: float, moments: list[Moment]) -> list[bytes]:
        """Messages of the sample ``number`` at a time of the device's clock; none while it does not measure."""
        ...

    def answer(self, data: bytes) -> bytes:
        """What it says to bytes that it is sent."""
        ...

    def identities(self, segments: list[str]) -> list[str]:
        """Of its sensors, as our decoder tells them."""
        ...


class VirtualMti:
    """An MTi, or several on one bus."""

    def __init__(self, *, measuring: bool = True) -> None:
        self.measuring = measuring
        self.outputs = b""
        """Data of the last SetOutputConfiguration."""
        self._ear = MtiDecoder()

    def emit(self, number: int, device_s: float, moments: list[Moment]) -> list[bytes]:
        """One message a sensor."""
        if not self.measuring:
            return []
        ticks = round(device_s * 1e4)
        buses = [xsens_mti.OWN_BUS_ID] if len(moments) == 1 else range(1, len(moments) + 1)
        return [
            xsens_mti.encode(number, ticks, moment.force_m_s2, moment.rate_rad_s, moment.magnetic_ut, bus=bus)
            for bus, moment in zip(buses, moments, strict=True)
        ]

    def answer(self, data: bytes) -> bytes:
        """Acknowledgements; commands that it does not know are acknowledged too."""
        self._ear.feed(data)
        said = b""
        while self._ear.replies:
            command = self._ear.replies.popleft()
            if command.message == xsens_mti.GO_TO_CONFIG:
                self.measuring = False
            elif command.message == xsens_mti.GO_TO_MEASUREMENT:
                self.measuring = True
            elif command.message == xsens_mti.SET_OUTPUT:
                if self.measuring:
                    said += xsens_mti.message(xsens_mti.ERROR, b"\x04")  # Only in config mode.
                    continue
                self.outputs = command.data
            echo = command.data if command.message == xsens_mti.SET_OUTPUT else b""
            said += xsens_mti.message((command.message + 1) & 0xFF, echo)
        return said

    def identities(self, segments: list[str]) -> list[str]:
        """Bus addresses."""
        return ["0"] if len(segments) == 1 else [str(bus) for bus in range(1, len(segments) + 1)]


class VirtualWitMotion:
    """One sensor with time, acceleration, rate and angles."""

    _START_MS = 800_000_000_000
    """Its calendar at the start: in 2025."""

    def __init__(self) -> None:
        self.rate_code = 0
        self.content = 0
        self._unlocked = False
        self._heard = b""

    def emit(self, number: int, device_s: float, moments: list[Moment]) -> list[bytes]:
        """All packets of the moment together."""
        (moment,) = moments
        milliseconds = self._START_MS + round(device_s * 1e3)
        return [witmotion.encode(milliseconds, moment.force_m_s2, moment.rate_rad_s, moment.magnetic_ut, angles=True)]

    def answer(self, data: bytes) -> bytes:
        """Nothing; registers are kept."""
        self._heard = (self._heard + data)[-64:]
        while (at := self._heard.find(b"\xff\xaa")) >= 0 and len(self._heard) >= at + 5:
            command, self._heard = self._heard[at : at + 5], self._heard[at + 5 :]
            if command == witmotion.UNLOCK:
                self._unlocked = True
            elif self._unlocked and command[2] == witmotion.RATE_REGISTER:
                self.rate_code = command[3]
            elif self._unlocked and command[2] == witmotion.CONTENT_REGISTER:
                self.content = command[3] | command[4] << 8
        return b""

    def identities(self, segments: list[str]) -> list[str]:
        """One."""
        return ["0"]


class VirtualXimu3:
    """One x-IMU3, or several behind a multiplexer."""

    def __init__(self, *, ascii_text: bool = False) -> None:
        self._ascii = ascii_text

    def emit(self, number: int, device_s: float, moments: list[Moment]) -> list[bytes]:
        """One message a sensor, and now and then the field."""
        microseconds = round(device_s * 1e6)
        messages = []
        for place, moment in enumerate(moments):
            parts = [ximu3.encode(microseconds, moment.force_m_s2, moment.rate_rad_s, ascii_text=self._ascii)]
            if moment.magnetic_ut is not None and number % _FIELD_EVERY == 0:
                parts.insert(0, ximu3.encode_field(microseconds, moment.magnetic_ut, ascii_text=self._ascii))
            if len(moments) > 1:
                parts = [ximu3.multiplexed(FIRST_CHANNEL + place, part) for part in parts]
            messages += parts
        return messages

    def answer(self, data: bytes) -> bytes:
        """Commands come back as they are, which is how it says yes."""
        return b"".join(line + b"\n" for line in data.split(b"\n") if line.startswith(b"{"))

    def identities(self, segments: list[str]) -> list[str]:
        """Channels."""
        if len(segments) == 1:
            return ["0"]
        return [f"0x{FIRST_CHANNEL + place:02X}" for place in range(len(segments))]


class VirtualMvn:
    """The network streamer of MVN."""

    def emit(self, number: int, device_s: float, moments: list[Moment]) -> list[bytes]:
        """One datagram."""
        trackers = [
            (moment.segment, moment.q_world_from_sensor, moment.force_m_s2, moment.rate_rad_s, moment.magnetic_ut)
            for moment in moments
        ]
        return [xsens_mvn.encode(number, int(device_s * 1e3), trackers)]

    def answer(self, data: bytes) -> bytes:
        """It listens to nobody."""
        return b""

    def identities(self, segments: list[str]) -> list[str]:
        """The segments themselves."""
        return segments


def make_device(driver: str, *, ascii_text: bool = False, measuring: bool = True) -> VirtualDevice:
    """The virtual device of a driver.

    Raises:
        KeyError: no such driver.
    """
    devices: dict[str, VirtualDevice] = {
        "xsens-mti": VirtualMti(measuring=measuring),
        "witmotion": VirtualWitMotion(),
        "ximu3": VirtualXimu3(ascii_text=ascii_text),
        "xsens-mvn": VirtualMvn(),
    }
    return devices[driver]
