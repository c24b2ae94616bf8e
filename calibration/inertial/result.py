"""What a calibration finds: mountings, how good they are, and what was wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from calibration.inertial.stillness import StillParams
from fusion.records import Float64

Heading = Literal["measured", "assumed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationParams:
    """Bounds of a calibration. The first four are GlobalPose's."""

    vertical_rad: float = math.radians(8.0)
    """Up as a hold shows it against up as all holds together do: most for a segment that should stand the same."""
    forward_rad: float = math.radians(30.0)
    """Two ways to find where the wearer faces (arms, walk, swing of the legs): so far apart at most."""
    pair_rad: float = math.radians(30.0)
    """The mounting of an arm from the N-pose and from the T-pose: so far apart at most, half of it off each."""
    climb_m: float = 0.1
    """A walk ends at the height where it began; more is an error of the sensor, and so much more for each metre:"""
    climb_share: float = 0.1
    quality_rad: float = math.radians(15.0)
    """A sensor with a worse figure is refused."""
    hold_s: float = 1.0
    """Least time for which a pose is held still."""
    stand_s: float = 0.4
    """Least stand before and after a walk."""
    creep_rad: float = math.radians(6.0)
    """Most that a sensor's attitude may creep during a hold."""
    walk_m: float = 0.6
    """Least way of a walk."""
    turn_rad: float = math.radians(25.0)
    """Most that the wearer may have turned between the ends of a walk."""
    slip_rad: float = math.radians(20.0)
    """A sensor that stands so otherwise in a later hold than others has slipped."""
    longest_gap_s: float = 0.5
    """Most that may be missing of a sensor between the first hold and the last."""
    pose_rad: float = math.radians(3.0)
    """How far a wearer's pose is taken to be from the one that was asked for: nothing measures it, it is part of every
    quality."""
    least_sigma_rad: float = math.radians(2.0)
    """No pose is held and no line is walked better."""
    still: StillParams = field(default_factory=StillParams)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know, with the figure and what to do."""

    kind: str
    """``not_still``, ``creep``, ``gap``, ``pose``, ``vertical``, ``forward``, ``pair``, ``climb``, ``short_walk``,
    ``turned``, ``slip``, ``wrong_limb``, ``wrong_side``, ``quality``, ``assumed``, ``unsure``."""
    sensors: tuple[str, ...]
    message: str
    blocking: bool = True
    """Whether the calibration is refused because of it."""


@dataclass(frozen=True, slots=True, eq=False)
class SensorCalibration:
    """How one sensor sits."""

    segment: str
    q_segment_from_sensor: Float64
    """[4] wxyz."""
    heading_rad: float
    """Where the wearer faces in the sensor's own world, in the held pose nearest to the walk; NaN if it is assumed."""
    heading: Heading
    quality_rad: float
    """How far estimates that should agree differ; one that stands alone counts with its own uncertainty. How far the
    pose was from the one that was asked for is not measured: ``CalibrationParams.pose_rad`` stands for it."""
    inclination_rad: float
    """Its part from gravity,"""
    forward_rad: float
    """and from the direction in which the wearer faces; NaN where that is assumed."""
    sources: tuple[str, ...]
    """What told the heading: ``poses``, ``walk``, ``swing``."""


@dataclass(frozen=True, slots=True, eq=False)
class InertialCalibration:
    """The outcome for all sensors."""

    sensors: tuple[SensorCalibration, ...]
    findings: tuple[Finding, ...]
    steps: tuple[str, ...]
    """Steps that were used."""

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """What forbids to use it."""
        return tuple(finding for finding in self.findings if finding.blocking)

    @property
    def accepted(self) -> bool:
        """Whether it may be used."""
        return bool(self.sensors) and not self.refusals

    def sensor(self, segment: str) -> SensorCalibration:
        """That of one segment.

        Raises:
            KeyError: it has none.
        """
        for sensor in self.sensors:
            if sensor.segment == segment:
                return sensor
        raise KeyError(segment)


def degrees_text(angle_rad: float) -> str:
    """``4.2°``; a dash where nothing is known."""
    return f"{np.degrees(angle_rad):.1f}°" if math.isfinite(angle_rad) else "–"


def to_values(calibration: InertialCalibration) -> dict[str, Any]:
    """The outcome as plain values, for JSON; what is not known is NaN."""
    return {
        "accepted": calibration.accepted,
        "steps": list(calibration.steps),
        "sensors": [
            {
                **{name: getattr(sensor, name) for name in _PLAIN},
                "q_segment_from_sensor": sensor.q_segment_from_sensor.tolist(),
                "sources": list(sensor.sources),
            }
            for sensor in calibration.sensors
        ],
        "findings": [{**asdict(finding), "sensors": list(finding.sensors)} for finding in calibration.findings],
    }


_PLAIN = ("segment", "heading_rad", "heading", "quality_rad", "inclination_rad", "forward_rad")


def from_values(values: Mapping[str, Any]) -> InertialCalibration:
    """The outcome that ``to_values`` was given."""
    sensors = tuple(
        SensorCalibration(
            **{name: item[name] for name in _PLAIN},
            q_segment_from_sensor=np.array(item["q_segment_from_sensor"]),
            sources=tuple(item["sources"]),
        )
        for item in values["sensors"]
    )
    findings = tuple(Finding(**{**item, "sensors": tuple(item["sensors"])}) for item in values["findings"])
    return InertialCalibration(sensors, findings, tuple(values["steps"]))
