"""RT-Pose's files: tensors and joints as its public loader reads them, and a writer of the same.

    ROOT/file_meta.txt                          lines "ID,NAME" (optional: without it a sequence's name is its ID)
    ROOT/Train.json, ROOT/Test.json             {ID: {FRAME: [{"Radar_frameID": STEM, "pose": [[x, y, z] * 15]}]}}
    ROOT/NAME/DZYX_npy_f16/STEM.npy             float16 [Doppler, z, y, x]
    ROOT/lattice.json                           ours, optional: where the voxels of a tensor are

Files have x forward, y left, z up; everything beyond this module has right, forward, up. Without ``lattice.json`` a
tensor is RT-Pose's whole lattice [., 32, 128, 256] or its region [., 16, 64, 160]. That y is to the left, and in which
order Doppler channels stand, was read from the code that draws RT-Pose's tensors, not seen in its data.

Source: repository ipl-uw/RT-POSE, loader of its data set and ``hr3d_one_hm_doppler`` configuration (layout, lattice,
region, scale, damaged sequences).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fusion.estimators.radar.tensor_decode import JOINTS
from fusion.maths.voxels import Shape, VoxelGrid
from fusion.records import Array, Float16, Float64
from nodes.errors import RequestError, listed, shown

Float32 = NDArray[np.float32]
Split = Literal["Train", "Test"]

TENSORS = "DZYX_npy_f16"
META_FILE = "file_meta.txt"
LATTICE_FILE = "lattice.json"
DAMAGED = ("2023_0718_1642", "2023_0726_1602", "2023_0726_1619", "2023_0726_1620")
"""Sequences that RT-Pose's own loader leaves out."""
FULL_SCALE = 10.0
"""Stored value that becomes 1."""
_DTYPES = ("float16", "float32")
_TEXT_MAX_BYTES = 512 * 1024 * 1024
_DOPPLER_MAX = 1024


class DatasetError(RequestError):
    """Files that are not what they should be; the message names file, value, what is expected and what to do."""


@dataclass(frozen=True, slots=True)
class FileAxis:
    """Places along one axis of a file: ``first + i * step``."""

    first: float
    step: float
    count: int


# RT-Pose's lattice x 0..11.6, y +-10.05, z +-5.8 m, and the voxels of its region in it.
_WHOLE = {"x": FileAxis(0.0, 11.6 / 256, 256), "y": FileAxis(-10.05, 20.1 / 128, 128), "z": FileAxis(-5.8, 11.6 / 32, 32)}  # fmt: skip  # noqa: E501
_REGION = {"x": slice(17, 177), "y": slice(32, 96), "z": slice(13, 29)}


def grid_of_axes(x: FileAxis, y: FileAxis, z: FileAxis) -> VoxelGrid:
    """The lattice in the radar frame; across runs from left to right, against the files' y."""
    right = -(y.first + (y.count - 1) * y.step)
    return VoxelGrid(
        np.array([right, x.first, z.first]), np.array([y.step, x.step, z.step]), (z.count, y.count, x.count)
    )


def axes_of_grid(grid: VoxelGrid) -> dict[str, FileAxis]:
    """The inverse of ``grid_of_axes``."""
    up, across, forward = grid.shape
    left = -(grid.origin_m[0] + (across - 1) * grid.steps_m[0])
    return {
        "x": FileAxis(float(grid.origin_m[1]), float(grid.steps_m[1]), forward),
        "y": FileAxis(float(left), float(grid.steps_m[0]), across),
        "z": FileAxis(float(grid.origin_m[2]), float(grid.steps_m[2]), up),
    }


def _region(axis: str) -> FileAxis:
    whole, part = _WHOLE[axis], _REGION[axis]
    return FileAxis(whole.first + part.start * whole.step, whole.step, part.stop - part.start)


RT_POSE_GRID = grid_of_axes(_region("x"), _region("y"), _region("z"))
"""16 x 64 x 160 voxels, 0.77 to 8.02 m ahead."""
_WHOLE_SHAPE: Shape = (_WHOLE["z"].count, _WHOLE["y"].count, _WHOLE["x"].count)


def to_files(points_m: Float64) -> Float64:
    """Places [..., 3] right, forward, up as x forward, y left, z up."""
    return np.stack([points_m[..., 1], -points_m[..., 0], points_m[..., 2]], axis=-1)


def from_files(points_m: Float64) -> Float64:
    """The inverse of ``to_files``."""
    return np.stack([-points_m[..., 1], points_m[..., 0], points_m[..., 2]], axis=-1)


