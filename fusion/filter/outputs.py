"""From states to the record that leaves the filter: positions, rotations, rates, covariances, angles, flags."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from fusion.body import catalog
from fusion.body.angles import ANGLES, clinical_angles
from fusion.body.kinematics import TABLES, BodyTables, body_forward, body_rates, point_jacobian
from fusion.body.limits import coordinate_limits
from fusion.body.mass import MASS_TABLES, MassTables, centre_of_mass
from fusion.body.skeleton import COORDINATE, COORDINATES, JOINTS, LENGTHS, SEGMENT, SEGMENTS
from fusion.filter.process import NS_PER_S
from fusion.filter.state import BODY_ERRORS, FLOOR_COLUMN, LENGTH_COLUMN, POSE, RATE_COLUMN, State
from fusion.records import Float32, Float64, Int64, People, UInt8

_RIGHT_ARM, _LEFT_ARM = SEGMENT["right_upper_arm"], SEGMENT["left_upper_arm"]
_RIGHT_LEG, _LEFT_LEG = SEGMENT["right_upper_leg"], SEGMENT["left_upper_leg"]
_TRUNK = tuple(SEGMENT[name] for name in ("l5", "l3", "t12", "t8", "neck", "right_shoulder", "left_shoulder"))

PLACE_COLUMNS = FLOOR_COLUMN
"""A joint's place depends on coordinates and lengths only, which are the error state's first columns."""


@dataclass(frozen=True, slots=True)
class OutputParams:
    """What counts as measured, and what no amount of measuring removes."""

    measured_s: float = 0.25
    """A joint that a landmark has constrained within this time is measured, not inferred."""
    definition_m: float = 0.005
    """Standard deviation, per axis, of where a joint centre is taken to be. A landmark is not the joint centre
    that its name says, by an amount that hardly changes from one picture to the next: the filter's covariance
    shrinks as if it averaged out, but it does not. So this is added to the covariance that leaves, and only there."""


class Columns(NamedTuple):
    """The columns of the error state that each joint's place depends on: those of its own chain."""

    column: Int64
    """[23, 20] the first ``size`` of each row, ascending."""
    size: Int64
    """[23]."""


def place_columns() -> Columns:
    """From the skeleton's tree: coordinates of all joints before a joint, lengths of all offsets up to it."""
    lists: list[set[int]] = []
    for s, joint in enumerate(JOINTS):
        if not joint.parent:
            lists.append({0, 1, 2})
            continue
        parent = SEGMENT[joint.parent]
        turning = {COORDINATE[name] for name in JOINTS[parent].coordinates}
        lists.append(lists[parent] | turning | {LENGTH_COLUMN + int(TABLES.length[s])})
    columns = np.zeros((SEGMENTS, max(map(len, lists))), dtype=np.int64)
    for s, of_joint in enumerate(lists):
        columns[s, : len(of_joint)] = sorted(of_joint)
    return Columns(columns, np.array([len(of_joint) for of_joint in lists], dtype=np.int64))


COLUMNS = place_columns()


class Scratch(NamedTuple):
    """Working arrays for one person."""

    lengths: Float64
    """[11]."""
    positions: Float64
    """[23, 3]."""
    quaternions: Float64
    """[23, 4]."""
    axes_world: Float64
    """[23, 3, 3]."""
    velocities: Float64
    """[23, 3]."""
    angular_rates: Float64
    """[23, 3]."""
    jacobian: Float64
    """[3, 55] of one joint's place."""
    packed: Float64
    """[20, 3] its columns that are not zero."""
    covariances: Float64
    """[23, 3, 3]."""
    angles: Float64
    """[41]."""
    centre: Float64
    """[3]."""


