"""Radar pose node: joints of the person before a radar, from its 4D tensors, by a network after HRRadarPose.

The network is one's own (``kinefuse train radar-tensor``): none is shipped, as no recordings of such a radar may be.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from nodes.errors import RequestError
from nodes.graph.schema import InputPath
from nodes.node import NodeContext, NodeParams

if TYPE_CHECKING:
    from fusion.estimators.radar.tensor_decode import TensorPose
    from fusion.records import RadarTensor
    from training.radar_tensor.weights import Weights

NS_PER_MS = 1e6
SMOOTHING = 0.1
"""Weight of the newest tensor in the mean step time."""


class Params(NodeParams):
    """Keys of a radar pose node."""

    input: str
    """The tensors: ``NODE/tensor``."""
    weights: InputPath
    """File that ``kinefuse train radar-tensor`` wrote (``radar-tensor.npz``)."""
    threads: int = Field(1, ge=1, le=64)
    """Of the processor."""
    device: str = Field("cpu", min_length=1)
    """``cpu``, ``cuda`` or another of torch's."""
    min_score: float = Field(0.1, ge=0.0, le=1.0)
    """Least height of the heat map's peak; below it nobody is there."""

    @field_validator("input")
    @classmethod
    def _is_tensor(cls, value: str) -> str:
        if not value.endswith("/tensor"):
            raise ValueError(f"{value!r} is no stream of radar tensors; expected NODE/tensor")
        return value

    def publishes(self, name: str) -> tuple[str, ...]:
        """The joints."""
        return (f"{name}/joints",)


def run(params: Params, context: NodeContext) -> None:
    """Publish one record of joints for each tensor that is taken; one without people where nobody is.

    Raises:
        RequestError: torch or weights are missing or wrong, or tensors are not those that the weights are for.
    """
    from fusion.estimators.radar.tensor_decode import joints_record
    from fusion.records import RadarTensor
    from nodes.keypoints import newest
    from training.radar_tensor.weights import read_weights

    weights = read_weights(Path(params.weights))
    tell = make_teller(params, weights)
    context.ready()
    counters = context.counters
    counters.update(dict.fromkeys(("tensors", "with_people", "refused"), 0.0))
    while not context.stopping:
        envelope = newest(context)
        if envelope is None or not isinstance(envelope.record, RadarTensor):
            continue
        tensor = envelope.record
        if counters["tensors"] == 0.0:
            check_fits(tensor, weights)
        if not (fits(tensor, weights) and is_sound(tensor)):
            counters["refused"] += 1.0
            continue
        begun_ns = time.perf_counter_ns()
        record = joints_record(tensor, tell(tensor), weights.sigmas_m, params.min_score)
        step_ms = (time.perf_counter_ns() - begun_ns) / NS_PER_MS
        counters["tensors"] += 1.0
        counters["with_people"] += float(len(record.ids) > 0)
        counters["step_ms"] = (1.0 - SMOOTHING) * counters.get("step_ms", step_ms) + SMOOTHING * step_ms
        context.publish(f"{context.name}/joints", record, envelope)


def make_teller(params: Params, weights: Weights) -> Callable[[RadarTensor], TensorPose]:
    """The network as a function of a tensor, after one run that nobody waits for.

    Raises:
        RequestError: torch is not installed, cannot use the device, or the weights are damaged.
    """
    try:
        import torch
    except ImportError as error:
        raise RequestError(
            "a radar_pose node needs torch, which is not installed; get it with: pip install 'kinefuse[learning]'"
        ) from error
    from fusion.estimators.radar.tensor_decode import decode
    from training.radar_tensor.layout import scaled
    from training.radar_tensor.weights import network_of

    torch.set_num_threads(params.threads)
    try:
        network = network_of(weights).to(params.device)
        with torch.inference_mode():
            network(torch.zeros(1, weights.doppler, *weights.grid.shape, device=params.device))
    except (RuntimeError, AssertionError) as error:
        raise RequestError(
            f"device {params.device!r} cannot be used: {str(error).splitlines()[0]}; try device: cpu"
        ) from error

    def tell(tensor: RadarTensor) -> TensorPose:
        with torch.inference_mode():
            heat, offsets = network(torch.from_numpy(scaled(tensor.power))[None].to(params.device))
        return decode(heat[0, 0].float().cpu().numpy(), offsets[0].float().cpu().numpy(), weights.grid)

    return tell


def fits(tensor: RadarTensor, weights: Weights) -> bool:
    """Whether the weights are for such tensors."""
    from fusion.maths.voxels import VoxelGrid

    channels, up, across, forward = tensor.power.shape
    try:
        grid = VoxelGrid(tensor.origin_m, tensor.steps_m, (up, across, forward))
    except ValueError:
        return False
    return channels == weights.doppler and grid.equals(weights.grid)


def check_fits(tensor: RadarTensor, weights: Weights) -> None:
    """Refuse a radar that the weights are not for.

    Raises:
        RequestError: says what comes, and what would fit.
    """
    if not fits(tensor, weights):
        raise RequestError(
            f"radar {tensor.radar!r} sends {list(tensor.power.shape)} (Doppler, up, across, forward) in voxels of "
            f"{tensor.steps_m.tolist()} m from {tensor.origin_m.tolist()} m (right, forward, up); {weights.file} "
            f"allows {weights.doppler} Doppler channels of {weights.grid}: give weights trained for this radar"
        )


def is_sound(tensor: RadarTensor) -> bool:
    """Whether all numbers are finite."""
    import numpy as np

    return bool(np.isfinite(tensor.power).all())
