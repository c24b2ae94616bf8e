"""What travels between nodes: frozen, typed, stamped records.

Every record carries two times in integer nanoseconds on the session clock:
``measured_ns``, when the world was so, and ``received_ns``, when the first node
of this software held the bytes. Arrays are plain numpy; each field says its
shape, unit and frame. Shapes use P people, K landmarks, J joints (one per
segment), N points, M sensors, T samples.

Frames: *world* is right-handed, Z up, metres; *camera* is OpenCV (x right,
y down, z forward); *radar* has x right, y forward, z up; an IMU's *sensor*
frame is what its maker prints on the case. Quaternions are wxyz, Hamilton,
``q_a_from_b``.

A record is checked once, where it is made from untrusted bytes (the codec), by
``validate``; code in between may trust it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]
Array = NDArray[Any]


def array_field(dtype: Any, *shape: str | int, added: bool = False) -> Any:
    """Declare an array field: its dtype and its shape, a name for a free length.

    The same name within one record stands for the same length. ``...`` at the
    end is not needed: images use explicit names too. ``added`` marks an array of
    floats that files of earlier versions lack; it stands after all others, and
    whoever reads such a file puts ``unknown_array`` in its place.
    """
    return field(metadata={"dtype": np.dtype(dtype), "shape": shape, "added": added})


class RecordError(ValueError):
    """A record whose fields contradict their declaration."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """Base of all records: the two times."""

    kind: ClassVar[str] = ""

    measured_ns: int
    received_ns: int

    def validate(self) -> None:
        """Check dtypes and shapes against the declaration.

        Raises:
            RecordError: naming the field, what it has and what it should have.
        """
        lengths: dict[str, int] = {}
        for item in fields(self):
            declared = item.metadata.get("shape")
            if declared is not None:
                _check_array(self.kind, item.name, getattr(self, item.name), item.metadata, lengths)


def unknown_array(record: type[Record], name: str, others: Mapping[str, Array]) -> Array:
    """The array that stands for one that an earlier version did not write.

    Args:
        record: the kind of record.
        name: the field.
        others: the record's other arrays by field, not yet checked.

    Returns:
        NaN of the declared shape, read-only and without memory of its own; a
        length that no other array has is 0.
    """
    declared = {item.name: item.metadata for item in fields(record) if "shape" in item.metadata}
    lengths: dict[str | int, int] = {}
    for other, array in others.items():
        lengths.update(zip(declared[other]["shape"], array.shape, strict=False))
    shape = [part if isinstance(part, int) else lengths.get(part, 0) for part in declared[name]["shape"]]
    return np.broadcast_to(declared[name]["dtype"].type(np.nan), shape)


def _check_array(kind: str, name: str, value: Any, meta: Any, lengths: dict[str, int]) -> None:
    if not isinstance(value, np.ndarray) or value.dtype != meta["dtype"]:
        have = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise RecordError(f"{kind}.{name}: dtype {have}, expected {meta['dtype']}")
    shape = meta["shape"]
    if value.ndim != len(shape):
        raise RecordError(f"{kind}.{name}: shape {value.shape}, expected {shape}")
    for have, want in zip(value.shape, shape, strict=True):
        expected = lengths.setdefault(want, have) if isinstance(want, str) else want
        if have != expected:
            raise RecordError(f"{kind}.{name}: shape {value.shape}, expected {shape} with {want} = {expected}")


def _check_names(kind: str, name: str, names: tuple[str, ...], expected: int) -> None:
    if len(names) != expected:
        raise RecordError(f"{kind}.{name}: {len(names)} names, expected {expected}, as many as the arrays have")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Image(Record):
    """One picture of one camera, as pixels or as JPEG bytes."""

    kind: ClassVar[str] = "image"

    camera: str
    index: int
    """Frame number at the source, from 0; a gap is a frame lost at the source."""
    width: int
    height: int
    encoding: str
    """``bgr8`` (data is height*width*3 bytes, row major) or ``jpeg``."""
    data: UInt8 = array_field(np.uint8, "bytes")

    def validate(self) -> None:
        Record.validate(self)
        if self.encoding not in ("bgr8", "jpeg"):
            raise RecordError(f"image.encoding: {self.encoding!r}, allowed: bgr8, jpeg")
        if self.width < 1 or self.height < 1:
            raise RecordError(f"image.width, image.height: {self.width}x{self.height}, expected positive pixels")
        if self.encoding == "bgr8" and self.data.size != self.width * self.height * 3:
            raise RecordError(f"image.data: {self.data.size} bytes for {self.width}x{self.height} bgr8")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Landmarks2D(Record):
    """The people one detector found in one picture, in detector order."""

    kind: ClassVar[str] = "landmarks"

    camera: str
    landmark_set: str
    """Name in ``fusion.body.catalog``."""
    image_width: int
    image_height: int
    pixels: Float32 = array_field(np.float32, "people", "landmarks", 2)
    """Distorted pixel coordinates [P, K, 2] of the full picture; NaN where not seen."""
    scores: Float32 = array_field(np.float32, "people", "landmarks")
    """Visibility or confidence in 0..1; 0 where not seen."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Landmarks3D(Record):
    """World positions of named landmarks of several people (a depth camera, markers, a network)."""

    kind: ClassVar[str] = "landmarks3d"

    source: str
    landmark_set: str
    positions_m: Float32 = array_field(np.float32, "people", "landmarks", 3)
    """World metres [P, K, 3]; NaN where not seen."""
    sigmas_m: Float32 = array_field(np.float32, "people", "landmarks")
    """One standard deviation, isotropic, metres."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InertialSamples(Record):
    """A batch of samples of one driver's sensors; ``measured_ns`` is the newest sample's."""

    kind: ClassVar[str] = "samples"

    sensors: tuple[str, ...]
    """Placement of each sensor: a segment name; M entries."""
    times_ns: Int64 = array_field(np.int64, "samples")
    specific_force_m_s2: Float32 = array_field(np.float32, "samples", "sensors", 3)
    """Sensor frame; +9.81 up at rest; NaN where a sample is missing."""
    angular_rate_rad_s: Float32 = array_field(np.float32, "samples", "sensors", 3)
    """Sensor frame; NaN where a sample is missing."""
    magnetic_field_ut: Float32 = array_field(np.float32, "samples", "sensors", 3)
    """Sensor frame; NaN without a magnetometer."""

    def validate(self) -> None:
        Record.validate(self)
        _check_names(self.kind, "sensors", self.sensors, self.specific_force_m_s2.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RadarPoints(Record):
    """One radar frame: detections in the radar frame."""

    kind: ClassVar[str] = "points"

    radar: str
    frame: int
    """The sensor's own frame counter; a gap is a lost frame."""
    positions_m: Float32 = array_field(np.float32, "points", 3)
    """Radar frame."""
    radial_velocities_m_s: Float32 = array_field(np.float32, "points")
    """+ is receding."""
    snrs_db: Float32 = array_field(np.float32, "points")
    """NaN where the sensor gives none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RadarTensor(Record):
    """One radar frame before detection: how much is reflected from each place, by radial velocity."""

    kind: ClassVar[str] = "tensor"

    radar: str
    frame: int
    """The sensor's own frame counter; a gap is a lost frame."""
    power: Float16 = array_field(np.float16, "doppler", "up", "across", "forward")
    """Magnitude, not negative, of each Doppler channel and voxel; scale as the network wants it."""
    origin_m: Float64 = array_field(np.float64, 3)
    """Radar frame (right, forward, up): centre of voxel [:, 0, 0, 0]."""
    steps_m: Float64 = array_field(np.float64, 3)
    """Voxel sizes along right, forward, up."""
    radial_velocities_m_s: Float64 = array_field(np.float64, "doppler")
    """Of each Doppler channel, + is receding; NaN where the channel mixes several."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RadarTracks(Record):
    """The moving bodies that radars tell of, as a tracker of their points holds them."""

    kind: ClassVar[str] = "tracks"

    radars: tuple[str, ...]
    """Whose points went in."""
    ids: Int64 = array_field(np.int64, "tracks")
    """Stable while a body is tracked, never used again in a session; not those of ``People``."""
    positions_m: Float32 = array_field(np.float32, "tracks", 3)
    """World: middle of the body."""
    velocities_m_s: Float32 = array_field(np.float32, "tracks", 3)
    covariances: Float32 = array_field(np.float32, "tracks", 6, 6)
    """Of position and velocity, world, m and m/s."""
    extents_m: Float32 = array_field(np.float32, "tracks", 3)
    """Half sizes along the world's axes."""
    points: Int64 = array_field(np.int64, "tracks")
    """How many points of the newest frame are the body's."""
    confirmed: UInt8 = array_field(np.uint8, "tracks")
    """0 while it may still be a ghost."""
    unseen_s: Float32 = array_field(np.float32, "tracks")
    """Time since a point was the body's: somebody who stands still reflects nothing that moves."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RadarJoints(Record):
    """Joints of the people before one radar, as a network makes of its points or its tensor."""

    kind: ClassVar[str] = "joints"

    radar: str
    landmark_set: str
    """Name in ``fusion.body.catalog``."""
    ids: Int64 = array_field(np.int64, "people")
    """Track of each, as in ``RadarTracks``; -1 where the network was given no track."""
    positions_m: Float32 = array_field(np.float32, "people", "joints", 3)
    """Radar frame."""
    sigmas_m: Float32 = array_field(np.float32, "people", "joints", 3)
    """One standard deviation of one frame along the radar's axes, as learned and calibrated."""
    scores: Float32 = array_field(np.float32, "people")
    """How sure the network is that somebody is there, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class People(Record):
    """The tracked people at one time: the state of each one's skeleton."""

    kind: ClassVar[str] = "people"

    skeleton: str
    """Name in ``fusion.body.catalog``; J is its number of segments, a joint sits at a segment's origin."""
    ids: Int64 = array_field(np.int64, "people")
    """Stable while a person is tracked, never used again in a session."""
    positions_m: Float32 = array_field(np.float32, "people", "joints", 3)
    """World position of each segment's origin (its joint)."""
    q_world_from_segment: Float32 = array_field(np.float32, "people", "joints", 4)
    velocities_m_s: Float32 = array_field(np.float32, "people", "joints", 3)
    """World velocity of each segment's origin."""
    angular_rates_rad_s: Float32 = array_field(np.float32, "people", "joints", 3)
    """World angular rate of each segment."""
    covariances_m2: Float32 = array_field(np.float32, "people", "joints", 3, 3)
    """World covariance of each joint position."""
    measured: UInt8 = array_field(np.uint8, "people", "joints")
    """1 where a sensor has constrained the joint lately, 0 where it is inferred."""
    coordinates: Float32 = array_field(np.float32, "people", "coordinates")
    """Generalised coordinates (order: ``fusion.body.skeleton.COORDINATE_NAMES``; metres, radians)."""
    lengths_m: Float32 = array_field(np.float32, "people", "lengths")
    """Body proportions (order: ``fusion.body.skeleton.LENGTH_NAMES``)."""
    lengths_locked: UInt8 = array_field(np.uint8, "people")
    """1 once the lengths are constant."""
    angles_rad: Float32 = array_field(np.float32, "people", "angles", added=True)
    """Clinical joint angles (order: ``fusion.body.angles.ANGLE_NAMES``; ``docs/angles.md``); none in old files."""
    centre_of_mass_m: Float32 = array_field(np.float32, "people", 3, added=True)
    """World position of the whole body's centre of mass; NaN in old files."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Innovations(Record):
    """Whether measurements surprise the filter as often as it claims they should, per person and source.

    An innovation is what a measurement says minus what the filter expected,
    and its normalised square is weighed by the covariance that the filter
    claims for it: 1 on average per degree of freedom when the claim is true.
    Source: Bar-Shalom, Li & Kirubarajan, "Estimation with Applications to
    Tracking and Navigation", 2001, section 5.4.
    """

    kind: ClassVar[str] = "innovations"

    sources: tuple[str, ...]
    """Name of each source of measurements: a camera, a radar, an IMU slot; S entries."""
    ids: Int64 = array_field(np.int64, "people")
    """As in ``People``."""
    normalised_squares: Float64 = array_field(np.float64, "people", "sources")
    """Running mean of the normalised square per degree of freedom; NaN before the first observation."""
    observations: Int64 = array_field(np.int64, "people", "sources")
    """Observations of the source that were offered to the person's filter, in all."""
    gated: Int64 = array_field(np.int64, "people", "sources")
    """How many of them were refused as outliers."""
    claimed_ratio: Float64 = array_field(np.float64, "people", "sources")
    """How many times larger the real error is than the claimed one, by a robust estimate; 1 is honest, NaN unknown."""

    def validate(self) -> None:
        Record.validate(self)
        _check_names(self.kind, "sources", self.sources, self.normalised_squares.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InertialState(Record):
    """How one system's sensors are, and how they sit on their wearer; ``measured_ns`` is the newest orientation's."""

    kind: ClassVar[str] = "inertial"

    sensors: tuple[str, ...]
    """Placement of each sensor that the profile knows: a segment name; M entries."""
    wearer: int
    """As in ``People``; -1 without."""
    rates_hz: Float64 = array_field(np.float64, "sensors")
    """Samples a second since the last report that could be used; NaN in the first."""
    q_world_from_sensor: Float32 = array_field(np.float32, "sensors", 4)
    """Of the orientation filter: z up, the heading its own, or with a magnetometer from magnetic north; NaN unknown."""
    bias_rad_s: Float32 = array_field(np.float32, "sensors", 3)
    """Of the gyroscope, sensor frame: measured = true + bias."""
    at_rest: UInt8 = array_field(np.uint8, "sensors")
    """1 where the sensor does not move."""
    magnetic_used: UInt8 = array_field(np.uint8, "sensors")
    """1 where the heading is held by the magnetic field."""
    magnetic_known: UInt8 = array_field(np.uint8, "sensors")
    """1 where it is known how strong and how steep the room's field is: after a few seconds of movement."""
    magnetic_disturbed: UInt8 = array_field(np.uint8, "sensors")
    """1 where the field is known and is now another."""
    settled: UInt8 = array_field(np.uint8, "sensors")
    """1 where the inclination may be used."""
    heading_rad: Float32 = array_field(np.float32, "sensors")
    """Of the sensor's world against the room's, as the wearer's filter has it; NaN without."""
    heading_sigma_rad: Float32 = array_field(np.float32, "sensors")
    mounting_error_rad: Float32 = array_field(np.float32, "sensors", 3)
    """Rotation vector: how the sensor sits against the profile, sensor frame; NaN without a wearer."""
    mounting_sigma_rad: Float32 = array_field(np.float32, "sensors")
    """Standard deviation of its worst axis."""

    def validate(self) -> None:
        Record.validate(self)
        _check_names(self.kind, "sensors", self.sensors, self.rates_hz.size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Guide(Record):
    """What a guided calibration asks of the wearer, and how it goes."""

    kind: ClassVar[str] = "guide"

    step: str
    """``waiting``, ``n_pose``, ``t_pose``, ``walk``, ``done`` or ``refused``."""
    number: int
    """Of the step, from 1; 0 before the first."""
    steps: int
    instruction: str
    """What the wearer should do; empty at the end."""
    message: str
    """What is missing, or why it is refused."""
    progress: float
    """Of the step, 0..1."""
    sensors: tuple[str, ...]
    """Segment that each sensor is said to be on; M entries."""
    activity: Float64 = array_field(np.float64, "sensors")
    """How far each is from holding still: below 1 it does; NaN unheard."""
    quality_rad: Float64 = array_field(np.float64, "sensors")
    """Quality of each mounting at the end; NaN unknown."""

    def validate(self) -> None:
        Record.validate(self)
        _check_names(self.kind, "sensors", self.sensors, self.activity.size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth(Record):
    """A simulator's or a reference system's own answer, for evaluation only."""

    kind: ClassVar[str] = "truth"

    skeleton: str
    ids: Int64 = array_field(np.int64, "people")
    positions_m: Float32 = array_field(np.float32, "people", "joints", 3)
    q_world_from_segment: Float32 = array_field(np.float32, "people", "joints", 4)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tick(Record):
    """The session clock passing ``measured_ns`` without any other news (replay, simulation)."""

    kind: ClassVar[str] = "tick"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamEnd(Record):
    """The last record of a source that has no more to say (a file's end)."""

    kind: ClassVar[str] = "end"

    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Annotation(Record):
    """A person's remark on the session, or a mark set by software."""

    kind: ClassVar[str] = "annotation"

    text: str
    author: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Document(Record):
    """A text that describes the session: the graph, the profile, software versions."""

    kind: ClassVar[str] = "document"

    name: str
    """``graph``, ``profile``, ``versions``."""
    media_type: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Health(Record):
    """How a node and its streams are doing, once or twice a second."""

    kind: ClassVar[str] = "health"

    node: str
    state: str
    """``starting``, ``running``, ``restarting``, ``stopped``, ``failed``."""
    restarts: int
    pid: int
    topics: tuple[str, ...]
    """Topics that the node publishes (``out``) and takes (``in``), S entries."""
    directions: tuple[str, ...]
    rates_hz: Float64 = array_field(np.float64, "streams")
    """Records a second over the last report period."""
    ages_s: Float64 = array_field(np.float64, "streams")
    """Time since the last record; NaN before the first."""
    counts: Int64 = array_field(np.int64, "streams")
    drops: Int64 = array_field(np.int64, "streams")
    """Records lost in transport or discarded by the queue rule, in all."""
    errors: Int64 = array_field(np.int64, "streams")
    """Messages that could not be decoded, in all."""
    counters: dict[str, float] = field(default_factory=dict)
    """The node's own figures, e.g. ``refused_late``, ``step_ms``."""

    def validate(self) -> None:
        Record.validate(self)
        _check_names(self.kind, "topics", self.topics, self.rates_hz.size)
        _check_names(self.kind, "directions", self.directions, self.rates_hz.size)
