"""What one update of each kind costs: the measurements that agree with a state, and their times."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.ik.kinefuse_filter import OurFilter
from fusion.body import catalog
from fusion.body.kinematics import forward_kinematics
from fusion.body.skeleton import SEGMENT
from fusion.filter.history import FilterParams
from fusion.filter.measurements.inertial import (
    GRAVITY_M_S2,
    AccelerometerMeasurement,
    AccelerometerParams,
    GyroMeasurement,
    GyroParams,
    OrientationMeasurement,
    OrientationParams,
)
from fusion.filter.measurements.landmarks import Landmarks3DMeasurement
from fusion.filter.measurements.network import NetworkRotationsMeasurement, NetworkVelocitiesMeasurement
from fusion.filter.measurements.radar import (
    RadarJointsMeasurement,
    RadarParams,
    RadarTrunkMeasurement,
    RadarVelocityMeasurement,
)
from fusion.filter.measurements.stature import StatureMeasurement, StatureParams, stature_of
from fusion.filter.outputs import OutputParams, Outputs
from fusion.filter.process import Process, make_process, predict
from fusion.filter.state import NEVER_NS, State, errors_of, with_imus
from fusion.filter.system import Measurement
from fusion.filter.update import Updater
from fusion.maths import quaternion
from fusion.synthesis.imus import nominal_mounts
from fusion.synthesis.params import InertialParams

_REPEATS = 200
_WARM = 10
_FRAME_NS = 33_333_333
_NETWORK = tuple(
    f"{side}_{part}"
    for side in ("right", "left")
    for part in ("upper_arm", "forearm", "hand", "upper_leg", "lower_leg", "foot")
)
"""Segments of which a network for six IMUs tells; it says nothing of the spine here."""
_RADAR_POINTS = 24


def kinds_us(contestant: OurFilter, views: Sequence[Measurement]) -> dict[str, float]:
    """Microseconds of processor time of one update of each kind, and of a prediction and a record beside them.

    Args:
        contestant: has followed some frames; all kinds start from its state.
        views: the next frame, one measurement a camera.
    """
    state = contestant.filter.state.copy()
    wearing = _wearing(state)
    result: dict[str, float] = {}
    for owner, kinds in ((state, _kinds(state, views)), (wearing, _imu_kinds(wearing, views))):
        quiet = _updater(owner.imus, floor=False)
        for name, measurements in kinds.items():
            result[name] = _update_us(quiet, owner, measurements)
    result["four views and the floor"] = _update_us(_updater(0, floor=True), state, views)
    process, outputs = make_process(FilterParams().process), Outputs(OutputParams())
    for owner, suffix in ((state, ""), (wearing, ", 6 imus worn")):
        result[f"predict 1/30 s{suffix}"] = _predict_us(owner, process)
        result[f"record{suffix}"] = _record_us(owner, outputs)
    return result


def _updater(imus: int, *, floor: bool) -> Updater:
    params = FilterParams()
    return Updater(params.update, params.anatomy, errors_of(imus), params.contact if floor else None)


def _kinds(state: State, views: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """Measurements of somebody who wears no IMUs."""
    positions, quaternions = forward_kinematics(state.coordinates, state.lengths_m)
    placed = catalog.attachments("blazepose_33")
    points = catalog.landmark_positions("blazepose_33", positions, quaternions, state.lengths_m)
    t8 = SEGMENT["t8"]
    segments = np.array([SEGMENT[name] for name in _NETWORK], dtype=np.int64)
    relative = quaternion.multiply(quaternion.conjugate(quaternions[0]), quaternions[segments])
    small = np.full((len(segments), 3), 0.2**2)
    surface = np.resize(np.arange(len(positions)), _RADAR_POINTS).astype(np.int64)
    directions = np.tile([[0.0, 1.0, 0.0]], (_RADAR_POINTS, 1))
    time_ns = state.time_ns
    trunk = RadarTrunkMeasurement(time_ns, "radar", positions[t8], np.eye(3), 3.0, 0.0, RadarParams())
    velocities = RadarVelocityMeasurement(
        time_ns, "radar", surface, np.zeros((_RADAR_POINTS, 3)), directions, np.zeros(_RADAR_POINTS),
        np.full(_RADAR_POINTS, 0.64),
    )  # fmt: skip
    return {
        "one view": list(views[:1]),
        "two views": list(views[:2]),
        "four views": list(views),
        "33 points": [Landmarks3DMeasurement(time_ns, "points", placed, points, np.full(len(points), 0.02**2))],
        "radar: trunk": [trunk],
        "radar: 24 radial velocities": [velocities],
        "radar: 12 joints": [RadarJointsMeasurement(time_ns, "radar", segments, positions[segments], small)],
        "network: 12 rotations": [NetworkRotationsMeasurement(time_ns, "network", segments, relative, small)],
        "network: 12 velocities": [
            NetworkVelocitiesMeasurement(time_ns, "network", segments, np.zeros_like(small), small)
        ],
        "stature": [StatureMeasurement(time_ns, "stature", stature_of(state.lengths_m), StatureParams())],
    }


def _imu_kinds(state: State, views: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """Measurements of somebody who wears six IMUs."""
    gyro, orientation, accelerometer = _imus(state)
    return {
        "gyro of 6": [gyro],
        "orientation of 6": [orientation],
        "accelerometer of 6": [accelerometer],
        "gyro and orientation of 6": [gyro, orientation],
        "four views, 6 imus worn": list(views),
        "four views, gyro and orientation of 6": [*views, gyro, orientation],
    }


def _imus(state: State) -> tuple[GyroMeasurement, OrientationMeasurement, AccelerometerMeasurement]:
    """Six IMUs at rest in the pose of the state."""
    mounts = nominal_mounts(InertialParams())
    segments = np.array([SEGMENT[mount.segment] for mount in mounts], dtype=np.int64)
    slots = np.arange(len(mounts), dtype=np.int64)
    q_mount = np.array([mount.q_segment_from_sensor for mount in mounts])
    levers = np.array([mount.lever_arm_m for mount in mounts])
    _, quaternions = forward_kinematics(state.coordinates, state.lengths_m)
    q = quaternion.multiply(quaternions[segments], q_mount)
    force = quaternion.rotate(quaternion.conjugate(q), np.tile([0.0, 0.0, GRAVITY_M_S2], (len(mounts), 1)))
    common = state.time_ns, "imus", segments, slots, q_mount
    return (
        GyroMeasurement(*common, np.zeros((len(mounts), 3)), GyroParams()),
        OrientationMeasurement(*common, q, OrientationParams()),
        AccelerometerMeasurement(*common, force, levers, AccelerometerParams()),
    )


def _wearing(state: State) -> State:
    """The same state with six IMUs that have been heard."""
    wearing = with_imus(state, len(InertialParams().sites))
    gyro, orientation, _ = _imus(wearing)
    _updater(wearing.imus, floor=False).apply(wearing, [gyro, orientation])
    return wearing


def _update_us(updater: Updater, state: State, measurements: Sequence[Measurement]) -> float:
    """Time of an update; the state is put back before each, and the floor is due."""
    work = state.copy()

    def prepare() -> None:
        work.copy_from(state)
        work.contact_ns = NEVER_NS

    return _median_us(lambda: updater.apply(work, measurements), prepare)


def _predict_us(state: State, process: Process) -> float:
    work = state.copy()
    return _median_us(lambda: predict(work, process, state.time_ns + _FRAME_NS), lambda: work.copy_from(state))


def _record_us(state: State, outputs: Outputs) -> float:
    return _median_us(lambda: outputs.record((1,), (state,), state.time_ns, state.time_ns), lambda: None)


def _median_us(action: Callable[[], object], prepare: Callable[[], None]) -> float:
    """Median processor time of an action, each time after it has been prepared; the first times do not count."""
    times = []
    for _ in range(_WARM + _REPEATS):
        prepare()
        begun = time.process_time()
        action()
        times.append(time.process_time() - begun)
    return float(np.median(times[_WARM:])) * 1e6
