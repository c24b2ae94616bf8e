"""The one table of streams: what each carries, how it queues, whether it is logged.

A topic is ``NODE/STREAM``: the node that publishes it and one name of this
table. Codec, bus, recorder, health and the README's table follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fusion import records
from fusion.records import Record

Queue = Literal["latest", "all"]


@dataclass(frozen=True, slots=True)
class Stream:
    """One row of the table."""

    name: str
    record: type[Record]
    queue: Queue
    """``latest``: a reader that falls behind gets the newest only, what it skipped is counted.
    ``all``: every record, in order; a loss is counted and published."""
    logged: bool
    """Whether a recorder takes it without being asked."""
    about: str


STREAMS: dict[str, Stream] = {
    stream.name: stream
    for stream in (
        Stream("image", records.Image, "latest", False, "camera pictures"),
        Stream("landmarks", records.Landmarks2D, "all", True, "2D landmarks per picture"),
        Stream("landmarks3d", records.Landmarks3D, "all", True, "3D landmarks in the world"),
        Stream("samples", records.InertialSamples, "all", True, "inertial samples"),
        Stream("points", records.RadarPoints, "all", True, "radar detections"),
        Stream("tensor", records.RadarTensor, "latest", False, "radar frames before detection"),
        Stream("tracks", records.RadarTracks, "all", True, "moving bodies by radar"),
        Stream("joints", records.RadarJoints, "all", True, "joints by radar"),
        Stream("people", records.People, "all", True, "the fused skeletons"),
        Stream("smoothed", records.People, "all", True, "the fused skeletons again, a little later and smoother"),
        Stream("predicted", records.People, "all", False, "the fused skeletons of a moment to come"),
        Stream("innovations", records.Innovations, "all", True, "how well measurements agree with what was expected"),
        Stream("inertial", records.InertialState, "all", True, "how inertial sensors are, and how they sit"),
        Stream("guide", records.Guide, "all", True, "what a guided calibration asks of the wearer"),
        Stream("truth", records.Truth, "all", True, "a simulator's own answer"),
        Stream("tick", records.Tick, "all", True, "time passing without other news"),
        Stream("end", records.StreamEnd, "all", True, "a source's last word"),
        Stream("annotation", records.Annotation, "all", True, "remarks on the session"),
        Stream("document", records.Document, "all", True, "graph, profile, versions"),
        Stream("health", records.Health, "all", True, "state of nodes and streams"),
    )
}


def split_topic(topic: str) -> tuple[str, Stream]:
    """Split ``NODE/STREAM``.

    Raises:
        ValueError: if the topic is not of that form or names no known stream.
    """
    node, _, name = topic.rpartition("/")
    if not node or name not in STREAMS:
        raise ValueError(f"topic {topic!r}: expected NODE/STREAM with STREAM one of {', '.join(STREAMS)}")
    return node, STREAMS[name]


def markdown_table() -> str:
    """The table as it stands in the README."""
    rows = [
        f"| `{stream.name}` | `{stream.record.__name__}` | {stream.queue} | {'yes' if stream.logged else 'no'} | "
        f"{stream.about} |"
        for stream in STREAMS.values()
    ]
    return "\n".join(["| stream | record | queue | logged | about |", "| --- | --- | --- | --- | --- |", *rows])
