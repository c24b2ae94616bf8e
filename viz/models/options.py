"""What the user has chosen to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Answer = Literal["people", "smoothed", "predicted"]
ANSWERS: tuple[str, ...] = get_args(Answer)
"""Streams that carry skeletons: as they are, as they were in the light of what came since, as they will be."""

SWITCHES: tuple[str, ...] = ("ghosts", "ellipsoids", "reprojection", "centre_of_mass", "trails", "truth")
"""Fields of ``ViewOptions`` that are on or off."""
PanelName = Literal["streams", "sources", "angles", "guide"]
"""What lies open below the scene."""


@dataclass(frozen=True, slots=True)
class RadarOptions:
    """What is drawn of radars."""

    points: bool = True
    """Coloured by radial speed."""
    tracks: bool = True
    joints: bool = True
    fields: bool = True
    """What each radar can see."""


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """What is drawn in the room and in the pictures."""

    answer: str = "people"
    """One of ``ANSWERS``: whose skeletons are drawn, followed by trails and projected. Never two at once."""
    ghosts: bool = False
    """The other answers too, as thin lines."""
    ellipsoids: bool = False
    reprojection: bool = True
    centre_of_mass: bool = False
    trails: bool = False
    truth: bool = False
    radar: RadarOptions = RadarOptions()


@dataclass(frozen=True, slots=True)
class AngleOptions:
    """What the panel of angles shows."""

    joints: tuple[str, ...] = ("hip", "knee")
    """Names of ``viz.models.angles.JOINTS``."""
    person: tuple[str, int] | None = None
    """Node and id; None, or one who is not there, stands for the first."""
