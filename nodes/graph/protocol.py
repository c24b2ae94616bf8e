"""What launcher and node processes say to each other.

The launcher writes a ``NodeLaunch`` to a file that only this user can read and
names it in the environment. After that the node speaks to the supervisor over
a DEALER socket in small msgpack maps, each with the token of its launch, so
that nobody else, and no earlier life of the node, is mistaken for it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgpack
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from nodes.node import SessionInfo
from nodes.transport.endpoints import CurveKeys, Endpoints, Link

LAUNCH_VARIABLE = "KINEFUSE_LAUNCH"
"""Environment variable that names the ``NodeLaunch`` file."""

BEAT_EVERY_S = 0.5
SILENCE_S = 5.0
"""A node that hears nothing of its supervisor for so long stops."""

MAX_MESSAGE_BYTES = 256 * 1024
MAX_TEXT = 2000
MAX_STREAMS = 1024
MAX_COUNTERS = 128

EXIT_FAILED = 1
EXIT_WRONG_REQUEST = 2
"""The node's parameters cannot work, so it is not started again."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LaunchSession(_Message):
    """``SessionInfo`` as it travels."""

    name: str
    profile: str | None
    graph_text: str
    time: Literal["live", "data"]
    headless: bool

    def info(self) -> SessionInfo:
        return SessionInfo(**self.model_dump())


class LaunchLink(_Message):
    """``Link`` as it travels."""

    publisher: str
    endpoints: Endpoints
    topics: tuple[str, ...]

    def link(self) -> Link:
        return Link(self.publisher, self.endpoints, self.topics)


class NodeLaunch(_Message):
    """All that a node's process needs to begin."""

    node: str
    module: str
    """Module with ``Params`` and ``run``."""
    params: dict[str, Any]
    session: LaunchSession
    clock_offset_ns: int
    token: str
    control: str
    """Endpoint of the supervisor."""
    endpoints: Endpoints
    outputs: tuple[str, ...]
    links: tuple[LaunchLink, ...]
    readers: dict[str, tuple[str, ...]]
    """Topic → nodes of the graph that take it."""
    parent_pid: int
    keys: CurveKeys | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(topic for link in self.links for topic in link.topics)


class StreamFigures(_Message):
    """``StreamStats`` of one topic."""

    topic: str = Field(max_length=256)
    direction: Literal["in", "out"]
    count: int = Field(ge=0, lt=2**63)
    drops: int = Field(ge=0, lt=2**63)
    errors: int = Field(ge=0, lt=2**63)
    last_ns: int = Field(ge=0, lt=2**63)


class Hello(_Message):
    """A node's process has begun."""

    t: Literal["hello"] = "hello"
    token: str
    pid: int = Field(gt=0, lt=2**31)


class Ready(_Message):
    """Its set-up is done."""

    t: Literal["ready"] = "ready"
    token: str


class Beat(_Message):
    """It is alive."""

    t: Literal["beat"] = "beat"
    token: str
    now_ns: int = Field(ge=0, lt=2**63)
    streams: tuple[StreamFigures, ...] = Field(max_length=MAX_STREAMS)
    counters: dict[str, float] = Field(max_length=MAX_COUNTERS)
    idle_s: float = Field(ge=0)
    """For how long it has asked for records in vain."""
    inactive_s: float = Field(ge=0)
    """For how long its main thread has not turned to its context."""


class End(_Message):
    """Its ``run`` has returned."""

    t: Literal["end"] = "end"
    token: str


class Failed(_Message):
    """Its ``run`` has raised."""

    t: Literal["failed"] = "failed"
    token: str
    reason: str = Field(max_length=MAX_TEXT)


class DirectoryRequest(_Message):
    """Anybody: what is this session? No token needed."""

    t: Literal["directory"] = "directory"


Upward = Hello | Ready | Beat | End | Failed | DirectoryRequest


class Order(_Message):
    """What a supervisor tells a node."""

    t: Literal["go", "stop", "alive", "gone"]
    node: str = ""
    """With ``gone``: who is no longer there."""
    failed: bool = False
    """With ``gone``: it failed, so it has not said that its streams end."""
    started_ns: int = 0
    """With ``go``: session clock when the graph was let go; the same for all nodes and all their lives."""


class Directory(_Message):
    """What a late joiner needs to attach to a running session."""

    session: LaunchSession
    profile_text: str | None
    topics: dict[str, str]
    """Topic → node that publishes it, health included."""
    endpoints: dict[str, Endpoints]
    """Node → where it publishes; the supervisor's own are under ``health``'s publisher."""
    clock_offset_ns: int
    pid: int


_UPWARD: TypeAdapter[Upward] = TypeAdapter(Annotated[Upward, Field(discriminator="t")])


class MessageError(ValueError):
    """Bytes that are no message of this protocol."""


def pack(message: BaseModel) -> bytes:
    return bytes(msgpack.packb(message.model_dump()))


def unpack_map(data: bytes) -> dict[str, Any]:
    """Raises:
    MessageError: if the bytes are not a bounded msgpack map.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageError(f"message of {len(data)} bytes, at most {MAX_MESSAGE_BYTES}")
    try:
        value = msgpack.unpackb(data, max_ext_len=0)
    except (msgpack.UnpackException, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise MessageError(f"not msgpack: {type(error).__name__}") from None
    if type(value) is not dict:
        raise MessageError(f"{type(value).__name__} instead of a map")
    return value


def read_upward(message: dict[str, Any]) -> Upward:
    """Raises:
    MessageError: if the map is none of the node's messages.
    """
    try:
        return _UPWARD.validate_python(message)
    except (ValidationError, RecursionError) as error:
        raise MessageError(str(error)[:MAX_TEXT]) from None


def read_order(data: bytes) -> Order:
    """Raises:
    MessageError: if the bytes are no order.
    """
    try:
        return Order.model_validate(unpack_map(data))
    except ValidationError as error:
        raise MessageError(str(error)[:MAX_TEXT]) from None
