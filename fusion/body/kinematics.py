"""Whole-body kinematics: one kernel from coordinates to every segment and joint axis.

For each joint the kernel also leaves the world axes of its coordinates, so that
any Jacobian is a walk from a segment to the root: a point p on segment s moves
with coordinate d by ``axis_d x (p - joint_d)``.

Perturbations: the root's and a ball's rotation are perturbed on the right
(in the segment's frame); a chain's rotation vector and hinge angles are
perturbed by addition.
Source: Sola et al., "A micro Lie theory", arXiv 1812.01537, sections III and IV.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from fusion.body import skeleton
from fusion.body.skeleton import COORDINATE, COORDINATES, JOINTS, PARENTS, REFERENCE_LENGTHS_M, SEGMENTS
from fusion.maths.kernels import exponential, jacobian_coefficients, multiplied, normalize_inplace, rotated
from fusion.records import Bool, Float64, Int64

ROOT, BALL, HINGES, CHAIN = 0, 1, 2, 3
_FREEDOM_CODE = {"root": ROOT, "ball": BALL, "hinges": HINGES, "chain": CHAIN}

MAX_FREEDOM = 3
"""Most rotational coordinates that one joint has."""


class BodyTables(NamedTuple):
    """The skeleton as arrays for the kernels (a NamedTuple, which numba takes as it is)."""

    parent: Int64
    """[23], -1 for the root."""
    freedom: Int64
    """[23], one of ROOT, BALL, HINGES, CHAIN."""
    first: Int64
    """[23] index of the joint's first rotational coordinate."""
    freedoms: Int64
    """[23] number of its rotational coordinates."""
    share: Float64
    """[23] part of a chain's rotation that the joint takes; 1 for others."""
    axes: Float64
    """[23, 3, 3] hinge axes, row k is axis k, in the frame that it turns in."""
    unit_offset: Float64
    """[23, 3] joint offset in the parent's frame per metre of its length."""
    length: Int64
    """[23] index of the length that scales the offset."""
    turns: Bool
    """[44] whether the coordinate belongs to a rotation perturbed on the right (the root's, a ball's)."""


def body_tables() -> BodyTables:
    """Arrays of the skeleton in ``fusion.body.skeleton``."""
    offsets, length = skeleton.reference_offsets()
    chain_size: dict[tuple[str, ...], int] = {}
    for joint in JOINTS:
        chain_size[joint.coordinates] = chain_size.get(joint.coordinates, 0) + 1
    axes = np.zeros((SEGMENTS, MAX_FREEDOM, 3))
    first = np.zeros(SEGMENTS, dtype=np.int64)
    turns = np.zeros(COORDINATES, dtype=np.bool_)
    count = np.zeros(SEGMENTS, dtype=np.int64)
    for index, joint in enumerate(JOINTS):
        translations = 3 if joint.freedom == "root" else 0
        first[index] = COORDINATE[joint.coordinates[translations]]
        count[index] = len(joint.coordinates) - translations
        if joint.freedom in ("root", "ball"):
            turns[first[index] : first[index] + 3] = True
        for k, axis in enumerate(joint.axes):
            axes[index, k] = axis
    return BodyTables(
        parent=PARENTS,
        freedom=np.array([_FREEDOM_CODE[joint.freedom] for joint in JOINTS], dtype=np.int64),
        first=first,
        freedoms=count,
        share=np.array([1.0 / chain_size[joint.coordinates] for joint in JOINTS]),
        axes=axes,
        unit_offset=offsets / REFERENCE_LENGTHS_M[length][:, None],
        length=length,
        turns=turns,
    )


TABLES = body_tables()


