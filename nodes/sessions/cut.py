"""A part of a session as a session of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nodes.sessions.index import SessionError
from nodes.sessions.reader import GRAPH_ENTRY, PROFILE_ENTRY, SESSION_ENTRY, SessionReader
from nodes.sessions.writer import SessionFacts, SessionWriter

NS_PER_S = 1_000_000_000
_OWN_ENTRIES = ("name", "time", "started", "format")


def cut(source: Path, target: Path, start_s: float, end_s: float | None) -> int:
    """Copy the records from ``start_s`` to ``end_s`` (seconds after the first); returns their number.

    Raises:
        SessionError: if a file cannot be read or written, or nothing lies in that span.
    """
    with SessionReader(source) as session:
        first_ns = session.first_ns
        start_ns = first_ns + round(start_s * NS_PER_S)
        end_ns = None if end_s is None else first_ns + round(end_s * NS_PER_S)
        messages = session.messages(None, start_ns, end_ns)
        message = next(messages, None)
        if message is None:
            duration_s = (session.last_ns - first_ns) / NS_PER_S
            raise SessionError(f"{source}: no records in that span; the session lasts {duration_s:.3f} s")
        writer = SessionWriter(target, _facts(session, start_s, end_s))
        count = 0
        try:
            while message is not None:
                payload = bytes(message.payload)
                writer.write_encoded(message.topic, message.sequence, message.log_ns, message.publish_ns, payload)
                count += 1
                message = next(messages, None)
        finally:
            writer.close({"end": f"cut from {source.name}"})
    return count


def _facts(session: SessionReader, start_s: float, end_s: float | None) -> SessionFacts:
    span = f"{start_s:g} s to {'the end' if end_s is None else f'{end_s:g} s'}"
    return facts_from(session, {"cut_from": f"{session.path.name}, {span}"})


def facts_from(session: SessionReader, origin: Mapping[str, str]) -> SessionFacts:
    """What a session that is made of another one says about itself: what that one says, and where it is from."""
    about = session.entry(SESSION_ENTRY)
    more = {key: value for key, value in about.items() if key not in _OWN_ENTRIES}
    recorded = {"recorded": about["started"]} if "started" in about else {}
    return SessionFacts(
        name=about.get("name", session.path.stem),
        time=about.get("time", "live"),
        graph_text=session.entry(GRAPH_ENTRY).get("text", ""),
        profile_name=session.entry(PROFILE_ENTRY).get("name", ""),
        profile_text=session.entry(PROFILE_ENTRY).get("text", ""),
        more={**more, **recorded, **origin},
    )
