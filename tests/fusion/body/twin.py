"""Forward kinematics as a reader would write it: one joint after another, in plain numpy."""

from __future__ import annotations

import math

import numpy as np

from fusion.body.skeleton import COORDINATE, COORDINATE_NAMES, JOINTS, LENGTH, REFERENCE_LENGTHS_M, Joint
from fusion.maths import quaternion
from fusion.records import Float64

ROTATION_VECTORS = {name for joint in JOINTS if joint.freedom in ("root", "ball") for name in joint.coordinates[-3:]}
"""Coordinates of a rotation that is perturbed on the right; all others are perturbed by addition."""


def joint_rotation(joint: Joint, coordinates: Float64) -> Float64:
    """``q_parent_from_segment`` of a joint (``q_world_from_segment`` of the root)."""
    values = coordinates[[COORDINATE[name] for name in joint.coordinates]]
    if joint.freedom == "hinges":
        q = quaternion.IDENTITY
        for axis, angle in zip(joint.axes, values, strict=True):
            q = quaternion.multiply(q, quaternion.from_rotvec(angle * np.array(axis)))
        return q
    sharers = sum(other.coordinates == joint.coordinates for other in JOINTS)
    return quaternion.from_rotvec(values[-3:] / sharers)


def forward(coordinates: Float64, lengths_m: Float64) -> tuple[Float64, Float64]:
    """Positions [23, 3] and ``q_world_from_segment`` [23, 4]."""
    placed: dict[str, tuple[Float64, Float64]] = {}
    for joint in JOINTS:
        q = joint_rotation(joint, coordinates)
        if joint.freedom == "root":
            placed[joint.segment] = coordinates[[COORDINATE[name] for name in joint.coordinates[:3]]], q
            continue
        position_m, q_world_from_parent = placed[joint.parent]
        scale = lengths_m[LENGTH[joint.length]] / REFERENCE_LENGTHS_M[LENGTH[joint.length]]
        offset_m = quaternion.rotate(q_world_from_parent, scale * np.array(joint.offset_m))
        placed[joint.segment] = position_m + offset_m, quaternion.multiply(q_world_from_parent, q)
    return np.array([p for p, _ in placed.values()]), np.array([q for _, q in placed.values()])


def perturbed(coordinates: Float64, name: str, step: float) -> Float64:
    """Coordinates after a small step of one of them, by the rule that its kind has."""
    moved = coordinates.copy()
    if name not in ROTATION_VECTORS:
        moved[COORDINATE[name]] += step
        return moved
    first = COORDINATE[name[:-1] + "x"]
    turn = np.zeros(3)
    turn[COORDINATE[name] - first] = step
    q = quaternion.multiply(quaternion.from_rotvec(coordinates[first : first + 3]), quaternion.from_rotvec(turn))
    moved[first : first + 3] = quaternion.to_rotvec(q)
    return moved


def random_coordinates(random: np.random.Generator, scale_rad: float = 1.0) -> Float64:
    """A pose that uses every coordinate, legal or not."""
    coordinates = random.uniform(-scale_rad, scale_rad, len(COORDINATE_NAMES))
    coordinates[:3] = random.uniform(-3.0, 3.0, 3)
    coordinates[3:6] = random.uniform(-math.pi, math.pi, 3) / math.sqrt(3.0)
    return coordinates


def random_lengths(random: np.random.Generator) -> Float64:
    """Lengths of a body that is nobody's."""
    return REFERENCE_LENGTHS_M * random.uniform(0.7, 1.4, len(REFERENCE_LENGTHS_M))
