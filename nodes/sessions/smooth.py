"""A recorded session once more, every pose in the light of all measurements before and after it.

The records of a session go through the pipeline that its graph describes, in the
order of the file; the filters keep what they accept, and
``fusion.filter.tracks`` smooths it. The new session has all records of the old
one and the topic ``smooth/people``.

A long session is smoothed stretch by stretch, each with a little of what follows
it, so that memory depends on the stretch and not on the session: what is
measured ``overlap_s`` later tells nothing more of a pose.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from fusion.records import Int64, People, Record
from nodes.errors import RequestError, listed, suggestion
from nodes.fusion import Params, network_of, pipeline_params, radar_network_of, rig_of
from nodes.graph.document import parse
from nodes.node import Envelope
from nodes.sessions.cut import facts_from
from nodes.sessions.index import SessionError
from nodes.sessions.reader import SessionReader
from nodes.sessions.replay import profile_file
from nodes.sessions.writer import SessionWriter
from nodes.transport.codec import DecodeError

if TYPE_CHECKING:
    from fusion.filter.tracks import Track
    from fusion.filter.update import Updater
    from fusion.people import Person
    from fusion.pipeline import Pipeline

TOPIC = "smooth/people"
NS_PER_S = 1_000_000_000
RATE_MAX_HZ = 1000.0
_AHEAD_NS = NS_PER_S
"""A stamp so far after its arrival is wrong, and is not the time of the session (as in ``fusion.pipeline``)."""
_LANDMARKS = ("landmarks", "landmarks3d")
_MEASUREMENTS = (*_LANDMARKS, "samples", "points", "tick")
_BEGINNING_NS = -(2**62)
_END_NS = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothRequest:
    """What is to be smoothed, and where it goes."""

    session: Path
    out: Path
    topic: str | None = None
    """Whose node's keys and whose times count; None for the only people topic."""
    rate_hz: float | None = None
    """So many poses a second in place of the times of the topic, or else of the landmarks."""
    stretch_s: float = 300.0
    """So much is smoothed at once,"""
    overlap_s: float = 10.0
    """with what comes so long after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothed:
    """What was written."""

    path: Path
    topic: str
    times_of: str | None
    """The topic whose times the poses have."""
    poses: int
    """Records of the new topic."""
    people: int
    """Different people in them."""
    seconds: float
    """From the first measurement to the last."""
    refused: dict[str, int]
    """Records that could not be used, by reason."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What of a session is read, and how."""

    params: Params
    measurements: tuple[str, ...]
    times: tuple[str, ...]
    """Topics whose times the poses get; empty with a rate."""


def smooth_session(request: SmoothRequest, tell: Callable[[str], None]) -> Smoothed:
    """Write the new session; what is begun is removed again if it cannot be finished.

    Args:
        request: see there.
        tell: takes lines on how it goes.

    Raises:
        RequestError: if the session has not what is needed, or the new file exists.
    """
    with SessionReader(request.session) as session, ExitStack() as stack:
        plan = _plan(session, request, tell)
        if not session.complete:
            tell(f"{session.path}: not whole ({session.index.reason}); smoothing what is there")
        pipeline = _pipeline(session, plan.params, stack)
        writer = SessionWriter(request.out, facts_from(session, {"smoothed_from": session.path.name}))
        try:
            done = _Smoothing(session, pipeline, plan, request, writer, tell).run()
            writer.close({"end": f"smoothed from {session.path.name}"})
        except BaseException:
            with suppress(SessionError):
                writer.close()
            request.out.unlink(missing_ok=True)
            raise
        return done


# ---------------------------------------------------------------- what is asked


