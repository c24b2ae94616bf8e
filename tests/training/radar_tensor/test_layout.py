"""RT-Pose's files: what is written is read, axes turn as they should, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.maths.voxels import VoxelGrid
from training.radar_tensor import layout
from training.radar_tensor.layout import (
    RT_POSE_GRID,
    TENSORS,
    DatasetError,
    DatasetWriter,
    FileAxis,
    axes_of_grid,
    grid_of_axes,
    lattice_of,
    open_dataset,
    read_power,
    scaled,
    tensor_files,
)

GRID = VoxelGrid(np.array([-0.5, 1.0, -0.6]), np.array([0.2, 0.1, 0.3]), (3, 4, 5))
SPEEDS = np.array([-0.5, 0.5])
JOINTS = np.random.default_rng(0).normal(0.0, 0.3, (15, 3)) + np.array([0.0, 2.0, 0.0])


def power_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.0, 8.0, (2, *GRID.shape)).astype(np.float16)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    writer = DatasetWriter(tmp_path, GRID, SPEEDS)
    for k in range(3):
        writer.add("Train", "alpha", f"{k:06d}", power_of(k), JOINTS + 0.01 * k)
    writer.add("Train", "beta", "000000", power_of(9), JOINTS)
    writer.add("Test", "gamma", "000007", power_of(7), JOINTS)
    writer.close()
    return tmp_path


def test_what_is_written_is_read(root: Path) -> None:
    train, test = open_dataset(root, "Train"), open_dataset(root, "Test")
    assert [(one.name, len(one.frames)) for one in train.sequences] == [("alpha", 3), ("beta", 1)]
    assert [frame.file.name for frame in test.frames] == ["000007.npy"]
    assert train.doppler == 2
    assert train.grid.equals(GRID)
    np.testing.assert_allclose(train.frames[2].joints_m, JOINTS + 0.02, atol=1e-5)
    np.testing.assert_array_equal(read_power(train.frames[2].file, train.grid), power_of(2))
    np.testing.assert_allclose(lattice_of(root)[1], SPEEDS)


def test_files_have_x_forward_and_y_to_the_left(root: Path) -> None:
    stored = np.load(root / "alpha" / TENSORS / "000000.npy")
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored, power_of(0)[:, :, ::-1, :])
    pose = np.array(json.loads((root / "Train.json").read_text())["0"]["000000"][0]["pose"])
    np.testing.assert_allclose(pose, np.stack([JOINTS[:, 1], -JOINTS[:, 0], JOINTS[:, 2]], axis=1), atol=1e-5)
    assert (root / "file_meta.txt").read_text() == "0,alpha\n1,beta\n2,gamma\n"


def test_the_region_of_the_recordings() -> None:
    """Limits as in RT-Pose's configuration: x 0.7703 to 8.0203, y +-5.025, z -1.0875 to 4.7125."""
    axes = axes_of_grid(RT_POSE_GRID)
    assert RT_POSE_GRID.shape == (16, 64, 160)
    assert (axes["x"].first, axes["x"].first + 160 * axes["x"].step) == pytest.approx((0.7703125, 8.0203125))
    assert (axes["y"].first, axes["y"].first + 64 * axes["y"].step) == pytest.approx((-5.025, 5.025))
    assert (axes["z"].first, axes["z"].first + 16 * axes["z"].step) == pytest.approx((-1.0875, 4.7125))


def test_a_whole_lattice_is_cut_to_the_region(tmp_path: Path) -> None:
    """Voxels that stand for the same place are the same, whether cut before or after."""
    file = tmp_path / "one.npy"
    whole = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=(2, 32, 128, 256))
    whole[1, 20, 40, 100] = 7.0
    whole.flush()
    place = np.array([100 * 11.6 / 256, -10.05 + 40 * 20.1 / 128, -5.8 + 20 * 0.3625])
    power = read_power(file, RT_POSE_GRID)
    assert power.shape == (2, 16, 64, 160)
    across, forward, up = np.round(RT_POSE_GRID.to_voxels(layout.from_files(place))).astype(int)
    assert power[1, up, across, forward] == 7.0
    assert power.sum() == 7.0


@given(first=st.floats(-9.0, 9.0), step=st.floats(0.01, 1.0), count=st.integers(1, 50))
def test_axes_and_lattices_are_the_same(first: float, step: float, count: int) -> None:
    axes = {"x": FileAxis(1.0, 0.1, 7), "y": FileAxis(first, step, count), "z": FileAxis(-1.0, 0.3, 4)}
    back = axes_of_grid(grid_of_axes(**axes))
    for name, axis in axes.items():
        assert back[name].count == axis.count
        assert (back[name].first, back[name].step) == pytest.approx((axis.first, axis.step), abs=1e-9)


def test_values_are_scaled_as_in_the_configuration() -> None:
    np.testing.assert_allclose(scaled(np.array([-3.0, 0.0, 5.0, 20.0], dtype=np.float16)), [0.0, 0.0, 0.5, 2.0])


