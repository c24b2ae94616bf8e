"""Real movements seen by named combinations of sensors, and how far a pipeline's answers are from the truth.

One simulation of the whole lab (4 cameras at 30 Hz, 6 inertial sensors at 100 Hz, 1 radar at 20 Hz, all with the
default errors of the simulator) is made for each clip; a scenario keeps a part of its records. So two scenarios differ
by their sensors only, not by the luck of the noise.

The answers are *causal*, where nothing else is asked for: the estimate for the time of an exposure from all that was
measured up to that time. Latency is left out: the records are given in the order of measurement. A filter with a
memory makes of the order of arrival the same state, and a sensor that arrives earlier than another would else be
charged with a younger answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from fusion.body.catalog import landmark_set
from fusion.body.skeleton import COORDINATE, COORDINATES, LENGTHS, SEGMENT_NAMES, SEGMENTS
from fusion.filter.measurements.stature import stature_of
from fusion.filter.outputs import Outputs
from fusion.filter.state import State, errors_of
from fusion.filter.tracks import Track, smooth_track
from fusion.filter.update import Updater
from fusion.maths import quaternion
from fusion.metrics import SETTLING_S
from fusion.people import PeopleParams
from fusion.pipeline import Pipeline, PipelineParams
from fusion.records import (
    Array,
    Bool,
    Float64,
    InertialSamples,
    Int64,
    Landmarks2D,
    People,
    RadarPoints,
    Record,
    Tick,
    Truth,
)
from fusion.rig import Rig, Subject
from fusion.synthesis.motion import BodyMotion
from fusion.synthesis.randomness import RandomStream
from fusion.synthesis.simulation import Lab, Simulation, simulated_rig
from fusion.synthesis.wearer import Wearer
from training.clips import FIT, HELD_OUT, load_motion

NS_PER_S = 1_000_000_000
MM_PER_M = 1e3

# ---------------------------------------------------------------- clips

TUNE: tuple[str, ...] = (
    "dm_long_walk1", "cmu_01_01", "dm_dance_a", "dm_jump", "cmu_03_03", "dm_stealthy_walk1", "dm_kick", "dm_crawl",
)  # fmt: skip
"""Clips, of those to learn from, to tune the filter with."""
SPLITS: Mapping[str, tuple[str, ...]] = {
    "tune": TUNE,
    "held_out": (
        "cmu_02_06", "cmu_02_08", "dm_long_walk3", "cmu_02_10", "cmu_02_01", "cmu_02_03", "cmu_02_04", "dm_dance_b",
        "dm_punch", "dm_getup_facedown",
    ),
    # Clips that the inertial network is chosen by but not taught: what the filter makes of it is tuned on these.
    "network": ("cmu_01_05", "cmu_03_04", "dm_walk", "dm_kick", "dm_spin"),
}  # fmt: skip
"""Clips of each split; the first ones make the quick table."""
QUICK_CLIPS = 3
SECONDS = 10.0
QUICK_SECONDS = 6.0

_RATE_HZ = 120.0
_TURNING_S = 0.15
"""Standard deviation of the Gaussian that rounds the turns of a clip that is played there and back."""
_SEED = 20261122


def data_folder() -> Path:
    """The data pack: ``KINEFUSE_DATA``, else ``../shared/data`` beside the checkout."""
    folder = Path(os.environ.get("KINEFUSE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        raise FileNotFoundError(f"no data pack at {folder}; set KINEFUSE_DATA to its folder")
    return folder


def there_and_back(motion: BodyMotion, seconds: float) -> BodyMotion:
    """A movement of so many seconds in the middle of the lab: a shorter one is played forwards and backwards.

    The turns are rounded, so that nothing jumps. Played backwards, places, speeds and
    accelerations are as real as forwards.
    """
    times = np.arange(0.0, seconds + 0.5 / _RATE_HZ, 1.0 / _RATE_HZ)
    margin = int(4.0 * _TURNING_S * _RATE_HZ)
    wide = (np.arange(len(times) + 2 * margin) - margin) / _RATE_HZ
    if motion.duration_s < seconds:
        wide = np.abs((wide + motion.duration_s) % (2.0 * motion.duration_s) - motion.duration_s)
        wide = gaussian_filter1d(wide, _TURNING_S * _RATE_HZ)
    samples = motion.coordinates(wide[margin : margin + len(times)])
    for name in ("root_px", "root_py"):
        column = samples[:, COORDINATE[name]]
        column -= 0.5 * (column.min() + column.max())
    return BodyMotion(samples, _RATE_HZ, motion.lengths_m, periodic=False)


@dataclass(frozen=True, eq=False)
class Recording:
    """Everything that a lab measures of one wearer, in the order of arrival, and the movement itself."""

    name: str
    lab: Lab
    rig: Rig
    records: tuple[Record, ...]
    motion: BodyMotion
    seconds: float

    @property
    def exposures_ns(self) -> Int64:
        """Times [T] of the cameras' pictures."""
        count = int(np.ceil(self.seconds * self.lab.detector.rate_hz - 1e-9))
        return np.round(np.arange(count) / self.lab.detector.rate_hz * NS_PER_S).astype(np.int64)

    def truth(self, times_ns: Int64) -> tuple[Float64, Float64]:
        """True positions [T, 23, 3] of the joints and orientations [T, 23, 4] of the segments."""
        return self.motion.pose(times_ns / NS_PER_S)


