"""Fit the process to motion clips: decay, density and return of each coordinate, correlations, spread of poses.

``docs/process.md`` gives the derivation, ``training.process`` the command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar

from fusion.body.skeleton import COORDINATE_NAMES, COORDINATES
from fusion.maths import quaternion
from fusion.records import Bool, Float64
from training.motion_model import MotionModel, errors, noise, transition
from training.tracks import (
    GROUPS,
    MIRROR_INDEX,
    MIRROR_SIGN,
    TURNS,
    Steps,
    Track,
    activity_weights,
    bare,
    steps,
    symmetric,
    way,
)

HORIZONS_S = (4 / 120, 0.1, 0.3, 1.0)
CORRELATION_HORIZON_S = 0.1
RETURN_HORIZON_S = 4.0
"""Long enough for several steps of a walk, so that the swing of a leg does not pass for a return to rest."""

ROOT_COORDINATES = 6
_SLOWEST_RETURN = 0.02
"""1/s; a slower return is none."""
_STILL = 0.02
"""Root mean square rate, rad/s, below which a clip carries no motion of a coordinate."""
DENSITY_SHARES: Mapping[str, float] = {"walk": 1.0, "uneven": 1.0, "sneak": 1.0, "climb": 1.0, "sport": 4.0}
"""Half of the weight for brisk motion, of which there is little: who is too sure of the process loses a person who
jumps, who is too unsure is a little noisier with one who walks."""
_DECAY_RANGE_S = (0.02, 5.0)
_RETURN_DEGREES = 2.0
SCATTER_DEGREES = 3.0
SHRINKAGE = 0.2
"""Part of the identity in the correlation: the best of 0, 0.05, 0.1, 0.2 and 0.4 for activities that were left out
(``training.process --leave-out``)."""
_POSE_SHRINKAGE = 0.05
_POSE_STRIDE = 12
_CORRELATION_STRIDE = 3


@dataclass(frozen=True, slots=True)
class Fallback:
    """Hand values of a coordinate that no clip moves: another one's density times a factor, and its return."""

    like: str
    factor: float
    return_rate: float
    """1/s."""
    pose_std: float
    """rad."""


FALLBACKS: Mapping[str, Fallback] = {
    # Scapulohumeral rhythm: the girdle takes a third of the arm's elevation (Inman, Saunders and Abbott 1944).
    "shoulder_elevation": Fallback("arm_x", 1 / 9, 1.0, 0.10),
    "shoulder_protraction": Fallback("arm_z", 1 / 9, 1.0, 0.10),
    # What the clips have of pronation is the roll of a nearly straight elbow, put there by the change of skeleton.
    "forearm_pronation": Fallback("elbow_flexion", 1.0, 0.5, 0.60),
    "wrist_flexion": Fallback("elbow_flexion", 1.0, 0.5, 0.35),
    "wrist_deviation": Fallback("elbow_flexion", 1 / 4, 0.5, 0.15),
    "toe_extension": Fallback("ankle_dorsiflexion", 1 / 4, 10.0, 0.20),
}
"""The coordinates that are not fitted."""

MOVED: Bool = np.array([bare(name) not in FALLBACKS for name in COORDINATE_NAMES])
"""[44] whether the clips move the coordinate."""


@dataclass(frozen=True, slots=True, eq=False)
class MotionFit:
    """What the clips say."""

    model: MotionModel
    pose_std: Float64
    """[44]; infinite for the root."""
    pose_correlation: Float64
    """[44, 44]."""


