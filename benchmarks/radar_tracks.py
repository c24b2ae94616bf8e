"""Bodies tracked from radar points alone: simulated rooms with one to four people, and the MARS recordings.

    python -m benchmarks.radar_tracks [--json]

Simulated: people who walk between places drawn at random, stand, squat and reach, 60 s, one or two radars (the
second looks at right angles to the first), noise as measured on MARS (``RadarParams``), three seeds. The truth is
the pelvis.

* ``switches``: how often a person's confirmed track changed; ``ids``: confirmed tracks a person (1 is best).
* ``ghosts_per_1000``: confirmed tracks that no person within 1 m has, summed over 1000 frames.
* ``missed_share``: of person-frames in which the person stands within a radar's view, those without a confirmed track;
  ``missed_moving_share``: of those in which the pelvis moves by 0.3 m/s or more.
* ``position_cm``: root mean square of the horizontal error; ``position_median_cm``; ``velocity_m_s``: RMS, horizontal.
* ``nees``: mean of e' P^-1 e over horizontal position and velocity, divided by four: 1 is honest, above is too sure;
  ``nees_position``: the position alone, divided by two; ``within_95``: share of positions inside the 95 % ellipse.
* ``closest_m``: the least distance between two pelvises in the scene, where there are two.
* ``frame_ms``: mean processor time of a step.

MARS (An & Ogras 2021; needs the data pack): one person in front of the radar, ten movements a subject, about 10 Hz; a
new tracker for each movement, with the parameters as they stand. The truth is Kinect's SpineBase; where the labels are
NaN (subject 1's training frames) any confirmed track counts as the person.

* ``coverage``: frames with a confirmed track within 1 m, from a second after the start; ``ghost_share``: frames with a
  second confirmed track; ``births``: confirmed tracks in all, ten movements (nine of subject 4) need as many.
* ``about_mean_cm``: RMS of the error about its mean over the subject, ``mean_right_cm`` and ``mean_forward_cm``, which
  holds how far the axes of Kinect and of the radar are apart.

The parameters were set on seeds 101 to 103 and on MARS subject 1; ``seeds`` here are others.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fusion.body.skeleton import SEGMENT
from fusion.estimators.radar.tracker import RadarTracker, TrackerParams
from fusion.records import Float64, RadarPoints, RadarTracks
from fusion.rig import RadarMount
from fusion.synthesis.actions import Action, Reach, Squat, Stand, Turn, Walk
from fusion.synthesis.motion import draw_lengths
from fusion.synthesis.params import RadarParams
from fusion.synthesis.radars import VirtualRadar, radar_mounts
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.wearer import Wearer
from nodes.commands.arguments import print_json

REPOSITORY = Path(__file__).resolve().parents[1]
NANOSECONDS = 1_000_000_000
SEEDS = (1, 2, 3)
DURATION_S = 60.0
SETTLE_S = 2.0
NEAR_M = 1.0
ROOM_M = 1.6
"""People walk between places so far from the middle at most."""
MARS_SUBJECTS = (1, 2, 3, 4)
MARS_SETTLE_S = 1.0
_ORIGIN_NS = 1_000_000_000_000
_CANDIDATES = 4
_CHI2_95_2D = 5.991
_MOVING_M_S = 0.3
_STEP_S = 0.02


# ---------------------------------------------------------------- scenes


def random_script(random: np.random.Generator, start_m: Float64, heading_rad: float) -> list[Action]:
    """Walks between random places, with pauses, for a good minute."""
    actions: list[Action] = []
    place, heading, spent_s = start_m.copy(), heading_rad, 0.0
    while spent_s < DURATION_S + 5.0:
        radius, angle = ROOM_M * math.sqrt(random.random()), 2.0 * math.pi * random.random()
        goal = radius * np.array([math.cos(angle), math.sin(angle)])
        distance = float(np.hypot(*(goal - place)))
        if distance < 0.5:
            continue
        towards = math.atan2(goal[1] - place[1], goal[0] - place[0])
        speed = float(random.uniform(0.7, 1.3))
        actions.append(Turn(angle_rad=math.remainder(towards - heading, 2.0 * math.pi)))
        actions.append(Walk(distance_m=distance, speed_m_s=speed))
        place, heading, spent_s = goal, towards, spent_s + distance / speed + 2.0
        kind = random.random()
        if kind < 0.25:
            pause_s = float(random.uniform(1.0, 6.0))
            actions.append(Stand(duration_s=pause_s))
            spent_s += pause_s
        elif kind < 0.4:
            actions.append(Squat())
            spent_s += 2.8
        elif kind < 0.55:
            actions.append(Reach(side="right" if random.random() < 0.5 else "left"))
            spent_s += 2.4
    return actions


def random_wearers(people: int, seed: int) -> tuple[list[Wearer], float]:
    """People who keep apart as well as a few tries manage, and the least distance of two pelvises."""
    wearers: list[Wearer] = []
    paths: list[Float64] = []
    closest_m = math.inf
    times = np.arange(0.0, DURATION_S, 0.1)
    for index in range(people):
        best: tuple[float, Wearer, Float64] | None = None
        for attempt in range(_CANDIDATES if index else 1):
            random = np.random.default_rng([seed, index, attempt])
            angle = 2.0 * math.pi * (index + 0.3 * random.random()) / people
            start = 1.2 * np.array([math.cos(angle), math.sin(angle)])
            script = random_script(random, start, angle + math.pi)
            lengths = draw_lengths(seed * 10 + index, float(random.uniform(1.6, 1.9)))
            motion = scripted_motion(
                script, lengths, seed=seed, start_m=(float(start[0]), float(start[1])), heading_rad=angle + math.pi
            )
            path = motion.coordinates(times)[:, :2]
            apart = min((float(np.hypot(*(path - other).T).min()) for other in paths), default=math.inf)
            if best is None or apart > best[0]:
                best = apart, Wearer(index + 1, motion), path
        assert best is not None
        closest_m = min(closest_m, best[0])
        wearers.append(best[1])
        paths.append(best[2])
    return wearers, closest_m


def room(radars: int) -> tuple[RadarParams, tuple[RadarMount, ...]]:
    """One radar, or two at right angles."""
    params = RadarParams(count=4)
    mounts = radar_mounts(params, [f"radar{i + 1}" for i in range(4)])
    return params, mounts[:radars]


def simulated_frames(
    mounts: Sequence[RadarMount], params: RadarParams, wearers: Sequence[Wearer], seed: int, duration_s: float
) -> list[RadarPoints]:
    """All radars' frames in the order of measurement; the radars measure at the same times."""
    frames = []
    for mount in mounts:
        radar = VirtualRadar(mount, params, wearers, seed)
        count = int(duration_s * params.rate_hz)
        frames += [record for _, record in radar.frames(0, count, _ORIGIN_NS)]
    return sorted(frames, key=lambda record: (record.measured_ns, record.radar))


