"""Batches for a network whose state goes on: each lane of a batch plays takes, window after window; tensor-free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusion.estimators.inertial.layout import FEATURES, JOINTS, POSE_SEGMENTS
from fusion.records import Bool, Float32
from training.imu.movements import Movement, split
from training.imu.recorded import part_of
from training.imu.takes import Take, TakeParams, draw_take

REAL_SHARE = 0.5
"""Real sensors teach what no recipe knows, so half of what is learned is theirs where there are any."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """T frames of B lanes."""

    features: Float32
    """[T, B, 69]."""
    velocities: Float32
    """[T, B, 6, 3]."""
    six: Float32
    """[T, B, 11, 6]."""
    valid: Bool
    """[T, B]: frames after a take's end are padding."""
    fresh: Bool
    """[B]: a new take begins with this window, so its state begins anew."""
    cold: Bool
    """[B]: of a fresh lane, nothing is known of the first pose."""
    first_velocities: Float32
    """[B, 6, 3] of fresh lanes."""
    first_six: Float32
    """[B, 11, 6] of fresh lanes."""


def draw_weights(movements: Sequence[Movement]) -> list[float]:
    """How often each movement is drawn: by ``split.toml`` between groups, within one by the root of the length.

    Groups of the non-commercial files share their weight in proportion to their length.
    """
    table = split()
    groups: dict[str, list[Movement]] = {}
    for movement in movements:
        groups.setdefault(movement.group, []).append(movement)
    others = {name for name in groups if name not in table["weights"]}
    weight = float(table["non_commercial"]["weight"]) if others else 0.0
    length = sum(movement.duration_s for name in others for movement in groups[name])
    known = sum(table["weights"][name] for name in groups if name not in others)
    result = []
    for movement in movements:
        share = math.sqrt(movement.duration_s) / sum(math.sqrt(item.duration_s) for item in groups[movement.group])
        if movement.group in others:
            own = sum(item.duration_s for item in groups[movement.group])
            result.append(weight * own / length * share)
        else:
            result.append((1.0 - weight) * table["weights"][movement.group] / known * share)
    return result


class Lanes:
    """Draws takes for the lanes of a batch and deals them out window by window.

    Args:
        movements: to draw from.
        lanes: B.
        params: of the takes.
        seed: the same seed gives the same windows.
        real: recorded takes, drawn in ``REAL_SHARE`` of the cases where there are any.
    """

    def __init__(
        self,
        movements: Sequence[Movement],
        lanes: int,
        params: TakeParams,
        seed: Sequence[int],
        real: Sequence[Take] = (),
    ) -> None:
        self._real = real
        self._movements = movements
        self._weights = draw_weights(movements)
        self._params = params
        self._random = np.random.default_rng(list(seed))
        self._takes: list[Take | None] = [None] * lanes
        self._at = [0] * lanes

    def window(self, frames: int) -> Window:
        """The next frames of every lane; a lane whose take has ended begins another."""
        lanes = len(self._takes)
        made = Window(
            features=np.zeros((frames, lanes, FEATURES), dtype=np.float32),
            velocities=np.zeros((frames, lanes, len(JOINTS), 3), dtype=np.float32),
            six=np.zeros((frames, lanes, len(POSE_SEGMENTS), 6), dtype=np.float32),
            valid=np.zeros((frames, lanes), dtype=bool),
            fresh=np.zeros(lanes, dtype=bool),
            cold=np.zeros(lanes, dtype=bool),
            first_velocities=np.zeros((lanes, len(JOINTS), 3), dtype=np.float32),
            first_six=np.zeros((lanes, len(POSE_SEGMENTS), 6), dtype=np.float32),
        )
        for lane in range(lanes):
            self._deal(lane, frames, made)
        return made

    def _deal(self, lane: int, frames: int, made: Window) -> None:
        take = self._takes[lane]
        if take is None or self._at[lane] >= len(take.features):
            take = self._draw()
            self._takes[lane], self._at[lane] = take, 0
            made.fresh[lane], made.cold[lane] = True, take.cold
            made.first_velocities[lane], made.first_six[lane] = take.first_velocities, take.first_six
        begin = self._at[lane]
        count = min(frames, len(take.features) - begin)
        part = slice(begin, begin + count)
        made.features[:count, lane] = take.features[part]
        made.velocities[:count, lane] = take.velocities[part]
        made.six[:count, lane] = take.six[part]
        made.valid[:count, lane] = True
        self._at[lane] = begin + count

    def _draw(self) -> Take:
        if self._real and self._random.random() < REAL_SHARE:
            return part_of(self._real[int(self._random.integers(len(self._real)))], self._random, self._params)
        one, other = self._random.choice(len(self._movements), size=2, p=self._weights)
        return draw_take(self._movements[one], self._random, self._params, self._movements[other])
