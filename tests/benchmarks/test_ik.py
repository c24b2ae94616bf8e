"""The body that other tools are given is ours, and each tool that is installed puts its points where we do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.ik import Missing, Problem, Solver, make_problem, mean_distance_m, posture_weights
from benchmarks.ik.frames import Frames, frames_of
from benchmarks.ik.mink_ik import MinkIk
from benchmarks.ik.opensim_ik import OpenSimIk
from benchmarks.ik.pinocchio_ik import PinocchioIk, point_rows
from fusion.body import catalog
from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import COORDINATE, COORDINATES, JOINTS
from fusion.maths import quaternion
from fusion.records import Float64
from fusion.synthesis.actions import DEFAULT_SCRIPT
from fusion.synthesis.motion import draw_lengths
from fusion.synthesis.script import scripted_motion

SET = "blazepose_33"
LENGTHS = draw_lengths(3, 1.71)
CHAINS = [COORDINATE[f"{chain}_{axis}"] for chain in ("spine", "neck") for axis in "xyz"]

TOOLS: dict[str, Callable[[Problem], Solver]] = {
    "pinocchio api": lambda problem: PinocchioIk(problem, lean=False, steps=None),
    "pinocchio lean": lambda problem: PinocchioIk(problem, lean=True, steps=None),
    "mink api": lambda problem: MinkIk(problem, lean=False, steps=None),
    "mink lean": lambda problem: MinkIk(problem, lean=True, steps=None),
    "opensim": OpenSimIk,
}


def our_points(coordinates: Float64) -> Float64:
    positions, quaternions = forward_kinematics(coordinates, LENGTHS)
    return catalog.landmark_positions(SET, positions, quaternions, LENGTHS)


def their_points(problem: Problem, coordinates: Float64) -> Float64:
    """Plain forward kinematics of the tree that the tools are given."""
    places: dict[str, tuple[Float64, Float64]] = {"": (np.zeros(3), np.eye(3))}
    for joint in problem.joints:
        origin, turn = places[joint.parent]
        own = coordinates[list(joint.columns)]
        origin = origin + turn @ np.array(joint.offset_m)
        if joint.freedom == "root":
            origin, own = origin + own[:3], own[3:]
        if joint.freedom == "hinges":
            for axis, angle in zip(joint.axes, own, strict=True):
                turn = turn @ quaternion.to_matrix(quaternion.from_rotvec(np.array(axis) * angle))
        else:
            turn = turn @ quaternion.to_matrix(quaternion.from_rotvec(own))
        places[joint.name] = origin, turn
    carried = zip(problem.carrier, problem.offsets_m, strict=True)
    return np.array([places[name][0] + places[name][1] @ offset for name, offset in carried])


def some_pose(seed: int, chains_rad: float) -> Float64:
    random = np.random.default_rng(seed)
    pose = resting_coordinates() + 0.3 * random.standard_normal(COORDINATES)
    pose[CHAINS] = chains_rad * random.standard_normal(len(CHAINS))
    return pose


def problem_at(pose: Float64, points: Float64 | None = None) -> Problem:
    return make_problem(SET, LENGTHS, our_points(pose)[None] if points is None else points, pose)


@pytest.mark.parametrize("seed", range(5))
def test_the_tree_is_our_body_where_spine_and_neck_are_straight(seed: int) -> None:
    pose = some_pose(seed, 0.0)
    np.testing.assert_allclose(their_points(problem_at(pose), pose), our_points(pose), atol=1e-12)


def test_one_ball_for_a_chain_is_the_same_to_first_order() -> None:
    apart = []
    for bend in (0.02, 0.01):
        pose = some_pose(1, bend)
        apart.append(np.abs(their_points(problem_at(pose), pose) - our_points(pose)).max())
    assert apart[0] < 1e-4
    assert apart[1] == pytest.approx(apart[0] / 4.0, rel=0.1)  # half the bend, a quarter of the difference


def test_every_degree_of_freedom_is_given_once() -> None:
    joints = problem_at(resting_coordinates()).joints
    assert sorted(column for joint in joints for column in joint.columns) == list(range(COORDINATES))
    assert len(joints) == len(JOINTS) - 4  # three joints of the spine and one of the neck


def test_posture_leaves_the_root_free() -> None:
    weights = posture_weights()
    assert (weights[:6] == 0.0).all()
    assert (weights[6:] > 0.0).all()


def test_point_rows_are_the_derivative_of_the_points() -> None:
    """A tree of one body with a free joint in world coordinates, and a column that is not above the point."""
    turn = quaternion.to_matrix(quaternion.from_rotvec(np.array([0.4, -0.2, 0.9])))
    place = np.concatenate([turn.T, [[1.0, 2.0, 3.0]]])[None]
    offset = np.array([[0.1, 0.2, -0.3]])
    tree = np.asfortranarray(np.concatenate([np.eye(6), np.ones((6, 1))], axis=1))
    above = np.array([[True] * 6 + [False]])
    points, rows, residual = np.zeros((1, 3)), np.full((3, 7), 9.0), np.zeros(3)
    target = np.array([[2.0, 2.0, 2.0]])
    distance = point_rows(
        tree, place, np.zeros(1, dtype=np.int64), offset, above, target, np.array([0]), points, rows, residual
    )
    point = turn @ offset[0] + place[0, 3]
    np.testing.assert_allclose(points[0], point)
    np.testing.assert_allclose(residual, target[0] - point)
    assert distance == pytest.approx(np.linalg.norm(target[0] - point))
    np.testing.assert_allclose(rows[:, :3], np.eye(3))
    np.testing.assert_allclose(rows[:, 3:6], np.cross(np.eye(3), point).T)
    np.testing.assert_allclose(rows[:, 6], 0.0)


@pytest.fixture(scope="module")
def walk() -> Frames:
    """A second of the simulator's own wearer."""
    return frames_of(scripted_motion(DEFAULT_SCRIPT, LENGTHS, seed=3), cameras=4, duration_s=0.5)


