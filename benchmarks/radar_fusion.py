"""What the radar gives the filter: in the dark, beside all other sensors, and on people before a real one.

    python -m benchmarks.radar_fusion [--only table,mars,offset] [--split held_out|tune] [--json]

* ``table``: the rows of ``benchmarks.filter_accuracy`` with and without the simulated radar, whose noise is that
  of the MARS recordings. ``root_mm`` is the pelvis' error, in the two seconds without cameras for the rows named
  so. ``worst_cost`` is the largest ratio of any mean error with the radar to that without, over all rows but the dark
  ones.
* ``mars``: the MARS recordings, each subject in turn: points of a real radar, and the Kinect's joints as a camera that
  tells noisy places in the world three times a second and is then away for two seconds. Errors are against the
  Kinect's joints, in these two seconds and in the light. ``points``: the radar's points tell place and speed;
  ``joints``: the network tells joints as well, with weights that have not seen the subject. The radar's place is
  calibrated on the other subjects. Needs the data pack (``KINEFUSE_DATA``, else ``../shared/data`` beside the
  checkout).
* ``offset``: the same recordings, the middle of a person's points against the spine of the Kinect: how it follows
  where a body that stands and moves so is expected to reflect (slope), and the standard deviation of what is left,
  with the expected offset taken off and without; across, along and up. Also that of the trunk's radial velocity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import scenarios
from benchmarks.filter_accuracy import measure_all, parser, ratio, sections
from benchmarks.scenarios import NS_PER_S, SCENARIOS, title
from fusion.body.reflection import MOVING_M_S
from fusion.body.skeleton import SEGMENT, SEGMENTS
from fusion.estimators.radar.packing import JOINT_SET, RadarWeights
from fusion.estimators.radar.trunk import TRUNK, expected_offset, trunk_cluster
from fusion.filter.measurements.radar import RadarParams
from fusion.pipeline import Pipeline
from fusion.records import Bool, Float64, Landmarks3D, RadarPoints, Record, Tick
from fusion.rig import RadarMount, Rig
from nodes.commands.arguments import print_json, print_table, say
from nodes.errors import RequestError
from nodes.models.radar import load

SECTIONS = ("table", "mars", "offset")
MM_PER_M = 1e3

# ---------------------------------------------------------------- the filter's table


def table(split: str, *, quick: bool, jobs: int) -> dict[str, Any]:
    """Every combination with the radar beside the same without."""
    clips = scenarios.SPLITS[split][: scenarios.QUICK_CLIPS] if quick else scenarios.SPLITS[split]
    seconds = scenarios.QUICK_SECONDS if quick else scenarios.SECONDS
    pairs = {name: name.removesuffix("+radar") for name in SCENARIOS if name.endswith("+radar")}
    names = list(dict.fromkeys([*pairs.values(), *pairs]))
    everything = measure_all(clips, seconds, names, jobs)
    results = {name: [part for part in everything if part.scenario == name] for name in names}
    rows = {}
    for name, without in pairs.items():
        figures = ("root_relative_m", "absolute_m") if SCENARIOS[without].placed else ("heading_aligned_m",)
        rows[without] = {
            "title": title(without),
            "dark": SCENARIOS[name].blackout,
            "root_mm": _root_mm(results[without]) if SCENARIOS[without].placed else None,
            "root_radar_mm": _root_mm(results[name]),
            **{
                f"{figure.removesuffix('_m')}_ratio": ratio(results[name], results[without], figure)
                for figure in figures
            },
        }
    light = [row for row in rows.values() if not row["dark"]]
    costs = [
        value for row in light for key, value in row.items() if key.endswith("_ratio") and isinstance(value, float)
    ]
    return {
        "split": split,
        "clips": list(clips),
        "seconds": seconds,
        "rows": rows,
        "worst_cost": float(np.nanmax(costs)),
    }


def _root_mm(parts: Sequence[scenarios.Errors]) -> float:
    values = np.concatenate([part.absolute_m[:, 0] for part in parts])
    return float(np.nanmean(values)) * MM_PER_M if np.isfinite(values).any() else float("nan")


# ---------------------------------------------------------------- MARS

SUBJECTS = (1, 2, 3, 4)
MOVEMENTS = range(1, 11)
FLOOR_M = 0.96
"""The sensor stands so high."""
RADAR = "radar"
PERIOD_NS = 100_000_000
CAMERA_EVERY = 3
"""The Kinect tells every third frame."""
CAMERA_SIGMA_M = 0.03
DARK_FRAMES = (60, 80)
FRAMES = 80
SETTLED_FRAMES = 20
"""Errors count from here."""
KEYS = ("dark_root_mm", "dark_mpjpe_mm", "light_root_mm", "light_mpjpe_mm")
_SEED = 20261203
_SOURCES = {
    "pelvis": 0, "t12": 1, "head": 2, "neck": 18, "left_upper_arm": 4, "left_forearm": 5, "left_hand": 6,
    "right_upper_arm": 7, "right_forearm": 8, "right_hand": 9, "left_upper_leg": 10, "left_lower_leg": 11,
    "left_foot": 12, "left_toe": 13, "right_upper_leg": 14, "right_lower_leg": 15, "right_foot": 16, "right_toe": 17,
}  # fmt: skip
"""Which of the Kinect's joints is which of ours."""
_BETWEEN = {"l5": ("pelvis", "t12", 0.33), "l3": ("pelvis", "t12", 0.67), "t8": ("t12", "neck", 0.45)}


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Frames of one movement that follow each other."""

    subject: int
    movement: int
    times_ns: Float64
    """[T]."""
    joints_m: Float64
    """[T, 19, 3] world: the radar's frame, the floor at 0."""
    frames: tuple[Float64, ...]
    """T arrays [N, 4] of points in the radar's frame, and their radial velocities."""