@njit(cache=True)
def body_forward(
    tables: BodyTables,
    coordinates: Float64,
    lengths_m: Float64,
    positions: Float64,
    quaternions: Float64,
    axes_world: Float64,
) -> None:
    """Forward kinematics with joint axes.

    Args:
        tables: the skeleton.
        coordinates: [44] generalised coordinates.
        lengths_m: [11].
        positions: out [23, 3] world position of each segment's origin.
        quaternions: out [23, 4] ``q_world_from_segment``.
        axes_world: out [23, 3, 3]; row k is the world axis of the joint's k-th coordinate.
    """
    for s in range(tables.parent.shape[0]):
        parent = tables.parent[s]
        first = tables.first[s]
        freedom = tables.freedom[s]
        if parent < 0:
            q = exponential(coordinates[first], coordinates[first + 1], coordinates[first + 2])
            for i in range(3):
                positions[s, i] = coordinates[i]
        else:
            p = quaternions[parent]
            q = (p[0], p[1], p[2], p[3])
            scale = lengths_m[tables.length[s]]
            offset = tables.unit_offset[s]
            moved = rotated(q, (scale * offset[0], scale * offset[1], scale * offset[2]))
            for i in range(3):
                positions[s, i] = positions[parent, i] + moved[i]
            if freedom == HINGES:
                for k in range(tables.freedoms[s]):
                    axis = (tables.axes[s, k, 0], tables.axes[s, k, 1], tables.axes[s, k, 2])
                    world = rotated(q, axis)
                    for i in range(3):
                        axes_world[s, k, i] = world[i]
                    angle = coordinates[first + k]
                    q = multiplied(q, exponential(angle * axis[0], angle * axis[1], angle * axis[2]))
            else:
                share = tables.share[s]
                turn = exponential(
                    share * coordinates[first], share * coordinates[first + 1], share * coordinates[first + 2]
                )
                q = multiplied(q, turn)
        for i in range(4):
            quaternions[s, i] = q[i]
        normalize_inplace(quaternions[s])
        if freedom != HINGES:
            _free_axes(tables, coordinates, s, quaternions[s], axes_world[s])


@njit(cache=True)
def _free_axes(tables: BodyTables, coordinates: Float64, s: int, quaternion: Float64, axes: Float64) -> None:
    """World axes [3, 3] of a joint that turns freely: a ball's own, or a chain's by its right Jacobian."""
    q = (quaternion[0], quaternion[1], quaternion[2], quaternion[3])
    if tables.freedom[s] != CHAIN:
        for k in range(3):
            world = rotated(q, (1.0 if k == 0 else 0.0, 1.0 if k == 1 else 0.0, 1.0 if k == 2 else 0.0))
            for i in range(3):
                axes[k, i] = world[i]
        return
    share, first = tables.share[s], tables.first[s]
    x, y, z = share * coordinates[first], share * coordinates[first + 1], share * coordinates[first + 2]
    a, b = jacobian_coefficients(math.sqrt(x * x + y * y + z * z))
    columns = (
        (1.0 - b * (y * y + z * z), -a * z + b * x * y, a * y + b * x * z),
        (a * z + b * x * y, 1.0 - b * (x * x + z * z), -a * x + b * y * z),
        (-a * y + b * x * z, a * x + b * y * z, 1.0 - b * (x * x + y * y)),
    )
    for k in range(3):
        world = rotated(q, columns[k])
        for i in range(3):
            axes[k, i] = share * world[i]


@njit(cache=True, inline="always")
def point_jacobian(
    tables: BodyTables,
    lengths_m: Float64,
    positions: Float64,
    quaternions: Float64,
    axes_world: Float64,
    segment: int,
    point: Float64,
    out: Float64,
    length_column: int,
) -> None:
    """Derivative of a world point fixed to a segment.

    Args:
        tables: the skeleton.
        lengths_m: [11].
        positions: [23, 3] of ``body_forward``.
        quaternions: [23, 4] of ``body_forward``.
        axes_world: [23, 3, 3] of ``body_forward``.
        segment: the segment that carries the point.
        point: [3] world position.
        out: [3, D], added to: columns 0..43 by the coordinates' perturbation,
            from ``length_column`` on by the logarithm of each length (only what
            the joint offsets contribute).
        length_column: first column of the lengths; negative leaves them out.
    """
    s = segment
    while s >= 0:
        first = tables.first[s]
        x = point[0] - positions[s, 0]
        y = point[1] - positions[s, 1]
        z = point[2] - positions[s, 2]
        for k in range(tables.freedoms[s]):
            a = axes_world[s, k]
            out[0, first + k] += a[1] * z - a[2] * y
            out[1, first + k] += a[2] * x - a[0] * z
            out[2, first + k] += a[0] * y - a[1] * x
        parent = tables.parent[s]
        if parent < 0:
            for i in range(3):
                out[i, i] += 1.0
        elif length_column >= 0:
            # The joint stands where its offset has put it.
            length = tables.length[s]
            for i in range(3):
                out[i, length_column + length] += positions[s, i] - positions[parent, i]
        s = parent


