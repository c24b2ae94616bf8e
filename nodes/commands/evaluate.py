"""``kinefuse evaluate SESSION``: compare the poses of a session with the truth.

Figures and their rules:

* For each distinct ``measured_ns`` the pose that was published last counts. Poses
  are never interpolated: a true pose meets the nearest pose within half a truth
  interval, and a simulator's truth is interpolated to exactly that pose's time.
* Errors, coverage, bone spread and jitter count from 0.5 s after the first
  measurement on: before, people are still being found and their lengths learned.
* A true person is followed by one track; another track fills in only where that
  one was not alive.
* ``coverage``: share of the true poses (without truth: of the distinct times of
  the landmark records) that have a pose. ``mpjpe_mm``, ``median_mm``: absolute,
  nothing aligned. ``pa_mpjpe_mm``: after the best similarity of each frame.
  ``angle_deg``: mean angle between estimated and true joint rotations.
  ``sip_deg``, ``angular_deg``: mean angle between estimated and true rotations in the
  world of upper arms and upper legs, of all segments; ``position_cm``: mean joint
  distance of the reference body turned like both, roots in one place;
  ``root_drift_percent``: how far the root goes astray while the person goes 2, 5
  and 10 m, of that way (``docs/metrics.md``).
  ``reprojection_px``: median distance of landmark records (score at least 0.3)
  from the projected pose of the same time. ``bone_spread_mm``: standard deviation
  of bone lengths over time, mean over bones, from when the lengths were locked (over
  the whole take if they never were). ``jitter_m_s3``: mean size of the
  third derivative. ``latency_ms``: publication of the record that caused a pose to
  publication of that pose, in sessions that followed the clock.
* Against a TRC, its markers are compared with the same landmarks of the body, in
  the landmark set of the session's landmark records.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.commands.arguments import print_json, print_table
from nodes.errors import RequestError, listed, suggestion

if TYPE_CHECKING:
    import numpy as np

    from fusion.metrics import Track
    from fusion.records import Landmarks2D, People, Truth
    from fusion.rig import Rig
    from nodes.sessions.reader import SessionReader

NS_PER_S = 1_000_000_000
NS_PER_MS = 1e6
MM_PER_M = 1e3
MIN_SCORE = 0.3
"""Landmarks below it are guesses and do not count for the reprojection error (the bound of Pose2Sim)."""
LATENCY_LEVELS = (50.0, 99.0, 100.0)
OWN_AXIS_NS = 86_400 * NS_PER_S
"""Sessions whose first stamp is smaller count from 0, others read like the time of day."""

TRC_LANDMARKS: dict[str, tuple[str, ...]] = {
    "Neck": ("upper_neck", "mid_shoulder"),
    "Head": ("head_top",),
    "Nose": ("nose",),
    "Hip": ("mid_hip",),
    **{
        f"{letter}{name}": (f"{side}_{landmark}",)
        for letter, side in (("R", "right"), ("L", "left"))
        for name, landmark in (
            ("Hip", "hip"), ("Knee", "knee"), ("Ankle", "ankle"), ("BigToe", "big_toe"), ("SmallToe", "small_toe"),
            ("Heel", "heel"), ("Shoulder", "shoulder"), ("Elbow", "elbow"), ("Wrist", "wrist"),
            ("Eye", "eye"), ("Ear", "ear"),
        )
    },
}  # fmt: skip
"""Marker names of Pose2Sim's TRC files (after OpenPose) and the landmarks that they may be, best first."""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="compare a session with the truth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("session", metavar="SESSION", help="session file (.mcap)")
    parser.add_argument("--truth", metavar="TOPIC|REF.trc", help="truth topic or TRC file; default: the truth topic")
    parser.add_argument("--people", metavar="TOPIC", help="whose poses; needed if several nodes publish people")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    figures = evaluate(Path(args.session), truth=args.truth, people=args.people)
    if args.json:
        print_json(figures)
    else:
        print_figures(figures)
    return 0


