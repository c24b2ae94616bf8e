"""``kinefuse calibrate radar PROFILE``: where radars are and how late their stamps are, from a walking person.

    kinefuse calibrate radar lab.toml --session S.mcap --overwrite       from a recorded session
    kinefuse calibrate radar lab.toml --graph lab.yaml --overwrite       run a graph for 30 s, then solve
    kinefuse calibrate radar lab.toml --session S.mcap --radar door      one radar of several

One person walks for 30 s in view of cameras and radar, to and fro and from side to
side. Where the person was is computed anew from the cameras (and inertial sensors)
of the session with those of PROFILE, without any radar; a session without landmarks
gives the people that were recorded. No guess of the pose is needed. The profile
keeps all else: cameras, inertial sensors, subject, the radar's field of view. How it
works and what is refused stands in ``docs/calibration.md``.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.commands.arguments import print_json, print_table, say, seconds
from nodes.errors import RequestError, listed, suggestion

if TYPE_CHECKING:
    from calibration.radar.recording import Trail
    from calibration.radar.result import RadarCalibration
    from fusion.records import People, RadarPoints, Record
    from fusion.rig import RadarMount, Rig
    from nodes.sessions.reader import SessionReader

# Read when numpy is loaded, which is later: products of small matrices are slower in several threads.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

DONE, FAILED = 0, 1
SECONDS = 30.0
RECORDER_NODE = "calibration_rec"
LANDMARKS = ("landmarks", "landmarks3d")
BODY_KINDS = (*LANDMARKS, "samples")
PEOPLE_KINDS = ("smoothed", "people")
_LEVEL_LIMIT_DEG = 60.0
_SAID_EACH_S = 10.0
_STOPPED = ("Ctrl-C", "SIG")
"""How the reasons of a run begin that somebody has stopped."""
NS_PER_S = 1_000_000_000


class WalkFailed(RequestError):
    """The walk did not come to its end; the profile is as it was."""

    exit_code = 1


def add_parser(actions: Any) -> None:
    """Declare the action."""
    parser = actions.add_parser(
        "radar",
        help="where radars are and how late their stamps are: from a walking person",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("profile", type=Path, metavar="PROFILE", help="profile to write (.toml)")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--session", type=Path, metavar="S.mcap", help="calibrate from a recorded session")
    source.add_argument("--graph", type=Path, metavar="GRAPH", help="run the sensors of a graph file, then calibrate")
    parser.add_argument("--radar", action="append", metavar="NAME", help="radar to calibrate, if not all; repeatable")
    parser.add_argument("--people", metavar="TOPIC", help="take the people that were recorded here")
    parser.add_argument(
        "--level", type=_level, nargs="?", const=0.0, metavar="DOWN",
        help="the radar is known to stand level, looking down by DOWN degrees (0), leaning to neither side",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=seconds(), default=SECONDS, metavar="S", help="with --graph: walk for so long (30)"
    )
    parser.add_argument("--record", type=Path, metavar="OUT.mcap", help="with --graph: keep the session")
    parser.add_argument("--headless", action="store_true", help="with --graph: no windows")
    parser.add_argument("--overwrite", action="store_true", help="replace the profile if it exists")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(calibrate=run)


def _level(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= _LEVEL_LIMIT_DEG:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no tilt in degrees (from {-_LEVEL_LIMIT_DEG:g} to {_LEVEL_LIMIT_DEG:g}), such as 15"
        )
    return math.radians(value)


def run(args: argparse.Namespace) -> int:
    """Calibrate; 0 when all radars are written, 1 when one is refused, 2 when the request is wrong."""
    _check(args)
    if args.session is not None:
        return from_session(args.session, args)
    with tempfile.TemporaryDirectory(prefix="kinefuse-calibrate-") as folder:
        recorded = args.record or Path(folder) / "walk.mcap"
        capture(args.graph, recorded, args)
        return from_session(recorded, args)


def _check(args: argparse.Namespace) -> None:
    """Whatever can be wrong is said before anybody walks."""
    if args.profile.exists() and not args.overwrite:
        raise RequestError(f"{args.profile}: exists already; choose another name or allow overwriting (--overwrite)")
    if not args.profile.absolute().parent.is_dir():
        raise RequestError(f"{args.profile}: there is no folder {args.profile.absolute().parent}")
    if args.record is not None and args.graph is None:
        raise RequestError("--record: records what --graph runs; give --graph")
    if args.record is not None and args.record.suffix != ".mcap":
        raise RequestError(f"--record {args.record}: expected the name of a session file, ending in .mcap")
    if args.record is not None and args.record.exists():
        raise RequestError(f"--record {args.record}: exists already; choose another name or remove it")


def capture(path: Path, recorded: Path, args: argparse.Namespace) -> None:
    """Run a graph for as long as the person walks, and record it.

    Raises:
        RequestError: nothing in the graph sends radar points.
        WalkFailed: a node failed, or somebody stopped it.
    """
    from nodes.graph.launcher import run_graph
    from nodes.graph.loader import load_graph

    recorder = {"type": "recorder", "path": str(recorded.absolute())}
    graph = load_graph(path, overrides={"nodes": {RECORDER_NODE: recorder}})
    kinds = {topic: topic.rpartition("/")[2] for topic in graph.topics}
    if "points" not in kinds.values():
        own = [name for name in graph.graph.nodes if name != RECORDER_NODE]
        raise RequestError(
            f"{path}: none of its nodes sends radar points ({listed(own)}); "
            "expected one of type radar, simulator or replayer"
        )
    _check_shown(str(path), kinds, args.people)
    say(f"walk now, for {args.seconds:g} s: towards the radar and away from it, and from side to side")
    report = run_graph(graph, duration_s=args.seconds, headless=args.headless)
    if report.exit_code != DONE or report.reason.startswith(_STOPPED) or not recorded.exists():
        raise WalkFailed(f"the walk was not finished ({report.reason}); {args.profile} is as it was")


def from_session(session: Path, args: argparse.Namespace) -> int:
    """Calibrate the radars of a session and write the profile."""
    from nodes.sessions.reader import SessionReader

    with SessionReader(session) as reader:
        before = _before(args.profile, reader)
        points = _points(reader)
        names = _chosen(session, points, args.radar)
        trail = trail_of(reader, before, args.people)
    found = tuple(_solved(points, name, trail, before, args.level) for name in names)
    return _finish(args, before, found)


# ---------------------------------------------------------------- what was seen


def _before(profile: Path, reader: SessionReader) -> Rig:
    """The profile as it is; that of the session where there is none."""
    from contextlib import ExitStack

    from calibration.profile import load_profile
    from fusion.rig import Rig
    from nodes.sessions.replay import profile_file

    if profile.exists():
        return load_profile(profile)
    if not reader.profile_text:
        return Rig()
    with ExitStack() as stack:
        return load_profile(profile_file(reader, stack))


def _points(reader: SessionReader) -> list[RadarPoints]:
    from fusion.records import RadarPoints

    topics = tuple(name for name, kind in reader.kinds.items() if kind == "points")
    if not topics:
        raise RequestError(f"{reader.path}: no radar points; its topics: {listed(reader.kinds)}")
    records = (envelope.record for _, envelope in reader.envelopes(topics))
    return [record for record in records if isinstance(record, RadarPoints)]


def _chosen(session: Path, points: list[RadarPoints], asked: list[str] | None) -> tuple[str, ...]:
    """Names of the radars to calibrate.

    Raises:
        RequestError: naming those that there are.
    """
    known = sorted({record.radar for record in points})
    for name in asked or []:
        if name not in known:
            raise RequestError(
                f"{session}: --radar {name!r}: no such radar{suggestion(name, known)}; it has: {listed(known)}"
            )
    if not known:
        raise RequestError(f"{session}: its radars sent no frame; see that they run: kinefuse doctor radar")
    return tuple(dict.fromkeys(asked or known))


def trail_of(reader: SessionReader, rig: Rig, topic: str | None) -> Trail:
    """Where the person was: computed from the session's sensors without radars, or as it was recorded.

    Raises:
        RequestError: nothing in the session shows people.
    """
    from calibration.radar.recording import gather_trail
    from fusion.records import People

    _check_shown(str(reader.path), reader.kinds, topic)
    if topic is None and any(kind in LANDMARKS for kind in reader.kinds.values()):
        _check_cameras(reader, rig)
        topics = tuple(name for name, kind in reader.kinds.items() if kind in BODY_KINDS)
        return gather_trail(fused((envelope.record for _, envelope in reader.envelopes(topics)), reader, rig))
    if topic is None:
        topic = min(_shown(reader.kinds), key=lambda name: PEOPLE_KINDS.index(reader.kinds[name]))
        say(f"{reader.path}: no landmarks, so the people that were recorded as {topic} are used")
    records = (envelope.record for _, envelope in reader.envelopes((topic,)))
    return gather_trail(record for record in records if isinstance(record, People))


def _shown(kinds: dict[str, str]) -> list[str]:
    return [name for name, kind in kinds.items() if kind in PEOPLE_KINDS]


def _check_shown(place: str, kinds: dict[str, str], topic: str | None) -> None:
    """Refuse what shows nobody."""
    known = _shown(kinds)
    if topic is not None and topic not in known:
        raise RequestError(
            f"{place}: --people {topic!r}: no such topic{suggestion(topic, known)}; topics with people: {listed(known)}"
        )
    if not known and not any(kind in LANDMARKS for kind in kinds.values()):
        raise RequestError(
            f"{place}: nothing shows where the person was: no landmarks, no people; has {listed(kinds)}; "
            "record cameras too, or replay it through a graph with keypoints and fusion: "
            "kinefuse replay SESSION --graph GRAPH --record OUT.mcap"
        )


def _check_cameras(reader: SessionReader, rig: Rig) -> None:
    """Refuse landmarks of cameras that nobody knows the place of."""
    from fusion.records import Landmarks2D

    topics = tuple(name for name, kind in reader.kinds.items() if kind == "landmarks")
    if not topics or rig.cameras:
        return
    first = next((envelope.record for _, envelope in reader.envelopes(topics)), None)
    if isinstance(first, Landmarks2D):
        raise RequestError(
            f"{reader.path}: the profile has no cameras, and camera {first.camera!r} shows the person; "
            "give a profile with the cameras: kinefuse calibrate import FILE PROFILE"
        )


def fused(records: Iterable[Record], reader: SessionReader, rig: Rig) -> Iterator[People]:
    """The people as the pipeline makes them of a session's records; says how far it is."""
    from fusion.pipeline import Pipeline
    from nodes.commands.refine_imu import fusion_keys
    from nodes.fusion import pipeline_params

    pipeline = Pipeline(rig, pipeline_params(fusion_keys(reader, lambda message: None)))
    said_ns: int | None = None
    first_ns: int | None = None
    for record in records:
        first_ns = record.measured_ns if first_ns is None else first_ns
        if said_ns is None or record.measured_ns - said_ns > _SAID_EACH_S * NS_PER_S:
            said_ns = record.measured_ns
            say(f"following the person: {(said_ns - first_ns) / NS_PER_S:.0f} s")
        people = pipeline.step(record)
        if people is not None:
            yield people
    for reason, count in pipeline.refused.items():
        say(f"{reader.path}: {count} records refused: {reason}")


