"""A start from one picture: both depth branches of every bone, and what anatomy says of them.

A camera shows where a joint is but for its depth. With the parent joint placed
and the bone's length known, the child lies where its ray meets a sphere: at two
places, one before the parent and one behind. The trunk comes first (its depth
from its size: no bone can look longer than it is), then each limb; each of
these has 2 x 2 branches, scored by the bend of its hinge, the turn of its ball,
and where the foot or the face points. The best combinations become candidates.
Which of them it is, the update itself has to say: ``best_start``.

Source of the two branches: Yang et al., "KITRO: Refining Human Mesh by 2D Clues
and Kinematic-tree Rotation", CVPR 2024, section 3.3. Differs from it in placing
the trunk as a whole, and in taking the prior from anatomy instead of a mesh
that a network has guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fusion.body import catalog
from fusion.body.catalog import LandmarkSet
from fusion.body.kinematics import TABLES, forward_kinematics
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import COORDINATES, LENGTH, REFERENCE_LENGTHS_M, SEGMENT
from fusion.filter.start import LIMBS, StartParams, ball_and_bend, trunk_frame, wide_state
from fusion.filter.start_prior import Limb, Side, lean_surprise, limb_surprise, pose_surprise
from fusion.filter.state import State
from fusion.maths import quaternion
from fusion.maths.camera import NEAR_M, camera_arrays, project_points, undistort
from fusion.records import Float64
from fusion.rig import Camera


@dataclass(frozen=True, slots=True)
class OneViewParams:
    """How a picture is read, and how far the search goes."""

    min_score: float = 0.3
    """Landmarks that the detector trusts less are left out."""
    depth_shares: tuple[float, ...] = (1.03, 0.98, 0.93, 0.87, 0.8, 0.7)
    """Depths that are tried, as shares of the largest one that the bones allow (noise makes them look longer)."""
    pixel_share: float = 0.006
    """Standard deviation of a landmark, as a share of the picture's height, body and detector together."""
    length_share: float = 0.04
    """Standard deviation of a bone around the length that is given, as a share."""
    facing_share: float = 0.4
    """By how much of its size a face or a foot may point elsewhere than the trunk or the shank does."""
    twist_rad: float = math.radians(18.0)
    """Standard deviation of the turn between hips and shoulders, about any axis."""
    beam: int = 400
    """How many of the likeliest combinations are looked at as whole bodies."""
    depth_m: float = 0.5
    """Standard deviation of a start along the ray to the hips,"""
    across_m: float = 0.15
    """and across it."""
    limb_rad: float = 0.5
    """Standard deviation of a joint around a candidate. Wider, and bones that are a little shorter than expected
    show as limbs that point at the camera (60 frames of clips: 97 % of the starts within 100 mm, 88 % with 1 rad)."""
    apart_m: float = 0.08
    """Candidates whose joints are nearer to each other than this (mean, from the hips) are one."""


class Branches(NamedTuple):
    """Where the far end of a bone can be."""

    points_m: Float64
    """[..., 2, 3] the nearer one to the camera, then the farther one."""
    missed_m: Float64
    """[...] by how much the bone is too short to reach the ray; both points are then the ray's nearest. 0 mostly."""


def bone_branches(parent_m: Float64, ray: Float64, length_m: float) -> Branches:
    """Both places of a child joint on its ray, at a bone's length from its parent.

    Args:
        parent_m: [..., 3] parent joint from the camera's centre.
        ray: [..., 3] unit direction from the camera's centre to the child; same frame.
        length_m: of the bone.
    """
    along = (parent_m * ray).sum(-1)
    off = np.linalg.norm(parent_m - along[..., None] * ray, axis=-1)
    half = np.sqrt(np.maximum(length_m**2 - off**2, 0.0))
    distance = np.maximum(np.stack([along - half, along + half], axis=-1), NEAR_M)
    return Branches(distance[..., None] * ray[..., None, :], np.maximum(off - length_m, 0.0))