def record(name: str, motion: BodyMotion, seconds: float, lab: Lab | None = None, seed: int = _SEED) -> Recording:
    """Simulate a lab around one wearer to its end."""
    lab = lab or Lab()
    simulation = Simulation(lab, (Wearer(1, motion),), seed=seed, origin_ns=0, duration_s=seconds)
    records: list[Record] = []
    while (emission := simulation.pop()) is not None:
        if not isinstance(emission.record, Truth):
            records.append(emission.record)
    return Recording(name, lab, simulated_rig(lab), tuple(records), motion, seconds)


@lru_cache(maxsize=16)
def clip_recording(name: str, seconds: float = SECONDS, *, stature_known: bool = True) -> Recording:
    """The whole lab around a clip of the data pack, simulated once a process.

    Args:
        name: of the clip.
        seconds: how long.
        stature_known: whether the profile says the wearer's height, to the centimetre.

    Raises:
        FileNotFoundError: without the data pack.
        ValueError: for a clip that there is not.
    """
    motion = there_and_back(load_motion(data_folder(), name), seconds)
    made = record(name, motion, seconds, seed=_SEED + [*FIT, *HELD_OUT].index(name))
    if not stature_known:
        return made
    # One camera cannot tell a near child from a far adult: the wearer's height is known to the centimetre, as in a lab.
    known = Subject(stature_m=round(stature_of(motion.lengths_m), 2))
    return replace(made, rig=replace(made.rig, subject=known))


# ---------------------------------------------------------------- sensors

BLACKOUT_S = (4.0, 6.0)
"""When a blackout takes all cameras away; errors of its scenarios count within it only."""
HIDDEN_PERIOD_S = 2.0
HIDDEN_SHARE = 0.3
"""Each part of ``_PARTS`` is hidden for this share of every period, at a drawn moment of it: as every landmark belongs
to one part, this share of all landmark samples is missing, whole limbs at a time."""

_PARTS: tuple[tuple[str, ...], ...] = (
    ("nose", "eye", "ear", "mouth", "head_top", "upper_neck"),
    *(
        tuple(f"{side}_{name}" for name in names)
        for side in ("left", "right")
        for names in (
            ("shoulder", "elbow", "wrist", "pinky", "index", "thumb"),
            ("hip", "knee", "ankle", "heel", "foot_tip", "big_toe", "small_toe"),
        )
    ),
)


