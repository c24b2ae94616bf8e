"""Inverse kinematics with Pinocchio (``pip install pin``): damped Gauss-Newton on stacked point Jacobians.

Two ways to drive it. ``api`` asks Pinocchio for every frame's placement and Jacobian, as its examples do.
``lean`` asks once for the Jacobian of the whole tree (``data.J``) and the placements of the bodies, and
makes the points' rows from them in one compiled kernel of our own: as little Python as one can have.

Source: Carpentier et al., "The Pinocchio C++ library", SII 2019; ``data.J`` is in world coordinates, so a
point p moves with column c by ``J[:3, c] + J[3:, c] x p`` where c is above it in the tree.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np
from numba import njit
from scipy.linalg.lapack import dposv

from benchmarks.ik import (
    CONVERGED_M,
    MAX_STEPS,
    IkJoint,
    Missing,
    Problem,
    ball_quaternion,
    mean_distance_m,
    posture_weights,
    rest_and_limits,
    signed_axis,
)
from fusion.records import Array, Float64

SOURCE = "pip install pin"
_AXIS_MODELS = ("JointModelRX", "JointModelRY", "JointModelRZ")


class PinocchioIk:
    """Pinocchio in one configuration.

    Args:
        problem: body and points.
        lean: compiled assembly of the rows instead of a call a frame.
        steps: exactly so many; None until converged.
    """

    def __init__(self, problem: Problem, *, lean: bool, steps: int | None) -> None:
        try:
            self._pin: Any = import_module("pinocchio")
        except ImportError as error:
            raise Missing(f"pinocchio is not installed ({SOURCE}): {error}") from error
        self.problem = problem
        self.lean = lean
        self.steps = steps
        self._model, self._joint_of, weights, signs = _model(self._pin, problem)
        self._weights: Float64 = weights
        self._frames = _add_points(self._pin, self._model, problem, self._joint_of)
        self._data: Any = self._model.createData()
        self._rest = _configuration(self._pin, self._model, problem, rest_and_limits()[0], signs)
        self._start = _configuration(self._pin, self._model, problem, problem.start, signs)
        self._q = self._start.copy()
        count, freedoms = len(problem.carrier), self._model.nv
        self._carrier = np.array([self._joint_of[name] for name in problem.carrier])
        self._places = _placements(self._data)
        self._above = _columns_above(self._model, self._carrier)
        self._points = np.zeros((count, 3))
        self._rows = np.zeros((3 * count, freedoms))
        self._residual = np.zeros(3 * count)
        self._hessian = np.zeros((freedoms, freedoms), order="F")

    @property
    def name(self) -> str:
        """See ``Solver``."""
        return f"pinocchio {'lean' if self.lean else 'api'} {_steps(self.steps)}"

    def restart(self) -> None:
        """See ``Solver``."""
        self._q = self._start.copy()

    def solve(self, frame: int) -> int:
        """See ``Solver``."""
        target = self.problem.points_m[frame]
        seen = np.flatnonzero(np.isfinite(target[:, 0]))
        limit = MAX_STEPS if self.steps is None else self.steps
        before = np.inf
        linearise = self._linearise_lean if self.lean else self._linearise_api
        for step in range(limit):
            now = linearise(target, seen)
            if self.steps is None and abs(before - now) <= CONVERGED_M:
                return step
            before = now
            self._step(3 * len(seen))
        return limit

    def fitted_m(self) -> Float64:
        """See ``Solver``."""
        self._pin.framesForwardKinematics(self._model, self._data, self._q)
        return np.array([self._data.oMf[frame].translation for frame in self._frames])

    def _linearise_api(self, target: Float64, seen: Array) -> float:
        """Rows and residuals at the present pose; returns the mean distance."""
        pin, model, data = self._pin, self._model, self._data
        pin.computeJointJacobians(model, data, self._q)
        pin.updateFramePlacements(model, data)
        for row, k in enumerate(seen):
            frame = self._frames[k]
            self._points[k] = data.oMf[frame].translation
            jacobian = pin.getFrameJacobian(model, data, frame, pin.LOCAL_WORLD_ALIGNED)
            self._rows[3 * row : 3 * row + 3] = jacobian[:3]
            self._residual[3 * row : 3 * row + 3] = target[k] - self._points[k]
        return mean_distance_m(self._points, target, seen)

    def _linearise_lean(self, target: Float64, seen: Array) -> float:
        """As ``_linearise_api``."""
        self._pin.computeJointJacobians(self._model, self._data, self._q)
        return point_rows(
            self._data.J,
            self._places,
            self._carrier,
            self.problem.offsets_m,
            self._above,
            target,
            seen,
            self._points,
            self._rows,
            self._residual,
        )

    def _step(self, rows: int) -> None:
        jacobian, residual = self._rows[:rows], self._residual[:rows]
        np.dot(jacobian.T, jacobian, out=self._hessian.T)
        self._hessian.flat[:: len(self._hessian) + 1] += self._weights
        from_rest = self._pin.difference(self._model, self._q, self._rest)
        gradient = residual @ jacobian + self._weights * from_rest
        # The root alone has no weight; five points not in a line hold it.
        _, move, failed = dposv(self._hessian, gradient, overwrite_a=1, overwrite_b=1)
        if failed:
            raise ArithmeticError("the normal equations are not positive definite")
        self._q = self._pin.integrate(self._model, self._q, move)


def _steps(steps: int | None) -> str:
    return "converged" if steps is None else f"{steps} steps"


def _model(pin: Any, problem: Problem) -> tuple[Any, dict[str, int], Float64, dict[str, tuple[float, ...]]]:
    """The tree as a Pinocchio model; the joint of each body; posture weights [nv]; the signs of the hinges."""
    model = pin.Model()
    joint_of: dict[str, int] = {}
    signs: dict[str, tuple[float, ...]] = {}
    weights: list[float] = []
    ours = posture_weights()
    for joint in problem.joints:
        parent = joint_of[joint.parent] if joint.parent else 0
        place = pin.SE3(np.eye(3), np.array(joint.offset_m))
        if joint.freedom == "hinges":
            indices, signs[joint.name] = zip(*(signed_axis(axis) for axis in joint.axes), strict=True)
            for number, index in enumerate(indices):
                kind = getattr(pin, _AXIS_MODELS[index])()
                parent = model.addJoint(parent, kind, place, f"{joint.name}_{number}")
                place = pin.SE3.Identity()
        else:
            kind = pin.JointModelFreeFlyer() if joint.freedom == "root" else pin.JointModelSpherical()
            parent = model.addJoint(parent, kind, place, joint.name)
        joint_of[joint.name] = parent
        weights += [ours[column] for column in joint.columns]
    return model, joint_of, np.array(weights), signs


def _add_points(pin: Any, model: Any, problem: Problem, joint_of: dict[str, int]) -> list[int]:
    frames = []
    for k, (name, offset) in enumerate(zip(problem.carrier, problem.offsets_m, strict=True)):
        place = pin.SE3(np.eye(3), offset)
        frames.append(model.addFrame(pin.Frame(f"point_{k}", joint_of[name], 0, place, pin.FrameType.OP_FRAME)))
    return frames


def _configuration(
    pin: Any, model: Any, problem: Problem, coordinates: Float64, signs: dict[str, tuple[float, ...]]
) -> Float64:
    """Pinocchio's configuration vector of our coordinates [44]."""
    parts: list[Float64] = []
    for joint in problem.joints:
        parts.append(_joint_configuration(joint, coordinates, signs))
    return np.concatenate(parts)