def candidates_from_view(
    names: LandmarkSet,
    pixels: Float64,
    scores: Float64,
    camera: Camera,
    lengths_m: Float64,
    limit: int = 8,
    params: OneViewParams | None = None,
) -> list[Float64]:
    """Poses that one picture may show, the likeliest first.

    Args:
        names: the landmark set.
        pixels: [K, 2], NaN where not seen.
        scores: [K] in 0..1.
        camera: which took the picture; the world's z is up.
        lengths_m: [11], known or expected.
        limit: how many candidates at most.
        params: how to search.

    Returns:
        Coordinates [44] each; none where hips or shoulders are not to be seen.
    """
    params = params or OneViewParams()
    view = _view(names, pixels, scores, camera, lengths_m, params)
    if view is None:
        return []
    trunks = _trunks(view)
    limbs = [_limb_options(view, trunks, index) for index in range(len(LIMBS))]
    return _whole_bodies(view, trunks, limbs, limit)


def one_view_state(
    coordinates: Float64,
    camera: Camera,
    time_ns: int,
    start: StartParams,
    stature_m: float | None = None,
    lengths_m: Float64 | None = None,
    imus: int = 0,
    params: OneViewParams | None = None,
) -> State:
    """A state at a candidate [44]: its place is uncertain along the camera's ray, its joints less than elsewhere.

    Other arguments as in ``wide_state``.
    """
    params = params or OneViewParams()
    widths = replace(start, limb_rad=params.limb_rad, position_m=params.across_m)
    state = wide_state(coordinates, time_ns, widths, stature_m, lengths_m, imus)
    ray = _unit(coordinates[:3] - camera.centre_world_m)
    state.covariance[:3, :3] += (params.depth_m**2 - params.across_m**2) * np.outer(ray, ray)
    return state


def best_start(
    candidates: list[Float64], widen: Callable[[Float64], State], fit: Callable[[State], float]
) -> tuple[State, float] | None:
    """The candidate that fits best once it has been fitted.

    Args:
        candidates: coordinates [44] each.
        widen: makes a state with a wide prior around one, as ``wide_state`` does.
        fit: changes a state so that it fits what was seen, and returns the sum of its squared, normalised
            residuals (``reprojection_cost``); infinite or NaN where there is no fit.

    Returns:
        The state with the least sum of misfit and ``pose_surprise``, and that sum; None if none fits.
    """
    best: tuple[State, float] | None = None
    for coordinates in candidates:
        state = widen(coordinates)
        cost = fit(state) + float(pose_surprise(state.coordinates))
        if math.isfinite(cost) and (best is None or cost < best[1]):
            best = state, cost
    return best


def reprojection_cost(
    names: LandmarkSet, pixels: Float64, scores: Float64, camera: Camera, state: State, params: OneViewParams
) -> float:
    """How badly a state explains a picture: sum of the squared, normalised residuals, each one's growth stopped.

    Minus twice the logarithm of a Student-t with 4 degrees of freedom. Arguments as in ``candidates_from_view``.
    """
    positions, quaternions = forward_kinematics(state.coordinates, state.lengths_m)
    points = catalog.landmark_positions(names.name, positions, quaternions, state.lengths_m)
    predicted, _ = project_points(points, camera_arrays(camera))
    sigma = params.pixel_share * camera.height * catalog.attachments(names.name).sigma_scale
    squared = ((pixels - predicted) ** 2).sum(1) / sigma**2
    # A landmark that is seen, but not to be projected, is as far off as can be.
    squared = np.where(np.isnan(predicted).any(1), 1e6, squared)
    seen = (scores >= params.min_score) & np.isfinite(pixels).all(1) & (catalog.attachments(names.name).segment >= 0)
    return float((6.0 * np.log1p(squared[seen] / 4.0)).sum())


