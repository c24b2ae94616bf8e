"""Orientation of inertial sensors: VQF, fed with what drivers really send.

Source of the filter: Laidig and Seel, "VQF: Highly accurate IMU orientation
estimation with bias estimation and magnetic disturbance rejection", Information
Fusion 91, 2023, by its authors' package ``vqf``. Here is what it needs around it:

* it integrates samples at one fixed period, which is taken from the stamps;
* it turns by a sample's rate for the whole period before the sample, so each rate
  becomes the mean of it and the one before: then orientation and gravity are of
  one time, that of the sample;
* it wants every sample: what is missing between two samples is put on the line
  between them, once the second is there;
* a sensor that was silent for long starts anew, and says so, because nobody
  knows how its wearer turned meanwhile.

What its errors are, how they are measured and what a filter should assume of
them stands in ``docs/inertial.md``; the figures are those of ``ErrorModel``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from vqf import VQF

from fusion.estimators.inertial.stretches import INTERVAL_NS, Orientations, Stretch, cut
from fusion.records import Array, Float64, Int64

NS_PER_S = 1e9
_MOST_RATE_RAD_S = 100.0
"""No gyroscope for people measures more; a sample above it is a broken one."""
_MOST_FORCE_M_S2 = 2000.0
_TOO_FAST = 0.7
"""Intervals shorter than so many periods on average are a new rate, not a jitter."""
NO_FIELD: Float64 = np.empty((0, 0, 3))
MISSING, BROKEN, MEASURED = 0, 1, 2
_NEVER_NS = int(np.iinfo(np.int64).min)
_SHORTEST_REPORT_S = 0.001
_CLOCK_GAIN = 0.05
"""How much of its distance to the stamps the clock of the fed samples makes up at each sample."""
_NORTH = math.sqrt(0.5)
"""VQF's x is east; a quarter turn to the right about z makes it magnetic north."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorModel:
    """What is wrong with VQF's orientations of people's limbs; see ``docs/inertial.md``."""

    inclination_rad: float = 0.0165
    """Standard deviation about each horizontal axis."""
    correlation_s: float = 1.45
    """Integral over time of the autocorrelation of the inclination error."""
    start_rad_s: float = 0.075
    """The same about each axis soon after the start, times the age: a change of speed that is taken for gravity."""
    heading_walk_rad2_s: float = 3e-5
    """Density of the heading's random walk when the bias is known."""
    bias_horizon_s: float = 10.0
    """An unknown bias turns the heading steadily; a random walk that turns it as far in this time stands for it."""
    north_rad: float = 0.033
    """Standard deviation of a heading that the magnetic field holds, about the north that the sensor takes for it."""
    north_correlation_s: float = 9.0
    """Integral over time of its autocorrelation: VQF's own time constant."""
    north_walk_rad2_s: float = 1e-6
    """Density of the random walk of that north: a room's iron bends it from place to place."""

    def inclination_sigma_rad(self, age_s: Float64, interval_s: float) -> Float64:
        """Standard deviation [...] per axis for a filter that is told once in an interval and takes errors for white.

        The mean of many values of variance s^2, T apart, has the variance of the mean of as many
        uncorrelated ones of variance s^2 (1 + 2 tau / T), tau the integral of the autocorrelation
        (Priestley, "Spectral Analysis and Time Series", 1981, eq. 5.3.5 for many values).
        """
        variance = self.inclination_rad**2 + (self.start_rad_s / np.maximum(age_s, interval_s)) ** 2
        return np.asarray(np.sqrt(variance * (1.0 + 2.0 * self.correlation_s / interval_s)))

    def north_sigma_rad(self, interval_s: float) -> float:
        """The same of a heading that the magnetic field holds; it does not depend on the age."""
        return self.north_rad * math.sqrt(1.0 + 2.0 * self.north_correlation_s / interval_s)

    def heading_density_rad2_s(self, bias_sigma_rad_s: Float64) -> Float64:
        """Density [...] of the heading's random walk for a filter that knows no more of the bias than VQF does."""
        return np.asarray(self.heading_walk_rad2_s + self.bias_horizon_s * bias_sigma_rad_s**2)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrientationParams:
    """Parameters of the orientation filter of every sensor."""

    magnetometer: bool = False
    """Whether to use the magnetic field: world x is then magnetic north. Otherwise the heading is free."""
    report_s: float = 0.1
    """Orientations are told once in so long, as their errors hardly change in less; 0 for each stretch."""
    stamp_lag_s: float = 0.0
    """From the middle of what a sample measured to its stamp: half a period for a sensor that averages
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
    errors: ErrorModel = field(default_factory=ErrorModel)


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """T samples of M sensors, in the order of time."""

    times_ns: Int64
    force: Float64
    rates: Float64
    magnetic: Float64
    """``NO_FIELD`` without."""

    def part(self, chosen: slice | Array) -> _Samples:
        """Some of them."""
        magnetic = self.magnetic if self.magnetic is NO_FIELD else self.magnetic[chosen]
        return _Samples(self.times_ns[chosen], self.force[chosen], self.rates[chosen], magnetic)


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


class OrientationFilter:
    """Orientation of the M sensors of one inertial system, and means of their samples.

    The samples may come in portions of any size; how they are portioned does not
    change an orientation.

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
        self._told_ns: int | None = None
        self._interval_ns = 0.0
        self._waiting: list[_Samples] = []
        self._vqf: list[VQF | None] = [None] * sensors
        self._epoch: Int64 = np.zeros(sensors, dtype=np.int64)
        self._has_field: Array = np.zeros(sensors, dtype=np.bool_)
        # Of each sensor's last sample: stamp, clock of the fed samples, readings; stamp of its first.
        self._last_ns: Int64 = np.full(sensors, _NEVER_NS, dtype=np.int64)
        self._first_ns: Int64 = np.zeros(sensors, dtype=np.int64)
        self._clock_ns = np.zeros(sensors)
        self._last = np.zeros((sensors, 2, 3))
        self._steady = _Steady(sensors, 0)

    def stretches(
        self,
        times_ns: Int64,
        specific_force_m_s2: Array,
        rates_rad_s: Array,
        magnetic_ut: Array | None = None,
        interval_ns: int = INTERVAL_NS,
    ) -> list[Stretch]:
        """Take a batch of samples in, stretch by stretch.

        A sample counts for a sensor when both its rate and its force are there and can be.

        Args:
            times_ns: [T]; those not later than all before them are dropped and counted.
            specific_force_m_s2: [T, M, 3], +9.81 upward at rest; NaN where a sensor's sample is missing.
            rates_rad_s: [T, M, 3]; NaN where missing.
            magnetic_ut: [T, M, 3] in any unit, NaN where missing; not looked at unless the parameters say so.
            interval_ns: length of a stretch; none goes across two batches.

        Raises:
            ValueError: an array has another shape.
        """
        magnetic = magnetic_ut if self.params.magnetometer else None
        arrays = {"specific_force_m_s2": specific_force_m_s2, "rates_rad_s": rates_rad_s, "magnetic_ut": magnetic}
        for name, array in arrays.items():
            if array is not None and array.shape != (len(times_ns), self.sensors, 3):
                raise ValueError(f"{name} has shape {array.shape}, expected {(len(times_ns), self.sensors, 3)}")
        # Copies: a kernel is compiled anew for arrays that cannot be written, as those of records cannot.
        samples = _Samples(
            np.array(times_ns, dtype=np.int64, order="C"),
            np.array(specific_force_m_s2, dtype=np.float64, order="C"),
            np.array(rates_rad_s, dtype=np.float64, order="C"),
            NO_FIELD if magnetic is None else np.array(magnetic, dtype=np.float64, order="C"),
        )
        if not in_order(samples.times_ns, _NEVER_NS if self._newest_ns is None else self._newest_ns):
            samples = self._ordered(samples)
        return [self._step(samples.part(part)) for part in cut(samples.times_ns, interval_ns)]

    def _ordered(self, samples: _Samples) -> _Samples:
        """Those that are later than all before them; the others are counted."""
        times = samples.times_ns
        newest = times[0] - 1 if self._newest_ns is None else self._newest_ns
        later = np.asarray(times > np.maximum.accumulate(np.concatenate([[newest], times[:-1]])))
        self.counts.disordered += int((~later).sum())
        return samples.part(later)

    def _step(self, samples: _Samples) -> Stretch:
        """Take one stretch in."""
        begin_ns, end_ns = int(samples.times_ns[0]), int(samples.times_ns[-1])
        due = self._due(end_ns)
        if self._changed(begin_ns, end_ns, len(samples.times_ns)):
            self.counts.unsteady += len(self._waiting) > 0
            self.period_s = None
            self._waiting.clear()
            self._last_ns[:] = _NEVER_NS
        self._newest_ns = end_ns
        if self.period_s is None:
            self._wait(samples)
        else:
            self._feed(samples, self.period_s)
        means = np.empty((2, self.sensors, 3))
        count: Int64 = np.empty(self.sensors, dtype=np.int64)
        mean_ns = begin_ns + mean_samples(samples.times_ns, samples.force, samples.rates, means, count)
        return Stretch(
            time_ns=mean_ns - round(self.params.stamp_lag_s * NS_PER_S),
            rates_rad_s=means[0],
            specific_force_m_s2=means[1],
            samples=count,
            orientations=self._orientations(end_ns, count) if due else None,
        )

    def _due(self, end_ns: int) -> bool:
        """Whether a stretch that ends then is the first since the start of a report interval."""
        interval_ns = round(self.params.report_s * NS_PER_S)
        if self._newest_ns is None or not interval_ns:
            return True
        return end_ns // interval_ns > self._newest_ns // interval_ns

    def _changed(self, begin_ns: int, end_ns: int, count: int) -> bool:
        """Whether a stretch of samples comes after a long pause, or they have come too fast for a while."""
        if self._newest_ns is None:
            return False
        if begin_ns - self._newest_ns > self.params.gap_s * NS_PER_S:
            return True
        mean_ns = (end_ns - self._newest_ns) / count
        self._interval_ns += min(_CLOCK_GAIN * count, 1.0) * (mean_ns - self._interval_ns)
        return self.period_s is not None and self._interval_ns < _TOO_FAST * self.period_s * NS_PER_S

    def _wait(self, samples: _Samples) -> None:
        """Keep samples until they tell the period, then feed them."""
        self._waiting.append(samples)
        if sum(len(part.times_ns) for part in self._waiting) <= self.params.period_intervals:
            return
        times = np.concatenate([part.times_ns for part in self._waiting])
        self.period_s = self._period(times[: self.params.period_intervals + 1])
        parts, self._waiting = self._waiting, []
        if self.period_s is None:
            self.counts.unsteady += 1
            return
        self._interval_ns = self.period_s * NS_PER_S
        for part in parts:
            self._feed(part, self.period_s)

    def _period(self, times_ns: Int64) -> float | None:
        """Sample period in s from stamps: the mean of the intervals that are near the median one."""
        intervals = np.diff(times_ns) / NS_PER_S
        median = float(np.median(intervals))
        near = intervals[np.abs(intervals - median) < 0.5 * median]
        if len(near) < 0.6 * len(intervals):
            return None
        period = float(near.mean())
        return period if self.params.shortest_period_s <= period <= self.params.longest_period_s else None

    def _feed(self, samples: _Samples, period_s: float) -> None:
        """Give samples to every sensor's VQF."""
        times = samples.times_ns
        span_s = (int(times[-1]) - int(times[0])) / NS_PER_S + self.params.gap_s
        most = 2 * len(times) + math.ceil(span_s / period_s) + 2
        if self._steady.rates.shape[1] < most:
            self._steady = _Steady(self.sensors, most)
        steady = self._steady
        self.counts.broken += steady_samples(
            times, samples.force, samples.rates, samples.magnetic,
            round(self.params.gap_s * NS_PER_S), period_s * NS_PER_S,
            self._first_ns, self._last_ns, self._clock_ns, self._last,
            steady.rates, steady.force, steady.magnetic, steady.tally,
        )  # fmt: skip
        for sensor, (count, heard, starts) in enumerate(steady.tally.tolist()):
            if starts:
                self._start(sensor, period_s)
            vqf = self._vqf[sensor]
            if vqf is None:
                continue
            self.counts.filled += count - heard
            if count:
                self._has_field[sensor] = samples.magnetic is not NO_FIELD and steady.magnetic[sensor, :count].any()
            if samples.magnetic is NO_FIELD:
                for gyr, acc, _ in steady.rows[sensor][:count]:
                    vqf.update(gyr, acc)
            else:
                for gyr, acc, mag in steady.rows[sensor][:count]:
                    vqf.update(gyr, acc, mag)

    def _start(self, sensor: int, period_s: float) -> None:
        """A new VQF for a sensor; what the old one knew of the bias stays true."""
        old = self._vqf[sensor]
        self.counts.restarts += old is not None
        new = VQF(period_s, tauAcc=self.params.tau_acc_s)
        if old is not None:
            new.setBiasEstimate(*old.getBiasEstimate())
        self._vqf[sensor] = new
        # A heading that the field holds is from the same north as before.
        self._epoch[sensor] += old is None or not self._has_field[sensor]

    def _orientations(self, time_ns: int, count: Int64) -> Orientations:
        """Of the sensors with a sample in the stretch that ends then."""
        m, north = self.sensors, self.params.magnetometer
        q, bias, sigma, age = np.full((m, 4), np.nan), np.zeros((m, 3)), np.full(m, np.nan), np.empty(m)
        rest, known, disturbed = (np.zeros(m, dtype=np.bool_) for _ in range(3))
        for sensor, (vqf, heard) in enumerate(zip(self._vqf, count.tolist(), strict=True)):
            if vqf is None:
                continue
            bias[sensor], sigma[sensor] = vqf.getBiasEstimate()
            rest[sensor] = vqf.getRestDetected()
            known[sensor] = north and vqf.getMagRefNorm() > 0.0
            disturbed[sensor] = vqf.getMagDistDetected()
            if heard and self.period_s is not None:
                q[sensor] = vqf.getQuat9D() if north else vqf.getQuat6D()
        lag_s = self.params.stamp_lag_s
        carry(q, self._last, bias, self._first_ns, self._last_ns, time_ns, lag_s, north, age)
        since_s = self.params.report_s if self._told_ns is None else (time_ns - self._told_ns) / NS_PER_S
        self._told_ns = time_ns
        return Orientations(
            time_ns=time_ns,
            q_world_from_sensor=q,
            bias_rad_s=bias,
            bias_sigma_rad_s=sigma,
            at_rest=rest,
            magnetic_used=self._has_field.copy(),
            magnetic_known=known & self._has_field,
            magnetic_disturbed=disturbed & known & self._has_field,
            age_s=age,
            settled=age >= self.params.settle_s,
            inclination_sigma_rad=self.params.errors.inclination_sigma_rad(age, max(since_s, _SHORTEST_REPORT_S)),
            heading_walk_rad2_s=self._heading_walk(sigma),
            heading_epoch=self._epoch.copy(),
        )

    def _heading_walk(self, bias_sigma_rad_s: Float64) -> Float64:
        """Density [M] of the headings' random walk; NaN before the start."""
        errors = self.params.errors
        walk = errors.heading_density_rad2_s(bias_sigma_rad_s)
        return np.where(self._has_field, errors.north_walk_rad2_s + 0.0 * walk, walk)


