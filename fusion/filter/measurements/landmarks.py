"""Landmarks on the body, seen in a picture (2D) or placed in the world (3D)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from fusion.body.catalog import Attachments
from fusion.body.kinematics import TABLES, BodyTables, body_forward, point_jacobian
from fusion.filter.measurements.rows import MAX_ROWS, Body, Rows, usable
from fusion.filter.state import ERRORS, LENGTH_COLUMN, RATE_COLUMN, State
from fusion.maths.camera import CameraArrays, project_point
from fusion.maths.kernels import rotate_into
from fusion.records import Float64, Int64

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


@njit(cache=True)
def _attached_point(
    tables: BodyTables,
    body: Body,
    segment: int,
    unit_offset: Float64,
    length: int,
    point: Float64,
    jacobian: Float64,
) -> None:
    """World position [3] and Jacobian [3, 99] of a landmark on a segment."""
    offset = np.empty(3)
    moved = np.empty(3)
    for i in range(3):
        offset[i] = unit_offset[i] * body.lengths_m[length]
    rotate_into(body.quaternions[segment], offset, moved)
    jacobian[:] = 0.0
    for i in range(3):
        point[i] = body.positions[segment, i] + moved[i]
        jacobian[i, LENGTH_COLUMN + length] = moved[i]
    point_jacobian(
        tables,
        body.lengths_m,
        body.positions,
        body.quaternions,
        body.axes_world,
        segment,
        point,
        jacobian,
        LENGTH_COLUMN,
    )


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
    """World positions of landmarks at ``nominal`` [99], into ``points`` [K, 3]; ``body`` is scratch."""
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


@njit(cache=True)
def landmark2d_rows(
    tables: BodyTables,
    body: Body,
    rows: Rows,
    camera: CameraArrays,
    segment: Int64,
    unit_offset: Float64,
    length: Int64,
    pixels: Float64,
    variance: Float64,
) -> None:
    """Append two rows a landmark: pixels [K, 2] with variance [K] px^2.

    What is no number or out of view is left out.
    """
    point = np.empty(3)
    pixel = np.empty(2)
    to_pixel = np.empty((2, 3))
    to_point = np.empty((3, ERRORS))
    for k in range(segment.shape[0]):
        n = rows.filled[0]
        if segment[k] < 0 or not usable(pixels[k], variance[k]) or n + 2 > MAX_ROWS:
            continue
        _attached_point(tables, body, segment[k], unit_offset[k], length[k], point, to_point)
        if project_point(camera, point, pixel, to_pixel) <= 0.0:
            continue
        for i in range(2):
            rows.residual[n + i] = pixels[k, i] - pixel[i]
            rows.variance[n + i] = variance[k]
            rows.block[n + i] = n
            rows.robust[n + i] = 1
            rows.source[n + i] = k
            a, b, d = to_pixel[i, 0], to_pixel[i, 1], to_pixel[i, 2]
            rows.jacobian[n + i, :] = 0.0
            for c in range(RATE_COLUMN):
                rows.jacobian[n + i, c] = a * to_point[0, c] + b * to_point[1, c] + d * to_point[2, c]
            for c in range(LENGTH_COLUMN, ERRORS):
                rows.jacobian[n + i, c] = a * to_point[0, c] + b * to_point[1, c] + d * to_point[2, c]
        rows.filled[0] = n + 2


@njit(cache=True)
def landmark3d_rows(
    tables: BodyTables,
    body: Body,
    rows: Rows,
    segment: Int64,
    unit_offset: Float64,
    length: Int64,
    positions: Float64,
    variance: Float64,
) -> None:
    """Append three rows a landmark: world positions [K, 3] with isotropic variance [K] m^2.

    What is no number is left out.
    """
    point = np.empty(3)
    to_point = np.empty((3, ERRORS))
    for k in range(segment.shape[0]):
        n = rows.filled[0]
        if segment[k] < 0 or not usable(positions[k], variance[k]) or n + 3 > MAX_ROWS:
            continue
        _attached_point(tables, body, segment[k], unit_offset[k], length[k], point, to_point)
        for i in range(3):
            rows.residual[n + i] = positions[k, i] - point[i]
            rows.variance[n + i] = variance[k]
            rows.block[n + i] = n
            rows.robust[n + i] = 1
            rows.source[n + i] = k
            for c in range(ERRORS):
                rows.jacobian[n + i, c] = to_point[i, c]
        rows.filled[0] = n + 3


@njit(cache=True)
def median_square(rows: Rows, least: int) -> float:
    """Median of the squared residuals over variance of all 2D landmarks; -1 for fewer than ``least``."""
    squares = np.empty(MAX_ROWS // 2)
    count = 0
    for n in range(rows.filled[0] - 1):
        if rows.robust[n] == 1 and rows.block[n] == n and rows.block[n + 1] == n:
            squares[count] = (rows.residual[n] ** 2 + rows.residual[n + 1] ** 2) / rows.variance[n]
            count += 1
    return float(np.median(squares[:count])) if count >= least else -1.0


@njit(cache=True)
def mark_seen(rows: Rows, weights: Float64, segment: Int64, time_ns: int, trust: float, measured_ns: Int64) -> None:
    """Stamp the segments [23] whose landmarks were accepted."""
    for n in range(rows.filled[0]):
        if rows.robust[n] == 1 and weights[n] > trust:
            measured_ns[segment[rows.source[n]]] = time_ns


_WEIGHT_OF_TRUST = 0.5
"""A landmark with a smaller robust weight is taken for an outlier when joints are called measured."""


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks2DMeasurement:
    """One person's landmarks in one picture."""

    time_ns: int
    camera: CameraArrays
    image_height: int
    source: str
    """Breaks ties between measurements of one time, so that their order of arrival does not matter."""
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

    def add_rows(self, state: State, nominal: Float64, body: Body, rows: Rows) -> None:
        """See ``Measurement``."""
        if state.landmark_noise <= 0.0:
            state.landmark_noise = self.params.noise_share
        variance = self.relative_variance * (state.landmark_noise * self.image_height) ** 2
        placed = self.placed
        landmark2d_rows(
            TABLES, body, rows, self.camera, placed.segment, placed.unit_offset, placed.length, self.pixels, variance
        )

    def learn(self, state: State, weights: Float64, rows: Rows) -> None:
        """Mark joints seen, and follow the scale of the residuals slowly, by their median."""
        mark_seen(rows, weights, self.placed.segment, self.time_ns, _WEIGHT_OF_TRUST, state.measured_ns)
        median = median_square(rows, _LEARN_FROM)
        if median < 0.0:
            return
        ratio = median / _CHI2_2_MEDIAN
        p = self.params
        forget = 1.0 / p.noise_memory
        scale = state.landmark_noise * math.sqrt(1.0 - forget + forget * min(ratio, _RATIO_MAX))
        state.landmark_noise = min(max(scale, p.noise_share_min), p.noise_share_max)


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

    def add_rows(self, state: State, nominal: Float64, body: Body, rows: Rows) -> None:
        """See ``Measurement``."""
        placed = self.placed
        landmark3d_rows(
            TABLES, body, rows, placed.segment, placed.unit_offset, placed.length, self.positions_m, self.variance_m2
        )

    def learn(self, state: State, weights: Float64, rows: Rows) -> None:
        """Mark joints seen."""
        mark_seen(rows, weights, self.placed.segment, self.time_ns, _WEIGHT_OF_TRUST, state.measured_ns)
