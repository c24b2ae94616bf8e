"""A graph file to a typed, checked graph; everything that is wrong is told at once."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError

from fusion.rig import Rig
from nodes.errors import listed, nearest, shown, suggestion
from nodes.graph.document import MAX_BYTES, Document, GraphError, Problem, parse
from nodes.graph.document import Path as KeyPath
from nodes.graph.schema import NODE_NAME, SESSION_NAME_MAX, Graph, LoadContext, SessionParams
from nodes.node import NodeParams
from nodes.registry import NODE_TYPES, NodeTypeError, params_class

__all__ = ["GraphError", "LoadedGraph", "Problem", "load_graph", "parse_graph"]

Model = TypeVar("Model", bound=BaseModel)

GRAPH_KEYS = ("session", "nodes")
HEALTH = "health"
_PLAIN = (bool, int, float, str)


@dataclass(frozen=True, slots=True)
class LoadedGraph:
    """A graph that has passed every check that can be made before it runs."""

    graph: Graph
    path: Path
    """Absolute; of a graph that was made without a file, where that file would be."""
    text: str
    """As it was read."""
    topics: dict[str, str]
    """Topic → the node that publishes it; each node's ``health`` included."""
    inputs: dict[str, tuple[str, ...]]
    """Node → the topics that it takes, wildcards resolved."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """What was laid over the file."""


def load_graph(path: str | Path, *, overrides: Mapping[str, Any] | None = None) -> LoadedGraph:
    """Read and check a graph file.

    Args:
        path: the file.
        overrides: values laid over the file's, key by key at every depth; None removes a key.

    Raises:
        GraphError: with every problem that was found, in the order of the file.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                size = path.stat().st_size
                message = f"the file has {size:,} bytes, allowed are {MAX_BYTES:,}; is it a graph file?"
                raise GraphError([Problem(str(path), 1, 1, message)])
    except FileNotFoundError:
        raise GraphError([Problem(str(path), 1, 1, _no_such_file(path))]) from None
    except OSError as error:
        raise GraphError([Problem(str(path), 1, 1, f"cannot be read: {error.strerror or error}")]) from error
    return parse_graph(data, path, overrides=overrides)


def _no_such_file(path: Path) -> str:
    folder = path.parent
    try:
        beside = sorted(item.name for item in folder.iterdir() if item.suffix in (".yaml", ".yml"))
    except OSError:
        return f"there is no such file, and no folder {folder}"
    return f"there is no such file; graph files in {folder}: {listed(beside)}{suggestion(path.name, beside)}"


def parse_graph(data: bytes, path: Path, *, overrides: Mapping[str, Any] | None = None) -> LoadedGraph:
    """Check a graph given as text; ``path`` names it in messages and gives the folder of relative paths.

    Raises:
        GraphError: as ``load_graph``.
    """
    document = parse(data, str(path))
    graph = _Loading(document, data.decode("utf-8-sig", "replace"), path.absolute(), overrides or {}).load()
    if graph is None or document.problems:
        raise GraphError(document.problems)
    return graph


def _replays(nodes: Mapping[str, NodeParams]) -> bool:
    """Whether a recording is played in the graph."""
    return any(params.type == "replayer" for params in nodes.values())


