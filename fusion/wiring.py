"""The sensors of one inertial system: which of them the rig knows, how they sit, and how they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fusion.body.skeleton import SEGMENT
from fusion.estimators.inertial.orientation import OrientationFilter, OrientationParams
from fusion.estimators.inertial.packing import NetworkWeights
from fusion.estimators.inertial.stretches import Orientations, Stretch
from fusion.filter.measurements.imu_slots import slot_columns
from fusion.filter.process import NS_PER_S
from fusion.filter.state import IMU_HEADING, NEVER_NS, State
from fusion.people import Person
from fusion.posing import Posing, PosingParams
from fusion.records import Array, Float64, InertialState, Int64, UInt8
from fusion.rig import Rig

NOBODY = -1
STILL_RAD_S = 0.2
"""A sensor on somebody who stands still turns slower than this; the unknown bias of its gyroscope is in it."""


class Wiring:
    """Where the samples of one system go, and what is remembered of them for its reports.

    Args:
        sensors: names as the records have them; those without a mount in the rig are left out.
        rig: with the mounts.
        params: of the orientation filters.
        weights: of the network that tells what carries no sensor; None for none.
        posing: what of it is told.
    """

    def __init__(
        self,
        sensors: tuple[str, ...],
        rig: Rig,
        params: OrientationParams,
        weights: NetworkWeights | None = None,
        posing: PosingParams | None = None,
    ) -> None:
        slots = {mount.segment: slot for slot, mount in enumerate(rig.imus)}
        self.known: Int64 = np.array([i for i, name in enumerate(sensors) if name in slots], dtype=np.int64)
        self.names = tuple(sensors[i] for i in self.known)
        self.segments: Int64 = np.array([SEGMENT[name] for name in self.names], dtype=np.int64)
        self.slots: Int64 = np.array([slots[name] for name in self.names], dtype=np.int64)
        mounts = [rig.imus[slot] for slot in self.slots]
        self.mountings = np.array([mount.q_segment_from_sensor for mount in mounts]).reshape(-1, 4)
        self.lever_arms_m = np.array([mount.lever_arm_m for mount in mounts]).reshape(-1, 3)
        self.posing: Posing | None = None
        if weights is not None and Posing.possible(self.names):
            self.posing = Posing(self.names, self.slots, self.mountings, weights, posing)
        # The network takes orientations as often as they come, the person's filter as often as it did.
        self.filter = OrientationFilter(len(self.names), replace(params, report_s=0.0) if self.posing else params)
        self._report_ns = round(params.report_s * NS_PER_S)
        self._due_ns: int | None = None
        self.epoch: Int64 = np.zeros(len(self.names), dtype=np.int64)
        self._heard: Int64 = np.zeros(len(self.names), dtype=np.int64)
        self.still_s = 0.0
        """For how long no sensor has turned."""
        self._still_since_ns: int | None = None
        self._newest: Orientations | None = None
        self._newest_ns = 0
        self._told_ns: int | None = None

    def due(self, time_ns: int) -> bool:
        """Whether orientations of that time are the first since the start of a report interval; asked once a time."""
        last, self._due_ns = self._due_ns, time_ns
        return last is None or not self._report_ns or time_ns // self._report_ns > last // self._report_ns

    def note(self, stretch: Stretch) -> None:
        """Remember a stretch for the next report."""
        self._heard += stretch.samples
        rates = stretch.rates_rad_s[np.isfinite(stretch.rates_rad_s)]
        moves = not rates.size or float(np.abs(rates).max()) > STILL_RAD_S
        if moves or self._still_since_ns is None:
            self._still_since_ns = None if moves else stretch.time_ns
        self.still_s = 0.0 if self._still_since_ns is None else (stretch.time_ns - self._still_since_ns) / NS_PER_S
        self._newest_ns = stretch.time_ns
        self._newest = stretch.orientations or self._newest

    def report(self, wearer: Person | None, received_ns: int) -> InertialState | None:
        """How the sensors are; None if they have told no orientation since the last report."""
        newest = self._newest
        if newest is None:
            return None
        state = wearer.filter.state if wearer is not None else None
        heading, mounting = _headings(state, self.slots), _mountings(state, self.slots)
        record = InertialState(
            measured_ns=newest.time_ns,
            received_ns=received_ns,
            sensors=self.names,
            wearer=wearer.identity if wearer is not None else NOBODY,
            rates_hz=self._rates_hz(),
            q_world_from_sensor=newest.q_world_from_sensor.astype(np.float32),
            bias_rad_s=newest.bias_rad_s.astype(np.float32),
            at_rest=_flags(newest.at_rest),
            magnetic_used=_flags(newest.magnetic_used),
            magnetic_known=_flags(newest.magnetic_known),
            magnetic_disturbed=_flags(newest.magnetic_disturbed),
            settled=_flags(newest.settled),
            heading_rad=heading[0].astype(np.float32),
            heading_sigma_rad=heading[1].astype(np.float32),
            mounting_error_rad=mounting[0].astype(np.float32),
            mounting_sigma_rad=mounting[1].astype(np.float32),
        )
        self._newest, self._told_ns = None, self._newest_ns
        self._heard[:] = 0
        return record

    def _rates_hz(self) -> Float64:
        """[M] samples a second since the last report; NaN in the first."""
        if self._told_ns is None or self._newest_ns <= self._told_ns:
            return np.full(len(self.names), np.nan)
        return np.asarray(self._heard * NS_PER_S / (self._newest_ns - self._told_ns))


def _flags(values: Array) -> UInt8:
    return values.astype(np.uint8)


def _begun(state: State | None, slots: Int64) -> list[tuple[int, State, int]]:
    """Place, state and first column of the slots [M] whose states exist."""
    if state is None:
        return []
    return [
        (m, state, slot_columns(slot).start)
        for m, slot in enumerate(slots.tolist())
        if slot < state.imus and state.imu_ns[slot] != NEVER_NS
    ]


def _headings(state: State | None, slots: Int64) -> Float64:
    """Headings of slots in -pi..pi and their standard deviations, rad [2, M]; NaN where they have not begun."""
    result = np.full((2, len(slots)), np.nan)
    for m, known, first in _begun(state, slots):
        column = first + IMU_HEADING
        variance = float(known.covariance[column, column])
        if variance > 0.0:
            heading = float(known.nominal[column])
            result[:, m] = np.arctan2(np.sin(heading), np.cos(heading)), np.sqrt(variance)
    return result


def _mountings(state: State | None, slots: Int64) -> tuple[Float64, Float64]:
    """Mounting errors of slots [M, 3] and the standard deviation of the worst axis [M], rad; NaN where not begun."""
    errors, sigmas = np.full((len(slots), 3), np.nan), np.full(len(slots), np.nan)
    for m, known, first in _begun(state, slots):
        columns = slice(first, first + IMU_HEADING)
        errors[m] = known.nominal[columns]
        sigmas[m] = np.sqrt(max(float(np.linalg.eigvalsh(known.covariance[columns, columns])[-1]), 0.0))
    return errors, sigmas
