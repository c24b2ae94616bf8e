"""Motion clips of the data pack: which serve to learn, which to judge, and what of them to leave out.

The split has its one home here. No clip serves both; subject 02 of the CMU
database is judged on only, so that at least one body was never seen. Of the
DeepMimic clips, which share one figure and do not name their actors, other takes
of walking and of dancing are learnt from than are judged on.

All clips are optical motion capture, at 16-120 frames a second, licensed for
any use (CMU: no resale as data; DeepMimic: MIT).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from fusion.synthesis.clips import clip_motion
from fusion.synthesis.motion import BodyMotion

FIT_ACTIVITIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "walk": ("dm_long_walk1", "dm_long_walk2", "dm_walk", "cmu_03_01"),
        "uneven": ("cmu_03_03", "cmu_03_04"),
        "sneak": ("dm_stealthy_walk0", "dm_stealthy_walk1", "dm_long_zombie"),
        "climb": tuple(f"cmu_01_{number:02d}" for number in range(1, 15)),
        "sport": (
            "dm_run", "dm_jog", "dm_jump", "dm_kick", "dm_spin", "dm_dance_a", "dm_dance_spin", "dm_crawl", "dm_roll",
        ),
    }
)  # fmt: skip
"""Clips to learn from, by what is done in them."""

FIT: tuple[str, ...] = tuple(name for names in FIT_ACTIVITIES.values() for name in names)
"""Clips to learn from."""

HELD_OUT: tuple[str, ...] = (
    "cmu_02_01", "cmu_02_03", "cmu_02_04", "cmu_02_06", "cmu_02_08", "cmu_02_10",
    "dm_long_walk3", "dm_dance_b", "dm_punch", "dm_getup_facedown",
)  # fmt: skip
"""Clips to judge on: walk 2.9 s, run 1.4 s, jump and balance 4.0 s, bend and scoop 18.6 s, swordplay 12.5 s, washing
oneself 22.0 s, walk with turns 17.7 s, dance 2.5 s, punch 2.1 s, getting up from lying 3.0 s."""

UNUSED: Mapping[str, str] = MappingProxyType(
    {
        "cmu_02_02": "a second walk of the subject who is judged on",
        "cmu_02_09": "a second swordplay of the subject who is judged on",
        "dm_long_walk1_mirror": "mirror image",
        "dm_long_walk2_mirror": "mirror image",
        "dm_long_walk3_mirror": "mirror image of a clip that is judged on",
        "dm_stealthy_walk": "a piece of dm_stealthy_walk0",
        "dm_zombie_walk": "a piece of dm_long_zombie",
        "dm_backflip": "16 frames a second, too few for its speed",
    }
)
"""The clips that serve neither, and why."""

_MARGIN_S = 0.2
_CMU_RATE_HZ = 120.0
_JUMP_FRAMES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "cmu_01_03": (425, 3309),
        "cmu_01_06": (4754, 4759),
        "cmu_01_07": (3363, 4735, 4740),
        "cmu_01_08": (761,),
        "cmu_01_10": (1786,),
        "cmu_01_11": (2575,),
        "cmu_01_12": (1720,),
        "cmu_01_14": (1517, 2053),
    }
)
"""Frames of the source after which a body joint or the root jumps (0-based); from the data pack's README."""


def avoid_s(name: str) -> tuple[tuple[float, float], ...]:
    """Spans of a clip, in seconds from its start, in which it jumps as no body does: not to be differentiated."""
    frames = np.array(_JUMP_FRAMES.get(name, ())) / _CMU_RATE_HZ
    return tuple((float(at) - _MARGIN_S, float(at) + _MARGIN_S) for at in frames)


def clip_path(data: Path, name: str) -> Path:
    """The file of a clip in a data pack.

    Args:
        data: the data pack's folder, which holds ``motion/``.
        name: a name of ``FIT``, ``HELD_OUT`` or ``UNUSED``.

    Raises:
        ValueError: for a name that is none of them.
    """
    known = (*FIT, *HELD_OUT, *UNUSED)
    if name not in known:
        raise ValueError(f"no clip {name!r}; the clips: {', '.join(known)}")
    return data / "motion" / ("cmu" if name.startswith("cmu_") else "deepmimic") / f"{name}.npz"


def load_motion(data: Path, name: str) -> BodyMotion:
    """A clip's movement on our skeleton; arguments and errors as in ``clip_path``.

    Raises:
        FileNotFoundError: if the data pack lacks it.
    """
    with np.load(clip_path(data, name)) as file:
        return clip_motion({key: file[key] for key in file.files})
