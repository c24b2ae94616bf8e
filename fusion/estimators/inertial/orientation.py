"""Orientation of inertial sensors: VQF, fed with what drivers really send.

Source of the filter: Laidig and Seel, "VQF: Highly accurate IMU orientation
estimation with bias estimation and magnetic disturbance rejection", Information
Fusion 91, 2023, by its authors' package ``vqf``. Here is what it needs around it:

* it integrates samples at one fixed period, which is taken from the stamps;
* it wants every sample: what is missing between two samples is put on the line
  between them, once the second is there;
* a sensor that was silent for long starts anew, and says so, because nobody
  knows how its wearer turned meanwhile.

What its errors are, how they are measured and what a filter should assume of
them stands in ``docs/inertial.md``; the figures are those of ``ErrorModel``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from vqf import VQF

from fusion.records import Array, Float64, Int64

_NS_PER_S = 1e9
_MOST_RATE_RAD_S = 100.0
"""No gyroscope for people measures more; a sample above it is a broken one."""
_MOST_FORCE_M_S2 = 2000.0
MISSING, BROKEN, MEASURED = 0, 1, 2
_NEVER_NS = int(np.iinfo(np.int64).min)
_CLOCK_GAIN = 0.05
"""How much of its distance to the stamps the clock of the fed samples makes up at each sample."""
_NORTH = math.sqrt(0.5)
"""VQF's x is east; a quarter turn to the right about z makes it magnetic north."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrientationParams:
    """Parameters of the orientation filter of every sensor."""

    magnetometer: bool = False
    """Whether to use the magnetic field: world x is then magnetic north. Otherwise the heading is free."""
    stamp_lag_s: float = 0.0
    """From the middle of what the gyroscope measured to the stamp: half a period for a sensor that averages
    and stamps the end."""
    gap_s: float = 0.5
    """A sensor without samples for longer starts anew."""
    settle_s: float = 1.0
    """A sensor is settled when it has been heard for so long since its start."""
    period_intervals: int = 30
    """The sample period comes from so many intervals at the start."""
    shortest_period_s: float = 0.0005
    longest_period_s: float = 0.1
    tau_acc_s: float = 3.0
    """Time constant of the correction of the inclination, VQF's own default."""


@dataclass(slots=True)
class OrientationCounts:
    """What was not as it should be, in samples where nothing else is said."""

    filled: int = 0
    """Missing of one sensor and put between its neighbours."""
    broken: int = 0
    """Of one sensor, with readings that cannot be."""
    disordered: int = 0
    """Of the whole system, stamped not later than the one before; dropped."""
    restarts: int = 0
    """Sensors that started anew after a gap, or since the rate changed."""
    unsteady: int = 0
    """Times that the stamps gave no sample period, or one out of bounds; the samples are lost."""


@dataclass(frozen=True, slots=True, eq=False)
class Orientations:
    """What is known of M sensors at the last sample of what was fed."""

    end_ns: int
    """Stamp of the last sample."""
    q_world_from_sensor: Float64
    """[M, 4] at ``end_ns``, z up; the heading is the sensor's own. NaN: no sample among those fed, or no period yet."""
    bias_rad_s: Float64
    """[M, 3] of the gyroscope, sensor frame: measured = true + bias. 0 before the start."""
    bias_sigma_rad_s: Float64
    """[M], of its worst direction, as VQF claims it."""
    at_rest: Array
    """[M] bool."""
    age_s: Float64
    """[M] since the sensor's start; NaN before it."""
    settled: Array
    """[M] bool: ``age_s`` is at least ``settle_s``."""
    heading_epoch: Int64
    """[M] number of starts: when it changes, the heading has nothing to do with that before. 0 before the first."""


