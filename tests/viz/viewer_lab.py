"""A made-up lab for the viewer's tests: a rig, a person who waves, records of every kind."""

from __future__ import annotations

import math

import numpy as np

from fusion.body import skeleton
from fusion.body.angles import clinical_angles_batch
from fusion.body.catalog import landmark_positions
from fusion.body.kinematics import forward_kinematics
from fusion.body.mass import MASS_TABLES, centre_of_mass
from fusion.maths.camera import project
from fusion.records import (
    Float64,
    Guide,
    Health,
    Image,
    InertialState,
    Innovations,
    Landmarks2D,
    People,
    RadarJoints,
    RadarPoints,
    RadarTracks,
    Truth,
)
from fusion.rig import Camera, RadarMount, Rig

WIDTH, HEIGHT = 1280, 720
NS = 1_000_000_000


def looking_at(name: str, place_m: tuple[float, float, float], target_m: tuple[float, float, float]) -> Camera:
    """A camera at a place, its picture's upper side up."""
    place, target = np.array(place_m), np.array(target_m)
    forward = (target - place) / np.linalg.norm(target - place)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return Camera(
        name=name,
        width=WIDTH,
        height=HEIGHT,
        matrix=np.array([[900.0, 0.0, WIDTH / 2], [0.0, 900.0, HEIGHT / 2], [0.0, 0.0, 1.0]]),
        distortion=np.array([-0.05, 0.01, 0.0, 0.0, 0.0]),
        r_camera_from_world=rotation,
        t_camera_from_world_m=-rotation @ place,
    )


def lab(cameras: int = 4) -> Rig:
    """Cameras in a ring of 4 m around the origin and one radar that looks along +y."""
    ring = []
    for index in range(cameras):
        angle = math.pi / 4 + 2 * math.pi * index / cameras
        ring.append(looking_at(f"cam{index + 1}", (4 * math.cos(angle), 4 * math.sin(angle), 2.0), (0.0, 0.0, 0.95)))
    radar = RadarMount(name="radar1", r_world_from_radar=np.eye(3), position_world_m=np.array([0.0, -3.0, 1.0]))
    return Rig(cameras=tuple(ring), radars=(radar,))


def coordinates(time_s: float, x_m: float = 0.0) -> Float64:
    """Generalised coordinates [44] of someone who steps and waves on the spot."""
    values = np.zeros(skeleton.COORDINATES)
    phase = 2 * math.pi * 0.8 * time_s
    swing = math.sin(phase)
    for name, value in {
        "root_px": x_m,
        "root_pz": 0.97,
        "root_rz": 0.35,
        "right_arm_x": 1.2,
        "right_elbow_flexion": 0.4 + 0.2 * swing,
        "left_arm_x": 0.9 + 0.3 * swing,
        "left_elbow_flexion": 1.1,
        "right_hip_y": -0.45 * swing,
        "left_hip_y": 0.45 * swing,
        "right_knee_flexion": 0.35 + 0.3 * swing,
        "left_knee_flexion": 0.35 - 0.3 * swing,
        "spine_x": 0.06 * swing,
        "neck_z": 0.3 * swing,
    }.items():
        values[skeleton.COORDINATE[name]] = value
    return values


def people(time_s: float, count: int = 1, inferred: tuple[str, ...] = ()) -> People:
    """Skeletons side by side, 1.2 m apart."""
    poses = [coordinates(time_s, 1.2 * index) for index in range(count)]
    bodies = [forward_kinematics(pose, skeleton.REFERENCE_LENGTHS_M) for pose in poses]
    quaternions = np.array([body[1] for body in bodies]).reshape(count, skeleton.SEGMENTS, 4)
    centres = np.zeros((count, 3))
    for index, (positions, *_) in enumerate(bodies):
        centre_of_mass(MASS_TABLES, skeleton.REFERENCE_LENGTHS_M, positions, quaternions[index], centres[index])
    measured = np.ones((count, skeleton.SEGMENTS), np.uint8)
    measured[:, [skeleton.SEGMENT[name] for name in inferred]] = 0
    joints = (count, skeleton.SEGMENTS)
    return People(
        measured_ns=round(time_s * NS),
        received_ns=round(time_s * NS),
        skeleton="joints_23",
        ids=np.arange(1, count + 1, dtype=np.int64),
        positions_m=np.array([body[0] for body in bodies], np.float32).reshape(*joints, 3),
        q_world_from_segment=quaternions.astype(np.float32),
        velocities_m_s=np.zeros((*joints, 3), np.float32),
        angular_rates_rad_s=np.zeros((*joints, 3), np.float32),
        covariances_m2=np.tile(np.diag([4e-4, 9e-4, 1e-4]).astype(np.float32), (*joints, 1, 1)),
        measured=measured,
        coordinates=np.array(poses, np.float32).reshape(count, skeleton.COORDINATES),
        lengths_m=np.tile(skeleton.REFERENCE_LENGTHS_M.astype(np.float32), (count, 1)),
        lengths_locked=np.ones(count, np.uint8),
        angles_rad=clinical_angles_batch(quaternions).astype(np.float32),
        centre_of_mass_m=centres.astype(np.float32),
    )