def evaluate(session: Path, *, truth: str | None = None, people: str | None = None) -> dict[str, Any]:
    """The figures of a session by name; None where one does not apply.

    Args:
        session: the file.
        truth: a truth topic or the path of a TRC file; None for the session's truth topic, if it has one.
        people: a people topic; None for the only one.

    Raises:
        RequestError: if the session cannot be read or has not what was asked for.
    """
    from nodes.sessions.reader import SessionReader

    with SessionReader(session) as reader:
        material = _read(reader, truth, people)
    return _figures(material)


@dataclass(frozen=True, slots=True, eq=False)
class _Material:
    """What an evaluation needs of a session."""

    poses: dict[int, People]
    """Last pose of each distinct time, by time."""
    latencies_ms: list[float]
    truths: list[Truth]
    landmarks: list[Landmarks2D]
    first_ns: int
    """First measurement."""
    rig: Rig | None
    follows_clock: bool
    trc: str | None


def _read(reader: SessionReader, truth: str | None, people: str | None) -> _Material:
    from fusion.records import InertialSamples, Landmarks2D, Landmarks3D, People, RadarPoints, Truth

    people_topic = _topic(reader, "people", people, "--people")
    if people_topic is None:
        raise RequestError(
            f"{reader.path}: no topic with people; its topics: {listed(reader.topics)}; "
            "record a graph with a fusion node, or replay the session through one with --graph and --record"
        )
    trc = truth if truth is not None and truth.lower().endswith(".trc") else None
    truth_topic = None if trc else _topic(reader, "truth", truth, "--truth")
    wanted = [topic for topic, kind in reader.kinds.items() if kind in _MEASUREMENTS]
    topics = tuple(topic for topic in (*wanted, people_topic, truth_topic) if topic is not None)
    poses: dict[int, People] = {}
    latencies: list[float] = []
    truths: list[Truth] = []
    landmarks: list[Landmarks2D] = []
    first_ns: int | None = None
    for _, envelope in reader.envelopes(topics):
        record = envelope.record
        if isinstance(record, People):
            poses[record.measured_ns] = record
            if envelope.cause_published_ns > 0:
                latencies.append((envelope.published_ns - envelope.cause_published_ns) / NS_PER_MS)
        elif isinstance(record, Truth):
            truths.append(record)
        if isinstance(record, Landmarks2D):
            landmarks.append(record)
        if isinstance(record, Landmarks2D | Landmarks3D | InertialSamples | RadarPoints):
            first_ns = record.measured_ns if first_ns is None else min(first_ns, record.measured_ns)
    if first_ns is None:
        first_ns = min((record.measured_ns for record in (*truths, *poses.values())), default=0)
    follows_clock = reader.entry("kinefuse.session").get("time", "live") == "live"
    return _Material(poses, latencies, truths, landmarks, first_ns, _rig(reader), follows_clock, trc)


_MEASUREMENTS = ("landmarks", "landmarks3d", "samples", "points")


def _topic(reader: SessionReader, kind: str, asked: str | None, option: str) -> str | None:
    """The topic that was asked for, or the only one whose stream has the kind's name; None if there is none.

    Other streams carry the same kind of record (the people again, smoothed); they are taken only when asked for.
    """
    known = [topic for topic in reader.topics if reader.kinds[topic] == kind]
    if asked is not None:
        if asked not in known:
            raise RequestError(
                f"{reader.path}: {option} {asked!r}: no such topic{suggestion(asked, known)}; "
                f"topics with {kind}: {listed(known)}"
            )
        return asked
    named = [topic for topic in known if topic.rpartition("/")[2] == kind] or known
    if len(named) > 1:
        raise RequestError(f"{reader.path}: several topics with {kind}: {listed(named)}; choose one with {option}")
    return named[0] if named else None