class OrientationFilter:
    """Orientation of the M sensors of one inertial system.

    The samples may come in portions of any size; how they are portioned does not
    change the orientations.

    Args:
        sensors: M.
        params: of every sensor.
    """

    def __init__(self, sensors: int, params: OrientationParams | None = None) -> None:
        self.sensors = sensors
        self.params = params or OrientationParams()
        self.counts = OrientationCounts()
        self.period_s: float | None = None
        """None until enough samples have come to know it."""
        self._newest_ns: int | None = None
        self._interval_ns = 0.0
        self._waiting: list[tuple[Int64, Float64, Float64, Float64]] = []
        self._vqf: list[VQF | None] = [None] * sensors
        self._epoch: Int64 = np.zeros(sensors, dtype=np.int64)
        # Of each sensor's last sample: stamp, clock of the fed samples, readings; stamp of its first.
        self._last_ns: Int64 = np.full(sensors, _NEVER_NS, dtype=np.int64)
        self._first_ns: Int64 = np.zeros(sensors, dtype=np.int64)
        self._clock_ns = np.zeros(sensors)
        self._last = np.zeros((sensors, 2, 3))
        self._scratch = _Scratch(sensors, 0)

    def step(
        self, times_ns: Int64, specific_force_m_s2: Float64, rates_rad_s: Float64, magnetic_ut: Float64 | None = None
    ) -> Orientations:
        """Take samples in; T >= 1.

        Args:
            times_ns: [T]; those not later than the newest so far are dropped.
            specific_force_m_s2: [T, M, 3], +9.81 upward at rest; NaN where missing.
            rates_rad_s: [T, M, 3]; NaN where missing.
            magnetic_ut: [T, M, 3] in any unit, NaN where missing; not looked at unless the parameters say so.

        Raises:
            ValueError: an array has another shape.
        """
        shape = (len(times_ns), self.sensors, 3)
        if not len(times_ns):
            raise ValueError("no samples; feed at least one")
        for name, array in (("specific_force_m_s2", specific_force_m_s2), ("rates_rad_s", rates_rad_s)):
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
        if magnetic_ut is None or not self.params.magnetometer:
            magnetic_ut = np.full((len(times_ns), 0, 3), np.nan)
        elif magnetic_ut.shape != shape:
            raise ValueError(f"magnetic_ut has shape {magnetic_ut.shape}, expected {shape}")
        force, rates, magnetic = (
            np.ascontiguousarray(array, dtype=np.float64) for array in (specific_force_m_s2, rates_rad_s, magnetic_ut)
        )
        times = np.ascontiguousarray(times_ns, dtype=np.int64)
        fresh = self.fresh(times)
        if fresh is not None:
            times, force, rates, magnetic = times[fresh], force[fresh], rates[fresh], magnetic[fresh]
        heard: Array = np.zeros(self.sensors, dtype=np.bool_)
        if len(times):
            if self._rate_changed(times):
                self._forget()
            self._newest_ns = int(times[-1])
            if self.period_s is None:
                heard = self._wait(times, force, rates, magnetic)
            else:
                heard = self._feed(times, force, rates, magnetic, self.period_s)
        return self._result(int(times_ns.max()), heard)

    def fresh(self, times_ns: Int64) -> Array | None:
        """Which of the stamps [T] are later than all before them, as bool [T]; None if all are. Counts the others."""
        if in_order(times_ns, _NEVER_NS if self._newest_ns is None else self._newest_ns):
            return None
        newest = times_ns[0] - 1 if self._newest_ns is None else self._newest_ns
        before = np.maximum.accumulate(np.concatenate([[newest], times_ns[:-1]]))
        later = np.asarray(times_ns > before)
        self.counts.disordered += int((~later).sum())
        return later

    def _rate_changed(self, times_ns: Int64) -> bool:
        """Whether samples have come clearly faster than at the known period for a while, or after a long pause."""
        if self.period_s is None or self._newest_ns is None:
            return False
        if times_ns[0] - self._newest_ns > self.params.gap_s * _NS_PER_S:
            return True
        weight = min(_CLOCK_GAIN * len(times_ns), 1.0)
        mean = (int(times_ns[-1]) - self._newest_ns) / len(times_ns)
        self._interval_ns += weight * (mean - self._interval_ns)
        return self._interval_ns < 0.7 * self.period_s * _NS_PER_S

    def _forget(self) -> None:
        """Start anew with the next sample, period included."""
        self.period_s = None
        self._waiting.clear()
        self._last_ns[:] = _NEVER_NS

    def _wait(self, times_ns: Int64, force: Float64, rates: Float64, magnetic: Float64) -> Array:
        """Keep samples until they tell the period, then feed them."""
        gap_ns = self.params.gap_s * _NS_PER_S
        if self._waiting and times_ns[0] - self._waiting[-1][0][-1] > gap_ns:
            self._waiting.clear()
        self._waiting.append((times_ns, force, rates, magnetic))
        none: Array = np.zeros(self.sensors, dtype=np.bool_)
        if sum(len(part[0]) for part in self._waiting) <= self.params.period_intervals:
            return none
        times = np.concatenate([part[0] for part in self._waiting])
        self.period_s = self._period(times[: self.params.period_intervals + 1])
        parts, self._waiting = self._waiting, []
        if self.period_s is None:
            self.counts.unsteady += 1
            return none
        self._interval_ns = self.period_s * _NS_PER_S
        for part in parts:
            heard = self._feed(*part, self.period_s)
        return heard

    def _period(self, times_ns: Int64) -> float | None:
        """Sample period in s from stamps: the mean of the intervals that are near the median one."""
        intervals = np.diff(times_ns) / _NS_PER_S
        median = float(np.median(intervals))
        near = intervals[np.abs(intervals - median) < 0.5 * median]
        if len(near) < 0.6 * len(intervals):
            return None
        period = float(near.mean())
        return period if self.params.shortest_period_s <= period <= self.params.longest_period_s else None

    def _feed(self, times_ns: Int64, force: Float64, rates: Float64, magnetic: Float64, period_s: float) -> Array:
        """Give samples in order to every sensor's VQF; says which sensors had one."""
        span_s = (int(times_ns[-1]) - int(times_ns[0])) / _NS_PER_S + self.params.gap_s
        most = 2 * len(times_ns) + math.ceil(span_s / period_s) + 2
        if self._scratch.rates.shape[1] < most:
            self._scratch = _Scratch(self.sensors, most)
        scratch = self._scratch
        self.counts.broken += steady_samples(
            times_ns,
            force,
            rates,
            magnetic,
            round(self.params.gap_s * _NS_PER_S),
            period_s * _NS_PER_S,
            self._first_ns,
            self._last_ns,
            self._clock_ns,
            self._last,
            scratch.rates,
            scratch.force,
            scratch.magnetic,
            scratch.tally,
        )
        for sensor, (count, heard, starts) in enumerate(scratch.tally.tolist()):
            if starts:
                self._start(sensor, period_s)
            vqf = self._vqf[sensor]
            if vqf is None:
                continue
            self.counts.filled += count - heard
            if magnetic.shape[1]:
                for gyr, acc, mag in scratch.rows[sensor][:count]:
                    vqf.update(gyr, acc, mag)
            else:
                for gyr, acc, _ in scratch.rows[sensor][:count]:
                    vqf.update(gyr, acc)
        return np.asarray(scratch.tally[:, 1] > 0)

    def _start(self, sensor: int, period_s: float) -> None:
        """A new VQF for a sensor; what the old one knew of the bias stays true."""
        old = self._vqf[sensor]
        self.counts.restarts += old is not None
        new = VQF(period_s, tauAcc=self.params.tau_acc_s)
        if old is not None:
            new.setBiasEstimate(*old.getBiasEstimate())
        self._vqf[sensor] = new
        self._epoch[sensor] += 1

    def _result(self, end_ns: int, heard: Array) -> Orientations:
        q = np.full((self.sensors, 4), np.nan)
        bias = np.zeros((self.sensors, 3))
        sigma = np.full(self.sensors, np.nan)
        rest: Array = np.zeros(self.sensors, dtype=np.bool_)
        north = self.params.magnetometer
        for sensor, (vqf, present) in enumerate(zip(self._vqf, heard.tolist(), strict=True)):
            if vqf is None:
                continue
            bias[sensor], sigma[sensor] = vqf.getBiasEstimate()
            rest[sensor] = vqf.getRestDetected()
            if present:
                q[sensor] = vqf.getQuat9D() if north else vqf.getQuat6D()
        started = self._last_ns != _NEVER_NS
        age = np.where(started, (end_ns - self._first_ns) / _NS_PER_S, np.nan)
        # VQF turns by each sample for a period, so it ends half a period after the middle of the last one.
        ahead_s = 0.0 if self.period_s is None else 0.5 * self.period_s - self.params.stamp_lag_s
        carry(q, self._last[:, 0], bias, self._last_ns, end_ns, ahead_s, north)
        return Orientations(
            end_ns=end_ns,
            q_world_from_sensor=q,
            bias_rad_s=bias,
            bias_sigma_rad_s=sigma,
            at_rest=rest,
            age_s=age,
            settled=age >= self.params.settle_s,
            heading_epoch=self._epoch.copy(),
        )