def read_stretches(folder: Path, subject: int) -> list[Stretch]:
    """The first frames of each movement of a subject that are long enough without a gap and have joints."""
    with np.load(folder / "mars" / f"subject{subject}.npz") as file:
        data = {key: file[key] for key in ("points", "point_offset", "frame_index", "movement", "labels")}
    told = np.isfinite(data["labels"]).all((1, 2))
    found = []
    for movement in MOVEMENTS:
        rows = np.flatnonzero((data["movement"] == movement) & told)
        breaks = np.flatnonzero(np.diff(data["frame_index"][rows]) > 2) + 1
        long = [run for run in np.split(rows, breaks) if len(run) >= FRAMES]
        if long:
            found.append(_stretch(data, subject, movement, long[0][:FRAMES]))
    return found


def _stretch(data: dict[str, Any], subject: int, movement: int, rows: Any) -> Stretch:
    index = data["frame_index"][rows].astype(np.int64)
    cuts = [data["points"][data["point_offset"][row] : data["point_offset"][row + 1], :4] for row in rows]
    return Stretch(
        subject,
        movement,
        (index - index[0]) * PERIOD_NS,
        data["labels"][rows].astype(np.float64) + np.array([0.0, 0.0, FLOOR_M]),
        tuple(cut.astype(np.float64) for cut in cuts),
    )


def mount_at(place_m: Float64) -> RadarMount:
    """A level radar that looks along y."""
    return RadarMount(
        name=RADAR, r_world_from_radar=np.eye(3), position_world_m=place_m, azimuth_fov_rad=1.0, range_max_m=4.0
    )


def our_joints(kinect_m: Float64) -> Float64:
    """Joints [T, 23, 3] of our body from the Kinect's [T, 19, 3]; clavicles are where the arms begin."""
    joints = np.zeros((len(kinect_m), SEGMENTS, 3))
    for name, source in _SOURCES.items():
        joints[:, SEGMENT[name]] = kinect_m[:, source]
    for name, (low, high, share) in _BETWEEN.items():
        joints[:, SEGMENT[name]] = (1.0 - share) * joints[:, SEGMENT[low]] + share * joints[:, SEGMENT[high]]
    for side in ("left", "right"):
        joints[:, SEGMENT[f"{side}_shoulder"]] = joints[:, SEGMENT[f"{side}_upper_arm"]]
    return joints


