"""A graph of one node, for tests of nodes with devices: keeps what is published, stops when told."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from fusion.records import Record
from nodes.node import Clock, Envelope, SessionInfo

PATIENCE_S = 30.0
R = TypeVar("R", bound=Record)


class SteadyClock:
    """The system's steady clock, as if it told the time of day."""

    def now_ns(self) -> int:
        return 1_700_000_000_000_000_000 + time.monotonic_ns()


class LoneContext(Generic[R]):
    """The context of a node that publishes one kind of record on one topic."""

    def __init__(
        self, topic: str, kind: type[R], *, time_mode: str = "live", profile: str | None = None
    ) -> None:  # fmt: skip
        self.name = topic.split("/", maxsplit=1)[0]
        self.session = SessionInfo(
            name="test", profile=profile, graph_text="", time=time_mode, headless=True,  # type: ignore[arg-type]
        )  # fmt: skip
        self.clock: Clock = SteadyClock()
        self.log = logging.getLogger(f"test.{self.name}")
        self.counters: dict[str, float] = {}
        self.inputs: tuple[str, ...] = ()
        self.started_ns = 0
        self.records: list[R] = []
        self.is_ready = threading.Event()
        self._topic, self._kind = topic, kind
        self._stop = threading.Event()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def ready(self) -> None:
        self.is_ready.set()

    def publish(self, topic: str, record: Record, cause: Envelope | None = None) -> None:
        assert topic == self._topic
        assert isinstance(record, self._kind)
        record.validate()
        self.records.append(record)

    def receive(self, timeout_s: float) -> Envelope | None:
        self._stop.wait(timeout_s)
        return None

    def stop(self) -> None:
        self._stop.set()

    def wait_for(self, condition: Callable[[], bool], what: str = "") -> None:
        """Until it holds; fails when it does not in time."""
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s, (what, self.counters, len(self.records))
            self._stop.wait(0.01)


C = TypeVar("C", bound=LoneContext[Any])


@contextmanager
def running(run: Callable[[Any, Any], None], params: Any, context: C) -> Iterator[C]:
    """A node in a thread; ends with the block, and fails as it has failed."""
    failed: list[BaseException] = []

    def live() -> None:
        try:
            run(params, context)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield context
    finally:
        context.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert not failed, failed
