"""Judge a process on clips that were held out of its fit.

Two questions: are the errors of a prediction as large as the process says, and
does the correlation of its noise tell how a rate that one gyroscope sees is
shared between the joints above it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fusion.body.kinematics import TABLES, body_forward, rotation_jacobian
from fusion.body.skeleton import COORDINATE, COORDINATE_NAMES, COORDINATES, SEGMENT, SEGMENTS
from fusion.records import Float64
from training.clips import FIT_ACTIVITIES
from training.motion_model import MotionModel, errors, noise
from training.process_fit import CORRELATION_HORIZON_S, HORIZONS_S, MOVED, MotionFit, fit_correlation, shrunk
from training.tracks import GROUPS, Track, bare, steps, way

_INSIDE_95 = 1.959964
_STRIDE = 4
_GYROSCOPE_RAD_S = 0.02
"""Error of a rate that a body-worn gyroscope tells, skin motion left out."""
_JUDGED = tuple(np.flatnonzero(MOVED).tolist())

_HAND_DECAY_S = 0.3
_HAND_CORRELATION_S = 0.1
_HAND_ACCELERATION = {
    "root_p": 2.5, "root_r": 6.0, "spine": 5.0, "neck": 9.0, "shoulder": 5.0, "arm": 25.0, "elbow": 25.0,
    "forearm": 25.0, "wrist": 25.0, "hip": 18.0, "knee": 30.0, "ankle": 25.0, "toe": 25.0,
}  # fmt: skip
_HAND_RETURN_S = {"spine": 0.5, "neck": 2.0, "shoulder": 1.0, "forearm": 2.0, "wrist": 2.0, "toe": 0.1}


def hand_set(rest: Float64) -> MotionModel:
    """The process before this fit: accelerations that a person guessed, one decay for all, no correlation.

    Args:
        rest: [44] where coordinates with a return go to.
    """
    density, back = np.empty(COORDINATES), np.zeros(COORDINATES)
    for index, name in enumerate(COORDINATE_NAMES):
        for prefix, value in _HAND_ACCELERATION.items():
            if bare(name).startswith(prefix):
                density[index] = value**2 * _HAND_CORRELATION_S
        for prefix, seconds in _HAND_RETURN_S.items():
            if bare(name).startswith(prefix):
                back[index] = 1.0 / seconds
    return MotionModel(density, np.full(COORDINATES, _HAND_DECAY_S), back, rest, np.eye(COORDINATES))


def uncorrelated(model: MotionModel) -> MotionModel:
    """The same process with independent noise."""
    return replace(model, correlation=np.eye(COORDINATES))


@dataclass(frozen=True, slots=True)
class Score:
    """How well the errors over one horizon fit what the process says of them; position and rate."""

    horizon_s: float
    normalised_square: tuple[float, float]
    """Mean of the squared error over its variance; 1 is right, more is too sure."""
    inside_95: tuple[float, float]
    """Share of the errors inside the central 95 %."""
    log_likelihood: tuple[float, float]
    """Mean over moments, nats per coordinate (of errors in m and rad, m/s and rad/s), all coordinates jointly."""


Errors = list[tuple[Float64, Float64]]
"""Of each clip, errors [N, 44] of predicted coordinates and rates."""


def prediction_errors(model: MotionModel, tracks: Mapping[str, Track], horizon_s: float) -> Errors:
    """Errors of predictions from perfect knowledge, clip by clip; none of clips shorter than the horizon."""
    samples = (steps(track, horizon_s) for track in tracks.values())
    return [errors(model, sample, horizon_s) for sample in samples if len(sample.start) > 0]


def score(model: MotionModel, found: Errors, horizon_s: float, columns: Sequence[int] = _JUDGED) -> Score:
    """Judge errors of ``prediction_errors`` over a horizon; every clip counts the same.

    Args:
        model: the process that predicted.
        found: its errors.
        horizon_s: time from perfect knowledge to the prediction.
        columns: the coordinates to judge.
    """
    inside = np.ix_(columns, columns)
    spread = noise(model, horizon_s)
    rows: list[Float64] = []
    for pair in found:
        row = []
        for wrong, covariance in zip(pair, (spread.position[inside], spread.rate[inside]), strict=True):
            chosen = wrong[:, columns]
            squares = chosen**2 / np.diag(covariance)
            whole = np.einsum("ni,ni->n", chosen, np.linalg.solve(covariance, chosen.T).T)
            constant = len(columns) * np.log(2.0 * np.pi) + np.linalg.slogdet(covariance)[1]
            likelihood = -0.5 * (constant + whole.mean()) / len(columns)
            row.append([squares.mean(), (squares < _INSIDE_95**2).mean(), likelihood])
        rows.append(np.array(row))
    mean = np.mean(rows, axis=0)
    pairs = [(float(mean[0, k]), float(mean[1, k])) for k in range(3)]
    return Score(horizon_s, pairs[0], pairs[1], pairs[2])


def all_scores(
    model: MotionModel, tracks: Mapping[str, Track]
) -> tuple[tuple[Score, ...], dict[str, tuple[Score, ...]]]:
    """Scores over all horizons: of all coordinates that the clips move, and of each group of them."""
    found = {horizon_s: prediction_errors(model, tracks, horizon_s) for horizon_s in HORIZONS_S}
    whole = tuple(score(model, wrong, horizon_s) for horizon_s, wrong in found.items())
    groups = {
        group: tuple(score(model, wrong, horizon_s, columns) for horizon_s, wrong in found.items())
        for group, columns in GROUPS.items()
        if MOVED[columns[0]]
    }
    return whole, groups


def pose_score(fitted: MotionFit, tracks: Mapping[str, Track]) -> dict[str, float]:
    """How poses lie in the prior: normalised square, and what its correlation gains, nats per coordinate and moment.

    Counted are the joints that the clips move; every clip counts the same.
    """
    chosen = MOVED & np.isfinite(fitted.pose_std)
    correlation = fitted.pose_correlation[np.ix_(chosen, chosen)]
    squares, gains = [], []
    for track in tracks.values():
        poses = track.coordinates[track.usable]
        away = way(np.broadcast_to(fitted.model.rest, poses.shape), poses)[:, chosen] / fitted.pose_std[chosen]
        whole = np.einsum("ni,ni->n", away, np.linalg.solve(correlation, away.T).T)
        squares.append((away**2).mean())
        gain = (away**2).sum(axis=1) - whole - np.linalg.slogdet(correlation)[1]
        gains.append(0.5 * gain.mean() / away.shape[1])
    return {"normalised_square": float(np.mean(squares)), "correlation_gain_nats": float(np.mean(gains))}


@dataclass(frozen=True, slots=True)
class Share:
    """What gyroscopes tell of a joint's rate, 0.1 s after all was known: root mean square errors in rad/s."""

    wanted: str
    worn_on: tuple[str, ...]
    without: float
    """Before the gyroscopes are heard."""
    independent: float
    """After, with independent noise."""
    correlated: float
    """After, with correlated noise."""
    ratio: float
    """Correlated to independent, geometric mean over clips and sides: every clip counts the same, brisk or not."""