def installed(tool: str, problem: Problem) -> Solver:
    try:
        return TOOLS[tool](problem)
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_finds_the_pose_that_made_the_points(tool: str) -> None:
    """Exact points, from a start that is a little off; what posture costs is a few millimetres."""
    pose = some_pose(2, 0.0)
    pose[:6] = [0.3, -0.2, 1.0, 0.1, 0.05, 1.2]
    start = pose + 0.05 * np.random.default_rng(0).standard_normal(COORDINATES)
    problem = make_problem(SET, LENGTHS, our_points(pose)[None].repeat(2, axis=0), start)
    solver = installed(tool, problem)
    solver.restart()
    for frame in (0, 1):
        solver.solve(frame)
    assert mean_distance_m(solver.fitted_m(), problem.points_m[0], np.arange(33)) < 0.006


@pytest.mark.parametrize("tool", TOOLS)
def test_the_tools_agree_on_simulated_frames(tool: str, walk: Frames) -> None:
    """The same goal has the same answer, whoever looks for it."""
    problem = make_problem(SET, walk.lengths_m, walk.points_m, walk.start)
    solver, reference = installed(tool, problem), installed("pinocchio api", problem)
    for fitting in (solver, reference):
        fitting.restart()
        for frame in range(len(walk.times_ns)):
            fitting.solve(frame)
    assert np.abs(solver.fitted_m() - reference.fitted_m()).max() < 0.03


def test_frames_have_all_views_and_points_near_the_truth(walk: Frames) -> None:
    assert all(len(group) == 4 for group in walk.views)
    apart = np.linalg.norm(walk.points_m - walk.truth_m, axis=-1)
    assert np.nanmedian(apart) < 0.03
    assert np.isfinite(walk.points_m).mean() > 0.9
