"""``kinefuse calibrate imu PROFILE --refine SESSION``: the profile's mountings, better by a capture with cameras.

The session's measurements go through the pipeline once more, with the mountings of
PROFILE; what the wearer's filter has learned of them by the end goes into it.
"""

from __future__ import annotations

import argparse
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from nodes.commands.arguments import print_json, print_table, say
from nodes.errors import RequestError, listed

if TYPE_CHECKING:
    from calibration.inertial.refine import Refined
    from fusion.pipeline import Pipeline
    from fusion.records import InertialState, People, Record
    from fusion.rig import ImuMount, Rig
    from nodes.fusion import Params
    from nodes.sessions.reader import SessionReader

DONE, FAILED = 0, 1
KINDS = ("landmarks", "landmarks3d", "samples", "points", "tick")
NS_PER_S = 1_000_000_000
_ASK_NS = NS_PER_S // 2
_POLL_S = 0.1
_SEEN_NS = NS_PER_S // 2
"""Landmarks so long ago still count as seen."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What a pass over a session has left in the wearer's filter."""

    state: InertialState | None
    seen_s: float
    """For how long landmarks showed the wearer."""
    seconds: float


def refine(args: argparse.Namespace, before: Rig) -> int:
    """Refine by a recorded session and write the profile; 1 where nothing is known better."""
    _check(args.profile, before)
    learned = learn(args.refine, args.profile, args.topic, say)
    return _finish(args, before, before.imus, learned)


def refine_live(args: argparse.Namespace, before: Rig) -> int:
    """Refine by what the fusion node of a running session tells; 1 where nothing is known better.

    It listens until every mounting is known, for ``--seconds`` at most, or until the session ends. The session goes
    on; its filter uses what it has learned all along, the profile counts from the next start.
    """
    from calibration.inertial.refine import refined
    from nodes.attached import SILENT_AFTER_S, SessionObserver, find_session, request_directory, rig_of

    _check(args.profile, before)
    directory = request_directory(find_session(args.refine_live).control)
    topics = [topic for topic in directory.topics if topic.endswith(("/inertial", "/people", "/health"))]
    if not any(topic.endswith("/inertial") for topic in topics):
        raise RequestError(f"session {args.refine_live!r}: no fusion node tells how sensors sit; add one to the graph")
    mounts = rig_of(directory).imus
    listening, observer = _Listening(), SessionObserver(directory, topics, name="calibrate")
    waiting, until_s = threading.Event(), time.monotonic() + args.seconds
    try:
        while time.monotonic() < until_s and not SILENT_AFTER_S < observer.silent_s < math.inf:
            for envelope in observer.take():
                listening.take(envelope.record)
            if not any(item.refusal for item in refined(mounts, listening.state, listening.seen_s)):
                break
            waiting.wait(_POLL_S)
    finally:
        observer.close()
    return _finish(args, before, mounts, Learned(listening.state, listening.seen_s, listening.seconds))


class _Listening:
    """What a running session has told so far."""

    def __init__(self) -> None:
        self.state: InertialState | None = None
        self._seen_ns = 0
        self._first_ns = self._newest_ns = 0

    @property
    def seen_s(self) -> float:
        """For how long landmarks have shown the wearer."""
        return self._seen_ns / NS_PER_S

    @property
    def seconds(self) -> float:
        """From the first skeleton to the last."""
        return (self._newest_ns - self._first_ns) / NS_PER_S

    def take(self, record: Record) -> None:
        """Take a record in."""
        from fusion.records import InertialState, People

        if isinstance(record, InertialState):
            self.state = record
        elif isinstance(record, People):
            before_ns, self._newest_ns = self._newest_ns, max(self._newest_ns, record.measured_ns)
            self._first_ns = self._first_ns or record.measured_ns
            if before_ns and self._wearer_is_seen(record):
                self._seen_ns += min(self._newest_ns - before_ns, _SEEN_NS)

    def _wearer_is_seen(self, people: People) -> bool:
        if self.state is None:
            return False
        return bool(people.measured[people.ids == self.state.wearer].any())


def _check(profile: Path, before: Rig) -> None:
    if not before.imus:
        raise RequestError(f"{profile}: no inertial sensors to refine; calibrate them first: --graph, --session")


def _finish(args: argparse.Namespace, before: Rig, mounts: tuple[ImuMount, ...], learned: Learned) -> int:
    """Write what is known better, and say how it is."""
    from calibration.inertial.refine import refined
    from calibration.profile import save_profile

    known = {mount.segment for mount in before.imus}
    found = tuple(item for item in refined(mounts, learned.state, learned.seen_s) if item.segment in known)
    written = any(not item.refusal for item in found)
    if written:
        save_profile(args.profile, with_mountings(before, found), overwrite=True)
    for item in found:
        if item.refusal:
            say(f"kept: {item.refusal}")
    if args.json:
        print_json(as_json(args.profile, learned, found, written))
    else:
        _print(found)
    say(f"{args.profile}: {'written' if written else 'as it was, nothing is known better'}")
    return DONE if written else FAILED