def make_scratch() -> Scratch:
    """Empty working arrays."""
    return Scratch(
        lengths=np.zeros(LENGTHS),
        positions=np.zeros((SEGMENTS, 3)),
        quaternions=np.zeros((SEGMENTS, 4)),
        axes_world=np.zeros((SEGMENTS, 3, 3)),
        velocities=np.zeros((SEGMENTS, 3)),
        angular_rates=np.zeros((SEGMENTS, 3)),
        jacobian=np.zeros((3, PLACE_COLUMNS)),
        packed=np.zeros((COLUMNS.column.shape[1], 3)),
        covariances=np.zeros((SEGMENTS, 3, 3)),
        angles=np.zeros(len(ANGLES)),
        centre=np.zeros(3),
    )


@njit(cache=True)
def _sandwich(jacobian: Float64, column: Int64, count: int, covariance: Float64, out: Float64) -> None:
    """out [3, 3] = J P J^T over the listed columns; ``jacobian`` [count, 3] holds J's columns as rows.

    P is symmetric, so only what stands left of its diagonal is read: with S = J (P's lower triangle, half of its
    diagonal) J^T the answer is S + S^T.
    """
    xx, xy, xz, yx, yy, yz, zx, zy, zz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for a in range(count):
        row = covariance[column[a]]
        half = 0.5 * row[column[a]]
        x, y, z = half * jacobian[a, 0], half * jacobian[a, 1], half * jacobian[a, 2]
        for b in range(a):
            c = row[column[b]]
            x += c * jacobian[b, 0]
            y += c * jacobian[b, 1]
            z += c * jacobian[b, 2]
        jx, jy, jz = jacobian[a, 0], jacobian[a, 1], jacobian[a, 2]
        xx += jx * x
        xy += jx * y
        xz += jx * z
        yx += jy * x
        yy += jy * y
        yz += jy * z
        zx += jz * x
        zy += jz * y
        zz += jz * z
    out[0, 0], out[1, 1], out[2, 2] = 2.0 * xx, 2.0 * yy, 2.0 * zz
    out[0, 1] = out[1, 0] = xy + yx
    out[0, 2] = out[2, 0] = xz + zx
    out[1, 2] = out[2, 1] = yz + zy


@njit(cache=True)
def joint_covariances(
    tables: BodyTables, columns: Columns, covariance: Float64, definition_m2: float, scratch: Scratch
) -> None:
    """World covariance of every joint's position: J P J^T and what its definition adds.

    A joint's place depends on 3 to 20 of the error state's columns only.

    Args:
        tables: the skeleton.
        columns: those of each joint.
        covariance: [n, n] of the error state.
        definition_m2: variance added on each axis.
        scratch: with the body's kinematics; ``covariances`` is set.
    """
    jacobian, packed = scratch.jacobian, scratch.packed
    for s in range(columns.size.shape[0]):
        column, count = columns.column[s], columns.size[s]
        for a in range(count):
            for i in range(3):
                jacobian[i, column[a]] = 0.0
        point_jacobian(
            tables,
            scratch.lengths,
            scratch.positions,
            scratch.quaternions,
            scratch.axes_world,
            s,
            scratch.positions[s],
            jacobian,
            LENGTH_COLUMN,
        )
        for a in range(count):
            for i in range(3):
                packed[a, i] = jacobian[i, column[a]]
        out = scratch.covariances[s]
        _sandwich(packed, column, count, covariance, out)
        for i in range(3):
            out[i, i] += definition_m2


class Rows(NamedTuple):
    """The arrays of a record that is being filled; shapes as in ``People``."""

    positions: Float32
    quaternions: Float32
    velocities: Float32
    angular_rates: Float32
    covariances: Float32
    measured: UInt8
    coordinates: Float32
    lengths: Float32
    angles: Float32
    centre: Float32


def make_rows(people: int) -> Rows:
    """Arrays for so many people."""

    def rows(*shape: int) -> Float32:
        return np.empty((people, *shape), dtype=np.float32)

    return Rows(
        positions=rows(SEGMENTS, 3),
        quaternions=rows(SEGMENTS, 4),
        velocities=rows(SEGMENTS, 3),
        angular_rates=rows(SEGMENTS, 3),
        covariances=rows(SEGMENTS, 3, 3),
        measured=np.empty((people, SEGMENTS), dtype=np.uint8),
        coordinates=rows(COORDINATES),
        lengths=rows(LENGTHS),
        angles=rows(len(ANGLES)),
        centre=rows(3),
    )


