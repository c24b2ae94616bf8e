"""How the inertial sensors are and how they sit: the figures of ``InertialState``, for people."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from fusion.records import InertialState
from viz.models.health import Level
from viz.models.people import node_of


@dataclass(frozen=True, slots=True)
class InertialParams:
    """Bounds and limits of the table."""

    gone_s: float = 5.0
    """A report that was published longer ago is not shown."""
    mounting_rad: float = math.radians(15.0)
    """A sensor that sits further from where the profile says is marked: it has slipped, or is another's."""
    max_systems: int = 16
    max_rows: int = 256


@dataclass(frozen=True, slots=True)
class SensorRow:
    """One sensor."""

    node: str
    """Who says so."""
    sensor: str
    rate_hz: float
    """NaN unknown, as the other figures."""
    motion: str
    """``at rest``, ``moves``, or ``starts`` as long as its orientation is not used."""
    field: str
    """``not used``, ``being learned`` as long as the room's is not known, ``undisturbed`` or ``disturbed``."""
    field_level: Level
    heading_sigma_deg: float
    mounting_deg: float
    """Size of the angle between how it sits and the profile."""
    mounting_sigma_deg: float
    mounting_level: Level


@dataclass(slots=True)
class InertialModelState:
    """The newest record of each system of each topic, and when it was published."""

    reports: dict[tuple[str, tuple[str, ...]], tuple[InertialState, int]] = field(default_factory=dict)
    refused: int = 0


class InertialModel:
    """Turns states of inertial sensors into rows."""

    def __init__(self, params: InertialParams | None = None) -> None:
        self.params = params or InertialParams()
        self.state = InertialModelState()

    def add(self, topic: str, record: InertialState, published_ns: int) -> None:
        """Keep the newest record of a system."""
        key = topic, record.sensors
        if key not in self.state.reports and len(self.state.reports) >= self.params.max_systems:
            self.state.refused += 1
            return
        self.state.reports[key] = (record, published_ns)

    def rows(self, now_ns: int) -> tuple[SensorRow, ...]:
        """The table, by node and in the order of each system's sensors."""
        oldest_ns = now_ns - round(self.params.gone_s * 1e9)
        rows = [
            self._row(node_of(topic), record, sensor)
            for (topic, _), (record, published_ns) in sorted(self.state.reports.items())
            if published_ns >= oldest_ns
            for sensor in range(len(record.sensors))
        ]
        return tuple(rows[: self.params.max_rows])

    def _row(self, node: str, record: InertialState, sensor: int) -> SensorRow:
        disturbed = bool(record.magnetic_disturbed[sensor])
        mounting_rad = float(np.linalg.norm(record.mounting_error_rad[sensor]))
        return SensorRow(
            node=node,
            sensor=record.sensors[sensor],
            rate_hz=float(record.rates_hz[sensor]),
            motion=_motion(bool(record.settled[sensor]), bool(record.at_rest[sensor])),
            field=_field(bool(record.magnetic_used[sensor]), bool(record.magnetic_known[sensor]), disturbed),
            field_level=Level.WARNING if disturbed else Level.FINE,
            heading_sigma_deg=math.degrees(record.heading_sigma_rad[sensor]),
            mounting_deg=math.degrees(mounting_rad),
            mounting_sigma_deg=math.degrees(record.mounting_sigma_rad[sensor]),
            mounting_level=Level.WARNING if mounting_rad > self.params.mounting_rad else Level.FINE,
        )


def _motion(settled: bool, at_rest: bool) -> str:
    if not settled:
        return "starts"
    return "at rest" if at_rest else "moves"


def _field(used: bool, known: bool, disturbed: bool) -> str:
    if not used:
        return "not used"
    if not known:
        return "being learned"
    return "disturbed" if disturbed else "undisturbed"


def sigma_text(degrees: float) -> str:
    """``± 3.2°``; a dash where nothing is known."""
    return f"± {degrees:.1f}°" if math.isfinite(degrees) else "–"


def mounting_text(degrees: float, sigma_deg: float) -> str:
    """``4.1° ± 2.0°``; a dash where nothing is known."""
    return f"{degrees:.1f}° {sigma_text(sigma_deg)}" if math.isfinite(degrees) else "–"
