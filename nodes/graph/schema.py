"""The typed graph: what a graph file becomes, and the types of its path keys.

``InputPath`` and ``OutputPath`` are for the keys of node parameters that name
files. While a graph is loaded they are made absolute and checked: what is read
lies beside the graph file, what is written goes where the user stands. A value
that was made elsewhere is taken as it is.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    StringConstraints,
    ValidationInfo,
    create_model,
)

from nodes.node import NodeParams

NODE_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
SESSION_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
SESSION_NAME_MAX = 64

_NOT_A_FILE = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]+://|/dev/|\\\\\.\\|\d+\Z)")
"""URLs, device files (they come and go) and device numbers."""


@dataclass(frozen=True, slots=True)
class LoadContext:
    """Handed to pydantic while a graph is loaded."""

    folder: Path


def input_path(value: str, info: ValidationInfo) -> str:
    """A path made absolute, which must be there; see ``InputPath``."""
    if not isinstance(info.context, LoadContext) or _NOT_A_FILE.match(value):
        return value
    path = _absolute(value, info.context.folder)
    if not path.exists():
        raise ValueError(f"there is no file {path}; paths are relative to the folder of the graph file")
    return str(path)


def _output_path(value: str, info: ValidationInfo) -> str:
    if not isinstance(info.context, LoadContext):
        return value
    return str(_absolute(value, Path.cwd()))


def _absolute(value: str, folder: Path) -> Path:
    if "\0" in value:
        raise ValueError("a path cannot contain a NUL character")
    return Path(os.path.abspath(folder / Path(value).expanduser()))


InputPath = Annotated[str, StringConstraints(min_length=1), AfterValidator(input_path)]
"""A file or folder that must be there; URLs, ``/dev/…`` and device numbers pass unchanged."""
OutputPath = Annotated[str, StringConstraints(min_length=1), AfterValidator(_output_path)]
"""A file or folder that a node will write, relative to the current folder."""


class SessionParams(BaseModel):
    """The ``session`` part of a graph file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("session", pattern=f"^{SESSION_NAME}$")
    """Names the recording and the running session; default: the name of the graph file."""
    profile: InputPath | None = None
    """Where the sensors are: a profile, or a calibration file of Pose2Sim, caliscope or Qualisys."""
    time: Literal["live", "data"] = "live"
    """``live``: sources follow the clock. ``data``: as fast as every reader takes it, nothing lost."""
    recorded: bool = False
    """The graph is for recordings: inputs may name topics that only a session has. ``kinefuse replay`` runs it."""


class Graph(BaseModel):
    """A whole graph; each node is an object of its type's ``Params``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    session: SessionParams
    nodes: dict[str, SerializeAsAny[NodeParams]]


def json_schema(classes: dict[str, type[NodeParams]]) -> dict[str, Any]:
    """JSON Schema of graph files for editors: a union over the node types, told apart by ``type``."""
    members: Any = tuple(_tagged(name, params) for name, params in classes.items())
    union: Any = Annotated[Union[members], Field(discriminator="type")]  # noqa: UP007 (made at run time)
    nodes: Any = dict[str, union]
    model = create_model(
        "Graph",
        __config__=ConfigDict(extra="forbid", title="Kinefuse graph"),
        session=(SessionParams, Field(default_factory=SessionParams)),
        nodes=(nodes, ...),
    )
    schema = model.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def _tagged(name: str, params: type[NodeParams]) -> type[NodeParams]:
    """The class with ``type`` narrowed to its name."""
    fields: Any = {"type": (Literal[name], ...)}
    return create_model(
        params.__name__ if params.__name__ != "Params" else f"{name.title()}Params", __base__=params, **fields
    )
