"""What a wearer can be told to do: walk, circle, turn, squat, reach, stand and hold a pose.

Plain data; ``fusion.synthesis.script`` makes a movement of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

Side = Literal["right", "left"]
PoseName = Literal["n_pose", "t_pose"]
POSES: tuple[str, ...] = get_args(PoseName)
POSE_MOVE_S = 1.5
SIDE_SIGN: dict[Side, float] = {"right": -1.0, "left": 1.0}


class ScriptError(ValueError):
    """An action that nobody could do; the message names the value and what is allowed."""


def _require(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ScriptError(f"{name}: {value}, allowed {low:g} to {high:g}")


STRICT: dict[str, Any] = {"extra": "forbid"}
"""Read by pydantic where these are part of a graph file: a misspelt key is an error."""


@dataclass(frozen=True, slots=True)
class Stand:
    """Stand still."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    do: Literal["stand"] = "stand"
    duration_s: float = 1.0

    def __post_init__(self) -> None:
        _require("stand: duration_s", self.duration_s, 0.1, 3600.0)


@dataclass(frozen=True, slots=True)
class Walk:
    """Walk straight ahead."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    do: Literal["walk"] = "walk"
    distance_m: float = 2.0
    speed_m_s: float = 1.1

    def __post_init__(self) -> None:
        _require("walk: distance_m", self.distance_m, 0.2, 1000.0)
        _require("walk: speed_m_s", self.speed_m_s, 0.3, 1.8)


@dataclass(frozen=True, slots=True)
class Circle:
    """Walk on a circle whose centre lies to the left (or right, with a negative angle)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    do: Literal["circle"] = "circle"
    radius_m: float = 1.0
    angle_rad: float = 2.0 * math.pi
    speed_m_s: float = 1.0

    def __post_init__(self) -> None:
        _require("circle: radius_m", self.radius_m, 0.5, 100.0)
        _require("circle: |angle_rad|", abs(self.angle_rad), 0.2, 1000.0)
        _require("circle: speed_m_s", self.speed_m_s, 0.3, 1.8)


@dataclass(frozen=True, slots=True)
class Turn:
    """Turn on the spot, to the left with a positive angle."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    do: Literal["turn"] = "turn"
    angle_rad: float = math.pi
    rate_rad_s: float = 1.2

    def __post_init__(self) -> None:
        _require("turn: |angle_rad|", abs(self.angle_rad), 0.0, 20.0 * math.pi)
        _require("turn: rate_rad_s", self.rate_rad_s, 0.2, 2.5)


@dataclass(frozen=True, slots=True)
class Squat:
    """Squat and rise with the feet where they are."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    do: Literal["squat"] = "squat"
    depth: float = 0.8
    """0 none, 1 thighs level."""
    duration_s: float = 2.8

    def __post_init__(self) -> None:
        _require("squat: depth", self.depth, 0.0, 1.0)
        _require("squat: duration_s", self.duration_s, 1.2, 60.0)


@dataclass(frozen=True, slots=True)
class Reach:
    """Reach forward and up with one arm and come back."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    do: Literal["reach"] = "reach"
    side: Side = "right"
    elevation_rad: float = 1.7
    """Upper arm from hanging (0) to level ahead (pi/2) and above."""
    duration_s: float = 2.4

    def __post_init__(self) -> None:
        if self.side not in SIDE_SIGN:
            raise ScriptError(f"reach: side {self.side!r}, allowed: right, left")
        _require("reach: elevation_rad", self.elevation_rad, 0.3, 2.4)
        _require("reach: duration_s", self.duration_s, 1.0, 60.0)


@dataclass(frozen=True, slots=True)
class Pose:
    """Take a pose that a calibration asks for, hold it, and come back."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    do: Literal["pose"] = "pose"
    pose: PoseName = "n_pose"
    duration_s: float = 6.0
    """With the way there and back, which takes ``POSE_MOVE_S`` each."""

    def __post_init__(self) -> None:
        if self.pose not in POSES:
            raise ScriptError(f"pose: {self.pose!r}, allowed: {', '.join(POSES)}")
        _require("pose: duration_s", self.duration_s, 2.0 * POSE_MOVE_S, 3600.0)


Action = Stand | Walk | Circle | Turn | Squat | Reach | Pose

DEFAULT_SCRIPT: tuple[Action, ...] = (
    Stand(duration_s=1.0),
    Circle(),
    Squat(),
    Reach(side="right"),
    Turn(angle_rad=math.pi),
    Walk(distance_m=1.4),
    Reach(side="left", elevation_rad=2.1),
)
"""From (0, -1) facing +x: a round about the centre, then the rest within two metres of it."""
DEFAULT_START_M = (0.0, -1.0)

_TURN_WORTH_RAD = 1e-3
_WALK_WORTH_M = 0.25


def end_of(actions: Sequence[Action], start_m: tuple[float, float], heading_rad: float) -> tuple[float, float, float]:
    """Where a script ends: x, y in metres and the heading in radians (turns counted in full)."""
    x, y, heading = start_m[0], start_m[1], heading_rad
    for action in actions:
        if isinstance(action, Walk):
            x += action.distance_m * math.cos(heading)
            y += action.distance_m * math.sin(heading)
        elif isinstance(action, Circle):
            sign = math.copysign(1.0, action.angle_rad)
            centre_x = x - sign * action.radius_m * math.sin(heading)
            centre_y = y + sign * action.radius_m * math.cos(heading)
            heading += action.angle_rad
            x = centre_x + sign * action.radius_m * math.sin(heading)
            y = centre_y - sign * action.radius_m * math.cos(heading)
        elif isinstance(action, Turn):
            heading += action.angle_rad
    return x, y, heading


def closed(actions: Sequence[Action], start_m: tuple[float, float], heading_rad: float) -> tuple[Action, ...]:
    """The script followed by the walk home, so that it can begin anew."""
    result = list(actions)
    x, y, heading = end_of(result, start_m, heading_rad)
    home = math.hypot(start_m[0] - x, start_m[1] - y)
    if home >= _WALK_WORTH_M:
        result += _turn_to(math.atan2(start_m[1] - y, start_m[0] - x) - heading)
        result.append(Walk(distance_m=home))
    _, _, heading = end_of(result, start_m, heading_rad)
    result += _turn_to(heading_rad - heading)
    return tuple(result)


def _turn_to(angle_rad: float) -> list[Action]:
    wrapped = math.remainder(angle_rad, 2.0 * math.pi)
    return [Turn(angle_rad=wrapped)] if abs(wrapped) > _TURN_WORTH_RAD else []
