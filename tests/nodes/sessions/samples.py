"""Records and files for the tests of sessions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fusion.records import Annotation, Image, Landmarks2D, RadarPoints
from nodes.node import Envelope
from nodes.sessions.writer import SessionFacts, SessionWriter

PROFILE = 'format = "kinefuse-profile"\nversion = 1\n'
FACTS = SessionFacts(name="lab", graph_text="nodes: {}\n", profile_name="lab.toml", profile_text=PROFILE)
STEP_NS = 10_000_000
START_NS = 1_700_000_000_000_000_000


def landmarks(number: int, *, people: int = 1) -> Landmarks2D:
    generator = np.random.default_rng(number)
    return Landmarks2D(
        measured_ns=START_NS + number * STEP_NS,
        received_ns=START_NS + number * STEP_NS + 5,
        camera="front",
        landmark_set="body_25b",
        image_width=1280,
        image_height=720,
        pixels=generator.normal(size=(people, 25, 2)).astype(np.float32),
        scores=generator.random((people, 25)).astype(np.float32),
    )


def points(number: int) -> RadarPoints:
    generator = np.random.default_rng(number)
    count = number % 7
    return RadarPoints(
        measured_ns=START_NS + number * STEP_NS,
        received_ns=START_NS + number * STEP_NS,
        radar="radar1",
        frame=number,
        positions_m=generator.normal(size=(count, 3)).astype(np.float32),
        radial_velocities_m_s=generator.normal(size=count).astype(np.float32),
        snrs_db=np.full(count, np.nan, np.float32),
    )


def image(number: int, *, width: int = 64, height: int = 48) -> Image:
    generator = np.random.default_rng(number)
    return Image(
        measured_ns=START_NS + number * STEP_NS,
        received_ns=START_NS + number * STEP_NS,
        camera="front",
        index=number,
        width=width,
        height=height,
        encoding="bgr8",
        data=generator.integers(0, 255, width * height * 3, dtype=np.uint8),
    )


def annotation(text: str) -> Annotation:
    return Annotation(measured_ns=START_NS, received_ns=START_NS, text=text)


def stream(count: int) -> Iterator[tuple[int, Envelope]]:
    """Log time and envelope: landmarks of one camera, every third time also points."""
    for number in range(count):
        log_ns = START_NS + number * STEP_NS + 1000
        yield log_ns, Envelope("cam1/landmarks", number, log_ns - 500, 0, landmarks(number))
        if number % 3 == 0:
            yield log_ns + 10, Envelope("radar1/points", number // 3, log_ns - 400, log_ns - 900, points(number))


def write_session(path: Path, count: int = 200, *, flush_every: int | None = None) -> list[tuple[int, Envelope]]:
    """A whole session; returns what is in it."""
    content = list(stream(count))
    writer = SessionWriter(path, FACTS)
    for index, (log_ns, envelope) in enumerate(content):
        writer.write(envelope, log_ns)
        if flush_every and index % flush_every == flush_every - 1:
            writer.flush()
    writer.close({"end": "stopped"})
    return content


def same(first: Envelope, second: Envelope) -> bool:
    """Equal in every bit."""
    from nodes.transport.codec import encode_flat

    return encode_flat(first) == encode_flat(second)
