"""Inertial node: body-worn sensors on serial ports or the network, as one stream of samples.

Each sensor's clock is mapped to the session clock, and the samples of all are
put into rows at common times. A port that goes is opened again when it is back;
a sensor that falls silent is named in health within a second and taken back when
it is heard again. What is wrong with a port is said once, with what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from nodes.errors import RequestError, listed, shown, suggestion
from nodes.node import NodeContext, NodeParams

if TYPE_CHECKING:
    from nodes.devices.drivers import Driver
    from nodes.devices.merge import Row
    from nodes.devices.reader import PortReader
    from nodes.devices.system import InertialSystem

NS_PER_S = 1_000_000_000
WAIT_S = 0.01
"""For bytes; then the graph is asked whether to stop."""
ASK_NS = 10_000_000
REPORT_NS = 250_000_000
MVN_SITES = (
    "pelvis", "t8", "head",
    "right_shoulder", "right_upper_arm", "right_forearm", "right_hand",
    "left_shoulder", "left_upper_arm", "left_forearm", "left_hand",
    "right_upper_leg", "right_lower_leg", "right_foot",
    "left_upper_leg", "left_lower_leg", "left_foot",
)  # fmt: skip
"""The 17 trackers of a full-body MVN suit."""
MAX_PLACES = 64
_UDP = ("xsens-mvn", "ximu3")
_CONFIGURABLE = ("xsens-mti", "witmotion")
_FATAL = ("denied", "package", "address")
"""Troubles of a port that do not pass by themselves."""

PortName = Annotated[str, Field(min_length=1)]


class Params(NodeParams):
    """Keys of an imu node."""

    driver: Literal["xsens-mti", "witmotion", "ximu3", "xsens-mvn"]
    port: PortName | tuple[PortName, ...] | dict[PortName, str | dict[str, str]] | None = None
    """Serial port such as ``/dev/ttyUSB0`` or ``COM3`` (``kinefuse devices`` lists them), several of them, or a mapping
    of ports to the segment of each one's sensor (or to a ``placement`` of several). Not for devices on UDP."""
    placement: dict[str, str] | tuple[str, ...] | None = None
    """Which segment wears which sensor: by number of the port, by the sensor's identity on its port, or a list in the
    order of the ports. Not with ``port`` as a mapping. For ``xsens-mvn`` a list of segments; default: 17 of a suit."""
    baud: int | None = Field(None, ge=300, le=12_000_000)
    """Default: what the maker sets."""
    udp_port: int | None = Field(None, ge=1, le=65535)
    """Where the device sends its datagrams; default for ``xsens-mvn`` 9763."""
    host: str = Field("127.0.0.1", min_length=1)
    """Address of this machine that datagrams come to; ``0.0.0.0`` to hear other machines."""
    delay_s: float = Field(0.0, ge=0.0, le=1.0)
    """Known time from measuring to arrival, the same for all samples, such as that of a radio link."""
    batch_s: float = Field(0.02, ge=0.0, le=1.0)
    """Samples of so long go into one record."""
    wait_s: float = Field(0.08, ge=0.0, le=2.0)
    """A sample waits so long for those of the other sensors."""
    magnetometer: bool = False
    """Publish magnetic fields."""
    configure: bool = False
    """Set the device up when it is opened: rate and outputs (``xsens-mti``, ``witmotion``, which keeps it)."""
    rate_hz: int = Field(100, ge=1, le=2000)
    """For ``configure``."""

    @model_validator(mode="after")
    def _fits(self) -> Params:
        on_udp = self.udp_port is not None or self.driver == "xsens-mvn"
        if self.udp_port is not None and self.driver not in _UDP:
            raise ValueError(f"udp_port: driver {self.driver!r} is on a serial port; drivers on UDP: {listed(_UDP)}")
        if on_udp and self.port is not None:
            raise ValueError(f"port {shown(self.port)}: driver {self.driver!r} is heard on udp_port; leave port out")
        if not on_udp and not self.port:
            raise ValueError("port is missing: name the serial port of the sensor (kinefuse devices lists them)")
        if self.configure and self.driver not in _CONFIGURABLE:
            raise ValueError(f"configure: not for {self.driver!r}, allowed for {listed(_CONFIGURABLE)}")
        if self.configure and self.driver == "witmotion":
            _check_witmotion(self.rate_hz, self.baud or 9600, magnetometer=self.magnetometer)
        _check_segments([segment for _, _, segment in self.wiring()], self.driver)
        return self

    def wiring(self) -> tuple[tuple[str, str | None, str], ...]:
        """Port, identity on it (None: the first one heard) and segment of each sensor.

        Raises:
            ValueError: if ports and placement do not fit.
        """
        if self.driver == "xsens-mvn" or self.udp_port is not None:
            return _udp_wiring(self)
        if isinstance(self.port, dict):
            return _mapped_wiring(self.port, self.placement)
        if isinstance(self.port, tuple):
            return _listed_wiring(self.port, self.placement)
        return _single_wiring(str(self.port), self.placement)

    def publishes(self, name: str) -> tuple[str, ...]:
        """The samples."""
        return (f"{name}/samples",)