def _solved(
    points: list[RadarPoints], name: str, trail: Trail, before: Rig, level_down_rad: float | None
) -> RadarCalibration:
    from calibration.radar.recording import gather_frames
    from calibration.radar.solve import calibrate

    known = {mount.name: mount for mount in before.radars}.get(name)
    return calibrate(gather_frames(points, name), trail, known=known, level_down_rad=level_down_rad)


# ---------------------------------------------------------------- the outcome


def _finish(args: argparse.Namespace, before: Rig, found: tuple[RadarCalibration, ...]) -> int:
    """Write what is good, and say how it is."""
    from calibration.profile import save_profile

    good = [item for item in found if item.accepted]
    if good:
        save_profile(args.profile, merged(before, good), overwrite=args.overwrite)
    for item in found:
        for finding in item.findings:
            say(f"{'refused' if finding.blocking else 'note'}: {item.radar}: {finding.message}")
    if args.json:
        print_json(as_json(args.profile, before, found))
    else:
        _print(found)
    if len(good) < len(found):
        refused = listed(item.radar for item in found if not item.accepted)
        say(f"kinefuse calibrate radar: {refused} refused, {'kept as before' if good else 'the profile is as it was'}")
    if good:
        say(f"{args.profile}: written, {listed(item.radar for item in good)}")
    return DONE if len(good) == len(found) else FAILED


