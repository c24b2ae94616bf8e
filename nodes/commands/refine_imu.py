"""``kinefuse calibrate imu PROFILE --refine SESSION``: the profile's mountings, better by a capture with cameras.

The session's measurements go through the pipeline once more, with the mountings of
PROFILE; what the wearer's filter has learned of them by the end goes into it.
"""

from __future__ import annotations

import argparse
import math
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
    from fusion.records import InertialState, Record
    from fusion.rig import Rig
    from nodes.fusion import Params
    from nodes.sessions.reader import SessionReader

DONE, FAILED = 0, 1
KINDS = ("landmarks", "landmarks3d", "samples", "points", "tick")
NS_PER_S = 1_000_000_000
_ASK_NS = NS_PER_S // 2
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
    """Refine and write the profile; 1 where nothing is known better."""
    from calibration.inertial.refine import refined
    from calibration.profile import save_profile

    if not before.imus:
        raise RequestError(
            f"{args.profile}: has no inertial sensors to refine; calibrate them first: --graph, --session"
        )
    learned = learn(args.refine, args.profile, args.topic, say)
    found = refined(before.imus, learned.state, learned.seen_s)
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

    new = {item.segment: item.q_segment_from_sensor for item in found}
    mounts = tuple(replace(mount, q_segment_from_sensor=new[mount.segment]) for mount in before.imus)
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
