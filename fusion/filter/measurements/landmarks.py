"""Landmarks on the body, seen in a picture (2D) or placed in the world (3D)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from fusion.body.catalog import Attachments
from fusion.body.kinematics import TABLES, BodyTables, body_forward, point_jacobian
from fusion.filter.state import LENGTH_COLUMN, State
from fusion.filter.system import Body, Measurement, System, add_feature, add_observation, drop_observation, usable
from fusion.maths.camera import CameraArrays, project_point
from fusion.maths.kernels import rotate_into, rotated
from fusion.records import Bool, Float64, Int64

_CHI2_2_MEDIAN = 2.0 * math.log(2.0)
"""Median of a chi-square variable with two degrees of freedom."""


_RATIO_MAX = 10.0
"""One picture moves the learned scale no faster than this ratio of squares."""


_LEARN_FROM = 4
"""Fewer landmarks in a picture say nothing of the detector's noise."""


@dataclass(frozen=True, slots=True)
class LandmarkParams:
    """How far landmarks are trusted."""

    noise_share: float = 0.005
    """Standard deviation at first, as a share of the picture's height."""
    noise_share_min: float = 0.002
    """The learned scale goes no lower: no detector and no body model is better."""
    noise_share_max: float = 0.03
    """The learned scale goes no higher."""
    noise_memory: float = 200.0
    """How many pictures the learned scale looks back."""
    min_score: float = 0.3
    """Landmarks that the detector trusts less are left out."""


class PlacedLandmarks(NamedTuple):
    """``Attachments`` as the kernels take them."""

    identity: int
    segment: Int64
    unit_offset: Float64
    length: Int64


@lru_cache(maxsize=64)
def placed_landmarks(placed: Attachments) -> PlacedLandmarks:
    """The arrays of a landmark set on the body."""
    return PlacedLandmarks(placed.identity, placed.segment, placed.unit_offset, placed.length)


@njit(cache=True, inline="always")
def landmark_feature(
    tables: BodyTables, body: Body, system: System, segment: int, unit_offset: Float64, length: int
) -> int:
    """A landmark on a segment as a feature: its world position and Jacobian; -1 where there is no room."""
    f = add_feature(system, 3)
    if f < 0:
        return f
    q = body.quaternions[segment]
    scale = body.lengths_m[length]
    moved = rotated((q[0], q[1], q[2], q[3]), (scale * unit_offset[0], scale * unit_offset[1], scale * unit_offset[2]))
    for i in range(3):
        system.value[f, i] = body.positions[segment, i] + moved[i]
        system.jacobian[f, i, LENGTH_COLUMN + length] = moved[i]
    point_jacobian(
        tables,
        body.lengths_m,
        body.positions,
        body.quaternions,
        body.axes_world,
        segment,
        system.value[f],
        system.jacobian[f],
        LENGTH_COLUMN,
    )
    return f


@njit(cache=True, inline="always")
def _shared_feature(
    tables: BodyTables, body: Body, system: System, placed: PlacedLandmarks, k: int, sharing: bool
) -> int:
    """The feature of landmark k, which all views of one landmark set share."""
    if sharing and system.landmark[k] >= 0:
        return int(system.landmark[k])
    f = landmark_feature(tables, body, system, placed.segment[k], placed.unit_offset[k], placed.length[k])
    if sharing:
        system.landmark[k] = f
    return f


@njit(cache=True, inline="always")
def _shares(system: System, placed: PlacedLandmarks) -> bool:
    """Whether this is the landmark set whose features are shared in this update: the first one that came."""
    if placed.segment.shape[0] > system.landmark.shape[0]:
        return False
    if system.filled[3] < 0:
        system.filled[3] = placed.identity
    return bool(system.filled[3] == placed.identity)


@njit(cache=True)
def landmark_points(
    tables: BodyTables,
    body: Body,
    nominal: Float64,
    segment: Int64,
    unit_offset: Float64,
    length: Int64,
    points: Float64,
) -> None:
    """World positions of landmarks at ``nominal`` [n], into ``points`` [K, 3]; ``body`` is scratch."""
    for i in range(body.lengths_m.shape[0]):
        body.lengths_m[i] = math.exp(nominal[LENGTH_COLUMN + i])
    body_forward(tables, nominal, body.lengths_m, body.positions, body.quaternions, body.axes_world)
    offset = np.empty(3)
    for k in range(segment.shape[0]):
        if segment[k] < 0:
            points[k, :] = np.nan
            continue
        for i in range(3):
            offset[i] = unit_offset[k, i] * body.lengths_m[length[k]]
        rotate_into(body.quaternions[segment[k]], offset, points[k])
        for i in range(3):
            points[k, i] += body.positions[segment[k], i]


