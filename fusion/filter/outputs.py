"""From states to the record that leaves the filter: positions, rotations, rates, covariances, flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from fusion.body import catalog
from fusion.body.kinematics import TABLES, BodyTables, body_forward, body_rates, point_jacobian
from fusion.body.skeleton import COORDINATES, LENGTHS, SEGMENT, SEGMENTS
from fusion.filter.process import NS_PER_S
from fusion.filter.state import ERRORS, LENGTH_COLUMN, RATE_COLUMN, State
from fusion.records import Bool, Float64, People

_LIMB_ENDS = tuple(SEGMENT[f"{side}_{name}"] for side in ("right", "left") for name in ("upper_arm", "upper_leg"))
_TRUNK = tuple(SEGMENT[name] for name in ("l5", "l3", "t12", "t8", "neck", "right_shoulder", "left_shoulder"))


@dataclass(frozen=True, slots=True)
class OutputParams:
    """What counts as measured."""

    measured_s: float = 0.25
    """A joint that a landmark has constrained within this time is measured, not inferred."""


@njit(cache=True)
def joint_covariances(
    tables: BodyTables,
    lengths_m: Float64,
    positions: Float64,
    quaternions: Float64,
    axes_world: Float64,
    covariance: Float64,
    jacobian: Float64,
    product: Float64,
    out: Float64,
) -> None:
    """World covariance [23, 3, 3] of every joint position; ``jacobian`` and ``product`` [69, 99] are scratch."""
    jacobian[:] = 0.0
    segments = positions.shape[0]
    for s in range(segments):
        point_jacobian(
            tables,
            lengths_m,
            positions,
            quaternions,
            axes_world,
            s,
            positions[s],
            jacobian[3 * s : 3 * s + 3],
            LENGTH_COLUMN,
        )
    np.dot(jacobian, covariance, product)
    for s in range(segments):
        for i in range(3):
            for j in range(i + 1):
                total = 0.0
                # A position does not depend on rates.
                for c in range(RATE_COLUMN):
                    total += product[3 * s + i, c] * jacobian[3 * s + j, c]
                for c in range(LENGTH_COLUMN, jacobian.shape[1]):
                    total += product[3 * s + i, c] * jacobian[3 * s + j, c]
                out[s, i, j] = total
                out[s, j, i] = total


def measured_joints(state: State, params: OutputParams) -> Bool:
    """Which of the 23 joints a landmark has constrained lately.

    A landmark on a joint constrains it. Hips constrain the pelvis; hips and
    shoulders together constrain the trunk between them.
    """
    fresh = state.measured_ns >= state.time_ns - int(params.measured_s * NS_PER_S)
    right_arm, right_leg, left_arm, left_leg = (bool(fresh[s]) for s in _LIMB_ENDS)
    pelvis = (right_leg and left_leg) or bool(fresh[0])
    fresh = fresh.copy()
    fresh[0] = pelvis
    fresh[list(_TRUNK)] |= pelvis and (right_arm or left_arm)
    return fresh


class Outputs:
    """Makes ``People`` records; holds scratch arrays only."""

    def __init__(self, params: OutputParams) -> None:
        self.params = params
        self._axes = np.zeros((SEGMENTS, 3, 3))
        self._jacobian = np.zeros((3 * SEGMENTS, ERRORS))
        self._product = np.zeros((3 * SEGMENTS, ERRORS))

    def record(self, identities: Sequence[int], states: Sequence[State], measured_ns: int, received_ns: int) -> People:
        """The people at one time; all states must already be at ``measured_ns``."""
        count = len(states)
        positions = np.empty((count, SEGMENTS, 3))
        quaternions = np.empty((count, SEGMENTS, 4))
        velocities = np.empty((count, SEGMENTS, 3))
        angular = np.empty((count, SEGMENTS, 3))
        covariances = np.empty((count, SEGMENTS, 3, 3))
        measured = np.empty((count, SEGMENTS), dtype=np.uint8)
        coordinates = np.empty((count, COORDINATES))
        lengths = np.empty((count, LENGTHS))
        for p, state in enumerate(states):
            lengths[p] = state.lengths_m
            coordinates[p] = state.coordinates
            body_forward(TABLES, state.nominal, lengths[p], positions[p], quaternions[p], self._axes)
            body_rates(TABLES, state.rates, positions[p], self._axes, velocities[p], angular[p])
            joint_covariances(
                TABLES,
                lengths[p],
                positions[p],
                quaternions[p],
                self._axes,
                state.covariance,
                self._jacobian,
                self._product,
                covariances[p],
            )
            measured[p] = measured_joints(state, self.params)
        return People(
            measured_ns=measured_ns,
            received_ns=received_ns,
            skeleton=catalog.SKELETON,
            ids=np.array(identities, dtype=np.int64),
            positions_m=positions.astype(np.float32),
            q_world_from_segment=quaternions.astype(np.float32),
            velocities_m_s=velocities.astype(np.float32),
            angular_rates_rad_s=angular.astype(np.float32),
            covariances_m2=covariances.astype(np.float32),
            measured=measured,
            coordinates=coordinates.astype(np.float32),
            lengths_m=lengths.astype(np.float32),
            lengths_locked=np.array([state.lengths_locked for state in states], dtype=np.uint8),
            angles_rad=np.zeros((count, 0), dtype=np.float32),
            centre_of_mass_m=np.full((count, 3), np.nan, dtype=np.float32),
        )
