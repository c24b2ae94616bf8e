"""Movements to learn from and to judge on, by name and licence; ``split.toml`` says which is which."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fusion.body.skeleton import REFERENCE_STATURE_M
from fusion.records import Array, Float32, Float64
from fusion.synthesis.actions import Action, Circle, Reach, Side, Squat, Stand, Turn, Walk
from fusion.synthesis.clips import clip_motion, clip_names
from fusion.synthesis.motion import BodyMotion, draw_lengths
from fusion.synthesis.script import scripted_motion
from training.clips import FIT_ACTIVITIES, HELD_OUT, avoid_s, load_motion

Use = Literal["train", "validate", "test"]
Licence = Literal["permissive", "non-commercial"]

_RATE_HZ = 60.0
_SCRIPTS = 24
"""So many scripts are drawn for training,"""
_VALIDATION_SCRIPTS = 3
"""and so many others for validation."""
_SCRIPT_ACTIONS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Movement:
    """Coordinates of a body over time, evenly sampled."""

    name: str
    group: str
    """Activity or file, by which it is drawn."""
    samples: Float32
    """[T, 44] at ``rate_hz``."""
    rate_hz: float
    lengths_m: Float64
    """[11]."""
    avoid_s: tuple[tuple[float, float], ...] = ()
    """Spans in which the recording jumps."""

    @property
    def duration_s(self) -> float:
        """From the first sample to the last."""
        return (len(self.samples) - 1) / self.rate_hz


@lru_cache(maxsize=1)
def split() -> dict[str, Any]:
    """The split file."""
    with (Path(__file__).parent / "split.toml").open("rb") as file:
        return tomllib.load(file)


def movements(data: Path, use: Use, licence: Licence, *, limit: int | None = None) -> list[Movement]:
    """The movements of one use under one licence; the non-commercial set holds the permissive one too.

    Args:
        data: the data pack's folder.
        use: what for.
        licence: of the strictest clips among them.
        limit: at most so many clips of each non-commercial file and style.

    Raises:
        FileNotFoundError: the data pack lacks a clip.
    """
    found = list(_permissive(data, use))
    if licence == "non-commercial":
        found += _non_commercial(data, use, limit)
    return found


def _permissive(data: Path, use: Use) -> Iterator[Movement]:
    for group, name in _permissive_names(use):
        yield _sampled(name, group, load_motion(data, name), avoid_s(name))
    if use != "test":
        first, count = (0, _SCRIPTS) if use == "train" else (_SCRIPTS, _VALIDATION_SCRIPTS)
        for number in range(first, first + count):
            yield _sampled(f"script_{number}", "script", drawn_script(number))


def _permissive_names(use: Use) -> list[tuple[str, str]]:
    if use == "test":
        return [("held_out", name) for name in HELD_OUT]
    chosen = split()["validate"]["clips"]
    pairs = [(group, name) for group, names in FIT_ACTIVITIES.items() for name in names]
    return [(group, name) for group, name in pairs if (name in chosen) == (use == "validate")]


def _non_commercial(data: Path, use: Use, limit: int | None) -> Iterator[Movement]:
    for stem in split()["non_commercial"]["files"]:
        with np.load(data / "motion_nc" / f"{stem}.npz") as file:
            arrays: dict[str, Array] = {key: file[key] for key in file.files}
        taken: dict[str, int] = {}
        for name in clip_names(arrays):
            kind = name.rpartition("_")[0]
            taken[kind] = taken.get(kind, 0) + (use_of(name) == use)
            if use_of(name) == use and (limit is None or taken[kind] <= limit):
                yield _sampled(name, stem, clip_motion(arrays, name))


def use_of(name: str) -> Use:
    """What a non-commercial clip is for, by the words in its name."""
    table = split()["non_commercial"]
    if any(word in name for word in table["test"]):
        return "test"
    return "validate" if any(word in name for word in table["validate"]) else "train"


def _sampled(name: str, group: str, motion: BodyMotion, avoid: tuple[tuple[float, float], ...] = ()) -> Movement:
    times = np.arange(0.0, motion.duration_s + 0.5 / _RATE_HZ, 1.0 / _RATE_HZ)
    samples = motion.coordinates(times).astype(np.float32)
    return Movement(name, group, samples, _RATE_HZ, motion.lengths_m, avoid)


def drawn_script(number: int) -> BodyMotion:
    """A scripted movement with drawn actions; another number, another script and another body."""
    random = np.random.default_rng([20261130, number])
    actions = tuple(_drawn_action(random) for _ in range(_SCRIPT_ACTIONS))
    lengths = draw_lengths(1000 + number, REFERENCE_STATURE_M * float(random.uniform(0.88, 1.1)))
    return scripted_motion(actions, lengths, seed=1000 + number, start_m=(0.0, 0.0), heading_rad=0.0, repeat=False)


def _drawn_action(random: np.random.Generator) -> Action:
    side: Side = "left" if random.random() < 0.5 else "right"
    sign = 1.0 if side == "left" else -1.0
    actions: tuple[Action, ...] = (
        Stand(duration_s=float(random.uniform(0.5, 2.5))),
        Walk(distance_m=float(random.uniform(0.8, 4.0)), speed_m_s=float(random.uniform(0.6, 1.6))),
        Circle(
            radius_m=float(random.uniform(0.6, 2.5)),
            angle_rad=sign * float(random.uniform(1.0, 6.0)),
            speed_m_s=float(random.uniform(0.6, 1.4)),
        ),
        Turn(angle_rad=sign * float(random.uniform(0.5, 3.2)), rate_rad_s=float(random.uniform(0.6, 2.2))),
        Squat(depth=float(random.uniform(0.3, 1.0)), duration_s=float(random.uniform(1.4, 4.0))),
        Reach(side=side, elevation_rad=float(random.uniform(0.6, 2.3)), duration_s=float(random.uniform(1.2, 3.5))),
    )
    return actions[int(random.integers(len(actions)))]