def fit_rate(moments: Mapping[float, Float64], return_rate: float) -> tuple[float, float]:
    """Density and decay of one coordinate's rate.

    Minimises the Gaussian negative log-likelihood of the marginal errors of position and rate, summed over the
    horizons (a composite likelihood). Given the decay, the best density is the mean ratio of squared error to what
    unit density leaves.

    Args:
        moments: per horizon in s the second moments [4, 4] of deviation from rest, rate, way, rate at the end.
        return_rate: 1/s.
    """

    def ratios(log_decay: float) -> tuple[Float64, Float64]:
        one = np.ones(1)
        unit = MotionModel(one, np.exp(one * log_decay), one * return_rate, 0.0 * one, np.ones((1, 1)))
        squares, scales = [], []
        for horizon_s, moment in moments.items():
            stay, keep, reach = (float(value[0]) for value in transition(unit, horizon_s))
            spread = noise(unit, horizon_s)
            for row, scale in (
                (np.array([1.0 - stay, -reach, 1.0, 0.0]), spread.position),
                (np.array([0.0, -keep, 0.0, 1.0]), spread.rate),
            ):
                squares.append(float(row @ moment @ row))
                scales.append(float(scale[0, 0]))
        return np.array(squares), np.array(scales)

    def cost(log_decay: float) -> float:
        squares, scales = ratios(log_decay)
        return float(np.log(np.mean(squares / scales)) + np.mean(np.log(scales)))

    grid = np.log(np.geomspace(*_DECAY_RANGE_S, 25))
    best = int(np.argmin([cost(value) for value in grid]))
    found = minimize_scalar(cost, bounds=(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]), method="bounded")
    squares, scales = ratios(float(found.x))
    return float(np.mean(squares / scales)), float(np.exp(found.x))


def fit_return(deviation: Float64, rate: Float64, moved: Float64, weights: Float64) -> float:
    """Rate in 1/s of the return to rest, from [N] samples over ``RETURN_HORIZON_S``.

    The way is regressed on deviation and rate with Student-t errors, so that those who stay where they are count as
    much as those who move far (Lange, Little and Taylor 1989, eq. 3.6).
    """
    inputs = np.stack([deviation, rate])
    trust = np.ones_like(weights)
    slope = np.zeros(2)
    for _ in range(50):
        weighted = inputs * (weights * trust)
        slope[:] = np.linalg.solve(weighted @ inputs.T + 1e-12 * np.eye(2), weighted @ moved)
        squares = (moved - slope @ inputs) ** 2
        scale = float((weights * trust * squares).sum() / weights.sum())
        trust = (_RETURN_DEGREES + 1.0) / (_RETURN_DEGREES + squares / max(scale, 1e-12))
    found = -np.log(np.clip(1.0 + slope[0], 1e-3, None)) / RETURN_HORIZON_S
    return float(found) if found > _SLOWEST_RETURN else 0.0


def scatter_correlation(values: Float64, weights: Float64, degrees: float = SCATTER_DEGREES) -> Float64:
    """Correlation [D, D] of heavy-tailed samples [N, D] with mean zero: Student-t maximum likelihood.

    A sample counts by its direction more than by its size, so that slow and brisk moments shape the correlation
    alike. Source: Lange, Little and Taylor 1989, "Robust statistical modeling using the t distribution", eq. 3.4-3.6.
    """
    size = values.shape[1]
    weights = weights / weights.sum()
    shape: Float64 = (values * weights[:, None]).T @ values
    for _ in range(60):
        distance = np.einsum("ni,ni->n", values, np.linalg.solve(shape, values.T).T)
        trust = (degrees + size) / (degrees + distance)
        new = (values * (weights * trust)[:, None]).T @ values
        change = float(np.abs(new - shape).max() / np.abs(shape).max())
        shape = new
        if change < 1e-6:
            break
    return as_correlation(shape)


def as_correlation(covariance: Float64) -> Float64:
    """Scale a covariance to a unit diagonal."""
    std = np.sqrt(np.diag(covariance))
    return np.asarray(covariance / np.outer(std, std))


def shrunk(correlation: Float64, amount: float) -> Float64:
    """Pull a correlation towards the identity."""
    return (1.0 - amount) * correlation + amount * np.eye(len(correlation))


