# ruff: noqa: E402  # skipped as a whole without torch
"""Radar pose node: tensors in, joints out, through a graph of real processes; and what it says to what does not fit."""

from __future__ import annotations

import builtins
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch", reason="torch is not installed (pip install 'kinefuse[learning]')")

from fusion.maths.voxels import VoxelGrid
from fusion.records import RadarJoints, RadarTensor
from nodes import radar_pose
from nodes.errors import RequestError
from nodes.runtime import LoopbackContext
from nodes.sessions.reader import SessionReader
from nodes.transport.bus import LoopbackBus
from training.radar_tensor.layout import DatasetWriter
from training.radar_tensor.model import NetworkParams, TensorNetwork
from training.radar_tensor.weights import write_weights

GRID = VoxelGrid(np.array([-0.9, 1.0, -0.6]), np.array([0.2, 0.2, 0.3]), (5, 10, 10))
SIZES = NetworkParams(doppler=2, stages=((8, 8), (8, 8, 8), (8, 8, 8, 8)), merged=16, head=8)
SIGMAS = np.linspace(0.02, 0.2, 45).reshape(15, 3)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    write_weights(tmp_path / "w.npz", TensorNetwork(SIZES), GRID, SIGMAS, {})
    return tmp_path / "w.npz"


def tensor(k: int, **changes: Any) -> RadarTensor:
    power = np.random.default_rng(k).uniform(0.0, 8.0, (2, *GRID.shape)).astype(np.float16)
    record = RadarTensor(
        measured_ns=100_000_000 * k,
        received_ns=100_000_000 * k + 7,
        radar="front",
        frame=k,
        power=power,
        origin_m=GRID.origin_m,
        steps_m=GRID.steps_m,
        radial_velocities_m_s=np.array([-0.5, 0.5]),
    )
    return replace(record, **changes)


def told(tensors: list[RadarTensor], weights: Path, **keys: Any) -> tuple[list[RadarJoints], dict[str, float]]:
    context = LoopbackContext("pose", inputs=["radar1/tensor"])
    assert isinstance(context.bus, LoopbackBus)
    sender = context.bus.sender()
    for item in tensors:
        sender.publish("radar1/tensor", item)
    given = {"min_score": 0.0, **keys}
    radar_pose.run(radar_pose.Params(type="radar_pose", input="radar1/tensor", weights=str(weights), **given), context)
    found = [envelope.record for envelope in context.published if envelope.topic == "pose/joints"]
    for record in found:
        record.validate()
    return found, dict(context.counters)  # type: ignore[return-value]


def test_one_record_of_joints_a_tensor(weights: Path) -> None:
    records, counters = told([tensor(k) for k in range(3)], weights)
    assert [record.measured_ns for record in records] == [0, 100_000_000, 200_000_000]
    assert [record.received_ns for record in records] == [7, 100_000_007, 200_000_007]
    for record in records:
        assert (record.radar, record.landmark_set) == ("front", "rt_pose_15")
        assert record.positions_m.shape == (1, 15, 3)
        np.testing.assert_allclose(record.sigmas_m[0], SIGMAS, atol=1e-5)
    assert (counters["tensors"], counters["with_people"], counters["refused"]) == (3.0, 3.0, 0.0)
    assert counters["step_ms"] > 0.0
    assert not np.array_equal(records[0].positions_m, records[1].positions_m)


def test_joints_are_those_of_the_network(weights: Path) -> None:
    """By torch alone, without what the node shares with it."""
    torch.manual_seed(1)
    network = TensorNetwork(SIZES).eval()
    item = tensor(4)
    with torch.inference_mode():
        heat, offsets = network(torch.from_numpy(item.power.astype(np.float32) / 10.0)[None])
    voxel = int(heat.flatten().argmax())
    up, across, forward = np.unravel_index(voxel, GRID.shape)
    moved = offsets.reshape(45, -1)[:, voxel].numpy().reshape(15, 3)
    expected = GRID.origin_m + (np.array([across, forward, up]) + moved) * GRID.steps_m
    (record,), _ = told([item], weights)
    np.testing.assert_allclose(record.positions_m[0], expected, atol=1e-4)


def test_below_the_least_score_nobody_is_there(weights: Path) -> None:
    (record,), counters = told([tensor(0)], weights, min_score=1.0)
    assert len(record.ids) == 0
    assert counters["with_people"] == 0.0


def test_a_tensor_that_is_spoilt_is_counted(weights: Path) -> None:
    spoilt = tensor(1).power.copy()
    spoilt[0, 0, 0, 0] = np.nan
    strange = tensor(2, power=np.zeros((3, *GRID.shape), dtype=np.float16), radial_velocities_m_s=np.zeros(3))
    records, counters = told([tensor(0), tensor(1, power=spoilt), strange, tensor(3)], weights)
    assert [record.measured_ns for record in records] == [0, 300_000_000]
    assert counters["refused"] == 2.0


@pytest.mark.parametrize(
    "changes",
    [
        {"power": np.zeros((3, *GRID.shape), dtype=np.float16), "radial_velocities_m_s": np.zeros(3)},
        {"power": np.zeros((2, 5, 10, 11), dtype=np.float16)},
        {"origin_m": GRID.origin_m + 0.1},
        {"steps_m": np.zeros(3)},
    ],
)
def test_another_radar_than_the_weights_are_for_is_refused(weights: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(
        RequestError, match=r"radar 'front' sends \[\d, 5, 10, 1\d\].*allows 2 Doppler channels of 5 x 10"
    ):
        told([tensor(0, **changes)], weights)


def test_wrong_keys_are_named(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="expected NODE/tensor"):
        radar_pose.Params(type="radar_pose", input="radar1/points", weights=str(weights))
    with pytest.raises(RequestError, match="there is no such file; make one with: kinefuse train radar-tensor"):
        told([], tmp_path / "nothing.npz")
    with pytest.raises(RequestError, match=r"device 'abacus' cannot be used: .*try device: cpu"):
        told([], weights, device="abacus")


def test_without_torch_the_extra_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **keys: Any) -> Any:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *args, **keys)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RequestError, match=r"needs torch.*pip install 'kinefuse\[learning\]'"):
        told([], weights)


def test_a_graph_from_files_to_recorded_joints(weights: Path, tmp_path: Path) -> None:
    from nodes.graph.launcher import run_graph
    from nodes.graph.loader import load_graph

    writer = DatasetWriter(tmp_path / "data", GRID, np.array([-0.5, 0.5]))
    for k in range(4):
        writer.add("Train", "one", f"{k}", tensor(k).power, np.zeros((15, 3)))
    writer.close()
    graph = tmp_path / "graph.yaml"
    graph.write_text(
        "session: {time: data}\nnodes:\n"
        "  radar1: {type: radar_tensor, source: data}\n"
        "  pose: {type: radar_pose, input: radar1/tensor, weights: w.npz, min_score: 0.0}\n"
        f"  rec: {{type: recorder, path: {tmp_path}/run.mcap}}\n"
    )
    report = run_graph(load_graph(graph), headless=True)
    assert report.exit_code == 0, report.reason
    assert report.nodes["pose"].counters["tensors"] == 4.0
    with SessionReader(tmp_path / "run.mcap") as reader:
        records = [envelope.record for _, envelope in reader.envelopes() if envelope.topic == "pose/joints"]
    assert [record.measured_ns for record in records] == [100_000_000 * k for k in range(4)]
    expected, _ = told([tensor(2, radar="radar1")], weights)
    assert isinstance(records[2], RadarJoints)
    np.testing.assert_allclose(records[2].positions_m, expected[0].positions_m, atol=1e-5)
