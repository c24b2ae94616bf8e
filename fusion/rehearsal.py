"""A rehearsal before the first sample: every kernel of the pipeline compiled by bodies that stand still.

Pipelines of their own go through every way in which somebody is found and followed:
seen by two cameras, by one, by inertial sensors alone, and by six of them with a network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from fusion.body import catalog
from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import REFERENCE_LENGTHS_M
from fusion.estimators.inertial.layout import SITES
from fusion.estimators.inertial.packing import NetworkWeights
from fusion.maths.camera import project
from fusion.pipeline import Pipeline
from fusion.records import Float64, InertialSamples, Landmarks2D, Landmarks3D, RadarPoints, Record, Tick
from fusion.rig import Camera, ImuMount, RadarMount, Rig

_FRAME_NS = 10_000_000
_SAMPLES = 130
"""So many samples, a frame apart, let an orientation filter know its period and settle."""
_ALONE = 40
"""A camera that shows somebody for so many frames bears them alone."""
_GRAVITY_M_S2 = 9.81
_LAG_S, _AHEAD_S = 0.1, 0.05
_SET = "coco_17"
_CHEST_M = 1.0


def _facing(azimuth_rad: float, name: str) -> Camera:
    """A camera 3 m away at chest height that looks at the origin from that direction."""
    c, s = np.cos(azimuth_rad), np.sin(azimuth_rad)
    rotation = np.array([[-s, c, 0.0], [0.0, 0.0, -1.0], [-c, -s, 0.0]])
    centre = np.array([3.0 * c, 3.0 * s, _CHEST_M])
    matrix = np.array([[800.0, 0.0, 640.0], [0.0, 800.0, 360.0], [0.0, 0.0, 1.0]])
    return Camera(
        name=name,
        width=1280,
        height=720,
        matrix=matrix,
        distortion=np.array([1e-3, 0.0, 0.0, 0.0, 0.0]),
        r_camera_from_world=rotation,
        t_camera_from_world_m=-rotation @ centre,
    )


def _picture(camera: Camera, points_m: Float64, frame: int) -> Landmarks2D:
    """What a camera sees of the body."""
    pixels, _ = project(points_m, camera)
    return Landmarks2D(
        **_stamps(frame),
        camera=camera.name,
        landmark_set=_SET,
        image_width=camera.width,
        image_height=camera.height,
        pixels=pixels[None].astype(np.float32),
        scores=np.ones((1, len(pixels)), dtype=np.float32),
    )


def _samples(frame: int, sensors: tuple[str, ...] = ("pelvis",)) -> InertialSamples:
    """Sensors that have not moved for many frames."""
    shape = (_SAMPLES, len(sensors), 3)
    still = np.zeros(shape, dtype=np.float32)
    return InertialSamples(
        **_stamps(frame),
        sensors=sensors,
        times_ns=np.arange(frame - _SAMPLES + 1, frame + 1, dtype=np.int64) * _FRAME_NS,
        specific_force_m_s2=still + np.array([0.0, 0.0, _GRAVITY_M_S2], dtype=np.float32),
        angular_rate_rad_s=still,
        magnetic_field_ut=still,
    )


def _radar_points(frame: int) -> RadarPoints:
    """Some points on the trunk."""
    near = np.tile(np.array([[0.0, 2.0, 0.3]], dtype=np.float32), (8, 1))
    still = np.zeros(8, dtype=np.float32)
    return RadarPoints(
        **_stamps(frame), radar="radar", frame=frame, positions_m=near, radial_velocities_m_s=still, snrs_db=still
    )


def _world_points(points_m: Float64, frame: int) -> Landmarks3D:
    """The body's landmarks in the world."""
    sigmas = np.full((1, len(points_m)), 0.01, dtype=np.float32)
    positions = points_m[None].astype(np.float32)
    return Landmarks3D(**_stamps(frame), source="rehearsal", landmark_set=_SET, positions_m=positions, sigmas_m=sigmas)


def _stamps(frame: int) -> dict[str, int]:
    return {"measured_ns": frame * _FRAME_NS, "received_ns": frame * _FRAME_NS}


def _seen_by_all(rig: Rig, points_m: Float64) -> Iterator[Record]:
    """Every kind of record, of one standing body."""
    for frame in (0, 1, 2):
        yield from (_picture(camera, points_m, frame) for camera in rig.cameras)
        yield _radar_points(frame)
        yield _world_points(points_m, frame)
    newest = 2 + _SAMPLES
    yield _samples(newest)
    yield from (_picture(camera, points_m, newest) for camera in rig.cameras)
    yield Tick(**_stamps(newest + 100))


def _played(rig: Rig, records: Iterable[Record], network: NetworkWeights | None = None) -> int:
    """How many people a new pipeline publishes at the end, in all the ways that it can."""
    pipeline = Pipeline(rig, network=network)
    count = 0
    for record in records:
        if pipeline.take(record):
            count = len(pipeline.people(record).ids)
            pipeline.smoothed(_LAG_S, record)
            pipeline.smoothed(_LAG_S, record, with_covariance=False)
            pipeline.predicted(_AHEAD_S, record)
            pipeline.innovations(record)
    return count


def rehearse(network: NetworkWeights | None = None) -> int:
    """Run pipelines through every kind of record.

    Args:
        network: weights of the inertial network where one is used.

    Returns:
        The fewest people that one of them published at the end (one, unless something is broken).
    """
    radar = RadarMount(name="radar", r_world_from_radar=np.eye(3), position_world_m=np.array([0.0, -2.0, 0.0]))
    rig = Rig(cameras=(_facing(0.0, "a"), _facing(1.2, "b")), imus=(ImuMount(segment="pelvis"),), radars=(radar,))
    positions, quaternions = forward_kinematics(resting_coordinates(), REFERENCE_LENGTHS_M)
    # Standing on the floor, which the filter takes to be near z = 0.
    positions[:, 2] -= positions[:, 2].min()
    points = catalog.landmark_positions(_SET, positions, quaternions, REFERENCE_LENGTHS_M)
    seen_by_one = (_picture(rig.cameras[0], points, frame) for frame in range(_ALONE))
    worn = (_samples(_SAMPLES), _samples(2 * _SAMPLES), Tick(**_stamps(3 * _SAMPLES)))
    found = min(_played(rig, records) for records in (_seen_by_all(rig, points), seen_by_one, worn))
    return found if network is None else min(found, _posed(network))


def _posed(network: NetworkWeights) -> int:
    """How many people are there at the end where somebody wears six sensors."""
    rig = Rig(imus=tuple(ImuMount(segment=site) for site in SITES))
    times = (_SAMPLES, 2 * _SAMPLES, 3 * _SAMPLES)
    return _played(rig, [*(_samples(time, SITES) for time in times), Tick(**_stamps(4 * _SAMPLES))], network)