def _plan(session: SessionReader, request: SmoothRequest, tell: Callable[[str], None]) -> _Plan:
    """Find topics and keys in the session.

    Raises:
        RequestError: where they are missing or ambiguous.
    """
    topic = _people_topic(session, request.topic)
    params = _node_params(session, topic, tell)
    available = tuple(name for name, kind in session.kinds.items() if kind in _MEASUREMENTS)
    measurements = available
    if params is not None:
        wanted = params.wants(available)
        measurements = tuple(name for name in available if name in wanted)
    if not measurements:
        raise RequestError(
            f"{session.path}: no measurements to smooth; its topics: {listed(session.topics)}; "
            f"expected some of {listed(_MEASUREMENTS)}"
            + ("" if params is None else f" that the fusion node takes ({listed(params.inputs)})")
        )
    times: tuple[str, ...] = ()
    if request.rate_hz is None:
        landmarks = tuple(name for name in measurements if session.kinds[name] in _LANDMARKS)
        times = (topic,) if topic is not None else landmarks
        if not times:
            raise RequestError(f"{session.path}: neither people nor landmarks say when a pose is wanted; give --rate")
    return _Plan(params or Params(inputs=measurements), measurements, times)


def _people_topic(session: SessionReader, asked: str | None) -> str | None:
    """The topic that was asked for, or the only one with people; None where there is none."""
    known = [name for name, kind in session.kinds.items() if kind == "people" and name != TOPIC]
    if asked is not None:
        if asked not in known:
            raise RequestError(
                f"{session.path}: --topic {asked!r}: no such topic{suggestion(asked, known)}; "
                f"topics with people: {listed(known)}"
            )
        return asked
    named = [name for name in known if name.endswith("/people")] or known
    if len(named) > 1:
        raise RequestError(f"{session.path}: several topics with people: {listed(named)}; choose one with --topic")
    return named[0] if named else None


def _node_params(session: SessionReader, topic: str | None, tell: Callable[[str], None]) -> Params | None:
    """The keys of the fusion node in the recorded graph that published a topic; None where it has none.

    Raises:
        SessionError: if the keys are not those of a fusion node of this version.
    """
    document = parse((session.graph_text or "").encode(), f"the graph of {session.path}")
    nodes = document.value.get("nodes") if isinstance(document.value, dict) else None
    found: dict[str, dict[str, Any]] = {
        str(name): keys
        for name, keys in (nodes.items() if isinstance(nodes, dict) else ())
        if isinstance(keys, dict) and keys.get("type") == "fusion"
    }
    name = topic.rpartition("/")[0] if topic is not None else next(iter(found), None)
    if name is None or name not in found or (topic is None and len(found) > 1):
        tell("the recorded graph does not say how it was fused: a fusion node's defaults are used")
        return None
    try:
        return Params.model_validate(found[name])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, ("nodes", name, *first["loc"])))
        raise SessionError(f"{session.path}: its graph does not fit this version: {place}: {first['msg']}") from error


def _pipeline(session: SessionReader, params: Params, stack: ExitStack) -> Pipeline:
    """A pipeline whose filters keep what they accept."""
    from fusion.pipeline import Pipeline

    try:
        rig = rig_of(params, profile_file(session, stack) if session.profile_text else None)
    except (OSError, ValueError) as error:
        raise SessionError(f"{session.path}: its profile does not load: {error}") from error
    made = pipeline_params(params)
    filters = replace(made.people.filter, keeps_journal=True)
    return Pipeline(
        rig, replace(made, people=replace(made.people, filter=filters)), network_of(params), radar_network_of(params)
    )


# ---------------------------------------------------------------- the work


@dataclass(slots=True)
class _Times:
    """When poses are wanted: the session's own times, or every so often."""

    rate_hz: float | None
    waiting: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Time → when it was received and logged."""
    begin_ns: int | None = None
    """First measurement."""

    def note(self, log_ns: int, record: Record) -> None:
        """A record of a topic whose times count has come."""
        self.waiting[record.measured_ns] = record.received_ns, log_ns

    def take(self, begin_ns: int, end_ns: int) -> dict[int, tuple[int, int]]:
        """Times from one to before another, ascending; they are not told again."""
        if self.rate_hz is not None:
            return {time_ns: (time_ns, time_ns) for time_ns in self._even(begin_ns, end_ns)}
        # What is still waiting from before the beginning came too late to be told.
        passed = sorted(time_ns for time_ns in self.waiting if time_ns < end_ns)
        told = {time_ns: self.waiting.pop(time_ns) for time_ns in passed}
        return {time_ns: stamps for time_ns, stamps in told.items() if time_ns >= begin_ns}

    def _even(self, begin_ns: int, end_ns: int) -> Iterator[int]:
        assert self.rate_hz is not None
        if self.begin_ns is None:
            return
        step_ns = NS_PER_S / self.rate_hz
        index = max(0, int((begin_ns - self.begin_ns) / step_ns) - 1)
        while (time_ns := self.begin_ns + round(index * step_ns)) < end_ns:
            if time_ns >= begin_ns:
                yield time_ns
            index += 1


@dataclass(frozen=True, slots=True, eq=False)
class _Checkpoint:
    """Where a person's next stretch begins."""

    person: Person
    filter: Any
    state: Any
    heard: int
    """Entries of the journal at that time."""


