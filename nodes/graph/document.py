"""YAML text to plain values plus the place of each, without trusting the text.

``yaml.load`` is not used: it takes the last of two equal keys, knows no places,
and lets a few aliases grow into gigabytes. Here the text is first walked as
events (size, depth and aliases are bounded), then composed into nodes, then
turned into dict, list, str, int, float, bool and None.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from nodes.errors import RequestError, shown

MAX_BYTES = 1 << 20
MAX_DEPTH = 24
MAX_ALIASES = 64
MAX_VALUES = 50_000
"""Values after aliases are written out."""

Path = tuple[str | int, ...]
Place = tuple[int, int]
"""Line and column, both from 1."""

START: Place = (1, 1)
_VARIABLE = re.compile(r"\$\$|\$\{([^}]*)\}?")
_VARIABLE_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\Z", re.DOTALL)
_SCALAR_TAGS = {"tag:yaml.org,2002:" + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value")}
_TAGS = _SCALAR_TAGS | {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_NUMBERED_FROM = 3
"""Depth from which keys may be numbers: below nodes, NAME, KEY."""
_MERGE_TAG = "tag:yaml.org,2002:merge"
_RESOLVER: Any = yaml.SafeLoader("")


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with a file, and what to do about it."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class GraphError(RequestError):
    """All that is wrong with a graph file."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(slots=True)
