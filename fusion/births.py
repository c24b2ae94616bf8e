"""New bodies: a closed-form start from whatever there is, and the update that makes a fit of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fusion.body import catalog
from fusion.body.kinematics import TABLES
from fusion.body.limits import coordinate_limits
from fusion.body.skeleton import LENGTH_NAMES, REFERENCE_LENGTHS_M, REFERENCE_STATURE_M
from fusion.filter.measurements.landmarks import (
    LandmarkParams,
    Landmarks2DMeasurement,
    Landmarks3DMeasurement,
    landmark_points,
)
from fusion.filter.start import StartParams, pose_from_landmarks, wide_state
from fusion.filter.start_inertial import InertialStartParams, inertial_state, stands_posed, with_body_heading
from fusion.filter.start_one_view import (
    OneViewParams,
    best_start,
    candidates_from_view,
    one_view_state,
    reprojection_cost,
)
from fusion.filter.state import LENGTH, NEVER_NS, State
from fusion.filter.system import Measurement, make_body
from fusion.filter.update import Updater
from fusion.maths.camera import camera_arrays
from fusion.records import Float64, Int64
from fusion.rig import Camera, Subject

_SLACK_RAD = 0.35
"""How far a start may break a joint limit and still be a body."""
_STATURE_SHARE = 0.35
"""How far a start's long bones may be from the reference body's, as a log ratio."""
_LONG = [LENGTH_NAMES.index(name) for name in ("trunk", "thigh", "shank", "upper_arm")]


@dataclass(frozen=True, slots=True)
class BirthParams:
    """What a start must show to be a body."""

    start: StartParams = field(default_factory=StartParams)
    one_view: OneViewParams = field(default_factory=OneViewParams)
    inertial: InertialStartParams = field(default_factory=InertialStartParams)
    landmarks: LandmarkParams = field(default_factory=LandmarkParams)
    iterations: int = 30
    sigma_m: float = 0.02
    """Added to the triangulation's own error in the fit of a start: the body is not ours yet."""
    misfit_m: float = 0.12
    """Landmarks that the fitted body misses by more than this (median) are not those of a body."""
    candidates: int = 6
    """So many readings of one picture are fitted."""
    view_cost: float = 4.0
    """Mean cost of a landmark (``reprojection_cost``) from which a picture is not that of a body."""


class Sight(NamedTuple):
    """One detection in one picture, in the order of ``reprojection_cost``."""

    pixels: Float64
    """[K, 2], NaN where not to be used."""
    scores: Float64
    """[K], 0 where not to be used."""
    camera: Camera