def _udp_wiring(params: Params) -> tuple[tuple[str, str | None, str], ...]:
    port = f"udp:{params.udp_port or 9763}"
    placement = params.placement
    if params.driver == "xsens-mvn":
        if isinstance(placement, dict):
            return tuple((port, name, segment) for name, segment in placement.items())
        return tuple((port, segment, segment) for segment in placement or MVN_SITES)
    if isinstance(placement, dict) and placement:
        names = list(placement)
        return tuple((port, None if names == ["0"] else name, placement[name]) for name in names)
    raise ValueError(
        "placement: name the segment of each sender by its address, such as {192.168.1.5: pelvis}, or {0: pelvis} "
        "if there is just one"
    )


def _mapped_wiring(
    ports: dict[str, str | dict[str, str]], placement: dict[str, str] | tuple[str, ...] | None
) -> tuple[tuple[str, str | None, str], ...]:
    if placement is not None:
        raise ValueError("placement: port is a mapping and says already who wears what; keep one of them")
    places: list[tuple[str, str | None, str]] = []
    for port, value in ports.items():
        if isinstance(value, str):
            places.append((port, None, value))
        else:
            places += [(port, name, segment) for name, segment in value.items()]
    return tuple(places)


def _listed_wiring(
    ports: tuple[str, ...], placement: dict[str, str] | tuple[str, ...] | None
) -> tuple[tuple[str, str | None, str], ...]:
    if len(set(ports)) < len(ports):
        raise ValueError(f"port {shown(ports)}: a port is named twice; name each once")
    if isinstance(placement, tuple):
        placement = {str(number): segment for number, segment in enumerate(placement)}
    numbers = [str(number) for number in range(len(ports))]
    if placement is None or sorted(placement) != sorted(numbers):
        have = listed(placement or ())
        raise ValueError(f"placement names the ports {have}; expected a segment for each of {listed(numbers)}")
    return tuple((port, None, placement[str(number)]) for number, port in enumerate(ports))


def _single_wiring(
    port: str, placement: dict[str, str] | tuple[str, ...] | None
) -> tuple[tuple[str, str | None, str], ...]:
    if isinstance(placement, tuple):
        if len(placement) != 1:
            raise ValueError(f"placement: {len(placement)} segments for one port; name sensors: {{IDENTITY: SEGMENT}}")
        return ((port, None, placement[0]),)
    if not placement:
        raise ValueError("placement is missing: say which segment wears the sensor, such as {0: pelvis}")
    names = list(placement)
    return tuple((port, None if names == ["0"] else name, placement[name]) for name in names)


def _check_segments(segments: list[str], driver: str) -> None:
    from fusion.body.skeleton import SEGMENT, SEGMENT_NAMES

    for segment in segments:
        if segment not in SEGMENT:
            near = suggestion(segment, SEGMENT_NAMES)
            raise ValueError(f"placement: {segment!r} is no segment{near}; segments: {listed(SEGMENT_NAMES)}")
    twice = sorted({segment for segment in segments if segments.count(segment) > 1})
    if twice:
        raise ValueError(f"placement: {twice[0]} wears two sensors; name each segment once")
    if not 1 <= len(segments) <= MAX_PLACES:
        raise ValueError(f"placement: {len(segments)} sensors, allowed 1 to {MAX_PLACES}")


def _check_witmotion(rate_hz: int, baud: int, *, magnetometer: bool) -> None:
    from nodes.devices.witmotion import RATE_CODES, SIZE

    if rate_hz not in RATE_CODES:
        raise ValueError(f"rate_hz {rate_hz}: a WitMotion sensor has {listed(map(str, RATE_CODES))}")
    needed = rate_hz * (4 if magnetometer else 3) * SIZE * 10
    if needed > baud:
        raise ValueError(f"rate_hz {rate_hz} needs {needed} bit/s but baud is {baud}; set the sensor and baud: to more")


def run(params: Params, context: NodeContext) -> None:
    """Publish samples until the graph stops.

    Raises:
        RequestError: in a ``data`` session, or if a port may not be opened.
    """
    if context.session.time == "data":
        raise RequestError(
            f"node {context.name!r}: sensors follow the clock; set session.time: live, or replay a recorded session"
        )
    _warn_of_profile(params, context)
    system = open_system(params, context)
    publisher = _Publisher(params, context)
    try:
        context.ready()
        system.begin(context.clock.now_ns())
        reported_ns = asked_ns = 0
        while not context.stopping:
            publisher.add(system.step(context.clock.now_ns, WAIT_S), system.merger.period_ns)
            now_ns = context.clock.now_ns()
            if now_ns - asked_ns >= ASK_NS:
                asked_ns = now_ns
                context.receive(0.0)
            if now_ns - reported_ns >= REPORT_NS:
                reported_ns = now_ns
                # All at once: health must not be read half-way.
                context.counters = system.counters(now_ns)
    finally:
        system.close()


