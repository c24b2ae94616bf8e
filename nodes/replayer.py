"""Replayer node: publishes a session's records again, on their topics, with their stamps.

At ``speed: max`` (a ``data`` session) each record is published as soon as all
readers have room, in the order of the file, so two replays are the same. With a
number the records keep their distances in log time, divided by it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from fusion.records import StreamEnd
from nodes.errors import RequestError, listed
from nodes.graph.schema import InputPath
from nodes.node import Envelope, NodeContext, NodeParams, match_topics
from nodes.sessions.reader import SessionReader

NS_PER_S = 1_000_000_000
SPEED_MAX = 1000.0
WAIT_S = 0.2


class Params(NodeParams):
    """Keys of a replayer node."""

    path: InputPath
    """A session file."""
    speed: float | Literal["max"] = 1.0
    """1 is as recorded, 2 twice as fast; ``max`` is as fast as every reader takes it (needs ``time: data``)."""
    start_s: float = Field(0.0, ge=0)
    """From here on, seconds after the first record."""
    end_s: float | None = Field(None, gt=0)
    """Up to here, seconds after the first record."""
    topics: list[str] = Field(default_factory=lambda: ["*"], min_length=1)
    """Topics or patterns that are published, of those in the file."""
    skip: list[str] = Field(default_factory=list)
    """Topics or patterns that are left out."""

    @field_validator("speed")
    @classmethod
    def _speed(cls, speed: float | Literal["max"]) -> float | Literal["max"]:
        if isinstance(speed, float) and not 0 < speed <= SPEED_MAX:
            raise ValueError(f"a speed is more than 0 and at most {SPEED_MAX:g}, or max")
        return speed

    @model_validator(mode="after")
    def _span(self) -> Params:
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"end_s {self.end_s:g} is not after start_s {self.start_s:g}")
        return self

    def recorded_topics(self) -> tuple[str, ...]:
        """What it publishes of the file; the supervisor publishes health itself, so recorded health is left out.

        Raises:
            SessionError: if the file cannot be read.
        """
        file = Path(self.path)
        state = file.stat()
        available = _topics_of(str(file), state.st_mtime_ns, state.st_size)
        wanted = [topic for topic in match_topics(self.topics, available) if topic in available]
        skipped = set(match_topics(self.skip, available))
        return tuple(topic for topic in wanted if topic not in skipped and not topic.endswith("/health"))

    def publishes(self, name: str) -> tuple[str, ...]:
        """The recorded topics and its own end."""
        return tuple(dict.fromkeys((*self.recorded_topics(), f"{name}/end")))


@lru_cache(maxsize=16)
def _topics_of(path: str, changed_ns: int, size: int) -> tuple[str, ...]:
    """Topics of a file; the stamps tell a file that has changed."""
    with SessionReader(path) as session:
        return session.topics


def run(params: Params, context: NodeContext) -> None:
    """Publish the session once, then say that it is over."""
    if params.speed == "max" and context.session.time != "data":
        raise RequestError(f"{context.name}.speed: max needs session.time: data, have {context.session.time!r}")
    with SessionReader(params.path) as session:
        if not session.complete:
            context.log.warning("%s is not whole (%s); replaying what is there", session.path, session.index.reason)
        topics = params.recorded_topics()
        context.log.info("replaying %s of %s", listed(topics), session.path)
        context.ready()
        _Replay(params, context, session).run(topics)


class _Replay:
    """One pass over the file."""

    def __init__(self, params: Params, context: NodeContext, session: SessionReader) -> None:
        self._context = context
        self._session = session
        self._speed = None if params.speed == "max" else float(params.speed)
        self._start_ns = session.first_ns + round(params.start_s * NS_PER_S)
        self._end_ns = None if params.end_s is None else session.first_ns + round(params.end_s * NS_PER_S)
        self._last: Envelope | None = None

    def run(self, topics: tuple[str, ...]) -> None:
        context, session = self._context, self._session
        begun_ns = context.clock.now_ns()
        for log_ns, envelope in session.envelopes(topics, self._start_ns, self._end_ns):
            if self._speed is not None:
                self._wait_until(begun_ns + round((log_ns - self._start_ns) / self._speed))
            if context.stopping:
                return
            context.publish(envelope.topic, envelope.record)
            self._last = envelope
            self._report()
        self._report()
        self._say_end()

    def _report(self) -> None:
        self._context.counters["refused"] = float(self._session.refused)
        self._context.counters["damaged_chunks"] = float(self._session.damaged)

    def _wait_until(self, due_ns: int) -> None:
        context = self._context
        while not context.stopping and (left_ns := due_ns - context.clock.now_ns()) > 0:
            context.receive(min(left_ns / NS_PER_S, WAIT_S))

    def _say_end(self) -> None:
        measured_ns = self._last.record.measured_ns if self._last else self._start_ns
        received_ns = self._last.record.received_ns if self._last else self._start_ns
        end = StreamEnd(measured_ns=measured_ns, received_ns=received_ns, reason=f"end of {self._session.path.name}")
        self._context.publish(f"{self._context.name}/end", end)
