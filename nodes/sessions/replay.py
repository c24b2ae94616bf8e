"""The graph of a replay: a session's topics, published into a graph in place of their sensors."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from nodes.errors import RequestError, listed, suggestion
from nodes.graph.document import MAX_BYTES, parse
from nodes.graph.loader import LoadedGraph, load_graph, parse_graph
from nodes.graph.schema import SESSION_NAME
from nodes.sessions.index import SessionError
from nodes.sessions.lock import being_written
from nodes.sessions.reader import PROFILE_ENTRY, SESSION_ENTRY, SessionReader
from nodes.sessions.repair import repair

MAX_NAME = 64
REPLAY_NODE, RECORDER_NODE, VIEWER_NODE = "replay", "rec", "view"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """What is to be replayed, and how."""

    session: Path
    graph: Path | None = None
    replace: tuple[str, ...] = ()
    """Nodes of the graph whose recorded topics are to be used instead of them."""
    speed: float | Literal["max"] = 1.0
    start_s: float = 0.0
    end_s: float | None = None
    record: Path | None = None
    viewer: bool = False
    """Without a graph: show the records."""


@dataclass(frozen=True, slots=True)
class ReplayGraph:
    """A graph that is ready to run, and what a person should know of it."""

    graph: LoadedGraph
    remarks: tuple[str, ...]


@contextmanager
def replay_graph(request: ReplayRequest) -> Iterator[ReplayGraph]:
    """The graph of a replay; the recorded profile lives in a temporary file until the context ends.

    A torn session is repaired first, if nobody is writing it and the folder allows it.

    Raises:
        SessionError: if the session cannot be read or holds nothing.
        GraphError: if the graph has problems with the session's topics.
        RequestError: if a node that is to be replaced is not in the graph.
    """
    remarks = list(_repaired(request.session))
    with SessionReader(request.session) as session, ExitStack() as stack:
        if not session.topics:
            raise SessionError(f"{request.session}: has no records of known streams")
        named = _nodes_of(request.graph)
        _check_replaced(request, named)
        kept = set(named) - set(request.replace)
        skip = sorted({publisher_of(topic) for topic in session.topics} & kept)
        if skip:
            remarks.append(
                f"recorded topics of {listed(skip)} are not replayed: the graph has these nodes "
                "(--replace NODE takes the recorded ones)"
            )
        overrides = _overrides(request, session, kept, skip)
        if session.profile_text and not _has_profile(request.graph):
            path = profile_file(session, stack)
            problem = _profile_problem(path)
            if problem is None:
                overrides["session"]["profile"] = str(path)
            elif request.graph is None:
                remarks.append(f"replaying without the recorded profile, which does not load: {problem}")
            else:
                raise SessionError(
                    f"{request.session}: its profile does not load: {problem}; give {request.graph} a session.profile"
                )
        yield ReplayGraph(_load(request, session, overrides), tuple(remarks))


def _repaired(path: Path) -> Iterator[str]:
    """Repair a torn file if that can be done; say so."""
    with SessionReader(path) as session:
        if session.complete:
            return
        reason = session.index.reason
    try:
        if being_written(path):
            yield f"{path}: is being recorded; replaying what is there now"
            return
        report = repair(path)
        yield f"{path}: repaired ({report.reason}); {report.messages} records"
    except SessionError as error:
        yield f"{path}: not whole ({reason}) and not repaired: {error}"


def publisher_of(topic: str) -> str:
    """The node that published a topic: ``sim`` of ``sim/truth`` and of ``sim.cam1/landmarks``."""
    return topic.rpartition("/")[0].partition(".")[0]


def _nodes_of(graph: Path | None) -> dict[str, Any]:
    """The nodes that a graph file names; its problems are told when it is loaded."""
    root = _parsed(graph)
    nodes = root.get("nodes")
    return nodes if isinstance(nodes, dict) else {}


def _has_profile(graph: Path | None) -> bool:
    session = _parsed(graph).get("session")
    return isinstance(session, dict) and session.get("profile") is not None


def _parsed(graph: Path | None) -> dict[str, Any]:
    if graph is None:
        return {}
    try:
        with graph.open("rb") as stream:
            value = parse(stream.read(MAX_BYTES + 1), str(graph)).value
    except OSError:
        return {}
    return value if isinstance(value, dict) else {}


def _check_replaced(request: ReplayRequest, named: dict[str, Any]) -> None:
    for node in request.replace:
        if node not in named:
            where = "there is no graph" if request.graph is None else f"{request.graph} has: {listed(named)}"
            raise RequestError(f"--replace {node}: no such node{suggestion(node, named)}; {where}")


def _overrides(request: ReplayRequest, session: SessionReader, kept: set[str], skip: list[str]) -> dict[str, Any]:
    nodes: dict[str, Any] = dict.fromkeys(request.replace)
    # A node of the same name as a recorded one would publish on its topics.
    taken = kept | {publisher_of(topic) for topic in session.topics if not topic.endswith("/health")}
    replayer: dict[str, Any] = {"type": "replayer", "path": str(request.session.absolute()), "speed": request.speed}
    if request.start_s:
        replayer["start_s"] = request.start_s
    if request.end_s is not None:
        replayer["end_s"] = request.end_s
    if skip:
        replayer["skip"] = [pattern for node in skip for pattern in (f"{node}/*", f"{node}.*/*")]
    nodes[_free_name(REPLAY_NODE, taken)] = replayer
    if request.record is not None:
        nodes[_free_name(RECORDER_NODE, taken)] = _recorder(request.record)
    if request.graph is None and request.viewer:
        nodes[_free_name(VIEWER_NODE, taken)] = {"type": "viewer"}
    return {"session": {"time": "data" if request.speed == "max" else "live"}, "nodes": nodes}


def recorder_overrides(graph: LoadedGraph, out: Path) -> dict[str, Any]:
    """Overrides that make a graph record to a folder or file: its first recorder's path, or a new recorder."""
    recorders = [name for name, params in graph.graph.nodes.items() if params.type == "recorder"]
    if recorders:
        return {"nodes": {recorders[0]: {"path": str(out.absolute())}}}
    return {"nodes": {_free_name(RECORDER_NODE, set(graph.graph.nodes)): _recorder(out)}}


