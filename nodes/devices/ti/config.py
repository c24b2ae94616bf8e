"""A ``.cfg`` of TI's demos: read it, check it, and say what it makes the sensor measure."""

from __future__ import annotations

from pathlib import Path

from nodes.devices.ti.checks import Finding, check
from nodes.devices.ti.commands import Command, ConfigError, TiConfig, parse_config
from nodes.devices.ti.figures import DEVICES, Device, Figures, device_named, figures, guess_device

__all__ = [
    "DEVICES",
    "Command",
    "ConfigError",
    "Device",
    "Figures",
    "Finding",
    "TiConfig",
    "check",
    "device_named",
    "figures",
    "guess_device",
    "load_config",
    "parse_config",
]


def load_config(path: Path, name: str | None = None) -> TiConfig:
    """Read a file.

    Args:
        path: of the file.
        name: as messages shall call it; None for the path.

    Raises:
        ConfigError: if it cannot be read.
    """
    shown_name = str(path) if name is None else name
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(
            f"{shown_name}: {error.strerror or error}; give the .cfg of TI's demo, or one of those in graphs/radar"
        ) from error
    return parse_config(text, shown_name)