def hide(record: Landmarks2D, period_s: float = HIDDEN_PERIOD_S, share: float = HIDDEN_SHARE) -> Landmarks2D:
    """A picture's detections without the body parts that are hidden at that time (one wearer)."""
    time_s = record.measured_ns / NS_PER_S
    period = int(time_s / period_s)
    gone = np.zeros(record.pixels.shape[1], dtype=bool)
    for number, part in enumerate(_PARTS):
        begin_s = float(RandomStream(_SEED, f"hidden/{number}").at(period).random()) * period_s
        # A stretch that leaves its period comes in again at its beginning, so that the share is exact.
        if (time_s - period * period_s - begin_s) % period_s < share * period_s:
            gone |= _in_part(record.landmark_set, part)
    pixels = np.where(gone[None, :, None], np.float32(np.nan), record.pixels)
    return replace(record, pixels=pixels, scores=np.where(gone[None], np.float32(0.0), record.scores))


@lru_cache(maxsize=64)
def _in_part(set_name: str, part: tuple[str, ...]) -> Bool:
    names = landmark_set(set_name).landmark_names
    face = part[0] == "nose"
    return np.array([any((word in name) if face else (word == name) for word in part) for name in names])


@dataclass(frozen=True, slots=True)
class Scenario:
    """A combination of sensors."""

    name: str
    cameras: tuple[str, ...] = ()
    imus: bool = False
    radar: bool = False
    hidden: bool = False
    blackout: bool = False

    @property
    def placed(self) -> bool:
        """Whether positions in the world are measured at all; without, errors count from the pelvis."""
        return bool(self.cameras) or self.radar

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the scenarios that this one combines; none if it is a part itself."""
        parts = self.name.split("+")
        return tuple(parts) if len(parts) > 1 else ()

    def rig(self, rig: Rig) -> Rig:
        """What a profile of these sensors alone says."""
        return replace(
            rig,
            cameras=tuple(camera for camera in rig.cameras if camera.name in self.cameras),
            imus=rig.imus if self.imus else (),
            radars=rig.radars if self.radar else (),
        )

    def records(self, records: Iterable[Record]) -> list[Record]:
        """What these sensors say, in the order of arrival."""
        kept: list[Record] = []
        for item in records:
            if isinstance(item, Landmarks2D):
                if item.camera in self.cameras and not (self.blackout and self._dark(item)):
                    kept.append(hide(item) if self.hidden else item)
            elif (isinstance(item, InertialSamples) and self.imus) or (isinstance(item, RadarPoints) and self.radar):
                kept.append(item)
        return kept

    def _dark(self, item: Record) -> bool:
        return BLACKOUT_S[0] <= item.measured_ns / NS_PER_S < BLACKOUT_S[1]

    def counted(self, times_ns: Int64) -> Bool:
        """At which times [T] errors and coverage count."""
        seconds = times_ns / NS_PER_S
        if self.blackout:
            return np.asarray((seconds >= BLACKOUT_S[0]) & (seconds < BLACKOUT_S[1]))
        return np.asarray(seconds >= SETTLING_S)


_ALL = ("cam1", "cam2", "cam3", "cam4")
_CAMERA_CASES = (
    Scenario("cameras_4", _ALL),
    Scenario("cameras_2", _ALL[:2]),
    Scenario("camera_1", _ALL[:1]),
    Scenario("camera_1_hidden", _ALL[:1], hidden=True),
    Scenario("blackout", _ALL, blackout=True),
)


def _combinations() -> tuple[Scenario, ...]:
    imu, radar = Scenario("imu", imus=True), Scenario("radar", radar=True)
    result = [*_CAMERA_CASES, imu, radar, replace(imu, name="imu+radar", radar=True)]
    for case in _CAMERA_CASES:
        result.append(replace(case, name=f"{case.name}+imu", imus=True))
        result.append(replace(case, name=f"{case.name}+radar", radar=True))
        result.append(replace(case, name=f"{case.name}+imu+radar", imus=True, radar=True))
    return tuple(result)


SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _combinations()}
"""Every combination by name: the parts first. ``+`` joins the names of the parts."""
TITLES = {
    "cameras_4": "4 cameras",
    "cameras_2": "2 cameras (90 degrees apart)",
    "camera_1": "1 camera",
    "camera_1_hidden": "1 camera, 30 % hidden",
    "blackout": "4 cameras, within 2 s without",
    "imu": "6 IMUs",
    "radar": "radar",
}


def title(name: str) -> str:
    """How a scenario is called in a table."""
    return " + ".join(TITLES[part] for part in name.split("+"))


# ---------------------------------------------------------------- runs

Answer = Callable[[Pipeline, Tick], People | None]
"""What a pipeline says when it has taken in all that was measured up to a tick; its ``measured_ns`` says for when."""


def causal(pipeline: Pipeline, tick: Tick) -> People:
    """The estimate for the time of the tick."""
    return pipeline.people(tick)


LAG_S = 0.1


def lagged(pipeline: Pipeline, tick: Tick) -> People:
    """The estimate for ``LAG_S`` before the tick."""
    return pipeline.smoothed(LAG_S, tick)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What a pipeline has answered of one wearer; NaN at times at which it knew of nobody."""

    times_ns: Int64
    """[T]."""
    positions_m: Float64
    """[T, 23, 3]."""
    quaternions: Float64
    """[T, 23, 4]."""
    covariances_m2: Float64
    """[T, 23, 3, 3]."""
    coordinates: Float64
    """[T, 44]."""
    lengths_m: Float64
    """[T, 11]."""
    locked: Bool
    """[T] whether the lengths were constant."""
    people: Int64
    """[T] how many people it knew of."""

    @property
    def known(self) -> Bool:
        """[T] whether the wearer was known."""
        return np.isfinite(self.positions_m[:, 0, 0])

    def at(self, index: Array) -> Trace:
        """The trace at some of its times."""
        return Trace(
            *(
                getattr(self, name)[index]
                for name in (
                    "times_ns",
                    "positions_m",
                    "quaternions",
                    "covariances_m2",
                    "coordinates",
                    "lengths_m",
                    "locked",
                    "people",
                )
            )
        )


