"""2D landmarks of people by BlazePose: find a person once, then follow with a turned square crop.

Source: Bazarevsky et al., "BlazePose: On-device Real-time Body Pose Tracking",
arXiv:2006.10204; constants and tensor layouts are those of the published
``pose_detection`` and ``pose_landmark`` networks. Differs from the authors'
pipeline in that landmarks are not smoothed over time (that is the filter's
work) and that several people may be followed, each with a region of their own.

The networks and the picture warp come from outside as callables, so that this
module needs neither a runtime for networks nor an image library:

* a *network* takes a float32 tensor [1, S, S, 3], RGB, and returns its output tensors by name;
* a *warp* cuts a square out of a picture: ``warp(picture, picture_from_crop, side)`` returns uint8
  [side, side, 3] whose pixel u (x, y) is the picture's at ``picture_from_crop @ (u, 1)``, 0 outside.

Pictures are uint8 [height, width, 3], BGR.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fusion.records import Float32, Float64, UInt8

Network = Callable[[Float32], Mapping[str, Float32]]
Warp = Callable[[UInt8, Float64, int], UInt8]

LANDMARK_SET = "blazepose_33"
LANDMARKS = 33
LANDMARKS_OUT = 39
"""33 of the body, two that place the next crop, four that are not used."""
CROP_CENTRE = 33
CROP_EDGE = 34

DETECTOR_SIDE = 224
LANDMARK_SIDE = 256
ANCHOR_GRIDS = ((28, 2), (14, 2), (7, 6))
"""Cells on a side of each feature map and anchors in each cell."""
BOX_VALUES = 12
"""Centre, size and four key points of a detection, two numbers each."""
SCORE_CLIP = 100.0
"""Logits beyond it overflow the exponential and change nothing."""
HALF_RANGE = 127.5
FULL_RANGE = 255.0


@dataclass(frozen=True, slots=True)
class BlazePoseParams:
    """Thresholds of detection, of following and of refinement."""

    max_people: int = 1
    detection_score: float = 0.5
    """Least probability of a detection."""
    overlap: float = 0.3
    """Detections with a larger intersection over union are of one person and are averaged."""
    crop_scale: float = 1.25
    """Side of the crop over twice the distance between its two key points."""
    person_score: float = 0.5
    """Least probability that a crop holds a person; below it the person is lost."""
    same_person: float = 0.25
    """Two crops are of one person when their centres are nearer than this part of the larger side."""
    search_every: int = 10
    """Pictures between two searches while fewer people than ``max_people`` are followed."""
    heat_window: int = 7
    """Side of the part of a landmark's heat map, cells, that refines it; 0 leaves landmarks as regressed."""
    heat_score: float = 0.5
    """Least probability in that part for it to be used."""


@dataclass(frozen=True, slots=True)
class Region:
    """A turned square of the picture around a person."""

    x_px: float
    y_px: float
    side_px: float
    angle_rad: float
    """Clockwise on the picture from upright: the crop's up direction, seen in the picture."""

    @property
    def usable(self) -> bool:
        """Whether it can be cut out at all."""
        finite = all(map(math.isfinite, (self.x_px, self.y_px, self.side_px, self.angle_rad)))
        return finite and self.side_px >= 1.0


@dataclass(frozen=True, slots=True)
class BlazePoseState:
    """All memory: the regions to look at in the next picture, and pictures since the last search."""

    regions: tuple[Region, ...] = ()
    since_search: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Pose2D:
    """One person in one picture."""

    pixels: Float32
    """[33, 2] picture pixels; landmarks outside the picture are extrapolated."""
    scores: Float32
    """[33] probability that the landmark is in the picture and not hidden."""
    person_score: float
    next_region: Region


