"""What speaks against a calibration: before anything is computed, and after."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from calibration.radar.body import SHARES, MovingBody
from calibration.radar.coarse import Clusters, Coarse, first_pose
from calibration.radar.recording import NS_PER_S, Frames, Trail
from calibration.radar.result import Finding, RadarCalibration, RadarCalibrationParams

_FAR_STEP_S = 0.25
WALK_AGAIN = "walk for 30 s in view of radar and cameras, towards the radar and away from it and from side to side"
_LIKELY = 0.8
"""A time offset at which so many clusters agree is worth being told."""


class Way(NamedTuple):
    """How the person went while the radar saw them."""

    speed_m_s: float
    """Mean horizontal speed."""
    spread_m: float
    """Standard deviation of the place along the narrowest horizontal direction."""
    seconds: float
    """For how long radar and cameras saw them together."""


def before(frames: Frames, trail: Trail, params: RadarCalibrationParams) -> Iterator[Finding]:
    """What forbids to begin."""
    if not len(frames.times_ns):
        yield Finding("no_frames", f"radar {frames.radar!r} sent nothing; see that it runs: kinefuse doctor radar")
        return
    if trail.crowded > params.crowded:
        yield Finding(
            "crowd",
            f"cameras show several people for {100.0 * trail.crowded:.0f} % of the time, at most "
            f"{100.0 * params.crowded:.0f} %; let one person alone walk in view",
        )
        return
    if len(trail.times_ns) < 2:
        yield Finding("nobody", f"cameras show nobody; {WALK_AGAIN}")
        return
    first, last = int(trail.times_ns[0]), int(trail.times_ns[-1])
    early, late = int(frames.times_ns[0]), int(frames.times_ns[-1])
    apart_s = max(early - last, first - late) / NS_PER_S
    if apart_s > params.latest_s:
        yield Finding(
            "clock",
            f"radar {frames.radar!r} stamps lie {apart_s:.1f} s {'after' if early > last else 'before'} those of the "
            "cameras; let both be stamped by the session's clock",
        )
        return
    shown_s = (last - first) / NS_PER_S
    if shown_s < params.seen_s:
        yield Finding(
            "nobody", f"cameras show the person for {shown_s:.1f} s, at least {params.seen_s:g} s; {WALK_AGAIN}"
        )


def way(frames: Frames, found: Clusters, body: MovingBody, time_offset_s: float) -> Way:
    """How the person went in those frames in which the radar has a cluster."""
    times = frames.times_ns[found.frame] - time_offset_s * NS_PER_S
    times = times[body.known(times)]
    if not len(times):
        return Way(0.0, 0.0, 0.0)
    places = body.at(times)
    middles = np.einsum("fkc,k->fc", places.positions_m, SHARES)[:, :2]
    speeds = np.linalg.norm(np.einsum("fkc,k->fc", places.velocities_m_s, SHARES)[:, :2], axis=1)
    spread = math.sqrt(max(float(np.linalg.eigvalsh(np.cov(middles.T, ddof=0))[0]), 0.0))
    steps = np.diff(times) / NS_PER_S
    return Way(float(speeds.mean()), spread, float(steps[steps < 1.0].sum()))


def unseen(
    frames: Frames, found: Clusters, body: MovingBody, time_offset_s: float, params: RadarCalibrationParams
) -> Iterator[Finding]:
    """Whether radar and cameras saw the same person go to and fro, for long enough."""
    gone = way(frames, found, body, time_offset_s)
    if gone.seconds < params.seen_s:
        yield Finding(
            "unseen",
            f"radar {frames.radar!r} and cameras see somebody together for {gone.seconds:.1f} s, at least "
            f"{params.seen_s:g} s (a radar does not see who stands still, nor what is behind or above its view); "
            f"point it into the room and {WALK_AGAIN}",
        )
    elif gone.speed_m_s < params.speed_m_s:
        yield Finding(
            "still",
            f"the person moves at {gone.speed_m_s:.2f} m/s in the mean, at least {params.speed_m_s:g} m/s; "
            f"{WALK_AGAIN}",
        )
    elif gone.spread_m < params.spread_m:
        yield Finding(
            "line",
            f"the person keeps to one line (within {100.0 * gone.spread_m:.0f} cm of it, at least "
            f"{100.0 * params.spread_m:.0f} cm), about which a radar could be turned unnoticed; {WALK_AGAIN}",
        )


def lost(radar: str) -> Finding:
    """What is said where no pose puts the points on the person's body."""
    return Finding(
        "apart",
        f"no pose of radar {radar!r} puts its points on the body of the person whom cameras show; see that nothing and "
        "nobody else moves before it, and that the cameras' profile is right",
    )