class _Loading:
    """One use: from a document to a graph, collecting problems in the document."""

    def __init__(self, document: Document, text: str, path: Path, overrides: Mapping[str, Any]) -> None:
        self.document = document
        self.text = text
        self.path = path
        self.overrides = overrides
        self.context = LoadContext(path.parent)
        self.broken: set[str] = set()
        """Nodes that did not pass, whose topics are therefore unknown."""

    def load(self) -> LoadedGraph | None:
        root = self.document.value
        if root is None and self.document.problems:
            return None
        if not isinstance(root, dict):
            self.document.report(
                (), f"a graph is a mapping with the keys {' and '.join(GRAPH_KEYS)}; have {shown(root)}"
            )
            return None
        root = _overlaid(root, self.overrides)
        for key in root:
            if key not in GRAPH_KEYS:
                message = f"unknown key {key!r}{suggestion(key, GRAPH_KEYS)}; allowed: {listed(GRAPH_KEYS)}"
                self.document.report((key,), message, key=True)
        session = self._session(root.get("session"))
        nodes = self._nodes(root.get("nodes"))
        topics = self._topics(nodes)
        waits_for_session = session is not None and session.recorded and not _replays(nodes)
        inputs = self._inputs(nodes, topics, waits_for_session)
        self._check_cycles(inputs, topics, "live" if session is None else session.time)
        self._check_profile(session, nodes, topics, inputs)
        if session is None or self.document.problems:
            return None
        return LoadedGraph(Graph(session=session, nodes=nodes), self.path, self.text, topics, inputs, self.overrides)

    # One part after the other -------------------------------------------------

    def _session(self, value: Any) -> SessionParams | None:
        value = {} if value is None else value
        if not isinstance(value, dict):
            keys = listed(SessionParams.model_fields)
            self.document.report(("session",), f"session: takes a mapping with the keys {keys}; have {shown(value)}")
            return None
        return self._validated(SessionParams, {"name": _name_from(self.path), **value}, ("session",))

    def _nodes(self, value: Any) -> dict[str, NodeParams]:
        if not isinstance(value, dict) or not value:
            have = "the key is missing" if value is None else f"have {shown(value)}"
            message = f"nodes: takes a mapping of node names to their keys, at least one node; {have}"
            self.document.report(("nodes",), message)
            return {}
        nodes: dict[str, NodeParams] = {}
        for name, keys in value.items():
            params = self._node(name, keys)
            if params is None:
                self.broken.add(name)
            else:
                nodes[name] = params
        return nodes

    def _node(self, name: str, value: Any) -> NodeParams | None:
        path = ("nodes", name)
        named_well = re.fullmatch(NODE_NAME, name) is not None
        if not named_well:
            message = f"node name {shown(name)}: a letter, then letters, digits, _ or -, at most 64"
            self.document.report(path, message, key=True)
        if not isinstance(value, dict):
            self.document.report(path, f"{name}: takes a mapping with at least the key type; have {shown(value)}")
            return None
        if "type" not in value:
            near = nearest("type", value)
            hint = "" if near is None else f"; did you mean it by {near!r}?"
            self.document.report(
                path, f"{name}: the key type is missing{hint}; allowed: {listed(NODE_TYPES)}", key=True
            )
            return None
        type_name = value["type"]
        if not isinstance(type_name, str) or type_name not in NODE_TYPES:
            message = f"unknown node type {shown(type_name)}{suggestion(type_name, NODE_TYPES)}"
            self.document.report((*path, "type"), f"{message}; allowed: {listed(NODE_TYPES)}")
            return None
        try:
            params = self._validated(params_class(type_name), value, path)
        except NodeTypeError as error:
            self.document.report((*path, "type"), str(error))
            return None
        return params if named_well else None

    def _validated(self, model: type[Model], value: dict[str, Any], path: KeyPath) -> Model | None:
        for where in _misplaced_booleans(model, value):
            # YAML reads yes, no, on and off as booleans, and pydantic would take them as 1 and 0.
            message = f"{'.'.join(map(str, (*path[1:], *where)))}: have {_at(value, where)}, expected a number"
            self.document.report((*path, *where), message)
        try:
            return model.model_validate(value, context=self.context)
        except ValidationError as error:
            told: dict[tuple[KeyPath, bool], list[str]] = {}
            for item in _telling(value, error.errors(include_url=False)):
                where, message, at_key = _explained(model, value, item)
                # dict: the members of a union often say the same.
                told[where, at_key] = list(dict.fromkeys([*told.get((where, at_key), []), message]))
            for (where, at_key), messages in told.items():
                whole = (*path, *where)
                if not at_key and self.document.is_reported(whole):
                    continue  # The value could not even be read.
                label = ".".join(map(str, whole[1:] if path[0] == "nodes" else whole))
                self.document.report(whole, f"{label}: {'; or '.join(messages)}", key=at_key)
            return None

    def _topics(self, nodes: dict[str, NodeParams]) -> dict[str, str]:
        topics: dict[str, str] = {}
        for name, params in nodes.items():
            try:
                published = params.publishes(name)
            except (OSError, ValueError) as error:
                self.document.report(("nodes", name), f"{name}: {error}")
                self.broken.add(name)
                continue
            for topic in (*published, f"{name}/{HEALTH}"):
                if topic in topics and topics[topic] != name:
                    message = f"{name}: publishes {topic}, which {topics[topic]} publishes already; rename one node"
                    self.document.report(("nodes", name), message, key=True)
                topics.setdefault(topic, name)
        return topics

    def _inputs(
        self, nodes: dict[str, NodeParams], topics: dict[str, str], waits_for_session: bool
    ) -> dict[str, tuple[str, ...]]:
        inputs: dict[str, tuple[str, ...]] = {}
        for name, params in nodes.items():
            available = tuple(topic for topic, publisher in topics.items() if publisher != name)
            wanted = params.wants(available)
            for topic in wanted:
                if topic not in available and not waits_for_session:
                    self._report_input(name, topic, available, topics)
            inputs[name] = tuple(topic for topic in wanted if topic in available)
        return inputs

    def _report_input(self, name: str, topic: str, available: tuple[str, ...], topics: dict[str, str]) -> None:
        publisher, slash, _ = topic.rpartition("/")
        pattern = any(sign in topic for sign in "*?[")
        if publisher in self.broken or (pattern and self.broken):
            return  # That node has its own problem; its topics are unknown.
        offered = [item for item in available if not item.endswith(f"/{HEALTH}")] or list(available)
        if topics.get(topic) == name:
            reason = f"takes its own topic {topic!r}"
        elif pattern:
            reason = f"no topic matches {topic!r}"
        elif not slash:
            reason = f"{topic!r} is not a topic (NODE/STREAM)"
        else:
            reason = f"nobody publishes {topic!r}"
        message = f"{name}: {reason}{_near_topic(topic, offered)}; published: {listed(offered)}"
        if not offered or pattern:
            message += "; a recording has topics, too: kinefuse replay SESSION --graph, check --replay SESSION"
        self.document.report(self._place_of_value(name, topic), message)

    def _place_of_value(self, name: str, wanted: str) -> KeyPath:
        root = _overlaid(self.document.value, self.overrides)
        for path, value in _leaves(root["nodes"][name], ("nodes", name)):
            if value == wanted:
                return path
        return ("nodes", name)

    def _check_cycles(self, inputs: dict[str, tuple[str, ...]], topics: dict[str, str], time: str) -> None:
        feeds = {
            name: {topics[topic] for topic in taken if not topic.endswith(f"/{HEALTH}")}
            for name, taken in inputs.items()
        }
        for group in _rings(feeds):
            fed_from_outside = any(feeds[name] - group for name in group)
            if fed_from_outside and time == "live":
                continue
            ring = sorted(group, key=list(feeds).index)
            reason = (
                "a ring cannot run in data time"
                if fed_from_outside
                else "each waits for another one's records and none is fed from outside"
            )
            message = f"{' → '.join([*ring, ring[0]])}: {reason}; take one of these inputs away"
            self.document.report(("nodes", ring[0]), message, key=True)

    def _check_profile(
        self,
        session: SessionParams | None,
        nodes: dict[str, NodeParams],
        topics: dict[str, str],
        inputs: dict[str, tuple[str, ...]],
    ) -> None:
        if session is None or session.profile is None:
            return
        where = ("session", "profile")
        try:
            from calibration.profile import load_profile

            rig: Rig = load_profile(Path(session.profile))
        except (OSError, ValueError) as error:
            self.document.report(where, f"profile {session.profile} does not load: {error}")
            return
        known = [camera.name for camera in rig.cameras]
        for name, params in nodes.items():
            if params.type != "fusion":
                continue
            for topic in inputs.get(name, ()):
                camera = _camera_behind(topic, nodes, topics, inputs)
                if camera is not None and camera not in known:
                    message = (
                        f"{name}: takes {topic} of camera {camera!r}, which is not in the profile {session.profile}"
                    )
                    message += f"{suggestion(camera, known)}; its cameras: {listed(known)}"
                    self.document.report(self._place_of_value(name, topic), message)


