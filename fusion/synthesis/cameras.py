"""Virtual cameras: where they stand, and the landmarks that a detector would report of their pictures.

What is drawn of chance depends on the seed, the camera and the frame only
(``fusion.synthesis.randomness``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fusion.body.catalog import attachments, landmark_positions_batch, landmark_set
from fusion.body.skeleton import SEGMENT_NAMES
from fusion.maths import quaternion
from fusion.maths.camera import project
from fusion.records import Array, Float64, Landmarks2D
from fusion.rig import Camera
from fusion.synthesis.params import DROPOUT_SLOT_S, DetectorParams, RingParams
from fusion.synthesis.randomness import RandomStream
from fusion.synthesis.wearer import CAPSULE_RADIUS_M, Wearer, capsule_ends

NANOSECONDS = 1_000_000_000


_LIMBS = ("right_arm", "left_arm", "right_leg", "left_leg", "head")
_HIDDEN_DEPTH_M = 0.05
"""A body part hides what lies at least this far behind its axis."""
_HIDDEN_RADIUS = 0.95
_VISIBLE_SCORE = (0.97, 0.04)
_HIDDEN_SCORE = (0.05, 0.45)
_MIN_LATENCY_S = 0.001


def ring_of_cameras(params: RingParams, names: Sequence[str]) -> tuple[Camera, ...]:
    """Cameras evenly spread on a circle.

    Args:
        params: ``count`` must be ``len(names)``.
        names: of the cameras, anticlockwise.
    """
    focal = 0.5 * params.width / math.tan(0.5 * params.horizontal_fov_rad)
    matrix = np.array([[focal, 0.0, 0.5 * params.width], [0.0, focal, 0.5 * params.height], [0.0, 0.0, 1.0]])
    cameras = []
    for index, name in enumerate(names):
        azimuth = params.first_azimuth_rad + 2.0 * math.pi * index / params.count
        centre = np.array([params.radius_m * math.cos(azimuth), params.radius_m * math.sin(azimuth), params.height_m])
        rotation = looking_at(centre, np.array(params.look_at_m))
        cameras.append(
            Camera(
                name=name,
                width=params.width,
                height=params.height,
                matrix=matrix,
                distortion=np.array(params.distortion),
                r_camera_from_world=rotation,
                t_camera_from_world_m=-rotation @ centre,
            )
        )
    return tuple(cameras)


def looking_at(centre_m: Float64, target_m: Float64) -> Float64:
    """``r_camera_from_world`` [3, 3] of an upright camera at a place that looks at a target."""
    forward = (target_m - centre_m) / np.linalg.norm(target_m - centre_m)
    right = np.cross(forward, np.array([0.0, 0.0, 1.0]))
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


class VirtualCamera:
    """The landmark detections of one camera, frame by frame.

    Args:
        camera: where it is and how it sees; its name enters the records.
        params: the detector's errors.
        wearers: who is there.
        seed: of the simulation.
    """

    def __init__(self, camera: Camera, params: DetectorParams, wearers: Sequence[Wearer], seed: int) -> None:
        self.camera = camera
        self.params = params
        self._wearers = tuple(wearers)
        self._attached = attachments(params.landmark_set)
        self._random = RandomStream(seed, f"{camera.name}/landmarks")
        self._dropouts = [RandomStream(seed, f"{camera.name}/dropout/{wearer.id}") for wearer in wearers]
        self._biases = [landmark_biases(params, wearer.id, seed) for wearer in wearers]
        self._limb = _limb_of_landmarks(params.landmark_set)
        self._swaps = _swap_orders(params.landmark_set)

    def times_s(self, first: int, count: int) -> Float64:
        """Exposure times of frames ``first`` .. ``first + count - 1``."""
        return self.params.phase_s + np.arange(first, first + count) / self.params.rate_hz

    def frames(self, first: int, count: int, origin_ns: int) -> list[tuple[float, Landmarks2D]]:
        """Detections of consecutive frames, with their true times in seconds from the start.

        Args:
            first: number of the first frame, from 0.
            count: how many.
            origin_ns: session time of the simulation's start.
        """
        times = self.times_s(first, count)
        pixels, hidden = self._ideal(times)
        result = []
        for i in range(count):
            detected = self._detect(first + i, float(times[i]), pixels[i], hidden[i], origin_ns)
            result.append((float(times[i]), detected))
        return result

    def _ideal(self, times_s: Float64) -> tuple[Float64, Array]:
        """Exact pixels [T, P, K, 2], NaN outside the picture, and whether each is hidden [T, P, K]."""
        points, starts, ends = [], [], []
        for wearer, bias in zip(self._wearers, self._biases, strict=True):
            positions, quaternions = wearer.motion.pose(times_s)
            lengths = wearer.motion.lengths_m
            landmarks = landmark_positions_batch(self.params.landmark_set, positions, quaternions, lengths)
            segment = np.maximum(self._attached.segment, 0)
            points.append(landmarks + quaternion.rotate(quaternions[:, segment], bias))
            capsules = capsule_ends(positions, quaternions, lengths)
            starts.append(capsules[0])
            ends.append(capsules[1])
        world = np.stack(points, axis=1)
        flat, _ = project(world.reshape(-1, 3), self.camera)
        pixels = flat.reshape(*world.shape[:3], 2)
        inside = (pixels >= 0.0).all(-1) & (pixels[..., 0] < self.camera.width) & (pixels[..., 1] < self.camera.height)
        pixels[~inside] = np.nan
        hidden = np.zeros(world.shape[:3], dtype=bool)
        if self.params.occlusion:
            radii = np.tile(CAPSULE_RADIUS_M, len(self._wearers))
            hidden = occluded(
                self.camera.centre_world_m, world, np.concatenate(starts, 1), np.concatenate(ends, 1), radii
            )
        return pixels, hidden

    def _detect(self, frame: int, time_s: float, ideal: Float64, hidden: Array, origin_ns: int) -> Landmarks2D:
        params, random = self.params, self._random.at(frame)
        people, landmarks = hidden.shape
        # Always the same draws in the same order: one setting must not change the luck of another.
        noise = random.standard_normal((people, landmarks, 2))
        gross = random.standard_normal((people, landmarks, 2))
        chance = random.random((people, landmarks, 3))
        person_chance = random.random((people, 3))
        order = np.argsort(random.random(people))
        arrival, stamp = random.standard_normal(2)
        false_chance, false_side = random.random(2)

        hidden = hidden | np.stack([self._dropped(p, time_s) for p in range(people)])
        sigma = params.noise_px * np.where(hidden, params.occluded_noise_factor, 1.0)
        pixels = ideal + sigma[..., None] * noise
        outlier = chance[..., 0] < params.outlier_share
        pixels = np.where(outlier[..., None], pixels + params.outlier_px * gross, pixels)
        scores = _scores(hidden, chance[..., 1], noise[..., 0])
        gone = (hidden & (chance[..., 2] < params.occluded_missing)) | ~np.isfinite(pixels).all(-1)
        for person in range(people):
            if person_chance[person, 0] < params.swap_share:
                swap = self._swaps[int(person_chance[person, 1] * len(self._swaps))]
                pixels[person], scores[person], gone[person] = (
                    pixels[person, swap],
                    scores[person, swap],
                    gone[person, swap],
                )
        pixels[gone], scores[gone] = np.nan, 0.0
        seen = [p for p in order if person_chance[p, 2] >= params.miss_share and not gone[p].all()]
        pixels, scores = pixels[seen], scores[seen]
        if false_chance < params.false_rate_hz / params.rate_hz:
            pixels, scores = self._with_false(pixels, scores, ideal, noise, false_side)
        latency = max(params.latency_s + params.jitter_s * arrival, _MIN_LATENCY_S)
        measured = origin_ns + round((time_s + params.stamp_noise_s * stamp) * NANOSECONDS)
        return Landmarks2D(
            measured_ns=measured,
            received_ns=origin_ns + round((time_s + latency) * NANOSECONDS),
            camera=self.camera.name,
            landmark_set=params.landmark_set,
            image_width=self.camera.width,
            image_height=self.camera.height,
            pixels=np.ascontiguousarray(pixels, dtype=np.float32),
            scores=np.ascontiguousarray(scores, dtype=np.float32),
        )

    def _dropped(self, person: int, time_s: float) -> Array:
        """Landmarks [K] of limbs that this camera has lost at that time."""
        lost = np.zeros(len(_LIMBS) + 1, dtype=bool)
        slot = int(time_s / DROPOUT_SLOT_S)
        low, high = self.params.limb_dropout_s
        for index in (slot - 1, slot):
            if index < 0:
                continue
            draws = self._dropouts[person].at(index).random((3, len(_LIMBS)))
            begin = (index + draws[1]) * DROPOUT_SLOT_S
            during = (time_s >= begin) & (time_s < begin + low + (high - low) * draws[2])
            lost[: len(_LIMBS)] |= during & (draws[0] < self.params.limb_dropout_rate_hz * DROPOUT_SLOT_S)
        return lost[self._limb]

    def _with_false(
        self, pixels: Float64, scores: Float64, ideal: Float64, noise: Float64, side: float
    ) -> tuple[Float64, Float64]:
        """Add somebody who is not there: the first wearer's shape elsewhere in the picture."""
        shape = np.nan_to_num(ideal[0], nan=0.5 * self.camera.height) + 5.0 * self.params.noise_px * noise[0]
        shift = np.array([(side - 0.5) * self.camera.width, 0.0])
        ghost = np.clip(shape + shift, 0.0, [self.camera.width - 1.0, self.camera.height - 1.0])
        guess = np.full((1, ghost.shape[0]), np.mean(_HIDDEN_SCORE))
        return np.concatenate([pixels, ghost[None]]), np.concatenate([scores, guess])


