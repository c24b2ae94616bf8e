"""A rehearsal before the first sample: every kernel of the pipeline compiled by a body that stands still."""

from __future__ import annotations

import numpy as np

from fusion.body import catalog
from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import REFERENCE_LENGTHS_M
from fusion.maths.camera import project
from fusion.pipeline import Pipeline
from fusion.records import Float64, InertialSamples, Landmarks2D, Landmarks3D, RadarPoints, Record, Tick
from fusion.rig import Camera, ImuMount, RadarMount, Rig

_FRAME_NS = 10_000_000
_SET = "coco_17"


def _facing(azimuth_rad: float, name: str) -> Camera:
    """A camera 3 m away at chest height that looks at the origin from that direction."""
    c, s = np.cos(azimuth_rad), np.sin(azimuth_rad)
    rotation = np.array([[-s, c, 0.0], [0.0, 0.0, -1.0], [-c, -s, 0.0]])
    centre = np.array([3.0 * c, 3.0 * s, 0.0])
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


def _records(rig: Rig, points_m: Float64) -> list[Record]:
    """Every kind of record that the pipeline takes, of one standing body."""
    records: list[Record] = []
    for frame in range(3):
        now = frame * _FRAME_NS
        stamps = {"measured_ns": now, "received_ns": now}
        for camera in rig.cameras:
            pixels, _ = project(points_m, camera)
            records.append(
                Landmarks2D(
                    **stamps,
                    camera=camera.name,
                    landmark_set=_SET,
                    image_width=camera.width,
                    image_height=camera.height,
                    pixels=pixels[None].astype(np.float32),
                    scores=np.ones((1, len(pixels)), dtype=np.float32),
                )
            )
        zeros = np.zeros((1, 1, 3), dtype=np.float32)
        records.append(
            InertialSamples(
                **stamps,
                sensors=("pelvis",),
                times_ns=np.array([now], dtype=np.int64),
                specific_force_m_s2=zeros,
                angular_rate_rad_s=zeros,
                magnetic_field_ut=zeros,
            )
        )
        near = np.tile(np.array([[0.0, 2.0, 0.3]], dtype=np.float32), (8, 1))
        still = np.zeros(8, dtype=np.float32)
        records.append(
            RadarPoints(
                **stamps, radar="radar", frame=frame, positions_m=near, radial_velocities_m_s=still, snrs_db=still
            )
        )
        sigmas = np.full((1, len(points_m)), 0.01, dtype=np.float32)
        records.append(
            Landmarks3D(
                **stamps,
                source="rehearsal",
                landmark_set=_SET,
                positions_m=points_m[None].astype(np.float32),
                sigmas_m=sigmas,
            )
        )
    records.append(Tick(measured_ns=100 * _FRAME_NS, received_ns=100 * _FRAME_NS))
    return records


def rehearse() -> int:
    """Run a pipeline of its own through every kind of record.

    Returns:
        How many people it published at the end (one, unless something is broken).
    """
    radar = RadarMount(name="radar", r_world_from_radar=np.eye(3), position_world_m=np.array([0.0, -2.0, 0.0]))
    rig = Rig(cameras=(_facing(0.0, "a"), _facing(1.2, "b")), imus=(ImuMount(segment="pelvis"),), radars=(radar,))
    positions, quaternions = forward_kinematics(resting_coordinates(), REFERENCE_LENGTHS_M)
    points = catalog.landmark_positions(_SET, positions, quaternions, REFERENCE_LENGTHS_M)
    pipeline = Pipeline(rig)
    published = 0
    for record in _records(rig, points):
        people = pipeline.step(record)
        published = len(people.ids) if people is not None else published
    return published
