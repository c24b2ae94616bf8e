"""How a body moves between measurements: damped rates driven by white acceleration.

Each coordinate's rate decays with its own time constant and is driven by white
noise, so a joint that nobody measures comes to rest while its uncertainty
grows. Source: Singer-like first-order models, Bar-Shalom et al., "Estimation
with Applications to Tracking and Navigation", ch. 6.2.2 (discretised white-noise
acceleration) with a decaying rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from fusion.body.kinematics import BALL, ROOT, TABLES, BodyTables
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import COORDINATE_NAMES
from fusion.filter.state import RATE_COLUMN, State, retract_into
from fusion.maths.kernels import left_jacobian_into, matrix_of_rotvec_into
from fusion.records import Float64

NS_PER_S = 1e9
MAX_STEP_S = 0.05
"""Longer gaps are crossed in steps of at most this length."""


@dataclass(frozen=True, slots=True)
class ProcessParams:
    """Accelerations that drive the body and how fast rates decay.

    An acceleration is the root mean square that a brisk person shows in that
    coordinate; together with ``correlation_s``, over which it keeps its sign, it
    makes the spectral density ``q = a^2 * correlation_s``.
    """

    root_m_s2: float = 2.5
    root_rad_s2: float = 6.0
    trunk_rad_s2: float = 5.0
    neck_rad_s2: float = 9.0
    girdle_rad_s2: float = 5.0
    arm_rad_s2: float = 25.0
    hand_rad_s2: float = 25.0
    hip_rad_s2: float = 18.0
    knee_rad_s2: float = 30.0
    foot_rad_s2: float = 25.0
    correlation_s: float = 0.1
    decay_s: float = 0.3
    """Time constant with which an unobserved rate dies out."""
    spine_rest_s: float = 0.5
    """Time constant with which an unobserved coordinate returns to rest. Hips and shoulders alone do not tell how
    the trunk's bend is shared between pelvis and spine; of all answers the straighter spine is the likelier."""
    neck_rest_s: float = 2.0
    girdle_rest_s: float = 1.0
    hand_rest_s: float = 2.0
    toe_rest_s: float = 0.1


_GROUPS: tuple[tuple[str, str], ...] = (
    ("root_p", "root_m_s2"),
    ("root_r", "root_rad_s2"),
    ("spine", "trunk_rad_s2"),
    ("neck", "neck_rad_s2"),
    ("shoulder", "girdle_rad_s2"),
    ("arm", "arm_rad_s2"),
    ("elbow", "arm_rad_s2"),
    ("forearm", "hand_rad_s2"),
    ("wrist", "hand_rad_s2"),
    ("hip", "hip_rad_s2"),
    ("knee", "knee_rad_s2"),
    ("ankle", "foot_rad_s2"),
    ("toe", "foot_rad_s2"),
)


def spectral_densities(params: ProcessParams) -> Float64:
    """White-acceleration density [44] of each coordinate, unit^2/s^3."""
    out = np.empty(len(COORDINATE_NAMES))
    for index, name in enumerate(COORDINATE_NAMES):
        bare = name.removeprefix("left_").removeprefix("right_")
        attribute = next(field for prefix, field in _GROUPS if bare.startswith(prefix))
        out[index] = getattr(params, attribute) ** 2 * params.correlation_s
    return out


_REST: tuple[tuple[str, str], ...] = (
    ("spine", "spine_rest_s"),
    ("neck", "neck_rest_s"),
    ("shoulder", "girdle_rest_s"),
    ("forearm", "hand_rest_s"),
    ("wrist", "hand_rest_s"),
    ("toe", "toe_rest_s"),
)


def rest_rates(params: ProcessParams) -> Float64:
    """Rate [44] in 1/s at which each coordinate returns to rest; 0 for those that do not."""
    out = np.zeros(len(COORDINATE_NAMES))
    for index, name in enumerate(COORDINATE_NAMES):
        bare = name.removeprefix("left_").removeprefix("right_")
        for prefix, attribute in _REST:
            if bare.startswith(prefix):
                out[index] = 1.0 / getattr(params, attribute)
    return out


