"""The table of drivers: how each kind of device is reached, decoded and set up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nodes.devices import witmotion, ximu3, xsens_mti, xsens_mvn
from nodes.devices.sample import Decoder
from nodes.devices.witmotion import WitMotionDecoder
from nodes.devices.ximu3 import Ximu3Decoder
from nodes.devices.xsens_mti import MtiDecoder
from nodes.devices.xsens_mvn import MvnDecoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """One row of the table."""

    name: str
    about: str
    decoder: Callable[[], Decoder]
    bauds: tuple[int, ...] = ()
    """The usual ones, the default first; empty for a device that is no serial port."""
    udp_port: int | None = None
    """Where it sends datagrams by default; None if it does not."""
    one_clock: bool = False
    """Whether all sensors of a port share one clock."""
    names_segments: bool = False
    """Whether the identities of its sensors are names of segments already."""
    configures: bool = False
    """Whether ``configure: true`` can set it up."""
    bytes_per_sample: int
    """With a field, as the setup asks for them."""
    wake: str
    """What to do when it sends nothing."""
    outputs: dict[str, str]
    """What to do about each output that is lacking."""

    @property
    def baud(self) -> int | None:
        """The default."""
        return self.bauds[0] if self.bauds else None


_MTI_OUTPUTS = "switch it on in MT Manager (Output Configuration) or set configure: true"
_WIT_OUTPUTS = "switch it on in WitMotion's software (Config, Content) or set configure: true"

DRIVERS: dict[str, Driver] = {
    driver.name: driver
    for driver in (
        Driver(
            name="xsens-mti",
            about="Xsens MTi 1, 10, 100, 600 series: MTData2",
            decoder=MtiDecoder,
            bauds=(115200, 921600, 460800, 230400, 2000000, 57600, 38400, 19200, 9600, 4800),
            configures=True,
            bytes_per_sample=66,
            wake="it may wait in config mode: set configure: true, or start its measurement in MT Manager",
            outputs={
                xsens_mti.LACKS_ACCELERATION: _MTI_OUTPUTS,
                xsens_mti.LACKS_RATE: _MTI_OUTPUTS,
                xsens_mti.LACKS_TIMING: "switch both on, or acceleration and rate of turn, or set configure: true",
            },
        ),
        Driver(
            name="witmotion",
            about="WitMotion sensors with the standard protocol (0x55)",
            decoder=WitMotionDecoder,
            bauds=(9600, 115200, 230400, 460800, 921600, 57600, 38400, 19200, 4800, 2400),
            configures=True,
            bytes_per_sample=44,
            wake="it may be asleep, or speak Modbus: switch it to the standard protocol in WitMotion's software",
            outputs={witmotion.LACKS_ACCELERATION: _WIT_OUTPUTS, witmotion.LACKS_RATE: _WIT_OUTPUTS},
        ),
        Driver(
            name="ximu3",
            about="x-io x-IMU3, ASCII or binary, USB, Bluetooth or UDP",
            decoder=Ximu3Decoder,
            bauds=(115200, 921600, 460800, 230400, 57600),
            udp_port=8000,
            bytes_per_sample=60,
            wake="it may be asleep (press its button), or its inertial message rate is 0 (x-IMU3 GUI, Device Settings)",
            outputs={ximu3.LACKS_INERTIAL: "set the inertial message rate divisor in the x-IMU3 GUI (Device Settings)"},
        ),
        Driver(
            name="xsens-mvn",
            about="Xsens MVN network streamer: motion tracker kinematics over UDP",
            decoder=MvnDecoder,
            udp_port=9763,
            one_clock=True,
            names_segments=True,
            bytes_per_sample=1180,
            wake="in MVN: Options, Network Streamer, switch it on and add this computer with this port",
            outputs={
                xsens_mvn.LACKS_TRACKERS: "in MVN's Network Streamer switch on 'Motion Tracker Kinematics'",
                xsens_mvn.LACKS_RATE: "update MVN: newer ones send them",
            },
        ),
    )
}
