"""Keypoints node: 2D landmarks of the people in another node's pictures."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, field_validator

from fusion.records import Float32, Image, Landmarks2D, UInt8
from nodes.errors import RequestError
from nodes.node import Envelope, NodeContext, NodeParams

if TYPE_CHECKING:
    from fusion.estimators.camera.blazepose import BlazePose, Pose2D
    from fusion.rig import Rig

NS_PER_MS = 1e6
RECEIVE_TIMEOUT_S = 0.5
STALE_NS = 40_000_000
"""A live picture older than this has probably waited in a socket, with newer ones behind it."""
NEWER_WITHIN_S = 0.01
"""How long to look for those."""
MOST_STALE = 8
"""Pictures that are left out in a row before one is taken however old it is."""
ASPECT_TOLERANCE = 2e-3
"""Pictures whose sides are in another ratio than the calibration's by more than this were cropped or stretched."""
SMOOTHING = 0.1
"""Weight of the newest picture in the mean step time."""

Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Shift = Annotated[float, Field(allow_inf_nan=False)]


class Params(NodeParams):
    """Keys of a keypoints node."""

    input: str
    """The pictures: ``NODE/image``."""
    model: str = "blazepose-full"
    """A model of ``kinefuse models list``."""
    threads: int = Field(1, ge=1, le=64)
    """Threads for the network; one a camera is best where there are as many cameras as cores."""
    max_people: int = Field(1, ge=1, le=16)
    """How many people are followed; each costs a run of the landmark network a picture."""
    min_score: float = Field(0.0, ge=0.0, le=1.0)
    """Landmarks with a lower score are given as not seen."""
    pixels_to_calibration: tuple[Scale, Shift, Scale, Shift] | None = None
    """[sx, tx, sy, ty]: x_calibration = sx x + tx, y_calibration = sy y + ty, for pictures that were
    resized or cropped after the calibration; default: scaled to the calibration's size."""

    @field_validator("model")
    @classmethod
    def _is_known(cls, value: str) -> str:
        from nodes.models import store

        return store.find_card(value).name

    @field_validator("input")
    @classmethod
    def _is_image(cls, value: str) -> str:
        if not value.endswith("/image"):
            raise ValueError(f"{value!r} is no picture stream; expected NODE/image")
        return value

    def publishes(self, name: str) -> tuple[str, ...]:
        """The landmarks."""
        return (f"{name}/landmarks",)


@dataclass(frozen=True, slots=True)
class ToCalibration:
    """From the pixels of the pictures to those of the calibration."""

    scale: tuple[float, float]
    shift: tuple[float, float]
    width: int
    height: int
    """Size of the calibration's pictures; of the pictures themselves where there is no calibration."""

    def apply(self, pixels: Float32) -> Float32:
        """Pixels [..., 2] of the calibration."""
        return pixels * np.array(self.scale, dtype=np.float32) + np.array(self.shift, dtype=np.float32)


def run(params: Params, context: NodeContext) -> None:
    """Publish one record of landmarks for each picture that is taken.

    Raises:
        ModelError: if the model is not on this machine.
        RequestError: if pictures do not fit the calibration.
    """
    from fusion.estimators.camera.blazepose import BlazePoseState

    estimator = make_estimator(params)
    decoder = PictureDecoder()
    rig = _rig(context)
    _warm_up(estimator)
    context.ready()
    state = BlazePoseState()
    mapping: dict[tuple[str, int, int], ToCalibration] = {}
    while not context.stopping:
        envelope = newest(context)
        if envelope is None or not isinstance(envelope.record, Image):
            continue
        image = envelope.record
        key = (image.camera, image.width, image.height)
        if key not in mapping:
            mapping[key] = to_calibration(image, params, rig)
        begun_ns = time.perf_counter_ns()
        picture = decoder.pixels(image)
        people: tuple[Pose2D, ...] = ()
        if picture is None:
            context.counters["refused_decode"] = context.counters.get("refused_decode", 0.0) + 1.0
        else:
            step = estimator.step(picture, state)
            state, people = step.state, step.people
            _count(context, len(people), step.searched, (time.perf_counter_ns() - begun_ns) / NS_PER_MS)
        record = landmarks_record(image, people, mapping[key], params.min_score)
        context.publish(f"{context.name}/landmarks", record, envelope)
        _note_age(context, envelope)


def newest(context: NodeContext) -> Envelope | None:
    """The next record; in a ``live`` session the newest of those that have waited while this node was busy.

    The bus hands out the newest that has arrived. Behind it more may be under way between the sockets
    of both processes, which hold back what does not fit, so an old picture is worth a look for another.
    """
    envelope = context.receive(RECEIVE_TIMEOUT_S)
    for _ in range(MOST_STALE):
        if envelope is None or context.session.time == "data":
            break
        if context.clock.now_ns() - envelope.published_ns < STALE_NS:
            break
        newer = context.receive(NEWER_WITHIN_S)
        if newer is None:
            break
        context.counters["skipped_stale"] = context.counters.get("skipped_stale", 0.0) + 1.0
        envelope = newer
    return envelope