@dataclass(eq=False)
class Run:
    """A pipeline and what it has answered."""

    pipeline: Pipeline
    answers: list[People] = field(default_factory=list)

    def trace(self) -> Trace:
        """The answers on the wearer: those on the person known for longest, and on others where that one is not."""
        lives: dict[int, int] = {}
        for answer in self.answers:
            for identity in answer.ids.tolist():
                lives[identity] = lives.get(identity, 0) + 1
        order = sorted(lives, key=lambda identity: (-lives[identity], identity))
        count = len(self.answers)
        positions, quaternions = np.full((count, SEGMENTS, 3), np.nan), np.full((count, SEGMENTS, 4), np.nan)
        covariances = np.full((count, SEGMENTS, 3, 3), np.nan)
        coordinates, lengths = np.full((count, COORDINATES), np.nan), np.full((count, LENGTHS), np.nan)
        locked = np.zeros(count, dtype=bool)
        for i, answer in enumerate(self.answers):
            row = next((np.flatnonzero(answer.ids == identity)[0] for identity in order if identity in answer.ids), -1)
            if row < 0:
                continue
            positions[i], quaternions[i] = answer.positions_m[row], answer.q_world_from_segment[row]
            covariances[i], coordinates[i] = answer.covariances_m2[row], answer.coordinates[row]
            lengths[i], locked[i] = answer.lengths_m[row], bool(answer.lengths_locked[row])
        times = np.array([answer.measured_ns for answer in self.answers], dtype=np.int64)
        people = np.array([len(answer.ids) for answer in self.answers], dtype=np.int64)
        return Trace(times, positions, quaternions, covariances, coordinates, lengths, locked, people)