def _camera_behind(
    topic: str, nodes: dict[str, NodeParams], topics: dict[str, str], inputs: dict[str, tuple[str, ...]]
) -> str | None:
    """The camera whose pictures a topic comes from, if the graph tells."""
    publisher = topics.get(topic, "")
    params = nodes.get(publisher)
    if params is None or not topic.endswith(("/landmarks", "/image")):
        return None
    if params.type == "camera":
        return str(getattr(params, "camera", None) or publisher)
    pictures = [taken for taken in inputs.get(publisher, ()) if taken.endswith("/image")]
    if params.type == "keypoints" and len(pictures) == 1:
        return _camera_behind(pictures[0], nodes, topics, inputs)
    return None


def _near_topic(topic: str, available: list[str]) -> str:
    near = nearest(topic, available)
    if near is None:
        # A slip in one half only: the same node or the same stream.
        node, _, stream = topic.partition("/")
        halves = [item for item in available if item.startswith(f"{node}/") or (stream and item.endswith(f"/{stream}"))]
        near = halves[0] if halves else None
    return "" if near is None else f"; did you mean {near!r}?"


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value


def _overlaid(value: Any, overrides: Mapping[str, Any]) -> Any:
    """``overrides`` laid over a mapping, at every depth; None removes."""
    merged = dict(value) if isinstance(value, dict) else {}
    for key, item in overrides.items():
        if item is None:
            merged.pop(key, None)
        elif isinstance(item, Mapping):
            merged[key] = _overlaid(merged.get(key), item)
        else:
            merged[key] = item
    return merged


