"""The training loop: windows in, weights out; resumable, and chosen by movements that are not learned from."""

from __future__ import annotations

import json
import math
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusion.estimators.inertial.layout import JOINTS, POSE_SEGMENTS
from training.imu.lanes import Lanes, Window
from training.imu.model import (
    Outputs,
    PartNetwork,
    State,
    WholeBodyNetwork,
    base_order,
    in_groups,
    whole_body_of_equal_size,
)
from training.imu.movements import Licence, Movement, movements
from training.imu.recorded import recorded_takes
from training.imu.takes import Take, TakeParams, draw_take, plain_take

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
HISTORY = "history.json"
_AHEAD = 3
"""Windows that are made before they are asked for."""
_CLIP = 1.0
"""Norm that gradients are cut to."""
_NORMAL_95 = 1.959964
_VALIDATION_SEEDS = (1, 2)
_VARIED_SEED = 3

Network = PartNetwork | WholeBodyNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Of one training run."""

    licence: Licence = "permissive"
    whole_body: bool = False
    """Train the whole-body network of equal size, to compare with."""
    hidden: int = 128
    dropout: float = 0.2
    steps: int = 1500
    lanes: int = 64
    frames: int = 100
    """Of a window, through which gradients flow; states go on beyond."""
    rate: float = 1.5e-3
    """Of Adam at the start, after ``warm_steps``; falls to zero along a cosine."""
    warm_steps: int = 100
    decay: float = 1e-2
    velocity_weight: float = 0.5
    seed: int = 1
    real: str | None = None
    """Folder of recorded takes to learn from as well."""
    validate_every: int = 250
    checkpoint_every: int = 100
    threads: int = 1
    device: str = "cpu"
    half: bool = True
    """Products in bfloat16, weights and sums in float32."""
    takes: TakeParams = field(default_factory=TakeParams)


Progress = Callable[[int, dict[str, float]], None]
"""Told the step and the figures of it."""


def network_of(settings: Settings) -> Network:
    """A new network with drawn weights."""
    torch.manual_seed(settings.seed)
    parts = PartNetwork(settings.hidden, settings.dropout)
    if not settings.whole_body:
        return parts
    whole = whole_body_of_equal_size(parts)
    return WholeBodyNetwork(whole.hidden, settings.dropout)


def train(settings: Settings, data: Path, out: Path, progress: Progress, *, resume: bool = False) -> Network:
    """Train, and return the network that did best on the validation movements, its variances scaled on them.

    Args:
        settings: of the run.
        data: the data pack's folder.
        out: folder for checkpoints and history; made if missing.
        progress: told of every step.
        resume: go on from the checkpoint in ``out``, with newly drawn takes.

    Raises:
        FileNotFoundError: the data pack lacks a clip, or there is no checkpoint to go on from.
        ValueError: the checkpoint is of other settings.
    """
    torch.set_num_threads(settings.threads)
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(settings, out)
    first = run.resume() if resume else 0
    real = recorded_takes(Path(settings.real)) if settings.real else ()
    learned = movements(data, "train", settings.licence)
    judges = Validation(movements(data, "validate", settings.licence, limit=1))
    lanes = Lanes(learned, settings.lanes, settings.takes, (settings.seed, first), real)
    with _made_ahead(lanes, settings.frames) as windows:
        for step in range(first, settings.steps):
            figures = run.step(step, next(windows))
            last = step + 1 == settings.steps
            if last or (step + 1) % settings.validate_every == 0:
                figures |= run.validate(step + 1, judges)
            if last or (step + 1) % settings.checkpoint_every == 0:
                run.save(step + 1)
            progress(step + 1, figures)
    network = run.best()
    calibrate_variances(network, judges.takes + judges.varied(settings.takes))
    return network


class _Run:
    """Network, optimiser and what has been found so far."""

    def __init__(self, settings: Settings, out: Path) -> None:
        self.settings = settings
        self.out = out
        self.device = torch.device(settings.device)
        self.network = network_of(settings).to(self.device)
        spread = [p for name, p in self.network.named_parameters() if ".variance." in name]
        others = [p for name, p in self.network.named_parameters() if ".variance." not in name]
        self.groups = (others, spread)
        groups: list[dict[str, Any]] = [{"params": others}, {"params": spread, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=settings.rate, weight_decay=settings.decay)
        self.state: State = {}
        self.history: list[dict[str, float]] = []
        self.best_angle = math.inf

    def step(self, step: int, window: Window) -> dict[str, float]:
        """One update by one window."""
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(step, self.settings)
        tensors = {
            name: torch.from_numpy(getattr(window, name)).to(self.device) for name in Window.__dataclass_fields__
        }
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings.half):
            state = self._begin(tensors)
            outputs, after = self.network(tensors["features"], state)
        losses = losses_of(outputs, tensors, self.network)
        loss = losses["pose"] + self.settings.velocity_weight * losses["velocity"] + losses["spread"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for parameters in self.groups:
            torch.nn.utils.clip_grad_norm_(parameters, _CLIP)
        self.optimiser.step()
        self.state = {name: (h.detach(), c.detach()) for name, (h, c) in after.items()}
        return {name: float(value.detach()) for name, value in losses.items()}

    def _begin(self, tensors: dict[str, Tensor]) -> State:
        """Where a take begins a fresh state, elsewhere that of the window before."""
        begun = self.network.begin(tensors["first_velocities"], tensors["first_six"], tensors["cold"])
        if not self.state:
            return begun
        fresh = tensors["fresh"][None, :, None]
        kept: State = {}
        for name, (hidden, cell) in begun.items():
            before = self.state[name]
            kept[name] = (
                torch.where(fresh, hidden.float(), before[0].float()),
                torch.where(fresh, cell.float(), before[1].float()),
            )
        return kept

    def validate(self, step: int, judges: Validation) -> dict[str, float]:
        """Figures on the validation movements; the best network is kept."""
        figures = judges.figures(self.network, self.device)
        if figures["validation_deg"] < self.best_angle:
            self.best_angle = figures["validation_deg"]
            torch.save(self.network.state_dict(), self.out / BEST)
        self.history.append({"step": float(step), **figures})
        (self.out / HISTORY).write_text(json.dumps(self.history, indent=1), encoding="utf-8")
        return figures

    def save(self, step: int) -> None:
        """Write the checkpoint, whole or not at all."""
        partial = self.out / f"{CHECKPOINT}.part"
        torch.save(
            {
                "step": step,
                "settings": _comparable(self.settings),
                "network": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "history": self.history,
                "best": self.best_angle,
            },
            partial,
        )
        partial.replace(self.out / CHECKPOINT)

    def resume(self) -> int:
        """Take the checkpoint in and return the step that it was made at."""
        path = self.out / CHECKPOINT
        if not path.is_file():
            raise FileNotFoundError(2, "no checkpoint to go on from; leave --resume out", str(path))
        kept = torch.load(path, map_location=self.device, weights_only=True)
        differing = [key for key, value in _comparable(self.settings).items() if kept["settings"].get(key) != value]
        if differing:
            raise ValueError(
                f"{path} was made with other settings: {', '.join(differing)}; give the same or another --out"
            )
        self.network.load_state_dict(kept["network"])
        self.optimiser.load_state_dict(kept["optimiser"])
        self.history, self.best_angle = kept["history"], kept["best"]
        return int(kept["step"])

    def best(self) -> Network:
        """The network that did best on the validation movements, on the CPU."""
        if (self.out / BEST).is_file():
            self.network.load_state_dict(torch.load(self.out / BEST, map_location=self.device, weights_only=True))
        return self.network.cpu().eval()


def _comparable(settings: Settings) -> dict[str, Any]:
    """Settings that must stay the same when a run goes on."""
    values = asdict(settings)
    for name in ("threads", "device", "half", "validate_every", "checkpoint_every"):
        del values[name]
    return json.loads(json.dumps(values))  # type: ignore[no-any-return]


def rate_at(step: int, settings: Settings) -> float:
    """Learning rate: a linear start, then a cosine down to zero."""
    warm = min(1.0, (step + 1) / max(settings.warm_steps, 1))
    return settings.rate * warm * 0.5 * (1.0 + math.cos(math.pi * step / settings.steps))


def losses_of(outputs: Outputs, truth: dict[str, Tensor], network: Network) -> dict[str, Tensor]:
    """Mean squared errors of rotations and velocities, and how badly the variances tell of the errors.

    The last is the negative logarithm of the Gaussian density of the errors, which are not
    changed by it. Joints that two parts tell of count twice, as each part learns its own.
    """
    valid = truth["valid"][..., None]
    count = valid.sum().clamp(min=1)
    joints = [JOINTS.index(name) for name in network.joint_order]
    segments = [POSE_SEGMENTS.index(name) for name in network.segment_order]
    velocities, six = truth["velocities"][..., joints, :].flatten(-2), truth["six"][..., segments, :]
    moved = (outputs.velocities.float() - velocities) * valid
    stood = (outputs.six.float() - six.flatten(-2)) * valid
    turned = rotation_errors(in_groups(outputs.six.detach().float(), 6), six).flatten(-2)
    spread = gaussian(moved.detach(), outputs.velocity_log_variance.float()).mean(-1, keepdim=True)
    spread = spread + gaussian(turned, outputs.pose_log_variance.float()).mean(-1, keepdim=True)
    return {
        "pose": stood.square().sum() / (count * stood.shape[-1]),
        "velocity": moved.square().sum() / (count * moved.shape[-1]),
        "spread": (spread * valid).sum() / count,
    }


def gaussian(error: Tensor, log_variance: Tensor) -> Tensor:
    """Negative logarithm of a normal density, less its constant."""
    return 0.5 * (error.square() * torch.exp(-log_variance) + log_variance)


def matrices_of(six: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of six [..., 6]; Zhou et al., CVPR 2019, eq. 16."""
    first = torch.nn.functional.normalize(six[..., :3], dim=-1)
    second = six[..., 3:] - (first * six[..., 3:]).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def rotation_errors(six: Tensor, true_six: Tensor) -> Tensor:
    """Rotation vectors [..., 3] in the root's axes that turn what is told into what is true, rad."""
    turn = matrices_of(true_six) @ matrices_of(six).transpose(-1, -2)
    vector = 0.5 * torch.stack(
        [turn[..., 2, 1] - turn[..., 1, 2], turn[..., 0, 2] - turn[..., 2, 0], turn[..., 1, 0] - turn[..., 0, 1]], -1
    )
    sine = vector.norm(dim=-1, keepdim=True)
    cosine = 0.5 * (turn.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) - 1.0)
    angle = torch.atan2(sine, cosine)
    return vector * torch.where(sine > 1e-6, angle / sine.clamp(min=1e-6), torch.ones_like(sine))


