"""Short stretches of inertial samples, the pace at which the filter takes them in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fusion.records import Array, Float64, Int64

INTERVAL_NS = 20_000_000
"""Usual length of a stretch: a filter step costs more than a single sample tells."""


@dataclass(frozen=True, slots=True, eq=False)
class Orientations:
    """What is known of the orientations of M sensors at one time."""

    time_ns: int
    """Stamp of the newest sample."""
    q_world_from_sensor: Float64
    """[M, 4], z up, the heading the sensor's own; NaN for a sensor without a sample in the last stretch, or not
    started."""
    bias_rad_s: Float64
    """[M, 3] of the gyroscope, sensor frame: measured = true + bias. 0 before the start."""
    bias_sigma_rad_s: Float64
    """[M] of its worst direction, as VQF claims it; NaN before the start."""
    at_rest: Array
    """[M] bool."""
    magnetic_used: Array
    """[M] bool: whether the magnetic field holds the heading, which is then from magnetic north."""
    magnetic_known: Array
    """[M] bool: whether it is known how strong and how steep the room's field is: after a few seconds of movement."""
    magnetic_disturbed: Array
    """[M] bool: whether the field is known and is now another. The heading then goes on by the gyroscope, for at most a
    minute."""
    age_s: Float64
    """[M] from the sensor's start to its last sample; NaN before the start."""
    settled: Array
    """[M] bool: old enough for its inclination to be used."""
    inclination_sigma_rad: Float64
    """[M] about each of the world's x and y. For a filter that takes errors for white: so much larger than they are
    that their correlation from one report to the next does not make it overconfident. NaN before the start."""
    heading_walk_rad2_s: Float64
    """[M] density of the random walk of the heading error, what VQF does not know of the bias included; where the
    magnetic field holds the heading, of the north that it is held to; NaN before the start."""
    heading_epoch: Int64
    """[M] number of starts that began a new heading: when it changes, the heading has nothing to do with that before.
    0 before the first. A start where the magnetic field holds the heading begins none."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A short stretch of the samples of M sensors: means of it, and now and then orientations at its end."""

    time_ns: int
    """When the means hold: mean time of the samples."""
    rates_rad_s: Float64
    """[M, 3] mean, sensor frame, bias included; NaN for a sensor without a sample. The mean is the rotation over
    the stretch, so nothing of the motion is lost that a filter with constant rates could follow."""
    specific_force_m_s2: Float64
    """[M, 3] mean, sensor frame, +9.81 upward at rest; NaN for a sensor without a sample."""
    samples: Int64
    """[M] how many samples the means are of."""
    orientations: Orientations | None
    """At the last sample; None where they are not due."""


def cut(times_ns: Int64, interval_ns: int) -> Iterator[slice]:
    """Parts of stamps [T] in order: samples within ``interval_ns`` of a part's first belong to it."""
    times = times_ns.tolist()
    first = 0
    for index in range(1, len(times) + 1):
        if index == len(times) or times[index] - times[first] >= interval_ns:
            yield slice(first, index)
            first = index