def merged(before: Rig, found: Iterable[RadarCalibration]) -> Rig:
    """The profile with the radars that were found; each keeps the field of view that it had."""
    from dataclasses import replace

    mounts = {mount.name: mount for mount in before.radars}
    for item in found:
        new = _mount(item)
        old = mounts.get(item.radar)
        mounts[item.radar] = (
            new
            if old is None
            else replace(
                old,
                r_world_from_radar=new.r_world_from_radar,
                position_world_m=new.position_world_m,
                time_offset_s=new.time_offset_s,
            )
        )
    return replace(before, radars=tuple(mounts.values()))


def _mount(found: RadarCalibration) -> RadarMount:
    from fusion.rig import RadarMount

    assert found.pose is not None
    return RadarMount(
        name=found.radar,
        r_world_from_radar=found.pose.r_world_from_radar,
        position_world_m=found.pose.position_world_m,
        time_offset_s=found.pose.time_offset_s,
    )


def as_json(profile: Path, before: Rig, found: tuple[RadarCalibration, ...]) -> dict[str, Any]:
    """The outcome as plain values."""
    from calibration.radar.result import to_values

    known = {mount.name: mount for mount in before.radars}
    return {
        "profile": str(profile),
        "written": any(item.accepted for item in found),
        "radars": [{**to_values(item), "moved": _moved(known.get(item.radar), item)} for item in found],
    }