def scaled(power: Array) -> Float32:
    """What the network is fed: stored values over ``FULL_SCALE``, never below 0."""
    return np.asarray(np.maximum(power.astype(np.float32) / FULL_SCALE, 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One labelled tensor."""

    file: Path
    name: str
    """Of the frame in the labels."""
    joints_m: Float64
    """[15, 3] radar frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Frames of one recording."""

    name: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """One split, its tensors not yet read."""

    root: Path
    grid: VoxelGrid
    doppler: int
    """Channels of a tensor."""
    sequences: tuple[Recording, ...]
    unlabelled: int
    """Frames without a person in the labels, which are left out."""

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Of all sequences."""
        return tuple(frame for sequence in self.sequences for frame in sequence.frames)


def open_dataset(root: Path, split: Split) -> Dataset:
    """Read the labels of a split and look at its first tensor.

    Raises:
        DatasetError: a file is missing or is not what it should be.
    """
    names = _names(root)
    labels = _json(root / f"{split}.json")
    if not isinstance(labels, dict) or not labels:
        raise DatasetError(f"{root / f'{split}.json'}: expected an object with an entry for each sequence")
    sequences, unlabelled = [], 0
    for identity, frames in labels.items():
        name = str(names.get(identity, identity))
        if name in DAMAGED:
            continue
        place = f"{root / f'{split}.json'}: sequence {shown(identity)}"
        if not isinstance(frames, dict):
            raise DatasetError(f"{place}: expected an object with an entry for each frame, have {shown(frames)}")
        found = [_frame(root, name, frame, people, place) for frame, people in frames.items()]
        unlabelled += found.count(None)
        sequences.append(Recording(name, tuple(frame for frame in found if frame is not None)))
    kept = tuple(sequence for sequence in sequences if sequence.frames)
    if not kept:
        raise DatasetError(f"{root / f'{split}.json'}: no frame has a person in it")
    grid, _ = lattice_of(root)
    doppler = read_power(kept[0].frames[0].file, grid).shape[0]
    return Dataset(root, grid, doppler, kept, unlabelled)


def _frame(root: Path, name: str, frame: str, people: Any, place: str) -> Frame | None:
    """The first person's frame; None where the labels have none."""
    place = f"{place}, frame {shown(frame)}"
    if not isinstance(people, list):
        raise DatasetError(f"{place}: expected a list of people, have {shown(people)}")
    if not people:
        return None
    person = people[0]
    if not isinstance(person, dict) or "Radar_frameID" not in person or "pose" not in person:
        raise DatasetError(f"{place}: expected an object with Radar_frameID and pose, have {shown(person)}")
    if person["pose"] == []:
        return None
    file = root / name / TENSORS / f"{person['Radar_frameID']}.npy"
    if not file.is_file():
        raise DatasetError(f"{place}: Radar_frameID {shown(person['Radar_frameID'])}: there is no file {file}")
    return Frame(file, frame, from_files(_joints(person["pose"], place)))


def _joints(pose: Any, place: str) -> Float64:
    try:
        joints = np.array(pose, dtype=np.float64)
    except (TypeError, ValueError):
        joints = np.empty(0)
    if joints.shape != (JOINTS, 3) or not np.isfinite(joints).all():
        raise DatasetError(f"{place}: pose: expected {JOINTS} joints of three finite metres, have {shown(pose)}")
    return joints


def _names(root: Path) -> dict[str, str]:
    """Name of each sequence's folder by its ID."""
    if not root.is_dir():
        raise DatasetError(f"{root}: is no folder; name the one that holds Train.json")
    file = root / META_FILE
    if not file.is_file():
        return {}
    names = {}
    for number, line in enumerate(_text(file).splitlines(), 1):
        if not line.strip():
            continue
        identity, comma, name = line.strip().partition(",")
        if not comma or not name or Path(name).name != name:
            raise DatasetError(f"{file}:{number}: {shown(line)}, expected ID,NAME")
        names[identity] = name
    return names


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _TEXT_MAX_BYTES:
            raise DatasetError(f"{file}: {file.stat().st_size} bytes, expected at most {_TEXT_MAX_BYTES}")
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file}: is no text") from error


def _json(file: Path) -> Any:
    try:
        return json.loads(_text(file))
    except json.JSONDecodeError as error:
        raise DatasetError(f"{file}:{error.lineno}: is no JSON: {error.msg}") from error


def lattice_of(root: Path) -> tuple[VoxelGrid, Float64 | None]:
    """Lattice of the tensors in a folder, and the radial velocity of each Doppler channel where it is known.

    Raises:
        DatasetError: ``lattice.json`` is not what it should be.
    """
    file = root / LATTICE_FILE
    if not file.is_file():
        return RT_POSE_GRID, None
    content = _json(file)
    try:
        axes = [
            FileAxis(float(content[a]["first"]), float(content[a]["step"]), int(content[a]["count"])) for a in "xyz"
        ]
        velocities = np.array(content["radial_velocities_m_s"], dtype=np.float64)
        if velocities.ndim != 1:
            raise ValueError("radial_velocities_m_s: expected a list of numbers")
        return grid_of_axes(*axes), velocities
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{file}: {error!r}; expected x, y and z, each with first, step and count, and radial_velocities_m_s"
        ) from error


