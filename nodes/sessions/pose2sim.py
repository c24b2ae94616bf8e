"""Pose2Sim's 2D landmarks to a session: one ``CAMERA/landmarks`` topic per camera.

Two layouts of a folder are read, each with a ``calibration`` folder beside it:

* ``pose2d/body25b.npz``: arrays per camera (``camera_names``, ``fps``, ``NAME_people``
  [n, K, 3] of x px, y px, confidence, ``NAME_offsets`` [frames + 1]), and
* ``pose/NAME_json/*.json``: OpenPose files, one a frame, as Pose2Sim keeps them.

Everything is kept as it was published: all people of a frame, in detector
order, and pixels as detected; a landmark of confidence 0 was not seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from fusion.records import Float32, Landmarks2D, StreamEnd
from nodes.errors import RequestError, listed
from nodes.node import Envelope
from nodes.sessions.writer import SessionFacts, SessionWriter

if TYPE_CHECKING:
    from fusion.rig import Camera

NS_PER_S = 1_000_000_000
MAX_FRAME_BYTES = 4 * 1024 * 1024
MAX_PEOPLE = 256
SETS_BY_COUNT = {17: "coco_17", 25: "body_25b", 26: "halpe_26", 33: "blazepose_33"}
_FRAME_NUMBER = re.compile(r"(\d+)(?:_keypoints)?\Z")
_LAYOUT = "expected DIR/calibration/*.toml (or *.qca.txt) and DIR/pose2d/*.npz or DIR/pose/*_json/*.json"


@dataclass(frozen=True, slots=True)
class Frame:
    """The people of one picture: [P, K, 3] of x px, y px, confidence."""

    index: int
    people: Float32


@dataclass(frozen=True, slots=True)
class Track:
    """One camera's landmarks."""

    name: str
    """Of the topic."""
    camera: Camera
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """What was written."""

    path: Path
    fps: float
    landmark_set: str
    frames: dict[str, int]
    """Frames per camera."""
    unreadable: int
    """Frame files that could not be read."""


def import_pose2sim(folder: Path, target: Path, *, fps: float | None = None, landmarks: str | None = None) -> Imported:
    """Write a session from a Pose2Sim folder.

    Args:
        folder: see the module.
        target: the new session file.
        fps: frames a second; default: what the folder says.
        landmarks: landmark set; default: by the number of landmarks.

    Raises:
        RequestError: if something is missing, ambiguous or wrong; nothing is written then.
    """
    from calibration.formats import read_calibration
    from calibration.profile import profile_text
    from fusion.body.catalog import landmark_set
    from fusion.rig import Rig

    if not folder.is_dir():
        raise RequestError(f"{folder}: there is no such folder; {_LAYOUT}")
    calibration = _calibration_file(folder)
    cameras = tuple(read_calibration(calibration))
    found_fps, named, unreadable = _read_landmarks(folder)
    fps = fps or found_fps
    if fps is None:
        raise RequestError(f"{folder}: does not say how many frames a second it has; give --fps")
    tracks = _matched(folder, named, cameras, calibration)
    count = next((frame.people.shape[1] for track in tracks for frame in track.frames if len(frame.people)), 0)
    name = landmarks or SETS_BY_COUNT.get(count)
    if name is None:
        raise RequestError(f"{folder}: {count} landmarks a person; known are {SETS_BY_COUNT}; give --landmarks")
    try:
        wanted = len(landmark_set(name).landmark_names)
    except ValueError as error:
        raise RequestError(f"--landmarks {name}: {error}") from error
    if wanted != count:
        raise RequestError(f"{folder}: {count} landmarks a person, but {name} has {wanted}")
    facts = SessionFacts(
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name) or "pose2sim",
        time="data",
        profile_name=f"{calibration.stem}.toml",
        profile_text=profile_text(Rig(cameras=cameras)),
        more={"imported_from": "pose2sim", "landmark_set": name, "fps": f"{fps:g}"},
    )
    writer = SessionWriter(target, facts)
    try:
        for envelope in _envelopes(tracks, fps, name):
            writer.write(envelope, envelope.published_ns)
    finally:
        writer.close({"end": "imported"})
    frames = {track.name: len(track.frames) for track in tracks}
    return Imported(target, fps, name, frames, unreadable)