class Validation:
    """Whole validation movements with sensors drawn once."""

    def __init__(self, found: Sequence[Movement]) -> None:
        self._movements = found
        self.takes = [
            replace(plain_take(movement, np.random.default_rng([seed, number]), TakeParams()), cold=seed % 2 == 0)
            for number, movement in enumerate(found)
            for seed in _VALIDATION_SEEDS
        ]

    def varied(self, params: TakeParams) -> list[Take]:
        """As many takes of the same movements that leave their paths: what nobody has seen is not like what was."""
        random = np.random.default_rng(_VARIED_SEED)
        found = self._movements
        return [
            draw_take(found[k % len(found)], random, params, found[int(random.integers(len(found)))])
            for k in range(len(self.takes))
        ]

    def figures(self, network: Network, device: torch.device) -> dict[str, float]:
        """Mean angle over segments and velocity error over joints; takes weigh the same."""
        angles, velocities = [], []
        for take, answer in answers(network, self.takes, device):
            turned, moved = errors_of(take, answer)
            angles.append(float(np.linalg.norm(turned, axis=-1).mean()))
            velocities.append(float(np.sqrt((moved**2).sum(-1).mean())))
        return {"validation_deg": math.degrees(float(np.mean(angles))), "validation_m_s": float(np.mean(velocities))}


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a network tells of one take, in the order of ``JOINTS`` and ``POSE_SEGMENTS``."""

    velocities: Any
    """[T, 6, 3]."""
    six: Any
    """[T, 11, 6]."""
    velocity_log_variance: Any
    """[T, 6, 3]."""
    pose_log_variance: Any
    """[T, 11, 3]."""


@torch.no_grad()
def answers(
    network: Network, takes: Sequence[Take], device: torch.device | None = None, together: int = 32
) -> Iterator[tuple[Take, Answer]]:
    """Each take with what a network tells of it from its beginning to its end."""
    device = device or torch.device("cpu")
    network.eval()
    for group in _groups(takes, together):
        longest = max(len(take.features) for take in group)
        x = torch.zeros(longest, len(group), group[0].features.shape[1])
        for lane, take in enumerate(group):
            x[: len(take.features), lane] = torch.from_numpy(take.features)
        state = network.begin(
            torch.from_numpy(np.stack([take.first_velocities for take in group])).to(device),
            torch.from_numpy(np.stack([take.first_six for take in group])).to(device),
            torch.tensor([take.cold for take in group], device=device),
        )
        outputs, _ = network(x.to(device), state)
        told = [array.float().cpu().numpy() for array in base_order(outputs, network)]
        for lane, take in enumerate(group):
            yield take, Answer(*(array[: len(take.features), lane] for array in told))


def _groups(takes: Sequence[Take], together: int) -> Iterator[list[Take]]:
    """Takes of like length together."""
    ordered = sorted(takes, key=lambda take: len(take.features))
    for first in range(0, len(ordered), together):
        yield ordered[first : first + together]


def errors_of(take: Take, answer: Answer) -> tuple[Any, Any]:
    """Rotation vectors [T, 11, 3] rad in the root's axes, and velocity errors [T, 6, 3] m/s."""
    turned = rotation_errors(torch.from_numpy(np.array(answer.six)), torch.from_numpy(take.six)).numpy()
    return turned, answer.velocities - take.velocities


