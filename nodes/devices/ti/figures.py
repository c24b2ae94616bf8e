"""What a ``.cfg`` makes the sensor measure: resolutions, limits, rates, and bytes on the data port.

With slope S, N samples at rate fs, K loops, period of a chirp Tc = idle + ramp, M chirps a loop
(transmitters in turn) and start frequency f0:
range resolution c fs / (2 S N), range limit c fs / (2 S), velocity resolution c / (2 f0 Tc K M),
velocity limit c / (4 f0 Tc M). Two targets are told apart from about 2/n rad for n elements in a row, half a
wavelength apart, straight ahead.

Source: TI application report SWRA553 and training "Introduction to mmWave sensing: FMCW radars".
"""

from __future__ import annotations

from dataclasses import dataclass

from nodes.devices.ti.commands import ConfigError, FrameTiming, Monitor, Profile, TiConfig
from nodes.devices.ti.layout import PADDED_TO
from nodes.errors import shown

LIGHT_M_S = 299_792_458.0
DATA_BYTES_S = 92_160.0
"""921600 baud, ten bits a byte."""
TYPICAL_POINTS = 64
"""So many points a frame are assumed when bytes are estimated; 64 is where MARS was cut."""


@dataclass(frozen=True, slots=True)
class Device:
    """What is fixed by the sensor and its antennas."""

    name: str
    least_ghz: float
    most_ghz: float
    transmitters: int
    azimuth_transmitters: int
    """Bit mask of those that lie in a row; another one stands half a wavelength above the row."""
    square: bool = False
    """Antennas over a square: four by four places, if all transmit."""
    most_slope_mhz_per_us: float = 100.0
    cube_kib: int = 1024
    """Memory for the radar cube in the out-of-box demo."""


DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        Device("IWR6843", 60.0, 64.0, 3, 0b101, most_slope_mhz_per_us=250.0, cube_kib=768),
        Device("IWR6843AOP", 60.0, 64.0, 3, 0b101, square=True, most_slope_mhz_per_us=250.0, cube_kib=768),
        Device("IWR6843ODS", 60.0, 64.0, 3, 0b101, square=True, most_slope_mhz_per_us=250.0, cube_kib=768),
        Device("xWR1843", 76.0, 81.0, 3, 0b101),
        Device("xWR1642", 76.0, 81.0, 2, 0b011, cube_kib=768),
        Device("xWR1443", 76.0, 81.0, 3, 0b101, cube_kib=384),
    )
}
"""By name. IWR6843 is the ISK board and others with its antennas."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a frame, or a sub-frame, measures."""

    device: str
    range_resolution_m: float
    range_bin_m: float
    max_range_m: float
    velocity_resolution_m_s: float
    doppler_bin_m_s: float
    """Step of the Doppler FFT, whose size is a power of two."""
    max_velocity_m_s: float
    """Either way; faster ones come out with the wrong sign."""
    frame_rate_hz: float
    chirp_s: float
    active_s: float
    """From the first to the end of the last chirp."""
    transmitters: int
    """Chirps a loop, one transmitter each."""
    receivers: int
    azimuth_elements: int
    elevation_elements: int
    """1: no elevation."""
    range_bins: int
    doppler_bins: int
    frame_bytes: int
    """With ``TYPICAL_POINTS`` points."""

    @property
    def duty(self) -> float:
        """Share of the time in which it transmits."""
        return self.active_s * self.frame_rate_hz

    @property
    def azimuth_resolution_rad(self) -> float:
        """Two targets nearer than this in azimuth are one."""
        return 2.0 / self.azimuth_elements

    @property
    def elevation_resolution_rad(self) -> float | None:
        """Two targets nearer than this in elevation are one; None without elevation."""
        return None if self.elevation_elements < 2 else 2.0 / self.elevation_elements

    @property
    def bytes_s(self) -> float:
        """On the data port."""
        return self.frame_bytes * self.frame_rate_hz

    @property
    def data_share(self) -> float:
        """Of what 921600 baud carry."""
        return self.bytes_s / DATA_BYTES_S

    def lines(self) -> list[str]:
        """For people, degrees included."""
        degrees = 57.29577951308232
        up = self.elevation_resolution_rad
        return [
            f"range      resolution {self.range_resolution_m * 100:.2f} cm, bin {self.range_bin_m * 100:.2f} cm, "
            f"up to {self.max_range_m:.2f} m",
            f"velocity   resolution {self.velocity_resolution_m_s:.3f} m/s, up to ±{self.max_velocity_m_s:.2f} m/s",
            f"angle      {self.azimuth_resolution_rad * degrees:.0f}° in azimuth ({self.azimuth_elements} elements), "
            + (f"{up * degrees:.0f}° in elevation ({self.elevation_elements})" if up else "no elevation")
            + f", for two targets, antennas of {self.device}",
            f"frames     {self.frame_rate_hz:.2f} Hz, {self.active_s * 1e3:.1f} ms of chirps "
            f"({100 * self.duty:.0f} % of the time), {self.transmitters} transmitters, {self.receivers} receivers",
            f"data port  about {self.frame_bytes} bytes a frame with {TYPICAL_POINTS} points, "
            f"{100 * self.data_share:.0f} % of 921600 baud",
        ]


