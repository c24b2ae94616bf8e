"""Association: exact assignment of detections to people, and births from views that agree."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.estimators.camera.association import AssociationParams, Candidate, assign, detection_costs, find_birth
from fusion.records import Float64
from fusion.rig import Camera
from tests.fusion.scenes import landmarks_of, legal_pose, resting_state, ring, seen_from

PARAMS = AssociationParams()
MAX_COST = PARAMS.max_cost


# --- Assignment -----------------------------------------------------------------------------------

costs_of_pairs = st.tuples(st.integers(0, 4), st.integers(0, 4)).flatmap(
    lambda shape: st.lists(
        st.one_of(st.floats(0.0, 2.0 * MAX_COST), st.sampled_from([0.0, MAX_COST, math.inf, math.nan])),
        min_size=shape[0] * shape[1],
        max_size=shape[0] * shape[1],
    ).map(lambda values: np.array(values, dtype=np.float64).reshape(shape))
)


def best_by_trial(costs: Float64) -> tuple[int, float]:
    """Most pairs that are allowed, and the least that so many can cost."""
    people, detections = costs.shape
    best = (0, 0.0)
    for count in range(1, min(people, detections) + 1):
        for rows in itertools.combinations(range(people), count):
            for columns in itertools.permutations(range(detections), count):
                chosen = costs[rows, columns]
                if (chosen < MAX_COST).all() and (count > best[0] or chosen.sum() < best[1]):
                    best = count, float(chosen.sum())
    return best


@settings(deadline=None, max_examples=150)
@given(costs_of_pairs)
def test_assignment_is_the_best_that_there_is(costs: Float64) -> None:
    pairs = assign(costs, MAX_COST)
    count, total = best_by_trial(costs)
    assert len(pairs) == count
    assert sum(costs[pair] for pair in pairs) == pytest.approx(total, abs=1e-12)
    assert len({p for p, _ in pairs}) == len({d for _, d in pairs}) == len(pairs)


@given(costs_of_pairs)
def test_refused_pairs_are_never_chosen(costs: Float64) -> None:
    assert all(costs[pair] < MAX_COST for pair in assign(costs, MAX_COST))


def test_nearest_first_would_be_wrong() -> None:
    """The first person is nearest to the detection that is the second's only one."""
    assert sorted(assign(np.array([[0.01, 0.02], [0.05, 9.0]]), MAX_COST)) == [(0, 1), (1, 0)]


# --- Costs ----------------------------------------------------------------------------------------


def body(offset_px: Float64 | tuple[float, float] = (0.0, 0.0), seed: int = 0) -> Float64:
    """Landmarks [33, 2] that extend over 200 by 400 pixels."""
    points = np.random.default_rng(seed).uniform([300, 100], [500, 500], (33, 2))
    points[0], points[1] = (300.0, 100.0), (500.0, 500.0)
    return np.asarray(points + np.array(offset_px))


def cost(predicted: Float64, detected: Float64) -> float:
    return float(detection_costs(predicted[None], detected[None], PARAMS)[0, 0])


def test_a_cost_is_a_share_of_the_body() -> None:
    assert cost(body(), body()) == 0.0
    assert cost(body(), body((40.0, 0.0))) == pytest.approx(0.1)
    assert cost(body() * 3.0, body((40.0, 0.0)) * 3.0) == pytest.approx(0.1)


def test_a_wild_landmark_counts_no_more_than_the_cap() -> None:
    detected = body()
    detected[5] = 1e6
    assert cost(body(), detected) == pytest.approx(PARAMS.cap / 33)
    detected[:] = 1e30
    assert cost(body(), detected) == pytest.approx(PARAMS.cap)


def test_too_few_common_landmarks_cost_everything() -> None:
    predicted, detected = body(), body()
    predicted[: 33 - PARAMS.min_common] = np.nan
    assert cost(predicted, detected) == 0.0
    detected[-1] = np.nan
    assert math.isinf(cost(predicted, detected))
    assert math.isinf(cost(np.full((33, 2), np.nan), body()))


def test_a_body_without_extent_costs_everything() -> None:
    assert math.isinf(cost(np.full((33, 2), 300.0), body()))


def test_nobody_costs_nothing() -> None:
    assert detection_costs(np.empty((0, 33, 2)), body()[None], PARAMS).shape == (0, 1)
    assert detection_costs(body()[None], np.empty((0, 33, 2)), PARAMS).shape == (1, 0)


# --- Births ---------------------------------------------------------------------------------------

CAMERAS = ring(4)


def standing(x_m: float, y_m: float, seed: int) -> Float64:
    """Nominal [99] of somebody in some pose somewhere."""
    nominal = resting_state().nominal
    nominal[:44] = legal_pose(np.random.default_rng(seed), 0.3)
    nominal[:2] = x_m, y_m
    return nominal


PEOPLE = {"first": standing(0.0, 0.0, 1), "second": standing(0.9, 0.4, 2), "third": standing(-0.7, 0.6, 3)}


