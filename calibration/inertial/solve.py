"""How sensors sit, from held poses and walks, and how well that is known.

Each sensor has two unknowns: its mounting q_segment_from_sensor and the heading
h of its own world against the wearer's forward direction,

    q_world_from_sensor = Rz(h) q_body_from_segment q_segment_from_sensor.

A held pose gives q_body_from_segment, so it shows which way is up in the segment;
a heading (``calibration.inertial.headings``) adds which way is forward. The
mounting is the rotation that fits all such directions best (Wahba's problem, by
the singular value decomposition: Markley, "Attitude determination using vector
observations and the singular value decomposition", J. Astronautical Sciences
36(3), 1988). What the directions disagree by is the figure of quality.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.inertial.attitude import Attitude, attitude, turn_about_up, wrapped
from calibration.inertial.headings import (
    Estimate,
    WalkSigns,
    facing_rad,
    reference_hold,
    walk_estimates,
    walk_signs,
    yaw_since_first,
)
from calibration.inertial.placement import Signs, wrong_places
from calibration.inertial.poses import FORWARD, UP, kind_of, part_of, q_body_from_segment
from calibration.inertial.recording import Recording
from calibration.inertial.result import (
    CalibrationParams,
    Finding,
    InertialCalibration,
    SensorCalibration,
    degrees_text,
)
from calibration.inertial.steps import Interval, Stretches, find_stretches
from calibration.inertial.stillness import Hold, angle_between, runs, up_in_sensor, wander_rad
from calibration.inertial.usual import usual_mount
from fusion.maths import quaternion
from fusion.records import Float64

_ASSUMED_SIGMA_RAD = 1.0
"""So little counts a heading that is only assumed beside one that was measured."""
_FREE_AT_STANDS = ("head", "neck")
"""With the arms: nobody has been asked to hold them the same before and after a walk."""
_APART_RAD = math.radians(45.0)
"""Two directions that differ by more fix a rotation."""


def calibrate(
    recording: Recording,
    intervals: Sequence[Interval],
    previous: Mapping[str, Float64] | None = None,
    params: CalibrationParams | None = None,
) -> InertialCalibration:
    """Mountings of all sensors of a recording.

    Args:
        recording: see ``gather``.
        intervals: what the wearer did when.
        previous: q_segment_from_sensor [4] by segment, from the profile; else the sensor's usual place: where
            nothing measures the heading, the mounting is the one nearest to it, and said to be assumed.
        params: bounds.

    Raises:
        CalibrationError: no interval, an unknown step, or one outside the recording.
    """
    p = params or CalibrationParams()
    stretches = find_stretches(recording, intervals, p)
    if not stretches.poses:
        findings = stretches.findings or (Finding("pose", (), "no pose was held: hold the N-pose or the T-pose"),)
        return InertialCalibration((), findings, ())
    return _Solver(recording, stretches, dict(previous or {}), p).run()


@dataclass(frozen=True, slots=True, eq=False)
class _Direction:
    """One direction in the frames of a sensor and of its segment."""

    what: str
    in_sensor: Float64
    in_segment: Float64
    sigma_rad: float


class _Solver:
    """One calibration."""

    def __init__(
        self, recording: Recording, stretches: Stretches, previous: dict[str, Float64], params: CalibrationParams
    ) -> None:
        self.recording, self.stretches, self.previous, self.p = recording, stretches, previous, params
        self.found: Attitude = attitude(recording, stretches.holds)
        self.facing = facing_rad(self.found, recording.sensors)
        self.reference = reference_hold(stretches)
        self.ups = {id(hold): up_in_sensor(recording, hold.part) for hold in stretches.holds}
        self.findings: list[Finding] = list(stretches.findings)
        self.walks: list[WalkSigns] = []
        for walk in stretches.walks:
            signs = walk_signs(recording, self.found, walk, self.facing)
            self.findings += self._walk_findings(signs)
            if _way_m(signs) >= params.walk_m:
                self.walks.append(signs)

    def run(self) -> InertialCalibration:
        self.findings += self._gaps()
        self.findings += self._slips()
        self.findings += wrong_places(self._signs())
        wrong = {name for finding in self.findings if finding.kind.startswith("wrong") for name in finding.sensors}
        sensors = []
        for k, segment in enumerate(self.recording.sensors):
            sensor, findings = self._sensor(k, segment)
            sensors.append(sensor)
            # Of a sensor in the wrong place everything else is wrong too: one message is enough.
            self.findings += [finding for finding in findings if segment not in wrong or not finding.blocking]
        steps = [hold.step for hold in self.stretches.poses] + ["walk"] * len(self.walks)
        return InertialCalibration(tuple(sensors), tuple(self.findings), tuple(dict.fromkeys(steps)))

    # --- One sensor ---------------------------------------------------------------------------------

    def _sensor(self, k: int, segment: str) -> tuple[SensorCalibration, list[Finding]]:
        findings: list[Finding] = []
        ups = [self._up(hold, k, segment) for hold in self._poses_of(segment)]
        estimates = self._estimates(k, segment)
        mean = _mean(estimates)
        # What the poses say of the heading is in their ups already.
        walked = _mean([estimate for estimate in estimates if estimate.source != "poses"])
        directions = list(ups)
        if walked is not None:
            directions.append(self._forward(k, segment, walked))
        elif mean is None:
            directions.append(self._assumed(ups, k, segment))
        q = wahba(directions)
        inclination = self._inclination(ups, q, k)
        forward = _spread(estimates, self.p.least_sigma_rad)
        quality = math.hypot(inclination, forward if math.isfinite(forward) else 0.0, self.p.pose_rad)
        findings += self._sensor_findings(segment, ups, q, estimates, quality)
        sensor = SensorCalibration(
            segment=segment,
            q_segment_from_sensor=q,
            heading_rad=math.nan if mean is None else mean.heading_rad,
            heading="assumed" if mean is None else "measured",
            quality_rad=quality,
            inclination_rad=inclination,
            forward_rad=forward,
            sources=tuple(dict.fromkeys(estimate.source for estimate in estimates)),
        )
        return sensor, findings

    def _poses_of(self, segment: str) -> list[Hold]:
        """The holds in which a segment stands as the pose has it: a shoulder rises with the arm."""
        poses = list(self.stretches.poses)
        hanging = [hold for hold in poses if hold.step == "n_pose"]
        return hanging if hanging and part_of(segment) == "shoulder" else poses

    def _up(self, hold: Hold, k: int, segment: str) -> _Direction:
        q = q_body_from_segment(hold.step, segment)
        up = quaternion.rotate(quaternion.conjugate(q), UP)
        return _Direction(hold.step, self.ups[id(hold)][k], up, self.p.least_sigma_rad)

    def _forward(self, k: int, segment: str, heading: Estimate) -> _Direction:
        """Where the wearer faces in the reference hold, in the frames of sensor and segment."""
        ahead = np.array([math.cos(heading.heading_rad), math.sin(heading.heading_rad), 0.0])
        in_sensor = quaternion.rotate(quaternion.conjugate(self.found.at(self.reference)[k]), ahead)
        stands = q_body_from_segment(self.reference.step, segment)
        in_segment = quaternion.rotate(quaternion.conjugate(stands), FORWARD)
        return _Direction("forward", in_sensor, in_segment, heading.sigma_rad)

    def _estimates(self, k: int, segment: str) -> list[Estimate]:
        """All headings of a sensor, in the reference hold."""
        by_poses = self._by_poses(k, segment)
        return self._by_walks(k, segment) if by_poses is None else [by_poses, *self._by_walks(k, segment)]

    def _by_walks(self, k: int, segment: str) -> list[Estimate]:
        facing = float(self.facing[self.found.holds.index(self.reference)])
        return [e for walk in self.walks for e in walk_estimates(walk, k, segment, facing, self.p.least_sigma_rad)]

    def _by_poses(self, k: int, segment: str) -> Estimate | None:
        """Heading of an arm whose attitude two poses give."""
        ups = [self._up(hold, k, segment) for hold in self.stretches.poses]
        if not _apart(ups):
            return None
        q = wahba(ups)
        stands = quaternion.multiply(q_body_from_segment(self.reference.step, segment), q)
        turned = quaternion.multiply(self.found.at(self.reference)[k], quaternion.conjugate(stands))
        residual = max(float(angle_between(quaternion.rotate(q, up.in_sensor), up.in_segment)) for up in ups)
        return Estimate("poses", float(turn_about_up(turned)), math.hypot(residual, 2.0 * self.p.least_sigma_rad))

    def _assumed(self, ups: list[_Direction], k: int, segment: str) -> _Direction:
        """Forward of the mounting that is nearest to the previous one and has these directions up.

        It only fills in what no direction says: of a rotation about up, the nearest turns forward the least.
        """
        known = self.previous.get(segment)
        before = quaternion.conjugate(usual_mount(segment).q_segment_from_sensor if known is None else known)
        tilt = wahba(ups)
        away = quaternion.multiply(tilt, before)
        axis = ups[0].in_segment
        # The nearest rotation about an axis: swing-twist.
        turn = 2.0 * math.atan2(float(away[1:] @ axis), float(away[0]))
        q = quaternion.multiply(quaternion.from_rotvec(-turn * axis), tilt)
        in_segment = FORWARD if abs(FORWARD @ axis) < 0.9 else np.array([0.0, 1.0, 0.0])
        in_sensor = quaternion.rotate(quaternion.conjugate(q), in_segment)
        return _Direction("assumed", in_sensor, in_segment, _ASSUMED_SIGMA_RAD)

    def _inclination(self, ups: list[_Direction], q: Float64, k: int) -> float:
        """What gravity disagrees by: between holds, or of one hold between its ends."""
        if len(ups) < 2:
            return float(wander_rad(self.recording, self.stretches.poses[0])[k])
        angles = [float(angle_between(quaternion.rotate(q, up.in_sensor), up.in_segment)) for up in ups]
        return float(np.sqrt(np.mean(np.square(angles))))

    # --- What is wrong --------------------------------------------------------------------------------

    def _sensor_findings(
        self, segment: str, ups: list[_Direction], q: Float64, estimates: list[Estimate], quality: float
    ) -> list[Finding]:
        findings: list[Finding] = []
        texts = {
            "vertical": self._vertical(segment, ups, q),
            "forward": _forward_text(segment, estimates, self.p.forward_rad),
        }
        findings += [Finding(kind, (segment,), text) for kind, text in texts.items() if text]
        if not findings and quality > self.p.quality_rad:
            text = f"{segment}: quality {degrees_text(quality)}, bound {degrees_text(self.p.quality_rad)}; fasten the "
            findings.append(Finding("quality", (segment,), text + "sensor and repeat the poses, still and upright"))
        if not estimates:
            text = f"{segment}: its heading is assumed to be as before, because no movement told it; add a walk"
            if kind_of(segment) == "arm":
                text += " or the other pose"
            findings.append(Finding("assumed", (segment,), text, blocking=False))
        return findings

    def _vertical(self, segment: str, ups: list[_Direction], q: Float64) -> str:
        """What to say of holds that disagree about up; empty if they do not."""
        bound = 0.5 * self.p.pair_rad if _apart(ups) else self.p.vertical_rad
        angles = [float(angle_between(quaternion.rotate(q, up.in_sensor), up.in_segment)) for up in ups]
        worst = int(np.argmax(angles))
        if len(ups) < 2 or angles[worst] <= bound:
            return ""
        return (
            f"{segment}: in {ups[worst].what} it stands {degrees_text(angles[worst])} off what the poses together say "
            f"(bound {degrees_text(bound)}); stand upright, arms straight down in the N-pose and level in the T-pose, "
            "and check the strap"
        )

    def _walk_findings(self, signs: WalkSigns) -> list[Finding]:
        p = self.p
        way = _way_m(signs)
        if way < p.walk_m:
            text = f"walk: {way:.2f} m, at least {p.walk_m:g} m are needed; take three or four steps straight ahead"
            return [Finding("short_walk", (), text)]
        findings = []
        if math.atan2(signs.way_sigma_m, way) > p.quality_rad:
            text = f"walk: {way:.2f} m took too long for its direction to be known (to "
            text += f"{degrees_text(math.atan2(signs.way_sigma_m, way))}, bound {degrees_text(p.quality_rad)}); "
            findings.append(Finding("short_walk", (), text + "take three or four brisk steps straight ahead and stop"))
        if signs.turned_rad > p.turn_rad:
            text = f"walk: the wearer turned by {degrees_text(signs.turned_rad)} (bound {degrees_text(p.turn_rad)}); "
            findings.append(Finding("turned", (), text + "walk straight ahead and stop without turning"))
        for k, name in enumerate(self.recording.sensors):
            climb, bound = abs(float(signs.way_m[k, 2])), p.climb_m + p.climb_share * way
            if climb > bound:
                text = f"{name}: rose by {climb:.2f} m in the walk (bound {bound:.2f} m), so its way is wrong; "
                findings.append(Finding("climb", (name,), text + "fasten the sensor, walk on a level floor"))
        return findings

    def _gaps(self) -> list[Finding]:
        span = slice(self.found.holds[0].part.start, self.found.holds[-1].part.stop)
        least = self.recording.samples(self.p.longest_gap_s)
        findings = []
        for k, name in enumerate(self.recording.sensors):
            longest = max((run.stop - run.start for run in runs(self.recording.missing[span, k], least)), default=0)
            if longest:
                text = (
                    f"{name}: silent for {longest * self.recording.period_s:.1f} s (bound {self.p.longest_gap_s:g} s)"
                )
                findings.append(Finding("gap", (name,), text + "; check battery and radio, and calibrate again"))
        return findings

    def _slips(self) -> list[Finding]:
        """Sensors that turned about the vertical otherwise than the wearer between two holds of the same pose."""
        yaw = yaw_since_first(self.found)
        first: dict[str, int] = {}
        findings = []
        for index, hold in enumerate(self.found.holds):
            reference = first.setdefault(hold.step, index)
            own = wrapped(yaw[index] - yaw[reference] - (self.facing[index] - self.facing[reference]))
            for k in np.flatnonzero(np.abs(own) > self.p.slip_rad):
                name = self.recording.sensors[k]
                if hold.step == "stand" and (kind_of(name) == "arm" or name in _FREE_AT_STANDS):
                    continue
                text = f"{name}: turned by {degrees_text(abs(float(own[k])))} about the vertical between two times "
                text += f"of {hold.step} (bound {degrees_text(self.p.slip_rad)}); its strap slips: fasten it"
                findings.append(Finding("slip", (name,), text))
        return list({finding.sensors: finding for finding in findings}.values())

    def _signs(self) -> Signs:
        """What movement shows, for ``wrong_places``."""
        sensors = self.recording.sensors
        against = {}
        for k, name in enumerate(sensors):
            by_poses = self._by_poses(k, name) if kind_of(name) == "arm" else None
            by_walk = _mean([e for e in self._by_walks(k, name) if e.source == "walk"])
            if by_poses is not None and by_walk is not None:
                against[name] = float(wrapped(by_poses.heading_rad - by_walk.heading_rad))
        return Signs(sensors, self._raised(), tuple(self.walks), against, self.recording.period_s)

    def _raised(self) -> list[float] | None:
        first = {hold.step: self.ups[id(hold)] for hold in reversed(self.stretches.poses)}
        if not {"n_pose", "t_pose"} <= set(first):
            return None
        return [float(angle) for angle in angle_between(first["n_pose"], first["t_pose"])]


def _way_m(signs: WalkSigns) -> float:
    """How far the wearer has come; 0 where no sensor tells."""
    level = np.hypot(signs.way_m[:, 0], signs.way_m[:, 1])
    told = level[np.isfinite(level)]
    return float(np.median(told)) if len(told) else 0.0


def wahba(directions: Sequence[_Direction]) -> Float64:
    """The rotation q_segment_from_sensor [4] that fits directions best, each weighed by its variance.

    Directions that are all parallel leave the turn about them open; then it is the smallest such rotation.
    """
    profile = np.zeros((3, 3))
    for d in directions:
        profile += np.outer(d.in_segment, d.in_sensor) / d.sigma_rad**2
    if not _apart(directions):
        mean = sum((d.in_sensor for d in directions), np.zeros(3))
        return _shortest(mean, directions[0].in_segment)
    u, _, vt = np.linalg.svd(profile)
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    return quaternion.from_matrix(u @ np.diag([1.0, 1.0, sign]) @ vt)


def _apart(directions: Sequence[_Direction]) -> bool:
    """Whether some two of the directions differ enough, in the segment, to fix a rotation."""
    first = directions[0].in_segment
    return any(abs(math.sin(float(angle_between(first, d.in_segment)))) > math.sin(_APART_RAD) for d in directions)


def _shortest(start: Float64, end: Float64) -> Float64:
    """The smallest rotation [4] that turns one direction into another."""
    axis = np.cross(start, end)
    length = float(np.linalg.norm(axis))
    angle = math.atan2(length, float(start @ end))
    if length < 1e-9:
        axis = np.cross(end, np.eye(3)[int(np.argmin(np.abs(end)))])
        length = float(np.linalg.norm(axis))
    return quaternion.from_rotvec(angle * axis / length)


def _mean(estimates: Sequence[Estimate]) -> Estimate | None:
    """Weighted mean of headings, on the circle."""
    if not estimates:
        return None
    weights = np.array([estimate.sigma_rad**-2.0 for estimate in estimates])
    angles = np.array([estimate.heading_rad for estimate in estimates])
    mean = math.atan2(float(weights @ np.sin(angles)), float(weights @ np.cos(angles)))
    return Estimate("mean", mean, float(weights.sum() ** -0.5))


def _spread(estimates: Sequence[Estimate], least_sigma_rad: float) -> float:
    """What headings disagree by, rad: of several their weighted deviation, of one its own uncertainty, else NaN."""
    mean = _mean(estimates)
    if mean is None:
        return math.nan
    if len(estimates) == 1:
        return mean.sigma_rad
    weights = np.array([estimate.sigma_rad**-2.0 for estimate in estimates])
    away = np.array([float(wrapped(estimate.heading_rad - mean.heading_rad)) for estimate in estimates])
    return max(float(np.sqrt(weights @ away**2 / weights.sum())), 0.5 * least_sigma_rad)


def _forward_text(segment: str, estimates: Sequence[Estimate], bound_rad: float) -> str:
    """What to say of headings that disagree; empty if they do not."""
    pairs = [(a, b) for i, a in enumerate(estimates) for b in estimates[i + 1 :]]
    if not pairs:
        return ""
    first, other = max(pairs, key=lambda pair: abs(float(wrapped(pair[0].heading_rad - pair[1].heading_rad))))
    away = abs(float(wrapped(first.heading_rad - other.heading_rad)))
    if away <= bound_rad:
        return ""
    return (
        f"{segment}: {first.source} and {other.source} differ by {degrees_text(away)} on where the wearer faces (bound "
        f"{degrees_text(bound_rad)}); face the way that is walked, and raise the arms straight to the sides"
    )


__all__ = ["calibrate", "wahba"]