SHARES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("hip_y", ("lower_leg",)),
    ("hip_y", ("pelvis", "lower_leg")),
    ("knee_flexion", ("pelvis", "lower_leg")),
    ("spine", ("pelvis", "upper_leg")),
    ("arm", ("forearm",)),
    ("arm", ("t8", "forearm")),
    ("elbow_flexion", ("t8", "forearm")),
)
"""Coordinates (all that begin so) and the segments that carry a gyroscope."""


def shares(model: MotionModel, tracks: Mapping[str, Track]) -> tuple[Share, ...]:
    """Errors of joint rates given the world rates of some segments; left and right pooled, every clip the same.

    The surprise of a gyroscope is J e with J the segment's rate per coordinate rate at the true pose and e the errors
    of the predicted rates; the estimate of e is S J^T (J S J^T + r I)^-1 J e.
    """
    surprise: list[tuple[Float64, Float64]] = []
    for track in tracks.values():
        sample = steps(track, CORRELATION_HORIZON_S)
        wrong = errors(model, sample, CORRELATION_HORIZON_S)[1][::_STRIDE]
        surprise.append((wrong, _angular_jacobians(sample.end[::_STRIDE], track.lengths_m)))
    return tuple(_share(model, surprise, wanted, worn) for wanted, worn in SHARES)


