"""The page of conventions names what the code names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fusion.body.catalog import LANDMARK_SETS, SKELETON
from fusion.body.skeleton import (
    COORDINATE_NAMES,
    LENGTH_NAMES,
    REFERENCE_LENGTHS_M,
    REFERENCE_STATURE_M,
    SEGMENT_NAMES,
)

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "conventions.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text under a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}.*?\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found.group(1)


def rows(title: str) -> list[list[str]]:
    """Cells of the table under a heading, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def order_in_words(words: str) -> tuple[str, ...]:
    """Landmark names of a phrase such as ``nose; left hip, knee; ear, eye, each left then right``."""
    names: list[str] = []
    for phrase in words.split("; "):
        pairs = phrase.endswith(", each left then right")
        side = ""
        for item in phrase.removesuffix(", each left then right").split(", "):
            known = re.fullmatch(r"`(\w+)`", item)
            if known:
                names += LANDMARK_SETS[known.group(1)].landmark_names
                continue
            word = item.split()
            side = word[0] + "_" if len(word) == 2 else side
            names += [f"{s}_{word[-1]}" for s in ("left", "right")] if pairs else [side + word[-1]]
    return tuple(names)


def test_coordinates() -> None:
    """In the order that the page says: what has no side first, then arms, then legs, right before left."""
    listed = [name for row in rows("Coordinates") for name in re.findall(r"`(\w+)`", row[0])]
    sided = [name for name in listed if name.startswith("SIDE_")]
    legs = sided.index("SIDE_hip_x")
    expected = [name for name in listed if name not in sided]
    for limb in (sided[:legs], sided[legs:]):
        expected += [name.replace("SIDE", side) for side in ("right", "left") for name in limb]
    assert tuple(expected) == COORDINATE_NAMES
    assert section("Coordinates").startswith(f"\n{len(COORDINATE_NAMES)} numbers")


def test_lengths() -> None:
    listed = {row[0].strip("`"): float(row[1]) for row in rows("Lengths")}
    assert tuple(listed) == LENGTH_NAMES
    assert list(listed.values()) == pytest.approx(REFERENCE_LENGTHS_M.tolist())
    assert f"{REFERENCE_STATURE_M:.2f} m tall" in section("Lengths")


def test_segments() -> None:
    tree = re.search(r"```\n(pelvis.*?)```", section("The body"), re.DOTALL)
    assert tree
    assert set(re.findall(r"\w+", tree.group(1))) == set(SEGMENT_NAMES)
    assert SKELETON in section("The body")


def test_landmark_sets() -> None:
    listed = {row[0].strip("`"): row[1] for row in rows("Landmark sets")}
    assert set(listed) == set(LANDMARK_SETS)
    for name, words in listed.items():
        if name != "joints_23":
            assert order_in_words(words) == LANDMARK_SETS[name].landmark_names, name
    assert LANDMARK_SETS["joints_23"].landmark_names == tuple(f"joint_{name}" for name in SEGMENT_NAMES)