class Process(NamedTuple):
    """The process as the kernels take it."""

    density: Float64
    """[44] white-acceleration density, unit^2/s^3."""
    rest_rate: Float64
    """[44] 1/s."""
    rest: Float64
    """[44] where a coordinate returns to."""
    decay_s: float
    """Time constant of the rates, s."""


def make_process(params: ProcessParams) -> Process:
    """Arrays of a process."""
    return Process(spectral_densities(params), rest_rates(params), resting_coordinates(), params.decay_s)


@njit(cache=True)
def _transition_rows(tables: BodyTables, p: Float64, error: Float64, reach: float, keep: float, stay: Float64) -> None:
    """p <- F p. F is the identity but for the turn of the rotations, their coupling to the rates, and the decay."""
    size = p.shape[1]
    pose = RATE_COLUMN
    turn = np.empty((3, 3))
    couple = np.empty((3, 3))
    rows = np.empty((3, size))
    for i in range(pose):
        if not tables.turns[i]:
            for c in range(size):
                p[i, c] = stay[i] * p[i, c] + reach * p[RATE_COLUMN + i, c]
    for s in range(tables.parent.shape[0]):
        if tables.freedom[s] != ROOT and tables.freedom[s] != BALL:
            continue
        i = tables.first[s]
        matrix_of_rotvec_into(-error[i], -error[i + 1], -error[i + 2], turn)
        left_jacobian_into(error[i], error[i + 1], error[i + 2], -1.0, couple)
        for k in range(3):
            for c in range(size):
                total = 0.0
                for m in range(3):
                    total += turn[k, m] * p[i + m, c] + reach * couple[k, m] * p[RATE_COLUMN + i + m, c]
                rows[k, c] = total
        for k in range(3):
            for c in range(size):
                p[i + k, c] = rows[k, c]
    for i in range(RATE_COLUMN, RATE_COLUMN + pose):
        for c in range(size):
            p[i, c] *= keep


@njit(cache=True)
def predict_kernel(tables: BodyTables, nominal: Float64, covariance: Float64, process: Process, step_s: float) -> None:
    """Advance one state by ``step_s`` in place: nominal [99] and covariance [99, 99]."""
    size = nominal.shape[0]
    pose = RATE_COLUMN
    keep = np.exp(-step_s / process.decay_s)
    reach = process.decay_s * (1.0 - keep)
    stay = np.exp(-step_s * process.rest_rate)
    error = np.zeros(size)
    for i in range(pose):
        error[i] = reach * nominal[RATE_COLUMN + i]

    # P <- F P F^T: F on the rows, then on the columns.
    _transition_rows(tables, covariance, error, reach, keep, stay)
    _transition_rows(tables, covariance.T, error, reach, keep, stay)

    for i in range(pose):
        v = RATE_COLUMN + i
        q = process.density[i]
        covariance[i, i] += q * step_s**3 / 3.0
        covariance[i, v] += q * step_s**2 / 2.0
        covariance[v, i] += q * step_s**2 / 2.0
        covariance[v, v] += q * step_s
        error[i] += (stay[i] - 1.0) * (nominal[i] - process.rest[i])

    retract_into(tables, nominal, error, nominal)
    for i in range(pose):
        nominal[RATE_COLUMN + i] *= keep


def predict(state: State, process: Process, time_ns: int) -> None:
    """Advance a state in place to ``time_ns``; a time before the state's is refused.

    Raises:
        ValueError: if ``time_ns`` is before the state.
    """
    if time_ns < state.time_ns:
        raise ValueError(f"cannot predict back from {state.time_ns} to {time_ns} ns")
    remaining_s = (time_ns - state.time_ns) / NS_PER_S
    steps = max(1, int(np.ceil(remaining_s / MAX_STEP_S)))
    if remaining_s > 0.0:
        for _ in range(steps):
            predict_kernel(TABLES, state.nominal, state.covariance, process, remaining_s / steps)
    state.time_ns = time_ns
