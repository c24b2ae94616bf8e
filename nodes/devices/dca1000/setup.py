"""What a ``.cfg`` says about raw samples: shape of a frame, order of samples, antennas; and why it will not do."""

from __future__ import annotations

from dataclasses import dataclass

from nodes.devices.dca1000.samples import Shape
from nodes.devices.ti.commands import Profile
from nodes.devices.ti.config import ConfigError, Device, TiConfig, figures, guess_device

ALL_RECEIVERS = 0b1111
_IN_ROW = {1: (0, 0), 2: (4, 0), 4: (4, 0)}
"""Place (right, up) in half wavelengths of a transmitter that lies in the row, by its bit."""
_ABOVE = (2, 1)


@dataclass(frozen=True, slots=True)
class RawSetup:
    """All that the chain must know."""

    shape: Shape
    swapped: bool
    """Q comes before I."""
    transmitters: tuple[tuple[int, int], ...]
    """Places (right, up) in half wavelengths, in the order of their turns."""
    range_bin_m: float
    speed_bin_m_s: float
    active_s: float
    """From the first to the end of the last chirp of a frame."""
    period_s: float


def raw_setup(config: TiConfig, device: Device | None = None) -> RawSetup:
    """Derive it.

    Raises:
        ConfigError: if the configuration sends no raw samples, or such as cannot be taken apart.
    """
    board = guess_device(config) if device is None else device
    derived = figures(config, board)
    frame, profile = config.frames[0], config.profile_of(config.frames[0])
    assert profile is not None  # or there were no figures
    _check(config, board)
    if profile.samples % 2:
        raise ConfigError(f"{config.name}, line {profile.line}: {profile.samples} samples, expected an even number")
    swap = config.first("adcbufCfg")
    return RawSetup(
        shape=(frame.loops, frame.chirps, ALL_RECEIVERS.bit_count(), profile.samples),
        swapped=swap is not None and float(swap.arguments[-3]) != 0.0,
        transmitters=tuple(_place(config, board, mask) for mask in config.masks(frame)),
        range_bin_m=derived.range_resolution_m,
        speed_bin_m_s=derived.velocity_resolution_m_s * profile.start_ghz / _centre_ghz(profile),
        active_s=derived.active_s,
        period_s=1.0 / derived.frame_rate_hz,
    )


def _check(config: TiConfig, board: Device) -> None:
    lanes = config.first("lvdsStreamCfg")
    if lanes is None or lanes.arguments[1:3] != ("0", "1"):
        have = f"line {lanes.line}: {lanes.text}" if lanes else "no lvdsStreamCfg"
        raise ConfigError(f"{config.name}: {have}: raw samples are off; write lvdsStreamCfg -1 0 1 0")
    if len(config.frames) > 1:
        raise ConfigError(f"{config.name}: {len(config.frames)} sub-frames; raw capture takes one frameCfg")
    if not config.complex_samples:
        raise ConfigError(f"{config.name}: adcCfg: raw capture takes complex samples; write adcCfg 2 1")
    if config.receivers != ALL_RECEIVERS:
        raise ConfigError(f"{config.name}: channelCfg: raw capture takes all four receivers; begin it with 15")
    if board.square:
        raise ConfigError(
            f"{config.name}: raw capture does not know the antennas of {board.name}; it knows those of IWR6843 (ISK), "
            "xWR1843 and xWR1642"
        )


def _centre_ghz(profile: Profile) -> float:
    """Carrier in the middle of the samples, which phases go by; the usual formulas take that at the start."""
    middle_us = profile.adc_start_us + 0.5e3 * profile.samples / profile.rate_ksps
    return profile.start_ghz + 1e-3 * profile.slope_mhz_per_us * middle_us


def _place(config: TiConfig, board: Device, mask: int | None) -> tuple[int, int]:
    if mask is None or mask.bit_count() != 1 or mask >= 1 << board.transmitters:
        raise ConfigError(
            f"{config.name}: a chirp of transmitters {mask}: raw capture takes one of {board.name}'s transmitters at a "
            "time; correct the last number of each chirpCfg"
        )
    return _IN_ROW[mask] if mask & board.azimuth_transmitters else _ABOVE