def landmark_biases(params: DetectorParams, wearer: int, seed: int) -> Float64:
    """Constant displacement [K, 3] of each landmark in its segment's frame, the same for all cameras."""
    count = len(landmark_set(params.landmark_set).landmark_names)
    draws = RandomStream(seed, f"landmark bias/{params.landmark_set}/{wearer}").at(0).standard_normal((count, 3))
    return params.bias_m / math.sqrt(3.0) * draws


def occluded(eye_m: Float64, points_m: Float64, starts_m: Float64, ends_m: Float64, radii_m: Float64) -> Array:
    """Whether a capsule stands between an eye and each point.

    A capsule hides a point if the line of sight passes its axis within the radius
    and the point lies behind that place; a point on or in the near side of the
    capsule is seen.

    Args:
        eye_m: [3].
        points_m: [T, P, K, 3].
        starts_m: [T, C, 3] one end of each capsule.
        ends_m: [T, C, 3].
        radii_m: [C].

    Returns:
        bool [T, P, K].

    Source: closest points of two segments, Ericson, "Real-Time Collision Detection", section 5.1.9.
    """
    shape = points_m.shape[:3]
    points = points_m.reshape(shape[0], -1, 1, 3)
    sight = points - eye_m
    depth = np.linalg.norm(sight, axis=-1)
    along = sight / depth[..., None]
    axis = (ends_m - starts_m)[:, None]
    offset = eye_m - starts_m[:, None]
    axis_squared = np.einsum("...i,...i", axis, axis)
    b = np.einsum("tnci,tnci->tnc", *np.broadcast_arrays(along, axis))
    c = np.einsum("tnci,tnci->tnc", *np.broadcast_arrays(along, offset))
    f = np.einsum("tnci,tnci->tnc", *np.broadcast_arrays(axis, offset))
    denominator = np.maximum(axis_squared - b * b, 1e-12)
    s = np.clip((b * f - c * axis_squared) / denominator, 0.0, depth)
    t = np.clip((b * s + f) / axis_squared, 0.0, 1.0)
    s = np.clip(b * t - c, 0.0, depth)
    gap = eye_m + s[..., None] * along - (starts_m[:, None] + t[..., None] * axis)
    near = np.einsum("...i,...i", gap, gap) < (_HIDDEN_RADIUS * radii_m) ** 2
    return np.asarray((near & (s < depth - _HIDDEN_DEPTH_M)).any(-1).reshape(shape))