class _Steady:
    """Room for samples at a steady period."""

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
def reading_of(rate: Float64, force: Float64) -> int:
    """What a sample with rate [3] and specific force [3] is: ``MISSING``, ``BROKEN`` or ``MEASURED``."""
    fast = rate[0] ** 2 + rate[1] ** 2 + rate[2] ** 2
    strong = force[0] ** 2 + force[1] ** 2 + force[2] ** 2
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
    k periods after the one before, k - 1 are put on the line between the two. A steady
    rate is the mean over the period before its time.

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
            reading = reading_of(rates[t, m], force[t, m])
            if reading != MEASURED:
                broken += reading == BROKEN
                continue
            now = times_ns[t]
            steps = 1
            if last_ns[m] == _NEVER_NS or now - last_ns[m] > gap_ns:
                count, heard, starts = 0, 0, starts + 1
                first_ns[m] = now
                clock_ns[m] = now
                for i in range(3):
                    last[m, 0, i] = rates[t, m, i]
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
                between = 1.0 - (k - 0.5) / steps
                for i in range(3):
                    out_rates[m, count, i] = rates[t, m, i] + between * (last[m, 0, i] - rates[t, m, i])
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
def mean_samples(times_ns: Int64, force: Float64, rates: Float64, means: Float64, count: Int64) -> int:
    """Means of the samples that were measured.

    Args:
        times_ns: [T].
        force, rates: [T, M, 3].
        means: [2, M, 3], written: rates, force; NaN for a sensor without a sample.
        count: [M], written: how many.

    Returns:
        Mean of the stamps after the first of them, in ns.
    """
    for m in range(rates.shape[1]):
        n = 0
        for i in range(3):
            means[0, m, i] = means[1, m, i] = 0.0
        for t in range(len(times_ns)):
            if reading_of(rates[t, m], force[t, m]) == MEASURED:
                n += 1
                for i in range(3):
                    means[0, m, i] += rates[t, m, i]
                    means[1, m, i] += force[t, m, i]
        count[m] = n
        for i in range(3):
            means[0, m, i] *= 1.0 / n if n else math.nan
            means[1, m, i] *= 1.0 / n if n else math.nan
    total = 0
    for time_ns in times_ns:
        total += time_ns - times_ns[0]
    return total // len(times_ns)