@dataclass(frozen=True, slots=True)
class BlazePoseStep:
    """The people of one picture, and the memory for the next."""

    people: tuple[Pose2D, ...]
    state: BlazePoseState
    searched: bool
    """Whether the detector ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlazePose:
    """The estimator: parameters and the three callables; memory travels in ``BlazePoseState``."""

    detector: Network
    landmarker: Network
    warp: Warp
    params: BlazePoseParams = field(default_factory=BlazePoseParams)

    def step(self, picture: UInt8, state: BlazePoseState) -> BlazePoseStep:
        """People in the next picture.

        Args:
            picture: [height, width, 3] BGR.
            state: what the last step returned; ``BlazePoseState()`` at the beginning.
        """
        people = self._follow(picture, state.regions, [])
        lost = len(people) < len(state.regions)
        search = len(people) < self.params.max_people and (
            lost or not people or state.since_search >= self.params.search_every
        )
        if search:
            found = [find.region(self.params.crop_scale) for find in self.detect(picture)]
            people = self._follow(picture, tuple(found), people)
        regions = tuple(person.next_region for person in people)
        return BlazePoseStep(tuple(people), BlazePoseState(regions, 0 if search else state.since_search + 1), search)

    def _follow(self, picture: UInt8, regions: tuple[Region, ...], people: list[Pose2D]) -> list[Pose2D]:
        """Add the people in these regions, but nobody twice."""
        people = list(people)
        for region in regions:
            if len(people) >= self.params.max_people:
                break
            if self._is_known(region, people):
                continue
            person = self.landmarks(picture, region)
            if person is not None and not self._is_known(person.next_region, people):
                people.append(person)
        return people

    def _is_known(self, region: Region, people: list[Pose2D]) -> bool:
        return any(_near(region, person.next_region, self.params.same_person) for person in people)

    def detect(self, picture: UInt8) -> list[Detection]:
        """All people that the detector finds in the whole picture, the most certain first."""
        height, width = picture.shape[:2]
        frame = Region(0.5 * width, 0.5 * height, float(max(width, height)), 0.0)
        picture_from_crop = crop_matrix(frame, DETECTOR_SIDE)
        crop = self.warp(picture, picture_from_crop, DETECTOR_SIDE)
        tensor = crop[None, :, :, ::-1].astype(np.float32) / np.float32(HALF_RANGE) - np.float32(1.0)
        outputs = self.detector(tensor)
        detections = decode_detections(outputs["Identity"], outputs["Identity_1"], self.params)
        return [detection.moved(picture_from_crop) for detection in detections]

    def landmarks(self, picture: UInt8, region: Region) -> Pose2D | None:
        """Landmarks of the person in a region; None if the network sees no person there."""
        if not region.usable:
            return None
        picture_from_crop = crop_matrix(region, LANDMARK_SIDE)
        crop = self.warp(picture, picture_from_crop, LANDMARK_SIDE)
        outputs = self.landmarker(crop[None, :, :, ::-1].astype(np.float32) / np.float32(FULL_RANGE))
        person_score = float(outputs["Identity_1"].reshape(-1)[0])
        if not person_score > self.params.person_score:
            return None
        points, scores = decode_landmarks(outputs["Identity"])
        if self.params.heat_window > 0:
            points = refine(points, outputs["Identity_3"][0], self.params)
        pixels = apply_matrix(picture_from_crop, points)
        next_region = region_between(pixels[CROP_CENTRE], pixels[CROP_EDGE], self.params.crop_scale)
        if not (np.isfinite(pixels).all() and next_region.usable):
            return None
        return Pose2D(
            pixels=pixels[:LANDMARKS].astype(np.float32),
            scores=scores[:LANDMARKS].astype(np.float32),
            person_score=person_score,
            next_region=next_region,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """A person found by the detector."""

    score: float
    corners: Float64
    """[2, 2] upper left and lower right of the face box that the detector is trained on."""
    points: Float64
    """[4, 2] mid hip, a point on the circle around the body, and two more."""

    def moved(self, matrix: Float64) -> Detection:
        """The detection in other pixels."""
        return Detection(self.score, apply_matrix(matrix, self.corners), apply_matrix(matrix, self.points))

    def region(self, crop_scale: float) -> Region:
        """Where to look for landmarks."""
        return region_between(self.points[0], self.points[1], crop_scale)


def anchors() -> Float64:
    """Anchor centres [2254, 2] as parts of the detector's picture, in the order of its outputs."""
    centres = []
    for cells, copies in ANCHOR_GRIDS:
        along = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)
        centres.append(np.repeat(grid, copies, axis=0))
    return np.concatenate(centres)


_ANCHORS = anchors()


def decode_detections(boxes: Float32, logits: Float32, params: BlazePoseParams) -> list[Detection]:
    """People from the detector's tensors, averaged over overlapping boxes.

    Args:
        boxes: [1, 2254, 12] centre, size and four key points, detector pixels, relative to the anchors.
        logits: [1, 2254, 1].

    Returns:
        Detections in detector pixels, the most certain first.
    """
    scores = _sigmoid(logits.reshape(-1))
    chosen = np.flatnonzero(scores > params.detection_score)
    values = boxes.reshape(-1, BOX_VALUES)[chosen].astype(np.float64)
    offsets = _ANCHORS[chosen] * DETECTOR_SIDE
    centres, sizes = values[:, 0:2] + offsets, values[:, 2:4]
    corners = np.stack([centres - 0.5 * sizes, centres + 0.5 * sizes], axis=1)
    points = values[:, 4:].reshape(-1, 4, 2) + offsets[:, None, :]
    return weighted_suppression(scores[chosen], corners, points, params.overlap)


