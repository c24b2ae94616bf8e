"""What a virtual radar sees: a simulated person, or the points of a recording.

A scene hands out ``Detections`` from each start of the sensor on. Anything with
``period_s`` and ``frames`` will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from nodes.devices.ti.virtual import Detections
from nodes.errors import RequestError

MARS_PERIOD_S = 0.1
MARS_KEYS = ("points", "point_offset", "frame_index", "movement")
_LONGEST_GAP = 50
"""A frame counter that leaps further, or back, belongs to another recording."""
_AHEAD_S = 0.1
"""A simulated person is made for so long at a time: longer would hold up what is due meanwhile."""
_SPEED_STEP_M_S = 0.1


class Scene(Protocol):
    """What there is to see."""

    @property
    def period_s(self) -> float | None:
        """Of its frames; None if it is seen as often as the sensor looks."""
        ...

    def frames(self, period_s: float) -> Iterator[Detections]:
        """Frames from a start of the sensor on, their times rising from 0."""
        ...


class Walk:
    """A simulated person who follows the standard script in front of the radar; goes on while the sensor is stopped.

    The radar is where ``fusion.synthesis`` puts the first one of a lab (``graphs/radar.toml`` says so, too).
    """

    period_s: float | None = None

    def __init__(self, seed: int = 0, radar: str = "radar") -> None:
        from fusion.synthesis.actions import DEFAULT_SCRIPT
        from fusion.synthesis.motion import draw_lengths
        from fusion.synthesis.script import scripted_motion
        from fusion.synthesis.wearer import Wearer

        self._seed, self._radar = seed, radar
        self._wearer = Wearer(0, scripted_motion(DEFAULT_SCRIPT, draw_lengths(seed, 1.75), seed=seed))
        self._world_s = 0.0
        next(self.frames(0.1))  # Kernels are compiled before the first frame is due.
        self._world_s = 0.0

    def frames(self, period_s: float) -> Iterator[Detections]:
        """From where the person is now."""
        from fusion.synthesis.params import RadarParams
        from fusion.synthesis.radars import VirtualRadar, radar_mounts

        params = RadarParams(rate_hz=1.0 / period_s, miss_share=0.0, radial_velocity_step_m_s=_SPEED_STEP_M_S)
        (mount,) = radar_mounts(params, [self._radar])
        radar = VirtualRadar(mount, params, [self._wearer], self._seed)
        first = number = round(self._world_s / period_s)
        count = max(1, round(_AHEAD_S / period_s))
        while True:
            for time_s, record in radar.frames(number, count, 0):
                self._world_s = time_s + period_s
                yield Detections(
                    time_s - first * period_s, record.positions_m, record.radial_velocities_m_s, record.snrs_db
                )
            number += count


class Recording:
    """Frames that are there already; each start of the sensor plays them from the beginning."""

    def __init__(self, frames: Iterable[Detections], period_s: float, rows: Iterable[int] | None = None) -> None:
        """Take them.

        Args:
            frames: in order, from time 0.
            period_s: between them, by which they are numbered: the one at ``time_s`` is 1 + time_s / period_s.
            rows: which frame of its file each one is; None for 0, 1, 2 …
        """
        self.period_s: float | None = period_s
        self._frames = tuple(frames)
        self.rows = tuple(range(len(self._frames)) if rows is None else map(int, rows))
        """Which frame of its file each one is."""

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return self._frames[-1].time_s + (self.period_s or 0.0) if self._frames else 0.0

    def frames(self, period_s: float) -> Iterator[Detections]:
        """From the beginning."""
        return iter(self._frames)


def load_mars(path: Path, *, start_s: float = 0.0, seconds: float | None = None) -> Recording:
    """Points of the MARS data, a subject's recordings one after the other, with the gaps of the sensor's counter.

    The recorded intensity becomes a signal-to-noise ratio of 10 log10(intensity) dB.

    Args:
        path: ``subjectN.npz`` with ``points`` [P, 5] (x, y, z in m, Doppler in m/s, intensity), ``point_offset``
            [N + 1], ``frame_index`` [N] and ``movement`` [N].
        start_s: where to begin.
        seconds: how much; None for all.

    Raises:
        RequestError: if the file is no such file, or has nothing in that time.
    """
    points, offsets, counters, movements = _mars_arrays(path)
    steps = np.diff(counters, prepend=counters[:1] - 1)
    anew = (steps < 1) | (steps > _LONGEST_GAP) | (np.diff(movements, prepend=movements[:1]) != 0)
    times_s = MARS_PERIOD_S * (np.cumsum(np.where(anew, 1, steps)) - 1)
    end_s = np.inf if seconds is None else start_s + seconds
    chosen = np.flatnonzero((times_s >= start_s) & (times_s < end_s))
    if not chosen.size:
        raise RequestError(f"{path}: nothing from {start_s:g} s on; it ends after {times_s[-1]:.0f} s")
    frames = []
    for k in chosen:
        rows = points[offsets[k] : offsets[k + 1]]
        snrs_db = 10.0 * np.log10(np.maximum(rows[:, 4], 1.0))
        time_s = float(times_s[k] - times_s[chosen[0]])
        frames.append(Detections(time_s, rows[:, :3], rows[:, 3], snrs_db.astype(np.float32)))
    return Recording(frames, MARS_PERIOD_S, chosen)


def _mars_arrays(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    try:
        with np.load(path) as archive:
            missing = [key for key in MARS_KEYS if key not in archive]
            if not missing:
                points, offsets, counters, movements = (archive[key] for key in MARS_KEYS)
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: cannot be read as a file of arrays (.npz): {error}") from error
    if missing:
        raise RequestError(f"{path}: has no {', '.join(missing)}; expected subjectN.npz with {', '.join(MARS_KEYS)}")
    if not len(counters) or len(offsets) != len(counters) + 1 or points.ndim != 2 or points.shape[1] < 5:
        raise RequestError(f"{path}: point_offset and points do not fit together; is it another file?")
    return points.astype(np.float32), offsets, counters.astype(np.int64), movements.astype(np.int64)
