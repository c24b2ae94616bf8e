"""A data set of simulated people in RT-Pose's layout: with it everything can be tried without the recordings.

Every recording is a person of new stature and proportions who follows a new script before a radar at a new height.
What is learned from it says how the code works, not how well a real radar tells joints.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusion.maths.voxels import VoxelGrid
from fusion.rig import RadarMount
from fusion.synthesis.actions import Action, Reach, Squat, Stand, Turn, Walk
from fusion.synthesis.motion import draw_lengths
from fusion.synthesis.radar_tensor import SMALL_CHIRP, TensorMaker, TensorRadarParams, VirtualTensorRadar
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.wearer import Wearer
from training.radar_tensor.layout import RT_POSE_GRID, DatasetWriter, Split

SMALL_GRID = VoxelGrid(np.array([-1.5, 1.2, -1.2]), np.array([0.2, 0.18, 0.3]), (8, 16, 16))
"""2.4 x 3.2 x 2.9 m in coarse voxels."""
SMALL_RADAR = TensorRadarParams(chirp=SMALL_CHIRP, channels=16, range_span_m=None, centred=True)
_TEST_SEED = 1_000_000
"""Added to the seeds of test recordings, so that no number of training ones reaches them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticParams:
    """How much is made."""

    full: bool = False
    """RT-Pose's radar and region instead of the small ones."""
    recordings: int = 48
    """To learn from."""
    test_recordings: int = 9
    frames: int = 20
    """Of each recording."""
    every: int = 4
    """One in so many frames of the radar is kept."""
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("recordings", "test_recordings", "frames", "every"):
            if not 1 <= getattr(self, name) <= 100_000:
                raise ValueError(f"{name}: {getattr(self, name)}, allowed 1 to 100000")


def radar_of(params: SyntheticParams) -> tuple[TensorRadarParams, VoxelGrid]:
    """Radar and lattice of a data set."""
    return (TensorRadarParams(), RT_POSE_GRID) if params.full else (SMALL_RADAR, SMALL_GRID)


def write_synthetic(root: Path, params: SyntheticParams, progress: Callable[[int, int], None]) -> None:
    """Make the recordings and write them.

    Args:
        root: folder; made if missing.
        params: how much.
        progress: told how many of how many frames are written.
    """
    radar, grid = radar_of(params)
    maker = TensorMaker(radar, grid)
    writer = DatasetWriter(root, grid, maker.radial_velocities_m_s)
    total = (params.recordings + params.test_recordings) * params.frames
    done = 0
    splits: tuple[tuple[Split, int, int], ...] = (
        ("Train", params.recordings, 0), ("Test", params.test_recordings, _TEST_SEED),
    )  # fmt: skip
    for split, count, shift in splits:
        for number in range(count):
            virtual = recording(maker, params.seed * 10_000_000 + shift + number)
            for index in range(params.frames):
                frame = index * params.every
                name = f"{split.lower()}{number:04d}"
                writer.add(split, name, f"{frame:06d}", virtual.tensor(frame).power, virtual.joints_m(frame)[0])
                done += 1
                progress(done, total)
    writer.close()


def recording(maker: TensorMaker, seed: int) -> VirtualTensorRadar:
    """A new person with a new script before a radar at a new height."""
    random = np.random.default_rng(seed)
    lengths = draw_lengths(seed, random.uniform(1.55, 1.95))
    motion = scripted_motion(
        _script(random),
        lengths,
        seed=seed,
        start_m=(random.uniform(-0.4, 0.4), random.uniform(-0.4, 0.4)),
        heading_rad=random.uniform(-math.pi, math.pi),
    )
    grid = maker.grid
    middle = grid.to_metres(0.5 * (np.array([grid.shape[1], grid.shape[2], grid.shape[0]]) - 1.0))
    mount = RadarMount(
        name="radar",
        r_world_from_radar=np.eye(3),
        position_world_m=np.array([-middle[0], -middle[1], random.uniform(0.9, 1.2)]),
    )
    return VirtualTensorRadar(mount, maker, [Wearer(0, motion)], seed)


def _script(random: np.random.Generator) -> list[Action]:
    """Some actions within about a metre of the middle."""
    actions: list[Action] = []
    for _ in range(3):
        actions.append(Walk(distance_m=random.uniform(0.4, 0.8), speed_m_s=random.uniform(0.6, 1.2)))
        kind = random.integers(4)
        if kind == 0:
            actions.append(Squat(depth=random.uniform(0.4, 1.0)))
        elif kind == 1:
            actions.append(
                Reach(side="left" if random.random() < 0.5 else "right", elevation_rad=random.uniform(1, 2.3))
            )
        elif kind == 2:
            actions.append(Stand(duration_s=random.uniform(0.5, 1.5)))
        actions.append(Turn(angle_rad=random.uniform(0.6, 1.4) * math.pi))
    return actions
