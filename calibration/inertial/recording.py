"""Inertial samples as a calibration needs them: all sensors at the same steady times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.tables import CalibrationError
from fusion.body.skeleton import SEGMENT_NAMES
from fusion.records import Bool, Float64, InertialSamples, Int64

NS_PER_S = 1e9
GAP_S = 0.1
"""What is further away than this from a sensor's samples is missing; shorter holes are put on the line between them."""
MOST_RATE_RAD_S, MOST_FORCE_M_S2 = 100.0, 2000.0
"""No sensor for people measures more; such a reading is a broken one (as in ``OrientationFilter``)."""
_SHORTEST_PERIOD_S = 0.001
_LEAST_SAMPLES = 20


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Samples of M sensors at T steady times."""

    sensors: tuple[str, ...]
    """The segment that each sensor is said to be on."""
    times_ns: Int64
    """[T] session clock."""
    specific_force_m_s2: Float64
    """[T, M, 3] sensor frame, +9.81 upward at rest."""
    angular_rate_rad_s: Float64
    """[T, M, 3] sensor frame."""
    missing: Bool
    """[T, M] where a sensor said nothing; its readings there are those of the line between its neighbours."""

    @property
    def period_s(self) -> float:
        """Between two times."""
        return float(self.times_ns[-1] - self.times_ns[0]) / NS_PER_S / (len(self.times_ns) - 1)

    def index(self, time_ns: int) -> int:
        """The number of the time nearest to one; the first or the last outside."""
        return int(np.clip(np.searchsorted(self.times_ns, time_ns), 0, len(self.times_ns) - 1))

    def samples(self, duration_s: float) -> int:
        """How many samples a duration has, at least one."""
        return max(round(duration_s / self.period_s), 1)


def gather(records: Iterable[InertialSamples]) -> Recording:
    """One recording from the records of one or several inertial systems.

    Stamps that do not advance are left out; all sensors are put on the steady times of the fastest system,
    over the span that all systems cover.

    Raises:
        CalibrationError: there are no samples, a segment is unknown or has two sensors, or the systems share no time.
    """
    systems: dict[tuple[str, ...], list[InertialSamples]] = {}
    for record in records:
        systems.setdefault(record.sensors, []).append(record)
    sensors = tuple(name for names in systems for name in names)
    _check_names(sensors)
    parts = [_joined(found) for found in systems.values()]
    if any(len(times) < _LEAST_SAMPLES for times, _ in parts):
        raise CalibrationError(f"fewer than {_LEAST_SAMPLES} inertial samples: is the right session or topic given?")
    times = _steady_times([times for times, _ in parts])
    force, rate, missing = np.empty((3, len(times), len(sensors), 3))
    column = 0
    for own, values in parts:
        for sensor in range(values.shape[1]):
            told = np.isfinite(values[:, sensor]).all(axis=1)
            force[:, column], rate[:, column] = np.split(_at(times, own[told], values[told, sensor]), 2, axis=1)
            missing[:, column] = _far(times, own[told])[:, None]
            column += 1
    return Recording(sensors, times, force, rate, missing[..., 0] > 0)


def _check_names(sensors: Sequence[str]) -> None:
    if not sensors:
        raise CalibrationError("no inertial samples: expected records of stream samples")
    unknown = sorted({name for name in sensors if name not in SEGMENT_NAMES})
    if unknown:
        raise CalibrationError(f"sensor {unknown[0]!r} is on no segment; allowed: {', '.join(SEGMENT_NAMES)}")
    twice = sorted({name for name in sensors if sensors.count(name) > 1})
    if twice:
        raise CalibrationError(f"two sensors are said to be on {', '.join(twice)}; name each segment once")


def _joined(records: list[InertialSamples]) -> tuple[Int64, Float64]:
    """Times [T], each later than the one before, and force and rate [T, M, 6]."""
    times = np.concatenate([record.times_ns for record in records])
    values = np.concatenate(
        [np.concatenate([r.specific_force_m_s2, r.angular_rate_rad_s], axis=2) for r in records]
    ).astype(np.float64)
    values[~readable(values)] = np.nan
    later = times > np.maximum.accumulate(np.concatenate([times[:1] - 1, times[:-1]]))
    return times[later], values[later]


def readable(values: Float64) -> Bool:
    """Whether readings [..., 6] of force and rate are there and can be."""
    force, rate = np.abs(values[..., :3]).max(axis=-1), np.abs(values[..., 3:]).max(axis=-1)
    return np.asarray((force < MOST_FORCE_M_S2) & (rate < MOST_RATE_RAD_S))


def _steady_times(systems: list[Int64]) -> Int64:
    """Times [T] as close together as those of the fastest system."""
    period_s = max(min(float(np.median(np.diff(times))) / NS_PER_S for times in systems), _SHORTEST_PERIOD_S)
    begin, end = max(int(times[0]) for times in systems), min(int(times[-1]) for times in systems)
    count = int((end - begin) / NS_PER_S / period_s) + 1
    if count < _LEAST_SAMPLES:
        raise CalibrationError("the inertial systems were not recorded at the same time: nothing to compare")
    return begin + np.round(np.arange(count) * period_s * NS_PER_S).astype(np.int64)


def _at(times_ns: Int64, own_ns: Int64, values: Float64) -> Float64:
    """Values [T, 6] on the line between those [N, 6] of other times."""
    if not len(own_ns):
        return np.zeros((len(times_ns), values.shape[1]))
    begin = times_ns[0]
    columns = [np.interp(times_ns - begin, own_ns - begin, values[:, k]) for k in range(values.shape[1])]
    return np.stack(columns, axis=1)


def _far(times_ns: Int64, own_ns: Int64) -> Bool:
    """[T] whether a time lies in a hole of more than ``GAP_S`` between a sensor's own times."""
    if not len(own_ns):
        return np.ones(len(times_ns), dtype=np.bool_)
    after = np.clip(np.searchsorted(own_ns, times_ns), 1, len(own_ns) - 1) if len(own_ns) > 1 else 0
    hole = own_ns[after] - own_ns[np.maximum(after - 1, 0)]
    outside = (times_ns < own_ns[0] - GAP_S * NS_PER_S) | (times_ns > own_ns[-1] + GAP_S * NS_PER_S)
    return np.asarray((hole > GAP_S * NS_PER_S) | outside)