def calibrate_variances(network: Network, takes: Sequence[Take]) -> dict[str, Any]:
    """Scale each told variance so that 95 % of its errors on the takes lie within 1.96 standard deviations.

    Learned on what the network has seen, a variance is too small for what it has not. Takes weigh by their length.

    Returns:
        The factors by joint and segment, x, y, z.
    """
    pairs = [(take, answer, *errors_of(take, answer)) for take, answer in answers(network, takes)]
    factors: dict[str, Any] = {}
    for kind, names, column in (("velocity", JOINTS, 3), ("pose", POSE_SEGMENTS, 2)):
        error = np.concatenate([pair[column] for pair in pairs])
        spread = np.concatenate([getattr(pair[1], f"{kind}_log_variance") for pair in pairs])
        ratio = np.abs(error) * np.exp(-0.5 * spread)
        factor = 2.0 * np.log(np.quantile(ratio, 0.95, axis=0) / _NORMAL_95)
        factors[kind] = {name: np.exp(factor[k]).round(3).tolist() for k, name in enumerate(names)}
        for part in network.parts:
            told = part.joints if kind == "velocity" else part.segments
            shift = np.concatenate([factor[names.index(name)] for name in told])
            with torch.no_grad():
                network.net(part, kind).variance.bias.add_(torch.from_numpy(shift.astype(np.float32)))
    return factors


@contextmanager
def _made_ahead(lanes: Lanes, frames: int) -> Iterator[Iterator[Window]]:
    """Windows of the lanes, made in a thread beside the training."""
    made: queue.Queue[Window | Exception] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def make() -> None:
        while not stop.is_set():
            try:
                item: Window | Exception = lanes.window(frames)
            except Exception as error:  # told to whoever waits
                item = error
            while not stop.is_set():
                try:
                    made.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue

    def windows() -> Iterator[Window]:
        while True:
            item = made.get()
            if isinstance(item, Exception):
                raise item
            yield item

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        yield windows()
    finally:
        stop.set()
        thread.join()
