"""``kinefuse calibrate imu PROFILE``: how body-worn inertial sensors sit, written into a profile.

    kinefuse calibrate imu lab.toml --graph lab.yaml             guided, with the sensors of a graph
    kinefuse calibrate imu lab.toml --attach lab                 guided, with those of a running session
    kinefuse calibrate imu lab.toml --session S.mcap             again, from what a guided session recorded
    kinefuse calibrate imu lab.toml --session S.mcap --steps n_pose:1-5,t_pose:8-11,walk:12-20
    kinefuse calibrate imu lab.toml --refine S.mcap              better, from a capture that cameras have seen
    kinefuse calibrate imu lab.toml --refine-live lab            the same, during a capture

Times are seconds after the first inertial sample. The profile keeps its cameras,
radars and subject; its inertial sensors are replaced. What each procedure
determines and what is refused stands in ``docs/calibration.md``.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.commands.arguments import print_json, print_table, say, seconds
from nodes.errors import RequestError, listed

if TYPE_CHECKING:
    from calibration.inertial.result import InertialCalibration
    from calibration.inertial.steps import Interval
    from fusion.records import Float64
    from fusion.rig import Rig

# Read when numpy is loaded, which is later: products of small matrices are slower in several threads.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

DONE, FAILED = 0, 1
STEPS = ("n_pose", "t_pose", "n_pose", "walk")


def add_parser(actions: Any) -> None:
    """Declare the action."""
    parser = actions.add_parser(
        "imu",
        help="how inertial sensors sit: guided, from a session, or refined by cameras",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("profile", type=Path, metavar="PROFILE", help="profile to write (.toml)")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--graph", type=Path, metavar="GRAPH", help="guide with the sensors of a graph file")
    source.add_argument("--attach", metavar="SESSION", help="guide with the sensors of a running session")
    source.add_argument("--session", type=Path, metavar="S.mcap", help="calibrate from a recorded session")
    source.add_argument("--refine", type=Path, metavar="S.mcap", help="refine the profile by a capture with cameras")
    source.add_argument("--refine-live", metavar="SESSION", help="refine by what a running session has learned")
    parser.add_argument(
        "--seconds", type=seconds(), default=60.0, metavar="S", help="with --refine-live: listen for so long (60)"
    )
    parser.add_argument(
        "--steps", metavar="LIST", help="n_pose,t_pose,n_pose,walk; with --session with times: n_pose:1-5"
    )
    parser.add_argument("--topic", action="append", metavar="TOPIC", help="of samples, if not all; may be repeated")
    parser.add_argument("--record", type=Path, metavar="OUT.mcap", help="with --graph: record the calibration")
    parser.add_argument("--headless", action="store_true", help="with --graph: no windows")
    parser.add_argument("--overwrite", action="store_true", help="replace the profile if it exists")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(calibrate=run)


def run(args: argparse.Namespace) -> int:
    """Calibrate; 0 when the profile is written, 1 when it is refused, 2 when the request is wrong."""
    _check(args)
    before = _before(args.profile)
    if args.refine is not None:
        from nodes.commands.refine_imu import refine

        return refine(args, before)
    if args.refine_live is not None:
        from nodes.commands.refine_imu import refine_live

        return refine_live(args, before)
    if args.session is not None:
        found = _from_session(args, before)
    elif args.graph is not None:
        from nodes.commands.guided import guide_with_graph

        found = guide_with_graph(args.graph, steps_of(args.steps), args)
    else:
        from nodes.commands.guided import guide_attached

        found = guide_attached(args.attach, steps_of(args.steps), args, previous_of(before))
    return _finish(args, before, found)


def _check(args: argparse.Namespace) -> None:
    """Whatever can be wrong is said before anybody stands in a pose."""
    if args.profile.exists() and not args.overwrite:
        raise RequestError(f"{args.profile}: exists already; choose another name or allow overwriting (--overwrite)")
    if not args.profile.absolute().parent.is_dir():
        raise RequestError(f"{args.profile}: there is no folder {args.profile.absolute().parent}")
    if args.record is not None and args.graph is None:
        raise RequestError("--record: records what --graph runs; give --graph, or record the session that runs")
    if (args.refine or args.refine_live) and not args.profile.exists():
        raise RequestError(f"{args.profile}: no such file; --refine needs the profile that is to be refined")


def _before(profile: Path) -> Rig:
    """The profile as it is; an empty one where there is none."""
    from calibration.profile import load_profile
    from fusion.rig import Rig

    return load_profile(profile) if profile.exists() else Rig()


def previous_of(rig: Rig) -> dict[str, Float64]:
    """Mountings by segment."""
    return {mount.segment: mount.q_segment_from_sensor for mount in rig.imus}


# ---------------------------------------------------------------- from a session


def _from_session(args: argparse.Namespace, before: Rig) -> InertialCalibration:
    from calibration.inertial.guide import intervals_of
    from calibration.inertial.recording import gather
    from calibration.inertial.solve import calibrate
    from fusion.records import Annotation, InertialSamples, Record
    from nodes.sessions.reader import SessionReader

    with SessionReader(args.session) as session:
        samples = topics_of(str(session.path), session.kinds, args.topic)
        wanted = (*samples, *(name for name, kind in session.kinds.items() if kind == "annotation"))
        records: list[Record] = [envelope.record for _, envelope in session.envelopes(wanted)]
    recording = gather(record for record in records if isinstance(record, InertialSamples))
    if args.steps:
        intervals = timed_steps(args.steps, int(recording.times_ns[0]))
    else:
        intervals = intervals_of(record for record in records if isinstance(record, Annotation))
    if not intervals:
        raise RequestError(
            f"{args.session}: nothing in it says when the wearer did what; "
            "say it: --steps n_pose:1-5,t_pose:8-11,walk:12-20"
        )
    return calibrate(recording, intervals, previous_of(before))


def topics_of(place: str, kinds: dict[str, str], asked: list[str] | None) -> tuple[str, ...]:
    """The topics with samples, all or those asked for.

    Raises:
        RequestError: naming those that there are.
    """
    from nodes.errors import suggestion

    known = [name for name, kind in kinds.items() if kind == "samples"]
    for name in asked or []:
        if name not in known:
            raise RequestError(
                f"{place}: --topic {name!r}: no such topic{suggestion(name, known)}; "
                f"topics with samples: {listed(known)}"
            )
    if not known:
        raise RequestError(f"{place}: no inertial samples; its topics: {listed(kinds)}")
    return tuple(asked or known)


def steps_of(text: str | None) -> tuple[str, ...]:
    """``n_pose,t_pose,walk`` to steps.

    Raises:
        RequestError: naming the step and those that can be guided.
    """
    if text is None:
        return STEPS
    steps = tuple(part.strip() for part in text.split(","))
    for step in steps:
        if step not in STEPS:
            raise RequestError(
                f"--steps {step!r}: cannot be guided; allowed: {', '.join(dict.fromkeys(STEPS))}, no times"
            )
    return steps


def timed_steps(text: str, origin_ns: int) -> list[Interval]:
    """``n_pose:1.0-5.0,walk:12-20`` to intervals.

    Raises:
        RequestError: naming the part that does not fit.
    """
    from calibration.inertial.poses import STEPS as KNOWN
    from calibration.inertial.steps import Interval

    found = []
    for part in text.split(","):
        step, _, span = part.strip().partition(":")
        begin, _, end = span.partition("-")
        try:
            begin_s, end_s = float(begin), float(end)
        except ValueError:
            begin_s = end_s = math.nan
        if step not in KNOWN or not 0.0 <= begin_s < end_s < math.inf:
            raise RequestError(
                f"--steps {part.strip()!r}: expected STEP:BEGIN-END in seconds, such as n_pose:1.0-5.0, "
                f"with STEP one of {', '.join(KNOWN)}"
            )
        found.append(Interval(step, origin_ns + round(begin_s * 1e9), origin_ns + round(end_s * 1e9)))
    return found


# ---------------------------------------------------------------- the outcome


def _finish(args: argparse.Namespace, before: Rig, found: InertialCalibration) -> int:
    """Write the profile if the outcome is good, and say how it is."""
    from calibration.profile import save_profile

    if found.accepted:
        save_profile(args.profile, merged(before, found), overwrite=args.overwrite)
    for finding in found.findings:
        say(f"{'refused' if finding.blocking else 'note'}: {finding.message}")
    if args.json:
        print_json(as_json(args.profile, before, found))
    else:
        _print(before, found)
    if not found.accepted:
        say(f"kinefuse calibrate imu: refused, {args.profile} is as it was")
        return FAILED
    say(f"{args.profile}: written, {len(found.sensors)} sensors")
    return DONE


def merged(before: Rig, found: InertialCalibration) -> Rig:
    """The profile with the sensors that were found; a sensor keeps its place on the segment, else has the usual one."""
    from dataclasses import replace

    from calibration.inertial.usual import usual_mount

    known = {mount.segment: mount for mount in before.imus}
    mounts = (
        replace(
            known.get(s.segment) or usual_mount(s.segment),
            q_segment_from_sensor=s.q_segment_from_sensor,
            quality_rad=s.quality_rad,
        )
        for s in found.sensors
    )
    return replace(before, imus=tuple(mounts))


def as_json(profile: Path, before: Rig, found: InertialCalibration) -> dict[str, Any]:
    """The outcome as plain values; angles in degrees."""
    from calibration.inertial.result import to_values

    values = to_values(found)
    known = previous_of(before)
    for item in values["sensors"]:
        for name in ("heading", "quality", "inclination", "forward"):
            item[f"{name}_deg"] = math.degrees(item.pop(f"{name}_rad"))
        item["moved_deg"] = _moved_deg(known.get(item["segment"]), item["q_segment_from_sensor"])
    return {"profile": str(profile), "written": found.accepted, **values}


def _moved_deg(before: Float64 | None, now: Any) -> float:
    from fusion.maths import quaternion

    return math.nan if before is None else math.degrees(float(quaternion.angle_between(before, now)))


def _print(before: Rig, found: InertialCalibration) -> None:
    from calibration.inertial.result import degrees_text

    refused = {name for finding in found.refusals for name in finding.sensors}
    known = previous_of(before)
    rows: list[tuple[str, ...]] = []
    for s in found.sensors:
        moved = math.radians(_moved_deg(known.get(s.segment), s.q_segment_from_sensor))
        heading = "assumed" if s.heading == "assumed" else " ".join(s.sources)
        verdict = "refused" if s.segment in refused else "ok"
        rows.append((s.segment, heading, degrees_text(s.quality_rad), degrees_text(moved), verdict))
    if rows:
        print_table(("sensor", "heading by", "quality", "moved by", ""), rows)
