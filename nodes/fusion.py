"""The fusion node: records of every modality in, people out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from nodes.errors import listed, suggestion
from nodes.graph.schema import input_path
from nodes.models import radar
from nodes.models.inertial import DEFAULT, shipped
from nodes.node import Envelope, NodeContext, NodeParams

if TYPE_CHECKING:
    from fusion.estimators.inertial.packing import NetworkWeights
    from fusion.estimators.radar.packing import RadarWeights
    from fusion.pipeline import Pipeline, PipelineParams
    from fusion.records import RadarJoints, RadarTracks, Record
    from fusion.rig import Rig

_POLL_S = 0.05
_SPARE_S = 0.1
_INNOVATIONS_NS = 1_000_000_000
_INERTIAL_NS = 500_000_000
_REST = 3.0
"""After smoothing in a live session it rests for so many times as long as that took."""
_BURST = 32
"""Most records that one published answer waits for."""


NONE = "none"


def _weights_name(value: str, info: ValidationInfo, names: Iterable[str]) -> str:
    if value.endswith(".npz"):
        return input_path(value, info)
    known = [*names, NONE]
    if value not in known:
        raise ValueError(
            f"{value!r} is no network{suggestion(value, known)}; allowed: {listed(known)}, or a file NAME.npz"
        )
    return value


def _network_name(value: str, info: ValidationInfo) -> str:
    return _weights_name(value, info, shipped())


NetworkName = Annotated[str, AfterValidator(_network_name)]


def _radar_network_name(value: str, info: ValidationInfo) -> str:
    return _weights_name(value, info, radar.shipped())


RadarNetworkName = Annotated[str, AfterValidator(_radar_network_name)]


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
    """Topics with landmarks, landmarks3d, samples, points, joints or ticks; wildcards allowed."""
    subject: SubjectParams = SubjectParams()
    max_people: int = Field(4, ge=1, le=16)
    window_s: float = Field(0.3, ge=0.25, le=5.0)
    """How late a measurement may be and still be applied at its own time."""
    lock_after_s: float = Field(1.0, ge=0.0)
    """Segment lengths are learned for at least so long."""
    lag_s: float | None = Field(None, ge=0.0, le=5.0)
    """Publish ``NAME/smoothed`` too: everyone as they were so long ago, in the light of all that has come since."""
    ahead_s: float | None = Field(None, ge=0.0, le=1.0)
    """Publish ``NAME/predicted`` too: everyone as they will be so much later, for who must hide latency."""
    floor: bool = True
    """Whether people stand on a floor near z = 0; off for stairs and climbing."""
    magnetometer: bool = False
    """Whether the magnetic field holds the headings of inertial sensors; for rooms without much iron."""
    network: NetworkName = DEFAULT
    """Weights of the network that tells what carries no sensor of a wearer of the usual six: a name that
    ``kinefuse models list`` shows, a file of ``kinefuse train imu`` (NAME.npz), or ``none``."""
    radar_network: RadarNetworkName = radar.DEFAULT
    """Weights of the network that makes joints of radar points, for somebody who faces the radar: a name that
    ``kinefuse models list`` shows, a file of ``kinefuse train radar`` (NAME.npz), or ``none``."""

    def publishes(self, name: str) -> tuple[str, ...]:
        """Topics of this node."""
        more = {"smoothed": self.lag_s, "predicted": self.ahead_s}
        return (
            f"{name}/people",
            f"{name}/innovations",
            f"{name}/inertial",
            f"{name}/tracks",
            f"{name}/joints",
            *(f"{name}/{key}" for key, on in more.items() if on is not None),
        )


def pipeline_params(params: Params) -> PipelineParams:
    """The pipeline's parameters from the node's keys."""
    from dataclasses import replace

    from fusion.people import PeopleParams
    from fusion.pipeline import PipelineParams, held_by_north

    defaults = PeopleParams()
    person = replace(
        defaults.filter,
        # The ring must reach as far back as the lag, with a little to spare for what is late.
        window_s=max(params.window_s, (params.lag_s or 0.0) + _SPARE_S),
        lock_after_s=params.lock_after_s,
        contact=defaults.filter.contact if params.floor else None,
    )
    made = PipelineParams(people=replace(defaults, filter=person, max_people=params.max_people))
    return held_by_north(made) if params.magnetometer else made


def network_of(params: Params) -> NetworkWeights | None:
    """The weights that the node's keys name.

    Raises:
        ModelError: the file is not one of weights.
    """
    from nodes.models.inertial import load

    return None if params.network == NONE else load(params.network)


def radar_network_of(params: Params) -> RadarWeights | None:
    """The weights for radar points that the node's keys name.

    Raises:
        ModelError: the file is not one of weights.
    """
    return None if params.radar_network == NONE else radar.load(params.radar_network)


def rig_of(params: Params, profile: str | Path | None) -> Rig:
    """The profile's rig, with what the node's keys say of the wearer.

    Raises:
        CalibrationError: if the profile cannot be read.
    """
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
    network = network_of(params)
    pipeline = Pipeline(
        rig_of(params, context.session.profile), pipeline_params(params), network, radar_network_of(params)
    )
    started = time.monotonic()
    context.log.info("compiling the filter's kernels (a minute or two the first time, then from a cache)")
    rehearse(network)
    context.log.info("ready to fuse after %.1f s", time.monotonic() - started)
    context.ready()
    # Two people need the assignment solver; it loads beside the first records, so that a restart does not wait for it.
    threading.Thread(target=import_module, args=("scipy.optimize",), daemon=True).start()
    publisher = _Publisher(pipeline, params, context)
    seen: dict[str, int] = {}
    while not context.stopping:
        envelope = context.receive(0.0 if publisher.owes else _POLL_S)
        if envelope is not None:
            _fuse(publisher, context, envelope)
        elif publisher.owes:
            publisher.pay()
        else:
            _tick(publisher, context)
        _report(pipeline, context, seen)


class _Publisher:
    """Publishes what the graph asks for: people now, a while ago, a while ahead; innovations, inertial sensors.

    To smooth costs more than all else. It is done once for each new time, and in a live session only when
    no record waits and for a share of the time, so that who wants the people now hardly waits for it.
    """

    def __init__(self, pipeline: Pipeline, params: Params, context: NodeContext) -> None:
        self.pipeline = pipeline
        self._params = params
        self._context = context
        self._innovations_ns = -_INNOVATIONS_NS
        self._inertial_ns = -_INERTIAL_NS
        self._tracks: RadarTracks | None = None
        self._joints: RadarJoints | None = None
        self._newest_ns: int | None = None
        self._owed: tuple[Record, Envelope | None] | None = None
        self._rested_s = 0.0
        """When it may be smoothed again in a live session, process clock."""

    @property
    def owes(self) -> bool:
        """Whether people are to be smoothed now."""
        return self._owed is not None and time.monotonic() >= self._rested_s

    def pay(self) -> None:
        """Smooth now."""
        if self._owed is None or self._params.lag_s is None:
            return
        (last, cause), self._owed = self._owed, None
        begun_s = time.monotonic()
        # Live, the filter's own covariances stand in: never smaller, and smoothed ones would cost ten times as much.
        full = self._context.session.time != "live"
        smoothed = self.pipeline.smoothed(self._params.lag_s, last, with_covariance=full)
        self._context.publish(f"{self._context.name}/smoothed", smoothed, cause=cause)
        ended_s = time.monotonic()
        self._rested_s = ended_s + _REST * (ended_s - begun_s)

    def publish(self, last: Record, cause: Envelope | None) -> None:
        """Say who is there, given that ``last`` was taken."""
        name, pipeline, context = self._context.name, self.pipeline, self._context
        people = pipeline.people(last)
        context.publish(f"{name}/people", people, cause=cause)
        if self._params.lag_s is not None and people.measured_ns != self._newest_ns:
            self._newest_ns = people.measured_ns
            self._owed = last, cause
            if context.session.time != "live":
                self.pay()
        if self._params.ahead_s is not None:
            context.publish(f"{name}/predicted", pipeline.predicted(self._params.ahead_s, last), cause=cause)
        if abs(last.measured_ns - self._innovations_ns) >= _INNOVATIONS_NS:
            self._innovations_ns = last.measured_ns
            context.publish(f"{name}/innovations", pipeline.innovations(last), cause=cause)

    def tell_radars(self, cause: Envelope) -> None:
        """Say what the radars' tracker holds after each of their frames, and what the network has made of it."""
        radars = self.pipeline.radars
        if radars.tracks is not self._tracks and radars.tracks is not None:
            self._context.publish(f"{self._context.name}/tracks", radars.tracks, cause=cause)
        if radars.joints is not self._joints and radars.joints is not None:
            self._context.publish(f"{self._context.name}/joints", radars.joints, cause=cause)
        self._tracks, self._joints = radars.tracks, radars.joints

    def tell_inertial(self, last: Record, cause: Envelope) -> None:
        """Say how the inertial sensors are, twice a second by the time of the records."""
        if abs(last.measured_ns - self._inertial_ns) < _INERTIAL_NS:
            return
        for state in self.pipeline.inertial_states(last):
            self._inertial_ns = last.measured_ns
            self._context.publish(f"{self._context.name}/inertial", state, cause=cause)