def weighted_suppression(scores: Float64, corners: Float64, points: Float64, overlap: float) -> list[Detection]:
    """Non-maximum suppression that averages what it suppresses, weighted by score.

    Args:
        scores: [D].
        corners: [D, 2, 2].
        points: [D, 4, 2].
        overlap: intersection over union from which on two boxes are of one person.
    """
    left = np.argsort(-scores, kind="stable")
    kept = []
    while left.size:
        best = left[0]
        same = _overlaps(corners[best], corners[left]) > overlap
        same[0] = True
        group, left = left[same], left[~same]
        weights = scores[group] / scores[group].sum()
        kept.append(
            Detection(
                float(scores[best]),
                np.einsum("d,dij->ij", weights, corners[group]),
                np.einsum("d,dij->ij", weights, points[group]),
            )
        )
    return kept


def _overlaps(box: Float64, boxes: Float64) -> Float64:
    """Intersection over union of a box [2, 2] with boxes [D, 2, 2]."""
    shared = np.prod(np.clip(np.minimum(box[1], boxes[:, 1]) - np.maximum(box[0], boxes[:, 0]), 0.0, None), axis=1)
    areas = np.prod(np.clip(boxes[:, 1] - boxes[:, 0], 0.0, None), axis=1)
    area = np.prod(np.clip(box[1] - box[0], 0.0, None))
    union = areas + area - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0.0))


def decode_landmarks(values: Float32) -> tuple[Float64, Float64]:
    """Landmarks from the network's tensor [1, 195]: x, y, z, visibility and presence of each.

    Returns:
        Points [39, 2] in crop pixels and scores [39]: the smaller of the probabilities
        that the landmark is in the picture and that it is not hidden.
    """
    table = values.reshape(LANDMARKS_OUT, -1).astype(np.float64)
    return table[:, 0:2], np.minimum(_sigmoid(table[:, 3]), _sigmoid(table[:, 4]))


def refine(points: Float64, heat: Float32, params: BlazePoseParams) -> Float64:
    """Move each landmark to the mean of its heat map near it, where the map is sure.

    Args:
        points: [39, 2] crop pixels.
        heat: [cells, cells, 39] logits.

    Returns:
        Points [39, 2] crop pixels.
    """
    cells = heat.shape[0]
    half = params.heat_window // 2
    to_cells = cells / LANDMARK_SIDE
    refined = points.copy()
    for index in range(LANDMARKS_OUT):
        if not np.isfinite(points[index]).all():
            continue
        column, row = (int(value) for value in np.clip(points[index] * to_cells, -half - 1, cells + half))
        columns = slice(max(0, column - half), min(cells, column + half + 1))
        rows = slice(max(0, row - half), min(cells, row + half + 1))
        part = _sigmoid(heat[rows, columns, index])
        if not part.size or part.max() < params.heat_score:
            continue
        total = part.sum()
        x = (part.sum(0) * np.arange(columns.start, columns.stop)).sum() / total
        y = (part.sum(1) * np.arange(rows.start, rows.stop)).sum() / total
        refined[index] = x / to_cells, y / to_cells
    return refined


def region_between(centre: Float64, edge: Float64, crop_scale: float) -> Region:
    """The region of a person from the mid hip and a point on the circle around the body, picture pixels."""
    dx, dy = float(edge[0] - centre[0]), float(edge[1] - centre[1])
    # pi/2 - atan2(-dy, dx) of the original, which is the angle from straight up, without its jump at the left.
    angle = math.atan2(dx, -dy)
    if angle == math.pi:
        angle = -math.pi
    return Region(float(centre[0]), float(centre[1]), 2.0 * math.hypot(dx, dy) * crop_scale, angle)


def crop_matrix(region: Region, side: int) -> Float64:
    """``picture_from_crop`` [2, 3] of a region that is cut out as ``side`` x ``side`` pixels."""
    scale = region.side_px / side
    cos, sin = scale * math.cos(region.angle_rad), scale * math.sin(region.angle_rad)
    half = 0.5 * side
    return np.array(
        [
            [cos, -sin, region.x_px - half * (cos - sin)],
            [sin, cos, region.y_px - half * (sin + cos)],
        ]
    )


def apply_matrix(matrix: Float64, points: Float64) -> Float64:
    """Points [N, 2] through an affine map [2, 3]."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def _near(one: Region, other: Region, part: float) -> bool:
    distance = math.hypot(one.x_px - other.x_px, one.y_px - other.y_px)
    return distance < part * max(one.side_px, other.side_px)


def _sigmoid(logits: Float32 | Float64) -> Float64:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -SCORE_CLIP, SCORE_CLIP).astype(np.float64))))
