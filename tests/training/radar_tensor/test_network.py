# ruff: noqa: E402  # skipped as a whole without torch
"""The network is that of HRRadarPose, its targets and losses are those of its configuration, and it learns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed (pip install 'kinefuse[learning]')")

from fusion.estimators.radar.tensor_decode import decode
from fusion.maths.voxels import VoxelGrid
from nodes.errors import RequestError
from training.radar_tensor import train as module
from training.radar_tensor.judge import Answers, answers, coverage, figures_of, mean_pose_teller, sigmas_of
from training.radar_tensor.layout import RT_POSE_GRID, DatasetWriter, open_dataset
from training.radar_tensor.model import SMALL, NetworkParams, TensorNetwork, parameters_of
from training.radar_tensor.synthetic import SyntheticParams, radar_of, write_synthetic
from training.radar_tensor.targets import Target, bump, losses_of, target_of
from training.radar_tensor.train import CHECKPOINT, WEIGHTS, Settings, cycle_at, mirrored_joints, split, train
from training.radar_tensor.weights import WeightsError, network_of, read_weights, write_weights

GRID = VoxelGrid(np.array([-0.7, 1.0, -0.9]), np.array([0.2, 0.2, 0.3]), (4, 9, 9))
TINY = NetworkParams(doppler=2, stages=((8, 8), (8, 8, 8), (8, 8, 8, 8)), merged=16, head=8)
QUICK = Settings(size="small", epochs=2, batch=4, seed=3, checkpoint_every=3)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def blob_set(root: Path, recordings: int = 4, frames: int = 6) -> Path:
    """Tensors whose brightest voxel is the pelvis, so that there is something to learn."""
    writer = DatasetWriter(root, GRID, np.array([-0.5, 0.5]))
    random = np.random.default_rng(0)
    shape = random.normal(0.0, 0.2, (15, 3))
    shape[0] = 0.0
    for number in range(recordings + 1):
        for k in range(frames):
            pelvis = GRID.to_metres(random.uniform(1.5, 6.0, 3) * [1.0, 1.0, 0.5])
            apart = (GRID.centres_m() - pelvis) / GRID.steps_m
            power = 8.0 * np.exp(-0.5 * (apart**2).sum(-1))[None] * np.array([1.0, 0.5])[:, None, None, None]
            split_name = "Train" if number < recordings else "Test"
            writer.add(split_name, f"r{number}", f"{k:06d}", power.astype(np.float16), pelvis + shape)  # type: ignore[arg-type]
    writer.close()
    return root


def test_as_many_parameters_as_hrradarpose() -> None:
    network = TensorNetwork(NetworkParams())
    assert parameters_of(network) == 2_216_942  # 2.22 M as counted in the original.
    assert float(network.heat[-1].bias.detach()) == pytest.approx(-2.19)


@pytest.mark.parametrize("shape", [(16, 16, 16), (5, 7, 9), (2, 3, 1)])
def test_answers_have_the_resolution_of_the_input(shape: tuple[int, int, int]) -> None:
    heat, offsets = TensorNetwork(replace(SMALL, doppler=3))(torch.rand(2, 3, *shape))
    assert heat.shape == (2, 1, *shape)
    assert offsets.shape == (2, 45, *shape)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"doppler": 0}, "doppler: 0"),
        ({"stages": ((8, 8), (8, 8))}, "one branch more"),
        ({"stages": ((8, 9),)}, "multiples of 8"),
        ({"head": 0}, "merged, head"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkParams(**sizes)


def test_the_bump_is_that_of_the_original() -> None:
    """Not a Gaussian of its sigma: one voxel beside the middle it is exp(-1 / (2 * (5/6)^2)^1.5) = 0.543."""
    assert bump().shape == (5, 5, 5)
    assert bump()[2, 2, 2] == 1.0
    assert bump()[2, 2, 3] == pytest.approx(math.exp(-1.0 / (2.0 * 25.0 / 36.0) ** 1.5), rel=1e-6)
    assert bump()[2, 2, 3] == pytest.approx(0.543, abs=2e-3)


@settings(deadline=None)
@given(
    place=st.tuples(st.floats(0.0, 7.99), st.floats(0.0, 7.99), st.floats(0.0, 3.99)).map(np.array),
    seed=st.integers(0, 100),
)
def test_decoding_undoes_the_target(place: np.ndarray, seed: int) -> None:
    joints = GRID.to_metres(place) + np.random.default_rng(seed).normal(0.0, 0.4, (15, 3))
    joints[0] = GRID.to_metres(place)
    target = target_of(joints, GRID)
    assert target.inside
    assert target.heat.max() == target.heat.flat[target.voxel] == 1.0
    offsets = np.zeros((45, *GRID.shape), dtype=np.float32)
    offsets.reshape(45, -1)[:, target.voxel] = target.offsets
    np.testing.assert_allclose(decode(target.heat, offsets, GRID).joints_m, joints, atol=1e-5)


def test_a_pelvis_outside_is_no_target() -> None:
    target = target_of(np.full((15, 3), 50.0), GRID)
    assert not target.inside
    assert target.heat.max() == 0.0


def test_losses_are_their_sums() -> None:
    """Against the formulas written out voxel by voxel in numpy, with one tensor that nobody is in."""
    random = np.random.default_rng(1)
    joints = GRID.to_metres(np.array([4.2, 5.1, 2.3])) + random.normal(0.0, 0.2, (15, 3))
    targets: list[Target] = [target_of(joints, GRID), target_of(np.full((15, 3), 50.0), GRID)]
    heat = random.normal(-2.0, 1.0, (2, 1, *GRID.shape)).astype(np.float32)
    offsets = random.normal(0.0, 1.0, (2, 45, *GRID.shape)).astype(np.float32)
    found = losses_of(torch.from_numpy(heat), torch.from_numpy(offsets), targets)
    chance = np.clip(1.0 / (1.0 + np.exp(-heat[:, 0].astype(float))), 1e-4, 1.0 - 1e-4)
    total = 0.0
    for p, target in zip(chance, targets, strict=True):
        total -= float((np.log(1.0 - p) * p**2 * (1.0 - target.heat) ** 4).sum())
        if target.inside:
            peak = p.flat[target.voxel]
            total -= float(np.log(peak) * (1.0 - peak) ** 2)
    told = offsets[0].reshape(45, -1)[:, targets[0].voxel]
    assert float(found["heat"]) == pytest.approx(total, rel=1e-4)
    assert float(found["offsets"]) == pytest.approx(float(np.abs(told - targets[0].offsets).sum()), rel=1e-3)


def test_one_cycle() -> None:
    run = Settings()
    begin, top, end = (cycle_at(step, 1000, run) for step in (0, 400, 1000))
    assert begin == pytest.approx((2e-4, 0.95))
    assert top == pytest.approx((2e-3, 0.85))
    assert end == pytest.approx((2e-8, 0.95))
    rates = [cycle_at(step, 1000, run)[0] for step in range(1000)]
    assert rates[:401] == sorted(rates[:401])
    assert rates[400:] == sorted(rates[400:], reverse=True)


def test_a_mirror_image_is_mirrored_back() -> None:
    joints = np.random.default_rng(2).normal(size=(15, 3))
    turned = mirrored_joints(joints, RT_POSE_GRID)
    np.testing.assert_allclose(mirrored_joints(turned, RT_POSE_GRID), joints, atol=1e-12)
    voxels, mirrored = RT_POSE_GRID.to_voxels(joints)[0], RT_POSE_GRID.to_voxels(turned)[0]
    assert voxels[0] + mirrored[0] == pytest.approx(63.0)
    assert not np.allclose(turned[1, 1:], joints[1, 1:])  # The right hip has become the left one.


def test_training_finds_what_there_is_to_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", TINY)
    seen: list[dict[str, float]] = []
    run = replace(QUICK, epochs=25, batch=8, mirror=False)
    root = blob_set(tmp_path / "data")
    figures = train(run, root, tmp_path / "run", lambda _step, _steps, losses: seen.append(losses))
    assert np.mean([f["offsets"] for f in seen[-5:]]) < 0.5 * np.mean([f["offsets"] for f in seen[:5]])
    test = figures["test"]
    assert test["network"]["absolute_mpjpe_cm"] < 0.5 * test["mean_pose"]["absolute_mpjpe_cm"]
    assert test["network"]["frames"] == 6
    assert len(json.loads((tmp_path / "run" / "history.json").read_text())) == 25
    weights = read_weights(tmp_path / "run" / WEIGHTS)
    assert weights.doppler == 2
    assert weights.grid.equals(GRID)
    assert weights.about["figures"]["test"]["network"]["mpjpe_cm"] == pytest.approx(test["network"]["mpjpe_cm"])


def test_a_run_goes_on_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", TINY)
    root = blob_set(tmp_path / "data", recordings=3, frames=4)
    train(QUICK, root, tmp_path / "whole", lambda *_: None)

    class Stopped(Exception):
        pass

    def stop(step: int, _steps: int, _losses: dict[str, float]) -> None:
        if step == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train(QUICK, root, tmp_path / "torn", stop)
    assert not (tmp_path / "torn" / WEIGHTS).exists()
    train(QUICK, root, tmp_path / "torn", lambda *_: None, resume=True)
    whole, torn = (read_weights(tmp_path / name / WEIGHTS) for name in ("whole", "torn"))
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(torn.arrays[name], array, err_msg=name)
    np.testing.assert_array_equal(torn.sigmas_m, whole.sigmas_m)
    with pytest.raises(RequestError, match="made with other batch"):
        train(replace(QUICK, batch=2), root, tmp_path / "torn", lambda *_: None, resume=True)
    (tmp_path / "torn" / CHECKPOINT).unlink()
    with pytest.raises(RequestError, match="no checkpoint to go on from"):
        train(QUICK, root, tmp_path / "torn", lambda *_: None, resume=True)


def test_recordings_that_tell_the_sigmas_are_not_learned_from(tmp_path: Path) -> None:
    dataset = open_dataset(blob_set(tmp_path, recordings=5, frames=2), "Train")
    learned, held = split(dataset, replace(QUICK, validate_share=0.4))
    names = [{one.name for one in part.sequences} for part in (learned, held)]
    assert [len(found) for found in names] == [3, 2]
    assert not names[0] & names[1]
    only = replace(dataset, sequences=dataset.sequences[:1])
    learned, held = split(only, QUICK)
    assert [len(part.frames) for part in (learned, held)] == [1, 1]
    one = replace(only, sequences=(replace(only.sequences[0], frames=only.frames[:1]),))
    with pytest.raises(RequestError, match="one labelled frame"):
        split(one, QUICK)


def answer(errors: np.ndarray) -> Answers:
    true = np.random.default_rng(0).normal(size=errors.shape)
    return Answers("a", true + errors, true, np.ones(len(errors)))


def test_errors_are_counted_as_in_the_paper() -> None:
    """A shift of all joints is no error from the pelvis; recordings weigh the same however long they are."""
    shifted = figures_of([answer(np.full((4, 15, 3), 0.1 / math.sqrt(3.0)))])
    assert shifted["mpjpe_cm"] == pytest.approx(0.0, abs=1e-6)
    assert shifted["absolute_mpjpe_cm"] == pytest.approx(10.0)
    head = np.zeros((2, 15, 3))
    head[:, 8, 0] = 0.3
    both = figures_of([answer(head), answer(np.zeros((20, 15, 3)))])
    assert both["mpjpe_cm"] == pytest.approx(1.0)
    assert both["by_joint_cm"]["head_centre"] == pytest.approx(15.0)


@given(seed=st.integers(0, 50))
def test_sigmas_hold_the_errors_they_were_told_from(seed: int) -> None:
    errors = np.random.default_rng(seed).normal(0.0, 0.05, (200, 15, 3))
    found = [answer(errors)]
    assert coverage(found, sigmas_of(found)) == pytest.approx(0.95, abs=0.005)
    assert sigmas_of(found).mean() == pytest.approx(0.05, rel=0.1)


def test_weights_come_back_and_others_are_refused(tmp_path: Path) -> None:
    network = TensorNetwork(TINY).eval()
    sigmas = np.full((15, 3), 0.1)
    file = tmp_path / "w.npz"
    write_weights(file, network, GRID, sigmas, {"why": "test"})
    weights = read_weights(file)
    x = torch.rand(1, 2, *GRID.shape)
    with torch.inference_mode():
        torch.testing.assert_close(network_of(weights)(x), network(x))
    assert weights.about == {"why": "test"}
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "text.npz").write_text("hello")
    torn = tmp_path / "torn.npz"
    torn.write_bytes(file.read_bytes()[:-4000])
    for name, message in (
        ("nowhere.npz", "there is no such file; make one with"),
        ("other.npz", "kind None, allowed: 'kinefuse radar tensor network'"),
        ("text.npz", "is no weights file"),
        ("torn.npz", "is no weights file"),
    ):
        with pytest.raises(WeightsError, match=message):
            read_weights(tmp_path / name)
    lacking = replace(weights, arrays={k: v for k, v in weights.arrays.items() if "heat" not in k})
    with pytest.raises(WeightsError, match="do not belong together"):
        network_of(lacking)


def test_simulated_people_come_in_the_layout(tmp_path: Path) -> None:
    radar, grid = radar_of(SyntheticParams(full=True))
    assert (radar.channels, grid.shape) == (32, (16, 64, 160))
    told: list[tuple[int, int]] = []
    params = SyntheticParams(recordings=2, test_recordings=1, frames=2)
    write_synthetic(tmp_path, params, lambda done, total: told.append((done, total)))
    assert told[-1] == (6, 6)
    train_set, test_set = open_dataset(tmp_path, "Train"), open_dataset(tmp_path, "Test")
    assert (len(train_set.frames), len(test_set.frames), train_set.doppler) == (4, 2, 16)
    assert not np.allclose(train_set.frames[0].joints_m, test_set.frames[0].joints_m)
    still = figures_of(answers(mean_pose_teller(train_set.frames), test_set))
    assert still["absolute_mpjpe_cm"] > 1.0
