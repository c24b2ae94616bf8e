"""Takes of real sensors: recorded sessions whose pose is known from cameras, as files to learn from.

    python -m training.imu.recorded SESSION.mcap PROFILE.toml OUT.npz

makes one of a session in which cameras saw the wearer of the six sensors that the profile describes. A file holds, at
60 frames a second:

| key | shape | meaning |
| --- | --- | --- |
| `q_world_from_site` | [T, 6, 4] | orientations of ``SITES`` as the sensors say, wxyz, z up |
| `acceleration_m_s2` | [T, 6, 3] | their free accelerations in the same world |
| `root_rate_rad_s` | [T, 3] | angular rate of the root in its own axes |
| `q_world_from_segment` | [T, 23, 4] | how the segments stood, heading alike |
| `positions_m` | [T, 23, 3] | where their origins were |
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.body.skeleton import REFERENCE_LENGTHS_M, SEGMENT
from fusion.estimators.inertial.features import features_of, six_of
from fusion.estimators.inertial.layout import FRAME_RATE_HZ, JOINTS, POSE_SEGMENTS, SITES, segment_indices
from fusion.maths import quaternion
from fusion.records import Array, Float64
from training.imu.takes import Take, TakeParams

if TYPE_CHECKING:
    from fusion.posing import Seen

SHAPES: dict[str, tuple[int, ...]] = {
    "q_world_from_site": (len(SITES), 4),
    "acceleration_m_s2": (len(SITES), 3),
    "root_rate_rad_s": (3,),
    "q_world_from_segment": (23, 4),
    "positions_m": (23, 3),
}
_FEWEST_FRAMES = 60


def recorded_takes(folder: Path) -> list[Take]:
    """The takes of all files of a folder.

    Raises:
        ValueError: there is none, or one is not such a file; names it and says what is wrong.
    """
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise ValueError(f"{folder}: no recorded takes (*.npz); make one with: python -m training.imu.recorded")
    return [recorded_take(file) for file in files]


def recorded_take(path: Path) -> Take:
    """The take of one file.

    Raises:
        ValueError: it is not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: np.asarray(file[key], dtype=np.float64) for key in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: is no file of a recorded take: {error}") from error
    frames = len(arrays.get("root_rate_rad_s", ()))
    for key, shape in SHAPES.items():
        have = arrays[key].shape if key in arrays else None
        if have != (frames, *shape) or frames < _FEWEST_FRAMES or not np.isfinite(arrays[key]).all():
            raise ValueError(
                f"{path}: {key}: has shape {have}, expected {(frames, *shape)}, "
                f"at least {_FEWEST_FRAMES} frames, all finite"
            )
    return take_of(**arrays)


def take_of(
    q_world_from_site: Float64,
    acceleration_m_s2: Float64,
    root_rate_rad_s: Float64,
    q_world_from_segment: Float64,
    positions_m: Float64,
) -> Take:
    """A take of what was recorded; arguments as in the file."""
    root = quaternion.conjugate(q_world_from_segment[:, SEGMENT["pelvis"]])[:, None]
    against = quaternion.multiply(root, q_world_from_segment[:, segment_indices(POSE_SEGMENTS)])
    moving = np.gradient(positions_m[:, segment_indices(JOINTS)], 1.0 / FRAME_RATE_HZ, axis=0)
    moving[:, 1:] -= moving[:, :1]
    velocities = quaternion.rotate(root, moving).astype(np.float32)
    six = six_of(quaternion.to_matrix(against)).astype(np.float32)
    return Take(
        features=features_of(q_world_from_site, acceleration_m_s2, root_rate_rad_s),
        velocities=velocities,
        six=six,
        first_six=six[0],
        first_velocities=velocities[0],
        cold=False,
        q_world_from_segment=q_world_from_segment,
        positions_m=positions_m,
        q_seen=q_world_from_site,
        lengths_m=REFERENCE_LENGTHS_M,
    )


def part_of(take: Take, random: np.random.Generator, params: TakeParams) -> Take:
    """A drawn stretch of a recorded take."""
    frames = int(random.uniform(params.shortest_s, params.longest_s) * FRAME_RATE_HZ)
    first = int(random.integers(max(len(take.features) - frames, 0) + 1))
    part = slice(first, first + frames)
    names = ("features", "velocities", "six", "q_world_from_segment", "positions_m", "q_seen")
    return replace(
        take,
        **{name: getattr(take, name)[part] for name in names},
        first_six=take.six[first],
        first_velocities=take.velocities[first],
        cold=bool(random.random() < params.cold_share),
    )


def arrays_of(seen: Sequence[Seen]) -> dict[str, Array]:
    """Arrays of a file: what the network was given, and how the filter held the wearer to stand then."""
    return {key: np.stack([getattr(item, key) for item in seen]) for key in SHAPES}


def of_session(path: Path, profile: Path) -> dict[str, Array]:
    """The longest stretch of a session in which the wearer of six sensors was known.

    The filter has seen the cameras, so its pose is the best that is known; headings and mountings are its own. The
    network is run beside but not listened to, so that it does not learn from itself.

    Raises:
        ValueError: nobody wore the six sensors.
    """
    from calibration.profile import load_profile
    from fusion.pipeline import Pipeline, PipelineParams
    from fusion.posing import PosingParams
    from nodes.models.inertial import DEFAULT, load
    from nodes.sessions.reader import SessionReader

    unheard = PipelineParams(posing=PosingParams(segments=(), joints=()))
    pipeline = Pipeline(load_profile(profile), unheard, load(DEFAULT))
    seen: list[Seen] = []
    with SessionReader(path) as reader:
        wanted = tuple(name for name, kind in reader.kinds.items() if kind in _MEASURED)
        for _, envelope in reader.envelopes(wanted):
            pipeline.take(envelope.record)
            seen += pipeline.posed()
    runs = _runs(seen)
    if not runs or len(runs[0]) < _FEWEST_FRAMES:
        raise ValueError(f"{path}: nobody who wears sensors on {', '.join(SITES)} is known for a second or more")
    return arrays_of(runs[0])


_MEASURED = ("landmarks", "landmarks3d", "samples", "points")


def _runs(seen: Sequence[Seen]) -> list[list[Seen]]:
    """Stretches without a pause, the longest first."""
    runs: list[list[Seen]] = []
    for item in seen:
        if item.begins or not runs:
            runs.append([])
        runs[-1].append(item)
    return sorted(runs, key=len, reverse=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a file to learn from of a session; 0, or 2 with a message."""
    parser = argparse.ArgumentParser(prog="python -m training.imu.recorded", description=main.__doc__)
    parser.add_argument("session", type=Path)
    parser.add_argument("profile", type=Path)
    parser.add_argument("out", type=Path)
    given: Any = parser.parse_args(arguments)
    try:
        arrays = of_session(given.session, given.profile)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    np.savez_compressed(given.out, **{key: array.astype(np.float32) for key, array in arrays.items()})  # type: ignore[arg-type]
    print(f"{given.out}: {len(arrays['root_rate_rad_s']) / FRAME_RATE_HZ:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