def innovations(time_s: float, sources: dict[str, tuple[float, int, int]], person: int = 1) -> Innovations:
    """Statistics of one person; ``sources`` maps a name to ratio, observations, gated."""
    ratios, observations, gated = (np.array([column]) for column in zip(*sources.values(), strict=True))
    return Innovations(
        measured_ns=round(time_s * NS),
        received_ns=round(time_s * NS),
        ids=np.array([person], np.int64),
        sources=tuple(sources),
        normalised_squares=ratios.astype(np.float64) ** 2,
        observations=observations.astype(np.int64),
        gated=gated.astype(np.int64),
        claimed_ratio=ratios.astype(np.float64),
    )


def inertial(time_s: float, sensors: tuple[str, ...], disturbed: bool = True) -> InertialState:
    """The first sensor rests where it belongs, the others move in a bent field and sit 20 degrees off."""
    count = len(sensors)
    others = (np.arange(count) > 0).astype(np.uint8)
    off = np.zeros((count, 3), np.float32)
    off[1:, 0] = math.radians(20.0)
    return InertialState(
        measured_ns=round(time_s * NS),
        received_ns=round(time_s * NS),
        sensors=sensors,
        wearer=1,
        rates_hz=np.full(count, 100.0),
        q_world_from_sensor=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        bias_rad_s=np.zeros((count, 3), np.float32),
        at_rest=np.uint8(1) - others,
        magnetic_used=others,
        magnetic_known=others,
        magnetic_disturbed=others if disturbed else np.zeros(count, np.uint8),
        settled=np.ones(count, np.uint8),
        heading_rad=np.zeros(count, np.float32),
        heading_sigma_rad=np.full(count, math.radians(3.2), np.float32),
        mounting_error_rad=off,
        mounting_sigma_rad=np.full(count, math.radians(2.0), np.float32),
    )


def guide(time_s: float) -> Guide:
    """A T-pose is asked for; the pelvis is still, an arm moves, the head is silent."""
    return Guide(
        measured_ns=round(time_s * NS),
        received_ns=round(time_s * NS),
        step="t_pose",
        number=2,
        steps=4,
        instruction="Raise the arms",
        message="left_forearm moves",
        progress=0.25,
        sensors=("pelvis", "left_forearm", "head"),
        activity=np.array([0.5, 7.0, math.nan]),
        quality_rad=np.full(3, math.nan),
    )


def truth(time_s: float) -> Truth:
    """The same person a hand's breadth away."""
    record = people(time_s)
    return Truth(
        measured_ns=record.measured_ns,
        received_ns=record.received_ns,
        skeleton=record.skeleton,
        ids=record.ids,
        positions_m=record.positions_m + np.float32(0.08),
        q_world_from_segment=record.q_world_from_segment,
    )


def landmarks(time_s: float, camera: Camera) -> Landmarks2D:
    """The joints as a detector would find them, with noise of 4 px."""
    joints = people(time_s).positions_m[0].astype(np.float64)
    noise = np.random.default_rng(round(time_s * 1000)).normal(0.0, 4.0, (len(joints), 2))
    return Landmarks2D(
        measured_ns=round(time_s * NS),
        received_ns=round(time_s * NS),
        camera=camera.name,
        landmark_set="joints_23",
        image_width=camera.width,
        image_height=camera.height,
        pixels=(project(joints, camera)[0] + noise).astype(np.float32)[None],
        scores=np.full((1, len(joints)), 0.9, np.float32),
    )