def offset(folder: Path) -> dict[str, Any]:
    """How well the expected middle of a moving body's points is the real one."""
    level = mount_at(np.array([0.0, 0.0, FLOOR_M]))
    rows = []
    for stretch in (stretch for subject in SUBJECTS for stretch in read_stretches(folder, subject)):
        joints = our_joints(stretch.joints_m)
        speeds = np.gradient(joints, stretch.times_ns / NS_PER_S, axis=0)
        for points, body, speed in zip(stretch.frames, joints, speeds, strict=True):
            near = _near(points, level, body)
            if near.sum() < RadarParams().min_points:
                continue
            expected, drift = expected_offset(level.position_world_m, body, speed, MOVING_M_S)
            middle = level.to_world(points[near, :3]).mean(0) - body[TRUNK]
            sight = body[TRUNK] - level.position_world_m
            recedes = float(speed[TRUNK] @ sight) / float(np.linalg.norm(sight))
            rows.append([*middle, *expected, float(np.median(points[near, 3])) - drift - recedes])
    told = np.array(rows)
    middle, expected = told[:, :3], told[:, 3:6]
    return {
        "frames": len(told),
        "slope": [float(np.polyfit(expected[:, axis], middle[:, axis], 1)[0]) for axis in range(3)],
        "sigma_m": (middle - expected).std(axis=0).tolist(),
        "sigma_without_m": middle.std(axis=0).tolist(),
        "radial_velocity_sigma_m_s": float(told[:, 6].std()),
    }


def _near(points: Float64, mount: RadarMount, body_m: Float64) -> Bool:
    """Which points [N] of a frame are a person's."""
    world = mount.to_world(points[:, :3])
    return np.asarray(np.linalg.norm(world[:, :2] - body_m[TRUNK, :2], axis=1) < RadarParams().reach_m)


def calibrated(stretches: Sequence[Stretch]) -> RadarMount:
    """Where the radar must be for its clusters to lie on the trunks [of other subjects]."""
    params, level = RadarParams(), mount_at(np.array([0.0, 0.0, FLOOR_M]))
    gaps = []
    for stretch in stretches:
        joints = our_joints(stretch.joints_m)
        speeds = np.gradient(joints, stretch.times_ns / NS_PER_S, axis=0)
        for points, body, speed in zip(stretch.frames, joints, speeds, strict=True):
            near = _near(points, level, body)
            told = trunk_cluster(
                level.to_world(points[near, :3]),
                points[near, 3],
                level,
                body,
                speed,
                min_points=params.min_points,
                surface_m=params.surface_m,
                moving_m_s=MOVING_M_S,
            )
            if told is not None:
                gaps.append(body[TRUNK] - told.position_m)
    return mount_at(level.position_world_m + np.median(gaps, axis=0))


def played(stretch: Stretch, mount: RadarMount, weights: RadarWeights | None, *, radar: bool) -> dict[str, float]:
    """Errors in the dark and in the light of a pipeline that is given a stretch."""
    pipeline = Pipeline(Rig(radars=(mount,)), radar_network=weights)
    random = np.random.default_rng([_SEED, stretch.subject, stretch.movement])
    noise = CAMERA_SIGMA_M * random.standard_normal(stretch.joints_m.shape)
    errors: dict[str, list[Float64]] = {"dark": [], "light": []}
    for index, time_ns in enumerate(stretch.times_ns.astype(np.int64).tolist()):
        dark = DARK_FRAMES[0] <= index < DARK_FRAMES[1]
        if index % CAMERA_EVERY == 0 and not dark:
            pipeline.take(_seen(time_ns, stretch.joints_m[index] + noise[index]))
        if radar:
            pipeline.take(_points(time_ns, index, stretch.frames[index]))
        tick = Tick(measured_ns=time_ns, received_ns=time_ns)
        pipeline.take(tick)
        if index >= SETTLED_FRAMES and pipeline.bank.people:
            told = pipeline.bank.landmarks_at(pipeline.bank.people[0], time_ns, JOINT_SET)
            errors["dark" if dark else "light"].append(np.linalg.norm(told - stretch.joints_m[index], axis=1))
    return {
        f"{name}_{figure}_mm": float(value) * MM_PER_M
        for name, values in errors.items()
        for figure, value in (("root", np.mean(values, axis=0)[0]), ("mpjpe", np.nanmean(values)))
    }


def _seen(time_ns: int, joints_m: Float64) -> Record:
    return Landmarks3D(
        measured_ns=time_ns,
        received_ns=time_ns,
        source="kinect",
        landmark_set=JOINT_SET,
        positions_m=joints_m[None].astype(np.float32),
        sigmas_m=np.full((1, len(joints_m)), CAMERA_SIGMA_M, np.float32),
    )


