"""Networks on LiteRT and picture warps on OpenCV, in the shape that the estimators take them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fusion.records import Float32, Float64, UInt8
from nodes.errors import RequestError


class RunnerError(RequestError):
    """A network that cannot be run here; the message says what to install or to fetch."""


class LiteRtNetwork:
    """A ``.tflite`` network with one float32 input; a call returns its outputs by name.

    The returned arrays are valid until the next call.
    """

    def __init__(self, name: str, content: bytes, threads: int = 1) -> None:
        """Load the network.

        Raises:
            RunnerError: if LiteRT is not installed or cannot read the content.
        """
        interpreter_class = _interpreter_class()
        try:
            self._interpreter = interpreter_class(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise RunnerError(f"model file {name!r} cannot be run: {error}") from error
        (entry,) = self._interpreter.get_input_details()
        self._input = entry["index"]
        self.input_shape = tuple(int(length) for length in entry["shape"])
        self._outputs = {str(item["name"]): item["index"] for item in self._interpreter.get_output_details()}

    def __call__(self, tensor: Float32) -> Mapping[str, Float32]:
        """Run the network on a tensor of ``input_shape``."""
        self._interpreter.set_tensor(self._input, tensor)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def _interpreter_class() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise RunnerError(
            "networks need LiteRT, which is not installed: pip install 'kinefuse[camera]' (Linux or macOS)"
        ) from error
    return Interpreter


def opencv_warp() -> Callable[[UInt8, Float64, int], UInt8]:
    """The warp that ``fusion.estimators.camera.blazepose`` asks for: bilinear, black outside.

    Raises:
        SourceError: if OpenCV is not installed.
    """
    from nodes.video.sources import open_cv2

    cv2 = open_cv2()
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

    def warp(picture: UInt8, picture_from_crop: Float64, side: int) -> UInt8:
        return np.asarray(cv2.warpAffine(picture, picture_from_crop, (side, side), flags=flags), dtype=np.uint8)

    return warp