def _recorder(out: Path) -> dict[str, Any]:
    if out.suffix == ".mcap" and out.exists():
        raise SessionError(f"{out}: exists already; choose another name or remove it")
    return {"type": "recorder", "path": str(out.absolute())}


def _free_name(name: str, taken: set[str]) -> str:
    names = [name, *(f"{name}{number}" for number in range(2, len(taken) + 3))]
    return next(item for item in names if item not in taken)


def _profile_problem(path: Path) -> str | None:
    from calibration.profile import load_profile

    try:
        load_profile(path)
    except (OSError, ValueError) as error:
        return str(error)
    return None


def profile_file(session: SessionReader, stack: ExitStack) -> Path:
    """The profile that a session carries as a file that lives as long as the stack."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kinefuse-")))
    # The name stands in messages; the file is not trusted to choose a path.
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", session.entry(PROFILE_ENTRY).get("name", ""))[-MAX_NAME:].lstrip(".")
    path = folder / (name or "profile.toml")
    path.write_text(session.profile_text or "", "utf-8")
    return path


def _load(request: ReplayRequest, session: SessionReader, overrides: dict[str, Any]) -> LoadedGraph:
    if request.graph is not None:
        return load_graph(request.graph, overrides=overrides)
    name = session.entry(SESSION_ENTRY).get("name", "")
    if re.fullmatch(SESSION_NAME, name) is None:
        name = REPLAY_NODE
    whole = {"session": {"name": name, **overrides["session"]}, "nodes": overrides["nodes"]}
    text = yaml.safe_dump(whole, sort_keys=False).replace("$", "$$")
    return parse_graph(text.encode(), request.session.absolute().parent / "replay")