class ViewCameras(NamedTuple):
    """The cameras of V views, stacked field by field (``fusion.maths.camera.CameraArrays``)."""

    rotation: Float64
    translation: Float64
    intrinsics: Float64
    distortion: Float64
    fisheye: Bool
    reach_squared: Float64


@njit(cache=True)
def landmark2d_rows(
    tables: BodyTables,
    body: Body,
    system: System,
    cameras: ViewCameras,
    placed: PlacedLandmarks,
    pixels: Float64,
    variance: Float64,
) -> None:
    """Append two components a landmark and view, each view in a group of its own.

    Args:
        tables: the skeleton.
        body: kinematics.
        system: appended to; its group goes up by one a view after the first.
        cameras: V of them.
        placed: K landmarks.
        pixels: [V, K, 2] distorted; what is no number or out of view is left out.
        variance: [V, K] px^2.
    """
    sharing = _shares(system, placed)
    first = system.filled[2]
    for v in range(pixels.shape[0]):
        system.filled[2] = first + v
        camera = CameraArrays(
            cameras.rotation[v],
            cameras.translation[v],
            cameras.intrinsics[v],
            cameras.distortion[v],
            cameras.fisheye[v],
            cameras.reach_squared[v],
        )
        for k in range(placed.segment.shape[0]):
            if placed.segment[k] < 0 or not usable(pixels[v, k], variance[v, k]):
                continue
            f = _shared_feature(tables, body, system, placed, k, sharing)
            o = add_observation(system, f, 2, k)
            if o < 0:
                return
            system.robust[o] = 2
            if project_point(camera, system.value[f], system.residual[o], system.h[o]) <= 0.0:
                drop_observation(system)
                continue
            for i in range(2):
                system.residual[o, i] = pixels[v, k, i] - system.residual[o, i]
                system.variance[o, i] = variance[v, k]


@njit(cache=True)
def landmark3d_rows(
    tables: BodyTables, body: Body, system: System, placed: PlacedLandmarks, positions: Float64, variance: Float64
) -> None:
    """Append three components a landmark: world positions [K, 3] with isotropic variance [K] m^2.

    What is no number is left out.
    """
    sharing = _shares(system, placed)
    for k in range(placed.segment.shape[0]):
        if placed.segment[k] < 0 or not usable(positions[k], variance[k]):
            continue
        f = _shared_feature(tables, body, system, placed, k, sharing)
        o = add_observation(system, f, 3, k)
        if o < 0:
            return
        system.robust[o] = 2
        for i in range(3):
            system.residual[o, i] = positions[k, i] - system.value[f, i]
            system.variance[o, i] = variance[k]