def _calibration_file(folder: Path) -> Path:
    home = folder / "calibration"
    files = sorted(
        [*home.glob("*.toml"), *home.glob("*.qca.txt")], key=lambda file: (file.suffix != ".toml", file.name)
    )
    tables = [file for file in files if file.suffix == ".toml"]
    if not files:
        raise RequestError(f"{home}: no calibration (*.toml, *.qca.txt); {_LAYOUT}")
    if len(tables) > 1:
        raise RequestError(f"{home}: several calibrations: {listed(file.name for file in tables)}; leave one there")
    return files[0]


def _read_landmarks(folder: Path) -> tuple[float | None, dict[str, tuple[Frame, ...]], int]:
    packs = sorted((folder / "pose2d").glob("*.npz"))
    if len(packs) > 1:
        raise RequestError(
            f"{folder / 'pose2d'}: several files: {listed(pack.name for pack in packs)}; leave one there"
        )
    if packs:
        fps, named = _read_pack(packs[0])
        return fps, named, 0
    homes = sorted((home for home in (folder / "pose").glob("*") if home.is_dir()), key=lambda home: _plain(home.name))
    named = {}
    unreadable = 0
    for home in homes:
        frames, bad = _read_json_folder(home)
        unreadable += bad
        if frames:
            named[re.sub(r"^pose_|_json$", "", home.name)] = frames
    if not named:
        raise RequestError(f"{folder}: no 2D landmarks; {_LAYOUT}")
    return _fps_of_project(folder), named, unreadable


def _read_pack(path: Path) -> tuple[float, dict[str, tuple[Frame, ...]]]:
    named: dict[str, tuple[Frame, ...]] = {}
    try:
        with np.load(path) as arrays:
            fps = float(arrays["fps"])
            for name in (str(item) for item in arrays["camera_names"]):
                people = np.asarray(arrays[f"{name}_people"], np.float32)
                offsets = np.asarray(arrays[f"{name}_offsets"], np.int64)
                if people.ndim != 3 or people.shape[2] != 3 or offsets.ndim != 1 or offsets[-1] != len(people):
                    raise ValueError(f"{name}: people {people.shape} and offsets {offsets.shape} do not fit")
                spans = pairwise(offsets)
                named[name] = tuple(Frame(index, people[first:last]) for index, (first, last) in enumerate(spans))
    except (OSError, KeyError, ValueError, IndexError, BadZipFile) as error:
        raise RequestError(f"{path}: not a file of 2D landmarks: {error}") from error
    if not fps > 0 or not named:
        raise RequestError(f"{path}: fps {fps:g} and {len(named)} cameras; both must be more than 0")
    return fps, named


def _read_json_folder(home: Path) -> tuple[tuple[Frame, ...], int]:
    """Frames of one camera in the order of their numbers, and how many files could not be read."""
    frames: dict[int, Float32] = {}
    unreadable = 0
    for file in home.glob("*.json"):
        number = _FRAME_NUMBER.search(file.stem)
        people = None if number is None else _read_json(file)
        if number is None or people is None:
            unreadable += 1
        else:
            frames[int(number.group(1))] = people
    width = max((people.shape[1] for people in frames.values()), default=0)
    whole = {index: people if len(people) else np.zeros((0, width, 3), np.float32) for index, people in frames.items()}
    good = tuple(Frame(index, people) for index, people in sorted(whole.items()) if people.shape[1] == width)
    return good, unreadable + len(frames) - len(good)