@njit(cache=True)
def measured_joints(measured_ns: Int64, since_ns: int, out: UInt8) -> None:
    """Which of the 23 joints a landmark has constrained since a time: out [23] is 1 or 0.

    A landmark on a joint constrains it. Hips constrain the pelvis; hips and
    shoulders together constrain the trunk between them.
    """
    for s in range(measured_ns.shape[0]):
        out[s] = measured_ns[s] >= since_ns
    if out[_RIGHT_LEG] and out[_LEFT_LEG]:
        out[0] = 1
    if out[0] and (out[_RIGHT_ARM] or out[_LEFT_ARM]):
        for s in _TRUNK:
            out[s] = 1


@njit(cache=True)
def _fill(
    tables: BodyTables,
    columns: Columns,
    masses: MassTables,
    nominal: Float64,
    covariance: Float64,
    definition_m2: float,
    scratch: Scratch,
    rows: Rows,
    p: int,
) -> None:
    """Everything of one person but the flags, into row ``p``."""
    for i in range(LENGTHS):
        scratch.lengths[i] = math.exp(nominal[LENGTH_COLUMN + i])
    body_forward(tables, nominal, scratch.lengths, scratch.positions, scratch.quaternions, scratch.axes_world)
    rates = nominal[RATE_COLUMN : RATE_COLUMN + COORDINATES]
    body_rates(tables, rates, scratch.positions, scratch.axes_world, scratch.velocities, scratch.angular_rates)
    joint_covariances(tables, columns, covariance, definition_m2, scratch)
    clinical_angles(scratch.quaternions, scratch.angles)
    centre_of_mass(masses, scratch.lengths, scratch.positions, scratch.quaternions, scratch.centre)
    rows.positions[p] = scratch.positions
    rows.quaternions[p] = scratch.quaternions
    rows.velocities[p] = scratch.velocities
    rows.angular_rates[p] = scratch.angular_rates
    rows.covariances[p] = scratch.covariances
    rows.coordinates[p] = nominal[:COORDINATES]
    rows.lengths[p] = scratch.lengths
    rows.angles[p] = scratch.angles
    rows.centre[p] = scratch.centre


_LIMITS = coordinate_limits()


class Outputs:
    """Makes ``People`` records; holds scratch arrays only."""

    def __init__(self, params: OutputParams) -> None:
        self.params = params
        self._scratch = make_scratch()
        self._nominal = np.zeros(BODY_ERRORS)

    def record(self, identities: Sequence[int], states: Sequence[State], measured_ns: int, received_ns: int) -> People:
        """The people at one time; all states must already be at ``measured_ns``."""
        rows = make_rows(len(states))
        definition_m2 = self.params.definition_m**2
        fresh_ns = int(self.params.measured_s * NS_PER_S)
        for p, state in enumerate(states):
            # A joint that evidence has pushed past its limit is shown at the limit.
            np.copyto(self._nominal, state.nominal[:BODY_ERRORS])
            np.clip(self._nominal[POSE], *_LIMITS, out=self._nominal[POSE])
            _fill(TABLES, COLUMNS, MASS_TABLES, self._nominal, state.covariance, definition_m2, self._scratch, rows, p)
            measured_joints(state.measured_ns, state.time_ns - fresh_ns, rows.measured[p])
        return People(
            measured_ns=measured_ns,
            received_ns=received_ns,
            skeleton=catalog.SKELETON,
            ids=np.array(identities, dtype=np.int64),
            positions_m=rows.positions,
            q_world_from_segment=rows.quaternions,
            velocities_m_s=rows.velocities,
            angular_rates_rad_s=rows.angular_rates,
            covariances_m2=rows.covariances,
            measured=rows.measured,
            coordinates=rows.coordinates,
            lengths_m=rows.lengths,
            lengths_locked=np.array([state.lengths_locked for state in states], dtype=np.uint8),
            angles_rad=rows.angles,
            centre_of_mass_m=rows.centre,
        )