def picture(time_s: float, camera: str, width: int = WIDTH, height: int = HEIGHT) -> Image:
    """A slanted grey ramp: blue 40, green 60, red rising to the right."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = 40, 60
    pixels[..., 2] = np.linspace(20, 120, width).astype(np.uint8)
    return Image(
        measured_ns=round(time_s * NS),
        received_ns=round(time_s * NS),
        camera=camera,
        index=round(time_s * 30),
        width=width,
        height=height,
        encoding="bgr8",
        data=pixels.ravel(),
    )


def radar_points(time_s: float, count: int = 40) -> RadarPoints:
    """A cloud around the person, some of it approaching and some receding."""
    noise = np.random.default_rng(round(time_s * 1000))
    return RadarPoints(
        measured_ns=round(time_s * NS),
        received_ns=round(time_s * NS),
        radar="radar1",
        frame=round(time_s * 20),
        positions_m=(noise.normal(0.0, (0.3, 0.2, 0.45), (count, 3)) + np.array([0.0, 3.0, 0.0])).astype(np.float32),
        radial_velocities_m_s=noise.uniform(-1.5, 1.5, count).astype(np.float32),
        snrs_db=np.full(count, 20.0, np.float32),
    )


def radar_tracks(
    time_s: float, unseen_s: tuple[float, ...] = (0.0,), confirmed: tuple[int, ...] | None = None
) -> RadarTracks:
    """Bodies 1.2 m apart, the first where the person is; each walks to the left, but for those that are not seen."""
    count = len(unseen_s)
    places = np.zeros((count, 3), np.float32)
    places[:, 0] = 1.2 * np.arange(count)
    walks = np.array(unseen_s) == 0.0
    places[walks, 1] -= 0.6 * time_s
    velocities = np.zeros((count, 3), np.float32)
    velocities[walks, 1] = -0.6
    places[:, 2] = 0.9
    return RadarTracks(
        measured_ns=round(time_s * NS),
        received_ns=round(time_s * NS),
        radars=("radar1",),
        ids=np.arange(1, count + 1, dtype=np.int64),
        positions_m=places,
        velocities_m_s=velocities,
        covariances=np.tile(np.diag([0.01, 0.01, 0.04, 0.1, 0.1, 0.1]).astype(np.float32), (count, 1, 1)),
        extents_m=np.tile(np.array([0.35, 0.25, 0.85], np.float32), (count, 1)),
        points=np.full(count, 20, np.int64),
        confirmed=np.array(confirmed if confirmed is not None else [1] * count, np.uint8),
        unseen_s=np.array(unseen_s, np.float32),
    )


def radar_joints(time_s: float, landmark_set: str = "kinect_19", mount: RadarMount | None = None) -> RadarJoints:
    """The person's joints in the radar's frame, the last one known worst."""
    mount = mount or lab(0).radars[0]
    positions, quaternions, *_ = forward_kinematics(coordinates(time_s), skeleton.REFERENCE_LENGTHS_M)
    places = landmark_positions(landmark_set, positions, quaternions, skeleton.REFERENCE_LENGTHS_M)
    sigmas = np.linspace(0.03, 0.25, len(places))
    return RadarJoints(
        measured_ns=round(time_s * NS),
        received_ns=round(time_s * NS),
        radar=mount.name,
        landmark_set=landmark_set,
        ids=np.array([1], np.int64),
        positions_m=((places - mount.position_world_m) @ mount.r_world_from_radar).astype(np.float32)[None],
        sigmas_m=np.tile(sigmas[:, None], (1, 3)).astype(np.float32)[None],
        scores=np.ones(1, np.float32),
    )


def health(node: str, streams: dict[str, tuple[float, float, int, int]], time_s: float = 0.0, **more: object) -> Health:
    """A report; ``streams`` maps ``out NODE/STREAM`` to rate, age, drops, errors."""
    rates, ages, drops, errors = (list(column) for column in zip(*streams.values(), strict=True))
    return Health(
        measured_ns=round(time_s * NS),
        received_ns=round(time_s * NS),
        node=node,
        state=str(more.get("state", "running")),
        restarts=int(str(more.get("restarts", 0))),
        pid=4242,
        topics=tuple(key.split()[1] for key in streams),
        directions=tuple(key.split()[0] for key in streams),
        rates_hz=np.array(rates, np.float64),
        ages_s=np.array(ages, np.float64),
        counts=np.array([round(rate * 60) for rate in rates], np.int64),
        drops=np.array(drops, np.int64),
        errors=np.array(errors, np.int64),
        counters=dict(more.get("counters", {})),  # type: ignore[call-overload]
    )