def _scores(hidden: Array, chance: Float64, noise: Float64) -> Float64:
    """Visibility: high for what is seen, a little less where it is noisy, low for what is hidden."""
    low, high = _HIDDEN_SCORE
    top, slope = _VISIBLE_SCORE
    return np.where(hidden, low + (high - low) * chance, np.clip(top - slope * np.abs(noise), 0.6, 1.0))


def _limb_of_landmarks(set_name: str) -> Array:
    """Index into ``_LIMBS`` of each landmark [K]; trunk landmarks have the one past the end."""
    result = []
    for segment in attachments(set_name).segment:
        name = SEGMENT_NAMES[segment] if segment >= 0 else ""
        side = "right_" if name.startswith("right") else "left_"
        if name.endswith(("forearm", "hand")):
            result.append(_LIMBS.index(f"{side}arm"))
        elif name.endswith(("lower_leg", "foot", "toe")):
            result.append(_LIMBS.index(f"{side}leg"))
        else:
            result.append(_LIMBS.index("head") if name == "head" else len(_LIMBS))
    return np.array(result)


def _swap_orders(set_name: str) -> list[Array]:
    """Orders [K] that exchange left and right: of the legs, of the arms, of both."""
    names = landmark_set(set_name).landmark_names
    mirrored = {name: i for i, name in enumerate(names)}
    partner = np.array(
        [mirrored.get(name.replace("left_", "@").replace("right_", "left_").replace("@", "right_"), i)
         for i, name in enumerate(names)]
    )  # fmt: skip
    segments = [SEGMENT_NAMES[i] if i >= 0 else "" for i in attachments(set_name).segment]
    leg = np.array([name.endswith(("leg", "foot", "toe")) for name in segments])
    arm = np.array([name.endswith(("arm", "hand")) for name in segments])
    index = np.arange(len(names))
    return [np.where(which, partner, index) for which in (leg, arm, leg | arm)]