def _fuse(publisher: _Publisher, context: NodeContext, envelope: Envelope) -> None:
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
    due = []
    for item in burst:
        if publisher.pipeline.take(item.record):
            due.append(item)
        publisher.tell_radars(item)
    if due:
        publisher.publish(due[-1].record, due[0])
    publisher.tell_inertial(burst[-1].record, burst[-1])


def _tick(publisher: _Publisher, context: NodeContext) -> None:
    """In a live session time passes although nothing arrives: the pose goes on, its covariance grows."""
    from fusion.records import Tick

    if context.session.time != "live":
        return
    now = context.clock.now_ns()
    tick = Tick(measured_ns=now, received_ns=now)
    if publisher.pipeline.take(tick) and publisher.pipeline.bank.people:
        publisher.publish(tick, None)


def _report(pipeline: Pipeline, context: NodeContext, seen: dict[str, int]) -> None:
    """Counters for health, and a line in the log the first time that something is refused or a source is wrong."""
    counters: Mapping[str, float] = {**pipeline.bank.counters, "people": len(pipeline.bank.people)}
    context.counters.update(counters)
    context.counters.update({f"{_INERTIAL}{name}": count for name, count in pipeline.inertial_counts().items()})
    for reason, count in pipeline.refused.items():
        if reason not in seen:
            context.log.warning("refused: %s", reason)
        seen[reason] = count
    context.counters["refused_records"] = sum(pipeline.refused.values())
    understated = pipeline.understated()
    for key in [key for key in context.counters if key.startswith(_UNDERSTATED)]:
        if key.removeprefix(_UNDERSTATED) not in understated:
            del context.counters[key]
    for source, ratio in understated.items():
        if f"{_UNDERSTATED}{source}" not in seen:
            context.log.warning("%s errs %.1f times more than it claims", source, ratio)
            seen[f"{_UNDERSTATED}{source}"] = 1
        context.counters[f"{_UNDERSTATED}{source}"] = ratio


_INERTIAL = "inertial/"
"""Health counters of the orientation filters: what was missing, broken or out of order."""
_UNDERSTATED = "understated/"
"""Health counters of sources whose errors are larger than they claim, with by how many times."""

__all__ = ["Params", "SubjectParams", "network_of", "pipeline_params", "rig_of", "run"]
