"""The system of an update: features of the body, and the observations that sensors have made of them.

A *feature* is a quantity of the body with up to three components (a point, a
rotation, a rate) and its Jacobian by the error state. An *observation* is one
sensor's view of one feature: a landmark that eight cameras see is one feature
with eight observations. The costly part, the Jacobian, is so computed once,
and what all sensors say of a feature is summed in its few components before it
meets the state: an update costs nearly the same for one camera and for eight.

All arrays are made once and used again.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
from numba import njit

from fusion.body.skeleton import LENGTHS, SEGMENTS
from fusion.filter.state import State
from fusion.records import Float64, Int64

MAX_FEATURES = 288
"""Most features of one update: 133 landmarks of a whole-body set, IMUs, contacts, limits."""
MAX_OBSERVATIONS = 2400
"""Most observations of one update: 16 cameras that see 133 landmarks, and the rest."""


MAX_LANDMARKS = 160
"""Most landmarks of a set whose features several views share."""


class Body(NamedTuple):
    """Kinematics at the current linearisation point."""

    positions: Float64
    """[23, 3]."""
    quaternions: Float64
    """[23, 4]."""
    axes_world: Float64
    """[23, 3, 3]."""
    lengths_m: Float64
    """[11]."""
    velocities: Float64
    """[23, 3] world velocity of each segment's origin, m/s."""
    angular_rates: Float64
    """[23, 3] world angular rate of each segment, rad/s."""


class System(NamedTuple):
    """Features with their observations, and what the solver has made of them."""

    jacobian: Float64
    """[MAX_FEATURES, 3, n] of each feature by the error state."""
    size: Int64
    """[MAX_FEATURES] components of each feature."""
    feature: Int64
    """[MAX_OBSERVATIONS] which feature is observed."""
    components: Int64
    """[MAX_OBSERVATIONS] components of each observation."""
    h: Float64
    """[MAX_OBSERVATIONS, 3, 3] derivative of the observation by the feature."""
    residual: Float64
    """[MAX_OBSERVATIONS, 3] measured minus predicted, in the measurement's unit."""
    variance: Float64
    """[MAX_OBSERVATIONS, 3] of each component, unit^2."""
    robust: Int64
    """[MAX_OBSERVATIONS] 0 for knowledge (limits, rest), 1 where the observation may be an outlier, 2 for
    a landmark: where most of these seem to be outliers, it is the prior that is wrong."""
    source: Int64
    """[MAX_OBSERVATIONS] the measurement's own index of the observation (the landmark, the sensor)."""
    group: Int64
    """[MAX_OBSERVATIONS] which of the measurements of one update the observation belongs to."""
    weight: Float64
    """[MAX_OBSERVATIONS] robust weight, set by the solver."""
    squared: Float64
    """[MAX_OBSERVATIONS] squared Mahalanobis distance of the innovation, set by the solver."""
    value: Float64
    """[MAX_FEATURES, 3] predicted value of a feature, where a measurement keeps it (points: world, m)."""
    landmark: Int64
    """[MAX_LANDMARKS] feature of each landmark that has one, else -1."""
    sorted: Float64
    """[MAX_OBSERVATIONS] scratch of whoever needs a median."""
    filled: Int64
    """[4] features in use, observations in use, group that is being filled, landmark set of ``landmark`` or -1."""


def make_body() -> Body:
    """Empty kinematics."""
    return Body(
        positions=np.zeros((SEGMENTS, 3)),
        quaternions=np.zeros((SEGMENTS, 4)),
        axes_world=np.zeros((SEGMENTS, 3, 3)),
        lengths_m=np.zeros(LENGTHS),
        velocities=np.zeros((SEGMENTS, 3)),
        angular_rates=np.zeros((SEGMENTS, 3)),
    )


def make_system(errors: int) -> System:
    """An empty system for an error state of that size."""
    return System(
        jacobian=np.zeros((MAX_FEATURES, 3, errors)),
        size=np.zeros(MAX_FEATURES, dtype=np.int64),
        feature=np.zeros(MAX_OBSERVATIONS, dtype=np.int64),
        components=np.zeros(MAX_OBSERVATIONS, dtype=np.int64),
        h=np.zeros((MAX_OBSERVATIONS, 3, 3)),
        residual=np.zeros((MAX_OBSERVATIONS, 3)),
        variance=np.ones((MAX_OBSERVATIONS, 3)),
        robust=np.zeros(MAX_OBSERVATIONS, dtype=np.int64),
        source=np.zeros(MAX_OBSERVATIONS, dtype=np.int64),
        group=np.zeros(MAX_OBSERVATIONS, dtype=np.int64),
        weight=np.ones(MAX_OBSERVATIONS),
        squared=np.zeros(MAX_OBSERVATIONS),
        value=np.zeros((MAX_FEATURES, 3)),
        landmark=np.full(MAX_LANDMARKS, -1, dtype=np.int64),
        sorted=np.zeros(MAX_OBSERVATIONS),
        filled=np.array([0, 0, 0, -1], dtype=np.int64),
    )


@njit(cache=True, inline="always")
def add_feature(system: System, size: int) -> int:
    """A new feature of so many components with a Jacobian of zeros; its index, or -1 where there is no room."""
    f = system.filled[0]
    if f >= system.jacobian.shape[0]:
        return -1
    for i in range(size):
        for c in range(system.jacobian.shape[2]):
            system.jacobian[f, i, c] = 0.0
    system.size[f] = size
    system.filled[0] = f + 1
    return int(f)


@njit(cache=True, inline="always")
def add_observation(system: System, feature: int, size: int, source: int) -> int:
    """A new robust observation that sees the feature as it is; its index, or -1 where there is no room."""
    o = system.filled[1]
    if o >= system.feature.shape[0] or feature < 0:
        return -1
    for i in range(3):
        for j in range(3):
            system.h[o, i, j] = 1.0 if i == j else 0.0
    system.feature[o] = feature
    system.components[o] = size
    system.robust[o] = 1
    system.source[o] = source
    system.group[o] = system.filled[2]
    system.weight[o] = 1.0
    system.filled[1] = o + 1
    return int(o)


@njit(cache=True, inline="always")
def drop_observation(system: System) -> None:
    """Take back the newest observation."""
    system.filled[1] -= 1


@njit(cache=True)
def clear(system: System) -> None:
    """Empty the system."""
    system.filled[0] = 0
    system.filled[1] = 0
    system.filled[2] = 0
    system.filled[3] = -1
    for k in range(system.landmark.shape[0]):
        system.landmark[k] = -1


@njit(cache=True)
def usable(values: Float64, variance: float) -> bool:
    """Whether all of an observation's values are numbers and its variance is one that a measurement can have."""
    for i in range(values.shape[0]):
        if not math.isfinite(values[i]):
            return False
    return variance > 0.0 and math.isfinite(variance)


class Measurement(Protocol):
    """What an update takes in."""

    @property
    def time_ns(self) -> int:
        """When the world was so, on the session clock."""
        ...

    @property
    def source(self) -> str:
        """Where from; orders the measurements of one time."""
        ...

    @property
    def linear(self) -> bool:
        """Whether one iteration is enough: its prediction is nearly linear within its own noise."""
        ...

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """Append features and observations, linearised at ``nominal`` [n] with kinematics ``body``."""
        ...

    def learn(self, state: State, system: System) -> None:
        """After the update: remember what residuals and weights tell (noise scale, joints seen).

        ``system.filled[2]`` is the measurement's own group.
        """
        ...
