"""The MARS recordings as clips: frames of points that follow each other, with the joints of a depth camera.

Source: An and Ogras, "MARS: mmWave-based Assistive Rehabilitation System for Smart Healthcare", ACM TECS 20(5s), 2021;
repository SizheAn/MARS, MIT licence. A clip is of one subject, one movement and one part of the official split; it is
cut where the sensor lost more than ``LONGEST_GAP`` frames. Nothing of one clip is seen in another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from fusion.body.catalog import landmark_set
from fusion.estimators.radar.features import FRAME_PERIOD_S, MOST_POINTS
from fusion.records import Array, Bool, Float32, Int64

SUBJECTS = (1, 2, 3, 4)
MOVEMENTS = 10
SENSOR_HEIGHT_M = 0.96
"""Of the MARS sensor above the floor: the feet of all four subjects are 0.90 to 0.92 m below it, their soles lower."""
STANDING_PLACE_M = (0.0, 1.85)
"""Middle of the points of people who stand where all subjects do, right and away from the sensor."""
LONGEST_GAP = 20
"""Frames lost in a row, after which a new clip begins."""
Part = Literal["train", "validate", "test"]
PARTS: tuple[Part, ...] = ("train", "validate", "test")
_HEAD = landmark_set("kinect_19").landmark_names.index("head_centre")
_FAR_M = 1.5
_FOLLOW_S = 1.0
_NEAR_M = 1.2
_FEW_POINTS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """T frames of one subject, one movement, one part of the split."""

    subject: int
    movement: int
    """1 to 10."""
    part: Part
    points_m: Float32
    """[T, 64, 3] right, away, above the floor; zeros behind the last."""
    radial_velocities_m_s: Float32
    """[T, 64], + is receding."""
    present: Bool
    """[T, 64]."""
    gaps: Int64
    """[T] frames since the one before, 1 where none was lost."""
    anchors_m: Float32
    """[T, 2] that follow the points, right and away."""
    joints_m: Float32
    """[T, 19, 3] right, away, above the floor."""
    head_m: float
    """Height of the middle of the subject's head, as it usually is."""

    def __len__(self) -> int:
        return len(self.gaps)


def read_clips(data: Path, subjects: Sequence[int] = SUBJECTS) -> list[Clip]:
    """All clips with joints of these subjects.

    Args:
        data: folder with ``mars/subject1.npz`` to ``subject4.npz``.
        subjects: of 1 to 4.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is no such recording.
    """
    return [clip for subject in subjects for clip in _read(data / "mars" / f"subject{subject}.npz", subject)]


def _read(path: Path, subject: int) -> list[Clip]:
    if not path.is_file():
        raise FileNotFoundError(2, "no such MARS recording", str(path))
    keys = ("points", "point_offset", "frame_index", "movement", "split", "labels")
    with np.load(path, allow_pickle=False) as file:
        missing = [key for key in keys if key not in file.files]
        if missing:
            raise ValueError(f"{path} lacks {', '.join(missing)}; expected the arrays {', '.join(keys)}")
        points, offsets, frames, movement, split, labels = (file[key] for key in keys)
    steps = np.diff(frames.astype(np.int64))
    cut = (np.diff(movement.astype(int)) != 0) | (np.diff(split.astype(int)) != 0) | (steps > LONGEST_GAP) | (steps < 1)
    head_m = float(np.nanmedian(labels[:, _HEAD, 2])) + SENSOR_HEIGHT_M
    edges = [0, *(np.flatnonzero(cut) + 1).tolist(), len(frames)]
    clips = []
    for first, last in pairwise(edges):
        if np.isfinite(labels[first:last]).all():
            cloud = points[offsets[first] : offsets[last]], offsets[first : last + 1] - offsets[first]
            gaps = np.concatenate([[1], steps[first : last - 1]])
            clips.append(
                _clip(subject, int(movement[first]), PARTS[int(split[first])], *cloud, gaps, labels[first:last], head_m)
            )
    return clips


def _clip(
    subject: int, movement: int, part: Part, points: Array, offsets: Array, gaps: Array, labels: Array, head_m: float
) -> Clip:
    """A clip from points [P, 5] in the sensor's frame and joints [T, 19, 3]."""
    count = len(labels)
    positions, speeds, present = (
        np.zeros((count, MOST_POINTS, 3), np.float32), np.zeros((count, MOST_POINTS), np.float32),
        np.zeros((count, MOST_POINTS), np.bool_),
    )  # fmt: skip
    up = np.array([0.0, 0.0, SENSOR_HEIGHT_M], dtype=np.float32)
    for t in range(count):
        cloud = points[offsets[t] : offsets[t + 1]]
        cloud = cloud[np.hypot(*(cloud[:, :2] - STANDING_PLACE_M).T) < _FAR_M][:MOST_POINTS]
        positions[t, : len(cloud)], speeds[t, : len(cloud)] = cloud[:, :3] + up, cloud[:, 3]
        present[t, : len(cloud)] = True
    clouds = [points[offsets[t] : offsets[t + 1], :2] for t in range(count)]
    return Clip(
        subject, movement, part, positions, speeds, present, gaps.astype(np.int64), follow(clouds),
        (labels + up).astype(np.float32), head_m,
    )  # fmt: skip


def follow(clouds: Sequence[Array]) -> Float32:
    """Anchors [T, 2] that follow the middle of points [N, 2] a frame, with a time constant of a second."""
    anchors: Float32 = np.zeros((len(clouds), 2), dtype=np.float32)
    anchor = np.median(clouds[0], axis=0) if len(clouds[0]) else np.array(STANDING_PLACE_M)
    taken = 0
    for t, cloud in enumerate(clouds):
        near = cloud[np.hypot(*(cloud - anchor).T) < _NEAR_M]
        if t and len(near):
            taken += 1
            gain = max(1.0 / (taken + 1), 1.0 - math.exp(-FRAME_PERIOD_S / _FOLLOW_S))
            anchor = anchor + gain * len(near) / (len(near) + _FEW_POINTS) * (np.median(near, axis=0) - anchor)
        anchors[t] = anchor
    return anchors