def _name_from(path: Path) -> str:
    """A session name from a file name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).lstrip("._-")
    return name[:SESSION_NAME_MAX] or "session"


def _rings(feeds: dict[str, set[str]]) -> list[set[str]]:
    """Groups of nodes that feed each other (strongly connected, two nodes or more)."""
    reach = {name: _reachable(name, feeds) for name in feeds}
    groups: list[set[str]] = []
    for name in feeds:
        group = {other for other in reach[name] if name in reach[other]}
        if name in reach[name] and group not in groups:
            groups.append(group)
    return groups


def _reachable(start: str, feeds: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(feeds[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(feeds.get(name, ()))
    return seen


# Words for what pydantic found ------------------------------------------------


def _telling(value: Any, items: list[Any]) -> list[Any]:
    """Without the members of a union that only did not fit, where another one says what is wrong."""
    said = {_existing(value, item["loc"]) for item in items if item["type"] == "value_error"}
    return [item for item in items if item["type"] == "value_error" or _existing(value, item["loc"]) not in said]


def _explained(model: type[BaseModel], value: Any, item: Any) -> tuple[KeyPath, str, bool]:
    """Where, in words, and whether it is about the key."""
    location: KeyPath = item["loc"]
    kind: str = item["type"]
    if kind == "missing":
        parent = _existing(value, location[:-1])
        near = _unknown_near(model, value, parent, str(location[-1]))
        hint = f"; did you mean it by {near!r}?" if near else ""
        return parent, f"the key {location[-1]!r} is missing{hint}{_about(model, location)}", True
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = list(_fields_at(model, location[:-1]))
        key = location[-1]
        return _existing(value, location), f"unknown key{suggestion(key, allowed)}; allowed: {listed(allowed)}", True
    where = _existing(value, location)
    have = shown(item["input"])
    if kind == "union_tag_invalid":
        key, tags = str(item["ctx"]["discriminator"]).strip("'"), re.findall(r"'([^']*)'", item["ctx"]["expected_tags"])
        tag = item["ctx"]["tag"]
        where = _existing(value, (*location, key))
        return where, f"{shown(tag)} is not allowed{suggestion(tag, tags)}; allowed: {listed(tags)}", False
    if kind in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", str(item["ctx"]["expected"]))
        hint = suggestion(item["input"], choices)
        return (
            where,
            f"{have} is not allowed{hint}; allowed: {listed(choices) if choices else item['ctx']['expected']}",
            False,
        )
    message = (
        str(item["msg"])
        .removeprefix("Value error, ")
        .removeprefix("Input should be ")
        .replace("Input should", "should")
    )
    if kind in ("value_error", "assertion_error"):
        return where, f"{have}: {message}", False
    if kind == "string_type" and isinstance(item["input"], int | float):
        message += " (put it in quotes)"
    return where, f"have {have}, expected {message}", False


def _existing(value: Any, location: KeyPath) -> KeyPath:
    """The part of a location that stands in the value (pydantic puts names of union members in between)."""
    path: list[Any] = []
    for step in location:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            continue
        path.append(step)
    return tuple(path)


def _unknown_near(model: type[BaseModel], value: Any, parent: KeyPath, key: str) -> str | None:
    for step in parent:
        value = value[step]
    known = _fields_at(model, parent)
    return nearest(key, [str(item) for item in value if item not in known]) if isinstance(value, dict) else None


def _misplaced_booleans(model: type[BaseModel], value: dict[str, Any]) -> Iterator[KeyPath]:
    for path, leaf in _leaves(value, ()):
        if not isinstance(leaf, bool):
            continue
        information = _fields_at(model, path[:-1]).get(str(path[-1]))
        # A model's field says its type, a dataclass's is it.
        annotation = getattr(information, "annotation", information)
        classes = set() if annotation is None else {item for item in _members(annotation) if item in _PLAIN}
        if classes and bool not in classes and str not in classes:
            yield path


def _at(value: Any, path: KeyPath) -> Any:
    for step in path:
        value = value[step]
    return value


def _about(model: type[BaseModel], location: KeyPath) -> str:
    known = _fields_at(model, location[:-1])
    information = known.get(str(location[-1]))
    about = getattr(information, "description", None)
    return f" ({about})" if about else ""


def _fields_at(model: type[BaseModel], location: KeyPath) -> dict[str, Any]:
    """Fields of the model or dataclass that stands at a location inside a model."""
    candidates: list[Any] = [model]
    for step in location:
        following: list[Any] = []
        for candidate in candidates:
            annotation = _annotations(candidate).get(str(step))
            following += _members(annotation) if annotation is not None else []
        # A step that names no field may be the tag of a union's member.
        candidates = following or [item for item in candidates if _is_tagged(item, step)] or candidates
    for candidate in candidates:
        if _annotations(candidate):
            known: dict[str, Any] = getattr(candidate, "model_fields", None) or _annotations(candidate)
            return dict(known)
    return {}


def _annotations(candidate: Any) -> dict[str, Any]:
    """Types of the fields of a model or dataclass; empty for anything else."""
    if isinstance(candidate, type) and issubclass(candidate, BaseModel):
        return {name: information.annotation for name, information in candidate.model_fields.items()}
    if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
        hints = get_type_hints(candidate)
        return {item.name: hints[item.name] for item in dataclasses.fields(candidate)}
    return {}


def _is_tagged(candidate: Any, step: Any) -> bool:
    return any(
        get_origin(annotation) is Literal and get_args(annotation) == (step,)
        for annotation in _annotations(candidate).values()
    )


def _members(annotation: Any) -> list[Any]:
    """The classes inside an annotation (``dict[str, A | B] | None`` → A, B)."""
    arguments = get_args(annotation)
    if not arguments:
        return [annotation]
    return [member for argument in arguments for member in _members(argument)]