def test_names_stand_for_themselves_without_a_list_and_empty_frames_are_left_out(root: Path) -> None:
    (root / "file_meta.txt").unlink()
    labels = json.loads((root / "Train.json").read_text())
    labels = {"alpha": {**labels["0"], "9": [], "10": [{"Radar_frameID": "000000", "pose": []}]}}
    (root / "Train.json").write_text(json.dumps(labels))
    found = open_dataset(root, "Train")
    assert [(one.name, len(one.frames)) for one in found.sequences] == [("alpha", 3)]
    assert found.unlabelled == 2


def test_damaged_recordings_are_left_out(root: Path) -> None:
    (root / "file_meta.txt").write_text(f"0,{layout.DAMAGED[0]}\n1,beta\n2,gamma\n")
    assert [one.name for one in open_dataset(root, "Train").sequences] == ["beta"]


LABEL = {"Radar_frameID": "000000", "pose": JOINTS.tolist()}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("{", r"Train.json:1: is no JSON"),
        ([], "expected an object with an entry for each sequence"),
        ({"0": [1]}, "sequence '0': expected an object with an entry for each frame"),
        ({"0": {"5": 3}}, "frame '5': expected a list of people, have 3"),
        ({"0": {"5": [{"pose": []}]}}, "expected an object with Radar_frameID and pose"),
        ({"0": {"5": [{**LABEL, "Radar_frameID": "77"}]}}, r"Radar_frameID '77': there is no file .*77\.npy"),
        ({"0": {"5": [{**LABEL, "pose": JOINTS[:14].tolist()}]}}, "expected 15 joints of three finite metres"),
        ({"0": {"5": [{**LABEL, "pose": "standing"}]}}, "expected 15 joints of three finite metres, have 'standing'"),
        ({"0": {"5": []}}, "no frame has a person in it"),
    ],
)
def test_wrong_labels_are_named(root: Path, labels: Any, message: str) -> None:
    text = labels if isinstance(labels, str) else json.dumps(labels)
    (root / "Train.json").write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_dataset(root, "Train")


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is no folder; name the one that holds Train\.json"):
        open_dataset(tmp_path / "nowhere", "Train")
    (root / "Test.json").unlink()
    with pytest.raises(DatasetError, match=r"Test\.json: cannot be read: No such file"):
        open_dataset(root, "Test")
    (root / "file_meta.txt").write_text("0,alpha\nnonsense\n")
    with pytest.raises(DatasetError, match=r"file_meta.txt:2: 'nonsense', expected ID,NAME"):
        open_dataset(root, "Train")
    (root / "file_meta.txt").write_text("0,../../elsewhere\n")
    with pytest.raises(DatasetError, match=r"file_meta.txt:1: .*expected ID,NAME"):
        open_dataset(root, "Train")


@pytest.mark.parametrize(
    "content", ["{}", '{"x": 3, "y": 4, "z": 5}', "[1]", '{"x": {"first": 0, "step": 0, "count": 4}}']
)
def test_a_wrong_lattice_is_named(root: Path, content: str) -> None:
    (root / "lattice.json").write_text(content)
    with pytest.raises(DatasetError, match=r"lattice.json: .*each with first, step and count"):
        open_dataset(root, "Train")


def _pickled(file: Path) -> None:
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.write_bytes(b"not an array"), "cannot be read as .npy"),
        (lambda file: file.write_bytes(file.read_bytes()[:200]), "cannot be read as .npy"),
        (lambda file: file.write_bytes(b""), "cannot be read as .npy"),
        (_pickled, "cannot be read as .npy|object"),
        (lambda file: np.save(file, np.zeros((2, 3, 4, 5), dtype=complex)), "complex128, allowed: float16, float32"),
        (lambda file: np.save(file, np.zeros((2, 3, 4, 6), dtype=np.float16)), r"shape \[2, 3, 4, 6\], expected"),
        (lambda file: np.save(file, np.zeros((3, 4, 5), dtype=np.float16)), r"shape \[3, 4, 5\], expected"),
        (lambda file: np.save(file, np.full((2, 3, 4, 5), 1e6, dtype=np.float32)), "not finite"),
    ],
)
def test_wrong_tensors_are_named(root: Path, spoil: Any, message: str) -> None:
    file = root / "alpha" / TENSORS / "000000.npy"
    spoil(file)
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(root, "Train")
    assert str(file) in str(caught.value)


def test_files_of_a_sequence_come_in_the_order_of_their_numbers(root: Path) -> None:
    folder = root / "alpha" / TENSORS
    for name in ("10", "9", "x"):
        np.save(folder / f"{name}.npy", power_of(1))
    assert [file.stem for file in tensor_files(root, "alpha")] == ["000000", "000001", "000002", "9", "10", "x"]
    assert tensor_files(root, None)[0].parent.parent.name == "alpha"
    with pytest.raises(DatasetError, match="no sequence 'delta'; it has: alpha, beta, gamma"):
        tensor_files(root, "delta")
    with pytest.raises(DatasetError, match="no folder NAME/DZYX_npy_f16 in it"):
        tensor_files(root / "alpha", None)