def _points(time_ns: int, index: int, points: Float64) -> Record:
    return RadarPoints(
        measured_ns=time_ns,
        received_ns=time_ns,
        radar=RADAR,
        frame=index,
        positions_m=points[:, :3].astype(np.float32),
        radial_velocities_m_s=points[:, 3].astype(np.float32),
        snrs_db=np.full(len(points), np.nan, np.float32),
    )


def mars(folder: Path) -> dict[str, Any]:
    """All subjects, each with what was calibrated and learned on the others."""
    stretches = {subject: read_stretches(folder, subject) for subject in SUBJECTS}
    found: dict[str, list[dict[str, float]]] = {"camera": [], "points": [], "joints": []}
    for subject, own in stretches.items():
        others = [stretch for other in SUBJECTS if other != subject for stretch in stretches[other]]
        mount, weights = calibrated(others), _weights_without(subject)
        for stretch in own:
            found["camera"].append(played(stretch, mount, None, radar=False))
            found["points"].append(played(stretch, mount, None, radar=True))
            if weights is not None:
                found["joints"].append(played(stretch, mount, weights, radar=True))
    return {
        "stretches": sum(map(len, stretches.values())),
        "dark_s": (DARK_FRAMES[1] - DARK_FRAMES[0]) * PERIOD_NS / NS_PER_S,
        **{
            name: {key: float(np.mean([row[key] for row in rows])) for key in KEYS} if rows else None
            for name, rows in found.items()
        },
    }


def _weights_without(subject: int) -> RadarWeights | None:
    path = Path(__file__).resolve().parent / "weights" / f"radar-points-without-{subject}.npz"
    try:
        return load(str(path))
    except RequestError as error:
        say(f"joints: {error}")
        return None


# ---------------------------------------------------------------- command


def print_figures(figures: dict[str, Any]) -> None:
    """Write the figures as tables."""
    if "table" in figures:
        rows = []
        for row in figures["table"]["rows"].values():
            ratios = [_shown(row.get(f"{key}_ratio"), 3) for key in ("root_relative", "absolute", "heading_aligned")]
            rows.append((row["title"], "", _shown(row["root_mm"]), _shown(row["root_radar_mm"]), *ratios))
        print_table(("sensors", "", "root mm", "with radar", "relative", "absolute", "heading al."), rows)
        print(f"worst ratio outside the dark: {figures['table']['worst_cost']:.3f}\n")
    if "mars" in figures:
        found = figures["mars"]
        rows = [
            (name, "", *(_shown(found[name][key]) for key in KEYS))
            for name in ("camera", "points", "joints")
            if found[name] is not None
        ]
        print(f"MARS, {found['stretches']} stretches, {found['dark_s']:g} s without the camera")
        print_table(("told by", "", "root mm", "joints mm", "in the light", "joints mm"), rows)

    if "offset" in figures:
        _print_offset(figures["offset"])


def _print_offset(found: dict[str, Any]) -> None:
    print(f"middle of the points against the spine, {found['frames']} frames")
    columns = zip(("across", "along", "up"), found["slope"], found["sigma_m"], found["sigma_without_m"], strict=True)
    rows: list[tuple[str, ...]] = [
        (name, "", _shown(slope, 2), _shown(own, 3), _shown(other, 3)) for name, slope, own, other in columns
    ]
    print_table(("axis", "", "slope", "sigma m", "without"), rows)
    print(f"radial velocity: {found['radial_velocity_sigma_m_s']:.2f} m/s")


def _shown(value: float | None, digits: int = 1) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--only", default=",".join(SECTIONS), help=f"some of {', '.join(SECTIONS)}")
    given = arguments.parse_args()
    wanted = sections(given.only, SECTIONS)
    figures: dict[str, Any] = {}
    if "table" in wanted:
        figures["table"] = table(given.split, quick=given.quick, jobs=given.jobs)
    if "mars" in wanted:
        figures["mars"] = mars(scenarios.data_folder())
    if "offset" in wanted:
        figures["offset"] = offset(scenarios.data_folder())
    if given.json:
        print_json(figures)
    else:
        print_figures(figures)


if __name__ == "__main__":
    main()