class _Scratch:
    """Room for the steady samples of one call."""

    def __init__(self, sensors: int, most: int) -> None:
        self.rates = np.zeros((sensors, most, 3))
        self.force = np.zeros((sensors, most, 3))
        self.magnetic = np.zeros((sensors, most, 3))
        self.tally: Int64 = np.zeros((sensors, 3), dtype=np.int64)
        """Per sensor: samples to feed, those among them that were measured, starts before them."""
        self.rows = [list(zip(self.rates[m], self.force[m], self.magnetic[m], strict=True)) for m in range(sensors)]
        """Views, because taking one costs as much as a filter step."""


@njit(cache=True)
def in_order(times_ns: Int64, newest_ns: int) -> bool:
    """Whether stamps [T] are each later than the one before, and than ``newest_ns``."""
    for time_ns in times_ns:
        if time_ns <= newest_ns:
            return False
        newest_ns = time_ns
    return True


@njit(cache=True)
def reading_of(p: float, q: float, r: float, x: float, y: float, z: float) -> int:
    """What a sample with rates p, q, r in rad/s and specific force x, y, z in m/s^2 is: one of the three above."""
    fast = p * p + q * q + r * r
    strong = x * x + y * y + z * z
    if math.isnan(fast) or math.isnan(strong):
        return MISSING
    if fast > _MOST_RATE_RAD_S**2 or strong > _MOST_FORCE_M_S2**2:
        return BROKEN
    return MEASURED