def _warn_of_profile(params: Params, context: NodeContext) -> None:
    """Say which segments' sensors the fusion node will not know how to use."""
    if context.session.profile is None:
        return
    from calibration.profile import load_profile

    known = [mount.segment for mount in load_profile(context.session.profile).imus]
    unknown = [segment for _, _, segment in params.wiring() if segment not in known]
    if unknown:
        context.log.warning(
            "profile %s does not say how the sensor of %s sits (it has: %s); fusion will not use it until it does",
            context.session.profile,
            listed(unknown),
            listed(known),
        )


def open_system(params: Params, context: NodeContext) -> InertialSystem:
    """The sensors that the parameters ask for, their ports opened where they are there.

    Raises:
        RequestError: if a port may not be opened.
    """
    from nodes.devices.drivers import DRIVERS
    from nodes.devices.merge import MergeParams
    from nodes.devices.system import InertialSystem, Place

    driver = DRIVERS[params.driver]
    places = tuple(Place(*place) for place in params.wiring())
    now_ns = context.clock.now_ns()
    system = InertialSystem(
        places,
        {name: _reader(name, driver, params) for name in dict.fromkeys(place.port for place in places)},
        merge=MergeParams(sensors=len(places), wait_s=params.wait_s),
        delay_s=params.delay_s,
        magnetometer=params.magnetometer,
        now_ns=now_ns,
        say=context.log.warning,
        present=ports_here,
    )
    try:
        _open_ports(system, context, now_ns)
    except RequestError:
        system.close()
        raise
    return system


def _reader(name: str, driver: Driver, params: Params) -> PortReader:
    from nodes.devices.ports import Port, open_source
    from nodes.devices.reader import PortReader
    from nodes.devices.setup import make_setup

    baud = params.baud or driver.baud
    return PortReader(
        Port(name, lambda: open_source(name, baud, params.host), None if name.startswith("udp:") else baud),
        driver,
        lambda decoder: (
            make_setup(driver.name, decoder, params.rate_hz, magnetometer=params.magnetometer)
            if params.configure
            else None
        ),
    )


def _open_ports(system: InertialSystem, context: NodeContext, now_ns: int) -> None:
    """Try each port once; what will not pass by itself ends the node."""
    for reader in system.readers.values():
        reader.read(now_ns)
        error = reader.port.error
        if error is not None and error.trouble in _FATAL:
            found = reader.diagnosis(now_ns, ports_here(), ())
            raise RequestError(f"node {context.name!r}: {found.message if found else error}")


def ports_here() -> tuple[str, ...]:
    """Serial ports that this machine lists."""
    from serial.tools import list_ports

    return tuple(sorted(port.device for port in list_ports.comports()))


class _Publisher:
    """Gathers rows into records."""

    def __init__(self, params: Params, context: NodeContext) -> None:
        self._context = context
        self._topic = f"{context.name}/samples"
        self._segments = tuple(segment for _, _, segment in params.wiring())
        self._batch_ns = round(params.batch_s * NS_PER_S)
        self._rows: list[Row] = []

    def add(self, rows: list[Row], period_ns: float) -> None:
        """Take rows in; publish when they are enough."""
        self._rows += rows
        # Half a period less, so that the grid's breathing does not make a batch one longer now and then.
        if self._rows and len(self._rows) * period_ns >= self._batch_ns - 0.5 * period_ns:
            self._publish()

    def _publish(self) -> None:
        import numpy as np

        from fusion.records import InertialSamples

        rows, self._rows = self._rows, []
        missing = (float("nan"),) * 9
        values = np.array([[reading or missing for reading in row.readings] for row in rows], dtype=np.float32)
        record = InertialSamples(
            measured_ns=rows[-1].time_ns,
            # The grid may run ahead of the samples by a small share of a period.
            received_ns=max(self._context.clock.now_ns(), rows[-1].time_ns),
            sensors=self._segments,
            times_ns=np.array([row.time_ns for row in rows], dtype=np.int64),
            specific_force_m_s2=np.ascontiguousarray(values[:, :, 0:3]),
            angular_rate_rad_s=np.ascontiguousarray(values[:, :, 3:6]),
            magnetic_field_ut=np.ascontiguousarray(values[:, :, 6:9]),
        )
        self._context.publish(self._topic, record)