def fit(tracks: Mapping[str, Track]) -> MotionFit:
    """Fit everything to tracks of clips to learn from, by name."""
    rest, pose_std, pose_correlation = _fit_poses(tracks)
    model = MotionModel(np.ones(COORDINATES), np.ones(COORDINATES), np.zeros(COORDINATES), rest, np.eye(COORDINATES))
    model = replace(model, return_rate=_fit_returns(tracks, rest))
    model = _fit_rates(tracks, model)
    model = _with_fallbacks(model)
    model = replace(model, correlation=fit_correlation(tracks, model))
    return MotionFit(model, pose_std, pose_correlation)


def _weighted(tracks: Mapping[str, Track], horizon_s: float) -> tuple[dict[str, Steps], dict[str, float]]:
    samples = {name: sample for name, track in tracks.items() if len((sample := steps(track, horizon_s)).start) > 0}
    return samples, activity_weights({name: len(sample.start) for name, sample in samples.items()})


def _carries(track: Track) -> Bool:
    """[44] whether a clip moves each coordinate at all."""
    return np.asarray(np.sqrt((track.rates[track.usable] ** 2).mean(axis=0)) > _STILL)


def _fit_poses(tracks: Mapping[str, Track]) -> tuple[Float64, Float64, Float64]:
    """Mean pose [44] (of the rotations on the manifold), spread [44] and correlation [44, 44] around it."""
    poses = {name: track.coordinates[track.usable][::_POSE_STRIDE] for name, track in tracks.items()}
    per_clip = activity_weights({name: len(values) for name, values in poses.items()})
    values = np.concatenate([poses[name] for name in per_clip])
    weights = np.concatenate([np.full(len(poses[name]), weight) for name, weight in per_clip.items()])
    rest = _tangent_mean(values, weights)
    away = way(np.broadcast_to(rest, values.shape), values)
    covariance = symmetric((away * weights[:, None]).T @ away)
    joints = MOVED & (np.arange(COORDINATES) >= ROOT_COORDINATES)
    std = np.where(joints, np.sqrt(np.diag(covariance)), np.inf)
    correlation = np.eye(COORDINATES)
    inside = np.ix_(joints, joints)
    correlation[inside] = shrunk(as_correlation(covariance[inside]), _POSE_SHRINKAGE)
    for index, name in enumerate(COORDINATE_NAMES):
        if bare(name) in FALLBACKS:
            std[index] = FALLBACKS[bare(name)].pose_std
    return rest, std, correlation


def _tangent_mean(values: Float64, weights: Float64) -> Float64:
    """Mean [44] of coordinates [N, 44] and of their mirror images; the root and what no clip moves stay 0."""
    mean = np.zeros(COORDINATES)
    counted = MOVED & (np.arange(COORDINATES) >= ROOT_COORDINATES)
    for _ in range(20):
        step = weights @ way(np.broadcast_to(mean, values.shape), values)
        step = np.where(counted, 0.5 * (step + MIRROR_SIGN * step[MIRROR_INDEX]), 0.0)
        for i in range(COORDINATES):
            if i not in _IN_TURNS:
                mean[i] += step[i]
        for i in TURNS:
            here = quaternion.from_rotvec(mean[i : i + 3])
            mean[i : i + 3] = quaternion.to_rotvec(quaternion.multiply(here, quaternion.from_rotvec(step[i : i + 3])))
    return mean


_IN_TURNS = frozenset(i + k for i in TURNS for k in range(3))


def _fit_returns(tracks: Mapping[str, Track], rest: Float64) -> Float64:
    samples, per_clip = _weighted(tracks, RETURN_HORIZON_S)
    samples = {name: samples[name] for name in per_clip}
    counts = {name: len(sample.start[::_POSE_STRIDE]) for name, sample in samples.items()}
    away = {
        name: way(np.broadcast_to(rest, (counts[name], COORDINATES)), sample.start[::_POSE_STRIDE])
        for name, sample in samples.items()
    }
    out = np.zeros(COORDINATES)
    for group, columns in GROUPS.items():
        if group in FALLBACKS:
            out[list(columns)] = FALLBACKS[group].return_rate
        elif not group.startswith("root"):
            parts: list[Float64] = []
            for name, sample in samples.items():
                for i in columns:
                    sign = MIRROR_SIGN[i] if COORDINATE_NAMES[i].startswith("right_") else 1.0
                    parts.append(
                        np.stack(
                            [
                                sign * away[name][:, i],
                                sign * sample.rate[::_POSE_STRIDE, i],
                                sign * sample.moved[::_POSE_STRIDE, i],
                                np.full(counts[name], per_clip[name]),
                            ]
                        )
                    )
            out[list(columns)] = fit_return(*np.concatenate(parts, axis=1))
    return out