def ask(
    pipeline: Pipeline, records: Iterable[Record], times_ns: Sequence[int] | Int64, answer: Answer = causal
) -> list[People]:
    """Feed records in the order of measurement and ask at each time for what is known by then."""
    waiting = sorted(records, key=lambda record: record.measured_ns)
    answers: list[People] = []
    position = 0
    for time_ns in times_ns:
        while position < len(waiting) and waiting[position].measured_ns <= time_ns:
            pipeline.take(waiting[position])
            position += 1
        tick = Tick(measured_ns=int(time_ns), received_ns=int(time_ns))
        pipeline.take(tick)
        people = answer(pipeline, tick)
        if people is not None:
            answers.append(people)
    return answers


def run(recording: Recording, scenario: Scenario, params: PipelineParams | None = None, answer: Answer = causal) -> Run:
    """A new pipeline that is asked at every exposure of a recording."""
    pipeline = Pipeline(scenario.rig(recording.rig), params)
    return Run(pipeline, ask(pipeline, scenario.records(recording.records), recording.exposures_ns, answer))


def run_session(recording: Recording, scenario: Scenario) -> Run:
    """A new pipeline that has heard the whole recording before it answers: the smoother of a session."""
    pipeline = Pipeline(scenario.rig(recording.rig), keeping_journals())
    ask(pipeline, scenario.records(recording.records), recording.exposures_ns)
    return Run(pipeline, session_answers(pipeline, recording.exposures_ns))


def keeping_journals() -> PipelineParams:
    """Parameters of a pipeline that remembers all that its filters have accepted."""
    people = PeopleParams()
    return PipelineParams(people=replace(people, filter=replace(people.filter, keeps_journal=True)))


def session_answers(pipeline: Pipeline, times_ns: Int64) -> list[People]:
    """Everyone who is still known, at each time [T], in the light of all that was measured before and after."""
    outputs = Outputs(pipeline.params.output)
    by_time: dict[int, list[tuple[int, State]]] = {}
    for person in pipeline.bank.people:
        p = person.filter.params
        updater = Updater(p.update, p.anatomy, errors_of(person.filter.imus), p.contact)
        track = Track(person.identity, person.filter.start, tuple(person.filter.journal or ()))
        for state in smooth_track(track, p, updater, times_ns):
            by_time.setdefault(state.time_ns, []).append((person.identity, state.copy()))
    answers = []
    for time_ns in sorted(by_time):
        identities, states = zip(*by_time[time_ns], strict=True)
        answers.append(outputs.record(identities, states, time_ns, time_ns))
    return answers


def run_live(recording: Recording, scenario: Scenario, params: PipelineParams | None = None) -> Run:
    """A new pipeline that is fed in the order of arrival; its answers are the last ones published on each time."""
    pipeline = Pipeline(scenario.rig(recording.rig), params)
    newest: dict[int, People] = {}
    for item in scenario.records(recording.records):
        people = pipeline.step(item)
        if people is not None:
            newest[people.measured_ns] = people
    return Run(pipeline, [newest[time_ns] for time_ns in sorted(newest)])


# ---------------------------------------------------------------- errors

GROUPS: dict[str, tuple[str, ...]] = {
    "trunk": ("pelvis", "l5", "l3", "t12", "t8", "neck"),
    "head": ("head",),
    **{
        group: (f"right_{segment}", f"left_{segment}")
        for group, segment in (
            ("clavicles", "shoulder"), ("shoulders", "upper_arm"), ("elbows", "forearm"), ("wrists", "hand"),
            ("hips", "upper_leg"), ("knees", "lower_leg"), ("ankles", "foot"), ("toes", "toe"),
        )
    },
}  # fmt: skip
"""Joints by group: each name is that of the segment that begins at the joint."""


def distances_m(estimate_m: Float64, truth_m: Float64) -> Float64:
    """Distance [T, 23] of each joint from its true place, nothing aligned."""
    return np.asarray(np.linalg.norm(estimate_m - truth_m, axis=-1))


def root_relative_m(estimate_m: Float64, truth_m: Float64) -> Float64:
    """Distance [T, 23] of each joint from its true place after the pelvis has been shifted to where it is."""
    return distances_m(estimate_m - estimate_m[:, :1], truth_m - truth_m[:, :1])