def device_named(name: str) -> Device:
    """A device by name, whatever the case.

    Raises:
        ConfigError: if there is none.
    """
    for known in DEVICES.values():
        if known.name.lower() == name.lower():
            return known
    raise ConfigError(f"device {shown(name)}: allowed {', '.join(DEVICES)}, or none to guess by the frequency")


def guess_device(config: TiConfig) -> Device:
    """The usual device for a start frequency; which of two boards it is, a ``.cfg`` does not tell."""
    if config.profiles and config.profiles[0].start_ghz < 70.0:
        return DEVICES["IWR6843"]
    if config.transmitters == 0b011:
        return DEVICES["xWR1642"]
    return DEVICES["xWR1443" if sends_as_sdk_1(config) else "xWR1843"]


def sends_as_sdk_1(config: TiConfig) -> bool:
    """Whether ``guiMonitor`` has no sub-frame in front, as in SDK 1."""
    return any(len(command.arguments) == 6 for command in config.named("guiMonitor"))


def figures(config: TiConfig, device: Device | None = None, frame: FrameTiming | None = None) -> Figures:
    """Derive what a configuration measures.

    Args:
        config: as parsed.
        device: None to guess by the frequency.
        frame: which sub-frame; None for the first.

    Raises:
        ConfigError: if profile, chirp, frame or channels are not in it.
    """
    chosen = guess_device(config) if device is None else device
    timing, profile = _needed(config, frame)
    slope_hz_s, start_hz = profile.slope_mhz_per_us * 1e12, profile.start_ghz * 1e9
    half_c_rate = LIGHT_M_S * profile.rate_ksps * 1e3 / (2.0 * slope_hz_s)
    chirp_s = (profile.idle_us + profile.ramp_us) * 1e-6
    loop_s = chirp_s * timing.chirps
    range_bins, doppler_bins = _power_of_two(profile.samples), _power_of_two(timing.loops)
    max_velocity = LIGHT_M_S / (4.0 * start_hz * loop_s)
    used = 0
    for mask in config.masks(timing):
        used |= mask or 0
    receivers = config.receivers.bit_count()
    azimuth, elevation = elements(chosen, used, receivers)
    if not config.complex_samples:
        range_bins //= 2
    return Figures(
        device=chosen.name,
        range_resolution_m=half_c_rate / profile.samples,
        range_bin_m=half_c_rate / _power_of_two(profile.samples),
        max_range_m=half_c_rate if config.complex_samples else half_c_rate / 2.0,
        velocity_resolution_m_s=2.0 * max_velocity / timing.loops,
        doppler_bin_m_s=2.0 * max_velocity / doppler_bins,
        max_velocity_m_s=max_velocity,
        frame_rate_hz=1.0 / (config.period_s or timing.period_ms * 1e-3),
        chirp_s=chirp_s,
        active_s=loop_s * timing.loops * timing.bursts,
        transmitters=timing.chirps,
        receivers=receivers,
        azimuth_elements=azimuth,
        elevation_elements=elevation,
        range_bins=range_bins,
        doppler_bins=doppler_bins,
        frame_bytes=frame_bytes(
            config.monitors[0] if config.monitors else None, TYPICAL_POINTS, range_bins, doppler_bins, azimuth
        ),
    )


def elements(device: Device, transmitters: int, receivers: int) -> tuple[int, int]:
    """Places side by side and one above the other in the virtual array of these transmitters (bit mask)."""
    if device.square:
        full = transmitters.bit_count() == device.transmitters and receivers == 4
        return (4, 4) if full else (max(2, receivers // 2 * min(transmitters.bit_count(), 2)), 2)
    in_row = (transmitters & device.azimuth_transmitters).bit_count()
    above = transmitters & ~device.azimuth_transmitters
    return max(in_row, 1) * max(receivers, 1), 2 if above and in_row else 1


def frame_bytes(monitor: Monitor | None, points: int, range_bins: int, doppler_bins: int, azimuth_elements: int) -> int:
    """Bytes of a frame, head and padding included; people tracking sends its own TLVs instead of the maps."""
    size = 40
    if monitor is None or monitor.points:
        size += 8 + 16 * points
    if monitor is None or monitor.side_info:
        size += 8 + 4 * points
    if monitor is not None:
        size += (monitor.range_profile + monitor.noise_profile) * (8 + 2 * range_bins)
        size += monitor.azimuth_map * (8 + 4 * range_bins * azimuth_elements)
        size += monitor.range_doppler * (8 + 2 * range_bins * doppler_bins)
        size += monitor.statistics * (8 + 24 + 8 + 28)
    return size + -size % PADDED_TO


def _needed(config: TiConfig, frame: FrameTiming | None) -> tuple[FrameTiming, Profile]:
    if not config.frames:
        raise ConfigError(f"{config.name}: no frameCfg in it, which tells rate and loops; add it")
    timing = config.frames[0] if frame is None else frame
    profile = config.profile_of(timing)
    if profile is None:
        raise ConfigError(
            f"{config.name}, line {timing.line}: no profile for chirp {timing.first_chirp}: add a chirpCfg for it and "
            "the profileCfg that the chirpCfg names"
        )
    if not config.receivers:
        raise ConfigError(f"{config.name}: no channelCfg in it, which tells the antennas; add it (usually 15 7 0)")
    return timing, profile


def _power_of_two(number: int) -> int:
    """The next one that is not smaller."""
    return 1 << (number - 1).bit_length()