def _rig(reader: SessionReader) -> Rig | None:
    """The rig of the profile that the session carries."""
    import tempfile

    from calibration.profile import load_profile

    text = reader.profile_text
    if text is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "profile.toml"
        file.write_text(text, encoding="utf-8")
        try:
            return load_profile(file)
        except ValueError:
            return None


# ---------------------------------------------------------------- figures


def _figures(material: _Material) -> dict[str, Any]:
    import numpy as np

    from fusion.metrics import SETTLING_S, bone_spread_m, jitter_m_s3, percentiles, pose_errors
    from fusion.pose_metrics import track_scores

    from_ns = material.first_ns + round(SETTLING_S * NS_PER_S)
    tracks = _tracks(material.poses)
    truths, estimates, names, followed_bodies = _compared(material, tracks)
    errors = pose_errors(truths, estimates, from_ns)
    scores, drift_percent = track_scores(truths, estimates, from_ns)
    bodies = [track.at(np.flatnonzero(track.times_ns >= from_ns)) for track in followed_bodies]
    constant = [track.at(np.flatnonzero(track.times_ns >= _locked_ns(material.poses, from_ns))) for track in bodies]
    spreads = [bone_spread_m(track.positions_m) for track in constant if len(track.times_ns) > 1]
    jitters = [jitter_m_s3(track.times_ns, track.positions_m) for track in bodies]
    latency = percentiles(np.array(material.latencies_ms), LATENCY_LEVELS) if material.follows_clock else []
    coverage = errors.coverage if truths else _landmark_coverage(material, from_ns)
    return {
        "frames": sum(len(record.ids) > 0 for record in material.poses.values()),
        "coverage": _number(coverage),
        "mpjpe_mm": _number(errors.mpjpe_m, MM_PER_M),
        "median_mm": _number(errors.median_m, MM_PER_M),
        "pa_mpjpe_mm": _number(errors.pa_mpjpe_m, MM_PER_M),
        "angle_deg": _number(float(np.degrees(errors.angle_rad))),
        "sip_deg": _number(scores.sip_deg),
        "angular_deg": _number(scores.angular_deg),
        "position_cm": _number(scores.position_cm),
        "root_drift_percent": _number(drift_percent),
        "reprojection_px": _number(_reprojection_px(material, from_ns)),
        "bone_spread_mm": _number(float(np.mean(spreads)) if spreads else float("nan"), MM_PER_M),
        "jitter_m_s3": _number(float(np.nanmean(jitters)) if np.isfinite(jitters).any() else float("nan")),
        "latency_ms": dict(zip(("p50", "p99", "max"), latency, strict=True)) if latency and _finite(latency) else None,
        "per_joint_mm": {
            name: _number(float(value), MM_PER_M) for name, value in zip(names, errors.per_joint_m, strict=True)
        }
        or None,
    }


def _locked_ns(poses: dict[int, People], from_ns: int) -> int:
    """When the lengths of everybody who has constant ones had become so; ``from_ns`` if nobody has."""
    first: dict[int, int] = {}
    for time_ns in sorted(poses):
        for number, locked in zip(poses[time_ns].ids, poses[time_ns].lengths_locked, strict=True):
            if locked:
                first.setdefault(int(number), time_ns)
    return max(first.values(), default=from_ns)


def _finite(values: Sequence[float]) -> bool:
    import math

    return all(math.isfinite(value) for value in values)


def _number(value: float, scale: float = 1.0) -> float | None:
    return float(value) * scale if _finite([value]) else None


def _tracks(poses: dict[int, People]) -> list[Track]:
    """Each person of the fusion over time."""
    import numpy as np

    from fusion.metrics import Track

    rows: dict[int, list[tuple[int, int]]] = {}
    for time_ns in sorted(poses):
        for row, number in enumerate(poses[time_ns].ids):
            rows.setdefault(int(number), []).append((time_ns, row))
    return [
        Track(
            number,
            np.array([time_ns for time_ns, _ in places], dtype=np.int64),
            np.array([poses[time_ns].positions_m[row] for time_ns, row in places], dtype=np.float64),
            np.array([poses[time_ns].q_world_from_segment[row] for time_ns, row in places], dtype=np.float64),
        )
        for number, places in rows.items()
    ]


