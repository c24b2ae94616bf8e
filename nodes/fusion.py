"""The fusion node: records of every modality in, people out."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from nodes.node import Envelope, NodeContext, NodeParams

if TYPE_CHECKING:
    from fusion.pipeline import Pipeline, PipelineParams
    from fusion.rig import Rig

_POLL_S = 0.05
_BURST = 32
"""Most records that one published answer waits for."""


class SubjectParams(BaseModel):
    """What is known of the wearer beforehand; it goes before what the profile says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    height_m: float | None = Field(None, gt=0.5, lt=2.5)


class Params(NodeParams):
    """Keys of a ``fusion`` node."""

    type: str = "fusion"
    startup_s: float = Field(300.0, gt=0)
    """Deadline from start to ready; the first start on a machine compiles the filter's kernels."""
    inputs: tuple[str, ...] = Field(min_length=1)
    """Topics with landmarks, landmarks3d, samples, points or ticks; wildcards allowed."""
    subject: SubjectParams = SubjectParams()
    max_people: int = Field(4, ge=1, le=16)
    window_s: float = Field(0.3, ge=0.25, le=5.0)
    """How late a measurement may be and still be applied at its own time."""
    lock_after_s: float = Field(1.0, ge=0.0)
    """Segment lengths are learned for at least so long."""

    def publishes(self, name: str) -> tuple[str, ...]:
        """Topics of this node."""
        return (f"{name}/people",)


def pipeline_params(params: Params) -> PipelineParams:
    """The pipeline's parameters from the node's keys."""
    from dataclasses import replace

    from fusion.people import PeopleParams
    from fusion.pipeline import PipelineParams

    defaults = PeopleParams()
    person = replace(defaults.filter, window_s=params.window_s, lock_after_s=params.lock_after_s)
    return PipelineParams(people=replace(defaults, filter=person, max_people=params.max_people))


def _rig(params: Params, profile: str | None) -> Rig:
    from dataclasses import replace

    from calibration.profile import load_profile
    from fusion.rig import Rig

    rig = load_profile(profile) if profile else Rig()
    if params.subject.height_m is None:
        return rig
    return replace(rig, subject=replace(rig.subject, stature_m=params.subject.height_m))


def run(params: NodeParams, context: NodeContext) -> None:
    """Compile, then fuse until the graph stops."""
    from fusion.pipeline import Pipeline
    from fusion.rehearsal import rehearse

    assert isinstance(params, Params)
    pipeline = Pipeline(_rig(params, context.session.profile), pipeline_params(params))
    started = time.monotonic()
    context.log.info("compiling the filter's kernels (half a minute the first time, then from a cache)")
    rehearse()
    context.log.info("ready to fuse after %.1f s", time.monotonic() - started)
    context.ready()
    # Two people need the assignment solver; it loads beside the first records, so that a restart does not wait for it.
    threading.Thread(target=import_module, args=("scipy.optimize",), daemon=True).start()
    topic = f"{context.name}/people"
    seen: dict[str, int] = {}
    while not context.stopping:
        envelope = context.receive(_POLL_S)
        if envelope is None:
            _tick(pipeline, context, topic)
        else:
            _fuse(pipeline, context, topic, envelope)
        _report(pipeline, context, seen)


def _fuse(pipeline: Pipeline, context: NodeContext, topic: str, envelope: Envelope) -> None:
    """Take in a record and, in a live session, what else has come by now; publish once.

    A burst of late pictures then costs one pass over what comes after them. In
    ``data`` time each record is answered by itself, so that the outcome does not
    depend on how they arrive.
    """
    burst = [envelope]
    while context.session.time == "live" and len(burst) < _BURST:
        following = context.receive(0.0)
        if following is None:
            break
        burst.append(following)
    due = [item for item in burst if pipeline.take(item.record)]
    if due:
        context.publish(topic, pipeline.people(due[-1].record), cause=due[0])


def _tick(pipeline: Pipeline, context: NodeContext, topic: str) -> None:
    """In a live session time passes although nothing arrives: the pose goes on, its covariance grows."""
    from fusion.records import Tick

    if context.session.time != "live":
        return
    now = context.clock.now_ns()
    people = pipeline.step(Tick(measured_ns=now, received_ns=now))
    if people is not None and len(people.ids):
        context.publish(topic, people)


def _report(pipeline: Pipeline, context: NodeContext, seen: dict[str, int]) -> None:
    """Counters for health, and a line in the log the first time something is refused for a new reason."""
    counters: Mapping[str, float] = {**pipeline.bank.counters, "people": len(pipeline.bank.people)}
    context.counters.update(counters)
    for reason, count in pipeline.refused.items():
        if reason not in seen:
            context.log.warning("refused: %s", reason)
        seen[reason] = count
    context.counters["refused_records"] = sum(pipeline.refused.values())


__all__ = ["Params", "SubjectParams", "pipeline_params", "run"]
