"""Bodies, cameras and landmarks that the tests of the filter share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fusion.body import catalog
from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import coordinate_limits, resting_coordinates
from fusion.body.skeleton import COORDINATE, COORDINATES, LENGTHS, REFERENCE_LENGTHS_M
from fusion.filter.measurements.anatomy import AnatomyParams
from fusion.filter.measurements.landmarks import LandmarkParams, Landmarks2DMeasurement, Landmarks3DMeasurement
from fusion.filter.state import (
    BODY_ERRORS,
    FLOOR_COLUMN,
    LENGTH,
    NEVER_NS,
    POSE,
    RATE,
    State,
    empty_state,
    errors_of,
    retract,
)
from fusion.filter.update import UpdateParams, Updater
from fusion.maths import quaternion
from fusion.maths.camera import camera_arrays, project
from fusion.records import Float64, Landmarks2D
from fusion.rig import Camera

WIDTH, HEIGHT = 1280, 720
FISHEYE = np.array([0.05, -0.01, 0.003, -0.001])
BENT = np.array([-0.12, 0.05, 0.001, -0.002, 0.01])


def camera_at(
    name: str,
    centre_m: ArrayLike,
    target_m: ArrayLike = (0.0, 0.0, 0.0),
    *,
    distortion: Float64 | None = None,
    fisheye: bool = False,
    focal_px: float = 900.0,
) -> Camera:
    """A camera that looks from one place at another, its picture upright."""
    centre = np.array(centre_m, dtype=np.float64)
    forward = np.array(target_m, dtype=np.float64) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return Camera(
        name=name,
        width=WIDTH,
        height=HEIGHT,
        matrix=np.array([[focal_px, 0.0, WIDTH / 2], [0.0, focal_px, HEIGHT / 2], [0.0, 0.0, 1.0]]),
        distortion=np.zeros(5) if distortion is None else distortion,
        fisheye=fisheye,
        r_camera_from_world=rotation,
        t_camera_from_world_m=-rotation @ centre,
    )


def ring(
    count: int = 4, radius_m: float = 4.0, height_m: float = 0.8, target_m: ArrayLike = (0.0, 0.0, 0.0)
) -> tuple[Camera, ...]:
    """Cameras on a circle that look at a standing body's pelvis, with mild distortion."""
    azimuths = 0.4 + 2.0 * math.pi * np.arange(count) / count
    return tuple(
        camera_at(
            f"cam{i + 1}",
            [radius_m * math.cos(azimuth), radius_m * math.sin(azimuth), height_m],
            target_m,
            distortion=np.array([-0.08, 0.03]),
        )
        for i, azimuth in enumerate(azimuths)
    )


BALLS = {"right_arm": 1.2, "left_arm": 1.2, "right_hip": 0.9, "left_hip": 0.9}
"""Ball joints, and how far a random pose turns them from rest, rad."""


def legal_pose(random: np.random.Generator, share: float = 1.0) -> Float64:
    """Coordinates [44] within all limits: hinges and chains anywhere in (a share of) their range."""
    low, high = coordinate_limits()
    pose = resting_coordinates()
    limited = np.isfinite(low)
    middle, half = 0.5 * (low[limited] + high[limited]), 0.5 * (high[limited] - low[limited])
    pose[limited] = middle + share * half * random.uniform(-1.0, 1.0, middle.size)
    for ball, reach in BALLS.items():
        first = COORDINATE[f"{ball}_x"]
        turn = quaternion.from_rotvec(share * reach * random.uniform(-1.0, 1.0, 3) / math.sqrt(3.0))
        turned = quaternion.multiply(quaternion.from_rotvec(pose[first : first + 3]), turn)
        pose[first : first + 3] = quaternion.to_rotvec(turned)
    pose[:3] = random.uniform(-0.5, 0.5, 3)
    pose[3:6] = quaternion.to_rotvec(quaternion.from_rotvec([0.0, 0.0, random.uniform(-math.pi, math.pi)]))
    return pose


def random_covariance(random: np.random.Generator, sigma: float = 0.05, errors: int = BODY_ERRORS) -> Float64:
    """A full covariance [n, n] with standard deviations about ``sigma``."""
    mixed = np.eye(errors) + 0.3 * random.normal(size=(errors, errors)) / math.sqrt(errors)
    scale = sigma * random.uniform(0.5, 2.0, errors)
    return (mixed @ mixed.T) * scale[:, None] * scale[None, :]


def random_state(random: np.random.Generator, *, rate: float = 1.0, sigma: float = 0.05, imus: int = 0) -> State:
    """A state of a legal pose that moves, of a body that is not the reference; all its IMUs are heard."""
    state = empty_state(imus)
    state.nominal[POSE] = legal_pose(random, 0.7)
    state.nominal[RATE] = rate * random.normal(size=COORDINATES)
    state.nominal[LENGTH] = np.log(REFERENCE_LENGTHS_M) + 0.05 * random.normal(size=LENGTHS)
    state.nominal[FLOOR_COLUMN] = 0.02 * random.normal()
    state.nominal[BODY_ERRORS:] = 0.1 * random.normal(size=len(state.nominal) - BODY_ERRORS)
    state.covariance[:] = random_covariance(random, sigma, len(state.nominal))
    state.imu_ns[:] = 0
    state.stereo_ns = 0
    return state