# --- What the picture shows ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """A picture as rays. World axes, the camera's centre at the origin."""

    names: LandmarkSet
    rays: dict[str, Float64]
    """Unit rays [3] of the landmarks that are seen."""
    centre_m: Float64
    """The camera in the world [3]."""
    lengths_m: Float64
    params: OneViewParams
    pixel_rad: float
    """Standard deviation of a ray's direction."""

    def sees(self, *names: str) -> bool:
        return all(name in self.rays for name in names)

    def length(self, name: str) -> float:
        return float(self.lengths_m[LENGTH[name]])


_TRUNK = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")


def _view(
    names: LandmarkSet, pixels: Float64, scores: Float64, camera: Camera, lengths_m: Float64, params: OneViewParams
) -> _View | None:
    """Rays of what is seen; None where it is no trunk."""
    flat = undistort(pixels, camera)
    directions = np.concatenate([flat, np.ones((len(flat), 1))], axis=1) @ camera.r_camera_from_world
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    usable = np.isfinite(directions).all(1) & (scores >= params.min_score)
    rays = {name: directions[k] for k, name in enumerate(names.landmark_names) if usable[k]}
    pixel_rad = params.pixel_share * camera.height / float(camera.matrix[1, 1])
    view = _View(names, rays, camera.centre_world_m, np.asarray(lengths_m), params, pixel_rad)
    return view if _complete_trunk(rays) else None


def _complete_trunk(rays: dict[str, Float64]) -> bool:
    """Let one hip or shoulder stand for the other that it hides, in place; whether the trunk is then there.

    From the side the far ones are behind the near ones. The update does not take this for seen.
    """
    for left, right in (_TRUNK[:2], _TRUNK[2:]):
        if left not in rays and right not in rays:
            return False
        rays.setdefault(left, rays.get(right, _NOWHERE))
        rays.setdefault(right, rays[left])
    return True


_NOWHERE = np.zeros(3)


def _unit(vector: Float64) -> Float64:
    return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True))


def _trunk_length_m(view: _View) -> float:
    """Between the middles of hips and of shoulders."""
    above = TABLES.unit_offset[SEGMENT["left_shoulder"]][2] * view.length("shoulders")
    return view.length("trunk") + float(above)


def _largest_distance_m(view: _View) -> float:
    """How far away the hips can be: no bone looks longer than it is.

    A bone of length l between rays that are an angle apart has its ends no farther away than l / sin(angle);
    what hangs on the hips by a chain of bones can be nearer by no more than their lengths.
    """
    hips = _unit(view.rays["left_hip"] + view.rays["right_hip"])
    shoulders = _unit(view.rays["left_shoulder"] + view.rays["right_shoulder"])
    trunk = _trunk_length_m(view)
    bounds = [_bound(hips, shoulders, trunk)]
    for limb, (_, _, *joints) in zip(_LIMB_NAMES, LIMBS, strict=True):
        reach = trunk + 0.5 * view.length("shoulders") if limb.kind == "arm" else 0.5 * view.length("pelvis")
        for (first, second), name in zip((joints[:2], joints[1:]), limb.lengths, strict=True):
            if view.sees(first, second):
                bounds.append(_bound(view.rays[first], view.rays[second], view.length(name)) + reach)
            reach += view.length(name)
    return min(bounds)


def _bound(first: Float64, second: Float64, length_m: float) -> float:
    return length_m / max(float(np.linalg.norm(np.cross(first, second))), 1e-6)


# --- The trunk -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Trunks:
    """N ways in which the trunk may stand."""

    frame: Float64
    """[N, 4] world from trunk."""
    joints_m: dict[str, Float64]
    """[N, 3] each of hips and shoulders, from the camera."""
    cost: Float64
    """[N] minus twice a log likelihood, as all costs here."""