class Document:
    """The values of a YAML file, the place of each, and what was wrong so far."""

    file: str
    value: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    """Where a value stands."""
    key_places: dict[Path, Place] = field(default_factory=dict)
    """Where the key of a value stands."""
    problems: list[Problem] = field(default_factory=list)

    def report(self, path: Path, message: str, *, key: bool = False) -> None:
        """Add a problem at a value or key, or at the nearest one above it that stands in the file."""
        self.add(self.place(path, key=key), message)

    def is_reported(self, path: Path) -> bool:
        """True if there is a problem at the very place of a value."""
        return any((problem.line, problem.column) == self.places.get(path) for problem in self.problems)

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Line and column of a value (or key), or of the nearest one above it."""
        for length in range(len(path), 0, -1):
            tables = (self.key_places, self.places) if key or length < len(path) else (self.places, self.key_places)
            for table in tables:
                if path[:length] in table:
                    return table[path[:length]]
        return self.places.get((), START)

    def add(self, place: Place, message: str) -> None:
        """Add a problem at a place."""
        self.problems.append(Problem(self.file, *place, message))


def parse(data: bytes, file: str, environment: Mapping[str, str] | None = None) -> Document:
    """Read YAML text; problems are collected in the document, never raised.

    ``${NAME}`` and ``${NAME:-default}`` in scalars are replaced from the environment, ``$$`` is a dollar sign.
    """
    document = Document(file)
    text = _text(data, document)
    if text is None:
        return document
    try:
        if _bounded(text, document):
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            _build_root(node, document, os.environ if environment is None else environment)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"not valid YAML: {error.problem or error.context}"
        if error.context and error.problem:
            begun = (
                f" begun at {error.context_mark.line + 1}:{error.context_mark.column + 1}" if error.context_mark else ""
            )
            message += f" ({error.context}{begun})"
        document.add(_place(mark) if mark else START, message)
    except yaml.YAMLError as error:
        document.add(START, f"not valid YAML: {error}")
    return document


def _text(data: bytes, document: Document) -> str | None:
    if len(data) > MAX_BYTES:
        document.add(START, f"the file has {len(data):,} bytes, allowed are {MAX_BYTES:,}; is it a graph file?")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        document.add((line, column), f"byte 0x{data[error.start]:02x} is not UTF-8 text; is it a graph file?")
        return None


def _bounded(text: str, document: Document) -> bool:
    """Walk the events (the parser does not recurse) so that composing cannot overflow."""
    depth = aliases = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        for have, allowed, what in (
            (depth, MAX_DEPTH, "levels of nesting"),
            (aliases, MAX_ALIASES, "aliases"),
            (documents, 1, "YAML document (---)"),
        ):
            if have > allowed:
                document.add(_place(event.start_mark), f"more than {allowed} {what}; write it out or split the file")
                return False
    return True


def _place(mark: Any) -> Place:
    return mark.line + 1, mark.column + 1


def _build_root(node: Node | None, document: Document, environment: Mapping[str, str]) -> None:
    if node is None:
        document.add(START, "the file is empty; a graph has the keys session and nodes")
        return
    document.value = _Builder(document, environment).build(node, ())
    document.places[()] = _place(node.start_mark)


class _TooMuchError(Exception):
    pass


class _Builder:
    """Nodes to values; one use."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self.document = document
        self.environment = environment
        self.constructor = SafeConstructor()
        self.count = 0

    def build(self, node: Node, path: Path) -> Any:
        try:
            return self._value(node, path)
        except _TooMuchError:
            self.document.add(_place(node.start_mark), f"more than {MAX_VALUES:,} values or endless aliases")
            return None

    def _value(self, node: Node, path: Path) -> Any:
        self.count += 1
        if self.count > MAX_VALUES or len(path) > MAX_DEPTH:
            raise _TooMuchError
        self.document.places[path] = _place(node.start_mark)
        if node.tag not in _TAGS:
            self.document.add(_place(node.start_mark), f"tag {node.tag} is not allowed; write a plain value")
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._scalar(node)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE_TAG:
                for source in self._merge_sources(value_node):
                    for name, value in self._mapping(source, path).items():
                        merged.setdefault(name, value)
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in values:
                line, column = self.document.key_places[(*path, key)]
                message = f"key {key!r} is there twice (first at {line}:{column}); rename or remove one"
                self.document.add(_place(key_node.start_mark), message)
                continue
            values[key] = self._value(value_node, (*path, key))
            self.document.key_places[(*path, key)] = _place(key_node.start_mark)
        return {**merged, **values}

    def _merge_sources(self, node: Node) -> Iterator[MappingNode]:
        for source in node.value if isinstance(node, SequenceNode) else [node]:
            self.count += 1
            if self.count > MAX_VALUES:
                raise _TooMuchError
            if isinstance(source, MappingNode):
                yield source
            else:
                self.document.add(_place(source.start_mark), "<<: takes a mapping or a list of mappings")

    def _key(self, node: Node, path: Path) -> str | None:
        """A key as a word; a mapping inside of a node's keys may have numbers (``placement: {0: pelvis}``)."""
        if isinstance(node, ScalarNode):
            number = node.tag == "tag:yaml.org,2002:int" and len(path) >= _NUMBERED_FROM
            if number or node.tag == "tag:yaml.org,2002:str":
                return str(node.value)
            message = f"YAML reads the key {node.value} as {node.tag.rpartition(':')[2]}; put it in quotes"
        else:
            message = "a key must be a word"
        self.document.add(_place(node.start_mark), message)
        return None

    def _scalar(self, node: ScalarNode) -> Any:
        text = self._expanded(node)
        if text != node.value and node.style is None:
            tag = _RESOLVER.resolve(ScalarNode, text, (True, False))
            node = ScalarNode(tag if tag in _SCALAR_TAGS else "tag:yaml.org,2002:str", text)
        if node.tag.endswith((":str", ":timestamp", ":value")):
            return text
        try:
            return self.constructor.construct_object(node)
        except (ConstructorError, ValueError, KeyError, OverflowError) as error:
            self.document.add(_place(node.start_mark), f"value {shown(node.value)} cannot be read: {error}")
            return None

    def _expanded(self, node: ScalarNode) -> str:
        def replace(match: re.Match[str]) -> str:
            if match.group() == "$$":
                return "$"
            body = _VARIABLE_BODY.match(match.group(1))
            if body is None or not match.group().endswith("}"):
                place = _place(node.start_mark)
                self.document.add(
                    place, f"{match.group()!r}: write ${{NAME}} or ${{NAME:-default}}, $$ for a dollar sign"
                )
                return ""
            name, default = body.groups()
            value = self.environment.get(name)
            if value is None or (value == "" and default is not None):
                value = default
            if value is None:
                message = f"environment variable {name} is not set; set it, or write ${{{name}:-default}}"
                self.document.add(_place(node.start_mark), message)
                return ""
            return value

        return _VARIABLE.sub(replace, str(node.value)) if "$" in node.value else str(node.value)
