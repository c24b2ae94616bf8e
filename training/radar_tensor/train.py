"""The training loop: labelled tensors in, weights out; the same bits for the same seed, also after an interruption.

Source: RT-Pose's configuration: Adam with decoupled decay 0.01, one cycle to 2e-3 (Smith and Topin,
"Super-convergence", 2018), gradients cut to a norm of 35, batches of 8, 100 rounds; the last step's weights are kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from fusion.body.catalog import mirror_order
from fusion.estimators.radar.tensor_decode import LANDMARK_SET
from fusion.maths.voxels import VoxelGrid
from fusion.records import Float16, Float64
from nodes.errors import RequestError
from training.radar_tensor.judge import answers, coverage, figures_of, mean_pose_teller, network_teller, sigmas_of
from training.radar_tensor.layout import Dataset, Frame, Recording, open_dataset, read_power, scaled
from training.radar_tensor.model import SMALL, NetworkParams, TensorNetwork, parameters_of
from training.radar_tensor.targets import losses_of, target_of
from training.radar_tensor.weights import write_weights

CHECKPOINT = "checkpoint.pt"
HISTORY = "history.json"
WEIGHTS = "radar-tensor.npz"
_KEPT_BYTES = 2 * 1024**3
"""Tensors are kept in memory up to this size together."""
_FINAL_DIVISOR = 1e4
_MOMENTA = (0.95, 0.85)
_SECOND_MOMENT = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Of one training run; the defaults are those of RT-Pose."""

    size: Literal["full", "small"] = "full"
    epochs: int = 100
    batch: int = 8
    rate: float = 2e-3
    """The highest, after ``rise`` of all steps."""
    divisor: float = 10.0
    """The first rate is the highest over this."""
    rise: float = 0.4
    decay: float = 0.01
    clip: float = 35.0
    offset_weight: float = 0.5
    mirror: bool = False
    """Learn also from mirror images, one in two; not in RT-Pose."""
    validate_share: float = 0.1
    """Of the recordings, which are not learned from: they tell how sure the network may be."""
    seed: int = 1
    checkpoint_every: int = 200
    """Steps."""
    threads: int = 1
    device: str = "cpu"


Progress = Callable[[int, int, dict[str, float]], None]
"""Told the step, how many there are, and the losses."""


def split(dataset: Dataset, settings: Settings) -> tuple[Dataset, Dataset]:
    """What is learned from, and what tells the sigmas: whole recordings, or the end of the only one.

    Raises:
        RequestError: there is but one frame.
    """
    recordings = dataset.sequences
    if len(recordings) > 1:
        count = min(max(1, round(settings.validate_share * len(recordings))), len(recordings) - 1)
        chosen = set(np.random.default_rng(settings.seed).permutation(len(recordings))[:count].tolist())
        kept = tuple(one for i, one in enumerate(recordings) if i not in chosen)
        held = tuple(one for i, one in enumerate(recordings) if i in chosen)
        return replace(dataset, sequences=kept), replace(dataset, sequences=held)
    (only,) = recordings
    if len(only.frames) < 2:
        raise RequestError(
            f"{dataset.root}: one labelled frame, expected at least two: one to learn from, one to judge by"
        )
    cut = min(max(1, round((1.0 - settings.validate_share) * len(only.frames))), len(only.frames) - 1)
    parts = (Recording(only.name, only.frames[:cut]), Recording(only.name, only.frames[cut:]))
    return replace(dataset, sequences=parts[:1]), replace(dataset, sequences=parts[1:])


def network_params(settings: Settings, doppler: int) -> NetworkParams:
    """Sizes for tensors of so many Doppler channels."""
    return replace(SMALL if settings.size == "small" else NetworkParams(), doppler=doppler)


