"""The node types that a graph may name, and where each one lives.

Modules are imported only when a graph names them, so that one missing extra
does not stop a graph that does not need it.
"""

from __future__ import annotations

import importlib
from functools import cache

from nodes.errors import RequestError
from nodes.node import NodeParams, NodeType

NODE_TYPES: dict[str, NodeType] = {
    row.name: row
    for row in (
        NodeType("camera", "nodes.camera", "webcam, network stream, video file or image folder"),
        NodeType("imu", "nodes.imu", "body-worn inertial sensors on serial ports or the network"),
        NodeType("radar", "nodes.radar", "a TI mmWave radar on its two serial ports"),
        NodeType("raw_radar", "nodes.raw_radar", "a TI mmWave radar's raw samples through a DCA1000 capture card"),
        NodeType("keypoints", "nodes.keypoints", "2D landmarks of people in pictures"),
        NodeType("radar_tensor", "nodes.radar_tensor", "plays 4D radar tensors from files"),
        NodeType("radar_pose", "nodes.radar_pose", "joints of a person in 4D radar tensors"),
        NodeType("fusion", "nodes.fusion", "people from all sensors"),
        NodeType("simulator", "nodes.simulator", "a simulated wearer seen by simulated sensors"),
        NodeType("guide", "nodes.guide", "leads the wearer of inertial sensors through their calibration"),
        NodeType("recorder", "nodes.recorder", "writes streams to a session file"),
        NodeType("replayer", "nodes.replayer", "publishes a session file again"),
        NodeType("viewer", "nodes.viewer", "shows the running graph in a window"),
    )
}


class NodeTypeError(RequestError):
    """A node type that is known but cannot be used here."""


@cache
def params_class(name: str) -> type[NodeParams]:
    """The parameters of a node type.

    Raises:
        KeyError: no such type; see ``NODE_TYPES``.
        NodeTypeError: its module cannot be imported or is not a node.
    """
    params = getattr(_module(name), "Params", None)
    if not (isinstance(params, type) and issubclass(params, NodeParams)):
        raise NodeTypeError(f"node type {name!r}: {NODE_TYPES[name].module} has no class Params(NodeParams)")
    return params


def available_types() -> dict[str, type[NodeParams]]:
    """The types whose modules can be imported here."""
    classes: dict[str, type[NodeParams]] = {}
    for name in NODE_TYPES:
        try:
            classes[name] = params_class(name)
        except NodeTypeError:
            continue
    return classes


def _module(name: str) -> object:
    module = NODE_TYPES[name].module
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise NodeTypeError(f"node type {name!r} is not part of this installation ({module} is missing)") from error
        raise NodeTypeError(f"node type {name!r} needs the package {error.name!r}, which is not installed") from error
    except ImportError as error:
        raise NodeTypeError(f"node type {name!r}: {module} cannot be imported: {error}") from error
