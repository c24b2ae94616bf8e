"""What a node is: parameters, a type, and the context that it runs in.

A node is one process and one module ``nodes/NAME.py`` with

* ``class Params(NodeParams)``: its keys in the graph file, and
* ``run(params, context)``: its life, from set-up to the end.

The module must import cheaply (no OpenCV, numba or Qt at its top): the graph
checker imports it to read ``Params``.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from fusion.records import Record


@dataclass(frozen=True, slots=True)
class Envelope:
    """A record as it arrived: where from, which one, when published."""

    topic: str
    sequence: int
    """Counts up by one per topic from 0; a gap is a loss in transport."""
    published_ns: int
    """Session clock, just before it was sent."""
    cause_published_ns: int
    """``published_ns`` of the record that made the publisher publish this one; 0 for a source."""
    record: Record


class RestartPolicy(BaseModel):
    """When and how often a node that ended badly is started again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: Literal["on-failure", "never"] = "on-failure"
    max_restarts: int = Field(5, ge=0, le=1000)
    """Within ``window_s``; one more and the node has failed."""
    window_s: float = Field(60.0, gt=0)
    backoff_s: float = Field(0.1, ge=0)
    """Before the first restart; doubled each time within the window."""
    backoff_max_s: float = Field(8.0, gt=0)


class NodeParams(BaseModel):
    """The keys that every node understands; a node type adds its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    required: bool = True
    """If it fails for good, the graph ends with exit code 1; else the graph goes on without it."""
    restart: RestartPolicy = RestartPolicy()
    startup_s: float = Field(120.0, gt=0)
    """Deadline from start to ready."""

    def publishes(self, name: str) -> tuple[str, ...]:
        """Topics that a node of this name with these parameters publishes (health is added for all)."""
        return ()

    def wants(self, available: tuple[str, ...]) -> tuple[str, ...]:
        """Topics that it takes, of those that the graph has. Default: ``input`` and ``inputs``, with wildcards.

        A pattern that matches nothing is returned as it is, so that the checker can name it.
        """
        patterns = [*_as_list(getattr(self, "input", None)), *_as_list(getattr(self, "inputs", None))]
        return match_topics(patterns, available)


def _as_list(value: str | Iterable[str] | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def match_topics(patterns: Iterable[str], available: tuple[str, ...]) -> tuple[str, ...]:
    """Topics that match any of the patterns (``*/landmarks``), in the order of the patterns, once each."""
    wanted: dict[str, None] = {}
    for pattern in patterns:
        matched = fnmatch.filter(available, pattern)
        wanted.update(dict.fromkeys(matched or [pattern]))
    return tuple(wanted)


class Clock(Protocol):
    """The session clock: one for all processes of a session."""

    def now_ns(self) -> int:
        """Nanoseconds on the session clock."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """What every node knows of the session."""

    name: str
    profile: str | None
    """Absolute path of the profile file."""
    graph_text: str
    """The graph file as it was read."""
    time: Literal["live", "data"]
    """``live``: sources follow the clock, a slow reader loses (counted). ``data``: time is what the
    records say, sources go as fast as every reader takes it, nothing is lost, the outcome is the same each time."""
    headless: bool


class NodeContext(Protocol):
    """A node's only way to the rest of the graph."""

    name: str
    session: SessionInfo
    clock: Clock
    log: logging.Logger
    counters: dict[str, float]
    """The node's own figures; published in its health."""
    inputs: tuple[str, ...]
    """Topics that it takes, wildcards resolved."""
    started_ns: int
    """Session clock when the graph was let go, once ``ready`` has returned; the same for all nodes, also
    for one that was started again: where sources that play something meet in time."""

    @property
    def stopping(self) -> bool:
        """True once the node should return from ``run``."""
        ...

    def ready(self) -> None:
        """Say that set-up is done; returns when the graph starts (readers before sources)."""
        ...

    def publish(self, topic: str, record: Record, cause: Envelope | None = None) -> None:
        """Publish a record on one of the node's topics, without copying its arrays.

        The arrays must not be changed afterwards. In ``data`` time it waits until every reader has room.
        """
        ...

    def receive(self, timeout_s: float) -> Envelope | None:
        """The next record by the queue rules, or None after ``timeout_s`` or when stopping.

        In ``data`` time, records of several publishers come merged in the order of
        (``measured_ns`` or arrival within one publisher, publisher's name).
        """
        ...


@dataclass(frozen=True, slots=True)
class NodeType:
    """One row of the registry."""

    name: str
    module: str
    about: str
