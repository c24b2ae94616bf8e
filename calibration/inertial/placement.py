"""Sensors on another limb than they are said to be, or on the other side.

What is told by what:

* N to T: arms turn by a quarter about a level axis, nothing else does;
* a walk: legs swing, lower legs more than thighs, the trunk hardly turns;
* N to T and a walk: an arm that turns the wrong way against the direction of travel is of the other side;
* a walk with a sensor on the trunk: legs of the other side, by the trunk's sway.

What cannot be told: pelvis from chest from head, forearm from upper arm from hand, and, without a walk, left
from right. Sensors that were not told are named by nobody.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.inertial.headings import WalkSigns, side_by_sway, told_by_sway
from calibration.inertial.poses import Kind, kind_of, other_side, part_of, side_of
from calibration.inertial.result import Finding, degrees_text

_ARM_TURN_RAD = math.radians(60.0)
_STILL_TURN_RAD = math.radians(35.0)
_LEG_SWING_RAD_S = 0.85
_TRUNK_SWING_RAD_S = 0.6
_SHANK_SHARE = 0.8
"""A lower leg swings more than the thigh above it; less than so much of it, and they are exchanged."""
_OTHER_SIDE_RAD = math.radians(120.0)


@dataclass(frozen=True, slots=True, eq=False)
class Signs:
    """What movement shows of M sensors."""

    sensors: tuple[str, ...]
    raised_rad: Sequence[float] | None
    """[M] angle between up in the N-pose and in the T-pose, sensor frame; None without both poses."""
    walks: tuple[WalkSigns, ...]
    arm_against_walk_rad: dict[str, float]
    """Of arms with both poses and a walk: heading by the poses less that by the walk."""
    period_s: float


def wrong_places(signs: Signs) -> list[Finding]:
    """All that does not fit what each sensor is said to be on."""
    observed = {name: _observed(signs, k) for k, name in enumerate(signs.sensors)}
    # What does not fit, by what it looks like instead.
    misfits = {name: kinds for name, kinds in observed.items() if kinds and kind_of(name) not in kinds}
    found = [*_exchanged(misfits), *_thighs(signs, set(misfits))]
    # Whether a side is right is asked only of sensors on the right limb.
    misplaced = set(misfits) | {name for finding in found for name in finding.sensors}
    return [*found, *_arm_sides(signs, misplaced), *_leg_sides(signs, misplaced)]


def _observed(signs: Signs, k: int) -> tuple[Kind, ...]:
    """The kinds of segment that a sensor may be on; empty where nothing tells."""
    kinds: tuple[Kind, ...] = ("arm", "leg", "trunk")
    if signs.raised_rad is not None:
        angle = signs.raised_rad[k]
        if angle > _ARM_TURN_RAD:
            return ("arm",)
        if angle < _STILL_TURN_RAD:
            kinds = ("leg", "trunk")
    if signs.walks:
        swing = _swing(signs, k)
        if swing > _LEG_SWING_RAD_S:
            kinds = tuple(kind for kind in kinds if kind != "trunk")
        elif swing < _TRUNK_SWING_RAD_S:
            kinds = tuple(kind for kind in kinds if kind != "leg")
    return kinds if len(kinds) < 3 else ()


def _swing(signs: Signs, k: int) -> float:
    return float(np.mean([walk.swing_rad_s[k] for walk in signs.walks]))


def _exchanged(misfits: dict[str, tuple[Kind, ...]]) -> list[Finding]:
    """Pairs of misfits that would fit if exchanged; the rest alone."""
    findings = []
    left = dict(misfits)
    while left:
        name, kinds = next(iter(left.items()))
        del left[name]
        partners = [other for other, own in left.items() if kind_of(other) in kinds and kind_of(name) in own]
        if len(partners) == 1:
            del left[partners[0]]
            text = f"{name} and {partners[0]} look exchanged: {name} moves like {_like(kinds)}, {partners[0]} like "
            text += f"{_like(misfits[partners[0]])}; exchange the two sensors (or their names) and calibrate again"
            findings.append(Finding("wrong_limb", (name, partners[0]), text))
            continue
        text = f"{name} moves like {_like(kinds)}; put the sensor on the {name.replace('_', ' ')} or name it rightly"
        if partners:
            text += f" (it may be exchanged with {', '.join(partners)})"
        findings.append(Finding("wrong_limb", (name,), text))
    return findings


def _like(kinds: tuple[Kind, ...]) -> str:
    words = {"arm": "an arm", "leg": "a leg", "trunk": "trunk or head"}
    return " or ".join(words[kind] for kind in kinds) or "no part of the body"


def _thighs(signs: Signs, misfits: set[str]) -> list[Finding]:
    """Lower legs that swing less than the thighs above them."""
    if not signs.walks:
        return []
    index = {name: k for k, name in enumerate(signs.sensors) if name not in misfits}
    findings = []
    for thigh, shank in (
        (t, s) for t in index for s in index if part_of(t) == "upper_leg" and part_of(s) == "lower_leg"
    ):
        above, below = _swing(signs, index[thigh]), _swing(signs, index[shank])
        if below < _SHANK_SHARE * above:
            text = f"{thigh} and {shank} look exchanged: the lower leg swings with {below:.1f} rad/s, the thigh with "
            findings.append(Finding("wrong_limb", (thigh, shank), text + f"{above:.1f}; exchange the two sensors"))
    return findings


def _arm_sides(signs: Signs, misfits: set[str]) -> list[Finding]:
    """Arms that rise on the other side."""
    wrong = [
        name for name, away in signs.arm_against_walk_rad.items() if abs(away) > _OTHER_SIDE_RAD and name not in misfits
    ]
    findings = []
    for name in wrong:
        other = other_side(name)
        if other in wrong and side_of(name) == "right":
            continue
        angle = degrees_text(abs(signs.arm_against_walk_rad[name]))
        if other in wrong:
            text = (
                f"{name} and {other} look exchanged: they rise on the other side of the direction of travel ({angle} "
            )
            text += f"off, bound {degrees_text(_OTHER_SIDE_RAD)}); exchange the two sensors and calibrate again"
            findings.append(Finding("wrong_side", (name, other), text))
        else:
            text = f"{name} rises on the other side of the direction of travel ({angle} off, bound "
            text += f"{degrees_text(_OTHER_SIDE_RAD)}): is it on the {other.replace('_', ' ')}?"
            findings.append(Finding("wrong_side", (name,), text))
    return findings


def _leg_sides(signs: Signs, misfits: set[str]) -> list[Finding]:
    """Pairs of leg sensors that swing on the other side."""
    findings = []
    for part in dict.fromkeys(part_of(name) for name in signs.sensors if kind_of(name) == "leg"):
        pair = (f"left_{part}", f"right_{part}")
        values = [side_by_sway(walk, signs.sensors, part, signs.period_s) for walk in signs.walks]
        if not values or not set(pair) <= set(signs.sensors) or set(pair) & misfits:
            continue
        value = float(np.mean(values))
        told = told_by_sway(value)
        if told is False:
            text = f"{pair[0]} and {pair[1]} look exchanged: the trunk sways to the leg that swings (correlation "
            text += f"{value:.2f}, expected above 0); exchange the two sensors and calibrate again"
            findings.append(Finding("wrong_side", pair, text))
        elif told is None:
            text = f"{pair[0]} and {pair[1]}: whether left and right are exchanged was not told by the walk "
            text += f"(correlation {value:.2f}); walk a few steps further, or look"
            findings.append(Finding("unsure", pair, text, blocking=False))
    return findings