@njit(cache=True)
def rotation_jacobian(tables: BodyTables, axes_world: Float64, segment: int, out: Float64) -> None:
    """World angular rate of a segment per coordinate rate: added to columns 0..43 of out [3, D]."""
    s = segment
    while s >= 0:
        for k in range(tables.freedoms[s]):
            for i in range(3):
                out[i, tables.first[s] + k] += axes_world[s, k, i]
        s = tables.parent[s]


@njit(cache=True)
def body_rates(
    tables: BodyTables, rates: Float64, positions: Float64, axes_world: Float64, linear: Float64, angular: Float64
) -> None:
    """World velocity and angular rate of every segment.

    Args:
        tables: the skeleton.
        rates: [44] rates of the coordinates (tangent, as perturbed).
        positions: [23, 3] of ``body_forward``.
        axes_world: [23, 3, 3] of ``body_forward``.
        linear: out [23, 3] velocity of the segment's origin, m/s.
        angular: out [23, 3] rad/s.
    """
    for s in range(tables.parent.shape[0]):
        parent = tables.parent[s]
        for i in range(3):
            angular[s, i] = angular[parent, i] if parent >= 0 else 0.0
        for k in range(tables.freedoms[s]):
            for i in range(3):
                angular[s, i] += axes_world[s, k, i] * rates[tables.first[s] + k]
        if parent < 0:
            for i in range(3):
                linear[s, i] = rates[i]
        else:
            w = angular[parent]
            x = positions[s, 0] - positions[parent, 0]
            y = positions[s, 1] - positions[parent, 1]
            z = positions[s, 2] - positions[parent, 2]
            linear[s, 0] = linear[parent, 0] + w[1] * z - w[2] * y
            linear[s, 1] = linear[parent, 1] + w[2] * x - w[0] * z
            linear[s, 2] = linear[parent, 2] + w[0] * y - w[1] * x


@njit(cache=True)
def _forward_batch(
    tables: BodyTables, coordinates: Float64, lengths_m: Float64, positions: Float64, quaternions: Float64
) -> None:
    axes_world = np.zeros((tables.parent.shape[0], 3, 3))
    for t in range(coordinates.shape[0]):
        body_forward(tables, coordinates[t], lengths_m, positions[t], quaternions[t], axes_world)


def forward_kinematics_batch(coordinates: Float64, lengths_m: Float64) -> tuple[Float64, Float64]:
    """Segments over time.

    Args:
        coordinates: [T, 44].
        lengths_m: [11].

    Returns:
        World positions [T, 23, 3] and ``q_world_from_segment`` [T, 23, 4].
    """
    coordinates = np.ascontiguousarray(coordinates, dtype=np.float64)
    positions = np.empty((coordinates.shape[0], SEGMENTS, 3))
    quaternions = np.empty((coordinates.shape[0], SEGMENTS, 4))
    _forward_batch(TABLES, coordinates, np.ascontiguousarray(lengths_m, dtype=np.float64), positions, quaternions)
    return positions, quaternions


def forward_kinematics(coordinates: Float64, lengths_m: Float64) -> tuple[Float64, Float64]:
    """Segments at one time: positions [23, 3] and ``q_world_from_segment`` [23, 4]; see the batch form."""
    positions, quaternions = forward_kinematics_batch(np.asarray(coordinates, dtype=np.float64)[None], lengths_m)
    return positions[0], quaternions[0]
