"""BlazePose without its networks: geometry, decoding and the memory between pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.estimators.camera.blazepose import (
    CROP_CENTRE,
    CROP_EDGE,
    DETECTOR_SIDE,
    LANDMARK_SIDE,
    LANDMARKS_OUT,
    BlazePose,
    BlazePoseParams,
    BlazePoseState,
    Region,
    anchors,
    apply_matrix,
    crop_matrix,
    decode_detections,
    refine,
    region_between,
    weighted_suppression,
)
from fusion.records import Float32, Float64, UInt8

SURE = 20.0
"""A logit whose probability is 1 to within 2e-9."""

regions = st.builds(
    Region,
    x_px=st.floats(-500, 2000),
    y_px=st.floats(-500, 2000),
    side_px=st.floats(10, 3000),
    angle_rad=st.floats(-math.pi, math.pi, exclude_max=True),
)


def nearest_warp(picture: UInt8, picture_from_crop: Float64, side: int) -> UInt8:
    """The warp in plain numpy: nearest pixel, black outside."""
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    columns, rows = np.rint(apply_matrix(picture_from_crop, grid.astype(np.float64))).astype(int).T
    inside = (columns >= 0) & (columns < picture.shape[1]) & (rows >= 0) & (rows < picture.shape[0])
    crop = np.zeros((side * side, 3), dtype=np.uint8)
    crop[inside] = picture[rows[inside], columns[inside]]
    return crop.reshape(side, side, 3)


class Networks:
    """Networks that see coloured discs: red is the landmark 0, green the mid hip, blue the edge of the body.

    The detector finds one person for each green disc, in the order in which it meets them, with the
    edge that is nearest; the landmark network takes the disc that is nearest to the crop's centre.
    """

    def __init__(self) -> None:
        self.detector_runs = 0
        self.landmark_runs = 0
        self.person_score = 1.0

    def detector(self, tensor: Float32) -> Mapping[str, Float32]:
        assert tensor.shape == (1, DETECTOR_SIDE, DETECTOR_SIDE, 3)
        assert tensor.min() >= -1.0
        assert tensor.max() <= 1.0
        self.detector_runs += 1
        boxes = np.zeros((1, 2254, 12), dtype=np.float32)
        logits = np.full((1, 2254, 1), -SURE, dtype=np.float32)
        offsets = anchors() * DETECTOR_SIDE
        for index, hip in enumerate(blobs(tensor[0], 1, 0.5)):
            edge = min(blobs(tensor[0], 2, 0.5), key=lambda point: float(np.linalg.norm(point - hip)))
            boxes[0, index, 0:4] = (*(hip - offsets[index]), 20.0, 20.0)
            boxes[0, index, 4:6], boxes[0, index, 6:8] = hip - offsets[index], edge - offsets[index]
            logits[0, index] = SURE - index
        return {"Identity": boxes, "Identity_1": logits}

    def landmarker(self, tensor: Float32) -> Mapping[str, Float32]:
        assert tensor.shape == (1, LANDMARK_SIDE, LANDMARK_SIDE, 3)
        assert tensor.min() >= 0.0
        assert tensor.max() <= 1.0
        self.landmark_runs += 1
        table = np.zeros((LANDMARKS_OUT, 5), dtype=np.float32)
        table[:, 3:] = SURE
        found = [central(blobs(tensor[0], channel, 0.8)) for channel in range(3)]
        seen = all(point is not None for point in found)
        for index, point in zip((0, CROP_CENTRE, CROP_EDGE), found, strict=True):
            table[index, 0:2] = (0.0, 0.0) if point is None else point
        return {
            "Identity": table.reshape(1, -1),
            "Identity_1": np.array([[self.person_score if seen else 0.0]], dtype=np.float32),
            "Identity_3": np.full((1, 64, 64, LANDMARKS_OUT), -SURE, dtype=np.float32),
        }

    def estimator(self, **params: Any) -> BlazePose:
        return BlazePose(
            detector=self.detector, landmarker=self.landmarker, warp=nearest_warp, params=BlazePoseParams(**params)
        )


def blobs(pixels: Float32, channel: int, level: float) -> list[Float64]:
    """Centres of the discs of one colour, left to right; discs are farther apart than they are wide."""
    others = [index for index in range(3) if index != channel]
    rows, columns = np.nonzero((pixels[:, :, channel] > level) & (pixels[:, :, others].max(-1) < level))
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    centres = []
    while len(points):
        near = np.linalg.norm(points - points[points[:, 0].argmin()], axis=1) < 25
        centres.append(points[near].mean(0))
        points = points[~near]
    return centres


def central(points: list[Float64]) -> Float64 | None:
    middle = np.full(2, 0.5 * LANDMARK_SIDE)
    return min(points, key=lambda point: float(np.linalg.norm(point - middle)), default=None)


def draw(*people: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]) -> UInt8:
    """A picture 640x480, BGR, with red, green and blue discs at the given places."""
    picture = np.zeros((480, 640, 3), dtype=np.uint8)
    rows, columns = np.mgrid[0:480, 0:640]
    for places in people:
        for (x, y), channel in zip(places, (2, 1, 0), strict=True):
            picture[(columns - x) ** 2 + (rows - y) ** 2 <= 8**2, channel] = 255
    return picture


ONE = ((300.0, 200.0), (320.0, 260.0), (330.0, 160.0))
OTHER = ((500.0, 220.0), (520.0, 270.0), (525.0, 180.0))


def test_anchors_are_cell_centres_of_three_grids() -> None:
    centres = anchors()
    assert centres.shape == (2254, 2)
    np.testing.assert_allclose(centres[:3] * DETECTOR_SIDE, [[4, 4], [4, 4], [12, 4]])
    np.testing.assert_allclose(centres[1568:1571] * DETECTOR_SIDE, [[8, 8], [8, 8], [24, 8]])
    np.testing.assert_allclose(centres[1960] * DETECTOR_SIDE, [16, 16])
    np.testing.assert_allclose(centres[-1] * DETECTOR_SIDE, [208, 208])


@given(region=regions)
def test_a_crop_is_a_similarity_with_the_regions_centre_and_side(region: Region) -> None:
    matrix = crop_matrix(region, 256)
    np.testing.assert_allclose(
        apply_matrix(matrix, np.array([[128.0, 128.0]]))[0], (region.x_px, region.y_px), atol=1e-9
    )
    np.testing.assert_allclose(matrix[:, :2] @ matrix[:, :2].T, np.eye(2) * (region.side_px / 256) ** 2, atol=1e-9)
    assert np.linalg.det(matrix[:, :2]) > 0


@given(region=regions)
def test_a_region_comes_back_from_its_own_key_points(region: Region) -> None:
    """The point straight up from the crop's centre, at half its side over the scale, is what made it."""
    edge = apply_matrix(crop_matrix(region, 256), np.array([[128.0, 128.0 - 128.0 / 1.25]]))[0]
    again = region_between(np.array([region.x_px, region.y_px]), edge, 1.25)
    assert again.side_px == pytest.approx(region.side_px)
    assert math.cos(again.angle_rad - region.angle_rad) == pytest.approx(1.0)
    assert -math.pi <= again.angle_rad < math.pi


