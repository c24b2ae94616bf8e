"""Inverse kinematics of other tools on our body: what ``benchmarks.filter_cost`` measures us against.

Every tool gets the same body, the same points and the same goal

    sum_k |p_k(q) - point_k|^2  +  POSTURE * |q - rest|^2   (root left out)

so that they differ in how they solve it only. The second term is what makes the problem have one
answer: two hips and two shoulders do not tell how a trunk's bend is shared with the pelvis.

The body is ours (``fusion.body.skeleton``) with the wearer's true lengths: same joints, offsets, hinge axes
and number of degrees of freedom. One thing differs. The joints of our spine (four) and of our
neck (two) share one rotation vector each; none of the tools has such a joint, so each chain is one ball at the
mean place of its joints, which is the same to first order and costs them less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fusion.body import catalog
from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.body.skeleton import COORDINATE, JOINTS, LENGTH, REFERENCE_LENGTHS_M, SEGMENT
from fusion.maths import quaternion
from fusion.records import Float64, Int64

POSTURE = 4e-4
"""m^2/rad^2: a centimetre of a point weighs as much as half a radian of a joint."""

CONVERGED_M = 1e-4
"""A step that changes the mean distance of the points by no more than this was the last."""
MAX_STEPS = 30


@dataclass(frozen=True, slots=True)
class IkJoint:
    """One joint of the tree that the tools are given, and the body that it carries."""

    name: str
    parent: str
    """Empty for the root."""
    offset_m: tuple[float, float, float]
    """Place of the joint in the parent body's frame; all frames are aligned in the T-pose."""
    freedom: str
    """``root``, ``ball`` or ``hinges``."""
    axes: tuple[tuple[float, float, float], ...]
    """Hinge axes in the order of rotation, each along a coordinate axis."""
    columns: tuple[int, ...]
    """Which of our 44 coordinates are its own; the rotation vector for a ball."""


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What is to be tracked, and on what body."""

    joints: tuple[IkJoint, ...]
    """A parent before its children."""
    carrier: tuple[str, ...]
    """[K] name of the joint whose body carries the point."""
    offsets_m: Float64
    """[K, 3] in that body's frame."""
    points_m: Float64
    """[T, K, 3] world; NaN where fewer than two cameras saw the landmark."""
    start: Float64
    """[44] coordinates near the first frame."""


class Solver(Protocol):
    """One tool in one configuration."""

    @property
    def name(self) -> str:
        """Tool and configuration."""
        ...

    def restart(self) -> None:
        """Go back before the first frame."""
        ...

    def solve(self, frame: int) -> int:
        """Fit one frame from the pose of the last; returns the number of steps, -1 if the tool does not say."""
        ...

    def fitted_m(self) -> Float64:
        """World positions [K, 3] of the body's points after the last ``solve``."""
        ...


class Missing(RuntimeError):
    """A tool that is not installed; the message says how to get it."""


def make_problem(landmark_set: str, lengths_m: Float64, points_m: Float64, start: Float64) -> Problem:
    """The tools' body for a wearer with these lengths [11], and the points [T, K, 3] to fit.

    Landmarks that are not on the body must have been left out of the set.
    """
    placed = catalog.attachments(landmark_set)
    tree, body_of, origin = _tree(lengths_m)
    own = placed.unit_offset * lengths_m[placed.length][:, None]
    segments = _t_pose(lengths_m)
    carrier = tuple(body_of[segment] for segment in placed.segment)
    inside = np.array([segments[s] - origin[body] for s, body in zip(placed.segment, carrier, strict=True)])
    return Problem(tree, carrier, own + inside, points_m, start)


def rest_and_limits() -> tuple[Float64, Float64, Float64]:
    """Resting coordinates, lowest and highest value, each [44]."""
    low, high = coordinate_limits()
    return resting_coordinates(), low, high


def posture_weights() -> Float64:
    """Weight [44] of each coordinate's departure from rest; 0 for the root."""
    weights = np.full(len(COORDINATE), POSTURE)
    weights[: COORDINATE["root_rz"] + 1] = 0.0
    return weights


def mean_distance_m(fitted_m: Float64, points_m: Float64, seen: Int64) -> float:
    """Mean distance of fitted to given points [K, 3], over the indices ``seen``."""
    apart = fitted_m[seen] - points_m[seen]
    return float(np.sqrt((apart * apart).sum(axis=1)).mean())


def signed_axis(axis: tuple[float, float, float]) -> tuple[int, float]:
    """Index and sign of an axis that lies along a coordinate axis."""
    index = int(np.argmax(np.abs(axis)))
    return index, float(np.sign(axis[index]))


def ball_quaternion(coordinates: Float64, joint: IkJoint) -> Float64:
    """Rotation (wxyz) of the root or a ball."""
    columns = list(joint.columns[3:] if joint.freedom == "root" else joint.columns)
    return quaternion.from_rotvec(coordinates[columns])


def _t_pose(lengths_m: Float64) -> Float64:
    """World positions [23, 3] of the segments in the T-pose, pelvis at the origin."""
    scale = lengths_m / REFERENCE_LENGTHS_M
    places = np.zeros((len(JOINTS), 3))
    for index, joint in enumerate(JOINTS):
        if joint.parent:
            places[index] = places[SEGMENT[joint.parent]] + scale[LENGTH[joint.length]] * np.array(joint.offset_m)
    return places


def _tree(lengths_m: Float64) -> tuple[tuple[IkJoint, ...], dict[int, str], dict[str, Float64]]:
    """Joints with each chain as one ball; the body of each segment; the T-pose place of each body."""
    places = _t_pose(lengths_m)
    members: dict[tuple[str, ...], list[int]] = {}
    for index, joint in enumerate(JOINTS):
        members.setdefault(joint.coordinates, []).append(index)
    body_of: dict[int, str] = {}
    origin: dict[str, Float64] = {}
    joints: list[IkJoint] = []
    for coordinates, segments in members.items():
        first, name = JOINTS[segments[0]], JOINTS[segments[-1]].segment
        origin[name] = places[segments].mean(axis=0)
        body_of.update(dict.fromkeys(segments, name))
        parent = body_of[SEGMENT[first.parent]] if first.parent else ""
        x, y, z = origin[name] - (origin[parent] if parent else 0.0)
        joints.append(
            IkJoint(
                name=name,
                parent=parent,
                offset_m=(float(x), float(y), float(z)),
                freedom="ball" if first.freedom == "chain" else first.freedom,
                axes=first.axes,
                columns=tuple(COORDINATE[coordinate] for coordinate in coordinates),
            )
        )
    return tuple(joints), body_of, origin