def learn(session: Path, profile: Path, topics: list[str] | None, tell: Callable[[str], None]) -> Learned:
    """Take a session through the pipeline with the mountings of a profile.

    Raises:
        RequestError: the session has no inertial samples or no landmarks.
    """
    from fusion.pipeline import Pipeline
    from nodes.commands.calibrate_imu import topics_of
    from nodes.fusion import pipeline_params, rig_of
    from nodes.sessions.reader import SessionReader

    with SessionReader(session) as reader:
        samples = topics_of(str(session), reader.kinds, topics)
        params = fusion_keys(reader, tell)
        wanted = tuple(
            name for name, kind in reader.kinds.items() if kind in KINDS and (kind != "samples" or name in samples)
        )
        if not any(reader.kinds[name].startswith("landmarks") for name in wanted):
            raise RequestError(
                f"{session}: no landmarks, so no camera tells how the sensors sit; has {listed(reader.kinds)}"
            )
        pipeline = Pipeline(rig_of(params, profile), pipeline_params(params))
        return _run(pipeline, (envelope.record for _, envelope in reader.envelopes(wanted)))


def _run(pipeline: Pipeline, records: Iterator[Record]) -> Learned:
    state: InertialState | None = None
    first_ns: int | None = None
    asked_ns = seen_ns = newest_ns = 0
    for record in records:
        pipeline.take(record)
        newest_ns = max(newest_ns, record.measured_ns)
        if first_ns is None:
            first_ns = asked_ns = record.measured_ns
        if newest_ns - asked_ns < _ASK_NS:
            continue
        for told in pipeline.inertial_states(record):
            state = told
        seen_ns += newest_ns - asked_ns if _seen(pipeline, newest_ns) else 0
        asked_ns = newest_ns
    return Learned(state, seen_ns / NS_PER_S, (newest_ns - (first_ns or newest_ns)) / NS_PER_S)


def _seen(pipeline: Pipeline, now_ns: int) -> bool:
    """Whether landmarks have shown the wearer lately."""
    wearers = [person for person in pipeline.bank.people if person.wears_imus]
    return any(now_ns - int(person.filter.state.measured_ns.max()) < _SEEN_NS for person in wearers)


def fusion_keys(session: SessionReader, tell: Callable[[str], None]) -> Params:
    """The keys of the one fusion node in the recorded graph; the defaults where there is none or several.

    Raises:
        RequestError: they are not those of a fusion node of this version.
    """
    from nodes.fusion import Params
    from nodes.graph.document import parse

    value = parse((session.graph_text or "").encode(), f"the graph of {session.path}").value
    nodes: Any = value.get("nodes") if isinstance(value, dict) else None
    found = [
        keys
        for keys in (nodes.values() if isinstance(nodes, dict) else ())
        if isinstance(keys, dict) and keys.get("type") == "fusion"
    ]
    if len(found) != 1:
        tell("the recorded graph does not say how it was fused: a fusion node's defaults are used")
        return Params(inputs=("*",))
    try:
        return Params.model_validate(found[0])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RequestError(f"{session.path}: its graph does not fit this version: {place}: {first['msg']}") from error


def with_mountings(before: Rig, found: tuple[Refined, ...]) -> Rig:
    """The profile with the new mountings; where there is none, the old one stays."""
    from dataclasses import replace

    new = {item.segment: item for item in found if not item.refusal}
    mounts = tuple(
        replace(
            mount,
            q_segment_from_sensor=new[mount.segment].q_segment_from_sensor,
            quality_rad=new[mount.segment].sigma_rad,
        )
        if mount.segment in new
        else mount
        for mount in before.imus
    )
    return replace(before, imus=mounts)


def as_json(profile: Path, learned: Learned, found: tuple[Refined, ...], written: bool) -> dict[str, Any]:
    """The outcome as plain values; angles in degrees."""
    return {
        "profile": str(profile),
        "written": written,
        "seen_s": learned.seen_s,
        "seconds": learned.seconds,
        "sensors": [
            {
                "segment": item.segment,
                "q_segment_from_sensor": item.q_segment_from_sensor.tolist(),
                "moved_deg": math.degrees(item.moved_rad),
                "sigma_deg": math.degrees(item.sigma_rad),
                "refined": not item.refusal,
                "reason": item.refusal,
            }
            for item in found
        ],
    }


def _print(found: tuple[Refined, ...]) -> None:
    from calibration.inertial.result import degrees_text

    rows: list[tuple[str, ...]] = [
        (
            item.segment,
            "kept" if item.refusal else "refined",
            degrees_text(item.moved_rad),
            degrees_text(item.sigma_rad),
        )
        for item in found
    ]
    print_table(("sensor", "", "moved by", "known to"), rows)
