"""How a body moves between measurements: damped rates driven by white acceleration.

Each coordinate's rate decays with its own time constant and is driven by white
noise, which is correlated between coordinates as people's joints are: so what a
gyroscope on the shank sees is shared between hip and knee as it usually is. A
joint that nobody measures comes to rest while its uncertainty grows. The numbers
are fitted to motion capture (``docs/process.md``). Source: Singer-like
first-order models, Bar-Shalom et al., "Estimation with Applications to Tracking
and Navigation", ch. 6.2.2 (discretised white-noise acceleration) with a decaying
rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numba import njit

from fusion.body.kinematics import BALL, ROOT, TABLES, BodyTables
from fusion.body.skeleton import COORDINATE
from fusion.filter import motion_table
from fusion.filter.measurements.imu_slots import ImuStateParams
from fusion.filter.state import IMU_COLUMN, IMU_SIZE, RATE_COLUMN, State, retract_into
from fusion.maths.kernels import conjugated, exponential, jacobian_coefficients, logarithm, multiplied
from fusion.records import Float64

NS_PER_S = 1e9
MAX_STEP_S = 0.05
"""Longer gaps are crossed in steps of at most this length."""


@dataclass(frozen=True, slots=True)
class ProcessParams:
    """What is added to how people move on average (``fusion.filter.motion_table``)."""

    briskness: float = 2.5
    """Factor on the density of all accelerations: the table is a mean over activities, and to be too sure of a brisk
    movement costs more than to be unsure of a slow one. 1 for the slow, 4 for sport."""
    spine_rest_s: tuple[float, float, float] = (0.3, 2.7, 0.6)
    """Time constants with which the spine's x, y and z return to rest where nothing tells of it. Hips and shoulders
    alone do not tell how the trunk's bend is shared between pelvis and spine; with these the spine spreads as far as
    it does on the clips (density * decay^2 / (2 rate) = std^2)."""
    spine_bend_rad: float = 0.1
    """Where its y, the bend forward, returns to."""
    neck_rest_s: float = 2.0
    imus: ImuStateParams = field(default_factory=ImuStateParams)
    """How the slow states of IMUs walk."""


def _rest(params: ProcessParams) -> tuple[Float64, Float64]:
    """Rates [44] in 1/s at which coordinates return to rest, and where to [44]."""
    rates, rest = motion_table.REST_RATE.copy(), motion_table.REST.copy()
    times_s = {"spine": params.spine_rest_s, "neck": (params.neck_rest_s,) * 3}
    for chain, chain_s in times_s.items():
        for axis, time_s in zip("xyz", chain_s, strict=True):
            column = COORDINATE[f"{chain}_{axis}"]
            rates[column], rest[column] = 1.0 / time_s, 0.0
    rest[COORDINATE["spine_y"]] = params.spine_bend_rad
    for segment in np.flatnonzero(TABLES.freedom == BALL):
        # A ball returns along the shortest way: one rate for its three components.
        ball = slice(int(TABLES.first[segment]), int(TABLES.first[segment]) + 3)
        rates[ball] = rates[ball].mean()
    return rates, rest


class Process(NamedTuple):
    """The process as the kernels take it."""

    density: Float64
    """[44, 44] white-acceleration density between coordinates, unit^2/s^3."""
    rest_rate: Float64
    """[44] 1/s."""
    rest: Float64
    """[44] where a coordinate returns to."""
    decay_s: Float64
    """[44] time constants of the rates, s."""
    walk: Float64
    """[7] random walk of an IMU's slow states, unit^2/s."""


def make_process(params: ProcessParams) -> Process:
    """Arrays of a process."""
    slow = params.imus
    walk = (slow.mounting_walk,) * 3 + (slow.heading_walk,) + (slow.bias_walk,) * 3
    rest_rate, rest = _rest(params)
    root = np.sqrt(params.briskness * motion_table.DENSITY)
    return Process(
        density=np.outer(root, root) * motion_table.NOISE_CORRELATION,
        rest_rate=rest_rate,
        rest=rest,
        decay_s=motion_table.DECAY_S.copy(),
        walk=np.array(walk) ** 2,
    )