def train(settings: Settings, root: Path, out: Path, progress: Progress, *, resume: bool = False) -> dict[str, Any]:
    """Train, find the sigmas, write the weights, and say how well they do on the ``Test`` split, if there is one.

    Args:
        settings: of the run.
        root: folder in RT-Pose's layout.
        out: folder for checkpoint, history and weights; made if missing.
        progress: told of every step.
        resume: go on from the checkpoint in ``out``.

    Raises:
        RequestError: data or checkpoint are wrong.
    """
    torch.set_num_threads(settings.threads)
    learned, held = split(open_dataset(root, "Train"), settings)
    run = _Run(settings, learned, out)
    first = run.resume() if resume else 0
    out.mkdir(parents=True, exist_ok=True)
    steps = run.steps
    for step, batch in run.batches(first):
        figures = run.step(step, batch)
        if step + 1 == steps or (step + 1) % settings.checkpoint_every == 0:
            run.save(step + 1)
        progress(step + 1, steps, figures)
    return finish(run.network, settings, learned, held, out, run.history)


def finish(
    network: TensorNetwork, settings: Settings, learned: Dataset, held: Dataset, out: Path, history: list[Any]
) -> dict[str, Any]:
    """Sigmas from the held recordings, figures, and the weights file."""
    grid = learned.grid
    teller = network_teller(network, grid, settings.device)
    validation = answers(teller, held)
    sigmas = sigmas_of(validation)
    figures: dict[str, Any] = {
        "parameters": parameters_of(network),
        "learned_frames": len(learned.frames),
        "learned_recordings": len(learned.sequences),
        "validation": figures_of(validation),
    }
    if (learned.root / "Test.json").is_file():
        figures["test"] = test_figures(network, settings, learned, sigmas)
    (out / HISTORY).write_text(json.dumps(history, indent=1), encoding="utf-8")
    write_weights(out / WEIGHTS, network, grid, sigmas, {"settings": asdict(settings), "figures": figures})
    return {"file": str(out / WEIGHTS), **figures}


def test_figures(network: TensorNetwork, settings: Settings, learned: Dataset, sigmas_m: Float64) -> dict[str, Any]:
    """On recordings that nothing was chosen by, beside the mean pose of those learned from."""
    test = open_dataset(learned.root, "Test")
    found = answers(network_teller(network, learned.grid, settings.device), test)
    return {
        "network": figures_of(found),
        "mean_pose": figures_of(answers(mean_pose_teller(learned.frames), test)),
        "coverage_95": coverage(found, sigmas_m),
    }


class _Tensors:
    """Reads tensors, and keeps them while they are few."""

    def __init__(self, dataset: Dataset) -> None:
        self._grid = dataset.grid
        self._doppler = dataset.doppler
        frames = dataset.frames
        size = 2 * dataset.doppler * math.prod(dataset.grid.shape) * len(frames)
        self._kept: dict[Path, Float16] | None = {} if size <= _KEPT_BYTES else None

    def read(self, frame: Frame) -> Float16:
        if self._kept is not None and frame.file in self._kept:
            return self._kept[frame.file]
        power = read_power(frame.file, self._grid)
        if power.shape[0] != self._doppler:
            raise RequestError(f"{frame.file}: {power.shape[0]} Doppler channels, expected {self._doppler} as before")
        if self._kept is not None:
            self._kept[frame.file] = power
        return power


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    power: torch.Tensor
    targets: list[Any]