@njit(cache=True)
def median_square(system: System, group: int, least: int) -> float:
    """Median of the squared residuals over variance of a group's observations; -1 for fewer than ``least``."""
    count = 0
    squares = system.sorted
    for o in range(system.filled[1]):
        if system.group[o] != group or system.robust[o] == 0:
            continue
        square = 0.0
        for i in range(system.components[o]):
            square += system.residual[o, i] ** 2 / system.variance[o, i]
        # Insertion keeps the few values in order without another array.
        place = count
        while place > 0 and squares[place - 1] > square:
            squares[place] = squares[place - 1]
            place -= 1
        squares[place] = square
        count += 1
    if count < least:
        return -1.0
    return float(0.5 * (squares[(count - 1) // 2] + squares[count // 2]))


@njit(cache=True)
def mark_seen(system: System, groups: int, segment: Int64, time_ns: int, trust: float, measured_ns: Int64) -> None:
    """Stamp the segments [23] whose landmarks were accepted, in so many groups from the system's own on."""
    first = system.filled[2]
    for o in range(system.filled[1]):
        mine = first <= system.group[o] < first + groups
        if mine and system.robust[o] != 0 and system.weight[o] > trust:
            measured_ns[segment[system.source[o]]] = time_ns


@njit(cache=True)
def learned_noise(system: System, views: int, noise: float, memory: float, least: float, most: float) -> float:
    """The scale of the landmarks' noise after so many views, the system's group and those after: it follows medians."""
    for v in range(views):
        median = median_square(system, system.filled[2] + v, _LEARN_FROM)
        if median >= 0.0:
            ratio = min(median / _CHI2_2_MEDIAN, _RATIO_MAX)
            noise *= math.sqrt(1.0 - 1.0 / memory + ratio / memory)
            noise = min(max(noise, least), most)
    return noise


_STEREO_NS = 200_000_000
"""Two cameras that show a person within this time tell of the lengths as one moment's views do."""
_WEIGHT_OF_TRUST = 0.5
"""A landmark with a smaller robust weight is taken for an outlier when joints are called measured."""


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks2DMeasurement:
    """One person's landmarks in one picture."""

    time_ns: int
    camera: CameraArrays
    image_height: int
    source: str
    """Orders the views of one moment, so that their order of arrival does not matter."""
    placed: Attachments
    pixels: Float64
    """[K, 2] distorted; NaN where not used."""
    relative_variance: Float64
    """[K] variance over the square of the camera's noise scale."""
    params: LandmarkParams

    @property
    def linear(self) -> bool:
        """See ``Measurement``."""
        return False

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """See ``Measurement``."""
        Views((self,)).add_rows(state, nominal, body, system)

    def learn(self, state: State, system: System) -> None:
        """See ``Views``."""
        Views((self,)).learn(state, system)


_stacked: dict[tuple[int, ...], tuple[tuple[CameraArrays, ...], ViewCameras]] = {}
_MOST_STACKED = 256
"""Sets of cameras that are kept stacked: which cameras see a person changes, but not endlessly."""


def stack_cameras(cameras: tuple[CameraArrays, ...]) -> ViewCameras:
    """Cameras field by field, kept for the next time: the same objects come with every picture."""
    key = tuple(id(camera) for camera in cameras)
    found = _stacked.get(key)
    if found is None:
        if len(_stacked) >= _MOST_STACKED:
            _stacked.clear()
        stacked = ViewCameras(*(np.stack([np.asarray(part) for part in parts]) for parts in zip(*cameras, strict=True)))
        # The cameras themselves are kept too, or another one might come to have their identity.
        found = _stacked[key] = cameras, stacked
    return found[1]


class Views:
    """The pictures that show one person at one time with one landmark set, taken in together."""

    def __init__(self, views: tuple[Landmarks2DMeasurement, ...]) -> None:
        """Views of one time, landmark set and parameters."""
        self.views = views
        first = views[0]
        self.time_ns = first.time_ns
        self.sources = tuple(view.source for view in views)
        self.source = first.source
        self.linear = False
        self._params = first.params
        self._placed = placed_landmarks(first.placed)
        self._cameras = stack_cameras(tuple(view.camera for view in views))
        self._pixels = np.stack([view.pixels for view in views])
        self._relative = np.stack([view.relative_variance * float(view.image_height) ** 2 for view in views])

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """See ``Measurement``."""
        if state.landmark_noise <= 0.0:
            state.landmark_noise = self._params.noise_share
        variance = self._relative * state.landmark_noise**2
        landmark2d_rows(TABLES, body, system, self._cameras, self._placed, self._pixels, variance)

    def learn(self, state: State, system: System) -> None:
        """Mark joints seen, and follow the scale of the residuals slowly, by their median."""
        p = self._params
        other = state.seen_by not in ("", self.source) and self.time_ns - state.seen_ns < _STEREO_NS
        if len(self.views) > 1 or other:
            state.stereo_ns = self.time_ns
        state.seen_by, state.seen_ns = self.sources[-1], self.time_ns
        mark_seen(system, len(self.views), self._placed.segment, self.time_ns, _WEIGHT_OF_TRUST, state.measured_ns)
        state.landmark_noise = learned_noise(
            system, len(self.views), state.landmark_noise, p.noise_memory, p.noise_share_min, p.noise_share_max
        )


def together(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The same measurements, with the views of one landmark set as one."""
    out: list[Measurement] = []
    views: dict[int, list[Landmarks2DMeasurement]] = {}
    for measurement in measurements:
        if isinstance(measurement, Landmarks2DMeasurement):
            views.setdefault(id(measurement.placed), []).append(measurement)
        else:
            out.append(measurement)
    return [*(Views(tuple(group)) for group in views.values()), *out]


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks3DMeasurement:
    """One person's landmarks in the world."""

    time_ns: int
    source: str
    placed: Attachments
    positions_m: Float64
    """[K, 3] world; NaN where not used."""
    variance_m2: Float64
    """[K]."""

    @property
    def linear(self) -> bool:
        """See ``Measurement``."""
        return False

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """See ``Measurement``."""
        landmark3d_rows(TABLES, body, system, placed_landmarks(self.placed), self.positions_m, self.variance_m2)

    def learn(self, state: State, system: System) -> None:
        """Mark joints seen."""
        state.stereo_ns = self.time_ns
        mark_seen(system, 1, self.placed.segment, self.time_ns, _WEIGHT_OF_TRUST, state.measured_ns)
