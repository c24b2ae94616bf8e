"""The frames that all tools are given: a real motion, seen by simulated cameras at the same times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion.body import catalog
from fusion.estimators.camera.triangulation import TriangulationParams, triangulate
from fusion.filter.start import pose_from_landmarks
from fusion.records import Array, Float64, Landmarks2D
from fusion.rig import Rig
from fusion.synthesis.motion import BodyMotion
from fusion.synthesis.params import DetectorParams, RingParams
from fusion.synthesis.simulation import Lab, Simulation, simulated_rig
from fusion.synthesis.wearer import Wearer

MIN_SCORE = 0.3
"""Landmarks that the detector trusts less are used by nobody (as in ``LandmarkParams.min_score``)."""


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """One wearer in synchronised views."""

    rig: Rig
    landmark_set: str
    lengths_m: Float64
    """[11] the wearer's own."""
    times_ns: Array
    """[T] int64."""
    views: tuple[tuple[Landmarks2D, ...], ...]
    """[T] of one record a camera that saw somebody."""
    points_m: Float64
    """[T, K, 3] robustly triangulated; NaN where fewer than two views agree."""
    truth_m: Float64
    """[T, K, 3] where the landmarks' places on the body really were."""
    start: Float64
    """[44] coordinates near the first frame."""


def motion_lab(cameras: int, detector: DetectorParams | None = None) -> Lab:
    """A ring of cameras alone: nobody is missed, so that every frame has all views, and nothing is grossly wrong.

    Plain least squares cannot stand gross errors and takes two to three times as many steps with them; a
    filter's update costs the same. So their absence is in the other tools' favour.
    """
    return Lab(
        ring=RingParams(count=cameras),
        detector=detector or DetectorParams(miss_share=0.0, outlier_share=0.0),
        imus=None,
        radars=None,
    )


def frames_of(motion: BodyMotion, *, cameras: int, duration_s: float, seed: int = 1) -> Frames:
    """Frames of a movement from a ring of cameras.

    Raises:
        ValueError: if no start can be made from the first frame.
    """
    lab = motion_lab(cameras)
    wearer = Wearer(1, motion)
    length_s = min(duration_s, motion.duration_s) if not motion.periodic else duration_s
    views = _views(lab, wearer, length_s, seed)
    times = np.array(sorted(views), dtype=np.int64)
    ordered = tuple(tuple(views[time]) for time in times)
    rig = simulated_rig(lab)
    points = np.stack([triangulated(rig, group) for group in ordered])
    name = lab.detector.landmark_set
    positions, quaternions = motion.pose(times / 1e9)
    start = pose_from_landmarks(catalog.landmark_set(name), points[0])
    if start is None:
        raise ValueError("the first frame shows too little of the body to start from")
    return Frames(
        rig=rig,
        landmark_set=name,
        lengths_m=motion.lengths_m,
        times_ns=times,
        views=ordered,
        points_m=points,
        truth_m=catalog.landmark_positions_batch(name, positions, quaternions, motion.lengths_m),
        start=start,
    )


def triangulated(rig: Rig, group: tuple[Landmarks2D, ...]) -> Float64:
    """World landmarks [K, 3] of the first person in each of these views; NaN where fewer than two agree."""
    cameras = [rig.camera(record.camera) for record in group]
    pixels = np.stack([record.pixels[0].astype(np.float64) for record in group])
    scores = np.stack([record.scores[0].astype(np.float64) for record in group])
    scores = np.where((scores >= MIN_SCORE) & np.isfinite(pixels).all(-1), scores, 0.0)
    return triangulate(cameras, pixels, scores, TriangulationParams()).points_m


def _views(lab: Lab, wearer: Wearer, duration_s: float, seed: int) -> dict[int, list[Landmarks2D]]:
    """Records by exposure, the cameras in their order."""
    simulation = Simulation(lab, (wearer,), seed=seed, origin_ns=0, duration_s=duration_s)
    views: dict[int, list[Landmarks2D]] = {}
    while (emission := simulation.pop()) is not None:
        record = emission.record
        if isinstance(record, Landmarks2D) and len(record.pixels):
            views.setdefault(record.measured_ns, []).append(record)
    order = {name: index for index, name in enumerate(lab.camera_names)}
    for group in views.values():
        group.sort(key=lambda record: order[record.camera])
    return views