def heading_aligned_m(estimate_m: Float64, truth_m: Float64) -> Float64:
    """Root-relative distances [T, 23] after one turn about the vertical, the best for the whole time.

    Sensors that know no north leave the heading of the whole body open. The turn is the
    least-squares one of the horizontal places (Umeyama 1991 in two dimensions).
    """
    estimate, truth = estimate_m - estimate_m[:, :1], truth_m - truth_m[:, :1]
    known = np.isfinite(estimate[:, 0, 0])
    a, b = estimate[known], truth[known]
    sine = float((a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum())
    cosine = float((a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1]).sum())
    turn = quaternion.from_rotvec(np.array([0.0, 0.0, np.arctan2(sine, cosine)]))
    return distances_m(quaternion.rotate(turn, estimate), truth)


def nees(estimate_m: Float64, truth_m: Float64, covariances_m2: Float64) -> Float64:
    """Normalised estimation error squared [T, 23] of each joint's position: e^T P^-1 e, 3 on average where P is true.

    Source: Bar-Shalom, Li & Kirubarajan, "Estimation with Applications to Tracking and
    Navigation", 2001, section 5.4.2.
    """
    error = estimate_m - truth_m
    result = np.full(error.shape[:2], np.nan)
    known = np.isfinite(error).all(-1) & np.isfinite(covariances_m2).all((-1, -2))
    known &= np.linalg.det(np.nan_to_num(covariances_m2)) > 0.0
    solved = np.linalg.solve(covariances_m2[known], error[known][..., None])[..., 0]
    result[known] = (error[known] * solved).sum(-1)
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """One scenario on one clip, at the times that count."""

    clip: str
    scenario: str
    times_ns: Int64
    absolute_m: Float64
    """[T, 23]; NaN where nobody was known."""
    root_relative_m: Float64
    heading_aligned_m: Float64
    nees: Float64
    """[T, 23]."""
    people: Int64
    """[T]."""

    @property
    def coverage(self) -> float:
        """Share of the times with a person."""
        return float(np.isfinite(self.absolute_m[:, 0]).mean()) if len(self.times_ns) else float("nan")


def errors(recording: Recording, scenario: Scenario, trace: Trace) -> Errors:
    """How far a trace is from the truth."""
    trace = trace.at(scenario.counted(trace.times_ns))
    truth, _ = recording.truth(trace.times_ns)
    return Errors(
        clip=recording.name,
        scenario=scenario.name,
        times_ns=trace.times_ns,
        absolute_m=distances_m(trace.positions_m, truth),
        root_relative_m=root_relative_m(trace.positions_m, truth),
        heading_aligned_m=heading_aligned_m(trace.positions_m, truth),
        nees=nees(trace.positions_m, truth, trace.covariances_m2),
        people=trace.people,
    )


RUNS: dict[str, Callable[[Recording, Scenario], Run]] = {
    "causal": run,
    "lag": lambda recording, scenario: run(recording, scenario, answer=lagged),
    "session": run_session,
    "live": run_live,
}
"""What is asked for. ``live`` are the answers as they are published, in the order of arrival, by their own stamps."""


def measured(
    clip: str, seconds: float, scenarios: Sequence[str], answers: str = "causal", *, stature_known: bool = True
) -> list[Errors]:
    """Errors of several scenarios on one clip: what one process of a benchmark does."""
    recording = clip_recording(clip, seconds, stature_known=stature_known)
    result = []
    for name in scenarios:
        scenario = SCENARIOS[name]
        done = RUNS[answers](recording, scenario)
        result.append(errors(recording, scenario, done.trace()))
    return result


def mean_mm(values_m: Float64) -> float:
    """Mean of what is known, in millimetres; NaN where nothing is."""
    finite = values_m[np.isfinite(values_m)]
    return float(finite.mean()) * MM_PER_M if finite.size else float("nan")


def group_columns() -> dict[str, list[int]]:
    """Columns of the joints of each group."""
    return {group: [SEGMENT_NAMES.index(name) for name in names] for group, names in GROUPS.items()}