def candidate(who: str, camera: int, noise_px: float = 2.0) -> Candidate:
    random = np.random.default_rng([camera, len(who)])
    pixels = seen_from(CAMERAS[camera], PEOPLE[who]) + noise_px * random.normal(size=(33, 2))
    return Candidate(0, camera, pixels, np.ones(33))


@pytest.mark.parametrize("cameras", [(0, 1), (0, 3), (0, 1, 2), (0, 1, 2, 3)])
def test_views_of_one_body_are_a_birth(cameras: tuple[int, ...]) -> None:
    candidates = [candidate("first", camera) for camera in cameras]
    birth = find_birth(candidates, CAMERAS, PARAMS)
    assert birth is not None
    assert {id(member) for member in birth.members} == {id(c) for c in candidates}
    away = np.linalg.norm(birth.triangulated.points_m - landmarks_of("blazepose_33", PEOPLE["first"]), axis=1)
    assert np.nanmedian(away) < 0.02


@pytest.mark.parametrize("seed", range(4))
def test_a_birth_is_found_among_bystanders(seed: int) -> None:
    """Three people, every camera sees all of them in an order of its own: each group is one person's views."""
    random = np.random.default_rng(seed)
    labelled = [(who, candidate(who, camera)) for camera in range(4) for who in random.permutation(list(PEOPLE))]
    who_is = {id(c): who for who, c in labelled}
    waiting = [c for _, c in labelled]
    born: list[str] = []
    while (birth := find_birth(waiting, CAMERAS, PARAMS)) is not None:
        names = {who_is[id(member)] for member in birth.members}
        assert len(names) == 1
        assert len({member.camera_index for member in birth.members}) == len(birth.members) == 4
        born += names
        waiting = [c for c in waiting if all(c is not member for member in birth.members)]
    assert sorted(born) == sorted(PEOPLE)
    assert not waiting


def test_different_people_in_different_views_are_no_ghost() -> None:
    """The first camera has only seen the one, the second only the other."""
    for a, b in itertools.permutations(range(4), 2):
        assert find_birth([candidate("first", a), candidate("second", b)], CAMERAS, PARAMS) is None
    # The one is seen twice, so it is born; the other, seen once, is not part of it.
    lone = candidate("second", 1)
    birth = find_birth([candidate("first", 0), lone, candidate("first", 2)], CAMERAS, PARAMS)
    assert birth is not None
    assert all(member is not lone for member in birth.members)


def test_ghosts_of_two_views_are_rare() -> None:
    """Two views alone cannot always tell: bodies of one height in places that mirror each other may agree."""
    random = np.random.default_rng(5)
    ghosts = 0
    for _ in range(40):
        cameras = random.permutation(4)[:2]
        pair = []
        for camera in cameras:
            x_m, y_m = random.uniform(-1.2, 1.2, 2)
            who = standing(x_m, y_m, int(random.integers(10**9)))
            pair.append(Candidate(0, int(camera), seen_from(CAMERAS[camera], who), np.ones(33)))
        ghosts += find_birth(pair, CAMERAS, PARAMS) is not None
    assert ghosts <= 8


def test_one_view_is_not_enough() -> None:
    assert find_birth([], CAMERAS, PARAMS) is None
    assert find_birth([candidate("first", 0)], CAMERAS, PARAMS) is None
    assert find_birth([candidate("first", 0), candidate("first", 0)], CAMERAS, PARAMS) is None


def test_too_few_landmarks_are_not_enough() -> None:
    few = [candidate("first", camera) for camera in (0, 1)]
    for c in few:
        c.pixels[PARAMS.birth_landmarks - 1 :] = np.nan
    assert find_birth(few, CAMERAS, PARAMS) is None


def test_a_view_with_an_outlier_still_joins() -> None:
    candidates = [candidate("first", camera) for camera in range(3)]
    candidates[2].pixels[[4, 20]] += 250.0
    birth = find_birth(candidates, CAMERAS, PARAMS)
    assert birth is not None
    assert len(birth.members) == 3
    away = np.linalg.norm(birth.triangulated.points_m - landmarks_of("blazepose_33", PEOPLE["first"]), axis=1)
    assert np.nanmax(away) < 0.05


def test_cameras_may_differ_in_size() -> None:
    """What agreement means goes by the picture's height, not by pixels."""
    large = tuple(
        Camera(
            name=camera.name,
            width=2 * camera.width,
            height=2 * camera.height,
            matrix=camera.matrix * np.array([[2.0], [2.0], [1.0]]),
            distortion=camera.distortion,
            r_camera_from_world=camera.r_camera_from_world,
            t_camera_from_world_m=camera.t_camera_from_world_m,
        )
        for camera in CAMERAS
    )
    candidates = [Candidate(0, k, 2.0 * candidate("first", k, 6.0).pixels, np.ones(33)) for k in range(4)]
    assert find_birth(candidates, large, PARAMS) is not None