def _joint_configuration(joint: IkJoint, coordinates: Float64, signs: dict[str, tuple[float, ...]]) -> Float64:
    if joint.freedom == "hinges":
        return np.asarray(coordinates[list(joint.columns)] * np.array(signs[joint.name]))
    w, x, y, z = ball_quaternion(coordinates, joint)
    turn = np.array([x, y, z, w])
    return np.concatenate([coordinates[list(joint.columns[:3])], turn]) if joint.freedom == "root" else turn


def _placements(data: Any) -> Float64:
    """A view [joints, 4, 3] of all placements in Pinocchio's memory: the columns of the rotation, then the origin.

    Taking them one by one costs as much as the rest of a step.

    Raises:
        Missing: if this build of Pinocchio keeps them in another way.
    """
    one = data.oMi[0].rotation
    size = one.itemsize
    shape, strides = (len(data.oMi), 4, 3), (12 * size, 3 * size, size)
    view = np.lib.stride_tricks.as_strided(one, shape, strides, writeable=False)
    for joint, place in enumerate(view):
        if place[3].ctypes.data != data.oMi[joint].translation.ctypes.data:
            raise Missing("this Pinocchio lays its placements out in an unknown way; 4.1 is known to fit")
    return view


def _columns_above(model: Any, joints: Array) -> Array:
    """[K, nv] whether a column of the velocity moves the k-th of these joints' bodies."""
    above = np.zeros((len(joints), model.nv), dtype=np.bool_)
    for k, joint in enumerate(joints):
        for support in list(model.supports[int(joint)])[1:]:
            first, count = model.joints[support].idx_v, model.joints[support].nv
            above[k, first : first + count] = True
    return above


@njit(cache=True)
def point_rows(
    tree: Float64,
    places: Float64,
    carrier: Array,
    offsets_m: Float64,
    above: Array,
    target: Float64,
    seen: Array,
    points: Float64,
    rows: Float64,
    residual: Float64,
) -> float:
    """Points [K, 3], their residuals and Jacobian rows from the tree's Jacobian [6, nv] and placements [B, 4, 3].

    Returns the mean distance to the targets.
    """
    total = 0.0
    for row in range(seen.shape[0]):
        k = seen[row]
        place = places[carrier[k]]
        for i in range(3):
            points[k, i] = place[3, i]
            for j in range(3):
                points[k, i] += place[j, i] * offsets_m[k, j]
            residual[3 * row + i] = target[k, i] - points[k, i]
        total += math.sqrt(residual[3 * row] ** 2 + residual[3 * row + 1] ** 2 + residual[3 * row + 2] ** 2)
        x, y, z = points[k, 0], points[k, 1], points[k, 2]
        for c in range(tree.shape[1]):
            if above[k, c]:
                rows[3 * row, c] = tree[0, c] + tree[4, c] * z - tree[5, c] * y
                rows[3 * row + 1, c] = tree[1, c] + tree[5, c] * x - tree[3, c] * z
                rows[3 * row + 2, c] = tree[2, c] + tree[3, c] * y - tree[4, c] * x
            else:
                rows[3 * row, c] = 0.0
                rows[3 * row + 1, c] = 0.0
                rows[3 * row + 2, c] = 0.0
    return float(total / seen.shape[0])