def test_a_person_leaning_to_the_right_is_turned_clockwise() -> None:
    region = region_between(np.array([100.0, 100.0]), np.array([150.0, 100.0]), 1.25)
    assert region.angle_rad == pytest.approx(0.5 * math.pi)
    assert region_between(np.array([100.0, 100.0]), np.array([100.0, 50.0]), 1.25).angle_rad == pytest.approx(0.0)


@settings(max_examples=25, deadline=None)
@given(angle=st.floats(-math.pi, math.pi), scale=st.floats(0.8, 1.2))
def test_landmarks_land_where_they_are_in_the_picture(angle: float, scale: float) -> None:
    """Whatever way the person lies, detector and crop lead back to the picture's own pixels."""
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    red, green, blue = (np.array([320.0, 240.0]) + turn @ (np.array(place) - [320.0, 240.0]) for place in ONE)
    step = Networks().estimator().step(draw((tuple(red), tuple(green), tuple(blue))), BlazePoseState())
    (person,) = step.people
    assert np.linalg.norm(person.pixels[0] - red) < 2.5
    assert person.scores.min() > 0.999
    assert np.linalg.norm([person.next_region.x_px - green[0], person.next_region.y_px - green[1]]) < 2.5


def test_a_person_is_searched_once_and_then_followed() -> None:
    networks = Networks()
    estimator = networks.estimator()
    state = BlazePoseState()
    for offset in range(0, 50, 5):
        moved = tuple((x + offset, y) for x, y in ONE)
        step = estimator.step(draw(moved), state)  # type: ignore[arg-type]
        state = step.state
        assert np.linalg.norm(step.people[0].pixels[0] - np.array(moved[0])) < 2.5
    assert networks.detector_runs == 1
    assert networks.landmark_runs == 10


def test_a_lost_person_is_searched_in_the_same_picture() -> None:
    networks = Networks()
    estimator = networks.estimator()
    state = estimator.step(draw(ONE), BlazePoseState()).state
    far = tuple((x - 250.0, y + 100.0) for x, y in ONE)
    step = estimator.step(draw(far), state)  # type: ignore[arg-type]
    assert step.searched
    assert np.linalg.norm(step.people[0].pixels[0] - np.array(far[0])) < 2.5