class _Smoothing:
    """One pass over a session."""

    def __init__(
        self,
        session: SessionReader,
        pipeline: Pipeline,
        plan: _Plan,
        request: SmoothRequest,
        writer: SessionWriter,
        tell: Callable[[str], None],
    ) -> None:
        from fusion.filter.outputs import Outputs

        self._session, self._pipeline, self._plan = session, pipeline, plan
        self._writer, self._tell = writer, tell
        self._stretch_ns, self._overlap_ns = (round(span * NS_PER_S) for span in (request.stretch_s, request.overlap_s))
        self._outputs = Outputs(pipeline.params.output)
        self._updaters: dict[int, Updater] = {}
        self._times = _Times(request.rate_hz)
        self._first_ns: int | None = None
        self._newest_ns = _BEGINNING_NS
        self._begin_ns = _BEGINNING_NS
        self._cut_ns: int | None = None
        """End of the stretch, once it is reached."""
        self._checkpoints: list[_Checkpoint] = []
        self._poses = 0
        self._identities: set[int] = set()

    def run(self) -> Smoothed:
        """Read, copy and smooth.

        Raises:
            SessionError: if nobody is in the session.
        """
        topics = {*self._plan.measurements, *self._plan.times}
        read = _Progress(self._tell, "read", self._session.first_ns, self._session.last_ns)
        for message in self._session.messages():
            if message.topic == TOPIC:
                continue  # An earlier smoothing; this one takes its place.
            payload = bytes(message.payload)
            self._writer.write_encoded(message.topic, message.sequence, message.log_ns, message.publish_ns, payload)
            if message.topic in topics:
                with suppress(DecodeError):
                    self._take(message.topic, message.log_ns, message.envelope().record)
                read.reach(message.log_ns)
        self._smooth(_END_NS)
        if not self._identities:
            raise self._nobody()
        first_ns = self._newest_ns if self._first_ns is None else self._first_ns
        return Smoothed(
            path=self._writer.path,
            topic=TOPIC,
            times_of=self._plan.times[0] if len(self._plan.times) == 1 else None,
            poses=self._poses,
            people=len(self._identities),
            seconds=(self._newest_ns - first_ns) / NS_PER_S,
            refused=dict(self._pipeline.refused),
        )

    def _nobody(self) -> SessionError:
        refused = "; ".join(f"{count} times {reason}" for reason, count in self._pipeline.refused.items())
        return SessionError(
            f"{self._session.path}: nobody was found in {listed(self._plan.measurements)}"
            + (f"; refused: {refused}" if refused else "")
        )

    def _take(self, topic: str, log_ns: int, record: Record) -> None:
        """Take one record in; smooth a stretch where enough has come after it."""
        if topic in self._plan.times:
            self._times.note(log_ns, record)
        if topic not in self._plan.measurements:
            return
        self._pipeline.take(record)
        if record.measured_ns > record.received_ns + _AHEAD_NS:
            return
        self._newest_ns = max(self._newest_ns, record.measured_ns)
        if self._first_ns is None:
            self._first_ns = self._times.begin_ns = record.measured_ns
        since_ns = max(self._begin_ns, self._first_ns)
        if self._cut_ns is None and self._newest_ns - since_ns >= self._stretch_ns:
            self._cut()
        if self._cut_ns is not None and self._newest_ns - self._cut_ns >= self._overlap_ns:
            self._smooth(self._cut_ns)
            self._go_on()

    def _cut(self) -> None:
        """End the stretch here: what the filters know now is where the next one begins.

        Who is still being learned goes on from the old start, so that all stretches have one body.
        """
        self._cut_ns = self._newest_ns
        for person in self._pipeline.bank.people:
            known = person.filter
            state = known.state_before(known.oldest_ns)
            if state.lengths_locked and known.journal is not None:
                self._checkpoints.append(_Checkpoint(person, known, state.copy(), len(known.journal)))

    def _go_on(self) -> None:
        """Forget what only the stretch before needed."""
        assert self._cut_ns is not None
        for at in self._checkpoints:
            if at.filter.journal is not None and at.person.filter is at.filter:
                # What came in by then and is not later is in the state; what came after is not.
                heard = [m for m in at.filter.journal[: at.heard] if m.time_ns > at.state.time_ns]
                at.filter.start, at.filter.journal[: at.heard] = at.state, heard
        ended = self._pipeline.bank.ended
        ended[:] = [track for track in ended if _last_ns(track) >= self._cut_ns]
        self._checkpoints.clear()
        self._begin_ns, self._cut_ns = self._cut_ns, None

    def _smooth(self, end_ns: int) -> None:
        """Smooth everyone from the stretch's beginning to before a time, and write it."""
        wanted = self._times.take(self._begin_ns, min(end_ns, self._newest_ns + 1))
        times: Int64 = np.array(list(wanted), dtype=np.int64)
        found: dict[int, dict[int, People]] = {time_ns: {} for time_ns in wanted}
        tracks = self._pipeline.bank.tracks()
        progress = _Progress(self._tell, "smoothed", 0, len(times) * len(tracks))
        for number, track in enumerate(tracks):
            for state in self._states(track, times):
                # Later tracks of a person come later, and are believed where they overlap.
                received_ns = wanted[state.time_ns][0]
                one = self._outputs.record([track.identity], [state], state.time_ns, received_ns)
                found[state.time_ns][track.identity] = one
                progress.reach(number * len(times) + len(times) - int(np.searchsorted(times, state.time_ns)))
        # Chunks of their own, so that no chunk of the file spans both the stretch and what follows it.
        self._writer.flush()
        for time_ns, (received_ns, log_ns) in wanted.items():
            together = _joined([found[time_ns][number] for number in sorted(found[time_ns])])
            record = together or self._outputs.record([], [], time_ns, received_ns)
            self._write(record, log_ns)
            self._identities.update(found[time_ns])
        self._writer.flush()

    def _states(self, track: Track, times_ns: Int64) -> Iterator[Any]:
        from fusion.filter.state import errors_of
        from fusion.filter.tracks import smooth_track
        from fusion.filter.update import Updater

        p = self._pipeline.params.people.filter
        imus = track.start.imus
        if imus not in self._updaters:
            self._updaters[imus] = Updater(p.update, p.anatomy, errors_of(imus), p.contact)
        return smooth_track(track, p, self._updaters[imus], times_ns)

    def _write(self, record: People, log_ns: int) -> None:
        log_ns = max(log_ns, self._session.first_ns)
        self._writer.write(Envelope(TOPIC, self._poses, log_ns, 0, record), log_ns)
        self._poses += 1


def _last_ns(track: Track) -> int:
    return max((measurement.time_ns for measurement in track.measurements), default=track.start.time_ns)


def _joined(records: list[People]) -> People | None:
    """Records of different people at one time as one; None for none."""
    if len(records) < 2:
        return records[0] if records else None
    names = [item.name for item in dataclasses.fields(People) if "shape" in item.metadata]
    arrays: dict[str, Any] = {name: np.concatenate([getattr(record, name) for record in records]) for name in names}
    return replace(records[0], **arrays)


class _Progress:
    """Says at each tenth how far it is."""

    def __init__(self, tell: Callable[[str], None], what: str, begin: int, end: int) -> None:
        self._tell, self._what, self._begin = tell, what, begin
        self._span = max(end - begin, 1)
        self._tenths = 0

    def reach(self, place: int) -> None:
        """It has come so far."""
        tenths = 10 * (place - self._begin) // self._span
        if tenths > self._tenths:
            self._tenths = tenths
            self._tell(f"{self._what}: {10 * tenths} %")