def read_power(file: Path, grid: VoxelGrid) -> Float16:
    """One tensor [Doppler, up, across, forward], cut to the lattice.

    Raises:
        DatasetError: the file is not a tensor of that lattice, or holds numbers that are not finite.
    """
    try:
        stored = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{file}: cannot be read as .npy: {error}") from error
    if not isinstance(stored, np.ndarray) or stored.dtype.name not in _DTYPES:
        have = stored.dtype.name if isinstance(stored, np.ndarray) else "several arrays"
        raise DatasetError(
            f"{file}: {have}, allowed: {', '.join(_DTYPES)}; complex tensors have to become magnitudes first"
        )
    if stored.ndim == 4 and stored.shape[1:] == _WHOLE_SHAPE and grid.equals(RT_POSE_GRID):
        stored = stored[:, _REGION["z"], _REGION["y"], _REGION["x"]]
    if stored.ndim != 4 or stored.shape[1:] != grid.shape or not 1 <= stored.shape[0] <= _DOPPLER_MAX:
        whole = f" or [Doppler, {', '.join(map(str, _WHOLE_SHAPE))}]" if grid.equals(RT_POSE_GRID) else ""
        raise DatasetError(
            f"{file}: shape {list(stored.shape)}, expected [Doppler, {', '.join(map(str, grid.shape))}]{whole}"
        )
    with np.errstate(over="ignore"):  # What overflows becomes infinite, and is named below.
        power = np.ascontiguousarray(stored[:, :, ::-1], dtype=np.float16)
    if not np.isfinite(power).all():
        raise DatasetError(f"{file}: numbers that are not finite (as float16)")
    return power


def tensor_files(root: Path, sequence: str | None) -> list[Path]:
    """The tensors of one sequence in the order of their names, whole numbers first by their value.

    Args:
        root: folder of the data set.
        sequence: name of its folder; None for the first one.

    Raises:
        DatasetError: no such sequence, or one without tensors.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: is no folder")
    names = sorted(folder.parent.name for folder in root.glob(f"*/{TENSORS}") if folder.is_dir())
    if not names:
        raise DatasetError(f"{root}: no folder NAME/{TENSORS} in it; name the folder above the sequences")
    if sequence is not None and sequence not in names:
        raise DatasetError(f"{root}: no sequence {shown(sequence)}; it has: {listed(names)}")
    files = list((root / (sequence or names[0]) / TENSORS).glob("*.npy"))
    if not files:
        raise DatasetError(f"{root / (sequence or names[0]) / TENSORS}: no .npy files")
    return sorted(files, key=lambda file: (int(file.stem) if file.stem.isdecimal() else math.inf, file.stem))


class DatasetWriter:
    """Writes tensors and labels so that ``open_dataset`` reads them; the labels last, so a torn set is not opened."""

    def __init__(self, root: Path, grid: VoxelGrid, radial_velocities_m_s: Float64) -> None:
        self.root = root
        self.grid = grid
        self._velocities = radial_velocities_m_s
        self._labels: dict[Split, dict[str, dict[str, list[dict[str, Any]]]]] = {"Train": {}, "Test": {}}
        self._names: list[str] = []

    def add(self, split: Split, name: str, stem: str, power: Float16, joints_m: Float64) -> None:
        """Write one frame: a tensor [Doppler, up, across, forward] and its person's joints [15, 3], radar frame."""
        if name not in self._names:
            self._names.append(name)
        folder = self.root / name / TENSORS
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{stem}.npy", np.ascontiguousarray(power[:, :, ::-1], dtype=np.float16))
        person = {"Radar_frameID": stem, "pose": np.round(to_files(joints_m), 5).tolist()}
        self._labels[split].setdefault(str(self._names.index(name)), {})[stem] = [person]

    def close(self) -> None:
        """Write the labels and where the voxels are."""
        axes = {
            name: {"first": a.first, "step": a.step, "count": a.count} for name, a in axes_of_grid(self.grid).items()
        }
        _write(self.root / LATTICE_FILE, {**axes, "radial_velocities_m_s": self._velocities.tolist()})
        meta = "".join(f"{identity},{name}\n" for identity, name in enumerate(self._names))
        (self.root / META_FILE).write_text(meta, encoding="utf-8")
        for split, labels in self._labels.items():
            _write(self.root / f"{split}.json", labels)


def _write(file: Path, content: Mapping[str, Any]) -> None:
    partial = file.with_suffix(".part")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(file)


def mean_joints(frames: Sequence[Frame]) -> Float64:
    """Mean joints [15, 3] of frames, radar frame."""
    return np.asarray(np.mean([frame.joints_m for frame in frames], axis=0))