class _Run:
    """Network, optimiser and order of frames."""

    def __init__(self, settings: Settings, learned: Dataset, out: Path) -> None:
        self.settings = settings
        self.out = out
        self.frames = learned.frames
        self.grid = learned.grid
        self.device = torch.device(settings.device)
        self.history: list[dict[str, float]] = []
        torch.manual_seed(settings.seed)
        self.params = network_params(settings, learned.doppler)
        self.network = TensorNetwork(self.params).to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=settings.rate,
            betas=(_MOMENTA[0], _SECOND_MOMENT),
            weight_decay=settings.decay,
        )
        self._tensors = _Tensors(learned)
        self._each_epoch = math.ceil(len(self.frames) / settings.batch)
        self.steps = settings.epochs * self._each_epoch

    def batches(self, first: int) -> Iterator[tuple[int, _Batch]]:
        """Step and batch from a step on; the next batch is read while one is learned from."""
        with ThreadPoolExecutor(1) as reader:
            waiting = reader.submit(self._batch, first) if first < self.steps else None
            for step in range(first, self.steps):
                assert waiting is not None
                batch = waiting.result()
                waiting = reader.submit(self._batch, step + 1) if step + 1 < self.steps else None
                yield step, batch

    def _batch(self, step: int) -> _Batch:
        epoch, number = divmod(step, self._each_epoch)
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(self.frames))
        chosen = order[number * self.settings.batch : (number + 1) * self.settings.batch]
        turned = np.random.default_rng([self.settings.seed, epoch, number]).random(len(chosen)) < 0.5
        powers, targets = [], []
        for index, mirrored in zip(chosen, turned, strict=True):
            frame = self.frames[index]
            power, joints = scaled(self._tensors.read(frame)), frame.joints_m
            if mirrored and self.settings.mirror:
                power, joints = np.ascontiguousarray(power[:, :, ::-1]), mirrored_joints(joints, self.grid)
            powers.append(torch.from_numpy(power))
            targets.append(target_of(joints, self.grid))
        return _Batch(torch.stack(powers), targets)

    def step(self, step: int, batch: _Batch) -> dict[str, float]:
        """One update."""
        self.network.train()
        rate, momentum = cycle_at(step, self.steps, self.settings)
        for group in self.optimiser.param_groups:
            group["lr"], group["betas"] = rate, (momentum, _SECOND_MOMENT)
        heat, offsets = self.network(batch.power.to(self.device))
        losses = losses_of(heat, offsets, batch.targets)
        loss = losses["heat"] + self.settings.offset_weight * losses["offsets"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimiser.step()
        figures = {name: float(value.detach()) for name, value in losses.items()}
        if (step + 1) % self._each_epoch == 0:
            self.history.append({"step": float(step + 1), **figures})
        return figures

    def save(self, step: int) -> None:
        """Write the checkpoint, whole or not at all."""
        partial = self.out / f"{CHECKPOINT}.part"
        content = {
            "step": step,
            "settings": self._comparable(),
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": self.history,
        }
        torch.save(content, partial)
        partial.replace(self.out / CHECKPOINT)

    def resume(self) -> int:
        """Take the checkpoint in and return the step that it was made at."""
        path = self.out / CHECKPOINT
        if not path.is_file():
            raise RequestError(f"{path}: no checkpoint to go on from; leave --resume out")
        kept = torch.load(path, map_location=self.device, weights_only=True)
        differing = [name for name, value in self._comparable().items() if kept["settings"].get(name) != value]
        if differing:
            raise RequestError(
                f"{path} was made with other {', '.join(differing)}; give the same, or another folder OUT"
            )
        self.network.load_state_dict(kept["network"])
        self.optimiser.load_state_dict(kept["optimiser"])
        self.history = kept["history"]
        return int(kept["step"])

    def _comparable(self) -> dict[str, Any]:
        """What must stay the same when a run goes on."""
        values = asdict(self.settings)
        for name in ("threads", "device", "checkpoint_every"):
            del values[name]
        return {**values, "doppler": self.params.doppler, "frames": len(self.frames), "grid": str(self.grid)}


def mirrored_joints(joints_m: Float64, grid: VoxelGrid) -> Float64:
    """Joints [15, 3] of the mirror image about the middle of the lattice: left and right change names."""
    middle = grid.origin_m[0] + 0.5 * (grid.shape[1] - 1) * grid.steps_m[0]
    turned = joints_m[mirror_order(LANDMARK_SET)].copy()
    turned[:, 0] = 2.0 * middle - turned[:, 0]
    return turned


def cycle_at(step: int, steps: int, settings: Settings) -> tuple[float, float]:
    """Learning rate and momentum of a step: cosines up to the highest rate, then down to almost none."""
    rising = settings.rise * steps
    low, high = settings.rate / settings.divisor, settings.rate
    if step < rising:
        return _cosine(low, high, step / rising), _cosine(_MOMENTA[0], _MOMENTA[1], step / rising)
    share = (step - rising) / max(steps - rising, 1e-9)
    return _cosine(high, low / _FINAL_DIVISOR, share), _cosine(_MOMENTA[1], _MOMENTA[0], share)


def _cosine(begin: float, end: float, share: float) -> float:
    return end + 0.5 * (begin - end) * (1.0 + math.cos(math.pi * share))
