"""Guide node: leads the wearer of inertial sensors through their calibration.

It shows what to do as ``NAME/guide`` (the viewer draws it), notes each step as
``NAME/annotation``, so that a recording can be calibrated again, and writes the
outcome as JSON to ``out``. ``kinefuse calibrate imu PROFILE --graph GRAPH`` adds
one to a graph and makes a profile of the outcome.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from fusion.records import Annotation
from nodes.graph.schema import InputPath, OutputPath
from nodes.node import NodeContext, NodeParams

if TYPE_CHECKING:
    from calibration.inertial.guide import Guided
    from calibration.inertial.result import InertialCalibration

STEPS = ("n_pose", "t_pose", "n_pose", "walk")
KNOWN_STEPS = ("n_pose", "t_pose", "walk")
ENDED = ("done", "refused")
WAIT_S = 0.2
REMIND_S = 5.0


class Params(NodeParams):
    """Keys of a guide node."""

    type: str = "guide"
    inputs: tuple[str, ...] = ("*/samples",)
    """Topics with inertial samples; wildcards allowed."""
    steps: tuple[str, ...] = Field(STEPS, min_length=1)
    """What the wearer is asked to do, in this order: n_pose, t_pose, walk."""
    hold_s: float = Field(2.0, ge=1.0, le=30.0)
    """Each pose is held still for so long."""
    before: InputPath | None = None
    """The profile whose sensors are waited for, and whose mountings stand in where no movement tells a heading."""
    out: OutputPath | None = None
    """Where the outcome goes, as JSON; a file that is there is replaced."""

    @field_validator("steps")
    @classmethod
    def _steps(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        for step in steps:
            if step not in KNOWN_STEPS:
                raise ValueError(f"{step!r} cannot be guided; allowed: {', '.join(KNOWN_STEPS)}")
        return steps

    def publishes(self, name: str) -> tuple[str, ...]:
        """Topics of this node."""
        return (f"{name}/guide", f"{name}/annotation")


def run(params: Params, context: NodeContext) -> None:
    """Guide until the calibration is done or the graph stops."""
    from fusion.records import InertialSamples

    guided = _guided(params)
    context.ready()
    waited_s = 0.0
    while not context.stopping:
        envelope = context.receive(WAIT_S)
        if envelope is None:
            waited_s = _remind(context, waited_s)
            continue
        waited_s = 0.0
        if guided.step_name in ENDED or not isinstance(envelope.record, InertialSamples):
            continue
        shown = guided.step(envelope.record)
        context.counters.update({f"refused/{reason}": count for reason, count in guided.refused.items()})
        if guided.result is not None:
            context.log.info("calibration %s", guided.step_name)
            if params.out is not None:
                write_outcome(Path(params.out), guided.result)
        for record in shown:
            stream = "annotation" if isinstance(record, Annotation) else "guide"
            context.publish(f"{context.name}/{stream}", record, cause=envelope)


def _remind(context: NodeContext, waited_s: float) -> float:
    waited_s += WAIT_S
    if waited_s < REMIND_S:
        return waited_s
    context.log.warning("no samples on %s: is the sensor system on?", ", ".join(context.inputs) or "any topic")
    return 0.0


def _guided(params: Params) -> Guided:
    from calibration.inertial.guide import Guided, GuideParams
    from calibration.profile import load_profile

    mounts = load_profile(params.before).imus if params.before else ()
    previous = {mount.segment: mount.q_segment_from_sensor for mount in mounts}
    return Guided(GuideParams(steps=params.steps, hold_s=params.hold_s), previous, expected=previous)


def write_outcome(path: Path, result: InertialCalibration) -> None:
    """Write an outcome, whole or not at all."""
    from calibration.inertial.result import to_values

    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(to_values(result), file)
    os.replace(name, path)
