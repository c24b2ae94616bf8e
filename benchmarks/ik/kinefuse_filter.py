"""Our filter as a contestant: four views in, a published record out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from benchmarks.ik.frames import MIN_SCORE, Frames
from fusion.body import catalog
from fusion.body.kinematics import TABLES
from fusion.filter.history import FilterParams, PersonFilter
from fusion.filter.measurements.landmarks import (
    LandmarkParams,
    Landmarks2DMeasurement,
    Landmarks3DMeasurement,
    landmark_points,
)
from fusion.filter.outputs import OutputParams, Outputs
from fusion.filter.start import StartParams, wide_state
from fusion.filter.state import empty_state
from fusion.filter.system import Measurement, make_body
from fusion.filter.update import Updater
from fusion.maths.camera import camera_arrays
from fusion.records import Float64, Landmarks2D
from fusion.rig import Rig

START_ITERATIONS = 30


class OurFilter:
    """Predict, update with all views, publish: what a live filter does with one moment of one person."""

    def __init__(self, frames: Frames, *, learning: bool) -> None:
        """Without ``learning`` the lengths are known, as to the other tools."""
        params = FilterParams(lock_after_s=np.inf, lock_at_latest_s=np.inf)
        self._params = params
        self._learning = learning
        self.updater = Updater(params.update, params.anatomy, contact=params.contact)
        self._outputs = Outputs(OutputParams())
        self._scratch = empty_state()
        self._body = make_body()
        self._placed = catalog.attachments(frames.landmark_set)
        self._measurements = [measurements_of(frames.rig, group) for group in frames.views]
        self._times = [int(time_ns) for time_ns in frames.times_ns]
        lengths = None if learning else frames.lengths_m
        start = wide_state(frames.start, self._times[0], StartParams(), None, lengths)
        variance = np.full(frames.points_m.shape[1], 0.02**2)
        points = Landmarks3DMeasurement(self._times[0], "start", self._placed, frames.points_m[0], variance)
        self.updater.apply(start, [points], START_ITERATIONS)
        self.start = start
        self.filter = PersonFilter(params, self.updater, start)

    @property
    def name(self) -> str:
        """See ``Solver``."""
        return "kinefuse learning lengths" if self._learning else "kinefuse"

    def restart(self) -> None:
        """See ``Solver``."""
        self.filter = PersonFilter(self._params, self.updater, self.start)

    def solve(self, frame: int) -> int:
        """See ``Solver``."""
        time_ns = self._times[frame]
        for measurement in self._measurements[frame]:
            self.filter.apply(measurement)
        self.filter.predicted(time_ns, self._scratch)
        self._outputs.record((1,), (self._scratch,), time_ns, time_ns)
        return -1

    def fitted_m(self) -> Float64:
        """See ``Solver``."""
        placed = self._placed
        points = np.empty((len(placed.segment), 3))
        nominal = self.filter.state.nominal
        landmark_points(TABLES, self._body, nominal, placed.segment, placed.unit_offset, placed.length, points)
        return points


def measurements_of(rig: Rig, group: Iterable[Landmarks2D]) -> list[Measurement]:
    """The first person of each view as the filter takes it."""
    result: list[Measurement] = []
    for record in group:
        camera = rig.camera(record.camera)
        placed = catalog.attachments(record.landmark_set)
        scores = np.nan_to_num(record.scores[0].astype(np.float64))
        pixels = np.where(scores[:, None] >= MIN_SCORE, record.pixels[0].astype(np.float64), np.nan)
        result.append(
            Landmarks2DMeasurement(
                time_ns=record.measured_ns,
                camera=camera_arrays(camera),
                image_height=camera.height,
                source=camera.name,
                placed=placed,
                pixels=pixels,
                relative_variance=placed.sigma_scale**2 / np.maximum(scores, 0.1),
                params=LandmarkParams(),
            )
        )
    return result
