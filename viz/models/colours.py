"""Colours of the viewer: one table, as red, green, blue (and opacity) in 0..1."""

from __future__ import annotations

import numpy as np

from fusion.records import Array, Float32

Colour = tuple[float, float, float]

BACKGROUND: Colour = (0.063, 0.071, 0.094)
GRID: Colour = (0.30, 0.33, 0.39)
INFERRED: Colour = (0.47, 0.49, 0.55)
"""What the colour of an inferred joint is drawn towards."""
TRUTH: Colour = (0.93, 0.93, 0.95)
CAMERA: Colour = (0.55, 0.72, 0.80)
RADAR: Colour = (0.95, 0.72, 0.35)
MARKER: Colour = (0.95, 0.90, 0.45)
"""Landmarks found in a picture or by a depth sensor."""

GHOSTS: dict[str, Colour] = {
    "people": (0.93, 0.93, 0.95),
    "smoothed": (0.45, 0.95, 0.75),
    "predicted": (0.82, 0.62, 1.00),
}
"""Of each answer, where it is not the one that is drawn."""

SIDES: dict[str, Colour] = {"": (0.84, 0.86, 0.90), "right": (0.31, 0.76, 0.97), "left": (1.00, 0.62, 0.26)}
"""Of an angle's curve: of the middle of the body, of the right and of the left side."""

PEOPLE: tuple[Colour, ...] = (
    (0.31, 0.76, 0.97),  # sky
    (1.00, 0.62, 0.26),  # orange
    (0.51, 0.86, 0.42),  # green
    (0.94, 0.44, 0.71),  # pink
    (0.98, 0.86, 0.35),  # yellow
    (0.68, 0.57, 0.98),  # violet
    (0.33, 0.86, 0.75),  # teal
    (0.95, 0.45, 0.40),  # red
)

TRACKS: tuple[Colour, ...] = (
    (0.72, 0.93, 0.42),  # lime
    (0.98, 0.74, 0.83),  # rose
    (0.55, 0.92, 0.93),  # ice
    (0.97, 0.85, 0.62),  # sand
    (0.80, 0.76, 1.00),  # lilac
    (0.62, 0.95, 0.70),  # mint
)
"""Of a radar's tracks, paler than people, whose ids are others."""

INFERRED_SHARE = 0.68
"""How far an inferred part goes from the person's colour towards ``INFERRED``."""
INFERRED_OPACITY = 0.60

APPROACHING: Colour = (0.27, 0.55, 1.00)
STILL: Colour = (0.58, 0.59, 0.62)
RECEDING: Colour = (1.00, 0.32, 0.24)
DOPPLER_LIMIT_M_S = 1.5
"""Radial speed that is drawn in the full colour."""
DOPPLER_POWER = 0.7
"""Below one: slow limbs are told from what is still."""


def person_colour(person_id: int) -> Colour:
    """The colour of a person: the same for an id as long as the program runs, and in the next run."""
    return PEOPLE[person_id % len(PEOPLE)]


def track_colour(track_id: int) -> Colour:
    """The colour of a radar's track: always the same for an id."""
    return TRACKS[track_id % len(TRACKS)]


def part_colours(colour: Colour, measured: Array) -> Float32:
    """Colour and opacity of the parts of a person.

    Args:
        colour: the person's.
        measured: [N], true where a sensor constrains the part.

    Returns:
        [N, 4]; inferred parts are greyer and fainter.
    """
    full = np.array([*colour, 1.0])
    faint = np.append(np.array(colour) * (1 - INFERRED_SHARE) + np.array(INFERRED) * INFERRED_SHARE, INFERRED_OPACITY)
    return np.where(np.asarray(measured, dtype=bool)[:, None], full, faint).astype(np.float32)


def doppler_colours(radial_velocities_m_s: Array) -> Float32:
    """Blue for approaching, grey for still, red for receding points: [N] m/s to [N, 3]."""
    speed = np.nan_to_num(np.asarray(radial_velocities_m_s, dtype=np.float64), nan=0.0)
    share = np.minimum(np.abs(speed) / DOPPLER_LIMIT_M_S, 1.0)[:, None] ** DOPPLER_POWER
    end = np.where(speed[:, None] < 0, np.array(APPROACHING), np.array(RECEDING))
    return np.asarray(np.array(STILL) * (1 - share) + end * share, dtype=np.float32)


def hexadecimal(colour: Colour) -> str:
    """``#rrggbb`` of a colour."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)