@njit(cache=True)
def steady_samples(
    times_ns: Int64,
    force: Float64,
    rates: Float64,
    magnetic: Float64,
    gap_ns: int,
    period_ns: float,
    first_ns: Int64,
    last_ns: Int64,
    clock_ns: Float64,
    last: Float64,
    out_rates: Float64,
    out_force: Float64,
    out_magnetic: Float64,
    tally: Int64,
) -> int:
    """Samples at a steady period from samples with holes.

    A sensor's clock advances by whole periods and is drawn to the stamps, so that
    their jitter makes no samples and their drift is followed. Where a sample is
    k periods after the one before, k - 1 are put on the line between the two.

    Args:
        times_ns: [T], each later than the one before.
        force, rates: [T, M, 3], NaN where missing.
        magnetic: [T, M, 3], or [T, 0, 3] for none.
        gap_ns: a sensor starts anew after a longer pause.
        period_ns: steady period.
        first_ns, last_ns, clock_ns: [M], changed: stamp of each sensor's first and last sample, time of the
            last steady one.
        last: [M, 2, 3], changed: rates and force of the last sample.
        out_rates, out_force, out_magnetic: [M, K, 3], written; a missing field is 0, which VQF ignores.
        tally: [M, 3], written: steady samples, measured samples among them, starts. What stands before a
            start is not written.

    Returns:
        How many readings were refused because they cannot be.
    """
    broken = 0
    for m in range(force.shape[1]):
        count, heard, starts = 0, 0, 0
        for t in range(len(times_ns)):
            reading = reading_of(
                rates[t, m, 0], rates[t, m, 1], rates[t, m, 2], force[t, m, 0], force[t, m, 1], force[t, m, 2]
            )
            if reading != MEASURED:
                broken += reading == BROKEN
                continue
            now = times_ns[t]
            steps = 1
            if last_ns[m] == _NEVER_NS or now - last_ns[m] > gap_ns:
                count, heard, starts = 0, 0, starts + 1
                first_ns[m] = now
                clock_ns[m] = now
            else:
                steps = max(1, round((now - clock_ns[m]) / period_ns))
                clock_ns[m] += steps * period_ns
                clock_ns[m] += _CLOCK_GAIN * (now - clock_ns[m])
            # Room for one sample of each stamp still to come.
            steps = min(steps, out_rates.shape[1] - count - (len(times_ns) - 1 - t))
            has_field = magnetic.shape[1] > 0 and not math.isnan(
                magnetic[t, m, 0] + magnetic[t, m, 1] + magnetic[t, m, 2]
            )
            for k in range(1, steps + 1):
                left = 1.0 - k / steps
                for i in range(3):
                    out_rates[m, count, i] = rates[t, m, i] + left * (last[m, 0, i] - rates[t, m, i])
                    out_force[m, count, i] = force[t, m, i] + left * (last[m, 1, i] - force[t, m, i])
                    out_magnetic[m, count, i] = magnetic[t, m, i] if has_field else 0.0
                count += 1
            for i in range(3):
                last[m, 0, i] = rates[t, m, i]
                last[m, 1, i] = force[t, m, i]
            last_ns[m] = now
            heard += 1
        tally[m, 0] = count
        tally[m, 1] = heard
        tally[m, 2] = starts
    return broken