def test_nobody_there() -> None:
    networks = Networks()
    estimator = networks.estimator()
    state = estimator.step(draw(ONE), BlazePoseState()).state
    step = estimator.step(draw(), state)
    assert step.people == ()
    assert step.state.regions == ()
    assert estimator.step(draw(ONE), step.state).people


def test_a_low_person_score_counts_as_nobody() -> None:
    networks = Networks()
    networks.person_score = 0.4
    assert networks.estimator().step(draw(ONE), BlazePoseState()).people == ()


def test_the_state_can_be_lifted_out() -> None:
    first, second = Networks().estimator(), Networks().estimator()
    state = first.step(draw(ONE), BlazePoseState()).state
    moved = draw(tuple((x + 7.0, y) for x, y in ONE))  # type: ignore[arg-type]
    one, other = first.step(moved, state), second.step(moved, state)
    assert one.state == other.state
    np.testing.assert_array_equal(one.people[0].pixels, other.people[0].pixels)


def test_two_people_each_once() -> None:
    networks = Networks()
    estimator = networks.estimator(max_people=2, search_every=3)
    step = estimator.step(draw(ONE), BlazePoseState())
    assert len(step.people) == 1
    state = step.state
    for _ in range(5):
        step = estimator.step(draw(ONE, OTHER), state)
        state = step.state
    assert len(step.people) == 2
    assert np.linalg.norm(step.people[0].pixels[0] - np.array(ONE[0])) < 2.5
    assert np.linalg.norm(step.people[1].pixels[0] - np.array(OTHER[0])) < 2.5
    runs = networks.detector_runs
    estimator.step(draw(ONE, OTHER), state)
    assert networks.detector_runs == runs  # all places are taken, so nobody is searched


def test_overlapping_detections_are_averaged_by_score() -> None:
    corners = np.array([[[0, 0], [10, 10]], [[1, 0], [11, 10]], [[50, 50], [60, 60]]], dtype=np.float64)
    points = np.arange(24, dtype=np.float64).reshape(3, 4, 2)
    found = weighted_suppression(np.array([0.6, 0.9, 0.7]), corners, points, 0.3)
    assert [detection.score for detection in found] == [0.9, 0.7]
    np.testing.assert_allclose(found[0].corners, 0.4 * corners[0] + 0.6 * corners[1])
    np.testing.assert_allclose(found[0].points, 0.4 * points[0] + 0.6 * points[1])
    np.testing.assert_array_equal(found[1].points, points[2])


def test_boxes_without_area_do_not_disturb() -> None:
    found = weighted_suppression(np.array([0.9, 0.8]), np.zeros((2, 2, 2)), np.zeros((2, 4, 2)), 0.3)
    assert len(found) == 2


def test_no_detection_from_low_or_absurd_logits() -> None:
    boxes = np.zeros((1, 2254, 12), dtype=np.float32)
    for value in (-1e30, np.nan, 0.0):
        assert decode_detections(boxes, np.full((1, 2254, 1), value, dtype=np.float32), BlazePoseParams()) == []


@given(x=st.floats(20, 230), y=st.floats(20, 230))
@settings(max_examples=30, deadline=None)
def test_a_heat_map_moves_a_landmark_to_its_peak(x: float, y: float) -> None:
    rows, columns = np.mgrid[0:64, 0:64]
    squared = (columns - x / 4) ** 2 + (rows - y / 4) ** 2
    heat = np.repeat((5.0 - 2.0 * squared)[:, :, None], LANDMARKS_OUT, axis=2).astype(np.float32)
    points = np.tile([x + 3.0, y - 3.0], (LANDMARKS_OUT, 1))
    np.testing.assert_allclose(refine(points, heat, BlazePoseParams()), np.tile([x, y], (LANDMARKS_OUT, 1)), atol=0.5)


def test_a_cold_heat_map_leaves_landmarks_alone() -> None:
    points = np.random.default_rng(3).uniform(-1e4, 1e4, (LANDMARKS_OUT, 2))
    points[0] = np.nan
    heat = np.full((64, 64, LANDMARKS_OUT), -3.0, dtype=np.float32)
    np.testing.assert_array_equal(refine(points, heat, BlazePoseParams()), points)


def test_numbers_that_are_none_find_nobody() -> None:
    class Broken(Networks):
        def landmarker(self, tensor: Float32) -> Mapping[str, Float32]:
            outputs = dict(super().landmarker(tensor))
            outputs["Identity"] = np.full_like(outputs["Identity"], np.nan)
            return outputs

    assert Broken().estimator().step(draw(ONE), BlazePoseState()).people == ()