def _moved(before: RadarMount | None, found: RadarCalibration) -> dict[str, float] | None:
    """How far the pose is from the profile's."""
    import numpy as np

    from fusion.maths import quaternion

    if before is None or found.pose is None:
        return None
    turn = quaternion.from_matrix(before.r_world_from_radar.T @ found.pose.r_world_from_radar)
    return {
        "rotation_deg": math.degrees(float(np.linalg.norm(quaternion.to_rotvec(turn)))),
        "position_cm": 100.0 * float(np.linalg.norm(found.pose.position_world_m - before.position_world_m)),
        "time_ms": 1e3 * (found.pose.time_offset_s - before.time_offset_s),
    }


def _print(found: tuple[RadarCalibration, ...]) -> None:
    poses: list[tuple[str, ...]] = []
    rows: list[tuple[str, ...]] = []
    for item in found:
        if item.pose is None:
            poses.append((item.radar, "refused", "", "", "", "", "", ""))
            continue
        pose = item.pose
        place = " ".join(f"{value:.2f}" for value in pose.position_world_m)
        poses.append(
            (
                item.radar,
                "ok" if item.accepted else "refused",
                f"({place}) m",
                f"±{100.0 * pose.position_95_m:.1f} cm",
                f"±{math.degrees(pose.rotation_95_rad):.2f}°",
                f"{1e3 * pose.time_offset_s:.0f} ms",
                f"±{1e3 * pose.time_95_s:.1f} ms",
                f"{item.body_points} of {item.points} points, {item.seconds:.0f} s",
            )
        )
        rows += [
            (item.radar, row.name, *(f"{value:.2f} {row.unit}" for value in (row.rms, row.usual)))
            for row in item.residuals
        ]
    heads = ("radar", "", "position", "95 %", "rotation 95 %", "stamps late by", "95 %", "seen")
    print_table(heads, poses)
    if rows:
        print()
        print_table(("radar", "residual", "of points", "usual"), rows)