@njit(cache=True)
def carry(q: Float64, rates: Float64, bias: Float64, last_ns: Int64, end_ns: int, ahead_s: float, north: bool) -> None:
    """Bring orientations from where VQF has them to ``end_ns``, each by its sensor's last rate.

    Args:
        q: [M, 4], changed; NaN stays NaN.
        rates, bias: [M, 3] last rates and their biases.
        last_ns: [M] stamps of the last samples.
        end_ns: the time wanted.
        ahead_s: how much later than its last stamp VQF's orientation is.
        north: turn the world from east-north-up to north-west-up.
    """
    for m in range(len(q)):
        if math.isnan(q[m, 0]):
            continue
        dt = (end_ns - last_ns[m]) * 1e-9 - ahead_s
        x = (rates[m, 0] - bias[m, 0]) * dt
        y = (rates[m, 1] - bias[m, 1]) * dt
        z = (rates[m, 2] - bias[m, 2]) * dt
        angle = math.sqrt(x * x + y * y + z * z)
        c = math.cos(0.5 * angle)
        s = 0.5 if angle < 1e-9 else math.sin(0.5 * angle) / angle
        x, y, z = s * x, s * y, s * z
        a, b, d, e = q[m, 0], q[m, 1], q[m, 2], q[m, 3]
        if north:
            a, b, d, e = _NORTH * (a + e), _NORTH * (b + d), _NORTH * (d - b), _NORTH * (e - a)
        q[m, 0] = a * c - b * x - d * y - e * z
        q[m, 1] = a * x + b * c + d * z - e * y
        q[m, 2] = a * y - b * z + d * c + e * x
        q[m, 3] = a * z + b * y - d * x + e * c