# ---------------------------------------------------------------- scores


@dataclass(slots=True)
class Score:
    """Sums over frames."""

    frames: int = 0
    ghosts: int = 0
    watched: int = 0
    missed: int = 0
    watched_moving: int = 0
    missed_moving: int = 0
    switches: int = 0
    ids: list[int] = field(default_factory=list)
    errors: list[Float64] = field(default_factory=list)
    """[4] horizontal position and velocity."""
    covariances: list[Float64] = field(default_factory=list)
    step_s: float = 0.0

    def figures(self) -> dict[str, float]:
        """What the module lists."""
        errors = np.array(self.errors).reshape(-1, 4)
        covariances = np.array(self.covariances).reshape(-1, 4, 4)
        place = np.einsum("ni,nij,nj->n", errors[:, :2], np.linalg.inv(covariances[:, :2, :2]), errors[:, :2])
        whole = np.einsum("ni,nij,nj->n", errors, np.linalg.inv(covariances), errors)
        away = np.hypot(errors[:, 0], errors[:, 1])
        return {
            "frames": self.frames,
            "switches": self.switches,
            "ids": float(np.mean(self.ids)),
            "ghosts_per_1000": 1000.0 * self.ghosts / self.frames,
            "missed_share": self.missed / max(self.watched, 1),
            "missed_moving_share": self.missed_moving / max(self.watched_moving, 1),
            "position_cm": 100.0 * float(np.sqrt((away**2).mean())),
            "position_median_cm": 100.0 * float(np.median(away)),
            "velocity_m_s": float(np.sqrt((errors[:, 2:] ** 2).sum(axis=1).mean())),
            "nees": float(whole.mean()) / 4.0,
            "nees_position": float(place.mean()) / 2.0,
            "within_95": float((place < _CHI2_95_2D).mean()),
            "frame_ms": 1e3 * self.step_s / self.frames,
        }


def paired(tracks: RadarTracks, places_m: Float64, last: Mapping[int, int]) -> dict[int, int]:
    """The row of the confirmed track that each person has, within 1 m, each at most once.

    Who still has the track of before keeps it; the others have what is nearest together (Bernardin & Stiefelhagen,
    "Evaluating multiple object tracking performance: the CLEAR MOT metrics", 2008, section 2.1).
    """
    from scipy.optimize import linear_sum_assignment

    shift = places_m[:, None, :2] - tracks.positions_m[None, :, :2]
    distance = np.hypot(shift[..., 0], shift[..., 1])
    distance[:, tracks.confirmed == 0] = np.inf
    rows = {int(identity): row for row, identity in enumerate(tracks.ids)}
    pairs = {
        person: rows[identity]
        for person, identity in last.items()
        if identity in rows and distance[person, rows[identity]] < NEAR_M
    }
    distance[list(pairs)] = np.inf
    distance[:, list(pairs.values())] = np.inf
    capped = np.minimum(distance, 2.0 * NEAR_M)
    for person, row in zip(*linear_sum_assignment(capped), strict=True):
        if capped[person, row] < NEAR_M:
            pairs[int(person)] = int(row)
    return pairs


