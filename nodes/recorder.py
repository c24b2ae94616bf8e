"""Recorder node: writes streams of the running graph to a session file.

Every stream that the table of streams calls *logged* is written unless
``topics`` says otherwise; pictures only on request. In a ``live`` session a
record's log time is when the recorder took it, and what the disk cannot follow
is dropped and counted. In a ``data`` session it is the time that the records
themselves have reached, and nothing is dropped.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from nodes.graph.schema import OutputPath
from nodes.node import Envelope, NodeContext, NodeParams, match_topics
from nodes.sessions.index import SessionError
from nodes.sessions.lock import being_written
from nodes.sessions.repair import repair
from nodes.sessions.writer import QueuedWriter, SessionFacts, SessionWriter, new_path, read_profile_text
from nodes.transport.streams import split_topic

WAIT_S = 0.2
MISSING_AFTER_S = 5.0
NS_PER_S = 1_000_000_000
MAX_REPAIRS = 16
MAX_EARLY = 10_000
_ABOUT_THE_SESSION = tuple(f"/{name}" for name in ("end", "annotation", "document", "health"))


class Params(NodeParams):
    """Keys of a recorder node."""

    path: OutputPath = "sessions"
    """Folder (a new file ``NAME_DATE-TIME.mcap`` in it) or a file ``….mcap``; nothing is ever overwritten."""
    topics: list[str] | None = None
    """Topics or patterns (``cam*/image``); default: every logged stream of the graph."""
    jpeg_quality: int = Field(85, ge=0, le=100)
    """Raw pictures are written as JPEG of this quality; 0 keeps them raw."""
    queue_mb: int = Field(64, ge=1, le=4096)
    """What may wait for the disk, megabytes."""

    def wants(self, available: tuple[str, ...]) -> tuple[str, ...]:
        """What is written."""
        if self.topics is not None:
            return match_topics(self.topics, available)
        return tuple(topic for topic in available if split_topic(topic)[1].logged)


def run(params: Params, context: NodeContext) -> None:
    """Write until the graph stops."""
    path = _prepare(Path(params.path), context)
    profile_name, profile_text = read_profile_text(context.session.profile)
    session = context.session
    facts = SessionFacts(
        name=session.name,
        time=session.time,
        graph_text=session.graph_text,
        profile_name=profile_name,
        profile_text=profile_text,
    )
    writer = QueuedWriter(
        SessionWriter(path, facts), queue_bytes=params.queue_mb * 1_000_000, jpeg_quality=params.jpeg_quality
    )
    end = "stopped"
    try:
        context.ready()
        context.log.info("recording to %s", path)
        _Recording(context, writer).run()
    except BaseException as error:
        end = f"ended by {type(error).__name__}: {error}"
        raise
    finally:
        writer.close({"end": end})
        context.log.info("%s: %d records", path, sum(writer.writer.counts.values()))


def _prepare(target: Path, context: NodeContext) -> Path:
    """A free name for the file; a torn file of this session, left by a killed recorder, is repaired first."""
    path = new_path(target, context.session.name)
    pattern = f"{target.stem}*.mcap" if target.suffix == ".mcap" else f"{context.session.name}_*.mcap"
    for torn in sorted(path.parent.glob(pattern))[-MAX_REPAIRS:]:
        try:
            if not being_written(torn) and (report := repair(torn)).repaired:
                context.log.warning("repaired %s (%s): %d records", torn, report.reason, report.messages)
        except (SessionError, OSError) as error:
            context.log.warning("%s", error)
    return path


class _Recording:
    """The loop from the bus to the writer's queue."""

    def __init__(self, context: NodeContext, writer: QueuedWriter) -> None:
        self._context = context
        self._writer = writer
        self._data_time = context.session.time == "data"
        self._reached_ns: int | None = None
        self._early: list[Envelope] = []
        """Data time: what came before any record has said what time it is."""
        self._missing = set(context.inputs)
        self._started_ns = context.clock.now_ns()
        self._told = False

    def run(self) -> None:
        context = self._context
        while not context.stopping:
            envelope = context.receive(WAIT_S)
            if self._writer.failure is not None:
                raise self._writer.failure
            if envelope is not None:
                self._missing.discard(envelope.topic)
                self._take(envelope)
            self._report()
        self._write_early()

    def _take(self, envelope: Envelope) -> None:
        if not self._data_time:
            self._writer.put(envelope, self._context.clock.now_ns())
            return
        if envelope.topic.endswith(_ABOUT_THE_SESSION):
            # Stamped with the time of the day, which is not the time of the data.
            self._early.append(envelope)
        else:
            self._reached_ns = max(self._reached_ns or 0, envelope.record.measured_ns)
            self._writer.put(envelope, self._reached_ns, wait=True)
        if self._reached_ns is not None or len(self._early) > MAX_EARLY:
            self._write_early()

    def _write_early(self) -> None:
        for envelope in self._early:
            self._writer.put(envelope, self._reached_ns or 0, wait=True)
        self._early.clear()

    def _report(self) -> None:
        writer = self._writer
        self._context.counters.update(
            written_bytes=float(writer.writer.bytes_written),
            waiting_bytes=float(writer.waiting_bytes),
            dropped=float(writer.dropped),
            refused=float(writer.writer.refused),
            missing_topics=float(len(self._missing)),
        )
        late = self._context.clock.now_ns() - self._started_ns > MISSING_AFTER_S * NS_PER_S
        if late and not self._told:
            self._told = True
            missing = sorted(
                topic for topic in self._missing if not topic.endswith(("/end", "/annotation", "/document"))
            )
            if missing:
                self._context.log.warning("nothing to record yet on %s", ", ".join(missing))