def _trunks(view: _View) -> _Trunks:
    """All branches of the trunk at all depths that are tried."""
    rays, params = view.rays, view.params
    middle = _unit(rays["left_hip"] + rays["right_hip"])
    upper = _unit(rays["left_shoulder"] + rays["right_shoulder"])
    depths = _largest_distance_m(view) * np.array(params.depth_shares)
    hips = depths[:, None] * middle
    # Axes of the arrays: depth, hips' branch, trunk's branch, shoulders' branch.
    shoulders = bone_branches(hips, upper, _trunk_length_m(view))
    hip_half = _halves(view, hips, "left_hip", "right_hip", 0.5 * view.length("pelvis"))
    arm_half = _halves(view, shoulders.points_m, "left_shoulder", "right_shoulder", 0.5 * view.length("shoulders"))
    shape = (len(depths), 2, 2, 2)

    def spread(array: Float64, axes: tuple[int, ...]) -> Float64:
        """To [N, ...]: ``axes`` are those of ``shape`` that the array lacks."""
        tail = array.shape[4 - len(axes) :]
        return np.broadcast_to(np.expand_dims(array, axes), (*shape, *tail)).reshape(-1, *tail)

    hips, across = spread(hips, (1, 2, 3)), spread(hip_half.points_m, (2, 3))
    above, arms = spread(shoulders.points_m, (1, 3)), spread(arm_half.points_m, (1,))
    missed = [
        (spread(shoulders.missed_m, (1, 2, 3)), _trunk_length_m(view)),
        (spread(hip_half.missed_m, (1, 2, 3)), 0.5 * view.length("pelvis")),
        (spread(arm_half.missed_m, (1, 3)), 0.5 * view.length("shoulders")),
    ]
    frame = trunk_frame(above - hips, across + arms)
    cost = lean_surprise(frame) + _twist_cost(frame, across, arms, params.twist_rad)
    distance = np.linalg.norm(hips, axis=1)
    for short, length in missed:
        cost = cost + _missed_cost(view, short, length, distance)
    cost = cost + _pointing_cost(view, "head", above, frame)
    return _Trunks(
        frame,
        {
            "left_hip": hips + across,
            "right_hip": hips - across,
            "left_shoulder": above + arms,
            "right_shoulder": above - arms,
        },
        cost,
    )


def _halves(view: _View, middle_m: Float64, left: str, right: str, half_m: float) -> Branches:
    """From the middle [..., 3] of two joints to the left one: both branches, as vectors."""
    ray = _unit(middle_m)
    offset = 0.5 * (view.rays[left] - view.rays[right])
    distance = np.linalg.norm(middle_m, axis=-1, keepdims=True)
    across = (offset - (offset * ray).sum(-1, keepdims=True) * ray) * distance
    width = np.linalg.norm(across, axis=-1)
    deep = np.sqrt(np.maximum(half_m**2 - width**2, 0.0))[..., None] * ray
    return Branches(np.stack([across - deep, across + deep], axis=-2), np.maximum(width - half_m, 0.0))


def _twist_cost(frame: Float64, hips: Float64, shoulders: Float64, sigma_rad: float) -> Float64:
    """Lines of hips and of shoulders [N, 3] that do not lie across the trunk, or not along each other."""
    back = quaternion.conjugate(frame)
    total = np.zeros(len(frame))
    for line in (hips, shoulders):
        x, y, z = np.moveaxis(_unit(quaternion.rotate(back, line)), -1, 0)
        total += (np.arctan2(np.hypot(x, z), y) / sigma_rad) ** 2
    return total


def _missed_cost(view: _View, missed_m: Float64, length_m: float, distance_m: Float64) -> Float64:
    """Of bones that are too short: the landmarks' noise and the length's own."""
    return (missed_m / np.hypot(view.pixel_rad * distance_m, view.params.length_share * length_m)) ** 2


# --- Where face and feet point -----------------------------------------------------------------------