def _compared(
    material: _Material, tracks: list[Track]
) -> tuple[list[Track], list[Track], tuple[str, ...], list[Track]]:
    """True tracks, the estimated track of each, names of the compared points, and the bodies that are followed."""
    import numpy as np

    from fusion.body.skeleton import SEGMENT_NAMES
    from fusion.metrics import follow, meet

    if material.trc is not None:
        truth, points, names = _against_trc(material, tracks)
        followed = follow([truth], points)
        numbers = {track.id for track, near in zip(tracks, points, strict=True) if _overlaps(near, followed[0])}
        return [truth], followed, names, [track for track in tracks if track.id in numbers]
    times = np.array(sorted(material.poses), dtype=np.int64)
    truths = [meet(track, times) for track in _true_tracks(material.truths)]
    if not truths:
        return [], [], (), tracks
    followed = follow(truths, tracks)
    return truths, followed, SEGMENT_NAMES, [track for track in followed if len(track.times_ns)]


def _overlaps(track: Track, followed: Track) -> bool:
    """Whether the followed track took its poses from this one."""
    import numpy as np

    shared = np.isin(track.times_ns, followed.times_ns)
    index = np.searchsorted(followed.times_ns, track.times_ns[shared])
    return bool(
        shared.any()
        and np.isclose(track.positions_m[shared], followed.positions_m[index], equal_nan=True).all(axis=(1, 2)).any()
    )


def _true_tracks(records: list[Truth]) -> list[Track]:
    import numpy as np

    from fusion.metrics import Track

    rows: dict[int, dict[int, tuple[Truth, int]]] = {}
    for record in records:
        for row, number in enumerate(record.ids):
            rows.setdefault(int(number), {})[record.measured_ns] = (record, row)
    tracks = []
    for number, places in sorted(rows.items()):
        times = sorted(places)
        positions = [places[time][0].positions_m[places[time][1]] for time in times]
        quaternions = [places[time][0].q_world_from_segment[places[time][1]] for time in times]
        tracks.append(
            Track(
                number,
                np.array(times, dtype=np.int64),
                np.array(positions, dtype=np.float64),
                np.array(quaternions, dtype=np.float64),
            )
        )
    return tracks


def _against_trc(material: _Material, tracks: list[Track]) -> tuple[Track, list[Track], tuple[str, ...]]:
    """The markers of a TRC as a true track, and the same landmarks of every estimated body."""
    import numpy as np

    from fusion.body.catalog import landmark_set
    from fusion.metrics import Track
    from nodes.trc import read_trc

    assert material.trc is not None
    reference = read_trc(material.trc)
    sets = sorted({record.landmark_set for record in material.landmarks})
    if len(sets) != 1:
        raise RequestError(
            f"{material.trc}: the session has landmark records of {len(sets)} landmark sets ({listed(sets)}), "
            "expected one, which says what the markers are"
        )
    known = landmark_set(sets[0]).landmark_names
    columns, landmarks, names = [], [], []
    for column, marker in enumerate(reference.marker_names):
        found = [name for name in TRC_LANDMARKS.get(marker, ()) if name in known]
        if found:
            columns.append(column)
            landmarks.append(known.index(found[0]))
            names.append(marker)
    if not columns:
        raise RequestError(
            f"{material.trc}: none of its markers ({listed(reference.marker_names)}) is in landmark set {sets[0]}; "
            f"known markers: {listed(TRC_LANDMARKS)}"
        )
    zero_ns = 0 if material.first_ns < OWN_AXIS_NS else material.first_ns
    times_ns = zero_ns + np.round(reference.times_s * NS_PER_S).astype(np.int64)
    truth = Track(0, times_ns, reference.positions_m[:, columns])
    points = [
        Track(track.id, track.times_ns, _landmarks_of(track, material.poses, sets[0])[:, landmarks]) for track in tracks
    ]
    return truth, points, tuple(names)


