"""Inertial samples at the pace of the filter: short stretches of them, each with means and orientations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit

from fusion.estimators.inertial.orientation import MEASURED, OrientationFilter, Orientations, reading_of
from fusion.records import Array, Float64, Int64

INTERVAL_NS = 20_000_000
"""A filter step costs more than a single sample tells."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A short stretch of the samples of M sensors."""

    time_ns: int
    """When the means hold: mean time of the samples."""
    rates_rad_s: Float64
    """[M, 3] mean, sensor frame, bias included; NaN for a sensor without a sample. The mean is the rotation over
    the stretch, so nothing of the motion is lost that a filter with constant rates could follow."""
    specific_force_m_s2: Float64
    """[M, 3] mean, sensor frame; NaN for a sensor without a sample."""
    samples: Int64
    """[M] how many samples the means are of."""
    orientation: Orientations
    """At the end of the stretch."""


def stretches(
    orientation: OrientationFilter,
    times_ns: Int64,
    specific_force_m_s2: Array,
    rates_rad_s: Array,
    magnetic_ut: Array | None = None,
    interval_ns: int = INTERVAL_NS,
) -> Iterator[Stretch]:
    """Cut a batch of samples and take it in, stretch by stretch.

    Samples that are not later than those before them are dropped and counted by ``orientation``.

    Args:
        orientation: takes the samples in.
        times_ns: [T].
        specific_force_m_s2: [T, M, 3], +9.81 upward at rest; NaN where a sensor's sample is missing.
        rates_rad_s: [T, M, 3]; NaN where missing.
        magnetic_ut: [T, M, 3]; None or NaN without.
        interval_ns: samples within this time of a stretch's first belong to it.

    Yields:
        The stretches in the order of time; none across two batches.
    """
    times, force, rates = times_ns, specific_force_m_s2, rates_rad_s
    magnetic = magnetic_ut if orientation.params.magnetometer else None
    fresh = orientation.fresh(times)
    if fresh is not None:
        times, force, rates = times[fresh], force[fresh], rates[fresh]
        magnetic = None if magnetic is None else magnetic[fresh]
    force = np.ascontiguousarray(force, dtype=np.float64)
    rates = np.ascontiguousarray(rates, dtype=np.float64)
    lag_ns = round(orientation.params.stamp_lag_s * 1e9)
    first = 0
    for index in range(1, len(times) + 1):
        if index < len(times) and times[index] - times[first] < interval_ns:
            continue
        part = slice(first, index)
        start_ns = int(times[first])
        means = np.empty((2, orientation.sensors, 3))
        samples: Int64 = np.empty(orientation.sensors, dtype=np.int64)
        mean_readings(rates[part], force[part], means, samples)
        yield Stretch(
            time_ns=start_ns + int((times[part] - start_ns).mean()) - lag_ns,
            rates_rad_s=means[0],
            specific_force_m_s2=means[1],
            samples=samples,
            orientation=orientation.step(
                times[part], force[part], rates[part], None if magnetic is None else magnetic[part]
            ),
        )
        first = index


@njit(cache=True)
def mean_readings(rates: Float64, force: Float64, means: Float64, samples: Int64) -> None:
    """Means of the samples that were measured.

    Args:
        rates, force: [T, M, 3].
        means: [2, M, 3], written: rates, force; NaN for a sensor without a sample.
        samples: [M], written: how many.
    """
    for m in range(rates.shape[1]):
        count = 0
        means[:, m] = 0.0
        for t in range(len(rates)):
            r, f = rates[t, m], force[t, m]
            if reading_of(r[0], r[1], r[2], f[0], f[1], f[2]) != MEASURED:
                continue
            count += 1
            for i in range(3):
                means[0, m, i] += rates[t, m, i]
                means[1, m, i] += force[t, m, i]
        samples[m] = count
        means[:, m] = means[:, m] / count if count else np.nan
