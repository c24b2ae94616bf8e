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
from fusion.body.kinematics import TABLES, BodyTables, body_forward, body_rates
from fusion.body.mass import MASS_TABLES, MassTables, centre_of_mass
from fusion.body.skeleton import COORDINATES, LENGTHS, SEGMENT, SEGMENTS
from fusion.filter.process import NS_PER_S
from fusion.filter.state import FLOOR_COLUMN, LENGTH_COLUMN, RATE_COLUMN, State
from fusion.maths.kernels import crossed
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
    definition_m: float = 0.0
    """Standard deviation, per axis, of where a joint centre is taken to be. A landmark is not the joint centre
    that its name says, by an amount that hardly changes from one picture to the next: the filter's covariance
    shrinks as if it averaged out, but it does not. So this is added to the covariance that leaves, and only there."""


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
    moved: Float64
    """[23, 3, 55] covariance of each joint's place with coordinates and lengths."""
    turned: Float64
    """[23, 3, 55] covariance of each segment's rotation (world axes) with them."""
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
        moved=np.zeros((SEGMENTS, 3, PLACE_COLUMNS)),
        turned=np.zeros((SEGMENTS, 3, PLACE_COLUMNS)),
        covariances=np.zeros((SEGMENTS, 3, 3)),
        angles=np.zeros(len(ANGLES)),
        centre=np.zeros(3),
    )


@njit(cache=True)
def _carry(
    tables: BodyTables,
    positions: Float64,
    axes_world: Float64,
    covariance: Float64,
    s: int,
    moved: Float64,
    turned: Float64,
) -> None:
    """Rows of ``moved`` and ``turned`` of one segment from those of its parent.

    A joint moves with its parent, by the parent's turn across the offset, and
    with the offset's length; a segment turns with its parent and about its
    joint's axes.
    """
    parent, first = tables.parent[s], tables.first[s]
    mx, my, mz = moved[s, 0], moved[s, 1], moved[s, 2]
    tx, ty, tz = turned[s, 0], turned[s, 1], turned[s, 2]
    if parent < 0:
        px, py, pz = covariance[0], covariance[1], covariance[2]
        for c in range(PLACE_COLUMNS):
            mx[c], my[c], mz[c] = px[c], py[c], pz[c]
            tx[c], ty[c], tz[c] = 0.0, 0.0, 0.0
    else:
        dx = positions[s, 0] - positions[parent, 0]
        dy = positions[s, 1] - positions[parent, 1]
        dz = positions[s, 2] - positions[parent, 2]
        px, py, pz = moved[parent, 0], moved[parent, 1], moved[parent, 2]
        wx, wy, wz = turned[parent, 0], turned[parent, 1], turned[parent, 2]
        length = covariance[LENGTH_COLUMN + tables.length[s]]
        for c in range(PLACE_COLUMNS):
            mx[c] = px[c] + wy[c] * dz - wz[c] * dy + dx * length[c]
            my[c] = py[c] + wz[c] * dx - wx[c] * dz + dy * length[c]
            mz[c] = pz[c] + wx[c] * dy - wy[c] * dx + dz * length[c]
            tx[c], ty[c], tz[c] = wx[c], wy[c], wz[c]
    for k in range(tables.freedoms[s]):
        ax, ay, az = axes_world[s, k, 0], axes_world[s, k, 1], axes_world[s, k, 2]
        row = covariance[first + k]
        for c in range(PLACE_COLUMNS):
            tx[c] += ax * row[c]
            ty[c] += ay * row[c]
            tz[c] += az * row[c]


@njit(cache=True)
def _close(tables: BodyTables, positions: Float64, axes_world: Float64, moved: Float64, s: int, out: Float64) -> None:
    """out [3, 3] = ``moved`` [3, 55] times the Jacobian's transpose, walking from a joint to the root.

    The Jacobian is not zero in 10 to 20 columns only: those of the joint's own chain.
    """
    xx, yx, yy, zx, zy, zz = moved[0, 0], moved[1, 0], moved[1, 1], moved[2, 0], moved[2, 1], moved[2, 2]
    u = s
    while u >= 0:
        parent, first = tables.parent[u], tables.first[u]
        if u != s:
            arm = (
                positions[s, 0] - positions[u, 0],
                positions[s, 1] - positions[u, 1],
                positions[s, 2] - positions[u, 2],
            )
            for k in range(tables.freedoms[u]):
                j = crossed((axes_world[u, k, 0], axes_world[u, k, 1], axes_world[u, k, 2]), arm)
                x, y, z = moved[0, first + k], moved[1, first + k], moved[2, first + k]
                xx += x * j[0]
                yx += y * j[0]
                yy += y * j[1]
                zx += z * j[0]
                zy += z * j[1]
                zz += z * j[2]
        if parent >= 0:
            column = LENGTH_COLUMN + tables.length[u]
            jx = positions[u, 0] - positions[parent, 0]
            jy = positions[u, 1] - positions[parent, 1]
            jz = positions[u, 2] - positions[parent, 2]
            x, y, z = moved[0, column], moved[1, column], moved[2, column]
            xx += x * jx
            yx += y * jx
            yy += y * jy
            zx += z * jx
            zy += z * jy
            zz += z * jz
        u = parent
    out[0, 0], out[1, 1], out[2, 2] = xx, yy, zz
    out[0, 1], out[1, 0] = yx, yx
    out[0, 2], out[2, 0] = zx, zx
    out[1, 2], out[2, 1] = zy, zy


@njit(cache=True)
def joint_covariances(
    tables: BodyTables, positions: Float64, axes_world: Float64, covariance: Float64, scratch: Scratch, out: Float64
) -> None:
    """World covariance of every joint's position, J P J^T.

    J P is carried from the root to the tips row by row instead of computed as
    a product, since a child's rows differ from its parent's by one joint.

    Args:
        tables: the skeleton.
        positions: [23, 3] of ``body_forward``.
        axes_world: [23, 3, 3] of ``body_forward``.
        covariance: [n, n] of the error state.
        scratch: of which ``moved`` and ``turned`` are changed.
        out: out [23, 3, 3] m^2.
    """
    for s in range(positions.shape[0]):
        _carry(tables, positions, axes_world, covariance, s, scratch.moved, scratch.turned)
        _close(tables, positions, axes_world, scratch.moved[s], s, out[s])


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
    joint_covariances(tables, scratch.positions, scratch.axes_world, covariance, scratch, scratch.covariances)
    for s in range(SEGMENTS):
        for i in range(3):
            scratch.covariances[s, i, i] += definition_m2
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


class Outputs:
    """Makes ``People`` records; holds scratch arrays only."""

    def __init__(self, params: OutputParams) -> None:
        self.params = params
        self._scratch = make_scratch()

    def record(self, identities: Sequence[int], states: Sequence[State], measured_ns: int, received_ns: int) -> People:
        """The people at one time; all states must already be at ``measured_ns``."""
        rows = make_rows(len(states))
        definition_m2 = self.params.definition_m**2
        fresh_ns = int(self.params.measured_s * NS_PER_S)
        for p, state in enumerate(states):
            _fill(TABLES, MASS_TABLES, state.nominal, state.covariance, definition_m2, self._scratch, rows, p)
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