def watched(mounts: Sequence[RadarMount], places_m: Float64) -> list[bool]:
    """Whether each place [P, 3] is in some radar's view."""
    seen = np.zeros(len(places_m), np.bool_)
    for mount in mounts:
        local = (places_m - mount.position_world_m) @ mount.r_world_from_radar
        seen |= np.abs(np.arctan2(local[:, 0], local[:, 1])) < mount.azimuth_fov_rad
    return [bool(value) for value in seen]


def simulated_score(people: int, radars: int, seed: int, duration_s: float, params: TrackerParams) -> dict[str, Any]:
    """Figures of one scene."""
    radar_params, mounts = room(radars)
    wearers, closest_m = random_wearers(people, seed)
    frames = simulated_frames(mounts, radar_params, wearers, seed, duration_s)
    times = np.array([(frame.measured_ns - _ORIGIN_NS) / NANOSECONDS for frame in frames])
    both = np.concatenate([times - _STEP_S, times + _STEP_S])
    pelvis = np.stack([wearer.motion.pose(both)[0][:, SEGMENT["pelvis"]] for wearer in wearers])
    places = 0.5 * (pelvis[:, : len(times)] + pelvis[:, len(times) :])
    velocities = (pelvis[:, len(times) :] - pelvis[:, : len(times)]) / (2.0 * _STEP_S)
    tracker = RadarTracker(mounts, params)
    score = Score()
    last: dict[int, int] = {}
    known: list[set[int]] = [set() for _ in wearers]
    for index, frame in enumerate(frames):
        begin = time.process_time()
        tracks = tracker.step(frame)
        score.step_s += time.process_time() - begin
        score.frames += 1
        pairs = paired(tracks, places[:, index], last)
        score.ghosts += int(tracks.confirmed.sum()) - len(pairs)
        if times[index] < SETTLE_S:
            continue
        seen = watched(mounts, places[:, index])
        for person in range(people):
            moving = float(np.hypot(*velocities[person, index, :2])) >= _MOVING_M_S
            score.watched += seen[person]
            score.watched_moving += seen[person] and moving
            if person not in pairs:
                score.missed += seen[person]
                score.missed_moving += seen[person] and moving
                continue
            row = pairs[person]
            identity = int(tracks.ids[row])
            score.switches += last.get(person, identity) != identity
            last = {other: theirs for other, theirs in last.items() if theirs != identity} | {person: identity}
            known[person].add(identity)
            error = np.concatenate(
                [
                    tracks.positions_m[row, :2] - places[person, index, :2],
                    tracks.velocities_m_s[row, :2] - velocities[person, index, :2],
                ]
            )
            score.errors.append(error)
            score.covariances.append(tracks.covariances[row][np.ix_([0, 1, 3, 4], [0, 1, 3, 4])].astype(np.float64))
    score.ids = [len(ids) for ids in known]
    apart = {"closest_m": closest_m} if people > 1 else {}
    return {"people": people, "radars": radars, "seed": seed, **apart, **score.figures()}


# ---------------------------------------------------------------- MARS


def mars_mount() -> RadarMount:
    """The recordings' radar at the world's origin, one metre up."""
    return RadarMount(
        name="mars",
        r_world_from_radar=np.eye(3),
        position_world_m=np.array([0.0, 0.0, 1.0]),
        azimuth_fov_rad=1.05,
        range_max_m=3.75,
    )


def mars_records(path: Path, movement: int) -> tuple[list[RadarPoints], Float64]:
    """Frames of a movement, 10 Hz by the sensor's counter, and SpineBase [N, 3] in the radar frame."""
    with np.load(path) as arrays:
        chosen = np.flatnonzero(arrays["movement"] == movement)
        counter = arrays["frame_index"][chosen]
        points, offsets, labels = arrays["points"], arrays["point_offset"], arrays["labels"][chosen, 0]
    records = []
    for row, frame in zip(chosen, counter, strict=True):
        own = points[offsets[row] : offsets[row + 1]]
        stamp = _ORIGIN_NS + int(frame - counter[0]) * NANOSECONDS // 10
        records.append(
            RadarPoints(
                measured_ns=stamp,
                received_ns=stamp,
                radar="mars",
                frame=int(frame),
                positions_m=own[:, :3].astype(np.float32),
                radial_velocities_m_s=own[:, 3].astype(np.float32),
                snrs_db=np.full(len(own), np.nan, np.float32),
            )
        )
    return records, labels.astype(np.float64)