def make_estimator(params: Params) -> BlazePose:
    """The estimator with its networks loaded from the cache.

    Raises:
        ModelError: if the model is missing or damaged; the message says how to get it.
        RunnerError: if LiteRT is not installed.
    """
    from fusion.estimators.camera.blazepose import BlazePose, BlazePoseParams
    from nodes.models import store
    from nodes.models.runner import LiteRtNetwork, opencv_warp

    card = store.find_card(params.model)
    contents = store.load(card)
    networks = {key: LiteRtNetwork(card.files[key].name, content, params.threads) for key, content in contents.items()}
    return BlazePose(
        detector=networks["detector"],
        landmarker=networks["landmarks"],
        warp=opencv_warp(),
        params=BlazePoseParams(max_people=params.max_people),
    )


def _warm_up(estimator: BlazePose) -> None:
    """Run both networks once: the first run of each allocates and is many times slower."""
    from fusion.estimators.camera.blazepose import LANDMARK_SIDE, Region

    blank = np.zeros((LANDMARK_SIDE, LANDMARK_SIDE, 3), dtype=np.uint8)
    estimator.detect(blank)
    estimator.landmarks(blank, Region(0.5 * LANDMARK_SIDE, 0.5 * LANDMARK_SIDE, float(LANDMARK_SIDE), 0.0))


def _rig(context: NodeContext) -> Rig | None:
    if context.session.profile is None:
        return None
    from calibration.profile import load_profile

    return load_profile(context.session.profile)


def to_calibration(image: Image, params: Params, rig: Rig | None) -> ToCalibration:
    """How pixels of such pictures become pixels of their camera's calibration.

    Raises:
        RequestError: if the sizes cannot belong together and no key says how.
    """
    camera = next((item for item in rig.cameras if item.name == image.camera), None) if rig is not None else None
    width, height = (image.width, image.height) if camera is None else (camera.width, camera.height)
    if params.pixels_to_calibration is not None:
        sx, tx, sy, ty = params.pixels_to_calibration
        return ToCalibration((sx, sy), (tx, ty), width, height)
    sx, sy = width / image.width, height / image.height
    if abs(sx / sy - 1.0) > ASPECT_TOLERANCE:
        raise RequestError(
            f"pictures of camera {image.camera!r} are {image.width}x{image.height} px, its calibration is for "
            f"{width}x{height} px, another shape: give the key pixels_to_calibration: [sx, tx, sy, ty] "
            "(x_calibration = sx x + tx, y_calibration = sy y + ty), or the right profile"
        )
    # Pixel centres are whole numbers, so a picture begins half a pixel before 0.
    return ToCalibration((sx, sy), (0.5 * sx - 0.5, 0.5 * sy - 0.5), width, height)


class PictureDecoder:
    """Pixels of an image record, BGR [height, width, 3], without a copy if they are not compressed."""

    def pixels(self, image: Image) -> UInt8 | None:
        """The pixels; None if the bytes are damaged or of another size than the record says."""
        if image.encoding == "bgr8":
            return image.data.reshape(image.height, image.width, 3)
        from nodes.video.sources import open_cv2

        cv2 = open_cv2()
        try:
            picture = cv2.imdecode(image.data, cv2.IMREAD_COLOR)
        except cv2.error:
            return None
        if picture is None or picture.shape[:2] != (image.height, image.width):
            return None
        return np.asarray(picture, dtype=np.uint8)


def landmarks_record(image: Image, people: tuple[Pose2D, ...], mapping: ToCalibration, min_score: float) -> Landmarks2D:
    """The record of the people in a picture, in pixels of the calibration.

    A picture without people gives a record without people: readers learn that time has passed.
    """
    from fusion.estimators.camera.blazepose import LANDMARK_SET, LANDMARKS

    pixels = np.full((len(people), LANDMARKS, 2), np.nan, dtype=np.float32)
    scores = np.zeros((len(people), LANDMARKS), dtype=np.float32)
    for row, person in enumerate(people):
        seen = person.scores >= min_score
        pixels[row, seen] = mapping.apply(person.pixels[seen])
        scores[row, seen] = person.scores[seen]
    return Landmarks2D(
        camera=image.camera,
        landmark_set=LANDMARK_SET,
        image_width=mapping.width,
        image_height=mapping.height,
        pixels=pixels,
        scores=scores,
        measured_ns=image.measured_ns,
        received_ns=image.received_ns,
    )


def _count(context: NodeContext, people: int, searched: bool, step_ms: float) -> None:
    counters = context.counters
    counters["pictures"] = counters.get("pictures", 0.0) + 1.0
    counters["with_people"] = counters.get("with_people", 0.0) + (people > 0)
    counters["searches"] = counters.get("searches", 0.0) + searched
    counters["step_ms"] = (1.0 - SMOOTHING) * counters.get("step_ms", step_ms) + SMOOTHING * step_ms


def _note_age(context: NodeContext, envelope: Envelope) -> None:
    """How old the picture was when its landmarks went out: it must not grow however slow this node is."""
    if context.session.time == "live":
        age_ms = (context.clock.now_ns() - envelope.published_ns) / NS_PER_MS
        counters = context.counters
        counters["age_ms"] = (1.0 - SMOOTHING) * counters.get("age_ms", age_ms) + SMOOTHING * age_ms
        counters["age_max_ms"] = max(counters.get("age_max_ms", 0.0), age_ms)
