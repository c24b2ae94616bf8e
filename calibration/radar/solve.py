"""The calibration of one radar: a first pose from nothing, the likeliest pose from there, and how good it is."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from calibration.radar.body import PART, SHARES, MovingBody
from calibration.radar.checks import after, apart, before, lost, unseen
from calibration.radar.coarse import clusters, first_pose
from calibration.radar.likelihood import (
    BIAS,
    PARAMETERS,
    SHIFT,
    TIME,
    TURN,
    Model,
    Score,
    score,
)
from calibration.radar.recording import NS_PER_S, Frames, Trail
from calibration.radar.result import Pose, RadarCalibration, RadarCalibrationParams, Residual
from fusion.estimators.radar.polar import polar_of
from fusion.maths import quaternion
from fusion.records import Array, Float64
from fusion.rig import RadarMount

_BLURS = (4.0, 2.0)
"""At first the noise counts as so many times larger, so that a rough start finds its way."""
_MOST_STEPS = 40
_LARGEST_STEP = np.array([0.2, 0.2, 0.2, 0.3, 0.3, 0.3, 0.1, 0.1])
_SETTLED = 0.02
"""A step that is smaller than this part of its standard deviation is the last."""
_FIRST_CLUTTER = 0.1
_LEAST_BODY = 0.05
"""With a smaller share of the points on the body, a guess leads nowhere."""
_ENOUGH = 500
"""Of so many points the noise is learned."""
_MEASURES = (("range", "m"), ("azimuth", "deg"), ("elevation", "deg"), ("radial velocity", "m/s"))
_CLAIMED = 0.95


class Guess(NamedTuple):
    """A pose on the way."""

    r_world_from_radar: Float64
    position_m: Float64
    time_offset_s: float
    bias_m: float


class Fit(NamedTuple):
    """The likeliest pose."""

    guess: Guess
    model: Model
    score: Score
    information: Float64
    """[8, 8] with what was known beforehand."""


def calibrate(
    frames: Frames,
    trail: Trail,
    params: RadarCalibrationParams | None = None,
    *,
    known: RadarMount | None = None,
    level_down_rad: float | None = None,
) -> RadarCalibration:
    """Where a radar is and how late its stamps are.

    Args:
        frames: what it saw.
        trail: where the person was.
        params: bounds.
        known: where it was taken to be: one more place to begin at, never the outcome.
        level_down_rad: it is known to look down by this and to lean to neither side; None if nothing is known.
    """
    p = params or RadarCalibrationParams()
    findings = tuple(before(frames, trail, p))
    if findings:
        return RadarCalibration(frames.radar, None, findings)
    body, found = MovingBody(trail, p.body), clusters(frames, p.coarse)
    start = first_pose(frames, found, body, p.coarse)
    findings = tuple(unseen(frames, found, body, start.time_offset_s if start else 0.0, p))
    if start is not None and not findings:
        findings = tuple(apart(frames, found, body, start, p))
    if start is None or findings:
        return RadarCalibration(frames.radar, None, findings or (lost(frames.radar),))
    guesses = [Guess(start.r_world_from_radar, start.position_world_m, start.time_offset_s, 0.0)]
    if known is not None:
        guesses.append(Guess(known.r_world_from_radar, known.position_world_m, known.time_offset_s, 0.0))
    fits = [item for guess in guesses if (item := fit(frames, body, guess, p, level_down_rad)) is not None]
    if not fits:
        return RadarCalibration(frames.radar, None, (lost(frames.radar),))
    # Another time offset may leave out other frames, so it is the mean that is compared.
    best = max(fits, key=lambda item: item.score.log_likelihood / len(item.score.owners))
    return judged(frames, body, best, p)


# ---------------------------------------------------------------- the likeliest pose


def fit(
    frames: Frames, body: MovingBody, start: Guess, params: RadarCalibrationParams, level_down_rad: float | None = None
) -> Fit | None:
    """Fisher scoring from a start: the noise and the share of clutter are learned on the way.

    Returns:
        The likeliest pose; None if on the way the body is nowhere near the points.
    """
    told = shown_frames(frames, body, start.time_offset_s)
    if not len(told.points_m):
        return None
    measured = np.column_stack([polar_of(told.points_m), told.radial_velocities_m_s])
    usual = usual_sigmas(params)
    model = Model(usual, *_bounds(measured, usual), _FIRST_CLUTTER, params.full_speed_m_s)
    guess = start
    for step in range(_MOST_STEPS):
        blur = _BLURS[step] if step < len(_BLURS) else 1.0
        said = _said(told, measured, body, guess, model._replace(sigmas=blur * model.sigmas))
        if said.body < _LEAST_BODY * len(measured):
            return None
        information, pull = _with_prior(said, guess, params, level_down_rad)
        move = np.linalg.solve(information, pull)
        settled = bool((np.abs(move) < _SETTLED / np.sqrt(information.diagonal())).all())
        if settled and blur == 1.0:
            break
        guess = _moved(guess, move / max(1.0, float((np.abs(move) / _LARGEST_STEP).max())))
        if blur == 1.0:
            model = _learned(model, said, len(measured), usual, params)
    return Fit(guess, model, said, information)


def shown_frames(frames: Frames, body: MovingBody, time_offset_s: float) -> Frames:
    """Those frames at which cameras show the person."""
    shown = body.known(frames.times_ns - time_offset_s * NS_PER_S)
    points = np.repeat(shown, frames.counts)
    return replace(
        frames,
        times_ns=frames.times_ns[shown],
        first=np.concatenate([[0], np.cumsum(frames.counts[shown])]),
        points_m=frames.points_m[points],
        radial_velocities_m_s=frames.radial_velocities_m_s[points],
    )


def usual_sigmas(params: RadarCalibrationParams) -> Float64:
    """[4] the noise that is usual."""
    return np.array([params.range_m, params.azimuth_rad, params.elevation_rad, params.radial_velocity_m_s])


def _bounds(measured: Float64, sigmas: Float64) -> tuple[Float64, Float64]:
    """What the radar can tell, as its points show it: clutter is everywhere in its view."""
    spare = 0.01 * sigmas
    return measured.min(0) - spare, measured.max(0) + spare


def _said(frames: Frames, measured: Float64, body: MovingBody, guess: Guess, model: Model) -> Score:
    places = body.at(frames.times_ns - guess.time_offset_s * NS_PER_S)
    pose = np.array([*guess.position_m, guess.bias_m])
    return score(measured, frames.first, places, guess.r_world_from_radar, pose, model)


def _with_prior(
    said: Score, guess: Guess, params: RadarCalibrationParams, level_down_rad: float | None
) -> tuple[Float64, Float64]:
    """Information and score with what is known beforehand: small range biases, and which way is up if that is told."""
    information, pull = said.information.copy(), said.frames.sum(0)
    information[BIAS, BIAS] += 1.0 / params.bias_m**2
    pull[BIAS] -= guess.bias_m / params.bias_m**2
    if level_down_rad is not None:
        up = guess.r_world_from_radar[2]
        expected = np.array([0.0, -math.sin(level_down_rad), math.cos(level_down_rad)])
        # By a small turn d of the radar: what is up in its frame moves by up x d.
        rows = np.array([[0.0, -up[2], up[1]], [up[2], 0.0, -up[0]], [-up[1], up[0], 0.0]])
        information[TURN, TURN] += rows.T @ rows / params.level_rad**2
        pull[TURN] -= rows.T @ (up - expected) / params.level_rad**2
    return information, pull


def _moved(guess: Guess, move: Array) -> Guess:
    turn = quaternion.to_matrix(quaternion.from_rotvec(move[TURN]))
    return Guess(
        guess.r_world_from_radar @ turn,
        guess.position_m + move[SHIFT],
        guess.time_offset_s + float(move[TIME]),
        guess.bias_m + float(move[BIAS]),
    )


def _learned(model: Model, said: Score, points: int, usual: Float64, params: RadarCalibrationParams) -> Model:
    """The noise and the clutter that the last step has shown."""
    enough = said.counted >= _ENOUGH
    shown = np.where(enough, np.sqrt(said.squares / np.maximum(said.counted, 1.0)), usual)
    sigmas = np.clip(shown, params.noise_low * usual, params.noise_high * usual)
    clutter = float(np.clip(1.0 - said.body / points, 0.005, 0.8))
    return model._replace(sigmas=sigmas, clutter=clutter, shares=_shares(said, params))


def _shares(said: Score, params: RadarCalibrationParams) -> Float64:
    """How often each part of the body reflects: what the points tell, drawn towards what is usual."""
    hits = np.bincount(PART, said.hits)
    exposure = np.bincount(PART, said.exposure)
    usual = np.bincount(PART, SHARES) / np.bincount(PART)
    kept = params.share_points
    shares = ((hits + kept) / (exposure + kept / usual))[PART]
    return np.asarray(shares / shares.sum())


# ---------------------------------------------------------------- how surely


def covariance(found: Fit, times_ns: Array, params: RadarCalibrationParams) -> Float64:
    """[8, 8] of the parameters: the inverse information, as many times larger as scores of near frames go together.

    The factor is the mean of the generalised design effects (Rao & Scott, "The analysis of categorical data from
    complex sample surveys", JASA 76(374), 1981) of the long-run covariance of the frames' scores (Newey & West,
    "A simple, positive semi-definite, heteroskedasticity and autocorrelation consistent covariance matrix",
    Econometrica 55(3), 1987, eq. 5). To it comes what all skeletons may have in common.
    """
    step_s = float(np.median(np.diff(times_ns))) / NS_PER_S
    lags = min(max(1, round(params.correlation_s / step_s)), len(times_ns) // 2)
    scores = found.score.frames
    together = scores.T @ scores
    for lag in range(1, lags + 1):
        product = scores[lag:].T @ scores[:-lag]
        together += (1.0 - lag / (lags + 1.0)) * (product + product.T)
    plain = np.linalg.inv(found.information)
    factor = max(1.0, float(np.trace(plain @ together)) / PARAMETERS)
    common = np.repeat([params.skeleton_rad, params.skeleton_m, params.skeleton_s, 0.0], [3, 3, 1, 1])
    return np.asarray(factor * plain + np.diag(common**2))


def claimed_95(part: Float64) -> float:
    """How long a random vector of this covariance [D, D] is in 95 of 100 cases at most.

    Source: Box, "Some theorems on quadratic forms applied in the study of analysis of variance problems, I",
    Annals of Mathematical Statistics 25(2), 1954: a scaled chi-square of the same mean and variance.
    """
    total, squared = float(np.trace(part)), float(np.trace(part @ part))
    return math.sqrt(squared / total * float(chi2.ppf(_CLAIMED, total**2 / squared)))


def judged(frames: Frames, body: MovingBody, best: Fit, params: RadarCalibrationParams) -> RadarCalibration:
    """The outcome with everything that speaks against it."""
    told = shown_frames(frames, body, best.guess.time_offset_s)
    spread = covariance(best, told.times_ns, params)
    pose = Pose(
        r_world_from_radar=best.guess.r_world_from_radar,
        position_world_m=best.guess.position_m,
        time_offset_s=best.guess.time_offset_s,
        range_bias_m=best.guess.bias_m,
        covariance=spread[:BIAS, :BIAS],
        rotation_95_rad=claimed_95(spread[TURN, TURN]),
        position_95_m=claimed_95(spread[SHIFT, SHIFT]),
        time_95_s=claimed_95(spread[TIME : TIME + 1, TIME : TIME + 1]),
    )
    outcome = RadarCalibration(
        radar=frames.radar,
        pose=pose,
        findings=(),
        residuals=residuals(best, params),
        frames=len(told.times_ns),
        points=len(told.points_m),
        body_points=round(best.score.body),
        seconds=seen_s(told.times_ns[told.counts > 0]),
    )
    return replace(outcome, findings=tuple(after(outcome, params)))


def residuals(best: Fit, params: RadarCalibrationParams) -> tuple[Residual, ...]:
    """A row for each measure; angles in degrees."""
    rows = []
    said, usual = best.score, usual_sigmas(params)
    counted = np.maximum(said.counted, 1.0)
    rms, means = np.sqrt(said.squares / counted), said.residuals / counted
    for m, (name, unit) in enumerate(_MEASURES):
        scale = math.degrees(1.0) if unit == "deg" else 1.0
        rows.append(Residual(name, unit, scale * float(rms[m]), scale * float(means[m]), scale * float(usual[m])))
    return tuple(rows)


def seen_s(times_ns: Array) -> float:
    """For how long frames follow each other without a long gap."""
    steps = np.diff(times_ns) / NS_PER_S
    return float(steps[steps < 1.0].sum())