def _landmarks_of(track: Track, poses: dict[int, People], set_name: str) -> np.ndarray[Any, Any]:
    """World positions [T, K, 3] of a landmark set on a tracked body."""
    import numpy as np

    from fusion.body.catalog import landmark_positions_batch

    lengths = np.array(
        [poses[int(time)].lengths_m[poses[int(time)].ids.tolist().index(track.id)] for time in track.times_ns],
        dtype=np.float64,
    )
    assert track.q_world_from_segment is not None
    return landmark_positions_batch(set_name, track.positions_m, track.q_world_from_segment, lengths)


def _landmark_coverage(material: _Material, from_ns: int) -> float:
    """Share of the distinct times of the landmark records that have a pose."""
    times = {record.measured_ns for record in material.landmarks if record.measured_ns >= from_ns}
    with_pose = {time for time, record in material.poses.items() if len(record.ids)}
    return len(times & with_pose) / len(times) if times else float("nan")


def _reprojection_px(material: _Material, from_ns: int) -> float:
    """Median distance of trusted landmarks from the projected poses of the same time."""
    import numpy as np

    from fusion.body.catalog import landmark_positions_batch
    from fusion.maths.camera import project
    from fusion.metrics import reprojection_distances

    if material.rig is None:
        return float("nan")
    cameras = {camera.name: camera for camera in material.rig.cameras}
    distances = []
    for record in material.landmarks:
        people = material.poses.get(record.measured_ns)
        camera = cameras.get(record.camera)
        if people is None or camera is None or record.measured_ns < from_ns or not len(people.ids):
            continue
        points = landmark_positions_batch(
            record.landmark_set,
            people.positions_m.astype(np.float64),
            people.q_world_from_segment.astype(np.float64),
            people.lengths_m.astype(np.float64),
        )
        projected, _ = project(points.reshape(-1, 3), camera)
        trusted = np.where(record.scores[..., None] >= MIN_SCORE, record.pixels.astype(np.float64), np.nan)
        distances.append(reprojection_distances(trusted, projected.reshape(*points.shape[:2], 2)))
    together = np.concatenate(distances) if distances else np.empty(0)
    return float(np.median(together)) if len(together) else float("nan")


# ---------------------------------------------------------------- output

_ROWS: tuple[tuple[str, str, str], ...] = (
    ("frames", "frames with a pose", ""),
    ("coverage", "coverage", ""),
    ("mpjpe_mm", "MPJPE", "mm"),
    ("median_mm", "median joint distance", "mm"),
    ("pa_mpjpe_mm", "PA-MPJPE", "mm"),
    ("angle_deg", "joint angle error", "deg"),
    ("sip_deg", "SIP error", "deg"),
    ("angular_deg", "angular error", "deg"),
    ("position_cm", "positional error", "cm"),
    ("root_drift_percent", "root drift", "%"),
    ("reprojection_px", "reprojection error, median", "px"),
    ("bone_spread_mm", "bone length spread", "mm"),
    ("jitter_m_s3", "jitter", "m/s^3"),
)


def print_figures(figures: dict[str, Any]) -> None:
    """Write the figures as tables."""
    rows: list[tuple[str, ...]] = [(label, unit, _shown(figures[key])) for key, label, unit in _ROWS]
    latency = figures["latency_ms"] or {}
    rows += [(f"latency, {level}", "ms", _shown(latency.get(level))) for level in ("p50", "p99", "max")]
    print_table(("figure", "unit", "value"), rows)
    if figures["per_joint_mm"]:
        print()
        joints: list[tuple[str, ...]] = [(name, "mm", _shown(value)) for name, value in figures["per_joint_mm"].items()]
        print_table(("joint", "unit", "mean distance"), joints)


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3g}" if abs(value) < 1 else f"{value:.1f}"