def _read_json(file: Path) -> Float32 | None:
    """People [P, K, 3] of an OpenPose file; None if it is not one."""
    try:
        if file.stat().st_size > MAX_FRAME_BYTES:
            return None
        root: Any = json.loads(file.read_bytes())
        rows = [person["pose_keypoints_2d"] for person in root["people"]]
        # A person that a Pose2Sim stage took out is left as an empty list.
        people = np.array([row for row in rows if row], np.float32)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not len(people):
        return np.zeros((0, 0, 3), np.float32)
    if people.ndim != 2 or people.shape[1] % 3 or len(people) > MAX_PEOPLE:
        return None
    return people.reshape(len(people), -1, 3)


def _fps_of_project(folder: Path) -> float | None:
    """``frame_rate`` of the project's ``Config.toml``, here or one folder up."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    for file in (folder / "Config.toml", folder.parent / "Config.toml"):
        try:
            rate = tomlkit.parse(file.read_text("utf-8")).unwrap().get("project", {}).get("frame_rate")
        except (OSError, UnicodeDecodeError, TOMLKitError, AttributeError):
            continue
        if isinstance(rate, int | float) and rate > 0:
            return float(rate)
    return None


def _matched(
    folder: Path, named: dict[str, tuple[Frame, ...]], cameras: tuple[Camera, ...], calibration: Path
) -> tuple[Track, ...]:
    """Each landmark folder with its camera: by name (``cam1``, ``cam_01`` and ``cam01`` are one), else in order."""
    by_name = {_plain(camera.name): camera for camera in cameras}
    if all(_plain(name) in by_name for name in named):
        return tuple(Track(name, by_name[_plain(name)], frames) for name, frames in named.items())
    if len(named) != len(cameras):
        raise RequestError(
            f"{folder}: landmarks of {listed(named)} cannot be matched with the cameras of {calibration.name}: "
            f"{listed(camera.name for camera in cameras)}; rename one side"
        )
    pairs = zip(named.items(), cameras, strict=True)
    return tuple(Track(name, camera, frames) for (name, frames), camera in pairs)


def _plain(name: str) -> str:
    """Letters and numbers without leading zeros and signs between them, for comparing names of cameras."""
    words = re.findall(r"[a-z]+|\d+", re.sub(r"^pose_|_json$", "", name.lower()))
    return "".join(str(int(word)).zfill(6) if word.isdigit() else word for word in words)


def _envelopes(tracks: tuple[Track, ...], fps: float, landmark_set: str) -> Iterator[Envelope]:
    """All frames in time order, cameras in the order of their names within a frame, then each camera's end."""
    entries = [(frame.index, number, frame) for number, track in enumerate(tracks) for frame in track.frames]
    sequences = [0] * len(tracks)
    last_ns = 0
    for index, number, frame in sorted(entries, key=lambda entry: entry[:2]):
        track = tracks[number]
        last_ns = round(index * NS_PER_S / fps)
        record = _record(track, frame, last_ns, landmark_set)
        yield Envelope(f"{track.name}/landmarks", sequences[number], last_ns, 0, record)
        sequences[number] += 1
    for track in tracks:
        end = StreamEnd(measured_ns=last_ns, received_ns=last_ns, reason="end of the import")
        yield Envelope(f"{track.name}/end", 0, last_ns, 0, end)


def _record(track: Track, frame: Frame, time_ns: int, landmark_set: str) -> Landmarks2D:
    seen = (frame.people[..., 2] > 0) & np.isfinite(frame.people).all(axis=-1)
    return Landmarks2D(
        measured_ns=time_ns,
        received_ns=time_ns,
        camera=track.camera.name,
        landmark_set=landmark_set,
        image_width=track.camera.width,
        image_height=track.camera.height,
        pixels=np.where(seen[..., None], frame.people[..., :2], np.float32(np.nan)).astype(np.float32),
        scores=np.where(seen, np.clip(frame.people[..., 2], 0, 1), 0).astype(np.float32),
    )