class _Part(NamedTuple):
    """Landmarks of a rigid part, to be compared with how it stands when its joint rests."""

    names: tuple[str, ...]
    offsets: Float64
    """[J, 3] from their mean, reference body, frame of the part."""


_FEET = ("ankle", "heel", "foot_tip", "big_toe", "small_toe")
_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")


@lru_cache(maxsize=16)
def _t_pose(set_name: str) -> dict[str, Float64]:
    """Landmarks of the reference body in the T-pose, where all frames are the world's."""
    positions, quaternions = forward_kinematics(np.zeros(COORDINATES), REFERENCE_LENGTHS_M)
    points = catalog.landmark_positions(set_name, positions, quaternions, REFERENCE_LENGTHS_M)
    return dict(zip(catalog.landmark_set(set_name).landmark_names, points, strict=True))


def _part(view: _View, part: str) -> _Part | None:
    """What is seen of ``head``, ``left`` foot or ``right`` foot; None where it does not show a direction."""
    wanted = _FACE if part == "head" else tuple(f"{part}_{name}" for name in _FEET)
    names = tuple(name for name in wanted if name in view.rays)
    if len(names) < 2:
        return None
    points = np.array([_t_pose(view.names.name)[name] for name in names])
    return _Part(names, points - points.mean(0))


def _pointing_cost(view: _View, part: str, place_m: Float64, frame: Float64) -> Float64:
    """Of a face or a foot at [..., 3] that stands as ``frame`` [..., 4] does, its joint at rest."""
    seen = _part(view, part)
    if seen is None:
        return np.zeros(frame.shape[:-1])
    rays = np.array([view.rays[name] for name in seen.names])
    scale = view.lengths_m[LENGTH["head" if part == "head" else "foot"]]
    scale = scale / REFERENCE_LENGTHS_M[LENGTH["head" if part == "head" else "foot"]]
    stands = quaternion.rotate(frame[..., None, :], scale * seen.offsets)
    distance = np.linalg.norm(place_m, axis=-1)[..., None, None]
    ray = rays.mean(0) / np.linalg.norm(rays.mean(0))
    away = distance * (rays - rays.mean(0)) - stands
    away = away - (away @ ray)[..., None] * ray
    sigma = view.params.facing_share * np.sqrt((seen.offsets**2).sum() / len(rays))
    return np.asarray((away**2).sum((-1, -2)) / len(rays) / sigma**2)


# --- Limbs -----------------------------------------------------------------------------------------


class _LimbName(NamedTuple):
    kind: Limb
    side: Side
    lengths: tuple[str, str]


def _limb_name(ball: str) -> _LimbName:
    side: Side = "left" if ball.startswith("left") else "right"
    if ball.endswith("upper_arm"):
        return _LimbName("arm", side, ("upper_arm", "forearm"))
    return _LimbName("leg", side, ("thigh", "shank"))


_LIMB_NAMES = tuple(_limb_name(ball) for ball, *_ in LIMBS)
_OPTIONS = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Options:
    """The four ways in which a limb may hang on each of N trunks."""

    middle_m: Float64
    """[N, 4, 3] elbow or knee; NaN where the limb is not seen."""
    lower_m: Float64
    """[N, 4, 3] wrist or ankle."""
    ball: Float64
    """[N, 4, 4] rotation of the ball."""
    bend_rad: Float64
    """[N, 4] of the hinge."""
    cost: Float64
    """[N, 4]; infinite for the choices that are none."""