def _fit_rates(tracks: Mapping[str, Track], model: MotionModel) -> MotionModel:
    """Density and decay of every coordinate that the clips move, pooled over the groups."""
    carries = {name: _carries(track) for name, track in tracks.items()}
    moments: dict[float, Float64] = {}
    for horizon_s in HORIZONS_S:
        samples, _ = _weighted(tracks, horizon_s)
        per_clip = {name: _moments(sample, model) for name, sample in samples.items()}
        moments[horizon_s] = np.zeros((COORDINATES, 4, 4))
        for i in range(COORDINATES):
            counts = {name: len(sample.start) for name, sample in samples.items() if carries[name][i]}
            for name, weight in activity_weights(counts, DENSITY_SHARES).items():
                moments[horizon_s][i] += weight * counts[name] * per_clip[name][i]
    density, decay = model.density.copy(), model.decay_s.copy()
    for group, members in GROUPS.items():
        if group not in FALLBACKS:
            columns = list(members)
            pooled = {horizon_s: np.mean(moments[horizon_s][columns], axis=0) for horizon_s in HORIZONS_S}
            density[columns], decay[columns] = fit_rate(pooled, float(model.return_rate[columns[0]]))
    return replace(model, density=density, decay_s=decay)


def _moments(sample: Steps, model: MotionModel) -> Float64:
    """Mean products [44, 4, 4] of deviation from rest, rate, way and rate at the end."""
    away = way(np.broadcast_to(model.rest, sample.start.shape), sample.start)
    values = np.stack([away, sample.rate, sample.moved, sample.end_rate])
    return np.asarray(np.einsum("anj,bnj->jab", values, values) / len(sample.start))


def _with_fallbacks(model: MotionModel) -> MotionModel:
    density, decay = model.density.copy(), model.decay_s.copy()
    for group, fallback in FALLBACKS.items():
        columns, like = list(GROUPS[group]), GROUPS[fallback.like][0]
        density[columns] = fallback.factor * density[like]
        decay[columns] = decay[like]
    return replace(model, density=density, decay_s=decay)


def fit_correlation(
    tracks: Mapping[str, Track], model: MotionModel, degrees: float = SCATTER_DEGREES, shrinkage: float = SHRINKAGE
) -> Float64:
    """Correlation [44, 44] of the driving noise, from what the rates are wrong by after ``CORRELATION_HORIZON_S``.

    Mirror symmetric. A horizontal move of the root in the world depends on the heading and has no correlation with
    anything; a vertical one has that part which does not change sign in a mirror.
    """
    samples, per_clip = _weighted(tracks, CORRELATION_HORIZON_S)
    wrong, weights = [], []
    for name, weight in per_clip.items():
        found = errors(model, samples[name], CORRELATION_HORIZON_S)[1][::_CORRELATION_STRIDE]
        # A body and its mirror image are the same evidence: the estimate is symmetric by construction.
        wrong += [found, MIRROR_SIGN * found[:, MIRROR_INDEX]]
        weights.append(np.full(2 * len(found), weight))
    used = MOVED & ~np.isin(COORDINATE_NAMES, ("root_px", "root_py"))
    values = np.concatenate(wrong)[:, used]
    scale = np.sqrt(noise(model, CORRELATION_HORIZON_S).rate.diagonal()[used])
    found = scatter_correlation(values / scale, np.concatenate(weights), degrees)
    correlation = np.eye(COORDINATES)
    correlation[np.ix_(used, used)] = shrunk(found, shrinkage)
    return symmetric(0.5 * (correlation + correlation.T))