@njit(cache=True)
def carry(
    q: Float64,
    last: Float64,
    bias: Float64,
    first_ns: Int64,
    last_ns: Int64,
    end_ns: int,
    lag_s: float,
    north: bool,
    age_s: Float64,
) -> None:
    """Bring orientations from where VQF has them to ``end_ns``, each by its sensor's last rate.

    Args:
        q: [M, 4], changed; NaN stays NaN.
        last: [M, 2, 3] rates and force of each sensor's last sample.
        bias: [M, 3] of the rates.
        first_ns, last_ns: [M] stamps of the first and the last samples.
        end_ns: the time wanted.
        lag_s: how much before its last stamp a sensor's orientation is.
        north: turn the world from east-north-up to north-west-up.
        age_s: [M], written: from first to last sample, NaN without any.
    """
    for m in range(len(q)):
        age_s[m] = math.nan if last_ns[m] == _NEVER_NS else (last_ns[m] - first_ns[m]) / NS_PER_S
        if math.isnan(q[m, 0]):
            continue
        dt = (end_ns - last_ns[m]) / NS_PER_S + lag_s
        x = (last[m, 0, 0] - bias[m, 0]) * dt
        y = (last[m, 0, 1] - bias[m, 1]) * dt
        z = (last[m, 0, 2] - bias[m, 2]) * dt
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