def _limb_options(view: _View, trunks: _Trunks, index: int) -> _Options:
    """All branches of a limb on all trunks."""
    _, hinge, upper, middle, lower = LIMBS[index]
    limb = _LIMB_NAMES[index]
    count = len(trunks.cost)
    if not view.sees(middle, lower):
        unseen = np.full((count, _OPTIONS, 4), np.nan)
        only_one = np.tile([0.0, np.inf, np.inf, np.inf], (count, 1))
        return _Options(unseen[..., :3], unseen[..., :3], unseen, unseen[..., 0], only_one)
    first_m, second_m = (view.length(name) for name in limb.lengths)
    start = trunks.joints_m[upper]
    first = bone_branches(start, view.rays[middle], first_m)
    second = bone_branches(first.points_m, view.rays[lower], second_m)
    middle_m = np.repeat(first.points_m, 2, axis=1)
    lower_m = second.points_m.reshape(count, _OPTIONS, 3)
    back = quaternion.conjugate(trunks.frame)[:, None]
    along = quaternion.rotate(back, middle_m - start[:, None])
    beyond = quaternion.rotate(back, lower_m - middle_m)
    ball, bend = ball_and_bend(SEGMENT[hinge], along, beyond)
    distance = np.linalg.norm(start, axis=1)[:, None]
    cost = (
        limb_surprise(limb.kind, limb.side, ball, bend)
        + _missed_cost(view, first.missed_m[:, None], first_m, distance)
        + _missed_cost(view, np.repeat(second.missed_m, 2, axis=1), second_m, distance)
    )
    if limb.kind == "leg":
        turn = quaternion.from_rotvec(bend[..., None] * TABLES.axes[SEGMENT[hinge], 0])
        shank = quaternion.multiply(trunks.frame[:, None], quaternion.multiply(ball, turn))
        cost = cost + _pointing_cost(view, limb.side, lower_m, shank)
    return _Options(middle_m, lower_m, ball, bend, cost)


# --- Whole bodies ------------------------------------------------------------------------------------


def _whole_bodies(view: _View, trunks: _Trunks, limbs: list[_Options], limit: int) -> list[Float64]:
    """Coordinates of the likeliest combinations that differ from each other, the likeliest first."""
    a, b, c, d = (options.cost for options in limbs)
    total = (
        trunks.cost[:, None, None, None, None]
        + a[:, :, None, None, None]
        + b[:, None, :, None, None]
        + c[:, None, None, :, None]
        + d[:, None, None, None, :]
    )
    order = np.argsort(total, axis=None, kind="stable")[: view.params.beam]
    order = order[np.isfinite(total.ravel()[order])]
    n, *choices = np.unravel_index(order, total.shape)
    joints = [trunks.joints_m[name][n] for name in _TRUNK]
    for options, k in zip(limbs, choices, strict=True):
        joints += [options.middle_m[n, k], options.lower_m[n, k]]
    # Limbs that are not seen are alike in all combinations.
    shape = np.nan_to_num(np.stack(joints, axis=1) - 0.5 * (joints[0] + joints[1])[:, None])
    poses: list[Float64] = []
    left = np.arange(len(order))
    while len(left) and len(poses) < limit:
        first = int(left[0])
        poses.append(_coordinates(view, trunks, limbs, int(n[first]), [int(k[first]) for k in choices]))
        apart = np.linalg.norm(shape[left] - shape[first], axis=2).mean(1)
        left = left[apart > view.params.apart_m]
    return poses


def _coordinates(view: _View, trunks: _Trunks, limbs: list[_Options], n: int, choice: list[int]) -> Float64:
    """Coordinates [44] of one combination; what is not seen rests."""
    coordinates = resting_coordinates()
    hips = 0.5 * (trunks.joints_m["left_hip"][n] + trunks.joints_m["right_hip"][n])
    coordinates[0:3] = view.centre_m + hips
    coordinates[3:6] = quaternion.to_rotvec(trunks.frame[n])
    for (ball, hinge, *_), options, k in zip(LIMBS, limbs, choice, strict=True):
        if np.isfinite(options.bend_rad[n, k]):
            first = TABLES.first[SEGMENT[ball]]
            coordinates[first : first + 3] = quaternion.to_rotvec(options.ball[n, k])
            coordinates[TABLES.first[SEGMENT[hinge]]] = options.bend_rad[n, k]
    return coordinates
