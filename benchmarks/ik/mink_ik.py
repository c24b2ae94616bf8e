"""Inverse kinematics with mink on MuJoCo (``pip install mink``): one quadratic program a step, with joint limits.

Two ways to drive it. ``api`` gives it a ``FrameTask`` a point, as its examples do. ``lean`` stacks
all points in one ``Task`` of our own, which mink is made for, and so saves most of its Python.
Posture is mink's ``PostureTask``, limits are its ``ConfigurationLimit``, the solver is DAQP.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any
from xml.etree import ElementTree

import numpy as np

from benchmarks.ik import (
    CONVERGED_M,
    MAX_STEPS,
    POSTURE,
    Missing,
    Problem,
    ball_quaternion,
    mean_distance_m,
    rest_and_limits,
)
from fusion.records import Array, Float64

SOURCE = "pip install mink"
SOLVER = "daqp"
_DT_S = 1.0
"""mink works with velocities; a step of one second makes them displacements."""


class MinkIk:
    """mink in one configuration.

    Args:
        problem: body and points.
        lean: one task for all points instead of one a point.
        steps: exactly so many quadratic programs; None until converged.
    """

    def __init__(self, problem: Problem, *, lean: bool, steps: int | None) -> None:
        try:
            self._mink: Any = import_module("mink")
            self._mujoco: Any = import_module("mujoco")
            import_module(SOLVER)
        except ImportError as error:
            raise Missing(f"mink is not installed ({SOURCE}): {error}") from error
        self.problem = problem
        self.lean = lean
        self.steps = steps
        self._model: Any = self._mujoco.MjModel.from_xml_string(mjcf(problem))
        self._configuration: Any = self._mink.Configuration(self._model)
        # MuJoCo numbers sites along its tree, not as they were written.
        self._site = np.array([self._model.site(f"point_{k}").id for k in range(len(problem.carrier))])
        self._start = _positions(problem, problem.start)
        posture = self._mink.PostureTask(self._model, cost=np.sqrt(POSTURE))
        posture.set_target(_positions(problem, rest_and_limits()[0]))
        # 0.95 of the way to a limit a step is mink's default; the rest keeps it from ever being reached.
        self._limits = [self._mink.ConfigurationLimit(self._model)]
        self._posture = posture
        self._stacked = _stacked_task(self._mink, self._mujoco, self._model, self._site) if lean else None
        self._tasks = [] if lean else self._frame_tasks()

    @property
    def name(self) -> str:
        """See ``Solver``."""
        return f"mink {'lean' if self.lean else 'api'} {'converged' if self.steps is None else f'{self.steps} steps'}"

    def restart(self) -> None:
        """See ``Solver``."""
        self._configuration.update(self._start)

    def solve(self, frame: int) -> int:
        """See ``Solver``."""
        target = self.problem.points_m[frame]
        seen = np.flatnonzero(np.isfinite(target[:, 0]))
        points = self._aimed(target, seen)
        limit = MAX_STEPS if self.steps is None else self.steps
        before = np.inf
        for step in range(limit):
            if self.steps is None:
                now = mean_distance_m(self.fitted_m(), target, seen)
                if abs(before - now) <= CONVERGED_M:
                    return step
                before = now
            velocity = self._mink.solve_ik(
                self._configuration, [*points, self._posture], _DT_S, SOLVER, limits=self._limits
            )
            self._configuration.integrate_inplace(velocity, _DT_S)
        return limit

    def fitted_m(self) -> Float64:
        """See ``Solver``."""
        return np.asarray(self._configuration.data.site_xpos[self._site])

    def _frame_tasks(self) -> list[Any]:
        return [
            self._mink.FrameTask(f"point_{k}", "site", position_cost=1.0, orientation_cost=0.0)
            for k in range(len(self.problem.carrier))
        ]

    def _aimed(self, target: Float64, seen: Array) -> list[Any]:
        """The tasks of the points that there are.

        A ``FrameTask`` measures the distance of poses. With the site's own rotation of the last frame as the
        target's it is that of the points to first order, and one target a frame is enough.
        """
        if self._stacked is not None:
            self._stacked.aim(target, seen)
            return [self._stacked]
        mink, rotations = self._mink, self._configuration.data.site_xmat
        for k in seen:
            rotation = mink.SO3.from_matrix(rotations[self._site[k]].reshape(3, 3))
            self._tasks[k].set_target(mink.SE3.from_rotation_and_translation(rotation, target[k]))
        return [self._tasks[k] for k in seen]


def _stacked_task(mink: Any, mujoco: Any, model: Any, site: Array) -> Any:
    """All points as one task: error and Jacobian in world axes."""

    class PointsTask(mink.Task):  # type: ignore[misc]
        """Distance of sites to points."""

        def __init__(self) -> None:
            super().__init__(cost=np.ones(0))
            self._target = np.zeros((0, 3))
            self._sites: list[int] = []
            self._rows = np.zeros((3 * model.nsite, model.nv))

        def aim(self, target: Float64, seen: Array) -> None:
            """Take the points of one frame; ``seen`` are those that there are."""
            self._target = target[seen]
            self._sites = site[seen].tolist()
            self.cost = np.ones(3 * len(seen))

        def compute_error(self, configuration: Any) -> Any:
            """[3 n] world."""
            return (configuration.data.site_xpos[self._sites] - self._target).ravel()

        def compute_jacobian(self, configuration: Any) -> Any:
            """[3 n, nv] world."""
            for row, index in enumerate(self._sites):
                mujoco.mj_jacSite(model, configuration.data, self._rows[3 * row : 3 * row + 3], None, index)
            return self._rows[: 3 * len(self._sites)]

    return PointsTask()


def mjcf(problem: Problem) -> str:
    """The body in MuJoCo's XML: free, ball and hinge joints, a site a point."""
    root = ElementTree.Element("mujoco")
    ElementTree.SubElement(root, "compiler", angle="radian", autolimits="true")
    bodies = {"": ElementTree.SubElement(root, "worldbody")}
    _, low, high = rest_and_limits()
    for joint in problem.joints:
        body = ElementTree.SubElement(bodies[joint.parent], "body", name=joint.name, pos=_text(joint.offset_m))
        bodies[joint.name] = body
        ElementTree.SubElement(body, "inertial", pos="0 0 0", mass="1", diaginertia="0.01 0.01 0.01")
        if joint.freedom == "hinges":
            for number, (axis, column) in enumerate(zip(joint.axes, joint.columns, strict=True)):
                name, span = f"{joint.name}_{number}", _text((low[column], high[column]))
                ElementTree.SubElement(body, "joint", name=name, type="hinge", axis=_text(axis), range=span)
        else:
            kind = "free" if joint.freedom == "root" else "ball"
            ElementTree.SubElement(body, "joint", name=joint.name, type=kind)
    for k, (name, offset) in enumerate(zip(problem.carrier, problem.offsets_m, strict=True)):
        ElementTree.SubElement(bodies[name], "site", name=f"point_{k}", pos=_text(tuple(offset)))
    return ElementTree.tostring(root, encoding="unicode")


def _text(numbers: tuple[float, ...]) -> str:
    return " ".join(repr(float(number)) for number in numbers)


def _positions(problem: Problem, coordinates: Float64) -> Float64:
    """MuJoCo's ``qpos`` of our coordinates [44]."""
    parts: list[Float64] = []
    for joint in problem.joints:
        if joint.freedom == "root":
            parts.append(coordinates[list(joint.columns[:3])])
        if joint.freedom == "hinges":
            parts.append(coordinates[list(joint.columns)])
        else:
            parts.append(ball_quaternion(coordinates, joint))
    return np.concatenate(parts)
