"""The update in plain numpy: one dense system of all observations, and what the filter should make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusion.body.kinematics import TABLES
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import COORDINATE, COORDINATE_NAMES, COORDINATES
from fusion.filter.measurements.anatomy import AnatomyParams, anatomy_rows, make_anatomy
from fusion.filter.process import Process
from fusion.filter.state import POSE, State, retract
from fusion.filter.system import Body, Measurement, System, add_feature, add_observation, make_body, make_system
from fusion.filter.update import UpdateParams, linearise
from fusion.records import Float64, Int64
from tests.fusion.body.twin import ROTATION_VECTORS

LEFT_OUT = 1e-50
"""A smaller weight is none."""
TURNS = [COORDINATE[name] for name in COORDINATE_NAMES if name in ROTATION_VECTORS and name.endswith("x")]
"""First coordinate of each rotation that is perturbed on the right."""


def any_process(seed: int) -> Process:
    """A process in which everything differs: decays, rests, and accelerations that go together."""
    random = np.random.default_rng(seed)
    mixed = np.eye(COORDINATES) + 0.3 * random.normal(size=(COORDINATES, COORDINATES))
    rest_rate = random.uniform(0.0, 3.0, COORDINATES)
    rest_rate[:6] = 0.0
    for first in TURNS[1:]:
        rest_rate[first : first + 3] = rest_rate[first]
    rest_rate[TURNS[1] : TURNS[1] + 3] = 0.0
    return Process(
        density=4.0 * mixed @ mixed.T,
        rest_rate=rest_rate,
        rest=resting_coordinates() + 0.2 * random.normal(size=COORDINATES),
        decay_s=random.uniform(0.1, 2.0, COORDINATES),
        walk=random.uniform(1e-6, 1e-3, 7),
    )


class LimitsAndRest:
    """What is known of every body, in the shape of a measurement."""

    time_ns, source, linear = 0, "anatomy", False

    def __init__(self, prior_covariance: Float64, params: AnatomyParams | None = None) -> None:
        self.anatomy = make_anatomy(params or AnatomyParams())
        self.covariance = prior_covariance

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        anatomy_rows(TABLES, nominal, self.covariance, self.anatomy, system)

    def learn(self, state: State, system: System) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class LinearMeasurement:
    """Linear functions of those states that errors are added to: the prediction is exact wherever it is linearised."""

    time_ns: int
    source: str
    h: Float64
    """[m, n]."""
    measured: Float64
    """[m]."""
    variance: Float64
    """[m]."""
    linear: bool = True

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        for row, measured, variance in zip(self.h, self.measured, self.variance, strict=True):
            f = add_feature(system, 1)
            o = add_observation(system, f, 1, 0)
            system.jacobian[f, 0] = row
            system.residual[o, 0] = measured - row @ nominal
            system.variance[o, 0] = variance
            system.robust[o] = 0

    def learn(self, state: State, system: System) -> None: ...


class Dense:
    """The observations of some measurements at one linearisation point, their components stacked to m rows."""

    def __init__(self, state: State, *measurements: Measurement, nominal: Float64 | None = None) -> None:
        nominal = state.nominal if nominal is None else nominal
        body, system = make_body(), make_system(len(nominal))
        system.jacobian[:] = np.nan  # What is not set must not be used.
        linearise(TABLES, nominal, body, system)
        for group, measurement in enumerate(measurements):
            system.filled[2] = group
            measurement.add_rows(state, nominal, body, system)
        self._take(system)

    def _take(self, system: System) -> None:
        self.features, self.observations = (int(number) for number in system.filled[:2])
        blocks = [(o, int(system.feature[o]), int(system.components[o])) for o in range(self.observations)]
        self.block: Int64 = np.repeat(np.arange(self.observations), [m for _, _, m in blocks])
        """[m] observation of each row."""
        size = system.size
        rows = [system.h[o, :m, : size[f]] @ system.jacobian[f, : size[f]] for o, f, m in blocks]
        self.jacobian = np.concatenate([np.zeros((0, system.jacobian.shape[2])), *rows])
        self.residual = np.concatenate([np.zeros(0), *(system.residual[o, :m] for o, _, m in blocks)])
        self.variance = np.concatenate([np.zeros(0), *(system.variance[o, :m] for o, _, m in blocks)])
        self.feature = system.feature[: self.observations].copy()
        self.robust = system.robust[: self.observations].copy()
        self.source = system.source[: self.observations].copy()
        self.group = system.group[: self.observations].copy()


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """How much each observation is taken in."""

    weight: Float64
    """[o]; 0 for what is left out."""
    squared: Float64
    """[o] squared Mahalanobis distance."""
    gated: int


def twin_weights(dense: Dense, covariance: Float64, first: bool, params: UpdateParams) -> Weights:
    """Student-t weights; what is outside the gate is left out, but for landmarks when most of them are."""
    spread = dense.jacobian @ covariance @ dense.jacobian.T if first else np.zeros((len(dense.residual),) * 2)
    innovation = spread + np.diag(dense.variance)
    weight, squared = np.ones(dense.observations), np.zeros(dense.observations)
    for o in range(dense.observations):
        rows = np.flatnonzero(dense.block == o)
        residual = dense.residual[rows]
        squared[o] = residual @ np.linalg.solve(innovation[np.ix_(rows, rows)], residual)
        if dense.robust[o]:
            weight[o] = (params.student_nu + len(rows)) / (params.student_nu + squared[o])
    outside = first & (dense.robust > 0) & (squared > params.gate**2)
    landmarks = dense.robust == 2
    if (outside & landmarks).sum() > params.gate_majority * landmarks.sum():
        outside &= ~landmarks
    return Weights(np.where(outside, 0.0, weight), squared, int(outside.sum()))


@dataclass(frozen=True, slots=True, eq=False)
class TwinUpdate:
    """What an update should end in."""

    nominal: Float64
    covariance: Float64
    normal: Float64
    """[n, n] sum of H^T W H of the last iteration."""
    eta: Float64
    """[n] sum of H^T W r, as seen from the prior."""
    gated: int
    squared: Float64
    """[o] of the innovations."""
    iterations: int


def twin_update(
    state: State,
    measurements: Sequence[Measurement],
    params: UpdateParams,
    anatomy: AnatomyParams | None = None,
    iterations: int | None = None,
) -> TwinUpdate:
    """Gauss-Newton around the prior with the gain written out, and Joseph's form of the covariance.

    Source: Bell and Cathey, IEEE TAC 38(2), 1993, eq. 20; Bar-Shalom et al. 2001, eq. 5.2.3-18.
    """
    prior = state.covariance.copy()
    every = [*measurements, LimitsAndRest(prior, anatomy)]
    step = np.zeros(len(prior))
    known = params.iterations_known if state.lengths_locked else params.iterations
    most = 1 if all(measurement.linear for measurement in measurements) else iterations or known
    done = 0
    for done in range(1, most + 1):
        dense = Dense(state, *every, nominal=retract(state.nominal, step))
        weights = twin_weights(dense, prior, done == 1, params)
        if done == 1:
            gated, squared = weights.gated, weights.squared
        trust = weights.weight[dense.block]
        used = trust > LEFT_OUT
        h, variance = dense.jacobian[used], dense.variance[used] / trust[used]
        residual = dense.residual[used] + h @ step
        gain = np.linalg.solve(h @ prior @ h.T + np.diag(variance), h @ prior).T
        previous, step = step, gain @ residual
        if np.abs(step - previous)[POSE].max() < params.tolerance:
            break
    kept = np.eye(len(prior)) - gain @ h
    covariance = kept @ prior @ kept.T + (gain * variance) @ gain.T
    scaled = h.T / variance
    return TwinUpdate(retract(state.nominal, step), covariance, scaled @ h, scaled @ residual, gated, squared, done)
