"""Inverse kinematics with OpenSim 4.6 (``pip install opensim``): its own solver on a model of our body.

What is timed is ``InverseKinematicsSolver.track``, which solves one frame from the pose of the last; all
points are handed over in one table beforehand. Simbody's assembler decides by its accuracy when it is
done and does not say after how many steps.

Source: Delp et al., "OpenSim: open-source software to create and analyze dynamic simulations of movement",
IEEE TBME 54(11), 2007; Seth et al., PLoS Comput Biol 14(7), 2018.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.ik import IkJoint, Missing, Problem, posture_weights, rest_and_limits
from fusion.records import Float64

SOURCE = "pip install opensim"
DEFAULT_ACCURACY = 1e-5
_PERIOD_S = 0.01
"""Between rows of the table; only their order matters."""


class OpenSimIk:
    """OpenSim at one accuracy.

    Args:
        problem: body and points.
        accuracy: of Simbody's assembler; 1e-5 is OpenSim's own.
    """

    def __init__(self, problem: Problem, *, accuracy: float = DEFAULT_ACCURACY) -> None:
        try:
            self._opensim: Any = import_module("opensim")
        except ImportError as error:
            raise Missing(f"opensim is not installed ({SOURCE}): {error}") from error
        opensim = self._opensim
        # Else it writes opensim.log into the working folder.
        opensim.Logger.setLevelString("Off")
        opensim.Logger.removeFileSink()
        self.problem = problem
        self.accuracy = accuracy
        self._model: Any = _model(opensim, problem)
        self._state: Any = self._model.initSystem()
        self._references = opensim.MarkersReference(_table(opensim, problem), opensim.SetMarkerWeights())
        self._solver: Any = None
        self._start = _coordinates(problem, problem.start)

    @property
    def name(self) -> str:
        """See ``Solver``."""
        return f"opensim accuracy {self.accuracy:g}"

    def restart(self) -> None:
        """See ``Solver``; assembles the first frame."""
        opensim = self._opensim
        for name, value in self._start.items():
            self._model.getCoordinateSet().get(name).setValue(self._state, value, False)
        self._solver = opensim.InverseKinematicsSolver(
            self._model, self._references, _posture(opensim, self.problem), np.inf
        )
        self._solver.setAccuracy(self.accuracy)
        self._state.setTime(0.0)
        self._solver.assemble(self._state)

    def solve(self, frame: int) -> int:
        """See ``Solver``."""
        self._state.setTime(frame * _PERIOD_S)
        self._solver.track(self._state)
        return -1

    def fitted_m(self) -> Float64:
        """See ``Solver``."""
        self._model.realizePosition(self._state)
        markers = self._model.getMarkerSet()
        places = [markers.get(k).getLocationInGround(self._state) for k in range(markers.getSize())]
        return np.array([[place.get(i) for i in range(3)] for place in places])


def _names(joint: IkJoint) -> tuple[str, ...]:
    """Names of its coordinates: rotations first, then the root's translations."""
    return tuple(f"{joint.name}_{number}" for number in range(len(joint.columns)))


def _model(opensim: Any, problem: Problem) -> Any:
    model = opensim.Model()
    model.setName("kinefuse")
    bodies = {"": model.getGround()}
    for joint in problem.joints:
        body = opensim.Body(joint.name, 1.0, opensim.Vec3(0.0), opensim.Inertia(0.01, 0.01, 0.01))
        model.addBody(body)
        bodies[joint.name] = body
        made = _joint(opensim, joint, bodies[joint.parent], body)
        for number, name in enumerate(_names(joint)):
            made.upd_coordinates(number).setName(name)
        model.addJoint(made)
    for k, (carrier, offset) in enumerate(zip(problem.carrier, problem.offsets_m, strict=True)):
        model.addMarker(opensim.Marker(f"point_{k}", bodies[carrier], _vector(opensim, offset)))
    model.finalizeConnections()
    return model


def _joint(opensim: Any, joint: IkJoint, parent: Any, body: Any) -> Any:
    """A free, ball, universal or pin joint; hinge axes become those that OpenSim's joints turn about."""
    turn = _axes_rotation(joint)
    angles = _vector(opensim, _euler(Rotation.from_matrix(turn)))
    kinds = {"root": opensim.FreeJoint, "ball": opensim.BallJoint}
    hinges = opensim.PinJoint if len(joint.axes) == 1 else opensim.UniversalJoint
    kind = kinds.get(joint.freedom, hinges)
    place = _vector(opensim, joint.offset_m)
    return kind(f"{joint.name}_joint", parent, place, angles, body, opensim.Vec3(0.0), angles)


def _axes_rotation(joint: IkJoint) -> Float64:
    """Rotation [3, 3] from the joint's to the body's axes: a pin turns about z, a universal joint about x, then y."""
    if not joint.axes:
        return np.eye(3)
    if len(joint.axes) == 2:
        x, y = (np.array(axis) for axis in joint.axes)
        return np.stack([x, y, np.cross(x, y)], axis=1)
    z = np.array(joint.axes[0])
    x = np.roll(np.abs(z), 1)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _euler(rotation: Rotation) -> Float64:
    """Angles [3] about the body's own x, y, z; where y is a right angle any of the many answers will do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return np.asarray(rotation.as_euler("XYZ"))


def _coordinates(problem: Problem, ours: Float64) -> dict[str, float]:
    """OpenSim's coordinates of our 44: balls and the root turn about their own x, y, z in this order."""
    values: dict[str, float] = {}
    for joint in problem.joints:
        own = ours[list(joint.columns)]
        if joint.freedom == "root":
            own = np.concatenate([_euler(Rotation.from_rotvec(own[3:])), own[:3]])
        elif joint.freedom == "ball":
            own = _euler(Rotation.from_rotvec(own))
        values.update({name: float(value) for name, value in zip(_names(joint), own, strict=True)})
    return values


def _posture(opensim: Any, problem: Problem) -> Any:
    """A reference a coordinate, at rest; the root's have none. Angles of a ball are Euler's, not those of its vector.

    Simbody divides the markers' goal by their number, so the posture's has to be divided too.
    """
    references = opensim.SimTKArrayCoordinateReference()
    rest = _coordinates(problem, rest_and_limits()[0])
    weights = posture_weights() / len(problem.carrier)
    for joint in problem.joints:
        for name, column in zip(_names(joint), joint.columns, strict=True):
            if weights[column] > 0.0:
                reference = opensim.CoordinateReference(name, opensim.Constant(rest[name]))
                reference.setWeight(float(weights[column]))
                references.push_back(reference)
    return references


def _table(opensim: Any, problem: Problem) -> Any:
    table = opensim.TimeSeriesTableVec3()
    labels = opensim.StdVectorString()
    for k in range(len(problem.carrier)):
        labels.append(f"point_{k}")
    table.setColumnLabels(labels)
    for frame, points in enumerate(problem.points_m):
        row = opensim.RowVectorVec3(len(points))
        for k, point in enumerate(points):
            row[k] = _vector(opensim, point)
        table.appendRow(frame * _PERIOD_S, row)
    table.addTableMetaDataString("Units", "m")
    return table


def _vector(opensim: Any, values: Any) -> Any:
    return opensim.Vec3(*(float(value) for value in values))