class Births:
    """Fits new bodies. Holds scratch arrays only.

    Args:
        subject: what is known of the wearer beforehand.
        params: see there.
        updater: for states without IMUs.
    """

    def __init__(self, subject: Subject, params: BirthParams, updater: Updater) -> None:
        self.subject = subject
        self.params = params
        self._updater = updater
        self._body = make_body()

    def from_points(
        self, set_name: str, points_m: Float64, variance_m2: Float64, time_ns: int, lengths_m: Float64 | None
    ) -> State | None:
        """A body at world landmarks [K, 3] with variance [K]; None where they do not make a plausible one."""
        coordinates = pose_from_landmarks(catalog.landmark_set(set_name), points_m)
        if coordinates is None:
            return None
        state = wide_state(coordinates, time_ns, self.params.start, self.subject.stature_m, lengths_m)
        variance = variance_m2 + self.params.sigma_m**2
        placed = catalog.attachments(set_name)
        if not self._fits(state, [Landmarks3DMeasurement(time_ns, "start", placed, points_m, variance)]):
            return None
        misfits_m = np.linalg.norm(self.landmarks_of(state.nominal, set_name) - points_m, axis=1)
        return state if np.nanmedian(misfits_m) < self.params.misfit_m else None

    def from_views(
        self, set_name: str, sights: Sequence[Sight], time_ns: int, lengths_m: Float64 | None
    ) -> State | None:
        """A body that one picture shows, or several of one moment: the likeliest of their readings.

        Each picture by itself proposes poses, with both depth branches of each bone; all pictures together
        judge them. None where none is plausible.
        """
        p, names = self.params, catalog.landmark_set(set_name)
        measurements = [self._measurement(set_name, sight, time_ns) for sight in sights]
        scale = (self.subject.stature_m or REFERENCE_STATURE_M) / REFERENCE_STATURE_M
        expected = REFERENCE_LENGTHS_M * scale if lengths_m is None else lengths_m

        def misfit(state: State) -> float:
            return sum(reprojection_cost(names, *sight, state, p.one_view) for sight in sights)

        def widen(coordinates: Float64) -> State:
            state = one_view_state(
                coordinates,
                sights[0].camera,
                time_ns,
                p.start,
                self.subject.stature_m,
                lengths_m,
                params=p.one_view,
            )
            if len(sights) == 1:
                state.stereo_ns = NEVER_NS
            return state

        def fit(state: State) -> float:
            return misfit(state) if self._fits(state, measurements) else np.inf

        each = max(1, p.candidates // len(sights))
        readings = [
            reading for sight in sights for reading in candidates_from_view(names, *sight, expected, each, p.one_view)
        ]
        best = best_start(readings, widen, fit)
        if best is None:
            return None
        seen = sum(int((sight.scores >= p.one_view.min_score).sum()) for sight in sights)
        return best[0] if misfit(best[0]) < p.view_cost * seen else None

    def _measurement(self, set_name: str, sight: Sight, time_ns: int) -> Landmarks2DMeasurement:
        placed = catalog.attachments(set_name)
        return Landmarks2DMeasurement(
            time_ns,
            camera_arrays(sight.camera),
            sight.camera.height,
            sight.camera.name,
            placed,
            sight.pixels,
            placed.sigma_scale**2 / np.maximum(sight.scores, self.params.one_view.min_score),
            self.params.landmarks,
        )

    def from_orientations(
        self, q_world_from_segment: Float64, segments: Int64, time_ns: int, *, still: bool = False
    ) -> State:
        """A body whose segments [M] stand at the orientations [M, 4], somewhere.

        Sensors without a magnetometer share no heading: the wearer is taken to face ahead, as in a calibration pose.
        One who stands ``still`` and really is in that pose is known much better.
        """
        aligned = with_body_heading(q_world_from_segment, segments)
        widths = self.params.inertial
        subject = self.subject
        state = inertial_state(
            aligned,
            segments,
            time_ns,
            self.params.start,
            subject.stature_m,
            subject.lengths_m,
            widths=widths,
            posed=still and stands_posed(q_world_from_segment, segments, widths.near_rad),
        )
        state.stereo_ns = NEVER_NS
        return state

    def landmarks_of(self, nominal: Float64, set_name: str) -> Float64:
        """World landmarks [K, 3] of a body at ``nominal`` [n]."""
        placed = catalog.attachments(set_name)
        points = np.empty((len(placed.segment), 3))
        landmark_points(TABLES, self._body, nominal, placed.segment, placed.unit_offset, placed.length, points)
        return points

    def _fits(self, state: State, measurements: Sequence[Measurement]) -> bool:
        """Update a start until it settles; whether it is then a body."""
        taken = self._updater.apply(state, measurements, self.params.iterations) >= 0
        return taken and plausible(state, self.subject.stature_m)


def plausible(state: State, stature_m: float | None = None) -> bool:
    """Whether a fitted start is a body: finite, joints and bones within reach of what people (so tall) have."""
    if not np.isfinite(state.nominal).all():
        return False
    low, high = coordinate_limits()
    pose = state.coordinates
    if ((pose < low - _SLACK_RAD) | (pose > high + _SLACK_RAD)).any():
        return False
    scale = (stature_m or REFERENCE_STATURE_M) / REFERENCE_STATURE_M
    departure = np.abs(state.nominal[LENGTH] - np.log(REFERENCE_LENGTHS_M * scale))
    return bool(departure[_LONG].max() < _STATURE_SHARE)