def apart(
    frames: Frames, found: Clusters, body: MovingBody, start: Coarse, params: RadarCalibrationParams
) -> Iterator[Finding]:
    """Whether what the radar sees moves as the person does; if not, whether it would with clocks further off."""
    if start.agreeing >= params.agreeing:
        return
    far = np.arange(-params.look_s, params.look_s + _FAR_STEP_S / 2.0, _FAR_STEP_S)
    other = first_pose(frames, found, body, params.coarse, offsets_s=far)
    if other is not None and other.agreeing >= _LIKELY:
        late = "late" if other.time_offset_s > 0.0 else "early"
        yield Finding(
            "clock",
            f"radar {frames.radar!r} would fit if its stamps were about {abs(other.time_offset_s):.1f} s {late}, "
            f"at most {params.latest_s:g} s; set the delay of its node (delay_s), or let one clock stamp both",
        )
        return
    yield Finding(
        "apart",
        f"what radar {frames.radar!r} sees moves otherwise than the person whom cameras show (together for "
        f"{100.0 * start.agreeing:.0f} % of the frames, at least {100.0 * params.agreeing:.0f} %); see that nothing "
        "and nobody else moves before it, and that the cameras' profile is right",
    )


def after(outcome: RadarCalibration, params: RadarCalibrationParams) -> Iterator[Finding]:
    """What speaks against the pose that was found."""
    pose = outcome.pose
    if pose is None:
        return
    if abs(pose.time_offset_s) > params.latest_s:
        yield Finding(
            "clock",
            f"radar {outcome.radar!r} stamps are {1e3 * pose.time_offset_s:.0f} ms off, at most "
            f"{1e3 * params.latest_s:.0f} ms; set the delay of its node (delay_s)",
        )
    clutter = 1.0 - outcome.body_points / max(outcome.points, 1)
    if clutter > params.clutter:
        yield Finding(
            "clutter",
            f"{100.0 * clutter:.0f} % of the points are not the person's, at most {100.0 * params.clutter:.0f} %; "
            "see that nothing else moves (fans, curtains, people), or let the sensor remove what stands still",
        )
    for residual in outcome.residuals:
        if residual.rms > params.worse * residual.usual:
            yield Finding(
                "residual",
                f"{residual.name}: points lie {residual.rms:.3g} {residual.unit} about the body, at most "
                f"{params.worse * residual.usual:.3g} {residual.unit}; see that the radar's configuration is the one "
                "that it runs, and that the cameras' skeleton is right",
            )
    for name, have, bound in _claims(outcome, params):
        if have[0] > bound[0]:
            yield Finding(
                "quality",
                f"the {name} is known to {have[1]} (95 %), at most {bound[1]}; walk for longer, nearer to the radar "
                "and further from side to side",
            )


_Claim = tuple[float, str]


def _claims(outcome: RadarCalibration, params: RadarCalibrationParams) -> Iterator[tuple[str, _Claim, _Claim]]:
    assert outcome.pose is not None
    pose = outcome.pose

    def degrees(angle_rad: float) -> _Claim:
        return angle_rad, f"{math.degrees(angle_rad):.1f}°"

    def centimetres(length_m: float) -> _Claim:
        return length_m, f"{100.0 * length_m:.1f} cm"

    def milliseconds(time_s: float) -> _Claim:
        return time_s, f"{1e3 * time_s:.1f} ms"

    yield "rotation", degrees(pose.rotation_95_rad), degrees(params.rotation_rad)
    yield "position", centimetres(pose.position_95_m), centimetres(params.position_m)
    yield "time offset", milliseconds(pose.time_95_s), milliseconds(params.time_s)