def mars_movement_score(path: Path, movement: int, params: TrackerParams) -> dict[str, float]:
    """Sums and means over a movement of a subject."""
    records, base = mars_records(path, movement)
    mount = mars_mount()
    tracker = RadarTracker([mount], params)
    begin_ns = records[0].measured_ns + round(MARS_SETTLE_S * NANOSECONDS)
    counted = covered = second = labelled = 0
    errors: list[Float64] = []
    inside: list[float] = []
    spent_s = 0.0
    for record, truth in zip(records, base, strict=True):
        begin = time.process_time()
        tracks = tracker.step(record)
        spent_s += time.process_time() - begin
        if record.measured_ns < begin_ns:
            continue
        counted += 1
        confirmed = np.flatnonzero(tracks.confirmed)
        second += len(confirmed) > 1
        if not np.isfinite(truth).all():
            # Nobody knows where the person is: any confirmed track counts.
            covered += len(confirmed) > 0
            continue
        labelled += 1
        shift = tracks.positions_m[confirmed, :2] - mount.to_world(truth)[:2]
        away = np.hypot(shift[:, 0], shift[:, 1])
        if not len(away) or away.min() > NEAR_M:
            continue
        covered += 1
        nearest = int(away.argmin())
        errors.append(shift[nearest])
        place = tracks.covariances[confirmed[nearest], :2, :2].astype(np.float64)
        inside.append(float(shift[nearest] @ np.linalg.solve(place, shift[nearest])))
    error = np.array(errors).reshape(-1, 2)
    return {
        "frames": len(records),
        "counted": counted,
        "covered": covered,
        "second": second,
        "births": tracker.counters["births"],
        "labelled": labelled,
        "paired": len(errors),
        "square_m2": float((error**2).sum()),
        "shift_x_m": float(error[:, 0].sum()),
        "shift_y_m": float(error[:, 1].sum()),
        "nees_sum": float(np.sum(inside)),
        "within": float(np.sum(np.array(inside) < _CHI2_95_2D)),
        "spent_s": spent_s,
    }


def mars_score(path: Path, params: TrackerParams) -> dict[str, Any]:
    """Figures of a subject; the least coverage is that of a movement."""
    with np.load(path) as arrays:
        movements = [int(number) for number in np.unique(arrays["movement"])]
    each = [mars_movement_score(path, movement, params) for movement in movements]
    total = {name: sum(part[name] for part in each) for name in each[0]}
    pairs = max(total["paired"], 1)
    return {
        "movements": len(movements),
        "frames": total["frames"],
        "coverage": total["covered"] / total["counted"],
        "least_coverage": min(part["covered"] / part["counted"] for part in each),
        "ghost_share": total["second"] / total["counted"],
        "births": total["births"],
        "position_cm": 100.0 * math.sqrt(total["square_m2"] / pairs),
        "about_mean_cm": 100.0
        * math.sqrt(
            max(total["square_m2"] / pairs - (total["shift_x_m"] ** 2 + total["shift_y_m"] ** 2) / pairs**2, 0.0)
        ),
        "mean_right_cm": 100.0 * total["shift_x_m"] / pairs,
        "mean_forward_cm": 100.0 * total["shift_y_m"] / pairs,
        "nees_position": total["nees_sum"] / pairs / 2.0,
        "within_95": total["within"] / pairs,
        "frame_ms": 1e3 * total["spent_s"] / total["frames"],
    }


def track_scores(
    folder: Path,
    seeds: Sequence[int] = SEEDS,
    people: Sequence[int] = (1, 2, 3, 4),
    radars: Sequence[int] = (1, 2),
    duration_s: float = DURATION_S,
    subjects: Sequence[int] = MARS_SUBJECTS,
) -> dict[str, Any]:
    """All scenes, and the MARS subjects that are there."""
    params = TrackerParams()
    simulated = [simulated_score(p, r, seed, duration_s, params) for r in radars for p in people for seed in seeds]
    paths = {subject: folder / "mars" / f"subject{subject}.npz" for subject in subjects}
    mars = {f"subject{subject}": mars_score(path, params) for subject, path in paths.items() if path.is_file()}
    return {"seeds": list(seeds), "duration_s": duration_s, "simulated": simulated, "mars": mars}


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    folder = Path(os.environ.get("KINEFUSE_DATA", REPOSITORY.parent / "shared" / "data"))
    scores = track_scores(folder)
    if args.json:
        print_json(scores)
        return 0
    for row in scores["simulated"]:
        print("  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    for name, row in scores["mars"].items():
        print(f"{name}  " + "  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