@njit(cache=True)
def rotation_step(x: float, y: float, z: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """How a right-perturbed rotation's error goes on when it turns by the rotation vector (x, y, z).

    Returns:
        Rows of Exp(-v), by which the old error is turned, and of the right Jacobian of v, by which the
        error of v enters; nine numbers each. Source: Sola, arXiv 1812.01537, eqs. 83 and 143.
    """
    angle = math.sqrt(x * x + y * y + z * z)
    a, b = jacobian_coefficients(angle)
    s = 1.0 - b * angle * angle
    turn = (
        1.0 - a * (y * y + z * z), s * z + a * x * y, -s * y + a * x * z,
        -s * z + a * x * y, 1.0 - a * (x * x + z * z), s * x + a * y * z,
        s * y + a * x * z, -s * x + a * y * z, 1.0 - a * (x * x + y * y),
    )  # fmt: skip
    couple = (
        1.0 - b * (y * y + z * z), a * z + b * x * y, -a * y + b * x * z,
        -a * z + b * x * y, 1.0 - b * (x * x + z * z), a * x + b * y * z,
        a * y + b * x * z, -a * x + b * y * z, 1.0 - b * (x * x + y * y),
    )  # fmt: skip
    return turn, couple


@njit(cache=True)
def transition_rows(tables: BodyTables, process: Process, step_s: float, error: Float64, p: Float64) -> None:
    """p [n, any] <- F p. F is the identity but for the turn of the rotations, the rates that move them, and decays.

    ``error`` [n] is the step of the nominal.
    """
    size = p.shape[1]
    for i in range(tables.turns.shape[0]):
        if not tables.turns[i]:
            reach = process.decay_s[i] * (1.0 - math.exp(-step_s / process.decay_s[i]))
            stay = math.exp(-step_s * process.rest_rate[i])
            for c in range(size):
                p[i, c] = stay * p[i, c] + reach * p[RATE_COLUMN + i, c]
    for s in range(tables.parent.shape[0]):
        if tables.freedom[s] != ROOT and tables.freedom[s] != BALL:
            continue
        i = tables.first[s]
        v = RATE_COLUMN + i
        turn, couple = rotation_step(error[i], error[i + 1], error[i + 2])
        stay = math.exp(-step_s * process.rest_rate[i])
        x, y, z = reaches(process, i, step_s)
        for c in range(size):
            a, b, d = stay * p[i, c], stay * p[i + 1, c], stay * p[i + 2, c]
            e, f, g = x * p[v, c], y * p[v + 1, c], z * p[v + 2, c]
            for k in range(3):
                p[i + k, c] = (
                    turn[3 * k] * a + turn[3 * k + 1] * b + turn[3 * k + 2] * d
                    + couple[3 * k] * e + couple[3 * k + 1] * f + couple[3 * k + 2] * g
                )  # fmt: skip
    for i in range(tables.turns.shape[0]):
        keep = math.exp(-step_s / process.decay_s[i])
        for c in range(size):
            p[RATE_COLUMN + i, c] *= keep


@njit(cache=True)
def reaches(process: Process, first: int, step_s: float) -> tuple[float, float, float]:
    """How far unit rates of three coordinates carry them in a step."""
    a, b, c = process.decay_s[first], process.decay_s[first + 1], process.decay_s[first + 2]
    return (
        a * (1.0 - math.exp(-step_s / a)),
        b * (1.0 - math.exp(-step_s / b)),
        c * (1.0 - math.exp(-step_s / c)),
    )


@njit(cache=True)
def step_error(tables: BodyTables, nominal: Float64, process: Process, step_s: float, error: Float64) -> None:
    """The step [n] that the nominal takes in ``step_s``."""
    error[:] = 0.0
    for i in range(tables.turns.shape[0]):
        decay = process.decay_s[i]
        error[i] = decay * (1.0 - math.exp(-step_s / decay)) * nominal[RATE_COLUMN + i]
        if process.rest_rate[i] > 0.0 and not tables.turns[i]:
            error[i] += (math.exp(-step_s * process.rest_rate[i]) - 1.0) * (nominal[i] - process.rest[i])
    for s in range(tables.parent.shape[0]):
        f = tables.first[s]
        if tables.freedom[s] == BALL and process.rest_rate[f] > 0.0:
            away = logarithm(
                multiplied(
                    conjugated(exponential(nominal[f], nominal[f + 1], nominal[f + 2])),
                    exponential(process.rest[f], process.rest[f + 1], process.rest[f + 2]),
                )
            )
            part = 1.0 - math.exp(-step_s * process.rest_rate[f])
            for k in range(3):
                error[f + k] += part * away[k]


@njit(cache=True)
def _add_noise(covariance: Float64, process: Process, step_s: float, keep: Float64) -> None:
    """Integrated white acceleration with decaying rates, exactly, and the walk of slow states that exist.

    With decays a, b of two coordinates and E(c) = (1 - exp(-c h)) / c the covariance over a step h is, per density:
    rates E(a + b), coordinate and rate (E(b) - E(a + b)) / a, coordinates (h - E(a) - E(b) + E(a + b)) / (a b)
    (``docs/process.md``). ``keep`` [44 or more] is scratch.
    """
    size = process.density.shape[0]
    for i in range(size):
        keep[i] = math.exp(-step_s / process.decay_s[i])
    for i in range(size):
        a = 1.0 / process.decay_s[i]
        reach = (1.0 - keep[i]) / a
        for j in range(size):
            q = process.density[i, j]
            if q == 0.0:
                continue
            b = 1.0 / process.decay_s[j]
            both = (1.0 - keep[i] * keep[j]) / (a + b)
            other = (1.0 - keep[j]) / b
            covariance[i, j] += q * (step_s - reach - other + both) / (a * b)
            covariance[i, RATE_COLUMN + j] += q * (other - both) / a
            covariance[RATE_COLUMN + j, i] += q * (other - both) / a
            covariance[RATE_COLUMN + i, RATE_COLUMN + j] += q * both
    for first in range(IMU_COLUMN, covariance.shape[0], IMU_SIZE):
        for k in range(IMU_SIZE):
            if covariance[first + k, first + k] > 0.0:
                covariance[first + k, first + k] += process.walk[k] * step_s


@njit(cache=True)
def advance_nominal(tables: BodyTables, nominal: Float64, process: Process, step_s: float, error: Float64) -> None:
    """Advance nominal [n] in place; ``error`` [n] takes the step."""
    step_error(tables, nominal, process, step_s, error)
    retract_into(tables, nominal, error, nominal)
    for i in range(tables.turns.shape[0]):
        nominal[RATE_COLUMN + i] *= math.exp(-step_s / process.decay_s[i])


@njit(cache=True)
def predict_kernel(
    tables: BodyTables, nominal: Float64, covariance: Float64, process: Process, step_s: float, error: Float64
) -> None:
    """Advance one state by ``step_s`` in place: nominal [n] and covariance [n, n]; ``error`` [n] is scratch."""
    advance_nominal(tables, nominal, process, step_s, error)
    # P <- F P F^T: F on the rows, then on the columns.
    transition_rows(tables, process, step_s, error, covariance)
    transition_rows(tables, process, step_s, error, covariance.T)
    _add_noise(covariance, process, step_s, error)


def steps_between(from_ns: int, to_ns: int) -> tuple[int, float]:
    """Number and length in s of the steps in which a gap is crossed; none where there is no gap.

    Raises:
        ValueError: if ``to_ns`` is before ``from_ns``.
    """
    if to_ns < from_ns:
        raise ValueError(f"cannot predict back from {from_ns} to {to_ns} ns")
    gap_s = (to_ns - from_ns) / NS_PER_S
    count = math.ceil(gap_s / MAX_STEP_S)
    return count, gap_s / max(count, 1)


def predict(state: State, process: Process, time_ns: int) -> None:
    """Advance a state in place to ``time_ns``; a time before the state's is refused.

    Raises:
        ValueError: if ``time_ns`` is before the state.
    """
    count, step_s = steps_between(state.time_ns, time_ns)
    if count:
        error = np.empty_like(state.nominal)
        for _ in range(count):
            predict_kernel(TABLES, state.nominal, state.covariance, process, step_s, error)
    state.time_ns = time_ns