def silenced(state: State, slot: int) -> State:
    """The state, one of whose IMUs has never been heard."""
    columns = slice(errors_of(slot), errors_of(slot + 1))
    state.nominal[columns] = 0.0
    state.covariance[columns, :] = 0.0
    state.covariance[:, columns] = 0.0
    state.imu_ns[slot] = NEVER_NS
    return state


def resting_state(sigma: float = 0.05, imus: int = 0) -> State:
    """A state at rest with independent errors of one size, and room for IMUs that nobody has heard."""
    state = empty_state(imus)
    state.nominal[POSE] = resting_coordinates()
    state.nominal[LENGTH] = np.log(REFERENCE_LENGTHS_M)
    state.covariance[:BODY_ERRORS, :BODY_ERRORS] = sigma**2 * np.eye(BODY_ERRORS)
    state.stereo_ns = 0
    return state


def drawn_from(state: State, random: np.random.Generator) -> Float64:
    """A nominal [n] that differs from the state's as its covariance says."""
    exists = state.covariance.diagonal() > 0.0
    error = np.zeros(len(exists))
    factor = np.linalg.cholesky(state.covariance[np.ix_(exists, exists)])
    error[exists] = factor @ random.normal(size=int(exists.sum()))
    return retract(state.nominal, error)


def landmarks_of(set_name: str, nominal: Float64) -> Float64:
    """World landmarks [K, 3] of a nominal state [n]."""
    lengths = np.exp(nominal[LENGTH])
    return catalog.landmark_positions(set_name, *forward_kinematics(nominal[POSE], lengths), lengths)


def joints_of(nominal: Float64) -> Float64:
    """World positions [23, 3] of a nominal state [n]."""
    return forward_kinematics(nominal[POSE], np.exp(nominal[LENGTH]))[0]


def on_the_floor(nominal: Float64) -> Float64:
    """The nominal state [n], lifted so that its lowest landmark is at the height of the world's zero."""
    lifted = nominal.copy()
    lifted[2] -= landmarks_of("blazepose_33", nominal)[:, 2].min()
    return lifted


def standing_ring(count: int = 4) -> tuple[Camera, ...]:
    """Cameras that look at a body that stands on the floor at the origin."""
    return ring(count, height_m=1.7, target_m=(0.0, 0.0, 0.9))


def seen_from(camera: Camera, nominal: Float64, set_name: str = "blazepose_33") -> Float64:
    """Pixels [K, 2] of a nominal state's landmarks."""
    return project(landmarks_of(set_name, nominal), camera)[0]


def measured_2d(
    camera: Camera, pixels: Float64, time_ns: int = 0, *, params: LandmarkParams | None = None
) -> Landmarks2DMeasurement:
    """Pixels [K, 2] as a measurement, each with the trust that its place in the catalog has."""
    placed = catalog.attachments("blazepose_33")
    return Landmarks2DMeasurement(
        time_ns, camera_arrays(camera), camera.height, camera.name, placed, pixels, placed.sigma_scale**2,
        params or LandmarkParams(),
    )  # fmt: skip


def measured_3d(
    points_m: Float64, sigma_m: float = 0.01, time_ns: int = 0, *, set_name: str = "blazepose_33"
) -> Landmarks3DMeasurement:
    """World landmarks [K, 3] as a measurement."""
    return Landmarks3DMeasurement(
        time_ns, "points", catalog.attachments(set_name), points_m, np.full(len(points_m), sigma_m**2)
    )


def updater(imus: int = 0, **params: float) -> Updater:
    """An updater for wearers of so many IMUs, with the given parameters in place of the defaults."""
    return Updater(UpdateParams(**params), AnatomyParams(), errors_of(imus))  # type: ignore[arg-type]


def landmarks_record(
    camera: Camera,
    people_px: list[Float64],
    measured_ns: int,
    *,
    set_name: str = "blazepose_33",
    scores: Float64 | None = None,
) -> Landmarks2D:
    """Detections [K, 2] of one picture as a record; NaN gets the score 0."""
    count = len(catalog.landmark_set(set_name).landmark_names)
    pixels = np.array(people_px, dtype=np.float32).reshape(-1, count, 2)
    seen = np.where(np.isfinite(pixels).all(-1), 1.0, 0.0)
    return Landmarks2D(
        measured_ns=measured_ns,
        received_ns=measured_ns,
        camera=camera.name,
        landmark_set=set_name,
        image_width=camera.width,
        image_height=camera.height,
        pixels=pixels,
        scores=(seen if scores is None else scores).astype(np.float32),
    )