def _share(model: MotionModel, surprise: list[tuple[Float64, Float64]], wanted: str, worn: tuple[str, ...]) -> Share:
    squares = []
    for side in ("right", "left"):
        names = [name for name in COORDINATE_NAMES if name.startswith((f"{side}_{wanted}", wanted))]
        columns = [COORDINATE[name] for name in names]
        segments = [SEGMENT.get(name, SEGMENT.get(f"{side}_{name}", -1)) for name in worn]
        for wrong, jacobians in surprise:
            j = jacobians[:, segments].reshape(len(wrong), -1, COORDINATES)
            seen = np.einsum("nrc,nc->nr", j, wrong)
            row = [float((wrong[:, columns] ** 2).mean())]
            for used in (uncorrelated(model), model):
                s = noise(used, CORRELATION_HORIZON_S).rate
                js = j @ s
                whole = js @ j.transpose(0, 2, 1) + _GYROSCOPE_RAD_S**2 * np.eye(j.shape[1])
                weights = np.linalg.solve(whole, seen[..., None])
                guess = (js[:, :, columns].transpose(0, 2, 1) @ weights)[..., 0]
                row.append(float(((wrong[:, columns] - guess) ** 2).mean()))
            squares.append(row)
    without, independent, correlated = np.sqrt(np.mean(squares, axis=0))
    ratios = [0.5 * np.log(row[2] / row[1]) for row in squares if row[1] > 0.0]
    return Share(wanted, worn, float(without), float(independent), float(correlated), float(np.exp(np.mean(ratios))))


def _angular_jacobians(coordinates: Float64, lengths_m: Float64) -> Float64:
    """World angular rate of every segment per coordinate rate, [N, 23, 3, 44]."""
    out = np.zeros((len(coordinates), SEGMENTS, 3, COORDINATES))
    positions, quaternions, axes = np.empty((SEGMENTS, 3)), np.empty((SEGMENTS, 4)), np.zeros((SEGMENTS, 3, 3))
    for n, pose in enumerate(np.ascontiguousarray(coordinates)):
        body_forward(TABLES, pose, lengths_m, positions, quaternions, axes)
        for segment in range(SEGMENTS):
            rotation_jacobian(TABLES, axes, segment, out[n, segment])
    return out


def left_out_gains(tracks: Mapping[str, Track], model: MotionModel, shrinkages: Sequence[float]) -> dict[float, float]:
    """What a correlation gains over none for activities that its fit leaves out, nats per coordinate and moment.

    Judged is the direction of the errors, whose size differs between activities: the likelihood of the angular
    central Gaussian distribution (Tyler 1987, "Statistical analysis for the angular central Gaussian distribution on
    the sphere", eq. 1).
    """
    chosen = MOVED & ~np.isin(COORDINATE_NAMES, ("root_px", "root_py"))
    scale = np.sqrt(np.diag(noise(model, CORRELATION_HORIZON_S).rate)[chosen])
    gains: dict[float, list[float]] = {amount: [] for amount in shrinkages}
    for names in FIT_ACTIVITIES.values():
        found = []
        for name in sorted(set(names) & set(tracks)):
            wrong = errors(model, steps(tracks[name], CORRELATION_HORIZON_S), CORRELATION_HORIZON_S)[1][::_STRIDE]
            found.append(wrong[:, chosen] / scale)
        judged = np.concatenate(found)
        # A coordinate that stands quite still has no direction.
        judged = judged[(np.abs(judged) > 1e-9).all(axis=1)]
        others = {name: track for name, track in tracks.items() if name not in names}
        plain = fit_correlation(others, model, shrinkage=0.0)[np.ix_(chosen, chosen)]
        for amount in shrinkages:
            gains[amount].append(_direction_gain(judged, shrunk(plain, amount)))
    return {amount: float(np.mean(values)) for amount, values in gains.items()}


def _direction_gain(values: Float64, correlation: Float64) -> float:
    size = values.shape[1]
    distance = np.einsum("ni,ni->n", values, np.linalg.solve(correlation, values.T).T)
    against = (values**2).sum(axis=1)
    return float(-0.5 * np.linalg.slogdet(correlation)[1] / size - 0.5 * np.log(distance / against).mean())
